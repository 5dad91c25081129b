//! The chain itself: blocks, the states after them, and what an operator can do to it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use tendermint_proto::types::{
    Block as BlockPb, BlockId, Commit, Data, EvidenceList, Header, SignedHeader,
};
use tendermint_proto::version::Consensus;

use crate::app::tx::TxResult;
use crate::app::{self, BlockEnv, Outcome, Switch};
use crate::config::{Config, ConfigError};
use crate::consensus::{self, Ballot, Precommit, ValidatorSet};
use crate::journal::{Action, Journal};
use crate::keys::{AccountKey, ConsensusKey};
use crate::merkle::{self, Hash};
use crate::store::Committed;

/// CometBFT's block protocol.
const BLOCK_PROTOCOL: u64 = 11;

/// A chain in one process. Cloning one makes a fork with the same history, which shares its memory.
#[derive(Clone)]
pub struct Devnet {
    pub(crate) config: Arc<Config>,
    pub(crate) keys: Arc<Keys>,
    /// Decided blocks: height 1 first.
    pub(crate) blocks: Vec<Arc<Block>>,
    /// The state after genesis, then after each executed block.
    pub(crate) states: Vec<Arc<State>>,
    pub(crate) mempool: Vec<Vec<u8>>,
    /// Where each transaction stands: height and index.
    pub(crate) index: HashMap<Hash, (u64, usize)>,
    pub(crate) votes: BTreeMap<usize, Precommit>,
    /// Nanoseconds that the next votes come late.
    late: u64,
    skips: BTreeSet<u64>,
    halt: Option<Halt>,
    pub(crate) journal: Journal,
}

/// All keys of a devnet.
pub(crate) struct Keys {
    pub(crate) consensus: Vec<Arc<ConsensusKey>>,
    pub(crate) operators: Vec<AccountKey>,
    pub(crate) users: Vec<AccountKey>,
}

/// A decided block.
pub(crate) struct Block {
    /// `SignedHeader` protobuf.
    pub(crate) signed_header: Vec<u8>,
    pub(crate) id: BlockId,
    /// Nanoseconds since 1970.
    pub(crate) time: u64,
    /// The time that its commit gives to the next block.
    next_time: u64,
    pub(crate) txs: Vec<Vec<u8>>,
    pub(crate) validators: Arc<ValidatorSet>,
    pub(crate) next_validators: Arc<ValidatorSet>,
}

/// What executing a block left behind.
pub(crate) struct State {
    pub(crate) committed: Committed,
    pub(crate) app_hash: Hash,
    pub(crate) results: Vec<TxResult>,
    results_hash: Hash,
    /// The set of the height after the next.
    after_next: Arc<ValidatorSet>,
}

/// The chain stands still at a plan: its block is decided and stored, but this binary cannot run it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the chain halted at height {height}: upgrade {name:?} is needed; resume with its handler, or skip it"
)]
pub struct Halt {
    /// The height that is decided but not executed: X.
    pub height: u64,
    /// The plan's name.
    pub name: String,
}

/// Why no block came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProduceError {
    /// The chain has halted for an upgrade.
    #[error(transparent)]
    Halted(#[from] Halt),
    /// Too few validators are there.
    #[error(
        "height {height}: validators with {signing} of {total} power would sign, expected more than two thirds"
    )]
    NoQuorum {
        /// The height without a block.
        height: u64,
        /// The power that would sign.
        signing: i64,
        /// The power of the set.
        total: i64,
    },
    /// Everybody has unbonded.
    #[error("height {height}: the validator set is empty")]
    NoValidators {
        /// The height without a block.
        height: u64,
    },
}

/// Why an operator's step was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LifecycleError {
    /// There is nothing to resume or to skip.
    #[error("the chain has not halted: height {height} is executed")]
    NotHalted {
        /// The chain's height.
        height: u64,
    },
    /// The new binary is another one than the plan asks for.
    #[error("the binary has a handler for {got:?}, expected {expected:?}, which the plan names")]
    WrongHandler {
        /// The plan's name.
        expected: String,
        /// The handler's name.
        got: String,
    },
    /// The chain cannot go back that far, or has not come that far.
    #[error("height {height} is not between 1 and {latest}")]
    NoHeight {
        /// The height asked for.
        height: u64,
        /// The chain's height.
        latest: u64,
    },
}

impl Devnet {
    /// A chain at height 0, before its first block.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        config.validate()?;
        let keys = Keys::derive(&config);
        let (committed, members) = app::genesis::state(&config, &keys);
        let first = ValidatorSet::genesis(members);
        let genesis = State {
            committed,
            app_hash: merkle::sha256(&[]),
            results: Vec::new(),
            results_hash: merkle::sha256(&[]),
            after_next: Arc::new(first),
        };
        Ok(Self {
            journal: Journal::new(config.clone()),
            config: Arc::new(config),
            keys: Arc::new(keys),
            blocks: Vec::new(),
            states: vec![Arc::new(genesis)],
            mempool: Vec::new(),
            index: HashMap::new(),
            votes: BTreeMap::new(),
            late: 0,
            skips: BTreeSet::new(),
            halt: None,
        })
    }

    /// What the chain started from.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The height of the last decided block; 0 before the first.
    pub fn height(&self) -> u64 {
        self.blocks.len() as u64
    }

    /// The height of the last executed block, up to which queries answer: one less than
    /// [`Devnet::height`] while the chain has halted.
    pub fn state_height(&self) -> u64 {
        self.states.len() as u64 - 1
    }

    /// Where and for what the chain has halted.
    pub fn halted(&self) -> Option<&Halt> {
        self.halt.as_ref()
    }

    /// Decides one block and executes it; returns its height. At a plan's height the block is decided
    /// and its height returned, but it is not executed: from then on [`Devnet::halted`] tells why, and
    /// this call refuses.
    pub fn produce_block(&mut self) -> Result<u64, ProduceError> {
        self.journal.push(Action::Produce(1));
        if self.height() > self.state_height() {
            self.execute(&Switch::Old)?;
        }
        let block = self.decide()?;
        for (at, tx) in block.txs.iter().enumerate() {
            self.index
                .insert(merkle::sha256(&[tx]), (self.height() + 1, at));
        }
        self.blocks.push(Arc::new(block));
        // A halt is no failure of this block: it is decided.
        let _ = self.execute(&Switch::Old);
        Ok(self.height())
    }

    /// Produces blocks until `height` is decided.
    pub fn produce_until(&mut self, height: u64) -> Result<u64, ProduceError> {
        while self.height() < height {
            self.produce_block()?;
        }
        Ok(self.height())
    }

    /// Produces blocks until one has a time of at least `unix_secs`.
    pub fn produce_past(&mut self, unix_secs: u64) -> Result<u64, ProduceError> {
        while self
            .blocks
            .last()
            .is_none_or(|block| block.time < unix_secs.saturating_mul(1_000_000_000))
        {
            self.produce_block()?;
        }
        Ok(self.height())
    }

    /// Lets simulated time pass, in whole milliseconds. As on a real chain the next block still has
    /// the time of the votes that were cast before; the one after it shows the jump.
    pub fn advance_time(&mut self, by: Duration) {
        self.journal.push(Action::Advance(by.as_millis() as u64));
        self.late += by.as_millis() as u64 * 1_000_000;
    }

    /// From the next block on, what validator `index` does with its precommit.
    pub fn set_precommit(&mut self, index: usize, vote: Precommit) {
        self.journal.push(Action::Precommit(index, vote));
        self.votes.insert(index, vote);
    }

    /// Ends a halt with a binary that has the handler `name`: block X is executed, the plan is done.
    /// Transactions that were broadcast during the halt are lost.
    pub fn resume_with_handler(&mut self, name: &str) -> Result<(), LifecycleError> {
        let halt = self.expect_halt()?;
        if halt.name != name {
            return Err(LifecycleError::WrongHandler {
                expected: halt.name,
                got: name.into(),
            });
        }
        self.journal.push(Action::Resume);
        self.leave_halt(&Switch::Handler(name.into()));
        Ok(())
    }

    /// Ends a halt with the old binary under `--unsafe-skip-upgrades`: block X is executed, the plan is
    /// cleared, no done key is written.
    pub fn skip_upgrade(&mut self) -> Result<(), LifecycleError> {
        let halt = self.expect_halt()?;
        self.journal.push(Action::Skip);
        self.skips.insert(halt.height);
        self.leave_halt(&Switch::Old);
        Ok(())
    }

    /// Takes back the state of the last executed block, as the daemon's `rollback` does: the block is
    /// executed again before the next one. With `remove_block` the last block goes too (`--hard`), and
    /// another one may be decided at its height. On a halted chain the state is where it was.
    pub fn rollback(&mut self, remove_block: bool) -> Result<(), LifecycleError> {
        let latest = self.height();
        if latest < 2 {
            return Err(LifecycleError::NoHeight {
                height: latest.saturating_sub(1),
                latest,
            });
        }
        self.journal.push(Action::Rollback(remove_block));
        self.states.truncate(latest as usize);
        self.mempool.clear();
        if remove_block {
            self.forget_above(latest - 1);
            self.halt = None;
        }
        Ok(())
    }

    /// The chain as it was at `height`, from which another history can follow: the validators of that
    /// time sign. Something must differ (a transaction, a time, an absent vote), or the same blocks come.
    pub fn fork_at(&self, height: u64) -> Result<Self, LifecycleError> {
        if height < 1 || height > self.state_height() {
            return Err(LifecycleError::NoHeight {
                height,
                latest: self.state_height(),
            });
        }
        let mut fork = self.clone();
        fork.journal.push(Action::Fork(height));
        fork.go_back_to(height);
        Ok(fork)
    }

    pub(crate) fn go_back_to(&mut self, height: u64) {
        self.states.truncate(height as usize + 1);
        self.forget_above(height);
        self.halt = None;
        self.mempool.clear();
        self.late = 0;
    }

    fn forget_above(&mut self, height: u64) {
        self.blocks.truncate(height as usize);
        self.index.retain(|_, (at, _)| *at <= height);
        self.skips.retain(|at| *at <= height);
    }

    pub(crate) fn last_state(&self) -> &Arc<State> {
        // There is always the state of genesis.
        &self.states[self.states.len() - 1]
    }

    fn expect_halt(&self) -> Result<Halt, LifecycleError> {
        self.halt.clone().ok_or(LifecycleError::NotHalted {
            height: self.state_height(),
        })
    }

    fn leave_halt(&mut self, switch: &Switch) {
        self.halt = None;
        self.mempool.clear();
        let _ = self.execute(switch);
    }

    /// Executes the one decided block that has no state yet.
    fn execute(&mut self, switch: &Switch) -> Result<(), Halt> {
        let height = self.states.len() as u64;
        let block = self.blocks[height as usize - 1].clone();
        let env = BlockEnv {
            config: &self.config,
            keys: &self.keys,
            height,
            time: block.time,
            proposer: block.validators.proposer().address,
            skip: self.skips.contains(&height),
            switch,
        };
        match app::execute(&self.last_state().committed, &env, &block.txs) {
            Ok(outcome) => {
                let state = State::after(height, outcome, &block.next_validators);
                self.states.push(Arc::new(state));
                Ok(())
            }
            Err(halt) => {
                self.halt = Some(halt.clone());
                Err(halt)
            }
        }
    }

    /// The next block, from the mempool, with its commit.
    fn decide(&mut self) -> Result<Block, ProduceError> {
        let height = self.height() + 1;
        let (validators, next_validators) = self.next_sets();
        if validators.members.is_empty() {
            return Err(ProduceError::NoValidators { height });
        }
        self.require_quorum(height, &validators)?;
        let (time, last_id, last_commit) = self.after_last();
        let txs = self.mempool.clone();
        let header = self.header(
            &validators,
            &next_validators,
            time,
            &last_id,
            &last_commit,
            &txs,
        );
        self.mempool.clear();
        let hash = consensus::header_hash(&header);
        let block = BlockPb {
            header: Some(header.clone()),
            data: Some(Data { txs: txs.clone() }),
            evidence: Some(EvidenceList::default()),
            last_commit: Some(last_commit),
        };
        let parts = consensus::parts(&block.encode_to_vec());
        let id = BlockId {
            hash: hash.to_vec(),
            part_set_header: Some(parts),
        };
        let ballots = self.ballots(&validators, height, time);
        self.late = 0;
        let commit = consensus::commit(
            &self.config.chain_id,
            height as i64,
            &id,
            &ballots,
            &self.keys.consensus,
        );
        let next_time = consensus::median_time(&ballots);
        let signed_header = SignedHeader {
            header: Some(header),
            commit: Some(commit),
        }
        .encode_to_vec();
        Ok(Block {
            signed_header,
            id,
            time,
            next_time,
            txs,
            validators,
            next_validators,
        })
    }

    fn header(
        &self,
        validators: &ValidatorSet,
        next_validators: &ValidatorSet,
        time: u64,
        last_id: &BlockId,
        last_commit: &Commit,
        txs: &[Vec<u8>],
    ) -> Header {
        let state = self.last_state();
        let digests: Vec<Hash> = txs.iter().map(|tx| merkle::sha256(&[tx])).collect();
        Header {
            version: Some(Consensus {
                block: BLOCK_PROTOCOL,
                app: 0,
            }),
            chain_id: self.config.chain_id.clone(),
            height: self.height() as i64 + 1,
            time: Some(consensus::timestamp(time)),
            last_block_id: Some(last_id.clone()),
            last_commit_hash: consensus::commit_hash(last_commit).to_vec(),
            data_hash: merkle::root(&digests).to_vec(),
            validators_hash: validators.hash.to_vec(),
            next_validators_hash: next_validators.hash.to_vec(),
            consensus_hash: consensus::consensus_hash().to_vec(),
            app_hash: state.app_hash.to_vec(),
            last_results_hash: state.results_hash.to_vec(),
            evidence_hash: merkle::sha256(&[]).to_vec(),
            proposer_address: validators.proposer().address.to_vec(),
        }
    }

    /// The sets of the next block and of the one after it.
    fn next_sets(&self) -> (Arc<ValidatorSet>, Arc<ValidatorSet>) {
        let after_next = &self.last_state().after_next;
        match self.blocks.last() {
            Some(block) => (block.next_validators.clone(), after_next.clone()),
            None => (after_next.clone(), Arc::new(after_next.rotated())),
        }
    }

    /// Time, id and commit that the next block takes from the last one.
    fn after_last(&self) -> (u64, BlockId, Commit) {
        match self.blocks.last() {
            Some(block) => {
                let signed =
                    SignedHeader::decode(block.signed_header.as_slice()).unwrap_or_default();
                (
                    block.next_time,
                    block.id.clone(),
                    signed.commit.unwrap_or_default(),
                )
            }
            None => {
                let empty = Commit {
                    block_id: Some(consensus::no_block()),
                    ..Commit::default()
                };
                (
                    self.config.genesis_time_secs * 1_000_000_000,
                    consensus::no_block(),
                    empty,
                )
            }
        }
    }

    fn require_quorum(&self, height: u64, validators: &ValidatorSet) -> Result<(), ProduceError> {
        let total = validators.total();
        let commits =
            |index: &usize| self.votes.get(index).copied().unwrap_or_default() == Precommit::Commit;
        let signing = validators
            .members
            .iter()
            .filter(|member| commits(&member.index));
        let signing: i64 = signing.map(|member| member.power).sum();
        if signing * 3 > total * 2 {
            Ok(())
        } else {
            Err(ProduceError::NoQuorum {
                height,
                signing,
                total,
            })
        }
    }

    /// Everybody's vote on the block at `height`: one block interval later, each a little apart.
    fn ballots<'a>(&self, validators: &'a ValidatorSet, height: u64, time: u64) -> Vec<Ballot<'a>> {
        let base = time + self.config.block_interval_ms * 1_000_000 + self.late;
        let spread = |index: usize| (height * 7_919 + index as u64 * 104_729) % 50_000_000;
        let ballot = |member: &'a consensus::Member| Ballot {
            member,
            vote: self.votes.get(&member.index).copied().unwrap_or_default(),
            time: base + spread(member.index),
        };
        validators.members.iter().map(ballot).collect()
    }
}

impl State {
    fn after(height: u64, outcome: Outcome, next_validators: &ValidatorSet) -> Self {
        let committed = outcome.state.commit(height);
        let leaves: Vec<Vec<u8>> = outcome.results.iter().map(TxResult::hashed).collect();
        let after_next = if outcome.updates.is_empty() {
            next_validators.rotated()
        } else {
            next_validators.updated(&outcome.updates).rotated()
        };
        Self {
            app_hash: committed.hash(),
            committed,
            results_hash: merkle::root(&leaves),
            results: outcome.results,
            after_next: Arc::new(after_next),
        }
    }
}

impl Keys {
    fn derive(config: &Config) -> Self {
        let consensus = |index| Arc::new(ConsensusKey::derive(config.seed, index));
        let operator = |index| AccountKey::derive("operator", config.seed, index);
        let user = |index| AccountKey::derive("user", config.seed, index);
        Self {
            consensus: (0..config.powers.len()).map(consensus).collect(),
            operators: (0..config.powers.len()).map(operator).collect(),
            users: (0..config.users).map(user).collect(),
        }
    }
}
