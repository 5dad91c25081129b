//! Proof that something was public: since when, and that what is shown is of now.
//!
//! On the chain a text is public once it is the memo of a transaction in a block. When the chain is dead it is public once
//! it is a leaf of the log [`orders_origin`] in a checkpoint that w witnesses cosigned. Witnesses never cosign two
//! histories of one log, so nobody can show a log with the leaf to an enclave and one without it to the public.

use alloc::{string::String, vec::Vec};

use baton_attest::identity::{Digest32, hash};
use baton_chain::authorize::{AuthorizeError, show};
use baton_chain::evidence::PublicationEvidence;
use baton_chain::light::LightClient;
use baton_chain::publication::Included;
use minicbor::{Decode, Encode};

use crate::log::{LogHash, ProofError, leaf_hash, verify_consistency};
use crate::policy::Witnesses;
use crate::witness::{CosignError, Cosigned, MAX_PROOF_HASHES, orders_origin};

/// A leaf in a cosigned checkpoint. UNTRUSTED.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LogProof {
    /// The checkpoint with its cosignatures, a signed note.
    #[n(0)]
    pub checkpoint: String,
    /// Number of the leaf, from 0.
    #[n(1)]
    pub index: u64,
    /// Its inclusion proof (RFC 6962, 2.1.1).
    #[n(2)]
    pub hashes: Vec<LogHash>,
}

/// How an order became public. UNTRUSTED.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum NoticeEvidence {
    /// Its memo in a transaction.
    #[n(0)]
    Chain(#[n(0)] PublicationEvidence),
    /// Its memo as a leaf in two checkpoints of one log, a notice apart.
    #[n(1)]
    Witnessed {
        /// The earlier one.
        #[n(0)]
        first: LogProof,
        /// The later one; where no wait is asked for it may be the same.
        #[n(1)]
        second: LogProof,
        /// That the first is a prefix of the second (RFC 6962, 2.1.2).
        #[n(2)]
        consistency: Vec<LogHash>,
    },
}

/// What shows that a view is of now: a text that holds this enclave's nonce. UNTRUSTED.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum FreshEvidence {
    /// In a transaction at or below the trusted head.
    #[n(0)]
    Chain(#[n(0)] PublicationEvidence),
    /// In the witnessed log.
    #[n(1)]
    Witnessed(#[n(0)] LogProof),
}

/// Why something is not public, or not for long enough.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NoticeError {
    /// A header or a transaction is refused.
    #[error(transparent)]
    Chain(#[from] AuthorizeError),
    /// The memo says something else.
    #[error("the transaction in block {height} has the memo {got:?}, expected {expected:?}")]
    OtherMemo {
        /// Height of its block.
        height: u64,
        /// What makes it public.
        expected: String,
        /// What is there, cut to 90 characters.
        got: String,
    },
    /// In a block that the trusted head does not stand on.
    #[error("it became public in block {height}, above the trusted head {head}: bring a later head")]
    AboveHead {
        /// Height of its block.
        height: u64,
        /// The trusted head.
        head: u64,
    },
    /// Too recent.
    #[error("the order is public since block {height}, the head is {head}: expected {notice_blocks} blocks of notice, that is a head of at least {earliest}; wait")]
    TooFewBlocks {
        /// Height of its block.
        height: u64,
        /// The trusted head.
        head: u64,
        /// The policy's.
        notice_blocks: u64,
        /// The first head that will do.
        earliest: u64,
    },
    /// The policy names no witnesses.
    #[error("this build's policy names no witnesses: only a transaction can show this")]
    NoWitnesses,
    /// The checkpoint.
    #[error(transparent)]
    Cosign(#[from] CosignError),
    /// Two logs.
    #[error("the two checkpoints are not of one history: {0}")]
    Inconsistent(ProofError),
    /// Too recent.
    #[error("witnesses date the order at {first} and again at {second} (unix seconds): expected {notice_secs} seconds between, that is a date of at least {earliest}; wait, then ask them again")]
    TooFewSeconds {
        /// The first date.
        first: u64,
        /// The second date.
        second: u64,
        /// The policy's.
        notice_secs: u64,
        /// The first date that will do.
        earliest: u64,
    },
}

/// Since when something was public.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// A transaction in this block.
    Block(u64),
    /// Dates of w witnesses, unix seconds.
    Dates {
        /// In the log by then at the latest.
        first: u64,
        /// It is now at least this late.
        second: u64,
    },
}

/// How long something must have been public.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// In blocks below the trusted head.
    pub blocks: u64,
    /// By witnesses' dates: in full, or not at all.
    pub dates: bool,
}

/// Everything that a proof of publicity stands on.
#[derive(Clone, Copy)]
pub struct Public<'a> {
    /// The chain.
    pub chain_id: &'a str,
    /// The witnesses, where the policy has any.
    pub witnesses: Option<&'a Witnesses>,
    /// The light client; its head is where the evidence led.
    pub light: &'a LightClient,
}

impl Public<'_> {
    /// That `text` was public for long enough.
    pub fn notice(&self, text: &str, wait: Wait, evidence: &NoticeEvidence) -> Result<Since, NoticeError> {
        match evidence {
            NoticeEvidence::Chain(publication) => {
                let height = self.in_block(text, publication)?;
                let head = self.light.head().height();
                let earliest = height.saturating_add(wait.blocks);
                if head < earliest {
                    let notice_blocks = wait.blocks;
                    return Err(NoticeError::TooFewBlocks { height, head, notice_blocks, earliest });
                }
                Ok(Since::Block(height))
            }
            NoticeEvidence::Witnessed { first, second, consistency } => {
                let (a, b) = (self.in_log(text, first)?, self.in_log(text, second)?);
                let notice_secs = match wait.dates {
                    true => Some(self.witnesses.ok_or(NoticeError::NoWitnesses)?.notice_secs),
                    false => None,
                };
                let (first, second) = apart(&a, &b, consistency, notice_secs)?;
                Ok(Since::Dates { first, second })
            }
        }
    }

    /// That a text with this enclave's nonce became public, so that what stands beside it is of now. Gives the least date
    /// that it can be now, where witnesses say one.
    pub fn fresh(&self, text: &str, evidence: &FreshEvidence) -> Result<Option<u64>, NoticeError> {
        match evidence {
            FreshEvidence::Chain(publication) => self.in_block(text, publication).map(|_| None),
            FreshEvidence::Witnessed(proof) => self.date(text, proof).map(Some),
        }
    }

    /// The least date that it can be now, by w witnesses who saw the text in the log.
    pub fn date(&self, text: &str, proof: &LogProof) -> Result<u64, NoticeError> {
        Ok(self.in_log(text, proof)?.not_before())
    }

    fn in_block(&self, text: &str, evidence: &PublicationEvidence) -> Result<u64, NoticeError> {
        let header = show(self.light, &evidence.header).map_err(AuthorizeError::from)?;
        let head = self.light.head().height();
        if header.height() > head {
            return Err(NoticeError::AboveHead { height: header.height(), head });
        }
        let included = Included::verify(&header, &evidence.tx, &evidence.proof).map_err(AuthorizeError::from)?;
        match included.memo() == text {
            true => Ok(included.height()),
            false => Err(NoticeError::OtherMemo {
                height: included.height(),
                expected: text.into(),
                got: included.memo().chars().filter(|c| !c.is_control()).take(90).collect(),
            }),
        }
    }

    fn in_log(&self, text: &str, proof: &LogProof) -> Result<Cosigned, NoticeError> {
        Ok(logged(self.chain_id, self.witnesses.ok_or(NoticeError::NoWitnesses)?, text, proof)?)
    }
}

/// That a text is in the log of orders of a chain, in a checkpoint that w witnesses cosigned.
pub fn logged(chain_id: &str, w: &Witnesses, text: &str, proof: &LogProof) -> Result<Cosigned, CosignError> {
    let cosigned = Cosigned::verify(&proof.checkpoint, &orders_origin(chain_id), &w.keys, w.needed)?;
    cosigned.includes(&leaf_hash(text.as_bytes()), proof.index, &proof.hashes)?;
    Ok(cosigned)
}

/// That the second checkpoint goes on from the first, and is dated a notice later where one is asked for. Gives both dates.
pub fn apart(
    a: &Cosigned,
    b: &Cosigned,
    proof: &[LogHash],
    notice_secs: Option<u64>,
) -> Result<(u64, u64), NoticeError> {
    if proof.len() > MAX_PROOF_HASHES {
        return Err(CosignError::ProofTooLong { got: proof.len() }.into());
    }
    let (old, new) = (a.checkpoint(), b.checkpoint());
    verify_consistency((old.size, &old.root), (new.size, &new.root), proof).map_err(NoticeError::Inconsistent)?;
    let (first, second) = (a.not_after(), b.not_before());
    if let Some(notice_secs) = notice_secs {
        let earliest = first.saturating_add(notice_secs);
        if second < earliest {
            return Err(NoticeError::TooFewSeconds { first, second, notice_secs, earliest });
        }
    }
    Ok((first, second))
}

/// What a date over an export binds: the enclave's nonce (inside the request's digest), the trusted head, and all evidence.
/// All of it existed when the witnesses dated it, so no fork that is made later fits.
pub fn export_memo(request: &Digest32, head_hash: &[u8; 32], evidence: &[u8]) -> String {
    super::fresh_memo(&hash("baton dated export v1", &[&request.0, head_hash, evidence]))
}
