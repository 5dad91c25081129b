//! The policy slot: the place in the program's image where the conversion writes the policy, before it
//! measures the image.
//!
//! The slot is page aligned data of the program with a fixed head, so that whoever converts finds it
//! without symbols, and so that the same program with the same policy gives the same measurement without
//! a compiler. As compiled it holds no policy, and the program refuses to start.
//!
//! Layout, little endian: 32 bytes mark, 32 bytes version (text, zero padded), 4 bytes length of the
//! policy, its deterministic CBOR, zeros to [`SLOT_LEN`].

use alloc::string::String;
use alloc::vec::Vec;

/// Length of the slot, in bytes (8 pages).
pub const SLOT_LEN: usize = 32 << 10;
/// Length of the mark in front, in bytes.
pub const MARK_LEN: usize = 32;
/// Length of the version text, in bytes.
pub const VERSION_LEN: usize = 32;
/// Offset of the policy in the slot, in bytes.
pub const POLICY_OFFSET: usize = MARK_LEN + VERSION_LEN + 4;
/// Largest policy that the slot takes, in bytes of CBOR.
pub const MAX_POLICY_BYTES: usize = SLOT_LEN - POLICY_OFFSET;

/// What the slot begins with. A reader compares with this; the program itself must not, or the mark would be in it twice.
pub const MARK: [u8; MARK_LEN] = *b"baton policy slot v1 \xf0\x9f\x8e\xbc\x00\xd5\x17\x9c\xe2\x4b\x86";

/// What the version of the lifeboat's program begins with.
pub const LIFEBOAT: &str = "lifeboat ";
/// What the version of the ceremony's program begins with.
pub const CEREMONY: &str = "ceremony ";

/// What a slot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Version of the program, as it was compiled.
    pub version: String,
    /// CBOR of the policy; empty if none was inserted.
    pub policy: Vec<u8>,
}

/// Why bytes are no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    /// Another length.
    #[error("the policy slot has {got} bytes, expected {SLOT_LEN}")]
    Length {
        /// Its length in bytes.
        got: usize,
    },
    /// The head or the padding is not what a conversion writes.
    #[error("the policy slot is damaged: {0}")]
    Damaged(&'static str),
    /// The policy does not fit.
    #[error("the policy has {got} bytes of CBOR, expected at most {MAX_POLICY_BYTES}")]
    TooLong {
        /// Its length in bytes.
        got: usize,
    },
}

/// Reads what follows the mark. The mark itself is the finder's to check.
pub fn read(slot: &[u8]) -> Result<Slot, SlotError> {
    let wrong = SlotError::Length { got: slot.len() };
    if slot.len() != SLOT_LEN {
        return Err(wrong);
    }
    let (_, rest) = slot.split_first_chunk::<MARK_LEN>().ok_or(wrong)?;
    let (version, rest) = rest.split_first_chunk::<VERSION_LEN>().ok_or(wrong)?;
    let (len, rest) = rest.split_first_chunk::<4>().ok_or(wrong)?;
    let len = usize::try_from(u32::from_le_bytes(*len)).unwrap_or(usize::MAX);
    let (policy, padding) = rest.split_at_checked(len).ok_or(SlotError::Damaged("the length of the policy is above its room"))?;
    // Nothing that is measured may hide behind the policy: the same program and policy have one measurement.
    if padding.iter().any(|b| *b != 0) {
        return Err(SlotError::Damaged("expected zeros after the policy"));
    }
    let text = version.split(|b| *b == 0).next().unwrap_or_default();
    let version = core::str::from_utf8(text).map_err(|_| SlotError::Damaged("the version is no text"))?;
    Ok(Slot { version: version.into(), policy: policy.into() })
}

/// The first bytes of a slot as compiled: mark and version, no policy. A longer version is cut. `program` stands before
/// the version: [`LIFEBOAT`], [`CEREMONY`], or nothing for the keeper.
pub const fn head(mark: &[u8; MARK_LEN], program: &str, version: &str) -> [u8; MARK_LEN + VERSION_LEN] {
    let mut out = [0; MARK_LEN + VERSION_LEN];
    let (head, tail) = out.split_at_mut(MARK_LEN);
    head.copy_from_slice(mark);
    let tail = put(tail, program.as_bytes());
    put(tail, version.as_bytes());
    out
}

/// As much of `text` as there is room for; gives the room behind it.
const fn put<'a>(room: &'a mut [u8], text: &[u8]) -> &'a mut [u8] {
    let n = if text.len() < room.len() { text.len() } else { room.len() };
    let (here, behind) = room.split_at_mut(n);
    here.copy_from_slice(text.split_at(n).0);
    behind
}

/// The slot of a program of this version with a policy in it; none with an empty one.
pub fn fill(version: &str, policy: &[u8]) -> Result<Vec<u8>, SlotError> {
    let len = u32::try_from(policy.len()).ok().filter(|_| policy.len() <= MAX_POLICY_BYTES);
    let len = len.ok_or(SlotError::TooLong { got: policy.len() })?;
    let mut out = head(&MARK, "", version).to_vec();
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(policy);
    out.resize(SLOT_LEN, 0);
    Ok(out)
}
