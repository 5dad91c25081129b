//! A whole network in one process: a devnet, machines, nodes with their seats, and a vault.
//!
//! Everything that a run must not lose is in a folder: the chain's journal, images, sealed files, logs,
//! vault records and a small progress file. [`World::open`] takes it up again wherever it was left,
//! whatever killed the run; nothing shown to an enclave is ever made anew.

pub mod boats;
pub mod build;
pub mod emergency;
mod node;
pub mod ops;
pub mod platform;

use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use baton_attest::pki::{CollateralSpec, DevPki, PlatformSpec};
use baton_devnet::{Config, Devnet};
use baton_enclave::sim::Machine;
use baton_host::files::write_whole;
use serde::{Deserialize, Serialize};

pub use build::{Build, Named};
pub use node::Node;
pub use platform::Platform;

/// What a world is made from, and how far it has come.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Format of this file.
    pub version: u8,
    /// What keys of the chain and of the development PKI are made from.
    pub seed: u64,
    /// Where enclaves run: `sim`, `softsgx` or `sgx`.
    #[serde(default = "sim")]
    pub platform: String,
    /// How many nodes the network has.
    pub nodes: usize,
    /// One machine only: no other one takes the secret, and the policies ask for none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub alone: bool,
    /// Voting power of the validators.
    pub powers: Vec<u64>,
    /// Number of the proposal that carried the upgrade.
    pub proposal: Option<u64>,
    /// Height of its plan, in blocks.
    pub plan_height: Option<u64>,
    /// Steps that are complete.
    pub done: Vec<String>,
    /// Times of each node's milestones.
    pub milestones: Vec<Milestone>,
}

/// Something that a node reached, for the table at the end.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Milestone {
    /// The node's name.
    pub node: String,
    /// What: offer, receipt, activation, erase.
    pub what: String,
    /// The chain's height then.
    pub height: u64,
    /// How long the step took, in milliseconds.
    pub ms: f64,
}

fn sim() -> String {
    Platform::Sim.name().into()
}

/// A network in a folder.
pub struct World {
    dir: PathBuf,
    platform: Platform,
    /// The embedded chain.
    pub chain: Devnet,
    /// The development PKI of its machines.
    pub pki: DevPki,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// How far the run has come.
    pub progress: Progress,
}

impl World {
    /// A new world on `sim`, in an empty folder.
    pub fn create(dir: &Path, seed: u64, nodes: usize) -> Result<Self> {
        Self::create_on(dir, seed, nodes, Platform::Sim)
    }

    /// A new world in an empty folder.
    pub fn create_on(dir: &Path, seed: u64, nodes: usize, platform: Platform) -> Result<Self> {
        Self::begin(dir, seed, nodes, false, platform)
    }

    /// A new world of one machine, in an empty folder: what this machine can show without another one.
    pub fn create_alone(dir: &Path, seed: u64, platform: Platform) -> Result<Self> {
        Self::begin(dir, seed, 1, true, platform)
    }

    fn begin(dir: &Path, seed: u64, nodes: usize, alone: bool, platform: Platform) -> Result<Self> {
        if dir.join("progress.json").exists() {
            bail!("{} already holds a run\nexpected: an empty folder\nnext: --resume it, or name another folder", dir.display());
        }
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        if !nothing_begun(dir)? {
            bail!("{} is not empty and holds no run\nexpected: an empty folder\nnext: name another folder", dir.display());
        }
        let progress = Progress {
            version: 1,
            seed,
            platform: platform.name().into(),
            nodes,
            alone,
            powers: (0..nodes.max(4) as u64).map(|i| 100 - 15 * (i % 6)).collect(),
            proposal: None,
            plan_height: None,
            done: Vec::new(),
            milestones: Vec::new(),
        };
        platform.save(dir)?;
        Self::save(dir, &progress)?;
        Self::with(dir, progress, platform)
    }

    /// Takes a run up again. A run that was killed before it had begun is begun, on `platform`.
    pub fn open(dir: &Path, seed: u64, nodes: usize, platform: Platform) -> Result<Self> {
        let path = dir.join("progress.json");
        if dir.is_dir() && !path.exists() && nothing_begun(dir)? {
            return Self::begin(dir, seed, nodes, nodes == 1, platform);
        }
        let text = fs::read(&path).with_context(|| {
            format!("{} holds no run to take up\nexpected: a folder that `baton demo --keep` made\nnext: start one with --keep", dir.display())
        })?;
        let progress: Progress =
            serde_json::from_slice(&text).with_context(|| format!("{} cannot be read", path.display()))?;
        if progress.version != 1 {
            bail!("{} has version {}\nexpected: 1\nnext: use the release that wrote it", path.display(), progress.version);
        }
        let platform = Platform::load(&progress.platform, dir)?;
        Self::with(dir, progress, platform)
    }

    fn with(dir: &Path, progress: Progress, platform: Platform) -> Result<Self> {
        let journal = dir.join("chain");
        // A chain that was never stored was never seen by anyone.
        let chain = match journal.join("devnet.json").exists() {
            true => Devnet::load(&journal)?,
            false => Devnet::new(Config { seed: progress.seed, powers: progress.powers.clone(), ..Config::default() })?,
        };
        let mut world = World { dir: dir.into(), platform, chain, pki: pki(progress.seed)?, nodes: Vec::new(), progress };
        world.make_nodes()?;
        Ok(world)
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn make_nodes(&mut self) -> Result<()> {
        // One node more than the network has at first: the machine that joins by quote.
        let newcomers = usize::from(!self.alone());
        for i in 0..self.progress.nodes + newcomers {
            let name = format!("node{i}");
            let machine = self.machine(&name)?;
            let launcher = self.platform.launcher(&machine)?;
            self.nodes.push(Node::new(&self.dir.join("nodes").join(&name), &name, machine, launcher));
        }
        Ok(())
    }

    /// True for a world of one machine: nothing crosses to another one.
    pub fn alone(&self) -> bool {
        self.progress.alone
    }

    /// Where its enclaves run.
    pub fn platform(&self) -> &Platform {
        &self.platform
    }

    /// A machine of this world's PKI. The same name gives the same machine.
    pub fn machine(&self, name: &str) -> Result<Rc<Machine>> {
        self.machine_like(name, &PlatformSpec::default())
    }

    /// A machine with another CPUSVN, FMSPC or quoting enclave.
    pub fn machine_like(&self, name: &str, spec: &PlatformSpec) -> Result<Rc<Machine>> {
        Ok(Rc::new(Machine::new(&self.pki, name, spec)?))
    }

    /// Collateral as a PCCS would serve it now.
    pub fn collateral(&self) -> Result<Vec<u8>> {
        let spec = CollateralSpec::at(self.block_time().saturating_sub(3600));
        Ok(self.pki.collateral(&spec)?.to_json().into_bytes())
    }

    /// Time of the newest block, unix seconds.
    pub fn block_time(&self) -> u64 {
        let time = self.chain.block_time(self.chain.height()).map_or(0, |t| t.seconds);
        u64::try_from(time).unwrap_or(0)
    }

    /// Makes blocks up to a height, and stores the chain before anyone sees them.
    pub fn produce_until(&mut self, height: u64) -> Result<()> {
        if self.chain.height() < height {
            self.chain.produce_until(height)?;
            self.save_chain()?;
        }
        Ok(())
    }

    /// Makes one block.
    pub fn produce(&mut self) -> Result<u64> {
        let height = self.chain.produce_block()?;
        self.save_chain()?;
        Ok(height)
    }

    /// Stores the chain's journal.
    pub fn save_chain(&self) -> Result<()> {
        Ok(self.chain.save(&self.dir.join("chain"))?)
    }

    /// Stores the progress file.
    pub fn save_progress(&self) -> Result<()> {
        Self::save(&self.dir, &self.progress)
    }

    fn save(dir: &Path, progress: &Progress) -> Result<()> {
        Ok(write_whole(&dir.join("progress.json"), &serde_json::to_vec_pretty(progress)?)?)
    }

    /// Notes a milestone, once.
    pub fn milestone(&mut self, node: &str, what: &str, ms: f64) {
        if !self.progress.milestones.iter().any(|m| m.node == node && m.what == what) {
            let height = self.chain.height();
            self.progress.milestones.push(Milestone { node: node.into(), what: what.into(), height, ms });
        }
    }
}

/// True if a folder holds nothing but what a run leaves that is killed before its first file is whole.
fn nothing_begun(dir: &Path) -> Result<bool> {
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        if name != "progress.new" && name != platform::FOLDER {
            return Ok(false);
        }
    }
    Ok(true)
}

fn pki(seed: u64) -> Result<DevPki> {
    Ok(DevPki::new(baton_attest::identity::hash("baton demo pki v1", &[&seed.to_be_bytes()]).0)?)
}
