//! What a devnet starts from.

use serde::{Deserialize, Serialize};

/// The genesis of a devnet. The same configuration and the same calls give the same bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// The chain id, at most 50 characters.
    pub chain_id: String,
    /// What all keys are made from. They protect nothing.
    pub seed: u64,
    /// The time of block 1, in seconds since 1970.
    pub genesis_time_secs: u64,
    /// Simulated time from one block to the next, in milliseconds; at least 100.
    pub block_interval_ms: u64,
    /// The validators' voting power at genesis, in units of `power_reduction` tokens. One with 0 is a
    /// candidate: it joins the set once somebody delegates to it.
    pub powers: Vec<u64>,
    /// How many accounts there are beside the validators'.
    pub users: usize,
    /// What every account holds at genesis, beside what validators have bonded, in base units.
    pub balance: u64,
    /// The staking denomination.
    pub denom: String,
    /// Tokens for one unit of voting power (the SDK's DefaultPowerReduction).
    pub power_reduction: u64,
    /// The unbonding time, in seconds.
    pub unbonding_secs: u64,
    /// The parameters of x/gov.
    pub gov: GovConfig,
}

/// The parameters of x/gov at genesis; a passed gov `MsgUpdateParams` changes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GovConfig {
    /// The voting period, in seconds.
    pub voting_secs: u64,
    /// The voting period of an expedited proposal, in seconds; shorter than the ordinary one.
    pub expedited_voting_secs: u64,
    /// How long a proposal may wait for its deposit, in seconds.
    pub max_deposit_secs: u64,
    /// The deposit that opens the vote, in base units.
    pub min_deposit: u64,
    /// The same for an expedited proposal.
    pub expedited_min_deposit: u64,
    /// The least turnout, as a decimal of at most 18 fractional digits.
    pub quorum: String,
    /// The share of yes that must be exceeded.
    pub threshold: String,
    /// The same for an expedited proposal.
    pub expedited_threshold: String,
    /// The share of veto that must not be exceeded.
    pub veto_threshold: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            chain_id: "baton-devnet-1".into(),
            seed: 1,
            genesis_time_secs: 1_767_225_600,
            block_interval_ms: 5_000,
            powers: vec![100, 70, 40, 25],
            users: 4,
            balance: 1_000_000_000,
            denom: "stake".into(),
            power_reduction: 1_000_000,
            unbonding_secs: 14 * 24 * 3600,
            gov: GovConfig::default(),
        }
    }
}

impl Default for GovConfig {
    fn default() -> Self {
        Self {
            voting_secs: 120,
            expedited_voting_secs: 60,
            max_deposit_secs: 120,
            min_deposit: 10_000_000,
            expedited_min_deposit: 50_000_000,
            quorum: "0.334".into(),
            threshold: "0.5".into(),
            expedited_threshold: "0.667".into(),
            veto_threshold: "0.334".into(),
        }
    }
}

/// Why a configuration makes no chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Nobody could sign a block.
    #[error("no validator has voting power: give at least one power above 0")]
    NoPower,
    /// CometBFT refuses such an id.
    #[error("the chain id has {got} bytes, expected 1 to 50")]
    ChainId {
        /// Its length.
        got: usize,
    },
    /// A value lies outside its bounds.
    #[error("{field} is {got}, expected {expected}")]
    Range {
        /// The field of [`Config`].
        field: &'static str,
        /// What it holds.
        got: String,
        /// What it may hold.
        expected: &'static str,
    },
}

impl Config {
    /// Refuses what would make a chain that cannot live.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let range = |ok: bool, field, got: &dyn ToString, expected| {
            if ok {
                Ok(())
            } else {
                Err(ConfigError::Range {
                    field,
                    got: got.to_string(),
                    expected,
                })
            }
        };
        if !(1..=50).contains(&self.chain_id.len()) {
            return Err(ConfigError::ChainId {
                got: self.chain_id.len(),
            });
        }
        if self.powers.iter().all(|power| *power == 0) {
            return Err(ConfigError::NoPower);
        }
        range(
            self.block_interval_ms >= 100,
            "block_interval_ms",
            &self.block_interval_ms,
            "at least 100",
        )?;
        range(
            self.power_reduction > 0,
            "power_reduction",
            &self.power_reduction,
            "at least 1",
        )?;
        range(!self.denom.is_empty(), "denom", &self.denom, "a name")?;
        range(
            self.genesis_time_secs < 1 << 33,
            "genesis_time_secs",
            &self.genesis_time_secs,
            "less than 2^33",
        )?;
        let power: u128 = self.powers.iter().map(|power| u128::from(*power)).sum();
        let tokens = power * u128::from(self.power_reduction);
        let all = tokens + u128::from(self.balance) * (self.powers.len() + self.users) as u128;
        range(
            all < 1 << 62,
            "powers and balance",
            &all,
            "less than 2^62 tokens altogether",
        )?;
        let gov = &self.gov;
        range(
            gov.expedited_voting_secs < gov.voting_secs,
            "gov.expedited_voting_secs",
            &gov.expedited_voting_secs,
            "less than gov.voting_secs",
        )?;
        for (field, text) in [
            ("gov.quorum", &gov.quorum),
            ("gov.threshold", &gov.threshold),
            ("gov.expedited_threshold", &gov.expedited_threshold),
            ("gov.veto_threshold", &gov.veto_threshold),
        ] {
            let share = crate::decimal::parse(text).filter(|share| *share <= crate::decimal::ONE);
            range(share.is_some(), field, text, "a decimal from 0 to 1")?;
        }
        Ok(())
    }
}
