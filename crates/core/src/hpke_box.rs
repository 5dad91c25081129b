//! Encryption to one recipient: HPKE (RFC 9180) base mode with X-Wing (X25519 + ML-KEM-768), HKDF-SHA256
//! and AES-256-GCM.
//!
//! The sender is not authenticated: whoever opens a box must check what is in it. Context string and
//! associated data must be those of the sender, or the box does not open.

use alloc::{boxed::Box, vec::Vec};
use core::fmt;

use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::{
    Deserializable, Kem, OpModeR, OpModeS, Serializable, single_shot_open,
    single_shot_seal_with_rng,
};
use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

use crate::platform::{Platform, PlatformRng};
use crate::secret::Secret32;

/// Length of an X-Wing public key, in bytes.
pub const PUBLIC_KEY_LEN: usize = 1216;

/// Length of an X-Wing encapsulated key, in bytes.
pub const ENCAPPED_LEN: usize = 1120;

/// Longest context string, in bytes: HPKE's own limit is just below 2^16.
pub const MAX_CONTEXT_LEN: usize = 1024;

/// Why a box was not sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BoxError {
    /// Not a public key.
    #[error(
        "not an X-Wing public key: expected {PUBLIC_KEY_LEN} bytes with a valid ML-KEM part, got {got} bytes"
    )]
    PublicKey {
        /// Bytes that were given.
        got: usize,
    },
    /// The encapsulated key has the wrong size.
    #[error("not an X-Wing encapsulated key: expected {ENCAPPED_LEN} bytes, got {got}")]
    Encapped {
        /// Bytes that were given.
        got: usize,
    },
    /// The context string is too long.
    #[error("the context string is too long: expected at most {MAX_CONTEXT_LEN} bytes, got {got}")]
    Context {
        /// Bytes that were given.
        got: usize,
    },
    /// Sealing failed.
    #[error("encryption failed")]
    Seal,
    /// Another key, context string or associated data, or the bytes were changed.
    #[error(
        "the box does not open: it was made for another key or another transcript, or it was changed"
    )]
    Open,
}

/// An X-Wing public key, 1216 bytes, valid.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(Box<<XWing as Kem>::PublicKey>);

impl PublicKey {
    /// Reads and checks a public key.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BoxError> {
        let key = <XWing as Kem>::PublicKey::from_bytes(bytes);
        Ok(Self(Box::new(
            key.map_err(|_| BoxError::PublicKey { got: bytes.len() })?,
        )))
    }

    /// The 1216 bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.to_bytes().to_vec()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.to_bytes();
        write!(
            f,
            "PublicKey({}..)",
            hex::encode(bytes.get(..8).unwrap_or_default())
        )
    }
}

/// A recipient's private key. Kept as the 32 secret bytes that it is derived from, so that one
/// secret type guards it.
pub struct RecipientKey {
    seed: Secret32,
    public: PublicKey,
}

impl RecipientKey {
    /// A fresh key.
    pub fn generate(platform: &mut dyn Platform) -> Self {
        Self::from_seed(Secret32::random(platform))
    }

    /// The key that 32 random bytes give (HPKE's DeriveKeyPair). The same bytes give the same key, so
    /// a key survives a restart if they are sealed.
    pub fn from_seed(seed: Secret32) -> Self {
        let (_, public) = XWing::derive_keypair(seed.danger_expose());
        Self {
            seed,
            public: PublicKey(Box::new(public)),
        }
    }

    /// The 32 bytes, for sealing.
    pub fn danger_seed(&self) -> &Secret32 {
        &self.seed
    }

    /// The public key.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// Opens a box that was sealed to this key under the same context string and associated data.
    pub fn open(
        &self,
        context: &str,
        aad: &[u8],
        sealed: &SealedBox,
    ) -> Result<Zeroizing<Vec<u8>>, BoxError> {
        check_context(context)?;
        let got = sealed.encapped.len();
        let encapped = <XWing as Kem>::EncappedKey::from_bytes(&sealed.encapped)
            .map_err(|_| BoxError::Encapped { got })?;
        let (private, _) = XWing::derive_keypair(self.seed.danger_expose());
        single_shot_open::<AesGcm256, HkdfSha256, XWing>(
            &OpModeR::Base,
            &private,
            &encapped,
            context.as_bytes(),
            &sealed.ciphertext,
            aad,
        )
        .map(Zeroizing::new)
        .map_err(|_| BoxError::Open)
    }
}

/// Encrypted bytes for one recipient. CBOR map.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SealedBox {
    /// X-Wing encapsulated key, 1120 bytes.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub encapped: Vec<u8>,
    /// AES-256-GCM ciphertext: as long as the plaintext, and a tag of 16 bytes.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub ciphertext: Vec<u8>,
}

/// Encrypts to `recipient`. Context string and associated data are bound, not carried.
pub fn seal_to(
    platform: &mut dyn Platform,
    recipient: &PublicKey,
    context: &str,
    aad: &[u8],
    plaintext: &[u8],
) -> Result<SealedBox, BoxError> {
    check_context(context)?;
    let (encapped, ciphertext) = single_shot_seal_with_rng::<AesGcm256, HkdfSha256, XWing>(
        &OpModeS::Base,
        &recipient.0,
        context.as_bytes(),
        plaintext,
        aad,
        &mut PlatformRng(platform),
    )
    .map_err(|_| BoxError::Seal)?;
    Ok(SealedBox {
        encapped: encapped.to_bytes().to_vec(),
        ciphertext,
    })
}

fn check_context(context: &str) -> Result<(), BoxError> {
    match context.len() {
        0..=MAX_CONTEXT_LEN => Ok(()),
        got => Err(BoxError::Context { got }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cbor::decode_exact;
    use crate::fake::FakePlatform;
    use baton_attest::identity::encode;
    use proptest::prelude::*;

    const CONTEXT: &str = "baton offer v1";

    fn key() -> RecipientKey {
        RecipientKey::from_seed(Secret32::danger_from_bytes(&[3; 32]))
    }

    fn sealed() -> SealedBox {
        let p = &mut FakePlatform::new(1);
        seal_to(p, key().public_key(), CONTEXT, b"transcript", b"keyring").unwrap()
    }

    #[test]
    fn what_was_sealed_opens_for_the_recipient() {
        assert_eq!(
            &key().open(CONTEXT, b"transcript", &sealed()).unwrap()[..],
            b"keyring"
        );
        let again = RecipientKey::generate(&mut FakePlatform::new(2));
        let kept = Secret32::danger_from_bytes(again.danger_seed().danger_expose());
        assert_eq!(
            RecipientKey::from_seed(kept).public_key(),
            again.public_key()
        );
    }

    #[test]
    fn h04_boxes_are_made_as_frozen() {
        // The suite's numbers (KEM 0x647a, KDF 1, AEAD 2) are part of the key schedule.
        let golden = include_str!("../tests/golden/hpke_box_v1.hex").trim();
        assert_eq!(hex::encode(encode(&sealed())), golden);
        let back: SealedBox = decode_exact(&hex::decode(golden).unwrap()).unwrap();
        assert_eq!(
            &key().open(CONTEXT, b"transcript", &back).unwrap()[..],
            b"keyring"
        );
    }

    #[test]
    fn a18_a_box_opens_only_for_its_key_context_and_transcript() {
        let other = RecipientKey::from_seed(Secret32::danger_from_bytes(&[4; 32]));
        assert_eq!(
            other.open(CONTEXT, b"transcript", &sealed()).err(),
            Some(BoxError::Open)
        );
        assert_eq!(
            key().open("baton offer v2", b"transcript", &sealed()).err(),
            Some(BoxError::Open)
        );
        assert_eq!(
            key().open(CONTEXT, b"transcripu", &sealed()).err(),
            Some(BoxError::Open)
        );
    }

    #[test]
    fn two_boxes_to_one_key_share_no_encapsulated_key() {
        let p = &mut FakePlatform::new(1);
        let a = seal_to(p, key().public_key(), CONTEXT, b"", b"x").unwrap();
        let b = seal_to(p, key().public_key(), CONTEXT, b"", b"x").unwrap();
        assert_ne!(a.encapped, b.encapped);
    }

    #[test]
    fn a21_keys_and_boxes_of_the_wrong_size_are_refused() {
        let good = key().public_key().to_bytes();
        assert_eq!(good.len(), PUBLIC_KEY_LEN);
        assert_eq!(PublicKey::from_bytes(&good), Ok(key().public_key().clone()));
        assert_eq!(
            PublicKey::from_bytes(&good[1..]),
            Err(BoxError::PublicKey { got: 1215 })
        );
        // An ML-KEM coefficient beyond the modulus (FIPS 203, 7.2).
        let mut bad = good;
        bad[..2].copy_from_slice(&[0xff; 2]);
        assert_eq!(
            PublicKey::from_bytes(&bad),
            Err(BoxError::PublicKey { got: 1216 })
        );
        let mut short = sealed();
        short.encapped.pop();
        let got = key().open(CONTEXT, b"transcript", &short).err();
        assert_eq!(got, Some(BoxError::Encapped { got: 1119 }));
        let mut empty = sealed();
        empty.ciphertext.clear();
        assert_eq!(
            key().open(CONTEXT, b"transcript", &empty).err(),
            Some(BoxError::Open)
        );
        let long = "x".repeat(70_000);
        let got = key().open(&long, b"", &sealed()).err();
        assert_eq!(got, Some(BoxError::Context { got: 70_000 }));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn a21_a_changed_box_never_opens(at: usize, bit in 0u8..8) {
            let mut bad = sealed();
            let at = at % (bad.encapped.len() + bad.ciphertext.len());
            match at.checked_sub(bad.encapped.len()) {
                None => bad.encapped[at] ^= 1 << bit,
                Some(at) => bad.ciphertext[at] ^= 1 << bit,
            }
            prop_assert!(key().open(CONTEXT, b"transcript", &bad).is_err());
        }

        #[test]
        fn a21_any_bytes_are_read_or_refused_without_a_panic(bytes: Vec<u8>) {
            let _ = PublicKey::from_bytes(&bytes);
            if let Some(sealed) = decode_exact::<SealedBox>(&bytes) {
                prop_assert!(key().open(CONTEXT, b"", &sealed).is_err());
            }
        }
    }
}
