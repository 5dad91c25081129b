//! Carrying a handover between two seats: the order of messages, and nothing that anyone must believe.
//!
//! Every function may be run again after a failure at any point: a new hello, a new request, and where
//! the route asks for one a new record.

use baton_attest::identity::{Digest32, PlatformId};
use baton_attest::report::TargetInfo;
use baton_chain::record::{Kind, Record};
use baton_core::messages::{Attestation, Challenge, Hello, Message};
use baton_enclave::wire::{AttestedReceipt, OfferEvidence, Reply, Request};

use crate::seat::{Seat, SeatError, unexpected};

/// How the two ends attest to each other.
#[derive(Clone, Copy, Debug)]
pub enum Channel<'a> {
    /// By reports, on one machine.
    Local,
    /// By quotes, between machines, with collateral JSON to check them.
    Quoted {
        /// The collateral.
        collateral: &'a [u8],
    },
}

/// A request that a target has made.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The kind.
    pub kind: Kind,
    /// CBOR of the request.
    pub request: Vec<u8>,
    /// Its digest.
    pub digest: Digest32,
    /// Who made it.
    pub attestation: Attestation,
    /// The epoch that it names.
    pub epoch: u64,
    /// Digest of the target's identity.
    pub target: Digest32,
    /// The target's machine, for the record.
    pub platform: PlatformId,
}

impl Asked {
    /// The record that announces this transfer.
    pub fn record(&self, proposal_id: u64) -> Record {
        Record {
            kind: self.kind,
            epoch: self.epoch,
            proposal_id,
            platform: self.platform,
            target: self.target,
            request: self.digest,
        }
    }
}

/// An offer that a source has made.
#[derive(Clone, Debug)]
pub struct Offered {
    /// CBOR of the offer.
    pub offer: Vec<u8>,
    /// The transfer.
    pub transcript: Digest32,
    /// Who gives, where the target's policy asks.
    pub giver: Option<Attestation>,
}

/// The message in a reply, and the report beside it.
fn message(reply: Reply) -> Result<(Vec<u8>, Option<Vec<u8>>, Digest32), SeatError> {
    match reply {
        Reply::Message { message, report, digest } => Ok((message, report, digest)),
        other => Err(unexpected("a message", &other)),
    }
}

fn read<M: Message>(bytes: &[u8]) -> Result<M, SeatError> {
    M::from_cbor(bytes).map_err(|e| SeatError::Unexpected { expected: M::NAME, got: e.to_string() })
}

/// TARGETINFO for a report of `from` that the enclave `reader` shall check.
fn report_target(from: &Seat, reader: &baton_attest::identity::Identity, channel: Channel<'_>) -> Result<Vec<u8>, SeatError> {
    match channel {
        Channel::Local => Ok(TargetInfo::for_identity(reader).to_bytes().to_vec()),
        Channel::Quoted { .. } => from.launcher().qe_target(),
    }
}

/// Turns a report of `from` into an attestation.
pub fn attest(from: &Seat, report: Option<Vec<u8>>, channel: Channel<'_>) -> Result<Attestation, SeatError> {
    let report = report.ok_or(SeatError::Unexpected { expected: "a report", got: "none".into() })?;
    Ok(match channel {
        Channel::Local => Attestation::Local { report },
        Channel::Quoted { collateral } => Attestation::Quoted {
            quote: from.launcher().quote(&report)?,
            collateral: collateral.to_vec(),
        },
    })
}

/// Opens a transfer at the source: the bytes of its hello.
pub fn hello(source: &mut Seat) -> Result<Vec<u8>, SeatError> {
    Ok(message(source.call(&Request::Hello)?)?.0)
}

/// The target's request in answer to a hello. `platform` is the target's machine as the record shall name it.
pub fn answer_hello(
    target: &mut Seat,
    hello: Vec<u8>,
    kind: Kind,
    channel: Channel<'_>,
    platform: PlatformId,
) -> Result<Asked, SeatError> {
    let opening: Hello = read(&hello)?;
    let report_target = report_target(target, &opening.source, channel)?;
    let (request, report, digest) = message(target.call(&Request::Ask { hello, kind, report_target })?)?;
    let attestation = attest(target, report, channel)?;
    // On hardware only a quote shows which machine this is, and that may have been the first one.
    let platform = match (channel, platform) {
        (Channel::Quoted { .. }, PlatformId::UNKNOWN) => target.launcher().platform_id(),
        _ => platform,
    };
    let target = target.status()?.identity.digest();
    Ok(Asked { kind, request, digest, attestation, epoch: opening.epoch, target, platform })
}

/// Hello of the source, request of the target.
pub fn ask(source: &mut Seat, target: &mut Seat, kind: Kind, channel: Channel<'_>) -> Result<Asked, SeatError> {
    let hello = hello(source)?;
    let platform = match channel {
        Channel::Local => source.status()?.platform,
        Channel::Quoted { .. } => target.launcher().platform_id(),
    };
    answer_hello(target, hello, kind, channel, platform)
}

/// The source verifies everything and offers. With `giver` it attests itself in the offer, by a quote.
pub fn offer(
    source: &mut Seat,
    asked: &Asked,
    evidence: OfferEvidence,
    giver: Option<Channel<'_>>,
) -> Result<Offered, SeatError> {
    let target = match giver {
        Some(Channel::Quoted { .. }) => Some(source.launcher().qe_target()?),
        Some(Channel::Local) | None => None,
    };
    let (offer, report, transcript) = message(source.call(&Request::Offer {
        request: asked.request.clone(),
        attestation: asked.attestation.clone(),
        evidence,
        report_target: target,
    })?)?;
    let giver = match (giver, report) {
        (Some(channel), Some(report)) => Some(attest(source, Some(report), channel)?),
        _ => None,
    };
    Ok(Offered { offer, transcript, giver })
}

/// The target takes the offer and stores it.
pub fn accept(target: &mut Seat, offered: &Offered) -> Result<(), SeatError> {
    target.call(&Request::Accept { offer: offered.offer.clone(), giver: offered.giver.clone() }).map(|_| ())
}

/// Draws a challenge for a transfer: its bytes.
pub fn challenge(source: &mut Seat, transcript: Digest32) -> Result<Vec<u8>, SeatError> {
    Ok(message(source.call(&Request::Challenge { transcript })?)?.0)
}

/// Restarts the target from its file and lets it answer a challenge: the receipt, and who gives it.
pub fn prove(target: &mut Seat, challenge: Vec<u8>, channel: Channel<'_>) -> Result<(Vec<u8>, Attestation), SeatError> {
    let opening: Challenge = read(&challenge)?;
    target.start()?;
    let report_target = report_target(target, &opening.source, channel)?;
    let (receipt, report, _) = message(target.call(&Request::Prove { challenge, report_target })?)?;
    Ok((receipt, attest(target, report, channel)?))
}

/// Shows the source a receipt.
pub fn take_receipt(source: &mut Seat, receipt: Vec<u8>, attestation: Attestation) -> Result<(), SeatError> {
    source.call(&Request::Confirm { receipt, attestation }).map(|_| ())
}

/// Challenge, restart of the target, receipt, confirmation.
pub fn confirm(
    source: &mut Seat,
    target: &mut Seat,
    transcript: Digest32,
    channel: Channel<'_>,
) -> Result<(), SeatError> {
    let challenge = challenge(source, transcript)?;
    let (receipt, attestation) = prove(target, challenge, channel)?;
    take_receipt(source, receipt, attestation)
}

/// A whole transfer with evidence in hand.
pub fn hand_over(
    source: &mut Seat,
    target: &mut Seat,
    asked: &Asked,
    evidence: OfferEvidence,
    channel: Channel<'_>,
) -> Result<Digest32, SeatError> {
    let offered = offer(source, asked, evidence, Some(channel))?;
    accept(target, &offered)?;
    confirm(source, target, offered.transcript, channel)?;
    Ok(offered.transcript)
}

/// A rehearsal: the same code with a canary, and synthetic app state read back under canary keys.
pub fn rehearse(source: &mut Seat, target: &mut Seat, channel: Channel<'_>) -> Result<(), SeatError> {
    use baton_enclave::wire::Under::Canary;
    let asked = ask(source, target, Kind::Rehearsal, channel)?;
    hand_over(source, target, &asked, OfferEvidence::None, channel)?;
    let (name, value) = ("rehearsal", b"synthetic state".to_vec());
    let put = Request::Put { under: Canary, name: name.into(), value: value.clone() };
    let record = match source.call(&put)? {
        Reply::Record { record, .. } => record,
        other => return Err(unexpected("a record", &other)),
    };
    match target.call(&Request::Get { under: Canary, name: name.into(), record })? {
        Reply::Value(got) if got == value => Ok(()),
        other => Err(unexpected("the synthetic state that was written", &other)),
    }
}

/// A barrier receipt of a target, for a source (by report) or for every source (by quote).
pub fn barrier_receipt(
    target: &mut Seat,
    reader: &baton_attest::identity::Identity,
    channel: Channel<'_>,
) -> Result<AttestedReceipt, SeatError> {
    let report_target = report_target(target, reader, channel)?;
    let (receipt, report, _) = message(target.call(&Request::BarrierReceipt { report_target })?)?;
    Ok(AttestedReceipt { receipt, attestation: attest(target, report, channel)? })
}
