//! `/metrics`, in Prometheus' base units.

use std::sync::atomic::{AtomicI64, AtomicU64};

use baton_core::custody::State;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Node;

type Labels = Vec<(&'static str, String)>;
type G = Family<Labels, Gauge<i64, AtomicI64>>;

const STATES: [State; 6] = [State::Empty, State::Received, State::Holding, State::Offered, State::Confirmed, State::Retired];

fn gauge(r: &mut Registry, name: &str, help: &str) -> G {
    let g = G::default();
    r.register(name, help, g.clone());
    g
}

/// A number without labels.
fn one(r: &mut Registry, name: &str, help: &str, value: u64) {
    let g = Gauge::<i64, AtomicI64>::default();
    g.set(i64::try_from(value).unwrap_or(i64::MAX));
    r.register(name, help, g);
}

fn set(g: &G, labels: Labels, value: u64) {
    g.get_or_create(&labels).set(i64::try_from(value).unwrap_or(i64::MAX));
}

/// The page, made anew from what the node knows.
pub(super) fn page(node: &Node) -> String {
    let mut registry = Registry::with_prefix("baton");
    let r = &mut registry;
    let view = node.shared.view();
    set(&gauge(r, "build_info", "Version of the daemon"), vec![("version", env!("CARGO_PKG_VERSION").into())], 1);
    one(r, "uptime_seconds", "Time since the daemon started", node.started.elapsed().as_secs());
    one(r, "last_tick_timestamp_seconds", "When the last round of steps ended, unix time; 0 before the first", node.shared.ticked_at());
    one(r, "chain_height", "Newest decided height", view.height);
    one(r, "chain_block_timestamp_seconds", "Time of the newest block, unix time", view.time);
    one(r, "chain_seen", "1 while the last look at the chain succeeded", u64::from(view.error.is_none() && view.seen.is_some()));
    one(r, "plan_height", "Height of the pending plan, 0 without one", view.plan.as_ref().map_or(0, |p| p.plan.height));
    let here = view.plan.as_ref().and_then(|p| p.build.as_ref().ok().copied().flatten()).and_then(|b| node.find(&b.measurement));
    one(r, "plan_build_present", "1 if the build that the pending plan names is in the folder", u64::from(here.is_some()));
    let confirmed = here.zip(view.plan.as_ref()).is_some_and(|(i, p)| node.is_gated(&node.places[i].build.measurement, &p.plan));
    one(r, "plan_confirmed", "1 if the handover to the build that the pending plan names is confirmed on this machine", u64::from(confirmed));
    seats(node, r);
    peers(node, r);
    let kinds = gauge(r, "emergencies", "Emergency orders that builds here obeyed or took over with the keyring, for ever");
    for kind in ["handover", "rewind", "freeze", "rotate"] {
        let count = super::orders::emergencies(node).iter().filter(|e| e["kind"] == kind).count() as u64;
        set(&kinds, vec![("kind", kind.into())], count);
    }
    let expires = gauge(r, "expires_timestamp_seconds", "When something stops working unless it is renewed, unix time");
    for d in super::dates::all(node) {
        set(&expires, vec![("what", d["what"].as_str().unwrap_or_default().into())], d["until"].as_u64().unwrap_or(0));
    }
    let below = view.vote.as_ref().zip(node.shared.policy()).is_some_and(|(v, policy)| super::vote::beside_bar(v, &policy)["meets"] == false);
    one(r, "vote_below_bar", "1 if an upgrade is voted on, or was, and its tally is below the bar inside the enclave", u64::from(below));
    one(r, "orders_pending", "Emergency orders in the folder that were not obeyed yet", super::orders::pending(node));
    let failing = gauge(r, "step_failing", "1 for each step that fails now");
    for (step, _) in node.failures() {
        set(&failing, vec![("step", step)], 1);
    }
    let wrong = Family::<Labels, Counter<u64, AtomicU64>>::default();
    r.register("rpc_wrong_answers", "Answers of an RPC endpoint that contradicted themselves or the question", wrong.clone());
    for c in node.sources.rpc.caught() {
        wrong.get_or_create(&vec![("endpoint", c.endpoint)]).inc_by(c.times);
    }
    let (blocks, _) = node.sources.db.blocks().unwrap_or_default();
    one(r, "bundle_blocks", "Light blocks that are kept for late nodes", blocks);
    one(r, "records_owed", "Records of handovers at X that are in no block yet", node.sources.db.owed().map_or(0, |o| o.len() as u64));
    let mut out = String::new();
    match encode(&mut out, &registry) {
        Ok(()) => out,
        Err(_) => String::new(),
    }
}

fn seats(node: &Node, r: &mut Registry) {
    let custody = gauge(r, "custody", "1 for the state of custody of each build");
    let head = gauge(r, "enclave_head_height", "Height of the header that the enclave trusts");
    let serving = gauge(r, "serving", "1 if the build serves");
    let rehearsed = gauge(r, "rehearsed", "1 if the build rehearsed a handover onward, as the source");
    let exposed = gauge(r, "exposed_epochs", "Epochs that were ever sealed under MRSIGNER");
    for p in &node.places {
        let Some(s) = &p.status else { continue };
        let labels = || vec![("build", p.build.name.clone()), ("measurement", p.build.measurement.to_string())];
        for state in STATES {
            let with = [labels(), vec![("state", state.to_string().to_lowercase())]].concat();
            set(&custody, with, u64::from(s.state == state));
        }
        set(&head, labels(), s.head_height);
        set(&serving, labels(), u64::from(s.serving));
        set(&rehearsed, labels(), u64::from(s.rehearsed_as_source));
        set(&exposed, labels(), s.exposed.len() as u64);
    }
}

fn peers(node: &Node, r: &mut Registry) {
    let known = node.shared.peers();
    let up = gauge(r, "peer_up", "1 if the peer answered the last time");
    for url in &node.home.config().peers {
        let ok = known.get(url.trim_end_matches('/')).is_some_and(|s| s.error.is_none() && s.status.is_some());
        set(&up, vec![("peer", url.clone())], u64::from(ok));
    }
    let barrier = super::status::barrier_counts(node);
    one(r, "barrier_receipts", "Receipts at hand for the old copy's barrier", barrier.0);
    one(r, "barrier_receipts_wanted", "Distinct machines that the barrier wants; 0 while no old copy waits", barrier.1);
}
