//! The software platform: machines with software CPUs and a quoting enclave of the development PKI.
//!
//! What it replaces is the CPU's keys. Reports, quotes, key requests, SGXS streams and SIGSTRUCTs are
//! the real formats, and the enclave on it is the same code. It promises no confidentiality: it says so
//! by its attestation, whose root no production policy accepts.

mod cpu;

use alloc::string::String;
use alloc::vec::Vec;

use baton_attest::identity::{Attributes, Identity, Measurement, flags, hash};
use baton_attest::keyrequest::{KeyRequest, key_name};
use baton_attest::pki::{DevPki, DevPlatform, PkiError, PlatformSpec};
use baton_attest::report::{Report, ReportError, TargetInfo};
use baton_attest::sgxs::{self, SgxsError};
use baton_attest::sigstruct::{SigningKey, SigstructError, check_sigstruct};
use baton_core::platform::{CpuSvn, Platform, PlatformError, ReportKey, SealKey};
use baton_core::policy::{Policy, PolicyError};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

pub use cpu::Cpu;

/// The product id of Baton's enclaves.
pub const PRODUCT_ID: u16 = 1;

/// Why an image does not start.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The stream is none.
    #[error(transparent)]
    Sgxs(#[from] SgxsError),
    /// EINIT refuses.
    #[error(transparent)]
    Sigstruct(#[from] SigstructError),
    /// The stream holds no build.
    #[error("the image holds no build of this program: expected the pages of a sim build; build it with its policy again")]
    NotABuild,
    /// The policy inside is none.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The machine's certificates.
    #[error(transparent)]
    Pki(#[from] PkiError),
}

/// A build as people publish it: the stream that is measured, and the developers' signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// SGXS stream; its SHA-256 is the measurement.
    pub sgxs: Vec<u8>,
    /// SIGSTRUCT, 1808 bytes.
    pub sigstruct: Vec<u8>,
}

impl Image {
    /// Builds and signs: name, version and policy are all measured.
    pub fn build(name: &str, version: &str, policy: &Policy, key: &SigningKey, svn: u16) -> Result<Self, LaunchError> {
        Self::program(name, version, &policy.to_cbor(), key, (PRODUCT_ID, svn))
    }

    /// The same for a program of another product id whose measured pages hold something else than a policy.
    pub fn program(name: &str, version: &str, contents: &[u8], key: &SigningKey, id_svn: (u16, u16)) -> Result<Self, LaunchError> {
        let sgxs = sgxs::sim_build(name, version, contents);
        let measurement = sgxs::measure(&sgxs)?.measurement;
        let sigstruct = key.sign_build(measurement, id_svn.0, id_svn.1)?.to_bytes().to_vec();
        Ok(Image { sgxs, sigstruct })
    }

    /// The measurement, computed.
    pub fn measurement(&self) -> Result<Measurement, LaunchError> {
        Ok(sgxs::measure(&self.sgxs)?.measurement)
    }

    /// Name, version and policy in the measured pages.
    pub fn contents(&self) -> Result<(String, String, Policy), LaunchError> {
        let (name, version, policy) = sgxs::sim_contents(&self.sgxs).ok_or(LaunchError::NotABuild)?;
        Ok((name, version, Policy::from_cbor(&policy)?))
    }
}

/// How a host launches an image.
#[derive(Clone, Copy, Debug, Default)]
pub struct Launch {
    /// With the DEBUG attribute.
    pub debug: bool,
    /// Where the enclave's random numbers come from; never the same twice on a machine.
    pub entropy: [u8; 32],
}

/// One machine.
pub struct Machine {
    cpu: Cpu,
    quoting: DevPlatform,
}

impl Machine {
    /// A machine of a PKI. The same name and PKI give the same machine.
    pub fn new(pki: &DevPki, name: &str, spec: &PlatformSpec) -> Result<Self, LaunchError> {
        let quoting = pki.platform(name, spec)?;
        let seed = hash("baton sim machine v1", &[&quoting.ppid(), name.as_bytes()]);
        Ok(Machine { cpu: Cpu::new(&seed.0, spec.cpu_svn), quoting })
    }

    /// The CPU, for updates and downgrades of its microcode. Running enclaves keep what they started with.
    pub fn cpu_mut(&mut self) -> &mut Cpu {
        &mut self.cpu
    }

    /// The machine as its quotes show it.
    pub fn platform(&self) -> &DevPlatform {
        &self.quoting
    }

    /// ECREATE, EADD, EEXTEND, EINIT: the enclave's platform and the policy in its measured pages.
    pub fn launch(&self, image: &Image, how: &Launch) -> Result<(SimPlatform, Policy), LaunchError> {
        let (platform, policy) = self.launch_program(image, how)?;
        Ok((platform, Policy::from_cbor(&policy)?))
    }

    /// The same for a program whose measured pages hold something else than a policy.
    pub fn launch_program(&self, image: &Image, how: &Launch) -> Result<(SimPlatform, Vec<u8>), LaunchError> {
        let debug = if how.debug { flags::DEBUG } else { 0 };
        let attributes = Attributes { flags: flags::MODE64BIT | debug, xfrm: 3 };
        let sigstruct = check_sigstruct(&image.sigstruct)?;
        let identity = sigstruct.launch(image.measurement()?, attributes, 0)?;
        let (_, _, contents) = sgxs::sim_contents(&image.sgxs).ok_or(LaunchError::NotABuild)?;
        let rng = ChaCha20Rng::from_seed(hash("baton sim rdrand v1", &[&how.entropy]).0);
        Ok((SimPlatform { cpu: self.cpu.clone(), identity, rng }, contents))
    }

    /// TARGETINFO of the quoting enclave, 512 bytes.
    pub fn qe_target(&self) -> Vec<u8> {
        self.quoting.qe_target_info().to_bytes().to_vec()
    }

    /// A quote over a report that was made on this machine for the quoting enclave.
    pub fn quote(&self, report: &[u8]) -> Result<Vec<u8>, ReportError> {
        let request = report_key_request(&Report::key_id_of(report)?);
        let key = self.cpu.egetkey(&self.quoting.qe_identity(), &request).unwrap_or_default();
        self.quoting.quote(report, &key)
    }

    /// The software CPU.
    pub fn cpu(&self) -> &Cpu {
        &self.cpu
    }
}

/// One running enclave's view of its machine.
pub struct SimPlatform {
    cpu: Cpu,
    identity: Identity,
    rng: ChaCha20Rng,
}

fn report_key_request(key_id: &[u8; 32]) -> KeyRequest {
    KeyRequest {
        key_name: key_name::REPORT,
        key_policy: 0,
        isv_svn: 0,
        cpu_svn: [0; 16],
        attribute_mask: Attributes { flags: 0, xfrm: 0 },
        key_id: *key_id,
        misc_mask: 0,
        config_svn: 0,
    }
}

impl Platform for SimPlatform {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn cpu_svn(&self) -> CpuSvn {
        self.cpu.cpu_svn()
    }

    fn seal_key(&self, request: &KeyRequest) -> Result<SealKey, PlatformError> {
        let key = self.cpu.egetkey(&self.identity, request)?;
        Ok(SealKey::danger_from_bytes(&key))
    }

    fn report_key(&self, key_id: &[u8; 32]) -> Result<ReportKey, PlatformError> {
        let key = self.cpu.egetkey(&self.identity, &report_key_request(key_id))?;
        Ok(ReportKey::danger_from_bytes(&key))
    }

    fn report(&self, target: &TargetInfo, data: &[u8; 64]) -> [u8; 432] {
        self.cpu.ereport(&self.identity, target, data).to_bytes()
    }

    fn random(&mut self, out: &mut [u8]) {
        self.rng.fill_bytes(out);
    }
}
