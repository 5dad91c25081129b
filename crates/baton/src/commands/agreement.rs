//! `baton ceremony agreement`: the network's part in a signing ceremony. It says which text makes the agreement public, and, once a
//! transaction holds it, puts together what the ceremony's enclave verifies.

use std::fs;

use baton_chain::ChainPolicy;
use baton_core::ceremony::network::agreement_text;
use baton_core::ceremony::{SessionInfo, Subject};
use baton_host::chain::{ChainSource, Included};
use baton_host::gather::Gather;
use baton_host::rpc::{RpcConfig, RpcSource};

use super::ceremony::read_attested;
use crate::cli::ceremony::AgreementArgs;
use crate::files::read_chain_policy;
use crate::output::{Failure, Report};
use crate::world::{Platform, World};

/// The network's agreement.
pub fn agreement(args: &AgreementArgs) -> Result<Report, Failure> {
    let policy = read_chain_policy(&args.policy)?;
    let session = read_attested(&args.session)?;
    let info = SessionInfo::from_cbor(&session.message).map_err(|e| Failure::input(e).at(args.session.display()))?;
    let subject = Subject::Sign { measurement: args.measurement, product_id: args.product_id, svn: args.svn };
    let text = agreement_text(&info, &subject);
    let mut out = Report::new();
    out.both("memo", "memo", &text);
    if let Some(folder) = &args.at {
        let any = |e: anyhow::Error| Failure::input(format!("{e:#}"));
        let mut world = World::open(folder, 0, 0, Platform::Sim).map_err(any)?;
        let tx = world.publish(&text).map_err(any)?;
        return write(args, &policy, &world.chain, &tx, out);
    }
    let Some(hash) = &args.tx else {
        out.text("Send a transaction with exactly this memo, from any account, for example a payment to yourself:");
        out.text(format!("  DAEMON tx bank send ME ME 1DENOM --chain-id {} --note {text}", policy.chain_id));
        out.text("then run this again with --rpc URL --proposal N --tx HASH --out FILE, while the session is open.");
        return Ok(out);
    };
    let source = RpcSource::new(RpcConfig::new(policy.chain_id.clone(), args.rpc.clone())).map_err(Failure::input)?;
    let mut wanted = [0; 32];
    hex::decode_to_slice(hash, &mut wanted).map_err(|_| Failure::input(format!("--tx: expected 64 hexadecimal characters, got {hash:?}")))?;
    let tx = source.included(&wanted).map_err(Failure::refused)?;
    let tx = tx.ok_or_else(|| Failure::refused(format!("transaction {hash} is in no block yet; wait for one, and run this again")))?;
    write(args, &policy, &source, &tx, out)
}

fn write(args: &AgreementArgs, policy: &ChainPolicy, source: &dyn ChainSource, tx: &Included, mut out: Report) -> Result<Report, Failure> {
    let (Some(proposal), Some(path)) = (args.proposal, &args.out) else {
        return Err(Failure::input("expected --proposal N and --out FILE beside a transaction"));
    };
    let head = source.latest().map_err(Failure::refused)?.max(tx.height);
    let height = policy.checkpoint.height;
    let checkpoint = source.light_block(height).map_err(Failure::refused)?;
    let vote = Gather::new(source, policy).network_vote((height, checkpoint), proposal, tx, head).map_err(Failure::refused)?;
    fs::write(path, vote.to_cbor()).map_err(|e| Failure::input(format!("{}: {e}", path.display())))?;
    out.both("proposal", "proposal", proposal).both("shown at", "head", head);
    out.both("written", "file", path.display());
    out.text("the ceremony's enclave judges it: baton ceremony signer sign … --vote FILE");
    Ok(out)
}
