//! The keeper's state as it is sealed, and back.
//!
//! What is open only in memory (hellos, challenges, request keys) is left out on purpose: a restart
//! forgets it, and the other side asks again.

use alloc::vec::Vec;

use baton_attest::identity::Digest32;
use baton_chain::light::{LightClient, LightError};
use minicbor::{Decode, Encode};
use zeroize::{Zeroize, Zeroizing};

use super::{Canary, Keeper};
use crate::branch::{Branch, SealedBranch};
use crate::cbor::decode_exact;
use crate::custody::{
    Confirmed, Custody, Empty, Holding, Offered, Origin, PlanRun, Received, Retired, Since, State, Successor, VoidPlan,
};
use crate::handover::Transfer;
use crate::keyring::{CanaryKeyring, DecodeError, Keyring};
use crate::platform::Platform;
use crate::policy::{Policy, PolicyError};
use crate::seal::{OpenError, Opened, SealError, Slot, open, seal};
use crate::transfers::Transfers;
use baton_chain::authorize::AtXFacts;

/// The version that this build writes.
const STATE_VERSION: u8 = 1;

/// Why a sealed state is not taken. The file stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The policy does not hold together.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The plaintext is of a newer format.
    #[error("the sealed state has version {got}, this build reads up to {STATE_VERSION}: start the build that wrote it")]
    Version {
        /// Its version.
        got: u8,
    },
    /// The plaintext is not a state.
    #[error("the sealed state opens, but cannot be read: {0}; start from the older generation")]
    Malformed(&'static str),
    /// The keyring inside cannot be read.
    #[error(transparent)]
    Keyring(#[from] DecodeError),
    /// The light client inside cannot be read.
    #[error(transparent)]
    Light(#[from] LightError),
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct SealedState {
    #[n(0)]
    version: u8,
    #[n(1)]
    pub state: State,
    #[cbor(n(2), with = "minicbor::bytes")]
    keyring: Option<Vec<u8>>,
    #[n(3)]
    origin: Option<Origin>,
    #[n(4)]
    since: Option<Since>,
    #[n(5)]
    successor: Option<Successor>,
    #[n(6)]
    retired_at: Option<u64>,
    #[cbor(n(7), with = "minicbor::bytes")]
    client: Option<Vec<u8>>,
    #[n(8)]
    newest_signed: u64,
    #[n(9)]
    transfers: Vec<Transfer>,
    #[n(10)]
    branch: SealedBranch,
    #[n(11)]
    rehearsed_as_source: bool,
    #[n(12)]
    clean_shadow_upgrades: u32,
    #[n(13)]
    shadow_proof: Option<PlanRun>,
    #[n(14)]
    moved_on: Option<AtXFacts>,
    #[cbor(n(15), with = "minicbor::bytes")]
    canary_to_give: Option<Vec<u8>>,
    /// None where there is none, and in files of before this field.
    #[n(16)]
    void: Option<Vec<VoidPlan>>,
    /// None where there was no emergency, and in files of before this field.
    #[n(17)]
    emergencies: Option<super::emergency::Emergencies>,
    /// None where no escrow was made, and in files of before this field.
    #[n(18)]
    escrowed: Option<Digest32>,
}

impl Drop for SealedState {
    fn drop(&mut self) {
        self.keyring.zeroize();
        self.canary_to_give.zeroize();
    }
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct SealedCanary {
    #[n(0)]
    version: u8,
    #[cbor(n(1), with = "minicbor::bytes")]
    keyring: Vec<u8>,
    #[n(2)]
    origin: Origin,
}

pub(super) fn read(plaintext: &[u8]) -> Result<SealedState, StateError> {
    let s: SealedState = decode_exact(plaintext).ok_or(StateError::Malformed("expected the map of a custody state"))?;
    if s.version > STATE_VERSION {
        return Err(StateError::Version { got: s.version });
    }
    Ok(s)
}

impl SealedState {
    /// The keyring, and how many `shadow` upgrades agreed so far.
    pub(super) fn into_keyring(self) -> Option<(Keyring, u32)> {
        let ring = Keyring::decode(self.keyring.as_deref()?).ok()?;
        Some((ring, self.clean_shadow_upgrades))
    }

    fn custody(&mut self) -> Result<Custody, StateError> {
        let missing = StateError::Malformed("a part of its state is missing");
        let keyring = self.keyring.as_deref().map(Keyring::decode).transpose()?;
        let (origin, since, successor) = (self.origin.take(), self.since.take(), self.successor.take());
        let holding = |keyring: Option<Keyring>| match (keyring, since) {
            (Some(keyring), Some(since)) => Some(Holding { keyring, origin: origin.clone(), since }),
            _ => None,
        };
        Ok(match self.state {
            State::Empty => Custody::Empty(Empty),
            State::Received => match (keyring, origin.clone()) {
                (Some(keyring), Some(origin)) => Custody::Received(Received { keyring, origin }),
                _ => return Err(missing),
            },
            State::Holding => Custody::Holding(holding(keyring).ok_or(missing)?),
            State::Offered => match (holding(keyring), successor) {
                (Some(holding), Some(successor)) => Custody::Offered(Offered { holding, successor }),
                _ => return Err(missing),
            },
            State::Confirmed => match (holding(keyring), successor) {
                (Some(holding), Some(successor)) => Custody::Confirmed(Confirmed { holding, successor }),
                _ => return Err(missing),
            },
            State::Retired => match (successor, self.retired_at) {
                (Some(successor), Some(at_height)) => Custody::Retired(Retired { successor, at_height }),
                _ => return Err(missing),
            },
        })
    }
}

/// Counts what an encoder writes.
struct Count(usize);

impl minicbor::encode::Write for Count {
    type Error = core::convert::Infallible;
    fn write_all(&mut self, buf: &[u8]) -> Result<(), Self::Error> {
        self.0 = self.0.saturating_add(buf.len());
        Ok(())
    }
}

/// CBOR that holds a secret: wiped when dropped, and sized first, so that growing leaves no copy behind.
fn secret_cbor<T: Encode<()>>(value: &T) -> Zeroizing<Vec<u8>> {
    let mut count = Count(0);
    let mut out = Zeroizing::new(Vec::new());
    let written = minicbor::encode(value, &mut count).and_then(|()| {
        out.reserve_exact(count.0);
        minicbor::encode(value, &mut *out)
    });
    match written {
        Ok(()) => out,
        Err(e) => match e.into_write() {
            Some(never) => match never {},
            None => out,
        },
    }
}

impl<P: Platform> Keeper<P> {
    /// Starts from a custody file. Custody-only: nothing else is needed to hand the keyring on.
    pub fn open(platform: P, policy: Policy, file: &[u8]) -> Result<(Self, u64), StateError> {
        let mut keeper = Keeper::new(platform, policy)?;
        let Opened { header, plaintext } =
            open(&keeper.platform, Slot::Custody, &keeper.policy.chain.chain_id, file)?;
        keeper.restore(&plaintext)?;
        Ok((keeper, header.generation))
    }

    fn restore(&mut self, plaintext: &[u8]) -> Result<(), StateError> {
        let mut s = read(plaintext)?;
        self.custody = s.custody()?;
        self.client = match &s.client {
            Some(bytes) => Some(LightClient::danger_from_sealed_bytes(bytes, &self.policy.chain)?),
            None => None,
        };
        self.newest_signed = s.newest_signed;
        self.transfers = Transfers::from_vec(core::mem::take(&mut s.transfers));
        self.branch = Branch::from_sealed(&s.branch).ok_or(StateError::Malformed("a log entry cannot be read"))?;
        self.rehearsed_as_source = s.rehearsed_as_source;
        self.clean_shadow_upgrades = s.clean_shadow_upgrades;
        self.shadow_proof = s.shadow_proof.take();
        self.moved_on = s.moved_on.take();
        self.void = s.void.take().unwrap_or_default();
        self.emergencies = s.emergencies.take().unwrap_or_default();
        self.escrowed = s.escrowed;
        self.canary_to_give = s.canary_to_give.as_deref().map(CanaryKeyring::decode).transpose()?;
        Ok(())
    }

    /// Takes a rehearsal file over.
    pub fn open_rehearsal(&mut self, file: &[u8]) -> Result<u64, StateError> {
        let opened = open(&self.platform, Slot::Rehearsal, &self.policy.chain.chain_id, file)?;
        let s: SealedCanary =
            decode_exact(&opened.plaintext).ok_or(StateError::Malformed("expected the map of a rehearsal"))?;
        if s.version > STATE_VERSION {
            return Err(StateError::Version { got: s.version });
        }
        self.canary = Some(Canary { keyring: CanaryKeyring::decode(&s.keyring)?, origin: s.origin });
        Ok(opened.header.generation)
    }

    /// Seals a slot as its next generation.
    pub fn seal_slot(&mut self, slot: Slot, generation: u64) -> Result<Vec<u8>, SealError> {
        let plaintext = match slot {
            Slot::Custody => secret_cbor(&self.to_sealed()),
            Slot::Rehearsal => match &self.canary {
                Some(c) => secret_cbor(&SealedCanary {
                    version: STATE_VERSION,
                    keyring: c.keyring.danger_encode().to_vec(),
                    origin: c.origin.clone(),
                }),
                None => Zeroizing::new(Vec::new()),
            },
        };
        let policy = self.seal_policy();
        let chain_id = self.policy.chain.chain_id.clone();
        seal(&mut self.platform, slot, policy, &chain_id, generation, &plaintext)
    }

    /// What was read back from disk is a file of this slot and generation that opens here.
    pub fn check_stored(&self, slot: Slot, generation: u64, file: &[u8]) -> Result<bool, OpenError> {
        let opened = open(&self.platform, slot, &self.policy.chain.chain_id, file)?;
        Ok(opened.header.generation == generation)
    }

    fn to_sealed(&self) -> SealedState {
        let holding = self.custody.serving();
        SealedState {
            version: STATE_VERSION,
            state: self.custody.state(),
            keyring: self.custody.keyring().map(|k| k.danger_encode().to_vec()),
            origin: self.custody.origin().cloned(),
            since: holding.map(|h| h.since.clone()),
            successor: self.custody.successor().cloned(),
            retired_at: match &self.custody {
                Custody::Retired(r) => Some(r.at_height),
                _ => None,
            },
            client: self.client.as_ref().map(LightClient::to_bytes),
            newest_signed: self.newest_signed,
            transfers: self.transfers.as_slice().to_vec(),
            branch: self.branch.to_sealed(),
            rehearsed_as_source: self.rehearsed_as_source,
            clean_shadow_upgrades: self.clean_shadow_upgrades,
            shadow_proof: self.shadow_proof.clone(),
            moved_on: self.moved_on.clone(),
            canary_to_give: self.canary_to_give.as_ref().map(|c| c.danger_encode().to_vec()),
            void: (!self.void.is_empty()).then(|| self.void.clone()),
            emergencies: (!self.emergencies.is_empty()).then(|| self.emergencies.clone()),
            escrowed: self.escrowed,
        }
    }
}

#[cfg(test)]
mod tests;
