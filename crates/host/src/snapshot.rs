//! A node's sealed files, log, escrows and config in one verified bundle, and the way back from it.
//!
//! A bundle is a tar file: `manifest.json` first, then every file that it lists. The manifest is a help for
//! people, written by the host: what decides whether a bundle is worth anything is the enclave, which opens
//! the sealed file in a folder of its own before anything on the node is touched. Nothing is deleted: what
//! stood there before goes to a folder beside it.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use baton_attest::identity::Measurement;
use baton_core::custody::State;
use baton_enclave::wire::Status;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::seat::{Seat, SeatError};
use crate::store::MAX_SEALED_BYTES;
use crate::validator::ValidatorState;

/// Version of the bundle's form.
pub const VERSION: u8 = 1;

/// Largest file in a bundle, in bytes: a log may be longer than a sealed file.
const MAX_FILE_BYTES: u64 = 16 * MAX_SEALED_BYTES;

/// Most files in a bundle.
const MAX_FILES: usize = 256;

/// Folders of a seat.
const FOLDERS: [&str; 3] = ["sealed", "log", "escrow"];

const MANIFEST: &str = "manifest.json";

/// What a bundle says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`VERSION`].
    pub version: u8,
    /// The chain.
    pub chain_id: String,
    /// Digest of the identity of the enclave that sealed the files, hexadecimal.
    pub identity: String,
    /// Its measurement, hexadecimal.
    pub measurement: String,
    /// The machine, hexadecimal; zeros where no quote ever showed it.
    pub platform: String,
    /// What the enclave held.
    pub state: String,
    /// Epochs of the keyring.
    pub epochs: Vec<u64>,
    /// The height that the bundle stands for: the enclave's trusted head.
    pub height: u64,
    /// Entries of its log.
    pub log_size: u64,
    /// What the validator's signer had signed last, where that was given.
    pub validator: Option<ValidatorState>,
    /// The files.
    pub files: Vec<Entry>,
}

/// One file of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place in the node's folder, with `/`.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

/// A bundle whose files are all there, as listed.
#[derive(Debug)]
pub struct Bundle {
    manifest: Manifest,
    files: BTreeMap<String, Vec<u8>>,
}

/// Why there is no bundle, or why it is not put back. What stood on the node stands there still.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The operating system refused.
    #[error("{action} {path}: {source}; run the same command again, nothing is lost")]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Not a bundle.
    #[error("{path} is no snapshot: {reason}; take another copy of it")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// From a later release.
    #[error("the snapshot's version: expected {VERSION}, got {got}; use the release that wrote it")]
    Version {
        /// Its version.
        got: u8,
    },
    /// A listed file is not there.
    #[error("the snapshot lists {file} and does not hold it: expected {expected} bytes, got none; take another copy of it")]
    Missing {
        /// The file.
        file: String,
        /// Its size.
        expected: u64,
    },
    /// A file is there that is not listed.
    #[error("the snapshot holds {file}, which its manifest does not list; take another copy of it")]
    Unlisted {
        /// The file.
        file: String,
    },
    /// A file is another one, or an older one.
    #[error("{file} in the snapshot is not the file that was put in: expected SHA-256 {expected}, got {got}; take another copy of it")]
    Changed {
        /// The file.
        file: String,
        /// Listed.
        expected: String,
        /// Computed.
        got: String,
    },
    /// Nothing to keep.
    #[error("the enclave of this seat holds {got}: expected a keyring; there is nothing to keep")]
    NothingHeld {
        /// Its state.
        got: State,
    },
    /// Of another build.
    #[error("the snapshot is another build's: expected measurement {expected}, got {got}; a sealed file opens in the very build that wrote it, so restore it there, and hand over from there")]
    OtherBuild {
        /// The seat's build.
        expected: String,
        /// The manifest's.
        got: String,
    },
    /// Of another machine.
    #[error("the snapshot is another machine's: expected platform {expected}, got {got}; a sealed file opens on the machine that wrote it, and this one can join from any peer")]
    OtherMachine {
        /// This machine.
        expected: String,
        /// The manifest's.
        got: String,
    },
    /// The enclave does not open what is in it.
    #[error("the snapshot does not open here: {0}")]
    DoesNotOpen(SeatError),
    /// Its manifest says something else than its sealed file.
    #[error("the snapshot's manifest says {what} {listed}, its sealed file says {sealed}: somebody wrote the manifest anew; take another copy of it")]
    Lies {
        /// What about.
        what: &'static str,
        /// The manifest.
        listed: String,
        /// The enclave.
        sealed: String,
    },
    /// The validator has signed since.
    #[error("the validator has signed since this snapshot: expected its state at height {expected} or below, got {got}; leave that file as it is, see that the chain's data is not put back below height {got}, and say --keep-validator-state")]
    ValidatorAhead {
        /// The snapshot's.
        expected: u64,
        /// The state file's.
        got: u64,
    },
    /// Something would be given up.
    #[error("restoring gives something up: {}; say --yes to do it all the same", .0.join("; "))]
    Losses(Vec<String>),
    /// The seat.
    #[error(transparent)]
    Seat(#[from] SeatError),
}

/// What was put back.
#[derive(Debug)]
pub struct Restored {
    /// Where what stood there before is now, if anything did.
    pub aside: Option<PathBuf>,
    /// What the restored copy holds.
    pub status: Status,
    /// What was given up.
    pub losses: Vec<String>,
}

impl Manifest {
    fn of(status: &Status, chain_id: &str, validator: Option<ValidatorState>) -> Self {
        Manifest {
            version: VERSION,
            chain_id: chain_id.into(),
            identity: status.identity.digest().to_string(),
            measurement: status.identity.measurement.to_string(),
            platform: status.platform.to_string(),
            state: status.state.to_string(),
            epochs: status.epochs.clone(),
            height: status.head_height,
            log_size: status.log_size,
            validator,
            files: Vec::new(),
        }
    }
}

/// Writes a bundle of a running seat. `also` are further files of the node (its config), by their name in the bundle.
pub fn create(
    seat: &mut Seat,
    chain_id: &str,
    also: &[(String, PathBuf)],
    validator: Option<ValidatorState>,
    out: &Path,
) -> Result<Manifest, SnapshotError> {
    seat.store_log()?;
    let status = seat.status()?;
    if status.state == State::Empty || status.epochs.is_empty() {
        return Err(SnapshotError::NothingHeld { got: status.state });
    }
    let mut paths: Vec<(String, PathBuf)> = Vec::new();
    let escrows = seat.escrows().dir();
    for (folder, dir) in FOLDERS.into_iter().zip([seat.store().dir(), seat.trail().dir(), escrows]) {
        // A node whose policy names no lifeboat has no escrows.
        if !dir.exists() {
            continue;
        }
        for entry in fs::read_dir(dir).map_err(io_err("list", dir))? {
            let path = entry.map_err(io_err("list", dir))?.path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            if path.is_file() && !name.ends_with(".new") {
                paths.push((format!("{folder}/{name}"), path));
            }
        }
    }
    paths.sort();
    paths.extend(also.iter().cloned());
    let mut manifest = Manifest::of(&status, chain_id, validator);
    let mut bodies = Vec::new();
    for (name, path) in paths {
        let bytes = fs::read(&path).map_err(io_err("read", &path))?;
        manifest.files.push(Entry { path: name.clone(), bytes: bytes.len() as u64, sha256: sha256(&bytes) });
        bodies.push((name, bytes));
    }
    write_tar(out, &manifest, &bodies)?;
    // What was written is read back whole before anybody counts on it.
    read(out).map(|bundle| bundle.manifest)
}

fn write_tar(out: &Path, manifest: &Manifest, files: &[(String, Vec<u8>)]) -> Result<(), SnapshotError> {
    let tmp = out.with_extension("new");
    let io = |source| SnapshotError::Io { action: "write", path: tmp.clone(), source };
    let file = File::create(&tmp).map_err(io)?;
    let mut tar = tar::Builder::new(file);
    let json = serde_json::to_vec_pretty(manifest).map_err(|e| io(e.into()))?;
    let all = std::iter::once((MANIFEST, json.as_slice())).chain(files.iter().map(|(n, b)| (n.as_str(), b.as_slice())));
    for (name, bytes) in all {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        header.set_cksum();
        tar.append_data(&mut header, name, bytes).map_err(io)?;
    }
    let file = tar.into_inner().map_err(io)?;
    file.sync_all().map_err(io)?;
    // Dying before the rename leaves an older bundle of that name whole.
    fs::rename(&tmp, out).map_err(io_err("rename", &tmp))
}

/// Reads a bundle and checks every file against its manifest.
pub fn read(path: &Path) -> Result<Bundle, SnapshotError> {
    let malformed = |reason: String| SnapshotError::Malformed { path: path.into(), reason };
    let mut archive = tar::Archive::new(File::open(path).map_err(io_err("open", path))?);
    let mut files = BTreeMap::new();
    for entry in archive.entries().map_err(|e| malformed(e.to_string()))? {
        let mut entry = entry.map_err(|e| malformed(e.to_string()))?;
        let name = entry.path().map_err(|e| malformed(e.to_string()))?.into_owned();
        let name = plain(&name).ok_or_else(|| malformed(format!("it holds the path {}", name.display())))?;
        let size = entry.size();
        if !entry.header().entry_type().is_file() || size > MAX_FILE_BYTES || files.len() > MAX_FILES {
            return Err(malformed(format!("{name} is no file of at most {MAX_FILE_BYTES} bytes among at most {MAX_FILES}")));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(|e| malformed(format!("{name}: {e}")))?;
        if bytes.len() as u64 != size || files.insert(name.clone(), bytes).is_some() {
            return Err(malformed(format!("{name} is cut off, or there twice")));
        }
    }
    let json = files.remove(MANIFEST).ok_or_else(|| malformed(format!("it has no {MANIFEST}")))?;
    let manifest: Manifest = serde_json::from_slice(&json).map_err(|e| malformed(format!("{MANIFEST}: {e}")))?;
    if manifest.version != VERSION {
        return Err(SnapshotError::Version { got: manifest.version });
    }
    for listed in &manifest.files {
        let missing = || SnapshotError::Missing { file: listed.path.clone(), expected: listed.bytes };
        let got = sha256(files.get(&listed.path).ok_or_else(missing)?);
        if got != listed.sha256 {
            return Err(SnapshotError::Changed { file: listed.path.clone(), expected: listed.sha256.clone(), got });
        }
    }
    if let Some(file) = files.keys().find(|f| manifest.files.iter().all(|l| l.path != **f)) {
        return Err(SnapshotError::Unlisted { file: file.clone() });
    }
    Ok(Bundle { manifest, files })
}

impl Bundle {
    /// What it says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// A file.
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(Vec::as_slice)
    }

    /// Opens the bundle with a seat's own build on its own machine, in a folder beside the node's, and says what it holds.
    /// `open` opens a seat of that build in a folder.
    pub fn try_here(
        &self,
        build: &Measurement,
        scratch: &Path,
        open: &mut dyn FnMut(&Path) -> Result<Seat, SeatError>,
    ) -> Result<Status, SnapshotError> {
        let (expected, got) = (build.to_string(), self.manifest.measurement.clone());
        if expected != got {
            return Err(SnapshotError::OtherBuild { expected, got });
        }
        if scratch.exists() {
            fs::remove_dir_all(scratch).map_err(io_err("remove", scratch))?;
        }
        self.unpack(scratch)?;
        let mut seat = open(scratch)?;
        seat.start().map_err(SnapshotError::DoesNotOpen)?;
        let status = seat.status()?;
        seat.stop();
        let says = [
            ("height", self.manifest.height.to_string(), status.head_height.to_string()),
            ("state", self.manifest.state.clone(), status.state.to_string()),
            ("log entries", self.manifest.log_size.to_string(), status.log_size.to_string()),
        ];
        match says.into_iter().find(|(_, listed, sealed)| listed != sealed) {
            Some((what, listed, sealed)) => Err(SnapshotError::Lies { what, listed, sealed }),
            None => Ok(status),
        }
    }

    fn unpack(&self, dir: &Path) -> Result<(), SnapshotError> {
        for (name, bytes) in &self.files {
            let path = dir.join(name);
            let folder = path.parent().unwrap_or(dir);
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io_err("create", folder))?;
            let mut f = File::create(&path).map_err(io_err("create", &path))?;
            f.write_all(bytes).map_err(io_err("write", &path))?;
            f.sync_all().map_err(io_err("fsync", &path))?;
        }
        Ok(())
    }

    /// The validator's state must not be ahead of the bundle's.
    pub fn check_validator(&self, now: &ValidatorState) -> Result<(), SnapshotError> {
        match &self.manifest.validator {
            Some(then) if now.height > then.height => {
                Err(SnapshotError::ValidatorAhead { expected: then.height, got: now.height })
            }
            _ => Ok(()),
        }
    }

    /// Puts the bundle back into a seat's folder: tried in a folder of its own first, then swapped with what is there,
    /// which is kept. Dying at any point leaves either the old files or the new ones in place, or the old ones in the
    /// folder aside; the same command again finishes.
    pub fn restore(
        &self,
        dir: &Path,
        build: &Measurement,
        open: &mut dyn FnMut(&Path) -> Result<Seat, SeatError>,
        consent: bool,
    ) -> Result<Restored, SnapshotError> {
        let scratch = dir.join("restore.new");
        let status = self.try_here(build, &scratch, open)?;
        let now = current(dir, open)?;
        let known = |id: &baton_attest::identity::PlatformId| id.0 != [0; 32];
        if let Some(now) = now.as_ref().filter(|n| known(&n.platform) && known(&status.platform) && n.platform != status.platform) {
            return Err(SnapshotError::OtherMachine {
                expected: now.platform.to_string(),
                got: status.platform.to_string(),
            });
        }
        let losses = now.as_ref().map_or_else(Vec::new, |now| losses(now, &status));
        if !losses.is_empty() && !consent {
            return Err(SnapshotError::Losses(losses));
        }
        let aside = set_aside(dir, &scratch)?;
        for folder in FOLDERS {
            let (from, to) = (scratch.join(folder), dir.join(folder));
            if from.exists() {
                fs::rename(&from, &to).map_err(io_err("rename", &from))?;
            }
        }
        fs::remove_dir_all(&scratch).map_err(io_err("remove", &scratch))?;
        Ok(Restored { aside, status, losses })
    }
}

/// What the node holds now, if anything of it opens.
fn current(
    dir: &Path,
    open: &mut dyn FnMut(&Path) -> Result<Seat, SeatError>,
) -> Result<Option<Status>, SnapshotError> {
    if !dir.join("sealed").exists() {
        return Ok(None);
    }
    let mut seat = open(dir)?;
    if seat.store().anything_sealed().map_err(SeatError::from)?.is_empty() {
        return Ok(None);
    }
    // What does not open any more is no reason against a restore: it is kept aside all the same.
    match seat.start() {
        Ok(()) => Ok(Some(seat.status()?)),
        Err(_) => Ok(None),
    }
}

/// What the node's present copy has that the snapshot has not.
pub fn losses(now: &Status, then: &Status) -> Vec<String> {
    let mut out = Vec::new();
    let gone: Vec<String> = now.epochs.iter().filter(|e| !then.epochs.contains(e)).map(u64::to_string).collect();
    if !gone.is_empty() {
        out.push(format!("this node's seeds of epoch {} (any peer can give them again)", gone.join(", ")));
    }
    if now.head_height > then.head_height {
        out.push(format!("the trusted head goes back from height {} to {} (it is followed anew)", now.head_height, then.head_height));
    }
    if now.log_size > then.log_size {
        out.push(format!(
            "{} log entries after entry {} stay in the folder aside: keep it, this branch of the log has two ends from there on",
            now.log_size - then.log_size,
            then.log_size
        ));
    }
    if now.state != then.state {
        out.push(format!("custody goes from {} back to {}{}", now.state, then.state, meaning(now.state, then.state)));
    }
    out
}

fn meaning(now: State, then: State) -> &'static str {
    match (now, then) {
        (State::Retired, _) => {
            " (the barrier was met: the copy serves what it served, hands on only to what a fresh view of the chain authorizes, and erases again when shown the barrier)"
        }
        (State::Offered | State::Confirmed, State::Holding) => {
            " (the transfer is forgotten here and remembered by its target: repeat the handover, it is the same one command)"
        }
        _ => "",
    }
}

/// What the folders begin with in which a restore leaves what stood there; a number follows.
pub const ASIDE: &str = "before-restore-";

/// Moves what stands in a seat's folder away; escrows only where the bundle brings some, since they are files for everybody.
fn set_aside(dir: &Path, scratch: &Path) -> Result<Option<PathBuf>, SnapshotError> {
    let moves = |f: &str| dir.join(f).exists() && (f != "escrow" || scratch.join(f).exists());
    if !FOLDERS.iter().any(|f| moves(f)) {
        return Ok(None);
    }
    let mut number = 1u32;
    let aside = loop {
        let path = dir.join(format!("{ASIDE}{number}"));
        if !path.exists() {
            break path;
        }
        number = number.saturating_add(1);
    };
    fs::create_dir(&aside).map_err(io_err("create", &aside))?;
    for folder in FOLDERS.iter().filter(|f| moves(f)) {
        let from = dir.join(folder);
        fs::rename(&from, aside.join(folder)).map_err(io_err("rename", &from))?;
    }
    Ok(Some(aside))
}

/// A path that stays inside its folder, with `/`.
fn plain(path: &Path) -> Option<String> {
    let parts = path.components().map(|c| match c {
        Component::Normal(part) => part.to_str(),
        Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => None,
    });
    Some(parts.collect::<Option<Vec<_>>>()?.join("/"))
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn io_err(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SnapshotError {
    let path = path.to_path_buf();
    move |source| SnapshotError::Io { action, path, source }
}
