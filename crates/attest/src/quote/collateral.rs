//! Collateral: what Intel signs about platforms and quoting enclaves, as a host brings it. Untrusted.

use alloc::string::String;
use alloc::vec::Vec;

use base64::{Engine, engine::general_purpose::STANDARD};
use dcap_qvl::QuoteCollateralV3;
use der::{DateTime, Decode as _};
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use x509_cert::crl::CertificateList;

use super::QuoteError;

/// Most bytes of collateral that are looked at: 256 KiB, ten times what Intel serves.
pub const MAX_COLLATERAL_LEN: usize = 256 * 1024;

/// A collateral set. **Untrusted**; only its check together with a quote says anything.
///
/// Field names are those of DCAP's `sgx_ql_qve_collateral_t` and of dcap-qvl's JSON.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Collateral {
    /// PEM chain of the PCK CRL's issuer.
    #[n(0)]
    pub pck_crl_issuer_chain: String,
    /// CRL of the root, DER.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub root_ca_crl: Vec<u8>,
    /// CRL of the PCK CA, DER.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub pck_crl: Vec<u8>,
    /// PEM chain of the TCB info's signer.
    #[n(3)]
    pub tcb_info_issuer_chain: String,
    /// TCB info v3, the JSON text exactly as signed.
    #[n(4)]
    pub tcb_info: String,
    /// ECDSA P-256 signature over it, r and s, 64 bytes.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub tcb_info_signature: Vec<u8>,
    /// PEM chain of the QE identity's signer.
    #[n(6)]
    pub qe_identity_issuer_chain: String,
    /// QE identity v2, the JSON text exactly as signed.
    #[n(7)]
    pub qe_identity: String,
    /// ECDSA P-256 signature over it, r and s, 64 bytes.
    #[cbor(n(8), with = "minicbor::bytes")]
    pub qe_identity_signature: Vec<u8>,
}

/// Why bytes are not a collateral set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CollateralError {
    /// More bytes than any collateral has.
    #[error("collateral of {got} bytes, expected at most {MAX_COLLATERAL_LEN}")]
    TooLarge {
        /// Bytes that were given.
        got: usize,
    },
    /// Not the JSON form.
    #[error(
        "not a collateral set: {reason}; expected JSON with the fields of dcap-qvl's QuoteCollateralV3"
    )]
    Json {
        /// What the parser says.
        reason: String,
    },
    /// A byte string is in no known form.
    #[error("collateral field {field} is neither hexadecimal, base64 nor PEM")]
    Bytes {
        /// Name of the field.
        field: &'static str,
    },
}

/// The JSON form. Unknown fields are skipped (a PCK chain among them: the quote brings its own),
/// a field that comes twice is refused.
#[derive(Serialize, Deserialize)]
struct Json {
    pck_crl_issuer_chain: String,
    root_ca_crl: String,
    pck_crl: String,
    tcb_info_issuer_chain: String,
    tcb_info: String,
    tcb_info_signature: String,
    qe_identity_issuer_chain: String,
    qe_identity: String,
    qe_identity_signature: String,
}

impl Collateral {
    /// What it says of its own dates, unverified: each part, when it was issued and until when it is valid (unix seconds). For
    /// people who want to know what expires when; nothing is accepted by it.
    pub fn claimed_dates(&self) -> Result<Vec<(&'static str, u64, u64)>, QuoteError> {
        Ok(Claimed::read(self)?.windows().iter().map(|w| (w.what, w.issued, w.until)).collect())
    }

    /// Reads the JSON form of dcap-qvl; byte strings may be hexadecimal, base64 or PEM.
    pub fn from_json(json: &[u8]) -> Result<Self, CollateralError> {
        if json.len() > MAX_COLLATERAL_LEN {
            return Err(CollateralError::TooLarge { got: json.len() });
        }
        let j: Json = serde_json::from_slice(json).map_err(|e| CollateralError::Json {
            reason: alloc::format!("{e}"),
        })?;
        let bytes = |field, text: &str| read_bytes(text).ok_or(CollateralError::Bytes { field });
        Ok(Self {
            root_ca_crl: bytes("root_ca_crl", &j.root_ca_crl)?,
            pck_crl: bytes("pck_crl", &j.pck_crl)?,
            tcb_info_signature: bytes("tcb_info_signature", &j.tcb_info_signature)?,
            qe_identity_signature: bytes("qe_identity_signature", &j.qe_identity_signature)?,
            pck_crl_issuer_chain: j.pck_crl_issuer_chain,
            tcb_info_issuer_chain: j.tcb_info_issuer_chain,
            tcb_info: j.tcb_info,
            qe_identity_issuer_chain: j.qe_identity_issuer_chain,
            qe_identity: j.qe_identity,
        })
    }

    /// Writes the JSON form of dcap-qvl, byte strings in hexadecimal.
    pub fn to_json(&self) -> String {
        let j = Json {
            pck_crl_issuer_chain: self.pck_crl_issuer_chain.clone(),
            root_ca_crl: hex::encode(&self.root_ca_crl),
            pck_crl: hex::encode(&self.pck_crl),
            tcb_info_issuer_chain: self.tcb_info_issuer_chain.clone(),
            tcb_info: self.tcb_info.clone(),
            tcb_info_signature: hex::encode(&self.tcb_info_signature),
            qe_identity_issuer_chain: self.qe_identity_issuer_chain.clone(),
            qe_identity: self.qe_identity.clone(),
            qe_identity_signature: hex::encode(&self.qe_identity_signature),
        };
        // Nine strings: there is nothing in it that could fail to serialize.
        serde_json::to_string_pretty(&j).unwrap_or_default()
    }

    /// Bytes in all fields together.
    pub fn len(&self) -> usize {
        [
            self.pck_crl_issuer_chain.len(),
            self.root_ca_crl.len(),
            self.pck_crl.len(),
            self.tcb_info_issuer_chain.len(),
            self.tcb_info.len(),
            self.tcb_info_signature.len(),
            self.qe_identity_issuer_chain.len(),
            self.qe_identity.len(),
            self.qe_identity_signature.len(),
        ]
        .iter()
        .fold(0, |sum, len| sum.saturating_add(*len))
    }

    /// True if there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn to_library(&self) -> QuoteCollateralV3 {
        QuoteCollateralV3 {
            pck_crl_issuer_chain: self.pck_crl_issuer_chain.clone(),
            root_ca_crl: self.root_ca_crl.clone(),
            pck_crl: self.pck_crl.clone(),
            tcb_info_issuer_chain: self.tcb_info_issuer_chain.clone(),
            tcb_info: self.tcb_info.clone(),
            tcb_info_signature: self.tcb_info_signature.clone(),
            qe_identity_issuer_chain: self.qe_identity_issuer_chain.clone(),
            qe_identity: self.qe_identity.clone(),
            qe_identity_signature: self.qe_identity_signature.clone(),
            // The quote brings its own chain, so that quote and collateral stay independent.
            pck_certificate_chain: None,
        }
    }
}

fn read_bytes(text: &str) -> Option<Vec<u8>> {
    let text = text.trim();
    if text.starts_with("-----BEGIN ") {
        return der::pem::decode_vec(text.as_bytes())
            .ok()
            .map(|(_, der)| der);
    }
    hex::decode(text)
        .ok()
        .or_else(|| STANDARD.decode(text).ok())
}

/// What collateral *says* about its dates and its platform: unverified. Used to choose the time of a
/// verification and to explain a refusal, never to accept anything.
pub(super) struct Claimed {
    pub(super) tcb_info: Window,
    pub(super) qe_identity: Window,
    pub(super) pck_crl: Window,
    pub(super) root_ca_crl: Window,
    pub(super) fmspc: [u8; 6],
}

/// From when until when something is valid, unix seconds.
#[derive(Clone, Copy)]
pub(super) struct Window {
    pub(super) what: &'static str,
    pub(super) issued: u64,
    pub(super) until: u64,
}

impl Claimed {
    pub(super) fn read(c: &Collateral) -> Result<Self, QuoteError> {
        let tcb = Dates::read("TCB info", &c.tcb_info)?;
        let fmspc = tcb.fmspc.as_deref().unwrap_or_default();
        let mut out = [0; 6];
        hex::decode_to_slice(fmspc, &mut out).map_err(|_| QuoteError::Malformed {
            what: "TCB info: FMSPC",
        })?;
        Ok(Self {
            tcb_info: tcb.window("TCB info")?,
            qe_identity: Dates::read("QE identity", &c.qe_identity)?.window("QE identity")?,
            pck_crl: crl_window("PCK CRL", &c.pck_crl)?,
            root_ca_crl: crl_window("root CRL", &c.root_ca_crl)?,
            fmspc: out,
        })
    }

    pub(super) fn windows(&self) -> [Window; 4] {
        [
            self.tcb_info,
            self.qe_identity,
            self.pck_crl,
            self.root_ca_crl,
        ]
    }

    /// The newest date in it.
    pub(super) fn newest(&self) -> u64 {
        self.windows().iter().fold(0, |n, w| n.max(w.issued))
    }

    /// What Intel issues anew every few days. Root CRLs live for a year and are bounded by their own `nextUpdate`.
    pub(super) fn ageing(&self) -> [Window; 3] {
        [self.tcb_info, self.qe_identity, self.pck_crl]
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dates {
    issue_date: String,
    next_update: String,
    fmspc: Option<String>,
}

impl Dates {
    fn read(what: &'static str, json: &str) -> Result<Self, QuoteError> {
        serde_json::from_str(json).map_err(|_| QuoteError::Malformed { what })
    }

    fn window(&self, what: &'static str) -> Result<Window, QuoteError> {
        let date = |text: &str| {
            text.parse::<DateTime>()
                .map(|d| d.unix_duration().as_secs())
                .map_err(|_| QuoteError::Malformed { what })
        };
        Ok(Window {
            what,
            issued: date(&self.issue_date)?,
            until: date(&self.next_update)?,
        })
    }
}

fn crl_window(what: &'static str, bytes: &[u8]) -> Result<Window, QuoteError> {
    let malformed = QuoteError::Malformed { what };
    let Ok(crl) = CertificateList::from_der(bytes) else {
        return Err(malformed);
    };
    let crl: CertificateList = crl;
    let Some(until) = crl.tbs_cert_list.next_update else {
        return Err(malformed);
    };
    Ok(Window {
        what,
        issued: crl.tbs_cert_list.this_update.to_unix_duration().as_secs(),
        until: until.to_unix_duration().as_secs(),
    })
}
