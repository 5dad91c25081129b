//! The real program on a software SGX CPU. It needs a program that scripts/sgx-build made: name it in
//! BATON_SGX_PROGRAM (program.elf or program.sgxs). Without one these tests say so and pass.

use std::path::Path;
use std::rc::Rc;

use baton_attest::identity::{Attributes, Identity, Measurement, PLATFORM_SGX, encode};
use baton_attest::pki::{CollateralSpec, DevPki, PlatformSpec};
use baton_attest::report::TargetInfo;
use baton_attest::sigstruct::SigningKey;
use baton_core::custody::State;
use baton_core::policy::Origin;
use baton_devnet::{Config, Devnet};
use baton_enclave::sim::{Image, Machine, PRODUCT_ID};
use baton_enclave::wire::Request;
use baton_host::chain::ChainSource;
use baton_host::link::{Launcher, LinkError};
use baton_host::seat::{Seat, SeatError};
use baton_host::sgx::sign::Layout;
use baton_host::sgx::image::Pages;
use baton_host::sgx::sign;
use baton_host::sgx::soft::SoftMachine;

struct Scene {
    chain: Devnet,
    pki: DevPki,
    program: Pages,
    dir: tempfile::TempDir,
}

impl Scene {
    fn new() -> Option<Self> {
        let Some(path) = std::env::var_os("BATON_SGX_PROGRAM") else {
            eprintln!("not run: BATON_SGX_PROGRAM names no program; scripts/sgx-build makes one");
            return None;
        };
        let program = sign::program(&std::fs::read(path).unwrap(), &Layout::default()).unwrap();
        let mut chain = Devnet::new(Config::default()).unwrap();
        chain.produce_until(4).unwrap();
        Some(Scene { chain, pki: DevPki::new([9; 32]).unwrap(), program, dir: tempfile::tempdir().unwrap() })
    }

    fn image(&self) -> Image {
        let mut policy = super::policy();
        policy.origin = Origin::Genesis;
        policy.chain.chain_id = self.chain.config().chain_id.clone();
        policy.chain.checkpoint.height = 2;
        policy.chain.checkpoint.hash = self.chain.header_hash(2).unwrap();
        policy.builds.product_id = PRODUCT_ID;
        policy.builds.min_svn = 1;
        policy.tcb.roots = vec![self.pki.root_der().unwrap()];
        sign::build(&self.program, &policy, &SigningKey::development(1).unwrap(), 1).unwrap()
    }

    fn machine(&self, cpu_svn: u8) -> (Rc<Machine>, Rc<SoftMachine>) {
        let machine = Rc::new(Machine::new(&self.pki, "m", &PlatformSpec::with_svn(cpu_svn)).unwrap());
        (machine.clone(), Rc::new(SoftMachine::new(machine)))
    }

    fn seat(&self, name: &str, image: Image) -> Seat {
        let (machine, launcher) = self.machine(8);
        let dir: &Path = self.dir.path();
        Seat::open_on(&dir.join(name), machine, launcher, image, Box::new(|| [1; 32])).unwrap()
    }

    /// A seat that holds epoch 0.
    fn holder(&self) -> Seat {
        let mut seat = self.seat("o", self.image());
        seat.start().unwrap();
        let block = ChainSource::light_block(&self.chain, 2).unwrap();
        seat.call(&Request::Checkpoint { block: encode(&block) }).unwrap();
        seat.call(&Request::Genesis { found: Vec::new() }).unwrap();
        seat
    }
}

#[test]
fn the_report_shows_the_measurement_that_is_signed() {
    let Some(scene) = Scene::new() else { return };
    let image = scene.image();
    let mut seat = scene.seat("a", image.clone());
    seat.start().unwrap();
    let status = seat.status().unwrap();
    assert_eq!(status.identity.measurement, image.measurement().unwrap());
    assert_eq!(status.identity.signer, SigningKey::development(1).unwrap().signer());
    assert!(!status.identity.is_debug());
    assert_eq!(status.state, State::Empty);
}

#[test]
fn a_real_program_without_a_policy_refuses_to_start() {
    let Some(scene) = Scene::new() else { return };
    let sigstruct = SigningKey::development(1).unwrap().sign_build(scene.program.measurement().unwrap(), PRODUCT_ID, 1).unwrap();
    let image = Image { sgxs: scene.program.to_sgxs().unwrap(), sigstruct: sigstruct.to_bytes().to_vec() };
    let e = scene.seat("a", image).start().unwrap_err();
    assert!(matches!(&e, SeatError::NotStarted { message, damaged: false } if message.contains("slot is empty")), "{e}");
}

#[test]
fn a_stopped_enclave_starts_again_from_its_file_and_a_lost_one_from_the_older() {
    let Some(scene) = Scene::new() else { return };
    let mut seat = scene.holder();
    let before = seat.status().unwrap();
    assert_eq!(before.epochs, [0]);
    seat.store_log().unwrap();
    seat.start().unwrap();
    assert_eq!(seat.status().unwrap().commitments, before.commitments);
    // The newest generation is torn: the older one opens, and people are told.
    let newest = seat.store().find(baton_core::seal::Slot::Custody).unwrap().remove(0);
    std::fs::write(&newest.path, b"torn").unwrap();
    seat.start().unwrap();
    assert!(seat.take_warnings().iter().any(|w| w.contains("older sealed generation")));
    assert_eq!(seat.status().unwrap().commitments, before.commitments);
}

#[test]
fn a04_a_debug_launch_of_the_approved_build_does_not_load() {
    let Some(scene) = Scene::new() else { return };
    let e = scene.seat("a", scene.image()).start_debug().unwrap_err();
    assert!(matches!(e, SeatError::Link(LinkError::Load(_))), "{e}");
}

#[test]
fn h01_a_higher_cpusvn_opens_the_file_and_a_lower_one_says_what_to_do() {
    let Some(scene) = Scene::new() else { return };
    let mut seat = scene.holder();
    let commitments = seat.status().unwrap().commitments;
    let (machine, launcher) = scene.machine(9);
    seat.move_onto(machine, launcher);
    seat.start().unwrap();
    assert_eq!(seat.status().unwrap().commitments, commitments);
    let (machine, launcher) = scene.machine(7);
    seat.move_onto(machine, launcher);
    let e = seat.start().unwrap_err().to_string();
    assert!(e.contains("CPUSVN"), "{e}");
}

#[test]
fn a_quote_over_the_real_report_verifies_under_the_development_pki() {
    let Some(scene) = Scene::new() else { return };
    let mut seat = scene.holder();
    let launcher = seat.launcher().clone();
    // Somebody of the same build asks to join: its request is attested by a quote, which the source checks in the enclave.
    let mut other = scene.seat("j", scene.image());
    other.start().unwrap();
    let time = scene.chain.block_time(scene.chain.height()).unwrap().seconds as u64;
    let collateral = scene.pki.collateral(&CollateralSpec::at(time - 3600)).unwrap().to_json().into_bytes();
    let channel = baton_host::relay::Channel::Quoted { collateral: &collateral };
    let block = ChainSource::light_block(&scene.chain, 2).unwrap();
    other.call(&Request::Checkpoint { block: encode(&block) }).unwrap();
    let asked = baton_host::relay::ask(&mut seat, &mut other, baton_chain::record::Kind::Rehearsal, channel).unwrap();
    assert_eq!(asked.platform, launcher.platform_id());
    baton_host::relay::offer(&mut seat, &asked, baton_enclave::wire::OfferEvidence::None, None).unwrap();
}

#[test]
fn a_report_of_another_machine_is_not_quoted() {
    let pki = DevPki::new([9; 32]).unwrap();
    let machine = |name| SoftMachine::new(Rc::new(Machine::new(&pki, name, &PlatformSpec::with_svn(8)).unwrap()));
    let (here, elsewhere) = (machine("here"), machine("elsewhere"));
    let build = SigningKey::development(1).unwrap();
    let own = Identity {
        platform_tag: PLATFORM_SGX,
        measurement: Measurement([3; 32]),
        signer: build.signer(),
        product_id: PRODUCT_ID,
        svn: 1,
        attributes: Attributes { flags: 5, xfrm: 3 },
        misc_select: 0,
        config_id: [0; 64],
        config_svn: 0,
    };
    // Each made for the quoting enclave of `here`: only what this machine's CPU made is quoted.
    let target = TargetInfo::parse(&here.qe_target().unwrap().try_into().unwrap()).unwrap();
    let report = |by: &SoftMachine| by.software_cpu().unwrap().report_as(&own, &target, &[1; 64]).to_bytes();
    here.quote(&report(&here)).unwrap();
    assert!(matches!(here.quote(&report(&elsewhere)), Err(SeatError::Quote(_))));
    for at in 0..432 {
        let mut changed = report(&here);
        changed[at] ^= 1;
        assert!(matches!(here.quote(&changed), Err(SeatError::Quote(_))), "byte {at}");
    }
    assert!(matches!(here.quote(&[0; 432]), Err(SeatError::Quote(_))));
    assert!(matches!(here.quote(&report(&here)[1..]), Err(SeatError::Quote(_))));
    assert_ne!(here.platform_id(), elsewhere.platform_id());
}
