//! The barrier in front of an erase: when is the last thing that this enclave can do for the seed to let it go?
//!
//! Only when its own successor on this machine, and the successor on enough distinct machines, each
//! hold the keyring, have run past the grace period, and have shown that they can hand it on. A host
//! may replay, repeat or withhold receipts; it cannot make one, and it cannot make one machine count twice.

use alloc::collections::BTreeSet;
use alloc::string::String;

use baton_attest::attested::Attested;
use baton_attest::identity::{Measurement, PlatformId};
use baton_chain::admission::{AdmissionError, VouchedEvidence, VouchedPower};
use baton_chain::decimal::Decimal;
use baton_chain::light::TrustedHeader;

use crate::custody::Successor;
use crate::keyring::Keyring;
use crate::messages::BarrierReceipt;
use crate::policy::BarrierRules;

/// Why nothing is erased.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BarrierError {
    /// In `shadow` nothing is ever erased.
    #[error("phase is shadow: nothing is erased; expected phase mrenclave")]
    Shadow,
    /// An order's target was never voted for.
    #[error("the successor was named by an emergency order: nothing is erased on an order alone; expected a voted plan")]
    ByOrder,
    /// The receipt of this machine's successor is missing.
    #[error("no receipt of this machine's own successor: expected one with a local report; start the new build here and ask it for one")]
    NoOwnSuccessor,
    /// Too few machines.
    #[error("receipts from {got} distinct machines, expected at least {expected}; wait for more nodes to upgrade")]
    TooFewPlatforms {
        /// The policy's R.
        expected: u32,
        /// How many distinct platforms the receipts come from.
        got: u32,
    },
    /// Nothing shows the share of power.
    #[error("the policy asks that the distinct machines stand for {share} of the voting power: bring the staking records that vouch for them")]
    NoPower {
        /// The policy's share.
        share: Decimal,
    },
    /// Too little power.
    #[error("the distinct machines stand for {got}, expected at least {share} of the voting power; wait for more nodes to upgrade")]
    TooLittlePower {
        /// The policy's share.
        share: Decimal,
        /// What they stand for.
        got: VouchedPower,
    },
    /// A staking record or the validator set is refused.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// A receipt is about another chain.
    #[error("a receipt is for chain {got}, expected {expected}")]
    OtherChain {
        /// Ours.
        expected: String,
        /// Its.
        got: String,
    },
    /// A receipt is about another plan.
    #[error("a receipt is for plan {got} at height {got_height}, expected {expected} at height {expected_height}")]
    OtherPlan {
        /// The successor's plan.
        expected: String,
        /// Its height.
        expected_height: u64,
        /// The receipt's plan.
        got: String,
        /// Its height.
        got_height: u64,
    },
    /// A receipt comes from another build.
    #[error("a receipt is attested by build {got}, expected the successor {expected} with its full identity")]
    OtherBuild {
        /// The successor's measurement.
        expected: Measurement,
        /// The attested one.
        got: Measurement,
    },
    /// A receipt was given too early.
    #[error("a receipt carries head {head}, expected at least {needed} (X {at_x} and {grace_blocks} blocks of grace); ask again then")]
    Grace {
        /// Its head.
        head: u64,
        /// The least head.
        needed: u64,
        /// X.
        at_x: u64,
        /// The policy's grace, in blocks.
        grace_blocks: u64,
    },
    /// A build activated before its plan.
    #[error("a receipt says it was activated at {got}, before its plan's height {expected}")]
    BeforePlan {
        /// The plan's height.
        expected: u64,
        /// X in the receipt.
        got: u64,
    },
    /// N has not shown that it can let go.
    #[error("a successor on platform {platform} has not rehearsed an onward handover as the source; run the rehearsal there")]
    NotRehearsed {
        /// The machine, zeros for this one.
        platform: PlatformId,
    },
    /// N does not hold this keyring.
    #[error("a receipt's MAC does not match: that successor holds another seed")]
    OtherSeed,
}

/// Proof that the barrier is met.
pub struct BarrierMet {
    head_height: u64,
    platforms: BTreeSet<PlatformId>,
    power: Option<VouchedPower>,
}

impl BarrierMet {
    /// The highest head in the receipts, in blocks.
    pub fn head_height(&self) -> u64 {
        self.head_height
    }

    /// The distinct machines that hold the keyring.
    pub fn platforms(&self) -> impl Iterator<Item = &PlatformId> {
        self.platforms.iter()
    }

    /// The voting power that these stand for, where the policy judges it.
    pub fn power(&self) -> Option<VouchedPower> {
        self.power
    }

    /// Judges receipts whose attestations were already checked to be over their own digests. `vouched` is a header that the
    /// caller trusts, with the staking records that say whose machines they are.
    pub fn judge(
        rules: &BarrierRules,
        chain_id: &str,
        successor: &Successor,
        keyring: &Keyring,
        receipts: &[(BarrierReceipt, Attested)],
        vouched: Option<(&TrustedHeader, &VouchedEvidence)>,
    ) -> Result<Self, BarrierError> {
        if successor.order.is_some() {
            return Err(BarrierError::ByOrder);
        }
        let mut own = false;
        let mut met = BarrierMet { head_height: 0, platforms: BTreeSet::new(), power: None };
        for (receipt, attested) in receipts {
            check_one(rules, chain_id, successor, keyring, receipt, attested)?;
            met.head_height = met.head_height.max(receipt.head_height);
            match attested {
                Attested::Local(_) => own = true,
                Attested::Quoted(q) => {
                    met.platforms.insert(q.platform());
                }
            }
        }
        if !own {
            return Err(BarrierError::NoOwnSuccessor);
        }
        let got = u32::try_from(met.platforms.len()).unwrap_or(u32::MAX);
        if got < rules.platforms {
            return Err(BarrierError::TooFewPlatforms { expected: rules.platforms, got });
        }
        if let Some(share) = rules.power_share {
            let (header, vouched) = vouched.ok_or(BarrierError::NoPower { share })?;
            let got = VouchedPower::verify(header, vouched, &met.platforms)?;
            if !got.reaches(share) {
                return Err(BarrierError::TooLittlePower { share, got });
            }
            met.power = Some(got);
        }
        Ok(met)
    }
}

fn check_one(
    rules: &BarrierRules,
    chain_id: &str,
    successor: &Successor,
    keyring: &Keyring,
    receipt: &BarrierReceipt,
    attested: &Attested,
) -> Result<(), BarrierError> {
    if receipt.chain_id != chain_id {
        return Err(BarrierError::OtherChain { expected: chain_id.into(), got: receipt.chain_id.clone() });
    }
    if receipt.plan != successor.plan {
        return Err(BarrierError::OtherPlan {
            expected: successor.plan.name.clone(),
            expected_height: successor.plan.height,
            got: receipt.plan.name.clone(),
            got_height: receipt.plan.height,
        });
    }
    if *attested.identity() != successor.target {
        return Err(BarrierError::OtherBuild {
            expected: successor.target.measurement,
            got: attested.identity().measurement,
        });
    }
    if receipt.activated_at < receipt.plan.height {
        return Err(BarrierError::BeforePlan { expected: receipt.plan.height, got: receipt.activated_at });
    }
    let needed = receipt.activated_at.saturating_add(rules.grace_blocks);
    if receipt.head_height < needed {
        return Err(BarrierError::Grace {
            head: receipt.head_height,
            needed,
            at_x: receipt.activated_at,
            grace_blocks: rules.grace_blocks,
        });
    }
    if !receipt.rehearsed_as_source {
        return Err(BarrierError::NotRehearsed { platform: attested.platform().unwrap_or(PlatformId::UNKNOWN) });
    }
    if !keyring.receipt_key(chain_id).verify(&[&receipt.mac_input().0], &receipt.mac) {
        return Err(BarrierError::OtherSeed);
    }
    Ok(())
}
