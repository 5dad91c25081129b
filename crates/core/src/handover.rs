//! What both ends of a transfer check: attestations, payloads, durable receipts.
//!
//! The threat is a host that stands between the two enclaves: it may swap, replay or forge every
//! message. So each is bound to the transfer's transcript, and who speaks is known only from a
//! checked report or quote over the message's own digest.

use alloc::vec::Vec;

use baton_attest::attested::Attested;
use baton_attest::identity::{Digest32, Identity, PlatformId, encode};
use baton_attest::policy::TcbPolicy;
use baton_attest::quote::{Collateral, CollateralError, Purpose, QuoteError, QuoteTime, check_quote};
use baton_attest::report::{Report, ReportError, check_report};
use baton_chain::record::Kind;
use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

use crate::keyring::KeyringOf;
use crate::messages::{Attestation, Receipt, report_data};
use crate::platform::{Platform, PlatformError};
use crate::secret;

/// Why an attestation does not show who sent a message.
#[derive(Debug, thiserror::Error)]
pub enum AttestationError {
    /// The report is not for this enclave or was changed.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// The quote or its collateral is refused.
    #[error(transparent)]
    Quote(#[from] QuoteError),
    /// The collateral cannot be read.
    #[error(transparent)]
    Collateral(#[from] CollateralError),
    /// The CPU gave no report key.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// The attestation is genuine, and about something else.
    #[error("the attestation is over other bytes: expected report data {expected}, got {got}; attest this very message")]
    OtherMessage {
        /// Digest of the message.
        expected: Digest32,
        /// First half of the report data.
        got: Digest32,
    },
}

/// Checks a report or a quote, and that it is over `digest`.
pub fn check_attestation<P: Platform>(
    platform: &P,
    tcb: &TcbPolicy,
    time: QuoteTime,
    purpose: Purpose,
    attestation: &Attestation,
    digest: &Digest32,
) -> Result<Attested, AttestationError> {
    let attested = match attestation {
        Attestation::Local { report } => {
            let key = platform.report_key(&Report::key_id_of(report)?)?;
            Attested::Local(check_report(report, key.danger_expose())?)
        }
        Attestation::Quoted { quote, collateral } => {
            let collateral = Collateral::from_json(collateral)?;
            Attested::Quoted(check_quote(quote, &collateral, tcb, time, purpose)?)
        }
    };
    let expected = report_data(digest);
    if attested.report_data() != &expected {
        let mut got = [0; 32];
        got.iter_mut().zip(attested.report_data()).for_each(|(g, b)| *g = *b);
        return Err(AttestationError::OtherMessage { expected: *digest, got: Digest32(got) });
    }
    Ok(attested)
}

/// One transfer to a successor or to a peer, kept beside the custody.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Transfer {
    /// The kind.
    #[n(0)]
    pub kind: Kind,
    /// The transfer's transcript.
    #[n(1)]
    pub transcript: Digest32,
    /// Who it is for.
    #[n(2)]
    pub target: Identity,
    /// The machine it is for; zeros where no quote ever showed it.
    #[n(3)]
    pub platform: PlatformId,
    /// Digest of the public record; none for a transfer on one machine at X.
    #[n(4)]
    pub record: Option<Digest32>,
    /// A durable receipt came back.
    #[n(5)]
    pub confirmed: bool,
}

/// What HPKE carries. The bytes of the keyring are wiped when it is dropped.
#[derive(Encode, Decode)]
#[cbor(map)]
pub(crate) struct Payload {
    #[n(0)]
    pub version: u8,
    /// The encoded keyring, real or canary.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub keyring: Vec<u8>,
    /// The branch of the log that this transfer goes on from.
    #[n(2)]
    pub parent: crate::branch::BranchHead,
    /// The receiver's machine, as the giver knows it.
    #[n(3)]
    pub platform: PlatformId,
    /// The plan that this transfer is for.
    #[n(4)]
    pub plan: Option<baton_chain::authorize::PlanRef>,
    /// Emergency orders that were obeyed so far.
    #[n(5)]
    pub emergencies: Option<Vec<crate::keeper::emergency::Emergency>>,
}

impl Drop for Payload {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.keyring);
    }
}

impl Payload {
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(encode(self))
    }
}

/// The HPKE context string of a kind: a rehearsal's ciphertext can never be opened as a keyring's.
pub(crate) fn payload_context(kind: Kind) -> &'static str {
    match kind {
        Kind::Upgrade | Kind::Join | Kind::Sync => "baton offer payload v1",
        Kind::Rehearsal => "baton rehearsal payload v1",
    }
}

/// Why a receipt does not show a durable copy.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    /// The receipt's attestation is refused.
    #[error(transparent)]
    Attestation(#[from] AttestationError),
    /// No challenge of this instance is open for that transfer.
    #[error("no open challenge for transfer {got}: ask for a challenge, a nonce lives only in the memory of the instance that drew it")]
    NoChallenge {
        /// The transfer that the receipt names.
        got: Digest32,
    },
    /// The receipt answers an older challenge.
    #[error("the receipt answers another challenge: expected the newest nonce of this transfer; send the newest challenge to the target again")]
    OldNonce,
    /// Another build answers.
    #[error("the receipt is attested by {got}, expected the target of the transfer, {expected}")]
    OtherIdentity {
        /// Identity digest in the transfer.
        expected: Digest32,
        /// Identity digest in the attestation.
        got: Digest32,
    },
    /// The receipt does not know the keyring.
    #[error("the receipt's MAC does not match: the target holds another seed")]
    OtherSeed,
}

/// Proof that a target holds the keyring and has started from the file that holds it.
pub struct DurableReceipt {
    transcript: Digest32,
}

impl DurableReceipt {
    /// The transfer that it confirms.
    pub fn transcript(&self) -> &Digest32 {
        &self.transcript
    }

    /// Checks a receipt against the transfer, the open nonce and the keyring. Who speaks was checked by `attested`.
    pub fn check<K: secret::Kind>(
        receipt: &Receipt,
        attested: &Attested,
        transfer: &Transfer,
        nonce: &[u8; 32],
        chain_id: &str,
        keyring: &KeyringOf<K>,
    ) -> Result<Self, ReceiptError> {
        if receipt.transcript != transfer.transcript {
            return Err(ReceiptError::NoChallenge { got: receipt.transcript });
        }
        if receipt.nonce != *nonce {
            return Err(ReceiptError::OldNonce);
        }
        if *attested.identity() != transfer.target {
            return Err(ReceiptError::OtherIdentity {
                expected: transfer.target.digest(),
                got: attested.identity().digest(),
            });
        }
        let input = Receipt::mac_input(&receipt.transcript, &receipt.nonce);
        if !keyring.receipt_key(chain_id).verify(&[&input.0], &receipt.mac) {
            return Err(ReceiptError::OtherSeed);
        }
        Ok(DurableReceipt { transcript: transfer.transcript })
    }
}
