//! All epochs' seeds that a node holds, and the public commitments that they are checked against.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use core::fmt;

use baton_attest::identity::{Digest32, encode};
use minicbor::{Decode, Encode, Encoder};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::cbor::decode_exact;
use crate::secret::{AppKey, Canary, Kind, MacKey, Real, SeedOf, derive};

/// The public commitment to one epoch's seed, 32 bytes. Made by [`SeedOf::commitment`].
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize, Deserialize,
)]
#[cbor(transparent)]
#[serde(transparent)]
pub struct Commitment(#[n(0)] pub Digest32);

impl fmt::Display for Commitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The commitments of the epochs so far, by epoch.
pub type Commitments = BTreeMap<u64, Commitment>;

/// Why a keyring is not the one that the commitments announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// A seed is another one.
    #[error(
        "the seed of epoch {epoch} is not the committed one: expected commitment {expected}, got {got}"
    )]
    Mismatch {
        /// Which epoch.
        epoch: u64,
        /// The public commitment.
        expected: Commitment,
        /// The commitment of the seed in the keyring.
        got: Commitment,
    },
    /// An epoch with a commitment has no seed in the keyring.
    #[error("the keyring lacks the seed of epoch {epoch}, which has commitment {expected}")]
    Missing {
        /// Which epoch.
        epoch: u64,
        /// The public commitment.
        expected: Commitment,
    },
    /// The keyring holds an epoch that nobody announced.
    #[error("the keyring holds a seed of epoch {epoch}, which has no public commitment: got {got}")]
    Uncommitted {
        /// Which epoch.
        epoch: u64,
        /// The commitment of the seed in the keyring.
        got: Commitment,
    },
}

/// Why a seed was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the keyring holds another seed for epoch {epoch} already")]
pub struct EpochTaken {
    /// Which epoch.
    pub epoch: u64,
}

/// Why bytes are not an encoded keyring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not the CBOR of a keyring.
    #[error("not a keyring")]
    Malformed,
    /// A canary keyring where a real one belongs, or the other way round.
    #[error("a keyring of another kind: expected {expected:?}")]
    OtherKind {
        /// The tag of the kind that was asked for.
        expected: &'static str,
    },
    /// Epochs twice or out of order.
    #[error("epoch {got} does not follow epoch {after}")]
    Order {
        /// The epoch before.
        after: u64,
        /// The epoch that came.
        got: u64,
    },
    /// No seed at all.
    #[error("the keyring is empty")]
    Empty,
}

/// All epochs' seeds that a node holds: at least one, and no cap on how many. See [`Keyring`] and
/// [`CanaryKeyring`].
pub struct KeyringOf<K: Kind> {
    seeds: BTreeMap<u64, SeedOf<K>>,
    exposed: BTreeSet<u64>,
}

/// The network's keyring.
pub type Keyring = KeyringOf<Real>;

/// The keyring of a rehearsal.
pub type CanaryKeyring = KeyringOf<Canary>;

impl<K: Kind> KeyringOf<K> {
    /// A keyring with one seed.
    pub fn new(epoch: u64, seed: SeedOf<K>) -> Self {
        Self {
            seeds: BTreeMap::from([(epoch, seed)]),
            exposed: BTreeSet::new(),
        }
    }

    /// Adds a seed. The same seed again is no error; another one never replaces it.
    pub fn insert(&mut self, epoch: u64, seed: SeedOf<K>) -> Result<(), EpochTaken> {
        match self.seeds.get(&epoch) {
            Some(held) if held.ct_eq(&seed) => Ok(()),
            Some(_) => Err(EpochTaken { epoch }),
            None => {
                self.seeds.insert(epoch, seed);
                Ok(())
            }
        }
    }

    /// The seed of `epoch`.
    pub fn seed(&self, epoch: u64) -> Option<&SeedOf<K>> {
        self.seeds.get(&epoch)
    }

    /// The epochs that have a seed, ascending.
    pub fn epochs(&self) -> impl Iterator<Item = u64> + '_ {
        self.seeds.keys().copied()
    }

    /// The highest epoch. A keyring has at least one.
    pub fn newest_epoch(&self) -> u64 {
        self.seeds.last_key_value().map_or(0, |(epoch, _)| *epoch)
    }

    /// Notes that the seed of `epoch` was ever sealed under MRSIGNER. There is no way back.
    pub fn mark_exposed(&mut self, epoch: u64) {
        if self.seeds.contains_key(&epoch) {
            self.exposed.insert(epoch);
        }
    }

    /// The epochs whose seed was ever sealed under MRSIGNER, ascending.
    pub fn exposed(&self) -> impl Iterator<Item = u64> + '_ {
        self.exposed.iter().copied()
    }

    /// True if the seed of `epoch` was ever sealed under MRSIGNER.
    pub fn is_exposed(&self, epoch: u64) -> bool {
        self.exposed.contains(&epoch)
    }

    /// The commitments of all seeds.
    pub fn commitments(&self) -> Commitments {
        self.seeds
            .iter()
            .map(|(epoch, seed)| (*epoch, seed.commitment(*epoch)))
            .collect()
    }

    /// Accepts the keyring only if it holds exactly the seeds that `commitments` announces.
    pub fn check(&self, commitments: &Commitments) -> Result<(), KeyringError> {
        for (epoch, seed) in &self.seeds {
            let (epoch, got) = (*epoch, seed.commitment(*epoch));
            match commitments.get(&epoch) {
                None => return Err(KeyringError::Uncommitted { epoch, got }),
                Some(expected) if *expected != got => {
                    return Err(KeyringError::Mismatch {
                        epoch,
                        expected: *expected,
                        got,
                    });
                }
                Some(_) => {}
            }
        }
        match commitments
            .iter()
            .find(|(epoch, _)| !self.seeds.contains_key(epoch))
        {
            Some((epoch, expected)) => Err(KeyringError::Missing {
                epoch: *epoch,
                expected: *expected,
            }),
            None => Ok(()),
        }
    }

    /// The key of one app for one epoch, if the epoch is held. See [`SeedOf::app_key`].
    pub fn app_key(&self, chain_id: &str, epoch: u64, label: &str) -> Option<AppKey> {
        self.seed(epoch)
            .map(|seed| seed.app_key(chain_id, epoch, label))
    }

    /// The key with which a holder of this very keyring authenticates a receipt: HKDF-SHA256 over
    /// all (epoch as 8 bytes big endian, seed), info = CBOR array [context, chain id].
    pub fn receipt_key(&self, chain_id: &str) -> MacKey {
        let mut all = Zeroizing::new(Vec::with_capacity(self.seeds.len().saturating_mul(40)));
        for (epoch, seed) in &self.seeds {
            all.extend_from_slice(&epoch.to_be_bytes());
            all.extend_from_slice(seed.danger_expose());
        }
        MacKey::new(derive(&all, &encode(&(K::RECEIPT_KEY, chain_id))))
    }

    /// The bytes to seal, or to send inside an offer: CBOR map {0: tag of the kind, 1: [[epoch,
    /// seed, exposed], ...] ascending}.
    pub fn danger_encode(&self) -> Zeroizing<Vec<u8>> {
        // Reserved whole, so that growing leaves no copy behind: an element takes at most 46 bytes.
        let capacity = self.seeds.len().saturating_mul(46).saturating_add(64);
        let mut out = Zeroizing::new(Vec::with_capacity(capacity));
        match self.write(&mut Encoder::new(&mut *out)) {
            Ok(()) => out,
            Err(e) => match e.into_write() {
                Some(never) => match never {},
                None => out,
            },
        }
    }

    fn write(
        &self,
        e: &mut Encoder<&mut Vec<u8>>,
    ) -> Result<(), minicbor::encode::Error<core::convert::Infallible>> {
        e.map(2)?
            .u8(0)?
            .str(K::KEYRING)?
            .u8(1)?
            .array(self.seeds.len() as u64)?;
        for (epoch, seed) in &self.seeds {
            e.array(3)?
                .u64(*epoch)?
                .bytes(seed.danger_expose())?
                .bool(self.is_exposed(*epoch))?;
        }
        Ok(())
    }

    /// Reads [`KeyringOf::danger_encode`]'s bytes. Unknown fields are skipped.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let wire: Wire<'_> = decode_exact(bytes).ok_or(DecodeError::Malformed)?;
        if wire.tag != K::KEYRING {
            return Err(DecodeError::OtherKind {
                expected: K::KEYRING,
            });
        }
        let mut ring = Self {
            seeds: BTreeMap::new(),
            exposed: BTreeSet::new(),
        };
        for WireSeed {
            epoch,
            seed,
            exposed,
        } in wire.seeds
        {
            if let Some((&after, _)) = ring.seeds.last_key_value()
                && after >= epoch
            {
                return Err(DecodeError::Order { after, got: epoch });
            }
            let seed: &[u8; 32] = seed.try_into().map_err(|_| DecodeError::Malformed)?;
            ring.seeds.insert(epoch, SeedOf::danger_from_bytes(seed));
            if exposed {
                ring.exposed.insert(epoch);
            }
        }
        if ring.seeds.is_empty() {
            Err(DecodeError::Empty)
        } else {
            Ok(ring)
        }
    }
}

#[derive(Decode)]
#[cbor(map)]
struct Wire<'b> {
    #[b(0)]
    tag: &'b str,
    #[b(1)]
    seeds: Vec<WireSeed<'b>>,
}

#[derive(Decode)]
#[cbor(array)]
struct WireSeed<'b> {
    #[n(0)]
    epoch: u64,
    #[cbor(b(1), with = "minicbor::bytes")]
    seed: &'b [u8],
    #[n(2)]
    exposed: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::{CanarySeed, Seed};
    use proptest::prelude::*;

    fn seed(byte: u8) -> Seed {
        Seed::danger_from_bytes(&[byte; 32])
    }

    fn ring(epochs: u64) -> Keyring {
        let mut ring = Keyring::new(0, seed(0));
        for epoch in 1..epochs {
            ring.insert(epoch, seed(epoch as u8)).unwrap();
        }
        ring
    }

    #[test]
    fn a_keyring_that_matches_its_commitments_is_accepted() {
        assert_eq!(ring(3).check(&ring(3).commitments()), Ok(()));
    }

    #[test]
    fn a09_a_keyring_with_one_wrong_seed_is_refused_and_the_epoch_named() {
        let mut forged = ring(2);
        forged.insert(2, seed(9)).unwrap();
        let want = ring(3).commitments();
        let expected = KeyringError::Mismatch {
            epoch: 2,
            expected: want[&2],
            got: seed(9).commitment(2),
        };
        assert_eq!(forged.check(&want), Err(expected));
    }

    #[test]
    fn a09_the_right_seed_under_another_epoch_is_refused() {
        let swapped = Keyring::new(1, seed(0));
        let want = Keyring::new(0, seed(0)).commitments();
        assert!(matches!(
            swapped.check(&want),
            Err(KeyringError::Uncommitted { epoch: 1, .. })
        ));
        let want = Commitments::from([(1, seed(0).commitment(0))]);
        assert!(matches!(
            swapped.check(&want),
            Err(KeyringError::Mismatch { epoch: 1, .. })
        ));
    }

    #[test]
    fn a_keyring_without_a_committed_epoch_is_refused() {
        let got = ring(2).check(&ring(3).commitments());
        assert!(matches!(got, Err(KeyringError::Missing { epoch: 2, .. })));
    }

    #[test]
    fn a_keyring_with_an_epoch_that_nobody_announced_is_refused() {
        let got = ring(3).check(&ring(2).commitments());
        assert!(matches!(
            got,
            Err(KeyringError::Uncommitted { epoch: 2, .. })
        ));
    }

    #[test]
    fn a_seed_is_never_replaced() {
        let mut r = ring(2);
        assert_eq!(r.insert(1, seed(1)), Ok(()));
        assert_eq!(r.insert(1, seed(7)), Err(EpochTaken { epoch: 1 }));
        assert!(r.seed(1).unwrap().ct_eq(&seed(1)));
    }

    #[test]
    fn h12_ten_thousand_epochs_fit() {
        let mut r = Keyring::new(0, seed(0));
        for epoch in 1..10_000u64 {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&epoch.to_be_bytes());
            r.insert(epoch, Seed::danger_from_bytes(&bytes)).unwrap();
        }
        let back = Keyring::decode(&r.danger_encode()).unwrap();
        assert_eq!(back.check(&r.commitments()), Ok(()));
        assert_eq!(back.newest_epoch(), 9_999);
    }

    #[test]
    fn a27_exposure_of_an_epoch_survives_encoding_and_is_never_taken_back() {
        let mut r = ring(3);
        r.mark_exposed(0);
        r.mark_exposed(77);
        let back = Keyring::decode(&r.danger_encode()).unwrap();
        assert_eq!(back.exposed().collect::<Vec<_>>(), [0]);
        assert!(back.is_exposed(0) && !back.is_exposed(1));
    }

    #[test]
    fn a_canary_keyring_is_never_read_as_a_real_one_nor_the_other_way_round() {
        let canary = CanaryKeyring::new(0, CanarySeed::danger_from_bytes(&[1; 32]));
        let got = Keyring::decode(&canary.danger_encode()).err();
        assert_eq!(
            got,
            Some(DecodeError::OtherKind {
                expected: "baton keyring v1"
            })
        );
        let got = CanaryKeyring::decode(&ring(1).danger_encode()).err();
        assert_eq!(
            got,
            Some(DecodeError::OtherKind {
                expected: "baton canary keyring v1"
            })
        );
    }

    #[test]
    fn receipt_keys_differ_by_chain_kind_and_every_seed() {
        let real = ring(2).receipt_key("a").mac(&[b"n"]);
        let mut canary = CanaryKeyring::new(0, CanarySeed::danger_from_bytes(&[0; 32]));
        canary
            .insert(1, CanarySeed::danger_from_bytes(&[1; 32]))
            .unwrap();
        assert_ne!(real, canary.receipt_key("a").mac(&[b"n"]));
        assert_ne!(real, ring(2).receipt_key("b").mac(&[b"n"]));
        assert_ne!(real, ring(3).receipt_key("a").mac(&[b"n"]));
        assert!(ring(2).receipt_key("a").verify(&[b"n"], &real));
    }

    #[test]
    fn epochs_twice_or_out_of_order_and_empty_keyrings_are_refused() {
        let encode = |epochs: &[u64]| {
            let mut e = Encoder::new(Vec::new());
            e.map(2).unwrap().u8(0).unwrap().str(Real::KEYRING).unwrap();
            e.u8(1).unwrap().array(epochs.len() as u64).unwrap();
            for epoch in epochs {
                e.array(3)
                    .unwrap()
                    .u64(*epoch)
                    .unwrap()
                    .bytes(&[1; 32])
                    .unwrap()
                    .bool(false)
                    .unwrap();
            }
            e.into_writer()
        };
        assert!(Keyring::decode(&encode(&[1, 2])).is_ok());
        let order = |after, got| Some(DecodeError::Order { after, got });
        assert_eq!(Keyring::decode(&encode(&[1, 1])).err(), order(1, 1));
        assert_eq!(Keyring::decode(&encode(&[2, 1])).err(), order(2, 1));
        assert_eq!(
            Keyring::decode(&encode(&[])).err(),
            Some(DecodeError::Empty)
        );
    }

    #[test]
    fn h04_an_unknown_field_of_a_newer_build_is_skipped() {
        let old = ring(2).danger_encode();
        let mut newer = vec![0xa3];
        newer.extend_from_slice(&old[1..]);
        newer.extend_from_slice(&[0x18, 99, 0x63, b'n', b'e', b'w']);
        assert_eq!(
            Keyring::decode(&newer)
                .unwrap()
                .check(&ring(2).commitments()),
            Ok(())
        );
    }

    #[test]
    fn h04_the_encoding_is_the_frozen_one() {
        let mut r = ring(2);
        r.mark_exposed(0);
        let golden = include_str!("../tests/golden/keyring_v1.hex").trim();
        assert_eq!(hex::encode(&*r.danger_encode()), golden);
        let commitment = include_str!("../tests/golden/commitment_v1.hex").trim();
        assert_eq!(
            std::string::ToString::to_string(&seed(1).commitment(1)),
            commitment
        );
    }

    proptest! {
        #[test]
        fn a21_any_bytes_are_read_or_refused_without_a_panic(bytes: Vec<u8>) {
            let _ = Keyring::decode(&bytes);
        }

        #[test]
        fn a21_a_cut_keyring_is_refused(at in 0usize..90) {
            let bytes = ring(2).danger_encode();
            prop_assume!(at < bytes.len());
            prop_assert_eq!(Keyring::decode(&bytes[..at]).err(), Some(DecodeError::Malformed));
        }

        #[test]
        fn a21_flipped_bits_never_give_a_keyring_that_checks(bit in 0usize..700) {
            let good = ring(2);
            let mut bytes = good.danger_encode();
            prop_assume!(bit / 8 < bytes.len());
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(other) = Keyring::decode(&bytes) {
                let same = good.epochs().eq(other.epochs())
                    && good.epochs().all(|e| good.seed(e).unwrap().ct_eq(other.seed(e).unwrap()));
                prop_assert_eq!(other.check(&good.commitments()).is_ok(), same);
            }
        }
    }
}
