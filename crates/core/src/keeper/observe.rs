//! What becomes of the plan that a copy promised itself to, or runs: pending, overwritten, gone, done or skipped.

use baton_chain::authorize::{self, PlanRef, Standing, StandingError};
use baton_chain::evidence::{EvidenceError, StandingEvidence};
use baton_chain::gov::done_key;

use super::{HeadError, Keeper, Said, Step};
use crate::custody::{Custody, Empty, Seen, Since, Skipped, VoidPlan};
use crate::log::Event;
use crate::platform::Platform;
use crate::seal::Slot;

/// Why what the chain says was not taken. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The evidence cannot be read.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    /// The head does not follow.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The evidence shows nothing.
    #[error(transparent)]
    Standing(#[from] StandingError),
    /// A view from before the proof that it should change.
    #[error("the head {head} is below header {shown_at}, which proved the plan at X: bring a head at or above it")]
    OldView {
        /// Height of the head that was shown.
        head: u64,
        /// Height of the header of the proof.
        shown_at: u64,
    },
    /// No plan is followed here.
    #[error("no plan is promised or run by this copy; there is nothing to observe")]
    NoPlan,
}

/// Which of the plans that matter to a copy is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Followed {
    /// The one that the keyring is promised for.
    Promise,
    /// The one that this copy came by, or runs by.
    Own,
}

impl<P: Platform> Keeper<P> {
    /// Takes note of what the chain says of the plan that this copy promised itself to, or runs.
    pub fn observe(&mut self, step: &mut Step, evidence: &[u8]) -> Result<(), ObserveError> {
        let evidence = StandingEvidence::from_cbor(evidence)?;
        let (followed, plan, x) = self.followed_plan(&evidence).ok_or(ObserveError::NoPlan)?;
        let client = self.followed(&evidence.to_head)?;
        self.not_older(followed, client.head().height())?;
        let standing = authorize::standing(&client, &plan, x, &evidence)?;
        self.client = Some(client);
        step.changed(Slot::Custody);
        match &standing {
            Standing::Pending => {}
            Standing::NameDone => self.mark_done(followed),
            Standing::Superseded { .. } | Standing::Cancelled => self.revoked(step, followed, plan),
            Standing::Skipped => self.skipped(step, followed, plan, &standing),
        }
        step.send(Said::nothing());
        Ok(())
    }

    /// What a header has proven at X, no view from below it takes back: that is the chain before people had decided.
    fn not_older(&self, followed: Followed, head: u64) -> Result<(), ObserveError> {
        let shown_at = match followed {
            Followed::Promise => self.custody.successor().filter(|s| s.x.is_some()).map(|s| s.shown_at),
            Followed::Own => self.own_run().map(|run| run.facts.shown_at),
        };
        match shown_at {
            Some(shown_at) if head < shown_at => Err(ObserveError::OldView { head, shown_at }),
            _ => Ok(()),
        }
    }

    /// The plan that the evidence is about, and its X: the plan's height until a header at X was shown.
    /// A copy that has promised itself can still be asked about its own plan: the done key tells which is meant.
    fn followed_plan(&self, evidence: &StandingEvidence) -> Option<(Followed, PlanRef, u64)> {
        let own = self.own_run().map(|run| (Followed::Own, run.facts.plan.clone(), run.facts.x));
        let by_plan = self.custody.successor().filter(|s| s.order.is_none());
        let promised = by_plan.map(|s| (Followed::Promise, s.plan.clone(), s.x.unwrap_or(s.plan.height)));
        let about_own = |(_, plan, x): &(Followed, PlanRef, u64)| {
            evidence.done.as_ref().is_some_and(|d| d.key == done_key(*x, &plan.name))
        };
        match (promised, own) {
            (Some(_), Some(own)) if about_own(&own) => Some(own),
            (Some(promised), _) => Some(promised),
            (None, Some(own)) => Some(own),
            (None, None) => {
                let plan = self.custody.origin()?.plan.clone()?;
                let x = plan.height;
                Some((Followed::Own, plan, x))
            }
        }
    }

    fn mark_done(&mut self, followed: Followed) {
        if followed == Followed::Promise {
            return;
        }
        let done_at = self.head().map(|h| Seen { height: h.height(), hash: h.hash() });
        if let Some(run) = &mut self.shadow_proof {
            (run.done, run.done_at) = (true, done_at);
        }
        let holding = match &mut self.custody {
            Custody::Holding(h) => h,
            Custody::Offered(o) => &mut o.holding,
            Custody::Confirmed(c) => &mut c.holding,
            Custody::Empty(_) | Custody::Received(_) | Custody::Retired(_) => return,
        };
        if let Since::Run(run) = &mut holding.since {
            (run.done, run.done_at) = (true, done_at);
        }
    }

    /// No longer pending before X: a promise ends. A copy of that plan stays, until a head above X tells.
    fn revoked(&mut self, step: &mut Step, followed: Followed, plan: PlanRef) {
        if followed == Followed::Promise {
            self.call_off(&plan);
        }
        let name = plan.name.clone();
        if self.note_void(plan) {
            let facts = self.facts();
            self.record(step, facts, Event::Revoked { plan: name });
        }
    }

    fn skipped(&mut self, step: &mut Step, followed: Followed, plan: PlanRef, standing: &Standing) {
        let Some(proof) = Skipped::from_standing(standing) else { return };
        match followed {
            Followed::Promise => self.call_off(&plan),
            Followed::Own => {
                self.custody = match core::mem::replace(&mut self.custody, Custody::Empty(Empty)) {
                    Custody::Received(r) => Custody::Empty(r.void(&proof)),
                    Custody::Holding(h) => h.void(&proof),
                    Custody::Offered(o) => o.void(&proof),
                    Custody::Confirmed(c) => c.void(&proof),
                    other @ (Custody::Empty(_) | Custody::Retired(_)) => other,
                };
            }
        }
        let name = plan.name.clone();
        if self.note_void(plan) {
            let facts = self.facts();
            self.record(step, facts, Event::Skipped { plan: name });
        }
    }

    /// Keeps that the head no longer has a plan. False if that was known: then nothing has to be logged again.
    fn note_void(&mut self, plan: PlanRef) -> bool {
        let seen_at = self.head().map_or(0, |h| h.height());
        match self.void.iter_mut().find(|v| v.plan == plan) {
            Some(known) => {
                known.seen_at = known.seen_at.max(seen_at);
                false
            }
            None => {
                self.void.push(VoidPlan { plan, seen_at });
                true
            }
        }
    }

    fn call_off(&mut self, plan: &PlanRef) {
        if self.moved_on.as_ref().is_some_and(|m| m.plan == *plan) {
            self.moved_on = None;
        }
        self.custody = match core::mem::replace(&mut self.custody, Custody::Empty(Empty)) {
            Custody::Offered(o) => Custody::Holding(o.call_off()),
            Custody::Confirmed(c) => Custody::Holding(c.call_off()),
            other @ (Custody::Empty(_) | Custody::Received(_) | Custody::Holding(_) | Custody::Retired(_)) => other,
        };
    }
}
