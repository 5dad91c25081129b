//! x/gov of SDK 0.53: proposals (0x00), queues by end time (0x01 voting, 0x02 deposit), the next number
//! (0x03), deposits (0x10), votes (0x20), params (0x30).

mod tally;

use prost::Message;

use super::{BlockEnv, Failure, bank, length_prefixed, tx, upgrade};
use crate::config::Config;
use crate::consensus::{nanos, timestamp};
use crate::decimal;
use crate::keys::{Address, account_text, module_address, parse_account};
use crate::sdk::{
    Any, BankMsgUpdateParams, Coin, Deposit, Duration, GovMsgUpdateParams, GovParams,
    MsgCancelUpgrade, MsgDeposit, MsgSend, MsgSoftwareUpgrade, MsgSubmitProposal, MsgVote,
    Proposal, Vote, WeightedVoteOption, unpack,
};
use crate::store::{Store, Working};

/// A vote in favour.
pub const YES: i32 = 1;
/// A vote that counts for the turnout only.
pub const ABSTAIN: i32 = 2;
/// A vote against.
pub const NO: i32 = 3;
/// A vote against that can also veto.
pub const NO_WITH_VETO: i32 = 4;

const DEPOSIT_PERIOD: i32 = 1;
const VOTING_PERIOD: i32 = 2;
const PASSED: i32 = 3;
const REJECTED: i32 = 4;
const FAILED: i32 = 5;

const PROPOSAL: u8 = 0x00;
const VOTING_QUEUE: u8 = 0x01;
const DEPOSIT_QUEUE: u8 = 0x02;
const NEXT_ID: &[u8] = &[0x03];
const DEPOSITS: u8 = 0x10;
const VOTES: u8 = 0x20;
const PARAMS: &[u8] = &[0x30];
/// Bytes of a time in a queue's key: "2006-01-02T15:04:05.000000000".
const QUEUE_TIME: usize = 29;

pub(crate) fn genesis(state: &mut Working, config: &Config) {
    let gov = &config.gov;
    let seconds = |secs: u64| {
        Some(Duration {
            seconds: secs as i64,
            nanos: 0,
        })
    };
    // The texts were parsed when the configuration was validated.
    let share = |text: &str| decimal::text(decimal::parse(text).unwrap_or_default());
    let params = GovParams {
        min_deposit: vec![bank::coin(&config.denom, gov.min_deposit.into())],
        max_deposit_period: seconds(gov.max_deposit_secs),
        voting_period: seconds(gov.voting_secs),
        quorum: share(&gov.quorum),
        threshold: share(&gov.threshold),
        veto_threshold: share(&gov.veto_threshold),
        min_initial_deposit_ratio: share("0"),
        proposal_cancel_ratio: share("0.5"),
        proposal_cancel_dest: String::new(),
        expedited_voting_period: seconds(gov.expedited_voting_secs),
        expedited_threshold: share(&gov.expedited_threshold),
        expedited_min_deposit: vec![bank::coin(&config.denom, gov.expedited_min_deposit.into())],
        burn_vote_quorum: false,
        burn_proposal_deposit_prevote: false,
        burn_vote_veto: true,
        min_deposit_ratio: share("0.01"),
    };
    state.set(Store::Gov, PARAMS, params.encode_to_vec());
    state.set(Store::Gov, NEXT_ID, 1_u64.to_be_bytes().to_vec());
}

/// The key of a proposal.
pub(crate) fn proposal_key(id: u64) -> Vec<u8> {
    [&[PROPOSAL], id.to_be_bytes().as_slice()].concat()
}

/// `MsgSubmitProposal`; returns the proposal's number.
pub(crate) fn submit(
    state: &mut Working,
    env: &BlockEnv<'_>,
    signer: &Address,
    message: MsgSubmitProposal,
) -> Result<u64, Failure> {
    check_content(&message)?;
    let params = params(state)?;
    let id = next_id(state);
    let period = nanos_of(params.max_deposit_period);
    let proposal = Proposal {
        id,
        messages: message.messages,
        status: DEPOSIT_PERIOD,
        final_tally_result: Some(tally::none()),
        submit_time: Some(timestamp(env.time)),
        deposit_end_time: Some(timestamp(env.time + period)),
        metadata: message.metadata,
        title: message.title,
        summary: message.summary,
        proposer: message.proposer,
        expedited: message.expedited,
        ..Proposal::default()
    };
    state.set(
        Store::Gov,
        &queue_key(DEPOSIT_QUEUE, env.time + period, id),
        id.to_be_bytes().to_vec(),
    );
    set_proposal(state, &proposal);
    if !message.initial_deposit.is_empty() {
        add_deposit(state, env, signer, id, &message.initial_deposit)?;
    }
    Ok(id)
}

/// `MsgDeposit`.
pub(crate) fn deposit(
    state: &mut Working,
    env: &BlockEnv<'_>,
    signer: &Address,
    message: &MsgDeposit,
) -> Result<(), Failure> {
    let least = first_amount(&params(state)?.min_deposit) / 100;
    let amount = bank::one_coin(&message.amount, &env.config.denom)?;
    if amount < least {
        let log =
            format!("received {amount} but need at least {least}: minimum deposit is too small");
        return Err(Failure {
            codespace: "gov",
            code: 14,
            log,
        });
    }
    add_deposit(state, env, signer, message.proposal_id, &message.amount)
}

/// `MsgVote`. A second vote replaces the first.
pub(crate) fn vote(
    state: &mut Working,
    signer: &Address,
    message: &MsgVote,
) -> Result<(), Failure> {
    let proposal = expect_proposal(state, message.proposal_id)?;
    if proposal.status != VOTING_PERIOD {
        return Err(inactive(proposal.id));
    }
    if !(YES..=NO_WITH_VETO).contains(&message.option) {
        return Err(Failure {
            codespace: "gov",
            code: 7,
            log: format!("{}: invalid vote option", message.option),
        });
    }
    let weight = decimal::text(decimal::ONE);
    let record = Vote {
        proposal_id: proposal.id,
        voter: message.voter.clone(),
        options: vec![WeightedVoteOption {
            option: message.option,
            weight,
        }],
        metadata: message.metadata.clone(),
    };
    state.set(
        Store::Gov,
        &by_account(VOTES, proposal.id, Some(signer)),
        record.encode_to_vec(),
    );
    Ok(())
}

/// Deletes what found no deposit, and decides the votes that are over.
pub(crate) fn end_block(state: &mut Working, env: &BlockEnv<'_>) {
    for (queued, id) in due(state, DEPOSIT_QUEUE, env.time) {
        state.delete(Store::Gov, &queued);
        state.delete(Store::Gov, &proposal_key(id));
        settle_deposits(state, env, id, false);
    }
    for (queued, id) in due(state, VOTING_QUEUE, env.time) {
        state.delete(Store::Gov, &queued);
        if let Ok(proposal) = expect_proposal(state, id) {
            decide(state, env, proposal);
        }
    }
}

/// Counts the votes of a proposal whose time is over and does what they say.
fn decide(state: &mut Working, env: &BlockEnv<'_>, mut proposal: Proposal) {
    let Ok(params) = params(state) else { return };
    let count = tally::count(state, env, &params, &proposal);
    for (key, _) in state.with_prefix(Store::Gov, &by_account(VOTES, proposal.id, None)) {
        state.delete(Store::Gov, &key);
    }
    // A failed expedited proposal keeps its deposits: it goes on as an ordinary one.
    if count.passes || !proposal.expedited {
        settle_deposits(state, env, proposal.id, count.burns);
    }
    if count.passes {
        run(state, env, &mut proposal);
    } else if proposal.expedited {
        proposal.expedited = false;
        let start = proposal.voting_start_time.map_or(env.time, nanos);
        let end = start + nanos_of(params.voting_period);
        proposal.voting_end_time = Some(timestamp(end));
        state.set(
            Store::Gov,
            &queue_key(VOTING_QUEUE, end, proposal.id),
            proposal.id.to_be_bytes().to_vec(),
        );
    } else {
        proposal.status = REJECTED;
        proposal.failed_reason = "proposal did not get enough votes to pass".into();
    }
    proposal.final_tally_result = Some(count.result);
    set_proposal(state, &proposal);
}

/// Runs a passed proposal's messages: all of them, or none.
fn run(state: &mut Working, env: &BlockEnv<'_>, proposal: &mut Proposal) {
    let before = state.clone();
    proposal.status = PASSED;
    for message in &proposal.messages {
        if let Err(failure) = run_message(state, env, message) {
            *state = before;
            proposal.status = FAILED;
            proposal.failed_reason = failure.log;
            return;
        }
    }
}

fn run_message(state: &mut Working, env: &BlockEnv<'_>, message: &Any) -> Result<(), Failure> {
    if let Some(upgrade) = unpack::<MsgSoftwareUpgrade>(message) {
        return upgrade::schedule(state, env, upgrade.plan.unwrap_or_default());
    }
    if unpack::<MsgCancelUpgrade>(message).is_some() {
        upgrade::cancel(state);
    } else if let Some(update) = unpack::<GovMsgUpdateParams>(message) {
        let params = update.params.unwrap_or_default();
        check_params(&params)?;
        state.set(Store::Gov, PARAMS, params.encode_to_vec());
    } else if let Some(update) = unpack::<BankMsgUpdateParams>(message) {
        state.set(
            Store::Bank,
            &[5],
            update.params.unwrap_or_default().encode_to_vec(),
        );
    } else if let Some(send) = unpack::<MsgSend>(message) {
        let to = parse_account(&send.to_address)
            .ok_or_else(|| Failure::invalid_address(&send.to_address))?;
        let amount = bank::one_coin(&send.amount, &env.config.denom)?;
        bank::send(
            state,
            &module_address("gov"),
            &to,
            &env.config.denom,
            amount,
        )?;
        tx::ensure_account(state, &to);
    }
    Ok(())
}

/// What a proposal may contain: messages that gov itself signs, or none beside some metadata.
fn check_content(message: &MsgSubmitProposal) -> Result<(), Failure> {
    if message.messages.is_empty() && message.metadata.is_empty() {
        let log = "either metadata or Msgs length must be non-nil: no messages proposed";
        return Err(Failure {
            codespace: "gov",
            code: 11,
            log: log.into(),
        });
    }
    if message.title.is_empty() || message.summary.is_empty() {
        return Err(Failure::invalid_request(
            "proposal title and summary cannot be empty",
        ));
    }
    let gov = account_text(&module_address("gov"));
    for message in &message.messages {
        let authority = unpack::<MsgSoftwareUpgrade>(message)
            .map(|upgrade| upgrade.authority)
            .or_else(|| Some(unpack::<MsgCancelUpgrade>(message)?.authority))
            .or_else(|| Some(unpack::<GovMsgUpdateParams>(message)?.authority))
            .or_else(|| Some(unpack::<BankMsgUpdateParams>(message)?.authority))
            .or_else(|| Some(unpack::<MsgSend>(message)?.from_address));
        let Some(authority) = authority else {
            let log = format!("{}: unrecognized proposal message type", message.type_url);
            return Err(Failure {
                codespace: "gov",
                code: 10,
                log,
            });
        };
        if authority != gov {
            let log =
                format!("{authority}: expected gov account as only signer for proposal message");
            return Err(Failure {
                codespace: "gov",
                code: 13,
                log,
            });
        }
    }
    Ok(())
}

fn check_params(params: &GovParams) -> Result<(), Failure> {
    for text in [
        &params.quorum,
        &params.threshold,
        &params.expedited_threshold,
        &params.veto_threshold,
    ] {
        if decimal::parse(text).is_none_or(|share| share > decimal::ONE) {
            return Err(Failure::invalid_request(format!("{text:?} is no share")));
        }
    }
    if nanos_of(params.expedited_voting_period) >= nanos_of(params.voting_period) {
        return Err(Failure::invalid_request(
            "expedited voting period must be less than the regular voting period",
        ));
    }
    Ok(())
}

fn add_deposit(
    state: &mut Working,
    env: &BlockEnv<'_>,
    signer: &Address,
    id: u64,
    coins: &[Coin],
) -> Result<(), Failure> {
    let amount = bank::one_coin(coins, &env.config.denom)?;
    let mut proposal = expect_proposal(state, id)?;
    if ![DEPOSIT_PERIOD, VOTING_PERIOD].contains(&proposal.status) {
        return Err(inactive(id));
    }
    bank::send(
        state,
        signer,
        &module_address("gov"),
        &env.config.denom,
        amount,
    )?;
    let total = first_amount(&proposal.total_deposit) + amount;
    proposal.total_deposit = vec![bank::coin(&env.config.denom, total)];
    let key = by_account(DEPOSITS, id, Some(signer));
    let held = state
        .get(Store::Gov, &key)
        .and_then(|bytes| Deposit::decode(bytes).ok());
    let sum = held.map_or(0, |deposit| first_amount(&deposit.amount)) + amount;
    let record = Deposit {
        proposal_id: id,
        depositor: account_text(signer),
        amount: vec![bank::coin(&env.config.denom, sum)],
    };
    state.set(Store::Gov, &key, record.encode_to_vec());
    if proposal.status == DEPOSIT_PERIOD {
        open_vote(state, env, &mut proposal, total)?;
    }
    set_proposal(state, &proposal);
    Ok(())
}

/// Opens the vote once the deposit is enough.
fn open_vote(
    state: &mut Working,
    env: &BlockEnv<'_>,
    proposal: &mut Proposal,
    total: u128,
) -> Result<(), Failure> {
    let params = params(state)?;
    let (least, period) = if proposal.expedited {
        (
            &params.expedited_min_deposit,
            params.expedited_voting_period,
        )
    } else {
        (&params.min_deposit, params.voting_period)
    };
    if total < first_amount(least) {
        return Ok(());
    }
    let end = env.time + nanos_of(period);
    proposal.status = VOTING_PERIOD;
    proposal.voting_start_time = Some(timestamp(env.time));
    proposal.voting_end_time = Some(timestamp(end));
    let deposit_end = proposal.deposit_end_time.map_or(0, nanos);
    state.delete(
        Store::Gov,
        &queue_key(DEPOSIT_QUEUE, deposit_end, proposal.id),
    );
    state.set(
        Store::Gov,
        &queue_key(VOTING_QUEUE, end, proposal.id),
        proposal.id.to_be_bytes().to_vec(),
    );
    Ok(())
}

/// Gives a proposal's deposits back, or burns them.
fn settle_deposits(state: &mut Working, env: &BlockEnv<'_>, id: u64, burn: bool) {
    let (gov, denom) = (module_address("gov"), &env.config.denom);
    for (key, value) in state.with_prefix(Store::Gov, &by_account(DEPOSITS, id, None)) {
        state.delete(Store::Gov, &key);
        let Ok(deposit) = Deposit::decode(value.as_slice()) else {
            continue;
        };
        let amount = first_amount(&deposit.amount);
        if burn {
            bank::burn(state, &gov, denom, amount);
        } else if let Some(depositor) = parse_account(&deposit.depositor) {
            // The module holds every deposit that it has a record of.
            let _ = bank::send(state, &gov, &depositor, denom, amount);
        }
    }
}

fn due(state: &Working, queue: u8, now: u64) -> Vec<(Vec<u8>, u64)> {
    let now = queue_time(now);
    let entry = |(key, value): (Vec<u8>, Vec<u8>)| {
        let over = key.get(1..=QUEUE_TIME)? <= now.as_bytes();
        let id = u64::from_be_bytes(value.try_into().ok()?);
        over.then_some((key, id))
    };
    state
        .with_prefix(Store::Gov, &[queue])
        .into_iter()
        .filter_map(entry)
        .collect()
}

fn queue_key(queue: u8, time: u64, id: u64) -> Vec<u8> {
    [
        &[queue],
        queue_time(time).as_bytes(),
        id.to_be_bytes().as_slice(),
    ]
    .concat()
}

/// The SDK's sortable form of a time (types.SortableTimeFormat).
fn queue_time(nanos: u64) -> String {
    let (secs, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    let (days, secs) = (secs / 86_400, secs % 86_400);
    let (year, month, day) = civil(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{rest:09}",
        secs / 3600,
        secs / 60 % 60,
        secs % 60
    )
}

/// Year, month and day of a count of days since 1970, in the Gregorian calendar.
fn civil(days: u64) -> (u64, u64, u64) {
    // Counted from 1 March of year 0, so that a leap day ends its year.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

fn by_account(prefix: u8, id: u64, account: Option<&Address>) -> Vec<u8> {
    let account = account.map(length_prefixed).unwrap_or_default();
    [&[prefix], id.to_be_bytes().as_slice(), account.as_slice()].concat()
}

fn next_id(state: &mut Working) -> u64 {
    let held = state
        .get(Store::Gov, NEXT_ID)
        .and_then(|bytes| bytes.try_into().ok());
    let id = held.map_or(1, u64::from_be_bytes);
    state.set(Store::Gov, NEXT_ID, (id + 1).to_be_bytes().to_vec());
    id
}

/// The parameters as they stand.
pub(crate) fn params(state: &Working) -> Result<GovParams, Failure> {
    let params = state
        .get(Store::Gov, PARAMS)
        .and_then(|bytes| GovParams::decode(bytes).ok());
    params.ok_or_else(|| Failure::invalid_request("gov has no params"))
}

fn expect_proposal(state: &Working, id: u64) -> Result<Proposal, Failure> {
    let record = state
        .get(Store::Gov, &proposal_key(id))
        .and_then(|bytes| Proposal::decode(bytes).ok());
    record.ok_or_else(|| Failure::sdk(38, format!("proposal {id} doesn't exist: not found")))
}

fn set_proposal(state: &mut Working, proposal: &Proposal) {
    state.set(
        Store::Gov,
        &proposal_key(proposal.id),
        proposal.encode_to_vec(),
    );
}

fn inactive(id: u64) -> Failure {
    Failure {
        codespace: "gov",
        code: 3,
        log: format!("{id}: inactive proposal"),
    }
}

fn first_amount(coins: &[Coin]) -> u128 {
    coins
        .first()
        .and_then(|coin| coin.amount.parse().ok())
        .unwrap_or(0)
}

fn nanos_of(duration: Option<Duration>) -> u64 {
    let duration = duration.unwrap_or_default();
    u64::try_from(duration.seconds).unwrap_or(0) * 1_000_000_000
        + u64::try_from(duration.nanos).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_time_sorts_and_prints_as_in_the_sdk() {
        assert_eq!(queue_time(0), "1970-01-01T00:00:00.000000000");
        assert_eq!(
            queue_time(951_782_400_000_000_001),
            "2000-02-29T00:00:00.000000001"
        );
        assert_eq!(
            queue_time(1_795_369_682_697_438_796),
            "2026-11-22T17:48:02.697438796"
        );
        assert_eq!(
            queue_time(4_107_542_399_000_000_000),
            "2100-02-28T23:59:59.000000000"
        );
    }
}
