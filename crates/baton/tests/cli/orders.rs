//! An emergency from the first signature to the publication, and a witness over HTTP.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use baton_core::witness::{Cosigned, WitnessKey, orders_origin};
use baton_host::orders::OrderLog;

use crate::support::*;

const EXAMPLE: &str = "../../../../docs/policy.example.toml";

struct Story {
    dir: tempfile::TempDir,
}

impl Story {
    /// Three council members, two needed, and an order that nobody has signed.
    fn new() -> Self {
        let story = Story { dir: tempfile::tempdir().unwrap() };
        let mut members = String::new();
        for name in ["ada", "bob", "cyd"] {
            let key = baton(&["order", "key", "--out", &story.file(&format!("{name}.key")), "--json"]).expect(0).json();
            members += &format!("  {{ name = \"{name}\", key = {} }},\n", key["key"]);
        }
        let text = fs::read_to_string(fixtures().join(EXAMPLE)).unwrap();
        let council = format!("\n[council]\nmembers = [\n{members}]\nneeded = 2\nnotice_blocks = 100\n");
        fs::write(story.file("policy.toml"), text + &council).unwrap();
        story.new_order("fix.order", "example-1", 0);
        story
    }

    fn new_order(&self, name: &str, chain: &str, code: i32) -> Ran {
        let (m, s, from) = ("11".repeat(32), "22".repeat(32), "33".repeat(32));
        let out = self.file(name);
        let args = [
            "order", "new", "handover", "--measurement", &m, "--signer", &s, "--svn", "3", "--chain-id", chain, "--from", &from,
            "--sequence", "1", "--expiry-height", "9000", "--expires", "2030-01-01T00:00:00Z", "--reason", "v2 dies", "--out", &out,
        ];
        baton(&args).expect(code)
    }

    fn file(&self, name: &str) -> String {
        path(&self.dir.path().join(name)).into()
    }

    fn sign(&self, order: &str, by: &str) {
        baton(&["order", "sign", &self.file(order), "--key", &self.file(&format!("{by}.key"))]).expect(0);
    }

    fn verify(&self, order: &str, code: i32) -> Ran {
        baton(&["order", "verify", &self.file(order), "--policy", &self.file("policy.toml")]).expect(code)
    }
}

#[test]
fn an_order_goes_from_its_first_signature_to_its_publication() {
    let s = Story::new();
    let nobody = s.verify("fix.order", 1);
    assert_eq!((nobody.row("signed by"), nobody.row("not signed")), ("nobody of the council", "ada, bob, cyd"));
    s.sign("fix.order", "ada");
    s.sign("fix.order", "ada");
    let one = s.verify("fix.order", 1);
    assert_eq!(one.row("skipped"), "ada: signed twice, counts once");
    assert!(one.out.contains("refused: 1 of 2 signatures needed"), "{}", one.out);
    s.sign("fix.order", "cyd");
    let two = s.verify("fix.order", 0);
    assert_eq!((two.row("signed by"), two.row("not signed"), two.row("notice")), ("ada, cyd", "bob", "100 blocks on chain"));
    let shown = baton(&["order", "show", &s.file("fix.order"), "--json"]).expect(0).json();
    let published = baton(&["order", "publish", &s.file("fix.order"), "--json"]).expect(0).json();
    assert!(published["memo"].as_str().unwrap().starts_with("baton-order1:"));
    assert_eq!(published["log"], "baton/example-1/orders");
    assert_eq!((&shown["kind"], &shown["council_signatures"]), (&"handover".into(), &3.into()));
}

#[test]
fn copies_that_were_signed_apart_are_put_together() {
    let s = Story::new();
    fs::copy(s.file("fix.order"), s.file("bob.order")).unwrap();
    s.sign("fix.order", "ada");
    s.sign("bob.order", "bob");
    let (a, b, p) = (s.file("fix.order"), s.file("bob.order"), s.file("policy.toml"));
    baton(&["order", "verify", &a, "--and", &b, "--policy", &p]).expect(0);
    s.new_order("other.order", "other-1", 0);
    s.sign("other.order", "bob");
    let refused = baton(&["order", "verify", &a, "--and", &s.file("other.order"), "--policy", &p]).expect(1);
    assert!(refused.err.contains("signatures over two orders"), "{}", refused.err);
    s.sign("other.order", "ada");
    let other = s.verify("other.order", 1);
    assert!(other.out.contains("the policy is for chain \"example-1\""), "{}", other.out);
}

#[test]
fn broken_orders_and_keys_are_bad_input_and_nothing_is_overwritten() {
    let s = Story::new();
    let good = fs::read(s.file("fix.order")).unwrap();
    assert!(s.new_order("fix.order", "example-1", 2).err.contains("fix.order"));
    assert_eq!(fs::read(s.file("fix.order")).unwrap(), good, "an order is never written over another");
    baton(&["order", "key", "--out", &s.file("ada.key")]).expect(2);
    fs::write(s.file("cut.order"), &good[..good.len() - 1]).unwrap();
    baton(&["order", "show", &s.file("cut.order")]).expect(2);
    fs::write(s.file("bad.key"), "not a key").unwrap();
    baton(&["order", "sign", &s.file("fix.order"), "--key", &s.file("bad.key")]).expect(2);
    baton(&["order", "sign", &s.file("fix.order")]).expect(2);
    assert_eq!(fs::read(s.file("fix.order")).unwrap(), good);
    baton(&["order", "verify", &s.file("fix.order"), "--policy", EXAMPLE]).expect(1);
    fs::write(s.file("answer.json"), r#"{"pub_key":{"value":"AAAA"},"signature":"AAAA"}"#).unwrap();
    let (order, answer) = (s.file("fix.order"), s.file("answer.json"));
    baton(&["order", "sign", &order, "--signer", "cosmos1x", "--wallet", &answer]).expect(1);
    let doc = baton(&["order", "sign", &order, "--signer", "cosmos1x"]).expect(0);
    assert!(doc.out.contains("sign/MsgSignData"), "{}", doc.out);
    baton(&["order", "new", "rewind", "--chain-id", "a", "--from", &"00".repeat(32)]).expect(2);
}

/// A witness that is stopped with the test.
struct Running(Child, String);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(dir: &Path, log: &OrderLog) -> Running {
    let mut child = Command::new(env!("CARGO_BIN_EXE_baton"))
        .args(["witness", "run", "--name", "w.example", "--key", "w.key", "--state", "w.redb", "--listen", "127.0.0.1:0", "--log"])
        .arg(format!("{}={}", log.origin(), hex::encode(log.public_key())))
        .current_dir(dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let at = line.split("http://").nth(1).unwrap().split('/').next().unwrap().to_string();
    Running(child, at)
}

/// Status and body.
fn post(at: &str, body: &str) -> (u16, String) {
    let mut tcp = TcpStream::connect(at).unwrap();
    write!(tcp, "POST /add-checkpoint HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.into())
}

#[test]
fn a_witness_cosigns_over_http_and_remembers_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("w.key");
    let vkey = baton(&["witness", "key", "--name", "w.example", "--out", path(&key), "--json"]).expect(0).json();
    let vkey: WitnessKey = vkey["vkey"].as_str().unwrap().parse().unwrap();
    let mut log = OrderLog::new("test-1", &[9; 32]);
    log.append("baton-order1:x");
    let witness = run(dir.path(), &log);
    let (status, line) = post(&witness.1, &log.request(0).unwrap());
    assert_eq!(status, 200, "{line}");
    let note = log.checkpoint() + &line;
    assert_eq!(Cosigned::verify(&note, &orders_origin("test-1"), &[vkey], 1).unwrap().checkpoint().size, 1);
    drop(witness);
    let witness = run(dir.path(), &log);
    log.append("more");
    assert_eq!(post(&witness.1, &log.request(0).unwrap()), (409, "1\n".into()));
    assert_eq!(post(&witness.1, &log.request(1).unwrap()).0, 200);
    let mut other = OrderLog::new("test-1", &[9; 32]);
    other.append("another history");
    other.append("more");
    assert_eq!(post(&witness.1, &other.request(2).unwrap()).0, 409);
    assert_eq!(post(&witness.1, "old x\n\n").0, 400);
    let stranger = OrderLog::new("test-2", &[9; 32]);
    assert_eq!(post(&witness.1, &stranger.request(0).unwrap()).0, 404);
    let mut tcp = TcpStream::connect(&witness.1).unwrap();
    write!(tcp, "GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(" 404 "), "{answer}");
}
