//! SIGSTRUCT: the developers' signature on a build, 1808 bytes (Intel SDM vol. 3D, "SIGSTRUCT").
//!
//! EINIT checks it on hardware; who reads one elsewhere gets a [`Sigstruct`] that claims, and with the
//! feature `signing` a [`CheckedSigstruct`](crate::sigstruct::CheckedSigstruct) whose signature holds.

use alloc::vec::Vec;

use sha2::{Digest, Sha256};

use crate::bytes::{Reader, Writer};
use crate::identity::{Attributes, Measurement, Signer};

#[cfg(feature = "signing")]
mod signing;
#[cfg(feature = "signing")]
pub use signing::{CheckedSigstruct, SigningKey, check_sigstruct};

/// Length of a SIGSTRUCT, in bytes.
pub const SIGSTRUCT_LEN: usize = 1808;
/// Length of an RSA-3072 number, in bytes.
pub const RSA_LEN: usize = 384;

const HEADER: [u8; 16] = [6, 0, 0, 0, 0xe1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0];
const HEADER2: [u8; 16] = [1, 1, 0, 0, 0x60, 0, 0, 0, 0x60, 0, 0, 0, 1, 0, 0, 0];

/// Why bytes are not a SIGSTRUCT, or not one of this build.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SigstructError {
    /// Another length.
    #[error("a SIGSTRUCT has {SIGSTRUCT_LEN} bytes, got {got}")]
    Length {
        /// Bytes that were given.
        got: usize,
    },
    /// A constant of the format is something else.
    #[error("{field} of the SIGSTRUCT is not the constant that the format demands")]
    Constant {
        /// Name of the field.
        field: &'static str,
    },
    /// A reserved byte is in use.
    #[error("a reserved byte of the SIGSTRUCT is not zero")]
    Reserved,
    /// The RSA signature, or its helper values Q1 and Q2, do not hold.
    #[error("the signature of the SIGSTRUCT does not verify ({what})")]
    Signature {
        /// Which part.
        what: &'static str,
    },
    /// A signing key is not RSA-3072 with exponent 3.
    #[error(
        "not a signing key for SGX: {reason}; expected RSA-3072 with exponent 3, in PEM (PKCS #8 or PKCS #1)"
    )]
    Key {
        /// What is wrong.
        reason: alloc::string::String,
    },
    /// EINIT would refuse this launch.
    #[error("{field} at launch is not what the SIGSTRUCT allows: this enclave would not start")]
    Launch {
        /// Name of the field.
        field: &'static str,
    },
}

/// The fields of a SIGSTRUCT. **Unverified.**
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sigstruct {
    /// VENDOR: 0, or 0x8086 for Intel's own enclaves.
    pub vendor: u32,
    /// DATE, in binary-coded decimal: 0xYYYYMMDD.
    pub date_bcd: u32,
    /// SWDEFINED.
    pub software_defined: u32,
    /// MODULUS, little endian, 384 bytes.
    pub modulus: [u8; RSA_LEN],
    /// SIGNATURE, little endian, 384 bytes.
    pub signature: [u8; RSA_LEN],
    /// MISCSELECT that the build wants.
    pub misc_select: u32,
    /// MISCMASK: which bits of it count.
    pub misc_mask: u32,
    /// ISVFAMILYID, 16 bytes.
    pub family_id: [u8; 16],
    /// ATTRIBUTES that the build wants.
    pub attributes: Attributes,
    /// ATTRIBUTEMASK: which bits of them count.
    pub attribute_mask: Attributes,
    /// ENCLAVEHASH: the MRENCLAVE that is signed.
    pub measurement: Measurement,
    /// ISVEXTPRODID, 16 bytes.
    pub ext_product_id: [u8; 16],
    /// ISVPRODID.
    pub product_id: u16,
    /// ISVSVN.
    pub svn: u16,
    /// Q1 = signature² / modulus, little endian, 384 bytes.
    pub q1: [u8; RSA_LEN],
    /// Q2 = (signature² mod modulus) · signature / modulus, little endian, 384 bytes.
    pub q2: [u8; RSA_LEN],
}

impl Sigstruct {
    /// Reads a SIGSTRUCT, without any check of its signature.
    pub fn parse(bytes: &[u8]) -> Result<Self, SigstructError> {
        let bytes: &[u8; SIGSTRUCT_LEN] = bytes
            .try_into()
            .map_err(|_| SigstructError::Length { got: bytes.len() })?;
        let mut r = Reader::new(bytes);
        let constant = |good, field| match good {
            true => Ok(()),
            false => Err(SigstructError::Constant { field }),
        };
        constant(r.array() == HEADER, "HEADER")?;
        let (vendor, date_bcd) = (r.u32(), r.u32());
        constant(r.array() == HEADER2, "HEADER2")?;
        let software_defined = r.u32();
        r.reserved::<84>();
        let modulus = r.array();
        constant(r.u32() == 3, "EXPONENT")?;
        let signature = r.array();
        let (misc_select, misc_mask) = (r.u32(), r.u32());
        r.reserved::<4>();
        let family_id = r.array();
        let attributes = Attributes {
            flags: r.u64(),
            xfrm: r.u64(),
        };
        let attribute_mask = Attributes {
            flags: r.u64(),
            xfrm: r.u64(),
        };
        let measurement = Measurement(r.array());
        r.reserved::<16>();
        let ext_product_id = r.array();
        let (product_id, svn) = (r.u16(), r.u16());
        r.reserved::<12>();
        let (q1, q2) = (r.array(), r.array());
        if !r.reserved_zero {
            return Err(SigstructError::Reserved);
        }
        Ok(Self {
            vendor,
            date_bcd,
            software_defined,
            modulus,
            signature,
            misc_select,
            misc_mask,
            family_id,
            attributes,
            attribute_mask,
            measurement,
            ext_product_id,
            product_id,
            svn,
            q1,
            q2,
        })
    }

    /// The 1808 bytes.
    pub fn to_bytes(&self) -> [u8; SIGSTRUCT_LEN] {
        let (head, body) = self.signed_parts();
        Writer::new()
            .put(&head)
            .put(&self.modulus)
            .put(&3u32.to_le_bytes())
            .put(&self.signature)
            .put(&body)
            .reserved::<12>()
            .put(&self.q1)
            .put(&self.q2)
            .finish()
    }

    /// MRSIGNER: SHA-256 over the modulus as it is stored.
    pub fn signer(&self) -> Signer {
        Signer(Sha256::digest(self.modulus).into())
    }

    /// What is signed: the first 128 bytes, then bytes 900 to 1027.
    pub fn signed_bytes(&self) -> Vec<u8> {
        let (head, body) = self.signed_parts();
        [head, body].concat()
    }

    fn signed_parts(&self) -> ([u8; 128], [u8; 128]) {
        let head = Writer::new()
            .put(&HEADER)
            .put(&self.vendor.to_le_bytes())
            .put(&self.date_bcd.to_le_bytes())
            .put(&HEADER2)
            .put(&self.software_defined.to_le_bytes())
            .finish();
        let body = Writer::new()
            .put(&self.misc_select.to_le_bytes())
            .put(&self.misc_mask.to_le_bytes())
            .reserved::<4>()
            .put(&self.family_id)
            .put(&self.attributes.flags.to_le_bytes())
            .put(&self.attributes.xfrm.to_le_bytes())
            .put(&self.attribute_mask.flags.to_le_bytes())
            .put(&self.attribute_mask.xfrm.to_le_bytes())
            .put(&self.measurement.0)
            .reserved::<16>()
            .put(&self.ext_product_id)
            .put(&self.product_id.to_le_bytes())
            .put(&self.svn.to_le_bytes())
            .finish();
        (head, body)
    }
}
