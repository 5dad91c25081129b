//! The wire messages of a handover, as two enclaves see them.
//!
//! Hosts carry these bytes and may change any of them; nothing here is trusted until the function
//! that consumes it has checked it. Every message is a deterministic CBOR map with a version;
//! unknown fields are skipped, so that an older build can read what a newer one adds.

use alloc::{string::String, vec::Vec};

use baton_attest::identity::{Digest32, Identity, encode, hash};
use baton_chain::authorize::PlanRef;
use baton_chain::record::Kind;
use minicbor::{Decode, Encode};

use crate::hpke_box::SealedBox;

/// The version that this build writes. A reader accepts every version up to this one.
pub const VERSION: u8 = 1;

/// Largest message that a reader looks at, in bytes (1 MiB).
pub const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// Why bytes are not a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Larger than any message can be.
    #[error("{what} is too large: expected at most {MAX_MESSAGE_BYTES} bytes, got {got}")]
    Oversized {
        /// Which message.
        what: &'static str,
        /// Its size in bytes.
        got: usize,
    },
    /// Not the CBOR that this message has.
    #[error("{what} cannot be read: {reason}; fetch it again from its sender")]
    Malformed {
        /// Which message.
        what: &'static str,
        /// What the decoder says.
        reason: String,
    },
    /// Bytes after the end.
    #[error("{what} has {extra} bytes after its end")]
    Trailing {
        /// Which message.
        what: &'static str,
        /// How many.
        extra: usize,
    },
    /// Of a version that this build does not know.
    #[error("{what} has version {got}, this build reads up to {VERSION}: upgrade this side")]
    Version {
        /// Which message.
        what: &'static str,
        /// The version in it.
        got: u8,
    },
}

/// A message of the handover.
pub trait Message: for<'b> Decode<'b, ()> + Encode<()> {
    /// Its name in errors.
    const NAME: &'static str;

    /// The version in it.
    fn version(&self) -> u8;

    /// Reads one message and nothing else.
    fn from_cbor(bytes: &[u8]) -> Result<Self, MessageError> {
        let what = Self::NAME;
        if bytes.len() > MAX_MESSAGE_BYTES {
            return Err(MessageError::Oversized { what, got: bytes.len() });
        }
        let mut d = minicbor::Decoder::new(bytes);
        let msg: Self = d.decode().map_err(|e| MessageError::Malformed {
            what,
            reason: alloc::format!("{e}"),
        })?;
        let extra = bytes.len().saturating_sub(d.position());
        if extra != 0 {
            return Err(MessageError::Trailing { what, extra });
        }
        if msg.version() == 0 || msg.version() > VERSION {
            return Err(MessageError::Version { what, got: msg.version() });
        }
        Ok(msg)
    }

    /// The bytes.
    fn to_cbor(&self) -> Vec<u8> {
        encode(self)
    }
}

macro_rules! message {
    ($ty:ty, $name:literal) => {
        impl Message for $ty {
            const NAME: &'static str = $name;
            fn version(&self) -> u8 {
                self.version
            }
        }
    };
}

/// O's opening: the nonce that makes everything after it fresh. O keeps it in memory only.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Hello {
    /// Message version.
    #[n(0)]
    pub version: u8,
    /// Drawn by O for one request, 32 bytes.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub nonce: [u8; 32],
    /// The chain that O follows.
    #[n(2)]
    pub chain_id: String,
    /// O's newest epoch.
    #[n(3)]
    pub epoch: u64,
    /// O's identity, so that N can make a report for it.
    #[n(4)]
    pub source: Identity,
}
message!(Hello, "the hello of the source");

/// N's request: a fresh HPKE key for one transfer. A report or quote over [`HandoverRequest::digest`] comes beside it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct HandoverRequest {
    /// Message version.
    #[n(0)]
    pub version: u8,
    /// What is asked for.
    #[n(1)]
    pub kind: Kind,
    /// The chain that N was built for.
    #[n(2)]
    pub chain_id: String,
    /// The epoch that O named.
    #[n(3)]
    pub epoch: u64,
    /// O's nonce, 32 bytes.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub nonce: [u8; 32],
    /// N's X-Wing public key, 1216 bytes.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub hpke_key: Vec<u8>,
}
message!(HandoverRequest, "the request of the target");

impl HandoverRequest {
    /// What the attestation, the record and the transcript are bound to.
    pub fn digest(&self) -> Digest32 {
        hash("baton request v1", &[&self.to_cbor()])
    }
}

/// How an enclave shows who it is. Untrusted until checked.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum Attestation {
    /// A REPORT for the enclave that reads it, 432 bytes: same machine.
    #[n(0)]
    Local {
        /// The report.
        #[cbor(n(0), with = "minicbor::bytes")]
        report: Vec<u8>,
    },
    /// A DCAP v3 quote and the collateral to check it with: any machine.
    #[n(1)]
    Quoted {
        /// The quote.
        #[cbor(n(0), with = "minicbor::bytes")]
        quote: Vec<u8>,
        /// Collateral JSON as a PCCS serves it.
        #[cbor(n(1), with = "minicbor::bytes")]
        collateral: Vec<u8>,
    },
}

/// O's offer: the encrypted keyring.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Offer {
    /// Message version.
    #[n(0)]
    pub version: u8,
    /// The kind of transfer.
    #[n(1)]
    pub kind: Kind,
    /// The transfer that this belongs to, see [`transcript`].
    #[n(2)]
    pub transcript: Digest32,
    /// O's identity digest, part of the transcript.
    #[n(3)]
    pub source: Digest32,
    /// What permitted it (digest), part of the transcript.
    #[n(4)]
    pub authority: Digest32,
    /// The encrypted payload, see [`crate::hpke_box`].
    #[n(5)]
    pub sealed: SealedBox,
}
message!(Offer, "the offer of the source");

impl Offer {
    /// What the giver attests, where the receiver's policy asks for that.
    pub fn digest(&self) -> Digest32 {
        hash("baton offer v1", &[&self.to_cbor()])
    }
}

/// Binds one transfer: who asked, from whom, to whom, on what authority.
pub fn transcript(kind: Kind, request: &Digest32, source: &Digest32, target: &Digest32, authority: &Digest32) -> Digest32 {
    hash(
        "baton transcript v1",
        &[&encode(&kind), &request.0, &source.0, &target.0, &authority.0],
    )
}

/// O's challenge: answered only by an N that was started again from its sealed file.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Challenge {
    /// Message version.
    #[n(0)]
    pub version: u8,
    /// The transfer.
    #[n(1)]
    pub transcript: Digest32,
    /// Drawn by O for this challenge, in memory only, 32 bytes.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub nonce: [u8; 32],
    /// O's identity, so that N can make a report for it.
    #[n(3)]
    pub source: Identity,
}
message!(Challenge, "the challenge of the source");

/// N's receipt: it holds the right keyring, durably. A report or quote over [`Receipt::digest`] comes beside it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Receipt {
    /// Message version.
    #[n(0)]
    pub version: u8,
    /// The transfer.
    #[n(1)]
    pub transcript: Digest32,
    /// O's challenge nonce, 32 bytes.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub nonce: [u8; 32],
    /// HMAC-SHA256 under a key derived from the keyring, 32 bytes.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub mac: [u8; 32],
}
message!(Receipt, "the receipt of the target");

impl Receipt {
    /// What N attests.
    pub fn digest(&self) -> Digest32 {
        hash("baton receipt v1", &[&self.to_cbor()])
    }

    /// What the MAC covers.
    pub fn mac_input(transcript: &Digest32, nonce: &[u8; 32]) -> Digest32 {
        hash("baton receipt mac v1", &[&transcript.0, nonce])
    }
}

/// What an N says to every O at once: the plan ran, it holds the keyring, and it has shown that it can let go.
///
/// It is bound to the head that N verified in place of a nonce, so one receipt serves every O.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct BarrierReceipt {
    /// Message version.
    #[n(0)]
    pub version: u8,
    /// The chain.
    #[n(1)]
    pub chain_id: String,
    /// The plan that N runs.
    #[n(2)]
    pub plan: PlanRef,
    /// X: the height whose header proved that plan to N.
    #[n(3)]
    pub activated_at: u64,
    /// The head that N has verified, in blocks.
    #[n(4)]
    pub head_height: u64,
    /// Its header hash, 32 bytes.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub head_hash: [u8; 32],
    /// N has handed a canary on, as the source, and got the receipt for it.
    #[n(6)]
    pub rehearsed_as_source: bool,
    /// HMAC-SHA256 under a key derived from the keyring over the fields above, 32 bytes.
    #[cbor(n(7), with = "minicbor::bytes")]
    pub mac: [u8; 32],
}
message!(BarrierReceipt, "a barrier receipt");

impl BarrierReceipt {
    /// What N attests.
    pub fn digest(&self) -> Digest32 {
        hash("baton barrier receipt v1", &[&self.to_cbor()])
    }

    /// What the MAC covers: every field but itself.
    pub fn mac_input(&self) -> Digest32 {
        let mut bare = self.clone();
        bare.mac = [0; 32];
        hash("baton barrier mac v1", &[&bare.to_cbor()])
    }
}

/// The 64 bytes of REPORTDATA for a digest: the digest, then zeros.
pub fn report_data(digest: &Digest32) -> [u8; 64] {
    let mut out = [0; 64];
    let (front, _) = out.split_at_mut(32);
    front.copy_from_slice(&digest.0);
    out
}

#[cfg(test)]
mod tests;
