//! One module for each group of commands.

pub mod acceptance;
pub mod agreement;
pub mod boat;
pub mod build;
pub mod ceremony;
pub mod doctor;
pub mod drill;
pub mod evidence;
pub mod evidence_show;
pub mod guard;
pub mod lifeboat;
pub mod lifeboat_answers;
pub mod light;
pub mod log;
pub mod machine;
pub mod node;
pub mod order;
pub mod order_key;
pub mod order_log;
pub mod policy;
pub mod proposal;
pub mod quote;
pub mod record_evidence;
pub mod sit_out;
pub mod snapshot;
pub mod witness;
