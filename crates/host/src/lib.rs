//! The untrusted side: it runs enclaves, keeps their sealed files, gathers evidence and carries messages.
//!
//! Nothing here is believed by an enclave. A bug in this crate may stall a handover; it cannot leak a
//! seed, and it must not lose one: [`store`] is where that is decided. It may use everything below it.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod bundle;
pub mod ceremony;
pub mod chain;
pub mod collateral;
pub mod courier;
pub mod escrows;
pub mod files;
pub mod gather;
pub mod http;
pub mod lifeboat;
pub mod link;
pub mod order_log;
pub mod orders;
pub mod relay;
pub mod rpc;
pub mod seat;
pub mod sgx;
pub mod shares;
pub mod snapshot;
pub mod store;
pub mod trail;
pub mod validator;
pub mod witness;
