//! Snapshots and frozen nodes: what comes back, what cannot, and what is refused.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use baton::world::build::LEAD_BLOCKS;
use baton::world::ops::PLAN_NAME;
use baton::world::{Named, World};
use baton_core::custody::State;
use baton_host::chain::ChainSource;
use prost::Message;
use tendermint_proto::types::SignedHeader;

use crate::support::*;

/// A network of three nodes that hold the seed in v1, and a value in node0's vault.
fn network(dir: &Path) -> World {
    let mut w = World::create(dir, 7, 3).unwrap();
    w.produce_until(3).unwrap();
    w.genesis(0).unwrap();
    (1..3).for_each(|i| w.join(0, i, Named::V1).unwrap());
    w.nodes[0].vault_put("v1", "k", b"kept").unwrap();
    w.save_chain().unwrap();
    w
}

fn snapshot(demo: &Path, node: &str, out: &Path, more: &[&str]) -> Ran {
    let args = ["snapshot", "create", path(demo), "--node", node, "--out", path(out)];
    baton(&[&args[..], more].concat())
}

fn restore(file: &Path, demo: &Path, node: &str, more: &[&str]) -> Ran {
    let args = ["snapshot", "restore", path(file), path(demo), "--node", node];
    baton(&[&args[..], more].concat())
}

/// A bundle's files, with one of them changed by `edit` (None takes it out).
fn rewrite(from: &Path, to: &Path, name: &str, edit: impl Fn(Vec<u8>) -> Option<Vec<u8>>) {
    let mut out = tar::Builder::new(fs::File::create(to).unwrap());
    let mut archive = tar::Archive::new(fs::File::open(from).unwrap());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let bytes = if path.to_str().unwrap().starts_with(name) { edit(bytes) } else { Some(bytes) };
        if let Some(bytes) = bytes {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o600);
            header.set_cksum();
            out.append_data(&mut header, path, bytes.as_slice()).unwrap();
        }
    }
    out.finish().unwrap();
}

#[test]
fn a_snapshot_before_and_after_the_barrier_comes_back_and_says_what_it_costs() {
    let dir = tempfile::tempdir().unwrap();
    let demo = dir.path().join("net");
    let mut w = network(&demo);
    let (before, after) = (dir.path().join("before.snapshot"), dir.path().join("confirmed.snapshot"));
    let ran = snapshot(&demo, "node0", &before, &[]).expect(0);
    assert_eq!(ran.row("custody"), "Holding");
    restore(&before, &demo, "node0", &[]).expect(0);

    w.produce_until(6).unwrap();
    let v2 = w.build(Named::V2).unwrap();
    (0..3).for_each(|i| w.rehearse(i, Named::V1, Named::V2).unwrap());
    let plan = w.chain.height() + 40 + LEAD_BLOCKS;
    let info = format!(r#"{{"enclave":{{"mrenclave":"{}","svn":2}}}}"#, v2.measurement);
    let proposal = w.vote(PLAN_NAME, plan, &info).unwrap();
    w.produce_until(plan - LEAD_BLOCKS).unwrap();
    (0..3).for_each(|i| w.upgrade_ahead(i, Named::V1, Named::V2, proposal).unwrap());
    w.save_chain().unwrap();
    snapshot(&demo, "node0", &after, &[]).expect(0);

    // Before the barrier: the handover is forgotten here, and is the same command again.
    let ran = restore(&before, &demo, "node0", &[]).expect(1);
    assert!(ran.err.contains("Confirmed back to Holding") && ran.err.contains("--yes"), "{}", ran.err);
    let ran = restore(&before, &demo, "node0", &["--yes"]).expect(0);
    assert!(ran.row("before").contains("before-restore-"), "{}", ran.out);
    let seat = demo.join("nodes/node0/v1");
    assert!(std::fs::read_dir(&seat).unwrap().any(|e| e.unwrap().file_name().to_string_lossy().starts_with("before-restore-")));
    let shown = baton(&["log", "verify", seat.to_str().unwrap()]).expect(0);
    assert!(shown.out.contains("1 log, "), "what was set aside is no second log: {}", shown.out);
    let mut w = World::open(&demo, 0, 0, baton::world::Platform::Sim).unwrap();
    assert_eq!(w.status(0, Named::V1).unwrap().state, State::Holding);
    w.seat(0, Named::V1).unwrap();
    assert_eq!(w.nodes[0].vault_get("v1", "k").unwrap(), b"kept");
    w.upgrade_ahead(0, Named::V1, Named::V2, proposal).unwrap();
    w.produce_until(plan).unwrap();
    (0..3).for_each(|i| w.activate(i, Named::V2, proposal, plan).unwrap());
    w.chain.resume_with_handler(PLAN_NAME).unwrap();
    w.produce_until(plan + 8).unwrap();
    (0..3).for_each(|i| w.observe(i, Named::V2, PLAN_NAME, plan).unwrap());
    let receipts = w.receipts(0, Named::V1, Named::V2, &[0, 1, 2]).unwrap();
    w.erase(0, Named::V1, receipts).unwrap();
    w.save_chain().unwrap();

    // After it: the tool says so before it starts; the copy serves what it served, and erases again.
    let ran = restore(&after, &demo, "node0", &[]).expect(1);
    assert!(ran.err.contains("Retired") && ran.err.contains("barrier was met"), "{}", ran.err);
    assert_eq!(World::open(&demo, 0, 0, baton::world::Platform::Sim).unwrap().status(0, Named::V1).unwrap().state, State::Retired);
    restore(&after, &demo, "node0", &["--yes"]).expect(0);
    let mut w = World::open(&demo, 0, 0, baton::world::Platform::Sim).unwrap();
    assert_eq!(w.status(0, Named::V1).unwrap().state, State::Confirmed);
    let receipts = w.receipts(0, Named::V1, Named::V2, &[0, 1, 2]).unwrap();
    w.erase(0, Named::V1, receipts).unwrap();
    assert_eq!(w.status(0, Named::V1).unwrap().state, State::Retired);
}

#[test]
fn a_snapshot_that_is_not_whole_or_not_from_here_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let demo = dir.path().join("net");
    drop(network(&demo));
    let good = dir.path().join("good.snapshot");
    snapshot(&demo, "node0", &good, &[]).expect(0);
    baton(&["snapshot", "verify", path(&good), "--at", path(&demo), "--node", "node0"]).expect(0);
    let bad = dir.path().join("bad.snapshot");
    let refused = |code: i32, text: &str| {
        let ran = baton(&["snapshot", "verify", path(&bad)]).expect(code);
        assert!(ran.err.contains(text), "{}", ran.err);
        restore(&bad, &demo, "node0", &["--yes"]).expect(code);
    };
    rewrite(&good, &bad, "sealed/custody", |mut b| {
        b[100] ^= 1;
        Some(b)
    });
    refused(1, "is not the file that was put in");
    rewrite(&good, &bad, "log/entries", |_| None);
    refused(1, "log/entries.txt");
    rewrite(&good, &bad, "manifest.json", |b| Some(String::from_utf8(b).unwrap().replace("\"version\": 1", "\"version\": 9").into_bytes()));
    refused(2, "version");
    rewrite(&good, &bad, "manifest.json", |_| None);
    refused(2, "manifest.json");
    fs::write(&bad, &fs::read(&good).unwrap()[..700]).unwrap();
    refused(2, "is no snapshot");
    fs::write(&bad, b"not a tar file").unwrap();
    refused(2, "is no snapshot");
    // A manifest that was written anew is believed by nobody: the sealed file says what it is.
    rewrite(&good, &bad, "manifest.json", |b| {
        let mut m: serde_json::Value = serde_json::from_slice(&b).unwrap();
        m["height"] = serde_json::json!(9999);
        Some(serde_json::to_vec(&m).unwrap())
    });
    let ran = restore(&bad, &demo, "node0", &["--yes"]).expect(1);
    assert!(ran.err.contains("9999"), "{}", ran.err);
    // Another machine's.
    let ran = restore(&good, &demo, "node1", &["--yes"]).expect(1);
    assert!(ran.err.contains("does not open here") || ran.err.contains("another machine"), "{}", ran.err);
    // Nothing was lost by trying.
    let mut w = World::open(&demo, 0, 0, baton::world::Platform::Sim).unwrap();
    for i in 0..3 {
        assert_eq!(w.status(i, Named::V1).unwrap().state, State::Holding);
    }
    // Another build's: v2 of this machine.
    fs::create_dir_all(demo.join("nodes/node0/v2")).unwrap();
    let ran = restore(&good, &demo, "node0", &["--build", "v2"]).expect(1);
    assert!(ran.err.contains("another build"), "{}", ran.err);
}

#[test]
fn h11_a_restore_that_was_killed_is_finished_by_the_same_command() {
    let dir = tempfile::tempdir().unwrap();
    let demo = dir.path().join("net");
    drop(network(&demo));
    let good = dir.path().join("good.snapshot");
    snapshot(&demo, "node0", &good, &[]).expect(0);
    let seat = demo.join("nodes/node0/v1");
    // Killed after the old files went aside, before the new ones came.
    fs::create_dir(seat.join("before-restore-1")).unwrap();
    fs::rename(seat.join("sealed"), seat.join("before-restore-1/sealed")).unwrap();
    fs::create_dir(seat.join("restore.new")).unwrap();
    restore(&good, &demo, "node0", &[]).expect(0);
    let mut w = World::open(&demo, 0, 0, baton::world::Platform::Sim).unwrap();
    assert_eq!(w.status(0, Named::V1).unwrap().state, State::Holding);
    assert!(seat.join("before-restore-1/sealed").is_dir(), "nothing is deleted");
}

/// The address of a validator that signed a block, and files as CometBFT writes them.
fn signer(w: &World, dir: &Path, height: u64) -> (PathBuf, PathBuf) {
    let block = ChainSource::light_block(&w.chain, w.chain.height()).unwrap();
    let commit = SignedHeader::decode(block.signed_header.as_slice()).unwrap().commit.unwrap();
    let address = commit.signatures.iter().find(|s| !s.validator_address.is_empty()).unwrap();
    let (state, key) = (dir.join("priv_validator_state.json"), dir.join("priv_validator_key.json"));
    fs::write(&state, format!(r#"{{"height": "{height}", "round": 0, "step": 3}}"#)).unwrap();
    fs::write(&key, format!(r#"{{"address": "{}"}}"#, hex::encode_upper(&address.validator_address))).unwrap();
    (state, key)
}

#[test]
fn a_frozen_node_signs_again_only_when_its_key_signed_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let demo = dir.path().join("net");
    let w = network(&demo);
    let head = w.chain.height();
    let (state, key) = signer(&w, dir.path(), head - 1);
    drop(w);
    let at = ["--node", "node0"];
    let begin = [&["sit-out", "begin", path(&demo)][..], &at, &["--reason", "way back", "--validator-state", path(&state)]].concat();
    baton(&begin).expect(0);
    baton(&begin).expect(0);
    let shown = baton(&["sit-out", "show", path(&demo), "--json"]).expect(0).json();
    assert_eq!((&shown["frozen"], &shown["total"]), (&100.into(), &(100 + 85 + 70 + 55).into()), "{shown}");
    let back = [&["sit-out", "return", path(&demo)][..], &at, &["--validator-state", path(&state), "--validator-key", path(&key)]].concat();
    // The last block holds its signature, and the state file does not know.
    let ran = baton(&back).expect(1);
    assert!(ran.err.contains("signed block") && ran.err.contains("elsewhere"), "{}", ran.err);
    // A state file that was put back is worse.
    fs::write(&state, r#"{"height": "1", "round": 0, "step": 3}"#).unwrap();
    let ran = baton(&back).expect(1);
    assert!(ran.err.contains("was put back"), "{}", ran.err);
    fs::write(&state, "{}").unwrap();
    baton(&back).expect(2);
    // The file of the signer that really signed last.
    fs::write(&state, format!(r#"{{"height": "{head}", "round": 0, "step": 3}}"#)).unwrap();
    baton(&back).expect(0);
    let shown = baton(&["sit-out", "show", path(&demo), "--json"]).expect(0).json();
    assert_eq!(shown["frozen"], 0, "{shown}");
}

#[test]
fn a_validator_that_signed_since_the_snapshot_is_not_rolled_back_by_mistake() {
    let dir = tempfile::tempdir().unwrap();
    let demo = dir.path().join("net");
    let w = network(&demo);
    let (state, _) = signer(&w, dir.path(), 4);
    drop(w);
    let good = dir.path().join("good.snapshot");
    snapshot(&demo, "node0", &good, &["--validator-state", path(&state)]).expect(0);
    let with_state = ["--validator-state", path(&state)];
    restore(&good, &demo, "node0", &with_state).expect(0);
    fs::write(&state, r#"{"height": "5", "round": 0, "step": 1}"#).unwrap();
    let ran = restore(&good, &demo, "node0", &with_state).expect(1);
    assert!(ran.err.contains("signed since"), "{}", ran.err);
    restore(&good, &demo, "node0", &[&with_state[..], &["--keep-validator-state"]].concat()).expect(0);
}
