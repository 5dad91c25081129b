//! The ceremony's program: it makes a key inside, deals it to its holders, and signs a build when m of them agree on it.
//!
//! An enclave of its own, with its own measurement. The developers' key (RSA-3072, e = 3) is sealed under MRENCLAVE *and*
//! encrypted under a secret that only m shares give: this machine without holders signs nothing, holders without it
//! neither. Resharing draws a new secret, so old shares open nothing that the newest file holds; a host that kept an older
//! *file* can still bring that one to m holders of that time. The council's key is dealt whole and not kept.
//!
//! One holder may be a network: its share stays here, and counts for the build that a passed proposal names ([`network`]).
//!
//! Nothing is said before it is on disk: the sealed file comes first, and the shares, which are encrypted to their holders,
//! are part of it, so that a crash between the two loses none.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use baton_attest::identity::{Digest32, Identity, Measurement, Signer, encode, hash};
use baton_attest::report::{TARGET_INFO_LEN, TargetInfo};
use baton_attest::sigstruct::SigningKey;
use baton_chain::ChainPolicy;
use baton_core::ceremony::{Session, ShareBox, Subject, network, wrap};
use baton_core::escrow::key_digest;
use baton_core::hpke_box::RecipientKey;
use baton_core::keeper::report_over;
use baton_core::platform::Platform;
use baton_core::seal::{self, SealPolicy, Slot};
use baton_core::secret::Secret32;
use baton_core::shares::{Combined, Holders, Purpose, Share, Terms, Transcript, VERSION, age, deal};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use rsa::pkcs8::{EncodePrivateKey, LineEnding};
use rsa::traits::PublicKeyParts;
use rsa::{BigUint, RsaPrivateKey};
use zeroize::{Zeroize as _, Zeroizing};

use crate::link::{Program, read_request};

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
        /// CBOR of the chain policy by which the network's share agrees, if one of the holders is the network.
        #[n(3)]
        network: Option<ByteVec>,
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
        /// The network's agreement: CBOR of [`network::NetworkVote`].
        #[n(4)]
        vote: Option<ByteVec>,
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
        /// As for [`Request::New`].
        #[n(3)]
        network: Option<ByteVec>,
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
    /// None where no holder is a network, and in files of before this field.
    #[n(3)]
    network: Option<Network>,
}

/// The network's share: which one it is, who opens its age file, and by which rules it agrees.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
struct Network {
    #[n(0)]
    index: u8,
    /// An age identity as text.
    #[n(1)]
    identity: String,
    #[n(2)]
    policy: ChainPolicy,
}

impl Drop for Network {
    fn drop(&mut self) {
        self.identity.zeroize();
    }
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
            Request::New { purpose, holders, report_target, network } => {
                self.new_key(*purpose, holders, network.as_deref().map(Vec::as_slice), report_target)
            }
            Request::Show { report_target } => self.dealt(report_target).map(answer),
            Request::Session { report_target } => self.open_session(report_target),
            Request::Sign { measurement, product_id, svn, boxes, vote } => {
                let subject = Subject::Sign { measurement: *measurement, product_id: *product_id, svn: *svn };
                let own = vote.as_ref().map(|v| self.network_share(&subject, v)).transpose()?;
                let (key, combined) = self.signing_key(&subject, boxes, own)?;
                let fields = key.sign_build(*measurement, *product_id, *svn).map_err(text)?;
                self.session = None;
                Ok(answer(Reply::Signed {
                    sigstruct: fields.to_bytes().to_vec(),
                    holders: combined.holders().to_vec(),
                    skipped: combined.bad().iter().map(ToString::to_string).collect(),
                }))
            }
            Request::Reshare { holders, boxes, report_target, network } => {
                self.reshare(holders, boxes, network.as_deref().map(Vec::as_slice), report_target)
            }
            Request::Status | Request::Stored { .. } => Err("unreachable".into()),
        }
    }

    fn new_key(&mut self, purpose: Purpose, holders: &Holders, network: Option<&[u8]>, report_target: &[u8]) -> Result<Response, String> {
        if self.state.is_some() {
            return Err("this program holds a ceremony already: a key is never replaced; use an empty folder, or share it again".into());
        }
        // Before a key is made: RSA takes seconds.
        let (holders, network) = self.with_network(holders, network)?;
        if network.is_some() && purpose == Purpose::Council {
            return Err("a network's share agrees to signatures: expected people alone for a council key, which is dealt whole and not kept".into());
        }
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
        let terms = Terms { version: VERSION, purpose, number: 1, previous: None, public_key, holders };
        let pem = pem.as_ref().map(|p| p.as_bytes());
        self.deal(terms, &secret, pem, network, report_target)
    }

    fn reshare(&mut self, agreed: &Holders, boxes: &[ShareBox], network: Option<&[u8]>, report_target: &[u8]) -> Result<Response, String> {
        let (holders, network) = self.with_network(agreed, network)?;
        target_info(report_target)?;
        // People agreed to the list as they have it, in which a network has no recipient yet.
        let subject = Subject::Reshare { holders: agreed.digest() };
        let (pem, _) = self.unwrapped(&subject, boxes, None)?;
        let (before, _) = self.held()?;
        let number = before.terms().number.checked_add(1).ok_or("too many ceremonies")?;
        let terms = Terms { number, previous: Some(before.digest()), holders, ..before.terms().clone() };
        let secret = Secret32::random(&mut self.platform);
        let response = self.deal(terms, &secret, Some(&pem), network, report_target)?;
        self.session = None;
        Ok(response)
    }

    /// The list with the enclave's own recipient in the place of a network's, and what opens its share. Nobody else gets
    /// a share under such a name.
    fn with_network(&mut self, holders: &Holders, policy: Option<&[u8]>) -> Result<(Holders, Option<Network>), String> {
        let mut holders = holders.clone();
        let Some(at) = holders.holders.iter().position(|h| network::is_network(&h.name)) else {
            holders.validate().map_err(text)?;
            return match policy {
                None => Ok((holders, None)),
                Some(_) => Err(format!("a chain policy came, and no holder is named {:?} and its digest", network::NETWORK_PREFIX)),
            };
        };
        let policy = policy.ok_or("a holder is a network: bring its chain policy")?;
        let policy: ChainPolicy = minicbor::decode(policy).map_err(|_| "the network's chain policy cannot be read")?;
        policy.validate().map_err(text)?;
        let expected = network::holder(&policy).name;
        let identity = age::Identity::generate(&mut self.platform);
        let listed = holders.holders.get_mut(at).ok_or("no such holder")?;
        if listed.name != expected || listed.recipient != [0; 32] {
            return Err(format!("a network's share: expected the name {expected:?} and no recipient, got {:?}", listed.name));
        }
        listed.recipient = *identity.recipient().as_bytes();
        if holders.holders.iter().filter(|h| network::is_network(&h.name)).count() != 1 {
            return Err("expected one network among the holders, got more".into());
        }
        holders.validate().map_err(text)?;
        let index = u8::try_from(at.saturating_add(1)).map_err(text)?;
        let identity = identity.danger_to_text().as_str().into();
        Ok((holders, Some(Network { index, identity, policy })))
    }

    /// The network's share, for the build that it voted for.
    fn network_share(&self, subject: &Subject, vote: &[u8]) -> Result<Share, String> {
        let (transcript, state) = self.held()?;
        let network = state.network.as_ref().ok_or("no holder of this ceremony is a network: a vote agrees to nothing here")?;
        let session = self.session.as_ref().ok_or(NO_SESSION)?;
        let signer = Signer(key_digest(&transcript.terms().public_key).0);
        network::agreed(&network.policy, session.info(), subject, signer, vote).map_err(text)?;
        let at = usize::from(network.index).checked_sub(1);
        let file = at.and_then(|at| state.files.get(at)).ok_or("the network's share is not there")?;
        let identity = age::Identity::parse(&network.identity).map_err(text)?;
        let plain = age::decrypt(&identity, file).map_err(text)?;
        Share::parse(core::str::from_utf8(&plain).map_err(text)?).map_err(text)
    }

    fn deal(
        &mut self,
        terms: Terms,
        secret: &Secret32,
        key: Option<&[u8]>,
        network: Option<Network>,
        report_target: &[u8],
    ) -> Result<Response, String> {
        let id = terms.id();
        let wrapped = key.map_or(Some(Vec::new()), |k| wrap::wrap(secret, &id, k)).ok_or("the key could not be wrapped")?;
        let dealt = deal(&mut self.platform, terms, secret).map_err(text)?;
        let files = dealt.files.into_iter().map(ByteVec::from).collect();
        let state = State { transcript: dealt.transcript.to_cbor(), wrapped, files, network };
        let generation = self.generation.saturating_add(1);
        let plain = Zeroizing::new(encode(&state));
        let sealed = seal::seal(&mut self.platform, Slot::Custody, SealPolicy::Mrenclave, CEREMONY_CHAIN, generation, &plain);
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
    fn unwrapped(&self, subject: &Subject, boxes: &[ShareBox], own: Option<Share>) -> Result<(Zeroizing<Vec<u8>>, Combined), String> {
        let (transcript, state) = self.held()?;
        if transcript.terms().purpose != Purpose::Signer {
            return Err("this ceremony's key opens escrows: it signs nothing, and changes with the network's policy; make a new one".into());
        }
        let session = self.session.as_ref().ok_or(NO_SESSION)?;
        let combined = session.combine_with(transcript, subject, boxes, own).map_err(text)?;
        let key = wrap::unwrap(&combined, &transcript.terms().id(), &state.wrapped);
        Ok((key.ok_or("the shares are good, and the key does not open: the sealed file is damaged; use the older generation")?, combined))
    }

    fn signing_key(&self, subject: &Subject, boxes: &[ShareBox], own: Option<Share>) -> Result<(SigningKey, Combined), String> {
        let (pem, combined) = self.unwrapped(subject, boxes, own)?;
        let pem = core::str::from_utf8(&pem).map_err(text)?;
        Ok((SigningKey::from_pem(pem).map_err(text)?, combined))
    }

    fn report(&self, target: &[u8], digest: &Digest32) -> Result<Vec<u8>, String> {
        report_over(&self.platform, target, digest).map_err(text)
    }
}

impl<P: Platform> Program for Ceremony<P> {
    fn handle_bytes(&mut self, request: &[u8]) -> Vec<u8> {
        Ceremony::handle_bytes(self, request)
    }

    fn oversized(message: String) -> Vec<u8> {
        encode(&answer(Reply::Refused { message }))
    }
}

const NO_SESSION: &str = "no session is open: open one, and let holders box their shares for it";

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
