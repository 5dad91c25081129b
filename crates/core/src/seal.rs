//! Sealed files: what an enclave writes so that only an enclave it permits, on this machine, reads it.
//!
//! A file is a CBOR header followed by one CBOR byte string of ciphertext. The header is public and
//! names all that its key was derived from, so that a later enclave asks EGETKEY for the very same
//! key, whatever CPUSVN the machine has by then; it is the associated data of AES-256-GCM-SIV. The
//! host may put an older file back: [`SealedHeader::generation`] is authentic, not fresh.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};

use aes_gcm_siv::aead::{Aead, KeyInit, Payload};
use aes_gcm_siv::{Aes256GcmSiv, Key};
use baton_attest::identity::{Attributes, Measurement, PLATFORM_SGX, encode, flags};
use baton_attest::keyrequest::{KeyRequest, key_name, key_policy};
use minicbor::{Decode, Decoder, Encode};
use zeroize::Zeroizing;

use crate::platform::{CpuSvn, Platform, PlatformError};
use crate::secret::{Secret32, derive};

/// First element of every header.
pub const MAGIC: &str = "baton sealed";

/// The format version that this code writes, and the newest that it reads.
pub const VERSION: u8 = 1;

/// Largest sealed file, in bytes (16 MiB).
pub const MAX_SEALED_LEN: usize = 16 << 20;

/// ATTRIBUTES that the key is bound to: a DEBUG launch of the same build gets another key. The other
/// bits are left out, as in the SDK's default, so that a kernel or firmware that launches enclaves
/// with one bit more cannot make files unreadable.
const ATTRIBUTE_MASK: Attributes = Attributes {
    flags: flags::INIT | flags::DEBUG | flags::MODE64BIT,
    xfrm: 0,
};

/// MISCMASK as in the SDK's `TSEAL_DEFAULT_MISCMASK`: only bits without a meaning today.
const MISC_MASK: u32 = 0xF000_0000;

/// What a sealed file is for. A file of one slot never opens as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Slot {
    /// The custody of the network's keyring.
    #[n(0)]
    Custody,
    /// The custody of a rehearsal's canary keyring.
    #[n(1)]
    Rehearsal,
}

/// Who else gets the key of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum SealPolicy {
    /// Only the very same build.
    #[n(0)]
    Mrenclave,
    /// Every build of the same signer and product with the same ISVSVN or a higher one. What it
    /// seals is exposed to that signer for ever.
    #[n(1)]
    Mrsigner,
}

/// The public part of a sealed file. **Unverified** until [`open`] gives it back.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct SealedHeader {
    #[n(0)]
    magic: String,
    /// Format version.
    #[n(1)]
    pub version: u8,
    /// [`PLATFORM_SGX`].
    #[n(2)]
    pub platform_tag: u8,
    /// What the file is for.
    #[n(3)]
    pub slot: Slot,
    /// Who gets its key.
    #[n(4)]
    pub policy: SealPolicy,
    /// CPUSVN that its key is derived for, 16 bytes.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub cpu_svn: CpuSvn,
    /// ISVSVN that its key is derived for.
    #[n(6)]
    pub isv_svn: u16,
    /// KEYID of its key, 32 random bytes.
    #[cbor(n(7), with = "minicbor::bytes")]
    pub key_id: [u8; 32],
    /// The chain whose keyring it holds.
    #[n(8)]
    pub chain_id: String,
    /// The build that sealed it.
    #[n(9)]
    pub measurement: Measurement,
    /// Counts the writes of this slot.
    #[n(10)]
    pub generation: u64,
    /// AES-256-GCM-SIV nonce, 12 random bytes.
    #[cbor(n(11), with = "minicbor::bytes")]
    pub nonce: [u8; 12],
}

impl SealedHeader {
    fn key_request(&self) -> KeyRequest {
        KeyRequest {
            key_name: key_name::SEAL,
            key_policy: match self.policy {
                SealPolicy::Mrenclave => key_policy::MRENCLAVE,
                SealPolicy::Mrsigner => key_policy::MRSIGNER,
            },
            isv_svn: self.isv_svn,
            cpu_svn: self.cpu_svn,
            attribute_mask: ATTRIBUTE_MASK,
            key_id: self.key_id,
            misc_mask: MISC_MASK,
            config_svn: 0,
        }
    }

    fn file_key(&self, platform: &dyn Platform) -> Result<Secret32, PlatformError> {
        let seal_key = platform.seal_key(&self.key_request())?;
        Ok(derive(
            seal_key.danger_expose(),
            b"baton sealed file key v1",
        ))
    }
}

/// Why nothing was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The platform gave no key.
    #[error("cannot seal: {0}")]
    Platform(#[from] PlatformError),
    /// The contents are too large.
    #[error("cannot seal {got} bytes: a sealed file has at most {MAX_SEALED_LEN}")]
    TooLarge {
        /// Bytes to seal.
        got: usize,
    },
    /// The cipher refused.
    #[error("cannot seal: encryption failed")]
    Cipher,
}

/// Why a sealed file does not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Something else.
    #[error("not a sealed file of Baton")]
    NotASealedFile,
    /// Of a newer format.
    #[error(
        "sealed file of format version {got}, this build reads up to {VERSION}: run the build that wrote it, or a newer one"
    )]
    Version {
        /// The file's version.
        got: u64,
    },
    /// Of another platform.
    #[error("sealed on a platform of kind {got}, expected {expected}")]
    OtherPlatform {
        /// This platform's tag.
        expected: u8,
        /// The file's tag.
        got: u8,
    },
    /// Cut off.
    #[error(
        "the sealed file is cut off after {got} bytes: use the other generation, or the backup"
    )]
    Truncated {
        /// Bytes that are there.
        got: usize,
    },
    /// Longer than it says, or than any sealed file is.
    #[error("the sealed file is too long: expected {expected} bytes, got {got}")]
    Oversized {
        /// Bytes that it should have at most.
        expected: usize,
        /// Bytes that it has.
        got: usize,
    },
    /// Of another slot.
    #[error("sealed for another use: expected {expected:?}, got {got:?}")]
    OtherSlot {
        /// The slot asked for.
        expected: Slot,
        /// The file's slot.
        got: Slot,
    },
    /// Of another chain.
    #[error("sealed for another chain: expected {expected:?}, got {got:?}")]
    OtherChain {
        /// The chain asked for.
        expected: String,
        /// The file's chain.
        got: String,
    },
    /// Sealed by another build under MRENCLAVE.
    #[error(
        "sealed by another build: this is {expected}, the file is of {got}; run that build, and hand over from it"
    )]
    OtherMeasurement {
        /// The running build.
        expected: Measurement,
        /// The build that sealed the file.
        got: Measurement,
    },
    /// The machine's CPUSVN is below the file's (H01).
    #[error(
        "the firmware of this machine was downgraded: the file was sealed at CPUSVN {}, the machine has {}; \
         restore the BIOS and microcode that it was sealed under, or rejoin from a peer. The file is intact: keep it",
        hex::encode(file),
        hex::encode(machine)
    )]
    CpuSvnLower {
        /// CPUSVN of the file.
        file: CpuSvn,
        /// CPUSVN of the machine.
        machine: CpuSvn,
    },
    /// The enclave's ISVSVN is below the file's.
    #[error(
        "sealed by a build of security version {file}, this build has {enclave}: run a build of at least that version"
    )]
    IsvSvnLower {
        /// ISVSVN of the file.
        file: u16,
        /// ISVSVN of the running enclave.
        enclave: u16,
    },
    /// EGETKEY failed in a way that no file can cause.
    #[error("cannot open: {0}")]
    Platform(PlatformError),
    /// The key does not fit: changed bytes, another machine, another signer or a DEBUG launch.
    #[error(
        "the sealed file does not open on this machine: it was changed, sealed on another machine, under another \
         signer, or by a debug launch; use the other generation, the backup, or rejoin from a peer"
    )]
    Tampered,
}

/// A sealed file that opened.
pub struct Opened {
    /// Its header, now authentic.
    pub header: SealedHeader,
    /// What was sealed.
    pub plaintext: Zeroizing<Vec<u8>>,
}

/// Seals `plaintext` for this build (or this signer) on this machine.
pub fn seal(
    platform: &mut dyn Platform,
    slot: Slot,
    policy: SealPolicy,
    chain_id: &str,
    generation: u64,
    plaintext: &[u8],
) -> Result<Vec<u8>, SealError> {
    let mut key_id = [0; 32];
    platform.random(&mut key_id);
    let mut nonce = [0; 12];
    platform.random(&mut nonce);
    let identity = platform.identity();
    let header = SealedHeader {
        magic: MAGIC.to_string(),
        version: VERSION,
        platform_tag: identity.platform_tag,
        slot,
        policy,
        cpu_svn: platform.cpu_svn(),
        isv_svn: identity.svn,
        key_id,
        chain_id: chain_id.to_string(),
        measurement: identity.measurement,
        generation,
        nonce,
    };
    let key = header.file_key(platform)?;
    let mut file = encode(&header);
    let ciphertext = cipher(&key)
        .encrypt(
            &header.nonce.into(),
            Payload {
                msg: plaintext,
                aad: &file,
            },
        )
        .map_err(|_| SealError::Cipher)?;
    file.extend_from_slice(&encode(&minicbor::bytes::ByteVec::from(ciphertext)));
    if file.len() > MAX_SEALED_LEN {
        return Err(SealError::TooLarge {
            got: plaintext.len(),
        });
    }
    Ok(file)
}

/// Reads the header of a file without any key. **Untrusted**: for the host, and to choose a file.
pub fn peek(file: &[u8]) -> Result<SealedHeader, OpenError> {
    split(file).map(|parts| parts.header)
}

/// Opens a file of this slot and chain.
pub fn open(
    platform: &dyn Platform,
    slot: Slot,
    chain_id: &str,
    file: &[u8],
) -> Result<Opened, OpenError> {
    let Parts {
        header,
        aad,
        ciphertext,
    } = split(file)?;
    check_owner(&header, platform, slot, chain_id)?;
    let key = header.file_key(platform).map_err(|e| match e {
        PlatformError::InvalidCpuSvn => OpenError::CpuSvnLower {
            file: header.cpu_svn,
            machine: platform.cpu_svn(),
        },
        PlatformError::InvalidIsvSvn => OpenError::IsvSvnLower {
            file: header.isv_svn,
            enclave: platform.identity().svn,
        },
        other => OpenError::Platform(other),
    })?;
    let plaintext = cipher(&key)
        .decrypt(
            &header.nonce.into(),
            Payload {
                msg: ciphertext,
                aad,
            },
        )
        .map_err(|_| OpenError::Tampered)?;
    Ok(Opened {
        header,
        plaintext: Zeroizing::new(plaintext),
    })
}

/// Everything here is also bound by the key or the associated data; asked first, it has a name.
fn check_owner(
    header: &SealedHeader,
    platform: &dyn Platform,
    slot: Slot,
    chain_id: &str,
) -> Result<(), OpenError> {
    let identity = platform.identity();
    if header.platform_tag != identity.platform_tag {
        let (expected, got) = (identity.platform_tag, header.platform_tag);
        return Err(OpenError::OtherPlatform { expected, got });
    }
    if header.slot != slot {
        return Err(OpenError::OtherSlot {
            expected: slot,
            got: header.slot,
        });
    }
    if header.chain_id != chain_id {
        let (expected, got) = (chain_id.to_string(), header.chain_id.clone());
        return Err(OpenError::OtherChain { expected, got });
    }
    match header.policy {
        SealPolicy::Mrenclave if header.measurement != identity.measurement => {
            let (expected, got) = (identity.measurement, header.measurement);
            Err(OpenError::OtherMeasurement { expected, got })
        }
        SealPolicy::Mrenclave | SealPolicy::Mrsigner => Ok(()),
    }
}

struct Parts<'f> {
    header: SealedHeader,
    aad: &'f [u8],
    ciphertext: &'f [u8],
}

fn split(file: &[u8]) -> Result<Parts<'_>, OpenError> {
    let got = file.len();
    if got > MAX_SEALED_LEN {
        return Err(OpenError::Oversized {
            expected: MAX_SEALED_LEN,
            got,
        });
    }
    check_start(file)?;
    let read = |e: minicbor::decode::Error| match e.is_end_of_input() {
        true => OpenError::Truncated { got },
        false => OpenError::NotASealedFile,
    };
    let mut d = Decoder::new(file);
    let header: SealedHeader = d.decode().map_err(read)?;
    let aad = file.get(..d.position()).unwrap_or_default();
    let ciphertext = d.bytes().map_err(read)?;
    if d.position() != got {
        return Err(OpenError::Oversized {
            expected: d.position(),
            got,
        });
    }
    // One header has one encoding: what `peek` shows is what the bytes say.
    if encode(&header) != aad {
        return Err(OpenError::NotASealedFile);
    }
    Ok(Parts {
        header,
        aad,
        ciphertext,
    })
}

/// Magic and version come first, so that a file of a newer version is told from a broken one.
fn check_start(file: &[u8]) -> Result<(), OpenError> {
    let read = |e: minicbor::decode::Error| match e.is_end_of_input() {
        true => OpenError::Truncated { got: file.len() },
        false => OpenError::NotASealedFile,
    };
    let mut d = Decoder::new(file);
    d.array().map_err(read)?;
    if d.str().map_err(read)? != MAGIC {
        return Err(OpenError::NotASealedFile);
    }
    match d.u64().map_err(read)? {
        1 => {}
        got => return Err(OpenError::Version { got }),
    }
    match d.u8().map_err(read)? {
        PLATFORM_SGX => Ok(()),
        got => Err(OpenError::OtherPlatform {
            expected: PLATFORM_SGX,
            got,
        }),
    }
}

fn cipher(key: &Secret32) -> Aes256GcmSiv {
    Aes256GcmSiv::new(<&Key<Aes256GcmSiv>>::from(key.danger_expose()))
}

#[cfg(test)]
mod tests;
