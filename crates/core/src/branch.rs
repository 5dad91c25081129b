//! This enclave's branch of the custody log.
//!
//! Every enclave keeps a log of its own, signed by a key that it makes and seals. A transfer carries the
//! giver's head along, and the receiver's first entry names it: branches form a tree that starts at
//! genesis. Entries stay in the sealed state until the host says that it has stored them, so a crash
//! between a step and the host's log file loses nothing.

use alloc::{string::String, vec::Vec};

use baton_attest::identity::{Digest32, hash};
use minicbor::{Decode, Encode};

use crate::log::{Event, LogEntry, LogFacts, LogHash, LogState};
use crate::note::{Checkpoint, NoteKey};
use crate::platform::Platform;
use crate::secret::Secret32;

/// A branch at one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct BranchHead {
    /// Id of the branch: a hash of its public key.
    #[n(0)]
    pub id: Digest32,
    /// Entries.
    #[n(1)]
    pub size: u64,
    /// Root over them.
    #[n(2)]
    pub root: LogHash,
}

/// The branch of one enclave.
pub struct Branch {
    key: Secret32,
    log: LogState,
    unstored: Vec<LogEntry>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(crate) struct SealedBranch {
    #[cbor(n(0), with = "minicbor::bytes")]
    key: [u8; 32],
    #[n(1)]
    log: LogState,
    #[n(2)]
    unstored: Vec<minicbor::bytes::ByteVec>,
}

impl Drop for SealedBranch {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.key);
    }
}

/// Id of the branch of a public key: SHA-256(context string, Ed25519 public key).
pub fn branch_id(public_key: &[u8; 32]) -> Digest32 {
    hash("baton log branch v1", &[public_key])
}

impl Branch {
    /// A new branch with a fresh key.
    pub fn new(platform: &mut dyn Platform) -> Self {
        Branch { key: Secret32::random(platform), log: LogState::new(), unstored: Vec::new() }
    }

    /// Appends an event.
    pub fn append(&mut self, facts: LogFacts, event: Event) {
        let entry = LogEntry { seq: self.log.size(), facts, event };
        self.log.append(entry.leaf_hash());
        self.unstored.push(entry);
    }

    /// Id of the branch.
    pub fn id(&self) -> Digest32 {
        branch_id(&self.public_key())
    }

    /// The Ed25519 public key, 32 bytes.
    pub fn public_key(&self) -> [u8; 32] {
        self.note_key("").public_key()
    }

    /// The head.
    pub fn head(&self) -> BranchHead {
        BranchHead { id: self.id(), size: self.log.size(), root: self.log.root() }
    }

    /// Number of the first entry that the host has not stored, and these entries.
    pub fn unstored(&self) -> (u64, &[LogEntry]) {
        (self.log.size().saturating_sub(self.unstored.len() as u64), &self.unstored)
    }

    /// The host has stored the first `size` entries. True if anything was dropped.
    pub fn stored(&mut self, size: u64) -> bool {
        let (first, entries) = self.unstored();
        let done = size.saturating_sub(first).min(entries.len() as u64);
        self.unstored.drain(..usize::try_from(done).unwrap_or(0));
        done != 0
    }

    /// The head as a C2SP checkpoint, signed.
    pub fn checkpoint(&self, chain_id: &str) -> String {
        let origin = crate::note::origin(chain_id, &self.id());
        let key = self.note_key(&origin);
        Checkpoint { origin, size: self.log.size(), root: self.log.root() }.sign(&key)
    }

    fn note_key(&self, name: &str) -> NoteKey {
        NoteKey::from_seed(name, self.key.danger_expose())
    }

    pub(crate) fn to_sealed(&self) -> SealedBranch {
        SealedBranch {
            key: *self.key.danger_expose(),
            log: self.log.clone(),
            unstored: self.unstored.iter().map(|e| e.to_bytes().into()).collect(),
        }
    }

    pub(crate) fn from_sealed(s: &SealedBranch) -> Option<Self> {
        let unstored = s.unstored.iter().map(|b| LogEntry::parse(b)).collect::<Result<_, _>>().ok()?;
        Some(Branch { key: Secret32::danger_from_bytes(&s.key), log: s.log.clone(), unstored })
    }
}
