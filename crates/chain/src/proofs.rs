//! ICS23 proofs that a store of the chain holds, or does not hold, a value under a key.
//!
//! Two proofs in a row, both with the stock specs of the SDK: IAVL from (key, value) to the store's root, then
//! the multistore's simple tree from (store name, root) to the header's app hash. The store name is the key of
//! the second proof, so a proof of one store never speaks for another.

use alloc::string::String;
use alloc::vec::Vec;

use minicbor::{Decode, Encode};

use crate::light::TrustedHeader;

/// Longest store name, in bytes.
pub const MAX_STORE_BYTES: usize = 64;
/// Longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 1024;
/// Longest value, in bytes.
pub const MAX_VALUE_BYTES: usize = 1024 * 1024;
/// Longest of the two proofs, in bytes; an absence proof holds two neighbours with their values.
pub const MAX_PROOF_BYTES: usize = 4 * 1024 * 1024;

/// What the host brings. UNTRUSTED. CBOR map with integer keys; unknown keys are skipped.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct StateProof {
    /// Store name, for example `upgrade`.
    #[n(1)]
    pub store: String,
    /// Key within the store.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub key: Vec<u8>,
    /// The value, or nothing when absence is claimed.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub value: Option<Vec<u8>>,
    /// `cosmos.ics23.v1.CommitmentProof` within the store (IAVL).
    #[cbor(n(4), with = "minicbor::bytes")]
    pub iavl: Vec<u8>,
    /// `cosmos.ics23.v1.CommitmentProof` of the store within the app hash.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub simple: Vec<u8>,
}

/// A key's value, or its absence, in the state that a trusted header proves. Only [`verify_state`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProvenState<'p> {
    proof: &'p StateProof,
    height: u64,
}

impl<'p> ProvenState<'p> {
    /// The store.
    pub fn store(&self) -> &'p str {
        &self.proof.store
    }

    /// The key.
    pub fn key(&self) -> &'p [u8] {
        &self.proof.key
    }

    /// The value; `None` is proven absence.
    pub fn value(&self) -> Option<&'p [u8]> {
        self.proof.value.as_deref()
    }

    /// The height of the header whose app hash proves it: the state after the block before.
    pub fn height(&self) -> u64 {
        self.height
    }
}

/// A state proof that was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are what the message prints")]
pub enum ProofError {
    /// More than this crate accepts.
    #[error("{what} is too large: at most {limit} bytes, got {got}")]
    TooLarge { what: &'static str, limit: usize, got: usize },
    /// Nothing where something must be.
    #[error("{what} is empty")]
    Empty { what: &'static str },
    /// Not an ICS23 message.
    #[error("the {part} proof of store {store:?} cannot be read as ICS23")]
    Malformed { part: &'static str, store: String },
    /// A batch or compressed proof: nodes never answer with one.
    #[error("the {part} proof of store {store:?}: expected {expected}, got {got}")]
    Kind { part: &'static str, store: String, expected: &'static str, got: &'static str },
    /// The proof does not lead from the key to the root.
    #[error("the {part} proof of store {store:?} does not lead to {to} of the header at height {height}")]
    Refused { part: &'static str, store: String, to: &'static str, height: u64 },
}

/// Verifies a proof against the app hash of `header`: the state after block `header.height() - 1`.
pub fn verify_state<'p>(header: &TrustedHeader, proof: &'p StateProof) -> Result<ProvenState<'p>, ProofError> {
    let _ = (header, proof);
    Err(ProofError::Empty { what: "proof" })
}
