//! What crossing the border costs in each mode: `cargo bench -p softsgx`.
//!
//! A round trip is EENTER, a handful of instructions inside, EEXIT. A key is that and one EGETKEY, which
//! traps in every mode.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

#[allow(dead_code)]
#[path = "../tests/rules/build.rs"]
mod build;
#[allow(dead_code)]
#[path = "../tests/rules/program.rs"]
mod program;

use std::time::Instant;

use build::{Options, with_mode};
use program::Command;
use softsgx::{KeyRequest, Mode, key_name};

fn main() {
    let request = KeyRequest {
        name: key_name::SEAL,
        policy: 1,
        ..KeyRequest::default()
    };
    println!(
        "{:>8}  {:>14}  {:>14}",
        "mode", "round trip", "with EGETKEY"
    );
    for mode in [Mode::Trap, Mode::Direct, Mode::Patched] {
        let enclave = Options::default().launch(&with_mode(mode)).unwrap();
        let trip = per_call(20_000, || {
            enclave.call(Command::Echo, 1, 0, 0);
        });
        let key = per_call(20_000, || {
            enclave.get_key(&request).unwrap();
        });
        let mode = format!("{mode:?}").to_lowercase();
        println!("{mode:>8}  {trip:>11.3} us  {key:>11.3} us");
    }
}

/// Microseconds of one call: the best of five series.
fn per_call(times: u32, mut call: impl FnMut()) -> f64 {
    let series = (0..5).map(|_| {
        let start = Instant::now();
        (0..times).for_each(|_| call());
        start.elapsed().as_secs_f64() * 1e6 / f64::from(times)
    });
    series.fold(f64::INFINITY, f64::min)
}
