//! A software platform for tests: EGETKEY's rules with SHA-256 in place of the CPU's cipher.
//!
//! Nothing it holds is secret. It is not the simulated machine that Baton runs on in process.

use alloc::collections::VecDeque;

use baton_attest::identity::{
    Attributes, Identity, Measurement, PLATFORM_SGX, Signer, flags, hash,
};
use baton_attest::keyrequest::{KeyRequest, key_name, key_policy};
use baton_attest::report::{Report, ReportBody, TargetInfo, report_mac};

use crate::platform::{CpuSvn, Platform, PlatformError, ReportKey, SealKey};
use crate::secret::Secret;

/// One enclave on one machine.
pub struct FakePlatform {
    /// Who runs.
    pub identity: Identity,
    /// The machine's CPUSVN; this platform compares it byte by byte.
    pub cpu_svn: CpuSvn,
    /// Tells machines apart: their fused key.
    pub machine: u8,
    counter: u64,
    queue: VecDeque<u8>,
}

impl FakePlatform {
    /// Machine `machine` with a fixed identity; its random bytes repeat on every run.
    pub fn new(machine: u8) -> Self {
        let identity = Identity {
            platform_tag: PLATFORM_SGX,
            measurement: Measurement([0x11; 32]),
            signer: Signer([0x22; 32]),
            product_id: 7,
            svn: 3,
            attributes: Attributes {
                flags: flags::INIT | flags::MODE64BIT,
                xfrm: 3,
            },
            misc_select: 0,
            config_id: [0; 64],
            config_svn: 0,
        };
        Self {
            identity,
            cpu_svn: [5; 16],
            machine,
            counter: 0,
            queue: VecDeque::new(),
        }
    }

    fn key(&self, label: &str, parts: &[&[u8]]) -> [u8; 16] {
        let machine = [self.machine];
        let mut all = alloc::vec![label.as_bytes(), &machine[..]];
        all.extend_from_slice(parts);
        let digest = hash("fake platform", &all).0;
        core::array::from_fn(|i| digest.get(i).copied().unwrap_or(0))
    }

    fn report_key_of(&self, target: &TargetInfo) -> [u8; 16] {
        self.key("report", &[&target.to_bytes()])
    }
}

impl Platform for FakePlatform {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn cpu_svn(&self) -> CpuSvn {
        self.cpu_svn
    }

    fn seal_key(&self, request: &KeyRequest) -> Result<SealKey, PlatformError> {
        let id = &self.identity;
        if request.key_name != key_name::SEAL {
            return Err(PlatformError::InvalidKeyName);
        }
        if request
            .cpu_svn
            .iter()
            .zip(&self.cpu_svn)
            .any(|(asked, have)| asked > have)
        {
            return Err(PlatformError::InvalidCpuSvn);
        }
        if request.isv_svn > id.svn {
            return Err(PlatformError::InvalidIsvSvn);
        }
        let bound = |bit, bytes: [u8; 32]| {
            if request.key_policy & bit != 0 {
                bytes
            } else {
                [0; 32]
            }
        };
        let always = flags::INIT | flags::DEBUG;
        let attributes = (request.attribute_mask.flags | always) & id.attributes.flags;
        let xfrm = request.attribute_mask.xfrm & id.attributes.xfrm;
        let key = self.key(
            "seal",
            &[
                &request.to_bytes(),
                &bound(key_policy::MRENCLAVE, id.measurement.0),
                &bound(key_policy::MRSIGNER, id.signer.0),
                &id.product_id.to_le_bytes(),
                &attributes.to_le_bytes(),
                &xfrm.to_le_bytes(),
                &(request.misc_mask & id.misc_select).to_le_bytes(),
            ],
        );
        Ok(Secret::danger_from_bytes(&key))
    }

    fn report_key(&self, _key_id: &[u8; 32]) -> Result<ReportKey, PlatformError> {
        let own = TargetInfo::for_identity(&self.identity);
        Ok(Secret::danger_from_bytes(&self.report_key_of(&own)))
    }

    fn report(&self, target: &TargetInfo, data: &[u8; 64]) -> [u8; 432] {
        let body = ReportBody {
            cpu_svn: self.cpu_svn,
            ext_product_id: [0; 16],
            family_id: [0; 16],
            identity: self.identity,
            report_data: *data,
        };
        let mac = report_mac(&body.to_bytes(), &self.report_key_of(target));
        Report {
            body,
            key_id: [0; 32],
            mac,
        }
        .to_bytes()
    }

    fn random(&mut self, out: &mut [u8]) {
        for byte in out {
            while self.queue.is_empty() {
                let block = hash(
                    "fake random",
                    &[&[self.machine], &self.counter.to_be_bytes()],
                );
                self.counter = self.counter.wrapping_add(1);
                self.queue.extend(block.0);
            }
            *byte = self.queue.pop_front().unwrap_or(0);
        }
    }
}
