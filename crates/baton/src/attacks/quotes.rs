//! Machines that are not to be trusted, and time as a host would like it.

use std::rc::Rc;

use anyhow::{Context, Result};
use baton_attest::identity::hash;
use baton_attest::pki::{CollateralSpec, DevPki, PlatformSpec, QeSpec};
use baton_attest::quote::intel_root;
use baton_attest::identity::Signer;
use baton_chain::record::Kind;
use baton_core::messages::Attestation;
use baton_enclave::sim::Machine;
use baton_enclave::wire::OfferEvidence;
use baton_host::gather::Gather;
use baton_host::relay::{self, Channel};

use super::Bench;
use super::scene::{Saved, Scene};
use crate::world::ops::trusted;

const DAY: u64 = 24 * 3600;

fn json(s: &Scene, spec: &CollateralSpec) -> Result<Vec<u8>> {
    Ok(s.world.pki.collateral(spec)?.to_json().into_bytes())
}

/// Joiners whose quote must not open the door.
pub fn a17(b: &mut Bench) -> Result<()> {
    let mut s = Scene::new(b)?;
    let v1 = s.v1.clone();
    let now = s.world.block_time();
    let fresh = CollateralSpec::at(now - 3600);
    let mut good = s.seat(1, "v1", &v1)?;
    let revoked = fresh.clone().revoking(good.machine().context("a development machine")?.platform());
    let revoked_ca = CollateralSpec { revoke_pck_ca: true, ..fresh.clone() };
    let other_fmspc = CollateralSpec { fmspc: [1, 2, 3, 4, 5, 6], ..fresh.clone() };
    let evaluation = CollateralSpec { tcb_evaluation: 16, ..fresh.clone() };
    for (case, what, spec, check) in [
        ("revoked-key", "the machine's PCK certificate is revoked", &revoked, "RevokedKey"),
        ("revoked-ca", "the CA of its PCK certificate is revoked", &revoked_ca, "RevokedKey"),
        ("other-platform", "collateral for machines of another kind", &other_fmspc, "OtherPlatform"),
        ("evaluation", "collateral from before the policy's floor", &evaluation, "Evaluation"),
        ("too-old", "collateral that is valid and 8 days old", &CollateralSpec::at(now - 8 * DAY), "TooOld"),
        ("expired", "collateral that is no longer valid", &CollateralSpec::at(now - 40 * DAY), "Expired"),
    ] {
        let collateral = json(&s, spec)?;
        let outcome = s.try_join(&mut good, &collateral)?;
        b.refused(case, what, &format!("offer/Attestation/Quote/{check}"), outcome);
    }
    let collateral = json(&s, &fresh)?;
    let qe = QeSpec { signer: Signer(hash("another quoting enclave", &[]).0), ..QeSpec::default() };
    for (case, what, spec, check) in [
        ("out-of-date", "a machine whose TCB is out of date", PlatformSpec::with_svn(4), "Status"),
        ("revoked-tcb", "a machine whose TCB is revoked", PlatformSpec::with_svn(1), "RevokedTcb"),
        ("other-qe", "a quoting enclave that is not Intel's", PlatformSpec { qe, ..PlatformSpec::default() }, "QeIdentity"),
    ] {
        let machine = s.world.machine_like(case, &spec)?;
        let mut joiner = s.seat_on(machine, "v1", &v1)?;
        let outcome = s.try_join(&mut joiner, &collateral)?;
        b.refused(case, what, &format!("offer/Attestation/Quote/{check}"), outcome);
    }
    let foreign = DevPki::new([0x77; 32])?;
    let machine = Rc::new(Machine::new(&foreign, "foreign", &PlatformSpec::default())?);
    let mut joiner = s.seat_on(machine, "v1", &v1)?;
    let theirs = foreign.collateral(&fresh)?.to_json().into_bytes();
    let outcome = s.try_join(&mut joiner, &theirs)?;
    b.refused("other-root", "a machine of another root, with that root's collateral", "offer/Attestation/Quote/Root", outcome);
    let outcome = s.try_join(&mut good, &collateral)?;
    b.control("a machine in good order", outcome);
    Ok(())
}

/// The enclave has no clock and takes no time from its host: what a host can do is to hold back and to replay.
pub fn a13(b: &mut Bench) -> Result<()> {
    let mut s = Scene::new(b)?;
    let v1 = s.v1.clone();
    let now = s.world.block_time();
    // Collateral of a later date than any block: the chain stands still, Intel's dates go on.
    let newer = json(&s, &CollateralSpec::at(now + 20 * DAY))?;
    let older = json(&s, &CollateralSpec::at(now - 3600))?;
    let mut first = s.seat(1, "v1", &v1)?;
    let mut second = s.seat_on(s.world.machine("second joiner")?, "v1", &v1)?;
    let outcome = s.try_join(&mut second, &older)?;
    b.control("the older collateral, before a newer one was seen", outcome);
    let channel = Channel::Quoted { collateral: &newer };
    let asked = relay::ask(&mut s.o, &mut first, Kind::Join, channel)?;
    let tx = s.record(&asked, 0)?;
    let evidence = s.join_evidence(&tx)?;
    relay::offer(&mut s.o, &asked, evidence, Some(channel))?;
    s.o.start()?;
    let outcome = s.try_join(&mut second, &older)?;
    let check = "offer/Attestation/Quote/TooOld";
    b.refused("collateral", "older collateral after newer was seen, and a restart", check, outcome);
    let proposal = s.pass_v2(32)?;
    let mut n = s.seat(0, "v2", &s.v2.clone())?;
    let outcome = s.try_ahead(&mut n, proposal, |_, _| Ok(()))?;
    b.refused("too-early", "an offer before the lead window opens", "offer/Authorize/BeforeWindow", outcome);
    let plan = s.pending_height()?;
    s.world.produce_until(plan - 2)?;
    let asked = relay::ask(&mut s.o, &mut n, Kind::Upgrade, Channel::Local)?;
    let tx = s.record(&asked, proposal)?;
    s.world.produce_until(plan)?;
    let heights = trusted(&s.o.status()?);
    let gather = Gather::new(&s.world.chain, &s.v1.policy.chain);
    let evidence = OfferEvidence::Ahead(gather.ahead(&heights, proposal, &tx, plan)?.to_cbor());
    let saved = Saved::of(&s.o)?;
    let outcome = relay::offer(&mut s.o, &asked, evidence, Some(Channel::Local));
    saved.put_back(&mut s.o)?;
    b.refused("too-late", "the route ahead, at the plan's height", "offer/Authorize/WindowClosed", outcome);
    Ok(())
}

/// Development never passes for production, nor the reverse.
pub fn a22(b: &mut Bench) -> Result<()> {
    // Production: the policy lists Intel's root.
    let mut s = Scene::with(b, |p| p.tcb.roots = vec![intel_root().to_vec()])?;
    let mut joiner = s.seat(1, "v1", &s.v1.clone())?;
    let collateral = s.world.collateral()?;
    let outcome = s.try_join(&mut joiner, &collateral)?;
    let check = "offer/Attestation/Quote/Root";
    b.refused("into-production", "a development machine joins a production build", check, outcome);
    // Development: a genuine quote of a production machine.
    let mut s = Scene::new(b)?;
    let mut joiner = s.seat(1, "v1", &s.v1.clone())?;
    let mut asked = relay::ask(&mut s.o, &mut joiner, Kind::Join, Channel::Quoted { collateral: &collateral })?;
    asked.attestation = Attestation::Quoted {
        quote: include_bytes!("../../tests/fixtures/dcap/phala-sgx.quote").to_vec(),
        collateral: include_bytes!("../../tests/fixtures/dcap/00A067110000-processor-2025-06-phala.json").to_vec(),
    };
    let tx = s.record(&asked, 0)?;
    let evidence = s.join_evidence(&tx)?;
    let outcome = relay::offer(&mut s.o, &asked, evidence, None);
    b.refused("into-development", "a genuine production quote to a development build", check, outcome);
    Ok(())
}
