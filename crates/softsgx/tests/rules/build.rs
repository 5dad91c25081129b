//! Builds, signs and enters the test enclave.

use std::sync::{Arc, OnceLock};

use rsa::pkcs8::DecodePrivateKey;
use rsa::traits::PublicKeyParts;
use rsa::{BigUint, Pkcs1v15Sign, RsaPrivateKey};
use sgx_isa::{AttributesFlags, Miscselect};
use sgxs::crypto::{Hash, SgxHashOps, SgxRsaOps};
use sgxs::loader::{Mapping, MappingInfo};
use sgxs::sigstruct::{EnclaveHash, Signer};
use sha2::{Digest, Sha256};
use softsgx::{
    Attributes, Device, Error, Exit, Identity, KeyRequest, Mode, Platform, Registers, TargetInfo,
};

use crate::program::{Command, program};

/// Where things lie in the enclave.
pub const CODE: u64 = 0x1000;
pub const DATA: u64 = 0x2000;
pub const GUARD: u64 = 0x3000;
pub const STACK: u64 = 0x4000;
pub const LOCAL: u64 = 0x5000;
pub const TCS: [u64; 2] = [0x6000, 0x9000];
pub const SIZE: u64 = 0x10000;
/// What lies at the start of the thread data, where GS points.
pub const MARK: u64 = 0x1122_3344_5566_7788;

pub const RW: u64 = 0x203;
pub const RX: u64 = 0x205;
pub const TCS_FLAGS: u64 = 0x100;

/// An SGXS stream, record by record.
#[derive(Clone, Default)]
pub struct Stream(pub Vec<Vec<u8>>);

impl Stream {
    pub fn create(size: u64, ssa_pages: u32) -> Self {
        let mut record = b"ECREATE\0".to_vec();
        record.extend(ssa_pages.to_le_bytes());
        record.extend(size.to_le_bytes());
        record.resize(64, 0);
        Self(vec![record])
    }

    pub fn page(&mut self, offset: u64, flags: u64, data: &[u8]) -> &mut Self {
        assert!(data.len() <= 4096);
        self.0.push(header(b"EADD\0\0\0\0", offset, flags));
        let mut page = data.to_vec();
        page.resize(4096, 0);
        for (i, chunk) in page.chunks(256).enumerate() {
            let mut record = header(b"EEXTEND\0", offset + i as u64 * 256, 0);
            record.extend(chunk);
            self.0.push(record);
        }
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.0.concat()
    }
}

pub fn header(tag: &[u8; 8], offset: u64, flags: u64) -> Vec<u8> {
    let mut record = tag.to_vec();
    record.extend(offset.to_le_bytes());
    record.extend(flags.to_le_bytes());
    record.resize(64, 0);
    record
}

/// A TCS of this layout; its state save area is the pages behind it.
pub fn tcs(offset: u64, nssa: u32) -> Vec<u8> {
    let mut out = vec![0; 16];
    out.extend((offset + 0x1000).to_le_bytes()); // OSSA
    out.extend(0u32.to_le_bytes()); // CSSA
    out.extend(nssa.to_le_bytes());
    out.extend(CODE.to_le_bytes()); // OENTRY
    out.extend([0; 8]);
    out.extend(LOCAL.to_le_bytes()); // OFSBASGX
    out.extend(LOCAL.to_le_bytes()); // OGSBASGX
    out.extend([0xff, 0x0f, 0, 0, 0xff, 0x0f, 0, 0]); // limits
    out
}

/// The test enclave; `version` makes another build of it.
pub fn stream(version: u64) -> Stream {
    let mut s = Stream::create(SIZE, 1);
    s.page(CODE, RX, program());
    s.page(DATA, RW, &[]);
    s.page(STACK, RW, &[]);
    s.page(
        LOCAL,
        RW,
        &[MARK.to_le_bytes(), version.to_le_bytes()].concat(),
    );
    for at in TCS {
        s.page(at, TCS_FLAGS, &tcs(at, 2));
        s.page(at + 0x1000, RW, &[]);
        s.page(at + 0x2000, RW, &[]);
    }
    s
}

/// How an enclave is signed and launched.
#[derive(Clone)]
pub struct Options {
    pub key: u8,
    pub version: u64,
    pub product_id: u16,
    pub svn: u16,
    pub flags: u64,
    pub xfrm: u64,
    pub misc_select: u32,
    pub ext_product_id: [u8; 16],
}

impl Default for Options {
    fn default() -> Self {
        Self {
            key: 1,
            version: 1,
            product_id: 7,
            svn: 3,
            flags: 4,
            xfrm: 3,
            misc_select: 0,
            ext_product_id: [0; 16],
        }
    }
}

impl Options {
    pub fn attributes(&self) -> Attributes {
        Attributes {
            flags: self.flags,
            xfrm: self.xfrm,
        }
    }

    /// A SIGSTRUCT that allows exactly this launch, made by the library of Fortanix's tools.
    pub fn sigstruct(&self, stream: &[u8]) -> sgx_isa::Sigstruct {
        let mut signer = Signer::new(reference_measurement(stream));
        // SAFETY: the type is a transparent word; any bits are valid in it.
        let flags = unsafe { AttributesFlags::from_bits_unchecked(self.flags) };
        signer
            .date(2026, 1, 1)
            .attributes_flags(flags, !0)
            .attributes_xfrm(self.xfrm, !0)
            .miscselect(Miscselect::from_bits_truncate(self.misc_select), !0)
            .isvprodid(self.product_id)
            .isvsvn(self.svn)
            .isvextprodid(self.ext_product_id);
        signer.sign::<_, Sha>(Key::number(self.key)).unwrap()
    }

    pub fn launch(&self, device: &Device) -> Result<Enclave, Error> {
        let stream = stream(self.version).bytes();
        let sig = self.sigstruct(&stream);
        let mapping = device.launch(&mut &stream[..], &sig, self.attributes(), self.misc_select)?;
        Ok(Enclave(Arc::new(mapping)))
    }
}

pub fn platform() -> Platform {
    Platform::from_seed([42; 32])
}

pub fn device() -> Device {
    with_mode(Mode::Direct)
}

pub fn with_mode(mode: Mode) -> Device {
    Device::builder()
        .platform(platform())
        .mode(mode)
        .build()
        .unwrap()
}

/// A running test enclave.
#[derive(Clone)]
pub struct Enclave(pub Arc<Mapping<Device>>);

// SAFETY: the addresses in `Info` and `Tcs` are only handed to EENTER, which any thread may do; the
// emulated CPU lets one thread at a time in at a TCS.
unsafe impl Send for Enclave {}

impl Enclave {
    pub fn new() -> Self {
        Options::default().launch(&device()).unwrap()
    }

    pub fn identity(&self) -> Identity {
        self.0.info.identity()
    }

    pub fn base(&self) -> u64 {
        self.0.info.address() as u64
    }

    pub fn contains(&self, address: u64) -> bool {
        (self.base()..self.base() + self.0.info.size() as u64).contains(&address)
    }

    /// Enters at a thread with a command and its operands.
    pub fn call_at(&self, thread: usize, command: Command, rsi: u64, rdx: u64, r8: u64) -> Exit {
        self.enter(
            thread,
            Registers {
                rdi: command as u64,
                rsi,
                rdx,
                r8,
                ..Registers::default()
            },
        )
    }

    pub fn call(&self, command: Command, rsi: u64, rdx: u64, r8: u64) -> Exit {
        self.call_at(0, command, rsi, rdx, r8)
    }

    pub fn resume(&self) -> Exit {
        self.enter(
            0,
            Registers {
                resume: true,
                ..Registers::default()
            },
        )
    }

    fn enter(&self, thread: usize, registers: Registers) -> Exit {
        // SAFETY: the program (see `program.rs`) touches only its own pages and the buffers that the
        // callers below pass, and leaves by EEXIT with the stack pointers that it came with.
        unsafe { softsgx::enter(&self.0.tcss[thread], &registers) }
    }

    /// EGETKEY inside: the code in RAX, ZF, and the key.
    pub fn get_key(&self, request: &KeyRequest) -> Result<[u8; 16], u64> {
        self.get_key_raw(&request.to_bytes())
            .unwrap_or_else(|exit| panic!("{exit:?}"))
    }

    pub fn get_key_raw(&self, request: &[u8; 512]) -> Result<Result<[u8; 16], u64>, Exit> {
        let mut key = [0u8; 16];
        let out = self.call(
            Command::GetKey,
            request.as_ptr() as u64,
            key.as_mut_ptr() as u64,
            0,
        );
        match out {
            Exit::Exited(Registers { rdi: 0, rsi: 0, .. }) => Ok(Ok(key)),
            Exit::Exited(Registers {
                rdi: code, rsi: 1, ..
            }) => {
                assert_eq!(key, [0; 16], "a refused key is not handed out");
                Ok(Err(code))
            }
            other => Err(other),
        }
    }

    /// EREPORT inside.
    pub fn report(&self, target: &TargetInfo, data: &[u8; 64]) -> [u8; 432] {
        let mut operands = target.to_bytes().to_vec();
        operands.extend(data);
        let mut out = [0u8; 432];
        let exit = self.call(
            Command::Report,
            operands.as_ptr() as u64,
            out.as_mut_ptr() as u64,
            0,
        );
        assert!(matches!(exit, Exit::Exited(_)), "{exit:?}");
        out
    }
}

/// MRENCLAVE as the `sgxs` library computes it.
pub fn reference_measurement(stream: &[u8]) -> EnclaveHash {
    EnclaveHash::from_stream::<_, Sha>(&mut &stream[..]).unwrap()
}

/// SHA-256 for the `sgxs` library.
struct Sha(Sha256);

impl SgxHashOps for Sha {
    fn new() -> Self {
        Self(Sha256::new())
    }

    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn finish(self) -> Hash {
        self.0.finalize().into()
    }
}

/// A signing key for the `sgxs` library.
pub struct Key(RsaPrivateKey);

impl Key {
    pub fn number(number: u8) -> &'static Self {
        static KEYS: OnceLock<[Key; 2]> = OnceLock::new();
        let parse = |pem| Self(RsaPrivateKey::from_pkcs8_pem(pem).unwrap());
        let keys = KEYS.get_or_init(|| {
            [
                parse(include_str!("../fixtures/signer-1.pem")),
                parse(include_str!("../fixtures/signer-2.pem")),
            ]
        });
        &keys[usize::from(number) - 1]
    }

    /// Signs whatever the fields now say.
    pub fn sign_again(&self, sig: &mut sgx_isa::Sigstruct) {
        let (head, body) = sig.signature_data();
        let hash = Sha256::new().chain_update(head).chain_update(body).finalize();
        let (s, q1, q2) = self.sign_sha256_pkcs1v1_5_with_q1_q2(hash).unwrap();
        let put = |out: &mut [u8; 384], value: Vec<u8>| {
            *out = [0; 384];
            out[..value.len()].copy_from_slice(&value);
        };
        put(&mut sig.signature, s);
        put(&mut sig.q1, q1);
        put(&mut sig.q2, q2);
    }

    /// MRSIGNER.
    pub fn signer(&self) -> [u8; 32] {
        Sha256::digest(self.n()).into()
    }
}

fn padding() -> Pkcs1v15Sign {
    let prefix = [
        0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01,
        0x05, 0x00, 0x04, 0x20,
    ];
    Pkcs1v15Sign {
        hash_len: Some(32),
        prefix: Box::new(prefix),
    }
}

impl SgxRsaOps for Key {
    type Error = rsa::Error;

    fn len(&self) -> usize {
        self.0.n().bits()
    }

    fn sign_sha256_pkcs1v1_5_with_q1_q2<H: AsRef<[u8]>>(
        &self,
        hash: H,
    ) -> Result<(Vec<u8>, Vec<u8>, Vec<u8>), rsa::Error> {
        let s = BigUint::from_bytes_be(&self.0.sign(padding(), hash.as_ref())?);
        let n = self.0.n();
        let square = &s * &s;
        let (q1, q2) = (&square / n, (&square % n) * &s / n);
        Ok((s.to_bytes_le(), q1.to_bytes_le(), q2.to_bytes_le()))
    }

    fn verify_sha256_pkcs1v1_5<S: AsRef<[u8]>, H: AsRef<[u8]>>(
        &self,
        sig: S,
        hash: H,
    ) -> Result<(), rsa::Error> {
        let mut sig = sig.as_ref().to_vec();
        sig.reverse();
        self.0
            .to_public_key()
            .verify(padding(), hash.as_ref(), &sig)
    }

    fn e(&self) -> Vec<u8> {
        self.0.e().to_bytes_le()
    }

    fn n(&self) -> Vec<u8> {
        self.0.n().to_bytes_le()
    }
}
