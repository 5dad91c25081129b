//! The vote that is under way, or that carried the pending plan, beside the bar inside the enclave.
//!
//! The chain's own parameters may be lower than what the policy inside demands; then a vote that passed on chain moves
//! nothing (H17). So both are shown while people can still vote. The live tally is what an endpoint counts, unproven.

use std::collections::BTreeSet;

use baton_chain::decimal::Decimal;
use baton_chain::gov::{GOV_STORE, Proposal, ProposalStatus, TallyResult};
use baton_chain::info::read_info;
use baton_chain::policy::ChainPolicy;
use baton_host::chain::{ChainSource, SourceError};
use baton_host::rpc::RpcSource;
use prost::Message;
use serde_json::{Value, json};
use tendermint_proto::types::ValidatorSet;

use super::follow::{plans_of, proposal};

/// How many proposals are looked at, newest first.
const LOOKED_AT: u64 = 40;
/// x/gov: number of the next proposal.
const NEXT_PROPOSAL: &[u8] = &[0x03];
/// The node's own count of a vote that is under way.
const TALLY_QUERY: &str = "/cosmos.gov.v1.Query/TallyResult";

/// `cosmos.gov.v1.QueryTallyResultRequest`.
#[derive(Clone, PartialEq, Message)]
struct TallyRequest {
    #[prost(uint64, tag = "1")]
    proposal_id: u64,
}

/// `cosmos.gov.v1.QueryTallyResultResponse`.
#[derive(Clone, PartialEq, Message)]
struct TallyResponse {
    #[prost(message, optional, tag = "1")]
    tally: Option<TallyResult>,
}

/// A vote on an upgrade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vote {
    /// The proposal.
    pub proposal: u64,
    /// Its status, as x/gov calls it.
    pub status: &'static str,
    /// Its plan's name.
    pub plan: String,
    /// Its plan's height.
    pub height: u64,
    /// The build that it names, or why nobody may read it.
    pub measurement: Result<Option<String>, String>,
    /// End of the vote, unix seconds.
    pub ends: u64,
    /// Judged by the expedited bar.
    pub expedited: bool,
    /// Yes, abstain, no, no with veto, in base denomination; none while no endpoint counts.
    pub tally: Option<[u128; 4]>,
    /// Voting power now, in the chain's units.
    pub power: u64,
}

fn counts(t: &TallyResult) -> Option<[u128; 4]> {
    let n = |text: &str| text.parse::<u128>().ok();
    Some([n(&t.yes_count)?, n(&t.abstain_count)?, n(&t.no_count)?, n(&t.no_with_veto_count)?])
}

/// Looks for votes, and remembers which proposals are decided.
#[derive(Debug, Default)]
pub struct Votes {
    decided: BTreeSet<u64>,
}

impl Votes {
    /// The vote on the pending plan's proposal, else the newest one under way that carries an upgrade.
    pub fn look(&mut self, rpc: &RpcSource, header: u64, carried: Option<u64>) -> Result<Option<Vote>, SourceError> {
        if let Some(id) = carried.filter(|id| *id > 0)
            && let Some(p) = proposal(rpc, id, header)?
        {
            return self.read(rpc, header, id, &p);
        }
        let next = rpc.state(GOV_STORE, NEXT_PROPOSAL, header)?.value.and_then(|b| b.try_into().ok()).map_or(1, u64::from_be_bytes);
        for id in (next.saturating_sub(LOOKED_AT).max(1)..next).rev() {
            if self.decided.contains(&id) {
                continue;
            }
            let Some(p) = proposal(rpc, id, header)? else { continue };
            match ProposalStatus::try_from(p.status) {
                Ok(ProposalStatus::VotingPeriod) => {
                    if let Some(vote) = self.read(rpc, header, id, &p)? {
                        return Ok(Some(vote));
                    }
                }
                Ok(ProposalStatus::Passed | ProposalStatus::Rejected | ProposalStatus::Failed) => {
                    self.decided.insert(id);
                }
                _ => {}
            }
        }
        Ok(None)
    }

    fn read(&self, rpc: &RpcSource, header: u64, id: u64, p: &Proposal) -> Result<Option<Vote>, SourceError> {
        let Some(plan) = plans_of(p).pop() else { return Ok(None) };
        let status = ProposalStatus::try_from(p.status).unwrap_or_default();
        let tally = match status {
            // While people vote the proposal itself holds zeros.
            ProposalStatus::VotingPeriod => {
                let asked = rpc.query(TALLY_QUERY, &TallyRequest { proposal_id: id }.encode_to_vec());
                asked.ok().flatten().and_then(|b| counts(&TallyResponse::decode(b.as_slice()).ok()?.tally?))
            }
            _ => p.final_tally_result.as_ref().and_then(counts),
        };
        let set = ValidatorSet::decode(rpc.light_block(header)?.validators.as_slice()).unwrap_or_default();
        let power = set.validators.iter().map(|v| u64::try_from(v.voting_power).unwrap_or(0)).sum();
        Ok(Some(Vote {
            proposal: id,
            status: status.name(),
            plan: plan.name,
            height: u64::try_from(plan.height).unwrap_or(0),
            measurement: read_info(&plan.info).map(|b| b.map(|b| b.measurement.to_string())).map_err(|e| e.to_string()),
            ends: p.voting_end_time.as_ref().map_or(0, |t| u64::try_from(t.seconds).unwrap_or(0)),
            expedited: p.expedited,
            tally,
            power,
        }))
    }
}

/// One of the enclave's bars.
fn bar(name: &str, rule: &str, wanted: Decimal, part: u128, whole: u128, holds: bool) -> Value {
    let share = if whole == 0 { 0.0 } else { (part as f64) / (whole as f64) };
    json!({"name": name, "rule": rule, "bar": wanted.to_string(), "share": (share * 10_000.0).round() / 10_000.0, "holds": holds})
}

/// The vote with the bars of a policy. `meets` says what the enclave would say of this tally at this power.
pub fn beside_bar(vote: &Vote, policy: &ChainPolicy) -> Value {
    let bonded = u128::from(vote.power).saturating_mul(u128::from(policy.power_reduction));
    let mut out = json!({
        "proposal": vote.proposal, "status": vote.status, "plan": vote.plan, "height": vote.height, "ends": vote.ends,
        "expedited": vote.expedited, "bonded": bonded.to_string(),
        "measurement": vote.measurement.as_ref().ok().cloned().flatten(), "unreadable": vote.measurement.as_ref().err(),
    });
    let Some([yes, abstain, no, veto]) = vote.tally else {
        out["tally"] = Value::Null;
        return out;
    };
    let decided = yes.saturating_add(no).saturating_add(veto);
    let turnout = decided.saturating_add(abstain);
    let quorum = policy.quorum.saturating_sub(policy.slack);
    let (threshold, rule) = match vote.expedited {
        true => (policy.expedited_threshold, "yes of all but abstentions, expedited, above"),
        false => (policy.threshold, "yes of all but abstentions, above"),
    };
    let bars = vec![
        bar("quorum", "turnout of all bonded power, at least", quorum, turnout, bonded, quorum.at_most_ratio(turnout, bonded)),
        bar("threshold", rule, threshold, yes, decided, threshold.below_ratio(yes, decided)),
        bar("veto", "veto of all votes, not above", policy.veto, veto, turnout, turnout > 0 && !policy.veto.below_ratio(veto, turnout)),
        bar("override", "yes of all bonded power, above: then the vote may name a signer that is not listed", policy.override_share, yes, bonded, policy.override_share.below_ratio(yes, bonded)),
    ];
    // The last one is needed for a new signer only.
    out["meets"] = json!(bars.iter().take(3).all(|b| b["holds"] == true));
    out["tally"] = json!({"yes": yes.to_string(), "abstain": abstain.to_string(), "no": no.to_string(), "veto": veto.to_string()});
    out["bars"] = json!(bars);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> ChainPolicy {
        let d = |t: &str| t.parse().unwrap();
        ChainPolicy {
            chain_id: "c-1".into(),
            checkpoint: baton_chain::policy::Checkpoint { height: 1, hash: [0; 32] },
            trusting_period_secs: 1,
            trust_threshold: (1, 3),
            quorum: d("0.4"),
            threshold: d("0.5"),
            veto: d("0.334"),
            expedited_threshold: d("0.667"),
            slack: d("0.005"),
            override_share: d("0.667"),
            power_reduction: 10,
            lead_blocks: 1,
        }
    }

    fn vote(tally: [u128; 4], expedited: bool) -> Vote {
        let (plan, status) = ("v2".into(), "VOTING_PERIOD");
        Vote { proposal: 1, status, plan, height: 9, measurement: Ok(None), ends: 0, expedited, tally: Some(tally), power: 100 }
    }

    #[test]
    fn h17_the_live_tally_is_weighed_by_the_enclaves_own_bar_not_by_the_chains() {
        let meets = |t, e| beside_bar(&vote(t, e), &policy())["meets"] == true;
        assert!(meets([395, 0, 0, 0], false), "the quorum less the slack");
        assert!(!meets([394, 0, 0, 0], false));
        assert!(!meets([300, 0, 300, 0], false), "exactly half is not above it");
        assert!(!meets([600, 0, 0, 400], false), "vetoed");
        assert!(meets([600, 0, 350, 0], false) && !meets([600, 0, 350, 0], true), "expedited needs more");
        assert!(!meets([0, 600, 0, 0], false), "abstentions alone decide nothing");
        let unknown = beside_bar(&Vote { tally: None, ..vote([0; 4], false) }, &policy());
        assert!(unknown["tally"].is_null() && unknown["meets"].is_null(), "no count is no verdict");
    }
}
