//! Counting votes (x/gov keeper/tally.go).

use std::collections::BTreeMap;

use prost::Message;

use super::{ABSTAIN, NO, NO_WITH_VETO, VOTES, YES, by_account};
use crate::app::{BlockEnv, staking};
use crate::decimal;
use crate::keys::{Address, parse_account};
use crate::sdk::{GovParams, Proposal, TallyResult, Vote};
use crate::store::{Store, Working};

/// What the votes say.
pub(super) struct Count {
    pub(super) passes: bool,
    /// Whether the deposits are burned.
    pub(super) burns: bool,
    pub(super) result: TallyResult,
}

/// A tally before any vote is counted.
pub(super) fn none() -> TallyResult {
    result(&BTreeMap::new())
}

/// Counts the votes on `proposal` with the power of now: an account's vote counts for what it has
/// bonded, a validator's for what its delegators did not vote with themselves.
pub(super) fn count(
    state: &Working,
    env: &BlockEnv<'_>,
    params: &GovParams,
    proposal: &Proposal,
) -> Count {
    let votes = votes(state, proposal.id);
    let bonded: BTreeMap<Address, u128> = staking::bonded(state).into_iter().collect();
    let mut spoken_for: BTreeMap<Address, u128> = BTreeMap::new();
    let mut sums: BTreeMap<i32, u128> = BTreeMap::new();
    for (voter, option) in &votes {
        for (validator, tokens) in staking::delegations(state, voter) {
            if bonded.contains_key(&validator) {
                *spoken_for.entry(validator).or_default() += tokens;
                *sums.entry(*option).or_default() += tokens;
            }
        }
    }
    for (validator, tokens) in &bonded {
        if let Some(option) = votes.get(validator) {
            let rest = tokens - spoken_for.get(validator).copied().unwrap_or(0).min(*tokens);
            *sums.entry(*option).or_default() += rest;
        }
    }
    let total = staking::total_bonded(state, &env.config.denom);
    let (passes, burns) = judge(&sums, total, params, proposal.expedited);
    Count {
        passes,
        burns,
        result: result(&sums),
    }
}

/// Whether the sums pass the chain's own bars, and whether the deposits are burned.
fn judge(
    sums: &BTreeMap<i32, u128>,
    bonded: u128,
    params: &GovParams,
    expedited: bool,
) -> (bool, bool) {
    let of = |option: i32| sums.get(&option).copied().unwrap_or(0);
    let share = |text: &str| decimal::parse(text).unwrap_or(decimal::ONE);
    let voted: u128 = sums.values().sum();
    if bonded == 0 {
        return (false, false);
    }
    if decimal::ratio(voted, bonded) < share(&params.quorum) {
        return (false, params.burn_vote_quorum);
    }
    if voted == of(ABSTAIN) {
        return (false, false);
    }
    if decimal::ratio(of(NO_WITH_VETO), voted) > share(&params.veto_threshold) {
        return (false, params.burn_vote_veto);
    }
    let bar = if expedited {
        &params.expedited_threshold
    } else {
        &params.threshold
    };
    (
        decimal::ratio(of(YES), voted - of(ABSTAIN)) > share(bar),
        false,
    )
}

fn votes(state: &Working, id: u64) -> BTreeMap<Address, i32> {
    let records = state.with_prefix(Store::Gov, &by_account(VOTES, id, None));
    let vote = |(_, value): (_, Vec<u8>)| {
        let vote = Vote::decode(value.as_slice()).ok()?;
        Some((parse_account(&vote.voter)?, vote.options.first()?.option))
    };
    records.into_iter().filter_map(vote).collect()
}

fn result(sums: &BTreeMap<i32, u128>) -> TallyResult {
    let text = |option: i32| sums.get(&option).copied().unwrap_or(0).to_string();
    TallyResult {
        yes_count: text(YES),
        abstain_count: text(ABSTAIN),
        no_count: text(NO),
        no_with_veto_count: text(NO_WITH_VETO),
    }
}
