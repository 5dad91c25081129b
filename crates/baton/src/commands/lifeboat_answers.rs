//! `baton lifeboat drill --published`: the quarterly drill with the real holders and a real lifeboat, and a canary in the escrow.
//!
//! Holders answer as in an emergency, with `baton ceremony box`. The council's signatures and the witness are the drill's own: what is
//! tried is that shares are found, opened and boxed in time, and that the lifeboat's key still opens what is made for it.

use std::path::Path;
use std::time::{Duration, Instant};

use baton_attest::identity::encode;
use baton_attest::policy::BuildRules;
use baton_attest::sigstruct::SigningKey;
use baton_core::ceremony::ShareBox;
use baton_core::escrow::{self, Conditions, EscrowKeys, key_digest};
use baton_core::keyring::CanaryKeyring;
use baton_core::lifeboat::release_text;
use baton_core::order::signed::SignedOrder;
use baton_core::order::{Action, Order, VERSION};
use baton_core::platform::Platform as _;
use baton_core::policy::{Council, CouncilKey, Member, Witnesses};
use baton_core::secret::CanarySeed;
use baton_core::shares::{Purpose, Transcript};
use baton_enclave::sim::Image;
use baton_host::lifeboat::{LifeboatSeat, Opened, evidence};
use baton_host::shares::HostRandom;
use ed25519_dalek::{Signer as _, SigningKey as CouncilSigner};

use super::boat::Place;
use super::ceremony::{read_boxes, read_transcript};
use super::lifeboat::{CHAIN, DrillTarget, NOTICE_SECS, bad, public_log, random_bytes, witness};
use crate::cli::ceremony::DrillArgs;
use crate::output::{Failure, Report};
use crate::times::unix_now;

/// Asks the real holders.
pub fn drill(args: &DrillArgs, published: &Path, dir: &Path) -> Result<Report, Failure> {
    let (_, transcript) = read_transcript(published)?;
    if transcript.terms().purpose != Purpose::Council {
        return Err(Failure::input(format!("{}: expected the publication of a council's ceremony, got one of a {} key", published.display(), transcript.terms().purpose)));
    }
    let place = Place::open(dir)?;
    let mut boat = place.seat()?;
    let signer = CouncilSigner::from_bytes(&random_bytes());
    let key = SigningKey::development(1).map_err(bad)?;
    let image = Image::program("baton-drill", "1", b"drill target", &key, (1, 1)).map_err(bad)?;
    let canary = CanarySeed::random(&mut HostRandom::default());
    let conditions = conditions(&place, &signer, &key)?;
    let keyring = CanaryKeyring::new(0, CanarySeed::danger_from_bytes(canary.danger_expose()));
    let (card, _) = boat.card().map_err(bad)?;
    let (public, boat_key) = (&transcript.terms().public_key, &card.public_key);
    let keys = EscrowKeys::new((public, &key_digest(public)), (boat_key, &key_digest(boat_key))).map_err(bad)?;
    let made = escrow::make_canary(&mut HostRandom::default(), &keyring, &conditions, &keys).map_err(bad)?;
    let opened = boat.open(CHAIN, 0).map_err(bad)?;
    let mut target = DrillTarget::ask(&place.machine, &image, &place.collateral, &opened.hello).map_err(bad)?;
    let order = order(boat.identity_digest().map_err(bad)?, &target, &signer);
    let subject = target.shown.subject(&order).map_err(bad)?;
    let text = release_text(&opened.session, &subject);
    let log = public_log(&order.order().memo(), &text).map_err(bad)?;
    ask(&place, &opened, &order, &target, args.wait)?;
    let boxes_dir = dir.join("boxes");
    let bytes = transcript.to_cbor();
    let mut attempt = |boat: &mut LifeboatSeat<'_>, boxes: &[ShareBox]| {
        let shown = evidence(&bytes, boxes, &made, &order, &log, &text, &target.shown).map_err(|e| e.to_string())?;
        let released = boat.release(&shown).map_err(|e| e.to_string())?;
        target.take(&released.offer, &canary)?;
        Ok::<_, String>((released.holders, released.skipped))
    };
    let all = transcript.holders().holders.len();
    let end = Instant::now() + Duration::from_secs(args.wait);
    let (mut seen, mut got) = (usize::MAX, Err("nobody answered".to_string()));
    // Everybody is asked: a drill that is over with the m-th answer says nothing about the others.
    while seen != all {
        let found = read_boxes(&boxes_dir)?;
        if found.len() != seen {
            seen = found.len();
            got = attempt(&mut boat, &found);
        }
        if Instant::now() >= end {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(report(&transcript, got))
}

fn conditions(place: &Place, signer: &CouncilSigner, key: &SigningKey) -> Result<Conditions, Failure> {
    let member = Member { name: "drill".into(), key: CouncilKey::Ed25519(signer.verifying_key().to_bytes()) };
    Ok(Conditions {
        chain_id: CHAIN.into(),
        council: Council { members: vec![member], needed: 1, notice_blocks: 1 },
        witnesses: Witnesses { keys: vec![witness()?.vkey()], needed: 1, notice_secs: NOTICE_SECS, dated_exports: false },
        builds: BuildRules { signers: vec![key.signer()], product_id: 1, min_svn: 1 },
        tcb: place.tcb.clone(),
    })
}

fn order(from: baton_attest::identity::Digest32, target: &DrillTarget, signer: &CouncilSigner) -> SignedOrder {
    let order = Order {
        version: VERSION,
        chain_id: CHAIN.into(),
        from,
        sequence: 1,
        expiry_height: u64::MAX,
        expiry_secs: unix_now().saturating_add(7 * 86_400),
        reason: "drill: a canary, no seed".into(),
        action: Action::Handover { to: *target.platform.identity() },
    };
    let mut signed = SignedOrder::unsigned(order);
    let public = CouncilKey::Ed25519(signer.verifying_key().to_bytes());
    signed.add_council(&public, |bytes| signer.sign(bytes).to_vec());
    signed
}

/// Writes what holders need, and says it.
fn ask(place: &Place, opened: &Opened, order: &SignedOrder, target: &DrillTarget, wait: u64) -> Result<(), Failure> {
    let session = place.write("session.attested", &encode(&opened.attested))?;
    let order = place.write("drill.order", &order.to_bytes())?;
    let target = place.write("drill.target", &target.shown.to_cbor())?;
    let boxes = session.with_file_name("boxes");
    // Boxes of an older session only confuse.
    if boxes.exists() {
        std::fs::remove_dir_all(&boxes).map_err(bad)?;
    }
    std::fs::create_dir_all(&boxes).map_err(bad)?;
    eprintln!(
        "holders: baton ceremony box --session {} --order {} --target {} --published ceremony-N.attested --share YOURS --out {}/NAME.box",
        session.display(),
        order.display(),
        target.display(),
        boxes.display()
    );
    eprintln!("waiting {wait} s");
    Ok(())
}

fn report(t: &Transcript, got: Result<(Vec<String>, Vec<String>), String>) -> Report {
    let mut out = Report::new();
    let names: Vec<String> = t.holders().holders.iter().map(|h| h.name.clone()).collect();
    let (answered, skipped, why) = match got {
        Ok((answered, skipped)) => (answered, skipped, None),
        Err(why) => (Vec::new(), Vec::new(), Some(why)),
    };
    let absent: Vec<String> = names.into_iter().filter(|n| !answered.contains(n)).collect();
    out.both("needed", "needed", format!("{} of {}", t.holders().needed, t.holders().holders.len()));
    out.field("answered", answered.clone()).field("skipped", skipped.clone());
    out.row("answered", if answered.is_empty() { "nobody, or too few".into() } else { answered.join(", ") });
    for s in &skipped {
        out.row("skipped", s);
    }
    match why {
        None => {
            out.field("absent", absent.clone());
            for n in &absent {
                out.row("no good answer", n);
            }
            let text = match absent.len() {
                0 => "everybody answered, and the lifeboat released the canary".into(),
                n => format!("the lifeboat released the canary; {n} did not answer: ask them once more, and replace who fails twice in a row"),
            };
            out.verdict(true, text)
        }
        Some(why) => out.verdict(false, format!("no release: {why}")),
    };
    out
}
