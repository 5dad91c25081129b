//! What stops working when: trusted headers, collateral, orders that were not obeyed.
//!
//! An enclave has no clock. Its time is that of blocks, so dates are judged here against the newest block; only where no block
//! was seen, against this machine's clock.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use baton_attest::quote::Collateral;
use baton_host::chain::ChainSource;
use baton_host::gather::header_time;
use serde_json::{Value, json};

use super::{Node, orders};
use crate::times::unix_now;

/// How often collateral is looked at.
const COLLATERAL_EVERY: Duration = Duration::from_secs(60);
/// Less than this is soon.
pub const SOON_SECS: u64 = 3 * 86_400;

/// What was found out of dates, so that a tick asks for nothing twice.
#[derive(Default)]
pub(super) struct Dates {
    /// Times of trusted headers, by height, in unix seconds.
    heads: BTreeMap<u64, u64>,
    collateral: Vec<(&'static str, u64, u64)>,
    looked: Option<Instant>,
}

impl Dates {
    /// Another set of collateral is here.
    pub(super) fn look_again(&mut self) {
        self.looked = None;
    }
}

/// Looks at what is new.
pub(super) fn refresh(node: &mut Node) {
    let heads: Vec<u64> = node.places.iter().filter_map(|p| Some(p.status.as_ref()?.head_height)).filter(|h| *h > 0).collect();
    node.dates.heads.retain(|h, _| heads.contains(h));
    for height in heads {
        if node.dates.heads.contains_key(&height) || node.shared.view().error.is_some() {
            continue;
        }
        let block = node.sources.light_block(height).ok();
        if let Some(time) = block.and_then(|b| header_time(&b)).and_then(|t| u64::try_from(t.0).ok()) {
            node.dates.heads.insert(height, time);
        }
    }
    if node.dates.looked.is_none_or(|t| t.elapsed() >= COLLATERAL_EVERY) && node.shared.view().time > 0 {
        node.dates.looked = Some(Instant::now());
        let read = node.collateral().ok().and_then(|json| Collateral::from_json(&json).ok());
        node.dates.collateral = read.and_then(|c| c.claimed_dates().ok()).unwrap_or_default();
    }
}

/// The time that dates are held against, unix seconds.
pub(super) fn now(node: &Node) -> u64 {
    match node.shared.view().time {
        0 => unix_now(),
        time => time,
    }
}

/// Every date, the nearest first.
pub(super) fn all(node: &Node) -> Vec<Value> {
    let now = now(node);
    let mut out = Vec::new();
    let mut put = |what: String, until: u64, soon: u64| {
        let left = until.saturating_sub(now);
        let state = match left {
            0 => "over",
            left if left < soon => "soon",
            _ => "ok",
        };
        out.push(json!({"what": what, "until": until, "left_secs": left, "state": state}));
    };
    for p in &node.places {
        let Some(s) = p.status.as_ref().filter(|s| s.serving || s.head_height > 0) else { continue };
        if let Some(time) = node.dates.heads.get(&s.head_height) {
            let period = p.build.policy.chain.trusting_period_secs;
            put(format!("trusting period of {} from its head", p.build.name), time.saturating_add(period), period / 3);
        }
    }
    let age = node.places.iter().map(|p| p.build.policy.tcb.max_collateral_age_secs).min();
    for (what, issued, until) in &node.dates.collateral {
        put(format!("collateral: {what}"), *until, SOON_SECS);
        // Root CRLs live for a year: only what Intel issues every few days ages by policy.
        if let Some(age) = age.filter(|_| *what != "root CRL") {
            let old = issued.saturating_add(age);
            if old < *until {
                put(format!("collateral: {what}, by the policy's age"), old, SOON_SECS.min(age / 3));
            }
        }
    }
    for o in orders::all(node).iter().filter(|o| o["state"] != "obeyed") {
        put(format!("order {}", o["number"]), o["expiry_secs"].as_u64().unwrap_or(0), SOON_SECS);
    }
    out.sort_by_key(|d| d["until"].as_u64());
    out
}
