//! A chain in one process: true CometBFT headers and commits, a true Cosmos SDK state tree with ICS23
//! proofs, real transactions, votes, plans, halts and forks; block time is simulated, so it is fast.
//!
//! Everything follows from [`Config`] and the calls: the same two give the same bytes, which is how
//! [`Devnet::save`] and [`Devnet::load`] work. Keys come from the seed and protect nothing.
//!
//! What a stock chain has and this one leaves out: rewards, inflation, slashing, fees, vesting,
//! several signers, evidence of double signing, rounds above 0. The stores of those modules exist and
//! hold a few keys, so that the multistore proof has its real depth.
//!
//! It uses the protobuf types and hash functions only. It must not depend on the crates that verify
//! what it makes: a mistake shared by both sides would not be seen.

mod app;
mod config;
mod consensus;
mod decimal;
mod devnet;
mod forge;
mod helpers;
mod iavl;
mod journal;
pub mod keys;
pub mod merkle;
mod query;
#[cfg(feature = "rpc")]
pub mod rpc;
pub mod sdk;
mod store;

pub use app::gov::{ABSTAIN, NO, NO_WITH_VETO, YES};
pub use app::tx::{MAX_MEMO, SubmitError, result_leaf, tx_hash};
pub use config::{Config, ConfigError, GovConfig};
pub use consensus::Precommit;
pub use devnet::{Devnet, Halt, LifecycleError, ProduceError};
pub use forge::Forgery;
pub use helpers::{Account, Text};
pub use journal::JournalError;
pub use query::{LightBlock, QueryError, TxAnswer};
pub use store::{Answer, Store};
