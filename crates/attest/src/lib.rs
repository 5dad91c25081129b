//! Who an enclave is, and how it proves that: identities, SGX reports and quotes, TCB policy, platforms.
//!
//! This is the lowest crate. It turns bytes that a hostile host brings into types that only
//! verification can make ([`identity::Identity`] inside an attested type), and it knows nothing of
//! chains, votes or custody. It does no I/O, has no clock and no randomness: times, keys and trust
//! roots are arguments.
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

pub mod attested;
mod bytes;
pub mod identity;
pub mod keyrequest;
#[cfg(feature = "pki")]
pub mod pki;
pub mod policy;
pub mod quote;
pub mod report;
pub mod sgxs;
pub mod sigstruct;
