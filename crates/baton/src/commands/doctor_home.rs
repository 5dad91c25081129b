//! `baton doctor --home`: days before a plan's height, will this machine make it?
//!
//! Each line is ok, warn or fail, and says what to do. A fail means that the handover would not happen here as things are; a
//! warn, that it needs luck or somebody's eye. It changes nothing, and may be run as often as one likes.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use baton_attest::sigstruct::check_sigstruct;
use baton_host::chain::Trouble;
use baton_host::rpc::{Fee, Keyfile, NodeStatus, RpcSource};
use baton_host::sgx::inspect::Inspection;
use serde_json::{Value, json};

use super::doctor::{epc_bytes, quoting};
use crate::cli::DoctorArgs;
use crate::node::config::{Config, Home, HomeError, PlatformName};
use crate::node::machine::{BuildFile, builds};
use crate::node::ops::{Op, Operator};
use crate::output::{Failure, Report};
use crate::times::{parse_time, show_about, show_time, unix_now};

/// Less free disk than this is a fail, in KiB: sealed files and evidence need a fraction of it.
const LEAST_DISK_KIB: u64 = 200 << 10;
/// Less than this is a warning.
const SOME_DISK_KIB: u64 = 2 << 20;
/// A clock that differs by more than this from a newest header that moves is wrong, in seconds.
const SKEW_SECS: u64 = 60;
/// An endpoint this many blocks behind the newest lags.
const LAG_BLOCKS: u64 = 5;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing to do.
    Ok,
    /// Somebody should look.
    Warn,
    /// The handover would not happen here.
    Fail,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail => "fail",
        }
    }
}

/// Every line.
#[derive(Default)]
struct Checks(Vec<(Level, &'static str, String)>);

impl Checks {
    fn ok(&mut self, name: &'static str, text: impl Into<String>) {
        self.0.push((Level::Ok, name, text.into()));
    }

    fn warn(&mut self, name: &'static str, text: impl Into<String>) {
        self.0.push((Level::Warn, name, text.into()));
    }

    fn fail(&mut self, name: &'static str, text: impl Into<String>) {
        self.0.push((Level::Fail, name, text.into()));
    }
}

fn text<'v>(v: &'v Value, name: &str) -> &'v str {
    v[name].as_str().unwrap_or("-")
}

fn list<'v>(v: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    v[name].as_array().into_iter().flatten()
}

/// Looks at everything.
pub fn doctor(args: &DoctorArgs, home: &Path) -> Result<Report, Failure> {
    let mut checks = Checks::default();
    let mut out = Report::new();
    match Home::open(home) {
        // A mistake that the operator can mend here is a line of the report.
        Err(e @ (HomeError::Permissions { .. } | HomeError::Owner { .. } | HomeError::Stranger { .. })) => checks.fail("home", e.to_string()),
        Err(e) => return Err(super::node::home_failure(e)),
        Ok(home) => {
            checks.ok("home", format!("{}: nobody else reads it", home.dir().display()));
            disk(&mut checks, home.dir());
            let rpc = crate::node::rpc(home.config());
            if let Ok(rpc) = &rpc {
                endpoints(&mut checks, &rpc.statuses());
            }
            signer(&mut checks, home.config(), rpc.as_ref().map_err(ToString::to_string));
            let found = builds(&home.path("builds"), &home.config().chain.id).map(|(found, _)| found).unwrap_or_default();
            let plan = node(&found, &home, &mut checks, &mut out);
            cosmovisor(&mut checks, args, plan.as_deref());
        }
    }
    finish(out, checks)
}

/// What the node itself says; gives the plan's name.
fn node(found: &[BuildFile], home: &Home, checks: &mut Checks, out: &mut Report) -> Option<String> {
    let asked = Operator::open(home.clone()).and_then(|mut o| {
        match &o {
            Operator::Daemon { .. } => checks.ok("daemon", "it runs"),
            Operator::Here { .. } => checks.warn("daemon", "it does not run: without it nothing is handed over, and no evidence near a plan's height is kept here; systemctl start baton"),
        }
        let status = o.ask(&Op::Status)?;
        Ok((status, o.ask(&Op::Attest).map_err(|e| format!("{e:#}"))))
    });
    let (status, attested) = match asked {
        Ok(both) => both,
        Err(e) => {
            checks.fail("node", format!("{e:#}"));
            return None;
        }
    };
    out.field("chain", status["chain"].clone()).field("plan", status["plan"].clone()).field("vote", status["vote"].clone());
    let soon = height_and_time(checks, &status);
    custody(checks, &status);
    plan(checks, &status, found, home);
    attestation(checks, &status, attested, soon, home);
    memory(checks, home, found);
    peers(checks, &status);
    for f in list(&status, "failing") {
        checks.fail("step", format!("{}: {}", text(f, "step"), text(f, "text")));
    }
    for w in list(&status, "warnings").filter_map(Value::as_str) {
        checks.warn("node", w);
    }
    status["plan"]["name"].as_str().or(status["vote"]["plan"].as_str()).map(String::from)
}

/// The plan's time as the blocks come now; none where no plan is known.
fn height_and_time(checks: &mut Checks, status: &Value) -> Option<u64> {
    let chain = &status["chain"];
    if let Some(e) = chain["error"].as_str() {
        checks.fail("chain", format!("it is not seen: {e}"));
    }
    let (height, time) = (chain["height"].as_u64().unwrap_or(0), chain["time"].as_u64().unwrap_or(0));
    let target = status["plan"]["height"].as_u64().or(status["vote"]["height"].as_u64())?;
    let block_ms = chain["block_ms"].as_u64().unwrap_or(0);
    let left = target.saturating_sub(height);
    let at = time.saturating_add(left.saturating_mul(block_ms) / 1000);
    checks.ok("height", format!("{left} blocks to {target}, about {} from now at {:.1} s a block ({})", show_about(at.saturating_sub(time)), block_ms as f64 / 1000.0, show_time(at)));
    Some(at)
}

fn custody(checks: &mut Checks, status: &Value) {
    let serving: Vec<String> = list(status, "seats").filter(|s| s["serving"] == true).map(|s| format!("{} ({})", text(s, "build"), text(s, "state"))).collect();
    match serving.is_empty() {
        true => checks.fail("custody", "no build here holds the keyring and serves: `baton join --peer URL`; there is nothing to hand over"),
        false => checks.ok("custody", format!("{} serves", serving.join(", "))),
    }
    for d in list(status, "expires") {
        let row = super::node::date_row(d);
        match d["state"].as_str() {
            Some("over") => checks.fail("dates", format!("{row}: look at `baton status` for the step that should renew it")),
            Some("soon") => checks.warn("dates", row),
            _ => checks.ok("dates", row),
        }
    }
}

/// The plan's measurement against the build on disk, its rehearsal, and the vote against the bar inside.
fn plan(checks: &mut Checks, status: &Value, found: &[BuildFile], home: &Home) {
    let vote = &status["vote"];
    let what = if status["plan"].is_null() { vote } else { &status["plan"] };
    if what.is_null() {
        checks.ok("plan", "none is pending, and no upgrade is voted on");
        return;
    }
    if let Some(why) = what["unreadable"].as_str() {
        checks.fail("plan", format!("{why}: no enclave hands over by it; the chain has to cancel it and vote again"));
        return;
    }
    let Some(measurement) = what["measurement"].as_str() else {
        checks.ok("plan", "it names no enclave: nothing is handed over");
        return;
    };
    if vote["meets"] == false {
        checks.warn("vote", "by its tally now the enclave would refuse it, whatever the chain says: `baton status` shows the bar");
    } else if vote["meets"] == true {
        checks.ok("vote", "its tally meets the bar inside the enclave");
    }
    let Some(build) = found.iter().find(|b| b.measurement.to_string() == measurement) else {
        checks.fail("build", format!("the plan names {measurement}, which is not in {}: put its .sgxs and .sig there", home.path("builds").display()));
        return;
    };
    checks.ok("build", format!("{} is the one that the plan names", build.name));
    if let Ok(sig) = check_sigstruct(&build.image.sigstruct) {
        let (signer, svn) = (sig.fields().signer(), sig.fields().svn);
        let serving = |b: &&BuildFile| list(status, "seats").any(|s| s["serving"] == true && s["measurement"] == b.measurement.to_string().as_str());
        for old in found.iter().filter(|b| b.measurement != build.measurement).filter(serving) {
            if svn < old.policy.builds.min_svn {
                checks.fail("build", format!("{} takes svn {} at least, the build has {svn}: it needs another signature", old.name, old.policy.builds.min_svn));
            }
            if !old.policy.builds.signers.contains(&signer) {
                checks.warn("build", format!("{} does not list signer {signer}: only a vote above {} names it", old.name, old.policy.chain.override_share));
            }
        }
    }
    let seat = list(status, "seats").find(|s| s["measurement"] == measurement);
    match seat.is_some_and(|s| s["rehearsed_as_source"] == true) {
        true => checks.ok("rehearsal", "a canary crossed to it, and from it to a twin"),
        false => checks.fail("rehearsal", "not done, or it failed: `baton rehearse`; what fails there would fail in the handover"),
    }
}

/// Can this machine quote, would the policy take it, and does the collateral last until the plan's height?
fn attestation(checks: &mut Checks, status: &Value, attested: Result<Value, String>, soon: Option<u64>, home: &Home) {
    if home.config().enclave.platform == PlatformName::Sgx {
        match quoting(home.config().enclave.aesm()) {
            Ok(what) => checks.ok("aesm", what),
            Err(why) => checks.fail("aesm", format!("{why}; the upgrade on this machine needs no quote, a join and a receipt for the barrier do")),
        }
    }
    let told = match attested {
        Ok(told) => told,
        Err(e) => {
            checks.fail("attestation", format!("no quote: {e}; the upgrade on this machine needs none, a join and a receipt for the barrier do"));
            return;
        }
    };
    collateral(checks, &status["collateral"]);
    let tcb = told["tcb"].as_str().unwrap_or("-");
    match told["error"].as_str() {
        Some(why) => checks.fail("attestation", format!("its quote is refused by the policy of {}: {why}; mend the platform (microcode, firmware, collateral), or the barrier never counts this machine", text(&told, "build"))),
        None => checks.ok("attestation", format!("this machine quotes, and the policy of {} takes it: TCB {tcb}, FMSPC {}", text(&told, "build"), text(&told, "fmspc"))),
    }
    let enclave = &home.config().enclave;
    match enclave.platform {
        PlatformName::Sim | PlatformName::Softsgx => checks.warn("platform", format!("{}: for development and tests, it keeps nothing secret", enclave.platform.name())),
        PlatformName::Sgx => checks.ok("platform", "sgx: this machine's CPU"),
    }
    let Some(at) = soon else { return };
    for d in list(status, "expires").filter(|d| text(d, "what").starts_with("collateral")) {
        if d["until"].as_u64().is_some_and(|until| until < at) {
            checks.warn("collateral", format!("{}: over before the plan's height; fetch it anew until then (the handover on one machine asks for none)", text(d, "what")));
        }
    }
}

/// Where collateral is fetched or read: is there some, and did the last try work?
fn collateral(checks: &mut Checks, kept: &Value) {
    let (age, from) = (kept["age_secs"].as_u64(), text(kept, "from"));
    match (kept.is_null(), age, kept["error"].as_str()) {
        (true, _, _) => {}
        (false, Some(age), None) => checks.ok("collateral", format!("{} old, from {from}", show_about(age))),
        (false, Some(age), Some(why)) => checks.warn("collateral", format!("{} old; the last try failed: {why}", show_about(age))),
        (false, None, why) => checks.fail("collateral", format!("none from {from}: {}; the upgrade on this machine needs none, a join and a receipt for the barrier do", why.unwrap_or("it was not asked yet"))),
    }
}

/// Two enclaves at once, as in a handover on one machine.
fn memory(checks: &mut Checks, home: &Home, found: &[BuildFile]) {
    let need: Vec<u64> = found.iter().filter_map(|b| Inspection::of(&b.image.sgxs).ok()).map(|(seen, _)| seen.epc_bytes(1)).collect();
    if home.config().enclave.platform == PlatformName::Sim || need.is_empty() {
        checks.ok("memory", "enclaves run in this process: no EPC is needed");
        return;
    }
    let mut most = need;
    most.sort_unstable();
    let two: u64 = most.iter().rev().take(2).sum();
    match epc_bytes() {
        0 => checks.ok("memory", format!("{} KiB for two builds at once; this machine has no EPC, enclaves run in ordinary memory", two >> 10)),
        have if have < two => checks.fail("memory", format!("two builds at once need {} KiB of EPC, this machine has {} KiB: give enclaves more in the firmware (PRMRR size)", two >> 10, have >> 10)),
        have => checks.ok("memory", format!("two builds at once need {} KiB of EPC, this machine has {} KiB", two >> 10, have >> 10)),
    }
}

fn peers(checks: &mut Checks, status: &Value) {
    let (mut up, mut all) = (0_u64, 0_u64);
    for p in list(status, "peers") {
        all += 1;
        match p["ok"] == true {
            true => up += 1,
            false => checks.warn("peers", format!("{} does not answer: {}", text(p, "url"), text(p, "error"))),
        }
    }
    match (all, up) {
        (0, _) => checks.warn("peers", "none is configured: a late node has nobody to ask, and the barrier counts this machine alone"),
        (_, 0) => checks.warn("peers", "none answers"),
        _ => checks.ok("peers", format!("{up} of {all} answer")),
    }
}

/// Each endpoint: answers, chain id, height, lag; and this machine's clock beside the newest header.
fn endpoints(checks: &mut Checks, statuses: &[Result<NodeStatus, baton_host::chain::SourceError>]) {
    let newest = statuses.iter().filter_map(|s| s.as_ref().ok()).map(|s| s.latest).max();
    for s in statuses {
        match s {
            Err(e) if e.trouble == Trouble::Lying => checks.fail("endpoint", format!("{}: {}; take it out of chain.rpc", e.source_name, e.reason)),
            Err(e) => checks.warn("endpoint", format!("{} does not answer: {}", e.source_name, e.reason)),
            Ok(s) => {
                let lag = newest.unwrap_or(0).saturating_sub(s.latest);
                let says = format!("{} is at {} of {}", s.endpoint, s.latest, s.chain_id);
                match (lag > LAG_BLOCKS, s.catching_up) {
                    (true, _) => checks.warn("endpoint", format!("{says}, {lag} blocks behind")),
                    (false, true) => checks.warn("endpoint", format!("{says}, and still catching up")),
                    (false, false) => checks.ok("endpoint", says),
                }
            }
        }
    }
    if newest.is_none() {
        checks.fail("endpoint", "none answers: the chain cannot be seen from here");
    }
    if statuses.len() < 2 {
        checks.warn("endpoint", "only one is configured: when it lies or dies nobody else is asked; name a second one in chain.rpc");
    }
    let times = statuses.iter().filter_map(|s| parse_time(&s.as_ref().ok()?.latest_time).ok());
    if let Some(time) = times.max() {
        clock(checks, unix_now(), time);
    }
}

/// The enclaves do not read this machine's clock; logs, certificates and the supervisor do.
fn clock(checks: &mut Checks, now: u64, time: u64) {
    if time > now.saturating_add(SKEW_SECS) {
        checks.fail("clock", format!("this machine's clock is {} behind the newest header: set it (chrony, systemd-timesyncd)", show_about(time - now)));
    } else if now > time.saturating_add(SKEW_SECS * 10) {
        checks.warn("clock", format!("the newest header is {} old by this machine's clock: the chain stands still, the endpoints lag, or the clock is ahead", show_about(now - time)));
    } else {
        checks.ok("clock", "it agrees with the newest header");
    }
}

/// Free room for sealed files and evidence.
fn disk(checks: &mut Checks, home: &Path) {
    let said = Command::new("df").arg("-Pk").arg(home).output();
    let free = said.ok().and_then(|o| free_kib(&String::from_utf8_lossy(&o.stdout)));
    match free {
        None => checks.warn("disk", "df does not say how much is free"),
        Some(kib) if kib < LEAST_DISK_KIB => checks.fail("disk", format!("{} MiB free: expected {} at least; a sealed file that cannot be written stops the handover", kib >> 10, LEAST_DISK_KIB >> 10)),
        Some(kib) if kib < SOME_DISK_KIB => checks.warn("disk", format!("{} MiB free", kib >> 10)),
        Some(kib) => checks.ok("disk", format!("{} MiB free", kib >> 10)),
    }
}

/// The fourth column of `df -Pk`, of the last line.
fn free_kib(said: &str) -> Option<u64> {
    said.lines().last()?.split_whitespace().nth(3)?.parse().ok()
}

/// Who sends this node's records, and whether it can.
fn signer(checks: &mut Checks, config: &Config, rpc: Result<&RpcSource, String>) {
    let Some(s) = &config.signer else {
        match config.peers.is_empty() {
            true => checks.fail("signer", "neither a signer nor a peer: nobody publishes this node's records"),
            false => checks.ok("signer", "none: peers publish this node's records"),
        }
        return;
    };
    if let Some(program) = s.command.as_ref().and_then(|c| c.first()) {
        match which(program) {
            true => checks.ok("signer", format!("{program} is there; whether its account has funds only a record shows")),
            false => checks.fail("signer", format!("{program} is no program here: no record is published")),
        }
        return;
    }
    let Some(file) = &s.keyfile else { return };
    let fee = Fee { denom: s.denom.clone(), amount: s.fee, gas: s.gas };
    let (key, rpc) = match (Keyfile::read(file, &s.prefix, fee), rpc) {
        (Ok(key), Ok(rpc)) => (key, rpc),
        (Err(e), _) => return checks.fail("signer", e.to_string()),
        (_, Err(e)) => return checks.fail("signer", e),
    };
    // x/bank: 0x02, length, address, denomination -> amount.
    let at = [&[2, 20], key.address().as_slice(), s.denom.as_bytes()].concat();
    let (address, least) = (key.address_text(), s.fee.saturating_add(1));
    match rpc.peek("bank", &at).map(|v| v.and_then(|b| String::from_utf8(b).ok()?.parse::<u128>().ok()).unwrap_or(0)) {
        Err(e) => checks.warn("signer", format!("the balance of {address} is not known: {e}")),
        Ok(has) if has < u128::from(least) => checks.fail("signer", format!("{address} has {has} {}, a record costs {least}: fund it, or leave the signer out and let peers publish", s.denom)),
        Ok(has) => checks.ok("signer", format!("{address} has {has} {}, enough for {} records", s.denom, has / u128::from(least))),
    }
}

fn which(program: &str) -> bool {
    if program.contains('/') {
        return is_program(Path::new(program));
    }
    std::env::var_os("PATH").is_some_and(|all| std::env::split_paths(&all).any(|dir| is_program(&dir.join(program))))
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// cosmovisor's folders, its hook, and the guard in front of the new binary.
fn cosmovisor(checks: &mut Checks, args: &DoctorArgs, plan: Option<&str>) {
    let Some(daemon_home) = &args.daemon_home else {
        checks.ok("cosmovisor", "not looked at: --daemon-home DIR does (without cosmovisor: `baton guard` in front of start, `baton upgrade` by hand)");
        return;
    };
    let root = daemon_home.join("cosmovisor");
    if !root.is_dir() {
        checks.fail("cosmovisor", format!("{} is no folder: `cosmovisor init` makes it", root.display()));
        return;
    }
    let says = |path: &Path, words: &str| std::fs::read(path).is_ok_and(|b| b.len() < 1 << 20 && String::from_utf8_lossy(&b).contains(words));
    let hooks: Vec<_> = std::fs::read_dir(&root).into_iter().flatten().flatten().map(|e| e.path()).filter(|p| p.is_file() && says(p, "custom-pre-upgrade")).collect();
    match hooks.as_slice() {
        [] => checks.fail("hook", format!("no file in {} calls `baton hook custom-pre-upgrade`: the switch would not wait for the handover", root.display())),
        [hook, ..] if !is_program(hook) => checks.fail("hook", format!("{} is not executable: chmod 755", hook.display())),
        [hook, ..] => {
            let name = hook.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match args.custom_pre_upgrade.as_deref() {
                Some(set) if set == name => checks.ok("hook", format!("{} is what cosmovisor calls", hook.display())),
                Some(set) => checks.fail("hook", format!("COSMOVISOR_CUSTOM_PREUPGRADE is {set:?}, the hook is {name:?}")),
                None => checks.warn("hook", format!("set COSMOVISOR_CUSTOM_PREUPGRADE={name} in cosmovisor's unit; this command does not see it (--custom-pre-upgrade NAME, or the variable)")),
            }
        }
    }
    let Some(plan) = plan else { return };
    let bin = root.join("upgrades").join(plan).join("bin");
    let programs: Vec<_> = std::fs::read_dir(&bin).into_iter().flatten().flatten().map(|e| e.path()).filter(|p| is_program(p)).collect();
    if programs.is_empty() {
        checks.fail("binary", format!("{} has no program: cosmovisor would stop at the plan's height", bin.display()));
    } else if programs.iter().any(|p| is_guarded(p)) {
        checks.ok("binary", format!("{}: behind the guard", bin.display()));
    } else {
        checks.fail("guard", format!("nothing in {} is a wrapper with `baton guard`: a supervisor's restart would run the new binary without a handover", bin.display()));
    }
}

/// True for a script with `baton guard` in it, however the command's path is written.
fn is_guarded(path: &Path) -> bool {
    let bytes = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(if bytes.len() < 1 << 20 { &bytes } else { &[] });
    let calls = |line: &str| line.split_once("guard").is_some_and(|(before, after)| before.contains("baton") && before.ends_with(' ') && after.starts_with(' '));
    text.lines().any(calls)
}

fn finish(mut out: Report, mut checks: Checks) -> Result<Report, Failure> {
    checks.0.sort_by_key(|(level, _, _)| std::cmp::Reverse(*level));
    let count = |wanted: Level| checks.0.iter().filter(|(level, _, _)| *level == wanted).count();
    let (fails, warns) = (count(Level::Fail), count(Level::Warn));
    let mut all = Vec::new();
    for (level, name, says) in &checks.0 {
        out.row(format!("{} {name}", level.name()), says);
        all.push(json!({"level": level.name(), "check": name, "says": says}));
    }
    out.field("checks", all).field("fails", fails).field("warnings", warns);
    match fails {
        0 => out.verdict(true, format!("this machine would make it, {warns} to look at")),
        n => out.verdict(false, format!("{n} to mend before the plan's height")),
    };
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_is_seen_however_the_command_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("chaind");
        for (text, guarded) in [
            ("exec baton guard --plan p -- real \"$@\"\n", true),
            ("exec \"/opt/baton/bin/baton\" guard --home \"/h\" --plan p -- real \"$@\"\n", true),
            ("exec /usr/bin/real start\n", false),
            ("# baton comes later\nexec real guard\n", false),
        ] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(is_guarded(&file), guarded, "{text}");
        }
    }

    fn of(f: impl FnOnce(&mut Checks)) -> Vec<(Level, &'static str)> {
        let mut c = Checks::default();
        f(&mut c);
        c.0.into_iter().map(|(level, name, _)| (level, name)).collect()
    }

    #[test]
    fn h06_a_clock_behind_the_chain_fails_and_an_old_header_warns() {
        assert_eq!(of(|c| clock(c, 1000, 1000 + SKEW_SECS)), [(Level::Ok, "clock")]);
        assert_eq!(of(|c| clock(c, 1000, 1001 + SKEW_SECS)), [(Level::Fail, "clock")]);
        assert_eq!(of(|c| clock(c, 100_000, 1000)), [(Level::Warn, "clock")]);
    }

    #[test]
    fn collateral_that_is_there_is_no_fail_when_its_service_is_down() {
        let of = |kept: Value| of(|c| collateral(c, &kept));
        assert_eq!(of(Value::Null), []);
        assert_eq!(of(json!({"from": "u", "age_secs": 5, "error": null})), [(Level::Ok, "collateral")]);
        assert_eq!(of(json!({"from": "u", "age_secs": 5, "error": "x"})), [(Level::Warn, "collateral")]);
        assert_eq!(of(json!({"from": "u", "age_secs": null, "error": "x"})), [(Level::Fail, "collateral")]);
    }

    #[test]
    fn df_is_read_by_its_fourth_column() {
        let said = "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/vda 264000000 4000 49000000 50% /\n";
        assert_eq!(free_kib(said), Some(49_000_000));
        assert_eq!(free_kib(""), None);
    }

    #[test]
    fn an_endpoint_that_lags_or_is_alone_is_a_warning_and_none_is_a_fail() {
        let node = |url: &str, latest| {
            let (endpoint, chain_id, latest_time) = (url.to_string(), "c".to_string(), String::new());
            Ok(NodeStatus { endpoint, chain_id, latest, earliest: 1, catching_up: false, latest_time })
        };
        assert_eq!(of(|c| endpoints(c, &[node("a", 100), node("b", 94)])), [(Level::Ok, "endpoint"), (Level::Warn, "endpoint")]);
        assert_eq!(of(|c| endpoints(c, &[node("a", 100)])), [(Level::Ok, "endpoint"), (Level::Warn, "endpoint")]);
        let lies = || baton_host::chain::SourceError { trouble: Trouble::Lying, source_name: "a".into(), what: "w".into(), reason: "r".into() };
        assert_eq!(of(|c| endpoints(c, &[Err(lies()), Err(lies())])), [(Level::Fail, "endpoint"); 3]);
    }

    #[test]
    fn h24_peers_and_dates_of_a_status_become_lines() {
        let status = json!({"peers": [{"url": "a", "ok": false, "error": "x"}, {"url": "b", "ok": true}], "seats": [], "expires": [
            {"what": "collateral: TCB info", "until": 5, "left_secs": 0, "state": "over"}, {"what": "y", "until": 9, "left_secs": 4, "state": "soon"},
        ]});
        assert_eq!(of(|c| peers(c, &status)), [(Level::Warn, "peers"), (Level::Ok, "peers")]);
        assert_eq!(of(|c| custody(c, &status)), [(Level::Fail, "custody"), (Level::Fail, "dates"), (Level::Warn, "dates")]);
        assert_eq!(of(|c| peers(c, &json!({"peers": []}))), [(Level::Warn, "peers")]);
    }
}
