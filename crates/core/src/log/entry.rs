//! What one line of the custody log says.

use alloc::{string::String, vec::Vec};

use baton_attest::identity::{Digest32, PlatformId, encode};
use baton_chain::record::Kind;
use minicbor::{Decode, Encode};

use super::merkle::{LogHash, leaf_hash};
use crate::cbor::decode_exact;
use crate::keyring::Commitment;
use crate::order::OrderKind;

/// The version of an entry that this code writes.
pub const EVENT_VERSION: u8 = 1;

/// Largest entry that is read, in bytes (64 KiB).
pub const MAX_ENTRY_LEN: usize = 64 << 10;

/// Why bytes are not a log entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Larger than any.
    #[error("the log entry is too long: expected at most {MAX_ENTRY_LEN} bytes, got {got}")]
    Oversized {
        /// Bytes that it has.
        got: usize,
    },
    /// Not the CBOR of an entry.
    #[error("not a log entry")]
    Malformed,
    /// A known kind with a body of another shape.
    #[error("the log entry of kind {kind} has a body that cannot be read")]
    Body {
        /// Code of the kind.
        kind: u16,
    },
}

/// How an authorization came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Route {
    /// Before the plan's height, with a public record.
    #[n(0)]
    Ahead,
    /// With the header at the plan's height.
    #[n(1)]
    AtX,
    /// With a fresh head and a public record, without a plan.
    #[n(2)]
    Fresh,
    /// By an emergency order with its notice.
    #[n(3)]
    Order,
}

/// The facts that any event may state. Each is left out where it does not apply.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LogFacts {
    /// Height of the trusted head, in blocks.
    #[n(0)]
    pub height: Option<u64>,
    /// The newest epoch that the event is about.
    #[n(1)]
    pub epoch: Option<u64>,
    /// Digest of the other enclave's identity.
    #[n(2)]
    pub identity: Option<Digest32>,
    /// Digest of the evidence.
    #[n(3)]
    pub evidence: Option<Digest32>,
    /// Digest of the public record.
    #[n(4)]
    pub record: Option<Digest32>,
    /// The other machine, where a quote showed it.
    #[n(5)]
    pub platform: Option<PlatformId>,
    /// Digest of the transfer's transcript.
    #[n(6)]
    pub transcript: Option<Digest32>,
}

macro_rules! events {
    ($($(#[$doc:meta])* $code:literal $name:ident { $($(#[$fdoc:meta])* $n:literal $field:ident: $ty:ty,)* })*) => {
        /// What happened. Kinds that this build does not know stay opaque and keep their bytes.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Event {
            $($(#[$doc])* $name { $($(#[$fdoc])* $field: $ty,)* },)*
            /// A kind of a newer build.
            Unknown {
                /// Its code.
                kind: u16,
                /// Its CBOR body.
                body: Vec<u8>,
            },
        }

        /// The CBOR bodies of the events, by kind.
        mod body {
            use super::*;
            $(
                #[derive(Encode, Decode)]
                #[cbor(map)]
                pub(super) struct $name { $(#[n($n)] pub(super) $field: $ty,)* }
            )*
        }

        impl Event {
            /// The code of the kind, frozen.
            pub fn kind(&self) -> u16 {
                match self {
                    $(Self::$name { .. } => $code,)*
                    Self::Unknown { kind, .. } => *kind,
                }
            }

            /// The name of the kind, if this build knows it.
            pub fn name(&self) -> Option<&'static str> {
                match self {
                    $(Self::$name { .. } => Some(stringify!($name)),)*
                    Self::Unknown { .. } => None,
                }
            }

            fn body(self) -> Vec<u8> {
                match self {
                    $(Self::$name { $($field,)* } => encode(&body::$name { $($field,)* }),)*
                    Self::Unknown { body, .. } => body,
                }
            }

            fn parse(kind: u16, bytes: &[u8]) -> Result<Self, EntryError> {
                match kind {
                    $($code => {
                        let body::$name { $($field,)* } =
                            decode_exact(bytes).ok_or(EntryError::Body { kind })?;
                        Ok(Self::$name { $($field,)* })
                    })*
                    kind => Ok(Self::Unknown { kind, body: bytes.to_vec() }),
                }
            }
        }
    };
}

events! {
    /// The first seed was made here.
    1 Genesis {
        /// Commitment to epoch 0's seed.
        0 commitment: Commitment,
    }
    /// The first seed was taken from a file of Intel's SDK.
    2 LegacyImport {
        /// Commitment to epoch 0's seed.
        0 commitment: Commitment,
        /// True if the file was sealed under MRSIGNER.
        1 exposed: bool,
    }
    /// This log branches off the log of the enclave that gave the keyring.
    3 BranchStart {
        /// Id of the parent branch.
        0 parent: Digest32,
        /// Size of the parent's log at that point, in entries.
        1 size: u64,
        /// Root of the parent's log at that size.
        2 root: LogHash,
        /// Kind of the transfer.
        3 transfer: Kind,
    }
    /// A vote, or a record alone, was verified and permits a transfer.
    4 Authorization {
        /// Kind of the transfer.
        0 transfer: Kind,
        /// Route of the proof.
        1 route: Route,
        /// Name of the plan, where there is one.
        2 plan: Option<String>,
        /// Height of the plan, in blocks.
        3 plan_height: Option<u64>,
        /// The proposal, where there is one.
        4 proposal_id: Option<u64>,
        /// Who admitted the target's machine, for people; none on one machine, and where the policy admits any.
        5 admitted: Option<String>,
    }
    /// The encrypted keyring was made for a target.
    5 Offer {
        /// Kind of the transfer.
        0 transfer: Kind,
        /// Number of epochs in it.
        1 epochs: u64,
    }
    /// The keyring was taken from a source, checked and sealed.
    6 Received {
        /// Kind of the transfer.
        0 transfer: Kind,
        /// Number of epochs in it.
        1 epochs: u64,
    }
    /// A receipt was given to the source, after a restart from the sealed file.
    7 Receipt {
        /// Kind of the transfer.
        0 transfer: Kind,
    }
    /// A target's receipt was verified.
    8 Confirmed {
        /// Kind of the transfer.
        0 transfer: Kind,
    }
    /// This build serves: it verified the proof at the plan's height, or needs none.
    9 Activated {
        /// Name of the plan, where there is one.
        0 plan: Option<String>,
        /// Height of the plan, in blocks.
        1 plan_height: Option<u64>,
    }
    /// The condition for erasing the old copy was met.
    10 BarrierMet {
        /// Distinct platforms that hold the keyring under the target.
        0 platforms: u64,
        /// Their share of voting power, as decimal text, where the policy judges it.
        1 power_share: Option<String>,
    }
    /// This enclave erased its copy.
    11 Erased {
        /// Highest layer of erasing that this was: 0 is a tombstone.
        0 layer: u8,
    }
    /// A later plan took the place of this one.
    12 Superseded {
        /// Name of the earlier plan.
        0 plan: String,
        /// Name of the later plan.
        1 by: String,
    }
    /// The plan was cancelled.
    13 Revoked {
        /// Name of the plan.
        0 plan: String,
    }
    /// The network passed over the plan's height without running the plan.
    14 Skipped {
        /// Name of the plan.
        0 plan: String,
    }
    /// In phase `shadow`: the received keyring was compared with the one that MRSIGNER opens.
    15 ShadowCompared {
        /// True if they are equal.
        0 clean: bool,
        /// Clean comparisons in a row so far.
        1 count: u64,
    }
    /// A rehearsal ended.
    16 Rehearsal {
        /// True if this enclave was the source, false if it was the target.
        0 as_source: bool,
        /// True if it went through.
        1 passed: bool,
    }
    /// An emergency order was obeyed; the facts' evidence is its digest.
    17 EmergencyOrder {
        /// Its kind.
        0 order_kind: OrderKind,
        /// Its number.
        1 sequence: u64,
        /// Who commanded, in words.
        2 by: String,
        /// Why, in words.
        3 reason: String,
        /// Public since this block, where the chain showed it.
        4 public_block: Option<u64>,
        /// Public by then at the latest, in unix seconds, where witnesses dated it.
        5 public_first_secs: Option<u64>,
        /// Still public then, in unix seconds.
        6 public_second_secs: Option<u64>,
    }
    /// The trusted head went back to an ancestor, by an order.
    18 Rewound {
        /// From this height, in blocks.
        0 from_height: u64,
        /// To this height, in blocks.
        1 to_height: u64,
        /// Hash of the ancestor's header.
        2 to_hash: Digest32,
    }
    /// An escrow of the keyring was made. It is no copy: only m council members and a lifeboat together open it, after a notice.
    19 Escrowed {
        /// SHA-256 of the council's key.
        0 council_key: Digest32,
        /// SHA-256 of the lifeboats' key.
        1 lifeboat_key: Digest32,
    }
}

/// One line of the custody log. CBOR map {0: version, 1: sequence number, 2: kind code, 3: facts, 4: body
/// as a byte string of CBOR}; unknown fields are skipped. The leaf is over the bytes as they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Position in the log, from 0.
    pub seq: u64,
    /// Facts that any event may state.
    pub facts: LogFacts,
    /// What happened.
    pub event: Event,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Wire {
    #[n(0)]
    version: u8,
    #[n(1)]
    seq: u64,
    #[n(2)]
    kind: u16,
    #[n(3)]
    facts: LogFacts,
    #[cbor(n(4), with = "minicbor::bytes")]
    body: Vec<u8>,
}

impl LogEntry {
    /// The bytes of the leaf.
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(&Wire {
            version: EVENT_VERSION,
            seq: self.seq,
            kind: self.event.kind(),
            facts: self.facts.clone(),
            body: self.event.clone().body(),
        })
    }

    /// The leaf hash.
    pub fn leaf_hash(&self) -> LogHash {
        leaf_hash(&self.to_bytes())
    }

    /// Reads an entry. An entry of a newer version is read as opaque.
    pub fn parse(bytes: &[u8]) -> Result<Self, EntryError> {
        if bytes.len() > MAX_ENTRY_LEN {
            return Err(EntryError::Oversized { got: bytes.len() });
        }
        let Wire {
            version,
            seq,
            kind,
            facts,
            body,
        } = decode_exact(bytes).ok_or(EntryError::Malformed)?;
        let event = match version {
            0..=EVENT_VERSION => Event::parse(kind, &body)?,
            _ => Event::Unknown { kind, body },
        };
        Ok(Self { seq, facts, event })
    }
}
