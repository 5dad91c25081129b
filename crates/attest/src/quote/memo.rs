//! ECDSA verification that remembers what already verified.
//!
//! Of the nine signatures behind a quote six belong to the collateral and two to the platform, so a
//! hundred quotes would check the same six a hundred times. The quote library has no call that verifies
//! collateral alone; it does take the signature algorithm as a type ([`dcap_qvl::config::Config`]), and
//! this is one: a pure function with a memory.
//!
//! What is remembered is SHA-256 over key, message and signature, and only of what verified. A lookup
//! that hits is as good as the signature check, because another triple with the same digest would be a
//! collision of SHA-256. Everything else (dates, revocation, chain building, TCB levels) runs each time.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use dcap_qvl::config::{Config, CryptoProvider};
use dcap_qvl::configs::RustCryptoConfig;
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};
use sha2::{Digest, Sha256};

type Plain = <RustCryptoConfig as Config>::Crypto;

/// The library's audited parsers and hashes, with signatures verified by [`Remembering`].
pub(super) struct MemoConfig;

impl Config for MemoConfig {
    type X509 = <RustCryptoConfig as Config>::X509;
    type SigEncoder = <RustCryptoConfig as Config>::SigEncoder;
    type Crypto = MemoCrypto;
}

pub(super) struct MemoCrypto;

impl CryptoProvider for MemoCrypto {
    fn sig_algo() -> &'static dyn SignatureVerificationAlgorithm {
        &Remembering
    }

    fn sha256(data: &[u8]) -> [u8; 32] {
        Plain::sha256(data)
    }

    fn sha384(data: &[u8]) -> [u8; 48] {
        Plain::sha384(data)
    }
}

/// How many digests are kept, 32 bytes each. A slot is chosen by the digest, so the three signatures
/// that each new platform brings push the collateral's six out only now and then.
const SLOTS: usize = 256;

/// Four words of a digest. Writers may interleave: a slot then holds words of two digests that both
/// verified, and a third triple would have to hit such a mixture in all 256 bits.
type Slot = [AtomicU64; 4];

static VERIFIED: [Slot; SLOTS] = [const { [const { AtomicU64::new(0) }; 4] }; SLOTS];

#[derive(Debug)]
struct Remembering;

impl SignatureVerificationAlgorithm for Remembering {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let words = digest(public_key, message, signature);
        let slot = slot(&words);
        if slot
            .iter()
            .zip(words)
            .all(|(kept, word)| kept.load(Relaxed) == word)
        {
            return Ok(());
        }
        Plain::sig_algo().verify_signature(public_key, message, signature)?;
        for (kept, word) in slot.iter().zip(words) {
            kept.store(word, Relaxed);
        }
        Ok(())
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        Plain::sig_algo().public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        Plain::sig_algo().signature_alg_id()
    }
}

fn digest(public_key: &[u8], message: &[u8], signature: &[u8]) -> [u64; 4] {
    let mut h = Sha256::new();
    for part in [public_key, signature, message] {
        h.update((part.len() as u64).to_be_bytes());
        h.update(part);
    }
    let d: [u8; 32] = h.finalize().into();
    let (words, _) = d.as_chunks::<8>();
    let mut out = [0; 4];
    for (to, from) in out.iter_mut().zip(words) {
        *to = u64::from_le_bytes(*from);
    }
    out
}

fn slot(words: &[u64; 4]) -> &'static Slot {
    let [first, ..] = words;
    // In range: the mask is SLOTS - 1.
    let index = (*first as usize) & (SLOTS - 1);
    VERIFIED.get(index).unwrap_or(&VERIFIED[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use dcap_qvl::config::EcdsaSigEncoder;
    use p256::ecdsa::{Signature, SigningKey, signature::Signer};

    fn signed(message: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let key = SigningKey::from_slice(&[7; 32]).unwrap();
        let signature: Signature = key.sign(message);
        let (r, s) = signature.split_bytes();
        (
            key.verifying_key().to_sec1_point(false).as_bytes().to_vec(),
            <MemoConfig as Config>::SigEncoder::encode_ecdsa_sig(&r, &s).unwrap(),
        )
    }

    #[test]
    fn what_verified_once_verifies_again_and_nothing_near_it_does() {
        let message = b"a message that is verified twice".to_vec();
        let (key, signature) = signed(&message);
        for _ in 0..2 {
            assert!(
                Remembering
                    .verify_signature(&key, &message, &signature)
                    .is_ok()
            );
        }
        for part in 0..3 {
            let mut parts = [key.clone(), message.clone(), signature.clone()];
            *parts[part].last_mut().unwrap() ^= 1;
            let [k, m, s] = &parts;
            assert!(Remembering.verify_signature(k, m, s).is_err(), "{part}");
        }
        // The same bytes, cut elsewhere, are another triple.
        let (head, tail) = message.split_at(1);
        let moved = [&signature, head].concat();
        assert!(Remembering.verify_signature(&key, tail, &moved).is_err());
    }

    #[test]
    fn what_failed_is_not_remembered() {
        let (key, signature) = signed(b"good");
        for _ in 0..2 {
            assert!(
                Remembering
                    .verify_signature(&key, b"bad", &signature)
                    .is_err()
            );
        }
    }
}
