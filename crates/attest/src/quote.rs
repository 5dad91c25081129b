//! DCAP quotes: an enclave proves to another machine who it is.
//!
//! The caller provides the quote and the collateral as a host brought them, the measured policy, the
//! collateral time and what the quote is for. [`check_quote`] verifies both through dcap-qvl, against the
//! policy's own roots, and judges the platform; a [`CheckedQuote`] cannot be made otherwise. Which *build*
//! may hold a seed is judged by [`crate::policy::BuildRules`].
//!
//! Time: a collateral set is verified at the later of the given time and the newest date in it, since a
//! date that Intel signed has passed; the dates count only if everything verified. For a receipt the
//! newest date alone is taken, so old collateral counts. Then a revocation is seen only if the shown
//! collateral has it: `min_tcb_evaluation` of the policy is the floor under how old it may be.
//!
//! Signatures: dcap-qvl verifies quote and collateral in one call only, so the six signatures of a
//! collateral set are remembered instead (`memo`), and a hundred quotes over one set pay for them once.
//!
//! Only SGX quotes of version 3 with their PCK chain inside are taken, which is what DCAP's quoting
//! enclave makes.

mod collateral;
mod memo;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use dcap_qvl::intel::{extract_cert_chain, parse_pck_extension_with};
use dcap_qvl::verify::QuoteVerifier;
use dcap_qvl::{INTEL_QE_VENDOR_ID, Policy, QuoteClaims, TcbStatus as LibraryStatus};

use self::collateral::{Claimed, Window};
pub use self::collateral::{Collateral, CollateralError, MAX_COLLATERAL_LEN};
use self::memo::MemoConfig;
use crate::bytes::Reader;
use crate::identity::{Identity, PlatformId, hash};
use crate::policy::{TcbPolicy, TcbStatus};
use crate::report::{REPORT_BODY_LEN, ReportBody};

/// Most bytes of a quote that are looked at: 16 KiB, three times what DCAP makes.
pub const MAX_QUOTE_LEN: usize = 16 * 1024;
/// Header, report body and the length of what follows, in bytes.
const FIXED_LEN: usize = 48 + REPORT_BODY_LEN + 4;
/// The certification data type "PCK certificate chain".
const PCK_CHAIN: u16 = 5;

/// Intel's SGX root certificate ("Intel SGX Root CA", valid until 2049), DER.
pub fn intel_root() -> &'static [u8] {
    include_bytes!("quote/IntelSGXRootCA.der")
}

/// Collateral time in unix seconds: the later of block time and the newest date signed in collateral
/// so far. The caller decides it, and never moves it back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct QuoteTime(pub u64);

/// What a quote is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// A secret crosses to this platform: collateral must be valid now, and as young as the policy says.
    Secret,
    /// A receipt, which carries no secret: old collateral counts, a revoked key or TCB does not.
    Receipt,
}

/// Why a quote is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuoteError {
    /// Larger than anything genuine.
    #[error("{what} of {got} bytes, expected at most {limit}")]
    TooLarge {
        /// Quote or collateral.
        what: &'static str,
        /// Most bytes that are taken.
        limit: usize,
        /// Bytes that were given.
        got: usize,
    },
    /// Truncated, or followed by something.
    #[error(
        "the quote has {got} bytes, expected {expected}: it is cut off, or something follows it"
    )]
    Length {
        /// Bytes that the quote says it has.
        expected: usize,
        /// Bytes that were given.
        got: usize,
    },
    /// Not an SGX quote of version 3.
    #[error(
        "{field} of the quote is {got}, expected {expected}: only SGX quotes of version 3 with an ECDSA P-256 key are supported, no TDX quotes (version 4 and 5)"
    )]
    Kind {
        /// Name of the header field.
        field: &'static str,
        /// The one supported value.
        expected: u32,
        /// Value in the quote.
        got: u32,
    },
    /// Made by a quoting enclave that is not Intel's.
    #[error("the quote names another vendor's quoting enclave, expected Intel's (939a7233…)")]
    Vendor,
    /// Without its PCK chain.
    #[error(
        "certification data type {got}, expected {PCK_CHAIN} (PCK certificate chain): set up the machine's provisioning so that quotes carry their chain"
    )]
    Certification {
        /// Type in the quote.
        got: u16,
    },
    /// A part cannot be parsed.
    #[error("{what} cannot be parsed")]
    Malformed {
        /// Which part.
        what: &'static str,
    },
    /// A debugger may read the enclave.
    #[error(
        "the quoted enclave runs with DEBUG: its memory is open to the host; start the production build"
    )]
    Debug,
    /// The chain ends in a root that the policy does not list.
    #[error(
        "the quote's chain ends in a root that the policy does not list ({listed} listed): a quote of a development machine under a production policy, or the reverse"
    )]
    Root {
        /// Roots in the policy.
        listed: usize,
    },
    /// A part of the collateral is no longer valid.
    #[error(
        "{what} was valid until {until}, the collateral time is {time} (unix seconds): fetch new collateral"
    )]
    Expired {
        /// Which part.
        what: &'static str,
        /// Its end, unix seconds.
        until: u64,
        /// The time of the verification, unix seconds.
        time: u64,
    },
    /// Collateral for machines of another kind.
    #[error("collateral for FMSPC {got}, expected {expected}, that of the quote: fetch collateral for this platform", got = hex::encode(got), expected = hex::encode(expected))]
    OtherPlatform {
        /// FMSPC of the quote's PCK certificate.
        expected: [u8; 6],
        /// FMSPC of the TCB info.
        got: [u8; 6],
    },
    /// A certificate of the chain is on a revocation list.
    #[error(
        "a certificate behind the quote is revoked: this platform's key is not to be trusted any more"
    )]
    RevokedKey,
    /// The platform's or the quoting enclave's TCB is revoked.
    #[error(
        "the TCB of the platform or of its quoting enclave is revoked: update its firmware and quoting enclave"
    )]
    RevokedTcb,
    /// The quoting enclave is not the one that Intel's QE identity describes.
    #[error("the quoting enclave is not the one of the QE identity: {reason}")]
    QeIdentity {
        /// What differs.
        reason: String,
    },
    /// A signature, a chain or another rule of DCAP does not hold.
    #[error("quote and collateral do not verify: {reason}")]
    Unverified {
        /// What dcap-qvl says.
        reason: String,
    },
    /// The PCK certificate names no platform.
    #[error("the PCK certificate's PPID has {got} bytes, expected 16")]
    Ppid {
        /// Bytes of it.
        got: usize,
    },
    /// The policy does not accept the TCB status.
    #[error("TCB status {got} is not one that the policy accepts")]
    Status {
        /// The status.
        got: String,
    },
    /// The policy does not accept an advisory.
    #[error("advisory {id} applies to the platform, and the policy does not accept it")]
    Advisory {
        /// `INTEL-SA-…`.
        id: String,
    },
    /// Collateral from before the policy's floor.
    #[error("TCB evaluation number {got}, expected at least {least}: fetch new collateral")]
    Evaluation {
        /// The policy's least.
        least: u32,
        /// The lower one of TCB info and QE identity.
        got: u32,
    },
    /// Collateral that is valid, but older than the policy allows for a secret.
    #[error("{what} is {age_secs} s old, expected at most {max_secs} s: fetch new collateral")]
    TooOld {
        /// Which part.
        what: &'static str,
        /// Its age in seconds of collateral time.
        age_secs: u64,
        /// The policy's most.
        max_secs: u64,
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
    tcb_evaluation: u32,
    fmspc: [u8; 6],
    pck_cpu_svn: [u8; 16],
    pce_svn: u16,
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

    /// Advisories that apply to it, of the platform and of its quoting enclave.
    pub fn advisories(&self) -> &[String] {
        &self.advisories
    }

    /// The newest date in the collateral, unix seconds. Every date that it is the newest of is covered
    /// by a signature that verified, so it may move collateral time forward.
    pub fn newest_signed_date(&self) -> QuoteTime {
        QuoteTime(self.newest_signed_date)
    }

    /// The lower `tcbEvaluationDataNumber` of TCB info and QE identity.
    pub fn tcb_evaluation(&self) -> u32 {
        self.tcb_evaluation
    }

    /// FMSPC: the kind of the machine, 6 bytes.
    pub fn fmspc(&self) -> [u8; 6] {
        self.fmspc
    }

    /// CPUSVN in the report, 16 bytes: as the machine ran when it was quoted.
    pub fn cpu_svn(&self) -> &[u8; 16] {
        &self.body.cpu_svn
    }

    /// CPUSVN in the PCK certificate, 16 bytes: what the TCB status was judged by.
    pub fn pck_cpu_svn(&self) -> &[u8; 16] {
        &self.pck_cpu_svn
    }

    /// PCESVN in the PCK certificate.
    pub fn pce_svn(&self) -> u16 {
        self.pce_svn
    }
}

/// Checks a quote with its collateral against a policy. `time` matters for [`Purpose::Secret`] only.
pub fn check_quote(
    quote: &[u8],
    collateral: &Collateral,
    policy: &TcbPolicy,
    time: QuoteTime,
    purpose: Purpose,
) -> Result<CheckedQuote, QuoteError> {
    let body = read_quote(quote)?;
    let got = collateral.len();
    if got > MAX_COLLATERAL_LEN {
        return Err(QuoteError::TooLarge {
            what: "collateral",
            limit: MAX_COLLATERAL_LEN,
            got,
        });
    }
    let chain = read_chain(quote)?;
    let root = find_root(&chain, policy)?;
    let claimed = Claimed::read(collateral)?;
    let at = match purpose {
        Purpose::Secret => time.0.max(claimed.newest()),
        Purpose::Receipt => claimed.newest(),
    };
    if let Some(w) = claimed.windows().iter().find(|w| at > w.until) {
        return Err(QuoteError::Expired {
            what: w.what,
            until: w.until,
            time: at,
        });
    }
    let claims = QuoteVerifier::<MemoConfig>::new_with_config(root.to_vec())
        .verify_with_policy(quote, collateral.to_library(), at, &JudgedHere)
        .map_err(|e| explain(&format!("{e:#}"), &chain, &claimed))?;
    // From here on quote, collateral and all its dates are verified.
    let checked = accept(body, claims, policy)?;
    if purpose == Purpose::Secret {
        claimed
            .ageing()
            .iter()
            .try_for_each(|w| young(w, at, policy))?;
    }
    Ok(checked)
}

/// The FMSPC of a quote that is not yet checked, and which CA issued its certificate: what a host asks
/// Intel's service for. `true` is the platform CA, `false` the processor CA.
pub fn collateral_wanted(quote: &[u8]) -> Result<([u8; 6], bool), QuoteError> {
    read_quote(quote)?;
    let chain = read_chain(quote)?;
    let leaf = chain.first().map(Vec::as_slice).unwrap_or_default();
    let malformed = |_| QuoteError::Malformed {
        what: "the PCK certificate",
    };
    let extension = parse_pck_extension_with::<MemoConfig>(leaf).map_err(malformed)?;
    let ca = dcap_qvl::intel::pck_ca_with::<MemoConfig>(leaf).map_err(malformed)?;
    Ok((
        extension.fmspc,
        matches!(ca, dcap_qvl::config::PckCa::Platform),
    ))
}

/// The id of a machine by its PPID, which every PCK certificate of that machine carries.
pub(crate) fn platform_id(ppid: &[u8]) -> PlatformId {
    PlatformId(hash("baton platform v1", &[ppid]).0)
}

/// The library verifies, this module judges: no second policy language.
struct JudgedHere;

impl Policy for JudgedHere {
    fn validate(&self, _: &QuoteClaims) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Reads what comes before the signatures, with every refusal that needs no cryptography.
fn read_quote(quote: &[u8]) -> Result<ReportBody, QuoteError> {
    if quote.len() > MAX_QUOTE_LEN {
        return Err(QuoteError::TooLarge {
            what: "quote",
            limit: MAX_QUOTE_LEN,
            got: quote.len(),
        });
    }
    let mut r = Reader::new(quote);
    let (version, key_type, tee) = (r.u16(), r.u16(), r.u32());
    let kind = |field, expected: u32, got: u32| match got == expected {
        true => Ok(()),
        false => Err(QuoteError::Kind {
            field,
            expected,
            got,
        }),
    };
    // An empty quote reads as version 0, which says less than its length does.
    if quote.len() >= 8 {
        kind("version", 3, version.into())?;
        kind("attestation key type", 2, key_type.into())?;
        kind("TEE type", 0, tee)?;
    }
    r.array::<4>();
    let vendor: [u8; 16] = r.array();
    r.array::<20>();
    let body: [u8; REPORT_BODY_LEN] = r.array();
    let rest = usize::try_from(r.u32()).unwrap_or(usize::MAX);
    let expected = FIXED_LEN.saturating_add(rest);
    if quote.len() != expected {
        return Err(QuoteError::Length {
            expected,
            got: quote.len(),
        });
    }
    if vendor != INTEL_QE_VENDOR_ID {
        return Err(QuoteError::Vendor);
    }
    let body = ReportBody::parse(&body).map_err(|_| QuoteError::Malformed {
        what: "the report body of the quote (a reserved byte is not zero)",
    })?;
    match body.identity.is_debug() {
        true => Err(QuoteError::Debug),
        false => Ok(body),
    }
}

/// The PCK chain inside the quote, leaf first, DER. Unverified.
fn read_chain(quote: &[u8]) -> Result<Vec<Vec<u8>>, QuoteError> {
    let malformed = || QuoteError::Malformed {
        what: "the signature part of the quote",
    };
    let parsed = dcap_qvl::verify::Quote::parse(quote).map_err(|_| malformed())?;
    let dcap_qvl::verify::AuthData::V3(auth) = &parsed.auth_data else {
        return Err(malformed());
    };
    let got = auth.certification_data.cert_type;
    if got != PCK_CHAIN {
        return Err(QuoteError::Certification { got });
    }
    extract_cert_chain(&parsed).map_err(|_| QuoteError::Malformed {
        what: "the PCK certificate chain of the quote",
    })
}

/// The policy's root that the chain says it ends in. The verification then starts from the policy's copy.
fn find_root<'p>(chain: &[Vec<u8>], policy: &'p TcbPolicy) -> Result<&'p [u8], QuoteError> {
    policy
        .roots
        .iter()
        .find(|root| chain.last() == Some(*root))
        .map(Vec::as_slice)
        .ok_or(QuoteError::Root {
            listed: policy.roots.len(),
        })
}

fn accept(
    body: ReportBody,
    claims: QuoteClaims,
    policy: &TcbPolicy,
) -> Result<CheckedQuote, QuoteError> {
    let ppid = &claims.platform.pck.ppid;
    if ppid.len() != 16 {
        return Err(QuoteError::Ppid { got: ppid.len() });
    }
    let platform = platform_id(ppid);
    let status = accept_status(claims.tcb.status, policy)?;
    let refused = |id: &&String| {
        policy.denied_advisories.contains(id)
            || matches!(&policy.allowed_advisories, Some(allowed) if !allowed.contains(id))
    };
    if let Some(id) = claims.tcb.advisory_ids.iter().find(refused) {
        return Err(QuoteError::Advisory { id: id.clone() });
    }
    let evaluation = claims.tcb.eval_data_number;
    if evaluation < policy.min_tcb_evaluation {
        return Err(QuoteError::Evaluation {
            least: policy.min_tcb_evaluation,
            got: evaluation,
        });
    }
    Ok(CheckedQuote {
        body,
        platform,
        status,
        advisories: claims.tcb.advisory_ids,
        newest_signed_date: claims.latest_issue_date,
        tcb_evaluation: evaluation,
        fmspc: claims.platform.pck.fmspc,
        pck_cpu_svn: claims.platform.pck.cpu_svn,
        pce_svn: claims.platform.pck.pce_svn,
    })
}

fn accept_status(got: LibraryStatus, policy: &TcbPolicy) -> Result<TcbStatus, QuoteError> {
    let ours = match got {
        LibraryStatus::UpToDate => TcbStatus::UpToDate,
        LibraryStatus::SWHardeningNeeded => TcbStatus::SwHardeningNeeded,
        LibraryStatus::ConfigurationNeeded => TcbStatus::ConfigurationNeeded,
        LibraryStatus::ConfigurationAndSWHardeningNeeded => {
            TcbStatus::ConfigurationAndSwHardeningNeeded
        }
        LibraryStatus::OutOfDate => TcbStatus::OutOfDate,
        LibraryStatus::OutOfDateConfigurationNeeded => TcbStatus::OutOfDateConfigurationNeeded,
        LibraryStatus::Revoked => return Err(QuoteError::RevokedTcb),
        LibraryStatus::TDRelaunchAdvised | LibraryStatus::TDRelaunchAdvisedConfigurationNeeded => {
            return Err(QuoteError::Status {
                got: format!("{got}"),
            });
        }
    };
    match policy.statuses.contains(&ours) {
        true => Ok(ours),
        false => Err(QuoteError::Status {
            got: format!("{got}"),
        }),
    }
}

fn young(w: &Window, at: u64, policy: &TcbPolicy) -> Result<(), QuoteError> {
    let age_secs = at.saturating_sub(w.issued);
    let max_secs = policy.max_collateral_age_secs;
    match age_secs > max_secs {
        true => Err(QuoteError::TooOld {
            what: w.what,
            age_secs,
            max_secs,
        }),
        false => Ok(()),
    }
}

/// Names a refusal of the library. The library's errors are text; its version is pinned, and the tests
/// hold each of these cases.
fn explain(reason: &str, chain: &[Vec<u8>], claimed: &Claimed) -> QuoteError {
    if reason.contains("CertRevoked") {
        return QuoteError::RevokedKey;
    }
    if reason.contains("TCB status is invalid: Revoked") {
        return QuoteError::RevokedTcb;
    }
    if reason.contains("Fmspc mismatch") {
        let leaf = chain.first().map(Vec::as_slice).unwrap_or_default();
        if let Ok(extension) = parse_pck_extension_with::<MemoConfig>(leaf) {
            return QuoteError::OtherPlatform {
                expected: extension.fmspc,
                got: claimed.fmspc,
            };
        }
    }
    let reason = String::from(reason);
    let qe = [
        "QE MRSIGNER",
        "QE ISVPRODID",
        "QE MISCSELECT",
        "QE ATTRIBUTES",
        "QE ISVSVN",
        "QE report validation",
    ];
    match qe.iter().any(|start| reason.starts_with(start)) {
        true => QuoteError::QeIdentity { reason },
        false => QuoteError::Unverified { reason },
    }
}
