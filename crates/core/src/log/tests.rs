use std::vec::Vec;

use baton_attest::identity::{Digest32, PlatformId, encode};
use baton_chain::record::Kind;
use proptest::prelude::*;

use super::*;
use crate::cbor::decode_exact;
use crate::keyring::Commitment;

/// The inputs and roots that the reference implementation of RFC 6962 tests itself with.
const INPUTS: [&str; 8] = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
];
const ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

fn reference_leaves() -> Vec<LogHash> {
    INPUTS
        .iter()
        .map(|hex| leaf_hash(&hex::decode(hex).unwrap()))
        .collect()
}

fn leaves(count: usize) -> Vec<LogHash> {
    (0..count).map(|i| leaf_hash(&i.to_be_bytes())).collect()
}

fn root(leaves: &[LogHash]) -> LogHash {
    LogState::from_leaves(leaves).root()
}

#[test]
fn roots_are_those_of_the_rfc_6962_reference_vectors() {
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(hex::encode(empty_root().0), empty);
    assert_eq!(LogState::new().root(), empty_root());
    for (n, expected) in ROOTS.iter().enumerate() {
        assert_eq!(hex::encode(root(&reference_leaves()[..=n]).0), *expected);
    }
}

#[test]
fn proofs_are_those_of_the_rfc_6962_reference_vectors() {
    let all = reference_leaves();
    let hashes = |list: &[LogHash]| list.iter().map(|h| hex::encode(h.0)).collect::<Vec<_>>();
    let path = inclusion_proof(&all, 0).unwrap();
    let expected = [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ];
    assert_eq!(hashes(&path), expected);
    let path = consistency_proof(&all, 6).unwrap();
    let expected = [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ];
    assert_eq!(hashes(&path), expected);
}

#[test]
fn every_proof_of_every_small_log_verifies_and_no_other_does() {
    for size in 1..20 {
        let all = leaves(size);
        let head = root(&all);
        for index in 0..size {
            let proof = inclusion_proof(&all, index).unwrap();
            let check = |leaf, at, proof: &[LogHash]| {
                verify_inclusion(leaf, at, size as u64, &head, proof).is_ok()
            };
            assert!(check(&all[index], index as u64, &proof));
            for other in (0..size).filter(|o| *o != index) {
                assert!(!check(&all[other], index as u64, &proof));
                assert!(!check(&all[index], other as u64, &proof));
            }
            let longer = [&proof[..], &[head]].concat();
            assert!(!check(&all[index], index as u64, &longer));
            if let Some((_, shorter)) = proof.split_last() {
                assert!(!check(&all[index], index as u64, shorter));
            }
        }
        for old in 0..=size {
            let proof = consistency_proof(&all, old).unwrap();
            let old_head = root(&all[..old]);
            let check = |old_head: &LogHash, proof: &[LogHash]| {
                verify_consistency((old as u64, old_head), (size as u64, &head), proof).is_ok()
            };
            assert!(check(&old_head, &proof), "{old} of {size}");
            assert!(!check(&leaf_hash(b"another"), &proof));
            assert!(!check(&old_head, &[&proof[..], &[head]].concat()));
            if let Some((_, shorter)) = proof.split_last() {
                assert!(!check(&old_head, shorter));
            }
        }
    }
}

#[test]
fn a_rewritten_history_is_not_consistent() {
    let mut all = leaves(9);
    let old = root(&all[..6]);
    all[2] = leaf_hash(b"rewritten");
    let proof = consistency_proof(&all, 6).unwrap();
    let got = verify_consistency((6, &old), (9, &root(&all)), &proof);
    assert!(matches!(got, Err(ProofError::Root { .. })));
}

#[test]
fn a_shrunken_log_and_an_index_outside_are_refused() {
    let all = leaves(3);
    let head = root(&all);
    let outside = |asked, size| ProofError::OutOfRange { asked, size };
    assert_eq!(
        verify_consistency((4, &head), (3, &head), &[]),
        Err(outside(4, 3))
    );
    assert_eq!(
        verify_inclusion(&all[0], 3, 3, &head, &[]),
        Err(outside(3, 3))
    );
    assert_eq!(
        verify_inclusion(&all[0], 0, 0, &head, &[]),
        Err(outside(0, 0))
    );
    assert_eq!(inclusion_proof(&all, 3), Err(outside(3, 3)));
    assert_eq!(consistency_proof(&all, 4), Err(outside(4, 3)));
    assert!(verify_consistency((3, &all[0]), (3, &head), &[]).is_err());
    assert!(verify_consistency((0, &head), (3, &head), &[]).is_err());
}

#[test]
fn the_state_survives_encoding_and_a_wrong_number_of_peaks_is_refused() {
    let state = LogState::from_leaves(&leaves(11));
    let bytes = encode(&state);
    assert_eq!(decode_exact::<LogState>(&bytes), Some(state));
    let peaks = leaves(2);
    for size in [1u64, 2, 7] {
        assert_eq!(
            decode_exact::<LogState>(&encode(&(size, peaks.clone()))),
            None
        );
    }
    assert!(decode_exact::<LogState>(&encode(&(5u64, peaks))).is_some());
}

fn digest(byte: u8) -> Digest32 {
    Digest32([byte; 32])
}

/// One entry of every kind, with every fact in the first.
fn one_of_each() -> Vec<LogEntry> {
    let transfer = Kind::Upgrade;
    let plan = || Some("v2".into());
    let events = [
        Event::Genesis {
            commitment: Commitment(digest(1)),
        },
        Event::LegacyImport {
            commitment: Commitment(digest(1)),
            exposed: true,
        },
        Event::BranchStart {
            parent: digest(2),
            size: 5,
            root: LogHash([3; 32]),
            transfer,
        },
        Event::Authorization {
            transfer,
            route: Route::AtX,
            plan: plan(),
            plan_height: Some(100),
            proposal_id: Some(7),
            admitted: None,
        },
        Event::Offer {
            transfer,
            epochs: 2,
        },
        Event::Received {
            transfer: Kind::Join,
            epochs: 2,
        },
        Event::Receipt {
            transfer: Kind::Sync,
        },
        Event::Confirmed {
            transfer: Kind::Rehearsal,
        },
        Event::Activated {
            plan: plan(),
            plan_height: None,
        },
        Event::BarrierMet {
            platforms: 3,
            power_share: None,
        },
        Event::Erased { layer: 0 },
        Event::Superseded {
            plan: "v2".into(),
            by: "v3".into(),
        },
        Event::Revoked { plan: "v2".into() },
        Event::Skipped { plan: "v2".into() },
        Event::ShadowCompared {
            clean: true,
            count: 4,
        },
        Event::Rehearsal {
            as_source: true,
            passed: true,
        },
        Event::Unknown {
            kind: 900,
            body: vec![0xa0],
        },
    ];
    let all_facts = LogFacts {
        height: Some(99),
        epoch: Some(1),
        identity: Some(digest(4)),
        evidence: Some(digest(5)),
        record: Some(digest(6)),
        platform: Some(PlatformId([7; 32])),
        transcript: Some(digest(8)),
    };
    let facts = |seq| {
        if seq == 0 {
            all_facts.clone()
        } else {
            LogFacts::default()
        }
    };
    let numbered = events.into_iter().zip(0..);
    numbered
        .map(|(event, seq)| LogEntry {
            seq,
            facts: facts(seq),
            event,
        })
        .collect()
}

#[test]
fn h04_every_kind_of_entry_is_written_as_frozen_and_read_back() {
    let written: Vec<_> = one_of_each()
        .iter()
        .map(|e| hex::encode(e.to_bytes()))
        .collect();
    let golden: Vec<_> = include_str!("../../tests/golden/log_entries_v1.hex")
        .lines()
        .collect();
    assert_eq!(written, golden);
    for (entry, line) in one_of_each().iter().zip(golden) {
        assert_eq!(
            LogEntry::parse(&hex::decode(line).unwrap()).as_ref(),
            Ok(entry)
        );
    }
}

#[test]
fn h04_entries_of_a_newer_build_stay_readable_and_keep_their_bytes() {
    let unknown = one_of_each().pop().unwrap();
    assert_eq!(unknown.event.name(), None);
    assert_eq!(LogEntry::parse(&unknown.to_bytes()), Ok(unknown));
    // A newer version of a known kind, and an unknown field.
    let mut bytes = one_of_each().remove(10).to_bytes();
    assert_eq!(bytes[..3], [0xa5, 0, 1]);
    (bytes[0], bytes[2]) = (0xa6, 2);
    bytes.extend_from_slice(&[0x18, 50, 1]);
    let got = LogEntry::parse(&bytes).unwrap();
    assert!(matches!(got.event, Event::Unknown { kind: 11, .. }));
}

#[test]
fn a21_malformed_and_oversized_entries_are_refused() {
    assert_eq!(LogEntry::parse(&[]), Err(EntryError::Malformed));
    let got = MAX_ENTRY_LEN + 1;
    assert_eq!(
        LogEntry::parse(&vec![0; got]),
        Err(EntryError::Oversized { got })
    );
    let odd = LogEntry {
        seq: 0,
        facts: LogFacts::default(),
        event: Event::Unknown {
            kind: 1,
            body: vec![0xa0],
        },
    };
    assert_eq!(
        LogEntry::parse(&odd.to_bytes()),
        Err(EntryError::Body { kind: 1 })
    );
}

proptest! {
    #[test]
    fn a21_any_bytes_are_read_or_refused_without_a_panic(bytes: Vec<u8>) {
        let _ = LogEntry::parse(&bytes);
        let _ = decode_exact::<LogState>(&bytes);
    }

    #[test]
    fn a21_cut_or_flipped_entries_never_read_as_the_same_one(which in 0usize..17, at: usize, bit in 0u8..8) {
        let entry = one_of_each().remove(which);
        let mut bytes = entry.to_bytes();
        let at = at % bytes.len();
        prop_assert!(LogEntry::parse(&bytes[..at]).is_err());
        bytes[at] ^= 1 << bit;
        if let Ok(other) = LogEntry::parse(&bytes) {
            prop_assert!(other != entry || bytes[2] != 1, "{other:?}");
        }
    }

    #[test]
    fn any_proof_is_checked_without_a_panic(index: u64, size: u64, old: u64, count in 0usize..70) {
        let proof = leaves(count);
        let head = LogHash([1; 32]);
        prop_assert!(verify_inclusion(&head, index, size, &head, &proof).is_err() || size == 1);
        prop_assert!(verify_consistency((old, &LogHash([2; 32])), (size, &head), &proof).is_err());
    }
}
