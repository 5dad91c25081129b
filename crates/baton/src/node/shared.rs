//! What the threads of a node share: the view of the chain, what peers say, and the answers that need no enclave.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use baton_chain::policy::ChainPolicy;
use serde_json::Value;

use super::db::KnownPlan;
use super::follow::View;

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

#[derive(Default)]
struct Inner {
    view: View,
    policy: Option<ChainPolicy>,
    starts: Vec<u64>,
    wanted_receipts: Vec<String>,
    peers: BTreeMap<String, PeerState>,
    status: Value,
    metrics: String,
    ready: Option<String>,
    went_back: u64,
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

    /// Why this node is not ready; none: it is.
    pub fn not_ready(&self) -> Option<String> {
        let inner = self.inner();
        if inner.status.is_null() { Some("starting".into()) } else { inner.ready.clone() }
    }
}
