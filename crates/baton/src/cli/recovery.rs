//! Arguments of `baton drill`, `baton snapshot` and `baton sit-out`.

use std::path::PathBuf;

use baton_attest::identity::Measurement;
use clap::{Args, Subcommand, ValueEnum};

use crate::world::Named;

/// Arguments of `baton drill`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton drill --list",
    "baton drill crash-at-x1",
    "baton drill --all",
))]
pub struct DrillArgs {
    /// The drill
    #[arg(value_name = "NAME", conflicts_with = "all")]
    pub name: Option<String>,
    /// Every drill, one after the other, and a table at the end
    #[arg(long)]
    pub all: bool,
    /// Say which drills there are
    #[arg(long)]
    pub list: bool,
    /// Make the keys of the chain and of the machines' certificates from this number
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum SnapshotCommand {
    /// Write a node's bundle
    Create(SnapshotCreateArgs),
    /// Check a bundle's files, and with a node, that it opens there
    Verify(SnapshotVerifyArgs),
    /// Put a bundle back; what stands there now is kept beside it
    Restore(SnapshotRestoreArgs),
}

/// Which seat of which node.
#[derive(Args, Clone, Debug)]
pub struct NodeArgs {
    /// The network's folder, which `baton demo --keep` made
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// The node
    #[arg(long, value_name = "NAME")]
    pub node: String,
    /// The build whose files they are
    #[arg(long, value_enum, default_value_t = BuildArg::V1)]
    pub build: BuildArg,
}

/// Which seat: of a node's home, or of a node in an embedded network's folder.
#[derive(Args, Clone, Debug)]
pub struct SeatArgs {
    /// An embedded network's folder, which `baton demo --keep` made
    #[arg(value_name = "DIR", requires = "node", conflicts_with = "home")]
    pub folder: Option<PathBuf>,
    /// With DIR: the node
    #[arg(long, value_name = "NAME", requires = "folder")]
    pub node: Option<String>,
    /// With DIR: the build whose files they are
    #[arg(long, value_enum, default_value_t = BuildArg::V1)]
    pub build: BuildArg,
    /// The home of a node whose daemon is stopped
    #[arg(long, value_name = "DIR", required_unless_present = "folder")]
    pub home: Option<PathBuf>,
    /// With --home: MRENCLAVE of the build; not needed where the home has one build
    #[arg(long, value_name = "HEX", requires = "home")]
    pub measurement: Option<Measurement>,
}

/// A build by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BuildArg {
    /// The genesis build.
    V1,
    /// The build that people voted for.
    V2,
    /// A third one, for emergencies.
    V3,
}

impl From<BuildArg> for Named {
    fn from(build: BuildArg) -> Self {
        match build {
            BuildArg::V1 => Named::V1,
            BuildArg::V2 => Named::V2,
            BuildArg::V3 => Named::V3,
        }
    }
}

/// Arguments of `baton snapshot create`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton snapshot create --home /var/lib/baton --out n.snapshot --validator-state data/priv_validator_state.json",
    "baton snapshot create demo --node node0 --build v2 --out node0.snapshot",
))]
pub struct SnapshotCreateArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub at: SeatArgs,
    /// Where the bundle goes
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// The validator's priv_validator_state.json; its height is noted, the file is not put in
    #[arg(long, value_name = "FILE")]
    pub validator_state: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `baton snapshot verify`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton snapshot verify node0.snapshot",
    "baton snapshot verify n.snapshot --home /var/lib/baton",
    "baton snapshot verify node0.snapshot --at demo --node node0 --build v2",
))]
pub struct SnapshotVerifyArgs {
    /// The bundle
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The network's folder: the bundle is opened on one of its nodes
    #[arg(long = "at", value_name = "DIR", requires = "node")]
    pub folder: Option<PathBuf>,
    /// The node
    #[arg(long, value_name = "NAME", requires = "folder")]
    pub node: Option<String>,
    /// The build
    #[arg(long, value_enum, default_value_t = BuildArg::V1)]
    pub build: BuildArg,
    /// The home of a node whose daemon is stopped: the bundle is opened there
    #[arg(long, value_name = "DIR", conflicts_with = "folder")]
    pub home: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `baton snapshot restore`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton snapshot restore n.snapshot --home /var/lib/baton",
    "baton snapshot restore node0.snapshot demo --node node0 --build v2",
    "baton snapshot restore node0.snapshot demo --node node0 --yes     after reading what is given up",
))]
pub struct SnapshotRestoreArgs {
    /// The bundle
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub at: SeatArgs,
    /// Do it although something is given up
    #[arg(long)]
    pub yes: bool,
    /// The validator's priv_validator_state.json of now: refused if it signed since
    #[arg(long, value_name = "FILE")]
    pub validator_state: Option<PathBuf>,
    /// The validator signed since, its state file stays as it is, and the chain's data does not go back
    #[arg(long)]
    pub keep_validator_state: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum SitOutCommand {
    /// Mark a node that stays on the old build
    Begin(SitOutArgs),
    /// Take the mark away, if its validator's key signed nowhere else meanwhile
    Return(SitOutReturnArgs),
    /// Add up the voting power of frozen and of prepared nodes
    Show(SitOutShowArgs),
}

/// Arguments of `baton sit-out begin`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton sit-out begin demo --node node3 --reason \"way back for v2\"",
))]
pub struct SitOutArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub at: NodeArgs,
    /// Why, for the other operators
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// The validator's priv_validator_state.json
    #[arg(long, value_name = "FILE")]
    pub validator_state: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `baton sit-out return`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton sit-out return demo --node node3 --validator-state data/priv_validator_state.json --validator-key config/priv_validator_key.json",
))]
pub struct SitOutReturnArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub at: NodeArgs,
    /// The validator's priv_validator_state.json
    #[arg(long, value_name = "FILE")]
    pub validator_state: PathBuf,
    /// The validator's priv_validator_key.json, of which the address is read
    #[arg(long, value_name = "FILE")]
    pub validator_key: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `baton sit-out show`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton sit-out show demo",
))]
pub struct SitOutShowArgs {
    /// The network's folder
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
