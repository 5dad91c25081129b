//! A C program that holds the old build's copy through libbaton, against enclaves and a host in Rust.
//!
//! The program (`../embedder.c`) is compiled by the system's C compiler and linked with the archive that this
//! build made, or with the one that BATON_ARCHIVE names. The test is its host, and plays its CPU.

mod callbacks;
mod handover;
mod program;
mod world;
