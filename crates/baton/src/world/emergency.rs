//! The people of the break-glass rule in a world: a council, witnesses, and the log in which orders are public.

use anyhow::{Result, bail};
use baton_chain::light::Path as LightPath;
use baton_core::order::judge::OrderEvidence;
use baton_core::order::notice::FreshEvidence;
use baton_core::order::signed::SignedOrder;
use baton_core::order::Order;
use baton_core::policy::{Council, CouncilKey, Member, Policy, Witnesses};
use baton_core::witness::{Cosigner, orders_origin};
use baton_host::orders::{OrderLog, evidence};
use baton_host::witness::{InMemory, Witness};
use ed25519_dalek::{Signer as _, SigningKey};

/// Notice by witnesses, in seconds.
pub const NOTICE_SECS: u64 = 3600;
/// When witnesses first see something, in unix seconds; they read no block.
pub const NOON: u64 = 1_790_000_000;
/// The two of three council members who sign.
pub const SIGNERS: [u8; 2] = [41, 42];

/// The key of a council member.
pub fn member(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

/// The key that a policy names a member by.
pub fn member_key(n: u8) -> CouncilKey {
    CouncilKey::Ed25519(member(n).verifying_key().to_bytes())
}

/// A witness.
pub fn witness(n: u8) -> Option<Cosigner> {
    Cosigner::from_seed(&format!("w{n}.example"), &[n; 32])
}

/// Puts two of three members and two of three witnesses into a policy.
pub fn break_glass(policy: &mut Policy) {
    let of = |n: u8| Member { name: format!("member {n}"), key: member_key(n) };
    policy.council = Some(Council { members: vec![of(41), of(42), of(43)], needed: 2, notice_blocks: 5 });
    let keys = [51, 52, 53].into_iter().filter_map(|n| Some(witness(n)?.vkey())).collect();
    policy.witnesses = Some(Witnesses { keys, needed: 2, notice_secs: NOTICE_SECS, dated_exports: false });
}

/// An order with the signatures of some members.
pub fn sign(order: Order, by: &[u8]) -> SignedOrder {
    let mut signed = SignedOrder::unsigned(order);
    for n in by {
        signed.add_council(&member_key(*n), |b| member(*n).sign(b).to_vec());
    }
    signed
}

/// The witnessed log; as many logs as a host likes, if its witnesses have never seen another one.
pub struct Public {
    /// The log.
    pub log: OrderLog,
    witnesses: Vec<Witness<InMemory>>,
    now: u64,
}

impl Public {
    /// An empty log at noon, known to the first `witnesses` of three.
    pub fn new(chain_id: &str, witnesses: usize) -> Self {
        let log = OrderLog::new(chain_id, &[60; 32]);
        let make = |n: u8| {
            let mut w = Witness::new(witness(n)?, InMemory::default());
            w.know(&orders_origin(chain_id), log.public_key());
            Some(w)
        };
        let witnesses = [51, 52, 53].into_iter().filter_map(make).take(witnesses).collect();
        Public { log, witnesses, now: NOON }
    }

    /// Lets time pass.
    pub fn wait(&mut self, secs: u64) {
        self.now = self.now.saturating_add(secs);
    }

    /// Appends a text, and lets the witnesses cosign now.
    pub fn show(&mut self, text: &str) -> Result<()> {
        self.log.append(text);
        match self.log.cosign(&mut self.witnesses, self.now).as_slice() {
            [] => Ok(()),
            refused => bail!("witnesses refused: {}", refused.join("; ")),
        }
    }

    /// Evidence of an order: in the log now, and `later` seconds after that again, with `fresh` beside it.
    pub fn evidence(&mut self, signed: &SignedOrder, fresh: &str, later: u64) -> Result<OrderEvidence> {
        let memo = signed.order().memo();
        self.show(&memo)?;
        self.wait(later);
        self.show(fresh)?;
        let shown = FreshEvidence::Witnessed(self.log.newest(fresh)?);
        Ok(evidence(signed, LightPath::default(), self.log.notice(&memo)?, Some(shown)))
    }
}
