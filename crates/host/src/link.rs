//! One running enclave, wherever it runs: request bytes in, response bytes out.

use std::rc::Rc;

use baton_attest::identity::{Attributes, Identity, PlatformId, flags};
use baton_attest::keyrequest::{KeyRequest, key_name};
use baton_attest::report::{Report, TargetInfo};
use baton_attest::sigstruct::check_sigstruct;
use baton_core::platform::{CpuSvn, Platform, PlatformError, ReportKey, SealKey};
use baton_enclave::Enclave;
use baton_enclave::link::{NotStarted, Opening, Program, start_ceremony, start_lifeboat};
use baton_enclave::sim::{Image, Launch, LaunchError, Machine};

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

/// A program in this process.
impl<T: Program> EnclaveLink for T {
    fn call(&mut self, request: &[u8]) -> Result<Vec<u8>, LinkError> {
        Ok(self.handle_bytes(request))
    }
}

/// Which of our programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramKind {
    /// The ceremony's, see [`baton_enclave::ceremony`].
    Ceremony,
    /// The lifeboat, see [`baton_enclave::lifeboat`].
    Lifeboat,
}

/// A machine that runs enclaves and quotes them.
pub trait Launcher {
    /// Launches an image and opens it. The error is [`SeatError::Start`] or [`SeatError::NotStarted`] where the enclave itself refused.
    fn launch(&self, image: &Image, how: &Launch, opening: &Opening) -> Result<Box<dyn EnclaveLink>, SeatError>;

    /// The same with an image of another program. Where an image is machine code, it is its own program.
    fn launch_program(&self, _: ProgramKind, image: &Image, how: &Launch, opening: &Opening) -> Result<Box<dyn EnclaveLink>, SeatError> {
        self.launch(image, how, opening)
    }

    /// TARGETINFO of the quoting enclave, 512 bytes.
    fn qe_target(&self) -> Result<Vec<u8>, SeatError>;

    /// A quote over a report that was made on this machine for the quoting enclave.
    fn quote(&self, report: &[u8]) -> Result<Vec<u8>, SeatError>;

    /// The machine as its quotes show it; [`PlatformId::UNKNOWN`] on hardware before the first quote.
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

    fn launch_program(&self, kind: ProgramKind, image: &Image, how: &Launch, opening: &Opening) -> Result<Box<dyn EnclaveLink>, SeatError> {
        let (platform, pages) = Machine::launch_program(self, image, how)?;
        let program: Result<Box<dyn EnclaveLink>, NotStarted> = match kind {
            ProgramKind::Ceremony => start_ceremony(platform, opening).map(|p| Box::new(p) as _),
            ProgramKind::Lifeboat => start_lifeboat(platform, &pages, opening).map(|p| Box::new(p) as _),
        };
        program.map_err(|NotStarted { message, damaged }| SeatError::NotStarted { message, damaged })
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

/// An enclave of any identity, without its program: what its build could do on a machine whose CPU is software.
pub struct Impostor {
    on: Rc<dyn Launcher>,
    identity: Identity,
    svn: CpuSvn,
}

impl Impostor {
    /// A build as it launches.
    pub fn of(on: &Rc<dyn Launcher>, image: &Image) -> Result<Self, SeatError> {
        let cpu = on.software_cpu().ok_or_else(|| LinkError::Unavailable("only a software CPU plays enclaves".into()))?;
        let attributes = Attributes { flags: flags::MODE64BIT, xfrm: 3 };
        let signed = check_sigstruct(&image.sigstruct).map_err(LaunchError::from)?;
        let identity = signed.launch(image.measurement()?, attributes, 0).map_err(LaunchError::from)?;
        Ok(Impostor { svn: cpu.cpu_svn(), on: on.clone(), identity })
    }

    fn key(&self, request: &KeyRequest) -> Result<[u8; 16], PlatformError> {
        self.on.software_cpu().ok_or(PlatformError::BadRequest)?.key_as(&self.identity, request)
    }
}

impl Platform for Impostor {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn cpu_svn(&self) -> CpuSvn {
        self.svn
    }

    fn seal_key(&self, request: &KeyRequest) -> Result<SealKey, PlatformError> {
        self.key(request).map(|k| SealKey::danger_from_bytes(&k))
    }

    fn report_key(&self, key_id: &[u8; 32]) -> Result<ReportKey, PlatformError> {
        let request = KeyRequest { key_name: key_name::REPORT, key_id: *key_id, ..KeyRequest::default() };
        self.key(&request).map(|k| ReportKey::danger_from_bytes(&k))
    }

    fn report(&self, target: &TargetInfo, data: &[u8; 64]) -> [u8; 432] {
        self.on.software_cpu().map_or([0; 432], |cpu| cpu.report_as(&self.identity, target, data).to_bytes())
    }

    fn random(&mut self, out: &mut [u8]) {
        rand::fill(out);
    }
}
