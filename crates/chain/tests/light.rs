//! The light client's rules on signed test chains: thresholds, time, chain ids, anchors, and one test for every field.

mod common;

use baton_chain::light::{
    LightBlock, LightClient, LightError, Now, Path, StepParams, TrustedHeader, verify_step,
};
use common::*;
use proptest::prelude::*;
use prost::Message;
use tendermint_proto::v0_38::{crypto as pbc, types as pb};

fn params() -> StepParams {
    StepParams {
        trusting_period: Some(std::time::Duration::from_secs(PERIOD as u64)),
        trust_threshold: (1, 3),
        now: Now::OfTheHeader,
        adjacent_age_limit: false,
    }
}

fn trust(block: &LightBlock) -> TrustedHeader {
    let chain_id = pb::SignedHeader::decode(block.signed_header.as_slice())
        .unwrap()
        .header
        .unwrap()
        .chain_id;
    TrustedHeader::from_checkpoint(&chain_id, &block.untrusted_checkpoint().unwrap(), block)
        .unwrap()
}

fn step(from: &LightBlock, to: &LightBlock) -> Result<TrustedHeader, LightError> {
    verify_step(&trust(from), from.next_validators.as_deref(), to, &params())
}

fn client(block: &LightBlock) -> LightClient {
    LightClient::from_checkpoint(&policy_of("test-1", block, PERIOD), block).unwrap()
}

#[test]
fn a05_exactly_two_thirds_is_refused() {
    let from = make(1, 0, &vals(&[1, 1, 1])).light_block();
    let mut to = make(2, 10, &vals(&[1, 1, 1]));
    to.signs = |i| i < 2;
    assert_eq!(
        step(&from, &to.light_block()),
        Err(LightError::NotEnoughSigned {
            signed: 2,
            total: 3
        })
    );
    to.signs = |_| true;
    assert_eq!(step(&from, &to.light_block()).unwrap().height(), 2);
}

#[test]
fn a05_exactly_one_third_of_the_trusted_power_is_refused_for_a_skip() {
    let from = make(1, 0, &vals(&[2, 2, 2])).light_block();
    // One of three stays, with new ones beside it.
    let set = [vec![val(0, 2)], (10..14).map(|n| val(n, 2)).collect()].concat();
    let to = make(5, 10, &set);
    let refused = LightError::NotEnoughTrust {
        signed: 2,
        total: 6,
        numerator: 1,
        denominator: 3,
    };
    assert_eq!(step(&from, &to.light_block()), Err(refused));
    let set = [
        vec![val(0, 2), val(1, 1)],
        (10..14).map(|n| val(n, 2)).collect(),
    ]
    .concat();
    assert!(step(&from, &make(5, 10, &set).light_block()).is_ok());
}

#[test]
fn a05_the_largest_powers_do_not_overflow() {
    let most = i64::MAX as u64 / 8;
    let third = most / 3;
    let set = vals(&[third, third, third]);
    let from = make(1, 0, &set).light_block();
    let mut to = make(2, 10, &set);
    to.signs = |i| i < 2;
    assert!(matches!(
        step(&from, &to.light_block()),
        Err(LightError::NotEnoughSigned { .. })
    ));
    to.signs = |_| true;
    assert!(step(&from, &to.light_block()).is_ok());
    let too_much = pb_set(&vals(&[most, most])).encode_to_vec();
    assert!(matches!(
        baton_chain::light::validator_set_hash(&too_much),
        Err(LightError::Malformed { .. })
    ));
}

/// A block of `set` at height 2 that only those signed whose flag is set.
fn partly_signed(set: &[Val], signed: &[bool]) -> LightBlock {
    let mut block = make(2, 10, set).light_block();
    let mut raw = pb::SignedHeader::decode(block.signed_header.as_slice()).unwrap();
    let absent: Vec<_> = set
        .iter()
        .zip(signed)
        .filter(|(_, s)| !**s)
        .map(|(v, _)| address(v))
        .collect();
    for entry in &mut raw.commit.as_mut().unwrap().signatures {
        if absent.contains(&entry.validator_address) {
            *entry = pb::CommitSig {
                block_id_flag: 1,
                ..Default::default()
            };
        }
    }
    block.signed_header = raw.encode_to_vec();
    block
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a05_a_header_is_accepted_exactly_when_more_than_two_thirds_signed(
        signers in proptest::collection::vec(1u64..1_000_000_000_000, 1..8),
        extra in 0u64..3,
        others in proptest::collection::vec(1u64..1_000_000_000_000, 0..3),
    ) {
        // The signers hold two thirds exactly, then up to two units more; or some random others stay away too.
        let half: u64 = signers.iter().sum();
        let mut powers: Vec<_> = signers.iter().map(|p| p * 2).collect();
        powers[0] += extra;
        let signed: u64 = powers.iter().sum();
        let mut flags = vec![true; powers.len()];
        powers.push(half);
        powers.extend(&others);
        flags.resize(powers.len(), false);
        let total: u64 = powers.iter().sum();
        let set = vals(&powers);
        let result = step(&make(1, 0, &set).light_block(), &partly_signed(&set, &flags));
        let expected = u128::from(signed) * 3 > u128::from(total) * 2;
        prop_assert_eq!(expected, others.is_empty() && extra > 0);
        prop_assert_eq!(result.is_ok(), expected, "{} of {}: {:?}", signed, total, result);
    }
}

#[test]
fn h19_adjacent_steps_have_no_age_limit_and_skips_do() {
    let set = vals(&[1, 1, 1, 1]);
    let from = make(1, 0, &set).light_block();
    let old = 400 * DAY;
    assert!(step(&from, &make(2, old, &set).light_block()).is_ok());
    assert!(step(&from, &make(3, PERIOD - 1, &set).light_block()).is_ok());
    assert!(matches!(
        step(&from, &make(3, PERIOD, &set).light_block()),
        Err(LightError::Expired { .. })
    ));
    assert!(matches!(
        step(&from, &make(3, old, &set).light_block()),
        Err(LightError::Expired { .. })
    ));
}

#[test]
fn a12a_a_fork_beyond_one_trusting_period_is_refused() {
    let set = vals(&[1, 1, 1, 1]);
    let mut c = client(&make(1, 0, &set).light_block());
    let fork = make(1000, PERIOD + 1, &set).light_block();
    let result = c.advance(&path(&make(1, 0, &set).light_block(), &[fork]));
    assert!(matches!(result, Err(LightError::Expired { .. })));
    assert_eq!(c.head().height(), 1);
}

#[test]
fn h03_a_new_chain_id_needs_more_than_two_thirds_of_the_last_trusted_power() {
    let from = make(1, 0, &vals(&[1, 1, 1])).light_block();
    let renamed = |set: &[Val], height| {
        let mut m = make(height, 10, set);
        m.chain_id = "test-2".into();
        m.light_block()
    };
    // All of a set that holds two thirds of the trusted power signed: enough for a skip, not for a new name.
    let two = [val(0, 1), val(1, 1)];
    assert!(step(&from, &make(9, 10, &two).light_block()).is_ok());
    let refused = LightError::NotEnoughTrust {
        signed: 2,
        total: 3,
        numerator: 2,
        denominator: 3,
    };
    assert_eq!(step(&from, &renamed(&two, 9)), Err(refused));
    let header = step(&from, &renamed(&vals(&[1, 1, 1]), 9)).unwrap();
    assert_eq!(header.chain_id(), "test-2");
    assert_eq!(
        step(&from, &renamed(&vals(&[1, 1, 1]), 2))
            .unwrap()
            .chain_id(),
        "test-2"
    );
    // A renamed header with signatures made for the old name.
    let mut raw = make(2, 10, &vals(&[1, 1, 1]));
    let mut header = raw.signed_header().header.unwrap();
    header.chain_id = "test-2".into();
    raw.chain_id = "test-1".into();
    let block = LightBlock {
        signed_header: raw.sign(header).encode_to_vec(),
        ..raw.light_block()
    };
    assert!(matches!(
        step(&from, &block),
        Err(LightError::BadSignature { .. })
    ));
}

#[test]
fn a_skip_needs_the_set_after_the_trusted_header_and_exactly_that_one() {
    let set = vals(&[1, 1, 1]);
    let from = trust(&make(1, 0, &set).light_block());
    let to = make(5, 10, &set).light_block();
    let without = verify_step(&from, None, &to, &params());
    assert_eq!(
        without,
        Err(LightError::MissingNextValidators { from: 1, to: 5 })
    );
    let other = pb_set(&vals(&[1, 1, 2])).encode_to_vec();
    let wrong = verify_step(&from, Some(&other), &to, &params());
    assert!(matches!(
        wrong,
        Err(LightError::NextValidatorsHash { height: 1, .. })
    ));
}

#[test]
fn an_adjacent_header_needs_the_set_that_was_announced() {
    let from = make(1, 0, &vals(&[1, 1, 1])).light_block();
    let to = make(2, 10, &vals(&[1, 1, 2])).light_block();
    assert!(matches!(
        step(&from, &to),
        Err(LightError::NextValidatorsHash { height: 1, .. })
    ));
}

#[test]
fn height_and_time_only_grow() {
    let set = vals(&[1, 1, 1]);
    let from = make(5, 100, &set).light_block();
    for height in [1, 4, 5] {
        let got = height as u64;
        let result = step(&from, &make(height, 200, &set).light_block());
        assert_eq!(result, Err(LightError::NotForward { trusted: 5, got }));
    }
    for (height, secs) in [(6, 100), (6, 99), (9, 100)] {
        let result = step(&from, &make(height, secs, &set).light_block());
        assert!(
            matches!(result, Err(LightError::TimeNotForward { .. })),
            "{result:?}"
        );
    }
}

type Edit = fn(&mut pb::SignedHeader, &mut pb::ValidatorSet, &mut Option<pb::ValidatorSet>);

fn edited(block: &LightBlock, edit: Edit) -> LightBlock {
    let mut header = pb::SignedHeader::decode(block.signed_header.as_slice()).unwrap();
    let mut set = pb::ValidatorSet::decode(block.validators.as_slice()).unwrap();
    let mut next = block
        .next_validators
        .as_deref()
        .map(|b| pb::ValidatorSet::decode(b).unwrap());
    edit(&mut header, &mut set, &mut next);
    LightBlock {
        signed_header: header.encode_to_vec(),
        validators: set.encode_to_vec(),
        next_validators: next.map(|n| n.encode_to_vec()),
    }
}

fn edits() -> Vec<(&'static str, Edit)> {
    macro_rules! header { ($($name:ident $(. $more:ident)* = $value:expr;)*) => { vec![$((
        concat!("header ", stringify!($name)),
        (|h, _, _| h.header.as_mut().unwrap().$name$(.as_mut().unwrap().$more)* = $value) as Edit,
    )),*] } }
    let mut all = header! {
        version.app = 7; version.block = 12; chain_id = "test-9".into(); height = 7; time.nanos = 6; time.seconds = 11;
        last_block_id = None; last_commit_hash = vec![0; 32]; data_hash = vec![0; 32]; validators_hash = vec![0; 32];
        next_validators_hash = vec![0; 32]; consensus_hash = vec![0; 32]; app_hash = vec![0; 32];
        last_results_hash = vec![0; 32]; evidence_hash = vec![0; 32]; proposer_address = vec![0; 20];
    };
    let others: Vec<(&'static str, Edit)> = vec![
        ("no header", |h, _, _| h.header = None),
        ("no commit", |h, _, _| h.commit = None),
        ("commit height", |h, _, _| {
            h.commit.as_mut().unwrap().height = 7
        }),
        ("commit round", |h, _, _| {
            h.commit.as_mut().unwrap().round = 2
        }),
        ("commit hash", |h, _, _| {
            h.commit.as_mut().unwrap().block_id.as_mut().unwrap().hash = vec![0; 32]
        }),
        ("commit parts", |h, _, _| {
            h.commit
                .as_mut()
                .unwrap()
                .block_id
                .as_mut()
                .unwrap()
                .part_set_header
                .as_mut()
                .unwrap()
                .hash = vec![0; 32];
        }),
        ("signature bit", |h, _, _| {
            h.commit.as_mut().unwrap().signatures[0].signature[40] ^= 1
        }),
        ("signature s not canonical", |h, _, _| {
            h.commit.as_mut().unwrap().signatures[0].signature[63] |= 0xe0
        }),
        ("signature length", |h, _, _| {
            h.commit.as_mut().unwrap().signatures[0]
                .signature
                .truncate(63)
        }),
        ("signature empty", |h, _, _| {
            h.commit.as_mut().unwrap().signatures[0].signature.clear()
        }),
        ("vote time", |h, _, _| {
            h.commit.as_mut().unwrap().signatures[0]
                .timestamp
                .as_mut()
                .unwrap()
                .nanos += 1
        }),
        ("vote flag nil", |h, _, _| {
            h.commit.as_mut().unwrap().signatures[0].block_id_flag = 3
        }),
        ("vote flag unknown", |h, _, _| {
            h.commit.as_mut().unwrap().signatures[0].block_id_flag = 9
        }),
        ("voter outside the set", |h, _, _| {
            h.commit.as_mut().unwrap().signatures[0].validator_address = vec![0; 20]
        }),
        ("one signer twice", |h, _, _| {
            let s = &mut h.commit.as_mut().unwrap().signatures;
            s[1] = s[0].clone();
        }),
        ("a signature missing", |h, _, _| {
            drop(h.commit.as_mut().unwrap().signatures.pop())
        }),
        ("a signature too many", |h, _, _| {
            let s = &mut h.commit.as_mut().unwrap().signatures;
            s.push(pb::CommitSig {
                block_id_flag: 1,
                ..Default::default()
            });
        }),
        ("no signatures", |h, _, _| {
            h.commit.as_mut().unwrap().signatures.clear()
        }),
        ("all absent", |h, _, _| {
            for s in &mut h.commit.as_mut().unwrap().signatures {
                *s = pb::CommitSig {
                    block_id_flag: 1,
                    ..Default::default()
                };
            }
        }),
        ("set power", |_, s, _| s.validators[0].voting_power += 1),
        ("set key", |_, s, _| {
            s.validators[0].pub_key = s.validators[1].pub_key.clone()
        }),
        ("set address", |_, s, _| s.validators[0].address[0] ^= 1),
        ("set shorter", |_, s, _| drop(s.validators.pop())),
        ("one validator twice", |_, s, _| {
            s.validators.push(s.validators[0].clone())
        }),
        ("set empty", |_, s, _| s.validators.clear()),
        ("negative power", |_, s, _| {
            s.validators[0].voting_power = -1
        }),
        ("next set power", |_, _, n| {
            n.as_mut().unwrap().validators[0].voting_power += 1
        }),
        ("next set empty", |_, _, n| {
            n.as_mut().unwrap().validators.clear()
        }),
    ];
    all.extend(others);
    all
}

#[test]
fn every_field_of_header_commit_and_sets_is_bound() {
    let set = vals(&[40, 30, 20]);
    let from = make(1, 0, &set).light_block();
    for height in [2, 6] {
        let mut good = make(height, 10, &set);
        good.last_block_hash = Some([8; 32]);
        let good = good.light_block();
        assert!(step(&from, &good).is_ok());
        for (name, edit) in edits() {
            let bad = edited(&good, edit);
            assert!(
                step(&from, &bad).is_err(),
                "{name} at height {height} was accepted"
            );
        }
    }
}

#[test]
fn errors_name_what_failed() {
    let set = vals(&[40, 30, 20]);
    let from = make(1, 0, &set).light_block();
    let good = make(2, 10, &set).light_block();
    let of = |name: &str| {
        step(
            &from,
            &edited(&good, edits().iter().find(|(n, _)| *n == name).unwrap().1),
        )
        .unwrap_err()
    };
    assert!(matches!(
        of("signature bit"),
        LightError::BadSignature { height: 2, .. }
    ));
    assert!(matches!(
        of("one signer twice"),
        LightError::DuplicateValidator { what: "commit", .. }
    ));
    assert!(matches!(
        of("one validator twice"),
        LightError::DuplicateValidator {
            what: "validator set",
            ..
        }
    ));
    assert!(matches!(
        of("a signature missing"),
        LightError::SignatureCount {
            expected: 3,
            got: 2,
            ..
        }
    ));
    assert!(matches!(
        of("voter outside the set"),
        LightError::UnknownSigner { .. }
    ));
    assert!(matches!(
        of("commit hash"),
        LightError::CommitForOther { .. }
    ));
    assert!(matches!(of("set power"), LightError::ValidatorsHash { .. }));
    assert!(matches!(
        of("next set power"),
        LightError::NextValidatorsHash { height: 2, .. }
    ));
    assert!(matches!(of("all absent"), LightError::NoSignatures { .. }));
}

#[test]
fn validator_keys_other_than_ed25519_are_refused_by_name() {
    let set = vals(&[1, 1, 1]);
    let from = make(1, 0, &set).light_block();
    let good = make(2, 10, &set).light_block();
    let secp: Edit = |_, s, _| {
        s.validators[1].pub_key = Some(pbc::PublicKey {
            sum: Some(pbc::public_key::Sum::Secp256k1(vec![2; 33])),
        });
    };
    let unknown: Edit = |_, s, _| s.validators[2].pub_key = Some(pbc::PublicKey { sum: None });
    assert_eq!(
        step(&from, &edited(&good, secp)),
        Err(LightError::KeyType { index: 1 })
    );
    assert_eq!(
        step(&from, &edited(&good, unknown)),
        Err(LightError::KeyType { index: 2 })
    );
}

#[test]
fn a21_oversize_truncated_and_foreign_bytes_are_refused() {
    let set = vals(&[1, 1, 1]);
    let from = make(1, 0, &set).light_block();
    let good = make(2, 10, &set).light_block();
    for cut in 0..good.signed_header.len() {
        let block = LightBlock {
            signed_header: good.signed_header[..cut].to_vec(),
            ..good.clone()
        };
        assert!(step(&from, &block).is_err(), "cut at {cut}");
    }
    let huge = LightBlock {
        validators: vec![0; 300 * 1024],
        ..good.clone()
    };
    assert!(matches!(
        step(&from, &huge),
        Err(LightError::TooLarge { .. })
    ));
    let many: Edit = |_, s, _| s.validators = vec![Default::default(); 1001];
    assert!(matches!(
        step(&from, &edited(&good, many)),
        Err(LightError::TooLarge {
            limit: 1000,
            got: 1001,
            ..
        })
    ));
    let end: Edit = |h, _, _| {
        h.header.as_mut().unwrap().height = i64::MAX;
        h.commit.as_mut().unwrap().height = i64::MAX;
    };
    assert!(matches!(
        step(&from, &edited(&good, end)),
        Err(LightError::Malformed { .. })
    ));
}

#[test]
fn h02_unknown_fields_of_the_messages_are_skipped() {
    let set = vals(&[1, 1, 1]);
    let from = make(1, 0, &set).light_block();
    let mut good = make(2, 10, &set).light_block();
    let unknown = [0xc2, 0x3e, 3, 1, 2, 3];
    good.signed_header.extend(unknown);
    good.validators.extend(unknown);
    assert!(step(&from, &good).is_ok());
}

/// Heights 1.. with a day between them.
fn chain(set: &[Val], heights: std::ops::RangeInclusive<i64>) -> Vec<LightBlock> {
    let mut last = None;
    heights
        .map(|h| {
            let mut m = make(h, h * DAY, set);
            m.last_block_hash = last;
            let block = m.light_block();
            last = Some(block.untrusted_checkpoint().unwrap().hash);
            block
        })
        .collect()
}

#[test]
fn a_path_is_verified_in_one_batch_and_one_bad_signature_stops_it() {
    let blocks = chain(&vals(&[3, 3, 3, 3]), 1..=20);
    let mut c = client(&blocks[0]);
    let mut bad = blocks.clone();
    bad[12] = edited(&bad[12], |h, _, _| {
        h.commit.as_mut().unwrap().signatures[2].signature[1] ^= 1
    });
    let result = c.advance(&path(&blocks[0], &bad[1..])).cloned();
    assert!(
        matches!(result, Err(LightError::BadSignature { height: 13, .. })),
        "{result:?}"
    );
    assert_eq!(c.head().height(), 1, "nothing moves on an error");
    assert_eq!(
        c.advance(&path(&blocks[0], &blocks[1..])).unwrap().height(),
        20
    );
    assert_eq!(
        c.advance(&path(&blocks[0], &blocks[19..]))
            .unwrap()
            .height(),
        20,
        "a repeated call is harmless"
    );
}

#[test]
fn the_head_only_moves_forward_and_a_fork_at_the_head_is_named() {
    let set = vals(&[3, 3, 3, 3]);
    let blocks = chain(&set, 1..=10);
    let mut c = client(&blocks[0]);
    c.advance(&path(&blocks[0], &blocks[5..])).unwrap();
    assert!(matches!(
        c.advance(&path(&blocks[0], &blocks[3..4])),
        Err(LightError::NotForward {
            trusted: 10,
            got: 4
        })
    ));
    assert!(matches!(
        c.advance(&Path::default()),
        Err(LightError::EmptyPath)
    ));
    let mut fork = make(10, 10 * DAY, &set);
    fork.app_hash = vec![1; 32];
    let result = c.advance(&path(&blocks[0], &[fork.light_block()])).cloned();
    assert!(
        matches!(result, Err(LightError::Conflict { height: 10, .. })),
        "{result:?}"
    );
}

#[test]
fn anchors_stand_half_a_trusting_period_apart_and_show_any_height() {
    let blocks = chain(&vals(&[3, 3, 3, 3]), 1..=60);
    let mut c = client(&blocks[0]);
    c.advance(&path(&blocks[0], &blocks[1..])).unwrap();
    let heights: Vec<_> = c.anchors().iter().map(TrustedHeader::height).collect();
    assert_eq!(heights, [1, 8, 15, 22, 29, 36, 43, 50, 57]);
    let at = |h: usize| blocks[h - 1].clone();
    assert_eq!(c.start_for(33).unwrap().height(), 29);
    let shown = c.show(&path(&at(29), &[at(33), at(34)])).unwrap();
    assert_eq!(
        shown.iter().map(TrustedHeader::height).collect::<Vec<_>>(),
        [33, 34]
    );
    assert_eq!(c.head().height(), 60, "the head does not move");
    assert_eq!(c.show(&path(&at(29), &[at(29)])).unwrap()[0].height(), 29);
    // From an older start, the set that the host brings is not the nearest anchor's when sets changed; here they are equal.
    assert!(c.show(&path(&at(1), &[at(33)])).is_ok());
    let mut fork = make(36, 36 * DAY, &vals(&[3, 3, 3, 3]));
    fork.app_hash = vec![1; 32];
    assert!(matches!(
        c.show(&path(&at(29), &[fork.light_block()])),
        Err(LightError::Conflict { height: 36, .. })
    ));
}

#[test]
fn an_old_set_does_not_speak_where_a_newer_anchor_is_known() {
    let (old, new) = (
        vals(&[3, 3, 3]),
        (10..13).map(|n| val(n, 3)).collect::<Vec<_>>(),
    );
    let first = make(1, DAY, &old).light_block();
    let mut change = make(2, 2 * DAY, &old);
    change.next = new.clone();
    let later = make(3, 10 * DAY, &new).light_block();
    let mut c = client(&first);
    c.advance(&path(&first, &[change.light_block(), later.clone()]))
        .unwrap();
    assert_eq!(c.anchors().len(), 2);
    // The old set signs a header above the anchor: from the checkpoint it would pass, from the anchor it does not.
    let forged = make(5, 11 * DAY, &old).light_block();
    assert!(step(&first, &forged).is_ok());
    assert!(matches!(
        c.show(&path(&first, std::slice::from_ref(&forged))),
        Err(LightError::NextValidatorsHash { .. })
    ));
    assert!(matches!(
        c.show(&path(&later, std::slice::from_ref(&forged))),
        Err(LightError::NotEnoughTrust { signed: 0, .. })
    ));
    // Nor through a forged block below the anchor.
    let below = make(2, 2 * DAY, &old).light_block();
    assert!(step(&below, &forged).is_ok());
    let result = c.show(&path(&first, &[below, forged]));
    assert!(
        matches!(
            result,
            Err(LightError::NextValidatorsHash { height: 3, .. })
        ),
        "{result:?}"
    );
}

#[test]
fn a_header_is_shown_by_the_hash_in_the_next_one() {
    let blocks = chain(&vals(&[3, 3, 3]), 1..=5);
    let mut c = client(&blocks[0]);
    c.advance(&path(&blocks[0], &blocks[4..])).unwrap();
    let fourth = LightClient::linked(&blocks[3], c.head()).unwrap();
    assert_eq!(
        (fourth.height(), Some(fourth.hash())),
        (4, c.head().last_block_hash())
    );
    assert!(matches!(
        LightClient::linked(&blocks[2], c.head()),
        Err(LightError::NotLinked { height: 5, .. })
    ));
    let unlinked = trust(&make(5, 5 * DAY, &vals(&[1])).light_block());
    assert!(LightClient::linked(&blocks[3], &unlinked).is_err());
}

#[test]
fn nothing_below_the_checkpoint_is_shown() {
    let blocks = chain(&vals(&[3, 3, 3]), 1..=5);
    let c = client(&blocks[2]);
    let result = c.show(&path(&blocks[0], &blocks[1..2]));
    assert_eq!(
        result,
        Err(LightError::BeforeCheckpoint { first: 3, got: 2 })
    );
}

#[test]
fn the_checkpoint_binds_chain_id_height_and_hash() {
    let block = make(3, 0, &vals(&[1])).light_block();
    let good = policy_of("test-1", &block, PERIOD);
    assert!(LightClient::from_checkpoint(&good, &block).is_ok());
    let mut p = good.clone();
    p.chain_id = "test-2".into();
    assert!(matches!(
        LightClient::from_checkpoint(&p, &block),
        Err(LightError::ChainId { .. })
    ));
    let mut p = good.clone();
    p.checkpoint.height = 4;
    assert!(matches!(
        LightClient::from_checkpoint(&p, &block),
        Err(LightError::NotTheCheckpoint { .. })
    ));
    let mut p = good.clone();
    p.checkpoint.hash[0] ^= 1;
    assert!(matches!(
        LightClient::from_checkpoint(&p, &block),
        Err(LightError::NotTheCheckpoint { .. })
    ));
    let mut p = good;
    p.trust_threshold = (1, 4);
    assert!(matches!(
        LightClient::from_checkpoint(&p, &block),
        Err(LightError::Policy(_))
    ));
}

#[test]
fn sealed_state_round_trips_and_other_bytes_are_refused() {
    let blocks = chain(&vals(&[3, 3, 3]), 1..=30);
    let policy = policy_of("test-1", &blocks[0], PERIOD);
    let mut c = client(&blocks[0]);
    c.advance(&path(&blocks[0], &blocks[1..])).unwrap();
    let bytes = c.to_bytes();
    assert_eq!(
        LightClient::danger_from_sealed_bytes(&bytes, &policy).unwrap(),
        c
    );
    let head = c.head().to_bytes();
    assert_eq!(
        &TrustedHeader::danger_from_sealed_bytes(&head).unwrap(),
        c.head()
    );
    for cut in 0..bytes.len() {
        assert!(LightClient::danger_from_sealed_bytes(&bytes[..cut], &policy).is_err());
    }
    assert!(
        LightClient::danger_from_sealed_bytes(&[bytes.clone(), vec![0]].concat(), &policy).is_err()
    );
    let other = policy_of("test-1", &blocks[1], PERIOD);
    assert!(matches!(
        LightClient::danger_from_sealed_bytes(&bytes, &other),
        Err(LightError::NotTheCheckpoint { .. })
    ));
}

#[test]
fn total_power_needs_the_set_of_the_header() {
    let block = make(3, 0, &vals(&[5, 7, 9])).light_block();
    let header = trust(&block);
    assert_eq!(header.total_power(&block.validators), Ok(21));
    let other = pb_set(&vals(&[5, 7, 10])).encode_to_vec();
    assert!(matches!(
        header.total_power(&other),
        Err(LightError::ValidatorsHash { height: 3, .. })
    ));
}

#[test]
fn light_block_and_path_round_trip_as_cbor() {
    let block = make(3, 0, &vals(&[5])).light_block();
    let p = Path {
        from_next_validators: None,
        blocks: vec![
            block.clone(),
            LightBlock {
                next_validators: None,
                ..block
            },
        ],
    };
    let bytes = minicbor::to_vec(&p).unwrap();
    assert_eq!(minicbor::decode::<Path>(&bytes).unwrap(), p);
    assert_eq!(
        bytes[..2],
        [0x82, 0xf6],
        "an array of two, null for the missing set"
    );
}
