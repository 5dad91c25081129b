//! The lifeboat as stories: all builds are broken, and an escrow brings the keyring to a new one in public; and everything
//! that must not pass for that.

use std::rc::Rc;

use baton_attest::identity::Digest32;
use baton_chain::light::Path;
use baton_chain::record::Kind;
use baton_core::ceremony::{ShareBox, Subject};
use baton_core::custody::State;
use baton_core::escrow::{self, Conditions, Escrow, EscrowKeys, key_digest};
use baton_core::fake::FakePlatform;
use baton_core::keyring::Keyring;
use baton_core::lifeboat::{ReleaseEvidence, release_text};
use baton_core::messages::{HandoverRequest, Message as _};
use baton_core::order::signed::SignedOrder;
use baton_core::order::{Action, Order, VERSION};
use baton_core::policy::{EpochCommitment, Origin, Phase};
use baton_core::secret::Seed;
use baton_core::shares::age::Identity;
use baton_core::shares::{Dealt, Holder, Holders, Purpose, Terms, deal};
use baton_enclave::sim::{Image, Machine};
use baton_enclave::wire::Request;
use baton_host::lifeboat::{LifeboatError, LifeboatSeat, Opened, Target, evidence};
use baton_host::link::Launcher;
use baton_host::shares::{HostRandom, read_share};
use baton_host::store::SealedStore;

use crate::lab::{B, Lab};
use crate::programs::{self, boat_on};
use crate::orders::{NOON, NOTICE_SECS, Public, sign};

fn seed() -> Seed {
    Seed::danger_from_bytes(&[0x5e; 32])
}

fn key(n: usize) -> Identity {
    Identity::generate(&mut FakePlatform::new(100 + n as u8))
}

/// A network that lost every enclave, and what was put aside before.
struct Wreck {
    lab: Lab,
    machines: Vec<Rc<dyn Launcher>>,
    image: Image,
    dir: tempfile::TempDir,
    council: Dealt,
    public: Public,
    collateral: Vec<u8>,
    /// The build that shall live on: an empty cell.
    target: usize,
}

fn dealt() -> Dealt {
    let names = ["ana", "bo", "chen", "dora", "emil"];
    let of = |(i, name): (usize, &&str)| Holder { name: (*name).into(), recipient: *key(i).recipient().as_bytes() };
    let holders = Holders { needed: 3, holders: names.iter().enumerate().map(of).collect() };
    let mut p = FakePlatform::new(99);
    let secret = baton_core::secret::Secret32::random(&mut p);
    let kept = baton_core::secret::Secret32::danger_from_bytes(secret.danger_expose());
    let public_key = baton_core::hpke_box::RecipientKey::from_seed(kept).public_key().to_bytes();
    let terms = Terms { version: 1, purpose: Purpose::Council, number: 1, previous: None, public_key, holders };
    deal(&mut p, terms, &secret).unwrap()
}

impl Wreck {
    fn new() -> Self {
        let origin = Origin::Commitments(vec![EpochCommitment { epoch: 0, commitment: seed().commitment(0) }]);
        let mut lab = Lab::with_origin(origin, Phase::Mrenclave);
        let target = lab.cell(0, B::V1);
        let spec = baton_attest::pki::PlatformSpec::default();
        let machine = |n: &str| boat_on(&Rc::new(Machine::new(&lab.pki, n, &spec).unwrap()));
        let machines = ["boat0", "boat1", "boat2", "elsewhere"].map(machine).to_vec();
        let image = programs::lifeboat(&lab.builds[&B::V1].policy.tcb);
        let public = Public::new(&lab);
        let collateral = lab.pki.collateral(&baton_attest::pki::CollateralSpec::at(NOON)).unwrap().to_json().into_bytes();
        let dir = tempfile::tempdir().unwrap();
        Wreck { lab, machines, image, dir, council: dealt(), public, collateral, target }
    }

    fn boat<'m>(&self, machines: &'m [Rc<dyn Launcher>], n: usize) -> LifeboatSeat<'m> {
        let store = SealedStore::open(self.dir.path().join(format!("boat{n}"))).unwrap();
        LifeboatSeat::start(machines[n].as_ref(), &self.image, store, &self.collateral).unwrap()
    }

    /// Three lifeboats with one secret.
    fn fleet<'m>(&self, machines: &'m [Rc<dyn Launcher>]) -> Vec<LifeboatSeat<'m>> {
        let ids: Vec<_> = machines[..3].iter().map(|m| m.platform_id()).collect();
        let mut first = self.boat(machines, 0);
        first.found(&ids).unwrap();
        let mut fleet = vec![first];
        for n in 1..3 {
            let mut next = self.boat(machines, n);
            next.join(&mut fleet[0]).unwrap();
            fleet.push(next);
        }
        fleet
    }

    fn escrow(&self, boat: &mut LifeboatSeat<'_>) -> Escrow {
        let (card, attested) = boat.card().unwrap();
        attested.check(&card.digest(), &self.lab.builds[&B::V1].policy.tcb, None).unwrap();
        let council = &self.council.transcript.terms().public_key;
        let keys = EscrowKeys::new((council, &key_digest(council)), (&card.public_key, &key_digest(&card.public_key))).unwrap();
        let conditions = Conditions::of(&self.lab.builds[&B::V1].policy).unwrap();
        escrow::make(&mut HostRandom::default(), &Keyring::new(0, seed()), &conditions, &keys).unwrap()
    }

    fn ask(&mut self, hello: &[u8]) -> Target {
        let machine = self.lab.launcher(0);
        let request = Request::Ask { hello: hello.to_vec(), kind: Kind::Upgrade, report_target: machine.qe_target().unwrap() };
        let (request, report, _) = self.lab.message(self.target, &request).unwrap();
        let quote = machine.quote(&report.unwrap()).unwrap();
        let attestation = baton_core::messages::Attestation::Quoted { quote, collateral: self.collateral.clone() };
        Target { request, attestation, platform: machine.platform_id() }
    }

    fn order(&mut self, from: Digest32) -> Order {
        Order {
            version: VERSION,
            chain_id: self.lab.chain.config().chain_id.clone(),
            from,
            sequence: 1,
            expiry_height: 10_000,
            expiry_secs: NOON + 30 * 86_400,
            reason: "every build that held the seed is gone".into(),
            action: Action::Handover { to: self.lab.status(self.target).identity },
        }
    }

    fn subject(order: &SignedOrder, target: &Target) -> Subject {
        let request = HandoverRequest::from_cbor(&target.request).unwrap().digest();
        Subject::Release { order: order.order().digest(), request, platform: target.platform }
    }

    fn boxes(&self, opened: &Opened, subject: &Subject, who: &[usize]) -> Vec<ShareBox> {
        let one = |i: &usize| {
            let share = read_share(&self.council.files[*i], Some(&key(*i))).unwrap();
            ShareBox::seal(&mut HostRandom::default(), &opened.session, subject, &share).unwrap()
        };
        who.iter().map(one).collect()
    }

    /// The order at noon, the release beside it `later` seconds after.
    fn publish(&mut self, order: &SignedOrder, text: &str, later: u64) {
        self.public.log.append(&order.order().memo());
        self.public.cosign(NOON);
        self.public.log.append(text);
        self.public.cosign(NOON + later);
    }

    /// A whole release that must succeed.
    fn evidence(&mut self, boat: &mut LifeboatSeat<'_>, escrow: &Escrow) -> (Opened, SignedOrder, ReleaseEvidence) {
        let opened = boat.open(&self.lab.chain.config().chain_id.clone(), 0).unwrap();
        let target = self.ask(&opened.hello);
        let order = self.order(boat.identity_digest().unwrap());
        let order = sign(order, &[41, 42]);
        let subject = Self::subject(&order, &target);
        let text = release_text(&opened.session, &subject);
        self.publish(&order, &text, NOTICE_SECS);
        let boxes = self.boxes(&opened, &subject, &[0, 2, 4]);
        let transcript = self.council.transcript.to_cbor();
        let e = evidence(&transcript, &boxes, escrow, &order, &self.public.log, &text, &target).unwrap();
        (opened, order, e)
    }
}

fn refused<T>(r: Result<T, LifeboatError>) -> String {
    match r {
        Err(e) => e.to_string(),
        Ok(_) => "it was not refused".into(),
    }
}

#[test]
fn all_builds_broken_an_escrow_brings_the_keyring_to_a_new_build_that_serves() {
    let mut w = Wreck::new();
    let machines = w.machines.clone();
    let mut fleet = w.fleet(&machines);
    let escrow = w.escrow(&mut fleet[0]);
    drop(fleet);
    // Years later: the third machine alone is left, and starts from its file.
    let mut boat = w.boat(&machines, 2);
    let (_, order, e) = w.evidence(&mut boat, &escrow);
    let released = boat.release(&e).unwrap();
    assert_eq!(released.holders, ["ana", "chen", "emil"]);
    assert_eq!(released.signers.len(), 2);
    let target = w.target;
    w.lab.call(target, &Request::Accept { offer: released.offer, giver: None }).unwrap();
    assert_eq!(w.lab.state(target), State::Received);
    assert!(!w.lab.status(target).serving);
    let shown = baton_host::orders::evidence(&order, Path::default(), w.public.log.notice(&order.order().memo()).unwrap(), None);
    w.lab.call(target, &Request::ActivateByOrder { evidence: shown.to_cbor() }).unwrap();
    w.lab.start(target).unwrap();
    assert!(w.lab.status(target).serving);
    assert_eq!(w.lab.status(target).commitments[0], seed().commitment(0).0);
}

#[test]
fn a25_a_quiet_release_is_refused_and_so_is_one_before_its_notice() {
    let mut w = Wreck::new();
    let machines = w.machines.clone();
    let mut boat = w.fleet(&machines).swap_remove(1);
    let escrow = w.escrow(&mut boat);
    let (opened, order, good) = w.evidence(&mut boat, &escrow);
    let release = |boat: &mut LifeboatSeat<'_>, f: &dyn Fn(&mut ReleaseEvidence)| {
        let mut e = good.clone();
        f(&mut e);
        refused(boat.release(&e))
    };
    // Too early: both proofs from the first checkpoint.
    let early = release(&mut boat, &|e| {
        e.second = e.first.clone();
        e.consistency = Vec::new();
    });
    assert!(early.contains("expected 3600 seconds between"), "{early}");
    // A checkpoint that witnesses did not cosign, or only one of them did.
    let bare = w.public.log.checkpoint();
    assert!(release(&mut boat, &|e| e.second.checkpoint = bare.clone()).contains("good cosignatures of 0 known witnesses"));
    // The release itself is in no log: the order's leaf stands in for it.
    let quiet = release(&mut boat, &|e| e.release = e.second.clone());
    assert!(quiet.starts_with("the release: the entry is not in the log"), "{quiet}");
    // Two histories.
    let mut other = Public::new(&w.lab);
    other.log.append("another");
    other.log.append(&order.order().memo());
    other.cosign(NOON);
    let fork = other.log.newest(&order.order().memo()).unwrap();
    assert!(release(&mut boat, &|e| e.first = fork.clone()).contains("not of one history"));
    // Nothing of all that closed the session; the whole still passes.
    boat.release(&good).unwrap();
    // Void by date.
    let text = release_text(&opened.session, &subject_of(&order, &good));
    w.public.log.append("later");
    w.public.cosign(NOON + 31 * 86_400);
    let late = w.public.log.newest(&text).unwrap();
    let expired = release(&mut boat, &|e| e.release = late.clone());
    assert!(expired.starts_with("the order is void from"), "{expired}");
    // A restarted lifeboat has another session: nothing that was made for the old one counts.
    let mut again = w.boat(&machines, 1);
    assert!(refused(again.release(&good)).contains("no session is open"));
    again.open("x", 0).unwrap();
    assert!(refused(again.release(&good)).contains("another session's hello"));
}

fn subject_of(order: &SignedOrder, e: &ReleaseEvidence) -> Subject {
    let request = HandoverRequest::from_cbor(&e.request).unwrap().digest();
    Subject::Release { order: order.order().digest(), request, platform: e.platform }
}

#[test]
fn a19_too_few_shares_and_shares_for_something_else_open_nothing() {
    let mut w = Wreck::new();
    let machines = w.machines.clone();
    let mut boat = w.fleet(&machines).swap_remove(0);
    let escrow = w.escrow(&mut boat);
    let (opened, order, good) = w.evidence(&mut boat, &escrow);
    let with = |boat: &mut LifeboatSeat<'_>, boxes: Vec<ShareBox>| refused(boat.release(&ReleaseEvidence { boxes, ..good.clone() }));
    let subject = subject_of(&order, &good);
    let got = with(&mut boat, w.boxes(&opened, &subject, &[0, 3]));
    assert_eq!(got, "2 of 3 needed holders (ana, dora) brought a good share of ceremony 1");
    let got = with(&mut boat, w.boxes(&opened, &subject, &[0, 3, 3]));
    assert!(got.ends_with("dora: brought twice, counts once"), "{got}");
    // Boxed for another machine, order or request.
    let elsewhere = machines[3].platform_id();
    for other in [
        Subject::Release { order: Digest32([1; 32]), request: request_of(&good), platform: good.platform },
        Subject::Release { order: order.order().digest(), request: Digest32([1; 32]), platform: good.platform },
        Subject::Release { order: order.order().digest(), request: request_of(&good), platform: elsewhere },
    ] {
        let got = with(&mut boat, w.boxes(&opened, &other, &[0, 1, 2]));
        assert!(got.starts_with("0 of 3 needed holders (nobody)"), "{got}");
    }
    // A bad one among enough good ones is named and spoils nothing.
    let mut boxes = w.boxes(&opened, &subject, &[0, 1, 2, 3]);
    boxes[1].sealed.ciphertext[0] ^= 1;
    let released = boat.release(&ReleaseEvidence { boxes, ..good.clone() }).unwrap();
    assert_eq!(released.holders, ["ana", "chen", "dora"]);
    assert!(released.skipped[0].starts_with("bo: the box does not open"));
    // A ceremony of the attacker's own, with all its shares, opens no escrow of the council's.
    w.council = {
        let mut t = w.council.transcript.terms().clone();
        let secret = baton_core::secret::Secret32::danger_from_bytes(&[3; 32]);
        let kept = baton_core::secret::Secret32::danger_from_bytes(&[3; 32]);
        t.public_key = baton_core::hpke_box::RecipientKey::from_seed(kept).public_key().to_bytes();
        deal(&mut FakePlatform::new(9), t, &secret).unwrap()
    };
    let boxes = w.boxes(&opened, &subject, &[0, 1, 2]);
    let e = ReleaseEvidence { boxes, transcript: w.council.transcript.to_cbor(), ..good };
    assert!(refused(boat.release(&e)).contains("the escrow is for the council key"));
}

fn request_of(e: &ReleaseEvidence) -> Digest32 {
    HandoverRequest::from_cbor(&e.request).unwrap().digest()
}

#[test]
fn a06_a25_an_order_by_too_few_for_another_build_or_to_another_releases_nothing() {
    let mut w = Wreck::new();
    let machines = w.machines.clone();
    let mut boat = w.fleet(&machines).swap_remove(0);
    let escrow = w.escrow(&mut boat);
    let opened = boat.open(&w.lab.chain.config().chain_id.clone(), 0).unwrap();
    let target = w.ask(&opened.hello);
    let own = boat.identity_digest().unwrap();
    let base = w.order(own);
    let other_build = match base.action {
        Action::Handover { mut to } => {
            to.svn += 1;
            Action::Handover { to }
        }
        _ => unreachable!(),
    };
    let cases: Vec<(SignedOrder, &str)> = vec![
        (sign(base.clone(), &[41]), "the order is signed by 1 of 2 council members needed"),
        (sign(base.clone(), &[41, 41]), "the order is signed by 1 of 2 council members needed; skipped: member 41: signed twice"),
        (sign(base.clone(), &[41, 99]), "the order is signed by 1 of 2"),
        (sign(Order { from: Digest32([9; 32]), ..base.clone() }, &[41, 42]), "the order is to 0909"),
        (sign(Order { chain_id: "other-1".into(), ..base.clone() }, &[41, 42]), "the order is for chain \"other-1\""),
        (sign(Order { action: Action::Rotate, ..base.clone() }, &[41, 42]), "the order is a rotate, expected handover"),
        (sign(Order { action: other_build, ..base.clone() }, &[41, 42]), "the order names the build"),
    ];
    for (order, expected) in cases {
        w.public = Public::new(&w.lab);
        let subject = Wreck::subject(&order, &target);
        let text = release_text(&opened.session, &subject);
        w.publish(&order, &text, NOTICE_SECS);
        let boxes = w.boxes(&opened, &subject, &[0, 1, 2]);
        let e = evidence(&w.council.transcript.to_cbor(), &boxes, &escrow, &order, &w.public.log, &text, &target).unwrap();
        let got = refused(boat.release(&e));
        assert!(got.starts_with(expected), "{got}\nexpected {expected}");
    }
}

#[test]
fn a29_a_lifeboats_secret_crosses_to_listed_machines_alone() {
    let w = Wreck::new();
    let machines = w.machines.clone();
    let mut fleet = w.fleet(&machines);
    let mut fourth = w.boat(&machines, 3);
    let got = refused(fourth.join(&mut fleet[0]));
    assert!(got.contains("is not one that this lifeboat key was made for"), "{got}");
    assert!(refused(fourth.card()).contains("holds no secret yet"));
    let again = refused(fleet[1].found(&[]));
    assert!(again.contains("never replaced"), "{again}");
    let ids: Vec<_> = machines.iter().map(|m| m.platform_id()).collect();
    for bad in [vec![], ids[..2].to_vec(), vec![ids[0], ids[1], ids[1]], vec![ids[0], ids[1], baton_attest::identity::PlatformId::UNKNOWN]] {
        assert!(refused(fourth.found(&bad)).contains("expected 3 to 50, each once"));
    }
    // All three show one card.
    let cards: Vec<_> = fleet.iter_mut().map(|b| b.card().unwrap().0).collect();
    assert!(cards.iter().all(|c| *c == cards[0]));
    assert_eq!(cards[0].platforms.len(), 3);
}

#[test]
fn a01_another_program_gets_no_lifeboat_secret() {
    let w = Wreck::new();
    let machines = w.machines.clone();
    let mut fleet = w.fleet(&machines);
    // The same program with other rules for platforms: another measurement.
    let mut tcb = w.lab.builds[&B::V1].policy.tcb.clone();
    tcb.min_tcb_evaluation = 0;
    let store = SealedStore::open(w.dir.path().join("other")).unwrap();
    let mut other = LifeboatSeat::start(machines[1].as_ref(), &programs::lifeboat(&tcb), store, &w.collateral).unwrap();
    let got = refused(other.join(&mut fleet[0]));
    assert!(got.contains("expected this very identity"), "{got}");
}

#[test]
fn a21_a_release_of_broken_bytes_is_refused_without_a_panic() {
    let mut w = Wreck::new();
    let machines = w.machines.clone();
    let mut boat = w.fleet(&machines).swap_remove(0);
    let escrow = w.escrow(&mut boat);
    let (_, _, good) = w.evidence(&mut boat, &escrow);
    let bytes = good.to_cbor();
    for at in (0..bytes.len()).step_by(bytes.len() / 60) {
        let mut bad = bytes.clone();
        bad[at] ^= 0x41;
        let request = baton_enclave::lifeboat::Request::Release { evidence: bad };
        // Bits that nothing depends on may turn: collateral holds some. What is released is the same or nothing.
        let _ = boat.call(&request);
        let request = baton_enclave::lifeboat::Request::Release { evidence: bytes[..at].to_vec() };
        assert!(boat.call(&request).is_err());
    }
}
