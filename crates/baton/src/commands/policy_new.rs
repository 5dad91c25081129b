//! `baton policy new`: a policy from a live chain.
//!
//! What the chain says is proven under a header, and every endpoint that is named has to show the same: the same checkpoint, the
//! same header above the parameters, the same parameters. Where the chain says nothing, the safe default stands.

use baton_attest::policy::{BuildRules, TcbPolicy, TcbStatus};
use baton_attest::sigstruct::SigningKey;
use baton_chain::gov::GOV_STORE;
use baton_chain::policy::{ChainPolicy, Checkpoint};
use baton_core::keyring::Commitment;
use baton_core::policy::{Admission, BarrierRules, EpochCommitment, FORMAT, Origin, Phase, Policy};
use baton_enclave::sim::PRODUCT_ID;
use baton_host::chain::ChainSource;
use baton_host::rpc::{RpcConfig, RpcSource};
use prost::Message;

use crate::cli::node::{AdmissionArg, PolicyNewArgs};
use crate::files::{read, write};
use crate::node::machine::dev_pki;
use crate::output::{Failure, Report};

/// x/staking: its parameters.
const STAKING_PARAMS: &[u8] = &[0x51];
/// x/gov: its parameters.
const GOV_PARAMS: &[u8] = &[0x30];

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

/// What one endpoint shows.
struct Shown {
    checkpoint: Checkpoint,
    /// Hash of the header that proves the parameters.
    header: [u8; 32],
    staking: Option<Vec<u8>>,
    gov: Option<Vec<u8>>,
}

impl Shown {
    fn by(rpc: &RpcSource, checkpoint: u64, header: u64) -> Result<Self, Failure> {
        let hash = |height| {
            let block = rpc.light_block(height).map_err(Failure::input)?;
            block.untrusted_checkpoint().map_err(Failure::input)
        };
        let proven = |store, key| rpc.state(store, key, header).map(|p| p.value).map_err(Failure::input);
        Ok(Shown {
            checkpoint: hash(checkpoint)?,
            header: hash(header)?.hash,
            staking: proven("staking", STAKING_PARAMS)?,
            gov: proven(GOV_STORE, GOV_PARAMS)?,
        })
    }

    /// In what another endpoint differs.
    fn differs(&self, other: &Shown, header: u64) -> Option<String> {
        let hashes = |what: String, a: &[u8; 32], b: &[u8; 32]| format!("{what}: expected {}, got {}", hex::encode(a), hex::encode(b));
        if self.checkpoint != other.checkpoint {
            return Some(hashes(format!("the hash of header {}, the checkpoint", self.checkpoint.height), &self.checkpoint.hash, &other.checkpoint.hash));
        }
        if self.header != other.header {
            return Some(hashes(format!("the hash of header {header}"), &self.header, &other.header));
        }
        let bytes = |what: &str, a: &Option<Vec<u8>>, b: &Option<Vec<u8>>| {
            let show = |v: &Option<Vec<u8>>| v.as_ref().map_or("none".into(), hex::encode);
            (a != b).then(|| format!("{what}: expected {}, got {}", show(a), show(b)))
        };
        bytes("the parameters of x/staking", &self.staking, &other.staking).or_else(|| bytes("the parameters of x/gov", &self.gov, &other.gov))
    }
}

/// Every endpoint by itself, compared with the first; gives that one's words and the header that proves them.
fn ask_all(args: &PolicyNewArgs) -> Result<(Shown, u64), Failure> {
    let mut sources = Vec::new();
    for url in &args.rpc {
        let rpc = RpcSource::new(RpcConfig::new(args.chain_id.clone(), vec![url.clone()])).map_err(Failure::input)?;
        rpc.check_chain_id().map_err(Failure::input)?;
        let latest = rpc.latest().map_err(Failure::input)?;
        sources.push((url, rpc, latest));
    }
    // The newest that all of them have.
    let header = sources.iter().map(|(_, _, latest)| *latest).min().unwrap_or(0);
    let checkpoint = args.checkpoint.unwrap_or(header);
    let mut first: Option<(&String, Shown)> = None;
    for (url, rpc, _) in &sources {
        let shown = Shown::by(rpc, checkpoint, header)?;
        match &first {
            None => first = Some((url, shown)),
            Some((one, known)) => {
                if let Some(what) = known.differs(&shown, header) {
                    return Err(Failure::refused(format!(
                        "{url} shows another chain than {one}: {what}; no policy is written: find out which one lies (a third endpoint, other operators), and leave it out"
                    )));
                }
            }
        }
    }
    let (_, shown) = first.ok_or_else(|| Failure::input("no endpoint: expected --rpc URL"))?;
    Ok((shown, header))
}

/// A policy from a live chain: what the chain proves, and where it says nothing the safe default.
pub fn policy_new(args: &PolicyNewArgs) -> Result<Report, Failure> {
    let (shown, header) = ask_all(args)?;
    let checkpoint = shown.checkpoint;
    let staking = shown.staking.and_then(|b| StakingParams::decode(b.as_slice()).ok());
    let unbonding = staking.and_then(|p| p.unbonding_time).and_then(|d| u64::try_from(d.seconds).ok()).unwrap_or(0);
    let gov = shown.gov.and_then(|b| GovParams::decode(b.as_slice()).ok()).unwrap_or_default();
    if unbonding == 0 {
        return Err(Failure::refused(format!("under header {header} the chain shows no unbonding time (staking/0x51): expected one above 0; is this a Cosmos SDK chain?")));
    }
    let policy = assemble(args, checkpoint, unbonding, &gov)?;
    policy.validate().map_err(Failure::refused)?;
    let toml = toml::to_string(&policy).map_err(Failure::refused)?;
    let text = format!(
        "# Policy of an enclave build for {}, made from the chain's state under header {header}, as {} endpoint(s) proved it.\n         # `baton policy check` says in sentences what it means. docs/policy.example.toml shows the sections that are optional.\n\n{}",
        args.chain_id, args.rpc.len(), commented(&toml, unbonding)
    );
    write(&args.out, text.as_bytes())?;
    let mut out = Report::new();
    out.both("checkpoint", "checkpoint", format!("{} {}", checkpoint.height, hex::encode(checkpoint.hash)));
    out.field("unbonding_secs", unbonding).row("unbonding", crate::times::show_duration(unbonding));
    out.field("endpoints", args.rpc.len());
    out.both("policy", "policy_digest", policy.digest()).both("written", "file", args.out.display());
    out.text(match args.rpc.len() {
        1 => "one endpoint showed it: compare the checkpoint's hash with another node of yours before you build".to_string(),
        n => format!("{n} endpoints showed the same; compare the checkpoint's hash with other operators before you build"),
    });
    Ok(out)
}

/// What each field means, in the words of docs/policy.example.toml.
const COMMENTS: &[(&str, &str, &str)] = &[
    ("", "format", "version of this form"),
    ("", "platform_tag", "1 = Intel SGX"),
    ("", "phase", "\"shadow\": sealed under MRSIGNER, each handover is run beside it and compared; nothing is erased. \"mrenclave\": the handover is the only way"),
    ("", "admission", "to which machines a seed may cross: \"vouched\" by a bonded validator, \"voted\" by a passed proposal, \"any\": a quote is enough; keep that for tests"),
    ("", "readiness_wanted", "rehearsed nodes that operators want to see before offers begin. Advice, not a bar"),
    ("", "origin", "where the first keyring comes from: \"genesis\", \"legacy\", or the commitments of the epochs that are handed over"),
    ("origin", "commitments", "the epochs that are handed over: each seed must match its public commitment"),
    ("chain", "chain_id", "the one chain that this build serves"),
    ("chain", "trusting_period_secs", "two thirds of the chain's time to unbond, UNBONDING s: a header is followed by a skip for this long"),
    ("chain", "trust_threshold", "share of the trusted power that must have signed the header of a skip; at least a third, below one"),
    ("chain", "quorum", "the enclave's own bar, the chain's today: a chain whose parameters are weakened later cannot lower it"),
    ("chain", "threshold", "yes of all but abstentions; the chain's today"),
    ("chain", "veto", "veto of all votes, at most; the chain's today"),
    ("chain", "expedited_threshold", "the same for an expedited vote; the chain's today"),
    ("chain", "slack", "taken off the quorum: power moves while people vote"),
    ("chain", "override_share", "of all bonded power; such a vote may name another signer"),
    ("chain", "power_reduction", "base tokens for one unit of voting power; no state of the chain says it, so it is what was given"),
    ("chain", "lead_blocks", "offers begin this many blocks before the plan's height"),
    ("chain.checkpoint", "height", "everything rests on this header: compare it with several sources that you trust before you build"),
    ("chain.checkpoint", "hash", "its hash"),
    ("builds", "signers", "MRSIGNER of every key that may sign a build: two or more, so that a lost key strands nobody"),
    ("builds", "product_id", "ISVPRODID of every build"),
    ("builds", "min_svn", "least ISVSVN of a build: nothing older gets a seed"),
    ("tcb", "statuses", "states of a platform's firmware that are taken"),
    ("tcb", "denied_advisories", "Intel advisories with which a platform is refused all the same"),
    ("tcb", "allowed_advisories", "if given, no other advisory may be open"),
    ("tcb", "min_tcb_evaluation", "least tcbEvaluationDataNumber of collateral"),
    ("tcb", "max_collateral_age_secs", "older collateral gives no seed to another machine; what runs is not touched"),
    ("tcb", "roots", "\"intel\", or base64 of a root certificate in DER"),
    ("barrier", "platforms", "machines that must hold the keyring before an old copy is erased"),
    ("barrier", "grace_blocks", "blocks between activation and a receipt that counts"),
    ("barrier", "power_share", "share of voting power that vouches for these machines; needs admission \"vouched\""),
];

/// The policy with a comment above each field.
fn commented(toml: &str, unbonding: u64) -> String {
    let (mut section, mut out) = (String::new(), String::new());
    for line in toml.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_matches(['[', ']']).into();
        } else if let Some((key, _)) = line.split_once(" = ")
            && let Some((_, _, says)) = COMMENTS.iter().find(|(s, k, _)| *s == section && *k == key)
        {
            out += &format!("# {}\n", says.replace("UNBONDING", &unbonding.to_string()));
        }
        out += line;
        out.push('\n');
    }
    out
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: PolicyNewArgs,
    }

    fn policy(more: &[&str]) -> Policy {
        let args = [&["x", "--rpc", "http://a:1", "--chain-id", "c-1", "--dev-pki-seed", "1", "--out", "p"], more].concat();
        let args = Cli::parse_from(args).args;
        let checkpoint = Checkpoint { height: 7, hash: [7; 32] };
        assemble(&args, checkpoint, 300, &GovParams::default()).unwrap()
    }

    #[test]
    fn every_field_of_the_policy_that_is_written_says_what_it_means_and_the_policy_is_the_same() {
        for more in [&[][..], &["--admission", "any"], &["--commitment", "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"]] {
            let policy = policy(more);
            let text = commented(&toml::to_string(&policy).unwrap(), 300);
            assert_eq!(toml::from_str::<Policy>(&text).unwrap(), policy);
            let lines: Vec<&str> = text.lines().collect();
            for (i, line) in lines.iter().enumerate().filter(|(_, l)| l.contains(" = ") && !l.starts_with('#')) {
                assert!(i > 0 && lines[i - 1].starts_with("# "), "{line} has no comment:\n{text}");
            }
            assert!(text.contains("time to unbond, 300 s"), "{text}");
        }
    }

    #[test]
    fn two_endpoints_that_differ_in_anything_are_told_apart() {
        let shown = |hash, header, staking: &[u8], gov: &[u8]| Shown {
            checkpoint: Checkpoint { height: 7, hash: [hash; 32] },
            header: [header; 32],
            staking: Some(staking.to_vec()),
            gov: Some(gov.to_vec()),
        };
        let one = shown(1, 1, b"s", b"g");
        assert_eq!(one.differs(&shown(1, 1, b"s", b"g"), 9), None);
        for (other, word) in [(shown(2, 1, b"s", b"g"), "checkpoint"), (shown(1, 2, b"s", b"g"), "header 9"), (shown(1, 1, b"t", b"g"), "x/staking"), (shown(1, 1, b"s", b"h"), "x/gov")] {
            let said = one.differs(&other, 9).unwrap();
            assert!(said.contains(word), "{said}");
        }
        let none = Shown { gov: None, ..shown(1, 1, b"s", b"g") };
        assert!(one.differs(&none, 9).unwrap().contains("none"));
    }
}
