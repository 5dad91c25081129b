//! The machine under the core, as the embedding enclave's callbacks show it.
//!
//! Who this enclave is and which CPUSVN it runs at are read from a report of the CPU over itself, so
//! that no callback can say one thing to the core and another to the enclaves that it attests to.

use baton_attest::identity::{Attributes, Identity, Measurement, PLATFORM_SGX, Signer};
use baton_attest::keyrequest::{KeyRequest, key_name};
use baton_attest::report::{REPORT_BODY_LEN, ReportBody, TargetInfo};
use baton_core::platform::{CpuSvn, Platform, PlatformError, ReportKey, SealKey};

use crate::codes::key_result;
use crate::raw;

/// The embedding enclave's CPU.
pub struct Callbacks {
    identity: Identity,
    cpu_svn: CpuSvn,
}

impl Callbacks {
    /// Asks the CPU who runs. `None` if there is no report, or if it says what this code does not know.
    pub fn new() -> Option<Self> {
        let report = raw::report(&TargetInfo::for_identity(&NOBODY).to_bytes(), &[0; 64])?;
        let body = ReportBody::parse(report.first_chunk::<REPORT_BODY_LEN>()?).ok()?;
        Some(Callbacks { identity: body.identity, cpu_svn: body.cpu_svn })
    }
}

fn key(request: &KeyRequest, out: &mut [u8; 16]) -> Result<(), PlatformError> {
    key_result(raw::get_key(&request.to_bytes(), out))
}

impl Platform for Callbacks {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn cpu_svn(&self) -> CpuSvn {
        self.cpu_svn
    }

    fn seal_key(&self, request: &KeyRequest) -> Result<SealKey, PlatformError> {
        let mut result = Ok(());
        let secret = SealKey::fill_with(|out| result = key(request, out));
        result.map(|()| secret)
    }

    fn report_key(&self, key_id: &[u8; 32]) -> Result<ReportKey, PlatformError> {
        let request = KeyRequest { key_name: key_name::REPORT, key_id: *key_id, ..KeyRequest::default() };
        let mut result = Ok(());
        let secret = ReportKey::fill_with(|out| result = key(&request, out));
        result.map(|()| secret)
    }

    fn report(&self, target: &TargetInfo, data: &[u8; 64]) -> [u8; 432] {
        // EREPORT on well-formed operands does not fail: without a report nothing can be attested.
        raw::report(&target.to_bytes(), data).unwrap_or_else(|| raw::abort())
    }

    fn random(&mut self, out: &mut [u8]) {
        // Without randomness no key may be made.
        if !raw::random(out) {
            raw::abort();
        }
    }
}

/// A TARGETINFO of zeros: nobody reads the MAC of a report over oneself.
const NOBODY: Identity = Identity {
    platform_tag: PLATFORM_SGX,
    measurement: Measurement([0; 32]),
    signer: Signer([0; 32]),
    product_id: 0,
    svn: 0,
    attributes: Attributes { flags: 0, xfrm: 0 },
    misc_select: 0,
    config_id: [0; 64],
    config_svn: 0,
};
