//! The stories: C gives to Rust, Rust to C, kills at every step, an import, the same bytes as in Rust.

use std::path::Path;
use std::process::Command;
use std::rc::Rc;

use baton_attest::identity::encode;
use baton_core::custody::State;
use baton_core::legacy::seal_legacy;
use baton_core::policy::{Origin, Policy};
use baton_core::seal::{SealPolicy, Slot};
use baton_enclave::Enclave;
use baton_enclave::link::{Opened, Opening};
use baton_enclave::sim::Launch;
use baton_enclave::wire::Request;
use baton_host::relay::{self, Channel};
use baton_host::seat::{Seat, SeatError};

use crate::program::{InC, Program, embedder};
use crate::world::{Network, image};

const NO_KEY: i32 = 9;

/// What a start from a seat's newest file brings.
fn opening(seat: &Seat) -> Opening {
    let file = seat.store().find(Slot::Custody).unwrap().into_iter().next().unwrap();
    Opening { custody: Some(seat.store().read(&file).unwrap().into()), seen_custody: file.generation, ..Opening::default() }
}

fn started(c: &InC, version: &str, policy: &Policy, opening: &Opening) -> Program {
    let mut program = c.spawn(&image(version, policy), &Launch { debug: false, entropy: [9; 32] });
    let (code, answer) = program.ask(b'O', &encode(opening)).unwrap();
    assert_eq!((code, minicbor::decode(&answer).unwrap()), (0, Opened::Started));
    program
}

fn app_key(program: &mut Program, epoch: u64, label: &str) -> (i32, Vec<u8>) {
    program.ask(b'K', &[&epoch.to_le_bytes()[..], label.as_bytes()].concat()).unwrap()
}

/// What a build in Rust gives its app, from a seat's newest file.
fn rust_key(net: &Network, seat: &Seat, label: &str) -> Option<Vec<u8>> {
    let (platform, policy) = net.machine.launch(seat.image(), &Launch::default()).unwrap();
    let enclave = Enclave::start(platform, policy, opening(seat).start()).unwrap();
    enclave.keeper().app_key(0, label).map(|k| k.danger_expose().to_vec())
}

/// An old copy by genesis, in C or in Rust.
fn holder(net: &mut Network, dir: &Path, c: Option<&Rc<InC>>) -> Seat {
    let v1 = net.v1.clone();
    let mut o = match c {
        Some(c) => net.seat(dir, c.clone(), "1.0.0", &v1),
        None => net.seat(dir, net.machine.clone(), "1.0.0", &v1),
    };
    o.call(&Request::Genesis { found: Vec::new() }).unwrap();
    o.store_log().unwrap();
    o
}

#[test]
fn rule6_a_copy_in_c_is_handed_over_to_a_build_in_rust_which_serves_and_has_its_keys() {
    let dir = tempfile::tempdir().unwrap();
    let mut net = Network::new(Origin::Genesis);
    let c = Rc::new(InC::new(&net.machine));
    let mut o = holder(&mut net, dir.path(), Some(&c));
    let v2 = net.successor(&mut o);
    let mut n = net.seat(dir.path(), net.machine.clone(), "2.0.0", &v2);
    relay::rehearse(&mut o, &mut n, Channel::Local).unwrap();

    let (proposal, x) = net.vote(&v2, "2.0.0", 40);
    net.hand_over(&mut o, &mut n, proposal).unwrap();
    let (old, new) = (o.status().unwrap(), n.status().unwrap());
    assert_eq!((old.state, new.state), (State::Confirmed, State::Received));
    assert!(old.transfers.iter().any(|t| t.confirmed && t.recorded));
    assert_eq!(old.commitments, new.commitments);

    net.chain.produce_until(x).unwrap();
    net.activate(&mut n, &v2, proposal, x).unwrap();
    assert!(n.status().unwrap().serving);
    let v1 = net.v1.clone();
    let key = app_key(&mut started(&c, "1.0.0", &v1, &opening(&o)), 0, "state");
    assert_eq!(key, (0, rust_key(&net, &n, "state").unwrap()), "state that C wrote is read by Rust");
    o.stop();
    println!("heap of the old build in C: at most {} bytes at once", c.most_heap());
}

#[test]
fn rule6_a_copy_in_rust_is_handed_over_to_a_build_in_c_which_serves() {
    let dir = tempfile::tempdir().unwrap();
    let mut net = Network::new(Origin::Genesis);
    let c = Rc::new(InC::new(&net.machine));
    let mut o = holder(&mut net, dir.path(), None);
    let v2 = net.successor(&mut o);
    let mut n = net.seat(dir.path(), c.clone(), "2.0.0", &v2);
    let (proposal, x) = net.vote(&v2, "2.0.0", 40);
    net.hand_over(&mut o, &mut n, proposal).unwrap();

    // A28: it holds the keyring, and gives its own app nothing before it has seen the proof at X.
    let (code, key) = app_key(&mut started(&c, "2.0.0", &v2, &opening(&n)), 0, "state");
    assert_eq!((code, key), (NO_KEY, vec![0; 32]));
    net.chain.produce_until(x).unwrap();
    net.activate(&mut n, &v2, proposal, x).unwrap();
    let mut program = started(&c, "2.0.0", &v2, &opening(&n));
    let key = app_key(&mut program, 0, "state");
    assert_eq!(key, (0, rust_key(&net, &o, "state").unwrap()));
    assert_ne!(app_key(&mut program, 0, "io").1, key.1);
}

#[test]
fn rule1_a_build_in_c_gives_nothing_to_a_build_that_nobody_voted_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut net = Network::new(Origin::Genesis);
    let c = Rc::new(InC::new(&net.machine));
    let mut o = holder(&mut net, dir.path(), Some(&c));
    let v2 = net.successor(&mut o);
    let mut other = net.seat(dir.path(), net.machine.clone(), "6.6.6", &v2);
    let (proposal, _) = net.vote(&v2, "2.0.0", 40);
    let error = net.hand_over(&mut o, &mut other, proposal).unwrap_err();
    assert!(error.refusal().is_some(), "{error}");
    assert_eq!((o.status().unwrap().state, other.status().unwrap().state), (State::Holding, State::Empty));
}

#[test]
fn rule2_a_kill_at_any_step_of_a_handover_in_c_loses_nothing_and_the_next_try_completes() {
    let dir = tempfile::tempdir().unwrap();
    let mut net = Network::new(Origin::Genesis);
    let c = Rc::new(InC::new(&net.machine));
    let mut o = holder(&mut net, dir.path(), Some(&c));
    let v2 = net.successor(&mut o);
    let mut n = net.seat(dir.path(), net.machine.clone(), "2.0.0", &v2);
    let commitments = o.status().unwrap().commitments;
    let (proposal, _) = net.vote(&v2, "2.0.0", 400);

    let mut kills = 0;
    loop {
        // One frame further each time: before and after each callback, and before the answer is read.
        c.fuse.set(Some(kills));
        match net.hand_over(&mut o, &mut n, proposal) {
            Ok(()) if c.fuse.get().is_some() => break,
            // It died after its last word counted.
            Ok(()) => {}
            Err(SeatError::Link(_)) => {}
            Err(e) => panic!("after {kills} frames: {e}"),
        }
        c.fuse.set(None);
        o.start().unwrap();
        n.start().unwrap();
        let status = o.status().unwrap();
        assert_eq!(status.commitments, commitments, "after {kills} frames");
        assert!(status.serving && matches!(status.state, State::Holding | State::Offered | State::Confirmed));
        kills += 1;
        assert!(kills < 300, "no end");
    }
    c.fuse.set(None);
    assert!(kills > 10, "only {kills} frames: the handover was not walked");
    assert_eq!((o.status().unwrap().state, n.status().unwrap().state), (State::Confirmed, State::Received));
    assert_eq!(n.status().unwrap().commitments, commitments);
    println!("killed {kills} times");
}

#[test]
fn a27_the_legacy_seed_is_given_only_where_it_was_outside_already() {
    let dir = tempfile::tempdir().unwrap();
    for (policy, code) in [(SealPolicy::Mrsigner, 0), (SealPolicy::Mrenclave, NO_KEY)] {
        let mut net = Network::new(Origin::Legacy);
        let c = Rc::new(InC::new(&net.machine));
        let v1 = net.v1.clone();
        let mut o = net.seat(&dir.path().join(format!("{policy:?}")), c.clone(), "1.0.0", &v1);
        let (mut platform, _) = net.machine.launch(&image("1.0.0", &v1), &Launch::default()).unwrap();
        let file = seal_legacy(&mut platform, policy, &[42; 32], &[]).unwrap();
        o.call(&Request::ImportLegacy { file }).unwrap();
        let mut program = started(&c, "1.0.0", &v1, &opening(&o));
        let seed = if code == 0 { [42; 32] } else { [0; 32] };
        assert_eq!(program.ask(b'L', &[]).unwrap(), (code, seed.to_vec()), "{policy:?}");
    }
    // And never a seed that was made here.
    let mut net = Network::new(Origin::Genesis);
    let c = Rc::new(InC::new(&net.machine));
    let o = holder(&mut net, &dir.path().join("genesis"), Some(&c));
    let v1 = net.v1.clone();
    let mut program = started(&c, "1.0.0", &v1, &opening(&o));
    assert_eq!(program.ask(b'L', &[]).unwrap(), (NO_KEY, vec![0; 32]));
}

#[test]
fn h02_a_custody_only_start_in_c_keeps_the_copy_and_gives_the_app_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut net = Network::new(Origin::Genesis);
    let c = Rc::new(InC::new(&net.machine));
    let o = holder(&mut net, dir.path(), Some(&c));
    let v1 = net.v1.clone();
    let mut program = started(&c, "1.0.0", &v1, &Opening { custody_only: true, ..opening(&o) });
    assert_eq!(app_key(&mut program, 0, "state").0, NO_KEY);
    // Another start has it, but not of an epoch that nobody holds, nor under the vault's own label, nor none.
    let mut program = started(&c, "1.0.0", &v1, &opening(&o));
    assert_eq!(app_key(&mut program, 0, "state").0, 0);
    assert_eq!(app_key(&mut program, 1, "state").0, NO_KEY);
    for label in ["vault", "", &"x".repeat(65)] {
        assert_eq!(app_key(&mut program, 0, label), (1, vec![0; 32]), "{label}");
    }
    // A stop gives all memory back.
    let (code, heap) = program.ask(b'X', &[]).unwrap();
    assert_eq!((code, &heap[..8]), (0, &[0; 8][..]));
    assert_eq!(app_key(&mut program, 0, "state").0, 2);
}

#[test]
fn h11_a_seed_that_waits_for_the_disk_gives_the_app_nothing() {
    let net = Network::new(Origin::Genesis);
    let c = InC::new(&net.machine);
    let v1 = net.v1.clone();
    let mut program = started(&c, "1.0.0", &v1, &Opening::default());
    let block = baton_host::chain::ChainSource::light_block(&net.chain, v1.chain.checkpoint.height).unwrap();
    for request in [Request::Checkpoint { block: encode(&block) }, Request::Genesis { found: Vec::new() }] {
        assert_eq!(app_key(&mut program, 0, "state").0, NO_KEY);
        let (_, response) = program.ask(b'R', &encode(&request)).unwrap();
        let response: baton_enclave::wire::Response = minicbor::decode(&response).unwrap();
        assert!(!response.store.is_empty());
        assert_eq!(app_key(&mut program, 0, "state").0, NO_KEY, "{request:?} is on no disk yet");
        program.ask(b'R', &encode(&Request::Stored { files: response.store })).unwrap();
    }
    assert_eq!(app_key(&mut program, 0, "state").0, 0);
}

#[test]
fn damaged_and_foreign_files_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let mut net = Network::new(Origin::Genesis);
    let c = Rc::new(InC::new(&net.machine));
    let mut o = holder(&mut net, dir.path(), Some(&c));
    let v1 = net.v1.clone();
    let v2 = net.successor(&mut o);
    let file = opening(&o).custody.unwrap().to_vec();
    let mut flipped = file.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for (policy, version, file, code) in [(&v1, "1.0.0", flipped, 7), (&v1, "1.0.0", file[..40].to_vec(), 7), (&v2, "2.0.0", file.clone(), 8)] {
        let mut program = c.spawn(&image(version, policy), &Launch::default());
        let opening = Opening { custody: Some(file.into()), ..Opening::default() };
        let (got, answer) = program.ask(b'O', &encode(&opening)).unwrap();
        let refused = minicbor::decode(&answer).unwrap();
        assert!(matches!(&refused, Opened::Refused { damaged, .. } if *damaged == (code == 7)), "{refused:?}");
        assert_eq!(got, code, "{refused:?}");
        assert_eq!(program.ask(b'R', &encode(&Request::Status)).unwrap().0, 2, "nothing runs");
    }
}

#[test]
fn the_library_answers_with_the_same_bytes_as_the_enclave_in_rust() {
    let net = Network::new(Origin::Genesis);
    let c = InC::new(&net.machine);
    let image = image("1.0.0", &net.v1);
    let how = Launch { debug: false, entropy: [3; 32] };
    let mut program = c.spawn(&image, &how);
    program.ask(b'O', &encode(&Opening::default())).unwrap();
    let (platform, policy) = net.machine.launch(&image, &how).unwrap();
    let mut rust = Enclave::start(platform, policy, Opening::default().start()).unwrap();

    let block = baton_host::chain::ChainSource::light_block(&net.chain, net.v1.chain.checkpoint.height).unwrap();
    let mut requests = vec![
        encode(&Request::Status),
        encode(&Request::Checkpoint { block: encode(&block) }),
        encode(&Request::Genesis { found: Vec::new() }),
        encode(&Request::Hello),
        encode(&Request::Log),
        encode(&Request::Status),
        Vec::new(),
        vec![0xff; 100],
        [encode(&Request::Status), vec![0]].concat(),
    ];
    while !requests.is_empty() {
        let request = requests.remove(0);
        let expected = rust.handle_bytes(&request);
        assert_eq!(program.ask(b'R', &request).unwrap(), (0, expected.clone()), "{}", hex::encode(&request));
        let response: baton_enclave::wire::Response = minicbor::decode(&expected).unwrap();
        if !response.store.is_empty() {
            requests.insert(0, encode(&Request::Stored { files: response.store }));
        }
    }
}

#[test]
fn a21_misuse_from_c_is_refused_and_never_crashes() {
    let out = Command::new(embedder()).arg("misuse").output().unwrap();
    assert!(out.status.success(), "{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
}

#[test]
fn a21_a_large_request_takes_no_more_memory_than_the_header_says() {
    let net = Network::new(Origin::Genesis);
    let c = InC::new(&net.machine);
    let v1 = net.v1.clone();
    let mut program = c.spawn(&image("1.0.0", &v1), &Launch::default());
    program.ask(b'O', &encode(&Opening::default())).unwrap();
    let block = baton_host::chain::ChainSource::light_block(&net.chain, v1.chain.checkpoint.height).unwrap();
    let (_, answer) = program.ask(b'R', &encode(&Request::Checkpoint { block: encode(&block) })).unwrap();
    let response: baton_enclave::wire::Response = minicbor::decode(&answer).unwrap();
    program.ask(b'R', &encode(&Request::Stored { files: response.store })).unwrap();
    for request in [
        encode(&Request::Advance { path: vec![0x81; 8 << 20] }),
        encode(&Request::ImportLegacy { file: vec![0; 8 << 20] }),
        vec![0x9f; 8 << 20],
    ] {
        let (code, answer) = program.ask(b'R', &request).unwrap();
        let response: baton_enclave::wire::Response = minicbor::decode(&answer).unwrap();
        assert!(code == 0 && matches!(response.reply, Some(baton_enclave::wire::Reply::Refused(_))));
    }
    drop(program);
    println!("heap after requests of 8 MiB: at most {} bytes at once", c.most_heap());
    assert!(c.most_heap() <= 4 * (8 << 20) + (4 << 20), "{}", c.most_heap());
}
