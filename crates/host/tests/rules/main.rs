//! The seven rules of the design, on a devnet: stories with one ending each, and random interleavings under a
//! hostile host. Written once, run on `sim`; and on softsgx, where `BATON_SGX_PROGRAM` names a program that
//! scripts/sgx-build made (program.elf or program.sgxs), with the very bytes that people vote on.

#[path = "../programs/mod.rs"]
mod programs;
mod backend;
mod lab;
mod lifeboat;
mod moves;
mod orders;
mod property;
mod stories;
