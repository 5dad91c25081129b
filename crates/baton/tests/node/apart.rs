//! `dev_process`: each enclave is a process of its own. It is killed, and the daemon lives on.

use std::time::{Duration, Instant};

use crate::net::{Net, baton, seat, text};

const NAMED: [&str; 2] = ["v1", "v2"];

/// One machine that holds the secret, its enclaves apart.
fn apart() -> (Net, String) {
    let mut net = Net::new(1);
    let file = net.nodes[0].home.join("baton.toml");
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(written.contains("dev_process = false"));
    std::fs::write(&file, written.replace("dev_process = false", "dev_process = true")).unwrap();
    let v1 = net.build("v1", 1, None);
    net.install(0, &v1);
    net.start(0);
    let commitment = net.json(0, &["genesis"])["commitment"].as_str().unwrap().to_string();
    net.json(0, &["vault", "put", "treasure", "under the third oak"]);
    (net, commitment)
}

/// The enclaves' processes: the daemon has no other children, for its records are signed with a key file.
fn enclaves(net: &Net) -> Vec<String> {
    let pid = net.pid(0);
    let found = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    found.split_whitespace().map(String::from).collect()
}

fn kill(pids: &[String]) {
    assert!(!pids.is_empty(), "no enclave runs apart");
    // One may have ended by itself: the twin of a rehearsal does.
    let _ = std::process::Command::new("kill").arg("-9").args(pids).output().unwrap();
}

fn count(net: &Net, words: &str) -> usize {
    net.log(0).lines().filter(|l| NAMED.iter().any(|n| l.contains(n)) || l.contains("step=")).filter(|l| l.contains(words)).count()
}

#[track_caller]
fn wait(net: &Net, what: &str, is: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(90);
    while !is() {
        assert!(Instant::now() < end, "never {what}:\n{}", net.log(0));
        std::thread::sleep(Duration::from_millis(5));
    }
}

const AGAIN: &str = "had ended, and runs again from its sealed files";
const SENT: &str = "record of the handover for plan";
const CUT_OFF: &str = "the enclave ended";

#[test]
fn an_enclave_that_is_killed_at_any_moment_is_started_again_and_nothing_is_lost() {
    let (net, commitment) = apart();
    let daemon = net.pid(0);
    let reads = |why: &str| assert_eq!(net.json(0, &["vault", "get", "treasure"])["value"], "under the third oak", "{why}");
    kill(&enclaves(&net));
    wait(&net, "started again", || count(&net, AGAIN) == 1);
    reads("after a kill while nothing happened");

    let v2 = net.build("v2", 2, Some(&commitment));
    net.install(0, &v2);
    net.until(0, "rehearsed", |s| seat(s, "v2")["rehearsed_as_source"] == true);
    let height = net.vote("enclave-v2", 60, &v2);
    // Blocks come slowly from here on: the record waits for its own.
    net.slow_from(0);
    wait(&net, "announced", || count(&net, SENT) == 1);
    kill(&enclaves(&net));
    wait(&net, "announced anew, for the first request died with its enclave", || count(&net, SENT) >= 2);

    // The source's file changes when it has made its offer; the receipt is missing then.
    let sealed = net.nodes[0].home.join("seats").join(&seat(&net.status(0).unwrap(), "v1")["measurement"].as_str().unwrap()[..16]).join("sealed");
    let names = || {
        let mut all: Vec<_> = std::fs::read_dir(&sealed).unwrap().filter_map(|e| e.ok()?.file_name().into_string().ok()).filter(|n| n.starts_with("custody") && n.ends_with(".sealed")).collect();
        all.sort();
        all
    };
    let cut_off = || net.log(0).lines().filter(|l| l.contains(r#"step="ahead""#) && l.contains(CUT_OFF)).count();
    for _ in 0..5 {
        let (before, pids) = (names(), enclaves(&net));
        wait(&net, "offered", || names() != before);
        kill(&pids);
        let restarted = count(&net, AGAIN);
        wait(&net, "started again", || count(&net, AGAIN) > restarted || cut_off() > 0);
        if cut_off() > 0 {
            break;
        }
    }
    assert!(cut_off() > 0, "no kill hit an open transfer:\n{}", net.log(0));
    net.until(0, "confirmed", |s| seat(s, "v1")["state"] == "confirmed" && seat(s, "v2")["state"] == "received");
    reads("after a kill between offer and receipt");

    let restarted = count(&net, AGAIN);
    kill(&enclaves(&net));
    wait(&net, "both started again", || count(&net, AGAIN) >= restarted + 2);
    net.until(0, "still confirmed", |s| seat(s, "v1")["state"] == "confirmed" && seat(s, "v2")["state"] == "received");
    net.run(0, &["guard", "--plan", "enclave-v2", "--", "true"]).ok();
    net.wait_height(height);
    net.until(0, "activated", |s| seat(s, "v2")["serving"] == true);
    reads("with the new build");
    net.resume("enclave-v2");
    kill(&enclaves(&net));
    net.until(0, "gave its receipt", |s| s["barrier"]["platforms"] == 1);
    reads("at the end");
    assert_eq!(net.pid(0), daemon);
    assert!(std::fs::read_to_string(format!("/proc/{daemon}/cmdline")).is_ok_and(|c| c.contains("node")), "the daemon lives: {}", net.log(0));
    let audited = net.json(0, &["audit"]);
    assert_eq!(audited["accept"], true, "{audited:#}");
}

#[test]
fn enclaves_end_with_the_daemon_that_is_killed() {
    let (mut net, _) = apart();
    let pids = enclaves(&net);
    assert_eq!(pids.len(), 1);
    net.kill(0);
    // Who adopts it may take its time to bury it.
    let lives = |pid: &String| std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| !s.contains(") Z "));
    let end = Instant::now() + Duration::from_secs(10);
    while pids.iter().any(lives) {
        assert!(Instant::now() < end, "{pids:?} live on");
        std::thread::sleep(Duration::from_millis(20));
    }
    net.start(0);
    assert_eq!(net.json(0, &["vault", "get", "treasure"])["value"], "under the third oak");
}

#[test]
fn an_enclave_process_that_was_given_nothing_ends_and_says_so() {
    let net = Net::new(1);
    let args = ["enclave-process", "--platform", "sim", "--dev-machine", text(net.dir.path()), "--dev-pki-seed", "1"];
    let ran = baton(&args);
    assert_eq!(ran.code, 2, "{}{}", ran.out, ran.err);
}
