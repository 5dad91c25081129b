//! Arguments of `baton order` and `baton witness`.

use std::net::SocketAddr;
use std::path::PathBuf;

use baton_attest::identity::{Digest32, Measurement, Signer};
use clap::{Args, Subcommand, ValueEnum};

use crate::times::parse_time;

#[derive(Debug, Subcommand)]
pub(super) enum OrderCommand {
    /// Make the key of a council member
    Key(OrderKeyArgs),
    /// Write an order that nobody has signed yet
    New(OrderNewArgs),
    /// Sign an order, with a council key or with what a wallet signed
    Sign(OrderSignArgs),
    /// Show what an order says
    Show(OrderFileArgs),
    /// Say who signed, whose signature is bad, and what is still missing
    Verify(OrderVerifyArgs),
    /// Say what makes an order public, and where
    Publish(OrderFileArgs),
}

#[derive(Debug, Subcommand)]
pub(super) enum WitnessCommand {
    /// Make the key of a witness
    Key(WitnessKeyArgs),
    /// Cosign checkpoints of the logs that it knows, over HTTP (C2SP tlog-witness)
    Run(WitnessRunArgs),
}

/// Arguments of `baton order key`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!("baton order key --out ada.key"))]
pub struct OrderKeyArgs {
    /// A new file for the secret key
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `baton order new`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton order new handover --measurement HEX --signer HEX --svn 3 --chain-id my-1 --from DIGEST --sequence 1 --expiry-height 9000 --expires 2026-12-01T00:00:00Z --reason 'v2 dies at its first block' --out fix.order",
))]
pub struct OrderNewArgs {
    /// The chain
    #[arg(long, value_name = "ID")]
    pub chain_id: String,
    /// Identity digest of the build that shall obey, 64 hexadecimal characters
    #[arg(long, value_name = "DIGEST")]
    pub from: Digest32,
    /// Number of the order; enclaves obey rising numbers only
    #[arg(long, value_name = "N")]
    pub sequence: u64,
    /// Void from this height on
    #[arg(long, value_name = "HEIGHT")]
    pub expiry_height: u64,
    /// Void from this time on: unix seconds or RFC 3339
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub expires: u64,
    /// Why, for everybody to read
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// A new file for the order
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// What is ordered
    #[arg(value_enum, value_name = "KIND")]
    pub kind: OrderKindArg,
    /// handover, freeze: MRENCLAVE of the build
    #[arg(long, value_name = "HEX", required_if_eq_any([("kind", "handover"), ("kind", "freeze")]))]
    pub measurement: Option<Measurement>,
    /// handover: MRSIGNER of the build
    #[arg(long, value_name = "HEX", required_if_eq("kind", "handover"))]
    pub signer: Option<Signer>,
    /// handover: ISVPRODID of the build
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub product_id: u16,
    /// handover: ISVSVN of the build
    #[arg(long, value_name = "N", required_if_eq("kind", "handover"))]
    pub svn: Option<u16>,
    /// handover: XFRM of the build's attributes
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub xfrm: u64,
    /// rewind: height of the ancestor
    #[arg(long, value_name = "HEIGHT", required_if_eq("kind", "rewind"))]
    pub height: Option<u64>,
    /// rewind: its header hash
    #[arg(long, value_name = "HEX", required_if_eq("kind", "rewind"))]
    pub hash: Option<Digest32>,
    /// freeze: plans of proposals with a higher number are later
    #[arg(long, value_name = "ID", required_if_eq("kind", "freeze"))]
    pub proposals_through: Option<u64>,
}

/// What is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OrderKindArg {
    /// Hand the keyring over to a build.
    Handover,
    /// Put the trusted head back to an ancestor of it.
    Rewind,
    /// Give nothing to a build until a later plan or order; serving goes on.
    Freeze,
    /// Begin a new epoch (recorded only by this release).
    Rotate,
}

/// Arguments of `baton order sign`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton order sign fix.order --key ada.key",
    "baton order sign fix.order --signer cosmos1...                      print what a wallet signs",
    "baton order sign fix.order --signer cosmos1... --wallet answer.json",
))]
pub struct OrderSignArgs {
    /// The order
    #[arg(value_name = "ORDER")]
    pub file: PathBuf,
    /// A council key
    #[arg(long, value_name = "FILE", conflicts_with = "signer")]
    pub key: Option<PathBuf>,
    /// A validator's account
    #[arg(long, value_name = "ACCOUNT")]
    pub signer: Option<String>,
    /// What the wallet answered, JSON with pub_key and signature
    #[arg(long, value_name = "FILE", requires = "signer")]
    pub wallet: Option<PathBuf>,
    /// Write here instead of into the order's file
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `baton order show` and `baton order publish`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!("baton order show fix.order", "baton order publish fix.order"))]
pub struct OrderFileArgs {
    /// The order
    #[arg(value_name = "ORDER")]
    pub file: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `baton order verify`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton order verify fix.order --policy v1.policy.toml",
    "baton order verify ada.order --and bob.order --policy v1.policy.toml",
))]
pub struct OrderVerifyArgs {
    /// The order
    #[arg(value_name = "ORDER")]
    pub file: PathBuf,
    /// Another copy of it, with other signatures
    #[arg(long, value_name = "ORDER")]
    pub and: Vec<PathBuf>,
    /// The policy of the build that shall obey
    #[arg(long, value_name = "FILE")]
    pub policy: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `baton witness key`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!("baton witness key --name witness.example/w1 --out w1.key"))]
pub struct WitnessKeyArgs {
    /// Its name: no white space, no plus sign
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// A new file for the secret key
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `baton witness run`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton witness run --name witness.example/w1 --key w1.key --state w1.redb --log baton/my-1/orders=HEX",
))]
pub struct WitnessRunArgs {
    /// Its name
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// Its secret key
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// What it must never forget; never restore this file from a backup
    #[arg(long, value_name = "FILE")]
    pub state: PathBuf,
    /// A log that it cosigns for: its origin and its Ed25519 key in hexadecimal
    #[arg(long, value_name = "ORIGIN=KEY", required = true)]
    pub log: Vec<String>,
    /// Where it listens; put a proxy with TLS in front of it
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7370")]
    pub listen: SocketAddr,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
