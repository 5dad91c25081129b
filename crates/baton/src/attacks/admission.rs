//! A forged quote: somebody took the attestation key out of a machine of his own (H16).
//!
//! He runs what he likes there, and its quotes say that it is the approved build. No check of a quote can tell. What
//! remains is that nobody answers for his machine.

use anyhow::{Context, Result};
use baton_attest::identity::Identity;
use baton_chain::admission::{ADMIT_PREFIX, Admission, AdmissionEvidence, vouch_word};
use baton_chain::evidence::PowerEvidence;
use baton_chain::record::Kind;
use baton_devnet::{Text, YES};
use baton_enclave::wire::{AttestedReceipt, OfferEvidence, Request};
use baton_host::chain::Included;
use baton_host::gather::Gather;
use baton_host::relay::{self, Asked, Channel, Offered};
use baton_host::seat::Seat;

use super::Bench;
use super::scene::{Saved, Scene, quote_as};
use crate::world::build::{GRACE_BLOCKS, LEAD_BLOCKS};
use crate::world::ops::{PLAN_NAME, trusted};
use crate::world::{Named, World};

/// The scene, with a machine whose owner forges its quotes.
struct Forger {
    s: Scene,
    owned: Seat,
    proposal: u64,
}

impl Forger {
    /// The policy admits machines by `admission`; v2's plan has passed, `room` blocks ahead.
    fn new(b: &Bench, admission: Admission, room: u64) -> Result<Self> {
        let mut s = Scene::with(b, |p| p.admission = admission)?;
        let proposal = s.pass_v2(room)?;
        // What really runs there is a build that nobody voted for.
        let v3 = s.v3.clone();
        let machine = s.world.machine("the forger's own")?;
        let owned = s.seat_on(machine, "v3", &v3)?;
        Ok(Forger { s, owned, proposal })
    }

    /// The forger's request, with a quote that says that it is `of`.
    fn ask(&mut self, kind: Kind, of: &Identity) -> Result<Asked> {
        let collateral = self.s.world.collateral()?;
        let channel = Channel::Quoted { collateral: &collateral };
        let mut asked = relay::ask(&mut self.s.o, &mut self.owned, kind, channel)?;
        asked.attestation = quote_as(&**self.owned.launcher(), of, &asked.digest, &collateral)?;
        asked.target = of.digest();
        asked.platform = self.owned.launcher().platform_id();
        Ok(asked)
    }

    /// Asks to join as a copy of the running build; `admission` is what the host brings for the machine.
    fn join(&mut self, admission: impl FnOnce(&Scene, u64) -> Result<Option<AdmissionEvidence>>) -> Result<Result<Offered>> {
        let own = self.s.o.status()?.identity;
        let asked = self.ask(Kind::Join, &own)?;
        let tx = self.s.record(&asked, 0)?;
        let trusted = trusted(&self.s.o.status()?);
        let mut evidence = self.gather().record(&trusted, &tx, tx.height)?;
        evidence.admission = admission(&self.s, tx.height)?;
        self.offer(&asked, OfferEvidence::Record(evidence.to_cbor()))
    }

    fn gather(&self) -> Gather<'_> {
        Gather::new(&self.s.world.chain, &self.s.v1.policy.chain)
    }

    fn offer(&mut self, asked: &Asked, evidence: OfferEvidence) -> Result<Result<Offered>> {
        let saved = Saved::of(&self.s.o)?;
        let outcome = relay::offer(&mut self.s.o, asked, evidence, None);
        saved.put_back(&mut self.s.o)?;
        Ok(outcome.map_err(Into::into))
    }

    /// Asks for the keyring as the build that was voted for.
    fn upgrade(&mut self) -> Result<Asked> {
        let v2 = self.s.seat(0, "v2", &self.s.v2.clone())?.status()?.identity;
        self.ask(Kind::Upgrade, &v2)
    }
}

/// The record of a validator, under a header.
fn record(s: &Scene, validator: usize, header: u64) -> Result<Option<AdmissionEvidence>> {
    let operator = s.world.operator(validator);
    Ok(Some(Gather::new(&s.world.chain, &s.v1.policy.chain).vouching(&operator, header)?))
}

/// A quote alone opens no door.
pub fn a29(b: &mut Bench) -> Result<()> {
    let mut f = Forger::new(b, Admission::Any, 32)?;
    let outcome = f.join(|_, _| Ok(None))?;
    let meaning = "a quote alone opens the door where the policy admits any machine; `policy check` warns of it";
    b.shown("any", "the forged quote, under admission any", meaning, outcome.map(|_| ()));
    vouched(b)?;
    voted(b)?;
    barrier(b)
}

fn vouched(b: &mut Bench) -> Result<()> {
    let mut f = Forger::new(b, Admission::Vouched, 32)?;
    let (forger, honest) = (f.owned.launcher().platform_id(), f.s.world.nodes[1].machine().platform().id());
    let outcome = f.join(|_, _| Ok(None))?;
    let check = "offer/Authorize/Admission/NotShown";
    b.refused("nobody", "a machine that nobody vouches for asks to join, its quote forged", check, outcome);

    f.s.world.chain.edit_details(1, &vouch_word(&[honest])?)?;
    f.s.world.produce_until(f.s.world.chain.height() + 2)?;
    let outcome = f.join(|s, head| record(s, 1, head))?;
    let check = "offer/Authorize/Admission/NotNamed";
    b.refused("another's", "the same with the record of a validator that vouches for another machine", check, outcome);
    let outcome = f.join(|s, head| {
        let mut shown = record(s, 1, head)?;
        if let Some(AdmissionEvidence::Vouched { record, .. }) = &mut shown {
            rewrite(record.value.as_mut(), &hex::encode(honest.0), &hex::encode(forger.0));
        }
        Ok(shown)
    })?;
    b.refused("edited", "that record with the name written over", "offer/Authorize/Admission/Staking/Proof/Refused", outcome);

    f.s.world.chain.edit_details(2, &vouch_word(&[forger])?)?;
    f.s.world.produce_until(f.s.world.chain.height() + 2)?;
    let before = f.s.world.chain.height();
    let outcome = f.join(|s, head| record(s, 2, head))?;
    b.control("a machine that a bonded validator vouches for", outcome);
    f.s.world.chain.edit_details(2, "")?;
    f.s.world.produce_until(f.s.world.chain.height() + 2)?;
    let outcome = f.join(|s, _| record(s, 2, before))?;
    let check = "offer/Authorize/Admission/Staking/Proof/Refused";
    b.refused("taken-back", "the record of before the validator took the name back", check, outcome);
    let outcome = f.join(|s, head| record(s, 2, head))?;
    b.refused("taken-back-now", "the record of after that", "offer/Authorize/Admission/Names", outcome);

    let asked = f.upgrade()?;
    let tx: Included = f.s.record(&asked, f.proposal)?;
    let plan = f.s.pending_height()?;
    f.s.world.produce_until(plan - 5)?;
    let trusted = trusted(&f.s.o.status()?);
    let evidence = f.gather().ahead(&trusted, f.proposal, &tx, plan - 5)?;
    let outcome = f.offer(&asked, OfferEvidence::Ahead(evidence.to_cbor()))?;
    let check = "offer/Authorize/Admission/NotShown";
    b.refused("ahead", "it asks as the voted build, in the lead window", check, outcome);
    // The offer ended that instance, and its nonces with it.
    let asked = f.upgrade()?;
    let tx = f.s.record(&asked, f.proposal)?;
    f.s.world.produce_until(plan)?;
    let mut evidence = f.gather().at_x(&trusted, f.proposal, plan)?;
    evidence.publication = Some(f.gather().publication(&trusted, &tx)?);
    let outcome = f.offer(&asked, OfferEvidence::AtX(evidence.to_cbor()))?;
    b.refused("at-x", "the same at X, with its record", check, outcome);
    Ok(())
}

fn voted(b: &mut Bench) -> Result<()> {
    let mut f = Forger::new(b, Admission::Voted, 300)?;
    let (forger, honest) = (f.owned.launcher().platform_id(), f.s.world.nodes[1].machine().platform().id());
    let propose = |f: &mut Forger, id: &[u8; 32], option: i32| -> Result<u64> {
        let text = Text { metadata: format!("{ADMIT_PREFIX}{}", hex::encode(id)), ..Text::titled("Admit a machine") };
        let chain = &mut f.s.world.chain;
        let id = chain.propose(Vec::new(), &text, false)?.ok_or_else(|| anyhow::anyhow!("the chain took no proposal"))?;
        chain.carry(id, option)?;
        Ok(id)
    };
    let admitting = |s: &Scene, trusted: &[u64], id: u64, head: u64| -> Result<Option<AdmissionEvidence>> {
        Ok(Some(Gather::new(&s.world.chain, &s.v1.policy.chain).admitting(trusted, id, head)?))
    };
    let rejected = propose(&mut f, &forger.0, baton_devnet::NO)?;
    let other = propose(&mut f, &honest.0, YES)?;
    let heights = trusted(&f.s.o.status()?);
    let outcome = f.join(|s, head| admitting(s, &heights, rejected, head))?;
    b.refused("lost-vote", "a proposal that names it was rejected", "offer/Authorize/Admission/Vote/NotPassed", outcome);
    let outcome = f.join(|s, head| admitting(s, &heights, other, head))?;
    let check = "offer/Authorize/Admission/NotNamed";
    b.refused("other-vote", "a passed proposal admits another machine", check, outcome);
    let outcome = f.join(|s, head| record(s, 1, head))?;
    b.refused("word-for-vote", "a validator's word where the policy asks for a vote", "offer/Authorize/Admission/OtherKind", outcome);
    let won = propose(&mut f, &forger.0, YES)?;
    let outcome = f.join(|s, head| admitting(s, &heights, won, head))?;
    b.control("a machine that a vote admitted", outcome);
    Ok(())
}

/// At the barrier a machine that nobody answers for stands for no power: forged receipts of many erase nothing.
fn barrier(b: &mut Bench) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("baton-attacks-").tempdir()?;
    let mut w = World::create_on(dir.path(), b.seed, 4, b.platform.clone())?;
    let receipts = upgraded(&mut w)?;
    let power = w.power(0, Named::V1)?.context("the policy asks for a share")?;
    let genuine = PowerEvidence::from_cbor(&power)?;
    let ask = |w: &mut World, power: Option<Vec<u8>>| -> Result<Result<()>> {
        w.seat(0, Named::V1)?;
        let mut o = w.nodes[0].take("v1")?;
        let saved = Saved::of(&o)?;
        let outcome = o.call(&Request::Erase { receipts: receipts.clone(), power });
        saved.put_back(&mut o)?;
        w.nodes[0].put_back("v1", o);
        Ok(outcome.map(|_| ()).map_err(Into::into))
    };
    let outcome = ask(&mut w, None)?;
    let what = "receipts of machines that no record vouches for";
    b.refused("barrier-nobody", what, "erase/Barrier/NoPower", outcome);
    let mut few = genuine.clone();
    few.vouched.records.truncate(2);
    let outcome = ask(&mut w, Some(few.to_cbor()))?;
    let what = "the same with records of validators below the share";
    b.refused("barrier-share", what, "erase/Barrier/TooLittlePower", outcome);
    let mut twice = genuine.clone();
    twice.vouched.records = vec![genuine.vouched.records[0].clone(); 4];
    let outcome = ask(&mut w, Some(twice.to_cbor()))?;
    b.refused("barrier-twice", "one validator's record four times", "erase/Barrier/TooLittlePower", outcome);
    let mut other_set = genuine;
    other_set.vouched.next_validators = Vec::new();
    let outcome = ask(&mut w, Some(other_set.to_cbor()))?;
    let what = "the records with another validator set";
    b.refused("barrier-set", what, "erase/Barrier/Admission/Light/NextValidatorsHash", outcome);
    let outcome = ask(&mut w, Some(power))?;
    b.control("machines that all validators vouch for", outcome);
    Ok(())
}

/// Four nodes through a whole upgrade, past the grace; the receipts for node0.
fn upgraded(w: &mut World) -> Result<Vec<AttestedReceipt>> {
    let all = 0..4;
    w.produce_until(3)?;
    w.genesis(0)?;
    for i in 1..4 {
        w.join(0, i, Named::V1)?;
    }
    for i in all.clone() {
        w.rehearse(i, Named::V1, Named::V2)?;
    }
    let x = w.chain.height() + 40 + LEAD_BLOCKS;
    w.progress.plan_height = Some(x);
    let proposal = w.vote(PLAN_NAME, x, &Scene::info(&w.build(Named::V2)?))?;
    w.produce_until(x - LEAD_BLOCKS)?;
    for i in all.clone() {
        w.upgrade_ahead(i, Named::V1, Named::V2, proposal)?;
    }
    w.produce_until(x)?;
    for i in all.clone() {
        w.activate(i, Named::V2, proposal, x)?;
    }
    w.chain.resume_with_handler(PLAN_NAME)?;
    w.produce_until(x + GRACE_BLOCKS + 2)?;
    for i in all.clone() {
        w.observe(i, Named::V2, PLAN_NAME, x)?;
    }
    w.receipts(0, Named::V1, Named::V2, &all.collect::<Vec<_>>())
}

/// Replaces text in bytes by text of the same length.
fn rewrite(bytes: Option<&mut Vec<u8>>, from: &str, to: &str) {
    let Some(bytes) = bytes else { return };
    if let Some(at) = bytes.windows(from.len()).position(|w| w == from.as_bytes()) {
        bytes.splice(at..at + from.len(), to.bytes());
    }
}
