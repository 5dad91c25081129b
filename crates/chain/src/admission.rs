//! Admission: to which machines a seed may cross (DESIGN section 6).
//!
//! A quote alone opens no door where the policy says `vouched` or `voted`: attestation keys have been taken out of
//! machines by their owners (H16), and a forged quote for the approved build then looks like a genuine one (A29).
//! Somebody who answers for it must have named the machine in public: a bonded validator in its own staking record, or
//! a vote. Both are proven under the very header that shows the rest, so an edit that takes a name away counts at once.
//!
//! - `vouched`: `description.details` of the record holds one word `baton1:<hex>[,<hex>[,<hex>]]`, platform ids of 64 lower-case
//!   digits each. Other words beside it are the validator's own.
//! - `voted`: the `metadata` of a passed proposal without messages is `baton-admit:<hex>[,<hex>…]`. It can't be taken back.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use baton_attest::identity::PlatformId;
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::decimal::Decimal;
use crate::evidence::VoteEndEvidence;
use crate::light::{LightClient, LightError, TrustedHeader};
use crate::policy::ChainPolicy;
use crate::proofs::StateProof;
use crate::staking::{Bonded, StakingError};
use crate::vote::{VoteEnd, VoteError, passed_proposal, weigh};

/// What the word in a validator's details begins with.
pub const VOUCH_PREFIX: &str = "baton1:";
/// What the metadata of a proposal that admits machines begins with.
pub const ADMIT_PREFIX: &str = "baton-admit:";
/// Machines that one validator may vouch for.
pub const MAX_VOUCHED: usize = 3;
/// Machines that one proposal may admit; x/gov's default bounds metadata at 255 characters.
pub const MAX_ADMITTED: usize = 64;
/// Staking records that a share of power may be shown by.
pub const MAX_RECORDS: usize = 1024;

/// To which machines a seed may cross.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(index_only)]
#[serde(rename_all = "lowercase")]
pub enum Admission {
    /// Any machine with a quote that the TCB rules accept.
    #[n(0)]
    Any,
    /// Machines that a bonded validator's record names.
    #[n(1)]
    Vouched,
    /// Machines that a passed proposal names.
    #[n(2)]
    Voted,
}

impl Admission {
    /// As a policy writes it.
    pub fn name(self) -> &'static str {
        match self {
            Admission::Any => "any",
            Admission::Vouched => "vouched",
            Admission::Voted => "voted",
        }
    }
}

/// What shows that a machine was admitted. UNTRUSTED.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum AdmissionEvidence {
    /// For `vouched`.
    #[n(0)]
    Vouched {
        /// The validator's record.
        #[n(0)]
        record: StateProof,
        /// `ValidatorSet` (protobuf) of the height after the header.
        #[cbor(n(1), with = "minicbor::bytes")]
        next_validators: Vec<u8>,
    },
    /// For `voted`.
    #[n(1)]
    Voted {
        /// The proposal.
        #[n(0)]
        proposal: StateProof,
        /// The end of its vote.
        #[n(1)]
        vote_end: VoteEndEvidence,
    },
}

/// Who admitted a machine, as data for the log. It permits nothing by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Admitted {
    /// A validator.
    #[n(0)]
    Vouched {
        /// The operator's account, 20 bytes.
        #[cbor(n(0), with = "minicbor::bytes")]
        operator: [u8; 20],
        /// Its power then, in power units.
        #[n(1)]
        power: u64,
    },
    /// A vote.
    #[n(1)]
    Voted {
        /// The proposal.
        #[n(0)]
        proposal_id: u64,
    },
}

/// Why text names no machines.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NamesError {
    /// No such word.
    #[error("expected one word {expected}<64 hexadecimal digits>[,…], found none")]
    None {
        /// What it begins with.
        expected: &'static str,
    },
    /// Two readers would see two lists.
    #[error("expected one word that begins with {expected}, found {got}")]
    Several {
        /// What it begins with.
        expected: &'static str,
        /// How many.
        got: usize,
    },
    /// Too many.
    #[error("expected 1 to {most} machines, got {got}")]
    Count {
        /// The most.
        most: usize,
        /// How many.
        got: usize,
    },
    /// Not an id.
    #[error("a platform id is 64 hexadecimal digits in lower case, and no digit else; got {got:?}")]
    Id {
        /// As written, cut.
        got: String,
    },
    /// The same one twice.
    #[error("platform {0} is named twice")]
    Twice(PlatformId),
    /// No machine has it.
    #[error("the id of zeros is no machine's")]
    Zeros,
}

/// Why a machine may not receive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// Nothing was shown.
    #[error(
        "platform {platform} is not admitted: the policy says admission {admission:?}, and nothing was brought that names it; {todo}",
        admission = .admission.name(), todo = todo(*.admission)
    )]
    NotShown {
        /// The machine.
        platform: PlatformId,
        /// The policy's rule.
        admission: Admission,
    },
    /// Another kind of evidence than the policy asks for.
    #[error("admission: the policy says {expected:?}, the evidence is of {got:?}", expected = .expected.name(), got = .got.name())]
    OtherKind {
        /// The policy's rule.
        expected: Admission,
        /// The evidence's.
        got: Admission,
    },
    /// It names others.
    #[error("platform {platform} is not admitted: {by} names {named} machines, and it is none of them")]
    NotNamed {
        /// The machine.
        platform: PlatformId,
        /// Who names.
        by: String,
        /// How many.
        named: usize,
    },
    /// The names cannot be read.
    #[error("admission: {by}: {why}")]
    Names {
        /// Who names.
        by: String,
        /// Why.
        why: NamesError,
    },
    /// The validator's record.
    #[error("admission: {0}")]
    Staking(#[from] StakingError),
    /// The powers, or a header.
    #[error("admission: {0}")]
    Light(#[from] LightError),
    /// The vote.
    #[error("admission: {0}")]
    Vote(#[from] VoteError),
    /// It does something beside.
    #[error("admission: proposal {id} has {got} messages: expected none beside its metadata")]
    Messages {
        /// The proposal.
        id: u64,
        /// How many.
        got: usize,
    },
    /// Too many records.
    #[error("admission: expected at most {MAX_RECORDS} staking records, got {got}")]
    TooMany {
        /// How many.
        got: usize,
    },
}

fn todo(admission: Admission) -> &'static str {
    match admission {
        Admission::Any => "",
        Admission::Vouched => "a bonded validator names it in its details as baton1:<id>, then bring that record",
        Admission::Voted => "a proposal with metadata baton-admit:<id> passes, then bring that proposal",
    }
}

/// The machines that a validator's details vouch for, 1 to [`MAX_VOUCHED`].
pub fn vouched(details: &str) -> Result<Vec<PlatformId>, NamesError> {
    let mut words = details.split_whitespace().filter_map(|w| w.strip_prefix(VOUCH_PREFIX));
    let Some(word) = words.next() else { return Err(NamesError::None { expected: VOUCH_PREFIX }) };
    match words.count() {
        0 => ids(word, MAX_VOUCHED),
        more => Err(NamesError::Several { expected: VOUCH_PREFIX, got: more.saturating_add(1) }),
    }
}

/// The machines that a proposal's metadata admits, 1 to [`MAX_ADMITTED`].
pub fn voted(metadata: &str) -> Result<Vec<PlatformId>, NamesError> {
    let list = metadata.strip_prefix(ADMIT_PREFIX).ok_or(NamesError::None { expected: ADMIT_PREFIX })?;
    ids(list, MAX_ADMITTED)
}

/// The word for a validator's details.
pub fn vouch_word(platforms: &[PlatformId]) -> Result<String, NamesError> {
    let list: Vec<String> = platforms.iter().map(|p| hex::encode(p.0)).collect();
    let word = alloc::format!("{VOUCH_PREFIX}{}", list.join(","));
    vouched(&word).map(|_| word)
}

fn ids(list: &str, most: usize) -> Result<Vec<PlatformId>, NamesError> {
    let got = list.split(',').count();
    if got > most {
        return Err(NamesError::Count { most, got });
    }
    let mut seen = Vec::with_capacity(got);
    for text in list.split(',') {
        let lower = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let mut id = [0; 32];
        if !lower || hex::decode_to_slice(text, &mut id).is_err() {
            return Err(NamesError::Id { got: text.chars().take(80).collect() });
        }
        match PlatformId(id) {
            PlatformId::UNKNOWN => return Err(NamesError::Zeros),
            id if seen.contains(&id) => return Err(NamesError::Twice(id)),
            id => seen.push(id),
        }
    }
    Ok(seen)
}

/// Whether `platform` may receive, by what is proven under `header`, and who admitted it. Nobody has to where the policy admits
/// any machine, and on this one (no platform: its target attests itself by a report).
pub fn admit(
    policy: &ChainPolicy,
    admission: Admission,
    light: &LightClient,
    header: &TrustedHeader,
    platform: Option<PlatformId>,
    evidence: Option<&AdmissionEvidence>,
) -> Result<Option<Admitted>, AdmissionError> {
    let Some(platform) = platform.filter(|_| admission != Admission::Any) else { return Ok(None) };
    let evidence = evidence.ok_or(AdmissionError::NotShown { platform, admission })?;
    match (admission, evidence) {
        (Admission::Vouched, AdmissionEvidence::Vouched { record, next_validators }) => {
            let validator = Bonded::verify(header, &header.next_powers(next_validators)?, record)?;
            let by = || alloc::format!("the validator of account {}", hex::encode(validator.operator()));
            let named = vouched(validator.details()).map_err(|why| AdmissionError::Names { by: by(), why })?;
            expect_named(&named, &platform, by)?;
            Ok(Some(Admitted::Vouched { operator: *validator.operator(), power: validator.power() }))
        }
        (Admission::Voted, AdmissionEvidence::Voted { proposal, vote_end }) => {
            let proposal = passed_proposal(header, proposal)?;
            let id = proposal.id;
            if !proposal.messages.is_empty() {
                return Err(AdmissionError::Messages { id, got: proposal.messages.len() });
            }
            let by = || alloc::format!("proposal {id}");
            let named = voted(&proposal.metadata).map_err(|why| AdmissionError::Names { by: by(), why })?;
            expect_named(&named, &platform, by)?;
            weigh(&proposal, header.height(), policy, &VoteEnd::show(light, vote_end)?)?;
            Ok(Some(Admitted::Voted { proposal_id: id }))
        }
        (expected, AdmissionEvidence::Vouched { .. }) => {
            Err(AdmissionError::OtherKind { expected, got: Admission::Vouched })
        }
        (expected, AdmissionEvidence::Voted { .. }) => Err(AdmissionError::OtherKind { expected, got: Admission::Voted }),
    }
}

fn expect_named(named: &[PlatformId], platform: &PlatformId, by: impl Fn() -> String) -> Result<(), AdmissionError> {
    match named.contains(platform) {
        true => Ok(()),
        false => Err(AdmissionError::NotNamed { platform: *platform, by: by(), named: named.len() }),
    }
}

impl core::fmt::Display for Admitted {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Admitted::Vouched { operator, power } => {
                write!(f, "the validator of account {} with power {power}", hex::encode(operator))
            }
            Admitted::Voted { proposal_id } => write!(f, "proposal {proposal_id}"),
        }
    }
}

/// What validators say about many machines at once. UNTRUSTED.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct VouchedEvidence {
    /// `ValidatorSet` (protobuf) of the height after the header.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub next_validators: Vec<u8>,
    /// Staking records.
    #[n(1)]
    pub records: Vec<StateProof>,
}

/// The voting power that a set of machines stands for. Only [`VouchedPower::verify`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VouchedPower {
    power: u64,
    total: u64,
}

impl VouchedPower {
    /// Adds up the validators that vouch for at least one of `platforms`, each validator once. A record that names no machine,
    /// or others, counts nothing; one that cannot be verified is an error.
    pub fn verify(
        header: &TrustedHeader,
        evidence: &VouchedEvidence,
        platforms: &BTreeSet<PlatformId>,
    ) -> Result<Self, AdmissionError> {
        if evidence.records.len() > MAX_RECORDS {
            return Err(AdmissionError::TooMany { got: evidence.records.len() });
        }
        let powers = header.next_powers(&evidence.next_validators)?;
        let mut counted = BTreeMap::new();
        for record in &evidence.records {
            let validator = Bonded::verify(header, &powers, record)?;
            let named = vouched(validator.details()).unwrap_or_default();
            if named.iter().any(|p| platforms.contains(p)) {
                counted.insert(*validator.consensus(), validator.power());
            }
        }
        let power = counted.values().fold(0u64, |sum, p| sum.saturating_add(*p));
        Ok(VouchedPower { power, total: powers.total() })
    }

    /// Power of the validators that vouch, in power units.
    pub fn power(&self) -> u64 {
        self.power
    }

    /// Power of all.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// At least this share of all.
    pub fn reaches(&self, share: Decimal) -> bool {
        share.at_most_ratio(self.power.into(), self.total.into())
    }
}

impl core::fmt::Display for VouchedPower {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} of {}", self.power, self.total)
    }
}

#[cfg(test)]
pub(crate) mod tests;
