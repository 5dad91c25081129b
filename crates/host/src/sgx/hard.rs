//! The hardware path: Linux's in-kernel SGX driver under the same link.
//!
//! It is thin, and has not run on a machine with SGX yet. Local attestation, which is all that an
//! ordinary upgrade on one machine needs, needs nothing more. Quotes come from Intel's AESM service,
//! which this release does not speak to: what needs one is refused with a clear error.

use baton_attest::identity::PlatformId;
use baton_enclave::link::Opening;
use baton_enclave::sim::{Image, Launch};
use sgxs_loaders::isgx::Device;

use super::launch::launch;
use crate::link::{EnclaveLink, Launcher, LinkError};
use crate::seat::SeatError;

/// This machine's own SGX.
pub struct HardMachine(());

impl HardMachine {
    /// Looks for the driver's device, and opens it to see that this user may.
    pub fn detect() -> Result<Self, LinkError> {
        open().map(|_| HardMachine(())).map_err(LinkError::Unavailable)
    }
}

fn open() -> Result<Device, String> {
    let device = Device::new().map_err(|e| {
        format!("no SGX on this machine: expected the driver's device /dev/sgx_enclave, got {e}; switch SGX on in the firmware, use Linux 5.11 or later, and add this user to group sgx (or run on softsgx)")
    })?;
    Ok(device.build())
}

fn no_quotes() -> SeatError {
    SeatError::Quote("this release does not ask AESM for quotes: expected a handover on one machine, which attests locally".into())
}

impl Launcher for HardMachine {
    fn launch(&self, image: &Image, how: &Launch, opening: &Opening) -> Result<Box<dyn EnclaveLink>, SeatError> {
        Ok(Box::new(launch(open, image, how.debug, opening)?))
    }

    fn qe_target(&self) -> Result<Vec<u8>, SeatError> {
        Err(no_quotes())
    }

    fn quote(&self, _: &[u8]) -> Result<Vec<u8>, SeatError> {
        Err(no_quotes())
    }

    fn platform_id(&self) -> PlatformId {
        // Only a quote shows it.
        PlatformId::UNKNOWN
    }
}
