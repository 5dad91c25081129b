//! Fixed layouts of the SGX architecture: a reader and a writer for little-endian structures.
//!
//! Both are total: past the end a reader yields zeros and a writer writes nothing, so the callers
//! check lengths once, with array types, and need no error for each field.

use alloc::vec::Vec;

/// Reads a structure from front to back.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    /// All the reserved bytes so far were zero.
    pub(crate) reserved_zero: bool,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            reserved_zero: true,
        }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        match self.rest.split_first_chunk::<N>() {
            Some((head, tail)) => {
                self.rest = tail;
                *head
            }
            None => {
                self.rest = &[];
                [0; N]
            }
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

    pub(crate) fn reserved<const N: usize>(&mut self) {
        self.reserved_zero &= self.array::<N>() == [0; N];
    }
}

/// Writes a structure of exactly `N` bytes from front to back; what is not written is zero.
pub(crate) struct Writer<const N: usize>(Vec<u8>);

impl<const N: usize> Writer<N> {
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(N))
    }

    pub(crate) fn put(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn reserved<const R: usize>(self) -> Self {
        self.put(&[0; R])
    }

    pub(crate) fn finish(self) -> [u8; N] {
        debug_assert!(self.0.len() <= N);
        let mut out = [0; N];
        for (to, from) in out.iter_mut().zip(&self.0) {
            *to = *from;
        }
        out
    }
}
