//! The command line: every command, its arguments and its help, in one place.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use baton_core::shares::Purpose;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands::{absence, acceptance, agreement, audit, boat, build, doctor, drill, evidence, evidence_show, guard, lifeboat, light, log, machine as machine_commands, node as node_commands, order, order_log, policy, policy_new, proposal, quote, record_evidence, sit_out, snapshot, watch, witness};
use crate::output::{Exit, Failure, Report, finish};
use crate::times::{parse_duration, parse_share, parse_time};
use crate::world::Platform;

macro_rules! examples {
    ($($line:literal),* $(,)?) => {
        concat!("Examples:\n", $("  ", $line, "\n",)* "\nExit codes: 0 it holds, or it was shown; 1 it was read and is refused; 2 it cannot be read, or was asked wrongly.")
    };
}

pub mod machine;
pub mod node;
mod orders;
mod platform;
mod recovery;

use orders::{OrderCommand, WitnessCommand};
pub use platform::{AcceptanceArgs, AttacksArgs, DoctorArgs, HardwareArgs};
pub use recovery::{
    BuildArg, DrillArgs, NodeArgs, SeatArgs, SitOutArgs, SitOutReturnArgs, SitOutShowArgs, SnapshotCreateArgs, SnapshotRestoreArgs,
    SnapshotVerifyArgs,
};
use recovery::{SitOutCommand, SnapshotCommand};
pub use orders::{
    OrderCarryArgs, OrderFileArgs, OrderKeyArgs, OrderKindArg, OrderLogArgs, OrderNewArgs, OrderSignArgs, OrderVerifyArgs, WitnessKeyArgs, WitnessRunArgs,
};

pub mod ceremony;

use ceremony::{CeremonyCommand, CouncilCommand, LifeboatCommand, SignerCommand};

/// Hands a network's secret from one enclave build to the next, and only to a build that the network voted for.
#[derive(Debug, Parser)]
#[command(name = "baton", version, after_help = examples!(
    "baton                                             run the demo",
    "baton quote verify node.quote --collateral c.json",
    "baton evidence verify recording.json --json",
))]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the whole story on an embedded chain: genesis, vote, handover, activation, erase
    Demo(DemoArgs),
    /// Attempt every attack on a running network, and show what refuses it
    Attacks(AttacksArgs),
    /// Story, attacks and a firmware change on the best platform here, with one report to publish
    Acceptance(AcceptanceArgs),
    /// Where enclaves can run on this machine, and what to do where they cannot
    Doctor(DoctorArgs),
    /// Quotes of SGX enclaves
    #[command(subcommand)]
    Quote(QuoteCommand),
    /// Light blocks of a CometBFT chain
    #[command(subcommand)]
    Light(LightCommand),
    /// Evidence of a vote
    #[command(subcommand)]
    Evidence(EvidenceCommand),
    /// The policy that is built into an enclave
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// The custody log
    #[command(subcommand)]
    Log(LogCommand),
    /// Show an upgrade live, in the terminal
    Watch(node::WatchArgs),
    /// Lay custody logs beside the chain's records: every copy announced, every announcement answered
    Audit(node::AuditArgs),
    /// Play a disaster to its end: a chain that makes blocks, a vault that is read
    Drill(DrillArgs),
    /// A node's sealed files, log and policy in one bundle, and the way back from it
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// A node that stays on the old build on purpose, and its way back
    #[command(subcommand)]
    SitOut(SitOutCommand),
    /// Emergency orders
    #[command(subcommand)]
    Order(OrderCommand),
    /// A witness of logs
    #[command(subcommand)]
    Witness(WitnessCommand),
    /// Keys that nobody holds alone: the signing key and the council's
    #[command(subcommand)]
    Ceremony(CeremonyCommand),
    /// The small enclave that opens an escrow when every build is gone
    #[command(subcommand)]
    Lifeboat(LifeboatCommand),
    /// Make an SGX image of a program, without a policy
    Convert(ConvertArgs),
    /// Put a policy into an SGX program, and sign the build
    Sign(SignArgs),
    /// Say everything about an enclave's file: measurement, memory, policy, signature
    Measure(MeasureArgs),
    /// Developers' signatures on builds
    #[command(subcommand)]
    Sigstruct(SigstructCommand),
    /// Write the home of a node
    Init(node::InitArgs),
    /// Run the daemon of a node
    Node(node::NodeRunArgs),
    /// One enclave of a daemon with `dev_process`; nobody else runs it
    #[command(hide = true)]
    EnclaveProcess(node::EnclaveProcessArgs),
    /// Make the first seed of a new network
    Genesis(node::GenesisArgs),
    /// Get the keyring from a peer of the same build
    Join(node::JoinArgs),
    /// Take over what the network's old enclave sealed under MRSIGNER
    Import(node::ImportArgs),
    /// Chain, plan, custody, peers and barrier of a node, on one screen
    Status(node::StatusArgs),
    /// Hand a canary from the build in use to each newer one, and onward
    Rehearse(node::RehearseArgs),
    /// Do by hand whatever can be done now for a plan
    Upgrade(node::UpgradeArgs),
    /// What supervisors call
    #[command(subcommand)]
    Hook(node::HookCommand),
    /// Run a command only if the handover to its build is confirmed on this machine
    Guard(node::GuardArgs),
    /// The example application's values
    #[command(subcommand)]
    Vault(node::VaultCommand),
    /// Records of transfers on chain
    #[command(subcommand)]
    Record(node::RecordCommand),
    /// This machine, and who answers for it
    #[command(subcommand)]
    Platform(machine::PlatformCommand),
    /// Upgrade proposals
    #[command(subcommand)]
    Proposal(node::ProposalCommand),
    /// Make a build for platform sim
    SimBuild(node::SimBuildArgs),
}

/// Arguments of `baton convert`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton convert program.elf --out program.sgxs",
    "baton convert program.elf --out program.sgxs --heap 128",
))]
pub struct ConvertArgs {
    /// The program, an ELF file of x86_64-fortanix-unknown-sgx; scripts/sgx-build makes it
    #[arg(value_name = "ELF")]
    pub program: PathBuf,
    /// Where the image goes
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Heap, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=65536))]
    pub heap: u64,
    /// Stack of each thread, in KiB
    #[arg(long, value_name = "KIB", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(4..=65536))]
    pub stack: u64,
    /// Threads that may be inside at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=256))]
    pub threads: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `baton sign`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton sign program.sgxs --policy v2.policy.toml --key signer.pem --svn 2 --out v2.sgxs",
    "baton sign published.sgxs --policy mine.toml --out mine.sgxs     another policy in a published build",
    "baton sign ceremony.elf --out key/program.sgxs                   `baton ceremony … --dir key` then runs it on softsgx",
))]
pub struct SignArgs {
    /// The program: ELF, or an image with or without a policy
    #[arg(value_name = "PROGRAM")]
    pub program: PathBuf,
    /// The policy to put in (TOML or CBOR); without it the one that is in. For a lifeboat's program: rules for quotes
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// RSA-3072 key with exponent 3 in PEM, or the number of a development key, which everybody has
    #[arg(long, value_name = "FILE|1|2", default_value = "1")]
    pub key: String,
    /// ISVSVN
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub svn: u16,
    /// Where the image goes; the SIGSTRUCT goes beside it, as .sig
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `baton measure`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton measure v2.sgxs",
    "baton measure v2.sgxs --sig signed-by-others.sig --json",
))]
pub struct MeasureArgs {
    /// An enclave's image
    #[arg(value_name = "SGXS")]
    pub file: PathBuf,
    /// Its SIGSTRUCT; without it the .sig file beside the image, if there is one
    #[arg(long, value_name = "FILE")]
    pub sig: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
enum SigstructCommand {
    /// Show a SIGSTRUCT, and whether its signature holds
    Show(SigstructArgs),
}

/// Arguments of `baton sigstruct show`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton sigstruct show v2.sig",
))]
pub struct SigstructArgs {
    /// A SIGSTRUCT, 1808 bytes
    #[arg(value_name = "SIG")]
    pub file: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `baton demo`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton demo",
    "baton demo --keep ./demo      keep sealed files, evidence and logs, for the other commands",
    "baton demo --resume ./demo    go on where a demo was killed",
    "baton demo --platform softsgx --program v1/program.sgxs --program v2/program.sgxs",
    "baton demo --nodes 1         what one machine can show by itself",
    "baton demo --nodes 1 --platform sgx --program v1/program.sgxs --program v2/program.sgxs --pccs https://localhost:8081",
))]
pub struct DemoArgs {
    /// Keep everything in this folder, which must be new or empty
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    pub keep: Option<PathBuf>,
    /// Go on with the demo that was kept in this folder
    #[arg(long, value_name = "DIR")]
    pub resume: Option<PathBuf>,
    /// Where the enclaves run
    #[arg(long, value_enum, default_value_t = PlatformArg::Sim)]
    pub platform: PlatformArg,
    /// softsgx, sgx: a program that scripts/sgx-build made, for v1; a second one is for v2
    #[arg(long, value_name = "FILE")]
    pub program: Vec<PathBuf>,
    /// For platform sgx
    #[command(flatten)]
    pub hardware: HardwareArgs,
    /// How many nodes the network has at first, 3 to 50; or 1
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub nodes: usize,
    /// Make the keys of the chain and of the machines' certificates from this number
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Where enclaves run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PlatformArg {
    /// In process, on software keys.
    #[default]
    Sim,
    /// The real SGX program, on a software SGX CPU.
    Softsgx,
    /// The real SGX program, on this machine's CPU; a network of one machine.
    Sgx,
}

impl Default for DemoArgs {
    fn default() -> Self {
        DemoArgs {
            keep: None,
            resume: None,
            platform: PlatformArg::Sim,
            program: Vec::new(),
            hardware: HardwareArgs { aesm_socket: baton_host::sgx::aesm::SOCKET.into(), ..HardwareArgs::default() },
            nodes: 4,
            seed: None,
            json: false,
        }
    }
}

#[derive(Debug, Subcommand)]
enum QuoteCommand {
    /// Verify a quote with its collateral, and say which enclave on which machine it shows
    Verify(QuoteArgs),
    /// Fetch the collateral for a quote from a PCCS
    Collateral(QuoteCollateralArgs),
}

/// Arguments of `baton quote collateral`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton quote collateral node.quote --pccs https://localhost:8081 --tls-roots pccs.pem --out collateral.json",
    "baton quote collateral node.quote --pccs https://api.trustedservices.intel.com --root-crl https://certificates.trustedservices.intel.com/IntelSGXRootCA.der --out collateral.json",
))]
pub struct QuoteCollateralArgs {
    /// A DCAP quote of version 3, as bytes or as hexadecimal text; it names the kind of machine
    #[arg(value_name = "QUOTE")]
    pub quote: PathBuf,
    /// The PCCS, or Intel's own API; /sgx/certification/v4 is added where it is missing
    #[arg(long, value_name = "URL")]
    pub pccs: String,
    /// Address of the root's CRL, where the service does not serve it (Intel's own API)
    #[arg(long, value_name = "URL")]
    pub root_crl: Option<String>,
    /// PEM certificates that the service may have, beside those that Mozilla lists
    #[arg(long, value_name = "FILE")]
    pub tls_roots: Option<PathBuf>,
    /// Where the set goes
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `baton quote verify`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton quote verify node.quote --collateral collateral.json",
    "baton quote verify node.hex --collateral collateral.json --at 2025-07-19T10:01:17Z",
    "baton quote verify node.quote --collateral collateral.json --policy policy.toml --purpose receipt",
    "baton quote verify node.quote --collateral set.json --collateral tcbinfo.json --collateral crl.der",
))]
pub struct QuoteArgs {
    /// A DCAP quote of version 3, as bytes or as hexadecimal text
    #[arg(value_name = "QUOTE")]
    pub quote: PathBuf,
    /// Collateral: JSON of dcap-qvl's form, then if wanted Intel's single answers (TCB info, QE identity, CRL), which replace a part of it
    #[arg(long, value_name = "FILE", required = true)]
    pub collateral: Vec<PathBuf>,
    /// Time of the judgement: unix seconds or RFC 3339. Without it, the newest date that the collateral holds
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub at: Option<u64>,
    /// A policy (TOML or CBOR) whose rules for builds and platforms decide; a TOML file may hold section `tcb` alone
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// What the quote is for: a secret that crosses is judged strictly, a receipt counts with old collateral
    #[arg(long, value_enum, default_value_t = PurposeArg::Secret)]
    pub purpose: PurposeArg,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What a quote is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PurposeArg {
    /// A secret crosses to the machine.
    Secret,
    /// The enclave shows that it holds a secret.
    Receipt,
}

#[derive(Debug, Subcommand)]
enum LightCommand {
    /// Verify a header from a trusted one, as an enclave does
    Verify(LightArgs),
}

/// Arguments of `baton light verify`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton light verify --trusted block_50000.json --target block_157000.json --trusting-period 18d",
    "baton light verify --target ibc_update_client.json    (the file names its own trusted validators)",
    "baton light verify --target recording.json            (from its trusted block, along its path)",
))]
pub struct LightArgs {
    /// The block that you trust: `/signed_block` answer, light block of RPC answers, IBC header, or CBOR light block
    #[arg(long, value_name = "FILE")]
    pub trusted: Option<PathBuf>,
    /// The block to verify, in one of the same forms, or a recording
    #[arg(long, value_name = "FILE")]
    pub target: PathBuf,
    /// Longest gap that a step may skip; adjacent steps have no limit
    #[arg(long, value_name = "DURATION", default_value = "14d", value_parser = parse_duration)]
    pub trusting_period: u64,
    /// Share of the trusted power that must be exceeded in a skip
    #[arg(long, value_name = "N/D", default_value = "1/3", value_parser = parse_share)]
    pub trust: (u64, u64),
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
enum EvidenceCommand {
    /// Show what is in a file of evidence, without verifying it
    Show(EvidenceShowArgs),
    /// Record what a vote on a live chain looks like
    Record(node::EvidenceRecordArgs),
    /// Verify a file of evidence: the vote, else the inclusion, else the path
    Verify(EvidenceArgs),
    /// Measure what an enclave that was away must be shown at an upgrade's height
    Measure(EvidenceMeasureArgs),
}

/// Arguments of `baton evidence measure`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton evidence measure --rpc http://localhost:26657 --policy v1.policy.toml --plan enclave-v2 --absent 1 --absent 1000",
    "baton evidence measure --devnet 100000     on an embedded chain that is made for it",
))]
pub struct EvidenceMeasureArgs {
    /// RPC of a node; may be given more than once
    #[arg(long, value_name = "URL", required_unless_present = "devnet", conflicts_with = "devnet")]
    pub rpc: Vec<String>,
    /// The policy whose checkpoint the enclave started from
    #[arg(long, value_name = "FILE", conflicts_with = "devnet")]
    pub policy: Option<PathBuf>,
    /// The plan; without it the newest upgrade that passed
    #[arg(long, value_name = "NAME", conflicts_with = "devnet")]
    pub plan: Option<String>,
    /// How many blocks below the plan's height the enclave saw the chain last; may be given more than once
    #[arg(long, value_name = "BLOCKS")]
    pub absent: Vec<u64>,
    /// An embedded chain with a plan this many blocks ahead, instead of a live one
    #[arg(long, value_name = "BLOCKS", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub devnet: Option<u64>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `baton evidence show`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton evidence show recording.json",
    "baton evidence show demo/evidence/ahead.cbor --json",
))]
pub struct EvidenceShowArgs {
    /// A recording (JSON), or evidence as hosts send it to enclaves (CBOR)
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `baton evidence verify`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton evidence verify recording.json",
    "baton evidence verify recording.json --policy policy.toml",
    "baton evidence verify at-x.cbor --policy v2.policy.toml --trusted checkpoint.cbor",
))]
pub struct EvidenceArgs {
    /// A recording (JSON), or evidence as hosts send it to enclaves (CBOR, needs --policy and --trusted)
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// A policy (TOML or CBOR) that decides; a TOML file may hold section `chain` alone. Without it: the file's chain id and
    /// first trusted block, the SDK's default bars, 14 days and 1/3
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// The light block of the policy's checkpoint, for evidence in CBOR
    #[arg(long, value_name = "FILE")]
    pub trusted: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Make a policy from a live chain
    New(Box<node::PolicyNewArgs>),
    /// Show a policy in both forms, with its digest
    Show(PolicyArgs),
    /// Say what a policy means, what it leaves open and what it makes impossible
    Check(PolicyArgs),
}

/// Arguments of `baton policy show` and `baton policy check`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton policy show policy.toml",
    "baton policy check policy.cbor --json",
))]
pub struct PolicyArgs {
    /// A policy: TOML, CBOR, or CBOR as hexadecimal text
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
enum LogCommand {
    /// Show the entries of a log, without verifying its signature
    Show(LogShowArgs),
    /// Replay a log from its first entry, and verify its root and signature
    Verify(LogArgs),
}

/// Arguments of `baton log show`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton log show demo/nodes/node0/v2/log",
    "baton log show demo/nodes/node0/v2/log/entries.txt --json",
))]
pub struct LogShowArgs {
    /// A log folder, its entries.txt, or a folder with log folders below it
    #[arg(value_name = "DIR|FILE")]
    pub log: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `baton log verify`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton log verify demo/nodes/node0/v2/log",
    "baton log verify demo                                every log below, and how they branch off each other",
    "baton log verify log --checkpoint seen-elsewhere.txt",
    "baton log verify log --against last-week/log         nothing that was there has changed",
))]
pub struct LogArgs {
    /// A log folder, its entries.txt, or a folder with log folders below it
    #[arg(value_name = "DIR|FILE")]
    pub log: PathBuf,
    /// Another checkpoint than the folder's, of this or an earlier size
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Option<PathBuf>,
    /// An older copy of the log (folder or entries.txt), or an older checkpoint: it must be a prefix
    #[arg(long, value_name = "OLDER")]
    pub against: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs one command line.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version are answers; a reader that went away does not change the code.
            let _ = e.print();
            return ExitCode::from(if e.use_stderr() {
                Exit::BadInput as u8
            } else {
                Exit::Ok as u8
            });
        }
    };
    ExitCode::from(run(cli) as u8)
}

fn run(cli: Cli) -> Exit {
    let (answer, json): (Result<Report, Failure>, bool) = match cli
        .command
        .unwrap_or(Command::Demo(DemoArgs::default()))
    {
        Command::Demo(args) => return demo(&args),
        Command::Attacks(args) => return attacks(&args),
        Command::Acceptance(args) => (acceptance::acceptance(&args), args.json),
        Command::Doctor(args) => (doctor::doctor(&args), args.json),
        Command::Quote(QuoteCommand::Verify(args)) => (quote::verify(&args), args.json),
        Command::Quote(QuoteCommand::Collateral(args)) => (quote::collateral(&args), args.json),
        Command::Light(LightCommand::Verify(args)) => (light::verify(&args), args.json),
        Command::Evidence(EvidenceCommand::Record(args)) => (record_evidence::record(&args), args.at.json),
        Command::Evidence(EvidenceCommand::Measure(args)) => (absence::measure(&args), args.json),
        Command::Evidence(EvidenceCommand::Show(args)) => (evidence_show::show(&args), args.json),
        Command::Evidence(EvidenceCommand::Verify(args)) => (evidence::verify(&args), args.json),
        Command::Policy(PolicyCommand::New(args)) => (policy_new::policy_new(&args), args.json),
        Command::Policy(PolicyCommand::Show(args)) => (policy::show(&args), args.json),
        Command::Policy(PolicyCommand::Check(args)) => (policy::check(&args), args.json),
        Command::Audit(args) => (audit::audit(&args), args.at.json),
        Command::Watch(args) => (watch::watch(&args), args.at.json),
        Command::Log(LogCommand::Show(args)) => (log::show(&args), args.json),
        Command::Log(LogCommand::Verify(args)) => (log::verify(&args), args.json),
        Command::Drill(args) => (drill::run(&args), args.json),
        Command::Snapshot(SnapshotCommand::Create(args)) => (snapshot::create(&args), args.json),
        Command::Snapshot(SnapshotCommand::Verify(args)) => (snapshot::verify(&args), args.json),
        Command::Snapshot(SnapshotCommand::Restore(args)) => (snapshot::restore(&args), args.json),
        Command::SitOut(SitOutCommand::Begin(args)) => (sit_out::begin(&args), args.json),
        Command::SitOut(SitOutCommand::Return(args)) => (sit_out::finish(&args), args.json),
        Command::SitOut(SitOutCommand::Show(args)) => (sit_out::show(&args), args.json),
        Command::Order(OrderCommand::Key(args)) => (order::key(&args), args.json),
        Command::Order(OrderCommand::New(args)) => (order::new(&args), args.json),
        Command::Order(OrderCommand::Sign(args)) => (order::sign(&args), args.json),
        Command::Order(OrderCommand::Show(args)) => (order::show(&args), args.json),
        Command::Order(OrderCommand::Verify(args)) => (order::verify(&args), args.json),
        Command::Order(OrderCommand::Publish(args)) => (order::publish(&args), args.json),
        Command::Order(OrderCommand::Log(args)) => (order_log::keep(&args), args.json),
        Command::Order(OrderCommand::Carry(args)) => (order_log::carry(&args), args.json),
        Command::Witness(WitnessCommand::Key(args)) => (witness::key(&args), args.json),
        Command::Witness(WitnessCommand::Run(args)) => (witness::run(&args), args.json),
        Command::Ceremony(command) => ceremony_command(command),
        Command::Lifeboat(command) => lifeboat_command(command),
        Command::Convert(args) => (build::convert(&args), args.json),
        Command::Sign(args) => (build::sign(&args), args.json),
        Command::Measure(args) => (build::measure(&args), args.json),
        Command::Sigstruct(SigstructCommand::Show(args)) => (build::sigstruct(&args), args.json),
        Command::Init(args) => (node_commands::init(&args), args.at.json),
        Command::Node(args) => (node_commands::node(&args), args.at.json),
        Command::EnclaveProcess(args) => (node_commands::enclave_process(&args), false),
        Command::Genesis(args) => (node_commands::genesis(&args), args.at.json),
        Command::Join(args) => (node_commands::join(&args), args.at.json),
        Command::Import(args) => (node_commands::import(&args), args.at.json),
        Command::Status(args) => (node_commands::status(&args), args.at.json),
        Command::Rehearse(args) => (node_commands::rehearse(&args), args.at.json),
        Command::Upgrade(args) => (node_commands::upgrade(&args), args.at.json),
        Command::Hook(node::HookCommand::CustomPreUpgrade(args)) => (guard::hook(&args), args.at.json),
        Command::Guard(args) => (guard::guard(&args), args.at.json),
        Command::Vault(node::VaultCommand::Put(args)) => (node_commands::vault_put(&args), args.at.json),
        Command::Vault(node::VaultCommand::Get(args)) => (node_commands::vault_get(&args), args.at.json),
        Command::Record(node::RecordCommand::Send(args)) => (node_commands::record_send(&args), args.at.json),
        Command::Platform(machine::PlatformCommand::Show(args)) => (machine_commands::show(&args), args.at.json),
        Command::Platform(machine::PlatformCommand::Vouch(args)) => (machine_commands::vouch(&args), args.at.json),
        Command::Proposal(node::ProposalCommand::New(args)) => (proposal::new(&args), args.json),
        Command::Proposal(node::ProposalCommand::Check(args)) => (proposal::check(&args), args.at.json),
        Command::SimBuild(args) => (proposal::sim_build(&args), args.json),
    };
    finish(answer, json)
}

fn platform(which: PlatformArg, programs: &[PathBuf], hardware: &HardwareArgs) -> anyhow::Result<Platform> {
    match (which, programs) {
        (PlatformArg::Sim, []) => Ok(Platform::Sim),
        (PlatformArg::Sim, _) => Err(anyhow::anyhow!("--program is for softsgx: expected none on sim, got one; add --platform softsgx")),
        (PlatformArg::Softsgx, programs) => Platform::soft_sgx(programs),
        (PlatformArg::Sgx, programs) => hardware.platform(programs),
    }
}

fn ceremony_command(command: CeremonyCommand) -> (Result<Report, Failure>, bool) {
    use crate::commands::ceremony::{make_box, new_key, reshare, sign, verify};
    match command {
        CeremonyCommand::Signer(SignerCommand::New(args)) => (new_key(&args, Purpose::Signer), args.json),
        CeremonyCommand::Council(CouncilCommand::New(args)) => (new_key(&args, Purpose::Council), args.json),
        CeremonyCommand::Signer(SignerCommand::Sign(args)) => (sign(&args), args.json),
        CeremonyCommand::Signer(SignerCommand::Reshare(args)) => (reshare(&args), args.json),
        CeremonyCommand::Box(args) => (make_box(&args), args.json),
        CeremonyCommand::Agreement(args) => (agreement::agreement(&args), args.json),
        CeremonyCommand::Verify(args) => (verify(&args), args.json),
    }
}

fn lifeboat_command(command: LifeboatCommand) -> (Result<Report, Failure>, bool) {
    match command {
        LifeboatCommand::Show(args) => (boat::show(&args), args.json),
        LifeboatCommand::New(args) => (boat::new(&args), args.json),
        LifeboatCommand::Join(args) => (boat::join(&args), args.json),
        LifeboatCommand::Open(args) => (boat::open(&args), args.json),
        LifeboatCommand::Request(args) => (boat::request(&args), args.json),
        LifeboatCommand::Release(args) => (boat::release(&args), args.json),
        LifeboatCommand::Drill(args) => (lifeboat::drill(&args), args.json),
    }
}

/// The demo speaks while it runs; only how it ended is left to say.
fn demo(args: &DemoArgs) -> Exit {
    // A run that is taken up again has its programs in its folder.
    let kept = args.resume.is_some() && args.program.is_empty();
    let platform = match if kept { Ok(Platform::Sim) } else { platform(args.platform, &args.program, &args.hardware) } {
        Ok(p) => p,
        Err(e) => return finish(Err(Failure::input(format!("{e:#}"))), args.json),
    };
    let options = crate::demo::Options {
        keep: args.keep.clone(),
        resume: args.resume.clone(),
        platform,
        nodes: args.nodes,
        seed: args.seed.unwrap_or(1),
        json: args.json,
    };
    match crate::demo::run(&options) {
        Ok(()) => Exit::Ok,
        Err(e) => finish(Err(Failure::input(format!("{e:#}"))), args.json),
    }
}

/// So do the attacks; one that succeeds is a refusal of the whole.
fn attacks(args: &AttacksArgs) -> Exit {
    let attacked = match args.platform {
        PlatformArg::Sgx => Err(anyhow::anyhow!(
            "attacks forge reports with the keys of a CPU, and hardware keeps its own\nexpected: sim or softsgx\ngot: sgx\nnext: --platform softsgx, with the same programs"
        )),
        which => platform(which, &args.program, &HardwareArgs::default()),
    };
    let attacked = attacked.and_then(|platform| {
        let (only, seed) = (args.only.clone(), args.seed.unwrap_or(1));
        crate::attacks::run(&crate::attacks::Options { only, seed, platform, json: args.json })
    });
    match attacked {
        Ok(true) => Exit::Ok,
        Ok(false) => Exit::Refused,
        Err(e) => finish(Err(Failure::input(format!("{e:#}"))), args.json),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_json_examples_and_exit_codes() {
        fn leaves(command: &clap::Command, out: &mut Vec<clap::Command>) {
            let subs: Vec<_> = command
                .get_subcommands()
                .filter(|c| c.get_name() != "help" && !c.is_hide_set())
                .collect();
            if subs.is_empty() {
                out.push(command.clone());
            }
            subs.into_iter().for_each(|c| leaves(c, out));
        }
        let mut all = Vec::new();
        leaves(&Cli::command(), &mut all);
        assert!(all.len() >= 22, "{}", all.len());
        for mut c in all {
            // Lines are wrapped.
            let help = c
                .render_long_help()
                .to_string()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ");
            for wanted in [
                "--json",
                "Examples:",
                "Exit codes: 0 it holds,",
                "2 it cannot be read, or was asked wrongly.",
            ] {
                assert!(help.contains(wanted), "{}: no {wanted:?}", c.get_name());
            }
        }
    }
}
