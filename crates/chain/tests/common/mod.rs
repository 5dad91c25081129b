//! A small signed chain and fixture readers, shared by tests and benches.
#![allow(dead_code, reason = "each test uses its own part")]

use baton_chain::light::{LightBlock, Path, validator_set_hash};
use baton_chain::{ChainPolicy, Checkpoint};
use ed25519_dalek::{Signer, SigningKey};
use prost::Message;
use sha2::{Digest, Sha256};
use tendermint_proto::google::protobuf::Timestamp;
use tendermint_proto::v0_38::{crypto as pbc, types as pb, version::Consensus};

pub fn fixture(name: &str) -> serde_json::Value {
    let path = format!("{}/tests/fixtures/chain/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))).unwrap()
}

/// A validator: its key comes from its number.
#[derive(Clone)]
pub struct Val {
    pub key: SigningKey,
    pub power: u64,
}

pub fn val(number: u64, power: u64) -> Val {
    let seed: [u8; 32] = Sha256::digest(number.to_le_bytes()).into();
    Val {
        key: SigningKey::from_bytes(&seed),
        power,
    }
}

pub fn vals(powers: &[u64]) -> Vec<Val> {
    (0..).zip(powers).map(|(n, p)| val(n, *p)).collect()
}

pub fn address(v: &Val) -> Vec<u8> {
    Sha256::digest(v.key.verifying_key().as_bytes())[..20].to_vec()
}

/// The set in the order that CometBFT hashes it: falling power, then rising address.
pub fn sorted(set: &[Val]) -> Vec<Val> {
    let mut out = set.to_vec();
    out.sort_by_key(|v| (std::cmp::Reverse(v.power), address(v)));
    out
}

pub fn pb_set(set: &[Val]) -> pb::ValidatorSet {
    let one = |v: &Val| pb::Validator {
        address: address(v),
        pub_key: Some(pbc::PublicKey {
            sum: Some(pbc::public_key::Sum::Ed25519(
                v.key.verifying_key().to_bytes().to_vec(),
            )),
        }),
        voting_power: v.power as i64,
        proposer_priority: 0,
    };
    pb::ValidatorSet {
        validators: sorted(set).iter().map(one).collect(),
        proposer: None,
        total_voting_power: 0,
    }
}

/// How a block is made; [`Make::light_block`] signs it.
#[derive(Clone)]
pub struct Make {
    pub chain_id: String,
    pub height: i64,
    pub secs: i64,
    pub vals: Vec<Val>,
    pub next: Vec<Val>,
    /// Who votes for the block, by place in the sorted set; the others are absent.
    pub signs: fn(usize) -> bool,
    pub last_block_hash: Option<[u8; 32]>,
    pub app_hash: Vec<u8>,
}

pub fn make(height: i64, secs: i64, set: &[Val]) -> Make {
    Make {
        chain_id: "test-1".into(),
        height,
        secs,
        vals: set.to_vec(),
        next: set.to_vec(),
        signs: |_| true,
        last_block_hash: None,
        app_hash: vec![9; 32],
    }
}

impl Make {
    pub fn signed_header(&self) -> pb::SignedHeader {
        let hash = |set: &[Val]| {
            validator_set_hash(&pb_set(set).encode_to_vec())
                .unwrap()
                .to_vec()
        };
        let header = pb::Header {
            version: Some(Consensus { block: 11, app: 0 }),
            chain_id: self.chain_id.clone(),
            height: self.height,
            time: Some(Timestamp {
                seconds: self.secs,
                nanos: 5,
            }),
            last_block_id: self.last_block_hash.map(|h| block_id(h.to_vec())),
            last_commit_hash: vec![1; 32],
            data_hash: vec![2; 32],
            validators_hash: hash(&self.vals),
            next_validators_hash: hash(&self.next),
            consensus_hash: vec![3; 32],
            app_hash: self.app_hash.clone(),
            last_results_hash: vec![4; 32],
            evidence_hash: vec![5; 32],
            proposer_address: vec![6; 20],
        };
        self.sign(header)
    }

    /// Signs a header, whatever it says.
    pub fn sign(&self, header: pb::Header) -> pb::SignedHeader {
        let empty = pb::Commit {
            height: self.height,
            round: 1,
            block_id: Some(block_id(vec![0; 32])),
            signatures: vec![],
        };
        let unsigned = pb::SignedHeader {
            header: Some(header),
            commit: Some(empty.clone()),
        };
        let probe = LightBlock {
            signed_header: unsigned.encode_to_vec(),
            validators: vec![],
            next_validators: None,
        };
        let id = block_id(probe.untrusted_checkpoint().unwrap().hash.to_vec());
        let signatures = sorted(&self.vals)
            .iter()
            .enumerate()
            .map(|(i, v)| self.vote(i, v, &id))
            .collect();
        let commit = pb::Commit {
            block_id: Some(id),
            signatures,
            ..empty
        };
        pb::SignedHeader {
            header: unsigned.header,
            commit: Some(commit),
        }
    }

    fn vote(&self, place: usize, v: &Val, id: &pb::BlockId) -> pb::CommitSig {
        if !(self.signs)(place) {
            let zero = Timestamp {
                seconds: -62_135_596_800,
                nanos: 0,
            };
            return pb::CommitSig {
                block_id_flag: 1,
                validator_address: vec![],
                timestamp: Some(zero),
                signature: vec![],
            };
        }
        // Each vote has its own time.
        let timestamp = Timestamp {
            seconds: self.secs + 1,
            nanos: place as i32,
        };
        let parts = id.part_set_header.clone().unwrap();
        let vote = pb::CanonicalVote {
            r#type: 2,
            height: self.height,
            round: 1,
            block_id: Some(pb::CanonicalBlockId {
                hash: id.hash.clone(),
                part_set_header: Some(pb::CanonicalPartSetHeader {
                    total: parts.total,
                    hash: parts.hash,
                }),
            }),
            timestamp: Some(timestamp),
            chain_id: self.chain_id.clone(),
        };
        let signature = v
            .key
            .sign(&vote.encode_length_delimited_to_vec())
            .to_bytes()
            .to_vec();
        pb::CommitSig {
            block_id_flag: 2,
            validator_address: address(v),
            timestamp: Some(timestamp),
            signature,
        }
    }

    pub fn light_block(&self) -> LightBlock {
        LightBlock {
            signed_header: self.signed_header().encode_to_vec(),
            validators: pb_set(&self.vals).encode_to_vec(),
            next_validators: Some(pb_set(&self.next).encode_to_vec()),
        }
    }
}

fn block_id(hash: Vec<u8>) -> pb::BlockId {
    pb::BlockId {
        hash,
        part_set_header: Some(pb::PartSetHeader {
            total: 1,
            hash: vec![7; 32],
        }),
    }
}

pub const DAY: i64 = 86_400;
pub const PERIOD: i64 = 14 * DAY;

pub fn policy(chain_id: &str, checkpoint: Checkpoint, trusting_period_secs: i64) -> ChainPolicy {
    let d = |s: &str| s.parse().unwrap();
    ChainPolicy {
        chain_id: chain_id.into(),
        checkpoint,
        trusting_period_secs: trusting_period_secs as u64,
        trust_threshold: (1, 3),
        quorum: d("0.334"),
        threshold: d("0.5"),
        veto: d("0.334"),
        expedited_threshold: d("0.667"),
        slack: d("0.005"),
        override_share: d("0.667"),
        power_reduction: 1_000_000,
        lead_blocks: 100,
    }
}

pub fn policy_of(chain_id: &str, block: &LightBlock, trusting_period_secs: i64) -> ChainPolicy {
    policy(
        chain_id,
        block.untrusted_checkpoint().unwrap(),
        trusting_period_secs,
    )
}

pub fn path(from: &LightBlock, blocks: &[LightBlock]) -> Path {
    Path {
        from_next_validators: from.next_validators.clone(),
        blocks: blocks.to_vec(),
    }
}
