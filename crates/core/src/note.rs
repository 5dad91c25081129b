//! Signed heads of the custody log: C2SP tlog-checkpoint inside C2SP signed-note, with Ed25519.
//!
//! Text that other tools read: `origin`, size and root on a line each, an empty line, then one line
//! for each signature. Signatures by unknown keys are skipped, as the format demands; one by a known
//! key that does not verify is an error.

use alloc::{
    borrow::ToOwned,
    format,
    string::{String, ToString},
    vec::Vec,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

use crate::log::LogHash;

/// Largest note that is read, in bytes (64 KiB).
pub const MAX_NOTE_LEN: usize = 64 << 10;

/// Most signature lines that are read.
pub const MAX_SIGNATURES: usize = 100;

pub(crate) const SIGNATURE_MARK: &str = "\u{2014} ";
const ED25519: u8 = 1;

/// Why a note is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Larger than any.
    #[error("the note is too long: expected at most {MAX_NOTE_LEN} bytes, got {got}")]
    Oversized {
        /// Bytes that it has.
        got: usize,
    },
    /// Not a signed note.
    #[error("not a signed note: {0}")]
    Malformed(&'static str),
    /// The text of the note is no checkpoint.
    #[error("not a checkpoint: {0}")]
    Checkpoint(&'static str),
    /// A checkpoint of another log.
    #[error("a checkpoint of another log: expected {expected:?}, got {got:?}")]
    Origin {
        /// The log asked for.
        expected: String,
        /// The log in the note.
        got: String,
    },
    /// The key did not sign.
    #[error("the note has no signature by {name:?}: got {got} signatures by others")]
    NotSigned {
        /// Name of the key.
        name: String,
        /// Signatures by other keys.
        got: usize,
    },
    /// A signature of this key that does not verify.
    #[error("the signature by {name:?} does not verify")]
    BadSignature {
        /// Name of the key.
        name: String,
    },
    /// Not an Ed25519 public key, or one of small order.
    #[error("not a usable Ed25519 public key")]
    PublicKey,
}

/// The name of a log: one enclave's branch of one chain's custody log.
pub fn origin(chain_id: &str, branch: &baton_attest::identity::Digest32) -> String {
    format!("baton/{chain_id}/{branch}")
}

/// A key that signs notes under a name.
pub struct NoteKey {
    name: String,
    key: SigningKey,
}

impl NoteKey {
    /// The Ed25519 key of these 32 secret bytes (RFC 8032).
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Self {
        Self {
            name: name.to_owned(),
            key: SigningKey::from_bytes(seed),
        }
    }

    /// The public key, 32 bytes.
    pub fn public_key(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    /// Signs a text, which must end with a newline and have no empty lines.
    pub fn sign(&self, text: &str) -> String {
        let mut blob = Vec::from(key_id(&self.name, ED25519, &self.public_key()));
        blob.extend_from_slice(&self.key.sign(text.as_bytes()).to_bytes());
        format!(
            "{text}\n{SIGNATURE_MARK}{} {}\n",
            self.name,
            STANDARD.encode(blob)
        )
    }
}

/// SHA-256(name, 0x0A, algorithm, public key), first 4 bytes.
pub(crate) fn key_id(name: &str, algorithm: u8, public_key: &[u8; 32]) -> [u8; 4] {
    let digest: [u8; 32] = Sha256::new()
        .chain_update(name)
        .chain_update([b'\n', algorithm])
        .chain_update(public_key)
        .finalize()
        .into();
    digest.first_chunk().copied().unwrap_or_default()
}

/// Checks that the key of this name signed the note, and returns the text that it signed.
pub fn verify_note<'n>(
    note: &'n str,
    name: &str,
    public_key: &[u8; 32],
) -> Result<&'n str, NoteError> {
    let (text, signatures) = split(note)?;
    let key = VerifyingKey::from_bytes(public_key).map_err(|_| NoteError::PublicKey)?;
    if key.is_weak() {
        return Err(NoteError::PublicKey);
    }
    let wanted = key_id(name, ED25519, public_key);
    let mut signed = false;
    for line in &signatures {
        if line.name != name || line.key_id != wanted {
            continue;
        }
        let bad = || NoteError::BadSignature {
            name: name.to_owned(),
        };
        let signature = Signature::from_slice(&line.signature).map_err(|_| bad())?;
        key.verify_strict(text.as_bytes(), &signature)
            .map_err(|_| bad())?;
        signed = true;
    }
    match signed {
        true => Ok(text),
        false => Err(NoteError::NotSigned {
            name: name.to_owned(),
            got: signatures.len(),
        }),
    }
}

pub(crate) struct SignatureLine<'n> {
    pub name: &'n str,
    pub key_id: [u8; 4],
    pub signature: Vec<u8>,
}

/// The text ends with the newline in front of the last empty line.
pub(crate) fn split(note: &str) -> Result<(&str, Vec<SignatureLine<'_>>), NoteError> {
    if note.len() > MAX_NOTE_LEN {
        return Err(NoteError::Oversized { got: note.len() });
    }
    if note.chars().any(|c| c.is_control() && c != '\n') {
        return Err(NoteError::Malformed("control characters"));
    }
    let at = note
        .rfind("\n\n")
        .ok_or(NoteError::Malformed("no empty line before the signatures"))?;
    let (text, rest) = note
        .split_at_checked(at.saturating_add(1))
        .ok_or(NoteError::Malformed("cut off"))?;
    let lines = rest
        .strip_prefix('\n')
        .and_then(|lines| lines.strip_suffix('\n'))
        .ok_or(NoteError::Malformed("no newline at the end"))?;
    let mut signatures = Vec::new();
    for line in lines.split('\n') {
        if signatures.len() == MAX_SIGNATURES {
            return Err(NoteError::Malformed("too many signatures"));
        }
        signatures.push(parse_line(line).ok_or(NoteError::Malformed("bad signature line"))?);
    }
    Ok((text, signatures))
}

fn parse_line(line: &str) -> Option<SignatureLine<'_>> {
    let (name, blob) = line.strip_prefix(SIGNATURE_MARK)?.split_once(' ')?;
    if !is_key_name(name) {
        return None;
    }
    let blob = STANDARD.decode(blob).ok()?;
    let (key_id, signature) = blob.split_first_chunk::<4>()?;
    Some(SignatureLine {
        name,
        key_id: *key_id,
        signature: signature.to_vec(),
    })
}

/// What C2SP signed-note allows as the name of a key: not empty, no white space, no plus.
pub(crate) fn is_key_name(name: &str) -> bool {
    !name.is_empty()
        && !name
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

/// The head of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Name of the log, see [`origin`].
    pub origin: String,
    /// Entries.
    pub size: u64,
    /// Root over them.
    pub root: LogHash,
}

impl Checkpoint {
    /// The text that is signed: origin, size and root, a line each.
    pub fn text(&self) -> String {
        format!(
            "{}\n{}\n{}\n",
            self.origin,
            self.size,
            STANDARD.encode(self.root.0)
        )
    }

    /// The checkpoint as a signed note.
    pub fn sign(&self, key: &NoteKey) -> String {
        key.sign(&self.text())
    }

    /// Reads the text of a checkpoint. Extension lines behind the root are skipped.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let bad = NoteError::Checkpoint;
        let mut lines = text
            .strip_suffix('\n')
            .ok_or(bad("no newline at the end"))?
            .split('\n');
        let origin = lines
            .next()
            .filter(|l| !l.is_empty())
            .ok_or(bad("no origin"))?;
        let size_text = lines.next().ok_or(bad("no size"))?;
        let size: u64 = size_text.parse().map_err(|_| bad("bad size"))?;
        if size.to_string() != size_text {
            return Err(bad("size is not plain decimal"));
        }
        let root = STANDARD.decode(lines.next().ok_or(bad("no root"))?).ok();
        let root: [u8; 32] = root
            .and_then(|r| r.try_into().ok())
            .ok_or(bad("root is not base64 of 32 bytes"))?;
        if lines.any(str::is_empty) {
            return Err(bad("empty extension line"));
        }
        Ok(Self {
            origin: origin.to_owned(),
            size,
            root: LogHash(root),
        })
    }

    /// Verifies a signed checkpoint of the log `origin`, signed by the log's own key, whose name is
    /// the origin.
    pub fn verify(note: &str, origin: &str, public_key: &[u8; 32]) -> Result<Self, NoteError> {
        let checkpoint = Self::parse(verify_note(note, origin, public_key)?)?;
        match checkpoint.origin == origin {
            true => Ok(checkpoint),
            false => Err(NoteError::Origin {
                expected: origin.to_owned(),
                got: checkpoint.origin,
            }),
        }
    }
}

#[cfg(test)]
mod tests;
