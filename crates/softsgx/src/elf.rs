//! From an ELF file of `x86_64-fortanix-unknown-sgx` to an enclave's pages.
//!
//! The layout and the values written into the program's own symbols are those of Fortanix's
//! `ftxsgx-elf2sgxs` (toolchain version 1), so that either tool gives the same measurement: segments,
//! one heap, and for each thread a guard, a stack, thread data, a TCS and one state save area.

use std::collections::HashMap;
use std::io;

use object::elf::{self, FileHeader64, PF_R, PF_W, PF_X, PT_DYNAMIC, PT_LOAD};
use object::read::elf::{Dyn, FileHeader, ProgramHeader, Rela, SectionHeader, SectionTable, Sym};
use object::{LittleEndian as LE, SymbolIndex};
use sgx_isa::{PageType, SecinfoFlags, Tcs};
use sgxs::sgxs::{CanonicalSgxsWriter, MeasECreate, SecinfoTruncated};
use sgxs::util::{size_fit_natural, size_fit_page};

use crate::image::PAGE;

/// Largest program that is read, in bytes (128 MiB).
pub const MAX_ELF_BYTES: usize = 128 << 20;
const PAGE_LEN: usize = PAGE as usize;
/// Bytes between two threads' memory that no page lies in: a stack that overflows faults.
const GUARD: u64 = 0x1_0000;

/// One page of an enclave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Offset in the enclave, bytes.
    pub offset: u64,
    /// SECINFO.FLAGS.
    pub flags: u64,
    /// Measured content; `None` for a page that is added empty.
    pub data: Option<Box<[u8; PAGE_LEN]>>,
}

impl Page {
    /// True for a thread control structure.
    pub fn is_thread(&self) -> bool {
        SecinfoFlags::from_bits_truncate(self.flags).page_type() == PageType::Tcs as u8
    }
}

/// All pages of an enclave, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pages {
    /// Size of the address range, bytes.
    pub size: u64,
    /// SSAFRAMESIZE, pages.
    pub ssa_frame_pages: u32,
    /// The pages.
    pub pages: Vec<Page>,
}

impl Pages {
    /// The stream of ECREATE, EADD and EEXTEND records; its SHA-256 is the measurement.
    pub fn to_sgxs(&self) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let create = MeasECreate { size: self.size, ssaframesize: self.ssa_frame_pages };
        let failed = |e: anyhow::Error| io::Error::other(e.to_string());
        let mut writer = CanonicalSgxsWriter::new(&mut out, create, true).map_err(failed)?;
        for page in &self.pages {
            let secinfo = SecinfoTruncated { flags: SecinfoFlags::from_bits_truncate(page.flags) };
            let mut content = page.data.as_ref().map(|d| &d[..]);
            writer.write_page(content.as_mut(), Some(page.offset), secinfo).map_err(failed)?;
        }
        Ok(out)
    }
}

/// What a build gets beside its program. All of it is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Heap, bytes; whole pages.
    pub heap_bytes: u64,
    /// Stack of each thread, bytes; whole pages.
    pub stack_bytes: u64,
    /// Threads that may be inside at once.
    pub threads: u64,
    /// Lets panics say their text to the host: never for production.
    pub debug: bool,
}

impl Default for Layout {
    /// One thread, and room for a program that does not hold much at once.
    fn default() -> Self {
        Layout { heap_bytes: 64 << 20, stack_bytes: 1 << 20, threads: 1, debug: false }
    }
}

/// Why a file does not become an enclave.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// Not an ELF file, or a cut one.
    #[error("not a program for SGX: {0}; expected an ELF file for x86_64-fortanix-unknown-sgx")]
    Elf(#[from] object::read::Error),
    /// Something that the target always has.
    #[error("not a program for SGX: it has no {0}; build it for x86_64-fortanix-unknown-sgx")]
    Missing(String),
    /// Something that the loader of an enclave cannot do.
    #[error("not a program for SGX: {0}")]
    Unsupported(String),
    /// The layout is none.
    #[error("{field} is {got}, expected {expected}")]
    Layout {
        /// Which field.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        got: u64,
    },
}

type Result<T> = std::result::Result<T, ConvertError>;
type Header = FileHeader64<LE>;

struct Program<'a> {
    data: &'a [u8],
    segments: &'a [elf::ProgramHeader64<LE>],
    sections: SectionTable<'a, Header>,
    symbols: HashMap<&'a [u8], u64>,
}

/// Converts.
pub fn convert(data: &[u8], layout: &Layout) -> Result<Pages> {
    layout.check()?;
    let program = Program::parse(data)?;
    program.check_toolchain()?;
    let (rela, rela_count) = program.relocations()?;
    let end = program.loaded().map(|s| s.p_vaddr(LE).saturating_add(s.p_memsz(LE))).max();
    let heap = size_fit_page(end.ok_or_else(|| ConvertError::Missing("segment to load".into()))?);
    let first_thread = heap + layout.heap_bytes;
    let memory = first_thread + layout.threads * layout.thread_bytes();
    let size = size_fit_natural(memory);
    let mut values = vec![(program.symbol("DEBUG")?, vec![u8::from(layout.debug)])];
    let (text, frame, frame_header) = (program.section(".text")?, program.section(".eh_frame")?, program.section(".eh_frame_hdr")?);
    for (name, value) in [
        ("HEAP_BASE", heap),
        ("HEAP_SIZE", layout.heap_bytes),
        ("RELA", rela),
        ("RELACOUNT", rela_count),
        ("CFGDATA_BASE", memory),
        ("TEXT_BASE", text.sh_addr(LE)),
        ("TEXT_SIZE", text.sh_size(LE)),
        ("EH_FRM_OFFSET", frame.sh_addr(LE)),
        ("EH_FRM_LEN", frame.sh_size(LE)),
        ("EH_FRM_HDR_OFFSET", frame_header.sh_addr(LE)),
        ("EH_FRM_HDR_LEN", frame_header.sh_size(LE)),
        ("ENCLAVE_SIZE", size),
    ] {
        values.push((program.symbol(name)?, value.to_le_bytes().to_vec()));
    }
    let mut out = Pages { size, ssa_frame_pages: 1, pages: Vec::new() };
    for segment in program.loaded() {
        program.load(segment, &values, &mut out)?;
    }
    out.empty(heap, layout.heap_bytes);
    let entry = program.symbol("sgx_entry")?;
    for i in 0..layout.threads {
        out.thread(first_thread + i * layout.thread_bytes(), i, entry, layout.stack_bytes);
    }
    if out.pages.windows(2).any(|w| w[0].offset >= w[1].offset) {
        return Err(ConvertError::Unsupported("its segments overlap or are out of order".into()));
    }
    Ok(out)
}

impl Layout {
    /// Guard, stack, thread data, TCS and state save area.
    fn thread_bytes(&self) -> u64 {
        GUARD + self.stack_bytes + 3 * PAGE
    }

    fn check(&self) -> Result<()> {
        let whole = |n: u64| n > 0 && n.is_multiple_of(PAGE) && n <= 1 << 36;
        let wrong = |field, expected, got| Err(ConvertError::Layout { field, expected, got });
        match self {
            l if !whole(l.heap_bytes) => wrong("the heap", "whole pages of 4096 bytes, at most 64 GiB", l.heap_bytes),
            l if !whole(l.stack_bytes) => wrong("the stack", "whole pages of 4096 bytes, at most 64 GiB", l.stack_bytes),
            l if !(1..=256).contains(&l.threads) => wrong("the number of threads", "1 to 256", l.threads),
            _ => Ok(()),
        }
    }
}

impl<'a> Program<'a> {
    fn parse(data: &'a [u8]) -> Result<Self> {
        let header = Header::parse(data)?;
        if header.e_machine(LE) != elf::EM_X86_64 || header.is_big_endian() {
            return Err(ConvertError::Unsupported("it is for another processor, expected x86-64".into()));
        }
        let segments = header.program_headers(LE, data)?;
        let sections = header.sections(LE, data)?;
        let table = sections.symbols(LE, data, elf::SHT_DYNSYM)?;
        let mut symbols = HashMap::new();
        for (index, symbol) in table.enumerate().filter(|(i, _)| *i != SymbolIndex(0)) {
            let name = table.symbol_name(LE, symbol)?;
            if symbol.is_undefined(LE) {
                let text = String::from_utf8_lossy(name);
                return Err(ConvertError::Unsupported(format!("symbol {text} (number {}) is undefined, and an enclave links with nothing", index.0)));
            }
            symbols.insert(name, symbol.st_value(LE));
        }
        Ok(Program { data, segments, sections, symbols })
    }

    fn loaded(&self) -> impl Iterator<Item = &'a elf::ProgramHeader64<LE>> {
        self.segments.iter().filter(|s| s.p_type(LE) == PT_LOAD)
    }

    fn symbol(&self, name: &str) -> Result<u64> {
        self.symbols.get(name.as_bytes()).copied().ok_or_else(|| ConvertError::Missing(format!("dynamic symbol {name}")))
    }

    fn find(&self, name: &str) -> Option<&'a elf::SectionHeader64<LE>> {
        self.sections.section_by_name(LE, name.as_bytes()).map(|(_, s)| s)
    }

    fn section(&self, name: &str) -> Result<&'a elf::SectionHeader64<LE>> {
        self.find(name).ok_or_else(|| ConvertError::Missing(format!("section {name}")))
    }

    fn check_toolchain(&self) -> Result<()> {
        let missing = || ConvertError::Missing("toolchain version note".into());
        let section = self.section(".note.x86_64-fortanix-unknown-sgx")?;
        let mut notes = section.notes(LE, self.data)?.ok_or_else(missing)?;
        let note = notes.next()?.filter(|n| n.name() == b"toolchain-version").ok_or_else(missing)?;
        let version = note.desc().first_chunk().map(|d| u32::from_le_bytes(*d)).ok_or_else(missing)?;
        match version {
            0 | 1 => Ok(()),
            v => Err(ConvertError::Unsupported(format!("toolchain version {v}, expected 0 or 1; use a release that knows it"))),
        }
    }

    /// Address and number of the relocations that the program applies to itself.
    fn relocations(&self) -> Result<(u64, u64)> {
        let dynamic = self.segments.iter().find(|s| s.p_type(LE) == PT_DYNAMIC);
        let dynamic = dynamic.map(|s| s.dynamic(LE, self.data)).transpose()?.flatten();
        let (mut address, mut count) = (0, 0);
        for entry in dynamic.ok_or_else(|| ConvertError::Missing("dynamic segment".into()))? {
            match u32::try_from(entry.d_tag(LE)).unwrap_or(u32::MAX) {
                elf::DT_RELA => address = entry.d_val(LE),
                elf::DT_RELACOUNT => count = entry.d_val(LE),
                // What only a dynamic loader could do: PLT relocations, initializers, REL.
                t @ (2 | 12 | 13 | 17..=20 | 23 | 25..=28 | elf::DT_RELCOUNT) => {
                    return Err(ConvertError::Unsupported(format!("dynamic entry {t} needs a loader that enclaves do not have")));
                }
                _ => {}
            }
        }
        let mut found = 0;
        for section in self.sections.iter() {
            let Some((list, _)) = section.rela(LE, self.data)? else { continue };
            for r in list {
                found += 1;
                if r.r_type(LE, false) != elf::R_X86_64_RELATIVE {
                    return Err(ConvertError::Unsupported("a relocation is not R_X86_64_RELATIVE".into()));
                }
                let at = r.r_offset(LE);
                let inside = |s: &elf::ProgramHeader64<LE>| {
                    s.p_flags(LE) & PF_W != 0 && at >= s.p_vaddr(LE) && at.saturating_add(8) <= s.p_vaddr(LE).saturating_add(s.p_memsz(LE))
                };
                if !self.loaded().any(inside) {
                    return Err(ConvertError::Unsupported("a relocation lies outside the writable segments".into()));
                }
            }
        }
        match found == count {
            true => Ok((address, count)),
            false => Err(ConvertError::Unsupported(format!("it says {count} relocations and has {found}"))),
        }
    }

    /// The pages of one segment, with the values written in.
    fn load(&self, segment: &elf::ProgramHeader64<LE>, values: &[(u64, Vec<u8>)], out: &mut Pages) -> Result<()> {
        let (address, memory) = (segment.p_vaddr(LE), segment.p_memsz(LE));
        let cut = || ConvertError::Unsupported("a segment is larger than the file or the address range".into());
        let base = address & !(PAGE - 1);
        let mut end = address.checked_add(memory).filter(|e| *e <= 1 << 36).ok_or_else(cut)?;
        if base == 0 && segment.p_flags(LE) & PF_X != 0 {
            return Err(ConvertError::Unsupported("its first page is executable".into()));
        }
        let content = segment.data(LE, self.data).map_err(|()| cut())?;
        let mut image = vec![0; usize::try_from(size_fit_page(end - base)).map_err(|_| cut())?];
        let mut put = |at: u64, bytes: &[u8]| {
            let from = usize::try_from(at - base).unwrap_or(usize::MAX);
            let room = from.checked_add(bytes.len()).and_then(|to| image.get_mut(from..to)).ok_or_else(cut)?;
            room.copy_from_slice(bytes);
            Ok::<(), ConvertError>(())
        };
        put(address, content)?;
        for (at, bytes) in values.iter().filter(|(at, b)| *at >= base && at.saturating_add(b.len() as u64) <= end) {
            put(*at, bytes)?;
        }
        // Code that must not be in an enclave: cut off where it is last, else no-ops.
        if let Some(s) = self.find(".text_no_sgx") {
            let (from, len) = (s.sh_addr(LE), s.sh_size(LE));
            if from >= base && from.saturating_add(len) <= end {
                let last = from + len == end;
                put(from, &vec![if last { 0 } else { 0x90 }; usize::try_from(len).map_err(|_| cut())?])?;
                if last {
                    end = from;
                }
            }
        }
        let mut flags = SecinfoFlags::from(PageType::Reg);
        for (bit, flag) in [(PF_R, SecinfoFlags::R), (PF_W, SecinfoFlags::W), (PF_X, SecinfoFlags::X)] {
            if segment.p_flags(LE) & bit != 0 {
                flags |= flag;
            }
        }
        let whole = usize::try_from(size_fit_page(end - base)).map_err(|_| cut())?;
        for (content, i) in image[..whole].chunks(PAGE_LEN).zip(0..) {
            out.measured(base + i * PAGE, flags, content);
        }
        Ok(())
    }
}

impl Pages {
    fn measured(&mut self, offset: u64, flags: SecinfoFlags, content: &[u8]) {
        let mut data = Box::new([0; PAGE_LEN]);
        data[..content.len()].copy_from_slice(content);
        self.pages.push(Page { offset, flags: flags.bits(), data: Some(data) });
    }

    fn empty(&mut self, from: u64, bytes: u64) {
        let flags = (SecinfoFlags::from(PageType::Reg) | SecinfoFlags::R | SecinfoFlags::W).bits();
        self.pages.extend((0..bytes / PAGE).map(|i| Page { offset: from + i * PAGE, flags, data: None }));
    }

    /// One thread's memory: guard, stack, thread data, TCS, state save area.
    fn thread(&mut self, start: u64, index: u64, entry: u64, stack_bytes: u64) {
        let stack = start + GUARD;
        let data = stack + stack_bytes;
        let control = data + PAGE;
        self.empty(stack, stack_bytes);
        let secondary = u64::from(index != 0);
        let content: Vec<u8> = [data, secondary, 0, 0].iter().flat_map(|v| v.to_le_bytes()).collect();
        self.measured(data, SecinfoFlags::from(PageType::Reg) | SecinfoFlags::R | SecinfoFlags::W, &content);
        let tcs = Tcs { ossa: control + PAGE, nssa: 1, oentry: entry, ofsbasgx: data, ogsbasgx: data, fslimit: 0xfff, gslimit: 0xfff, ..Tcs::default() };
        self.measured(control, SecinfoFlags::from(PageType::Tcs), tcs.as_ref());
        self.empty(control + PAGE, PAGE);
    }
}
