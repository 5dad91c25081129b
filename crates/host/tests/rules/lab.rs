//! A network in memory: a devnet, machines, and enclaves whose sealed files are kept in vectors, so that a
//! test can crash, clone and roll back as a hostile host would, thousands of times.

use std::collections::BTreeMap;
use std::rc::Rc;

use baton_attest::identity::{Digest32, Identity, Measurement, Signer, encode};
use baton_attest::pki::{CollateralSpec, DevPki, PlatformSpec};
use baton_attest::policy::{BuildRules, TcbPolicy, TcbStatus};
use baton_attest::report::TargetInfo;
use baton_attest::sigstruct::SigningKey;
use baton_chain::policy::{ChainPolicy, Checkpoint};
use baton_chain::record::{Kind, Record};
use baton_core::custody::State;
use baton_core::keyring::Commitment;
use baton_core::messages::{Attestation, Challenge, Hello, Message};
use baton_core::policy::{Admission, BarrierRules, EpochCommitment, FORMAT, Origin, Phase, Policy};
use baton_core::seal::Slot;
use baton_devnet::{Config, Devnet, GovConfig, Text, YES};
use baton_enclave::link::Opening;
use baton_enclave::sim::{Image, Launch, Machine, PRODUCT_ID};
use baton_enclave::wire::{AttestedReceipt, OfferEvidence, Refusal, Reply, Request, Response, SealedFile, Status};
use baton_host::chain::{ChainSource, Included};
use baton_host::gather::Gather;
use baton_host::link::{EnclaveLink, Launcher};

use crate::backend;

/// Blocks of the lead window.
pub const LEAD: u64 = 12;
/// Blocks of grace before a barrier receipt counts.
pub const GRACE: u64 = 2;

/// The builds that a lab knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum B {
    /// The build that holds the seed at first.
    V1,
    /// A successor.
    V2,
    /// Another successor.
    V3,
    /// Of a lower security version.
    Low,
    /// Of a signer that no policy lists.
    Unlisted,
}

/// An image and the policy in it.
pub struct Build {
    pub image: Image,
    pub policy: Policy,
    pub measurement: Measurement,
}

/// One file of a slot: its generation and its bytes.
pub type File = (u64, Vec<u8>);

/// The sealed files of one cell, every generation ever written, oldest first.
#[derive(Clone, Default)]
pub struct Disk {
    pub custody: Vec<File>,
    pub rehearsal: Vec<File>,
}

/// What goes wrong with the next write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Killed before the file is there.
    BeforeWrite,
    /// Killed after, before anything is said.
    AfterWrite,
}

/// One build on one machine.
pub struct Cell {
    pub machine: usize,
    pub build: B,
    pub disk: Disk,
    pub debug: bool,
    pub custody_only: bool,
    running: Option<Box<dyn EnclaveLink>>,
}

impl Clone for Cell {
    fn clone(&self) -> Self {
        let (machine, build, disk) = (self.machine, self.build, self.disk.clone());
        Cell { machine, build, disk, debug: self.debug, custody_only: self.custody_only, running: None }
    }
}

/// Why a call gave no reply.
#[derive(Debug)]
pub enum Failed {
    Refused(Refusal),
    /// The fault that was armed happened: the enclave is stopped.
    Killed,
    /// It does not start.
    Start(String),
    /// No such evidence can be put together.
    Gather(String),
}

impl Failed {
    /// The check that refused, or what else happened.
    pub fn check(&self) -> String {
        match self {
            Failed::Refused(r) => r.check.clone(),
            Failed::Killed => "killed".into(),
            Failed::Start(why) | Failed::Gather(why) => why.clone(),
        }
    }
}

impl From<baton_host::gather::GatherError> for Failed {
    fn from(e: baton_host::gather::GatherError) -> Self {
        Failed::Gather(e.to_string())
    }
}

pub type Result<T> = std::result::Result<T, Failed>;

/// A request that a target has made.
#[derive(Clone, Debug)]
pub struct Asked {
    pub source: usize,
    pub target: usize,
    pub local: bool,
    pub request: Vec<u8>,
    pub record: Record,
    pub attestation: Attestation,
}

/// An offer that a source has made.
#[derive(Clone, Debug)]
pub struct Offered {
    pub source: usize,
    pub target: usize,
    pub local: bool,
    pub offer: Vec<u8>,
    pub transcript: Digest32,
    giver: Option<Attestation>,
}

/// A plan that people voted for.
#[derive(Clone, Debug)]
pub struct Plan {
    pub id: u64,
    pub name: String,
    pub height: u64,
    /// The build that it names; none: it changes no build.
    pub build: Option<B>,
}

/// The network. A clone is a fork of everything, with all enclaves stopped.
#[derive(Clone)]
pub struct Lab {
    pub chain: Devnet,
    pub machines: Vec<Rc<Machine>>,
    pub builds: Rc<BTreeMap<B, Build>>,
    pub cells: Vec<Cell>,
    pub plans: Vec<Plan>,
    pub fault: Option<Fault>,
    /// Writes that the fault lets pass first.
    pub fault_after: usize,
    pub pki: Rc<DevPki>,
    collateral: Rc<Vec<u8>>,
    entropy: u64,
}

/// What a policy says beside what all of a lab's policies say.
pub fn policy(chain: &Devnet, pki: &DevPki, origin: Origin, checkpoint: u64, phase: Phase) -> Policy {
    let dec = |s: &str| s.parse().unwrap();
    Policy {
        format: FORMAT,
        platform_tag: baton_attest::identity::PLATFORM_SGX,
        origin,
        phase,
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
            lead_blocks: LEAD,
        },
        builds: BuildRules { signers: vec![SigningKey::development(1).unwrap().signer(), Signer([0xaa; 32])], product_id: PRODUCT_ID, min_svn: 1 },
        tcb: TcbPolicy {
            statuses: vec![TcbStatus::UpToDate, TcbStatus::SwHardeningNeeded],
            denied_advisories: Vec::new(),
            allowed_advisories: None,
            min_tcb_evaluation: 17,
            max_collateral_age_secs: 7 * 24 * 3600,
            roots: vec![pki.root_der().unwrap()],
        },
        barrier: BarrierRules { grace_blocks: GRACE, platforms: 2, power_share: None },
        council: Some(crate::orders::council()),
        witnesses: Some(crate::orders::witnesses()),
        lifeboat: None,
    }
}

impl Build {
    pub fn new(version: &str, policy: Policy, key: u8, svn: u16) -> Self {
        let key = SigningKey::development(key).unwrap();
        let (image, policy) = backend::build(version, policy, &key, svn);
        Build { measurement: image.measurement().unwrap(), image, policy }
    }
}

fn devnet() -> Devnet {
    let gov = GovConfig { voting_secs: 15, expedited_voting_secs: 10, ..GovConfig::default() };
    Devnet::new(Config { gov, powers: vec![100, 70, 40], ..Config::default() }).unwrap()
}

impl Lab {
    /// Machines 0 and 1 hold epoch 0 in v1 (cells 0 and 1): one by genesis, the other joined by quote.
    pub fn new() -> Self {
        let mut lab = Self::with_origin(Origin::Genesis, Phase::Mrenclave);
        let o = lab.cell(0, B::V1);
        lab.call(o, &Request::Genesis { found: Vec::new() }).unwrap();
        lab.successors(o, Phase::Mrenclave);
        let j = lab.cell(1, B::V1);
        lab.join(o, j).unwrap();
        lab
    }

    /// The same where nothing leaves without a witnessed date.
    pub fn with_dated_exports() -> Self {
        let mut lab = Self::with_origin(Origin::Genesis, Phase::Mrenclave);
        let v1 = &Rc::get_mut(&mut lab.builds).expect("not cloned yet")[&B::V1].policy;
        let mut policy = v1.clone();
        policy.witnesses.as_mut().expect("labs have witnesses").dated_exports = true;
        let v1 = Build::new("1.0.0", policy, 1, 2);
        Rc::get_mut(&mut lab.builds).expect("not cloned yet").insert(B::V1, v1);
        let o = lab.cell(0, B::V1);
        lab.call(o, &Request::Genesis { found: Vec::new() }).unwrap();
        lab.successors(o, Phase::Mrenclave);
        lab
    }

    /// Machines and v1, with nothing held yet.
    pub fn with_origin(origin: Origin, phase: Phase) -> Self {
        let mut chain = devnet();
        chain.produce_until(4).unwrap();
        let pki = DevPki::new([7; 32]).unwrap();
        let machine = |name: &str| Rc::new(Machine::new(&pki, name, &PlatformSpec::default()).unwrap());
        let machines = vec![machine("m0"), machine("m1")];
        let v1 = Build::new("1.0.0", policy(&chain, &pki, origin, 2, phase), 1, 2);
        let time = chain.block_time(chain.height()).unwrap().seconds as u64;
        let collateral = pki.collateral(&CollateralSpec::at(time - 3600)).unwrap().to_json().into_bytes();
        Lab {
            chain,
            machines,
            builds: Rc::new(BTreeMap::from([(B::V1, v1)])),
            cells: Vec::new(),
            plans: Vec::new(),
            fault: None,
            fault_after: 0,
            pki: Rc::new(pki),
            collateral: Rc::new(collateral),
            entropy: 0,
        }
    }

    /// Makes the later builds, which know the commitment of what `holder` holds.
    pub fn successors(&mut self, holder: usize, phase: Phase) {
        let commitment = Commitment(self.status(holder).commitments[0]);
        let origin = Origin::Commitments(vec![EpochCommitment { epoch: 0, commitment }]);
        let p = policy(&self.chain, &self.pki, origin, 3, phase);
        let builds = Rc::get_mut(&mut self.builds).expect("builds are made before a lab is cloned");
        builds.insert(B::V2, Build::new("2.0.0", p.clone(), 1, 2));
        builds.insert(B::V3, Build::new("3.0.0", p.clone(), 1, 3));
        builds.insert(B::Low, Build::new("0.9.0", p.clone(), 1, 1));
        builds.insert(B::Unlisted, Build::new("6.6.6", p, 2, 5));
    }

    /// The cell of a build on a machine, made if it is not there.
    pub fn cell(&mut self, machine: usize, build: B) -> usize {
        let known = self.cells.iter().position(|c| c.machine == machine && c.build == build && !c.debug);
        known.unwrap_or_else(|| self.another_cell(machine, build))
    }

    /// One more cell of a build on a machine, with an empty disk.
    pub fn another_cell(&mut self, machine: usize, build: B) -> usize {
        let disk = Disk::default();
        self.cells.push(Cell { machine, build, disk, debug: false, custody_only: false, running: None });
        self.cells.len() - 1
    }

    /// A second instance over a copy of a cell's disk.
    pub fn clone_cell(&mut self, of: usize) -> usize {
        self.cells.push(self.cells[of].clone());
        self.cells.len() - 1
    }

    pub fn build(&self, cell: usize) -> &Build {
        &self.builds[&self.cells[cell].build]
    }

    /// Stops an enclave as a kill does.
    pub fn kill(&mut self, cell: usize) {
        self.cells[cell].running = None;
    }

    /// Starts an enclave from its newest files, or puts it back to an older generation first.
    pub fn start(&mut self, cell: usize) -> Result<()> {
        self.kill(cell);
        self.entropy += 1;
        let mut entropy = [0; 32];
        entropy[..8].copy_from_slice(&self.entropy.to_le_bytes());
        let c = &self.cells[cell];
        let newest = |files: &[File]| files.last().map(|(_, b)| b.clone().into());
        let opening = Opening {
            custody: newest(&c.disk.custody),
            rehearsal: newest(&c.disk.rehearsal),
            seen_custody: generation(&c.disk.custody),
            seen_rehearsal: generation(&c.disk.rehearsal),
            custody_only: c.custody_only,
        };
        let launch = Launch { debug: c.debug, entropy };
        let enclave = self.launcher(c.machine).launch(&self.builds[&c.build].image, &launch, &opening);
        self.cells[cell].running = Some(enclave.map_err(|e| Failed::Start(e.to_string()))?);
        if self.status(cell).head_height == 0 {
            let at = self.build(cell).policy.chain.checkpoint.height;
            let block = ChainSource::light_block(&self.chain, at).unwrap();
            let fault = self.fault.take();
            self.call(cell, &Request::Checkpoint { block: encode(&block) })?;
            self.fault = fault;
        }
        Ok(())
    }

    /// What runs the enclaves of a machine.
    pub fn launcher(&self, machine: usize) -> Rc<dyn Launcher> {
        backend::launcher(&self.machines[machine])
    }

    /// A running enclave takes one request; it is started first where it is stopped.
    fn ask_enclave(&mut self, cell: usize, request: &Request) -> Result<Response> {
        let answer = self.bytes_to(cell, &encode(request))?;
        Ok(minicbor::decode(&answer).expect("a response is always one"))
    }

    fn bytes_to(&mut self, cell: usize, request: &[u8]) -> Result<Vec<u8>> {
        if self.cells[cell].running.is_none() {
            self.start(cell)?;
        }
        Ok(self.cells[cell].running.as_mut().expect("it was just started").call(request).expect("it answers"))
    }

    /// Asks, stores what has to be stored, gives the reply; the armed fault strikes at the write.
    pub fn call(&mut self, cell: usize, request: &Request) -> Result<Reply> {
        let mut response = self.ask_enclave(cell, request)?;
        while !response.store.is_empty() {
            let fault = self.next_fault();
            if fault == Some(Fault::BeforeWrite) {
                self.kill(cell);
                return Err(Failed::Killed);
            }
            self.write(cell, &response.store);
            if fault == Some(Fault::AfterWrite) {
                self.kill(cell);
                return Err(Failed::Killed);
            }
            response = self.ask_enclave(cell, &Request::Stored { files: response.store })?;
        }
        match response.reply {
            Some(Reply::Refused(r)) => Err(Failed::Refused(r)),
            Some(reply) => Ok(reply),
            None => panic!("neither a file nor a reply"),
        }
    }

    /// The fault, if it is this write's turn.
    fn next_fault(&mut self) -> Option<Fault> {
        if self.fault.is_some() && self.fault_after > 0 {
            self.fault_after -= 1;
            return None;
        }
        self.fault.take()
    }

    /// One request, and whatever comes back: nothing is stored.
    pub fn raw(&mut self, cell: usize, request: &Request) -> Response {
        self.ask_enclave(cell, request).expect("it starts")
    }

    /// The same, bytes to bytes.
    pub fn raw_bytes(&mut self, cell: usize, request: &[u8]) -> Vec<u8> {
        self.bytes_to(cell, request).expect("it starts")
    }

    fn write(&mut self, cell: usize, files: &[SealedFile]) {
        for f in files {
            let disk = &mut self.cells[cell].disk;
            let slot = match f.slot {
                Slot::Custody => &mut disk.custody,
                Slot::Rehearsal => &mut disk.rehearsal,
            };
            slot.push((f.generation, f.bytes.clone()));
        }
    }

    pub fn status(&mut self, cell: usize) -> Status {
        match self.raw(cell, &Request::Status).reply {
            Some(Reply::Status(s)) => s,
            other => panic!("no status: {other:?}"),
        }
    }

    pub fn state(&mut self, cell: usize) -> State {
        self.status(cell).state
    }

    pub fn holds(&mut self, cell: usize) -> bool {
        !self.status(cell).epochs.is_empty()
    }

    pub fn message(&mut self, cell: usize, request: &Request) -> Result<(Vec<u8>, Option<Vec<u8>>, Digest32)> {
        match self.call(cell, request)? {
            Reply::Message { message, report, digest } => Ok((message, report, digest)),
            other => panic!("no message: {other:?}"),
        }
    }

    fn report_target(&self, from: usize, reader: &Identity, local: bool) -> Vec<u8> {
        match local {
            true => TargetInfo::for_identity(reader).to_bytes().to_vec(),
            false => self.launcher(self.cells[from].machine).qe_target().unwrap(),
        }
    }

    fn attest(&self, from: usize, report: Option<Vec<u8>>, local: bool) -> Attestation {
        let report = report.expect("a report was asked for");
        match local {
            true => Attestation::Local { report },
            false => Attestation::Quoted {
                quote: self.launcher(self.cells[from].machine).quote(&report).unwrap(),
                collateral: self.collateral.to_vec(),
            },
        }
    }

    /// Hello of the source, request of the target; by reports where both are on one machine.
    pub fn ask(&mut self, source: usize, target: usize, kind: Kind) -> Result<Asked> {
        let local = self.cells[source].machine == self.cells[target].machine;
        let (hello, _, _) = self.message(source, &Request::Hello)?;
        let opening = Hello::from_cbor(&hello).unwrap();
        let report_target = self.report_target(target, &opening.source, local);
        let (request, report, digest) = self.message(target, &Request::Ask { hello, kind, report_target })?;
        let platform = match local {
            true => self.status(source).platform,
            false => self.machines[self.cells[target].machine].platform().id(),
        };
        let target_digest = self.status(target).identity.digest();
        let record =
            Record { kind, epoch: opening.epoch, proposal_id: 0, platform, target: target_digest, request: digest };
        let attestation = self.attest(target, report, local);
        Ok(Asked { source, target, local, request, record, attestation })
    }

    /// Puts a record into a block; none while the chain has halted.
    pub fn publish(&mut self, record: &Record) -> Option<Included> {
        if self.chain.halted().is_some() {
            return None;
        }
        let hash = ChainSource::send_memo(&mut self.chain, &record.encode()).ok()?;
        self.chain.produce_block().ok()?;
        self.chain.included(&hash).unwrap()
    }

    /// The source judges and offers.
    pub fn offer(&mut self, asked: &Asked, evidence: OfferEvidence) -> Result<Offered> {
        let wants_giver = asked.record.kind != Kind::Upgrade;
        let report_target = (wants_giver && !asked.local).then(|| self.report_target(asked.source, &NOBODY, false));
        let request = Request::Offer {
            request: asked.request.clone(),
            attestation: asked.attestation.clone(),
            evidence,
            report_target,
        };
        let (offer, report, transcript) = self.message(asked.source, &request)?;
        let giver = report.map(|r| self.attest(asked.source, Some(r), false));
        Ok(Offered { source: asked.source, target: asked.target, local: asked.local, offer, transcript, giver })
    }

    pub fn accept(&mut self, o: &Offered) -> Result<()> {
        self.call(o.target, &Request::Accept { offer: o.offer.clone(), giver: o.giver.clone() }).map(|_| ())
    }

    /// Challenge, restart of the target, receipt, confirmation.
    pub fn confirm(&mut self, o: &Offered) -> Result<()> {
        let (receipt, attestation) = self.receipt(o)?;
        self.call(o.source, &Request::Confirm { receipt, attestation }).map(|_| ())
    }

    /// The target's receipt for a fresh challenge, after a restart.
    pub fn receipt(&mut self, o: &Offered) -> Result<(Vec<u8>, Attestation)> {
        let (challenge, _, _) = self.message(o.source, &Request::Challenge { transcript: o.transcript })?;
        self.start(o.target)?;
        self.prove(o, challenge)
    }

    /// The answer to a challenge, by whatever instance runs.
    pub fn prove(&mut self, o: &Offered, challenge: Vec<u8>) -> Result<(Vec<u8>, Attestation)> {
        let opening = Challenge::from_cbor(&challenge).unwrap();
        let report_target = self.report_target(o.target, &opening.source, o.local);
        let (receipt, report, _) = self.message(o.target, &Request::Prove { challenge, report_target })?;
        Ok((receipt, self.attest(o.target, report, o.local)))
    }

    pub fn gather(&self, cell: usize) -> Gather<'_> {
        Gather::new(&self.chain, &self.build(cell).policy.chain)
    }

    /// The heights that a cell trusts.
    pub fn trusted(&mut self, cell: usize) -> Vec<u64> {
        let status = self.status(cell);
        let mut out = status.anchors.clone();
        out.push(status.head_height);
        out
    }

    /// Offers ahead of X with a record in block `tx`, at a head.
    pub fn offer_ahead(&mut self, asked: &Asked, proposal: u64, tx: &Included, head: u64) -> Result<Offered> {
        let trusted = self.trusted(asked.source);
        let evidence = self.gather(asked.source).ahead(&trusted, proposal, tx, head)?;
        self.offer(asked, OfferEvidence::Ahead(evidence.to_cbor()))
    }

    /// Offers by the proof under header `at`.
    pub fn offer_at_x(&mut self, asked: &Asked, proposal: u64, at: u64) -> Result<Offered> {
        let trusted = self.trusted(asked.source);
        let evidence = self.gather(asked.source).at_x(&trusted, proposal, at)?;
        self.offer(asked, OfferEvidence::AtX(evidence.to_cbor()))
    }

    /// A whole join.
    pub fn join(&mut self, source: usize, target: usize) -> Result<()> {
        let asked = self.ask(source, target, Kind::Join)?;
        let tx = self.publish(&asked.record).expect("the chain lives");
        let o = self.offer_join(&asked, &tx)?;
        self.accept(&o)?;
        self.confirm(&o)
    }

    pub fn offer_join(&mut self, asked: &Asked, tx: &Included) -> Result<Offered> {
        let trusted = self.trusted(asked.source);
        let head = self.chain.height();
        let evidence = self.gather(asked.source).record(&trusted, tx, head)?;
        self.offer(asked, OfferEvidence::Record(evidence.to_cbor()))
    }

    /// A whole handover ahead of X.
    pub fn ahead(&mut self, source: usize, target: usize, proposal: u64) -> Result<Offered> {
        let mut asked = self.ask(source, target, Kind::Upgrade)?;
        asked.record.proposal_id = proposal;
        let tx = self.publish(&asked.record).expect("the chain lives");
        let o = self.offer_ahead(&asked, proposal, &tx, tx.height)?;
        self.accept(&o)?;
        self.confirm(&o)?;
        Ok(o)
    }

    /// A whole handover at X, on one machine.
    pub fn at_x(&mut self, source: usize, target: usize, proposal: u64, at: u64) -> Result<Offered> {
        let asked = self.ask(source, target, Kind::Upgrade)?;
        let o = self.offer_at_x(&asked, proposal, at)?;
        self.accept(&o)?;
        self.confirm(&o)?;
        Ok(o)
    }

    /// A whole rehearsal.
    pub fn rehearse(&mut self, source: usize, target: usize) -> Result<()> {
        let asked = self.ask(source, target, Kind::Rehearsal)?;
        let o = self.offer(&asked, OfferEvidence::None)?;
        self.accept(&o)?;
        self.confirm(&o)
    }

    /// Rehearses a cell as the source, with a second instance of its own build.
    pub fn rehearse_onward(&mut self, cell: usize) -> Result<()> {
        let (machine, build) = (self.cells[cell].machine, self.cells[cell].build);
        let twin = self.another_cell(machine, build);
        let done = self.rehearse(cell, twin);
        self.cells.truncate(twin);
        done
    }

    pub fn activate(&mut self, cell: usize, proposal: u64, at: u64) -> Result<()> {
        let trusted = self.trusted(cell);
        let evidence = self.gather(cell).at_x(&trusted, proposal, at)?.to_cbor();
        self.call(cell, &Request::Activate { evidence }).map(|_| ())
    }

    /// Shows a cell what became of a plan at the newest head.
    pub fn observe(&mut self, cell: usize, plan: &Plan) -> Result<()> {
        let trusted = self.trusted(cell);
        let head = self.chain.height();
        let evidence = self.gather(cell).standing(&trusted, &plan.name, plan.height, head)?.to_cbor();
        self.call(cell, &Request::Observe { evidence }).map(|_| ())
    }

    /// Moves a cell's head to the newest block, and shows it nothing of any plan.
    pub fn advance(&mut self, cell: usize) {
        let from = self.status(cell).head_height;
        if let Ok(path) = self.gather(cell).path(from, self.chain.height()) {
            let _ = self.call(cell, &Request::Advance { path: encode(&path) });
        }
    }

    /// A barrier receipt of `from` for `reader`: a report on one machine, or a quote.
    pub fn barrier_receipt(&mut self, from: usize, reader: usize, local: bool) -> Result<AttestedReceipt> {
        let reader = self.status(reader).identity;
        let report_target = self.report_target(from, &reader, local);
        let (receipt, report, _) = self.message(from, &Request::BarrierReceipt { report_target })?;
        Ok(AttestedReceipt { receipt, attestation: self.attest(from, report, local) })
    }

    pub fn erase(&mut self, cell: usize, receipts: Vec<AttestedReceipt>) -> Result<()> {
        self.call(cell, &Request::Erase { receipts, power: None }).map(|_| ())
    }

    /// Proposes, votes and decides a plan `lead` blocks after the decision. None while the chain has halted.
    pub fn schedule(&mut self, build: Option<B>, lead: u64) -> Option<Plan> {
        let name = format!("p{}", self.plans.len());
        self.schedule_named(&name, build, self.chain.height() + 7 + lead)
    }

    pub fn schedule_named(&mut self, name: &str, build: Option<B>, height: u64) -> Option<Plan> {
        let info = build.map_or(String::new(), |b| {
            format!("{{\"enclave\":{{\"mrenclave\":\"{}\"}}}}", hex::encode(self.builds[&b].measurement.0))
        });
        let id = self.propose(Devnet::upgrade_message(name, height, &info))?;
        let plan = Plan { id, name: name.into(), height, build };
        // Even if the chain halts before the vote is over: it may pass later.
        self.plans.push(plan.clone());
        self.pass(id)?;
        Some(plan)
    }

    /// Cancels the pending plan by a vote.
    pub fn cancel(&mut self) -> Option<u64> {
        let id = self.propose(Devnet::cancel_message())?;
        self.pass(id)
    }

    fn propose(&mut self, message: baton_devnet::sdk::Any) -> Option<u64> {
        self.chain.propose(vec![message], &Text::titled("lab"), false).ok()?
    }

    fn pass(&mut self, id: u64) -> Option<u64> {
        self.chain.carry(id, YES).ok()?;
        (self.chain.proposal(id)?.status == 3).then_some(id)
    }

    /// Blocks up to a height, or to a halt below it.
    pub fn produce_until(&mut self, height: u64) {
        while self.chain.halted().is_none() && self.chain.height() < height {
            self.chain.produce_block().unwrap();
        }
    }

    /// Ends a halt with the new binary.
    pub fn resume(&mut self) {
        let name = self.chain.halted().expect("the chain has halted").name.clone();
        self.chain.resume_with_handler(&name).unwrap();
    }

    /// Puts a cell back to an older generation of its custody file, counted from the newest.
    pub fn roll_back(&mut self, cell: usize, by: usize) {
        self.kill(cell);
        let files = &mut self.cells[cell].disk.custody;
        let keep = files.len().saturating_sub(by).max(1).min(files.len());
        files.truncate(keep);
    }
}

fn generation(files: &[File]) -> u64 {
    files.iter().map(|(g, _)| *g).max().unwrap_or(0)
}

/// Named where no report will be read by anyone but the quoting enclave.
const NOBODY: Identity = Identity {
    platform_tag: 1,
    measurement: Measurement([0; 32]),
    signer: Signer([0; 32]),
    product_id: 0,
    svn: 0,
    attributes: baton_attest::identity::Attributes { flags: 0, xfrm: 0 },
    misc_select: 0,
    config_id: [0; 64],
    config_svn: 0,
};
