use std::fs;
use std::path::Path;

use baton_attest::identity::encode;
use baton_chain::evidence::{
    AtXEvidence, HeaderEvidence, StandingEvidence, VERSION, VoteEndEvidence,
};
use baton_chain::light::{self, LightBlock};
use baton_chain::recorded::Recording;
use baton_chain::rpc;
use serde_json::Value;

use crate::support::*;

fn real(name: &str) -> Value {
    serde_json::from_slice(&fs::read(fixtures().join(format!("real/{name}.json"))).unwrap())
        .unwrap()
}

fn names() -> Vec<String> {
    let files = fs::read_dir(fixtures().join("real"))
        .unwrap()
        .map(|f| f.unwrap().path());
    let mut all: Vec<String> = files
        .filter(|f| f.extension().is_some_and(|e| e == "json"))
        .map(|f| f.file_stem().unwrap().to_str().unwrap().to_string())
        .collect();
    all.sort();
    all
}

#[test]
fn every_recording_of_a_real_chain_has_the_right_exit_code() {
    let names = names();
    assert_eq!(names.len(), 26);
    for name in names {
        let file = format!("real/{name}.json");
        let code = if real(&name)["expected"]["decision"] == "accept" {
            0
        } else {
            1
        };
        let ran = baton(&["evidence", "verify", &file, "--json"]);
        assert_eq!(ran.code, code, "{name}: {}", ran.out);
        assert_eq!(ran.json()["accept"], code == 0, "{name}");
        // The text agrees, and everything can be shown.
        assert_eq!(baton(&["evidence", "verify", &file]).code, code, "{name}");
        assert_eq!(baton(&["evidence", "show", &file]).code, 0, "{name}");
    }
}

#[test]
fn vote_lead_window_record_and_route_stand_on_lines_of_their_own() {
    snapshot(
        "evidence_passed",
        &["evidence", "verify", "real/passed.json"],
        0,
    );
    snapshot(
        "evidence_late_superseded_a",
        &["evidence", "verify", "real/late_superseded_a.json"],
        1,
    );
    snapshot(
        "evidence_publication",
        &["evidence", "verify", "real/publication.json"],
        0,
    );
    snapshot(
        "evidence_show_applied",
        &["evidence", "show", "real/applied.json"],
        0,
    );
}

#[test]
fn what_a_file_expects_of_itself_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f.json");
    let mut lie = real("rejected");
    lie["expected"]["decision"] = "accept".into();
    lie["expected"]["status"] = "PASSED".into();
    fs::write(&file, lie.to_string()).unwrap();
    baton(&["evidence", "verify", path(&file)]).expect(1);
}

#[test]
fn a_changed_answer_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f.json");
    let mut bad = real("passed");
    let other = real("passed_absent_signer")["target"]["commit"].clone();
    bad["target"]["commit"] = other;
    bad["target"].as_object_mut().unwrap().remove("height");
    fs::write(&file, bad.to_string()).unwrap();
    baton(&["evidence", "verify", path(&file)]).expect(1);
    let mut contradicting = real("passed");
    contradicting["target"]["height"] = 40.into();
    fs::write(&file, contradicting.to_string()).unwrap();
    baton(&["evidence", "verify", path(&file)]).expect(2);
}

/// The chain's section alone, from the recording's own default policy.
fn write_policy(name: &str, file: &Path, edit: impl FnOnce(&mut baton_chain::ChainPolicy)) {
    let recording = Recording::parse(&real(name).to_string()).unwrap();
    let mut policy = recording.default_policy().unwrap();
    edit(&mut policy);
    fs::write(file, toml::to_string(&policy).unwrap()).unwrap();
}

#[test]
fn a_given_policy_decides() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("p.toml");
    let verify = || {
        baton(&[
            "evidence",
            "verify",
            "real/passed.json",
            "--policy",
            path(&file),
        ])
    };
    write_policy("passed", &file, |_| ());
    assert!(verify().expect(0).row("bars").starts_with("the policy's"));
    write_policy("passed", &file, |p| p.chain_id = "another-1".into());
    verify().expect(1);
    write_policy("passed", &file, |p| p.checkpoint.hash[0] ^= 1);
    verify().expect(1);
    write_policy("passed", &file, |p| p.power_reduction = 1_000_000_000);
    verify().expect(1);
    write_policy("passed", &file, |p| p.power_reduction = 0);
    verify().expect(2);
    // The example policy is another chain's.
    baton(&[
        "evidence",
        "verify",
        "real/passed.json",
        "--policy",
        "../../../../docs/policy.example.toml",
    ])
    .expect(1);
}

fn block(v: &Value) -> LightBlock {
    rpc::light_block_from_rpc(&v["commit"], &v["validators"], Some(&v["next_validators"])).unwrap()
}

fn proof(of: &Value, store: &str, first: &str) -> baton_chain::proofs::StateProof {
    let all = of["queries"].as_array().unwrap();
    let found = all
        .iter()
        .find(|q| q["store"] == store && q["key_hex"].as_str().unwrap().starts_with(first));
    rpc::state_proof_from_abci_query(&found.unwrap()["response"])
        .unwrap()
        .0
}

/// What a host would send for the route at X of the recording `applied`.
fn at_x() -> (LightBlock, AtXEvidence) {
    let f = real("applied");
    let trusted = block(&f["trusted"]);
    let x = block(&f["at_x"]);
    let to = |last: LightBlock| {
        let height = last.height().unwrap();
        let steps = f["path"]
            .as_array()
            .unwrap()
            .iter()
            .map(block)
            .filter(|b| b.height().unwrap() < height);
        let blocks = steps.chain([last]).collect();
        HeaderEvidence {
            path: light::Path {
                from_next_validators: trusted.next_validators.clone(),
                blocks,
            },
            links: vec![],
        }
    };
    let at = block(&f["vote_end"]["at"]);
    let evidence = AtXEvidence {
        version: VERSION,
        plan: proof(&f["at_x"], "upgrade", "00"),
        proposal: proof(&f["at_x"], "gov", "00"),
        vote_end: VoteEndEvidence {
            validators: at.validators.clone(),
            at: to(at),
            before: block(&f["vote_end"]["before"]),
        },
        x: to(x),
        publication: None,
        admission: None,
    };
    (trusted, evidence)
}

#[test]
fn evidence_in_cbor_is_shown_and_verified_from_the_policys_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let (policy, checkpoint, file) = (
        dir.path().join("p.toml"),
        dir.path().join("c.cbor"),
        dir.path().join("e.cbor"),
    );
    let (trusted, evidence) = at_x();
    write_policy("applied", &policy, |_| ());
    fs::write(&checkpoint, encode(&trusted)).unwrap();
    let verify = || {
        baton(&[
            "evidence",
            "verify",
            path(&file),
            "--policy",
            path(&policy),
            "--trusted",
            path(&checkpoint),
        ])
    };
    fs::write(&file, evidence.to_cbor()).unwrap();
    let ran = verify().expect(0);
    assert!(ran.row("route").starts_with("at X = 328"), "{}", ran.out);
    assert_eq!(
        baton(&["evidence", "show", path(&checkpoint)])
            .expect(0)
            .row("evidence"),
        "light block"
    );
    compare(
        "evidence_show_at_x",
        &baton(&["evidence", "show", path(&file)]).expect(0).out,
    );
    baton(&["evidence", "verify", path(&file)]).expect(2);

    let mut other = evidence.clone();
    other.plan.value = None;
    fs::write(&file, other.to_cbor()).unwrap();
    verify().expect(1);
    let mut other = evidence.clone();
    other.vote_end.before = trusted.clone();
    fs::write(&file, other.to_cbor()).unwrap();
    verify().expect(1);

    let standing = StandingEvidence {
        version: VERSION,
        to_head: evidence.x.path.clone(),
        plan: evidence.plan.clone(),
        done: None,
    };
    fs::write(&file, standing.to_cbor()).unwrap();
    assert!(verify().expect(0).row("plan").contains("is pending"));
    let cut = standing.to_cbor();
    fs::write(&file, &cut[..cut.len() - 1]).unwrap();
    verify().expect(2);
}

#[test]
fn evidence_after_an_absence_is_measured_on_an_embedded_chain() {
    let shown = baton(&["evidence", "measure", "--devnet", "300", "--absent", "1", "--absent", "300", "--json"]).expect(0).json();
    let measured = shown["measured"].as_array().unwrap();
    let absent: Vec<u64> = measured.iter().map(|m| m["absent"].as_u64().unwrap()).collect();
    assert_eq!(absent, [1, 300]);
    // One set of validators all the way: one header is enough from any of them.
    assert!(measured.iter().all(|m| m["headers"] == 1 && m["bytes"].as_u64().unwrap() > 4_000), "{shown}");
    for bad in ["0", "359"] {
        let said = baton(&["evidence", "measure", "--devnet", "300", "--absent", bad]).expect(1).err;
        assert!(said.contains("1 to 358"), "{said}");
    }
    baton(&["evidence", "measure"]).expect(2);
    baton(&["evidence", "measure", "--devnet", "0"]).expect(2);
    baton(&["evidence", "measure", "--rpc", "http://127.0.0.1:9"]).expect(2);
}
