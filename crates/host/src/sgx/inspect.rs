//! What an enclave's file says of it: segments, heap, threads, memory.

use baton_attest::identity::Measurement;
use baton_attest::sgxs::PAGE_LEN;
use sgx_isa::SecinfoFlags;

use super::image::{ImageError, Page, Pages};

/// Pages that follow each other and are of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Offset in the enclave, bytes.
    pub offset: u64,
    /// Length, bytes.
    pub bytes: u64,
    /// `r-x` and the like, or `tcs`.
    pub access: String,
    /// True if the content is measured; false for pages that are added empty.
    pub measured: bool,
    /// What it is for, as far as the layout tells.
    pub what: &'static str,
}

/// What a file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// MRENCLAVE.
    pub measurement: Measurement,
    /// Size of the address range, bytes.
    pub size: u64,
    /// Size of the file, bytes.
    pub file_bytes: u64,
    /// Its segments.
    pub segments: Vec<Segment>,
    /// Pages that are added.
    pub pages: u64,
    /// Heap, bytes.
    pub heap_bytes: u64,
    /// Threads that may be inside at once.
    pub threads: u64,
}

impl Inspection {
    /// Reads a file.
    pub fn of(sgxs: &[u8]) -> Result<(Self, Pages), ImageError> {
        let pages = Pages::from_sgxs(sgxs)?;
        let measurement = baton_attest::sgxs::measure(sgxs)?.measurement;
        let segments = segments(&pages);
        let threads = pages.pages.iter().filter(|p| p.is_thread()).count() as u64;
        let heap = segments.iter().find(|s| s.what == "heap").map_or(0, |s| s.bytes);
        let inspection = Inspection {
            measurement,
            size: pages.size,
            file_bytes: sgxs.len() as u64,
            pages: pages.pages.len() as u64,
            heap_bytes: heap,
            threads,
            segments,
        };
        Ok((inspection, pages))
    }

    /// EPC that so many instances need at once, bytes: their pages, a SECS each, and a version array page for each 512 of them.
    pub fn epc_bytes(&self, instances: u64) -> u64 {
        let pages = (self.pages + 1) * instances;
        (pages + pages.div_ceil(512)) * PAGE_LEN as u64
    }
}

fn access(page: &Page) -> String {
    if page.is_thread() {
        return "tcs".into();
    }
    let f = SecinfoFlags::from_bits_truncate(page.flags);
    [(SecinfoFlags::R, 'r'), (SecinfoFlags::W, 'w'), (SecinfoFlags::X, 'x')]
        .map(|(bit, c)| if f.contains(bit) { c } else { '-' })
        .iter()
        .collect()
}

/// The layout of the conversion: the program's segments, one heap, then for each thread stack, thread data, TCS and state save area.
fn segments(pages: &Pages) -> Vec<Segment> {
    let mut out: Vec<Segment> = Vec::new();
    let mut heap_seen = false;
    for page in &pages.pages {
        let (access, measured) = (access(page), page.data.is_some());
        if let Some(last) = out.last_mut().filter(|s| s.offset + s.bytes == page.offset && s.access == access && s.measured == measured && access != "tcs") {
            last.bytes += PAGE_LEN as u64;
            continue;
        }
        let after_tcs = out.last().is_some_and(|s| s.access == "tcs");
        let what = match (&access[..], measured) {
            ("tcs", _) => "thread control",
            (_, false) if after_tcs => "state save area",
            (_, false) if !heap_seen => {
                heap_seen = true;
                "heap"
            }
            (_, false) => "stack",
            ("r-x", true) => "code",
            ("rw-", true) if heap_seen => "thread data",
            ("rw-", true) => "data, policy",
            _ => "constants",
        };
        out.push(Segment { offset: page.offset, bytes: PAGE_LEN as u64, access, measured, what });
    }
    out
}
