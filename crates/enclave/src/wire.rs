//! The one request/response type between a host and its enclave.
//!
//! The same bytes cross a function call on `sim` and a socket on SGX. Evidence and messages inside
//! are opaque byte strings: the keeper parses them, within their own limits.

use alloc::{string::String, vec::Vec};

use baton_attest::identity::{Digest32, Identity, PlatformId};
use baton_chain::record::Kind;
use baton_core::context::Alarm;
use baton_core::custody::State;
use baton_core::keeper::emergency::{Emergency, Frozen};
use baton_core::messages::Attestation;
use baton_core::seal::Slot;
use minicbor::{Decode, Encode};

/// Which keys an app request works under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Under {
    /// The keyring: real state.
    #[n(0)]
    Seed,
    /// The canary of a rehearsal: synthetic state. A source writes under the one that it gives, a target reads under the one that it got.
    #[n(1)]
    Canary,
}

/// A sealed file, in either direction.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SealedFile {
    /// Its slot.
    #[n(0)]
    pub slot: Slot,
    /// Its generation, counted up by one for each write.
    #[n(1)]
    pub generation: u64,
    /// The file.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub bytes: Vec<u8>,
}

/// A barrier receipt with its attestation.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AttestedReceipt {
    /// CBOR of the barrier receipt.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub receipt: Vec<u8>,
    /// Who gave it.
    #[n(1)]
    pub attestation: Attestation,
}

/// What a host may ask of its enclave.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum Request {
    /// What is held, and what the enclave has seen.
    #[n(0)]
    Status,
    /// What the disk gave back for files that the enclave asked to be stored; what it had to say comes then.
    #[n(1)]
    Stored {
        /// The files, read back.
        #[n(0)]
        files: Vec<SealedFile>,
    },
    /// The policy's checkpoint: a light block whose hash the policy names.
    #[n(2)]
    Checkpoint {
        /// CBOR of the light block.
        #[cbor(n(0), with = "minicbor::bytes")]
        block: Vec<u8>,
    },
    /// Light blocks from the trusted header to a later one.
    #[n(3)]
    Advance {
        /// CBOR of the path.
        #[cbor(n(0), with = "minicbor::bytes")]
        path: Vec<u8>,
    },
    /// A new seed for a new network.
    #[n(4)]
    Genesis {
        /// Names of everything sealed that the host found; anything here refuses.
        #[n(0)]
        found: Vec<String>,
    },
    /// A file that the network's old enclave sealed under MRSIGNER (Intel SDK layout).
    #[n(5)]
    ImportLegacy {
        /// The file.
        #[cbor(n(0), with = "minicbor::bytes")]
        file: Vec<u8>,
    },
    /// `shadow`: the custody file that the older build sealed under MRSIGNER.
    #[n(6)]
    Inherit {
        /// The file.
        #[cbor(n(0), with = "minicbor::bytes")]
        file: Vec<u8>,
    },
    /// Source: open a transfer.
    #[n(7)]
    Hello,
    /// Target: make a request.
    #[n(8)]
    Ask {
        /// CBOR of the source's hello.
        #[cbor(n(0), with = "minicbor::bytes")]
        hello: Vec<u8>,
        /// What is asked for.
        #[n(1)]
        kind: Kind,
        /// TARGETINFO for the report, 512 bytes: the source's, or the quoting enclave's.
        #[cbor(n(2), with = "minicbor::bytes")]
        report_target: Vec<u8>,
    },
    /// Source: verify everything and give an offer.
    #[n(9)]
    Offer {
        /// CBOR of the target's request.
        #[cbor(n(0), with = "minicbor::bytes")]
        request: Vec<u8>,
        /// Who made it.
        #[n(1)]
        attestation: Attestation,
        /// What permits it.
        #[n(2)]
        evidence: OfferEvidence,
        /// TARGETINFO for a report over the offer (a joiner of a genesis build wants one), 512 bytes.
        #[cbor(n(3), with = "minicbor::bytes")]
        report_target: Option<Vec<u8>>,
    },
    /// Target: open an offer and store what is in it.
    #[n(10)]
    Accept {
        /// CBOR of the offer.
        #[cbor(n(0), with = "minicbor::bytes")]
        offer: Vec<u8>,
        /// Who gave it, where the policy asks.
        #[n(1)]
        giver: Option<Attestation>,
    },
    /// Source: ask the target of a transfer to prove durability.
    #[n(11)]
    Challenge {
        /// The transfer.
        #[n(0)]
        transcript: Digest32,
    },
    /// Target: answer a challenge.
    #[n(12)]
    Prove {
        /// CBOR of the challenge.
        #[cbor(n(0), with = "minicbor::bytes")]
        challenge: Vec<u8>,
        /// TARGETINFO for the report, 512 bytes.
        #[cbor(n(1), with = "minicbor::bytes")]
        report_target: Vec<u8>,
    },
    /// Source: the target's receipt.
    #[n(13)]
    Confirm {
        /// CBOR of the receipt.
        #[cbor(n(0), with = "minicbor::bytes")]
        receipt: Vec<u8>,
        /// Who gave it.
        #[n(1)]
        attestation: Attestation,
    },
    /// Target: the proof at X of its own plan.
    #[n(14)]
    Activate {
        /// CBOR of the evidence at X.
        #[cbor(n(0), with = "minicbor::bytes")]
        evidence: Vec<u8>,
    },
    /// What the chain says of the plan now: pending, another, cancelled, done, skipped.
    #[n(15)]
    Observe {
        /// CBOR of the evidence.
        #[cbor(n(0), with = "minicbor::bytes")]
        evidence: Vec<u8>,
    },
    /// Target: a receipt for the barrier of every source.
    #[n(16)]
    BarrierReceipt {
        /// TARGETINFO for the report, 512 bytes.
        #[cbor(n(0), with = "minicbor::bytes")]
        report_target: Vec<u8>,
    },
    /// Source: erase, if the barrier is met.
    #[n(17)]
    Erase {
        /// What successors say.
        #[n(0)]
        receipts: Vec<AttestedReceipt>,
        /// CBOR of what shows whose machines these are, where the policy asks for a share of voting power.
        #[cbor(n(1), with = "minicbor::bytes")]
        power: Option<Vec<u8>>,
    },
    /// App: store a value.
    #[n(18)]
    Put {
        /// Under which keys.
        #[n(0)]
        under: Under,
        /// The name.
        #[n(1)]
        name: String,
        /// The value.
        #[cbor(n(2), with = "minicbor::bytes")]
        value: Vec<u8>,
    },
    /// App: where the host keeps the record of a name.
    #[n(19)]
    Locate {
        /// Under which keys.
        #[n(0)]
        under: Under,
        /// The name.
        #[n(1)]
        name: String,
        /// The epoch.
        #[n(2)]
        epoch: u64,
    },
    /// App: read a value.
    #[n(20)]
    Get {
        /// Under which keys.
        #[n(0)]
        under: Under,
        /// The name.
        #[n(1)]
        name: String,
        /// CBOR of the record.
        #[cbor(n(2), with = "minicbor::bytes")]
        record: Vec<u8>,
    },
    /// Log entries that the host has not acknowledged yet, and the signed head.
    #[n(21)]
    Log,
    /// The host has stored the first `size` entries durably.
    #[n(22)]
    LogStored {
        /// How many.
        #[n(0)]
        size: u64,
    },
    /// Obey a freeze, a rewind or a rotation.
    #[n(23)]
    Command {
        /// CBOR of the order's evidence.
        #[cbor(n(0), with = "minicbor::bytes")]
        evidence: Vec<u8>,
    },
    /// Target: the order that names this very build, with its notice.
    #[n(24)]
    ActivateByOrder {
        /// CBOR of the order's evidence.
        #[cbor(n(0), with = "minicbor::bytes")]
        evidence: Vec<u8>,
    },
    /// [`Request::Offer`] with a witnessed date over all of it, for policies that ask for one.
    #[n(25)]
    OfferDated {
        /// CBOR of the target's request.
        #[cbor(n(0), with = "minicbor::bytes")]
        request: Vec<u8>,
        /// Who made it.
        #[n(1)]
        attestation: Attestation,
        /// What permits it.
        #[n(2)]
        evidence: OfferEvidence,
        /// TARGETINFO for a report over the offer, 512 bytes.
        #[cbor(n(3), with = "minicbor::bytes")]
        report_target: Option<Vec<u8>>,
        /// CBOR of the leaf's proof in a cosigned checkpoint.
        #[cbor(n(4), with = "minicbor::bytes")]
        date: Vec<u8>,
    },
    /// A witnessed date over a nonce of this instance: the copy was not set aside.
    #[n(26)]
    Date {
        /// The nonce of a hello.
        #[n(0)]
        nonce: Digest32,
        /// CBOR of the leaf's proof in a cosigned checkpoint.
        #[cbor(n(1), with = "minicbor::bytes")]
        proof: Vec<u8>,
    },
    /// App: store a value whose length the host shall not learn. Only a program with feature `padded` does; any other refuses it.
    #[n(27)]
    PutPadded {
        /// Under which keys.
        #[n(0)]
        under: Under,
        /// The name.
        #[n(1)]
        name: String,
        /// The value.
        #[cbor(n(2), with = "minicbor::bytes")]
        value: Vec<u8>,
    },
    /// An escrow of the keyring, for the lifeboat and the council that the policy names.
    #[n(28)]
    Escrow {
        /// The council's X-Wing public key, 1216 bytes.
        #[cbor(n(0), with = "minicbor::bytes")]
        council_key: Vec<u8>,
        /// The lifeboats', 1216 bytes.
        #[cbor(n(1), with = "minicbor::bytes")]
        lifeboat_key: Vec<u8>,
    },
}

/// What permits an offer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum OfferEvidence {
    /// The vote, the plan and a record, before X.
    #[n(0)]
    Ahead(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// The proof at X: unrecorded on one machine, with a record to another.
    #[n(1)]
    AtX(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// A record and a fresh head: `join`.
    #[n(2)]
    Record(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// Nothing: `rehearsal`.
    #[n(3)]
    None,
    /// An emergency order with its notice.
    #[n(4)]
    Order(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
}

/// What an enclave answers.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Response {
    /// Files to store and read back first; [`Request::Stored`] then brings the reply.
    #[n(0)]
    pub store: Vec<SealedFile>,
    /// The reply, when nothing had to be stored first.
    #[n(1)]
    pub reply: Option<Reply>,
    /// For people.
    #[n(2)]
    pub alarms: Vec<Alarm>,
}

/// A refusal, as people and programs read it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, serde::Serialize)]
#[cbor(map)]
pub struct Refusal {
    /// The check that refused, a stable name.
    #[n(0)]
    pub check: String,
    /// The rule of the design that it keeps.
    #[n(1)]
    pub rule: String,
    /// What failed, expected against got, what to do next.
    #[n(2)]
    pub message: String,
}

/// The reply to a request.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum Reply {
    /// Done, nothing to say.
    #[n(0)]
    Done,
    /// Refused; nothing has changed.
    #[n(1)]
    Refused(#[n(0)] Refusal),
    /// See [`Status`].
    #[n(2)]
    Status(#[n(0)] Status),
    /// A message for the other enclave, and a report over it.
    #[n(3)]
    Message {
        /// CBOR of the message.
        #[cbor(n(0), with = "minicbor::bytes")]
        message: Vec<u8>,
        /// REPORT, 432 bytes, where one was asked for.
        #[cbor(n(1), with = "minicbor::bytes")]
        report: Option<Vec<u8>>,
        /// The digest that a record or a challenge names.
        #[n(2)]
        digest: Digest32,
    },
    /// A vault record and where to keep it.
    #[n(4)]
    Record {
        /// Its place, 32 bytes.
        #[cbor(n(0), with = "minicbor::bytes")]
        index: [u8; 32],
        /// CBOR of the record; empty for a lookup.
        #[cbor(n(1), with = "minicbor::bytes")]
        record: Vec<u8>,
    },
    /// A value.
    #[n(5)]
    Value(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// Log entries and the head that covers them.
    #[n(6)]
    Log {
        /// Number of the first entry.
        #[n(0)]
        first: u64,
        /// CBOR of each entry.
        #[n(1)]
        entries: Vec<minicbor::bytes::ByteVec>,
        /// C2SP checkpoint, a signed note.
        #[n(2)]
        checkpoint: String,
        /// Ed25519 public key of this enclave's branch, 32 bytes.
        #[cbor(n(3), with = "minicbor::bytes")]
        public_key: [u8; 32],
    },
}

/// What a host may know of its enclave.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Status {
    /// Who runs.
    #[n(0)]
    pub identity: Identity,
    /// The state of custody.
    #[n(1)]
    pub state: State,
    /// Trusted head: height in blocks, 0 before the checkpoint.
    #[n(2)]
    pub head_height: u64,
    /// Its hash, 32 bytes.
    #[n(3)]
    pub head_hash: Digest32,
    /// Epochs held.
    #[n(4)]
    pub epochs: Vec<u64>,
    /// Public commitment of each epoch held.
    #[n(5)]
    pub commitments: Vec<Digest32>,
    /// Epochs that were ever sealed under MRSIGNER.
    #[n(6)]
    pub exposed: Vec<u64>,
    /// The app may use the keyring.
    #[n(7)]
    pub serving: bool,
    /// Measurement that the keyring is promised to.
    #[n(8)]
    pub successor: Option<Identity>,
    /// Name of the plan that it is promised for.
    #[n(19)]
    pub promised_for: Option<String>,
    /// Transfers: transcript, confirmed.
    #[n(9)]
    pub transfers: Vec<TransferStatus>,
    /// A canary is held.
    #[n(10)]
    pub rehearsed: bool,
    /// A canary was handed on as the source, and confirmed.
    #[n(11)]
    pub rehearsed_as_source: bool,
    /// `shadow` upgrades whose handover agreed with what could be unsealed.
    #[n(12)]
    pub clean_shadow_upgrades: u32,
    /// Log size, in entries.
    #[n(13)]
    pub log_size: u64,
    /// X, where the proof at X was verified.
    #[n(14)]
    pub at_x: Option<u64>,
    /// The plan of that proof, by which this copy serves.
    #[n(20)]
    pub plan: Option<OwnPlan>,
    /// Heights from which any past header can be shown: the checkpoint and one for each half trusting period.
    #[n(15)]
    pub anchors: Vec<u64>,
    /// This machine, as the record that gave the keyring names it; zeros where no quote ever showed it.
    #[n(16)]
    pub platform: PlatformId,
    /// Emergencies and what they left behind; none where there never was one, and from builds of before this field.
    #[n(17)]
    pub emergencies: Option<EmergencyStatus>,
    /// The escrow that this copy should have; none where its policy names no lifeboat, or it is not in force.
    #[n(18)]
    pub escrow: Option<EscrowStatus>,
}

/// What [`Status`] says of the escrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct EscrowStatus {
    /// SHA-256 of the council's key.
    #[n(0)]
    pub council_key: Digest32,
    /// SHA-256 of the lifeboats' key.
    #[n(1)]
    pub lifeboat_key: Digest32,
    /// An escrow of every epoch that is held was made for them.
    #[n(2)]
    pub made: bool,
}

/// The plan by which a copy serves.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct OwnPlan {
    /// Its name.
    #[n(0)]
    pub name: String,
    /// A head above X showed the done key: the plan cannot be passed over any more.
    #[n(1)]
    pub done: bool,
}

/// What [`Status`] says of emergencies, for ever.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct EmergencyStatus {
    /// Orders that were obeyed here, oldest first.
    #[n(0)]
    pub obeyed: Vec<Emergency>,
    /// Orders that were obeyed where the keyring came from, as its giver says.
    #[n(1)]
    pub inherited: Vec<Emergency>,
    /// Builds that get nothing until a later plan or order.
    #[n(2)]
    pub frozen: Vec<Frozen>,
    /// The order by which this build serves.
    #[n(3)]
    pub serves_by: Option<Digest32>,
    /// The order that named the build that the keyring is promised to.
    #[n(4)]
    pub promised_by: Option<Digest32>,
    /// The newest date that witnesses said here, in unix seconds.
    #[n(5)]
    pub dated: Option<u64>,
}

/// One transfer in [`Status`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TransferStatus {
    /// The kind.
    #[n(0)]
    pub kind: Kind,
    /// The transfer.
    #[n(1)]
    pub transcript: Digest32,
    /// A durable receipt came back.
    #[n(2)]
    pub confirmed: bool,
    /// It has a record on chain.
    #[n(3)]
    pub recorded: bool,
}
