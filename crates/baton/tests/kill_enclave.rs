//! `kill -9` of the process that runs a target, between the offer and the receipt, round after round: no
//! receipt comes from an instance that wrote the file itself, and nothing is lost.
//!
//! The enclave runs in a child process: the real program on a software SGX CPU where BATON_SGX_PROGRAM
//! names one, else `sim`. BATON_KILL_ROUNDS says how often (default 100, on `sim` 20).

use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use baton::world::{Build, Named, Platform, World};
use baton::world::ops::trusted;
use baton_attest::identity::{encode, hash};
use baton_attest::pki::{DevPki, PlatformSpec};
use baton_attest::report::TargetInfo;
use baton_chain::record::Kind;
use baton_core::custody::State;
use baton_core::keyring::Commitment;
use baton_core::messages::{Challenge, Message};
use baton_core::policy::{EpochCommitment, Origin};
use baton_enclave::sim::Machine;
use baton_enclave::wire::{OfferEvidence, Reply, Request};
use baton_host::chain::ChainSource;
use baton_host::link::Launcher;
use baton_host::relay::{self, Channel, Offered};
use baton_host::seat::{Seat, SeatError};
use baton_host::sgx::apart::{self, Apart};

const SEED: u64 = 5;
const MACHINE: &str = "node0";
/// Rounds in one world: each takes up to two blocks of its plan's window.
const PER_WORLD: usize = 25;
/// Tells a child that it is one.
const CHILD: &str = "BATON_KILL_CHILD";

fn program() -> Option<PathBuf> {
    std::env::var_os("BATON_SGX_PROGRAM").map(Into::into)
}

fn here(machine: &Rc<Machine>) -> Rc<dyn Launcher> {
    match program() {
        None => machine.clone(),
        Some(_) => Rc::new(baton_host::sgx::soft::SoftMachine::new(machine.clone())),
    }
}

/// SIGKILL, to the enclave that was launched last; at once or in a while.
fn kill(processes: &Apart, after: Option<Duration>) {
    let process = processes.newest().expect("an enclave runs");
    let Some(after) = after else { return process.kill() };
    std::thread::spawn(move || {
        std::thread::sleep(after);
        process.kill();
    });
}

fn processes(machine: &Rc<Machine>) -> Apart {
    Apart::new(here(machine), || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["child_that_runs_an_enclave", "--exact", "--nocapture"]).env(CHILD, "1");
        command
    })
}

/// Not a test of its own: what the child process of the test below does.
#[test]
fn child_that_runs_an_enclave() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let pki = DevPki::new(hash("baton demo pki v1", &[&SEED.to_be_bytes()]).0).unwrap();
    let machine = Rc::new(Machine::new(&pki, MACHINE, &PlatformSpec::default()).unwrap());
    // The parent goes away: so does this.
    let _ = apart::serve(&*here(&machine));
}

struct Lab {
    dir: tempfile::TempDir,
    world: World,
    machine: Rc<Machine>,
    processes: Rc<Apart>,
    v1: Build,
    v2: Build,
    o: Seat,
    proposal: u64,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let platform = program().map_or(Platform::Sim, |p| Platform::soft_sgx(&[p]).unwrap());
        let mut world = World::create_on(&dir.path().join("world"), SEED, 1, platform).unwrap();
        world.produce_until(3).unwrap();
        let window = 4 * PER_WORLD as u64;
        let build = |world: &World, which, origin, checkpoint, svn| {
            let mut policy = world.policy(origin, checkpoint).unwrap();
            policy.chain.lead_blocks = 2 * window;
            world.platform().build(which, policy, svn).unwrap()
        };
        let v1 = build(&world, Named::V1, Origin::Genesis, 2, 1);
        world.seat_named(0, "v1", &v1).unwrap();
        let mut o = world.nodes[0].take("v1").unwrap();
        o.call(&Request::Genesis { found: Vec::new() }).unwrap();
        let commitment = Commitment(o.status().unwrap().commitments[0]);
        world.produce_until(6).unwrap();
        let v2 = build(&world, Named::V2, Origin::Commitments(vec![EpochCommitment { epoch: 0, commitment }]), 5, 2);
        let info = format!(r#"{{"enclave":{{"mrenclave":"{}"}}}}"#, v2.measurement);
        let height = world.chain.height() + 40 + window;
        let proposal = world.vote("v2", height, &info).unwrap();
        let machine = o.machine().unwrap().clone();
        let processes = Rc::new(processes(&machine));
        Lab { dir, world, machine, processes, v1, v2, o, proposal }
    }

    fn target(&self, round: usize) -> Seat {
        let dir = self.dir.path().join(format!("n{round}"));
        let image = self.v2.image.clone();
        let mut n = Seat::open_on(&dir, self.machine.clone(), self.processes.clone(), image, Box::new(rand::random)).unwrap();
        n.start().unwrap();
        let block = ChainSource::light_block(&self.world.chain, 5).unwrap();
        n.call(&Request::Checkpoint { block: encode(&block) }).unwrap();
        n
    }

    fn offer(&mut self, n: &mut Seat) -> Offered {
        let asked = relay::ask(&mut self.o, n, Kind::Upgrade, Channel::Local).unwrap();
        let tx = self.world.publish(&asked.record(self.proposal).encode()).unwrap();
        let heights = trusted(&self.o.status().unwrap());
        let evidence = self.world.gather(&self.v1).ahead(&heights, self.proposal, &tx, tx.height).unwrap().to_cbor();
        relay::offer(&mut self.o, &asked, OfferEvidence::Ahead(evidence), Some(Channel::Local)).unwrap()
    }

    fn prove(&mut self, n: &mut Seat, offered: &Offered) -> Result<Reply, SeatError> {
        let challenge = Request::Challenge { transcript: offered.transcript };
        let Reply::Message { message: challenge, .. } = self.o.call(&challenge).unwrap() else { panic!("a challenge") };
        let source = Challenge::from_cbor(&challenge).unwrap().source;
        let report_target = TargetInfo::for_identity(&source).to_bytes().to_vec();
        n.call(&Request::Prove { challenge, report_target })
    }

    /// Brings a target to one moment and kills it there. True if its file must be on disk then, false if
    /// it must not, none if the kill came in the middle.
    fn killed(&mut self, n: &mut Seat, offered: &Offered, moment: usize, after: Duration) -> Option<bool> {
        let accept = Request::Accept { offer: offered.offer.clone(), giver: offered.giver.clone() };
        if moment == 0 {
            // Somewhere while it opens the offer, seals, and hears that the file is stored.
            kill(&self.processes, Some(after));
            let _ = n.call(&accept);
            return None;
        }
        let sealed = n.send(&accept).unwrap();
        assert!(!sealed.store.is_empty() && sealed.reply.is_none(), "nothing is said before the file is stored");
        if moment == 1 {
            kill(&self.processes, None);
            return Some(false);
        }
        let put = |f: &baton_enclave::wire::SealedFile| n.store().put(f.slot, f.generation, &f.bytes).unwrap();
        let bytes: Vec<Vec<u8>> = sealed.store.iter().map(put).collect();
        if moment == 2 {
            kill(&self.processes, None);
            return Some(true);
        }
        let files = sealed.store.into_iter().zip(bytes).map(|(f, bytes)| baton_enclave::wire::SealedFile { bytes, ..f });
        let stored = n.send(&Request::Stored { files: files.collect() }).unwrap();
        assert!(stored.store.is_empty() && !matches!(stored.reply, None | Some(Reply::Refused(_))));
        let refused = self.prove(n, offered).unwrap_err();
        assert_eq!(refused.refusal().expect("a refusal").check, "prove/NotRestarted", "a receipt without a new instance");
        if moment == 3 {
            kill(&self.processes, None);
            return Some(true);
        }
        // In the new instance, while it makes the receipt.
        n.start().unwrap();
        kill(&self.processes, Some(after));
        let _ = self.prove(n, offered);
        Some(true)
    }
}

#[test]
fn a15_a_target_that_is_killed_before_its_receipt_loses_nothing_and_proves_nothing() {
    let usual = if program().is_some() { 100 } else { 20 };
    let rounds: usize = std::env::var("BATON_KILL_ROUNDS").map_or(usual, |r| r.parse().unwrap());
    let mut seen = [0usize; 2];
    for begin in (0..rounds).step_by(PER_WORLD) {
        let mut lab = Lab::new();
        let before = lab.o.status().unwrap().commitments;
        for round in begin..rounds.min(begin + PER_WORLD) {
            let mut n = lab.target(round);
            let mut offered = lab.offer(&mut n);
            let after = Duration::from_micros(rand::random::<u64>() % 12_000);
            let on_disk = lab.killed(&mut n, &offered, round % 5, after);
            n.stop();
            n.start().unwrap();
            let holds = n.status().unwrap().state != State::Empty;
            assert!(on_disk.is_none_or(|d| d == holds), "round {round}: {on_disk:?}, and it holds: {holds}");
            seen[usize::from(holds)] += 1;
            if !holds {
                assert!(lab.o.status().unwrap().serving, "round {round}: the source serves on");
                offered = lab.offer(&mut n);
                relay::accept(&mut n, &offered).unwrap();
            }
            relay::confirm(&mut lab.o, &mut n, offered.transcript, Channel::Local).unwrap();
            let (o, n) = (lab.o.status().unwrap(), n.status().unwrap());
            assert_eq!((&o.commitments, &n.commitments), (&before, &before), "round {round}");
            assert_eq!((o.state, o.serving), (State::Confirmed, true), "round {round}");
        }
    }
    let platform = if program().is_some() { "softsgx" } else { "sim" };
    println!("{rounds} kills on {platform}: {} found the file on disk, {} had to ask again", seen[1], seen[0]);
    assert!(rounds < 10 || (seen[0] > 0 && seen[1] > 0), "both sides of the file were hit");
}
