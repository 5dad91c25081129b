//! Runs the command, and compares texts with snapshots.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|e| panic!("not JSON ({e}): {}{}", self.out, self.err))
    }

    /// The text after a label.
    pub fn row(&self, label: &str) -> &str {
        let line = self
            .out
            .lines()
            .find(|l| l.strip_prefix(label).is_some_and(|r| r.starts_with("  ")));
        line.unwrap_or_else(|| panic!("no row {label:?} in:\n{}{}", self.out, self.err))
            [label.len()..]
            .trim()
    }

    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "\n{}{}", self.out, self.err);
        self
    }
}

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// Runs in the fixtures' folder, so that texts name files without a machine's paths.
pub fn baton(args: &[&str]) -> Ran {
    let done = Command::new(env!("CARGO_BIN_EXE_baton"))
        .args(args)
        .current_dir(fixtures())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    // A crash by signal has no code.
    Ran {
        code: done.status.code().unwrap_or(-1),
        out: text(done.stdout),
        err: text(done.stderr),
    }
}

pub fn path(p: &Path) -> &str {
    p.to_str().unwrap()
}

/// Compares with tests/snapshots; UPDATE_SNAPSHOTS=1 writes.
#[track_caller]
pub fn snapshot(name: &str, args: &[&str], code: i32) {
    let ran = baton(args);
    assert_eq!(ran.code, code, "\n{}{}", ran.out, ran.err);
    let got = format!(
        "$ baton {}\n{}{}exit {}\n",
        args.join(" "),
        ran.out,
        ran.err,
        ran.code
    );
    compare(name, &got);
}

#[track_caller]
pub fn compare(name: &str, got: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/snapshots/{name}.txt"));
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&file, got).unwrap();
    }
    let want = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(
        got, want,
        "{name}: run with UPDATE_SNAPSHOTS=1 and read the difference"
    );
}
