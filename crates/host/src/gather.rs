//! Evidence: which light blocks and proofs an enclave needs, fetched and put together.
//!
//! A path must be one that the enclave can walk, so steps are tried here with the same code that the
//! enclave runs, and a step with too little trust is halved.

use std::cell::RefCell;
use std::collections::BTreeMap;

use baton_attest::identity::PlatformId;
use baton_chain::admission::{Admission, AdmissionEvidence, VouchedEvidence, voted, vouched};
use baton_chain::evidence::{
    AtXEvidence, HeaderEvidence, PowerEvidence, PublicationEvidence, RecordEvidence, StandingEvidence, UpgradeEvidence, VERSION,
    VoteEndEvidence,
};
use baton_chain::gov::{self, done_key, proposal_key};
use baton_chain::light::{LightBlock, LightError, Path, StepParams, TrustedHeader, verify_step};
use baton_chain::policy::ChainPolicy;
use baton_chain::proofs::StateProof;
use baton_chain::staking::{BONDED, STAKING_STORE, VALIDATORS, validator_key};
use prost::Message;
use tendermint_proto::types::SignedHeader;

use crate::chain::{ChainSource, Included, SourceError};

/// Why no evidence could be put together.
#[derive(Debug, thiserror::Error)]
pub enum GatherError {
    /// The chain source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The chain itself cannot be followed.
    #[error(transparent)]
    Light(#[from] LightError),
    /// Nothing is planned.
    #[error("no plan is pending at header {0}")]
    NoPlan(u64),
    /// No such proposal.
    #[error("there is no proposal {0}, or it cannot be read")]
    NoProposal(u64),
    /// The vote's end cannot be found.
    #[error("no header at or after the end of the vote of proposal {0} yet; wait for one more block")]
    VoteNotOver(u64),
    /// No validator vouches.
    #[error("platform {0} is not admitted: no validator names it in its details; let one set them to baton1:{0} (tx staking edit-validator --details), then run the same command again")]
    NobodyVouches(PlatformId),
    /// No vote admits it.
    #[error("platform {0} is not admitted: no passed proposal has the metadata baton-admit:{0}; propose it, then run the same command again")]
    NoVoteAdmits(PlatformId),
    /// Nothing to start from.
    #[error("the enclave trusts no header at or below {0}")]
    NoStart(u64),
}

/// Gathers from one source, for enclaves of one policy. Light blocks that were fetched are kept: one piece of
/// evidence needs the same ones several times, and a source may be a network away.
pub struct Gather<'a> {
    source: &'a dyn ChainSource,
    params: StepParams,
    fetched: RefCell<BTreeMap<u64, LightBlock>>,
}

impl<'a> Gather<'a> {
    /// For a policy.
    pub fn new(source: &'a dyn ChainSource, policy: &ChainPolicy) -> Self {
        Gather { source, params: StepParams::from_policy(policy), fetched: RefCell::default() }
    }

    fn block(&self, height: u64) -> Result<LightBlock, GatherError> {
        if let Some(known) = self.fetched.borrow().get(&height) {
            return Ok(known.clone());
        }
        let block = self.source.light_block(height)?;
        self.fetched.borrow_mut().insert(height, block.clone());
        Ok(block)
    }

    /// Light steps from a trusted height up to another.
    pub fn path(&self, from: u64, to: u64) -> Result<Path, GatherError> {
        let mut path = Path { from_next_validators: None, blocks: Vec::new() };
        if to <= from {
            return Ok(path);
        }
        let start = self.block(from)?;
        path.from_next_validators = start.next_validators.clone();
        let checkpoint = start.untrusted_checkpoint()?;
        // The start is whatever the source says; the enclave knows better, and refuses if it differs.
        let (chain_id, _) = peek(&start).ok_or_else(|| SourceError {
            trouble: crate::chain::Trouble::Lying,
            source_name: "the chain source".into(),
            what: format!("readable header {from}"),
            reason: "its bytes are no header with a time".into(),
        })?;
        let mut trusted = TrustedHeader::from_checkpoint(&chain_id, &checkpoint, &start)?;
        let mut next = path.from_next_validators.clone();
        while trusted.height() < to {
            let mut goal = to;
            loop {
                let block = self.block(goal)?;
                match verify_step(&trusted, next.as_deref(), &block, &self.params) {
                    Ok(header) => {
                        next = block.next_validators.clone();
                        trusted = header;
                        path.blocks.push(block);
                        break;
                    }
                    Err(e) if goal == trusted.height() + 1 => return Err(e.into()),
                    Err(_) => goal = trusted.height() + (goal - trusted.height()) / 2,
                }
            }
        }
        Ok(path)
    }

    fn header(&self, trusted: &[u64], height: u64) -> Result<HeaderEvidence, GatherError> {
        let from = trusted.iter().copied().filter(|t| *t <= height).max().ok_or(GatherError::NoStart(height))?;
        let mut path = self.path(from, height)?;
        if path.blocks.is_empty() {
            // The very header that is trusted already: shown by itself.
            path.blocks.push(self.block(height)?);
        }
        Ok(HeaderEvidence { path, links: Vec::new() })
    }

    /// The pending plan under a header.
    pub fn plan(&self, header: u64) -> Result<StateProof, GatherError> {
        Ok(self.source.state(gov::UPGRADE_STORE, gov::PLAN_KEY, header)?)
    }

    fn proposal(&self, id: u64, header: u64) -> Result<StateProof, GatherError> {
        Ok(self.source.state(gov::GOV_STORE, &proposal_key(id), header)?)
    }

    /// The two linked headers around the end of a proposal's vote.
    fn vote_end(&self, trusted: &[u64], id: u64, proposal: &StateProof, upto: u64) -> Result<VoteEndEvidence, GatherError> {
        let end = proposal.value.as_deref().and_then(voting_end).ok_or(GatherError::NoProposal(id))?;
        let low = self.source.vote_end(end, upto)?.ok_or(GatherError::VoteNotOver(id))?;
        let at = self.block(low)?;
        Ok(VoteEndEvidence {
            at: self.header(trusted, low)?,
            validators: at.validators.clone(),
            before: self.block(low - 1)?,
        })
    }

    /// The heights of the two linked headers around the end of a proposal's vote.
    pub fn vote_end_heights(&self, id: u64, header: u64) -> Result<(u64, u64), GatherError> {
        let proof = self.proposal(id, header)?;
        let end = proof.value.as_deref().and_then(voting_end).ok_or(GatherError::NoProposal(id))?;
        let at = self.source.vote_end(end, header)?.ok_or(GatherError::VoteNotOver(id))?;
        Ok((at.saturating_sub(1), at))
    }

    /// The heights of the light blocks that lead from one height to another.
    pub fn stops(&self, from: u64, to: u64) -> Result<Vec<u64>, GatherError> {
        let path = self.path(from, to)?;
        Ok(path.blocks.iter().filter_map(|b| b.untrusted_checkpoint().ok()).map(|c| c.height).collect())
    }

    /// Inclusion of a record, its header shown from a trusted one.
    pub fn publication(&self, trusted: &[u64], tx: &Included) -> Result<PublicationEvidence, GatherError> {
        Ok(PublicationEvidence { header: self.header(trusted, tx.height)?, tx: tx.tx.clone(), proof: tx.proof.clone() })
    }

    /// For the route *ahead*: from the enclave's heights (its anchors, then its head) to `head`. Headers below the head are shown after
    /// the head has moved, so `head` itself counts as trusted for them.
    pub fn ahead(&self, trusted: &[u64], proposal: u64, tx: &Included, head: u64) -> Result<UpgradeEvidence, GatherError> {
        let from = trusted.iter().copied().max().ok_or(GatherError::NoStart(head))?;
        let proof = self.proposal(proposal, head)?;
        let anchors = anchors_after(trusted, head);
        Ok(UpgradeEvidence {
            version: VERSION,
            to_head: self.path(from, head)?,
            plan: self.plan(head)?,
            vote_end: self.vote_end(&anchors, proposal, &proof, head)?,
            proposal: proof,
            publication: self.publication(&anchors, tx)?,
            admission: None,
        })
    }

    /// For the route *at X* and for activation, under header `x`.
    pub fn at_x(&self, trusted: &[u64], proposal: u64, x: u64) -> Result<AtXEvidence, GatherError> {
        let proof = self.proposal(proposal, x)?;
        Ok(AtXEvidence {
            version: VERSION,
            x: self.header(trusted, x)?,
            plan: self.plan(x)?,
            vote_end: self.vote_end(trusted, proposal, &proof, x)?,
            proposal: proof,
            publication: None,
            admission: None,
        })
    }

    /// For `join`.
    pub fn record(&self, trusted: &[u64], tx: &Included, head: u64) -> Result<RecordEvidence, GatherError> {
        let from = trusted.iter().copied().max().ok_or(GatherError::NoStart(head))?;
        let anchors = anchors_after(trusted, head);
        Ok(RecordEvidence {
            version: VERSION,
            to_head: self.path(from, head)?,
            publication: self.publication(&anchors, tx)?,
            admission: None,
        })
    }

    /// The record of a validator that vouches for a machine, under a header. `operator` is its account, 20 bytes.
    pub fn vouching(&self, operator: &[u8; 20], header: u64) -> Result<AdmissionEvidence, GatherError> {
        Ok(AdmissionEvidence::Vouched {
            record: self.source.state(STAKING_STORE, &validator_key(operator), header)?,
            next_validators: self.next_validators(header)?,
        })
    }

    /// The proposal that admitted a machine, under a header.
    pub fn admitting(&self, trusted: &[u64], proposal: u64, header: u64) -> Result<AdmissionEvidence, GatherError> {
        let proof = self.proposal(proposal, header)?;
        Ok(AdmissionEvidence::Voted {
            vote_end: self.vote_end(trusted, proposal, &proof, header)?,
            proposal: proof,
        })
    }

    /// What admits a machine under a header, by the policy's rule: found in the chain's own lists, then proven.
    pub fn admission(
        &self,
        rule: Admission,
        trusted: &[u64],
        machine: &PlatformId,
        header: u64,
    ) -> Result<Option<AdmissionEvidence>, GatherError> {
        match rule {
            Admission::Any => Ok(None),
            Admission::Vouched => {
                let names = |v: &(_, gov::Validator)| vouched(v.1.details()).is_ok_and(|ids| ids.contains(machine));
                let found = self.validators()?.into_iter().find(names).ok_or(GatherError::NobodyVouches(*machine))?;
                self.vouching(&found.0, header).map(Some)
            }
            Admission::Voted => {
                let all = self.source.list(gov::GOV_STORE, &[0])?;
                let passed = |p: &gov::Proposal| p.status == gov::ProposalStatus::Passed as i32;
                let mut all = all.iter().filter_map(|(_, value)| gov::Proposal::decode(value.as_slice()).ok()).filter(passed);
                let names = |p: &gov::Proposal| voted(&p.metadata).is_ok_and(|ids| ids.contains(machine));
                let found = all.find(names).ok_or(GatherError::NoVoteAdmits(*machine))?;
                self.admitting(trusted, found.id, header).map(Some)
            }
        }
    }

    /// Every validator's account (20 bytes) and record, unproven.
    fn validators(&self) -> Result<Vec<([u8; 20], gov::Validator)>, GatherError> {
        let records = self.source.list(STAKING_STORE, &VALIDATORS)?;
        let read = |(key, value): &(Vec<u8>, Vec<u8>)| {
            let operator = key.get(VALIDATORS.len()..)?.try_into().ok()?;
            Some((operator, gov::Validator::decode(value.as_slice()).ok()?))
        };
        Ok(records.iter().filter_map(read).collect())
    }

    /// For the barrier: the records of all validators that vouch for machines, under the enclave's own head or a later one.
    pub fn power(&self, trusted: &[u64], head: u64) -> Result<PowerEvidence, GatherError> {
        let from = trusted.iter().copied().max().ok_or(GatherError::NoStart(head))?;
        let mut records = Vec::new();
        for (operator, validator) in self.validators()? {
            if vouched(validator.details()).is_err() {
                continue;
            }
            let proof = self.source.state(STAKING_STORE, &validator_key(&operator), head)?;
            // One that came or left since that head counts nothing there, and must not spoil the rest.
            let then = proof.value.as_deref().and_then(|v| gov::Validator::decode(v).ok());
            if then.is_some_and(|v| v.status == BONDED && !v.jailed) {
                records.push(proof);
            }
        }
        Ok(PowerEvidence {
            version: VERSION,
            to_head: self.path(from, head)?,
            vouched: VouchedEvidence { next_validators: self.next_validators(head)?, records },
        })
    }

    fn next_validators(&self, height: u64) -> Result<Vec<u8>, GatherError> {
        self.block(height)?.next_validators.ok_or_else(|| {
            let what = format!("the validators after height {height}");
            let trouble = crate::chain::Trouble::Absent;
            SourceError { trouble, source_name: "the chain source".into(), what, reason: "the light block has none".into() }.into()
        })
    }

    /// What became of a plan, at `head`; `x` is where it ran or would have run.
    pub fn standing(&self, trusted: &[u64], name: &str, x: u64, head: u64) -> Result<StandingEvidence, GatherError> {
        let from = trusted.iter().copied().max().ok_or(GatherError::NoStart(head))?;
        let done = match head > x {
            true => Some(self.source.state(gov::UPGRADE_STORE, &done_key(x, name), head)?),
            false => None,
        };
        Ok(StandingEvidence { version: VERSION, to_head: self.path(from, head)?, plan: self.plan(head)?, done })
    }
}

/// Chain id and time (seconds, nanoseconds) of a header that nobody has verified.
fn peek(block: &LightBlock) -> Option<(String, (i64, i32))> {
    let header = SignedHeader::decode(block.signed_header.as_slice()).ok()?.header?;
    let time = header.time?;
    Some((header.chain_id, (time.seconds, time.nanos)))
}

/// Time (seconds, nanoseconds) of a header that nobody has verified.
pub fn header_time(block: &LightBlock) -> Option<(i64, i32)> {
    peek(block).map(|(_, time)| time)
}

fn voting_end(proposal: &[u8]) -> Option<(i64, i32)> {
    let end = gov::Proposal::decode(proposal).ok()?.voting_end_time?;
    Some((end.seconds, end.nanos))
}

/// The heights that an enclave certainly trusts once its head has moved: its anchors stay, the old head,
/// which is last in the list, does not.
fn anchors_after(trusted: &[u64], head: u64) -> Vec<u64> {
    let Some((old_head, anchors)) = trusted.split_last() else { return vec![head] };
    let mut out = anchors.to_vec();
    out.push(head.max(*old_head));
    out
}
