#![doc = include_str!("../README.md")]
#![deny(
    missing_docs,
    unsafe_op_in_unsafe_fn,
    clippy::undocumented_unsafe_blocks,
    clippy::missing_safety_doc
)]
// Where no enclave can run, what only runs one is unused.
#![cfg_attr(
    not(all(target_os = "linux", target_arch = "x86_64")),
    allow(dead_code)
)]

// Layouts of KEYREQUEST, REPORT and the like are this crate's own, although others here have them too: it stands
// alone for those who use it without the rest, and checks the rest as something that was written twice.
#[cfg(feature = "cli")]
pub mod development;
mod device;
#[cfg(feature = "elf")]
pub mod elf;
mod hook;
mod image;
mod platform;
mod sigstruct;
mod structs;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod cpu;
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
#[path = "cpu_missing.rs"]
mod cpu;

pub use cpu::{Exit, Info, Registers, Tcs, enter, protect_signal_handlers};
pub use device::{Builder, Device, Error, Mode};
pub use hook::{Action, Counters, Event, Hook};
pub use image::{Image, PAGE, StreamError};
pub use platform::{DEFAULT_CPU_SVN, KeyError, Platform, PlatformFileError, ReportError};
pub use sigstruct::{InitError, Launch, init};
pub use structs::{
    Attributes, Identity, KEY_REQUEST_LEN, KeyRequest, REPORT_BODY_LEN, REPORT_LEN, ReportBody,
    TARGET_INFO_LEN, TargetInfo, attribute, key_name, key_policy,
};
