//! The daemon and its commands, against the devnet's RPC.

mod bad;
mod collateral;
mod doctor;
mod net;
mod orders;
mod story;
mod trouble;
