//! Validator sets, headers and commits as CometBFT 0.38 makes them (types/validator_set.go,
//! types/block.go, types/vote.go, types/canonical.go).

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message;
use serde::{Deserialize, Serialize};
use tendermint_proto::crypto::{PublicKey, public_key};
use tendermint_proto::google::protobuf::Timestamp;
use tendermint_proto::types::{
    BlockId, BlockIdFlag, BlockParams, CanonicalBlockId, CanonicalPartSetHeader, CanonicalVote,
    Commit, CommitSig, ConsensusParams, HashedParams, Header, PartSetHeader, SignedMsgType,
    SimpleValidator, Validator as ValidatorPb, ValidatorSet as ValidatorSetPb,
};

use crate::keys::{Address, ConsensusKey};
use crate::merkle::{self, Hash, sha256};

/// Bytes of one block part.
const PART_BYTES: usize = 65_536;
/// How far priorities may lie apart, in total powers (PriorityWindowSizeFactor).
const PRIORITY_WINDOW: i64 = 2;

/// What a validator does when a block is up for precommit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Precommit {
    /// Signs the block.
    #[default]
    Commit,
    /// Signs that it saw none.
    Nil,
    /// Is switched off.
    Absent,
}

/// A member of a validator set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its number among the devnet's validators, hence its key.
    pub(crate) index: usize,
    pub(crate) address: Address,
    pub(crate) public: [u8; 32],
    pub(crate) power: i64,
    pub(crate) priority: i64,
}

/// A validator set at one height: highest power first, then by address.
#[derive(Clone, Debug)]
pub(crate) struct ValidatorSet {
    pub(crate) members: Vec<Member>,
    pub(crate) hash: Hash,
    proposer: usize,
}

impl ValidatorSet {
    /// The first set, with the proposer of block 1.
    pub(crate) fn genesis(members: Vec<Member>) -> Self {
        let mut set = Self {
            members,
            hash: [0; 32],
            proposer: 0,
        };
        set.settle();
        set.rotated()
    }

    pub(crate) fn total(&self) -> i64 {
        self.members.iter().map(|member| member.power).sum()
    }

    pub(crate) fn proposer(&self) -> &Member {
        &self.members[self.proposer]
    }

    /// The set after `updates` (new powers by validator, 0 to leave), before its proposer is chosen.
    pub(crate) fn updated(&self, updates: &BTreeMap<usize, Member>) -> Self {
        let mut members: BTreeMap<usize, Member> = self
            .members
            .iter()
            .map(|member| (member.index, member.clone()))
            .collect();
        let stays = |old: &Member| {
            updates.get(&old.index).map_or(old.power, |new| {
                if new.power == 0 { old.power } else { new.power }
            })
        };
        let joins = updates
            .values()
            .filter(|update| !members.contains_key(&update.index));
        let before_removals: i64 = self
            .members
            .iter()
            .map(stays)
            .chain(joins.map(|update| update.power))
            .sum();
        for (index, update) in updates {
            if update.power == 0 {
                members.remove(index);
                continue;
            }
            // A newcomer starts far back, so that nobody gains by leaving and coming again.
            let newcomer = -(before_removals + (before_removals >> 3));
            let priority = members.get(index).map_or(newcomer, |old| old.priority);
            members.insert(
                *index,
                Member {
                    priority,
                    ..update.clone()
                },
            );
        }
        let mut set = Self {
            members: members.into_values().collect(),
            hash: self.hash,
            proposer: 0,
        };
        set.rescale();
        set.centre();
        set.settle();
        set
    }

    /// The set of the next height: every priority grows by the power, the highest one proposes.
    pub(crate) fn rotated(&self) -> Self {
        let mut set = self.clone();
        set.rescale();
        set.centre();
        for member in &mut set.members {
            member.priority += member.power;
        }
        let total = set.total();
        let first = |a: &Member, b: &Member| {
            a.priority
                .cmp(&b.priority)
                .then_with(|| b.address.cmp(&a.address))
        };
        let highest = set
            .members
            .iter()
            .enumerate()
            .max_by(|(_, a), (_, b)| first(a, b))
            .map_or(0, |(at, _)| at);
        set.proposer = highest;
        set.members[highest].priority -= total;
        set
    }

    pub(crate) fn to_pb(&self) -> ValidatorSetPb {
        let validator = |member: &Member| ValidatorPb {
            address: member.address.to_vec(),
            pub_key: Some(public_key(&member.public)),
            voting_power: member.power,
            proposer_priority: member.priority,
        };
        ValidatorSetPb {
            validators: self.members.iter().map(validator).collect(),
            proposer: Some(validator(self.proposer())),
            total_voting_power: self.total(),
        }
    }

    /// Sorts the members and takes the hash anew.
    pub(crate) fn settle(&mut self) {
        self.members.sort_by(|a, b| {
            b.power
                .cmp(&a.power)
                .then_with(|| a.address.cmp(&b.address))
        });
        let leaf = |member: &Member| {
            let pub_key = Some(public_key(&member.public));
            SimpleValidator {
                pub_key,
                voting_power: member.power,
            }
            .encode_to_vec()
        };
        let leaves: Vec<Vec<u8>> = self.members.iter().map(leaf).collect();
        self.hash = merkle::root(&leaves);
    }

    fn rescale(&mut self) {
        let window = PRIORITY_WINDOW * self.total();
        let priorities = self.members.iter().map(|member| member.priority);
        let (Some(low), Some(high)) = (priorities.clone().min(), priorities.max()) else {
            return;
        };
        if window > 0 && high - low > window {
            let divisor = (high - low + window - 1) / window;
            for member in &mut self.members {
                member.priority /= divisor;
            }
        }
    }

    fn centre(&mut self) {
        let sum: i128 = self
            .members
            .iter()
            .map(|member| i128::from(member.priority))
            .sum();
        let mean = sum.div_euclid(self.members.len().max(1) as i128) as i64;
        for member in &mut self.members {
            member.priority -= mean;
        }
    }
}

fn public_key(key: &[u8; 32]) -> PublicKey {
    PublicKey {
        sum: Some(public_key::Sum::Ed25519(key.to_vec())),
    }
}

/// Nanoseconds since 1970 as a protobuf timestamp.
pub(crate) fn timestamp(nanos: u64) -> Timestamp {
    const SECOND: u64 = 1_000_000_000;
    Timestamp {
        seconds: (nanos / SECOND) as i64,
        nanos: (nanos % SECOND) as i32,
    }
}

/// A protobuf timestamp as nanoseconds since 1970; 0 for one before that.
pub(crate) fn nanos(time: Timestamp) -> u64 {
    u64::try_from(time.seconds).unwrap_or(0) * 1_000_000_000
        + u64::try_from(time.nanos).unwrap_or(0)
}

/// Go's zero time, which stands in every absent signature and in every plan.
pub(crate) const ZERO_TIME: Timestamp = Timestamp {
    seconds: -62_135_596_800,
    nanos: 0,
};

/// The consensus parameters of a stock chain, as far as they are hashed: blocks of 21 MiB, gas without bound.
pub(crate) fn params() -> ConsensusParams {
    ConsensusParams {
        block: Some(BlockParams {
            max_bytes: 22_020_096,
            max_gas: -1,
        }),
        ..ConsensusParams::default()
    }
}

/// Their hash.
pub(crate) fn consensus_hash() -> Hash {
    let block = params().block.unwrap_or_default();
    let hashed = HashedParams {
        block_max_bytes: block.max_bytes,
        block_max_gas: block.max_gas,
    };
    sha256(&[&hashed.encode_to_vec()])
}

/// The hash of a header: the root over its fourteen fields, each in its protobuf wrapping.
pub(crate) fn header_hash(header: &Header) -> Hash {
    let fields = [
        header.version.unwrap_or_default().encode_to_vec(),
        header.chain_id.encode_to_vec(),
        header.height.encode_to_vec(),
        header.time.unwrap_or_default().encode_to_vec(),
        header
            .last_block_id
            .clone()
            .unwrap_or_default()
            .encode_to_vec(),
        header.last_commit_hash.encode_to_vec(),
        header.data_hash.encode_to_vec(),
        header.validators_hash.encode_to_vec(),
        header.next_validators_hash.encode_to_vec(),
        header.consensus_hash.encode_to_vec(),
        header.app_hash.encode_to_vec(),
        header.last_results_hash.encode_to_vec(),
        header.evidence_hash.encode_to_vec(),
        header.proposer_address.encode_to_vec(),
    ];
    merkle::root(&fields)
}

/// The root over a commit's signatures.
pub(crate) fn commit_hash(commit: &Commit) -> Hash {
    let leaves: Vec<Vec<u8>> = commit
        .signatures
        .iter()
        .map(Message::encode_to_vec)
        .collect();
    merkle::root(&leaves)
}

/// The part set of an encoded block.
pub(crate) fn parts(block: &[u8]) -> PartSetHeader {
    let parts: Vec<&[u8]> = block.chunks(PART_BYTES).collect();
    PartSetHeader {
        total: parts.len() as u32,
        hash: merkle::root(&parts).to_vec(),
    }
}

/// An id that names no block: block 1 has one as its last.
pub(crate) fn no_block() -> BlockId {
    BlockId {
        hash: Vec::new(),
        part_set_header: Some(PartSetHeader::default()),
    }
}

/// A vote to be signed: who, what, when (nanoseconds since 1970).
pub(crate) struct Ballot<'a> {
    pub(crate) member: &'a Member,
    pub(crate) vote: Precommit,
    pub(crate) time: u64,
}

/// The commit of `block` at `height`, signed by the keys of the members, in round 0.
pub(crate) fn commit(
    chain_id: &str,
    height: i64,
    block: &BlockId,
    ballots: &[Ballot<'_>],
    keys: &[Arc<ConsensusKey>],
) -> Commit {
    let sign = |ballot: &Ballot<'_>| {
        let flag = match ballot.vote {
            Precommit::Commit => BlockIdFlag::Commit,
            Precommit::Nil => BlockIdFlag::Nil,
            Precommit::Absent => {
                return CommitSig {
                    block_id_flag: BlockIdFlag::Absent.into(),
                    timestamp: Some(ZERO_TIME),
                    ..CommitSig::default()
                };
            }
        };
        let voted = (ballot.vote == Precommit::Commit).then_some(block);
        let time = timestamp(ballot.time);
        let bytes = sign_bytes(chain_id, height, voted, time);
        CommitSig {
            block_id_flag: flag.into(),
            validator_address: ballot.member.address.to_vec(),
            timestamp: Some(time),
            signature: keys[ballot.member.index].sign(&bytes),
        }
    };
    let signatures = ballots.iter().map(sign).collect();
    Commit {
        height,
        round: 0,
        block_id: Some(block.clone()),
        signatures,
    }
}

/// What a precommit signs, with its length before it.
fn sign_bytes(chain_id: &str, height: i64, block: Option<&BlockId>, time: Timestamp) -> Vec<u8> {
    let block_id = block.map(|block| {
        let parts = block.part_set_header.clone().unwrap_or_default();
        let part_set_header = Some(CanonicalPartSetHeader {
            total: parts.total,
            hash: parts.hash,
        });
        CanonicalBlockId {
            hash: block.hash.clone(),
            part_set_header,
        }
    });
    let vote = CanonicalVote {
        r#type: SignedMsgType::Precommit.into(),
        height,
        round: 0,
        block_id,
        timestamp: Some(time),
        chain_id: chain_id.into(),
    };
    vote.encode_length_delimited_to_vec()
}

/// The time of the block after a commit: the median of its votes, weighed by power (BFT time).
pub(crate) fn median_time(ballots: &[Ballot<'_>]) -> u64 {
    let mut votes: Vec<(u64, i64)> = ballots
        .iter()
        .filter(|ballot| ballot.vote != Precommit::Absent)
        .map(|ballot| (ballot.time, ballot.member.power))
        .collect();
    votes.sort_unstable();
    let mut left = votes.iter().map(|(_, power)| power).sum::<i64>() / 2;
    for (time, power) in &votes {
        if left <= *power {
            return *time;
        }
        left -= power;
    }
    0
}

#[cfg(test)]
mod tests;
