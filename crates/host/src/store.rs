//! Sealed files on disk: nothing is ever deleted first, and a torn write costs nothing.
//!
//! A slot's files are `<slot>-<generation>.sealed`. A write is: new file, fsync, rename into place,
//! fsync of the directory, read back. Two generations are kept, so that whatever dies at whatever
//! moment, one whole file is there. Contents are opaque here: only the enclave can open them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use baton_core::seal::Slot;

/// Largest sealed file that is read, in bytes (16 MiB).
pub const MAX_SEALED_BYTES: u64 = 16 << 20;

/// Why the store failed. Nothing that was there before is gone.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("{action} {path}: {source}; free space or fix the permissions and run the same command again, nothing is lost")]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file reads back differently.
    #[error("{path} reads back {got} bytes that differ from the {expected} bytes written; the disk is failing, the older generation is untouched")]
    ReadBack {
        /// The file.
        path: PathBuf,
        /// Bytes written.
        expected: usize,
        /// Bytes read.
        got: usize,
    },
    /// A file that no enclave can have written.
    #[error("{path} has {got} bytes, expected at most {MAX_SEALED_BYTES}")]
    Oversized {
        /// The file.
        path: PathBuf,
        /// Its size.
        got: u64,
    },
}

/// The sealed files of one node.
pub struct SealedStore {
    dir: PathBuf,
    fsyncs: AtomicU64,
}

/// One sealed file as found on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its generation, from its name.
    pub generation: u64,
    /// Where it is.
    pub path: PathBuf,
}

fn slot_name(slot: Slot) -> &'static str {
    match slot {
        Slot::Custody => "custody",
        Slot::Rehearsal => "rehearsal",
    }
}

impl SealedStore {
    /// Opens the folder, making it (mode 0700) if it is not there.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let dir = dir.into();
        fs::create_dir_all(&dir).map_err(io_err("create", &dir))?;
        restrict(&dir, 0o700)?;
        Ok(SealedStore { dir, fsyncs: AtomicU64::new(0) })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// How many times fsync was called since the store was opened.
    pub fn fsyncs(&self) -> u64 {
        self.fsyncs.load(Ordering::Relaxed)
    }

    /// Writes one generation of a slot and returns what the disk gives back.
    pub fn put(&self, slot: Slot, generation: u64, bytes: &[u8]) -> Result<Vec<u8>, StoreError> {
        let path = self.path(slot, generation);
        let tmp = path.with_extension("new");
        {
            let mut f = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .open(&tmp)
                .map_err(io_err("create", &tmp))?;
            f.write_all(bytes).map_err(io_err("write", &tmp))?;
            restrict(&tmp, 0o600)?;
            self.sync(&f, &tmp)?;
        }
        // Dying before the rename leaves only `.new`, which nobody reads; the older generations stand.
        fs::rename(&tmp, &path).map_err(io_err("rename", &tmp))?;
        let d = File::open(&self.dir).map_err(io_err("open", &self.dir))?;
        self.sync(&d, &self.dir)?;
        // From here on the new generation survives a power cut.
        let back = read_bounded(&path)?;
        if back != bytes {
            return Err(StoreError::ReadBack { path, expected: bytes.len(), got: back.len() });
        }
        Ok(back)
    }

    /// Removes all but the two newest generations. Call it once the enclave has opened the newest.
    pub fn prune(&self, slot: Slot) -> Result<(), StoreError> {
        for old in self.find(slot)?.iter().skip(2) {
            fs::remove_file(&old.path).map_err(io_err("remove", &old.path))?;
        }
        Ok(())
    }

    /// The files of a slot, newest generation first.
    pub fn find(&self, slot: Slot) -> Result<Vec<Found>, StoreError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(io_err("list", &self.dir))? {
            let path = entry.map_err(io_err("list", &self.dir))?.path();
            let generation = path
                .file_name()
                .and_then(|n| n.to_str())
                .and_then(|n| n.strip_prefix(slot_name(slot))?.strip_prefix('-')?.strip_suffix(".sealed"))
                .and_then(|g| g.parse().ok());
            if let Some(generation) = generation {
                found.push(Found { generation, path });
            }
        }
        found.sort_by_key(|f| std::cmp::Reverse(f.generation));
        Ok(found)
    }

    /// Reads one file.
    pub fn read(&self, found: &Found) -> Result<Vec<u8>, StoreError> {
        read_bounded(&found.path)
    }

    /// Every file in the folder that may be sealed state, whoever wrote it: genesis refuses while there is one.
    pub fn anything_sealed(&self) -> Result<Vec<PathBuf>, StoreError> {
        let mut out = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(io_err("list", &self.dir))? {
            let path = entry.map_err(io_err("list", &self.dir))?.path();
            if path.is_file() && path.extension().is_none_or(|e| e != "new") {
                out.push(path);
            }
        }
        out.sort();
        Ok(out)
    }

    fn path(&self, slot: Slot, generation: u64) -> PathBuf {
        self.dir.join(format!("{}-{generation:010}.sealed", slot_name(slot)))
    }

    fn sync(&self, file: &File, path: &Path) -> Result<(), StoreError> {
        self.fsyncs.fetch_add(1, Ordering::Relaxed);
        file.sync_all().map_err(io_err("fsync", path))
    }
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, StoreError> {
    let f = File::open(path).map_err(io_err("open", path))?;
    let got = f.metadata().map_err(io_err("stat", path))?.len();
    if got > MAX_SEALED_BYTES {
        return Err(StoreError::Oversized { path: path.into(), got });
    }
    let mut out = Vec::new();
    f.take(MAX_SEALED_BYTES).read_to_end(&mut out).map_err(io_err("read", path))?;
    Ok(out)
}

fn restrict(path: &Path, mode: u32) -> Result<(), StoreError> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(io_err("chmod", path))
}

fn io_err(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_path_buf();
    move |source| StoreError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, SealedStore) {
        let dir = tempfile::tempdir().unwrap();
        let store = SealedStore::open(dir.path().join("sealed")).unwrap();
        (dir, store)
    }

    #[test]
    fn h11_two_generations_are_kept_and_the_newest_is_first() {
        let (_d, s) = store();
        for g in 1..=5 {
            s.put(Slot::Custody, g, &[g as u8; 10]).unwrap();
            s.prune(Slot::Custody).unwrap();
        }
        let found = s.find(Slot::Custody).unwrap();
        assert_eq!(found.iter().map(|f| f.generation).collect::<Vec<_>>(), [5, 4]);
        assert_eq!(s.read(&found[0]).unwrap(), [5; 10]);
    }

    #[test]
    fn h11_a_torn_write_leaves_the_older_generation_in_front() {
        let (_d, s) = store();
        s.put(Slot::Custody, 1, b"whole").unwrap();
        // What a process leaves that dies before the rename.
        fs::write(s.dir().join("custody-0000000002.new"), b"to").unwrap();
        let found = s.find(Slot::Custody).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(s.read(&found[0]).unwrap(), b"whole");
        s.put(Slot::Custody, 2, b"again").unwrap();
        assert_eq!(s.find(Slot::Custody).unwrap()[0].generation, 2);
    }

    #[test]
    fn slots_do_not_mix() {
        let (_d, s) = store();
        s.put(Slot::Custody, 7, b"c").unwrap();
        s.put(Slot::Rehearsal, 9, b"r").unwrap();
        assert_eq!(s.find(Slot::Custody).unwrap().len(), 1);
        assert_eq!(s.find(Slot::Rehearsal).unwrap()[0].generation, 9);
    }

    #[test]
    fn h09_a_foreign_file_counts_as_sealed() {
        let (_d, s) = store();
        assert!(s.anything_sealed().unwrap().is_empty());
        fs::write(s.dir().join("pubkey.sealed.bak"), b"old").unwrap();
        assert_eq!(s.anything_sealed().unwrap().len(), 1);
    }

    #[test]
    fn a_full_disk_is_an_error_and_loses_nothing() {
        let (_d, s) = store();
        s.put(Slot::Custody, 1, b"whole").unwrap();
        // A directory in the way of the new file fails the write as a full disk does.
        fs::create_dir(s.dir().join("custody-0000000002.new")).unwrap();
        let err = s.put(Slot::Custody, 2, b"x").unwrap_err();
        assert!(matches!(err, StoreError::Io { action: "create", .. }), "{err}");
        assert_eq!(s.read(&s.find(Slot::Custody).unwrap()[0]).unwrap(), b"whole");
    }

    #[test]
    fn a_write_costs_two_fsyncs() {
        let (_d, s) = store();
        s.put(Slot::Custody, 1, b"x").unwrap();
        assert_eq!(s.fsyncs(), 2);
    }

    #[test]
    fn an_oversized_file_is_refused() {
        let (_d, s) = store();
        let path = s.dir().join("custody-0000000001.sealed");
        File::create(&path).unwrap().set_len(MAX_SEALED_BYTES + 1).unwrap();
        let found = s.find(Slot::Custody).unwrap();
        assert!(matches!(s.read(&found[0]), Err(StoreError::Oversized { .. })));
    }
}
