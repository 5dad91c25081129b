//! `baton audit`: custody logs beside the records on chain.
//!
//! Each log is replayed and its signature verified first. Then every copy of the seed that a log admits must have its record
//! in a block, at or below the head that its entry names, for the same target; and every record on chain must be answered by
//! an entry, where a log at hand could hold it. No index is trusted: the newest header is one that more than two thirds of the
//! validators signed, each one below is linked to it by its hash, and the transactions of a block hash to what its header
//! says. So an endpoint can neither invent a record nor hide one. It can refuse to answer, and is then named.

use std::collections::{BTreeMap, BTreeSet};

use baton_attest::identity::{Digest32, PlatformId};
use baton_chain::gov::{TxBody, TxRaw};
use baton_chain::record::{Kind, Record};
use baton_core::log::Event;
use baton_host::chain::{ChainSource, Trouble};
use baton_host::rpc::{RpcConfig, RpcSource};
use prost::Message;
use serde_json::{Value, json};

use super::log::{Log, find, verify_one};
use super::node::home;
use crate::cli::LogArgs;
use crate::cli::node::AuditArgs;
use crate::node::ops::{Op, Operator};
use crate::output::{Failure, Report};

/// A record in a block.
struct Announced {
    height: u64,
    record: Record,
    answered: bool,
}

/// A copy of the keyring that a log admits.
struct Copy {
    place: String,
    kind: Kind,
    head: u64,
    target: Option<Digest32>,
    platform: Option<PlatformId>,
    transcript: Option<Digest32>,
    record: Option<Digest32>,
    /// The giver's entry; else the taker's.
    given: bool,
}

/// What became of one copy or record.
struct Row {
    good: bool,
    what: String,
    json: Value,
}

/// Compares.
pub fn audit(args: &AuditArgs) -> Result<Report, Failure> {
    let mut out = Report::new();
    let mut wrong = Vec::new();
    let places = match args.logs.as_slice() {
        [] => vec![home(&args.at)?.path("seats")],
        given => given.to_vec(),
    };
    let (mut logs, mut chains) = (Vec::new(), BTreeSet::new());
    for file in places.iter().map(|p| find(p)).collect::<Result<Vec<_>, _>>()?.into_iter().flatten() {
        let log = Log::read(file)?;
        if log.entries.is_empty() {
            continue;
        }
        let asked = LogArgs { log: log.dir.clone(), checkpoint: None, against: None, json: false };
        let head = verify_one(&asked, &log, &mut Report::new())?;
        chains.insert(head.chain_id.clone());
        out.row("log", format!("{}: {} entries, branch {}, verified", log.name, log.entries.len(), short(&head.branch)));
        logs.push(log);
    }
    let chain_id = match chains.iter().collect::<Vec<_>>()[..] {
        [one] => one.clone(),
        [] => return Err(Failure::input("no log here has an entry: nothing to audit")),
        _ => return Err(Failure::input(format!("the logs are of several chains: {}", chains.into_iter().collect::<Vec<_>>().join(", ")))),
    };
    if args.logs.is_empty() {
        complete(args, &logs, &mut wrong)?;
    }
    let rpc = match args.rpc.as_slice() {
        [] => crate::node::rpc(home(&args.at)?.config())?,
        urls => RpcSource::new(RpcConfig::new(chain_id.clone(), urls.to_vec())).map_err(Failure::input)?,
    };
    rpc.check_chain_id().map_err(Failure::input)?;
    let last = args.to.map_or_else(|| rpc.latest(), Ok).map_err(Failure::input)?;
    let earliest = rpc.earliest().map_err(Failure::input)?;
    let first = args.from.unwrap_or(earliest).max(1);
    let mut found = records(&rpc, first, last)?;
    out.both("blocks", "blocks", format!("{first} to {last}")).field("chain_id", chain_id);
    if first > 1 {
        out.row("", format!("records below block {first} are not looked at; name an archive node (--rpc) for all of them"));
    }
    let mut copies: Vec<Copy> = logs.iter().flat_map(copies_of).collect();
    let mut rows = compare(&mut found, &mut copies, first);
    rows.extend(unanswered(&found, args.strict));
    tell(&mut out, &rows, &mut wrong);
    let (records, copies) = (found.len(), rows.iter().filter(|r| r.json["copy"] == true).count());
    out.field("records", records).field("copies", copies).field("mismatches", wrong.clone());
    match wrong.as_slice() {
        [] => out.verdict(true, format!("{records} records on chain, {copies} copies in {} logs: they agree", logs.len())),
        [one] => out.verdict(false, one),
        [one, ..] => out.verdict(false, format!("{} mismatches, the first: {one}", wrong.len())),
    };
    Ok(out)
}

fn short(digest: &impl std::fmt::Display) -> String {
    digest.to_string().chars().take(16).collect()
}

/// The enclaves know how long their logs are: files that are shorter were cut off behind an older checkpoint.
fn complete(args: &AuditArgs, logs: &[Log], wrong: &mut Vec<String>) -> Result<(), Failure> {
    let status = Operator::open(home(&args.at)?)?.ask(&Op::Status)?;
    for seat in status["seats"].as_array().into_iter().flatten() {
        let folder: String = seat["measurement"].as_str().unwrap_or_default().chars().take(16).collect();
        let got = logs.iter().find(|l| l.dir.parent().is_some_and(|p| p.ends_with(&folder))).map_or(0, |l| l.entries.len() as u64);
        let wanted = seat["log_size"].as_u64().unwrap_or(0);
        if got < wanted {
            wrong.push(format!("the log of {} has {got} entries, its enclave says {wanted}: restore the folder from a copy", seat["build"].as_str().unwrap_or_default()));
        }
    }
    Ok(())
}

/// Every record in these blocks; the first of several with one digest.
fn records(rpc: &RpcSource, first: u64, last: u64) -> Result<BTreeMap<Digest32, Announced>, Failure> {
    let mut found: BTreeMap<Digest32, Announced> = BTreeMap::new();
    let read = rpc.transactions(first, last, |height, txs| {
        for record in txs.iter().filter_map(|tx| memo(tx)).filter_map(|memo| Record::parse(&memo).ok()) {
            // Blocks come the newest first: the oldest is what made it public.
            found.insert(record.digest(), Announced { height, record, answered: false });
        }
    });
    match read {
        Ok(()) => Ok(found),
        Err(e) if e.trouble == Trouble::Lying => Err(Failure::refused(format!("{e}; no verdict rests on that endpoint: name another one (--rpc)"))),
        Err(e) => Err(Failure::input(e)),
    }
}

/// A transaction's memo.
fn memo(tx: &[u8]) -> Option<String> {
    let body = TxBody::decode(TxRaw::decode(tx).ok()?.body_bytes.as_slice()).ok()?;
    (!body.memo.is_empty()).then_some(body.memo)
}

fn copies_of(log: &Log) -> Vec<Copy> {
    let mut out = Vec::new();
    for entry in &log.entries {
        let (kind, given) = match &entry.event {
            Event::Offer { transfer, .. } => (*transfer, true),
            Event::Received { transfer, .. } => (*transfer, false),
            _ => continue,
        };
        if kind == Kind::Rehearsal {
            continue;
        }
        let f = &entry.facts;
        let (target, platform, transcript, record) = (f.identity, f.platform, f.transcript, f.record);
        let place = format!("{}, entry {}", log.name, entry.seq);
        out.push(Copy { place, kind, head: f.height.unwrap_or(0), target, platform, transcript, record, given });
    }
    out
}

fn row(good: bool, copy: &Copy, height: Option<u64>, state: &str) -> Row {
    let target = copy.target.as_ref().map_or("-".into(), short);
    let at = height.map_or("-".into(), |h| h.to_string());
    let what = format!("block {at}  {}  target {target}  {}: {state}", copy.kind, copy.place);
    let json = json!({
        "copy": true, "good": good, "height": height, "kind": copy.kind.to_string(), "target": copy.target.map(|t| t.to_string()),
        "platform": copy.platform.map(|p| p.to_string()), "log": copy.place, "head": copy.head, "record": copy.record.map(|r| r.to_string()), "state": state,
    });
    Row { good, what, json }
}

/// Each copy finds its record.
fn compare(found: &mut BTreeMap<Digest32, Announced>, copies: &mut [Copy], first: u64) -> Vec<Row> {
    let mut rows = Vec::new();
    let (given, taken): (Vec<&Copy>, Vec<&Copy>) = copies.iter().partition(|c| c.given);
    for copy in given.iter().filter(|c| c.record.is_some()) {
        rows.push(named(found, copy, first));
    }
    for copy in given.iter().filter(|c| c.record.is_none()) {
        let of = |a: &Announced| a.record.kind == copy.kind && Some(a.record.target) == copy.target;
        rows.push(followed(found, copy, &of));
    }
    // A copy that was taken is answered by its giver's entry; where that log is elsewhere, by a record alone.
    for copy in taken {
        if given.iter().any(|g| g.transcript.is_some() && g.transcript == copy.transcript) {
            continue;
        }
        let of = |a: &Announced| a.record.kind == copy.kind && Some(a.record.platform) == copy.platform;
        rows.push(followed(found, copy, &of));
    }
    rows
}

/// A copy whose entry names its record.
fn named(found: &mut BTreeMap<Digest32, Announced>, copy: &Copy, first: u64) -> Row {
    let Some(digest) = copy.record else { return row(false, copy, None, "its entry names no record") };
    let Some(a) = found.get_mut(&digest) else {
        let state = format!("MISMATCH, its record {} is in no block from {first} on", short(&digest));
        return row(false, copy, None, &state);
    };
    a.answered = true;
    let height = Some(a.height);
    if Some(a.record.target) != copy.target || a.record.kind != copy.kind {
        return row(false, copy, height, &format!("MISMATCH, the record announces a {} to {}", a.record.kind, short(&a.record.target)));
    }
    match a.height <= copy.head {
        true => row(true, copy, height, "announced, then made"),
        false => row(false, copy, height, &format!("MISMATCH, made at head {}, below its record", copy.head)),
    }
}

/// A copy whose record came afterwards, or is known to the giver only.
fn followed(found: &mut BTreeMap<Digest32, Announced>, copy: &Copy, of: &dyn Fn(&Announced) -> bool) -> Row {
    let mut free: Vec<&mut Announced> = found.values_mut().filter(|a| !a.answered && of(a)).collect();
    free.sort_by_key(|a| a.height);
    let state = if copy.given { "made first (at X, or by a witnessed order), its record followed" } else { "announced; its giver's log is elsewhere" };
    match free.first_mut() {
        Some(a) => {
            a.answered = true;
            row(true, copy, Some(a.height), state)
        }
        None => row(false, copy, None, "MISMATCH, no record announces it, before or after"),
    }
}

/// Records that no copy answers: a transfer that was announced and not made, one of another machine, or a log that is missing.
fn unanswered(found: &BTreeMap<Digest32, Announced>, strict: bool) -> Vec<Row> {
    let mut all: Vec<(&Digest32, &Announced)> = found.iter().filter(|(_, a)| !a.answered).collect();
    all.sort_by_key(|(_, a)| a.height);
    all.into_iter()
        .map(|(digest, a)| {
            let r = &a.record;
            let state = if strict { "MISMATCH, no log answers it" } else { "no log here answers it: announced and not made, or of another machine" };
            let what = format!("block {}  {}  target {}  machine {}: {state}", a.height, r.kind, short(&r.target), short(&r.platform));
            let json = json!({
                "copy": false, "good": !strict, "height": a.height, "kind": r.kind.to_string(), "target": r.target.to_string(),
                "platform": r.platform.to_string(), "record": digest.to_string(), "state": state,
            });
            Row { good: !strict, what, json }
        })
        .collect()
}

fn tell(out: &mut Report, rows: &[Row], wrong: &mut Vec<String>) {
    for r in rows {
        out.row(if r.good { "" } else { "wrong" }, &r.what);
    }
    wrong.extend(rows.iter().filter(|r| !r.good).map(|r| r.what.clone()));
    out.field("table", rows.iter().map(|r| r.json.clone()).collect::<Vec<_>>());
}
