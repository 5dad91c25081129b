//! A machine with a software SGX CPU: it runs the enclave's real bytes, and quotes them by the development PKI.
//!
//! Certificates and quoting enclave are those of [`Machine`]; seal and report keys are the software
//! CPU's. The quoting enclave checks every report with its own report key before it quotes, as Intel's does.

use std::rc::Rc;

use baton_attest::identity::{PlatformId, hash};
use baton_attest::report::Report;
use baton_enclave::link::Opening;
use baton_enclave::sim::{Image, Launch, Machine};
use softsgx::{Device, Mode, Platform, TargetInfo};

use super::launch::launch;
use crate::link::{EnclaveLink, Launcher};
use crate::seat::SeatError;

/// One machine with a software SGX CPU.
pub struct SoftMachine {
    machine: Rc<Machine>,
    platform: Platform,
    mode: Mode,
}

impl SoftMachine {
    /// A CPU for a machine of a PKI; the same machine gives the same keys.
    pub fn new(machine: Rc<Machine>) -> Self {
        let seed = hash("baton softsgx machine v1", &[&machine.platform().ppid()]);
        let platform = Platform::from_seed(seed.0).with_cpu_svn(machine.cpu().cpu_svn());
        SoftMachine { machine, platform, mode: Mode::default() }
    }

    /// With another way into and out of enclaves.
    pub fn with_mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Its certificates and quoting enclave.
    pub fn machine(&self) -> &Rc<Machine> {
        &self.machine
    }

    /// Its CPU.
    pub fn platform(&self) -> &Platform {
        &self.platform
    }
}

impl Launcher for SoftMachine {
    fn launch(&self, image: &Image, how: &Launch, opening: &Opening) -> Result<Box<dyn EnclaveLink>, SeatError> {
        let builder = Device::builder().platform(self.platform.clone()).mode(self.mode);
        let device = move || builder.build().map_err(|e| e.to_string());
        Ok(Box::new(launch(device, image, how.debug, opening)?))
    }

    fn qe_target(&self) -> Result<Vec<u8>, SeatError> {
        Ok(Machine::qe_target(&self.machine))
    }

    fn quote(&self, report: &[u8]) -> Result<Vec<u8>, SeatError> {
        let failed = |e: &dyn std::fmt::Display| SeatError::Quote(e.to_string());
        let quoting = self.machine.platform();
        let key_id = Report::key_id_of(report).map_err(|e| failed(&e))?;
        let target = TargetInfo::parse(&quoting.qe_target_info().to_bytes());
        let target = target.ok_or_else(|| failed(&"the quoting enclave's TARGETINFO is none"))?;
        let key = self.platform.report_key_for(&target, &key_id);
        quoting.quote(report, &key).map_err(|e| failed(&e))
    }

    fn platform_id(&self) -> PlatformId {
        self.machine.platform().id()
    }
}
