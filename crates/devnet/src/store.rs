//! The multistore: one state tree for each module, and one root over all of them, which is the app
//! hash (SDK store/rootmulti, store/types/commit_info.go).

use std::collections::BTreeMap;

use ics23::commitment_proof::Proof;
use ics23::{CommitmentProof, ExistenceProof, HashOp, InnerOp, LeafOp, LengthOp};
use prost_ics23::Message as _;

use crate::iavl::Tree;
use crate::merkle::{self, Hash, Sibling, sha256};

/// The stores of the chain, in the order of their names, which is the order of the root's leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the module of that name")]
pub enum Store {
    Acc,
    Bank,
    Consensus,
    Distribution,
    Gov,
    Mint,
    Slashing,
    Staking,
    Upgrade,
}

impl Store {
    /// All of them, in order.
    pub const ALL: [Self; 9] = [
        Self::Acc,
        Self::Bank,
        Self::Consensus,
        Self::Distribution,
        Self::Gov,
        Self::Mint,
        Self::Slashing,
        Self::Staking,
        Self::Upgrade,
    ];

    /// The name in proofs and query paths.
    pub fn name(self) -> &'static str {
        match self {
            Self::Acc => "acc",
            Self::Bank => "bank",
            Self::Consensus => "consensus",
            Self::Distribution => "distribution",
            Self::Gov => "gov",
            Self::Mint => "mint",
            Self::Slashing => "slashing",
            Self::Staking => "staking",
            Self::Upgrade => "upgrade",
        }
    }

    /// The store of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|store| store.name() == name)
    }
}

/// The committed state after one block; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Committed {
    trees: [Tree; Store::ALL.len()],
}

/// A query's answer: the value, if there is one, and the two proofs up to the app hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What stands at the key; `None` when the proof shows that nothing does.
    pub value: Option<Vec<u8>>,
    /// The `ics23.CommitmentProof` of the key in its store's tree (`ics23:iavl`).
    pub iavl: Vec<u8>,
    /// The `ics23.CommitmentProof` of the store's root in the app hash (`ics23:simple`).
    pub simple: Vec<u8>,
}

impl Committed {
    /// The app hash.
    pub fn hash(&self) -> Hash {
        merkle::root(&self.leaves())
    }

    pub(crate) fn get(&self, store: Store, key: &[u8]) -> Option<&[u8]> {
        self.trees[store as usize].get(key)
    }

    pub(crate) fn list(&self, store: Store, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.trees[store as usize].with_prefix(prefix)
    }

    /// The answer for one key. `None` when the store is empty: an empty tree proves nothing.
    pub(crate) fn query(&self, store: Store, key: &[u8]) -> Option<Answer> {
        let tree = &self.trees[store as usize];
        let iavl = tree.prove(key)?.encode_to_vec();
        Some(Answer {
            value: tree.get(key).map(<[u8]>::to_vec),
            iavl,
            simple: self.prove_store(store).encode_to_vec(),
        })
    }

    /// One leaf for each store: its name and SHA-256 of its root, each with its length before it.
    fn leaves(&self) -> Vec<Vec<u8>> {
        let leaf = |store: Store| {
            let name = store.name().as_bytes();
            let digest = sha256(&[&self.trees[store as usize].hash()]);
            let mut bytes = vec![name.len() as u8];
            bytes.extend_from_slice(name);
            bytes.push(digest.len() as u8);
            bytes.extend_from_slice(&digest);
            bytes
        };
        Store::ALL.into_iter().map(leaf).collect()
    }

    fn prove_store(&self, store: Store) -> CommitmentProof {
        let step = |sibling: Sibling| {
            let mut prefix = vec![1];
            let mut suffix = Vec::new();
            match sibling {
                Sibling::Left(hash) => prefix.extend_from_slice(&hash),
                Sibling::Right(hash) => suffix.extend_from_slice(&hash),
            }
            InnerOp {
                hash: HashOp::Sha256.into(),
                prefix,
                suffix,
            }
        };
        let path = merkle::path(&self.leaves(), store as usize)
            .into_iter()
            .map(step)
            .collect();
        let leaf = LeafOp {
            hash: HashOp::Sha256.into(),
            prehash_key: HashOp::NoHash.into(),
            prehash_value: HashOp::Sha256.into(),
            length: LengthOp::VarProto.into(),
            prefix: vec![0],
        };
        let proof = ExistenceProof {
            key: store.name().into(),
            value: self.trees[store as usize].hash().to_vec(),
            leaf: Some(leaf),
            path,
        };
        CommitmentProof {
            proof: Some(Proof::Exist(proof)),
        }
    }
}

type Writes = [BTreeMap<Vec<u8>, Option<Vec<u8>>>; Store::ALL.len()];

/// A block's work on the state: reads see its own writes, nothing is kept until [`Working::commit`].
#[derive(Clone)]
pub(crate) struct Working {
    base: Committed,
    writes: Writes,
}

impl Working {
    pub(crate) fn over(base: &Committed) -> Self {
        Self {
            base: base.clone(),
            writes: Writes::default(),
        }
    }

    pub(crate) fn get(&self, store: Store, key: &[u8]) -> Option<&[u8]> {
        match self.writes[store as usize].get(key) {
            Some(written) => written.as_deref(),
            None => self.base.get(store, key),
        }
    }

    pub(crate) fn set(&mut self, store: Store, key: &[u8], value: Vec<u8>) {
        self.writes[store as usize].insert(key.to_vec(), Some(value));
    }

    pub(crate) fn delete(&mut self, store: Store, key: &[u8]) {
        self.writes[store as usize].insert(key.to_vec(), None);
    }

    /// Whether this block has written a key with that prefix.
    pub(crate) fn touched(&self, store: Store, prefix: &[u8]) -> bool {
        let from = self.writes[store as usize].range(prefix.to_vec()..);
        from.into_iter()
            .next()
            .is_some_and(|(key, _)| key.starts_with(prefix))
    }

    /// Every pair whose key starts with `prefix`, in order of keys.
    pub(crate) fn with_prefix(&self, store: Store, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let base = self.base.trees[store as usize].with_prefix(prefix);
        let mut pairs: BTreeMap<Vec<u8>, Vec<u8>> = base.into_iter().collect();
        let written = self.writes[store as usize].range(prefix.to_vec()..);
        for (key, value) in written.take_while(|(key, _)| key.starts_with(prefix)) {
            match value {
                Some(value) => pairs.insert(key.clone(), value.clone()),
                None => pairs.remove(key),
            };
        }
        pairs.into_iter().collect()
    }

    /// Writes everything into the trees, in the order of keys as the SDK's cache does, as `version`.
    pub(crate) fn commit(self, version: u64) -> Committed {
        let mut committed = self.base;
        for (tree, writes) in committed.trees.iter_mut().zip(self.writes) {
            for (key, value) in writes {
                match value {
                    Some(value) => tree.set(version, &key, value),
                    None => tree.remove(version, &key),
                }
            }
        }
        committed
    }
}
