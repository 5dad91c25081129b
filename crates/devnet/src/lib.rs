//! baton-devnet
