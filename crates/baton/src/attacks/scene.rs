//! Scenes: a small world, brought to where an attack begins. The host of every scene is hostile, so it may
//! do whatever a host can: edit evidence, copy sealed files, quote with its own machines.

use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result};
use baton_attest::identity::{Digest32, Identity, encode};
use baton_attest::report::TargetInfo;
use baton_chain::evidence::UpgradeEvidence;
use baton_chain::light::LightBlock;
use baton_chain::record::Kind;
use baton_core::keyring::Commitment;
use baton_core::messages::{Attestation, Hello, Message, report_data};
use baton_core::policy::{EpochCommitment, Origin, Policy};
use baton_devnet::{Devnet, Text, YES};
use baton_enclave::sim::{Image, Machine};
use baton_enclave::wire::{OfferEvidence, Reply, Request};
use baton_host::chain::{ChainSource, Included};
use baton_host::gather::Gather;
use baton_host::link::Launcher;
use baton_host::relay::{self, Asked, Channel, Offered};
use baton_host::seat::Seat;

use crate::world::ops::trusted;
use super::Bench;
use crate::world::{Build, Named, Node, World};

/// Blocks from a proposal to its decision, and a few more.
pub const VOTE_BLOCKS: u64 = 28;

/// A world with one node that holds epoch 0 in build v1, and builds v2 and v3 beside it.
pub struct Scene {
    /// The world.
    pub world: World,
    /// Build v1, in use.
    pub v1: Build,
    /// Build v2, which people vote for.
    pub v2: Build,
    /// Build v3, which developers signed and people did not vote for.
    pub v3: Build,
    /// Node 0's v1: the holder.
    pub o: Seat,
    /// The world's folder goes when the scene does.
    _dir: tempfile::TempDir,
}

impl Scene {
    /// With the world's own policy.
    pub fn new(b: &Bench) -> Result<Self> {
        Self::with(b, |_| {})
    }

    /// With a policy of its own in every build.
    pub fn with(b: &Bench, tweak: impl Fn(&mut Policy)) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("baton-attacks-").tempdir()?;
        let mut world = World::create_on(dir.path(), b.seed, 1, b.platform.clone())?;
        world.produce_until(3)?;
        let mut policy = world.policy(Origin::Genesis, 2)?;
        tweak(&mut policy);
        let v1 = world.platform().build(Named::V1, policy, 2)?;
        world.seat_named(0, "v1", &v1)?;
        let mut o = world.nodes[0].take("v1")?;
        o.call(&Request::Genesis { found: Vec::new() })?;
        let commitment = Commitment(*o.status()?.commitments.first().context("no commitment after genesis")?);
        world.produce_until(6)?;
        let later = |which: Named, svn| {
            let mut policy = world.policy(Origin::Commitments(vec![EpochCommitment { epoch: 0, commitment }]), 5)?;
            tweak(&mut policy);
            world.platform().build(which, policy, svn)
        };
        let (v2, v3) = (later(Named::V2, 2)?, later(Named::V3, 3)?);
        Ok(Scene { world, v1, v2, v3, o, _dir: dir })
    }

    /// A seat of a build on a node, running, with its checkpoint shown.
    pub fn seat(&mut self, node: usize, name: &str, build: &Build) -> Result<Seat> {
        self.world.seat_named(node, name, build)?;
        self.world.nodes[node].take(name)
    }

    /// A seat on a machine that the world does not have yet.
    pub fn seat_on(&mut self, machine: Rc<Machine>, name: &str, build: &Build) -> Result<Seat> {
        let dir = self.world.dir().join(format!("machine{}", self.world.nodes.len()));
        let launcher = self.world.platform().launcher(&machine)?;
        self.world.nodes.push(Node::new(&dir, name, machine, launcher));
        self.seat(self.world.nodes.len() - 1, name, build)
    }

    /// The plan text that names a build.
    pub fn info(build: &Build) -> String {
        format!(r#"{{"binaries":{{}},"enclave":{{"mrenclave":"{}"}}}}"#, build.measurement)
    }

    /// A plan height so far away that a vote can end, with a lead window of `room` blocks behind it.
    pub fn plan_height(&self, room: u64) -> u64 {
        self.world.chain.height() + VOTE_BLOCKS + room
    }

    /// Proposes and carries a plan.
    pub fn pass(&mut self, plan: &str, height: u64, info: &str) -> Result<u64> {
        self.world.vote(plan, height, info)
    }

    /// Proposes a plan that nobody has voted on yet.
    pub fn propose(&mut self, plan: &str, height: u64, info: &str) -> Result<u64> {
        let message = Devnet::upgrade_message(plan, height, info);
        propose_into(&mut self.world.chain, vec![message], plan)
    }

    /// v2's plan has passed, and its lead window is open.
    pub fn passed(b: &Bench) -> Result<(Self, u64)> {
        let mut s = Self::new(b)?;
        let proposal = s.pass_v2(14)?;
        Ok((s, proposal))
    }

    /// Carries a plan that names v2, `room` blocks behind the vote.
    pub fn pass_v2(&mut self, room: u64) -> Result<u64> {
        let (height, info) = (self.plan_height(room), Self::info(&self.v2));
        self.pass("v2", height, &info)
    }

    /// The plan's height.
    pub fn pending_height(&self) -> Result<u64> {
        Ok(u64::try_from(self.world.chain.plan().context("no plan is pending")?.height)?)
    }

    /// Publishes the record of a request.
    pub fn record(&mut self, asked: &Asked, proposal: u64) -> Result<Included> {
        self.world.publish(&asked.record(proposal).encode())
    }

    /// Genuine evidence of the route ahead, at the head that holds the record.
    pub fn ahead(&mut self, proposal: u64, tx: &Included) -> Result<UpgradeEvidence> {
        let trusted = trusted(&self.o.status()?);
        Ok(Gather::new(&self.world.chain, &self.v1.policy.chain).ahead(&trusted, proposal, tx, tx.height)?)
    }

    /// Asks `o` to hand over to `n` by the route ahead, with evidence as the host edits it; `o` is put back
    /// afterwards. The outer result is the set-up, the inner one what the enclave said.
    pub fn try_ahead(
        &mut self,
        n: &mut Seat,
        proposal: u64,
        edit: impl FnOnce(&mut Self, &mut UpgradeEvidence) -> Result<()>,
    ) -> Result<Result<Offered>> {
        let asked = relay::ask(&mut self.o, n, Kind::Upgrade, Channel::Local)?;
        self.try_asked(&asked, proposal, edit)
    }

    /// The same for a request in hand.
    pub fn try_asked(
        &mut self,
        asked: &Asked,
        proposal: u64,
        edit: impl FnOnce(&mut Self, &mut UpgradeEvidence) -> Result<()>,
    ) -> Result<Result<Offered>> {
        let tx = self.record(asked, proposal)?;
        let mut evidence = self.ahead(proposal, &tx)?;
        edit(self, &mut evidence)?;
        let saved = Saved::of(&self.o)?;
        let outcome = relay::offer(&mut self.o, asked, OfferEvidence::Ahead(evidence.to_cbor()), Some(Channel::Local));
        saved.put_back(&mut self.o)?;
        Ok(outcome.map_err(Into::into))
    }

    /// A joiner asks `o` by quote; `o` is put back afterwards.
    pub fn try_join(&mut self, joiner: &mut Seat, collateral: &[u8]) -> Result<Result<Offered>> {
        let channel = Channel::Quoted { collateral };
        let asked = relay::ask(&mut self.o, joiner, Kind::Join, channel)?;
        let tx = self.record(&asked, 0)?;
        let evidence = self.join_evidence(&tx)?;
        let saved = Saved::of(&self.o)?;
        let outcome = relay::offer(&mut self.o, &asked, evidence, Some(channel));
        saved.put_back(&mut self.o)?;
        Ok(outcome.map_err(Into::into))
    }

    /// Evidence of a join.
    pub fn join_evidence(&mut self, tx: &Included) -> Result<OfferEvidence> {
        let trusted = trusted(&self.o.status()?);
        let gather = Gather::new(&self.world.chain, &self.v1.policy.chain);
        Ok(OfferEvidence::Record(gather.record(&trusted, tx, tx.height)?.to_cbor()))
    }

    /// CBOR of the proof at X, for a seat.
    pub fn at_x(&self, seat: &mut Seat, build: &Build, proposal: u64, x: u64) -> Result<Vec<u8>> {
        let trusted = trusted(&seat.status()?);
        Ok(Gather::new(&self.world.chain, &build.policy.chain).at_x(&trusted, proposal, x)?.to_cbor())
    }

    /// The same for `o`.
    pub fn at_x_of_o(&mut self, proposal: u64, x: u64) -> Result<Vec<u8>> {
        let trusted = trusted(&self.o.status()?);
        Ok(Gather::new(&self.world.chain, &self.v1.policy.chain).at_x(&trusted, proposal, x)?.to_cbor())
    }

    /// A whole handover ahead of X from `o` to `n`.
    pub fn hand_over(&mut self, n: &mut Seat, proposal: u64) -> Result<()> {
        let asked = relay::ask(&mut self.o, n, Kind::Upgrade, Channel::Local)?;
        let tx = self.record(&asked, proposal)?;
        let evidence = self.ahead(proposal, &tx)?.to_cbor();
        relay::hand_over(&mut self.o, n, &asked, OfferEvidence::Ahead(evidence), Channel::Local)?;
        Ok(())
    }

    /// `o` follows the chain to its last block.
    pub fn follow(&mut self) -> Result<()> {
        let from = self.o.status()?.head_height;
        let to = self.world.chain.height();
        let path = Gather::new(&self.world.chain, &self.v1.policy.chain).path(from, to)?;
        self.o.call(&Request::Advance { path: encode(&path) })?;
        Ok(())
    }

    /// A light block of the chain.
    pub fn block(&self, height: u64) -> Result<LightBlock> {
        Ok(ChainSource::light_block(&self.world.chain, height)?)
    }
}

/// Proposes messages on a chain; returns the number.
pub fn propose_into(chain: &mut Devnet, messages: Vec<baton_devnet::sdk::Any>, title: &str) -> Result<u64> {
    chain.propose(messages, &Text::titled(title), false)?.context("the chain took no proposal")
}

/// Lets all validators vote yes on several proposals at once, and waits until they are decided.
pub fn carry_all(chain: &mut Devnet, proposals: &[(u64, i32)]) -> Result<()> {
    for (proposal, option) in proposals {
        chain.vote_all(*proposal, *option)?;
    }
    chain.produce_block()?;
    for (proposal, _) in proposals {
        chain.decide_proposal(*proposal)?;
    }
    Ok(())
}

/// A passed proposal on any chain, a fork too.
pub fn pass_on(chain: &mut Devnet, plan: &str, height: u64, info: &str) -> Result<u64> {
    let id = propose_into(chain, vec![Devnet::upgrade_message(plan, height, info)], plan)?;
    chain.carry(id, YES)?;
    Ok(id)
}

/// The sealed files of a seat as they are now. Hosts can copy files and put them back; that is why
/// freshness never rests on them.
pub struct Saved {
    files: Vec<(PathBuf, Vec<u8>)>,
    dir: PathBuf,
}

impl Saved {
    /// Copies the files.
    pub fn of(seat: &Seat) -> Result<Self> {
        Self::of_dir(seat.store().dir())
    }

    fn of_dir(dir: &Path) -> Result<Self> {
        let mut files = Vec::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            files.push((path.clone(), fs::read(&path)?));
        }
        Ok(Saved { files, dir: dir.into() })
    }

    /// Puts them back in place of what is there, and starts the enclave from them.
    pub fn put_back(&self, seat: &mut Seat) -> Result<()> {
        seat.stop();
        for entry in fs::read_dir(&self.dir)? {
            fs::remove_file(entry?.path())?;
        }
        for (path, bytes) in &self.files {
            fs::write(path, bytes)?;
        }
        Ok(seat.start()?)
    }

    /// A second instance of the same enclave over a copy of the files: what cloning a machine's disk gives.
    pub fn clone_seat(&self, seat: &Seat, dir: &Path) -> Result<Seat> {
        let mut copy = self.copy_for(seat, dir, seat.image().clone())?;
        copy.start()?;
        Ok(copy)
    }

    /// The files in a folder of another image on the same machine; not started.
    pub fn copy_for(&self, seat: &Seat, dir: &Path, image: Image) -> Result<Seat> {
        let sealed = dir.join("sealed");
        fs::create_dir_all(&sealed)?;
        for (path, bytes) in &self.files {
            fs::write(sealed.join(path.file_name().context("a file has a name")?), bytes)?;
        }
        let (machine, launcher) = (seat.machine().context("a development machine")?.clone(), seat.launcher().clone());
        Ok(Seat::open_on(dir, machine, launcher, image, Box::new(rand::random))?)
    }
}

/// The hello of a source.
pub fn hello(source: &mut Seat) -> Result<(Vec<u8>, Hello)> {
    let (message, _) = message(source.call(&Request::Hello)?)?;
    let hello = Hello::from_cbor(&message)?;
    Ok((message, hello))
}

/// A message in a reply, and the report over it.
pub fn message(reply: Reply) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
    match reply {
        Reply::Message { message, report, .. } => Ok((message, report)),
        other => anyhow::bail!("the enclave answered {other:?}"),
    }
}

/// What a machine's CPU reports of an enclave with this identity: for identities that no launch on it
/// gives, and for what a faulty enclave would say. The host has no such enclave's memory.
pub fn report_as(on: &dyn Launcher, identity: &Identity, reader: &Identity, digest: &Digest32) -> Result<Attestation> {
    let report = forge(on, identity, &TargetInfo::for_identity(reader), digest)?;
    Ok(Attestation::Local { report })
}

/// The same as a quote.
pub fn quote_as(on: &dyn Launcher, identity: &Identity, digest: &Digest32, collateral: &[u8]) -> Result<Attestation> {
    let target: [u8; 512] = on.qe_target()?.try_into().map_err(|_| anyhow::anyhow!("a TARGETINFO has 512 bytes"))?;
    let report = forge(on, identity, &TargetInfo::parse(&target)?, digest)?;
    Ok(Attestation::Quoted { quote: on.quote(&report)?, collateral: collateral.to_vec() })
}

fn forge(on: &dyn Launcher, identity: &Identity, target: &TargetInfo, digest: &Digest32) -> Result<Vec<u8>> {
    let cpu = on.software_cpu().context("only a software CPU forges reports")?;
    Ok(cpu.report_as(identity, target, &report_data(digest)).to_bytes().to_vec())
}
