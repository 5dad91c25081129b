//! Transactions: what enters, what fails in its block, and the proof that it is there.

use baton_devnet::sdk::{MsgSend, TxBody, TxRaw, pack};
use baton_devnet::{Account, Config, Devnet, MAX_MEMO, SubmitError, keys, merkle, tx_hash};
use prost::Message;

use crate::support::{assert_step, chain};

#[test]
fn a_memo_of_256_is_taken_and_257_refused() {
    let mut chain = chain();
    chain
        .send_memo(Account::User(0), &"m".repeat(MAX_MEMO))
        .unwrap();
    let error = chain
        .send_memo(Account::User(0), &"m".repeat(MAX_MEMO + 1))
        .unwrap_err();
    assert_eq!(error, SubmitError::MemoTooLong { got: 257 });
}

#[test]
fn a_transaction_is_proven_by_the_header_of_its_own_height() {
    let mut chain = chain();
    chain.produce_block().unwrap();
    let hashes: Vec<_> = (0..4)
        .map(|user| chain.send_memo(Account::User(user), "a record").unwrap())
        .collect();
    let more = chain.send_memo(Account::User(0), "and another").unwrap();
    let height = chain.produce_block().unwrap();
    let data_hash = chain
        .signed_header(height)
        .unwrap()
        .header
        .unwrap()
        .data_hash;
    for (index, hash) in hashes.iter().chain([&more]).enumerate() {
        let answer = chain.tx(hash).unwrap();
        assert_eq!(
            (answer.height, answer.index, answer.total, answer.code),
            (height, index as u64, 5, Some(0))
        );
        let proof = tendermint::merkle::Proof {
            total: answer.total,
            index: answer.index,
            leaf_hash: tendermint::Hash::Sha256(merkle::leaf_hash(&tx_hash(&answer.tx))),
            aunts: answer
                .aunts
                .iter()
                .map(|aunt| tendermint::Hash::Sha256(*aunt))
                .collect(),
        };
        assert_eq!(root(&proof), data_hash.as_slice());
        let body = TxBody::decode(
            TxRaw::decode(answer.tx.as_slice())
                .unwrap()
                .body_bytes
                .as_slice(),
        )
        .unwrap();
        assert!(!body.memo.is_empty());
    }
}

/// The root that a proof of CometBFT's form leads to (crypto/merkle/proof.go).
fn root(proof: &tendermint::merkle::Proof) -> Vec<u8> {
    fn above(index: u64, total: u64, leaf: [u8; 32], aunts: &[[u8; 32]]) -> [u8; 32] {
        let Some((top, lower)) = aunts.split_last() else {
            return leaf;
        };
        let split = 1_u64 << (63 - (total - 1).leading_zeros());
        if index < split {
            merkle::inner_hash(&above(index, split, leaf, lower), top)
        } else {
            merkle::inner_hash(top, &above(index - split, total - split, leaf, lower))
        }
    }
    let bytes = |hash: &tendermint::Hash| hash.as_bytes().try_into().unwrap();
    let aunts: Vec<[u8; 32]> = proof.aunts.iter().map(bytes).collect();
    above(proof.index, proof.total, bytes(&proof.leaf_hash), &aunts).to_vec()
}

#[test]
fn a02_a_failed_transaction_is_in_its_block_and_changes_the_results_hash() {
    let mut chain = chain();
    let to = chain.address(Account::User(1));
    let mut other = chain.clone();
    let hash = chain
        .send(Account::User(0), &to, 2_000_000_000, "failed")
        .unwrap();
    let height = chain.produce_block().unwrap();
    let answer = chain.tx(&hash).unwrap();
    assert_eq!((answer.height, answer.code), (height, Some(5)));
    assert!(answer.log.contains("insufficient funds"), "{}", answer.log);
    assert_eq!(chain.balance(&to), 1_000_000_000);
    other.send(Account::User(0), &to, 20, "paid").unwrap();
    other.produce_block().unwrap();
    let results = |chain: &mut Devnet| {
        let height = chain.produce_block().unwrap();
        chain
            .signed_header(height)
            .unwrap()
            .header
            .unwrap()
            .last_results_hash
    };
    assert_ne!(results(&mut chain), results(&mut other));
    assert_step(&chain, 1, 2);
}

#[test]
fn all_messages_of_a_transaction_happen_or_none() {
    let mut chain = chain();
    let from = chain.address(Account::User(0));
    let to = chain.address(Account::User(1));
    let send = |amount: &str| {
        pack(&MsgSend {
            from_address: keys::account_text(&from),
            to_address: keys::account_text(&to),
            amount: vec![baton_devnet::sdk::Coin {
                denom: "stake".into(),
                amount: amount.into(),
            }],
        })
    };
    chain
        .broadcast(Account::User(0), &[send("5"), send("9999999999999")], "")
        .unwrap();
    chain.produce_block().unwrap();
    assert_eq!(chain.balance(&to), 1_000_000_000);
}

#[test]
fn a_changed_transaction_is_refused() {
    let mut chain = chain();
    chain.produce_block().unwrap();
    let good = chain.sign(Account::User(0), &[message(&chain)], "the memo");
    let mut raw = TxRaw::decode(good.as_slice()).unwrap();
    let mut body = TxBody::decode(raw.body_bytes.as_slice()).unwrap();
    body.memo = "another memo".into();
    raw.body_bytes = body.encode_to_vec();
    assert!(matches!(
        chain.submit(&raw.encode_to_vec()),
        Err(SubmitError::Signature(_))
    ));
    assert!(matches!(
        chain.submit(&good[..good.len() - 1]),
        Err(SubmitError::Malformed(_))
    ));
    raw.signatures.clear();
    assert!(matches!(
        chain.submit(&raw.encode_to_vec()),
        Err(SubmitError::Malformed(_))
    ));
    chain.submit(&good).unwrap();
    assert_eq!(chain.submit(&good), Err(SubmitError::Known));
    chain.produce_block().unwrap();
    assert_eq!(chain.submit(&good), Err(SubmitError::Known));
}

#[test]
fn a_transaction_for_another_chain_or_an_old_sequence_is_refused() {
    let mut chain = chain();
    let mut other = Devnet::new(Config {
        chain_id: "other-1".into(),
        ..Config::default()
    })
    .unwrap();
    let foreign = other.sign(Account::User(0), &[message(&other)], "");
    other.submit(&foreign).unwrap();
    assert!(matches!(
        chain.submit(&foreign),
        Err(SubmitError::Signature(_))
    ));
    let early = chain.sign(Account::User(0), &[message(&chain)], "early");
    chain.send_memo(Account::User(0), "first").unwrap();
    assert_eq!(
        chain.submit(&early),
        Err(SubmitError::Sequence {
            expected: 1,
            got: 0
        })
    );
}

#[test]
fn a_transaction_of_somebody_elses_money_is_refused() {
    let mut chain = chain();
    let theirs = message(&chain);
    assert!(matches!(
        chain.broadcast(Account::User(1), &[theirs], ""),
        Err(SubmitError::Message { .. })
    ));
    assert_eq!(
        chain.broadcast(Account::User(1), &[], ""),
        Err(SubmitError::NoMessages)
    );
}

fn message(chain: &Devnet) -> baton_devnet::sdk::Any {
    let address = keys::account_text(&chain.address(Account::User(0)));
    let amount = vec![baton_devnet::sdk::Coin {
        denom: "stake".into(),
        amount: "1".into(),
    }];
    pack(&MsgSend {
        from_address: address.clone(),
        to_address: address,
        amount,
    })
}

#[test]
fn configurations_that_make_no_chain_are_refused() {
    let bad = [
        Config {
            powers: vec![0, 0],
            ..Config::default()
        },
        Config {
            powers: Vec::new(),
            ..Config::default()
        },
        Config {
            chain_id: String::new(),
            ..Config::default()
        },
        Config {
            chain_id: "x".repeat(51),
            ..Config::default()
        },
        Config {
            block_interval_ms: 0,
            ..Config::default()
        },
        Config {
            powers: vec![u64::MAX],
            ..Config::default()
        },
        Config {
            gov: baton_devnet::GovConfig {
                quorum: "1.1".into(),
                ..Default::default()
            },
            ..Config::default()
        },
    ];
    for config in bad {
        assert!(Devnet::new(config).is_err());
    }
}
