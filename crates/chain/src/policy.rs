//! The chain's section of the policy: which chain, from where it is trusted, and the enclave's own bars for a vote.
//!
//! It is part of the measurement, so a chain whose parameters were weakened cannot lower these bars (A20).

use alloc::string::String;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::decimal::Decimal;

/// Longest chain id that CometBFT allows, in bytes.
pub const MAX_CHAIN_ID_BYTES: usize = 50;

/// The header that the policy trusts from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(array)]
pub struct Checkpoint {
    /// Its height.
    #[n(0)]
    pub height: u64,
    /// Its header hash, 32 bytes; 64 hexadecimal characters in text.
    #[cbor(n(1), with = "minicbor::bytes")]
    #[serde(with = "hash_text")]
    pub hash: [u8; 32],
}

/// What the enclave demands of a chain. Only [`ChainPolicy::validate`]d values mean what they say.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cbor(map)]
pub struct ChainPolicy {
    /// The chain id of the checkpoint. A later change needs more than two thirds of the last trusted power (H03).
    #[n(0)]
    pub chain_id: String,
    /// The trusted checkpoint.
    #[n(1)]
    pub checkpoint: Checkpoint,
    /// Longest age of a trusted header from which a step may skip, in seconds.
    #[n(2)]
    pub trusting_period_secs: u64,
    /// Share of the last trusted power that must have signed what a step skips to: (numerator, denominator), at least a third, below one.
    #[n(3)]
    pub trust_threshold: (u64, u64),
    /// Least turnout, abstentions included, over all bonded power.
    #[n(4)]
    pub quorum: Decimal,
    /// Yes over all votes but abstentions must be above this.
    #[n(5)]
    pub threshold: Decimal,
    /// No-with-veto over all votes must not be above this.
    #[n(6)]
    pub veto: Decimal,
    /// As `threshold`, for expedited proposals.
    #[n(7)]
    pub expedited_threshold: Decimal,
    /// Taken off the quorum: power moves between the block that is measured and the tally.
    #[n(8)]
    pub slack: Decimal,
    /// Share of all bonded power in favour above which a vote may name a signer that is not listed.
    #[n(9)]
    pub override_share: Decimal,
    /// Base-denomination tokens for one unit of voting power (the SDK's default is 1 000 000).
    #[n(10)]
    pub power_reduction: u64,
    /// How many blocks before the plan's height offers may begin.
    #[n(11)]
    pub lead_blocks: u64,
}

/// A chain policy that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainPolicyError {
    /// Empty or too long.
    #[error("chain id: expected 1 to {MAX_CHAIN_ID_BYTES} bytes, got {got}")]
    ChainId {
        /// Its length in bytes.
        got: usize,
    },
    /// Height zero or beyond what CometBFT can count.
    #[error("checkpoint height: expected 1 to 2^63 - 2, got {got}")]
    CheckpointHeight {
        /// What was given.
        got: u64,
    },
    /// Zero, or longer than a hundred years.
    #[error("trusting_period_secs: expected 1 to {MAX_TRUSTING_PERIOD_SECS}, got {got}")]
    TrustingPeriod {
        /// What was given, in seconds.
        got: u64,
    },
    /// Not in [1/3, 1), or with numbers beyond reason.
    #[error(
        "trust_threshold: expected at least 1/3, below 1 and a denominator below 2^32, got {numerator}/{denominator}"
    )]
    TrustThreshold {
        /// Numerator as given.
        numerator: u64,
        /// Denominator as given.
        denominator: u64,
    },
    /// A share out of its range.
    #[error("{field}: expected {expected}, got {got}")]
    Share {
        /// The field's name.
        field: &'static str,
        /// The range that it must lie in.
        expected: &'static str,
        /// What was given.
        got: Decimal,
    },
    /// Zero.
    #[error("power_reduction: expected at least 1, got 0")]
    PowerReduction,
}

/// A hundred years: more is a unit mistake.
pub const MAX_TRUSTING_PERIOD_SECS: u64 = 3_155_760_000;

impl ChainPolicy {
    /// Refuses values that would make a check vacuous or impossible.
    pub fn validate(&self) -> Result<(), ChainPolicyError> {
        let chain_id_bytes = self.chain_id.len();
        if chain_id_bytes == 0 || chain_id_bytes > MAX_CHAIN_ID_BYTES {
            return Err(ChainPolicyError::ChainId {
                got: chain_id_bytes,
            });
        }
        if self.checkpoint.height == 0 || self.checkpoint.height >= i64::MAX as u64 {
            return Err(ChainPolicyError::CheckpointHeight {
                got: self.checkpoint.height,
            });
        }
        if self.trusting_period_secs == 0 || self.trusting_period_secs > MAX_TRUSTING_PERIOD_SECS {
            return Err(ChainPolicyError::TrustingPeriod {
                got: self.trusting_period_secs,
            });
        }
        let (numerator, denominator) = self.trust_threshold;
        let too_small = u128::from(numerator).saturating_mul(3) < u128::from(denominator);
        if numerator >= denominator || too_small || denominator > u64::from(u32::MAX) {
            return Err(ChainPolicyError::TrustThreshold {
                numerator,
                denominator,
            });
        }
        self.validate_shares()?;
        if self.power_reduction == 0 {
            return Err(ChainPolicyError::PowerReduction);
        }
        Ok(())
    }

    fn validate_shares(&self) -> Result<(), ChainPolicyError> {
        let half = Decimal::from_atomics(Decimal::ONE.atomics() / 2);
        let share = |ok: bool, field, expected, got| {
            if ok {
                Ok(())
            } else {
                Err(ChainPolicyError::Share {
                    field,
                    expected,
                    got,
                })
            }
        };
        let one = Decimal::ONE;
        share(
            self.quorum > Decimal::ZERO && self.quorum <= one,
            "quorum",
            "above 0, at most 1",
            self.quorum,
        )?;
        share(
            self.threshold >= half && self.threshold < one,
            "threshold",
            "at least 0.5, below 1",
            self.threshold,
        )?;
        share(
            self.veto > Decimal::ZERO && self.veto <= one,
            "veto",
            "above 0, at most 1",
            self.veto,
        )?;
        let expedited = self.expedited_threshold;
        share(
            expedited >= self.threshold && expedited < one,
            "expedited_threshold",
            "at least the threshold, below 1",
            expedited,
        )?;
        share(
            self.slack < self.quorum,
            "slack",
            "below the quorum",
            self.slack,
        )?;
        share(
            self.override_share >= half && self.override_share < one,
            "override_share",
            "at least 0.5, below 1",
            self.override_share,
        )
    }
}

mod hash_text {
    use alloc::string::String;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(hash: &[u8; 32], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&hex::encode(hash))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(d)?;
        let mut out = [0; 32];
        hex::decode_to_slice(&text, &mut out)
            .map_err(|_| D::Error::custom("expected a header hash of 64 hexadecimal characters"))?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> ChainPolicy {
        let checkpoint = Checkpoint { height: 5, hash: [7; 32] };
        ChainPolicy { checkpoint, lead_blocks: 100, ..crate::testkit::policy() }
    }

    #[test]
    fn the_usual_policy_is_valid_and_round_trips() {
        let p = policy();
        p.validate().unwrap();
        let bytes = baton_attest::identity::encode(&p);
        assert_eq!(minicbor::decode::<ChainPolicy>(&bytes).unwrap(), p);
        let text = serde_json::to_string(&p).unwrap();
        assert_eq!(serde_json::from_str::<ChainPolicy>(&text).unwrap(), p);
    }

    #[test]
    fn a_policy_that_would_make_a_check_vacuous_is_refused() {
        let d = |s: &str| -> Decimal { s.parse().unwrap() };
        type Edit = fn(&mut ChainPolicy);
        let edits: &[Edit] = &[
            |p| p.chain_id.clear(),
            |p| p.chain_id = "x".repeat(51),
            |p| p.checkpoint.height = 0,
            |p| p.checkpoint.height = u64::MAX,
            |p| p.trusting_period_secs = 0,
            |p| p.trusting_period_secs = u64::MAX,
            |p| p.trust_threshold = (0, 3),
            |p| p.trust_threshold = (1, 4),
            |p| p.trust_threshold = (3, 3),
            |p| p.trust_threshold = (1, 0),
            |p| p.trust_threshold = (u64::MAX / 4, u64::MAX),
            |p| p.quorum = Decimal::ZERO,
            |p| p.threshold = Decimal::ZERO,
            |p| p.threshold = Decimal::ONE,
            |p| p.veto = Decimal::ZERO,
            |p| p.expedited_threshold = Decimal::ZERO,
            |p| p.slack = Decimal::ONE,
            |p| p.override_share = Decimal::ONE,
            |p| p.power_reduction = 0,
        ];
        for (i, edit) in edits.iter().enumerate() {
            let mut p = policy();
            edit(&mut p);
            assert!(p.validate().is_err(), "edit {i}");
        }
        let mut p = policy();
        p.quorum = d("1.000000000000000001");
        assert!(p.validate().is_err());
    }
}
