//! The keeper: the trusted state of one enclave, and the only code that moves it.
//!
//! A keeper joins the custody state machine with what it has verified of the chain, its branch of the
//! log and the transfers it takes part in. Every operation takes untrusted bytes, verifies all of them,
//! and only then changes anything; an operation that returns an error has changed nothing. What an
//! operation says goes through a [`Context`], so it cannot leave before the state it rests on is durable.
//!
//! - [`source`]: what a holder does: hello, offer, challenge, confirm, observe, erase.
//! - [`target`]: what a receiver does: ask, accept, prove, activate, barrier receipt.
//! - [`emergency`]: what orders change.
//! - [`escrows`]: the escrow of what is held, for the lifeboat.
//! - [`begin`]: genesis, import of a legacy file, inheritance in `shadow`.

use alloc::vec::Vec;

use baton_attest::attested::Attested;
use baton_attest::identity::{Digest32, Identity, PlatformId};
use baton_attest::quote::{Purpose, QuoteTime};
use baton_chain::authorize::{AtXFacts, PlanRef};
use baton_chain::light::{LightBlock, LightClient, LightError, Path, TrustedHeader};

use crate::branch::Branch;
use crate::context::Context;
use crate::custody::{Custody, Empty, Origin, PlanRun, Since, State, VoidPlan};
use crate::handover::{AttestationError, Transfer, check_attestation};
use crate::hpke_box::RecipientKey;
use crate::keyring::{CanaryKeyring, Keyring};
use crate::log::{Event, LogFacts};
use crate::messages::Attestation;
use crate::platform::Platform;
use crate::policy::{Phase, Policy, PolicyError};
use crate::seal::{SealPolicy, Slot};
use crate::secret::AppKey;
use crate::transfers::Transfers;

pub mod begin;
pub mod emergency;
pub mod erase;
pub mod escrows;
pub mod observe;
mod sealed;
pub mod source;
pub mod target;

pub use sealed::StateError;

/// Open nonces, challenges and requests that an instance keeps in memory at most; the oldest goes first.
const MAX_OPEN: usize = 64;

/// Something that the keeper says: a message for the other enclave, and a report over it where one was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// CBOR of the message; empty where there is none.
    pub message: Vec<u8>,
    /// REPORT, 432 bytes.
    pub report: Option<Vec<u8>>,
    /// The digest that a record, a report or a challenge names.
    pub digest: Digest32,
}

/// The context of a keeper's step.
pub type Step = Context<Said>;

/// What a target holds of a rehearsal.
struct Canary {
    keyring: CanaryKeyring,
    origin: Origin,
}

/// A bounded map that forgets its oldest entry: what is open lives only in memory.
struct Open<V>(Vec<(Digest32, V)>);

impl<V> Default for Open<V> {
    fn default() -> Self {
        Open(Vec::new())
    }
}

impl<V> Open<V> {
    fn put(&mut self, key: Digest32, value: V) {
        self.0.retain(|(k, _)| *k != key);
        if self.0.len() >= MAX_OPEN {
            self.0.remove(0);
        }
        self.0.push((key, value));
    }

    fn get(&self, key: &Digest32) -> Option<&V> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v)
    }

    fn iter(&self) -> impl Iterator<Item = (&Digest32, &V)> {
        self.0.iter().map(|(k, v)| (k, v))
    }

    fn remove(&mut self, key: &Digest32) {
        self.0.retain(|(k, _)| k != key);
    }
}

/// The trusted state of one enclave.
pub struct Keeper<P: Platform> {
    platform: P,
    policy: Policy,
    identity: Identity,
    /// Drawn at every start; the instance that wrote a keyring to disk is never the one that proves it is there.
    instance: [u8; 16],
    client: Option<LightClient>,
    /// The newest date that verified collateral was signed at, in unix seconds; never moves back.
    newest_signed: u64,
    custody: Custody,
    transfers: Transfers,
    branch: Branch,
    rehearsed_as_source: bool,
    clean_shadow_upgrades: u32,
    /// In `shadow`, where serving does not wait for it: the proof at X of this build's plan.
    shadow_proof: Option<PlanRun>,
    /// The plan at X that this copy has verified for another build.
    moved_on: Option<AtXFacts>,
    /// Plans that a head has shown to be void: an older view of the chain does not bring them back.
    void: Vec<VoidPlan>,
    /// Orders that were obeyed, frozen builds, witnessed dates.
    emergencies: emergency::Emergencies,
    /// Digest of the keyring and the keys that an escrow was made for.
    escrowed: Option<Digest32>,
    /// What a source rehearses with.
    canary_to_give: Option<CanaryKeyring>,
    /// What a target has rehearsed with, in its own slot.
    canary: Option<Canary>,
    hellos: Open<()>,
    challenges: Open<[u8; 32]>,
    asked: Open<(RecipientKey, baton_chain::record::Kind)>,
}

/// Why a light block or a path was not taken. The trusted head is where it was.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// The chain evidence is refused.
    #[error(transparent)]
    Light(#[from] LightError),
    /// Not the CBOR of light blocks.
    #[error("the light blocks cannot be read: {0}; fetch them again")]
    Malformed(&'static str),
    /// No checkpoint yet.
    #[error("no trusted header yet: show the light block of the policy's checkpoint first, height {0}")]
    NoCheckpoint(u64),
}

impl<P: Platform> Keeper<P> {
    /// A keeper with nothing, for a policy that holds together.
    pub fn new(mut platform: P, policy: Policy) -> Result<Self, PolicyError> {
        policy.validate()?;
        let identity = *platform.identity();
        let mut instance = [0; 16];
        platform.random(&mut instance);
        let branch = Branch::new(&mut platform);
        Ok(Keeper {
            platform,
            policy,
            identity,
            instance,
            client: None,
            newest_signed: 0,
            custody: Custody::Empty(Empty),
            transfers: Transfers::default(),
            branch,
            rehearsed_as_source: false,
            clean_shadow_upgrades: 0,
            shadow_proof: None,
            moved_on: None,
            void: Vec::new(),
            emergencies: emergency::Emergencies::default(),
            escrowed: None,
            canary_to_give: None,
            canary: None,
            hellos: Open::default(),
            challenges: Open::default(),
            asked: Open::default(),
        })
    }

    /// Who this is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The policy that is part of this build.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The machine.
    pub fn platform_mut(&mut self) -> &mut P {
        &mut self.platform
    }

    /// What is held.
    pub fn custody(&self) -> &Custody {
        &self.custody
    }

    /// Transfers that this enclave gave.
    pub fn transfers(&self) -> &[Transfer] {
        self.transfers.as_slice()
    }

    /// The log.
    pub fn branch(&self) -> &Branch {
        &self.branch
    }

    /// The trusted head.
    pub fn head(&self) -> Option<&TrustedHeader> {
        self.client.as_ref().map(LightClient::head)
    }

    /// Heights of the headers from which any past one can be shown.
    pub fn anchors(&self) -> Vec<u64> {
        self.client.as_ref().map(|c| c.anchors().iter().map(TrustedHeader::height).collect()).unwrap_or_default()
    }

    /// A canary is held.
    pub fn rehearsed(&self) -> bool {
        self.canary.is_some()
    }

    /// A canary was handed on as the source, and confirmed.
    pub fn rehearsed_as_source(&self) -> bool {
        self.rehearsed_as_source
    }

    /// `shadow` upgrades that agreed.
    pub fn clean_shadow_upgrades(&self) -> u32 {
        self.clean_shadow_upgrades
    }

    /// X of this build's own plan, where it was proven.
    pub fn own_run(&self) -> Option<&PlanRun> {
        match self.custody.serving().map(|h| &h.since) {
            Some(Since::Run(run)) => Some(run),
            _ => self.shadow_proof.as_ref(),
        }
    }

    /// How files of this build are sealed.
    pub fn seal_policy(&self) -> SealPolicy {
        match self.policy.phase {
            Phase::Shadow => SealPolicy::Mrsigner,
            Phase::Mrenclave => SealPolicy::Mrenclave,
        }
    }

    /// Shows the light block of the policy's checkpoint. Showing it again changes nothing.
    pub fn checkpoint(&mut self, step: &mut Step, block: &[u8]) -> Result<(), HeadError> {
        if self.client.is_none() {
            let block: LightBlock = exact(block).ok_or(HeadError::Malformed("expected one light block"))?;
            self.client = Some(LightClient::from_checkpoint(&self.policy.chain, &block)?);
            step.changed(Slot::Custody);
        }
        step.send(Said::nothing());
        Ok(())
    }

    /// Follows the chain to a later header.
    pub fn advance(&mut self, step: &mut Step, path: &[u8]) -> Result<(), HeadError> {
        let path: Path = exact(path).ok_or(HeadError::Malformed("expected a path of light blocks"))?;
        let mut client = self.client()?.clone();
        client.advance(&path)?;
        self.client = Some(client);
        step.changed(Slot::Custody);
        step.send(Said::nothing());
        Ok(())
    }

    /// The key of an app for an epoch; only a serving copy has any.
    pub fn app_key(&self, epoch: u64, label: &str) -> Option<AppKey> {
        self.custody.serving()?.keyring.app_key(&self.policy.chain.chain_id, epoch, label)
    }

    /// The newest epoch of a serving copy.
    pub fn newest_epoch(&self) -> Option<u64> {
        self.custody.serving().map(|h| h.keyring.newest_epoch())
    }

    /// The key of an app under the canary of a rehearsal: the one that was received, or the one to give.
    pub fn canary_key(&self, as_source: bool, label: &str) -> Option<AppKey> {
        let received = self.canary.as_ref().map(|c| &c.keyring);
        let ring = if as_source { self.canary_to_give.as_ref() } else { received }?;
        ring.app_key(&self.policy.chain.chain_id, ring.newest_epoch(), label)
    }

    /// The host has stored the first `size` log entries.
    pub fn log_stored(&mut self, step: &mut Step, size: u64) {
        if self.branch.stored(size) {
            step.changed(Slot::Custody);
        }
        step.send(Said::nothing());
    }

    fn client(&self) -> Result<&LightClient, HeadError> {
        self.client.as_ref().ok_or(HeadError::NoCheckpoint(self.policy.chain.checkpoint.height))
    }

    /// Collateral time: the later of block time and the newest signed date. It never moves back.
    fn quote_time(&self) -> QuoteTime {
        match self.head() {
            Some(head) => self.quote_time_at(head),
            None => QuoteTime(self.newest_signed),
        }
    }

    /// The same, once the head has moved to a later header.
    fn quote_time_at(&self, head: &TrustedHeader) -> QuoteTime {
        QuoteTime(u64::try_from(head.time().secs).unwrap_or(0).max(self.newest_signed))
    }

    /// Checks who made a message, by this enclave's TCB policy.
    fn attested(
        &self,
        time: QuoteTime,
        purpose: Purpose,
        attestation: &Attestation,
        digest: &Digest32,
    ) -> Result<Attested, AttestationError> {
        check_attestation(&self.platform, &self.policy.tcb, time, purpose, attestation, digest)
    }

    /// What a checked quote adds to collateral time.
    fn note_signed_date(&mut self, attested: &Attested) {
        if let Attested::Quoted(q) = attested {
            self.newest_signed = self.newest_signed.max(q.newest_signed_date().0);
        }
    }

    /// The head at which a plan was seen to be void, if `shown_at` is an older view than that.
    fn void_since(&self, plan: &PlanRef, shown_at: u64) -> Option<u64> {
        self.void.iter().find(|v| v.plan == *plan && shown_at < v.seen_at).map(|v| v.seen_at)
    }

    fn facts(&self) -> LogFacts {
        LogFacts {
            height: self.head().map(TrustedHeader::height),
            epoch: self.custody.keyring().map(Keyring::newest_epoch),
            ..LogFacts::default()
        }
    }

    /// Appends to the log and marks the custody slot.
    fn record(&mut self, step: &mut Step, facts: LogFacts, event: Event) {
        self.branch.append(facts, event);
        step.changed(Slot::Custody);
    }

    /// This machine, as the record that gave the keyring names it.
    pub fn own_platform(&self) -> PlatformId {
        self.custody.origin().map_or(PlatformId::UNKNOWN, |o| o.platform)
    }

    fn draw(&mut self) -> [u8; 32] {
        let mut out = [0; 32];
        self.platform.random(&mut out);
        out
    }

    /// A report of this enclave over `digest`, for the TARGETINFO that a host names. A report says only what is true, so any host may ask.
    fn report(&self, target: &[u8], digest: &Digest32) -> Result<Vec<u8>, BadTargetInfo> {
        report_over(&self.platform, target, digest)
    }
}

/// A program's report over `digest`, for the TARGETINFO (512 bytes) that a host names.
pub fn report_over<P: Platform>(platform: &P, target: &[u8], digest: &Digest32) -> Result<Vec<u8>, BadTargetInfo> {
    let bad = BadTargetInfo { got: target.len() };
    let target: &[u8; 512] = target.try_into().map_err(|_| bad)?;
    let target = baton_attest::report::TargetInfo::parse(target).map_err(|_| bad)?;
    Ok(platform.report(&target, &crate::messages::report_data(digest)).to_vec())
}

/// What a host named as TARGETINFO is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("TARGETINFO of {got} bytes cannot be read: expected 512 bytes (Intel SDM vol. 3D, TARGETINFO)")]
pub struct BadTargetInfo {
    /// Bytes given.
    pub got: usize,
}

/// A plan that is void, shown by a view of the chain from before that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the plan {name:?} is void: it is shown at height {shown_at}, and the head {seen_at} no longer had it; follow what the chain plans now")]
pub struct PlanIsVoid {
    /// Its name.
    pub name: alloc::string::String,
    /// Height of the header that shows it.
    pub shown_at: u64,
    /// Height of the head that did not.
    pub seen_at: u64,
}

/// A state in which the operation makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("custody is {got}, expected {expected}")]
pub struct WrongState {
    /// What it should be.
    pub expected: &'static str,
    /// What it is.
    pub got: State,
}

impl Said {
    /// Done, and nothing to carry.
    pub fn nothing() -> Self {
        Said { message: Vec::new(), report: None, digest: Digest32([0; 32]) }
    }
}

/// Decodes one CBOR value and nothing after it.
fn exact<'b, T: minicbor::Decode<'b, ()>>(bytes: &'b [u8]) -> Option<T> {
    if bytes.len() > MAX_EVIDENCE_BYTES {
        return None;
    }
    crate::cbor::decode_exact(bytes)
}

/// Largest evidence that is looked at, in bytes (64 MiB).
pub const MAX_EVIDENCE_BYTES: usize = 64 << 20;

