//! libbaton: the custody core as a static C library, for enclaves that exist already.
//!
//! It is the trusted program of `baton-enclave` (the same requests, responses and sealed files) behind
//! `baton.h`. It may use enclave, core, chain and attest, and runs on six callbacks of the embedding
//! enclave: EGETKEY, EREPORT, randomness, memory, and where to stop. `scripts/libbaton-build` makes the
//! archive, without std, for any enclave on x86-64; `docs/embedding.md` says what an embedder must promise.
//!
//! A C border cannot be crossed without `unsafe`. All of it is in the module `raw`, each block with the
//! reason why it holds; every other module is refused any by the lint below, and so are all crates under
//! this one.
#![no_std]
#![deny(
    missing_docs,
    unsafe_code,
    unsafe_op_in_unsafe_fn,
    clippy::undocumented_unsafe_blocks,
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
// An ordinary target has std's allocator and panic handler; in an enclave `raw` brings both.
#[cfg(not(all(target_os = "none", target_env = "sgx")))]
extern crate std;

pub mod codes;
pub mod instance;
pub mod platform;
#[allow(unsafe_code)]
pub mod raw;

#[cfg(test)]
mod tests;
