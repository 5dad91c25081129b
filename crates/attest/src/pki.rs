//! A development PKI of Intel's shape: it makes collateral and quotes that verify through the same
//! [`check_quote`](crate::quote::check_quote) as genuine ones, under a policy that lists its root.
//!
//! For `sim`, for the simulator and for tests: it can issue everything that Intel never hands out, such as
//! revoked keys and TCBs. Its root is derived from a seed and is trusted by nobody who does not
//! list it; its certificates say "Baton Development".
//!
//! - [`DevPki`]: root CA, PCK platform CA, TCB signer; issues [`Collateral`](crate::quote::Collateral).
//! - [`DevPlatform`]: one machine with its PCK certificate and a quoting enclave.
//!
//! Everything is deterministic: same seed, same names, same bytes (ECDSA nonces as in RFC 6979).

mod certs;
mod issue;
mod platform;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use p256::ecdsa::SigningKey;
use x509_cert::Certificate;

use self::certs::{Subject, issue_certificate};
pub use self::issue::{CollateralSpec, Dates, QeLevel, TcbLevel, Verdict};
pub use self::platform::{DevPlatform, PlatformSpec, QeSpec};
use crate::identity::hash;

/// FMSPC of development machines, 6 bytes. No genuine one begins with 0xBA.
pub const DEV_FMSPC: [u8; 6] = [0xba, 0, 0, 0, 0, 1];

/// A certificate, CRL or quote could not be made. Not reachable by foreign input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("development PKI: cannot make {what}: {reason}")]
pub struct PkiError {
    /// What was being made.
    pub what: &'static str,
    /// What the library says.
    pub reason: String,
}

impl PkiError {
    fn of<E: core::fmt::Display>(what: &'static str) -> impl Fn(E) -> Self {
        move |e| Self {
            what,
            reason: format!("{e}"),
        }
    }
}

/// A key with the certificate over it.
struct Issuer {
    key: SigningKey,
    cert: Certificate,
}

/// The authorities.
pub struct DevPki {
    seed: [u8; 32],
    root: Issuer,
    pck_ca: Issuer,
    tcb_signer: Issuer,
}

impl DevPki {
    /// Makes the authorities of a seed.
    pub fn new(seed: [u8; 32]) -> Result<Self, PkiError> {
        let root_key = key(&seed, "root")?;
        let root_cert = issue_certificate(Subject::root(), &root_key, None)?;
        let root = Issuer {
            key: root_key,
            cert: root_cert,
        };
        let pck_ca = root.issue(&seed, "pck ca", Subject::pck_ca())?;
        let tcb_signer = root.issue(&seed, "tcb signer", Subject::tcb_signer())?;
        Ok(Self {
            seed,
            root,
            pck_ca,
            tcb_signer,
        })
    }

    /// The root certificate, DER: for a development policy's list of roots.
    pub fn root_der(&self) -> Result<Vec<u8>, PkiError> {
        certs::der_of("the root certificate", &self.root.cert)
    }

    /// A machine. The same name gives the same machine.
    pub fn platform(&self, name: &str, spec: &PlatformSpec) -> Result<DevPlatform, PkiError> {
        DevPlatform::new(self, name, spec)
    }

    /// A collateral set.
    pub fn collateral(&self, spec: &CollateralSpec) -> Result<crate::quote::Collateral, PkiError> {
        issue::collateral(self, spec)
    }
}

impl Issuer {
    fn issue(&self, seed: &[u8; 32], label: &str, subject: Subject) -> Result<Issuer, PkiError> {
        let key = key(seed, label)?;
        let cert = issue_certificate(subject, &key, Some(self))?;
        Ok(Issuer { key, cert })
    }
}

/// A P-256 key of a seed and a label.
fn key(seed: &[u8; 32], label: &str) -> Result<SigningKey, PkiError> {
    // One digest in 2^32 is no scalar of P-256: then the next one.
    (0u8..16)
        .find_map(|i| {
            let scalar = hash("baton development key v1", &[seed, label.as_bytes(), &[i]]);
            SigningKey::from_slice(&scalar.0).ok()
        })
        .ok_or(PkiError {
            what: "a key",
            reason: String::from("no scalar"),
        })
}
