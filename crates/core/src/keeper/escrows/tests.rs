use std::string::ToString;
use std::vec::Vec;

use super::*;
use crate::context::Context;
use crate::escrow::{Escrow, key_digest};
use crate::fake::FakePlatform;
use crate::hpke_box::RecipientKey;
use crate::keyring::Keyring;
use crate::log::LogEntry;
use crate::policy::{Origin, Policy};
use crate::secret::Secret32;

fn key(n: u8) -> RecipientKey {
    RecipientKey::from_seed(Secret32::danger_from_bytes(&[n; 32]))
}

fn public(n: u8) -> Vec<u8> {
    key(n).public_key().to_bytes()
}

fn policy() -> Policy {
    let mut p = crate::policy::tests::with_lifeboat(key_digest(&public(1)), key_digest(&public(2)));
    p.origin = Origin::Genesis;
    p
}

fn keeper(policy: Policy) -> Keeper<FakePlatform> {
    Keeper::new(FakePlatform::new(1), policy).unwrap()
}

fn holding() -> Keeper<FakePlatform> {
    let mut k = keeper(policy());
    k.genesis(&mut Context::default(), &[]).unwrap();
    k
}

fn escrow(k: &mut Keeper<FakePlatform>) -> Result<(Escrow, bool), KeepEscrowError> {
    let mut step = Context::default();
    k.escrow(&mut step, &public(1), &public(2))?;
    let outcome = step.finish();
    let said = outcome.then_send.first().unwrap().message.clone();
    Ok((Escrow::from_cbor(&said).unwrap(), !outcome.must_persist.is_empty()))
}

#[test]
fn rule2_a_holder_makes_an_escrow_of_what_it_holds_and_says_so_in_its_log_once() {
    let mut k = holding();
    assert_eq!(k.escrow_wanted().map(|w| w.made), Some(false));
    let before = k.branch().head().size;
    let (made, stored) = escrow(&mut k).unwrap();
    assert!(stored, "that it was made is sealed before it leaves");
    assert_eq!(k.branch().head().size, before + 1);
    let opened = made.open(&key(1), &key(2)).unwrap();
    let ring = Keyring::decode(opened.keyring()).unwrap();
    assert_eq!(ring.commitments(), k.custody().keyring().unwrap().commitments());
    assert_eq!(opened.conditions(), &Conditions::of(&policy()).unwrap());
    assert!(!opened.is_canary());
    assert_eq!(k.escrow_wanted().map(|w| w.made), Some(true));
    // A lost file is no reason to fill the log.
    let (again, stored) = escrow(&mut k).unwrap();
    assert!(!stored && again.header == made.header && again != made);
    assert_eq!(k.branch().head().size, before + 1);
    let last = LogEntry::parse(&k.branch().unstored().1.last().unwrap().to_bytes()).unwrap();
    assert_eq!(last.event, Event::Escrowed { council_key: key_digest(&public(1)), lifeboat_key: key_digest(&public(2)) });
}

#[test]
fn h08_that_an_escrow_was_made_survives_a_restart() {
    let mut k = holding();
    escrow(&mut k).unwrap();
    let file = k.seal_slot(crate::seal::Slot::Custody, 1).unwrap();
    let (opened, _) = Keeper::open(FakePlatform::new(1), policy(), &file).unwrap();
    assert_eq!(opened.escrow_wanted().map(|w| w.made), Some(true));
}

#[test]
fn a19_no_escrow_is_made_for_another_key_than_the_policy_names() {
    let mut k = holding();
    let mut bad = |c: &[u8], l: &[u8]| k.escrow(&mut Context::default(), c, l).unwrap_err().to_string();
    assert!(bad(&public(3), &public(2)).starts_with("the council's key: expected the key with SHA-256"));
    assert!(bad(&public(1), &public(3)).starts_with("the lifeboats' key: expected the key with SHA-256"));
    assert!(bad(&public(2), &public(1)).starts_with("the council's key"), "nor for the two exchanged");
    assert!(bad(&[], &public(2)).starts_with("the council's key"));
    assert_eq!(k.escrow_wanted().map(|w| w.made), Some(false));
}

#[test]
fn rule1_nothing_is_escrowed_that_is_not_held_in_force_or_has_no_lifeboat() {
    let mut empty = keeper(policy());
    assert!(matches!(escrow(&mut empty), Err(KeepEscrowError::State(_))));
    assert_eq!(empty.escrow_wanted(), None);
    let mut without = policy();
    without.lifeboat = None;
    let mut k = keeper(without);
    k.genesis(&mut Context::default(), &[]).unwrap();
    assert!(matches!(escrow(&mut k), Err(KeepEscrowError::NoLifeboat)));
    assert_eq!(k.escrow_wanted(), None);
}
