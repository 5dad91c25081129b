use std::string::{String, ToString};
use std::vec::Vec;

use proptest::prelude::*;

use super::age::Identity;
use super::*;
use crate::fake::FakePlatform;

const NAMES: [&str; 5] = ["ana", "bo", "chen", "dora", "emil"];

/// The holders' keys, the same in every run.
pub(crate) fn keys(n: usize) -> Vec<Identity> {
    let p = &mut FakePlatform::new(200);
    (0..n).map(|_| Identity::generate(p)).collect()
}

pub(crate) fn holders(needed: u8, n: usize) -> Holders {
    let of = |(name, key): (&str, &Identity)| Holder { name: name.into(), recipient: *key.recipient().as_bytes() };
    Holders { needed, holders: NAMES.into_iter().zip(&keys(n)).map(of).collect() }
}

pub(crate) fn terms(needed: u8, n: usize) -> Terms {
    Terms {
        version: VERSION,
        purpose: Purpose::Signer,
        number: 1,
        previous: None,
        public_key: vec![9; 384],
        holders: holders(needed, n),
    }
}

pub(crate) fn secret() -> Secret32 {
    Secret32::danger_from_bytes(&[42; 32])
}

fn dealt(terms: Terms) -> Dealt {
    deal(&mut FakePlatform::new(1), terms, &secret()).unwrap()
}

/// What holder number `i`, from 0, has after opening the file.
pub(crate) fn share(dealt: &Dealt, i: usize) -> Share {
    let plain = age::decrypt(&keys(5)[i], &dealt.files[i]).unwrap();
    Share::parse(core::str::from_utf8(&plain).unwrap()).unwrap()
}

fn combine(dealt: &Dealt, shares: Vec<Share>) -> Result<Combined, TooFewShares> {
    let mut c = Collector::new(&dealt.transcript);
    shares.into_iter().for_each(|s| c.add(s));
    c.combine()
}

/// A share with one bit of its value turned.
fn spoilt(mut s: Share) -> Share {
    let mut value = *s.value.danger_expose();
    value[5] ^= 8;
    s.value = Secret32::danger_from_bytes(&value);
    s
}

#[test]
fn any_m_shares_give_the_secret() {
    let d = dealt(terms(3, 5));
    for set in [[0, 1, 2], [2, 3, 4], [4, 0, 2]] {
        let got = combine(&d, set.map(|i| share(&d, i)).into()).unwrap();
        assert!(got.danger_secret().ct_eq(&secret()));
        assert_eq!(got.holders().len(), 3);
    }
    let all = combine(&d, (0..5).map(|i| share(&d, i)).collect()).unwrap();
    assert!(all.danger_secret().ct_eq(&secret()) && all.bad().is_empty());
}

#[test]
fn a19_fewer_than_m_shares_give_nothing() {
    let d = dealt(terms(3, 5));
    let got = combine(&d, vec![share(&d, 1), share(&d, 4)]).err().unwrap();
    assert_eq!(got.to_string(), "2 of 3 needed holders (bo, emil) brought a good share of ceremony 1");
    assert_eq!(combine(&d, vec![]).err().unwrap().to_string(), "0 of 3 needed holders (nobody) brought a good share of ceremony 1");
}

#[test]
fn a19_one_share_twice_counts_once_and_its_holder_is_named() {
    let d = dealt(terms(3, 5));
    let got = combine(&d, vec![share(&d, 0), share(&d, 1), share(&d, 1)]).err().unwrap();
    assert_eq!(got.bad, [BadShare { who: "bo".into(), why: ShareFault::Twice }]);
    let enough = combine(&d, vec![share(&d, 0), share(&d, 1), share(&d, 1), share(&d, 2)]).unwrap();
    assert!(enough.danger_secret().ct_eq(&secret()), "a double among enough good ones spoils nothing");
}

#[test]
fn a19_a_share_of_an_older_ceremony_is_named_and_does_not_count() {
    let old = dealt(terms(3, 5));
    let next = Terms { number: 2, previous: Some(old.transcript.digest()), ..terms(3, 5) };
    let new = deal(&mut FakePlatform::new(2), next, &Secret32::danger_from_bytes(&[43; 32])).unwrap();
    let got = combine(&new, vec![share(&new, 0), share(&new, 1), share(&old, 2)]).err().unwrap();
    assert_eq!(got.bad, [BadShare { who: "share 3 of ceremony 1".into(), why: ShareFault::OtherCeremony { expected: 2, got: 1 } }]);
    assert!(combine(&new, (0..5).map(|i| share(&old, i)).collect()).is_err(), "all old shares together");
    new.transcript.follows(&old.transcript).unwrap();
    assert!(old.transcript.follows(&new.transcript).is_err() && old.transcript.follows(&old.transcript).is_err());
}

#[test]
fn a19_a_corrupted_share_is_found_by_name_and_the_good_ones_still_count() {
    let d = dealt(terms(3, 5));
    let got = combine(&d, vec![share(&d, 0), spoilt(share(&d, 3)), share(&d, 4)]).err().unwrap();
    assert_eq!(got.bad.len(), 1);
    assert!(matches!(&got.bad[0], BadShare { who, why: ShareFault::Corrupted { .. } } if who == "dora"));
    assert!(got.to_string().contains("; these do not count: dora: it is not the share that was dealt: expected commitment"));
    let enough = combine(&d, vec![spoilt(share(&d, 3)), share(&d, 0), share(&d, 1), share(&d, 2)]).unwrap();
    assert!(enough.danger_secret().ct_eq(&secret()));
    assert_eq!(enough.bad().len(), 1);
}

#[test]
fn a19_a_share_under_another_number_or_of_other_terms_is_refused() {
    let d = dealt(terms(2, 3));
    let mut moved = share(&d, 0);
    moved.index = 2;
    let mut nobody = share(&d, 0);
    nobody.index = 9;
    let mut zero = share(&d, 0);
    zero.index = 0;
    let other = dealt(Terms { public_key: vec![8; 384], ..terms(2, 3) });
    let got = combine(&d, vec![moved, nobody, zero, share(&other, 1)]).err().unwrap();
    let kinds: Vec<String> = got.bad.iter().map(|b| b.to_string().chars().take(30).collect()).collect();
    assert_eq!(
        kinds,
        ["bo: it is not the share that w", "share 9: share number 9, expec", "share 0: share number 0, expec", "share 2 of ceremony 1: a share"]
    );
}

#[test]
fn h04_a_share_and_a_transcript_are_the_frozen_ones() {
    let d = dealt(terms(3, 5));
    let text = share(&d, 0).danger_to_text().to_string() + &hex::encode(d.transcript.to_cbor()) + "\n";
    assert_eq!(text, include_str!("../../tests/golden/ceremony_v1.txt"));
    let (line, transcript) = text.split_once('\n').unwrap();
    let back = Transcript::from_cbor(&hex::decode(transcript.trim()).unwrap()).unwrap();
    assert_eq!(Share::parse(line).unwrap().commitment(), back.commitments()[0]);
}

#[test]
fn a_holder_finds_their_own_file_in_the_transcript() {
    let d = dealt(terms(3, 5));
    assert_eq!(d.transcript.holder_of_file(&d.files[2]).unwrap().name, "chen");
    assert_eq!(d.transcript.holder_of_file(b"other"), None);
    assert_eq!(age::decrypt(&keys(5)[1], &d.files[2]).err(), Some(AgeError::NotForUs));
}

#[test]
fn lists_under_which_one_person_could_act_are_refused() {
    let with = |f: &dyn Fn(&mut Holders)| {
        let mut t = terms(2, 3);
        f(&mut t.holders);
        deal(&mut FakePlatform::new(1), t, &secret()).err()
    };
    assert!(with(&|_| ()).is_none());
    let counts = |needed, holders| Some(DealError::Terms(HoldersError::Counts { needed, holders }.into()));
    assert_eq!(with(&|h| h.needed = 1), counts(1, 3));
    assert_eq!(with(&|h| h.needed = 0), counts(0, 3));
    assert_eq!(with(&|h| h.needed = 4), counts(4, 3));
    assert_eq!(with(&|h| h.holders.clear()), counts(2, 0));
    let twice = |name: &str| Some(DealError::Terms(HoldersError::Twice { name: name.into() }.into()));
    assert_eq!(with(&|h| h.holders[2].name = "ana".into()), twice("ana"));
    assert_eq!(with(&|h| h.holders[2].recipient = h.holders[0].recipient), twice("chen"));
    for bad in ["", " ", "a\nb", &"x".repeat(MAX_NAME_BYTES + 1)] {
        let got = with(&|h| h.holders[1].name = bad.into());
        assert_eq!(got, Some(DealError::Terms(HoldersError::Name { index: 2 }.into())));
    }
    assert!(matches!(with(&|h| h.holders[1].recipient = [0; 32]), Some(DealError::Recipient { name, .. }) if name == "bo"));
}

#[test]
fn a21_texts_that_are_no_share_and_bytes_that_are_no_transcript_are_refused() {
    let d = dealt(terms(2, 3));
    let good = share(&d, 0).danger_to_text();
    assert!(Share::parse(&good).is_ok() && Share::parse(&good[..good.len() - 5]).is_err());
    for bad in ["", "baton-share1:", "baton-share2:AA", &good[1..], &(good.trim().to_string() + "AA"), &"baton-share1:A".repeat(90)] {
        assert!(Share::parse(bad).is_err(), "{bad}");
    }
    let bytes = d.transcript.to_cbor();
    assert!(Transcript::from_cbor(&bytes[..bytes.len() - 1]).is_err());
    assert!(Transcript::from_cbor(&[bytes.clone(), vec![0]].concat()).is_err());
    let with = |f: &dyn Fn(&mut Transcript)| {
        let mut t = Transcript::from_cbor(&bytes).unwrap();
        f(&mut t);
        Transcript::from_cbor(&t.to_cbor())
    };
    assert!(matches!(with(&|t| t.terms.version = 2), Err(TranscriptError::Version { got: 2 })));
    assert!(matches!(with(&|t| t.commitments.truncate(2)), Err(TranscriptError::Counts { commitments: 2, .. })));
    assert!(matches!(with(&|t| t.terms.number = 2), Err(TranscriptError::Chain { .. })));
    assert!(matches!(with(&|t| t.terms.number = 0), Err(TranscriptError::Chain { .. })));
    assert!(matches!(with(&|t| t.terms.previous = Some(Digest32([1; 32]))), Err(TranscriptError::Chain { .. })));
    assert!(matches!(with(&|t| t.terms.holders.needed = 1), Err(TranscriptError::Holders(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a19_shares_below_m_never_combine_and_any_m_do(m in 2u8..=5, extra in 0usize..=3, pick: u64, value: [u8; 32]) {
        let n = (usize::from(m) + extra).min(5);
        let secret = Secret32::danger_from_bytes(&value);
        let d = deal(&mut FakePlatform::new(3), terms(m, n), &secret).unwrap();
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, (pick as usize >> i) % (i + 1));
        }
        let few = order.iter().take(usize::from(m) - 1).map(|i| share(&d, *i)).collect();
        prop_assert!(combine(&d, few).is_err());
        let enough = order.iter().take(usize::from(m)).map(|i| share(&d, *i)).collect();
        prop_assert!(combine(&d, enough).unwrap().danger_secret().ct_eq(&secret));
    }

    /// What m - 1 holders know fits every other secret just as well: for any value of a byte there is a last share that
    /// gives it, so their shares say nothing about it.
    #[test]
    fn a19_m_minus_one_shares_fit_every_secret(at in 0usize..32) {
        let d = dealt(terms(3, 5));
        let (a, b) = (share(&d, 0), share(&d, 1));
        let point = |i: u8, v: u8| vec![i, v];
        let seen: std::collections::BTreeSet<u8> = (0..=255)
            .map(|guess| {
                let points = vec![
                    point(1, a.value.danger_expose()[at]),
                    point(2, b.value.danger_expose()[at]),
                    point(3, guess),
                ];
                Gf256::combine_bytes(&points).unwrap()[0]
            })
            .collect();
        prop_assert_eq!(seen.len(), 256);
    }

    #[test]
    fn a21_any_text_is_a_share_or_is_refused_without_a_panic(text: String, bytes: Vec<u8>) {
        let _ = Share::parse(&text);
        let _ = Share::parse(&(SHARE_PREFIX.to_string() + &URL_SAFE_NO_PAD.encode(&bytes)));
        let _ = Transcript::from_cbor(&bytes);
    }
}
