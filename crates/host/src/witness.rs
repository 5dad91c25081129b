//! A witness: it cosigns checkpoints of the logs that it knows, and never two histories of one log.
//!
//! The rules are those of C2SP tlog-witness, `add-checkpoint`, with the HTTP around it left out: [`Witness::add_checkpoint`]
//! takes the body of a request and gives the body of the answer, so that drills run it in process and a server wraps it.
//! What a witness must never forget is one line for each log, the largest checkpoint that it cosigned; [`Memory`] keeps it,
//! and says yes only once it is durable.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use baton_core::log::{LogHash, ProofError, verify_consistency};
use baton_core::note::{Checkpoint, NoteError, verify_note};
use baton_core::witness::{Cosigner, MAX_PROOF_HASHES, WitnessKey};

/// Largest request that is read, in bytes.
pub const MAX_REQUEST_BYTES: usize = 64 << 10;

/// The largest checkpoint of one log that was cosigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Entries.
    pub size: u64,
    /// Root over them.
    pub root: LogHash,
}

/// Where a witness keeps what it has cosigned.
pub trait Memory {
    /// The largest checkpoint of a log.
    fn seen(&self, origin: &str) -> Result<Option<Seen>, MemoryError>;

    /// Puts `next` in the place of `old`, durably, or changes nothing: false if something else than `old` is there.
    fn replace(&mut self, origin: &str, old: Option<Seen>, next: Seen) -> Result<bool, MemoryError>;
}

/// The memory does not answer.
#[derive(Debug, thiserror::Error)]
#[error("the witness's memory: {0}")]
pub struct MemoryError(pub String);

/// Memory of a test or a drill.
#[derive(Clone, Debug, Default)]
pub struct InMemory(BTreeMap<String, Seen>);

impl Memory for InMemory {
    fn seen(&self, origin: &str) -> Result<Option<Seen>, MemoryError> {
        Ok(self.0.get(origin).copied())
    }

    fn replace(&mut self, origin: &str, old: Option<Seen>, next: Seen) -> Result<bool, MemoryError> {
        if self.0.get(origin).copied() != old {
            return Ok(false);
        }
        self.0.insert(origin.into(), next);
        Ok(true)
    }
}

/// Why a checkpoint is not cosigned, with the HTTP status of C2SP tlog-witness.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// Not a request.
    #[error("400: not an add-checkpoint request: {0}")]
    Malformed(&'static str),
    /// Not a checkpoint.
    #[error("400: {0}")]
    Note(NoteError),
    /// The old size is above the new one.
    #[error("400: the old size {old} is above the checkpoint's size {size}")]
    OldAboveNew {
        /// The request's old size.
        old: u64,
        /// The checkpoint's size.
        size: u64,
    },
    /// A log that this witness does not know.
    #[error("404: the log {origin:?} is not known here; ask this witness's operator to add it")]
    UnknownLog {
        /// Its name.
        origin: String,
    },
    /// The log did not sign it.
    #[error("403: no known key of the log {origin:?} signed the checkpoint")]
    NotSigned {
        /// Its name.
        origin: String,
    },
    /// The client is not where the witness is. The answer's body is the size.
    #[error("409: the old size is {got}, this witness has cosigned size {size}")]
    OtherSize {
        /// The request's.
        got: u64,
        /// The witness's.
        size: u64,
    },
    /// Two roots of one size.
    #[error("409: two histories of the log {origin:?} at size {size}: root {known} was cosigned, this is {got}; keep both, they prove that the log lies")]
    Fork {
        /// Its name.
        origin: String,
        /// The size.
        size: u64,
        /// The root that was cosigned.
        known: LogHash,
        /// This one.
        got: LogHash,
    },
    /// The proof fails.
    #[error("422: the checkpoint does not go on from what was cosigned: {0}")]
    Inconsistent(ProofError),
    /// The memory.
    #[error("500: {0}")]
    Memory(#[from] MemoryError),
    /// A clock before 1970, or after the format's end.
    #[error("500: the clock says {0} seconds")]
    Clock(u64),
}

impl WitnessError {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            WitnessError::Malformed(_) | WitnessError::Note(_) | WitnessError::OldAboveNew { .. } => 400,
            WitnessError::NotSigned { .. } => 403,
            WitnessError::UnknownLog { .. } => 404,
            WitnessError::OtherSize { .. } | WitnessError::Fork { .. } => 409,
            WitnessError::Inconsistent(_) => 422,
            WitnessError::Memory(_) | WitnessError::Clock(_) => 500,
        }
    }
}

/// A witness with its key, the logs that it knows, and its memory.
pub struct Witness<M> {
    key: Cosigner,
    logs: BTreeMap<String, Vec<[u8; 32]>>,
    memory: M,
}

impl<M: Memory> Witness<M> {
    /// A witness that knows no log yet.
    pub fn new(key: Cosigner, memory: M) -> Self {
        Witness { key, logs: BTreeMap::new(), memory }
    }

    /// Its key, as policies name it.
    pub fn vkey(&self) -> WitnessKey {
        self.key.vkey()
    }

    /// Its memory.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// From now on it cosigns for this log, when this Ed25519 key (32 bytes) signed as the log.
    pub fn know(&mut self, origin: &str, log_key: [u8; 32]) {
        self.logs.entry(origin.into()).or_default().push(log_key);
    }

    /// Answers a request at `now` (unix seconds) with signature lines. The memory is durable before it answers.
    pub fn add_checkpoint(&mut self, request: &str, now: u64) -> Result<String, WitnessError> {
        let AddCheckpoint { old, proof, note } = AddCheckpoint::parse(request)?;
        let (text, checkpoint) = self.signed_by_its_log(note)?;
        if old > checkpoint.size {
            return Err(WitnessError::OldAboveNew { old, size: checkpoint.size });
        }
        if i64::try_from(now).is_err() {
            return Err(WitnessError::Clock(now));
        }
        let seen = self.memory.seen(&checkpoint.origin)?;
        let size = seen.map_or(0, |s| s.size);
        if old != size {
            return Err(WitnessError::OtherSize { got: old, size });
        }
        if let Some(known) = seen.filter(|s| s.size == checkpoint.size && s.root != checkpoint.root) {
            let (origin, got) = (checkpoint.origin, checkpoint.root);
            return Err(WitnessError::Fork { origin, size, known: known.root, got });
        }
        match seen.filter(|s| s.size != 0) {
            Some(s) => verify_consistency((s.size, &s.root), (checkpoint.size, &checkpoint.root), &proof)
                .map_err(WitnessError::Inconsistent)?,
            None if proof.is_empty() => {}
            None => return Err(WitnessError::Inconsistent(ProofError::Length { got: proof.len() })),
        }
        let next = Seen { size: checkpoint.size, root: checkpoint.root };
        // Another request may have come between: then this one starts over.
        if !self.memory.replace(&checkpoint.origin, seen, next)? {
            let size = self.memory.seen(&checkpoint.origin)?.map_or(0, |s| s.size);
            return Err(WitnessError::OtherSize { got: old, size });
        }
        Ok(self.key.cosign(text, now))
    }

    fn signed_by_its_log<'n>(&self, note: &'n str) -> Result<(&'n str, Checkpoint), WitnessError> {
        let end = note.rfind("\n\n").ok_or(WitnessError::Malformed("no signed checkpoint"))?;
        let claimed = Checkpoint::parse(&note[..=end]).map_err(WitnessError::Note)?;
        let origin = claimed.origin;
        let keys = self.logs.get(&origin).ok_or_else(|| WitnessError::UnknownLog { origin: origin.clone() })?;
        let text = keys
            .iter()
            .find_map(|key| verify_note(note, &origin, key).ok())
            .ok_or_else(|| WitnessError::NotSigned { origin: origin.clone() })?;
        Ok((text, Checkpoint::parse(text).map_err(WitnessError::Note)?))
    }
}

/// The body of a request.
struct AddCheckpoint<'r> {
    old: u64,
    proof: Vec<LogHash>,
    note: &'r str,
}

impl<'r> AddCheckpoint<'r> {
    fn parse(request: &'r str) -> Result<Self, WitnessError> {
        let bad = WitnessError::Malformed;
        if request.len() > MAX_REQUEST_BYTES {
            return Err(bad("too long"));
        }
        let (head, note) = request.split_once("\n\n").ok_or(bad("no empty line"))?;
        let mut lines = head.split('\n');
        let text = lines.next().and_then(|l| l.strip_prefix("old ")).ok_or(bad("no old size"))?;
        let old: u64 = text.parse().map_err(|_| bad("the old size is no number"))?;
        if old.to_string() != text {
            return Err(bad("the old size is not plain decimal"));
        }
        let hash = |l: &str| STANDARD.decode(l).ok().and_then(|b| b.try_into().ok()).map(LogHash);
        let proof = lines.map(hash).collect::<Option<Vec<_>>>().ok_or(bad("a proof line is not base64 of 32 bytes"))?;
        if proof.len() > MAX_PROOF_HASHES {
            return Err(bad("more proof lines than any tree has"));
        }
        Ok(AddCheckpoint { old, proof, note })
    }
}

/// The body of an `add-checkpoint` request.
pub fn request(old: u64, proof: &[LogHash], note: &str) -> String {
    let proof: String = proof.iter().map(|h| STANDARD.encode(h.0) + "\n").collect();
    format!("old {old}\n{proof}\n{note}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_core::log::{LogState, consistency_proof, leaf_hash};
    use baton_core::note::NoteKey;
    use baton_core::witness::Cosigned;

    const ORIGIN: &str = "baton/test-1/orders";

    fn log_key() -> NoteKey {
        NoteKey::from_seed(ORIGIN, &[5; 32])
    }

    fn leaves(n: u8) -> Vec<LogHash> {
        (0..n).map(|i| leaf_hash(&[i])).collect()
    }

    fn note_of(leaves: &[LogHash], key: &NoteKey) -> String {
        let root = LogState::from_leaves(leaves).root();
        Checkpoint { origin: ORIGIN.into(), size: leaves.len() as u64, root }.sign(key)
    }

    fn grow(from: u8, to: u8) -> String {
        let proof = consistency_proof(&leaves(to), from.into()).unwrap();
        request(from.into(), &proof, &note_of(&leaves(to), &log_key()))
    }

    fn witness() -> Witness<InMemory> {
        let mut w = Witness::new(Cosigner::from_seed("w.example", &[1; 32]).unwrap(), InMemory::default());
        w.know(ORIGIN, log_key().public_key());
        w
    }

    #[test]
    fn a_log_that_grows_is_cosigned_and_the_line_verifies() {
        let mut w = witness();
        w.add_checkpoint(&grow(0, 3), 100).unwrap();
        w.add_checkpoint(&grow(3, 3), 150).unwrap();
        let line = w.add_checkpoint(&grow(3, 7), 200).unwrap();
        let note = note_of(&leaves(7), &log_key()) + &line;
        let got = Cosigned::verify(&note, ORIGIN, &[w.vkey()], 1).unwrap();
        assert_eq!((got.checkpoint().size, got.not_before()), (7, 200));
    }

    #[test]
    fn a_witness_never_cosigns_two_histories() {
        let mut w = witness();
        w.add_checkpoint(&grow(0, 4), 100).unwrap();
        let mut other = leaves(4);
        other[2] = leaf_hash(b"other");
        let fork = request(4, &[], &note_of(&other, &log_key()));
        assert!(matches!(w.add_checkpoint(&fork, 200), Err(WitnessError::Fork { size: 4, .. })));
        other.extend(leaves(6).split_off(4));
        let proof = consistency_proof(&other, 4).unwrap();
        let longer = request(4, &proof, &note_of(&other, &log_key()));
        assert_eq!(w.add_checkpoint(&longer, 200).unwrap_err().status(), 422);
        // From size 0 again: as if nothing had been cosigned.
        let anew = request(0, &[], &note_of(&other, &log_key()));
        assert!(matches!(w.add_checkpoint(&anew, 200), Err(WitnessError::OtherSize { got: 0, size: 4 })));
        assert_eq!(w.memory().seen(ORIGIN).unwrap().unwrap().size, 4);
        w.add_checkpoint(&grow(4, 6), 300).unwrap();
    }

    #[test]
    fn a_witness_never_rolls_back() {
        let mut w = witness();
        w.add_checkpoint(&grow(0, 6), 100).unwrap();
        let back = request(6, &[], &note_of(&leaves(4), &log_key()));
        assert!(matches!(w.add_checkpoint(&back, 200), Err(WitnessError::OldAboveNew { old: 6, size: 4 })));
        assert_eq!(w.add_checkpoint(&grow(4, 6), 200).unwrap_err().status(), 409);
        assert_eq!(w.memory().seen(ORIGIN).unwrap().unwrap().size, 6);
    }

    #[test]
    fn unknown_logs_other_keys_and_broken_requests_are_refused() {
        let mut w = witness();
        let strange = NoteKey::from_seed("other/log", &[5; 32]);
        let note = Checkpoint { origin: "other/log".into(), size: 0, root: LogState::new().root() }.sign(&strange);
        assert_eq!(w.add_checkpoint(&request(0, &[], &note), 1).unwrap_err().status(), 404);
        let forged = note_of(&leaves(2), &NoteKey::from_seed(ORIGIN, &[6; 32]));
        assert_eq!(w.add_checkpoint(&request(0, &[], &forged), 1).unwrap_err().status(), 403);
        let good = grow(0, 2);
        for bad in [
            "", "old 0", "old 0\n", &good.replace("old 0", "old"), &good.replace("old 0", "old 00"), &good.replace("old 0", "old -1"),
            &good.replace("old 0\n", "old 0\nxx\n"), &good[..good.len() - 2],
        ] {
            assert!(matches!(w.add_checkpoint(bad, 1).unwrap_err().status(), 400 | 403), "{bad:?}");
        }
        let with_proof = request(0, &[LogHash([0; 32])], &note_of(&leaves(2), &log_key()));
        assert_eq!(w.add_checkpoint(&with_proof, 1).unwrap_err().status(), 422);
        assert_eq!(w.add_checkpoint(&good, u64::MAX).unwrap_err().status(), 500);
        assert_eq!(w.memory().seen(ORIGIN).unwrap(), None, "nothing was remembered of any of it");
        w.add_checkpoint(&good, 1).unwrap();
    }
}
