//! `softsgx run`: what it says about files that it cannot run.

use std::process::Command;

use crate::build::{Options, stream};

fn run(args: &[&std::path::Path]) -> (bool, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_softsgx"))
        .arg("run")
        .args(args)
        .output()
        .unwrap();
    (out.status.success(), String::from_utf8(out.stderr).unwrap())
}

#[test]
fn each_wrong_file_has_its_own_message() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("e.sgxs");
    let refused = |part: &str| {
        let (good, text) = run(&[&file]);
        assert!(!good && text.contains(part), "expected {part:?} in {text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    };
    refused("No such file");
    std::fs::write(&file, b"\x7fELF\x02\x01").unwrap();
    refused("is an ELF file");
    std::fs::write(&file, b"hello").unwrap();
    refused("not an SGXS stream");
    let bytes = stream(1).bytes();
    std::fs::write(&file, &bytes).unwrap();
    refused("expected a SIGSTRUCT in");
    let sig = file.with_extension("sig");
    std::fs::write(&sig, [0; 1808]).unwrap();
    refused("SGX_INVALID_SIG_STRUCT");
    let other = Options::default().sigstruct(&stream(2).bytes());
    std::fs::write(&sig, AsRef::<[u8]>::as_ref(&other)).unwrap();
    refused("SGX_INVALID_MEASUREMENT");
    std::fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    refused("cut off");
}
