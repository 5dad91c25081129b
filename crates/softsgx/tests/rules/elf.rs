//! A program for SGX made by hand: every part that a conversion looks at, and a few bytes of code.

/// Names of the values that a conversion writes, in the order in which they lie in the data from [`VALUES`] on, 8 bytes each.
pub const NAMES: [&str; 13] = [
    "DEBUG", "HEAP_BASE", "HEAP_SIZE", "RELA", "RELACOUNT", "CFGDATA_BASE", "TEXT_BASE", "TEXT_SIZE", "EH_FRM_OFFSET", "EH_FRM_LEN",
    "EH_FRM_HDR_OFFSET", "EH_FRM_HDR_LEN", "ENCLAVE_SIZE",
];
/// Where they lie.
pub const VALUES: u64 = 0x2000;
/// Where a program may keep pages of its own, and how many bytes there are.
pub const SLOT: u64 = 0x3000;
pub const SLOT_LEN: u64 = 0x8000;
/// Where the program begins.
pub const ENTRY: u64 = 0x1000;

const NOTE: u64 = 0x200;
const DYNSYM: u64 = 0x300;
const DYNSTR: u64 = 0x500;
const RELA: u64 = 0x700;
const EH_FRAME: u64 = 0x800;
const EH_FRAME_HDR: u64 = 0x840;
const NAMES_OF_SECTIONS: u64 = 0x900;
const DYNAMIC: u64 = 0x2100;
pub const END: u64 = SLOT + SLOT_LEN;

/// What can be wrong with it.
#[derive(Clone, Default)]
pub struct Spec {
    pub toolchain: u32,
    pub undefined: bool,
    pub relocation_type: Option<u64>,
    pub relocation_at: Option<u64>,
    pub relocations_said: Option<u64>,
    pub init: bool,
    pub without: Option<&'static str>,
    pub code: Vec<u8>,
    /// What lies from [`SLOT`] on, 16 KiB apart.
    pub slots: Vec<Vec<u8>>,
}

impl Spec {
    /// A good one.
    pub fn good() -> Self {
        Spec { code: vec![0x90, 0x90, 0x0f, 0x0b], toolchain: 1, ..Spec::default() }
    }

    /// The file.
    pub fn build(&self) -> Vec<u8> {
        let mut f = vec![0; END as usize];
        let mut put = |at: u64, parts: &[&[u8]]| {
            let bytes = parts.concat();
            f[at as usize..at as usize + bytes.len()].copy_from_slice(&bytes);
            bytes.len() as u64
        };
        let w = u64::to_le_bytes;
        let h = u32::to_le_bytes;
        put(NOTE, &[&h(18), &h(4), &h(1), b"toolchain-version\0\0\0", &h(self.toolchain)]);
        let mut strings = vec![0];
        let mut symbols = vec![0; 24];
        let mut symbol = |name: &str, value: u64, section: u16| {
            if self.without == Some(name) {
                return;
            }
            symbols.extend([&h(strings.len() as u32)[..], &[0x12, 0], &section.to_le_bytes(), &w(value), &w(8)].concat());
            strings.extend(name.bytes().chain([0]));
        };
        symbol("sgx_entry", ENTRY, 5);
        for (name, i) in NAMES.iter().zip(0..) {
            symbol(name, VALUES + 8 * i, 8);
        }
        if self.undefined {
            symbol("malloc", 0, 0);
        }
        let symbols_len = put(DYNSYM, &[&symbols]);
        let strings_len = put(DYNSTR, &[&strings]);
        put(RELA, &[&w(self.relocation_at.unwrap_or(VALUES + 0x80)), &w(self.relocation_type.unwrap_or(8)), &w(ENTRY)]);
        put(EH_FRAME, &[&[0x14; 16]]);
        put(EH_FRAME_HDR, &[&[0x1b; 8]]);
        put(ENTRY, &[&self.code]);
        let code_len = self.code.len() as u64;
        let extra = if self.init { [w(12), w(ENTRY)].concat() } else { Vec::new() };
        let dynamic_len = put(DYNAMIC, &[&w(7), &w(RELA), &w(0x6fff_fff9), &w(self.relocations_said.unwrap_or(1)), &extra, &[0; 16]]);
        for (content, i) in self.slots.iter().zip(0..) {
            put(SLOT + 0x4000 * i, &[content]);
        }

        let mut names = vec![0];
        let mut headers = vec![0; 64];
        let mut section = |name: &str, kind: u32, at: u64, len: u64, link: u32, entry: u64| {
            let name = if self.without == Some(name) { ".gone" } else { name };
            headers.extend([&h(names.len() as u32)[..], &h(kind), &w(2), &w(at), &w(at), &w(len), &h(link), &h(0), &w(8), &w(entry)].concat());
            names.extend(name.bytes().chain([0]));
        };
        section(".note.x86_64-fortanix-unknown-sgx", 7, NOTE, 36, 0, 0);
        section(".dynsym", 11, DYNSYM, symbols_len, 3, 24);
        section(".dynstr", 3, DYNSTR, strings_len, 0, 0);
        section(".rela.dyn", 4, RELA, 24, 2, 24);
        section(".text", 1, ENTRY, code_len, 0, 0);
        section(".eh_frame", 1, EH_FRAME, 16, 0, 0);
        section(".eh_frame_hdr", 1, EH_FRAME_HDR, 8, 0, 0);
        section(".data", 1, VALUES, END - VALUES, 0, 0);
        section(".dynamic", 6, DYNAMIC, dynamic_len, 3, 16);
        section(".shstrtab", 3, NAMES_OF_SECTIONS, 0x100, 0, 0);
        let sections = headers.len() / 64;
        put(NAMES_OF_SECTIONS, &[&names]);

        let segment = |kind: u32, flags: u32, at: u64, len: u64| [&h(kind)[..], &h(flags), &w(at), &w(at), &w(at), &w(len), &w(len), &w(0x1000)].concat();
        put(64, &[
            &segment(1, 4, 0, 0xa00),
            &segment(1, 5, ENTRY, code_len),
            &segment(1, 6, VALUES, END - VALUES),
            &segment(2, 6, DYNAMIC, dynamic_len),
        ]);
        let half = u16::to_le_bytes;
        put(0, &[
            b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0", &half(3), &half(62), &h(1), &w(ENTRY), &w(64), &w(END), &h(0), &half(64), &half(56), &half(4),
            &half(64), &half(sections as u16), &half(sections as u16 - 1),
        ]);
        f.extend(headers);
        f
    }
}
