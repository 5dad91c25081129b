//! The lifeboats' secret: made once, and passed only to the same program on machines that were listed before it was made.
//!
//! The list is fixed with the key and public with it ([`Card`]), so a forged quote for a machine of the forger's own (A29)
//! opens nothing. There is no clock: a peer's collateral is judged at the newest date that is signed in it.

use alloc::vec::Vec;

use baton_attest::identity::{Digest32, Identity, PlatformId, encode, hash};
use baton_attest::policy::TcbPolicy;
use baton_attest::quote::{Purpose, QuoteTime};
use baton_chain::record::Kind;
use minicbor::{Decode, Encode};
use zeroize::{Zeroize, Zeroizing};

use crate::cbor::decode_exact;
use crate::escrow::key_digest;
use crate::handover::{AttestationError, check_attestation};
use crate::hpke_box::{BoxError, PublicKey, RecipientKey, seal_to};
use crate::messages::{self, Attestation, HandoverRequest, Hello, Message, MessageError, Offer, transcript};
use crate::platform::Platform;
use crate::secret::Secret32;

/// What stands in the place of a chain id in messages between lifeboats, and in their sealed files.
pub const LIFEBOAT_CHAIN: &str = "baton/lifeboat";
/// How many machines a lifeboat's key is made for, at least.
pub const MIN_PLATFORMS: usize = 3;
/// And at most.
pub const MAX_PLATFORMS: usize = 50;

const CONTEXT: &str = "baton lifeboat secret v1";

/// What everybody may know of a lifeboat key; its digest is what a lifeboat attests. CBOR array.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Card {
    /// 1.
    #[n(0)]
    pub version: u8,
    /// X-Wing public key, 1216 bytes; policies name it by its SHA-256.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub public_key: Vec<u8>,
    /// The machines that may hold its secret, ascending.
    #[n(2)]
    pub platforms: Vec<PlatformId>,
}

impl Card {
    /// SHA-256(`"baton lifeboat card v1"`, CBOR).
    pub fn digest(&self) -> Digest32 {
        hash("baton lifeboat card v1", &[&encode(self)])
    }
}

/// Why a lifeboat's secret was not made, passed on or taken. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Too few machines, too many, or one twice.
    #[error("{got} different machines: expected {MIN_PLATFORMS} to {MAX_PLATFORMS}, each once; one fire must not take them all")]
    Platforms {
        /// Different ones.
        got: usize,
    },
    /// Something is held already.
    #[error("this lifeboat holds a secret already: it is never replaced; use an empty folder")]
    Holds,
    /// Nothing is held.
    #[error("this lifeboat holds no secret yet: found one, or join another lifeboat")]
    Empty,
    /// A message.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// Not for lifeboats.
    #[error("the message is for a {got} of {chain:?}, expected a join of {LIFEBOAT_CHAIN:?}")]
    OtherKind {
        /// Its kind.
        got: &'static str,
        /// Its chain id.
        chain: alloc::string::String,
    },
    /// The nonce is nobody's.
    #[error("the request answers no open hello of this instance: ask for a hello again")]
    UnknownNonce,
    /// The offer is nobody's.
    #[error("the offer answers no open request of this instance: ask again")]
    NoRequest,
    /// Who speaks.
    #[error(transparent)]
    Attestation(#[from] AttestationError),
    /// Another program.
    #[error("the other side is {got}, expected this very identity, {expected}")]
    OtherIdentity {
        /// Our identity digest.
        expected: Digest32,
        /// Its.
        got: Digest32,
    },
    /// A machine that was not listed.
    #[error("machine {got} is not one that this lifeboat key was made for; make a new key with it on the list, and let the network vote for it")]
    NotListed {
        /// As quoted; zeros for a report.
        got: PlatformId,
    },
    /// Encryption.
    #[error(transparent)]
    Box(#[from] BoxError),
    /// Contents.
    #[error("what the other lifeboat sent cannot be read")]
    Payload,
}

/// What is sealed, and what crosses.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Wire {
    #[n(0)]
    version: u8,
    #[cbor(n(1), with = "minicbor::bytes")]
    seed: [u8; 32],
    #[n(2)]
    platforms: Vec<PlatformId>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.seed.zeroize();
    }
}

/// The secret, with the machines that may hold it.
pub struct BoatSecret {
    key: RecipientKey,
    platforms: Vec<PlatformId>,
}

impl BoatSecret {
    /// Makes a secret for these machines.
    pub fn found(platform: &mut dyn Platform, platforms: &[PlatformId]) -> Result<Self, SecretError> {
        let mut list = platforms.to_vec();
        list.sort_unstable();
        list.dedup();
        let bad = list.len() != platforms.len() || list.contains(&PlatformId::UNKNOWN);
        if bad || list.len() < MIN_PLATFORMS || list.len() > MAX_PLATFORMS {
            return Err(SecretError::Platforms { got: list.len() });
        }
        Ok(BoatSecret { key: RecipientKey::generate(platform), platforms: list })
    }

    /// The key that opens escrows.
    pub fn key(&self) -> &RecipientKey {
        &self.key
    }

    /// What everybody may know.
    pub fn card(&self) -> Card {
        Card { version: 1, public_key: self.key.public_key().to_bytes(), platforms: self.platforms.clone() }
    }

    /// SHA-256 of the public key.
    pub fn key_digest(&self) -> Digest32 {
        key_digest(&self.key.public_key().to_bytes())
    }

    /// The bytes to seal.
    pub fn danger_encode(&self) -> Zeroizing<Vec<u8>> {
        let seed = *self.key.danger_seed().danger_expose();
        Zeroizing::new(encode(&Wire { version: 1, seed, platforms: self.platforms.clone() }))
    }

    /// Reads those bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, SecretError> {
        let mut wire: Wire = decode_exact(bytes).filter(|w: &Wire| w.version == 1).ok_or(SecretError::Payload)?;
        let key = RecipientKey::from_seed(Secret32::danger_from_bytes(&wire.seed));
        Ok(BoatSecret { key, platforms: core::mem::take(&mut wire.platforms) })
    }

    /// The giver's side: to the same identity on a listed machine, for a request to this hello.
    pub fn give<P: Platform>(
        &self,
        platform: &mut P,
        tcb: &TcbPolicy,
        hello: &Hello,
        request: &[u8],
        attestation: &Attestation,
    ) -> Result<Offer, SecretError> {
        let request = HandoverRequest::from_cbor(request)?;
        if request.kind != Kind::Join || request.chain_id != LIFEBOAT_CHAIN {
            let got = if request.kind == Kind::Join { "join" } else { "transfer of another kind" };
            return Err(SecretError::OtherKind { got, chain: request.chain_id });
        }
        if request.nonce != hello.nonce {
            return Err(SecretError::UnknownNonce);
        }
        let got = peer(platform, tcb, attestation, &request.digest())?;
        if !self.platforms.contains(&got) {
            return Err(SecretError::NotListed { got });
        }
        let own = platform.identity().digest();
        let authority = self.card().digest();
        let transcript = transcript(Kind::Join, &request.digest(), &own, &own, &authority);
        let key = PublicKey::from_bytes(&request.hpke_key)?;
        let sealed = seal_to(platform, &key, CONTEXT, &transcript.0, &self.danger_encode())?;
        Ok(Offer { version: messages::VERSION, kind: Kind::Join, transcript, source: own, authority, sealed })
    }
}

/// The machine of a peer of this very identity.
fn peer<P: Platform>(platform: &P, tcb: &TcbPolicy, by: &Attestation, digest: &Digest32) -> Result<PlatformId, SecretError> {
    let attested = check_attestation(platform, tcb, QuoteTime(0), Purpose::Secret, by, digest)?;
    same(platform.identity(), attested.identity())?;
    Ok(attested.platform().unwrap_or(PlatformId::UNKNOWN))
}

fn same(own: &Identity, other: &Identity) -> Result<(), SecretError> {
    match own == other {
        true => Ok(()),
        false => Err(SecretError::OtherIdentity { expected: own.digest(), got: other.digest() }),
    }
}

/// A joiner's open request. In memory only.
pub struct JoinRequest {
    key: RecipientKey,
    request: HandoverRequest,
}

impl JoinRequest {
    /// Answers the hello of another lifeboat.
    pub fn ask(platform: &mut dyn Platform, hello: &[u8]) -> Result<Self, SecretError> {
        let hello = Hello::from_cbor(hello)?;
        if hello.chain_id != LIFEBOAT_CHAIN {
            return Err(SecretError::OtherKind { got: "hello", chain: hello.chain_id });
        }
        same(platform.identity(), &hello.source)?;
        let key = RecipientKey::generate(platform);
        let request = HandoverRequest {
            version: messages::VERSION,
            kind: Kind::Join,
            chain_id: LIFEBOAT_CHAIN.into(),
            epoch: 0,
            nonce: hello.nonce,
            hpke_key: key.public_key().to_bytes(),
        };
        Ok(JoinRequest { key, request })
    }

    /// What is sent, and attested.
    pub fn request(&self) -> &HandoverRequest {
        &self.request
    }

    /// Takes the secret, from a giver that shows itself to be the same program: nobody else's secret is a lifeboat's.
    pub fn accept<P: Platform>(
        &self,
        platform: &P,
        tcb: &TcbPolicy,
        offer: &[u8],
        giver: &Attestation,
    ) -> Result<BoatSecret, SecretError> {
        let offer = Offer::from_cbor(offer)?;
        peer(platform, tcb, giver, &offer.digest())?;
        let own = platform.identity().digest();
        let expected = transcript(Kind::Join, &self.request.digest(), &own, &own, &offer.authority);
        if offer.transcript != expected {
            return Err(SecretError::NoRequest);
        }
        let plain = self.key.open(CONTEXT, &offer.transcript.0, &offer.sealed)?;
        let secret = BoatSecret::decode(&plain)?;
        // The giver's authority is the card: what came is what it says.
        match secret.card().digest() == offer.authority {
            true => Ok(secret),
            false => Err(SecretError::Payload),
        }
    }
}
