//! Recordings of a real chain are judged as their `expected.decision` says, and no longer once a byte is changed.

use std::{fs, path::PathBuf};

use baton_chain::recorded::{Finding, Recording, Verdict};
use serde_json::Value;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/real")
}

fn all() -> Vec<(String, Value)> {
    let mut out: Vec<_> = fs::read_dir(folder())
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "json"))
        .map(|p| (p.file_stem().unwrap().to_string_lossy().into(), serde_json::from_slice(&fs::read(&p).unwrap()).unwrap()))
        .collect();
    out.sort_by(|a: &(String, Value), b| a.0.cmp(&b.0));
    out
}

fn case(name: &str) -> Value {
    serde_json::from_slice(&fs::read(folder().join(format!("{name}.json"))).unwrap()).unwrap()
}

fn judge(v: &Value) -> Verdict {
    Recording::parse(&v.to_string()).unwrap().judge(None)
}

/// Accepted only if it parses and holds.
fn accepts(v: &Value) -> bool {
    Recording::parse(&v.to_string()).is_ok_and(|r| r.judge(None).accept)
}

fn refusal(v: &Verdict) -> String {
    v.lines.iter().filter(|l| l.finding == Finding::Refused).map(|l| format!("{}: {}", l.what, l.text)).collect()
}

#[test]
fn every_recording_is_judged_as_expected() {
    let all = all();
    assert_eq!(all.len(), 26);
    for (name, mut v) in all {
        let expected = v["expected"].clone();
        v.as_object_mut().unwrap().remove("expected"); // must not be needed
        let verdict = judge(&v);
        let want = expected["decision"] == "accept";
        assert_eq!(verdict.accept, want, "{name}: {verdict:#?}");
        assert_eq!(!want, verdict.lines.iter().any(|l| l.finding == Finding::Refused), "{name}: {verdict:#?}");
        if let (true, Some(m)) = (want, expected["measurement"].as_str()) {
            assert_eq!(verdict.measurement.as_deref(), Some(m), "{name}");
        }
    }
}

#[test]
fn each_refusal_has_its_own_reason() {
    for (name, reason) in [
        ("voting", "got VOTING_PERIOD"),
        ("rejected", "got REJECTED"),
        ("vetoed", "got REJECTED"),
        ("no_quorum", "got REJECTED"),
        ("failed", "got FAILED"),
        ("no_deposit", "no proposal 6"),
        ("no_such_proposal", "no proposal 999"),
        ("superseded", "schedules another plan"),
        ("cancelled", "no plan is pending"),
        ("two_plans", "exactly one MsgSoftwareUpgrade at top level, got 2"),
        ("weakened_params", "below the policy's quorum"),
        ("skipped", "skipped: head 330"),
        ("applied_first_height", "no plan is pending"),
        ("late_superseded_a", "schedules another plan"),
        ("text_proposal", "no plan is pending"),
    ] {
        let got = refusal(&judge(&case(name)));
        assert!(got.contains(reason), "{name}: expected {reason:?}, got {got:?}");
    }
}

#[test]
fn the_older_memo_is_included_and_is_no_record_of_today() {
    for name in ["publication", "publication_failed_tx"] {
        let v = judge(&case(name));
        let record = v.lines.iter().find(|l| l.what == "record").unwrap();
        assert!(v.accept && record.text.contains("older form"), "{v:#?}");
    }
}

/// Changes one character of a text somewhere in the file.
fn bend(v: &mut Value, pointer: &str) {
    let at = v.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}"));
    let text = at.as_str().unwrap_or_else(|| panic!("{pointer}")).to_string();
    let middle = text.len() / 2;
    let other = if &text[middle..=middle] == "A" { "B" } else { "A" };
    *at = Value::from(format!("{}{other}{}", &text[..middle], &text[middle + 1..]));
}

#[test]
fn a_changed_proof_or_value_anywhere_is_refused() {
    for (name, v) in all() {
        for list in ["/queries", "/at_x/queries"] {
            let count = v.pointer(list).and_then(Value::as_array).map_or(0, Vec::len);
            for i in 0..count {
                let response = format!("{list}/{i}/response/result/response");
                for field in ["value", "proofOps/ops/0/data", "proofOps/ops/1/data"] {
                    let at = format!("{response}/{field}");
                    // An answer about an absent key has no value; a list that does not decide is not read.
                    if v.pointer(&at).and_then(Value::as_str).is_none_or(str::is_empty) {
                        continue;
                    }
                    let mut bent = v.clone();
                    bend(&mut bent, &at);
                    assert!(!accepts(&bent), "{name} {at}");
                }
            }
        }
    }
}

#[test]
fn a_changed_header_commit_or_set_is_refused() {
    for (name, v) in all() {
        for block in ["/trusted", "/target", "/path/0", "/vote_end/at", "/at_x"] {
            if v.pointer(block).is_none_or(Value::is_null) || v["expected"]["decision"] != "accept" {
                continue;
            }
            // What trust begins with is named by its hash: only its header counts, and its next set for a skip.
            let header = format!("{block}/commit/signed_header/header");
            for field in ["app_hash", "validators_hash", "data_hash", "last_results_hash", "proposer_address"] {
                let mut bent = v.clone();
                bend(&mut bent, &format!("{header}/{field}"));
                // Another trusted header is another start: its hash is then the file's own checkpoint.
                if block != "/trusted" {
                    assert!(!accepts(&bent), "{name} {header}/{field}");
                }
            }
            let mut other = v.clone();
            *other.pointer_mut(&format!("{header}/chain_id")).unwrap() = Value::from("another-chain");
            assert!(!accepts(&other), "{name} {header}/chain_id");
        }
        for block in ["/target", "/path/0"] {
            if v.pointer(block).is_none() || v["expected"]["decision"] != "accept" {
                continue;
            }
            let mut bent = v.clone();
            *bent.pointer_mut(&format!("{block}/validators/validators/0/voting_power")).unwrap() = Value::from("1");
            assert!(!accepts(&bent), "{name} {block} power");
            let mut bent = v.clone();
            for s in bent.pointer_mut(&format!("{block}/commit/signed_header/commit/signatures")).unwrap().as_array_mut().unwrap() {
                if s["signature"].is_string() {
                    s["timestamp"] = Value::from("2026-11-22T17:48:19.000000001Z");
                }
            }
            assert!(!accepts(&bent), "{name} {block} signatures");
        }
    }
}

#[test]
fn a_vote_without_its_end_or_with_anothers_is_refused() {
    let passed = case("passed");
    let mut none = passed.clone();
    none.as_object_mut().unwrap().remove("vote_end");
    assert!(refusal(&judge(&none)).contains("around the end"));
    let mut turned = passed.clone();
    turned["vote_end"]["before"] = passed["vote_end"]["at"].clone();
    assert!(!accepts(&turned));
    let mut other = passed.clone();
    other["vote_end"] = case("expedited")["vote_end"].clone();
    assert!(!accepts(&other));
    let mut at = passed;
    at["vote_end"]["at"] = at["target"].clone();
    assert!(!accepts(&at));
}

#[test]
fn a23_a_header_below_x_is_no_plan_at_x() {
    // A late file whose `at_x` is replaced by an older state in which the plan was pending.
    let mut v = case("applied");
    let near = case("pending_near");
    let mut older = near["target"].clone();
    older["queries"] = near["queries"].clone();
    v["at_x"] = older;
    assert!(refusal(&judge(&v)).contains("not at X"), "{:#?}", judge(&v));
}

#[test]
fn a_recording_of_one_case_does_not_serve_another() {
    let (passed, expedited) = (case("passed"), case("expedited"));
    for part in ["target", "queries", "trusted", "chain_id"] {
        let mut mixed = case("bundle");
        mixed[part] = passed[part].clone();
        assert!(!accepts(&mixed), "{part}");
    }
    let mut mixed = passed;
    mixed["queries"] = expedited["queries"].clone();
    assert!(!accepts(&mixed));
}

#[test]
fn publication_tampering_is_refused() {
    for name in ["publication", "publication_failed_tx"] {
        let v = case(name);
        for at in ["tx", "hash", "proof/data", "proof/proof/leaf_hash", "proof/proof/aunts/0", "proof/proof/aunts/2"] {
            let mut bent = v.clone();
            bend(&mut bent, &format!("/txs/0/tx/result/{at}"));
            assert!(!accepts(&bent), "{name} {at}");
        }
        for (at, value) in [("proof/proof/index", "3"), ("proof/proof/total", "9"), ("height", "9"), ("height", "4")] {
            let mut bent = v.clone();
            *bent.pointer_mut(&format!("/txs/0/tx/result/{at}")).unwrap() = Value::from(value);
            assert!(!accepts(&bent), "{name} {at}");
        }
    }
}

#[test]
fn a21_what_is_not_a_recording_is_bad_input() {
    let good = case("passed");
    for text in ["", "{}", "[]", "null", "{\"chain_id\":1}"] {
        assert!(Recording::parse(text).is_err(), "{text}");
    }
    for part in ["trusted", "target", "chain_id"] {
        let mut v = good.clone();
        v.as_object_mut().unwrap().remove(part);
        assert!(Recording::parse(&v.to_string()).is_err(), "{part}");
    }
    let mut v = good.clone();
    v["target"]["height"] = Value::from(40);
    assert!(Recording::parse(&v.to_string()).is_err());
    let mut v = good;
    v["queries"][0]["key_hex"] = Value::from("01");
    assert!(Recording::parse(&v.to_string()).is_err());
}

#[test]
fn a_given_policy_decides() {
    let recording = Recording::parse(&case("passed").to_string()).unwrap();
    let usual = recording.default_policy().unwrap();
    assert!(recording.judge(Some(&usual)).accept);
    type Edit = fn(&mut baton_chain::ChainPolicy);
    let edits: [Edit; 4] = [
        |p| p.chain_id = "another-1".into(),
        |p| p.checkpoint.hash = [0; 32],
        |p| p.power_reduction = 10_000_000,
        |p| p.trusting_period_secs = 0,
    ];
    for edit in edits {
        let mut policy = usual.clone();
        edit(&mut policy);
        assert!(!recording.judge(Some(&policy)).accept, "{policy:?}");
    }
}
