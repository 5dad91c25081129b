//! The validator's signer, seen from outside: what it signed last, and what the chain says that it signed.
//!
//! CometBFT keeps the height, round and step of the last signature in `priv_validator_state.json`, so that
//! the same key never signs twice. A file that was put back, or a key that signed on another machine, breaks
//! that; the chain's own commits show it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use prost::Message;
use serde::{Deserialize, Serialize};
use tendermint_proto::types::{BlockIdFlag, SignedHeader};

use crate::chain::{ChainSource, SourceError};

/// What the signer signed last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidatorState {
    /// Height, in blocks.
    #[serde(with = "text")]
    pub height: u64,
    /// Round.
    pub round: i64,
    /// Step: 1 propose, 2 prevote, 3 precommit.
    pub step: u8,
}

/// Address of a validator's consensus key, 20 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsensusAddress(pub [u8; 20]);

/// Why the signer is not trusted to sign.
#[derive(Debug, thiserror::Error)]
pub enum ValidatorError {
    /// A file cannot be read.
    #[error("{path}: {source}; point at the node's own file")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file is something else.
    #[error("{path} is not CometBFT's {what}: {reason}; point at the node's own file")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The chain.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Somebody signed with this key since.
    #[error("validator {address} signed block {got} elsewhere: expected nothing above height {expected}, which its state file shows; starting it here could sign a height twice: stop the other signer, bring its priv_validator_state.json here, then try again")]
    SignedElsewhere {
        /// The validator.
        address: String,
        /// The state file's height.
        expected: u64,
        /// The highest block with a signature of this key.
        got: u64,
    },
}

#[derive(Deserialize)]
struct KeyFile {
    address: String,
}

impl ValidatorState {
    /// Reads `priv_validator_state.json`.
    pub fn read(path: &Path) -> Result<Self, ValidatorError> {
        let bytes = fs::read(path).map_err(|source| ValidatorError::Io { path: path.into(), source })?;
        serde_json::from_slice(&bytes).map_err(|e| ValidatorError::Malformed {
            path: path.into(),
            what: "priv_validator_state.json",
            reason: e.to_string(),
        })
    }
}

impl ConsensusAddress {
    /// Reads it from `priv_validator_key.json`; the key itself is not looked at.
    pub fn read(path: &Path) -> Result<Self, ValidatorError> {
        let bytes = fs::read(path).map_err(|source| ValidatorError::Io { path: path.into(), source })?;
        let malformed = |reason: String| ValidatorError::Malformed {
            path: path.into(),
            what: "priv_validator_key.json",
            reason,
        };
        let file: KeyFile = serde_json::from_slice(&bytes).map_err(|e| malformed(e.to_string()))?;
        let mut address = [0; 20];
        hex::decode_to_slice(&file.address, &mut address)
            .map_err(|_| malformed(format!("address: expected 40 hexadecimal characters, got {:?}", file.address)))?;
        Ok(ConsensusAddress(address))
    }
}

/// The highest block above `height` whose commit holds a signature of this validator, looked for up to the newest.
pub fn signed_above(
    source: &dyn ChainSource,
    address: ConsensusAddress,
    height: u64,
) -> Result<Option<u64>, SourceError> {
    for h in (height.saturating_add(1)..=source.latest()?).rev() {
        let block = source.light_block(h)?;
        let signed = SignedHeader::decode(block.signed_header.as_slice()).ok().and_then(|s| s.commit);
        let by_us = signed.is_some_and(|commit| {
            commit.signatures.iter().any(|s| {
                s.validator_address == address.0 && s.block_id_flag != BlockIdFlag::Absent as i32
            })
        });
        if by_us {
            return Ok(Some(h));
        }
    }
    Ok(None)
}

/// The guard before a validator signs again: nothing above its state file may carry its signature.
pub fn may_sign(
    source: &dyn ChainSource,
    address: ConsensusAddress,
    state: &ValidatorState,
) -> Result<(), ValidatorError> {
    match signed_above(source, address, state.height)? {
        None => Ok(()),
        Some(got) => Err(ValidatorError::SignedElsewhere {
            address: hex::encode_upper(address.0),
            expected: state.height,
            got,
        }),
    }
}

/// CometBFT writes 64-bit numbers as text.
mod text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(n: &u64, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(n)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}
