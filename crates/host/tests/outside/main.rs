//! What a host asks of others: https servers, a PCCS, Intel's AESM service. Each is played here, on loopback or in a folder:
//! none of this has spoken to Intel's.

mod aesm;
mod pccs;
mod tls;
