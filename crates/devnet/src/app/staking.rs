//! x/staking without rewards and slashing: one token is one share. Validators (0x21), last powers (0x11)
//! and their sum (0x12), delegations (0x31), unbonding delegations (0x32) and their queue (0x41).

use std::collections::BTreeMap;

use prost::Message;

use super::{BlockEnv, Failure, bank, length_prefixed};
use crate::consensus::{self, Member, ZERO_TIME, timestamp};
use crate::decimal;
use crate::keys::{
    Address, account_text, module_address, operator_text, parse_account, parse_operator,
};
use crate::sdk::{
    Coin, Commission, CommissionRates, ConsensusKey, DO_NOT_MODIFY, Delegation, Description, Duration,
    MsgEditValidator, StakingParams, Timestamp, UnbondingDelegation, UnbondingEntry, Validator, pack,
};
use crate::store::{Store, Working};

const LAST_POWER: u8 = 0x11;
const LAST_TOTAL_POWER: &[u8] = &[0x12];
const VALIDATOR: u8 = 0x21;
const BY_CONSENSUS_ADDRESS: u8 = 0x22;
const BY_POWER: u8 = 0x23;
const DELEGATION: u8 = 0x31;
const UNBONDING: u8 = 0x32;
const UNBONDING_QUEUE: u8 = 0x41;
const PARAMS: &[u8] = &[0x51];

const UNBONDED: i32 = 1;
const UNBONDING_STATUS: i32 = 2;
const BONDED: i32 = 3;

const BONDED_POOL: &str = "bonded_tokens_pool";
const NOT_BONDED_POOL: &str = "not_bonded_tokens_pool";

pub(crate) fn genesis(state: &mut Working, env: &BlockEnv<'_>) {
    let config = env.config;
    let params = StakingParams {
        unbonding_time: Some(Duration {
            seconds: config.unbonding_secs as i64,
            nanos: 0,
        }),
        max_validators: config.powers.len().max(100) as u32,
        max_entries: 7,
        historical_entries: 10_000,
        bond_denom: config.denom.clone(),
        min_commission_rate: "0".into(),
    };
    state.set(Store::Staking, PARAMS, params.encode_to_vec());
    for (index, power) in config.powers.iter().enumerate() {
        let operator = env.keys.operators[index].address();
        let key = &env.keys.consensus[index];
        let record = new_validator(&operator, index, &key.public());
        state.set(
            Store::Staking,
            &validator_key(&operator),
            record.encode_to_vec(),
        );
        let by_consensus = [
            &[BY_CONSENSUS_ADDRESS],
            length_prefixed(&key.address()).as_slice(),
        ]
        .concat();
        state.set(Store::Staking, &by_consensus, operator.to_vec());
        let tokens = u128::from(*power) * u128::from(config.power_reduction);
        if tokens > 0 {
            bank::mint(state, &operator, &config.denom, tokens);
            // The operator has just been given the tokens.
            let _ = bond(state, env, &operator, &operator, tokens);
        }
    }
}

/// `MsgDelegate`.
pub(crate) fn delegate(
    state: &mut Working,
    env: &BlockEnv<'_>,
    delegator: &Address,
    validator: &str,
    amount: Option<&Coin>,
) -> Result<(), Failure> {
    let operator = parse_operator(validator).ok_or_else(|| Failure::invalid_address(validator))?;
    let amount = bank::one_coin(amount.map_or(&[], std::slice::from_ref), &env.config.denom)?;
    bond(state, env, delegator, &operator, amount)
}

/// The SDK's longest details, in bytes (`MaxDetailsLength`).
const MAX_DETAILS: usize = 280;

/// `MsgEditValidator`, as far as the description goes.
pub(crate) fn edit(state: &mut Working, edit: &MsgEditValidator) -> Result<(), Failure> {
    let operator =
        parse_operator(&edit.validator_address).ok_or_else(|| Failure::invalid_address(&edit.validator_address))?;
    let mut record = validator_record(state, &operator)?;
    let new = edit.description.clone().unwrap_or_default();
    if new == Description::default() {
        return Err(Failure::sdk(18, "empty description: invalid request"));
    }
    let mut own = record.description.take().unwrap_or_default();
    for (mine, theirs) in [
        (&mut own.moniker, new.moniker),
        (&mut own.identity, new.identity),
        (&mut own.website, new.website),
        (&mut own.security_contact, new.security_contact),
        (&mut own.details, new.details),
    ] {
        if theirs != DO_NOT_MODIFY {
            *mine = theirs;
        }
    }
    if own.details.len() > MAX_DETAILS {
        let log = format!("invalid details length; got: {}, max: {MAX_DETAILS}: invalid request", own.details.len());
        return Err(Failure::sdk(18, log));
    }
    record.description = Some(own);
    state.set(Store::Staking, &validator_key(&operator), record.encode_to_vec());
    Ok(())
}

/// `MsgUndelegate`: the tokens come back after the unbonding time.
pub(crate) fn undelegate(
    state: &mut Working,
    env: &BlockEnv<'_>,
    delegator: &Address,
    validator: &str,
    amount: Option<&Coin>,
) -> Result<(), Failure> {
    let operator = parse_operator(validator).ok_or_else(|| Failure::invalid_address(validator))?;
    let amount = bank::one_coin(amount.map_or(&[], std::slice::from_ref), &env.config.denom)?;
    let mut record = validator_record(state, &operator)?;
    let held = delegated(state, delegator, &operator);
    let Some(rest) = held.checked_sub(amount) else {
        let log = format!("{held} is less than {amount}: not enough delegation shares");
        return Err(Failure {
            codespace: "staking",
            code: 22,
            log,
        });
    };
    set_delegated(state, delegator, &operator, rest);
    if record.status == BONDED {
        bank::send(
            state,
            &pool(BONDED_POOL),
            &pool(NOT_BONDED_POOL),
            &env.config.denom,
            amount,
        )?;
    }
    set_tokens(state, env, &operator, &mut record, |tokens| {
        tokens.saturating_sub(amount)
    });
    queue_unbonding(state, env, delegator, &operator, amount);
    Ok(())
}

/// Pays out what has finished unbonding, and returns the changes of the validator set.
pub(crate) fn end_block(state: &mut Working, env: &BlockEnv<'_>) -> BTreeMap<usize, Member> {
    let updates = if state.touched(Store::Staking, &[VALIDATOR]) {
        update_set(state, env)
    } else {
        BTreeMap::new()
    };
    pay_unbonded(state, env);
    updates
}

/// The power of every bonded validator: operator and tokens.
pub(crate) fn bonded(state: &Working) -> Vec<(Address, u128)> {
    let records = state.with_prefix(Store::Staking, &[VALIDATOR]);
    let record = |(_, value): (_, Vec<u8>)| {
        let record = Validator::decode(value.as_slice())
            .ok()
            .filter(|record| record.status == BONDED)?;
        Some((parse_operator(&record.operator_address)?, tokens(&record)))
    };
    records.into_iter().filter_map(record).collect()
}

/// What `delegator` has with each validator: operator and tokens.
pub(crate) fn delegations(state: &Working, delegator: &Address) -> Vec<(Address, u128)> {
    let prefix = [&[DELEGATION], length_prefixed(delegator).as_slice()].concat();
    let record = |(_, value): (_, Vec<u8>)| {
        let record = Delegation::decode(value.as_slice()).ok()?;
        Some((
            parse_operator(&record.validator_address)?,
            shares_to_tokens(&record.shares),
        ))
    };
    state
        .with_prefix(Store::Staking, &prefix)
        .into_iter()
        .filter_map(record)
        .collect()
}

/// All bonded tokens, as x/gov counts them.
pub(crate) fn total_bonded(state: &Working, denom: &str) -> u128 {
    bank::balance(state, &pool(BONDED_POOL), denom)
}

fn bond(
    state: &mut Working,
    env: &BlockEnv<'_>,
    delegator: &Address,
    operator: &Address,
    amount: u128,
) -> Result<(), Failure> {
    let mut record = validator_record(state, operator)?;
    let to = if record.status == BONDED {
        BONDED_POOL
    } else {
        NOT_BONDED_POOL
    };
    bank::send(state, delegator, &pool(to), &env.config.denom, amount)?;
    let held = delegated(state, delegator, operator);
    set_delegated(state, delegator, operator, held + amount);
    set_tokens(state, env, operator, &mut record, |tokens| tokens + amount);
    Ok(())
}

/// Applies this block's changes of tokens to the validator set (ApplyAndReturnValidatorSetUpdates).
fn update_set(state: &mut Working, env: &BlockEnv<'_>) -> BTreeMap<usize, Member> {
    let mut updates = BTreeMap::new();
    let mut total = 0;
    for (index, key) in env.keys.consensus.iter().enumerate() {
        let operator = env.keys.operators[index].address();
        let Ok(mut record) = validator_record(state, &operator) else {
            continue;
        };
        let power = power(env, &record);
        total += power;
        let last_key = [&[LAST_POWER], length_prefixed(&operator).as_slice()].concat();
        let last = state
            .get(Store::Staking, &last_key)
            .and_then(|bytes| i64::decode(bytes).ok())
            .unwrap_or(0);
        if power == last {
            continue;
        }
        if power == 0 {
            state.delete(Store::Staking, &last_key);
            record.status = UNBONDING_STATUS;
            record.unbonding_height = env.height as i64;
            record.unbonding_time = Some(timestamp(unbonds_at(env)));
            move_pool(state, env, BONDED_POOL, NOT_BONDED_POOL, tokens(&record));
        } else {
            state.set(Store::Staking, &last_key, power.encode_to_vec());
            if record.status != BONDED {
                record.status = BONDED;
                record.unbonding_height = 0;
                record.unbonding_time = Some(Timestamp {
                    seconds: 0,
                    nanos: 0,
                });
                move_pool(state, env, NOT_BONDED_POOL, BONDED_POOL, tokens(&record));
            }
        }
        state.set(
            Store::Staking,
            &validator_key(&operator),
            record.encode_to_vec(),
        );
        let member = Member {
            index,
            address: key.address(),
            public: key.public(),
            power,
            priority: 0,
        };
        updates.insert(index, member);
    }
    if !updates.is_empty() {
        let text = IntProto {
            int: total.to_string(),
        };
        state.set(Store::Staking, LAST_TOTAL_POWER, text.encode_to_vec());
    }
    updates
}

/// `cosmos.staking.v1beta1`'s wrapping of an integer (`cosmos.base.v1beta1.IntProto`).
#[derive(Clone, PartialEq, prost::Message)]
struct IntProto {
    #[prost(string, tag = "1")]
    int: String,
}

fn new_validator(operator: &Address, index: usize, public: &[u8; 32]) -> Validator {
    Validator {
        operator_address: operator_text(operator),
        consensus_pubkey: Some(pack(&ConsensusKey {
            key: public.to_vec(),
        })),
        jailed: false,
        status: UNBONDED,
        tokens: "0".into(),
        delegator_shares: "0".into(),
        description: Some(Description {
            moniker: format!("node{index}"),
            ..Description::default()
        }),
        unbonding_height: 0,
        unbonding_time: Some(Timestamp {
            seconds: 0,
            nanos: 0,
        }),
        commission: Some(Commission {
            commission_rates: Some(CommissionRates {
                rate: (decimal::ONE / 10).to_string(),
                max_rate: (decimal::ONE / 5).to_string(),
                max_change_rate: (decimal::ONE / 100).to_string(),
            }),
            update_time: Some(ZERO_TIME),
        }),
        min_self_delegation: "1".into(),
        unbonding_on_hold_ref_count: 0,
        unbonding_ids: Vec::new(),
    }
}

fn queue_unbonding(
    state: &mut Working,
    env: &BlockEnv<'_>,
    delegator: &Address,
    operator: &Address,
    amount: u128,
) {
    let pair = [length_prefixed(delegator), length_prefixed(operator)].concat();
    let key = [&[UNBONDING], pair.as_slice()].concat();
    let held = state
        .get(Store::Staking, &key)
        .and_then(|bytes| UnbondingDelegation::decode(bytes).ok());
    let mut record = held.unwrap_or_else(|| UnbondingDelegation {
        delegator_address: account_text(delegator),
        validator_address: operator_text(operator),
        entries: Vec::new(),
    });
    let completion = unbonds_at(env);
    record.entries.push(UnbondingEntry {
        creation_height: env.height as i64,
        completion_time: Some(timestamp(completion)),
        initial_balance: amount.to_string(),
        balance: amount.to_string(),
        unbonding_id: 0,
        unbonding_on_hold_ref_count: 0,
    });
    state.set(Store::Staking, &key, record.encode_to_vec());
    // Nobody proves this queue: its value here is only the key of the record.
    let queued = [
        &[UNBONDING_QUEUE],
        completion.to_be_bytes().as_slice(),
        pair.as_slice(),
    ]
    .concat();
    state.set(Store::Staking, &queued, key);
}

fn pay_unbonded(state: &mut Working, env: &BlockEnv<'_>) {
    for (queued, key) in state.with_prefix(Store::Staking, &[UNBONDING_QUEUE]) {
        let due = queued
            .get(1..9)
            .and_then(|bytes| bytes.try_into().ok())
            .map_or(0, u64::from_be_bytes);
        if due > env.time {
            return;
        }
        state.delete(Store::Staking, &queued);
        let held = state
            .get(Store::Staking, &key)
            .and_then(|bytes| UnbondingDelegation::decode(bytes).ok());
        let Some(mut record) = held else { continue };
        let Some(delegator) = parse_account(&record.delegator_address) else {
            continue;
        };
        let over = |entry: &UnbondingEntry| {
            entry
                .completion_time
                .is_some_and(|time| consensus::nanos(time) <= env.time)
        };
        let paid: u128 = record
            .entries
            .iter()
            .filter(|entry| over(entry))
            .map(|entry| parse(&entry.balance))
            .sum();
        record.entries.retain(|entry| !over(entry));
        let _ = bank::send(
            state,
            &pool(NOT_BONDED_POOL),
            &delegator,
            &env.config.denom,
            paid,
        );
        if record.entries.is_empty() {
            state.delete(Store::Staking, &key);
        } else {
            state.set(Store::Staking, &key, record.encode_to_vec());
        }
    }
}

fn validator_key(operator: &Address) -> Vec<u8> {
    [&[VALIDATOR], length_prefixed(operator).as_slice()].concat()
}

fn validator_record(state: &Working, operator: &Address) -> Result<Validator, Failure> {
    let record = state
        .get(Store::Staking, &validator_key(operator))
        .and_then(|bytes| Validator::decode(bytes).ok());
    record.ok_or_else(|| Failure {
        codespace: "staking",
        code: 3,
        log: "validator does not exist".into(),
    })
}

/// Writes a validator's new tokens and moves it in the index by power.
fn set_tokens(
    state: &mut Working,
    env: &BlockEnv<'_>,
    operator: &Address,
    record: &mut Validator,
    change: impl Fn(u128) -> u128,
) {
    let old = by_power_key(env, operator, record);
    state.delete(Store::Staking, &old);
    let tokens = change(tokens(record));
    record.tokens = tokens.to_string();
    record.delegator_shares = (tokens * decimal::ONE).to_string();
    let new = by_power_key(env, operator, record);
    state.set(Store::Staking, &new, operator.to_vec());
    state.set(
        Store::Staking,
        &validator_key(operator),
        record.encode_to_vec(),
    );
}

fn by_power_key(env: &BlockEnv<'_>, operator: &Address, record: &Validator) -> Vec<u8> {
    let inverted: Vec<u8> = operator.iter().map(|byte| !byte).collect();
    let power = power(env, record).to_be_bytes();
    [
        &[BY_POWER],
        power.as_slice(),
        &[operator.len() as u8],
        inverted.as_slice(),
    ]
    .concat()
}

fn delegation_key(delegator: &Address, operator: &Address) -> Vec<u8> {
    [
        &[DELEGATION],
        length_prefixed(delegator).as_slice(),
        length_prefixed(operator).as_slice(),
    ]
    .concat()
}

fn delegated(state: &Working, delegator: &Address, operator: &Address) -> u128 {
    let record = state.get(Store::Staking, &delegation_key(delegator, operator));
    record
        .and_then(|bytes| Delegation::decode(bytes).ok())
        .map_or(0, |record| shares_to_tokens(&record.shares))
}

fn set_delegated(state: &mut Working, delegator: &Address, operator: &Address, tokens: u128) {
    let key = delegation_key(delegator, operator);
    if tokens == 0 {
        state.delete(Store::Staking, &key);
        return;
    }
    let record = Delegation {
        delegator_address: account_text(delegator),
        validator_address: operator_text(operator),
        shares: (tokens * decimal::ONE).to_string(),
    };
    state.set(Store::Staking, &key, record.encode_to_vec());
}

fn power(env: &BlockEnv<'_>, record: &Validator) -> i64 {
    (tokens(record) / u128::from(env.config.power_reduction)) as i64
}

fn tokens(record: &Validator) -> u128 {
    parse(&record.tokens)
}

fn shares_to_tokens(shares: &str) -> u128 {
    parse(shares) / decimal::ONE
}

fn parse(text: &str) -> u128 {
    text.parse().unwrap_or(0)
}

fn unbonds_at(env: &BlockEnv<'_>) -> u64 {
    env.time + env.config.unbonding_secs * 1_000_000_000
}

fn move_pool(state: &mut Working, env: &BlockEnv<'_>, from: &str, to: &str, amount: u128) {
    let _ = bank::send(state, &pool(from), &pool(to), &env.config.denom, amount);
}

fn pool(name: &str) -> Address {
    module_address(name)
}
