//! What one enclave instance holds and what it may still do with it: one type for each state, and
//! transitions that consume the state they leave.
//!
//! ```text
//!            accept              activate (proof at X)         offer                receipt
//!   Empty ------------> Received ---------------------> Holding -------> Offered -----------> Confirmed
//!     ^ \______________________________________________/  ^ ^              |                      | |
//!     |      genesis, legacy file, join of a genesis build | +-- revoked, skipped, called off -----+ |
//!     +--- skipped (Received only: the copy is void)       |                                         v
//!                                                          +------------- (nothing) <----------  Retired
//! ```
//!
//! No transition can drop a keyring except the `void` ones, which the *skipped* proof of the plan that the copy
//! came by permits because the source is Holding again, and [`Confirmed::retire`], which needs the barrier.

use baton_attest::identity::{Digest32, Identity, Measurement, PlatformId};
use baton_chain::authorize::{Activation, AtXFacts, Authorization, Facts, PlanRef, Route, Standing};
use baton_chain::record::Kind;
use minicbor::{Decode, Encode};

use crate::barrier::BarrierMet;
use crate::handover::DurableReceipt;
use crate::keyring::Keyring;
use crate::order::judge::{OrderedActivation, OrderedHandover};

/// How a keyring came to this enclave.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Origin {
    /// The kind of transfer.
    #[n(0)]
    pub kind: Kind,
    /// The transfer, which the receipt names.
    #[n(1)]
    pub transcript: Digest32,
    /// The instance that wrote it to disk first; that instance can give no receipt.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub instance: [u8; 16],
    /// This machine, as the record that gave the keyring names it.
    #[n(3)]
    pub platform: PlatformId,
    /// The plan that the transfer was for, as the giver says.
    #[n(4)]
    pub plan: Option<PlanRef>,
}

/// A plan that the chain ran, as header X proved it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PlanRun {
    /// What the proof at X said.
    #[n(0)]
    pub facts: AtXFacts,
    /// A head above X showed the done key.
    #[n(1)]
    pub done: bool,
    /// The newest head that showed it. A receipt for the barrier names this head and no later one: a chain that was rolled
    /// back to X and passed over the plan has heads too, and none of them shows the key.
    #[n(2)]
    pub done_at: Option<Seen>,
}

/// A header by height and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Seen {
    /// Its height.
    #[n(0)]
    pub height: u64,
    /// Its hash.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub hash: [u8; 32],
}

impl From<&Activation> for PlanRun {
    fn from(a: &Activation) -> Self {
        PlanRun { facts: a.facts().clone(), done: false, done_at: None }
    }
}

/// A plan that a verified head has shown to be void.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct VoidPlan {
    /// The plan.
    #[n(0)]
    pub plan: PlanRef,
    /// Height of the head that no longer had it: no view below that head permits anything for it.
    #[n(1)]
    pub seen_at: u64,
}

/// The chain passed over an upgrade: a head above X shows neither its plan nor its done key. Only
/// [`baton_chain::authorize::standing`] can say so.
pub struct Skipped(());

impl Skipped {
    pub(crate) fn from_standing(standing: &Standing) -> Option<Self> {
        matches!(standing, Standing::Skipped).then_some(Skipped(()))
    }
}

/// Why a copy may serve.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum Since {
    /// The policy of a genesis build says so.
    #[n(0)]
    Genesis,
    /// The first build over a legacy file: its policy says so.
    #[n(1)]
    Legacy,
    /// `shadow`: it could unseal what its predecessor wrote. The proof at X is checked beside it.
    #[n(2)]
    Inherited,
    /// The chain ran the plan that names this build.
    #[n(3)]
    Run(#[n(0)] PlanRun),
    /// An emergency order names this build.
    #[n(4)]
    Order(#[n(0)] OrderRun),
}

impl Since {
    /// Digest of the order that this copy serves by.
    pub fn order(&self) -> Option<Digest32> {
        match self {
            Since::Order(run) => Some(run.order),
            Since::Genesis | Since::Legacy | Since::Inherited | Since::Run(_) => None,
        }
    }

    /// By this very order.
    pub fn is_order(&self, digest: &Digest32) -> bool {
        self.order().as_ref() == Some(digest)
    }
}

/// The order by which a build serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct OrderRun {
    /// Digest of the order.
    #[n(0)]
    pub order: Digest32,
    /// Its number.
    #[n(1)]
    pub sequence: u64,
    /// The trusted head then, in blocks.
    #[n(2)]
    pub head: u64,
}

/// The one build that a custody is authorized to hand over to.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Successor {
    /// The plan, by everything that the chain stores of it.
    #[n(0)]
    pub plan: PlanRef,
    /// The proposal that carried the plan.
    #[n(1)]
    pub proposal_id: u64,
    /// The build.
    #[n(2)]
    pub target: Identity,
    /// The height of the header that proved the plan.
    #[n(3)]
    pub shown_at: u64,
    /// X, once a header at X was shown: no later view can put another plan in its place.
    #[n(4)]
    pub x: Option<u64>,
    /// Digest of the emergency order that named the build; then `plan` only stands for it, and no chain ever ran it.
    #[n(5)]
    pub order: Option<Digest32>,
}

impl Successor {
    fn of(facts: &Facts) -> Option<Self> {
        Some(Successor {
            plan: facts.plan.clone()?,
            proposal_id: facts.proposal_id,
            target: facts.target,
            shown_at: facts.shown_at,
            x: match facts.route {
                Route::AtX { x, .. } => Some(x),
                Route::Ahead { .. } | Route::Fresh { .. } => None,
            },
            order: None,
        })
    }

    /// True if both name the same plan and the same build.
    pub fn is_same(&self, other: &Successor) -> bool {
        let same_plan = match (&self.order, &other.order) {
            (None, None) => self.plan == other.plan,
            (a, b) => a == b,
        };
        same_plan && self.target == other.target
    }
}

/// Nothing held.
#[derive(Default)]
pub struct Empty;

/// A keyring that must not be used yet: the proof at X is missing.
pub struct Received {
    pub(crate) keyring: Keyring,
    pub(crate) origin: Origin,
}

/// A keyring in use.
pub struct Holding {
    pub(crate) keyring: Keyring,
    pub(crate) origin: Option<Origin>,
    pub(crate) since: Since,
}

/// In use, and promised to a successor.
pub struct Offered {
    pub(crate) holding: Holding,
    pub(crate) successor: Successor,
}

/// In use, and a successor has shown that it holds the keyring durably.
pub struct Confirmed {
    pub(crate) holding: Holding,
    pub(crate) successor: Successor,
}

/// The keyring is gone from here; a tombstone says to whom.
pub struct Retired {
    pub(crate) successor: Successor,
    pub(crate) at_height: u64,
}

/// The custody of one enclave.
pub enum Custody {
    /// See [`Empty`].
    Empty(Empty),
    /// See [`Received`].
    Received(Received),
    /// See [`Holding`].
    Holding(Holding),
    /// See [`Offered`].
    Offered(Offered),
    /// See [`Confirmed`].
    Confirmed(Confirmed),
    /// See [`Retired`].
    Retired(Retired),
}

/// The name of a state, for status and errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, serde::Serialize)]
#[cbor(index_only)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nothing held.
    #[n(0)]
    Empty,
    /// Held, not in use.
    #[n(1)]
    Received,
    /// In use.
    #[n(2)]
    Holding,
    /// In use and promised.
    #[n(3)]
    Offered,
    /// In use, and the successor holds it durably.
    #[n(4)]
    Confirmed,
    /// Gone from here.
    #[n(5)]
    Retired,
}

impl core::fmt::Display for State {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            State::Empty => "Empty",
            State::Received => "Received",
            State::Holding => "Holding",
            State::Offered => "Offered",
            State::Confirmed => "Confirmed",
            State::Retired => "Retired",
        })
    }
}

impl Empty {
    /// Takes a keyring that must wait for its proof at X.
    pub fn receive(self, keyring: Keyring, origin: Origin) -> Received {
        Received { keyring, origin }
    }

    /// Takes a keyring that the policy itself lets serve.
    pub fn hold(self, keyring: Keyring, origin: Option<Origin>, since: Since) -> Holding {
        Holding { keyring, origin, since }
    }
}

impl Received {
    /// The chain ran the plan: the copy may serve.
    pub fn activate(self, proof: &Activation) -> Holding {
        Holding { keyring: self.keyring, origin: Some(self.origin), since: Since::Run(proof.into()) }
    }

    /// An order names this build, and was public: the copy may serve.
    pub fn activate_by_order(self, proof: &OrderedActivation, head: u64) -> Holding {
        let order = proof.checked().order();
        let run = OrderRun { order: order.digest(), sequence: order.sequence, head };
        Holding { keyring: self.keyring, origin: Some(self.origin), since: Since::Order(run) }
    }

    /// The chain passed over the upgrade: this copy is void, and its source is Holding again.
    pub fn void(self, _proof: &Skipped) -> Empty {
        Empty
    }
}

/// A promise that an authorization would give.
pub struct Promise(Successor);

/// A second build while one is promised, without a later view of the chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OtherTarget {
    /// Another build has the promise.
    #[error(
        "already promised to {expected} by the plan shown at height {shown_at}: expected that build or a later view of the chain, got {got} shown at {got_at}"
    )]
    Promised {
        /// Measurement of the promised build.
        expected: Measurement,
        /// Where its plan was shown.
        shown_at: u64,
        /// The build that asks.
        got: Measurement,
        /// Where its plan was shown.
        got_at: u64,
    },
    /// The authorization names no plan.
    #[error("the authorization names no plan: it promises nothing to a successor")]
    NoPlan,
}

impl Promise {
    /// What an authorization promises, if the current promise may be taken over: the same build
    /// again, or a plan that a later header shows while no header at X was shown for the current one.
    pub fn new(current: Option<&Successor>, auth: &Authorization) -> Result<Self, OtherTarget> {
        let next = Successor::of(auth.facts()).ok_or(OtherTarget::NoPlan)?;
        match current {
            Some(c) if !c.is_same(&next) && (c.x.is_some() || next.shown_at <= c.shown_at) => {
                Err(OtherTarget::Promised {
                    expected: c.target.measurement,
                    shown_at: c.shown_at,
                    got: next.target.measurement,
                    got_at: next.shown_at,
                })
            }
            Some(c) if c.is_same(&next) => {
                Ok(Promise(Successor { x: next.x.or(c.x), shown_at: next.shown_at.max(c.shown_at), ..next }))
            }
            _ => Ok(Promise(next)),
        }
    }

    /// What an order promises. It takes the place of whatever was promised: people chose, in public. A plan that was shown
    /// before it does not come back, only a later one does.
    pub fn by_order(current: Option<&Successor>, granted: &OrderedHandover) -> Self {
        let order = granted.checked().order();
        let digest = order.digest();
        let seen = current.map_or(0, |c| c.shown_at.max(c.x.unwrap_or(0)));
        Promise(Successor {
            plan: PlanRef { name: alloc::format!("order {}", order.sequence), height: granted.head(), digest },
            proposal_id: 0,
            target: *granted.target(),
            shown_at: granted.head().max(seen),
            x: None,
            order: Some(digest),
        })
    }

    /// To whom.
    pub fn successor(&self) -> &Successor {
        &self.0
    }
}

impl Holding {
    /// Why this copy may serve.
    pub fn since(&self) -> &Since {
        &self.since
    }

    /// The chain passed over the upgrade after header X: unless the done key was seen, this copy is
    /// void, and its source is Holding again. A copy that does not rest on that plan stays.
    pub fn void(self, _proof: &Skipped) -> Custody {
        match self.since {
            Since::Run(PlanRun { done: false, .. }) => Custody::Empty(Empty),
            Since::Run(PlanRun { done: true, .. }) | Since::Genesis | Since::Legacy | Since::Inherited | Since::Order(_) => {
                Custody::Holding(self)
            }
        }
    }

    /// Promises the keyring to a build.
    pub fn offer(self, promise: Promise) -> Offered {
        Offered { holding: self, successor: promise.0 }
    }
}

impl Offered {
    /// Another transfer to the same build, or a later plan that supersedes it.
    pub fn offer(self, promise: Promise) -> Offered {
        self.holding.offer(promise)
    }

    /// A durable receipt has come.
    pub fn confirm(self, _receipt: &DurableReceipt) -> Confirmed {
        Confirmed { holding: self.holding, successor: self.successor }
    }

    /// The promise is void: the plan was cancelled, superseded without a build, or skipped.
    pub fn call_off(self) -> Holding {
        self.holding
    }

    /// The plan that this very copy came by was passed over, see [`Holding::void`].
    pub fn void(self, proof: &Skipped) -> Custody {
        match self.holding.void(proof) {
            Custody::Holding(holding) => Custody::Offered(Offered { holding, successor: self.successor }),
            other => other,
        }
    }
}

impl Confirmed {
    /// Another transfer: to the same build it changes nothing, to a later plan's it starts again.
    pub fn offer(self, promise: Promise) -> Custody {
        if self.successor.is_same(&promise.0) {
            Custody::Confirmed(Confirmed { successor: promise.0, ..self })
        } else {
            Custody::Offered(self.holding.offer(promise))
        }
    }

    /// The promise is void, see [`Offered::call_off`].
    pub fn call_off(self) -> Holding {
        self.holding
    }

    /// The plan that this very copy came by was passed over, see [`Holding::void`].
    pub fn void(self, proof: &Skipped) -> Custody {
        match self.holding.void(proof) {
            Custody::Holding(holding) => Custody::Confirmed(Confirmed { holding, successor: self.successor }),
            other => other,
        }
    }

    /// The barrier is met: the keyring is zeroized and a tombstone stays.
    pub fn retire(self, proof: &BarrierMet) -> Retired {
        Retired { successor: self.successor, at_height: proof.head_height() }
    }
}

impl Custody {
    /// The name of the state.
    pub fn state(&self) -> State {
        match self {
            Custody::Empty(_) => State::Empty,
            Custody::Received(_) => State::Received,
            Custody::Holding(_) => State::Holding,
            Custody::Offered(_) => State::Offered,
            Custody::Confirmed(_) => State::Confirmed,
            Custody::Retired(_) => State::Retired,
        }
    }

    /// The copy that serves, if this one does.
    pub fn serving(&self) -> Option<&Holding> {
        match self {
            Custody::Holding(h) => Some(h),
            Custody::Offered(o) => Some(&o.holding),
            Custody::Confirmed(c) => Some(&c.holding),
            Custody::Empty(_) | Custody::Received(_) | Custody::Retired(_) => None,
        }
    }

    /// The keyring, in use or not.
    pub fn keyring(&self) -> Option<&Keyring> {
        match self {
            Custody::Received(r) => Some(&r.keyring),
            other => other.serving().map(|h| &h.keyring),
        }
    }

    /// How the keyring came here.
    pub fn origin(&self) -> Option<&Origin> {
        match self {
            Custody::Received(r) => Some(&r.origin),
            other => other.serving().and_then(|h| h.origin.as_ref()),
        }
    }

    /// The build that this custody is promised to.
    pub fn successor(&self) -> Option<&Successor> {
        match self {
            Custody::Offered(o) => Some(&o.successor),
            Custody::Confirmed(c) => Some(&c.successor),
            Custody::Retired(r) => Some(&r.successor),
            Custody::Empty(_) | Custody::Received(_) | Custody::Holding(_) => None,
        }
    }
}
