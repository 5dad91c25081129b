//! `baton log show` and `baton log verify`: the custody log of one enclave, or of every one below a folder.
//!
//! A log folder holds `entries.txt` (one line of base64 for each entry's CBOR), `checkpoint.txt` (C2SP signed note) and
//! `key.txt` (the branch's Ed25519 key). A line without its newline is torn, and is not there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use baton_attest::identity::{Digest32, hash};
use baton_core::log::{
    Event, LogEntry, LogHash, LogState, consistency_proof, leaf_hash, verify_consistency,
};
use baton_core::note::{Checkpoint, MAX_NOTE_LEN};
use baton_host::snapshot::ASIDE;
use serde_json::{Value, json};

use crate::cli::{LogArgs, LogShowArgs};
use crate::files;
use crate::output::{Failure, Report};

/// Most bytes of one log: some hundred thousand entries.
const MAX_LOG: usize = 64 * 1024 * 1024;
/// How deep below a folder logs are looked for.
const MAX_DEPTH: usize = 6;
/// Most logs below one folder.
const MAX_LOGS: usize = 10_000;

/// One log, its entries read and nothing verified.
pub(super) struct Log {
    pub(super) dir: PathBuf,
    pub(super) name: String,
    pub(super) entries: Vec<LogEntry>,
    leaves: Vec<LogHash>,
    torn: bool,
}

/// A checkpoint whose signature verified.
pub(super) struct Head {
    pub(super) branch: Digest32,
    pub(super) chain_id: String,
    checkpoint: Checkpoint,
}

/// Shows every entry.
pub fn show(args: &LogShowArgs) -> Result<Report, Failure> {
    let mut out = Report::new();
    let mut all = Vec::new();
    for log in find(&args.log)?.into_iter().map(Log::read) {
        let log = log?;
        out.row("log", &log.name);
        for entry in &log.entries {
            out.row(format!("  {}", entry.seq), describe(entry));
        }
        log.note_torn(&mut out);
        out.row(
            "  root",
            format!(
                "{} over {} entries",
                log.root(log.leaves.len()),
                log.leaves.len()
            ),
        );
        let entries: Vec<Value> = log
            .entries
            .iter()
            .zip(&log.leaves)
            .map(|(e, leaf)| entry_json(e, leaf))
            .collect();
        all.push(json!({ "log": log.name, "torn": log.torn, "root": log.root(log.leaves.len()).to_string(), "entries": entries }));
    }
    out.field("logs", all);
    out.text("shown as it is in the file; nothing is verified: `baton log verify` does that");
    Ok(out)
}

/// Replays and verifies every log.
pub fn verify(args: &LogArgs) -> Result<Report, Failure> {
    let places = find(&args.log)?;
    if places.len() > 1 && (args.checkpoint.is_some() || args.against.is_some()) {
        return Err(Failure::input(format!(
            "{}: {} logs below it",
            args.log.display(),
            places.len()
        ))
        .next("name one log folder with --checkpoint or --against"));
    }
    let mut out = Report::new();
    let mut known: BTreeMap<Digest32, Log> = BTreeMap::new();
    let mut all = Vec::new();
    for place in places {
        let log = Log::read(place)?;
        let head = verify_one(args, &log, &mut out)?;
        all.push(json!({
            "log": log.name, "branch": head.branch, "chain_id": head.chain_id, "torn": log.torn, "entries": log.leaves.len(),
            "size": head.checkpoint.size, "root": head.checkpoint.root.to_string(),
        }));
        if let Some(older) = &args.against {
            against(&log, &head, older, &mut out)?;
        }
        if let Some(twin) = known.insert(head.branch, log) {
            return Err(Failure::refused(format!(
                "branch {}: two logs of the same key, one in {}",
                head.branch, twin.name
            )));
        }
    }
    verify_branching(&known, &mut out)?;
    out.field("logs", all);
    out.row(
        "note",
        "each key is its folder's own: compare the branch with what other logs and nodes name",
    );
    let entries: usize = known.values().map(|l| l.leaves.len()).sum();
    out.verdict(
        true,
        format!(
            "{}, {}",
            count(known.len() as u64, "log"),
            count(entries as u64, "entry")
        ),
    );
    Ok(out)
}

/// Log folders at or below a place, in the order of their names; or the one whose entries are named.
pub(super) fn find(place: &Path) -> Result<Vec<PathBuf>, Failure> {
    let io = |e: std::io::Error| Failure::input(format!("log {}: {e}", place.display()));
    if !std::fs::metadata(place).map_err(io)?.is_dir() {
        return Ok(vec![place.to_path_buf()]);
    }
    let mut found = Vec::new();
    look(place, 0, &mut found).map_err(io)?;
    if found.is_empty() {
        return Err(Failure::input(format!(
            "log {}: no entries.txt in it or below it",
            place.display()
        ))
        .next("name a log folder, or the folder that `baton demo --keep` wrote"));
    }
    Ok(found)
}

fn look(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let entries = dir.join("entries.txt");
    if entries.is_file() {
        found.push(entries);
        return Ok(());
    }
    if depth == MAX_DEPTH || found.len() >= MAX_LOGS {
        return Ok(());
    }
    let mut below: Vec<PathBuf> = std::fs::read_dir(dir)?
        .filter_map(Result::ok)
        // A link may lead in a circle.
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
        // What a restore took the place of is the same log, older or newer; it counts where it is named itself.
        .filter(|e| !e.file_name().to_string_lossy().starts_with(ASIDE))
        .map(|e| e.path())
        .collect();
    below.sort();
    below.iter().try_for_each(|b| look(b, depth + 1, found))
}

impl Log {
    pub(super) fn read(path: PathBuf) -> Result<Log, Failure> {
        let dir = path.parent().map(Path::to_path_buf).unwrap_or_default();
        // A fresh enclave's log has no entries yet.
        let empty = std::fs::metadata(&path).is_ok_and(|m| m.is_file() && m.len() == 0)
            && dir.join("key.txt").is_file();
        let text = if empty {
            String::new()
        } else {
            files::read_text(&path, "log", MAX_LOG)?
        };
        let name = dir.display().to_string();
        let torn = !text.is_empty() && !text.ends_with('\n');
        let whole = text
            .rfind('\n')
            .map_or("", |end| text.get(..=end).unwrap_or_default());
        let mut log = Log {
            name: if name.is_empty() { ".".into() } else { name },
            dir,
            entries: Vec::new(),
            leaves: Vec::new(),
            torn,
        };
        for (index, line) in whole.lines().enumerate() {
            let bad = |reason: String| log.bad_entry(index, &path, reason);
            let bytes = STANDARD
                .decode(line)
                .map_err(|e| bad(format!("not base64: {e}")))?;
            let entry = LogEntry::parse(&bytes).map_err(|e| bad(e.to_string()))?;
            if entry.seq != index as u64 {
                return Err(bad(format!(
                    "sequence number: expected {index}, got {}",
                    entry.seq
                )));
            }
            log.leaves.push(leaf_hash(&bytes));
            log.entries.push(entry);
        }
        if log.entries.is_empty() && torn && !log.has_key() {
            return Err(Failure::input(format!(
                "log {}: no entry in it",
                path.display()
            )));
        }
        Ok(log)
    }

    fn has_key(&self) -> bool {
        self.dir.join("key.txt").is_file()
    }

    /// A file whose first line is no entry, with no key beside it, is no log; else somebody changed an entry.
    fn bad_entry(&self, index: usize, path: &Path, reason: String) -> Failure {
        let text = format!(
            "log {}: entry {index} (line {}): {reason}",
            path.display(),
            index.saturating_add(1)
        );
        if index == 0 && !self.has_key() {
            return Failure::input(text)
                .next("bring a log folder or its entries.txt: one base64 line for each entry");
        }
        Failure::refused(text)
            .next("the file was changed: compare it with an older copy, and restore it")
    }

    fn root(&self, size: usize) -> LogHash {
        LogState::from_leaves(self.leaves.get(..size).unwrap_or(&self.leaves)).root()
    }

    fn note_torn(&self, out: &mut Report) {
        if self.torn {
            out.row("  torn", "the last line has no end: a write was cut off. It does not count, and its enclave writes it again");
        }
    }
}

/// One log against the signed checkpoint in its folder, or the one that was named.
pub(super) fn verify_one(args: &LogArgs, log: &Log, out: &mut Report) -> Result<Head, Failure> {
    out.row("log", &log.name);
    let key = read_key(&log.dir.join("key.txt"))?;
    let note = args
        .checkpoint
        .clone()
        .unwrap_or_else(|| log.dir.join("checkpoint.txt"));
    let head = read_head(&note, &key)?;
    let size = covered(log, &head, &note)?;
    out.row("  branch", format!("{} of {}", head.branch, head.chain_id));
    out.row(
        "  begins with",
        log.entries.first().map_or("nothing yet".into(), describe),
    );
    out.row(
        "  replayed",
        format!(
            "{} from the first on; root {}",
            count(size as u64, "entry"),
            head.checkpoint.root
        ),
    );
    out.row(
        "  signed by",
        format!("{}, the branch's key", hex::encode(key)),
    );
    let beyond = log.leaves.len().saturating_sub(size);
    if beyond > 0 {
        out.row(
            "  not signed",
            format!("{} after the checkpoint", count(beyond as u64, "entry")),
        );
    }
    log.note_torn(out);
    Ok(head)
}

fn read_key(path: &Path) -> Result<[u8; 32], Failure> {
    let bytes = files::read(path, "log key", 1024)?;
    let key = files::from_hex(&bytes).and_then(|k| k.try_into().ok());
    key.ok_or_else(|| {
        Failure::input(format!(
            "log key {}: expected 64 hexadecimal characters, got something else",
            path.display()
        ))
    })
}

/// Verifies a note. Its origin must name the branch of the key, so a key of another branch signs nothing here.
fn read_head(path: &Path, key: &[u8; 32]) -> Result<Head, Failure> {
    let note = files::read_text(path, "checkpoint", MAX_NOTE_LEN)?;
    let place = path.display();
    let branch = hash("baton log branch v1", &[key]);
    let origin = note.lines().next().unwrap_or_default();
    let parts = origin
        .strip_prefix("baton/")
        .and_then(|rest| rest.rsplit_once('/'));
    let Some((chain_id, named)) = parts else {
        return Err(Failure::input(format!(
            "checkpoint {place}: no checkpoint of a custody log"
        )));
    };
    if named != branch.to_string() {
        return Err(Failure::refused(format!(
            "checkpoint {place}: branch: expected {branch}, got {named}"
        ))
        .next("key and checkpoint are of two logs: bring those of one"));
    }
    let checkpoint = Checkpoint::verify(&note, origin, key)
        .map_err(|e| Failure::refused(e).at(format!("checkpoint {place}")))?;
    Ok(Head {
        branch,
        chain_id: chain_id.into(),
        checkpoint,
    })
}

/// How many entries the checkpoint covers; they must be there, and lead to its root.
fn covered(log: &Log, head: &Head, note: &Path) -> Result<usize, Failure> {
    let have = log.leaves.len();
    let size = usize::try_from(head.checkpoint.size).unwrap_or(usize::MAX);
    if size > have {
        let torn = if log.torn { ", and a torn line" } else { "" };
        return Err(Failure::refused(format!(
            "log {}: entry {have} is missing: expected {size} entries as {} says, got {have}{torn}",
            log.name,
            note.display()
        ))
        .next(
            "lines were removed or cut off: restore the file, or let its enclave write them again",
        ));
    }
    let got = log.root(size);
    if got != head.checkpoint.root {
        let last = size.saturating_sub(1);
        return Err(Failure::refused(format!(
            "log {}: an entry of 0 to {last} was changed: root: expected {}, got {got}",
            log.name, head.checkpoint.root
        ))
        .next("name an older copy with --against: the first entry that differs is then named"));
    }
    Ok(size)
}

/// An older copy must be a prefix: by its entries, or by its signed head.
fn against(log: &Log, head: &Head, older: &Path, out: &mut Report) -> Result<(), Failure> {
    let is_entries = older.is_dir() || older.file_name().is_some_and(|n| n == "entries.txt");
    let size = if is_entries {
        let old = find(older)?.pop().map(Log::read).transpose()?;
        let old = old.ok_or_else(|| Failure::input(format!("log {}: none", older.display())))?;
        let same = old
            .leaves
            .iter()
            .zip(&log.leaves)
            .take_while(|(a, b)| a == b)
            .count();
        if same < old.leaves.len() {
            return Err(differs(log, &old, same));
        }
        old.leaves.len()
    } else {
        let key = read_key(&log.dir.join("key.txt"))?;
        let old = read_head(older, &key)?;
        let size = usize::try_from(old.checkpoint.size).unwrap_or(usize::MAX);
        let now = (log.leaves.len() as u64, &log.root(log.leaves.len()));
        consistency_proof(&log.leaves, size)
            .and_then(|proof| {
                verify_consistency((old.checkpoint.size, &old.checkpoint.root), now, &proof)
            })
            .map_err(|e| {
                Failure::refused(format!(
                    "log {}: the older checkpoint is not of this log: {e}",
                    log.name
                ))
            })?;
        size
    };
    let signed = head.checkpoint.size;
    out.row(
        "  against",
        format!(
            "the first {size} entries are those of {} (signed now: {signed})",
            older.display()
        ),
    );
    Ok(())
}

fn differs(log: &Log, old: &Log, at: usize) -> Failure {
    let say = |log: &Log| log.entries.get(at).map_or("nothing".into(), describe);
    Failure::refused(format!(
        "log {}: entry {at} is another one than in {}: expected {}, got {}",
        log.name,
        old.name,
        say(old),
        say(log)
    ))
    .next("an append-only log never changes: one of the two copies was tampered with")
}

/// Where the parent's log is there too, it must hold what the branch says that it began from.
fn verify_branching(known: &BTreeMap<Digest32, Log>, out: &mut Report) -> Result<(), Failure> {
    for (branch, log) in known {
        for entry in &log.entries {
            let Event::BranchStart {
                parent,
                size,
                root,
                transfer,
            } = &entry.event
            else {
                continue;
            };
            let Some(from) = known.get(parent) else {
                if known.len() > 1 {
                    out.row(
                        "branch",
                        format!(
                            "{branch} begins at entry {size} of {parent}, whose log is not here"
                        ),
                    );
                }
                continue;
            };
            let at = usize::try_from(*size).unwrap_or(usize::MAX);
            if at > from.leaves.len() || from.root(at) != *root {
                return Err(Failure::refused(format!(
                    "log {}: entry {}: the parent {} at size {size}: expected root {root}, got {}",
                    log.name,
                    entry.seq,
                    from.name,
                    from.root(at),
                )));
            }
            out.row(
                "branch",
                format!(
                    "{} begins at entry {size} of {} ({transfer})",
                    log.name, from.name
                ),
            );
        }
    }
    Ok(())
}

fn describe(entry: &LogEntry) -> String {
    let f = &entry.facts;
    let mut parts = vec![describe_event(&entry.event)];
    f.height
        .iter()
        .for_each(|h| parts.push(format!("head {h}")));
    f.epoch
        .iter()
        .for_each(|e| parts.push(format!("epoch {e}")));
    f.identity
        .iter()
        .for_each(|i| parts.push(format!("identity {}", short(i))));
    f.platform
        .iter()
        .for_each(|p| parts.push(format!("platform {}", short(p))));
    f.record
        .iter()
        .for_each(|r| parts.push(format!("record {}", short(r))));
    f.evidence
        .iter()
        .for_each(|e| parts.push(format!("evidence {}", short(e))));
    f.transcript
        .iter()
        .for_each(|t| parts.push(format!("transcript {}", short(t))));
    parts.join(", ")
}

/// The first 16 characters: people compare them by eye; JSON has all.
fn short(digest: &impl std::fmt::Display) -> String {
    digest.to_string().chars().take(16).collect()
}

/// A number and its noun.
fn count(n: u64, noun: &str) -> String {
    match (n, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) => format!("{n} {stem}ies"),
        (_, None) => format!("{n} {noun}s"),
    }
}

fn plan(name: &Option<String>, height: &Option<u64>) -> String {
    match (name, height) {
        (Some(name), Some(height)) => format!(" for plan {name:?} at {height}"),
        (Some(name), None) => format!(" for plan {name:?}"),
        (None, _) => String::new(),
    }
}

fn describe_event(event: &Event) -> String {
    match event {
        Event::Genesis { commitment } => format!("Genesis, commitment {}", short(commitment)),
        Event::LegacyImport {
            commitment,
            exposed,
        } => {
            format!(
                "LegacyImport, commitment {}{}",
                short(commitment),
                if *exposed { ", exposed" } else { "" }
            )
        }
        Event::BranchStart {
            parent,
            size,
            root,
            transfer,
        } => {
            format!(
                "BranchStart by {transfer} from {} at entry {size}, root {}",
                short(parent),
                short(root)
            )
        }
        Event::Authorization {
            transfer,
            route,
            plan: name,
            plan_height,
            proposal_id,
            admitted,
        } => {
            let proposal = proposal_id.map_or(String::new(), |id| format!(", proposal {id}"));
            let admitted = admitted.as_ref().map_or(String::new(), |by| format!(", its machine admitted by {by}"));
            format!(
                "Authorization of {transfer} by route {route:?}{}{proposal}{admitted}",
                plan(name, plan_height)
            )
        }
        Event::Offer { transfer, epochs } => {
            format!("Offer for {transfer}, {}", count(*epochs, "epoch"))
        }
        Event::Received { transfer, epochs } => {
            format!("Received by {transfer}, {}", count(*epochs, "epoch"))
        }
        Event::Receipt { transfer } => format!("Receipt given for {transfer}"),
        Event::Confirmed { transfer } => format!("Confirmed {transfer}"),
        Event::Activated {
            plan: name,
            plan_height,
        } => format!("Activated{}", plan(name, plan_height)),
        Event::BarrierMet {
            platforms,
            power_share,
        } => {
            let share = power_share
                .as_ref()
                .map_or(String::new(), |s| format!(", power {s}"));
            format!("BarrierMet with {}{share}", count(*platforms, "platform"))
        }
        Event::Erased { layer } => format!("Erased, layer L{layer}"),
        Event::Superseded { plan, by } => format!("Superseded plan {plan:?} by {by:?}"),
        Event::Revoked { plan } => format!("Revoked plan {plan:?}"),
        Event::Skipped { plan } => format!("Skipped plan {plan:?}"),
        Event::ShadowCompared { clean, count } => {
            format!(
                "ShadowCompared, {}, {count} clean in a row",
                if *clean { "equal" } else { "DIFFERENT" }
            )
        }
        Event::Rehearsal { as_source, passed } => {
            format!(
                "Rehearsal as {}, {}",
                if *as_source { "source" } else { "target" },
                if *passed { "passed" } else { "failed" }
            )
        }
        Event::EmergencyOrder {
            order_kind,
            sequence,
            by,
            reason,
            public_block,
            public_first_secs,
            public_second_secs,
        } => {
            let since = match (public_block, public_first_secs, public_second_secs) {
                (Some(height), _, _) => format!("public since block {height}"),
                (_, Some(a), Some(b)) => format!("dated by witnesses {a} and {b} (unix seconds)"),
                _ => "public".into(),
            };
            format!("EMERGENCY ORDER {sequence} ({order_kind}) by {by}, {since}: {reason}")
        }
        Event::Rewound {
            from_height,
            to_height,
            to_hash,
        } => format!(
            "REWOUND by an order from {from_height} to {to_height}, {}",
            short(to_hash)
        ),
        Event::Escrowed { council_key, lifeboat_key } => {
            format!("Escrowed for the council {} and the lifeboat {}", short(council_key), short(lifeboat_key))
        }
        Event::Unknown { kind, body } => format!("of a newer kind {kind}, {} bytes", body.len()),
    }
}

fn entry_json(entry: &LogEntry, leaf: &LogHash) -> Value {
    let f = &entry.facts;
    json!({
        "seq": entry.seq,
        "kind": entry.event.kind(),
        "name": entry.event.name(),
        "text": describe_event(&entry.event),
        "leaf": leaf.to_string(),
        "height": f.height,
        "epoch": f.epoch,
        "identity": f.identity,
        "evidence": f.evidence,
        "record": f.record,
        "platform": f.platform,
        "transcript": f.transcript,
    })
}
