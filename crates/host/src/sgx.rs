//! Real SGX enclaves on the host's side: conversion, signature, inspection, and running them.
//!
//! [`image`] takes streams apart and puts policies in, [`sign`] makes the build that people vote on from a
//! program, [`inspect`] says what is in one. [`launch`] runs it behind frames on any
//! loader of Fortanix's runner, [`soft`] on a software SGX CPU with quotes of the development PKI,
//! [`hard`] on the machine's own, with quotes of Intel's service by [`aesm`]. [`apart`] puts each enclave of a
//! development platform into a process of its own.

pub mod aesm;
#[cfg(unix)]
pub mod apart;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod detect;
pub mod image;
pub mod inspect;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod hard;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod launch;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod pipe;
pub mod sign;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod soft;
