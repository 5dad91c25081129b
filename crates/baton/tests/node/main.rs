//! The daemon and its commands, against the devnet's RPC.

mod net;
mod story;
mod trouble;
