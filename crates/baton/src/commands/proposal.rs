//! `baton proposal new|check`, `baton policy new` and `baton sim-build`: what people vote on.

use std::path::Path;

use baton_attest::policy::{BuildRules, TcbPolicy, TcbStatus};
use baton_attest::sigstruct::{SigningKey, check_sigstruct};
use baton_chain::gov::{GOV_STORE, ProposalStatus};
use baton_chain::info::read_info;
use baton_chain::policy::{ChainPolicy, Checkpoint};
use baton_core::keyring::Commitment;
use baton_core::policy::{Admission, BarrierRules, EpochCommitment, FORMAT, Origin, Phase, Policy};
use baton_enclave::sim::{Image, PRODUCT_ID};
use baton_host::chain::ChainSource;
use baton_host::rpc::{RpcConfig, RpcSource};
use prost::Message;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::node::home;
use crate::cli::node::{AdmissionArg, PolicyNewArgs, ProposalCheckArgs, ProposalNewArgs, SimBuildArgs};
use crate::files::{read, read_valid_policy, write};
use crate::node::follow::{plans_of, proposal};
use crate::node::machine::{BuildFile, dev_pki};
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
    judge(&mut out, &home.path("builds"), &home.config().chain.id, &build, &named)?;
    Ok(out)
}

fn judge(out: &mut Report, builds: &Path, chain_id: &str, build: &BuildFile, named: &baton_chain::info::NamedBuild) -> Result<(), Failure> {
    out.row("build", format!("{} {}", build.name, build.measurement));
    if build.measurement != named.measurement {
        out.verdict(false, format!("the proposal names another build: expected {}, got {}", build.measurement, named.measurement));
        return Ok(());
    }
    let sig = check_sigstruct(&build.image.sigstruct).map_err(Failure::refused)?;
    let (signer, svn) = (sig.fields().signer(), sig.fields().svn);
    if named.svn.is_some_and(|least| svn < least) || named.signer.is_some_and(|s| s != signer) {
        out.verdict(false, format!("the build's signature does not fit: signer {signer}, svn {svn}"));
        return Ok(());
    }
    // The rules that decide are those inside the builds that would give.
    for old in crate::node::machine::builds(builds, chain_id)?.0.iter().filter(|b| b.measurement != build.measurement) {
        let listed = old.policy.builds.signers.contains(&signer);
        if !listed {
            out.row("", format!("{} does not list signer {signer}: it hands over only if the vote reaches {}", old.name, old.policy.chain.override_share));
        }
        if svn < old.policy.builds.min_svn {
            out.verdict(false, format!("{} takes svn {} at least, the build has {svn}", old.name, old.policy.builds.min_svn));
            return Ok(());
        }
    }
    out.verdict(true, "the enclave reads this very build in it");
    Ok(())
}

/// `cosmos.staking.v1beta1.Params`, its first field.
#[derive(Clone, PartialEq, Message)]
struct StakingParams {
    #[prost(message, optional, tag = "1")]
    unbonding_time: Option<baton_chain::gov::Duration>,
}

/// `cosmos.gov.v1.Params`, the bars of a vote.
#[derive(Clone, PartialEq, Message)]
struct GovParams {
    #[prost(string, tag = "4")]
    quorum: String,
    #[prost(string, tag = "5")]
    threshold: String,
    #[prost(string, tag = "6")]
    veto_threshold: String,
    #[prost(string, tag = "11")]
    expedited_threshold: String,
}

/// A policy from a live chain: what the chain says, and where it says nothing the safe default.
pub fn policy_new(args: &PolicyNewArgs) -> Result<Report, Failure> {
    let rpc = RpcSource::new(RpcConfig::new(args.chain_id.clone(), args.rpc.clone())).map_err(Failure::input)?;
    rpc.check_chain_id().map_err(Failure::input)?;
    let height = match args.checkpoint {
        Some(h) => h,
        None => rpc.latest().map_err(Failure::input)?,
    };
    let block = rpc.light_block(height).map_err(Failure::input)?;
    let checkpoint: Checkpoint = block.untrusted_checkpoint().map_err(Failure::input)?;
    let peek = |store: &str, key: u8| rpc.peek(store, &[key]).map_err(Failure::input);
    let staking = peek("staking", 0x51)?.and_then(|b| StakingParams::decode(b.as_slice()).ok());
    let unbonding = staking.and_then(|p| p.unbonding_time).and_then(|d| u64::try_from(d.seconds).ok()).unwrap_or(0);
    let gov = peek(GOV_STORE, 0x30)?.and_then(|b| GovParams::decode(b.as_slice()).ok()).unwrap_or_default();
    if unbonding == 0 {
        return Err(Failure::refused("the chain shows no unbonding time (staking/0x51): expected one above 0; is this a Cosmos SDK chain?"));
    }
    let policy = assemble(args, checkpoint, unbonding, &gov)?;
    policy.validate().map_err(Failure::refused)?;
    let toml = toml::to_string(&policy).map_err(Failure::refused)?;
    let text = format!(
        "# Policy of an enclave build for {}, made from the chain at height {height}. `baton policy check` says what it means.\n\
         # chain.checkpoint: compare its hash with other nodes before you build: everything rests on it.\n\
         # chain.trusting_period_secs: two thirds of the chain's unbonding time, {unbonding} s.\n\
         # chain.quorum, threshold, veto, expedited_threshold: the chain's own today; a later change on chain does not lower them.\n\
         # chain.power_reduction: no state of the chain says it; {} is what was given.\n\n{toml}",
        args.chain_id, args.power_reduction
    );
    write(&args.out, text.as_bytes())?;
    let mut out = Report::new();
    out.both("checkpoint", "checkpoint", format!("{} {}", checkpoint.height, hex::encode(checkpoint.hash)));
    out.field("unbonding_secs", unbonding).row("unbonding", crate::times::show_duration(unbonding));
    out.both("policy", "policy_digest", policy.digest()).both("written", "file", args.out.display());
    out.text("compare the checkpoint's hash with another node of yours before you build");
    Ok(out)
}

fn assemble(args: &PolicyNewArgs, checkpoint: Checkpoint, unbonding: u64, gov: &GovParams) -> Result<Policy, Failure> {
    let mut signers = args.signer.clone();
    let mut roots = Vec::new();
    for path in &args.root {
        roots.push(read(path, "root certificate", 64 << 10)?);
    }
    if let Some(seed) = args.dev_pki_seed {
        for n in 1..=2 {
            signers.push(SigningKey::development(n).map_err(Failure::refused)?.signer());
        }
        roots.push(dev_pki(seed)?.root_der().map_err(Failure::refused)?);
    }
    if signers.is_empty() || roots.is_empty() {
        return Err(Failure::input("a policy names who signs builds and which roots attest: expected --signer and --root, or --dev-pki-seed for development"));
    }
    let dec = |name: &str, text: &str, default: &str| {
        let text = if text.is_empty() { default } else { text };
        text.parse().map_err(|_| Failure::refused(format!("{name}: expected a decimal, got {text:?}")))
    };
    let origin = match args.commitment {
        Some(c) => Origin::Commitments(vec![EpochCommitment { epoch: 0, commitment: Commitment(c.to_string().parse().map_err(Failure::input)?) }]),
        None => Origin::Genesis,
    };
    Ok(Policy {
        format: FORMAT,
        platform_tag: baton_attest::identity::PLATFORM_SGX,
        origin,
        phase: Phase::Mrenclave,
        admission: match args.admission {
            AdmissionArg::Any => Admission::Any,
            AdmissionArg::Vouched => Admission::Vouched,
            AdmissionArg::Voted => Admission::Voted,
        },
        readiness_wanted: 0,
        rotation_blocks: None,
        chain: ChainPolicy {
            chain_id: args.chain_id.clone(),
            checkpoint,
            trusting_period_secs: unbonding / 3 * 2,
            trust_threshold: (1, 3),
            quorum: dec("quorum", &gov.quorum, "0.334")?,
            threshold: dec("threshold", &gov.threshold, "0.5")?,
            veto: dec("veto_threshold", &gov.veto_threshold, "0.334")?,
            expedited_threshold: dec("expedited_threshold", &gov.expedited_threshold, "0.667")?,
            slack: dec("slack", "", "0.005")?,
            override_share: dec("override_share", "", "0.667")?,
            power_reduction: args.power_reduction,
            lead_blocks: args.lead_blocks,
        },
        builds: BuildRules { signers, product_id: PRODUCT_ID, min_svn: args.min_svn },
        tcb: TcbPolicy {
            statuses: vec![TcbStatus::UpToDate, TcbStatus::SwHardeningNeeded],
            denied_advisories: Vec::new(),
            allowed_advisories: None,
            min_tcb_evaluation: 17,
            max_collateral_age_secs: 7 * 24 * 3600,
            roots,
        },
        barrier: BarrierRules { grace_blocks: args.grace_blocks, platforms: args.platforms, power_share: power_share(args) },
        council: None,
        witnesses: None,
        lifeboat: None,
    })
}

/// The share of power at the barrier; only vouched machines stand for power.
fn power_share(args: &PolicyNewArgs) -> Option<baton_chain::Decimal> {
    let wanted = args.admission == AdmissionArg::Vouched && args.power_share > baton_chain::Decimal::ZERO;
    wanted.then_some(args.power_share)
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
