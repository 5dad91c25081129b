//! Evidence of what a Cosmos SDK chain decided: light blocks, state proofs, the vote, the public record.
//!
//! It turns untrusted bytes into types that only verification can make ([`light::TrustedHeader`],
//! [`proofs::ProvenState`] and, above them, the authorization of a handover). It may depend on
//! `baton-attest` and knows nothing of custody, secrets or hosts. No I/O, no clock, no randomness: every
//! time is a block's or an argument. A header of height h proves, by its app hash, the state after block h-1.
#![no_std]
#![forbid(unsafe_code)]
#![deny(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

extern crate alloc;
#[cfg(any(test, feature = "json"))]
extern crate std;

pub mod admission;
pub mod authorize;
pub mod decimal;
pub mod evidence;
pub mod gov;
pub mod info;
pub mod light;
pub mod policy;
pub mod proofs;
pub mod publication;
pub mod record;
#[cfg(feature = "json")]
pub mod recorded;
#[cfg(feature = "json")]
pub mod rpc;
pub mod staking;
#[cfg(test)]
mod testkit;
pub mod vote;

pub use decimal::Decimal;
pub use policy::{ChainPolicy, Checkpoint};
