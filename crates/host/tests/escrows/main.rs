//! A seat keeps the escrow of what its enclave holds, by itself, and loses nothing when it cannot.

use std::fs;
use std::path::Path;
use std::rc::Rc;

use baton_attest::pki::{DevPki, PlatformSpec};
use baton_attest::sigstruct::SigningKey;
use baton_core::escrow::{Conditions, key_digest};
use baton_core::hpke_box::RecipientKey;
use baton_core::policy::{Council, CouncilKey, Lifeboat, Member, Origin, Policy, Witnesses};
use baton_core::secret::Secret32;
use baton_core::witness::Cosigner;
use baton_enclave::sim::{Image, Machine};
use baton_enclave::wire::Request;
use baton_host::escrows::{COUNCIL_KEY, LIFEBOAT_KEY};
use baton_host::seat::Seat;
use baton_host::snapshot;

fn key(n: u8) -> RecipientKey {
    RecipientKey::from_seed(Secret32::danger_from_bytes(&[n; 32]))
}

fn public(n: u8) -> Vec<u8> {
    key(n).public_key().to_bytes()
}

fn policy() -> Policy {
    let mut p: Policy = toml::from_str(include_str!("../../../../docs/policy.example.toml")).unwrap();
    p.origin = Origin::Genesis;
    p.builds.signers = vec![SigningKey::development(1).unwrap().signer(), SigningKey::development(2).unwrap().signer()];
    let member = ed25519_dalek::SigningKey::from_bytes(&[41; 32]).verifying_key().to_bytes();
    p.council = Some(Council {
        members: vec![Member { name: "ana".into(), key: CouncilKey::Ed25519(member) }],
        needed: 1,
        notice_blocks: 5,
    });
    let keys = vec![Cosigner::from_seed("w.example", &[3; 32]).unwrap().vkey()];
    p.witnesses = Some(Witnesses { keys, needed: 1, notice_secs: 60, dated_exports: false });
    p.lifeboat = Some(Lifeboat { council_digest: key_digest(&public(1)), key_digest: key_digest(&public(2)) });
    p
}

fn seat(dir: &Path, policy: &Policy) -> Seat {
    let pki = DevPki::new([7; 32]).unwrap();
    let machine = Rc::new(Machine::new(&pki, "m", &PlatformSpec::default()).unwrap());
    let image = Image::build("baton-test", "1", policy, &SigningKey::development(1).unwrap(), 1).unwrap();
    let mut seat = Seat::open(dir, machine, image, Box::new(|| [9; 32])).unwrap();
    seat.start().unwrap();
    seat
}

fn genesis(seat: &mut Seat) {
    seat.call(&Request::Genesis { found: Vec::new() }).unwrap();
}

#[test]
fn rule2_a_holder_has_its_escrow_on_disk_without_being_asked() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = seat(dir.path(), &policy());
    s.escrows().put_keys(&public(1), &public(2)).unwrap();
    assert!(s.status().unwrap().escrow.is_none(), "nothing is held yet");
    genesis(&mut s);
    assert_eq!(s.take_warnings(), Vec::<String>::new());
    let (path, escrow) = s.escrows().newest().unwrap().unwrap();
    assert!(path.ends_with("escrow/epoch-0000000000.escrow"));
    let opened = escrow.open(&key(1), &key(2)).unwrap();
    assert_eq!(opened.conditions(), &Conditions::of(&policy()).unwrap());
    assert!(s.status().unwrap().escrow.unwrap().made);
    // What is there is not made again.
    let before = fs::read(&path).unwrap();
    s.start().unwrap();
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn h11_a_lost_or_damaged_escrow_is_made_again_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = seat(dir.path(), &policy());
    s.escrows().put_keys(&public(1), &public(2)).unwrap();
    genesis(&mut s);
    let path = s.escrows().newest().unwrap().unwrap().0;
    let size = s.status().unwrap().log_size;
    for damage in [None, Some(&b"half"[..])] {
        match damage {
            None => fs::remove_file(&path).unwrap(),
            Some(bytes) => fs::write(&path, bytes).unwrap(),
        }
        s.start().unwrap();
        s.escrows().newest().unwrap().unwrap().1.open(&key(1), &key(2)).unwrap();
    }
    assert_eq!(s.status().unwrap().log_size, size, "the log says it once");
}

#[test]
fn a_missing_or_wrong_key_is_named_and_stops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = seat(dir.path(), &policy());
    genesis(&mut s);
    let said = s.take_warnings().join("\n");
    assert!(said.contains(COUNCIL_KEY) && said.contains(&key_digest(&public(1)).to_string()), "{said}");
    s.escrows().put_keys(&public(1), &public(3)).unwrap();
    let said = s.keep_escrow().unwrap_err().to_string();
    assert!(said.contains("the lifeboats' key: expected the key with SHA-256"), "{said}");
    s.start().unwrap();
    assert!(s.status().unwrap().serving);
    assert!(s.take_warnings().join("\n").contains("no escrow is kept"));
    s.escrows().put_keys(&public(1), &public(2)).unwrap();
    assert!(s.keep_escrow().unwrap().is_some());
    let mut without = policy();
    without.lifeboat = None;
    let other = tempfile::tempdir().unwrap();
    let mut s = seat(other.path(), &without);
    genesis(&mut s);
    assert!(s.keep_escrow().unwrap().is_none() && s.take_warnings().is_empty() && !s.escrows().dir().exists());
}

#[test]
fn a_snapshot_carries_the_escrow_and_a_restore_brings_it_back() {
    let dir = tempfile::tempdir().unwrap();
    let (home, out) = (dir.path().join("v1"), dir.path().join("n.snapshot"));
    let mut s = seat(&home, &policy());
    s.escrows().put_keys(&public(1), &public(2)).unwrap();
    genesis(&mut s);
    let manifest = snapshot::create(&mut s, "test-1", &[], None, &out).unwrap();
    for file in ["epoch-0000000000.escrow", COUNCIL_KEY, LIFEBOAT_KEY] {
        assert!(manifest.files.iter().any(|f| f.path == format!("escrow/{file}")), "{file}");
    }
    let kept = s.escrows().newest().unwrap().unwrap().1;
    drop(s);
    fs::remove_dir_all(home.join("escrow")).unwrap();
    let bundle = snapshot::read(&out).unwrap();
    let measurement = seat(&dir.path().join("other"), &policy()).image().measurement().unwrap();
    let mut open = |at: &Path| Ok(seat(at, &policy()));
    bundle.restore(&home, &measurement, &mut open, true).unwrap();
    assert_eq!(seat(&home, &policy()).escrows().newest().unwrap().unwrap().1, kept);
}
