//! Runs the ceremony's program: its sealed files, its quotes, and the order in which things reach the disk.

use baton_attest::identity::{Measurement, encode};
use baton_chain::ChainPolicy;
use baton_chain::light::LightBlock;
use baton_core::ceremony::network::{self, NetworkVote};
use baton_core::ceremony::{SessionInfo, ShareBox};
use baton_core::seal::Slot;
use baton_core::shares::{Holders, Purpose};
use baton_enclave::ceremony::{PRODUCT_ID, Reply, Request, Response};
use baton_enclave::link::Opening;
use baton_enclave::sim::{Image, Launch, LaunchError};
use baton_attest::sigstruct::SigningKey;
use rand::Rng as _;

use crate::chain::Included;
use crate::gather::{Gather, GatherError};
use crate::link::{EnclaveLink, Launcher, ProgramKind};
use crate::seat::SeatError;
use crate::shares::Attested;
use crate::store::{SealedStore, StoreError};

/// Why a ceremony did not go on. What was there before is as it was.
#[derive(Debug, thiserror::Error)]
pub enum CeremonyError {
    /// The program refuses.
    #[error("{0}")]
    Refused(String),
    /// The program, or the machine's quote of it.
    #[error(transparent)]
    Seat(#[from] SeatError),
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The image.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// An answer that does not fit the question.
    #[error("the program answered something else; start it again, nothing is lost")]
    Answer,
}

/// A ceremony as it leaves the enclave.
pub struct Published {
    /// Transcript and quote.
    pub attested: Attested,
    /// An age file for each holder, in their order.
    pub files: Vec<Vec<u8>>,
}

/// A signature as it leaves the enclave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// SIGSTRUCT, 1808 bytes.
    pub sigstruct: Vec<u8>,
    /// Whose shares were good.
    pub holders: Vec<String>,
    /// What was brought and did not count.
    pub skipped: Vec<String>,
}

/// What its measured pages hold: its name.
pub const CONTENTS: &[u8] = b"baton ceremony";

/// The program's build for the simulator. A network publishes its measurement.
pub fn image(version: &str) -> Result<Image, LaunchError> {
    let key = SigningKey::development(1)?;
    Image::program("baton-ceremony", version, CONTENTS, &key, (PRODUCT_ID, 1))
}

/// The program on one machine.
pub struct CeremonySeat<'m> {
    machine: &'m dyn Launcher,
    store: SealedStore,
    enclave: Box<dyn EnclaveLink>,
    measurement: Measurement,
    collateral: Vec<u8>,
}

impl<'m> CeremonySeat<'m> {
    /// Starts it over a folder. `collateral` goes beside its quotes.
    pub fn start(machine: &'m dyn Launcher, image: &Image, store: SealedStore, collateral: &[u8]) -> Result<Self, CeremonyError> {
        let found = store.find(Slot::Custody)?;
        let newest = found.first().map(|f| store.read(f)).transpose()?;
        let seen = found.first().map_or(0, |f| f.generation);
        let opening = Opening { custody: newest.map(Into::into), seen_custody: seen, ..Opening::default() };
        let how = Launch { debug: false, entropy: entropy() };
        let enclave = machine.launch_program(ProgramKind::Ceremony, image, &how, &opening)?;
        let measurement = image.measurement()?;
        Ok(CeremonySeat { machine, store, enclave, measurement, collateral: collateral.to_vec() })
    }

    /// The program's measurement.
    pub fn measurement(&self) -> Measurement {
        self.measurement
    }

    /// One request, with what it wants stored.
    pub fn call(&mut self, request: &Request) -> Result<Reply, CeremonyError> {
        let mut response = self.ask(request)?;
        while let Some(file) = response.store.take() {
            let back = self.store.put(Slot::Custody, file.generation, &file.bytes)?;
            response = self.ask(&Request::Stored { file: back })?;
        }
        match response.reply {
            Some(Reply::Refused { message }) => Err(CeremonyError::Refused(message)),
            Some(reply) => Ok(reply),
            None => Err(CeremonyError::Answer),
        }
    }

    fn ask(&mut self, request: &Request) -> Result<Response, CeremonyError> {
        let answer = self.enclave.call(&encode(request)).map_err(SeatError::from)?;
        minicbor::decode(&answer).map_err(|_| CeremonyError::Answer)
    }

    fn attest(&self, message: Vec<u8>, report: &[u8]) -> Result<Attested, CeremonyError> {
        Ok(Attested::by(self.machine, message, report, &self.collateral)?)
    }

    fn published(&self, reply: Reply) -> Result<Published, CeremonyError> {
        let Reply::Dealt { transcript, report, files } = reply else { return Err(CeremonyError::Answer) };
        let files = files.into_iter().map(Vec::from).collect();
        Ok(Published { attested: self.attest(transcript, &report)?, files })
    }

    /// Makes a key and deals it.
    pub fn new_key(&mut self, purpose: Purpose, holders: &Holders) -> Result<Published, CeremonyError> {
        self.new_key_with(purpose, holders, None)
    }

    /// The same with a network among the holders, see [`baton_core::ceremony::network::holder`].
    pub fn new_key_with(&mut self, purpose: Purpose, holders: &Holders, network: Option<&ChainPolicy>) -> Result<Published, CeremonyError> {
        let report_target = self.machine.qe_target()?;
        let network = network.map(|n| encode(n).into());
        let reply = self.call(&Request::New { purpose, holders: holders.clone(), report_target, network })?;
        self.published(reply)
    }

    /// The last ceremony once more.
    pub fn show(&mut self) -> Result<Published, CeremonyError> {
        let reply = self.call(&Request::Show { report_target: self.machine.qe_target()? })?;
        self.published(reply)
    }

    /// Opens a session.
    pub fn session(&mut self) -> Result<(SessionInfo, Attested), CeremonyError> {
        let reply = self.call(&Request::Session { report_target: self.machine.qe_target()? })?;
        let Reply::Session { session, report } = reply else { return Err(CeremonyError::Answer) };
        let info = SessionInfo::from_cbor(&session).map_err(|e| CeremonyError::Refused(e.to_string()))?;
        Ok((info, self.attest(session, &report)?))
    }

    /// Signs a build. The shares in use have shown that they work, so files of older ceremonies go: old shares could still
    /// open those.
    pub fn sign(&mut self, measurement: Measurement, product_id: u16, svn: u16, boxes: &[ShareBox]) -> Result<Signed, CeremonyError> {
        self.sign_with((measurement, product_id, svn), boxes, None)
    }

    /// The same with the network's agreement: a build's MRENCLAVE, ISVPRODID and ISVSVN, and the evidence of its vote.
    pub fn sign_with(&mut self, build: (Measurement, u16, u16), boxes: &[ShareBox], vote: Option<&NetworkVote>) -> Result<Signed, CeremonyError> {
        let (measurement, product_id, svn) = build;
        let vote = vote.map(|v| v.to_cbor().into());
        let reply = self.call(&Request::Sign { measurement, product_id, svn, boxes: boxes.to_vec(), vote })?;
        let Reply::Signed { sigstruct, holders, skipped } = reply else { return Err(CeremonyError::Answer) };
        for old in self.store.find(Slot::Custody)?.iter().skip(1) {
            std::fs::remove_file(&old.path)
                .map_err(|source| StoreError::Io { action: "remove", path: old.path.clone(), source })?;
        }
        Ok(Signed { sigstruct, holders, skipped })
    }

    /// Deals the key again to other holders.
    pub fn reshare(&mut self, holders: &Holders, boxes: &[ShareBox]) -> Result<Published, CeremonyError> {
        self.reshare_with(holders, boxes, None)
    }

    /// The same with a network among the new holders.
    pub fn reshare_with(&mut self, holders: &Holders, boxes: &[ShareBox], network: Option<&ChainPolicy>) -> Result<Published, CeremonyError> {
        let report_target = self.machine.qe_target()?;
        let network = network.map(|n| encode(n).into());
        let reply = self.call(&Request::Reshare { holders: holders.clone(), boxes: boxes.to_vec(), report_target, network })?;
        self.published(reply)
    }
}

pub(crate) fn entropy() -> [u8; 32] {
    let mut out = [0; 32];
    rand::rng().fill_bytes(&mut out);
    out
}

impl Gather<'_> {
    /// The network's agreement to a signature: `tx` holds the text of session and subject, and `head` is at or above its block.
    /// The light block is that of the chain policy's checkpoint, with its height.
    pub fn network_vote(&self, checkpoint: (u64, LightBlock), proposal: u64, tx: &Included, head: u64) -> Result<NetworkVote, GatherError> {
        let (from, checkpoint) = checkpoint;
        let upgrade = self.ahead(&[from, from], proposal, tx, head)?;
        Ok(NetworkVote { version: network::VERSION, checkpoint, upgrade })
    }
}

/// A box as a file.
pub fn box_bytes(b: &ShareBox) -> Vec<u8> {
    encode(b)
}
