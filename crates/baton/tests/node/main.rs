//! The daemon and its commands, against the devnet's RPC.

mod apart;
mod bad;
mod ballot;
mod collateral;
mod doctor;
mod gate;
mod net;
mod orders;
mod records;
mod story;
mod trouble;
