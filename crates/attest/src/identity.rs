//! The identity of an enclave: every field of its report that says which code runs, how, and who signed it.
//!
//! MRENCLAVE alone does not cover ATTRIBUTES, ISVPRODID or CONFIGID (Intel SDM vol. 3D, 39.4), so a
//! measurement is never compared without the rest of its identity.

use alloc::{string::String, vec::Vec};
use core::fmt;
use core::str::FromStr;

use minicbor::{Decode, Encode};
use sha2::{Digest, Sha256};

/// The platform tag of Intel SGX: the first element of every identity, quote envelope and sealed file.
pub const PLATFORM_SGX: u8 = 1;

/// Bits of `ATTRIBUTES.FLAGS` (Intel SDM vol. 3D, table 35-3).
pub mod flags {
    /// The enclave is initialized.
    pub const INIT: u64 = 1;
    /// A debugger may read and write the enclave.
    pub const DEBUG: u64 = 1 << 1;
    /// 64-bit mode.
    pub const MODE64BIT: u64 = 1 << 2;
    /// The provisioning key is available.
    pub const PROVISION_KEY: u64 = 1 << 4;
}

macro_rules! bytes32 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        #[cbor(transparent)]
        pub struct $name(#[cbor(with = "minicbor::bytes")] pub [u8; 32]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self)
            }
        }

        impl FromStr for $name {
            type Err = BadHex;
            fn from_str(s: &str) -> Result<Self, BadHex> {
                let mut out = [0; 32];
                hex::decode_to_slice(s, &mut out).map_err(|_| BadHex { got_chars: s.len() })?;
                Ok(Self(out))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let s = <String as serde::Deserialize>::deserialize(d)?;
                s.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

bytes32! {
    /// MRENCLAVE: SHA-256 over the build of an enclave, 32 bytes.
    Measurement
}
bytes32! {
    /// MRSIGNER: SHA-256 over the modulus of the key that signed the SIGSTRUCT, 32 bytes.
    Signer
}
bytes32! {
    /// One machine: SHA-256(context string, PPID of its PCK certificate). Only a quote shows it.
    PlatformId
}
bytes32! {
    /// A SHA-256 digest with a context string in front, 32 bytes.
    Digest32
}

impl PlatformId {
    /// What a record carries where no quote ever showed the platform.
    pub const UNKNOWN: PlatformId = PlatformId([0; 32]);
}

/// A hexadecimal string that is not 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 64 hexadecimal characters, got {got_chars} characters that are not that")]
pub struct BadHex {
    /// Length of what was given, in characters.
    pub got_chars: usize,
}

/// `ATTRIBUTES` of an enclave, 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, serde::Serialize)]
#[cbor(array)]
pub struct Attributes {
    /// FLAGS, see [`flags`].
    #[n(0)]
    pub flags: u64,
    /// XFRM: the processor state components that the enclave may use.
    #[n(1)]
    pub xfrm: u64,
}

/// The full identity of an enclave, as its REPORT shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Identity {
    /// The platform tag, [`PLATFORM_SGX`].
    #[n(0)]
    pub platform_tag: u8,
    /// MRENCLAVE.
    #[n(1)]
    pub measurement: Measurement,
    /// MRSIGNER.
    #[n(2)]
    pub signer: Signer,
    /// ISVPRODID.
    #[n(3)]
    pub product_id: u16,
    /// ISVSVN.
    #[n(4)]
    pub svn: u16,
    /// ATTRIBUTES.
    #[n(5)]
    pub attributes: Attributes,
    /// MISCSELECT.
    #[n(6)]
    pub misc_select: u32,
    /// CONFIGID, 64 bytes.
    #[cbor(n(7), with = "minicbor::bytes")]
    pub config_id: [u8; 64],
    /// CONFIGSVN.
    #[n(8)]
    pub config_svn: u16,
}

impl Identity {
    /// True if a debugger may read this enclave's memory.
    pub fn is_debug(&self) -> bool {
        self.attributes.flags & flags::DEBUG != 0
    }

    /// The deterministic CBOR encoding.
    pub fn to_cbor(&self) -> Vec<u8> {
        encode(self)
    }

    /// SHA-256(`"baton identity v1"`, CBOR of the identity): what a record and a transcript carry.
    pub fn digest(&self) -> Digest32 {
        hash("baton identity v1", &[&self.to_cbor()])
    }
}

/// Encodes into memory, which cannot fail.
pub fn encode<T: minicbor::Encode<()>>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    match minicbor::encode(value, &mut out) {
        Ok(()) => out,
        Err(e) => match e.into_write() {
            Some(never) => match never {},
            None => out,
        },
    }
}

/// SHA-256 over a context string and parts, each with its length (8 bytes, big endian) in front, so
/// that two different lists of parts never give the same bytes.
pub fn hash(context: &str, parts: &[&[u8]]) -> Digest32 {
    let mut h = Sha256::new();
    let mut put = |b: &[u8]| {
        h.update((b.len() as u64).to_be_bytes());
        h.update(b);
    };
    put(context.as_bytes());
    parts.iter().for_each(|p| put(p));
    Digest32(h.finalize().into())
}
