//! `baton proposal new|check` and `baton sim-build`: what people vote on.

use std::collections::{BTreeMap, BTreeSet};

use baton_attest::sigstruct::{SigningKey, Sigstruct, check_sigstruct};
use baton_chain::gov::ProposalStatus;
use baton_chain::info::{NamedBuild, read_info};
use baton_core::policy::Policy;
use baton_enclave::sim::Image;
use baton_host::chain::ChainSource;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::node::home;
use crate::cli::node::{ProposalCheckArgs, ProposalNewArgs, SimBuildArgs};
use crate::files::{read_valid_policy, write};
use crate::node::config::Home;
use crate::node::follow::{plans_of, proposal};
use crate::node::machine::BuildFile;
use crate::node::ops::{Op, Operator};
use crate::output::{Failure, Report};

/// Writes the JSON for `tx gov submit-proposal`.
pub fn new(args: &ProposalNewArgs) -> Result<Report, Failure> {
    let build = BuildFile::read(&args.build).map_err(|e| Failure::input(format!("{e:#}")))?;
    let sig = check_sigstruct(&build.image.sigstruct).map_err(|e| Failure::input(e).at(args.build.with_extension("sig").display()))?;
    let digest: [u8; 32] = Sha256::digest(b"gov").into();
    let hrp = bech32::Hrp::parse(&args.prefix).map_err(|e| Failure::input(format!("prefix {:?}: {e}", args.prefix)))?;
    let authority = bech32::encode::<bech32::Bech32>(hrp, &digest[..20]).map_err(Failure::input)?;
    let info = json!({"binaries": {}, "enclave": {"mrenclave": build.measurement.to_string(), "svn": sig.fields().svn}}).to_string();
    let title = args.title.clone().unwrap_or_else(|| format!("Upgrade to {}", args.plan));
    let proposal = json!({
        "messages": [{
            "@type": "/cosmos.upgrade.v1beta1.MsgSoftwareUpgrade",
            "authority": authority,
            "plan": {"name": args.plan, "height": args.height.to_string(), "info": info},
        }],
        "metadata": "",
        "deposit": args.deposit,
        "title": title,
        "summary": format!("Hands the network's secret to enclave build {}, at height {}.", build.measurement, args.height),
        "expedited": args.expedited,
    });
    let mut out = Report::new();
    for (key, value) in proposal.as_object().into_iter().flatten() {
        out.field(key, value.clone());
    }
    match &args.out {
        Some(path) => {
            write(path, format!("{proposal:#}\n").as_bytes())?;
            out.row("written", path.display()).row("measurement", build.measurement);
        }
        None => {
            out.text(format!("{proposal:#}"));
        }
    }
    Ok(out)
}

/// What the enclave reads in a live proposal.
pub fn check(args: &ProposalCheckArgs) -> Result<Report, Failure> {
    let home = home(&args.at)?;
    let rpc = crate::node::rpc(home.config())?;
    let header = rpc.latest().map_err(Failure::refused)?;
    let found = proposal(&rpc, args.id, header).map_err(Failure::refused)?;
    let p = found.ok_or_else(|| Failure::refused(format!("there is no proposal {}: never made, or its deposit was never paid", args.id)))?;
    let mut out = Report::new();
    let status = ProposalStatus::try_from(p.status).unwrap_or_default().name();
    out.both("title", "title", &p.title).both("status", "status", status);
    if let Some(t) = &p.final_tally_result {
        out.field("tally", json!({"yes": t.yes_count, "no": t.no_count, "abstain": t.abstain_count, "veto": t.no_with_veto_count}));
        out.row("tally", format!("yes {}, no {}, abstain {}, veto {} (written when the vote ends)", t.yes_count, t.no_count, t.abstain_count, t.no_with_veto_count));
    }
    let plans = plans_of(&p);
    let [plan] = plans.as_slice() else {
        out.verdict(false, format!("it holds {} upgrade messages: the enclave takes exactly one", plans.len()));
        return Ok(out);
    };
    if p.messages.len() != 1 {
        out.row("messages", p.messages.len());
    }
    out.both("plan", "plan", &plan.name).field("height", plan.height).row("height", plan.height);
    let named = match read_info(&plan.info) {
        Err(e) => {
            out.verdict(false, format!("the enclave refuses its info: {e}"));
            return Ok(out);
        }
        Ok(None) => {
            out.verdict(args.build.is_none(), "its info names no enclave: the plan changes no build");
            return Ok(out);
        }
        Ok(Some(named)) => named,
    };
    out.both("names", "measurement", named.measurement);
    if let Some(svn) = named.svn {
        out.field("svn", svn).row("svn", format!("at least {svn}"));
    }
    let here = match &args.build {
        Some(path) => Some(BuildFile::read(path).map_err(|e| Failure::input(format!("{e:#}")))?),
        None => crate::node::machine::builds(&home.path("builds"), &home.config().chain.id)?.0.into_iter().find(|b| b.measurement == named.measurement),
    };
    let Some(build) = here else {
        out.verdict(true, format!("it can be read in one way; no build {} is in {} to compare", named.measurement, home.path("builds").display()));
        return Ok(out);
    };
    judge(&mut out, &home, &build, &named)?;
    Ok(out)
}

/// What is held against what, line by line.
#[derive(Default)]
struct Lines(Vec<(bool, &'static str, String)>);

impl Lines {
    fn say(&mut self, ok: bool, name: &'static str, says: impl Into<String>) {
        self.0.push((ok, name, says.into()));
    }

    /// Ok if they are equal.
    fn same<T: PartialEq + std::fmt::Display>(&mut self, name: &'static str, what: &str, expected: &T, got: &T) {
        let says = if expected == got { format!("{what} {got}") } else { format!("{what}: expected {expected}, got {got}") };
        self.say(expected == got, name, says);
    }

    fn tell(self, out: &mut Report) {
        let mut all = Vec::new();
        for (ok, name, says) in &self.0 {
            out.row(if *ok { format!("ok {name}") } else { format!("refused {name}") }, says);
            all.push(json!({"check": name, "ok": ok, "says": says}));
        }
        out.field("checks", all);
        match self.0.iter().find(|(ok, _, _)| !ok) {
            None => out.verdict(true, "the enclave reads this very build in it"),
            Some((_, name, says)) => out.verdict(false, format!("{name}: {says}")),
        };
    }
}

fn judge(out: &mut Report, home: &Home, build: &BuildFile, named: &NamedBuild) -> Result<(), Failure> {
    out.row("build", format!("{} {}", build.name, build.measurement));
    let mut lines = Lines::default();
    if build.measurement != named.measurement {
        lines.say(false, "measurement", format!("the proposal names another build: expected {}, got {}", build.measurement, named.measurement));
        lines.tell(out);
        return Ok(());
    }
    lines.same("measurement", "names", &build.measurement, &named.measurement);
    let sig = check_sigstruct(&build.image.sigstruct).map_err(Failure::refused)?;
    let fields = sig.fields();
    of_signature(&mut lines, named, fields);
    let chain_id = &home.config().chain.id;
    lines.same("chain id", "its policy is for chain", chain_id, &build.policy.chain.chain_id);
    // The rules that decide are those inside the builds that would give.
    let olds = crate::node::machine::builds(&home.path("builds"), chain_id)?.0;
    for old in olds.iter().filter(|b| b.measurement != build.measurement) {
        of_giver(&mut lines, old, &build.policy, fields);
    }
    of_keyring(&mut lines, home, build);
    lines.tell(out);
    Ok(())
}

/// What the proposal says beside the measurement, against the build's signature.
fn of_signature(lines: &mut Lines, named: &NamedBuild, sig: &Sigstruct) {
    if let Some(signer) = &named.signer {
        lines.same("signer", "the build's signature does not fit unless it is of signer", signer, &sig.signer());
    }
    if let Some(product) = &named.product_id {
        lines.same("product id", "product id", product, &sig.product_id);
    }
    if let Some(least) = named.svn {
        let says = format!("the build has svn {}, the proposal asks for {least} at least", sig.svn);
        lines.say(sig.svn >= least, "svn", says);
    }
}

/// What a build that would give asks of this one.
fn of_giver(lines: &mut Lines, old: &BuildFile, new: &Policy, sig: &Sigstruct) {
    let (name, rules) = (&old.name, &old.policy.builds);
    match rules.signers.contains(&sig.signer()) {
        true => lines.say(true, "listed", format!("{name} lists signer {}", sig.signer())),
        // No refusal: a vote may still be won by so much.
        false => lines.say(true, "listed", format!("{name} does NOT list signer {}: it hands over only if the vote names it and reaches {}", sig.signer(), old.policy.chain.override_share)),
    }
    lines.say(sig.svn >= rules.min_svn, "least svn", format!("{name} takes svn {} at least, the build has {}", rules.min_svn, sig.svn));
    lines.same("product id", &format!("{name} takes product id"), &rules.product_id, &sig.product_id);
    let digests = |roots: &[Vec<u8>]| -> BTreeSet<String> { roots.iter().map(|r| hex::encode(&Sha256::digest(r)[..8])).collect() };
    let (before, after) = (digests(&old.policy.tcb.roots), digests(&new.tcb.roots));
    let listed = |from: &BTreeSet<String>, not: &BTreeSet<String>| from.difference(not).cloned().collect::<Vec<_>>().join(", ");
    lines.say(true, "roots", match before == after {
        true => format!("the same attestation roots as {name}"),
        false => format!("CHANGED attestation roots against {name}: added [{}], gone [{}] (SHA-256, cut); who holds these keys can vouch for machines", listed(&after, &before), listed(&before, &after)),
    });
}

/// The commitments in the new build's policy against the keyring that is in use here.
fn of_keyring(lines: &mut Lines, home: &Home, build: &BuildFile) {
    let status = match Operator::open(home.clone()).and_then(|mut o| o.ask(&Op::Status)) {
        Ok(status) => status,
        Err(e) => return lines.say(true, "commitments", format!("not compared, the node does not answer: {e:#}")),
    };
    let seats = status["seats"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(seat) = seats.iter().find(|s| s["serving"] == true) else {
        return lines.say(true, "commitments", "not compared: no build serves here");
    };
    let texts = |name: &str| seat[name].as_array().into_iter().flatten().map(|v| v.as_str().map_or(v.to_string(), String::from)).collect::<Vec<_>>();
    let held: BTreeMap<String, String> = texts("epochs").into_iter().zip(texts("commitments")).collect();
    let named = build.policy.commitments().iter().map(|(epoch, c)| (epoch.to_string(), c.to_string())).collect();
    let (ok, says) = fits(&held, &named);
    lines.say(ok, "commitments", says);
}

/// Each epoch that is held has to be named, with its own commitment; a build that names another gets nothing.
fn fits(held: &BTreeMap<String, String>, named: &BTreeMap<String, String>) -> (bool, String) {
    if named.is_empty() {
        return (false, "its policy names no commitment, so it takes no keyring over: build it with `baton policy new --commitment`".into());
    }
    for (epoch, expected) in held {
        match named.get(epoch) {
            Some(got) if got == expected => {}
            Some(got) => return (false, format!("epoch {epoch}: expected {expected}, the keyring in use, got {got}")),
            None => return (false, format!("epoch {epoch} of the keyring in use is not in its policy: expected {expected}")),
        }
    }
    if let Some((epoch, _)) = named.iter().find(|(epoch, _)| !held.contains_key(*epoch)) {
        return (false, format!("its policy names epoch {epoch}, which the keyring in use does not hold"));
    }
    (true, format!("its policy names the {} epoch(s) of the keyring in use", held.len()))
}

/// A build for platform sim.
pub fn sim_build(args: &SimBuildArgs) -> Result<Report, Failure> {
    let policy = read_valid_policy(&args.policy)?;
    let key = SigningKey::development(args.key).map_err(Failure::input)?;
    let image = Image::build("baton-sim", &args.version, &policy, &key, args.svn).map_err(Failure::input)?;
    write(&args.out, &image.sgxs)?;
    write(&args.out.with_extension("sig"), &image.sigstruct)?;
    let mut out = Report::new();
    out.both("measurement", "measurement", image.measurement().map_err(Failure::input)?);
    out.both("signer", "signer", key.signer()).field("svn", args.svn);
    out.both("written", "file", args.out.display());
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(all: &[(&str, &str)]) -> BTreeMap<String, String> {
        all.iter().map(|(e, c)| ((*e).into(), (*c).into())).collect()
    }

    #[test]
    fn commitments_fit_only_if_every_epoch_in_use_is_named_rightly_and_no_other() {
        let held = map(&[("0", "a"), ("1", "b")]);
        assert!(fits(&held, &held).0);
        for bad in [map(&[]), map(&[("0", "a")]), map(&[("0", "a"), ("1", "x")]), map(&[("0", "b"), ("1", "a")]), map(&[("0", "a"), ("1", "b"), ("2", "c")])] {
            assert!(!fits(&held, &bad).0, "{bad:?}");
        }
    }

    fn refused(lines: &Lines) -> Vec<&'static str> {
        lines.0.iter().filter(|(ok, _, _)| !ok).map(|(_, name, _)| *name).collect()
    }

    #[test]
    fn what_a_proposal_says_beside_the_measurement_has_to_fit_the_builds_signature() {
        let image = Image::build("b", "1", &toml::from_str::<Policy>(include_str!("../../../../docs/policy.example.toml")).unwrap(), &SigningKey::development(1).unwrap(), 2).unwrap();
        let sig = Sigstruct::parse(&image.sigstruct).unwrap();
        let good = NamedBuild { measurement: sig.measurement, signer: Some(sig.signer()), product_id: Some(sig.product_id), svn: Some(2) };
        let of = |named: NamedBuild| {
            let mut lines = Lines::default();
            of_signature(&mut lines, &named, &sig);
            refused(&lines)
        };
        assert!(of(good).is_empty() && of(NamedBuild { signer: None, product_id: None, svn: None, ..good }).is_empty());
        assert_eq!(of(NamedBuild { signer: Some(baton_attest::identity::Signer([9; 32])), ..good }), ["signer"]);
        assert_eq!(of(NamedBuild { product_id: Some(sig.product_id + 1), ..good }), ["product id"]);
        assert_eq!(of(NamedBuild { svn: Some(3), ..good }), ["svn"]);
    }
}
