//! Reading CBOR from a hostile host: all of the input, or nothing.

use minicbor::{Decode, Decoder};

/// Decodes `bytes` if they are one `T` and nothing more.
pub(crate) fn decode_exact<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Option<T> {
    let mut d = Decoder::new(bytes);
    let value = d.decode().ok()?;
    (d.position() == bytes.len()).then_some(value)
}
