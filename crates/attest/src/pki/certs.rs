//! Certificates and CRLs in the shape of "Intel SGX PCK Certificate and Certificate Revocation List Profile Specification".

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::str::FromStr;
use core::time::Duration;

use der::asn1::{Any, GeneralizedTime, ObjectIdentifier, OctetString, UtcTime};
use der::flagset::FlagSet;
use der::{DateTime, Encode, EncodePem, Tag};
use p256::ecdsa::{DerSignature, SigningKey, signature::Signer};
use x509_cert::Certificate;
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{Builder, CertificateBuilder, CrlBuilder};
use x509_cert::certificate::TbsCertificate;
use x509_cert::crl::RevokedCert;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, CrlNumber, KeyUsage, KeyUsages, SubjectKeyIdentifier,
};
use x509_cert::ext::{Extension, ToExtension};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{SubjectPublicKeyInfo, SubjectPublicKeyInfoRef};
use x509_cert::time::{Time, Validity};

use super::{Issuer, PkiError};
use crate::identity::hash;

/// 2020-01-01 and 2049-12-31: development certificates do not expire under anybody's hands.
const NOT_BEFORE: u64 = 1_577_836_800;
const NOT_AFTER: u64 = 2_524_521_600;

/// The SGX extension of a PCK certificate.
pub(super) const SGX_EXTENSION: &str = "1.2.840.113741.1.13.1";

/// What a certificate says about its subject.
pub(super) struct Subject {
    name: &'static str,
    usage: FlagSet<KeyUsages>,
    /// CA certificates: how many further CAs may follow.
    ca_path: Option<u8>,
    /// DER of the SGX extension, in PCK certificates.
    sgx: Option<Any>,
}

impl Subject {
    pub(super) fn root() -> Self {
        Self::ca("Baton Development SGX Root CA", 1)
    }

    pub(super) fn pck_ca() -> Self {
        Self::ca("Baton Development SGX PCK Platform CA", 0)
    }

    pub(super) fn tcb_signer() -> Self {
        Self::leaf("Baton Development SGX TCB Signing", None)
    }

    pub(super) fn pck(sgx: Any) -> Self {
        Self::leaf("Baton Development SGX PCK Certificate", Some(sgx))
    }

    fn ca(name: &'static str, path: u8) -> Self {
        Self {
            name,
            usage: KeyUsages::KeyCertSign | KeyUsages::CRLSign,
            ca_path: Some(path),
            sgx: None,
        }
    }

    fn leaf(name: &'static str, sgx: Option<Any>) -> Self {
        Self {
            name,
            usage: KeyUsages::DigitalSignature | KeyUsages::NonRepudiation,
            ca_path: None,
            sgx,
        }
    }

    fn distinguished(&self) -> Result<Name, PkiError> {
        // RFC 4514 writes the last part first: in the certificate CN comes first, as in Intel's.
        let text = format!(
            "C=US,ST=CA,L=Nowhere,O=Baton Development (not for production),CN={}",
            self.name
        );
        Name::from_str(&text).map_err(PkiError::of("a name"))
    }
}

/// What the builder asks for.
struct Profile {
    subject: Name,
    issuer: Name,
    extensions: Subject,
}

impl BuilderProfile for Profile {
    fn get_issuer(&self, _: &Name) -> Name {
        self.issuer.clone()
    }

    fn get_subject(&self) -> Name {
        self.subject.clone()
    }

    fn build_extensions(
        &self,
        spk: SubjectPublicKeyInfoRef<'_>,
        issuer_spk: SubjectPublicKeyInfoRef<'_>,
        tbs: &TbsCertificate,
    ) -> x509_cert::builder::Result<Vec<Extension>> {
        let (name, s) = (tbs.subject(), &self.extensions);
        let issuer_key = SubjectKeyIdentifier::try_from(issuer_spk)?.0;
        let authority = AuthorityKeyIdentifier {
            key_identifier: Some(issuer_key),
            ..Default::default()
        };
        let constraints = BasicConstraints {
            ca: s.ca_path.is_some(),
            path_len_constraint: s.ca_path,
        };
        let mut out = alloc::vec![
            (&authority).to_extension(name, &[])?,
            (&SubjectKeyIdentifier::try_from(spk)?).to_extension(name, &[])?,
            (&KeyUsage(s.usage)).to_extension(name, &[])?,
            (&constraints).to_extension(name, &[])?,
        ];
        if let Some(sgx) = &s.sgx {
            out.push(Extension {
                extn_id: ObjectIdentifier::new_unwrap(SGX_EXTENSION),
                critical: false,
                extn_value: OctetString::new(sgx.to_der()?)?,
            });
        }
        Ok(out)
    }
}

/// Issues a certificate; without an issuer a self-signed one.
pub(super) fn issue_certificate(
    subject: Subject,
    key: &SigningKey,
    issuer: Option<&Issuer>,
) -> Result<Certificate, PkiError> {
    let name = subject.distinguished()?;
    let public = SubjectPublicKeyInfo::from_key(key.verifying_key())
        .map_err(PkiError::of("a public key"))?;
    let public_der = der_of("a public key", &public)?;
    // 20 bytes at most, positive (RFC 5280, 4.1.2.2); the key decides it.
    let mut serial = hash("baton development serial v1", &[&public_der]).0;
    serial[0] &= 0x7f;
    serial[0] |= 0x40;
    let (serial, _) = serial.split_at(20);
    let profile = Profile {
        issuer: issuer.map_or_else(
            || name.clone(),
            |i| i.cert.tbs_certificate().subject().clone(),
        ),
        subject: name,
        extensions: subject,
    };
    let validity = Validity::new(time(NOT_BEFORE)?, time(NOT_AFTER)?);
    let serial = SerialNumber::new(serial).map_err(PkiError::of("a serial number"))?;
    CertificateBuilder::new(profile, serial, validity, public)
        .and_then(|b| b.build::<_, DerSignature>(issuer.map_or(key, |i| &i.key)))
        .map_err(PkiError::of("a certificate"))
}

/// Issues a CRL over the given certificates, DER.
pub(super) fn issue_crl(
    issuer: &Issuer,
    issued: u64,
    until: u64,
    revoked: &[SerialNumber],
) -> Result<Vec<u8>, PkiError> {
    let revocation_date = time(issued)?;
    let mut builder = CrlBuilder::new_with_this_update(
        &issuer.cert,
        CrlNumber::try_from(1u32).map_err(PkiError::of("a CRL number"))?,
        time(issued)?,
    )
    .map_err(PkiError::of("a CRL"))?
    .with_next_update(Some(time(until)?));
    if !revoked.is_empty() {
        builder = builder.with_certificates(revoked.iter().map(|serial| RevokedCert {
            serial_number: serial.clone(),
            revocation_date,
            crl_entry_extensions: None,
        }));
    }
    let crl = builder
        .build::<_, DerSignature>(&issuer.key)
        .map_err(PkiError::of("a CRL"))?;
    der_of("a CRL", &crl)
}

/// PEM of certificates, one after the other.
pub(super) fn pem_chain(chain: &[&Certificate]) -> Result<alloc::string::String, PkiError> {
    let pem = |c: &&Certificate| {
        c.to_pem(der::pem::LineEnding::LF)
            .map_err(PkiError::of("PEM"))
    };
    chain.iter().map(pem).collect()
}

pub(super) fn der_of<T: Encode>(what: &'static str, value: &T) -> Result<Vec<u8>, PkiError> {
    value.to_der().map_err(PkiError::of(what))
}

/// `2025-06-19T10:56:11Z`, as TCB info and QE identity write dates.
pub(super) fn rfc3339(unix_secs: u64) -> Result<alloc::string::String, PkiError> {
    DateTime::from_unix_duration(Duration::from_secs(unix_secs))
        .map(|d| d.to_string())
        .map_err(PkiError::of("a date"))
}

fn time(unix_secs: u64) -> Result<Time, PkiError> {
    let d = Duration::from_secs(unix_secs);
    UtcTime::from_unix_duration(d)
        .map(Time::from)
        .or_else(|_| GeneralizedTime::from_unix_duration(d).map(Time::from))
        .map_err(PkiError::of("a date"))
}

/// The SGX extension: a SEQUENCE of (OID, value) pairs, some of them nested.
pub(super) struct SgxExtension {
    pub(super) ppid: [u8; 16],
    pub(super) cpu_svn: [u8; 16],
    pub(super) pce_svn: u16,
    pub(super) fmspc: [u8; 6],
    pub(super) instance: [u8; 16],
}

impl SgxExtension {
    pub(super) fn to_any(&self) -> der::Result<Any> {
        let tcb_oid = format!("{SGX_EXTENSION}.2");
        let mut tcb = Vec::new();
        for (svn, n) in self.cpu_svn.iter().zip(1u8..) {
            tcb.push(pair(&format!("{tcb_oid}.{n}"), integer(u16::from(*svn))?)?);
        }
        tcb.push(pair(&format!("{tcb_oid}.17"), integer(self.pce_svn)?)?);
        tcb.push(pair(&format!("{tcb_oid}.18"), octets(&self.cpu_svn)?)?);
        let field = |n: u8, value: Any| pair(&format!("{SGX_EXTENSION}.{n}"), value);
        let flag = |n: u8, on: bool| {
            let value = Any::new(Tag::Boolean, [if on { 0xff } else { 0 }])?;
            pair(&format!("{SGX_EXTENSION}.7.{n}"), value)
        };
        sequence(&[
            field(1, octets(&self.ppid)?)?,
            field(2, sequence(&tcb)?)?,
            field(3, octets(&[0, 0])?)?,
            field(4, octets(&self.fmspc)?)?,
            // SGX type 1: scalable, as all servers are.
            field(5, Any::new(Tag::Enumerated, [1])?)?,
            field(6, octets(&self.instance)?)?,
            field(
                7,
                sequence(&[flag(1, false)?, flag(2, false)?, flag(3, true)?])?,
            )?,
        ])
    }
}

fn sequence(items: &[Any]) -> der::Result<Any> {
    let mut body = Vec::new();
    for item in items {
        item.encode_to_vec(&mut body)?;
    }
    Any::new(Tag::Sequence, body)
}

fn pair(oid: &str, value: Any) -> der::Result<Any> {
    sequence(&[Any::encode_from(&ObjectIdentifier::new(oid)?)?, value])
}

fn octets(bytes: &[u8]) -> der::Result<Any> {
    Any::new(Tag::OctetString, bytes)
}

fn integer(n: u16) -> der::Result<Any> {
    Any::encode_from(&n)
}

/// r and s, 64 bytes: how TCB info, QE identity and quotes carry ECDSA signatures.
pub(super) fn raw_signature(key: &SigningKey, message: &[u8]) -> [u8; 64] {
    let signature: p256::ecdsa::Signature = key.sign(message);
    signature.to_bytes().into()
}
