//! The lifeboat: it opens an escrow for one attested target, in public, and knows nothing else.
//!
//! It has no policy of a network, no light client and no app. What it holds is one X-Wing secret, which only lifeboats on
//! the listed machines have ([`secret`]). What a release needs ([`Boat::release`]):
//!
//! 1. m share holders boxed their shares for this session, this order, this request and this machine;
//! 2. the council's key that they give opens the outer layer of the escrow, and this lifeboat's the inner one;
//! 3. m council members of the escrow's conditions signed an order of kind handover, to this lifeboat, for the target's full
//!    identity, which has not run out;
//! 4. the order was public for the conditions' notice, by two dates of w witnesses;
//! 5. the release itself, with the target's request and this session's nonce, is in the witnessed log: so it is of now, and
//!    everybody sees which machine gets the keyring;
//! 6. the target's quote passes the conditions' rules for builds and platforms.
//!
//! The target gets an ordinary offer: it checks every seed against its own commitments, and starts by the same order.

use alloc::{
    boxed::Box,
    string::{String, ToString},
    vec::Vec,
};

use baton_attest::identity::{Digest32, Identity, PlatformId, encode, hash};
use baton_attest::policy::BuildError;
use baton_attest::quote::{Purpose, QuoteTime};
use baton_chain::record::Kind;
use minicbor::{Decode, Encode};

use crate::branch::BranchHead;
use crate::cbor::decode_exact;
use crate::ceremony::{Session, SessionInfo, ShareBox, Subject};
use crate::escrow::{Conditions, Escrow, OpenEscrowError};
use crate::handover::{AttestationError, Payload, check_attestation, payload_context};
use crate::hpke_box::{BoxError, PublicKey, RecipientKey, seal_to};
use crate::keyring::CanaryKeyring;
use crate::log::{LogHash, empty_root};
use crate::messages::{self, Attestation, HandoverRequest, Hello, Message, MessageError, Offer, transcript};
use crate::order::notice::{LogProof, NoticeError, apart, logged};
use crate::order::signed::{SignedError, SignedOrder};
use crate::order::{Action, OrderKind, SkippedSignatures, fresh_memo};
use crate::platform::Platform;
use crate::secret::Secret32;
use crate::shares::{Combined, Purpose as SharePurpose, TooFewShares, Transcript, TranscriptError};
use crate::witness::CosignError;

pub mod secret;

/// The version of the evidence of a release.
pub const VERSION: u8 = 1;
/// Largest evidence of a release that is read, in bytes.
pub const MAX_EVIDENCE_BYTES: usize = 24 << 20;

/// Everything that a release stands on. UNTRUSTED. CBOR map.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ReleaseEvidence {
    /// [`VERSION`].
    #[n(0)]
    pub version: u8,
    /// The transcript of the council's ceremony.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub transcript: Vec<u8>,
    /// Boxed shares.
    #[n(2)]
    pub boxes: Vec<ShareBox>,
    /// The escrow.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub escrow: Vec<u8>,
    /// The signed order.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub order: Vec<u8>,
    /// The order's memo in a cosigned checkpoint.
    #[n(5)]
    pub first: LogProof,
    /// The same in a later one, a notice apart.
    #[n(6)]
    pub second: LogProof,
    /// That the first is a prefix of the second.
    #[n(7)]
    pub consistency: Vec<LogHash>,
    /// [`release_text`] in a cosigned checkpoint.
    #[n(8)]
    pub release: LogProof,
    /// The target's request, to this lifeboat's hello.
    #[cbor(n(9), with = "minicbor::bytes")]
    pub request: Vec<u8>,
    /// The target's quote over it.
    #[n(10)]
    pub attestation: Attestation,
    /// The target's machine, as holders named it in their boxes; the quote must show it.
    #[n(11)]
    pub platform: PlatformId,
}

impl ReleaseEvidence {
    /// The bytes.
    pub fn to_cbor(&self) -> Vec<u8> {
        encode(self)
    }
}

/// What makes one release public: order, request, machine, and the session, which makes it fresh.
pub fn release_text(session: &SessionInfo, subject: &Subject) -> String {
    fresh_memo(&hash("baton lifeboat release v1", &[&session.digest().0, &subject.digest().0]))
}

/// Why nothing is released. Nothing has changed; the session stays open.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// Not the evidence.
    #[error("the evidence of a release cannot be read: truncated, too long, or of another version than {VERSION}")]
    Malformed,
    /// Nobody was asked.
    #[error("no session is open: open one, and let holders box their shares for it")]
    NoSession,
    /// The request.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The request answers another hello.
    #[error("the request answers another session's hello: ask the target again with this one")]
    OtherHello,
    /// Another kind of transfer than the escrow's.
    #[error("the request is for a {got}, expected {expected} for this escrow")]
    OtherKind {
        /// What the escrow is for.
        expected: &'static str,
        /// What is asked for.
        got: &'static str,
    },
    /// The council's transcript.
    #[error(transparent)]
    Transcript(#[from] TranscriptError),
    /// Not a council's.
    #[error("the transcript is of a ceremony for a {got} key, expected council")]
    OtherPurpose {
        /// Its purpose.
        got: SharePurpose,
    },
    /// Too few shares.
    #[error(transparent)]
    Shares(#[from] TooFewShares),
    /// The shares give another key than the transcript says.
    #[error("the shares give another key than the transcript names: the transcript is forged")]
    OtherSecret,
    /// The escrow.
    #[error(transparent)]
    Escrow(#[from] OpenEscrowError),
    /// The signed order.
    #[error(transparent)]
    Signed(#[from] SignedError),
    /// For another chain than the escrow.
    #[error("{what} is for chain {got:?}, the escrow for {expected:?}")]
    OtherChain {
        /// What.
        what: &'static str,
        /// The escrow's.
        expected: String,
        /// Its.
        got: String,
    },
    /// To somebody else.
    #[error("the order is to {got}, this lifeboat is {expected}: an order to a lifeboat names it in `from`")]
    OtherSource {
        /// Our identity digest.
        expected: Digest32,
        /// The order's.
        got: Digest32,
    },
    /// Not a handover.
    #[error("the order is a {got}, expected handover")]
    OtherOrder {
        /// Its kind.
        got: OrderKind,
    },
    /// Too few council signatures.
    #[error("the order is signed by {got} of {needed} council members needed{skipped}")]
    NotEnough {
        /// m.
        needed: u32,
        /// Good signatures.
        got: usize,
        /// What does not count.
        skipped: SkippedSignatures,
    },
    /// Void by date.
    #[error("the order is void from {expiry_secs} on, witnesses say that it is at least {now} (unix seconds): sign a new one")]
    Expired {
        /// Its end.
        expiry_secs: u64,
        /// The date.
        now: u64,
    },
    /// A checkpoint.
    #[error("{what}: {why}")]
    Cosign {
        /// Which.
        what: &'static str,
        /// Why.
        why: CosignError,
    },
    /// Two checkpoints of two histories, or too close together.
    #[error(transparent)]
    Notice(Box<NoticeError>),
    /// The target's quote.
    #[error(transparent)]
    Attestation(#[from] AttestationError),
    /// No quote, or one from elsewhere.
    #[error("holders agreed to the machine {expected}, the target runs on {got}: box the shares for that one, or quote on this one (a report shows no machine)")]
    OtherMachine {
        /// As agreed.
        expected: PlatformId,
        /// As quoted; zeros for a report.
        got: PlatformId,
    },
    /// The target is another build.
    #[error("the order names the build {expected} (identity digest), the target is {got}")]
    OtherTarget {
        /// In the order.
        expected: Digest32,
        /// As quoted.
        got: Digest32,
    },
    /// A build that no order can name.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The target's key.
    #[error(transparent)]
    Box(#[from] BoxError),
}

/// What a lifeboat gave, and what people should know of it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Released {
    /// The offer, for the target.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub offer: Vec<u8>,
    /// Whose shares were good.
    #[n(1)]
    pub holders: Vec<String>,
    /// What was brought and did not count.
    #[n(2)]
    pub skipped: Vec<String>,
    /// Council members whose signatures were good.
    #[n(3)]
    pub signers: Vec<String>,
}

/// A session with a target's hello in it. In memory only.
pub struct Boat {
    session: Session,
    hello: Hello,
}

impl Boat {
    /// Opens a session. Chain and epoch are the host's word: they only go into the hello, and the escrow is what counts.
    pub fn open(platform: &mut dyn Platform, chain_id: &str, epoch: u64) -> Self {
        let session = Session::open(platform, Digest32([0; 32]));
        let source = *platform.identity();
        let nonce = session.info().nonce;
        let hello = Hello { version: messages::VERSION, nonce, chain_id: chain_id.into(), epoch, source };
        Boat { session, hello }
    }

    /// For holders, who check its attestation.
    pub fn info(&self) -> &SessionInfo {
        self.session.info()
    }

    /// For the target.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Judges a release, and makes the offer.
    pub fn release<P: Platform>(
        &self,
        platform: &mut P,
        secret: &RecipientKey,
        evidence: &[u8],
    ) -> Result<Released, ReleaseError> {
        let evidence = Some(evidence).filter(|b| b.len() <= MAX_EVIDENCE_BYTES).and_then(decode_exact::<ReleaseEvidence>);
        let e = evidence.filter(|e| e.version == VERSION).ok_or(ReleaseError::Malformed)?;
        let request = HandoverRequest::from_cbor(&e.request)?;
        if request.nonce != self.hello.nonce {
            return Err(ReleaseError::OtherHello);
        }
        let signed = SignedOrder::from_bytes(&e.order)?;
        let subject = Subject::Release { order: signed.order().digest(), request: request.digest(), platform: e.platform };
        let transcript = Transcript::from_cbor(&e.transcript)?;
        let combined = self.shares(&transcript, &subject, &e.boxes)?;
        let seed = combined.danger_secret().danger_expose();
        let council = RecipientKey::from_seed(Secret32::danger_from_bytes(seed));
        if council.public_key().to_bytes() != transcript.terms().public_key {
            return Err(ReleaseError::OtherSecret);
        }
        let opened = Escrow::from_cbor(&e.escrow)?.open(&council, secret)?;
        let conditions = opened.conditions();
        let kind = kind_of(&request, opened.is_canary())?;
        let (to, signers, skipped) = ordered(platform.identity(), conditions, &request, &signed)?;
        let now = public(conditions, &signed, &release_text(self.info(), &subject), &e)?;
        target(platform, conditions, now, &request, &e, &to)?;
        let authority = hash("baton lifeboat authority v1", &[&signed.order().digest().0, &subject.digest().0]);
        let offer = make_offer(platform, kind, &request, (&to, e.platform), authority, opened.keyring())?;
        let shares = combined.bad().iter().map(ToString::to_string);
        let skipped = shares.chain(skipped.0.iter().map(ToString::to_string)).collect();
        Ok(Released { offer: offer.to_cbor(), holders: combined.holders().to_vec(), skipped, signers })
    }

    fn shares(&self, transcript: &Transcript, subject: &Subject, boxes: &[ShareBox]) -> Result<Combined, ReleaseError> {
        let got = transcript.terms().purpose;
        if got != SharePurpose::Council {
            return Err(ReleaseError::OtherPurpose { got });
        }
        Ok(self.session.combine(transcript, subject, boxes)?)
    }
}

fn kind_of(request: &HandoverRequest, canary: bool) -> Result<Kind, ReleaseError> {
    let got = match request.kind {
        Kind::Upgrade => "upgrade",
        Kind::Join => "join",
        Kind::Sync => "sync",
        Kind::Rehearsal => "rehearsal",
    };
    match (request.kind, canary) {
        (Kind::Upgrade, false) | (Kind::Rehearsal, true) => Ok(request.kind),
        (_, false) => Err(ReleaseError::OtherKind { expected: "upgrade", got }),
        (_, true) => Err(ReleaseError::OtherKind { expected: "rehearsal", got }),
    }
}

/// The build that m council members ordered this lifeboat to hand over to, and who they are.
fn ordered(
    own: &Identity,
    conditions: &Conditions,
    request: &HandoverRequest,
    signed: &SignedOrder,
) -> Result<(Identity, Vec<String>, SkippedSignatures), ReleaseError> {
    let order = signed.order();
    for (what, got) in [("the order", &order.chain_id), ("the request", &request.chain_id)] {
        if *got != conditions.chain_id {
            return Err(ReleaseError::OtherChain { what, expected: conditions.chain_id.clone(), got: got.clone() });
        }
    }
    let expected = own.digest();
    if order.from != expected {
        return Err(ReleaseError::OtherSource { expected, got: order.from });
    }
    let Action::Handover { to } = order.action else {
        return Err(ReleaseError::OtherOrder { got: order.kind() });
    };
    let (authority, signers, skipped) = signed.council(&conditions.council);
    if authority.is_none() {
        return Err(ReleaseError::NotEnough { needed: conditions.council.needed, got: signers.len(), skipped });
    }
    Ok((to, signers, skipped))
}

/// That the order was public for the notice, and the release is of now. Gives the least date that it can be.
fn public(conditions: &Conditions, signed: &SignedOrder, text: &str, e: &ReleaseEvidence) -> Result<u64, ReleaseError> {
    let in_log = |what, text: &str, proof: &LogProof| {
        logged(&conditions.chain_id, &conditions.witnesses, text, proof).map_err(|why| ReleaseError::Cosign { what, why })
    };
    let order = signed.order();
    let memo = order.memo();
    let a = in_log("the order in the earlier checkpoint", &memo, &e.first)?;
    let b = in_log("the order in the later checkpoint", &memo, &e.second)?;
    let (_, second) = apart(&a, &b, &e.consistency, Some(conditions.witnesses.notice_secs)).map_err(|e| match e {
        NoticeError::Cosign(why) => ReleaseError::Cosign { what: "the proof between the two checkpoints", why },
        other => ReleaseError::Notice(other.into()),
    })?;
    // The session's nonce is in this text: it was not in any log before the session began.
    let now = in_log("the release", text, &e.release)?.not_before().max(second);
    match now >= order.expiry_secs {
        true => Err(ReleaseError::Expired { expiry_secs: order.expiry_secs, now }),
        false => Ok(now),
    }
}

/// That the request comes from the build that was ordered, on the machine that holders agreed to.
fn target<P: Platform>(
    platform: &P,
    conditions: &Conditions,
    now: u64,
    request: &HandoverRequest,
    e: &ReleaseEvidence,
    to: &Identity,
) -> Result<(), ReleaseError> {
    let (tcb, time) = (&conditions.tcb, QuoteTime(now));
    let attested = check_attestation(platform, tcb, time, Purpose::Secret, &e.attestation, &request.digest())?;
    let got = attested.platform().unwrap_or(PlatformId::UNKNOWN);
    if got != e.platform || got == PlatformId::UNKNOWN {
        return Err(ReleaseError::OtherMachine { expected: e.platform, got });
    }
    let target = attested.identity();
    if target != to {
        return Err(ReleaseError::OtherTarget { expected: to.digest(), got: target.digest() });
    }
    conditions.builds.check(target)?;
    Ok(())
}

fn make_offer<P: Platform>(
    platform: &mut P,
    kind: Kind,
    request: &HandoverRequest,
    to: (&Identity, PlatformId),
    authority: Digest32,
    keyring: &[u8],
) -> Result<Offer, ReleaseError> {
    let own = platform.identity().digest();
    let transcript = transcript(kind, &request.digest(), &own, &to.0.digest(), &authority);
    // A lifeboat keeps no log: the target's branch begins at it, with nothing before.
    let parent = BranchHead { id: own, size: 0, root: empty_root() };
    let payload = Payload {
        version: messages::VERSION,
        keyring: keyring.to_vec(),
        parent,
        platform: to.1,
        plan: None,
        emergencies: None,
    };
    let key = PublicKey::from_bytes(&request.hpke_key)?;
    let sealed = seal_to(platform, &key, payload_context(kind), &transcript.0, &payload.encode())?;
    Ok(Offer { version: messages::VERSION, kind, transcript, source: own, authority, sealed })
}

/// Why a canary was not taken out of an offer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the offer does not open, or holds no canary")]
pub struct NoCanary;

/// A drill's target: opens an offer of kind rehearsal. It reads canaries only.
pub fn open_canary(key: &RecipientKey, offer: &[u8]) -> Result<CanaryKeyring, NoCanary> {
    let offer = Offer::from_cbor(offer).map_err(|_| NoCanary)?;
    let plain = key.open(payload_context(Kind::Rehearsal), &offer.transcript.0, &offer.sealed).map_err(|_| NoCanary)?;
    let payload: Payload = decode_exact(&plain).ok_or(NoCanary)?;
    CanaryKeyring::decode(&payload.keyring).map_err(|_| NoCanary)
}
