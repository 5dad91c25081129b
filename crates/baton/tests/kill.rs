//! `kill -9` at any moment of `baton demo --keep DIR`, then `--resume DIR`: the run goes on to the end.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

fn baton() -> Command {
    Command::new(env!("CARGO_BIN_EXE_baton"))
}

/// Starts a run and kills it after a while; true if it was over before.
fn run_and_kill(flag: &str, dir: &Path, after_ms: u64) -> bool {
    let mut child = baton()
        .args(["demo", flag])
        .arg(dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs");
    sleep(Duration::from_millis(after_ms));
    child.kill().expect("it can be killed");
    child.wait().expect("it ends").success()
}

fn text(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

/// After every kill the same command again, each time a little later, until nothing is left to kill.
fn killed_every(step_ms: u64, first_ms: u64) {
    let dir = tempfile::tempdir().expect("a folder");
    let run = dir.path().join("run");
    let mut after = first_ms;
    run_and_kill("--keep", &run, after);
    while !run.exists() {
        // Killed before it had made the folder: nothing to resume yet.
        after += step_ms;
        run_and_kill("--keep", &run, after);
    }
    for _ in 0..400 {
        after += step_ms;
        if run_and_kill("--resume", &run, after) {
            break;
        }
    }
    let out = baton().args(["demo", "--resume"]).arg(&run).output().expect("the binary runs");
    assert!(out.status.success(), "{}", text(&out));
    let out = baton().args(["log", "verify"]).arg(&run).output().expect("the binary runs");
    assert!(out.status.success(), "{}", text(&out));
    let progress = std::fs::read_to_string(run.join("progress.json")).expect("a progress file");
    assert!(progress.contains("\"barrier\"") && progress.contains("\"log\""), "{progress}");
}

#[test]
fn h15_killed_every_few_milliseconds_the_demo_still_completes() {
    killed_every(3, 2);
}

#[test]
fn h15_killed_now_and_then_the_demo_still_completes() {
    killed_every(29, 100);
}

#[test]
fn h10_a_finished_run_can_be_resumed_and_changes_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let run = dir.path().join("run");
    let out = baton().args(["demo", "--keep"]).arg(&run).output().expect("the binary runs");
    assert!(out.status.success(), "{}", text(&out));
    let before = std::fs::read(run.join("progress.json")).expect("a progress file");
    let out = baton().args(["demo", "--resume"]).arg(&run).output().expect("the binary runs");
    assert!(out.status.success(), "{}", text(&out));
    assert_eq!(before, std::fs::read(run.join("progress.json")).expect("a progress file"));
}
