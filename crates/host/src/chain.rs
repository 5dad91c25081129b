//! Where light blocks and proofs come from, behind one trait.

use baton_chain::evidence::{Hash32, TxProof};
use baton_chain::light::LightBlock;
use baton_chain::proofs::StateProof;
use baton_devnet::{Account, Devnet};

/// What kind of trouble a source has: what a caller does next depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// It answered that it has not got this (yet, or any more), or refused.
    Absent,
    /// The height was pruned there.
    Pruned,
    /// The height is not decided yet.
    Future,
    /// No answer in time, or no connection.
    Unreachable,
    /// Its answer contradicts itself or what was asked: a wrong chain, a bad proof, a commit that does not verify.
    Lying,
}

/// Why a source gave no answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the chain source {source_name} has no {what}: {reason}")]
pub struct SourceError {
    /// The kind.
    pub trouble: Trouble,
    /// Which source.
    pub source_name: String,
    /// What was asked.
    pub what: String,
    /// What it said.
    pub reason: String,
}

/// Keys and values of a store.
pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// A transaction in its block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Included {
    /// The block's height.
    pub height: u64,
    /// The transaction's bytes.
    pub tx: Vec<u8>,
    /// Its Merkle proof.
    pub proof: TxProof,
}

/// A node of the chain, as its RPC would answer.
pub trait ChainSource {
    /// The last decided height.
    fn latest(&self) -> Result<u64, SourceError>;

    /// Header, commit and both validator sets.
    fn light_block(&self, height: u64) -> Result<LightBlock, SourceError>;

    /// What stands at `key`, proven by the app hash of header `header_height` (the state one block below).
    fn state(&self, store: &str, key: &[u8], header_height: u64) -> Result<StateProof, SourceError>;

    /// Sends a transaction with a memo from any account and returns its hash, 32 bytes.
    fn send_memo(&mut self, memo: &str) -> Result<[u8; 32], SourceError>;

    /// The first height up to `upto` whose header time is at or after `end` (seconds, nanoseconds).
    fn vote_end(&self, end: (i64, i32), upto: u64) -> Result<Option<u64>, SourceError> {
        // Times rise with heights, so halve.
        let (mut low, mut high) = (1, upto);
        while low < high {
            let mid = low + (high - low) / 2;
            match crate::gather::header_time(&self.light_block(mid)?) {
                Some(time) if time < end => low = mid + 1,
                _ => high = mid,
            }
        }
        Ok((crate::gather::header_time(&self.light_block(low)?) >= Some(end)).then_some(low))
    }

    /// All pairs of a store whose keys begin with `prefix`, in a recent state, unproven: for finding what to prove.
    fn list(&self, store: &str, prefix: &[u8]) -> Result<Pairs, SourceError> {
        let (what, reason) = (format!("list of {store}/{}", hex::encode(prefix)), "it keeps single proofs only".into());
        Err(SourceError { trouble: Trouble::Absent, source_name: "this source".into(), what, reason })
    }

    /// Where a transaction is, once it is in a block.
    fn included(&self, hash: &[u8; 32]) -> Result<Option<Included>, SourceError>;
}

fn failed(what: impl Into<String>, reason: impl ToString) -> SourceError {
    SourceError { trouble: Trouble::Absent, source_name: "devnet".into(), what: what.into(), reason: reason.to_string() }
}

impl ChainSource for Devnet {
    fn latest(&self) -> Result<u64, SourceError> {
        Ok(self.height())
    }

    fn light_block(&self, height: u64) -> Result<LightBlock, SourceError> {
        let b = Devnet::light_block(self, height).map_err(|e| failed(format!("light block {height}"), e))?;
        Ok(LightBlock {
            signed_header: b.signed_header,
            validators: b.validators,
            next_validators: Some(b.next_validators),
        })
    }

    fn state(&self, store: &str, key: &[u8], header_height: u64) -> Result<StateProof, SourceError> {
        let what = || format!("state of {store} under header {header_height}");
        let below = header_height.checked_sub(1).ok_or_else(|| failed(what(), "no state below height 1"))?;
        let a = self.query(store, key, below).map_err(|e| failed(what(), e))?;
        Ok(StateProof { store: store.into(), key: key.to_vec(), value: a.value, iavl: a.iavl, simple: a.simple })
    }

    fn send_memo(&mut self, memo: &str) -> Result<[u8; 32], SourceError> {
        Devnet::send_memo(self, Account::User(0), memo).map_err(|e| failed("place in the mempool", e))
    }

    fn list(&self, store: &str, prefix: &[u8]) -> Result<Pairs, SourceError> {
        Devnet::list(self, store, prefix).map_err(|e| failed(format!("list of {store}"), e))
    }

    fn included(&self, hash: &[u8; 32]) -> Result<Option<Included>, SourceError> {
        Ok(self.tx(hash).map(|t| Included {
            height: t.height,
            tx: t.tx,
            proof: TxProof { total: t.total, index: t.index, aunts: t.aunts.into_iter().map(Hash32).collect() },
        }))
    }
}
