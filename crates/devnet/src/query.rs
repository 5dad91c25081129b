//! What a node's RPC would answer.

use prost::Message;
use tendermint_proto::types::SignedHeader;

use crate::app::tx::tx_hash;
use crate::app::{gov, upgrade};
use crate::consensus;
use crate::devnet::Devnet;
use crate::merkle::{self, Hash};
use crate::sdk::{Plan, Proposal, Timestamp, Validator};
use crate::store::{Answer, Store, Working};

/// A light block as protobuf bytes, each as a node would send it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LightBlock {
    /// `tendermint.types.SignedHeader` (/commit).
    pub signed_header: Vec<u8>,
    /// `tendermint.types.ValidatorSet` of its height (/validators).
    pub validators: Vec<u8>,
    /// The same of the next height.
    pub next_validators: Vec<u8>,
}

/// A transaction in its block, with its Merkle proof (/tx?prove=true).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxAnswer {
    /// The height of its block, whose own header has the root (`data_hash`).
    pub height: u64,
    /// The transaction's bytes. Its leaf is SHA-256 of 0x00 and SHA-256 of them.
    pub tx: Vec<u8>,
    /// Its place in the block.
    pub index: u64,
    /// How many transactions the block has.
    pub total: u64,
    /// The siblings on the way to the root, lowest first.
    pub aunts: Vec<Hash>,
    /// 0 when it succeeded; `None` while its block is decided but not executed.
    pub code: Option<u32>,
    /// Why it failed.
    pub log: String,
    /// `TxMsgData` protobuf with the messages' responses, when it succeeded.
    pub data: Vec<u8>,
}

/// Why a query has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// No such block.
    #[error("there is no block {height}: the chain is at height {latest}")]
    NoBlock {
        /// The height asked for.
        height: u64,
        /// The last decided height.
        latest: u64,
    },
    /// No such state. On a halted chain the state ends one below the last block.
    #[error("there is no state at height {height}: the last executed block is {latest}")]
    NoState {
        /// The height asked for.
        height: u64,
        /// The last executed height.
        latest: u64,
    },
    /// No such store.
    #[error("there is no store {0:?}")]
    NoStore(String),
}

impl Devnet {
    /// The light block of `height`, decided or executed.
    pub fn light_block(&self, height: u64) -> Result<LightBlock, QueryError> {
        let block = self.block(height)?;
        Ok(LightBlock {
            signed_header: block.signed_header.clone(),
            validators: block.validators.to_pb().encode_to_vec(),
            next_validators: block.next_validators.to_pb().encode_to_vec(),
        })
    }

    /// The header and commit of `height`, decoded.
    pub fn signed_header(&self, height: u64) -> Result<SignedHeader, QueryError> {
        // The devnet made the bytes itself.
        Ok(SignedHeader::decode(self.block(height)?.signed_header.as_slice()).unwrap_or_default())
    }

    /// The hash of header `height`.
    pub fn header_hash(&self, height: u64) -> Result<Hash, QueryError> {
        let header = self.signed_header(height)?.header.unwrap_or_default();
        Ok(consensus::header_hash(&header))
    }

    /// The time of block `height`.
    pub fn block_time(&self, height: u64) -> Result<Timestamp, QueryError> {
        Ok(consensus::timestamp(self.block(height)?.time))
    }

    /// What stands at `key` in the state after block `height`, with its proofs; the app hash that they lead
    /// to is in header `height + 1`.
    pub fn query(&self, store: &str, key: &[u8], height: u64) -> Result<Answer, QueryError> {
        let store = Store::by_name(store).ok_or_else(|| QueryError::NoStore(store.into()))?;
        let state = self.state(height)?;
        // No store is ever empty: genesis writes into each.
        state
            .committed
            .query(store, key)
            .ok_or_else(|| QueryError::NoStore(store.name().into()))
    }

    /// All pairs of a store whose keys begin with `prefix`, in the last state, unproven (`/store/<name>/subspace`).
    pub fn list(&self, store: &str, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>, QueryError> {
        let store = Store::by_name(store).ok_or_else(|| QueryError::NoStore(store.into()))?;
        Ok(self.last_state().committed.list(store, prefix))
    }

    /// The app hash of the state after block `height`, which header `height + 1` shows.
    pub fn app_hash(&self, height: u64) -> Result<Hash, QueryError> {
        Ok(self.state(height)?.app_hash)
    }

    /// Where a transaction stands, with the proof that it does.
    pub fn tx(&self, hash: &Hash) -> Option<TxAnswer> {
        let (height, index) = *self.index.get(hash)?;
        let block = self.block(height).ok()?;
        let digests: Vec<Hash> = block.txs.iter().map(|tx| tx_hash(tx)).collect();
        let result = self
            .state(height)
            .ok()
            .and_then(|state| state.results.get(index));
        Some(TxAnswer {
            height,
            tx: block.txs.get(index)?.clone(),
            index: index as u64,
            total: block.txs.len() as u64,
            aunts: merkle::path(&digests, index)
                .iter()
                .map(merkle::Sibling::hash)
                .collect(),
            code: result.map(|result| result.code),
            log: result.map(|result| result.log.clone()).unwrap_or_default(),
            data: result.map(|result| result.data.clone()).unwrap_or_default(),
        })
    }

    /// The transactions of block `height`.
    pub fn txs(&self, height: u64) -> Result<&[Vec<u8>], QueryError> {
        Ok(&self.block(height)?.txs)
    }

    /// A proposal as it stands in the last state.
    pub fn proposal(&self, id: u64) -> Option<Proposal> {
        let record = self
            .last_state()
            .committed
            .get(Store::Gov, &gov::proposal_key(id))?;
        Proposal::decode(record).ok()
    }

    /// The pending plan in the last state.
    pub fn plan(&self) -> Option<Plan> {
        Plan::decode(
            self.last_state()
                .committed
                .get(Store::Upgrade, upgrade::PLAN_KEY)?,
        )
        .ok()
    }

    /// The record of validator `index` in the last state.
    pub fn validator(&self, index: usize) -> Option<Validator> {
        let operator = self.keys.operators.get(index)?.address();
        let key = [&[0x21, 20], operator.as_slice()].concat();
        Validator::decode(self.last_state().committed.get(Store::Staking, &key)?).ok()
    }

    /// What an address holds in the last state, in base units.
    pub fn balance(&self, address: &crate::keys::Address) -> u128 {
        let state = Working::over(&self.last_state().committed);
        crate::app::bank::balance(&state, address, &self.config.denom)
    }

    fn block(&self, height: u64) -> Result<&crate::devnet::Block, QueryError> {
        let at = height
            .checked_sub(1)
            .and_then(|at| self.blocks.get(at as usize));
        at.map(AsRef::as_ref).ok_or(QueryError::NoBlock {
            height,
            latest: self.height(),
        })
    }

    fn state(&self, height: u64) -> Result<&crate::devnet::State, QueryError> {
        let latest = self.state_height();
        if height == 0 || height > latest {
            return Err(QueryError::NoState { height, latest });
        }
        Ok(&self.states[height as usize])
    }
}
