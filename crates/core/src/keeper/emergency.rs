//! Emergency orders, in the keeper: a handover by order, a start by order, freeze, rewind, rotate; and witnessed dates.
//!
//! What was obeyed is sealed and stays for ever, and a receiver takes the list over with the keyring. Numbers only rise:
//! an order with a number at or below the highest one is refused, except that the very same order may be shown again,
//! which repeats a handover and changes nothing otherwise.

use alloc::{boxed::Box, string::ToString, vec::Vec};

use baton_attest::identity::{Digest32, Identity, Measurement, hash};
use baton_chain::light::{LightClient, TrustedHeader};
use minicbor::{Decode, Encode};

use super::source::OfferError;
use super::{HeadError, Keeper, Said, Step, WrongState};
use crate::cbor::decode_exact;
use crate::custody::{Custody, Empty, OtherTarget, Promise};
use crate::log::{Event, LogFacts, Route};
use crate::messages::{Attestation, HandoverRequest};
use crate::order::judge::{CheckedOrder, OrderError, OrderEvidence, OrderJudge};
use crate::order::notice::{LogProof, NoticeError, Public, Since as PublicSince, export_memo};
use crate::order::{Action, OrderKind};
use crate::platform::Platform;
use crate::seal::Slot;

/// Emergencies that a transfer carries on at most; the newest.
const MAX_CARRIED: usize = 256;

/// An order that was obeyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Emergency {
    /// Its kind.
    #[n(0)]
    pub kind: OrderKind,
    /// Its number.
    #[n(1)]
    pub sequence: u64,
    /// Its digest.
    #[n(2)]
    pub order: Digest32,
    /// The trusted head when it was obeyed, in blocks.
    #[n(3)]
    pub head: u64,
}

/// A build that gets nothing until a later plan or order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Frozen {
    /// The build.
    #[n(0)]
    pub measurement: Measurement,
    /// Plans of proposals with a higher number are later.
    #[n(1)]
    pub proposals_through: u64,
    /// Number of the order.
    #[n(2)]
    pub sequence: u64,
}

/// What is kept of emergencies; sealed as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Emergencies {
    /// Obeyed here, oldest first.
    #[n(0)]
    obeyed: Vec<Emergency>,
    /// Obeyed where the keyring came from, as the giver says.
    #[n(1)]
    inherited: Vec<Emergency>,
    /// See [`Frozen`].
    #[n(2)]
    frozen: Vec<Frozen>,
    /// The newest date that witnesses said, in unix seconds.
    #[n(3)]
    dated: Option<u64>,
}

impl Emergencies {
    /// Orders that were obeyed here.
    pub fn obeyed(&self) -> &[Emergency] {
        &self.obeyed
    }

    /// Orders that were obeyed where the keyring came from, as its giver says.
    pub fn inherited(&self) -> &[Emergency] {
        &self.inherited
    }

    /// Builds that get nothing.
    pub fn frozen(&self) -> &[Frozen] {
        &self.frozen
    }

    /// The newest date that witnesses said, in unix seconds.
    pub fn dated(&self) -> Option<u64> {
        self.dated
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Emergencies::default()
    }

    /// What a transfer carries on.
    pub(super) fn to_carry(&self) -> Option<Vec<Emergency>> {
        let all: Vec<Emergency> = self.inherited.iter().chain(&self.obeyed).copied().collect();
        let skip = all.len().saturating_sub(MAX_CARRIED);
        (!all.is_empty()).then(|| all.into_iter().skip(skip).collect())
    }

    pub(super) fn inherit(&mut self, carried: &[Emergency]) {
        self.inherited = carried.iter().take(MAX_CARRIED).copied().collect();
    }

    /// Whether the very same order was obeyed already; an older one, or another one of the same number, is refused.
    fn is_repeated(&self, checked: &CheckedOrder) -> Result<bool, SequenceError> {
        let (got, digest) = (checked.order().sequence, checked.order().digest());
        let Some(newest) = self.obeyed.iter().max_by_key(|e| e.sequence) else { return Ok(false) };
        match got.cmp(&newest.sequence) {
            core::cmp::Ordering::Greater => Ok(false),
            core::cmp::Ordering::Equal if digest == newest.order => Ok(true),
            core::cmp::Ordering::Equal => Err(SequenceError::TwoOrders { sequence: got, obeyed: newest.order, got: digest }),
            core::cmp::Ordering::Less => Err(SequenceError::Older { expected: newest.sequence, got }),
        }
    }

    fn put(&mut self, checked: &CheckedOrder, head: u64) {
        let order = checked.order();
        self.obeyed.push(Emergency { kind: order.kind(), sequence: order.sequence, order: order.digest(), head });
        match order.action {
            Action::Handover { to } => self.frozen.retain(|f| f.measurement != to.measurement),
            Action::Freeze { measurement, proposals_through } => {
                self.frozen.retain(|f| f.measurement != measurement);
                self.frozen.push(Frozen { measurement, proposals_through, sequence: order.sequence });
            }
            Action::Rewind { .. } | Action::Rotate => {}
        }
    }
}

/// Why an order's number does not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError {
    /// A later order was obeyed.
    #[error("the order has number {got}, and number {expected} was obeyed already: expected a higher one; sign a new order")]
    Older {
        /// The highest number so far.
        expected: u64,
        /// Its number.
        got: u64,
    },
    /// Two orders with one number.
    #[error("number {sequence} was obeyed for order {obeyed}, this is order {got}: two orders never share a number; sign a new one")]
    TwoOrders {
        /// The number.
        sequence: u64,
        /// The order that was obeyed.
        obeyed: Digest32,
        /// This one.
        got: Digest32,
    },
}

/// Why nothing was ordered. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The order, its signatures or its notice.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// Its number.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// The head does not follow.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// Nothing to start.
    #[error(transparent)]
    State(#[from] WrongState),
}

/// A build that gets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("build {measurement} is frozen by order {sequence}: expected a plan of a proposal above {proposals_through}, or a later order that names it")]
pub struct IsFrozen {
    /// The build.
    pub measurement: Measurement,
    /// Number of the order.
    pub sequence: u64,
    /// The last proposal that does not count.
    pub proposals_through: u64,
}

/// Why a date was not taken, or nothing leaves without one. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum DateError {
    /// The policy asks for a date.
    #[error("nothing leaves without a witnessed date: put {expected:?} into the witnessed log and bring its proof")]
    NoDate {
        /// What has to be in the log.
        expected: alloc::string::String,
    },
    /// Not a proof.
    #[error("the date cannot be read: expected the CBOR of a leaf's proof in a cosigned checkpoint")]
    Malformed,
    /// The proof.
    #[error("the date: {0}")]
    Notice(Box<NoticeError>),
    /// Too long ago.
    #[error("witnesses say that it is at least {now} (unix seconds), the last date shown here was {last}: expected at most {period_secs} seconds between; this copy was set aside for too long, join from a peer")]
    SetAside {
        /// The date.
        now: u64,
        /// The date before.
        last: u64,
        /// The trusting period.
        period_secs: u64,
    },
    /// The nonce is nobody's.
    #[error("the date is over no open nonce of this instance: ask for a hello again")]
    UnknownNonce,
    /// No head.
    #[error(transparent)]
    Head(#[from] HeadError),
}

impl<P: Platform> Keeper<P> {
    /// What is kept of emergencies.
    pub fn emergencies(&self) -> &Emergencies {
        &self.emergencies
    }

    fn order_judge<'a>(&'a self, light: &'a LightClient) -> OrderJudge<'a> {
        OrderJudge { policy: &self.policy, own: &self.identity, light }
    }

    /// Source: verifies an order with its notice, and offers the keyring to the build that it names.
    pub(super) fn offer_by_order(
        &mut self,
        step: &mut Step,
        request: HandoverRequest,
        attestation: &Attestation,
        evidence: &[u8],
        report_target: Option<&[u8]>,
    ) -> Result<(), OfferError> {
        let evidence = OrderEvidence::from_cbor(evidence)?;
        let client = self.followed(&evidence.to_head)?;
        let asked = self.check_request(request, attestation, self.quote_time_at(client.head()))?;
        let granted = self.order_judge(&client).handover(&self.asked_of_judge(&asked), &evidence)?;
        let repeated = self.emergencies.is_repeated(granted.checked())?;
        let digest = granted.checked().order().digest();
        if let Some(later) = self.custody.successor().filter(|s| repeated && s.order != Some(digest)) {
            // The order took the place of every plan of before it: this one came later.
            return Err(OtherTarget::Promised {
                expected: later.target.measurement,
                shown_at: later.shown_at,
                got: granted.target().measurement,
                got_at: granted.head(),
            }
            .into());
        }
        let promise = Promise::by_order(self.custody.successor(), &granted);
        let authority = hash("baton order authority v1", &[&digest.0, &granted.target().digest().0]);
        let transfer = self.transfer_of(&asked, &authority, granted.record());
        let keyring = self.serving()?.keyring.danger_encode();
        // The receiver takes the list over, this order in it.
        let before = self.emergencies.clone();
        if !repeated {
            self.emergencies.put(granted.checked(), granted.head());
        }
        let said = self
            .encrypt(&asked, &transfer, authority, &keyring, None)
            .and_then(|offer| self.said_offer(&offer, report_target));
        let said = match said {
            Ok(said) => said,
            Err(e) => {
                self.emergencies = before;
                return Err(e);
            }
        };
        // Every check has passed: from here on nothing can fail.
        self.take_client(step, client, asked.target());
        self.custody = match core::mem::replace(&mut self.custody, Custody::Empty(Empty)) {
            Custody::Holding(h) => Custody::Offered(h.offer(promise)),
            Custody::Offered(o) => Custody::Offered(o.offer(promise)),
            Custody::Confirmed(c) => c.offer(promise),
            other @ (Custody::Empty(_) | Custody::Received(_) | Custody::Retired(_)) => other,
        };
        if !repeated {
            self.announce(step, granted.checked());
        }
        let kind = transfer.kind;
        let authorized = Event::Authorization {
            transfer: kind,
            route: Route::Order,
            plan: None,
            plan_height: None,
            proposal_id: None,
            admitted: granted.admitted().map(|a| a.to_string()),
        };
        self.log_given(step, authority, authorized, &transfer);
        self.transfers.put(transfer);
        step.send(said);
        Ok(())
    }

    /// Obeys a freeze, a rewind or a rotation. The same order again changes nothing.
    pub fn command(&mut self, step: &mut Step, evidence: &[u8]) -> Result<(), CommandError> {
        let evidence = OrderEvidence::from_cbor(evidence)?;
        let client = self.followed(&evidence.to_head)?;
        let judge = self.order_judge(&client);
        let checked = judge.command(&evidence, |nonce| self.hellos.get(nonce).is_some())?;
        let repeated = self.emergencies.is_repeated(&checked)?;
        let rewound = match checked.order().action {
            Action::Rewind { .. } if !repeated => Some(judge.rewound(&checked, &evidence)?),
            Action::Handover { .. } | Action::Rewind { .. } | Action::Freeze { .. } | Action::Rotate => None,
        };
        // Every check has passed: from here on nothing can fail.
        let from = client.head().height();
        self.client = Some(client);
        step.changed(Slot::Custody);
        if !repeated {
            self.obey(step, &checked);
        }
        if let Some(client) = rewound {
            self.go_back(step, from, client);
        }
        step.send(Said::nothing());
        Ok(())
    }

    /// Target: this build was named by an order that was public. Once shown it is sealed; a restart asks nothing.
    pub fn activate_by_order(&mut self, step: &mut Step, evidence: &[u8]) -> Result<(), CommandError> {
        let evidence = OrderEvidence::from_cbor(evidence)?;
        let client = self.followed(&evidence.to_head)?;
        let proof = self.order_judge(&client).activation(&evidence)?;
        let got = self.custody.state();
        let again = self.custody.serving().is_some_and(|h| h.since.is_order(&proof.checked().order().digest()));
        if again {
            step.send(Said::nothing());
            return Ok(());
        }
        let Custody::Received(_) = &self.custody else {
            return Err(WrongState { expected: "Received", got }.into());
        };
        let repeated = self.emergencies.is_repeated(proof.checked())?;
        let head = client.head().height();
        self.client = Some(client);
        self.custody = match core::mem::replace(&mut self.custody, Custody::Empty(Empty)) {
            Custody::Received(r) => Custody::Holding(r.activate_by_order(&proof, head)),
            other => other,
        };
        if !repeated {
            self.obey(step, proof.checked());
        }
        let facts = self.facts();
        self.record(step, facts, Event::Activated { plan: None, plan_height: None });
        step.send(Said::nothing());
        Ok(())
    }

    /// Keeps that an order was obeyed, and says so.
    fn obey(&mut self, step: &mut Step, checked: &CheckedOrder) {
        let head = self.head().map_or(0, TrustedHeader::height);
        self.emergencies.put(checked, head);
        self.announce(step, checked);
    }

    /// Says in the log and to people that an order was obeyed.
    fn announce(&mut self, step: &mut Step, checked: &CheckedOrder) {
        let order = checked.order();
        let (block, first, second) = match checked.since() {
            PublicSince::Block(h) => (Some(h), None, None),
            PublicSince::Dates { first, second } => (None, Some(first), Some(second)),
        };
        let event = Event::EmergencyOrder {
            order_kind: order.kind(),
            sequence: order.sequence,
            by: checked.authority().to_string(),
            reason: order.reason.clone(),
            public_block: block,
            public_first_secs: first,
            public_second_secs: second,
        };
        let facts = LogFacts { evidence: Some(order.digest()), ..self.facts() };
        let text = alloc::format!(
            "emergency order {} ({}) was obeyed, by {}: {}{}",
            order.sequence,
            order.kind(),
            checked.authority(),
            order.reason,
            checked.skipped()
        );
        step.alarm("emergency-order", text);
        self.record(step, facts, event);
    }

    /// The trusted head goes back to an ancestor. What was concluded above it no longer stands: a promise at an X above it is
    /// called off, and a plan found void above it may be shown again. What serves goes on serving.
    fn go_back(&mut self, step: &mut Step, from: u64, client: LightClient) {
        let (to, hash) = (client.head().height(), Digest32(client.head().hash()));
        self.client = Some(client);
        self.void.retain(|v| v.seen_at <= to);
        if self.moved_on.as_ref().is_some_and(|m| m.shown_at > to) {
            self.moved_on = None;
        }
        if self.custody.successor().is_some_and(|s| s.order.is_none() && s.shown_at > to) {
            self.custody = match core::mem::replace(&mut self.custody, Custody::Empty(Empty)) {
                Custody::Offered(o) => Custody::Holding(o.call_off()),
                Custody::Confirmed(c) => Custody::Holding(c.call_off()),
                other @ (Custody::Empty(_) | Custody::Received(_) | Custody::Holding(_) | Custody::Retired(_)) => other,
            };
        }
        let facts = self.facts();
        self.record(step, facts, Event::Rewound { from_height: from, to_height: to, to_hash: hash });
    }

    /// A frozen build gets nothing, but by the plan of a later proposal.
    pub(super) fn refuse_frozen(&self, target: &Identity, proposal_id: u64) -> Result<(), IsFrozen> {
        let frozen = self.emergencies.frozen.iter().find(|f| f.measurement == target.measurement);
        match frozen {
            Some(f) if proposal_id <= f.proposals_through => Err(IsFrozen {
                measurement: f.measurement,
                sequence: f.sequence,
                proposals_through: f.proposals_through,
            }),
            _ => Ok(()),
        }
    }

    /// The date over an export, where the policy asks for one.
    pub(super) fn export_date(
        &self,
        request: &Digest32,
        evidence: &[u8],
        date: Option<&[u8]>,
    ) -> Result<Option<u64>, DateError> {
        if !self.policy.witnesses.as_ref().is_some_and(|w| w.dated_exports) {
            return Ok(None);
        }
        let client = self.client()?;
        let text = export_memo(request, &client.head().hash(), evidence);
        let date = date.ok_or_else(|| DateError::NoDate { expected: text.clone() })?;
        self.witnessed(client, &text, date).map(Some)
    }

    fn witnessed(&self, light: &LightClient, text: &str, proof: &[u8]) -> Result<u64, DateError> {
        let proof: LogProof = decode_exact(proof).ok_or(DateError::Malformed)?;
        let public = Public {
            chain_id: &self.policy.chain.chain_id,
            witnesses: self.policy.witnesses.as_ref(),
            light,
        };
        let now = public.date(text, &proof).map_err(|e| DateError::Notice(e.into()))?;
        let period_secs = self.policy.chain.trusting_period_secs;
        match self.emergencies.dated {
            Some(last) if now > last.saturating_add(period_secs) => Err(DateError::SetAside { now, last, period_secs }),
            _ => Ok(now),
        }
    }

    /// Takes over a date that was verified.
    pub(super) fn note_date(&mut self, step: &mut Step, date: Option<u64>) {
        if let Some(now) = date {
            self.emergencies.dated = Some(self.emergencies.dated.map_or(now, |last| last.max(now)));
            step.changed(Slot::Custody);
        }
    }

    /// Shows a witnessed date over a nonce of this instance and its trusted head, so that the copy does not count as set aside.
    pub fn date(&mut self, step: &mut Step, nonce: &Digest32, proof: &[u8]) -> Result<(), DateError> {
        self.hellos.get(nonce).ok_or(DateError::UnknownNonce)?;
        let client = self.client()?;
        let text = export_memo(nonce, &client.head().hash(), &[]);
        let now = self.witnessed(client, &text, proof)?;
        self.note_date(step, Some(now));
        step.send(Said::nothing());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
