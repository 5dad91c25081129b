//! The light client that an enclave keeps: a head that only moves forward, and anchors from which any height can be shown.

use alloc::vec::Vec;

use baton_attest::identity::Digest32;
use minicbor::{Decode, Encode};

use super::block::{HashedSet, Parsed, Sets, at_most, decode_exact, fields, malformed};
use super::step::{Step, StepParams, presolve};
use super::{Fields, LightBlock, LightError, MAX_PATH_BLOCKS, Path, TrustedHeader};
use crate::policy::{ChainPolicy, Checkpoint};

/// What is sealed. CBOR array.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
struct Sealed {
    #[n(0)]
    checkpoint: Checkpoint,
    /// The checkpoint's header and one per half trusting period, in rising height; never empty.
    #[n(1)]
    anchors: Vec<Fields>,
    #[n(2)]
    head: Fields,
}

/// The trusted state of one chain. The owner seals [`LightClient::to_bytes`] after each change, before it acts on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LightClient {
    params: StepParams,
    half_period_secs: u64,
    checkpoint: Checkpoint,
    anchors: Vec<TrustedHeader>,
    head: TrustedHeader,
}

impl LightClient {
    /// Starts at the policy's checkpoint: `block` must be the block of that height with that hash.
    pub fn from_checkpoint(policy: &ChainPolicy, block: &LightBlock) -> Result<Self, LightError> {
        policy.validate()?;
        let head = TrustedHeader::from_checkpoint(&policy.chain_id, &policy.checkpoint, block)?;
        Ok(Self::new(policy, Vec::from([head.clone()]), head))
    }

    fn new(policy: &ChainPolicy, anchors: Vec<TrustedHeader>, head: TrustedHeader) -> Self {
        LightClient {
            params: StepParams::from_policy(policy),
            half_period_secs: (policy.trusting_period_secs / 2).max(1),
            checkpoint: policy.checkpoint,
            anchors,
            head,
        }
    }

    /// The newest header that this client follows.
    pub fn head(&self) -> &TrustedHeader {
        &self.head
    }

    /// The policy's checkpoint and one header per half trusting period since, in rising height.
    pub fn anchors(&self) -> &[TrustedHeader] {
        &self.anchors
    }

    /// The height from which a path to `height` has to start: the highest trusted header at or below it.
    pub fn start_for(&self, height: u64) -> Option<&TrustedHeader> {
        self.trusted_at_or_below(height)
    }

    /// Moves the head along the path. It only moves forward: on any error nothing changes. Blocks at the start of the
    /// path that are the head itself are passed over, so a repeated call is harmless.
    pub fn advance(&mut self, path: &Path) -> Result<&TrustedHeader, LightError> {
        let verified = self.walk(path, |_| Some(&self.head))?;
        for header in verified {
            self.follow(header);
        }
        Ok(&self.head)
    }

    /// Verifies a path of past or future heights without moving the head. Each block is verified from the block before it
    /// or, if that is nearer, from the highest trusted header at or below it: the host does not choose the start, so an old
    /// validator set never speaks where a newer header is known. A block at a known height must be the known one.
    pub fn show(&self, path: &Path) -> Result<Vec<TrustedHeader>, LightError> {
        self.walk(path, |height| self.trusted_at_or_below(height))
    }

    /// The header just before `at`, shown by the hash in it. Only the header in `before` is read.
    pub fn linked(before: &LightBlock, at: &TrustedHeader) -> Result<TrustedHeader, LightError> {
        at.parent(before)
    }

    /// Puts the head back to an ancestor of it: `links` are the headers below the head, each one the parent of the one
    /// before it, and the last one becomes the head. Anchors above it go; no header comes in that the head did not stand
    /// on. The only way back, and what permits it is the caller's matter.
    pub fn rewind(&mut self, links: &[LightBlock]) -> Result<&TrustedHeader, LightError> {
        at_most("the number of hash links", crate::evidence::MAX_LINKS, links.len())?;
        let mut at = self.head.clone();
        for link in links {
            at = at.parent(link)?;
        }
        let first = self.anchors.first().map_or(0, TrustedHeader::height);
        if at.height() < first {
            return Err(LightError::BeforeCheckpoint { first, got: at.height() });
        }
        self.anchors.retain(|a| a.height() <= at.height());
        self.head = at;
        Ok(&self.head)
    }

    /// The bytes that the owner seals: checkpoint, anchors, head. The rules are not in them; they are the policy's.
    pub fn to_bytes(&self) -> Vec<u8> {
        baton_attest::identity::encode(&Sealed {
            checkpoint: self.checkpoint,
            anchors: self.anchors.iter().map(|a| a.0.clone()).collect(),
            head: self.head.0.clone(),
        })
    }

    /// Reads [`LightClient::to_bytes`] back, unverified: only for bytes that this very enclave sealed.
    pub fn danger_from_sealed_bytes(
        bytes: &[u8],
        policy: &ChainPolicy,
    ) -> Result<Self, LightError> {
        const WHAT: &str = "sealed light client";
        policy.validate()?;
        let sealed: Sealed = decode_exact(bytes, WHAT)?;
        if sealed.checkpoint != policy.checkpoint {
            return Err(LightError::NotTheCheckpoint {
                expected_height: policy.checkpoint.height,
                expected: Digest32(policy.checkpoint.hash),
                got_height: sealed.checkpoint.height,
                got: Digest32(sealed.checkpoint.hash),
            });
        }
        let rising = sealed
            .anchors
            .windows(2)
            .all(|w| w.first().map(|a| a.height) < w.last().map(|a| a.height));
        let first_is_checkpoint = sealed
            .anchors
            .first()
            .is_some_and(|a| a.hash == sealed.checkpoint.hash);
        let below_head = sealed
            .anchors
            .last()
            .is_some_and(|a| a.height <= sealed.head.height);
        if !(rising && first_is_checkpoint && below_head) {
            return Err(malformed(
                WHAT,
                "anchors do not lead from the checkpoint to the head",
            ));
        }
        let anchors = sealed.anchors.into_iter().map(TrustedHeader).collect();
        Ok(Self::new(policy, anchors, TrustedHeader(sealed.head)))
    }

    /// Takes a verified header as the head, and keeps it as an anchor when half a trusting period has passed since the last one.
    fn follow(&mut self, header: TrustedHeader) {
        if header.height() <= self.head.height() {
            return;
        }
        let last = self.anchors.last().map_or(i64::MIN, |a| a.time().secs);
        let passed = header.time().secs.saturating_sub(last);
        if u64::try_from(passed).is_ok_and(|secs| secs >= self.half_period_secs) {
            self.anchors.push(header.clone());
        }
        self.head = header;
    }

    fn trusted_at_or_below(&self, height: u64) -> Option<&TrustedHeader> {
        if self.head.height() <= height {
            return Some(&self.head);
        }
        self.anchors.iter().rev().find(|a| a.height() <= height)
    }

    /// Verifies every block of a path, in order, with one batch of signatures. `known` gives the highest trusted header at or
    /// below a height.
    fn walk<'a>(
        &'a self,
        path: &Path,
        known: impl Fn(u64) -> Option<&'a TrustedHeader>,
    ) -> Result<Vec<TrustedHeader>, LightError> {
        at_most(
            "the number of light blocks in a path",
            MAX_PATH_BLOCKS,
            path.blocks.len(),
        )?;
        let mut sets = Sets::default();
        let from_next = path
            .from_next_validators
            .as_deref()
            .map(|bytes| sets.get(bytes))
            .transpose()?;
        let blocks = path
            .blocks
            .iter()
            .map(|block| block.parse(&mut sets))
            .collect::<Result<Vec<_>, _>>()?;
        let claimed = blocks
            .iter()
            .map(|b| fields(&b.signed_header))
            .collect::<Result<Vec<_>, _>>()?;
        let first = self.anchors.first().map_or(0, TrustedHeader::height);
        let steps = steps(&blocks, &claimed, from_next.as_deref(), first, known)?;
        let mut solved = presolve(&steps, &self.params).into_iter();
        for step in steps {
            step.verify(&self.params, &solved.next().unwrap_or_default())?;
        }
        // Only now is what the blocks claimed also verified; a step's result equals its claim.
        if claimed.is_empty() {
            return Err(LightError::EmptyPath);
        }
        Ok(claimed.into_iter().map(TrustedHeader).collect())
    }
}

/// Finds for each block what it is verified from; a block that is already trusted gives no step. Nothing is verified
/// here except equality with known headers.
fn steps<'a, 'k: 'a>(
    blocks: &'a [Parsed],
    claimed: &'a [Fields],
    from_next: Option<&'a HashedSet>,
    first: u64,
    known: impl Fn(u64) -> Option<&'k TrustedHeader>,
) -> Result<Vec<Step<'a>>, LightError> {
    let mut before: Option<(&Fields, &Parsed)> = None;
    let mut out = Vec::with_capacity(blocks.len());
    for (block, claim) in blocks.iter().zip(claimed) {
        let next = before.map_or(from_next, |(_, b)| b.next_validators.as_deref());
        let Some(anchor) = known(claim.height).map(|a| &a.0) else {
            return Err(LightError::BeforeCheckpoint {
                first,
                got: claim.height,
            });
        };
        let from = before
            .map(|(fields, _)| fields)
            .filter(|b| b.height > anchor.height)
            .unwrap_or(anchor);
        before = Some((claim, block));
        if anchor.height != claim.height {
            out.push(Step {
                from,
                from_next: next,
                block,
            });
        } else if anchor.hash != claim.hash {
            let (known, got) = (Digest32(anchor.hash), Digest32(claim.hash));
            return Err(LightError::Conflict {
                height: claim.height,
                known,
                got,
            });
        }
    }
    Ok(out)
}
