//! baton-host
