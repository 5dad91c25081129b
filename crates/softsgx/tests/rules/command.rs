//! `softsgx run`: programs that run to their end, and what it says about files that it cannot run.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use crate::build::{Options, stream};
use crate::elf::Spec;

fn run(args: &[&OsStr]) -> (bool, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_softsgx"))
        .arg("run")
        .args(args)
        .output()
        .unwrap();
    (out.status.success(), String::from_utf8(out.stderr).unwrap())
}

/// A program that asks the runner to end it: usercall 10 of Fortanix's ABI, with or without a panic.
fn ends(panic: bool) -> Vec<u8> {
    let code = [
        &b"\x48\x89\xcb"[..],               // mov rbx, rcx: where EENTER came from
        b"\xbf\x0a\x00\x00\x00",            // mov edi, 10
        b"\xbe",                             // mov esi, panic
        &u32::from(panic).to_le_bytes(),
        b"\x31\xd2\x45\x31\xc0\x45\x31\xc9", // xor edx, edx; r8d, r8d; r9d, r9d
        b"\x45\x31\xd2",                    // xor r10d, r10d: no debug message
        b"\xb8\x04\x00\x00\x00\x0f\x01\xd7", // EEXIT
    ];
    Spec { code: code.concat(), ..Spec::good() }.build()
}

fn written(dir: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn an_elf_file_runs_as_cargo_hands_it_over_in_every_mode() {
    let dir = tempfile::tempdir().unwrap();
    let file = written(&dir, "program", &ends(false));
    for mode in ["trap", "direct", "patched"] {
        let options = ["--counters", "--heap", "1", "--stack", "64", "--threads", "2", "--mode", mode].map(OsStr::new);
        let (good, text) = run(&[&options[..], &[file.as_os_str(), OsStr::new("an argument")]].concat());
        assert!(good && text.contains("loads: 1"), "{mode}: {text}");
        assert!(text.contains("enters: 1") && text.contains("exits: 1"), "{mode}: {text}");
    }
}

#[test]
fn a_program_that_panics_or_crashes_is_a_failure_of_the_command() {
    let dir = tempfile::tempdir().unwrap();
    let panics = written(&dir, "panics", &ends(true));
    let (good, text) = run(&[panics.as_os_str()]);
    assert!(!good && text.contains("panic"), "{text}");
    // Its four bytes end in UD2.
    let crashes = written(&dir, "crashes", &Spec::good().build());
    let (good, text) = run(&[crashes.as_os_str()]);
    assert!(!good && !text.is_empty(), "{text}");
}

#[test]
fn a_converted_program_runs_from_its_stream_with_the_signature_beside_it_on_a_machine_that_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let layout = softsgx::elf::Layout { heap_bytes: 1 << 20, ..Default::default() };
    let stream = softsgx::elf::convert(&ends(false), &layout).unwrap().to_sgxs().unwrap();
    let file = written(&dir, "program.sgxs", &stream);
    let signature = softsgx::development::sign(&stream).unwrap();
    written(&dir, "program.sig", signature.as_ref());
    let machine = dir.path().join("machine");
    for _ in 0..2 {
        let (good, text) = run(&[OsStr::new("--platform"), machine.as_os_str(), file.as_os_str()]);
        assert!(good, "{text}");
        assert!(machine.exists());
    }
    // A machine's file that is none stops it before anything runs.
    std::fs::write(&machine, b"?").unwrap();
    let (good, text) = run(&[OsStr::new("--platform"), machine.as_os_str(), file.as_os_str()]);
    assert!(!good && text.contains("machine"), "{text}");
}

#[test]
fn each_wrong_file_has_its_own_message() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("e.sgxs");
    let refused = |part: &str| {
        let (good, text) = run(&[file.as_os_str()]);
        assert!(!good && text.contains(part), "expected {part:?} in {text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    };
    refused("No such file");
    std::fs::write(&file, b"\x7fELF\x02\x01").unwrap();
    refused("not a program for SGX");
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
