//! What nodes say to each other over HTTP, as CBOR. Everything in it is untrusted: enclaves judge.

use baton_attest::identity::{Digest32, Measurement, PlatformId};
use baton_core::messages::Attestation;
use minicbor::{Decode, Encode};

/// Largest body between nodes, in bytes (4 MiB).
pub const MAX_BODY_BYTES: u64 = 4 << 20;

/// A joiner asks a giver to open a transfer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct HelloAsk {
    /// The build that both run.
    #[n(0)]
    pub build: Measurement,
}

/// A joiner's request, and where its record is.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct OfferAsk {
    /// The build.
    #[n(0)]
    pub build: Measurement,
    /// CBOR of the request.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub request: Vec<u8>,
    /// Its digest.
    #[n(2)]
    pub digest: Digest32,
    /// Who made it.
    #[n(3)]
    pub attestation: Attestation,
    /// Hash of the transaction that carries the record.
    #[n(4)]
    pub tx: Digest32,
    /// The machine that its quote shows: for finding who admits it.
    #[n(5)]
    pub platform: PlatformId,
}

/// The giver's offer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct OfferSaid {
    /// CBOR of the offer.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub offer: Vec<u8>,
    /// The transfer.
    #[n(1)]
    pub transcript: Digest32,
    /// Who gives.
    #[n(2)]
    pub giver: Option<Attestation>,
}

/// A joiner asks to be challenged.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ChallengeAsk {
    /// The build.
    #[n(0)]
    pub build: Measurement,
    /// The transfer.
    #[n(1)]
    pub transcript: Digest32,
}

/// A joiner's receipt.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ConfirmAsk {
    /// The build.
    #[n(0)]
    pub build: Measurement,
    /// CBOR of the receipt.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub receipt: Vec<u8>,
    /// Who gives it.
    #[n(2)]
    pub attestation: Attestation,
}

/// A message of the giver.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Said {
    /// Its bytes.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub message: Vec<u8>,
}
