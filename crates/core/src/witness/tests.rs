use std::string::String;
use std::vec::Vec;

use super::*;
use crate::log::{LogState, consistency_proof, inclusion_proof, leaf_hash};

const ORIGIN: &str = "baton/test-1/orders";

fn witness(n: u8) -> Cosigner {
    Cosigner::from_seed(&std::format!("w{n}.example/baton"), &[n; 32]).unwrap()
}

fn leaves() -> Vec<LogHash> {
    ["a", "b", "c"].map(|l| leaf_hash(l.as_bytes())).to_vec()
}

fn checkpoint() -> Checkpoint {
    Checkpoint { origin: ORIGIN.into(), size: 3, root: LogState::from_leaves(&leaves()).root() }
}

/// The checkpoint, signed by the log's key, with cosignatures by these witnesses at these dates.
fn note(by: &[(u8, u64)]) -> String {
    let mut note = checkpoint().sign(&crate::note::NoteKey::from_seed(ORIGIN, &[77; 32]));
    by.iter().for_each(|(n, date)| note.push_str(&witness(*n).cosign(&checkpoint().text(), *date)));
    note
}

fn keys() -> Vec<WitnessKey> {
    (1..=4).map(|n| witness(n).vkey()).collect()
}

#[test]
fn h04_a_cosigned_checkpoint_and_its_vkey_are_the_frozen_text() {
    let text = witness(1).vkey().to_string() + "\n" + &note(&[(1, 1_679_315_147)]);
    assert_eq!(text, include_str!("../../tests/golden/cosigned_checkpoint_v1.txt"));
}

#[test]
fn a_vkey_reads_back_and_no_other_text_does() {
    let text = witness(1).vkey().to_string();
    assert_eq!(text.parse::<WitnessKey>(), Ok(witness(1).vkey()));
    let (name, rest) = text.split_once('+').unwrap();
    let (id, key) = rest.split_once('+').unwrap();
    let log_key = std::format!("{name}+{id}+{}", STANDARD.encode([&[1u8][..], witness(1).vkey().public_key()].concat()));
    let weak = WitnessKey { name: name.into(), key: [0; 32] }.to_string();
    for bad in [
        "", name, rest, &std::format!("{name}+{id}"), &std::format!("{name}+{id}+{key}A"), &std::format!("{name}+00000000+{key}"),
        &std::format!("x{text}"), &std::format!(" {text}"), &log_key, &weak,
    ] {
        assert!(bad.parse::<WitnessKey>().is_err(), "{bad}");
    }
    assert!(Cosigner::from_seed("two words", &[1; 32]).is_none());
}

#[test]
fn what_is_signed_is_the_specifications_text() {
    // C2SP tlog-cosignature, Ed25519 signed message.
    let text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    let expected = "cosignature/v1\ntime 1679315147\nexample.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    assert_eq!(signed_text(1_679_315_147, text), expected);
}

#[test]
fn dates_count_as_far_as_w_witnesses_bear_them() {
    let got = Cosigned::verify(&note(&[(1, 100), (2, 300), (3, 200)]), ORIGIN, &keys(), 2).unwrap();
    assert_eq!((got.not_after(), got.not_before()), (200, 200));
    let got = Cosigned::verify(&note(&[(1, 100), (2, 300), (3, 200), (4, 400)]), ORIGIN, &keys(), 2).unwrap();
    assert_eq!((got.not_after(), got.not_before()), (200, 300));
    // One liar among two needed moves neither bound to its own date.
    let got = Cosigned::verify(&note(&[(1, 0), (2, 300), (3, 300)]), ORIGIN, &keys(), 2).unwrap();
    assert_eq!((got.not_after(), got.not_before()), (300, 300));
    let got = Cosigned::verify(&note(&[(1, 300), (2, 300), (3, 1 << 40)]), ORIGIN, &keys(), 2).unwrap();
    assert_eq!((got.not_after(), got.not_before()), (300, 300));
}

#[test]
fn one_witness_counts_once_with_its_earliest_date_and_strangers_do_not() {
    let twice = Cosigned::verify(&note(&[(1, 200), (1, 100)]), ORIGIN, &keys(), 2);
    assert!(matches!(twice, Err(CosignError::TooFew { got: 1, needed: 2, .. })), "{twice:?}");
    let strangers = Cosigned::verify(&note(&[(8, 100), (9, 100), (1, 100)]), ORIGIN, &keys(), 2);
    assert!(matches!(strangers, Err(CosignError::TooFew { got: 1, .. })));
    let got = Cosigned::verify(&note(&[(1, 200), (1, 100), (2, 100)]), ORIGIN, &keys(), 2).unwrap();
    assert_eq!((got.not_after(), got.not_before()), (100, 100));
    assert_eq!(got.witnesses().len(), 2);
}

#[test]
fn a07_a_bad_cosignature_is_skipped_and_named_among_good_ones() {
    let good = note(&[(1, 100), (2, 100)]);
    // The third's line is over another date than it names.
    let line = witness(3).cosign(&checkpoint().text(), 100);
    let (mark, blob) = line.trim_end().rsplit_once(' ').unwrap();
    let mut bytes = STANDARD.decode(blob).unwrap();
    bytes[11] ^= 1;
    let spoiled = std::format!("{good}{mark} {}\n", STANDARD.encode(&bytes));
    assert!(Cosigned::verify(&spoiled, ORIGIN, &keys(), 2).is_ok());
    match Cosigned::verify(&spoiled, ORIGIN, &keys(), 3) {
        Err(e @ CosignError::TooFew { got: 2, .. }) => assert!(e.to_string().contains("w3.example/baton"), "{e}"),
        other => panic!("{other:?}"),
    }
    let cut = std::format!("{good}{mark} {}\n", STANDARD.encode(&bytes[..20]));
    assert!(Cosigned::verify(&cut, ORIGIN, &keys(), 2).is_ok());
}

#[test]
fn another_log_another_text_and_an_undated_signature_are_refused() {
    let good = note(&[(1, 100), (2, 100)]);
    assert!(matches!(Cosigned::verify(&good, "baton/test-2/orders", &keys(), 2), Err(CosignError::OtherLog { .. })));
    let other = good.replace("\n3\n", "\n4\n");
    assert!(matches!(Cosigned::verify(&other, ORIGIN, &keys(), 2), Err(CosignError::TooFew { got: 0, .. })));
    // A witness that signs as a log does, with a key of type 1, has dated nothing.
    let name = "w1.example/baton";
    let undated = checkpoint().sign(&crate::note::NoteKey::from_seed(name, &[1; 32]));
    assert!(matches!(Cosigned::verify(&undated, ORIGIN, &keys(), 1), Err(CosignError::TooFew { got: 0, .. })));
    assert!(Cosigned::verify("", ORIGIN, &keys(), 1).is_err());
    assert!(Cosigned::verify(&good, ORIGIN, &[], 0).is_err(), "no witness, no date");
}

#[test]
fn inclusion_is_checked_under_the_cosigned_root() {
    let got = Cosigned::verify(&note(&[(1, 100), (2, 100)]), ORIGIN, &keys(), 2).unwrap();
    let proof = inclusion_proof(&leaves(), 1).unwrap();
    assert_eq!(got.includes(&leaf_hash(b"b"), 1, &proof), Ok(()));
    assert!(got.includes(&leaf_hash(b"x"), 1, &proof).is_err());
    assert!(got.includes(&leaf_hash(b"b"), 0, &proof).is_err());
    assert!(got.includes(&leaf_hash(b"b"), 3, &proof).is_err());
    let long = std::vec![LogHash([0; 32]); MAX_PROOF_HASHES + 1];
    assert_eq!(got.includes(&leaf_hash(b"b"), 1, &long), Err(CosignError::ProofTooLong { got: long.len() }));
    assert!(consistency_proof(&leaves(), 2).is_ok());
}
