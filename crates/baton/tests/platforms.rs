//! `baton doctor`, `baton acceptance`, and `baton attacks` on a platform: what they say, and when they refuse.

use std::process::{Command, Output};

use serde_json::Value;

fn baton(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_baton")).args(args).output().expect("the binary runs")
}

fn json(out: &Output) -> Value {
    serde_json::from_slice(&out.stdout).expect("JSON")
}

fn refused(args: &[&str]) -> String {
    let out = baton(args);
    assert_eq!(out.status.code(), Some(2), "{args:?}");
    String::from_utf8_lossy(&out.stderr).into_owned()
}

#[test]
fn doctor_says_of_every_platform_whether_it_is_there_or_what_to_do() {
    let out = baton(&["doctor", "--json"]);
    assert!(out.status.success());
    let seen = json(&out);
    for name in ["sim", "softsgx", "sgx"] {
        let found = &seen["platforms"][name];
        match found["ready"].as_bool().expect("ready, or not") {
            true => assert!(found["what"].is_string(), "{found}"),
            false => assert!(found["why"].as_str().expect("why not").contains("; "), "{found}"),
        }
    }
    assert_eq!(seen["platforms"]["sim"]["ready"], true);
    assert!(seen["epc_bytes"].is_u64());
}

#[test]
fn a_program_that_is_none_or_missing_is_refused_with_what_to_do() {
    let text = refused(&["attacks", "--platform", "softsgx"]);
    assert!(text.contains("scripts/sgx-build"), "{text}");
    let text = refused(&["attacks", "--program", "x.sgxs"]);
    assert!(text.contains("--platform softsgx"), "{text}");
    // Whoever forges needs a CPU that lends its keys, and one machine is not several.
    let text = refused(&["attacks", "--platform", "sgx"]);
    assert!(text.contains("--platform softsgx"), "{text}");
    let text = refused(&["demo", "--platform", "sgx", "--nodes", "1"]);
    assert!(text.contains("scripts/sgx-build"), "{text}");
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("x.sgxs");
    std::fs::write(&file, b"no program").expect("written");
    let file = file.to_str().expect("text");
    for args in [&["attacks", "--platform", "softsgx", "--program", file][..], &["acceptance", "--program", file], &["doctor", "--program", file]] {
        let text = refused(args);
        assert!(text.contains("x.sgxs"), "{args:?}: {text}");
    }
}

#[test]
fn a_report_that_could_not_be_written_is_refused_before_anything_runs() {
    let text = refused(&["acceptance", "--out", "/nonexistent/report.json"]);
    assert!(text.contains("no folder /nonexistent"), "{text}");
}

#[test]
fn h01_acceptance_runs_everything_and_writes_one_report() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("report.json");
    let out = baton(&["acceptance", "--json", "--out", path.to_str().expect("text")]);
    let said = json(&out);
    assert!(out.status.success(), "{said:#}");
    for part in ["story", "attacks", "h01"] {
        assert_eq!(said[part]["accept"], true, "{part}");
    }
    // Without a program it must not look like more than it was.
    assert_eq!(said["platform"], "sim");
    assert!(said["shows"].as_str().expect("text").contains("nothing of SGX"));
    assert!(said["attacks"]["lines"].as_array().expect("lines").len() > 100);
    let written: Value = serde_json::from_slice(&std::fs::read(&path).expect("written")).expect("JSON");
    assert_eq!(written, said);
    let text = std::fs::read_to_string(path.with_extension("txt")).expect("written");
    assert!(text.ends_with("accepted: story, attacks and H01 on sim\n"), "{text}");
}
