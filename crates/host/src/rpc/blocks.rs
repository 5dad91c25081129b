//! Every transaction of a span of blocks, so that an endpoint can hide none.
//!
//! The last header of the span is one that more than two thirds of its validators signed. Each header below is the one whose
//! hash the header above names, taken from `/blockchain`, twenty a call; so a span costs one signature check, and a block
//! without transactions costs nothing more: its header says so. The transactions of any other block have to hash to its `data_hash`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use baton_chain::light::LightBlock;
use prost::Message;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tendermint_proto::types::SignedHeader;

use super::{CallError, Endpoint, RpcSource, number};
use crate::chain::{ChainSource, SourceError};

/// Headers in one answer of `/blockchain`.
const PER_CALL: u64 = 20;

/// What is known of a block by hash links alone.
struct Linked {
    height: u64,
    data_hash: Vec<u8>,
    /// Hash of the header below.
    below: [u8; 32],
}

impl Linked {
    /// A header, with its own hash.
    fn read(signed_header: Vec<u8>) -> Result<(Self, [u8; 32]), CallError> {
        let block = LightBlock { signed_header, validators: Vec::new(), next_validators: None };
        let at = block.untrusted_checkpoint().map_err(CallError::form)?;
        let header = SignedHeader::decode(block.signed_header.as_slice()).ok().and_then(|h| h.header).ok_or_else(|| CallError::form("no header"))?;
        // The first block names none.
        let below = header.last_block_id.and_then(|id| id.hash.try_into().ok()).unwrap_or([0; 32]);
        Ok((Linked { height: at.height, data_hash: header.data_hash, below }, at.hash))
    }

    /// The root over no transactions, or none at all.
    fn is_empty(&self) -> bool {
        self.data_hash.is_empty() || self.data_hash == root(&[])
    }
}

/// The root of a Merkle tree as CometBFT makes it over transactions: each leaf is a transaction's SHA-256.
fn root(txs: &[Vec<u8>]) -> Vec<u8> {
    fn over(leaves: &[[u8; 32]]) -> [u8; 32] {
        match leaves {
            [] => Sha256::digest([]).into(),
            [one] => *one,
            many => {
                // The largest power of two that leaves something to the right.
                let split = many.len().next_power_of_two() / 2;
                let (left, right) = many.split_at(split);
                Sha256::new().chain_update([1]).chain_update(over(left)).chain_update(over(right)).finalize().into()
            }
        }
    }
    let leaves: Vec<[u8; 32]> = txs.iter().map(|tx| Sha256::new().chain_update([0]).chain_update(Sha256::digest(tx)).finalize().into()).collect();
    over(&leaves).to_vec()
}

impl RpcSource {
    /// Calls `see` with the transactions of each block from `last` down to `first` that has any. An endpoint that leaves one
    /// out, or shows a header that is not in this history, is caught.
    pub fn transactions(&self, first: u64, last: u64, mut see: impl FnMut(u64, &[Vec<u8>])) -> Result<(), SourceError> {
        let top = self.light_block(last)?;
        let trouble = |e: CallError| self.error("the endpoints", &format!("header {last}"), e);
        let (top, _) = Linked::read(top.signed_header).map_err(trouble)?;
        let (mut chunk, mut next) = (vec![top], last);
        loop {
            for block in chunk.iter().filter(|b| !b.is_empty()) {
                let txs = self.ask(&format!("transactions of block {}", block.height), |e| transactions_of(e, block))?;
                see(block.height, &txs);
            }
            let Some(lowest) = chunk.last().filter(|_| next > first) else { return Ok(()) };
            let (to, expected) = (next - 1, lowest.below);
            let from = to.saturating_sub(PER_CALL - 1).max(first);
            chunk = self.ask(&format!("headers {from} to {to}"), |e| linked(e, from, to, expected))?;
            next = from;
        }
    }
}

/// The headers from `to` down to `from`, the first of which has the hash `expected`.
fn linked(e: &Endpoint, from: u64, to: u64, mut expected: [u8; 32]) -> Result<Vec<Linked>, CallError> {
    let answer = e.call("blockchain", &json!({"minHeight": from.to_string(), "maxHeight": to.to_string()}))?;
    let metas = answer["block_metas"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut out = Vec::new();
    for height in (from..=to).rev() {
        let meta = metas.iter().find(|m| m["header"].get("height").and_then(number) == Some(height));
        let meta = meta.ok_or_else(|| CallError::Wrong(format!("asked for headers {from} to {to}, it left out {height}")))?;
        let commit = json!({"height": height.to_string(), "round": 0, "block_id": meta["block_id"], "signatures": []});
        let both = json!({"header": meta["header"], "commit": commit});
        let (block, hash) = Linked::read(baton_chain::rpc::signed_header(&both).map_err(CallError::form)?)?;
        if hash != expected {
            return Err(CallError::Wrong(format!("the header above {height} names {}, it gave one of hash {}", hex::encode(expected), hex::encode(hash))));
        }
        expected = block.below;
        out.push(block);
    }
    Ok(out)
}

fn transactions_of(e: &Endpoint, block: &Linked) -> Result<Vec<Vec<u8>>, CallError> {
    let answer = e.call("block", &json!({"height": block.height.to_string()}))?;
    let txs = answer["block"]["data"]["txs"].as_array().map(Vec::as_slice).unwrap_or_default();
    let read = |tx: &Value| tx.as_str().and_then(|t| STANDARD.decode(t).ok()).ok_or_else(|| CallError::form("block: a transaction is not base64"));
    let txs = txs.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    match root(&txs) == block.data_hash {
        true => Ok(txs),
        false => Err(CallError::Wrong(format!(
            "the {} transactions that it gives for block {} do not hash to the data hash of the header: one is left out, added or changed", txs.len(), block.height
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_differs_with_any_transaction_left_out_added_moved_or_changed() {
        for n in 1..10_usize {
            let txs: Vec<Vec<u8>> = (0..n).map(|i| vec![i as u8; i + 1]).collect();
            let good = root(&txs);
            for i in 0..n {
                let mut out = txs.clone();
                out.remove(i);
                assert_ne!(root(&out), good);
                let mut changed = txs.clone();
                changed[i].push(0);
                assert_ne!(root(&changed), good);
            }
            let more = [txs.clone(), vec![vec![99]]].concat();
            assert_ne!(root(&more), good);
            if n > 1 {
                let mut moved = txs.clone();
                moved.swap(0, n - 1);
                assert_ne!(root(&moved), good);
            }
        }
        assert_eq!(hex::encode(root(&[])), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
