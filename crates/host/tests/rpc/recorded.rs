//! Answers that a real node gave (tests/fixtures/rpc), replayed: the same verdicts without the node.

use std::path::Path;
use std::sync::{Arc, Mutex};

use baton_chain::gov::{PLAN_KEY, UPGRADE_STORE};
use baton_devnet::rpc::RpcServer;
use baton_devnet::{Config, Devnet};
use baton_host::chain::{ChainSource, Trouble};
use baton_host::rpc::{RpcConfig, RpcSource, SendError, send_raw};
use serde_json::Value;

fn case(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/rpc/{name}.json"));
    serde_json::from_slice(&std::fs::read(&path).unwrap_or_else(|e| panic!("{name}: {e}"))).unwrap()
}

/// A server that answers a method with one recorded body, or with the one of the height that is asked for.
fn replay(cases: &'static [(&'static str, &'static str)]) -> (RpcServer, RpcSource) {
    let chain = Devnet::new(Config::default()).unwrap();
    let s = RpcServer::start(Arc::new(Mutex::new(chain))).unwrap();
    let bodies: Vec<(String, Option<u64>, Value)> = cases
        .iter()
        .map(|(method, name)| {
            let c = case(name);
            (method.to_string(), c["params"]["height"].as_u64(), c["body"].clone())
        })
        .collect();
    s.play(move |method, params, otherwise| {
        let asked = params["height"].as_str().and_then(|h| h.parse().ok());
        let of = |exact: bool| {
            let fits = |(m, h, _): &&(String, Option<u64>, Value)| m == method && (!exact || *h == asked);
            bodies.iter().find(fits).map(|(_, _, body)| body.clone())
        };
        of(true).or_else(|| of(false)).or(Some(otherwise))
    });
    let rpc = RpcSource::new(RpcConfig { retries: 0, ..RpcConfig::new("baton-rpc-1", vec![s.url()]) }).unwrap();
    (s, rpc)
}

fn height_of(name: &str) -> u64 {
    case(name)["params"]["height"].as_u64().unwrap()
}

#[test]
fn a_real_block_holds_as_a_light_block() {
    let (_s, rpc) = replay(&[("commit", "commit"), ("validators", "validators"), ("validators", "validators_next")]);
    let h = height_of("commit");
    assert_eq!(rpc.light_block(h).unwrap().height().unwrap(), h);
}

#[test]
fn a_real_validator_set_in_two_pages_is_two_pages() {
    let (first, second) = (case("validators_page_1_of_2"), case("validators_page_2_of_2"));
    let pages = Value::Array(vec![first["body"].clone(), second["body"].clone()]);
    let whole = baton_chain::rpc::validator_set(&pages).unwrap();
    assert_eq!(whole, baton_chain::rpc::validator_set(&case("validators")["body"]).unwrap());
    assert!(baton_chain::rpc::validator_set(&first["body"]).is_err());
}

#[test]
fn real_refusals_are_told_apart() {
    for (method, name, wanted) in [
        ("commit", "commit_future", Trouble::Future),
        ("commit", "commit_pruned", Trouble::Pruned),
        ("commit", "halted_commit_next", Trouble::Future),
    ] {
        let one: &'static [(&'static str, &'static str)] = Box::leak(Box::new([(method, name)]));
        let (s, rpc) = replay(one);
        let e = rpc.light_block(height_of(name)).unwrap_err();
        assert_eq!(e.trouble, wanted, "{name}: {e}");
        assert!(e.to_string().contains(&s.url()), "{e}");
    }
}

#[test]
fn a_real_plan_is_proven_by_its_header() {
    let (_s, rpc) = replay(&[
        ("commit", "commit_of_query_plan"),
        ("validators", "validators"),
        ("abci_query", "query_plan"),
    ]);
    let header = height_of("commit_of_query_plan");
    assert_eq!(height_of("query_plan") + 1, header);
    // The validators are those of another height: the set is the same, the answer says another number.
    let e = rpc.light_block(header).unwrap_err();
    assert_eq!(e.trouble, Trouble::Lying, "{e}");
}

#[test]
fn at_a_real_halt_header_x_proves_the_plan_that_stands_at_x_less_one() {
    let (_s, rpc) = replay(&[
        ("commit", "halted_commit"),
        ("validators", "halted_validators"),
        ("validators", "halted_validators_next"),
        ("abci_query", "halted_query_plan_below"),
        ("status", "halted_status"),
    ]);
    let x = height_of("halted_commit");
    assert_eq!(rpc.latest().unwrap(), x, "X is decided");
    let proof = rpc.state(UPGRADE_STORE, PLAN_KEY, x).unwrap();
    assert!(proof.value.is_some());
}

#[test]
fn a_real_transaction_is_included_with_its_proof_and_an_unknown_one_is_not() {
    let (_s, rpc) = replay(&[("tx", "tx_with_proof")]);
    let c = case("tx_with_proof");
    let mut hash = [0; 32];
    hex::decode_to_slice(c["body"]["result"]["hash"].as_str().unwrap(), &mut hash).unwrap();
    let got = rpc.included(&hash).unwrap().unwrap();
    assert_eq!(got.height.to_string(), c["body"]["result"]["height"].as_str().unwrap());
    assert_eq!(rpc.included(&[7; 32]).unwrap_err().trouble, Trouble::Lying, "another transaction than was asked for");
    let (_s, rpc) = replay(&[("tx", "tx_unknown")]);
    assert_eq!(rpc.included(&[0; 32]).unwrap(), None);
    let (_s, rpc) = replay(&[("tx", "halted_tx_unknown")]);
    assert_eq!(rpc.included(&[0; 32]).unwrap(), None, "taken with code 0 during a halt, and in no block");
}

#[test]
fn real_refusals_of_a_broadcast_say_what_to_do() {
    let (_s, rpc) = replay(&[("broadcast_tx_sync", "broadcast")]);
    send_raw(&rpc, b"tx").unwrap();
    for (name, wanted) in [("broadcast_no_funds", "let a peer publish"), ("broadcast_old_sequence", "expected 3"), ("broadcast_again", "already exists"), ("broadcast_no_tx", "code 2")] {
        let one: &'static [(&'static str, &'static str)] = Box::leak(Box::new([("broadcast_tx_sync", name)]));
        let (_s, rpc) = replay(one);
        let e = send_raw(&rpc, b"tx").unwrap_err();
        assert!(e.to_string().contains(wanted), "{name}: {e}");
        assert!(matches!(e, SendError::CheckTx { .. } | SendError::Source(_)));
    }
}

#[test]
fn a_state_that_a_real_node_has_not_is_an_error_that_says_pruned() {
    let (_s, rpc) = replay(&[
        ("commit", "halted_commit"),
        ("validators", "halted_validators"),
        ("validators", "halted_validators_next"),
        ("abci_query", "query_pruned"),
    ]);
    let e = rpc.state(UPGRADE_STORE, PLAN_KEY, height_of("halted_commit")).unwrap_err();
    assert_eq!(e.trouble, Trouble::Pruned, "{e}");
}
