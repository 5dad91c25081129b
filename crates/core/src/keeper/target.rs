//! What a receiver does: it asks, checks what it is offered, stores it, proves after a restart that it
//! is stored, serves once the chain has run its plan, and tells every source when they may let go.

use baton_attest::attested::Attested;
use baton_attest::identity::{Digest32, Identity};
use baton_attest::quote::Purpose;
use baton_chain::authorize::AuthorizeError;
use baton_chain::evidence::{AtXEvidence, EvidenceError};
use baton_chain::light::Path;
use baton_chain::record::Kind;

use super::{BadTargetInfo, Canary, HeadError, Keeper, PlanIsVoid, Said, Step, WrongState};
use crate::custody::{Custody, Empty, Origin, PlanRun, Since};
use crate::handover::{AttestationError, Payload, payload_context};
use crate::hpke_box::{BoxError, RecipientKey};
use crate::keyring::{CanaryKeyring, DecodeError, Keyring, KeyringError, KeyringOf};
use crate::log::{Event, LogFacts};
use crate::messages::{
    Attestation, BarrierReceipt, Challenge, HandoverRequest, Hello, Message, MessageError, Offer, Receipt, VERSION,
    transcript,
};
use crate::platform::Platform;
use crate::policy::Origin as PolicyOrigin;
use crate::seal::Slot;
use crate::secret;

/// Why no request was made.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The hello cannot be read.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The source follows another chain.
    #[error("the source follows chain {got:?}, this build's policy names {expected:?}")]
    OtherChain {
        /// Ours.
        expected: alloc::string::String,
        /// Its.
        got: alloc::string::String,
    },
    /// The host's TARGETINFO is bad.
    #[error(transparent)]
    TargetInfo(#[from] BadTargetInfo),
    /// A transfer that would replace a keyring.
    #[error(transparent)]
    State(#[from] WrongState),
}

/// Why an offer was not taken. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// It cannot be read.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// It answers no request of this instance.
    #[error("the offer belongs to no open request of this instance: ask again, a request's key lives only in memory")]
    NoRequest,
    /// It does not open.
    #[error(transparent)]
    Box(#[from] BoxError),
    /// What is inside cannot be read.
    #[error("the offer's payload cannot be read")]
    Payload,
    /// Not a keyring.
    #[error(transparent)]
    Keyring(#[from] DecodeError),
    /// A seed is not the one that is committed to.
    #[error(transparent)]
    Commitment(#[from] KeyringError),
    /// The policy asks who gives.
    #[error("this build's policy has no commitments: the giver must attest itself in the offer; bring its quote or report")]
    NoGiver,
    /// The giver is not who it says.
    #[error(transparent)]
    Giver(#[from] AttestationError),
    /// The giver is another build.
    #[error("the giver is {got}, expected this very identity, {expected}")]
    OtherGiver {
        /// Our identity digest.
        expected: Digest32,
        /// Its.
        got: Digest32,
    },
    /// A genesis build takes epoch 0 only.
    #[error("a build without commitments takes epoch 0 only, the offer holds {got} epochs up to {newest}")]
    NotEpochZero {
        /// How many.
        got: usize,
        /// The newest.
        newest: u64,
    },
    /// A keyring is in use here.
    #[error(transparent)]
    State(#[from] WrongState),
}

/// Why no receipt was given.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// The challenge cannot be read.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// Nothing came by that transfer.
    #[error("nothing is held from transfer {got}: accept its offer first")]
    OtherTransfer {
        /// What the challenge names.
        got: Digest32,
    },
    /// This instance wrote the file.
    #[error("this instance wrote the keyring to disk and has not been started since: stop it, start it again from the file, and show the challenge again")]
    NotRestarted,
    /// The host's TARGETINFO is bad.
    #[error(transparent)]
    TargetInfo(#[from] BadTargetInfo),
}

/// Why this copy may not serve. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum ActivateError {
    /// The evidence cannot be read.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    /// No header to start from.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// It does not prove this build's plan at X.
    #[error(transparent)]
    Authorize(#[from] AuthorizeError),
    /// This copy has seen that the plan is void.
    #[error(transparent)]
    Void(#[from] PlanIsVoid),
    /// Nothing to activate.
    #[error(transparent)]
    State(#[from] WrongState),
}

/// Why no barrier receipt was given.
#[derive(Debug, thiserror::Error)]
pub enum BarrierReceiptError {
    /// Not activated by a plan.
    #[error("this copy does not serve by a proof at X; activate it first")]
    NotActivated,
    /// The plan can still be passed over.
    #[error("no head above X = {x} has shown the done key yet; observe one first")]
    NotDone {
        /// X, in blocks.
        x: u64,
    },
    /// The host's TARGETINFO is bad.
    #[error(transparent)]
    TargetInfo(#[from] BadTargetInfo),
}

impl<P: Platform> Keeper<P> {
    /// Makes a request for a transfer from the source that said hello.
    pub fn ask(&mut self, step: &mut Step, hello: &[u8], kind: Kind, report_target: &[u8]) -> Result<(), AskError> {
        let hello = Hello::from_cbor(hello)?;
        let own = &self.policy.chain.chain_id;
        if hello.chain_id != *own {
            return Err(AskError::OtherChain { expected: own.clone(), got: hello.chain_id });
        }
        if let (Custody::Retired(_), true) = (&self.custody, kind != Kind::Rehearsal) {
            return Err(WrongState { expected: "anything but Retired", got: self.custody.state() }.into());
        }
        let key = RecipientKey::generate(&mut self.platform);
        let request = HandoverRequest {
            version: VERSION,
            kind,
            chain_id: own.clone(),
            epoch: hello.epoch,
            nonce: hello.nonce,
            hpke_key: key.public_key().to_bytes(),
        };
        let digest = request.digest();
        let report = self.report(report_target, &digest)?;
        self.asked.put(digest, (key, kind));
        step.send(Said { message: request.to_cbor(), report: Some(report), digest });
        Ok(())
    }

    /// Opens an offer, checks what is in it, and takes it.
    pub fn accept(&mut self, step: &mut Step, offer: &[u8], giver: Option<&Attestation>) -> Result<(), AcceptError> {
        let offer = Offer::from_cbor(offer)?;
        let payload = self.open_offer(&offer)?;
        let origin = Origin {
            kind: offer.kind,
            transcript: offer.transcript,
            instance: self.instance,
            platform: payload.platform,
            plan: payload.plan.clone(),
        };
        if offer.kind == Kind::Rehearsal {
            let keyring = CanaryKeyring::decode(&payload.keyring)?;
            self.canary = Some(Canary { keyring, origin });
            step.changed(Slot::Rehearsal);
            step.send(Said { digest: offer.transcript, ..Said::nothing() });
            return Ok(());
        }
        let keyring = Keyring::decode(&payload.keyring)?;
        let attested = self.check_giver(&offer, giver, &keyring)?;
        if let Some(attested) = attested {
            self.note_signed_date(&attested);
        }
        self.take_keyring(step, keyring, origin, &payload)?;
        step.send(Said { digest: offer.transcript, ..Said::nothing() });
        Ok(())
    }

    fn open_offer(&self, offer: &Offer) -> Result<Payload, AcceptError> {
        let own = self.identity.digest();
        let (key, _) = self
            .asked
            .iter()
            .find(|(request, (_, kind))| {
                *kind == offer.kind
                    && transcript(offer.kind, request, &offer.source, &own, &offer.authority) == offer.transcript
            })
            .map(|(_, v)| v)
            .ok_or(AcceptError::NoRequest)?;
        let bytes = key.open(payload_context(offer.kind), &offer.transcript.0, &offer.sealed)?;
        crate::cbor::decode_exact(&bytes).ok_or(AcceptError::Payload)
    }

    /// A keyring is taken for what it is, not for who brings it: every seed must match its commitment.
    /// Only a build that has no commitments must know the giver.
    fn check_giver(
        &self,
        offer: &Offer,
        giver: Option<&Attestation>,
        keyring: &Keyring,
    ) -> Result<Option<Attested>, AcceptError> {
        match &self.policy.origin {
            PolicyOrigin::Commitments(_) => {
                keyring.check(&self.policy.commitments())?;
                Ok(None)
            }
            PolicyOrigin::Genesis | PolicyOrigin::Legacy => {
                let giver = giver.ok_or(AcceptError::NoGiver)?;
                let attested = self.attested(self.quote_time(), Purpose::Secret, giver, &offer.digest())?;
                let got = attested.identity();
                if *got != self.identity {
                    return Err(AcceptError::OtherGiver { expected: self.identity.digest(), got: got.digest() });
                }
                let epochs = keyring.epochs().count();
                if epochs != 1 || keyring.newest_epoch() != 0 {
                    return Err(AcceptError::NotEpochZero { got: epochs, newest: keyring.newest_epoch() });
                }
                Ok(Some(attested))
            }
        }
    }

    fn take_keyring(
        &mut self,
        step: &mut Step,
        keyring: Keyring,
        origin: Origin,
        payload: &Payload,
    ) -> Result<(), AcceptError> {
        let got = self.custody.state();
        let kind = origin.kind;
        let epochs = keyring.epochs().count() as u64;
        let facts = LogFacts {
            platform: Some(origin.platform),
            transcript: Some(origin.transcript),
            epoch: Some(keyring.newest_epoch()),
            ..self.facts()
        };
        match &self.custody {
            Custody::Empty(_) | Custody::Received(_) => {}
            Custody::Holding(h) if h.since == Since::Inherited => {
                self.compare_shadow(step, &keyring, origin);
                return Ok(());
            }
            Custody::Holding(_) | Custody::Offered(_) | Custody::Confirmed(_) | Custody::Retired(_) => {
                return Err(WrongState { expected: "Empty or Received", got }.into());
            }
        }
        self.custody = match &self.policy.origin {
            PolicyOrigin::Commitments(_) => Custody::Received(Empty.receive(keyring, origin)),
            PolicyOrigin::Genesis => Custody::Holding(Empty.hold(keyring, Some(origin), Since::Genesis)),
            PolicyOrigin::Legacy => Custody::Holding(Empty.hold(keyring, Some(origin), Since::Legacy)),
        };
        self.emergencies.inherit(payload.emergencies.as_deref().unwrap_or_default());
        let parent = &payload.parent;
        let transfer = kind;
        let start = Event::BranchStart { parent: parent.id, size: parent.size, root: parent.root, transfer };
        self.record(step, facts.clone(), start);
        self.record(step, facts, Event::Received { transfer, epochs });
        Ok(())
    }

    /// In `shadow`, the received keyring is compared with the one that MRSIGNER opened; the latter goes on serving.
    fn compare_shadow(&mut self, step: &mut Step, received: &Keyring, origin: Origin) {
        let clean = match &mut self.custody {
            Custody::Holding(h) => {
                let clean = h.keyring.check(&received.commitments()).is_ok();
                // One upgrade counts once, however often its handover is repeated.
                let first = h.origin.is_none();
                if clean {
                    h.origin = Some(origin);
                }
                clean.then_some(first)
            }
            _ => return,
        };
        if let Some(first) = clean {
            self.clean_shadow_upgrades = self.clean_shadow_upgrades.saturating_add(first.into());
        } else {
            self.clean_shadow_upgrades = 0;
            step.alarm(
                "shadow-differs",
                "the handover brought another keyring than MRSIGNER opens: do not leave shadow; compare the commitments in status".into(),
            );
        }
        let count = u64::from(self.clean_shadow_upgrades);
        let facts = self.facts();
        self.record(step, facts, Event::ShadowCompared { clean: clean.is_some(), count });
    }

    /// Answers a challenge: this instance started from the file that holds the keyring, or the canary.
    pub fn prove(&mut self, step: &mut Step, challenge: &[u8], report_target: &[u8]) -> Result<(), ProveError> {
        let challenge = Challenge::from_cbor(challenge)?;
        let got = challenge.transcript;
        let chain_id = &self.policy.chain.chain_id;
        let input = Receipt::mac_input(&got, &challenge.nonce);
        let canary = self.canary.as_ref().filter(|c| c.origin.transcript == got);
        let (mac, instance, kind) = if let Some(c) = canary {
            (mac(&c.keyring, chain_id, &input), c.origin.instance, c.origin.kind)
        } else {
            let origin = self.custody.origin().filter(|o| o.transcript == got);
            let (Some(o), Some(k)) = (origin, self.custody.keyring()) else {
                return Err(ProveError::OtherTransfer { got });
            };
            (mac(k, chain_id, &input), o.instance, o.kind)
        };
        if instance == self.instance {
            return Err(ProveError::NotRestarted);
        }
        let receipt = Receipt { version: VERSION, transcript: got, nonce: challenge.nonce, mac };
        let digest = receipt.digest();
        let report = self.report(report_target, &digest)?;
        let facts = LogFacts { transcript: Some(got), ..self.facts() };
        let event = match kind {
            Kind::Rehearsal => Event::Rehearsal { as_source: false, passed: true },
            kind => Event::Receipt { transfer: kind },
        };
        self.record(step, facts, event);
        step.send(Said { message: receipt.to_cbor(), report: Some(report), digest });
        Ok(())
    }

    /// Shows the proof at X of this build's own plan. Once shown it is sealed; a restart asks nothing.
    pub fn activate(&mut self, step: &mut Step, evidence: &[u8]) -> Result<(), ActivateError> {
        let evidence = AtXEvidence::from_cbor(evidence)?;
        let client = self.followed(&Path::default())?;
        let proof = self.judge(&client).activation(&evidence)?;
        let shown = proof.facts();
        if let Some(seen_at) = self.void_since(&shown.plan, shown.shown_at) {
            return Err(PlanIsVoid { name: shown.plan.name.clone(), shown_at: shown.shown_at, seen_at }.into());
        }
        let got = self.custody.state();
        match &self.custody {
            Custody::Received(_) => {}
            Custody::Holding(h) if h.since == Since::Inherited => {
                if self.shadow_proof.as_ref().is_none_or(|p| p.facts != *proof.facts()) {
                    self.shadow_proof = Some(PlanRun::from(&proof));
                    self.log_activated(step, &PlanRun::from(&proof));
                }
                step.send(Said::nothing());
                return Ok(());
            }
            Custody::Holding(h) if matches!(&h.since, Since::Run(r) if r.facts.plan == proof.facts().plan) => {
                step.send(Said::nothing());
                return Ok(());
            }
            Custody::Empty(_)
            | Custody::Holding(_)
            | Custody::Offered(_)
            | Custody::Confirmed(_)
            | Custody::Retired(_) => {
                return Err(WrongState { expected: "Received", got }.into());
            }
        }
        self.custody = match core::mem::replace(&mut self.custody, Custody::Empty(Empty)) {
            Custody::Received(r) => Custody::Holding(r.activate(&proof)),
            other => other,
        };
        self.log_activated(step, &PlanRun::from(&proof));
        step.send(Said::nothing());
        Ok(())
    }

    fn log_activated(&mut self, step: &mut Step, run: &PlanRun) {
        let plan = &run.facts.plan;
        let event = Event::Activated { plan: Some(plan.name.clone()), plan_height: Some(plan.height) };
        let facts = self.facts();
        self.record(step, facts, event);
    }

    /// A receipt for the barrier of every source, over the head that this enclave has verified.
    pub fn barrier_receipt(&mut self, step: &mut Step, report_target: &[u8]) -> Result<(), BarrierReceiptError> {
        let run = match self.custody.serving().map(|h| &h.since) {
            Some(Since::Run(run)) => run,
            _ => return Err(BarrierReceiptError::NotActivated),
        };
        let head = run.done_at.ok_or(BarrierReceiptError::NotDone { x: run.facts.x })?;
        let keyring = self.custody.keyring().ok_or(BarrierReceiptError::NotActivated)?;
        let mut receipt = BarrierReceipt {
            version: VERSION,
            chain_id: self.policy.chain.chain_id.clone(),
            plan: run.facts.plan.clone(),
            activated_at: run.facts.x,
            head_height: head.height,
            head_hash: head.hash,
            rehearsed_as_source: self.rehearsed_as_source,
            mac: [0; 32],
        };
        receipt.mac = mac(keyring, &self.policy.chain.chain_id, &receipt.mac_input());
        let digest = receipt.digest();
        let report = self.report(report_target, &digest)?;
        step.send(Said { message: receipt.to_cbor(), report: Some(report), digest });
        Ok(())
    }

    /// The identity that a giver must have, where the policy asks.
    pub fn wants_giver(&self) -> Option<&Identity> {
        match self.policy.origin {
            PolicyOrigin::Genesis | PolicyOrigin::Legacy => Some(&self.identity),
            PolicyOrigin::Commitments(_) => None,
        }
    }
}

fn mac<K: secret::Kind>(keyring: &KeyringOf<K>, chain_id: &str, input: &Digest32) -> [u8; 32] {
    keyring.receipt_key(chain_id).mac(&[&input.0])
}
