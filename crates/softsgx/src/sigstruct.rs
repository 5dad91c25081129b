//! What EINIT checks before an enclave may run (Intel SDM vol. 3D, "EINIT"), in pure Rust.

use rsa::traits::PublicKeyParts;
use rsa::{BigUint, Pkcs1v15Sign, RsaPublicKey};
use sgx_isa::{SIGSTRUCT_HEADER1, SIGSTRUCT_HEADER2, Sigstruct};
use sha2::{Digest, Sha256};

use crate::platform::hex;
use crate::structs::{Attributes, Identity, attribute};

/// DER of the DigestInfo of SHA-256 (RFC 8017, 9.2, note 1), which stands before the hash.
pub(crate) const SHA256_PREFIX: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];
const RSA_LEN: usize = 384;
/// VENDOR of Intel's own enclaves; all others have 0.
const VENDOR_INTEL: u32 = 0x8086;

/// Why EINIT refuses. Each text starts with the name of the code that hardware returns.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// A constant or reserved field is something else.
    #[error(
        "SGX_INVALID_SIG_STRUCT: {field} of the SIGSTRUCT is not what the format demands: is this file a SIGSTRUCT?"
    )]
    SigStruct {
        /// The field.
        field: &'static str,
    },
    /// The RSA signature or its helper values do not hold.
    #[error(
        "SGX_INVALID_SIGNATURE: the signature of the SIGSTRUCT does not hold ({what}): a field was changed after signing"
    )]
    Signature {
        /// Which part.
        what: &'static str,
    },
    /// Another build was signed.
    #[error(
        "SGX_INVALID_MEASUREMENT: the SIGSTRUCT signs MRENCLAVE {expected}, the stream measures {got}: \
         it belongs to another build, or the stream was changed; sign this one"
    )]
    Measurement {
        /// ENCLAVEHASH, hex.
        expected: String,
        /// What was measured, hex.
        got: String,
    },
    /// The launch has attributes that the signer did not allow, or that nobody may have here.
    #[error(
        "SGX_INVALID_ATTRIBUTE: {field} is {got:#x} at launch, expected {expected:#x} in the bits {mask:#x}"
    )]
    Attribute {
        /// The field.
        field: &'static str,
        /// What it must be.
        expected: u64,
        /// The bits that are compared.
        mask: u64,
        /// What it is.
        got: u64,
    },
    /// CONFIGID, ISVFAMILYID or ISVEXTPRODID without the attribute that makes them count.
    #[error(
        "#GP: {field} is set, but the enclave does not have the attribute KSS (bit 7): sign it with KSS, or leave {field} zero"
    )]
    NeedsKss {
        /// The field.
        field: &'static str,
    },
}

/// What the host chooses at launch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Launch {
    /// ATTRIBUTES of ECREATE, without INIT.
    pub attributes: Attributes,
    /// MISCSELECT of ECREATE.
    pub misc_select: u32,
    /// CONFIGID; needs KSS if it is not zero.
    pub config_id: [u8; 64],
    /// CONFIGSVN; needs KSS if it is not zero.
    pub config_svn: u16,
}

/// EINIT: who the enclave with this measurement is, if the SIGSTRUCT lets it run.
///
/// Launch control is flexible, as on every machine that Linux drives: any signer may launch, and nobody
/// gets PROVISIONKEY or EINITTOKENKEY.
pub fn init(sig: &Sigstruct, mr_enclave: [u8; 32], launch: &Launch) -> Result<Identity, InitError> {
    check_format(sig)?;
    check_signature(sig)?;
    if sig.enclavehash != mr_enclave {
        return Err(InitError::Measurement {
            expected: hex(&sig.enclavehash),
            got: hex(&mr_enclave),
        });
    }
    check_launch(sig, launch)?;
    let mut attributes = launch.attributes;
    attributes.flags |= attribute::INIT;
    Ok(Identity {
        mr_enclave,
        mr_signer: Sha256::digest(sig.modulus).into(),
        product_id: sig.isvprodid,
        svn: sig.isvsvn,
        attributes,
        misc_select: launch.misc_select,
        config_id: launch.config_id,
        config_svn: launch.config_svn,
        ext_product_id: sig.isvextprodid,
        family_id: sig.isvfamilyid,
    })
}

fn check_format(sig: &Sigstruct) -> Result<(), InitError> {
    let zero = |bytes: &[u8]| bytes.iter().all(|b| *b == 0);
    let checks = [
        ("HEADER", sig.header == SIGSTRUCT_HEADER1),
        ("VENDOR", matches!(sig.vendor, 0 | VENDOR_INTEL)),
        ("HEADER2", sig.header2 == SIGSTRUCT_HEADER2),
        ("the reserved field at 44", zero(&sig._reserved1)),
        ("EXPONENT", sig.exponent == 3),
        (
            "CET_ATTRIBUTES",
            sig.cet_attributes == 0 && sig.cet_attributes_mask == 0,
        ),
        ("the reserved field at 910", sig._reserved2 == 0),
        ("the reserved field at 992", zero(&sig._reserved3)),
        ("the reserved field at 1028", zero(&sig._reserved4)),
    ];
    match checks.iter().find(|(_, good)| !good) {
        Some((field, _)) => Err(InitError::SigStruct { field }),
        None => Ok(()),
    }
}

fn check_signature(sig: &Sigstruct) -> Result<(), InitError> {
    let bad = |what| InitError::Signature { what };
    let n = BigUint::from_bytes_le(&sig.modulus);
    let s = BigUint::from_bytes_le(&sig.signature);
    let key = RsaPublicKey::new(n.clone(), 3u8.into()).map_err(|_| bad("MODULUS"))?;
    if key.size() != RSA_LEN {
        return Err(bad("MODULUS"));
    }
    let (head, body) = sig.signature_data();
    let hash = Sha256::new()
        .chain_update(head)
        .chain_update(body)
        .finalize();
    let padding = Pkcs1v15Sign {
        hash_len: Some(32),
        prefix: SHA256_PREFIX.to_vec().into_boxed_slice(),
    };
    let mut signature = sig.signature;
    signature.reverse();
    key.verify(padding, &hash, &signature)
        .map_err(|_| bad("SIGNATURE"))?;
    // Helper values for the CPU's arithmetic: Q1 = S² / N, Q2 = (S² mod N) · S / N.
    let square = &s * &s;
    let q1 = &square / &n;
    let q2 = (&square % &n) * &s / &n;
    if BigUint::from_bytes_le(&sig.q1) != q1 {
        return Err(bad("Q1"));
    }
    if BigUint::from_bytes_le(&sig.q2) != q2 {
        return Err(bad("Q2"));
    }
    Ok(())
}

fn check_launch(sig: &Sigstruct, launch: &Launch) -> Result<(), InitError> {
    let masked = |field, got: u64, want: u64, mask: u64| match (got ^ want) & mask {
        0 => Ok(()),
        _ => Err(InitError::Attribute {
            field,
            expected: want,
            mask,
            got,
        }),
    };
    let flags = launch.attributes.flags;
    // What ECREATE refuses: INIT is EINIT's to set, and this machine knows no 32-bit enclaves.
    let known = attribute::DEBUG | attribute::MODE64BIT | attribute::KSS;
    masked(
        "ATTRIBUTES.FLAGS",
        flags,
        attribute::MODE64BIT,
        !known | attribute::MODE64BIT,
    )?;
    masked("XFRM", launch.attributes.xfrm, 3, 3)?;
    masked("MISCSELECT", launch.misc_select.into(), 0, !1)?;
    let [mask_flags, mask_xfrm] = sig.attributemask;
    masked(
        "ATTRIBUTES.FLAGS",
        flags,
        sig.attributes.flags.bits(),
        mask_flags,
    )?;
    masked(
        "XFRM",
        launch.attributes.xfrm,
        sig.attributes.xfrm,
        mask_xfrm,
    )?;
    let (select, mask) = (sig.miscselect.bits(), sig.miscmask);
    masked(
        "MISCSELECT",
        launch.misc_select.into(),
        select.into(),
        mask.into(),
    )?;
    let kss = flags & attribute::KSS != 0;
    let needs = [
        ("CONFIGID", launch.config_id != [0; 64]),
        ("CONFIGSVN", launch.config_svn != 0),
        ("ISVFAMILYID", sig.isvfamilyid != [0; 16]),
        ("ISVEXTPRODID", sig.isvextprodid != [0; 16]),
    ];
    match needs.iter().find(|(_, set)| *set && !kss) {
        Some((field, _)) => Err(InitError::NeedsKss { field }),
        None => Ok(()),
    }
}
