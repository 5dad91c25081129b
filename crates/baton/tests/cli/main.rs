//! The built command on real files: verdicts, exit codes, texts, and bad input.

mod bad_input;
mod ceremony;
mod demo_folder;
mod emergency;
mod evidence;
mod light;
mod log;
mod orders;
mod policy;
mod quote;
mod recovery;
mod support;
