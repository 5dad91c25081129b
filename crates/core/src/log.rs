//! The custody log: an append-only record of everything that happened to the keyring.
//!
//! A Merkle log as in RFC 6962, section 2.1: a leaf is one [`LogEntry`]'s bytes. The enclave keeps only
//! [`LogState`] (as many hashes as the size has one-bits); the host stores the entries and answers
//! for them with proofs ([`inclusion_proof`], [`consistency_proof`]), which anyone verifies.

mod entry;
mod merkle;

pub use entry::{EVENT_VERSION, EntryError, Event, LogEntry, LogFacts, MAX_ENTRY_LEN, Route};
pub use merkle::{
    LogHash, LogState, ProofError, consistency_proof, empty_root, inclusion_proof, leaf_hash,
    verify_consistency, verify_inclusion,
};

#[cfg(test)]
mod tests;
