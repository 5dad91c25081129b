//! The seven rules of the design, on `sim` machines and a devnet: stories with one ending each, and random
//! interleavings under a hostile host.

mod lab;
mod lifeboat;
mod moves;
mod orders;
mod property;
mod stories;
