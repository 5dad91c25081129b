//! Arguments of the commands about a node's machine.

use clap::{Args, Subcommand};

use super::node::HomeArgs;

/// This machine, and who answers for it.
#[derive(Debug, Subcommand)]
pub enum PlatformCommand {
    /// This machine's platform id, and which validators vouch for it
    Show(PlatformShowArgs),
    /// The details that a validator must set so that this machine is admitted
    Vouch(PlatformVouchArgs),
}

/// Arguments of `baton platform show`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton platform show",
    "baton platform show --json | jq -r .platform",
))]
pub struct PlatformShowArgs {
    /// Which node
    #[command(flatten)]
    pub at: HomeArgs,
}

/// Arguments of `baton platform vouch`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton platform vouch --validator cosmosvaloper1…     prints the words; nothing is sent",
    "chaind tx staking edit-validator --details \"$(baton platform vouch --validator cosmosvaloper1… --json | jq -r .details)\" --from operator",
))]
pub struct PlatformVouchArgs {
    /// Which node
    #[command(flatten)]
    pub at: HomeArgs,
    /// The validator that answers for this machine: its operator address
    #[arg(long, value_name = "VALOPER")]
    pub validator: String,
    /// A machine of this validator that is no longer in use; its name goes
    #[arg(long, value_name = "PLATFORM")]
    pub instead_of: Option<baton_attest::identity::PlatformId>,
}
