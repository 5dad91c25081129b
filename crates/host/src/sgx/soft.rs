//! A machine with a software SGX CPU: it runs the enclave's real bytes, and quotes them by the development PKI.
//!
//! Certificates and quoting enclave are those of [`Machine`]; seal and report keys are the software
//! CPU's. The quoting enclave checks every report with its own report key before it quotes, as Intel's does.

use std::rc::Rc;

use baton_attest::identity::{Identity, PlatformId, hash};
use baton_attest::keyrequest::KeyRequest;
use baton_attest::report::{self, Report, ReportBody, report_mac};
use baton_core::platform::{CpuSvn, PlatformError};
use baton_enclave::link::Opening;
use baton_enclave::sim::{Image, Launch, Machine};
use softsgx::{Device, KeyError, Mode, Platform, TargetInfo};

use super::launch::launch;
use crate::link::{EnclaveLink, Launcher, SoftwareCpu};
use crate::seat::SeatError;

/// One machine with a software SGX CPU.
pub struct SoftMachine {
    machine: Rc<Machine>,
    platform: Platform,
    mode: Mode,
    strict: bool,
}

impl SoftMachine {
    /// A CPU for a machine of a PKI; the same machine gives the same keys.
    pub fn new(machine: Rc<Machine>) -> Self {
        let seed = hash("baton softsgx machine v1", &[&machine.platform().ppid()]);
        let platform = Platform::from_seed(seed.0).with_cpu_svn(machine.cpu().cpu_svn());
        SoftMachine { machine, platform, mode: Mode::default(), strict: false }
    }

    /// With another way into and out of enclaves.
    pub fn with_mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// With a SYSCALL inside an enclave as a fault, as on hardware; where the kernel cannot, nothing launches.
    pub fn with_strict(mut self, strict: bool) -> Self {
        self.strict = strict;
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
        let builder = Device::builder().platform(self.platform.clone()).mode(self.mode).strict(self.strict);
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

    fn software_cpu(&self) -> Option<&dyn SoftwareCpu> {
        Some(self)
    }
}

impl SoftwareCpu for SoftMachine {
    fn cpu_svn(&self) -> CpuSvn {
        self.platform.cpu_svn()
    }

    fn key_as(&self, own: &Identity, request: &KeyRequest) -> Result<[u8; 16], PlatformError> {
        let request = softsgx::KeyRequest::parse(&request.to_bytes()).ok_or(PlatformError::BadRequest)?;
        self.platform.get_key(&as_launched(own), &request).map_err(|e| match e {
            KeyError::InvalidAttribute => PlatformError::InvalidAttribute,
            KeyError::InvalidCpuSvn => PlatformError::InvalidCpuSvn,
            KeyError::InvalidIsvSvn => PlatformError::InvalidIsvSvn,
            KeyError::InvalidKeyName => PlatformError::InvalidKeyName,
            KeyError::GeneralProtection => PlatformError::BadRequest,
        })
    }

    fn report_as(&self, own: &Identity, target: &report::TargetInfo, data: &[u8; 64]) -> Report {
        let body = ReportBody {
            cpu_svn: self.platform.cpu_svn(),
            ext_product_id: [0; 16],
            family_id: [0; 16],
            identity: *own,
            report_data: *data,
        };
        let key_id = [0x5c; 32];
        let target = TargetInfo {
            mr_enclave: target.measurement.0,
            attributes: softsgx::Attributes { flags: target.attributes.flags, xfrm: target.attributes.xfrm },
            misc_select: target.misc_select,
            config_id: target.config_id,
            config_svn: target.config_svn,
        };
        let mac = report_mac(&body.to_bytes(), &self.platform.report_key_for(&target, &key_id));
        Report { body, key_id, mac }
    }
}

fn as_launched(own: &Identity) -> softsgx::Identity {
    softsgx::Identity {
        mr_enclave: own.measurement.0,
        mr_signer: own.signer.0,
        product_id: own.product_id,
        svn: own.svn,
        attributes: softsgx::Attributes { flags: own.attributes.flags, xfrm: own.attributes.xfrm },
        misc_select: own.misc_select,
        config_id: own.config_id,
        config_svn: own.config_svn,
        ext_product_id: [0; 16],
        family_id: [0; 16],
    }
}
