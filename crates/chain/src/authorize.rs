//! The judges: from evidence to an [`Authorization`], the one thing in the code that permits a transfer of a keyring.
//!
//! The caller owns the light client and moves its head (`to_head` of the evidence) before it asks. Nothing else makes
//! an authorization (DESIGN section 8 will be another judge, here). Each refusal is a variant of its own and names the
//! rule that it keeps. Which route needs what:
//!
//! | route | head or header | record |
//! | --- | --- | --- |
//! | ahead | trusted head in the lead window, below the plan's height | always, at or below the head |
//! | at X | header X, however old; on one machine also the one at the plan's height less one | to another machine |
//! | fresh (`join`, `sync`) | trusted head | always, at or below the head |
//!
//! Never: a PASSED proposal and a done key without the plan at X (A23): no judge here reads a done key to authorize.

use alloc::boxed::Box;
use alloc::string::String;

use baton_attest::attested::Attested;
use baton_attest::identity::{Digest32, Identity, Measurement, PlatformId, Signer, hash};
use baton_attest::policy::{BuildError, BuildRules};
use minicbor::{Decode, Encode};

use crate::admission::{Admission, AdmissionError, AdmissionEvidence, Admitted, admit};
use crate::evidence::{
    AtXEvidence, HeaderEvidence, MAX_LINKS, PublicationEvidence, RecordEvidence, StandingEvidence, UpgradeEvidence,
    VoteEndEvidence,
};
use crate::gov::{Plan, UPGRADE_STORE, done_key};
use crate::info::NamedBuild;
use crate::light::{LightClient, LightError, TrustedHeader};
use crate::policy::ChainPolicy;
use crate::proofs::{ProofError, StateProof, verify_state};
use crate::publication::{PublicationError, Published};
use crate::record::{Kind, Record, RecordMismatch};
use crate::vote::{Decided, Vote, VoteEnd, VoteError, expect_key, pending_plan};

/// A rule of DESIGN section 4, as reports name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Rule 1: a seed is only ever inside an enclave whose identity has a verified authorization.
    Secrecy,
    /// Rule 4: a public record precedes every copy.
    PublicBeforePrivate,
    /// Rule 5: one authorized build at a time, on a fresh view of the chain.
    OneTarget,
    /// Rule 7: never to a lower svn, a debug enclave, an unlisted signer.
    NoDowngrade,
}

impl core::fmt::Display for Rule {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Rule::Secrecy => "secrecy",
            Rule::PublicBeforePrivate => "public before private",
            Rule::OneTarget => "one target",
            Rule::NoDowngrade => "no downgrade",
        })
    }
}

/// One plan, by everything that the chain stores of it: two plans may share name and height and name different builds.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct PlanRef {
    /// Its name.
    #[n(0)]
    pub name: String,
    /// The first height that may run it.
    #[n(1)]
    pub height: u64,
    /// SHA-256(`"baton plan v1"`, name, height (8 bytes, big endian), info).
    #[n(2)]
    pub digest: Digest32,
}

impl PlanRef {
    fn new(name: &str, height: u64, info: &str) -> PlanRef {
        let digest = hash("baton plan v1", &[name.as_bytes(), &height.to_be_bytes(), info.as_bytes()]);
        PlanRef { name: name.into(), height, digest }
    }

    fn of(plan: &Plan) -> Option<PlanRef> {
        Some(PlanRef::new(&plan.name, u64::try_from(plan.height).ok()?, &plan.info))
    }

    fn voted(vote: &Vote) -> PlanRef {
        PlanRef::new(vote.plan_name(), vote.plan_height(), vote.plan_info())
    }
}

/// By which view of the chain a transfer is permitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Route {
    /// The plan is pending at this fresh head, below X.
    #[n(0)]
    Ahead {
        /// Height of the head.
        #[n(0)]
        head: u64,
    },
    /// The plan was pending when the chain ran it or halted for it.
    #[n(1)]
    AtX {
        /// Height of the header that shows it.
        #[n(0)]
        shown_at: u64,
        /// The execution height.
        #[n(1)]
        x: u64,
    },
    /// No plan: the same build, at this fresh head.
    #[n(2)]
    Fresh {
        /// Height of the head.
        #[n(0)]
        head: u64,
    },
}

/// What an authorization says, as data for logs and sealed state. It permits nothing by itself.
///
/// ```
/// assert!(minicbor::decode::<baton_chain::authorize::Facts>(&[]).is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Facts {
    /// The chain id of the header that showed it.
    #[n(1)]
    pub chain_id: String,
    /// What the transfer is for.
    #[n(2)]
    pub kind: Kind,
    /// Digest of the giving enclave's identity.
    #[n(3)]
    pub source: Digest32,
    /// The receiving enclave's identity.
    #[n(4)]
    pub target: Identity,
    /// The plan; none for `join` and `sync`.
    #[n(5)]
    pub plan: Option<PlanRef>,
    /// The proposal; 0 without one.
    #[n(6)]
    pub proposal_id: u64,
    /// The route.
    #[n(7)]
    pub route: Route,
    /// Digest of the public record; none on one machine by the route *at X*.
    #[n(8)]
    pub record: Option<Digest32>,
    /// From this head on it is void; none: it stays.
    #[n(9)]
    pub expires_at: Option<u64>,
    /// Height and hash of the header that showed it.
    #[n(10)]
    pub shown_at: u64,
    /// Hash of that header.
    #[cbor(n(11), with = "minicbor::bytes")]
    pub shown_hash: [u8; 32],
    /// Who admitted the target's machine; none on one machine, and where the policy admits any.
    #[n(12)]
    pub admitted: Option<Admitted>,
}

/// What verified evidence permits: from this build, to this build, for this plan, in this window. No other crate can make one:
///
/// ```compile_fail
/// fn forge(facts: baton_chain::authorize::Facts) -> baton_chain::authorize::Authorization {
///     baton_chain::authorize::Authorization(facts)
/// }
/// ```
/// ```compile_fail
/// fn forge(bytes: &[u8]) -> baton_chain::authorize::Authorization {
///     minicbor::decode(bytes).unwrap()
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization(Facts);

impl Authorization {
    /// What it says.
    pub fn facts(&self) -> &Facts {
        &self.0
    }

    /// Still usable at a trusted head of this height?
    pub fn check_head(&self, head: u64) -> Result<(), AuthorizeError> {
        match self.0.expires_at {
            Some(expires_at) if head >= expires_at => Err(AuthorizeError::Expired { expires_at, head }),
            _ => Ok(()),
        }
    }
}

/// What is asked for: the target as its attestation shows it, and what its record must say.
#[derive(Clone, Copy, Debug)]
pub struct Transfer<'a> {
    /// The verified target.
    pub target: &'a Attested,
    /// The newest epoch that crosses.
    pub epoch: u64,
    /// Digest of the request, which contains the source's nonce.
    pub request: Digest32,
    /// The machine of a target on this machine: the one in the record that gave the source its keyring, or zeros.
    pub local_platform: PlatformId,
}

impl Transfer<'_> {
    fn is_local(&self) -> bool {
        matches!(self.target, Attested::Local(_))
    }

    /// The record that this transfer needs.
    pub fn record(&self, kind: Kind, proposal_id: u64) -> Record {
        Record {
            kind,
            epoch: self.epoch,
            proposal_id,
            platform: self.target.platform().unwrap_or(self.local_platform),
            target: self.target.identity().digest(),
            request: self.request,
        }
    }
}

/// Why a target is not the one that may receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Another build.
    #[error("measurement: the plan names {expected}, the target is {got}")]
    Measurement {
        /// As voted.
        expected: Measurement,
        /// As attested.
        got: Measurement,
    },
    /// The plan names its signer, and it is another one.
    #[error("signer: the plan names {expected}, the target's is {got}")]
    NamedSigner {
        /// As voted.
        expected: Signer,
        /// As attested.
        got: Signer,
    },
    /// The plan names a product id, and it is another one.
    #[error("product id: the plan names {expected}, the target has {got}")]
    NamedProductId {
        /// As voted.
        expected: u16,
        /// As attested.
        got: u16,
    },
    /// Below what the plan asks for.
    #[error("svn: the plan asks for at least {least}, the target has {got}")]
    NamedSvn {
        /// As voted.
        least: u16,
        /// As attested.
        got: u16,
    },
    /// Below the giving build's own.
    #[error("svn: this build has {source_svn}, the target has {got}: never a lower one")]
    Downgrade {
        /// The source's.
        source_svn: u16,
        /// As attested.
        got: u16,
    },
    /// DEBUG, launch settings, unlisted signer, product id or svn outside the policy.
    #[error(transparent)]
    Rules(BuildError),
    /// `join` and `sync` go to the same identity only.
    #[error("identity: expected this build's own {expected}, got {got}")]
    OtherIdentity {
        /// Digest of the source's identity.
        expected: Digest32,
        /// Digest of the target's.
        got: Digest32,
    },
}

/// Why nothing is authorized.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AuthorizeError {
    /// A header could not be shown.
    #[error(transparent)]
    Light(#[from] LightError),
    /// The vote does not hold.
    #[error(transparent)]
    Vote(#[from] VoteError),
    /// Before the lead window, nothing is offered.
    #[error("too early: the lead window of plan height {plan_height} opens at head {opens}, the trusted head is {head}; wait")]
    BeforeWindow {
        /// The plan's height.
        plan_height: u64,
        /// First height of the window.
        opens: u64,
        /// The trusted head.
        head: u64,
    },
    /// At X or above, the route *ahead* is closed.
    #[error("the head {head} is at or above the plan's height {plan_height}: bring the evidence of X instead")]
    WindowClosed {
        /// The plan's height.
        plan_height: u64,
        /// The trusted head.
        head: u64,
    },
    /// The header is below X.
    #[error("header {shown_at} is not at X: expected a height of at least {least}")]
    NotAtX {
        /// The header that was shown.
        shown_at: u64,
        /// The least height that serves.
        least: u64,
    },
    /// The plan changes no build.
    #[error("the plan {name:?} names no enclave: it changes no build, and there is nothing to hand over")]
    NoBuild {
        /// The plan's name.
        name: String,
    },
    /// The plan names the running build.
    #[error("the plan {name:?} names the running build {measurement}: nothing to hand over")]
    NoOp {
        /// The plan's name.
        name: String,
        /// This build.
        measurement: Measurement,
    },
    /// The target may not receive.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The target's machine may not receive.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// To another machine a record always comes first.
    #[error("no public record: a target on another machine needs one, at or below header {shown_at}; or join from a peer of the new build")]
    NoRecord {
        /// The header that shows the plan.
        shown_at: u64,
    },
    /// No record is in the block.
    #[error(transparent)]
    Publication(#[from] PublicationError),
    /// The record announces another transfer.
    #[error(transparent)]
    Record(#[from] RecordMismatch),
    /// The record is newer than what it should make fresh.
    #[error("the record is in block {record}, above the header {shown_at} that shows the rest: bring a head at or above it")]
    RecordAboveHead {
        /// Height of the record's block.
        record: u64,
        /// Height of the header that shows the rest.
        shown_at: u64,
    },
    /// The chain has moved on to another build.
    #[error("the chain moved on to build {to} at X = {x}: this build no longer admits its own kind; join from a peer of that build")]
    MovedOn {
        /// The build that the plan at X names.
        to: Measurement,
        /// The execution height.
        x: u64,
    },
    /// The plan at X is another build's.
    #[error("the plan at X names {expected}, this build is {got}: it may not serve")]
    NotThisBuild {
        /// As voted.
        expected: Measurement,
        /// This build.
        got: Measurement,
    },
    /// Only two kinds have neither vote nor canary.
    #[error("kind {got} is not authorized by a record alone: expected join or sync")]
    KindNeedsMore {
        /// What was asked for.
        got: Kind,
    },
    /// It was for a view of the chain that is past.
    #[error("the authorization was good below head {expires_at}, the head is {head}: bring the evidence of X instead")]
    Expired {
        /// From here on void.
        expires_at: u64,
        /// The trusted head.
        head: u64,
    },
}

impl AuthorizeError {
    /// The rule that the refusal keeps.
    pub fn rule(&self) -> Rule {
        use AuthorizeError as E;
        match self {
            E::Vote(VoteError::NoPlan { .. } | VoteError::OtherPlan { .. }) => Rule::OneTarget,
            E::Light(_) | E::Admission(_) | E::Vote(_) | E::NoBuild { .. } | E::NotThisBuild { .. } => Rule::Secrecy,
            E::BeforeWindow { .. } | E::WindowClosed { .. } | E::NotAtX { .. } | E::Expired { .. } => Rule::OneTarget,
            E::NoOp { .. } | E::MovedOn { .. } => Rule::OneTarget,
            E::Target(TargetError::Measurement { .. } | TargetError::OtherIdentity { .. }) => Rule::Secrecy,
            E::Target(_) => Rule::NoDowngrade,
            E::NoRecord { .. } | E::Publication(_) | E::Record(_) | E::RecordAboveHead { .. } => Rule::PublicBeforePrivate,
            E::KindNeedsMore { .. } => Rule::Secrecy,
        }
    }
}

/// Everything that a judgement stands on beside the evidence. The light client's head must already be where the evidence leads.
#[derive(Clone, Copy, Debug)]
pub struct Judge<'a> {
    /// The chain's section of the policy.
    pub policy: &'a ChainPolicy,
    /// The builds' section of the policy.
    pub rules: &'a BuildRules,
    /// The judging enclave's own identity.
    pub own: &'a Identity,
    /// Its light client.
    pub light: &'a LightClient,
    /// To which machines a seed may cross.
    pub admission: Admission,
}

impl Judge<'_> {
    /// The route *ahead*: plan.height - lead_blocks <= head < plan.height, plan and proposal at that head, and a record.
    pub fn ahead(&self, transfer: &Transfer, evidence: &UpgradeEvidence) -> Result<Authorization, AuthorizeError> {
        let head = self.light.head();
        let decided = Decided::verify(head, &evidence.plan, &evidence.proposal)?;
        self.check_window(decided.plan_height(), head.height())?;
        let vote = self.weigh(decided, &evidence.vote_end)?;
        self.check_target(&vote, transfer.target.identity())?;
        let expected = transfer.record(Kind::Upgrade, vote.proposal_id());
        let record = self.check_record(&expected, &evidence.publication, head.height())?;
        let granted = Granted {
            route: Route::Ahead { head: head.height() },
            record: Some(record),
            expires_at: Some(vote.plan_height()),
            admitted: self.check_admission(transfer, head, evidence.admission.as_ref())?,
        };
        Ok(self.grant(transfer, &vote, granted))
    }

    /// The route *at X*. Unrecorded only where the target is on this machine.
    pub fn at_x(&self, transfer: &Transfer, evidence: &AtXEvidence) -> Result<Authorization, AuthorizeError> {
        let header = show(self.light, &evidence.x)?;
        let PlanAtX { vote, x } = self.plan_under(&header, evidence)?;
        if !transfer.is_local() && vote.shown_at() < vote.plan_height() {
            return Err(AuthorizeError::NotAtX { shown_at: vote.shown_at(), least: vote.plan_height() });
        }
        self.check_target(&vote, transfer.target.identity())?;
        let expected = transfer.record(Kind::Upgrade, vote.proposal_id());
        let record = match &evidence.publication {
            Some(publication) => Some(self.check_record(&expected, publication, vote.shown_at())?),
            None if transfer.is_local() => None,
            None => return Err(AuthorizeError::NoRecord { shown_at: vote.shown_at() }),
        };
        let granted = Granted {
            route: Route::AtX { shown_at: vote.shown_at(), x },
            record,
            expires_at: None,
            admitted: self.check_admission(transfer, &header, evidence.admission.as_ref())?,
        };
        Ok(self.grant(transfer, &vote, granted))
    }

    /// `join` and `sync`: the same identity, a record, a fresh head. `moved_on` is the plan at X that this enclave has
    /// verified, if any: once the chain runs another build, this one admits no more of its kind.
    pub fn same_build(
        &self,
        kind: Kind,
        transfer: &Transfer,
        evidence: &RecordEvidence,
        moved_on: Option<&AtXFacts>,
    ) -> Result<Authorization, AuthorizeError> {
        match kind {
            Kind::Join | Kind::Sync => {}
            Kind::Upgrade | Kind::Rehearsal => return Err(AuthorizeError::KindNeedsMore { got: kind }),
        }
        if let Some((to, x)) = moved_on.and_then(|m| m.measurement.map(|to| (to, m.x)))
            && to != self.own.measurement
        {
            return Err(AuthorizeError::MovedOn { to, x });
        }
        let target = transfer.target.identity();
        if target != self.own {
            return Err(TargetError::OtherIdentity { expected: self.own.digest(), got: target.digest() }.into());
        }
        // A signer that an earlier vote named need not be listed: it is this running build's own.
        self.rules.check_also(target, Some(self.own.signer)).map_err(TargetError::Rules)?;
        let head = self.light.head();
        let record = self.check_record(&transfer.record(kind, 0), &evidence.publication, head.height())?;
        let admitted = self.check_admission(transfer, head, evidence.admission.as_ref())?;
        Ok(Authorization(Facts {
            chain_id: head.chain_id().into(),
            kind,
            source: self.own.digest(),
            target: *target,
            plan: None,
            proposal_id: 0,
            route: Route::Fresh { head: head.height() },
            record: Some(record),
            expires_at: None,
            shown_at: head.height(),
            shown_hash: head.hash(),
            admitted,
        }))
    }

    /// Verifies what the chain had planned when it ran, or halted for, an upgrade, whichever build it names.
    pub fn plan_at_x(&self, evidence: &AtXEvidence) -> Result<PlanAtX, AuthorizeError> {
        self.plan_under(&show(self.light, &evidence.x)?, evidence)
    }

    fn plan_under(&self, header: &TrustedHeader, evidence: &AtXEvidence) -> Result<PlanAtX, AuthorizeError> {
        let decided = Decided::verify(header, &evidence.plan, &evidence.proposal)?;
        let (plan_height, shown_at) = (decided.plan_height(), header.height());
        let least = plan_height.saturating_sub(1);
        if shown_at < least {
            return Err(AuthorizeError::NotAtX { shown_at, least });
        }
        Ok(PlanAtX { x: shown_at.max(plan_height), vote: self.weigh(decided, &evidence.vote_end)? })
    }

    /// This enclave's own activation: the plan at X names the very build that runs here.
    pub fn activation(&self, evidence: &AtXEvidence) -> Result<Activation, AuthorizeError> {
        let at_x = self.plan_at_x(evidence)?;
        let build = named(&at_x.vote)?;
        if build.measurement != self.own.measurement {
            return Err(AuthorizeError::NotThisBuild { expected: build.measurement, got: self.own.measurement });
        }
        check_named(build, &at_x.vote, self.rules, self.own)?;
        Ok(Activation(at_x.facts()))
    }

    fn weigh(&self, decided: Decided, end: &VoteEndEvidence) -> Result<Vote, AuthorizeError> {
        Ok(decided.weigh(self.policy, &VoteEnd::show(self.light, end)?)?)
    }

    /// By whom the target's machine was admitted, under the header that shows the rest.
    fn check_admission(
        &self,
        transfer: &Transfer,
        header: &TrustedHeader,
        evidence: Option<&AdmissionEvidence>,
    ) -> Result<Option<Admitted>, AdmissionError> {
        admit(self.policy, self.admission, self.light, header, transfer.target.platform(), evidence)
    }

    fn check_window(&self, plan_height: u64, head: u64) -> Result<(), AuthorizeError> {
        let opens = plan_height.saturating_sub(self.policy.lead_blocks);
        if head >= plan_height {
            return Err(AuthorizeError::WindowClosed { plan_height, head });
        }
        if head < opens {
            return Err(AuthorizeError::BeforeWindow { plan_height, opens, head });
        }
        Ok(())
    }

    fn check_target(&self, vote: &Vote, target: &Identity) -> Result<(), AuthorizeError> {
        let build = named(vote)?;
        if build.measurement == self.own.measurement {
            return Err(AuthorizeError::NoOp { name: vote.plan_name().into(), measurement: build.measurement });
        }
        check_named(build, vote, self.rules, target)?;
        if target.svn < self.own.svn {
            return Err(TargetError::Downgrade { source_svn: self.own.svn, got: target.svn }.into());
        }
        Ok(())
    }

    fn check_record(
        &self,
        expected: &Record,
        evidence: &PublicationEvidence,
        shown_at: u64,
    ) -> Result<Digest32, AuthorizeError> {
        let header = show(self.light, &evidence.header)?;
        if header.height() > shown_at {
            return Err(AuthorizeError::RecordAboveHead { record: header.height(), shown_at });
        }
        let published = Published::verify(&header, evidence)?;
        published.record().check(expected)?;
        Ok(published.record().digest())
    }

    fn grant(&self, transfer: &Transfer, vote: &Vote, granted: Granted) -> Authorization {
        Authorization(Facts {
            chain_id: vote.chain_id().into(),
            kind: Kind::Upgrade,
            source: self.own.digest(),
            target: *transfer.target.identity(),
            plan: Some(PlanRef::voted(vote)),
            proposal_id: vote.proposal_id(),
            route: granted.route,
            record: granted.record,
            expires_at: granted.expires_at,
            shown_at: vote.shown_at(),
            shown_hash: vote.shown_hash(),
            admitted: granted.admitted,
        })
    }
}

/// What differs between the two routes of a vote.
struct Granted {
    route: Route,
    record: Option<Digest32>,
    expires_at: Option<u64>,
    admitted: Option<Admitted>,
}

fn named(vote: &Vote) -> Result<&NamedBuild, AuthorizeError> {
    vote.build().ok_or_else(|| AuthorizeError::NoBuild { name: vote.plan_name().into() })
}

/// MRENCLAVE covers neither signer nor attributes nor product id (A04): each is compared by itself.
fn check_named(build: &NamedBuild, vote: &Vote, rules: &BuildRules, target: &Identity) -> Result<(), TargetError> {
    if target.measurement != build.measurement {
        return Err(TargetError::Measurement { expected: build.measurement, got: target.measurement });
    }
    if let Some(expected) = build.signer.filter(|s| *s != target.signer) {
        return Err(TargetError::NamedSigner { expected, got: target.signer });
    }
    if let Some(expected) = build.product_id.filter(|p| *p != target.product_id) {
        return Err(TargetError::NamedProductId { expected, got: target.product_id });
    }
    if let Some(least) = build.svn.filter(|s| *s > target.svn) {
        return Err(TargetError::NamedSvn { least, got: target.svn });
    }
    let voted = build.signer.filter(|_| vote.overrides_signer());
    rules.check_also(target, voted).map_err(TargetError::Rules)
}

/// Shows a header from the best one that the client keeps; the trusted head does not move.
pub fn show(light: &LightClient, evidence: &HeaderEvidence) -> Result<TrustedHeader, LightError> {
    if evidence.links.len() > MAX_LINKS {
        return Err(LightError::Links { limit: MAX_LINKS, got: evidence.links.len() });
    }
    let mut header = if evidence.path.blocks.is_empty() {
        light.head().clone()
    } else {
        light.show(&evidence.path)?.pop().ok_or(LightError::EmptyPath)?
    };
    for below in &evidence.links {
        header = header.parent(below)?;
    }
    Ok(header)
}

/// The plan that the chain had pending at X, with its vote. Only [`Judge::plan_at_x`] makes one:
///
/// ```compile_fail
/// fn forge(vote: baton_chain::vote::Vote) -> baton_chain::authorize::PlanAtX {
///     baton_chain::authorize::PlanAtX { vote, x: 1 }
/// }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct PlanAtX {
    vote: Vote,
    x: u64,
}

impl PlanAtX {
    /// The vote.
    pub fn vote(&self) -> &Vote {
        &self.vote
    }

    /// What a log or a sealed state keeps of it.
    pub fn facts(&self) -> AtXFacts {
        AtXFacts {
            chain_id: self.vote.chain_id().into(),
            plan: PlanRef::voted(&self.vote),
            proposal_id: self.vote.proposal_id(),
            measurement: self.vote.measurement(),
            x: self.x,
            shown_at: self.vote.shown_at(),
            shown_hash: self.vote.shown_hash(),
        }
    }
}

/// What a verified plan at X says, as data. Believe it only from bytes that this very enclave sealed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AtXFacts {
    /// The chain id of the header.
    #[n(1)]
    pub chain_id: String,
    /// The plan.
    #[n(2)]
    pub plan: PlanRef,
    /// Its proposal.
    #[n(3)]
    pub proposal_id: u64,
    /// The build that it names; none: it changes no build.
    #[n(4)]
    pub measurement: Option<Measurement>,
    /// The execution height.
    #[n(5)]
    pub x: u64,
    /// Height of the header that shows it: X, or on one machine the plan's height less one.
    #[n(6)]
    pub shown_at: u64,
    /// Hash of that header.
    #[cbor(n(7), with = "minicbor::bytes")]
    pub shown_hash: [u8; 32],
}

/// The running build is the one of the plan at X: it may derive app keys. Only [`Judge::activation`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activation(AtXFacts);

impl Activation {
    /// What it says.
    pub fn facts(&self) -> &AtXFacts {
        &self.0
    }
}

/// Where a plan stands at the trusted head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Still pending, all of it the same.
    Pending,
    /// Another plan is pending before X: this one is revoked.
    Superseded {
        /// The pending one.
        by: Box<PlanRef>,
    },
    /// No plan is pending before X: it was cancelled.
    Cancelled,
    /// The head is above X, and a plan of this name ran at X. Which one, only a plan at X says (A23).
    NameDone,
    /// The head is above X, with neither this plan nor its done key: skipped, or cancelled in the last block.
    Skipped,
}

/// Why a standing cannot be told.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StandingError {
    /// A proof of the plan fails.
    #[error(transparent)]
    Vote(#[from] VoteError),
    /// A proof of the done key fails.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// The head is above X, so the done key decides.
    #[error("the head {head} is above X = {x}, and the plan is no longer pending: bring the done key or its absence")]
    NoDoneProof {
        /// The execution height.
        x: u64,
        /// The trusted head.
        head: u64,
    },
}

/// Where `plan` stands at the light client's head. `x` is its execution height where a plan at X was verified, else `plan.height`.
pub fn standing(
    light: &LightClient,
    plan: &PlanRef,
    x: u64,
    evidence: &StandingEvidence,
) -> Result<Standing, StandingError> {
    let head = light.head();
    let pending = pending_plan(head, &evidence.plan)?;
    let pending = pending.as_ref().and_then(PlanRef::of);
    if pending.as_ref() == Some(plan) {
        return Ok(Standing::Pending);
    }
    if head.height() > x {
        return match done(head, plan, x, evidence.done.as_ref())? {
            true => Ok(Standing::NameDone),
            false => Ok(Standing::Skipped),
        };
    }
    Ok(match pending {
        Some(by) => Standing::Superseded { by: Box::new(by) },
        None => Standing::Cancelled,
    })
}

fn done(head: &TrustedHeader, plan: &PlanRef, x: u64, proof: Option<&StateProof>) -> Result<bool, StandingError> {
    let proof = proof.ok_or(StandingError::NoDoneProof { x, head: head.height() })?;
    expect_key("done key", proof, UPGRADE_STORE, &done_key(x, &plan.name))?;
    Ok(verify_state(head, proof)?.value().is_some())
}

#[cfg(test)]
mod tests;
