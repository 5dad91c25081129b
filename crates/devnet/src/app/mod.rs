//! What the modules do with a block, in the order of a stock chain: upgrade first, then the
//! transactions, then gov and staking at the end.

pub(crate) mod bank;
pub(crate) mod genesis;
pub(crate) mod gov;
mod staking;
pub(crate) mod tx;
pub(crate) mod upgrade;

use std::collections::BTreeMap;

use prost::Message;

use crate::config::Config;
use crate::consensus::Member;
use crate::devnet::{Halt, Keys};
use crate::keys::Address;
use crate::store::{Committed, Store, Working};
use tx::TxResult;

/// What a block is executed with.
pub(crate) struct BlockEnv<'a> {
    pub(crate) config: &'a Config,
    pub(crate) keys: &'a Keys,
    pub(crate) height: u64,
    /// Nanoseconds since 1970.
    pub(crate) time: u64,
    pub(crate) proposer: Address,
    /// Whether the validators skip an upgrade at this height.
    pub(crate) skip: bool,
    pub(crate) switch: &'a Switch,
}

/// Which binary executes the block.
pub(crate) enum Switch {
    /// The one that has been running; it has no handler for any plan.
    Old,
    /// A new one with the handler for the plan of that name.
    Handler(String),
}

/// What a block did.
pub(crate) struct Outcome {
    pub(crate) state: Working,
    pub(crate) results: Vec<TxResult>,
    /// The validators whose power changed.
    pub(crate) updates: BTreeMap<usize, Member>,
}

/// Why a message failed: the SDK's codespace, code and log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) codespace: &'static str,
    pub(crate) code: u32,
    pub(crate) log: String,
}

impl Failure {
    /// An error of the SDK itself (types/errors/errors.go).
    pub(crate) fn sdk(code: u32, log: impl Into<String>) -> Self {
        Self {
            codespace: "sdk",
            code,
            log: log.into(),
        }
    }

    pub(crate) fn invalid_request(log: impl AsRef<str>) -> Self {
        Self::sdk(18, format!("{}: invalid request", log.as_ref()))
    }

    pub(crate) fn invalid_address(text: &str) -> Self {
        Self::sdk(7, format!("{text:?}: invalid address"))
    }
}

/// Executes one block on `base`; `Err` when this binary cannot run the pending plan.
pub(crate) fn execute(
    base: &Committed,
    env: &BlockEnv<'_>,
    txs: &[Vec<u8>],
) -> Result<Outcome, Halt> {
    let mut state = Working::over(base);
    upgrade::pre_block(&mut state, env)?;
    // x/distribution keeps the last proposer (0x01, a BytesValue), so every block has its own app hash.
    state.set(Store::Distribution, &[1], proposer_record(env));
    let results = txs
        .iter()
        .map(|tx| tx::execute(&mut state, env, tx))
        .collect();
    gov::end_block(&mut state, env);
    let updates = staking::end_block(&mut state, env);
    Ok(Outcome {
        state,
        results,
        updates,
    })
}

fn proposer_record(env: &BlockEnv<'_>) -> Vec<u8> {
    env.proposer.to_vec().encode_to_vec()
}

/// An address as the SDK puts it into keys: its length, then its bytes.
pub(crate) fn length_prefixed(address: &Address) -> Vec<u8> {
    let mut bytes = vec![address.len() as u8];
    bytes.extend_from_slice(address);
    bytes
}
