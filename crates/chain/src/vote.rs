//! The vote: what the chain has scheduled, and that people really voted for it, by the enclave's own bars.
//!
//! A PASSED proposal stays PASSED for ever, even when its plan was cancelled or overwritten, so the pending plan is
//! what counts, and the proposal must be the one that schedules exactly it (A03, A23). The tally must also meet the
//! policy's bars, so that a chain whose parameters were weakened cannot lower them (A20). It is weighed against the
//! voting power at the end of that vote, so later delegations do not turn a won vote into a lost one (H17).
//!
//! The message's `authority` is not compared: x/upgrade runs the message only for the authority that the chain
//! itself set, and a message that was refused makes its proposal FAILED.

use alloc::string::{String, ToString};
use core::cmp::Ordering;

use baton_attest::identity::Measurement;
use prost::Message;

use crate::authorize::show;
use crate::decimal::{Decimal, mul_wide};
use crate::evidence::VoteEndEvidence;
use crate::gov::{
    Any, CANCEL_UPGRADE_URL, GOV_STORE, MsgSoftwareUpgrade, PLAN_KEY, Plan, Proposal, ProposalStatus, SOFTWARE_UPGRADE_URL,
    TallyResult, UPGRADE_STORE, proposal_key,
};
use crate::info::{InfoError, NamedBuild, read_info};
use crate::light::{LightClient, LightError, Time, TrustedHeader};
use crate::policy::ChainPolicy;
use crate::proofs::{ProofError, StateProof, verify_state};

/// Most base-denomination tokens that one count may name: leaves room for every product below.
const MAX_COUNT: u128 = 1 << 120;
/// Most messages in one proposal.
const MAX_MESSAGES: usize = 256;

/// Why evidence of a vote is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VoteError {
    /// A state proof fails.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// A proof is of another store or key.
    #[error("{what}: expected the proof of {expected}, got {got}")]
    WrongKey {
        /// `plan` or `proposal`.
        what: &'static str,
        /// Store and key in hexadecimal.
        expected: String,
        /// Store and key in hexadecimal.
        got: String,
    },
    /// Proven bytes that are not the message.
    #[error("{what}: proven bytes that do not decode as the chain's message")]
    Malformed {
        /// `plan`, `proposal` or `upgrade message`.
        what: &'static str,
    },
    /// No plan is pending.
    #[error("no plan is pending in the state that header {height} proves: cancelled, or already past")]
    NoPlan {
        /// Height of the header.
        height: u64,
    },
    /// No such proposal.
    #[error("no proposal {id} in the state that header {height} proves: never made, or its deposit was never paid")]
    NoProposal {
        /// The proposal's number, as its key says.
        id: u64,
        /// Height of the header.
        height: u64,
    },
    /// The record's own number is another one than its key's.
    #[error("proposal: expected id {expected} as its key says, got {got}")]
    ProposalId {
        /// From the key.
        expected: u64,
        /// From the value.
        got: u64,
    },
    /// Not won, not yet won, or undone.
    #[error("proposal {id}: expected status PASSED, got {got}")]
    NotPassed {
        /// The proposal.
        id: u64,
        /// Its status.
        got: String,
    },
    /// None or several upgrade messages.
    #[error("proposal {id}: expected exactly one MsgSoftwareUpgrade at top level, got {got}")]
    UpgradeMessages {
        /// The proposal.
        id: u64,
        /// How many it has.
        got: usize,
    },
    /// It cancels what it may schedule.
    #[error("proposal {id}: holds a MsgCancelUpgrade beside its upgrade")]
    Cancels {
        /// The proposal.
        id: u64,
    },
    /// A message whose type only looks like ours.
    #[error("proposal {id}: a message of type {got:?}, expected {expected:?}")]
    TypeUrl {
        /// The proposal.
        id: u64,
        /// The exact URL.
        expected: &'static str,
        /// As written.
        got: String,
    },
    /// The pending plan is another one.
    #[error(
        "proposal {id} schedules another plan than the pending one: expected {expected}, got {got}; the pending one counts"
    )]
    OtherPlan {
        /// The proposal.
        id: u64,
        /// What the chain has pending.
        expected: String,
        /// What the proposal schedules.
        got: String,
    },
    /// No height can be that.
    #[error("plan: expected a height of at least 1, got {got}")]
    PlanHeight {
        /// As the plan says.
        got: i64,
    },
    /// No end of the vote was shown.
    #[error("proposal {id}: the two headers around the end of its vote are missing")]
    NoVoteEnd {
        /// The proposal.
        id: u64,
    },
    /// The two headers are not around the end.
    #[error("proposal {id}: its vote ended {end}, which is not after {before} and at or before {at}: bring the two linked headers around it")]
    VoteEnd {
        /// The proposal.
        id: u64,
        /// `voting_end_time`.
        end: Time,
        /// Time of the earlier header.
        before: Time,
        /// Time of the later one.
        at: Time,
    },
    /// The end lies at or above the header that proves the result.
    #[error("the vote's end at header {at} is not below header {proof}, which proves its result")]
    VoteEndTooHigh {
        /// Height of the header at the vote's end.
        at: u64,
        /// Height of the header that proves plan and proposal.
        proof: u64,
    },
    /// The power of the vote's end could not be shown.
    #[error(transparent)]
    Power(#[from] LightError),
    /// A count that is not one.
    #[error("proposal {id}: tally: expected whole tokens, got {got:?}")]
    Count {
        /// The proposal.
        id: u64,
        /// As written, cut.
        got: String,
    },
    /// Too few took part.
    #[error("proposal {id}: turnout {turnout} of {bonded} tokens is below the policy's quorum {quorum} (slack {slack} taken off already)")]
    Quorum {
        /// The proposal.
        id: u64,
        /// All votes, abstentions included, in tokens.
        turnout: u128,
        /// Bonded tokens at the vote's end.
        bonded: u128,
        /// The bar.
        quorum: Decimal,
        /// The slack that was taken off.
        slack: Decimal,
    },
    /// Too many said no with veto.
    #[error("proposal {id}: {veto} of {turnout} tokens said no with veto, above the policy's {bar}")]
    Vetoed {
        /// The proposal.
        id: u64,
        /// No with veto, in tokens.
        veto: u128,
        /// All votes.
        turnout: u128,
        /// The bar.
        bar: Decimal,
    },
    /// Too few in favour.
    #[error("proposal {id}: {yes} of {decided} tokens said yes, expected more than the policy's {bar}{}", if *.expedited { " (expedited)" } else { "" })]
    Threshold {
        /// The proposal.
        id: u64,
        /// Yes, in tokens.
        yes: u128,
        /// All votes but abstentions.
        decided: u128,
        /// The bar.
        bar: Decimal,
        /// Whether it is the one for expedited proposals.
        expedited: bool,
    },
    /// The plan's text can be understood in two ways.
    #[error(transparent)]
    Info(#[from] InfoError),
}

/// The end of a vote: how much power there was to vote with. Only [`VoteEnd::verify`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoteEnd {
    height: u64,
    before_time: Time,
    at_time: Time,
    power: u64,
}

impl VoteEnd {
    /// From the first header at or after the end, its parent, and the header's own validators (`ValidatorSet`, protobuf).
    /// The parent is one because [`TrustedHeader::parent`] showed it, or because both were verified and link.
    pub fn verify(at: &TrustedHeader, before: &TrustedHeader, validators: &[u8]) -> Result<VoteEnd, VoteError> {
        if at.last_block_hash() != Some(before.hash()) {
            return Err(VoteError::Power(LightError::NotLinked {
                height: at.height(),
                expected: baton_attest::identity::Digest32(at.last_block_hash().unwrap_or_default()),
                got: baton_attest::identity::Digest32(before.hash()),
            }));
        }
        Ok(VoteEnd {
            height: at.height(),
            before_time: before.time(),
            at_time: at.time(),
            power: at.total_power(validators)?,
        })
    }

    /// From evidence: both headers are shown from what the light client keeps.
    pub fn show(light: &LightClient, end: &VoteEndEvidence) -> Result<VoteEnd, VoteError> {
        let at = show(light, &end.at)?;
        let before = at.parent(&end.before)?;
        VoteEnd::verify(&at, &before, &end.validators)
    }

    /// Height of the first header at or after the end.
    pub fn height(&self) -> u64 {
        self.height
    }

    /// All voting power there, in power units.
    pub fn power(&self) -> u64 {
        self.power
    }
}

/// Votes in base denomination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Yes.
    pub yes: u128,
    /// Abstain.
    pub abstain: u128,
    /// No.
    pub no: u128,
    /// No with veto.
    pub no_with_veto: u128,
}

impl Tally {
    fn read(id: u64, t: &TallyResult) -> Result<Tally, VoteError> {
        let count = |text: &str| {
            let whole = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            let value = if whole { text.parse::<u128>().ok().filter(|v| *v <= MAX_COUNT) } else { None };
            value.ok_or_else(|| VoteError::Count { id, got: text.chars().take(40).collect() })
        };
        Ok(Tally {
            yes: count(&t.yes_count)?,
            abstain: count(&t.abstain_count)?,
            no: count(&t.no_count)?,
            no_with_veto: count(&t.no_with_veto_count)?,
        })
    }

    /// All but abstentions.
    pub fn decided(&self) -> u128 {
        // Each count is at most 2^120.
        self.yes.saturating_add(self.no).saturating_add(self.no_with_veto)
    }

    /// All votes.
    pub fn turnout(&self) -> u128 {
        self.decided().saturating_add(self.abstain)
    }

    /// The policy's bars, compared as x/gov compares its own.
    fn weigh(&self, id: u64, policy: &ChainPolicy, bonded: u128, expedited: bool) -> Result<(), VoteError> {
        let turnout = self.turnout();
        let quorum = policy.quorum.saturating_sub(policy.slack);
        if bonded == 0 || compare(turnout, bonded, quorum) == Ordering::Less {
            return Err(VoteError::Quorum { id, turnout, bonded, quorum, slack: policy.slack });
        }
        let bar = if expedited { policy.expedited_threshold } else { policy.threshold };
        let (yes, decided) = (self.yes, self.decided());
        if decided == 0 {
            return Err(VoteError::Threshold { id, yes, decided, bar, expedited });
        }
        if compare(self.no_with_veto, turnout, policy.veto) == Ordering::Greater {
            return Err(VoteError::Vetoed { id, veto: self.no_with_veto, turnout, bar: policy.veto });
        }
        if compare(yes, decided, bar) != Ordering::Greater {
            return Err(VoteError::Threshold { id, yes, decided, bar, expedited });
        }
        Ok(())
    }
}

/// How `part / whole`, rounded half to even at 18 digits as the SDK's `LegacyDec.Quo` does, compares with a bar. A
/// third of the votes is then exactly the bar "0.333333333333333333", as x/gov sees it. `whole` is not zero.
fn compare(part: u128, whole: u128, bar: Decimal) -> Ordering {
    let ratio2 = mul_wide(part, Decimal::ONE.atomics().saturating_mul(2));
    let bar2 = bar.atomics().saturating_mul(2);
    let odd = bar.atomics() & 1 == 1;
    match ratio2.cmp(&mul_wide(whole, bar2.saturating_add(1))) {
        Ordering::Greater => return Ordering::Greater,
        Ordering::Equal if odd => return Ordering::Greater,
        Ordering::Equal | Ordering::Less => {}
    }
    if bar2 == 0 {
        return Ordering::Equal;
    }
    match ratio2.cmp(&mul_wide(whole, bar2.saturating_sub(1))) {
        Ordering::Less => Ordering::Less,
        Ordering::Equal if odd => Ordering::Less,
        Ordering::Equal | Ordering::Greater => Ordering::Equal,
    }
}

/// A PASSED proposal that schedules exactly the plan that the same header proves as pending; not yet weighed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Decided {
    plan: Plan,
    plan_height: u64,
    proposal: Proposal,
    shown_at: u64,
    shown_hash: [u8; 32],
    chain_id: String,
}

/// The pending plan that `proof` shows under `header`, or `None` where its absence is proven.
pub fn pending_plan(header: &TrustedHeader, proof: &StateProof) -> Result<Option<Plan>, VoteError> {
    expect_key("plan", proof, UPGRADE_STORE, PLAN_KEY)?;
    let Some(value) = verify_state(header, proof)?.value() else { return Ok(None) };
    Plan::decode(value).map(Some).map_err(|_| VoteError::Malformed { what: "plan" })
}

impl Decided {
    pub(crate) fn verify(header: &TrustedHeader, plan: &StateProof, proposal: &StateProof) -> Result<Decided, VoteError> {
        let proposal = passed_proposal(header, proposal)?;
        let plan = pending_plan(header, plan)?.ok_or(VoteError::NoPlan { height: header.height() })?;
        let id = proposal.id;
        let scheduled = only_upgrade(id, &proposal.messages)?;
        if !scheduled.same_as(&plan) {
            return Err(VoteError::OtherPlan { id, expected: describe(&plan), got: describe(&scheduled) });
        }
        let plan_height = u64::try_from(plan.height).ok().filter(|h| *h > 0);
        Ok(Decided {
            plan_height: plan_height.ok_or(VoteError::PlanHeight { got: plan.height })?,
            plan,
            proposal,
            shown_at: header.height(),
            shown_hash: header.hash(),
            chain_id: header.chain_id().into(),
        })
    }

    #[cfg(feature = "json")]
    pub(crate) fn proposal_id(&self) -> u64 {
        self.proposal.id
    }

    pub(crate) fn plan_height(&self) -> u64 {
        self.plan_height
    }

    pub(crate) fn weigh(self, policy: &ChainPolicy, end: &VoteEnd) -> Result<Vote, VoteError> {
        let (tally, bonded) = weigh(&self.proposal, self.shown_at, policy, end)?;
        Ok(Vote {
            build: read_info(&self.plan.info)?,
            overrides: policy.override_share.below_ratio(tally.yes, bonded),
            vote_end: end.height,
            tally,
            bonded,
            decided: self,
        })
    }
}

/// The final tally of a passed proposal by the policy's own bars, against the power at the vote's end. Gives the tally and
/// the bonded tokens.
pub(crate) fn weigh(
    proposal: &Proposal,
    shown_at: u64,
    policy: &ChainPolicy,
    end: &VoteEnd,
) -> Result<(Tally, u128), VoteError> {
    let id = proposal.id;
    if end.height >= shown_at {
        return Err(VoteError::VoteEndTooHigh { at: end.height, proof: shown_at });
    }
    let stamp = proposal.voting_end_time.as_ref().ok_or(VoteError::Malformed { what: "proposal" })?;
    let nanos = u32::try_from(stamp.nanos).map_err(|_| VoteError::Malformed { what: "proposal" })?;
    let voting_end = Time { secs: stamp.seconds, nanos };
    if end.before_time >= voting_end || voting_end > end.at_time {
        return Err(VoteError::VoteEnd { id, end: voting_end, before: end.before_time, at: end.at_time });
    }
    let tally = proposal.final_tally_result.as_ref().ok_or(VoteError::Malformed { what: "proposal" })?;
    let tally = Tally::read(id, tally)?;
    let bonded = u128::from(end.power).saturating_mul(policy.power_reduction.into());
    tally.weigh(id, policy, bonded, proposal.expedited)?;
    Ok((tally, bonded))
}

/// What people decided about one pending plan, by the policy's own bars. Only verification makes one:
///
/// ```compile_fail
/// fn forge(v: baton_chain::vote::Vote) -> baton_chain::vote::Vote {
///     baton_chain::vote::Vote { overrides: true, ..v }
/// }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Vote {
    decided: Decided,
    build: Option<NamedBuild>,
    overrides: bool,
    vote_end: u64,
    tally: Tally,
    bonded: u128,
}

impl Vote {
    /// Judges plan and proposal, both proven under one header, and the tally at the vote's end.
    pub fn verify(
        policy: &ChainPolicy,
        header: &TrustedHeader,
        plan: &StateProof,
        proposal: &StateProof,
        end: &VoteEnd,
    ) -> Result<Vote, VoteError> {
        Decided::verify(header, plan, proposal)?.weigh(policy, end)
    }

    /// The chain id of the header that showed it.
    pub fn chain_id(&self) -> &str {
        &self.decided.chain_id
    }

    /// The plan's name.
    pub fn plan_name(&self) -> &str {
        &self.decided.plan.name
    }

    /// The plan's height: the first that may run it.
    pub fn plan_height(&self) -> u64 {
        self.decided.plan_height
    }

    /// The plan's text.
    pub fn plan_info(&self) -> &str {
        &self.decided.plan.info
    }

    /// The proposal's number.
    pub fn proposal_id(&self) -> u64 {
        self.decided.proposal.id
    }

    /// True if the expedited bar was applied.
    pub fn expedited(&self) -> bool {
        self.decided.proposal.expedited
    }

    /// The build that the plan names; `None`: it changes no build.
    pub fn build(&self) -> Option<&NamedBuild> {
        self.build.as_ref()
    }

    /// True if yes is more than the override share of all bonded power: a signer that the plan names counts as listed.
    pub fn overrides_signer(&self) -> bool {
        self.overrides
    }

    /// The votes.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Bonded tokens at the vote's end: power x power reduction.
    pub fn bonded_tokens(&self) -> u128 {
        self.bonded
    }

    /// Height of the first header at or after the vote's end.
    pub fn vote_end_height(&self) -> u64 {
        self.vote_end
    }

    /// Height of the header that proves plan and proposal.
    pub fn shown_at(&self) -> u64 {
        self.decided.shown_at
    }

    /// Hash of that header.
    pub fn shown_hash(&self) -> [u8; 32] {
        self.decided.shown_hash
    }

    /// The measurement that the plan names.
    pub fn measurement(&self) -> Option<Measurement> {
        self.build.map(|b| b.measurement)
    }
}

pub(crate) fn expect_key(what: &'static str, proof: &StateProof, store: &str, key: &[u8]) -> Result<(), VoteError> {
    if proof.store == store && proof.key == key {
        return Ok(());
    }
    let text = |s: &str, k: &[u8]| alloc::format!("{s}/0x{}", hex::encode(k));
    let (store_cut, key_cut) = (proof.store.chars().take(64).collect::<String>(), proof.key.get(..64).unwrap_or(&proof.key));
    Err(VoteError::WrongKey { what, expected: text(store, key), got: text(&store_cut, key_cut) })
}

pub(crate) fn passed_proposal(header: &TrustedHeader, proof: &StateProof) -> Result<Proposal, VoteError> {
    let id = match proof.key.as_slice() {
        [0x00, id @ ..] => id.try_into().map(u64::from_be_bytes).unwrap_or_default(),
        _ => 0,
    };
    expect_key("proposal", proof, GOV_STORE, &proposal_key(id))?;
    let value = verify_state(header, proof)?.value().ok_or(VoteError::NoProposal { id, height: header.height() })?;
    let proposal = Proposal::decode(value).map_err(|_| VoteError::Malformed { what: "proposal" })?;
    if proposal.id != id {
        return Err(VoteError::ProposalId { expected: id, got: proposal.id });
    }
    match ProposalStatus::try_from(proposal.status) {
        Ok(ProposalStatus::Passed) => Ok(proposal),
        Ok(other) => Err(VoteError::NotPassed { id, got: other.name().to_string() }),
        Err(_) => Err(VoteError::NotPassed { id, got: proposal.status.to_string() }),
    }
}

/// The plan of the one upgrade message. A type that differs from ours only in front of its name is refused, not skipped:
/// some readers resolve it to ours.
fn only_upgrade(id: u64, messages: &[Any]) -> Result<Plan, VoteError> {
    if messages.len() > MAX_MESSAGES {
        return Err(VoteError::Malformed { what: "proposal" });
    }
    let name = |url: &str| url.rsplit('/').next().unwrap_or_default().to_string();
    let (upgrade, cancel) = (name(SOFTWARE_UPGRADE_URL), name(CANCEL_UPGRADE_URL));
    if messages.iter().any(|m| name(&m.type_url) == cancel) {
        return Err(VoteError::Cancels { id });
    }
    let upgrades = || messages.iter().filter(|m| name(&m.type_url) == upgrade);
    let (1, Some(only)) = (upgrades().count(), upgrades().next()) else {
        return Err(VoteError::UpgradeMessages { id, got: upgrades().count() });
    };
    if only.type_url != SOFTWARE_UPGRADE_URL {
        let got = only.type_url.chars().take(80).collect();
        return Err(VoteError::TypeUrl { id, expected: SOFTWARE_UPGRADE_URL, got });
    }
    let message = MsgSoftwareUpgrade::decode(&only.value[..]).ok().and_then(|m| m.plan);
    message.ok_or(VoteError::Malformed { what: "upgrade message" })
}

fn describe(plan: &Plan) -> String {
    let info: String = plan.info.chars().take(160).collect();
    alloc::format!("{:?} at height {} with info {info:?}", plan.name, plan.height)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn d(s: &str) -> Decimal {
        s.parse().unwrap()
    }

    /// LegacyDec.Quo written out: to 36 digits, then half to even at 18.
    fn quo(part: u128, whole: u128) -> u128 {
        let (q, r) = (part * 1_000_000_000_000_000_000 / whole, part * 1_000_000_000_000_000_000 % whole);
        match (2 * r).cmp(&whole) {
            Ordering::Less => q,
            Ordering::Greater => q + 1,
            Ordering::Equal => q + (q & 1),
        }
    }

    #[test]
    fn a_third_is_the_bar_of_a_third_as_the_sdk_sees_it() {
        assert_eq!(compare(1, 3, d("0.333333333333333333")), Ordering::Equal);
        assert_eq!(compare(2, 3, d("0.666666666666666667")), Ordering::Equal);
        assert_eq!(compare(2, 3, d("0.666666666666666666")), Ordering::Greater);
        assert_eq!(compare(1, 2, d("0.5")), Ordering::Equal);
        assert_eq!(compare(0, 1, Decimal::ZERO), Ordering::Equal);
        assert_eq!(compare(MAX_COUNT * 4, MAX_COUNT * 4, Decimal::ONE), Ordering::Equal);
        assert_eq!(compare(MAX_COUNT / 2 + 1_000_000_000_000_000_000, MAX_COUNT, d("0.5")), Ordering::Greater);
    }

    #[test]
    fn ties_go_to_the_even_digit() {
        let whole = 2_000_000_000_000_000_000; // one unit of it is half of the last digit
        for part in 1..8u128 {
            for bar in 0..5u128 {
                assert_eq!(compare(part, whole, Decimal::from_atomics(bar)), quo(part, whole).cmp(&bar), "{part} {bar}");
            }
        }
    }

    proptest! {
        #[test]
        fn comparison_is_the_sdks(part in 0u128..1_000_000_000_000, whole in 1u128..1_000_000_000_000, near in -2i64..=2) {
            let bar = quo(part, whole).saturating_add_signed(near.into());
            prop_assert_eq!(compare(part, whole, Decimal::from_atomics(bar)), quo(part, whole).cmp(&bar));
        }
    }
}
