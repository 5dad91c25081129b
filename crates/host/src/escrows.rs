//! The escrows of a seat: `escrow/` beside its sealed files.
//!
//! - `council.key`, `lifeboat.key`: the public keys, 1216 bytes each, that operators put there. The enclave takes no others than
//!   its policy names, so a wrong file costs an error and nothing else.
//! - `epoch-NNNNNNNNNN.escrow`: what the enclave made for them, by its newest epoch.
//!
//! An escrow is a file that anybody may hold: it opens with m council shares *and* a lifeboat, after a notice. Copy it elsewhere.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use baton_core::escrow::{Escrow, key_digest};
use baton_enclave::wire::{EscrowStatus, Reply, Request, Status};

use crate::files::write_whole;
use crate::seat::{Seat, SeatError, unexpected};

/// File of the council's public key.
pub const COUNCIL_KEY: &str = "council.key";
/// File of the lifeboats' public key.
pub const LIFEBOAT_KEY: &str = "lifeboat.key";
const MAX_KEY_BYTES: u64 = 64 << 10;

/// Why a seat has no escrow. Custody is as it was.
#[derive(Debug, thiserror::Error)]
pub enum EscrowsError {
    /// No key to make it for.
    #[error("no escrow is kept: {path} is not there; put the public key with SHA-256 {digest} there (`baton ceremony verify` and `baton lifeboat show` write them out)")]
    NoKey {
        /// The file.
        path: PathBuf,
        /// The policy's digest.
        digest: String,
    },
    /// The disk.
    #[error("{action} {path}: {source}; run the same command again, nothing is lost")]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The enclave.
    #[error("no escrow is kept: {0}")]
    Seat(#[from] Box<SeatError>),
}

/// The folder of a seat's escrows.
#[derive(Clone, Debug)]
pub struct Escrows {
    dir: PathBuf,
}

impl Escrows {
    /// The folder `escrow` of a seat's folder; it need not be there.
    pub fn of(seat_dir: &Path) -> Self {
        Escrows { dir: seat_dir.join("escrow") }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Puts the public keys there.
    pub fn put_keys(&self, council: &[u8], lifeboat: &[u8]) -> Result<(), EscrowsError> {
        fs::create_dir_all(&self.dir).map_err(io_err("create", &self.dir))?;
        self.write(COUNCIL_KEY, council)?;
        self.write(LIFEBOAT_KEY, lifeboat).map(|_| ())
    }

    /// The escrow with the newest epoch.
    pub fn newest(&self) -> Result<Option<(PathBuf, Escrow)>, EscrowsError> {
        let mut found: Vec<PathBuf> = match fs::read_dir(&self.dir) {
            Ok(list) => list.filter_map(|e| Some(e.ok()?.path())).collect(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(io_err("list", &self.dir)(e)),
        };
        found.retain(|p| p.extension().is_some_and(|e| e == "escrow"));
        found.sort();
        // A file that cannot be read is none: another one is made.
        let read = |p: PathBuf| Some((p.clone(), Escrow::from_cbor(&fs::read(&p).ok()?).ok()?));
        Ok(found.into_iter().rev().find_map(read))
    }

    fn key(&self, name: &'static str, digest: String) -> Result<Vec<u8>, EscrowsError> {
        let path = self.dir.join(name);
        match fs::metadata(&path) {
            Ok(m) if m.len() <= MAX_KEY_BYTES => fs::read(&path).map_err(io_err("read", &path)),
            _ => Err(EscrowsError::NoKey { path, digest }),
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, EscrowsError> {
        let path = self.dir.join(name);
        write_whole(&path, bytes).map_err(io_err("write", &path))?;
        Ok(path)
    }

    /// True if what is on disk is what this copy should have.
    fn is_kept(&self, status: &Status, wanted: &EscrowStatus) -> Result<bool, EscrowsError> {
        Ok(self.newest()?.is_some_and(|(_, e)| {
            let h = e.header;
            let commitments: Vec<_> = h.commitments.values().map(|c| c.0).collect();
            commitments == status.commitments && (h.council_key, h.lifeboat_key) == (wanted.council_key, wanted.lifeboat_key)
        }))
    }
}

impl Seat {
    /// Sees to it that this copy's escrow is on disk; the file, if there should be one.
    pub fn keep_escrow(&mut self) -> Result<Option<PathBuf>, EscrowsError> {
        let status = self.status().map_err(Box::new)?;
        let Some(wanted) = status.escrow else { return Ok(None) };
        let folder = self.escrows().clone();
        if wanted.made && folder.is_kept(&status, &wanted)? {
            return Ok(folder.newest()?.map(|(path, _)| path));
        }
        let council_key = folder.key(COUNCIL_KEY, wanted.council_key.to_string())?;
        let lifeboat_key = folder.key(LIFEBOAT_KEY, wanted.lifeboat_key.to_string())?;
        let reply = self.call(&Request::Escrow { council_key, lifeboat_key }).map_err(Box::new)?;
        let Reply::Message { message, .. } = reply else {
            return Err(Box::new(unexpected("an escrow", &reply)).into());
        };
        let epoch = status.epochs.iter().max().copied().unwrap_or(0);
        folder.write(&format!("epoch-{epoch:010}.escrow"), &message).map(Some)
    }

    /// Who holds the keyring makes an escrow of it by itself. Nothing of this may stand between a seed and its successor, so
    /// what goes wrong here is a warning.
    pub(crate) fn escrow_after(&mut self, request: &Request) {
        let changes_holder = matches!(
            request,
            Request::Genesis { .. }
                | Request::ImportLegacy { .. }
                | Request::Inherit { .. }
                | Request::Accept { .. }
                | Request::Activate { .. }
                | Request::ActivateByOrder { .. }
                | Request::Observe { .. }
        );
        if changes_holder {
            self.escrow_or_warn();
        }
    }

    /// The same, at a start: a crash between a step and its escrow is mended here.
    pub(crate) fn escrow_at_start(&mut self) {
        if self.escrows().dir().exists() {
            self.escrow_or_warn();
        }
    }

    fn escrow_or_warn(&mut self) {
        if let Err(e) = self.keep_escrow() {
            self.warn(e.to_string());
        }
    }
}

/// The SHA-256 that a policy names a public key by.
pub fn digest_of_key(key: &[u8]) -> String {
    key_digest(key).to_string()
}

fn io_err(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> EscrowsError {
    let path = path.to_path_buf();
    move |source| EscrowsError::Io { action, path, source }
}
