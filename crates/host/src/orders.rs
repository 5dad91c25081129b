//! Evidence of an emergency order: the log in which it is public, witnesses' cosignatures, and what an enclave asks for.
//!
//! [`OrderLog`] is the log `baton/CHAIN/orders` as whoever keeps it holds it: leaves that are texts, and the checkpoints that
//! witnesses cosigned, each with its dates. Anybody can keep one; witnesses see to it that there is only one.

use baton_chain::light::{LightBlock, Path};
use baton_chain::staking::{STAKING_STORE, validator_key};
use baton_core::log::{LogHash, LogState, ProofError, consistency_proof, inclusion_proof, leaf_hash};
use baton_core::note::{Checkpoint, NoteKey};
use baton_core::order::adr036::StakingEvidence;
use baton_core::order::judge::{OrderEvidence, VERSION};
use baton_core::order::notice::{FreshEvidence, LogProof, NoticeEvidence};
use baton_core::order::signed::SignedOrder;
use baton_core::witness::orders_origin;

use crate::chain::{ChainSource, Included, SourceError};
use crate::gather::{Gather, GatherError};
use crate::witness::{Memory, Witness, WitnessError, request};

/// Why the log cannot show something.
#[derive(Debug, thiserror::Error)]
pub enum OrderLogError {
    /// Not in the log.
    #[error("{text:?} is not in the log of orders; append it, and let witnesses cosign")]
    NotThere {
        /// The text.
        text: String,
    },
    /// No checkpoint that covers it.
    #[error("no cosigned checkpoint covers entry {index} of the log of orders; let witnesses cosign")]
    NotCosigned {
        /// Its number.
        index: u64,
    },
    /// A proof cannot be made.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

/// One checkpoint with its cosignatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CosignedNote {
    /// Entries.
    pub size: u64,
    /// The signed note.
    pub note: String,
}

/// The log of orders of one chain.
pub struct OrderLog {
    chain_id: String,
    key: NoteKey,
    texts: Vec<String>,
    notes: Vec<CosignedNote>,
}

impl OrderLog {
    /// An empty log; `seed` is its Ed25519 key, 32 secret bytes.
    pub fn new(chain_id: &str, seed: &[u8; 32]) -> Self {
        let key = NoteKey::from_seed(&orders_origin(chain_id), seed);
        OrderLog { chain_id: chain_id.into(), key, texts: Vec::new(), notes: Vec::new() }
    }

    /// The log as it was kept.
    pub fn restore(chain_id: &str, seed: &[u8; 32], texts: Vec<String>, notes: Vec<CosignedNote>) -> Self {
        OrderLog { texts, notes, ..OrderLog::new(chain_id, seed) }
    }

    /// Its name.
    pub fn origin(&self) -> String {
        orders_origin(&self.chain_id)
    }

    /// The key that witnesses must know it by, 32 bytes.
    pub fn public_key(&self) -> [u8; 32] {
        self.key.public_key()
    }

    /// Its texts.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// Its cosigned checkpoints, oldest first.
    pub fn notes(&self) -> &[CosignedNote] {
        &self.notes
    }

    /// Appends a text and gives its number; one that is there keeps its number.
    pub fn append(&mut self, text: &str) -> u64 {
        let known = self.texts.iter().position(|t| t == text);
        let at = known.unwrap_or_else(|| {
            self.texts.push(text.into());
            self.texts.len().saturating_sub(1)
        });
        at as u64
    }

    fn leaves(&self) -> Vec<LogHash> {
        self.texts.iter().map(|t| leaf_hash(t.as_bytes())).collect()
    }

    /// The checkpoint of all entries, signed by the log.
    pub fn checkpoint(&self) -> String {
        let root = LogState::from_leaves(&self.leaves()).root();
        Checkpoint { origin: self.origin(), size: self.texts.len() as u64, root }.sign(&self.key)
    }

    /// The body of an `add-checkpoint` request for a witness that has cosigned `old` entries.
    pub fn request(&self, old: u64) -> Result<String, OrderLogError> {
        let old_len = usize::try_from(old).unwrap_or(usize::MAX);
        Ok(request(old, &consistency_proof(&self.leaves(), old_len)?, &self.checkpoint()))
    }

    /// Keeps the cosignatures over the checkpoint of all entries.
    pub fn keep(&mut self, lines: &str) {
        let note = self.checkpoint() + lines;
        self.notes.push(CosignedNote { size: self.texts.len() as u64, note });
    }

    /// Lets witnesses in this process cosign at `now` (unix seconds); those that refuse are named.
    pub fn cosign<M: Memory>(&mut self, witnesses: &mut [Witness<M>], now: u64) -> Vec<String> {
        let (mut lines, mut refused) = (String::new(), Vec::new());
        for w in witnesses {
            match self.ask(w, now) {
                Ok(line) => lines.push_str(&line),
                Err(e) => refused.push(format!("{}: {e}", w.vkey().name())),
            }
        }
        self.keep(&lines);
        refused
    }

    /// As a client does: from size 0, and again from where the witness says that it is.
    fn ask<M: Memory>(&self, w: &mut Witness<M>, now: u64) -> Result<String, WitnessError> {
        let body = |old| self.request(old).map_err(|_| WitnessError::Malformed("the log is shorter than what the witness saw"));
        match w.add_checkpoint(&body(0)?, now) {
            Err(WitnessError::OtherSize { size, .. }) => w.add_checkpoint(&body(size)?, now),
            other => other,
        }
    }

    /// A text in the cosigned checkpoint number `at`, counted from the oldest.
    pub fn proof(&self, text: &str, at: usize) -> Result<LogProof, OrderLogError> {
        let index = self
            .texts
            .iter()
            .position(|t| t == text)
            .ok_or_else(|| OrderLogError::NotThere { text: text.into() })?;
        let missing = OrderLogError::NotCosigned { index: index as u64 };
        let note = self.notes.get(at).filter(|n| n.size > index as u64).ok_or(missing)?;
        let leaves: Vec<LogHash> = self.leaves().into_iter().take(usize::try_from(note.size).unwrap_or(usize::MAX)).collect();
        Ok(LogProof { checkpoint: note.note.clone(), index: index as u64, hashes: inclusion_proof(&leaves, index)? })
    }

    /// A text in the newest cosigned checkpoint.
    pub fn newest(&self, text: &str) -> Result<LogProof, OrderLogError> {
        self.proof(text, self.notes.len().saturating_sub(1))
    }

    /// The notice of a text: the oldest cosigned checkpoint that has it, and the newest.
    pub fn notice(&self, text: &str) -> Result<NoticeEvidence, OrderLogError> {
        let index = self.texts.iter().position(|t| t == text).unwrap_or(usize::MAX) as u64;
        let oldest = self.notes.iter().position(|n| n.size > index).unwrap_or(usize::MAX);
        let (first, second) = (self.proof(text, oldest)?, self.newest(text)?);
        let size = |at: usize| self.notes.get(at).map_or(0, |n| n.size);
        let newest = usize::try_from(size(self.notes.len().saturating_sub(1))).unwrap_or(usize::MAX);
        let leaves: Vec<LogHash> = self.leaves().into_iter().take(newest).collect();
        let consistency = consistency_proof(&leaves, usize::try_from(size(oldest)).unwrap_or(usize::MAX))?;
        Ok(NoticeEvidence::Witnessed { first, second, consistency })
    }
}

/// The evidence of an order without its freshness, at the trusted head.
pub fn evidence(signed: &SignedOrder, to_head: Path, notice: NoticeEvidence, fresh: Option<FreshEvidence>) -> OrderEvidence {
    OrderEvidence {
        version: VERSION,
        to_head,
        signed: signed.to_bytes(),
        staking: None,
        notice,
        fresh,
        nonce: None,
        links: None,
        admission: None,
    }
}

impl Gather<'_> {
    /// For an order that the chain made public in `order`, with `fresh` beside it, at `head`. `trusted` are the enclave's
    /// heights, its anchors, then its head.
    pub fn order(
        &self,
        signed: &SignedOrder,
        trusted: &[u64],
        order: &Included,
        fresh: Option<&Included>,
        head: u64,
    ) -> Result<OrderEvidence, GatherError> {
        let from = trusted.iter().copied().max().ok_or(GatherError::NoStart(head))?;
        let mut after: Vec<u64> = trusted.split_last().map_or(Vec::new(), |(_, anchors)| anchors.to_vec());
        after.push(head.max(from));
        let notice = NoticeEvidence::Chain(self.publication(&after, order)?);
        let fresh = fresh.map(|tx| self.publication(&after, tx).map(FreshEvidence::Chain)).transpose()?;
        Ok(evidence(signed, self.path(from, head)?, notice, fresh))
    }
}

/// The weight of validators' signatures at a header: their records, and the set that follows it. Signers without a record
/// are passed over; the enclave names them.
pub fn staking(source: &dyn ChainSource, signers: &[[u8; 20]], header: u64) -> Result<StakingEvidence, SourceError> {
    let next_validators = source.light_block(header)?.next_validators.unwrap_or_default();
    let records = signers
        .iter()
        .filter_map(|s| source.state(STAKING_STORE, &validator_key(s), header).ok())
        .collect();
    Ok(StakingEvidence { next_validators, records })
}

/// The headers from a head down to an ancestor: what a rewind needs.
pub fn links(source: &dyn ChainSource, head: u64, ancestor: u64) -> Result<Vec<LightBlock>, SourceError> {
    (ancestor..head).rev().map(|h| source.light_block(h)).collect()
}
