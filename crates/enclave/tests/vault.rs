//! The example app's records: what opens, and what of another release is refused by name.
//!
//! Run with and without feature `padded`: the two are the programs v1 and v2 of the demo.

use baton_attest::identity::encode;
use baton_core::secret::{AppKey, Seed};
use baton_enclave::vault::{self, NEWEST_LAYOUT, Record, VaultError};

fn key(n: u8) -> AppKey {
    Seed::danger_from_bytes(&[n; 32]).app_key("chain", 0, vault::LABEL)
}

fn record() -> Record {
    vault::seal(&key(1), 0, [2; 12], "name", b"value").unwrap()
}

#[test]
fn a_record_opens_under_its_key_and_name_and_under_no_other() {
    let tampered = Err(VaultError::Tampered { name: "name".into() });
    assert_eq!(vault::open(&key(1), "name", &record()).unwrap(), b"value");
    assert_eq!(vault::open(&key(2), "name", &record()), tampered);
    assert!(vault::open(&key(1), "other", &record()).is_err());
    assert_eq!(vault::open(&key(1), "name", &Record { epoch: 1, ..record() }), tampered);
    let mut cut = record();
    cut.ciphertext.pop();
    assert_eq!(vault::open(&key(1), "name", &cut), tampered);
    let long = vec![0; vault::MAX_VALUE_BYTES + 1];
    assert_eq!(vault::seal(&key(1), 0, [2; 12], "name", &long), Err(VaultError::Oversized { got: long.len() }));
}

#[test]
fn h04_a_record_of_a_layout_that_this_program_does_not_know_is_refused_by_name() {
    for version in [0, NEWEST_LAYOUT + 1, 255] {
        let other = Record { version, ..record() };
        assert_eq!(vault::open(&key(1), "name", &other), Err(VaultError::Layout { got: version }));
    }
}

#[test]
fn h04_layout_1_is_what_a_program_of_either_kind_writes_for_a_plain_value() {
    let hex = "a400010100024c02020202020202020202020203";
    assert!(hex::encode(encode(&record())).starts_with(hex));
}

#[cfg(not(feature = "padded"))]
#[test]
fn a_program_of_layout_1_writes_no_padded_record() {
    assert_eq!(vault::seal_padded(&key(1), 0, [2; 12], "name", b"value"), Err(VaultError::NotPadding));
    assert_eq!(NEWEST_LAYOUT, 1);
}

#[cfg(feature = "padded")]
mod padded {
    use super::*;

    fn sealed(value: &[u8]) -> Record {
        vault::seal_padded(&key(1), 0, [2; 12], "name", value).unwrap()
    }

    #[test]
    fn a_padded_record_gives_its_value_back_and_says_nothing_of_its_length() {
        for value in [&b""[..], b"v", &[7; 252]] {
            let record = sealed(value);
            assert_eq!(record.ciphertext.len(), 256 + 16);
            assert_eq!(vault::open(&key(1), "name", &record).unwrap(), value);
        }
        assert_eq!(sealed(&[7; 253]).ciphertext.len(), 512 + 16);
        let most = vec![7; vault::MAX_VALUE_BYTES];
        assert_eq!(vault::open(&key(1), "name", &sealed(&most)).unwrap(), most);
    }

    #[test]
    fn a_record_of_one_layout_does_not_pass_for_the_other() {
        for other in [Record { version: 1, ..sealed(b"v") }, Record { version: 2, ..record() }] {
            assert_eq!(vault::open(&key(1), "name", &other), Err(VaultError::Tampered { name: "name".into() }));
        }
        let long = vec![0; vault::MAX_VALUE_BYTES + 1];
        assert!(vault::seal_padded(&key(1), 0, [2; 12], "name", &long).is_err());
    }
}
