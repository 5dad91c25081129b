//! x/staking: which voting power an operator's account stands for.
//!
//! The record of a validator (store `staking`, key 0x21 ++ 20 ++ operator address) names its consensus key; the set that
//! follows the header says what that key weighs. Nothing is taken from the record's own token counts, so no record can
//! weigh more than its validator does, and a record of one who is not in the set weighs nothing.

use alloc::string::String;
use alloc::vec::Vec;

use prost::Message;
use sha2::{Digest, Sha256};

pub use crate::gov::STAKING_STORE;
use crate::gov::Validator;
use crate::light::{Powers, TrustedHeader};
use crate::proofs::{ProofError, StateProof, verify_state};

const VALIDATOR: u8 = 0x21;
const ADDRESS_BYTES: u8 = 20;
/// What the keys of all records of validators begin with; the operator's account follows.
pub const VALIDATORS: [u8; 2] = [VALIDATOR, ADDRESS_BYTES];
/// `BOND_STATUS_BONDED`.
pub const BONDED: i32 = 3;
const ED25519: &str = "/cosmos.crypto.ed25519.PubKey";

/// `cosmos.crypto.ed25519.PubKey`.
#[derive(Clone, PartialEq, Message)]
struct PubKey {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

/// Why a record weighs nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StakingError {
    /// The proof is of another store or key.
    #[error("staking record: the proof is of {store:?} {got}, expected the record of the operator under {expected}")]
    OtherKey {
        /// The store of the proof.
        store: String,
        /// Its key, hexadecimal.
        got: String,
        /// The key of the operator, hexadecimal.
        expected: String,
    },
    /// The proof is of no validator's record.
    #[error("staking record: the proof is of {store:?} {got}, expected store {STAKING_STORE:?} and a key 0x2114 with 20 bytes of an operator")]
    NoRecordKey {
        /// The store of the proof.
        store: String,
        /// Its key, hexadecimal.
        got: String,
    },
    /// The powers are of another header.
    #[error("staking record: the powers are of height {powers}, expected {height}")]
    OtherHeight {
        /// Height of the header that proves the record.
        height: u64,
        /// Height of the powers.
        powers: u64,
    },
    /// The proof fails.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// No such validator.
    #[error("this account operates no validator at height {height}")]
    NoValidator {
        /// The height.
        height: u64,
    },
    /// Not a record.
    #[error("staking record: cannot be read, or its consensus key is not Ed25519")]
    Malformed,
    /// Not bonded, or jailed.
    #[error("its validator is not bonded: expected status {BONDED} and not jailed, got status {status}, jailed {jailed}")]
    NotBonded {
        /// The status.
        status: i32,
        /// Jailed.
        jailed: bool,
    },
    /// Not in the set.
    #[error("its validator is not in the set that follows height {height}")]
    NotInSet {
        /// The height.
        height: u64,
    },
}

/// The key of an operator's record.
pub fn validator_key(operator: &[u8; 20]) -> Vec<u8> {
    let mut key = Vec::from(VALIDATORS);
    key.extend_from_slice(operator);
    key
}

/// A validator that is bonded, not jailed, and in the set that follows a header. Only [`Bonded::verify`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bonded {
    operator: [u8; 20],
    consensus: [u8; 20],
    power: u64,
    details: String,
}

impl Bonded {
    /// From the record of whichever operator the proof's key names, and the powers of the same header.
    pub fn verify(header: &TrustedHeader, powers: &Powers, proof: &StateProof) -> Result<Bonded, StakingError> {
        let operator = match proof.key.as_slice() {
            [VALIDATOR, ADDRESS_BYTES, operator @ ..] if proof.store == STAKING_STORE => operator.try_into().ok(),
            _ => None,
        };
        let operator: [u8; 20] = operator.ok_or_else(|| StakingError::NoRecordKey {
            store: proof.store.chars().take(64).collect(),
            got: hex::encode(proof.key.get(..64).unwrap_or(&proof.key)),
        })?;
        let height = header.height();
        if powers.height() != height {
            return Err(StakingError::OtherHeight { height, powers: powers.height() });
        }
        let value = verify_state(header, proof)?.value().ok_or(StakingError::NoValidator { height })?;
        let record = Validator::decode(value).map_err(|_| StakingError::Malformed)?;
        if record.status != BONDED || record.jailed {
            return Err(StakingError::NotBonded { status: record.status, jailed: record.jailed });
        }
        let consensus = consensus_address(&record).ok_or(StakingError::Malformed)?;
        match powers.of(&consensus) {
            0 => Err(StakingError::NotInSet { height }),
            power => {
                Ok(Bonded { operator, consensus, power, details: record.details().into() })
            }
        }
    }

    /// The operator's account, 20 bytes.
    pub fn operator(&self) -> &[u8; 20] {
        &self.operator
    }

    /// The consensus address, 20 bytes: two records of one key are one validator.
    pub fn consensus(&self) -> &[u8; 20] {
        &self.consensus
    }

    /// Its power, in power units, above 0.
    pub fn power(&self) -> u64 {
        self.power
    }

    /// What it says of itself in `description.details`.
    pub fn details(&self) -> &str {
        &self.details
    }
}

/// The voting power that the account `operator` (20 bytes) stands for at `header`, in power units, above 0.
pub fn operator_power(
    header: &TrustedHeader,
    powers: &Powers,
    operator: &[u8; 20],
    proof: &StateProof,
) -> Result<u64, StakingError> {
    let key = validator_key(operator);
    if proof.store != STAKING_STORE || proof.key != key {
        let (got, expected) = (hex::encode(&proof.key), hex::encode(key));
        return Err(StakingError::OtherKey { store: proof.store.clone(), got, expected });
    }
    Bonded::verify(header, powers, proof).map(|b| b.power)
}

/// The first 20 bytes of SHA-256 of the consensus key (CometBFT `crypto/ed25519`).
fn consensus_address(record: &Validator) -> Option<[u8; 20]> {
    let any = record.consensus_pubkey.as_ref().filter(|any| any.type_url == ED25519)?;
    let key = PubKey::decode(any.value.as_slice()).ok().filter(|k| k.key.len() == 32)?;
    let digest: [u8; 32] = Sha256::digest(&key.key).into();
    digest.first_chunk().copied()
}
