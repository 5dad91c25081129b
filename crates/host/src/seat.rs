//! A seat: one build on one machine, with its sealed files, its log and, while it runs, its enclave.
//!
//! Starting is always the same: the newest sealed generation that opens, or an older one with a
//! warning. A kill at any moment is followed by that same start.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use baton_core::seal::Slot;
use baton_enclave::link::Opening;
use baton_enclave::shell::StartError;
use baton_enclave::sim::{Image, Launch, LaunchError, Machine};
use baton_enclave::wire::{AttestedReceipt, Refusal, Reply, Request, Response, SealedFile, Status};

use crate::escrows::Escrows;
use crate::link::{EnclaveLink, Launcher, LinkError};
use crate::store::{SealedStore, StoreError};
use crate::trail::Trail;

/// Why a call to an enclave gave no reply.
#[derive(Debug, thiserror::Error)]
pub enum SeatError {
    /// The enclave refused; nothing has changed in it.
    #[error("{} (rule: {}): {}", .0.check, .0.rule, .0.message)]
    Refused(Refusal),
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log folder.
    #[error("the custody log in {path}: {source}")]
    Trail {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The image does not launch.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// No generation of the sealed state opens.
    #[error("the enclave does not start: {0}")]
    Start(#[from] StartError),
    /// The same, said by an enclave behind a link.
    #[error("the enclave does not start: {message}")]
    NotStarted {
        /// What it said.
        message: String,
        /// The custody file is damaged.
        damaged: bool,
    },
    /// It does not load, or it ended.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// It is not running.
    #[error("the enclave of this seat is stopped; start it first")]
    Stopped,
    /// It answered what nobody asked.
    #[error("the enclave answered {got}, expected {expected}")]
    Unexpected {
        /// What was asked for.
        expected: &'static str,
        /// What came.
        got: String,
    },
    /// The quoting enclave.
    #[error("no quote: {0}")]
    Quote(String),
}

impl SeatError {
    /// The refusal, if it is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            SeatError::Refused(r) => Some(r),
            _ => None,
        }
    }

    /// Only a damaged file makes an older one worth trying: any other refusal would only be hidden by it.
    fn is_damage(&self) -> bool {
        match self {
            SeatError::Start(e) => e.is_damage(),
            SeatError::NotStarted { damaged, .. } => *damaged,
            _ => false,
        }
    }
}

/// One build on one machine.
pub struct Seat {
    machine: Option<Rc<Machine>>,
    launcher: Rc<dyn Launcher>,
    image: Image,
    store: SealedStore,
    trail: Trail,
    escrows: Escrows,
    running: Option<Box<dyn EnclaveLink>>,
    entropy: Box<dyn FnMut() -> [u8; 32]>,
    warnings: Vec<String>,
}

impl Seat {
    /// A seat in a folder. `entropy` feeds the software CPU's random numbers.
    pub fn open(
        dir: &Path,
        machine: Rc<Machine>,
        image: Image,
        entropy: Box<dyn FnMut() -> [u8; 32]>,
    ) -> Result<Self, SeatError> {
        let launcher = machine.clone();
        Self::open_on(dir, machine, launcher, image, entropy)
    }

    /// A seat whose enclave `launcher` runs and quotes, under the certificates of `machine`.
    pub fn open_on(
        dir: &Path,
        machine: Rc<Machine>,
        launcher: Rc<dyn Launcher>,
        image: Image,
        entropy: Box<dyn FnMut() -> [u8; 32]>,
    ) -> Result<Self, SeatError> {
        let seat = Self::open_by(dir, launcher, image, entropy)?;
        Ok(Seat { machine: Some(machine), ..seat })
    }

    /// A seat on whatever machine `launcher` is, hardware too: no development certificates are known of it.
    pub fn open_by(dir: &Path, launcher: Rc<dyn Launcher>, image: Image, entropy: Box<dyn FnMut() -> [u8; 32]>) -> Result<Self, SeatError> {
        let store = SealedStore::open(dir.join("sealed"))?;
        let log_dir = dir.join("log");
        let trail = Trail::open(&log_dir).map_err(|source| SeatError::Trail { path: log_dir, source })?;
        let escrows = Escrows::of(dir);
        Ok(Seat { machine: None, launcher, image, store, trail, escrows, running: None, entropy, warnings: Vec::new() })
    }

    /// The certificates of its machine, where that is a development machine.
    pub fn machine(&self) -> Option<&Rc<Machine>> {
        self.machine.as_ref()
    }

    /// What runs its enclave and quotes it.
    pub fn launcher(&self) -> &Rc<dyn Launcher> {
        &self.launcher
    }

    /// Puts the disk into another machine: what a stolen disk, or a microcode change, looks like.
    pub fn move_to(&mut self, machine: Rc<Machine>) {
        self.move_onto(machine.clone(), machine);
    }

    /// The same, for any launcher.
    pub fn move_onto(&mut self, machine: Rc<Machine>, launcher: Rc<dyn Launcher>) {
        self.stop();
        (self.machine, self.launcher) = (Some(machine), launcher);
    }

    /// Its image.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Its sealed files.
    pub fn store(&self) -> &SealedStore {
        &self.store
    }

    /// Its log folder.
    pub fn trail(&self) -> &Trail {
        &self.trail
    }

    /// Its escrows.
    pub fn escrows(&self) -> &Escrows {
        &self.escrows
    }

    pub(crate) fn warn(&mut self, text: String) {
        self.warnings.push(text);
    }

    /// Things that people should see: older generations used, alarms.
    pub fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    /// True while its enclave runs.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Starts the enclave from its files; running already, it is stopped first.
    pub fn start(&mut self) -> Result<(), SeatError> {
        self.start_with(false, false)
    }

    /// Starts with the app switched off.
    pub fn start_custody_only(&mut self) -> Result<(), SeatError> {
        self.start_with(true, false)
    }

    /// Starts with the DEBUG attribute: what a hostile host would like.
    pub fn start_debug(&mut self) -> Result<(), SeatError> {
        self.start_with(false, true)
    }

    fn start_with(&mut self, custody_only: bool, debug: bool) -> Result<(), SeatError> {
        self.stop();
        let custody = self.store.find(Slot::Custody)?;
        let rehearsal = self.store.find(Slot::Rehearsal)?;
        let seen = (
            custody.first().map_or(0, |f| f.generation),
            rehearsal.first().map_or(0, |f| f.generation),
        );
        let rehearsal_file = rehearsal.first().map(|f| self.store.read(f)).transpose()?;
        let mut candidates = Vec::new();
        for found in &custody {
            candidates.push(Some((found.path.clone(), self.store.read(found)?)));
        }
        if candidates.is_empty() {
            candidates.push(None);
        }
        let mut first_error = None;
        for candidate in candidates {
            let launch = Launch { debug, entropy: (self.entropy)() };
            let opening = Opening {
                custody: candidate.map(|(_, b): (PathBuf, Vec<u8>)| b.into()),
                rehearsal: rehearsal_file.clone().map(Into::into),
                seen_custody: seen.0,
                seen_rehearsal: seen.1,
                custody_only,
            };
            match self.launcher.launch(&self.image, &launch, &opening) {
                Ok(enclave) => {
                    if let Some(e) = &first_error {
                        self.warnings.push(format!("started from an older sealed generation: {}", reason(e)));
                    }
                    self.running = Some(enclave);
                    self.escrow_at_start();
                    return Ok(());
                }
                Err(e) if e.is_damage() => first_error = first_error.or(Some(e)),
                Err(e) => return Err(e),
            }
        }
        Err(first_error.unwrap_or(SeatError::Stopped))
    }

    /// Stops the enclave as a kill does: whatever it held in memory is gone.
    pub fn stop(&mut self) {
        self.running = None;
    }

    /// Asks, stores what has to be stored, and gives the reply.
    pub fn call(&mut self, request: &Request) -> Result<Reply, SeatError> {
        let mut response = self.send(request)?;
        while !response.store.is_empty() {
            let files = self.write(response.store)?;
            response = self.send(&Request::Stored { files })?;
        }
        match response.reply {
            Some(Reply::Refused(r)) => Err(SeatError::Refused(r)),
            Some(reply) => {
                self.prune()?;
                self.escrow_after(request);
                Ok(reply)
            }
            None => Err(SeatError::Unexpected { expected: "a reply", got: "none".into() }),
        }
    }

    /// Asks and returns the raw response: for hosts that do not store what they should.
    pub fn send(&mut self, request: &Request) -> Result<Response, SeatError> {
        let enclave = self.running.as_mut().ok_or(SeatError::Stopped)?;
        let answered = enclave.call(&baton_attest::identity::encode(request));
        if answered.is_err() {
            // This one has ended, and no other: it is started again from its files.
            self.running = None;
        }
        let bytes = answered?;
        let response: Response = minicbor::decode(&bytes)
            .map_err(|e| SeatError::Unexpected { expected: "a response", got: e.to_string() })?;
        self.warnings.extend(response.alarms.iter().map(|a| format!("alarm {}: {}", a.code, a.text)));
        Ok(response)
    }

    fn write(&mut self, files: Vec<SealedFile>) -> Result<Vec<SealedFile>, SeatError> {
        files
            .into_iter()
            .map(|f| {
                let bytes = self.store.put(f.slot, f.generation, &f.bytes)?;
                Ok(SealedFile { bytes, ..f })
            })
            .collect()
    }

    fn prune(&self) -> Result<(), SeatError> {
        self.store.prune(Slot::Custody)?;
        Ok(self.store.prune(Slot::Rehearsal)?)
    }

    /// What the enclave holds.
    pub fn status(&mut self) -> Result<Status, SeatError> {
        match self.call(&Request::Status)? {
            Reply::Status(s) => Ok(s),
            other => Err(unexpected("a status", &other)),
        }
    }

    /// Asks the enclave to erase its copy, and leaves nothing but tombstones among the sealed files.
    /// `power` is CBOR of [`baton_chain::evidence::PowerEvidence`], where the policy asks for a share of voting power.
    pub fn erase(&mut self, receipts: Vec<AttestedReceipt>, power: Option<Vec<u8>>) -> Result<(), SeatError> {
        self.call(&Request::Erase { receipts, power })?;
        // The erase itself is in the log, so acknowledging it makes one more generation: both that are kept are tombstones.
        self.store_log()
    }

    /// Brings the log folder up to date, and lets the enclave forget what is stored.
    pub fn store_log(&mut self) -> Result<(), SeatError> {
        let Reply::Log { first, entries, checkpoint, public_key } = self.call(&Request::Log)? else {
            return Err(SeatError::Unexpected { expected: "log entries", got: "something else".into() });
        };
        let entries: Vec<Vec<u8>> = entries.into_iter().map(|e| e.to_vec()).collect();
        let size = self
            .trail
            .append(first, &entries, &checkpoint, &public_key)
            .map_err(|source| SeatError::Trail { path: self.trail.dir().into(), source })?;
        if !entries.is_empty() {
            self.call(&Request::LogStored { size })?;
        }
        Ok(())
    }
}

/// Why an enclave did not start, without the words that say so.
fn reason(e: &SeatError) -> String {
    match e {
        SeatError::Start(e) => e.to_string(),
        SeatError::NotStarted { message, .. } => message.clone(),
        other => other.to_string(),
    }
}

/// A reply of another kind than the one asked for.
pub(crate) fn unexpected(expected: &'static str, got: &Reply) -> SeatError {
    let text = format!("{got:?}");
    SeatError::Unexpected { expected, got: text.chars().take(120).collect() }
}
