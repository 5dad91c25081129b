//! The custody log of one enclave on disk, in a form that people and other programs read.
//!
//! - `entries.txt`: one line for each entry, standard base64 of its CBOR; a line without its newline is
//!   torn and not there.
//! - `checkpoint.txt`: the newest C2SP checkpoint, a signed note.
//! - `key.txt`: the branch's Ed25519 public key, hexadecimal.
//!
//! The enclave keeps what is not stored here yet in its sealed state, so a crash at any point is mended by
//! the next call.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use baton_attest::identity::Digest32;
use baton_core::branch::branch_id;
use baton_core::log::{EntryError, LogEntry, LogHash, LogState, leaf_hash};
use baton_core::note::{Checkpoint, NoteError, origin};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::files::write_whole;

/// A log folder.
pub struct Trail {
    dir: PathBuf,
}

/// What a log folder holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrailFiles {
    /// CBOR of each entry.
    pub entries: Vec<Vec<u8>>,
    /// The signed note.
    pub checkpoint: String,
    /// The public key, hexadecimal.
    pub key: String,
    /// The last line has no newline: a write was cut off, and will be made again.
    pub torn: bool,
}

impl Trail {
    /// Opens a folder, making it if it is not there.
    pub fn open(dir: impl Into<PathBuf>) -> io::Result<Self> {
        let dir = dir.into();
        fs::create_dir_all(&dir)?;
        Ok(Trail { dir })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Reads the folder.
    pub fn read(&self) -> io::Result<TrailFiles> {
        let text = read_or_empty(&self.dir.join("entries.txt"))?;
        let torn = !text.is_empty() && !text.ends_with('\n');
        let whole = text.rfind('\n').map_or("", |end| text.get(..=end).unwrap_or_default());
        let entries = whole
            .lines()
            .map(|l| STANDARD.decode(l).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string())))
            .collect::<Result<_, _>>()?;
        Ok(TrailFiles {
            entries,
            torn,
            checkpoint: read_or_empty(&self.dir.join("checkpoint.txt"))?,
            key: read_or_empty(&self.dir.join("key.txt"))?.trim().to_string(),
        })
    }

    /// Stores entries that begin at number `first`, and the checkpoint that covers them; returns how many
    /// entries are stored now. Entries that are already there are passed over.
    pub fn append(&self, first: u64, entries: &[Vec<u8>], checkpoint: &str, key: &[u8]) -> io::Result<u64> {
        let have = self.read()?;
        let path = self.dir.join("entries.txt");
        if have.torn {
            let whole: String = have.entries.iter().map(|e| STANDARD.encode(e) + "\n").collect();
            write_whole(&path, whole.as_bytes())?;
        }
        let known = have.entries.len() as u64;
        if first > known {
            let text = format!("{} holds {known} entries, the enclave's next is {first}: entries between are missing; restore the file", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let skip = usize::try_from(known - first).unwrap_or(usize::MAX);
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        for entry in entries.iter().skip(skip) {
            file.write_all((STANDARD.encode(entry) + "\n").as_bytes())?;
        }
        file.sync_all()?;
        write_whole(&self.dir.join("key.txt"), (hex::encode(key) + "\n").as_bytes())?;
        write_whole(&self.dir.join("checkpoint.txt"), checkpoint.as_bytes())?;
        Ok(first + entries.len() as u64)
    }
}

/// Why a log folder is not what its enclave wrote.
#[derive(Debug, thiserror::Error)]
pub enum TrailError {
    /// Not an entry.
    #[error("entry {seq}: {reason}")]
    Entry {
        /// Its number.
        seq: u64,
        /// Why.
        reason: EntryError,
    },
    /// Out of order.
    #[error("entry {at} says that it is number {got}: entries were taken out or moved")]
    Order {
        /// Where it stands.
        at: u64,
        /// What it says.
        got: u64,
    },
    /// The key file cannot be read.
    #[error("key.txt is not 64 hexadecimal characters")]
    Key,
    /// The checkpoint is not signed by this key for this branch.
    #[error("checkpoint: {0}")]
    Note(#[from] NoteError),
    /// Entries are missing.
    #[error("the signed checkpoint covers {expected} entries, the folder holds {got}: fetch the missing ones")]
    Short {
        /// What the checkpoint says.
        expected: u64,
        /// What is there.
        got: u64,
    },
    /// The entries are others.
    #[error("the entries give root {got}, the signed checkpoint says {expected}: an entry was changed")]
    Root {
        /// Signed.
        expected: LogHash,
        /// Computed.
        got: LogHash,
    },
}

/// A log that was replayed from its first entry.
#[derive(Debug)]
pub struct Replayed {
    /// Its entries.
    pub entries: Vec<LogEntry>,
    /// Id of the branch.
    pub branch: Digest32,
    /// The root over all entries.
    pub root: LogHash,
}

/// Replays a log from its first entry and verifies the signed checkpoint over it.
pub fn verify(files: &TrailFiles, chain_id: &str) -> Result<Replayed, TrailError> {
    let mut state = LogState::new();
    let mut entries = Vec::new();
    let mut root_at = Vec::new();
    for (bytes, seq) in files.entries.iter().zip(0u64..) {
        let entry = LogEntry::parse(bytes).map_err(|reason| TrailError::Entry { seq, reason })?;
        if entry.seq != seq {
            return Err(TrailError::Order { at: seq, got: entry.seq });
        }
        state.append(leaf_hash(bytes));
        root_at.push(state.root());
        entries.push(entry);
    }
    let mut key = [0; 32];
    hex::decode_to_slice(&files.key, &mut key).map_err(|_| TrailError::Key)?;
    let branch = branch_id(&key);
    let signed = Checkpoint::verify(&files.checkpoint, &origin(chain_id, &branch), &key)?;
    let got = entries.len() as u64;
    if signed.size > got {
        return Err(TrailError::Short { expected: signed.size, got });
    }
    let root = match usize::try_from(signed.size).ok().and_then(|n| n.checked_sub(1)) {
        Some(last) => root_at.get(last).copied().unwrap_or(state.root()),
        None => LogState::new().root(),
    };
    if root != signed.root {
        return Err(TrailError::Root { expected: signed.root, got: root });
    }
    Ok(Replayed { entries, branch, root })
}

fn read_or_empty(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_line_is_written_again_and_nothing_is_doubled() {
        let dir = tempfile::tempdir().unwrap();
        let t = Trail::open(dir.path()).unwrap();
        t.append(0, &[vec![1], vec![2]], "c2", &[7]).unwrap();
        let path = dir.path().join("entries.txt");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.trim_end()).unwrap();
        assert!(t.read().unwrap().torn);
        t.append(0, &[vec![1], vec![2], vec![3]], "c3", &[7]).unwrap();
        let files = t.read().unwrap();
        assert_eq!(files.entries, [vec![1], vec![2], vec![3]]);
        assert_eq!(files.checkpoint, "c3");
    }

    #[test]
    fn a_gap_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let t = Trail::open(dir.path()).unwrap();
        assert!(t.append(2, &[vec![3]], "c", &[7]).is_err());
        assert!(t.read().unwrap().entries.is_empty());
    }
}
