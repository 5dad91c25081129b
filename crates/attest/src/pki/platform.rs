//! One development machine: its PCK certificate, and a quoting enclave that turns reports into quotes.
//!
//! Layout of a quote: Intel "SGX ECDSA QuoteLibReference DCAP API", appendix A (`sgx_quote_3.h`).

use alloc::string::String;
use alloc::vec::Vec;

use p256::ecdsa::SigningKey;
use sha2::{Digest, Sha256};

use super::certs::{SgxExtension, Subject, issue_certificate, pem_chain, raw_signature};
use super::{DEV_FMSPC, DevPki, PkiError, key};
use crate::identity::{
    Attributes, Digest32, Identity, Measurement, PLATFORM_SGX, PlatformId, Signer, flags, hash,
};
use crate::quote::platform_id;
use crate::report::{ReportBody, ReportError, TargetInfo, check_report};

/// Intel's QE vendor id, which every DCAP quote carries.
const VENDOR: [u8; 16] = dcap_qvl::INTEL_QE_VENDOR_ID;

/// Which quoting enclave a machine runs, or a QE identity describes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QeSpec {
    /// MRSIGNER.
    pub signer: Signer,
    /// ISVPRODID.
    pub product_id: u16,
    /// ISVSVN.
    pub svn: u16,
    /// Runs with DEBUG.
    pub debug: bool,
}

impl Default for QeSpec {
    fn default() -> Self {
        Self {
            signer: Signer(hash("baton development QE signer v1", &[]).0),
            product_id: 1,
            svn: 8,
            debug: false,
        }
    }
}

/// What a machine is like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PlatformSpec {
    /// CPUSVN, 16 bytes; each is one TCB component.
    pub cpu_svn: [u8; 16],
    /// PCESVN.
    pub pce_svn: u16,
    /// FMSPC, 6 bytes.
    pub fmspc: [u8; 6],
    /// Its quoting enclave.
    pub qe: QeSpec,
}

impl Default for PlatformSpec {
    /// UpToDate under the collateral of [`super::CollateralSpec::at`].
    fn default() -> Self {
        Self::with_svn(8)
    }
}

impl PlatformSpec {
    /// A machine whose TCB components all have this SVN.
    pub fn with_svn(component_svn: u8) -> Self {
        Self {
            cpu_svn: [component_svn; 16],
            pce_svn: 13,
            fmspc: DEV_FMSPC,
            qe: QeSpec::default(),
        }
    }
}

/// A development machine.
pub struct DevPlatform {
    spec: PlatformSpec,
    ppid: [u8; 16],
    serial: Vec<u8>,
    chain_pem: String,
    pck_key: SigningKey,
    attestation_key: SigningKey,
    qe_auth: [u8; 32],
}

impl DevPlatform {
    pub(super) fn new(pki: &DevPki, name: &str, spec: &PlatformSpec) -> Result<Self, PkiError> {
        let secret = hash(
            "baton development platform v1",
            &[&pki.seed, name.as_bytes()],
        );
        let short = |label: &str| {
            let mut out = [0; 16];
            let long: Digest32 = hash(label, &[&secret.0]);
            for (to, from) in out.iter_mut().zip(long.0) {
                *to = from;
            }
            out
        };
        let ppid = short("ppid");
        let sgx = SgxExtension {
            ppid,
            cpu_svn: spec.cpu_svn,
            pce_svn: spec.pce_svn,
            fmspc: spec.fmspc,
            instance: short("platform instance id"),
        };
        let sgx = sgx.to_any().map_err(PkiError::of("the SGX extension"))?;
        // A TCB update brings a new certificate and key, as with Intel; the PPID stays.
        let svns = [&spec.cpu_svn[..], &spec.pce_svn.to_le_bytes()].concat();
        let pck_seed = hash("pck", &[&secret.0, &svns]).0;
        let pck_key = key(&pck_seed, "pck")?;
        let pck = issue_certificate(Subject::pck(sgx), &pck_key, Some(&pki.pck_ca))?;
        Ok(Self {
            spec: *spec,
            ppid,
            serial: pck.tbs_certificate().serial_number().as_bytes().to_vec(),
            chain_pem: pem_chain(&[&pck, &pki.pck_ca.cert, &pki.root.cert])?,
            pck_key,
            attestation_key: key(&secret.0, "attestation")?,
            qe_auth: hash("QE authentication data", &[&secret.0]).0,
        })
    }

    /// PPID, 16 bytes.
    pub fn ppid(&self) -> [u8; 16] {
        self.ppid
    }

    /// The id that a quote of this machine shows.
    pub fn id(&self) -> PlatformId {
        platform_id(&self.ppid)
    }

    /// CPUSVN, 16 bytes.
    pub fn cpu_svn(&self) -> [u8; 16] {
        self.spec.cpu_svn
    }

    /// Serial number of its PCK certificate, for a CRL.
    pub fn serial(&self) -> &[u8] {
        &self.serial
    }

    /// The quoting enclave's own identity.
    pub fn qe_identity(&self) -> Identity {
        let debug = if self.spec.qe.debug { flags::DEBUG } else { 0 };
        Identity {
            platform_tag: PLATFORM_SGX,
            measurement: Measurement(hash("baton development QE v1", &[]).0),
            signer: self.spec.qe.signer,
            product_id: self.spec.qe.product_id,
            svn: self.spec.qe.svn,
            attributes: Attributes {
                flags: flags::INIT | flags::MODE64BIT | flags::PROVISION_KEY | debug,
                xfrm: 3,
            },
            misc_select: 0,
            config_id: [0; 64],
            config_svn: 0,
        }
    }

    /// Where an enclave that wants a quote addresses its report.
    pub fn qe_target_info(&self) -> TargetInfo {
        TargetInfo::for_identity(&self.qe_identity())
    }

    /// Turns a 432-byte report into a quote. The quoting enclave checks the report first, with its own
    /// report key (EGETKEY on this machine, for [`Self::qe_identity`] and the report's KEYID).
    pub fn quote(&self, report: &[u8], report_key: &[u8; 16]) -> Result<Vec<u8>, ReportError> {
        check_report(report, report_key)?;
        let mut body = [0; crate::report::REPORT_BODY_LEN];
        for (to, from) in body.iter_mut().zip(report) {
            *to = *from;
        }
        Ok(self.danger_quote_body(&ReportBody::parse(&body)?))
    }

    /// Quotes whatever it is given, as a stolen attestation key would: for hostile hosts in tests.
    pub fn danger_quote_body(&self, body: &ReportBody) -> Vec<u8> {
        let mut signed = Vec::new();
        for part in [
            &3u16.to_le_bytes()[..],          // version
            &2u16.to_le_bytes(),              // ECDSA P-256
            &0u32.to_le_bytes(),              // SGX
            &self.spec.qe.svn.to_le_bytes(),  // QE SVN
            &self.spec.pce_svn.to_le_bytes(), // PCE SVN
            &VENDOR,                          //
            &self.ppid,                       // user data: 16 bytes of QE id,
            &[0; 4],                          // and 4 of nothing
            &body.to_bytes(),
        ] {
            signed.extend_from_slice(part);
        }
        let signature = self.signature_part(&signed);
        let len = u32::try_from(signature.len()).unwrap_or(u32::MAX);
        signed.extend_from_slice(&len.to_le_bytes());
        signed.extend_from_slice(&signature);
        signed
    }

    fn signature_part(&self, signed: &[u8]) -> Vec<u8> {
        let point = self.attestation_key.verifying_key().to_sec1_point(false);
        // Without the leading 4 of an uncompressed point.
        let public = point.as_bytes().split_first().map_or(&[][..], |(_, xy)| xy);
        let qe_report = self.qe_report(public).to_bytes();
        // DCAP ends the chain with a zero byte, as C strings do.
        let chain = [self.chain_pem.as_bytes(), &[0]].concat();
        let auth_len = u16::try_from(self.qe_auth.len()).unwrap_or(u16::MAX);
        let chain_len = u32::try_from(chain.len()).unwrap_or(u32::MAX);
        [
            &raw_signature(&self.attestation_key, signed)[..],
            public,
            &qe_report,
            &raw_signature(&self.pck_key, &qe_report),
            &auth_len.to_le_bytes(),
            &self.qe_auth,
            &5u16.to_le_bytes(),
            &chain_len.to_le_bytes(),
            &chain,
        ]
        .concat()
    }

    /// The quoting enclave's report binds the attestation key: SHA-256(key, authentication data).
    fn qe_report(&self, public: &[u8]) -> ReportBody {
        let bound = Sha256::new()
            .chain_update(public)
            .chain_update(self.qe_auth)
            .finalize();
        let mut report_data = [0; 64];
        for (to, from) in report_data.iter_mut().zip(bound) {
            *to = from;
        }
        ReportBody {
            cpu_svn: self.spec.cpu_svn,
            ext_product_id: [0; 16],
            family_id: [0; 16],
            identity: self.qe_identity(),
            report_data,
        }
    }
}
