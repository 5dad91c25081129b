//! The devnet beside a recorded real chain: the same keys, records, specs and trees.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use baton_devnet::sdk::{Plan, Proposal, TxBody, TxRaw};
use baton_devnet::{Account, Config, Devnet, GovConfig, Text, YES, merkle, tx_hash};
use ics23::commitment_proof::Proof;
use ics23::{CommitmentProof, ExistenceProof};
use prost::Message as _;
use prost_ics23::Message as _;
use serde_json::Value;

use crate::stock::answer_shows;

fn fixture(name: &str) -> Value {
    let path = format!("{}/tests/fixtures/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A recorded answer.
struct Recorded {
    store: String,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
    iavl: Vec<u8>,
    simple: Vec<u8>,
    op_types: Vec<String>,
}

fn bytes(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap_or_default()).unwrap()
}

fn recorded(file: &Value) -> Vec<Recorded> {
    let query = |query: &Value| {
        let response = &query["response"]["result"]["response"];
        let ops = response["proofOps"]["ops"].as_array().unwrap();
        let value = bytes(&response["value"]);
        Recorded {
            store: query["store"].as_str().unwrap().into(),
            key: hex::decode(query["key_hex"].as_str().unwrap()).unwrap(),
            value: (!value.is_empty()).then_some(value),
            iavl: bytes(&ops[0]["data"]),
            simple: bytes(&ops[1]["data"]),
            op_types: ops
                .iter()
                .map(|op| op["type"].as_str().unwrap().into())
                .collect(),
        }
    };
    file["queries"]
        .as_array()
        .unwrap()
        .iter()
        .map(query)
        .collect()
}

fn value_of(file: &Value, store: &str, key: &[u8]) -> Vec<u8> {
    let found = recorded(file)
        .into_iter()
        .find(|answer| answer.store == store && answer.key == key);
    found.unwrap().value.unwrap()
}

fn header(file: &Value, block: &str) -> Value {
    file[block]["commit"]["signed_header"]["header"].clone()
}

/// The devnet with the parameters of the recorded chain.
fn twin() -> Devnet {
    let gov = GovConfig {
        voting_secs: 15,
        expedited_voting_secs: 6,
        max_deposit_secs: 15,
        min_deposit: 10_000_000,
        expedited_min_deposit: 50_000_000,
        quorum: "0.334".into(),
        threshold: "0.5".into(),
        expedited_threshold: "0.667".into(),
        veto_threshold: "0.334".into(),
    };
    let config = Config {
        powers: vec![100, 70, 40, 25],
        block_interval_ms: 600,
        gov,
        ..Config::default()
    };
    Devnet::new(config).unwrap()
}

fn existence(proof: &[u8]) -> Vec<ExistenceProof> {
    match CommitmentProof::decode(proof).unwrap().proof.unwrap() {
        Proof::Exist(exist) => vec![exist],
        Proof::Nonexist(none) => none.left.into_iter().chain(none.right).collect(),
        Proof::Batch(_) | Proof::Compressed(_) => Vec::new(),
    }
}

/// The numbers before the hashes in a node's bytes.
fn varints(mut bytes: &[u8], count: usize) -> Vec<u64> {
    (0..count)
        .map(|_| prost::encoding::decode_varint(&mut bytes).unwrap() >> 1)
        .collect()
}

#[test]
fn recorded_proofs_verify_and_ours_have_the_same_form() {
    for name in ["voting", "passed", "applied"] {
        let file = fixture(name);
        let app_hash = hex::decode(header(&file, "target")["app_hash"].as_str().unwrap()).unwrap();
        for answer in recorded(&file) {
            assert_eq!(answer.op_types, ["ics23:iavl", "ics23:simple"]);
            let proofs = (answer.iavl.as_slice(), answer.simple.as_slice());
            assert!(answer_shows(
                proofs,
                &app_hash,
                &answer.store,
                &answer.key,
                answer.value.as_deref()
            ));
            check_form(&answer);
        }
    }
}

/// Asks the devnet for the same key and compares leaf and inner operations field by field.
fn check_form(real: &Recorded) {
    let mut chain = crate::support::chain_with_plan("v2", 1_000);
    chain.produce_block().unwrap();
    let ours = chain
        .query(&real.store, &real.key, chain.state_height() - 1)
        .unwrap();
    for (real, ours) in [(&real.iavl, &ours.iavl), (&real.simple, &ours.simple)] {
        let (real, ours) = (existence(real), existence(ours));
        let (real_leaf, our_leaf) = (real[0].leaf.clone().unwrap(), ours[0].leaf.clone().unwrap());
        let iavl = real_leaf.prefix.len() > 1;
        assert_eq!(
            (
                real_leaf.hash,
                real_leaf.prehash_key,
                real_leaf.prehash_value,
                real_leaf.length
            ),
            (
                our_leaf.hash,
                our_leaf.prehash_key,
                our_leaf.prehash_value,
                our_leaf.length
            )
        );
        if iavl {
            assert_eq!(varints(&real_leaf.prefix, 2), varints(&our_leaf.prefix, 2));
        } else {
            assert_eq!(real_leaf.prefix, our_leaf.prefix);
        }
        for step in real.iter().chain(&ours).flat_map(|proof| &proof.path) {
            assert_eq!(step.hash, real[0].path[0].hash);
            let left = step.suffix.is_empty();
            let lengths = if iavl {
                (varints(&step.prefix, 3).len(), 33)
            } else {
                (1, 32)
            };
            assert_eq!(step.suffix.len(), if left { 0 } else { lengths.1 });
        }
    }
}

#[test]
fn the_module_versions_make_the_same_tree_as_on_the_real_chain() {
    // The upgrade store at height 15 still is what genesis wrote: eleven leaves, all of version 1.
    let real = recorded(&fixture("voting"))
        .into_iter()
        .find(|answer| answer.store == "upgrade")
        .unwrap();
    let mut chain = twin();
    chain.produce_until(15).unwrap();
    let ours = chain.query("upgrade", &[0], 15).unwrap();
    assert_eq!(
        existence(&ours.simple)[0].value,
        existence(&real.simple)[0].value
    );
    assert_eq!(ours.iavl, real.iavl);
    assert_eq!(
        existence(&ours.simple)[0].path.len(),
        existence(&real.simple)[0].path.len()
    );
}

#[test]
fn genesis_records_are_byte_for_byte_those_of_the_real_chain() {
    let real = fixture("passed");
    let mut chain = twin();
    chain.produce_until(2).unwrap();
    let mut pool = vec![0x02, 0x14];
    pool.extend(hex::decode("4fea76427b8345861e80a3540a8a9d936fd39391").unwrap());
    pool.extend(b"stake");
    let keys: [(&str, &[u8]); 4] = [
        ("gov", &[0x30]),
        ("staking", &[0x51]),
        ("staking", &[0x12]),
        ("bank", &pool),
    ];
    for (store, key) in keys {
        let ours = chain.query(store, key, 1).unwrap().value.unwrap();
        assert_eq!(
            hex::encode(ours),
            hex::encode(value_of(&real, store, key)),
            "{store} {key:?}"
        );
    }
}

#[test]
fn the_same_proposal_and_plan_are_written_byte_for_byte() {
    let file = fixture("passed");
    let proposal_key = [&[0], 1_u64.to_be_bytes().as_slice()].concat();
    let (real_plan, real_record) = (
        value_of(&file, "upgrade", &[0]),
        value_of(&file, "gov", &proposal_key),
    );
    let real = Proposal::decode(real_record.as_slice()).unwrap();
    let plan = Plan::decode(real_plan.as_slice()).unwrap();
    assert_eq!(real.encode_to_vec(), real_record);
    assert_eq!(plan.encode_to_vec(), real_plan);

    let mut chain = twin();
    let message = Devnet::upgrade_message(&plan.name, plan.height as u64, &plan.info);
    assert_eq!(message, real.messages[0]);
    let id = chain
        .propose(vec![message], &Text::titled(&real.title), false)
        .unwrap()
        .unwrap();
    chain.carry(id, YES).unwrap();
    chain.produce_block().unwrap();
    let height = chain.state_height();
    assert_eq!(
        chain.query("upgrade", &[0], height).unwrap().value,
        Some(real_plan)
    );
    let ours = chain
        .query("gov", &proposal_key, height)
        .unwrap()
        .value
        .unwrap();
    let mut ours = Proposal::decode(ours.as_slice()).unwrap();
    let span = |record: &Proposal| {
        let start = record.submit_time.unwrap().seconds;
        let after = |time: Option<baton_devnet::sdk::Timestamp>| time.unwrap().seconds - start;
        (
            after(record.deposit_end_time),
            after(record.voting_start_time),
            after(record.voting_end_time),
        )
    };
    assert_eq!(span(&ours), span(&real));
    // What only the clock and the keys decide.
    ours.submit_time = real.submit_time;
    ours.deposit_end_time = real.deposit_end_time;
    ours.voting_start_time = real.voting_start_time;
    ours.voting_end_time = real.voting_end_time;
    ours.proposer.clone_from(&real.proposer);
    assert_eq!(ours.encode_to_vec(), real_record);
}

#[test]
fn the_done_key_is_that_of_the_real_chain() {
    let file = fixture("applied");
    let key = crate::support::done_key(328, "enclave-v4");
    assert_eq!(value_of(&file, "upgrade", &key), [1]);
}

#[test]
fn headers_and_proposer_priorities_are_those_of_the_real_chain() {
    let file = fixture("voting");
    let real = header(&file, "trusted");
    let mut chain = twin();
    chain.produce_until(4).unwrap();
    let ours = chain.signed_header(4).unwrap().header.unwrap();
    let hash = |field: &str| hex::decode(real[field].as_str().unwrap()).unwrap();
    assert_eq!(
        ours.version.unwrap().block.to_string(),
        real["version"]["block"].as_str().unwrap()
    );
    assert_eq!(ours.consensus_hash, hash("consensus_hash"));
    assert_eq!(ours.evidence_hash, hash("evidence_hash"));
    assert_eq!(ours.last_results_hash, hash("last_results_hash"));
    assert_eq!(ours.data_hash, hash("data_hash"));
    let mut wanted: Vec<(i64, i64)> = Vec::new();
    for validator in file["trusted"]["validators"]["validators"]
        .as_array()
        .unwrap()
    {
        let number = |field: &str| validator[field].as_str().unwrap().parse().unwrap();
        wanted.push((number("voting_power"), number("proposer_priority")));
    }
    let set = chain.light_block(4).unwrap().validators;
    let set = tendermint_proto::types::ValidatorSet::decode(set.as_slice()).unwrap();
    let ours: Vec<(i64, i64)> = set
        .validators
        .iter()
        .map(|validator| (validator.voting_power, validator.proposer_priority))
        .collect();
    assert_eq!(ours, wanted);
}

#[test]
fn a_recorded_transaction_has_the_form_of_ours() {
    let file = fixture("publication");
    let result = &file["txs"][0]["tx"]["result"];
    let real = bytes(&result["tx"]);
    assert_eq!(
        hex::encode_upper(tx_hash(&real)),
        result["hash"].as_str().unwrap()
    );
    let txs = file["txs"][0]["block"]["result"]["block"]["data"]["txs"]
        .as_array()
        .unwrap();
    let digests: Vec<_> = txs.iter().map(|tx| tx_hash(&bytes(tx))).collect();
    assert_eq!(
        hex::encode_upper(merkle::root(&digests)),
        result["proof"]["root_hash"].as_str().unwrap()
    );
    let aunts = |aunt: &merkle::Sibling| STANDARD.encode(aunt.hash());
    let path: Vec<_> = merkle::path(&digests, 0).iter().map(aunts).collect();
    assert_eq!(Value::from(path), result["proof"]["proof"]["aunts"]);
    let raw = TxRaw::decode(real.as_slice()).unwrap();
    assert_eq!(raw.encode_to_vec(), real);
    let body = TxBody::decode(raw.body_bytes.as_slice()).unwrap();
    assert_eq!(body.encode_to_vec(), raw.body_bytes);
    assert_eq!(body.memo, file["expected"]["memo"].as_str().unwrap());

    let mut chain = twin();
    let hash = chain
        .send(
            Account::User(0),
            &chain.address(Account::User(1)),
            1,
            &body.memo,
        )
        .unwrap();
    chain.produce_block().unwrap();
    let answer = chain.tx(&hash).unwrap();
    assert_eq!(answer.data, bytes(&result["tx_result"]["data"]));
    let ours = TxRaw::decode(answer.tx.as_slice()).unwrap();
    let our_body = TxBody::decode(ours.body_bytes.as_slice()).unwrap();
    assert_eq!(our_body.messages[0].type_url, body.messages[0].type_url);
    assert_eq!(ours.body_bytes.len(), raw.body_bytes.len());
    assert_eq!(ours.signatures[0].len(), raw.signatures[0].len());
}

#[test]
fn results_are_hashed_as_on_the_real_chain() {
    let file = fixture("publication");
    let hashed = |result: &Value| {
        let number = |field: &str| result[field].as_str().unwrap().parse().unwrap();
        let code = result["code"].as_u64().unwrap() as u32;
        baton_devnet::result_leaf(
            code,
            &bytes(&result["data"]),
            number("gas_wanted"),
            number("gas_used"),
        )
    };
    let results = file["txs"][0]["block_results"]["result"]["txs_results"]
        .as_array()
        .unwrap();
    let leaves: Vec<_> = results.iter().map(hashed).collect();
    let after = header(&file, "header_after");
    assert_eq!(
        hex::encode_upper(merkle::root(&leaves)),
        after["last_results_hash"].as_str().unwrap()
    );
}
