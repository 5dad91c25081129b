//! The escrow of what a keeper holds, for the lifeboat that its policy names.
//!
//! A host brings the two public keys, which the policy names by digest, and gets an escrow; it may ask again at any time. What was
//! escrowed first for these keys is in the log: every copy that could ever be made of it needs the council and the notice.

use baton_attest::identity::{Digest32, encode, hash};

use super::{Keeper, Said, Step, WrongState};
use crate::custody::{PlanRun, Since};
use crate::escrow::{self, Conditions, EscrowError, EscrowKeys};
use crate::log::Event;
use crate::platform::Platform;

/// Why no escrow was made. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum KeepEscrowError {
    /// The policy names no lifeboat.
    #[error("this build's policy has no section lifeboat: expected one, so no escrow is made; the network's next build can bring one")]
    NoLifeboat,
    /// Nothing that is in force.
    #[error(transparent)]
    State(#[from] WrongState),
    /// The network may still have passed over this build.
    #[error("this copy serves by the proof at X = {x} and has not seen the done key: show it a head above X first (observe); its policy could be one that the network passed over")]
    InDoubt {
        /// X of its plan, in blocks.
        x: u64,
    },
    /// Keys, conditions or encryption.
    #[error(transparent)]
    Escrow(#[from] EscrowError),
}

/// The keys that a policy wants escrows for, and whether this keyring has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EscrowWanted {
    /// SHA-256 of the council's key.
    pub council_key: Digest32,
    /// SHA-256 of the lifeboats' key.
    pub lifeboat_key: Digest32,
    /// An escrow of every epoch that is held was made for them.
    pub made: bool,
}

impl<P: Platform> Keeper<P> {
    /// Which escrow this copy should have; none where the policy names no lifeboat, or this copy is not in force.
    pub fn escrow_wanted(&self) -> Option<EscrowWanted> {
        let keys = self.policy.lifeboat.as_ref()?;
        let contents = self.escrow_contents().ok()?;
        Some(EscrowWanted {
            council_key: keys.council_digest,
            lifeboat_key: keys.key_digest,
            made: self.escrowed == Some(contents),
        })
    }

    /// Makes an escrow of the keyring under this policy's conditions.
    pub fn escrow(&mut self, step: &mut Step, council_key: &[u8], lifeboat_key: &[u8]) -> Result<(), KeepEscrowError> {
        let contents = self.escrow_contents()?;
        let wanted = self.policy.lifeboat.as_ref().ok_or(KeepEscrowError::NoLifeboat)?;
        let keys = EscrowKeys::new((council_key, &wanted.council_digest), (lifeboat_key, &wanted.key_digest))?;
        let conditions = Conditions::of(&self.policy)?;
        let got = self.custody.state();
        let expected = "Holding, Offered or Confirmed";
        let held = self.custody.serving().ok_or(WrongState { expected, got })?;
        let made = escrow::make(&mut self.platform, &held.keyring, &conditions, &keys)?;
        // Every check has passed: from here on nothing can fail.
        if self.escrowed != Some(contents) {
            self.escrowed = Some(contents);
            let wanted = Event::Escrowed { council_key: made.header.council_key, lifeboat_key: made.header.lifeboat_key };
            let facts = self.facts();
            self.record(step, facts, wanted);
        }
        let message = made.to_cbor();
        step.send(Said { digest: escrow::key_digest(&message), message, report: None });
        Ok(())
    }

    /// What an escrow of this copy would hold, and for whom: an order of council and lifeboat that a build not in force
    /// brought along is nobody's decision yet.
    fn escrow_contents(&self) -> Result<Digest32, KeepEscrowError> {
        let wanted = self.policy.lifeboat.as_ref().ok_or(KeepEscrowError::NoLifeboat)?;
        let held = self.serving()?;
        if let Since::Run(PlanRun { done: false, ref facts, .. }) = held.since {
            return Err(KeepEscrowError::InDoubt { x: facts.x });
        }
        let keys = (wanted.council_digest, wanted.key_digest);
        Ok(hash("baton escrowed keyring v1", &[&encode(&held.keyring.commitments()), &encode(&keys)]))
    }
}

#[cfg(test)]
mod tests;
