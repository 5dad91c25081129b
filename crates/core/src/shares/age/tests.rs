use std::io::{Read, Write};
use std::string::ToString;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::fake::FakePlatform;

fn identity(n: u8) -> Identity {
    Identity(Secret32::danger_from_bytes(&[n; 32]))
}

fn file() -> Vec<u8> {
    encrypt(&mut FakePlatform::new(1), &identity(1).recipient(), b"a share").unwrap()
}

/// The `age` crate, which shares no code with this module.
fn opened_by_age(key: &Identity, file: &[u8]) -> Vec<u8> {
    let key: age::x25519::Identity = key.danger_to_text().parse().unwrap();
    let decryptor = age::Decryptor::new(file).unwrap();
    let mut out = Vec::new();
    decryptor.decrypt(core::iter::once(&key as &dyn age::Identity)).unwrap().read_to_end(&mut out).unwrap();
    out
}

fn sealed_by_age(to: &Recipient, plaintext: &[u8]) -> Vec<u8> {
    let to: age::x25519::Recipient = to.to_string().parse().unwrap();
    let other = age::x25519::Identity::generate().to_public();
    let all: [&dyn age::Recipient; 2] = [&other, &to];
    let mut out = Vec::new();
    let mut writer = age::Encryptor::with_recipients(all.into_iter()).unwrap().wrap_output(&mut out).unwrap();
    writer.write_all(plaintext).unwrap();
    writer.finish().unwrap();
    out
}

#[test]
fn another_implementation_opens_our_files() {
    assert_eq!(opened_by_age(&identity(1), &file()), b"a share");
    let whole = encrypt(&mut FakePlatform::new(1), &identity(1).recipient(), &[7; MAX_PLAINTEXT_BYTES]).unwrap();
    assert_eq!(opened_by_age(&identity(1), &whole), [7; MAX_PLAINTEXT_BYTES]);
    let empty = encrypt(&mut FakePlatform::new(1), &identity(1).recipient(), b"").unwrap();
    assert_eq!(opened_by_age(&identity(1), &empty), b"");
}

#[test]
fn we_open_another_implementations_files_and_skip_stanzas_for_others() {
    let theirs = sealed_by_age(&identity(1).recipient(), b"from age");
    assert_eq!(&decrypt(&identity(1), &theirs).unwrap()[..], b"from age");
    assert_eq!(decrypt(&identity(2), &theirs).err(), Some(AgeError::NotForUs));
}

#[test]
fn h04_a_share_file_is_the_frozen_one() {
    let golden = include_str!("../../../tests/golden/age_file_v1.hex").trim();
    assert_eq!(hex::encode(file()), golden);
    assert_eq!(&decrypt(&identity(1), &hex::decode(golden).unwrap()).unwrap()[..], b"a share");
}

#[test]
fn recipients_and_identities_are_the_texts_of_age_keygen() {
    let theirs = age::x25519::Identity::generate();
    let secret = age::secrecy::ExposeSecret::expose_secret(&theirs.to_string()).to_string();
    let ours = Identity::parse(&std::format!("# created: today\n# public key: {}\n{secret}\n", theirs.to_public())).unwrap();
    assert_eq!(ours.recipient().to_string(), theirs.to_public().to_string());
    assert_eq!(*ours.danger_to_text(), secret);
    let text = ours.recipient().to_string();
    assert_eq!(text.parse::<Recipient>(), Ok(ours.recipient()));
    let (upper, long) = (text.to_uppercase(), text.clone() + "q");
    for bad in ["", "age1", &text[1..], &text[..61], &upper, &long, &secret, &text.replace("age1", "agf1")] {
        assert!(bad.parse::<Recipient>().is_err(), "{bad}");
    }
    for bad in ["", "# only a comment", &text, &secret.to_lowercase(), &secret[..70], "AGE-PLUGIN-YUBIKEY-1QQ"] {
        assert!(Identity::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_recipient_of_small_order_is_refused() {
    let mut one = [0; 32];
    one[0] = 1;
    for weak in [[0; 32], one] {
        let got = encrypt(&mut FakePlatform::new(1), &Recipient::from_bytes(weak), b"x");
        assert_eq!(got, Err(AgeError::WeakKey));
    }
}

#[test]
fn a21_broken_age_files_are_refused() {
    let good = file();
    let text = |f: &[u8]| decrypt(&identity(1), f).err();
    assert_eq!(text(b""), Some(AgeError::Malformed("no end of the header")));
    assert_eq!(text(b"age-encryption.org/v2\n-> X25519 a\nb\n--- c\n"), Some(AgeError::Malformed("the MAC is not 32 bytes in base64")));
    assert!(matches!(text(&good[1..]), Some(AgeError::Malformed(_))));
    assert_eq!(text(&good[..good.len() - 1]), Some(AgeError::Damaged("payload")));
    assert_eq!(text(&good[..150]), Some(AgeError::Malformed("no MAC")));
    let mut longer = good.clone();
    longer.push(0);
    assert_eq!(text(&longer), Some(AgeError::Damaged("payload")));
    assert!(matches!(text(&[0; MAX_FILE_BYTES + 1]), Some(AgeError::TooLong { .. })));
    let big = encrypt(&mut FakePlatform::new(1), &identity(1).recipient(), &[0; MAX_PLAINTEXT_BYTES + 1]);
    assert_eq!(big, Err(AgeError::TooLong { got: MAX_PLAINTEXT_BYTES + 1 }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a21_a_changed_age_file_never_opens(at: usize, bit in 0u8..8) {
        let mut bad = file();
        let at = at % bad.len();
        bad[at] ^= 1 << bit;
        prop_assert!(decrypt(&identity(1), &bad).is_err());
    }

    #[test]
    fn a21_any_bytes_are_read_or_refused_without_a_panic(bytes: Vec<u8>, text: std::string::String) {
        let _ = decrypt(&identity(1), &bytes);
        let _ = decrypt(&identity(1), &[b"age-encryption.org/v1\n", text.as_bytes(), b"\n--- ", &bytes[..]].concat());
        let _ = text.parse::<Recipient>();
        let _ = Identity::parse(&text);
    }
}
