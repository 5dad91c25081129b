//! The file that an existing network's enclave sealed with Intel's SDK, for the first switch.
//!
//! Layout of `sgx_sealed_data_t` (`sgx_tseal.h`), little endian: key request 512 bytes, plain text
//! offset u32, 12 reserved, payload size u32, 12 reserved, tag 16, payload. The payload is the
//! ciphertext, then the additional text from the offset on. AES-128-GCM under the key of EGETKEY
//! itself, with a nonce of 12 zero bytes.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes128Gcm, Key};
use alloc::vec::Vec;
use baton_attest::keyrequest::{KEY_REQUEST_LEN, KeyRequest, key_name, key_policy};
use zeroize::Zeroizing;

use crate::platform::{CpuSvn, Platform, PlatformError};
use crate::secret::Seed;

/// Bytes in front of the payload.
pub const HEADER_LEN: usize = 560;

/// Largest legacy file that is read, in bytes (64 KiB): it holds one seed.
pub const MAX_LEGACY_LEN: usize = 64 << 10;

/// The epoch of a legacy seed.
pub const LEGACY_EPOCH: u64 = 0;

const NONCE: [u8; 12] = [0; 12];
const TAG_LEN: usize = 16;

/// Why a legacy file gives no seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LegacyError {
    /// Shorter than its header, or than its header says.
    #[error("the legacy file is cut off: expected {expected} bytes, got {got}")]
    Truncated {
        /// Bytes that it should have.
        expected: usize,
        /// Bytes that it has.
        got: usize,
    },
    /// Larger than any, or with bytes other than zeros behind the payload.
    #[error("the legacy file is too long: expected {expected} bytes, got {got}")]
    Oversized {
        /// Bytes that it should have.
        expected: usize,
        /// Bytes that it has.
        got: usize,
    },
    /// A field that the layout does not allow.
    #[error("not a file of sgx_seal_data: bad {0}")]
    Malformed(&'static str),
    /// The machine's CPUSVN is below the file's (H01).
    #[error(
        "the firmware of this machine was downgraded: the legacy file was sealed at CPUSVN {}, the machine has {}; \
         restore the BIOS and microcode that it was sealed under",
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
        "the legacy file was sealed by a build of security version {file}, this build has {enclave}"
    )]
    IsvSvnLower {
        /// ISVSVN of the file.
        file: u16,
        /// ISVSVN of the running enclave.
        enclave: u16,
    },
    /// EGETKEY failed otherwise.
    #[error("cannot open the legacy file: {0}")]
    Platform(PlatformError),
    /// The key does not fit.
    #[error(
        "the legacy file does not open: it was changed, or sealed on another machine, by another signer or product"
    )]
    Tampered,
    /// It opened, and holds something else.
    #[error("the legacy file holds {got} bytes, expected the 32 of a seed")]
    NotASeed {
        /// Bytes that it holds.
        got: usize,
    },
}

/// The seed of a legacy file: epoch [`LEGACY_EPOCH`].
pub struct LegacySeed {
    /// The seed.
    pub seed: Seed,
    /// True if it was sealed under MRSIGNER, so that any build of that signer reads it.
    pub exposed: bool,
}

/// Opens a legacy file.
pub fn unseal_legacy(platform: &dyn Platform, file: &[u8]) -> Result<LegacySeed, LegacyError> {
    let parts = parse(file)?;
    let request = parts.request;
    let key = platform.seal_key(&request).map_err(|e| match e {
        PlatformError::InvalidCpuSvn => LegacyError::CpuSvnLower {
            file: request.cpu_svn,
            machine: platform.cpu_svn(),
        },
        PlatformError::InvalidIsvSvn => LegacyError::IsvSvnLower {
            file: request.isv_svn,
            enclave: platform.identity().svn,
        },
        other => LegacyError::Platform(other),
    })?;
    let mut msg = Vec::with_capacity(parts.ciphertext.len().saturating_add(TAG_LEN));
    msg.extend_from_slice(parts.ciphertext);
    msg.extend_from_slice(parts.tag);
    let plaintext = Aes128Gcm::new(<&Key<Aes128Gcm>>::from(key.danger_expose()))
        .decrypt(
            &NONCE.into(),
            Payload {
                msg: &msg,
                aad: parts.additional,
            },
        )
        .map(Zeroizing::new)
        .map_err(|_| LegacyError::Tampered)?;
    let bytes: &[u8; 32] = plaintext
        .as_slice()
        .try_into()
        .map_err(|_| LegacyError::NotASeed {
            got: plaintext.len(),
        })?;
    Ok(LegacySeed {
        seed: Seed::danger_from_bytes(bytes),
        exposed: request.key_policy & key_policy::MRSIGNER != 0,
    })
}

struct Parts<'f> {
    request: KeyRequest,
    tag: &'f [u8],
    ciphertext: &'f [u8],
    additional: &'f [u8],
}

fn parse(file: &[u8]) -> Result<Parts<'_>, LegacyError> {
    let got = file.len();
    if got > MAX_LEGACY_LEN {
        return Err(LegacyError::Oversized {
            expected: MAX_LEGACY_LEN,
            got,
        });
    }
    let cut = |expected| LegacyError::Truncated { expected, got };
    let (request, rest) = file
        .split_first_chunk::<KEY_REQUEST_LEN>()
        .ok_or(cut(HEADER_LEN))?;
    let (offset, rest) = rest.split_first_chunk::<4>().ok_or(cut(HEADER_LEN))?;
    let (reserved_a, rest) = rest.split_first_chunk::<12>().ok_or(cut(HEADER_LEN))?;
    let (size, rest) = rest.split_first_chunk::<4>().ok_or(cut(HEADER_LEN))?;
    let (reserved_b, rest) = rest.split_first_chunk::<12>().ok_or(cut(HEADER_LEN))?;
    let (tag, rest) = rest.split_first_chunk::<TAG_LEN>().ok_or(cut(HEADER_LEN))?;
    if reserved_a != &[0; 12] || reserved_b != &[0; 12] {
        return Err(LegacyError::Malformed("reserved bytes"));
    }
    let request = KeyRequest::parse(request).map_err(|_| LegacyError::Malformed("key request"))?;
    if request.key_name != key_name::SEAL {
        return Err(LegacyError::Malformed("key name"));
    }
    let size = u32::from_le_bytes(*size) as usize;
    let expected = HEADER_LEN.saturating_add(size);
    let (payload, behind) = rest.split_at_checked(size).ok_or(cut(expected))?;
    // Some writers keep the file in a buffer of fixed size.
    if behind.iter().any(|byte| *byte != 0) {
        return Err(LegacyError::Oversized { expected, got });
    }
    let (ciphertext, additional) = payload
        .split_at_checked(u32::from_le_bytes(*offset) as usize)
        .ok_or(LegacyError::Malformed("plain text offset"))?;
    Ok(Parts {
        request,
        tag,
        ciphertext,
        additional,
    })
}

/// Writes a legacy file as `sgx_seal_data_ex` does. For simulations and tests.
#[cfg(any(test, feature = "sim"))]
pub fn seal_legacy(
    platform: &mut dyn Platform,
    policy: crate::seal::SealPolicy,
    plaintext: &[u8],
    additional: &[u8],
) -> Result<Vec<u8>, PlatformError> {
    use baton_attest::identity::Attributes;
    let mut key_id = [0; 32];
    platform.random(&mut key_id);
    let request = KeyRequest {
        key_name: key_name::SEAL,
        key_policy: match policy {
            crate::seal::SealPolicy::Mrenclave => key_policy::MRENCLAVE,
            crate::seal::SealPolicy::Mrsigner => key_policy::MRSIGNER,
        },
        isv_svn: platform.identity().svn,
        cpu_svn: platform.cpu_svn(),
        // TSEAL_DEFAULT_FLAGSMASK.
        attribute_mask: Attributes {
            flags: 0xFF00_0000_0000_000B,
            xfrm: 0,
        },
        key_id,
        misc_mask: 0xF000_0000,
        config_svn: 0,
    };
    let key = platform.seal_key(&request)?;
    let sealed = Aes128Gcm::new(<&Key<Aes128Gcm>>::from(key.danger_expose()))
        .encrypt(
            &NONCE.into(),
            Payload {
                msg: plaintext,
                aad: additional,
            },
        )
        .map_err(|_| PlatformError::BadRequest)?;
    let (ciphertext, tag) = sealed.split_at(sealed.len().saturating_sub(TAG_LEN));
    let offset = u32::try_from(ciphertext.len()).unwrap_or(u32::MAX);
    let size = offset.saturating_add(u32::try_from(additional.len()).unwrap_or(u32::MAX));
    let (offset, size) = (offset.to_le_bytes(), size.to_le_bytes());
    Ok([
        &request.to_bytes()[..],
        &offset,
        &[0; 12],
        &size,
        &[0; 12],
        tag,
        ciphertext,
        additional,
    ]
    .concat())
}

#[cfg(test)]
mod tests;
