//! Everything that was done to a devnet, in order: with the configuration it gives the chain again.
//! This is the form on disk, because it is short and cannot disagree with itself.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{Config, ConfigError};
use crate::consensus::Precommit;
use crate::devnet::Devnet;
use crate::merkle::Hash;

/// The version of the form on disk.
const VERSION: u32 = 1;
/// The file in the folder.
const FILE: &str = "devnet.json";

/// One call that changed the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Action {
    /// That many calls to produce a block, each of which may have been refused.
    Produce(u64),
    /// Milliseconds of time.
    Advance(u64),
    Precommit(usize, Precommit),
    /// A transaction's bytes as hex.
    Submit(String),
    Resume,
    Skip,
    Rollback(bool),
    Fork(u64),
}

/// The journal of one chain.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Journal {
    version: u32,
    config: Config,
    actions: Vec<Action>,
    /// The hash of the last header when this was saved, as hex; empty before the first block.
    #[serde(default)]
    head: String,
}

/// Why a chain could not be saved or loaded.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no journal.
    #[error("{path} is not a devnet journal: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where it breaks off.
        reason: String,
    },
    /// Another version wrote it.
    #[error("the journal has version {got}, expected {VERSION}: use the release that wrote it")]
    Version {
        /// The version in the file.
        got: u32,
    },
    /// Its configuration makes no chain.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The replay ended elsewhere: the file was changed, or this code makes other bytes.
    #[error("the replayed chain ends at header {got}, expected {expected}: start a new one")]
    Diverged {
        /// The header hash in the file.
        expected: String,
        /// The header hash of the replay.
        got: String,
    },
}

impl Journal {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            version: VERSION,
            config,
            actions: Vec::new(),
            head: String::new(),
        }
    }

    pub(crate) fn push(&mut self, action: Action) {
        match (self.actions.last_mut(), &action) {
            (Some(Action::Produce(count)), Action::Produce(more)) => *count += more,
            _ => self.actions.push(action),
        }
    }
}

impl Devnet {
    /// Saves the chain into a folder, atomically: a crash leaves the older file or the newer one.
    pub fn save(&self, folder: &Path) -> Result<(), JournalError> {
        let path = folder.join(FILE);
        let journal = Journal {
            head: self.head_text(),
            ..self.journal.clone()
        };
        let text = serde_json::to_vec(&journal).map_err(io::Error::from);
        let written = text.and_then(|text| write_atomically(folder, &path, &text));
        written.map_err(|source| JournalError::Io { path, source })
    }

    /// Loads a saved chain by doing everything again.
    pub fn load(folder: &Path) -> Result<Self, JournalError> {
        let path = folder.join(FILE);
        let text = fs::read(&path).map_err(|source| JournalError::Io {
            path: path.clone(),
            source,
        })?;
        let malformed = |reason: String| JournalError::Malformed {
            path: path.clone(),
            reason,
        };
        let journal: Journal =
            serde_json::from_slice(&text).map_err(|error| malformed(error.to_string()))?;
        if journal.version != VERSION {
            return Err(JournalError::Version {
                got: journal.version,
            });
        }
        let mut chain = Self::new(journal.config)?;
        for action in journal.actions {
            chain.replay(action).map_err(&malformed)?;
        }
        let got = chain.head_text();
        if got != journal.head {
            return Err(JournalError::Diverged {
                expected: journal.head,
                got,
            });
        }
        Ok(chain)
    }

    fn replay(&mut self, action: Action) -> Result<(), String> {
        match action {
            Action::Produce(count) => {
                for _ in 0..count {
                    // A call that was refused is refused again.
                    let _ = self.produce_block();
                }
            }
            Action::Advance(millis) => self.advance_time(Duration::from_millis(millis)),
            Action::Precommit(index, vote) => self.set_precommit(index, vote),
            Action::Submit(text) => {
                let bytes = hex::decode(text).map_err(|error| error.to_string())?;
                self.submit(&bytes).map_err(|error| error.to_string())?;
            }
            Action::Resume => {
                let name = self
                    .halted()
                    .map(|halt| halt.name.clone())
                    .unwrap_or_default();
                self.resume_with_handler(&name)
                    .map_err(|error| error.to_string())?;
            }
            Action::Skip => self.skip_upgrade().map_err(|error| error.to_string())?,
            Action::Rollback(remove_block) => self
                .rollback(remove_block)
                .map_err(|error| error.to_string())?,
            Action::Fork(height) => {
                *self = self.fork_at(height).map_err(|error| error.to_string())?
            }
        }
        Ok(())
    }

    fn head_text(&self) -> String {
        self.header_hash(self.height())
            .map(|hash: Hash| hex::encode(hash))
            .unwrap_or_default()
    }
}

/// Writes a new file, makes it durable, puts it in place of the old one, makes that durable.
fn write_atomically(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let fresh = path.with_extension("json.new");
    let mut file = fs::File::create(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    // Both files are whole here; from the rename on the newer one counts.
    fs::rename(&fresh, path)?;
    fs::File::open(folder)?.sync_all()
}
