//! The callbacks that go into an enclave: they compile without a warning, define what `baton.h` asks for, and need nothing else.

use std::path::Path;
use std::process::Command;

/// Names in `nm`'s listing of one kind of symbol.
fn symbols(object: &Path, flag: &str) -> Vec<String> {
    let out = Command::new("nm").args(["--format=posix", flag]).arg(object).output().expect("nm, of the system's binutils");
    assert!(out.status.success());
    let text = String::from_utf8(out.stdout).unwrap();
    let mut names: Vec<String> = text.lines().filter_map(|l| l.split(' ').next()).map(String::from).collect();
    names.sort();
    names
}

#[test]
fn the_callbacks_for_enclaves_define_those_of_the_header_and_need_only_malloc_free_and_memcpy() {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let object = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("callbacks-{}.o", std::process::id()));
    // As an enclave's own build would: position independent, without a stack protector's canary in thread data.
    let flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fPIC", "-fno-stack-protector", "-c", "-o"];
    let made = Command::new("cc").args(flags).arg(&object).arg(crate_dir.join("callbacks.c")).output().expect("a C compiler named cc");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let header = std::fs::read_to_string(crate_dir.join("baton.h")).unwrap();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let calls = header.match_indices("baton_cb_").map(|(at, _)| &header[at..]);
    let mut declared: Vec<String> = calls
        .filter_map(|text| text.find(|c| !is_name(c)).filter(|end| text[*end..].starts_with('(')).map(|end| text[..end].to_string()))
        .collect();
    declared.sort();
    declared.dedup();
    assert_eq!(declared.len(), 6, "{declared:?}");
    assert_eq!(symbols(&object, "--defined-only").into_iter().filter(|n| n.starts_with("baton_")).collect::<Vec<_>>(), declared);
    for needed in symbols(&object, "--undefined-only") {
        assert!(["malloc", "free", "memcpy", "memset", "_GLOBAL_OFFSET_TABLE_"].contains(&needed.as_str()), "{needed}");
    }
    std::fs::remove_file(object).unwrap();
}
