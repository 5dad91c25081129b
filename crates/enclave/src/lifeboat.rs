//! The lifeboat's program: one secret, one question. See [`baton_core::lifeboat`].
//!
//! An enclave of its own that never changes, since a new measurement would be a new lifeboat. Its measured pages hold
//! which platforms a peer's quote may come from; everything about a release comes from the escrow itself.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use baton_attest::identity::{Digest32, Identity, PlatformId, encode, hash};
use baton_attest::policy::TcbPolicy;
use baton_core::keeper::report_over;
use baton_core::lifeboat::secret::{BoatSecret, Card, JoinRequest, LIFEBOAT_CHAIN};
use baton_core::lifeboat::{Boat, Released};
use baton_core::messages::{self, Attestation, Hello, Message as _};
use baton_core::platform::Platform;
use baton_core::seal::{self, SealPolicy, Slot};
use minicbor::{Decode, Encode};

use crate::link::{Program, read_request};

/// ISVPRODID of this program.
pub const PRODUCT_ID: u16 = 2;
/// Largest request that is read, in bytes.
pub const MAX_REQUEST_BYTES: usize = 32 << 20;

/// What is in its measured pages. CBOR map.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Config {
    /// 1.
    #[n(0)]
    pub version: u8,
    /// Which platforms a peer's quote may come from.
    #[n(1)]
    pub tcb: TcbPolicy,
}

/// What a host may ask for.
#[derive(Clone, Debug, Encode, Decode)]
#[cbor(flat)]
pub enum Request {
    /// Who it is, and what it holds.
    #[n(0)]
    Status,
    /// Make the secret, for these machines. Only where nothing is sealed.
    #[n(1)]
    Found {
        /// Three or more.
        #[n(0)]
        platforms: Vec<PlatformId>,
    },
    /// What the disk gave back.
    #[n(2)]
    Stored {
        /// The sealed file.
        #[cbor(n(0), with = "minicbor::bytes")]
        file: Vec<u8>,
    },
    /// Public key and machines, attested.
    #[n(3)]
    Card {
        /// TARGETINFO of the quoting enclave, 512 bytes.
        #[cbor(n(0), with = "minicbor::bytes")]
        report_target: Vec<u8>,
    },
    /// Say hello to a lifeboat that holds nothing yet.
    #[n(4)]
    Hello,
    /// Ask another lifeboat for the secret.
    #[n(5)]
    Ask {
        /// Its hello.
        #[cbor(n(0), with = "minicbor::bytes")]
        hello: Vec<u8>,
        /// TARGETINFO of the quoting enclave, 512 bytes.
        #[cbor(n(1), with = "minicbor::bytes")]
        report_target: Vec<u8>,
    },
    /// Give it.
    #[n(6)]
    Give {
        /// The other's request.
        #[cbor(n(0), with = "minicbor::bytes")]
        request: Vec<u8>,
        /// Its quote over it.
        #[n(1)]
        attestation: Attestation,
        /// TARGETINFO of the quoting enclave, 512 bytes.
        #[cbor(n(2), with = "minicbor::bytes")]
        report_target: Vec<u8>,
    },
    /// Take it.
    #[n(7)]
    Accept {
        /// The offer.
        #[cbor(n(0), with = "minicbor::bytes")]
        offer: Vec<u8>,
        /// The giver's quote over it.
        #[n(1)]
        giver: Attestation,
    },
    /// Open a session for one release.
    #[n(8)]
    Open {
        /// The chain that the target was built for.
        #[n(0)]
        chain_id: String,
        /// The newest epoch in the escrow.
        #[n(1)]
        epoch: u64,
        /// TARGETINFO of the quoting enclave, 512 bytes.
        #[cbor(n(2), with = "minicbor::bytes")]
        report_target: Vec<u8>,
    },
    /// Release what an escrow holds.
    #[n(9)]
    Release {
        /// See [`baton_core::lifeboat::ReleaseEvidence`].
        #[cbor(n(0), with = "minicbor::bytes")]
        evidence: Vec<u8>,
    },
}

/// A message, and a report over it where one was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Said {
    /// The message.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub message: Vec<u8>,
    /// Report over its digest, 432 bytes.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub report: Vec<u8>,
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum Reply {
    /// No, and why.
    #[n(0)]
    Refused {
        /// For people.
        #[n(0)]
        message: String,
    },
    /// Answers [`Request::Status`].
    #[n(1)]
    Status {
        /// Who it is.
        #[n(0)]
        identity: Identity,
        /// What it holds.
        #[n(1)]
        card: Option<Card>,
    },
    /// It is done, and on disk.
    #[n(2)]
    Done,
    /// A message.
    #[n(3)]
    Said(#[n(0)] Said),
    /// Session and hello.
    #[n(4)]
    Opened {
        /// For holders, with a report over its digest.
        #[n(0)]
        session: Said,
        /// For the target.
        #[cbor(n(1), with = "minicbor::bytes")]
        hello: Vec<u8>,
    },
    /// A release.
    #[n(5)]
    Released(#[n(0)] Released),
}

/// A sealed file to write, and then an answer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Response {
    /// Write this, and bring back what the disk gives: [`Request::Stored`].
    #[cbor(n(0), with = "minicbor::bytes")]
    pub store: Option<Vec<u8>>,
    /// The answer, if nothing has to be stored first.
    #[n(1)]
    pub reply: Option<Reply>,
}

/// A file, or measured pages, that cannot be used. They stay as they are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the lifeboat does not start: {0}")]
pub struct StartError(pub String);

/// The running program.
pub struct Lifeboat<P: Platform> {
    platform: P,
    config: Config,
    secret: Option<BoatSecret>,
    /// A secret that is not on disk yet, and the digest of the file that must come back.
    waiting: Option<(BoatSecret, Digest32)>,
    hello: Option<Hello>,
    asked: Option<JoinRequest>,
    boat: Option<Boat>,
}

impl<P: Platform> Lifeboat<P> {
    /// Starts with what its measured pages hold, and from its file, if there is one.
    pub fn start(platform: P, config: &[u8], file: Option<&[u8]>) -> Result<Self, StartError> {
        let config: Config = minicbor::decode(config).map_err(|e| StartError(e.to_string()))?;
        config.tcb.validate().map_err(|e| StartError(e.to_string()))?;
        let secret = match file {
            None => None,
            Some(file) => {
                let opened = seal::open(&platform, Slot::Custody, LIFEBOAT_CHAIN, file).map_err(|e| StartError(e.to_string()))?;
                Some(BoatSecret::decode(&opened.plaintext).map_err(|e| StartError(e.to_string()))?)
            }
        };
        Ok(Lifeboat { platform, config, secret, waiting: None, hello: None, asked: None, boat: None })
    }

    /// Handles one request, bytes to bytes.
    pub fn handle_bytes(&mut self, request: &[u8]) -> Vec<u8> {
        encode(&read_request(request, MAX_REQUEST_BYTES).map_or_else(refused, |r| self.handle(&r)))
    }

    /// Handles one request.
    pub fn handle(&mut self, request: &Request) -> Response {
        self.run(request).unwrap_or_else(refused)
    }

    fn run(&mut self, request: &Request) -> Result<Response, String> {
        Ok(answer(match request {
            Request::Status => Reply::Status { identity: *self.platform.identity(), card: self.secret.as_ref().map(BoatSecret::card) },
            Request::Stored { file } => return self.stored(file),
            Request::Found { platforms } => {
                self.must_be_empty()?;
                let secret = BoatSecret::found(&mut self.platform, platforms).map_err(text)?;
                return self.keep(secret);
            }
            Request::Card { report_target } => {
                let card = self.held()?.card();
                Reply::Said(Said { report: self.report(report_target, &card.digest())?, message: encode(&card) })
            }
            Request::Hello => self.say_hello()?,
            Request::Ask { hello, report_target } => {
                self.must_be_empty()?;
                let asked = JoinRequest::ask(&mut self.platform, hello).map_err(text)?;
                let report = self.report(report_target, &asked.request().digest())?;
                let message = asked.request().to_cbor();
                self.asked = Some(asked);
                Reply::Said(Said { message, report })
            }
            Request::Give { request, attestation, report_target } => self.give(request, attestation, report_target)?,
            Request::Accept { offer, giver } => {
                self.must_be_empty()?;
                let asked = self.asked.as_ref().ok_or("nothing was asked for: ask first")?;
                let secret = asked.accept(&self.platform, &self.config.tcb, offer, giver).map_err(text)?;
                return self.keep(secret);
            }
            Request::Open { chain_id, epoch, report_target } => {
                self.held()?;
                let boat = Boat::open(&mut self.platform, chain_id, *epoch);
                let session = Said { message: encode(boat.info()), report: self.report(report_target, &boat.info().digest())? };
                let hello = boat.hello().to_cbor();
                self.boat = Some(boat);
                Reply::Opened { session, hello }
            }
            Request::Release { evidence } => {
                let secret = self.secret.as_ref().ok_or(EMPTY)?;
                let boat = self.boat.as_ref().ok_or("no session is open: open one, and let holders box their shares for it")?;
                Reply::Released(boat.release(&mut self.platform, secret.key(), evidence).map_err(text)?)
            }
        }))
    }

    fn must_be_empty(&self) -> Result<(), String> {
        match self.secret.is_some() || self.waiting.is_some() {
            true => Err("this lifeboat holds a secret already: it is never replaced; use an empty folder".into()),
            false => Ok(()),
        }
    }

    fn held(&self) -> Result<&BoatSecret, String> {
        self.secret.as_ref().ok_or_else(|| EMPTY.into())
    }

    fn say_hello(&mut self) -> Result<Reply, String> {
        self.held()?;
        let mut nonce = [0; 32];
        self.platform.random(&mut nonce);
        let source = *self.platform.identity();
        let hello = Hello { version: messages::VERSION, nonce, chain_id: LIFEBOAT_CHAIN.into(), epoch: 0, source };
        let message = hello.to_cbor();
        self.hello = Some(hello);
        Ok(Reply::Said(Said { message, report: Vec::new() }))
    }

    fn give(&mut self, request: &[u8], attestation: &Attestation, report_target: &[u8]) -> Result<Reply, String> {
        let hello = self.hello.as_ref().ok_or("no hello is open: say hello first")?;
        let secret = self.secret.as_ref().ok_or(EMPTY)?;
        let offer = secret.give(&mut self.platform, &self.config.tcb, hello, request, attestation).map_err(text)?;
        Ok(Reply::Said(Said { report: self.report(report_target, &offer.digest())?, message: offer.to_cbor() }))
    }

    /// Seals a secret; it counts as held once its file came back from disk.
    fn keep(&mut self, secret: BoatSecret) -> Result<Response, String> {
        let plain = secret.danger_encode();
        let sealed = seal::seal(&mut self.platform, Slot::Custody, SealPolicy::Mrenclave, LIFEBOAT_CHAIN, 1, &plain);
        let bytes = sealed.map_err(text)?;
        self.waiting = Some((secret, file_digest(&bytes)));
        Ok(Response { store: Some(bytes), reply: None })
    }

    fn stored(&mut self, file: &[u8]) -> Result<Response, String> {
        let (secret, digest) = self.waiting.take().ok_or("nothing waits to be stored")?;
        if file_digest(file) != digest {
            self.waiting = Some((secret, digest));
            return Err("the sealed file did not come back as it was written: write it again".into());
        }
        self.secret = Some(secret);
        Ok(answer(Reply::Done))
    }

    fn report(&self, target: &[u8], digest: &Digest32) -> Result<Vec<u8>, String> {
        report_over(&self.platform, target, digest).map_err(text)
    }
}

impl<P: Platform> Program for Lifeboat<P> {
    fn handle_bytes(&mut self, request: &[u8]) -> Vec<u8> {
        Lifeboat::handle_bytes(self, request)
    }

    fn oversized(message: String) -> Vec<u8> {
        encode(&refused(message))
    }
}

const EMPTY: &str = "this lifeboat holds no secret yet: found one, or join another lifeboat";

fn text(e: impl core::fmt::Display) -> String {
    e.to_string()
}

fn answer(reply: Reply) -> Response {
    Response { store: None, reply: Some(reply) }
}

fn refused(message: String) -> Response {
    answer(Reply::Refused { message })
}

fn file_digest(bytes: &[u8]) -> Digest32 {
    hash("baton lifeboat file v1", &[bytes])
}
