use std::string::{String, ToString};
use std::vec::Vec;

use baton_attest::identity::{Attributes, Signer};
use ed25519_dalek::Signer as _;
use proptest::prelude::*;

use super::adr036::{check, sign_doc};
use super::signed::{AccountSignature, SignedError, SignedOrder};
use super::*;
use crate::policy::{Council, CouncilKey, Member};

fn identity(n: u8) -> Identity {
    Identity {
        platform_tag: 1,
        measurement: Measurement([n; 32]),
        signer: Signer([2; 32]),
        product_id: 1,
        svn: 2,
        attributes: Attributes { flags: 5, xfrm: 3 },
        misc_select: 0,
        config_id: [0; 64],
        config_svn: 0,
    }
}

fn order(action: Action) -> Order {
    Order {
        version: VERSION,
        chain_id: "test-1".into(),
        from: Digest32([7; 32]),
        sequence: 3,
        expiry_height: 1000,
        expiry_secs: 1_800_000_000,
        reason: "the new build dies at its first block".into(),
        action,
    }
}

fn handover() -> Order {
    order(Action::Handover { to: identity(9) })
}

enum Key {
    Ed(ed25519_dalek::SigningKey),
    P(p256::ecdsa::SigningKey),
}

impl Key {
    fn new(n: u8) -> Self {
        match n % 2 {
            0 => Key::P(p256::ecdsa::SigningKey::from_slice(&[n; 32]).unwrap()),
            _ => Key::Ed(ed25519_dalek::SigningKey::from_bytes(&[n; 32])),
        }
    }

    fn public(&self) -> CouncilKey {
        match self {
            Key::Ed(k) => CouncilKey::Ed25519(k.verifying_key().to_bytes()),
            Key::P(k) => CouncilKey::P256(k.verifying_key().to_sec1_point(true).as_bytes().try_into().unwrap()),
        }
    }

    fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Key::Ed(k) => k.sign(bytes).to_vec(),
            Key::P(k) => {
                let s: p256::ecdsa::Signature = k.sign(bytes);
                s.to_bytes().to_vec()
            }
        }
    }
}

fn council(needed: u32) -> Council {
    let member = |(n, name): (u8, &str)| Member { name: name.into(), key: Key::new(n).public() };
    Council { members: [(1, "ada"), (2, "bob"), (3, "cyd")].map(member).to_vec(), needed, notice_blocks: 10 }
}

fn signed(by: &[u8]) -> SignedOrder {
    let mut out = SignedOrder::unsigned(handover());
    by.iter().for_each(|n| out.add_council(&Key::new(*n).public(), |b| Key::new(*n).sign(b)));
    SignedOrder::from_bytes(&out.to_bytes()).unwrap()
}

#[test]
fn h04_an_order_of_each_kind_and_a_signed_one_are_the_frozen_bytes() {
    let all = [
        handover(),
        order(Action::Rewind { height: 41, hash: Digest32([4; 32]) }),
        order(Action::Freeze { measurement: Measurement([9; 32]), proposals_through: 12 }),
        order(Action::Rotate),
    ];
    let mut text = String::new();
    for o in &all {
        assert_eq!(Order::from_cbor(&o.to_cbor()).unwrap(), *o);
        text += &std::format!("{}\n{}\n", hex::encode(o.to_cbor()), o.memo());
    }
    text += &(hex::encode(signed(&[1, 2]).to_bytes()) + "\n");
    text += &(sign_doc(&handover(), "cosmos1qqqsyqcyq5rqwzqfpg9scrgwpugpzysnrk363e") + "\n");
    assert_eq!(text, include_str!("../../tests/golden/order_v1.txt"));
}

#[test]
fn each_memo_is_of_one_order_and_fits_a_memo() {
    let memo = handover().memo();
    assert!(memo.starts_with("baton-order1:") && memo.len() == 13 + 43);
    let others = [
        Order { chain_id: "test-2".into(), ..handover() },
        Order { from: Digest32([8; 32]), ..handover() },
        Order { sequence: 4, ..handover() },
        Order { expiry_height: 1001, ..handover() },
        Order { expiry_secs: 1, ..handover() },
        Order { reason: "other".into(), ..handover() },
        order(Action::Handover { to: identity(8) }),
        order(Action::Rotate),
    ];
    others.iter().for_each(|o| assert_ne!(o.memo(), memo));
}

#[test]
fn a21_bytes_that_are_not_the_one_encoding_of_an_order_are_refused() {
    let bytes = handover().to_cbor();
    for cut in 0..bytes.len() {
        assert!(Order::from_cbor(&bytes[..cut]).is_err(), "{cut}");
    }
    let long = [&bytes[..], &[0]].concat();
    assert_eq!(Order::from_cbor(&long), Err(OrderBytesError::Malformed));
    let mut wide = bytes.clone(); // version 1 in two bytes
    wide.splice(1..2, [0x18, 1]);
    assert_eq!(Order::from_cbor(&wide), Err(OrderBytesError::Malformed));
    let later = Order { version: 2, ..handover() };
    assert_eq!(Order::from_cbor(&later.to_cbor()), Err(OrderBytesError::Version { got: 2 }));
    for reason in ["x".repeat(1001), "two\nlines".to_string(), "\u{1b}[2J".to_string()] {
        let odd = Order { reason, ..handover() };
        assert!(matches!(Order::from_cbor(&odd.to_cbor()), Err(OrderBytesError::Reason { .. })));
    }
    assert!(matches!(Order::from_cbor(&[0; 5000]), Err(OrderBytesError::TooLong { .. })));
}

#[test]
fn m_members_with_keys_of_either_kind_are_enough_and_one_less_is_not() {
    for by in [&[1, 2][..], &[2, 3], &[1, 3], &[3, 2, 1]] {
        let (authority, signers, skipped) = signed(by).council(&council(2));
        assert!(matches!(authority, Some(Authority::Council { .. })), "{by:?}: {skipped}");
        assert_eq!(signers.len(), by.len());
    }
    for by in [&[][..], &[1], &[2]] {
        assert_eq!(signed(by).council(&council(2)).0, None, "{by:?}");
    }
    assert_eq!(signed(&[1, 2, 3]).council(&Council { needed: 0, ..council(2) }).0, None, "no m, no council");
}

#[test]
fn a19_one_member_twice_counts_once_and_strangers_do_not() {
    let (authority, _, skipped) = signed(&[1, 1]).council(&council(2));
    assert_eq!(authority, None);
    assert!(skipped.to_string().contains("ada: signed twice"), "{skipped}");
    let (authority, _, skipped) = signed(&[1, 5, 7]).council(&council(2));
    assert_eq!(authority, None);
    assert_eq!(skipped.0.len(), 2);
}

#[test]
fn a07_a_bad_signature_is_skipped_with_its_owner_and_the_good_ones_count() {
    let mut o = SignedOrder::unsigned(handover());
    let bad: [(u8, fn(Vec<u8>) -> Vec<u8>); 4] = [
        (3, |mut s| {
            s[0] ^= 1;
            s
        }),
        (2, |_| Vec::new()),
        (2, |s| [s, Vec::from([0])].concat()),
        (3, |_| std::vec![0xff; 64]),
    ];
    for (n, spoil) in bad {
        o.add_council(&Key::new(n).public(), |b| spoil(Key::new(n).sign(b)));
    }
    o.add_council(&Key::new(1).public(), |b| Key::new(1).sign(b));
    assert_eq!(o.council(&council(2)).0, None);
    o.add_council(&Key::new(2).public(), |b| Key::new(2).sign(b));
    let (authority, signers, skipped) = SignedOrder::from_bytes(&o.to_bytes()).unwrap().council(&council(2));
    assert!(authority.is_some());
    assert_eq!(signers, ["ada", "bob"]);
    assert_eq!(skipped.0.len(), 4);
    assert!(skipped.to_string().contains("cyd: the signature does not verify"), "{skipped}");
}

#[test]
fn a06_a_signature_over_another_order_or_without_the_context_string_does_not_count() {
    let other = SignedOrder::unsigned(Order { chain_id: "test-2".into(), ..handover() });
    let mut o = SignedOrder::unsigned(handover());
    for n in [1, 2] {
        let mut theirs = other.clone();
        let mut taken = Vec::new();
        theirs.add_council(&Key::new(n).public(), |b| {
            taken = Key::new(n).sign(b);
            taken.clone()
        });
        o.add_council(&Key::new(n).public(), |_| taken);
        o.add_council(&Key::new(n).public(), |_| Key::new(n).sign(&handover().to_cbor()));
    }
    assert_eq!(o.council(&council(2)).0, None);
    assert!(matches!(o.merge(other), Err(SignedError::OtherOrder { .. })));
}

#[test]
fn the_bytes_to_sign_are_rfc_9052s_sig_structure() {
    // RFC 9052, 4.4: ["Signature", body_protected, sign_protected, external_aad, payload], encoded by another library.
    let mut o = SignedOrder::unsigned(handover());
    let key = Key::new(1).public();
    let mut got = Vec::new();
    o.add_council(&key, |b| {
        got = b.to_vec();
        Vec::new()
    });
    let mut protected = Vec::new();
    let mut e = minicbor::Encoder::new(&mut protected);
    e.map(2).unwrap().u8(1).unwrap().i8(-8).unwrap().u8(4).unwrap().bytes(key.as_bytes()).unwrap();
    let mut expected = Vec::new();
    let mut e = minicbor::Encoder::new(&mut expected);
    e.array(5).unwrap().str("Signature").unwrap().bytes(&[]).unwrap().bytes(&protected).unwrap();
    e.bytes(COSE_CONTEXT).unwrap().bytes(&handover().to_cbor()).unwrap();
    assert_eq!(hex::encode(got), hex::encode(expected));
}

#[test]
fn copies_that_people_signed_apart_are_put_together_once() {
    let (mut a, b) = (signed(&[1]), signed(&[2]));
    a.merge(b.clone()).unwrap();
    a.merge(b).unwrap();
    assert_eq!(a.council_signatures(), 2);
    assert!(a.council(&council(2)).0.is_some());
}

#[test]
fn a21_a_signed_order_that_is_cut_or_changed_never_panics_and_never_gains_a_signer() {
    let bytes = signed(&[1]).to_bytes();
    for cut in 0..bytes.len() {
        assert!(SignedOrder::from_bytes(&bytes[..cut]).is_err(), "{cut}");
    }
    for i in 0..bytes.len() {
        for flip in [1, 0x20, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[i] ^= flip;
            if let Ok(o) = SignedOrder::from_bytes(&changed) {
                assert_eq!(o.council(&council(2)).0, None);
                assert!(o.council(&council(1)).0.is_none() || *o.order() == handover(), "byte {i}");
            }
        }
    }
    assert!(SignedOrder::from_bytes(&std::vec![0x81; 1 << 16]).is_err());
    assert!(matches!(SignedOrder::from_bytes(&std::vec![0; MAX_BIG]), Err(SignedError::TooLong { .. })));
}

const MAX_BIG: usize = super::signed::MAX_SIGNED_BYTES + 1;

fn account(n: u8, of: &Order) -> AccountSignature {
    use ripemd::Digest as _;
    let key = k256::ecdsa::SigningKey::from_slice(&[n; 32]).unwrap();
    let public_key = key.verifying_key().to_sec1_point(true).as_bytes().to_vec();
    let address = ripemd::Ripemd160::digest(sha2::Sha256::digest(&public_key));
    let signer = bech32::encode::<bech32::Bech32>(bech32::Hrp::parse("cosmos").unwrap(), &address).unwrap();
    let signature: k256::ecdsa::Signature = key.sign(sign_doc(of, &signer).as_bytes());
    AccountSignature { signer, public_key, signature: signature.normalize_s().to_bytes().to_vec() }
}

#[test]
fn an_adr_036_signature_counts_for_its_account_and_its_order_only() {
    let good = account(1, &handover());
    assert!(check(&handover(), &good).is_ok());
    assert!(check(&Order { sequence: 4, ..handover() }, &good).is_err());
    let other = account(2, &handover());
    let cases = [
        AccountSignature { signer: other.signer.clone(), ..good.clone() },
        AccountSignature { public_key: other.public_key.clone(), ..good.clone() },
        AccountSignature { signature: other.signature.clone(), ..good.clone() },
        AccountSignature { signature: Vec::new(), ..good.clone() },
        AccountSignature { public_key: Vec::new(), ..good.clone() },
        AccountSignature { signer: String::new(), ..good.clone() },
        AccountSignature { signer: good.signer.replace('1', "\"1"), ..good.clone() },
    ];
    for (i, bad) in cases.iter().enumerate() {
        assert!(check(&handover(), bad).is_err(), "case {i}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
        let _ = Order::from_cbor(&bytes);
        let _ = SignedOrder::from_bytes(&bytes);
        let _ = super::judge::OrderEvidence::from_cbor(&bytes);
    }
}
