//! What the threads of a node share: the view of the chain, what peers say, and the answers that need no enclave.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use baton_chain::policy::ChainPolicy;
use serde_json::Value;

use super::db::KnownPlan;
use super::follow::View;

/// A tick asks the chain, peers and enclaves, each with its own time limit. If none has ended for this long, something hangs.
pub const TICK_LIMIT: Duration = Duration::from_secs(120);

/// What is known of a peer.
#[derive(Clone, Debug, Default)]
pub struct PeerState {
    /// Its last status.
    pub status: Option<Value>,
    /// Why it did not answer the last time.
    pub error: Option<String>,
    /// Its barrier receipts, by measurement (hexadecimal).
    pub receipts: BTreeMap<String, Vec<u8>>,
    /// The plans that it has seen: hints, which only an enclave's verdict makes more of.
    pub plans: Vec<KnownPlan>,
}

/// An endpoint as it was looked at last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSeen {
    /// Its URL.
    pub url: String,
    /// Its newest height, or why it is not known.
    pub height: Result<u64, String>,
}

#[derive(Default)]
struct Inner {
    view: View,
    policy: Option<ChainPolicy>,
    starts: Vec<u64>,
    wanted_receipts: Vec<String>,
    peers: BTreeMap<String, PeerState>,
    endpoints: Vec<EndpointSeen>,
    status: Value,
    metrics: String,
    ready: Option<String>,
    went_back: u64,
    /// When the last tick ended; before the first one, when this was made.
    ticked: Option<Instant>,
    /// The same in unix seconds; 0 before the first.
    ticked_at: u64,
}

/// See the module.
#[derive(Default)]
pub struct Shared(Mutex<Inner>);

impl Shared {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The chain.
    pub fn view(&self) -> View {
        self.inner().view.clone()
    }

    /// The follower has looked.
    pub fn set_view(&self, view: View) {
        self.inner().view = view;
    }

    /// The chain went back by decision: what was seen of it before is of another branch.
    pub fn went_back(&self) {
        let mut inner = self.inner();
        inner.went_back += 1;
        inner.view = View::default();
    }

    /// How often that happened.
    pub fn times_back(&self) -> u64 {
        self.inner().went_back
    }

    /// The chain's section of the policy of the build in use.
    pub fn policy(&self) -> Option<ChainPolicy> {
        self.inner().policy.clone()
    }

    /// Heights that enclaves here trust: the bundle holds a way from each.
    pub fn starts(&self) -> Vec<u64> {
        self.inner().starts.clone()
    }

    /// What the enclaves say of themselves.
    pub fn set_enclaves(&self, policy: Option<ChainPolicy>, starts: Vec<u64>, wanted_receipts: Vec<String>) {
        let mut inner = self.inner();
        inner.policy = policy.or(inner.policy.take());
        (inner.starts, inner.wanted_receipts) = (starts, wanted_receipts);
    }

    /// Builds whose receipts this node waits for.
    pub fn wanted_receipts(&self) -> Vec<String> {
        self.inner().wanted_receipts.clone()
    }

    /// What is known of the peers.
    pub fn peers(&self) -> BTreeMap<String, PeerState> {
        self.inner().peers.clone()
    }

    /// The endpoints.
    pub fn endpoints(&self) -> Vec<EndpointSeen> {
        self.inner().endpoints.clone()
    }

    /// The endpoints were looked at.
    pub fn set_endpoints(&self, endpoints: Vec<EndpointSeen>) {
        self.inner().endpoints = endpoints;
    }

    /// A peer has answered, or not.
    pub fn set_peer(&self, url: &str, f: impl FnOnce(&mut PeerState)) {
        f(self.inner().peers.entry(url.into()).or_default());
    }

    /// What `/v1/status`, `/metrics` and `/readyz` say.
    pub fn publish(&self, status: Value, metrics: String, not_ready: Option<String>) {
        let mut inner = self.inner();
        (inner.status, inner.metrics, inner.ready) = (status, metrics, not_ready);
    }

    /// The status.
    pub fn status(&self) -> Value {
        self.inner().status.clone()
    }

    /// The metrics page.
    pub fn metrics(&self) -> String {
        self.inner().metrics.clone()
    }

    /// A tick has ended.
    pub fn ticked(&self, now: Instant, unix_secs: u64) {
        let mut inner = self.inner();
        (inner.ticked, inner.ticked_at) = (Some(now), unix_secs);
    }

    /// When the last tick ended, unix seconds; 0 before the first.
    pub fn ticked_at(&self) -> u64 {
        self.inner().ticked_at
    }

    /// Why the node is not well at `now`, having started at `started`; none: its steps go on.
    pub fn hangs(&self, started: Instant, now: Instant) -> Option<String> {
        let last = self.inner().ticked.unwrap_or(started);
        let age = now.saturating_duration_since(last);
        (age > TICK_LIMIT).then(|| {
            format!("no tick has ended for {} s, expected one every {} s at most: an enclave or the disk hangs; systemctl restart baton, nothing is lost by it", age.as_secs(), TICK_LIMIT.as_secs())
        })
    }

    /// Why this node is not ready; none: it is.
    pub fn not_ready(&self) -> Option<String> {
        let inner = self.inner();
        if inner.status.is_null() { Some("starting".into()) } else { inner.ready.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_whose_ticks_do_not_end_is_not_well_also_if_the_first_one_never_did() {
        let (shared, t) = (Shared::default(), Instant::now());
        let at = |d: Duration| t + d;
        let second = Duration::from_secs(1);
        assert_eq!(shared.hangs(t, at(TICK_LIMIT)), None);
        assert!(shared.hangs(t, at(TICK_LIMIT + second)).is_some(), "the first tick hangs");
        shared.ticked(at(TICK_LIMIT), 7);
        assert_eq!((shared.hangs(t, at(TICK_LIMIT * 2)), shared.ticked_at()), (None, 7));
        assert!(shared.hangs(t, at(TICK_LIMIT * 2 + second)).unwrap().contains("121 s"));
    }
}
