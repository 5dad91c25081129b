//! `baton guard` and `baton hook custom-pre-upgrade`: what stands between a supervisor and a build that has no keyring here.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use baton_attest::identity::Measurement;
use serde_json::Value;

use super::node::{home, upgrade_verdict};
use crate::cli::node::{GuardArgs, HookArgs};
use crate::node::config::Home;
use crate::node::gate::{Confirmed, Held, PlanNote, Question, Unusable, UpgradeInfo};
use crate::node::machine::BuildFile;
use crate::node::ops::{Op, Operator};
use crate::output::{Exit, Failure, Report, finish};
use crate::times::unix_now;

/// A log that is longer is put aside, and the one before it dropped.
const MAX_LOG_BYTES: u64 = 1 << 20;

/// A log of its own: a supervisor loses what a script prints.
struct OwnLog {
    path: PathBuf,
}

impl OwnLog {
    fn say(&self, text: &str) {
        let now = unix_now();
        let line = format!("{} {}\n", crate::times::show_time(now), text.trim().replace('\n', " | "));
        eprint!("{line}");
        if std::fs::metadata(&self.path).is_ok_and(|m| m.len() > MAX_LOG_BYTES) {
            let _ = std::fs::rename(&self.path, self.path.with_extension("log.old"));
        }
        if let Ok(mut f) = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path) {
            let _ = f.write_all(line.as_bytes()).and_then(|()| f.sync_data());
        }
    }
}

/// Where the chain's node wrote what it halted for: as the operator says, else as cosmovisor's environment says.
fn halted(given: Option<&Path>) -> Result<Option<UpgradeInfo>, Unusable> {
    match given.map(Path::to_path_buf).or_else(UpgradeInfo::of_cosmovisor) {
        Some(path) => UpgradeInfo::read(&path),
        None => Ok(None),
    }
}

/// What the guard goes by, or cannot.
enum Refusal {
    Held(Held),
    Unusable(Unusable),
}

impl From<Held> for Refusal {
    fn from(e: Held) -> Self {
        Refusal::Held(e)
    }
}

impl From<Unusable> for Refusal {
    fn from(e: Unusable) -> Self {
        Refusal::Unusable(e)
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refusal::Held(e) => e.fmt(f),
            Refusal::Unusable(e) => write!(f, "{e}; what cannot be read confirms nothing"),
        }
    }
}

fn judge(home: &Home, args: &GuardArgs, build: Option<Measurement>) -> Result<Option<Measurement>, Refusal> {
    let halted = halted(args.upgrade_info.as_deref())?;
    let seen = args.plan.as_deref().map(|p| PlanNote::read(home.dir(), p)).transpose()?.flatten();
    let question = Question { plan: args.plan.as_deref(), build, seen: seen.as_ref(), halted: halted.as_ref() };
    question.judge(|m| Ok(Confirmed::read(home.dir(), m)?))
}

/// Runs a command only if its build holds the keyring durably on this machine, for the plan that the chain runs. It reads a
/// few small files and starts no enclave, so it answers at once, whether or not the daemon runs.
pub fn guard(args: &GuardArgs) -> Result<Report, Failure> {
    let home = home(&args.at)?;
    let log = OwnLog { path: home.path("guard.log") };
    let build = args.build.as_ref().map(|path| BuildFile::read(path).map_err(|e| Failure::input(format!("{e:#}")))).transpose()?.map(|b| b.measurement);
    let asked = [args.plan.as_ref().map(|p| format!("plan {p:?}")), build.map(|b| format!("build {b}"))].into_iter().flatten().collect::<Vec<_>>().join(", ");
    let measurement = judge(&home, args, build).map_err(|e| {
        let how = args.plan.as_ref().map_or(String::new(), |p| format!(" --plan {p}"));
        let text = format!(
            "{e}; run `baton upgrade --home {}{how} --wait 120` and start again; the old binary still runs, and nothing is lost",
            home.dir().display()
        );
        log.say(&format!("{asked}: held: {e}"));
        Failure::refused(text)
    })?;
    let passes = match measurement {
        Some(m) => format!("build {m} holds the keyring durably on this machine"),
        None => "the plan names no enclave".into(),
    };
    log.say(&format!("{asked}: passes: {passes}"));
    let Some((program, rest)) = args.command.split_first() else {
        let mut out = Report::new();
        out.field("measurement", measurement.map(|m| m.to_string()));
        out.verdict(true, passes);
        return Ok(out);
    };
    // From here on this process is the command.
    let e = Command::new(program).args(rest).exec();
    Err(Failure::input(format!("{program}: {e}")))
}

/// One hook at a time; dropping it, or dying, lets go.
struct HookLock(#[allow(dead_code)] File);

impl HookLock {
    /// Takes it before `end`, or says who has it.
    fn take(home: &Home, args: &HookArgs, log: &OwnLog, end: Instant) -> Result<Self, Failure> {
        let path = home.path("hook.lock");
        let io = |e: std::io::Error| Failure::input(e).at(path.display());
        let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(&path).map_err(io)?;
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(e)) => return Err(io(e)),
                Err(TryLockError::WouldBlock) => {}
            }
            let mut holder = String::new();
            file.rewind().and_then(|()| Read::by_ref(&mut file).take(1000).read_to_string(&mut holder)).map_err(io)?;
            let holder = holder.trim();
            if !told {
                log.say(&format!("plan {} at {}: another hook runs ({holder}): this one waits", args.plan, args.height));
                told = true;
            }
            if Instant::now() >= end {
                log.say("time is up, and the other hook still runs: the upgrade is held");
                let text = format!(
                    "plan {}: another hook runs ({holder}): expected its end within {} s, so the upgrade is held by this one; wait for it, or end that process, and start again",
                    args.plan, args.limit
                );
                return Err(Failure::refused(text));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let holder = format!("process {}, plan {} at {}, since {}\n", std::process::id(), args.plan, args.height, crate::times::show_time(unix_now()));
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(holder.as_bytes())).map_err(io)?;
        Ok(HookLock(file))
    }
}

/// The handover before cosmovisor switches: 0 only if the build that the plan names is confirmed on this machine, for this plan.
pub fn hook(args: &HookArgs) -> Result<Report, Failure> {
    let home = home(&args.at)?;
    let log = Arc::new(OwnLog { path: home.path("hook.log") });
    let end = Instant::now() + Duration::from_secs(args.limit);
    log.say(&format!("plan {} at {}: cosmovisor asks", args.plan, args.height));
    let _lock = HookLock::take(&home, args, &log, end)?;
    let info = told_by_chain(args).inspect_err(|e| log.say(&format!("held: {}", e.to_string().trim())))?;
    let op = Op::Upgrade { plan: Some(args.plan.clone()), height: Some(args.height), info };
    let last = Arc::new(Mutex::new(String::from("nothing was tried yet")));
    watchdog(args, log.clone(), last.clone(), end);
    loop {
        let round = round(&home, &op);
        let told = match &round {
            Ok(got) => {
                let mut out = Report::new();
                for line in got["done"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                    log.say(line);
                }
                upgrade_verdict(&mut out, got);
                if out.exit() == Exit::Ok {
                    log.say(&out.to_text());
                    out.field("plan", args.plan.clone()).field("measurement", got["measurement"].clone()).field("state", got["state"].clone());
                    return Ok(out);
                }
                out.to_text()
            }
            Err(e) => e.to_string(),
        };
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != told {
            log.say(&told);
            *last = told.clone();
        }
        drop(last);
        if Instant::now() >= end {
            log.say("time is up: the upgrade is held");
            return Err(Failure::refused(format!(
                "plan {}: the handover is not confirmed within {} s, so the upgrade is held; {}", args.plan, args.limit, told.trim().replace('\n', " | ")
            )));
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// The info that the chain's node wrote for the plan that cosmovisor names. None where there is no file.
fn told_by_chain(args: &HookArgs) -> Result<Option<String>, Failure> {
    let Some(halted) = halted(args.upgrade_info.as_deref()).map_err(|e| Failure::refused(format!("{e}; the upgrade is held")))? else {
        return Ok(None);
    };
    if halted.name != args.plan || halted.height != args.height {
        return Err(Failure::refused(format!(
            "the chain's node halted for plan {:?} at {} (upgrade-info.json): expected {:?} at {}, which the hook was called for; the upgrade is held",
            halted.name, halted.height, args.plan, args.height
        )));
    }
    Ok(Some(halted.info))
}

fn round(home: &Home, op: &Op) -> Result<Value, Failure> {
    // Opened anew each time: a daemon may come or go meanwhile.
    let mut operator = Operator::open(home.clone())?;
    Ok(operator.ask(op)?)
}

/// Whatever hangs, the hook ends: being cut off in the middle of a handover loses nothing.
fn watchdog(args: &HookArgs, log: Arc<OwnLog>, last: Arc<Mutex<String>>, end: Instant) {
    let (plan, json, limit) = (args.plan.clone(), args.at.json, args.limit);
    std::thread::spawn(move || {
        std::thread::sleep((end + Duration::from_secs(5)).saturating_duration_since(Instant::now()));
        log.say("time is up, and a step still runs: the upgrade is held");
        let last = last.lock().map(|l| l.clone()).unwrap_or_default();
        let text = format!("plan {plan}: the handover did not end within {limit} s, so the upgrade is held; {}", last.trim().replace('\n', " | "));
        let exit = finish(Err(Failure::refused(text)), json);
        std::process::exit(i32::from(exit as u8));
    });
}
