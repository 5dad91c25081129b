//! Keys of council members: Ed25519 as hexadecimal text, or P-256 in PEM, as OpenSSL and security keys' tools have it.

use std::path::Path;

use baton_core::policy::CouncilKey;
use ed25519_dalek::{Signer as _, SigningKey};
use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, LineEnding};

use super::order::read_key;
use crate::files::read_text;
use crate::output::Failure;

/// The secret key of a member.
pub enum MemberKey {
    /// Ed25519.
    Ed(SigningKey),
    /// ECDSA over P-256.
    P256(p256::ecdsa::SigningKey),
}

impl MemberKey {
    /// Draws one.
    pub fn make(p256: bool) -> Result<Self, Failure> {
        if !p256 {
            return Ok(MemberKey::Ed(SigningKey::from_bytes(&rand::random())));
        }
        // A draw outside of the group's order has a chance of 2^-32; the next one will do.
        let draw = || p256::ecdsa::SigningKey::from_slice(&rand::random::<[u8; 32]>());
        draw().or_else(|_| draw()).map(MemberKey::P256).map_err(Failure::input)
    }

    /// Reads a file of either kind.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = read_text(path, "key", 8 << 10)?;
        let Some(begin) = text.find("-----BEGIN ") else {
            return read_key(path).map(MemberKey::Ed);
        };
        let pem = text.get(begin..).unwrap_or_default();
        // OpenSSL's `ecparam -genkey` writes the parameters before the key.
        let pem = pem.split_once("-----END EC PARAMETERS-----").map_or(pem, |(_, rest)| rest.trim_start());
        let key = p256::SecretKey::from_pkcs8_pem(pem).ok().or_else(|| p256::SecretKey::from_sec1_pem(pem).ok());
        let expected = "expected a P-256 private key in PEM, PKCS #8 or SEC 1, without a password";
        let key = key.ok_or_else(|| Failure::input(format!("key {}: {expected}", path.display())))?;
        Ok(MemberKey::P256(key.into()))
    }

    /// As a file.
    pub fn to_text(&self) -> Result<String, Failure> {
        match self {
            MemberKey::Ed(k) => Ok(hex::encode(k.to_bytes()) + "\n"),
            MemberKey::P256(k) => Ok(k.to_pkcs8_pem(LineEnding::LF).map_err(Failure::input)?.to_string()),
        }
    }

    /// What a policy names.
    pub fn public(&self) -> Result<CouncilKey, Failure> {
        match self {
            MemberKey::Ed(k) => Ok(CouncilKey::Ed25519(k.verifying_key().to_bytes())),
            MemberKey::P256(k) => {
                let point = k.verifying_key().to_sec1_point(true);
                let bytes = point.as_bytes().try_into().map_err(|_| Failure::input("the key has no compressed point"))?;
                Ok(CouncilKey::P256(bytes))
            }
        }
    }

    /// 64 bytes over the bytes to sign.
    pub fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        match self {
            MemberKey::Ed(k) => k.sign(bytes).to_vec(),
            MemberKey::P256(k) => {
                let signature: p256::ecdsa::Signature = p256::ecdsa::signature::Signer::sign(k, bytes);
                signature.to_bytes().to_vec()
            }
        }
    }
}
