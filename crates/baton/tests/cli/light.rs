use std::fs;

use serde_json::{Value, json};

use crate::support::*;

const M50000: &str = "chain/mocha-4_50000_signed_block.json";
const M157000: &str = "chain/mocha-4_157000_signed_block.json";
const M157001: &str = "chain/mocha-4_157001_signed_block.json";
const INJECTIVE: &str = "chain/injective-1_67954071_recv_packet.json";
const STARGAZE_1: &str = "chain/stargaze-1_1568299_update_client.json";
const STARGAZE_2: &str = "chain/stargaze-1_1568302_update_client.json";

fn verify(trusted: &str, target: &str, more: &[&str]) -> Ran {
    baton(
        &[
            &["light", "verify", "--trusted", trusted, "--target", target],
            more,
        ]
        .concat(),
    )
}

#[test]
fn adjacent_headers_verify_and_have_no_age_limit() {
    snapshot(
        "light_adjacent",
        &["light", "verify", "--trusted", M157000, "--target", M157001],
        0,
    );
    verify(M157000, M157001, &["--trusting-period", "1s"]).expect(0);
}

#[test]
fn the_long_skip_passes_with_18_days_and_is_refused_with_14() {
    snapshot(
        "light_skip_18d",
        &[
            "light",
            "verify",
            "--trusted",
            M50000,
            "--target",
            M157000,
            "--trusting-period",
            "18d",
        ],
        0,
    );
    snapshot(
        "light_skip_14d",
        &[
            "light",
            "verify",
            "--trusted",
            M50000,
            "--target",
            M157000,
            "--trusting-period",
            "14d",
        ],
        1,
    );
    verify(M50000, M157000, &[]).expect(1);
}

#[test]
fn an_ibc_header_verifies_from_the_trusted_side_that_it_names_and_says_that_no_period_is_judged() {
    for (file, height) in [
        (INJECTIVE, 67_954_071),
        (STARGAZE_1, 1_568_299),
        (STARGAZE_2, 1_568_302),
    ] {
        for more in [
            &["light", "verify", "--target", file][..],
            &["light", "verify", "--trusted", file, "--target", file],
        ] {
            let ran = baton(more).expect(0);
            assert!(
                ran.row("trusting period").starts_with("not judged"),
                "{}",
                ran.out
            );
            let json = baton(&[more, &["--json"]].concat()).expect(0).json();
            assert_eq!(
                (&json["target"]["height"], &json["trusting_period_judged"]),
                (&json!(height), &json!(false))
            );
        }
    }
    baton(&[
        "light",
        "verify",
        "--target",
        "chain/simd-2_update_client_happy_path.json",
    ])
    .expect(0);
}

#[test]
fn the_injective_proof_is_verified_against_the_app_hash() {
    snapshot(
        "light_injective",
        &["light", "verify", "--target", INJECTIVE],
        0,
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f.json");
    let genuine: Value =
        serde_json::from_slice(&fs::read(fixtures().join(INJECTIVE)).unwrap()).unwrap();
    for (pointer, value) in [
        ("/proof/0/value_hex", "00"),
        ("/proof/0/key_hex", "636f"),
        ("/proof/1/key_hex", "676f76"),
    ] {
        let mut bad = genuine.clone();
        *bad.pointer_mut(pointer).unwrap() = value.into();
        fs::write(&file, bad.to_string()).unwrap();
        baton(&["light", "verify", "--target", path(&file)]).expect(1);
    }
}

#[test]
fn one_ibc_header_is_the_trusted_side_of_the_next() {
    let json = verify(STARGAZE_1, STARGAZE_2, &["--json"]).expect(0).json();
    assert_eq!(json["trusting_period_judged"], true);
    verify(STARGAZE_2, STARGAZE_1, &[]).expect(1);
    verify(STARGAZE_1, INJECTIVE, &[]).expect(1);
}

#[test]
fn a_light_block_of_rpc_answers_and_a_whole_recording_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let file: Value =
        serde_json::from_slice(&fs::read(fixtures().join("real/skipping.json")).unwrap()).unwrap();
    let (trusted, target) = (dir.path().join("t.json"), dir.path().join("u.json"));
    fs::write(&trusted, file["trusted"].to_string()).unwrap();
    fs::write(&target, file["target"].to_string()).unwrap();
    // Directly there is too little trust, along the recorded path there is enough.
    let ran = verify(path(&trusted), path(&target), &[]).expect(1);
    assert!(ran.err.contains("trusted power"), "{}", ran.err);
    baton(&["light", "verify", "--target", "real/skipping.json"]).expect(0);
    verify(path(&trusted), "real/skipping.json", &[]).expect(0);
}

#[test]
fn a05_a_target_whose_signatures_were_removed_or_changed_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f.json");
    let genuine: Value =
        serde_json::from_slice(&fs::read(fixtures().join(M157001)).unwrap()).unwrap();
    let absent = json!({"block_id_flag": 1, "validator_address": "", "timestamp": "0001-01-01T00:00:00Z", "signature": null});
    let mut removed = genuine.clone();
    removed["result"]["commit"]["signatures"]
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .take(60)
        .for_each(|s| *s = absent.clone());
    let mut swapped = genuine.clone();
    let signatures = swapped["result"]["commit"]["signatures"]
        .as_array_mut()
        .unwrap();
    let other = signatures[1]["signature"].clone();
    signatures[0]["signature"] = other;
    let mut header = genuine.clone();
    header["result"]["header"]["app_hash"] = header["result"]["header"]["data_hash"].clone();
    for bad in [removed, swapped, header] {
        fs::write(&file, bad.to_string()).unwrap();
        verify(M157000, path(&file), &[]).expect(1);
    }
}

#[test]
fn going_back_and_nothing_to_go_from_are_refused() {
    verify(M157001, M157000, &[]).expect(1);
    verify(M157000, M157000, &[]).expect(1);
    let ran = baton(&["light", "verify", "--target", M157000]).expect(2);
    assert!(ran.err.contains("--trusted"), "{}", ran.err);
    verify(M157000, M157001, &["--trust", "1/4"]).expect(2);
}
