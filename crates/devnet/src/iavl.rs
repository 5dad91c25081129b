//! The state tree of the Cosmos SDK: an AVL tree with values in its leaves, whose nodes never
//! change, so every older version stays whole (iavl 1.2: node.go, mutable_tree.go, proof_ics23.go).
//!
//! A node's hash is SHA-256 of height, size and version as zigzag varints, then for a leaf the key
//! and SHA-256 of the value, for an inner node both child hashes; each with a length before it.

use std::cmp::Ordering;
use std::sync::Arc;

use ics23::commitment_proof::Proof;
use ics23::{
    CommitmentProof, ExistenceProof, HashOp, InnerOp, LeafOp, LengthOp, NonExistenceProof,
};

use crate::merkle::{Hash, sha256};

/// The length byte before each child hash.
const HASH_LEN: u8 = 32;

/// One version of a tree; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    root: Option<Arc<Node>>,
}

#[derive(Debug)]
struct Node {
    /// A leaf's own key; for an inner node the smallest key to its right.
    key: Arc<[u8]>,
    version: u64,
    height: u8,
    size: u64,
    hash: Hash,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Leaf(Vec<u8>),
    Inner(Arc<Node>, Arc<Node>),
}

impl Tree {
    /// The root hash; SHA-256 of nothing for an empty tree.
    pub fn hash(&self) -> Hash {
        self.root
            .as_ref()
            .map_or_else(|| sha256(&[]), |root| root.hash)
    }

    /// The value at `key`.
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        let mut node = self.root.as_ref()?;
        loop {
            match &node.kind {
                Kind::Leaf(value) => return (*node.key == *key).then_some(value),
                Kind::Inner(left, right) => node = if *key < *node.key { left } else { right },
            }
        }
    }

    /// Every pair whose key starts with `prefix`, in order of keys.
    pub fn with_prefix(&self, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found = Vec::new();
        if let Some(root) = &self.root {
            collect(root, prefix, &mut found);
        }
        found
    }

    /// Writes `value` at `key`; the nodes that change are of `version`.
    pub fn set(&mut self, version: u64, key: &[u8], value: Vec<u8>) {
        self.root = Some(match &self.root {
            None => Node::leaf(version, key.into(), value),
            Some(root) => insert(version, root, key, value),
        });
    }

    /// Removes `key`, if it is there; the nodes that change are of `version`.
    pub fn remove(&mut self, version: u64, key: &[u8]) {
        if self.get(key).is_none() {
            return;
        }
        if let Some(root) = self.root.take() {
            self.root = remove(version, &root, key).rest;
        }
    }

    /// A proof for what stands at `key`: of its value, or that there is none. `None` for an empty tree,
    /// which can prove nothing.
    pub fn prove(&self, key: &[u8]) -> Option<CommitmentProof> {
        let root = self.root.as_ref()?;
        let proof = if self.get(key).is_some() {
            Proof::Exist(existence(root, key))
        } else {
            let (left, right) = neighbours(root, key);
            Proof::Nonexist(NonExistenceProof {
                key: key.to_vec(),
                left: left.map(|key| existence(root, &key)),
                right: right.map(|key| existence(root, &key)),
            })
        };
        Some(CommitmentProof { proof: Some(proof) })
    }
}

impl Node {
    fn leaf(version: u64, key: Arc<[u8]>, value: Vec<u8>) -> Arc<Self> {
        let digest = sha256(&[&value]);
        let hash = sha256(&[
            &leaf_prefix(version),
            &length(key.len()),
            &key,
            &[HASH_LEN],
            &digest,
        ]);
        Arc::new(Self {
            key,
            version,
            height: 0,
            size: 1,
            hash,
            kind: Kind::Leaf(value),
        })
    }

    fn inner(version: u64, key: Arc<[u8]>, left: Arc<Self>, right: Arc<Self>) -> Arc<Self> {
        let height = left.height.max(right.height) + 1;
        let size = left.size + right.size;
        let prefix = inner_prefix(height, size, version);
        let hash = sha256(&[&prefix, &[HASH_LEN], &left.hash, &[HASH_LEN], &right.hash]);
        Arc::new(Self {
            key,
            version,
            height,
            size,
            hash,
            kind: Kind::Inner(left, right),
        })
    }

    fn children(&self) -> Option<(&Arc<Self>, &Arc<Self>)> {
        match &self.kind {
            Kind::Leaf(_) => None,
            Kind::Inner(left, right) => Some((left, right)),
        }
    }

    /// How much higher the left side is than the right.
    fn lean(&self) -> i16 {
        self.children().map_or(0, |(left, right)| {
            i16::from(left.height) - i16::from(right.height)
        })
    }
}

/// The bytes before a leaf's key: height 0, size 1, version.
fn leaf_prefix(version: u64) -> Vec<u8> {
    inner_prefix(0, 1, version)
}

fn inner_prefix(height: u8, size: u64, version: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(12);
    for number in [u64::from(height), size, version] {
        // Zigzag of a number that is never negative.
        prost::encoding::encode_varint(number << 1, &mut bytes);
    }
    bytes
}

fn length(len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(2);
    prost::encoding::encode_varint(len as u64, &mut bytes);
    bytes
}

fn insert(version: u64, node: &Arc<Node>, key: &[u8], value: Vec<u8>) -> Arc<Node> {
    let Some((left, right)) = node.children() else {
        let fresh = Node::leaf(version, key.into(), value);
        return match key.cmp(&node.key) {
            Ordering::Equal => fresh,
            Ordering::Less => Node::inner(version, node.key.clone(), fresh, node.clone()),
            Ordering::Greater => Node::inner(version, fresh.key.clone(), node.clone(), fresh),
        };
    };
    let (left, right) = if *key < *node.key {
        (insert(version, left, key, value), right.clone())
    } else {
        (left.clone(), insert(version, right, key, value))
    };
    balance(version, Node::inner(version, node.key.clone(), left, right))
}

/// What a removal leaves of a subtree.
struct Removed {
    rest: Option<Arc<Node>>,
    /// The subtree's smallest key, when that changed.
    smallest: Option<Arc<[u8]>>,
}

/// Removes `key`, which must be below `node`.
fn remove(version: u64, node: &Arc<Node>, key: &[u8]) -> Removed {
    let Some((left, right)) = node.children() else {
        return Removed {
            rest: None,
            smallest: None,
        };
    };
    if *key < *node.key {
        let below = remove(version, left, key);
        let Some(rest) = below.rest else {
            return Removed {
                rest: Some(right.clone()),
                smallest: Some(node.key.clone()),
            };
        };
        let joined = Node::inner(version, node.key.clone(), rest, right.clone());
        return Removed {
            rest: Some(balance(version, joined)),
            smallest: below.smallest,
        };
    }
    let below = remove(version, right, key);
    let Some(rest) = below.rest else {
        return Removed {
            rest: Some(left.clone()),
            smallest: None,
        };
    };
    let split = below.smallest.unwrap_or_else(|| node.key.clone());
    let joined = Node::inner(version, split, left.clone(), rest);
    Removed {
        rest: Some(balance(version, joined)),
        smallest: None,
    }
}

/// Restores the AVL rule at `node`, as iavl's `balance` does: the same rotations, or the hashes differ.
fn balance(version: u64, node: Arc<Node>) -> Arc<Node> {
    let Some((left, right)) = node.children() else {
        return node;
    };
    match node.lean() {
        2.. if left.lean() >= 0 => rotate_right(version, &node),
        2.. => {
            let left = rotate_left(version, left);
            rotate_right(
                version,
                &Node::inner(version, node.key.clone(), left, right.clone()),
            )
        }
        ..=-2 if right.lean() <= 0 => rotate_left(version, &node),
        ..=-2 => {
            let right = rotate_right(version, right);
            rotate_left(
                version,
                &Node::inner(version, node.key.clone(), left.clone(), right),
            )
        }
        _ => node,
    }
}

fn rotate_right(version: u64, node: &Arc<Node>) -> Arc<Node> {
    let Some((pivot, right)) = node.children() else {
        return node.clone();
    };
    let Some((outer, middle)) = pivot.children() else {
        return node.clone();
    };
    let lower = Node::inner(version, node.key.clone(), middle.clone(), right.clone());
    Node::inner(version, pivot.key.clone(), outer.clone(), lower)
}

fn rotate_left(version: u64, node: &Arc<Node>) -> Arc<Node> {
    let Some((left, pivot)) = node.children() else {
        return node.clone();
    };
    let Some((middle, outer)) = pivot.children() else {
        return node.clone();
    };
    let lower = Node::inner(version, node.key.clone(), left.clone(), middle.clone());
    Node::inner(version, pivot.key.clone(), lower, outer.clone())
}

fn collect(node: &Arc<Node>, prefix: &[u8], found: &mut Vec<(Vec<u8>, Vec<u8>)>) {
    match &node.kind {
        Kind::Leaf(value) if node.key.starts_with(prefix) => {
            found.push((node.key.to_vec(), value.clone()));
        }
        Kind::Leaf(_) => {}
        Kind::Inner(left, right) => {
            // Everything to the left is below the node's key, everything to the right is not.
            if *prefix < *node.key {
                collect(left, prefix, found);
            }
            if node.key.starts_with(prefix) || *node.key <= *prefix {
                collect(right, prefix, found);
            }
        }
    }
}

/// The proof of the leaf at `key`, which must be there.
fn existence(root: &Arc<Node>, key: &[u8]) -> ExistenceProof {
    let mut path = Vec::new();
    let mut node = root;
    while let Some((left, right)) = node.children() {
        let mut prefix = inner_prefix(node.height, node.size, node.version);
        prefix.push(HASH_LEN);
        let mut suffix = Vec::new();
        if *key < *node.key {
            suffix.push(HASH_LEN);
            suffix.extend_from_slice(&right.hash);
            node = left;
        } else {
            prefix.extend_from_slice(&left.hash);
            prefix.push(HASH_LEN);
            node = right;
        }
        path.push(InnerOp {
            hash: HashOp::Sha256.into(),
            prefix,
            suffix,
        });
    }
    path.reverse();
    let value = match &node.kind {
        Kind::Leaf(value) => value.clone(),
        Kind::Inner(..) => Vec::new(),
    };
    let leaf = LeafOp {
        hash: HashOp::Sha256.into(),
        prehash_key: HashOp::NoHash.into(),
        prehash_value: HashOp::Sha256.into(),
        length: LengthOp::VarProto.into(),
        prefix: leaf_prefix(node.version),
    };
    ExistenceProof {
        key: node.key.to_vec(),
        value,
        leaf: Some(leaf),
        path,
    }
}

/// The keys just below and just above an absent `key`.
fn neighbours(root: &Arc<Node>, key: &[u8]) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    let (mut below, mut above) = (None, None);
    let mut node = root;
    while let Some((left, right)) = node.children() {
        if *key < *node.key {
            above = Some(node.key.to_vec());
            node = left;
        } else {
            below = Some(largest(left));
            node = right;
        }
    }
    if *node.key < *key {
        below = Some(node.key.to_vec());
    } else {
        above = Some(node.key.to_vec());
    }
    (below, above)
}

fn largest(node: &Arc<Node>) -> Vec<u8> {
    let mut node = node;
    while let Some((_, right)) = node.children() {
        node = right;
    }
    node.key.to_vec()
}

#[cfg(test)]
#[path = "../tests/chain/stock.rs"]
#[expect(dead_code, reason = "the integration tests use the rest")]
mod stock;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn check_shape(node: &Arc<Node>) {
        let Some((left, right)) = node.children() else {
            return;
        };
        assert!(node.lean().abs() <= 1);
        assert_eq!(*node.key, *smallest(right));
        assert!(*largest(left) < *node.key);
        check_shape(left);
        check_shape(right);
    }

    fn smallest(node: &Arc<Node>) -> Arc<[u8]> {
        node.children()
            .map_or_else(|| node.key.clone(), |(left, _)| smallest(left))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_tree_holds_and_proves_what_was_written(steps in prop::collection::vec((0..48_u8, any::<bool>(), 1..200_u8), 1..200)) {
            let mut tree = Tree::default();
            let mut wanted = BTreeMap::new();
            let mut versions = Vec::new();
            for (version, (key, remove, value)) in steps.into_iter().enumerate() {
                let key = [key, key];
                if remove && version % 3 == 0 {
                    tree.remove(version as u64 + 1, &key);
                    wanted.remove(key.as_slice());
                } else {
                    tree.set(version as u64 + 1, &key, vec![value]);
                    wanted.insert(key.to_vec(), vec![value]);
                }
                versions.push((tree.clone(), tree.hash()));
            }
            if let Some(root) = &tree.root {
                check_shape(root);
            }
            let pairs: Vec<_> = wanted.clone().into_iter().collect();
            prop_assert_eq!(tree.with_prefix(&[]), pairs);
            for key in 0..49_u8 {
                let key = [key, key];
                let Some(proof) = tree.prove(&key) else { continue };
                let value = wanted.get(key.as_slice()).map(Vec::as_slice);
                prop_assert_eq!(tree.get(&key), value);
                prop_assert!(stock::iavl_shows(&proof, &tree.hash(), &key, value));
                let wrong = if value.is_some() { None } else { Some([1].as_slice()) };
                prop_assert!(!stock::iavl_shows(&proof, &tree.hash(), &key, wrong));
            }
            for (old, hash) in versions {
                prop_assert_eq!(old.hash(), hash);
            }
        }

        #[test]
        fn a_prefix_finds_what_a_scan_finds(keys in prop::collection::btree_set(prop::collection::vec(0..3_u8, 1..5), 0..60), prefix in prop::collection::vec(0..3_u8, 0..4)) {
            let mut tree = Tree::default();
            for key in &keys {
                tree.set(1, key, vec![1]);
            }
            let wanted: Vec<_> = keys.into_iter().filter(|key| key.starts_with(&prefix)).collect();
            let found: Vec<_> = tree.with_prefix(&prefix).into_iter().map(|(key, _)| key).collect();
            prop_assert_eq!(found, wanted);
        }
    }
}
