//! An enclave that proved who it is, by either of the two ways there are.

use crate::identity::{Identity, PlatformId};
use crate::quote::CheckedQuote;
use crate::report::LocalReport;

/// A verified statement "this enclave bound these 64 bytes to itself".
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Attested {
    /// By a report, on this machine.
    Local(LocalReport),
    /// By a quote, from any machine.
    Quoted(CheckedQuote),
}

impl Attested {
    /// Who it is.
    pub fn identity(&self) -> &Identity {
        match self {
            Self::Local(r) => r.identity(),
            Self::Quoted(q) => q.identity(),
        }
    }

    /// What it bound to itself, 64 bytes.
    pub fn report_data(&self) -> &[u8; 64] {
        match self {
            Self::Local(r) => r.report_data(),
            Self::Quoted(q) => q.report_data(),
        }
    }

    /// On which machine it runs; a local report does not show that.
    pub fn platform(&self) -> Option<PlatformId> {
        match self {
            Self::Local(_) => None,
            Self::Quoted(q) => Some(q.platform()),
        }
    }
}
