//! The judge of orders: from evidence to a [`CheckedOrder`], or to what a handover or a start by order stands on.
//!
//! Nothing else makes one. The caller owns the light client and has moved its head where the evidence leads, as for
//! [`baton_chain::authorize::Judge`].

use alloc::{boxed::Box, string::String, vec::Vec};

use baton_attest::identity::{Digest32, Identity, encode};
use baton_attest::policy::BuildError;
use baton_chain::admission::{AdmissionError, AdmissionEvidence, Admitted, admit};
use baton_chain::authorize::Transfer;
use baton_chain::light::{LightBlock, LightClient, LightError, Path};
use baton_chain::record::Kind;
use minicbor::{Decode, Encode};

use super::adr036::{StakingEvidence, validators};
use super::notice::{FreshEvidence, NoticeError, NoticeEvidence, Public, Since, Wait};
use super::signed::{SignedError, SignedOrder};
use super::{Action, Authority, Order, OrderKind, SkippedSignatures, fresh_memo};
use crate::cbor::decode_exact;
use crate::policy::Policy;

/// The version that this code writes and reads.
pub const VERSION: u8 = 1;
/// Most bytes of the evidence of an order.
pub const MAX_EVIDENCE_BYTES: usize = 64 << 20;

/// An order with what shows that it was public. UNTRUSTED. CBOR map; unknown fields are skipped.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct OrderEvidence {
    /// [`VERSION`].
    #[n(0)]
    pub version: u8,
    /// Light steps that move the trusted head; empty where it stays, as on a chain that stands still.
    #[n(1)]
    pub to_head: Path,
    /// The signed order, see [`SignedOrder`].
    #[cbor(n(2), with = "minicbor::bytes")]
    pub signed: Vec<u8>,
    /// The weight of validators' signatures, where they signed.
    #[n(3)]
    pub staking: Option<StakingEvidence>,
    /// That the order was public.
    #[n(4)]
    pub notice: NoticeEvidence,
    /// That this is of now. A start by order needs none.
    #[n(5)]
    pub fresh: Option<FreshEvidence>,
    /// The nonce of the enclave's hello, for orders without a transfer; a transfer's is in its request.
    #[n(6)]
    pub nonce: Option<Digest32>,
    /// For a rewind: the headers from the trusted head down to the ancestor, each one the parent of the one before it.
    #[n(7)]
    pub links: Option<Vec<LightBlock>>,
    /// For a handover to another machine: who admitted it, under the trusted head.
    #[n(8)]
    pub admission: Option<AdmissionEvidence>,
}

impl OrderEvidence {
    /// The bytes on the wire.
    pub fn to_cbor(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads what a host sent.
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, OrderError> {
        if bytes.len() > MAX_EVIDENCE_BYTES {
            return Err(OrderError::Malformed);
        }
        let evidence: Self = decode_exact(bytes).ok_or(OrderError::Malformed)?;
        match evidence.version {
            VERSION => Ok(evidence),
            got => Err(OrderError::Version { got }),
        }
    }
}

/// Why an order is not obeyed. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// Not the evidence of an order.
    #[error("the evidence of an order cannot be read: truncated, too long, or another message's bytes")]
    Malformed,
    /// Another version.
    #[error("the evidence of an order has version {got}, expected {VERSION}")]
    Version {
        /// Its version.
        got: u8,
    },
    /// The signed order cannot be read.
    #[error(transparent)]
    Signed(#[from] SignedError),
    /// The policy has no break-glass rule.
    #[error("this build's policy has no council section: it obeys no order")]
    NoCouncil,
    /// For another chain.
    #[error("the order is for chain {got:?}, expected {expected:?}")]
    OtherChain {
        /// Ours.
        expected: String,
        /// Its.
        got: String,
    },
    /// For another build.
    #[error("the order is to the build with identity digest {got}, this is {expected}: sign an order to this build")]
    OtherSource {
        /// Ours.
        expected: Digest32,
        /// Its.
        got: Digest32,
    },
    /// Void by height.
    #[error("the order is void from height {expiry_height} on, the trusted head is {head}: sign a new one")]
    ExpiredHeight {
        /// Its last height and one.
        expiry_height: u64,
        /// The trusted head.
        head: u64,
    },
    /// Void by date.
    #[error("the order is void from {expiry_secs} on, it is at least {now} (unix seconds): sign a new one")]
    ExpiredDate {
        /// Its end.
        expiry_secs: u64,
        /// The least date that it can be.
        now: u64,
    },
    /// The target's machine may not receive.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// Another kind than the request asks for.
    #[error("the order is a {got}, expected {expected}")]
    OtherKind {
        /// What the request obeys.
        expected: &'static str,
        /// Its kind.
        got: OrderKind,
    },
    /// The validators' set.
    #[error(transparent)]
    Light(#[from] LightError),
    /// Too few people.
    #[error("the order is signed by {got} of {needed} council members needed, and not by validators with more than two thirds of the power{skipped}")]
    NotEnough {
        /// The policy's m.
        needed: u32,
        /// Members with a good signature.
        got: usize,
        /// What does not count, and whose it is.
        skipped: SkippedSignatures,
    },
    /// Not public, or not for long enough.
    #[error(transparent)]
    Notice(Box<NoticeError>),
    /// Nothing shows that it is of now.
    #[error("nothing shows that this view is of now: put {expected:?} into a transaction or the witnessed log")]
    NoFreshness {
        /// What has to be public.
        expected: String,
    },
    /// Not fresh.
    #[error("freshness: {0}")]
    Stale(Box<NoticeError>),
    /// The nonce is nobody's.
    #[error("the order's evidence answers no open hello of this instance: ask for a hello again")]
    UnknownNonce,
    /// The target is another build.
    #[error("the order names the build {expected} (identity digest), the target is {got}")]
    OtherTarget {
        /// In the order.
        expected: Digest32,
        /// As attested.
        got: Digest32,
    },
    /// It names who shall obey.
    #[error("the order names the running build itself: nothing to hand over")]
    NoOp,
    /// No order can name such a build.
    #[error(transparent)]
    Rules(BuildError),
    /// No links.
    #[error("a rewind needs the headers between the trusted head {head} and the ancestor")]
    NoLinks {
        /// The trusted head.
        head: u64,
    },
    /// The links lead elsewhere.
    #[error("the hash links lead to height {got_height} with hash {got}, the order names height {height} with hash {expected}: a header that is no ancestor of the trusted head cannot be named")]
    NotTheAncestor {
        /// In the order.
        height: u64,
        /// In the order.
        expected: Digest32,
        /// Where they lead.
        got_height: u64,
        /// Where they lead.
        got: Digest32,
    },
}

/// An order that was verified: who commanded, and since when it was public. Only [`OrderJudge`] makes one:
///
/// ```compile_fail
/// use baton_core::order::{Authority, Order, SkippedSignatures, judge::CheckedOrder, notice::Since};
/// fn forge(order: Order, authority: Authority, skipped: SkippedSignatures, since: Since) -> CheckedOrder {
///     CheckedOrder { order, authority, skipped, since, date: None }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedOrder {
    order: Order,
    authority: Authority,
    skipped: SkippedSignatures,
    since: Since,
    date: Option<u64>,
}

impl CheckedOrder {
    /// The order.
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// Who commanded.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Signatures that do not count, and whose they are.
    pub fn skipped(&self) -> &SkippedSignatures {
        &self.skipped
    }

    /// Since when it was public.
    pub fn since(&self) -> Since {
        self.since
    }

    /// The least date that it is now, in unix seconds, where witnesses said one.
    pub fn date(&self) -> Option<u64> {
        self.date
    }
}

/// A handover that an order permits: to this very target, by this record. Only [`OrderJudge::handover`] makes one:
///
/// ```compile_fail
/// use baton_core::order::judge::{CheckedOrder, OrderedHandover};
/// fn forge(checked: CheckedOrder, target: baton_attest::identity::Identity) -> OrderedHandover {
///     OrderedHandover { checked, target, record: None, head: 0, admitted: None }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderedHandover {
    checked: CheckedOrder,
    target: Identity,
    record: Option<Digest32>,
    head: u64,
    admitted: Option<Admitted>,
}

impl OrderedHandover {
    /// The order.
    pub fn checked(&self) -> &CheckedOrder {
        &self.checked
    }

    /// To whom.
    pub fn target(&self) -> &Identity {
        &self.target
    }

    /// Digest of the record on chain; none where the witnessed log holds it: then it counts as unrecorded.
    pub fn record(&self) -> Option<Digest32> {
        self.record
    }

    /// The trusted head of the judgement.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Who admitted the target's machine; none on one machine, and where the policy admits any.
    pub fn admitted(&self) -> Option<Admitted> {
        self.admitted
    }
}

/// The running build is the one that an order names: it may derive app keys. Only [`OrderJudge::activation`] makes one:
///
/// ```compile_fail
/// fn forge(c: baton_core::order::judge::CheckedOrder) -> baton_core::order::judge::OrderedActivation {
///     baton_core::order::judge::OrderedActivation(c)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderedActivation(CheckedOrder);

impl OrderedActivation {
    /// The order.
    pub fn checked(&self) -> &CheckedOrder {
        &self.0
    }
}

/// Everything that a judgement stands on beside the evidence.
#[derive(Clone, Copy)]
pub struct OrderJudge<'a> {
    /// The policy of the judging build.
    pub policy: &'a Policy,
    /// Its identity.
    pub own: &'a Identity,
    /// Its light client.
    pub light: &'a LightClient,
}

/// What must have been shown of an order's publicity.
enum Needed<'a> {
    /// A notice, and this text with a nonce.
    NoticeAndFresh(&'a str),
    /// That it is public, without a wait, and this text with a nonce.
    PublicAndFresh(&'a str),
    /// A notice alone.
    Notice,
}

impl OrderJudge<'_> {
    /// The source's side of a handover by order.
    pub fn handover(&self, transfer: &Transfer<'_>, evidence: &OrderEvidence) -> Result<OrderedHandover, OrderError> {
        let signed = self.for_this_build(evidence)?;
        let Action::Handover { to } = signed.order().action else {
            return Err(OrderError::OtherKind { expected: "handover", got: signed.order().kind() });
        };
        let target = *transfer.target.identity();
        if to.measurement == self.own.measurement {
            return Err(OrderError::NoOp);
        }
        if to != target {
            return Err(OrderError::OtherTarget { expected: to.digest(), got: target.digest() });
        }
        // An order may name a lower version in public, but never a debug build, or one outside of the policy.
        self.policy.builds.check(&target).map_err(OrderError::Rules)?;
        // No order opens the door to a machine that nobody answers for: a quote for the very build can be forged (A29).
        let (chain, admission, platform) = (&self.policy.chain, self.policy.admission, transfer.target.platform());
        let admitted = admit(chain, admission, self.light, self.light.head(), platform, evidence.admission.as_ref())?;
        let record = transfer.record(Kind::Upgrade, 0);
        let checked = self.check(signed, evidence, &Needed::NoticeAndFresh(&record.encode()))?;
        let on_chain = matches!(evidence.fresh, Some(FreshEvidence::Chain(_)));
        let head = self.light.head().height();
        Ok(OrderedHandover { checked, target, record: on_chain.then(|| record.digest()), head, admitted })
    }

    /// The target's side: this very build is named. Neither expiry nor source matter here: the source has judged both when it
    /// let go, and a copy that was released must be able to start at any time.
    pub fn activation(&self, evidence: &OrderEvidence) -> Result<OrderedActivation, OrderError> {
        let signed = self.of_this_chain(evidence)?;
        let Action::Handover { to } = signed.order().action else {
            return Err(OrderError::OtherKind { expected: "handover", got: signed.order().kind() });
        };
        if to != *self.own {
            return Err(OrderError::OtherTarget { expected: to.digest(), got: self.own.digest() });
        }
        Ok(OrderedActivation(self.check(signed, evidence, &Needed::Notice)?))
    }

    /// A rewind, a freeze or a rotation. `is_open` knows the nonces of this instance's hellos. A freeze must be public and
    /// waits for nothing: it gives nothing away, and it comes in time or not at all.
    pub fn command(&self, evidence: &OrderEvidence, is_open: impl Fn(&Digest32) -> bool) -> Result<CheckedOrder, OrderError> {
        let signed = self.for_this_build(evidence)?;
        let nonce = evidence.nonce.filter(|n| is_open(n)).ok_or(OrderError::UnknownNonce)?;
        let text = fresh_memo(&nonce);
        let needed = match signed.order().kind() {
            OrderKind::Freeze => Needed::PublicAndFresh(&text),
            OrderKind::Rewind | OrderKind::Rotate => Needed::NoticeAndFresh(&text),
            got @ OrderKind::Handover => {
                return Err(OrderError::OtherKind { expected: "rewind, freeze or rotate", got });
            }
        };
        self.check(signed, evidence, &needed)
    }

    /// The client after a rewind.
    pub fn rewound(&self, checked: &CheckedOrder, evidence: &OrderEvidence) -> Result<LightClient, OrderError> {
        let Action::Rewind { height, hash: expected } = checked.order.action else {
            return Err(OrderError::OtherKind { expected: "rewind", got: checked.order.kind() });
        };
        let links = evidence.links.as_deref().ok_or(OrderError::NoLinks { head: self.light.head().height() })?;
        let mut client = self.light.clone();
        let at = client.rewind(links)?;
        let (got_height, got) = (at.height(), Digest32(at.hash()));
        if (got_height, got) != (height, expected) || links.is_empty() {
            return Err(OrderError::NotTheAncestor { height, expected, got_height, got });
        }
        Ok(client)
    }

    fn of_this_chain(&self, evidence: &OrderEvidence) -> Result<SignedOrder, OrderError> {
        let signed = SignedOrder::from_bytes(&evidence.signed)?;
        let expected = &self.policy.chain.chain_id;
        match signed.order().chain_id == *expected {
            true => Ok(signed),
            false => Err(OrderError::OtherChain { expected: expected.clone(), got: signed.order().chain_id.clone() }),
        }
    }

    fn for_this_build(&self, evidence: &OrderEvidence) -> Result<SignedOrder, OrderError> {
        let signed = self.of_this_chain(evidence)?;
        let (expected, order) = (self.own.digest(), signed.order());
        if order.from != expected {
            return Err(OrderError::OtherSource { expected, got: order.from });
        }
        let head = self.light.head();
        if head.height() >= order.expiry_height {
            return Err(OrderError::ExpiredHeight { expiry_height: order.expiry_height, head: head.height() });
        }
        self.not_expired(order, u64::try_from(head.time().secs).unwrap_or(0))?;
        Ok(signed)
    }

    fn not_expired(&self, order: &Order, now: u64) -> Result<(), OrderError> {
        match now >= order.expiry_secs {
            true => Err(OrderError::ExpiredDate { expiry_secs: order.expiry_secs, now }),
            false => Ok(()),
        }
    }

    fn check(&self, signed: SignedOrder, evidence: &OrderEvidence, needed: &Needed<'_>) -> Result<CheckedOrder, OrderError> {
        let council = self.policy.council.as_ref().ok_or(OrderError::NoCouncil)?;
        let (authority, skipped) = self.authority(&signed, evidence.staking.as_ref())?;
        let order = signed.order().clone();
        let public = Public {
            chain_id: &self.policy.chain.chain_id,
            witnesses: self.policy.witnesses.as_ref(),
            light: self.light,
        };
        let (wait, fresh) = match needed {
            Needed::NoticeAndFresh(text) => (Wait { blocks: council.notice_blocks, dates: true }, Some(*text)),
            Needed::PublicAndFresh(text) => (Wait { blocks: 0, dates: false }, Some(*text)),
            Needed::Notice => (Wait { blocks: council.notice_blocks, dates: true }, None),
        };
        let since = public.notice(&order.memo(), wait, &evidence.notice).map_err(|e| OrderError::Notice(e.into()))?;
        let mut date = None;
        if let Some(text) = fresh {
            let shown = evidence.fresh.as_ref().ok_or(OrderError::NoFreshness { expected: text.into() })?;
            date = public.fresh(text, shown).map_err(|e| OrderError::Stale(e.into()))?;
            date.map_or(Ok(()), |now| self.not_expired(&order, now))?;
        }
        Ok(CheckedOrder { order, authority, skipped, since, date })
    }

    /// Who commands: the council, or validators. Nobody's bad signature spoils the good ones.
    fn authority(
        &self,
        signed: &SignedOrder,
        staking: Option<&StakingEvidence>,
    ) -> Result<(Authority, SkippedSignatures), OrderError> {
        let council = self.policy.council.as_ref().ok_or(OrderError::NoCouncil)?;
        let (by_council, signers, mut skipped) = signed.council(council);
        if let Some(authority) = by_council {
            return Ok((authority, skipped));
        }
        if let Some(staking) = staking {
            let (by_validators, mut more) = validators(signed, self.light.head(), staking)?;
            skipped.0.append(&mut more.0);
            if let Some(authority) = by_validators {
                return Ok((authority, skipped));
            }
        }
        Err(OrderError::NotEnough { needed: council.needed, got: signers.len(), skipped })
    }
}
