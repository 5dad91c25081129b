//! The trusted program: the keeper of `baton-core` and an app behind one request/response type.
//!
//! It may use core, chain and attest. It seals what a step changed, holds back what the step wants to
//! say until the host has shown that the sealed bytes are on disk, and turns refusals into text for
//! people. Beside it two smaller programs, each a build of its own: [`lifeboat`] and `ceremony`. `sim` (a feature that only
//! adds API) runs all three in process on a software CPU; the binaries (feature `sgx`) are the same behind a byte link,
//! each an SGX enclave of its own.
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

extern crate alloc;
#[cfg(any(feature = "sim", feature = "serve"))]
extern crate std;

#[cfg(feature = "ceremony")]
pub mod ceremony;
pub mod lifeboat;
pub mod link;
pub mod refusal;
#[cfg(feature = "serve")]
pub mod serve;
#[cfg(all(feature = "sgx", target_env = "sgx"))]
pub mod sgx;
pub mod shell;
#[cfg(feature = "sim")]
pub mod sim;
pub mod slot;
pub mod vault;
pub mod wire;

pub use shell::Enclave;
