//! How much voting power stands for the machines that gave receipts, for people: the enclave judges proofs of its own.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use baton_attest::identity::PlatformId;
use baton_chain::admission::vouched;
use baton_chain::gov::Validator;
use baton_core::custody::State;
use baton_host::chain::ChainSource;
use prost::Message;
use serde_json::{Value, json};

use super::Node;

/// How often the validators' records are looked at while an old copy waits.
const EVERY: Duration = Duration::from_secs(10);
/// x/staking: the validators.
const VALIDATORS: &[u8] = &[0x21];
/// x/staking: bonded.
const BONDED: i32 = 3;

/// What was seen last.
#[derive(Default)]
pub(super) struct Power {
    looked: Option<Instant>,
    /// Bonded tokens that vouch for each set of machines, and machines.
    validators: Vec<(u128, Vec<PlatformId>)>,
}

/// Looks, where a barrier that asks for power waits.
pub(super) fn refresh(node: &mut Node) {
    let asked = node.places.iter().any(|p| p.build.policy.barrier.power_share.is_some() && p.status.as_ref().is_some_and(|s| s.state == State::Confirmed));
    if !asked || node.shared.view().error.is_some() || node.power.looked.is_some_and(|t| t.elapsed() < EVERY) {
        return;
    }
    node.power.looked = Some(Instant::now());
    if let Ok(pairs) = node.sources.list("staking", VALIDATORS) {
        node.power.validators = read(&pairs);
    }
}

fn read(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<(u128, Vec<PlatformId>)> {
    let bonded = pairs.iter().filter_map(|(_, v)| Validator::decode(v.as_slice()).ok()).filter(|v| v.status == BONDED && !v.jailed);
    bonded.map(|v| (v.tokens.parse().unwrap_or(0), vouched(v.details()).unwrap_or_default())).collect()
}

/// The share of bonded tokens whose validators vouch for one of these machines; none before it is known.
fn share(validators: &[(u128, Vec<PlatformId>)], machines: &BTreeSet<PlatformId>) -> Option<f64> {
    let total: u128 = validators.iter().map(|(t, _)| t).sum();
    let got: u128 = validators.iter().filter(|(_, all)| all.iter().any(|p| machines.contains(p))).map(|(t, _)| t).sum();
    (total > 0).then(|| (got as f64) / (total as f64))
}

/// The bar and how far the receipts at hand reach; `null` where the policy asks for no power.
pub(super) fn told(node: &Node, wanted: Option<baton_chain::Decimal>, build: &str, own: bool) -> Value {
    let Some(wanted) = wanted else { return Value::Null };
    let mut machines = BTreeSet::new();
    if own {
        machines.insert(node.here.launcher().platform_id());
    }
    for peer in node.shared.peers().values().filter(|p| p.receipts.contains_key(build)) {
        let id = peer.status.as_ref().and_then(|s| s["platform"].as_str()?.parse::<PlatformId>().ok());
        machines.extend(id);
    }
    let share = share(&node.power.validators, &machines).map(|s| (s * 10_000.0).round() / 10_000.0);
    json!({"share": share, "wanted": wanted.to_string()})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_power_of_validators_that_vouch_for_a_machine_with_a_receipt_counts_and_each_once() {
        let p = |n| PlatformId([n; 32]);
        let all = [(60, vec![p(1), p(2)]), (30, vec![p(3)]), (10, vec![])];
        let of = |machines: &[PlatformId]| share(&all, &machines.iter().copied().collect());
        assert_eq!(of(&[]), Some(0.0));
        assert_eq!(of(&[p(9)]), Some(0.0), "nobody vouches for it");
        assert_eq!(of(&[p(1), p(2)]), Some(0.6), "one validator, two machines");
        assert_eq!(of(&[p(1), p(3)]), Some(0.9));
        assert_eq!(share(&[], &BTreeSet::new()), None);
    }
}
