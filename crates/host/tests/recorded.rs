//! What a real chain's node answered (fixtures/rpc) against what the devnet answers to the same questions: one key
//! layout, one encoding of records, one form of proof. A devnet that is kinder than a real node proves nothing.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use baton_chain::gov::{Plan, Proposal, proposal_key};
use baton_chain::light::{LightBlock, TrustedHeader};
use baton_chain::proofs::{StateProof, verify_state};
use baton_chain::recorded::{Recording, Verdict};
use baton_chain::rpc::{light_block_from_rpc, state_proof_from_abci_query};
use baton_devnet::rpc::RpcServer;
use baton_devnet::{Account, Config, Devnet, Text, YES};
use baton_host::rpc::Endpoint;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use serde_json::{Value, json};

/// A recorded answer, whole.
fn real(case: &str) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/rpc/{case}.json"));
    let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    serde_json::from_str::<Value>(&text).unwrap()["body"].clone()
}

fn real_plan() -> (StateProof, Plan) {
    let (proof, _) = state_proof_from_abci_query(&real("query_plan")).unwrap();
    let plan = Plan::decode(proof.value.as_deref().unwrap()).unwrap();
    (proof, plan)
}

/// A devnet on which the recorded proposal was made and passed in the same words.
fn twin() -> Devnet {
    let (_, plan) = real_plan();
    let mut chain = Devnet::new(Config::default()).unwrap();
    chain.produce_until(3).unwrap();
    let message = Devnet::upgrade_message(&plan.name, plan.height as u64, &plan.info);
    let id = chain.propose(vec![message], &Text::titled("Enclave two"), false).unwrap().unwrap();
    chain.carry(id, YES).unwrap();
    assert_eq!((id, chain.proposal(id).unwrap().status), (1, 3));
    // The header above the state that proves it, and one more.
    chain.produce_block().unwrap();
    chain.produce_block().unwrap();
    chain
}

/// The header that proves a state, trusted as a checkpoint would be.
fn trusted(chain_id: &str, block: &LightBlock) -> TrustedHeader {
    TrustedHeader::from_checkpoint(chain_id, &block.untrusted_checkpoint().unwrap(), block).unwrap()
}

fn real_header() -> TrustedHeader {
    let (set, next) = (real("validators"), real("validators_next"));
    trusted("baton-rpc-1", &light_block_from_rpc(&real("commit_of_query_plan"), &set, Some(&next)).unwrap())
}

/// The devnet's own proof of a key, and the header that it leads to.
fn devnet_proof(chain: &Devnet, store: &str, key: &[u8]) -> (StateProof, TrustedHeader) {
    let height = chain.state_height() - 1;
    let answer = chain.query(store, key, height).unwrap();
    let proof = StateProof {
        store: store.into(),
        key: key.to_vec(),
        value: answer.value,
        iavl: answer.iavl,
        simple: answer.simple,
    };
    let block = chain.light_block(height + 1).unwrap();
    let block = LightBlock {
        signed_header: block.signed_header,
        validators: block.validators,
        next_validators: Some(block.next_validators),
    };
    (proof, trusted(&chain.config().chain_id, &block))
}

#[test]
fn a_plan_is_stored_as_the_same_bytes_under_the_same_key() {
    let (proof, plan) = real_plan();
    let chain = twin();
    let (ours, _) = devnet_proof(&chain, "upgrade", &[0]);
    assert_eq!(proof.key, [0]);
    assert_eq!(ours.value, proof.value, "{plan:?}");
}

#[test]
fn a_passed_proposal_differs_in_nothing_but_times_and_proposer() {
    let (proof, _) = state_proof_from_abci_query(&real("query_proposal")).unwrap();
    assert_eq!(proof.key, proposal_key(1));
    let real = Proposal::decode(proof.value.as_deref().unwrap()).unwrap();
    let (ours, _) = devnet_proof(&twin(), "gov", &proposal_key(1));
    let ours = Proposal::decode(ours.value.as_deref().unwrap()).unwrap();
    let same = Proposal {
        submit_time: real.submit_time,
        deposit_end_time: real.deposit_end_time,
        voting_start_time: real.voting_start_time,
        voting_end_time: real.voting_end_time,
        proposer: real.proposer.clone(),
        ..ours.clone()
    };
    assert_eq!(same, real);
    // All that the decoder knows is all that there is: written again, it is what the chain stored.
    assert_eq!(real.encode_to_vec(), proof.value.unwrap());
}

#[test]
fn proofs_of_both_hold_by_the_same_specs_and_break_alike() {
    let chain = twin();
    let missing = proposal_key(999);
    let ours = [devnet_proof(&chain, "upgrade", &[0]), devnet_proof(&chain, "gov", &proposal_key(1)), devnet_proof(&chain, "gov", &missing)];
    let theirs = ["query_plan", "query_proposal"].map(|case| (state_proof_from_abci_query(&real(case)).unwrap().0, real_header()));
    for (proof, header) in ours.iter().chain(&theirs) {
        assert_eq!(verify_state(header, proof).unwrap().value(), proof.value.as_deref());
        let mut other = proof.clone();
        match &mut other.value {
            Some(value) => value[0] ^= 1,
            none => *none = Some(vec![1]),
        }
        verify_state(header, &other).unwrap_err();
        verify_state(header, &StateProof { key: vec![7], ..proof.clone() }).unwrap_err();
        verify_state(header, &StateProof { store: "bank".into(), ..proof.clone() }).unwrap_err();
    }
    // A proof of one chain shows nothing under another's header.
    verify_state(&ours[0].1, &theirs[0].0).unwrap_err();
    verify_state(&theirs[0].1, &ours[0].0).unwrap_err();
}

/// Every field of `ours` is in `theirs`, with the same JSON type.
fn fits(path: &str, ours: &Value, theirs: &Value) {
    match (ours, theirs) {
        (Value::Null, _) => {}
        (Value::Object(fields), Value::Object(real)) => {
            for (name, value) in fields {
                let there = real.get(name).unwrap_or_else(|| panic!("a real node's answer has no {path}.{name}"));
                fits(&format!("{path}.{name}"), value, there);
            }
        }
        (Value::Array(list), Value::Array(real)) => {
            if let (Some(first), Some(other)) = (list.first(), real.first()) {
                fits(&format!("{path}[0]"), first, other);
            }
        }
        _ => {
            let kind = |v: &Value| std::mem::discriminant(v);
            assert_eq!(kind(ours), kind(theirs), "{path}: devnet {ours}, real {theirs}");
        }
    }
}

#[test]
fn the_devnets_rpc_says_nothing_that_a_real_node_does_not_say() {
    let mut chain = twin();
    let hash = chain.send_memo(Account::User(0), "baton1:x").unwrap();
    chain.produce_block().unwrap();
    let at = chain.height();
    chain.produce_block().unwrap();
    chain.produce_block().unwrap();
    let tx = chain.sign(Account::User(1), &[], "baton1:y");
    let server = RpcServer::start(Arc::new(Mutex::new(chain))).unwrap();
    let node = Endpoint::new(&server.url(), Duration::from_secs(5), &Default::default()).unwrap();
    let query = |store: &str, key: &[u8]| json!({"path": format!("/store/{store}/key"), "data": hex::encode(key), "height": (at - 1).to_string(), "prove": true});
    for (method, params, case) in [
        ("status", json!({}), "status"),
        ("commit", json!({"height": at.to_string()}), "commit"),
        ("validators", json!({"height": at.to_string(), "per_page": "3", "page": "2"}), "validators_page_2_of_2"),
        ("block", json!({"height": at.to_string()}), "block"),
        ("tx", json!({"hash": STANDARD.encode(hash), "prove": true}), "tx_with_proof"),
        ("abci_query", query("upgrade", &[0]), "query_plan"),
        ("abci_query", query("gov", &proposal_key(999)), "query_no_plan"),
        ("broadcast_tx_sync", json!({"tx": STANDARD.encode(&tx)}), "broadcast"),
    ] {
        let ours = node.call(method, &params).unwrap_or_else(|e| panic!("{method}: {e}"));
        fits(method, &ours, &real(case)["result"]);
    }
}

/// A text with its numbers and hashes taken out.
fn words(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).collect();
    plain.split_whitespace().map(|w| if w.contains('#') { "#" } else { w }).collect::<Vec<_>>().join(" ")
}

#[test]
fn refusals_have_the_same_words() {
    let server = RpcServer::start(Arc::new(Mutex::new(twin()))).unwrap();
    let node = Endpoint::new(&server.url(), Duration::from_secs(5), &Default::default()).unwrap();
    let future = json!({"height": "100000"});
    let refused = |method: &str, params: &Value| words(&node.call(method, params).unwrap_err().to_string());
    let said = |case: &str| words(real(case)["error"]["data"].as_str().unwrap());
    assert!(refused("commit", &future).contains(&said("commit_future")));
    assert!(refused("validators", &future).contains(&said("validators_future")));
    let unknown = json!({"hash": STANDARD.encode([0u8; 32]), "prove": true});
    assert!(refused("tx", &unknown).contains(&said("tx_unknown")));
    server.prune_below(10);
    let old = json!({"height": "2"});
    assert!(refused("commit", &old).contains(&said("commit_pruned")));
    assert!(refused("validators", &old).contains(&said("validators_pruned")));
}

#[test]
fn no_answer_to_a_query_is_read_as_absence() {
    for case in ["query_future", "query_pruned", "query_unknown_store", "halted_query_plan"] {
        assert_ne!(real(case)["result"]["response"]["code"], 0, "{case}");
        state_proof_from_abci_query(&real(case)).expect_err(case);
    }
    // At the halt the plan is provable one below.
    let (proof, height) = state_proof_from_abci_query(&real("halted_query_plan_below")).unwrap();
    let plan = Plan::decode(proof.value.as_deref().unwrap()).unwrap();
    assert_eq!(height + 1, plan.height as u64);
    let (set, next) = (real("halted_validators"), real("halted_validators_next"));
    let x = trusted("baton-rpc-1", &light_block_from_rpc(&real("halted_commit"), &set, Some(&next)).unwrap());
    assert_eq!((x.height(), verify_state(&x, &proof).unwrap().height()), (plan.height as u64, plan.height as u64));
    assert_eq!(real("halted_commit")["result"]["canonical"], false);
}

/// The evidence of an upgrade that ran on a real chain, with an SGX program as its target.
fn upgrade() -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/run/upgrade.json");
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

fn judge(recording: &Value) -> Verdict {
    Recording::parse(&recording.to_string()).unwrap().judge(None)
}

#[test]
fn a_recorded_upgrade_replays_without_a_chain() {
    let verdict = judge(&upgrade());
    assert!(verdict.accept, "{verdict:?}");
    let measurement = "d6f9901d38c30164edb8411bc6efa41d8e37ac97145a965ce1fa857b69b05ce2";
    assert_eq!(verdict.measurement.as_deref(), Some(measurement), "{verdict:?}");
}

#[test]
fn a_recorded_upgrade_names_no_build_once_any_answer_is_changed() {
    let whole = upgrade();
    for (at, query) in whole["queries"].as_array().unwrap().iter().enumerate() {
        let mut changed = whole.clone();
        let mut value = STANDARD.decode(query["response"]["result"]["response"]["value"].as_str().unwrap()).unwrap();
        let middle = value.len() / 2;
        value[middle] ^= 1;
        changed["queries"][at]["response"]["result"]["response"]["value"] = STANDARD.encode(value).into();
        let verdict = Recording::parse(&changed.to_string()).map(|r| r.judge(None));
        assert!(verdict.is_err() || verdict.is_ok_and(|v| !v.accept), "query {at}");
        let mut gone = whole.clone();
        gone["queries"].as_array_mut().unwrap().remove(at);
        let verdict = Recording::parse(&gone.to_string()).map(|r| r.judge(None));
        assert!(verdict.is_err() || verdict.is_ok_and(|v| !v.accept || v.measurement.is_none()), "query {at}");
    }
    // The vote's end is part of it: the tally is measured against the power of that block.
    let mut without = whole.clone();
    without.as_object_mut().unwrap().remove("vote_end");
    assert!(!judge(&without).accept);
    let mut other = whole;
    other["chain_id"] = "baton-test-2".into();
    assert!(!judge(&other).accept);
}
