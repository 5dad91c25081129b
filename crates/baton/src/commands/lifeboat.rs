//! `baton lifeboat drill`: a release from shares to target, with a canary in the place of a keyring.
//!
//! It runs what a real release runs: ceremony, lifeboats, escrow, order, witnesses, target. Only the notice is a second, and
//! holders' keys are made on the spot; with `--published` real holders answer by file, see [`super::lifeboat_answers`].


use baton_attest::identity::{PlatformId, encode};
use baton_attest::pki::PlatformSpec;
use baton_attest::policy::BuildRules;
use baton_attest::sigstruct::SigningKey;
use baton_chain::record::Kind;
use baton_core::ceremony::{ShareBox, Subject};
use baton_core::escrow::{self, Conditions, Escrow, EscrowKeys, key_digest};
use baton_core::hpke_box::RecipientKey;
use baton_core::keyring::CanaryKeyring;
use baton_core::lifeboat::{open_canary, release_text};
use baton_core::messages::{Attestation, HandoverRequest, Hello, Message as _, report_data};
use baton_core::order::signed::SignedOrder;
use baton_core::order::{Action, Order, VERSION};
use baton_core::platform::Platform;
use baton_core::policy::{Council, CouncilKey, Member, Witnesses};
use baton_core::secret::CanarySeed;
use baton_core::shares::age::Identity;
use baton_core::shares::{Holder, Holders, Purpose, Transcript};
use baton_core::witness::{Cosigner, orders_origin};
use baton_enclave::sim::{Image, Launch, Machine, SimPlatform};
use baton_host::ceremony::{CeremonySeat, Published};
use baton_host::lifeboat::{LifeboatSeat, Target, evidence};
use baton_host::orders::OrderLog;
use baton_host::shares::{HostRandom, read_share};
use baton_host::store::SealedStore;
use baton_host::witness::{InMemory, Witness};
use ed25519_dalek::{Signer as _, SigningKey as CouncilSigner};
use serde_json::json;

use super::ceremony::{collateral, development_tcb, pki};
use crate::cli::ceremony::DrillArgs;
use crate::files::read_text;
use crate::output::{Failure, Report};
use crate::times::unix_now;

pub(super) const CHAIN: &str = "baton-drill-1";
pub(super) const NOTICE_SECS: u64 = 1;

#[derive(serde::Deserialize)]
struct Names {
    needed: u8,
    holder: Vec<Name>,
}

#[derive(serde::Deserialize)]
struct Name {
    name: String,
}

/// Plays it.
pub fn drill(args: &DrillArgs) -> Result<Report, Failure> {
    if let (Some(published), Some(dir)) = (&args.published, &args.dir) {
        return super::lifeboat_answers::drill(args, published, dir);
    }
    let (needed, names) = people(args)?;
    for absent in &args.absent {
        if !names.contains(absent) {
            return Err(Failure::input(format!("--absent {absent}: expected one of {}, got {absent:?}", names.join(", "))));
        }
    }
    let stage = Stage::build(needed, &names)?;
    let mut out = Report::new();
    out.both("holders", "holders", format!("{needed} of {} needed", names.len()));
    let answered: Vec<&String> = names.iter().filter(|n| !args.absent.contains(n)).collect();
    out.field("absent", args.absent.clone());
    for n in &args.absent {
        out.row("  absent", n);
    }
    let mut works = 0;
    let mut boats = Vec::new();
    for n in 0..3u8 {
        let result = if args.lost.contains(&n) { Err("it did not start".into()) } else { stage.release(n, &answered) };
        match &result {
            Ok(by) => {
                works += 1;
                out.row(format!("lifeboat {n}"), format!("released the canary to the target, with shares of {by}"));
            }
            Err(why) => {
                out.row(format!("lifeboat {n}"), format!("no release: {why}"));
            }
        }
        boats.push(json!({ "lifeboat": n, "released": result.is_ok(), "text": result.unwrap_or_else(|e| e) }));
    }
    out.field("lifeboats", boats);
    let missing = args.absent.len() + args.lost.len();
    out.verdict(
        works > 0,
        match (works, missing) {
            (0, _) => "no lifeboat released the canary: the network has no lifeboat today; find who is missing".into(),
            (3, 0) => "everybody answered, and each lifeboat released the canary".to_string(),
            _ => format!("{works} of 3 lifeboats released the canary; {missing} did not answer: replace them before the next drill"),
        },
    );
    Ok(out)
}

fn people(args: &DrillArgs) -> Result<(u8, Vec<String>), Failure> {
    let Some(path) = &args.holders else {
        return Ok((3, ["ana", "bo", "chen", "dora", "emil"].map(String::from).to_vec()));
    };
    let names: Names = toml::from_str(&read_text(path, "holders", 64 << 10)?)
        .map_err(|e| Failure::input(format!("holders {}: {}", path.display(), e.message())))?;
    Ok((names.needed, names.holder.into_iter().map(|h| h.name).collect()))
}

/// Everything that stands before the emergency.
struct Stage {
    dir: tempfile::TempDir,
    machines: Vec<Machine>,
    boat_image: Image,
    target_image: Image,
    collateral: Vec<u8>,
    names: Vec<String>,
    keys: Vec<Identity>,
    council: Published,
    signers: Vec<CouncilSigner>,
    canary: CanarySeed,
    escrow: Escrow,
    needed: u8,
}

pub(super) fn bad(e: impl std::fmt::Display) -> Failure {
    Failure::input(format!("drill: {e}"))
}

impl Stage {
    fn build(needed: u8, names: &[String]) -> Result<Self, Failure> {
        let pki = pki()?;
        let (tcb, collateral) = (development_tcb(&pki)?, collateral(&pki)?);
        let dir = tempfile::tempdir().map_err(bad)?;
        let machines = ["drill-0", "drill-1", "drill-2", "drill-target"].iter();
        let machines = machines.map(|n| Machine::new(&pki, n, &PlatformSpec::default())).collect::<Result<Vec<_>, _>>().map_err(bad)?;
        let random = &mut HostRandom::default();
        let keys: Vec<Identity> = names.iter().map(|_| Identity::generate(random)).collect();
        let of = |(name, key): (&String, &Identity)| Holder { name: name.clone(), recipient: *key.recipient().as_bytes() };
        let holders = Holders { needed, holders: names.iter().zip(&keys).map(of).collect() };
        let store = |name: &str| SealedStore::open(dir.path().join(name)).map_err(bad);
        let image = baton_host::ceremony::image("1").map_err(bad)?;
        let council = CeremonySeat::start(&machines[0], &image, store("ceremony")?, &collateral)
            .and_then(|mut seat| seat.new_key(Purpose::Council, &holders))
            .map_err(bad)?;
        let boat_image = baton_host::lifeboat::image(&tcb).map_err(bad)?;
        let ids: Vec<PlatformId> = machines.iter().take(3).map(|m| m.platform().id()).collect();
        let mut first = LifeboatSeat::start(&machines[0], &boat_image, store("boat0")?, &collateral).map_err(bad)?;
        first.found(&ids).map_err(bad)?;
        for n in 1..3 {
            let mut next = LifeboatSeat::start(&machines[n], &boat_image, store(&format!("boat{n}"))?, &collateral).map_err(bad)?;
            next.join(&mut first).map_err(bad)?;
        }
        let (card, _) = first.card().map_err(bad)?;
        drop(first);
        let signers: Vec<CouncilSigner> = names.iter().map(|_| CouncilSigner::from_bytes(&random_bytes())).collect();
        let member = |(n, k): (&String, &CouncilSigner)| Member {
            name: n.clone(),
            key: CouncilKey::Ed25519(k.verifying_key().to_bytes()),
        };
        let key = SigningKey::development(1).map_err(bad)?;
        let target_image = Image::program("baton-drill", "1", b"drill target", &key, (1, 1)).map_err(bad)?;
        let conditions = Conditions {
            chain_id: CHAIN.into(),
            council: Council { members: names.iter().zip(&signers).map(member).collect(), needed: needed.into(), notice_blocks: 1 },
            witnesses: Witnesses { keys: vec![witness()?.vkey()], needed: 1, notice_secs: NOTICE_SECS, dated_exports: false },
            builds: BuildRules { signers: vec![key.signer()], product_id: 1, min_svn: 1 },
            tcb,
        };
        let canary = CanarySeed::random(random);
        let keyring = CanaryKeyring::new(0, CanarySeed::danger_from_bytes(canary.danger_expose()));
        let t = Transcript::from_cbor(&council.attested.message).map_err(bad)?;
        let public = &t.terms().public_key;
        let escrow_keys = EscrowKeys::new((public, &key_digest(public)), (&card.public_key, &key_digest(&card.public_key))).map_err(bad)?;
        let escrow = escrow::make_canary(random, &keyring, &conditions, &escrow_keys).map_err(bad)?;
        let names = names.to_vec();
        Ok(Stage { dir, machines, boat_image, target_image, collateral, names, keys, council, signers, canary, escrow, needed })
    }

    /// One lifeboat's release. Gives whose shares were good, or what is missing.
    fn release(&self, n: u8, answered: &[&String]) -> Result<String, String> {
        let text = |e: &dyn std::fmt::Display| e.to_string();
        let store = SealedStore::open(self.dir.path().join(format!("boat{n}"))).map_err(|e| text(&e))?;
        let machine = self.machines.get(usize::from(n)).ok_or("no such lifeboat")?;
        let mut boat = LifeboatSeat::start(machine, &self.boat_image, store, &self.collateral).map_err(|e| text(&e))?;
        let opened = boat.open(CHAIN, 0).map_err(|e| text(&e))?;
        let on = self.machines.last().ok_or("no machine")?;
        let mut target = DrillTarget::ask(on, &self.target_image, &self.collateral, &opened.hello)?;
        let order = self.order(boat.identity_digest().map_err(|e| text(&e))?, &target, answered);
        let request = HandoverRequest::from_cbor(&target.shown.request).map_err(|e| text(&e))?.digest();
        let subject = Subject::Release { order: order.order().digest(), request, platform: target.shown.platform };
        let line = release_text(&opened.session, &subject);
        let log = public_log(&order.order().memo(), &line)?;
        let boxes = self.boxes(answered, &opened.session, &subject)?;
        let shown = evidence(&self.council.attested.message, &boxes, &self.escrow, &order, &log, &line, &target.shown);
        let released = shown.and_then(|e| boat.release(&e)).map_err(|e| text(&e))?;
        target.take(&released.offer, &self.canary)?;
        Ok(released.holders.join(", "))
    }

    fn order(&self, from: baton_attest::identity::Digest32, target: &DrillTarget, answered: &[&String]) -> SignedOrder {
        let order = Order {
            version: VERSION,
            chain_id: CHAIN.into(),
            from,
            sequence: 1,
            expiry_height: u64::MAX,
            expiry_secs: unix_now().saturating_add(86_400),
            reason: "drill".into(),
            action: Action::Handover { to: *target.platform.identity() },
        };
        let mut signed = SignedOrder::unsigned(order);
        let present = self.names.iter().zip(&self.signers).filter(|(n, _)| answered.contains(n));
        for (_, key) in present.take(self.needed.into()) {
            let public = CouncilKey::Ed25519(key.verifying_key().to_bytes());
            signed.add_council(&public, |bytes| key.sign(bytes).to_vec());
        }
        signed
    }

    fn boxes(
        &self,
        answered: &[&String],
        session: &baton_core::ceremony::SessionInfo,
        subject: &Subject,
    ) -> Result<Vec<ShareBox>, String> {
        let mut out = Vec::new();
        let all = self.names.iter().zip(&self.keys).zip(&self.council.files);
        for ((_, key), file) in all.filter(|((n, _), _)| answered.contains(n)) {
            let share = read_share(file, Some(key)).map_err(|e| e.to_string())?;
            out.push(ShareBox::seal(&mut HostRandom::default(), session, subject, &share).map_err(|e| e.to_string())?);
        }
        Ok(out)
    }
}

pub(super) fn random_bytes() -> [u8; 32] {
    let mut out = [0; 32];
    HostRandom::default().random(&mut out);
    out
}

pub(super) fn witness() -> Result<Cosigner, Failure> {
    Cosigner::from_seed("drill.example", &[1; 32]).ok_or_else(|| bad("no witness"))
}

/// A log with the order, and a notice later the release.
pub(super) fn public_log(memo: &str, release: &str) -> Result<OrderLog, String> {
    let mut log = OrderLog::new(CHAIN, &random_bytes());
    let mut w = Witness::new(witness().map_err(|e| e.to_string())?, InMemory::default());
    w.know(&orders_origin(CHAIN), log.public_key());
    let at = unix_now();
    let mut witnesses = [w];
    log.append(memo);
    let mut refused = log.cosign(&mut witnesses, at);
    log.append(release);
    refused.append(&mut log.cosign(&mut witnesses, at.saturating_add(NOTICE_SECS)));
    if refused.is_empty() { Ok(log) } else { Err(refused.join("; ")) }
}

/// The enclave that the canary goes to.
pub(super) struct DrillTarget {
    pub(super) platform: SimPlatform,
    key: RecipientKey,
    pub(super) shown: Target,
}

impl DrillTarget {
    pub(super) fn ask(machine: &Machine, image: &Image, collateral: &[u8], hello: &[u8]) -> Result<Self, String> {
        let how = Launch { debug: false, entropy: random_bytes() };
        let (mut platform, _) = machine.launch_program(image, &how).map_err(|e| e.to_string())?;
        let hello = Hello::from_cbor(hello).map_err(|e| e.to_string())?;
        let key = RecipientKey::generate(&mut platform);
        let request = HandoverRequest {
            version: 1,
            kind: Kind::Rehearsal,
            chain_id: CHAIN.into(),
            epoch: hello.epoch,
            nonce: hello.nonce,
            hpke_key: key.public_key().to_bytes(),
        };
        let qe = baton_attest::report::TargetInfo::parse(machine.qe_target().as_slice().try_into().map_err(|_| "bad TARGETINFO")?);
        let report = platform.report(&qe.map_err(|e| e.to_string())?, &report_data(&request.digest()));
        let quote = machine.quote(&report).map_err(|e| e.to_string())?;
        let attestation = Attestation::Quoted { quote, collateral: collateral.to_vec() };
        let shown = Target { request: encode(&request), attestation, platform: machine.platform().id() };
        Ok(DrillTarget { platform, key, shown })
    }

    /// Opens the offer, and compares the canary with the one that was put into the escrow.
    pub(super) fn take(&mut self, offer: &[u8], canary: &CanarySeed) -> Result<(), String> {
        let got = open_canary(&self.key, offer).map_err(|e| e.to_string())?;
        match got.seed(0).is_some_and(|s| s.ct_eq(canary)) {
            true => Ok(()),
            false => Err("the target got another canary".into()),
        }
    }
}
