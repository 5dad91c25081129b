//! ECREATE, EADD and EEXTEND: an SGXS stream becomes an image and its measurement.
//!
//! The stream is read in its canonical order only. Hardware would take another order and measure another
//! enclave; here the reader says at once what is wrong with the file.

use sgx_isa::{MEAS_EADD, MEAS_ECREATE, MEAS_EEXTEND};
use sgxs::sgxs::{Meas, SgxsRead};
use sha2::{Digest, Sha256};

use crate::structs::Fields;

/// Length of a page, in bytes.
pub const PAGE: u64 = 4096;
const CHUNK: u64 = 256;

/// SECINFO.FLAGS of pages.
pub(crate) mod page_flags {
    pub const R: u64 = 1;
    pub const W: u64 = 1 << 1;
    pub const X: u64 = 1 << 2;
    pub const TYPE: u64 = 0xff00;
    pub const TCS: u64 = 1 << 8;
    pub const REG: u64 = 2 << 8;
}

/// Why a stream builds no enclave.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The file cannot be read, is cut off, or holds an unknown record.
    #[error("record {record} of the SGXS stream cannot be read: {reason}")]
    Read {
        /// Which record, from 0.
        record: u64,
        /// What the reader said.
        reason: String,
    },
    /// ECREATE missing, or not first, or twice; or a stream without its size.
    #[error("record {record} of the SGXS stream is {got}, expected {expected}")]
    Order {
        /// Which record, from 0.
        record: u64,
        /// What is there.
        got: &'static str,
        /// What should be.
        expected: &'static str,
    },
    /// A value that the architecture or the canonical order does not allow.
    #[error("{field} is {got:#x} in record {record} of the SGXS stream, expected {expected}")]
    Value {
        /// Which record, from 0.
        record: u64,
        /// The field.
        field: &'static str,
        /// What is there.
        got: u64,
        /// What should be.
        expected: &'static str,
    },
    /// A field of a TCS that EADD or EENTER would refuse.
    #[error(
        "the thread (TCS) at offset {offset:#x} is wrong: {field} is {got:#x}, expected {expected}"
    )]
    Tcs {
        /// Where its page lies in the enclave.
        offset: u64,
        /// The field.
        field: &'static str,
        /// What is there.
        got: u64,
        /// What should be.
        expected: &'static str,
    },
}

/// One page: its place, its SECINFO flags, and its bytes unless they are all zero.
pub(crate) struct Page {
    pub offset: u64,
    pub flags: u64,
    pub data: Option<Box<[u8; PAGE as usize]>>,
}

/// What ECREATE, EADD and EEXTEND made.
pub struct Image {
    /// Size of the enclave's address range (ELRANGE), bytes.
    pub(crate) size: u64,
    /// SSAFRAMESIZE, pages.
    pub(crate) ssa_frame_pages: u32,
    pub(crate) pages: Vec<Page>,
    pub(crate) threads: Vec<TcsFields>,
    pub(crate) mr_enclave: [u8; 32],
}

/// The fields of a TCS that EENTER uses. Offsets count from the enclave's base.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TcsFields {
    pub offset: u64,
    pub ossa: u64,
    pub nssa: u32,
    pub oentry: u64,
    pub ogsbase: u64,
}

impl Image {
    /// Reads and measures a whole stream.
    pub fn read<R: SgxsRead>(reader: &mut R) -> Result<Self, StreamError> {
        let mut state = Builder::default();
        while let Some(record) = reader.read_meas().map_err(|e| state.unreadable(&e))? {
            state.record(record)?;
            state.record += 1;
        }
        state.finish()
    }

    /// MRENCLAVE.
    pub fn mr_enclave(&self) -> [u8; 32] {
        self.mr_enclave
    }

    /// Size of the enclave's address range (ELRANGE), bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Number of threads (TCS pages).
    pub fn threads(&self) -> usize {
        self.threads.len()
    }
}

#[derive(Default)]
struct Builder {
    record: u64,
    hash: Sha256,
    size: u64,
    ssa_frame_pages: u32,
    pages: Vec<Page>,
    /// The least offset of the next chunk of the last page.
    next_chunk: u64,
}

impl Builder {
    fn unreadable(&self, error: &dyn std::fmt::Display) -> StreamError {
        let cut = error.to_string().contains("fill whole buffer");
        StreamError::Read {
            record: self.record,
            reason: match cut {
                true => "the file is cut off in it".into(),
                false => error.to_string(),
            },
        }
    }

    fn value(
        &self,
        good: bool,
        field: &'static str,
        got: u64,
        expected: &'static str,
    ) -> Result<(), StreamError> {
        match good {
            true => Ok(()),
            false => Err(StreamError::Value {
                record: self.record,
                field,
                got,
                expected,
            }),
        }
    }

    fn order(&self, got: &'static str, expected: &'static str) -> StreamError {
        StreamError::Order {
            record: self.record,
            got,
            expected,
        }
    }

    fn record(&mut self, record: Meas) -> Result<(), StreamError> {
        match record {
            Meas::ECreate(create) if self.record == 0 => {
                self.create(create.size, create.ssaframesize)
            }
            Meas::ECreate(_) => Err(self.order("a second ECREATE", "EADD or EEXTEND")),
            Meas::Unsized(_) => Err(self.order("a header without a size", "ECREATE")),
            _ if self.record == 0 => Err(self.order("something else", "ECREATE")),
            Meas::EAdd(add) => self.add(add.offset, add.secinfo.flags.bits()),
            Meas::EExtend { header, data } => self.chunk(header.offset, &data, true),
            Meas::Unmeasured { header, data } => self.chunk(header.offset, &data, false),
            Meas::BareEExtend(_) | Meas::BareUnmeasured(_) => {
                Err(self.order("a chunk without its bytes", "a chunk with them"))
            }
        }
    }

    fn create(&mut self, size: u64, ssa_frame_pages: u32) -> Result<(), StreamError> {
        let good = size.is_power_of_two() && (2 * PAGE..=1 << 46).contains(&size);
        self.value(good, "SIZE", size, "a power of two from 8 KiB to 64 TiB")?;
        let good = (1..=1 << 16).contains(&ssa_frame_pages);
        self.value(
            good,
            "SSAFRAMESIZE",
            ssa_frame_pages.into(),
            "1 to 65536 pages",
        )?;
        self.size = size;
        self.ssa_frame_pages = ssa_frame_pages;
        let mut header = [0; 64];
        put(&mut header, 0, &MEAS_ECREATE.to_le_bytes());
        put(&mut header, 8, &ssa_frame_pages.to_le_bytes());
        put(&mut header, 12, &size.to_le_bytes());
        self.hash.update(header);
        Ok(())
    }

    fn add(&mut self, offset: u64, flags: u64) -> Result<(), StreamError> {
        use page_flags::{R, REG, TCS, TYPE, W, X};
        let next = self.pages.last().map_or(0, |p| p.offset + PAGE);
        let good = offset >= next && offset.is_multiple_of(PAGE) && offset < self.size;
        self.value(
            good,
            "the offset of a page",
            offset,
            "a later page inside the enclave",
        )?;
        let good = match flags & TYPE {
            REG => flags & !(TYPE | R | W | X) == 0 && (flags & R != 0 || flags & (W | X) == 0),
            TCS => flags == TCS,
            _ => false,
        };
        self.value(
            good,
            "SECINFO.FLAGS",
            flags,
            "a TCS without rights, or a regular page readable before it is more",
        )?;
        self.pages.push(Page {
            offset,
            flags,
            data: None,
        });
        self.next_chunk = offset;
        let mut header = [0; 64];
        put(&mut header, 0, &MEAS_EADD.to_le_bytes());
        put(&mut header, 8, &offset.to_le_bytes());
        put(&mut header, 16, &flags.to_le_bytes());
        self.hash.update(header);
        Ok(())
    }

    fn chunk(&mut self, offset: u64, data: &[u8; 256], measured: bool) -> Result<(), StreamError> {
        let (next, end) = (
            self.next_chunk,
            self.pages.last().map_or(0, |p| p.offset + PAGE),
        );
        let good = (next..end).contains(&offset) && offset.is_multiple_of(CHUNK);
        self.value(
            good,
            "the offset of a chunk",
            offset,
            "a later chunk of the last page",
        )?;
        self.next_chunk = offset + CHUNK;
        if measured {
            let mut header = [0; 64];
            put(&mut header, 0, &MEAS_EEXTEND.to_le_bytes());
            put(&mut header, 8, &offset.to_le_bytes());
            self.hash.update(header);
            self.hash.update(data);
        }
        if let Some(page) = self.pages.last_mut()
            && data.iter().any(|b| *b != 0)
        {
            let bytes = page
                .data
                .get_or_insert_with(|| Box::new([0; PAGE as usize]));
            put(&mut bytes[..], (offset % PAGE) as usize, data);
        }
        Ok(())
    }

    fn finish(self) -> Result<Image, StreamError> {
        if self.size == 0 {
            return Err(self.order("the end", "ECREATE"));
        }
        let frame = u64::from(self.ssa_frame_pages) * PAGE;
        let tcs_pages = self.pages.iter().filter(|p| p.flags == page_flags::TCS);
        let threads = tcs_pages
            .map(|page| read_tcs(page, self.size, frame))
            .collect::<Result<_, _>>()?;
        Ok(Image {
            size: self.size,
            ssa_frame_pages: self.ssa_frame_pages,
            pages: self.pages,
            threads,
            mr_enclave: self.hash.finalize().into(),
        })
    }
}

/// Reads a TCS with the checks of EADD and the ones of EENTER that need no state.
fn read_tcs(page: &Page, size: u64, frame: u64) -> Result<TcsFields, StreamError> {
    let offset = page.offset;
    let check = |good, field, got, expected| match good {
        true => Ok(()),
        false => Err(StreamError::Tcs {
            offset,
            field,
            got,
            expected,
        }),
    };
    let empty = [0; PAGE as usize];
    let mut r = Fields::new(page.data.as_deref().unwrap_or(&empty));
    r.reserved(8);
    let (flags, ossa, cssa, nssa) = (r.u64(), r.u64(), r.u32(), r.u32());
    let oentry = r.u64();
    r.reserved(8);
    let (ofsbase, ogsbase, fs_limit, gs_limit) = (r.u64(), r.u64(), r.u32(), r.u32());
    r.reserved(4024);
    check(r.zero, "a reserved byte", 1, "zero")?;
    check(flags & !1 == 0, "FLAGS", flags, "0, or DBGOPTIN")?;
    check(cssa == 0, "CSSA", cssa.into(), "0")?;
    let end = u64::from(nssa)
        .checked_mul(frame)
        .and_then(|len| ossa.checked_add(len));
    let good = ossa.is_multiple_of(PAGE) && end.is_some_and(|end| end <= size);
    check(
        good,
        "OSSA",
        ossa,
        "a page from which NSSA frames lie inside the enclave",
    )?;
    check(
        oentry < size,
        "OENTRY",
        oentry,
        "an offset inside the enclave",
    )?;
    let good = ofsbase.is_multiple_of(PAGE) && ofsbase < size;
    check(good, "OFSBASGX", ofsbase, "a page inside the enclave")?;
    let good = ogsbase.is_multiple_of(PAGE) && ogsbase < size;
    check(good, "OGSBASGX", ogsbase, "a page inside the enclave")?;
    check(
        fs_limit & 0xfff == 0xfff,
        "FSLIMIT",
        fs_limit.into(),
        "low 12 bits set",
    )?;
    check(
        gs_limit & 0xfff == 0xfff,
        "GSLIMIT",
        gs_limit.into(),
        "low 12 bits set",
    )?;
    Ok(TcsFields {
        offset,
        ossa,
        nssa,
        oentry,
        ogsbase,
    })
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    out.iter_mut()
        .skip(at)
        .zip(bytes)
        .for_each(|(o, b)| *o = *b);
}
