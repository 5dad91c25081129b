//! The state before block 1.

use prost::Message;

use super::{BlockEnv, Switch, bank, gov, staking, tx, upgrade};
use crate::config::Config;
use crate::consensus::{self, Member};
use crate::devnet::Keys;
use crate::keys::AccountKey;
use crate::sdk::BankParams;
use crate::store::{Committed, Store, Working};

/// The state of genesis, whose nodes are of version 1 as in the SDK, and the first validators.
pub(crate) fn state(config: &Config, keys: &Keys) -> (Committed, Vec<Member>) {
    let mut state = Working::over(&Committed::default());
    let env = BlockEnv {
        config,
        keys,
        height: 0,
        time: config.genesis_time_secs * 1_000_000_000,
        proposer: [0; 20],
        skip: false,
        switch: &Switch::Old,
    };
    for account in keys
        .operators
        .iter()
        .chain(&keys.users)
        .map(AccountKey::address)
    {
        tx::ensure_account(&mut state, &account);
        if config.balance > 0 {
            bank::mint(&mut state, &account, &config.denom, config.balance.into());
        }
    }
    state.set(
        Store::Bank,
        &[5],
        BankParams {
            default_send_enabled: true,
        }
        .encode_to_vec(),
    );
    staking::genesis(&mut state, &env);
    gov::genesis(&mut state, config);
    upgrade::genesis(&mut state);
    others(&mut state, keys);
    let members = staking::end_block(&mut state, &env).into_values().collect();
    (state.commit(1), members)
}

/// A few keys for the modules that do nothing here, so that no store is empty.
fn others(state: &mut Working, keys: &Keys) {
    state.set(
        Store::Consensus,
        b"Consensus",
        consensus::params().encode_to_vec(),
    );
    state.set(Store::Mint, &[1], b"no inflation".to_vec());
    for key in &keys.consensus {
        let address = key.address();
        state.set(
            Store::Slashing,
            &[&[1, 20], address.as_slice()].concat(),
            address.to_vec(),
        );
    }
}
