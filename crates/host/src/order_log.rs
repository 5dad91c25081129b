//! The log of orders as a file, and witnesses over HTTP.
//!
//! Whoever keeps the log keeps one JSON file. Texts in it are for everybody; its key only says that two checkpoints come from one
//! keeper, and witnesses see to it that there is one history.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use baton_core::log::{LogState, leaf_hash};
use baton_core::note::Checkpoint;
use baton_core::witness::orders_origin;
use serde::{Deserialize, Serialize};

use crate::files::write_whole;
use crate::http::{self, Roots};
use crate::orders::{CosignedNote, OrderLog, OrderLogError};

/// Version of the file.
pub const VERSION: u8 = 1;
const MAX_FILE_BYTES: u64 = 64 << 20;
const MAX_ANSWER_BYTES: u64 = 16 << 10;
const TIMEOUT: Duration = Duration::from_secs(20);

/// Why there is no log, or no cosignature. What was in the file is there still.
#[derive(Debug, thiserror::Error)]
pub enum LogFileError {
    /// The operating system.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not a log.
    #[error("{path} is no log of orders: {why}; take another copy of it")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The log.
    #[error(transparent)]
    Log(#[from] OrderLogError),
    /// A witness does not answer.
    #[error("witness {url}: {why}")]
    Witness {
        /// Where.
        url: String,
        /// Why.
        why: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u8,
    chain_id: String,
    /// Ed25519 seed, hexadecimal.
    key: String,
    texts: Vec<String>,
    notes: Vec<Note>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    size: u64,
    note: String,
}

/// A log of orders and its file.
pub struct LogFile {
    path: PathBuf,
    chain_id: String,
    key: [u8; 32],
    /// The log.
    pub log: OrderLog,
}

impl LogFile {
    /// A new log, where no file is.
    pub fn create(path: &Path, chain_id: &str) -> Result<Self, LogFileError> {
        if path.exists() {
            let source = io::Error::new(io::ErrorKind::AlreadyExists, "it is there already; a log is never begun anew");
            return Err(LogFileError::Io { path: path.into(), source });
        }
        let key: [u8; 32] = rand::random();
        let file = LogFile { path: path.into(), chain_id: chain_id.into(), key, log: OrderLog::new(chain_id, &key) };
        file.save()?;
        Ok(file)
    }

    /// Reads one.
    pub fn open(path: &Path) -> Result<Self, LogFileError> {
        let io = |source| LogFileError::Io { path: path.into(), source };
        let bad = |why: String| LogFileError::Malformed { path: path.into(), why };
        if fs::metadata(path).map_err(io)?.len() > MAX_FILE_BYTES {
            return Err(bad(format!("it has more than {MAX_FILE_BYTES} bytes")));
        }
        let file: File = serde_json::from_slice(&fs::read(path).map_err(io)?).map_err(|e| bad(e.to_string()))?;
        if file.version != VERSION {
            return Err(bad(format!("expected version {VERSION}, got {}", file.version)));
        }
        let mut key = [0; 32];
        hex::decode_to_slice(&file.key, &mut key).map_err(|_| bad("its key is not 64 hexadecimal characters".into()))?;
        let notes = file.notes.into_iter().map(|n| CosignedNote { size: n.size, note: n.note }).collect();
        let log = OrderLog::restore(&file.chain_id, &key, file.texts, notes);
        Ok(LogFile { path: path.into(), chain_id: file.chain_id, key, log })
    }

    /// The chain.
    pub fn chain_id(&self) -> &str {
        &self.chain_id
    }

    /// Writes it whole, or not at all.
    pub fn save(&self) -> Result<(), LogFileError> {
        let io = |source| LogFileError::Io { path: self.path.clone(), source };
        let notes = self.log.notes().iter().map(|n| Note { size: n.size, note: n.note.clone() }).collect();
        let texts = self.log.texts().to_vec();
        let file = File { version: VERSION, chain_id: self.chain_id.clone(), key: hex::encode(self.key), texts, notes };
        let json = serde_json::to_vec_pretty(&file).map_err(|e| io(e.into()))?;
        write_whole(&self.path, &json).map_err(io)
    }

    /// Appends a text, asks these witnesses, and keeps what they signed. Those that refuse, or do not answer, are named.
    pub fn publish(&mut self, text: &str, witnesses: &[String]) -> Result<Vec<LogFileError>, LogFileError> {
        self.log.append(text);
        // What was appended is in the file before any witness sees it: they would not forget it.
        self.save()?;
        let (mut lines, mut refused) = (String::new(), Vec::new());
        for url in witnesses {
            match self.ask(url) {
                Ok(line) => lines.push_str(&line),
                Err(e) => refused.push(e),
            }
        }
        if !lines.is_empty() {
            self.log.keep(&lines);
            self.save()?;
        }
        Ok(refused)
    }

    /// As C2SP tlog-witness has it: from size 0, and again from where the witness says that it is.
    fn ask(&self, url: &str) -> Result<String, LogFileError> {
        let (status, body) = post(url, &self.log.request(0)?)?;
        let (status, body) = match (status, body.trim().parse()) {
            (409, Ok(size)) => post(url, &self.log.request(size)?)?,
            _ => (status, body),
        };
        match status {
            200 => Ok(body),
            _ => Err(LogFileError::Witness { url: url.into(), why: format!("it answered {status}: {}", body.trim()) }),
        }
    }

    /// The root over all texts, as everybody can compute it.
    pub fn checkpoint(&self) -> Checkpoint {
        let leaves: Vec<_> = self.log.texts().iter().map(|t| leaf_hash(t.as_bytes())).collect();
        let root = LogState::from_leaves(&leaves).root();
        Checkpoint { origin: orders_origin(&self.chain_id), size: leaves.len() as u64, root }
    }
}

fn post(url: &str, body: &str) -> Result<(u16, String), LogFileError> {
    let at = format!("{}/add-checkpoint", url.trim_end_matches('/'));
    let bad = |why: String| LogFileError::Witness { url: url.into(), why };
    let mut answer = http::agent(TIMEOUT, &Roots::default()).post(&at).send(body).map_err(|e| bad(http::why(&e)))?;
    let status = answer.status().as_u16();
    let text = answer.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_string().map_err(|e| bad(e.to_string()))?;
    Ok((status, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_reads_back_and_is_never_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("orders.log");
        let mut log = LogFile::create(&path, "test-1").unwrap();
        assert!(log.publish("baton-order1:x", &[]).unwrap().is_empty());
        let back = LogFile::open(&path).unwrap();
        assert_eq!((back.log.texts(), back.log.public_key()), (log.log.texts(), log.log.public_key()));
        assert!(back.log.notes().is_empty(), "nobody cosigned");
        assert!(LogFile::create(&path, "test-1").is_err());
    }

    #[test]
    fn a_witness_that_does_not_answer_is_named_and_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("orders.log");
        let mut log = LogFile::create(&path, "test-1").unwrap();
        let refused = log.publish("x", &["http://127.0.0.1:9".into()]).unwrap();
        assert!(refused[0].to_string().starts_with("witness http://127.0.0.1:9: "), "{}", refused[0]);
        assert_eq!(LogFile::open(&path).unwrap().log.texts(), ["x"]);
    }

    #[test]
    fn a21_files_that_are_no_log_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("orders.log");
        for bad in ["", "{}", r#"{"version":2,"chain_id":"a","key":"00","texts":[],"notes":[]}"#, r#"{"version":1,"chain_id":"a","key":"00","texts":[],"notes":[]}"#] {
            fs::write(&path, bad).unwrap();
            let said = LogFile::open(&path).err().unwrap().to_string();
            assert!(said.contains("orders.log is no log of orders"), "{said}");
        }
    }
}
