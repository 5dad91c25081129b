//! Making and verifying the signature of a SIGSTRUCT: RSA-3072, exponent 3, PKCS #1 v1.5 over SHA-256.

use alloc::boxed::Box;
use alloc::string::ToString;

use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::pkcs8::DecodePrivateKey;
use rsa::traits::PublicKeyParts;
use rsa::{BigUint, Pkcs1v15Sign, RsaPrivateKey, RsaPublicKey};
use sha2::{Digest, Sha256};

use super::{RSA_LEN, Sigstruct, SigstructError};
use crate::identity::{Attributes, Identity, Measurement, PLATFORM_SGX, Signer};

/// DER of the DigestInfo of SHA-256 (RFC 8017, 9.2, note 1), which comes before the hash.
const SHA256_PREFIX: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];

/// A SIGSTRUCT whose signature verified. Only [`check_sigstruct`] makes one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckedSigstruct {
    fields: Sigstruct,
}

impl CheckedSigstruct {
    /// Its fields.
    pub fn fields(&self) -> &Sigstruct {
        &self.fields
    }

    /// The identity that EINIT gives an enclave launched with this SIGSTRUCT, or why it does not start.
    pub fn launch(
        &self,
        measurement: Measurement,
        attributes: Attributes,
        misc_select: u32,
    ) -> Result<Identity, SigstructError> {
        let s = &self.fields;
        let (want, mask) = (&s.attributes, &s.attribute_mask);
        let launch = |good, field| match good {
            true => Ok(()),
            false => Err(SigstructError::Launch { field }),
        };
        launch(measurement == s.measurement, "MRENCLAVE")?;
        let flags = (attributes.flags ^ want.flags) & mask.flags;
        let xfrm = (attributes.xfrm ^ want.xfrm) & mask.xfrm;
        launch(flags == 0 && xfrm == 0, "ATTRIBUTES")?;
        launch(
            (misc_select ^ s.misc_select) & s.misc_mask == 0,
            "MISCSELECT",
        )?;
        Ok(Identity {
            platform_tag: PLATFORM_SGX,
            measurement,
            signer: s.signer(),
            product_id: s.product_id,
            svn: s.svn,
            attributes: Attributes {
                flags: attributes.flags | crate::identity::flags::INIT,
                xfrm: attributes.xfrm,
            },
            misc_select,
            config_id: [0; 64],
            config_svn: 0,
        })
    }
}

/// Reads a SIGSTRUCT and verifies its signature with its own key, Q1 and Q2 included, as EINIT does.
/// Whether [`Sigstruct::signer`] may sign is the policy's to say.
pub fn check_sigstruct(bytes: &[u8]) -> Result<CheckedSigstruct, SigstructError> {
    let fields = Sigstruct::parse(bytes)?;
    let n = BigUint::from_bytes_le(&fields.modulus);
    let s = BigUint::from_bytes_le(&fields.signature);
    let bad = |what| SigstructError::Signature { what };
    let key = RsaPublicKey::new(n.clone(), 3u8.into()).map_err(|_| bad("modulus"))?;
    if key.size() != RSA_LEN {
        return Err(bad("modulus"));
    }
    let mut signature = fields.signature;
    signature.reverse();
    key.verify(
        padding(),
        &Sha256::digest(fields.signed_bytes()),
        &signature,
    )
    .map_err(|_| bad("RSA"))?;
    let (q1, q2) = quotients(&s, &n);
    if fields.q1 != q1 || fields.q2 != q2 {
        return Err(bad("Q1, Q2"));
    }
    Ok(CheckedSigstruct { fields })
}

/// A developers' key. The development ones are public: whoever has the source can sign with them.
pub struct SigningKey(RsaPrivateKey);

impl SigningKey {
    /// The two development keys that come with the source, 1 and 2.
    pub fn development(number: u8) -> Result<Self, SigstructError> {
        match number {
            1 => Self::from_pem(include_str!("../pki/development-signer-1.pem")),
            2 => Self::from_pem(include_str!("../pki/development-signer-2.pem")),
            _ => Err(SigstructError::Key {
                reason: alloc::format!("there is no development key {number}, only 1 and 2"),
            }),
        }
    }

    /// Reads a key from PEM, PKCS #8 or PKCS #1.
    pub fn from_pem(pem: &str) -> Result<Self, SigstructError> {
        let bad = |reason: &str| SigstructError::Key {
            reason: reason.to_string(),
        };
        let key = RsaPrivateKey::from_pkcs8_pem(pem)
            .or_else(|_| RsaPrivateKey::from_pkcs1_pem(pem))
            .map_err(|_| bad("not an RSA key in PEM"))?;
        if key.size() != RSA_LEN {
            return Err(bad("another length"));
        }
        match key.e() == &BigUint::from(3u8) {
            true => Ok(Self(key)),
            false => Err(bad("another exponent")),
        }
    }

    /// MRSIGNER of this key.
    pub fn signer(&self) -> Signer {
        Signer(Sha256::digest(little_endian(self.0.n())).into())
    }

    /// Signs: fills in modulus, signature, Q1 and Q2.
    pub fn sign(&self, mut fields: Sigstruct) -> Result<Sigstruct, SigstructError> {
        let failed = |_| SigstructError::Signature { what: "signing" };
        let signature = self
            .0
            .sign(padding(), &Sha256::digest(fields.signed_bytes()))
            .map_err(failed)?;
        let s = BigUint::from_bytes_be(&signature);
        let (q1, q2) = quotients(&s, self.0.n());
        fields.modulus = little_endian(self.0.n());
        fields.signature = little_endian(&s);
        (fields.q1, fields.q2) = (q1, q2);
        Ok(fields)
    }

    /// Signs a production build: 64 bits, no DEBUG allowed, any XFRM, no MISCSELECT.
    pub fn sign_build(
        &self,
        measurement: Measurement,
        product_id: u16,
        svn: u16,
    ) -> Result<Sigstruct, SigstructError> {
        let flags = crate::identity::flags::MODE64BIT;
        self.sign(Sigstruct {
            vendor: 0,
            date_bcd: 0x2026_0101,
            software_defined: 0,
            modulus: [0; RSA_LEN],
            signature: [0; RSA_LEN],
            misc_select: 0,
            misc_mask: u32::MAX,
            family_id: [0; 16],
            attributes: Attributes { flags, xfrm: 3 },
            // Every bit but INIT, which EINIT itself sets; x87 and SSE are always on.
            attribute_mask: Attributes {
                flags: !crate::identity::flags::INIT,
                xfrm: 3,
            },
            measurement,
            ext_product_id: [0; 16],
            product_id,
            svn,
            q1: [0; RSA_LEN],
            q2: [0; RSA_LEN],
        })
    }
}

fn padding() -> Pkcs1v15Sign {
    Pkcs1v15Sign {
        hash_len: Some(32),
        prefix: Box::new(SHA256_PREFIX),
    }
}

/// Q1 and Q2, which let EINIT do without division.
#[allow(clippy::arithmetic_side_effects)] // Big integers do not overflow; the modulus is never zero here.
fn quotients(s: &BigUint, n: &BigUint) -> ([u8; RSA_LEN], [u8; RSA_LEN]) {
    let square = s * s;
    let q1 = &square / n;
    let q2 = ((&square - &q1 * n) * s) / n;
    (little_endian(&q1), little_endian(&q2))
}

fn little_endian(n: &BigUint) -> [u8; RSA_LEN] {
    let mut out = [0; RSA_LEN];
    for (to, from) in out.iter_mut().zip(n.to_bytes_le()) {
        *to = from;
    }
    out
}
