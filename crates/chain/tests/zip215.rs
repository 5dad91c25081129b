//! The accepted set of signatures is CometBFT's: ZIP-215, in a batch as one by one, compared with the verifier that
//! tendermint-rs itself uses.

use baton_chain::light::ed25519::{Signed, verify, verify_batch};
use ed25519_dalek::{Signer, SigningKey};
use proptest::prelude::*;
use tendermint::crypto::default::signature::Verifier as Peer;
use tendermint::crypto::signature::Verifier as _;

fn peer(key: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    let Some(key) = tendermint::PublicKey::from_raw_ed25519(key) else {
        return false;
    };
    let Ok(Some(signature)) = tendermint::Signature::new(signature.to_vec()) else {
        return false;
    };
    Peer.verify(key, message, &signature).is_ok()
}

/// All encodings of points of small order: eight canonical, six not.
fn small_order() -> Vec<[u8; 32]> {
    [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    ]
    .map(|h| hex::decode(h).unwrap().try_into().unwrap())
    .to_vec()
}

#[test]
fn odd_but_valid_signatures_are_accepted_singly_and_in_a_batch() {
    let honest = SigningKey::from_bytes(&[7; 32]);
    let honest_key = honest.verifying_key().to_bytes();
    let honest_signature = honest.sign(b"Zcash").to_bytes();
    let mut all = Vec::new();
    for key in small_order() {
        for r in small_order() {
            let signature = [r, [0; 32]].concat();
            assert!(peer(&key, b"Zcash", &signature));
            let odd = Signed {
                key: &key,
                message: b"Zcash",
                signature: &signature,
            };
            assert!(verify(&odd));
            let good = Signed {
                key: &honest_key,
                message: b"Zcash",
                signature: &honest_signature,
            };
            assert!(verify_batch(&[good, odd]));
            all.push((key, signature));
        }
    }
    let batch: Vec<_> = all
        .iter()
        .map(|(key, s)| Signed {
            key,
            message: b"Zcash",
            signature: s,
        })
        .collect();
    assert_eq!(batch.len(), 196);
    assert!(verify_batch(&batch));
}

#[test]
fn a_scalar_that_is_not_canonical_is_refused() {
    let key = SigningKey::from_bytes(&[7; 32]);
    let mut signature = key.sign(b"m").to_bytes();
    let order =
        hex::decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").unwrap();
    let mut carry = 0u16;
    for (s, l) in signature[32..].iter_mut().zip(order) {
        let sum = u16::from(*s) + u16::from(l) + carry;
        *s = sum as u8;
        carry = sum >> 8;
    }
    let public = key.verifying_key().to_bytes();
    assert!(!peer(&public, b"m", &signature));
    let odd = Signed {
        key: &public,
        message: b"m",
        signature: &signature,
    };
    assert!(!verify(&odd) && !verify_batch(&[odd, odd]));
}

#[test]
fn two_wrong_signatures_do_not_cancel_out() {
    // Each signature is off by one in s, in opposite directions: with equal coefficients they would pass.
    let (a, b) = (
        SigningKey::from_bytes(&[1; 32]),
        SigningKey::from_bytes(&[2; 32]),
    );
    let (mut sa, mut sb) = (a.sign(b"m").to_bytes(), b.sign(b"m").to_bytes());
    // Messages are fixed, so these low bytes neither overflow nor borrow.
    assert!(sa[32] < 255 && sb[32] > 0);
    sa[32] += 1;
    sb[32] -= 1;
    let (ka, kb) = (a.verifying_key().to_bytes(), b.verifying_key().to_bytes());
    let batch = [
        Signed {
            key: &ka,
            message: b"m",
            signature: &sa,
        },
        Signed {
            key: &kb,
            message: b"m",
            signature: &sb,
        },
    ];
    assert!(!verify_batch(&batch));
}

#[test]
fn an_empty_batch_is_valid_and_a_short_signature_is_not() {
    assert!(verify_batch(&[]));
    let key = SigningKey::from_bytes(&[1; 32]);
    let (public, signature) = (key.verifying_key().to_bytes(), key.sign(b"m").to_bytes());
    for length in [0, 31, 32, 63] {
        let short = Signed {
            key: &public,
            message: b"m",
            signature: &signature[..length],
        };
        assert!(!verify(&short) && !verify_batch(&[short]));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_batch_is_valid_exactly_when_each_member_is(
        seeds in proptest::collection::vec((0u8..4, any::<u8>(), proptest::option::weighted(0.1, 0usize..96)), 1..24),
    ) {
        let members: Vec<_> = seeds.iter().map(|(key, text, flip)| {
            let key = SigningKey::from_bytes(&[*key; 32]);
            let message = vec![*text; 40];
            let mut both = [key.verifying_key().to_bytes().to_vec(), key.sign(&message).to_bytes().to_vec()].concat();
            if let Some(at) = flip {
                both[*at] ^= 1 << (text % 8);
            }
            (<[u8; 32]>::try_from(&both[..32]).unwrap(), message, both[32..].to_vec())
        }).collect();
        let signed = |m: &'_ ([u8; 32], Vec<u8>, Vec<u8>)| -> bool {
            let ours = verify(&Signed { key: &m.0, message: &m.1, signature: &m.2 });
            assert_eq!(ours, peer(&m.0, &m.1, &m.2));
            ours
        };
        let each = members.iter().all(signed);
        let batch: Vec<_> = members.iter().map(|m| Signed { key: &m.0, message: &m.1, signature: &m.2 }).collect();
        prop_assert_eq!(verify_batch(&batch), each);
    }
}
