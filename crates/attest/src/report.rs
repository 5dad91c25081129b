//! The SGX REPORT: what EREPORT writes about an enclave, and its check by another enclave of the same machine.
//!
//! A report is authentic if its MAC verifies under the report key that EGETKEY gives the *target*
//! enclave. Whether the identity in it is acceptable is another question: see
//! [`crate::policy::BuildRules::check`], which also refuses DEBUG enclaves.
//!
//! Layouts: Intel SDM vol. 3D, "REPORT (Enclave Report)", "REPORTDATA", "TARGETINFO"; `sgx_report.h`.

use aes::Aes128;
use cmac::{Cmac, KeyInit, Mac};
use subtle::ConstantTimeEq;

use crate::bytes::{Reader, Writer};
use crate::identity::{Attributes, Identity, Measurement, PLATFORM_SGX, Signer};

/// Length of a [`ReportBody`], in bytes: the part that the MAC covers.
pub const REPORT_BODY_LEN: usize = 384;
/// Length of a [`Report`], in bytes.
pub const REPORT_LEN: usize = 432;
/// Length of a [`TargetInfo`], in bytes.
pub const TARGET_INFO_LEN: usize = 512;

/// Why bytes are not an authentic report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The structure has another length.
    #[error("expected {expected} bytes, got {got}")]
    Length {
        /// Bytes that the structure has.
        expected: usize,
        /// Bytes that were given.
        got: usize,
    },
    /// A field that the architecture reserves is in use: this code does not know what it means.
    #[error("a reserved field is not zero, expected all of them to be zero")]
    Reserved,
    /// The MAC is not the one of this report key: made for another target, on another machine, or forged.
    #[error(
        "the report's MAC does not verify: it was made for another enclave, on another machine, or it is forged; \
         ask the sender for a report to this enclave's target info"
    )]
    Mac,
}

/// The body of a REPORT or of a quote, 384 bytes: everything that identifies an enclave, and 64 bytes of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReportBody {
    /// CPUSVN of the processor, 16 bytes.
    pub cpu_svn: [u8; 16],
    /// ISVEXTPRODID, 16 bytes.
    pub ext_product_id: [u8; 16],
    /// ISVFAMILYID, 16 bytes.
    pub family_id: [u8; 16],
    /// The identity of the enclave.
    pub identity: Identity,
    /// REPORTDATA, 64 bytes that the enclave chose.
    pub report_data: [u8; 64],
}

impl ReportBody {
    /// Reads a body. Reserved bytes must be zero, CET_ATTRIBUTES among them: our builds do not use CET.
    pub fn parse(bytes: &[u8; REPORT_BODY_LEN]) -> Result<Self, ReportError> {
        let mut r = Reader::new(bytes);
        let cpu_svn = r.array();
        let misc_select = r.u32();
        r.reserved::<12>();
        let ext_product_id = r.array();
        let attributes = Attributes {
            flags: r.u64(),
            xfrm: r.u64(),
        };
        let measurement = Measurement(r.array());
        r.reserved::<32>();
        let signer = Signer(r.array());
        r.reserved::<32>();
        let config_id = r.array();
        let (product_id, svn, config_svn) = (r.u16(), r.u16(), r.u16());
        r.reserved::<42>();
        let family_id = r.array();
        let report_data = r.array();
        if !r.reserved_zero {
            return Err(ReportError::Reserved);
        }
        Ok(Self {
            cpu_svn,
            ext_product_id,
            family_id,
            identity: Identity {
                platform_tag: PLATFORM_SGX,
                measurement,
                signer,
                product_id,
                svn,
                attributes,
                misc_select,
                config_id,
                config_svn,
            },
            report_data,
        })
    }

    /// The 384 bytes.
    pub fn to_bytes(&self) -> [u8; REPORT_BODY_LEN] {
        let id = &self.identity;
        Writer::new()
            .put(&self.cpu_svn)
            .put(&id.misc_select.to_le_bytes())
            .reserved::<12>()
            .put(&self.ext_product_id)
            .put(&id.attributes.flags.to_le_bytes())
            .put(&id.attributes.xfrm.to_le_bytes())
            .put(&id.measurement.0)
            .reserved::<32>()
            .put(&id.signer.0)
            .reserved::<32>()
            .put(&id.config_id)
            .put(&id.product_id.to_le_bytes())
            .put(&id.svn.to_le_bytes())
            .put(&id.config_svn.to_le_bytes())
            .reserved::<42>()
            .put(&self.family_id)
            .put(&self.report_data)
            .finish()
    }
}

/// A REPORT as EREPORT writes it, 432 bytes. **Unverified**: [`check_report`] makes a [`LocalReport`] of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// The part that the MAC covers.
    pub body: ReportBody,
    /// KEYID, 32 bytes: which report key of the target the MAC was made with.
    pub key_id: [u8; 32],
    /// The MAC over the body, 16 bytes.
    pub mac: [u8; 16],
}

impl Report {
    /// Reads a report, without any check of its MAC.
    pub fn parse(bytes: &[u8; REPORT_LEN]) -> Result<Self, ReportError> {
        let mut r = Reader::new(bytes);
        Ok(Self {
            body: ReportBody::parse(&r.array())?,
            key_id: r.array(),
            mac: r.array(),
        })
    }

    /// The 432 bytes.
    pub fn to_bytes(&self) -> [u8; REPORT_LEN] {
        Writer::new()
            .put(&self.body.to_bytes())
            .put(&self.key_id)
            .put(&self.mac)
            .finish()
    }

    /// The KEYID of a report that is not yet checked: the target asks EGETKEY for its report key with it.
    pub fn key_id_of(bytes: &[u8]) -> Result<[u8; 32], ReportError> {
        Ok(Self::parse(exact(bytes)?)?.key_id)
    }
}

/// TARGETINFO: for whom EREPORT makes a report, 512 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TargetInfo {
    /// MRENCLAVE of the target.
    pub measurement: Measurement,
    /// ATTRIBUTES of the target.
    pub attributes: Attributes,
    /// CONFIGSVN of the target.
    pub config_svn: u16,
    /// MISCSELECT of the target.
    pub misc_select: u32,
    /// CONFIGID of the target, 64 bytes.
    pub config_id: [u8; 64],
}

impl TargetInfo {
    /// What addresses a report to this enclave.
    pub fn for_identity(id: &Identity) -> Self {
        Self {
            measurement: id.measurement,
            attributes: id.attributes,
            config_svn: id.config_svn,
            misc_select: id.misc_select,
            config_id: id.config_id,
        }
    }

    /// Reads a target info. EREPORT faults on reserved bytes that are not zero, and so does this.
    pub fn parse(bytes: &[u8; TARGET_INFO_LEN]) -> Result<Self, ReportError> {
        let mut r = Reader::new(bytes);
        let measurement = Measurement(r.array());
        let attributes = Attributes {
            flags: r.u64(),
            xfrm: r.u64(),
        };
        r.reserved::<2>();
        let (config_svn, misc_select) = (r.u16(), r.u32());
        r.reserved::<8>();
        let config_id = r.array();
        r.reserved::<384>();
        if !r.reserved_zero {
            return Err(ReportError::Reserved);
        }
        Ok(Self {
            measurement,
            attributes,
            config_svn,
            misc_select,
            config_id,
        })
    }

    /// The 512 bytes.
    pub fn to_bytes(&self) -> [u8; TARGET_INFO_LEN] {
        Writer::new()
            .put(&self.measurement.0)
            .put(&self.attributes.flags.to_le_bytes())
            .put(&self.attributes.xfrm.to_le_bytes())
            .reserved::<2>()
            .put(&self.config_svn.to_le_bytes())
            .put(&self.misc_select.to_le_bytes())
            .reserved::<8>()
            .put(&self.config_id)
            .finish()
    }
}

/// The MAC of a report body: AES-128-CMAC (Intel SDM vol. 3D, EREPORT; NIST SP 800-38B) under the target's report key, 16 bytes.
pub fn report_mac(body: &[u8; REPORT_BODY_LEN], report_key: &[u8; 16]) -> [u8; 16] {
    let mut mac = Cmac::<Aes128>::new(report_key.into());
    mac.update(body);
    mac.finalize().into_bytes().into()
}

/// A report that was made on this machine, for the enclave that checked it. Only [`check_report`] makes one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LocalReport {
    body: ReportBody,
}

impl LocalReport {
    /// The enclave that made the report.
    pub fn identity(&self) -> &Identity {
        &self.body.identity
    }

    /// The 64 bytes that it bound to itself.
    pub fn report_data(&self) -> &[u8; 64] {
        &self.body.report_data
    }

    /// CPUSVN of this machine as the other enclave saw it, 16 bytes.
    pub fn cpu_svn(&self) -> &[u8; 16] {
        &self.body.cpu_svn
    }
}

/// Checks a 432-byte report against the report key of the enclave that checks: the key that EGETKEY
/// derives for the report's KEYID ([`Report::key_id_of`]).
pub fn check_report(report: &[u8], report_key: &[u8; 16]) -> Result<LocalReport, ReportError> {
    let bytes: &[u8; REPORT_LEN] = exact(report)?;
    // The MAC covers the bytes as they came, so nothing is interpreted before it verified.
    let mut r = Reader::new(bytes);
    let body = r.array();
    r.array::<32>();
    let mac: [u8; 16] = r.array();
    if !bool::from(report_mac(&body, report_key).ct_eq(&mac)) {
        return Err(ReportError::Mac);
    }
    Ok(LocalReport {
        body: ReportBody::parse(&body)?,
    })
}

fn exact<const N: usize>(bytes: &[u8]) -> Result<&[u8; N], ReportError> {
    bytes.try_into().map_err(|_| ReportError::Length {
        expected: N,
        got: bytes.len(),
    })
}
