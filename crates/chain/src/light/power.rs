//! Who signed a commit, with how much power: the library's `VotingPowerCalculator` and `CommitValidator` of ours.
//!
//! The decision is CometBFT's and tendermint-rs's: validators are walked in set order, the signatures of those who
//! voted for the block are taken until the threshold is passed, and every one that was taken must be valid. Only
//! the work differs: they are checked in one batch, and singly only to find the culprit.

#![expect(clippy::result_large_err, reason = "the error is the library's")]

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use tendermint::account;
use tendermint::block::CommitSig;
use tendermint::block::signed_header::SignedHeader;
use tendermint::trust_threshold::TrustThresholdFraction as Threshold;
use tendermint::validator::{Info, Set};
use tendermint::vote::{CanonicalVote, Type};
use tendermint_light_client_verifier::errors::VerificationError;
use tendermint_light_client_verifier::operations::{
    CommitValidator, VotingPowerCalculator, VotingPowerTally,
};
use tendermint_proto::Protobuf;
use tendermint_proto::v0_38::types::CanonicalVote as RawCanonicalVote;

use super::ed25519::{Signed, verify, verify_batch};

/// A signature of one commit under one key: the index of its entry and the key.
pub(super) type SignatureId = (usize, [u8; 32]);

/// The calculator for one step. Signatures in `known` were already found valid for this very commit.
#[derive(Clone, Copy)]
pub(super) struct Power<'a> {
    pub known: &'a BTreeSet<SignatureId>,
}

/// More than the threshold's share, in 128 bits: never exactly it (A05).
pub(super) fn is_enough(signed: u64, total: u64, threshold: Threshold) -> bool {
    let wide = |a: u64, b: u64| u128::from(a).saturating_mul(u128::from(b));
    wide(signed, threshold.denominator()) > wide(total, threshold.numerator())
}

/// The votes for the block in a commit, by address.
struct Votes<'a> {
    signed_header: &'a SignedHeader,
    by_address: Vec<(account::Id, usize)>,
}

impl<'a> Votes<'a> {
    fn new(signed_header: &'a SignedHeader) -> Result<Self, VerificationError> {
        let entries = signed_header.commit.signatures.iter().enumerate();
        let mut by_address: Vec<_> = entries
            .filter(|(_, entry)| entry.is_commit())
            .filter_map(|(index, entry)| Some((entry.validator_address()?, index)))
            .collect();
        by_address.sort_unstable();
        let twice = by_address.windows(2).find_map(|w| match w {
            [(a, _), (b, _)] if a == b => Some(*a),
            _ => None,
        });
        match twice {
            Some(address) => Err(VerificationError::duplicate_validator(address)),
            None => Ok(Votes {
                signed_header,
                by_address,
            }),
        }
    }

    fn of(&self, address: &account::Id) -> Option<usize> {
        let found = self
            .by_address
            .binary_search_by_key(address, |(a, _)| *a)
            .ok()?;
        self.by_address.get(found).map(|(_, index)| *index)
    }

    /// The signature of an entry and the bytes that it signs.
    fn signature(&self, index: usize) -> Result<(&'a [u8], Vec<u8>), VerificationError> {
        let commit = &self.signed_header.commit;
        match commit.signatures.get(index) {
            Some(CommitSig::BlockIdFlagCommit {
                timestamp,
                signature: Some(signature),
                ..
            }) => {
                let vote = CanonicalVote {
                    vote_type: Type::Precommit,
                    height: commit.height,
                    round: commit.round,
                    block_id: Some(commit.block_id),
                    timestamp: Some(*timestamp),
                    chain_id: self.signed_header.header.chain_id.clone(),
                };
                Ok((
                    signature.as_bytes(),
                    Protobuf::<RawCanonicalVote>::encode_length_delimited_vec(vote),
                ))
            }
            _ => Err(VerificationError::missing_signature()),
        }
    }
}

/// The votes that a set needs to pass a threshold, or all that there are.
struct Picked<'a> {
    votes: Vec<(usize, &'a Info)>,
    tally: VotingPowerTally,
}

fn pick<'a>(votes: &Votes<'_>, set: &'a Set, trust_threshold: Threshold) -> Picked<'a> {
    let mut picked = Picked {
        votes: Vec::new(),
        tally: VotingPowerTally {
            total: set.total_voting_power().value(),
            tallied: 0,
            trust_threshold,
        },
    };
    for validator in set.validators() {
        let Some(index) = votes.of(&validator.address) else {
            continue;
        };
        picked.votes.push((index, validator));
        // Sets are parsed: addresses differ and the total fits, so this never saturates.
        picked.tally.tallied = picked.tally.tallied.saturating_add(validator.power());
        if is_enough(picked.tally.tallied, picked.tally.total, trust_threshold) {
            break;
        }
    }
    picked
}

fn key_of(validator: &Info) -> [u8; 32] {
    // Sets with other keys are refused when they are parsed.
    validator
        .pub_key
        .ed25519()
        .map(|k| *k.as_bytes_array())
        .unwrap_or_default()
}

/// Gives the 32 bytes of a key as an array.
trait AsBytesArray {
    fn as_bytes_array(&self) -> &[u8; 32];
}

impl AsBytesArray for tendermint::public_key::Ed25519 {
    fn as_bytes_array(&self) -> &[u8; 32] {
        self.as_bytes().first_chunk().unwrap_or(&[0; 32])
    }
}

/// One signature that a step needs, with all that its check needs.
pub(super) struct Needed<'a> {
    pub id: SignatureId,
    validator: &'a Info,
    signature: &'a [u8],
    message: Vec<u8>,
}

impl Needed<'_> {
    pub fn signed(&self) -> Signed<'_> {
        Signed {
            key: &self.id.1,
            message: &self.message,
            signature: self.signature,
        }
    }

    fn bad(&self) -> VerificationError {
        let validator = Box::new(self.validator.clone());
        VerificationError::invalid_signature(
            self.signature.to_vec(),
            validator,
            self.message.clone(),
        )
    }
}

/// The signatures that these sets need, each once, without those already known.
pub(super) fn needed<'a>(
    signed_header: &'a SignedHeader,
    sets: &[(&'a Set, Threshold)],
    known: &BTreeSet<SignatureId>,
) -> Result<(Vec<Needed<'a>>, Vec<VotingPowerTally>), VerificationError> {
    let votes = Votes::new(signed_header)?;
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    let mut tallies = Vec::new();
    for (set, threshold) in sets {
        let picked = pick(&votes, set, *threshold);
        tallies.push(picked.tally);
        for (index, validator) in picked.votes {
            let id = (index, key_of(validator));
            if !known.contains(&id) && seen.insert(id) {
                let (signature, message) = votes.signature(index)?;
                all.push(Needed {
                    id,
                    validator,
                    signature,
                    message,
                });
            }
        }
    }
    Ok((all, tallies))
}

impl Power<'_> {
    fn tallies(
        &self,
        signed_header: &SignedHeader,
        sets: &[(&Set, Threshold)],
    ) -> Result<Vec<VotingPowerTally>, VerificationError> {
        let (needed, tallies) = needed(signed_header, sets, self.known)?;
        let batch: Vec<_> = needed.iter().map(Needed::signed).collect();
        if !verify_batch(&batch)
            && let Some(bad) = needed.iter().find(|n| !verify(&n.signed()))
        {
            return Err(bad.bad());
        }
        Ok(tallies)
    }
}

/// One tally for each set that was asked for; the library's signature wants them apart.
fn first(
    tallies: &[VotingPowerTally],
    index: usize,
) -> Result<VotingPowerTally, VerificationError> {
    tallies
        .get(index)
        .copied()
        .ok_or_else(VerificationError::missing_signature)
}

impl VotingPowerCalculator for Power<'_> {
    fn total_power_of(&self, set: &Set) -> u64 {
        set.total_voting_power().value()
    }

    fn check_enough_trust_and_signers(
        &self,
        header: &SignedHeader,
        trusted: &Set,
        threshold: Threshold,
        untrusted: &Set,
    ) -> Result<(), VerificationError> {
        let (trusted, own) = self.voting_power_in_sets(
            header,
            (trusted, threshold),
            (untrusted, Threshold::TWO_THIRDS),
        )?;
        if !is_enough(trusted.tallied, trusted.total, threshold) {
            return Err(VerificationError::not_enough_trust(trusted));
        }
        if !is_enough(own.tallied, own.total, Threshold::TWO_THIRDS) {
            return Err(VerificationError::insufficient_signers_overlap(own));
        }
        Ok(())
    }

    fn check_signers_overlap(
        &self,
        header: &SignedHeader,
        set: &Set,
    ) -> Result<(), VerificationError> {
        let tally = self.voting_power_in(header, set, Threshold::TWO_THIRDS)?;
        if !is_enough(tally.tallied, tally.total, Threshold::TWO_THIRDS) {
            return Err(VerificationError::insufficient_signers_overlap(tally));
        }
        Ok(())
    }

    fn voting_power_in(
        &self,
        header: &SignedHeader,
        set: &Set,
        threshold: Threshold,
    ) -> Result<VotingPowerTally, VerificationError> {
        first(&self.tallies(header, &[(set, threshold)])?, 0)
    }

    fn voting_power_in_sets(
        &self,
        header: &SignedHeader,
        one: (&Set, Threshold),
        two: (&Set, Threshold),
    ) -> Result<(VotingPowerTally, VotingPowerTally), VerificationError> {
        let tallies = self.tallies(header, &[one, two])?;
        Ok((first(&tallies, 0)?, first(&tallies, 1)?))
    }
}

/// The library's rules for a commit, with a sorted look-up: its own is quadratic.
#[derive(Clone, Copy)]
pub(super) struct Commits;

impl CommitValidator for Commits {
    fn validate_full(
        &self,
        signed_header: &SignedHeader,
        set: &Set,
    ) -> Result<(), VerificationError> {
        let members: BTreeSet<_> = set.validators().iter().map(|v| v.address).collect();
        let votes = signed_header
            .commit
            .signatures
            .iter()
            .filter_map(CommitSig::validator_address);
        match votes.into_iter().find(|signer| !members.contains(signer)) {
            Some(signer) => Err(VerificationError::faulty_signer(signer, set.clone())),
            None => Ok(()),
        }
    }
}
