//! What an operator waits for: a record's block, a join. Each is a state that moves a step at a time, so that the thread that
//! owns the enclaves goes on with its ticks, and with its word to the watchdog, however long a block is in coming.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use baton_host::chain::{ChainSource, Included};
use serde_json::{Value, json};

use super::Node;
use super::peers::Peer;

/// How often a job that waits looks again.
pub const LOOK: Duration = Duration::from_millis(200);
/// Longest wait that one request may ask for: the answer still has to get back to the asker.
pub const MAX_WAIT: Duration = Duration::from_secs(570);
/// Broadcasts of one record at most.
const MAX_SENT: u32 = 10;
/// A broadcast that failed is tried again after this.
const AFTER_FAILURE: Duration = Duration::from_secs(2);

/// Work that is not done at once.
pub trait Waits {
    /// Goes on as far as it can now; `None`: not done yet.
    fn step(&mut self, node: &mut Node) -> Result<Option<Value>>;
}

/// What became of an operation.
pub enum Begun {
    /// It is done.
    Done(Value),
    /// It waits for the chain or a peer.
    Waits(Box<dyn Waits>),
}

/// A memo on its way into a block. Being in a mempool is not being in a block: what a halted chain took is lost when it goes
/// on, so it is sent again, a bounded number of times.
pub struct Publishing {
    memo: String,
    giver: Option<Peer>,
    every: Duration,
    limit: Duration,
    begun: Instant,
    /// The newest broadcast.
    tried: Option<Instant>,
    sent: u32,
    hashes: Vec<[u8; 32]>,
    failed: Option<String>,
}

impl Publishing {
    /// A memo that has `limit` to get into a block; `giver` publishes it where neither this node nor its peers can.
    pub fn new(memo: String, giver: Option<Peer>, limit: Duration) -> Self {
        let every = (limit / 3).max(Duration::from_secs(1));
        let begun = Instant::now();
        Publishing { memo, giver, every, limit, begun, tried: None, sent: 0, hashes: Vec::new(), failed: None }
    }

    /// True when it is time to broadcast, at `now`.
    fn due(&self, now: Instant) -> bool {
        let pause = if self.failed.is_some() { self.every.min(AFTER_FAILURE) } else { self.every };
        self.tried.is_none_or(|t| now.saturating_duration_since(t) >= pause) && self.sent < MAX_SENT
    }

    fn broadcast(&mut self, node: &Node, now: Instant) {
        self.tried = Some(now);
        let sent = node.sources.publish(&self.memo).map_err(anyhow::Error::from);
        let sent = sent.or_else(|own| match &self.giver {
            Some(giver) => giver.publish(&self.memo).map_err(|e| e.context(own)),
            None => Err(own),
        });
        match sent {
            Ok(hash) => {
                (self.failed, self.sent) = (None, self.sent + 1);
                if !self.hashes.contains(&hash) {
                    self.hashes.push(hash);
                }
                if self.sent > 1 {
                    tracing::info!(tx = %hex::encode_upper(hash), times = self.sent, "a record was in no block yet, and was sent again");
                }
            }
            Err(e) => self.failed = Some(format!("{e:#}")),
        }
    }

    /// Looks, and sends again where that is due. Gives the transaction that is in a block.
    pub fn step(&mut self, node: &Node) -> Result<Option<([u8; 32], Included)>> {
        for hash in &self.hashes {
            if let Ok(Some(tx)) = node.sources.included(hash) {
                return Ok(Some((*hash, tx)));
            }
        }
        let now = Instant::now();
        let over = now.saturating_duration_since(self.begun) >= self.limit;
        if !over && self.due(now) {
            self.broadcast(node, now);
        }
        match (over, self.hashes.as_slice(), &self.failed) {
            (false, ..) => Ok(None),
            (true, [], why) => bail!("the record could not be sent: {}", why.as_deref().unwrap_or("no time was left")),
            (true, [.., last], _) => bail!(
                "the record was sent {} times and is in no block: expected within {} s, the last transaction is {}; on a halted chain a broadcast is lost, run the same command again once blocks come",
                self.sent, self.limit.as_secs(), hex::encode_upper(last)
            ),
        }
    }
}

/// `record send`.
pub(super) struct Record(pub Publishing);

impl Waits for Record {
    fn step(&mut self, node: &mut Node) -> Result<Option<Value>> {
        let found = self.0.step(node)?;
        Ok(found.map(|(hash, tx)| json!({"txhash": hex::encode_upper(hash), "height": tx.height, "sent": self.0.sent})))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_sent_every_third_of_its_time_sooner_after_a_failure_and_never_without_end() {
        let mut p = Publishing::new("m".into(), None, Duration::from_secs(90));
        let t = p.begun;
        let at = |secs| t + Duration::from_secs(secs);
        assert!(p.due(t), "at once");
        (p.tried, p.sent) = (Some(t), 1);
        assert!(!p.due(at(29)) && p.due(at(30)));
        p.failed = Some("x".into());
        assert!(!p.due(at(1)) && p.due(at(2)));
        (p.failed, p.sent) = (None, MAX_SENT);
        assert!(!p.due(at(1000)));
    }
}
