//! Erasing an old copy before the barrier, or with receipts that stand for fewer machines than they seem.

use anyhow::{Result, bail};
use baton_attest::identity::{Digest32, Identity};
use baton_chain::record::Kind;
use baton_core::custody::State;
use baton_core::messages::{BarrierReceipt, Message};
use baton_enclave::wire::{AttestedReceipt, OfferEvidence, Request};
use baton_host::gather::Gather;
use baton_host::relay::{self, Channel};
use baton_host::seat::Seat;

use super::Bench;
use super::scene::{Saved, Scene, quote_as, report_as};
use crate::world::ops::trusted;

/// The plan's name in these scenes.
pub const PLAN: &str = "v2";

/// A scene after X: `o` is Confirmed, `n` serves on the same machine.
pub struct Upgraded {
    /// The scene.
    pub s: Scene,
    /// Node 0's v2.
    pub n: Seat,
    /// The execution height.
    pub x: u64,
    /// The proposal.
    pub proposal: u64,
}

impl Upgraded {
    /// Handed over ahead and halted at X; nothing is activated yet.
    pub fn halted(mut s: Scene) -> Result<Self> {
        let proposal = s.pass_v2(12)?;
        let x = s.pending_height()?;
        s.world.produce()?;
        let mut n = s.seat(0, "v2", &s.v2.clone())?;
        s.hand_over(&mut n, proposal)?;
        s.world.produce_until(x)?;
        Ok(Upgraded { s, n, x, proposal })
    }

    /// The new binary runs the plan.
    pub fn resume(&mut self) -> Result<()> {
        self.s.world.chain.resume_with_handler(PLAN)?;
        self.s.world.produce_until(self.x + 1)
    }

    /// Shows a v2 the proof at X.
    pub fn activate(&self, n: &mut Seat) -> Result<()> {
        let evidence = self.s.at_x(n, &self.s.v2, self.proposal, self.x)?;
        n.call(&Request::Activate { evidence })?;
        Ok(())
    }

    /// Shows a v2 the done key at the newest head.
    pub fn observe(&self, n: &mut Seat) -> Result<()> {
        let trusted = trusted(&n.status()?);
        let gather = Gather::new(&self.s.world.chain, &self.s.v2.policy.chain);
        let evidence = gather.standing(&trusted, PLAN, self.x, self.s.world.chain.height())?.to_cbor();
        n.call(&Request::Observe { evidence })?;
        Ok(())
    }

    /// `n` rehearses with a second instance, as the source.
    pub fn rehearse(&mut self, n: &mut Seat, node: usize) -> Result<()> {
        let mut twin = self.s.seat(node, "v2-twin", &self.s.v2.clone())?;
        Ok(relay::rehearse(n, &mut twin, Channel::Local)?)
    }

    /// A new machine joins v2 from `n`, activates and observes.
    pub fn newcomer(&mut self, name: &str) -> Result<(Seat, usize)> {
        let machine = self.s.world.machine(name)?;
        let mut joiner = self.s.seat_on(machine, "v2", &self.s.v2.clone())?;
        let node = self.s.world.nodes.len() - 1;
        let collateral = self.s.world.collateral()?;
        let channel = Channel::Quoted { collateral: &collateral };
        let asked = relay::ask(&mut self.n, &mut joiner, Kind::Join, channel)?;
        let tx = self.s.record(&asked, 0)?;
        let trusted = trusted(&self.n.status()?);
        let gather = Gather::new(&self.s.world.chain, &self.s.v2.policy.chain);
        let evidence = OfferEvidence::Record(gather.record(&trusted, &tx, tx.height)?.to_cbor());
        relay::hand_over(&mut self.n, &mut joiner, &asked, evidence, channel)?;
        self.activate(&mut joiner)?;
        self.observe(&mut joiner)?;
        Ok((joiner, node))
    }

    /// The receipt of this machine's own successor.
    pub fn own(&mut self) -> Result<AttestedReceipt> {
        let reader = self.reader()?;
        Ok(relay::barrier_receipt(&mut self.n, &reader, Channel::Local)?)
    }

    /// The receipt of a machine by quote.
    pub fn quoted(&mut self, other: Option<&mut Seat>) -> Result<AttestedReceipt> {
        let reader = self.reader()?;
        let collateral = self.s.world.collateral()?;
        let channel = Channel::Quoted { collateral: &collateral };
        Ok(relay::barrier_receipt(other.unwrap_or(&mut self.n), &reader, channel)?)
    }

    fn reader(&mut self) -> Result<Identity> {
        Ok(self.s.o.status()?.identity)
    }

    /// Asks `o` to erase, and puts it back.
    pub fn try_erase(&mut self, receipts: Vec<AttestedReceipt>) -> Result<Result<()>> {
        let saved = Saved::of(&self.s.o)?;
        let outcome = self.s.o.call(&Request::Erase { receipts, power: None });
        let state = self.s.o.status()?.state;
        saved.put_back(&mut self.s.o)?;
        if outcome.is_ok() != (state == State::Retired) {
            bail!("custody is {state} after an erase that ended with {outcome:?}");
        }
        Ok(outcome.map(|_| ()).map_err(Into::into))
    }
}

/// Every condition of the barrier, one missing at a time.
pub fn a16(b: &mut Bench) -> Result<()> {
    let mut u = Upgraded::halted(Scene::new(b)?)?;
    let reader = u.reader()?;
    let outcome = relay::barrier_receipt(&mut u.n, &reader, Channel::Local);
    let what = "v2 is asked for its receipt before the proof at X";
    b.refused("not-activated", what, "barrier receipt/NotActivated", outcome);
    let mut n = std::mem::replace(&mut u.n, dummy(&mut u.s)?);
    u.activate(&mut n)?;
    u.n = n;
    let outcome = relay::barrier_receipt(&mut u.n, &reader, Channel::Local);
    let what = "the same at X, while the plan can still be passed over";
    b.refused("not-done", what, "barrier receipt/NotDone", outcome);
    u.resume()?;
    follow(&mut u)?;
    let (mut n1, node1) = u.newcomer("second machine")?;
    let (mut n2, node2) = u.newcomer("third machine")?;
    let mut n = std::mem::replace(&mut u.n, dummy(&mut u.s)?);
    u.rehearse(&mut n, 0)?;
    u.n = n;
    u.rehearse(&mut n1, node1)?;
    u.rehearse(&mut n2, node2)?;
    let all = everyone(&mut u, &mut n1, &mut n2)?;
    let outcome = u.try_erase(all)?;
    b.refused("grace", "receipts of three machines within the grace period", "erase/Barrier/Grace", outcome);
    u.s.world.produce_until(u.x + 8)?;
    follow(&mut u)?;
    u.observe(&mut n1)?;
    u.observe(&mut n2)?;
    let (mut n3, _) = u.newcomer("fourth machine")?;
    let all = everyone(&mut u, &mut n1, &mut n3)?;
    let outcome = u.try_erase(all)?;
    b.refused("not-rehearsed", "a successor that never showed that it can hand on", "erase/Barrier/NotRehearsed", outcome);
    receipts_that_lie(b, &mut u, &mut n1, &mut n2)
}

/// Something to hold `u.n`'s place while it is borrowed.
fn dummy(s: &mut Scene) -> Result<Seat> {
    s.seat(0, "placeholder", &s.v3.clone())
}

fn follow(u: &mut Upgraded) -> Result<()> {
    let mut n = std::mem::replace(&mut u.n, dummy(&mut u.s)?);
    u.observe(&mut n)?;
    u.n = n;
    Ok(())
}

fn everyone(u: &mut Upgraded, n1: &mut Seat, n2: &mut Seat) -> Result<Vec<AttestedReceipt>> {
    Ok(vec![u.own()?, u.quoted(None)?, u.quoted(Some(n1))?, u.quoted(Some(n2))?])
}

fn receipts_that_lie(b: &mut Bench, u: &mut Upgraded, n1: &mut Seat, n2: &mut Seat) -> Result<()> {
    let one = vec![u.own()?, u.quoted(None)?, u.quoted(None)?, u.quoted(None)?];
    let outcome = u.try_erase(one)?;
    b.refused("one-machine", "three receipts from one machine", "erase/Barrier/TooFewPlatforms", outcome);
    let mut all = everyone(u, n1, n2)?;
    let own = all.remove(0);
    let outcome = u.try_erase(all.clone())?;
    b.refused("no-own", "no receipt of this machine's own successor", "erase/Barrier/NoOwnSuccessor", outcome);
    let (reader, launcher) = (u.reader()?, u.s.o.launcher().clone());
    let honest = BarrierReceipt::from_cbor(&own.receipt)?;
    let strange = u.s.seat(0, "v3", &u.s.v3.clone())?.status()?.identity;
    let lie = |receipt: &BarrierReceipt, who: &Identity, over: &Digest32| -> Result<AttestedReceipt> {
        Ok(AttestedReceipt { receipt: receipt.to_cbor(), attestation: report_as(&*launcher, who, &reader, over)? })
    };
    let successor = u.n.status()?.identity;
    let as_v3 = lie(&honest, &strange, &honest.digest())?;
    let outcome = u.try_erase([vec![as_v3], all.clone()].concat())?;
    b.refused("other-build", "the own receipt is attested by v3", "erase/Barrier/OtherBuild", outcome);
    let other_seed = BarrierReceipt { mac: [7; 32], ..honest.clone() };
    let other_seed = lie(&other_seed, &successor, &other_seed.digest())?;
    let outcome = u.try_erase([vec![other_seed], all.clone()].concat())?;
    b.refused("other-seed", "the own successor holds another seed", "erase/Barrier/OtherSeed", outcome);
    let mut other_plan = honest.clone();
    other_plan.plan.name = "v9".into();
    let other_plan = lie(&other_plan, &successor, &other_plan.digest())?;
    let outcome = u.try_erase([vec![other_plan], all.clone()].concat())?;
    b.refused("other-plan", "a receipt for another plan", "erase/Barrier/OtherPlan", outcome);
    let collateral = u.s.world.collateral()?;
    let borrowed = AttestedReceipt {
        receipt: own.receipt.clone(),
        attestation: quote_as(&**n1.launcher(), &successor, &Digest32([1; 32]), &collateral)?,
    };
    let outcome = u.try_erase([vec![own.clone(), borrowed], vec![all[0].clone(), all[2].clone()]].concat())?;
    b.refused("borrowed-quote", "a receipt beside a quote over other bytes", "erase/Attestation/OtherMessage", outcome);
    let outcome = u.try_erase([vec![own], all].concat())?;
    b.control("the barrier, met", outcome);
    Ok(())
}
