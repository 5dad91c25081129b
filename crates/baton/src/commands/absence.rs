//! `baton evidence measure`: what an enclave that was away must be shown at an upgrade's height, and what it costs to judge it.
//!
//! The evidence is the one of the route *at X*: headers up to X, plan and proposal in its app hash, the two headers around the
//! vote's end. It is made for an enclave whose trusted head is N blocks below X, and judged by the very code of the enclave.

use std::time::{Duration, Instant};

use baton_chain::authorize::Judge;
use baton_chain::evidence::AtXEvidence;
use baton_chain::light::LightClient;
use baton_core::platform::Platform as _;
use baton_core::policy::{Admission, Origin, Policy};
use baton_host::chain::ChainSource;
use baton_host::gather::Gather;
use baton_host::rpc::{RpcConfig, RpcSource};
use baton_host::shares::HostRandom;
use serde_json::json;

use crate::cli::EvidenceMeasureArgs;
use crate::files::read_valid_policy;
use crate::node::follow::passed_upgrades;
use crate::output::{Failure, Report};
use crate::world::World;

/// Blocks between the plan's vote and the nearest absence on the embedded chain.
const ROOM: u64 = 60;
/// How often each piece of evidence is judged; the fastest counts, and the one in the middle is shown.
const ROUNDS: usize = 21;
/// Number from which the embedded chain is made.
const SEED: u64 = 7;

/// One absence.
struct Measured {
    absent: u64,
    headers: usize,
    bytes: usize,
    fastest: Duration,
    median: Duration,
}

/// Measures on a live chain, or on an embedded one that is made for it.
pub fn measure(args: &EvidenceMeasureArgs) -> Result<Report, Failure> {
    let mut out = Report::new();
    let all = match args.devnet {
        Some(blocks) => embedded(args, blocks, &mut out)?,
        None => live(args, &mut out)?,
    };
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    for m in &all {
        let text = format!("evidence {} bytes ({} headers on the way), judged in {:.2} ms (fastest of {ROUNDS}), {:.2} ms (median)",
            m.bytes, m.headers, ms(m.fastest), ms(m.median));
        out.row(format!("{} blocks away", m.absent), text);
    }
    out.field("measured", all.iter().map(|m| json!({
        "absent": m.absent, "headers": m.headers, "bytes": m.bytes, "fastest_ms": ms(m.fastest), "median_ms": ms(m.median),
    })).collect::<Vec<_>>());
    Ok(out)
}

fn live(args: &EvidenceMeasureArgs, out: &mut Report) -> Result<Vec<Measured>, Failure> {
    let path = args.policy.as_ref().ok_or_else(|| Failure::input("expected --policy FILE beside --rpc"))?;
    let policy = read_valid_policy(path)?;
    let rpc = RpcSource::new(RpcConfig::new(policy.chain.chain_id.clone(), args.rpc.clone())).map_err(Failure::input)?;
    let latest = rpc.latest().map_err(Failure::refused)?;
    let wanted = |name: &str| args.plan.as_deref().is_none_or(|n| n == name);
    let (proposal, plan) = passed_upgrades(&rpc, latest, |_, p| wanted(&p.name)).map_err(Failure::refused)?
        .ok_or_else(|| Failure::refused("no passed proposal with such an upgrade: expected one, name its plan by --plan"))?;
    let x = u64::try_from(plan.height).unwrap_or(0);
    let first = x.saturating_sub(policy.chain.checkpoint.height);
    let absent = if args.absent.is_empty() { vec![1] } else { args.absent.clone() };
    if let Some(far) = absent.iter().find(|n| **n > first || **n == 0) {
        return Err(Failure::refused(format!("{far} blocks below height {x} the policy trusts nothing: expected 1 to {first}")));
    }
    describe(out, &rpc, x)?;
    absent.iter().map(|n| one(&rpc, &policy, proposal, x, *n)).collect()
}

fn embedded(args: &EvidenceMeasureArgs, blocks: u64, out: &mut Report) -> Result<Vec<Measured>, Failure> {
    let any = |e: anyhow::Error| Failure::input(format!("{e:#}"));
    let folder = tempfile::tempdir().map_err(Failure::input)?;
    let mut world = World::create(&folder.path().join("world"), SEED, 4).map_err(any)?;
    world.produce_until(2).map_err(any)?;
    let policy = world.policy(Origin::Genesis, 2).map_err(any)?;
    let x = blocks.saturating_add(ROOM);
    let info = format!(r#"{{"enclave":{{"mrenclave":"{}"}}}}"#, "0".repeat(64));
    let proposal = world.vote("measured", x, &info).map_err(any)?;
    world.produce_until(x).map_err(any)?;
    describe(out, &world.chain, x)?;
    let absent = if args.absent.is_empty() { vec![1, blocks] } else { args.absent.clone() };
    if let Some(far) = absent.iter().find(|n| **n > x.saturating_sub(2) || **n == 0) {
        return Err(Failure::refused(format!("the embedded chain has no header {far} blocks below {x}: expected 1 to {}", x.saturating_sub(2))));
    }
    absent.iter().map(|n| one(&world.chain, &policy, proposal, x, *n)).collect()
}

fn describe(out: &mut Report, source: &dyn ChainSource, x: u64) -> Result<(), Failure> {
    let block = source.light_block(x).map_err(Failure::refused)?;
    let powers = prost::Message::decode(block.validators.as_slice()).map(|v: tendermint_proto::v0_38::types::ValidatorSet| v.validators.len());
    out.both("height of the plan", "x", x).both("validators", "validators", powers.unwrap_or(0));
    Ok(())
}

/// An enclave whose head is `absent` blocks below `x`.
fn one(source: &dyn ChainSource, policy: &Policy, proposal: u64, x: u64, absent: u64) -> Result<Measured, Failure> {
    let from = policy.chain.checkpoint.height;
    let checkpoint = source.light_block(from).map_err(Failure::refused)?;
    let mut light = LightClient::from_checkpoint(&policy.chain, &checkpoint).map_err(Failure::refused)?;
    let gather = Gather::new(source, &policy.chain);
    let way = gather.path(from, x.saturating_sub(absent)).map_err(Failure::refused)?;
    if !way.blocks.is_empty() {
        light.advance(&way).map_err(Failure::refused)?;
    }
    let mut trusted: Vec<u64> = light.anchors().iter().map(|a| a.height()).collect();
    trusted.push(light.head().height());
    let evidence = gather.at_x(&trusted, proposal, x).map_err(Failure::refused)?;
    let headers = evidence.x.path.blocks.len();
    let bytes = evidence.to_cbor();
    // Who judges is named by no plan, and changes nothing of what is judged.
    let nobody = HostRandom::default();
    let judge = Judge { policy: &policy.chain, rules: &policy.builds, own: nobody.identity(), light: &light, admission: Admission::Any };
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let read = AtXEvidence::from_cbor(&bytes).map_err(Failure::refused)?;
        judge.plan_at_x(&read).map_err(Failure::refused)?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    let at = |i: usize| times.get(i).copied().unwrap_or_default();
    Ok(Measured { absent, headers, bytes: bytes.len(), fastest: at(0), median: at(ROUNDS / 2) })
}
