use std::fs;

use crate::support::*;

#[test]
fn what_a_demo_leaves_is_read_by_the_other_commands() {
    let dir = tempfile::tempdir().unwrap();
    let demo = dir.path().join("demo");
    baton(&["demo", "--keep", path(&demo), "--seed", "7"]).expect(0);
    let ran = baton(&["log", "verify", path(&demo)]).expect(0);
    assert!(
        ran.out.contains("(upgrade)") && ran.out.contains("(join)"),
        "{}",
        ran.out
    );
    for build in ["v1", "v2"] {
        let policy = demo.join(format!("builds/{build}.policy.toml"));
        baton(&["policy", "check", path(&policy)]).expect(0);
    }
    for (file, shows) in [
        ("ahead", "UpgradeEvidence"),
        ("at-x", "AtXEvidence"),
        ("standing", "StandingEvidence"),
    ] {
        let evidence = demo.join(format!("evidence/{file}.cbor"));
        let ran = baton(&["evidence", "show", path(&evidence)]).expect(0);
        assert!(ran.row("evidence").starts_with(shows), "{}", ran.out);
    }
    // What the old enclave was shown is a good vote for the build that was shown it, and for no other chain.
    let (ahead, checkpoint) = (demo.join("evidence/ahead.cbor"), demo.join("evidence/checkpoint.cbor"));
    let policy = demo.join("builds/v1.policy.toml");
    let verify = |policy: &std::path::Path| {
        baton(&["evidence", "verify", path(&ahead), "--policy", path(policy), "--trusted", path(&checkpoint)])
    };
    let ran = verify(&policy).expect(0);
    assert!(ran.row("vote").starts_with("ok") && ran.row("record").starts_with("ok"), "{}", ran.out);
    let other = dir.path().join("other.toml");
    fs::write(&other, fs::read_to_string(&policy).unwrap().replace("baton-devnet-1", "baton-devnet-2")).unwrap();
    verify(&other).expect(1);
    // One character of one old entry.
    let entries = demo.join("nodes/node0/v1/log/entries.txt");
    let mut text = fs::read(&entries).unwrap();
    let second = text.iter().position(|b| *b == b'\n').unwrap() + 1;
    let end = second + text[second..].iter().position(|b| *b == b'\n').unwrap();
    let middle = (second + end) / 2;
    text[middle] = if text[middle] == b'A' { b'B' } else { b'A' };
    fs::write(&entries, text).unwrap();
    baton(&["log", "verify", path(&demo)]).expect(1);
}

#[test]
fn one_machine_tells_its_story_without_a_second_one_and_a_kept_run_says_that_it_was_one() {
    let dir = tempfile::tempdir().unwrap();
    let demo = dir.path().join("demo");
    let ran = baton(&["demo", "--nodes", "1", "--keep", path(&demo), "--seed", "7", "--json"]).expect(0);
    let steps: Vec<serde_json::Value> = ran.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let named = |name: &str| steps.iter().find(|s| s["step"] == name);
    for several in ["join", "late node", "newcomer"] {
        assert!(named(several).is_none(), "{several} takes a second machine");
    }
    assert!(named("barrier").unwrap()["text"].as_str().unwrap().contains("1 old copies erased"));
    // Nothing but an upgrade ever left an enclave there.
    let ran = baton(&["log", "verify", path(&demo)]).expect(0);
    assert!(ran.out.contains("(upgrade)") && !ran.out.contains("(join)"), "{}", ran.out);
    let policy = fs::read_to_string(demo.join("builds/v2.policy.toml")).unwrap();
    assert!(policy.contains("platforms = 1"), "{policy}");
    assert!(fs::read_to_string(demo.join("progress.json")).unwrap().contains("\"alone\": true"));
    baton(&["demo", "--resume", path(&demo)]).expect(0);
    let two = baton(&["demo", "--nodes", "2"]).expect(2);
    assert!(two.err.contains("expected: 3 to 50, or 1"), "{}", two.err);
}
