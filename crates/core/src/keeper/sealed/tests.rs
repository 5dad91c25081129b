use std::string::{String, ToString};
use std::vec::Vec;

use baton_attest::identity::{Digest32, Measurement, PlatformId};
use baton_chain::authorize::PlanRef;
use baton_chain::record::Kind;

use super::*;
use crate::context::Context;
use crate::custody::{Seen, VoidPlan};
use crate::fake::FakePlatform;
use crate::policy::{Origin as PolicyOrigin, Policy};
use crate::secret::{Seed, SeedOf};

fn policy() -> Policy {
    let mut policy = crate::policy::tests::example();
    policy.origin = PolicyOrigin::Genesis;
    policy
}

/// The same keeper on every run: the platform's random bytes repeat.
fn holding() -> Keeper<FakePlatform> {
    let mut keeper = Keeper::new(FakePlatform::new(1), policy()).unwrap();
    keeper.genesis(&mut Context::default(), &[]).unwrap();
    keeper
}

fn plan(name: &str) -> PlanRef {
    PlanRef { name: name.into(), height: 1000, digest: Digest32([0x33; 32]) }
}

fn facts() -> AtXFacts {
    AtXFacts {
        chain_id: policy().chain.chain_id,
        plan: plan("own"),
        proposal_id: 4,
        measurement: Some(Measurement([0x11; 32])),
        x: 1000,
        shown_at: 1000,
        shown_hash: [0x44; 32],
    }
}

/// Every field set, in a state that has them all.
fn full() -> SealedState {
    let keeper = holding();
    let mut s = keeper.to_sealed();
    let identity = *keeper.identity();
    s.state = State::Confirmed;
    s.keyring = Some(Keyring::new(0, Seed::danger_from_bytes(&[0x42; 32])).danger_encode().to_vec());
    s.origin = Some(Origin {
        kind: Kind::Upgrade,
        transcript: Digest32([5; 32]),
        instance: [6; 16],
        platform: PlatformId([7; 32]),
        plan: Some(plan("own")),
    });
    s.since = Some(Since::Run(PlanRun { facts: facts(), done: true, done_at: Some(Seen { height: 9, hash: [9; 32] }) }));
    s.successor =
        Some(Successor { plan: plan("next"), proposal_id: 9, target: identity, shown_at: 990, x: Some(1000), order: None });
    s.retired_at = Some(1010);
    s.newest_signed = 1_767_225_600;
    s.transfers = vec![Transfer {
        kind: Kind::Upgrade,
        transcript: Digest32([8; 32]),
        target: identity,
        platform: PlatformId([7; 32]),
        record: Some(Digest32([9; 32])),
        confirmed: true,
    }];
    s.rehearsed_as_source = true;
    s.clean_shadow_upgrades = 3;
    s.shadow_proof = Some(PlanRun { facts: facts(), done: false, done_at: None });
    s.moved_on = Some(facts());
    s.canary_to_give = Some(CanaryKeyring::new(0, SeedOf::danger_from_bytes(&[0x43; 32])).danger_encode().to_vec());
    s.void = Some(vec![VoidPlan { plan: plan("gone"), seen_at: 900 }]);
    s
}

fn restored(plaintext: &[u8]) -> Result<Keeper<FakePlatform>, StateError> {
    let mut keeper = Keeper::new(FakePlatform::new(1), policy()).unwrap();
    keeper.restore(plaintext).map(|()| keeper)
}

#[test]
fn h08_a_file_of_version_1_is_written_as_it_was_frozen_and_opens() {
    let golden = include_str!("../../../tests/golden/custody_file_v1.hex").trim();
    let mut keeper = holding();
    let commitments = keeper.custody().keyring().unwrap().commitments();
    assert_eq!(hex::encode(keeper.seal_slot(Slot::Custody, 1).unwrap()), golden);
    let (opened, generation) =
        Keeper::open(FakePlatform::new(1), policy(), &hex::decode(golden).unwrap()).unwrap();
    assert_eq!((opened.custody().state(), generation), (State::Holding, 1));
    assert_eq!(opened.custody().keyring().unwrap().commitments(), commitments);
    assert_eq!(opened.branch().head(), keeper.branch().head());
}

#[test]
fn h08_every_field_of_version_1_is_frozen_and_read_back() {
    let golden = include_str!("../../../tests/golden/custody_state_v1.hex").trim();
    assert_eq!(hex::encode(&*secret_cbor(&full())), golden);
    let keeper = restored(&hex::decode(golden).unwrap()).unwrap();
    assert_eq!(hex::encode(&*secret_cbor(&{
        let mut again = keeper.to_sealed();
        again.retired_at = Some(1010); // Read only in a tombstone.
        again
    })), golden);
    assert_eq!(keeper.custody().state(), State::Confirmed);
    assert!(keeper.own_run().is_some_and(|r| r.done));
    assert_eq!(keeper.void_since(&plan("gone"), 899), Some(900));
    assert_eq!(keeper.void_since(&plan("gone"), 900), None);
}

#[test]
fn h08_a_state_of_before_a_field_opens_and_one_with_later_fields_too() {
    let mut before = full();
    before.void = None;
    assert!(restored(&secret_cbor(&before)).unwrap().void.is_empty());
    let mut later = secret_cbor(&full()).to_vec();
    assert_eq!(later[0], 0xb0, "a map of 16: no light client");
    later[0] += 1;
    later.extend_from_slice(&[0x18, 99, 0x82, 0x01, 0x61, 0x78]);
    assert_eq!(restored(&later).unwrap().custody().state(), State::Confirmed);
}

#[test]
fn a21_a_state_that_is_cut_or_changed_is_refused_or_read_and_never_panics() {
    let bytes = secret_cbor(&full()).to_vec();
    for cut in 0..bytes.len() {
        assert!(restored(&bytes[..cut]).is_err(), "{cut}");
    }
    for i in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[i] ^= 0x55;
        let _ = restored(&changed);
    }
}

#[test]
fn h08_a_state_of_a_newer_version_names_it() {
    let mut s = full();
    s.version = STATE_VERSION + 1;
    let err = restored(&secret_cbor(&s)).err().unwrap();
    assert!(matches!(err, StateError::Version { got: 2 }), "{err}");
}

#[test]
fn rule2_a_state_that_misses_a_part_is_refused_and_not_taken_for_empty() {
    let strip: [fn(&mut SealedState); 3] = [|s| s.keyring = None, |s| s.since = None, |s| s.successor = None];
    for (i, strip) in strip.iter().enumerate() {
        let mut s = full();
        strip(&mut s);
        assert!(matches!(restored(&secret_cbor(&s)), Err(StateError::Malformed(_))), "{i}");
    }
    for state in [State::Received, State::Holding, State::Offered, State::Retired] {
        let mut s = full();
        s.state = state;
        s.keyring = None;
        s.successor = None;
        assert!(restored(&secret_cbor(&s)).is_err(), "{state}");
    }
}

#[test]
fn h01_a_raised_cpusvn_opens_the_file_and_a_lowered_one_says_so() {
    let file = holding().seal_slot(Slot::Custody, 1).unwrap();
    let at = |svn: u8| {
        let mut p = FakePlatform::new(1);
        p.cpu_svn = [svn; 16];
        Keeper::open(p, policy(), &file)
    };
    assert!(at(9).is_ok());
    let text: String = at(2).err().unwrap().to_string();
    assert!(text.contains("downgraded") && text.contains("rejoin from a peer"), "{text}");
    let other: Vec<u8> = holding().seal_slot(Slot::Rehearsal, 1).unwrap();
    assert!(Keeper::open(FakePlatform::new(1), policy(), &other).is_err(), "another slot");
}
