//! SGXS: an enclave's build as the stream of records that MRENCLAVE is the hash of.
//!
//! Format: the SGXS stream of Fortanix EDP (`sgxs` crate, `sgxs.rs`), which is what ECREATE, EADD and
//! EEXTEND hash (Intel SDM vol. 3D): 64-byte records, an EEXTEND followed by its 256 bytes. A record that
//! is not measured (`UNMEASRD`) is skipped and counted, so that a reader sees that the file says more than
//! its measurement does.
//!
//! The stream is read strictly: one canonical order, reserved bytes zero, so that two readers never see
//! two enclaves.

use alloc::string::String;
use alloc::vec::Vec;

use sha2::{Digest, Sha256};

use crate::bytes::{Reader, Writer};
use crate::identity::{Measurement, encode};

/// Length of a page, in bytes.
pub const PAGE_LEN: usize = 4096;
/// Length of what one EEXTEND measures, in bytes.
pub const CHUNK_LEN: usize = 256;
const RECORD_LEN: usize = 64;

const ECREATE: [u8; 8] = *b"ECREATE\0";
const EADD: [u8; 8] = *b"EADD\0\0\0\0";
const EEXTEND: [u8; 8] = *b"EEXTEND\0";
const UNMEASURED: [u8; 8] = *b"UNMEASRD";

/// SECINFO.FLAGS of a regular, readable page: R, PT_REG (Intel SDM vol. 3D, "SECINFO").
pub const READ_ONLY_PAGE: u64 = 0x201;

/// What is known of a measured stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Measured {
    /// MRENCLAVE.
    pub measurement: Measurement,
    /// Size of the enclave's address range, bytes.
    pub size: u64,
    /// SSAFRAMESIZE, pages.
    pub ssa_frame_pages: u32,
    /// Pages that are added.
    pub pages: u64,
    /// Chunks of 256 bytes that are loaded but not measured.
    pub unmeasured_chunks: u64,
}

/// Why bytes are not a canonical SGXS stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SgxsError {
    /// The stream ends inside a record.
    #[error("the stream ends inside a record at byte {at}: the file is cut off")]
    Truncated {
        /// Where the record starts.
        at: usize,
    },
    /// A record of an unknown kind.
    #[error("unknown record at byte {at}, expected ECREATE, EADD, EEXTEND or UNMEASRD")]
    Unknown {
        /// Where the record starts.
        at: usize,
    },
    /// The first record, and only the first, creates the enclave.
    #[error("ECREATE at byte {at}, expected it at byte 0 and only there")]
    Create {
        /// Where the record starts.
        at: usize,
    },
    /// A value that the architecture or the canonical order does not allow.
    #[error("{field} is {got:#x} at byte {at}, expected {expected}")]
    Value {
        /// Name of the field.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        got: u64,
        /// Where the record starts.
        at: usize,
    },
    /// A reserved byte is in use.
    #[error("a reserved byte is not zero in the record at byte {at}")]
    Reserved {
        /// Where the record starts.
        at: usize,
    },
}

/// Measures a stream: SHA-256 over its ECREATE, EADD and EEXTEND records.
pub fn measure(stream: &[u8]) -> Result<Measured, SgxsError> {
    let mut state = State::default();
    let mut rest = stream;
    while !rest.is_empty() {
        let at = stream.len().saturating_sub(rest.len());
        let truncated = SgxsError::Truncated { at };
        let (record, tail) = rest.split_first_chunk::<RECORD_LEN>().ok_or(truncated)?;
        rest = match state.record(record, at)? {
            false => tail,
            true => {
                let (chunk, tail) = tail.split_first_chunk::<CHUNK_LEN>().ok_or(truncated)?;
                if record.starts_with(&EEXTEND) {
                    state.hash.update(chunk);
                }
                tail
            }
        };
    }
    match state.size {
        0 => Err(SgxsError::Create { at: 0 }),
        size => Ok(Measured {
            measurement: Measurement(state.hash.finalize().into()),
            size,
            ssa_frame_pages: state.ssa_frame_pages,
            pages: state.pages,
            unmeasured_chunks: state.unmeasured_chunks,
        }),
    }
}

#[derive(Default)]
struct State {
    hash: Sha256,
    size: u64,
    ssa_frame_pages: u32,
    pages: u64,
    unmeasured_chunks: u64,
    /// Offset of the page that was added last.
    page: Option<u64>,
    /// The least offset of the next chunk.
    next_chunk: u64,
}

impl State {
    /// Takes one record; true if 256 bytes follow it.
    fn record(&mut self, record: &[u8; RECORD_LEN], at: usize) -> Result<bool, SgxsError> {
        let mut r = Reader::new(record);
        let tag: [u8; 8] = r.array();
        if (tag == ECREATE) != (at == 0) {
            return Err(SgxsError::Create { at });
        }
        match tag {
            ECREATE => self.create(&mut r, at)?,
            EADD => self.add(&mut r, at)?,
            EEXTEND | UNMEASURED => self.chunk(&mut r, at)?,
            _ => return Err(SgxsError::Unknown { at }),
        }
        if !r.reserved_zero {
            return Err(SgxsError::Reserved { at });
        }
        match tag {
            UNMEASURED => self.unmeasured_chunks = self.unmeasured_chunks.saturating_add(1),
            _ => self.hash.update(record),
        }
        Ok(tag == EEXTEND || tag == UNMEASURED)
    }

    fn create(&mut self, r: &mut Reader<'_>, at: usize) -> Result<(), SgxsError> {
        self.ssa_frame_pages = r.u32();
        self.size = r.u64();
        r.reserved::<44>();
        check(
            self.ssa_frame_pages > 0,
            "SSAFRAMESIZE",
            "at least 1",
            0,
            at,
        )?;
        let good = self.size.is_power_of_two() && self.size >= PAGE_LEN as u64;
        check(
            good,
            "SIZE",
            "a power of two, a page at least",
            self.size,
            at,
        )
    }

    fn add(&mut self, r: &mut Reader<'_>, at: usize) -> Result<(), SgxsError> {
        let offset = r.u64();
        let _secinfo_flags = r.u64();
        r.reserved::<40>();
        let next = self.page.map_or(0, |p| p.saturating_add(PAGE_LEN as u64));
        let good = offset >= next && offset.is_multiple_of(PAGE_LEN as u64) && offset < self.size;
        check(
            good,
            "the offset of a page",
            "a later page inside the enclave",
            offset,
            at,
        )?;
        self.page = Some(offset);
        self.next_chunk = offset;
        self.pages = self.pages.saturating_add(1);
        Ok(())
    }

    fn chunk(&mut self, r: &mut Reader<'_>, at: usize) -> Result<(), SgxsError> {
        let offset = r.u64();
        r.reserved::<48>();
        let inside = self
            .page
            .is_some_and(|p| offset >= p && offset < p.saturating_add(PAGE_LEN as u64));
        let good = inside && offset >= self.next_chunk && offset.is_multiple_of(CHUNK_LEN as u64);
        check(
            good,
            "the offset of a chunk",
            "a later chunk of the last page",
            offset,
            at,
        )?;
        self.next_chunk = offset.saturating_add(CHUNK_LEN as u64);
        Ok(())
    }
}

fn check(
    good: bool,
    field: &'static str,
    expected: &'static str,
    got: u64,
    at: usize,
) -> Result<(), SgxsError> {
    match good {
        true => Ok(()),
        false => Err(SgxsError::Value {
            field,
            expected,
            got,
            at,
        }),
    }
}

/// The stream of a build that runs on `sim`: there is no machine code to measure, so its pages hold the
/// CBOR array [`"baton sim build v1"`, name, version, policy]. Another name, version or policy is another enclave.
pub fn sim_build(name: &str, version: &str, policy: &[u8]) -> Vec<u8> {
    let policy = <&minicbor::bytes::ByteSlice>::from(policy);
    let content = encode(&("baton sim build v1", name, version, policy));
    let pages = content.len().div_ceil(PAGE_LEN) as u64;
    let size = pages.saturating_mul(PAGE_LEN as u64).next_power_of_two();
    let mut out = Vec::new();
    let create: [u8; RECORD_LEN] = Writer::new()
        .put(&ECREATE)
        .put(&1u32.to_le_bytes())
        .put(&size.to_le_bytes())
        .finish();
    out.extend_from_slice(&create);
    for (page, index) in content.chunks(PAGE_LEN).zip(0u64..) {
        let base = index.saturating_mul(PAGE_LEN as u64);
        let add: [u8; RECORD_LEN] = Writer::new()
            .put(&EADD)
            .put(&base.to_le_bytes())
            .put(&READ_ONLY_PAGE.to_le_bytes())
            .finish();
        out.extend_from_slice(&add);
        add_chunks(&mut out, page, base);
    }
    out
}

/// Name, version and policy of a stream that [`sim_build`] made; `None` for any other stream.
pub fn sim_contents(stream: &[u8]) -> Option<(String, String, Vec<u8>)> {
    measure(stream).ok()?;
    let mut content = Vec::new();
    let mut rest = stream;
    while let Some((record, tail)) = rest.split_first_chunk::<RECORD_LEN>() {
        rest = match record.starts_with(&EEXTEND) {
            false => tail,
            true => {
                let (chunk, tail) = tail.split_first_chunk::<CHUNK_LEN>()?;
                content.extend_from_slice(chunk);
                tail
            }
        };
    }
    let (tag, name, version, policy): (&str, &str, &str, &minicbor::bytes::ByteSlice) =
        minicbor::decode(&content).ok()?;
    (tag == "baton sim build v1").then(|| (name.into(), version.into(), policy.to_vec()))
}

/// All 16 chunks of a page; what the content leaves open is zero.
fn add_chunks(out: &mut Vec<u8>, page: &[u8], base: u64) {
    let mut chunks = page.chunks(CHUNK_LEN);
    for index in 0..(PAGE_LEN / CHUNK_LEN) as u64 {
        let offset = base.saturating_add(index.saturating_mul(CHUNK_LEN as u64));
        let extend: [u8; RECORD_LEN] = Writer::new()
            .put(&EEXTEND)
            .put(&offset.to_le_bytes())
            .finish();
        let chunk: [u8; CHUNK_LEN] = Writer::new()
            .put(chunks.next().unwrap_or_default())
            .finish();
        out.extend_from_slice(&extend);
        out.extend_from_slice(&chunk);
    }
}
