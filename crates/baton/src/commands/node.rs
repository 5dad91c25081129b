//! `baton init`, `baton node` and the operator's commands that ask a node: genesis, join, import, status, rehearse,
//! upgrade, vault and record.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cli::node::{
    GenesisArgs, HomeArgs, ImportArgs, InitArgs, JoinArgs, NodeRunArgs, RecordSendArgs, RehearseArgs, StatusArgs, UpgradeArgs,
    VaultGetArgs, VaultPutArgs,
};
use crate::node::config::{ChainConfig, Config, EnclaveConfig, Home, HomeError, LogConfig, SignerConfig};
use crate::node::ops::{Op, Operator};
use crate::node::{Node, run, watch_peers};
use crate::output::{Failure, Report};

/// A home that cannot be used: a mistake in what was asked, or somebody else's turn.
pub fn home_failure(e: HomeError) -> Failure {
    match e {
        HomeError::Locked(_) => Failure::refused(e),
        other => Failure::input(other),
    }
}

/// Opens the home.
pub fn home(at: &HomeArgs) -> Result<Home, Failure> {
    Home::open(&at.home).map_err(home_failure)
}

/// Asks the node of a home, through its daemon if that runs.
pub fn ask(at: &HomeArgs, op: &Op) -> Result<Value, Failure> {
    let mut operator = Operator::open(home(at)?)?;
    Ok(operator.ask(op)?)
}

/// Fields for programs, as they come.
fn fields(out: &mut Report, value: &Value) {
    for (key, value) in value.as_object().into_iter().flatten() {
        out.field(key, value.clone());
    }
}

fn lines(out: &mut Report, value: &Value) {
    for line in value["done"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        out.row("done", line);
    }
}

/// Writes a home.
pub fn init(args: &InitArgs) -> Result<Report, Failure> {
    let last = args.at.home.file_name().and_then(|n| n.to_str()).unwrap_or("node").trim_start_matches('.').to_string();
    let name = args.name.clone().unwrap_or(last);
    let command = args.signer.as_ref().map(|s| s.split_whitespace().map(String::from).collect::<Vec<_>>());
    if command.as_ref().is_some_and(|c| !c.iter().any(|a| a.contains("{memo}"))) {
        return Err(Failure::input("--signer: expected {memo} in one of its arguments, got none"));
    }
    let signer = (command.is_some() || args.keyfile.is_some()).then(|| SignerConfig {
        command,
        timeout_secs: 30,
        keyfile: args.keyfile.clone(),
        prefix: args.prefix.clone(),
        denom: args.denom.clone(),
        fee: args.fee,
        gas: args.gas,
    });
    let config = Config {
        listen: args.listen,
        peers: args.peer.clone(),
        chain: ChainConfig {
            id: args.chain_id.clone(),
            rpc: args.rpc.clone(),
            timeout_ms: 5000,
            retries: 1,
            poll_ms: args.poll_ms,
            advance_blocks: args.advance_blocks,
        },
        enclave: EnclaveConfig {
            platform: args.platform,
            dev_machine: args.dev_machine.clone().unwrap_or_else(|| name.clone()),
            dev_pki_seed: args.dev_pki_seed,
        },
        signer,
        log: LogConfig::default(),
        name,
    };
    let home = Home::init(&args.at.home, &config).map_err(home_failure)?;
    let mut out = Report::new();
    out.both("home", "home", home.dir().display());
    out.both("config", "config", home.path(crate::node::config::FILE).display());
    out.both("builds", "builds", home.path("builds").display());
    out.text("next: put a build (.sgxs and .sig) into the folder builds, then `baton node`");
    Ok(out)
}

/// The daemon.
pub fn node(args: &NodeRunArgs) -> Result<Report, Failure> {
    let home = home(&args.at)?;
    run::logs(&home.config().log);
    // What stops a node from starting is told once, here.
    let mut node = match home.lock() {
        Ok(lock) => {
            drop(lock);
            Node::open(home)?
        }
        Err(e) => return Err(home_failure(e)),
    };
    if args.once {
        node.tick();
        node.follower().look();
        watch_peers::look_once(&node);
        let done = node.tick();
        let mut out = Report::new();
        for d in &done {
            out.row(d.step, &d.text);
        }
        fields(&mut out, &node.shared().status());
        return Ok(out);
    }
    run::run(node)?;
    let mut out = Report::new();
    out.field("stopped", true);
    Ok(out)
}

/// The first seed of a new network.
pub fn genesis(args: &GenesisArgs) -> Result<Report, Failure> {
    let got = ask(&args.at, &Op::Genesis)?;
    let mut out = Report::new();
    fields(&mut out, &got);
    out.row("commitment", text(&got, "commitment")).row("build", text(&got, "measurement")).row("custody", text(&got, "state"));
    out.text("the commitment is public: later builds' policies name it (`baton policy new --commitment`)");
    Ok(out)
}

fn text(v: &Value, name: &str) -> String {
    match &v[name] {
        Value::String(s) => s.clone(),
        Value::Null => "-".into(),
        other => other.to_string(),
    }
}

/// The keyring from a peer.
pub fn join(args: &JoinArgs) -> Result<Report, Failure> {
    let home = home(&args.at)?;
    let peers = match &args.peer {
        Some(peer) => vec![peer.clone()],
        None => home.config().peers.clone(),
    };
    if peers.is_empty() {
        return Err(Failure::input("no peer: expected --peer URL, or peers in baton.toml"));
    }
    let mut operator = Operator::open(home)?;
    let mut reasons = Vec::new();
    for peer in peers {
        match operator.ask(&Op::Join { peer: peer.clone(), build: args.build, wait_secs: args.wait }) {
            Ok(got) => {
                let mut out = Report::new();
                fields(&mut out, &got);
                lines(&mut out, &got);
                out.row("build", text(&got, "measurement")).row("custody", text(&got, "state"));
                return Ok(out);
            }
            Err(e) => reasons.push(format!("{peer}: {e:#}")),
        }
    }
    Err(Failure::refused(reasons.join("\n          ")))
}

/// A legacy file.
pub fn import(args: &ImportArgs) -> Result<Report, Failure> {
    let file = std::path::absolute(&args.file).map_err(|e| Failure::input(e).at(args.file.display()))?;
    let got = ask(&args.at, &Op::Import { file })?;
    let mut out = Report::new();
    fields(&mut out, &got);
    out.row("commitment", text(&got, "commitment")).row("build", text(&got, "measurement")).row("custody", text(&got, "state"));
    if got["exposed"].as_array().is_some_and(|e| !e.is_empty()) {
        out.text("exposed: this epoch was sealed under MRSIGNER; whoever kept a file and signs with that key reads it for ever");
    }
    Ok(out)
}

/// One screen.
pub fn status(args: &StatusArgs) -> Result<Report, Failure> {
    let got = ask(&args.at, &Op::Status)?;
    let mut out = Report::new();
    fields(&mut out, &got);
    let chain = &got["chain"];
    let halted = chain["halted_at"].as_u64().map(|x| format!(", halted for the plan at {x}")).unwrap_or_default();
    out.row("chain", format!("{} at {}{halted}", text(chain, "id"), chain["height"]));
    if let Some(e) = chain["error"].as_str() {
        out.row("", format!("not seen now: {e}"));
    }
    for e in chain["endpoints"].as_array().into_iter().flatten() {
        out.row("endpoint", endpoint_row(e));
    }
    let plan = &got["plan"];
    out.row("plan", match plan.is_null() {
        true => "none".into(),
        false => format!(
            "{} at {} ({} blocks left), proposal {}, names {}",
            text(plan, "name"), plan["height"], plan["blocks_left"], plan["proposal"],
            plan["measurement"].as_str().or(plan["unreadable"].as_str()).unwrap_or("no enclave")
        ),
    });
    vote_rows(&mut out, &got["vote"]);
    for seat in got["seats"].as_array().into_iter().flatten() {
        let mut line = format!("{} {}", text(seat, "state"), if seat["serving"] == true { "serving" } else { "not serving" });
        let _ = write!(line, ", svn {}, head {}, epochs {}", seat["svn"], seat["head"], seat["epochs"]);
        if seat["rehearsed_as_source"] == true {
            line += ", rehearsed";
        }
        if let Some(x) = seat["activated_at"].as_u64() {
            let _ = write!(line, ", activated at {x}");
        }
        out.row(text(seat, "build"), format!("{} {line}", text(seat, "measurement").chars().take(16).collect::<String>()));
    }
    let barrier = &got["barrier"];
    if !barrier.is_null() {
        out.row("barrier", format!("{} of {} machines have given receipts; grace until {}", barrier["platforms"], barrier["wanted"], text(barrier, "grace_until")));
        let power = &barrier["power"];
        if !power.is_null() {
            let share = power["share"].as_f64().map_or("not known yet".into(), |s| format!("{:.2} %", s * 100.0));
            let wanted = text(power, "wanted").parse::<f64>().unwrap_or(0.0) * 100.0;
            out.row("", format!("voting power that vouches for these machines: {share}, at least {wanted:.2} %"));
        }
    }
    for peer in got["peers"].as_array().into_iter().flatten() {
        out.row("peer", format!("{} {}", text(peer, "url"), peer_row(peer)));
    }
    for e in got["emergencies"].as_array().into_iter().flatten() {
        let by = e["obeyed_by"].as_str().map_or("taken over with the keyring".into(), |b| format!("obeyed by {b}"));
        out.row("emergency", format!("order {} ({}) at height {}, {by}, digest {}", e["number"], text(e, "kind"), e["height"], text(e, "digest")));
    }
    for o in got["orders"].as_array().into_iter().flatten().filter(|o| o["state"] != "obeyed") {
        out.row("order", format!("{} ({}) {}: {}", o["number"], text(o, "kind"), text(o, "state"), text(o, "said")));
    }
    for d in got["expires"].as_array().into_iter().flatten() {
        out.row("expires", date_row(d));
    }
    out.row("exposed", if got["exposed"] == true { "yes: an epoch was ever sealed under MRSIGNER" } else { "no" });
    for f in got["failing"].as_array().into_iter().flatten() {
        out.row("failing", format!("{}: {}", text(f, "step"), text(f, "text")));
    }
    for w in got["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        out.row("warning", w);
    }
    Ok(out)
}

/// An endpoint: its height, and how far it is behind.
fn endpoint_row(e: &Value) -> String {
    match (e["height"].as_u64(), e["lag"].as_u64()) {
        (Some(height), Some(0)) => format!("{} at {height}", text(e, "url")),
        (Some(height), lag) => format!("{} at {height}, {} blocks behind", text(e, "url"), lag.unwrap_or(0)),
        (None, _) => format!("{} no answer: {}", text(e, "url"), text(e, "error")),
    }
}

/// A peer: its builds, which of them are ready to hand on, and its receipts.
fn peer_row(peer: &Value) -> String {
    if peer["ok"] != true {
        return format!("no answer: {}", text(peer, "error"));
    }
    let seat = |s: &Value| {
        let ready = if s["rehearsed_as_source"] == true { ", ready" } else { ", not rehearsed" };
        format!("{} {}{ready}", text(s, "build"), text(s, "state"))
    };
    let seats: Vec<String> = peer["seats"].as_array().into_iter().flatten().map(seat).collect();
    format!("at {}: {}; {} receipt(s)", text(peer, "height"), seats.join("; "), peer["receipts"])
}

/// The live tally beside the bar that decides inside the enclave.
fn vote_rows(out: &mut Report, vote: &Value) {
    if vote.is_null() {
        return;
    }
    let ends = vote["ends"].as_u64().map_or("-".into(), crate::times::show_time);
    out.row("vote", format!("proposal {} ({}) for {} at {}, ends {ends}", vote["proposal"], text(vote, "status"), text(vote, "plan"), vote["height"]));
    if vote["tally"].is_null() {
        out.row("", "no endpoint counts the votes: they are known when the vote is over");
        return;
    }
    for bar in vote["bars"].as_array().into_iter().flatten() {
        let share = bar["share"].as_f64().unwrap_or(0.0) * 100.0;
        let wanted = text(bar, "bar").parse::<f64>().unwrap_or(0.0) * 100.0;
        let holds = if bar["holds"] == true { "holds" } else { "does not hold" };
        out.row("", format!("{}: {share:.2} %, {} {wanted:.2} %: {holds}", text(bar, "name"), text(bar, "rule")));
    }
    let meets = vote["meets"] == true;
    out.row("", if meets { "the enclave would take this vote" } else { "the enclave would refuse this vote, whatever the chain says" });
}

/// One date, and how long it still holds.
pub fn date_row(d: &Value) -> String {
    let until = d["until"].as_u64().unwrap_or(0);
    let left = match d["left_secs"].as_u64().unwrap_or(0) {
        0 => "over".to_string(),
        left => format!("{} left", crate::times::show_about(left)),
    };
    format!("{}  {} ({left})", crate::times::show_time(until), text(d, "what"))
}

/// A rehearsal, which each tick makes where it is due.
pub fn rehearse(args: &RehearseArgs) -> Result<Report, Failure> {
    let got = ask(&args.at, &Op::Status)?;
    let mut out = Report::new();
    let mut ready = 0;
    for seat in got["seats"].as_array().into_iter().flatten() {
        let ok = seat["rehearsed_as_source"] == true;
        ready += u64::from(ok);
        out.row(text(seat, "build"), if ok { "rehearsed, and can hand on" } else { "not rehearsed" });
    }
    fields(&mut out, &got);
    if let Some(f) = got["failing"].as_array().into_iter().flatten().find(|f| f["step"] == "rehearse") {
        out.row("failing", text(f, "text"));
        out.verdict(false, "a rehearsal fails: the handover would fail the same way");
        return Ok(out);
    }
    out.verdict(ready > 0, format!("{ready} build(s) rehearsed on this machine"));
    Ok(out)
}

/// The handover by hand.
pub fn upgrade(args: &UpgradeArgs) -> Result<Report, Failure> {
    let end = Instant::now() + Duration::from_secs(args.wait);
    let mut operator = Operator::open(home(&args.at)?)?;
    let mut out = Report::new();
    loop {
        let got = operator.ask(&Op::Upgrade { plan: args.plan.clone(), height: None, info: None })?;
        lines(&mut out, &got);
        if got["confirmed"] == true || Instant::now() >= end {
            fields(&mut out, &got);
            upgrade_verdict(&mut out, &got);
            return Ok(out);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// What stands in the way of an upgrade, or nothing does.
pub fn upgrade_verdict(out: &mut Report, got: &Value) {
    if got["known"] != true {
        out.verdict(false, "no plan is known here: look at `baton status`, and whether the chain's RPC answers");
        return;
    }
    out.row("plan", format!("{} at {}", text(got, "plan"), got["height"]));
    if let Some(doubt) = got["doubt"].as_str() {
        out.row("waits for", doubt);
        out.verdict(false, "it is not certain that this is the plan that is meant");
    } else if got["names_enclave"] != true {
        out.verdict(true, "the plan names no enclave: nothing to hand over");
    } else if let Some(why) = got["unreadable"].as_str() {
        out.verdict(false, format!("{why}; no enclave hands over by this plan: the chain has to cancel it and vote again"));
    } else if got["confirmed"] == true {
        out.verdict(true, format!("{} holds the keyring durably on this machine (custody {})", text(got, "build_here"), text(got, "state")));
    } else {
        out.row("build", text(got, "measurement"));
        for w in got["waits_for"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            out.row("waits for", w);
        }
        for f in got["failing"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            out.row("failing", f);
        }
        out.verdict(false, match got["build_here"].is_null() {
            true => format!("the build that the plan names is not here: put its .sgxs and .sig into {}", text(got, "builds")),
            false => "the handover is not confirmed yet; run the same command again (--wait SECS tries until it is)".into(),
        });
    }
}

/// Stores a value.
pub fn vault_put(args: &VaultPutArgs) -> Result<Report, Failure> {
    let got = ask(&args.at, &Op::VaultPut { name: args.name.clone(), value: args.value.clone() })?;
    let mut out = Report::new();
    fields(&mut out, &got);
    out.row("record", text(&got, "index"));
    Ok(out)
}

/// Reads a value.
pub fn vault_get(args: &VaultGetArgs) -> Result<Report, Failure> {
    let got = ask(&args.at, &Op::VaultGet { name: args.name.clone() })?;
    let mut out = Report::new();
    fields(&mut out, &got);
    out.row("value", text(&got, "value")).row("build", text(&got, "build"));
    Ok(out)
}

/// Publishes a record; on a halted chain a broadcast is lost, so it is sent again.
pub fn record_send(args: &RecordSendArgs) -> Result<Report, Failure> {
    baton_chain::record::Record::parse(&args.memo).map_err(Failure::input)?;
    let got = ask(&args.at, &Op::RecordSend { memo: args.memo.clone(), wait_secs: args.wait })?;
    let mut out = Report::new();
    fields(&mut out, &got);
    out.row("transaction", text(&got, "txhash")).row("height", text(&got, "height")).row("sent", format!("{} time(s)", got["sent"]));
    Ok(out)
}
