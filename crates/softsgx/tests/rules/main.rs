//! The rules of the emulated CPU, on enclaves that are assembled here: no SGX toolchain is needed.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![deny(unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]

mod build;
#[cfg(feature = "cli")]
mod command;
#[cfg(feature = "elf")]
mod convert;
#[cfg(feature = "elf")]
mod elf;
mod faults;
mod keys;
mod launch;
mod program;
mod stream;
mod threads;
