//! Answers and their proofs, with the stock `iavl_spec` and `tendermint_spec`.

use baton_devnet::{Answer, Devnet, QueryError, Store};

use crate::stock::answer_shows;
use crate::support::{chain, chain_with_plan, done_key, proven};

fn shows(chain: &Devnet, answer: &Answer, store: &str, key: &[u8], height: u64) -> bool {
    let app_hash = chain.app_hash(height).unwrap();
    answer_shows(
        (&answer.iavl, &answer.simple),
        &app_hash,
        store,
        key,
        answer.value.as_deref(),
    )
}

#[test]
fn every_store_proves_presence_and_absence() {
    let chain = chain_with_plan("v2", 1_000);
    let height = chain.state_height();
    let keys: [(&str, &[u8]); 8] = [
        ("upgrade", &[0]),
        ("gov", &[0x30]),
        ("gov", &[0, 0, 0, 0, 0, 0, 0, 0, 1]),
        ("staking", &[0x51]),
        ("staking", &[0x12]),
        ("mint", &[1]),
        ("consensus", b"Consensus"),
        ("distribution", &[1]),
    ];
    for (store, key) in keys {
        let answer = chain.query(store, key, height).unwrap();
        assert!(answer.value.is_some(), "{store} {key:?}");
        assert!(
            shows(&chain, &answer, store, key, height),
            "{store} {key:?}"
        );
    }
    for store in Store::ALL {
        for key in [[0].as_slice(), &[0x20], &[0xff; 8], &[0x02, 0x14]] {
            let answer = chain.query(store.name(), key, height).unwrap();
            assert!(
                shows(&chain, &answer, store.name(), key, height),
                "{store:?} {key:?}"
            );
        }
    }
}

#[test]
fn a_changed_value_is_refused() {
    let chain = chain_with_plan("v2", 1_000);
    let height = chain.state_height();
    let mut answer = chain.query("upgrade", &[0], height).unwrap();
    answer.value.as_mut().unwrap()[3] ^= 1;
    assert!(!shows(&chain, &answer, "upgrade", &[0], height));
}

#[test]
fn a_proof_of_presence_is_no_proof_of_absence() {
    let chain = chain_with_plan("v2", 1_000);
    let height = chain.state_height();
    let mut answer = chain.query("upgrade", &[0], height).unwrap();
    answer.value = None;
    assert!(!shows(&chain, &answer, "upgrade", &[0], height));
    let mut absent = chain
        .query("upgrade", &done_key(1_000, "v2"), height)
        .unwrap();
    assert_eq!(absent.value, None);
    absent.value = Some(vec![1]);
    assert!(!shows(
        &chain,
        &absent,
        "upgrade",
        &done_key(1_000, "v2"),
        height
    ));
}

#[test]
fn an_answer_of_another_store_key_or_height_is_refused() {
    let chain = chain_with_plan("v2", 1_000);
    let height = chain.state_height();
    let answer = chain.query("upgrade", &[0], height).unwrap();
    assert!(!shows(&chain, &answer, "gov", &[0], height));
    assert!(!shows(&chain, &answer, "upgrade", &[1], height));
    assert!(!shows(&chain, &answer, "upgrade", &[0], height - 1));
}

#[test]
fn every_old_height_stays_provable_by_the_header_after_it() {
    let mut chain = chain_with_plan("v2", 1_000);
    chain.produce_block().unwrap();
    let mut seen = 0;
    for height in 1..chain.state_height() {
        let plan = proven(&chain, "upgrade", &[0], height).expect("a proof that verifies");
        seen += u64::from(plan.is_some());
        assert!(
            proven(&chain, "staking", &[0x12], height)
                .unwrap()
                .is_some()
        );
    }
    assert!(seen > 0 && seen < chain.state_height() - 1);
}

#[test]
fn a_query_above_the_state_or_of_no_store_is_refused() {
    let mut chain = chain();
    chain.produce_until(3).unwrap();
    assert_eq!(
        chain.query("gov", &[0x30], 4),
        Err(QueryError::NoState {
            height: 4,
            latest: 3
        })
    );
    assert_eq!(
        chain.query("gov", &[0x30], 0),
        Err(QueryError::NoState {
            height: 0,
            latest: 3
        })
    );
    assert_eq!(
        chain.query("params", &[0x30], 3),
        Err(QueryError::NoStore("params".into()))
    );
    assert_eq!(
        chain.light_block(4),
        Err(QueryError::NoBlock {
            height: 4,
            latest: 3
        })
    );
    assert_eq!(
        chain.light_block(0),
        Err(QueryError::NoBlock {
            height: 0,
            latest: 3
        })
    );
}
