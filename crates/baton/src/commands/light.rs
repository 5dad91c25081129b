//! `baton light verify`.

use std::path::Path;
use std::time::Duration;

use baton_attest::identity::Digest32;
use baton_chain::light::{
    LightBlock, LightError, Now, StepParams, Time, TrustedHeader, check_signed_by, verify_step,
};
use baton_chain::proofs::{StateProof, verify_state};
use baton_chain::rpc::{self, IbcHeader};
use prost::Message;
use serde_json::{Value, json};
use tendermint_proto::v0_38::types::SignedHeader;

use crate::cli::LightArgs;
use crate::files;
use crate::output::{Failure, Report};
use crate::times::show_duration;

/// Most bytes of one file.
const MAX_FILE: usize = 64 * 1024 * 1024;

/// A file with light blocks in one of the forms that are read.
pub(crate) enum Side {
    /// One block.
    Block(LightBlock),
    /// A relayed header, which names its own trusted side, and the proof beside it.
    Ibc(Box<IbcHeader>, Option<StateProof>),
    /// A recording: trusted block, blocks between, target.
    Recording(Box<LightBlock>, Vec<LightBlock>, Box<LightBlock>),
}

/// Verifies a block from a trusted one.
pub fn verify(args: &LightArgs) -> Result<Report, Failure> {
    let target = read(&args.target)?;
    let trusted = args.trusted.as_deref().map(read).transpose()?;
    let mut out = Report::new();
    let header = match (trusted, target) {
        (None, Side::Recording(trusted, path, target)) => {
            walk(args, &trusted, &path, &target, None, &mut out)?
        }
        (Some(trusted), Side::Recording(_, path, target)) => {
            walk(args, &the_block(trusted), &path, &target, None, &mut out)?
        }
        (None, Side::Ibc(header, proof)) => own_side(args, &header, proof, &mut out)?,
        (Some(Side::Ibc(t, _)), Side::Ibc(header, proof))
            if t.block.height() == header.block.height() =>
        {
            own_side(args, &header, proof, &mut out)?
        }
        (Some(trusted), Side::Ibc(header, proof)) => {
            let trusted = the_block(trusted);
            // The relayer names the set after its trusted height; it counts only if the trusted header names it too.
            let next = (trusted.height() == Ok(header.trusted_height))
                .then_some(header.trusted_validators);
            let shown = walk(args, &trusted, &[], &header.block, next, &mut out)?;
            show_proof(&shown, proof, &mut out)?;
            shown
        }
        (Some(trusted), Side::Block(target)) => {
            walk(args, &the_block(trusted), &[], &target, None, &mut out)?
        }
        (None, Side::Block(_)) => {
            return Err(Failure::input("nothing to verify the block from")
                .next("name the block that you trust with --trusted FILE"));
        }
    };
    out.verdict(
        true,
        format!(
            "header {} is signed as the trusted side demands",
            header.height()
        ),
    );
    Ok(out)
}

fn the_block(side: Side) -> LightBlock {
    match side {
        Side::Block(block) => block,
        Side::Ibc(header, _) => header.block,
        Side::Recording(trusted, ..) => *trusted,
    }
}

/// Verifies every block of a way from the block that the caller trusts.
fn walk(
    args: &LightArgs,
    trusted: &LightBlock,
    path: &[LightBlock],
    target: &LightBlock,
    next: Option<Vec<u8>>,
    out: &mut Report,
) -> Result<TrustedHeader, Failure> {
    let params = StepParams {
        trusting_period: Some(Duration::from_secs(args.trusting_period)),
        trust_threshold: args.trust,
        now: Now::OfTheHeader,
        adjacent_age_limit: false,
    };
    let mut from = believed(trusted).map_err(|e| refusal(&e))?;
    out.row("trusted", about(&from))
        .field("trusted", facts(&from));
    let mut next = next.or_else(|| next_set(&from, trusted));
    let mut steps = Vec::new();
    for block in path.iter().chain([target]) {
        let header =
            verify_step(&from, next.as_deref(), block, &params).map_err(|e| refusal(&e))?;
        let kind = if from.height().checked_add(1) == Some(header.height()) {
            "adjacent"
        } else {
            "skip"
        };
        out.row(
            "verified",
            format!("{} ({kind} from {})", about(&header), from.height()),
        );
        steps.push(json!({ "kind": kind, "from": from.height(), "header": facts(&header) }));
        next = next_set(&header, block);
        from = header;
    }
    out.field("steps", steps)
        .field("target", facts(&from))
        .field("trusting_period_judged", true);
    let (n, d) = args.trust;
    out.row(
        "trusting period",
        format!(
            "{}, which limits skips; adjacent steps have no age limit",
            show_duration(args.trusting_period)
        ),
    );
    out.row("trust", format!("more than {n}/{d} of the trusted power in a skip, more than 2/3 of the header's own power always"));
    out.row("note", "the trusted header is trusted because you named it: compare its hash with sources that you trust");
    Ok(from)
}

/// From the trusted height and validators that a relayed header names itself.
fn own_side(
    args: &LightArgs,
    header: &IbcHeader,
    proof: Option<StateProof>,
    out: &mut Report,
) -> Result<TrustedHeader, Failure> {
    check_signed_by(
        header.trusted_height,
        &header.trusted_validators,
        &header.block,
        args.trust,
    )
    .map_err(|e| refusal(&e))?;
    let shown = believed(&header.block).map_err(|e| refusal(&e))?;
    out.row(
        "trusted",
        format!(
            "height {} with the validators that the file names for it",
            header.trusted_height
        ),
    );
    out.row("verified", about(&shown));
    out.row(
        "trusting period",
        "not judged: the file holds no trusted time",
    );
    let (n, d) = args.trust;
    out.row("trust", format!("more than {n}/{d} of the trusted power in a skip, more than 2/3 of the header's own power always"));
    out.row("note", "the trusted validators are the file's own word: compare their header with sources that you trust");
    out.field(
        "trusted",
        json!({ "height": header.trusted_height, "hash": null, "time": null }),
    );
    out.field("target", facts(&shown))
        .field("trusting_period_judged", false)
        .field("steps", Value::Array(vec![]));
    show_proof(&shown, proof, out)?;
    Ok(shown)
}

/// The proof beside a relayed header; called only after that header was verified.
fn show_proof(
    header: &TrustedHeader,
    proof: Option<StateProof>,
    out: &mut Report,
) -> Result<(), Failure> {
    let Some(proof) = proof else { return Ok(()) };
    verify_state(header, &proof).map_err(Failure::refused)?;
    let key = String::from_utf8(proof.key.clone())
        .unwrap_or_else(|_| format!("0x{}", hex::encode(&proof.key)));
    let value = proof.value.as_deref().map_or("absent".into(), hex::encode);
    out.row(
        "proof",
        format!(
            "store {:?}, key {key:?}: value {value} is in the app hash of header {}",
            proof.store,
            header.height()
        ),
    );
    out.field("proof", json!({ "store": proof.store, "key": hex::encode(&proof.key), "value": value, "holds": true }));
    Ok(())
}

/// The header of a block that is believed because somebody says so.
pub(crate) fn believed(block: &LightBlock) -> Result<TrustedHeader, LightError> {
    let (chain_id, _) = peek(block)?;
    TrustedHeader::from_checkpoint(&chain_id, &block.untrusted_checkpoint()?, block)
}

/// Chain id and time as the header claims them.
pub(crate) fn peek(block: &LightBlock) -> Result<(String, Time), LightError> {
    let bad = |reason: &str| LightError::Malformed {
        what: "signed header",
        reason: reason.into(),
    };
    let signed =
        SignedHeader::decode(block.signed_header.as_slice()).map_err(|e| bad(&e.to_string()))?;
    let header = signed.header.ok_or_else(|| bad("no header in it"))?;
    let time = header.time.unwrap_or_default();
    Ok((
        header.chain_id,
        Time {
            secs: time.seconds,
            nanos: u32::try_from(time.nanos).unwrap_or_default(),
        },
    ))
}

/// The set that signs the next height: the file's, or this height's own where the header names the same one.
fn next_set(header: &TrustedHeader, block: &LightBlock) -> Option<Vec<u8>> {
    let same = header.next_validators_hash() == header.validators_hash();
    block
        .next_validators
        .clone()
        .or_else(|| same.then(|| block.validators.clone()))
}

fn about(h: &TrustedHeader) -> String {
    format!(
        "{} height {}, {}, hash {}",
        h.chain_id(),
        h.height(),
        h.time(),
        Digest32(h.hash())
    )
}

fn facts(h: &TrustedHeader) -> Value {
    json!({
        "chain_id": h.chain_id(),
        "height": h.height(),
        "time": h.time().to_string(),
        "hash": hex::encode(h.hash()),
        "app_hash": hex::encode(h.app_hash()),
        "validators_hash": hex::encode(h.validators_hash()),
        "next_validators_hash": hex::encode(h.next_validators_hash()),
    })
}

/// What cannot be read is bad input; what can, and does not follow, is refused.
pub(crate) fn refusal(e: &LightError) -> Failure {
    match e {
        LightError::Malformed { .. } | LightError::TooLarge { .. } | LightError::BadThreshold { .. } => Failure::input(e),
        LightError::MissingNextValidators { .. } => {
            Failure::refused(e).next("bring the next validators: a light block of /commit, /validators and /validators of the next height")
        }
        LightError::Expired { expires, now } => Failure::refused(format!(
            "the step skips more than the trusting period: expected a header until {expires}, got {now}; bring headers in between, \
             or adjacent ones, which have no age limit"
        )),
        LightError::KeyType { .. } => Failure::refused(e).next("only chains with Ed25519 validator keys are supported"),
        LightError::NotForward { .. } => Failure::refused(e).next("name an older block as trusted"),
        _ => Failure::refused(e),
    }
}

/// Reads a file in any of the forms.
pub(crate) fn read(path: &Path) -> Result<Side, Failure> {
    let bytes = files::read(path, "light block", MAX_FILE)?;
    let place = |e: &dyn std::fmt::Display| Failure::input(format!("{}: {e}", path.display()));
    if !files::looks_like_json(&bytes) {
        let block = minicbor::decode::<LightBlock>(&bytes).map_err(|_| unknown(path))?;
        block.height().map_err(|e| place(&e))?;
        return Ok(Side::Block(block));
    }
    let json = files::json(&bytes, path, "light block")?;
    if json.get("trusted").is_some() && json.get("target").is_some() {
        return recording(&json).map_err(|e| place(&e));
    }
    if let Some(text) = json.get("header_b64").and_then(Value::as_str) {
        let header = rpc::ibc_header_from_b64(text).map_err(|e| place(&e))?;
        return Ok(Side::Ibc(
            Box::new(header),
            ibc_proof(&json).map_err(|e| place(&e))?,
        ));
    }
    if let Some(text) = json
        .pointer("/update_client_message/client_message_hex")
        .and_then(Value::as_str)
    {
        let message = hex::decode(text).map_err(|e| place(&e))?;
        return Ok(Side::Ibc(
            Box::new(rpc::ibc_header(&message).map_err(|e| place(&e))?),
            None,
        ));
    }
    if json
        .get("result")
        .unwrap_or(&json)
        .get("validator_set")
        .is_some()
    {
        return rpc::light_block_from_signed_block(&json)
            .map(Side::Block)
            .map_err(|e| place(&e));
    }
    if json.get("commit").is_some() && json.get("validators").is_some() {
        return recorded_block(&json)
            .map(Side::Block)
            .map_err(|e| place(&e));
    }
    Err(unknown(path))
}

fn unknown(path: &Path) -> Failure {
    Failure::input(format!("{}: not a light block in any form that is read", path.display())).next(
        "bring a /signed_block answer, {height, commit, validators, next_validators} of RPC answers, an IBC header (header_b64), a recording, or a CBOR light block",
    )
}

pub(crate) fn recorded_block(json: &Value) -> Result<LightBlock, rpc::RpcError> {
    let part = |name: &str| json.get(name).filter(|v| !v.is_null());
    rpc::light_block_from_rpc(
        part("commit").unwrap_or(&Value::Null),
        part("validators").unwrap_or(&Value::Null),
        part("next_validators"),
    )
}

fn recording(json: &Value) -> Result<Side, rpc::RpcError> {
    let block = |name: &str| recorded_block(json.get(name).unwrap_or(&Value::Null)).map(Box::new);
    let path = json
        .get("path")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let path = path.iter().map(recorded_block).collect::<Result<_, _>>()?;
    Ok(Side::Recording(block("trusted")?, path, block("target")?))
}

/// The two-part proof of an IBC file: key and value of the first part, store of the second.
fn ibc_proof(json: &Value) -> Result<Option<StateProof>, String> {
    let (Some(proof), Some(parts)) = (
        json.get("merkle_proof_b64").and_then(Value::as_str),
        json.get("proof"),
    ) else {
        return Ok(None);
    };
    let text = |pointer: &str| {
        parts
            .pointer(pointer)
            .and_then(Value::as_str)
            .ok_or(format!("proof{pointer}: expected text"))
    };
    let bytes = |pointer: &str| {
        text(pointer).and_then(|t| hex::decode(t).map_err(|e| format!("proof{pointer}: {e}")))
    };
    use base64::Engine;
    let proof = base64::engine::general_purpose::STANDARD
        .decode(proof)
        .map_err(|e| format!("merkle_proof_b64: {e}"))?;
    let store =
        String::from_utf8(bytes("/1/key_hex")?).map_err(|e| format!("proof/1/key_hex: {e}"))?;
    let value = bytes("/0/value_hex")?;
    rpc::state_proof_from_ibc(&proof, &store, &bytes("/0/key_hex")?, Some(&value))
        .map(Some)
        .map_err(|e| e.to_string())
}
