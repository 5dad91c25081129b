use std::vec::Vec;

use baton_attest::identity::{Attributes, Measurement, PLATFORM_SGX, PlatformId, Signer, flags};
use proptest::prelude::*;

use super::*;
use crate::branch::BranchHead;
use crate::handover::{Payload, Transfer};
use crate::log::LogHash;

fn identity() -> Identity {
    Identity {
        platform_tag: PLATFORM_SGX,
        measurement: Measurement([0x11; 32]),
        signer: Signer([0x22; 32]),
        product_id: 7,
        svn: 3,
        attributes: Attributes { flags: flags::INIT | flags::MODE64BIT, xfrm: 3 },
        misc_select: 0,
        config_id: [0; 64],
        config_svn: 0,
    }
}

fn plan() -> PlanRef {
    PlanRef { name: "enclave-v2".into(), height: 1000, digest: Digest32([0x33; 32]) }
}

fn hello() -> Hello {
    Hello { version: VERSION, nonce: [1; 32], chain_id: "c-1".into(), epoch: 2, source: identity() }
}

fn request() -> HandoverRequest {
    let (nonce, hpke_key) = ([1; 32], vec![4; 8]);
    HandoverRequest { version: VERSION, kind: Kind::Upgrade, chain_id: "c-1".into(), epoch: 2, nonce, hpke_key }
}

fn offer() -> Offer {
    Offer {
        version: VERSION,
        kind: Kind::Join,
        transcript: Digest32([5; 32]),
        source: Digest32([6; 32]),
        authority: Digest32([7; 32]),
        sealed: SealedBox { encapped: vec![8; 5], ciphertext: vec![9; 6] },
    }
}

fn challenge() -> Challenge {
    Challenge { version: VERSION, transcript: Digest32([5; 32]), nonce: [10; 32], source: identity() }
}

fn receipt() -> Receipt {
    Receipt { version: VERSION, transcript: Digest32([5; 32]), nonce: [10; 32], mac: [11; 32] }
}

fn barrier() -> BarrierReceipt {
    BarrierReceipt {
        version: VERSION,
        chain_id: "c-1".into(),
        plan: plan(),
        activated_at: 1000,
        head_height: 1010,
        head_hash: [12; 32],
        rehearsed_as_source: true,
        mac: [13; 32],
    }
}

fn transfer() -> Transfer {
    Transfer {
        kind: Kind::Upgrade,
        transcript: Digest32([5; 32]),
        target: identity(),
        platform: PlatformId([14; 32]),
        record: Some(Digest32([15; 32])),
        confirmed: true,
    }
}

fn payload() -> Payload {
    Payload {
        version: VERSION,
        keyring: vec![16; 4],
        parent: BranchHead { id: Digest32([17; 32]), size: 3, root: LogHash([18; 32]) },
        platform: PlatformId([14; 32]),
        plan: Some(plan()),
        emergencies: None,
    }
}

fn attestations() -> [Attestation; 2] {
    [
        Attestation::Local { report: vec![19; 3] },
        Attestation::Quoted { quote: vec![20; 3], collateral: vec![21; 3] },
    ]
}

/// Every message by name, as this build writes it.
fn all() -> Vec<(&'static str, Vec<u8>)> {
    let [local, quoted] = attestations();
    vec![
        ("hello", hello().to_cbor()),
        ("request", request().to_cbor()),
        ("offer", offer().to_cbor()),
        ("challenge", challenge().to_cbor()),
        ("receipt", receipt().to_cbor()),
        ("barrier receipt", barrier().to_cbor()),
        ("attestation by report", encode(&local)),
        ("attestation by quote", encode(&quoted)),
        ("transfer", encode(&transfer())),
        ("payload", payload().encode().to_vec()),
    ]
}

/// Reads bytes as whatever they may be; what matters is that it returns.
fn read_all(bytes: &[u8]) -> [bool; 9] {
    [
        Hello::from_cbor(bytes).is_ok(),
        HandoverRequest::from_cbor(bytes).is_ok(),
        Offer::from_cbor(bytes).is_ok(),
        Challenge::from_cbor(bytes).is_ok(),
        Receipt::from_cbor(bytes).is_ok(),
        BarrierReceipt::from_cbor(bytes).is_ok(),
        crate::cbor::decode_exact::<Attestation>(bytes).is_some(),
        crate::cbor::decode_exact::<Transfer>(bytes).is_some(),
        crate::cbor::decode_exact::<Payload>(bytes).is_some(),
    ]
}

/// The map with one more entry, under a key that no release uses yet.
fn with_unknown_field(bytes: &[u8]) -> Vec<u8> {
    assert!((0xa0..0xb7).contains(&bytes[0]), "a map of fewer than 23 entries");
    let mut out = bytes.to_vec();
    out[0] += 1;
    out.extend_from_slice(&[0x18, 99, 0x82, 0x01, 0x61, 0x78]); // 99: [1, "x"]
    out
}

#[test]
fn h04_every_message_reads_back_what_it_wrote() {
    assert_eq!(Hello::from_cbor(&hello().to_cbor()), Ok(hello()));
    assert_eq!(HandoverRequest::from_cbor(&request().to_cbor()), Ok(request()));
    assert_eq!(Offer::from_cbor(&offer().to_cbor()), Ok(offer()));
    assert_eq!(Challenge::from_cbor(&challenge().to_cbor()), Ok(challenge()));
    assert_eq!(Receipt::from_cbor(&receipt().to_cbor()), Ok(receipt()));
    assert_eq!(BarrierReceipt::from_cbor(&barrier().to_cbor()), Ok(barrier()));
    for a in attestations() {
        assert_eq!(crate::cbor::decode_exact(&encode(&a)), Some(a));
    }
    assert_eq!(crate::cbor::decode_exact(&encode(&transfer())), Some(transfer()));
    let back: Payload = crate::cbor::decode_exact(&payload().encode()).unwrap();
    assert_eq!(back.encode(), payload().encode());
}

#[test]
fn h04_a_later_releases_fields_are_skipped() {
    assert_eq!(Hello::from_cbor(&with_unknown_field(&hello().to_cbor())), Ok(hello()));
    assert_eq!(HandoverRequest::from_cbor(&with_unknown_field(&request().to_cbor())), Ok(request()));
    assert_eq!(Offer::from_cbor(&with_unknown_field(&offer().to_cbor())), Ok(offer()));
    assert_eq!(Challenge::from_cbor(&with_unknown_field(&challenge().to_cbor())), Ok(challenge()));
    assert_eq!(Receipt::from_cbor(&with_unknown_field(&receipt().to_cbor())), Ok(receipt()));
    assert_eq!(BarrierReceipt::from_cbor(&with_unknown_field(&barrier().to_cbor())), Ok(barrier()));
    let back: Transfer = crate::cbor::decode_exact(&with_unknown_field(&encode(&transfer()))).unwrap();
    assert_eq!(back, transfer());
    let back: Payload = crate::cbor::decode_exact(&with_unknown_field(&payload().encode())).unwrap();
    assert_eq!(back.encode(), payload().encode());
}

#[test]
fn h04_the_bytes_of_version_1_are_frozen() {
    let got: std::string::String =
        all().iter().map(|(name, bytes)| std::format!("{name}: {}\n", hex::encode(bytes))).collect();
    assert_eq!(got, include_str!("../../tests/golden/messages_v1.txt"));
}

#[test]
fn h04_the_frozen_bytes_of_version_1_are_still_read() {
    for (line, expected) in include_str!("../../tests/golden/messages_v1.txt").lines().zip(all()) {
        let (name, bytes) = line.split_once(": ").unwrap();
        let bytes = hex::decode(bytes).unwrap();
        assert_eq!(name, expected.0);
        assert!(read_all(&bytes).contains(&true), "{name}");
    }
}

#[test]
fn a21_truncated_prolonged_and_oversized_messages_are_refused() {
    for (name, bytes) in all() {
        for cut in 0..bytes.len() {
            assert_eq!(read_all(&bytes[..cut]), [false; 9], "{name} cut at {cut}");
        }
        assert_eq!(read_all(&[&bytes[..], &[0]].concat()), [false; 9], "{name} and a byte more");
    }
    let long = [hello().to_cbor(), vec![0; MAX_MESSAGE_BYTES]].concat();
    assert!(matches!(Hello::from_cbor(&long), Err(MessageError::Oversized { .. })));
}

#[test]
fn h04_a_newer_or_no_version_is_named_and_refused() {
    for got in [0, VERSION + 1, 255] {
        let bytes = Hello { version: got, ..hello() }.to_cbor();
        assert_eq!(Hello::from_cbor(&bytes), Err(MessageError::Version { what: Hello::NAME, got }));
        assert!(Receipt::from_cbor(&Receipt { version: got, ..receipt() }.to_cbor()).is_err());
        assert!(BarrierReceipt::from_cbor(&BarrierReceipt { version: got, ..barrier() }.to_cbor()).is_err());
        assert!(Offer::from_cbor(&Offer { version: got, ..offer() }.to_cbor()).is_err());
    }
}

#[test]
fn a21_nesting_without_end_is_no_message() {
    for opener in [0x81, 0xa1, 0x9f, 0xbf, 0xc1, 0xd8] {
        assert_eq!(read_all(&vec![opener; 100_000]), [false; 9]);
        let in_unknown = [&[0xa1, 0x18, 99][..], &vec![opener; 100_000]].concat();
        assert_eq!(read_all(&in_unknown), [false; 9]);
    }
}

#[test]
fn a15_the_mac_of_a_barrier_receipt_covers_every_field_but_itself() {
    let base = barrier();
    let edits: [fn(&mut BarrierReceipt); 6] = [
        |r| r.chain_id.push('x'),
        |r| r.plan.digest = Digest32([0; 32]),
        |r| r.activated_at += 1,
        |r| r.head_height += 1,
        |r| r.head_hash = [0; 32],
        |r| r.rehearsed_as_source = false,
    ];
    for (i, edit) in edits.iter().enumerate() {
        let mut other = base.clone();
        edit(&mut other);
        assert_ne!(other.mac_input(), base.mac_input(), "edit {i}");
    }
    assert_eq!(BarrierReceipt { mac: [0; 32], ..base.clone() }.mac_input(), base.mac_input());
}

#[test]
fn a18_a_transcript_is_bound_to_each_of_its_parts() {
    let d = |b| Digest32([b; 32]);
    let base = transcript(Kind::Upgrade, &d(1), &d(2), &d(3), &d(4));
    let others = [
        transcript(Kind::Rehearsal, &d(1), &d(2), &d(3), &d(4)),
        transcript(Kind::Upgrade, &d(9), &d(2), &d(3), &d(4)),
        transcript(Kind::Upgrade, &d(1), &d(9), &d(3), &d(4)),
        transcript(Kind::Upgrade, &d(1), &d(2), &d(9), &d(4)),
        transcript(Kind::Upgrade, &d(1), &d(2), &d(3), &d(9)),
        transcript(Kind::Upgrade, &d(2), &d(1), &d(3), &d(4)),
    ];
    assert!(others.iter().all(|t| *t != base));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn a21_changed_messages_never_panic(which in 0..10usize, at in any::<prop::sample::Index>(), bit in 0..8u8, cut in any::<prop::sample::Index>()) {
        let (_, mut bytes) = all().swap_remove(which);
        let i = at.index(bytes.len());
        bytes[i] ^= 1 << bit;
        read_all(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        read_all(&bytes);
    }

    #[test]
    fn a21_random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        read_all(&bytes);
    }
}
