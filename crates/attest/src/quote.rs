//! Quotes: wip
use alloc::string::String;
use alloc::vec::Vec;

use crate::identity::{Identity, PlatformId};
use crate::policy::{TcbPolicy, TcbStatus};
use crate::report::ReportBody;

/// Intel's SGX root certificate, DER.
pub fn intel_root() -> &'static [u8] {
    include_bytes!("quote/IntelSGXRootCA.der")
}

/// Collateral time in unix seconds: the later of block time and the newest date signed in collateral; the caller's to decide.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct QuoteTime(pub u64);

/// What the quote is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// A secret crosses to this platform: collateral must be valid and young.
    Secret,
    /// A receipt: old collateral counts; a revoked key or TCB does not.
    Receipt,
}

/// Collateral. Untrusted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Collateral {}

/// Why a quote is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuoteError {
    /// Not verified.
    #[error("the quote does not verify: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
}

/// A quote that verified under a policy. Only [`check_quote`] makes one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckedQuote {
    body: ReportBody,
    platform: PlatformId,
    status: TcbStatus,
    advisories: Vec<String>,
    newest_signed_date: u64,
}

impl CheckedQuote {
    /// The enclave that was quoted.
    pub fn identity(&self) -> &Identity {
        &self.body.identity
    }
    /// The 64 bytes that it bound to itself.
    pub fn report_data(&self) -> &[u8; 64] {
        &self.body.report_data
    }
    /// The machine.
    pub fn platform(&self) -> PlatformId {
        self.platform
    }
    /// The state of its TCB.
    pub fn status(&self) -> TcbStatus {
        self.status
    }
    /// Advisories that apply to it.
    pub fn advisories(&self) -> &[String] {
        &self.advisories
    }
    /// The newest date that the verified signatures cover, unix seconds.
    pub fn newest_signed_date(&self) -> u64 {
        self.newest_signed_date
    }
}

/// Checks a quote.
pub fn check_quote(
    _quote: &[u8],
    _collateral: &Collateral,
    _policy: &TcbPolicy,
    _time: QuoteTime,
    _purpose: Purpose,
) -> Result<CheckedQuote, QuoteError> {
    Err(QuoteError::Refused {
        reason: String::from("not yet"),
    })
}
