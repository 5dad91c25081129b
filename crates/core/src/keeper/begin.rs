//! How a keyring begins: genesis, a file of the network's old enclave, or inheritance in `shadow`.
//!
//! A second beginning over a first one is how networks have lost their seed, so each of these refuses
//! wherever anything is held or was found.

use alloc::string::String;

use super::{Keeper, Said, Step, WrongState};
use crate::custody::{Custody, Empty, Since};
use crate::keyring::{Keyring, KeyringError};
use crate::legacy::{LEGACY_EPOCH, LegacyError, unseal_legacy};
use crate::log::Event;
use crate::platform::Platform;
use crate::policy::{Origin, Phase};
use crate::seal::{OpenError, SealPolicy, Slot, open};
use crate::secret::SeedOf;

/// Why nothing began. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// The policy does not say that this build begins so.
    #[error("this build's policy begins from {got}, expected {expected}")]
    OtherOrigin {
        /// What the operation needs.
        expected: &'static str,
        /// What the policy says.
        got: &'static str,
    },
    /// Something sealed is here.
    #[error("{count} sealed files are here, the first is {first:?}: expected none; genesis never goes over anything sealed. Move them to a safe place only if you know that they belong to another network")]
    SomethingSealed {
        /// How many.
        count: usize,
        /// One of them.
        first: String,
    },
    /// Something is held.
    #[error(transparent)]
    State(#[from] WrongState),
    /// The legacy file does not open.
    #[error(transparent)]
    Legacy(#[from] LegacyError),
    /// The custody file of the older build does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It holds no keyring.
    #[error("the older build's custody file holds no keyring: its custody is {got}")]
    NoKeyring {
        /// Its state.
        got: crate::custody::State,
    },
    /// It cannot be read.
    #[error(transparent)]
    Sealed(#[from] super::StateError),
    /// It holds other seeds.
    #[error(transparent)]
    Commitment(#[from] KeyringError),
    /// Not in `shadow`.
    #[error("inheritance is for phase shadow, this build's policy says mrenclave: receive the keyring by a handover")]
    NotShadow,
}

impl Origin {
    fn name(&self) -> &'static str {
        match self {
            Origin::Genesis => "genesis",
            Origin::Legacy => "a legacy file",
            Origin::Commitments(_) => "a handover (it has commitments)",
        }
    }
}

impl<P: Platform> Keeper<P> {
    /// Makes epoch 0's seed for a new network.
    pub fn genesis(&mut self, step: &mut Step, found: &[String]) -> Result<(), BeginError> {
        self.may_begin(&Origin::Genesis)?;
        if let Some(first) = found.first() {
            return Err(BeginError::SomethingSealed { count: found.len(), first: first.clone() });
        }
        let seed = SeedOf::random(&mut self.platform);
        let commitment = seed.commitment(0);
        self.custody = Custody::Holding(Empty.hold(Keyring::new(0, seed), None, Since::Genesis));
        let facts = self.facts();
        self.record(step, facts, Event::Genesis { commitment });
        step.send(Said::nothing());
        Ok(())
    }

    /// Takes epoch 0's seed from a file that the network's old enclave sealed (Intel SDK layout).
    pub fn import_legacy(&mut self, step: &mut Step, file: &[u8]) -> Result<(), BeginError> {
        self.may_begin(&Origin::Legacy)?;
        let legacy = unseal_legacy(&self.platform, file)?;
        let commitment = legacy.seed.commitment(LEGACY_EPOCH);
        // A build in shadow seals under MRSIGNER again, so it exposes whatever the file did not.
        let exposed = legacy.exposed || self.policy.phase == Phase::Shadow;
        let mut keyring = Keyring::new(LEGACY_EPOCH, legacy.seed);
        if exposed {
            keyring.mark_exposed(LEGACY_EPOCH);
        }
        self.custody = Custody::Holding(Empty.hold(keyring, None, Since::Legacy));
        let facts = self.facts();
        self.record(step, facts, Event::LegacyImport { commitment, exposed });
        step.send(Said::nothing());
        Ok(())
    }

    /// `shadow`: takes what the older build of this signer sealed under MRSIGNER, and serves from it.
    pub fn inherit(&mut self, step: &mut Step, file: &[u8]) -> Result<(), BeginError> {
        if self.policy.phase != Phase::Shadow {
            return Err(BeginError::NotShadow);
        }
        self.must_be_empty()?;
        let opened = open(&self.platform, Slot::Custody, &self.policy.chain.chain_id, file)?;
        let old = super::sealed::read(&opened.plaintext)?;
        let got = old.state;
        let (mut keyring, clean) = old.into_keyring().ok_or(BeginError::NoKeyring { got })?;
        if let Origin::Commitments(_) = &self.policy.origin {
            keyring.check(&self.policy.commitments())?;
        }
        if opened.header.policy == SealPolicy::Mrsigner {
            keyring.epochs().collect::<alloc::vec::Vec<_>>().into_iter().for_each(|e| keyring.mark_exposed(e));
        }
        self.clean_shadow_upgrades = clean;
        self.custody = Custody::Holding(Empty.hold(keyring, None, Since::Inherited));
        step.changed(Slot::Custody);
        step.send(Said::nothing());
        Ok(())
    }

    fn may_begin(&self, needed: &Origin) -> Result<(), BeginError> {
        if core::mem::discriminant(&self.policy.origin) != core::mem::discriminant(needed) {
            return Err(BeginError::OtherOrigin { expected: needed.name(), got: self.policy.origin.name() });
        }
        self.must_be_empty()
    }

    fn must_be_empty(&self) -> Result<(), BeginError> {
        match self.custody {
            Custody::Empty(_) => Ok(()),
            _ => Err(WrongState { expected: "Empty", got: self.custody.state() }.into()),
        }
    }
}
