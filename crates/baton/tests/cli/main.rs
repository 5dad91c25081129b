//! The built command on real files: verdicts, exit codes, texts, and bad input.

mod bad_input;
mod build;
mod ceremony;
mod demo_folder;
#[path = "../../../softsgx/tests/rules/elf.rs"]
#[allow(dead_code)]
mod elf;
mod emergency;
mod evidence;
mod light;
mod log;
mod orders;
mod policy;
mod quote;
mod recovery;
mod support;
