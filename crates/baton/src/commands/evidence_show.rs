//! `baton evidence show`: what a file says, before anything is verified.

use baton_chain::evidence::{HeaderEvidence, PublicationEvidence, VoteEndEvidence};
use baton_chain::gov::{
    GOV_STORE, PLAN_KEY, Plan, Proposal, ProposalStatus, TxBody, TxRaw, UPGRADE_STORE,
};
use baton_chain::light::{LightBlock, Path};
use baton_chain::proofs::StateProof;
use baton_chain::record::Record;
use baton_chain::recorded::MAX_RECORDING_BYTES;
use baton_chain::rpc;
use prost::Message as _;
use serde_json::{Value, json};

use crate::cli::EvidenceShowArgs;
use crate::commands::evidence::{Message, describe_record};
use crate::commands::light::{peek, recorded_block};
use crate::files;
use crate::output::{Failure, Report};

/// Shows a file.
pub fn show(args: &EvidenceShowArgs) -> Result<Report, Failure> {
    let bytes = files::read(&args.file, "evidence", MAX_RECORDING_BYTES)?;
    let mut out = Shown {
        report: Report::new(),
        items: Vec::new(),
    };
    if files::looks_like_json(&bytes) {
        let json = files::json(&bytes, &args.file, "evidence")?;
        recording(&json, &mut out).map_err(|e| e.at(args.file.display()))?;
    } else if let Some(message) = Message::read(&bytes) {
        cbor(&message, &mut out);
    } else if let Ok(block) = minicbor::decode::<LightBlock>(&bytes)
        && block.height().is_ok()
    {
        out.report.both("evidence", "evidence", "light block");
        out.block("block", &block);
    } else {
        return Err(Failure::input(format!("evidence {}: nothing that is known", args.file.display()))
            .next("bring a recording (JSON), or the CBOR of a light block or of UpgradeEvidence, AtXEvidence, StandingEvidence, RecordEvidence"));
    }
    let Shown { mut report, items } = out;
    report.field("items", items).field("verified", false);
    report
        .text("shown as it is in the file; nothing is verified: `baton evidence verify` does that");
    Ok(report)
}

struct Shown {
    report: Report,
    items: Vec<Value>,
}

impl Shown {
    fn item(&mut self, what: &str, text: String, json: Value) {
        self.report.row(what, text);
        self.items.push(json!({ "what": what, "value": json }));
    }

    fn block(&mut self, what: &str, block: &LightBlock) {
        match (peek(block), block.untrusted_checkpoint()) {
            (Ok((chain_id, time)), Ok(checkpoint)) => {
                let hash = hex::encode(checkpoint.hash);
                let text = format!(
                    "{chain_id} height {}, {time}, hash {hash}",
                    checkpoint.height
                );
                let json = json!({ "chain_id": chain_id, "height": checkpoint.height, "time": time.to_string(), "hash": hash });
                self.item(what, text, json);
            }
            (Err(e), _) | (_, Err(e)) => self.item(what, format!("unreadable: {e}"), Value::Null),
        }
    }

    fn path(&mut self, what: &str, path: &Path) {
        let heights: Vec<u64> = path.blocks.iter().filter_map(|b| b.height().ok()).collect();
        let text = match (heights.first(), heights.last()) {
            (Some(first), Some(last)) => format!(
                "{} light blocks, heights {first} to {last}",
                path.blocks.len()
            ),
            _ => "no light block: it starts at the trusted head".into(),
        };
        self.item(what, text, json!({ "heights": heights }));
    }

    fn header(&mut self, what: &str, header: &HeaderEvidence) {
        self.path(what, &header.path);
        if let (Some(first), Some(last)) = (header.links.first(), header.links.last()) {
            self.block(&format!("{what}, first link"), first);
            self.block(&format!("{what}, last link"), last);
        }
    }

    fn vote_end(&mut self, end: &VoteEndEvidence) {
        self.header("vote end", &end.at);
        self.block("vote end, before", &end.before);
    }

    fn publication(&mut self, publication: &PublicationEvidence) {
        self.header("publication", &publication.header);
        self.tx(
            &publication.tx,
            publication.proof.index,
            publication.proof.total,
        );
    }

    fn tx(&mut self, tx: &[u8], index: u64, total: u64) {
        let memo = memo(tx);
        let text = match memo.as_deref().map(Record::parse) {
            None => "not a transaction of the SDK".to_string(),
            Some(Ok(record)) => describe_record(&record),
            Some(Err(e)) => format!("not a record of today: {e}"),
        };
        self.item(
            "record",
            format!("transaction {index} of {total}: {text}"),
            json!({ "index": index, "total": total, "memo": memo, "text": text }),
        );
    }

    fn proof(&mut self, place: &str, proof: &StateProof) {
        let name = |what: &str| {
            if place.is_empty() {
                what.to_string()
            } else {
                format!("{place}, {what}")
            }
        };
        let absent = proof.value.is_none();
        match (proof.store.as_str(), proof.key.as_slice()) {
            (UPGRADE_STORE, PLAN_KEY) => {
                let (text, json) = describe_plan(proof.value.as_deref());
                self.item(&name("plan"), text, json);
            }
            (GOV_STORE, [0x00, id @ ..]) if id.len() == 8 => {
                let id = id.iter().fold(0u64, |n, b| (n << 8) | u64::from(*b));
                let (text, json) = describe_proposal(id, proof.value.as_deref());
                self.item(&name("proposal"), text, json);
            }
            (store, key) => {
                let what = if store == UPGRADE_STORE && key.first() == Some(&0x01) {
                    "done key"
                } else {
                    "state"
                };
                let bytes = proof.value.as_ref().map_or(0, Vec::len);
                let text = format!(
                    "{store}/0x{}: {}",
                    hex::encode(key),
                    if absent {
                        "absent".into()
                    } else {
                        format!("{bytes} bytes")
                    }
                );
                let value = proof.value.as_ref().map(hex::encode);
                self.item(
                    &name(what),
                    text,
                    json!({ "store": store, "key": hex::encode(key), "value": value }),
                );
            }
        }
    }
}

fn describe_plan(value: Option<&[u8]>) -> (String, Value) {
    match value.map(Plan::decode) {
        None => ("absent: none is pending".into(), Value::Null),
        Some(Err(_)) => ("unreadable".into(), Value::Null),
        Some(Ok(p)) => (
            format!("{:?} at height {}, info {}", p.name, p.height, p.info),
            json!({ "name": p.name, "height": p.height, "info": p.info }),
        ),
    }
}

fn describe_proposal(id: u64, value: Option<&[u8]>) -> (String, Value) {
    let p = match value.map(Proposal::decode) {
        None => return (format!("{id}: absent"), json!({ "id": id, "status": null })),
        Some(Err(_)) => {
            return (
                format!("{id}: unreadable"),
                json!({ "id": id, "status": null }),
            );
        }
        Some(Ok(p)) => p,
    };
    let status = ProposalStatus::try_from(p.status)
        .map_or_else(|_| p.status.to_string(), |s| s.name().to_string());
    let t = p.final_tally_result.clone().unwrap_or_default();
    let messages: Vec<&str> = p.messages.iter().map(|m| m.type_url.as_str()).collect();
    let text = format!(
        "{id} {status}{}: {:?}; yes {}, abstain {}, no {}, veto {}; messages {}",
        if p.expedited { " (expedited)" } else { "" },
        p.title,
        t.yes_count,
        t.abstain_count,
        t.no_count,
        t.no_with_veto_count,
        if messages.is_empty() {
            "none".into()
        } else {
            messages.join(", ")
        },
    );
    let json = json!({
        "id": id, "status": status, "expedited": p.expedited, "title": p.title, "messages": messages,
        "tally": { "yes": t.yes_count, "abstain": t.abstain_count, "no": t.no_count, "no_with_veto": t.no_with_veto_count },
    });
    (text, json)
}

fn memo(tx: &[u8]) -> Option<String> {
    let raw = TxRaw::decode(tx).ok()?;
    Some(TxBody::decode(raw.body_bytes.as_slice()).ok()?.memo)
}

fn cbor(message: &Message, out: &mut Shown) {
    out.report.both("evidence", "evidence", message.name());
    match message {
        Message::Upgrade(e) => {
            out.path("path to head", &e.to_head);
            out.proof("", &e.plan);
            out.proof("", &e.proposal);
            out.vote_end(&e.vote_end);
            out.publication(&e.publication);
        }
        Message::AtX(e) => {
            out.header("header X", &e.x);
            out.proof("", &e.plan);
            out.proof("", &e.proposal);
            out.vote_end(&e.vote_end);
            match &e.publication {
                Some(publication) => out.publication(publication),
                None => out.item(
                    "record",
                    "none: enough on one machine only".into(),
                    Value::Null,
                ),
            }
        }
        Message::Standing(e) => {
            out.path("path to head", &e.to_head);
            out.proof("", &e.plan);
            e.done.iter().for_each(|done| out.proof("", done));
        }
        Message::Record(e) => {
            out.path("path to head", &e.to_head);
            out.publication(&e.publication);
        }
    }
}

fn recording(json: &Value, out: &mut Shown) -> Result<(), Failure> {
    let chain_id = json
        .get("chain_id")
        .and_then(Value::as_str)
        .ok_or_else(|| Failure::input("not a recording: no chain_id"))?;
    out.report
        .both("evidence", "evidence", "recording")
        .both("chain id", "chain_id", chain_id);
    let block = |place: &str, v: Option<&Value>| {
        recorded_block(v.unwrap_or(&Value::Null)).map_err(|e| Failure::input(e).at(place))
    };
    out.block("trusted", &block("trusted", json.get("trusted"))?);
    for step in list(json, "path") {
        out.block("path", &block("path", Some(step))?);
    }
    out.block("target", &block("target", json.get("target"))?);
    queries("", list(json, "queries"), out);
    if let Some(end) = json.get("vote_end").filter(|e| !e.is_null()) {
        out.block(
            "vote end, before",
            &block("vote_end.before", end.get("before"))?,
        );
        out.block("vote end", &block("vote_end.at", end.get("at"))?);
    }
    if let Some(x) = json.get("at_x").filter(|x| !x.is_null()) {
        out.block("at X", &block("at_x", Some(x))?);
        queries("at X", list(x, "queries"), out);
    }
    for tx in list(json, "txs") {
        transaction(tx, out);
    }
    Ok(())
}

fn list<'v>(json: &'v Value, name: &str) -> &'v [Value] {
    json.get(name)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

fn queries(place: &str, queries: &[Value], out: &mut Shown) {
    for query in queries {
        match rpc::state_proof_from_abci_query(query.get("response").unwrap_or(&Value::Null)) {
            Ok((proof, _)) => out.proof(place, &proof),
            Err(e) => out.item("query", format!("without a proof: {e}"), Value::Null),
        }
    }
}

fn transaction(tx: &Value, out: &mut Shown) {
    use base64::Engine;
    let at = |pointer: &str| tx.pointer(&format!("/tx/result{pointer}"));
    let number = |pointer: &str| {
        at(pointer)
            .and_then(|v| v.as_u64().or_else(|| v.as_str()?.parse().ok()))
            .unwrap_or_default()
    };
    let bytes = at("/tx")
        .and_then(Value::as_str)
        .and_then(|t| base64::engine::general_purpose::STANDARD.decode(t).ok());
    match bytes {
        Some(bytes) => out.tx(
            &bytes,
            number("/proof/proof/index"),
            number("/proof/proof/total"),
        ),
        None => out.item(
            "record",
            "the answer holds no transaction".into(),
            Value::Null,
        ),
    }
}
