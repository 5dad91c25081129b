//! The transfers that a source takes part in, a bounded list.
//!
//! Each one is in the custody log for ever; here it is only kept for as long as its receipt may come. One
//! that falls out costs nothing but a new request by its target.

use alloc::vec::Vec;

use baton_attest::identity::Digest32;
use baton_chain::record::Kind;

use crate::handover::Transfer;

/// Rehearsals that are kept at most. They need no record, so a host can open any number.
pub const MAX_REHEARSALS: usize = 16;

/// Transfers of each other kind that are kept at most.
pub const MAX_TRANSFERS: usize = 1024;

/// The list, oldest first.
#[derive(Default)]
pub(crate) struct Transfers(Vec<Transfer>);

impl Transfers {
    pub(crate) fn from_vec(list: Vec<Transfer>) -> Self {
        Transfers(list)
    }

    pub(crate) fn as_slice(&self) -> &[Transfer] {
        &self.0
    }

    pub(crate) fn find(&self, transcript: &Digest32) -> Option<&Transfer> {
        self.0.iter().find(|t| t.transcript == *transcript)
    }

    /// Adds a transfer, or takes note of what is new of a known one. Where its kind is full, the oldest that has
    /// its receipt makes room, or else the oldest.
    pub(crate) fn put(&mut self, transfer: Transfer) {
        if let Some(known) = self.0.iter_mut().find(|t| t.transcript == transfer.transcript) {
            known.confirmed |= transfer.confirmed;
            return;
        }
        let kind = transfer.kind;
        if self.0.iter().filter(|t| t.kind == kind).count() >= most(kind) {
            let done = self.0.iter().position(|t| t.kind == kind && t.confirmed);
            let oldest = done.or_else(|| self.0.iter().position(|t| t.kind == kind));
            oldest.map(|at| self.0.remove(at));
        }
        self.0.push(transfer);
    }

    /// Its receipt came.
    pub(crate) fn confirm(&mut self, transcript: &Digest32) {
        if let Some(t) = self.0.iter_mut().find(|t| t.transcript == *transcript) {
            t.confirmed = true;
        }
    }
}

fn most(kind: Kind) -> usize {
    match kind {
        Kind::Rehearsal => MAX_REHEARSALS,
        Kind::Upgrade | Kind::Join | Kind::Sync => MAX_TRANSFERS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakePlatform;
    use crate::platform::Platform;
    use baton_attest::identity::PlatformId;

    fn transfer(kind: Kind, n: usize, confirmed: bool) -> Transfer {
        let mut transcript = [0; 32];
        transcript[..8].copy_from_slice(&(n as u64).to_le_bytes());
        transcript[31] = kind as u8;
        Transfer {
            kind,
            transcript: Digest32(transcript),
            target: *FakePlatform::new(1).identity(),
            platform: PlatformId([0; 32]),
            record: None,
            confirmed,
        }
    }

    #[test]
    fn a_full_list_lets_the_oldest_finished_transfer_of_that_kind_go_first() {
        let mut list = Transfers::default();
        list.put(transfer(Kind::Upgrade, 0, true));
        for n in 0..MAX_TRANSFERS {
            list.put(transfer(Kind::Join, n, n == 5));
        }
        list.put(transfer(Kind::Join, MAX_TRANSFERS, false));
        assert!(list.find(&transfer(Kind::Join, 5, true).transcript).is_none());
        assert!(list.find(&transfer(Kind::Join, 0, false).transcript).is_some());
        // Nothing is finished now: the oldest goes.
        list.put(transfer(Kind::Join, MAX_TRANSFERS + 1, false));
        assert!(list.find(&transfer(Kind::Join, 0, false).transcript).is_none());
        assert!(list.find(&transfer(Kind::Upgrade, 0, true).transcript).is_some(), "another kind's is not touched");
        assert_eq!(list.as_slice().len(), MAX_TRANSFERS + 1);
    }

    #[test]
    fn rehearsals_never_push_a_transfer_of_the_keyring_out() {
        let mut list = Transfers::default();
        list.put(transfer(Kind::Upgrade, 0, false));
        (0..100).for_each(|n| list.put(transfer(Kind::Rehearsal, n, false)));
        assert_eq!(list.as_slice().len(), MAX_REHEARSALS + 1);
        assert_eq!(list.as_slice()[0].kind, Kind::Upgrade);
    }

    #[test]
    fn a_receipt_that_came_is_not_forgotten_when_the_same_offer_is_made_again() {
        let mut list = Transfers::default();
        list.put(transfer(Kind::Upgrade, 0, false));
        list.confirm(&transfer(Kind::Upgrade, 0, false).transcript);
        list.put(transfer(Kind::Upgrade, 0, false));
        assert!(list.as_slice()[0].confirmed && list.as_slice().len() == 1);
    }
}
