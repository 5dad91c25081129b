//! Targets and givers that are not who they should be.

use std::rc::Rc;

use anyhow::{Context, Result};
use baton_attest::identity::{Attributes, Digest32, Identity, PlatformId, encode, flags, hash};
use baton_attest::sigstruct::{Sigstruct, SigningKey};
use baton_chain::proofs::StateProof;
use baton_chain::record::Kind;
use baton_core::branch::BranchHead;
use baton_core::hpke_box::{PublicKey, seal_to};
use baton_core::keyring::Keyring;
use baton_core::log::LogHash;
use baton_core::messages::{Attestation, HandoverRequest, Message, Offer, VERSION, transcript};
use baton_core::secret::Seed;
use baton_enclave::wire::Request;
use baton_host::link::{Impostor, Launcher};
use baton_host::relay::{self, Asked, Channel};
use baton_host::seat::Seat;
use minicbor::Encode;

use super::Bench;
use super::scene::{Scene, hello, message, quote_as, report_as};
use crate::world::Build;

/// A build that developers signed, beside the one that people voted for.
pub fn a01(b: &mut Bench) -> Result<()> {
    let (mut s, proposal) = Scene::passed(b)?;
    let mut n = s.seat(0, "v3", &s.v3.clone())?;
    let outcome = s.try_ahead(&mut n, proposal, |_, _| Ok(()))?;
    let check = "offer/Authorize/Target/Measurement";
    b.refused("unvoted", "v3, signed by the developers, asks under v2's vote", check, outcome);
    let (from, to) = (s.v2.measurement.to_string(), s.v3.measurement.to_string());
    let outcome = s.try_ahead(&mut n, proposal, |_, e| {
        rewrite(&mut e.plan, &from, &to)?;
        rewrite(&mut e.proposal, &from, &to)
    })?;
    let check = "offer/Authorize/Vote/Proof/Refused";
    b.refused("forged-state", "plan and proposal rewritten to v3, under their old proofs", check, outcome);
    let mut n = s.seat(0, "v2", &s.v2.clone())?;
    let outcome = s.try_ahead(&mut n, proposal, |_, _| Ok(()))?;
    b.control("v2 under v2's vote", outcome);
    Ok(())
}

/// Replaces a measurement's text inside a proven value.
fn rewrite(proof: &mut StateProof, from: &str, to: &str) -> Result<()> {
    let value = proof.value.as_mut().context("a proof of a value")?;
    let at = value.windows(from.len()).position(|w| w == from.as_bytes()).context("the value names the build")?;
    value[at..at + to.len()].copy_from_slice(to.as_bytes());
    Ok(())
}

/// The voted stream under another signature or launch.
fn resigned(build: &Build, key: u8, edit: impl FnOnce(&mut Sigstruct)) -> Result<Build> {
    let mut fields = Sigstruct::parse(&build.image.sigstruct)?;
    edit(&mut fields);
    let mut build = build.clone();
    build.image.sigstruct = SigningKey::development(key)?.sign(fields)?.to_bytes().to_vec();
    Ok(build)
}

/// A request of a host's own making, attested by a report with this identity: what an enclave launched so would send.
pub fn asked_as(source: &mut Seat, identity: &Identity) -> Result<Asked> {
    let (_, hello) = hello(source)?;
    let request = HandoverRequest {
        version: VERSION,
        kind: Kind::Upgrade,
        chain_id: hello.chain_id.clone(),
        epoch: hello.epoch,
        nonce: hello.nonce,
        hpke_key: host_key().to_bytes(),
    };
    let digest = request.digest();
    Ok(Asked {
        kind: Kind::Upgrade,
        request: request.to_cbor(),
        digest,
        attestation: report_as(&**source.launcher(), identity, &hello.source, &digest)?,
        epoch: hello.epoch,
        target: identity.digest(),
        platform: source.status()?.platform,
    })
}

/// An HPKE key that the host knows.
pub fn host_key() -> PublicKey {
    let seed = baton_core::secret::Secret32::danger_from_bytes(&[0x41; 32]);
    baton_core::hpke_box::RecipientKey::from_seed(seed).public_key().clone()
}

/// MRENCLAVE does not cover attributes, signer, product id, CONFIGID or svn.
pub fn a04(b: &mut Bench) -> Result<()> {
    // The second signer is not the development key 2, so that key 2 is a stranger.
    let mut s = Scene::with(b, |p| p.builds.signers[1].0 = hash("a signer that signs nothing", &[]).0)?;
    let proposal = s.pass_v2(14)?;
    let v2 = s.v2.clone();
    let debug = resigned(&v2, 1, |f| f.attribute_mask.flags &= !flags::DEBUG)?;
    let (machine, launcher) = (s.o.machine().context("a development machine")?.clone(), s.o.launcher().clone());
    let dir = s.world.dir().join("forbidden");
    let mut n = Seat::open_on(&dir, machine.clone(), launcher.clone(), v2.image.clone(), Box::new(rand::random))?;
    b.refused("debug-forbidden", "v2 launched with DEBUG, which its signature forbids", "launch/Sigstruct", n.start_debug());
    let dir = s.world.dir().join("debug");
    let mut n = Seat::open_on(&dir, machine, launcher, debug.image, Box::new(rand::random))?;
    n.start_debug()?;
    let outcome = s.try_ahead(&mut n, proposal, |_, _| Ok(()))?;
    let rules = |check: &str| format!("offer/Authorize/Target/Rules/{check}");
    b.refused("debug", "v2 launched with DEBUG, which its signature allows", &rules("Debug"), outcome);
    let strange = resigned(&v2, 2, |_| {})?;
    let mut n = s.seat(0, "v2-strange", &strange)?;
    let outcome = s.try_ahead(&mut n, proposal, |_, _| Ok(()))?;
    b.refused("signer", "v2 signed by a key that the policy does not list", &rules("Signer"), outcome);
    let product = resigned(&v2, 1, |f| f.product_id = 7)?;
    let mut n = s.seat(0, "v2-product", &product)?;
    let outcome = s.try_ahead(&mut n, proposal, |_, _| Ok(()))?;
    b.refused("product", "v2 signed as another product", &rules("ProductId"), outcome);
    let older = resigned(&v2, 1, |f| f.svn = 1)?;
    let mut n = s.seat(0, "v2-older", &older)?;
    let outcome = s.try_ahead(&mut n, proposal, |_, _| Ok(()))?;
    b.refused("svn", "v2 signed with a lower svn than v1's", "offer/Authorize/Target/Downgrade", outcome);
    let mut n = s.seat(0, "v2", &v2)?;
    let identity = n.status()?.identity;
    let with = |edit: &dyn Fn(&mut Identity)| {
        let mut i = identity;
        edit(&mut i);
        i
    };
    for (case, what, check, other) in [
        ("config-id", "a report of v2 launched with a CONFIGID", "ConfigId", with(&|i| i.config_id[0] = 1)),
        ("config-svn", "a report of v2 launched with a CONFIGSVN", "Launch", with(&|i| i.config_svn = 1)),
        ("misc-select", "a report of v2 launched with MISCSELECT.EXINFO", "Launch", with(&|i| i.misc_select = 1)),
        ("provision", "a report of v2 with the provisioning key's attribute", "Launch", with(&|i| {
            i.attributes = Attributes { flags: i.attributes.flags | flags::PROVISION_KEY, ..i.attributes }
        })),
    ] {
        let asked = asked_as(&mut s.o, &other)?;
        let outcome = s.try_asked(&asked, proposal, |_, _| Ok(()))?;
        b.refused(case, what, &rules(check), outcome);
    }
    let outcome = s.try_ahead(&mut n, proposal, |_, _| Ok(()))?;
    b.control("v2 as it was published", outcome);
    Ok(())
}

/// What HPKE carries, as a host writes it by hand.
#[derive(Encode)]
#[cbor(map)]
struct ForgedPayload {
    #[n(0)]
    version: u8,
    #[cbor(n(1), with = "minicbor::bytes")]
    keyring: Vec<u8>,
    #[n(2)]
    parent: BranchHead,
    #[n(3)]
    platform: PlatformId,
    #[n(4)]
    plan: Option<baton_chain::authorize::PlanRef>,
}

/// An offer of a keyring that the host made up, for a request in hand.
fn forged_offer(on: &Rc<dyn Launcher>, build: &Build, asked: &Asked, source: &Identity) -> Result<Offer> {
    let authority = Digest32([0x42; 32]);
    let request = HandoverRequest::from_cbor(&asked.request)?;
    let transcript = transcript(asked.kind, &asked.digest, &source.digest(), &asked.target, &authority);
    let payload = ForgedPayload {
        version: VERSION,
        keyring: Keyring::new(0, Seed::danger_from_bytes(&[0x43; 32])).danger_encode().to_vec(),
        parent: BranchHead { id: Digest32([0x44; 32]), size: 0, root: LogHash([0; 32]) },
        platform: asked.platform,
        plan: None,
    };
    let mut platform = Impostor::of(on, &build.image)?;
    let recipient = PublicKey::from_bytes(&request.hpke_key)?;
    let context = "baton offer payload v1";
    let sealed = seal_to(&mut platform, &recipient, context, &transcript.0, &encode(&payload))?;
    Ok(Offer { version: VERSION, kind: asked.kind, transcript, source: source.digest(), authority, sealed })
}

/// A keyring from somebody who only says that it is the network's.
pub fn a09(b: &mut Bench) -> Result<()> {
    let mut s = Scene::new(b)?;
    let (v1, v2, v3) = (s.v1.clone(), s.v2.clone(), s.v3.clone());
    let mut n = s.seat(0, "v2", &v2)?;
    let giver = s.o.status()?.identity;
    let asked = relay::ask(&mut s.o, &mut n, Kind::Upgrade, Channel::Local)?;
    let offer = forged_offer(s.o.launcher(), &v3, &asked, &giver)?;
    let outcome = n.call(&Request::Accept { offer: offer.to_cbor(), giver: None });
    let check = "accept/Commitment/Mismatch";
    b.refused("other-seed", "v2 is offered a seed of the host's own", check, outcome);
    let mut joiner = s.seat(1, "v1", &v1)?;
    let collateral = s.world.collateral()?;
    let channel = Channel::Quoted { collateral: &collateral };
    let asked = relay::ask(&mut s.o, &mut joiner, Kind::Join, channel)?;
    let mut stranger = s.seat(0, "v3", &v3)?;
    let evil = stranger.status()?.identity;
    let offer = forged_offer(s.o.launcher(), &v3, &asked, &evil)?;
    let outcome = joiner.call(&Request::Accept { offer: offer.to_cbor(), giver: None });
    b.refused("no-giver", "a joiner of the genesis build is offered one by nobody", "accept/NoGiver", outcome);
    let quote = quote_as(&**s.o.launcher(), &evil, &offer.digest(), &collateral)?;
    let outcome = joiner.call(&Request::Accept { offer: offer.to_cbor(), giver: Some(quote) });
    b.refused("other-giver", "the same by another build, with its genuine quote", "accept/OtherGiver", outcome);
    // The giver's genuine quote over another message.
    let genuine = genuine_quote(&mut s, &mut joiner, channel)?;
    let offer = forged_offer(s.o.launcher(), &v3, &asked, &giver)?;
    let outcome = joiner.call(&Request::Accept { offer: offer.to_cbor(), giver: Some(genuine) });
    let check = "accept/Giver/OtherMessage";
    b.refused("borrowed-quote", "the same with a quote of the true giver over other bytes", check, outcome);
    Ok(())
}

/// A quote of `o` over something that it says to everybody.
fn genuine_quote(s: &mut Scene, joiner: &mut Seat, channel: Channel<'_>) -> Result<Attestation> {
    let (hello, _) = hello(joiner)?;
    let report_target = s.o.launcher().qe_target()?;
    let ask = Request::Ask { hello, kind: Kind::Rehearsal, report_target };
    let (_, report) = message(s.o.call(&ask)?)?;
    relay::attest(&s.o, report, channel).context("the quote of o")
}
