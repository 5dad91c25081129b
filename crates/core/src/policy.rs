//! The rules that are built into an enclave, and so are part of its measurement.
//!
//! People write it as TOML; what is measured is deterministic CBOR. Both are read strictly: a field
//! that this code does not know is a rule that it would not keep, so it is refused. Sections for
//! what this code does not do yet exist as data, and [`Policy::validate`] refuses them when they are set.

use alloc::{string::String, vec::Vec};
use core::fmt;

use baton_attest::identity::{Digest32, PLATFORM_SGX, encode, hash};
use baton_attest::policy::{BuildError, BuildRules, TcbPolicy, TcbPolicyError};
use baton_chain::policy::ChainPolicyError;
use baton_chain::{ChainPolicy, Decimal};
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::cbor::decode_exact;
use crate::keyring::{Commitment, Commitments};
use crate::note::is_key_name;

pub use baton_chain::admission::Admission;

mod emergency;
mod explain;

pub use emergency::{Council, CouncilError, CouncilKey, Member, Witnesses};
pub use explain::{Level, Sentence, explain};

/// The format version that this code reads and writes.
pub const FORMAT: u8 = 1;

/// Largest policy in CBOR, in bytes (256 KiB).
pub const MAX_POLICY_LEN: usize = 256 << 10;

/// Where the first keyring comes from.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The seed of epoch 0 is made by this build.
    #[n(0)]
    Genesis,
    /// The seed of epoch 0 is in a file that Intel's SDK sealed.
    #[n(1)]
    Legacy,
    /// The keyring is handed over; these are the commitments of its epochs.
    #[n(2)]
    Commitments(#[n(0)] Vec<EpochCommitment>),
}

/// The commitment of one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(array)]
#[serde(deny_unknown_fields)]
pub struct EpochCommitment {
    /// Number of the epoch.
    #[n(0)]
    pub epoch: u64,
    /// Commitment to its seed.
    #[n(1)]
    pub commitment: Commitment,
}

/// When an old copy may be erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
#[serde(deny_unknown_fields)]
pub struct BarrierRules {
    /// Blocks between the successor's activation and a receipt that counts.
    #[n(0)]
    pub grace_blocks: u64,
    /// R: distinct platforms that must hold the keyring under the target.
    #[n(1)]
    pub platforms: u32,
    /// Share of voting power that these must stand for, above 0, at most 1.
    #[n(2)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_share: Option<Decimal>,
}

/// How files are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(index_only)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Under MRSIGNER, with each handover run beside it and compared.
    #[n(0)]
    Shadow,
    /// Under MRENCLAVE: the handover is the only way.
    #[n(1)]
    Mrenclave,
}

/// The enclave that can open an escrowed keyring.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
#[serde(deny_unknown_fields)]
pub struct Lifeboat {
    /// SHA-256 of its X-Wing public key.
    #[n(0)]
    pub key_digest: Digest32,
    /// SHA-256 of the council's X-Wing public key (`baton ceremony council new`).
    #[n(1)]
    pub council_digest: Digest32,
}

/// The policy. Only a validated one means what it says.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// [`FORMAT`].
    #[n(0)]
    pub format: u8,
    /// [`PLATFORM_SGX`].
    #[n(1)]
    pub platform_tag: u8,
    /// Where the first keyring comes from.
    #[n(5)]
    pub origin: Origin,
    /// Phase of the move from MRSIGNER to MRENCLAVE.
    #[n(9)]
    pub phase: Phase,
    /// To which machines a seed may cross.
    #[n(8)]
    pub admission: Admission,
    /// Rehearsed nodes that operators want to see before the lead window opens. Advice, not a bar.
    #[n(7)]
    #[serde(default)]
    pub readiness_wanted: u32,
    /// Blocks between rotations.
    #[n(13)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation_blocks: Option<u64>,
    /// Which chain, and the bars of a vote.
    #[n(2)]
    pub chain: ChainPolicy,
    /// Which builds.
    #[n(3)]
    pub builds: BuildRules,
    /// Which platforms.
    #[n(4)]
    pub tcb: TcbPolicy,
    /// When an old copy may be erased.
    #[n(6)]
    pub barrier: BarrierRules,
    /// The break-glass rule.
    #[n(10)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub council: Option<Council>,
    /// The witnesses.
    #[n(11)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witnesses: Option<Witnesses>,
    /// The lifeboat.
    #[n(12)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifeboat: Option<Lifeboat>,
}

/// Why a policy is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Not the deterministic CBOR of a policy.
    #[error("not a policy: {0}")]
    Malformed(&'static str),
    /// Another format version.
    #[error("format: expected {FORMAT}, got {got}")]
    Format {
        /// The policy's.
        got: u8,
    },
    /// Another platform.
    #[error("platform_tag: expected {PLATFORM_SGX}, got {got}")]
    Platform {
        /// The policy's.
        got: u8,
    },
    /// Section `chain`.
    #[error("chain: {0}")]
    Chain(#[from] ChainPolicyError),
    /// A chain id that cannot name a log.
    #[error("chain.chain_id: expected no white space and no plus sign, got {got:?}")]
    ChainId {
        /// The policy's.
        got: String,
    },
    /// A share of power where nothing shows power.
    #[error("barrier.power_share: only vouched machines stand for power; expected admission \"vouched\", got {:?}", .got.name())]
    PowerWithout {
        /// The policy's.
        got: Admission,
    },
    /// Section `builds`.
    #[error("builds: {0}")]
    Builds(#[from] BuildError),
    /// Section `tcb`.
    #[error("tcb: {0}")]
    Tcb(#[from] TcbPolicyError),
    /// A number below its least.
    #[error("{field}: expected at least {least}, got {got}")]
    TooSmall {
        /// Name of the field.
        field: &'static str,
        /// Its least value.
        least: u64,
        /// The policy's.
        got: u64,
    },
    /// A share that is none.
    #[error("barrier.power_share: expected above 0 and at most 1, got {got}")]
    PowerShare {
        /// The policy's.
        got: Decimal,
    },
    /// No epoch.
    #[error(
        "origin.commitments: expected at least one epoch, got none; a first build says \"genesis\" or \"legacy\""
    )]
    NoCommitments,
    /// Epochs twice or out of order.
    #[error("origin.commitments: expected ascending epochs, got {got} after {after}")]
    EpochOrder {
        /// The epoch before.
        after: u64,
        /// The epoch that came.
        got: u64,
    },
    /// Sections `council` and `witnesses`.
    #[error(transparent)]
    Emergency(#[from] CouncilError),
    /// An escrow without a rule for its release.
    #[error("lifeboat: expected a section {missing} as well, got none; a lifeboat releases what m council members name, after the notice of witnesses")]
    LifeboatAlone {
        /// What is not there.
        missing: &'static str,
    },
    /// One key for both.
    #[error("lifeboat: key_digest and council_digest are one, {got}: expected two keys, so that neither side opens an escrow alone")]
    LifeboatKeys {
        /// The digest.
        got: Digest32,
    },
    /// A rule that this code does not keep yet.
    #[error("{what}: not supported yet; expected {expected}")]
    NotSupported {
        /// Name of the field.
        what: &'static str,
        /// What it must be.
        expected: &'static str,
    },
}

impl Policy {
    /// The deterministic CBOR: what is measured.
    pub fn to_cbor(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads and validates the bytes of [`Policy::to_cbor`]. Unknown fields and any other encoding of
    /// the same policy are refused.
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, PolicyError> {
        if bytes.len() > MAX_POLICY_LEN {
            return Err(PolicyError::Malformed("too long"));
        }
        let policy: Self = decode_exact(bytes).ok_or(PolicyError::Malformed("bad CBOR"))?;
        if policy.to_cbor() != bytes {
            return Err(PolicyError::Malformed(
                "unknown fields, or not deterministic",
            ));
        }
        policy.validate()?;
        Ok(policy)
    }

    /// SHA-256(`"baton policy v1"`, CBOR of the policy).
    pub fn digest(&self) -> Digest32 {
        hash("baton policy v1", &[&self.to_cbor()])
    }

    /// The commitments of the epochs so far; none for a first build.
    pub fn commitments(&self) -> Commitments {
        match &self.origin {
            Origin::Genesis | Origin::Legacy => Commitments::new(),
            Origin::Commitments(list) => list.iter().map(|e| (e.epoch, e.commitment)).collect(),
        }
    }

    /// Refuses values that contradict each other, make a check vacuous, or need code that is not there.
    pub fn validate(&self) -> Result<(), PolicyError> {
        if self.format != FORMAT {
            return Err(PolicyError::Format { got: self.format });
        }
        if self.platform_tag != PLATFORM_SGX {
            return Err(PolicyError::Platform {
                got: self.platform_tag,
            });
        }
        self.chain.validate()?;
        if !is_key_name(&self.chain.chain_id) {
            return Err(PolicyError::ChainId {
                got: self.chain.chain_id.clone(),
            });
        }
        self.builds.validate()?;
        self.tcb.validate()?;
        at_least("chain.lead_blocks", 1, self.chain.lead_blocks)?;
        at_least(
            "tcb.max_collateral_age_secs",
            1,
            self.tcb.max_collateral_age_secs,
        )?;
        at_least("barrier.platforms", 1, self.barrier.platforms.into())?;
        match self.barrier.power_share {
            Some(got) if got == Decimal::ZERO || got > Decimal::ONE => {
                return Err(PolicyError::PowerShare { got });
            }
            // Nobody says whose the other machines are.
            Some(_) if self.admission != Admission::Vouched => {
                return Err(PolicyError::PowerWithout { got: self.admission });
            }
            _ => {}
        }
        self.validate_origin()?;
        self.council.as_ref().map_or(Ok(()), Council::validate)?;
        self.witnesses.as_ref().map_or(Ok(()), Witnesses::validate)?;
        self.validate_lifeboat()?;
        self.refuse_unsupported()
    }

    fn validate_lifeboat(&self) -> Result<(), PolicyError> {
        let Some(lifeboat) = &self.lifeboat else { return Ok(()) };
        if lifeboat.key_digest == lifeboat.council_digest {
            return Err(PolicyError::LifeboatKeys { got: lifeboat.key_digest });
        }
        if self.council.as_ref().is_none_or(|c| c.members.is_empty()) {
            return Err(PolicyError::LifeboatAlone { missing: "council with members" });
        }
        match self.witnesses {
            Some(_) => Ok(()),
            None => Err(PolicyError::LifeboatAlone { missing: "witnesses" }),
        }
    }

    fn validate_origin(&self) -> Result<(), PolicyError> {
        let list = match &self.origin {
            Origin::Genesis | Origin::Legacy => return Ok(()),
            Origin::Commitments(list) => list,
        };
        if list.is_empty() {
            return Err(PolicyError::NoCommitments);
        }
        match list
            .iter()
            .zip(list.iter().skip(1))
            .find(|(a, b)| a.epoch >= b.epoch)
        {
            Some((a, b)) => Err(PolicyError::EpochOrder {
                after: a.epoch,
                got: b.epoch,
            }),
            None => Ok(()),
        }
    }

    fn refuse_unsupported(&self) -> Result<(), PolicyError> {
        match self.rotation_blocks {
            Some(_) => Err(PolicyError::NotSupported { what: "rotation_blocks", expected: "none" }),
            None => Ok(()),
        }
    }
}

fn at_least(field: &'static str, least: u64, got: u64) -> Result<(), PolicyError> {
    if got < least {
        Err(PolicyError::TooSmall { field, least, got })
    } else {
        Ok(())
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shadow => "shadow",
            Self::Mrenclave => "mrenclave",
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
