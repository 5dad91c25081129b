//! Arguments of `baton order` and `baton witness`.

use std::net::SocketAddr;
use std::path::PathBuf;

use baton_attest::identity::{Digest32, Measurement, Signer};
use clap::{Args, Subcommand, ValueEnum};

use super::recovery::BuildArg;
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
    /// Keep the log of orders: append, let witnesses cosign, and say when a notice ends
    Log(OrderLogArgs),
    /// Show an order, with its notice, to an enclave of a network
    Carry(OrderCarryArgs),
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
#[command(after_help = examples!("baton order key --out ada.key", "baton order key --p256 --out bob.pem"))]
pub struct OrderKeyArgs {
    /// A new file for the secret key
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// ECDSA P-256 in PEM instead of Ed25519, as security keys and OpenSSL have it
    #[arg(long)]
    pub p256: bool,
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
    "baton order sign fix.order --key bob.pem                            a P-256 key in PEM",
    "baton order sign fix.order --signer cosmos1...                      print what a wallet signs",
    "baton order sign fix.order --signer cosmos1... --wallet answer.json",
))]
pub struct OrderSignArgs {
    /// The order
    #[arg(value_name = "ORDER")]
    pub file: PathBuf,
    /// A council key: 64 hexadecimal characters (Ed25519), or PEM (P-256, PKCS #8 or SEC 1)
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
    "baton order verify fix.order --policy v1.policy.toml --rpc http://localhost:26657     weighs validators' accounts",
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
    /// RPC of a node, to weigh validators' accounts; may be given more than once
    #[arg(long, value_name = "URL", conflicts_with = "at")]
    pub rpc: Vec<String>,
    /// An embedded network's folder instead
    #[arg(long, value_name = "DIR")]
    pub at: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `baton order log`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton order log orders.log --new my-1",
    "baton order log orders.log --order fix.order --witness http://w1.example:7370 --policy v1.policy.toml",
    "baton order log orders.log --add baton-fresh1:… --witness http://w1.example:7370",
))]
pub struct OrderLogArgs {
    /// The log's file
    #[arg(value_name = "LOG")]
    pub file: PathBuf,
    /// Begin the log of this chain; witnesses must then be told its key
    #[arg(long, value_name = "CHAIN")]
    pub new: Option<String>,
    /// Append a text
    #[arg(long, value_name = "TEXT")]
    pub add: Option<String>,
    /// Append an order's memo
    #[arg(long, value_name = "ORDER")]
    pub order: Option<PathBuf>,
    /// Ask this witness to cosign what was appended (C2SP tlog-witness); may be given more than once
    #[arg(long, value_name = "URL")]
    pub witness: Vec<String>,
    /// The policy of the build that shall obey: which dates count, and how long the notice is
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `baton order carry`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton order carry fix.order --home /var/lib/baton                       the chain lives: the order is in a transaction",
    "baton order carry fix.order --publish --wait 600                        put it there first, and wait until it is obeyed",
    "baton order carry fix.order --log orders.log --witness http://w1.example:7370     the chain stands still",
    "baton order carry fix.order demo --node node0 --build v1 --to v3 --log orders.log --witness http://w1.example:7370",
))]
pub struct OrderCarryArgs {
    /// The order
    #[arg(value_name = "ORDER")]
    pub file: PathBuf,
    /// An embedded network's folder, instead of a node's home
    #[arg(value_name = "DIR", requires_all = ["node", "log"])]
    pub folder: Option<PathBuf>,
    /// The node's home; its daemon carries the order, now and after every restart
    #[arg(long, value_name = "DIR", env = "BATON_HOME")]
    pub home: Option<PathBuf>,
    /// Hash of the transaction that made the order public; without it the chain is searched
    #[arg(long, value_name = "HASH", conflicts_with_all = ["folder", "log"], value_parser = parse_hash)]
    pub tx: Option<Digest32>,
    /// Let this node's signer, or a peer, publish the order if no transaction has it yet
    #[arg(long, conflicts_with_all = ["folder", "log"])]
    pub publish: bool,
    /// rewind: RPC of a node that still has the branch which is left
    #[arg(long, value_name = "URL", conflicts_with = "folder")]
    pub old_rpc: Vec<String>,
    /// Wait until it is obeyed, at most this long, in seconds
    #[arg(long, value_name = "SECS", default_value_t = 0, conflicts_with = "folder")]
    pub wait: u64,
    /// With DIR: the node
    #[arg(long, value_name = "NAME", requires = "folder")]
    pub node: Option<String>,
    /// With DIR: the build that shall obey
    #[arg(long, value_enum, default_value_t = BuildArg::V1, requires = "folder")]
    pub build: BuildArg,
    /// With DIR, handover: the build on the same machine that the order names
    #[arg(long, value_enum, requires = "folder")]
    pub to: Option<BuildArg>,
    /// The log in which the order is public, where the chain stands still
    #[arg(long, value_name = "LOG")]
    pub log: Option<PathBuf>,
    /// Witnesses that date this enclave's nonce; may be given more than once. Without any, the log's keeper appends what the node asks for
    #[arg(long, value_name = "URL", requires = "log")]
    pub witness: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

fn parse_hash(text: &str) -> Result<Digest32, String> {
    text.to_lowercase().parse().map_err(|_| format!("expected 64 hexadecimal characters, got {text:?}"))
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
