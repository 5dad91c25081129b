//! What crosses the border of the ceremony's program and of the lifeboat, and the evidence of a release, as bytes: version 1 is frozen.
#![cfg(feature = "sim")]

use baton_attest::identity::{Attributes, Identity, Measurement, PLATFORM_SGX, PlatformId, Signer, encode};
use baton_core::ceremony::ShareBox;
use baton_core::hpke_box::SealedBox;
use baton_core::lifeboat::secret::Card;
use baton_core::lifeboat::{ReleaseEvidence, Released};
use baton_core::log::LogHash;
use baton_core::messages::Attestation;
use baton_core::order::notice::LogProof;
use baton_core::shares::{Holder, Holders, Purpose};
use baton_enclave::{ceremony, lifeboat};

fn identity() -> Identity {
    Identity {
        platform_tag: PLATFORM_SGX,
        measurement: Measurement([0x11; 32]),
        signer: Signer([0x22; 32]),
        product_id: 2,
        svn: 1,
        attributes: Attributes { flags: 5, xfrm: 3 },
        misc_select: 0,
        config_id: [0; 64],
        config_svn: 0,
    }
}

fn b(n: u8) -> Vec<u8> {
    vec![n; 2]
}

fn boxed() -> ShareBox {
    ShareBox { version: 1, index: 3, sealed: SealedBox { encapped: b(7), ciphertext: b(8) } }
}

fn card() -> Card {
    Card { version: 1, public_key: b(1), platforms: vec![PlatformId([2; 32]), PlatformId([3; 32])] }
}

fn holders() -> Holders {
    Holders { needed: 2, holders: vec![Holder { name: "ana".into(), recipient: [4; 32] }] }
}

fn proof(index: u64) -> LogProof {
    LogProof { checkpoint: "note\n".into(), index, hashes: vec![LogHash([5; 32])] }
}

fn evidence() -> ReleaseEvidence {
    ReleaseEvidence {
        version: 1,
        transcript: b(1),
        boxes: vec![boxed()],
        escrow: b(2),
        order: b(3),
        first: proof(1),
        second: proof(2),
        consistency: vec![LogHash([6; 32])],
        release: proof(3),
        request: b(4),
        attestation: Attestation::Quoted { quote: b(5), collateral: b(6) },
        platform: PlatformId([7; 32]),
    }
}

fn ceremony_requests() -> Vec<ceremony::Request> {
    use ceremony::Request as R;
    vec![
        R::Status,
        R::New { purpose: Purpose::Signer, holders: holders(), report_target: b(1), network: None },
        R::New { purpose: Purpose::Council, holders: holders(), report_target: b(1), network: Some(b(2).into()) },
        R::Stored { file: b(1) },
        R::Show { report_target: b(1) },
        R::Session { report_target: b(1) },
        R::Sign { measurement: Measurement([9; 32]), product_id: 1, svn: 2, boxes: vec![boxed()], vote: None },
        R::Sign { measurement: Measurement([9; 32]), product_id: 1, svn: 2, boxes: vec![], vote: Some(b(3).into()) },
        R::Reshare { holders: holders(), boxes: vec![boxed()], report_target: b(1), network: None },
    ]
}

fn ceremony_responses() -> Vec<ceremony::Response> {
    use ceremony::Reply as R;
    let reply = |r| ceremony::Response { store: None, reply: Some(r) };
    vec![
        reply(R::Refused { message: "no".into() }),
        reply(R::Status { identity: identity(), transcript: Some(b(1).into()) }),
        reply(R::Dealt { transcript: b(1), report: b(2), files: vec![b(3).into()] }),
        reply(R::Session { session: b(1), report: b(2) }),
        reply(R::Signed { sigstruct: b(1), holders: vec!["ana".into()], skipped: vec!["bo: x".into()] }),
        ceremony::Response { store: Some(ceremony::ToStore { generation: 2, bytes: b(1) }), reply: None },
    ]
}

fn lifeboat_requests() -> Vec<lifeboat::Request> {
    use lifeboat::Request as R;
    let attestation = Attestation::Quoted { quote: b(5), collateral: b(6) };
    vec![
        R::Status,
        R::Found { platforms: vec![PlatformId([2; 32])] },
        R::Stored { file: b(1) },
        R::Card { report_target: b(1) },
        R::Hello,
        R::Ask { hello: b(1), report_target: b(2) },
        R::Give { request: b(1), attestation: attestation.clone(), report_target: b(2) },
        R::Accept { offer: b(1), giver: attestation },
        R::Open { chain_id: "test-1".into(), epoch: 3, report_target: b(1) },
        R::Release { evidence: b(1) },
    ]
}

fn lifeboat_responses() -> Vec<lifeboat::Response> {
    use lifeboat::{Reply as R, Said};
    let reply = |r| lifeboat::Response { store: None, reply: Some(r) };
    let said = || Said { message: b(1), report: b(2) };
    let released = Released { offer: b(1), holders: vec!["ana".into()], skipped: vec!["x".into()], signers: vec!["ada".into()] };
    vec![
        reply(R::Refused { message: "no".into() }),
        reply(R::Status { identity: identity(), card: Some(card()) }),
        reply(R::Done),
        reply(R::Said(said())),
        reply(R::Opened { session: said(), hello: b(3) }),
        reply(R::Released(released)),
        lifeboat::Response { store: Some(b(1)), reply: None },
    ]
}

fn lines<T: minicbor::Encode<()>>(all: &[T]) -> String {
    all.iter().map(|v| hex::encode(encode(v)) + "\n").collect()
}

#[test]
fn h04_the_bytes_of_version_1_are_frozen() {
    let evidence_and_card = lines(&[evidence()]) + &lines(&[card()]);
    let all = lines(&ceremony_requests()) + &lines(&ceremony_responses()) + &lines(&lifeboat_requests()) + &lines(&lifeboat_responses());
    let got = all + &evidence_and_card;
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/programs_v1.txt"), &got).unwrap();
    }
    assert_eq!(got, include_str!("golden/programs_v1.txt"));
}

#[test]
fn h04_what_was_written_reads_back() {
    let exact = |bytes: &[u8]| minicbor::decode::<ReleaseEvidence>(bytes).unwrap();
    assert_eq!(exact(&evidence().to_cbor()), evidence());
    assert_eq!(minicbor::decode::<Card>(&encode(&card())).unwrap(), card());
    for r in ceremony_responses() {
        assert_eq!(minicbor::decode::<ceremony::Response>(&encode(&r)).unwrap(), r);
    }
    for r in lifeboat_responses() {
        assert_eq!(minicbor::decode::<lifeboat::Response>(&encode(&r)).unwrap(), r);
    }
    for r in ceremony_requests() {
        let bytes = encode(&r);
        assert_eq!(encode(&minicbor::decode::<ceremony::Request>(&bytes).unwrap()), bytes);
    }
    for r in lifeboat_requests() {
        let bytes = encode(&r);
        assert_eq!(encode(&minicbor::decode::<lifeboat::Request>(&bytes).unwrap()), bytes);
    }
}

#[test]
fn h04_a_request_of_before_the_network_reads_as_one_without() {
    // [1, purpose, holders, report_target]: what is not there takes no place.
    let before = encode(&ceremony_requests()[1]);
    assert_eq!(before[..2], [0x84, 0x01]);
    assert!(matches!(minicbor::decode(&before), Ok(ceremony::Request::New { network: None, .. })));
}
