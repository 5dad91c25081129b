use std::string::ToString;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::fake::FakePlatform;
use crate::keyring::{CanaryKeyring, Keyring};
use crate::policy::{CouncilKey, Member};
use crate::secret::{CanarySeed, Secret32, Seed};
use crate::witness::Cosigner;

fn recipient(n: u8) -> RecipientKey {
    RecipientKey::from_seed(Secret32::danger_from_bytes(&[n; 32]))
}

fn keys() -> EscrowKeys {
    let (c, l) = (recipient(1).public_key().to_bytes(), recipient(2).public_key().to_bytes());
    EscrowKeys::new((&c, &key_digest(&c)), (&l, &key_digest(&l))).unwrap()
}

fn conditions() -> Conditions {
    let key = CouncilKey::Ed25519([7; 32]);
    Conditions {
        chain_id: "test-1".into(),
        council: Council { members: vec![Member { name: "ana".into(), key }], needed: 1, notice_blocks: 5 },
        witnesses: Witnesses {
            keys: vec![Cosigner::from_seed("w.example", &[3; 32]).unwrap().vkey()],
            needed: 1,
            notice_secs: 60,
            dated_exports: false,
        },
        builds: BuildRules { signers: vec![baton_attest::identity::Signer([2; 32])], product_id: 1, min_svn: 1 },
        tcb: TcbPolicy {
            statuses: vec![baton_attest::policy::TcbStatus::UpToDate],
            denied_advisories: Vec::new(),
            allowed_advisories: None,
            min_tcb_evaluation: 1,
            max_collateral_age_secs: 3600,
            roots: vec![vec![1, 2, 3]],
        },
    }
}

fn keyring() -> Keyring {
    Keyring::new(0, Seed::danger_from_bytes(&[5; 32]))
}

fn escrow() -> Escrow {
    make(&mut FakePlatform::new(1), &keyring(), &conditions(), &keys()).unwrap()
}

#[test]
fn an_escrow_opens_with_both_keys_and_carries_its_conditions() {
    let opened = escrow().open(&recipient(1), &recipient(2)).unwrap();
    assert_eq!(opened.conditions(), &conditions());
    assert!(!opened.is_canary());
    let back = Keyring::decode(opened.keyring()).unwrap();
    assert_eq!(back.check(&escrow().header.commitments), Ok(()));
}

#[test]
fn neither_shares_nor_lifeboat_alone_read_an_escrow() {
    let other = |what, e: u8, g: u8| {
        let of = |n: u8| key_digest(&recipient(n).public_key().to_bytes());
        Some(OpenEscrowError::OtherKey { what, expected: of(e), got: of(g) })
    };
    assert_eq!(escrow().open(&recipient(1), &recipient(3)).err(), other("the lifeboat key", 2, 3));
    assert_eq!(escrow().open(&recipient(3), &recipient(2)).err(), other("the council key", 1, 3));
    // A header that lies about the key does not help: it is bound into both layers.
    let mut lied = escrow();
    lied.header.lifeboat_key = key_digest(&recipient(3).public_key().to_bytes());
    assert_eq!(lied.open(&recipient(1), &recipient(3)).err(), Some(OpenEscrowError::Damaged("council's")));
    // The outer layer off, the inner one still stands.
    let aad = header_digest(&escrow().header);
    let middle = recipient(1).open(OUTER, &aad.0, &escrow().sealed).unwrap();
    let middle: SealedBox = decode_exact(&middle).unwrap();
    assert!(recipient(1).open(INNER, &aad.0, &middle).is_err());
    assert!(recipient(2).open(OUTER, &aad.0, &escrow().sealed).is_err());
}

#[test]
fn a_canary_escrow_is_never_opened_as_a_real_one() {
    let canary = CanaryKeyring::new(0, CanarySeed::danger_from_bytes(&[5; 32]));
    let mut e = make_canary(&mut FakePlatform::new(1), &canary, &conditions(), &keys()).unwrap();
    assert!(e.open(&recipient(1), &recipient(2)).unwrap().is_canary());
    e.header.canary = false;
    assert!(e.open(&recipient(1), &recipient(2)).is_err());
}

#[test]
fn a_key_that_is_not_the_announced_one_is_refused() {
    let key = recipient(1).public_key().to_bytes();
    let good = key_digest(&key);
    let bad = Digest32([9; 32]);
    let got = EscrowKeys::new((&key, &bad), (&key, &good)).err().unwrap();
    assert_eq!(got, EscrowError::OtherKey { what: "the council's key", expected: bad, got: good });
    let got = EscrowKeys::new((&key, &good), (&key, &bad)).err().unwrap().to_string();
    assert!(got.starts_with("the lifeboats' key: expected"));
}

#[test]
fn h04_an_escrow_is_the_frozen_one() {
    let golden = include_str!("../../tests/golden/escrow_v1.hex").trim();
    assert_eq!(hex::encode(escrow().to_cbor()), golden);
    let back = Escrow::from_cbor(&hex::decode(golden).unwrap()).unwrap();
    assert_eq!(back.open(&recipient(1), &recipient(2)).unwrap().conditions(), &conditions());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn a21_a_changed_escrow_never_opens(at: usize, bit in 0u8..8) {
        let mut bytes = escrow().to_cbor();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        let opened = Escrow::from_cbor(&bytes).and_then(|e| e.open(&recipient(1), &recipient(2)));
        prop_assert!(opened.is_err());
    }

    #[test]
    fn a21_any_bytes_are_read_or_refused_without_a_panic(bytes: Vec<u8>) {
        let _ = Escrow::from_cbor(&bytes);
    }
}
