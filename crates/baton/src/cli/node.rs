//! Arguments of the node daemon and of the operator's commands.

use std::net::SocketAddr;
use std::path::PathBuf;

use baton_attest::identity::{Digest32, Measurement, Signer};
use clap::{Args, Subcommand, ValueEnum};

use crate::node::config::PlatformName;

/// Which node, and how to print.
#[derive(Args, Clone, Debug)]
pub struct HomeArgs {
    /// The node's home
    #[arg(long, value_name = "DIR", env = "BATON_HOME", default_value_os_t = default_home())]
    pub home: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Where a home is that nobody named.
pub fn default_home() -> PathBuf {
    std::env::home_dir().unwrap_or_default().join(".baton")
}

/// Arguments of `baton init`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton init --chain-id mychain-1 --rpc http://127.0.0.1:26657",
    "baton init --home /var/lib/baton --chain-id mychain-1 --rpc http://127.0.0.1:26657 --rpc http://10.0.0.2:26657 --peer http://10.0.0.2:7710",
    "baton init --chain-id c --rpc http://127.0.0.1:26657 --signer 'chaind tx bank send val cosmos1… 1stake --note {memo} --yes --output json'",
))]
pub struct InitArgs {
    /// Which node
    #[command(flatten)]
    pub at: HomeArgs,
    /// The chain's id
    #[arg(long, value_name = "ID")]
    pub chain_id: String,
    /// An RPC endpoint; the first one is preferred
    #[arg(long, value_name = "URL", required = true)]
    pub rpc: Vec<String>,
    /// Where peers and the operator's commands reach this node
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7710")]
    pub listen: SocketAddr,
    /// A peer
    #[arg(long, value_name = "URL")]
    pub peer: Vec<String>,
    /// Name in logs and for peers; without it the home's last folder
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The chain's own command that sends a record, split at white space; {memo} is replaced
    #[arg(long, value_name = "COMMAND", conflicts_with = "keyfile")]
    pub signer: Option<String>,
    /// A secp256k1 key (64 hexadecimal characters, mode 0600) that sends records
    #[arg(long, value_name = "FILE")]
    pub keyfile: Option<PathBuf>,
    /// With --keyfile: denomination of fee and payment
    #[arg(long, value_name = "DENOM", default_value = "stake")]
    pub denom: String,
    /// With --keyfile: the fee, in base units
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub fee: u64,
    /// With --keyfile: gas limit
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    pub gas: u64,
    /// With --keyfile: prefix of account addresses
    #[arg(long, value_name = "PREFIX", default_value = "cosmos")]
    pub prefix: String,
    /// Where enclaves run
    #[arg(long, value_enum, default_value_t = PlatformName::Sim)]
    pub platform: PlatformName,
    /// Development platforms: which machine this is; without it the node's name
    #[arg(long, value_name = "NAME")]
    pub dev_machine: Option<String>,
    /// Development platforms: what the network's development PKI is made from; without it 1
    #[arg(long, value_name = "N")]
    pub dev_pki_seed: Option<u64>,
    /// Development platforms: each enclave in a process of its own, which can be killed apart from the daemon
    #[arg(long)]
    pub dev_process: bool,
    /// Platform sgx: the socket of Intel's AESM service, where it is not the usual one
    #[arg(long, value_name = "PATH")]
    pub aesm_socket: Option<PathBuf>,
    /// Where this machine's collateral comes from: a PCCS, or Intel's own API together with --root-crl
    #[arg(long, value_name = "URL")]
    pub pccs: Option<String>,
    /// Address of the root's CRL, where the PCCS does not serve it
    #[arg(long, value_name = "URL", requires = "pccs")]
    pub root_crl: Option<String>,
    /// PEM certificates that https servers may have, beside those that Mozilla lists
    #[arg(long, value_name = "FILE")]
    pub tls_roots: Option<PathBuf>,
    /// How often the chain is looked at, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub poll_ms: u64,
    /// The enclaves' trusted head follows at most this many blocks behind
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub advance_blocks: u64,
}

/// Arguments of `baton node`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton node",
    "baton node --home /var/lib/baton",
    "baton node --once     every step that can be done now, and no server",
))]
pub struct NodeRunArgs {
    /// Which node
    #[command(flatten)]
    pub at: HomeArgs,
    /// Do what can be done now, and end
    #[arg(long)]
    pub once: bool,
}

/// Arguments of `baton enclave-process`, which the daemon runs.
#[derive(Args, Clone, Debug)]
pub struct EnclaveProcessArgs {
    /// Where it runs
    #[arg(long, value_enum)]
    pub platform: PlatformName,
    /// Which machine of the development PKI
    #[arg(long)]
    pub dev_machine: String,
    /// What that is made from
    #[arg(long)]
    pub dev_pki_seed: u64,
}

/// Arguments of `baton genesis`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton genesis",
    "baton genesis --json | jq -r .commitment     what later builds' policies name",
))]
pub struct GenesisArgs {
    /// Which node
    #[command(flatten)]
    pub at: HomeArgs,
}

/// Arguments of `baton join`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton join --peer http://10.0.0.2:7710",
))]
pub struct JoinArgs {
    /// Which node
    #[command(flatten)]
    pub at: HomeArgs,
    /// Who gives; without it every peer of baton.toml in turn
    #[arg(long, value_name = "URL")]
    pub peer: Option<String>,
    /// Which build; without it the newest in the folder
    #[arg(long, value_name = "MEASUREMENT")]
    pub build: Option<Measurement>,
    /// Longest wait for the record's block, in seconds; it is sent again every third of that
    #[arg(long, value_name = "SECS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=570))]
    pub wait: u64,
}

/// Arguments of `baton import`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton import /opt/secret/.sgx_secrets/seed.sealed     what the network's old enclave sealed under MRSIGNER",
))]
pub struct ImportArgs {
    /// Which node
    #[command(flatten)]
    pub at: HomeArgs,
    /// The sealed file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Arguments of `baton status`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton status",
    "baton status --json | jq .barrier",
))]
pub struct StatusArgs {
    /// Which node
    #[command(flatten)]
    pub at: HomeArgs,
}

/// Arguments of `baton rehearse`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton rehearse     a canary from the build in use to each newer one, and onward",
))]
pub struct RehearseArgs {
    /// Which node
    #[command(flatten)]
    pub at: HomeArgs,
}

/// Arguments of `baton upgrade`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton upgrade",
    "baton upgrade --plan enclave-v2 --wait 120",
))]
pub struct UpgradeArgs {
    /// Which node
    #[command(flatten)]
    pub at: HomeArgs,
    /// The plan; without it the pending one, else the newest that is known
    #[arg(long, value_name = "NAME")]
    pub plan: Option<String>,
    /// Try until the handover is confirmed, at most this long, in seconds
    #[arg(long, value_name = "SECS", default_value_t = 0)]
    pub wait: u64,
}

/// Hooks of supervisors.
#[derive(Debug, Subcommand)]
pub enum HookCommand {
    /// What cosmovisor runs before it switches (COSMOVISOR_CUSTOM_PREUPGRADE)
    CustomPreUpgrade(HookArgs),
}

/// Arguments of `baton hook custom-pre-upgrade`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton hook custom-pre-upgrade enclave-v2 123456",
    "#!/bin/sh",
    "exec baton hook custom-pre-upgrade --home /var/lib/baton \"$1\" \"$2\"     the file that cosmovisor calls",
))]
pub struct HookArgs {
    /// Which node
    #[command(flatten)]
    pub at: HomeArgs,
    /// The plan's name
    #[arg(value_name = "PLAN")]
    pub plan: String,
    /// The plan's height
    #[arg(value_name = "HEIGHT")]
    pub height: u64,
    /// Longest run, in seconds; cosmovisor itself would wait for ever
    #[arg(long, value_name = "SECS", default_value_t = 300)]
    pub limit: u64,
    /// What the chain's node wrote at its halt; without it $DAEMON_HOME/data/upgrade-info.json
    #[arg(long, value_name = "FILE")]
    pub upgrade_info: Option<PathBuf>,
}

/// Arguments of `baton guard`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton guard --plan enclave-v2 -- chaind start",
    "baton guard --build v2.sgxs -- chaind start --home /var/lib/chain",
    "baton guard --plan enclave-v2 --build v2.sgxs -- chaind start     the plan has to name that very build",
    "baton guard --plan enclave-v2 --upgrade-info /var/lib/chain/data/upgrade-info.json -- chaind start",
    "ExecStartPre=baton guard --build /opt/chain/v2.sgxs     without a command it only checks",
))]
pub struct GuardArgs {
    /// Which node
    #[command(flatten)]
    pub at: HomeArgs,
    /// The plan whose build the command runs with
    #[arg(long, value_name = "NAME", required_unless_present = "build")]
    pub plan: Option<String>,
    /// The build that the command runs with
    #[arg(long, value_name = "SGXS")]
    pub build: Option<PathBuf>,
    /// What the chain's node wrote at its halt; without it $DAEMON_HOME/data/upgrade-info.json. Where there is no file,
    /// what this node saw of the plan counts
    #[arg(long, value_name = "FILE")]
    pub upgrade_info: Option<PathBuf>,
    /// What to run if the handover is confirmed on this machine
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// The example application's vault.
#[derive(Debug, Subcommand)]
pub enum VaultCommand {
    /// Store a value
    Put(VaultPutArgs),
    /// Read a value
    Get(VaultGetArgs),
}

/// Arguments of `baton vault put`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!("baton vault put treasure 'under the third oak'"))]
pub struct VaultPutArgs {
    /// Which node
    #[command(flatten)]
    pub at: HomeArgs,
    /// Its name
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The value
    #[arg(value_name = "VALUE")]
    pub value: String,
}

/// Arguments of `baton vault get`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!("baton vault get treasure"))]
pub struct VaultGetArgs {
    /// Which node
    #[command(flatten)]
    pub at: HomeArgs,
    /// Its name
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// Records on chain.
#[derive(Debug, Subcommand)]
pub enum RecordCommand {
    /// Send a record, of this node or another, and wait for its block
    Send(RecordSendArgs),
}

/// Arguments of `baton record send`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton record send baton1:hwECAA…",
    "baton record send --home ./laptop baton1:hwECAA…     from any machine with an account",
))]
pub struct RecordSendArgs {
    /// Which node
    #[command(flatten)]
    pub at: HomeArgs,
    /// The record
    #[arg(value_name = "MEMO")]
    pub memo: String,
    /// Longest wait for its block, in seconds; it is sent again every third of that
    #[arg(long, value_name = "SECS", default_value_t = 90, value_parser = clap::value_parser!(u64).range(1..=570))]
    pub wait: u64,
}

/// Proposals.
#[derive(Debug, Subcommand)]
pub enum ProposalCommand {
    /// Write the JSON for `tx gov submit-proposal`
    New(ProposalNewArgs),
    /// What the enclave reads in a live proposal
    Check(ProposalCheckArgs),
}

/// Arguments of `baton proposal new`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton proposal new --plan enclave-v2 --height 123456 --build v2.sgxs --out proposal.json",
))]
pub struct ProposalNewArgs {
    /// The plan's name
    #[arg(long, value_name = "NAME")]
    pub plan: String,
    /// The plan's height
    #[arg(long, value_name = "HEIGHT")]
    pub height: u64,
    /// The build, with its .sig beside it
    #[arg(long, value_name = "SGXS")]
    pub build: PathBuf,
    /// Title; without it one is made of the plan's name
    #[arg(long, value_name = "TEXT")]
    pub title: Option<String>,
    /// Deposit
    #[arg(long, value_name = "COIN", default_value = "10000000stake")]
    pub deposit: String,
    /// Prefix of account addresses
    #[arg(long, value_name = "PREFIX", default_value = "cosmos")]
    pub prefix: String,
    /// Judged by the expedited bar
    #[arg(long)]
    pub expedited: bool,
    /// Where it goes; without it standard output
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `baton proposal check`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton proposal check 12",
    "baton proposal check 12 --build v2.sgxs     is that the build, and would this node's build hand over to it",
))]
pub struct ProposalCheckArgs {
    /// Which node
    #[command(flatten)]
    pub at: HomeArgs,
    /// Its number
    #[arg(value_name = "ID")]
    pub id: u64,
    /// The build that it should name, with its .sig beside it
    #[arg(long, value_name = "SGXS")]
    pub build: Option<PathBuf>,
}

/// Arguments of `baton policy new`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton policy new --rpc http://127.0.0.1:26657 --chain-id mychain-1 --signer 9affca…  --root sgx-root.der --out v1.policy.toml",
    "baton policy new --rpc http://127.0.0.1:26657 --chain-id test-1 --dev-pki-seed 1 --admission any --out v1.policy.toml",
    "baton policy new … --commitment 0f62… --out v2.policy.toml     a build that takes the keyring over",
))]
pub struct PolicyNewArgs {
    /// The chain's RPC; a second one is compared with it
    #[arg(long, value_name = "URL", required = true)]
    pub rpc: Vec<String>,
    /// The chain's id
    #[arg(long, value_name = "ID")]
    pub chain_id: String,
    /// Height of the checkpoint; without it the newest
    #[arg(long, value_name = "HEIGHT")]
    pub checkpoint: Option<u64>,
    /// Commitment of epoch 0: of a build that takes the keyring over. Without it the policy of a genesis build
    #[arg(long, value_name = "HEX")]
    pub commitment: Option<Digest32>,
    /// MRSIGNER of a key that may sign builds
    #[arg(long, value_name = "HEX")]
    pub signer: Vec<Signer>,
    /// A root certificate of attestation, DER
    #[arg(long, value_name = "FILE")]
    pub root: Vec<PathBuf>,
    /// Development platforms: also the development signers and the development root of this seed
    #[arg(long, value_name = "N")]
    pub dev_pki_seed: Option<u64>,
    /// To which machines a keyring may cross
    #[arg(long, value_enum, default_value_t = AdmissionArg::Vouched)]
    pub admission: AdmissionArg,
    /// Blocks before the plan's height in which offers may be made
    #[arg(long, value_name = "N", default_value_t = 600)]
    pub lead_blocks: u64,
    /// Blocks after X before a receipt counts
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub grace_blocks: u64,
    /// Distinct machines that must hold the keyring before an old copy goes
    #[arg(long, value_name = "R", default_value_t = 3)]
    pub platforms: u32,
    /// Share of voting power that must answer for those machines; 0 asks for none. Only with --admission vouched
    #[arg(long, value_name = "SHARE", default_value = "0.667")]
    pub power_share: baton_chain::Decimal,
    /// Tokens for one unit of voting power; no state of the chain says it
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub power_reduction: u64,
    /// Least svn of a build
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub min_svn: u16,
    /// Where it goes
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// To which machines a keyring may cross.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AdmissionArg {
    /// Any with a quote that the TCB rules accept.
    Any,
    /// Those that a bonded validator's record names.
    Vouched,
    /// Those that a passed proposal names.
    Voted,
}

/// Arguments of `baton sim-build`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton sim-build --version 2.0.0 --policy v2.policy.toml --svn 2 --out v2.sgxs",
))]
pub struct SimBuildArgs {
    /// Its version, which is measured
    #[arg(long, value_name = "TEXT")]
    pub version: String,
    /// The policy inside
    #[arg(long, value_name = "FILE")]
    pub policy: PathBuf,
    /// ISVSVN
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub svn: u16,
    /// The number of a development key
    #[arg(long, value_name = "1|2", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub key: u8,
    /// Where it goes; the signature goes beside it, as .sig
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `baton evidence record`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton evidence record --plan enclave-v2 --out enclave-v2.json",
    "baton evidence record --proposal 12 --header 4711 --out open.json",
))]
pub struct EvidenceRecordArgs {
    /// Which node
    #[command(flatten)]
    pub at: HomeArgs,
    /// The plan; without it the newest upgrade that passed
    #[arg(long, value_name = "NAME", conflicts_with = "proposal")]
    pub plan: Option<String>,
    /// The proposal's number
    #[arg(long, value_name = "ID")]
    pub proposal: Option<u64>,
    /// The header that proves plan and proposal; without it the newest that can
    #[arg(long, value_name = "HEIGHT")]
    pub header: Option<u64>,
    /// Name of the case
    #[arg(long, value_name = "NAME", default_value = "recorded")]
    pub name: String,
    /// Where it goes
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Arguments of `baton audit`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton audit                                              this node's logs beside the chain's records",
    "baton audit node0/seats node1/seats --rpc http://archive:26657     downloaded logs of several nodes",
    "baton audit --from 100000 --strict",
))]
pub struct AuditArgs {
    /// Which node
    #[command(flatten)]
    pub at: HomeArgs,
    /// Log folders, or folders with log folders below them; without any the logs of the node's home
    #[arg(value_name = "DIR")]
    pub logs: Vec<PathBuf>,
    /// RPC endpoints that still have the blocks; without any those of the home
    #[arg(long, value_name = "URL")]
    pub rpc: Vec<String>,
    /// First block that is searched for records; without it the oldest that the endpoints have
    #[arg(long, value_name = "HEIGHT")]
    pub from: Option<u64>,
    /// Last block; without it the newest
    #[arg(long, value_name = "HEIGHT")]
    pub to: Option<u64>,
    /// A record that no log here answers is a mismatch too: for logs that are all of the network's
    #[arg(long)]
    pub strict: bool,
}

/// Arguments of `baton watch`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton watch                     q quits",
    "baton watch --once              one page as text, for a ticket",
))]
pub struct WatchArgs {
    /// Which node
    #[command(flatten)]
    pub at: HomeArgs,
    /// One page as text, and end; so does a terminal that is none
    #[arg(long)]
    pub once: bool,
    /// With --once: columns
    #[arg(long, value_name = "N", default_value_t = 120, value_parser = clap::value_parser!(u16).range(20..=500))]
    pub width: u16,
    /// With --once: lines
    #[arg(long, value_name = "N", default_value_t = 36, value_parser = clap::value_parser!(u16).range(5..=200))]
    pub height: u16,
}
