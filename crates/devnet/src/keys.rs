//! The devnet's keys and addresses, all made from the seed: they protect nothing.

use bech32::{Bech32, Hrp};
use ed25519_dalek::Signer as _;
use k256::ecdsa::signature::Verifier as _;
use ripemd::Digest as _;

use crate::merkle::sha256;

/// An account, module or consensus address: 20 bytes.
pub type Address = [u8; 20];

/// A validator's consensus key.
#[derive(Clone)]
pub(crate) struct ConsensusKey(ed25519_dalek::SigningKey);

/// An account's key.
#[derive(Clone)]
pub(crate) struct AccountKey(k256::ecdsa::SigningKey);

impl ConsensusKey {
    pub(crate) fn derive(seed: u64, index: usize) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(&secret(
            "consensus",
            seed,
            index,
        )))
    }

    pub(crate) fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// The first 20 bytes of SHA-256 of the public key.
    pub(crate) fn address(&self) -> Address {
        first_20(&sha256(&[&self.public()]))
    }

    pub(crate) fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        self.0.sign(bytes).to_vec()
    }
}

impl AccountKey {
    pub(crate) fn derive(role: &str, seed: u64, index: usize) -> Self {
        let mut bytes = secret(role, seed, index);
        // One in 2^128 digests is no scalar: hash again.
        loop {
            match k256::ecdsa::SigningKey::from_slice(&bytes) {
                Ok(key) => return Self(key),
                Err(_) => bytes = sha256(&[&bytes]),
            }
        }
    }

    pub(crate) fn secret(&self) -> [u8; 32] {
        self.0.to_bytes().into()
    }

    pub(crate) fn public(&self) -> Vec<u8> {
        self.0
            .verifying_key()
            .to_sec1_point(true)
            .as_bytes()
            .to_vec()
    }

    pub(crate) fn address(&self) -> Address {
        account_address(&self.public())
    }

    /// The 64-byte form of the SDK: r and s, low s, over SHA-256 of the bytes, deterministic (RFC 6979).
    pub(crate) fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        let signature: k256::ecdsa::Signature = self.0.sign(bytes);
        signature.normalize_s().to_bytes().to_vec()
    }
}

/// Whether `signature` is a secp256k1 signature of `key` over `bytes`, with a low s as the SDK demands.
pub(crate) fn account_signed(key: &[u8], bytes: &[u8], signature: &[u8]) -> bool {
    let Ok(key) = k256::ecdsa::VerifyingKey::from_sec1_bytes(key) else {
        return false;
    };
    let Ok(signature) = k256::ecdsa::Signature::from_slice(signature) else {
        return false;
    };
    signature.normalize_s() == signature && key.verify(bytes, &signature).is_ok()
}

/// The address of a 33-byte account key: RIPEMD-160 of SHA-256.
pub(crate) fn account_address(public: &[u8]) -> Address {
    ripemd::Ripemd160::digest(sha256(&[public])).into()
}

/// The address of a module's own account.
pub fn module_address(name: &str) -> Address {
    first_20(&sha256(&[name.as_bytes()]))
}

/// `cosmos1…`
pub fn account_text(address: &Address) -> String {
    text("cosmos", address)
}

/// `cosmosvaloper1…`
pub fn operator_text(address: &Address) -> String {
    text("cosmosvaloper", address)
}

/// Reads `cosmos1…`.
pub fn parse_account(text: &str) -> Option<Address> {
    parse("cosmos", text)
}

/// Reads `cosmosvaloper1…`.
pub fn parse_operator(text: &str) -> Option<Address> {
    parse("cosmosvaloper", text)
}

fn text(prefix: &str, address: &Address) -> String {
    bech32::encode::<Bech32>(Hrp::parse_unchecked(prefix), address).unwrap_or_default()
}

fn parse(prefix: &str, text: &str) -> Option<Address> {
    let (hrp, bytes) = bech32::decode(text).ok()?;
    (hrp.as_str() == prefix).then(|| bytes.try_into().ok())?
}

fn secret(role: &str, seed: u64, index: usize) -> [u8; 32] {
    let index = index as u64;
    sha256(&[
        b"baton devnet key 1",
        &[role.len() as u8],
        role.as_bytes(),
        &seed.to_be_bytes(),
        &index.to_be_bytes(),
    ])
}

fn first_20(digest: &[u8; 32]) -> Address {
    let mut address = [0; 20];
    address.copy_from_slice(&digest[..20]);
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_addresses_are_those_of_a_real_chain() {
        assert_eq!(
            account_text(&module_address("gov")),
            "cosmos10d07y265gmmuvt4z0w9aw880jnsr700j6zn9kn"
        );
        let pool = hex::encode(module_address("bonded_tokens_pool"));
        assert_eq!(pool, "4fea76427b8345861e80a3540a8a9d936fd39391");
    }

    #[test]
    fn an_account_signature_is_checked() {
        let key = AccountKey::derive("user", 1, 0);
        let signature = key.sign(b"bytes");
        assert!(account_signed(&key.public(), b"bytes", &signature));
        assert!(!account_signed(&key.public(), b"other", &signature));
        assert!(!account_signed(
            &AccountKey::derive("user", 1, 1).public(),
            b"bytes",
            &signature
        ));
    }
}
