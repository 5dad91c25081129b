//! Saving and loading.

use std::fs;
use std::time::Duration;

use baton_devnet::{Account, Devnet, JournalError, Precommit};

use crate::support::{chain, chain_with_plan};

#[test]
fn a_loaded_chain_is_the_same_and_goes_on_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = chain_with_plan("v2", 60);
    chain.set_precommit(3, Precommit::Absent);
    chain.advance_time(Duration::from_secs(77));
    chain.produce_until(60).unwrap();
    assert!(chain.produce_block().is_err());
    chain.rollback(false).unwrap();
    chain.resume_with_handler("v2").unwrap();
    chain
        .send_memo(Account::User(1), "after the upgrade")
        .unwrap();
    chain.produce_until(64).unwrap();
    chain.rollback(true).unwrap();
    let mut chain = chain.fork_at(62).unwrap();
    chain.send_memo(Account::User(2), "waiting").unwrap();
    chain.save(folder.path()).unwrap();
    let mut loaded = Devnet::load(folder.path()).unwrap();
    assert_eq!(loaded.height(), 62);
    chain.produce_until(70).unwrap();
    loaded.produce_until(70).unwrap();
    assert_eq!(chain.light_block(70), loaded.light_block(70));
    assert_eq!(loaded.txs(63).unwrap().len(), 1);
}

#[test]
fn a_halted_chain_is_loaded_halted() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = chain_with_plan("v2", 60);
    chain.produce_until(60).unwrap();
    chain.save(folder.path()).unwrap();
    let mut loaded = Devnet::load(folder.path()).unwrap();
    assert_eq!(loaded.halted(), chain.halted());
    loaded.skip_upgrade().unwrap();
    loaded.save(folder.path()).unwrap();
    assert_eq!(Devnet::load(folder.path()).unwrap().halted(), None);
}

#[test]
fn a_journal_that_is_truncated_or_absent_or_of_another_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(
        Devnet::load(folder.path()),
        Err(JournalError::Io { .. })
    ));
    let mut chain = chain();
    chain.produce_until(3).unwrap();
    chain.save(folder.path()).unwrap();
    let file = folder.path().join("devnet.json");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, &text[..text.len() - 2]).unwrap();
    assert!(matches!(
        Devnet::load(folder.path()),
        Err(JournalError::Malformed { .. })
    ));
    fs::write(&file, text.replacen("\"version\":1", "\"version\":9", 1)).unwrap();
    assert!(matches!(
        Devnet::load(folder.path()),
        Err(JournalError::Version { got: 9 })
    ));
}

#[test]
fn a_journal_that_was_changed_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = chain();
    chain.produce_until(3).unwrap();
    chain.save(folder.path()).unwrap();
    let file = folder.path().join("devnet.json");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replacen("\"seed\":1", "\"seed\":2", 1)).unwrap();
    assert!(matches!(
        Devnet::load(folder.path()),
        Err(JournalError::Diverged { .. })
    ));
}
