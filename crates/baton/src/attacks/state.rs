//! Old files, cloned enclaves, receipts that prove nothing, replays, and serving before the time.

use anyhow::{Context, Result, bail};
use baton_chain::record::Kind;
use baton_core::custody::State;
use baton_core::legacy::{seal_legacy, unseal_legacy};
use baton_core::messages::{Challenge, HandoverRequest, Message, Receipt};
use baton_core::policy::{Origin, Phase};
use baton_core::seal::SealPolicy;
use baton_devnet::{Devnet, YES};
use baton_enclave::wire::{OfferEvidence, Request, Under};
use baton_host::gather::Gather;
use baton_host::link::Impostor;
use baton_host::relay::{self, Channel};
use baton_host::seat::Seat;

use super::Bench;
use super::builds::host_key;
use super::erase::Upgraded;
use super::scene::{Saved, Scene, message, propose_into, report_as};
use crate::world::Named;
use crate::world::ops::trusted;

/// Files from before a revocation, and from before an erase.
pub fn a10(b: &mut Bench) -> Result<()> {
    let mut s = Scene::new(b)?;
    let mut n = s.seat(0, "v2", &s.v2.clone())?;
    let passed = s.pass_v2(36)?;
    let plan = s.pending_height()?;
    s.world.produce_until(plan - 31)?;
    let cancel = propose_into(&mut s.world.chain, vec![Devnet::cancel_message()], "no v2")?;
    s.world.chain.vote_all(cancel, YES)?;
    s.world.produce_until(plan - 18)?;
    let asked = relay::ask(&mut s.o, &mut n, Kind::Upgrade, Channel::Local)?;
    let tx = s.record(&asked, passed)?;
    let evidence = OfferEvidence::Ahead(s.ahead(passed, &tx)?.to_cbor());
    relay::offer(&mut s.o, &asked, evidence.clone(), Some(Channel::Local))?;
    let old = Saved::of(&s.o)?;
    s.world.chain.decide_proposal(cancel)?;
    s.world.produce()?;
    let standing = {
        let trusted = trusted(&s.o.status()?);
        let gather = Gather::new(&s.world.chain, &s.v1.policy.chain);
        gather.standing(&trusted, "v2", plan, s.world.chain.height())?.to_cbor()
    };
    s.o.call(&Request::Observe { evidence: standing })?;
    if s.o.status()?.state != State::Holding {
        bail!("the cancellation did not revoke the promise");
    }
    old.put_back(&mut s.o)?;
    let outcome = relay::offer(&mut s.o, &asked, evidence, Some(Channel::Local));
    let what = "a file from before the cancellation, and the old request again";
    b.refused("revoked", what, "offer/UnknownNonce", outcome);
    a10_retired(b)
}

fn a10_retired(b: &mut Bench) -> Result<()> {
    let mut u = Upgraded::halted(Scene::with(b, |p| p.barrier.platforms = 1)?)?;
    let mut n = u.s.seat(0, "v3", &u.s.v3.clone())?;
    std::mem::swap(&mut n, &mut u.n);
    u.activate(&mut n)?;
    u.resume()?;
    u.s.world.produce_until(u.x + 7)?;
    u.observe(&mut n)?;
    u.rehearse(&mut n, 0)?;
    std::mem::swap(&mut n, &mut u.n);
    let before = Saved::of(&u.s.o)?;
    let receipts = vec![u.own()?, u.quoted(None)?];
    u.s.o.call(&Request::Erase { receipts: receipts.clone(), power: None })?;
    before.put_back(&mut u.s.o)?;
    let serving = u.s.o.status()?.serving;
    let again = u.s.o.call(&Request::Erase { receipts, power: None });
    let retired = u.s.o.status()?.state == State::Retired;
    b.shown(
        "retired",
        "the file of a retired copy, put back",
        "not refused at L0: it opens and serves what it served; shown the barrier again it erases again. Quorum sealing (L2) and rotation (L3) change it",
        match (serving, again, retired) {
            (true, Ok(_), true) => Ok(()),
            (serving, again, _) => Err(anyhow::anyhow!("serving {serving}, erased again: {again:?}")),
        },
    );
    before.put_back(&mut u.s.o)?;
    let mut v3 = u.s.seat(0, "v3", &u.s.v3.clone())?;
    let asked = relay::ask(&mut u.s.o, &mut v3, Kind::Upgrade, Channel::Local)?;
    let trusted = trusted(&u.s.o.status()?);
    let gather = Gather::new(&u.s.world.chain, &u.s.v1.policy.chain);
    let evidence = OfferEvidence::AtX(gather.at_x(&trusted, u.proposal, u.x)?.to_cbor());
    let outcome = relay::offer(&mut u.s.o, &asked, evidence, Some(Channel::Local));
    let what = "the same copy hands over to a build that nobody voted for";
    b.refused("retired-export", what, "offer/Authorize/Target/Measurement", outcome);
    a10_moved_on(b)
}

/// An old build that has verified the proof at X admits no more of its own kind.
fn a10_moved_on(b: &mut Bench) -> Result<()> {
    let (mut s, proposal) = Scene::passed(b)?;
    let x = s.pending_height()?;
    s.world.produce_until(x)?;
    let mut n = s.seat(0, "v2", &s.v2.clone())?;
    let evidence = OfferEvidence::AtX(s.at_x_of_o(proposal, x)?);
    let asked = relay::ask(&mut s.o, &mut n, Kind::Upgrade, Channel::Local)?;
    relay::hand_over(&mut s.o, &mut n, &asked, evidence, Channel::Local)?;
    s.world.chain.resume_with_handler("v2")?;
    s.world.produce_until(x + 2)?;
    let mut joiner = s.seat(1, "v1", &s.v1.clone())?;
    let collateral = s.world.collateral()?;
    let outcome = s.try_join(&mut joiner, &collateral)?;
    let what = "after X a new machine joins the old build";
    b.refused("moved-on", what, "offer/Authorize/MovedOn", outcome);
    Ok(())
}

/// A copy of the files runs beside the first; one record must not let out two keyrings.
pub fn a14(b: &mut Bench) -> Result<()> {
    let (mut s, proposal) = Scene::passed(b)?;
    let mut n = s.seat(0, "v2", &s.v2.clone())?;
    let mut twin = Saved::of(&s.o)?.clone_seat(&s.o, &s.world.dir().join("clone"))?;
    let asked = relay::ask(&mut s.o, &mut n, Kind::Upgrade, Channel::Local)?;
    let tx = s.record(&asked, proposal)?;
    let evidence = OfferEvidence::Ahead(s.ahead(proposal, &tx)?.to_cbor());
    relay::offer(&mut s.o, &asked, evidence.clone(), Some(Channel::Local))?;
    let outcome = relay::offer(&mut twin, &asked, evidence, Some(Channel::Local));
    let what = "a clone hands over under the record of the first copy";
    b.refused("one-record", what, "offer/UnknownNonce", outcome);
    let mut v3 = s.seat(0, "v3", &s.v3.clone())?;
    let asked = relay::ask(&mut twin, &mut v3, Kind::Upgrade, Channel::Local)?;
    let tx = s.record(&asked, proposal)?;
    let evidence = OfferEvidence::Ahead(s.ahead(proposal, &tx)?.to_cbor());
    let outcome = relay::offer(&mut twin, &asked, evidence, Some(Channel::Local));
    let what = "the clone hands over to another build than the first";
    b.refused("other-build", what, "offer/Authorize/Target/Measurement", outcome);
    Ok(())
}

fn challenge(s: &mut Scene, transcript: baton_attest::identity::Digest32) -> Result<(Vec<u8>, Challenge)> {
    let (bytes, _) = message(s.o.call(&Request::Challenge { transcript })?)?;
    let challenge = Challenge::from_cbor(&bytes)?;
    Ok((bytes, challenge))
}

fn prove(n: &mut Seat, challenge: &[u8], parsed: &Challenge) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
    let report_target = baton_attest::report::TargetInfo::for_identity(&parsed.source).to_bytes().to_vec();
    message(n.call(&Request::Prove { challenge: challenge.to_vec(), report_target })?)
}

/// Receipts, each of which would let the source believe in a copy that is not there.
pub fn a15(b: &mut Bench) -> Result<()> {
    let (mut s, proposal) = Scene::passed(b)?;
    let mut n = s.seat(0, "v2", &s.v2.clone())?;
    let asked = relay::ask(&mut s.o, &mut n, Kind::Upgrade, Channel::Local)?;
    let tx = s.record(&asked, proposal)?;
    let evidence = OfferEvidence::Ahead(s.ahead(proposal, &tx)?.to_cbor());
    let offered = relay::offer(&mut s.o, &asked, evidence, Some(Channel::Local))?;
    relay::accept(&mut n, &offered)?;
    let (first, parsed) = challenge(&mut s, offered.transcript)?;
    let outcome = prove(&mut n, &first, &parsed);
    b.refused("not-restarted", "a receipt of the instance that wrote the file", "prove/NotRestarted", outcome);
    n.start()?;
    let (old, report) = prove(&mut n, &first, &parsed)?;
    let attestation = relay::attest(&n, report, Channel::Local)?;
    challenge(&mut s, offered.transcript)?;
    let saved = Saved::of(&s.o)?;
    let outcome = s.o.call(&Request::Confirm { receipt: old, attestation });
    b.refused("old-nonce", "a receipt for an earlier challenge", "confirm/Receipt/OldNonce", outcome);
    saved.put_back(&mut s.o)?;
    let (reader, launcher) = (s.o.status()?.identity, s.o.launcher().clone());
    let (v2, v3) = (n.status()?.identity, s.seat(0, "v3", &s.v3.clone())?.status()?.identity);
    let (bytes, parsed) = challenge(&mut s, offered.transcript)?;
    let (honest, report) = prove(&mut n, &bytes, &parsed)?;
    let honest_by_v2 = relay::attest(&n, report, Channel::Local)?;
    let receipt = Receipt::from_cbor(&honest)?;
    let lie = Receipt { mac: [9; 32], ..receipt.clone() };
    let attestation = report_as(&*launcher, &v2, &reader, &lie.digest())?;
    let outcome = s.o.call(&Request::Confirm { receipt: lie.to_cbor(), attestation });
    b.refused("other-seed", "a target that holds another seed", "confirm/Receipt/OtherSeed", outcome);
    saved.put_back(&mut s.o)?;
    let (bytes, parsed) = challenge(&mut s, offered.transcript)?;
    let (honest, _) = prove(&mut n, &bytes, &parsed)?;
    let attestation = report_as(&*launcher, &v3, &reader, &Receipt::from_cbor(&honest)?.digest())?;
    let outcome = s.o.call(&Request::Confirm { receipt: honest.clone(), attestation });
    b.refused("other-build", "another build attests the receipt", "confirm/Receipt/OtherIdentity", outcome);
    saved.put_back(&mut s.o)?;
    let (bytes, parsed) = challenge(&mut s, offered.transcript)?;
    let (honest, _) = prove(&mut n, &bytes, &parsed)?;
    let outcome = s.o.call(&Request::Confirm { receipt: honest, attestation: honest_by_v2 });
    let check = "confirm/Receipt/Attestation/OtherMessage";
    b.refused("borrowed-report", "a report over an earlier receipt", check, outcome);
    let outcome = relay::confirm(&mut s.o, &mut n, offered.transcript, Channel::Local);
    b.control("the honest receipt", outcome);
    Ok(())
}

/// One attested request, and two receivers.
pub fn a18(b: &mut Bench) -> Result<()> {
    let (mut s, proposal) = Scene::passed(b)?;
    let v2 = s.v2.clone();
    let (mut n, mut second) = (s.seat(0, "v2", &v2)?, s.seat(0, "v2-second", &v2)?);
    let mut asked = relay::ask(&mut s.o, &mut n, Kind::Upgrade, Channel::Local)?;
    let tx = s.record(&asked, proposal)?;
    let evidence = OfferEvidence::Ahead(s.ahead(proposal, &tx)?.to_cbor());
    let saved = Saved::of(&s.o)?;
    let offered = relay::offer(&mut s.o, &asked, evidence, Some(Channel::Local))?;
    saved.put_back(&mut s.o)?;
    let outcome = relay::accept(&mut second, &offered);
    b.refused("second-target", "the same offer to a second instance", "accept/NoRequest", outcome);
    // The host's own key under v2's genuine report.
    let fresh = relay::ask(&mut s.o, &mut n, Kind::Upgrade, Channel::Local)?;
    let mut request = HandoverRequest::from_cbor(&fresh.request)?;
    request.hpke_key = host_key().to_bytes();
    asked.digest = request.digest();
    asked.request = request.to_cbor();
    asked.attestation = fresh.attestation;
    let outcome = s.try_asked(&asked, proposal, |_, _| Ok(()))?;
    let check = "offer/Attestation/OtherMessage";
    b.refused("other-key", "the host's own key under the target's report", check, outcome);
    Ok(())
}

/// Whoever kept a file and signs with that key reads it for ever.
pub fn a27(b: &mut Bench) -> Result<()> {
    let mut s = Scene::new(b)?;
    let mut policy = s.world.policy(Origin::Legacy, 2)?;
    policy.phase = Phase::Mrenclave;
    let first = s.world.platform().build(Named::V2, policy.clone(), 1)?;
    let evil = s.world.platform().build(Named::V3, policy, 1)?;
    let launcher = s.o.launcher().clone();
    // What the network's old enclave left behind.
    let mut platform = Impostor::of(&launcher, &first.image)?;
    let seed = [0x51; 32];
    let file = seal_legacy(&mut platform, SealPolicy::Mrsigner, &seed, b"")?;
    let mut n = s.seat(0, "legacy", &first)?;
    n.call(&Request::ImportLegacy { file: file.clone() })?;
    let exposed = n.status()?.exposed;
    let platform = Impostor::of(&launcher, &evil.image)?;
    let read = unseal_legacy(&platform, &file).map(|l| *l.seed.danger_expose() == seed);
    b.shown(
        "kept-file",
        "a kept MRSIGNER file, opened by another build of that signer",
        "cannot be refused: that build has the seed. status marks epoch 0 exposed until rotation and re-encryption",
        match (exposed.as_slice(), read) {
            ([0], Ok(true)) => Ok(()),
            other => Err(anyhow::anyhow!("exposed epochs and seed read: {other:?}")),
        },
    );
    let kept = Saved::of(&n)?;
    let mut other = kept.copy_for(&n, &s.world.dir().join("stolen"), evil.image.clone())?;
    let outcome = other.start();
    b.refused("our-file", "our own sealed file, opened by that build", "start/Open/OtherMeasurement", outcome);
    Ok(())
}

/// A new build that was shown nothing of the chain.
pub fn a28(b: &mut Bench) -> Result<()> {
    let (mut s, proposal) = Scene::passed(b)?;
    let mut n = s.seat(0, "v2", &s.v2.clone())?;
    s.hand_over(&mut n, proposal)?;
    let put = Request::Put { under: Under::Seed, name: "entry".into(), value: b"value".to_vec() };
    let outcome = n.call(&put);
    b.refused("serve", "v2 holds the keyring and is asked to write real state", "app/NoKey", outcome);
    let plan = s.pending_height()?;
    s.world.produce_until(plan - 2)?;
    let early = s.at_x(&mut n, &s.v2.clone(), proposal, plan - 3)?;
    let saved = Saved::of(&n)?;
    let outcome = n.call(&Request::Activate { evidence: early });
    let check = "activate/Authorize/NotAtX";
    b.refused("early", "the plan is pending, three blocks before its height", check, outcome);
    saved.put_back(&mut n)?;
    s.world.produce_until(plan)?;
    let evidence = s.at_x(&mut n, &s.v2.clone(), proposal, plan)?;
    n.call(&Request::Activate { evidence }).context("the honest activation")?;
    b.control("after the proof at X it serves", n.call(&put));
    Ok(())
}
