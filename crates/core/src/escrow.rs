//! Escrows: a keyring that only a lifeboat and m of the council can open together.
//!
//! An escrow is HPKE(council key, HPKE(lifeboat key, keyring and conditions)): the council's shares take off the outer
//! layer, the lifeboat's secret the inner one, and neither alone reads anything. The conditions of a release (council,
//! witnesses, notice, builds, platforms) are those of the policy of the build that made the escrow, and lie beside the
//! keyring, inside both layers: whoever could change them holds the keyring already. So a lifeboat needs no policy of any
//! network, never goes out of date, and still demands the notice of the very network whose seed it gives.
//!
//! An escrow is made at each epoch and kept with the sealed files; it is no copy in the sense of the rule "public before
//! private", what a lifeboat releases is.

use alloc::{string::String, vec::Vec};

use baton_attest::identity::{Digest32, encode, hash};
use baton_attest::policy::{BuildRules, TcbPolicy};
use minicbor::{Decode, Encode};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::cbor::decode_exact;
use crate::hpke_box::{BoxError, PublicKey, RecipientKey, SealedBox, seal_to};
use crate::keyring::{Commitments, KeyringOf};
use crate::platform::Platform;
use crate::policy::{Council, Policy, Witnesses};
use crate::secret::{Canary, Kind, Real};

/// The version of escrows.
pub const VERSION: u8 = 1;
/// Largest escrow that is read, in bytes (16 MiB).
pub const MAX_ESCROW_BYTES: usize = 16 << 20;

const OUTER: &str = "baton escrow council layer v1";
const INNER: &str = "baton escrow lifeboat layer v1";
const CANARY_OUTER: &str = "baton canary escrow council layer v1";
const CANARY_INNER: &str = "baton canary escrow lifeboat layer v1";

/// Under which conditions a lifeboat gives the keyring. CBOR map.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Conditions {
    /// The chain.
    #[n(0)]
    pub chain_id: String,
    /// Who may name a build, and how many of them.
    #[n(1)]
    pub council: Council,
    /// Who dates the notice, and how long it must be.
    #[n(2)]
    pub witnesses: Witnesses,
    /// Which builds.
    #[n(3)]
    pub builds: BuildRules,
    /// Which platforms.
    #[n(4)]
    pub tcb: TcbPolicy,
}

/// Why no escrow was made, or no conditions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EscrowError {
    /// The policy lacks a section.
    #[error("this build's policy has no section {0:?}: an escrow would have no rule for its release, so none is made")]
    NoSection(&'static str),
    /// Nobody could order a release.
    #[error("the policy's council has no members: only a council can order a lifeboat, which knows no validators; list members, or make no escrow")]
    NoMembers,
    /// Another key than is announced.
    #[error("{what}: expected the key with SHA-256 {expected}, got {got}")]
    OtherKey {
        /// Which key.
        what: &'static str,
        /// The announced digest.
        expected: Digest32,
        /// Of what was brought.
        got: Digest32,
    },
    /// Not a key, or encryption failed.
    #[error(transparent)]
    Box(#[from] BoxError),
}

impl Conditions {
    /// Those of a policy.
    pub fn of(policy: &Policy) -> Result<Self, EscrowError> {
        let council = policy.council.clone().ok_or(EscrowError::NoSection("council"))?;
        let witnesses = policy.witnesses.clone().ok_or(EscrowError::NoSection("witnesses"))?;
        if council.needed == 0 || council.members.is_empty() {
            return Err(EscrowError::NoMembers);
        }
        Ok(Conditions {
            chain_id: policy.chain.chain_id.clone(),
            council,
            witnesses,
            builds: policy.builds.clone(),
            tcb: policy.tcb.clone(),
        })
    }
}

/// SHA-256 of an X-Wing public key: how policies and cards name it.
pub fn key_digest(key: &[u8]) -> Digest32 {
    Digest32(Sha256::digest(key).into())
}

/// The two keys that an escrow is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EscrowKeys {
    council: PublicKey,
    lifeboat: PublicKey,
}

impl EscrowKeys {
    /// Takes keys that a host brings only if they are the announced ones.
    pub fn new(council: (&[u8], &Digest32), lifeboat: (&[u8], &Digest32)) -> Result<Self, EscrowError> {
        let take = |what, (key, expected): (&[u8], &Digest32)| {
            let got = key_digest(key);
            if got != *expected {
                return Err(EscrowError::OtherKey { what, expected: *expected, got });
            }
            Ok(PublicKey::from_bytes(key)?)
        };
        Ok(EscrowKeys { council: take("the council's key", council)?, lifeboat: take("the lifeboats' key", lifeboat)? })
    }
}

/// What the outside of an escrow says; it is bound into both layers. CBOR array.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct EscrowHeader {
    /// [`VERSION`].
    #[n(0)]
    pub version: u8,
    /// A rehearsal's keyring; it opens nothing of the network.
    #[n(1)]
    pub canary: bool,
    /// The chain.
    #[n(2)]
    pub chain_id: String,
    /// The commitments of the seeds inside, by epoch.
    #[n(3)]
    pub commitments: Commitments,
    /// SHA-256 of the council's key.
    #[n(4)]
    pub council_key: Digest32,
    /// SHA-256 of the lifeboats' key.
    #[n(5)]
    pub lifeboat_key: Digest32,
}

/// An escrow as a file. CBOR map.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Escrow {
    /// What it holds.
    #[n(0)]
    pub header: EscrowHeader,
    /// The outer layer.
    #[n(1)]
    pub sealed: SealedBox,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Inside {
    #[n(0)]
    conditions: Conditions,
    #[cbor(n(1), with = "minicbor::bytes")]
    keyring: Vec<u8>,
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.keyring.zeroize();
    }
}

/// Why an escrow does not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenEscrowError {
    /// Not the file.
    #[error("not an escrow of version {VERSION}: truncated, too long, or another file")]
    Malformed,
    /// Another council's, or another lifeboat's.
    #[error("the escrow is for {what} {expected}, this is {got}: bring the escrow that was made for these keys")]
    OtherKey {
        /// Whose key.
        what: &'static str,
        /// SHA-256 of the key in the escrow's header.
        expected: Digest32,
        /// SHA-256 of ours.
        got: Digest32,
    },
    /// Changed.
    #[error("the {0} layer of the escrow does not open: the file was changed; take another holder's")]
    Damaged(&'static str),
}

impl Escrow {
    /// Reads one escrow and nothing else.
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, OpenEscrowError> {
        let escrow = Some(bytes).filter(|b| b.len() <= MAX_ESCROW_BYTES).and_then(decode_exact::<Self>);
        escrow.filter(|e| e.header.version == VERSION).ok_or(OpenEscrowError::Malformed)
    }

    /// The bytes.
    pub fn to_cbor(&self) -> Vec<u8> {
        encode(self)
    }

    /// Takes off both layers.
    pub fn open(&self, council: &RecipientKey, lifeboat: &RecipientKey) -> Result<OpenedEscrow, OpenEscrowError> {
        for (what, key, expected) in [
            ("the council key", council, self.header.council_key),
            ("the lifeboat key", lifeboat, self.header.lifeboat_key),
        ] {
            let got = key_digest(&key.public_key().to_bytes());
            if got != expected {
                return Err(OpenEscrowError::OtherKey { what, expected, got });
            }
        }
        let aad = header_digest(&self.header);
        let (outer, inner) = if self.header.canary { (CANARY_OUTER, CANARY_INNER) } else { (OUTER, INNER) };
        let middle = council.open(outer, &aad.0, &self.sealed).map_err(|_| OpenEscrowError::Damaged("council's"))?;
        let middle: SealedBox = decode_exact(&middle).ok_or(OpenEscrowError::Damaged("lifeboat's"))?;
        let plain = lifeboat.open(inner, &aad.0, &middle).map_err(|_| OpenEscrowError::Damaged("lifeboat's"))?;
        let mut inside: Inside = decode_exact(&plain).ok_or(OpenEscrowError::Damaged("lifeboat's"))?;
        let keyring = Zeroizing::new(core::mem::take(&mut inside.keyring));
        Ok(OpenedEscrow { conditions: inside.conditions.clone(), keyring, canary: self.header.canary })
    }
}

fn header_digest(header: &EscrowHeader) -> Digest32 {
    hash("baton escrow v1", &[&encode(header)])
}

/// What was in an escrow. Only [`Escrow::open`] makes one.
pub struct OpenedEscrow {
    conditions: Conditions,
    keyring: Zeroizing<Vec<u8>>,
    canary: bool,
}

impl OpenedEscrow {
    /// The conditions of its release.
    pub fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    /// True for a rehearsal's.
    pub fn is_canary(&self) -> bool {
        self.canary
    }

    /// The encoded keyring, for an offer.
    pub(crate) fn keyring(&self) -> &[u8] {
        &self.keyring
    }
}

/// An escrow of the network's keyring.
pub fn make(
    platform: &mut dyn Platform,
    keyring: &KeyringOf<Real>,
    conditions: &Conditions,
    keys: &EscrowKeys,
) -> Result<Escrow, EscrowError> {
    wrap(platform, keyring, conditions, keys, false)
}

/// An escrow of a rehearsal's keyring, for a drill. Its layers have other labels: it never opens as a real one.
pub fn make_canary(
    platform: &mut dyn Platform,
    keyring: &KeyringOf<Canary>,
    conditions: &Conditions,
    keys: &EscrowKeys,
) -> Result<Escrow, EscrowError> {
    wrap(platform, keyring, conditions, keys, true)
}

fn wrap<K: Kind>(
    platform: &mut dyn Platform,
    keyring: &KeyringOf<K>,
    conditions: &Conditions,
    keys: &EscrowKeys,
    canary: bool,
) -> Result<Escrow, EscrowError> {
    let header = EscrowHeader {
        version: VERSION,
        canary,
        chain_id: conditions.chain_id.clone(),
        commitments: keyring.commitments(),
        council_key: key_digest(&keys.council.to_bytes()),
        lifeboat_key: key_digest(&keys.lifeboat.to_bytes()),
    };
    let inside = Inside { conditions: conditions.clone(), keyring: keyring.danger_encode().to_vec() };
    let plain = Zeroizing::new(encode(&inside));
    let aad = header_digest(&header);
    let (outer, inner) = if canary { (CANARY_OUTER, CANARY_INNER) } else { (OUTER, INNER) };
    let middle = seal_to(platform, &keys.lifeboat, inner, &aad.0, &plain)?;
    let sealed = seal_to(platform, &keys.council, outer, &aad.0, &encode(&middle))?;
    Ok(Escrow { header, sealed })
}

#[cfg(test)]
mod tests;
