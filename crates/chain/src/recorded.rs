//! Judges a recording of a chain: one JSON file with light blocks and the raw answers of a node's RPC.
//!
//! Host side only (feature `json`). It decides nothing by itself: every step is the same code that an enclave runs.
//! A recording is judged by its vote; one without a proposal by the inclusion of its transactions; one with neither by
//! its path. What a file says it expects is never read. Shape: `chain_id`, `trusted`, `path`, `target`, `queries`,
//! and where they apply `vote_end {before, at}`, `at_x` (a light block with its own `queries`), `txs`.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use alloc::{format, vec};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::authorize::AuthorizeError;
use crate::decimal::Decimal;
use crate::evidence::{Hash32, TxProof};
use crate::gov::{GOV_STORE, PLAN_KEY, UPGRADE_STORE, done_key};
use crate::light::{LightBlock, LightClient, LightError, Path, TrustedHeader};
use crate::policy::ChainPolicy;
use crate::proofs::{StateProof, verify_state};
use crate::publication::Included;
use crate::record::Record;
use crate::rpc;
use crate::vote::{Decided, Vote, VoteEnd, VoteError};

/// Most bytes of one recording.
pub const MAX_RECORDING_BYTES: usize = 64 * 1024 * 1024;
/// Lead window where no policy says it, in blocks.
pub const DEFAULT_LEAD_BLOCKS: u64 = 1000;

/// A file that is not a recording.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("recording: {place}: {reason}")]
pub struct BadRecording {
    /// Where in the file.
    pub place: String,
    /// What is wrong there.
    pub reason: String,
}

/// One recording, parsed and untrusted.
#[derive(Clone, Debug)]
pub struct Recording {
    chain_id: String,
    trusted: LightBlock,
    path: Vec<LightBlock>,
    target: LightBlock,
    proofs: Vec<StateProof>,
    vote_end: Option<(LightBlock, LightBlock)>,
    at_x: Option<(LightBlock, Vec<StateProof>)>,
    txs: Vec<Tx>,
}

#[derive(Clone, Debug)]
struct Tx {
    height: u64,
    bytes: Vec<u8>,
    proof: TxProof,
    /// Hashes that the answer repeats; each must fit, or the answer contradicts itself.
    claimed: Vec<(&'static str, [u8; 32], [u8; 32])>,
}

/// What was found about one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// It holds.
    Ok,
    /// It does not.
    Refused,
    /// Said for people; it does not decide.
    Note,
}

/// One question and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// `path`, `proofs`, `vote`, `lead window`, `record`, `route` or `inclusion`.
    pub what: &'static str,
    /// What was found.
    pub finding: Finding,
    /// For people.
    pub text: String,
}

/// The judgement of a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// True if what the file shows holds: its vote, else its inclusion, else its path.
    pub accept: bool,
    /// Chain id of the policy.
    pub chain_id: String,
    /// Height of the target.
    pub head: Option<u64>,
    /// The measurement that the vote names.
    pub measurement: Option<String>,
    /// Question by question.
    pub lines: Vec<Line>,
}

#[derive(Deserialize)]
struct File {
    chain_id: String,
    trusted: Value,
    #[serde(default)]
    path: Option<Vec<Value>>,
    target: Value,
    #[serde(default)]
    queries: Option<Vec<Query>>,
    #[serde(default)]
    vote_end: Option<Ends>,
    #[serde(default)]
    at_x: Option<Value>,
    #[serde(default)]
    txs: Option<Vec<Value>>,
}

#[derive(Deserialize)]
struct Ends {
    before: Value,
    at: Value,
}

#[derive(Deserialize)]
struct Query {
    store: String,
    key_hex: String,
    response: Value,
}

impl Recording {
    /// Reads a file.
    pub fn parse(json: &str) -> Result<Recording, BadRecording> {
        if json.len() > MAX_RECORDING_BYTES {
            return Err(bad("file", format!("expected at most {MAX_RECORDING_BYTES} bytes, got {}", json.len())));
        }
        let file: File = serde_json::from_str(json).map_err(|e| bad("file", e))?;
        let vote_end = match &file.vote_end {
            Some(e) => Some((block("vote_end.before", &e.before)?, block("vote_end.at", &e.at)?)),
            None => None,
        };
        let at_x = match &file.at_x {
            Some(x) => {
                let queries = x.get("queries").cloned().unwrap_or(Value::Array(vec![]));
                let queries: Vec<Query> = serde_json::from_value(queries).map_err(|e| bad("at_x.queries", e))?;
                Some((block("at_x", x)?, proofs("at_x.queries", &queries)?))
            }
            None => None,
        };
        Ok(Recording {
            trusted: block("trusted", &file.trusted)?,
            path: file.path.iter().flatten().map(|b| block("path", b)).collect::<Result<_, _>>()?,
            target: block("target", &file.target)?,
            proofs: proofs("queries", file.queries.as_deref().unwrap_or_default())?,
            txs: file.txs.iter().flatten().map(tx).collect::<Result<_, _>>()?,
            chain_id: file.chain_id,
            vote_end,
            at_x,
        })
    }

    /// The policy where none is given: the file's chain id and first trusted block, the SDK's default bars.
    pub fn default_policy(&self) -> Result<ChainPolicy, LightError> {
        let third = Decimal::from_atomics(333_333_333_333_333_333);
        let two_thirds = Decimal::from_atomics(666_666_666_666_666_667);
        Ok(ChainPolicy {
            chain_id: self.chain_id.clone(),
            checkpoint: self.trusted.untrusted_checkpoint()?,
            trusting_period_secs: 14 * 86_400,
            trust_threshold: (1, 3),
            quorum: third,
            threshold: Decimal::from_atomics(500_000_000_000_000_000),
            veto: third,
            expedited_threshold: two_thirds,
            slack: Decimal::from_atomics(5_000_000_000_000_000),
            override_share: two_thirds,
            power_reduction: 1_000_000,
            lead_blocks: DEFAULT_LEAD_BLOCKS,
        })
    }

    /// Judges the recording under a policy, or under [`Recording::default_policy`].
    pub fn judge(&self, policy: Option<&ChainPolicy>) -> Verdict {
        let mut report = Report::default();
        let given = policy.cloned().map_or_else(|| self.default_policy(), Ok);
        let accept = match given {
            Ok(policy) => {
                report.chain_id.clone_from(&policy.chain_id);
                self.follow(&policy, &mut report)
            }
            Err(e) => report.refuse("path", e),
        };
        let Report { chain_id, head, measurement, lines } = report;
        Verdict { accept, chain_id, head, measurement, lines }
    }

    fn follow(&self, policy: &ChainPolicy, report: &mut Report) -> bool {
        let light = match self.light(policy) {
            Ok(light) => light,
            Err(e) => return report.refuse("path", e),
        };
        let (from, to) = (policy.checkpoint.height, light.head().height());
        report.head = Some(to);
        report.ok("path", format!("header {to} verified from trusted header {from} ({} steps)", self.path.len().saturating_add(1)));
        if let Err(e) = self.check_all(&self.proofs, light.head()) {
            return report.refuse("proofs", e);
        }
        let proposal = self.proofs.iter().find(|p| is_proposal(p));
        match proposal {
            Some(proposal) => {
                let accept = self.judge_vote(policy, &light, proposal, report);
                self.note_records(&light, report);
                accept
            }
            None if !self.txs.is_empty() => self.judge_inclusion(&light, report),
            None => {
                report.note("vote", "the file holds neither proposal nor transaction: judged by its path");
                true
            }
        }
    }

    fn light(&self, policy: &ChainPolicy) -> Result<LightClient, LightError> {
        if policy.chain_id != self.chain_id {
            return Err(LightError::ChainId { expected: policy.chain_id.clone(), got: self.chain_id.clone() });
        }
        let mut light = LightClient::from_checkpoint(policy, &self.trusted)?;
        let blocks = self.path.iter().chain([&self.target]).cloned().collect();
        light.advance(&Path { from_next_validators: self.trusted.next_validators.clone(), blocks })?;
        let target = self.target.untrusted_checkpoint()?;
        if light.head().height() != target.height {
            return Err(LightError::NotForward { trusted: light.head().height(), got: target.height });
        }
        Ok(light)
    }

    /// Every proof in a file must hold: one that fails is no evidence, whatever the rest says.
    fn check_all(&self, proofs: &[StateProof], header: &TrustedHeader) -> Result<(), VoteError> {
        proofs.iter().try_for_each(|p| verify_state(header, p).map(|_| ()).map_err(VoteError::from))
    }

    /// A header beside the way: by light steps, or as the parent of one that is shown.
    fn show(&self, light: &LightClient, block: &LightBlock) -> Result<TrustedHeader, LightError> {
        let height = block.height()?;
        let mut blocks = vec![];
        for step in self.path.iter().chain([&self.target]) {
            if step.height()? < height {
                blocks.push(step.clone());
            }
        }
        blocks.push(block.clone());
        let path = Path { from_next_validators: self.trusted.next_validators.clone(), blocks };
        let shown = light.show(&path).and_then(|mut all| all.pop().ok_or(LightError::EmptyPath));
        shown.or_else(|e| light.head().parent(block).map_err(|_| e))
    }

    fn judge_vote(&self, policy: &ChainPolicy, light: &LightClient, proposal: &StateProof, report: &mut Report) -> bool {
        let head = light.head();
        let Some(plan) = find_plan(&self.proofs) else {
            return report.refuse("vote", "the file holds a proposal but no proof of the pending plan");
        };
        let decided = match (Decided::verify(head, plan, proposal), &self.at_x) {
            (Ok(decided), _) => Ok((decided, head.clone())),
            // The plan is past at the target: what was pending at X counts.
            (Err(VoteError::NoPlan { .. } | VoteError::OtherPlan { .. }), Some((block, proofs))) => {
                self.decided_at_x(light, block, proofs, &proposal.key)
            }
            (Err(e), _) => Err(e),
        };
        let vote = decided.and_then(|(decided, header)| Ok((self.weigh(policy, light, decided)?, header)));
        match vote {
            Ok((vote, header)) => self.judge_build(policy, light, &vote, &header, report),
            Err(e) => report.refuse("vote", e),
        }
    }

    fn decided_at_x(
        &self,
        light: &LightClient,
        block: &LightBlock,
        proofs: &[StateProof],
        proposal_key: &[u8],
    ) -> Result<(Decided, TrustedHeader), VoteError> {
        let header = self.show(light, block)?;
        self.check_all(proofs, &header)?;
        let missing = VoteError::NoPlan { height: header.height() };
        let plan = find_plan(proofs).ok_or(missing.clone())?;
        let proposal = proofs.iter().find(|p| is_proposal(p) && p.key == proposal_key).ok_or(missing)?;
        Ok((Decided::verify(&header, plan, proposal)?, header))
    }

    fn weigh(&self, policy: &ChainPolicy, light: &LightClient, decided: Decided) -> Result<Vote, VoteError> {
        let Some((before, at)) = &self.vote_end else {
            return Err(VoteError::NoVoteEnd { id: decided.proposal_id() });
        };
        let at_header = self.show(light, at)?;
        let before = at_header.parent(before)?;
        decided.weigh(policy, &VoteEnd::verify(&at_header, &before, &at.validators)?)
    }

    fn judge_build(
        &self,
        policy: &ChainPolicy,
        light: &LightClient,
        vote: &Vote,
        header: &TrustedHeader,
        report: &mut Report,
    ) -> bool {
        let Some(measurement) = vote.measurement() else {
            return report.refuse("vote", AuthorizeError::NoBuild { name: vote.plan_name().into() });
        };
        report.measurement = Some(measurement.to_string());
        let (t, height) = (vote.tally(), vote.plan_height());
        report.ok(
            "vote",
            format!(
                "proposal {} PASSED for plan {:?} at height {height}, measurement {measurement}; yes {} of {} bonded tokens at the vote's end ({}), turnout {}{}",
                vote.proposal_id(), vote.plan_name(), t.yes, vote.bonded_tokens(), vote.vote_end_height(), t.turnout(),
                if vote.expedited() { ", expedited bar" } else { "" },
            ),
        );
        let opens = height.saturating_sub(policy.lead_blocks);
        let shown = header.height();
        if shown == light.head().height() && shown < height {
            let now = if shown < opens { "not open yet" } else { "open" };
            report.note("lead window", format!("{now}: heads {opens} to {}, the head is {shown}", height.saturating_sub(1)));
            report.ok("route", "ahead: the plan is pending below X".to_string());
            return true;
        }
        if shown < height.saturating_sub(1) {
            return report.refuse("route", AuthorizeError::NotAtX { shown_at: shown, least: height.saturating_sub(1) });
        }
        report.note("lead window", format!("closed: the plan's height {height} is near or past"));
        self.judge_past_x(light, vote, shown, report)
    }

    fn judge_past_x(&self, light: &LightClient, vote: &Vote, shown: u64, report: &mut Report) -> bool {
        let (head, x) = (light.head().height(), shown.max(vote.plan_height()));
        let key = done_key(x, vote.plan_name());
        let done = self.proofs.iter().find(|p| p.store == UPGRADE_STORE && p.key == key);
        match past_x(head, shown, x, done.map(|p| p.value.is_some())) {
            Ok(text) => report.ok("route", text),
            Err(text) => report.refuse("route", text),
        }
    }

    fn judge_inclusion(&self, light: &LightClient, report: &mut Report) -> bool {
        for tx in &self.txs {
            match self.included(light, tx) {
                Ok(included) => {
                    report.ok("inclusion", format!("the transaction is in block {}", included.height()));
                    note_memo(&included, report);
                }
                Err(e) => return report.refuse("inclusion", e),
            }
        }
        true
    }

    fn note_records(&self, light: &LightClient, report: &mut Report) {
        if self.txs.is_empty() {
            report.note("record", "none in the file: a transfer to another machine, or ahead of X, needs one");
        }
        for tx in &self.txs {
            match self.included(light, tx) {
                Ok(included) => note_memo(&included, report),
                Err(e) => report.note("record", format!("not shown: {e}")),
            }
        }
    }

    fn included(&self, light: &LightClient, tx: &Tx) -> Result<Included, String> {
        if let Some((what, ..)) = tx.claimed.iter().find(|(_, claimed, computed)| claimed != computed) {
            return Err(format!("the answer contradicts itself: {what} is not that of its transaction"));
        }
        let known = self.path.iter().chain([&self.trusted, &self.target]).find(|b| b.height() == Ok(tx.height));
        let block = known.ok_or_else(|| format!("the file holds no light block of height {}", tx.height))?;
        let header = self.show(light, block).map_err(|e| e.to_string())?;
        Included::verify(&header, &tx.bytes, &tx.proof).map_err(|e| e.to_string())
    }
}

/// Header X alone decides; a later head can only show that the upgrade was skipped. The header at the plan's height
/// less one leaves a last block for a cancellation, so where a later head is known it must show that the plan ran.
/// `done`: the done key at the head is proven present or absent.
fn past_x(head: u64, shown: u64, x: u64, done: Option<bool>) -> Result<String, String> {
    if shown < head && head <= x {
        return Err(format!("header {head} no longer shows the plan: cancelled before X = {x}"));
    }
    match done.filter(|_| head > x) {
        Some(false) => Err(format!("skipped: head {head} shows neither the plan nor its done key for X = {x}")),
        Some(true) => Ok(format!("at X = {x}: shown by header {shown}, and the done key is there at head {head}")),
        None if shown < x && head > x => {
            Err(format!("header {shown} is below X = {x}: bring header {x}, or the done key at head {head}"))
        }
        None => Ok(format!("at X = {x}: shown by header {shown}; unrecorded, on one machine")),
    }
}

#[derive(Default)]
struct Report {
    chain_id: String,
    head: Option<u64>,
    measurement: Option<String>,
    lines: Vec<Line>,
}

impl Report {
    fn put(&mut self, what: &'static str, finding: Finding, text: impl ToString) {
        self.lines.push(Line { what, finding, text: text.to_string() });
    }

    fn ok(&mut self, what: &'static str, text: impl ToString) -> bool {
        self.put(what, Finding::Ok, text);
        true
    }

    fn note(&mut self, what: &'static str, text: impl ToString) {
        self.put(what, Finding::Note, text);
    }

    fn refuse(&mut self, what: &'static str, text: impl ToString) -> bool {
        self.put(what, Finding::Refused, text);
        false
    }
}

fn note_memo(included: &Included, report: &mut Report) {
    match Record::parse(included.memo()) {
        Ok(r) => report.note(
            "record",
            format!("block {}: {} of epoch {}, proposal {}, target {}", included.height(), r.kind, r.epoch, r.proposal_id, r.target),
        ),
        Err(e) => report.note("record", format!("block {}: not a record of today: {e}", included.height())),
    }
}

fn is_proposal(p: &StateProof) -> bool {
    p.store == GOV_STORE && p.key.len() == 9 && p.key.first() == Some(&0x00)
}

fn find_plan(proofs: &[StateProof]) -> Option<&StateProof> {
    proofs.iter().find(|p| p.store == UPGRADE_STORE && p.key == PLAN_KEY)
}

fn bad(place: &str, reason: impl ToString) -> BadRecording {
    BadRecording { place: place.into(), reason: reason.to_string() }
}

fn block(place: &str, v: &Value) -> Result<LightBlock, BadRecording> {
    let part = |name: &str| v.get(name).filter(|p| !p.is_null());
    let need = |name: &str| part(name).ok_or_else(|| bad(place, format!("no {name:?}")));
    let next = part("next_validators");
    let block = rpc::light_block_from_rpc(need("commit")?, need("validators")?, next).map_err(|e| bad(place, e))?;
    let got = block.height().map_err(|e| bad(place, e))?;
    match v.get("height").and_then(number) {
        Some(height) if height != got => Err(bad(place, format!("says height {height}, its header is of height {got}"))),
        _ => Ok(block),
    }
}

/// A query whose answer holds no proof shows nothing and is passed over, unless a judgement needs it and misses it.
fn proofs(place: &str, queries: &[Query]) -> Result<Vec<StateProof>, BadRecording> {
    let mut out = vec![];
    for q in queries {
        let place = format!("{place}, {}/0x{}", q.store, q.key_hex);
        if q.response.pointer("/result/response/proofOps").is_none_or(Value::is_null) {
            continue;
        }
        let (proof, _) = rpc::state_proof_from_abci_query(&q.response).map_err(|e| bad(&place, e))?;
        let key = hex::decode(&q.key_hex).map_err(|e| bad(&place, e))?;
        if proof.store != q.store || proof.key != key {
            return Err(bad(&place, format!("the answer is about {}/0x{}", proof.store, hex::encode(&proof.key))));
        }
        out.push(proof);
    }
    Ok(out)
}

/// RPC numbers are text in most places.
fn number(v: &Value) -> Option<u64> {
    v.as_u64().or_else(|| v.as_str()?.parse().ok())
}

fn base64(place: &str, v: Option<&Value>) -> Result<Vec<u8>, BadRecording> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let text = v.and_then(Value::as_str).ok_or_else(|| bad(place, "expected base64 text"))?;
    STANDARD.decode(text).map_err(|e| bad(place, e))
}

fn hash32(place: &str, bytes: Vec<u8>) -> Result<[u8; 32], BadRecording> {
    let got = bytes.len();
    bytes.try_into().map_err(|_| bad(place, format!("expected 32 bytes, got {got}")))
}

fn tx(v: &Value) -> Result<Tx, BadRecording> {
    let at = |p: &str| v.pointer(&format!("/tx/result{p}"));
    let need = |p: &str| at(p).and_then(number).ok_or_else(|| bad("txs", format!("no number at tx.result{p}")));
    let bytes = base64("txs: tx.result.tx", at("/tx"))?;
    let aunts = match at("/proof/proof/aunts") {
        None | Some(Value::Null) => vec![],
        Some(Value::Array(all)) => {
            let one = |a| hash32("txs: aunts", base64("txs: aunts", Some(a))?).map(Hash32);
            all.iter().map(one).collect::<Result<_, _>>()?
        }
        Some(_) => return Err(bad("txs: aunts", "expected a list")),
    };
    let proof = TxProof { total: need("/proof/proof/total")?, index: need("/proof/proof/index")?, aunts };
    let tx_hash: [u8; 32] = Sha256::digest(&bytes).into();
    let leaf: [u8; 32] = Sha256::new().chain_update([0]).chain_update(tx_hash).finalize().into();
    let mut claimed = vec![];
    if let Some(hash) = at("/hash").and_then(Value::as_str) {
        let hash = hex::decode(hash).map_err(|e| bad("txs: tx.result.hash", e))?;
        claimed.push(("hash", hash32("txs: tx.result.hash", hash)?, tx_hash));
    }
    if at("/proof/proof/leaf_hash").is_some() {
        let hash = base64("txs: leaf_hash", at("/proof/proof/leaf_hash"))?;
        claimed.push(("leaf_hash", hash32("txs: leaf_hash", hash)?, leaf));
    }
    if at("/proof/data").is_some() {
        let data = base64("txs: proof.data", at("/proof/data"))?;
        claimed.push(("proof.data", Sha256::digest(data).into(), tx_hash));
    }
    Ok(Tx { height: need("/height")?, bytes, proof, claimed })
}

#[cfg(test)]
mod tests {
    use super::past_x;

    #[test]
    fn header_x_decides_alone_unless_a_later_head_shows_that_it_was_skipped() {
        past_x(100, 100, 100, None).unwrap();
        past_x(105, 100, 100, None).unwrap();
        past_x(105, 100, 100, Some(true)).unwrap();
        assert!(past_x(105, 100, 100, Some(false)).unwrap_err().starts_with("skipped"));
    }

    #[test]
    fn the_header_below_x_needs_what_came_after_it() {
        past_x(99, 99, 100, None).unwrap();
        past_x(105, 99, 100, Some(true)).unwrap();
        assert!(past_x(100, 99, 100, None).unwrap_err().contains("cancelled"));
        assert!(past_x(105, 99, 100, None).unwrap_err().contains("bring header 100"));
        assert!(past_x(105, 99, 100, Some(false)).unwrap_err().starts_with("skipped"));
    }
}
