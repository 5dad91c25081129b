//! One whole handover on `sim`, from evidence in hand to the confirmed receipt: CPU time, calls of fsync
//! and what one of them costs here. `cargo bench -p baton --bench handover`
//!
//! CPU time is the kernel's own account of this thread (`/proc/thread-self/schedstat`, nanoseconds).
//! There is no peer to measure beside it: nobody else does this.

use std::fs;
use std::io::Write;
use std::time::Instant;

use anyhow::{Context, Result};
use baton::world::build::LEAD_BLOCKS;
use baton::world::ops::trusted;
use baton::world::{Named, World};
use baton_chain::record::Kind;
use baton_enclave::wire::OfferEvidence;
use baton_host::relay::{self, Channel};

const ROUNDS: usize = 15;

fn cpu_ns() -> Result<u64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split(' ').next().context("no schedstat")?.parse()?)
}

fn main() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let seed = 7;
    let mut w = World::create(&dir.path().join("world"), seed, 4)?;
    w.produce_until(3)?;
    w.genesis(0)?;
    w.produce_until(6)?;
    let v1 = w.build(Named::V1)?;
    let v2 = w.build(Named::V2)?;
    let info = format!(r#"{{"enclave":{{"mrenclave":"{}"}}}}"#, v2.measurement);
    let height = w.chain.height() + 40 + LEAD_BLOCKS;
    let proposal = w.vote("bench", height, &info)?;
    w.produce_until(height - LEAD_BLOCKS)?;

    let (mut cpu, mut fsyncs, mut wall) = (Vec::new(), 0, Vec::new());
    for round in 0..ROUNDS {
        let seat = format!("n{round}");
        w.seat(0, Named::V1)?;
        w.seat_named(0, &seat, &v2)?;
        let mut o = w.nodes[0].take("v1")?;
        let mut n = w.nodes[0].take(&seat)?;
        let asked = relay::ask(&mut o, &mut n, Kind::Upgrade, Channel::Local)?;
        let tx = w.publish(&asked.record(proposal).encode())?;
        let heights = trusted(&o.status()?);
        let evidence = w.gather(&v1).ahead(&heights, proposal, &tx, tx.height)?.to_cbor();
        let (f0, c0, t0) = (o.store().fsyncs() + n.store().fsyncs(), cpu_ns()?, Instant::now());
        relay::hand_over(&mut o, &mut n, &asked, OfferEvidence::Ahead(evidence), Channel::Local)?;
        cpu.push(cpu_ns()? - c0);
        wall.push(t0.elapsed().as_nanos() as u64);
        fsyncs = o.store().fsyncs() + n.store().fsyncs() - f0;
        w.nodes[0].put_back("v1", o);
        w.nodes[0].put_back(&seat, n);
    }
    let one_fsync = fsync_ns(dir.path())?;
    let ms = |v: &mut Vec<u64>, p: usize| {
        v.sort_unstable();
        v[(v.len() - 1) * p / 100] as f64 / 1e6
    };
    println!("handover on sim, {} validators, {ROUNDS} rounds, seed {seed}, commit {}", w.progress.powers.len(), commit());
    println!("  cpu     min {:.2} ms  median {:.2} ms  max {:.2} ms  (goal: at most 10 ms)", ms(&mut cpu, 0), ms(&mut cpu, 50), ms(&mut cpu, 100));
    println!("  wall    min {:.2} ms  median {:.2} ms  max {:.2} ms", ms(&mut wall, 0), ms(&mut wall, 50), ms(&mut wall, 100));
    println!("  fsync   {fsyncs} calls (goal: at most 8), one costs {:.3} ms here", one_fsync as f64 / 1e6);
    Ok(())
}

/// The median cost of writing 4 KiB and one fsync, in nanoseconds.
fn fsync_ns(dir: &std::path::Path) -> Result<u64> {
    let mut f = fs::File::create(dir.join("fsync"))?;
    let mut all = Vec::new();
    for _ in 0..21 {
        f.write_all(&[1; 4096])?;
        let t = Instant::now();
        f.sync_all()?;
        all.push(t.elapsed().as_nanos() as u64);
    }
    all.sort_unstable();
    Ok(all[10])
}

fn commit() -> String {
    let out = std::process::Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    out.ok().and_then(|o| String::from_utf8(o.stdout).ok()).map_or("unknown".into(), |s| s.trim().into())
}
