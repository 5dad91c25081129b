//! The structures that an enclave hands to ENCLU, byte for byte (Intel SDM vol. 3D, chapter 38,
//! "Enclave access control and data structures").

/// Length of a KEYREQUEST, in bytes.
pub const KEY_REQUEST_LEN: usize = 512;
/// Length of a TARGETINFO, in bytes.
pub const TARGET_INFO_LEN: usize = 512;
/// Length of a REPORT, in bytes.
pub const REPORT_LEN: usize = 432;
/// Length of the part of a REPORT that its MAC covers, in bytes.
pub const REPORT_BODY_LEN: usize = 384;

/// Bits of ATTRIBUTES.FLAGS.
pub mod attribute {
    /// Set by EINIT.
    pub const INIT: u64 = 1;
    /// The debugger may read and write the enclave.
    pub const DEBUG: u64 = 1 << 1;
    /// A 64-bit enclave.
    pub const MODE64BIT: u64 = 1 << 2;
    /// May ask for the provisioning keys.
    pub const PROVISION_KEY: u64 = 1 << 4;
    /// May ask for the launch key.
    pub const EINITTOKEN_KEY: u64 = 1 << 5;
    /// Key separation and sharing: CONFIGID, ISVFAMILYID and ISVEXTPRODID are in use.
    pub const KSS: u64 = 1 << 7;
}

/// Values of KEYNAME.
pub mod key_name {
    /// The launch key.
    pub const EINITTOKEN: u16 = 0;
    /// The provisioning key.
    pub const PROVISION: u16 = 1;
    /// The provisioning seal key.
    pub const PROVISION_SEAL: u16 = 2;
    /// The key that checks reports made for the caller.
    pub const REPORT: u16 = 3;
    /// The seal key.
    pub const SEAL: u16 = 4;
}

/// Bits of KEYPOLICY.
pub mod key_policy {
    /// Bind to MRENCLAVE.
    pub const MRENCLAVE: u16 = 1;
    /// Bind to MRSIGNER.
    pub const MRSIGNER: u16 = 1 << 1;
    /// Leave ISVPRODID out.
    pub const NO_ISVPRODID: u16 = 1 << 2;
    /// Bind to CONFIGID and CONFIGSVN.
    pub const CONFIGID: u16 = 1 << 3;
    /// Bind to ISVFAMILYID.
    pub const ISVFAMILYID: u16 = 1 << 4;
    /// Bind to ISVEXTPRODID.
    pub const ISVEXTPRODID: u16 = 1 << 5;
    /// The bits that only an enclave with the attribute KSS may set.
    pub const KSS: u16 = 0x3c;
    /// All bits that have a meaning.
    pub const ALL: u16 = 0x3f;
}

/// ATTRIBUTES, 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Attributes {
    /// See [`attribute`].
    pub flags: u64,
    /// XFRM: the XSAVE components that the enclave uses.
    pub xfrm: u64,
}

/// Who an enclave is: the fields of its SECS that keys and reports depend on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// MRENCLAVE.
    pub mr_enclave: [u8; 32],
    /// MRSIGNER.
    pub mr_signer: [u8; 32],
    /// ISVPRODID.
    pub product_id: u16,
    /// ISVSVN.
    pub svn: u16,
    /// ATTRIBUTES, INIT included.
    pub attributes: Attributes,
    /// MISCSELECT.
    pub misc_select: u32,
    /// CONFIGID; zero without KSS.
    pub config_id: [u8; 64],
    /// CONFIGSVN; zero without KSS.
    pub config_svn: u16,
    /// ISVEXTPRODID; zero without KSS.
    pub ext_product_id: [u8; 16],
    /// ISVFAMILYID; zero without KSS.
    pub family_id: [u8; 16],
}

impl Identity {
    /// Whether the enclave runs in debug mode.
    pub fn is_debug(&self) -> bool {
        self.attributes.flags & attribute::DEBUG != 0
    }

    /// What another enclave on this machine needs to know to make a report for this one.
    pub fn target_info(&self) -> TargetInfo {
        TargetInfo {
            mr_enclave: self.mr_enclave,
            attributes: self.attributes,
            misc_select: self.misc_select,
            config_id: self.config_id,
            config_svn: self.config_svn,
        }
    }
}

/// KEYREQUEST: which key, bound to what.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KeyRequest {
    /// KEYNAME, see [`key_name`].
    pub name: u16,
    /// KEYPOLICY, see [`key_policy`].
    pub policy: u16,
    /// ISVSVN of the key, at most the enclave's own.
    pub isv_svn: u16,
    /// CPUSVN of the key, at most the machine's own.
    pub cpu_svn: [u8; 16],
    /// ATTRIBUTEMASK: the attribute bits that the key is bound to.
    pub attribute_mask: Attributes,
    /// KEYID.
    pub key_id: [u8; 32],
    /// MISCMASK: the MISCSELECT bits that the key is bound to.
    pub misc_mask: u32,
    /// CONFIGSVN of the key, at most the enclave's own.
    pub config_svn: u16,
}

impl KeyRequest {
    /// Reads a request; `None` if a reserved byte or policy bit is set, which EGETKEY answers with #GP.
    pub fn parse(bytes: &[u8; KEY_REQUEST_LEN]) -> Option<Self> {
        let mut r = Fields::new(bytes);
        let (name, policy, isv_svn) = (r.u16(), r.u16(), r.u16());
        r.reserved(2);
        let out = Self {
            name,
            policy,
            isv_svn,
            cpu_svn: r.array(),
            attribute_mask: r.attributes(),
            key_id: r.array(),
            misc_mask: r.u32(),
            config_svn: r.u16(),
        };
        r.reserved(434);
        (r.zero && policy & !key_policy::ALL == 0).then_some(out)
    }

    /// The 512 bytes.
    pub fn to_bytes(&self) -> [u8; KEY_REQUEST_LEN] {
        let parts: [&[u8]; 11] = [
            &self.name.to_le_bytes(),
            &self.policy.to_le_bytes(),
            &self.isv_svn.to_le_bytes(),
            &[0; 2],
            &self.cpu_svn,
            &self.attribute_mask.flags.to_le_bytes(),
            &self.attribute_mask.xfrm.to_le_bytes(),
            &self.key_id,
            &self.misc_mask.to_le_bytes(),
            &self.config_svn.to_le_bytes(),
            &[0; 434],
        ];
        joined(&parts)
    }
}

/// TARGETINFO: the enclave that a report is made for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TargetInfo {
    /// MEASUREMENT: its MRENCLAVE.
    pub mr_enclave: [u8; 32],
    /// Its ATTRIBUTES.
    pub attributes: Attributes,
    /// Its MISCSELECT.
    pub misc_select: u32,
    /// Its CONFIGID.
    pub config_id: [u8; 64],
    /// Its CONFIGSVN.
    pub config_svn: u16,
}

impl TargetInfo {
    /// Reads a target; `None` if a reserved byte is set, which EREPORT answers with #GP.
    pub fn parse(bytes: &[u8; TARGET_INFO_LEN]) -> Option<Self> {
        let mut r = Fields::new(bytes);
        let (mr_enclave, attributes) = (r.array(), r.attributes());
        r.reserved(2); // CET_ATTRIBUTES and a reserved byte: this machine has no CET
        let (config_svn, misc_select) = (r.u16(), r.u32());
        r.reserved(8);
        let config_id = r.array();
        r.reserved(384);
        r.zero.then_some(Self {
            mr_enclave,
            attributes,
            misc_select,
            config_id,
            config_svn,
        })
    }

    /// The 512 bytes.
    pub fn to_bytes(&self) -> [u8; TARGET_INFO_LEN] {
        let parts: [&[u8]; 9] = [
            &self.mr_enclave,
            &self.attributes.flags.to_le_bytes(),
            &self.attributes.xfrm.to_le_bytes(),
            &[0; 2],
            &self.config_svn.to_le_bytes(),
            &self.misc_select.to_le_bytes(),
            &[0; 8],
            &self.config_id,
            &[0; 384],
        ];
        joined(&parts)
    }
}

/// What a REPORT says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReportBody {
    /// CPUSVN of the machine.
    pub cpu_svn: [u8; 16],
    /// Who made the report.
    pub identity: Identity,
    /// REPORTDATA: the caller's own 64 bytes.
    pub report_data: [u8; 64],
}

impl ReportBody {
    /// Reads the first 384 bytes of a REPORT; `None` if a reserved byte is set.
    pub fn parse(bytes: &[u8; REPORT_BODY_LEN]) -> Option<Self> {
        let mut r = Fields::new(bytes);
        let (cpu_svn, misc_select) = (r.array(), r.u32());
        r.reserved(12);
        let (ext_product_id, attributes) = (r.array(), r.attributes());
        let mr_enclave = r.array();
        r.reserved(32);
        let mr_signer = r.array();
        r.reserved(32);
        let config_id = r.array();
        let (product_id, svn, config_svn) = (r.u16(), r.u16(), r.u16());
        r.reserved(42);
        let (family_id, report_data) = (r.array(), r.array());
        let identity = Identity {
            mr_enclave,
            mr_signer,
            product_id,
            svn,
            attributes,
            misc_select,
            config_id,
            config_svn,
            ext_product_id,
            family_id,
        };
        r.zero.then_some(Self {
            cpu_svn,
            identity,
            report_data,
        })
    }

    /// The 384 bytes.
    pub fn to_bytes(&self) -> [u8; REPORT_BODY_LEN] {
        let id = &self.identity;
        let parts: [&[u8]; 17] = [
            &self.cpu_svn,
            &id.misc_select.to_le_bytes(),
            &[0; 12],
            &id.ext_product_id,
            &id.attributes.flags.to_le_bytes(),
            &id.attributes.xfrm.to_le_bytes(),
            &id.mr_enclave,
            &[0; 32],
            &id.mr_signer,
            &[0; 32],
            &id.config_id,
            &id.product_id.to_le_bytes(),
            &id.svn.to_le_bytes(),
            &id.config_svn.to_le_bytes(),
            &[0; 42],
            &id.family_id,
            &self.report_data,
        ];
        joined(&parts)
    }
}

/// Little-endian fields, one after the other. Reading past the end gives zeros.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    /// Whether every reserved byte so far was zero.
    pub(crate) zero: bool,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            zero: true,
        }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        match self.rest.split_first_chunk() {
            Some((head, tail)) => {
                self.rest = tail;
                *head
            }
            None => [0; N],
        }
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    pub(crate) fn attributes(&mut self) -> Attributes {
        Attributes {
            flags: self.u64(),
            xfrm: self.u64(),
        }
    }

    pub(crate) fn reserved(&mut self, len: usize) {
        let (head, tail) = self.rest.split_at(len.min(self.rest.len()));
        self.zero &= head.iter().all(|b| *b == 0);
        self.rest = tail;
    }
}

/// The parts one after the other. The callers' parts have `N` bytes together.
fn joined<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut out = [0; N];
    let bytes = parts.iter().flat_map(|p| p.iter());
    out.iter_mut().zip(bytes).for_each(|(o, b)| *o = *b);
    debug_assert_eq!(parts.iter().map(|p| p.len()).sum::<usize>(), N);
    out
}
