//! Arguments of the commands that run enclaves for a look at them: `baton attacks`, `baton acceptance`, `baton doctor`.

use std::path::PathBuf;

use baton_host::collateral::Pccs;
use baton_host::http::Roots;
use baton_host::sgx::aesm::SOCKET;
use clap::Args;

use super::PlatformArg;
use crate::world::Platform;

/// Arguments of `baton attacks`.
#[derive(Args, Clone, Debug, Default)]
#[command(after_help = examples!(
    "baton attacks",
    "baton attacks --only A03 --only A23",
    "baton attacks --platform softsgx --program v1/program.sgxs --program v2/program.sgxs",
))]
pub struct AttacksArgs {
    /// Only this attack; may be given more than once
    #[arg(long, value_name = "ID")]
    pub only: Vec<String>,
    /// Where the enclaves run
    #[arg(long, value_enum, default_value_t = PlatformArg::Sim)]
    pub platform: PlatformArg,
    /// softsgx: a program that scripts/sgx-build made, for v1; a second one is for v2
    #[arg(long, value_name = "FILE")]
    pub program: Vec<PathBuf>,
    /// Make keys and nonces from this number, so that a run can be repeated
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `baton doctor`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton doctor",
    "baton doctor --program v2.sgxs     is there memory enough for it",
    "baton doctor --home /var/lib/baton     days before a plan's height: will this machine make it",
    "baton doctor --home /var/lib/baton --daemon-home /home/chain/.chaind     and are cosmovisor's folders right",
))]
pub struct DoctorArgs {
    /// An enclave's image whose need of memory is shown beside what there is
    #[arg(long, value_name = "SGXS")]
    pub program: Option<PathBuf>,
    /// A node's home: everything that its next upgrade needs is looked at
    #[arg(long, value_name = "DIR", env = "BATON_HOME")]
    pub home: Option<PathBuf>,
    /// With --home: the folder that holds cosmovisor's
    #[arg(long, value_name = "DIR", env = "DAEMON_HOME")]
    pub daemon_home: Option<PathBuf>,
    /// With --home: the file that cosmovisor calls before it switches
    #[arg(long, value_name = "NAME", env = "COSMOVISOR_CUSTOM_PREUPGRADE")]
    pub custom_pre_upgrade: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `baton acceptance`.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples!(
    "baton acceptance",
    "baton acceptance --program v1/program.sgxs --program v2/program.sgxs --out report.json",
    "baton acceptance --program v1/program.sgxs --program v2/program.sgxs --pccs https://localhost:8081     on a machine with SGX",
))]
pub struct AcceptanceArgs {
    /// A program that scripts/sgx-build made, for v1; a second one is for v2. With one the platform is the machine's SGX where it has it, else softsgx; without one sim
    #[arg(long, value_name = "FILE")]
    pub program: Vec<PathBuf>,
    /// For platform sgx
    #[command(flatten)]
    pub hardware: HardwareArgs,
    /// Write the report here, and for people beside it as .txt
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Make keys from this number
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What platform sgx asks beside the CPU.
#[derive(Args, Clone, Debug, Default)]
pub struct HardwareArgs {
    /// Platform sgx: where collateral for this machine's quotes comes from; without it nothing needs a quote, and the barrier is not met
    #[arg(long, value_name = "URL")]
    pub pccs: Option<String>,
    /// Platform sgx: address of the root's CRL, where the PCCS does not serve it
    #[arg(long, value_name = "URL", requires = "pccs")]
    pub root_crl: Option<String>,
    /// Platform sgx: PEM certificates that the PCCS may have, beside those that Mozilla lists
    #[arg(long, value_name = "FILE", requires = "pccs")]
    pub tls_roots: Option<PathBuf>,
    /// Platform sgx: the socket of Intel's AESM service
    #[arg(long, value_name = "PATH", default_value = SOCKET)]
    pub aesm_socket: PathBuf,
}

impl HardwareArgs {
    /// This machine's SGX, with these programs.
    pub fn platform(&self, programs: &[PathBuf]) -> anyhow::Result<Platform> {
        let roots = self.tls_roots.as_deref().map(Roots::with_file).transpose()?.unwrap_or_default();
        let pccs = self.pccs.as_deref().map(|url| Pccs::new(url, self.root_crl.as_deref(), &roots)).transpose()?;
        Platform::sgx(programs, &self.aesm_socket, pccs)
    }
}
