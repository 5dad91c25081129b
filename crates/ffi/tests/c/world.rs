//! A small network: a devnet, one machine, an old build that runs in C and a new one that runs in Rust.

use std::path::Path;
use std::rc::Rc;

use baton_attest::identity::{Signer, encode};
use baton_attest::pki::{DevPki, PlatformSpec};
use baton_attest::policy::{BuildRules, TcbPolicy, TcbStatus};
use baton_attest::sigstruct::SigningKey;
use baton_chain::policy::{ChainPolicy, Checkpoint};
use baton_chain::record::Kind;
use baton_core::keyring::Commitment;
use baton_core::policy::{Admission, BarrierRules, EpochCommitment, FORMAT, Origin, Phase, Policy};
use baton_devnet::{Config, Devnet, GovConfig, Text, YES};
use baton_enclave::sim::{Image, Machine, PRODUCT_ID};
use baton_enclave::wire::{OfferEvidence, Request};
use baton_host::chain::ChainSource;
use baton_host::gather::Gather;
use baton_host::link::Launcher;
use baton_host::relay::{self, Channel};
use baton_host::seat::{Seat, SeatError};

pub struct Network {
    pub chain: Devnet,
    pub machine: Rc<Machine>,
    pki: DevPki,
    pub v1: Policy,
    entropy: u64,
}

impl Network {
    pub fn new(origin: Origin) -> Self {
        let gov = GovConfig { voting_secs: 15, expedited_voting_secs: 10, ..GovConfig::default() };
        let mut chain = Devnet::new(Config { gov, powers: vec![100, 70, 40], ..Config::default() }).unwrap();
        chain.produce_until(4).unwrap();
        let pki = DevPki::new([7; 32]).unwrap();
        let machine = Rc::new(Machine::new(&pki, "m0", &PlatformSpec::default()).unwrap());
        let v1 = policy(&chain, &pki, origin, 2);
        Network { chain, machine, pki, v1, entropy: 0 }
    }

    /// The policy of a successor, which knows the commitment of what a seat holds.
    pub fn successor(&self, holder: &mut Seat) -> Policy {
        let commitment = Commitment(holder.status().unwrap().commitments[0]);
        policy(&self.chain, &self.pki, Origin::Commitments(vec![EpochCommitment { epoch: 0, commitment }]), 3)
    }

    /// An empty seat that has seen its checkpoint.
    pub fn seat(&mut self, dir: &Path, launcher: Rc<dyn Launcher>, version: &str, policy: &Policy) -> Seat {
        let image = image(version, policy);
        self.entropy += 1;
        let (high, mut low) = (self.entropy, 0_u64);
        let entropy = move || {
            low += 1;
            let mut out = [0; 32];
            out[..8].copy_from_slice(&high.to_le_bytes());
            out[8..16].copy_from_slice(&low.to_le_bytes());
            out
        };
        let mut seat = Seat::open_on(&dir.join(version), self.machine.clone(), launcher, image, Box::new(entropy)).unwrap();
        seat.start().unwrap();
        let block = ChainSource::light_block(&self.chain, policy.chain.checkpoint.height).unwrap();
        seat.call(&Request::Checkpoint { block: encode(&block) }).unwrap();
        seat
    }

    /// People vote for a build; the proposal and its height.
    pub fn vote(&mut self, build: &Policy, version: &str, lead: u64) -> (u64, u64) {
        let height = self.chain.height() + lead;
        let measurement = image(version, build).measurement().unwrap();
        let info = format!("{{\"enclave\":{{\"mrenclave\":\"{measurement}\"}}}}");
        let message = Devnet::upgrade_message(version, height, &info);
        let id = self.chain.propose(vec![message], &Text::titled("an upgrade"), false).unwrap().unwrap();
        self.chain.carry(id, YES).unwrap();
        assert_eq!(self.chain.proposal(id).unwrap().status, 3);
        (id, height)
    }

    /// A whole handover ahead of X, on one machine.
    pub fn hand_over(&mut self, o: &mut Seat, n: &mut Seat, proposal: u64) -> Result<(), SeatError> {
        let asked = relay::ask(o, n, Kind::Upgrade, Channel::Local)?;
        let hash = ChainSource::send_memo(&mut self.chain, &asked.record(proposal).encode()).unwrap();
        self.chain.produce_block().unwrap();
        let tx = self.chain.included(&hash).unwrap().unwrap();
        let trusted = trusted(o)?;
        let evidence = Gather::new(&self.chain, &self.v1.chain).ahead(&trusted, proposal, &tx, tx.height).unwrap();
        relay::hand_over(o, n, &asked, OfferEvidence::Ahead(evidence.to_cbor()), Channel::Local)?;
        o.store_log()
    }

    /// Shows a seat the proof at X.
    pub fn activate(&mut self, seat: &mut Seat, policy: &Policy, proposal: u64, x: u64) -> Result<(), SeatError> {
        let trusted = trusted(seat)?;
        let evidence = Gather::new(&self.chain, &policy.chain).at_x(&trusted, proposal, x).unwrap().to_cbor();
        seat.call(&Request::Activate { evidence }).map(|_| ())
    }
}

/// The image whose measured pages hold a policy; C programs are measured as any other build here.
pub fn image(version: &str, policy: &Policy) -> Image {
    Image::build("embedder", version, policy, &SigningKey::development(1).unwrap(), 1).unwrap()
}

fn trusted(seat: &mut Seat) -> Result<Vec<u64>, SeatError> {
    let status = seat.status()?;
    Ok(status.anchors.iter().copied().chain([status.head_height]).collect())
}

fn policy(chain: &Devnet, pki: &DevPki, origin: Origin, checkpoint: u64) -> Policy {
    let dec = |s: &str| s.parse().unwrap();
    Policy {
        format: FORMAT,
        platform_tag: baton_attest::identity::PLATFORM_SGX,
        origin,
        phase: Phase::Mrenclave,
        admission: Admission::Any,
        readiness_wanted: 0,
        rotation_blocks: None,
        chain: ChainPolicy {
            chain_id: chain.config().chain_id.clone(),
            checkpoint: Checkpoint { height: checkpoint, hash: chain.header_hash(checkpoint).unwrap() },
            trusting_period_secs: 14 * 24 * 3600,
            trust_threshold: (1, 3),
            quorum: dec("0.334"),
            threshold: dec("0.5"),
            veto: dec("0.334"),
            expedited_threshold: dec("0.667"),
            slack: dec("0.005"),
            override_share: dec("0.667"),
            power_reduction: chain.config().power_reduction,
            lead_blocks: 1000,
        },
        builds: BuildRules {
            signers: vec![SigningKey::development(1).unwrap().signer(), Signer([0xaa; 32])],
            product_id: PRODUCT_ID,
            min_svn: 1,
        },
        tcb: TcbPolicy {
            statuses: vec![TcbStatus::UpToDate, TcbStatus::SwHardeningNeeded],
            denied_advisories: Vec::new(),
            allowed_advisories: None,
            min_tcb_evaluation: 17,
            max_collateral_age_secs: 7 * 24 * 3600,
            roots: vec![pki.root_der().unwrap()],
        },
        barrier: BarrierRules { grace_blocks: 2, platforms: 2, power_share: None },
        council: None,
        witnesses: None,
        lifeboat: None,
    }
}
