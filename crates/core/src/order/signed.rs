//! A signed order as a file: `COSE_Sign` with the council's signatures, and validators' ADR-036 signatures beside it.
//!
//! `COSE_Sign` rather than several `COSE_Sign1`: one payload, so that all sign the same bytes by construction, and any
//! COSE library checks each signature by itself. Each signature's protected header names its algorithm (EdDSA or ES256)
//! and as key id the public key; the external data is [`COSE_CONTEXT`]. ADR-036 signatures are over an amino JSON
//! document, which is no COSE algorithm, so they stand beside.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};

use baton_attest::identity::encode;
use coset::iana::{self, EnumI64};
use coset::{
    CoseSign, CoseSignBuilder, CoseSignature, HeaderBuilder, RegisteredLabelWithPrivate,
    TaggedCborSerializable,
};
use minicbor::{Decode, Encode};

use super::{Authority, COSE_CONTEXT, Order, OrderBytesError, SkippedSignature, SkippedSignatures};
use crate::cbor::decode_exact;
use crate::policy::{Council, CouncilKey};

/// Most bytes of a signed order (256 KiB): a thousand validators fit.
pub const MAX_SIGNED_BYTES: usize = 256 << 10;
/// Most signatures of each form.
pub const MAX_SIGNATURES: usize = 1000;
const FILE_VERSION: u8 = 1;

/// A signature of an account key (ADR-036). UNTRUSTED.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AccountSignature {
    /// The account, bech32 as its wallet shows it.
    #[n(0)]
    pub signer: String,
    /// secp256k1 public key, 33 bytes compressed.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub public_key: Vec<u8>,
    /// r and s, 64 bytes.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub signature: Vec<u8>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct File {
    #[n(0)]
    version: u8,
    #[cbor(n(1), with = "minicbor::bytes")]
    cose: Vec<u8>,
    #[n(2)]
    accounts: Option<Vec<AccountSignature>>,
}

/// Bytes that are no signed order, or two that cannot be put together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignedError {
    /// More than is read.
    #[error("the signed order is too long: expected at most {MAX_SIGNED_BYTES} bytes and {MAX_SIGNATURES} signatures, got {got}")]
    TooLong {
        /// Bytes, or signatures.
        got: usize,
    },
    /// Not the file.
    #[error("not a signed order: {0}")]
    Malformed(&'static str),
    /// A newer release's.
    #[error("the signed order has version {got}, expected {FILE_VERSION}")]
    Version {
        /// Its version.
        got: u8,
    },
    /// The payload is no order.
    #[error(transparent)]
    Order(#[from] OrderBytesError),
    /// Of two orders.
    #[error("these are signatures over two orders: expected {expected}, got {got}; sign the same file")]
    OtherOrder {
        /// Digest of the one.
        expected: baton_attest::identity::Digest32,
        /// Digest of the other.
        got: baton_attest::identity::Digest32,
    },
}

/// An order with signatures that nobody has checked yet.
#[derive(Clone, Debug)]
pub struct SignedOrder {
    order: Order,
    cose: CoseSign,
    accounts: Vec<AccountSignature>,
}

impl SignedOrder {
    /// An order that nobody has signed yet.
    pub fn unsigned(order: Order) -> Self {
        let cose = CoseSignBuilder::new().payload(order.to_cbor()).build();
        SignedOrder { order, cose, accounts: Vec::new() }
    }

    /// The order.
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// Validators' signatures.
    pub fn accounts(&self) -> &[AccountSignature] {
        &self.accounts
    }

    /// How many council signatures there are, good or bad.
    pub fn council_signatures(&self) -> usize {
        self.cose.signatures.len()
    }

    /// The file. Empty when the signatures cannot be encoded, which nothing that was read or made here is.
    pub fn to_bytes(&self) -> Vec<u8> {
        let cose = self.cose.clone().to_tagged_vec().unwrap_or_default();
        let accounts = (!self.accounts.is_empty()).then(|| self.accounts.clone());
        encode(&File { version: FILE_VERSION, cose, accounts })
    }

    /// Reads a file; its signatures are not checked.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SignedError> {
        if bytes.len() > MAX_SIGNED_BYTES {
            return Err(SignedError::TooLong { got: bytes.len() });
        }
        let file: File = decode_exact(bytes).ok_or(SignedError::Malformed("expected the CBOR map of a signed order"))?;
        if file.version != FILE_VERSION {
            return Err(SignedError::Version { got: file.version });
        }
        let cose = CoseSign::from_tagged_slice(&file.cose).map_err(|_| SignedError::Malformed("expected a tagged COSE_Sign"))?;
        let accounts = file.accounts.unwrap_or_default();
        for got in [cose.signatures.len(), accounts.len()] {
            if got > MAX_SIGNATURES {
                return Err(SignedError::TooLong { got });
            }
        }
        let payload = cose.payload.as_deref().ok_or(SignedError::Malformed("no payload"))?;
        Ok(SignedOrder { order: Order::from_cbor(payload)?, cose, accounts })
    }

    /// Takes over the signatures of another copy of the same order; one that is here already is not taken twice.
    pub fn merge(&mut self, other: SignedOrder) -> Result<(), SignedError> {
        if other.order != self.order {
            return Err(SignedError::OtherOrder { expected: self.order.digest(), got: other.order.digest() });
        }
        for s in other.cose.signatures {
            if !self.cose.signatures.contains(&s) {
                self.cose.signatures.push(s);
            }
        }
        other.accounts.into_iter().for_each(|a| self.add_account(a));
        Ok(())
    }

    /// Adds a validator's signature.
    pub fn add_account(&mut self, account: AccountSignature) {
        if !self.accounts.contains(&account) {
            self.accounts.push(account);
        }
    }

    /// Adds a council member's signature: `sign` gets the bytes to sign (`Sig_structure`, RFC 9052, 4.4) and gives 64 bytes,
    /// Ed25519 or r and s over their SHA-256.
    pub fn add_council(&mut self, key: &CouncilKey, sign: impl FnOnce(&[u8]) -> Vec<u8>) {
        let header = HeaderBuilder::new().algorithm(algorithm(key)).key_id(key.as_bytes().to_vec()).build();
        let signature = CoseSignature {
            protected: coset::ProtectedHeader { original_data: None, header },
            ..CoseSignature::default()
        };
        let bytes = self.cose.tbs_data(COSE_CONTEXT, &signature);
        self.cose.signatures.push(CoseSignature { signature: sign(&bytes), ..signature });
    }

    /// Whether m of the council signed. A bad signature is skipped and named; a member counts once.
    pub fn council(&self, council: &Council) -> (Option<Authority>, Vec<String>, SkippedSignatures) {
        let mut signers: Vec<String> = Vec::new();
        let mut skipped = SkippedSignatures::default();
        for (index, signature) in self.cose.signatures.iter().enumerate() {
            match self.member_of(council, index, signature) {
                Ok(name) if signers.contains(&name) => {
                    skipped.0.push(SkippedSignature { owner: name, why: "signed twice, counts once".into() });
                }
                Ok(name) => signers.push(name),
                Err(bad) => skipped.0.push(bad),
            }
        }
        let enough = council.needed != 0 && signers.len() >= council.needed as usize;
        let authority = enough.then(|| Authority::Council { signers: signers.clone(), needed: council.needed });
        (authority, signers, skipped)
    }

    fn member_of(&self, council: &Council, index: usize, signature: &CoseSignature) -> Result<String, SkippedSignature> {
        let header = &signature.protected.header;
        let bad = |owner: &str, why: &str| SkippedSignature { owner: owner.into(), why: why.into() };
        let member = council
            .members
            .iter()
            .find(|m| m.key.as_bytes() == header.key_id.as_slice())
            .ok_or_else(|| bad(&hex::encode(&header.key_id), "not the key of a council member"))?;
        let named = match &header.alg {
            Some(RegisteredLabelWithPrivate::Assigned(alg)) => alg.to_i64(),
            _ => 0,
        };
        let expected = algorithm(&member.key).to_i64();
        if named != expected {
            let why = alloc::format!("algorithm {named}, expected {expected} for this key");
            return Err(bad(&member.name, &why));
        }
        let verify = |sig: &[u8], bytes: &[u8]| if signed_by(&member.key, bytes, sig) { Ok(()) } else { Err(()) };
        self.cose
            .verify_signature(index, COSE_CONTEXT, verify)
            .map_err(|()| bad(&member.name, "the signature does not verify"))?;
        Ok(member.name.to_string())
    }
}

fn algorithm(key: &CouncilKey) -> iana::Algorithm {
    match key {
        CouncilKey::Ed25519(_) => iana::Algorithm::EdDSA,
        CouncilKey::P256(_) => iana::Algorithm::ES256,
    }
}

fn signed_by(key: &CouncilKey, bytes: &[u8], signature: &[u8]) -> bool {
    match key {
        CouncilKey::Ed25519(key) => {
            let key = ed25519_dalek::VerifyingKey::from_bytes(key);
            let signature = ed25519_dalek::Signature::from_slice(signature);
            matches!((key, signature), (Ok(k), Ok(s)) if k.verify_strict(bytes, &s).is_ok())
        }
        CouncilKey::P256(key) => {
            use p256::ecdsa::signature::Verifier;
            let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(key);
            let signature = p256::ecdsa::Signature::from_slice(signature);
            matches!((key, signature), (Ok(k), Ok(s)) if k.verify(bytes, &s).is_ok())
        }
    }
}
