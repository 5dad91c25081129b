use std::string::{String, ToString};
use std::vec::Vec;

use baton_attest::identity::Signer;
use proptest::prelude::*;

use super::*;

const EXAMPLE: &str = include_str!("../../../../docs/policy.example.toml");

pub(crate) fn example() -> Policy {
    toml::from_str(EXAMPLE).unwrap()
}

fn with(edit: impl FnOnce(&mut Policy)) -> Policy {
    let mut policy = example();
    edit(&mut policy);
    policy
}

#[test]
fn the_example_policy_is_valid() {
    assert_eq!(example().validate(), Ok(()));
}

#[test]
fn toml_and_cbor_say_the_same() {
    let policy = example();
    assert_eq!(Policy::from_cbor(&policy.to_cbor()), Ok(policy.clone()));
    let text = toml::to_string(&policy).unwrap();
    assert_eq!(toml::from_str::<Policy>(&text).unwrap(), policy);
    for origin in [Origin::Genesis, Origin::Legacy] {
        let policy = with(|p| p.origin = origin);
        assert_eq!(Policy::from_cbor(&policy.to_cbor()), Ok(policy.clone()));
        let text = toml::to_string(&policy).unwrap();
        assert_eq!(toml::from_str::<Policy>(&text).unwrap(), policy);
    }
}

#[test]
fn h04_the_measured_encoding_is_the_frozen_one() {
    let golden = include_str!("../../tests/golden/policy_v1.hex").trim();
    let policy = with(|p| p.tcb.roots = vec![vec![0x30, 0x03, 0x02, 0x01, 0x05]]);
    assert_eq!(hex::encode(policy.to_cbor()), golden);
}

#[test]
fn an_unknown_field_is_refused_in_toml_and_in_cbor() {
    let text = EXAMPLE.replace("readiness_wanted = 3", "readiness_wantd = 3");
    assert!(toml::from_str::<Policy>(&text).is_err());
    let text = EXAMPLE.replace("grace_blocks = 1_000", "grace_blocks = 1_000\ngrace = 1");
    assert!(toml::from_str::<Policy>(&text).is_err());
    let mut bytes = example().to_cbor();
    assert_eq!(bytes[0] & 0xe0, 0xa0);
    bytes[0] += 1;
    bytes.extend_from_slice(&[0x18, 77, 1]);
    let refused = PolicyError::Malformed("unknown fields, or not deterministic");
    assert_eq!(Policy::from_cbor(&bytes), Err(refused));
}

#[test]
fn another_encoding_of_the_same_policy_is_refused() {
    let bytes = example().to_cbor();
    assert_eq!(bytes[1..3], [0, 1], "format 1");
    let mut longer = bytes.clone();
    longer.splice(2..3, [0x18, 1]);
    assert!(matches!(
        Policy::from_cbor(&longer),
        Err(PolicyError::Malformed(_))
    ));
}

#[test]
fn fewer_than_two_different_signers_are_refused() {
    for signers in [vec![], vec![Signer([1; 32])], vec![Signer([1; 32]); 2]] {
        let policy = with(|p| p.builds.signers = signers);
        assert!(matches!(policy.validate(), Err(PolicyError::Builds(_))));
    }
}

#[test]
fn a20_bars_that_check_nothing_are_refused() {
    type Edit = fn(&mut Policy);
    let edits: &[Edit] = &[
        |p| p.format = 2,
        |p| p.platform_tag = 9,
        |p| p.chain.trust_threshold = (1, 4),
        |p| p.chain.trust_threshold = (1, 1),
        |p| p.chain.trusting_period_secs = 0,
        |p| p.chain.veto = Decimal::ZERO,
        |p| p.chain.veto = Decimal::from_atomics(u128::MAX),
        |p| p.chain.lead_blocks = 0,
        |p| p.chain.chain_id = "a b".into(),
        |p| p.chain.chain_id = "a+b".into(),
        |p| p.chain.chain_id = "a\nb".into(),
        |p| p.tcb.roots.clear(),
        |p| p.tcb.statuses.clear(),
        |p| p.tcb.max_collateral_age_secs = 0,
        |p| p.barrier.platforms = 0,
        |p| p.barrier.power_share = Some(Decimal::ZERO),
        |p| p.barrier.power_share = Some("1.1".parse().unwrap()),
        |p| p.origin = Origin::Commitments(vec![]),
    ];
    for (i, edit) in edits.iter().enumerate() {
        let policy = with(edit);
        assert!(policy.validate().is_err(), "edit {i}");
        assert!(
            Policy::from_cbor(&policy.to_cbor()).is_err(),
            "edit {i} through CBOR"
        );
    }
}

#[test]
fn epochs_twice_or_out_of_order_are_refused() {
    let at = |epoch| EpochCommitment {
        epoch,
        commitment: Commitment(Digest32([1; 32])),
    };
    for (after, got) in [(1, 1), (2, 1)] {
        let policy = with(|p| p.origin = Origin::Commitments(vec![at(after), at(got)]));
        assert_eq!(
            policy.validate(),
            Err(PolicyError::EpochOrder { after, got })
        );
    }
}

#[test]
fn rules_that_the_code_does_not_keep_yet_are_refused_by_name() {
    let key = Digest32([1; 32]);
    type Edit = std::boxed::Box<dyn FnOnce(&mut Policy)>;
    let edits: Vec<(&str, Edit)> = vec![
        (
            "admission",
            std::boxed::Box::new(|p| p.admission = Admission::Vouched),
        ),
        (
            "admission",
            std::boxed::Box::new(|p| p.admission = Admission::Voted),
        ),
        (
            "barrier.power_share",
            std::boxed::Box::new(|p| p.barrier.power_share = Some(Decimal::ONE)),
        ),
        (
            "rotation_blocks",
            std::boxed::Box::new(|p| p.rotation_blocks = Some(10_000)),
        ),
        (
            "lifeboat",
            std::boxed::Box::new(move |p| p.lifeboat = Some(Lifeboat { key_digest: key })),
        ),
        (
            "council",
            std::boxed::Box::new(move |p| {
                p.council = Some(Council {
                    members: vec![key],
                    needed: 1,
                    notice_blocks: 1,
                });
            }),
        ),
        (
            "witnesses",
            std::boxed::Box::new(move |p| {
                p.witnesses = Some(Witnesses {
                    keys: vec![key],
                    needed: 1,
                    notice_secs: 1,
                });
            }),
        ),
    ];
    for (field, edit) in edits {
        match with(edit).validate() {
            Err(PolicyError::NotSupported { what, .. }) => assert_eq!(what, field),
            other => panic!("{field}: {other:?}"),
        }
    }
}

#[test]
fn the_digest_changes_with_every_section() {
    let digests: Vec<_> = [
        example(),
        with(|p| p.chain.lead_blocks += 1),
        with(|p| p.builds.min_svn += 1),
        with(|p| p.tcb.min_tcb_evaluation += 1),
        with(|p| p.barrier.grace_blocks += 1),
        with(|p| p.phase = Phase::Shadow),
        with(|p| p.origin = Origin::Genesis),
        with(|p| p.readiness_wanted += 1),
    ]
    .iter()
    .map(Policy::digest)
    .collect();
    for (i, a) in digests.iter().enumerate() {
        assert!(digests[i + 1..].iter().all(|b| a != b), "{i}");
    }
}

fn said(policy: &Policy) -> String {
    explain(policy)
        .iter()
        .map(|s| std::format!("{:?}: {}\n", s.level, s.text))
        .collect()
}

#[test]
fn the_explanation_of_the_example_is_the_reviewed_one() {
    assert_eq!(
        said(&example()),
        include_str!("../../tests/golden/policy.example.explained.txt")
    );
}

#[test]
fn the_explanation_warns_of_what_a_policy_leaves_open() {
    let expect = |policy: &Policy, level: Level, part: &str| {
        let all = explain(policy);
        let found = all
            .iter()
            .any(|s| s.level == level && s.text.contains(part));
        assert!(found, "{part}: {}", said(policy));
    };
    expect(&example(), Level::Warns, "stolen attestation key");
    expect(
        &example(),
        Level::Impossible,
        "fewer than 3 machines never erases",
    );
    expect(
        &with(|p| p.origin = Origin::Genesis),
        Level::Warns,
        "knows no commitment",
    );
    expect(
        &with(|p| p.origin = Origin::Legacy),
        Level::Warns,
        "exposed",
    );
    let shadow = with(|p| p.phase = Phase::Shadow);
    expect(&shadow, Level::Warns, "exposed");
    expect(&shadow, Level::Impossible, "ever erased in phase shadow");
    expect(
        &with(|p| p.chain.trusting_period_secs = 21 * 86_400),
        Level::Warns,
        "21 days",
    );
    expect(
        &with(|p| p.barrier.platforms = 1),
        Level::Warns,
        "One machine",
    );
    expect(
        &with(|p| p.barrier.grace_blocks = 0),
        Level::Warns,
        "no grace",
    );
    expect(
        &with(|p| p.tcb.max_collateral_age_secs = 3600),
        Level::Means,
        "1 hour old",
    );
}

#[test]
fn errors_say_what_was_expected_and_what_came() {
    let text = with(|p| p.barrier.platforms = 0)
        .validate()
        .unwrap_err()
        .to_string();
    assert_eq!(text, "barrier.platforms: expected at least 1, got 0");
    let text = with(|p| p.admission = Admission::Voted)
        .validate()
        .unwrap_err()
        .to_string();
    assert_eq!(text, "admission: not supported yet; expected \"any\"");
}

proptest! {
    #[test]
    fn a21_any_bytes_are_read_or_refused_without_a_panic(bytes: Vec<u8>) {
        let _ = Policy::from_cbor(&bytes);
    }

    #[test]
    fn a21_cut_or_flipped_policies_never_read_as_the_same_one(at in 0usize..4000, bit in 0u8..8) {
        let policy = example();
        let mut bytes = policy.to_cbor();
        let at = at % bytes.len();
        prop_assert!(Policy::from_cbor(&bytes[..at]).is_err());
        bytes[at] ^= 1 << bit;
        if let Ok(other) = Policy::from_cbor(&bytes) {
            prop_assert_ne!(other, policy);
        }
    }
}
