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
    #[error("not an X-Wing public key: expected {PUBLIC_KEY_LEN} bytes with a valid ML-KEM part, got {got} bytes")]
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
    #[error("the box does not open: it was made for another key or another transcript, or it was changed")]
    Open,
}

/// An X-Wing public key, 1216 bytes, valid.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(Box<<XWing as Kem>::PublicKey>);

impl PublicKey {
    /// Reads and checks a public key.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BoxError> {
        let key = <XWing as Kem>::PublicKey::from_bytes(bytes);
        Ok(Self(Box::new(key.map_err(|_| BoxError::PublicKey { got: bytes.len() })?)))
    }

    /// The 1216 bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.to_bytes().to_vec()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.to_bytes();
        write!(f, "PublicKey({}..)", hex::encode(bytes.get(..8).unwrap_or_default()))
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
        Self { seed, public: PublicKey(Box::new(public)) }
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
    Ok(SealedBox { encapped: encapped.to_bytes().to_vec(), ciphertext })
}

fn check_context(context: &str) -> Result<(), BoxError> {
    match context.len() {
        0..=MAX_CONTEXT_LEN => Ok(()),
        got => Err(BoxError::Context { got }),
    }
}
