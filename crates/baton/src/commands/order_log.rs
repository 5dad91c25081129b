//! `baton order log`: keeps the log of orders, asks witnesses, and says since when something is public and when its notice ends.
//! `baton order carry`: shows an order to an enclave of a network.


use baton_core::order::Action;
use baton_core::order::signed::SignedOrder;
use baton_core::policy::Policy;
use baton_core::witness::Cosigned;
use baton_host::courier::{Courier, CourierError};
use baton_host::order_log::LogFile;
use baton_host::seat::SeatError;
use serde_json::json;

use super::order::read_signed;
use super::snapshot::find;
use crate::cli::{NodeArgs, OrderCarryArgs, OrderLogArgs};
use crate::files::read_valid_policy;
use crate::output::{Failure, Report};
use crate::times::{show_duration, show_time, unix_now};
use crate::world::Named;

/// Keeps the log.
pub fn keep(args: &OrderLogArgs) -> Result<Report, Failure> {
    let mut file = match &args.new {
        Some(chain_id) => LogFile::create(&args.file, chain_id),
        None => LogFile::open(&args.file),
    }
    .map_err(Failure::input)?;
    let order = args.order.as_deref().map(read_signed).transpose()?;
    if let Some(other) = order.as_ref().filter(|o| o.order().chain_id != file.chain_id()) {
        let (expected, got) = (file.chain_id(), &other.order().chain_id);
        return Err(Failure::refused(format!("the order is for another chain: expected {expected:?}, got {got:?}")));
    }
    let policy = args.policy.as_deref().map(read_valid_policy).transpose()?;
    let mut out = Report::new();
    out.both("log", "log", file.log.origin());
    out.both("its key", "key", hex::encode(file.log.public_key()));
    for text in args.add.iter().cloned().chain(order.as_ref().map(|o| o.order().memo())) {
        let refused = file.publish(&text, &args.witness).map_err(Failure::input)?;
        out.row("added", &text);
        refused.iter().for_each(|e| {
            out.row("not cosigned", e);
        });
        out.field("not_cosigned", refused.iter().map(ToString::to_string).collect::<Vec<_>>());
    }
    let root = file.checkpoint();
    out.both("entries", "size", root.size).both("root", "root", root.root);
    out.field("texts", file.log.texts().to_vec());
    for text in file.log.texts() {
        out.row("  entry", text);
    }
    match (order, policy) {
        (Some(order), Some(policy)) => notice(&mut out, &file, &order, &policy),
        (Some(_), None) => {
            out.text("when its notice ends, only the policy of the build that shall obey can say: give --policy");
            Ok(out)
        }
        (None, _) => Ok(out),
    }
}

/// Since when an order is dated, and when its notice ends.
fn notice(out: &mut Report, file: &LogFile, order: &SignedOrder, policy: &Policy) -> Result<Report, Failure> {
    let witnesses = policy.witnesses.as_ref().ok_or_else(|| Failure::refused("the policy names no witnesses: only a transaction makes an order public"))?;
    let memo = order.order().memo();
    let index = file.log.texts().iter().position(|t| *t == memo).unwrap_or(usize::MAX) as u64;
    let dated = |note: &str| Cosigned::verify(note, &file.log.origin(), &witnesses.keys, witnesses.needed);
    let mut last = None;
    let good: Vec<Cosigned> = file
        .log
        .notes()
        .iter()
        .filter(|n| n.size > index)
        .filter_map(|n| dated(&n.note).map_err(|e| last = Some(e)).ok())
        .collect();
    let mut report = std::mem::take(out);
    let Some(first) = good.first() else {
        let why = last.map_or_else(|| "no witness was asked yet".into(), |e| e.to_string());
        report.verdict(false, format!("no date counts yet: {why}"));
        return Ok(report);
    };
    let (since, ends) = (first.not_after(), first.not_after().saturating_add(witnesses.notice_secs));
    let newest = good.last().map_or(since, Cosigned::not_before);
    report.field("since", since).field("notice_ends", ends).field("newest", newest);
    report.row("dated", format!("{} by {} of {} witnesses", show_time(since), witnesses.needed, witnesses.keys.len()));
    report.row("notice ends", show_time(ends));
    report.row("anybody checks", format!("the log {} at each witness; the leaf is the memo above", file.log.origin()));
    match newest >= ends {
        true => report.verdict(true, "the notice is over, and a checkpoint of after it is here: carry the order to the enclaves"),
        false if unix_now() >= ends => report.verdict(false, "the notice is over: let the witnesses cosign once more (the same command again)"),
        false => report.verdict(false, format!("{} to go", show_duration(ends.saturating_sub(unix_now())))),
    };
    Ok(report)
}

fn any(e: anyhow::Error) -> Failure {
    match e.downcast::<SeatError>() {
        Ok(seat) => failed(CourierError::Seat(seat)),
        Err(e) => Failure::input(format!("{e:#}")),
    }
}

fn failed(e: CourierError) -> Failure {
    match e {
        CourierError::Seat(SeatError::Refused(r)) => Failure::refused(format!("{} ({})", r.message, r.check)),
        CourierError::Seat(other) => Failure::input(other),
        other => Failure::refused(other),
    }
}

/// Shows an order to an enclave.
pub fn carry(args: &OrderCarryArgs) -> Result<Report, Failure> {
    let signed = read_signed(&args.file)?;
    let (Some(folder), Some(name), Some(log)) = (&args.folder, &args.node, &args.log) else {
        return super::order_carry::carry(args, &signed);
    };
    let mut file = LogFile::open(log).map_err(Failure::input)?;
    let mut at = find(&NodeArgs { folder: folder.clone(), node: name.clone(), build: args.build })?;
    let (node, from) = (at.node, at.which);
    let mut courier = Courier::new(&signed, &mut file, &args.witness);
    at.world.seat(node, from).map_err(any)?;
    let shows = match &signed.order().action {
        Action::Handover { to } => {
            let build = args.to.map(Named::from).ok_or_else(|| Failure::input("a handover needs its target").next("--to v2: the build that the order names"))?;
            let own = at.world.build(build).map_err(any)?.measurement;
            if own != to.measurement {
                return Err(Failure::refused(format!("the order names {}, {} is {own}", to.measurement, build.name())));
            }
            at.world.seat(node, build).map_err(any)?;
            let (o, n) = at.world.nodes[node].pair(from.name(), build.name()).map_err(any)?;
            courier.hand_over(o, n).map_err(failed)?;
            build
        }
        Action::Rewind { .. } | Action::Freeze { .. } | Action::Rotate => {
            let mut seat = at.world.nodes[node].take(from.name()).map_err(any)?;
            let done = courier.command(&mut seat, &at.world.chain);
            at.world.nodes[node].put_back(from.name(), seat);
            done.map(|()| from).map_err(failed)?
        }
    };
    courier.refused.iter().for_each(|e| eprintln!("not cosigned: {e}"));
    let digest = signed.order().digest();
    let status = at.world.status(node, shows).map_err(any)?;
    let mut out = Report::new();
    out.both("node", "node", name).both("build", "build", shows.name());
    out.both("custody", "state", status.state).field("serving", status.serving);
    emergencies(&mut out, &status);
    let known = status.emergencies.is_some_and(|e| e.obeyed.iter().chain(&e.inherited).any(|e| e.order == digest));
    out.verdict(known, format!("order {digest} was obeyed; status and log say so for ever"));
    Ok(out)
}

/// What a copy says of emergencies, for ever.
pub(crate) fn emergencies(out: &mut Report, status: &baton_enclave::wire::Status) {
    let Some(e) = &status.emergencies else { return };
    let all = [("obeyed here", &e.obeyed), ("obeyed by its giver", &e.inherited)];
    let mut list = Vec::new();
    for (where_, orders) in all {
        for o in orders {
            out.row(where_, format!("order {} ({}) at height {}, digest {}", o.sequence, o.kind, o.head, o.order));
            list.push(json!({"where": where_, "number": o.sequence, "kind": o.kind.to_string(), "height": o.head, "digest": o.order.to_string()}));
        }
    }
    for f in &e.frozen {
        out.row("frozen", format!("{} by order {}, for plans of proposals up to {}", f.measurement, f.sequence, f.proposals_through));
    }
    if let Some(by) = e.serves_by {
        out.row("serves by order", by);
    }
    out.field("emergencies", list);
}
