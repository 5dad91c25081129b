//! The trusted program: the keeper of `baton-core` and an app behind one request/response type.
//!
//! It may use core, chain and attest. It seals what a step changed, holds back what the step wants to
//! say until the host has shown that the sealed bytes are on disk, and turns refusals into text for
//! people. `sim` (a feature that only adds API) runs it in process on a software CPU.
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
#[cfg(feature = "sim")]
extern crate std;

pub mod refusal;
pub mod shell;
#[cfg(feature = "sim")]
pub mod sim;
pub mod vault;
pub mod wire;

pub use shell::Enclave;
