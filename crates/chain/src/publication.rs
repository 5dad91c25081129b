//! Public before private: a record in a transaction that is in a block of the chain.
//!
//! The data hash of a header commits to the transactions of its own block (CometBFT `types/tx.go`: RFC 6962 style
//! tree whose leaves are SHA-256 of each transaction). A failed transaction counts: it is in the block, and a record
//! asks for nothing but to be seen.

use alloc::string::String;

use baton_attest::identity::Digest32;
use prost::Message;
use sha2::{Digest, Sha256};

use crate::evidence::{PublicationEvidence, TxProof};
use crate::gov::{TxBody, TxRaw};
use crate::light::TrustedHeader;
use crate::record::{Record, RecordError};

/// Most bytes of one transaction.
pub const MAX_TX_BYTES: usize = 1024 * 1024;
/// Most transactions in one block.
const MAX_TXS: u64 = 1 << 32;

/// Why a transaction does not make a record public.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublicationError {
    /// More than is read.
    #[error("publication: expected a transaction of at most {MAX_TX_BYTES} bytes, got {got}")]
    TooLong {
        /// Its length in bytes.
        got: usize,
    },
    /// Index, total and number of hashes do not fit each other.
    #[error("publication: no inclusion proof has total {total}, index {index} and {aunts} hashes")]
    Shape {
        /// Transactions in the block, as claimed.
        total: u64,
        /// Its place, as claimed.
        index: u64,
        /// Number of hashes given.
        aunts: usize,
    },
    /// The proof leads to another root.
    #[error("publication: the transaction is not in block {height}: expected data hash {expected}, got {got}")]
    NotIncluded {
        /// Height of the header.
        height: u64,
        /// The header's data hash.
        expected: Digest32,
        /// Where the proof leads.
        got: Digest32,
    },
    /// Not a transaction of the SDK.
    #[error("publication: not a canonical cosmos.tx.v1beta1.TxRaw, so it has no memo")]
    NotATransaction,
    /// The memo is no record.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// A transaction that is in a block. Only verification makes one:
///
/// ```compile_fail
/// let forged = baton_chain::publication::Included { height: 1, header_hash: [0; 32], memo: String::new() };
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Included {
    height: u64,
    header_hash: [u8; 32],
    memo: String,
}

impl Included {
    /// Verifies inclusion under the data hash of `header`, which must be the one of the transaction's own height.
    pub fn verify(header: &TrustedHeader, tx: &[u8], proof: &TxProof) -> Result<Included, PublicationError> {
        if tx.len() > MAX_TX_BYTES {
            return Err(PublicationError::TooLong { got: tx.len() });
        }
        let got = root(proof, Sha256::digest(tx).into()).ok_or(PublicationError::Shape {
            total: proof.total,
            index: proof.index,
            aunts: proof.aunts.len(),
        })?;
        let expected = header.data_hash().unwrap_or_default();
        if header.data_hash() != Some(got) {
            let (expected, got) = (Digest32(expected), Digest32(got));
            return Err(PublicationError::NotIncluded { height: header.height(), expected, got });
        }
        Ok(Included { height: header.height(), header_hash: header.hash(), memo: memo(tx)? })
    }

    /// Height of the block.
    pub fn height(&self) -> u64 {
        self.height
    }

    /// Hash of its header.
    pub fn header_hash(&self) -> [u8; 32] {
        self.header_hash
    }

    /// The transaction's memo, whatever it says.
    pub fn memo(&self) -> &str {
        &self.memo
    }
}

/// A record that is public. Only verification makes one:
///
/// ```compile_fail
/// fn forge(i: baton_chain::publication::Included, r: baton_chain::record::Record) {
///     let forged = baton_chain::publication::Published { record: r, included: i };
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    record: Record,
    included: Included,
}

impl Published {
    /// Verifies inclusion and reads the record; the header was shown already.
    pub fn verify(header: &TrustedHeader, evidence: &PublicationEvidence) -> Result<Published, PublicationError> {
        Included::verify(header, &evidence.tx, &evidence.proof)?.try_into()
    }

    /// The record.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Height of its block.
    pub fn height(&self) -> u64 {
        self.included.height
    }

    /// Hash of that block's header.
    pub fn header_hash(&self) -> [u8; 32] {
        self.included.header_hash
    }
}

impl TryFrom<Included> for Published {
    type Error = PublicationError;
    fn try_from(included: Included) -> Result<Self, PublicationError> {
        Ok(Published { record: Record::parse(&included.memo)?, included })
    }
}

/// The SDK takes canonical TxRaw only (ADR-027), so other bytes in a block are no transaction that a node would read a memo from.
fn memo(tx: &[u8]) -> Result<String, PublicationError> {
    let raw = TxRaw::decode(tx).map_err(|_| PublicationError::NotATransaction)?;
    if raw.encode_to_vec() != tx {
        return Err(PublicationError::NotATransaction);
    }
    let body = TxBody::decode(&raw.body_bytes[..]).map_err(|_| PublicationError::NotATransaction)?;
    Ok(body.memo)
}

/// Where a proof leads (RFC 9162, 2.1.3.2, with `index` < `total`); `None` if its shape is impossible.
fn root(proof: &TxProof, tx_hash: [u8; 32]) -> Option<[u8; 32]> {
    if proof.total > MAX_TXS || proof.index >= proof.total {
        return None;
    }
    let (mut place, mut last) = (proof.index, proof.total.checked_sub(1)?);
    let mut hash: [u8; 32] = Sha256::new().chain_update([0]).chain_update(tx_hash).finalize().into();
    for aunt in &proof.aunts {
        if last == 0 {
            return None;
        }
        if place & 1 == 1 || place == last {
            hash = inner(&aunt.0, &hash);
            // An only child climbs to where it has a sibling.
            while place & 1 == 0 && place != 0 {
                (place, last) = (place >> 1, last >> 1);
            }
        } else {
            hash = inner(&hash, &aunt.0);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    (last == 0).then_some(hash)
}

fn inner(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Hash32;
    use alloc::{vec, vec::Vec};
    use proptest::prelude::*;

    /// The recursive definition (CometBFT `crypto/merkle/tree.go`): the left half is the largest power of two below the size.
    fn tree(leaves: &[[u8; 32]]) -> [u8; 32] {
        match leaves {
            [] => Sha256::digest([]).into(),
            [one] => Sha256::new().chain_update([0]).chain_update(one).finalize().into(),
            _ => {
                let (l, r) = leaves.split_at(split(leaves.len()));
                inner(&tree(l), &tree(r))
            }
        }
    }

    fn split(n: usize) -> usize {
        n.next_power_of_two() / 2
    }

    fn aunts(leaves: &[[u8; 32]], index: usize) -> Vec<Hash32> {
        if leaves.len() < 2 {
            return vec![];
        }
        let k = split(leaves.len());
        let (l, r) = leaves.split_at(k);
        let (mut way, sibling) = if index < k { (aunts(l, index), tree(r)) } else { (aunts(r, index - k), tree(l)) };
        way.push(Hash32(sibling));
        way
    }

    fn leaves(n: usize) -> Vec<[u8; 32]> {
        (0..n).map(|i| Sha256::digest(i.to_be_bytes()).into()).collect()
    }

    #[test]
    fn every_leaf_of_every_small_tree_leads_to_its_root_and_to_no_other_place() {
        for n in 1..40 {
            let all = leaves(n);
            for i in 0..n {
                let proof = TxProof { total: n as u64, index: i as u64, aunts: aunts(&all, i) };
                assert_eq!(root(&proof, all[i]), Some(tree(&all)), "{i} of {n}");
                for j in (0..n).filter(|j| *j != i) {
                    assert_ne!(root(&TxProof { index: j as u64, ..proof.clone() }, all[i]), Some(tree(&all)), "{i} as {j} of {n}");
                }
            }
        }
    }

    #[test]
    fn a21_impossible_shapes_are_refused() {
        let all = leaves(5);
        let good = TxProof { total: 5, index: 2, aunts: aunts(&all, 2) };
        let mut long = good.clone();
        long.aunts.push(Hash32([0; 32]));
        let mut short = good.clone();
        short.aunts.pop();
        for bad in [
            long,
            short,
            TxProof { total: 0, index: 0, aunts: vec![] },
            TxProof { index: 5, ..good.clone() },
            TxProof { index: u64::MAX, total: u64::MAX, ..good.clone() },
            TxProof { total: 1, index: 0, aunts: vec![Hash32([0; 32])] },
        ] {
            assert_eq!(root(&bad, all[2]), None, "{bad:?}");
        }
    }

    #[test]
    fn bytes_that_are_not_a_canonical_transaction_have_no_memo() {
        let body = TxBody { memo: "m".into(), ..TxBody::default() }.encode_to_vec();
        let tx = TxRaw { body_bytes: body, ..TxRaw::default() }.encode_to_vec();
        assert_eq!(memo(&tx).unwrap(), "m");
        let twice = [&tx[..], &tx[..]].concat();
        assert_eq!(memo(&twice), Err(PublicationError::NotATransaction));
        let unknown = [&tx[..], &[0x22, 0x00]].concat();
        assert_eq!(memo(&unknown), Err(PublicationError::NotATransaction));
        assert_eq!(memo(&tx[..tx.len() - 1]), Err(PublicationError::NotATransaction));
    }

    proptest! {
        #[test]
        fn any_proof_is_read_without_panic(total: u64, index: u64, n in 0usize..70) {
            let _ = root(&TxProof { total, index, aunts: vec![Hash32([7; 32]); n] }, [1; 32]);
        }
    }
}
