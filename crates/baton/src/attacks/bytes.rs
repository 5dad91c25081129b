//! Bytes that are not what they should be.

use anyhow::{Context, Result, anyhow, bail};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use baton_attest::identity::encode;
use baton_chain::gov::GOV_STORE;
use baton_chain::record::{Kind, PREFIX};
use baton_core::messages::{Attestation, HandoverRequest, MAX_MESSAGE_BYTES, Message};
use baton_core::seal::Slot;
use baton_enclave::link::Opening;
use baton_enclave::sim::Launch;
use baton_enclave::wire::{AttestedReceipt, OfferEvidence, Reply, Request, Response, SealedFile};
use baton_host::chain::ChainSource;
use baton_host::link::EnclaveLink;
use baton_host::relay::{self, Channel};
use baton_host::seat::Seat;

use super::Bench;
use super::builds::host_key;
use super::scene::{Saved, Scene, hello, message};

/// Messages, proofs and memos of another type.
pub fn a08(b: &mut Bench) -> Result<()> {
    let (mut s, proposal) = Scene::passed(b)?;
    let mut n = s.seat(0, "v2", &s.v2.clone())?;
    let rehearsal = relay::ask(&mut s.o, &mut n, Kind::Rehearsal, Channel::Local)?;
    let mut asked = relay::ask(&mut s.o, &mut n, Kind::Upgrade, Channel::Local)?;
    let mut request = HandoverRequest::from_cbor(&asked.request)?;
    request.hpke_key = host_key().to_bytes();
    (asked.digest, asked.request) = (request.digest(), request.to_cbor());
    asked.attestation = rehearsal.attestation.clone();
    let outcome = s.try_asked(&asked, proposal, |_, _| Ok(()))?;
    let check = "offer/Attestation/OtherMessage";
    b.refused("rehearsal-report", "a rehearsal's report under a request of the host's", check, outcome);
    // The nonces went with the restart.
    let fresh = relay::ask(&mut s.o, &mut n, Kind::Upgrade, Channel::Local)?;
    let outcome = s.try_asked(&fresh, proposal, |s, e| {
        let head = s.world.chain.height();
        e.plan = s.world.chain.state(GOV_STORE, &[0x30], head)?;
        Ok(())
    })?;
    b.refused("other-key", "the proof of another key in place of the plan's", "offer/Authorize/Vote/WrongKey", outcome);
    let fresh = relay::ask(&mut s.o, &mut n, Kind::Upgrade, Channel::Local)?;
    let memo = format!("{PREFIX}{}", hex::encode(fresh.digest.0));
    let outcome = with_memo(&mut s, &fresh, proposal, &memo)?;
    let check = "offer/Authorize/Publication/Record/OldForm";
    b.refused("old-memo", "a record of the older form, the bare digest", check, outcome);
    let rehearsal = relay::ask(&mut s.o, &mut n, Kind::Rehearsal, Channel::Local)?;
    let outcome = with_evidence(&mut s, &rehearsal, proposal)?;
    b.refused("rehearsal-seed", "a rehearsal's request with the evidence of an upgrade", "offer/WrongEvidence", outcome);
    Ok(())
}

fn with_memo(s: &mut Scene, asked: &relay::Asked, proposal: u64, memo: &str) -> Result<Result<relay::Offered>> {
    let tx = s.world.publish(memo)?;
    let evidence = OfferEvidence::Ahead(s.ahead(proposal, &tx)?.to_cbor());
    kept(s, asked, evidence)
}

fn with_evidence(s: &mut Scene, asked: &relay::Asked, proposal: u64) -> Result<Result<relay::Offered>> {
    let tx = s.record(asked, proposal)?;
    let evidence = OfferEvidence::Ahead(s.ahead(proposal, &tx)?.to_cbor());
    kept(s, asked, evidence)
}

fn kept(s: &mut Scene, asked: &relay::Asked, evidence: OfferEvidence) -> Result<Result<relay::Offered>> {
    let saved = Saved::of(&s.o)?;
    let outcome = relay::offer(&mut s.o, asked, evidence, Some(Channel::Local));
    saved.put_back(&mut s.o)?;
    Ok(outcome.map_err(Into::into))
}

/// Malformed bytes of every type: refused, nothing changed, and no panic.
pub fn a21(b: &mut Bench) -> Result<()> {
    let (mut s, proposal) = Scene::passed(b)?;
    let mut n = s.seat(0, "v2", &s.v2.clone())?;
    let corpus = corpus(&mut s, &mut n, proposal)?;
    let (mut tried, mut kinds) = (0usize, 0usize);
    for (name, sample, rebuild) in &corpus {
        let seat = if rebuild.for_target { &mut n } else { &mut s.o };
        let mut raw = raw(seat)?;
        kinds += 1;
        for bad in malformed(sample, rebuild.bounded) {
            must_refuse(&mut raw, &encode(&(rebuild.make)(bad))).with_context(|| format!("a malformed {name}"))?;
            tried += 1;
        }
    }
    let mut outer = raw(&mut s.o)?;
    for (_, sample, rebuild) in &corpus {
        let whole = encode(&(rebuild.make)(sample.clone()));
        for cut in (0..whole.len()).step_by((whole.len() / 40).max(1)) {
            must_refuse(&mut outer, &whole[..cut]).context("a request that is cut off")?;
            tried += 1;
        }
    }
    for nested in nests() {
        must_refuse(&mut outer, &nested).context("a deeply nested request")?;
        tried += 1;
    }
    let size = baton_enclave::shell::MAX_REQUEST_BYTES + 1;
    must_refuse(&mut outer, &vec![0x80; size]).context("an oversized request")?;
    b.shown_refused("malformed", &format!("{tried} malformed messages of {kinds} types and around them"));
    let asked = relay::ask(&mut s.o, &mut n, Kind::Upgrade, Channel::Local)?;
    let memo = asked.record(proposal).encode();
    let mut wide = URL_SAFE_NO_PAD.decode(memo.trim_start_matches(PREFIX)).map_err(|e| anyhow!("{e}"))?;
    // Epoch 0 in two bytes instead of one: the same fields, another text.
    wide.splice(3..4, [0x18, 0x00]);
    let memo = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(wide));
    let outcome = with_memo(&mut s, &asked, proposal, &memo)?;
    let check = "offer/Authorize/Publication/Record/NotCanonical";
    b.refused("non-canonical", "a record in another encoding of the same fields", check, outcome);
    Ok(())
}

struct Rebuild {
    make: Box<dyn Fn(Vec<u8>) -> Request>,
    for_target: bool,
    /// A message with the limit of messages; evidence has a larger one.
    bounded: bool,
}

type Sample = (&'static str, Vec<u8>, Rebuild);

/// One good sample of each byte string that an enclave takes from a host.
fn corpus(s: &mut Scene, n: &mut Seat, proposal: u64) -> Result<Vec<Sample>> {
    let (hello, _) = hello(&mut s.o)?;
    let asked = relay::ask(&mut s.o, n, Kind::Upgrade, Channel::Local)?;
    let tx = s.record(&asked, proposal)?;
    let evidence = s.ahead(proposal, &tx)?.to_cbor();
    let offered = relay::offer(&mut s.o, &asked, OfferEvidence::Ahead(evidence.clone()), Some(Channel::Local))?;
    relay::accept(n, &offered)?;
    let (challenge, _) = message(s.o.call(&Request::Challenge { transcript: offered.transcript })?)?;
    let block = encode(&s.block(2)?);
    let path = encode(&baton_chain::light::Path { from_next_validators: None, blocks: vec![s.block(7)?] });
    let custody = s.o.store().find(Slot::Custody)?;
    let sealed = s.o.store().read(custody.first().context("no sealed file")?)?;
    let (attestation, request) = (asked.attestation.clone(), asked.request.clone());
    let none = || OfferEvidence::None;
    let quoted = |quote: Vec<u8>| Attestation::Quoted { quote, collateral: b"{}".to_vec() };
    let report_target = vec![0; 512];
    let Attestation::Local { report } = attestation.clone() else { bail!("a local attestation") };
    let to = |for_target: bool, bounded: bool, make: Box<dyn Fn(Vec<u8>) -> Request>| Rebuild { make, for_target, bounded };
    let target = report_target.clone();
    let ask = move |hello| Request::Ask { hello, kind: Kind::Upgrade, report_target: target.clone() };
    let hello_again = hello.clone();
    let ask_for = move |report_target| Request::Ask { hello: hello_again.clone(), kind: Kind::Upgrade, report_target };
    let a = attestation.clone();
    let offer = move |request| Request::Offer { request, attestation: a.clone(), evidence: none(), report_target: None };
    let r = request.clone();
    let by_report = move |report| Request::Offer {
        request: r.clone(),
        attestation: Attestation::Local { report },
        evidence: none(),
        report_target: None,
    };
    let r = request.clone();
    let by_quote = move |quote| Request::Offer {
        request: r.clone(),
        attestation: quoted(quote),
        evidence: none(),
        report_target: None,
    };
    let (r, a) = (request.clone(), attestation.clone());
    let ahead = move |e| Request::Offer {
        request: r.clone(),
        attestation: a.clone(),
        evidence: OfferEvidence::Ahead(e),
        report_target: None,
    };
    let (r, a) = (request, attestation.clone());
    let at_x = move |e| Request::Offer {
        request: r.clone(),
        attestation: a.clone(),
        evidence: OfferEvidence::AtX(e),
        report_target: None,
    };
    let prove = move |challenge| Request::Prove { challenge, report_target: report_target.clone() };
    let a = attestation.clone();
    let confirm = move |receipt| Request::Confirm { receipt, attestation: a.clone() };
    let a = attestation;
    let erase = move |receipt| Request::Erase { receipts: vec![AttestedReceipt { receipt, attestation: a.clone() }], power: None };
    let stored = |bytes| Request::Stored { files: vec![SealedFile { slot: Slot::Custody, generation: 1, bytes }] };
    Ok(vec![
        ("hello", hello, to(true, true, Box::new(ask))),
        ("TARGETINFO", vec![0; 512], to(true, false, Box::new(ask_for))),
        ("request", asked.request.clone(), to(false, true, Box::new(offer))),
        ("report", report, to(false, false, Box::new(by_report))),
        ("quote", vec![3; 5000], to(false, false, Box::new(by_quote))),
        ("evidence of the route ahead", evidence.clone(), to(false, false, Box::new(ahead))),
        ("evidence at X", evidence.clone(), to(false, false, Box::new(at_x))),
        ("evidence of activation", evidence.clone(), to(true, false, Box::new(|evidence| Request::Activate { evidence }))),
        ("evidence of a standing", evidence, to(false, false, Box::new(|evidence| Request::Observe { evidence }))),
        ("offer", offered.offer, to(true, true, Box::new(|offer| Request::Accept { offer, giver: None }))),
        ("challenge", challenge.clone(), to(true, true, Box::new(prove))),
        ("receipt", challenge.clone(), to(false, true, Box::new(confirm))),
        ("barrier receipt", challenge, to(false, true, Box::new(erase))),
        ("path", path, to(false, false, Box::new(|path| Request::Advance { path }))),
        ("sealed file", sealed.clone(), to(false, false, Box::new(stored))),
        ("inherited file", sealed.clone(), to(true, false, Box::new(|file| Request::Inherit { file }))),
        ("legacy file", sealed, to(true, false, Box::new(|file| Request::ImportLegacy { file }))),
        ("light block", block, to(true, false, Box::new(|path| Request::Advance { path }))),
    ])
}

/// The enclave of a seat's newest file, to which any bytes can be said.
fn raw(seat: &mut Seat) -> Result<Box<dyn EnclaveLink>> {
    let files = seat.store().find(Slot::Custody)?;
    let file = files.first().map(|f| seat.store().read(f)).transpose()?;
    let launch = Launch { debug: false, entropy: rand::random() };
    let opening = Opening { custody: file.map(Into::into), ..Opening::default() };
    Ok(seat.launcher().launch(seat.image(), &launch, &opening)?)
}

/// Malformed variants of a sample.
fn malformed(sample: &[u8], bounded: bool) -> Vec<Vec<u8>> {
    let mut out: Vec<Vec<u8>> =
        (0..sample.len()).step_by((sample.len() / 40).max(1)).map(|cut| sample[..cut].to_vec()).collect();
    out.push([sample, &[0]].concat());
    out.push([sample, sample].concat());
    out.extend(nests());
    if bounded {
        out.push(vec![0x80; MAX_MESSAGE_BYTES + 1]);
    }
    // Lengths that no memory holds.
    out.push(vec![0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    out.push(vec![0xa1, 0x05, 0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    out
}

fn nests() -> Vec<Vec<u8>> {
    let map: Vec<u8> = [0xa1, 0x18, 0x63].repeat(20_000);
    vec![vec![0x81; 60_000], vec![0x9f; 60_000], map]
}

fn must_refuse(enclave: &mut Box<dyn EnclaveLink>, request: &[u8]) -> Result<()> {
    let status = encode(&Request::Status);
    let before = enclave.call(&status)?;
    let answer = enclave.call(request)?;
    let response: Response = minicbor::decode(&answer).context("the answer cannot be read")?;
    match response.reply {
        Some(Reply::Refused(_)) if response.store.is_empty() => {}
        other => bail!("it was not refused: {:.120}", format!("{other:?}")),
    }
    if enclave.call(&status)? != before {
        bail!("it was refused, and something changed");
    }
    Ok(())
}
