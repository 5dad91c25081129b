//! An enclave's pages: an SGXS stream taken apart, and put together again byte for byte.
//!
//! Reading is strict ([`baton_attest::sgxs::measure`]), and stricter still: a page is measured whole or
//! added without content, so that what is measured is all that is loaded.

use std::ops::{Deref, DerefMut};

use baton_attest::identity::Measurement;
use baton_attest::sgxs::{self as stream, CHUNK_LEN, PAGE_LEN, SgxsError};
use baton_core::policy::{Policy, PolicyError};
use baton_enclave::slot::{self, MARK, SLOT_LEN, Slot, SlotError};
use softsgx::elf;
pub use softsgx::elf::Page;

/// Largest `.sgxs` file that is read, in bytes (256 MiB).
pub const MAX_SGXS_BYTES: usize = 256 << 20;

/// Why a stream is not an enclave of ours.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It is no stream.
    #[error("not an SGXS stream: {0}; get the file again, or convert its program with `baton convert`")]
    Stream(SgxsError),
    /// Nothing can enter it: a stream that is cut off between two pages is one too, and its threads come last.
    #[error("the image has no thread, expected 1 or more: it is cut off; get the file again, or convert its program with `baton convert`")]
    NoThread,
    /// Bytes that are loaded but not measured.
    #[error("{got} chunks are loaded but not measured, expected none: the measurement does not cover them; convert the program again")]
    Unmeasured {
        /// How many chunks of 256 bytes.
        got: u64,
    },
    /// A page that is measured in part.
    #[error("the page at {offset:#x} is measured in part, expected whole or not at all; convert the program again")]
    Partial {
        /// Offset in the enclave, bytes.
        offset: u64,
    },
    /// No slot, or two.
    #[error("the image has {got} policy slots, expected 1: it is no build of this program; build it with scripts/sgx-build")]
    Slots {
        /// How many.
        got: usize,
    },
    /// The slot.
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// The slot is empty.
    #[error("the image holds no policy: it would refuse to start; insert one with `baton sign --policy`")]
    NoPolicy,
    /// The policy in the slot.
    #[error("the policy in the image: {0}")]
    Policy(PolicyError),
    /// The library that writes streams.
    #[error("the stream cannot be written: {0}")]
    Write(String),
}

// The texts say all that the causes say: they are no `source`, which would be printed a second time.
impl From<SgxsError> for ImageError {
    fn from(e: SgxsError) -> Self {
        ImageError::Stream(e)
    }
}

impl From<PolicyError> for ImageError {
    fn from(e: PolicyError) -> Self {
        ImageError::Policy(e)
    }
}

/// All pages of an enclave, in order, with what Baton puts into them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pages(elf::Pages);

impl Deref for Pages {
    type Target = elf::Pages;

    fn deref(&self) -> &elf::Pages {
        &self.0
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut elf::Pages {
        &mut self.0
    }
}

impl From<elf::Pages> for Pages {
    fn from(pages: elf::Pages) -> Self {
        Pages(pages)
    }
}

fn failed(e: impl std::fmt::Display) -> ImageError {
    ImageError::Write(e.to_string())
}

impl Pages {
    /// Takes a stream apart.
    pub fn from_sgxs(bytes: &[u8]) -> Result<Self, ImageError> {
        let measured = stream::measure(bytes)?;
        if measured.unmeasured_chunks != 0 {
            return Err(ImageError::Unmeasured { got: measured.unmeasured_chunks });
        }
        let mut out = Pages(elf::Pages { size: measured.size, ssa_frame_pages: measured.ssa_frame_pages, pages: Vec::new() });
        let number = |record: &[u8], at: usize| u64::from_le_bytes(record[at..at + 8].try_into().unwrap_or_default());
        // The order, the lengths and the offsets were checked above.
        let (mut rest, mut chunks) = (bytes, 16);
        while let Some((record, tail)) = rest.split_at_checked(64) {
            rest = tail;
            if record.starts_with(b"EADD") {
                out.whole(chunks)?;
                chunks = 0;
                out.pages.push(Page { offset: number(record, 8), flags: number(record, 16), data: None });
            } else if record.starts_with(b"EEXTEND") {
                let (chunk, tail) = rest.split_at(CHUNK_LEN);
                rest = tail;
                chunks += 1;
                let within = (number(record, 8) % PAGE_LEN as u64) as usize;
                if let Some(page) = out.pages.last_mut() {
                    let data = page.data.get_or_insert_with(|| Box::new([0; PAGE_LEN]));
                    data[within..within + CHUNK_LEN].copy_from_slice(chunk);
                }
            }
        }
        out.whole(chunks)?;
        Ok(out)
    }

    /// The last page has all its chunks, or none.
    fn whole(&self, chunks: usize) -> Result<(), ImageError> {
        match self.pages.last() {
            Some(p) if chunks != 0 && chunks != PAGE_LEN / CHUNK_LEN => Err(ImageError::Partial { offset: p.offset }),
            _ => Ok(()),
        }
    }

    /// Puts the stream together.
    pub fn to_sgxs(&self) -> Result<Vec<u8>, ImageError> {
        self.0.to_sgxs().map_err(failed)
    }

    /// MRENCLAVE.
    pub fn measurement(&self) -> Result<Measurement, ImageError> {
        Ok(stream::measure(&self.to_sgxs()?)?.measurement)
    }

    /// Index of the first page of the slot.
    fn slot_page(&self) -> Result<usize, ImageError> {
        let marked = |p: &Page| p.data.as_ref().is_some_and(|d| d.starts_with(&MARK));
        let found: Vec<usize> = self.pages.iter().enumerate().filter(|(_, p)| marked(p)).map(|(i, _)| i).collect();
        match found[..] {
            [one] => Ok(one),
            _ => Err(ImageError::Slots { got: found.len() }),
        }
    }

    fn slot_pages(&self) -> Result<std::ops::Range<usize>, ImageError> {
        let first = self.slot_page()?;
        let range = first..first + SLOT_LEN / PAGE_LEN;
        let pages = self.pages.get(range.clone()).unwrap_or_default();
        let follow = pages.iter().zip(0..).all(|(p, i)| {
            p.data.is_some() && p.offset == self.pages[first].offset + i * PAGE_LEN as u64
        });
        match follow && pages.len() == range.len() {
            true => Ok(range),
            false => Err(SlotError::Damaged("its pages do not follow each other").into()),
        }
    }

    /// What the policy slot holds.
    pub fn slot(&self) -> Result<Slot, ImageError> {
        if !self.pages.iter().any(Page::is_thread) {
            return Err(ImageError::NoThread);
        }
        let range = self.slot_pages()?;
        let bytes: Vec<u8> = self.pages[range].iter().flat_map(|p| p.data.iter().flat_map(|d| d.iter().copied())).collect();
        Ok(slot::read(&bytes)?)
    }

    /// The policy inside, validated.
    pub fn policy(&self) -> Result<Policy, ImageError> {
        let slot = self.slot()?;
        match slot.policy.is_empty() {
            true => Err(ImageError::NoPolicy),
            false => Ok(Policy::from_cbor(&slot.policy)?),
        }
    }

    /// Puts a policy into the slot, in place of whatever is there.
    pub fn set_policy(&mut self, policy: &Policy) -> Result<(), ImageError> {
        policy.validate()?;
        self.set_contents(&policy.to_cbor())
    }

    /// Puts anything into the slot, in place of whatever is there: what a program without a policy is to know.
    pub fn set_contents(&mut self, contents: &[u8]) -> Result<(), ImageError> {
        let bytes = slot::fill(&self.slot()?.version, contents)?;
        let range = self.slot_pages()?;
        for (page, content) in self.pages[range].iter_mut().zip(bytes.chunks(PAGE_LEN)) {
            if let Some(data) = page.data.as_mut() {
                data.copy_from_slice(content);
            }
        }
        Ok(())
    }
}
