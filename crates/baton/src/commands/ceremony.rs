//! `baton ceremony`: keys that nobody holds alone.
//!
//! The program runs on `sim`, or on softsgx where the ceremony's folder has a `program.sgxs`. Either machine's keys are public,
//! so a key made here is for rehearsals.

use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use baton_attest::identity::encode;
use baton_attest::pki::{CollateralSpec, DevPki, PlatformSpec};
use baton_attest::policy::{TcbPolicy, TcbStatus};
use baton_attest::sigstruct::{SIGSTRUCT_LEN, check_sigstruct};
use baton_chain::ChainPolicy;
use baton_core::ceremony::network::{self, NetworkVote};
use baton_core::ceremony::{SessionInfo, ShareBox, Subject};
use baton_core::shares::age::{Identity, Recipient};
use baton_core::shares::{Holder, Holders, MAX_TRANSCRIPT_BYTES, Purpose, Transcript};
use baton_enclave::sim::{Image, Machine};
use baton_host::ceremony::{CeremonyError, CeremonySeat, Published, box_bytes, image};
use baton_host::lifeboat::Target;
use baton_host::link::Launcher;
use baton_host::sgx::image::MAX_SGXS_BYTES;
use baton_host::shares::{Attested, HostRandom, read_share};
use baton_host::store::SealedStore;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::ceremony::{BoxArgs, CeremonySignArgs, CeremonyVerifyArgs, NewArgs, ReshareArgs};
use crate::files::{read, read_chain_policy, read_quote_policy, read_text, write};
use crate::output::{Failure, Report};
use crate::world::platform::software;
use crate::times::unix_now;

const ATTESTED_BYTES: usize = MAX_TRANSCRIPT_BYTES + (256 << 10);

/// The authorities of the simulated machines that ceremonies and drills run on.
pub(crate) fn pki() -> Result<DevPki, Failure> {
    DevPki::new(*b"baton ceremony development pki 1").map_err(Failure::input)
}

/// Collateral for them, of now.
pub(crate) fn collateral(pki: &DevPki) -> Result<Vec<u8>, Failure> {
    let now = unix_now();
    Ok(pki.collateral(&CollateralSpec::at(now)).map_err(Failure::input)?.to_json().into_bytes())
}

/// Rules under which their quotes pass.
pub(crate) fn development_tcb(pki: &DevPki) -> Result<TcbPolicy, Failure> {
    Ok(TcbPolicy {
        statuses: vec![TcbStatus::UpToDate],
        denied_advisories: Vec::new(),
        allowed_advisories: None,
        min_tcb_evaluation: 1,
        max_collateral_age_secs: 7 * 24 * 3600,
        roots: vec![pki.root_der().map_err(Failure::input)?],
    })
}

fn failed(e: CeremonyError) -> Failure {
    match e {
        CeremonyError::Refused(m) => Failure::refused(m),
        other => Failure::input(other),
    }
}

/// What a folder's program runs on, and the program: `program.sgxs` on softsgx where the folder has one, else `sim` gives it.
pub(super) struct Runs {
    pub(super) launcher: Rc<dyn Launcher>,
    pub(super) image: Image,
    /// Where that is, and what it means.
    pub(super) said: &'static str,
}

impl Runs {
    pub(super) fn of(dir: &Path, machine: &Rc<Machine>, sim: impl FnOnce() -> Result<Image, Failure>) -> Result<Self, Failure> {
        let path = dir.join("program.sgxs");
        if !path.exists() {
            return Ok(Runs { launcher: machine.clone(), image: sim()?, said: "on sim: the machine's keys are public, so this is for rehearsals" });
        }
        let sgxs = read(&path, "program", MAX_SGXS_BYTES)?;
        let sigstruct = read(&path.with_extension("sig"), "SIGSTRUCT", SIGSTRUCT_LEN)?;
        let launcher = software(machine).map_err(|e| Failure::input(format!("{e:#}")))?;
        let said = "on softsgx: the real program, on a CPU whose keys are public, so this is for rehearsals";
        Ok(Runs { launcher, image: Image { sgxs, sigstruct }, said })
    }
}

struct Place {
    dir: PathBuf,
    runs: Runs,
    collateral: Vec<u8>,
}

impl Place {
    fn open(dir: &Path) -> Result<Self, Failure> {
        let pki = pki()?;
        let machine = Rc::new(Machine::new(&pki, "ceremony", &PlatformSpec::default()).map_err(Failure::input)?);
        let runs = Runs::of(dir, &machine, || image(env!("CARGO_PKG_VERSION")).map_err(Failure::input))?;
        Ok(Place { dir: dir.into(), runs, collateral: collateral(&pki)? })
    }

    fn seat(&self) -> Result<CeremonySeat<'_>, Failure> {
        let store = SealedStore::open(self.dir.join("sealed")).map_err(Failure::input)?;
        CeremonySeat::start(self.runs.launcher.as_ref(), &self.runs.image, store, &self.collateral).map_err(failed)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, Failure> {
        let path = self.dir.join(name);
        let io = |e: std::io::Error| Failure::input(format!("{}: {e}", path.display()));
        path.parent().map_or(Ok(()), fs::create_dir_all).map_err(io)?;
        write(&path, bytes)?;
        Ok(path)
    }

    /// Writes what a ceremony gave, and says it.
    fn publish(&self, p: &Published, out: &mut Report) -> Result<(), Failure> {
        let t = Transcript::from_cbor(&p.attested.message).map_err(Failure::input)?;
        let number = t.terms().number;
        let public = self.write(&format!("ceremony-{number}.attested"), &encode(&p.attested))?;
        describe(&t, out);
        for (i, (file, holder)) in p.files.iter().zip(&t.holders().holders).enumerate() {
            let path = self.write(&format!("shares-{number}/{:02}-{}.age", i + 1, file_name(&holder.name)), file)?;
            out.row(format!("  {}", holder.name), path.display());
        }
        out.both("publish", "published", public.display());
        out.text("send each holder their file, and everybody the publication; `baton ceremony verify` checks it");
        out.text(self.runs.said);
        Ok(())
    }
}

/// A name that is safe as part of a file's.
fn file_name(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' }).take(40).collect()
}

fn describe(t: &Transcript, out: &mut Report) {
    let (terms, holders) = (t.terms(), t.holders());
    out.both("ceremony", "ceremony", format!("{} key, number {}", terms.purpose, terms.number));
    out.field("purpose", terms.purpose.to_string()).field("number", terms.number);
    out.both("transcript", "transcript", t.digest());
    match terms.purpose {
        Purpose::Signer => out.both("MRSIGNER", "signer", hex::encode(sha256(&terms.public_key))),
        Purpose::Council => out.both("key digest", "key_digest", baton_core::escrow::key_digest(&terms.public_key)),
    };
    let names: Vec<Value> = holders
        .holders
        .iter()
        .zip(t.commitments())
        .map(|(h, c)| json!({ "name": h.name, "recipient": Recipient::from_bytes(h.recipient).to_string(), "commitment": c.to_string() }))
        .collect();
    out.field("needed", holders.needed).field("holders", names);
    out.row("holders", format!("{} of {} needed", holders.needed, holders.holders.len()));
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    baton_core::escrow::key_digest(bytes).0
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HoldersFile {
    needed: u8,
    holder: Vec<HolderEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HolderEntry {
    name: Option<String>,
    recipient: Option<String>,
    /// A policy, relative to this file: the holder is the network.
    network: Option<PathBuf>,
}

/// Reads a list of holders, and the chain policy of the network that is one of them.
fn read_holders(path: &Path) -> Result<(Holders, Option<ChainPolicy>), Failure> {
    let text = read_text(path, "holders", 64 << 10)?;
    let file: HoldersFile = toml::from_str(&text).map_err(|e| {
        Failure::input(format!("holders {}: {}", path.display(), e.message()))
            .next("needed = 3, then [[holder]] with name and recipient for each")
    })?;
    let mut policy = None;
    let one = |h: HolderEntry| -> Result<Holder, Failure> {
        match h {
            HolderEntry { name: None, recipient: None, network: Some(file) } => {
                let rules = read_chain_policy(&path.parent().unwrap_or(Path::new(".")).join(file))?;
                let holder = network::holder(&rules);
                policy = Some(rules);
                Ok(holder)
            }
            HolderEntry { name: Some(name), recipient: Some(to), network: None } => {
                let to: Recipient = to.parse().map_err(|e| Failure::input(format!("holder {name:?}: {e}")))?;
                Ok(Holder { name, recipient: *to.as_bytes() })
            }
            _ => Err(Failure::input(format!("holders {}: expected name and recipient for each, or network alone", path.display()))),
        }
    };
    let holders = Holders { needed: file.needed, holders: file.holder.into_iter().map(one).collect::<Result<_, _>>()? };
    holders.validate().map_err(|e| Failure::input(e).at(path.display()))?;
    Ok((holders, policy))
}

pub(super) fn read_attested(path: &Path) -> Result<Attested, Failure> {
    Attested::from_cbor(&read(path, "publication", ATTESTED_BYTES)?).map_err(|e| Failure::input(e).at(path.display()))
}

pub(super) fn read_transcript(path: &Path) -> Result<(Attested, Transcript), Failure> {
    let attested = read_attested(path)?;
    let t = Transcript::from_cbor(&attested.message).map_err(|e| Failure::input(e).at(path.display()))?;
    Ok((attested, t))
}

/// The rules that judge a quote, and whether they prove anything.
fn rules(policy: Option<&Path>) -> Result<(TcbPolicy, bool), Failure> {
    match policy {
        Some(path) => Ok((read_quote_policy(path)?.0, true)),
        None => Ok((development_tcb(&pki()?)?, false)),
    }
}

/// Makes a key.
pub fn new_key(args: &NewArgs, purpose: Purpose) -> Result<Report, Failure> {
    let (holders, network) = read_holders(&args.holders)?;
    let place = Place::open(&args.dir)?;
    let published = place.seat()?.new_key_with(purpose, &holders, network.as_ref()).map_err(failed)?;
    let mut out = Report::new();
    place.publish(&published, &mut out)?;
    Ok(out)
}

/// Opens a session, and waits for boxes until `act` succeeds or the time is over.
fn with_boxes<T>(
    place: &Place,
    wait: u64,
    agree: &str,
    vote: Option<&Path>,
    mut act: impl FnMut(&mut CeremonySeat<'_>, &[ShareBox]) -> Result<T, CeremonyError>,
) -> Result<T, Failure> {
    let mut seat = place.seat()?;
    let (_, attested) = seat.session().map_err(failed)?;
    let boxes = place.dir.join("boxes");
    // Boxes of an older session only confuse.
    if boxes.exists() {
        fs::remove_dir_all(&boxes).map_err(|e| Failure::input(format!("{}: {e}", boxes.display())))?;
    }
    fs::create_dir_all(&boxes).map_err(|e| Failure::input(format!("{}: {e}", boxes.display())))?;
    let session = place.write("session.attested", &encode(&attested))?;
    eprintln!("session: {}", session.display());
    eprintln!("holders: baton ceremony box --session session.attested --published ceremony-N.attested --share YOURS {agree} --out NAME.box");
    eprintln!("boxes:   {} (waiting {wait} s)", boxes.display());
    let (end, mut seen) = (Instant::now() + Duration::from_secs(wait), usize::MAX);
    loop {
        let found = read_boxes(&boxes)?;
        // The network's agreement counts like one more box.
        let here = found.len().saturating_add(usize::from(vote.is_some_and(Path::exists)));
        if here != seen {
            seen = here;
            match act(&mut seat, &found) {
                Ok(done) => return Ok(done),
                Err(e) if Instant::now() >= end => return Err(failed(e)),
                Err(e) => eprintln!("waiting: {e}"),
            }
        }
        if Instant::now() >= end {
            return Err(failed(act(&mut seat, &found).err().unwrap_or(CeremonyError::Answer)));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

pub(super) fn read_boxes(dir: &Path) -> Result<Vec<ShareBox>, Failure> {
    let io = |e: std::io::Error| Failure::input(format!("{}: {e}", dir.display()));
    let mut paths: Vec<PathBuf> = fs::read_dir(dir).map_err(io)?.filter_map(|e| Some(e.ok()?.path())).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "box"));
    paths.sort();
    let mut out = Vec::new();
    for path in paths {
        match read(&path, "box", 64 << 10).map(|b| ShareBox::from_cbor(&b)) {
            Ok(Ok(b)) => out.push(b),
            // Nobody's broken file stops the others.
            Ok(Err(e)) => eprintln!("skipped: {}: {e}", path.display()),
            Err(e) => eprintln!("skipped: {e}"),
        }
    }
    Ok(out)
}

/// The network's agreement, as a file.
fn read_vote(path: &Path) -> Result<NetworkVote, CeremonyError> {
    let bytes = fs::read(path).map_err(|e| CeremonyError::Refused(format!("{}: {e}", path.display())))?;
    minicbor::decode(&bytes).map_err(|_| CeremonyError::Refused(format!("{}: no agreement of a network", path.display())))
}

/// Signs a build.
pub fn sign(args: &CeremonySignArgs) -> Result<Report, Failure> {
    let place = Place::open(&args.dir)?;
    let agree = format!("--measurement {} --product-id {} --svn {}", args.measurement, args.product_id, args.svn);
    let signed = with_boxes(&place, args.wait, &agree, args.vote.as_deref(), |seat, boxes| {
        let vote = args.vote.as_deref().filter(|p| p.exists()).map(read_vote).transpose()?;
        seat.sign_with((args.measurement, args.product_id, args.svn), boxes, vote.as_ref())
    })?;
    let checked = check_sigstruct(&signed.sigstruct).map_err(Failure::input)?;
    fs::write(&args.out, &signed.sigstruct).map_err(|e| Failure::input(format!("{}: {e}", args.out.display())))?;
    let mut out = Report::new();
    out.both("measurement", "measurement", args.measurement);
    out.both("MRSIGNER", "signer", checked.fields().signer());
    out.field("holders", signed.holders.clone()).row("agreed", signed.holders.join(", "));
    out.field("skipped", signed.skipped.clone());
    for s in &signed.skipped {
        out.row("skipped", s);
    }
    out.both("SIGSTRUCT", "sigstruct", args.out.display());
    out.text("check it: baton sigstruct show FILE");
    Ok(out)
}

/// Deals the key again.
pub fn reshare(args: &ReshareArgs) -> Result<Report, Failure> {
    let (holders, network) = read_holders(&args.holders)?;
    let place = Place::open(&args.dir)?;
    let agree = format!("--new-holders {}", args.holders.display());
    let published = with_boxes(&place, args.wait, &agree, None, |seat, boxes| seat.reshare_with(&holders, boxes, network.as_ref()))?;
    let mut out = Report::new();
    place.publish(&published, &mut out)?;
    out.text("old shares open nothing that is sealed now: destroy them; the older sealed file goes with the next signature");
    Ok(out)
}

/// A holder's part.
pub fn make_box(args: &BoxArgs) -> Result<Report, Failure> {
    let (tcb, proves) = rules(args.policy.as_deref())?;
    let (published, transcript) = read_transcript(&args.published)?;
    let at = |e, p: &Path| Failure::refused(e).at(p.display());
    let enclave = published.check(&transcript.digest(), &tcb, None).map_err(|e| at(e, &args.published))?.identity().measurement;
    let session = read_attested(&args.session)?;
    let info = SessionInfo::from_cbor(&session.message).map_err(|e| Failure::input(e).at(args.session.display()))?;
    // A lifeboat knows no transcript: which program it is must be said.
    let lifeboat = args.order.is_some();
    let enclave = match (lifeboat, args.lifeboat) {
        (false, _) => enclave,
        (true, Some(known)) => known,
        (true, None) => baton_host::lifeboat::image(&tcb).and_then(|i| i.measurement()).map_err(Failure::input)?,
    };
    session.check(&info.digest(), &tcb, Some(enclave)).map_err(|e| at(e, &args.session))?;
    if !lifeboat && info.transcript != transcript.digest() {
        return Err(Failure::refused(format!(
            "the session is for another ceremony: expected transcript {}, got {}; ask the ceremony's host which one is the newest",
            transcript.digest(),
            info.transcript
        )));
    }
    let identity = args.identity.as_ref().map(|p| read_text(p, "identity", 64 << 10)).transpose()?;
    let identity = identity.map(|t| Identity::parse(&t)).transpose().map_err(Failure::input)?;
    let file = read(&args.share, "share", 128 << 10)?;
    let share = read_share(&file, identity.as_ref()).map_err(|e| Failure::input(e).at(args.share.display()))?;
    let release = args.order.as_ref().zip(args.target.as_ref()).map(|(o, t)| release(o, t)).transpose()?;
    let (subject, text) = match (&args.measurement, &args.new_holders) {
        _ if release.is_some() => release.ok_or_else(|| Failure::input("nothing to agree to"))?,
        (Some(m), _) => {
            let subject = Subject::Sign { measurement: *m, product_id: args.product_id, svn: args.svn };
            (subject, format!("a signature on {m}, product {}, svn {}", args.product_id, args.svn))
        }
        (None, Some(path)) => {
            let (list, _) = read_holders(path)?;
            let names: Vec<&str> = list.holders.iter().map(|h| h.name.as_str()).collect();
            let text = format!("new shares, {} of: {}", list.needed, names.join(", "));
            (Subject::Reshare { holders: list.digest() }, text)
        }
        (None, None) => return Err(Failure::input("nothing to agree to; give --measurement, --new-holders, or --order with --target")),
    };
    let sealed = ShareBox::seal(&mut HostRandom::default(), &info, &subject, &share).map_err(Failure::input)?;
    fs::write(&args.out, box_bytes(&sealed)).map_err(|e| Failure::input(format!("{}: {e}", args.out.display())))?;
    let holder = transcript.holders().of(share.index()).map_or("nobody", |h| h.name.as_str());
    let mut out = Report::new();
    out.both("share of", "holder", holder);
    out.both("agreed to", "subject", text);
    out.both("enclave", "enclave", enclave);
    out.both("box", "box", args.out.display());
    out.text("only that enclave opens it, in that session, for that one thing");
    if !proves {
        out.text("the quote was judged by the development root, which proves nothing: give --policy");
    }
    Ok(out)
}

/// A release as a holder agrees to it: this order, this request, this machine.
fn release(order: &Path, target: &Path) -> Result<(Subject, String), Failure> {
    let signed = super::order::read_signed(order)?;
    let to = Target::from_cbor(&read(target, "target's request", 1 << 20)?).map_err(|e| Failure::input(e).at(target.display()))?;
    let subject = to.subject(&signed).map_err(|e| Failure::input(e).at(target.display()))?;
    let text = format!("a release by order {} ({:?}) to machine {}", signed.order().digest(), signed.order().reason, to.platform);
    Ok((subject, text))
}

/// Checks a publication.
pub fn verify(args: &CeremonyVerifyArgs) -> Result<Report, Failure> {
    let (tcb, proves) = rules(args.policy.as_deref())?;
    let (attested, t) = read_transcript(&args.file)?;
    let quote = attested.check(&t.digest(), &tcb, args.enclave).map_err(|e| Failure::refused(e).at(args.file.display()))?;
    let mut out = Report::new();
    describe(&t, &mut out);
    for (i, (h, c)) in t.holders().holders.iter().zip(t.commitments()).enumerate() {
        out.row(format!("  {} {}", i + 1, h.name), c);
    }
    out.both("enclave", "enclave", quote.identity().measurement);
    out.both("machine", "platform", quote.platform());
    if let Some(path) = &args.before {
        let (_, before) = read_transcript(path)?;
        t.follows(&before).map_err(|e| Failure::refused(e).at(path.display()))?;
        out.both("follows", "follows", before.digest());
    }
    if let Some(path) = &args.share {
        let holder = t.holder_of_file(&read(path, "share", 128 << 10)?);
        let name = holder.map(|h| h.name.clone()).ok_or_else(|| {
            Failure::refused(format!("{}: no share of this ceremony: expected one of its age files, unchanged", path.display()))
        })?;
        out.both("share of", "holder", name);
    }
    if args.enclave.is_none() {
        out.text("which program that enclave is, nobody checked: build it, and give its measurement with --enclave");
    }
    let by = if proves { "the policy's roots" } else { "the development root, which proves nothing" };
    out.field("proves", proves);
    out.verdict(true, format!("the transcript is the one that this enclave made; its quote holds under {by}"));
    Ok(out)
}
