//! The devnet against the stock verifiers and against what a real chain has said.

mod forks;
mod gov;
mod journal;
mod lifecycle;
mod light;
mod proofs;
mod recorded;
#[expect(dead_code, reason = "the unit tests of the tree use the rest")]
mod stock;
mod support;
mod txs;
