//! The machine: the keys that a CPU keeps in fuses, its CPUSVN, and the two leaves that use them.
//!
//! EGETKEY and EREPORT follow the Intel SDM (vol. 3D, chapter 40) in what a key depends on and what is
//! refused. How hardware mixes the dependencies is secret; here it is AES-128-CMAC under the root key over
//! the fields in one fixed order, so a key of this machine equals no key of any real one.

use std::fmt;
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use aes::Aes128;
use cmac::{Cmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::structs::{
    Attributes, Identity, KeyRequest, REPORT_BODY_LEN, REPORT_LEN, ReportBody, TargetInfo,
    attribute, key_name, key_policy,
};

/// CPUSVN of a machine that nobody set another for: high enough that a downgrade can be tried.
pub const DEFAULT_CPU_SVN: [u8; 16] = [2; 16];

/// One machine: a root key in place of fuses, and the security version of its microcode.
///
/// Two platforms from one seed are one machine. The seed is an ordinary secret of the host: whoever has it
/// computes every key of every enclave on this machine.
#[derive(Clone)]
pub struct Platform {
    root: [u8; 16],
    owner_epoch: [u8; 16],
    report_key_id: [u8; 32],
    cpu_svn: [u8; 16],
}

/// Why EGETKEY refuses. The values are those that hardware returns in RAX.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[repr(u32)]
pub enum KeyError {
    /// The enclave lacks the attribute that the key needs.
    #[error("SGX_INVALID_ATTRIBUTE: the enclave lacks the attribute that this key needs")]
    InvalidAttribute = 2,
    /// The request names a CPUSVN that this machine has not reached.
    #[error("SGX_INVALID_CPUSVN: the key is for a newer CPUSVN than this machine has")]
    InvalidCpuSvn = 32,
    /// The request names an ISVSVN or CONFIGSVN above the enclave's own.
    #[error("SGX_INVALID_ISVSVN: the key is for a higher ISVSVN or CONFIGSVN than the enclave has")]
    InvalidIsvSvn = 64,
    /// There is no such key.
    #[error("SGX_INVALID_KEYNAME: there is no such key")]
    InvalidKeyName = 256,
    /// Not a code: the request is malformed, and hardware raises #GP(0).
    #[error("#GP: a policy bit of the request needs the attribute KSS")]
    GeneralProtection = u32::MAX,
}

/// Why bytes are not a report for the enclave that checks them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReportError {
    /// Another length.
    #[error("a REPORT has {REPORT_LEN} bytes, got {got}")]
    Length {
        /// Bytes that were given.
        got: usize,
    },
    /// The MAC does not hold: changed, made for another target, or on another machine or CPUSVN.
    #[error(
        "the MAC of the REPORT does not hold: it was changed, made for another enclave, or made on another machine"
    )]
    Mac,
    /// A reserved byte is set although the MAC holds.
    #[error("a reserved byte of the REPORT is not zero")]
    Reserved,
}

/// Why the file of a platform cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlatformFileError {
    /// The system refused.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The file is something else.
    #[error(
        "{}: not a softsgx platform (expected the lines \"softsgx-platform 1\", \"seed <64 hex>\", \"cpusvn <32 hex>\"): \
         name another file, or move this one away to make a new machine; what the old one sealed stays unreadable then",
        path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
    },
}

impl Platform {
    /// The machine whose keys follow from a seed, at [`DEFAULT_CPU_SVN`].
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let part = |label: &str| -> [u8; 32] {
            let hash = Sha256::new_with_prefix("softsgx platform v1\0");
            hash.chain_update(seed)
                .chain_update(label)
                .finalize()
                .into()
        };
        let half = |label: &str| {
            let mut out = [0; 16];
            out.iter_mut().zip(part(label)).for_each(|(o, b)| *o = b);
            out
        };
        Platform {
            root: half("root key"),
            owner_epoch: half("owner epoch"),
            report_key_id: part("report key id"),
            cpu_svn: DEFAULT_CPU_SVN,
        }
    }

    /// The machine that a file holds; it is made, from the system's random numbers, if there is none.
    /// The file is text, readable by its owner alone.
    pub fn open_or_create(path: impl AsRef<Path>) -> Result<Self, PlatformFileError> {
        let path = path.as_ref();
        let io = |error| PlatformFileError::Io {
            path: path.to_owned(),
            error,
        };
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).ok_or_else(|| PlatformFileError::Format {
                path: path.to_owned(),
            }),
            Err(e) if e.kind() == ErrorKind::InvalidData => Err(PlatformFileError::Format {
                path: path.to_owned(),
            }),
            Err(e) if e.kind() == ErrorKind::NotFound => create(path).map_err(io).and_then(|()| {
                // Two processes may make it at once: both then read what the first one linked.
                let text = std::fs::read_to_string(path).map_err(io)?;
                Self::parse(&text).ok_or_else(|| PlatformFileError::Format {
                    path: path.to_owned(),
                })
            }),
            Err(e) => Err(io(e)),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        (lines.next()? == "softsgx-platform 1").then_some(())?;
        let seed = unhex(lines.next()?.strip_prefix("seed ")?)?;
        let cpu_svn = unhex(lines.next()?.strip_prefix("cpusvn ")?)?;
        lines.next().is_none().then_some(())?;
        Some(Self::from_seed(seed).with_cpu_svn(cpu_svn))
    }

    /// The same machine after a microcode update, or a downgrade.
    pub fn with_cpu_svn(mut self, cpu_svn: [u8; 16]) -> Self {
        self.cpu_svn = cpu_svn;
        self
    }

    /// CPUSVN.
    pub fn cpu_svn(&self) -> [u8; 16] {
        self.cpu_svn
    }

    /// EGETKEY as the enclave `own`.
    pub fn get_key(&self, own: &Identity, request: &KeyRequest) -> Result<[u8; 16], KeyError> {
        let has = |bit| own.attributes.flags & bit != 0;
        if request.policy & key_policy::KSS != 0 && !has(attribute::KSS) {
            return Err(KeyError::GeneralProtection);
        }
        match request.name {
            key_name::SEAL => self.seal_key(own, request),
            key_name::REPORT => Ok(self.report_key_for(&own.target_info(), &request.key_id)),
            // EINIT lets no enclave have the attributes that these need, like a kernel whose
            // provisioning device was not opened.
            key_name::EINITTOKEN | key_name::PROVISION | key_name::PROVISION_SEAL => {
                Err(KeyError::InvalidAttribute)
            }
            _ => Err(KeyError::InvalidKeyName),
        }
    }

    fn seal_key(&self, own: &Identity, r: &KeyRequest) -> Result<[u8; 16], KeyError> {
        // CPUSVN is compared component by component: every one of the request must be reached.
        if r.cpu_svn
            .iter()
            .zip(&self.cpu_svn)
            .any(|(want, have)| want > have)
        {
            return Err(KeyError::InvalidCpuSvn);
        }
        if r.isv_svn > own.svn || r.config_svn > own.config_svn {
            return Err(KeyError::InvalidIsvSvn);
        }
        let policy = |bit: u16| r.policy & bit != 0;
        // INIT and DEBUG always count: a debug launch never derives a production key.
        let masked = Attributes {
            flags: (r.attribute_mask.flags | attribute::INIT | attribute::DEBUG)
                & own.attributes.flags,
            xfrm: r.attribute_mask.xfrm & own.attributes.xfrm,
        };
        let with_config = policy(key_policy::CONFIGID);
        let mut key = self.derivation(key_name::SEAL);
        key.update(&r.policy.to_le_bytes());
        key.update(&r.cpu_svn);
        key.update(&r.isv_svn.to_le_bytes());
        let without_product = policy(key_policy::NO_ISVPRODID);
        key.update(&(if without_product { 0 } else { own.product_id }).to_le_bytes());
        key.update(&self.owner_epoch);
        put_attributes(&mut key, &masked);
        put_attributes(&mut key, &r.attribute_mask);
        key.update(&kept(policy(key_policy::MRENCLAVE), own.mr_enclave));
        key.update(&kept(policy(key_policy::MRSIGNER), own.mr_signer));
        key.update(&(r.misc_mask & own.misc_select).to_le_bytes());
        key.update(&(!r.misc_mask).to_le_bytes());
        key.update(&kept(with_config, own.config_id));
        key.update(&(if with_config { r.config_svn } else { 0 }).to_le_bytes());
        key.update(&kept(policy(key_policy::ISVFAMILYID), own.family_id));
        key.update(&kept(policy(key_policy::ISVEXTPRODID), own.ext_product_id));
        key.update(&r.key_id);
        Ok(key.finalize().into_bytes().into())
    }

    /// The report key of a target: what EGETKEY gives to that enclave, and what EREPORT uses for it.
    ///
    /// For software in the place of an architectural enclave, such as a development quoting enclave
    /// outside of SGX.
    pub fn report_key_for(&self, target: &TargetInfo, key_id: &[u8; 32]) -> [u8; 16] {
        let mut key = self.derivation(key_name::REPORT);
        key.update(&self.cpu_svn);
        key.update(&self.owner_epoch);
        put_attributes(&mut key, &target.attributes);
        key.update(&target.mr_enclave);
        key.update(&target.misc_select.to_le_bytes());
        key.update(&target.config_id);
        key.update(&target.config_svn.to_le_bytes());
        key.update(key_id);
        key.finalize().into_bytes().into()
    }

    fn derivation(&self, name: u16) -> Cmac<Aes128> {
        let mut key = <Cmac<Aes128> as KeyInit>::new(&self.root.into());
        key.update(&name.to_le_bytes());
        key
    }

    /// EREPORT as the enclave `own`: bytes that only `target` on this machine can check.
    pub fn report(&self, own: &Identity, target: &TargetInfo, data: &[u8; 64]) -> [u8; REPORT_LEN] {
        let body = ReportBody {
            cpu_svn: self.cpu_svn,
            identity: *own,
            report_data: *data,
        };
        let body = body.to_bytes();
        let key = self.report_key_for(target, &self.report_key_id);
        let mac: [u8; 16] = mac_over(&body, &key).finalize().into_bytes().into();
        let mut out = [0; REPORT_LEN];
        let bytes = body.iter().chain(&self.report_key_id).chain(&mac);
        out.iter_mut().zip(bytes).for_each(|(o, b)| *o = *b);
        out
    }

    /// Checks a REPORT as the enclave `target` does with its report key, in constant time.
    pub fn verify_report(
        &self,
        report: &[u8],
        target: &TargetInfo,
    ) -> Result<ReportBody, ReportError> {
        let got = report.len();
        let report: &[u8; REPORT_LEN] =
            report.try_into().map_err(|_| ReportError::Length { got })?;
        let (body, tail) = report
            .split_first_chunk::<REPORT_BODY_LEN>()
            .ok_or(ReportError::Length { got })?;
        let (key_id, mac) = tail
            .split_first_chunk::<32>()
            .ok_or(ReportError::Length { got })?;
        let key = self.report_key_for(target, key_id);
        mac_over(body, &key)
            .verify_slice(mac)
            .map_err(|_| ReportError::Mac)?;
        ReportBody::parse(body).ok_or(ReportError::Reserved)
    }
}

impl fmt::Debug for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Platform")
            .field("cpu_svn", &self.cpu_svn)
            .finish_non_exhaustive()
    }
}

fn mac_over(body: &[u8; REPORT_BODY_LEN], key: &[u8; 16]) -> Cmac<Aes128> {
    let mut mac = <Cmac<Aes128> as KeyInit>::new(&(*key).into());
    mac.update(body);
    mac
}

fn put_attributes(key: &mut Cmac<Aes128>, a: &Attributes) {
    key.update(&a.flags.to_le_bytes());
    key.update(&a.xfrm.to_le_bytes());
}

fn kept<const N: usize>(keep: bool, value: [u8; N]) -> [u8; N] {
    if keep { value } else { [0; N] }
}

/// Makes the file without ever showing a half-written one, and never over an existing one: its keys
/// would be lost.
fn create(path: &Path) -> std::io::Result<()> {
    let mut seed = [0u8; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut seed)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&new)?;
    let text = format!(
        "softsgx-platform 1\nseed {}\ncpusvn {}\n",
        hex(&seed),
        hex(&DEFAULT_CPU_SVN)
    );
    let linked = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| match std::fs::hard_link(&new, path) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
            other => other,
        });
    let removed = std::fs::remove_file(&new);
    linked.and(removed)
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits: Vec<u8> = text
        .chars()
        .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
        .collect::<Option<_>>()?;
    if digits.len() != N * 2 {
        return None;
    }
    let mut out = [0; N];
    out.iter_mut()
        .zip(digits.chunks(2))
        .for_each(|(o, d)| *o = d.iter().fold(0, |a, b| a * 16 + b));
    Some(out)
}
