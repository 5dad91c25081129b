//! The machine under the trusted program: who runs, its keys, its reports, its randomness.
//!
//! One implementation per place where Baton runs: a software one in process, and ENCLU's EGETKEY,
//! EREPORT and RDRAND in an enclave. Implementations must follow Intel SDM vol. 3D: EGETKEY adds
//! INIT and DEBUG to every attribute mask, and refuses a CPUSVN or ISVSVN above the running one.

use baton_attest::identity::Identity;
use baton_attest::keyrequest::KeyRequest;
use baton_attest::report::TargetInfo;
use rand_core::{TryCryptoRng, TryRng};

use crate::secret::Secret;

/// CPUSVN: the security version of microcode and firmware, 16 bytes (SDM vol. 3D, 38.16). Opaque;
/// only the CPU can order two of them.
pub type CpuSvn = [u8; 16];

/// A key from EGETKEY with KEYNAME = SEAL, 16 bytes.
pub type SealKey = Secret<16>;

/// A key from EGETKEY with KEYNAME = REPORT, 16 bytes.
pub type ReportKey = Secret<16>;

/// Why EGETKEY gave no key (SDM vol. 3D, EGETKEY, return codes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// `SGX_INVALID_ATTRIBUTE`.
    #[error("EGETKEY: this enclave's attributes do not allow the key")]
    InvalidAttribute,
    /// `SGX_INVALID_CPUSVN`.
    #[error("EGETKEY: the request names a CPUSVN above this machine's")]
    InvalidCpuSvn,
    /// `SGX_INVALID_ISVSVN`.
    #[error("EGETKEY: the request names an ISVSVN above this enclave's")]
    InvalidIsvSvn,
    /// `SGX_INVALID_KEYNAME`.
    #[error("EGETKEY: no such key")]
    InvalidKeyName,
    /// The request broke a rule of the instruction, which faults (#GP).
    #[error("EGETKEY: the key request is malformed")]
    BadRequest,
}

/// What the trusted program runs on.
pub trait Platform {
    /// The identity of the running enclave.
    fn identity(&self) -> &Identity;

    /// The CPUSVN of the running machine.
    fn cpu_svn(&self) -> CpuSvn;

    /// EGETKEY for a seal key.
    fn seal_key(&self, request: &KeyRequest) -> Result<SealKey, PlatformError>;

    /// EGETKEY for the key that reports addressed to this enclave are made with.
    fn report_key(&self, key_id: &[u8; 32]) -> Result<ReportKey, PlatformError>;

    /// EREPORT: a report of this enclave for `target` over `data`, 432 bytes.
    fn report(&self, target: &TargetInfo, data: &[u8; 64]) -> [u8; 432];

    /// Fills `out` with random bytes. A platform without randomness must not return.
    fn random(&mut self, out: &mut [u8]);
}

/// [`Platform::random`] in the shape that cryptographic libraries ask for.
pub(crate) struct PlatformRng<'a>(pub &'a mut dyn Platform);

impl TryRng for PlatformRng<'_> {
    type Error = core::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut b = [0; 4];
        self.0.random(&mut b);
        Ok(u32::from_le_bytes(b))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut b = [0; 8];
        self.0.random(&mut b);
        Ok(u64::from_le_bytes(b))
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Self::Error> {
        self.0.random(dst);
        Ok(())
    }
}

impl TryCryptoRng for PlatformRng<'_> {}
