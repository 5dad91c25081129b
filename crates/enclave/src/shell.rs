//! The shell around the keeper: requests in, sealed files and replies out.
//!
//! The one invariant here: what a step wants to say is held in memory until the host has brought back,
//! from its disk, a file of this slot and generation that opens. A host that drops the file gets
//! nothing; a host that dies is started again and asks again.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use baton_attest::identity::{Digest32, encode};
use baton_core::context::{Alarm, Context};
use baton_core::keeper::source::OfferEvidence as CoreEvidence;
use baton_core::keeper::{Keeper, Said, StateError, Step};
use baton_core::messages::Attestation;
use baton_core::platform::Platform;
use baton_core::policy::{Policy, PolicyError};
use baton_core::seal::Slot;
use baton_core::secret::AppKey;

use crate::link::Program;
use crate::refusal::{Refuses, rule};
use crate::vault;
use crate::wire::{
    EmergencyStatus, EscrowStatus, OfferEvidence, OwnPlan, Refusal, Reply, Request, Response, SealedFile, Status, TransferStatus, Under,
};

/// Largest request that is read, in bytes (72 MiB: evidence of a long path, and what is around it).
pub const MAX_REQUEST_BYTES: usize = 72 << 20;

/// Log entries that wait for the host at most. They are part of the sealed state, which has a size of its own.
pub const MAX_UNSTORED_ENTRIES: usize = 1024;

/// Why the enclave did not start. Its files stay as they are.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The policy does not hold together.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A sealed file is refused.
    #[error(transparent)]
    State(#[from] StateError),
}

/// How the vault writes a record.
type Seal = fn(&AppKey, u64, [u8; 12], &str, &[u8]) -> Result<vault::Record, vault::VaultError>;

/// What waits for the disk.
struct Waiting {
    /// Slot, generation and digest of each file.
    files: Vec<(Slot, u64, Digest32)>,
    reply: Reply,
}

/// A running enclave.
pub struct Enclave<P: Platform> {
    keeper: Keeper<P>,
    custody_generation: u64,
    rehearsal_generation: u64,
    app: bool,
    waiting: Option<Waiting>,
    /// Sealing failed after a step: what is in memory is not what any file holds, so nothing more is said.
    failed: bool,
    /// What people should see with the next response.
    alarms: Vec<Alarm>,
}

/// How to start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Start<'a> {
    /// The newest custody file, if there is one.
    pub custody: Option<&'a [u8]>,
    /// The newest rehearsal file, if there is one.
    pub rehearsal: Option<&'a [u8]>,
    /// The highest generation that the host has seen on disk for each slot, openable or not: files are never written under a number that is taken.
    pub seen: (u64, u64),
    /// Leave the app switched off: nothing but sealed file, light blocks, proofs, handover.
    pub custody_only: bool,
}

impl<P: Platform> Enclave<P> {
    /// Starts the trusted program; the restart path is this path.
    pub fn start(platform: P, policy: Policy, how: Start<'_>) -> Result<Self, StartError> {
        let (mut keeper, custody) = match how.custody {
            Some(file) => Keeper::open(platform, policy, file)?,
            None => (Keeper::new(platform, policy)?, 0),
        };
        let mut alarms = Vec::new();
        // A canary is worth one more rehearsal and nothing else: no file of it may stand in front of a keyring.
        let rehearsal = how.rehearsal.map_or(Ok(0), |file| keeper.open_rehearsal(file)).unwrap_or_else(|e| {
            let text = alloc::format!("the rehearsal file is left aside: {e}; rehearse again");
            alarms.push(Alarm { code: "rehearsal-unreadable".into(), text });
            0
        });
        Ok(Enclave {
            keeper,
            custody_generation: custody.max(how.seen.0),
            rehearsal_generation: rehearsal.max(how.seen.1),
            app: !how.custody_only,
            waiting: None,
            failed: false,
            alarms,
        })
    }

    /// The keeper, to read.
    pub fn keeper(&self) -> &Keeper<P> {
        &self.keeper
    }

    /// True while the app may use the keyring: it is switched on, this copy serves, and what made it serve is
    /// in a sealed file that came back from the disk. What it encrypted before that could be lost with the key.
    pub fn app_may_run(&self) -> bool {
        self.app && !self.failed && self.waiting.is_none() && self.keeper.custody().serving().is_some()
    }

    /// Handles one request, bytes to bytes.
    pub fn handle_bytes(&mut self, request: &[u8]) -> Vec<u8> {
        let response = if request.len() > MAX_REQUEST_BYTES {
            refused("request/Oversized", rule::PROGRESS, "the request is too large: expected at most 72 MiB")
        } else {
            let mut d = minicbor::Decoder::new(request);
            match d.decode::<Request>() {
                Ok(_) if d.position() != request.len() => {
                    refused("request/Malformed", rule::PROGRESS, "the request has bytes after its end")
                }
                Ok(r) => self.handle(&r),
                Err(e) => refused("request/Malformed", rule::PROGRESS, &alloc::format!("the request cannot be read: {e}")),
            }
        };
        encode(&response)
    }

    /// Handles one request.
    pub fn handle(&mut self, request: &Request) -> Response {
        let mut response = self.answer(request);
        response.alarms.append(&mut self.alarms);
        response
    }

    fn answer(&mut self, request: &Request) -> Response {
        match request {
            Request::Status => return done(Reply::Status(self.status())),
            Request::Stored { files } => return self.stored(files),
            _ => {}
        }
        if self.failed {
            let text = "the last change could not be sealed and is in no file: start the enclave again from its files";
            return refused("request/NotSealed", rule::NEVER_DROPPED, text);
        }
        if let Some(w) = &self.waiting {
            let text = alloc::format!(
                "{} sealed file(s) wait to be stored: bring what the disk gives back, or start the enclave again",
                w.files.len()
            );
            return refused("request/WaitingForDisk", rule::NEVER_DROPPED, &text);
        }
        let unstored = self.keeper.branch().unstored().1.len();
        if unstored >= MAX_UNSTORED_ENTRIES && adds_entries(request) {
            let text = alloc::format!(
                "{unstored} log entries wait to be stored, at most {MAX_UNSTORED_ENTRIES} may: store the log first, then ask again"
            );
            return refused("request/LogNotStored", rule::PROGRESS, &text);
        }
        let mut step = Context::default();
        match self.run(&mut step, request) {
            Ok(reply) => self.finish(step, reply),
            Err(refusal) => Response {
                store: Vec::new(),
                reply: Some(Reply::Refused(refusal)),
                alarms: step.finish().alarms,
            },
        }
    }

    /// Runs a step. `None`: the reply is what the step says.
    fn run(&mut self, step: &mut Step, request: &Request) -> Result<Option<Reply>, Refusal> {
        let k = &mut self.keeper;
        match request {
            Request::Status | Request::Stored { .. } => {}
            Request::Checkpoint { block } => k.checkpoint(step, block).map_err(|e| e.refusal())?,
            Request::Advance { path } => k.advance(step, path).map_err(|e| e.refusal())?,
            Request::Genesis { found } => k.genesis(step, found).map_err(|e| e.refusal())?,
            Request::ImportLegacy { file } => k.import_legacy(step, file).map_err(|e| e.refusal())?,
            Request::Inherit { file } => k.inherit(step, file).map_err(|e| e.refusal())?,
            Request::Hello => k.hello(step),
            Request::Ask { hello, kind, report_target } => {
                k.ask(step, hello, *kind, report_target).map_err(|e| e.refusal())?;
            }
            Request::Offer { request, attestation, evidence, report_target } => {
                let evidence = core_evidence(evidence);
                k.offer(step, request, attestation, evidence, report_target.as_deref(), None).map_err(|e| e.refusal())?;
            }
            Request::OfferDated { request, attestation, evidence, report_target, date } => {
                let evidence = core_evidence(evidence);
                k.offer(step, request, attestation, evidence, report_target.as_deref(), Some(date))
                    .map_err(|e| e.refusal())?;
            }
            Request::Command { evidence } => k.command(step, evidence).map_err(|e| e.refusal())?,
            Request::ActivateByOrder { evidence } => k.activate_by_order(step, evidence).map_err(|e| e.refusal())?,
            Request::Date { nonce, proof } => k.date(step, nonce, proof).map_err(|e| e.refusal())?,
            Request::Accept { offer, giver } => k.accept(step, offer, giver.as_ref()).map_err(|e| e.refusal())?,
            Request::Challenge { transcript } => k.challenge(step, *transcript).map_err(|e| e.refusal())?,
            Request::Escrow { council_key, lifeboat_key } => {
                k.escrow(step, council_key, lifeboat_key).map_err(|e| e.refusal())?;
            }
            Request::Prove { challenge, report_target } => {
                k.prove(step, challenge, report_target).map_err(|e| e.refusal())?;
            }
            Request::Confirm { receipt, attestation } => {
                k.confirm(step, receipt, attestation).map_err(|e| e.refusal())?;
            }
            Request::Activate { evidence } => k.activate(step, evidence).map_err(|e| e.refusal())?,
            Request::Observe { evidence } => k.observe(step, evidence).map_err(|e| e.refusal())?,
            Request::BarrierReceipt { report_target } => {
                k.barrier_receipt(step, report_target).map_err(|e| e.refusal())?;
            }
            Request::Erase { receipts, power } => {
                let list: Vec<(&[u8], &Attestation)> =
                    receipts.iter().map(|r| (r.receipt.as_slice(), &r.attestation)).collect();
                k.erase(step, &list, power.as_deref()).map_err(|e| e.refusal())?;
            }
            Request::Put { under, name, value } => return self.put(*under, name, value, vault::seal).map(Some),
            Request::PutPadded { under, name, value } => return self.put(*under, name, value, vault::seal_padded).map(Some),
            Request::Locate { under, name, epoch } => {
                let key = self.app_key(*under, *epoch, false)?;
                return Ok(Some(Reply::Record { index: vault::index(&key, name), record: Vec::new() }));
            }
            Request::Get { under, name, record } => return self.get(*under, name, record).map(Some),
            Request::Log => return Ok(Some(self.log())),
            Request::LogStored { size } => k.log_stored(step, *size),
        }
        Ok(None)
    }

    /// Seals what changed and holds the reply back; with nothing changed the reply goes at once.
    fn finish(&mut self, step: Step, reply: Option<Reply>) -> Response {
        let outcome = step.finish();
        let reply = reply.unwrap_or_else(|| outcome.then_send.into_iter().next_back().map_or(Reply::Done, said));
        let mut store = Vec::new();
        for slot in outcome.must_persist {
            let generation = self.next_generation(slot);
            match self.keeper.seal_slot(slot, generation) {
                Ok(bytes) => store.push(SealedFile { slot, generation, bytes }),
                Err(e) => {
                    self.failed = true;
                    return refused("seal", rule::NEVER_DROPPED, &e.to_string());
                }
            }
        }
        if store.is_empty() {
            return Response { store, reply: Some(reply), alarms: outcome.alarms };
        }
        let files = store.iter().map(|f| (f.slot, f.generation, digest_of(&f.bytes))).collect();
        self.waiting = Some(Waiting { files, reply });
        Response { store, reply: None, alarms: outcome.alarms }
    }

    fn next_generation(&mut self, slot: Slot) -> u64 {
        let g = match slot {
            Slot::Custody => &mut self.custody_generation,
            Slot::Rehearsal => &mut self.rehearsal_generation,
        };
        *g = g.saturating_add(1);
        *g
    }

    /// The disk's answer: every file that waits must come back byte for byte, and open. A file of a clone of this
    /// enclave has the same slot and generation, and says something else.
    fn stored(&mut self, files: &[SealedFile]) -> Response {
        let Some(waiting) = self.waiting.take() else {
            return refused("stored/NothingWaits", rule::NEVER_DROPPED, "nothing waits to be stored");
        };
        for (slot, generation, digest) in &waiting.files {
            let brought = files.iter().find(|f| f.slot == *slot && f.generation == *generation);
            let opens = brought.map(|f| self.keeper.check_stored(*slot, *generation, &f.bytes));
            let problem = match opens {
                Some(Ok(true)) if brought.is_some_and(|f| digest_of(&f.bytes) == *digest) => continue,
                Some(Ok(true)) => String::from("it is not the file that was written"),
                Some(Ok(false)) => String::from("it is of another generation"),
                Some(Err(e)) => e.to_string(),
                None => String::from("it was not brought"),
            };
            self.waiting = Some(waiting);
            let text = alloc::format!(
                "a sealed file did not come back from disk as it was written: {problem}; write it again, nothing was said yet"
            );
            return refused("stored/NotDurable", rule::NEVER_DROPPED, &text);
        }
        done(waiting.reply)
    }

    fn app_key(&self, under: Under, epoch: u64, writes: bool) -> Result<AppKey, Refusal> {
        if !self.app {
            return Err(no_app("the app is switched off in a custody-only start; start again without it"));
        }
        let key = match under {
            Under::Seed => self.keeper.app_key(epoch, vault::LABEL),
            Under::Canary => self.keeper.canary_key(writes, vault::LABEL),
        };
        key.ok_or_else(|| no_app("this copy derives no app key: it holds none of that epoch, or has not verified the proof at X of its plan; activate it first"))
    }

    fn put(&mut self, under: Under, name: &str, value: &[u8], seal: Seal) -> Result<Reply, Refusal> {
        let epoch = match under {
            Under::Seed => self.keeper.newest_epoch().unwrap_or(0),
            Under::Canary => 0,
        };
        let key = self.app_key(under, epoch, true)?;
        let mut nonce = [0; 12];
        self.keeper.platform_mut().random(&mut nonce);
        let record = seal(&key, epoch, nonce, name, value).map_err(|e| vault_refusal(&e))?;
        Ok(Reply::Record { index: vault::index(&key, name), record: encode(&record) })
    }

    fn get(&self, under: Under, name: &str, record: &[u8]) -> Result<Reply, Refusal> {
        let record: vault::Record =
            minicbor::decode(record).map_err(|_| vault_refusal(&vault::VaultError::Malformed))?;
        let key = self.app_key(under, record.epoch, false)?;
        vault::open(&key, name, &record).map(Reply::Value).map_err(|e| vault_refusal(&e))
    }

    fn log(&self) -> Reply {
        let (first, entries) = self.keeper.branch().unstored();
        Reply::Log {
            first,
            entries: entries.iter().map(|e| e.to_bytes().into()).collect(),
            checkpoint: self.keeper.branch().checkpoint(&self.keeper.policy().chain.chain_id),
            public_key: self.keeper.branch().public_key(),
        }
    }

    fn emergencies(&self) -> Option<EmergencyStatus> {
        let (k, e) = (&self.keeper, self.keeper.emergencies());
        let status = EmergencyStatus {
            obeyed: e.obeyed().to_vec(),
            inherited: e.inherited().to_vec(),
            frozen: e.frozen().to_vec(),
            serves_by: k.custody().serving().and_then(|h| h.since().order()),
            promised_by: k.custody().successor().and_then(|s| s.order),
            dated: e.dated(),
        };
        (status != EmergencyStatus::default()).then_some(status)
    }

    fn status(&self) -> Status {
        let k = &self.keeper;
        let ring = k.custody().keyring();
        let commitments = ring.map(|r| r.commitments()).unwrap_or_default();
        Status {
            identity: *k.identity(),
            state: k.custody().state(),
            head_height: k.head().map_or(0, |h| h.height()),
            head_hash: Digest32(k.head().map_or([0; 32], |h| h.hash())),
            epochs: commitments.keys().copied().collect(),
            commitments: commitments.values().map(|c| c.0).collect(),
            exposed: ring.map(|r| r.exposed().collect()).unwrap_or_default(),
            serving: k.custody().serving().is_some(),
            successor: k.custody().successor().map(|s| s.target),
            promised_for: k.custody().successor().map(|s| s.plan.name.clone()),
            transfers: k
                .transfers()
                .iter()
                .map(|t| TransferStatus {
                    kind: t.kind,
                    transcript: t.transcript,
                    confirmed: t.confirmed,
                    recorded: t.record.is_some(),
                })
                .collect(),
            rehearsed: k.rehearsed(),
            rehearsed_as_source: k.rehearsed_as_source(),
            clean_shadow_upgrades: k.clean_shadow_upgrades(),
            log_size: k.branch().head().size,
            at_x: k.own_run().map(|r| r.facts.x),
            plan: k.own_run().map(|r| OwnPlan { name: r.facts.plan.name.clone(), done: r.done }),
            anchors: k.anchors(),
            platform: k.own_platform(),
            emergencies: self.emergencies(),
            escrow: k.escrow_wanted().map(|w| EscrowStatus {
                council_key: w.council_key,
                lifeboat_key: w.lifeboat_key,
                made: w.made,
            }),
        }
    }
}

/// False for what a host needs in order to store the log, and for the app.
fn adds_entries(request: &Request) -> bool {
    !matches!(
        request,
        Request::Log | Request::LogStored { .. } | Request::Put { .. } | Request::PutPadded { .. } | Request::Get { .. } | Request::Locate { .. }
    )
}

fn core_evidence(evidence: &OfferEvidence) -> CoreEvidence<'_> {
    match evidence {
        OfferEvidence::Ahead(b) => CoreEvidence::Ahead(b),
        OfferEvidence::AtX(b) => CoreEvidence::AtX(b),
        OfferEvidence::Record(b) => CoreEvidence::Record(b),
        OfferEvidence::Order(b) => CoreEvidence::Order(b),
        OfferEvidence::None => CoreEvidence::None,
    }
}

fn digest_of(file: &[u8]) -> Digest32 {
    baton_attest::identity::hash("baton sealed file v1", &[file])
}

fn said(s: Said) -> Reply {
    if s.message.is_empty() && s.digest == Digest32([0; 32]) {
        return Reply::Done;
    }
    Reply::Message { message: s.message, report: s.report, digest: s.digest }
}

fn done(reply: Reply) -> Response {
    Response { store: Vec::new(), reply: Some(reply), alarms: Vec::<Alarm>::new() }
}

impl<P: Platform> Program for Enclave<P> {
    fn handle_bytes(&mut self, request: &[u8]) -> Vec<u8> {
        Enclave::handle_bytes(self, request)
    }

    fn oversized(message: String) -> Vec<u8> {
        encode(&refused("request/Oversized", rule::PROGRESS, &message))
    }
}

fn refused(check: &str, rule: &str, message: &str) -> Response {
    done(Reply::Refused(Refusal { check: check.into(), rule: rule.into(), message: message.into() }))
}

fn no_app(message: &str) -> Refusal {
    Refusal { check: "app/NoKey".into(), rule: rule::SECRECY.into(), message: message.into() }
}

fn vault_refusal(e: &vault::VaultError) -> Refusal {
    Refusal { check: "app/Vault".into(), rule: rule::SECRECY.into(), message: e.to_string() }
}
