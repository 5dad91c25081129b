//! The one place that makes HTTP clients: for RPC endpoints, witnesses, peers and a PCCS.
//!
//! Each request has a time limit, no redirect is followed, no proxy of the environment is used. https is spoken through
//! rustls on `ring`, which needs nothing but a C compiler, against Mozilla's roots and whatever certificates the operator
//! adds: a PCCS or a private endpoint often has a certificate of its own. TLS keeps a stranger on the way from reading and
//! stalling; no enclave believes anything for it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// Largest file of roots that is read, in bytes.
const MAX_ROOTS_BYTES: u64 = 1 << 20;

/// Whose certificates an https server may have.
#[derive(Clone, Debug)]
pub struct Roots(RootCerts);

impl Default for Roots {
    /// Mozilla's.
    fn default() -> Self {
        Roots(RootCerts::WebPki)
    }
}

/// Why a file of roots is not used.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// The file system.
    #[error("tls_roots {path}: {source}; name a file of PEM certificates, or leave tls_roots out", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// No certificates in it.
    #[error("tls_roots {path}: {reason}; expected PEM certificates (-----BEGIN CERTIFICATE-----)", path = .path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl Roots {
    /// Mozilla's, and the certificates of a PEM file. What a server shows itself may be in it, if it is no CA.
    pub fn with_file(path: &Path) -> Result<Self, RootsError> {
        let io = |source| RootsError::Io { path: path.into(), source };
        let form = |reason: String| RootsError::Form { path: path.into(), reason };
        let len = fs::metadata(path).map_err(io)?.len();
        if len > MAX_ROOTS_BYTES {
            return Err(form(format!("{len} bytes, expected at most {MAX_ROOTS_BYTES}")));
        }
        let pem = fs::read(path).map_err(io)?;
        let mut all = Vec::new();
        for item in parse_pem(&pem) {
            match item.map_err(|e| form(e.to_string()))? {
                PemItem::Certificate(c) => all.push(c),
                PemItem::PrivateKey(_) => return Err(form("it holds a private key, which stays with the server".into())),
                _ => {}
            }
        }
        if all.is_empty() {
            return Err(form("no certificate in it".into()));
        }
        all.extend(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().map(|c| Certificate::from_der(c)));
        Ok(Roots(RootCerts::from(all)))
    }
}

/// A client with a time limit for each whole request.
pub fn agent(timeout: Duration, roots: &Roots) -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .user_agent("baton")
        .tls_config(TlsConfig::builder().root_certs(roots.0.clone()).build())
        .build()
        .new_agent()
}

/// True for what this client can ask.
pub fn is_url(url: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| url.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()))
}

/// Why a request failed, with what to do where TLS is the reason.
pub fn why(e: &ureq::Error) -> String {
    let text = e.to_string();
    let says = |words: &str| text.contains(words);
    let advice = if says("UnknownIssuer") || says("CaUsedAsEndEntity") {
        "no root that this node trusts has signed its certificate; if it is the operator's own, name it (or its CA) in tls_roots, as a PEM file. A server's own certificate counts there if it names its host and is no CA"
    } else if says("NotValidForName") || says("not valid for name") {
        "its certificate is for another host; use the name that stands in the certificate (subjectAltName), or give the server one for this name"
    } else if says("Expired") || says("certificate expired") {
        "its certificate has expired, or this machine's clock is wrong"
    } else {
        return text;
    };
    format!("{text}: {advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_and_https_with_a_host_are_urls() {
        assert!(is_url("http://127.0.0.1:1") && is_url("https://rpc.example.com"));
        for bad in ["", "ftp://x", "127.0.0.1:26657", "http://", "https://", "HTTP//x"] {
            assert!(!is_url(bad), "{bad}");
        }
    }

    #[test]
    fn a_file_that_holds_no_roots_is_refused_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("roots.pem");
        let said = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            Roots::with_file(&path).unwrap_err().to_string()
        };
        assert!(said(b"").contains("no certificate in it"));
        let cut = said(b"-----BEGIN CERTIFICATE-----\nAA");
        assert!(cut.contains("roots.pem") && cut.contains("BEGIN CERTIFICATE"), "{cut}");
        assert!(Roots::with_file(&dir.path().join("none")).unwrap_err().to_string().contains("tls_roots"));
    }
}
