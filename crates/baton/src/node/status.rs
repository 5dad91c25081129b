//! One picture of a node, for its operator, its peers and its metrics.

use baton_core::custody::State;
use serde_json::{Value, json};

use super::{Node, Place};

/// The whole picture.
pub(super) fn status(node: &Node) -> Value {
    let view = node.shared.view();
    let caught: Vec<Value> = node.sources.rpc.caught().iter().map(|c| json!({"endpoint": c.endpoint, "what": c.what, "times": c.times})).collect();
    let halted = view.plan.as_ref().filter(|p| view.height >= p.plan.height).map(|p| p.plan.height);
    let plan = view.plan.as_ref().map(|p| {
        let (measurement, unreadable) = match &p.build {
            Ok(build) => (build.map(|b| b.measurement.to_string()), None),
            Err(e) => (None, Some(e.clone())),
        };
        let here = p.build.as_ref().ok().copied().flatten().and_then(|b| node.find(&b.measurement));
        json!({
            "name": p.plan.name, "height": p.plan.height, "proposal": p.plan.proposal, "measurement": measurement, "unreadable": unreadable,
            "blocks_left": p.plan.height.saturating_sub(view.height), "build_here": here.map(|i| node.places[i].build.name.clone()),
        })
    });
    let seats: Vec<Value> = node.places.iter().map(seat).collect();
    let exposed = node.places.iter().filter_map(|p| p.status.as_ref()).any(|s| !s.exposed.is_empty());
    let (blocks, newest) = node.sources.db.blocks().unwrap_or_default();
    json!({
        "name": node.home.config().name,
        "platform": node.here.launcher().platform_id().to_string(),
        "chain": {
            "id": node.home.config().chain.id, "height": view.height, "time": view.time, "block_ms": view.block_ms, "halted_at": halted,
            "error": view.error, "caught": caught, "endpoints": endpoints(node, view.height),
        },
        "plan": plan,
        "seats": seats,
        "peers": peers(node),
        "barrier": barrier(node),
        "bundle": {"blocks": blocks, "newest": newest},
        "exposed": exposed,
        "recent": node.recent.iter().map(|(time, d)| json!({"time": time, "step": d.step, "text": d.text})).collect::<Vec<_>>(),
        "vote": view.vote.as_ref().zip(node.shared.policy()).map(|(v, policy)| super::vote::beside_bar(v, &policy)),
        "collateral": node.keeper.status(),
        "expires": super::dates::all(node),
        "emergencies": super::orders::emergencies(node),
        "orders": super::orders::all(node),
        "failing": node.failures().into_iter().map(|(step, text)| json!({"step": step, "text": text})).collect::<Vec<_>>(),
        "warnings": node.warnings.iter().chain(&node.bad_builds).collect::<Vec<_>>(),
    })
}

/// Each endpoint as it was looked at last: its height, and how far it is behind the newest that anybody shows.
fn endpoints(node: &Node, height: u64) -> Vec<Value> {
    let seen = node.shared.endpoints();
    let newest = seen.iter().filter_map(|e| e.height.as_ref().ok().copied()).max().unwrap_or(0).max(height);
    seen.iter()
        .map(|e| match &e.height {
            Ok(h) => json!({"url": e.url, "height": h, "lag": newest.saturating_sub(*h), "error": null}),
            Err(why) => json!({"url": e.url, "height": null, "lag": null, "error": why}),
        })
        .collect()
}

fn seat(p: &Place) -> Value {
    let mut out = json!({"build": p.build.name, "measurement": p.build.measurement.to_string()});
    let (Some(map), Some(s)) = (out.as_object_mut(), &p.status) else { return out };
    let more = json!({
        "passed_over": p.passed_over, "svn": s.identity.svn, "signer": s.identity.signer.to_string(), "identity": s.identity.digest().to_string(), "state": s.state.to_string().to_lowercase(), "serving": s.serving,
        "head": s.head_height, "epochs": s.epochs, "exposed": s.exposed, "rehearsed": s.rehearsed, "rehearsed_as_source": s.rehearsed_as_source,
        "activated_at": s.at_x, "log_size": s.log_size, "successor": s.successor.map(|n| n.measurement.to_string()),
        "commitments": s.commitments.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "unrecorded": s.transfers.iter().filter(|t| !t.recorded && t.kind != baton_chain::record::Kind::Rehearsal).count(),
    });
    if let Value::Object(more) = more {
        map.extend(more);
    }
    if let Some(e) = &s.emergencies {
        let frozen: Vec<Value> = e.frozen.iter().map(|f| json!({"measurement": f.measurement.to_string(), "proposals_through": f.proposals_through, "number": f.sequence})).collect();
        let (serves, promised) = (e.serves_by.map(|d| d.to_string()), e.promised_by.map(|d| d.to_string()));
        map.insert("by_order".into(), json!({"frozen": frozen, "serves_by": serves, "promised_by": promised}));
    }
    out
}

fn peers(node: &Node) -> Vec<Value> {
    let known = node.shared.peers();
    node.home
        .config()
        .peers
        .iter()
        .map(|url| {
            let state = known.get(url.trim_end_matches('/'));
            let status = state.and_then(|s| s.status.as_ref());
            let short = |s: &Value| json!({"build": s["build"], "measurement": s["measurement"], "state": s["state"], "serving": s["serving"], "rehearsed_as_source": s["rehearsed_as_source"]});
            let seats: Vec<Value> = status.and_then(|s| s["seats"].as_array()).into_iter().flatten().map(short).collect();
            json!({
                "url": url, "ok": state.is_some_and(|s| s.error.is_none() && s.status.is_some()), "error": state.and_then(|s| s.error.clone()),
                "name": status.map(|s| s["name"].clone()), "height": status.map(|s| s["chain"]["height"].clone()),
                "seats": seats, "receipts": state.map_or(0, |s| s.receipts.len()),
            })
        })
        .collect()
}

/// What an old copy still waits for.
fn barrier(node: &Node) -> Value {
    for p in &node.places {
        let Some(s) = p.status.as_ref().filter(|s| s.state == State::Confirmed) else { continue };
        let Some(next) = s.successor else { continue };
        let name = next.measurement.to_string();
        let own = usize::from(node.sources.db.receipt(&next.measurement.0).ok().flatten().is_some());
        let peers = node.shared.peers().values().filter(|p| p.receipts.contains_key(&name)).count();
        let at_x = node.find(&next.measurement).and_then(|i| node.places[i].status.as_ref()?.at_x);
        return json!({
            "build": p.build.name, "platforms": own + peers, "wanted": p.build.policy.barrier.platforms,
            "grace_until": at_x.map(|x| x + p.build.policy.barrier.grace_blocks),
            "power": super::power::told(node, p.build.policy.barrier.power_share, &name, own > 0),
        });
    }
    Value::Null
}

/// Why a node is not ready to serve and to hand over; none: it is.
pub(super) fn not_ready(node: &Node) -> Option<String> {
    let view = node.shared.view();
    if node.places.is_empty() {
        return Some("no build is in the folder builds".into());
    }
    if !node.places.iter().any(|p| p.status.as_ref().is_some_and(|s| s.serving)) {
        return Some("no build serves here".into());
    }
    if view.seen.is_none() {
        return Some(format!("the chain has not been seen yet{}", view.error.map(|e| format!(": {e}")).unwrap_or_default()));
    }
    None
}

/// Receipts at hand, and wanted.
pub(super) fn barrier_counts(node: &Node) -> (u64, u64) {
    let b = barrier(node);
    (b["platforms"].as_u64().unwrap_or(0), b["wanted"].as_u64().unwrap_or(0))
}
