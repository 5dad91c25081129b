//! The node daemon: it owns this machine's enclaves and does, step by step, whatever can be done now.
//!
//! Nothing of a procedure is kept in memory that could not be lost: [`Node::tick`] looks at the sealed files, the
//! database and the chain, and does the steps that are due; each may be done again. So a kill at any instant is
//! followed by the same command again, and a daemon, `baton upgrade` and cosmovisor's hook are the same code.

pub mod collateral;
pub mod config;
pub mod db;
pub mod follow;
pub mod gate;
pub mod http;
pub mod join;
pub mod machine;
pub mod metrics;
pub mod ops;
pub mod orders;
pub mod peers;
mod power;
pub mod run;
pub mod shared;
pub mod sources;
pub mod dates;
pub mod status;
mod steps;
mod upgrade;
pub mod watch_peers;
pub mod vote;
pub mod waiting;
pub mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use baton_attest::identity::Measurement;
use baton_core::custody::State;
use baton_enclave::wire::{Request, Status};
use baton_host::chain::ChainSource;
use baton_host::http::Roots;
use baton_host::relay::Asked;
use baton_host::rpc::{CommandSigner, Fee, Keyfile, RpcConfig, RpcSource};
use baton_host::seat::{Seat, SeatError};

use config::{Config, Home, HomeLock};
use db::{Db, KnownPlan};
use follow::Follower;
use machine::{BuildFile, Here};
use peers::Peer;
use shared::Shared;
use sources::Sources;
use crate::times::unix_now;

/// Longest wait between two tries of a step that failed.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// Steps that the status shows.
const MAX_RECENT: usize = 20;

/// Something that a tick has done, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The step.
    pub step: &'static str,
    /// What happened.
    pub text: String,
}

/// One build on this machine.
pub struct Place {
    /// The build.
    pub build: BuildFile,
    /// Its seat.
    pub seat: Seat,
    /// What it said last.
    pub status: Option<Status>,
    /// Entries of its log that are stored.
    logged: u64,
    /// The chain has run its plan, went back, and passed over it: then another build is the one in use.
    passed_over: bool,
}

/// A handover ahead of the plan that waits for its record to be in a block. It lives in memory as the enclaves'
/// nonces do: after a kill there is a new one.
struct Waiting {
    target: Measurement,
    asked: Asked,
    hash: [u8; 32],
    sent: Instant,
}

struct Failing {
    text: String,
    pause: Duration,
    next: Instant,
}

/// A node: the enclaves of one machine, and everything that they need from outside.
pub struct Node {
    home: Home,
    here: Here,
    places: Vec<Place>,
    sources: Sources,
    shared: Arc<Shared>,
    waiting: Option<Waiting>,
    orders: BTreeMap<String, orders::Carried>,
    /// What the chain's node wrote at its halt, where a hook has read it.
    halted: Option<KnownPlan>,
    searched: Option<Instant>,
    dates: dates::Dates,
    power: power::Power,
    keeper: collateral::Keeper,
    roots: Roots,
    /// The height of the last look at whether plans that ran still stand.
    stood_at: u64,
    failing: BTreeMap<String, Failing>,
    bad_builds: Vec<String>,
    warnings: Vec<String>,
    /// The newest steps that were done, with their times (unix seconds).
    recent: std::collections::VecDeque<(u64, Done)>,
    started: Instant,
    _lock: HomeLock,
}

/// Whose certificates https servers may have.
pub fn roots(config: &Config) -> Result<Roots> {
    Ok(config.tls_roots.as_deref().map(Roots::with_file).transpose()?.unwrap_or_default())
}

/// Opens the way to the chain that a configuration names.
pub fn rpc(config: &Config) -> Result<RpcSource> {
    let c = &config.chain;
    let source = RpcSource::new(RpcConfig {
        roots: roots(config)?,
        timeout: Duration::from_millis(c.timeout_ms),
        retries: c.retries,
        ..RpcConfig::new(c.id.clone(), c.rpc.clone())
    })?;
    let Some(signer) = &config.signer else { return Ok(source) };
    if let Some(argv) = &signer.command {
        return Ok(source.with_sender(CommandSigner::new(argv.clone(), Duration::from_secs(signer.timeout_secs))?));
    }
    let file = signer.keyfile.as_ref().context("signer: expected command or keyfile")?;
    let fee = Fee { denom: signer.denom.clone(), amount: signer.fee, gas: signer.gas };
    Ok(source.with_sender(Keyfile::read(file, &signer.prefix, fee)?))
}

/// How long peers are waited for.
pub const PEER_LIMIT: Duration = Duration::from_secs(20);

impl Node {
    /// Takes a home: its lock, its database, its builds. The chain may be dead.
    pub fn open(home: Home) -> Result<Self> {
        let lock = home.lock()?;
        Self::with_lock(home, lock)
    }

    /// The same, with a lock that was taken before.
    pub fn with_lock(home: Home, lock: HomeLock) -> Result<Self> {
        home.make_folders(&lock)?;
        let config = home.config().clone();
        let rpc = rpc(&config)?;
        // An endpoint of another chain is a mistake that time does not mend.
        if let Err(e) = rpc.check_chain_id()
            && e.trouble == baton_host::chain::Trouble::Lying
        {
            return Err(e.into());
        }
        let db = Arc::new(Db::open(&home.path("chain.redb"))?);
        let roots = roots(&config)?;
        let peers = config.peers.iter().map(|u| Peer::new(u, PEER_LIMIT, &roots)).collect();
        let mut node = Node {
            here: Here::new(&config.enclave)?,
            places: Vec::new(),
            sources: Sources { db, rpc, peers },
            shared: Arc::default(),
            waiting: None,
            orders: BTreeMap::new(),
            halted: None,
            searched: None,
            dates: dates::Dates::default(),
            power: power::Power::default(),
            keeper: collateral::Keeper::new(&home, &roots)?,
            roots,
            stood_at: 0,
            failing: BTreeMap::new(),
            bad_builds: Vec::new(),
            warnings: Vec::new(),
            recent: std::collections::VecDeque::new(),
            started: Instant::now(),
            home,
            _lock: lock,
        };
        node.scan()?;
        Ok(node)
    }

    /// Its home.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// What it shares with its threads.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Where it asks.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// A follower for this node.
    pub fn follower(&self) -> Follower {
        let poll = Duration::from_millis(self.home.config().chain.poll_ms);
        Follower::new(self.sources.rpc.clone(), self.sources.db.clone(), self.shared.clone(), self.home.dir().into(), poll)
    }

    /// Looks for new builds in the folder.
    fn scan(&mut self) -> Result<Vec<Done>> {
        let chain_id = &self.home.config().chain.id;
        let (found, bad) = machine::builds(&self.home.path("builds"), chain_id)?;
        let mut done = Vec::new();
        for text in bad.iter().filter(|b| !self.bad_builds.contains(b)) {
            tracing::warn!(build = %text, "a build in the folder cannot be used");
        }
        self.bad_builds = bad;
        for build in found {
            if self.places.iter().any(|p| p.build.measurement == build.measurement) {
                continue;
            }
            let dir = self.home.path("seats").join(build.folder());
            let seat = self.open_seat(&dir, &build)?;
            done.push(Done { step: "build", text: format!("{} {}", build.name, build.measurement) });
            self.places.push(Place { build, seat, status: None, logged: 0, passed_over: false });
        }
        Ok(done)
    }

    fn open_seat(&self, dir: &std::path::Path, build: &BuildFile) -> Result<Seat> {
        Ok(Seat::open_by(dir, self.here.launcher().clone(), build.image.clone(), Box::new(rand::random))?)
    }

    /// Does every step that can be done now, once.
    pub fn tick(&mut self) -> Vec<Done> {
        let mut done = Vec::new();
        self.step("scan", &mut done, |n| n.scan());
        self.step("start", &mut done, |n| n.start_all());
        self.share();
        for (name, step) in steps::STEPS {
            self.step(name, &mut done, *step);
        }
        self.step("log", &mut done, |n| n.store_logs());
        self.refresh();
        self.step("collateral", &mut done, collateral::refresh);
        dates::refresh(self);
        power::refresh(self);
        let now = unix_now();
        self.shared.ticked(Instant::now(), now);
        self.recent.extend(done.iter().map(|d| (now, d.clone())));
        self.recent.drain(..self.recent.len().saturating_sub(MAX_RECENT));
        self.share();
        for d in &done {
            tracing::info!(step = d.step, "{}", d.text);
        }
        done
    }

    /// Runs one step, unless it failed a moment ago. A step that fails is tried again, ever more slowly; what it says is
    /// logged when it changes.
    fn step(&mut self, name: &'static str, done: &mut Vec<Done>, f: impl FnOnce(&mut Self) -> Result<Vec<Done>>) {
        if self.failing.get(name).is_some_and(|x| Instant::now() < x.next) {
            return;
        }
        match f(self) {
            Ok(more) => {
                if self.failing.remove(name).is_some() {
                    tracing::info!(step = name, "works again");
                }
                done.extend(more);
            }
            Err(e) => {
                let text = format!("{e:#}");
                let known = self.failing.get(name);
                if known.is_none_or(|k| k.text != text) {
                    tracing::warn!(step = name, "{text}");
                }
                let pause = known.map_or(Duration::from_millis(500), |k| (k.pause * 2).min(MAX_PAUSE));
                self.failing.insert(name.into(), Failing { text, pause, next: Instant::now() + pause });
            }
        }
    }

    /// What fails now, by step.
    pub fn failures(&self) -> Vec<(String, String)> {
        self.failing.iter().map(|(name, f)| (name.clone(), f.text.clone())).collect()
    }

    /// Forgets that steps failed: an operator asks for them now.
    pub fn try_all_again(&mut self) {
        self.failing.clear();
        self.searched = None;
    }

    /// Starts every enclave that does not run, and shows each new one its policy's checkpoint. One that does not start
    /// keeps no other from it.
    fn start_all(&mut self) -> Result<Vec<Done>> {
        let (mut done, mut failed) = (Vec::new(), None);
        for index in 0..self.places.len() {
            if let Err(e) = self.start_one(index, &mut done) {
                failed = failed.or(Some(e));
            }
        }
        self.warnings.drain(..self.warnings.len().saturating_sub(20));
        match failed {
            None => Ok(done),
            Some(e) => {
                // What was done is told all the same.
                done.iter().for_each(|d| tracing::info!(step = d.step, "{}", d.text));
                Err(e)
            }
        }
    }

    fn start_one(&mut self, index: usize, done: &mut Vec<Done>) -> Result<()> {
        let Some(place) = self.places.get_mut(index) else { return Ok(()) };
        let name = &place.build.name;
        // Whether an enclave still lives shows only when it is asked.
        if place.seat.is_running()
            && let Err(SeatError::Link(e)) = place.seat.status()
        {
            tracing::warn!(step = "start", build = %name, "{e}");
        }
        if !place.seat.is_running() {
            place.seat.start().with_context(|| format!("build {name}"))?;
            if place.status.is_some() {
                // What it drew in memory died with it: a record that names it is of no more use.
                self.waiting = None;
                done.push(Done { step: "start", text: format!("{name} had ended, and runs again from its sealed files") });
            }
        }
        let status = place.seat.status()?;
        if status.head_height == 0 {
            let height = place.build.policy.chain.checkpoint.height;
            let block = self.sources.light_block(height).with_context(|| format!("the checkpoint of build {name}"))?;
            place.seat.call(&Request::Checkpoint { block: baton_attest::identity::encode(&block) })?;
            done.push(Done { step: "checkpoint", text: format!("{name} trusts header {height}") });
        }
        self.warnings.extend(place.seat.take_warnings());
        place.status = Some(place.seat.status()?);
        Ok(())
    }

    fn refresh(&mut self) {
        for place in &mut self.places {
            if place.seat.is_running() {
                place.status = place.seat.status().ok().or(place.status.take());
            }
        }
    }

    /// Brings the log folders up to date where something was logged.
    fn store_logs(&mut self) -> Result<Vec<Done>> {
        for place in &mut self.places {
            let size = place.seat.status()?.log_size;
            if size != place.logged {
                place.seat.store_log()?;
                place.logged = place.seat.status()?.log_size;
            }
        }
        Ok(Vec::new())
    }

    /// Tells the threads what the enclaves trust and want.
    fn share(&mut self) {
        let starts = self.places.iter().filter_map(|p| p.status.as_ref()).flat_map(trusted).filter(|h| *h > 0).collect();
        let policy = self.holder().map(|i| self.places[i].build.policy.chain.clone());
        let policy = policy.or_else(|| self.places.first().map(|p| p.build.policy.chain.clone()));
        let wanted = self.places.iter().filter_map(|p| {
            let s = p.status.as_ref()?;
            (s.state == State::Confirmed).then(|| s.successor.map(|n| n.measurement.to_string())).flatten()
        });
        let wanted = wanted.collect();
        self.shared.set_enclaves(policy, starts, wanted);
        let (status, not_ready) = (status::status(self), status::not_ready(self));
        self.shared.publish(status, metrics::page(self), not_ready);
    }

    /// The build that holds the keyring and serves, the newest of several: it is the source of what comes next.
    fn holder(&self) -> Option<usize> {
        let serving = |p: &Place| p.status.as_ref().is_some_and(|s| s.serving);
        let mut all: Vec<usize> = (0..self.places.len()).filter(|i| self.places.get(*i).is_some_and(serving)).collect();
        // Who handed over to a build that serves here is older than it, whatever heights say: by an order a build may serve
        // although the head at which the order was obeyed lies far below the last upgrade.
        let status = |i: &usize| self.places.get(*i).and_then(|p| p.status.as_ref());
        let follows = |i: &usize| {
            let next = status(i).and_then(|s| s.successor.as_ref());
            next.is_some_and(|n| all.iter().any(|k| k != i && self.places.get(*k).is_some_and(|p| p.build.measurement == n.measurement && !p.passed_over)))
        };
        let newest: Vec<usize> = all.iter().copied().filter(|i| !follows(i)).collect();
        if !newest.is_empty() {
            all = newest;
        }
        all.sort_by_key(|i| {
            self.places.get(*i).and_then(|p| {
                let s = p.status.as_ref()?;
                // By what it serves: a plan that ran at X, or an order that was obeyed at a head.
                let e = s.emergencies.as_ref();
                let by = e.and_then(|e| e.serves_by.and_then(|d| e.obeyed.iter().chain(&e.inherited).find(|o| o.order == d)));
                Some((!p.passed_over, s.at_x.max(by.map(|o| o.head)), by.is_some(), s.identity.svn))
            })
        });
        all.pop()
    }

    /// The newest height that is known of, also while nobody answers for the chain.
    fn known_height(&self) -> u64 {
        self.shared.view().height.max(self.sources.db.blocks().ok().and_then(|(_, newest)| newest).unwrap_or(0))
    }

    fn find(&self, measurement: &Measurement) -> Option<usize> {
        self.places.iter().position(|p| p.build.measurement == *measurement)
    }

    fn at(&mut self, index: usize) -> Result<&mut Place> {
        self.places.get_mut(index).context("that build is gone")
    }

    fn state(&self, index: usize) -> State {
        self.places.get(index).and_then(|p| p.status.as_ref()).map_or(State::Empty, |s| s.state)
    }

    /// Two places at once: the source, the target.
    fn pair(&mut self, source: usize, target: usize) -> Result<(&mut Place, &mut Place)> {
        match self.places.get_disjoint_mut([source, target]) {
            Ok([s, t]) => Ok((s, t)),
            Err(_) => anyhow::bail!("a build cannot hand over to itself"),
        }
    }

    /// The newest block's time.
    fn block_time(&self) -> Result<u64> {
        let view = self.shared.view();
        Ok(match view.time {
            0 => {
                let block = self.sources.light_block(self.sources.latest()?)?;
                baton_host::gather::header_time(&block).map_or(0, |t| u64::try_from(t.0).unwrap_or(0))
            }
            time => time,
        })
    }
}

/// The heights that an enclave trusts: its anchors, and its head, which is last.
pub fn trusted(status: &Status) -> Vec<u64> {
    let mut out = status.anchors.clone();
    out.push(status.head_height);
    out
}
