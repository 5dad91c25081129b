//! Why a light block was refused.

use alloc::string::String;
use core::fmt;

use baton_attest::identity::Digest32;

use super::Time;

/// A validator's address, the first 20 bytes of SHA-256 over its key; shown as hexadecimal as nodes do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Address(pub [u8; 20]);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode_upper(self.0))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A light block, a path or a checkpoint that was refused. Powers are in the chain's power units.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are what the message prints")]
pub enum LightError {
    /// Bytes that are not what they should be.
    #[error("{what} cannot be read: {reason}")]
    Malformed { what: &'static str, reason: String },
    /// More than this crate accepts.
    #[error("{what} is too large: at most {limit}, got {got}")]
    TooLarge {
        what: &'static str,
        limit: usize,
        got: usize,
    },
    /// More hash links than are walked.
    #[error("evidence: expected at most {limit} hash links, got {got}")]
    Links { limit: usize, got: usize },
    /// A validator whose key is of another kind than Ed25519.
    #[error(
        "validator {index} of the set has no Ed25519 key; chains with other validator keys are not supported"
    )]
    KeyType { index: usize },
    /// The same validator twice in a set, or the same signer twice in a commit.
    #[error("validator {address} appears twice in the {what}")]
    DuplicateValidator {
        what: &'static str,
        address: Address,
    },
    /// A commit whose list of signatures does not fit its validator set.
    #[error(
        "commit at height {height}: expected one entry for each of {expected} validators, got {got}"
    )]
    SignatureCount {
        height: u64,
        expected: usize,
        got: usize,
    },
    /// A commit without a single vote.
    #[error("commit at height {height} holds no signature")]
    NoSignatures { height: u64 },
    /// A vote of somebody outside the set.
    #[error("commit at height {height} holds a vote of {address}, who is not in its validator set")]
    UnknownSigner { height: u64, address: Address },
    /// A signature that does not verify.
    #[error("the signature of validator {address} at height {height} is not valid")]
    BadSignature { height: u64, address: Address },
    /// The commit is for another header.
    #[error("the commit at height {height} is for another header: expected {expected}, got {got}")]
    CommitForOther {
        height: u64,
        expected: Digest32,
        got: Digest32,
    },
    /// The set is not the one that the header names.
    #[error("validator set at height {height}: expected hash {expected}, got {got}")]
    ValidatorsHash {
        height: u64,
        expected: Digest32,
        got: Digest32,
    },
    /// The next set is not the one that the header names.
    #[error("next validator set of height {height}: expected hash {expected}, got {got}")]
    NextValidatorsHash {
        height: u64,
        expected: Digest32,
        got: Digest32,
    },
    /// A skip without the set that has to have signed it.
    #[error(
        "a step from height {from} to {to} skips heights and needs the next validator set of {from}, which is not in the path"
    )]
    MissingNextValidators { from: u64, to: u64 },
    /// The trusted head only moves forward.
    #[error("expected a height above {trusted}, got {got}")]
    NotForward { trusted: u64, got: u64 },
    /// Block time must grow.
    #[error("expected a block time after {trusted}, got {got}")]
    TimeNotForward { trusted: Time, got: Time },
    /// A skip over more than the trusting period.
    #[error(
        "trust in the last header ended at {expires}, and the step goes to {now}; bring headers in between, or adjacent ones, which have no age limit"
    )]
    Expired { expires: Time, now: Time },
    /// A header later than the time that the caller gave.
    #[error("the header's time {header} is not before {now}")]
    FromFuture { header: Time, now: Time },
    /// Too little of the trusted power signed; headers in between may help.
    #[error(
        "of the trusted power {signed} of {total} signed the new header, expected more than {numerator}/{denominator}; bring headers in between"
    )]
    NotEnoughTrust {
        signed: u64,
        total: u64,
        numerator: u64,
        denominator: u64,
    },
    /// The header's own set did not commit it.
    #[error("{signed} of {total} voting power signed the header, expected more than 2/3")]
    NotEnoughSigned { signed: u64, total: u64 },
    /// A trust threshold outside [1/3, 1].
    #[error("trust threshold {numerator}/{denominator}: expected at least 1/3 and at most 1")]
    BadThreshold { numerator: u64, denominator: u64 },
    /// The policy is not usable.
    #[error(transparent)]
    Policy(#[from] crate::policy::ChainPolicyError),
    /// Another chain than the policy's.
    #[error("expected chain id {expected:?}, got {got:?}")]
    ChainId { expected: String, got: String },
    /// Not the policy's checkpoint.
    #[error(
        "expected the checkpoint at height {expected_height} with hash {expected}, got height {got_height} with hash {got}"
    )]
    NotTheCheckpoint {
        expected_height: u64,
        expected: Digest32,
        got_height: u64,
        got: Digest32,
    },
    /// Two headers for one height: a fork, or lies.
    #[error(
        "height {height} is already trusted with hash {known}, got another header {got}: somebody shows a fork"
    )]
    Conflict {
        height: u64,
        known: Digest32,
        got: Digest32,
    },
    /// No trusted header below it.
    #[error(
        "height {got} is not above the first trusted height {first}; only hash links lead back"
    )]
    BeforeCheckpoint { first: u64, got: u64 },
    /// A header that is not the one before.
    #[error("the header before height {height}: expected hash {expected}, got {got}")]
    NotLinked {
        height: u64,
        expected: Digest32,
        got: Digest32,
    },
    /// A path without blocks.
    #[error("the path holds no light block")]
    EmptyPath,
}
