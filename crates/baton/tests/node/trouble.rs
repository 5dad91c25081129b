//! What goes wrong in the field: kills, late nodes, cancelled plans, second daemons, loose files, wrong chains.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use baton_devnet::{Devnet, Text, YES};

use crate::net::{Net, baton, seat, text};
use crate::story::network;

#[test]
fn a_second_daemon_on_one_home_is_refused_and_commands_ask_the_first() {
    let (net, _) = network(1);
    let refused = net.run(0, &["node"]).refused();
    assert!(refused.contains("another process uses"), "{refused}");
    assert_eq!(net.json(0, &["status"])["seats"][0]["state"], "holding");
}

#[test]
fn a_home_of_another_chain_is_refused_at_the_start() {
    let net = Net::new(1);
    let home = net.dir.path().join("other");
    baton(&["init", "--home", text(&home), "--chain-id", "other-1", "--rpc", &net.rpc.url()]).ok();
    let refused = baton(&["node", "--home", text(&home)]).refused();
    assert!(refused.contains("baton-devnet-1") && refused.contains("other-1") && refused.contains(&net.rpc.url()), "{refused}");
}

#[test]
fn bad_configurations_are_asked_wrongly_and_say_what_to_do() {
    let net = Net::new(1);
    let home = net.nodes[0].home.clone();
    let file = home.join("baton.toml");
    let good = std::fs::read_to_string(&file).unwrap();
    let run = || {
        let ran = net.run(0, &["status"]);
        assert_eq!(ran.code, 2, "{}{}", ran.out, ran.err);
        ran.err
    };
    std::fs::write(&file, good.replace("[log]", "[log]\ncolour = true")).unwrap();
    assert!(run().contains("colour"));
    std::fs::write(&file, &good).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(run().contains("chmod 600"));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(run().contains("chmod 700"));
    std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o700)).unwrap();
    net.run(0, &["status"]).ok();
    let ran = baton(&["status", "--home", text(&home.join("nothing"))]);
    assert!(ran.code == 2 && ran.err.contains("baton init"), "{}", ran.err);
}

#[test]
fn h09_genesis_happens_once_and_never_over_something_sealed() {
    let (mut net, commitment) = network(1);
    assert_eq!(net.json(0, &["genesis"])["commitment"], commitment.as_str(), "again changes nothing");
    net.kill(0);
    // The build is lost from the folder, its sealed files are not: another build makes no second seed.
    for name in ["v1.sgxs", "v1.sig"] {
        std::fs::remove_file(net.nodes[0].home.join("builds").join(name)).unwrap();
    }
    let other = net.build("other", 1, None);
    net.install(0, &other);
    let refused = net.run(0, &["genesis"]).refused();
    assert!(refused.contains("sealed") || refused.contains("seats"), "{refused}");
}

#[test]
fn h14_the_guard_and_the_hook_hold_a_build_without_a_keyring_and_say_what_to_do() {
    let (net, commitment) = network(1);
    let v2 = net.build("v2", 2, Some(&commitment));
    let refused = net.run(0, &["guard", "--build", text(&v2), "--", "true"]).refused();
    assert!(refused.contains("not confirmed") && refused.contains("baton upgrade"), "{refused}");
    let refused = net.run(0, &["guard", "--plan", "never-heard-of", "--", "true"]).refused();
    assert!(refused.contains("never-heard-of"), "{refused}");
    let v1 = net.dir.path().join("v1.sgxs");
    net.run(0, &["guard", "--build", text(&v1), "--", "true"]).ok();
    assert_eq!(net.run(0, &["guard", "--build", text(&v1), "--", "sh", "-c", "exit 7"]).code, 7, "the command's own code");
    // The plan is voted for, but its build is not on this machine.
    let height = net.vote("enclave-v2", 40, &v2);
    net.until(0, "sees the plan", |s| s["plan"]["name"] == "enclave-v2");
    let refused = net.run(0, &["hook", "custom-pre-upgrade", "enclave-v2", &height.to_string(), "--limit", "2"]).refused();
    assert!(refused.contains("held") && refused.contains(".sgxs"), "{refused}");
    let log = std::fs::read_to_string(net.nodes[0].home.join("hook.log")).unwrap();
    assert!(log.contains("cosmovisor asks") && log.contains("time is up"), "{log}");
    let which = log.lines().find(|l| l.contains("waits for")).unwrap_or_else(|| panic!("no condition is named: {log}"));
    assert!(which.contains("build: ") && which.contains("builds") && !which.contains("source: "), "{which}");
    let asked = net.run(0, &["upgrade", "--plan", "enclave-v2", "--json"]);
    assert!(asked.json()["waits_for"][0].as_str().unwrap().starts_with("build: "), "{}", asked.out);
    net.install(0, &v2);
    net.run(0, &["hook", "custom-pre-upgrade", "enclave-v2", &height.to_string(), "--limit", "60"]).ok();
    net.run(0, &["guard", "--plan", "enclave-v2", "--", "true"]).ok();
}

#[test]
fn h14_the_hook_names_the_condition_when_no_build_here_holds_the_keyring() {
    let mut net = Net::new(1);
    let v1 = net.build("v1", 1, None);
    let v2 = net.build("v2", 2, Some(&"0f".repeat(32)));
    net.install(0, &v1);
    net.install(0, &v2);
    net.start(0);
    let height = net.vote("enclave-v2", 300, &v2);
    net.until(0, "sees the plan", |s| s["plan"]["name"] == "enclave-v2");
    let refused = net.run(0, &["hook", "custom-pre-upgrade", "enclave-v2", &height.to_string(), "--limit", "1"]).refused();
    assert!(refused.contains("source: no build here holds the keyring and serves (v1 empty)"), "{refused}");
    let log = std::fs::read_to_string(net.nodes[0].home.join("hook.log")).unwrap();
    assert!(log.contains("source: no build here holds the keyring"), "{log}");
}

#[test]
fn h13_nobody_prepared_the_chain_halts_and_each_node_hands_over_at_x_by_one_command() {
    let (mut net, commitment) = network(2);
    let v2 = net.build("v2", 2, Some(&commitment));
    let height = net.vote("enclave-v2", 5, &v2);
    net.wait_height(height);
    net.until(0, "sees the halt", |s| s["chain"]["halted_at"] == height);
    // Node 1's daemon dies too: the command does the same by itself.
    net.kill(1);
    for i in 0..2 {
        net.install(i, &v2);
        let got = net.json(i, &["upgrade", "--wait", "60"]);
        assert_eq!(got["confirmed"], true, "{got:#}");
    }
    net.start(1);
    for i in 0..2 {
        net.until(i, "activated", |s| seat(s, "v2")["serving"] == true);
        assert_eq!(net.json(i, &["vault", "get", "treasure"])["value"], "under the third oak");
    }
    net.resume("enclave-v2");
    for i in 0..2 {
        // The records follow once blocks come.
        let end = std::time::Instant::now() + Duration::from_secs(60);
        while !net.log(i).contains("the record of a handover at X is in block") {
            assert!(std::time::Instant::now() < end, "{}", net.log(i));
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Numbers of debts come again once all are paid: the second is no part of the first.
#[test]
fn rule4_a_second_handover_at_x_gets_a_record_of_its_own() {
    let (net, commitment) = network(1);
    for (round, name) in [(1, "v2"), (2, "v3")] {
        let build = net.build(name, round + 1, Some(&commitment));
        let plan = format!("enclave-{name}");
        let height = net.vote(&plan, 5, &build);
        net.wait_height(height);
        net.until(0, "sees the halt", |s| s["chain"]["halted_at"] == height);
        net.install(0, &build);
        assert_eq!(net.json(0, &["upgrade", "--plan", &plan, "--wait", "60"])["confirmed"], true);
        net.until(0, "activated", |s| seat(s, name)["serving"] == true);
        net.resume(&plan);
        let end = std::time::Instant::now() + Duration::from_secs(60);
        while net.log(0).matches("the record of a handover at X is in block").count() < usize::from(round) {
            assert!(std::time::Instant::now() < end, "{}", net.log(0));
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    assert_eq!(net.log(0).matches("record of a handover at X sent").count(), 2, "{}", net.log(0));
    let audited = net.json(0, &["audit", "--strict"]);
    assert_eq!((&audited["accept"], &audited["copies"], &audited["records"]), (&true.into(), &2.into(), &2.into()), "{audited:#}");
}

#[test]
fn h15_with_the_rpc_dead_a_late_node_hands_over_from_what_was_kept() {
    let (mut net, commitment) = network(1);
    let v2 = net.build("v2", 2, Some(&commitment));
    let height = net.vote("enclave-v2", 5, &v2);
    net.wait_height(height);
    net.until(0, "kept the evidence", |s| s["bundle"]["newest"] == height);
    net.kill(0);
    net.rpc.play(|_, _, _| None);
    net.install(0, &v2);
    net.run(0, &["hook", "custom-pre-upgrade", "enclave-v2", &height.to_string(), "--limit", "60"]).ok();
    net.run(0, &["guard", "--plan", "enclave-v2", "--", "true"]).ok();
    let status = net.json(0, &["status"]);
    assert_eq!(seat(&status, "v1")["state"], "confirmed", "{status:#}");
    // The new binary runs: its RPC is back, and with it the new build's checkpoint.
    net.rpc.play_fair();
    net.resume("enclave-v2");
    net.start(0);
    net.until(0, "activated", |s| seat(s, "v2")["serving"] == true);
}

#[test]
fn a_cancelled_plan_gives_the_keyring_back_to_the_old_build() {
    let (net, commitment) = network(1);
    let v2 = net.build("v2", 2, Some(&commitment));
    net.install(0, &v2);
    net.vote("enclave-v2", 130, &v2);
    {
        let mut chain = net.rpc.chain();
        let target = u64::try_from(chain.plan().unwrap().height).unwrap() - 50;
        let now = chain.height();
        chain.produce_until(target.max(now)).unwrap();
        net.slow_from(target.max(now) + 4);
    }
    net.until(0, "confirmed", |s| seat(s, "v1")["state"] == "confirmed");
    {
        let mut chain = net.rpc.chain();
        let message = Devnet::cancel_message();
        // An expedited vote ends while the lead window is still open.
        let id = chain.propose(vec![message], &Text::titled("cancel"), true).unwrap().unwrap();
        chain.carry(id, YES).unwrap();
        assert!(chain.plan().is_none());
    }
    net.slow_from(u64::MAX);
    net.until(0, "holds again", |s| seat(s, "v1")["state"] == "holding" && s["plan"].is_null());
    assert_eq!(net.json(0, &["vault", "get", "treasure"])["value"], "under the third oak");
}

#[test]
fn h21_a_chain_that_goes_back_and_passes_over_the_upgrade_gives_the_old_build_its_place_again() {
    let (net, commitment) = network(1);
    let v2 = net.build("v2", 2, Some(&commitment));
    net.install(0, &v2);
    let height = net.vote("enclave-v2", 40, &v2);
    net.until(0, "confirmed", |s| seat(s, "v1")["state"] == "confirmed");
    net.wait_height(height);
    net.until(0, "activated", |s| seat(s, "v2")["serving"] == true);
    net.resume("enclave-v2");
    net.wait_height(height + 1);
    {
        let mut chain = net.rpc.chain();
        while chain.height() >= height {
            chain.rollback(true).unwrap();
        }
        chain.advance_time(Duration::from_secs(3));
        chain.produce_until(height).unwrap();
        chain.skip_upgrade().unwrap();
    }
    net.until(0, "saw it", |s| seat(s, "v1")["state"] == "holding");
    net.until(0, "stays", |s| s["chain"]["height"].as_u64().unwrap() > height + 15);
    let got = net.json(0, &["vault", "get", "treasure"]);
    assert_eq!(got["build"], seat(&net.status(0).unwrap(), "v1")["measurement"]);
    assert_eq!(got["value"], "under the third oak");
}

#[test]
fn kill_minus_nine_at_any_moment_of_an_upgrade_loses_nothing() {
    let (mut net, commitment) = network(2);
    let v2 = net.build("v2", 2, Some(&commitment));
    (0..2).for_each(|i| net.install(i, &v2));
    let height = net.vote("enclave-v2", 40, &v2);
    // Node 0 is killed again and again, each time a little later, until the chain halts.
    let mut after = 5;
    let mut kills = 0;
    while net.height() + 2 < height && seat(&net.status(0).unwrap_or_default(), "v1")["state"] != "confirmed" {
        net.kill(0);
        kills += 1;
        net.start(0);
        std::thread::sleep(Duration::from_millis(after));
        after += 37;
    }
    assert!(kills > 0);
    net.wait_height(height);
    for i in 0..2 {
        net.until(i, "activated", |s| seat(s, "v2")["serving"] == true);
        assert_eq!(net.json(i, &["vault", "get", "treasure"])["value"], "under the third oak");
    }
    net.kill(0);
    net.start(0);
    net.resume("enclave-v2");
    for i in 0..2 {
        // Two machines never meet a barrier of three: the old copies stay, and nothing is lost by it.
        net.until(i, "gave its receipt", |s| s["barrier"]["platforms"] == 2);
        assert_eq!(seat(&net.status(i).unwrap(), "v1")["state"], "confirmed");
    }
}

#[test]
fn a_node_without_an_account_lets_its_peers_publish() {
    let (net, _) = network(3);
    // Node 2 has no signer: its join is in a block all the same.
    assert_eq!(seat(&net.status(2).unwrap(), "v1")["state"], "holding");
    let refused = net.run(2, &["record", "send", "not a record"]);
    assert_eq!(refused.code, 2, "{}", refused.err);
}

#[test]
fn strangers_get_neither_operations_nor_memos_of_their_own() {
    let (net, _) = network(1);
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    let at = |path: &str| format!("http://127.0.0.1:{}{path}", net.nodes[0].port);
    let post = |path: &str, body: &str| agent.post(at(path)).send(body).unwrap().status().as_u16();
    assert_eq!(post("/v1/op", r#"{"op":"genesis"}"#), 401);
    assert_eq!(post("/v1/publish", r#"{"memo":"buy my coin"}"#), 400);
    assert_eq!(post("/v1/join/hello", "rubbish"), 400);
    assert_eq!(post("/v1/nothing", ""), 404);
    assert_eq!(net.page(0, "/v1/vault/..%2foperator.token").unwrap().0, 404);
    assert_eq!(net.page(0, "/v1/block/x").unwrap().0, 400);
}

#[test]
fn health_readiness_and_metrics_say_how_it_stands() {
    let mut net = Net::new(1);
    let v1 = net.build("v1", 1, None);
    net.start(0);
    assert_eq!(net.page(0, "/healthz").unwrap().0, 200);
    let (code, why) = net.page(0, "/readyz").unwrap();
    assert!(code == 503 && why.contains("no build"), "{code} {why}");
    net.install(0, &v1);
    net.json(0, &["genesis"]);
    net.until(0, "holds", |s| seat(s, "v1")["state"] == "holding");
    // The chain is looked at apart from the enclaves: either may be first.
    net.until_page(0, "/readyz", 200);
    let metrics = net.page(0, "/metrics").unwrap().1;
    for wanted in ["baton_serving{build=\"v1\"", "state=\"holding\"} 1", "baton_plan_height 0", "baton_chain_seen 1", "# EOF"] {
        assert!(metrics.contains(wanted), "no {wanted:?} in\n{metrics}");
    }
}

#[test]
fn a_daemon_stops_by_a_signal_with_0_and_leaves_the_home_free() {
    let mut net = Net::new(1);
    net.start(0);
    assert_eq!(net.terminate(0), Some(0));
    net.run(0, &["status"]).ok();
}

/// The chain's records and each node's log, as `baton audit` sees them.
#[test]
fn rule4_audit_finds_an_entry_that_was_taken_out_and_a_record_that_is_not_on_chain() {
    let (net, commitment) = network(2);
    let v2 = net.build("v2", 2, Some(&commitment));
    (0..2).for_each(|i| net.install(i, &v2));
    net.vote("enclave-v2", 40, &v2);
    for i in 0..2 {
        net.until(i, "confirmed", |s| seat(s, "v1")["state"] == "confirmed");
    }
    for i in 0..2 {
        let seen = net.json(i, &["audit"]);
        assert_eq!((&seen["accept"], seen["mismatches"].as_array().unwrap().len()), (&true.into(), 0), "{seen:#}");
        assert!(seen["records"].as_u64().unwrap() >= 3, "a join and two handovers: {seen:#}");
    }
    // Both nodes' logs together answer every record.
    let folders: Vec<String> = (0..2).map(|i| text(&net.nodes[i].home.join("seats")).to_string()).collect();
    let both = |strict: &[&str]| {
        let url = net.rpc.url();
        let mut args = vec!["audit", &folders[0], &folders[1], "--rpc", &url, "--json"];
        args.extend(strict);
        baton(&args)
    };
    let all = both(&["--strict"]).ok().json();
    assert!(all["copies"].as_u64().unwrap() >= 3 && all["table"].as_array().unwrap().iter().all(|r| r["good"] == true), "{all:#}");
    // Blocks that leave the record out: the copy is one that nobody announced.
    let late = net.height().to_string();
    let refused = baton(&["audit", &folders[0], "--rpc", &net.rpc.url(), "--from", &late]).refused();
    assert!(refused.contains("is in no block from"), "{refused}");
    // An endpoint that hides transactions, or all but one of a block's, is caught; so is one that shows another header.
    net.rpc.play(|method, _, mut answer| {
        if method == "block" {
            answer["result"]["block"]["data"]["txs"] = serde_json::json!([]);
        }
        Some(answer)
    });
    let refused = net.run(0, &["audit"]).refused();
    assert!(refused.contains("do not hash to the data hash"), "{refused}");
    net.rpc.play(|method, _, mut answer| {
        if method == "block" {
            answer["result"]["block"]["data"]["txs"].as_array_mut().unwrap().pop();
        }
        Some(answer)
    });
    let refused = net.run(0, &["audit"]).refused();
    assert!(refused.contains("do not hash to the data hash"), "{refused}");
    net.rpc.play(|method, _, mut answer| {
        if method == "blockchain" {
            // An empty block where there was a record.
            let empty = "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855";
            for meta in answer["result"]["block_metas"].as_array_mut().unwrap() {
                meta["header"]["data_hash"] = empty.into();
                meta["num_txs"] = "0".into();
            }
        }
        Some(answer)
    });
    let refused = net.run(0, &["audit"]).refused();
    assert!(refused.contains("it gave one of hash"), "{refused}");
    net.rpc.play(|method, _, mut answer| {
        if method == "blockchain" {
            answer["result"]["block_metas"].as_array_mut().unwrap().pop();
        }
        Some(answer)
    });
    assert!(net.run(0, &["audit"]).refused().contains("it left out"));
    net.rpc.play_fair();
    // A log with an entry taken out, on a copy of the folder.
    let v1 = seat(&net.status(0).unwrap(), "v1")["measurement"].as_str().unwrap()[..16].to_string();
    let copy = net.dir.path().join("copy");
    std::fs::create_dir_all(&copy).unwrap();
    for file in ["entries.txt", "checkpoint.txt", "key.txt"] {
        std::fs::copy(net.nodes[0].home.join("seats").join(&v1).join("log").join(file), copy.join(file)).unwrap();
    }
    baton(&["audit", text(&copy), "--rpc", &net.rpc.url()]).ok();
    let entries = std::fs::read_to_string(copy.join("entries.txt")).unwrap();
    let lines: Vec<&str> = entries.lines().collect();
    for out in [1, lines.len() / 2, lines.len() - 1] {
        let kept: String = lines.iter().enumerate().filter(|(i, _)| *i != out).map(|(_, l)| format!("{l}\n")).collect();
        std::fs::write(copy.join("entries.txt"), kept).unwrap();
        let ran = baton(&["audit", text(&copy), "--rpc", &net.rpc.url()]);
        assert_eq!(ran.code, 1, "entry {out}: {}{}", ran.out, ran.err);
    }
}
