//! What people look at before a plan's height: the live tally beside the enclave's bar, dates, and the doctor.

use std::os::unix::fs::PermissionsExt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use baton_devnet::{Devnet, Text};
use prost::Message as _;
use serde_json::{Value, json};

use crate::net::{Net, baton, private, seat, text};
use crate::story::network;

/// `cosmos.gov.v1.QueryTallyResultResponse` around a tally.
#[derive(Clone, PartialEq, prost::Message)]
struct TallyResponse {
    #[prost(message, optional, tag = "1")]
    tally: Option<baton_chain::gov::TallyResult>,
}

/// A node that counts the votes of a proposal that is not decided.
fn counts(net: &Net, yes: u64, no: u64) {
    let n = |units: u64| (u128::from(units) * 1_000_000).to_string();
    let tally = baton_chain::gov::TallyResult { yes_count: n(yes), no_count: n(no), abstain_count: n(0), no_with_veto_count: n(0) };
    let answer = STANDARD.encode(TallyResponse { tally: Some(tally) }.encode_to_vec());
    net.rpc.play(move |method, params, given| match method == "abci_query" && params["path"] == "/cosmos.gov.v1.Query/TallyResult" {
        true => Some(json!({"jsonrpc": "2.0", "id": 1, "result": {"response": {"code": 0, "value": answer, "height": "1"}}})),
        false => Some(given),
    });
}

fn check<'v>(report: &'v Value, name: &str) -> Vec<&'v str> {
    let all = report["checks"].as_array().unwrap_or_else(|| panic!("{report:#}"));
    all.iter().filter(|c| c["check"] == name).map(|c| c["level"].as_str().unwrap()).collect()
}

fn said(report: &Value, name: &str) -> String {
    report["checks"].as_array().unwrap().iter().filter(|c| c["check"] == name).map(|c| c["says"].to_string()).collect()
}

#[test]
fn h17_the_live_tally_stands_beside_the_enclaves_bar_while_people_vote() {
    let (net, commitment) = network(1);
    let v2 = net.build("v2", 2, Some(&commitment));
    let file = net.dir.path().join("p.json");
    baton(&["proposal", "new", "--plan", "enclave-v2", "--height", "1", "--build", text(&v2), "--out", text(&file)]).ok();
    let info: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    {
        let mut chain = net.rpc.chain();
        let height = chain.height() + 5000;
        let message = Devnet::upgrade_message("enclave-v2", height, info["messages"][0]["plan"]["info"].as_str().unwrap());
        chain.propose(vec![message], &Text::titled("v2"), false).unwrap().unwrap();
        let now = chain.height();
        net.slow_from(now);
    }
    let status = net.until(0, "sees the vote", |s| s["vote"]["plan"] == "enclave-v2");
    assert_eq!((&status["vote"]["status"], &status["vote"]["tally"]), (&"VOTING_PERIOD".into(), &Value::Null), "no endpoint counts: {status:#}");
    assert!(status["plan"].is_null());
    // 100, 70, 40 and 25 of 235 vote: 25 are below the quorum of a third, 100 above it.
    counts(&net, 25, 0);
    let status = net.until(0, "sees too few votes", |s| s["vote"]["meets"] == false);
    let holds = |s: &Value, name: &str| s["vote"]["bars"].as_array().unwrap().iter().find(|b| b["name"] == name).unwrap()["holds"] == true;
    assert!(!holds(&status, "quorum") && holds(&status, "threshold"), "{status:#}");
    let told = net.run(0, &["status"]).ok().out;
    assert!(told.contains("the enclave would refuse this vote") && told.contains("quorum: 10.64 %"), "{told}");
    let doctor = net.run(0, &["doctor", "--json"]).json();
    assert_eq!(check(&doctor, "vote"), ["warn"], "{doctor:#}");
    assert_eq!(check(&doctor, "build"), ["fail"], "while there is time the build is missed: {doctor:#}");
    counts(&net, 100, 40);
    let status = net.until(0, "sees enough votes", |s| s["vote"]["meets"] == true);
    assert!(!holds(&status, "override"), "100 of 235 name no new signer: {status:#}");
    assert!(net.page(0, "/metrics").unwrap().1.contains("baton_vote_below_bar 0"));
    // What expires when, the nearest first, held against the chain's time.
    let expires = status["expires"].as_array().unwrap();
    let untils: Vec<u64> = expires.iter().map(|d| d["until"].as_u64().unwrap()).collect();
    assert!(untils.is_sorted() && expires.len() >= 4, "{status:#}");
    for what in ["trusting period of v1", "collateral: TCB info", "collateral: QE identity", "collateral: PCK CRL", "collateral: root CRL"] {
        assert!(expires.iter().any(|d| d["what"].as_str().unwrap().starts_with(what) && d["state"] != "over"), "no {what}: {status:#}");
    }
}

#[test]
fn h24_the_doctor_says_what_is_missing_days_before_the_height_and_is_content_once_it_is_there() {
    let (net, commitment) = network(1);
    let v2 = net.build("v2", 2, Some(&commitment));
    net.vote("enclave-v2", 2000, &v2);
    net.until(0, "sees the plan", |s| s["plan"]["name"] == "enclave-v2");
    let doctor = |more: &[&str], code: i32| {
        let ran = net.run(0, &[&["doctor", "--json"], more].concat());
        assert_eq!(ran.code, code, "{}{}", ran.out, ran.err);
        ran.json()
    };
    let sick = doctor(&[], 1);
    assert_eq!(check(&sick, "build"), ["fail"]);
    assert!(said(&sick, "build").contains(".sgxs"), "{sick:#}");
    net.install(0, &v2);
    net.until(0, "rehearsed", |s| seat(s, "v2")["rehearsed_as_source"] == true);
    let well = doctor(&[], 0);
    for (name, level) in [("build", "ok"), ("rehearsal", "ok"), ("attestation", "ok"), ("custody", "ok"), ("signer", "ok"), ("daemon", "ok"), ("disk", "ok"), ("memory", "ok"), ("height", "ok"), ("vote", "ok")] {
        assert_eq!(check(&well, name), [level], "{name}: {well:#}");
    }
    assert!(said(&well, "attestation").contains("UpToDate"), "{well:#}");
    assert!(said(&well, "endpoint").contains("only one is configured"), "{well:#}");
    // cosmovisor's folders, its hook and the guard.
    let daemon = net.dir.path().join("chaind");
    let d = text(&daemon);
    assert_eq!(check(&doctor(&["--daemon-home", d], 1), "cosmovisor"), ["fail"], "no folder");
    let bin = daemon.join("cosmovisor/upgrades/enclave-v2/bin");
    std::fs::create_dir_all(&bin).unwrap();
    let bare = doctor(&["--daemon-home", d], 1);
    assert_eq!((check(&bare, "hook"), check(&bare, "binary")), (vec!["fail"], vec!["fail"]), "{bare:#}");
    let program = |path: &std::path::Path, words: &str| {
        std::fs::write(path, format!("#!/bin/sh\n{words}\n")).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    let hook = daemon.join("cosmovisor/baton-hook");
    program(&hook, "exec baton hook custom-pre-upgrade \"$1\" \"$2\"");
    program(&bin.join("chaind"), "exec /opt/chain/v2/chaind \"$@\"");
    let open = doctor(&["--daemon-home", d, "--custom-pre-upgrade", "another"], 1);
    assert_eq!((check(&open, "hook"), check(&open, "guard")), (vec!["fail"], vec!["fail"]), "{open:#}");
    program(&bin.join("chaind"), "exec baton guard --plan enclave-v2 -- /opt/chain/v2/chaind \"$@\"");
    let good = doctor(&["--daemon-home", d, "--custom-pre-upgrade", "baton-hook"], 0);
    assert_eq!((check(&good, "hook"), check(&good, "binary")), (vec!["ok"], vec!["ok"]), "{good:#}");
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(check(&doctor(&["--daemon-home", d], 1), "hook"), ["fail"]);
}

#[test]
fn watch_shows_the_plan_and_the_builds_and_says_when_the_daemon_is_away() {
    let (mut net, commitment) = network(2);
    let v2 = net.build("v2", 2, Some(&commitment));
    net.install(0, &v2);
    net.vote("enclave-v2", 400, &v2);
    net.until(0, "is ready", |s| s["plan"]["name"] == "enclave-v2" && seat(s, "v2")["rehearsed_as_source"] == true && s["vote"]["meets"] == true);
    let page = net.run(0, &["watch", "--once"]).ok().out;
    println!("{page}");
    for words in ["enclave-v2 at ", "blocks left", "threshold", "holding   serving", "rehearsed", "barrier: no old copy waits", "rehearse: v1 -> v2"] {
        assert!(page.contains(words), "no {words:?} in\n{page}");
    }
    net.kill(0);
    let away = net.run(0, &["watch", "--once"]).ok().out;
    assert!(away.contains("the daemon is away; nothing is known"), "{away}");
}

#[test]
fn a_sick_home_is_told_line_by_line_and_the_exit_code_is_1() {
    let net = Net::new(1);
    let home = net.dir.path().join("poor");
    let key = net.dir.path().join("poor.key");
    std::fs::write(&key, "11".repeat(32)).unwrap();
    private(&key);
    let rpc = net.rpc.url();
    baton(&["init", "--home", text(&home), "--chain-id", "baton-devnet-1", "--rpc", &rpc, "--rpc", "http://127.0.0.1:9", "--listen", "127.0.0.1:0", "--keyfile", text(&key)]).ok();
    let ran = baton(&["doctor", "--home", text(&home), "--json"]);
    assert_eq!(ran.code, 1, "{}{}", ran.out, ran.err);
    let told = ran.json();
    for (name, levels) in [("daemon", vec!["warn"]), ("custody", vec!["fail"]), ("signer", vec!["fail"]), ("attestation", vec!["fail"]), ("peers", vec!["warn"])] {
        assert_eq!(check(&told, name), levels, "{name}: {told:#}");
    }
    assert!(said(&told, "signer").contains("has 0 stake"), "{told:#}");
    assert!(said(&told, "endpoint").contains("http://127.0.0.1:9 does not answer"), "{told:#}");
    std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o755)).unwrap();
    let ran = baton(&["doctor", "--home", text(&home), "--json"]);
    assert_eq!((ran.code, check(&ran.json(), "home")), (1, vec!["fail"]), "{}{}", ran.out, ran.err);
    assert_eq!(baton(&["doctor", "--home", text(&home.join("nothing"))]).code, 2);
}
