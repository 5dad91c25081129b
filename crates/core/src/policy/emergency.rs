//! Who may act when the chain cannot, and how long it must have been public: the sections `council` and `witnesses`.

use alloc::{
    borrow::ToOwned,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;
use core::str::FromStr;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::witness::WitnessKey;

/// Most council members, and most witnesses.
pub const MAX_PEOPLE: usize = 100;

/// A public key that signs orders. As text: `ed25519:` and 64 hexadecimal characters, or `p256:` and 66 (compressed).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(flat)]
pub enum CouncilKey {
    /// Ed25519 (RFC 8032), 32 bytes; COSE algorithm EdDSA, -8.
    #[n(0)]
    Ed25519(#[cbor(n(0), with = "minicbor::bytes")] [u8; 32]),
    /// ECDSA over P-256 with SHA-256, a compressed SEC1 point of 33 bytes; COSE algorithm ES256, -7. Security keys and
    /// smart cards hold these.
    #[n(1)]
    P256(#[cbor(n(0), with = "minicbor::bytes")] [u8; 33]),
}

/// A text that is no key of a council member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{got:?} is no council key: expected \"ed25519:\" and 64 hexadecimal characters, or \"p256:\" and 66")]
pub struct BadCouncilKey {
    /// What was given.
    pub got: String,
}

impl CouncilKey {
    /// The bytes of the key, 32 or 33: what a signature names as its key id.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            CouncilKey::Ed25519(k) => k,
            CouncilKey::P256(k) => k,
        }
    }

    /// A point that signatures can be checked with.
    pub(crate) fn is_usable(&self) -> bool {
        match self {
            CouncilKey::Ed25519(k) => ed25519_dalek::VerifyingKey::from_bytes(k).is_ok_and(|k| !k.is_weak()),
            CouncilKey::P256(k) => p256::ecdsa::VerifyingKey::from_sec1_bytes(k).is_ok(),
        }
    }
}

impl fmt::Display for CouncilKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CouncilKey::Ed25519(k) => write!(f, "ed25519:{}", hex::encode(k)),
            CouncilKey::P256(k) => write!(f, "p256:{}", hex::encode(k)),
        }
    }
}

impl fmt::Debug for CouncilKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for CouncilKey {
    type Err = BadCouncilKey;
    fn from_str(s: &str) -> Result<Self, BadCouncilKey> {
        let bad = || BadCouncilKey { got: s.to_owned() };
        let (kind, text) = s.split_once(':').ok_or_else(bad)?;
        let bytes = hex::decode(text).map_err(|_| bad())?;
        match kind {
            "ed25519" => bytes.try_into().map(CouncilKey::Ed25519).map_err(|_| bad()),
            "p256" => bytes.try_into().map(CouncilKey::P256).map_err(|_| bad()),
            _ => Err(bad()),
        }
    }
}

impl Serialize for CouncilKey {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CouncilKey {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let s = <String as Deserialize>::deserialize(d)?;
        s.parse().map_err(serde::de::Error::custom)
    }
}

/// One member of the council.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(array)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Who it is, as reports name it.
    #[n(0)]
    pub name: String,
    /// The member's key.
    #[n(1)]
    pub key: CouncilKey,
}

/// The people of the break-glass rule. Validators with more than two thirds of the bonded power can always act in their place.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
#[serde(deny_unknown_fields)]
pub struct Council {
    /// The members.
    #[n(0)]
    pub members: Vec<Member>,
    /// m: how many of them must sign; 0, with no members, leaves it to validators.
    #[n(1)]
    pub needed: u32,
    /// How long an order must have been public, in blocks.
    #[n(2)]
    pub notice_blocks: u64,
}

/// The parties that date checkpoints.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
#[serde(deny_unknown_fields)]
pub struct Witnesses {
    /// Their keys, C2SP vkeys of type 0x04.
    #[n(0)]
    pub keys: Vec<WitnessKey>,
    /// w: how many of them must cosign.
    #[n(1)]
    pub needed: u32,
    /// How far apart the two dates of a notice must lie, in seconds.
    #[n(2)]
    pub notice_secs: u64,
    /// Nothing leaves without a witnessed date, see [`crate::order`].
    #[n(3)]
    #[serde(default)]
    pub dated_exports: bool,
}

/// Why one of these sections is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CouncilError {
    /// m, or w, outside of the list.
    #[error("{field}: expected at least 1 and at most the {people} listed, got {got}")]
    Needed {
        /// Name of the field.
        field: &'static str,
        /// How many are listed.
        people: usize,
        /// The policy's.
        got: u32,
    },
    /// No notice is no notice.
    #[error("{field}: expected at least 1, got 0: an order must have been public before anything leaves by it")]
    NoNotice {
        /// Name of the field.
        field: &'static str,
    },
    /// Twice the same.
    #[error("{field}: {who:?} is listed twice: one person counts once")]
    Twice {
        /// Name of the field.
        field: &'static str,
        /// Name or key.
        who: String,
    },
    /// No key, or no name.
    #[error("{field}: {who:?} has no name, or a key that nothing can be verified with")]
    Unusable {
        /// Name of the field.
        field: &'static str,
        /// Name or key.
        who: String,
    },
    /// Too many.
    #[error("{field}: expected at most {MAX_PEOPLE}, got {got}")]
    TooMany {
        /// Name of the field.
        field: &'static str,
        /// The policy's.
        got: usize,
    },
}

impl Council {
    /// Refuses values that make the rule vacuous.
    pub fn validate(&self) -> Result<(), CouncilError> {
        const FIELD: &str = "council.members";
        if self.needed != 0 || !self.members.is_empty() {
            people("council.needed", self.members.len(), self.needed)?;
        }
        for member in &self.members {
            if member.name.is_empty() || member.name.chars().any(char::is_control) || !member.key.is_usable() {
                return Err(CouncilError::Unusable { field: FIELD, who: member.name.clone() });
            }
        }
        twice(FIELD, self.members.iter().map(|m| m.name.clone()))?;
        twice(FIELD, self.members.iter().map(|m| m.key.to_string()))?;
        notice("council.notice_blocks", self.notice_blocks)
    }
}

impl Witnesses {
    /// Refuses values that make the rule vacuous.
    pub fn validate(&self) -> Result<(), CouncilError> {
        const FIELD: &str = "witnesses.keys";
        people("witnesses.needed", self.keys.len(), self.needed)?;
        if let Some(bad) = self.keys.iter().find(|k| !k.is_valid()) {
            return Err(CouncilError::Unusable { field: FIELD, who: bad.name().into() });
        }
        twice(FIELD, self.keys.iter().map(|k| k.name().into()))?;
        twice(FIELD, self.keys.iter().map(|k| hex::encode(k.public_key())))?;
        notice("witnesses.notice_secs", self.notice_secs)
    }
}

fn people(field: &'static str, people: usize, got: u32) -> Result<(), CouncilError> {
    if people > MAX_PEOPLE {
        return Err(CouncilError::TooMany { field, got: people });
    }
    if got == 0 || got as usize > people {
        return Err(CouncilError::Needed { field, people, got });
    }
    Ok(())
}

fn twice(field: &'static str, list: impl Iterator<Item = String>) -> Result<(), CouncilError> {
    let mut all: Vec<String> = list.collect();
    all.sort_unstable();
    match all.windows(2).find(|w| w.first() == w.last()).and_then(|w| w.first()) {
        Some(who) => Err(CouncilError::Twice { field, who: who.clone() }),
        None => Ok(()),
    }
}

fn notice(field: &'static str, got: u64) -> Result<(), CouncilError> {
    if got == 0 { Err(CouncilError::NoNotice { field }) } else { Ok(()) }
}
