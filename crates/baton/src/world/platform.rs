//! Where a world's enclaves run: in process on `sim`, or as the real programs on software SGX CPUs.

use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use baton_core::policy::Policy;
use baton_enclave::sim::Machine;
use baton_host::link::Launcher;
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
        let mut out = Vec::new();
        for path in programs {
            let place = path.display();
            let bytes = crate::files::read(path, "program", MAX_SGXS_BYTES).map_err(|e| anyhow::anyhow!("{e}"))?;
            let pages = sign::program(&bytes, &Layout::default()).with_context(|| format!("{place}"))?;
            pages.slot().with_context(|| format!("{place}"))?;
            out.push(pages);
        }
        Ok(Platform::SoftSgx(out))
    }

    /// What a progress file calls it.
    pub fn name(&self) -> &'static str {
        match self {
            Platform::Sim => "sim",
            Platform::SoftSgx(_) => "softsgx",
        }
    }

    /// Keeps the programs in a world's folder.
    pub(super) fn save(&self, dir: &Path) -> Result<()> {
        let Platform::SoftSgx(programs) = self else { return Ok(()) };
        let dir = dir.join(FOLDER);
        fs::create_dir_all(&dir)?;
        for (pages, i) in programs.iter().zip(1..) {
            fs::write(dir.join(format!("v{i}.sgxs")), pages.to_sgxs()?)?;
        }
        Ok(())
    }

    /// Reads them again.
    pub(super) fn load(name: &str, dir: &Path) -> Result<Self> {
        match name {
            "sim" => Ok(Platform::Sim),
            "softsgx" => {
                let file = |i: u8| dir.join(FOLDER).join(format!("v{i}.sgxs"));
                let found: Vec<PathBuf> = (1..=9).map(file).take_while(|f| f.exists()).collect();
                Self::soft_sgx(&found)
            }
            other => bail!("the run is of platform {other:?}\nexpected: sim or softsgx\nnext: use the release that wrote it"),
        }
    }

    /// A build with this policy, signed with development key 1.
    pub fn build(&self, which: Named, mut policy: Policy, svn: u16) -> Result<Build> {
        let Platform::SoftSgx(programs) = self else {
            let version = match which {
                Named::V1 => "1.0.0",
                Named::V2 => "2.0.0",
                Named::V3 => "3.0.0",
            };
            return Build::new(version, policy, 1, svn);
        };
        if which == Named::V3 {
            // There is no third program: another policy is another build.
            policy.tcb.max_collateral_age_secs += 1;
        }
        let program = if which == Named::V1 { programs.first() } else { programs.last() };
        Build::of_program(program.context("softsgx has a program")?, policy, 1, svn)
    }

    /// What runs the enclaves of a machine.
    pub(crate) fn launcher(&self, machine: &Rc<Machine>) -> Result<Rc<dyn Launcher>> {
        match self {
            Platform::Sim => Ok(machine.clone()),
            Platform::SoftSgx(_) => software(machine),
        }
    }
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

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn softsgx_here() -> Result<(), String> {
    baton_host::sgx::detect::software()
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn softsgx_here() -> Result<(), String> {
    Err("it runs x86-64 machine code under Linux".into())
}
