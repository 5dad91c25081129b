//! Where a world's enclaves run: in process on `sim`, as the real programs on software SGX CPUs, or on this machine's own.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use baton_attest::identity::Identity;
use baton_core::messages::Attestation;
use baton_core::policy::Policy;
use baton_enclave::sim::Machine;
use baton_enclave::wire::AttestedReceipt;
use baton_host::collateral::Pccs;
use baton_host::link::Launcher;
use baton_host::relay::{self, Channel};
use baton_host::seat::Seat;
use baton_host::sgx::aesm::SOCKET;
use baton_host::sgx::sign::Layout;
use baton_host::sgx::image::{MAX_SGXS_BYTES, Pages};
use baton_host::sgx::sign;

use super::{Build, Named};

/// Where enclaves run.
#[derive(Clone, Debug, Default)]
pub enum Platform {
    /// In this process, on software keys.
    #[default]
    Sim,
    /// On a software SGX CPU: the first program is v1, the last one v2 and whatever comes after.
    SoftSgx(Vec<Pages>),
    /// On this machine's own CPU: one machine, so a world of one node.
    Sgx(Hardware),
}

/// This machine's SGX, the programs that run on it, and where collateral for its quotes comes from.
#[derive(Clone)]
pub struct Hardware {
    programs: Vec<Pages>,
    launcher: Rc<dyn Launcher>,
    pccs: Option<Pccs>,
}

impl fmt::Debug for Hardware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hardware").field("programs", &self.programs.len()).field("pccs", &self.pccs).finish_non_exhaustive()
    }
}

impl Hardware {
    /// A receipt for the barrier with a quote of this machine, and the collateral for that very quote.
    pub(super) fn receipt(&self, seat: &mut Seat, reader: &Identity) -> Result<AttestedReceipt> {
        let pccs = self.pccs.as_ref().context("no collateral for this machine's quotes\nexpected: a PCCS\nnext: name one with --pccs")?;
        let mut receipt = relay::barrier_receipt(seat, reader, Channel::Quoted { collateral: &[] })?;
        if let Attestation::Quoted { quote, collateral } = &mut receipt.attestation {
            *collateral = pccs.fetch(quote)?.to_json().into_bytes();
        }
        Ok(receipt)
    }
}

impl Platform {
    /// Reads programs that scripts/sgx-build made.
    pub fn soft_sgx(programs: &[PathBuf]) -> Result<Self> {
        if programs.is_empty() {
            bail!("softsgx runs real programs, and none was named\nexpected: --program FILE, for v1 and then for v2\nnext: scripts/sgx-build --fast --version 1.0.0 --out target/v1, the same for v2, and then --program target/v1/program.sgxs --program target/v2/program.sgxs");
        }
        // Before anything is made, and not at the first enclave.
        if let Err(e) = softsgx_here() {
            bail!("softsgx does not run here: {e}\nnext: leave --platform and --program out: the run is on sim then");
        }
        Ok(Platform::SoftSgx(read(programs)?))
    }

    /// This machine's own SGX, where it has one; `pccs` serves collateral for its quotes.
    pub fn sgx(programs: &[PathBuf], aesm_socket: &Path, pccs: Option<Pccs>) -> Result<Self> {
        if programs.is_empty() {
            bail!("SGX runs real programs, and none was named\nexpected: --program FILE, for v1 and then for v2\nnext: scripts/sgx-build --version 1.0.0 --out target/v1, and so on; docs/sgx.md");
        }
        Ok(Platform::Sgx(Hardware { programs: read(programs)?, launcher: hardware(aesm_socket)?, pccs }))
    }

    /// Its real programs.
    pub fn programs(&self) -> &[Pages] {
        match self {
            Platform::Sim => &[],
            Platform::SoftSgx(programs) => programs,
            Platform::Sgx(h) => &h.programs,
        }
    }

    /// What a progress file calls it.
    pub fn name(&self) -> &'static str {
        match self {
            Platform::Sim => "sim",
            Platform::SoftSgx(_) => "softsgx",
            Platform::Sgx(_) => "sgx",
        }
    }

    /// Keeps the programs in a world's folder.
    pub(super) fn save(&self, dir: &Path) -> Result<()> {
        if self.programs().is_empty() {
            return Ok(());
        }
        let dir = dir.join(FOLDER);
        fs::create_dir_all(&dir)?;
        for (pages, i) in self.programs().iter().zip(1..) {
            fs::write(dir.join(format!("v{i}.sgxs")), pages.to_sgxs()?)?;
        }
        Ok(())
    }

    /// Reads them again.
    pub(super) fn load(name: &str, dir: &Path) -> Result<Self> {
        let file = |i: u8| dir.join(FOLDER).join(format!("v{i}.sgxs"));
        let found = || (1..=9).map(file).take_while(|f| f.exists()).collect::<Vec<PathBuf>>();
        match name {
            "sim" => Ok(Platform::Sim),
            "softsgx" => Self::soft_sgx(&found()),
            "sgx" => Self::sgx(&found(), Path::new(SOCKET), None),
            other => bail!("the run is of platform {other:?}\nexpected: sim, softsgx or sgx\nnext: use the release that wrote it"),
        }
    }

    /// A build with this policy, signed with development key 1.
    pub fn build(&self, which: Named, mut policy: Policy, svn: u16) -> Result<Build> {
        let programs = self.programs();
        if programs.is_empty() {
            let version = match which {
                Named::V1 => "1.0.0",
                Named::V2 => "2.0.0",
                Named::V3 => "3.0.0",
            };
            return Build::new(version, policy, 1, svn);
        }
        if which == Named::V3 {
            // There is no third program: another policy is another build.
            policy.tcb.max_collateral_age_secs += 1;
        }
        let program = if which == Named::V1 { programs.first() } else { programs.last() };
        Build::of_program(program.context("the platform has a program")?, policy, 1, svn)
    }

    /// What runs the enclaves of a machine.
    pub(crate) fn launcher(&self, machine: &Rc<Machine>) -> Result<Rc<dyn Launcher>> {
        match self {
            Platform::Sim => Ok(machine.clone()),
            Platform::SoftSgx(_) => software(machine),
            Platform::Sgx(h) => Ok(h.launcher.clone()),
        }
    }
}

/// Reads programs that scripts/sgx-build made.
fn read(programs: &[PathBuf]) -> Result<Vec<Pages>> {
    let mut out = Vec::new();
    for path in programs {
        let place = path.display();
        let bytes = crate::files::read(path, "program", MAX_SGXS_BYTES).map_err(|e| anyhow::anyhow!("{e}"))?;
        let pages = sign::program(&bytes, &Layout::default()).with_context(|| format!("{place}"))?;
        pages.slot().with_context(|| format!("{place}"))?;
        out.push(pages);
    }
    Ok(out)
}

/// Where a world keeps its programs.
pub(super) const FOLDER: &str = "programs";

/// A software SGX CPU for a machine.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(crate) fn software(machine: &Rc<Machine>) -> Result<Rc<dyn Launcher>> {
    Ok(Rc::new(baton_host::sgx::soft::SoftMachine::new(machine.clone())))
}

/// There is none here.
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
pub(crate) fn software(_: &Rc<Machine>) -> Result<Rc<dyn Launcher>> {
    bail!("softsgx runs x86-64 machine code\nexpected: Linux on x86-64\nnext: run on sim")
}

/// This machine's own SGX.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(crate) fn hardware(aesm_socket: &Path) -> Result<Rc<dyn Launcher>> {
    let machine = baton_host::sgx::hard::HardMachine::detect(aesm_socket);
    Ok(Rc::new(machine.context("platform sgx: `baton doctor` says what this machine lacks")?))
}

/// There is none here.
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
pub(crate) fn hardware(_: &Path) -> Result<Rc<dyn Launcher>> {
    bail!("platform sgx runs x86-64 machine code\nexpected: Linux on x86-64 with SGX\nnext: run on such a machine, or on sim for tests")
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn softsgx_here() -> Result<(), String> {
    baton_host::sgx::detect::software()
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn softsgx_here() -> Result<(), String> {
    Err("it runs x86-64 machine code under Linux".into())
}
