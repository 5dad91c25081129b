use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use baton_attest::identity::{Digest32, hash};
use baton_chain::record::Kind;
use baton_core::log::{Event, LogEntry, LogFacts, LogHash, LogState, Route};
use baton_core::note::{Checkpoint, NoteKey, origin};

use crate::support::*;

struct Made {
    branch: Digest32,
    root: LogHash,
}

fn branch_of(seed: u8) -> (Digest32, NoteKey) {
    let public = NoteKey::from_seed("x", &[seed; 32]).public_key();
    let branch = hash("baton log branch v1", &[&public]);
    (
        branch,
        NoteKey::from_seed(&origin("test-1", &branch), &[seed; 32]),
    )
}

/// Writes a log folder as a host does.
fn write_log(dir: &Path, seed: u8, events: &[Event]) -> Made {
    fs::create_dir_all(dir).unwrap();
    let (branch, key) = branch_of(seed);
    let mut state = LogState::new();
    let mut text = String::new();
    for (seq, event) in (0..).zip(events) {
        let facts = LogFacts {
            height: Some(100 + seq),
            ..LogFacts::default()
        };
        let entry = LogEntry {
            seq,
            facts,
            event: event.clone(),
        };
        state.append(entry.leaf_hash());
        text += &(STANDARD.encode(entry.to_bytes()) + "\n");
    }
    let head = Checkpoint {
        origin: origin("test-1", &branch),
        size: state.size(),
        root: state.root(),
    };
    fs::write(dir.join("entries.txt"), text).unwrap();
    fs::write(dir.join("checkpoint.txt"), head.sign(&key)).unwrap();
    fs::write(dir.join("key.txt"), hex::encode(key.public_key()) + "\n").unwrap();
    Made {
        branch,
        root: state.root(),
    }
}

fn giver() -> Vec<Event> {
    vec![
        Event::Rehearsal {
            as_source: true,
            passed: true,
        },
        Event::Authorization {
            transfer: Kind::Upgrade,
            route: Route::Ahead,
            plan: Some("v2".into()),
            plan_height: Some(200),
            proposal_id: Some(7),
            admitted: Some("the validator of account 0606 with power 55".into()),
        },
        Event::Offer {
            transfer: Kind::Upgrade,
            epochs: 1,
        },
        Event::Confirmed {
            transfer: Kind::Upgrade,
        },
        Event::BarrierMet {
            platforms: 3,
            power_share: None,
        },
    ]
}

fn receiver(parent: &Made, size: u64) -> Vec<Event> {
    vec![
        Event::BranchStart {
            parent: parent.branch,
            size,
            root: parent.root,
            transfer: Kind::Upgrade,
        },
        Event::Received {
            transfer: Kind::Upgrade,
            epochs: 1,
        },
        Event::Activated {
            plan: Some("v2".into()),
            plan_height: Some(200),
        },
    ]
}

fn one() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    write_log(&log, 1, &giver());
    (dir, log)
}

fn verify(log: &Path, more: &[&str]) -> Ran {
    baton(&[&["log", "verify", path(log)], more].concat())
}

fn edit(log: &Path, change: impl FnOnce(&mut Vec<String>)) {
    let file = log.join("entries.txt");
    let mut lines: Vec<String> = fs::read_to_string(&file)
        .unwrap()
        .lines()
        .map(String::from)
        .collect();
    change(&mut lines);
    fs::write(
        &file,
        lines.iter().map(|l| l.clone() + "\n").collect::<String>(),
    )
    .unwrap();
}

#[test]
fn a_log_replays_from_its_first_entry_by_folder_and_by_file() {
    let (_dir, log) = one();
    let text = |ran: Ran| ran.out.replace(path(&log), "log");
    compare("log_verify", &text(verify(&log, &[]).expect(0)));
    compare(
        "log_show",
        &text(baton(&["log", "show", path(&log)]).expect(0)),
    );
    assert_eq!(
        text(verify(&log.join("entries.txt"), &[]).expect(0)),
        text(verify(&log, &[]))
    );
    let json = verify(&log, &["--json"]).expect(0).json();
    assert_eq!(
        (&json["accept"], &json["logs"][0]["entries"]),
        (&true.into(), &5.into())
    );
    let json = baton(&["log", "show", path(&log), "--json"])
        .expect(0)
        .json();
    assert_eq!(json["logs"][0]["entries"][2]["name"], "Offer");
}

#[test]
fn a_torn_last_line_is_reported_and_is_not_fatal() {
    let (_dir, log) = one();
    let file = log.join("entries.txt");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text + "AAEC").unwrap();
    assert!(verify(&log, &[]).expect(0).out.contains("torn"));
    assert!(
        baton(&["log", "show", path(&log)])
            .expect(0)
            .out
            .contains("torn")
    );
}

#[test]
fn a_removed_a_moved_and_an_unreadable_entry_are_named() {
    for (change, named) in [
        (
            Box::new(|l: &mut Vec<String>| drop(l.remove(2))) as Box<dyn FnOnce(&mut Vec<String>)>,
            "entry 2",
        ),
        (Box::new(|l| l.swap(1, 3)), "entry 1"),
        (Box::new(|l| l[3] = "not base64".into()), "entry 3"),
        (Box::new(|l| l[4] = STANDARD.encode([0xff; 9])), "entry 4"),
        (Box::new(|l| l[0] = String::new()), "entry 0"),
        (Box::new(|l| drop(l.pop())), "entry 4 is missing"),
        (Box::new(|l| l.clear()), "entry 0 is missing"),
    ] {
        let (_dir, log) = one();
        edit(&log, change);
        let ran = verify(&log, &[]).expect(1);
        assert!(ran.err.contains(named), "{named}: {}", ran.err);
    }
}

#[test]
fn a_well_formed_change_is_refused_by_the_root_and_named_by_an_older_copy() {
    let (dir, log) = one();
    let old = dir.path().join("old");
    write_log(&old, 1, &giver()[..4]);
    verify(&log, &["--against", path(&old)]).expect(0);
    let forged = LogEntry {
        seq: 2,
        facts: LogFacts::default(),
        event: Event::Offer {
            transfer: Kind::Join,
            epochs: 1,
        },
    };
    edit(&log, |l| l[2] = STANDARD.encode(forged.to_bytes()));
    let ran = verify(&log, &[]).expect(1);
    assert!(
        ran.err.contains("root") && ran.err.contains("--against"),
        "{}",
        ran.err
    );
    // Signed anew, only the older copy shows it.
    let mut events = giver();
    events[2] = Event::Offer {
        transfer: Kind::Join,
        epochs: 1,
    };
    write_log(&log, 1, &events);
    verify(&log, &[]).expect(0);
    let ran = verify(&log, &["--against", path(&old)]).expect(1);
    assert!(ran.err.contains("entry 2 is another one"), "{}", ran.err);
    verify(&log, &["--against", path(&old.join("checkpoint.txt"))]).expect(1);
}

#[test]
fn an_older_checkpoint_is_a_prefix_and_a_newer_one_misses_entries() {
    let (dir, log) = one();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    write_log(&old, 1, &giver()[..3]);
    write_log(
        &new,
        1,
        &[giver(), vec![Event::Erased { layer: 0 }]].concat(),
    );
    verify(&log, &["--against", path(&old.join("checkpoint.txt"))]).expect(0);
    assert!(
        verify(&log, &["--checkpoint", path(&old.join("checkpoint.txt"))])
            .expect(0)
            .out
            .contains("2 entries after")
    );
    verify(&log, &["--checkpoint", path(&new.join("checkpoint.txt"))]).expect(1);
    verify(&log, &["--against", path(&new)]).expect(1);
}

#[test]
fn a_checkpoint_by_another_key_or_changed_is_refused() {
    let (dir, log) = one();
    let other = dir.path().join("other");
    write_log(&other, 2, &giver());
    verify(&log, &["--checkpoint", path(&other.join("checkpoint.txt"))]).expect(1);
    let note = fs::read_to_string(log.join("checkpoint.txt")).unwrap();
    fs::write(
        log.join("checkpoint.txt"),
        note.replacen("\n5\n", "\n4\n", 1),
    )
    .unwrap();
    assert!(verify(&log, &[]).expect(1).err.contains("signature"));
    // The other log's key and name over these entries.
    fs::copy(other.join("key.txt"), log.join("key.txt")).unwrap();
    fs::write(log.join("checkpoint.txt"), &note).unwrap();
    verify(&log, &[]).expect(1);
}

#[test]
fn branches_below_one_folder_are_verified_against_their_parents() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (
        dir.path().join("nodes/1/log"),
        dir.path().join("nodes/2/log"),
    );
    let head = write_log(&a, 1, &giver()[..3]);
    write_log(&a, 1, &giver());
    write_log(&b, 2, &receiver(&head, 3));
    assert!(
        verify(dir.path(), &[])
            .expect(0)
            .out
            .contains("begins at entry 3")
    );
    let wrong = Made {
        root: LogHash([9; 32]),
        ..head
    };
    write_log(&b, 2, &receiver(&wrong, 3));
    verify(dir.path(), &[]).expect(1);
    write_log(&b, 2, &receiver(&head, 9));
    verify(dir.path(), &[]).expect(1);
    // Alone, nothing is known of its parent.
    verify(&b, &[]).expect(0);
    // The same branch twice is a fork, or a copy.
    write_log(&b, 1, &giver());
    verify(dir.path(), &[]).expect(1);
}

#[test]
fn folders_without_a_log_or_without_its_key_are_bad_input() {
    let (dir, log) = one();
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    verify(&empty, &[]).expect(2);
    fs::remove_file(log.join("key.txt")).unwrap();
    verify(&log, &[]).expect(2);
    fs::write(log.join("key.txt"), "xyz").unwrap();
    verify(&log, &[]).expect(2);
}
