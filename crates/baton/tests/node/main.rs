//! The daemon and its commands, against the devnet's RPC.

mod apart;
mod bad;
mod doctor;
mod net;
mod orders;
mod story;
mod trouble;
