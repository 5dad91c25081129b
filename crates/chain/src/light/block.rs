//! Light blocks as they travel, and their strict reading.

use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::string::ToString;
use alloc::vec::Vec;

use baton_attest::identity::Digest32;
use minicbor::{Decode, Encode};
use prost::Message;
use sha2::{Digest, Sha256};
use tendermint::block::signed_header::SignedHeader;
use tendermint::validator::Set;
use tendermint_proto::v0_38::{crypto::public_key::Sum, types as pb};

use super::error::Address;
use super::{Fields, LightError, TrustedHeader};
use crate::policy::Checkpoint;

/// Most validators in one set.
pub const MAX_VALIDATORS: usize = 1000;
/// Most bytes of one `SignedHeader` message.
pub const MAX_SIGNED_HEADER_BYTES: usize = 256 * 1024;
/// Most bytes of one `ValidatorSet` message.
pub const MAX_SET_BYTES: usize = 256 * 1024;
/// Most light blocks in one path; longer ways are walked in several calls.
pub const MAX_PATH_BLOCKS: usize = 10_000;

/// A header with its commit and validator sets, as the host brings it. UNTRUSTED.
///
/// CBOR: array of protobuf byte strings (CometBFT `types.proto`), the last one may be null.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct LightBlock {
    /// `tendermint.types.SignedHeader`.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub signed_header: Vec<u8>,
    /// `tendermint.types.ValidatorSet` that signs this height.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub validators: Vec<u8>,
    /// `tendermint.types.ValidatorSet` that signs the next height; needed before a step that skips.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub next_validators: Option<Vec<u8>>,
}

/// Steps from a trusted header upward. UNTRUSTED. CBOR array.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Path {
    /// `ValidatorSet` that follows the trusted header from which the path starts; needed when the first step skips.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub from_next_validators: Option<Vec<u8>>,
    /// The blocks, in rising height.
    #[n(1)]
    pub blocks: Vec<LightBlock>,
}

/// SHA-256 for the library's Merkle trees, without its `rust-crypto` feature.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sha2;

impl tendermint::crypto::Sha256 for Sha2 {
    fn digest(data: impl AsRef<[u8]>) -> [u8; 32] {
        Sha256::digest(data).into()
    }
}

impl tendermint::merkle::MerkleHash for Sha2 {
    fn empty_hash(&mut self) -> [u8; 32] {
        Sha256::digest([]).into()
    }

    fn leaf_hash(&mut self, bytes: &[u8]) -> [u8; 32] {
        Sha256::new()
            .chain_update([0])
            .chain_update(bytes)
            .finalize()
            .into()
    }

    fn inner_hash(&mut self, left: [u8; 32], right: [u8; 32]) -> [u8; 32] {
        Sha256::new()
            .chain_update([1])
            .chain_update(left)
            .chain_update(right)
            .finalize()
            .into()
    }
}

/// A validator set and its hash, computed once.
#[derive(Debug)]
pub(super) struct HashedSet {
    pub set: Set,
    pub hash: [u8; 32],
}

/// The sets of a path: the same bytes are parsed and hashed once, since most neighbours share their set.
#[derive(Default)]
pub(super) struct Sets<'a>(BTreeMap<&'a [u8], Rc<HashedSet>>);

impl<'a> Sets<'a> {
    pub fn get(&mut self, bytes: &'a [u8]) -> Result<Rc<HashedSet>, LightError> {
        if let Some(known) = self.0.get(bytes) {
            return Ok(Rc::clone(known));
        }
        let set = Rc::new(parse_set(bytes)?);
        self.0.insert(bytes, Rc::clone(&set));
        Ok(set)
    }
}

/// A light block after parsing, still untrusted.
#[derive(Debug)]
pub(super) struct Parsed {
    pub signed_header: SignedHeader,
    pub validators: Rc<HashedSet>,
    pub next_validators: Option<Rc<HashedSet>>,
}

impl LightBlock {
    /// The height that the header claims. UNTRUSTED.
    pub fn height(&self) -> Result<u64, LightError> {
        Ok(parse_signed_header(&self.signed_header)?
            .header
            .height
            .value())
    }

    /// Height and hash of the header: what a person compares and then writes into a policy. UNTRUSTED.
    pub fn untrusted_checkpoint(&self) -> Result<Checkpoint, LightError> {
        let header = parse_signed_header(&self.signed_header)?.header;
        Ok(Checkpoint {
            height: header.height.value(),
            hash: hash32(header.hash_with::<Sha2>())?,
        })
    }

    pub(super) fn parse<'a>(&'a self, sets: &mut Sets<'a>) -> Result<Parsed, LightError> {
        Ok(Parsed {
            signed_header: parse_signed_header(&self.signed_header)?,
            validators: sets.get(&self.validators)?,
            next_validators: self
                .next_validators
                .as_deref()
                .map(|bytes| sets.get(bytes))
                .transpose()?,
        })
    }
}

impl TrustedHeader {
    /// Trusts a block because its header hash is a checkpoint's. Signatures add nothing to that and are not checked.
    pub fn from_checkpoint(
        chain_id: &str,
        checkpoint: &Checkpoint,
        block: &LightBlock,
    ) -> Result<Self, LightError> {
        let header = fields(&parse_signed_header(&block.signed_header)?)?;
        if header.chain_id != chain_id {
            return Err(LightError::ChainId {
                expected: chain_id.into(),
                got: header.chain_id,
            });
        }
        if (header.height, header.hash) != (checkpoint.height, checkpoint.hash) {
            return Err(LightError::NotTheCheckpoint {
                expected_height: checkpoint.height,
                expected: Digest32(checkpoint.hash),
                got_height: header.height,
                got: Digest32(header.hash),
            });
        }
        Ok(TrustedHeader(header))
    }

    /// Trusts the header just before this one, because this one holds its hash. Only the header of `before` is read.
    pub fn parent(&self, before: &LightBlock) -> Result<Self, LightError> {
        let header = fields(&parse_signed_header(&before.signed_header)?)?;
        if self.0.last_block_hash != Some(header.hash)
            || header.height.checked_add(1) != Some(self.0.height)
        {
            return Err(LightError::NotLinked {
                height: self.0.height,
                expected: Digest32(self.0.last_block_hash.unwrap_or_default()),
                got: Digest32(header.hash),
            });
        }
        Ok(TrustedHeader(header))
    }
}

/// The hash that a header names for this `ValidatorSet` (protobuf). UNTRUSTED input, nothing is trusted by it.
pub fn validator_set_hash(validators: &[u8]) -> Result<[u8; 32], LightError> {
    Ok(parse_set(validators)?.hash)
}

pub(super) fn parse_signed_header(bytes: &[u8]) -> Result<SignedHeader, LightError> {
    const WHAT: &str = "signed header";
    at_most(WHAT, MAX_SIGNED_HEADER_BYTES, bytes.len())?;
    let raw = pb::SignedHeader::decode(bytes).map_err(|e| malformed(WHAT, e))?;
    let votes = raw.commit.as_ref().map_or(0, |c| c.signatures.len());
    at_most("the commit's number of entries", MAX_VALIDATORS, votes)?;
    let parsed = SignedHeader::try_from(raw).map_err(|e| malformed(WHAT, e.detail()))?;
    // The library adds one to heights and panics at the end of their range.
    if parsed.header.height.value() == 0 || parsed.header.height.value() >= i64::MAX as u64 {
        return Err(malformed(WHAT, "height out of range"));
    }
    Ok(parsed)
}

pub(super) fn parse_set(bytes: &[u8]) -> Result<HashedSet, LightError> {
    const WHAT: &str = "validator set";
    at_most(WHAT, MAX_SET_BYTES, bytes.len())?;
    let raw = pb::ValidatorSet::decode(bytes).map_err(|e| malformed(WHAT, e))?;
    at_most(
        "the number of validators",
        MAX_VALIDATORS,
        raw.validators.len(),
    )?;
    let is_ed25519 = |v: &pb::Validator| {
        matches!(
            v.pub_key.as_ref().map(|k| &k.sum),
            Some(Some(Sum::Ed25519(_)))
        )
    };
    if let Some(index) = raw.validators.iter().position(|v| !is_ed25519(v)) {
        return Err(LightError::KeyType { index });
    }
    let set = Set::try_from(raw).map_err(|e| malformed(WHAT, e.detail()))?;
    let mut addresses: Vec<_> = set.validators().iter().map(|v| v.address).collect();
    addresses.sort_unstable();
    if let Some(twice) = addresses.windows(2).find_map(|w| {
        if w.first() == w.last() {
            w.first()
        } else {
            None
        }
    }) {
        return Err(LightError::DuplicateValidator {
            what: "validator set",
            address: address(twice),
        });
    }
    let hash = hash32(set.hash_with::<Sha2>())?;
    Ok(HashedSet { set, hash })
}

/// Which of a header's two sets.
#[derive(Clone, Copy)]
pub(super) enum Which {
    Validators,
    Next,
}

pub(super) fn expect_set(
    set: &HashedSet,
    expected: [u8; 32],
    height: u64,
    which: Which,
) -> Result<(), LightError> {
    let got = set.hash;
    if got == expected {
        return Ok(());
    }
    let (expected, got) = (Digest32(expected), Digest32(got));
    Err(match which {
        Which::Validators => LightError::ValidatorsHash {
            height,
            expected,
            got,
        },
        Which::Next => LightError::NextValidatorsHash {
            height,
            expected,
            got,
        },
    })
}

/// What is kept of a header, its hash computed here.
pub(super) fn fields(signed: &SignedHeader) -> Result<Fields, LightError> {
    let h = &signed.header;
    Ok(Fields {
        chain_id: h.chain_id.to_string(),
        height: h.height.value(),
        time: h.time.into(),
        hash: hash32(h.hash_with::<Sha2>())?,
        last_block_hash: h.last_block_id.map(|id| hash32(id.hash)).transpose()?,
        app_hash: h.app_hash.as_bytes().to_vec(),
        data_hash: h.data_hash.map(hash32).transpose()?,
        validators_hash: hash32(h.validators_hash)?,
        next_validators_hash: hash32(h.next_validators_hash)?,
    })
}

pub(super) fn hash32(hash: tendermint::Hash) -> Result<[u8; 32], LightError> {
    match hash {
        tendermint::Hash::Sha256(h) => Ok(h),
        tendermint::Hash::None => Err(malformed("signed header", "a hash is empty")),
    }
}

pub(super) fn address(id: &tendermint::account::Id) -> Address {
    Address(id.as_bytes().try_into().unwrap_or_default())
}

pub(super) fn malformed(what: &'static str, reason: impl ToString) -> LightError {
    LightError::Malformed {
        what,
        reason: reason.to_string(),
    }
}

pub(super) fn at_most(what: &'static str, limit: usize, got: usize) -> Result<(), LightError> {
    if got > limit {
        Err(LightError::TooLarge { what, limit, got })
    } else {
        Ok(())
    }
}

/// Decodes CBOR that fills `bytes` to the end.
pub(super) fn decode_exact<'b, T: Decode<'b, ()>>(
    bytes: &'b [u8],
    what: &'static str,
) -> Result<T, LightError> {
    let mut d = minicbor::Decoder::new(bytes);
    let value = d.decode().map_err(|e| malformed(what, e))?;
    if d.position() != bytes.len() {
        return Err(malformed(what, "bytes follow its end"));
    }
    Ok(value)
}
