//! From a program to a build: `convert`, `sign`, `measure`, and what each refuses.

use std::fs;
use std::path::PathBuf;

use baton_attest::sigstruct::SigningKey;
use baton_enclave::slot;
use sha2::{Digest, Sha256};

use crate::elf::Spec;
use crate::support::*;

struct Place(tempfile::TempDir);

impl Place {
    /// A folder with a program made by hand, and a policy that lists the development keys.
    fn new() -> Self {
        let p = Place(tempfile::tempdir().unwrap());
        let program = Spec { slots: vec![slot::head(&slot::MARK, "", "1.2.3").to_vec()], ..Spec::good() };
        fs::write(p.at("program.elf"), program.build()).unwrap();
        let example = fs::read_to_string(fixtures().join("../../../../docs/policy.example.toml")).unwrap();
        let (head, rest) = example.split_once("signers = [").unwrap();
        let (_, tail) = rest.split_once(']').unwrap();
        let keys: Vec<String> = [1, 2].map(|n| format!("{:?}", SigningKey::development(n).unwrap().signer().to_string())).to_vec();
        fs::write(p.at("policy.toml"), format!("{head}signers = [{}]{tail}", keys.join(", "))).unwrap();
        p
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Ran {
        let named = |a: &&str| match a.strip_prefix('@') {
            Some(name) => path(&self.at(name)).to_string(),
            None => a.to_string(),
        };
        let args: Vec<String> = args.iter().map(named).collect();
        baton(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Small, so that the tests are quick.
    fn convert(&self, out: &str) -> Ran {
        self.run(&["convert", "@program.elf", "--heap", "1", "--stack", "16", "--out", out, "--json"])
    }
}

fn sha256(file: PathBuf) -> String {
    hex::encode(Sha256::digest(fs::read(file).unwrap()))
}

#[test]
fn a_program_becomes_a_build_whose_measurement_is_the_files_hash_and_measure_says_what_is_in_it() {
    let p = Place::new();
    let made = p.convert("@program.sgxs").expect(0).json();
    assert_eq!((&made["version"], &made["measurement"]), (&"1.2.3".into(), &sha256(p.at("program.sgxs")).into()));
    let signed = p.run(&["sign", "@program.sgxs", "--policy", "@policy.toml", "--svn", "3", "--out", "@v1.sgxs", "--json"]).expect(0).json();
    let measurement = sha256(p.at("v1.sgxs"));
    assert_eq!(signed["measurement"], measurement.as_str());
    assert_ne!(signed["measurement"], made["measurement"]);
    let seen = p.run(&["measure", "@v1.sgxs", "--json"]).expect(0).json();
    assert_eq!((&seen["accept"], &seen["measurement"], &seen["policy_digest"]), (&true.into(), &signed["measurement"], &signed["policy_digest"]));
    assert_eq!((&seen["svn"], &seen["heap_bytes"], &seen["threads"]), (&3.into(), &(1 << 20).into(), &1.into()));
    assert_eq!(seen["epc_bytes_two"].as_u64(), seen["epc_bytes"].as_u64().map(|n| 2 * n));
    let text = p.run(&["measure", "@v1.sgxs"]).expect(0);
    assert_eq!(text.row("measurement"), measurement);
    assert!(text.row("attributes").ends_with("DEBUG refused"), "{}", text.out);
    // The same policy put into what was published with another one is the same build.
    let other = fs::read_to_string(p.at("policy.toml")).unwrap().replace("grace_blocks = 1_000", "grace_blocks = 1_001");
    fs::write(p.at("other.toml"), other).unwrap();
    p.run(&["sign", "@v1.sgxs", "--policy", "@other.toml", "--svn", "3", "--out", "@other.sgxs"]).expect(0);
    assert_ne!(sha256(p.at("other.sgxs")), measurement);
    p.run(&["sign", "@other.sgxs", "--policy", "@policy.toml", "--svn", "3", "--out", "@again.sgxs"]).expect(0);
    assert_eq!(sha256(p.at("again.sgxs")), measurement);
}

#[test]
fn what_is_no_program_or_layout_is_refused_and_nothing_is_written() {
    let p = Place::new();
    fs::write(p.at("script"), "#!/bin/sh\n").unwrap();
    for (program, heap, why) in [("@script", "1", "not a program for SGX"), ("@gone", "1", "gone"), ("@program.elf", "0", "1..=65536")] {
        let refused = p.run(&["convert", program, "--heap", heap, "--out", "@out.sgxs"]).expect(2);
        assert!(refused.err.contains(why), "{}", refused.err);
    }
    let text = p.run(&["convert", "@script", "--out", "@out.sgxs"]).err;
    assert!(text.contains("scripts/sgx-build"), "{text}");
    assert!(!p.at("out.sgxs").exists());
}

#[test]
fn a_build_is_signed_with_a_key_that_its_policy_lists_and_only_with_a_policy_that_holds() {
    let p = Place::new();
    p.convert("@program.sgxs").expect(0);
    let sign = |more: &[&str]| p.run(&[&["sign", "@program.sgxs", "--out", "@out.sgxs"], more].concat());
    assert!(sign(&[]).expect(2).err.contains("holds no policy"));
    let text = fs::read_to_string(p.at("policy.toml")).unwrap();
    let contradicts = text.replace("threshold = \"0.5\"", "threshold = \"0.4\"");
    assert_ne!(contradicts, text);
    fs::write(p.at("bad.toml"), contradicts).unwrap();
    assert!(sign(&["--policy", "@bad.toml"]).expect(2).err.contains("threshold"));
    fs::write(p.at("bad.toml"), text.replace("[chain]", "[chain]\ncolour = 1")).unwrap();
    assert!(sign(&["--policy", "@bad.toml"]).expect(2).err.contains("colour"));
    fs::write(p.at("bad.toml"), text.replacen(&SigningKey::development(1).unwrap().signer().to_string(), &"ab".repeat(32), 1)).unwrap();
    assert!(sign(&["--policy", "@bad.toml"]).expect(1).err.contains("the key is not one that the policy lists"));
    fs::write(p.at("key.pem"), "no key").unwrap();
    assert!(sign(&["--policy", "@policy.toml", "--key", "@key.pem"]).expect(2).err.contains("openssl genrsa -3"));
    assert!(!p.at("out.sgxs").exists() && !p.at("out.sig").exists());
}

#[test]
fn a21_a_file_that_is_cut_off_reordered_or_not_measured_whole_is_no_enclave() {
    let p = Place::new();
    p.convert("@program.sgxs").expect(0);
    let good = fs::read(p.at("program.sgxs")).unwrap();
    let page = 64 + 16 * 320;
    let swapped = [&good[..64], &good[64 + page..64 + 2 * page], &good[64..64 + page], &good[64 + 2 * page..]].concat();
    // EEXTEND of the second page's last chunk becomes a chunk that is loaded and not measured.
    let mut unmeasured = good.clone();
    let at = 64 + 64 + 15 * 320;
    assert!(unmeasured[at..].starts_with(b"EEXTEND\0"));
    unmeasured[at..at + 8].copy_from_slice(b"UNMEASRD");
    for (name, bytes, why) in [
        ("cut inside a record", good[..good.len() - 100].to_vec(), "not an SGXS stream"),
        ("cut between two pages", good[..64 + page].to_vec(), "cut off"),
        ("reordered", swapped, "not an SGXS stream"),
        ("unmeasured", unmeasured, "not measured"),
        ("empty", Vec::new(), "the file is empty"),
    ] {
        fs::write(p.at("bad.sgxs"), bytes).unwrap();
        let refused = p.run(&["measure", "@bad.sgxs"]);
        assert!(refused.code != 0 && refused.err.contains(why), "{name}: {}{}", refused.out, refused.err);
        assert!(name == "empty" || refused.err.contains("next:"), "{name}: {}", refused.err);
    }
}

#[test]
fn a_signature_of_another_build_is_shown_as_one_and_a_changed_one_is_refused() {
    let p = Place::new();
    p.convert("@program.sgxs").expect(0);
    p.run(&["sign", "@program.sgxs", "--policy", "@policy.toml", "--out", "@v1.sgxs"]).expect(0);
    let unsigned = p.run(&["measure", "@program.sgxs"]).expect(0);
    assert_eq!(unsigned.row("signature"), "none beside the file");
    let foreign = p.run(&["measure", "@program.sgxs", "--sig", "@v1.sig", "--json"]).expect(1).json();
    assert_eq!(foreign["accept"], false);
    let text = p.run(&["measure", "@program.sgxs", "--sig", "@v1.sig"]).expect(1);
    assert!(text.out.contains("signs another enclave") && text.out.contains("would not load"), "{}{}", text.out, text.err);
    let mut sig = fs::read(p.at("v1.sig")).unwrap();
    sig[1028 - 2] ^= 1;
    fs::write(p.at("v1.sig"), sig).unwrap();
    assert!(p.run(&["measure", "@v1.sgxs"]).expect(1).err.contains("signature"));
    p.run(&["sigstruct", "show", "@v1.sig"]).expect(1);
}
