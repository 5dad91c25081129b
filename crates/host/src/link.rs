//! One running enclave, wherever it runs: request bytes in, response bytes out.

use baton_attest::identity::{Identity, PlatformId};
use baton_attest::keyrequest::KeyRequest;
use baton_attest::report::{Report, TargetInfo};
use baton_core::platform::{CpuSvn, Platform, PlatformError};
use baton_enclave::Enclave;
use baton_enclave::link::Opening;
use baton_enclave::sim::{Image, Launch, Machine};

use crate::seat::SeatError;

/// Why an enclave gave no answer. Its sealed files are as they were: starting it again is always right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// It ended.
    #[error("the enclave ended: {0}; start it again from its files, nothing is lost")]
    Ended(String),
    /// It never ran.
    #[error("the enclave does not load: {0}")]
    Load(String),
    /// It said something that is no frame.
    #[error("the enclave's answer is {got} bytes long, expected at most {most}; start it again from its files")]
    Oversized {
        /// Length that it said.
        got: usize,
        /// Largest length.
        most: usize,
    },
    /// This machine cannot run it.
    #[error("{0}")]
    Unavailable(String),
}

/// A running enclave. Dropping it stops it as a kill does.
pub trait EnclaveLink {
    /// Brings one request and waits for the response.
    fn call(&mut self, request: &[u8]) -> Result<Vec<u8>, LinkError>;
}

impl<P: Platform> EnclaveLink for Enclave<P> {
    fn call(&mut self, request: &[u8]) -> Result<Vec<u8>, LinkError> {
        Ok(self.handle_bytes(request))
    }
}

/// A machine that runs enclaves and quotes them.
pub trait Launcher {
    /// Launches an image and opens it. The error is [`SeatError::Start`] or [`SeatError::NotStarted`] where the enclave itself refused.
    fn launch(&self, image: &Image, how: &Launch, opening: &Opening) -> Result<Box<dyn EnclaveLink>, SeatError>;

    /// TARGETINFO of the quoting enclave, 512 bytes.
    fn qe_target(&self) -> Result<Vec<u8>, SeatError>;

    /// A quote over a report that was made on this machine for the quoting enclave.
    fn quote(&self, report: &[u8]) -> Result<Vec<u8>, SeatError>;

    /// The machine as its quotes show it.
    fn platform_id(&self) -> PlatformId;

    /// Its CPU, where that is software and plays any enclave: attacks forge with it. Hardware has none.
    fn software_cpu(&self) -> Option<&dyn SoftwareCpu> {
        None
    }
}

/// What a host can do to a software CPU: use it as an enclave that never ran.
pub trait SoftwareCpu {
    /// Security version of its microcode.
    fn cpu_svn(&self) -> CpuSvn;

    /// EGETKEY as enclave `own`.
    fn key_as(&self, own: &Identity, request: &KeyRequest) -> Result<[u8; 16], PlatformError>;

    /// EREPORT as enclave `own`.
    fn report_as(&self, own: &Identity, target: &TargetInfo, data: &[u8; 64]) -> Report;
}

impl Launcher for Machine {
    fn launch(&self, image: &Image, how: &Launch, opening: &Opening) -> Result<Box<dyn EnclaveLink>, SeatError> {
        let (platform, policy) = Machine::launch(self, image, how)?;
        Ok(Box::new(Enclave::start(platform, policy, opening.start())?))
    }

    fn qe_target(&self) -> Result<Vec<u8>, SeatError> {
        Ok(Machine::qe_target(self))
    }

    fn quote(&self, report: &[u8]) -> Result<Vec<u8>, SeatError> {
        Machine::quote(self, report).map_err(|e| SeatError::Quote(e.to_string()))
    }

    fn platform_id(&self) -> PlatformId {
        self.platform().id()
    }

    fn software_cpu(&self) -> Option<&dyn SoftwareCpu> {
        Some(self)
    }
}

impl SoftwareCpu for Machine {
    fn cpu_svn(&self) -> CpuSvn {
        self.cpu().cpu_svn()
    }

    fn key_as(&self, own: &Identity, request: &KeyRequest) -> Result<[u8; 16], PlatformError> {
        self.cpu().egetkey(own, request)
    }

    fn report_as(&self, own: &Identity, target: &TargetInfo, data: &[u8; 64]) -> Report {
        self.cpu().ereport(own, target, data)
    }
}
