//! `baton acceptance`: the story, the attacks and H01 on the best platform that this machine has and
//! this release drives, with one report to publish.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use baton_attest::pki::PlatformSpec;
use baton_core::custody::State;
use serde_json::{Value, json};

use super::doctor::platforms;
use crate::attacks::{self, ATTACKS, Verdict};
use crate::cli::AcceptanceArgs;
use crate::output::{Failure, Report};
use crate::world::{Named, Platform, World};
use crate::demo;

/// Format of the report.
const FORMAT: u32 = 1;
/// Nodes of the story where machines are made up.
const NODES: usize = 4;

/// Runs everything and reports.
pub fn acceptance(args: &AcceptanceArgs) -> Result<Report, Failure> {
    if let Some(folder) = args.out.as_ref().and_then(|p| p.parent()).filter(|p| !p.as_os_str().is_empty() && !p.is_dir()) {
        return Err(Failure::input(format!("no folder {}; make it, or name another one with --out", folder.display())));
    }
    let here = platforms();
    let (platform, why) = choose(args, &here)?;
    let mut out = Report::new();
    out.field("format", FORMAT).field("seed", args.seed);
    out.both("baton", "version", env!("CARGO_PKG_VERSION"));
    out.both("machine", "cpu", cpu());
    out.both("kernel", "kernel", first_line("/proc/sys/kernel/osrelease"));
    out.both("platform", "platform", platform.name()).both("chosen", "chosen", why);
    out.both("shows", "shows", shows(&platform));
    let found: Vec<Value> = here.iter().map(|(name, f)| json!({"name": name, "ready": f.is_ok(), "said": f.as_ref().map_or_else(Clone::clone, |s| s.to_string())})).collect();
    out.field("platforms", found);
    programs(&mut out, &platform)?;
    // Forging, and another microcode, take a CPU that is software; the programs are the same.
    let forger = match &platform {
        Platform::Sgx(_) => Platform::soft_sgx(&args.program).unwrap_or_default(),
        other => other.clone(),
    };
    let parts = [story(&mut out, args.seed, &platform), attack(&mut out, args.seed, &forger), h01(&mut out, args.seed, &forger)];
    out.field("forged_on", forger.name());
    let text = match platform.name() == forger.name() {
        true => format!("story, attacks and H01 on {}", platform.name()),
        false => format!("story on {}; attacks and H01 on {}", platform.name(), forger.name()),
    };
    out.verdict(parts.iter().all(|good| *good), text);
    if let Some(path) = &args.out {
        let text = path.with_extension("txt");
        let json = format!("{:#}\n", out.to_json());
        let written = fs::write(path, json).and_then(|()| fs::write(&text, out.to_text()));
        written.map_err(|e| Failure::input(format!("{}: {e}", path.display())))?;
    }
    Ok(out)
}

/// The best platform for these programs, and why this one.
fn choose(args: &AcceptanceArgs, here: &[(&'static str, super::doctor::Found); 3]) -> Result<(Platform, String), Failure> {
    let unusable = |e: anyhow::Error| Failure::input(format!("{e:#}"));
    match (&here[0].1, &here[1].1, &args.program[..]) {
        (Ok(_), _, []) => Ok((Platform::Sim, "this machine has SGX, which runs real programs, and none was named".into())),
        (Err(_), _, []) => Ok((Platform::Sim, "no SGX here; softsgx runs real programs, and none was named".into())),
        (Ok(_), _, programs) => Ok((args.hardware.platform(programs).map_err(unusable)?, "the real programs run on this machine's CPU, which is one machine".into())),
        (Err(_), Err(e), _) => Err(Failure::input(format!("softsgx does not run here: {e}")).next("leave --program out: the run is on sim then")),
        (Err(_), Ok(_), programs) => Ok((Platform::soft_sgx(programs).map_err(unusable)?, "no SGX here; the real programs run on the software CPU".into())),
    }
}

fn shows(platform: &Platform) -> &'static str {
    match platform {
        Platform::Sim => "the protocol and its checks, as Rust code in the host's process; nothing of SGX",
        Platform::SoftSgx(_) => "the bytes that people vote on, their measurement and SIGSTRUCT, and SGX's rules for keys and reports in software; not that memory is closed, not the CPU, EPC, AESM or Intel's certificates",
        Platform::Sgx(_) => "the bytes that people vote on, on this machine's CPU: they load, seal, open again, attest to each other, hand over, serve and, with a quote and collateral, erase; not a second machine",
    }
}

fn programs(out: &mut Report, platform: &Platform) -> Result<(), Failure> {
    if platform.programs().is_empty() {
        return Ok(());
    }
    let mut all = Vec::new();
    for pages in platform.programs() {
        let slot = pages.slot().map_err(Failure::input)?;
        let measurement = pages.measurement().map_err(Failure::input)?.to_string();
        out.row("program", format!("{} {measurement} (before the policy)", slot.version));
        all.push(json!({"version": slot.version, "measurement": measurement}));
    }
    out.field("programs", all);
    Ok(())
}

fn story(out: &mut Report, seed: u64, platform: &Platform) -> bool {
    let began = Instant::now();
    let nodes = if matches!(platform, Platform::Sgx(_)) { 1 } else { NODES };
    let told = told(seed, nodes, platform);
    let seconds = began.elapsed().as_secs_f64();
    let (good, text, steps) = match told {
        Ok(lines) => (true, format!("{} steps on {nodes} node(s), {seconds:.1} s", lines.len()), lines),
        Err(e) => (false, format!("it did not complete: {e:#}"), Vec::new()),
    };
    out.row("story", &text);
    // What this machine did not show is no failure, and is not hidden.
    for line in steps.iter().filter(|l| l.text.starts_with("NOT SHOWN")) {
        out.row("", format!("{}: {}", line.step, line.text));
    }
    out.field("story", json!({"accept": good, "nodes": nodes, "seconds": seconds, "said": text, "steps": steps}));
    good
}

fn told(seed: u64, nodes: usize, platform: &Platform) -> Result<Vec<demo::Line>> {
    let dir = tempfile::Builder::new().prefix("baton-acceptance-").tempdir()?;
    let keep = Some(dir.path().join("run"));
    demo::tell(&demo::Options { keep, nodes, seed, platform: platform.clone(), ..demo::Options::default() })
}

fn attack(out: &mut Report, seed: u64, platform: &Platform) -> bool {
    let began = Instant::now();
    let lines: Vec<attacks::Line> = ATTACKS.iter().flat_map(|a| attacks::attempt(a, seed, platform)).collect();
    let seconds = began.elapsed().as_secs_f64();
    let count = |v: Verdict| lines.iter().filter(|l| l.verdict == v).count();
    let (refused, shown) = (count(Verdict::Refused), count(Verdict::Shown));
    let wrong: Vec<&attacks::Line> = lines.iter().filter(|l| !l.verdict.is_good()).collect();
    out.row("attacks", format!("{refused} refused, {shown} shown for what they are, {} wrong; {} rows of the list, {seconds:.1} s", wrong.len(), ATTACKS.len()));
    for l in &wrong {
        out.row("", format!("{} {} ({}): {}", l.id, l.case, l.verdict, l.message));
    }
    let good = wrong.is_empty();
    out.field("attacks", json!({"accept": good, "refused": refused, "shown": shown, "wrong": wrong.len(), "seconds": seconds, "lines": lines}));
    good
}

fn h01(out: &mut Report, seed: u64, platform: &Platform) -> bool {
    let shown = microcode(seed, platform);
    let good = shown.is_ok();
    let text = shown.unwrap_or_else(|e| format!("{e:#}"));
    out.field("h01", json!({"accept": good, "said": text}));
    out.row("H01", text);
    good
}

/// A microcode update, a downgrade, and the way back.
fn microcode(seed: u64, platform: &Platform) -> Result<String> {
    let dir = tempfile::Builder::new().prefix("baton-acceptance-").tempdir()?;
    let mut world = World::create_on(dir.path(), seed, 1, platform.clone())?;
    world.produce_until(3)?;
    world.genesis(0)?;
    let mut seat = world.nodes[0].take(Named::V1.name())?;
    let before = seat.status()?.commitments;
    let mut at = |svn: u8| -> Result<()> {
        let machine = world.machine_like("node0", &PlatformSpec::with_svn(svn))?;
        let launcher = world.platform().launcher(&machine)?;
        seat.move_onto(machine, launcher);
        Ok(seat.start()?)
    };
    let usual = PlatformSpec::default().cpu_svn[0];
    at(usual + 1).context("after the CPUSVN rose, the file does not open")?;
    let refused = match at(usual - 1) {
        Ok(()) => bail!("a lower CPUSVN opened the file"),
        Err(e) => e.to_string(),
    };
    for says in ["CPUSVN", "restore the BIOS"] {
        if !refused.contains(says) {
            bail!("the refusal of a lower CPUSVN does not say {says:?}: {refused}");
        }
    }
    at(usual).context("back at its own CPUSVN, the file does not open")?;
    let after = seat.status()?;
    if after.commitments != before || after.state != State::Holding {
        bail!("the keyring is another one: {:?} {:?}", after.state, after.commitments);
    }
    Ok(format!("CPUSVN raised: files open; lowered: refused, with the way back; restored: files open. The refusal: {refused}"))
}

fn first_line(path: &str) -> String {
    fs::read_to_string(path).ok().and_then(|t| t.lines().next().map(str::to_owned)).unwrap_or_else(|| "unknown".into())
}

fn cpu() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("model name"));
    line.map_or_else(|| std::env::consts::ARCH.into(), |l| l.trim_start_matches([' ', '\t', ':']).into())
}
