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
    type Edit = std::boxed::Box<dyn FnOnce(&mut Policy)>;
    let edits: Vec<(&str, Edit)> = vec![
        (
            "rotation_blocks",
            std::boxed::Box::new(|p| p.rotation_blocks = Some(10_000)),
        ),
    ];
    for (field, edit) in edits {
        match with(edit).validate() {
            Err(PolicyError::NotSupported { what, .. }) => assert_eq!(what, field),
            other => panic!("{field}: {other:?}"),
        }
    }
}

/// The example with a lifeboat, and with what one needs.
pub(crate) fn with_lifeboat(council_digest: Digest32, key_digest: Digest32) -> Policy {
    with(|p| {
        let key = CouncilKey::Ed25519(ed25519_dalek::SigningKey::from_bytes(&[41; 32]).verifying_key().to_bytes());
        p.council = Some(Council { members: vec![Member { name: "ana".into(), key }], needed: 1, notice_blocks: 5 });
        let keys = vec![crate::witness::Cosigner::from_seed("w.example", &[3; 32]).unwrap().vkey()];
        p.witnesses = Some(Witnesses { keys, needed: 1, notice_secs: 60, dated_exports: false });
        p.lifeboat = Some(Lifeboat { key_digest, council_digest });
    })
}

#[test]
fn a25_a_lifeboat_needs_a_council_with_members_witnesses_and_two_keys() {
    let (a, b) = (Digest32([1; 32]), Digest32([2; 32]));
    let good = with_lifeboat(a, b);
    good.validate().unwrap();
    assert_eq!(Policy::from_cbor(&good.to_cbor()).unwrap(), good);
    assert!(said(&good).contains("Every copy in force keeps an escrow"));
    let bad = |f: &dyn Fn(&mut Policy)| {
        let mut p = good.clone();
        f(&mut p);
        p.validate().unwrap_err()
    };
    let missing = |e| matches!(e, PolicyError::LifeboatAlone { .. });
    assert!(missing(bad(&|p| p.council = None)));
    assert!(missing(bad(&|p| p.witnesses = None)));
    assert!(missing(bad(&|p| {
        p.council = Some(Council { members: Vec::new(), needed: 0, notice_blocks: 5 });
    })));
    assert_eq!(bad(&|p| p.lifeboat = Some(Lifeboat { key_digest: a, council_digest: a })), PolicyError::LifeboatKeys { got: a });
}

#[test]
fn a_share_of_power_needs_machines_that_somebody_vouches_for() {
    let at = |admission| {
        with(|p| {
            p.admission = admission;
            p.barrier.power_share = Some("0.67".parse().unwrap());
        })
        .validate()
    };
    assert_eq!(at(Admission::Vouched), Ok(()));
    for got in [Admission::Any, Admission::Voted] {
        assert_eq!(at(got), Err(PolicyError::PowerWithout { got }));
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
        with(|p| p.admission = Admission::Vouched),
        with(|p| p.admission = Admission::Voted),
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
    let text = with(|p| p.rotation_blocks = Some(1)).validate().unwrap_err().to_string();
    assert_eq!(text, "rotation_blocks: not supported yet; expected none");
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

fn council() -> Council {
    let member = |n: u8| Member {
        name: std::format!("member {n}"),
        key: CouncilKey::Ed25519(ed25519_dalek::SigningKey::from_bytes(&[n; 32]).verifying_key().to_bytes()),
    };
    Council { members: vec![member(1), member(2), member(3)], needed: 2, notice_blocks: 100 }
}

fn witnesses() -> Witnesses {
    let key = |n: u8| crate::witness::Cosigner::from_seed(&std::format!("w{n}.example"), &[n; 32]).unwrap().vkey();
    Witnesses { keys: vec![key(1), key(2), key(3)], needed: 2, notice_secs: 3600, dated_exports: true }
}

#[test]
fn council_and_witnesses_round_trip_in_both_forms_and_are_explained() {
    let policy = with(|p| (p.council, p.witnesses) = (Some(council()), Some(witnesses())));
    assert_eq!(policy.validate(), Ok(()));
    assert_eq!(Policy::from_cbor(&policy.to_cbor()), Ok(policy.clone()));
    let text = toml::to_string(&policy).unwrap();
    assert!(text.contains("ed25519:") && text.contains("w1.example+"), "{text}");
    assert_eq!(toml::from_str::<Policy>(&text).unwrap(), policy);
    let said = said(&policy);
    for sentence in ["2 of 3 council members", "public for 100 blocks, or for 1 hour by the dates of 2 of 3 witnesses", "cannot be quiet"] {
        assert!(said.contains(sentence), "{sentence}: {said}");
    }
    assert!(!said.contains("There is no council"));
    let validators_only = with(|p| p.council = Some(Council { members: vec![], needed: 0, notice_blocks: 1 }));
    assert_eq!(validators_only.validate(), Ok(()));
}

#[test]
fn a20_a_break_glass_rule_that_checks_nothing_is_refused() {
    type Edit = fn(&mut Council, &mut Witnesses);
    let edits: &[Edit] = &[
        |c, _| c.needed = 0,
        |c, _| c.needed = 4,
        |c, _| c.members.clear(),
        |c, _| c.notice_blocks = 0,
        |c, _| c.members[1].key = c.members[0].key,
        |c, _| c.members[1].name = c.members[0].name.clone(),
        |c, _| c.members[1].name.clear(),
        |c, _| c.members[1].key = CouncilKey::Ed25519([0; 32]),
        |c, _| c.members[1].key = CouncilKey::P256([0; 33]),
        |c, _| c.members = vec![c.members[0].clone(); 101],
        |_, w| w.needed = 0,
        |_, w| w.needed = 4,
        |_, w| w.keys.clear(),
        |_, w| w.notice_secs = 0,
        |_, w| w.keys[1] = w.keys[0].clone(),
        |_, w| w.keys[1] = crate::witness::Cosigner::from_seed("w1.example", &[9; 32]).unwrap().vkey(),
        |_, w| w.keys[1] = crate::witness::Cosigner::from_seed("other.example", &[1; 32]).unwrap().vkey(),
    ];
    for (i, edit) in edits.iter().enumerate() {
        let (mut c, mut w) = (council(), witnesses());
        edit(&mut c, &mut w);
        let policy = with(|p| (p.council, p.witnesses) = (Some(c), Some(w)));
        assert!(matches!(policy.validate(), Err(PolicyError::Emergency(_))), "edit {i}");
        assert!(Policy::from_cbor(&policy.to_cbor()).is_err(), "edit {i} through CBOR");
    }
    for bad in ["", "ed25519:", "ed25519:00", "p256:00", "rsa:00", "ed25519"] {
        assert!(bad.parse::<CouncilKey>().is_err(), "{bad}");
    }
}
