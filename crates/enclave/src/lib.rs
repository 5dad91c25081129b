//! baton-enclave
