//! The last thing that a copy does for the seed: it lets go, behind the barrier.

use alloc::string::ToString;
use alloc::vec::Vec;

use baton_attest::attested::Attested;
use baton_attest::identity::{encode, hash};
use baton_attest::quote::Purpose;
use baton_chain::evidence::{EvidenceError, PowerEvidence};

use super::{HeadError, Keeper, Said, Step, WrongState};
use crate::barrier::{BarrierError, BarrierMet};
use crate::custody::{Custody, Empty};
use crate::handover::AttestationError;
use crate::log::{Event, LogFacts};
use crate::messages::{Attestation, BarrierReceipt, Message, MessageError};
use crate::platform::Platform;
use crate::policy::Phase;

/// Receipts that one erase may bring at most.
pub const MAX_BARRIER_RECEIPTS: usize = 1024;

/// Why nothing was erased. The copy is whole.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// A receipt cannot be read.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// A receipt is not from whom it says.
    #[error(transparent)]
    Attestation(#[from] AttestationError),
    /// The barrier is not met.
    #[error(transparent)]
    Barrier(#[from] BarrierError),
    /// Only a confirmed custody can let go.
    #[error(transparent)]
    State(#[from] WrongState),
    /// The evidence of power cannot be read.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    /// The head does not follow.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// More receipts than are looked at.
    #[error("{got} receipts, expected at most {MAX_BARRIER_RECEIPTS}")]
    TooMany {
        /// How many came.
        got: usize,
    },
}

impl<P: Platform> Keeper<P> {
    /// Erases this copy, if the barrier is met. `power` is CBOR of [`PowerEvidence`], where the policy asks for a share of power.
    pub fn erase(
        &mut self,
        step: &mut Step,
        receipts: &[(&[u8], &Attestation)],
        power: Option<&[u8]>,
    ) -> Result<(), EraseError> {
        let got = self.custody.state();
        if let Custody::Retired(_) = self.custody {
            step.send(Said::nothing());
            return Ok(());
        }
        let Custody::Confirmed(confirmed) = &self.custody else {
            return Err(WrongState { expected: "Confirmed", got }.into());
        };
        if self.policy.phase == Phase::Shadow {
            return Err(BarrierError::Shadow.into());
        }
        if receipts.len() > MAX_BARRIER_RECEIPTS {
            return Err(EraseError::TooMany { got: receipts.len() });
        }
        let checked = self.check_receipts(receipts)?;
        let power = power.map(PowerEvidence::from_cbor).transpose()?;
        let client = power.as_ref().map(|p| self.followed(&p.to_head)).transpose()?;
        let met = BarrierMet::judge(
            &self.policy.barrier,
            &self.policy.chain.chain_id,
            &confirmed.successor,
            &confirmed.holding.keyring,
            &checked,
            client.as_ref().zip(power.as_ref()).map(|(client, p)| (client.head(), &p.vouched)),
        )?;
        let facts = LogFacts { identity: Some(confirmed.successor.target.digest()), ..self.facts() };
        let evidence = hash("baton barrier evidence v1", &[&encode(&met.platforms().copied().collect::<Vec<_>>())]);
        let platforms = met.platforms().count() as u64;
        let power_share = met.power().map(|p| p.to_string());
        self.client = client.or_else(|| self.client.take());
        self.custody = match core::mem::replace(&mut self.custody, Custody::Empty(Empty)) {
            Custody::Confirmed(c) => Custody::Retired(c.retire(&met)),
            other => other,
        };
        let facts = LogFacts { evidence: Some(evidence), ..facts };
        self.record(step, facts.clone(), Event::BarrierMet { platforms, power_share });
        self.record(step, facts, Event::Erased { layer: 0 });
        step.send(Said::nothing());
        Ok(())
    }

    fn check_receipts(
        &self,
        receipts: &[(&[u8], &Attestation)],
    ) -> Result<Vec<(BarrierReceipt, Attested)>, EraseError> {
        let mut checked = Vec::new();
        for (bytes, attestation) in receipts {
            let receipt = BarrierReceipt::from_cbor(bytes)?;
            let attested = self.attested(self.quote_time(), Purpose::Receipt, attestation, &receipt.digest())?;
            checked.push((receipt, attested));
        }
        Ok(checked)
    }
}
