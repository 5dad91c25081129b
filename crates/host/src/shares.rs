//! What holders of shares and their helpers do outside of any enclave: open age files, box shares, check attestations.
//!
//! A holder's machine sees that holder's share and no other. Boxing draws from the operating system's randomness.

use baton_attest::identity::{Digest32, Identity as EnclaveIdentity, Attributes, Measurement, PLATFORM_SGX, Signer};
use baton_attest::keyrequest::KeyRequest;
use baton_attest::policy::TcbPolicy;
use baton_attest::quote::{CheckedQuote, Collateral, CollateralError, Purpose, QuoteError, QuoteTime, check_quote};
use baton_attest::report::TargetInfo;
use baton_core::messages::report_data;
use baton_core::platform::{CpuSvn, Platform, PlatformError, ReportKey, SealKey};
use baton_core::shares::age::{AgeError, Identity, decrypt};
use baton_core::shares::{NotAShare, SHARE_PREFIX, Share};
use minicbor::{Decode, Encode};
use rand::Rng as _;

use crate::link::Launcher;
use crate::seat::SeatError;

/// Randomness of the operating system, in the shape that encryption asks for. It is no enclave: it has no keys and no
/// identity, and gives none.
pub struct HostRandom(EnclaveIdentity);

impl Default for HostRandom {
    fn default() -> Self {
        HostRandom(EnclaveIdentity {
            platform_tag: PLATFORM_SGX,
            measurement: Measurement([0; 32]),
            signer: Signer([0; 32]),
            product_id: 0,
            svn: 0,
            attributes: Attributes::default(),
            misc_select: 0,
            config_id: [0; 64],
            config_svn: 0,
        })
    }
}

impl Platform for HostRandom {
    fn identity(&self) -> &EnclaveIdentity {
        &self.0
    }

    fn cpu_svn(&self) -> CpuSvn {
        [0; 16]
    }

    fn seal_key(&self, _: &KeyRequest) -> Result<SealKey, PlatformError> {
        Err(PlatformError::InvalidKeyName)
    }

    fn report_key(&self, _: &[u8; 32]) -> Result<ReportKey, PlatformError> {
        Err(PlatformError::InvalidKeyName)
    }

    fn report(&self, _: &TargetInfo, _: &[u8; 64]) -> [u8; 432] {
        [0; 432]
    }

    fn random(&mut self, out: &mut [u8]) {
        rand::rng().fill_bytes(out);
    }
}

/// Why a share was not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShareFileError {
    /// The age file.
    #[error(transparent)]
    Age(#[from] AgeError),
    /// An age file without a key for it.
    #[error("this is an age file: expected an identity to open it with, or the line that `age --decrypt` gives")]
    NoIdentity,
    /// What is inside.
    #[error(transparent)]
    Share(#[from] NotAShare),
}

/// Reads a share: an age file with its identity, or the line that age gave.
pub fn read_share(file: &[u8], identity: Option<&Identity>) -> Result<Share, ShareFileError> {
    if file.starts_with(SHARE_PREFIX.as_bytes()) {
        return Ok(Share::parse(core::str::from_utf8(file).map_err(|_| NotAShare)?)?);
    }
    let plain = decrypt(identity.ok_or(ShareFileError::NoIdentity)?, file)?;
    Ok(Share::parse(core::str::from_utf8(&plain).map_err(|_| NotAShare)?)?)
}

/// A message of an enclave with its quote: what is published. CBOR map.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Attested {
    /// 1.
    #[n(0)]
    pub version: u8,
    /// The message.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub message: Vec<u8>,
    /// A quote over its digest.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub quote: Vec<u8>,
    /// Collateral of that day, JSON: anybody can check it years later.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub collateral: Vec<u8>,
}

/// Why an attestation does not hold.
#[derive(Debug, thiserror::Error)]
pub enum AttestedError {
    /// Not the file.
    #[error("not an attested message of version 1: truncated, or another file")]
    Malformed,
    /// Collateral.
    #[error(transparent)]
    Collateral(#[from] CollateralError),
    /// Quote.
    #[error(transparent)]
    Quote(#[from] QuoteError),
    /// About something else.
    #[error("the quote is over other bytes: expected {expected}; the file was put together from two")]
    OtherMessage {
        /// Digest of the message.
        expected: Digest32,
    },
    /// By another program.
    #[error("attested by the enclave {got}, expected {expected}")]
    OtherEnclave {
        /// What was asked for.
        expected: Measurement,
        /// Who it is.
        got: Measurement,
    },
}

impl Attested {
    /// A message with a machine's quote of the report over it.
    pub fn by(machine: &dyn Launcher, message: Vec<u8>, report: &[u8], collateral: &[u8]) -> Result<Self, SeatError> {
        Ok(Attested { version: 1, message, quote: machine.quote(report)?, collateral: collateral.to_vec() })
    }

    /// Reads one.
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, AttestedError> {
        let read = minicbor::decode(bytes).ok().filter(|a: &Attested| a.version == 1);
        read.ok_or(AttestedError::Malformed)
    }

    /// Checks the quote, that it is over `digest`, and if wanted whose it is. Old collateral counts: no secret crosses here.
    pub fn check(&self, digest: &Digest32, tcb: &TcbPolicy, enclave: Option<Measurement>) -> Result<CheckedQuote, AttestedError> {
        let collateral = Collateral::from_json(&self.collateral)?;
        let quote = check_quote(&self.quote, &collateral, tcb, QuoteTime(0), Purpose::Receipt)?;
        if quote.report_data() != &report_data(digest) {
            return Err(AttestedError::OtherMessage { expected: *digest });
        }
        let got = quote.identity().measurement;
        match enclave {
            Some(expected) if expected != got => Err(AttestedError::OtherEnclave { expected, got }),
            _ => Ok(quote),
        }
    }
}
