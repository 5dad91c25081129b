//! From a program to a build: conversion, policy, signature, and the frames of a running enclave.

#[path = "../../../softsgx/tests/rules/elf.rs"]
#[allow(dead_code)]
mod elf;
mod frames;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod soft;

use baton_attest::sgxs::{PAGE_LEN, measure};
use baton_attest::sigstruct::{SigningKey, check_sigstruct};
use baton_core::policy::Policy;
use baton_enclave::slot::{self, MAX_POLICY_BYTES, SlotError};
use baton_host::sgx::image::{ImageError, Pages};
use baton_host::sgx::inspect::Inspection;
use baton_host::sgx::sign::{self, Layout, SignError, convert};
use elf::Spec;
use sha2::{Digest, Sha256};

/// Small, so that the streams are.
const LAYOUT: Layout = Layout { heap_bytes: 16 << 12, stack_bytes: 4 << 12, threads: 2, debug: false };

fn policy() -> Policy {
    let mut policy: Policy = toml::from_str(include_str!("../../../../docs/policy.example.toml")).unwrap();
    policy.builds.signers = vec![SigningKey::development(1).unwrap().signer(), SigningKey::development(2).unwrap().signer()];
    policy
}

/// A program with so many policy slots.
fn program(slots: usize) -> Vec<u8> {
    Spec { slots: vec![slot::head(&slot::MARK, "", "1.2.3").to_vec(); slots], ..Spec::good() }.build()
}

fn pages() -> Pages {
    convert(&program(1), &LAYOUT).unwrap()
}

fn other_policy() -> Policy {
    let mut p = policy();
    p.chain.lead_blocks += 1;
    p
}

#[test]
fn what_is_signed_is_the_sha256_of_the_file_and_what_the_library_measures() {
    let image = sign::build(&pages(), &policy(), &SigningKey::development(1).unwrap(), 3).unwrap();
    let sha: [u8; 32] = Sha256::digest(&image.sgxs).into();
    assert_eq!(measure(&image.sgxs).unwrap().measurement.0, sha);
    let checked = check_sigstruct(&image.sigstruct).unwrap();
    assert_eq!((checked.fields().measurement.0, checked.fields().svn), (sha, 3));
}

#[test]
fn same_program_and_policy_give_the_same_build_whoever_starts_from_what() {
    let key = SigningKey::development(1).unwrap();
    let from_elf = sign::build(&pages(), &policy(), &key, 1).unwrap();
    // A voter starts from what was published, with whatever policy is in there.
    let published = sign::build(&pages(), &other_policy(), &key, 1).unwrap();
    assert_ne!(published.sgxs, from_elf.sgxs);
    let again = sign::build(&Pages::from_sgxs(&published.sgxs).unwrap(), &policy(), &key, 1).unwrap();
    assert_eq!(again, from_elf);
    assert_eq!(Pages::from_sgxs(&again.sgxs).unwrap().policy().unwrap(), policy());
}

#[test]
fn the_measurement_of_the_example_is_frozen() {
    let image = pages().measurement().unwrap();
    let golden = include_str!("../golden/converted.measurement");
    assert_eq!(image.to_string(), golden.trim(), "the conversion gives another measurement to the same program");
}

#[test]
fn a_stream_that_is_taken_apart_is_put_together_byte_for_byte() {
    let bytes = pages().to_sgxs().unwrap();
    assert_eq!(Pages::from_sgxs(&bytes).unwrap().to_sgxs().unwrap(), bytes);
}

#[test]
fn a_build_without_a_policy_is_not_signed() {
    let key = SigningKey::development(1).unwrap();
    let e = sign::sign(&pages(), &key, 1).unwrap_err();
    assert!(matches!(e, SignError::Image(ImageError::NoPolicy)), "{e}");
    let mut invalid = policy();
    invalid.chain.lead_blocks = 0;
    let e = sign::build(&pages(), &invalid, &key, 1).unwrap_err();
    assert!(matches!(e, SignError::Image(ImageError::Policy(_))), "{e}");
}

#[test]
fn what_is_no_program_is_refused_and_the_text_says_how_one_is_built() {
    for bad in [b"#!/bin/sh\n".to_vec(), Spec { without: Some(".text"), ..Spec::good() }.build()] {
        let e = convert(&bad, &LAYOUT).unwrap_err();
        assert!(matches!(e, SignError::Convert(_)) && e.to_string().ends_with("build it with scripts/sgx-build"), "{e}");
    }
}

#[test]
fn an_image_with_no_slot_or_two_is_no_build() {
    for slots in [0, 2] {
        let pages = convert(&program(slots), &LAYOUT).unwrap();
        assert!(matches!(pages.slot(), Err(ImageError::Slots { got }) if got == slots));
    }
}

#[test]
fn nothing_hides_behind_the_policy() {
    let bytes = policy().to_cbor();
    let good = slot::fill("1", &bytes).unwrap();
    assert_eq!(slot::read(&good).unwrap().policy, bytes);
    let mut hidden = good.clone();
    *hidden.last_mut().unwrap() = 1;
    assert!(matches!(slot::read(&hidden), Err(SlotError::Damaged(_))));
    let mut long = good.clone();
    long[64..68].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(slot::read(&long), Err(SlotError::Damaged(_))));
    assert!(matches!(slot::read(&good[1..]), Err(SlotError::Length { .. })));
    assert!(matches!(slot::fill("1", &vec![0; MAX_POLICY_BYTES + 1]), Err(SlotError::TooLong { .. })));
}

#[test]
fn a21_a_cut_or_reordered_stream_is_refused() {
    let good = pages().to_sgxs().unwrap();
    for len in (0..good.len()).step_by(53) {
        assert!(Pages::from_sgxs(&good[..len]).is_err() || len % 64 == 0);
    }
    // The first two pages change places: 64 of ECREATE, then 64 + 16 * 320 for each.
    let page = 64 + 16 * 320;
    let swapped = [&good[..64], &good[64 + page..64 + 2 * page], &good[64..64 + page], &good[64 + 2 * page..]].concat();
    assert!(matches!(Pages::from_sgxs(&swapped), Err(ImageError::Stream(_))));
    // Cut off between two pages it is a stream still, and no enclave: threads come last.
    let first_thread = 64 + pages().pages.iter().take_while(|p| !p.is_thread()).map(|p| if p.data.is_some() { page } else { 64 }).sum::<usize>();
    let cut = Pages::from_sgxs(&good[..first_thread]).unwrap();
    assert!(matches!(cut.slot(), Err(ImageError::NoThread)));
    assert!(Pages::from_sgxs(&good[..first_thread + page]).unwrap().slot().is_ok());
    // A chunk less, and a chunk that is loaded but not measured.
    let partial = [&good[..128], &good[128 + 320..]].concat();
    assert!(matches!(Pages::from_sgxs(&partial), Err(ImageError::Partial { offset: 0 })));
    let mut unmeasured = good.clone();
    unmeasured[128..136].copy_from_slice(b"UNMEASRD");
    assert!(matches!(Pages::from_sgxs(&unmeasured), Err(ImageError::Unmeasured { got: 1 })));
}

#[test]
fn what_is_wrong_with_a_file_is_said_once_and_with_what_to_do() {
    let good = pages().to_sgxs().unwrap();
    for bad in [&good[..good.len() - 1], &good[64..], b"hello"] {
        let e = Pages::from_sgxs(bad).unwrap_err();
        assert!(std::error::Error::source(&e).is_none(), "a cause that is in the text already would be printed again");
        assert!(e.to_string().contains("; get the file again"), "{e}");
    }
}

#[test]
fn an_inspection_finds_heap_threads_and_the_memory_for_two() {
    let (seen, _) = Inspection::of(&pages().to_sgxs().unwrap()).unwrap();
    assert_eq!((seen.heap_bytes, seen.threads), (16 << 12, 2));
    let what: Vec<_> = seen.segments.iter().map(|s| (s.what, s.bytes / PAGE_LEN as u64)).collect();
    let thread = [("stack", 4), ("thread data", 1), ("thread control", 1), ("state save area", 1)];
    assert_eq!(what[..4], [("constants", 1), ("code", 1), ("data, policy", 9), ("heap", 16)]);
    assert_eq!(what[4..], [thread, thread].concat());
    // 41 pages and a SECS, twice, and one version array page.
    assert_eq!((seen.pages, seen.epc_bytes(1), seen.epc_bytes(2)), (41, 43 << 12, 85 << 12));
}

#[test]
fn the_enclavehash_of_sgxs_sign_is_our_measurement() {
    // Fortanix's tool wrote the SIGSTRUCT; softsgx launches with it, and its REPORT shows the same (see that crate's tests).
    let sgxs = include_bytes!("../../../softsgx/tests/fixtures/sgxs-sign/enclave.sgxs");
    let sig = include_bytes!("../../../softsgx/tests/fixtures/sgxs-sign/enclave.sig");
    let measured = baton_attest::sgxs::measure(sgxs).unwrap().measurement;
    let signed = check_sigstruct(sig).unwrap();
    assert_eq!(signed.fields().measurement, measured);
    assert_eq!(measured.0[..], sha2::Sha256::digest(sgxs)[..], "sha256sum of the file");
    assert_eq!(signed.fields().signer(), SigningKey::development(1).unwrap().signer());
    // And the SIGSTRUCT that we make over it says the same, apart from date and signature.
    let ours = SigningKey::development(1).unwrap().sign_build(measured, 7, 3).unwrap();
    assert_eq!((ours.measurement, ours.signer()), (measured, signed.fields().signer()));
    assert_eq!((ours.product_id, ours.svn), (signed.fields().product_id, signed.fields().svn));
}
