//! Emergency orders that a daemon carries: by the council and by validators, on a chain that lives and on one that stands
//! still, and a rewind after which it follows the chain's other branch.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use baton_core::order::adr036::sign_doc;
use baton_core::order::signed::SignedOrder;
use baton_devnet::Account;
use serde_json::Value;
use std::cell::RefCell;

use crate::net::{Net, baton, seat, text};
use crate::story::network_with;

const CHAIN: &str = "baton-devnet-1";

/// Two council members, a witness, and the log of orders.
struct People {
    dir: tempfile::TempDir,
    witness: Child,
    url: String,
    sections: String,
}

impl Drop for People {
    fn drop(&mut self) {
        let _ = self.witness.kill();
        let _ = self.witness.wait();
    }
}

impl People {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
        let key = |name: &str| baton(&["order", "key", "--out", &at(name), "--json"]).ok().json()["key"].to_string();
        let (ada, bob) = (key("ada.key"), key("bob.key"));
        let vkey = baton(&["witness", "key", "--name", "w.example", "--out", &at("w.key"), "--json"]).ok().json()["vkey"].to_string();
        let log = baton(&["order", "log", &at("orders.log"), "--new", CHAIN, "--json"]).ok().json();
        let mut witness = Command::new(env!("CARGO_BIN_EXE_baton"))
            .args(["witness", "run", "--name", "w.example", "--key", "w.key", "--state", "w.redb", "--listen", "127.0.0.1:0", "--log"])
            .arg(format!("{}={}", log["log"].as_str().unwrap(), log["key"].as_str().unwrap()))
            .current_dir(dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(witness.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.split(" on ").nth(1).unwrap().trim().trim_end_matches("/add-checkpoint").to_string();
        let sections = format!(
            "\n[council]\nmembers = [{{ name = \"ada\", key = {ada} }}, {{ name = \"bob\", key = {bob} }}]\nneeded = 2\nnotice_blocks = 10\n\
             \n[witnesses]\nkeys = [{vkey}]\nneeded = 1\nnotice_secs = 2\ndated_exports = false\n"
        );
        People { dir, witness, url, sections }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// An order of some kind to the build of a seat.
    fn order(&self, name: &str, from: &Value, sequence: u64, action: &[&str]) -> String {
        let out = text(&self.at(name)).to_string();
        let sequence = sequence.to_string();
        let mut args = vec!["order", "new"];
        args.extend(action);
        args.extend([
            "--chain-id", CHAIN, "--from", from["identity"].as_str().unwrap(), "--sequence", &sequence, "--expiry-height", "9000",
            "--expires", "2090-01-01T00:00:00Z", "--reason", "v2 dies at its first block", "--out", &out,
        ]);
        baton(&args).ok();
        out
    }

    fn sign(&self, order: &str) {
        for key in ["ada.key", "bob.key"] {
            baton(&["order", "sign", order, "--key", text(&self.at(key))]).ok();
        }
    }

    fn log_args(&self) -> [String; 4] {
        ["--log".into(), text(&self.at("orders.log")).into(), "--witness".into(), self.url.clone()]
    }
}

/// A network whose first build knows these people, with a third build beside it.
fn network(n: usize) -> (Net, People, PathBuf) {
    let people = RefCell::new(None);
    let (net, commitment) = network_with(n, |_| {
        let p = People::new();
        let sections = p.sections.clone();
        *people.borrow_mut() = Some(p);
        sections
    });
    let people = people.into_inner().unwrap();
    let v3 = net.build_with("v3", 3, Some(&commitment), &people.sections);
    (net, people, v3)
}

/// The order to hand over to v3, which is in the folder of node 0.
fn to_v3(net: &Net, people: &People, name: &str) -> String {
    let status = net.until(0, "runs v3", |s| seat(s, "v3")["identity"].is_string());
    let (v1, v3) = (seat(&status, "v1"), seat(&status, "v3"));
    let (m, s) = (v3["measurement"].as_str().unwrap(), v3["signer"].as_str().unwrap());
    people.order(name, v1, 1, &["handover", "--measurement", m, "--signer", s, "--svn", "3"])
}

fn serves_by_order(net: &Net, i: usize) {
    let status = net.until(i, "serves by order", |s| seat(s, "v3")["serving"] == true);
    assert_eq!(seat(&status, "v1")["state"], "confirmed", "{status:#}");
    assert_eq!(seat(&status, "v1")["serving"], true, "serving is never taken away");
    let got = net.json(i, &["vault", "get", "treasure"]);
    assert_eq!(got["value"], "under the third oak");
    assert_eq!(got["build"], seat(&status, "v3")["measurement"], "the build that was ordered is the one in use");
}

#[test]
fn h22_a_daemon_carries_a_councils_order_on_a_living_chain_and_says_so_for_ever() {
    let (mut net, people, v3) = network(1);
    net.install(0, &v3);
    let order = to_v3(&net, &people, "fix.order");
    // Nobody has signed it: it is published, its notice passes, and the enclave refuses.
    let unsigned = net.run(0, &["order", "carry", &order, "--publish", "--wait", "20"]).refused();
    assert!(unsigned.contains("0 of 2 council members"), "{unsigned}");
    people.sign(&order);
    let carried = net.run(0, &["order", "carry", &order, "--wait", "90"]).ok();
    assert!(carried.out.contains("serves by it") && carried.out.contains("for ever"), "{}", carried.out);
    serves_by_order(&net, 0);
    net.run(0, &["guard", "--build", text(&v3), "--", "true"]).ok();
    net.kill(0);
    net.start(0);
    let status = net.until(0, "names it", |s| s["emergencies"][0]["kind"] == "handover");
    assert_eq!((status["emergencies"].as_array().unwrap().len(), &status["emergencies"][0]["number"]), (1, &1.into()), "{status:#}");
    let status = net.until(0, "knows that it was obeyed", |s| s["orders"][0]["state"] == "obeyed");
    assert_eq!(seat(&status, "v3")["by_order"]["serves_by"], status["emergencies"][0]["digest"]);
    let metrics = net.page(0, "/metrics").unwrap().1;
    for line in ["baton_emergencies{kind=\"handover\"} 1", "baton_emergencies{kind=\"rewind\"} 0", "baton_orders_pending 0"] {
        assert!(metrics.contains(line), "no {line:?} in\n{metrics}");
    }
    assert!(net.run(0, &["status"]).ok().out.contains("emergency"));
    // A freeze waits for no notice.
    let freeze = people.order("freeze.order", seat(&status, "v3"), 2, &["freeze", "--measurement", &"77".repeat(32), "--proposals-through", "9"]);
    people.sign(&freeze);
    net.run(0, &["order", "carry", &freeze, "--publish", "--wait", "60"]).ok();
    let status = net.until(0, "froze it", |s| s["emergencies"].as_array().is_some_and(|e| e.len() == 2));
    assert_eq!(seat(&status, "v3")["by_order"]["frozen"][0]["measurement"], "77".repeat(32));
}

#[test]
fn h21_validators_order_a_hotfix_on_a_chain_that_stands_still_and_witnesses_date_it() {
    let (mut net, people, v3) = network(1);
    let v2 = net.build("v2", 2, None);
    let height = net.vote("enclave-v2", 5, &v2);
    net.wait_height(height);
    net.until(0, "sees the halt", |s| s["chain"]["halted_at"] == height);
    net.install(0, &v3);
    let order = to_v3(&net, &people, "fix.order");
    let signed = || SignedOrder::from_bytes(&std::fs::read(&order).unwrap()).unwrap().order().clone();
    let sign = |index: usize| {
        let (signer, answer) = wallet(&net, index, &signed());
        std::fs::write(people.at("answer.json"), answer).unwrap();
        baton(&["order", "sign", &order, "--signer", &signer, "--wallet", text(&people.at("answer.json"))]).ok();
    };
    // 100, 70, 40 and 25 of 235: two of these are too few, three enough.
    sign(0);
    sign(2);
    let log = people.log_args();
    let mut args = vec!["order", "carry", &order, "--wait", "15"];
    args.extend(log.iter().map(String::as_str));
    let few = net.run(0, &args).refused();
    assert!(few.contains("council members"), "{few}");
    sign(1);
    // The log's keeper is somebody else: the node says what to append, and finds it in the file.
    let mine = ["order", "carry", &order, "--log", &log[1], "--wait", "2"];
    let asks = net.run(0, &[&mine[..], &["--json"]].concat());
    assert_eq!(asks.code, 1, "{}{}", asks.out, asks.err);
    let wanted = asks.json()["append_to_log"].as_str().expect("a text to append").to_string();
    baton(&["order", "log", &log[1], "--add", &wanted, "--witness", &people.url]).ok();
    serves_by_order(&net, 0);
    // A daemon that was killed in between has nothing to take up, and says the same.
    net.kill(0);
    net.start(0);
    net.until(0, "knows that it was obeyed", |s| s["orders"][0]["state"] == "obeyed");
    // The record of the handover follows once the chain goes on.
    net.resume("enclave-v2");
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !net.log(0).contains("the record of a handover at X is in block") {
        assert!(std::time::Instant::now() < end, "{}", net.log(0));
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

#[test]
fn a26_a_rewind_lets_the_enclave_follow_the_branch_that_the_chain_went_on_with() {
    let (net, people, _) = network(1);
    let before = net.until(0, "follows", |s| seat(s, "v1")["head"].as_u64().unwrap() + 12 > s["chain"]["height"].as_u64().unwrap() && s["chain"]["height"].as_u64().unwrap() > 30);
    let head = seat(&before, "v1")["head"].as_u64().unwrap();
    let back = head - 6;
    let hash = {
        let mut chain = net.rpc.chain();
        while chain.height() > back {
            chain.rollback(true).unwrap();
        }
        net.slow_from(0);
        chain.advance_time(std::time::Duration::from_secs(3));
        hex::encode(chain.header_hash(back).unwrap())
    };
    let order = people.order("back.order", seat(&before, "v1"), 1, &["rewind", "--height", &back.to_string(), "--hash", &hash]);
    people.sign(&order);
    let foreign = people.order("never.order", seat(&before, "v1"), 2, &["rewind", "--height", &back.to_string(), "--hash", &"66".repeat(32)]);
    people.sign(&foreign);
    let log = people.log_args();
    let carry = |order: &str, wait: &str| {
        let mut args = vec!["order", "carry", order, "--wait", wait];
        args.extend(log.iter().map(String::as_str));
        net.run(0, &args)
    };
    let refused = carry(&foreign, "10").refused();
    assert!(refused.contains("no ancestor of the trusted head"), "a header that never was cannot be named: {refused}");
    std::fs::remove_file(net.nodes[0].home.join("orders").join(format!("{}.order", &digest(&foreign)[..16]))).unwrap();
    carry(&order, "60").ok();
    let status = net.until(0, "names it", |s| s["emergencies"][0]["kind"] == "rewind");
    assert!(seat(&status, "v1")["head"].as_u64().unwrap() < head, "{status:#}");
    net.slow_from(u64::MAX);
    let status = net.until(0, "follows the other branch", |s| seat(s, "v1")["head"].as_u64().unwrap() > head + 20);
    assert_eq!(status["failing"].as_array().unwrap().len(), 0, "{status:#}");
    let metrics = net.page(0, "/metrics").unwrap().1;
    assert!(metrics.contains("baton_emergencies{kind=\"rewind\"} 1"), "{metrics}");
}

#[test]
fn a06_an_order_of_another_chain_or_to_another_build_is_named_and_nothing_happens() {
    let (net, people, v3) = network(1);
    net.install(0, &v3);
    let status = net.until(0, "runs v3", |s| seat(s, "v3")["identity"].is_string());
    let elsewhere = serde_json::json!({"identity": "33".repeat(32)});
    let order = people.order("other.order", &elsewhere, 1, &["rotate"]);
    let refused = net.run(0, &["order", "carry", &order]).refused();
    assert!(refused.contains("no build here is the one"), "{refused}");
    let bytes = std::fs::read(&order).unwrap();
    std::fs::write(net.nodes[0].home.join("orders/cut.order"), &bytes[..bytes.len() / 2]).unwrap();
    net.until(0, "names the broken file", |s| s["warnings"].to_string().contains("cut.order"));
    let out = text(&people.at("chain.order")).to_string();
    baton(&[
        "order", "new", "rotate", "--chain-id", "other-1", "--from", seat(&status, "v1")["identity"].as_str().unwrap(), "--sequence", "1",
        "--expiry-height", "9000", "--expires", "2090-01-01T00:00:00Z", "--reason", "r", "--out", &out,
    ])
    .ok();
    let refused = net.run(0, &["order", "carry", &out]).refused();
    assert!(refused.contains("other-1") && refused.contains(CHAIN), "{refused}");
    assert_eq!(net.status(0).unwrap()["emergencies"].as_array().unwrap().len(), 0);
}

fn digest(order: &str) -> String {
    SignedOrder::from_bytes(&std::fs::read(order).unwrap()).unwrap().order().digest().to_string()
}

/// What the wallet of a devnet's validator answers to `order sign --signer`: the account, and its JSON.
fn wallet(net: &Net, index: usize, order: &baton_core::order::Order) -> (String, String) {
    use k256::ecdsa::signature::Signer as _;
    let chain = net.rpc.chain();
    let key = k256::ecdsa::SigningKey::from_slice(&chain.account_secret(Account::Validator(index))).unwrap();
    let address = chain.address(Account::Validator(index));
    let signer = bech32::encode::<bech32::Bech32>(bech32::Hrp::parse("cosmos").unwrap(), &address).unwrap();
    let signature: k256::ecdsa::Signature = key.sign(sign_doc(order, &signer).as_bytes());
    let (public, signature) = (key.verifying_key().to_sec1_point(true), signature.normalize_s().to_bytes());
    let b64 = |b: &[u8]| STANDARD.encode(b);
    let json = format!(r#"{{"pub_key":{{"value":"{}"}},"signature":"{}"}}"#, b64(public.as_bytes()), b64(&signature));
    (signer, json)
}
