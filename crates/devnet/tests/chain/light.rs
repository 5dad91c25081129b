//! Headers, commits and validator sets, with the stock light client verifier.

use std::time::Duration;

use baton_devnet::{Account, Config, Devnet, Precommit, ProduceError};
use tendermint_light_client_verifier::Verdict;

use crate::support::{assert_step, chain, chain_of, decoded, verdict};

const UNIT: u64 = 1_000_000;

#[test]
fn every_header_follows_from_the_one_before_and_from_the_first() {
    let mut chain = chain();
    chain.produce_until(12).unwrap();
    for height in 1..12 {
        assert_step(&chain, height, height + 1);
        assert_step(&chain, 1, height + 1);
        let (now, next) = (
            chain.signed_header(height).unwrap(),
            chain.signed_header(height + 1).unwrap(),
        );
        let last = next.header.unwrap().last_block_id.unwrap();
        assert_eq!(last.hash, chain.header_hash(height).unwrap());
        assert_eq!(now.commit.unwrap().block_id, Some(last));
    }
}

#[test]
fn our_header_hash_is_that_of_the_stock_types() {
    let mut chain = chain();
    chain.produce_until(3).unwrap();
    for height in 1..=3 {
        let stock = decoded(&chain, height).signed_header.header.hash();
        assert_eq!(stock.as_bytes(), chain.header_hash(height).unwrap());
    }
}

#[test]
fn the_app_hash_is_the_state_after_the_block_before() {
    let mut chain = chain();
    chain.produce_until(5).unwrap();
    for height in 1..5 {
        let header = chain.signed_header(height + 1).unwrap().header.unwrap();
        assert_eq!(header.app_hash, chain.app_hash(height).unwrap());
        assert_ne!(
            chain.app_hash(height),
            chain.app_hash(height.max(2) - 1 + u64::from(height == 1)),
            "{height}"
        );
    }
}

#[test]
fn a_delegation_changes_the_set_two_blocks_later() {
    let mut chain = chain();
    chain.produce_until(3).unwrap();
    chain.delegate(Account::User(0), 3, 75 * UNIT).unwrap();
    let h = chain.produce_block().unwrap();
    chain.produce_until(h + 4).unwrap();
    let power = |height| {
        let set = decoded(&chain, height).validators;
        (set.validators().len(), set.total_voting_power().value())
    };
    assert_eq!(
        [power(h), power(h + 1), power(h + 2)],
        [(4, 235), (4, 235), (4, 310)]
    );
    let hash = |height| decoded(&chain, height).signed_header.header;
    assert_eq!(
        hash(h + 1).next_validators_hash,
        hash(h + 2).validators_hash
    );
    assert_ne!(hash(h + 1).validators_hash, hash(h + 2).validators_hash);
    for height in 1..chain.height() {
        assert_step(&chain, height, height + 1);
    }
    assert_step(&chain, 1, chain.height());
}

#[test]
fn validators_join_and_leave_and_too_little_trust_is_seen() {
    let mut chain = chain_of(&[100, 70, 40, 25, 0]);
    chain.produce_until(2).unwrap();
    chain.delegate(Account::User(0), 4, 300 * UNIT).unwrap();
    chain.produce_until(6).unwrap();
    assert_eq!(decoded(&chain, 6).validators.validators().len(), 5);
    assert_eq!(chain.validator(4).unwrap().status, 3);
    chain
        .undelegate(Account::Validator(0), 0, 100 * UNIT)
        .unwrap();
    chain
        .undelegate(Account::Validator(1), 1, 70 * UNIT)
        .unwrap();
    chain.produce_until(12).unwrap();
    assert_eq!(decoded(&chain, 12).validators.validators().len(), 3);
    assert_eq!(chain.validator(0).unwrap().status, 2);
    for height in 1..chain.height() {
        assert_step(&chain, height, height + 1);
    }
    // 65 of the 235 that were trusted at height 1 are still there.
    assert!(matches!(
        verdict(&decoded(&chain, 1), &decoded(&chain, 12)),
        Verdict::NotEnoughTrust(_)
    ));
    assert_step(&chain, 6, 12);
}

#[test]
fn unbonded_tokens_come_back_after_the_unbonding_time() {
    let config = Config {
        unbonding_secs: 60,
        ..Config::default()
    };
    let mut chain = Devnet::new(config).unwrap();
    chain
        .undelegate(Account::Validator(3), 3, 5 * UNIT)
        .unwrap();
    chain.produce_block().unwrap();
    let address = chain.address(Account::Validator(3));
    assert_eq!(chain.balance(&address), 1_000_000_000);
    chain.produce_until(20).unwrap();
    assert_eq!(chain.balance(&address), 1_005_000_000);
}

#[test]
fn absent_and_nil_votes_are_in_the_commit_and_it_still_verifies() {
    let mut chain = chain();
    chain.set_precommit(2, Precommit::Absent);
    chain.set_precommit(3, Precommit::Nil);
    chain.produce_until(4).unwrap();
    let commit = chain.signed_header(4).unwrap().commit.unwrap();
    let mut flags: Vec<i32> = commit
        .signatures
        .iter()
        .map(|signature| signature.block_id_flag)
        .collect();
    flags.sort_unstable();
    assert_eq!(flags, [1, 2, 2, 3]);
    assert_step(&chain, 3, 4);
    assert_step(&chain, 1, 4);
}

#[test]
fn a05_exactly_two_thirds_make_no_block() {
    let mut chain = chain_of(&[50, 50, 50]);
    chain.set_precommit(2, Precommit::Absent);
    let error = chain.produce_block().unwrap_err();
    assert_eq!(
        error,
        ProduceError::NoQuorum {
            height: 1,
            signing: 100,
            total: 150
        }
    );
    chain.set_precommit(2, Precommit::Commit);
    assert_eq!(chain.produce_block(), Ok(1));
}

#[test]
fn time_grows_with_every_block_and_a_jump_shows_one_block_later() {
    let mut chain = chain();
    chain.produce_until(5).unwrap();
    let times: Vec<_> = (1..=5)
        .map(|height| chain.block_time(height).unwrap())
        .collect();
    assert!(
        times
            .windows(2)
            .all(|pair| (pair[0].seconds, pair[0].nanos) < (pair[1].seconds, pair[1].nanos))
    );
    chain.advance_time(Duration::from_secs(30 * 24 * 3600));
    chain.produce_until(7).unwrap();
    let seconds = |height| chain.block_time(height).unwrap().seconds;
    assert!(seconds(6) - seconds(5) < 10);
    assert!(seconds(7) - seconds(6) > 30 * 24 * 3600);
}

#[test]
fn a_hundred_validators_sign_a_chain_that_verifies() {
    let powers: Vec<u64> = (1..=100).collect();
    let mut chain = chain_of(&powers);
    chain.produce_until(30).unwrap();
    assert_step(&chain, 1, 30);
    assert_step(&chain, 29, 30);
}
