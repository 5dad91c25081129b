//! Looking at the peers and endpoints, on a thread of its own: their state, receipts, and the vault's records, which are public.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use baton_host::rpc::RpcSource;
use serde_json::Value;

use baton_host::http::Roots;

use super::db::KnownPlan;
use super::http::is_index;
use super::peers::Peer;
use super::shared::{EndpointSeen, Shared};

/// How often.
const EVERY: Duration = Duration::from_millis(1500);
/// Longest wait for one answer.
const LIMIT: Duration = Duration::from_secs(3);
/// Records of the vault that are taken from a peer in one round.
const MAX_RECORDS: usize = 1000;
/// Plans that are taken from a peer.
const MAX_PLANS: usize = 100;
/// Largest record of the vault, in bytes (1 MiB).
const MAX_RECORD_BYTES: usize = 1 << 20;

/// Looks until told to stop.
pub fn run(urls: &[String], roots: &Roots, rpc: &RpcSource, shared: &Arc<Shared>, vault: &Path, stop: &AtomicBool) {
    let peers: Vec<Peer> = urls.iter().map(|u| Peer::new(u, LIMIT, roots)).collect();
    while !stop.load(Ordering::Relaxed) {
        endpoints(rpc, shared);
        for peer in &peers {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            look(peer, shared, vault);
        }
        let mut left = EVERY;
        while !left.is_zero() && !stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(100));
            left = left.saturating_sub(Duration::from_millis(100));
        }
    }
}

/// One round, for a command without a daemon.
pub fn look_once(node: &super::Node) {
    endpoints(&node.sources().rpc, node.shared());
    for url in &node.home().config().peers {
        look(&Peer::new(url, LIMIT, &node.roots), node.shared(), &node.home().path("vault"));
    }
}

/// What each endpoint says of its height.
fn endpoints(rpc: &RpcSource, shared: &Shared) {
    let said = rpc.statuses().into_iter().zip(&rpc.config().endpoints);
    let seen = said.map(|(status, url)| EndpointSeen { url: url.clone(), height: status.map(|s| s.latest).map_err(|e| e.reason) });
    shared.set_endpoints(seen.collect());
}

fn look(peer: &Peer, shared: &Shared, vault: &Path) {
    let url = peer.url().to_string();
    match peer.get_json("/v1/status") {
        Ok(status) => shared.set_peer(&url, |p| (p.status, p.error) = (Some(status), None)),
        Err(e) => {
            shared.set_peer(&url, |p| p.error = Some(format!("{e:#}")));
            return;
        }
    }
    for measurement in shared.wanted_receipts() {
        if let Ok(receipt) = peer.get(&format!("/v1/receipt/{measurement}")) {
            shared.set_peer(&url, |p| {
                p.receipts.insert(measurement, receipt);
            });
        }
    }
    if let Ok(plans) = peer.get_json("/v1/plans") {
        let plans: Vec<KnownPlan> = plans.as_array().into_iter().flatten().take(MAX_PLANS).filter_map(plan).collect();
        shared.set_peer(&url, |p| p.plans = plans);
    }
    replicate(peer, vault);
}

fn plan(v: &Value) -> Option<KnownPlan> {
    Some(KnownPlan {
        name: v["name"].as_str()?.into(),
        height: v["height"].as_u64()?,
        info: v["info"].as_str()?.into(),
        proposal: v["proposal"].as_u64()?,
        at_x: v["at_x"].as_bool()?,
    })
}

fn replicate(peer: &Peer, vault: &Path) {
    let Ok(list) = peer.get_json("/v1/vault") else { return };
    let names = list.as_array().into_iter().flatten().filter_map(|v| v.as_str());
    for name in names.filter(|n| is_index(n) && !vault.join(n).exists()).take(MAX_RECORDS) {
        match peer.get(&format!("/v1/vault/{name}")) {
            Ok(record) if record.len() <= MAX_RECORD_BYTES => {
                if let Err(e) = super::config::write_private(&vault.join(name), &record) {
                    tracing::warn!(error = %e, "a record of the vault was not kept");
                }
            }
            _ => {}
        }
    }
}
