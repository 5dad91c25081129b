//! A signature for enclaves that are run once and thrown away: by a key that everybody has.

use rsa::pkcs8::DecodePrivateKey;
use rsa::traits::PublicKeyParts;
use rsa::{BigUint, Pkcs1v15Sign, RsaPrivateKey};
use sgx_isa::{AttributesFlags, Sigstruct};
use sgxs::crypto::{Hash, SgxHashOps, SgxRsaOps};
use sgxs::sigstruct::{EnclaveHash, Signer};
use sha2::{Digest, Sha256};

use crate::sigstruct::SHA256_PREFIX;

/// Signs a stream with the development key of this crate: product 0, version 0, XFRM 3, with or without DEBUG.
///
/// The key lies in this crate's sources, so its signature says nothing about who made the enclave.
/// The same program gets the same keys in every run, and everybody's enclaves share MRSIGNER.
pub fn sign(sgxs: &[u8]) -> Result<Sigstruct, String> {
    let key = RsaPrivateKey::from_pkcs8_pem(include_str!("development-key.pem"))
        .map_err(|e| format!("the development key: {e}"))?;
    let hash = EnclaveHash::from_stream::<_, Sha>(&mut &sgxs[..])
        .map_err(|e| format!("the stream cannot be measured: {e}"))?;
    let mut signer = Signer::new(hash);
    signer
        .date(2026, 1, 1)
        .attributes_flags(AttributesFlags::MODE64BIT, !AttributesFlags::DEBUG.bits())
        .attributes_xfrm(3, !0);
    signer
        .sign::<_, Sha>(&Key(key))
        .map_err(|e| format!("the signature: {e}"))
}

/// SHA-256 for the `sgxs` library.
struct Sha(Sha256);

impl SgxHashOps for Sha {
    fn new() -> Self {
        Sha(Sha256::new())
    }

    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn finish(self) -> Hash {
        self.0.finalize().into()
    }
}

/// The key for the `sgxs` library.
struct Key(RsaPrivateKey);

fn padding() -> Pkcs1v15Sign {
    Pkcs1v15Sign {
        hash_len: Some(32),
        prefix: SHA256_PREFIX.to_vec().into_boxed_slice(),
    }
}

impl SgxRsaOps for Key {
    type Error = rsa::Error;

    fn len(&self) -> usize {
        self.0.n().bits()
    }

    fn sign_sha256_pkcs1v1_5_with_q1_q2<H: AsRef<[u8]>>(
        &self,
        hash: H,
    ) -> Result<(Vec<u8>, Vec<u8>, Vec<u8>), rsa::Error> {
        let s = BigUint::from_bytes_be(&self.0.sign(padding(), hash.as_ref())?);
        let n = self.0.n();
        let square = &s * &s;
        let (q1, q2) = (&square / n, (&square % n) * &s / n);
        Ok((s.to_bytes_le(), q1.to_bytes_le(), q2.to_bytes_le()))
    }

    fn verify_sha256_pkcs1v1_5<S: AsRef<[u8]>, H: AsRef<[u8]>>(
        &self,
        signature: S,
        hash: H,
    ) -> Result<(), rsa::Error> {
        let mut signature = signature.as_ref().to_vec();
        signature.reverse();
        let key = self.0.to_public_key();
        key.verify(padding(), hash.as_ref(), &signature)
    }

    fn e(&self) -> Vec<u8> {
        self.0.e().to_bytes_le()
    }

    fn n(&self) -> Vec<u8> {
        self.0.n().to_bytes_le()
    }
}
