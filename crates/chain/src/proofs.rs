//! ICS23 proofs that a store of the chain holds, or does not hold, a value under a key.
//!
//! Two proofs in a row, both with the stock specs of the SDK: IAVL from (key, value) to the store's root, then
//! the multistore's simple tree from (store name, root) to the header's app hash. The store name is the key of
//! the second proof, so a proof of one store never speaks for another.

use alloc::string::String;
use alloc::vec::Vec;

use ics23::commitment_proof::Proof;
use ics23::{CommitmentProof, ExistenceProof, InnerOp, NonExistenceProof};
use minicbor::{Decode, Encode};
use prost_ics23::Message;
use sha2::{Digest, Sha256};

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
    TooLarge {
        what: &'static str,
        limit: usize,
        got: usize,
    },
    /// Nothing where something must be.
    #[error("{what} is empty")]
    Empty { what: &'static str },
    /// Not an ICS23 message.
    #[error("the {part} proof of store {store:?} cannot be read as ICS23")]
    Malformed { part: &'static str, store: String },
    /// A batch or compressed proof: nodes never answer with one.
    #[error("the {part} proof of store {store:?}: expected {expected}, got {got}")]
    Kind {
        part: &'static str,
        store: String,
        expected: &'static str,
        got: &'static str,
    },
    /// The proof does not lead from the key to the root.
    #[error(
        "the {part} proof of store {store:?} does not lead to {to} of the header at height {height}"
    )]
    Refused {
        part: &'static str,
        store: String,
        to: &'static str,
        height: u64,
    },
}

/// Verifies a proof against the app hash of `header`: the state after block `header.height() - 1`.
pub fn verify_state<'p>(
    header: &TrustedHeader,
    proof: &'p StateProof,
) -> Result<ProvenState<'p>, ProofError> {
    check_sizes(proof)?;
    let store_root = store_root(header, proof)?;
    let leads = match &proof.value {
        Some(value) => {
            let exist = read(proof, IAVL, &proof.iavl)?;
            let message = commitment(Proof::Exist(existence(proof, IAVL, exist)?));
            ics23::verify_membership::<Sha2Only>(
                &message,
                &ics23::iavl_spec(),
                &store_root,
                &proof.key,
                value,
            )
        }
        None => {
            let absent = absence(proof, read(proof, IAVL, &proof.iavl)?)?;
            let message = commitment(Proof::Nonexist(absent));
            ics23::verify_non_membership::<Sha2Only>(
                &message,
                &ics23::iavl_spec(),
                &store_root,
                &proof.key,
            )
        }
    };
    if !leads {
        return Err(refused(
            IAVL,
            proof,
            "the root of its store under the app hash",
            header,
        ));
    }
    Ok(ProvenState {
        proof,
        height: header.height(),
    })
}

/// The root of the store that the simple proof shows under the app hash. The proof's own value is that root: whatever
/// the host writes there has to hash up to the app hash under the name of this store.
fn store_root(header: &TrustedHeader, proof: &StateProof) -> Result<Vec<u8>, ProofError> {
    let exist = existence(proof, SIMPLE, read(proof, SIMPLE, &proof.simple)?)?;
    let root = exist.value.clone();
    let message = commitment(Proof::Exist(exist));
    let app_hash = header.app_hash().to_vec();
    let name = proof.store.as_bytes();
    let spec = ics23::tendermint_spec();
    if root.len() != 32
        || !ics23::verify_membership::<Sha2Only>(&message, &spec, &app_hash, name, &root)
    {
        return Err(refused(SIMPLE, proof, "the app hash", header));
    }
    Ok(root)
}

const IAVL: &str = "IAVL";
const SIMPLE: &str = "multistore";

fn refused(
    part: &'static str,
    proof: &StateProof,
    to: &'static str,
    header: &TrustedHeader,
) -> ProofError {
    ProofError::Refused {
        part,
        store: proof.store.clone(),
        to,
        height: header.height(),
    }
}

fn check_sizes(proof: &StateProof) -> Result<(), ProofError> {
    let value = proof.value.as_deref();
    for (what, limit, got) in [
        ("store name", MAX_STORE_BYTES, proof.store.len()),
        ("key", MAX_KEY_BYTES, proof.key.len()),
        ("value", MAX_VALUE_BYTES, value.map_or(1, <[u8]>::len)),
        ("IAVL proof", MAX_PROOF_BYTES, proof.iavl.len()),
        ("multistore proof", MAX_PROOF_BYTES, proof.simple.len()),
    ] {
        if got > limit {
            return Err(ProofError::TooLarge { what, limit, got });
        }
        if got == 0 {
            return Err(ProofError::Empty { what });
        }
    }
    Ok(())
}

fn commitment(proof: Proof) -> CommitmentProof {
    CommitmentProof { proof: Some(proof) }
}

/// Reads one message and nothing after it; protobuf itself skips unknown fields.
fn read(proof: &StateProof, part: &'static str, bytes: &[u8]) -> Result<Proof, ProofError> {
    let malformed = || ProofError::Malformed {
        part,
        store: proof.store.clone(),
    };
    CommitmentProof::decode(bytes)
        .ok()
        .and_then(|message| message.proof)
        .ok_or_else(malformed)
}

fn kind(of: &Proof) -> &'static str {
    match of {
        Proof::Exist(_) => "an existence proof",
        Proof::Nonexist(_) => "an absence proof",
        Proof::Batch(_) => "a batch proof",
        Proof::Compressed(_) => "a compressed proof",
    }
}

fn existence(
    proof: &StateProof,
    part: &'static str,
    message: Proof,
) -> Result<ExistenceProof, ProofError> {
    match message {
        Proof::Exist(exist) => Ok(exist),
        other => Err(ProofError::Kind {
            part,
            store: proof.store.clone(),
            expected: "an existence proof",
            got: kind(&other),
        }),
    }
}

fn absence(proof: &StateProof, message: Proof) -> Result<NonExistenceProof, ProofError> {
    let absent = match message {
        Proof::Nonexist(absent) => absent,
        other => {
            let (store, got) = (proof.store.clone(), kind(&other));
            return Err(ProofError::Kind {
                part: IAVL,
                store,
                expected: "an absence proof",
                got,
            });
        }
    };
    // The library walks both paths down from the root and panics when one ends before they part.
    let parts = match (&absent.left, &absent.right) {
        (Some(left), Some(right)) => {
            let same = |(l, r): &(&InnerOp, &InnerOp)| l.prefix == r.prefix && l.suffix == r.suffix;
            let shared = left
                .path
                .iter()
                .rev()
                .zip(right.path.iter().rev())
                .take_while(same)
                .count();
            shared < left.path.len() && shared < right.path.len()
        }
        _ => true,
    };
    if parts {
        Ok(absent)
    } else {
        Err(ProofError::Malformed {
            part: IAVL,
            store: proof.store.clone(),
        })
    }
}

/// The hash functions that the SDK's stores use: SHA-256 alone.
///
/// The stock specs name no other, and the library compares every operation with its spec before it hashes, so the rest
/// is never reached; should it be, the empty answer matches no root.
struct Sha2Only;

impl ics23::HostFunctionsProvider for Sha2Only {
    fn sha2_256(message: &[u8]) -> [u8; 32] {
        Sha256::digest(message).into()
    }

    fn sha2_512(_: &[u8]) -> [u8; 64] {
        [0; 64]
    }

    fn sha2_512_truncated(_: &[u8]) -> [u8; 32] {
        [0; 32]
    }

    fn keccak_256(_: &[u8]) -> [u8; 32] {
        [0; 32]
    }

    fn ripemd160(_: &[u8]) -> [u8; 20] {
        [0; 20]
    }

    fn blake2b_512(_: &[u8]) -> [u8; 64] {
        [0; 64]
    }

    fn blake2s_256(_: &[u8]) -> [u8; 32] {
        [0; 32]
    }

    fn blake3(_: &[u8]) -> [u8; 32] {
        [0; 32]
    }
}

#[cfg(test)]
mod vectors;
