//! The stock ICS23 verifier with its stock specs.

use ics23::{CommitmentProof, HostFunctionsProvider, ProofSpec, iavl_spec, tendermint_spec};
use prost_ics23::Message as _;
use sha2::Digest as _;

/// SHA-256 for ics23; its specs here use no other hash.
pub struct Sha2;

impl HostFunctionsProvider for Sha2 {
    fn sha2_256(message: &[u8]) -> [u8; 32] {
        sha2::Sha256::digest(message).into()
    }
    fn sha2_512(_: &[u8]) -> [u8; 64] {
        unreachable!()
    }
    fn sha2_512_truncated(_: &[u8]) -> [u8; 32] {
        unreachable!()
    }
    fn keccak_256(_: &[u8]) -> [u8; 32] {
        unreachable!()
    }
    fn ripemd160(_: &[u8]) -> [u8; 20] {
        unreachable!()
    }
    fn blake2b_512(_: &[u8]) -> [u8; 64] {
        unreachable!()
    }
    fn blake2s_256(_: &[u8]) -> [u8; 32] {
        unreachable!()
    }
    fn blake3(_: &[u8]) -> [u8; 32] {
        unreachable!()
    }
}

/// Whether `proof` shows `value` (or nothing) at `key` below `root`, by the IAVL spec.
pub fn iavl_shows(proof: &CommitmentProof, root: &[u8], key: &[u8], value: Option<&[u8]>) -> bool {
    shows(proof, &iavl_spec(), root, key, value)
}

fn shows(
    proof: &CommitmentProof,
    spec: &ProofSpec,
    root: &[u8],
    key: &[u8],
    value: Option<&[u8]>,
) -> bool {
    let root = root.to_vec();
    match value {
        Some(value) => ics23::verify_membership::<Sha2>(proof, spec, &root, key, value),
        None => ics23::verify_non_membership::<Sha2>(proof, spec, &root, key),
    }
}

/// Whether both proofs of an answer lead from the value to the app hash.
pub fn answer_shows(
    (iavl, simple): (&[u8], &[u8]),
    app_hash: &[u8],
    store: &str,
    key: &[u8],
    value: Option<&[u8]>,
) -> bool {
    let iavl = CommitmentProof::decode(iavl).expect("an ICS23 proof");
    let simple = CommitmentProof::decode(simple).expect("an ICS23 proof");
    let Some(ics23::commitment_proof::Proof::Exist(top)) = &simple.proof else {
        return false;
    };
    shows(
        &simple,
        &tendermint_spec(),
        app_hash,
        store.as_bytes(),
        Some(&top.value),
    ) && shows(&iavl, &iavl_spec(), &top.value, key, value)
}
