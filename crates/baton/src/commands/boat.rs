//! `baton lifeboat show|new|join|open|request|release`: a lifeboat from its key to a release, each party in its own process.
//!
//! Files in the lifeboat's folder carry what crosses: `session.attested` to share holders, `hello` to the target, `release.cbor` in,
//! `offer` out. The program runs on `sim`, or on softsgx where the folder has a `program.sgxs`: either machine's keys are public, so
//! what it holds is for rehearsals.

use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use baton_attest::identity::encode;
use baton_attest::pki::{CollateralSpec, PlatformSpec};
use baton_attest::policy::TcbPolicy;
use baton_chain::light::Path as LightPath;
use baton_core::ceremony::SessionInfo;
use baton_core::escrow::{Escrow, MAX_ESCROW_BYTES, key_digest};
use baton_core::lifeboat::{MAX_EVIDENCE_BYTES, Released, release_text};
use baton_enclave::lifeboat::{Reply, Request as Ask};
use baton_enclave::sim::Machine;
use baton_enclave::wire::Request;
use baton_host::escrows::LIFEBOAT_KEY;
use baton_host::lifeboat::{LifeboatError, LifeboatSeat, Target, evidence, image};
use baton_host::order_log::LogFile;
use baton_host::shares::Attested;
use baton_host::store::SealedStore;

use super::ceremony::{Runs, collateral, development_tcb, pki, read_boxes, read_transcript};
use super::order::read_signed;
use super::snapshot::find;
use crate::cli::ceremony::{BoatArgs, BoatJoinArgs, BoatNewArgs, BoatOpenArgs, BoatReleaseArgs, BoatRequestArgs};
use crate::cli::NodeArgs;
use crate::files::{read, write};
use crate::output::{Failure, Report};
use crate::times::unix_now;

const SESSION: &str = "session.attested";
const HELLO: &str = "hello";
const EVIDENCE: &str = "release.cbor";
const OFFER: &str = "offer";
const REFUSED: &str = "refused.txt";

fn failed(e: LifeboatError) -> Failure {
    match e {
        LifeboatError::Refused(m) => Failure::refused(m),
        other => Failure::input(other),
    }
}

/// A lifeboat's folder and its machine.
pub(super) struct Place {
    dir: PathBuf,
    pub(super) machine: Rc<Machine>,
    runs: Runs,
    pub(super) tcb: TcbPolicy,
    pub(super) collateral: Vec<u8>,
}

impl Place {
    pub(super) fn open(dir: &Path) -> Result<Self, Failure> {
        let pki = pki()?;
        let name = dir.file_name().and_then(|n| n.to_str()).ok_or_else(|| Failure::input("--dir needs a name at its end"))?;
        let machine = Rc::new(Machine::new(&pki, name, &PlatformSpec::default()).map_err(Failure::input)?);
        let tcb = development_tcb(&pki)?;
        let runs = Runs::of(dir, &machine, || image(&tcb).map_err(Failure::input))?;
        Ok(Place { dir: dir.into(), machine, runs, tcb, collateral: collateral(&pki)? })
    }

    pub(super) fn seat(&self) -> Result<LifeboatSeat<'_>, Failure> {
        let store = SealedStore::open(self.dir.join("sealed")).map_err(Failure::input)?;
        LifeboatSeat::start(self.runs.launcher.as_ref(), &self.runs.image, store, &self.collateral).map_err(failed)
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, Failure> {
        let path = self.dir.join(name);
        write(&path, bytes)?;
        Ok(path)
    }

    pub(super) fn forget(&self, names: &[&str]) {
        for name in names {
            let _ = fs::remove_file(self.dir.join(name));
        }
    }

    fn describe(&self, out: &mut Report) -> Result<(), Failure> {
        let mut seat = self.seat()?;
        let Reply::Status { identity, card } = seat.call(&Ask::Status).map_err(failed)? else {
            return Err(Failure::input("the lifeboat answered something else"));
        };
        out.both("machine", "machine", self.machine.platform().id());
        out.both("measurement", "measurement", identity.measurement);
        out.both("an order's --from", "identity", identity.digest());
        out.field("holds", card.is_some());
        let Some(card) = card else {
            out.text("it holds no key yet: `lifeboat new` on one machine, `lifeboat join` on the others");
            return Ok(());
        };
        out.both("key digest", "key_digest", key_digest(&card.public_key));
        let (_, attested) = seat.card().map_err(failed)?;
        out.both("public key", "key_file", self.write(LIFEBOAT_KEY, &card.public_key)?.display());
        out.both("published", "card_file", self.write("card.attested", &encode(&attested))?.display());
        let machines: Vec<String> = card.platforms.iter().map(ToString::to_string).collect();
        machines.iter().for_each(|m| {
            out.row("  may hold it", m);
        });
        out.field("machines", machines).text(self.runs.said);
        Ok(())
    }
}

/// Who it is.
pub fn show(args: &BoatArgs) -> Result<Report, Failure> {
    let mut out = Report::new();
    Place::open(&args.dir)?.describe(&mut out)?;
    Ok(out)
}

/// Makes the key.
pub fn new(args: &BoatNewArgs) -> Result<Report, Failure> {
    let place = Place::open(&args.dir)?;
    let ids: Vec<_> = std::iter::once(place.machine.platform().id()).chain(args.machine.iter().copied()).collect();
    place.seat()?.found(&ids).map_err(failed)?;
    let mut out = Report::new();
    place.describe(&mut out)?;
    Ok(out)
}

/// Takes it over.
pub fn join(args: &BoatJoinArgs) -> Result<Report, Failure> {
    let (place, giver) = (Place::open(&args.dir)?, Place::open(&args.from)?);
    place.seat()?.join(&mut giver.seat()?).map_err(failed)?;
    let mut out = Report::new();
    place.describe(&mut out)?;
    Ok(out)
}

/// Waits until a file is there, and gives its bytes.
fn wait_for(path: &Path, what: &str, most: usize, end: Instant) -> Result<Option<Vec<u8>>, Failure> {
    loop {
        if path.exists() {
            return read(path, what, most).map(Some);
        }
        if Instant::now() >= end {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Opens a session, and releases when the evidence holds.
pub fn open(args: &BoatOpenArgs) -> Result<Report, Failure> {
    let place = Place::open(&args.dir)?;
    let mut seat = place.seat()?;
    let opened = seat.open(&args.chain_id, args.epoch).map_err(failed)?;
    place.forget(&[EVIDENCE, OFFER, REFUSED]);
    let session = place.write(SESSION, &encode(&opened.attested))?;
    let hello = place.write(HELLO, &opened.hello)?;
    eprintln!("target:  baton lifeboat request … --hello {}", hello.display());
    eprintln!("holders: baton ceremony box --session {} --order ORDER --target TARGET …", session.display());
    eprintln!("then:    baton lifeboat release --dir {} … (waiting {} s)", args.dir.display(), args.wait);
    let end = Instant::now() + Duration::from_secs(args.wait);
    let mut last = String::from("no evidence came");
    while let Some(bytes) = wait_for(&place.dir.join(EVIDENCE), "evidence", MAX_EVIDENCE_BYTES, end)? {
        place.forget(&[EVIDENCE]);
        match seat.release_bytes(bytes) {
            Ok(released) => {
                let path = place.write(OFFER, &released.offer)?;
                let mut out = Report::new();
                said(&mut out, &released);
                out.both("offer", "offer", path.display());
                out.verdict(true, "released: one build on one machine can open it");
                return Ok(out);
            }
            Err(LifeboatError::Refused(why)) => {
                eprintln!("refused: {why}");
                place.write(REFUSED, why.as_bytes())?;
                last = why;
            }
            Err(other) => return Err(failed(other)),
        }
    }
    Err(Failure::refused(format!("nothing was released: {last}")))
}

fn said(out: &mut Report, r: &Released) {
    out.field("holders", r.holders.clone()).field("signers", r.signers.clone()).field("skipped", r.skipped.clone());
    out.row("shares of", r.holders.join(", ")).row("ordered by", r.signers.join(", "));
    for s in &r.skipped {
        out.row("skipped", s);
    }
}

/// A new build's part.
pub fn request(args: &BoatRequestArgs) -> Result<Report, Failure> {
    let signed = read_signed(&args.order)?;
    let any = |e: anyhow::Error| Failure::input(format!("{e:#}"));
    let mut at = find(&NodeArgs { folder: args.at.folder.clone(), node: args.at.node.clone(), build: args.at.build })?;
    // A lifeboat has no chain: witnesses' dates are its time, and collateral of today fits them.
    let now = unix_now();
    let collateral = at.world.pki.collateral(&CollateralSpec::at(now)).map_err(Failure::input)?.to_json().into_bytes();
    let (node, which) = (at.node, at.which);
    let seat = at.world.seat(node, which).map_err(any)?;
    let target = Target::ask(seat, read(&args.hello, "hello", 64 << 10)?, &collateral).map_err(Failure::refused)?;
    fs::write(&args.out, target.to_cbor()).map_err(|e| Failure::input(format!("{}: {e}", args.out.display())))?;
    eprintln!("request: {}; waiting {} s for {}", args.out.display(), args.wait, args.offer.display());
    let end = Instant::now() + Duration::from_secs(args.wait);
    let offer = wait_for(&args.offer, "offer", MAX_ESCROW_BYTES, end)?.ok_or_else(|| {
        Failure::refused(format!("no offer came in {} s: this request is forgotten, ask again", args.wait))
    })?;
    let seat = at.world.seat(node, which).map_err(any)?;
    seat.call(&Request::Accept { offer, giver: None }).map_err(Failure::refused)?;
    let log = LogFile::open(&args.log).map_err(Failure::input)?;
    let notice = log.log.notice(&signed.order().memo()).map_err(Failure::refused)?;
    let shown = baton_host::orders::evidence(&signed, LightPath::default(), notice, None);
    seat.call(&Request::ActivateByOrder { evidence: shown.to_cbor() }).map_err(Failure::refused)?;
    seat.store_log().map_err(Failure::input)?;
    let status = seat.status().map_err(Failure::input)?;
    let mut out = Report::new();
    out.both("node", "node", &args.at.node).both("custody", "state", status.state).field("serving", status.serving);
    super::order_log::emergencies(&mut out, &status);
    out.verdict(status.serving, "the build holds the keyring of the escrow, checked against its commitments, and serves by the order");
    Ok(out)
}

/// Puts the evidence together.
pub fn release(args: &BoatReleaseArgs) -> Result<Report, Failure> {
    let signed = read_signed(&args.order)?;
    let (_, transcript) = read_transcript(&args.published)?;
    let at = |e: &dyn std::fmt::Display, p: &Path| Failure::input(e).at(p.display());
    let escrow = Escrow::from_cbor(&read(&args.escrow, "escrow", MAX_ESCROW_BYTES)?).map_err(|e| at(&e, &args.escrow))?;
    let target = Target::from_cbor(&read(&args.target, "target's request", 1 << 20)?).map_err(|e| at(&e, &args.target))?;
    let session_path = args.dir.join(SESSION);
    let session = Attested::from_cbor(&read(&session_path, "session", 1 << 20)?).map_err(|e| at(&e, &session_path))?;
    let info = SessionInfo::from_cbor(&session.message).map_err(|e| at(&e, &session_path))?;
    let subject = target.subject(&signed).map_err(|e| at(&e, &args.target))?;
    let text = release_text(&info, &subject);
    let mut log = LogFile::open(&args.log).map_err(Failure::input)?;
    for refused in log.publish(&text, &args.witness).map_err(Failure::input)? {
        eprintln!("not cosigned: {refused}");
    }
    let boxes = read_boxes(&args.boxes)?;
    let shown = evidence(&transcript.to_cbor(), &boxes, &escrow, &signed, &log.log, &text, &target).map_err(Failure::refused)?;
    let place = Place { dir: args.dir.clone(), ..Place::open(&args.dir)? };
    place.forget(&[OFFER, REFUSED]);
    place.write(EVIDENCE, &shown.to_cbor())?;
    let end = Instant::now() + Duration::from_secs(args.wait);
    let mut out = Report::new();
    out.both("release", "text", &text).field("boxes", boxes.len()).row("boxes", boxes.len());
    loop {
        if place.dir.join(OFFER).exists() {
            out.both("offer", "offer", place.dir.join(OFFER).display());
            out.verdict(true, "the lifeboat released: the target takes the offer");
            return Ok(out);
        }
        if let Ok(why) = fs::read_to_string(place.dir.join(REFUSED)) {
            return Err(Failure::refused(why));
        }
        if Instant::now() >= end {
            return Err(Failure::refused("the lifeboat does not answer: is `baton lifeboat open` still running?"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
