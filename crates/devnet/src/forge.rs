//! Headers that no honest chain has, signed by keys that the devnet holds: for tests of what a verifier
//! must refuse, or cannot.

use std::sync::Arc;

use prost::Message;
use tendermint_proto::types::{BlockId, SignedHeader};

use crate::consensus::{self, Ballot, Member, Precommit, ValidatorSet};
use crate::devnet::Devnet;
use crate::merkle::Hash;
use crate::query::{LightBlock, QueryError};
use crate::sdk::Timestamp;

/// A header to forge: the chain's own header at `height`, or its last one moved up to it, with what is
/// given here in place of the truth.
#[derive(Clone, Debug, Default)]
pub struct Forgery {
    /// The height that the header claims.
    pub height: u64,
    /// Its time.
    pub time: Option<Timestamp>,
    /// Its chain id, which the signatures cover too.
    pub chain_id: Option<String>,
    /// Its app hash.
    pub app_hash: Option<Hash>,
    /// Its data hash.
    pub data_hash: Option<Hash>,
    /// The hash of the block before it.
    pub last_block_hash: Option<Hash>,
    /// Its validators: their numbers and powers.
    pub validators: Option<Vec<(usize, u64)>>,
    /// The next header's validators.
    pub next_validators: Option<Vec<(usize, u64)>>,
    /// The numbers of those who sign; all of the set when nothing is said. The others are absent.
    pub signers: Option<Vec<usize>>,
}

impl Devnet {
    /// A light block as [`Forgery`] says, with true signatures of its signers. The chain does not change.
    pub fn forge(&self, forgery: &Forgery) -> Result<LightBlock, QueryError> {
        let latest = self.height();
        if latest == 0 {
            return Err(QueryError::NoBlock {
                height: forgery.height,
                latest,
            });
        }
        let from = forgery.height.clamp(1, latest);
        let base = &self.blocks[from as usize - 1];
        let set = |wanted: &Option<Vec<(usize, u64)>>, own: &Arc<ValidatorSet>| match wanted {
            Some(members) => Arc::new(self.set_of(members)),
            None => own.clone(),
        };
        let validators = set(&forgery.validators, &base.validators);
        let next_validators = set(&forgery.next_validators, &base.next_validators);
        let mut header = self.signed_header(from)?.header.unwrap_or_default();
        header.height = forgery.height as i64;
        header.validators_hash = validators.hash.to_vec();
        header.next_validators_hash = next_validators.hash.to_vec();
        header.proposer_address = validators.proposer().address.to_vec();
        if let Some(chain_id) = &forgery.chain_id {
            header.chain_id.clone_from(chain_id);
        }
        if let Some(time) = forgery.time {
            header.time = Some(time);
        }
        if let Some(hash) = forgery.app_hash {
            header.app_hash = hash.to_vec();
        }
        if let Some(hash) = forgery.data_hash {
            header.data_hash = hash.to_vec();
        }
        if let (Some(hash), Some(last)) = (forgery.last_block_hash, header.last_block_id.as_mut()) {
            last.hash = hash.to_vec();
        }
        let hash = consensus::header_hash(&header);
        let id = BlockId {
            hash: hash.to_vec(),
            part_set_header: Some(consensus::parts(&hash)),
        };
        let time = consensus::nanos(header.time.unwrap_or_default())
            + self.config.block_interval_ms * 1_000_000;
        let signs = |index: usize| {
            forgery
                .signers
                .as_ref()
                .is_none_or(|signers| signers.contains(&index))
        };
        let vote = |member: &Member| {
            if signs(member.index) {
                Precommit::Commit
            } else {
                Precommit::Absent
            }
        };
        let members = validators.members.iter();
        let ballots: Vec<Ballot<'_>> = members
            .map(|member| Ballot {
                member,
                vote: vote(member),
                time,
            })
            .collect();
        let commit = consensus::commit(
            &header.chain_id,
            header.height,
            &id,
            &ballots,
            &self.keys.consensus,
        );
        Ok(LightBlock {
            signed_header: SignedHeader {
                header: Some(header),
                commit: Some(commit),
            }
            .encode_to_vec(),
            validators: validators.to_pb().encode_to_vec(),
            next_validators: next_validators.to_pb().encode_to_vec(),
        })
    }

    fn set_of(&self, members: &[(usize, u64)]) -> ValidatorSet {
        let member = |(index, power): &(usize, u64)| {
            let key = &self.keys.consensus[*index];
            Member {
                index: *index,
                address: key.address(),
                public: key.public(),
                power: *power as i64,
                priority: 0,
            }
        };
        ValidatorSet::genesis(members.iter().map(member).collect())
    }
}
