//! One module for each group of commands.

pub mod acceptance;
pub mod build;
pub mod ceremony;
pub mod doctor;
pub mod drill;
pub mod evidence;
pub mod evidence_show;
pub mod lifeboat;
pub mod light;
pub mod log;
pub mod order;
pub mod policy;
pub mod quote;
pub mod sit_out;
pub mod snapshot;
pub mod witness;
