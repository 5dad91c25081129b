//! The voting power of each validator of the set that follows a trusted header.

use alloc::collections::BTreeMap;

use super::block::{Which, expect_set, parse_set};
use super::{LightError, TrustedHeader};

/// The validators that sign the height after a trusted header, by consensus address, with their power. The state that the
/// header's app hash proves is the one that this set was made from, so records proven there and powers here are of one
/// moment. Only [`TrustedHeader::next_powers`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Powers {
    height: u64,
    by_address: BTreeMap<[u8; 20], u64>,
    total: u64,
}

impl Powers {
    /// Height of the header.
    pub fn height(&self) -> u64 {
        self.height
    }

    /// The power of all, in power units.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The power of one consensus address (20 bytes); 0 outside of the set.
    pub fn of(&self, consensus_address: &[u8; 20]) -> u64 {
        self.by_address.get(consensus_address).copied().unwrap_or(0)
    }
}

impl TrustedHeader {
    /// Reads a `ValidatorSet` (protobuf) that hashes to [`TrustedHeader::next_validators_hash`].
    pub fn next_powers(&self, next_validators: &[u8]) -> Result<Powers, LightError> {
        let set = parse_set(next_validators)?;
        expect_set(&set, self.next_validators_hash(), self.height(), Which::Next)?;
        let of = |v: &tendermint::validator::Info| Some((v.address.as_bytes().try_into().ok()?, v.power.value()));
        Ok(Powers {
            height: self.height(),
            by_address: set.set.validators().iter().filter_map(of).collect(),
            total: set.set.total_voting_power().value(),
        })
    }
}
