//! The ceremony's program: it makes a key inside, deals it to its holders, and signs a build when m of them agree on it.
//!
//! An enclave of its own, with its own measurement. The developers' key (RSA-3072, e = 3) is sealed under MRENCLAVE *and*
//! encrypted under a secret that only m shares give: this machine without holders signs nothing, holders without it
//! neither. Resharing draws a new secret, so old shares open nothing that the newest file holds; a host that kept an older
//! *file* can still bring that one to m holders of that time. The council's key is dealt whole and not kept.
//!
//! Nothing is said before it is on disk: the sealed file comes first, and the shares, which are encrypted to their holders,
//! are part of it, so that a crash between the two loses none.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use baton_attest::identity::{Digest32, Identity, Measurement, encode, hash};
use baton_attest::report::{TARGET_INFO_LEN, TargetInfo};
use baton_attest::sigstruct::SigningKey;
use baton_core::ceremony::{Session, ShareBox, Subject, wrap};
use baton_core::hpke_box::RecipientKey;
use baton_core::messages::report_data;
use baton_core::platform::Platform;
use baton_core::seal::{self, SealPolicy, Slot};
use baton_core::secret::Secret32;
use baton_core::shares::{Combined, Holders, Purpose, Terms, Transcript, VERSION, deal};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use rsa::pkcs8::{EncodePrivateKey, LineEnding};
use rsa::traits::PublicKeyParts;
use rsa::{BigUint, RsaPrivateKey};
use zeroize::Zeroizing;

use crate::link::read_request;

/// ISVPRODID of this program.
pub const PRODUCT_ID: u16 = 3;
/// What stands in the place of a chain id in its sealed files.
pub const CEREMONY_CHAIN: &str = "baton/ceremony";
/// Largest request that is read, in bytes.
pub const MAX_REQUEST_BYTES: usize = 4 << 20;
/// Bits of the developers' key.
const RSA_BITS: usize = 3072;

/// What a host may ask for.
#[derive(Clone, Debug, Encode, Decode)]
#[cbor(flat)]
pub enum Request {
    /// Who it is, and what it holds.
    #[n(0)]
    Status,
    /// Make a key of a kind, and deal it. Only where nothing is sealed.
    #[n(1)]
    New {
        /// Which.
        #[n(0)]
        purpose: Purpose,
        /// For whom.
        #[n(1)]
        holders: Holders,
        /// TARGETINFO of the quoting enclave, 512 bytes.
        #[cbor(n(2), with = "minicbor::bytes")]
        report_target: Vec<u8>,
    },
    /// What the disk gave back.
    #[n(2)]
    Stored {
        /// The sealed file.
        #[cbor(n(0), with = "minicbor::bytes")]
        file: Vec<u8>,
    },
    /// The last ceremony once more: transcript and files.
    #[n(3)]
    Show {
        /// TARGETINFO of the quoting enclave, 512 bytes.
        #[cbor(n(0), with = "minicbor::bytes")]
        report_target: Vec<u8>,
    },
    /// A session for boxes.
    #[n(4)]
    Session {
        /// TARGETINFO of the quoting enclave, 512 bytes.
        #[cbor(n(0), with = "minicbor::bytes")]
        report_target: Vec<u8>,
    },
    /// Sign a build.
    #[n(5)]
    Sign {
        /// MRENCLAVE.
        #[n(0)]
        measurement: Measurement,
        /// ISVPRODID.
        #[n(1)]
        product_id: u16,
        /// ISVSVN.
        #[n(2)]
        svn: u16,
        /// Holders' boxes.
        #[n(3)]
        boxes: Vec<ShareBox>,
    },
    /// Deal the key again.
    #[n(6)]
    Reshare {
        /// The new holders.
        #[n(0)]
        holders: Holders,
        /// Boxes of m old ones.
        #[n(1)]
        boxes: Vec<ShareBox>,
        /// TARGETINFO of the quoting enclave, 512 bytes.
        #[cbor(n(2), with = "minicbor::bytes")]
        report_target: Vec<u8>,
    },
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
        /// The transcript of the last ceremony.
        #[n(1)]
        transcript: Option<ByteVec>,
    },
    /// A ceremony: what is published, and what goes to each holder.
    #[n(2)]
    Dealt {
        /// The transcript.
        #[cbor(n(0), with = "minicbor::bytes")]
        transcript: Vec<u8>,
        /// Report over its digest, 432 bytes.
        #[cbor(n(1), with = "minicbor::bytes")]
        report: Vec<u8>,
        /// Age files, in the order of the holders.
        #[n(2)]
        files: Vec<ByteVec>,
    },
    /// A session.
    #[n(3)]
    Session {
        /// The session.
        #[cbor(n(0), with = "minicbor::bytes")]
        session: Vec<u8>,
        /// Report over its digest, 432 bytes.
        #[cbor(n(1), with = "minicbor::bytes")]
        report: Vec<u8>,
    },
    /// A signature.
    #[n(4)]
    Signed {
        /// SIGSTRUCT, 1808 bytes.
        #[cbor(n(0), with = "minicbor::bytes")]
        sigstruct: Vec<u8>,
        /// Whose shares were good.
        #[n(1)]
        holders: Vec<String>,
        /// What was brought and did not count.
        #[n(2)]
        skipped: Vec<String>,
    },
}

/// A sealed file to write, and then an answer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Response {
    /// Write this under this generation, and bring back what the disk gives: [`Request::Stored`].
    #[n(0)]
    pub store: Option<ToStore>,
    /// The answer, if nothing has to be stored first.
    #[n(1)]
    pub reply: Option<Reply>,
}

/// A sealed file.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ToStore {
    /// Its number.
    #[n(0)]
    pub generation: u64,
    /// Its bytes.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub bytes: Vec<u8>,
}

/// What is sealed: the last ceremony. There is no key in it that opens without shares.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
struct State {
    #[cbor(n(0), with = "minicbor::bytes")]
    transcript: Vec<u8>,
    /// The wrapped signing key; empty for a council.
    #[cbor(n(1), with = "minicbor::bytes")]
    wrapped: Vec<u8>,
    #[n(2)]
    files: Vec<ByteVec>,
}

struct Waiting {
    file: Digest32,
    reply: Reply,
}

/// The running program.
pub struct Ceremony<P: Platform> {
    platform: P,
    state: Option<(Transcript, State)>,
    generation: u64,
    session: Option<Session>,
    waiting: Option<Waiting>,
    /// Sealing failed after a change, so nothing more is said.
    failed: bool,
}

/// A file that does not open. It stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ceremony's sealed file does not open: {0}")]
pub struct StartError(pub String);

impl<P: Platform> Ceremony<P> {
    /// Starts from the newest file, or empty. `seen` is the highest generation on disk.
    pub fn start(platform: P, file: Option<&[u8]>, seen: u64) -> Result<Self, StartError> {
        let mut generation = seen;
        let state = match file {
            None => None,
            Some(file) => {
                let opened = seal::open(&platform, Slot::Custody, CEREMONY_CHAIN, file).map_err(|e| StartError(e.to_string()))?;
                generation = generation.max(opened.header.generation);
                let state: State = minicbor::decode(&opened.plaintext).map_err(|e| StartError(e.to_string()))?;
                let transcript = Transcript::from_cbor(&state.transcript).map_err(|e| StartError(e.to_string()))?;
                Some((transcript, state))
            }
        };
        Ok(Ceremony { platform, state, generation, session: None, waiting: None, failed: false })
    }

    /// Handles one request, bytes to bytes.
    pub fn handle_bytes(&mut self, request: &[u8]) -> Vec<u8> {
        encode(&match read_request(request, MAX_REQUEST_BYTES) {
            Ok(r) => self.handle(&r),
            Err(message) => answer(Reply::Refused { message }),
        })
    }

    /// Handles one request.
    pub fn handle(&mut self, request: &Request) -> Response {
        match self.run(request) {
            Ok(response) => response,
            Err(message) => answer(Reply::Refused { message }),
        }
    }

    fn run(&mut self, request: &Request) -> Result<Response, String> {
        match request {
            Request::Status => {
                let transcript = self.state.as_ref().map(|(t, _)| t.to_cbor().into());
                return Ok(answer(Reply::Status { identity: *self.platform.identity(), transcript }));
            }
            Request::Stored { file } => return self.stored(file),
            _ if self.failed => return Err("the last change is in no file: start again from the newest file".into()),
            _ if self.waiting.is_some() => return Err("a sealed file waits to be stored: bring what the disk gives back".into()),
            _ => {}
        }
        match request {
            Request::New { purpose, holders, report_target } => self.new_key(*purpose, holders, report_target),
            Request::Show { report_target } => self.dealt(report_target).map(answer),
            Request::Session { report_target } => self.open_session(report_target),
            Request::Sign { measurement, product_id, svn, boxes } => {
                let subject = Subject::Sign { measurement: *measurement, product_id: *product_id, svn: *svn };
                let (key, combined) = self.signing_key(&subject, boxes)?;
                let fields = key.sign_build(*measurement, *product_id, *svn).map_err(text)?;
                self.session = None;
                Ok(answer(Reply::Signed {
                    sigstruct: fields.to_bytes().to_vec(),
                    holders: combined.holders().to_vec(),
                    skipped: combined.bad().iter().map(ToString::to_string).collect(),
                }))
            }
            Request::Reshare { holders, boxes, report_target } => self.reshare(holders, boxes, report_target),
            Request::Status | Request::Stored { .. } => Err("unreachable".into()),
        }
    }

    fn new_key(&mut self, purpose: Purpose, holders: &Holders, report_target: &[u8]) -> Result<Response, String> {
        if self.state.is_some() {
            return Err("this program holds a ceremony already: a key is never replaced; use an empty folder, or share it again".into());
        }
        // Before a key is made: RSA takes seconds.
        holders.validate().map_err(text)?;
        target_info(report_target)?;
        let secret = Secret32::random(&mut self.platform);
        let (public_key, pem) = match purpose {
            Purpose::Signer => {
                let (n, pem) = make_rsa(&mut self.platform)?;
                (n, Some(pem))
            }
            Purpose::Council => {
                let seed = Secret32::danger_from_bytes(secret.danger_expose());
                (RecipientKey::from_seed(seed).public_key().to_bytes(), None)
            }
        };
        let terms = Terms { version: VERSION, purpose, number: 1, previous: None, public_key, holders: holders.clone() };
        let pem = pem.as_ref().map(|p| p.as_bytes());
        self.deal(terms, &secret, pem, report_target)
    }

    fn reshare(&mut self, holders: &Holders, boxes: &[ShareBox], report_target: &[u8]) -> Result<Response, String> {
        holders.validate().map_err(text)?;
        target_info(report_target)?;
        let subject = Subject::Reshare { holders: holders.digest() };
        let (pem, _) = self.unwrapped(&subject, boxes)?;
        let (before, _) = self.held()?;
        let number = before.terms().number.checked_add(1).ok_or("too many ceremonies")?;
        let terms = Terms { number, previous: Some(before.digest()), holders: holders.clone(), ..before.terms().clone() };
        let secret = Secret32::random(&mut self.platform);
        let response = self.deal(terms, &secret, Some(&pem), report_target)?;
        self.session = None;
        Ok(response)
    }

    fn deal(&mut self, terms: Terms, secret: &Secret32, key: Option<&[u8]>, report_target: &[u8]) -> Result<Response, String> {
        let id = terms.id();
        let wrapped = key.map_or(Some(Vec::new()), |k| wrap::wrap(secret, &id, k)).ok_or("the key could not be wrapped")?;
        let dealt = deal(&mut self.platform, terms, secret).map_err(text)?;
        let files = dealt.files.into_iter().map(ByteVec::from).collect();
        let state = State { transcript: dealt.transcript.to_cbor(), wrapped, files };
        let generation = self.generation.saturating_add(1);
        let sealed = seal::seal(&mut self.platform, Slot::Custody, SealPolicy::Mrenclave, CEREMONY_CHAIN, generation, &encode(&state));
        let bytes = sealed.map_err(text)?;
        // Every check has passed. Dying here loses nothing: the file before this one is as it was.
        self.generation = generation;
        self.state = Some((dealt.transcript, state));
        let reply = self.dealt(report_target).inspect_err(|_| self.failed = true)?;
        self.waiting = Some(Waiting { file: file_digest(&bytes), reply });
        Ok(Response { store: Some(ToStore { generation, bytes }), reply: None })
    }

    fn stored(&mut self, file: &[u8]) -> Result<Response, String> {
        let waiting = self.waiting.take().ok_or("nothing waits to be stored")?;
        if file_digest(file) != waiting.file {
            self.waiting = Some(waiting);
            return Err("the sealed file did not come back as it was written: write it again, nothing was said yet".into());
        }
        Ok(answer(waiting.reply))
    }

    fn held(&self) -> Result<&(Transcript, State), String> {
        self.state.as_ref().ok_or_else(|| "this program holds no ceremony yet: make a key first".into())
    }

    fn dealt(&self, report_target: &[u8]) -> Result<Reply, String> {
        let (transcript, state) = self.held()?;
        let report = self.report(report_target, &transcript.digest())?;
        Ok(Reply::Dealt { transcript: state.transcript.clone(), report, files: state.files.clone() })
    }

    fn open_session(&mut self, report_target: &[u8]) -> Result<Response, String> {
        let digest = self.held()?.0.digest();
        let session = Session::open(&mut self.platform, digest);
        let report = self.report(report_target, &session.info().digest())?;
        let bytes = encode(session.info());
        self.session = Some(session);
        Ok(answer(Reply::Session { session: bytes, report }))
    }

    /// The wrapped key as m holders unwrap it, for one subject.
    fn unwrapped(&self, subject: &Subject, boxes: &[ShareBox]) -> Result<(Zeroizing<Vec<u8>>, Combined), String> {
        let (transcript, state) = self.held()?;
        if transcript.terms().purpose != Purpose::Signer {
            return Err("this ceremony's key opens escrows: it signs nothing, and changes with the network's policy; make a new one".into());
        }
        let session = self.session.as_ref().ok_or("no session is open: open one, and let holders box their shares for it")?;
        let combined = session.combine(transcript, subject, boxes).map_err(text)?;
        let key = wrap::unwrap(&combined, &transcript.terms().id(), &state.wrapped);
        Ok((key.ok_or("the shares are good, and the key does not open: the sealed file is damaged; use the older generation")?, combined))
    }

    fn signing_key(&self, subject: &Subject, boxes: &[ShareBox]) -> Result<(SigningKey, Combined), String> {
        let (pem, combined) = self.unwrapped(subject, boxes)?;
        let pem = core::str::from_utf8(&pem).map_err(text)?;
        Ok((SigningKey::from_pem(pem).map_err(text)?, combined))
    }

    fn report(&self, target: &[u8], digest: &Digest32) -> Result<Vec<u8>, String> {
        let target = target_info(target)?;
        Ok(self.platform.report(&target, &report_data(digest)).to_vec())
    }
}

fn text(e: impl core::fmt::Display) -> String {
    e.to_string()
}

fn answer(reply: Reply) -> Response {
    Response { store: None, reply: Some(reply) }
}

fn file_digest(bytes: &[u8]) -> Digest32 {
    hash("baton ceremony file v1", &[bytes])
}

fn target_info(bytes: &[u8]) -> Result<TargetInfo, String> {
    let bytes: &[u8; TARGET_INFO_LEN] =
        bytes.try_into().map_err(|_| format!("a TARGETINFO has {TARGET_INFO_LEN} bytes, got {}", bytes.len()))?;
    TargetInfo::parse(bytes).map_err(text)
}

/// The modulus, little endian, and the key in PEM.
fn make_rsa(platform: &mut dyn Platform) -> Result<(Vec<u8>, Zeroizing<String>), String> {
    let key = RsaPrivateKey::new_with_exp(&mut OldRng(platform), RSA_BITS, &BigUint::from(3u8)).map_err(text)?;
    let pem = key.to_pkcs8_pem(LineEnding::LF).map_err(text)?;
    let mut modulus = key.n().to_bytes_le();
    modulus.resize(RSA_BITS / 8, 0);
    Ok((modulus, pem))
}

/// The machine's randomness in the older shape that the RSA library asks for.
struct OldRng<'a>(&'a mut dyn Platform);

impl rsa::rand_core::RngCore for OldRng<'_> {
    fn next_u32(&mut self) -> u32 {
        let mut b = [0; 4];
        self.0.random(&mut b);
        u32::from_le_bytes(b)
    }

    fn next_u64(&mut self) -> u64 {
        let mut b = [0; 8];
        self.0.random(&mut b);
        u64::from_le_bytes(b)
    }

    fn fill_bytes(&mut self, dest: &mut [u8]) {
        self.0.random(dest);
    }

    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), rsa::rand_core::Error> {
        self.0.random(dest);
        Ok(())
    }
}

impl rsa::rand_core::CryptoRng for OldRng<'_> {}
