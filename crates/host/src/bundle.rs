//! The bundle of X: what a node keeps of the chain around an upgrade, for itself and for late peers.
//!
//! Nodes are killed within a moment of X, and nobody can ask a stopped chain. So from two blocks before
//! the plan's height on, each node stores the light blocks, the proofs of plan and proposal under each of
//! them, and the headers of the vote's end. A bundle answers like a chain that stands still, so evidence is
//! gathered from it by the same code.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use baton_chain::gov::{GOV_STORE, PLAN_KEY, UPGRADE_STORE, proposal_key};
use baton_chain::light::LightBlock;
use baton_chain::policy::ChainPolicy;
use baton_chain::proofs::StateProof;
use minicbor::{Decode, Encode};

use crate::chain::{ChainSource, Included, SourceError};
use crate::gather::{Gather, GatherError};

/// The version that this release writes.
pub const VERSION: u8 = 1;
/// Largest bundle that is read, in bytes (64 MiB).
pub const MAX_BUNDLE_BYTES: u64 = 64 << 20;
/// From how many blocks before the plan's height a node stores what it sees.
pub const BLOCKS_BEFORE: u64 = 2;

/// Why a bundle was not written or read. What was there before is untouched.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The disk.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Larger than any bundle.
    #[error("{path} has {got} bytes, expected at most {MAX_BUNDLE_BYTES}")]
    Oversized {
        /// The file.
        path: PathBuf,
        /// Its size.
        got: u64,
    },
    /// Not a bundle.
    #[error("{path} is no bundle, or cut off: {reason}; fetch it from another peer")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Of a newer release.
    #[error("{path} has version {got}, this release reads up to {VERSION}")]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        got: u8,
    },
    /// The chain's answers.
    #[error(transparent)]
    Gather(#[from] GatherError),
    /// The chain's answers.
    #[error(transparent)]
    Source(#[from] SourceError),
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
struct Block {
    #[n(0)]
    height: u64,
    #[n(1)]
    block: LightBlock,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
struct State {
    #[n(0)]
    header: u64,
    #[n(1)]
    proof: StateProof,
}

/// Answers of the chain around one upgrade. UNTRUSTED, like everything that hosts carry.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Bundle {
    /// Format version.
    #[n(0)]
    version: u8,
    /// The proposal.
    #[n(1)]
    proposal: u64,
    #[n(2)]
    blocks: Vec<Block>,
    #[n(3)]
    states: Vec<State>,
}

impl Bundle {
    /// Gathers what enclaves of a policy need to verify the plan under every header from `plan_height - 2` to
    /// the newest one that still shows it. `starts` are heights that enclaves here and at peers trust: each
    /// gets a way to X.
    pub fn gather(
        source: &dyn ChainSource,
        policy: &ChainPolicy,
        proposal: u64,
        plan_height: u64,
        starts: &[u64],
    ) -> Result<Self, BundleError> {
        let mut kept = Recorder { source, blocks: BTreeMap::new(), states: Vec::new() };
        let top = source.latest()?.min(plan_height);
        for header in plan_height.saturating_sub(BLOCKS_BEFORE)..=top {
            kept.block(header)?;
            kept.state(UPGRADE_STORE, PLAN_KEY, header)?;
            kept.state(GOV_STORE, &proposal_key(proposal), header)?;
        }
        let gather = Gather::new(source, policy);
        let mut starts = starts.to_vec();
        starts.push(policy.checkpoint.height);
        starts.sort_unstable();
        starts.dedup();
        let mut failed = None;
        let mut led = 0;
        // One start may be pruned where the others are not.
        for start in starts.into_iter().filter(|s| *s <= top) {
            match kept.way(&gather, start, proposal, top) {
                Ok(()) => led += 1,
                Err(e) => failed = Some(e),
            }
        }
        if let (0, Some(e)) = (led, failed) {
            return Err(e.into());
        }
        Ok(Bundle {
            version: VERSION,
            proposal,
            blocks: kept.blocks.into_iter().map(|(height, block)| Block { height, block }).collect(),
            states: kept.states,
        })
    }

    /// The proposal that it is about.
    pub fn proposal(&self) -> u64 {
        self.proposal
    }

    /// How many light blocks it holds.
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Its light blocks with their heights, lowest first.
    pub fn each_block(&self) -> impl Iterator<Item = (u64, &LightBlock)> {
        self.blocks.iter().map(|b| (b.height, &b.block))
    }

    /// Its state proofs with the heights of the headers that prove them.
    pub fn each_state(&self) -> impl Iterator<Item = (u64, &StateProof)> {
        self.states.iter().map(|s| (s.header, &s.proof))
    }

    /// Writes it: new file, fsync, rename.
    pub fn save(&self, path: &Path) -> Result<(), BundleError> {
        let io = |action| move |source| BundleError::Io { action, path: path.into(), source };
        let tmp = path.with_extension("new");
        let mut f = File::create(&tmp).map_err(io("create"))?;
        f.write_all(&baton_attest::identity::encode(self)).map_err(io("write"))?;
        f.sync_all().map_err(io("fsync"))?;
        fs::rename(&tmp, path).map_err(io("rename"))
    }

    /// Reads one.
    pub fn load(path: &Path) -> Result<Self, BundleError> {
        let io = |action| move |source| BundleError::Io { action, path: path.into(), source };
        let got = fs::metadata(path).map_err(io("stat"))?.len();
        if got > MAX_BUNDLE_BYTES {
            return Err(BundleError::Oversized { path: path.into(), got });
        }
        let bytes = fs::read(path).map_err(io("read"))?;
        let bundle: Bundle = minicbor::decode(&bytes)
            .map_err(|e| BundleError::Malformed { path: path.into(), reason: e.to_string() })?;
        match bundle.version {
            1..=VERSION => Ok(bundle),
            got => Err(BundleError::Version { path: path.into(), got }),
        }
    }
}

struct Recorder<'a> {
    source: &'a dyn ChainSource,
    blocks: BTreeMap<u64, LightBlock>,
    states: Vec<State>,
}

impl Recorder<'_> {
    fn block(&mut self, height: u64) -> Result<(), SourceError> {
        if !self.blocks.contains_key(&height) {
            self.blocks.insert(height, self.source.light_block(height)?);
        }
        Ok(())
    }

    /// The way from a trusted height to the plan, and to the end of its vote.
    fn way(&mut self, gather: &Gather<'_>, start: u64, proposal: u64, top: u64) -> Result<(), GatherError> {
        self.block(start)?;
        for goal in [top.saturating_sub(1), top] {
            self.path(gather, start, goal)?;
        }
        let (before, at) = gather.vote_end_heights(proposal, top)?;
        self.block(before)?;
        self.block(at)?;
        self.path(gather, start, at)
    }

    fn path(&mut self, gather: &Gather<'_>, from: u64, to: u64) -> Result<(), GatherError> {
        for height in gather.stops(from, to)? {
            self.block(height)?;
        }
        Ok(())
    }

    fn state(&mut self, store: &str, key: &[u8], header: u64) -> Result<(), SourceError> {
        let proof = self.source.state(store, key, header)?;
        self.states.push(State { header, proof });
        Ok(())
    }
}

fn missing(what: String) -> SourceError {
    SourceError { trouble: crate::chain::Trouble::Absent, source_name: "bundle".into(), what, reason: "it was not kept; ask another peer for its bundle".into() }
}

impl ChainSource for Bundle {
    fn latest(&self) -> Result<u64, SourceError> {
        self.blocks.last().map(|b| b.height).ok_or_else(|| missing("block".into()))
    }

    fn light_block(&self, height: u64) -> Result<LightBlock, SourceError> {
        let found = self.blocks.iter().find(|b| b.height == height);
        found.map(|b| b.block.clone()).ok_or_else(|| missing(format!("light block {height}")))
    }

    fn state(&self, store: &str, key: &[u8], header_height: u64) -> Result<StateProof, SourceError> {
        let is = |s: &&State| s.header == header_height && s.proof.store == store && s.proof.key == key;
        let found = self.states.iter().find(is);
        found.map(|s| s.proof.clone()).ok_or_else(|| missing(format!("state of {store} under header {header_height}")))
    }

    fn send_memo(&mut self, _memo: &str) -> Result<[u8; 32], SourceError> {
        Err(missing("way to send a transaction".into()))
    }

    fn included(&self, _hash: &[u8; 32]) -> Result<Option<Included>, SourceError> {
        Ok(None)
    }

    fn vote_end(&self, end: (i64, i32), upto: u64) -> Result<Option<u64>, SourceError> {
        // Only pairs around the end were kept, so any kept neighbour pair that spans it is the one.
        let pairs = self.blocks.windows(2).filter(|w| matches!(w, [a, b] if a.height + 1 == b.height && b.height <= upto));
        for pair in pairs {
            if let [a, b] = pair
                && crate::gather::header_time(&a.block) < Some(end)
                && crate::gather::header_time(&b.block) >= Some(end)
            {
                return Ok(Some(b.height));
            }
        }
        Ok(None)
    }
}
