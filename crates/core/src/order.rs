//! Emergency orders: what people may command in public when no vote is possible.
//!
//! An order is deterministic CBOR, signed by m of the council in one `COSE_Sign` (RFC 9052, 4.1: one payload, a signature
//! of each member), or by validators' account keys in the ADR-036 form. Its target is a build that nobody voted for, so the
//! enclave that gives demands notice itself: nothing leaves before the order's digest has been public for long enough.
//!
//! - [`signed`]: the file that people pass around and sign; who signed, and whose signature is bad.
//! - [`adr036`]: what Keplr, a Ledger and the chain's own command sign.
//! - [`notice`]: proof that something was public, and since when; on the chain, or in a witnessed log.
//! - [`judge`]: the one place that makes a [`judge::CheckedOrder`].
//!
//! The threat is enough signers who act in secret with one host (A25), a signature used again for another chain, build or
//! year (A06), and one bad signature that spoils the good ones (A07).

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use baton_attest::identity::{Digest32, Identity, Measurement, encode, hash};
use minicbor::{Decode, Encode};

use crate::cbor::decode_exact;

pub mod adr036;
pub mod judge;
pub mod notice;
pub mod signed;

/// The version of the array.
pub const VERSION: u8 = 1;
/// What a memo, and a leaf of the witnessed log, that publishes an order begins with.
pub const MEMO_PREFIX: &str = "baton-order1:";
/// What a memo, or a leaf, that shows a fresh view without a transfer begins with.
pub const FRESH_PREFIX: &str = "baton-fresh1:";
/// The context string of every council signature: the external data of its `COSE_Sign` structure.
pub const COSE_CONTEXT: &[u8] = b"baton emergency order v1";
/// Longest reason, in bytes.
pub const MAX_REASON_BYTES: usize = 1000;
/// Longest order, in bytes.
pub const MAX_ORDER_BYTES: usize = 4096;

/// What is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Action {
    /// Hand the keyring over to this build.
    #[n(0)]
    Handover {
        /// Its full identity.
        #[n(0)]
        to: Identity,
    },
    /// Put the trusted head back to an ancestor of it.
    #[n(1)]
    Rewind {
        /// Height of the ancestor.
        #[n(0)]
        height: u64,
        /// Its header hash.
        #[n(1)]
        hash: Digest32,
    },
    /// Give nothing to this build until a later plan or order; serving goes on.
    #[n(2)]
    Freeze {
        /// The build.
        #[n(0)]
        measurement: Measurement,
        /// A plan is later when its proposal has a higher number than this.
        #[n(1)]
        proposals_through: u64,
    },
    /// Begin a new epoch. Recorded only: this build deals no epochs.
    #[n(3)]
    Rotate,
}

/// The kinds, as people name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, serde::Serialize)]
#[cbor(index_only)]
#[serde(rename_all = "lowercase")]
pub enum OrderKind {
    /// See [`Action::Handover`].
    #[n(0)]
    Handover,
    /// See [`Action::Rewind`].
    #[n(1)]
    Rewind,
    /// See [`Action::Freeze`].
    #[n(2)]
    Freeze,
    /// See [`Action::Rotate`].
    #[n(3)]
    Rotate,
}

impl fmt::Display for OrderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OrderKind::Handover => "handover",
            OrderKind::Rewind => "rewind",
            OrderKind::Freeze => "freeze",
            OrderKind::Rotate => "rotate",
        })
    }
}

/// An order, as data: it commands nothing before [`judge`] has checked its signatures and its notice. CBOR array.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Order {
    /// [`VERSION`].
    #[n(0)]
    pub version: u8,
    /// The chain.
    #[n(1)]
    pub chain_id: String,
    /// Digest of the identity of the build that shall obey.
    #[n(2)]
    pub from: Digest32,
    /// Number of the order; an enclave obeys rising numbers only.
    #[n(3)]
    pub sequence: u64,
    /// Void at heads from this height on.
    #[n(4)]
    pub expiry_height: u64,
    /// Void from this time on, in unix seconds: on a chain that stands still no height passes.
    #[n(5)]
    pub expiry_secs: u64,
    /// Why, for people; at most [`MAX_REASON_BYTES`].
    #[n(6)]
    pub reason: String,
    /// What.
    #[n(7)]
    pub action: Action,
}

/// Bytes that are no order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderBytesError {
    /// More than any order has.
    #[error("the order is too long: expected at most {MAX_ORDER_BYTES} bytes, got {got}")]
    TooLong {
        /// Its length.
        got: usize,
    },
    /// Not the array.
    #[error("not the deterministic CBOR of an order of version {VERSION}; another message, or a newer release's")]
    Malformed,
    /// Of another version.
    #[error("the order has version {got}, expected {VERSION}")]
    Version {
        /// Its version.
        got: u8,
    },
    /// Too long a reason.
    #[error("the order's reason has {got} bytes, expected at most {MAX_REASON_BYTES}, and no control characters")]
    Reason {
        /// Its length.
        got: usize,
    },
}

impl Order {
    /// The bytes that are signed.
    pub fn to_cbor(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads the one encoding of an order.
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, OrderBytesError> {
        if bytes.len() > MAX_ORDER_BYTES {
            return Err(OrderBytesError::TooLong { got: bytes.len() });
        }
        let order: Order = decode_exact(bytes).ok_or(OrderBytesError::Malformed)?;
        if order.version != VERSION {
            return Err(OrderBytesError::Version { got: order.version });
        }
        order.check_reason()?;
        if order.to_cbor() != bytes {
            return Err(OrderBytesError::Malformed);
        }
        Ok(order)
    }

    /// The reason fits, and prints as what it is.
    pub fn check_reason(&self) -> Result<(), OrderBytesError> {
        let got = self.reason.len();
        match got > MAX_REASON_BYTES || self.reason.chars().any(char::is_control) {
            true => Err(OrderBytesError::Reason { got }),
            false => Ok(()),
        }
    }

    /// Its kind.
    pub fn kind(&self) -> OrderKind {
        match self.action {
            Action::Handover { .. } => OrderKind::Handover,
            Action::Rewind { .. } => OrderKind::Rewind,
            Action::Freeze { .. } => OrderKind::Freeze,
            Action::Rotate => OrderKind::Rotate,
        }
    }

    /// SHA-256(`"baton order v1"`, CBOR): what is published, and what validators sign.
    pub fn digest(&self) -> Digest32 {
        hash("baton order v1", &[&self.to_cbor()])
    }

    /// The text that makes it public: in a transaction's memo, and as a leaf of the witnessed log.
    pub fn memo(&self) -> String {
        order_memo(&self.digest())
    }
}

/// The text that publishes the order of a digest: `baton-order1:` and base64url without padding.
pub fn order_memo(digest: &Digest32) -> String {
    format!("{MEMO_PREFIX}{}", URL_SAFE_NO_PAD.encode(digest.0))
}

/// The text that shows a view fresh for an order without a transfer: `baton-fresh1:` and the nonce of the enclave's hello.
pub fn fresh_memo(nonce: &Digest32) -> String {
    format!("{FRESH_PREFIX}{}", URL_SAFE_NO_PAD.encode(nonce.0))
}

/// Who commanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authority {
    /// Council members.
    Council {
        /// Their names.
        signers: Vec<String>,
        /// m.
        needed: u32,
    },
    /// Validators.
    Validators {
        /// Their accounts.
        signers: Vec<String>,
        /// What they stand for, in power units.
        power: u64,
        /// All bonded power.
        total: u64,
    },
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Authority::Council { signers, needed } => write!(f, "council: {} of {needed} needed ({})", signers.len(), signers.join(", ")),
            Authority::Validators { signers, power, total } => {
                write!(f, "{} validators with {power} of {total} bonded power", signers.len())
            }
        }
    }
}

/// A signature that does not count, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedSignature {
    /// The member's name, the account, or the key where nobody knows it.
    pub owner: String,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for SkippedSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.owner, self.why)
    }
}

/// Signatures that were skipped, for messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SkippedSignatures(pub Vec<SkippedSignature>);

impl fmt::Display for SkippedSignatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        let list: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        write!(f, "; skipped: {}", list.join("; "))
    }
}

#[cfg(test)]
mod tests;
