//! The loop of an enclave that runs as a program: frames in, frames out, one at a time.
//!
//! Lengths come from the host and are only believed up to [`MAX_FRAME_BYTES`]; memory grows with what
//! really came. A frame above that is skipped and refused like any other bad request. The end of the
//! input is how a host stops an enclave.

use std::io::{self, Read, Write};

use alloc::vec::Vec;

use baton_attest::identity::encode;

use crate::link::{HEADER_LEN, NotStarted, Opened, Opening, Program, open};

/// Largest frame that is taken, in bytes (8 MiB): it and what it is parsed into must fit in the heap of
/// the build. Evidence of 100 validators takes 30 KiB a light block.
pub const MAX_FRAME_BYTES: usize = 8 << 20;

/// What came.
enum Frame {
    Bytes(Vec<u8>),
    /// Too large: skipped, with the length that it said.
    Oversized(usize),
    End,
}

/// Serves until the input ends. `start` makes the program of what the host opens it with.
pub fn serve<T: Program>(
    start: impl FnOnce(&Opening) -> Result<T, NotStarted>,
    input: &mut impl Read,
    output: &mut impl Write,
) -> io::Result<()> {
    let opening = match receive(input)? {
        Frame::Bytes(b) => b,
        Frame::Oversized(got) => {
            let message = oversized(got);
            return send(output, &encode(&Opened::Refused { message, damaged: false }));
        }
        Frame::End => return Ok(()),
    };
    let (answer, program) = open(&opening, start);
    send(output, &answer)?;
    let Some(mut program) = program else { return Ok(()) };
    drop(opening);
    loop {
        let answer = match receive(input)? {
            Frame::Bytes(request) => program.handle_bytes(&request),
            Frame::Oversized(got) => T::oversized(oversized(got)),
            Frame::End => return Ok(()),
        };
        send(output, &answer)?;
    }
}

fn receive(input: &mut impl Read) -> io::Result<Frame> {
    let mut header = [0; HEADER_LEN];
    let got = fill(input, &mut header)?;
    if got == 0 {
        return Ok(Frame::End);
    }
    if got < HEADER_LEN {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let len = usize::try_from(u32::from_le_bytes(header)).unwrap_or(usize::MAX);
    let mut body = input.take(len as u64);
    if len > MAX_FRAME_BYTES {
        let skipped = io::copy(&mut body, &mut io::sink())?;
        return if skipped == len as u64 { Ok(Frame::Oversized(len)) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
    }
    let mut bytes = Vec::new();
    body.read_to_end(&mut bytes)?;
    if bytes.len() != len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Frame::Bytes(bytes))
}

/// Reads until the buffer is full or the input ends, and says how much came.
fn fill(input: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while let Some(rest) = out.get_mut(got..).filter(|r| !r.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(n) => got = got.saturating_add(n),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(got)
}

fn send(output: &mut impl Write, answer: &[u8]) -> io::Result<()> {
    let len = u32::try_from(answer.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    output.write_all(&len.to_le_bytes())?;
    output.write_all(answer)?;
    output.flush()
}

fn oversized(got: usize) -> alloc::string::String {
    alloc::format!("the frame is too large: expected at most {MAX_FRAME_BYTES} bytes, got {got}; send a shorter path in several requests")
}

/// What a program for SGX says where it was started as an ordinary one.
pub fn not_here() -> std::process::ExitCode {
    std::eprintln!(
        "error:    this program runs inside SGX\nexpected: target x86_64-fortanix-unknown-sgx\nnext:     build it with scripts/sgx-build, or run `baton demo`, which needs no SGX"
    );
    std::process::ExitCode::from(2)
}
