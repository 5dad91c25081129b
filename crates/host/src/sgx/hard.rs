//! The hardware path: Linux's in-kernel SGX driver under the same link, and quotes by Intel's AESM service.
//!
//! It is thin, and has not run on a machine with SGX yet: opening the device is all that is here. Launching is shared with softsgx
//! ([`launch`](super::launch)), quoting is [`Quoting`]'s. Local attestation, which is all that an ordinary upgrade on one machine
//! needs, needs no service: a machine without AESM starts, hands over and serves.

use std::path::Path;

use baton_attest::identity::PlatformId;
use baton_enclave::link::Opening;
use baton_enclave::sim::{Image, Launch};
use sgxs_loaders::isgx::Device;

use super::aesm::{Aesm, Quoting};
use super::detect::{self, ENCLAVE_NODE, Node, SgxCpu};
use super::launch::launch;
use crate::link::{EnclaveLink, Launcher, LinkError};
use crate::seat::SeatError;

/// This machine's own SGX.
pub struct HardMachine(Quoting);

impl HardMachine {
    /// Looks for the driver's device, and opens it to see that this user may. The AESM service at `aesm_socket` is asked when a quote is wanted.
    pub fn detect(aesm_socket: &Path) -> Result<Self, LinkError> {
        let here = detect::hardware(&SgxCpu::here(), &Node::at(Path::new(ENCLAVE_NODE)));
        let opened = here.and_then(|()| open().map(|_| ())).map_err(|e| LinkError::Unavailable(format!("no SGX on this machine: {e}")));
        opened.map(|()| HardMachine(Quoting::new(Aesm::new(aesm_socket))))
    }
}

fn open() -> Result<Device, String> {
    let device = Device::new().map_err(|e| {
        format!("expected the driver's device {ENCLAVE_NODE}, got {e}; switch SGX on in the firmware, use Linux 5.11 or later, and add this user to group sgx (or run on softsgx)")
    })?;
    Ok(device.build())
}

impl Launcher for HardMachine {
    fn launch(&self, image: &Image, how: &Launch, opening: &Opening) -> Result<Box<dyn EnclaveLink>, SeatError> {
        Ok(Box::new(launch(open, image, how.debug, opening)?))
    }

    fn qe_target(&self) -> Result<Vec<u8>, SeatError> {
        self.0.qe_target()
    }

    fn quote(&self, report: &[u8]) -> Result<Vec<u8>, SeatError> {
        self.0.quote(report)
    }

    fn platform_id(&self) -> PlatformId {
        self.0.platform_id()
    }
}
