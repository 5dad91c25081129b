//! What a holder does for others: it opens transfers, verifies what asks for the keyring, offers it,
//! and demands proof of durability.

use alloc::string::ToString;

use baton_attest::attested::Attested;
use baton_attest::identity::{Digest32, PlatformId, encode, hash};
use baton_attest::quote::{Purpose, QuoteTime};
use baton_chain::authorize::{self, AtXFacts, Authorization, AuthorizeError, Judge, PlanRef, Route};
use baton_chain::evidence::{AtXEvidence, EvidenceError, RecordEvidence, UpgradeEvidence};
use baton_chain::light::{LightClient, Path};
use baton_chain::record::Kind;

use super::emergency::{DateError, IsFrozen, SequenceError};
use super::{BadTargetInfo, HeadError, Keeper, PlanIsVoid, Said, Step, WrongState};
use crate::custody::{Custody, Empty, Holding, OtherTarget, PlanRun, Promise, Since};
use crate::handover::{
    AttestationError, DurableReceipt, Payload, ReceiptError, Transfer, payload_context,
};
use crate::hpke_box::{BoxError, PublicKey, seal_to};
use crate::keyring::CanaryKeyring;
use crate::log::{Event, LogFacts};
use crate::messages::{
    Attestation, Challenge, HandoverRequest, Hello, Message, MessageError, Offer, Receipt, VERSION,
    transcript,
};
use crate::order::judge::OrderError;
use crate::platform::Platform;
use crate::seal::Slot;
use crate::secret::SeedOf;

/// What permits an offer, still untrusted.
pub enum OfferEvidence<'a> {
    /// CBOR of [`UpgradeEvidence`].
    Ahead(&'a [u8]),
    /// CBOR of [`AtXEvidence`].
    AtX(&'a [u8]),
    /// CBOR of [`RecordEvidence`].
    Record(&'a [u8]),
    /// CBOR of [`crate::order::judge::OrderEvidence`].
    Order(&'a [u8]),
    /// None: a rehearsal.
    None,
}

/// Why no offer was made. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum OfferError {
    /// The request cannot be read.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The request is not from the enclave that it says.
    #[error(transparent)]
    Attestation(#[from] AttestationError),
    /// The request answers no open hello.
    #[error("the request answers no open hello of this instance: ask for a hello again, a nonce lives only in the memory of the instance that drew it")]
    UnknownNonce,
    /// For another chain.
    #[error("the request is for chain {got:?}, expected {expected:?}")]
    OtherChain {
        /// Ours.
        expected: alloc::string::String,
        /// Its.
        got: alloc::string::String,
    },
    /// For another epoch.
    #[error("the request is for epoch {got}, expected the newest, {expected}: ask for a hello again")]
    OtherEpoch {
        /// Ours.
        expected: u64,
        /// Its.
        got: u64,
    },
    /// The kind and what is shown for it do not fit.
    #[error("a transfer of kind {kind} cannot be permitted by this evidence; bring what that kind needs")]
    WrongEvidence {
        /// The kind asked for.
        kind: Kind,
    },
    /// `sync` needs a rotation.
    #[error("a transfer of kind sync is not supported by this build")]
    Unsupported,
    /// Nothing to give.
    #[error(transparent)]
    State(#[from] WrongState),
    /// The evidence cannot be read.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    /// The head does not follow.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The evidence permits nothing.
    #[error(transparent)]
    Authorize(#[from] AuthorizeError),
    /// Another build has the promise.
    #[error(transparent)]
    OtherTarget(#[from] OtherTarget),
    /// This copy has seen that the plan is void.
    #[error(transparent)]
    Void(#[from] PlanIsVoid),
    /// The chain may have passed over this build's own plan.
    #[error("the head {head} is above X = {x}, and no head has shown this build's done key yet: it serves, but exports nothing; let it observe its plan first")]
    InDoubt {
        /// X of its own plan.
        x: u64,
        /// The trusted head.
        head: u64,
    },
    /// The order, its signatures or its notice.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// The order's number.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// The target is frozen by an order.
    #[error(transparent)]
    Frozen(#[from] IsFrozen),
    /// The policy asks for a witnessed date.
    #[error(transparent)]
    Date(#[from] DateError),
    /// The HPKE key is bad.
    #[error(transparent)]
    Box(#[from] BoxError),
    /// The host's TARGETINFO is bad.
    #[error(transparent)]
    TargetInfo(#[from] BadTargetInfo),
}

/// Why a receipt was not taken. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum ConfirmError {
    /// It cannot be read.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// It proves nothing.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    /// Nothing is promised.
    #[error(transparent)]
    State(#[from] WrongState),
}

/// Why no challenge was drawn.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no transfer {got} was given from here; expected one of {known} known transfers")]
pub struct NoTransfer {
    /// The transfer asked for.
    pub got: Digest32,
    /// How many there are.
    pub known: usize,
}

/// A request whose sender and freshness were checked.
pub(super) struct Asked {
    request: HandoverRequest,
    digest: Digest32,
    target: Attested,
}

impl Asked {
    pub(super) fn target(&self) -> &Attested {
        &self.target
    }
}

impl OfferEvidence<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            OfferEvidence::Ahead(b) | OfferEvidence::AtX(b) | OfferEvidence::Record(b) | OfferEvidence::Order(b) => b,
            OfferEvidence::None => &[],
        }
    }
}

impl<P: Platform> Keeper<P> {
    /// Opens a transfer: a nonce that only this instance knows.
    pub fn hello(&mut self, step: &mut Step) {
        let nonce = self.draw();
        self.hellos.put(Digest32(nonce), ());
        let hello = Hello {
            version: VERSION,
            nonce,
            chain_id: self.policy.chain.chain_id.clone(),
            epoch: self.newest_epoch().unwrap_or(0),
            source: self.identity,
        };
        step.send(Said { message: hello.to_cbor(), report: None, digest: Digest32(nonce) });
    }

    /// Verifies everything and offers the keyring, or a canary. `date` is a witnessed date over all of it, where the policy
    /// asks for one.
    pub fn offer(
        &mut self,
        step: &mut Step,
        request: &[u8],
        attestation: &Attestation,
        evidence: OfferEvidence<'_>,
        report_target: Option<&[u8]>,
        date: Option<&[u8]>,
    ) -> Result<(), OfferError> {
        let request = HandoverRequest::from_cbor(request)?;
        let date = match request.kind {
            Kind::Rehearsal => None,
            Kind::Upgrade | Kind::Join | Kind::Sync => self.export_date(&request.digest(), evidence.bytes(), date)?,
        };
        self.offer_by_kind(step, request, attestation, evidence, report_target)?;
        self.note_date(step, date);
        Ok(())
    }

    fn offer_by_kind(
        &mut self,
        step: &mut Step,
        request: HandoverRequest,
        attestation: &Attestation,
        evidence: OfferEvidence<'_>,
        report_target: Option<&[u8]>,
    ) -> Result<(), OfferError> {
        let kind = request.kind;
        // The head moves first: an attestation is judged by the newest time that this request itself shows,
        // or a stale copy would take collateral that went stale with it.
        match (kind, evidence) {
            (Kind::Rehearsal, OfferEvidence::None) => {
                let asked = self.check_request(request, attestation, self.quote_time())?;
                self.offer_canary(step, &asked, report_target)
            }
            (Kind::Upgrade, OfferEvidence::Ahead(bytes)) => {
                let evidence = UpgradeEvidence::from_cbor(bytes)?;
                let client = self.followed(&evidence.to_head)?;
                let asked = self.check_request(request, attestation, self.quote_time_at(client.head()))?;
                let auth = self.judge(&client).ahead(&self.asked_of_judge(&asked), &evidence)?;
                self.offer_to_successor(step, &asked, client, &auth, report_target)
            }
            (Kind::Upgrade, OfferEvidence::AtX(bytes)) => {
                let evidence = AtXEvidence::from_cbor(bytes)?;
                let client = self.followed(&Path::default())?;
                let shown = authorize::show(&client, &evidence.x).map_err(AuthorizeError::from)?;
                let time = self.quote_time_at(client.head()).max(self.quote_time_at(&shown));
                let asked = self.check_request(request, attestation, time)?;
                let auth = self.judge(&client).at_x(&self.asked_of_judge(&asked), &evidence)?;
                self.offer_to_successor(step, &asked, client, &auth, report_target)
            }
            (Kind::Upgrade, OfferEvidence::Order(bytes)) => {
                self.offer_by_order(step, request, attestation, bytes, report_target)
            }
            (Kind::Join, OfferEvidence::Record(bytes)) => {
                let evidence = RecordEvidence::from_cbor(bytes)?;
                let client = self.followed(&evidence.to_head)?;
                let asked = self.check_request(request, attestation, self.quote_time_at(client.head()))?;
                let wanted = self.asked_of_judge(&asked);
                let auth = self.judge(&client).same_build(kind, &wanted, &evidence, self.moved_on.as_ref())?;
                self.offer_to_peer(step, &asked, client, &auth, report_target)
            }
            (Kind::Sync, OfferEvidence::Record(_)) => Err(OfferError::Unsupported),
            (kind, _) => Err(OfferError::WrongEvidence { kind }),
        }
    }

    pub(super) fn check_request(
        &self,
        request: HandoverRequest,
        attestation: &Attestation,
        time: QuoteTime,
    ) -> Result<Asked, OfferError> {
        let own = &self.policy.chain.chain_id;
        if request.chain_id != *own {
            return Err(OfferError::OtherChain { expected: own.clone(), got: request.chain_id });
        }
        self.hellos.get(&Digest32(request.nonce)).ok_or(OfferError::UnknownNonce)?;
        let digest = request.digest();
        let target = self.attested(time, Purpose::Secret, attestation, &digest)?;
        if request.kind != Kind::Rehearsal {
            let expected = self.serving()?.keyring.newest_epoch();
            if request.epoch != expected {
                return Err(OfferError::OtherEpoch { expected, got: request.epoch });
            }
        }
        Ok(Asked { request, digest, target })
    }

    /// A copy that serves by a proof at X may not export while the chain could still have passed over its
    /// plan: on any view above X it must have seen the done key.
    fn not_in_doubt(&self, client: &LightClient, auth: &Authorization) -> Result<(), OfferError> {
        let head = client.head().height().max(auth.facts().shown_at);
        match self.serving()?.since {
            Since::Run(PlanRun { done: false, ref facts, .. }) if head > facts.x => {
                Err(OfferError::InDoubt { x: facts.x, head })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn serving(&self) -> Result<&Holding, WrongState> {
        let got = self.custody.state();
        self.custody.serving().ok_or(WrongState { expected: "Holding, Offered or Confirmed", got })
    }

    /// The client after a path; the keeper takes it over only when the whole operation holds.
    pub(super) fn followed(&self, path: &Path) -> Result<LightClient, HeadError> {
        let mut client = self.client()?.clone();
        if !path.blocks.is_empty() {
            client.advance(path)?;
        }
        Ok(client)
    }

    pub(super) fn judge<'a>(&'a self, light: &'a LightClient) -> Judge<'a> {
        Judge { policy: &self.policy.chain, rules: &self.policy.builds, own: &self.identity, light, admission: self.policy.admission }
    }

    pub(super) fn asked_of_judge<'a>(&self, asked: &'a Asked) -> authorize::Transfer<'a> {
        authorize::Transfer {
            target: &asked.target,
            epoch: asked.request.epoch,
            request: asked.digest,
            local_platform: self.own_platform(),
        }
    }

    /// The receiver's machine: what its quote shows, or on this machine what the record that came here named.
    fn receiver_platform(&self, target: &Attested) -> PlatformId {
        target.platform().unwrap_or(self.own_platform())
    }

    fn offer_to_successor(
        &mut self,
        step: &mut Step,
        asked: &Asked,
        client: LightClient,
        auth: &Authorization,
        report_target: Option<&[u8]>,
    ) -> Result<(), OfferError> {
        self.refuse_frozen(&auth.facts().target, auth.facts().proposal_id)?;
        self.not_in_doubt(&client, auth)?;
        self.refuse_void(auth)?;
        let promise = Promise::new(self.custody.successor(), auth)?;
        let (offer, transfer) = self.make_offer(asked, auth)?;
        let said = self.said_offer(&offer, report_target)?;
        // Every check has passed: from here on nothing can fail.
        self.take_client(step, client, &asked.target);
        self.log_superseded(step, &promise);
        self.note_moved_on(auth);
        self.custody = match core::mem::replace(&mut self.custody, Custody::Empty(Empty)) {
            Custody::Holding(h) => Custody::Offered(h.offer(promise)),
            Custody::Offered(o) => Custody::Offered(o.offer(promise)),
            Custody::Confirmed(c) => c.offer(promise),
            other @ (Custody::Empty(_) | Custody::Received(_) | Custody::Retired(_)) => other,
        };
        self.log_offer(step, auth, &transfer);
        self.transfers.put(transfer);
        step.send(said);
        Ok(())
    }

    fn offer_to_peer(
        &mut self,
        step: &mut Step,
        asked: &Asked,
        client: LightClient,
        auth: &Authorization,
        report_target: Option<&[u8]>,
    ) -> Result<(), OfferError> {
        self.refuse_frozen(&auth.facts().target, auth.facts().proposal_id)?;
        self.not_in_doubt(&client, auth)?;
        let (offer, transfer) = self.make_offer(asked, auth)?;
        let said = self.said_offer(&offer, report_target)?;
        self.take_client(step, client, &asked.target);
        self.log_offer(step, auth, &transfer);
        self.transfers.put(transfer);
        step.send(said);
        Ok(())
    }

    /// Header X can be shown for ever; a copy that has seen its plan cancelled or skipped knows better.
    fn refuse_void(&self, auth: &Authorization) -> Result<(), PlanIsVoid> {
        let f = auth.facts();
        match f.plan.as_ref().and_then(|p| self.void_since(p, f.shown_at).map(|seen_at| (p, seen_at))) {
            Some((plan, seen_at)) => Err(PlanIsVoid { name: plan.name.clone(), shown_at: f.shown_at, seen_at }),
            None => Ok(()),
        }
    }

    fn make_offer(&mut self, asked: &Asked, auth: &Authorization) -> Result<(Offer, Transfer), OfferError> {
        let authority = authority(auth);
        let transfer = self.transfer_of(asked, &authority, auth.facts().record);
        let keyring = self.serving()?.keyring.danger_encode();
        // A peer takes over the plan that this copy runs by: it must see as well whether the chain passes over it.
        let plan = auth.facts().plan.clone().or_else(|| self.own_run().map(|r| r.facts.plan.clone()));
        let offer = self.encrypt(asked, &transfer, authority, &keyring, plan)?;
        Ok((offer, transfer))
    }

    fn offer_canary(&mut self, step: &mut Step, asked: &Asked, report_target: Option<&[u8]>) -> Result<(), OfferError> {
        let authority = hash("baton rehearsal authority v1", &[&asked.digest.0]);
        let transfer = self.transfer_of(asked, &authority, None);
        let canary = match self.canary_to_give.take() {
            Some(ring) => ring,
            None => CanaryKeyring::new(0, SeedOf::random(&mut self.platform)),
        };
        let offer = self.encrypt(asked, &transfer, authority, &canary.danger_encode(), None);
        self.canary_to_give = Some(canary);
        let said = self.said_offer(&offer?, report_target)?;
        self.transfers.put(transfer);
        step.changed(Slot::Custody);
        step.send(said);
        Ok(())
    }

    pub(super) fn transfer_of(&self, asked: &Asked, authority: &Digest32, record: Option<Digest32>) -> Transfer {
        let target = *asked.target.identity();
        Transfer {
            kind: asked.request.kind,
            transcript: transcript(
                asked.request.kind,
                &asked.digest,
                &self.identity.digest(),
                &target.digest(),
                authority,
            ),
            target,
            platform: self.receiver_platform(&asked.target),
            record,
            confirmed: false,
        }
    }

    pub(super) fn encrypt(
        &mut self,
        asked: &Asked,
        transfer: &Transfer,
        authority: Digest32,
        keyring: &[u8],
        plan: Option<PlanRef>,
    ) -> Result<Offer, OfferError> {
        let recipient = PublicKey::from_bytes(&asked.request.hpke_key)?;
        let payload = Payload {
            version: VERSION,
            keyring: keyring.to_vec(),
            parent: self.branch.head(),
            platform: transfer.platform,
            plan,
            emergencies: self.emergencies.to_carry(),
        };
        let sealed = seal_to(
            &mut self.platform,
            &recipient,
            payload_context(transfer.kind),
            &transfer.transcript.0,
            &payload.encode(),
        )?;
        Ok(Offer {
            version: VERSION,
            kind: transfer.kind,
            transcript: transfer.transcript,
            source: self.identity.digest(),
            authority,
            sealed,
        })
    }

    pub(super) fn said_offer(&self, offer: &Offer, report_target: Option<&[u8]>) -> Result<Said, OfferError> {
        let report = report_target.map(|t| self.report(t, &offer.digest())).transpose()?;
        Ok(Said { message: offer.to_cbor(), report, digest: offer.transcript })
    }

    pub(super) fn take_client(&mut self, step: &mut Step, client: LightClient, attested: &Attested) {
        self.client = Some(client);
        self.note_signed_date(attested);
        step.changed(Slot::Custody);
    }

    fn log_superseded(&mut self, step: &mut Step, promise: &Promise) {
        let Some(old) = self.custody.successor().filter(|s| !s.is_same(promise.successor())) else { return };
        let event = Event::Superseded { plan: old.plan.name.clone(), by: promise.successor().plan.name.clone() };
        let facts = self.facts();
        self.record(step, facts, event);
    }

    /// After a proof at X this build gives to the build that it names, and admits no more of its own kind.
    fn note_moved_on(&mut self, auth: &Authorization) {
        let f = auth.facts();
        if let (Route::AtX { shown_at, x }, Some(plan)) = (f.route, &f.plan) {
            self.moved_on = Some(AtXFacts {
                chain_id: f.chain_id.clone(),
                plan: plan.clone(),
                proposal_id: f.proposal_id,
                measurement: Some(f.target.measurement),
                x,
                shown_at,
                shown_hash: f.shown_hash,
            });
        }
    }

    fn log_offer(&mut self, step: &mut Step, auth: &Authorization, transfer: &Transfer) {
        let plan = auth.facts().plan.as_ref();
        let authorized = Event::Authorization {
            transfer: transfer.kind,
            route: match auth.facts().route {
                Route::Ahead { .. } => crate::log::Route::Ahead,
                Route::AtX { .. } => crate::log::Route::AtX,
                Route::Fresh { .. } => crate::log::Route::Fresh,
            },
            plan: plan.map(|p| p.name.clone()),
            plan_height: plan.map(|p| p.height),
            proposal_id: plan.map(|_| auth.facts().proposal_id),
            admitted: auth.facts().admitted.map(|a| a.to_string()),
        };
        self.log_given(step, authority(auth), authorized, transfer);
    }

    /// By what authority the keyring goes, and that it is offered.
    pub(super) fn log_given(&mut self, step: &mut Step, authority: Digest32, authorized: Event, transfer: &Transfer) {
        let facts = LogFacts { evidence: Some(authority), ..self.facts_of(transfer) };
        let epochs = self.custody.keyring().map_or(0, |k| k.epochs().count() as u64);
        self.record(step, facts.clone(), authorized);
        self.record(step, facts, Event::Offer { transfer: transfer.kind, epochs });
    }

    fn facts_of(&self, transfer: &Transfer) -> LogFacts {
        LogFacts {
            identity: Some(transfer.target.digest()),
            record: transfer.record,
            platform: Some(transfer.platform),
            transcript: Some(transfer.transcript),
            ..self.facts()
        }
    }

    /// Draws a challenge for a transfer. A later one makes an earlier one void.
    pub fn challenge(&mut self, step: &mut Step, transcript: Digest32) -> Result<(), NoTransfer> {
        if self.transfers.find(&transcript).is_none() {
            return Err(NoTransfer { got: transcript, known: self.transfers.as_slice().len() });
        }
        let nonce = self.draw();
        self.challenges.put(transcript, nonce);
        let challenge = Challenge { version: VERSION, transcript, nonce, source: self.identity };
        step.send(Said { message: challenge.to_cbor(), report: None, digest: transcript });
        Ok(())
    }

    /// Takes a receipt: the target holds the keyring, or the canary, durably.
    pub fn confirm(&mut self, step: &mut Step, receipt: &[u8], attestation: &Attestation) -> Result<(), ConfirmError> {
        let receipt = Receipt::from_cbor(receipt)?;
        let attested = self
            .attested(self.quote_time(), Purpose::Receipt, attestation, &receipt.digest())
            .map_err(ReceiptError::from)?;
        let got = receipt.transcript;
        let transfer = self.transfers.find(&got).cloned().ok_or(ReceiptError::NoChallenge { got })?;
        let nonce = *self.challenges.get(&got).ok_or(ReceiptError::NoChallenge { got })?;
        let proof = self.durable(&receipt, &attested, &transfer, &nonce)?;
        self.challenges.remove(&got);
        self.note_signed_date(&attested);
        self.apply_receipt(step, &transfer, &proof);
        step.send(Said::nothing());
        Ok(())
    }

    fn durable(
        &self,
        receipt: &Receipt,
        attested: &Attested,
        transfer: &Transfer,
        nonce: &[u8; 32],
    ) -> Result<DurableReceipt, ConfirmError> {
        let chain_id = &self.policy.chain.chain_id;
        if transfer.kind == Kind::Rehearsal {
            let got = receipt.transcript;
            let canary = self.canary_to_give.as_ref().ok_or(ReceiptError::NoChallenge { got })?;
            return Ok(DurableReceipt::check(receipt, attested, transfer, nonce, chain_id, canary)?);
        }
        let keyring = &self.serving()?.keyring;
        Ok(DurableReceipt::check(receipt, attested, transfer, nonce, chain_id, keyring)?)
    }

    fn apply_receipt(&mut self, step: &mut Step, transfer: &Transfer, proof: &DurableReceipt) {
        self.transfers.confirm(proof.transcript());
        let event = match transfer.kind {
            Kind::Rehearsal => {
                self.rehearsed_as_source = true;
                Event::Rehearsal { as_source: true, passed: true }
            }
            kind => Event::Confirmed { transfer: kind },
        };
        if transfer.kind == Kind::Upgrade {
            self.custody = match core::mem::replace(&mut self.custody, Custody::Empty(Empty)) {
                Custody::Offered(o) if o.successor.target == transfer.target => Custody::Confirmed(o.confirm(proof)),
                other => other,
            };
        }
        let facts = self.facts_of(transfer);
        self.record(step, facts, event);
    }

}

/// What an offer names as its authority: a digest over everything that the authorization says.
fn authority(auth: &Authorization) -> Digest32 {
    hash("baton authorization v1", &[&encode(auth.facts())])
}
