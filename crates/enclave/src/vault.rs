//! The example app: an encrypted key-value store under keys derived from an epoch's seed.
//!
//! It shows what a contract engine would do: it never sees the seed, only [`AppKey`]s, and it is what
//! makes people see that private state survives an upgrade. The host stores its records; a record that
//! was changed, or moved under another name, does not open.

use aes_gcm_siv::aead::{Aead, KeyInit, Payload};
use aes_gcm_siv::{Aes256GcmSiv, Nonce};
use alloc::{string::String, vec::Vec};
use baton_attest::identity::{encode, hash};
use baton_core::secret::AppKey;
use minicbor::{Decode, Encode};

/// The label that vault keys are derived under.
pub const LABEL: &str = "vault";

/// Largest value, in bytes.
pub const MAX_VALUE_BYTES: usize = 64 * 1024;

/// One encrypted record as the host keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Record {
    /// Format version.
    #[n(0)]
    pub version: u8,
    /// The epoch whose seed the key comes from.
    #[n(1)]
    pub epoch: u64,
    /// AES-256-GCM-SIV nonce, 12 bytes.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub nonce: [u8; 12],
    /// Ciphertext and tag.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub ciphertext: Vec<u8>,
}

/// Why a value was not stored or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// The value is too large.
    #[error("the value has {got} bytes, expected at most {MAX_VALUE_BYTES}")]
    Oversized {
        /// Its size in bytes.
        got: usize,
    },
    /// The record's bytes are not a record.
    #[error("the record cannot be read; restore it from another node's copy")]
    Malformed,
    /// The keyring has no seed of that epoch.
    #[error("the record is of epoch {got}, which this keyring does not hold")]
    NoSuchEpoch {
        /// The record's epoch.
        got: u64,
    },
    /// The record does not open under this name.
    #[error("the record of {name:?} does not open: it was changed, belongs to another name, or was written under another seed")]
    Tampered {
        /// The name that was asked for.
        name: String,
    },
}

fn cipher(key: &AppKey) -> Aes256GcmSiv {
    Aes256GcmSiv::new(key.danger_expose().into())
}

fn associated(version: u8, epoch: u64, name: &str) -> Vec<u8> {
    encode(&(version, epoch, name))
}

/// Where the host keeps the record of a name, without learning the name.
pub fn index(key: &AppKey, name: &str) -> [u8; 32] {
    hash("baton vault index v1", &[key.danger_expose(), name.as_bytes()]).0
}

/// Encrypts a value.
pub fn seal(key: &AppKey, epoch: u64, nonce: [u8; 12], name: &str, value: &[u8]) -> Result<Record, VaultError> {
    if value.len() > MAX_VALUE_BYTES {
        return Err(VaultError::Oversized { got: value.len() });
    }
    let aad = associated(1, epoch, name);
    let ciphertext = cipher(key)
        .encrypt(&Nonce::from(nonce), Payload { msg: value, aad: &aad })
        .map_err(|_| VaultError::Oversized { got: value.len() })?;
    Ok(Record { version: 1, epoch, nonce, ciphertext })
}

/// Decrypts a record of a name.
pub fn open(key: &AppKey, name: &str, record: &Record) -> Result<Vec<u8>, VaultError> {
    let aad = associated(record.version, record.epoch, name);
    cipher(key)
        .decrypt(&Nonce::from(record.nonce), Payload { msg: &record.ciphertext, aad: &aad })
        .map_err(|_| VaultError::Tampered { name: name.into() })
}
