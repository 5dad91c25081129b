//! Halting at a plan, going on with another binary, skipping, rolling back.

use baton_devnet::{Account, Devnet, Halt, LifecycleError, ProduceError, QueryError, Text, YES};

use crate::support::{
    PASSED, assert_step, chain, chain_with_plan, done_key, proposal, propose, proven,
};

const X: u64 = 60;

fn halted() -> Devnet {
    let mut chain = chain_with_plan("v2", X);
    chain.produce_until(X).unwrap();
    chain
}

#[test]
fn the_chain_halts_with_block_x_decided_and_its_state_one_below() {
    let mut chain = halted();
    let halt = Halt {
        height: X,
        name: "v2".into(),
    };
    assert_eq!((chain.height(), chain.state_height()), (X, X - 1));
    assert_eq!(chain.halted(), Some(&halt));
    assert_eq!(chain.produce_block(), Err(ProduceError::Halted(halt)));
    assert_eq!(chain.height(), X);
    assert_step(&chain, X - 1, X);
    assert!(proven(&chain, "upgrade", &[0], X - 1).unwrap().is_some());
    assert_eq!(
        chain.query("upgrade", &[0], X),
        Err(QueryError::NoState {
            height: X,
            latest: X - 1
        })
    );
}

#[test]
fn the_new_binary_applies_the_plan_and_leaves_a_done_key() {
    let mut chain = halted();
    let shared = chain.header_hash(X);
    chain.resume_with_handler("v2").unwrap();
    assert_eq!(
        (chain.height(), chain.state_height(), chain.halted()),
        (X, X, None)
    );
    assert_eq!(chain.header_hash(X), shared);
    chain.produce_until(X + 2).unwrap();
    assert_eq!(proven(&chain, "upgrade", &[0], X), Some(None));
    assert_eq!(
        proven(&chain, "upgrade", &done_key(X, "v2"), X),
        Some(Some(vec![1]))
    );
    assert_eq!(
        proven(&chain, "upgrade", &done_key(u64::MAX, ""), X),
        Some(None)
    );
    assert_step(&chain, X - 1, X + 2);
}

#[test]
fn h20_a_skipped_upgrade_leaves_neither_plan_nor_done_key() {
    let mut chain = halted();
    let mut applied = chain.clone();
    chain.skip_upgrade().unwrap();
    applied.resume_with_handler("v2").unwrap();
    chain.produce_until(X + 2).unwrap();
    applied.produce_until(X + 2).unwrap();
    assert_eq!(proven(&chain, "upgrade", &[0], X), Some(None));
    assert_eq!(proven(&chain, "upgrade", &done_key(X, "v2"), X), Some(None));
    assert_eq!(chain.header_hash(X), applied.header_hash(X));
    assert_ne!(chain.header_hash(X + 1), applied.header_hash(X + 1));
    assert_step(&chain, X, X + 2);
}

#[test]
fn a_binary_without_the_handler_cannot_resume() {
    let mut chain = halted();
    let error = chain.resume_with_handler("v3").unwrap_err();
    assert_eq!(
        error,
        LifecycleError::WrongHandler {
            expected: "v2".into(),
            got: "v3".into()
        }
    );
    assert!(chain.halted().is_some());
}

#[test]
fn a_running_chain_has_nothing_to_resume_or_skip() {
    let mut chain = chain_with_plan("v2", X);
    let height = chain.state_height();
    assert_eq!(
        chain.resume_with_handler("v2"),
        Err(LifecycleError::NotHalted { height })
    );
    assert_eq!(
        chain.skip_upgrade(),
        Err(LifecycleError::NotHalted { height })
    );
}

#[test]
fn a_transaction_sent_during_the_halt_is_accepted_and_lost() {
    let mut chain = halted();
    let hash = chain.send_memo(Account::User(0), "lost").unwrap();
    chain.resume_with_handler("v2").unwrap();
    chain.produce_until(X + 2).unwrap();
    assert_eq!(chain.tx(&hash), None);
    let again = chain.send_memo(Account::User(0), "lost").unwrap();
    assert_eq!(again, hash);
    chain.produce_block().unwrap();
    assert_eq!(chain.tx(&hash).unwrap().code, Some(0));
}

#[test]
fn a_transaction_in_block_x_is_executed_after_the_upgrade() {
    let mut chain = chain_with_plan("v2", X);
    chain.produce_until(X - 1).unwrap();
    let hash = chain.send_memo(Account::User(0), "in X").unwrap();
    chain.produce_block().unwrap();
    assert_eq!(chain.tx(&hash).unwrap().code, None);
    chain.resume_with_handler("v2").unwrap();
    let answer = chain.tx(&hash).unwrap();
    assert_eq!((answer.height, answer.code), (X, Some(0)));
}

#[test]
fn a_plan_for_the_height_at_which_it_passes_halts_one_later() {
    // Find the height at which the vote ends, then let the plan name that very height.
    let mut scout = chain();
    let id = propose(&mut scout, "v2", 1_000_000);
    scout.carry(id, YES).unwrap();
    let end = scout.state_height();
    let mut chain = chain();
    let id = propose(&mut chain, "v2", end);
    chain.carry(id, YES).unwrap();
    assert_eq!(
        (chain.state_height(), proposal(&chain, id).status),
        (end, PASSED)
    );
    chain.produce_block().unwrap();
    assert_eq!(chain.halted().unwrap().height, end + 1);
    chain.resume_with_handler("v2").unwrap();
    chain.produce_block().unwrap();
    assert_eq!(
        proven(&chain, "upgrade", &done_key(end + 1, "v2"), end + 1),
        Some(Some(vec![1]))
    );
}

#[test]
fn a23_a_name_that_is_done_cannot_be_scheduled_again() {
    let mut chain = halted();
    chain.resume_with_handler("v2").unwrap();
    let id = propose(&mut chain, "v2", 1_000);
    chain.carry(id, YES).unwrap();
    let record = proposal(&chain, id);
    assert_eq!(record.status, 5);
    assert_eq!(
        record.failed_reason,
        "upgrade with name v2 has already been completed: invalid request"
    );
}

#[test]
fn a23_a_superseded_plan_of_the_same_name_and_height_leaves_the_same_done_key() {
    let mut chain = chain();
    let mut ids = Vec::new();
    for info in ["{\"a\":1}", "{\"b\":2}"] {
        let message = Devnet::upgrade_message("v2", 80, info);
        let id = chain
            .propose(vec![message], &Text::titled("Same"), false)
            .unwrap()
            .unwrap();
        chain.carry(id, YES).unwrap();
        ids.push(id);
    }
    chain.produce_until(80).unwrap();
    assert_eq!(chain.plan().unwrap().info, "{\"b\":2}");
    chain.resume_with_handler("v2").unwrap();
    chain.produce_until(82).unwrap();
    assert!(ids.iter().all(|id| proposal(&chain, *id).status == PASSED));
    assert_eq!(
        proven(&chain, "upgrade", &done_key(80, "v2"), 80),
        Some(Some(vec![1]))
    );
}

#[test]
fn a_rollback_takes_the_state_back_and_the_block_is_executed_again() {
    let mut chain = chain();
    chain.produce_until(8).unwrap();
    let before = chain.clone();
    chain.rollback(false).unwrap();
    assert_eq!((chain.height(), chain.state_height()), (8, 7));
    chain.produce_until(10).unwrap();
    let mut before = before;
    before.produce_until(10).unwrap();
    assert_eq!(chain.header_hash(10), before.header_hash(10));
}

#[test]
fn a_hard_rollback_lets_another_block_take_the_place() {
    let mut chain = chain();
    chain.produce_until(8).unwrap();
    let old = chain.header_hash(8);
    chain.rollback(true).unwrap();
    assert_eq!((chain.height(), chain.state_height()), (7, 7));
    chain
        .send_memo(Account::User(0), "another block 8")
        .unwrap();
    chain.produce_until(9).unwrap();
    assert_ne!(chain.header_hash(8), old);
    assert_step(&chain, 7, 8);
}

#[test]
fn a_rollback_over_an_upgrade_halts_again_and_can_then_be_skipped() {
    let mut chain = halted();
    chain.resume_with_handler("v2").unwrap();
    chain.rollback(false).unwrap();
    assert!(matches!(
        chain.produce_block(),
        Err(ProduceError::Halted(_))
    ));
    chain.skip_upgrade().unwrap();
    chain.produce_until(X + 2).unwrap();
    assert_eq!(proven(&chain, "upgrade", &done_key(X, "v2"), X), Some(None));
}

#[test]
fn a_rollback_before_block_2_is_refused() {
    let mut chain = chain();
    chain.produce_block().unwrap();
    assert_eq!(
        chain.rollback(false),
        Err(LifecycleError::NoHeight {
            height: 0,
            latest: 1
        })
    );
}
