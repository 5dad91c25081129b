use std::fs;
use std::path::{Path, PathBuf};

use crate::support::*;

/// A file that is right for one command, and that command with `@` for the file.
const COMMANDS: [(&str, &[&str]); 11] = [
    (
        "dcap/phala-sgx.quote",
        &[
            "quote",
            "verify",
            "@",
            "--collateral",
            "dcap/00A067110000-processor-2025-06-phala.json",
        ],
    ),
    (
        "dcap/00A067110000-processor-2025-06-phala.json",
        &[
            "quote",
            "verify",
            "dcap/phala-sgx.quote",
            "--collateral",
            "@",
        ],
    ),
    (
        "../../../../docs/policy.example.toml",
        &[
            "quote",
            "verify",
            "dcap/phala-sgx.quote",
            "--collateral",
            "dcap/00A067110000-processor-2025-06-phala.json",
            "--policy",
            "@",
        ],
    ),
    (
        "chain/mocha-4_157000_signed_block.json",
        &[
            "light",
            "verify",
            "--trusted",
            "@",
            "--target",
            "chain/mocha-4_157001_signed_block.json",
        ],
    ),
    (
        "chain/mocha-4_157001_signed_block.json",
        &[
            "light",
            "verify",
            "--trusted",
            "chain/mocha-4_157000_signed_block.json",
            "--target",
            "@",
        ],
    ),
    ("real/passed.json", &["evidence", "show", "@"]),
    ("real/passed.json", &["evidence", "verify", "@"]),
    (
        "../../../../docs/policy.example.toml",
        &["evidence", "verify", "real/passed.json", "--policy", "@"],
    ),
    (
        "../../../../docs/policy.example.toml",
        &["policy", "show", "@"],
    ),
    (
        "../../../../docs/policy.example.toml",
        &["policy", "check", "@"],
    ),
    ("", &["log", "show", "@"]),
];

fn run(command: &[&str], file: &Path) -> Ran {
    let args: Vec<&str> = command
        .iter()
        .map(|a| if *a == "@" { path(file) } else { a })
        .collect();
    baton(&args)
}

#[test]
fn a21_files_that_are_nothing_are_bad_input_for_every_command() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: Vec<u8>| {
        let file = dir.path().join(name);
        fs::write(&file, bytes).unwrap();
        file
    };
    let junk: Vec<u8> = (0..5000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let empty_folder = dir.path().join("folder");
    fs::create_dir(&empty_folder).unwrap();
    let files: [PathBuf; 9] = [
        dir.path().join("missing"),
        empty_folder,
        file("empty", vec![]),
        file("junk", junk),
        file("zeros", vec![0; 600]),
        file("ff", vec![0xff; 600]),
        file("text", b"hello\nworld\n".to_vec()),
        file("json", b"{\"a\": [1, 2, {}]}".to_vec()),
        file("nested", "[".repeat(100_000).into_bytes()),
    ];
    for (_, command) in COMMANDS {
        for file in &files {
            let ran = run(command, file).expect(2);
            assert!(
                ran.err.starts_with("error: "),
                "{command:?} {}: {}",
                file.display(),
                ran.err
            );
            assert!(
                ran.out.is_empty() && !ran.err.contains("panicked"),
                "{}",
                ran.err
            );
        }
    }
}

#[test]
fn a21_truncated_files_never_pass_and_never_panic() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f");
    for (genuine, command) in COMMANDS.iter().filter(|(f, _)| !f.is_empty()) {
        let bytes = fs::read(fixtures().join(genuine)).unwrap();
        // A TOML file is cut before its last table, which it cannot do without.
        let text = genuine.ends_with(".toml").then(|| std::str::from_utf8(&bytes).unwrap());
        let whole = text.map_or(bytes.len(), |t| t.rfind("\n[").unwrap());
        for part in [1, 3, 10, 20, 31] {
            fs::write(&file, &bytes[..whole * part / 40]).unwrap();
            run(command, &file).expect(2);
        }
    }
}

#[test]
fn a21_oversize_files_are_refused_before_they_are_parsed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("big");
    fs::File::create(&file)
        .unwrap()
        .set_len(65 * 1024 * 1024)
        .unwrap();
    for (_, command) in COMMANDS {
        let ran = run(command, &file).expect(2);
        assert!(ran.err.contains("at most"), "{command:?}: {}", ran.err);
    }
}

#[test]
fn with_json_an_error_is_json_too() {
    let ran = baton(&["policy", "check", "missing.toml", "--json"]).expect(2);
    assert!(ran.err.is_empty());
    let json = ran.json();
    assert_eq!((&json["accept"], &json["exit"]), (&false.into(), &2.into()));
    assert!(
        json["error"]["what"]
            .as_str()
            .unwrap()
            .contains("missing.toml")
    );
}

#[test]
fn a_wrong_command_line_is_bad_input_and_help_is_not() {
    baton(&["nothing"]).expect(2);
    baton(&["quote", "verify"]).expect(2);
    baton(&["quote", "verify", "dcap/phala-sgx.quote"]).expect(2);
    baton(&[
        "quote",
        "verify",
        "dcap/phala-sgx.quote",
        "--collateral",
        "x",
        "--at",
        "yesterday",
    ])
    .expect(2);
    baton(&[
        "light",
        "verify",
        "--target",
        "x",
        "--trusting-period",
        "14 days",
    ])
    .expect(2);
    assert!(
        baton(&["quote", "verify", "--help"])
            .expect(0)
            .out
            .contains("Examples:")
    );
    assert!(baton(&["--version"]).expect(0).out.starts_with("baton "));
}
