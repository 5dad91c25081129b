//! What operators and people do in a world: genesis, joins, votes, handovers, activation, erasure.
//!
//! Each operation looks at what is there and does what is missing, so it can be run again after any crash.

use std::fs;

use anyhow::{Context, Result, bail};
use baton_attest::identity::{Identity, PlatformId};
use baton_chain::admission::{AdmissionEvidence, vouch_word, vouched};
use baton_chain::gov::Validator;
use baton_chain::record::Kind;
use baton_chain::staking::{STAKING_STORE, validator_key};
use baton_core::custody::State;
use baton_core::policy::Admission;
use baton_devnet::{Account, Devnet, Text, YES};
use baton_enclave::wire::{AttestedReceipt, OfferEvidence, Request, Status};
use baton_host::bundle::Bundle;
use baton_host::chain::{ChainSource, Included};
use baton_host::gather::Gather;
use baton_host::relay::{self, Channel};
use baton_host::seat::{Seat, SeatError};
use prost::Message;

use super::{Build, Named, Platform, World};

/// The plan of a world's upgrade.
pub const PLAN_NAME: &str = "enclave-v2";

impl World {
    /// A node's seat of a build, running, with the checkpoint shown.
    pub fn seat(&mut self, node: usize, which: Named) -> Result<&mut Seat> {
        let build = self.build(which)?;
        self.seat_named(node, which.name(), &build)
    }

    /// The same under another name.
    pub fn seat_named(&mut self, node: usize, name: &str, build: &Build) -> Result<&mut Seat> {
        let chain = &self.chain;
        let seat = self.nodes.get_mut(node).context("no such node")?.seat_named(name, build)?;
        if seat.status()?.head_height == 0 {
            let block = ChainSource::light_block(chain, build.policy.chain.checkpoint.height)?;
            seat.call(&Request::Checkpoint { block: baton_attest::identity::encode(&block) })?;
        }
        Ok(seat)
    }

    /// What a seat holds.
    pub fn status(&mut self, node: usize, which: Named) -> Result<Status> {
        Ok(self.seat(node, which)?.status()?)
    }

    /// Evidence for enclaves of this world.
    pub fn gather<'a>(&'a self, build: &Build) -> Gather<'a> {
        Gather::new(&self.chain, &build.policy.chain)
    }

    /// Genesis on a node; its commitment is published.
    pub fn genesis(&mut self, node: usize) -> Result<()> {
        let commitment_path = self.dir().join("epoch0.commitment");
        let seat = self.seat(node, Named::V1)?;
        if seat.status()?.state == State::Empty {
            let found = seat.store().anything_sealed()?;
            // The checkpoint was sealed a moment ago: that is this seat's own file, and holds no keyring.
            let own = seat.store().find(baton_core::seal::Slot::Custody)?;
            let found = found
                .iter()
                .filter(|p| !own.iter().any(|f| f.path == **p))
                .map(|p| p.display().to_string())
                .collect();
            seat.call(&Request::Genesis { found })?;
        }
        let commitment = *seat.status()?.commitments.first().context("genesis left no commitment")?;
        fs::write(commitment_path, format!("{commitment}\n"))?;
        let (build, machine) = (self.build(Named::V1)?, self.nodes[node].machine().platform().id());
        self.vouch_for(&build, machine)
    }

    /// Publishes a memo and waits for its block.
    pub fn publish(&mut self, memo: &str) -> Result<Included> {
        let hash = ChainSource::send_memo(&mut self.chain, memo)?;
        self.produce()?;
        self.chain.included(&hash)?.context("the transaction is in no block yet")
    }

    /// A machine joins a build: quotes both ways, a record, a fresh head.
    pub fn join(&mut self, giver: usize, joiner: usize, which: Named) -> Result<()> {
        if self.status(joiner, which)?.state != State::Empty {
            return Ok(());
        }
        let build = self.build(which)?;
        let collateral = self.collateral()?;
        let channel = Channel::Quoted { collateral: &collateral };
        self.seat(giver, which)?;
        let mut source = self.nodes[giver].take(which.name())?;
        let mut target = self.nodes[joiner].take(which.name())?;
        let result = self.join_seats(&mut source, &mut target, &build, channel);
        self.nodes[giver].put_back(which.name(), source);
        self.nodes[joiner].put_back(which.name(), target);
        result
    }

    fn join_seats(&mut self, source: &mut Seat, target: &mut Seat, build: &Build, channel: Channel<'_>) -> Result<()> {
        self.vouch_for(build, target.launcher().platform_id())?;
        let asked = relay::ask(source, target, Kind::Join, channel)?;
        let tx = self.publish(&asked.record(0).encode())?;
        let trusted = trusted(&source.status()?);
        let mut evidence = self.gather(build).record(&trusted, &tx, tx.height)?;
        evidence.admission = self.admission(build, target, tx.height)?;
        relay::hand_over(source, target, &asked, OfferEvidence::Record(evidence.to_cbor()), channel)?;
        source.store_log()?;
        Ok(target.store_log()?)
    }

    /// A rehearsal on one node: the running build rehearses with the next, and the next with a second
    /// instance of itself, as the source.
    pub fn rehearse(&mut self, node: usize, from: Named, to: Named) -> Result<()> {
        let next = self.build(to)?;
        let twin = format!("{}-twin", to.name());
        self.seat(node, from)?;
        self.seat(node, to)?;
        self.seat_named(node, &twin, &next)?;
        let node = &mut self.nodes[node];
        let (o, n) = node.pair(from.name(), to.name())?;
        if !n.status()?.rehearsed {
            relay::rehearse(o, n, Channel::Local)?;
        }
        let (n, t) = node.pair(to.name(), &twin)?;
        if !n.status()?.rehearsed_as_source {
            relay::rehearse(n, t, Channel::Local)?;
        }
        Ok(())
    }

    /// A proposal for a build, voted on by all validators, until it has passed.
    pub fn vote(&mut self, plan: &str, height: u64, info: &str) -> Result<u64> {
        let message = Devnet::upgrade_message(plan, height, info);
        let id = self
            .chain
            .propose(vec![message], &Text::titled(&format!("Upgrade to {plan}")), false)?
            .context("the chain took no proposal")?;
        self.chain.carry(id, YES)?;
        self.save_chain()?;
        Ok(id)
    }

    /// Handover ahead of X on one machine.
    pub fn upgrade_ahead(&mut self, node: usize, from: Named, to: Named, proposal: u64) -> Result<()> {
        self.seat(node, to)?;
        let state = self.status(node, from)?.state;
        if matches!(state, State::Confirmed | State::Retired) {
            return Ok(());
        }
        let build = self.build(from)?;
        let mut o = self.nodes[node].take(from.name())?;
        let mut n = self.nodes[node].take(to.name())?;
        let result = self.upgrade_seats(&mut o, &mut n, &build, proposal);
        self.nodes[node].put_back(from.name(), o);
        self.nodes[node].put_back(to.name(), n);
        result
    }

    fn upgrade_seats(&mut self, o: &mut Seat, n: &mut Seat, build: &Build, proposal: u64) -> Result<()> {
        let asked = relay::ask(o, n, Kind::Upgrade, Channel::Local)?;
        let tx = self.publish(&asked.record(proposal).encode())?;
        let trusted = trusted(&o.status()?);
        let evidence = self.gather(build).ahead(&trusted, proposal, &tx, tx.height)?;
        self.keep_evidence("ahead", &evidence.to_cbor())?;
        relay::hand_over(o, n, &asked, OfferEvidence::Ahead(evidence.to_cbor()), Channel::Local)?;
        o.store_log()?;
        Ok(n.store_log()?)
    }

    /// Handover at X on one machine: no record, no head beyond X.
    pub fn upgrade_at_x(&mut self, node: usize, from: Named, to: Named, proposal: u64, x: u64) -> Result<()> {
        let target = self.seat(node, to)?;
        let waiting = target.status()?.state == State::Empty;
        let o = self.seat(node, from)?;
        if !waiting && o.status()?.state != State::Offered {
            return Ok(());
        }
        let trusted = trusted(&o.status()?);
        let build = self.build(from)?;
        // A late node asks nobody but the peer that kept the bundle.
        let evidence = match Bundle::load(&self.bundle_path(0)) {
            Ok(bundle) => Gather::new(&bundle, &build.policy.chain).at_x(&trusted, proposal, x)?,
            Err(_) => self.gather(&build).at_x(&trusted, proposal, x)?,
        }
        .to_cbor();
        let (o, n) = self.nodes[node].pair(from.name(), to.name())?;
        let asked = relay::ask(o, n, Kind::Upgrade, Channel::Local)?;
        relay::hand_over(o, n, &asked, OfferEvidence::AtX(evidence), Channel::Local)?;
        o.store_log()?;
        Ok(n.store_log()?)
    }

    /// A node stores the bundle of X, with a way from every height that an enclave of the network trusts.
    pub fn keep_bundle(&mut self, node: usize, from: Named, to: Named, proposal: u64, plan: u64) -> Result<usize> {
        let mut starts = Vec::new();
        for i in 0..self.nodes.len() {
            for which in [from, to] {
                starts.extend(trusted(&self.status(i, which)?));
            }
        }
        let policy = self.build(from)?.policy.chain;
        let bundle = Bundle::gather(&self.chain, &policy, proposal, plan, &starts)?;
        bundle.save(&self.bundle_path(node))?;
        Ok(bundle.blocks())
    }

    /// Where a node keeps its bundle.
    pub fn bundle_path(&self, node: usize) -> std::path::PathBuf {
        self.dir().join("nodes").join(format!("node{node}")).join("bundle.cbor")
    }

    /// Shows a node's new build the proof at X, from the bundle that a peer kept: the chain is not asked.
    pub fn activate(&mut self, node: usize, which: Named, proposal: u64, x: u64) -> Result<()> {
        let build = self.build(which)?;
        let status = self.status(node, which)?;
        let evidence = match Bundle::load(&self.bundle_path(0)) {
            Ok(bundle) => Gather::new(&bundle, &build.policy.chain).at_x(&trusted(&status), proposal, x),
            Err(_) => self.gather(&build).at_x(&trusted(&status), proposal, x),
        };
        let evidence = match evidence {
            Ok(e) => e.to_cbor(),
            // An enclave that came later trusts a header above X: its own way leads from its checkpoint.
            Err(_) => self.gather(&build).at_x(&trusted(&status), proposal, x)?.to_cbor(),
        };
        self.keep_evidence("at-x", &evidence)?;
        let seat = self.seat(node, which)?;
        seat.call(&Request::Activate { evidence })?;
        Ok(seat.store_log()?)
    }

    /// Shows a seat what became of its plan at the newest head.
    pub fn observe(&mut self, node: usize, which: Named, plan: &str, x: u64) -> Result<()> {
        let build = self.build(which)?;
        let status = self.status(node, which)?;
        let head = self.chain.height();
        let evidence = self.gather(&build).standing(&trusted(&status), plan, x, head)?.to_cbor();
        self.keep_evidence("standing", &evidence)?;
        let seat = self.seat(node, which)?;
        seat.call(&Request::Observe { evidence })?;
        Ok(())
    }

    /// Barrier receipts for a node: a report of its own successor, and quotes of all that can give one.
    pub fn receipts(&mut self, node: usize, from: Named, to: Named, machines: &[usize]) -> Result<Vec<AttestedReceipt>> {
        let reader: Identity = self.status(node, from)?.identity;
        let mut out = vec![relay::barrier_receipt(self.seat(node, to)?, &reader, Channel::Local)?];
        if let Platform::Sgx(hardware) = self.platform().clone() {
            for m in machines {
                out.push(hardware.receipt(self.seat(*m, to)?, &reader)?);
            }
            return Ok(out);
        }
        let collateral = self.collateral()?;
        for m in machines {
            let channel = Channel::Quoted { collateral: &collateral };
            out.push(relay::barrier_receipt(self.seat(*m, to)?, &reader, channel)?);
        }
        Ok(out)
    }

    /// Asks a node's old build to erase its copy.
    pub fn erase(&mut self, node: usize, from: Named, receipts: Vec<AttestedReceipt>) -> Result<()> {
        let power = self.power(node, from)?;
        let seat = self.seat(node, from)?;
        seat.erase(receipts, power)?;
        match seat.status()?.state {
            State::Retired => Ok(()),
            other => bail!("custody is {other} after the erase"),
        }
    }

    /// Which validator answers for a machine: each node its own, and the machines beyond them are the first ones' second.
    fn validator_of(&self, machine: &PlatformId) -> Option<usize> {
        let node = self.nodes.iter().position(|n| n.machine().platform().id() == *machine)?;
        node.checked_rem(self.progress.powers.len())
    }

    /// A validator's account.
    pub fn operator(&self, validator: usize) -> [u8; 20] {
        self.chain.address(Account::Validator(validator))
    }

    /// A validator names a machine in its own record, where the policy wants that and the record does not say it yet.
    pub fn vouch_for(&mut self, build: &Build, machine: PlatformId) -> Result<()> {
        if build.policy.admission != Admission::Vouched {
            return Ok(());
        }
        let validator = self.validator_of(&machine).context("no validator answers for this machine")?;
        let key = validator_key(&self.operator(validator));
        let record = ChainSource::state(&self.chain, STAKING_STORE, &key, self.chain.height())?.value.unwrap_or_default();
        let mut named = vouched(Validator::decode(record.as_slice())?.details()).unwrap_or_default();
        if named.contains(&machine) {
            return Ok(());
        }
        named.push(machine);
        self.chain.edit_details(validator, &vouch_word(&named)?)?;
        // One block takes the edit, the next one's app hash proves it.
        self.produce()?;
        self.produce()?;
        Ok(())
    }

    /// What admits a seat's machine under a header, where the policy asks.
    pub fn admission(&self, build: &Build, seat: &Seat, header: u64) -> Result<Option<AdmissionEvidence>> {
        let machine = seat.launcher().platform_id();
        Ok(self.gather(build).admission(build.policy.admission, &[], &machine, header)?)
    }

    /// What shows the share of power behind the machines, at X or the old build's own head: it needs no block after X.
    pub fn power(&mut self, node: usize, from: Named) -> Result<Option<Vec<u8>>> {
        let build = self.build(from)?;
        if build.policy.barrier.power_share.is_none() {
            return Ok(None);
        }
        let status = self.status(node, from)?;
        let head = status.head_height.max(self.progress.plan_height.unwrap_or(0));
        let evidence = self.gather(&build).power(&trusted(&status), head)?;
        Ok(Some(evidence.to_cbor()))
    }

    /// Keeps evidence as a file, for the commands that read it.
    pub fn keep_evidence(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let dir = self.dir().join("evidence");
        fs::create_dir_all(&dir)?;
        Ok(fs::write(dir.join(format!("{name}.cbor")), bytes)?)
    }
}

/// The heights that an enclave trusts: its anchors, and its head.
pub fn trusted(status: &Status) -> Vec<u64> {
    let mut out = status.anchors.clone();
    out.push(status.head_height);
    out
}

/// The refusal of a call that must be refused.
pub fn refusal<T>(result: Result<T>) -> Result<baton_enclave::wire::Refusal> {
    match result {
        Ok(_) => bail!("it was accepted"),
        Err(e) => match e.downcast_ref::<SeatError>().and_then(SeatError::refusal) {
            Some(r) => Ok(r.clone()),
            None => Err(e),
        },
    }
}
