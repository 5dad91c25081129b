//! RFC 6962, section 2.1: tree hash, inclusion proofs, consistency proofs, and the compact range.

use alloc::vec::Vec;
use core::fmt;

use minicbor::{Decode, Encode};
use sha2::{Digest, Sha256};

/// A leaf hash, node hash or root of a log: SHA-256, 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct LogHash(#[cbor(with = "minicbor::bytes")] pub [u8; 32]);

impl fmt::Display for LogHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for LogHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogHash({self})")
    }
}

/// Why a proof does not hold, or cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The index or the old size lies outside of the log.
    #[error("no such part of the log: asked for {asked} in a log of size {size}")]
    OutOfRange {
        /// The index, or the old size.
        asked: u64,
        /// The size of the log.
        size: u64,
    },
    /// The proof has too many or too few hashes.
    #[error("the proof has the wrong length: got {got} hashes")]
    Length {
        /// Hashes in it.
        got: usize,
    },
    /// The proof leads to another root.
    #[error("the proof leads to another root: expected {expected}, got {got}")]
    Root {
        /// The root of the log.
        expected: LogHash,
        /// The root that the proof leads to.
        got: LogHash,
    },
}

/// The root of a log without entries: SHA-256 of nothing.
pub fn empty_root() -> LogHash {
    LogHash(Sha256::digest([]).into())
}

/// The hash of a leaf: SHA-256(0x00, data).
pub fn leaf_hash(data: &[u8]) -> LogHash {
    LogHash(
        Sha256::new()
            .chain_update([0])
            .chain_update(data)
            .finalize()
            .into(),
    )
}

fn node_hash(left: &LogHash, right: &LogHash) -> LogHash {
    LogHash(
        Sha256::new()
            .chain_update([1])
            .chain_update(left.0)
            .chain_update(right.0)
            .finalize()
            .into(),
    )
}

/// What an enclave keeps of its log: the size, and the root of each perfect subtree, largest first.
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
#[cbor(array)]
pub struct LogState {
    #[n(0)]
    size: u64,
    #[n(1)]
    peaks: Vec<LogHash>,
}

impl Default for LogState {
    fn default() -> Self {
        Self::new()
    }
}

impl LogState {
    /// The empty log.
    pub fn new() -> Self {
        Self {
            size: 0,
            peaks: Vec::new(),
        }
    }

    /// The state of a log with these leaf hashes.
    pub fn from_leaves(leaves: &[LogHash]) -> Self {
        let mut state = Self::new();
        leaves.iter().for_each(|leaf| state.append(*leaf));
        state
    }

    /// How many entries the log has. The sequence number of the next one.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf hash.
    pub fn append(&mut self, leaf: LogHash) {
        let mut node = leaf;
        // One perfect subtree ends here for each trailing one-bit of the size.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                node = node_hash(&left, &node);
            }
        }
        self.peaks.push(node);
        self.size = self.size.saturating_add(1);
    }

    /// The Merkle tree hash of all entries.
    pub fn root(&self) -> LogHash {
        let mut peaks = self.peaks.iter().rev();
        match peaks.next() {
            None => empty_root(),
            Some(last) => peaks.fold(*last, |right, left| node_hash(left, &right)),
        }
    }
}

impl<'b, C> Decode<'b, C> for LogState {
    fn decode(d: &mut minicbor::Decoder<'b>, ctx: &mut C) -> Result<Self, minicbor::decode::Error> {
        let (size, peaks): (u64, Vec<LogHash>) = d.decode_with(ctx)?;
        if peaks.len() != size.count_ones() as usize {
            return Err(minicbor::decode::Error::message(
                "peaks do not fit the size of the log",
            ));
        }
        Ok(Self { size, peaks })
    }
}

/// The hashes that show leaf `index` in the log of these leaves (RFC 6962, 2.1.1).
pub fn inclusion_proof(leaves: &[LogHash], index: usize) -> Result<Vec<LogHash>, ProofError> {
    if index >= leaves.len() {
        return Err(ProofError::OutOfRange {
            asked: index as u64,
            size: leaves.len() as u64,
        });
    }
    let mut path = Vec::new();
    let (mut rest, mut index) = (leaves, index);
    while rest.len() > 1 {
        let (left, right) = halves(rest);
        match index.checked_sub(left.len()) {
            None => {
                path.push(root_of(right));
                rest = left;
            }
            Some(within) => {
                path.push(root_of(left));
                (rest, index) = (right, within);
            }
        }
    }
    path.reverse();
    Ok(path)
}

/// The hashes that show that the log of the first `old_size` leaves is a prefix of the log of all
/// (RFC 6962, 2.1.2).
pub fn consistency_proof(leaves: &[LogHash], old_size: usize) -> Result<Vec<LogHash>, ProofError> {
    if old_size > leaves.len() {
        return Err(ProofError::OutOfRange {
            asked: old_size as u64,
            size: leaves.len() as u64,
        });
    }
    if old_size == 0 || old_size == leaves.len() {
        return Ok(Vec::new());
    }
    let mut path = Vec::new();
    let (mut rest, mut old, mut whole) = (leaves, old_size, true);
    while old != rest.len() {
        let (left, right) = halves(rest);
        match old.checked_sub(left.len()) {
            Some(within) if within > 0 => {
                path.push(root_of(left));
                (rest, old, whole) = (right, within, false);
            }
            _ => {
                path.push(root_of(right));
                rest = left;
            }
        }
    }
    if !whole {
        path.push(root_of(rest));
    }
    path.reverse();
    Ok(path)
}

/// Splits at the largest power of two below the length.
fn halves(leaves: &[LogHash]) -> (&[LogHash], &[LogHash]) {
    let half = leaves.len().div_ceil(2).next_power_of_two();
    leaves.split_at_checked(half).unwrap_or((leaves, &[]))
}

fn root_of(leaves: &[LogHash]) -> LogHash {
    LogState::from_leaves(leaves).root()
}

/// Checks that `leaf` is entry `index` of the log with this size and root (RFC 9162, 2.1.3.2, which
/// verifies RFC 6962's proofs).
pub fn verify_inclusion(
    leaf: &LogHash,
    index: u64,
    size: u64,
    root: &LogHash,
    proof: &[LogHash],
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::OutOfRange { asked: index, size });
    }
    let length = ProofError::Length { got: proof.len() };
    let (mut at, mut last, mut node) = (index, size.saturating_sub(1), *leaf);
    for sibling in proof {
        if last == 0 {
            return Err(length);
        }
        if at & 1 == 1 || at == last {
            node = node_hash(sibling, &node);
            let levels = if at & 1 == 0 {
                at.trailing_zeros().min(63)
            } else {
                0
            };
            (at, last) = (at >> levels, last >> levels);
        } else {
            node = node_hash(&node, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    if last != 0 {
        Err(length)
    } else {
        same_root(root, node)
    }
}

/// Checks that the log with the old size and root is a prefix of the one with the new size and root
/// (RFC 9162, 2.1.4.2).
pub fn verify_consistency(
    old: (u64, &LogHash),
    new: (u64, &LogHash),
    proof: &[LogHash],
) -> Result<(), ProofError> {
    let ((old_size, old_root), (new_size, new_root)) = (old, new);
    let length = ProofError::Length { got: proof.len() };
    if old_size > new_size {
        return Err(ProofError::OutOfRange {
            asked: old_size,
            size: new_size,
        });
    }
    if old_size == new_size || old_size == 0 {
        let expected = if old_size == 0 {
            empty_root()
        } else {
            *new_root
        };
        return if proof.is_empty() {
            same_root(&expected, *old_root)
        } else {
            Err(length)
        };
    }
    // A perfect old tree is itself the first node of the proof, and is left out of it.
    let (first, path) = match old_size.is_power_of_two() {
        true => (*old_root, proof),
        false => proof
            .split_first()
            .map(|(first, path)| (*first, path))
            .ok_or(length)?,
    };
    let levels = old_size.saturating_sub(1).trailing_ones();
    let mut at = old_size.saturating_sub(1) >> levels;
    let mut last = new_size.saturating_sub(1) >> levels;
    let (mut old_node, mut new_node) = (first, first);
    for sibling in path {
        if last == 0 {
            return Err(length);
        }
        if at & 1 == 1 || at == last {
            old_node = node_hash(sibling, &old_node);
            new_node = node_hash(sibling, &new_node);
            let levels = if at & 1 == 0 {
                at.trailing_zeros().min(63)
            } else {
                0
            };
            (at, last) = (at >> levels, last >> levels);
        } else {
            new_node = node_hash(&new_node, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    if last != 0 {
        return Err(length);
    }
    same_root(old_root, old_node)?;
    same_root(new_root, new_node)
}

fn same_root(expected: &LogHash, got: LogHash) -> Result<(), ProofError> {
    if *expected == got {
        Ok(())
    } else {
        Err(ProofError::Root {
            expected: *expected,
            got,
        })
    }
}
