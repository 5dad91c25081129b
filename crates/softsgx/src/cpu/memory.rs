//! The enclave's memory: a naturally aligned range of ordinary pages, each with the rights of its SECINFO.

use std::ptr;

use crate::device::Error;
use crate::image::{Image, PAGE, page_flags};

/// Neighbouring pages with the same rights.
#[derive(Clone, Copy, Debug)]
struct Run {
    start: usize,
    end: usize,
    /// SECINFO.FLAGS; a TCS has no rights.
    flags: u64,
}

/// An address range that holds an enclave. Unmapped when dropped.
#[derive(Debug)]
pub(super) struct Memory {
    base: usize,
    size: usize,
    runs: Vec<Run>,
    /// Keep the addresses reserved for ever: a thread may still have them armed for syscall dispatch.
    keep_reserved: bool,
}

fn failed(what: &'static str) -> Error {
    Error::System {
        what,
        error: std::io::Error::last_os_error(),
    }
}

impl Memory {
    /// Maps an image. `patch` may change the bytes of an executable page before it is sealed.
    pub fn map(image: &Image, keep_reserved: bool, patch: Option<Patch>) -> Result<Self, Error> {
        let size = usize::try_from(image.size()).map_err(|_| failed("mmap"))?;
        let mut memory = Self {
            base: reserve(size)?,
            size,
            runs: Vec::new(),
            keep_reserved,
        };
        for page in &image.pages {
            let start = memory.base + page.offset as usize;
            match memory.runs.last_mut() {
                Some(run) if run.end == start && run.flags == page.flags => {
                    run.end += PAGE as usize
                }
                _ => memory.runs.push(Run {
                    start,
                    end: start + PAGE as usize,
                    flags: page.flags,
                }),
            }
        }
        for run in &memory.runs {
            protect(run.start, run.end, libc::PROT_READ | libc::PROT_WRITE)?;
        }
        for page in &image.pages {
            // TCS pages live in the table of threads: nobody reads them from here.
            if let Some(data) = &page.data
                && page.flags != page_flags::TCS
            {
                let mut bytes = **data;
                if let Some(patch) = patch.filter(|p| p.page == page.offset) {
                    patch.apply(&mut bytes);
                }
                let to = (memory.base + page.offset as usize) as *mut u8;
                // SAFETY: `to` is a page of our own mapping, writable since the loop above, that
                // nobody else knows yet; `bytes` is as long.
                unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
            }
        }
        for run in &memory.runs {
            let right = |bit, prot| if run.flags & bit != 0 { prot } else { 0 };
            let rights = right(page_flags::R, libc::PROT_READ)
                | right(page_flags::W, libc::PROT_WRITE)
                | right(page_flags::X, libc::PROT_EXEC);
            protect(run.start, run.end, rights)?;
        }
        Ok(memory)
    }

    pub fn base(&self) -> usize {
        self.base
    }

    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether an address lies in the range.
    pub fn contains(&self, address: usize) -> bool {
        (self.base..self.base + self.size).contains(&address)
    }

    /// Whether the bytes lie in regular pages that have all these rights.
    pub fn allows(&self, start: usize, len: usize, rights: u64) -> bool {
        let Some(end) = start.checked_add(len) else {
            return false;
        };
        let mut at = start;
        // Runs are in ascending order, and neighbours differ in rights: a range may span several.
        for run in &self.runs {
            if at >= end {
                break;
            }
            if (run.start..run.end).contains(&at) {
                if run.flags & page_flags::TYPE != page_flags::REG || run.flags & rights != rights {
                    return false;
                }
                at = run.end;
            }
        }
        at >= end
    }

    /// Copies bytes out of the enclave, if it may read them itself.
    pub fn read<const N: usize>(&self, start: usize) -> Option<[u8; N]> {
        self.allows(start, N, page_flags::R).then(|| {
            let mut out = [0; N];
            // SAFETY: the N bytes lie in pages of our mapping that are readable (checked above; rights
            // never change after `map`). Other enclave threads may write them at the same time: bytes
            // are copied, any value is acceptable, no reference into the enclave is made.
            unsafe { ptr::copy_nonoverlapping(start as *const u8, out.as_mut_ptr(), N) };
            out
        })
    }

    /// Copies bytes into the enclave, if it may write there itself.
    pub fn write(&self, start: usize, bytes: &[u8]) -> bool {
        let allowed = self.allows(start, bytes.len(), page_flags::R | page_flags::W);
        if allowed {
            // SAFETY: the bytes lie in writable pages of our mapping (checked above; rights never
            // change after `map`), which hold no Rust object: only the enclave's code uses them.
            unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), start as *mut u8, bytes.len()) };
        }
        allowed
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let start = self.base as *mut libc::c_void;
        // SAFETY: the range is our own mapping, no thread is inside the enclave (`Tcs` sees to that),
        // and every pointer into it was made from `self`.
        unsafe {
            if self.keep_reserved {
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
                libc::mmap(
                    start,
                    self.size,
                    libc::PROT_NONE,
                    flags | libc::MAP_FIXED,
                    -1,
                    0,
                );
            } else {
                libc::munmap(start, self.size);
            }
        }
    }
}

/// Reserves a naturally aligned range, without access.
fn reserve(size: usize) -> Result<usize, Error> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
    let start = unsafe { libc::mmap(ptr::null_mut(), size * 2, libc::PROT_NONE, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(failed("mmap of the enclave's address range"));
    }
    let start = start as usize;
    let base = start.next_multiple_of(size);
    let cut = |from: usize, to: usize| {
        if from < to {
            // SAFETY: [from, to) is a part of the mapping just made, and nobody uses it.
            unsafe { libc::munmap(from as *mut libc::c_void, to - from) };
        }
    };
    cut(start, base);
    cut(base + size, start + size * 2);
    Ok(base)
}

fn protect(start: usize, end: usize, rights: i32) -> Result<(), Error> {
    // SAFETY: callers name runs of their own mapping, which hold no Rust object.
    match unsafe { libc::mprotect(start as *mut libc::c_void, end - start, rights) } {
        0 => Ok(()),
        _ => Err(failed("mprotect of the enclave's pages")),
    }
}

/// Where EEXIT becomes a jump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patch {
    page: u64,
    at: usize,
}

impl Patch {
    /// mov eax, 4; enclu
    const EEXIT: [u8; 8] = [0xb8, 4, 0, 0, 0, 0x0f, 0x01, 0xd7];
    /// jmp rbx; nop. EEXIT goes to the address in RBX; the rest of it is done where that leads.
    const JUMP: [u8; 3] = [0xff, 0xe3, 0x90];

    /// The one place in the image's executable pages where EEXIT stands in its usual form; `None` if
    /// there is none, or more than one, or it lies across two pages.
    pub fn find(image: &Image) -> Option<Self> {
        let executable = image.pages.iter().filter(|p| p.flags & page_flags::X != 0);
        let mut found = executable.flat_map(|page| {
            let bytes = page
                .data
                .iter()
                .flat_map(|d| d.windows(Self::EEXIT.len()).enumerate());
            bytes
                .filter(|(_, w)| *w == Self::EEXIT)
                .map(|(at, _)| Patch {
                    page: page.offset,
                    at: at + 5,
                })
        });
        let first = found.next();
        first.filter(|_| found.next().is_none())
    }

    fn apply(self, page: &mut [u8; PAGE as usize]) {
        let to = page.iter_mut().skip(self.at);
        to.zip(Self::JUMP).for_each(|(p, j)| *p = j);
    }
}
