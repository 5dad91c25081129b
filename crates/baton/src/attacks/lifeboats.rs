//! A quiet release: people, one lifeboat and a hostile host, with an escrow that somebody copied years ago.

use anyhow::{Context, Result};
use baton_core::ceremony::{ShareBox, Subject};
use baton_core::escrow::{self, Conditions, Escrow, EscrowKeys, key_digest};
use baton_core::keyring::Keyring;
use baton_core::lifeboat::{ReleaseEvidence, Released, release_text};
use baton_core::order::signed::SignedOrder;
use baton_core::order::{Action, Order, VERSION};
use baton_core::secret::Seed;
use baton_host::lifeboat::{LifeboatError, LifeboatSeat, Opened, Target, evidence};
use baton_host::shares::HostRandom;

use super::Bench;
use super::scene::Scene;
use crate::world::boats::Boats;
use crate::world::emergency::{NOON, NOTICE_SECS, Public, break_glass, sign};

/// Holders who lend their shares: three are needed.
const ANSWER: [&str; 3] = ["ana", "chen", "emil"];

/// A lifeboat with an open session, and a build that asks it for what an escrow holds.
struct Wreck<'b> {
    boats: &'b Boats,
    boat: LifeboatSeat<'b>,
    opened: Opened,
    escrow: Escrow,
    target: Target,
    order: Order,
}

impl<'b> Wreck<'b> {
    fn new(s: &mut Scene, boats: &'b Boats) -> Result<Self> {
        let v3 = s.v3.clone();
        let mut n = s.seat(0, "v3", &v3)?;
        let to = n.status()?.identity;
        let (council, card) = (&boats.council.terms().public_key, &boats.card.public_key);
        let keys = EscrowKeys::new((council, &key_digest(council)), (card, &key_digest(card)))?;
        let conditions = Conditions::of(&s.v1.policy).context("conditions of an escrow")?;
        // The keyring of nobody: what a lifeboat checks does not depend on it, and the target would refuse it.
        let keyring = Keyring::new(0, Seed::danger_from_bytes(&[0x5e; 32]));
        let escrow = escrow::make(&mut HostRandom::default(), &keyring, &conditions, &keys)?;
        let mut boat = boats.start(0)?;
        let chain_id = s.world.chain.config().chain_id.clone();
        let opened = boat.open(&chain_id, 0)?;
        let target = Target::ask(&mut n, opened.hello.clone(), &boats.collateral)?;
        let order = Order {
            version: VERSION,
            chain_id,
            from: boat.identity_digest()?,
            sequence: 1,
            expiry_height: 10_000,
            expiry_secs: NOON + 30 * 86_400,
            reason: "they say that no build starts".into(),
            action: Action::Handover { to },
        };
        Ok(Wreck { boats, boat, opened, escrow, target, order })
    }

    fn boxes(&self, subject: &Subject, who: &[&str]) -> Result<Vec<ShareBox>> {
        self.boats.boxes(&self.opened.session, subject, who)
    }

    /// An order at noon and its release `later` seconds after, both seen by `witnesses` of three, for a target as `as_asked` has it.
    fn evidence(&self, signed: &SignedOrder, target: &Target, witnesses: usize, later: u64) -> Result<ReleaseEvidence> {
        let subject = target.subject(signed)?;
        let text = release_text(&self.opened.session, &subject);
        let mut public = Public::new(&signed.order().chain_id, witnesses);
        public.show(&signed.order().memo())?;
        public.wait(later);
        public.show(&text)?;
        let boxes = self.boxes(&subject, &ANSWER)?;
        Ok(evidence(&self.boats.council.to_cbor(), &boxes, &self.escrow, signed, &public.log, &text, target)?)
    }

    fn release(&mut self, e: &ReleaseEvidence) -> Result<Released, String> {
        self.boat.release(e).map_err(|e: LifeboatError| e.to_string())
    }
}

/// A lifeboat that is asked in secret, by too few, or for somebody else.
pub fn a25(b: &mut Bench) -> Result<()> {
    let mut s = Scene::with(b, break_glass)?;
    let boats = Boats::found(&s.world, &s.v1.policy.tcb)?;
    let mut w = Wreck::new(&mut s, &boats)?;
    let signed = sign(w.order.clone(), &[41, 42]);
    let target = w.target.clone();
    let good = w.evidence(&signed, &target, 3, NOTICE_SECS)?;

    for (case, what, witnesses, later, check, words) in [
        ("boat-no-witness", "an escrow, and a log that nobody witnessed", 0, NOTICE_SECS, "lifeboat/Cosign", "good cosignatures of 0"),
        ("boat-early", "an escrow, a second before the notice is over", 3, NOTICE_SECS - 1, "lifeboat/Notice", "expected 3600 seconds between"),
    ] {
        let e = w.evidence(&signed, &target, witnesses, later)?;
        b.refused_saying(case, what, check, words, w.release(&e));
    }
    let unsaid = ReleaseEvidence { release: good.second.clone(), ..good.clone() };
    let words = "the release: the entry is not in the log";
    b.refused_saying("boat-unsaid", "an order that was public, and a release that was not", "lifeboat/Cosign", words, w.release(&unsaid));

    let few = ReleaseEvidence { boxes: w.boxes(&target.subject(&signed)?, &ANSWER[..2])?, ..good.clone() };
    let words = "2 of 3 needed holders (ana, chen)";
    b.refused_saying("boat-shares", "two shares of three needed", "lifeboat/Shares", words, w.release(&few));
    let one = w.evidence(&sign(w.order.clone(), &[41]), &target, 3, NOTICE_SECS)?;
    let words = "the order is signed by 1 of 2 council members";
    b.refused_saying("boat-signers", "every share, and an order by one of two members needed", "lifeboat/NotEnough", words, w.release(&one));

    let old = Order { from: s.o.status()?.identity.digest(), ..w.order.clone() };
    let e = w.evidence(&sign(old, &[41, 42]), &target, 3, NOTICE_SECS)?;
    b.refused_saying("boat-source", "an order that was signed for the old enclave", "lifeboat/OtherSource", "the order is to", w.release(&e));
    let mut to = match w.order.action {
        Action::Handover { to } => to,
        _ => anyhow::bail!("an order of kind handover"),
    };
    to.measurement = s.v2.measurement;
    let other = Order { action: Action::Handover { to }, ..w.order.clone() };
    let e = w.evidence(&sign(other, &[41, 42]), &target, 3, NOTICE_SECS)?;
    b.refused_saying("boat-build", "another build than the one that people ordered", "lifeboat/OtherTarget", "the order names the build", w.release(&e));
    let elsewhere = Target { platform: boats.machine(1)?, ..target.clone() };
    let e = w.evidence(&signed, &elsewhere, 3, NOTICE_SECS)?;
    let words = "holders agreed to the machine";
    b.refused_saying("boat-machine", "another machine than the one that holders agreed to", "lifeboat/OtherMachine", words, w.release(&e));

    b.control("the same escrow, in public and after its notice", w.release(&good).map_err(anyhow::Error::msg));
    Ok(())
}
