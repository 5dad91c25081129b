//! The ICS23 conformance vectors, run with this crate's own hash provider.
//!
//! The provider serves SHA-256 alone: the stock IAVL and Tendermint specs use nothing else. Vectors of other
//! hashes are counted, not run.

use std::fs;
use std::path::PathBuf;
use std::string::String;
use std::vec::Vec;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ics23::{CommitmentProof, ExistenceProof, InnerOp, LeafOp, ProofSpec};
use prost_ics23::Message;
use serde_json::Value;

use super::Sha2Only;

fn dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/chain/ics23/testdata")
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&fs::read(dir().join(name)).unwrap()).unwrap()
}

fn b64(v: &Value) -> Vec<u8> {
    v.as_str().map(|s| STANDARD.decode(s).unwrap()).unwrap_or_default()
}

fn int(v: &Value) -> i32 {
    i32::try_from(v.as_i64().unwrap_or(0)).unwrap()
}

fn leaf(v: &Value) -> LeafOp {
    LeafOp {
        hash: int(&v["hash"]),
        prehash_key: int(&v["prehash_key"]),
        prehash_value: int(&v["prehash_value"]),
        length: int(&v["length"]),
        prefix: b64(&v["prefix"]),
    }
}

fn inner(v: &Value) -> InnerOp {
    InnerOp { hash: int(&v["hash"]), prefix: b64(&v["prefix"]), suffix: b64(&v["suffix"]) }
}

fn existence(v: &Value) -> ExistenceProof {
    ExistenceProof {
        key: b64(&v["key"]),
        value: b64(&v["value"]),
        leaf: v.get("leaf").map(leaf),
        path: v["path"].as_array().map(|p| p.iter().map(inner).collect()).unwrap_or_default(),
    }
}

/// Only SHA-256, or no hash at all.
fn is_served(proof: &ExistenceProof) -> bool {
    let leaf = proof.leaf.iter().flat_map(|l| [l.hash, l.prehash_key, l.prehash_value]);
    leaf.chain(proof.path.iter().map(|p| p.hash)).all(|h| h <= 1)
}

fn hex_of(v: &Value) -> Vec<u8> {
    hex::decode(v.as_str().unwrap_or_default()).unwrap()
}

fn check_tree(folder: &str, spec: &ProofSpec) {
    let mut run = 0;
    for name in ["exist_left", "exist_middle", "exist_right", "nonexist_left", "nonexist_middle", "nonexist_right"] {
        let v = json(&std::format!("{folder}/{name}.json"));
        let proof = CommitmentProof::decode(hex_of(&v["proof"]).as_slice()).unwrap();
        let (root, key, value) = (hex_of(&v["root"]), hex_of(&v["key"]), hex_of(&v["value"]));
        let verify = |root: &Vec<u8>, key: &[u8], value: &[u8]| match name.starts_with("exist") {
            true => ics23::verify_membership::<Sha2Only>(&proof, spec, root, key, value),
            false => ics23::verify_non_membership::<Sha2Only>(&proof, spec, root, key),
        };
        assert!(verify(&root, &key, &value), "{folder}/{name}");
        let mut other = root.clone();
        other[0] ^= 1;
        assert!(!verify(&other, &key, &value), "{folder}/{name}: another root");
        if name.starts_with("exist") {
            assert!(!verify(&root, &key, b"another value"), "{folder}/{name}: another value");
            assert!(!verify(&root, b"another key", &value), "{folder}/{name}: another key");
        }
        run += 1;
    }
    assert_eq!(run, 6);
}

#[test]
fn ics23_iavl_vectors_hold() {
    check_tree("iavl", &ics23::iavl_spec());
}

#[test]
fn ics23_tendermint_vectors_hold() {
    check_tree("tendermint", &ics23::tendermint_spec());
}

#[test]
fn ics23_smt_vectors_hold() {
    check_tree("smt", &ics23::smt_spec());
}

#[test]
fn ics23_existence_roots_are_as_listed() {
    let mut run = 0;
    for (name, v) in json("TestExistenceProofData.json").as_object().unwrap() {
        let proof = existence(&v["Proof"]);
        if !is_served(&proof) {
            continue;
        }
        let root = ics23::calculate_existence_root::<Sha2Only>(&proof);
        match v["IsErr"].as_bool().unwrap() {
            true => assert!(root.is_err(), "{name}"),
            false => assert_eq!(root.unwrap(), b64(&v["Expected"]), "{name}"),
        }
        run += 1;
    }
    assert!(run >= 4, "only {run} vectors were run");
}

#[test]
fn ics23_leaf_and_inner_operations_give_the_listed_hashes() {
    let mut run = 0;
    for (name, v) in json("TestLeafOpData.json").as_object().unwrap() {
        let proof = ExistenceProof { key: b64(&v["Key"]), value: b64(&v["Value"]), leaf: Some(leaf(&v["Op"])), path: Vec::new() };
        if !is_served(&proof) {
            continue;
        }
        let root = ics23::calculate_existence_root::<Sha2Only>(&proof);
        match v["IsErr"].as_bool().unwrap_or(false) {
            true => assert!(root.is_err(), "{name}"),
            false => assert_eq!(root.unwrap(), b64(&v["Expected"]), "{name}"),
        }
        run += 1;
    }
    assert!(run >= 3, "only {run} vectors were run");
}

#[test]
fn ics23_proofs_that_a_spec_forbids_are_refused() {
    let specs: Vec<(String, ProofSpec)> =
        [("iavl", ics23::iavl_spec()), ("tendermint", ics23::tendermint_spec())].map(|(n, s)| (n.into(), s)).into();
    let mut run = 0;
    for (name, v) in json("TestCheckAgainstSpecData.json").as_object().unwrap() {
        let proof = existence(&v["Proof"]);
        let wanted = leaf(&v["Spec"]["leaf_spec"]);
        let Some((_, spec)) = specs.iter().find(|(_, s)| s.leaf_spec.as_ref() == Some(&wanted)) else { continue };
        let Ok(root) = ics23::calculate_existence_root::<Sha2Only>(&proof) else { continue };
        let commitment =
            CommitmentProof { proof: Some(ics23::commitment_proof::Proof::Exist(proof.clone())) };
        let fits = v["Err"].as_str().unwrap_or_default().is_empty();
        let spec_is_stock = int(&v["Spec"]["inner_spec"]["min_prefix_length"])
            == spec.inner_spec.as_ref().map_or(0, |i| i.min_prefix_length)
            && v["Spec"].get("min_depth").is_none()
            && v["Spec"].get("max_depth").is_none();
        if !spec_is_stock {
            continue;
        }
        let held = ics23::verify_membership::<Sha2Only>(&commitment, spec, &root, &proof.key, &proof.value);
        assert_eq!(held, fits, "{name}");
        run += 1;
    }
    assert!(run >= 3, "only {run} vectors were run");
}
