//! Collateral: TCB info (v3), QE identity (v2) and CRLs, with whatever verdict a test or a demo needs.
//!
//! As with Intel, a platform's status is not written on the platform: TCB info lists levels, and the
//! platform's own security version numbers decide which one it meets.

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use serde::Serialize;
use x509_cert::serial_number::SerialNumber;

use super::certs::{issue_crl, pem_chain, raw_signature, rfc3339};
use super::platform::QeSpec;
use super::{DEV_FMSPC, DevPki, DevPlatform, PkiError};
use crate::policy::TcbStatus;
use crate::quote::Collateral;

const DAY_SECS: u64 = 86_400;

/// From when until when a part of the collateral is valid, unix seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dates {
    /// `issueDate` or `thisUpdate`.
    pub issued: u64,
    /// `nextUpdate`.
    pub until: u64,
}

impl Dates {
    /// Issued at a time, valid for 30 days.
    pub fn from(issued: u64) -> Self {
        Self {
            issued,
            until: issued.saturating_add(DAY_SECS.saturating_mul(30)),
        }
    }
}

/// What Intel says about a TCB level.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// A status.
    Is(TcbStatus),
    /// Revoked: never accepted.
    Revoked,
}

impl Verdict {
    fn text(self) -> String {
        match self {
            Self::Is(status) => status.to_string(),
            Self::Revoked => String::from("Revoked"),
        }
    }
}

/// One level of the TCB info: what a platform must have at least, and what that is worth.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TcbLevel {
    /// The least of each of the 16 components.
    pub component_svn: u8,
    /// The least PCESVN.
    pub pce_svn: u16,
    /// The verdict.
    pub verdict: Verdict,
    /// Advisories that apply.
    pub advisories: Vec<String>,
}

/// One level of the QE identity.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QeLevel {
    /// The least ISVSVN of the quoting enclave.
    pub svn: u16,
    /// The verdict.
    pub verdict: Verdict,
}

/// What a collateral set shall say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CollateralSpec {
    /// Dates of the TCB info.
    pub tcb_info: Dates,
    /// Dates of the QE identity.
    pub qe_identity: Dates,
    /// Dates of the PCK CRL.
    pub pck_crl: Dates,
    /// Dates of the root CRL.
    pub root_crl: Dates,
    /// `tcbEvaluationDataNumber` of TCB info and QE identity.
    pub tcb_evaluation: u32,
    /// FMSPC that the TCB info is for, 6 bytes.
    pub fmspc: [u8; 6],
    /// Levels of the TCB info.
    pub levels: Vec<TcbLevel>,
    /// The quoting enclave that the QE identity describes.
    pub qe: QeSpec,
    /// Levels of the QE identity.
    pub qe_levels: Vec<QeLevel>,
    /// Serial numbers of revoked PCK certificates, [`DevPlatform::serial`].
    pub revoked_pcks: Vec<Vec<u8>>,
    /// Revoke the CA of all PCK certificates.
    pub revoke_pck_ca: bool,
    /// Revoke the signer of TCB info and QE identity.
    pub revoke_tcb_signer: bool,
}

impl CollateralSpec {
    /// Issued at a time (unix seconds), nothing revoked. Component SVN 8 and above is UpToDate, 7
    /// SWHardeningNeeded, 6 ConfigurationNeeded, 5 both, 4 OutOfDate, 3 OutOfDateConfigurationNeeded, less Revoked.
    pub fn at(issued: u64) -> Self {
        let level = |component_svn, verdict, advisories: &[&str]| TcbLevel {
            component_svn,
            pce_svn: 10,
            verdict,
            advisories: advisories.iter().map(|a| a.to_string()).collect(),
        };
        let (hardening, configuration) = ("INTEL-SA-00615", "INTEL-SA-00289");
        use TcbStatus as S;
        use Verdict::{Is, Revoked};
        Self {
            tcb_info: Dates::from(issued),
            qe_identity: Dates::from(issued),
            pck_crl: Dates::from(issued),
            root_crl: Dates {
                issued,
                until: issued.saturating_add(DAY_SECS.saturating_mul(365)),
            },
            tcb_evaluation: 17,
            fmspc: DEV_FMSPC,
            levels: vec![
                level(8, Is(S::UpToDate), &[]),
                level(7, Is(S::SwHardeningNeeded), &[hardening]),
                level(6, Is(S::ConfigurationNeeded), &[configuration]),
                level(
                    5,
                    Is(S::ConfigurationAndSwHardeningNeeded),
                    &[configuration, hardening],
                ),
                level(4, Is(S::OutOfDate), &["INTEL-SA-00828"]),
                level(
                    3,
                    Is(S::OutOfDateConfigurationNeeded),
                    &[configuration, "INTEL-SA-00828"],
                ),
                level(0, Revoked, &["INTEL-SA-00334"]),
            ],
            qe: QeSpec::default(),
            qe_levels: vec![
                QeLevel {
                    svn: 8,
                    verdict: Is(S::UpToDate),
                },
                QeLevel {
                    svn: 6,
                    verdict: Is(S::OutOfDate),
                },
                QeLevel {
                    svn: 5,
                    verdict: Revoked,
                },
            ],
            revoked_pcks: Vec::new(),
            revoke_pck_ca: false,
            revoke_tcb_signer: false,
        }
    }

    /// The same, with this machine's key revoked.
    pub fn revoking(mut self, platform: &DevPlatform) -> Self {
        self.revoked_pcks.push(platform.serial().to_vec());
        self
    }
}

pub(super) fn collateral(pki: &DevPki, spec: &CollateralSpec) -> Result<Collateral, PkiError> {
    let signed = |text: &str| raw_signature(&pki.tcb_signer.key, text.as_bytes()).to_vec();
    let tcb_info = tcb_info(spec)?;
    let qe_identity = qe_identity(spec)?;
    let signer_chain = pem_chain(&[&pki.tcb_signer.cert, &pki.root.cert])?;
    let serial = |c: &x509_cert::Certificate| c.tbs_certificate().serial_number().clone();
    let revoked_pcks = spec
        .revoked_pcks
        .iter()
        .map(|s| SerialNumber::new(s).map_err(PkiError::of("a serial number")))
        .collect::<Result<Vec<_>, _>>()?;
    let mut revoked_cas = Vec::new();
    if spec.revoke_pck_ca {
        revoked_cas.push(serial(&pki.pck_ca.cert));
    }
    if spec.revoke_tcb_signer {
        revoked_cas.push(serial(&pki.tcb_signer.cert));
    }
    let (pck, root) = (&spec.pck_crl, &spec.root_crl);
    Ok(Collateral {
        pck_crl_issuer_chain: pem_chain(&[&pki.pck_ca.cert, &pki.root.cert])?,
        root_ca_crl: issue_crl(&pki.root, root.issued, root.until, &revoked_cas)?,
        pck_crl: issue_crl(&pki.pck_ca, pck.issued, pck.until, &revoked_pcks)?,
        tcb_info_issuer_chain: signer_chain.clone(),
        tcb_info_signature: signed(&tcb_info),
        tcb_info,
        qe_identity_issuer_chain: signer_chain,
        qe_identity_signature: signed(&qe_identity),
        qe_identity,
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TcbInfoJson {
    id: &'static str,
    version: u8,
    issue_date: String,
    next_update: String,
    fmspc: String,
    pce_id: &'static str,
    tcb_type: u32,
    tcb_evaluation_data_number: u32,
    tcb_levels: Vec<LevelJson<TcbJson>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LevelJson<T> {
    tcb: T,
    tcb_date: &'static str,
    tcb_status: String,
    #[serde(rename = "advisoryIDs", skip_serializing_if = "Vec::is_empty")]
    advisory_ids: Vec<String>,
}

#[derive(Serialize)]
struct TcbJson {
    sgxtcbcomponents: Vec<ComponentJson>,
    pcesvn: u16,
}

#[derive(Serialize)]
struct ComponentJson {
    svn: u8,
}

#[derive(Serialize)]
struct QeTcbJson {
    isvsvn: u16,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct QeIdentityJson {
    id: &'static str,
    version: u8,
    issue_date: String,
    next_update: String,
    tcb_evaluation_data_number: u32,
    miscselect: &'static str,
    miscselect_mask: &'static str,
    attributes: &'static str,
    attributes_mask: &'static str,
    mrsigner: String,
    isvprodid: u16,
    tcb_levels: Vec<LevelJson<QeTcbJson>>,
}

/// All levels have one date: nothing here judges by it.
const TCB_DATE: &str = "2024-03-13T00:00:00Z";

fn tcb_info(spec: &CollateralSpec) -> Result<String, PkiError> {
    let level = |l: &TcbLevel| LevelJson {
        tcb: TcbJson {
            sgxtcbcomponents: (0..16)
                .map(|_| ComponentJson {
                    svn: l.component_svn,
                })
                .collect(),
            pcesvn: l.pce_svn,
        },
        tcb_date: TCB_DATE,
        tcb_status: l.verdict.text(),
        advisory_ids: l.advisories.clone(),
    };
    json(
        "TCB info",
        &TcbInfoJson {
            id: "SGX",
            version: 3,
            issue_date: rfc3339(spec.tcb_info.issued)?,
            next_update: rfc3339(spec.tcb_info.until)?,
            fmspc: hex::encode_upper(spec.fmspc),
            pce_id: "0000",
            tcb_type: 0,
            tcb_evaluation_data_number: spec.tcb_evaluation,
            tcb_levels: spec.levels.iter().map(level).collect(),
        },
    )
}

fn qe_identity(spec: &CollateralSpec) -> Result<String, PkiError> {
    let level = |l: &QeLevel| LevelJson {
        tcb: QeTcbJson { isvsvn: l.svn },
        tcb_date: TCB_DATE,
        tcb_status: l.verdict.text(),
        advisory_ids: Vec::new(),
    };
    json(
        "QE identity",
        &QeIdentityJson {
            id: "QE",
            version: 2,
            issue_date: rfc3339(spec.qe_identity.issued)?,
            next_update: rfc3339(spec.qe_identity.until)?,
            tcb_evaluation_data_number: spec.tcb_evaluation,
            miscselect: "00000000",
            miscselect_mask: "FFFFFFFF",
            attributes: "11000000000000000000000000000000",
            attributes_mask: "FBFFFFFFFFFFFFFF0000000000000000",
            mrsigner: hex::encode_upper(spec.qe.signer.0),
            isvprodid: spec.qe.product_id,
            tcb_levels: spec.qe_levels.iter().map(level).collect(),
        },
    )
}

fn json<T: Serialize>(what: &'static str, value: &T) -> Result<String, PkiError> {
    serde_json::to_string(value).map_err(PkiError::of(what))
}
