//! x/upgrade: the plan (0x00), done keys (0x01, height, name), module versions (0x02), and the halt.

use prost::Message;

use super::{BlockEnv, Failure, Switch};
use crate::consensus::ZERO_TIME;
use crate::devnet::Halt;
use crate::sdk::Plan;
use crate::store::{Store, Working};

/// The key of the pending plan.
pub(crate) const PLAN_KEY: &[u8] = &[0];
const DONE_PREFIX: u8 = 1;
const MODULE_PREFIX: u8 = 2;
const PROTOCOL_KEY: &[u8] = &[3];

/// The modules of the chain and their consensus versions in SDK 0.53.
const MODULES: [(&str, u64); 11] = [
    ("auth", 5),
    ("bank", 4),
    ("consensus", 1),
    ("distribution", 3),
    ("genutil", 1),
    ("gov", 5),
    ("mint", 2),
    ("runtime", 0),
    ("slashing", 4),
    ("staking", 5),
    ("upgrade", 2),
];

pub(crate) fn genesis(state: &mut Working) {
    for (name, version) in MODULES {
        state.set(
            Store::Upgrade,
            &[&[MODULE_PREFIX], name.as_bytes()].concat(),
            version.to_be_bytes().to_vec(),
        );
    }
}

/// The plan that is pending.
pub(crate) fn plan(state: &Working) -> Option<Plan> {
    Plan::decode(state.get(Store::Upgrade, PLAN_KEY)?).ok()
}

/// The key that marks plan `name` as done at `height`.
pub(crate) fn done_key(height: u64, name: &str) -> Vec<u8> {
    [
        &[DONE_PREFIX],
        height.to_be_bytes().as_slice(),
        name.as_bytes(),
    ]
    .concat()
}

/// Runs, skips or refuses the plan when its height has come; `Err` when it needs another binary.
pub(crate) fn pre_block(state: &mut Working, env: &BlockEnv<'_>) -> Result<(), Halt> {
    let Some(plan) = plan(state) else {
        return Ok(());
    };
    if u64::try_from(plan.height).is_ok_and(|height| height > env.height) {
        return Ok(());
    }
    if !env.skip {
        match env.switch {
            Switch::Handler(name) if *name == plan.name => {
                state.set(Store::Upgrade, &done_key(env.height, &plan.name), vec![1]);
                bump_protocol(state);
            }
            Switch::Handler(_) | Switch::Old => {
                return Err(Halt {
                    height: env.height,
                    name: plan.name,
                });
            }
        }
    }
    state.delete(Store::Upgrade, PLAN_KEY);
    Ok(())
}

/// Schedules `plan` in place of the pending one (keeper.ScheduleUpgrade).
pub(crate) fn schedule(state: &mut Working, env: &BlockEnv<'_>, plan: Plan) -> Result<(), Failure> {
    if plan.time.is_some_and(|time| time != ZERO_TIME) {
        return Err(Failure::invalid_request(
            "time-based upgrades have been deprecated in the SDK",
        ));
    }
    if plan.upgraded_client_state.is_some() {
        return Err(Failure::invalid_request(
            "upgrade logic for IBC has been moved to the IBC module",
        ));
    }
    if plan.name.is_empty() {
        return Err(Failure::invalid_request("name cannot be empty"));
    }
    if plan.height <= 0 {
        return Err(Failure::invalid_request("height must be greater than 0"));
    }
    if (plan.height as u64) < env.height {
        return Err(Failure::invalid_request(
            "upgrade cannot be scheduled in the past",
        ));
    }
    if is_done(state, &plan.name) {
        return Err(Failure::invalid_request(format!(
            "upgrade with name {} has already been completed",
            plan.name
        )));
    }
    // The zero time is not nullable in the SDK, so it always stands in the record.
    let plan = Plan {
        time: Some(ZERO_TIME),
        ..plan
    };
    state.set(Store::Upgrade, PLAN_KEY, plan.encode_to_vec());
    Ok(())
}

/// Clears the pending plan, if there is one.
pub(crate) fn cancel(state: &mut Working) {
    if plan(state).is_some() {
        state.delete(Store::Upgrade, PLAN_KEY);
    }
}

fn is_done(state: &Working, name: &str) -> bool {
    let done = state.with_prefix(Store::Upgrade, &[DONE_PREFIX]);
    done.iter()
        .any(|(key, _)| key.get(9..) == Some(name.as_bytes()))
}

fn bump_protocol(state: &mut Working) {
    let held = state
        .get(Store::Upgrade, PROTOCOL_KEY)
        .and_then(|bytes| bytes.try_into().ok());
    let version = held.map_or(0, u64::from_be_bytes) + 1;
    state.set(Store::Upgrade, PROTOCOL_KEY, version.to_be_bytes().to_vec());
}
