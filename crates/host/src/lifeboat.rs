//! Runs lifeboats, and puts together what a release stands on.

use baton_attest::identity::{Digest32, PlatformId, encode};
use baton_attest::policy::TcbPolicy;
use baton_attest::sigstruct::SigningKey;
use baton_chain::record::Kind;
use baton_core::ceremony::{SessionInfo, ShareBox, Subject};
use baton_core::escrow::Escrow;
use baton_core::lifeboat::secret::Card;
use baton_core::lifeboat::{ReleaseEvidence, Released, VERSION};
use baton_core::messages::{Attestation, HandoverRequest, Message as _, MessageError};
use baton_core::order::notice::NoticeEvidence;
use baton_core::order::signed::SignedOrder;
use baton_core::seal::Slot;
use baton_enclave::lifeboat::{Config, PRODUCT_ID, Reply, Request, Response, Said};
use baton_enclave::link::Opening;
use baton_enclave::sim::{Image, Launch, LaunchError};

use minicbor::{Decode, Encode};

use crate::ceremony::entropy;
use crate::link::{EnclaveLink, Launcher, ProgramKind};
use crate::orders::{OrderLog, OrderLogError};
use crate::relay::{self, Asked, Channel};
use crate::seat::{Seat, SeatError};
use crate::shares::Attested;
use crate::store::{SealedStore, StoreError};

/// Why a lifeboat did not do what it was asked. What was there before is as it was.
#[derive(Debug, thiserror::Error)]
pub enum LifeboatError {
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
    /// The log of orders.
    #[error(transparent)]
    Log(#[from] OrderLogError),
    /// An answer that does not fit the question.
    #[error("the program answered something else; start it again, nothing is lost")]
    Answer,
}

/// The lifeboat's build for the simulator: one measurement for each set of rules for platforms.
pub fn image(tcb: &TcbPolicy) -> Result<Image, LaunchError> {
    let key = SigningKey::development(1)?;
    Image::program("baton-lifeboat", "1", &config(tcb), &key, (PRODUCT_ID, 1))
}

/// What a lifeboat's measured pages hold.
pub fn config(tcb: &TcbPolicy) -> Vec<u8> {
    encode(&Config { version: 1, tcb: tcb.clone() })
}

/// An open session.
#[derive(Clone, Debug)]
pub struct Opened {
    /// For holders.
    pub session: SessionInfo,
    /// The same with its quote.
    pub attested: Attested,
    /// For the target.
    pub hello: Vec<u8>,
}

/// A lifeboat on one machine.
pub struct LifeboatSeat<'m> {
    machine: &'m dyn Launcher,
    store: SealedStore,
    enclave: Box<dyn EnclaveLink>,
    collateral: Vec<u8>,
}

impl<'m> LifeboatSeat<'m> {
    /// Starts it over a folder. `collateral` goes beside its quotes.
    pub fn start(machine: &'m dyn Launcher, image: &Image, store: SealedStore, collateral: &[u8]) -> Result<Self, LifeboatError> {
        let newest = store.find(Slot::Custody)?.first().map(|f| store.read(f)).transpose()?;
        let opening = Opening { custody: newest.map(Into::into), ..Opening::default() };
        let how = Launch { debug: false, entropy: entropy() };
        let enclave = machine.launch_program(ProgramKind::Lifeboat, image, &how, &opening)?;
        Ok(LifeboatSeat { machine, store, enclave, collateral: collateral.to_vec() })
    }

    /// One request, with what it wants stored.
    pub fn call(&mut self, request: &Request) -> Result<Reply, LifeboatError> {
        let mut response = self.ask(request)?;
        while let Some(bytes) = response.store.take() {
            let back = self.store.put(Slot::Custody, 1, &bytes)?;
            response = self.ask(&Request::Stored { file: back })?;
        }
        match response.reply {
            Some(Reply::Refused { message }) => Err(LifeboatError::Refused(message)),
            Some(reply) => Ok(reply),
            None => Err(LifeboatError::Answer),
        }
    }

    fn ask(&mut self, request: &Request) -> Result<Response, LifeboatError> {
        let answer = self.enclave.call(&encode(request)).map_err(SeatError::from)?;
        minicbor::decode(&answer).map_err(|_| LifeboatError::Answer)
    }

    fn said(&mut self, request: &Request) -> Result<Said, LifeboatError> {
        match self.call(request)? {
            Reply::Said(said) => Ok(said),
            _ => Err(LifeboatError::Answer),
        }
    }

    fn quoted(&self, report: &[u8]) -> Result<Attestation, LifeboatError> {
        Ok(Attestation::Quoted { quote: self.machine.quote(report)?, collateral: self.collateral.clone() })
    }

    /// Makes the secret for these machines.
    pub fn found(&mut self, platforms: &[PlatformId]) -> Result<(), LifeboatError> {
        self.call(&Request::Found { platforms: platforms.to_vec() }).map(|_| ())
    }

    /// Gets the secret from another lifeboat.
    pub fn join(&mut self, from: &mut LifeboatSeat<'_>) -> Result<(), LifeboatError> {
        let hello = from.said(&Request::Hello)?.message;
        let asked = self.said(&Request::Ask { hello, report_target: self.machine.qe_target()? })?;
        let attestation = self.quoted(&asked.report)?;
        let report_target = from.machine.qe_target()?;
        let offer = from.said(&Request::Give { request: asked.message, attestation, report_target })?;
        let giver = from.quoted(&offer.report)?;
        self.call(&Request::Accept { offer: offer.message, giver }).map(|_| ())
    }

    /// Public key and machines, for everybody.
    pub fn card(&mut self) -> Result<(Card, Attested), LifeboatError> {
        let said = self.said(&Request::Card { report_target: self.machine.qe_target()? })?;
        let card = minicbor::decode(&said.message).map_err(|_| LifeboatError::Answer)?;
        Ok((card, Attested::by(self.machine, said.message, &said.report, &self.collateral)?))
    }

    /// Opens a session for one release.
    pub fn open(&mut self, chain_id: &str, epoch: u64) -> Result<Opened, LifeboatError> {
        let report_target = self.machine.qe_target()?;
        let Reply::Opened { session, hello } = self.call(&Request::Open { chain_id: chain_id.into(), epoch, report_target })? else {
            return Err(LifeboatError::Answer);
        };
        let info = SessionInfo::from_cbor(&session.message).map_err(|e| LifeboatError::Refused(e.to_string()))?;
        let attested = Attested::by(self.machine, session.message, &session.report, &self.collateral)?;
        Ok(Opened { session: info, attested, hello })
    }

    /// Asks for a release.
    pub fn release(&mut self, evidence: &ReleaseEvidence) -> Result<Released, LifeboatError> {
        self.release_bytes(evidence.to_cbor())
    }

    /// The same, with evidence as a file.
    pub fn release_bytes(&mut self, evidence: Vec<u8>) -> Result<Released, LifeboatError> {
        match self.call(&Request::Release { evidence })? {
            Reply::Released(released) => Ok(released),
            _ => Err(LifeboatError::Answer),
        }
    }

    /// Its identity digest: what an order to it names.
    pub fn identity_digest(&mut self) -> Result<Digest32, LifeboatError> {
        match self.call(&Request::Status)? {
            Reply::Status { identity, .. } => Ok(identity.digest()),
            _ => Err(LifeboatError::Answer),
        }
    }
}

/// What a target brings: its request, its quote, its machine. CBOR map, as a file between people.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Target {
    /// Request to the lifeboat's hello.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub request: Vec<u8>,
    /// Quote over it.
    #[n(1)]
    pub attestation: Attestation,
    /// The machine that the quote shows.
    #[n(2)]
    pub platform: PlatformId,
}

impl From<Asked> for Target {
    fn from(asked: Asked) -> Self {
        Target { request: asked.request, attestation: asked.attestation, platform: asked.platform }
    }
}

impl Target {
    /// Reads a file.
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, LifeboatError> {
        minicbor::decode(bytes).map_err(|_| LifeboatError::Refused("not the request of a target: truncated, or another file".into()))
    }

    /// The bytes.
    pub fn to_cbor(&self) -> Vec<u8> {
        encode(self)
    }

    /// Asks an empty seat for its request to a lifeboat's hello, and quotes it.
    pub fn ask(seat: &mut Seat, hello: Vec<u8>, collateral: &[u8]) -> Result<Self, SeatError> {
        let platform = seat.launcher().platform_id();
        relay::answer_hello(seat, hello, Kind::Upgrade, Channel::Quoted { collateral }, platform).map(Target::from)
    }

    /// What holders agree to, for this target and an order.
    pub fn subject(&self, order: &SignedOrder) -> Result<Subject, MessageError> {
        let request = HandoverRequest::from_cbor(&self.request)?.digest();
        Ok(Subject::Release { order: order.order().digest(), request, platform: self.platform })
    }
}

/// Evidence of a release, from the log in which order and release are public.
pub fn evidence(
    transcript: &[u8],
    boxes: &[ShareBox],
    escrow: &Escrow,
    order: &SignedOrder,
    log: &OrderLog,
    release_text: &str,
    target: &Target,
) -> Result<ReleaseEvidence, LifeboatError> {
    let NoticeEvidence::Witnessed { first, second, consistency } = log.notice(&order.order().memo())? else {
        return Err(LifeboatError::Answer);
    };
    Ok(ReleaseEvidence {
        version: VERSION,
        transcript: transcript.to_vec(),
        boxes: boxes.to_vec(),
        escrow: escrow.to_cbor(),
        order: order.to_bytes(),
        first,
        second,
        consistency,
        release: log.newest(release_text)?,
        request: target.request.clone(),
        attestation: target.attestation.clone(),
        platform: target.platform,
    })
}
