//! The built command on real files: verdicts, exit codes, texts, and bad input.

mod bad_input;
mod evidence;
mod light;
mod log;
mod policy;
mod quote;
mod support;
