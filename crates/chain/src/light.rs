//! The light client: from a checkpoint in the policy to headers that the chain's validators really signed.
//!
//! Built on `tendermint-light-client-verifier` through its traits. Ours are: the signature check (one batch,
//! ZIP-215, see [`ed25519`]), power sums in 128 bits, and three rules. `now` is the new header's own time, so
//! the trusting period bounds the gap of one skip and no host clock is asked (A13). Adjacent steps have no age
//! limit: a chain that stood still must not lose its enclaves (H19). A changed chain id needs more than two
//! thirds of the last trusted power (H03).
//!
//! The caller provides untrusted [`LightBlock`]s; the threat is a host that shows a fork, an old view, or bytes
//! that break a parser.

use alloc::vec::Vec;
use core::fmt;

use minicbor::{Decode, Encode};

mod block;
mod client;
pub mod ed25519;
mod error;
mod power;
mod powers;
mod step;

pub use block::{
    LightBlock, MAX_PATH_BLOCKS, MAX_SET_BYTES, MAX_SIGNED_HEADER_BYTES, MAX_VALIDATORS, Path,
    validator_set_hash,
};
pub use client::LightClient;
pub use error::LightError;
pub use powers::Powers;
pub use step::{Now, StepParams, check_signed_by, verify_step};

/// A block's time: seconds since 1970-01-01 UTC and nanoseconds within the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(array)]
pub struct Time {
    /// Unix seconds.
    #[n(0)]
    pub secs: i64,
    /// Nanoseconds, below 1 000 000 000.
    #[n(1)]
    pub nanos: u32,
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match tendermint::Time::from_unix_timestamp(self.secs, self.nanos) {
            Ok(t) => f.write_str(&t.to_rfc3339()),
            Err(_) => write!(f, "{}.{:09} s", self.secs, self.nanos),
        }
    }
}

impl From<tendermint::Time> for Time {
    fn from(t: tendermint::Time) -> Self {
        let stamp = tendermint_proto::google::protobuf::Timestamp::from(t);
        // The library keeps nanoseconds within 0..1 000 000 000.
        Time {
            secs: stamp.seconds,
            nanos: u32::try_from(stamp.nanos).unwrap_or_default(),
        }
    }
}

/// What is kept of a header. CBOR array: sealed, never hashed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
struct Fields {
    #[n(0)]
    chain_id: alloc::string::String,
    #[n(1)]
    height: u64,
    #[n(2)]
    time: Time,
    #[cbor(n(3), with = "minicbor::bytes")]
    hash: [u8; 32],
    #[cbor(n(4), with = "minicbor::bytes")]
    last_block_hash: Option<[u8; 32]>,
    #[cbor(n(5), with = "minicbor::bytes")]
    app_hash: Vec<u8>,
    #[cbor(n(6), with = "minicbor::bytes")]
    data_hash: Option<[u8; 32]>,
    #[cbor(n(7), with = "minicbor::bytes")]
    validators_hash: [u8; 32],
    #[cbor(n(8), with = "minicbor::bytes")]
    next_validators_hash: [u8; 32],
}

/// A header that verification showed. Its fields are private, and only this module makes one:
///
/// ```compile_fail
/// let forged = baton_chain::light::TrustedHeader(todo!());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedHeader(Fields);

impl TrustedHeader {
    /// The chain id that the header carries.
    pub fn chain_id(&self) -> &str {
        &self.0.chain_id
    }

    /// Its height.
    pub fn height(&self) -> u64 {
        self.0.height
    }

    /// Its BFT time.
    pub fn time(&self) -> Time {
        self.0.time
    }

    /// Its header hash.
    pub fn hash(&self) -> [u8; 32] {
        self.0.hash
    }

    /// The hash of the header before it; `None` at a chain's first height.
    pub fn last_block_hash(&self) -> Option<[u8; 32]> {
        self.0.last_block_hash
    }

    /// The app hash: the root of the state after the block before this one.
    pub fn app_hash(&self) -> &[u8] {
        &self.0.app_hash
    }

    /// The root of this block's transactions; `None` where the header leaves it empty.
    pub fn data_hash(&self) -> Option<[u8; 32]> {
        self.0.data_hash
    }

    /// The hash of the validator set that signs this height.
    pub fn validators_hash(&self) -> [u8; 32] {
        self.0.validators_hash
    }

    /// The hash of the validator set that signs the next height.
    pub fn next_validators_hash(&self) -> [u8; 32] {
        self.0.next_validators_hash
    }

    /// The total voting power of this height, in power units, from a `ValidatorSet` (protobuf) that hashes to
    /// [`TrustedHeader::validators_hash`].
    pub fn total_power(&self, validators: &[u8]) -> Result<u64, LightError> {
        let set = block::parse_set(validators)?;
        block::expect_set(
            &set,
            self.0.validators_hash,
            self.0.height,
            block::Which::Validators,
        )?;
        Ok(set.set.total_voting_power().value())
    }

    /// The bytes that the owner seals.
    pub fn to_bytes(&self) -> Vec<u8> {
        baton_attest::identity::encode(&self.0)
    }

    /// Reads [`TrustedHeader::to_bytes`] back, unverified: only for bytes that this very enclave sealed.
    pub fn danger_from_sealed_bytes(bytes: &[u8]) -> Result<Self, LightError> {
        block::decode_exact(bytes, "sealed trusted header").map(TrustedHeader)
    }
}
