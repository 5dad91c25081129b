//! One step, from a trusted header to a light block, and many steps with one batch of signatures.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;

use baton_attest::identity::Digest32;
use tendermint::trust_threshold::TrustThresholdFraction as Threshold;
use tendermint::validator::Set;
use tendermint_light_client_verifier::errors::{
    VerificationError, VerificationErrorDetail as Detail,
};
use tendermint_light_client_verifier::options::Options;
use tendermint_light_client_verifier::predicates::VerificationPredicates;
use tendermint_light_client_verifier::types::{TrustedBlockState, UntrustedBlockState};
use tendermint_light_client_verifier::{PredicateVerifier, Verdict, Verifier};

use super::block::{
    HashedSet, Parsed, Sets, Sha2, Which, address, expect_set, fields, hash32, malformed, parse_set,
};
use super::ed25519::verify_batch;
use super::power::{Commits, Needed, Power, SignatureId, needed};
use super::{Fields, LightBlock, LightError, Time, TrustedHeader};

/// The time against which a step is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Now {
    /// The new header's own time: the trusting period bounds the gap of a skip. What the enclave uses.
    OfTheHeader,
    /// A clock of the caller, which the header must lie before. For hosts and conformance suites.
    At(Time),
}

/// How a step is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepParams {
    /// Longest age of the trusted header; `None` does not judge it (where no trusted time is known).
    pub trusting_period: Option<Duration>,
    /// Share of the last trusted power for a skip: (numerator, denominator) in [1/3, 1].
    pub trust_threshold: (u64, u64),
    /// The time of the judgement.
    pub now: Now,
    /// Whether the trusting period also limits adjacent steps.
    pub adjacent_age_limit: bool,
}

impl StepParams {
    /// The enclave's own: header time, no age limit on adjacent steps.
    pub fn from_policy(policy: &crate::ChainPolicy) -> Self {
        StepParams {
            trusting_period: Some(Duration::from_secs(policy.trusting_period_secs)),
            trust_threshold: policy.trust_threshold,
            now: Now::OfTheHeader,
            adjacent_age_limit: false,
        }
    }

    fn threshold(&self) -> Result<Threshold, LightError> {
        let (numerator, denominator) = self.trust_threshold;
        // The library multiplies unchecked.
        let fits = numerator <= u64::from(u32::MAX) && denominator <= u64::from(u32::MAX);
        let threshold = if fits {
            Threshold::new(numerator, denominator).ok()
        } else {
            None
        };
        threshold.ok_or(LightError::BadThreshold {
            numerator,
            denominator,
        })
    }
}

/// Verifies one light block from one trusted header.
///
/// `from_next` is the `ValidatorSet` (protobuf) that follows the trusted header; a step that skips heights needs it.
/// A new chain id is accepted if more than two thirds of the last trusted power signed it (H03).
pub fn verify_step(
    trusted: &TrustedHeader,
    from_next: Option<&[u8]>,
    block: &LightBlock,
    params: &StepParams,
) -> Result<TrustedHeader, LightError> {
    let from_next = from_next.map(parse_set).transpose()?;
    let mut sets = Sets::default();
    let block = block.parse(&mut sets)?;
    let step = Step {
        from: &trusted.0,
        from_next: from_next.as_ref(),
        block: &block,
    };
    step.verify(params, &BTreeSet::new()).map(TrustedHeader)
}

/// Verifies a block against a validator set alone: for files that name a trusted height and its validators, but no
/// header. Nothing becomes trusted, and no trusting period is judged, because no trusted time is known.
pub fn check_signed_by(
    trusted_height: u64,
    next_validators: &[u8],
    block: &LightBlock,
    trust_threshold: (u64, u64),
) -> Result<(), LightError> {
    let set = parse_set(next_validators)?;
    let mut sets = Sets::default();
    let block = block.parse(&mut sets)?;
    if trusted_height == 0 || trusted_height >= i64::MAX as u64 {
        return Err(malformed("trusted height", "out of range"));
    }
    let mut from = fields(&block.signed_header)?;
    from.height = trusted_height;
    from.next_validators_hash = set.hash;
    // The earliest time that a header can carry: year 1.
    from.time = Time {
        secs: -62_135_596_800,
        nanos: 0,
    };
    let params = StepParams {
        trusting_period: None,
        trust_threshold,
        now: Now::OfTheHeader,
        adjacent_age_limit: false,
    };
    Step {
        from: &from,
        from_next: Some(&set),
        block: &block,
    }
    .verify(&params, &BTreeSet::new())
    .map(|_| ())
}

/// One step to verify: the header before, the set after it, and the block.
#[derive(Clone, Copy)]
pub(super) struct Step<'a> {
    pub from: &'a Fields,
    pub from_next: Option<&'a HashedSet>,
    pub block: &'a Parsed,
}

impl<'a> Step<'a> {
    fn is_adjacent(&self) -> bool {
        self.from.height.checked_add(1) == Some(self.block.signed_header.header.height.value())
    }

    /// The policy's threshold, and for a new chain id more than two thirds at least.
    fn threshold(&self, params: &StepParams) -> Result<Threshold, LightError> {
        let threshold = params.threshold()?;
        let same_chain = self.block.signed_header.header.chain_id.as_str() == self.from.chain_id;
        let below_two_thirds =
            threshold.numerator().saturating_mul(3) < threshold.denominator().saturating_mul(2);
        Ok(if !same_chain && below_two_thirds {
            Threshold::TWO_THIRDS
        } else {
            threshold
        })
    }

    /// The signatures that this step's verdict depends on.
    pub fn needed(&self, params: &StepParams) -> Option<Vec<Needed<'a>>> {
        let own = (&self.block.validators.set, Threshold::TWO_THIRDS);
        let sets = match (self.is_adjacent(), self.from_next) {
            (false, Some(set)) => Vec::from([(&set.set, self.threshold(params).ok()?), own]),
            _ => Vec::from([own]),
        };
        needed(&self.block.signed_header, &sets, &BTreeSet::new())
            .ok()
            .map(|(signatures, _)| signatures)
    }

    /// The verdict. `known` are signatures of this block that were already found valid.
    pub fn verify(
        &self,
        params: &StepParams,
        known: &BTreeSet<SignatureId>,
    ) -> Result<Fields, LightError> {
        let header = &self.block.signed_header.header;
        let (height, adjacent) = (header.height.value(), self.is_adjacent());
        if height <= self.from.height {
            return Err(LightError::NotForward {
                trusted: self.from.height,
                got: height,
            });
        }
        let next_validators = match (self.from_next, adjacent) {
            (Some(set), _) => {
                expect_set(
                    set,
                    self.from.next_validators_hash,
                    self.from.height,
                    Which::Next,
                )?;
                set
            }
            // Not read for an adjacent step: the hashes link the sets.
            (None, true) => self.block.validators.as_ref(),
            (None, false) => {
                return Err(LightError::MissingNextValidators {
                    from: self.from.height,
                    to: height,
                });
            }
        };
        let rules = Rules {
            judge_age: params.trusting_period.is_some() && (params.adjacent_age_limit || !adjacent),
            judge_future: matches!(params.now, Now::At(_)),
            validators: self.block.validators.hash,
            next_validators: self.block.next_validators.as_ref().map(|next| next.hash),
        };
        let options = Options {
            trust_threshold: self.threshold(params)?,
            trusting_period: params.trusting_period.unwrap_or_default(),
            clock_drift: Duration::ZERO,
        };
        let now = match params.now {
            Now::OfTheHeader => header.time,
            Now::At(t) => library_time(t)?,
        };
        let trusted = TrustedBlockState {
            chain_id: &header.chain_id,
            header_time: library_time(self.from.time)?,
            height: self
                .from
                .height
                .try_into()
                .map_err(|_| malformed("trusted height", "out of range"))?,
            next_validators: &next_validators.set,
            next_validators_hash: tendermint::Hash::Sha256(self.from.next_validators_hash),
        };
        let untrusted = UntrustedBlockState {
            signed_header: &self.block.signed_header,
            validators: &self.block.validators.set,
            next_validators: self.block.next_validators.as_ref().map(|next| &next.set),
        };
        let verifier = PredicateVerifier::new(rules, Power { known }, Commits);
        match verifier.verify_update_header(untrusted, trusted, &options, now) {
            Verdict::Success => fields(&self.block.signed_header),
            Verdict::NotEnoughTrust(t) => Err(LightError::NotEnoughTrust {
                signed: t.tallied,
                total: t.total,
                numerator: t.trust_threshold.numerator(),
                denominator: t.trust_threshold.denominator(),
            }),
            Verdict::Invalid(detail) => Err(refusal(detail, self, params)),
        }
    }
}

/// Signatures in one batch; above it, memory grows and speed does not.
const BATCH: usize = 2048;

/// Checks the signatures of many steps in as few batches as possible and gives, for each step, those found valid.
/// A batch that fails tells nothing: its steps are then checked one by one.
pub(super) fn presolve(steps: &[Step<'_>], params: &StepParams) -> Vec<BTreeSet<SignatureId>> {
    let mut known = Vec::new();
    let mut group: Vec<Vec<Needed<'_>>> = Vec::new();
    let flush = |group: &mut Vec<Vec<Needed<'_>>>, known: &mut Vec<BTreeSet<SignatureId>>| {
        let batch: Vec<_> = group.iter().flatten().map(Needed::signed).collect();
        let good = verify_batch(&batch);
        known.extend(group.drain(..).map(|step| {
            if good {
                step.iter().map(|n| n.id).collect()
            } else {
                BTreeSet::new()
            }
        }));
    };
    for step in steps {
        group.push(step.needed(params).unwrap_or_default());
        if group.iter().map(Vec::len).sum::<usize>() >= BATCH {
            flush(&mut group, &mut known);
        }
    }
    flush(&mut group, &mut known);
    known
}

/// The library's rules, with ours where DESIGN differs: which ages are judged, and that a chain id may change.
#[derive(Clone, Copy)]
struct Rules {
    judge_age: bool,
    judge_future: bool,
    /// The hashes of the two sets that the verifier is given, computed when they were parsed.
    validators: [u8; 32],
    next_validators: Option<[u8; 32]>,
}

type TmTime = tendermint::Time;

impl VerificationPredicates for Rules {
    type Sha256 = Sha2;

    fn validator_sets_match(
        &self,
        _: &Set,
        named: tendermint::Hash,
    ) -> Result<(), VerificationError> {
        let got = tendermint::Hash::Sha256(self.validators);
        if named == got {
            Ok(())
        } else {
            Err(VerificationError::invalid_validator_set(named, got))
        }
    }

    fn next_validators_match(
        &self,
        _: &Set,
        named: tendermint::Hash,
    ) -> Result<(), VerificationError> {
        let got = self
            .next_validators
            .map_or(tendermint::Hash::None, tendermint::Hash::Sha256);
        if named == got {
            Ok(())
        } else {
            Err(VerificationError::invalid_next_validator_set(named, got))
        }
    }

    #[expect(
        clippy::arithmetic_side_effects,
        reason = "the library's addition is checked and gives a Result"
    )]
    fn is_within_trust_period(
        &self,
        trusted: TmTime,
        period: Duration,
        now: TmTime,
    ) -> Result<(), VerificationError> {
        if !self.judge_age {
            return Ok(());
        }
        let expires_at = (trusted + period).map_err(VerificationError::tendermint)?;
        if expires_at > now {
            Ok(())
        } else {
            Err(VerificationError::not_within_trust_period(expires_at, now))
        }
    }

    fn is_header_from_past(
        &self,
        header: TmTime,
        drift: Duration,
        now: TmTime,
    ) -> Result<(), VerificationError> {
        if !self.judge_future || header < now {
            return Ok(());
        }
        Err(VerificationError::header_from_the_future(
            header, now, drift,
        ))
    }

    fn is_matching_chain_id(
        &self,
        _untrusted: &tendermint::chain::Id,
        _trusted: &tendermint::chain::Id,
    ) -> Result<(), VerificationError> {
        // A changed chain id raised the trust threshold instead, see `Step::threshold`.
        Ok(())
    }
}

fn library_time(t: Time) -> Result<TmTime, LightError> {
    TmTime::from_unix_timestamp(t.secs, t.nanos).map_err(|_| malformed("time", "out of range"))
}

fn digest(hash: tendermint::Hash) -> Digest32 {
    Digest32(hash32(hash).unwrap_or_default())
}

/// The library's verdict in our words.
fn refusal(detail: Detail, step: &Step<'_>, params: &StepParams) -> LightError {
    let height = step.block.signed_header.header.height.value();
    match detail {
        Detail::HeaderFromTheFuture(e) => LightError::FromFuture {
            header: e.header_time.into(),
            now: e.now.into(),
        },
        Detail::NotEnoughTrust(e) => LightError::NotEnoughTrust {
            signed: e.tally.tallied,
            total: e.tally.total,
            numerator: params.trust_threshold.0,
            denominator: params.trust_threshold.1,
        },
        Detail::InsufficientSignersOverlap(e) => LightError::NotEnoughSigned {
            signed: e.tally.tallied,
            total: e.tally.total,
        },
        Detail::DuplicateValidator(e) => LightError::DuplicateValidator {
            what: "commit",
            address: address(&e.address),
        },
        Detail::InvalidSignature(e) => LightError::BadSignature {
            height,
            address: address(&e.validator.address),
        },
        Detail::InvalidCommitValue(e) => LightError::CommitForOther {
            height,
            expected: digest(e.header_hash),
            got: digest(e.commit_hash),
        },
        Detail::InvalidNextValidatorSet(e) => {
            next_set_refusal(e.header_next_validators_hash, e.next_validators_hash, step)
        }
        Detail::InvalidValidatorSet(e) => LightError::ValidatorsHash {
            height,
            expected: digest(e.header_validators_hash),
            got: digest(e.validators_hash),
        },
        Detail::NonIncreasingHeight(_) => LightError::NotForward {
            trusted: step.from.height,
            got: height,
        },
        Detail::NonMonotonicBftTime(e) => LightError::TimeNotForward {
            trusted: e.trusted_header_bft_time.into(),
            got: e.header_bft_time.into(),
        },
        Detail::NotWithinTrustPeriod(e) => LightError::Expired {
            expires: e.expires_at.into(),
            now: e.now.into(),
        },
        Detail::NoSignatureForCommit(_) => LightError::NoSignatures { height },
        Detail::MismatchPreCommitLength(e) => LightError::SignatureCount {
            height,
            expected: e.validator_length,
            got: e.pre_commit_length,
        },
        Detail::FaultySigner(e) => LightError::UnknownSigner {
            height,
            address: address(&e.signer),
        },
        Detail::ChainIdMismatch(e) => LightError::ChainId {
            expected: e.expected,
            got: e.got,
        },
        Detail::MissingSignature(_) => malformed("commit", "a vote without a signature"),
        Detail::Tendermint(e) => malformed("light block", e.source),
    }
}

/// The library has one error for two checks: the block's own next set, and the link from the header before it.
fn next_set_refusal(named: tendermint::Hash, got: tendermint::Hash, step: &Step<'_>) -> LightError {
    let header = &step.block.signed_header.header;
    if named == header.next_validators_hash
        && got != tendermint::Hash::Sha256(step.from.next_validators_hash)
    {
        let (height, expected, got) = (header.height.value(), digest(named), digest(got));
        return LightError::NextValidatorsHash {
            height,
            expected,
            got,
        };
    }
    LightError::NextValidatorsHash {
        height: step.from.height,
        expected: Digest32(step.from.next_validators_hash),
        got: digest(header.validators_hash),
    }
}
