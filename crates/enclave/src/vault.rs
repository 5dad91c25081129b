//! The example app: an encrypted key-value store under keys derived from an epoch's seed.
//!
//! It shows what a contract engine would do: it never sees the seed, only [`AppKey`]s, and it is what
//! makes people see that private state survives an upgrade. The host stores its records; a record that
//! was changed, or moved under another name, does not open.
//!
//! Layout 1 of a record is the value, encrypted. Layout 2 hides its length as well. Programs with feature
//! `padded` write and read it; programs without refuse it by name. That is how two releases of an app differ.

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

/// The newest layout of records that this program reads and writes.
pub const NEWEST_LAYOUT: u8 = if cfg!(feature = "padded") { 2 } else { 1 };

/// What padded values are filled up to a multiple of, in bytes.
#[cfg(feature = "padded")]
pub const PAD_BYTES: usize = 256;

/// One encrypted record as the host keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Record {
    /// Layout: 1, or 2 with its length hidden.
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
    /// The record is of a layout that another release writes.
    #[error("the record is of layout {got}, this program reads layouts 1 to {NEWEST_LAYOUT}; read it with the build that wrote it, or a later one")]
    Layout {
        /// The record's layout.
        got: u8,
    },
    /// This program writes no padded records.
    #[error("this program writes no padded records: expected one of layout 2, got one of layout {NEWEST_LAYOUT}; store the value as it is, or upgrade")]
    NotPadding,
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
    encrypt(key, (1, epoch), nonce, name, value)
}

/// Encrypts a value and hides its length.
#[cfg(feature = "padded")]
pub fn seal_padded(key: &AppKey, epoch: u64, nonce: [u8; 12], name: &str, value: &[u8]) -> Result<Record, VaultError> {
    if value.len() > MAX_VALUE_BYTES {
        return Err(VaultError::Oversized { got: value.len() });
    }
    encrypt(key, (2, epoch), nonce, name, &padding::add(value))
}

/// This program has only layout 1.
#[cfg(not(feature = "padded"))]
pub fn seal_padded(_: &AppKey, _: u64, _: [u8; 12], _: &str, _: &[u8]) -> Result<Record, VaultError> {
    Err(VaultError::NotPadding)
}

fn encrypt(key: &AppKey, (version, epoch): (u8, u64), nonce: [u8; 12], name: &str, text: &[u8]) -> Result<Record, VaultError> {
    let aad = associated(version, epoch, name);
    let ciphertext = cipher(key)
        .encrypt(&Nonce::from(nonce), Payload { msg: text, aad: &aad })
        .map_err(|_| VaultError::Oversized { got: text.len() })?;
    Ok(Record { version, epoch, nonce, ciphertext })
}

/// Decrypts a record of a name.
pub fn open(key: &AppKey, name: &str, record: &Record) -> Result<Vec<u8>, VaultError> {
    if !(1..=NEWEST_LAYOUT).contains(&record.version) {
        return Err(VaultError::Layout { got: record.version });
    }
    let aad = associated(record.version, record.epoch, name);
    let tampered = || VaultError::Tampered { name: name.into() };
    let text = cipher(key)
        .decrypt(&Nonce::from(record.nonce), Payload { msg: &record.ciphertext, aad: &aad })
        .map_err(|_| tampered())?;
    match record.version {
        #[cfg(feature = "padded")]
        2 => padding::remove(text).ok_or_else(tampered),
        _ => Ok(text),
    }
}

/// A length (4 bytes, little endian), the value, zeros up to a multiple of [`PAD_BYTES`].
#[cfg(feature = "padded")]
mod padding {
    use super::{PAD_BYTES, Vec};

    const LENGTH_LEN: usize = 4;

    pub fn add(value: &[u8]) -> Vec<u8> {
        // Values are far below 4 GiB: the caller has a bound of its own.
        let mut out = u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
        out.extend_from_slice(value);
        out.resize(out.len().next_multiple_of(PAD_BYTES), 0);
        out
    }

    pub fn remove(mut text: Vec<u8>) -> Option<Vec<u8>> {
        let len = usize::try_from(u32::from_le_bytes(*text.first_chunk::<LENGTH_LEN>()?)).ok()?;
        text.drain(..LENGTH_LEN);
        let zeros = text.get(len..)?.iter().all(|b| *b == 0);
        text.truncate(len);
        zeros.then_some(text)
    }
}
