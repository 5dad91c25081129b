//! x/bank: balances (0x02, length-prefixed address, denom) and supply (0x00, denom), as decimal text.

use super::{Failure, length_prefixed};
use crate::keys::Address;
use crate::sdk::Coin;
use crate::store::{Store, Working};

/// The key of a balance.
pub(crate) fn balance_key(address: &Address, denom: &str) -> Vec<u8> {
    [&[2], length_prefixed(address).as_slice(), denom.as_bytes()].concat()
}

pub(crate) fn balance(state: &Working, address: &Address, denom: &str) -> u128 {
    number(state.get(Store::Bank, &balance_key(address, denom)))
}

/// Moves `amount`, or fails and moves nothing.
pub(crate) fn send(
    state: &mut Working,
    from: &Address,
    to: &Address,
    denom: &str,
    amount: u128,
) -> Result<(), Failure> {
    let spendable = balance(state, from, denom);
    let Some(rest) = spendable.checked_sub(amount) else {
        let log = format!(
            "spendable balance {spendable}{denom} is smaller than {amount}{denom}: insufficient funds"
        );
        return Err(Failure::sdk(5, log));
    };
    set_balance(state, from, denom, rest);
    let sum = balance(state, to, denom) + amount;
    set_balance(state, to, denom, sum);
    Ok(())
}

/// Makes `amount` out of nothing, at genesis.
pub(crate) fn mint(state: &mut Working, to: &Address, denom: &str, amount: u128) {
    let sum = balance(state, to, denom) + amount;
    set_balance(state, to, denom, sum);
    let supply = supply(state, denom) + amount;
    set_supply(state, denom, supply);
}

/// Destroys `amount` of what `from` holds.
pub(crate) fn burn(state: &mut Working, from: &Address, denom: &str, amount: u128) {
    let rest = balance(state, from, denom).saturating_sub(amount);
    set_balance(state, from, denom, rest);
    let supply = supply(state, denom).saturating_sub(amount);
    set_supply(state, denom, supply);
}

/// The one coin of `denom` in a message's list; fails for none, several, another denomination or 0.
pub(crate) fn one_coin(coins: &[Coin], denom: &str) -> Result<u128, Failure> {
    let amount = match coins {
        [coin] if coin.denom == denom => {
            coin.amount.parse::<u64>().ok().filter(|amount| *amount > 0)
        }
        _ => None,
    };
    amount
        .map(u128::from)
        .ok_or_else(|| Failure::sdk(10, format!("expected one amount of {denom}: invalid coins")))
}

pub(crate) fn coin(denom: &str, amount: u128) -> Coin {
    Coin {
        denom: denom.into(),
        amount: amount.to_string(),
    }
}

fn supply(state: &Working, denom: &str) -> u128 {
    number(state.get(Store::Bank, &[&[0], denom.as_bytes()].concat()))
}

fn set_supply(state: &mut Working, denom: &str, amount: u128) {
    state.set(
        Store::Bank,
        &[&[0], denom.as_bytes()].concat(),
        amount.to_string().into_bytes(),
    );
}

fn set_balance(state: &mut Working, address: &Address, denom: &str, amount: u128) {
    let key = balance_key(address, denom);
    if amount == 0 {
        state.delete(Store::Bank, &key);
    } else {
        state.set(Store::Bank, &key, amount.to_string().into_bytes());
    }
}

fn number(text: Option<&[u8]>) -> u128 {
    text.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok())
        .unwrap_or(0)
}
