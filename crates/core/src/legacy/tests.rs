use std::string::ToString;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::fake::FakePlatform;
use crate::seal::SealPolicy;

const SEED: [u8; 32] = [0x42; 32];

fn file(p: &mut FakePlatform, policy: SealPolicy) -> Vec<u8> {
    seal_legacy(p, policy, &SEED, b"text").unwrap()
}

fn refused(p: &FakePlatform, file: &[u8]) -> LegacyError {
    unseal_legacy(p, file).err().expect("must be refused")
}

#[test]
fn a27_a_file_under_mrsigner_gives_the_seed_and_marks_it_exposed() {
    let mut p = FakePlatform::new(1);
    let got = unseal_legacy(&p, &{
        file(&mut FakePlatform::new(1), SealPolicy::Mrsigner)
    })
    .unwrap();
    assert!(got.seed.ct_eq(&Seed::danger_from_bytes(&SEED)) && got.exposed);
    let sealed = file(&mut p, SealPolicy::Mrenclave);
    assert!(!unseal_legacy(&p, &sealed).unwrap().exposed);
}

#[test]
fn the_layout_is_the_one_of_sgx_tseal_h() {
    let golden = include_str!("../../tests/golden/legacy.hex").trim();
    let sealed = file(&mut FakePlatform::new(1), SealPolicy::Mrsigner);
    assert_eq!(hex::encode(&sealed), golden);
    assert_eq!(sealed.len(), 560 + 32 + 4);
    assert_eq!(sealed[512..516], 32u32.to_le_bytes(), "plain text offset");
    assert_eq!(sealed[528..532], 36u32.to_le_bytes(), "payload size");
    assert_eq!(&sealed[592..], b"text");
}

#[test]
fn zeros_behind_the_payload_are_a_buffer_and_anything_else_is_refused() {
    let p = &mut FakePlatform::new(1);
    let mut padded = file(p, SealPolicy::Mrsigner);
    padded.resize(1024, 0);
    assert!(unseal_legacy(p, &padded).is_ok());
    padded.push(1);
    assert_eq!(
        refused(p, &padded),
        LegacyError::Oversized {
            expected: 596,
            got: 1025
        }
    );
}

#[test]
fn another_build_of_the_signer_opens_it_and_other_signers_products_and_machines_do_not() {
    let mut p = FakePlatform::new(1);
    let sealed = file(&mut p, SealPolicy::Mrsigner);
    p.identity.measurement.0 = [9; 32];
    assert!(unseal_legacy(&p, &sealed).is_ok());
    p.identity.product_id = 8;
    assert_eq!(refused(&p, &sealed), LegacyError::Tampered);
    p.identity.product_id = 7;
    p.identity.signer.0 = [9; 32];
    assert_eq!(refused(&p, &sealed), LegacyError::Tampered);
    assert_eq!(
        refused(&FakePlatform::new(2), &sealed),
        LegacyError::Tampered
    );
}

#[test]
fn h01_a_firmware_downgrade_is_told_from_a_broken_legacy_file() {
    let mut p = FakePlatform::new(1);
    let sealed = file(&mut p, SealPolicy::Mrsigner);
    p.cpu_svn = [4; 16];
    let error = refused(&p, &sealed);
    assert_eq!(
        error,
        LegacyError::CpuSvnLower {
            file: [5; 16],
            machine: [4; 16]
        }
    );
    assert!(error.to_string().contains("restore the BIOS and microcode"));
    p.cpu_svn = [6; 16];
    assert!(unseal_legacy(&p, &sealed).is_ok());
    p.identity.svn = 1;
    assert_eq!(
        refused(&p, &sealed),
        LegacyError::IsvSvnLower {
            file: 3,
            enclave: 1
        }
    );
}

#[test]
fn contents_that_are_no_seed_are_refused() {
    let p = &mut FakePlatform::new(1);
    for got in [0, 31, 33] {
        let sealed = seal_legacy(p, SealPolicy::Mrsigner, &vec![1; got], b"").unwrap();
        assert_eq!(refused(p, &sealed), LegacyError::NotASeed { got });
    }
}

#[test]
fn a21_each_malformed_field_is_named() {
    let p = &mut FakePlatform::new(1);
    let good = file(p, SealPolicy::Mrsigner);
    let edit = |at: usize, bytes: &[u8]| {
        let mut bad = good.clone();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        bad
    };
    assert_eq!(
        refused(p, &edit(0, &[3])),
        LegacyError::Malformed("key name")
    );
    assert_eq!(
        refused(p, &edit(3, &[0xff])),
        LegacyError::Malformed("key request")
    );
    assert_eq!(
        refused(p, &edit(520, &[1])),
        LegacyError::Malformed("reserved bytes")
    );
    assert_eq!(
        refused(p, &edit(540, &[1])),
        LegacyError::Malformed("reserved bytes")
    );
    assert_eq!(
        refused(p, &edit(512, &[37])),
        LegacyError::Malformed("plain text offset")
    );
    let cut = LegacyError::Truncated {
        expected: 560 + 0xffff_ffff,
        got: good.len(),
    };
    assert_eq!(refused(p, &edit(528, &[0xff; 4])), cut);
    let long = vec![0; MAX_LEGACY_LEN + 1];
    assert!(matches!(refused(p, &long), LegacyError::Oversized { .. }));
}

#[test]
fn a21_every_cut_is_refused_as_a_cut() {
    let p = &mut FakePlatform::new(1);
    let good = file(p, SealPolicy::Mrsigner);
    for at in 0..good.len() {
        assert!(matches!(refused(p, &good[..at]), LegacyError::Truncated { got, .. } if got == at));
    }
}

proptest! {
    #[test]
    fn a21_any_bytes_are_read_or_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..1200)) {
        prop_assert!(unseal_legacy(&FakePlatform::new(1), &bytes).is_err());
    }

    #[test]
    fn a21_a_file_with_any_bit_flipped_is_refused(at in 0usize..596, bit in 0u8..8) {
        let mut p = FakePlatform::new(1);
        let mut bad = file(&mut p, SealPolicy::Mrsigner);
        bad[at] ^= 1 << bit;
        prop_assert!(unseal_legacy(&p, &bad).is_err());
    }
}
