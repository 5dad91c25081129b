//! The two-faced context of a step: custody may say things, the shell may hear them.
//!
//! While a step runs it sees only [`Context::send`], [`Context::changed`] and [`Context::alarm`]. When
//! it is over the shell gets an [`Outcome`], and there is one place, here, that ties the two: what a
//! step wants to send exists only beside what must be durable first. A shell that drops the outcome
//! drops the message with it.

use alloc::{string::String, vec::Vec};

use minicbor::{Decode, Encode};

use crate::seal::Slot;

/// Something that should never happen and did: for people, beside the refusal or the reply.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Alarm {
    /// A stable name for dashboards.
    #[n(0)]
    pub code: String,
    /// What was seen, expected against got.
    #[n(1)]
    pub text: String,
}

/// What one step of custody asks for.
pub struct Context<R> {
    replies: Vec<R>,
    alarms: Vec<Alarm>,
    changed: Vec<Slot>,
}

impl<R> Default for Context<R> {
    fn default() -> Self {
        Context { replies: Vec::new(), alarms: Vec::new(), changed: Vec::new() }
    }
}

impl<R> Context<R> {
    /// Says something to the host, after everything that changed is durable.
    pub fn send(&mut self, reply: R) {
        self.replies.push(reply);
    }

    /// The sealed state of a slot is no longer what the file holds.
    pub fn changed(&mut self, slot: Slot) {
        if !self.changed.contains(&slot) {
            self.changed.push(slot);
        }
    }

    /// Raises an alarm; it does not wait for durability.
    pub fn alarm(&mut self, code: &str, text: String) {
        self.alarms.push(Alarm { code: code.into(), text });
    }

    /// The shell's face.
    pub fn finish(self) -> Outcome<R> {
        Outcome { must_persist: self.changed, then_send: self.replies, alarms: self.alarms }
    }
}

/// What the shell must do, in this order: persist, read back, then send.
#[must_use]
pub struct Outcome<R> {
    /// Slots to seal, write, read back and open before anything is sent.
    pub must_persist: Vec<Slot>,
    /// What may be said afterwards.
    pub then_send: Vec<R>,
    /// What people should see at once.
    pub alarms: Vec<Alarm>,
}
