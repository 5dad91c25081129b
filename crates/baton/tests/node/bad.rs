//! Bad input of people and networks, each by the command that meets it: a clear error, an exit code, and nothing lost.

use std::net::TcpListener;

use baton::node::machine::{BuildFile, dev_pki};
use baton_attest::identity::{Digest32, PlatformId};
use baton_attest::pki::PlatformSpec;
use baton_chain::record::{Kind, Record};
use baton_core::legacy::seal_legacy;
use baton_core::seal::SealPolicy;
use baton_devnet::{Devnet, Text};
use baton_enclave::sim::{Launch, Machine};

use crate::net::{Net, baton, private, seat, text};
use crate::story::network;

/// A policy over a file of the network's old enclave.
fn over_legacy(net: &Net, phase: &str) -> std::path::PathBuf {
    net.build_as("v1", 1, None, |policy| policy.replace("origin = \"genesis\"", "origin = \"legacy\"").replace("phase = \"mrenclave\"", &format!("phase = \"{phase}\"")))
}

/// What an enclave of a build on a machine would have sealed under its signer.
fn old_file(net: &Net, build: &std::path::Path, machine: &str, name: &str) -> String {
    let build = BuildFile::read(build).unwrap();
    let machine = Machine::new(&dev_pki(1).unwrap(), machine, &PlatformSpec::default()).unwrap();
    let (mut platform, _) = machine.launch(&build.image, &Launch::default()).unwrap();
    let sealed = seal_legacy(&mut platform, SealPolicy::Mrsigner, &[0x42; 32], b"").unwrap();
    let path = net.dir.path().join(name);
    std::fs::write(&path, sealed).unwrap();
    text(&path).into()
}

#[test]
fn a27_an_import_takes_the_old_enclaves_file_once_and_says_that_its_epoch_is_exposed() {
    let mut net = Net::new(1);
    let v1 = over_legacy(&net, "shadow");
    net.install(0, &v1);
    let good = old_file(&net, &v1, "node0", "seed.sealed");
    // Without the daemon: what is no such file, one of another machine, one that was changed.
    let refused = net.run(0, &["import", text(&net.dir.path().join("nowhere"))]);
    assert_ne!(refused.code, 0, "{}", refused.out);
    let cut = net.dir.path().join("cut");
    let mut bytes = std::fs::read(&good).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() - 5]).unwrap();
    assert!(net.run(0, &["import", text(&cut)]).refused().contains("cut off"));
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&cut, &bytes).unwrap();
    assert!(net.run(0, &["import", text(&cut)]).refused().contains("does not open"));
    let elsewhere = old_file(&net, &v1, "another machine", "other.sealed");
    assert!(net.run(0, &["import", &elsewhere]).refused().contains("another machine"));
    net.start(0);
    assert_eq!(seat(&net.until(0, "runs", |s| seat(s, "v1")["state"].is_string()), "v1")["state"], "empty", "nothing was lost, nothing came");
    let got = net.json(0, &["import", &good]);
    assert_eq!((&got["state"], &got["exposed"]), (&"holding".into(), &serde_json::json!([0])), "{got:#}");
    assert!(net.run(0, &["import", &good]).refused().contains("holds nothing"), "once");
    let status = net.until(0, "is exposed", |s| s["exposed"] == true);
    assert_eq!(seat(&status, "v1")["commitments"][0], got["commitment"]);
    net.json(0, &["vault", "put", "treasure", "gold"]);
    assert_eq!(net.json(0, &["vault", "get", "treasure"])["value"], "gold");
    assert!(net.run(0, &["status"]).ok().out.contains("sealed under MRSIGNER"));
}

#[test]
fn pruned_heights_are_named_and_the_start_goes_on_once_an_endpoint_has_them() {
    let mut net = Net::new(1);
    let v1 = net.build("v1", 1, None);
    net.wait_height(60);
    net.rpc.prune_below(55);
    net.install(0, &v1);
    net.start(0);
    let status = net.until(0, "names it", |s| s["failing"].to_string().contains("lowest height is 55"));
    assert!(status["failing"].to_string().contains("the checkpoint of build v1"), "{status:#}");
    net.rpc.prune_below(0);
    net.until(0, "trusts its checkpoint", |s| seat(s, "v1")["head"].as_u64().is_some_and(|h| h > 0) && s["failing"].as_array().is_some_and(Vec::is_empty));
    assert_eq!(net.json(0, &["genesis"])["state"], "holding");
}

#[test]
fn an_endpoint_that_never_answers_is_told_within_its_time_limit() {
    let net = Net::new(1);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let file = net.nodes[0].home.join("baton.toml");
    let good = std::fs::read_to_string(&file).unwrap();
    let slow = good.replace("timeout_ms = 5000", "timeout_ms = 300").replace(&net.rpc.url(), &url);
    assert!(slow.contains(&url) && slow.contains("timeout_ms = 300"), "{slow}");
    std::fs::write(&file, &slow).unwrap();
    let status = net.json(0, &["status"]);
    assert!(status["chain"]["error"].as_str().unwrap().contains("no answer in time"), "{status:#}");
    let refused = net.run(0, &["proposal", "check", "1"]).refused();
    assert!(refused.contains(&url) && refused.contains("no answer in time"), "{refused}");
    // A second one that answers is enough.
    std::fs::write(&file, slow.replace(&format!("\"{url}\""), &format!("\"{url}\", \"{}\"", net.rpc.url()))).unwrap();
    let status = net.json(0, &["status"]);
    assert!(status["chain"]["height"].as_u64().unwrap() > 0 && status["chain"]["error"].is_null(), "{status:#}");
}

#[test]
fn a24_proposals_that_no_enclave_reads_are_told_apart_while_people_vote() {
    let (net, commitment) = network(1);
    let v2 = net.build("v2", 2, Some(&commitment));
    let m = "ab".repeat(32);
    let propose = |infos: &[&str]| {
        let mut chain = net.rpc.chain();
        let height = chain.height() + 5000;
        let all = infos.iter().map(|info| Devnet::upgrade_message("enclave-v2", height, info)).collect();
        let id = chain.propose(all, &Text::titled("p"), false).unwrap().unwrap();
        // The state of a block is proven by the header after it.
        chain.produce_block().unwrap();
        id.to_string()
    };
    let check = |id: &str, build: bool| {
        let mut args = vec!["proposal", "check", id];
        if build {
            args.extend(["--build", text(&v2)]);
        }
        net.run(0, &args)
    };
    let words = propose(&["release notes: faster"]);
    assert!(check(&words, false).ok().out.contains("names no enclave"));
    assert!(check(&words, true).refused().contains("names no enclave"), "with a build in hand that is a refusal");
    let nothing = propose(&[r#"{"binaries":{}}"#]);
    assert!(check(&nothing, true).refused().contains("names no enclave"));
    for info in [
        format!(r#"{{"enclave":{{"mrenclave":"{m}"}},"enclave":{{"mrenclave":"{m}"}}}}"#),
        format!(r#"{{"Enclave":{{"mrenclave":"{m}"}}}}"#),
        format!(r#"{{"enclave":{{"mrenclave":"{m}"}},"note":"MREnclaveHash:{m}"}}"#),
        "https://example.org/info.json".to_string(),
    ] {
        let refused = check(&propose(&[&info]), false);
        assert_eq!(refused.code, 1, "{info}: {}{}", refused.out, refused.err);
        assert!(refused.out.contains("the enclave refuses its info"), "{info}: {}", refused.out);
    }
    let good = format!(r#"{{"enclave":{{"mrenclave":"{m}"}}}}"#);
    let two = check(&propose(&[&good, &good]), false).refused();
    assert!(two.contains("2 upgrade messages"), "{two}");
    let other = check(&propose(&[&good]), true).refused();
    assert!(other.contains("names another build"), "{other}");
    assert!(check("99", false).refused().contains("there is no proposal 99"));
}

#[test]
fn a23_of_two_plans_in_a_row_the_later_one_counts_and_the_first_build_gets_nothing() {
    let (net, commitment) = network(1);
    let (v2, v3) = (net.build("v2", 2, Some(&commitment)), net.build("v3", 3, Some(&commitment)));
    net.install(0, &v2);
    net.install(0, &v3);
    net.vote("enclave-v2", 400, &v2);
    net.until(0, "sees the first", |s| s["plan"]["name"] == "enclave-v2");
    net.vote("enclave-v3", 40, &v3);
    let status = net.until(0, "handed over", |s| seat(s, "v1")["state"] == "confirmed");
    assert_eq!((&status["plan"]["name"], &seat(&status, "v1")["successor"]), (&"enclave-v3".into(), &seat(&status, "v3")["measurement"]), "{status:#}");
    assert_eq!(seat(&status, "v2")["state"], "empty");
    net.run(0, &["guard", "--plan", "enclave-v3", "--", "true"]).ok();
    let refused = net.run(0, &["guard", "--plan", "enclave-v2", "--", "true"]).refused();
    assert!(refused.contains("not confirmed"), "{refused}");
}

#[test]
fn a_keyring_without_funds_publishes_nothing_and_says_whose_account_it_is() {
    let net = Net::new(1);
    let home = net.dir.path().join("poor");
    let key = net.dir.path().join("poor.key");
    std::fs::write(&key, "11".repeat(32)).unwrap();
    private(&key);
    baton(&["init", "--home", text(&home), "--chain-id", "baton-devnet-1", "--rpc", &net.rpc.url(), "--listen", "127.0.0.1:0", "--keyfile", text(&key)]).ok();
    let z = Digest32([7; 32]);
    let memo = Record { kind: Kind::Join, epoch: 0, proposal_id: 0, platform: PlatformId([7; 32]), target: z, request: z }.encode();
    let refused = baton(&["record", "send", "--home", text(&home), &memo, "--wait", "2"]).refused();
    assert!(refused.contains("cosmos1"), "{refused}");
    assert_eq!(baton(&["policy", "new", "--rpc", &net.rpc.url(), "--chain-id", "other-1", "--dev-pki-seed", "1", "--out", text(&net.dir.path().join("p"))]).code, 2);
}

#[test]
fn every_metric_that_an_alert_names_is_one_that_the_node_has() {
    let (alerts, node) = (include_str!("../../../../deploy/alerts.yml"), include_str!("../../src/node/metrics.rs"));
    let mut seen = 0;
    for line in alerts.lines().filter(|l| l.trim_start().starts_with("expr:")) {
        for name in line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).filter_map(|w| w.strip_prefix("baton_")) {
            // A counter's name on the page ends so.
            let name = name.trim_end_matches("_total");
            assert!(node.contains(&format!("r, \"{name}\"")) || node.contains(&format!("register(\"{name}\"")), "{name} is in an alert, and no metric");
            seen += 1;
        }
    }
    assert!(seen > 15, "{seen}");
}
