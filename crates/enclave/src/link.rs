//! What crosses between a host and an enclave that runs as a program of its own.
//!
//! A frame is a length (4 bytes, little endian) and that many bytes. The host's first frame is an
//! [`Opening`], the answer an [`Opened`]; from then on each request of [`crate::wire`] is one frame and
//! its response another. The host is the adversary: [`open`] and the loop in [`crate::serve`] trust
//! no length and no order.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use baton_attest::identity::encode;
use baton_core::keeper::StateError;
use baton_core::platform::Platform;
use baton_core::policy::{Policy, PolicyError};
use baton_core::seal::OpenError;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use crate::lifeboat::Lifeboat;
use crate::shell::{Enclave, Start, StartError};

/// Length of a frame's header, in bytes.
pub const HEADER_LEN: usize = 4;

/// How to start: [`Start`] as bytes carry it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Opening {
    /// The newest custody file, if there is one.
    #[n(0)]
    pub custody: Option<ByteVec>,
    /// The newest rehearsal file, if there is one.
    #[n(1)]
    pub rehearsal: Option<ByteVec>,
    /// Highest custody generation that the host has seen on disk.
    #[n(2)]
    pub seen_custody: u64,
    /// Highest rehearsal generation that the host has seen on disk.
    #[n(3)]
    pub seen_rehearsal: u64,
    /// Leave the app switched off.
    #[n(4)]
    pub custody_only: bool,
}

impl Opening {
    /// The same, borrowed.
    pub fn start(&self) -> Start<'_> {
        Start {
            custody: self.custody.as_ref().map(|b| b.as_slice()),
            rehearsal: self.rehearsal.as_ref().map(|b| b.as_slice()),
            seen: (self.seen_custody, self.seen_rehearsal),
            custody_only: self.custody_only,
        }
    }
}

/// The answer to an [`Opening`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum Opened {
    /// The enclave runs and takes requests.
    #[n(0)]
    Started,
    /// It does not start, and ends. Its files stay as they are.
    #[n(1)]
    Refused {
        /// What failed, expected against got, what to do next.
        #[n(0)]
        message: String,
        /// The custody file is damaged: an older generation is worth trying.
        #[n(1)]
        damaged: bool,
    },
}

impl StartError {
    /// True if the custody file is damaged. Only then is an older one worth trying: any other refusal
    /// would only be hidden by it.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            StartError::State(StateError::Malformed(_))
                | StartError::State(StateError::Open(
                    OpenError::Tampered | OpenError::Truncated { .. } | OpenError::NotASealedFile
                ))
        )
    }
}

/// A trusted program behind frames.
pub trait Program {
    /// Takes a request and gives its response.
    fn handle_bytes(&mut self, request: &[u8]) -> Vec<u8>;

    /// The response to a frame that is not even read, because it is too large.
    fn oversized(message: String) -> Vec<u8>;
}

/// Why a program does not start. Its files stay as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotStarted {
    /// What failed, expected against got, what to do next.
    pub message: String,
    /// The file is damaged: an older generation is worth trying.
    pub damaged: bool,
}

impl NotStarted {
    fn because(why: impl ToString) -> Self {
        NotStarted { message: why.to_string(), damaged: false }
    }
}

/// Takes the first frame. The bytes are the answer; without a program the enclave ends after it.
pub fn open<T: Program>(frame: &[u8], start: impl FnOnce(&Opening) -> Result<T, NotStarted>) -> (Vec<u8>, Option<T>) {
    let started = match minicbor::decode::<Opening>(frame) {
        Ok(opening) => start(&opening),
        Err(e) => Err(NotStarted::because(alloc::format!(
            "the opening cannot be read: {e}; start the enclave with the host of the same release"
        ))),
    };
    match started {
        Ok(program) => (encode(&Opened::Started), Some(program)),
        Err(NotStarted { message, damaged }) => (encode(&Opened::Refused { message, damaged }), None),
    }
}

/// Starts the keeper with its app. `policy` is what the measured pages hold.
pub fn start_keeper<P: Platform>(
    platform: P,
    policy: Result<Policy, PolicyError>,
    opening: &Opening,
) -> Result<Enclave<P>, NotStarted> {
    let policy = policy.map_err(|e| NotStarted::because(alloc::format!("the policy in this enclave's measured pages is refused: {e}")))?;
    Enclave::start(platform, policy, opening.start()).map_err(|e| NotStarted { message: e.to_string(), damaged: e.is_damage() })
}

/// Starts a lifeboat. `config` is what its measured pages hold.
pub fn start_lifeboat<P: Platform>(platform: P, config: &[u8], opening: &Opening) -> Result<Lifeboat<P>, NotStarted> {
    Lifeboat::start(platform, config, opening.start().custody).map_err(NotStarted::because)
}

/// Starts the ceremony's program.
#[cfg(feature = "ceremony")]
pub fn start_ceremony<P: Platform>(platform: P, opening: &Opening) -> Result<crate::ceremony::Ceremony<P>, NotStarted> {
    crate::ceremony::Ceremony::start(platform, opening.start().custody, opening.seen_custody).map_err(NotStarted::because)
}

/// Reads one request of at most `most` bytes, with nothing behind it. The error is for people.
pub(crate) fn read_request<T: for<'b> Decode<'b, ()>>(bytes: &[u8], most: usize) -> Result<T, String> {
    if bytes.len() > most {
        return Err(alloc::format!("the request is too large: expected at most {most} bytes, got {}", bytes.len()));
    }
    let mut d = minicbor::Decoder::new(bytes);
    let request = d.decode().map_err(|e| alloc::format!("the request cannot be read: {e}"))?;
    match d.position() == bytes.len() {
        true => Ok(request),
        false => Err("the request has bytes after its end".into()),
    }
}
