//! Emergencies that are none: orders used again, orders in secret, headers that never were, copies that were set aside.

use anyhow::{Context, Result, bail};
use baton_attest::identity::{Digest32, encode};
use baton_chain::light::LightBlock;
use baton_chain::record::Kind;
use baton_core::messages::{HandoverRequest, Message};
use baton_core::order::judge::OrderEvidence;
use baton_core::order::notice::{NoticeEvidence, export_memo};
use baton_core::order::signed::SignedOrder;
use baton_core::order::{Action, Order, VERSION, fresh_memo};
use baton_devnet::Account;
use baton_enclave::wire::{OfferEvidence, Reply, Request};
use baton_host::chain::ChainSource;
use baton_host::gather::Gather;
use baton_host::orders::links;
use baton_host::relay::{self, Asked, Channel, Offered};
use baton_host::seat::{Seat, SeatError};
use ed25519_dalek::Signer as _;

use super::Bench;
use super::scene::{Saved, Scene, hello, pass_on};
use crate::world::emergency::{NOON, NOTICE_SECS, Public, break_glass, member, member_key, sign};
use crate::world::ops::trusted;

fn log(s: &Scene, witnesses: usize) -> Public {
    Public::new(&s.world.chain.config().chain_id, witnesses)
}

fn order(s: &mut Scene, action: Action) -> Result<Order> {
    Ok(Order {
        version: VERSION,
        chain_id: s.world.chain.config().chain_id.clone(),
        from: s.o.status()?.identity.digest(),
        sequence: 5,
        expiry_height: 10_000,
        expiry_secs: NOON + 30 * 86_400,
        reason: "a build that nobody voted for".into(),
        action,
    })
}

/// A scene with a seat of v3 and the order that names it.
fn ordered(b: &Bench) -> Result<(Scene, Seat, Order)> {
    let mut s = Scene::with(b, break_glass)?;
    s.follow()?;
    let v3 = s.v3.clone();
    let mut n = s.seat(0, "v3", &v3)?;
    let to = n.status()?.identity;
    let order = order(&mut s, Action::Handover { to })?;
    Ok((s, n, order))
}

fn offer(s: &mut Scene, asked: &Asked, evidence: &OrderEvidence) -> std::result::Result<Offered, SeatError> {
    relay::offer(&mut s.o, asked, OfferEvidence::Order(evidence.to_cbor()), Some(Channel::Local))
}

/// Asks with fresh evidence of an order; `o` is put back afterwards.
fn attempt(s: &mut Scene, n: &mut Seat, signed: &SignedOrder, witnesses: usize, later: u64) -> Result<std::result::Result<Offered, SeatError>> {
    let asked = relay::ask(&mut s.o, n, Kind::Upgrade, Channel::Local)?;
    let shown = log(s, witnesses).evidence(signed, &asked.record(0).encode(), later)?;
    let saved = Saved::of(&s.o)?;
    let outcome = offer(s, &asked, &shown);
    saved.put_back(&mut s.o)?;
    Ok(outcome)
}

/// Signatures used again: elsewhere, for another build, or much later.
pub fn a06(b: &mut Bench) -> Result<()> {
    let (mut s, mut n, good) = ordered(b)?;
    let head = s.o.status()?.head_height;
    let foreign = n.status()?.identity.digest();
    for (case, what, order, check) in [
        ("chain", "an order of another chain", Order { chain_id: "other-1".into(), ..good.clone() }, "OtherChain"),
        ("source", "an order to another build", Order { from: foreign, ..good.clone() }, "OtherSource"),
        ("height", "an order that is void by height", Order { expiry_height: head, ..good.clone() }, "ExpiredHeight"),
        (
            "year",
            "an order of a year ago, with the old view of the chain that it was made for",
            Order { expiry_secs: NOON + NOTICE_SECS, ..good.clone() },
            "ExpiredDate",
        ),
    ] {
        let outcome = attempt(&mut s, &mut n, &sign(order, &[41, 42]), 3, NOTICE_SECS)?;
        b.refused(case, what, &format!("offer/Order/{check}"), outcome);
    }
    let mut lifted = sign(Order { chain_id: "other-1".into(), ..good.clone() }, &[]);
    let mut moved = sign(good.clone(), &[]);
    for n in [41, 42] {
        let key = member_key(n);
        let mut taken = Vec::new();
        lifted.add_council(&key, |bytes| {
            taken = member(n).sign(bytes).to_vec();
            taken.clone()
        });
        moved.add_council(&key, |_| taken);
    }
    let outcome = attempt(&mut s, &mut n, &moved, 3, NOTICE_SECS)?;
    b.refused("lifted", "the signatures of another chain's order under this one", "offer/Order/NotEnough", outcome);
    let asked = relay::ask(&mut s.o, &mut n, Kind::Upgrade, Channel::Local)?;
    let shown = log(&s, 3).evidence(&sign(good.clone(), &[41, 42]), &asked.record(0).encode(), NOTICE_SECS)?;
    b.control("the order itself", offer(&mut s, &asked, &shown));
    let again = relay::ask(&mut s.o, &mut n, Kind::Upgrade, Channel::Local)?;
    let outcome = offer(&mut s, &again, &shown);
    b.refused("nonce", "the same evidence for a later request", "offer/Order/Stale/Cosign/NotIncluded/Root", outcome);
    let older = Order { sequence: 4, ..good };
    let outcome = attempt(&mut s, &mut n, &sign(older, &[41, 42]), 3, NOTICE_SECS)?;
    b.refused("number", "an older order, kept by somebody", "offer/Sequence/Older", outcome);
    Ok(())
}

/// One malformed signature among good ones.
pub fn a07(b: &mut Bench) -> Result<()> {
    let (mut s, mut n, good) = ordered(b)?;
    let spoiled = |by: &[u8]| {
        let mut signed = sign(good.clone(), by);
        let key = member_key(43);
        signed.add_council(&key, |_| vec![0xff; 63]);
        signed.add_council(&key, |_| Vec::new());
        signed
    };
    let outcome = attempt(&mut s, &mut n, &spoiled(&[41]), 3, NOTICE_SECS)?;
    b.refused("too-few", "one good signature of two needed, among malformed ones", "offer/Order/NotEnough", outcome);
    let outcome = attempt(&mut s, &mut n, &spoiled(&[41, 41]), 3, NOTICE_SECS)?;
    b.refused("twice", "one member twice, among malformed ones", "offer/Order/NotEnough", outcome);
    let outcome = attempt(&mut s, &mut n, &spoiled(&[41, 42]), 3, NOTICE_SECS)?;
    b.control("two good signatures with malformed ones beside them", outcome);
    Ok(())
}

/// A quiet emergency: all of the council, one hostile host, offline.
pub fn a25(b: &mut Bench) -> Result<()> {
    let (mut s, mut n, good) = ordered(b)?;
    let signed = sign(good, &[41, 42, 43]);
    let before = s.o.status()?;
    for (case, what, witnesses, later, check) in [
        ("no-witness", "a log that nobody witnessed", 0, NOTICE_SECS, "Notice/Cosign/TooFew"),
        ("one-witness", "one witness of two needed, who lies about time", 1, NOTICE_SECS, "Notice/Cosign/TooFew"),
        ("at-once", "witnessed a second ago", 3, 1, "Notice/TooFewSeconds"),
        ("almost", "a second short of the notice", 3, NOTICE_SECS - 1, "Notice/TooFewSeconds"),
    ] {
        let outcome = attempt(&mut s, &mut n, &signed, witnesses, later)?;
        b.refused(case, what, &format!("offer/Order/{check}"), outcome);
    }
    // On a chain that lives: public, and at once.
    let asked = relay::ask(&mut s.o, &mut n, Kind::Upgrade, Channel::Local)?;
    let fresh = s.record(&asked, 0)?;
    let hash = s.world.chain.send_memo(Account::User(0), &signed.order().memo())?;
    s.world.produce()?;
    let public = ChainSource::included(&s.world.chain, &hash)?.context("the memo is in a block")?;
    let (trusted, head) = (trusted(&s.o.status()?), s.world.chain.height());
    let shown = Gather::new(&s.world.chain, &s.v1.policy.chain).order(&signed, &trusted, &public, Some(&fresh), head)?;
    let saved = Saved::of(&s.o)?;
    let outcome = offer(&mut s, &asked, &shown);
    saved.put_back(&mut s.o)?;
    b.refused("block", "a transaction in the newest block", "offer/Order/Notice/TooFewBlocks", outcome);
    // Two histories, by witnesses that were restored from a backup between.
    let asked = relay::ask(&mut s.o, &mut n, Kind::Upgrade, Channel::Local)?;
    let (mut first, mut second) = (log(&s, 3), log(&s, 3));
    let old = first.evidence(&signed, &asked.record(0).encode(), 1)?;
    second.log.append("something else");
    let new = second.evidence(&signed, &asked.record(0).encode(), NOTICE_SECS)?;
    let (NoticeEvidence::Witnessed { first, .. }, NoticeEvidence::Witnessed { second, .. }) = (old.notice, new.notice.clone()) else {
        bail!("a witnessed notice");
    };
    let forked = OrderEvidence { notice: NoticeEvidence::Witnessed { first, second, consistency: Vec::new() }, ..new };
    let outcome = offer(&mut s, &asked, &forked);
    saved.put_back(&mut s.o)?;
    b.refused("two-logs", "two checkpoints of two histories", "offer/Order/Notice/Inconsistent/Length", outcome);
    let after = s.o.status()?;
    if (after.log_size, &after.transfers, &after.emergencies) != (before.log_size, &before.transfers, &before.emergencies) {
        bail!("something left the source, or changed in it");
    }
    let outcome = attempt(&mut s, &mut n, &signed, 3, NOTICE_SECS)?;
    b.control("the same order after its notice", outcome);
    Ok(())
}

fn rewind(s: &mut Scene, named: (u64, Digest32), headers: Vec<LightBlock>, by: &[u8]) -> Result<std::result::Result<Reply, SeatError>> {
    let made = order(s, Action::Rewind { height: named.0, hash: named.1 })?;
    let (_, opening) = hello(&mut s.o)?;
    let nonce = Digest32(opening.nonce);
    let shown = log(s, 3).evidence(&sign(made, by), &fresh_memo(&nonce), NOTICE_SECS)?;
    let evidence = OrderEvidence { nonce: Some(nonce), links: Some(headers), ..shown }.to_cbor();
    let saved = Saved::of(&s.o)?;
    let outcome = s.o.call(&Request::Command { evidence });
    saved.put_back(&mut s.o)?;
    Ok(outcome)
}

/// A rewind to a header that never was on the chain.
pub fn a26(b: &mut Bench) -> Result<()> {
    let mut s = Scene::with(b, break_glass)?;
    s.world.produce_until(20)?;
    s.follow()?;
    let head = s.o.status()?.head_height;
    let true_links = links(&s.world.chain, head, 12)?;
    let mut fork = s.world.chain.fork_at(9)?;
    fork.send_memo(Account::User(0), "another history")?;
    fork.produce_until(head)?;
    let foreign = (12, Digest32(fork.header_hash(12)?));
    let outcome = rewind(&mut s, foreign, true_links.clone(), &[41, 42])?;
    b.refused("named", "a fork's header by its height and hash", "order/Order/NotTheAncestor", outcome);
    let fork_links = links(&fork, head, 12)?;
    let outcome = rewind(&mut s, foreign, fork_links, &[41, 42])?;
    b.refused("linked", "a fork's header with the fork's own links", "order/Order/Light/NotLinked", outcome);
    let ancestor = (12, Digest32(s.world.chain.header_hash(12)?));
    let outcome = rewind(&mut s, ancestor, true_links.clone(), &[41])?;
    b.refused("unsigned", "a true ancestor, ordered by too few", "order/Order/NotEnough", outcome);
    let outcome = rewind(&mut s, ancestor, true_links, &[41, 42])?;
    b.control("a true ancestor", outcome);
    Ok(())
}

/// A fork within the trusting period, where the policy asks for witnessed dates.
pub fn a12b_witnessed(b: &mut Bench) -> Result<()> {
    let mut s = Scene::with(b, |p| {
        break_glass(p);
        if let Some(w) = &mut p.witnesses {
            w.dated_exports = true;
        }
    })?;
    s.follow()?;
    let (_, opening) = hello(&mut s.o)?;
    let nonce = Digest32(opening.nonce);
    let status = s.o.status()?;
    let mut public = log(&s, 3);
    let text = export_memo(&nonce, &status.head_hash.0, &[]);
    public.show(&text)?;
    let proof = encode(&public.log.newest(&text)?);
    s.o.call(&Request::Date { nonce, proof })?;
    let mut fork = s.world.chain.fork_at(status.head_height)?;
    let v3 = s.v3.clone();
    let mut n = s.seat(0, "v3", &v3)?;
    let height = fork.height() + super::scene::VOTE_BLOCKS + 14;
    let id = pass_on(&mut fork, "v3", height, &Scene::info(&v3))?;
    let asked = relay::ask(&mut s.o, &mut n, Kind::Upgrade, Channel::Local)?;
    let hash = ChainSource::send_memo(&mut fork, &asked.record(id).encode())?;
    fork.produce_block()?;
    let tx = ChainSource::included(&fork, &hash)?.context("the fork took the record")?;
    let trusted = trusted(&s.o.status()?);
    let evidence = Gather::new(&fork, &s.v1.policy.chain).ahead(&trusted, id, &tx, tx.height)?.to_cbor();
    let outcome = relay::offer(&mut s.o, &asked, OfferEvidence::Ahead(evidence.clone()), Some(Channel::Local));
    b.refused("undated", "the fork, where exports need a witnessed date", "offer/Date/NoDate", outcome);
    let digest = HandoverRequest::from_cbor(&asked.request)?.digest();
    let text = export_memo(&digest, &s.o.status()?.head_hash.0, &evidence);
    let period = s.v1.policy.chain.trusting_period_secs;
    let mut public = log(&s, 3);
    public.wait(period + 1);
    public.show(&text)?;
    let request = Request::OfferDated {
        request: asked.request.clone(),
        attestation: asked.attestation.clone(),
        evidence: OfferEvidence::Ahead(evidence),
        report_target: None,
        date: encode(&public.log.newest(&text)?),
    };
    let outcome = s.o.call(&request);
    let what = "the fork with a true date, after the validators have left";
    b.refused("set-aside", what, "offer/Date/SetAside", outcome);
    Ok(())
}
