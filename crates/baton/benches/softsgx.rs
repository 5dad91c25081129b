//! One whole handover between two real programs on a software SGX CPU: CPU time from evidence in hand to the
//! confirmed receipt, start-up of the target apart; and header and quote verification inside the enclave
//! against the same code outside.
//!
//! `BATON_SGX_PROGRAM=v1/program.sgxs BATON_SGX_PROGRAM_2=v2/program.sgxs cargo bench -p baton --bench softsgx`
//!
//! Where the program is an ELF file, also how much heap it needs: the handovers, and the largest request.
//!
//! CPU time is the kernel's own account of all threads of this process (`/proc/self/task/*/schedstat`,
//! nanoseconds). Outside is this binary, as it was compiled; inside is the program, as scripts/sgx-build compiled it.

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn main() {
    println!("softsgx runs x86-64 machine code under Linux");
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn main() -> anyhow::Result<()> {
    linux::main()
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod linux {
    use std::fs;
    use std::path::PathBuf;
    use std::rc::Rc;
    use std::time::Instant;

    use anyhow::{Context, Result, bail};
    use baton::world::build::LEAD_BLOCKS;
    use baton::world::ops::trusted;
    use baton::world::{Build, Named, Platform, World};
    use baton_attest::identity::{Digest32, encode};
    use baton_attest::report::TargetInfo;
    use baton_chain::record::Kind;
    use baton_core::messages::{Attestation, Challenge, Message};
    use baton_enclave::serve::MAX_FRAME_BYTES;
    use baton_enclave::wire::{OfferEvidence, Reply, Request};
    use baton_host::link::Launcher;
    use baton_host::relay::{self, Channel};
    use baton_host::seat::{Seat, SeatError};
    use baton_host::sgx::sign::Layout;
    use baton_host::sgx::sign;
    use baton_host::sgx::soft::SoftMachine;
    use softsgx::Mode;

    const ROUNDS: usize = 30;
    /// Rounds in one world: each takes a block of its plan's window.
    const PER_WORLD: usize = 15;
    const SEED: u64 = 7;

    /// CPU time of each thread.
    fn threads() -> Result<Vec<(String, u64)>> {
        let mut out = Vec::new();
        for entry in fs::read_dir("/proc/self/task")? {
            let entry = entry?;
            // A thread that ended in between has no account any more.
            if let Ok(text) = fs::read_to_string(entry.path().join("schedstat")) {
                out.push((entry.file_name().to_string_lossy().into_owned(), text.split(' ').next().context("no schedstat")?.parse()?));
            }
        }
        Ok(out)
    }

    /// CPU nanoseconds of all threads while `f` runs, and its wall nanoseconds.
    fn measured<T>(f: impl FnOnce() -> Result<T>) -> Result<(T, u64, u64)> {
        let (before, began) = (threads()?, Instant::now());
        let out = f()?;
        let wall = u64::try_from(began.elapsed().as_nanos())?;
        let was = |id: &str| before.iter().find(|(b, _)| b == id).map_or(0, |(_, ns)| *ns);
        let cpu = threads()?.iter().map(|(id, ns)| ns.saturating_sub(was(id))).sum();
        Ok((out, cpu, wall))
    }

    #[derive(Default)]
    struct Figures {
        handover: Vec<u64>,
        start: Vec<u64>,
        wall: Vec<u64>,
        header: Vec<u64>,
        report_offer: Vec<u64>,
        quote_offer: Vec<u64>,
    }

    fn ms(mut v: Vec<u64>) -> String {
        v.sort_unstable();
        let at = |p: usize| v.get((v.len() - 1) * p / 100).map_or(0.0, |ns| *ns as f64 / 1e6);
        format!("min {:.2} ms  median {:.2} ms  max {:.2} ms", at(0), at(50), at(100))
    }

    pub fn main() -> Result<()> {
        let named = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let Some(first) = named("BATON_SGX_PROGRAM") else {
            println!("not run: BATON_SGX_PROGRAM names no program; scripts/sgx-build makes one");
            return Ok(());
        };
        let programs: Vec<PathBuf> = [Some(first), named("BATON_SGX_PROGRAM_2")].into_iter().flatten().collect();
        println!("{} validators, {ROUNDS} rounds, seed {SEED}, commit {}", 4, commit());
        let outside = worlds(&Platform::Sim, None)?;
        print("sim: this binary", outside);
        for mode in [Mode::Direct, Mode::Trap, Mode::Patched] {
            let figures = worlds(&Platform::soft_sgx(&programs)?, Some(mode))?;
            print(&format!("softsgx, mode {mode:?}"), figures);
        }
        heap(&programs)
    }

    /// The smallest heap, of powers of two, in which an enclave comes through.
    fn heap(programs: &[PathBuf]) -> Result<()> {
        let read: Vec<Vec<u8>> = programs.iter().map(fs::read).collect::<Result<_, _>>()?;
        if !read.iter().all(|p| p.starts_with(b"\x7fELF")) {
            println!("heap: not measured, that needs the programs as ELF files (program.elf)");
            return Ok(());
        }
        let with = |kib: u64| -> Result<Platform> {
            let layout = Layout { heap_bytes: kib << 10, ..Layout::default() };
            Ok(Platform::SoftSgx(read.iter().map(|p| sign::program(p, &layout)).collect::<Result<_, _>>()?))
        };
        let sizes = || (8..=17).map(|n| 1 << n);
        let handover = sizes().find(|kib| with(*kib).and_then(|p| run(p, Some(Mode::Direct), 1)).is_ok());
        let largest = sizes().find(|kib| with(*kib).and_then(largest_request).is_ok());
        let say = |kib: Option<u64>| kib.map_or("more than 128 MiB".into(), |k| format!("{k} KiB"));
        println!("heap: a handover, a quote and ten headers come through in {}, a request of {MAX_FRAME_BYTES} bytes in {}", say(handover), say(largest));
        Ok(())
    }

    /// A path that is as long as a frame may be, of blocks that parse.
    fn largest_request(platform: Platform) -> Result<()> {
        let dir = tempfile::tempdir()?;
        let mut w = World::create_on(&dir.path().join("world"), SEED, 1, platform)?;
        w.produce_until(4)?;
        let mut seat = seat(&w, "largest", &w.build(Named::V1)?, Some(Mode::Direct))?;
        let block = baton_host::chain::ChainSource::light_block(&w.chain, 3)?;
        let blocks = vec![block.clone(); MAX_FRAME_BYTES / encode(&block).len() - 1];
        let request = Request::Advance { path: encode(&baton_chain::light::Path { from_next_validators: None, blocks }) };
        match seat.call(&request) {
            Err(SeatError::Refused(_)) => Ok(()),
            other => bail!("expected a refusal, got {other:?}"),
        }
    }

    fn print(what: &str, f: Figures) {
        println!("{what}");
        println!("  handover, CPU without start-up   {}", ms(f.handover));
        println!("  the same, wall                   {}", ms(f.wall));
        println!("  start-up of N, CPU               {}", ms(f.start));
        println!("  ten headers of 4 validators      {}", ms(f.header));
        println!("  an offer to a report             {}", ms(f.report_offer));
        println!("  an offer to a quote              {}", ms(f.quote_offer));
    }

    fn seat(w: &World, name: &str, build: &Build, mode: Option<Mode>) -> Result<Seat> {
        let machine = w.machine("node0")?;
        let launcher: Rc<dyn Launcher> = match mode {
            None => machine.clone(),
            Some(mode) => Rc::new(SoftMachine::new(machine.clone()).with_mode(mode)),
        };
        let mut seat = Seat::open_on(&w.dir().join(name), machine, launcher, build.image.clone(), Box::new(rand::random))?;
        seat.start()?;
        let block = baton_host::chain::ChainSource::light_block(&w.chain, build.policy.chain.checkpoint.height)?;
        seat.call(&Request::Checkpoint { block: encode(&block) })?;
        Ok(seat)
    }

    /// All rounds, in as many worlds as they need.
    fn worlds(platform: &Platform, mode: Option<Mode>) -> Result<Figures> {
        let mut all = Figures::default();
        for _ in 0..ROUNDS / PER_WORLD {
            let one = run(platform.clone(), mode, PER_WORLD)?;
            all.handover.extend(one.handover);
            all.start.extend(one.start);
            all.wall.extend(one.wall);
            all.header.extend(one.header);
            all.report_offer.extend(one.report_offer);
            all.quote_offer.extend(one.quote_offer);
        }
        Ok(all)
    }

    fn run(platform: Platform, mode: Option<Mode>, rounds: usize) -> Result<Figures> {
        let dir = tempfile::tempdir()?;
        let mut w = World::create_on(&dir.path().join("world"), SEED, 1, platform)?;
        w.produce_until(3)?;
        w.genesis(0)?;
        w.produce_until(6)?;
        let (v1, v2) = (w.build(Named::V1)?, w.build(Named::V2)?);
        let info = format!(r#"{{"enclave":{{"mrenclave":"{}"}}}}"#, v2.measurement);
        let height = w.chain.height() + 40 + LEAD_BLOCKS;
        let proposal = w.vote("bench", height, &info)?;
        w.produce_until(height - LEAD_BLOCKS)?;
        // The holder's files, opened by an enclave in this mode.
        let mut o = w.nodes[0].take("v1")?;
        o.stop();
        let machine = o.machine().expect("a development machine").clone();
        if let Some(mode) = mode {
            o.move_onto(machine.clone(), Rc::new(SoftMachine::new(machine).with_mode(mode)));
        }
        o.start()?;
        let (mut handover, mut start, mut wall) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..rounds {
            let mut n = seat(&w, &format!("n{round}"), &v2, mode)?;
            let asked = relay::ask(&mut o, &mut n, Kind::Upgrade, Channel::Local)?;
            let tx = w.publish(&asked.record(proposal).encode())?;
            let heights = trusted(&o.status()?);
            let evidence = w.gather(&v1).ahead(&heights, proposal, &tx, tx.height)?.to_cbor();
            let (offered, a, wall_a) = measured(|| {
                let offered = relay::offer(&mut o, &asked, OfferEvidence::Ahead(evidence), Some(Channel::Local))?;
                relay::accept(&mut n, &offered)?;
                Ok(offered)
            })?;
            n.stop();
            let ((), b, _) = measured(|| Ok(n.start()?))?;
            let ((), c, wall_c) = measured(|| receipt(&mut o, &mut n, offered.transcript))?;
            handover.push(a + c);
            wall.push(wall_a + wall_c);
            start.push(b);
        }
        let header = headers(&w, &v1, mode, rounds)?;
        let (report_offer, quote_offer) = offers(&w, &v2, &mut o, mode, rounds)?;
        Ok(Figures { handover, start, wall, header, report_offer, quote_offer })
    }

    /// Challenge, receipt, confirmation, with a target that was restarted already.
    fn receipt(o: &mut Seat, n: &mut Seat, transcript: Digest32) -> Result<()> {
        let (challenge, _) = message(o.call(&Request::Challenge { transcript })?)?;
        let target = TargetInfo::for_identity(&Challenge::from_cbor(&challenge)?.source);
        let (receipt, report) = message(n.call(&Request::Prove { challenge, report_target: target.to_bytes().to_vec() })?)?;
        let report = report.context("a receipt comes with a report")?;
        o.call(&Request::Confirm { receipt, attestation: Attestation::Local { report } })?;
        Ok(())
    }

    fn message(reply: Reply) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
        match reply {
            Reply::Message { message, report, .. } => Ok((message, report)),
            other => bail!("expected a message, got {other:?}"),
        }
    }

    /// An enclave follows ten adjacent headers.
    fn headers(w: &World, v1: &Build, mode: Option<Mode>, rounds: usize) -> Result<Vec<u64>> {
        let mut out = Vec::new();
        for round in 0..rounds {
            let mut seat = seat(w, &format!("h{round}"), v1, mode)?;
            let from = seat.status()?.head_height;
            let blocks = (from + 1..=from + 10).map(|h| baton_host::chain::ChainSource::light_block(&w.chain, h));
            let path = baton_chain::light::Path { from_next_validators: None, blocks: blocks.collect::<Result<_, _>>()? };
            let request = Request::Advance { path: encode(&path) };
            let (_, cpu, _) = measured(|| Ok(seat.call(&request)?))?;
            out.push(cpu);
        }
        Ok(out)
    }

    /// A rehearsal's offer to a report, and to a quote: between them lies the verification of the quote.
    fn offers(w: &World, v2: &Build, o: &mut Seat, mode: Option<Mode>, rounds: usize) -> Result<(Vec<u64>, Vec<u64>)> {
        let collateral = w.collateral()?;
        let mut out = [Vec::new(), Vec::new()];
        for round in 0..rounds {
            let channels = [Channel::Local, Channel::Quoted { collateral: &collateral }];
            for (channel, figures) in channels.into_iter().zip(&mut out) {
                let mut n = seat(w, &format!("q{round}-{}", figures.len() + usize::from(matches!(channel, Channel::Local)) * 100), v2, mode)?;
                // Nothing of an earlier quote is remembered.
                o.start()?;
                let asked = relay::ask(o, &mut n, Kind::Rehearsal, channel)?;
                let (_, cpu, _) = measured(|| Ok(relay::offer(o, &asked, OfferEvidence::None, None)?))?;
                figures.push(cpu);
            }
        }
        let [report, quote] = out;
        Ok((report, quote))
    }

    fn commit() -> String {
        let out = std::process::Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
        out.ok().and_then(|o| String::from_utf8(o.stdout).ok()).map_or("unknown".into(), |s| s.trim().into())
    }
}
