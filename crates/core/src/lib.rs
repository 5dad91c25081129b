//! The protocol: policy, secrets, sealed files, custody, handover and the custody log.
//!
//! Everything here runs inside the enclave and trusts nothing that a host brings. It may use
//! `baton-attest` and `baton-chain`, and nothing above them. It does no I/O, has no clock and no
//! randomness of its own: keys, reports and random bytes come through [`platform::Platform`].
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
#[cfg(test)]
#[macro_use]
extern crate std;

pub mod barrier;
pub mod branch;
mod cbor;
pub mod ceremony;
pub mod context;
pub mod custody;
pub mod escrow;
#[cfg(any(test, feature = "sim"))]
pub mod fake;
pub mod handover;
pub mod hpke_box;
pub mod keeper;
pub mod keyring;
pub mod legacy;
pub mod lifeboat;
pub mod log;
pub mod messages;
pub mod note;
pub mod order;
pub mod platform;
pub mod policy;

pub mod seal;
pub mod secret;
pub mod shares;
pub mod transfers;
pub mod witness;
