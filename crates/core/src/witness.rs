//! Witnesses: independent parties that cosign log checkpoints with a date (C2SP tlog-cosignature v1, Ed25519).
//!
//! A cosignature says: at this time, this was the largest consistent tree of this log that I had seen. It is the only
//! outside clock of an enclave. Fewer than w witnesses are believed to lie, so a date counts only as far as w of them
//! bear it: [`Cosigned::not_after`] and [`Cosigned::not_before`] are what one honest witness among any w guarantees.

use alloc::{
    borrow::ToOwned,
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;
use core::str::FromStr;

use base64::{Engine, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use minicbor::{Decode, Encode};

use crate::log::{LogHash, ProofError, verify_inclusion};
use crate::note::{Checkpoint, NoteError, SIGNATURE_MARK, is_key_name, key_id, split};

/// The algorithm byte of a dated Ed25519 cosignature (C2SP tlog-cosignature).
const COSIGNATURE_V1: u8 = 4;

/// Most hashes of an inclusion or consistency proof: the depth of a tree of 2^63 leaves.
pub const MAX_PROOF_HASHES: usize = 63;

/// A text that is no witness key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{got:?} is not the key of a witness: expected NAME+KEYID+BASE64 (C2SP signed-note) of a dated Ed25519 key, type 04: {why}")]
pub struct BadVkey {
    /// What was given.
    pub got: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// The verifier key of a witness: name and Ed25519 public key. As text it is a C2SP vkey of type 0x04.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(array)]
pub struct WitnessKey {
    #[n(0)]
    name: String,
    #[cbor(n(1), with = "minicbor::bytes")]
    key: [u8; 32],
}

impl WitnessKey {
    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The Ed25519 public key, 32 bytes.
    pub fn public_key(&self) -> &[u8; 32] {
        &self.key
    }

    /// Nothing that the strict text form would refuse.
    pub(crate) fn is_valid(&self) -> bool {
        is_key_name(&self.name) && VerifyingKey::from_bytes(&self.key).is_ok_and(|k| !k.is_weak())
    }

    fn id(&self) -> [u8; 4] {
        key_id(&self.name, COSIGNATURE_V1, &self.key)
    }

    /// The date of a cosignature over the text of a checkpoint, in unix seconds; `None` if it does not verify.
    fn date(&self, text: &str, signature: &[u8]) -> Option<u64> {
        let (secs, signature) = signature.split_first_chunk::<8>()?;
        let secs = u64::from_be_bytes(*secs);
        let key = VerifyingKey::from_bytes(&self.key).ok().filter(|k| !k.is_weak())?;
        let signature = Signature::from_slice(signature).ok()?;
        // The format ends at 2^63 - 1.
        let in_range = i64::try_from(secs).is_ok();
        (in_range && key.verify_strict(signed_text(secs, text).as_bytes(), &signature).is_ok()).then_some(secs)
    }
}

impl fmt::Display for WitnessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut blob = Vec::from([COSIGNATURE_V1]);
        blob.extend_from_slice(&self.key);
        write!(f, "{}+{}+{}", self.name, hex::encode(self.id()), STANDARD.encode(blob))
    }
}

impl FromStr for WitnessKey {
    type Err = BadVkey;
    fn from_str(s: &str) -> Result<Self, BadVkey> {
        let bad = |why| BadVkey { got: s.to_owned(), why };
        // Base64 may hold plus signs, the two fields before it cannot.
        let mut parts = s.splitn(3, '+');
        let name = parts.next().filter(|n| is_key_name(n)).ok_or(bad("no name"))?;
        let id = parts.next().ok_or(bad("no key id"))?;
        let blob = parts.next().and_then(|b| STANDARD.decode(b).ok()).ok_or(bad("no base64 of a key"))?;
        let key = match blob.split_first() {
            Some((&COSIGNATURE_V1, key)) => key.try_into().map_err(|_| bad("the key is not 32 bytes"))?,
            _ => return Err(bad("another type of key")),
        };
        let vkey = WitnessKey { name: name.into(), key };
        if hex::encode(vkey.id()) != id {
            return Err(bad("the key id does not fit name and key"));
        }
        if !vkey.is_valid() {
            return Err(bad("the key is of small order"));
        }
        Ok(vkey)
    }
}

impl serde::Serialize for WitnessKey {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for WitnessKey {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let s = <String as serde::Deserialize>::deserialize(d)?;
        s.parse().map_err(serde::de::Error::custom)
    }
}

/// What a witness signs: two lines, then the text of the checkpoint.
fn signed_text(secs: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {secs}\n{text}")
}

/// The secret key of a witness.
pub struct Cosigner {
    name: String,
    key: SigningKey,
}

impl Cosigner {
    /// The Ed25519 key of these 32 secret bytes (RFC 8032). `None` if the name cannot stand in a note.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Option<Self> {
        is_key_name(name).then(|| Cosigner { name: name.to_owned(), key: SigningKey::from_bytes(seed) })
    }

    /// The key that policies name.
    pub fn vkey(&self) -> WitnessKey {
        WitnessKey { name: self.name.clone(), key: self.key.verifying_key().to_bytes() }
    }

    /// The signature line over the text of a checkpoint, dated `secs` (unix seconds). The caller has checked that the
    /// checkpoint is consistent with everything that it cosigned before.
    pub fn cosign(&self, text: &str, secs: u64) -> String {
        let mut blob = Vec::from(self.vkey().id());
        blob.extend_from_slice(&secs.to_be_bytes());
        blob.extend_from_slice(&self.key.sign(signed_text(secs, text).as_bytes()).to_bytes());
        format!("{SIGNATURE_MARK}{} {}\n", self.name, STANDARD.encode(blob))
    }
}

/// Why a checkpoint does not have the witnesses that it needs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CosignError {
    /// Not a note, or not a checkpoint.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// Of another log.
    #[error("a checkpoint of the log {got:?}: expected {expected:?}")]
    OtherLog {
        /// The log asked for.
        expected: String,
        /// The log of the checkpoint.
        got: String,
    },
    /// Too few witnesses.
    #[error("the checkpoint of size {size} has good cosignatures of {got} known witnesses, expected at least {needed}{bad}; ask the others")]
    TooFew {
        /// Entries.
        size: u64,
        /// The policy's w.
        needed: u32,
        /// Known witnesses with a good cosignature.
        got: u32,
        /// Witnesses whose cosignature does not verify.
        bad: BadWitnesses,
    },
    /// Not in the log.
    #[error("the entry is not in the log: {0}")]
    NotIncluded(#[from] ProofError),
    /// More hashes than any tree has.
    #[error("a proof of {got} hashes: expected at most {MAX_PROOF_HASHES}")]
    ProofTooLong {
        /// Hashes in it.
        got: usize,
    },
}

/// Names of witnesses whose cosignatures do not verify.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BadWitnesses(pub Vec<String>);

impl fmt::Display for BadWitnesses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.is_empty() {
            true => Ok(()),
            false => write!(f, "; these do not verify: {}", self.0.join(", ")),
        }
    }
}

/// A checkpoint that w witnesses have cosigned. Only [`Cosigned::verify`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosigned {
    checkpoint: Checkpoint,
    needed: usize,
    /// The dates, rising; one for each witness, at least `needed`.
    dates: Vec<u64>,
    witnesses: Vec<String>,
}

impl Cosigned {
    /// Verifies that at least `needed` of `keys` cosigned the note, a checkpoint of the log `origin`. Unknown signers are
    /// skipped, bad signatures of known ones are skipped and named, and of one witness the earliest date counts.
    pub fn verify(note: &str, origin: &str, keys: &[WitnessKey], needed: u32) -> Result<Self, CosignError> {
        let (text, lines) = split(note)?;
        let checkpoint = Checkpoint::parse(text)?;
        if checkpoint.origin != origin {
            return Err(CosignError::OtherLog { expected: origin.to_owned(), got: checkpoint.origin });
        }
        let (mut dates, mut witnesses, mut bad) = (Vec::new(), Vec::new(), BadWitnesses::default());
        for key in keys {
            let id = key.id();
            let mut of_key = lines.iter().filter(|l| l.name == key.name && l.key_id == id).peekable();
            let shown = of_key.peek().is_some();
            match of_key.filter_map(|l| key.date(text, &l.signature)).min() {
                Some(date) => {
                    dates.push(date);
                    witnesses.push(key.name.clone());
                }
                None if shown => bad.0.push(key.name.clone()),
                None => {}
            }
        }
        let got = u32::try_from(dates.len()).unwrap_or(u32::MAX);
        // At least one: with none there would be no date to speak of.
        if got < needed.max(1) {
            return Err(CosignError::TooFew { size: checkpoint.size, needed, got, bad });
        }
        dates.sort_unstable();
        let needed = usize::try_from(needed.max(1)).unwrap_or(usize::MAX);
        Ok(Cosigned { checkpoint, needed, dates, witnesses })
    }

    /// The checkpoint.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Names of the witnesses that count.
    pub fn witnesses(&self) -> &[String] {
        &self.witnesses
    }

    /// The checkpoint existed at this time at the latest (unix seconds): the w-th smallest date, because one of any w
    /// witnesses is honest.
    pub fn not_after(&self) -> u64 {
        let at = self.needed.saturating_sub(1);
        self.dates.get(at).copied().unwrap_or(u64::MAX)
    }

    /// It is now at least this late (unix seconds): the w-th largest date.
    pub fn not_before(&self) -> u64 {
        let at = self.dates.len().saturating_sub(self.needed);
        self.dates.get(at).copied().unwrap_or(0)
    }

    /// Checks that `leaf` is entry `index` of the log.
    pub fn includes(&self, leaf: &LogHash, index: u64, proof: &[LogHash]) -> Result<(), CosignError> {
        if proof.len() > MAX_PROOF_HASHES {
            return Err(CosignError::ProofTooLong { got: proof.len() });
        }
        Ok(verify_inclusion(leaf, index, self.checkpoint.size, &self.checkpoint.root, proof)?)
    }
}

/// The log in which orders, and what dates them, become public when the chain is dead. Its name is the same for
/// everybody, so that everybody knows where to look; which key signs it is up to the witnesses.
pub fn orders_origin(chain_id: &str) -> String {
    ["baton/", chain_id, "/orders"].concat().to_string()
}

#[cfg(test)]
mod tests;
