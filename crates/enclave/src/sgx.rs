//! The machine under a program in SGX: EREPORT, EGETKEY and RDRAND, and what was put into its measured pages.

use alloc::vec::Vec;
use core::hint::black_box;
use core::sync::atomic::{AtomicU8, Ordering};
use std::io;

use baton_attest::identity::Identity;
use baton_attest::keyrequest::{KeyRequest, key_name};
use baton_attest::report::{ReportBody, TargetInfo};
use baton_core::platform::{CpuSvn, Platform, PlatformError, ReportKey, SealKey};
use baton_core::policy::{Policy, PolicyError};
use sgx_isa::{ErrorCode, Keyrequest, Report, Targetinfo};

use crate::link::{NotStarted, Opening, Program};
use crate::slot::{self, MARK, SLOT_LEN, Slot};

/// The version that people see; another one is another measurement.
const VERSION: &str = match option_env!("BATON_ENCLAVE_VERSION") {
    Some(v) => v,
    None => env!("CARGO_PKG_VERSION"),
};

/// See [`slot`]; each program has one, in a static. Atomics, because the conversion changes these bytes after the compiler
/// has seen them: it must read them when the program runs.
#[repr(C, align(4096))]
pub struct Pages([AtomicU8; SLOT_LEN]);

impl Pages {
    /// As compiled, for a program: [`slot::LIFEBOAT`], [`slot::CEREMONY`], or nothing for the keeper.
    #[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)] // evaluated by the compiler
    pub const fn compiled(program: &str) -> Self {
        let mut pages = [const { AtomicU8::new(0) }; SLOT_LEN];
        let head = slot::head(&MARK, program, VERSION);
        let mut i = 0;
        while i < head.len() {
            pages[i] = AtomicU8::new(head[i]);
            i += 1;
        }
        Pages(pages)
    }
}

/// The policy that was put into the slot.
pub fn policy(pages: &Slot) -> Result<Policy, PolicyError> {
    if pages.policy.is_empty() {
        return Err(PolicyError::Malformed("the slot is empty; insert one with `baton sign --policy`"));
    }
    Policy::from_cbor(&pages.policy)
}

/// Runs a program on the host's frames: `start` gets the machine, the measured pages and the host's opening.
pub fn serve<T: Program>(pages: &Pages, start: impl FnOnce(Sgx, &Slot, &Opening) -> Result<T, NotStarted>) -> io::Result<()> {
    let bytes: Vec<u8> = black_box(pages).0.iter().map(|b| b.load(Ordering::Relaxed)).collect();
    let start = |opening: &Opening| match slot::read(&bytes) {
        Ok(pages) => start(Sgx::new(), &pages, opening),
        Err(e) => Err(NotStarted { message: alloc::string::ToString::to_string(&e), damaged: false }),
    };
    crate::serve::serve(start, &mut io::stdin().lock(), &mut io::stdout().lock())
}

/// The CPU, for the enclave that runs.
pub struct Sgx {
    identity: Identity,
    cpu_svn: CpuSvn,
}

impl Sgx {
    fn new() -> Self {
        let own = Report::for_self();
        match ReportBody::parse(own.mac_data()) {
            Ok(body) => Sgx { identity: body.identity, cpu_svn: body.cpu_svn },
            // A CPU whose reports say more than this program can read: it must not run as if it knew who it is.
            Err(_) => std::process::abort(),
        }
    }

    fn key(request: &KeyRequest) -> Result<[u8; 16], PlatformError> {
        let request = Keyrequest::try_copy_from(&request.to_bytes()).ok_or(PlatformError::BadRequest)?;
        request.egetkey().map_err(|e| match e {
            ErrorCode::InvalidAttribute => PlatformError::InvalidAttribute,
            ErrorCode::InvalidCpusvn => PlatformError::InvalidCpuSvn,
            ErrorCode::InvalidIsvsvn => PlatformError::InvalidIsvSvn,
            ErrorCode::InvalidKeyname => PlatformError::InvalidKeyName,
            _ => PlatformError::BadRequest,
        })
    }
}

impl Platform for Sgx {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn cpu_svn(&self) -> CpuSvn {
        self.cpu_svn
    }

    fn seal_key(&self, request: &KeyRequest) -> Result<SealKey, PlatformError> {
        Self::key(request).map(|k| SealKey::danger_from_bytes(&k))
    }

    fn report_key(&self, key_id: &[u8; 32]) -> Result<ReportKey, PlatformError> {
        let request = KeyRequest { key_name: key_name::REPORT, key_id: *key_id, ..KeyRequest::default() };
        Self::key(&request).map(|k| ReportKey::danger_from_bytes(&k))
    }

    fn report(&self, target: &TargetInfo, data: &[u8; 64]) -> [u8; 432] {
        let Some(target) = Targetinfo::try_copy_from(&target.to_bytes()) else {
            // 512 bytes are what a TARGETINFO has.
            std::process::abort()
        };
        let report = Report::for_target(&target, data);
        let mut out = [0; 432];
        out.copy_from_slice(AsRef::<[u8]>::as_ref(&report));
        out
    }

    fn random(&mut self, out: &mut [u8]) {
        // RDRAND. Without randomness no key may be made.
        if getrandom::fill(out).is_err() {
            std::process::abort();
        }
    }
}
