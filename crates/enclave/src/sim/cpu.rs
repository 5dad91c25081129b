//! The part of an SGX CPU that enclaves ask for: EGETKEY and EREPORT, with the rules of the Intel
//! SDM (vol. 3D, chapter 40) over software keys.
//!
//! What is replaced is the fuses: [`Machine`] holds a root key where a CPU holds one that nobody can
//! read. Every byte that goes in and out has the layout of the real leaf.

use aes::Aes128;
use baton_attest::identity::{Attributes, Identity, flags};
use baton_attest::keyrequest::{KeyRequest, key_name, key_policy};
use baton_attest::report::{Report, ReportBody, TargetInfo, report_mac};
use baton_core::platform::PlatformError;
use cmac::{Cmac, KeyInit, Mac};

/// One CPU: a root key in place of fuses, the security version of its microcode, and the key id of its reports.
#[derive(Clone)]
pub struct Cpu {
    root: [u8; 16],
    owner_epoch: [u8; 16],
    report_key_id: [u8; 32],
    cpu_svn: [u8; 16],
}

impl Cpu {
    /// A CPU whose keys follow from 32 bytes, at a security version.
    pub fn new(seed: &[u8; 32], cpu_svn: [u8; 16]) -> Self {
        let part = |label: &str| baton_attest::identity::hash(label, &[seed]).0;
        let half = |label: &str| {
            let mut out = [0; 16];
            out.iter_mut().zip(part(label)).for_each(|(o, b)| *o = b);
            out
        };
        Cpu {
            root: half("baton sim cpu root key"),
            owner_epoch: half("baton sim cpu owner epoch"),
            report_key_id: part("baton sim cpu report key id"),
            cpu_svn,
        }
    }

    /// The security version of the microcode.
    pub fn cpu_svn(&self) -> [u8; 16] {
        self.cpu_svn
    }

    /// A microcode update, or a downgrade.
    pub fn set_cpu_svn(&mut self, cpu_svn: [u8; 16]) {
        self.cpu_svn = cpu_svn;
    }

    /// EGETKEY as enclave `own`.
    pub fn egetkey(&self, own: &Identity, request: &KeyRequest) -> Result<[u8; 16], PlatformError> {
        match request.key_name {
            key_name::SEAL => self.seal_key(own, request),
            key_name::REPORT => Ok(self.report_key(&TargetInfo::for_identity(own), &request.key_id)),
            _ => Err(PlatformError::InvalidKeyName),
        }
    }

    fn seal_key(&self, own: &Identity, r: &KeyRequest) -> Result<[u8; 16], PlatformError> {
        // CPUSVN is compared component by component: every component of the request must be reached.
        if r.cpu_svn.iter().zip(&self.cpu_svn).any(|(want, have)| want > have) {
            return Err(PlatformError::InvalidCpuSvn);
        }
        if r.isv_svn > own.svn {
            return Err(PlatformError::InvalidIsvSvn);
        }
        let policy = |bit: u16| r.key_policy & bit != 0;
        // INIT and DEBUG are always part of the key: a debug launch never derives a production key.
        let masked = Attributes {
            flags: (r.attribute_mask.flags | flags::INIT | flags::DEBUG) & own.attributes.flags,
            xfrm: r.attribute_mask.xfrm & own.attributes.xfrm,
        };
        let mut mac = self.derivation(key_name::SEAL);
        mac.update(&r.key_policy.to_le_bytes());
        mac.update(&r.cpu_svn);
        mac.update(&r.isv_svn.to_le_bytes());
        mac.update(&if policy(key_policy::NO_ISVPRODID) { 0 } else { own.product_id }.to_le_bytes());
        mac.update(&self.owner_epoch);
        update_attributes(&mut mac, &masked);
        update_attributes(&mut mac, &r.attribute_mask);
        mac.update(if policy(key_policy::MRENCLAVE) { &own.measurement.0 } else { &[0; 32] });
        mac.update(if policy(key_policy::MRSIGNER) { &own.signer.0 } else { &[0; 32] });
        mac.update(&(r.misc_mask & own.misc_select).to_le_bytes());
        mac.update(&(!r.misc_mask).to_le_bytes());
        mac.update(if policy(key_policy::CONFIGID) { &own.config_id } else { &[0; 64] });
        mac.update(&if policy(key_policy::CONFIGID) { r.config_svn } else { 0 }.to_le_bytes());
        mac.update(&r.key_id);
        Ok(mac.finalize().into_bytes().into())
    }

    fn report_key(&self, target: &TargetInfo, key_id: &[u8; 32]) -> [u8; 16] {
        let mut mac = self.derivation(key_name::REPORT);
        mac.update(&self.cpu_svn);
        mac.update(&self.owner_epoch);
        update_attributes(&mut mac, &target.attributes);
        mac.update(&target.measurement.0);
        mac.update(&target.misc_select.to_le_bytes());
        mac.update(&target.config_id);
        mac.update(&target.config_svn.to_le_bytes());
        mac.update(key_id);
        mac.finalize().into_bytes().into()
    }

    fn derivation(&self, name: u16) -> Cmac<Aes128> {
        let mut mac = <Cmac<Aes128> as KeyInit>::new(&self.root.into());
        mac.update(&name.to_le_bytes());
        mac
    }

    /// EREPORT as enclave `own`: a report that only `target` on this CPU can check.
    pub fn ereport(&self, own: &Identity, target: &TargetInfo, report_data: &[u8; 64]) -> Report {
        let body = ReportBody {
            cpu_svn: self.cpu_svn,
            ext_product_id: [0; 16],
            family_id: [0; 16],
            identity: *own,
            report_data: *report_data,
        };
        let key = self.report_key(target, &self.report_key_id);
        let mac = report_mac(&body.to_bytes(), &key);
        Report { body, key_id: self.report_key_id, mac }
    }
}

fn update_attributes(mac: &mut Cmac<Aes128>, a: &Attributes) {
    mac.update(&a.flags.to_le_bytes());
    mac.update(&a.xfrm.to_le_bytes());
}
