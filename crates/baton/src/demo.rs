//! `baton demo`: a governed upgrade from the vote to the erased old copy, step by step.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use baton_core::custody::State;
use baton_core::log::{Event, LogEntry};
use baton_host::chain::ChainSource;
use serde::Serialize;

use crate::world::build::{GRACE_BLOCKS, LEAD_BLOCKS};
use crate::world::ops::{PLAN_NAME, refusal};
use crate::world::{Named, Platform, World};

/// How to run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Keep the run in this folder.
    pub keep: Option<PathBuf>,
    /// Take the run in this folder up again.
    pub resume: Option<PathBuf>,
    /// How many nodes at first.
    pub nodes: usize,
    /// Where enclaves run; a run that is taken up again stays where it was.
    pub platform: Platform,
    /// What the chain's and the PKI's keys are made from.
    pub seed: u64,
    /// Machine-readable output, one object a line.
    pub json: bool,
}

/// One line of the story.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// The step.
    pub step: String,
    /// The chain's height after it.
    pub height: u64,
    /// How long it took, in milliseconds.
    pub ms: f64,
    /// What happened.
    pub text: String,
}

/// Fewer could never meet the barrier of the demo's policy; one alone has a policy of its own.
const MIN_NODES: usize = 3;
/// More would only take longer.
const MAX_NODES: usize = 50;

struct Story {
    world: World,
    json: bool,
    aloud: bool,
    lines: Vec<Line>,
    started: Instant,
}

type Step = fn(&mut Story) -> Result<String>;

/// The secret that the vault keeps through the upgrade.
const SECRET: &[u8] = b"the treasure is under the third oak";
const ENTRY: &str = "treasure map";

const STEPS: &[(&str, Step)] = &[
    ("genesis", genesis),
    ("join", joins),
    ("vault", vault),
    ("build", build_v2),
    ("rehearsal", rehearsal),
    ("vote", vote),
    ("offers", offers),
    ("halt", halt),
    ("activation", activation),
    ("read", read_vault),
    ("late node", late_node),
    ("resume", resume_chain),
    ("newcomer", newcomer),
    ("barrier", barrier),
    ("log", verify_logs),
];

/// Steps that need a second machine.
const OF_SEVERAL: &[&str] = &["join", "late node", "newcomer"];

/// Runs the demo, and prints it.
pub fn run(options: &Options) -> Result<()> {
    whole(options, true)?.table()
}

/// Runs the demo, and gives the lines that it would print.
pub fn tell(options: &Options) -> Result<Vec<Line>> {
    Ok(whole(options, false)?.lines)
}

fn whole(options: &Options, aloud: bool) -> Result<Story> {
    if options.nodes != 1 && !(MIN_NODES..=MAX_NODES).contains(&options.nodes) {
        bail!(
            "a demo of {0} nodes\nexpected: {MIN_NODES} to {MAX_NODES}, or 1 for what one machine can show\ngot: {0}\nnext: try --nodes 4 (the barrier of the demo wants {MIN_NODES} machines)",
            options.nodes
        );
    }
    if matches!(options.platform, Platform::Sgx(_)) && options.nodes != 1 {
        bail!("a demo of {0} nodes on this machine's SGX, which is one machine\nexpected: 1\ngot: {0}\nnext: --nodes 1, or --platform softsgx, which plays several", options.nodes);
    }
    let create = |dir: &Path| match options.nodes {
        1 => World::create_alone(dir, options.seed, options.platform.clone()),
        nodes => World::create_on(dir, options.seed, nodes, options.platform.clone()),
    };
    let world = match (&options.resume, &options.keep) {
        (Some(dir), None) => World::open(dir, options.seed, options.nodes, options.platform.clone())?,
        (None, Some(dir)) => create(dir)?,
        (None, None) => {
            let scratch = tempfile::Builder::new().prefix("baton-demo-").tempdir()?.keep();
            create(&scratch)?
        }
        (Some(_), Some(_)) => bail!("--keep and --resume name two runs\nexpected: one of them\nnext: --resume takes up what --keep began"),
    };
    let mut story = Story { world, json: options.json, aloud, lines: Vec::new(), started: Instant::now() };
    let alone = story.world.alone();
    for (name, step) in STEPS.iter().filter(|(name, _)| !(alone && OF_SEVERAL.contains(name))) {
        if story.world.progress.done.iter().any(|d| d == name) {
            continue;
        }
        let began = Instant::now();
        let text = step(&mut story).with_context(|| format!("step {name:?} did not complete; run `baton demo --resume {}`", story.world.dir().display()))?;
        story.world.progress.done.push((*name).into());
        story.world.save_progress()?;
        story.say(name, began.elapsed().as_secs_f64() * 1e3, text)?;
    }
    Ok(story)
}

impl Story {
    fn say(&mut self, step: &str, ms: f64, text: String) -> Result<()> {
        let line = Line { step: step.into(), height: self.world.chain.height(), ms, text };
        if self.aloud {
            self.print(&line)?;
        }
        self.lines.push(line);
        Ok(())
    }

    fn print(&self, line: &Line) -> Result<()> {
        if self.json {
            println!("{}", serde_json::to_string(line)?);
            return Ok(());
        }
        for (i, t) in line.text.lines().enumerate() {
            let head = if i == 0 { format!("{:<11} h{:<4} {:>7.1} ms", line.step, line.height, line.ms) } else { " ".repeat(27) };
            println!("{head}  {t}");
        }
        Ok(())
    }

    fn all(&self) -> std::ops::Range<usize> {
        0..self.world.progress.nodes
    }

    /// The nodes that hand over before X; the last one of several is late.
    fn punctual(&self) -> std::ops::Range<usize> {
        0..self.world.progress.nodes - usize::from(!self.world.alone())
    }

    fn proposal(&self) -> Result<u64> {
        self.world.progress.proposal.context("no proposal yet")
    }

    /// The height of the plan, from the chain's own proposal.
    fn plan_height(&self) -> Result<u64> {
        Ok(self.world.progress.plan_height.context("no plan yet")?)
    }

    fn timed<T>(&mut self, node: usize, what: &str, f: impl FnOnce(&mut World) -> Result<T>) -> Result<T> {
        let began = Instant::now();
        let out = f(&mut self.world)?;
        let name = self.world.nodes[node].name.clone();
        self.world.milestone(&name, what, began.elapsed().as_secs_f64() * 1e3);
        Ok(out)
    }

    fn table(&self) -> Result<()> {
        let p = &self.world.progress;
        if self.json {
            println!("{}", serde_json::json!({"milestones": p.milestones, "folder": self.world.dir(), "seconds": self.started.elapsed().as_secs_f64()}));
            return Ok(());
        }
        const WHAT: [&str; 4] = ["handover", "activation", "joined", "erase"];
        println!("\n{:<8}{}", "node", WHAT.map(|w| format!("{:>26}", format!("{w} (ms @ height)"))).concat());
        for node in &self.world.nodes {
            let cell = |what: &str| {
                let m = p.milestones.iter().find(|m| m.node == node.name && m.what == what);
                format!("{:>26}", m.map_or("-".into(), |m| format!("{:.1} @ {}", m.ms, m.height)))
            };
            println!("{:<8}{}", node.name, WHAT.map(cell).concat());
        }
        println!("\nrun took {:.1} s; everything is in {}", self.started.elapsed().as_secs_f64(), self.world.dir().display());
        println!("look at it: baton log verify {0}/nodes/node0/v2/log ; baton evidence show {0}/evidence/ahead.cbor ; baton policy check {0}/builds/v2.policy.toml", self.world.dir().display());
        Ok(())
    }
}

fn genesis(s: &mut Story) -> Result<String> {
    s.world.produce_until(3)?;
    s.world.genesis(0)?;
    let checkpoint = s.world.build(Named::V1)?.policy.chain.checkpoint.height;
    let block = ChainSource::light_block(&s.world.chain, checkpoint)?;
    s.world.keep_evidence("checkpoint", &baton_attest::identity::encode(&block))?;
    let st = s.world.status(0, Named::V1)?;
    s.world.seat(0, Named::V1)?.store_log()?;
    Ok(format!(
        "node0 made the seed of epoch 0 in build v1 {}\npublic commitment {}",
        st.identity.measurement,
        st.commitments.first().context("no commitment")?
    ))
}

fn joins(s: &mut Story) -> Result<String> {
    let mut names = Vec::new();
    for i in s.all().skip(1) {
        s.timed(i, "joined", |w| w.join(0, i, Named::V1))?;
        names.push(s.world.nodes[i].name.clone());
    }
    Ok(format!("{} joined from node0: quotes both ways, a public record each, and a validator's word for each machine", names.join(", ")))
}

fn vault(s: &mut Story) -> Result<String> {
    s.world.seat(0, Named::V1)?;
    s.world.nodes[0].vault_put("v1", ENTRY, SECRET)?;
    let records = s.world.nodes[0].vault_records()?;
    for node in &s.world.nodes[1..] {
        for (index, record) in &records {
            node.vault_store(index, record)?;
        }
    }
    Ok(format!("{ENTRY:?} written through node0's enclave and replicated; {} encrypted record(s)", records.len()))
}

fn build_v2(s: &mut Story) -> Result<String> {
    // V2's checkpoint is a block that exists.
    s.world.produce_until(6)?;
    let b = s.world.build(Named::V2)?;
    Ok(format!("v2 {} with epoch 0's commitment in its measured policy", b.measurement))
}

fn rehearsal(s: &mut Story) -> Result<String> {
    for i in s.all() {
        s.world.rehearse(i, Named::V1, Named::V2)?;
    }
    Ok(format!("{} nodes handed a canary v1 -> v2 -> v2 on their own machines; v2 can hand on", s.world.progress.nodes))
}

fn vote(s: &mut Story) -> Result<String> {
    let v2 = s.world.build(Named::V2)?;
    let info = format!(r#"{{"binaries":{{}},"enclave":{{"mrenclave":"{}","svn":2}}}}"#, v2.measurement);
    // Found again after a crash: the same plan is never proposed twice.
    let known = (1..=s.world.chain.last_proposal()).find(|id| s.world.chain.proposal(*id).is_some_and(|p| p.title.contains(PLAN_NAME)));
    let id = match known {
        Some(id) => {
            s.world.chain.carry(id, baton_devnet::YES)?;
            s.world.save_chain()?;
            id
        }
        None => {
            let height = s.world.chain.height() + 40 + LEAD_BLOCKS;
            s.world.vote(PLAN_NAME, height, &info)?
        }
    };
    let plan = s.world.chain.plan().context("no plan is scheduled: the proposal did not pass")?;
    s.world.progress.proposal = Some(id);
    s.world.progress.plan_height = Some(u64::try_from(plan.height)?);
    Ok(format!("proposal {id} PASSED; plan {:?} at height {} names v2", plan.name, plan.height))
}

fn offers(s: &mut Story) -> Result<String> {
    let (proposal, plan) = (s.proposal()?, s.plan_height()?);
    s.world.produce_until(plan - LEAD_BLOCKS)?;
    for i in s.punctual() {
        s.timed(i, "handover", |w| w.upgrade_ahead(i, Named::V1, Named::V2, proposal))?;
    }
    let st = s.world.status(0, Named::V1)?;
    Ok(format!(
        "{} old enclaves verified vote, plan, record and build, and offered; each v2 was restarted and proved that it holds the keyring\nnode0's v1 is {} and still serves: {}",
        s.punctual().len(), st.state, st.serving
    ))
}

fn halt(s: &mut Story) -> Result<String> {
    let plan = s.plan_height()?;
    s.world.produce_until(plan)?;
    let halted = s.world.chain.halted().context("the chain did not halt")?.clone();
    let blocks = s.world.keep_bundle(0, Named::V1, Named::V2, s.proposal()?, plan)?;
    Ok(format!(
        "the chain halts at X = {}, for plan {:?}; node0 keeps the bundle of X: {blocks} light blocks, plan and proposal under each header near X",
        halted.height, halted.name
    ))
}

fn activation(s: &mut Story) -> Result<String> {
    let (proposal, x) = (s.proposal()?, s.plan_height()?);
    for i in s.punctual() {
        s.timed(i, "activation", |w| w.activate(i, Named::V2, proposal, x))?;
    }
    Ok(format!("header {x} proves the plan; {} v2 enclaves serve", s.punctual().len()))
}

fn read_vault(s: &mut Story) -> Result<String> {
    for i in s.punctual() {
        s.world.seat(i, Named::V2)?;
        let got = s.world.nodes[i].vault_get("v2", ENTRY)?;
        if got != SECRET {
            bail!("node{i} reads another value");
        }
    }
    Ok(format!("{ENTRY:?} read by v2: {:?}{}", String::from_utf8_lossy(SECRET), other_code(s)?))
}

/// What v2's program does that v1's does not: one request that each of them gets, and what became of the record.
fn other_code(s: &mut Story) -> Result<String> {
    const NOTE: &str = "captain's log";
    if matches!(s.world.platform(), Platform::Sim) {
        return Ok(String::new());
    }
    s.world.seat(0, Named::V1)?;
    let node = &mut s.world.nodes[0];
    let (by_v1, by_v2) = (node.vault_put_padded("v1", NOTE, SECRET), node.vault_put_padded("v2", NOTE, SECRET));
    // Two programs of one kind: nothing to tell.
    let (Err(by_v1), Ok(index)) = (by_v1, by_v2) else { return Ok(String::new()) };
    let records = node.vault_records()?;
    let of_v1 = node.vault_get("v1", NOTE);
    let (_, record) = records.iter().find(|(i, _)| *i == index).context("the record is stored")?;
    let reader = usize::from(!s.world.alone());
    s.world.nodes[reader].vault_store(&index, record)?;
    if s.world.nodes[reader].vault_get("v2", NOTE)? != SECRET {
        bail!("node{reader}'s v2 reads another value");
    }
    let why = |e| Ok::<_, anyhow::Error>(refusal::<()>(Err(e))?.message.split(';').next().unwrap_or_default().to_owned());
    Ok(format!(
        "\nv2 is other code: asked to store {NOTE:?} with its length hidden, it does ({} bytes), and node{reader}'s v2 reads it\nnode0's v1 on the same request: {}\nnode0's v1 on the record: {}",
        record.len(),
        why(by_v1)?,
        why(of_v1.err().context("v1 reads a record of v2's layout")?)?
    ))
}

fn late_node(s: &mut Story) -> Result<String> {
    let (proposal, x) = (s.proposal()?, s.plan_height()?);
    let i = s.world.progress.nodes - 1;
    s.timed(i, "handover", |w| w.upgrade_at_x(i, Named::V1, Named::V2, proposal, x))?;
    s.timed(i, "activation", |w| w.activate(i, Named::V2, proposal, x))?;
    s.world.nodes[i].vault_get("v2", ENTRY)?;
    Ok(format!("node{i} prepared nothing; it hands over at X on its own machine, with header {x} alone"))
}

fn resume_chain(s: &mut Story) -> Result<String> {
    let x = s.plan_height()?;
    if s.world.chain.halted().is_some() {
        s.world.chain.resume_with_handler(PLAN_NAME)?;
        s.world.save_chain()?;
    }
    s.world.produce_until(x + 1)?;
    s.world.produce_until(x + GRACE_BLOCKS + 2)?;
    for i in s.all() {
        s.world.observe(i, Named::V2, PLAN_NAME, x)?;
    }
    Ok(format!("the new binary runs the plan; every v2 has seen the done key at height {}", s.world.chain.height()))
}

fn newcomer(s: &mut Story) -> Result<String> {
    let (proposal, x) = (s.proposal()?, s.plan_height()?);
    let i = s.world.progress.nodes;
    s.timed(i, "joined", |w| w.join(0, i, Named::V2))?;
    s.timed(i, "activation", |w| w.activate(i, Named::V2, proposal, x))?;
    s.world.nodes[i].vault_get("v2", ENTRY)?;
    Ok(format!("node{i} is a new machine: it joined v2 by quote and record, verified X, and reads the vault"))
}

fn barrier(s: &mut Story) -> Result<String> {
    let machines: Vec<usize> = s.all().collect();
    for i in s.all() {
        let receipts = match s.world.receipts(i, Named::V1, Named::V2, &machines) {
            // Without a quote nothing is lost: the old copy stays.
            Err(e) if matches!(s.world.platform(), Platform::Sgx(_)) => {
                return Ok(format!("NOT SHOWN: no receipt with a quote of this machine, so v1 keeps its copy: {}", format!("{e:#}").replace('\n', "; ")));
            }
            other => other?,
        };
        s.timed(i, "erase", |w| w.erase(i, Named::V1, receipts))?;
    }
    let (chain_id, seat) = (s.world.chain.config().chain_id.clone(), s.world.seat(0, Named::V1)?);
    let entries = baton_host::trail::verify(&seat.trail().read()?, &chain_id)?.entries;
    let share = |e: &LogEntry| match &e.event {
        Event::BarrierMet { power_share, .. } => power_share.clone(),
        _ => None,
    };
    let power = entries.iter().rev().find_map(share);
    let vouched = match (power, s.world.alone()) {
        (Some(power), _) => format!(", vouched for by validators with {power} of the voting power"),
        (None, true) => String::new(),
        (None, false) => bail!("no share of power in the log"),
    };
    let st = s.world.status(0, Named::V1)?;
    if st.state != State::Retired || !st.epochs.is_empty() {
        bail!("node0's v1 still holds {:?}", st.epochs);
    }
    Ok(format!(
        "own successor and {} distinct machines hold the keyring{vouched}, {GRACE_BLOCKS} blocks after X, each rehearsed onward\n{} old copies erased (L0: a tombstone; a host that kept an old file can still replay it, see docs/threat-model.md)",
        machines.len(),
        machines.len()
    ))
}

fn verify_logs(s: &mut Story) -> Result<String> {
    let mut entries = 0;
    let mut branches = 0;
    let chain_id = s.world.chain.config().chain_id.clone();
    for i in 0..s.world.nodes.len() {
        for which in [Named::V1, Named::V2] {
            if i == s.world.progress.nodes && which == Named::V1 {
                continue;
            }
            let seat = s.world.seat(i, which)?;
            seat.store_log()?;
            let files = seat.trail().read()?;
            entries += baton_host::trail::verify(&files, &chain_id)?.entries.len();
            branches += 1;
        }
    }
    let _ = s.world.chain.latest()?;
    Ok(format!("{branches} branches, {entries} entries replayed from genesis; every head and signature verifies"))
}
