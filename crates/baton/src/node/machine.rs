//! The machine that this node runs its enclaves on, and the builds in its folder.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use baton_attest::identity::{Measurement, hash};
use baton_attest::pki::{CollateralSpec, DevPki, PlatformSpec};
use baton_attest::sgxs::sim_contents;
use baton_core::policy::Policy;
use baton_enclave::sim::{Image, Machine};
use baton_host::link::Launcher;
use baton_host::sgx::apart::Apart;
use baton_host::sgx::image::{MAX_SGXS_BYTES, Pages};

use super::config::{EnclaveConfig, PlatformName};
use crate::world::platform::{hardware, software};

/// The development PKI of a seed.
pub fn dev_pki(seed: u64) -> Result<DevPki> {
    Ok(DevPki::new(hash("baton development pki v1", &[&seed.to_be_bytes()]).0)?)
}

fn launcher_of(platform: PlatformName, machine: &Rc<Machine>) -> Result<Rc<dyn Launcher>> {
    match platform {
        PlatformName::Sim => Ok(machine.clone()),
        PlatformName::Softsgx => software(machine),
        PlatformName::Sgx => bail!("platform sgx has no development machine\nexpected: sim or softsgx"),
    }
}

/// What runs the enclaves of a machine of a development PKI in this process.
pub fn launcher_here(platform: PlatformName, machine: &str, pki_seed: u64) -> Result<Rc<dyn Launcher>> {
    launcher_of(platform, &Rc::new(Machine::new(&dev_pki(pki_seed)?, machine, &PlatformSpec::default())?))
}

/// The same machine, with each enclave in a process of its own: this program again.
fn apart(within: Rc<dyn Launcher>, config: &EnclaveConfig) -> Result<Rc<dyn Launcher>> {
    let program = std::env::current_exe().context("this program does not find itself")?;
    let machine = config.dev_machine.clone().unwrap_or_default();
    let seed = config.dev_pki_seed.unwrap_or_default().to_string();
    let args = ["enclave-process", "--platform", config.platform.name(), "--dev-machine", &machine, "--dev-pki-seed", &seed].map(String::from);
    Ok(Rc::new(Apart::new(within, move || {
        let mut command = Command::new(&program);
        command.args(&args);
        command
    })))
}

/// Where enclaves run here.
pub struct Here {
    /// Of a development platform; hardware has Intel's.
    pki: Option<DevPki>,
    launcher: Rc<dyn Launcher>,
}

impl Here {
    /// The machine that the configuration names.
    pub fn new(config: &EnclaveConfig) -> Result<Self> {
        Ok(match config.platform {
            PlatformName::Sim | PlatformName::Softsgx => {
                let pki = dev_pki(config.dev_pki_seed.context("enclave.dev_pki_seed is missing")?)?;
                let name = config.dev_machine.as_deref().context("enclave.dev_machine is missing")?;
                let machine = Rc::new(Machine::new(&pki, name, &PlatformSpec::default())?);
                let launcher = launcher_of(config.platform, &machine)?;
                let launcher = if config.dev_process { apart(launcher, config)? } else { launcher };
                Here { pki: Some(pki), launcher }
            }
            PlatformName::Sgx => Here { pki: None, launcher: hardware(config.aesm())? },
        })
    }

    /// What runs its enclaves.
    pub fn launcher(&self) -> &Rc<dyn Launcher> {
        &self.launcher
    }

    /// Collateral of a development platform, as a PCCS would serve it at a block time (unix seconds); none of hardware's.
    pub fn own_collateral(&self, block_time: u64) -> Option<Result<Vec<u8>>> {
        let spec = CollateralSpec::at(block_time.saturating_sub(3600));
        self.pki.as_ref().map(|pki| Ok(pki.collateral(&spec)?.to_json().into_bytes()))
    }
}

/// A build in the node's folder.
#[derive(Clone, Debug)]
pub struct BuildFile {
    /// The file's name without its ending.
    pub name: String,
    /// Image and signature.
    pub image: Image,
    /// The policy inside.
    pub policy: Policy,
    /// MRENCLAVE.
    pub measurement: Measurement,
}

impl BuildFile {
    /// Reads an `.sgxs` file and the `.sig` beside it.
    pub fn read(path: &Path) -> Result<Self> {
        let place = path.display();
        let read = |p: &Path, most: usize| crate::files::read(p, "build", most).map_err(|e| anyhow::anyhow!("{}", e.to_string().trim()));
        let sgxs = read(path, MAX_SGXS_BYTES)?;
        let sigstruct = read(&path.with_extension("sig"), 4096)?;
        let image = Image { sgxs, sigstruct };
        let policy = match sim_contents(&image.sgxs) {
            Some((_, _, policy)) => Policy::from_cbor(&policy).with_context(|| format!("the policy in {place}"))?,
            None => Pages::from_sgxs(&image.sgxs).and_then(|p| p.policy()).with_context(|| format!("{place}"))?,
        };
        policy.validate().with_context(|| format!("the policy in {place}"))?;
        let name = path.file_stem().and_then(|n| n.to_str()).context("the file has no name")?.to_string();
        Ok(BuildFile { name, measurement: image.measurement().with_context(|| format!("{place}"))?, image, policy })
    }

    /// Its folder among the seats.
    pub fn folder(&self) -> String {
        folder_of(&self.measurement)
    }
}

/// The folder of a measurement among the seats: its first 16 hexadecimal characters.
pub fn folder_of(measurement: &Measurement) -> String {
    measurement.to_string().chars().take(16).collect()
}

/// Every build in a folder, by name; and what could not be read.
pub fn builds(dir: &Path, chain_id: &str) -> Result<(Vec<BuildFile>, Vec<String>)> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let path = entry?.path();
        // A copy under way has no signature beside it yet.
        if path.extension().is_some_and(|e| e == "sgxs") && path.with_extension("sig").exists() {
            paths.push(path);
        }
    }
    paths.sort();
    let (mut out, mut bad): (Vec<BuildFile>, Vec<String>) = (Vec::new(), Vec::new());
    for path in paths {
        match check(&path, chain_id) {
            Ok(build) if out.iter().any(|b| b.measurement == build.measurement) => {}
            Ok(build) => out.push(build),
            Err(e) => bad.push(format!("{}: {e:#}", path.display())),
        }
    }
    Ok((out, bad))
}

fn check(path: &Path, chain_id: &str) -> Result<BuildFile> {
    let build = BuildFile::read(path)?;
    let got = &build.policy.chain.chain_id;
    if got != chain_id {
        bail!("its policy is for chain {got:?}, expected {chain_id:?}");
    }
    Ok(build)
}
