//! `baton guard` and `baton hook custom-pre-upgrade`: what stands between a supervisor and a build that has no keyring here.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::node::{home, upgrade_verdict};
use crate::cli::node::{GuardArgs, HookArgs};
use crate::node::config::Home;
use crate::node::machine::BuildFile;
use crate::node::ops::{Op, Operator};
use crate::output::{Exit, Failure, Report, finish};
use crate::times::unix_now;

/// Runs a command only if its build holds the keyring durably on this machine. It reads two small files and starts
/// no enclave, so it answers at once, whether or not the daemon runs.
pub fn guard(args: &GuardArgs) -> Result<Report, Failure> {
    let home = home(&args.at)?;
    let measurement = match (&args.build, &args.plan) {
        (Some(path), _) => Some(BuildFile::read(path).map_err(|e| Failure::input(format!("{e:#}")))?.measurement.to_string()),
        (None, Some(plan)) => of_plan(&home, plan)?,
        (None, None) => None,
    };
    if let Some(m) = &measurement
        && !home.path("confirmed").join(format!("{m}.json")).exists()
    {
        let how = args.plan.as_ref().map_or(String::new(), |p| format!(" --plan {p}"));
        let text = format!(
            "the handover to build {m} is not confirmed on this machine, so nothing that needs it is started; run `baton upgrade --home {}{how} --wait 120` and start again; the old binary still runs, and nothing is lost",
            home.dir().display()
        );
        return Err(Failure::refused(text));
    }
    let Some((program, rest)) = args.command.split_first() else {
        let mut out = Report::new();
        out.field("measurement", measurement.clone());
        out.verdict(true, match measurement {
            Some(m) => format!("build {m} holds the keyring durably on this machine"),
            None => "the plan names no enclave".into(),
        });
        return Ok(out);
    };
    // From here on this process is the command.
    let e = Command::new(program).args(rest).exec();
    Err(Failure::input(format!("{program}: {e}")))
}

/// The build that a plan names, as this node saw it, or as the chain's node wrote it down.
fn of_plan(home: &Home, plan: &str) -> Result<Option<String>, Failure> {
    let path = crate::node::follow::plan_file(home.dir(), plan);
    let text = std::fs::read_to_string(&path).map_err(|_| {
        let text = format!("this node has seen no plan {plan:?}: expected one that the chain scheduled; let `baton node` or `baton upgrade --plan {plan}` look at the chain or at a peer first");
        Failure::refused(text)
    })?;
    let seen: Value = serde_json::from_str(&text).map_err(|e| Failure::input(e).at(path.display()))?;
    match (seen["measurement"].as_str(), seen["unreadable"].as_str()) {
        (Some(m), _) => Ok(Some(m.into())),
        (None, Some(why)) => Err(Failure::refused(format!("{why}; no build can be confirmed for this plan"))),
        (None, None) => Ok(None),
    }
}

/// The hook's own log: cosmovisor loses what a script prints.
struct HookLog {
    path: PathBuf,
}

impl HookLog {
    fn say(&self, text: &str) {
        let now = unix_now();
        let line = format!("{} {}\n", crate::times::show_time(now), text.trim().replace('\n', " | "));
        eprint!("{line}");
        if let Ok(mut f) = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path) {
            let _ = f.write_all(line.as_bytes()).and_then(|()| f.sync_data());
        }
    }
}

/// The handover before cosmovisor switches: 0 only if the build that the plan names is confirmed on this machine.
pub fn hook(args: &HookArgs) -> Result<Report, Failure> {
    let home = home(&args.at)?;
    let log = Arc::new(HookLog { path: home.path("hook.log") });
    let end = Instant::now() + Duration::from_secs(args.limit);
    log.say(&format!("plan {} at {}: cosmovisor asks", args.plan, args.height));
    let last = Arc::new(Mutex::new(String::from("nothing was tried yet")));
    watchdog(args, log.clone(), last.clone(), end);
    loop {
        let round = round(&home, &args.plan);
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

fn round(home: &Home, plan: &str) -> Result<Value, Failure> {
    // Opened anew each time: a daemon may come or go meanwhile.
    let mut operator = Operator::open(home.clone())?;
    Ok(operator.ask(&Op::Upgrade { plan: Some(plan.into()) })?)
}

/// Whatever hangs, the hook ends: being cut off in the middle of a handover loses nothing.
fn watchdog(args: &HookArgs, log: Arc<HookLog>, last: Arc<Mutex<String>>, end: Instant) {
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
