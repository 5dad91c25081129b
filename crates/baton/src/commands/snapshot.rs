//! `baton snapshot`: a node's sealed files, log and policy in one bundle, and the way back from it.

use std::path::{Path, PathBuf};

use baton_attest::identity::Measurement;
use baton_host::seat::{Seat, SeatError};
use baton_host::snapshot::{self, Manifest, Restored, SnapshotError};
use baton_host::validator::ValidatorState;
use serde_json::json;

use super::node::{home, home_failure};
use crate::cli::node::HomeArgs;
use crate::cli::{NodeArgs, SeatArgs, SnapshotCreateArgs, SnapshotRestoreArgs, SnapshotVerifyArgs};
use crate::node::config::{FILE, Home, HomeLock};
use crate::node::machine::{BuildFile, Here, builds};
use crate::output::{Failure, Report};
use crate::world::{Build, Named, Platform, World};

/// One seat of a network in a folder.
pub struct At {
    /// The network.
    pub world: World,
    /// The node's number.
    pub node: usize,
    /// The build.
    pub which: Named,
    /// The same.
    pub build: Build,
    /// The seat's folder.
    pub dir: PathBuf,
}

/// Finds a seat.
pub fn find(args: &NodeArgs) -> Result<At, Failure> {
    let world = World::open(&args.folder, 0, 0, Platform::Sim).map_err(|e| Failure::input(format!("{e:#}")))?;
    let names: Vec<&str> = world.nodes.iter().map(|n| n.name.as_str()).collect();
    let node = names.iter().position(|n| *n == args.node).ok_or_else(|| {
        let (all, got) = (names.join(", "), &args.node);
        Failure::input(format!("no such node: expected one of {all}, got {got}; name one of these"))
    })?;
    let which = args.build.into();
    let build = world.build(which)?;
    let dir = args.folder.join("nodes").join(&args.node).join(which.name());
    if !dir.is_dir() {
        let text = format!("{} runs no build {}: expected a folder {}", args.node, which.name(), dir.display());
        return Err(Failure::input(text).next("name a build that this node has: v1 before an upgrade, v2 after"));
    }
    Ok(At { world, node, which, build, dir })
}

/// One seat of a node's home. While this is held no daemon runs there.
struct Own {
    home: Home,
    _lock: HomeLock,
    here: Here,
    build: BuildFile,
    dir: PathBuf,
}

impl Own {
    /// The seat of a build; without one, of the only build that has a seat there.
    fn find(dir: &Path, wanted: Option<Measurement>) -> Result<Self, Failure> {
        let home = home(&HomeArgs { home: dir.into(), json: false })?;
        let lock = home.lock().map_err(home_failure)?;
        let any = |e: anyhow::Error| Failure::input(format!("{e:#}"));
        let (found, _) = builds(&home.path("builds"), &home.config().chain.id).map_err(any)?;
        let seat = |b: &BuildFile| home.path("seats").join(b.folder());
        let fits = |b: &BuildFile| wanted.map_or_else(|| seat(b).is_dir(), |m| m == b.measurement);
        let mut fitting: Vec<BuildFile> = found.iter().filter(|b| fits(b)).cloned().collect();
        let Some(build) = fitting.pop().filter(|_| fitting.is_empty()) else {
            let all: Vec<String> = found.iter().map(|b| format!("{} ({})", b.measurement, b.name)).collect();
            let text = format!("which build's files: expected --measurement with one of {}", all.join(", "));
            return Err(Failure::input(text).at(home.path("builds").display()));
        };
        let here = Here::new(&home.config().enclave).map_err(any)?;
        Ok(Own { dir: seat(&build), home, _lock: lock, here, build })
    }

    fn open(&self, dir: &Path) -> Result<Seat, SeatError> {
        Seat::open_by(dir, self.here.launcher().clone(), self.build.image.clone(), Box::new(rand::random))
    }
}

/// Where a seat is.
enum Place {
    World(Box<At>),
    Own(Box<Own>),
}

impl Place {
    fn find(args: &SeatArgs) -> Result<Self, Failure> {
        if let Some(dir) = &args.home {
            return Own::find(dir, args.measurement).map(|own| Place::Own(Box::new(own)));
        }
        let (folder, node) = (args.folder.clone().unwrap_or_default(), args.node.clone().unwrap_or_default());
        find(&NodeArgs { folder, node, build: args.build }).map(|at| Place::World(Box::new(at)))
    }

    fn dir(&self) -> &Path {
        match self {
            Place::World(at) => &at.dir,
            Place::Own(own) => &own.dir,
        }
    }

    fn measurement(&self) -> Measurement {
        match self {
            Place::World(at) => at.build.measurement,
            Place::Own(own) => own.build.measurement,
        }
    }

    fn open(&self, dir: &Path) -> Result<Seat, SeatError> {
        match self {
            Place::World(at) => at.world.nodes[at.node].open_at(dir, &at.build),
            Place::Own(own) => own.open(dir),
        }
    }
}

/// Writes a bundle.
pub fn create(args: &SnapshotCreateArgs) -> Result<Report, Failure> {
    let validator = args.validator_state.as_deref().map(ValidatorState::read).transpose().map_err(Failure::input)?;
    let manifest = match Place::find(&args.at)? {
        Place::World(mut at) => {
            let policy = at.world.dir().join("builds").join(format!("{}.policy.toml", at.which.name()));
            let also = [(String::from("config/policy.toml"), policy)];
            let chain_id = at.build.policy.chain.chain_id.clone();
            let (node, which) = (at.node, at.which);
            snapshot::create(at.world.seat(node, which)?, &chain_id, &also, validator, &args.out)
        }
        Place::Own(own) => {
            let also = [(format!("config/{FILE}"), own.home.path(FILE))];
            let mut seat = own.open(&own.dir).map_err(|e| Failure::refused(e).at(own.dir.display()))?;
            seat.start_custody_only().map_err(|e| Failure::refused(e).at(own.dir.display()))?;
            snapshot::create(&mut seat, &own.home.config().chain.id, &also, validator, &args.out)
        }
    }
    .map_err(failure)?;
    let mut out = Report::new();
    describe(&mut out, &manifest);
    out.both("written", "file", args.out.display());
    out.verdict(true, format!("the snapshot stands for height {}, and was read back whole", manifest.height));
    Ok(out)
}

/// Checks a bundle: every file, and with a node, that the bundle opens there.
pub fn verify(args: &SnapshotVerifyArgs) -> Result<Report, Failure> {
    let bundle = snapshot::read(&args.file).map_err(failure)?;
    let mut out = Report::new();
    describe(&mut out, bundle.manifest());
    if args.folder.is_none() && args.home.is_none() {
        out.verdict(true, "every file is the one that was put in; whether it opens, only its own machine and build can say (name the node)");
        return Ok(out);
    }
    // The bundle names its build.
    let measurement = bundle.manifest().measurement.parse().ok();
    let at = SeatArgs { folder: args.folder.clone(), node: args.node.clone(), build: args.build, home: args.home.clone(), measurement };
    let place = Place::find(&at)?;
    let scratch = place.dir().join("restore.new");
    let opened = bundle.try_here(&place.measurement(), &scratch, &mut |dir| place.open(dir));
    let _ = std::fs::remove_dir_all(&scratch);
    let status = opened.map_err(failure)?;
    out.verdict(true, format!("it opens here: custody {} at height {}", status.state, status.head_height));
    Ok(out)
}

/// Puts a bundle back.
pub fn restore(args: &SnapshotRestoreArgs) -> Result<Report, Failure> {
    let bundle = snapshot::read(&args.file).map_err(failure)?;
    // The bundle names its build.
    let measurement = args.at.measurement.or_else(|| bundle.manifest().measurement.parse().ok().filter(|_| args.at.home.is_some()));
    let mut place = Place::find(&SeatArgs { measurement, ..args.at.clone() })?;
    if let (Some(path), false) = (&args.validator_state, args.keep_validator_state) {
        bundle.check_validator(&ValidatorState::read(path).map_err(Failure::input)?).map_err(failure)?;
    }
    if let Place::World(at) = &mut place {
        at.world.nodes.iter_mut().for_each(crate::world::Node::stop);
    }
    let done = bundle.restore(place.dir(), &place.measurement(), &mut |dir| place.open(dir), args.yes).map_err(failure)?;
    let mut out = Report::new();
    describe(&mut out, bundle.manifest());
    said(&mut out, &done);
    Ok(out)
}

fn said(out: &mut Report, done: &Restored) {
    for loss in &done.losses {
        out.row("given up", loss);
    }
    out.field("losses", done.losses.clone());
    if let Some(aside) = &done.aside {
        out.both("before", "aside", aside.display());
    }
    out.verdict(true, format!("restored: custody {} at height {}", done.status.state, done.status.head_height));
}

fn describe(out: &mut Report, m: &Manifest) {
    out.both("chain id", "chain_id", &m.chain_id)
        .both("measurement", "measurement", &m.measurement)
        .both("machine", "platform", &m.platform)
        .both("custody", "state", &m.state)
        .field("epochs", m.epochs.clone())
        .field("log_size", m.log_size)
        .field("height", m.height)
        .row("height", m.height)
        .row("log", format!("{} entries", m.log_size));
    if let Some(v) = &m.validator {
        out.row("validator", format!("signed last at height {}, round {}, step {}", v.height, v.round, v.step));
    }
    let files: Vec<_> = m.files.iter().map(|f| json!({"path": f.path, "bytes": f.bytes, "sha256": f.sha256})).collect();
    for f in &m.files {
        out.row("file", format!("{} {} bytes {}", f.path, f.bytes, f.sha256));
    }
    out.field("files", files);
}

fn failure(e: SnapshotError) -> Failure {
    match e {
        SnapshotError::Losses(losses) => {
            let text = format!("restoring gives something up: expected nothing, got {}", losses.join("; and "));
            // The sentences hold semicolons of their own, so the advice is put in apart.
            Failure::refused(text.replace("; ", ", ")).next("say --yes to do it all the same; what stands there now is kept in a folder beside it")
        }
        SnapshotError::Io { .. } | SnapshotError::Malformed { .. } | SnapshotError::Version { .. } => Failure::input(e),
        other => Failure::refused(other),
    }
}
