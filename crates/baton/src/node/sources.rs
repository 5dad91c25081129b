//! Everything that can answer for the chain, one after the other: what was kept here, the RPC endpoints, the peers.
//!
//! After a halt the node's own RPC is dead (a supervisor kills it); then the bundle and the peers are left.

use std::sync::Arc;

use baton_chain::light::LightBlock;
use baton_chain::proofs::StateProof;
use baton_host::chain::{ChainSource, Included, Pairs, SourceError, Trouble};
use baton_host::rpc::RpcSource;

use super::db::Db;
use super::peers::Peer;

/// The sources of one node.
#[derive(Clone)]
pub struct Sources {
    /// What was kept.
    pub db: Arc<Db>,
    /// The endpoints.
    pub rpc: RpcSource,
    /// The peers.
    pub peers: Vec<Peer>,
}

impl Sources {
    /// The first answer; of the errors the one that the endpoints gave.
    fn first<T>(&self, f: impl Fn(&dyn ChainSource) -> Result<T, SourceError>) -> Result<T, SourceError> {
        if let Ok(answer) = f(&&*self.db) {
            return Ok(answer);
        }
        let mut error = match f(&self.rpc) {
            Ok(answer) => return Ok(answer),
            Err(e) => e,
        };
        for peer in &self.peers {
            match f(&peer) {
                Ok(answer) => return Ok(answer),
                Err(e) => error.reason = format!("{}; {e}", error.reason),
            }
        }
        Err(error)
    }

    /// Publishes a memo: by this node's signer, else by the first peer that can.
    pub fn publish(&self, memo: &str) -> Result<[u8; 32], SourceError> {
        let mut reasons = Vec::new();
        if self.rpc.can_send() {
            match self.rpc.clone().send_memo(memo) {
                Ok(hash) => return Ok(hash),
                Err(e) => reasons.push(e.reason),
            }
        }
        for mut peer in &self.peers {
            match peer.send_memo(memo) {
                Ok(hash) => return Ok(hash),
                Err(e) => reasons.push(format!("{}: {}", peer.url(), e.reason)),
            }
        }
        if reasons.is_empty() {
            reasons.push("no signer and no peers are configured".into());
        }
        let what = "way to publish a record".into();
        Err(SourceError { trouble: Trouble::Absent, source_name: "this node".into(), what, reason: reasons.join("; ") })
    }
}

impl ChainSource for Sources {
    fn latest(&self) -> Result<u64, SourceError> {
        match self.rpc.latest() {
            Ok(height) => Ok(height),
            Err(e) => (&*self.db).latest().map_err(|_| e),
        }
    }

    fn light_block(&self, height: u64) -> Result<LightBlock, SourceError> {
        self.first(|s| s.light_block(height))
    }

    fn state(&self, store: &str, key: &[u8], header_height: u64) -> Result<StateProof, SourceError> {
        self.first(|s| s.state(store, key, header_height))
    }

    fn send_memo(&mut self, memo: &str) -> Result<[u8; 32], SourceError> {
        self.publish(memo)
    }

    fn vote_end(&self, end: (i64, i32), upto: u64) -> Result<Option<u64>, SourceError> {
        self.first(|s| match s.vote_end(end, upto) {
            Ok(None) => Err(SourceError {
                trouble: Trouble::Absent,
                source_name: "this source".into(),
                what: "end of the vote".into(),
                reason: "no header at or after it yet".into(),
            }),
            other => other,
        })
    }

    fn list(&self, store: &str, prefix: &[u8]) -> Result<Pairs, SourceError> {
        self.rpc.list(store, prefix)
    }

    fn included(&self, hash: &[u8; 32]) -> Result<Option<Included>, SourceError> {
        self.rpc.included(hash)
    }
}
