//! `baton order key|new|sign|show|verify|publish`: an emergency order from its first line to its publication.
//!
//! A signed order is one file that people pass around. Each signs what they have, and two copies are put together by signing
//! on, or by giving both to `verify`. Nothing here is believed by an enclave.

use std::fs;
use std::io::Write;
use std::path::Path;

use baton_attest::identity::{Attributes, Identity, PLATFORM_SGX, flags};
use baton_chain::light::LightClient;
use baton_core::order::adr036::{check as check_account, sign_doc, validators};
use baton_core::order::signed::{AccountSignature, MAX_SIGNED_BYTES, SignedOrder};
use baton_core::order::{Action, Authority, Order, VERSION};
use baton_core::policy::Policy;
use baton_core::witness::orders_origin;
use baton_host::chain::ChainSource;
use baton_host::gather::Gather;
use baton_host::orders::staking;
use baton_host::rpc::{RpcConfig, RpcSource};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;
use serde_json::{Value, json};

use super::order_key::MemberKey;
use crate::cli::{OrderFileArgs, OrderKeyArgs, OrderKindArg, OrderNewArgs, OrderSignArgs, OrderVerifyArgs};
use crate::files::{json as parse_json, read, read_text, read_valid_policy};
use crate::output::{Failure, Report};
use crate::times::{show_duration, show_time};
use crate::world::{Platform, World};

/// Makes a council member's key, and prints what the policy names.
pub fn key(args: &OrderKeyArgs) -> Result<Report, Failure> {
    let key = MemberKey::make(args.p256)?;
    write_new(&args.out, key.to_text()?.as_bytes(), true)?;
    let public = key.public()?;
    let mut out = Report::new();
    out.both("secret key", "file", args.out.display());
    out.both("for the policy", "key", public);
    out.text("Keep the file offline: whoever has m of these can order a handover, in public.");
    Ok(out)
}

/// Writes an order that nobody has signed yet.
pub fn new(args: &OrderNewArgs) -> Result<Report, Failure> {
    let order = Order {
        version: VERSION,
        chain_id: args.chain_id.clone(),
        from: args.from,
        sequence: args.sequence,
        expiry_height: args.expiry_height,
        expiry_secs: args.expires,
        reason: args.reason.clone(),
        action: action(args)?,
    };
    order.check_reason().map_err(Failure::input)?;
    let signed = SignedOrder::unsigned(order);
    write_new(&args.out, &signed.to_bytes(), false)?;
    let mut out = Report::new();
    out.both("written", "file", args.out.display());
    describe(&mut out, signed.order());
    out.text("").text("next: every signer reads it with `baton order show` and signs with `baton order sign`.");
    Ok(out)
}

fn action(args: &OrderNewArgs) -> Result<Action, Failure> {
    // The command line has asked for what each kind needs.
    let missing = || Failure::input("the order is not complete").next("`baton order new --help` says what each kind needs");
    Ok(match args.kind {
        OrderKindArg::Handover => Action::Handover {
            to: Identity {
                platform_tag: PLATFORM_SGX,
                measurement: args.measurement.ok_or_else(missing)?,
                signer: args.signer.ok_or_else(missing)?,
                product_id: args.product_id,
                svn: args.svn.ok_or_else(missing)?,
                attributes: Attributes { flags: flags::INIT | flags::MODE64BIT, xfrm: args.xfrm },
                misc_select: 0,
                config_id: [0; 64],
                config_svn: 0,
            },
        },
        OrderKindArg::Rewind => {
            Action::Rewind { height: args.height.ok_or_else(missing)?, hash: args.hash.ok_or_else(missing)? }
        }
        OrderKindArg::Freeze => Action::Freeze {
            measurement: args.measurement.ok_or_else(missing)?,
            proposals_through: args.proposals_through.ok_or_else(missing)?,
        },
        OrderKindArg::Rotate => Action::Rotate,
    })
}

/// Adds a signature: with a council key, or one that a wallet made.
pub fn sign(args: &OrderSignArgs) -> Result<Report, Failure> {
    let mut signed = read_signed(&args.file)?;
    let mut out = Report::new();
    if let Some(path) = &args.key {
        let key = MemberKey::read(path)?;
        let public = key.public()?;
        signed.add_council(&public, |bytes| key.sign(bytes));
        out.both("signed by", "key", public);
    } else if let (Some(signer), Some(path)) = (&args.signer, &args.wallet) {
        let account = wallet(signer, path)?;
        check_account(signed.order(), &account).map_err(|why| {
            Failure::refused(format!("the signature of {signer}: {why}")).next("sign the document of `baton order sign FILE --signer ACCOUNT`")
        })?;
        signed.add_account(account);
        out.both("signed by", "account", signer);
    } else if let Some(signer) = &args.signer {
        out.both("data", "data", signed.order().memo());
        out.field("sign_doc", sign_doc(signed.order(), signer));
        out.text("").text(sign_doc(signed.order(), signer)).text("");
        out.text("Let the wallet sign the data as an arbitrary message (ADR-036), then: --wallet ANSWER.json");
        return Ok(out);
    } else {
        return Err(Failure::input("nobody signs").next("give --key FILE, or --signer ACCOUNT"));
    }
    fs::write(args.out.as_ref().unwrap_or(&args.file), signed.to_bytes())
        .map_err(|e| Failure::input(format!("{}: {e}", args.file.display())))?;
    counts(&mut out, &signed);
    Ok(out)
}

/// What a wallet answers: `{"pub_key": {"value": BASE64}, "signature": BASE64}`.
fn wallet(signer: &str, path: &Path) -> Result<AccountSignature, Failure> {
    let value = parse_json(&read(path, "wallet's answer", 64 << 10)?, path, "wallet's answer")?;
    let bytes = |v: &Value| v.as_str().and_then(|t| STANDARD.decode(t).ok());
    let (public_key, signature) = (bytes(&value["pub_key"]["value"]), bytes(&value["signature"]));
    match (public_key, signature) {
        (Some(public_key), Some(signature)) => Ok(AccountSignature { signer: signer.into(), public_key, signature }),
        _ => Err(Failure::input(format!(
            "wallet's answer {}: expected pub_key.value and signature in base64",
            path.display()
        ))),
    }
}

/// Shows an order, without judging its signatures.
pub fn show(args: &OrderFileArgs) -> Result<Report, Failure> {
    let signed = read_signed(&args.file)?;
    let mut out = Report::new();
    describe(&mut out, signed.order());
    counts(&mut out, &signed);
    Ok(out)
}

/// Says who signed, whose signature is bad, and what is still missing.
pub fn verify(args: &OrderVerifyArgs) -> Result<Report, Failure> {
    let policy = read_valid_policy(&args.policy)?;
    let council = policy.council.as_ref().ok_or_else(|| {
        Failure::refused("the policy has no council section").next("builds of this policy obey no order")
    })?;
    let mut signed = read_signed(&args.file)?;
    for other in &args.and {
        signed.merge(read_signed(other)?).map_err(Failure::refused)?;
    }
    let mut out = Report::new();
    describe(&mut out, signed.order());
    if signed.order().chain_id != policy.chain.chain_id {
        out.verdict(false, format!("the policy is for chain {:?}", policy.chain.chain_id));
        return Ok(out);
    }
    let (authority, signers, skipped) = signed.council(council);
    out.both("signed by", "signers", if signers.is_empty() { "nobody of the council".into() } else { signers.join(", ") });
    for bad in &skipped.0 {
        out.row("skipped", bad);
    }
    let missing: Vec<&str> =
        council.members.iter().map(|m| m.name.as_str()).filter(|n| !signers.iter().any(|s| s == n)).collect();
    out.field("skipped", skipped.0.iter().map(|s| json!({"owner": s.owner, "why": s.why})).collect::<Vec<_>>());
    out.field("not_signed", missing.clone());
    out.row("not signed", missing.join(", "));
    let mut accounts = 0;
    for account in signed.accounts() {
        match check_account(signed.order(), account) {
            Ok(_) => accounts += 1,
            Err(why) => {
                out.row("skipped", format!("{}: {why}", account.signer));
            }
        }
    }
    out.field("accounts", accounts);
    let weighed = match accounts {
        0 => None,
        _ => weigh(args, &policy, &signed, &mut out)?,
    };
    notice(&mut out, &policy);
    match authority.or(weighed) {
        Some(Authority::Validators { power, total, .. }) => {
            out.verdict(true, format!("validators with {power} of {total} power ordered it; publish it now, the notice begins then"))
        }
        Some(_) => out.verdict(true, format!("{} of {} signatures needed; publish it now, the notice begins then", signers.len(), council.needed)),
        None if accounts != 0 && args.at.is_none() && args.rpc.is_empty() => out.verdict(true, "the council has not signed, validators may have: the enclave weighs them"),
        None => out.verdict(false, format!("{} of {} signatures needed", signers.len(), council.needed)),
    };
    Ok(out)
}

/// Weighs accounts at the chain's newest header, as an enclave with this policy does.
fn weigh(args: &OrderVerifyArgs, policy: &Policy, signed: &SignedOrder, out: &mut Report) -> Result<Option<Authority>, Failure> {
    let good = || signed.accounts().iter().filter_map(|a| check_account(signed.order(), a).ok());
    let (world, rpc);
    let source: &dyn ChainSource = match (&args.at, args.rpc.as_slice()) {
        (Some(folder), _) => {
            world = World::open(folder, 0, 0, Platform::Sim).map_err(|e| Failure::input(format!("{e:#}")))?;
            &world.chain
        }
        (None, []) => {
            let text = format!("{} with good signatures; give --rpc to weigh them by the chain's staking records, as the enclave will", good().count());
            out.row("accounts", text);
            return Ok(None);
        }
        (None, urls) => {
            rpc = RpcSource::new(RpcConfig::new(policy.chain.chain_id.clone(), urls.to_vec())).map_err(Failure::input)?;
            &rpc
        }
    };
    let (from, to) = (policy.chain.checkpoint.height, source.latest().map_err(Failure::refused)?);
    let block = source.light_block(from).map_err(Failure::refused)?;
    let mut light = LightClient::from_checkpoint(&policy.chain, &block).map_err(Failure::refused)?;
    let path = Gather::new(source, &policy.chain).path(from, to).map_err(Failure::refused)?;
    if !path.blocks.is_empty() {
        light.advance(&path).map_err(Failure::refused)?;
    }
    let addresses: Vec<[u8; 20]> = good().collect();
    let records = staking(source, &addresses, to).map_err(Failure::refused)?;
    let (authority, skipped) = validators(signed, light.head(), &records).map_err(Failure::refused)?;
    for s in &skipped.0 {
        out.row("skipped", s);
    }
    out.both("weighed at height", "weighed_at", to);
    if authority.is_none() {
        out.row("accounts", "more than two thirds of the bonded power are needed, and these have less");
    }
    Ok(authority)
}

/// Says what makes an order public, and where.
pub fn publish(args: &OrderFileArgs) -> Result<Report, Failure> {
    let signed = read_signed(&args.file)?;
    let order = signed.order();
    let mut out = Report::new();
    out.both("memo", "memo", order.memo());
    out.both("witnessed log", "log", orders_origin(&order.chain_id));
    out.text("");
    out.text("On a chain that lives: send a transaction with exactly this memo, from any account, for example a payment to yourself:");
    out.text(format!("  DAEMON tx bank send ME ME 1DENOM --chain-id {} --note {}", order.chain_id, order.memo()));
    out.text("When the chain stands still: append the memo as a leaf to the log of that name, and let witnesses cosign it");
    out.text("now, and again when the notice is over:");
    out.text(format!("  baton order log orders.log --order {} --witness http://WITNESS --policy POLICY", args.file.display()));
    Ok(out)
}

fn notice(out: &mut Report, policy: &Policy) {
    let blocks = policy.council.as_ref().map_or(0, |c| c.notice_blocks);
    let by_witnesses = policy.witnesses.as_ref().map_or(String::new(), |w| {
        format!(", or {} by the dates of {} of {} witnesses", show_duration(w.notice_secs), w.needed, w.keys.len())
    });
    out.field("notice_blocks", blocks);
    out.row("notice", format!("{blocks} blocks on chain{by_witnesses}"));
}

fn describe(out: &mut Report, order: &Order) {
    out.both("order", "kind", order.kind());
    out.both("number", "sequence", order.sequence);
    out.both("chain", "chain_id", &order.chain_id);
    out.both("to the build", "from", order.from);
    match &order.action {
        Action::Handover { to } => {
            out.both("hand over to", "measurement", to.measurement);
            out.both("its signer", "signer", to.signer);
            out.both("its version", "svn", to.svn);
            out.both("its identity", "to", to.digest());
        }
        Action::Rewind { height, hash } => {
            out.both("back to height", "height", height);
            out.both("header hash", "hash", hash);
        }
        Action::Freeze { measurement, proposals_through } => {
            out.both("nothing to", "measurement", measurement);
            out.both("until a plan of a proposal above", "proposals_through", proposals_through);
        }
        Action::Rotate => {
            out.row("does", "recorded in the log; no build of this release deals a new epoch");
        }
    }
    out.both("void from height", "expiry_height", order.expiry_height);
    out.field("expiry_secs", order.expiry_secs);
    out.row("void from", show_time(order.expiry_secs));
    out.both("reason", "reason", &order.reason);
    out.both("digest", "digest", order.digest());
}

fn counts(out: &mut Report, signed: &SignedOrder) {
    let (council, accounts) = (signed.council_signatures(), signed.accounts().len());
    out.field("council_signatures", council).field("account_signatures", accounts);
    out.row("signatures", format!("{council} of council keys, {accounts} of accounts; not judged here"));
}

pub(crate) fn read_signed(path: &Path) -> Result<SignedOrder, Failure> {
    let bytes = read(path, "order", MAX_SIGNED_BYTES)?;
    SignedOrder::from_bytes(&bytes).map_err(|e| Failure::input(e).at(path.display()))
}

/// A file of 64 hexadecimal characters.
pub(crate) fn read_key(path: &Path) -> Result<SigningKey, Failure> {
    let mut seed = [0; 32];
    let text = read_text(path, "key", 1024)?;
    hex::decode_to_slice(text.trim(), &mut seed)
        .map_err(|_| Failure::input(format!("key {}: expected 64 hexadecimal characters", path.display())))?;
    Ok(SigningKey::from_bytes(&seed))
}

/// Writes a file that must not be there yet.
pub(crate) fn write_new(path: &Path, bytes: &[u8], secret: bool) -> Result<(), Failure> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if secret {
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    }
    #[cfg(not(unix))]
    let _ = secret;
    options
        .open(path)
        .and_then(|mut f| f.write_all(bytes))
        .map_err(|e| Failure::input(format!("{}: {e}", path.display())).next("give the name of a new file"))
}
