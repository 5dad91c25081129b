//! The devnet against the stock verifiers and against what a real chain has said.

mod forks;
mod gov;
mod journal;
mod light;
mod lifecycle;
mod proofs;
mod recorded;
mod stock;
mod support;
mod txs;
