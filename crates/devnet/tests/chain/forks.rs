//! Forks and forged headers: what a verifier must refuse, and what it cannot see.

use baton_devnet::{Account, Forgery, LifecycleError};
use prost::Message as _;
use tendermint_light_client_verifier::Verdict;

use crate::support::{assert_step, chain, chain_with_plan, decode, decoded, verdict};

#[test]
fn a12_a_fork_signed_by_the_same_validators_verifies_from_the_common_header() {
    let mut chain = chain();
    chain.produce_until(5).unwrap();
    let mut fork = chain.fork_at(3).unwrap();
    assert_eq!((fork.height(), fork.state_height()), (3, 3));
    fork.send_memo(Account::User(0), "another history").unwrap();
    fork.produce_until(8).unwrap();
    assert_eq!(chain.header_hash(3), fork.header_hash(3));
    assert_ne!(chain.header_hash(4), fork.header_hash(4));
    assert_eq!(
        verdict(&decoded(&chain, 3), &decoded(&fork, 8)),
        Verdict::Success
    );
    assert_step(&fork, 1, 8);
}

#[test]
fn the_same_history_comes_again_when_nothing_differs() {
    let mut chain = chain();
    chain.produce_until(6).unwrap();
    let mut fork = chain.fork_at(2).unwrap();
    fork.produce_until(6).unwrap();
    assert_eq!(chain.header_hash(6), fork.header_hash(6));
}

#[test]
fn a_fork_from_a_height_that_is_not_there_is_refused() {
    let mut chain = chain();
    chain.produce_until(2).unwrap();
    let error = chain.fork_at(3).err();
    assert_eq!(
        error,
        Some(LifecycleError::NoHeight {
            height: 3,
            latest: 2
        })
    );
    assert!(chain.fork_at(0).is_err());
}

#[test]
fn a_forged_app_hash_verifies_when_everybody_signs_it() {
    let chain = chain_with_plan("v2", 1_000);
    let height = chain.height();
    let forged = chain
        .forge(&Forgery {
            height,
            app_hash: Some([7; 32]),
            ..Forgery::default()
        })
        .unwrap();
    let forged = decode(&forged);
    assert_eq!(forged.signed_header.header.app_hash.as_bytes(), [7; 32]);
    assert_eq!(verdict(&decoded(&chain, 1), &forged), Verdict::Success);
    assert_ne!(
        forged.signed_header.header.hash(),
        decoded(&chain, height).signed_header.header.hash()
    );
}

#[test]
fn a05_a_forged_header_with_too_few_signers_is_refused() {
    let mut chain = chain();
    chain.produce_until(4).unwrap();
    // 140 of 235 is less than two thirds, and more than the third that trust asks for.
    let signers = Some(vec![0, 2]);
    let forged = chain
        .forge(&Forgery {
            height: 9,
            signers,
            ..Forgery::default()
        })
        .unwrap();
    assert!(matches!(
        verdict(&decoded(&chain, 1), &decode(&forged)),
        Verdict::Invalid(_)
    ));
    let commit = tendermint_proto::types::SignedHeader::decode(forged.signed_header.as_slice());
    let signatures = commit.unwrap().commit.unwrap().signatures;
    let absent = signatures
        .iter()
        .filter(|signature| signature.block_id_flag == 1 && signature.signature.is_empty());
    assert_eq!((signatures.len(), absent.count()), (4, 2));
}

#[test]
fn a_forged_validator_set_has_no_trust_from_the_old_one() {
    let mut chain = chain();
    chain.produce_until(4).unwrap();
    let set = Some(vec![(3, 1_000)]);
    let forgery = Forgery {
        height: 9,
        validators: set.clone(),
        next_validators: set,
        ..Forgery::default()
    };
    let forged = decode(&chain.forge(&forgery).unwrap());
    assert!(matches!(
        verdict(&decoded(&chain, 1), &forged),
        Verdict::NotEnoughTrust(_)
    ));
}

#[test]
fn a_forged_chain_id_is_refused() {
    let mut chain = chain();
    chain.produce_until(4).unwrap();
    let forgery = Forgery {
        height: 9,
        chain_id: Some("other".into()),
        ..Forgery::default()
    };
    let forged = decode(&chain.forge(&forgery).unwrap());
    assert!(matches!(
        verdict(&decoded(&chain, 1), &forged),
        Verdict::Invalid(_)
    ));
}
