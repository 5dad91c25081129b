//! Files that are there whole, or as they were before.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Writes a new file beside `path`, syncs it, and renames it over `path`: a reader never sees half of one.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let tmp = path.with_extension("new");
    let mut f = File::create(&tmp)?;
    f.write_all(bytes)?;
    f.sync_all()?;
    fs::rename(&tmp, path)
}
