//! Arguments of `baton ceremony` and `baton lifeboat`.

use std::path::PathBuf;

use baton_attest::identity::{Measurement, PlatformId};
use clap::{Args, Subcommand};

use super::recovery::NodeArgs;

/// `baton ceremony …`.
#[derive(Debug, Subcommand)]
pub enum CeremonyCommand {
    /// The developers' signing key: made inside an enclave, split, and used by m holders together
    #[command(subcommand)]
    Signer(SignerCommand),
    /// The council's key, which escrows are encrypted to
    #[command(subcommand)]
    Council(CouncilCommand),
    /// A holder's part: agree to one thing, and box your share for it
    Box(BoxArgs),
    /// The network's part: what makes its agreement to a signature public, and the evidence of it
    Agreement(AgreementArgs),
    /// Check a ceremony's publication, offline, as anybody can
    Verify(CeremonyVerifyArgs),
}

/// `baton ceremony signer …`.
#[derive(Debug, Subcommand)]
pub enum SignerCommand {
    /// Make the key, and deal it to its holders
    New(NewArgs),
    /// Sign one build, when m holders agree on it
    Sign(CeremonySignArgs),
    /// Deal the key again to other holders, when m of the old ones agree
    Reshare(ReshareArgs),
}

/// `baton ceremony council …`.
#[derive(Debug, Subcommand)]
pub enum CouncilCommand {
    /// Make the key, and deal it to the council
    New(NewArgs),
}

/// `baton lifeboat …`.
#[derive(Debug, Subcommand)]
pub enum LifeboatCommand {
    /// Say who a lifeboat is: its machine, its identity, its public key
    Show(BoatArgs),
    /// Make a lifeboat key for three machines or more
    New(BoatNewArgs),
    /// Take the key over from another lifeboat
    Join(BoatJoinArgs),
    /// Open a session for one release, and wait for its evidence
    Open(BoatOpenArgs),
    /// A new build's part: ask, wait for the offer, and start by the order
    Request(BoatRequestArgs),
    /// Put the evidence of a release together, and hand it to the open lifeboat
    Release(BoatReleaseArgs),
    /// Play a release with a canary from shares to target, and say who did not answer
    Drill(DrillArgs),
}

/// Arguments of `baton ceremony signer new` and `baton ceremony council new`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton ceremony signer new --holders holders.toml --dir signer",
    "baton ceremony council new --holders council.toml --dir council",
))]
pub struct NewArgs {
    /// TOML: needed = 3, and for each holder [[holder]] with name and recipient (age1…, from age-keygen); or one with network =
    /// "policy.toml", which is the network itself
    #[arg(long, value_name = "FILE")]
    pub holders: PathBuf,
    /// Folder of the ceremony, new or empty: sealed file, publication, and shares/NAME.age for each holder
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `baton ceremony signer sign`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton ceremony signer sign --dir signer --measurement 3f… --svn 2 --out v2.sig",
    "baton ceremony signer sign --dir signer --measurement 3f… --svn 2 --out v2.sig --wait 3600",
    "baton ceremony signer sign --dir signer --measurement 3f… --svn 2 --out v2.sig --vote vote.cbor      the network is a holder",
))]
pub struct CeremonySignArgs {
    /// Folder of the ceremony; holders' boxes are taken from its folder `boxes`
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// MRENCLAVE of the build
    #[arg(long, value_name = "HEX")]
    pub measurement: Measurement,
    /// ISVPRODID
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub product_id: u16,
    /// ISVSVN
    #[arg(long, value_name = "N")]
    pub svn: u16,
    /// Where the SIGSTRUCT goes
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// The network's agreement, which `baton ceremony agreement` writes; it may come while the command waits
    #[arg(long, value_name = "FILE")]
    pub vote: Option<PathBuf>,
    /// How long to wait for boxes, in seconds: the session ends with this command
    #[arg(long, value_name = "SECS", default_value_t = 600)]
    pub wait: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `baton ceremony signer reshare`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton ceremony signer reshare --dir signer --holders new-holders.toml",
))]
pub struct ReshareArgs {
    /// Folder of the ceremony; boxes of old holders are taken from its folder `boxes`
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// The new holders, as for `new`
    #[arg(long, value_name = "FILE")]
    pub holders: PathBuf,
    /// How long to wait for boxes, in seconds: the session ends with this command
    #[arg(long, value_name = "SECS", default_value_t = 600)]
    pub wait: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `baton ceremony box`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton ceremony box --session session.attested --published ceremony-1.attested --share ana.age --identity key.txt --measurement 3f… --svn 2 --out ana.box",
    "baton ceremony box --session boat2/session.attested --published ceremony-1.attested --share ana.age --identity key.txt --order fix.order --target v3.target --out ana.box",
    "age --decrypt -i hardware.txt ana.age > line && baton ceremony box --share line … ",
))]
pub struct BoxArgs {
    /// The session that the ceremony's host sent you
    #[arg(long, value_name = "FILE")]
    pub session: PathBuf,
    /// The publication that you checked when you got your share: the session must be of the same enclave and transcript
    #[arg(long, value_name = "FILE")]
    pub published: PathBuf,
    /// Your share: the age file, or the line that age gives
    #[arg(long, value_name = "FILE")]
    pub share: PathBuf,
    /// Your age identity (AGE-SECRET-KEY-1…), for an age file
    #[arg(long, value_name = "FILE")]
    pub identity: Option<PathBuf>,
    /// You agree to a signature on this MRENCLAVE
    #[arg(long, value_name = "HEX", required_unless_present_any = ["new_holders", "order"], conflicts_with_all = ["new_holders", "order"])]
    pub measurement: Option<Measurement>,
    /// With this ISVPRODID
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub product_id: u16,
    /// And this ISVSVN
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub svn: u16,
    /// You agree to new shares for these holders
    #[arg(long, value_name = "FILE")]
    pub new_holders: Option<PathBuf>,
    /// You agree that a lifeboat releases what its escrow holds, by this order; `baton order show` says what it orders
    #[arg(long, value_name = "ORDER", requires = "target", conflicts_with = "new_holders")]
    pub order: Option<PathBuf>,
    /// And to this enclave on this machine: the file that `baton lifeboat request` wrote
    #[arg(long, value_name = "FILE", requires = "order")]
    pub target: Option<PathBuf>,
    /// MRENCLAVE of the lifeboat's program, as you built it; without it the simulator's
    #[arg(long, value_name = "HEX")]
    pub lifeboat: Option<Measurement>,
    /// Where the box goes
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// A policy (TOML or CBOR) whose section `tcb` judges the quote. Without it the development root, which proves nothing
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `baton ceremony agreement`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton ceremony agreement --session signer/session.attested --policy policy.toml --measurement 3f… --svn 2      prints the memo",
    "baton ceremony agreement --session signer/session.attested --policy policy.toml --measurement 3f… --svn 2 --rpc http://localhost:26657 --proposal 12 --tx 9A… --out vote.cbor",
))]
pub struct AgreementArgs {
    /// The session that is open
    #[arg(long, value_name = "FILE")]
    pub session: PathBuf,
    /// The policy (TOML or CBOR) whose section `chain` the network's share was made for
    #[arg(long, value_name = "FILE")]
    pub policy: PathBuf,
    /// MRENCLAVE of the build
    #[arg(long, value_name = "HEX")]
    pub measurement: Measurement,
    /// ISVPRODID
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub product_id: u16,
    /// ISVSVN
    #[arg(long, value_name = "N")]
    pub svn: u16,
    /// The proposal that passed, whose plan is pending
    #[arg(long, value_name = "ID")]
    pub proposal: Option<u64>,
    /// RPC of a node; may be given more than once
    #[arg(long, value_name = "URL", conflicts_with = "at")]
    pub rpc: Vec<String>,
    /// Hash of the transaction with the memo
    #[arg(long, value_name = "HASH", requires = "rpc")]
    pub tx: Option<String>,
    /// An embedded network's folder instead of an RPC; the memo is sent there at once
    #[arg(long, value_name = "DIR")]
    pub at: Option<PathBuf>,
    /// Where the evidence goes
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `baton ceremony verify`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton ceremony verify ceremony-1.attested --policy policy.toml --enclave 9c…",
    "baton ceremony verify ceremony-2.attested --before ceremony-1.attested",
    "baton ceremony verify ceremony-1.attested --share ana.age        whose share is this?",
))]
pub struct CeremonyVerifyArgs {
    /// A publication
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The publication of the ceremony before: this one must follow it
    #[arg(long, value_name = "FILE")]
    pub before: Option<PathBuf>,
    /// MRENCLAVE of the ceremony's program, as you built it
    #[arg(long, value_name = "HEX")]
    pub enclave: Option<Measurement>,
    /// An age file that may be one of the ceremony's
    #[arg(long, value_name = "FILE")]
    pub share: Option<PathBuf>,
    /// A policy (TOML or CBOR) whose section `tcb` judges the quote. Without it the development root, which proves nothing
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `baton lifeboat drill`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton lifeboat drill",
    "baton lifeboat drill --absent chen --absent dora      two holders do not answer",
    "baton lifeboat drill --lost 0 --lost 2                two lifeboats are gone",
    "baton lifeboat drill --published council/ceremony-1.attested --dir boat0 --wait 3600   real holders answer with `ceremony box`",
))]
pub struct DrillArgs {
    /// A holder who does not answer; may be given more than once
    #[arg(long, value_name = "NAME")]
    pub absent: Vec<String>,
    /// A lifeboat that does not start, 0 to 2; may be given more than once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..3))]
    pub lost: Vec<u8>,
    /// The council's publication: its real holders are asked, by files in the lifeboat's folder
    #[arg(long, value_name = "FILE", requires = "dir", conflicts_with_all = ["absent", "lost", "holders"])]
    pub published: Option<PathBuf>,
    /// Folder of the real lifeboat
    #[arg(long, value_name = "DIR", requires = "published")]
    pub dir: Option<PathBuf>,
    /// How long holders have, in seconds
    #[arg(long, value_name = "SECS", default_value_t = 600)]
    pub wait: u64,
    /// The holders, as for `baton ceremony council new`, without recipients; five of which three are needed if not given
    #[arg(long, value_name = "FILE")]
    pub holders: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `baton lifeboat show`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!("baton lifeboat show --dir boat0"))]
pub struct BoatArgs {
    /// Folder of the lifeboat; its last part names the machine of the simulator
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `baton lifeboat new`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!("baton lifeboat new --dir boat0 --machine 5c… --machine 81…     from `lifeboat show` on the two others"))]
pub struct BoatNewArgs {
    /// Folder of the lifeboat, new or empty
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// A further machine that may hold the key: two or more, beside this one
    #[arg(long, value_name = "HEX", required = true)]
    pub machine: Vec<PlatformId>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `baton lifeboat join`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!("baton lifeboat join --dir boat1 --from boat0"))]
pub struct BoatJoinArgs {
    /// Folder of the new lifeboat
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Folder of one that holds the key
    #[arg(long, value_name = "DIR")]
    pub from: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `baton lifeboat open`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!("baton lifeboat open --dir boat2 --chain-id my-1 --wait 7200"))]
pub struct BoatOpenArgs {
    /// Folder of the lifeboat; session.attested (for holders) and hello (for the target) go there
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// The chain
    #[arg(long, value_name = "ID")]
    pub chain_id: String,
    /// The newest epoch in the escrow
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub epoch: u64,
    /// How long to wait for the evidence, in seconds: the session ends with this command
    #[arg(long, value_name = "SECS", default_value_t = 7200)]
    pub wait: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `baton lifeboat request`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton lifeboat request demo --node node0 --build v3 --hello boat2/hello --out v3.target --offer boat2/offer --order fix.order --log orders.log",
))]
pub struct BoatRequestArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub at: NodeArgs,
    /// The lifeboat's hello
    #[arg(long, value_name = "FILE")]
    pub hello: PathBuf,
    /// Where the request goes: for holders, and for `lifeboat release`
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Where the lifeboat's offer will be
    #[arg(long, value_name = "FILE")]
    pub offer: PathBuf,
    /// The order that names this build
    #[arg(long, value_name = "ORDER")]
    pub order: PathBuf,
    /// The log in which it is public
    #[arg(long, value_name = "LOG")]
    pub log: PathBuf,
    /// How long to wait for the offer, in seconds: the request ends with this command
    #[arg(long, value_name = "SECS", default_value_t = 7200)]
    pub wait: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `baton lifeboat release`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton lifeboat release --dir boat2 --escrow node0/escrow/epoch-0000000000.escrow --order fix.order --published ceremony-1.attested --boxes boxes --target v3.target --log orders.log --witness http://w1.example:7370",
))]
pub struct BoatReleaseArgs {
    /// Folder of the lifeboat whose session is open
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// The escrow
    #[arg(long, value_name = "FILE")]
    pub escrow: PathBuf,
    /// The signed order: its `from` is the lifeboat's identity
    #[arg(long, value_name = "ORDER")]
    pub order: PathBuf,
    /// The publication of the council's ceremony
    #[arg(long, value_name = "FILE")]
    pub published: PathBuf,
    /// Folder with holders' boxes (NAME.box)
    #[arg(long, value_name = "DIR")]
    pub boxes: PathBuf,
    /// The target's request
    #[arg(long, value_name = "FILE")]
    pub target: PathBuf,
    /// The log in which the order is public; the release is appended to it
    #[arg(long, value_name = "LOG")]
    pub log: PathBuf,
    /// Witnesses that cosign the release; may be given more than once
    #[arg(long, value_name = "URL")]
    pub witness: Vec<String>,
    /// How long to wait for the lifeboat's answer, in seconds
    #[arg(long, value_name = "SECS", default_value_t = 60)]
    pub wait: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
