use std::string::ToString;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::fake::FakePlatform;
use crate::shares::tests::{secret, share, terms};
use crate::shares::{Dealt, deal};

fn dealt() -> Dealt {
    deal(&mut FakePlatform::new(1), terms(2, 3), &secret()).unwrap()
}

fn session(d: &Dealt) -> Session {
    Session::open(&mut FakePlatform::new(4), d.transcript.digest())
}

fn build(n: u8) -> Subject {
    Subject::Sign { measurement: Measurement([n; 32]), product_id: 1, svn: 2 }
}

fn boxed(d: &Dealt, s: &Session, subject: &Subject, i: usize) -> ShareBox {
    ShareBox::seal(&mut FakePlatform::new(50 + i as u8), s.info(), subject, &share(d, i)).unwrap()
}

#[test]
fn boxes_for_one_build_give_the_secret_for_that_build_alone() {
    let (d, other) = (dealt(), build(2));
    let s = session(&d);
    let boxes: Vec<ShareBox> = (0..2).map(|i| boxed(&d, &s, &build(1), i)).collect();
    let got = s.combine(&d.transcript, &build(1), &boxes).unwrap();
    assert!(got.danger_secret().ct_eq(&secret()));
    let refused = s.combine(&d.transcript, &other, &boxes).err().unwrap().to_string();
    assert!(refused.starts_with("0 of 2 needed holders (nobody)") && refused.contains("ana: the box does not open"), "{refused}");
    for subject in [
        Subject::Sign { measurement: Measurement([1; 32]), product_id: 1, svn: 3 },
        Subject::Sign { measurement: Measurement([1; 32]), product_id: 2, svn: 2 },
        Subject::Reshare { holders: Digest32([1; 32]) },
    ] {
        assert!(s.combine(&d.transcript, &subject, &boxes).is_err());
    }
}

#[test]
fn boxes_of_another_session_are_refused() {
    let d = dealt();
    let (s, later) = (session(&d), Session::open(&mut FakePlatform::new(5), d.transcript.digest()));
    let boxes: Vec<ShareBox> = (0..3).map(|i| boxed(&d, &s, &build(1), i)).collect();
    let got = later.combine(&d.transcript, &build(1), &boxes).err().unwrap();
    assert_eq!((got.good.len(), got.bad.len()), (0, 3));
}

#[test]
fn one_holder_cannot_box_twice_nor_under_another_name() {
    let d = dealt();
    let s = session(&d);
    let mine = boxed(&d, &s, &build(1), 0);
    let twice = s.combine(&d.transcript, &build(1), &[mine.clone(), mine.clone()]).err().unwrap();
    assert_eq!(twice.bad[0].to_string(), "ana: brought twice, counts once");
    // The index is bound, so renaming a box only breaks it.
    let renamed = s.combine(&d.transcript, &build(1), &[mine.clone(), ShareBox { index: 2, ..mine }]).err().unwrap();
    assert!(renamed.to_string().contains("bo: the box does not open"));
}

#[test]
fn a_bad_box_among_enough_good_ones_spoils_nothing() {
    let d = dealt();
    let s = session(&d);
    let mut boxes: Vec<ShareBox> = (0..3).map(|i| boxed(&d, &s, &build(1), i)).collect();
    boxes[0].sealed.ciphertext[3] ^= 1;
    let got = s.combine(&d.transcript, &build(1), &boxes).unwrap();
    assert_eq!(got.holders(), ["bo", "chen"]);
    assert_eq!(got.bad()[0].who, "ana");
}

#[test]
fn a_wrapped_key_opens_only_with_its_own_ceremonys_secret() {
    let d = dealt();
    let s = session(&d);
    let boxes: Vec<ShareBox> = (0..2).map(|i| boxed(&d, &s, &build(1), i)).collect();
    let combined = s.combine(&d.transcript, &build(1), &boxes).unwrap();
    let id = d.transcript.terms().id();
    let wrapped = wrap::wrap(&secret(), &id, b"key").unwrap();
    assert_eq!(&wrap::unwrap(&combined, &id, &wrapped).unwrap()[..], b"key");
    assert!(wrap::unwrap(&combined, &Digest32([0; 32]), &wrapped).is_none());
    let newer = wrap::wrap(&crate::secret::Secret32::danger_from_bytes(&[43; 32]), &id, b"key").unwrap();
    assert!(wrap::unwrap(&combined, &id, &newer).is_none(), "old shares open nothing of the new state");
}

#[test]
fn h04_sessions_and_boxes_are_read_as_frozen() {
    let d = dealt();
    let s = session(&d);
    let text = hex::encode(encode(s.info())) + "\n" + &hex::encode(encode(&boxed(&d, &s, &build(1), 0))) + "\n";
    assert_eq!(text, include_str!("../../tests/golden/share_session_v1.txt"));
    let lines: Vec<Vec<u8>> = text.lines().map(|l| hex::decode(l).unwrap()).collect();
    assert_eq!(SessionInfo::from_cbor(&lines[0]).unwrap(), *s.info());
    assert_eq!(ShareBox::from_cbor(&lines[1]).unwrap().index, 1);
    assert!(SessionInfo::from_cbor(&lines[1]).is_err() && ShareBox::from_cbor(&lines[0]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a21_any_bytes_are_read_or_refused_without_a_panic(bytes: Vec<u8>) {
        let _ = SessionInfo::from_cbor(&bytes);
        if let Ok(b) = ShareBox::from_cbor(&bytes) {
            let d = dealt();
            prop_assert!(session(&d).combine(&d.transcript, &build(1), &[b]).is_err());
        }
    }
}
