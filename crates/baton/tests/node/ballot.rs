//! What people vote on, and what they see of it: a policy that every endpoint proves, a proposal held against the build line
//! by line, a status whose text says what its JSON says.

use std::path::{Path, PathBuf};

use baton_devnet::rpc::RpcServer;
use baton_devnet::{Devnet, Text};
use serde_json::{Value, json};

use crate::net::{Net, baton, seat, text};
use crate::story::network;

fn policy_new(net: &Net, urls: &[&str]) -> (crate::net::Ran, PathBuf) {
    let out = net.dir.path().join("written.toml");
    let _ = std::fs::remove_file(&out);
    let mut args = vec!["policy", "new", "--chain-id", "baton-devnet-1", "--dev-pki-seed", "1", "--out", text(&out)];
    args.extend(urls.iter().flat_map(|u| ["--rpc", u]));
    (baton(&args), out)
}

#[test]
fn a20_a_policy_is_written_only_if_every_endpoint_proves_the_same_chain() {
    let net = Net::new(1);
    net.wait_height(10);
    let now = net.height();
    net.slow_from(now);
    let url = net.rpc.url();
    // A second node of the same chain, and one of a fork.
    let fork = net.rpc.chain().fork_at(8).unwrap();
    let second = RpcServer::start(std::sync::Arc::new(std::sync::Mutex::new(fork))).unwrap();
    second.chain().produce_until(8).unwrap();
    let (ran, out) = policy_new(&net, &[&url, &second.url()]);
    ran.ok();
    let written = std::fs::read_to_string(&out).unwrap();
    assert!(written.contains("as 2 endpoint(s) proved it") && written.contains("# the enclave's own bar"), "{written}");
    baton(&["policy", "check", text(&out)]).ok();
    second.chain().advance_time(std::time::Duration::from_secs(7));
    let upto = net.height().max(12);
    net.rpc.chain().produce_until(upto).unwrap();
    second.chain().produce_until(upto).unwrap();
    let (ran, out) = policy_new(&net, &[&url, &second.url()]);
    let refused = ran.refused();
    assert!(refused.contains(&second.url()) && refused.contains("shows another chain than"), "{refused}");
    assert!(!out.exists(), "no policy is written");
    // Parameters that are not those of the header are no parameters.
    net.rpc.play(|method, params, mut answer| {
        if method == "abci_query" && params["path"] == "/store/staking/key" {
            answer["result"]["response"]["value"] = "CgQIgKMF".into();
        }
        Some(answer)
    });
    let (ran, out) = policy_new(&net, &[&url]);
    assert!(ran.code != 0 && ran.err.contains("lies or is broken"), "{}{}", ran.out, ran.err);
    assert!(!out.exists());
}

fn measured(build: &Path) -> Value {
    let bytes = std::fs::read(build).unwrap();
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(bytes)).into()
}

fn propose(net: &Net, enclave: Value) -> String {
    let info = json!({"enclave": enclave}).to_string();
    let mut chain = net.rpc.chain();
    let height = chain.height() + 5000;
    let id = chain.propose(vec![Devnet::upgrade_message("p", height, &info)], &Text::titled("p"), false).unwrap().unwrap();
    chain.produce_block().unwrap();
    id.to_string()
}

#[test]
fn each_mismatch_of_a_proposal_and_a_build_is_a_line_that_refuses() {
    let (net, commitment) = network(1);
    let good = net.build("v2", 2, Some(&commitment));
    let check = |build: &Path, more: Value| {
        let mut enclave = json!({"mrenclave": measured(build)});
        enclave.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let id = propose(&net, enclave);
        let ran = net.run(0, &["proposal", "check", &id, "--build", text(build), "--json"]);
        let told = ran.json();
        let refused: Vec<String> = told["checks"].as_array().unwrap_or_else(|| panic!("{told:#}")).iter().filter(|c| c["ok"] == false).map(|c| c["check"].as_str().unwrap().to_string()).collect();
        assert_eq!(ran.code == 0, refused.is_empty(), "{told:#}");
        (refused, told.to_string())
    };
    let fine = check(&good, json!({"product_id": 1, "svn": 2}));
    assert!(fine.0.is_empty() && fine.1.contains("1 epoch(s) of the keyring in use") && fine.1.contains("the same attestation roots as v1"), "{fine:?}");
    assert_eq!(check(&good, json!({"product_id": 9})).0, ["product id"]);
    assert_eq!(check(&good, json!({"svn": 3})).0, ["svn"]);
    assert_eq!(check(&good, json!({"signer": "ab".repeat(32)})).0, ["signer"]);
    let other = net.build("other", 2, Some(&"0f".repeat(32)));
    assert_eq!(check(&other, json!({})).0, ["commitments"]);
    let genesis = net.build("again", 2, None);
    assert_eq!(check(&genesis, json!({})).0, ["commitments"]);
    let elsewhere = net.build_as("elsewhere", 2, Some(&commitment), |p| p.replace("chain_id = \"baton-devnet-1\"", "chain_id = \"other-1\""));
    assert_eq!(check(&elsewhere, json!({})).0, ["chain id"]);
    let roots = net.build_as("roots", 2, Some(&commitment), |p| {
        let line = p.lines().find(|l| l.starts_with("roots = ")).unwrap().to_string();
        p.replace(&line, "roots = [\"intel\"]")
    });
    let shown = check(&roots, json!({}));
    assert!(shown.0.is_empty() && shown.1.contains("CHANGED attestation roots against v1"), "{shown:?}");
}

#[test]
fn status_says_in_words_what_it_says_in_json() {
    let (net, commitment) = network(2);
    let v2 = net.build_as("v2", 2, Some(&commitment), |p| p);
    (0..2).for_each(|i| net.install(i, &v2));
    let height = net.vote("enclave-v2", 40, &v2);
    for i in 0..2 {
        net.until(i, "confirmed", |s| seat(s, "v1")["state"] == "confirmed");
    }
    net.wait_height(height);
    for i in 0..2 {
        net.until(i, "activated", |s| seat(s, "v2")["serving"] == true);
    }
    net.resume("enclave-v2");
    let status = net.until(0, "has both receipts", |s| s["barrier"]["platforms"] == 2 && s["peers"][0]["receipts"] == 1 && s["chain"]["endpoints"][0]["height"].is_u64());
    let told = net.run(0, &["status"]).ok().out;
    let row = |label: &str| told.lines().find(|l| l.starts_with(label)).unwrap_or_else(|| panic!("no {label} in\n{told}")).to_string();
    let (url, peer) = (net.rpc.url(), format!("http://127.0.0.1:{}", net.nodes[1].port));
    assert_eq!(status["chain"]["endpoints"][0]["url"], url.as_str());
    assert!(row("endpoint").contains(&format!("{url} at ")), "{told}");
    assert!(status["peers"][0]["seats"].as_array().unwrap().iter().any(|s| s["rehearsed_as_source"] == true), "{status:#}");
    for words in [peer.as_str(), "v2 holding, ready", "1 receipt(s)"] {
        assert!(row("peer").contains(words), "no {words:?} in {}", row("peer"));
    }
    assert!(row("barrier").contains("2 of 3 machines"), "{told}");
    assert!(status["barrier"]["power"].is_null(), "this policy asks for no power: {status:#}");
    assert_eq!(status["platform"].as_str().unwrap().len(), 64);
}
