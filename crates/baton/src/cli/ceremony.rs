//! Arguments of `baton ceremony` and `baton lifeboat`.

use std::path::PathBuf;

use baton_attest::identity::Measurement;
use clap::{Args, Subcommand};

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
    /// TOML: needed = 3, and for each holder [[holder]] with name and recipient (age1…, from age-keygen)
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
    #[arg(long, value_name = "HEX", required_unless_present = "new_holders", conflicts_with = "new_holders")]
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
))]
pub struct DrillArgs {
    /// A holder who does not answer; may be given more than once
    #[arg(long, value_name = "NAME")]
    pub absent: Vec<String>,
    /// A lifeboat that does not start, 0 to 2; may be given more than once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..3))]
    pub lost: Vec<u8>,
    /// The holders, as for `baton ceremony council new`, without recipients; five of which three are needed if not given
    #[arg(long, value_name = "FILE")]
    pub holders: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
