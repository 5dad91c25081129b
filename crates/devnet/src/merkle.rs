//! CometBFT's binary Merkle tree (RFC 6962 shape): headers, commits, validator sets, transactions,
//! results and the multistore root all use it.

use sha2::{Digest, Sha256};

/// A SHA-256 digest.
pub type Hash = [u8; 32];

/// SHA-256 of the concatenation of `parts`.
pub fn sha256(parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// The hash of one leaf: SHA-256 of 0x00 and the bytes.
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    sha256(&[&[0], leaf])
}

/// The hash of an inner node: SHA-256 of 0x01 and both children.
pub fn inner_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

/// The root over `leaves`; SHA-256 of nothing when there are none.
pub fn root<T: AsRef<[u8]>>(leaves: &[T]) -> Hash {
    match leaves {
        [] => sha256(&[]),
        [one] => leaf_hash(one.as_ref()),
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            inner_hash(&root(left), &root(right))
        }
    }
}

/// The siblings of leaf `index` on the way to the root, lowest first, each with its side.
pub fn path<T: AsRef<[u8]>>(leaves: &[T], index: usize) -> Vec<Sibling> {
    if leaves.len() <= 1 {
        return Vec::new();
    }
    let at = split(leaves.len());
    let (left, right) = leaves.split_at(at);
    let (mut path, sibling) = if index < at {
        (path(left, index), Sibling::Right(root(right)))
    } else {
        (path(right, index - at), Sibling::Left(root(left)))
    };
    path.push(sibling);
    path
}

/// The other child of a node on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sibling {
    /// The sibling stands to the left.
    Left(Hash),
    /// The sibling stands to the right.
    Right(Hash),
}

impl Sibling {
    /// Its hash.
    pub fn hash(&self) -> Hash {
        match self {
            Self::Left(hash) | Self::Right(hash) => *hash,
        }
    }
}

/// The largest power of two below `len`, for `len` of at least two.
fn split(len: usize) -> usize {
    1 << (usize::BITS - 1 - (len - 1).leading_zeros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_split_is_the_largest_power_of_two_below_the_length() {
        let wanted = [(2, 1), (3, 2), (4, 2), (5, 4), (8, 4), (9, 8)];
        for (len, at) in wanted {
            assert_eq!(split(len), at);
        }
    }

    #[test]
    fn every_path_leads_to_the_root() {
        for len in 1..20_u8 {
            let leaves: Vec<[u8; 1]> = (0..len).map(|n| [n]).collect();
            for index in 0..leaves.len() {
                let top = path(&leaves, index).iter().fold(
                    leaf_hash(&leaves[index]),
                    |below, sibling| match sibling {
                        Sibling::Left(left) => inner_hash(left, &below),
                        Sibling::Right(right) => inner_hash(&below, right),
                    },
                );
                assert_eq!(top, root(&leaves));
            }
        }
    }
}
