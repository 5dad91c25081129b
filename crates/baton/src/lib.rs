//! The command `baton`: it shows and verifies what the other crates make, and runs the demo network.
//!
//! It decides nothing by itself: every verdict comes from the code that an enclave runs. It may use every crate below.
pub mod attacks;
pub mod cli;
pub mod commands;
pub mod demo;
pub mod drill;
pub mod files;
pub mod node;
pub mod output;
pub mod times;
pub mod world;
