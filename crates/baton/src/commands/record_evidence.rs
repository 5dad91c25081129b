//! `baton evidence record`: what a vote on a live chain looks like, as a recording that `baton evidence verify` and tests judge
//! without the chain.

use baton_chain::gov::{GOV_STORE, PLAN_KEY, UPGRADE_STORE, proposal_key};
use baton_chain::light::LightBlock;
use baton_chain::recorded::{Finding, Recording};
use baton_host::chain::ChainSource;
use baton_host::files::write_whole;
use baton_host::gather::Gather;
use baton_host::rpc::RpcSource;
use serde_json::{Value, json};

use super::node::home;
use crate::cli::node::EvidenceRecordArgs;
use crate::node::follow::{passed_upgrades, plans_of, proposal};
use crate::node::machine::builds;
use crate::output::{Failure, Report};

/// Validators in one page.
const PER_PAGE: u64 = 100;

/// One light block as the RPC answers it.
fn raw_block(rpc: &RpcSource, height: u64) -> Result<Value, Failure> {
    let call = |method: &str, params: Value| rpc.call(method, &params).map_err(Failure::refused);
    let set = |height: u64| -> Result<Value, Failure> {
        let mut pages = Vec::new();
        let mut got = 0;
        loop {
            let page = (pages.len() + 1).to_string();
            let answer = call("validators", json!({"height": height.to_string(), "page": page, "per_page": PER_PAGE.to_string()}))?;
            let here = answer["validators"].as_array().map_or(0, Vec::len) as u64;
            got += here;
            let total = answer["total"].as_str().and_then(|t| t.parse().ok()).unwrap_or(0);
            pages.push(answer);
            if here == 0 || got >= total {
                break;
            }
        }
        Ok(match pages.len() {
            1 => pages.remove(0),
            _ => Value::Array(pages),
        })
    };
    Ok(json!({
        "height": height,
        "commit": call("commit", json!({"height": height.to_string()}))?,
        "validators": set(height)?,
        "next_validators": set(height.saturating_add(1))?,
    }))
}

fn raw_query(rpc: &RpcSource, what: &str, store: &str, key: &[u8], height: u64) -> Result<Value, Failure> {
    let params = json!({"path": format!("/store/{store}/key"), "data": hex::encode(key), "height": height.to_string(), "prove": true});
    let response = rpc.call("abci_query", &params).map_err(Failure::refused)?;
    Ok(json!({"what": what, "store": store, "key_hex": hex::encode(key), "height": height, "rpc": "abci_query", "response": {"result": response}}))
}

fn height(block: &LightBlock) -> Result<u64, Failure> {
    block.height().map_err(Failure::refused)
}

/// Records one proposal's evidence.
pub fn record(args: &EvidenceRecordArgs) -> Result<Report, Failure> {
    let home = home(&args.at)?;
    let rpc = crate::node::rpc(home.config())?;
    let chain_id = home.config().chain.id.clone();
    let latest = rpc.latest().map_err(Failure::refused)?;
    let id = match args.proposal {
        Some(id) => id,
        None => passed_upgrades(&rpc, latest, |_, p| args.plan.as_ref().is_none_or(|n| *n == p.name)).map_err(Failure::refused)?
            .ok_or_else(|| Failure::refused("no passed proposal with such an upgrade: expected one; name it by --proposal"))?
            .0,
    };
    let p = proposal(&rpc, id, latest).map_err(Failure::refused)?.ok_or_else(|| Failure::refused(format!("there is no proposal {id}")))?;
    let plan_height = plans_of(&p).pop().and_then(|p| u64::try_from(p.height).ok()).unwrap_or(0);
    // Above its height no state has the plan any more: header X is the last that proves it.
    let target = args.header.unwrap_or(if plan_height > 0 { latest.min(plan_height) } else { latest });
    let (found, _) = builds(&home.path("builds"), &chain_id)?;
    let policy = found.into_iter().map(|b| b.policy.chain).min_by_key(|c| c.checkpoint.height)
        .ok_or_else(|| Failure::refused("no build is in the home's folder builds: expected one, whose policy names the checkpoint to start from"))?;
    let trusted = policy.checkpoint.height;
    let gather = Gather::new(&rpc, &policy);
    let path = gather.path(trusted, target).map_err(Failure::refused)?;
    let mut between = Vec::new();
    for block in path.blocks.iter().take(path.blocks.len().saturating_sub(1)) {
        between.push(raw_block(&rpc, height(block)?)?);
    }
    let below = target.saturating_sub(1);
    let mut file = json!({
        "case": args.name, "chain_id": chain_id, "trusted": raw_block(&rpc, trusted)?, "path": between, "target": raw_block(&rpc, target)?,
        "queries": [
            raw_query(&rpc, "upgrade plan", UPGRADE_STORE, PLAN_KEY, below)?,
            raw_query(&rpc, &format!("gov proposal {id}"), GOV_STORE, &proposal_key(id), below)?,
        ],
        "note": format!("recorded from a running chain at height {latest}"),
    });
    if let Ok((before, at)) = gather.vote_end_heights(id, target) {
        file["vote_end"] = json!({"before": raw_block(&rpc, before)?, "at": raw_block(&rpc, at)?});
    }
    let text = format!("{file:#}\n");
    // What cannot be read again was not recorded. Whether the vote holds is for those who judge the file.
    let read = Recording::parse(&text).map_err(Failure::refused)?.judge(Some(&policy));
    if !read.lines.iter().any(|l| l.what == "vote" && l.finding != Finding::Note) {
        return Err(Failure::refused("the recording holds no vote that can be judged: the node answered in another form than expected; nothing was written"));
    }
    write_whole(&args.out, text.as_bytes()).map_err(|e| Failure::input(e).at(args.out.display()))?;
    let mut out = Report::new();
    out.field("proposal", id).row("proposal", id).field("header", target).row("header", target);
    out.field("bytes", text.len()).row("written", format!("{} ({} bytes)", args.out.display(), text.len()));
    out.text(format!("judge it: baton evidence verify {}", args.out.display()));
    Ok(out)
}
