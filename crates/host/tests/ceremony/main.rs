//! The signing ceremony, from the first share to a build that launches, and everything that must not pass for one.

use std::rc::Rc;

use baton_attest::identity::{Attributes, Measurement, PLATFORM_SGX, flags};
use baton_attest::pki::{CollateralSpec, DevPki, PlatformSpec};
use baton_attest::policy::{TcbPolicy, TcbStatus};
use baton_attest::sigstruct::check_sigstruct;
use baton_core::ceremony::{SessionInfo, ShareBox, Subject};
use baton_core::fake::FakePlatform;
use baton_core::seal::Slot;
use baton_core::shares::age::Identity;
use baton_core::shares::{Holder, Holders, Purpose, Transcript};
use baton_enclave::sim::{Image, Machine};
use baton_host::link::Launcher;
use baton_host::ceremony::{CeremonyError, CeremonySeat, Published, image};
use baton_host::shares::{HostRandom, read_share};
use baton_host::store::SealedStore;

mod network;
#[path = "../programs/mod.rs"]
mod programs;

const NOW: u64 = 1_790_000_000;

struct World {
    machine: Rc<Machine>,
    launcher: Rc<dyn Launcher>,
    image: Image,
    tcb: TcbPolicy,
    collateral: Vec<u8>,
    dir: tempfile::TempDir,
}

impl World {
    /// Wherever ceremonies run in this test run.
    fn new() -> Self {
        let simulated = World::simulated();
        World { launcher: programs::ceremony_on(&simulated.machine), image: programs::ceremony(), ..simulated }
    }

    fn simulated() -> Self {
        let pki = DevPki::new([7; 32]).unwrap();
        let tcb = TcbPolicy {
            statuses: vec![TcbStatus::UpToDate, TcbStatus::SwHardeningNeeded],
            denied_advisories: Vec::new(),
            allowed_advisories: None,
            min_tcb_evaluation: 17,
            max_collateral_age_secs: 7 * 24 * 3600,
            roots: vec![pki.root_der().unwrap()],
        };
        let machine = Rc::new(Machine::new(&pki, "ceremony", &PlatformSpec::default()).unwrap());
        let collateral = pki.collateral(&CollateralSpec::at(NOW)).unwrap().to_json().into_bytes();
        World { launcher: machine.clone(), image: image("1").unwrap(), machine, tcb, collateral, dir: tempfile::tempdir().unwrap() }
    }

    fn store(&self) -> SealedStore {
        SealedStore::open(self.dir.path().join("sealed")).unwrap()
    }

    fn seat(&self) -> CeremonySeat<'_> {
        CeremonySeat::start(self.launcher.as_ref(), &self.image, self.store(), &self.collateral).unwrap()
    }
}

fn key(n: u8) -> Identity {
    Identity::generate(&mut FakePlatform::new(n))
}

fn holders(needed: u8, who: &[(&str, u8)]) -> Holders {
    let of = |(name, n): &(&str, u8)| Holder { name: (*name).into(), recipient: *key(*n).recipient().as_bytes() };
    Holders { needed, holders: who.iter().map(of).collect() }
}

const OLD: [(&str, u8); 3] = [("ana", 1), ("bo", 2), ("chen", 3)];
const NEW: [(&str, u8); 3] = [("ana", 1), ("dora", 4), ("emil", 5)];

fn boxed(p: &Published, info: &SessionInfo, subject: &Subject, at: usize, n: u8) -> ShareBox {
    let share = read_share(&p.files[at], Some(&key(n))).unwrap();
    ShareBox::seal(&mut HostRandom::default(), info, subject, &share).unwrap()
}

fn refused<T>(r: Result<T, CeremonyError>) -> String {
    match r {
        Err(CeremonyError::Refused(m)) => m,
        Err(e) => format!("another error: {e}"),
        Ok(_) => "it was not refused".into(),
    }
}

/// One story, because making the key takes seconds: new, sign, reshare, and what must fail at each point.
#[test]
fn h18_a19_the_signing_key_signs_what_m_holders_agreed_to_and_old_shares_sign_nothing() {
    let w = World::new();
    let mut seat = w.seat();
    assert!(refused(seat.session()).contains("holds no ceremony yet"));
    let first = seat.new_key(Purpose::Signer, &holders(2, &OLD)).unwrap();
    let transcript = Transcript::from_cbor(&first.attested.message).unwrap();

    // An outsider checks the publication.
    let measurement = w.image.measurement().unwrap();
    first.attested.check(&transcript.digest(), &w.tcb, Some(measurement)).unwrap();
    assert!(first.attested.check(&transcript.digest(), &w.tcb, Some(Measurement([1; 32]))).is_err());
    let mut forged = first.attested.clone();
    forged.message[20] ^= 1;
    let changed = Transcript::from_cbor(&forged.message).map(|t| t.digest());
    assert!(changed.is_err() || forged.check(&changed.unwrap(), &w.tcb, None).is_err());
    assert_eq!(transcript.holder_of_file(&first.files[1]).unwrap().name, "bo");

    // A key is never replaced, and what was dealt can be had again after a crash.
    assert!(refused(seat.new_key(Purpose::Signer, &holders(2, &OLD))).contains("never replaced"));
    drop(seat);
    let mut seat = w.seat();
    assert_eq!(seat.show().unwrap().files, first.files);

    // Two agree on one build.
    let build = Measurement([0xab; 32]);
    let subject = Subject::Sign { measurement: build, product_id: 1, svn: 2 };
    let (info, attested) = seat.session().unwrap();
    attested.check(&info.digest(), &w.tcb, Some(measurement)).unwrap();
    let boxes = [boxed(&first, &info, &subject, 0, 1), boxed(&first, &info, &subject, 2, 3)];
    let few = refused(seat.sign(build, 1, 2, &boxes[..1]));
    assert!(few.starts_with("1 of 2 needed holders (ana) brought a good share of ceremony 1"), "{few}");
    let other = refused(seat.sign(Measurement([0xcd; 32]), 1, 2, &boxes));
    assert!(other.starts_with("0 of 2 needed holders (nobody)"), "{other}");
    assert!(refused(seat.sign(build, 1, 3, &boxes)).starts_with("0 of 2"), "another svn is another build");
    let signed = seat.sign(build, 1, 2, &boxes).unwrap();
    assert_eq!(signed.holders, ["ana", "chen"]);
    let checked = check_sigstruct(&signed.sigstruct).unwrap();
    let attributes = Attributes { flags: flags::MODE64BIT, xfrm: 3 };
    let identity = checked.launch(build, attributes, 0).unwrap();
    assert_eq!((identity.platform_tag, identity.product_id, identity.svn), (PLATFORM_SGX, 1, 2));
    assert_eq!(checked.fields().modulus.to_vec(), transcript.terms().public_key);
    assert!(refused(seat.sign(build, 1, 2, &boxes)).contains("no session is open"), "boxes work once");

    // Shared again for other holders.
    let list = holders(2, &NEW);
    let agreed = Subject::Reshare { holders: list.digest() };
    let (info, _) = seat.session().unwrap();
    let for_sign = [boxed(&first, &info, &subject, 0, 1), boxed(&first, &info, &subject, 1, 2)];
    assert!(refused(seat.reshare(&list, &for_sign)).starts_with("0 of 2"), "who agreed to a signature agreed to no new holders");
    let boxes = [boxed(&first, &info, &agreed, 0, 1), boxed(&first, &info, &agreed, 1, 2)];
    assert!(refused(seat.reshare(&holders(2, &OLD), &boxes)).starts_with("0 of 2"), "nor to other ones");
    assert!(refused(seat.reshare(&holders(1, &NEW), &boxes)).contains("at least 2 needed"));
    let second = seat.reshare(&list, &boxes).unwrap();
    let next = Transcript::from_cbor(&second.attested.message).unwrap();
    next.follows(&transcript).unwrap();

    // Old shares, all of them, are named and sign nothing; ana's new one among them does not help.
    let (info, _) = seat.session().unwrap();
    let old: Vec<ShareBox> = (0..3).map(|i| boxed(&first, &info, &subject, i, OLD[i].1)).collect();
    let named = refused(seat.sign(build, 1, 2, &old));
    assert!(named.contains("a share of ceremony 1, expected ceremony 2; destroy it"), "{named}");
    let mixed = [old[1].clone(), boxed(&second, &info, &subject, 0, 1)];
    assert!(refused(seat.sign(build, 1, 2, &mixed)).starts_with("1 of 2 needed holders (ana)"));

    // The older file stays until the new shares have shown that they work, then it goes.
    assert_eq!(w.store().find(Slot::Custody).unwrap().len(), 2);
    let new = [boxed(&second, &info, &subject, 1, 4), boxed(&second, &info, &subject, 2, 5)];
    let again = seat.sign(build, 1, 2, &new).unwrap();
    assert_eq!(check_sigstruct(&again.sigstruct).unwrap().fields().signer(), checked.fields().signer());
    assert_eq!(w.store().find(Slot::Custody).unwrap().len(), 1);
}

#[test]
fn a_councils_key_signs_nothing_and_is_not_kept_whole() {
    let w = World::new();
    let mut seat = w.seat();
    let dealt = seat.new_key(Purpose::Council, &holders(2, &OLD)).unwrap();
    let transcript = Transcript::from_cbor(&dealt.attested.message).unwrap();
    assert_eq!(transcript.terms().public_key.len(), baton_core::hpke_box::PUBLIC_KEY_LEN);
    let (info, _) = seat.session().unwrap();
    let subject = Subject::Sign { measurement: Measurement([1; 32]), product_id: 1, svn: 1 };
    let boxes = [boxed(&dealt, &info, &subject, 0, 1), boxed(&dealt, &info, &subject, 1, 2)];
    assert!(refused(seat.sign(Measurement([1; 32]), 1, 1, &boxes)).contains("signs nothing"));
    assert!(refused(seat.reshare(&holders(2, &NEW), &boxes)).contains("make a new one"));
}

#[test]
fn a21_requests_that_cannot_be_read_and_files_of_others_are_refused() {
    let w = World::simulated();
    let mut seat = w.seat();
    seat.new_key(Purpose::Council, &holders(2, &OLD)).unwrap();
    let file = w.store().read(&w.store().find(Slot::Custody).unwrap()[0]).unwrap();
    let start = |file: &[u8], version: &str| {
        let image = image(version).unwrap();
        let (platform, _) = w.machine.launch_program(&image, &Default::default()).unwrap();
        baton_enclave::ceremony::Ceremony::start(platform, Some(file), 0).map(|_| ()).map_err(|e| e.to_string())
    };
    start(&file, "1").unwrap();
    assert!(start(&file, "2").unwrap_err().contains("sealed by another build"));
    assert!(start(&file[..file.len() - 1], "1").is_err());
    let (platform, _) = w.machine.launch_program(&image("1").unwrap(), &Default::default()).unwrap();
    let mut program = baton_enclave::ceremony::Ceremony::start(platform, Some(&file), 1).unwrap();
    for bad in [&b""[..], &[0xff; 9], &[0x82, 5]] {
        let answer: baton_enclave::ceremony::Response = minicbor::decode(&program.handle_bytes(bad)).unwrap();
        assert!(matches!(answer.reply, Some(baton_enclave::ceremony::Reply::Refused { .. })));
    }
}
