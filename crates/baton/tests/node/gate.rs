//! The guard and the hook go by the very plan that the chain runs: its name, its height and the build that its info names.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use baton_devnet::{Devnet, Text, YES};
use serde_json::{Value, json};

use crate::net::{Net, Ran, seat, text};
use crate::story::network;

/// What x/upgrade writes at a halt.
fn halted(net: &Net, name: &str, height: u64, info: &str) -> PathBuf {
    let data = net.dir.path().join("chaind/data");
    std::fs::create_dir_all(&data).unwrap();
    let path = data.join("upgrade-info.json");
    std::fs::write(&path, json!({"name": name, "time": "0001-01-01T00:00:00Z", "height": height, "info": info}).to_string()).unwrap();
    path
}

fn info_of(build: &str) -> String {
    json!({"binaries": {}, "enclave": {"mrenclave": build}}).to_string()
}

/// A command of node 0 as cosmovisor runs it.
fn under_cosmovisor(net: &Net, args: &[&str]) -> Ran {
    let split = args.iter().position(|a| *a == "--").unwrap_or(args.len());
    let done = Command::new(env!("CARGO_BIN_EXE_baton"))
        .args(&args[..split])
        .args(["--home", text(&net.nodes[0].home)])
        .args(&args[split..])
        .env("DAEMON_HOME", net.dir.path().join("chaind"))
        .output()
        .unwrap();
    let told = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    Ran { code: done.status.code().unwrap_or(-1), out: told(&done.stdout), err: told(&done.stderr) }
}

fn log(net: &Net, name: &str) -> String {
    std::fs::read_to_string(net.nodes[0].home.join(name)).unwrap_or_default()
}

/// One node whose v2 is confirmed for a plan at the height that is returned.
fn confirmed() -> (Net, u64, String) {
    let (net, commitment) = network(1);
    let v2 = net.build("v2", 2, Some(&commitment));
    net.install(0, &v2);
    let height = net.vote("enclave-v2", 40, &v2);
    let status = net.until(0, "confirmed", |s| seat(s, "v1")["state"] == "confirmed" && seat(s, "v2")["state"] == "received");
    let m = seat(&status, "v2")["measurement"].as_str().unwrap().to_string();
    (net, height, m)
}

#[test]
fn h14_guard_and_hook_hold_a_build_when_the_chain_halted_for_another_one_under_the_same_name_and_height() {
    let (mut net, height, m) = confirmed();
    // Without the file, what this node saw counts.
    net.run(0, &["guard", "--plan", "enclave-v2", "--", "true"]).ok();
    // The daemon is down while another vote overwrites the plan.
    net.kill(0);
    let other = "ab".repeat(32);
    let file = halted(&net, "enclave-v2", height, &info_of(&other));
    let v2 = net.dir.path().join("v2.sgxs");
    for args in [vec!["guard", "--plan", "enclave-v2", "--", "true"], vec!["guard", "--build", text(&v2), "--", "true"], vec!["guard", "--plan", "enclave-v2", "--build", text(&v2), "--", "true"]] {
        let refused = under_cosmovisor(&net, &args).refused();
        assert!(refused.contains(&other), "{args:?}: {refused}");
        let mut named = args[..args.len() - 2].to_vec();
        named.extend(["--upgrade-info", text(&file), "--", "true"]);
        assert!(net.run(0, &named).refused().contains(&other), "{args:?}");
    }
    assert!(log(&net, "guard.log").contains("held: ") && log(&net, "guard.log").contains("passes: "), "{}", log(&net, "guard.log"));
    let at = height.to_string();
    let refused = under_cosmovisor(&net, &["hook", "custom-pre-upgrade", "enclave-v2", &at, "--limit", "1"]).refused();
    assert!(refused.contains("held") && refused.contains(".sgxs"), "the build that the chain names is not here: {refused}");
    // The very build that was confirmed, at the very height.
    halted(&net, "enclave-v2", height, &info_of(&m));
    under_cosmovisor(&net, &["hook", "custom-pre-upgrade", "enclave-v2", &at, "--limit", "20"]).ok();
    under_cosmovisor(&net, &["guard", "--plan", "enclave-v2", "--build", text(&v2), "--", "true"]).ok();
}

#[test]
fn h14_a_height_that_differs_from_what_was_confirmed_holds_guard_and_hook() {
    let (net, height, m) = confirmed();
    let at = (height + 7).to_string();
    let refused = net.run(0, &["hook", "custom-pre-upgrade", "enclave-v2", &at, "--limit", "1"]).refused();
    assert!(refused.contains("height: expected") && refused.contains(&at) && refused.contains(&height.to_string()), "{refused}");
    let file = halted(&net, "enclave-v2", height + 7, &info_of(&m));
    let refused = net.run(0, &["guard", "--plan", "enclave-v2", "--upgrade-info", text(&file), "--", "true"]).refused();
    assert!(refused.contains(&at) && refused.contains(&height.to_string()), "{refused}");
    // What the hook is called for and what the chain's node wrote have to be the same.
    let refused = under_cosmovisor(&net, &["hook", "custom-pre-upgrade", "enclave-v2", &height.to_string(), "--limit", "1"]).refused();
    assert!(refused.contains("upgrade-info.json"), "{refused}");
    let refused = under_cosmovisor(&net, &["hook", "custom-pre-upgrade", "enclave-v3", &at, "--limit", "1"]).refused();
    assert!(refused.contains("upgrade-info.json") && log(&net, "hook.log").contains("enclave-v3"), "{refused}");
    // A file that cannot be read holds both.
    std::fs::write(&file, "{").unwrap();
    assert!(under_cosmovisor(&net, &["guard", "--plan", "enclave-v2", "--", "true"]).refused().contains("upgrade-info.json"));
    assert!(under_cosmovisor(&net, &["hook", "custom-pre-upgrade", "enclave-v2", &at, "--limit", "1"]).refused().contains("upgrade-info.json"));
    // The build in use is started whatever the next plan is.
    halted(&net, "enclave-v2", height, &info_of(&m));
    let v1 = net.dir.path().join("v1.sgxs");
    under_cosmovisor(&net, &["guard", "--build", text(&v1), "--", "true"]).ok();
}

#[test]
fn h14_of_two_hooks_the_second_waits_within_its_limit_and_says_who_runs() {
    let (net, height, _) = confirmed();
    let (home, at) = (net.nodes[0].home.clone(), (height + 7).to_string());
    // The first one waits for a plan that is not there.
    let mut first = Command::new(env!("CARGO_BIN_EXE_baton"))
        .args(["hook", "custom-pre-upgrade", "enclave-v2", &at, "--limit", "600", "--home", text(&home)])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !log(&net, "hook.log").contains("height: expected") {
        assert!(std::time::Instant::now() < end, "{}", log(&net, "hook.log"));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let right = height.to_string();
    let refused = net.run(0, &["hook", "custom-pre-upgrade", "enclave-v2", &right, "--limit", "1"]).refused();
    assert!(refused.contains("another hook runs") && refused.contains(&format!("process {}", first.id())), "{refused}");
    assert!(log(&net, "hook.log").contains("this one waits"), "{}", log(&net, "hook.log"));
    // Once the first is gone, killed or done, the next one has its turn.
    first.kill().unwrap();
    first.wait().unwrap();
    net.run(0, &["hook", "custom-pre-upgrade", "enclave-v2", &right, "--limit", "30"]).ok();
}

#[test]
fn h14_a_plan_that_the_network_overwrote_by_one_of_the_same_name_is_not_confirmed_by_the_build_before() {
    let (net, commitment) = network(1);
    let (v2, v3) = (net.build("v2", 2, Some(&commitment)), net.build("v3", 3, Some(&commitment)));
    net.install(0, &v2);
    let height = net.vote("enclave-v2", 130, &v2);
    net.wait_height(height - 50);
    net.slow_from(height - 46);
    net.until(0, "confirmed", |s| seat(s, "v2")["state"] == "received" && seat(s, "v1")["state"] == "confirmed");
    let m3: Value = crate::net::baton(&["measure", text(&v3), "--json"]).ok().json();
    let info = info_of(m3["mrenclave"].as_str().or(m3["measurement"].as_str()).unwrap());
    {
        let mut chain = net.rpc.chain();
        let id = chain.propose(vec![Devnet::upgrade_message("enclave-v2", height, &info)], &Text::titled("again"), true).unwrap().unwrap();
        chain.carry(id, YES).unwrap();
        assert_eq!(chain.plan().unwrap().info, info);
        assert!(chain.height() < height - 2, "{}", chain.height());
    }
    net.until(0, "sees the other build", |s| s["plan"]["measurement"] != seat(s, "v2")["measurement"]);
    let refused = net.run(0, &["hook", "custom-pre-upgrade", "enclave-v2", &height.to_string(), "--limit", "1"]).refused();
    assert!(refused.contains(".sgxs"), "{refused}");
    net.until(0, "holds again", |s| seat(s, "v1")["state"] == "holding");
    net.run(0, &["guard", "--plan", "enclave-v2", "--", "true"]).refused();
    net.run(0, &["guard", "--build", text(&v2), "--", "true"]).refused();
    // With the build that counts in the folder the same commands pass.
    net.install(0, &v3);
    net.slow_from(u64::MAX);
    net.run(0, &["hook", "custom-pre-upgrade", "enclave-v2", &height.to_string(), "--limit", "60"]).ok();
    net.run(0, &["guard", "--plan", "enclave-v2", "--build", text(&v3), "--", "true"]).ok();
    net.run(0, &["guard", "--plan", "enclave-v2", "--build", text(&v2), "--", "true"]).refused();
}

#[test]
fn a24_by_a_passed_plan_that_two_readers_understand_differently_nobody_hands_over_and_the_old_build_serves() {
    let (net, commitment) = network(1);
    let v2 = net.build("v2", 2, Some(&commitment));
    net.install(0, &v2);
    net.until(0, "rehearsed", |s| seat(s, "v2")["rehearsed_as_source"] == true);
    let m = seat(&net.status(0).unwrap(), "v2")["measurement"].as_str().unwrap().to_string();
    let twice = format!(r#"{{"enclave":{{"mrenclave":"{m}"}},"enclave":{{"mrenclave":"{m}"}}}}"#);
    let both = format!(r#"{{"enclave":{{"mrenclave":"{m}"}},"note":"MREnclaveHash:{m}"}}"#);
    for (name, info, why) in [("twice", twice, "twice in one object"), ("both", both, "use one form alone")] {
        let height = {
            let mut chain = net.rpc.chain();
            let height = chain.height() + 150;
            let id = chain.propose(vec![Devnet::upgrade_message(name, height, &info)], &Text::titled(name), true).unwrap().unwrap();
            chain.carry(id, YES).unwrap();
            assert_eq!(chain.plan().unwrap().name, name);
            let now = chain.height();
            net.slow_from(now);
            height
        };
        let status = net.until(0, "sees it", |s| s["plan"]["name"] == name);
        assert!(status["plan"]["unreadable"].as_str().unwrap().contains(why), "{status:#}");
        assert!(net.run(0, &["status"]).ok().out.contains(why));
        let at = height.to_string();
        let refused = net.run(0, &["hook", "custom-pre-upgrade", name, &at, "--limit", "1"]).refused();
        assert!(refused.contains(why) && refused.contains("cancel it and vote again"), "{refused}");
        let refused = net.run(0, &["guard", "--plan", name, "--", "true"]).refused();
        assert!(refused.contains(why) && refused.contains("cancel it and vote again"), "{refused}");
        let file = halted(&net, name, height, &info);
        let refused = net.run(0, &["guard", "--plan", name, "--build", text(&v2), "--upgrade-info", text(&file), "--", "true"]).refused();
        assert!(refused.contains(why), "{refused}");
        assert!(under_cosmovisor(&net, &["hook", "custom-pre-upgrade", name, &at, "--limit", "1"]).refused().contains(why));
        // The lead window is open: nothing is offered, and the old build serves on.
        net.wait_height(height - 55);
        net.slow_from(height - 51);
        net.until(0, "goes on", |s| s["chain"]["height"].as_u64().unwrap() > height - 54);
        let status = net.status(0).unwrap();
        assert_eq!((&seat(&status, "v1")["state"], &seat(&status, "v1")["serving"], &seat(&status, "v2")["state"]), (&"holding".into(), &true.into(), &"empty".into()), "{status:#}");
        assert_eq!(net.json(0, &["vault", "get", "treasure"])["value"], "under the third oak");
        let v1 = net.dir.path().join("v1.sgxs");
        under_cosmovisor(&net, &["guard", "--build", text(&v1), "--", "true"]).ok();
    }
}
