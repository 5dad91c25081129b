//! The border between host and enclave as bytes: what version 1 wrote is frozen, what a later one adds is
//! skipped, and what is broken is refused.

use baton_attest::identity::{Attributes, Digest32, Identity, Measurement, PLATFORM_SGX, PlatformId, Signer, encode};
use baton_chain::record::Kind;
use baton_core::context::Alarm;
use baton_core::custody::State;
use baton_core::keeper::emergency::{Emergency, Frozen};
use baton_core::messages::Attestation;
use baton_core::order::OrderKind;
use baton_core::seal::Slot;
use baton_enclave::wire::{
    AttestedReceipt, EmergencyStatus, EscrowStatus, OfferEvidence, Refusal, Reply, Request, Response, SealedFile, Status, TransferStatus, Under,
};

fn identity() -> Identity {
    Identity {
        platform_tag: PLATFORM_SGX,
        measurement: Measurement([0x11; 32]),
        signer: Signer([0x22; 32]),
        product_id: 1,
        svn: 2,
        attributes: Attributes { flags: 5, xfrm: 3 },
        misc_select: 0,
        config_id: [0; 64],
        config_svn: 0,
    }
}

fn file() -> SealedFile {
    SealedFile { slot: Slot::Custody, generation: 7, bytes: vec![1, 2] }
}

fn local() -> Attestation {
    Attestation::Local { report: vec![3] }
}

fn requests() -> Vec<Request> {
    let b = |n: u8| vec![n; 2];
    let offer = |evidence| Request::Offer { request: b(1), attestation: local(), evidence, report_target: Some(b(2)) };
    vec![
        Request::Status,
        Request::Stored { files: vec![file()] },
        Request::Checkpoint { block: b(1) },
        Request::Advance { path: b(1) },
        Request::Genesis { found: vec!["a".into()] },
        Request::ImportLegacy { file: b(1) },
        Request::Inherit { file: b(1) },
        Request::Hello,
        Request::Ask { hello: b(1), kind: Kind::Upgrade, report_target: b(2) },
        offer(OfferEvidence::Ahead(b(4))),
        offer(OfferEvidence::AtX(b(4))),
        offer(OfferEvidence::Record(b(4))),
        offer(OfferEvidence::None),
        Request::Accept { offer: b(1), giver: Some(Attestation::Quoted { quote: b(2), collateral: b(3) }) },
        Request::Accept { offer: b(1), giver: None },
        Request::Challenge { transcript: Digest32([5; 32]) },
        Request::Prove { challenge: b(1), report_target: b(2) },
        Request::Confirm { receipt: b(1), attestation: local() },
        Request::Activate { evidence: b(1) },
        Request::Observe { evidence: b(1) },
        Request::BarrierReceipt { report_target: b(1) },
        Request::Erase { receipts: vec![AttestedReceipt { receipt: b(1), attestation: local() }], power: None },
        Request::Put { under: Under::Seed, name: "n".into(), value: b(1) },
        Request::Locate { under: Under::Canary, name: "n".into(), epoch: 3 },
        Request::Get { under: Under::Seed, name: "n".into(), record: b(1) },
        Request::Log,
        Request::LogStored { size: 9 },
        offer(OfferEvidence::Order(b(4))),
        Request::Command { evidence: b(1) },
        Request::ActivateByOrder { evidence: b(1) },
        Request::OfferDated {
            request: b(1),
            attestation: local(),
            evidence: OfferEvidence::Order(b(4)),
            report_target: None,
            date: b(5),
        },
        Request::Date { nonce: Digest32([5; 32]), proof: b(1) },
        Request::PutPadded { under: Under::Seed, name: "n".into(), value: b(1) },
        Request::Escrow { council_key: b(1), lifeboat_key: b(2) },
    ]
}

fn status() -> Status {
    Status {
        identity: identity(),
        state: State::Confirmed,
        head_height: 10,
        head_hash: Digest32([6; 32]),
        epochs: vec![0, 1],
        commitments: vec![Digest32([7; 32]); 2],
        exposed: vec![0],
        serving: true,
        successor: Some(identity()),
        promised_for: None,
        transfers: vec![TransferStatus {
            kind: Kind::Join,
            transcript: Digest32([8; 32]),
            confirmed: true,
            recorded: false,
        }],
        rehearsed: true,
        rehearsed_as_source: true,
        clean_shadow_upgrades: 2,
        log_size: 11,
        at_x: Some(9),
        plan: None,
        anchors: vec![2, 5],
        platform: PlatformId([9; 32]),
        emergencies: None,
        escrow: None,
    }
}

fn status_after_an_emergency() -> Status {
    let e = Emergency { kind: OrderKind::Handover, sequence: 1, order: Digest32([1; 32]), head: 5 };
    let frozen = Frozen { measurement: Measurement([2; 32]), proposals_through: 7, sequence: 2 };
    let emergencies = EmergencyStatus {
        obeyed: vec![e],
        inherited: vec![e],
        frozen: vec![frozen],
        serves_by: Some(Digest32([3; 32])),
        promised_by: Some(Digest32([4; 32])),
        dated: Some(6),
    };
    Status { emergencies: Some(emergencies), ..status() }
}

fn escrow_status() -> EscrowStatus {
    EscrowStatus { council_key: Digest32([1; 32]), lifeboat_key: Digest32([2; 32]), made: true }
}

fn replies() -> Vec<Reply> {
    vec![
        Reply::Done,
        Reply::Refused(Refusal { check: "c".into(), rule: "r".into(), message: "m".into() }),
        Reply::Status(status()),
        Reply::Message { message: vec![1], report: Some(vec![2]), digest: Digest32([3; 32]) },
        Reply::Record { index: [4; 32], record: vec![5] },
        Reply::Value(vec![6]),
        Reply::Log { first: 1, entries: vec![vec![7].into()], checkpoint: "note".into(), public_key: [8; 32] },
        Reply::Status(status_after_an_emergency()),
        Reply::Status(Status { escrow: Some(escrow_status()), ..status() }),
    ]
}

fn responses() -> Vec<Response> {
    let alarms = vec![Alarm { code: "code".into(), text: "text".into() }];
    let mut out: Vec<Response> =
        replies().into_iter().map(|r| Response { store: Vec::new(), reply: Some(r), alarms: Vec::new() }).collect();
    out.push(Response { store: vec![file()], reply: None, alarms });
    out
}

/// One CBOR value and nothing after it.
fn exact<'b, T: minicbor::Decode<'b, ()>>(bytes: &'b [u8]) -> Option<T> {
    let mut d = minicbor::Decoder::new(bytes);
    let value = d.decode().ok()?;
    (d.position() == bytes.len()).then_some(value)
}

#[test]
fn h04_every_request_and_response_reads_back_what_it_wrote() {
    for r in requests() {
        assert_eq!(exact::<Request>(&encode(&r)), Some(r));
    }
    for r in responses() {
        assert_eq!(exact::<Response>(&encode(&r)), Some(r));
    }
}

#[test]
fn h04_the_bytes_of_version_1_are_frozen() {
    let lines = |all: Vec<Vec<u8>>| all.iter().map(|b| hex::encode(b) + "\n").collect::<String>();
    let got = lines(requests().iter().map(encode).collect()) + &lines(responses().iter().map(encode).collect());
    assert_eq!(got, include_str!("golden/wire_v1.txt"));
}

#[test]
fn h04_a_later_releases_fields_are_skipped() {
    let more = |bytes: &[u8], at: usize| {
        let mut out = bytes.to_vec();
        assert!((0xa0..0xb7).contains(&out[at]), "a map of fewer than 23 entries");
        out[at] += 1;
        out.extend_from_slice(&[0x18, 99, 0x82, 0x01, 0x61, 0x78]); // 99: [1, "x"]
        out
    };
    for r in responses() {
        let bytes = encode(&r);
        assert_eq!(exact::<Response>(&more(&bytes, 0)), Some(r));
    }
    assert_eq!(exact::<Status>(&more(&encode(&status()), 0)), Some(status()));
    assert_eq!(exact::<SealedFile>(&more(&encode(&file()), 0)), Some(file()));
}

#[test]
fn a21_cut_or_changed_bytes_are_refused_or_read_and_never_panic() {
    let mut all: Vec<Vec<u8>> = requests().iter().map(encode).collect();
    all.extend(responses().iter().map(encode));
    for bytes in all {
        for cut in 0..bytes.len() {
            assert!(exact::<Request>(&bytes[..cut]).is_none(), "{cut} of {}", hex::encode(&bytes));
            assert!(exact::<Response>(&bytes[..cut]).is_none(), "{cut} of {}", hex::encode(&bytes));
        }
        for i in 0..bytes.len() {
            for flip in [0x01, 0x20, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[i] ^= flip;
                let _ = (exact::<Request>(&changed), exact::<Response>(&changed));
            }
        }
    }
    for opener in [0x81, 0xa1, 0x9f, 0xbf] {
        assert!(exact::<Request>(&vec![opener; 1 << 20]).is_none());
    }
}
