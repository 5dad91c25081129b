//! `baton evidence verify`: recordings of a chain, and evidence as hosts send it to enclaves.

use baton_chain::ChainPolicy;
use baton_chain::authorize::show;
use baton_chain::evidence::{
    AtXEvidence, PublicationEvidence, RecordEvidence, StandingEvidence, UpgradeEvidence,
    VoteEndEvidence,
};
use baton_chain::light::{LightClient, Path, TrustedHeader};
use baton_chain::proofs::{StateProof, verify_state};
use baton_chain::publication::Published;
use baton_chain::record::Record;
use baton_chain::recorded::{Finding, Line, MAX_RECORDING_BYTES, Recording, Verdict};
use baton_chain::vote::{Vote, VoteEnd, pending_plan};
use serde_json::{Value, json};

use crate::cli::EvidenceArgs;
use crate::commands::light;
use crate::files;
use crate::output::{Failure, Report};
use crate::times::show_duration;

/// Verifies a file of evidence.
pub fn verify(args: &EvidenceArgs) -> Result<Report, Failure> {
    let bytes = files::read(&args.file, "evidence", MAX_RECORDING_BYTES)?;
    let policy = args
        .policy
        .as_deref()
        .map(files::read_chain_policy)
        .transpose()?;
    if files::looks_like_json(&bytes) {
        if args.trusted.is_some() {
            return Err(Failure::input(
                "--trusted is for evidence in CBOR; a recording holds its own trusted block",
            ));
        }
        return recording(args, &bytes, policy.as_ref());
    }
    let message = Message::read(&bytes).ok_or_else(|| {
        Failure::input(format!("evidence {}: neither a recording nor evidence of this version", args.file.display()))
            .next("bring a recording (JSON), or the CBOR of UpgradeEvidence, AtXEvidence, StandingEvidence or RecordEvidence")
    })?;
    let (Some(policy), Some(trusted)) = (policy, args.trusted.as_deref()) else {
        return Err(Failure::input(format!(
            "evidence {}: holds no trusted block of its own",
            args.file.display()
        ))
        .next(
            "name the policy with --policy, and the light block of its checkpoint with --trusted",
        ));
    };
    let light::Side::Block(trusted) = light::read(trusted)? else {
        return Err(Failure::input(
            "--trusted: expected one light block, got a recording or an IBC header",
        ));
    };
    let client = LightClient::from_checkpoint(&policy, &trusted).map_err(|e| light::refusal(&e))?;
    message.verify(&policy, client)
}

fn recording(
    args: &EvidenceArgs,
    bytes: &[u8],
    policy: Option<&ChainPolicy>,
) -> Result<Report, Failure> {
    let place = args.file.display();
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Failure::input(format!("evidence {place}: bytes that are not UTF-8")))?;
    let recording = Recording::parse(text).map_err(|e| {
        Failure::input(e).at(place).next("a recording holds chain_id, trusted, path, target and queries, each as the node answered")
    })?;
    let verdict = recording.judge(policy);
    let mut out = Report::new();
    out.both("chain id", "chain_id", &verdict.chain_id);
    bars(policy, &recording, &mut out);
    lines(&verdict, &mut out);
    out.field("head", verdict.head)
        .field("measurement", verdict.measurement.clone());
    match verdict.lines.iter().find(|l| l.finding == Finding::Refused) {
        Some(line) if !verdict.accept => out
            .field("reason", line.text.as_str())
            .verdict(false, format!("by the line {:?} above", line.what)),
        _ => out.verdict(verdict.accept, held(&verdict)),
    };
    Ok(out)
}

/// Which bars were applied, and who set them.
fn bars(given: Option<&ChainPolicy>, recording: &Recording, out: &mut Report) {
    let source = if given.is_some() {
        "the policy's"
    } else {
        "the SDK's defaults, and the file's own trusted block"
    };
    let Some(p) = given.cloned().or_else(|| recording.default_policy().ok()) else {
        return;
    };
    let (n, d) = p.trust_threshold;
    out.row(
        "trusted",
        format!(
            "header {} with hash {}",
            p.checkpoint.height,
            hex::encode(p.checkpoint.hash)
        ),
    );
    out.row("bars", format!(
        "{source}: quorum {} less {}, threshold {} (expedited {}), veto {}; trusting period {}, trust {n}/{d}",
        p.quorum, p.slack, p.threshold, p.expedited_threshold, p.veto, show_duration(p.trusting_period_secs),
    ));
    out.field("policy", json!({ "given": given.is_some(), "chain": p }));
}

/// The order in which people read the questions; what is not in it comes first.
const ORDER: [&str; 6] = ["path", "proofs", "vote", "lead window", "record", "route"];

/// Each question on its own line. What a refusal left open is said as such.
fn lines(verdict: &Verdict, out: &mut Report) {
    let mut all: Vec<&Line> = verdict.lines.iter().collect();
    let has = |what| verdict.lines.iter().any(|l| l.what == what);
    let missing = if has("vote") && !has("inclusion") {
        &ORDER[3..]
    } else {
        &[]
    };
    let missing: Vec<Line> = missing
        .iter()
        .filter(|what| !has(what))
        .map(|what| Line {
            what,
            finding: Finding::Note,
            text: "not judged".into(),
        })
        .collect();
    all.extend(&missing);
    // Lines of one kind keep their order.
    all.sort_by_key(|l| ORDER.iter().position(|what| *what == l.what));
    for line in all {
        out.row(line.what, said(line));
    }
    out.field(
        "lines",
        serde_json::to_value(&verdict.lines).unwrap_or(Value::Null),
    );
}

fn said(line: &Line) -> String {
    match line.finding {
        Finding::Ok => format!("ok: {}", line.text),
        Finding::Refused => format!("refused: {}", line.text),
        Finding::Note => line.text.clone(),
    }
}

fn held(verdict: &Verdict) -> &'static str {
    let has = |what| {
        verdict
            .lines
            .iter()
            .any(|l| l.what == what && l.finding == Finding::Ok)
    };
    if has("vote") {
        "the vote holds"
    } else if has("inclusion") {
        "the transactions are in their blocks; the file holds no vote"
    } else {
        "the path holds; the file holds neither vote nor transaction"
    }
}

/// Evidence as it goes to an enclave.
pub(crate) enum Message {
    Upgrade(UpgradeEvidence),
    AtX(AtXEvidence),
    Standing(StandingEvidence),
    Record(RecordEvidence),
}

impl Message {
    /// Tries each type. Upgrade comes before standing: a reader skips unknown fields, so the larger must be tried first.
    pub(crate) fn read(bytes: &[u8]) -> Option<Message> {
        UpgradeEvidence::from_cbor(bytes)
            .map(Message::Upgrade)
            .or_else(|_| AtXEvidence::from_cbor(bytes).map(Message::AtX))
            .or_else(|_| StandingEvidence::from_cbor(bytes).map(Message::Standing))
            .or_else(|_| RecordEvidence::from_cbor(bytes).map(Message::Record))
            .ok()
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Message::Upgrade(_) => "UpgradeEvidence (route ahead)",
            Message::AtX(_) => "AtXEvidence (route at X, activation)",
            Message::Standing(_) => "StandingEvidence (what became of a plan)",
            Message::Record(_) => "RecordEvidence (join, sync)",
        }
    }

    /// Vote, record and standing, by the enclave's own checks. Target and request are an enclave's to compare, and are shown.
    fn verify(&self, policy: &ChainPolicy, mut client: LightClient) -> Result<Report, Failure> {
        let mut out = Report::new();
        out.both("evidence", "evidence", self.name()).both(
            "chain id",
            "chain_id",
            &policy.chain_id,
        );
        match self {
            Message::Upgrade(e) => {
                advance(&mut client, &e.to_head, &mut out)?;
                let head = client.head().clone();
                let vote = judge_vote(
                    policy,
                    &client,
                    &head,
                    (&e.plan, &e.proposal),
                    &e.vote_end,
                    &mut out,
                )?;
                lead_window(policy, &vote, head.height(), &mut out);
                judge_record(&client, &e.publication, head.height(), &mut out)?;
                out.row("route", "ahead: the plan is pending at the head");
                out.verdict(true, "the vote holds, and the record is public");
            }
            Message::AtX(e) => {
                let x = show(&client, &e.x).map_err(Failure::refused)?;
                let vote = judge_vote(
                    policy,
                    &client,
                    &x,
                    (&e.plan, &e.proposal),
                    &e.vote_end,
                    &mut out,
                )?;
                match &e.publication {
                    Some(publication) => judge_record(&client, publication, x.height(), &mut out)?,
                    None => {
                        out.row("record", "none: enough on one machine only");
                    }
                }
                let least = vote.plan_height().saturating_sub(1);
                if x.height() < least {
                    return Err(Failure::refused(format!(
                        "route at X: expected a header at {least} or above, got {}",
                        x.height()
                    )));
                }
                out.row(
                    "route",
                    format!(
                        "at X = {}: shown by header {}",
                        x.height().max(vote.plan_height()),
                        x.height()
                    ),
                );
                out.verdict(true, "the vote holds, and the plan was pending at X");
            }
            Message::Standing(e) => {
                advance(&mut client, &e.to_head, &mut out)?;
                standing(client.head(), e, &mut out)?;
                out.verdict(true, "the proofs hold at the head");
            }
            Message::Record(e) => {
                advance(&mut client, &e.to_head, &mut out)?;
                judge_record(&client, &e.publication, client.head().height(), &mut out)?;
                out.verdict(true, "the record is public");
            }
        }
        Ok(out)
    }
}

fn advance(client: &mut LightClient, path: &Path, out: &mut Report) -> Result<(), Failure> {
    let from = client.head().height();
    if !path.blocks.is_empty() {
        client.advance(path).map_err(|e| {
            light::refusal(&e).next("the path must start at the policy's checkpoint; an enclave that stood later was sent less")
        })?;
    }
    let head = client.head();
    out.row(
        "path",
        format!(
            "ok: header {} verified from trusted header {from}",
            head.height()
        ),
    );
    out.field("head", json!({ "height": head.height(), "hash": hex::encode(head.hash()), "time": head.time().to_string() }));
    Ok(())
}

fn judge_vote(
    policy: &ChainPolicy,
    client: &LightClient,
    header: &TrustedHeader,
    (plan, proposal): (&StateProof, &StateProof),
    end: &VoteEndEvidence,
    out: &mut Report,
) -> Result<Vote, Failure> {
    let at = show(client, &end.at).map_err(Failure::refused)?;
    let before = at.parent(&end.before).map_err(|e| light::refusal(&e))?;
    let end = VoteEnd::verify(&at, &before, &end.validators).map_err(Failure::refused)?;
    let vote = Vote::verify(policy, header, plan, proposal, &end).map_err(Failure::refused)?;
    let measurement = vote.measurement().map(|m| m.to_string());
    let tally = vote.tally();
    out.row("vote", format!(
        "ok: proposal {} PASSED for plan {:?} at height {}, measurement {}; yes {} of {} bonded tokens",
        vote.proposal_id(), vote.plan_name(), vote.plan_height(), measurement.as_deref().unwrap_or("none"), tally.yes, vote.bonded_tokens(),
    ));
    out.field(
        "vote",
        json!({
            "proposal": vote.proposal_id(),
            "plan": vote.plan_name(),
            "plan_height": vote.plan_height(),
            "measurement": measurement,
            "yes": tally.yes.to_string(),
            "turnout": tally.turnout().to_string(),
            "bonded": vote.bonded_tokens().to_string(),
            "shown_at": vote.shown_at(),
        }),
    );
    Ok(vote)
}

fn lead_window(policy: &ChainPolicy, vote: &Vote, head: u64, out: &mut Report) {
    let (opens, closes) = (
        vote.plan_height().saturating_sub(policy.lead_blocks),
        vote.plan_height(),
    );
    let now = match head {
        h if h < opens => "not open yet",
        h if h < closes => "open",
        _ => "closed",
    };
    out.row(
        "lead window",
        format!(
            "{now}: heads {opens} to {}, the head is {head}",
            closes.saturating_sub(1)
        ),
    );
    out.field(
        "lead_window",
        json!({ "opens": opens, "closes": closes.saturating_sub(1), "state": now }),
    );
}

fn judge_record(
    client: &LightClient,
    publication: &PublicationEvidence,
    head: u64,
    out: &mut Report,
) -> Result<(), Failure> {
    let header = show(client, &publication.header).map_err(Failure::refused)?;
    let published = Published::verify(&header, publication).map_err(Failure::refused)?;
    if published.height() > head {
        return Err(Failure::refused(format!(
            "record: expected a block at or below {head}, got {}",
            published.height()
        )));
    }
    let record = published.record();
    out.row(
        "record",
        format!(
            "ok: block {}: {}",
            published.height(),
            describe_record(record)
        ),
    );
    out.field("record", record_json(record, published.height()));
    Ok(())
}

fn standing(head: &TrustedHeader, e: &StandingEvidence, out: &mut Report) -> Result<(), Failure> {
    let plan = pending_plan(head, &e.plan).map_err(Failure::refused)?;
    let text = plan.as_ref().map_or("none pending".into(), |p| {
        format!("{:?} at height {} is pending", p.name, p.height)
    });
    out.both("plan", "plan", text);
    let done = match &e.done {
        None => "not asked".to_string(),
        Some(proof) => match verify_state(head, proof).map_err(Failure::refused)?.value() {
            Some(_) => format!("the done key 0x{} is there", hex::encode(&proof.key)),
            None => format!("no done key 0x{}", hex::encode(&proof.key)),
        },
    };
    out.both("done key", "done_key", done);
    Ok(())
}

/// A record for people.
pub(crate) fn describe_record(r: &Record) -> String {
    format!(
        "{} of epoch {}, proposal {}, target {}, platform {}",
        r.kind, r.epoch, r.proposal_id, r.target, r.platform
    )
}

/// A record for programs.
pub(crate) fn record_json(r: &Record, height: u64) -> Value {
    json!({
        "height": height,
        "kind": r.kind.to_string(),
        "epoch": r.epoch,
        "proposal": r.proposal_id,
        "platform": r.platform,
        "target": r.target,
        "request": r.request,
    })
}
