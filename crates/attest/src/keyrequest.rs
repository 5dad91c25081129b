//! KEYREQUEST: which key an enclave asks EGETKEY for, 512 bytes (Intel SDM vol. 3D, "KEYREQUEST"; `sgx_key.h`).

use crate::bytes::{Reader, Writer};
use crate::identity::Attributes;
use crate::report::ReportError;

/// Length of a [`KeyRequest`], in bytes.
pub const KEY_REQUEST_LEN: usize = 512;

/// Values of KEYNAME.
pub mod key_name {
    /// The EINITTOKEN key.
    pub const EINITTOKEN: u16 = 0;
    /// The provisioning key.
    pub const PROVISION: u16 = 1;
    /// The provisioning seal key.
    pub const PROVISION_SEAL: u16 = 2;
    /// The report key: verifies reports that are addressed to this enclave.
    pub const REPORT: u16 = 3;
    /// The seal key.
    pub const SEAL: u16 = 4;
}

/// Bits of KEYPOLICY.
pub mod key_policy {
    /// Bind the key to MRENCLAVE.
    pub const MRENCLAVE: u16 = 1;
    /// Bind the key to MRSIGNER.
    pub const MRSIGNER: u16 = 1 << 1;
    /// Leave ISVPRODID out.
    pub const NO_ISVPRODID: u16 = 1 << 2;
    /// Bind the key to CONFIGID and CONFIGSVN.
    pub const CONFIGID: u16 = 1 << 3;
    /// Bind the key to ISVFAMILYID.
    pub const ISVFAMILYID: u16 = 1 << 4;
    /// Bind the key to ISVEXTPRODID.
    pub const ISVEXTPRODID: u16 = 1 << 5;
    /// All bits that have a meaning. EGETKEY refuses any other.
    pub const ALL: u16 = 0x3f;
}

/// What EGETKEY derives a key from, beside the enclave's own identity.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KeyRequest {
    /// KEYNAME, see [`key_name`].
    pub key_name: u16,
    /// KEYPOLICY, see [`key_policy`].
    pub key_policy: u16,
    /// ISVSVN of the key; at most the enclave's own.
    pub isv_svn: u16,
    /// CPUSVN of the key, 16 bytes; at most the platform's own.
    pub cpu_svn: [u8; 16],
    /// ATTRIBUTEMASK: which attribute bits the key is bound to.
    pub attribute_mask: Attributes,
    /// KEYID: wear-out protection, 32 bytes.
    pub key_id: [u8; 32],
    /// MISCMASK: which MISCSELECT bits the key is bound to.
    pub misc_mask: u32,
    /// CONFIGSVN of the key; at most the enclave's own.
    pub config_svn: u16,
}

impl KeyRequest {
    /// Reads a request. Reserved bytes and reserved policy bits must be zero, as EGETKEY demands.
    pub fn parse(bytes: &[u8; KEY_REQUEST_LEN]) -> Result<Self, ReportError> {
        let mut r = Reader::new(bytes);
        let (key_name, key_policy, isv_svn) = (r.u16(), r.u16(), r.u16());
        r.reserved::<2>();
        let cpu_svn = r.array();
        let attribute_mask = Attributes {
            flags: r.u64(),
            xfrm: r.u64(),
        };
        let key_id = r.array();
        let misc_mask = r.u32();
        let config_svn = r.u16();
        r.reserved::<434>();
        if !r.reserved_zero || key_policy & !key_policy::ALL != 0 {
            return Err(ReportError::Reserved);
        }
        Ok(Self {
            key_name,
            key_policy,
            isv_svn,
            cpu_svn,
            attribute_mask,
            key_id,
            misc_mask,
            config_svn,
        })
    }

    /// The 512 bytes.
    pub fn to_bytes(&self) -> [u8; KEY_REQUEST_LEN] {
        Writer::new()
            .put(&self.key_name.to_le_bytes())
            .put(&self.key_policy.to_le_bytes())
            .put(&self.isv_svn.to_le_bytes())
            .reserved::<2>()
            .put(&self.cpu_svn)
            .put(&self.attribute_mask.flags.to_le_bytes())
            .put(&self.attribute_mask.xfrm.to_le_bytes())
            .put(&self.key_id)
            .put(&self.misc_mask.to_le_bytes())
            .put(&self.config_svn.to_le_bytes())
            .finish()
    }
}
