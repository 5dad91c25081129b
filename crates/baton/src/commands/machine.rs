//! `baton platform show|vouch`: this machine's id, and the words with which a validator answers for it.

use baton_attest::identity::PlatformId;
use baton_chain::admission::{VOUCH_PREFIX, vouch_word, vouched};
use baton_chain::gov::{STAKING_STORE, Validator};
use baton_chain::staking::{BONDED, VALIDATORS};
use baton_host::chain::ChainSource;
use baton_host::rpc::RpcSource;
use prost::Message;
use serde_json::json;

use super::node::home;
use crate::cli::machine::{PlatformShowArgs, PlatformVouchArgs};
use crate::node::config::{Home, PlatformName};
use crate::node::machine::Here;
use crate::node::ops::{Op, Operator};
use crate::output::{Failure, Report};

/// Longest details that the SDK takes, in bytes (x/staking `MaxDetailsLength`).
const MAX_DETAILS: usize = 280;

fn all(rpc: &RpcSource) -> Result<Vec<Validator>, Failure> {
    let records = rpc.list(STAKING_STORE, &VALIDATORS).map_err(Failure::refused)?;
    Ok(records.iter().filter_map(|(_, value)| Validator::decode(value.as_slice()).ok()).collect())
}

/// This machine's id. On hardware only a quote shows it: the node makes one.
fn id_of(home: &Home) -> Result<PlatformId, Failure> {
    if home.config().enclave.platform != PlatformName::Sgx {
        return Ok(Here::new(&home.config().enclave)?.launcher().platform_id());
    }
    let told = Operator::open(home.clone())?.ask(&Op::Attest)?;
    told["platform"].as_str().unwrap_or_default().parse().map_err(|e| Failure::refused(format!("the node named no platform: {e}\nnext: `baton doctor` says whether this machine quotes")))
}

/// The id, and who answers for it.
pub fn show(args: &PlatformShowArgs) -> Result<Report, Failure> {
    let home = home(&args.at)?;
    let id = id_of(&home)?;
    let mut out = Report::new();
    out.both("platform", "platform", id);
    let rpc = crate::node::rpc(home.config())?;
    let mut by = Vec::new();
    for v in all(&rpc)?.iter().filter(|v| vouched(v.details()).is_ok_and(|ids| ids.contains(&id))) {
        let counts = v.status == BONDED && !v.jailed;
        let moniker = v.description.clone().unwrap_or_default().moniker;
        by.push(json!({"validator": v.operator_address, "moniker": moniker, "tokens": v.tokens, "counts": counts}));
        let why = if counts { "" } else { ": not bonded, so its word does not count" };
        out.row("vouched for by", format!("{} ({moniker}){why}", v.operator_address));
    }
    let good = by.iter().any(|v| v["counts"] == json!(true));
    out.field("vouched_by", by);
    match good {
        true => out.verdict(true, "a bonded validator answers for this machine: builds whose policy says admission vouched give it the keyring"),
        false => out.verdict(false, "no bonded validator answers for this machine\nnext: baton platform vouch --validator VALOPER"),
    };
    Ok(out)
}

/// What a validator's details must become.
pub fn vouch(args: &PlatformVouchArgs) -> Result<Report, Failure> {
    let home = home(&args.at)?;
    let id = id_of(&home)?;
    let rpc = crate::node::rpc(home.config())?;
    let records = all(&rpc)?;
    let validator = records.iter().find(|v| v.operator_address == args.validator).ok_or_else(|| {
        Failure::refused(format!(
            "no validator {}\nexpected: the operator address of one of the {} validators\nnext: the chain's `query staking validators` lists them",
            args.validator,
            records.len()
        ))
    })?;
    let old = validator.details();
    let new = with_machine(old, id, args.instead_of)?;
    let mut out = Report::new();
    out.both("platform", "platform", id).both("validator", "validator", &args.validator);
    out.both("details now", "details_now", old).both("details", "details", &new);
    match old == new {
        true => out.verdict(true, "the validator names this machine already"),
        false => out.verdict(true, format!("nothing was sent; next: CHAIND tx staking edit-validator --details '{new}' --from OPERATOR")),
    };
    Ok(out)
}

/// The other words stay; the word of machines gets one more, or another one in a machine's place.
fn with_machine(old: &str, id: PlatformId, instead_of: Option<PlatformId>) -> Result<String, Failure> {
    let mut ids = match old.split_whitespace().any(|w| w.starts_with(VOUCH_PREFIX)) {
        true => vouched(old).map_err(|e| Failure::refused(format!("the details cannot be read: {e}\nnext: correct them by hand first")))?,
        false => Vec::new(),
    };
    if let Some(gone) = instead_of {
        let at = ids.iter().position(|p| *p == gone).ok_or_else(|| Failure::refused(format!("the validator does not name platform {gone}")))?;
        ids.remove(at);
    }
    if ids.contains(&id) && instead_of.is_none() {
        return Ok(old.into());
    }
    if !ids.contains(&id) {
        ids.push(id);
    }
    let word = vouch_word(&ids).map_err(|e| Failure::refused(format!("{e}\nnext: --instead-of a machine that is no longer in use")))?;
    let others = old.split_whitespace().filter(|w| !w.starts_with(VOUCH_PREFIX));
    let new: Vec<&str> = others.chain([word.as_str()]).collect();
    let new = new.join(" ");
    match new.len() > MAX_DETAILS {
        true => Err(Failure::refused(format!("the details would have {} bytes, expected at most {MAX_DETAILS}; shorten the other words first", new.len()))),
        false => Ok(new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PlatformId = PlatformId([0xaa; 32]);
    const B: PlatformId = PlatformId([0xbb; 32]);

    fn word(ids: &[PlatformId]) -> String {
        vouch_word(ids).unwrap()
    }

    #[test]
    fn the_other_words_stay_and_the_machine_is_added_once() {
        assert_eq!(with_machine("", A, None).unwrap(), word(&[A]));
        let first = with_machine("we run boats", A, None).unwrap();
        assert_eq!(first, format!("we run boats {}", word(&[A])));
        assert_eq!(with_machine(&first, A, None).unwrap(), first);
        let second = with_machine(&first, B, None).unwrap();
        assert_eq!(second, format!("we run boats {}", word(&[A, B])));
        assert_eq!(with_machine(&second, B, Some(A)).unwrap(), format!("we run boats {}", word(&[B])));
    }

    #[test]
    fn what_would_not_be_read_or_not_fit_is_refused() {
        let full = word(&[PlatformId([1; 32]), PlatformId([2; 32]), PlatformId([3; 32])]);
        for (old, instead_of) in [
            (full.clone(), None),
            (format!("{} {}", word(&[A]), word(&[B])), None),
            ("baton1:abc".into(), None),
            (word(&[B]), Some(PlatformId([9; 32]))),
            ("x".repeat(220), None),
        ] {
            assert!(with_machine(&old, A, instead_of).is_err(), "{old}");
        }
        assert!(with_machine(&full, A, Some(PlatformId([2; 32]))).is_ok());
    }
}
