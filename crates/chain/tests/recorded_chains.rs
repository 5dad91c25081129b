//! Headers and proofs of real networks: Celestia's mocha-4, Injective, Stargaze, simd, and the recorded fixture chain.

mod common;

use std::time::Duration;

use baton_chain::light::{
    LightBlock, LightClient, LightError, Now, Path, StepParams, TrustedHeader, check_signed_by,
    verify_step,
};
use baton_chain::proofs::{ProofError, StateProof, verify_state};
use baton_chain::rpc;
use common::{DAY, fixture, policy_of};
use prost::Message;
use serde_json::Value;
use tendermint_proto::v0_38::types as pb;

fn trust(block: &LightBlock) -> TrustedHeader {
    let raw = pb::SignedHeader::decode(block.signed_header.as_slice()).unwrap();
    TrustedHeader::from_checkpoint(
        &raw.header.unwrap().chain_id,
        &block.untrusted_checkpoint().unwrap(),
        block,
    )
    .unwrap()
}

fn mocha(height: u64) -> LightBlock {
    rpc::light_block_from_signed_block(&fixture(&format!("mocha-4_{height}_signed_block.json")))
        .unwrap()
}

fn days(n: i64) -> StepParams {
    StepParams {
        trusting_period: Some(Duration::from_secs((n * DAY) as u64)),
        trust_threshold: (1, 3),
        now: Now::OfTheHeader,
        adjacent_age_limit: false,
    }
}

#[test]
fn mocha_adjacent_headers_verify() {
    let (from, to) = (mocha(157_000), mocha(157_001));
    assert_eq!(
        verify_step(&trust(&from), None, &to, &days(14))
            .unwrap()
            .height(),
        157_001
    );
    assert!(verify_step(&trust(&to), None, &from, &days(14)).is_err());
}

#[test]
fn mocha_long_skip_passes_with_18_days_and_not_with_14() {
    // The recording has no next set; the header names the same hash for both.
    let (from, to) = (mocha(50_000), mocha(157_000));
    let next = Some(from.validators.as_slice());
    assert_eq!(
        verify_step(&trust(&from), next, &to, &days(18))
            .unwrap()
            .height(),
        157_000
    );
    assert!(matches!(
        verify_step(&trust(&from), next, &to, &days(14)),
        Err(LightError::Expired { .. })
    ));
}

fn ibc(name: &str) -> rpc::IbcHeader {
    rpc::ibc_header_from_b64(fixture(name)["header_b64"].as_str().unwrap()).unwrap()
}

#[test]
fn relayed_mainnet_headers_are_signed_by_their_trusted_validators() {
    for (name, trusted) in [
        ("injective-1_67954071_recv_packet.json", 67_954_027),
        ("stargaze-1_1568299_update_client.json", 1_568_288),
        ("stargaze-1_1568302_update_client.json", 1_568_299),
    ] {
        let header = ibc(name);
        assert_eq!(header.trusted_height, trusted);
        let file = fixture(name);
        assert_eq!(
            header.block.height().unwrap(),
            file["height"].as_u64().unwrap()
        );
        assert_eq!(
            hex::encode(trust(&header.block).app_hash()),
            file["app_hash"].as_str().unwrap()
        );
        check_signed_by(trusted, &header.trusted_validators, &header.block, (1, 3))
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let mut forged = header.block.clone();
        let mut raw = pb::SignedHeader::decode(forged.signed_header.as_slice()).unwrap();
        raw.header.as_mut().unwrap().app_hash[0] ^= 1;
        forged.signed_header = raw.encode_to_vec();
        let result = check_signed_by(trusted, &header.trusted_validators, &forged, (1, 3));
        assert!(
            matches!(result, Err(LightError::CommitForOther { .. })),
            "{name}: {result:?}"
        );
    }
}

#[test]
fn a_header_is_not_signed_by_the_validators_of_another_chain() {
    let (stargaze, injective) = (
        ibc("stargaze-1_1568299_update_client.json"),
        ibc("injective-1_67954071_recv_packet.json"),
    );
    let result = check_signed_by(
        1_568_288,
        &injective.trusted_validators,
        &stargaze.block,
        (1, 3),
    );
    assert!(matches!(
        result,
        Err(LightError::NotEnoughTrust { signed: 0, .. })
    ));
    assert!(
        check_signed_by(
            u64::MAX,
            &stargaze.trusted_validators,
            &stargaze.block,
            (1, 3)
        )
        .is_err()
    );
}

#[test]
fn simd_update_header_verifies_from_its_trusted_validators() {
    let file = fixture("simd-2_update_client_happy_path.json");
    let message = hex::decode(
        file["update_client_message"]["client_message_hex"]
            .as_str()
            .unwrap(),
    )
    .unwrap();
    let header = rpc::ibc_header(&message).unwrap();
    assert_eq!(
        (header.trusted_height, header.block.height().unwrap()),
        (20, 38)
    );
    check_signed_by(20, &header.trusted_validators, &header.block, (1, 3)).unwrap();
}

fn injective() -> (TrustedHeader, StateProof) {
    let file = fixture("injective-1_67954071_recv_packet.json");
    let text = file["merkle_proof_b64"].as_str().unwrap();
    let proof = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).unwrap();
    let bytes =
        |i: usize, name: &str| hex::decode(file["proof"][i][name].as_str().unwrap()).unwrap();
    let (key, value) = (bytes(0, "key_hex"), bytes(0, "value_hex"));
    let proof = rpc::state_proof_from_ibc(&proof, "ibc", &key, Some(&value)).unwrap();
    (
        trust(&ibc("injective-1_67954071_recv_packet.json").block),
        proof,
    )
}

#[test]
fn injective_proof_leads_to_the_app_hash() {
    let (header, proof) = injective();
    let state = verify_state(&header, &proof).unwrap();
    assert_eq!((state.store(), state.height()), ("ibc", 67_954_071));
    assert_eq!(state.value(), proof.value.as_deref());
}

#[test]
fn a_changed_proof_is_refused() {
    let (header, good) = injective();
    let edits: [(&str, fn(&mut StateProof)); 9] = [
        ("store", |p| p.store = "ibd".into()),
        ("other store", |p| p.store = "upgrade".into()),
        ("key", |p| p.key[0] ^= 1),
        ("value", |p| p.value.as_mut().unwrap()[0] ^= 1),
        ("existence offered as absence", |p| p.value = None),
        ("proofs swapped", |p| {
            std::mem::swap(&mut p.iavl, &mut p.simple)
        }),
        ("iavl proof twice", |p| p.simple = p.iavl.clone()),
        ("no iavl proof", |p| p.iavl.clear()),
        ("huge", |p| p.simple = vec![0; 5 * 1024 * 1024]),
    ];
    for (name, edit) in edits {
        let mut bad = good.clone();
        edit(&mut bad);
        assert!(verify_state(&header, &bad).is_err(), "{name}");
    }
    // Every byte of both proofs counts, but for those that protobuf or the prefix rules leave free: none may verify another value.
    for i in 0..good.iavl.len() {
        let mut bad = good.clone();
        bad.iavl[i] ^= 1;
        assert!(verify_state(&header, &bad).is_err(), "iavl byte {i}");
    }
    for i in 0..good.simple.len() {
        let mut bad = good.clone();
        bad.simple[i] ^= 1;
        assert!(verify_state(&header, &bad).is_err(), "simple byte {i}");
    }
    let other = trust(&ibc("stargaze-1_1568299_update_client.json").block);
    assert!(matches!(
        verify_state(&other, &good),
        Err(ProofError::Refused {
            part: "multistore",
            ..
        })
    ));
}

#[test]
fn a_batch_or_compressed_proof_is_refused_by_kind() {
    let (header, good) = injective();
    // CommitmentProof: field 3 is a batch, field 4 a compressed batch.
    for (tag, what) in [(0x1a, "a batch proof"), (0x22, "a compressed proof")] {
        let bad = StateProof {
            iavl: vec![tag, 0],
            ..good.clone()
        };
        assert!(
            matches!(verify_state(&header, &bad), Err(ProofError::Kind { got, .. }) if got == what)
        );
        let bad = StateProof {
            simple: vec![tag, 0],
            ..good.clone()
        };
        assert!(
            matches!(verify_state(&header, &bad), Err(ProofError::Kind { got, .. }) if got == what)
        );
    }
}

fn simd(name: &str) -> (TrustedHeader, StateProof) {
    let file = fixture(name);
    let message = &file["membership_msg"];
    let bytes = |v: &Value| hex::decode(v.as_str().unwrap()).unwrap();
    let (store, key) = (
        message["path"][0].as_str().unwrap(),
        message["path"][1].as_str().unwrap(),
    );
    let value = bytes(&message["value"]);
    let value = (!value.is_empty()).then_some(value.as_slice());
    let proof =
        rpc::state_proof_from_ibc(&bytes(&message["proof"]), store, key.as_bytes(), value).unwrap();
    (
        header_with_app_hash(&simd_root(&bytes(&file["consensus_state_hex"]))),
        proof,
    )
}

/// `ibc.lightclients.tendermint.v1.ConsensusState`: field 2 is the root.
fn simd_root(consensus_state: &[u8]) -> Vec<u8> {
    #[derive(Clone, PartialEq, Message)]
    struct Root {
        #[prost(bytes = "vec", tag = "1")]
        hash: Vec<u8>,
    }
    #[derive(Clone, PartialEq, Message)]
    struct State {
        #[prost(message, optional, tag = "2")]
        root: Option<Root>,
    }
    State::decode(consensus_state).unwrap().root.unwrap().hash
}

/// These files carry an app hash without its header: a header around it, trusted by checkpoint.
fn header_with_app_hash(app_hash: &[u8]) -> TrustedHeader {
    let mut m = common::make(38, 0, &common::vals(&[1]));
    m.app_hash = app_hash.to_vec();
    trust(&m.light_block())
}

#[test]
fn simd_existence_and_absence_verify_and_do_not_stand_for_each_other() {
    let (header, exists) = simd("simd-2_verify_membership.json");
    assert!(verify_state(&header, &exists).unwrap().value().is_some());
    let (header, absent) = simd("simd-2_verify_non_membership.json");
    assert_eq!(verify_state(&header, &absent).unwrap().value(), None);
    let lie = StateProof {
        value: None,
        ..exists.clone()
    };
    assert!(matches!(
        verify_state(&header, &lie),
        Err(ProofError::Kind { .. })
    ));
    let lie = StateProof {
        value: exists.value.clone(),
        ..absent.clone()
    };
    assert!(matches!(
        verify_state(&header, &lie),
        Err(ProofError::Kind { .. })
    ));
    let elsewhere = StateProof {
        key: exists.key.clone(),
        ..absent
    };
    assert!(matches!(
        verify_state(&header, &elsewhere),
        Err(ProofError::Refused { part: "IAVL", .. })
    ));
}

fn block(json: &Value) -> LightBlock {
    rpc::light_block_from_rpc(
        &json["commit"],
        &json["validators"],
        Some(&json["next_validators"]),
    )
    .unwrap()
}

fn blocks(json: &Value) -> Vec<LightBlock> {
    json.as_array()
        .map(|list| list.iter().map(block).collect())
        .unwrap_or_default()
}

fn recordings() -> impl Iterator<Item = (String, Value)> {
    let folder = format!("{}/tests/fixtures/chain/real", env!("CARGO_MANIFEST_DIR"));
    let names = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap());
    names
        .filter(|n| n.ends_with(".json"))
        .map(|n| (n.clone(), fixture(&format!("real/{n}"))))
}

#[test]
fn every_recorded_path_verifies_and_every_query_proves() {
    let mut proofs = 0;
    for (name, case) in recordings() {
        let first = block(&case["trusted"]);
        let policy = policy_of(case["chain_id"].as_str().unwrap(), &first, 14 * DAY);
        let mut client = LightClient::from_checkpoint(&policy, &first).unwrap();
        let steps = [blocks(&case["path"]), vec![block(&case["target"])]].concat();
        client
            .advance(&common::path(&first, &steps))
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        for query in case["queries"].as_array().unwrap() {
            let (proof, height) = rpc::state_proof_from_abci_query(&query["response"]).unwrap();
            assert_eq!(height + 1, client.head().height(), "{name}");
            let state =
                verify_state(client.head(), &proof).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(state.store(), query["store"].as_str().unwrap());
            proofs += 1;
        }
        if !case["vote_end"].is_null() {
            let (before, at) = (
                block(&case["vote_end"]["before"]),
                block(&case["vote_end"]["at"]),
            );
            // The vote's end may lie behind the path's last block or before it.
            let start = std::iter::once(&first)
                .chain(&steps)
                .filter(|b| b.height().unwrap() < at.height().unwrap())
                .last()
                .unwrap();
            let way: Vec<_> = steps
                .iter()
                .filter(|b| b.height().unwrap() <= start.height().unwrap())
                .cloned()
                .chain([at.clone()])
                .collect();
            let fresh = LightClient::from_checkpoint(&policy, &first).unwrap();
            let shown = fresh
                .show(&common::path(&first, &way))
                .unwrap_or_else(|e| panic!("{name}: vote end: {e}"));
            let at_header = shown.last().unwrap();
            let before = LightClient::linked(&before, at_header).unwrap();
            assert!(before.time() < at_header.time());
            assert!(at_header.total_power(&at.validators).unwrap() > 0);
        }
    }
    assert!(proofs > 50, "{proofs}");
}

#[test]
fn skipping_needs_the_path() {
    let case = fixture("real/skipping.json");
    let (first, target) = (block(&case["trusted"]), block(&case["target"]));
    let policy = policy_of("baton-fixture-1", &first, 14 * DAY);
    let walk = |between: Vec<LightBlock>| {
        let mut c = LightClient::from_checkpoint(&policy, &first).unwrap();
        let blocks = [between, vec![target.clone()]].concat();
        c.advance(&common::path(&first, &blocks))
            .map(TrustedHeader::height)
    };
    assert!(matches!(
        walk(vec![]),
        Err(LightError::NotEnoughTrust { .. })
    ));
    assert_eq!(walk(blocks(&case["path"])), Ok(249));
    // Another block in between does not help by itself: it lies before the set changed.
    for other in blocks(&case["alternatives"]) {
        assert!(matches!(
            walk(vec![other.clone()]),
            Err(LightError::NotEnoughTrust { .. })
        ));
        assert_eq!(walk([vec![other], blocks(&case["path"])].concat()), Ok(249));
    }
}

#[test]
fn both_continuations_of_a_halted_chain_verify_alone_and_conflict_together() {
    let case = fixture("real/skipped.json");
    let fork = ["H", "H+1", "H+2"].map(|h| block(&case["fork"][h]));
    let applied = fixture("real/applied.json");
    let other = block(&applied["target"]);
    let policy = policy_of("baton-fixture-1", &fork[0], 14 * DAY);
    let mut c = LightClient::from_checkpoint(&policy, &fork[0]).unwrap();
    c.advance(&common::path(&fork[0], &fork[1..])).unwrap();
    let mut d = LightClient::from_checkpoint(&policy, &fork[0]).unwrap();
    d.advance(&common::path(&fork[0], std::slice::from_ref(&other)))
        .unwrap();
    assert_eq!(c.head().height(), d.head().height());
    let result = c.advance(&Path {
        from_next_validators: None,
        blocks: vec![other],
    });
    assert!(
        matches!(result, Err(LightError::Conflict { height: 330, .. })),
        "{result:?}"
    );
}

#[test]
fn rpc_readers_refuse_what_is_not_an_answer() {
    let error = serde_json::json!({"error": {"code": -32603, "message": "height must be less"}});
    assert!(matches!(
        rpc::validator_set(&error),
        Err(rpc::RpcError::Node(_))
    ));
    let case = fixture("real/passed.json");
    let mut page = case["target"]["validators"].clone();
    page["validators"].as_array_mut().unwrap().pop();
    assert!(matches!(
        rpc::validator_set(&page),
        Err(rpc::RpcError::Page { got: 3, total: 4 })
    ));
    let mut response = case["queries"][0]["response"].clone();
    response["result"]["response"]["proofOps"]["ops"][0]["type"] = "ics23:smt".into();
    assert!(matches!(
        rpc::state_proof_from_abci_query(&response),
        Err(rpc::RpcError::Field { .. })
    ));
    response["result"]["response"]["code"] = 6.into();
    assert!(matches!(
        rpc::state_proof_from_abci_query(&response),
        Err(rpc::RpcError::Node(_))
    ));
}
