use std::string::{String, ToString};
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::log::{LogState, leaf_hash};

fn checkpoint() -> Checkpoint {
    let mut log = LogState::new();
    log.append(leaf_hash(b"one"));
    Checkpoint {
        origin: "baton/test-1/ab".to_string(),
        size: 1,
        root: log.root(),
    }
}

fn key() -> NoteKey {
    NoteKey::from_seed("baton/test-1/ab", &[7; 32])
}

#[test]
fn a_signed_checkpoint_verifies_and_is_the_frozen_text() {
    let note = checkpoint().sign(&key());
    assert_eq!(note, include_str!("../../tests/golden/checkpoint_v1.txt"));
    let back = Checkpoint::verify(&note, "baton/test-1/ab", &key().public_key());
    assert_eq!(back, Ok(checkpoint()));
}

#[test]
fn the_signed_note_specifications_own_example_verifies() {
    // From the documentation of golang.org/x/mod/sumdb/note, whose format C2SP signed-note is.
    let note = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n\
                \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    let key = STANDARD
        .decode("ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
        .unwrap();
    let key: [u8; 32] = key[1..].try_into().unwrap();
    let text = verify_note(note, "PeterNeumann", &key).unwrap();
    assert!(text.ends_with("then you don't know what your problem is.\n"));
    assert!(verify_note(&note.replace("don't", "do"), "PeterNeumann", &key).is_err());
}

#[test]
fn signatures_by_unknown_keys_are_skipped() {
    let other = NoteKey::from_seed("witness.example/w1", &[8; 32]);
    let mut note = checkpoint().sign(&key());
    let theirs = checkpoint().sign(&other);
    note.push_str(theirs.lines().last().unwrap());
    note.push('\n');
    assert!(Checkpoint::verify(&note, "baton/test-1/ab", &key().public_key()).is_ok());
    assert!(verify_note(&note, "witness.example/w1", &other.public_key()).is_ok());
}

#[test]
fn a_note_that_this_key_did_not_sign_is_refused() {
    let note = checkpoint().sign(&key());
    let other = NoteKey::from_seed("baton/test-1/ab", &[8; 32]).public_key();
    let got = Checkpoint::verify(&note, "baton/test-1/ab", &other);
    assert_eq!(
        got,
        Err(NoteError::NotSigned {
            name: "baton/test-1/ab".to_string(),
            got: 1
        })
    );
    let got = Checkpoint::verify(&note, "baton/test-2/ab", &key().public_key());
    assert!(matches!(got, Err(NoteError::NotSigned { .. })));
}

#[test]
fn a_known_key_with_a_bad_signature_is_an_error_even_beside_a_good_one() {
    let mut note = checkpoint().sign(&key());
    let forged = Checkpoint {
        size: 2,
        ..checkpoint()
    }
    .sign(&key());
    note.push_str(forged.lines().last().unwrap());
    note.push('\n');
    let got = Checkpoint::verify(&note, "baton/test-1/ab", &key().public_key());
    assert_eq!(
        got,
        Err(NoteError::BadSignature {
            name: "baton/test-1/ab".to_string()
        })
    );
}

#[test]
fn a_checkpoint_of_another_log_signed_by_this_key_is_refused() {
    let note = Checkpoint {
        origin: "baton/test-1/cd".to_string(),
        ..checkpoint()
    }
    .sign(&key());
    let got = Checkpoint::verify(&note, "baton/test-1/ab", &key().public_key());
    assert!(matches!(got, Err(NoteError::Origin { .. })));
}

#[test]
fn a_public_key_of_small_order_is_refused() {
    let mut identity_point = [0; 32];
    identity_point[0] = 1;
    let note = checkpoint().sign(&key());
    assert_eq!(
        verify_note(&note, "baton/test-1/ab", &identity_point),
        Err(NoteError::PublicKey)
    );
}

#[test]
fn a21_malformed_checkpoints_are_refused() {
    let root = STANDARD.encode([1; 32]);
    let bad: Vec<String> = vec![
        String::new(),
        "o\n1\n".into(),
        std::format!("o\n1\n{root}"),
        std::format!("\n1\n{root}\n"),
        std::format!("o\n01\n{root}\n"),
        std::format!("o\n+1\n{root}\n"),
        std::format!("o\n-1\n{root}\n"),
        std::format!("o\n18446744073709551616\n{root}\n"),
        std::format!("o\n1\n{}\n", STANDARD.encode([1; 31])),
        std::format!("o\n1\n{root}\n\nx\n"),
    ];
    for text in bad {
        assert!(
            matches!(Checkpoint::parse(&text), Err(NoteError::Checkpoint(_))),
            "{text:?}"
        );
    }
    assert!(Checkpoint::parse(&std::format!("o\n1\n{root}\nextension\n")).is_ok());
}

#[test]
fn a21_malformed_notes_are_refused() {
    let good = checkpoint().sign(&key());
    let bad = [
        good.trim_end().to_string(),
        good.replace("\n\n", "\n"),
        good.replace('\u{2014}', "-"),
        good.replace("\u{2014} ", "\u{2014}  "),
        good.replace("baton/test-1/ab ", "baton/test-1+ab "),
        std::format!("{good}\n"),
        good.replace('\n', "\r\n"),
    ];
    for note in bad {
        assert!(
            verify_note(&note, "baton/test-1/ab", &key().public_key()).is_err(),
            "{note:?}"
        );
    }
    let many = std::format!("{good}{}", "\u{2014} w AAAAAAA=\n".repeat(MAX_SIGNATURES));
    let got = verify_note(&many, "baton/test-1/ab", &key().public_key());
    assert_eq!(got, Err(NoteError::Malformed("too many signatures")));
    let long = "x".repeat(MAX_NOTE_LEN + 1);
    let got = verify_note(&long, "n", &key().public_key());
    assert_eq!(
        got,
        Err(NoteError::Oversized {
            got: MAX_NOTE_LEN + 1
        })
    );
}

proptest! {
    #[test]
    fn a21_any_text_is_read_or_refused_without_a_panic(text: String) {
        let _ = verify_note(&text, "n", &key().public_key());
        let _ = Checkpoint::parse(&text);
    }

    #[test]
    fn a21_a_changed_byte_never_verifies_as_another_checkpoint(at in 0usize..400, byte: u8) {
        let mut bytes = checkpoint().sign(&key()).into_bytes();
        let at = at % bytes.len();
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        if let Ok(note) = String::from_utf8(bytes)
            && let Ok(got) = Checkpoint::verify(&note, "baton/test-1/ab", &key().public_key())
        {
            prop_assert_eq!(got, checkpoint());
        }
    }
}
