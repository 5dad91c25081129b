//! Collateral from a PCCS, or from Intel's own service (PCS, API version 4), which a PCCS speaks too.
//!
//! The verifier's library brings a client of its own, which is asynchronous: reqwest and a runtime, inside a daemon that is neither.
//! Four GETs by the client that this program has anyway ([`crate::http`]) are all that is needed.
//!
//! Nothing here is believed: enclaves verify every part. What is fetched is only looked at so far that a wrong answer is not kept
//! in a good one's place: the right FMSPC, dates that can be read, chains that are there.

use std::time::Duration;

use baton_attest::quote::{Collateral, MAX_COLLATERAL_LEN, QuoteError, collateral_wanted};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::http::{self, Roots};

/// Longest wait for one of the four answers.
const LIMIT: Duration = Duration::from_secs(10);
/// Where the API begins on a PCCS and at Intel's.
const API: &str = "/sgx/certification/v4";

/// Why there is no collateral from a service. What was kept before is as it was.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Not an address.
    #[error("PCCS {0:?}: expected https://HOST:8081/sgx/certification/v4 or the like, got something else")]
    Url(String),
    /// The quote says nothing of its machine.
    #[error("the quote names no machine to fetch collateral for: {0}")]
    Quote(#[from] QuoteError),
    /// It does not answer.
    #[error("{what} from {url}: {reason}; see that the service runs and can be reached from here")]
    Transport {
        /// Which part.
        what: &'static str,
        /// The whole address.
        url: String,
        /// Why not.
        reason: String,
    },
    /// It refuses.
    #[error("{what} from {url}: expected status 200, got {status}; {advice}")]
    Status {
        /// Which part.
        what: &'static str,
        /// The whole address.
        url: String,
        /// HTTP's status.
        status: u16,
        /// What to do.
        advice: &'static str,
    },
    /// A chain is missing.
    #[error("{what} from {url}: expected its issuer chain in the header {header}, got none; a proxy in between may have dropped it")]
    Header {
        /// Which part.
        what: &'static str,
        /// The whole address.
        url: String,
        /// Which header.
        header: &'static str,
    },
    /// The answer is another thing.
    #[error("{what} from {url}: expected {expected}, got something else; is it a PCCS (API version 4)?")]
    Form {
        /// Which part.
        what: &'static str,
        /// The whole address.
        url: String,
        /// What it should be.
        expected: &'static str,
    },
    /// For machines of another kind.
    #[error("the collateral is for FMSPC {got}, expected {expected}, that of the quote; the service answers for another machine")]
    OtherPlatform {
        /// Of the quote.
        expected: String,
        /// Of the TCB info.
        got: String,
    },
}

/// One of the answers of Intel's service, as people save them to files.
pub enum Part {
    /// TCB info and its signature.
    TcbInfo(String, Vec<u8>),
    /// QE identity and its signature.
    QeIdentity(String, Vec<u8>),
    /// CRL of a PCK CA.
    PckCrl(Vec<u8>),
    /// CRL of the root.
    RootCrl(Vec<u8>),
}

/// What is signed is the inner text, byte for byte.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow, rename = "tcbInfo")]
    tcb_info: Option<&'a RawValue>,
    #[serde(borrow, rename = "enclaveIdentity")]
    qe_identity: Option<&'a RawValue>,
    signature: Option<String>,
}

impl Part {
    /// Tells by the bytes which one it is.
    pub fn read(bytes: &[u8]) -> Option<Part> {
        // DER of a CRL; the issuer's name stands near its beginning.
        if bytes.starts_with(&[0x30, 0x82]) {
            let names_root = bytes.get(..200).unwrap_or(bytes).windows(11).any(|w| w == b"SGX Root CA");
            return Some(if names_root { Part::RootCrl(bytes.to_vec()) } else { Part::PckCrl(bytes.to_vec()) });
        }
        let answer: Answer = serde_json::from_slice(bytes).ok()?;
        let signature = hex::decode(answer.signature?).ok()?;
        match (answer.tcb_info, answer.qe_identity) {
            (Some(tcb), None) => Some(Part::TcbInfo(tcb.get().into(), signature)),
            (None, Some(qe)) => Some(Part::QeIdentity(qe.get().into(), signature)),
            _ => None,
        }
    }

    /// Puts it into a set, in the place of the set's own.
    pub fn replace(self, set: &mut Collateral) {
        match self {
            Part::TcbInfo(text, signature) => (set.tcb_info, set.tcb_info_signature) = (text, signature),
            Part::QeIdentity(text, signature) => (set.qe_identity, set.qe_identity_signature) = (text, signature),
            Part::PckCrl(crl) => set.pck_crl = crl,
            Part::RootCrl(crl) => set.root_ca_crl = crl,
        }
    }
}

/// Whom to ask.
#[derive(Clone, Debug)]
pub struct Pccs {
    base: String,
    root_crl: String,
    agent: ureq::Agent,
}

/// One answer: where it came from, its body, its headers.
struct Got {
    url: String,
    body: Vec<u8>,
    headers: ureq::http::HeaderMap,
}

impl Pccs {
    /// A service at an address; where that ends before the API's own path, the path is added. `root_crl` is the whole address of
    /// the root's CRL: a PCCS serves it, Intel's own API does not.
    pub fn new(base: &str, root_crl: Option<&str>, roots: &Roots) -> Result<Self, FetchError> {
        let base = base.trim_end_matches('/');
        let base = if base.contains("/certification/") { base.to_string() } else { format!("{base}{API}") };
        let root_crl = root_crl.map_or_else(|| format!("{base}/rootcacrl"), Into::into);
        if let Some(bad) = [&base, &root_crl].into_iter().find(|u| !http::is_url(u)) {
            return Err(FetchError::Url(bad.clone()));
        }
        Ok(Pccs { agent: http::agent(LIMIT, roots), base, root_crl })
    }

    /// Where it asks.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// The set for the machine that made a quote.
    pub fn fetch(&self, quote: &[u8]) -> Result<Collateral, FetchError> {
        let (fmspc, platform_ca) = collateral_wanted(quote)?;
        let (what_tcb, what_qe, what_pck) = ("TCB info", "QE identity", "PCK CRL");
        let tcb = self.get(what_tcb, format!("{}/tcb?fmspc={}", self.base, hex::encode_upper(fmspc)))?;
        let Some(Part::TcbInfo(tcb_info, tcb_info_signature)) = Part::read(&tcb.body) else {
            return Err(tcb.form(what_tcb, "JSON with tcbInfo and signature"));
        };
        let qe = self.get(what_qe, format!("{}/qe/identity", self.base))?;
        let Some(Part::QeIdentity(qe_identity, qe_identity_signature)) = Part::read(&qe.body) else {
            return Err(qe.form(what_qe, "JSON with enclaveIdentity and signature"));
        };
        let ca = if platform_ca { "platform" } else { "processor" };
        let pck = self.get(what_pck, format!("{}/pckcrl?ca={ca}&encoding=der", self.base))?;
        let set = Collateral {
            pck_crl_issuer_chain: pck.chain(what_pck, &["SGX-PCK-CRL-Issuer-Chain"])?,
            root_ca_crl: self.root_crl()?,
            pck_crl: pck.crl(what_pck)?,
            tcb_info_issuer_chain: tcb.chain(what_tcb, &["TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"])?,
            qe_identity_issuer_chain: qe.chain(what_qe, &["SGX-Enclave-Identity-Issuer-Chain", "Enclave-Identity-Issuer-Chain"])?,
            tcb_info,
            tcb_info_signature,
            qe_identity,
            qe_identity_signature,
        };
        plausible(&set, fmspc)?;
        Ok(set)
    }

    /// The distribution point that the root certificate names is not asked: which addresses this node talks to is the operator's to say.
    fn root_crl(&self) -> Result<Vec<u8>, FetchError> {
        let what = "root CRL";
        match self.get(what, self.root_crl.clone()) {
            Ok(got) => got.crl(what),
            Err(FetchError::Status { what, url, status: 404, .. }) => Err(FetchError::Status {
                what, url, status: 404,
                advice: "Intel's own API does not serve it: name its address as root_crl (https://certificates.trustedservices.intel.com/IntelSGXRootCA.der); the address in the root certificate is not followed",
            }),
            Err(e) => Err(e),
        }
    }

    fn get(&self, what: &'static str, url: String) -> Result<Got, FetchError> {
        let transport = |url: &str, e: ureq::Error| FetchError::Transport { what, url: url.into(), reason: http::why(&e) };
        let mut answer = self.agent.get(&url).call().map_err(|e| transport(&url, e))?;
        let status = answer.status().as_u16();
        if status != 200 {
            let advice = match status {
                404 => "it does not know this kind of machine (FMSPC): register the machine at the PCCS (PCKIDRetrievalTool), or let the PCCS refresh its cache; a development machine's collateral is at no service",
                401 | 403 => "it wants another key or token than none",
                429 | 500..=599 => "it is busy or cannot reach Intel: ask again later",
                _ => "see that the address is that of a PCCS",
            };
            return Err(FetchError::Status { what, url, status, advice });
        }
        let headers = answer.headers().clone();
        let body = answer.body_mut().with_config().limit(MAX_COLLATERAL_LEN as u64).read_to_vec().map_err(|e| transport(&url, e))?;
        Ok(Got { url, body, headers })
    }
}

impl Got {
    fn form(&self, what: &'static str, expected: &'static str) -> FetchError {
        FetchError::Form { what, url: self.url.clone(), expected }
    }

    /// PEM certificates, percent-encoded in a header; the first of the names is the present one.
    fn chain(&self, what: &'static str, names: &[&'static str]) -> Result<String, FetchError> {
        let found = names.iter().find_map(|n| self.headers.get(*n)?.to_str().ok());
        let chain = found.and_then(percent_decoded).filter(|c| c.contains("-----BEGIN CERTIFICATE-----"));
        chain.ok_or_else(|| FetchError::Header { what, url: self.url.clone(), header: names.first().copied().unwrap_or_default() })
    }

    /// DER as it is, or, as a PCCS serves some of them, in hexadecimal.
    fn crl(&self, what: &'static str) -> Result<Vec<u8>, FetchError> {
        if self.body.starts_with(&[0x30]) && !self.body.is_ascii() {
            return Ok(self.body.clone());
        }
        let text = std::str::from_utf8(&self.body).ok().map(|t| t.trim().trim_matches('"'));
        let der = text.and_then(|t| hex::decode(t).ok()).filter(|d| d.starts_with(&[0x30]));
        der.ok_or_else(|| self.form(what, "a CRL in DER, plain or in hexadecimal"))
    }
}

#[derive(Deserialize)]
struct Kind {
    fmspc: String,
}

/// Whether a set is for machines of this kind, and can be read at all. Says nothing about its signatures.
pub fn plausible(set: &Collateral, fmspc: [u8; 6]) -> Result<(), FetchError> {
    let kind: Option<Kind> = serde_json::from_str(&set.tcb_info).ok();
    let (got, expected) = (kind.map(|k| k.fmspc).unwrap_or_default(), hex::encode_upper(fmspc));
    if !got.eq_ignore_ascii_case(&expected) {
        return Err(FetchError::OtherPlatform { expected, got });
    }
    set.claimed_dates()?;
    match set.len() {
        got if got > MAX_COLLATERAL_LEN => Err(QuoteError::TooLarge { what: "collateral", limit: MAX_COLLATERAL_LEN, got }.into()),
        _ => Ok(()),
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'%' => {
                let mut byte = [0];
                hex::decode_to_slice(rest.get(..2)?, &mut byte).ok()?;
                out.push(byte[0]);
                rest = rest.get(2..)?;
            }
            other => out.push(*other),
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_decoded_and_a_broken_one_is_none() {
        assert_eq!(percent_decoded("-----BEGIN%20A%0A%2B+").as_deref(), Some("-----BEGIN A\n++"));
        for bad in ["%", "%2", "%zz", "%ff"] {
            assert_eq!(percent_decoded(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_path_of_the_api_is_added_where_it_is_missing() {
        let at = |base: &str| Pccs::new(base, None, &Roots::default()).map(|p| p.base);
        assert_eq!(at("https://pccs:8081").unwrap(), "https://pccs:8081/sgx/certification/v4");
        assert_eq!(at("https://pccs:8081/sgx/certification/v4/").unwrap(), "https://pccs:8081/sgx/certification/v4");
        assert!(matches!(at("pccs:8081"), Err(FetchError::Url(_))));
        assert!(Pccs::new("https://pccs", Some("file:///x"), &Roots::default()).is_err());
    }
}
