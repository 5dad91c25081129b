//! Following the chain, on a thread of its own: the head, the pending plan, and the bundle of each upgrade.
//!
//! It works whatever the enclaves do, because the last blocks before a halt are there for a moment only: a supervisor
//! kills the chain's node within a second of the plan's height. What it sees is a hint; enclaves judge proofs.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use baton_chain::gov::{self, GOV_STORE, MsgSoftwareUpgrade, PLAN_KEY, Plan, Proposal, ProposalStatus, UPGRADE_STORE, proposal_key};
use baton_chain::info::{NamedBuild, read_info};
use baton_chain::policy::ChainPolicy;
use baton_host::bundle::{BLOCKS_BEFORE, Bundle};
use baton_host::chain::{ChainSource, SourceError, Trouble};
use baton_host::gather::header_time;
use baton_host::rpc::RpcSource;
use prost::Message;

use super::db::{Db, KnownPlan};
use super::gate::PlanNote;
use super::shared::Shared;
use super::vote::{Vote, Votes};

/// x/gov: number of the next proposal.
const NEXT_PROPOSAL: &[u8] = &[0x03];
/// How often the evidence of past plans is completed, at most.
const COMPLETE_EVERY: Duration = Duration::from_secs(5);
/// How often a vote is looked at.
const VOTE_EVERY: Duration = Duration::from_secs(2);
/// Blocks over which the time of one is taken.
const PACE_BLOCKS: u64 = 50;
/// Blocks that one look fetches to have the newest ones without a gap.
const MAX_CAUGHT_UP: u64 = 16;
/// How many proposals are looked at, newest first, for the one that carried a plan.
const MAX_LOOKED_AT: u64 = 300;

/// A plan as this node saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenPlan {
    /// Name, height, info and proposal.
    pub plan: KnownPlan,
    /// Which build it names; `Err` says why no reader may read it.
    pub build: Result<Option<NamedBuild>, String>,
}

impl SeenPlan {
    fn of(plan: KnownPlan) -> Self {
        let build = read_info(&plan.info).map_err(|e| e.to_string());
        SeenPlan { plan, build }
    }
}

/// What is known of the chain now.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Newest decided height; 0 before the first answer.
    pub height: u64,
    /// Its time, unix seconds.
    pub time: u64,
    /// The pending plan.
    pub plan: Option<SeenPlan>,
    /// Why the last look failed.
    pub error: Option<String>,
    /// The kind of that trouble.
    pub trouble: Option<Trouble>,
    /// When the last look succeeded.
    pub seen: Option<Instant>,
    /// When the height rose last.
    pub moved: Option<Instant>,
    /// The vote on the pending plan, or on an upgrade that people still decide.
    pub vote: Option<Vote>,
    /// Mean time between the last blocks, in milliseconds; 0 before it is known.
    pub block_ms: u64,
}

/// The pending plan under a header. Proven, so that an endpoint which lies is found out.
pub fn pending(rpc: &RpcSource, header: u64) -> Result<Option<Plan>, SourceError> {
    let proof = rpc.state(UPGRADE_STORE, PLAN_KEY, header)?;
    Ok(proof.value.and_then(|b| Plan::decode(b.as_slice()).ok()))
}

/// A proposal under a header.
pub fn proposal(rpc: &RpcSource, id: u64, header: u64) -> Result<Option<Proposal>, SourceError> {
    let proof = rpc.state(GOV_STORE, &proposal_key(id), header)?;
    Ok(proof.value.and_then(|b| Proposal::decode(b.as_slice()).ok()))
}

/// The plans that a proposal would schedule.
pub fn plans_of(proposal: &Proposal) -> Vec<Plan> {
    let upgrades = proposal.messages.iter().filter(|m| m.type_url == gov::SOFTWARE_UPGRADE_URL);
    upgrades.filter_map(|m| MsgSoftwareUpgrade::decode(m.value.as_slice()).ok()?.plan).collect()
}

/// The newest passed proposal with an upgrade that is `wanted`, with its number, under a header.
pub fn passed_upgrades(rpc: &RpcSource, header: u64, mut wanted: impl FnMut(u64, &Plan) -> bool) -> Result<Option<(u64, Plan)>, SourceError> {
    let next = rpc.state(GOV_STORE, NEXT_PROPOSAL, header)?.value.and_then(|b| b.try_into().ok()).map_or(1, u64::from_be_bytes);
    for id in (next.saturating_sub(MAX_LOOKED_AT).max(1)..next).rev() {
        let Some(p) = proposal(rpc, id, header)? else { continue };
        if p.status != ProposalStatus::Passed as i32 {
            continue;
        }
        if let Some(plan) = plans_of(&p).pop()
            && wanted(id, &plan)
        {
            return Ok(Some((id, plan)));
        }
    }
    Ok(None)
}

/// The thread's state.
pub struct Follower {
    rpc: RpcSource,
    db: Arc<Db>,
    shared: Arc<Shared>,
    home: PathBuf,
    poll: Duration,
    kept_upto: u64,
    completed: Option<Instant>,
    last_plan: Option<KnownPlan>,
    times_back: u64,
    recent_upto: u64,
    votes: Votes,
    voted: Option<Instant>,
    paced_at: u64,
}

impl Follower {
    /// A follower of one chain.
    pub fn new(rpc: RpcSource, db: Arc<Db>, shared: Arc<Shared>, home: PathBuf, poll: Duration) -> Self {
        Follower { rpc, db, shared, home, poll, kept_upto: 0, completed: None, last_plan: None, times_back: 0, recent_upto: 0, votes: Votes::default(), voted: None, paced_at: 0 }
    }

    /// Follows until told to stop.
    pub fn run(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let near = self.look();
            let mut left = if near { self.poll / 10 } else { self.poll };
            // Short naps, so that a stop is quick.
            while !left.is_zero() && !stop.load(Ordering::Relaxed) {
                let nap = left.min(Duration::from_millis(100));
                std::thread::sleep(nap);
                left -= nap;
            }
        }
    }

    /// One look at the chain. True if a plan's height is near.
    pub fn look(&mut self) -> bool {
        let before = self.shared.view();
        match self.see(&before) {
            Ok(view) => {
                let near = view.plan.as_ref().is_some_and(|p| {
                    view.height + BLOCKS_BEFORE + 2 >= p.plan.height && view.height <= p.plan.height + 1
                });
                self.shared.set_view(view);
                near
            }
            Err(e) => {
                if before.error.as_deref() != Some(e.to_string().as_str()) {
                    tracing::warn!(height = before.height, error = %e, "the chain was not seen");
                }
                let known = before.plan.as_ref().is_some_and(|p| before.height + 3 >= p.plan.height);
                let (error, trouble) = (Some(e.to_string()), Some(e.trouble));
                self.shared.set_view(View { error, trouble, ..before });
                known
            }
        }
    }

    fn see(&mut self, before: &View) -> Result<View, SourceError> {
        let times_back = self.shared.times_back();
        if times_back != self.times_back {
            (self.times_back, self.kept_upto, self.last_plan, self.completed) = (times_back, 0, None, None);
        }
        let height = self.rpc.latest()?;
        let now = Instant::now();
        let moved = height != before.height;
        if height < 2 {
            // No state is proven yet.
            return Ok(View { height, seen: Some(now), error: None, trouble: None, ..before.clone() });
        }
        let plan = if moved || before.seen.is_none() { self.plan(height)? } else { before.plan.clone() };
        let time = match moved || before.time == 0 {
            true if height > 0 => header_time(&self.rpc.light_block(height)?).map_or(before.time, |t| u64::try_from(t.0).unwrap_or(0)),
            _ => before.time,
        };
        if let Some(seen) = &plan {
            self.keep(seen, height);
        }
        if moved {
            self.complete(height);
            self.keep_recent(height);
        }
        let moved_at = if moved { Some(now) } else { before.moved };
        let vote = self.vote(height, plan.as_ref().map(|p| p.plan.proposal), before);
        let block_ms = self.pace(height, time, before.block_ms);
        Ok(View { height, time, plan, error: None, trouble: None, seen: Some(now), moved: moved_at, vote, block_ms })
    }

    /// The vote, looked at now and then: it is for people, and nothing waits for it.
    fn vote(&mut self, height: u64, carried: Option<u64>, before: &View) -> Option<Vote> {
        if self.voted.is_some_and(|t| t.elapsed() < VOTE_EVERY) && carried.is_none_or(|id| before.vote.as_ref().is_some_and(|v| v.proposal == id)) {
            return before.vote.clone();
        }
        self.voted = Some(Instant::now());
        match self.votes.look(&self.rpc, height, carried) {
            Ok(vote) => vote,
            Err(e) => {
                tracing::debug!(error = %e, "the vote was not seen");
                before.vote.clone()
            }
        }
    }

    /// How long a block takes, over the last fifty.
    fn pace(&mut self, height: u64, time: u64, before: u64) -> u64 {
        let old = height.saturating_sub(PACE_BLOCKS).max(1);
        if (before > 0 && height < self.paced_at.saturating_add(PACE_BLOCKS)) || height <= old || time == 0 {
            return before;
        }
        self.paced_at = height;
        let then = self.rpc.light_block(old).ok().and_then(|b| header_time(&b)).and_then(|t| u64::try_from(t.0).ok());
        then.map_or(before, |then| time.saturating_sub(then).saturating_mul(1000) / (height - old))
    }

    /// The pending plan, with the proposal that carried it.
    fn plan(&mut self, header: u64) -> Result<Option<SeenPlan>, SourceError> {
        let Some(plan) = pending(&self.rpc, header)? else {
            self.last_plan = None;
            return Ok(None);
        };
        let height = u64::try_from(plan.height).unwrap_or(0);
        if let Some(known) = self.last_plan.as_ref().filter(|k| k.name == plan.name && k.height == height && k.info == plan.info && k.proposal > 0) {
            return Ok(Some(SeenPlan::of(known.clone())));
        }
        let carried = passed_upgrades(&self.rpc, header, |_, p| p.same_as(&plan))?;
        let known = KnownPlan { name: plan.name, height, info: plan.info, proposal: carried.map_or(0, |(id, _)| id), at_x: false };
        if let Err(e) = self.db.note_plan(&known).map_err(anyhow::Error::from).and_then(|()| PlanNote::write(&self.home, &known)) {
            tracing::error!(error = %e, "the plan was not noted");
        }
        self.kept_upto = 0;
        self.last_plan = Some(known.clone());
        Ok(Some(SeenPlan::of(known)))
    }

    /// Keeps what the chain shows near the plan's height, each height once.
    fn keep(&mut self, seen: &SeenPlan, height: u64) {
        let plan = &seen.plan;
        if plan.proposal == 0 || height + BLOCKS_BEFORE < plan.height || self.kept_upto >= height.min(plan.height) {
            return;
        }
        let Some(policy) = self.shared.policy() else { return };
        let starts: Vec<u64> = self.shared.starts();
        match self.gather(&policy, plan, &starts) {
            Ok(blocks) => {
                self.kept_upto = height.min(plan.height);
                if self.kept_upto == plan.height {
                    let done = KnownPlan { at_x: true, ..plan.clone() };
                    self.last_plan = Some(done.clone());
                    if let Err(e) = self.db.note_plan(&done) {
                        tracing::error!(error = %e, "the plan was not noted");
                    }
                }
                tracing::info!(plan = %plan.name, upto = self.kept_upto, of = plan.height, blocks, "kept evidence near the plan's height");
            }
            Err(e) => tracing::warn!(plan = %plan.name, height, error = %e, "could not keep the evidence of this height yet"),
        }
    }

    /// Keeps the newest blocks, by height and hash: once the chain has left a branch, nobody else may have its headers.
    fn keep_recent(&mut self, height: u64) {
        let from = match height < self.recent_upto {
            // It went back: the same heights come again with other blocks.
            true => height,
            false => self.recent_upto.saturating_add(1).max(height.saturating_sub(MAX_CAUGHT_UP)),
        };
        for at in from.max(1)..=height {
            let kept = self.rpc.light_block(at).map_err(anyhow::Error::from).and_then(|block| {
                let hash = block.untrusted_checkpoint()?.hash;
                Ok(self.db.put_recent(at, hash, &block)?)
            });
            if let Err(e) = kept {
                tracing::debug!(height = at, error = %e, "a block was not kept");
                return;
            }
            self.recent_upto = at;
        }
    }

    /// A supervisor may have killed the chain's node before header X was kept: it is fetched once the new binary answers.
    fn complete(&mut self, height: u64) {
        if self.completed.is_some_and(|t| t.elapsed() < COMPLETE_EVERY) {
            return;
        }
        self.completed = Some(Instant::now());
        let Some(policy) = self.shared.policy() else { return };
        for plan in self.db.plans().unwrap_or_default() {
            let note = format!("not at X {} {}", plan.height, plan.proposal);
            if plan.at_x || plan.proposal == 0 || height <= plan.height || self.db.note(&note).is_ok_and(|n| n.is_some()) {
                continue;
            }
            let shown = match self.rpc.state(UPGRADE_STORE, PLAN_KEY, plan.height) {
                Ok(proof) => proof.value.and_then(|v| Plan::decode(v.as_slice()).ok()),
                Err(_) => continue,
            };
            let kept = match shown.is_some_and(|s| s.name == plan.name && s.info == plan.info) {
                true => self.gather(&policy, &plan, &self.shared.starts()).and_then(|_| Ok(self.db.note_plan(&KnownPlan { at_x: true, ..plan.clone() })?)),
                // Cancelled or overwritten before its height.
                false => self.db.set_note(&note, "").map_err(Into::into),
            };
            match kept {
                Ok(()) => tracing::info!(plan = %plan.name, height = plan.height, "the evidence of a past plan is complete"),
                Err(e) => tracing::warn!(plan = %plan.name, error = %e, "the evidence of a past plan is not complete yet"),
            }
        }
    }

    fn gather(&self, policy: &ChainPolicy, plan: &KnownPlan, starts: &[u64]) -> anyhow::Result<usize> {
        let bundle = Bundle::gather(&self.rpc, policy, plan.proposal, plan.height, starts)?;
        self.db.keep(&bundle)?;
        Ok(bundle.blocks())
    }
}
