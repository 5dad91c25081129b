//! The network's own share: a holder that is no person. It agrees to a signature by a vote.
//!
//! The ceremony's enclave holds this share's age identity itself, and brings the share into a session only for the build that a
//! passed proposal names, by the rules of the chain policy that the holder's name commits to. So m - 1 people and a vote sign, or m people.
//! It stands on what an upgrade stands on: plan and proposal proven at one head, the tally over the bonded power at the vote's end, and
//! a transaction with this session's text at or below that head, which makes the view fresh and the network's agreement public.

use alloc::{boxed::Box, format, string::String, vec::Vec};

use baton_attest::identity::{Digest32, Measurement, Signer, encode, hash};
use baton_chain::ChainPolicy;
use baton_chain::evidence::UpgradeEvidence;
use baton_chain::light::{LightBlock, LightClient, LightError};
use baton_chain::policy::ChainPolicyError;
use baton_chain::vote::{Vote, VoteEnd, VoteError};
use minicbor::{Decode, Encode};

use super::{SessionInfo, Subject};
use crate::cbor::decode_exact;
use crate::keeper::MAX_EVIDENCE_BYTES;
use crate::order::fresh_memo;
use crate::order::notice::{FreshEvidence, NoticeError, Public};
use crate::shares::Holder;

/// What the name of a network's share begins with; the digest of its chain policy follows.
pub const NETWORK_PREFIX: &str = "network ";
/// The version of the evidence.
pub const VERSION: u8 = 1;

/// SHA-256(`"baton network share policy v1"`, CBOR of the chain policy).
pub fn policy_digest(policy: &ChainPolicy) -> Digest32 {
    hash("baton network share policy v1", &[&encode(policy)])
}

/// The holder that stands for a network. The enclave puts its own recipient in.
pub fn holder(policy: &ChainPolicy) -> Holder {
    Holder { name: format!("{NETWORK_PREFIX}{}", policy_digest(policy)), recipient: [0; 32] }
}

/// True for a name that only an enclave's own share may have.
pub fn is_network(name: &str) -> bool {
    name.starts_with(NETWORK_PREFIX)
}

/// The memo that makes one agreement public: session and subject in it.
pub fn agreement_text(session: &SessionInfo, subject: &Subject) -> String {
    fresh_memo(&hash("baton network share v1", &[&session.digest().0, &subject.digest().0]))
}

/// What the network's agreement stands on. UNTRUSTED. CBOR map.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct NetworkVote {
    /// [`VERSION`].
    #[n(0)]
    pub version: u8,
    /// The light block of the chain policy's checkpoint.
    #[n(1)]
    pub checkpoint: LightBlock,
    /// As for an upgrade: the way to a head, plan, proposal and vote's end, and a transaction with [`agreement_text`].
    #[n(2)]
    pub upgrade: UpgradeEvidence,
}

impl NetworkVote {
    /// The bytes.
    pub fn to_cbor(&self) -> Vec<u8> {
        encode(self)
    }
}

/// Why the network did not agree. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// Not the evidence.
    #[error("the evidence of the vote cannot be read: truncated, too long, or of another version than {VERSION}")]
    Malformed,
    /// The chain policy.
    #[error("the network's chain policy: {0}")]
    Policy(#[from] ChainPolicyError),
    /// A header.
    #[error(transparent)]
    Light(Box<LightError>),
    /// Plan, proposal or tally.
    #[error(transparent)]
    Vote(Box<VoteError>),
    /// The plan names none.
    #[error("the plan {plan:?} names no enclave: there is nothing to sign for it")]
    NoBuild {
        /// Its name.
        plan: String,
    },
    /// The plan names another one.
    #[error("the network voted for build {expected}, the signature is for {got}")]
    OtherBuild {
        /// As voted.
        expected: Measurement,
        /// As asked.
        got: Measurement,
    },
    /// The plan names numbers that the signature would not have.
    #[error("{what}: the network voted for {expected}, the signature would have {got}")]
    OtherNumber {
        /// Which.
        what: &'static str,
        /// As voted.
        expected: u16,
        /// As asked.
        got: u16,
    },
    /// The plan names another key.
    #[error("the network voted for a build signed by {expected}, this key is {got}")]
    OtherSigner {
        /// As voted.
        expected: Signer,
        /// This ceremony's.
        got: Signer,
    },
    /// A vote names builds, nothing else.
    #[error("the network's share agrees to a signature alone: new holders are for people to agree on")]
    OtherSubject,
    /// The agreement is not public, or old.
    #[error("the network's agreement: {0}")]
    Public(Box<NoticeError>),
}

/// That a vote names the very build that is to be signed. Only [`agreed`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    proposal_id: u64,
    head: u64,
}

impl Agreed {
    /// The proposal.
    pub fn proposal_id(&self) -> u64 {
        self.proposal_id
    }

    /// The head that shows it, in blocks.
    pub fn head(&self) -> u64 {
        self.head
    }
}

/// Judges whether the network agrees to `subject` in this session; `signer` is the MRSIGNER of the key that would sign.
pub fn agreed(
    policy: &ChainPolicy,
    session: &SessionInfo,
    subject: &Subject,
    signer: Signer,
    evidence: &[u8],
) -> Result<Agreed, NetworkError> {
    let Subject::Sign { measurement, product_id, svn } = *subject else {
        return Err(NetworkError::OtherSubject);
    };
    let read = Some(evidence).filter(|b| b.len() <= MAX_EVIDENCE_BYTES).and_then(decode_exact::<NetworkVote>);
    let e = read.filter(|e| e.version == VERSION).ok_or(NetworkError::Malformed)?;
    policy.validate()?;
    let light = |e: LightError| NetworkError::Light(Box::new(e));
    let mut client = LightClient::from_checkpoint(policy, &e.checkpoint).map_err(light)?;
    if !e.upgrade.to_head.blocks.is_empty() {
        client.advance(&e.upgrade.to_head).map_err(light)?;
    }
    let vote = |e: VoteError| NetworkError::Vote(Box::new(e));
    let end = VoteEnd::show(&client, &e.upgrade.vote_end).map_err(vote)?;
    let voted = Vote::verify(policy, client.head(), &e.upgrade.plan, &e.upgrade.proposal, &end).map_err(vote)?;
    let build = voted.build().ok_or_else(|| NetworkError::NoBuild { plan: voted.plan_name().into() })?;
    if build.measurement != measurement {
        return Err(NetworkError::OtherBuild { expected: build.measurement, got: measurement });
    }
    if let Some(expected) = build.product_id.filter(|p| *p != product_id) {
        return Err(NetworkError::OtherNumber { what: "product id", expected, got: product_id });
    }
    if let Some(expected) = build.svn.filter(|least| svn < *least) {
        return Err(NetworkError::OtherNumber { what: "svn", expected, got: svn });
    }
    if let Some(expected) = build.signer.filter(|s| *s != signer) {
        return Err(NetworkError::OtherSigner { expected, got: signer });
    }
    let public = Public { chain_id: &policy.chain_id, witnesses: None, light: &client };
    let text = agreement_text(session, subject);
    public
        .fresh(&text, &FreshEvidence::Chain(e.upgrade.publication))
        .map_err(|e| NetworkError::Public(Box::new(e)))?;
    Ok(Agreed { proposal_id: voted.proposal_id(), head: client.head().height() })
}
