//! The daemon and its commands, against the devnet's RPC.

mod net;
mod orders;
mod story;
mod trouble;
