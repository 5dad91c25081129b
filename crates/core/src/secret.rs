//! Secrets as types: no `Clone`, `Debug`, `PartialEq` or `Serialize`, zeroized on drop, compared in
//! constant time. The one way to the bytes is named `danger_expose`.
//!
//! A real seed and a canary seed of a rehearsal are different types with different labels, so that
//! the code that handles both can never mix them, nor derive one's key from the other.

use alloc::boxed::Box;
use core::marker::PhantomData;

use baton_attest::identity::{encode, hash};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::keyring::Commitment;
use crate::platform::Platform;

/// `N` secret bytes on the heap, so that moving the value leaves no copy behind.
///
/// It cannot be cloned:
/// ```compile_fail,E0599
/// let s = baton_core::secret::Secret32::danger_from_bytes(&[1; 32]);
/// let t = s.clone();
/// ```
/// nor printed:
/// ```compile_fail,E0277
/// let s = baton_core::secret::Secret32::danger_from_bytes(&[1; 32]);
/// let text = format!("{:?}", s);
/// ```
/// nor compared with `==`, which would tell by its timing where two secrets differ:
/// ```compile_fail,E0369
/// let s = baton_core::secret::Secret32::danger_from_bytes(&[1; 32]);
/// let t = baton_core::secret::Secret32::danger_from_bytes(&[1; 32]);
/// assert!(s == t);
/// ```
/// nor serialized:
/// ```compile_fail,E0277
/// let s = baton_core::secret::Secret32::danger_from_bytes(&[1; 32]);
/// minicbor::to_vec(&s);
/// ```
/// What it can do:
/// ```
/// let s = baton_core::secret::Secret32::danger_from_bytes(&[1; 32]);
/// let t = baton_core::secret::Secret32::danger_from_bytes(&[1; 32]);
/// assert!(s.ct_eq(&t));
/// ```
pub struct Secret<const N: usize>(Box<[u8; N]>);

/// 32 secret bytes.
pub type Secret32 = Secret<32>;

impl<const N: usize> Secret<N> {
    /// Lets `fill` write the bytes in place.
    pub fn fill_with(fill: impl FnOnce(&mut [u8; N])) -> Self {
        let mut bytes = Box::new([0; N]);
        fill(&mut bytes);
        Self(bytes)
    }

    /// Fresh random bytes.
    pub fn random(platform: &mut dyn Platform) -> Self {
        Self::fill_with(|b| platform.random(b))
    }

    /// Copies the bytes; the caller's copy stays the caller's to erase.
    pub fn danger_from_bytes(bytes: &[u8; N]) -> Self {
        Self::fill_with(|b| b.copy_from_slice(bytes))
    }

    /// The bytes. Never log, send or store them.
    pub fn danger_expose(&self) -> &[u8; N] {
        &self.0
    }

    /// Compares in constant time.
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Real {}
    impl Sealed for super::Canary {}
}

/// Which life a secret lives: the labels under which anything is derived from it.
pub trait Kind: sealed::Sealed + 'static {
    /// Context of [`SeedOf::commitment`].
    const COMMITMENT: &'static str;
    /// Context of [`SeedOf::app_key`].
    const APP_KEY: &'static str;
    /// Context of [`crate::keyring::KeyringOf::receipt_key`].
    const RECEIPT_KEY: &'static str;
    /// First field of an encoded keyring.
    const KEYRING: &'static str;
}

/// The network's own secret.
pub enum Real {}

/// The synthetic secret of a rehearsal.
pub enum Canary {}

impl Kind for Real {
    const COMMITMENT: &'static str = "baton commitment v1";
    const APP_KEY: &'static str = "baton app key v1";
    const RECEIPT_KEY: &'static str = "baton receipt key v1";
    const KEYRING: &'static str = "baton keyring v1";
}

impl Kind for Canary {
    const COMMITMENT: &'static str = "baton canary commitment v1";
    const APP_KEY: &'static str = "baton canary app key v1";
    const RECEIPT_KEY: &'static str = "baton canary receipt key v1";
    const KEYRING: &'static str = "baton canary keyring v1";
}

/// One epoch's 32-byte secret. See [`Seed`] and [`CanarySeed`].
///
/// A canary never stands in for a seed:
/// ```compile_fail,E0308
/// use baton_core::secret::{CanarySeed, Seed};
/// let s: Seed = CanarySeed::danger_from_bytes(&[1; 32]);
/// ```
pub struct SeedOf<K: Kind>(Secret32, PhantomData<K>);

/// A seed of the network.
pub type Seed = SeedOf<Real>;

/// A canary seed of a rehearsal.
pub type CanarySeed = SeedOf<Canary>;

impl<K: Kind> SeedOf<K> {
    /// A fresh random seed.
    pub fn random(platform: &mut dyn Platform) -> Self {
        Self(Secret32::random(platform), PhantomData)
    }

    /// A seed that was sealed or received. Copies the bytes.
    pub fn danger_from_bytes(bytes: &[u8; 32]) -> Self {
        Self(Secret32::danger_from_bytes(bytes), PhantomData)
    }

    /// The bytes. Only for sealing and for sending inside an offer.
    pub fn danger_expose(&self) -> &[u8; 32] {
        self.0.danger_expose()
    }

    /// Compares in constant time.
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0)
    }

    /// The public commitment: SHA-256(context, epoch as 8 bytes big endian, seed), each part with
    /// its length in front.
    pub fn commitment(&self, epoch: u64) -> Commitment {
        Commitment(hash(
            K::COMMITMENT,
            &[&epoch.to_be_bytes(), self.danger_expose()],
        ))
    }

    /// The key that the app named `label` gets for `epoch`: HKDF-SHA256 (RFC 5869) without salt,
    /// info = CBOR array [context, chain id, epoch, label].
    pub fn app_key(&self, chain_id: &str, epoch: u64, label: &str) -> AppKey {
        AppKey(derive(
            self.danger_expose(),
            &encode(&(K::APP_KEY, chain_id, epoch, label)),
        ))
    }
}

/// A key for an app. The app never sees the seed that it comes from.
pub struct AppKey(Secret32);

impl AppKey {
    /// The bytes, for the app inside this enclave.
    pub fn danger_expose(&self) -> &[u8; 32] {
        self.0.danger_expose()
    }
}

/// A key for message authentication with HMAC-SHA256 (RFC 2104).
pub struct MacKey(Secret32);

impl MacKey {
    pub(crate) fn new(key: Secret32) -> Self {
        Self(key)
    }

    /// HMAC-SHA256 over the parts, each with its length (8 bytes, big endian) in front.
    pub fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.hmac(parts).finalize().into_bytes().into()
    }

    /// True if `tag` is the code of `parts`. Constant time.
    pub fn verify(&self, parts: &[&[u8]], tag: &[u8; 32]) -> bool {
        self.hmac(parts).verify_slice(tag).is_ok()
    }

    fn hmac(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = keyed_hmac(&self.0);
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac
    }
}

/// HKDF-SHA256 (RFC 5869) without salt, one 32-byte key: extract, then the first block of expand.
/// Spelled with HMAC because it cannot fail, unlike an expand of any length.
pub(crate) fn derive(secret: &[u8], info: &[u8]) -> Secret32 {
    let mut extract = Hmac::<Sha256>::new(&[0; 64].into());
    extract.update(secret);
    let prk = Secret32::fill_with(|b| b.copy_from_slice(&extract.finalize().into_bytes()));
    let mut expand = keyed_hmac(&prk);
    expand.update(info);
    expand.update(&[1]);
    Secret32::fill_with(|b| b.copy_from_slice(&expand.finalize().into_bytes()))
}

/// HMAC's own padding of a short key, done here because the slice constructor can fail.
fn keyed_hmac(key: &Secret32) -> Hmac<Sha256> {
    let mut block = Zeroizing::new([0; 64]);
    block
        .iter_mut()
        .zip(key.danger_expose())
        .for_each(|(to, from)| *to = *from);
    Hmac::<Sha256>::new((&*block).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakePlatform;
    use std::string::ToString;

    #[test]
    fn derivation_is_hkdf_sha256_of_rfc_5869_test_case_3() {
        let okm = derive(&[0x0b; 22], &[]);
        let expected = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d";
        assert_eq!(hex::encode(okm.danger_expose()), expected);
    }

    #[test]
    fn derivation_agrees_with_the_hkdf_library() {
        for (secret, info) in [(vec![1; 32], &b"a"[..]), (vec![7; 4000], &[9; 300][..])] {
            let mut expected = [0; 32];
            hkdf::Hkdf::<Sha256>::new(None, &secret)
                .expand(info, &mut expected)
                .unwrap();
            assert_eq!(derive(&secret, info).danger_expose(), &expected);
        }
    }

    #[test]
    fn app_keys_differ_by_chain_epoch_label_and_kind() {
        let seed = Seed::danger_from_bytes(&[5; 32]);
        let canary = CanarySeed::danger_from_bytes(&[5; 32]);
        let keys = [
            seed.app_key("a", 0, "db"),
            seed.app_key("b", 0, "db"),
            seed.app_key("a", 1, "db"),
            seed.app_key("a", 0, "io"),
            canary.app_key("a", 0, "db"),
        ];
        for (i, a) in keys.iter().enumerate() {
            assert_ne!(a.danger_expose(), &[5; 32]);
            for b in keys.iter().skip(i + 1) {
                assert_ne!(a.danger_expose(), b.danger_expose());
            }
        }
    }

    #[test]
    fn a_canary_commitment_never_equals_a_seed_commitment() {
        let seed = Seed::danger_from_bytes(&[5; 32]).commitment(0);
        let canary = CanarySeed::danger_from_bytes(&[5; 32]).commitment(0);
        assert_ne!(seed.to_string(), canary.to_string());
    }

    #[test]
    fn a_mac_is_bound_to_its_key_and_to_the_borders_of_its_parts() {
        let key = MacKey::new(Secret32::danger_from_bytes(&[1; 32]));
        let tag = key.mac(&[b"ab", b"c"]);
        assert!(key.verify(&[b"ab", b"c"], &tag));
        assert!(!key.verify(&[b"a", b"bc"], &tag));
        assert!(!MacKey::new(Secret32::danger_from_bytes(&[2; 32])).verify(&[b"ab", b"c"], &tag));
    }

    #[test]
    fn random_secrets_come_from_the_platform() {
        let mut p = FakePlatform::new(1);
        let (a, b) = (Seed::random(&mut p), Seed::random(&mut p));
        assert!(!a.ct_eq(&b));
        assert!(Seed::random(&mut FakePlatform::new(1)).ct_eq(&a));
    }
}
