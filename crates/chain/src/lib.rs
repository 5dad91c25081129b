//! baton-chain
