use std::string::ToString;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::fake::FakePlatform;

const CHAIN: &str = "test-1";

fn sealed(p: &mut FakePlatform) -> Vec<u8> {
    seal(
        p,
        Slot::Custody,
        SealPolicy::Mrenclave,
        CHAIN,
        4,
        b"custody",
    )
    .unwrap()
}

fn open_err(p: &FakePlatform, file: &[u8]) -> OpenError {
    open(p, Slot::Custody, CHAIN, file)
        .err()
        .expect("must be refused")
}

fn rebuilt(file: &[u8], edit: impl FnOnce(&mut SealedHeader)) -> Vec<u8> {
    let parts = split(file).unwrap();
    let mut header = parts.header.clone();
    edit(&mut header);
    let mut out = encode(&header);
    out.extend_from_slice(&file[parts.aad.len()..]);
    out
}

#[test]
fn what_was_sealed_opens_and_its_header_says_for_whom() {
    let mut p = FakePlatform::new(1);
    let file = sealed(&mut p);
    let opened = open(&p, Slot::Custody, CHAIN, &file).unwrap();
    assert_eq!(&opened.plaintext[..], b"custody");
    let h = opened.header;
    assert_eq!(
        (h.generation, h.chain_id.as_str(), h.slot),
        (4, CHAIN, Slot::Custody)
    );
    assert_eq!(
        (h.measurement, h.cpu_svn, h.isv_svn),
        (p.identity.measurement, [5; 16], 3)
    );
    assert_eq!(peek(&file).unwrap(), h);
}

#[test]
fn h08_a_file_of_format_version_1_still_opens() {
    let golden = hex::decode(include_str!("../../tests/golden/sealed_v1.hex").trim()).unwrap();
    assert_eq!(
        sealed(&mut FakePlatform::new(1)),
        golden,
        "the format that is written"
    );
    let opened = open(&FakePlatform::new(1), Slot::Custody, CHAIN, &golden).unwrap();
    assert_eq!(&opened.plaintext[..], b"custody");
}

#[test]
fn h01_a_higher_cpusvn_still_opens_the_file() {
    let mut p = FakePlatform::new(1);
    let file = sealed(&mut p);
    p.cpu_svn = [9; 16];
    assert_eq!(
        &open(&p, Slot::Custody, CHAIN, &file).unwrap().plaintext[..],
        b"custody"
    );
}

#[test]
fn h01_after_a_firmware_downgrade_the_error_says_so_and_names_the_way_back() {
    let mut p = FakePlatform::new(1);
    let file = sealed(&mut p);
    p.cpu_svn[3] = 4;
    let error = open_err(&p, &file);
    assert_eq!(
        error,
        OpenError::CpuSvnLower {
            file: [5; 16],
            machine: p.cpu_svn
        }
    );
    let text = error.to_string();
    assert!(
        text.contains("firmware of this machine was downgraded"),
        "{text}"
    );
    assert!(text.contains("restore the BIOS and microcode") && text.contains("rejoin from a peer"));
}

#[test]
fn a_build_of_a_lower_isvsvn_is_refused_and_a_higher_one_of_the_same_signer_opens() {
    let mut p = FakePlatform::new(1);
    let file = seal(&mut p, Slot::Custody, SealPolicy::Mrsigner, CHAIN, 0, b"x").unwrap();
    p.identity.svn = 2;
    assert_eq!(
        open_err(&p, &file),
        OpenError::IsvSvnLower {
            file: 3,
            enclave: 2
        }
    );
    p.identity.svn = 4;
    assert!(open(&p, Slot::Custody, CHAIN, &file).is_ok());
}

#[test]
fn a01_another_build_of_the_same_signer_does_not_open_a_file_under_mrenclave() {
    let mut p = FakePlatform::new(1);
    let file = sealed(&mut p);
    let other = Measurement([0x99; 32]);
    let expected = OpenError::OtherMeasurement {
        expected: other,
        got: p.identity.measurement,
    };
    p.identity.measurement = other;
    assert_eq!(open_err(&p, &file), expected);
    // Nor when the host rewrites the header, because the key is another one.
    assert_eq!(
        open_err(&p, &rebuilt(&file, |h| h.measurement = other)),
        OpenError::Tampered
    );
    let as_signer = rebuilt(&file, |h| h.policy = SealPolicy::Mrsigner);
    assert_eq!(open_err(&p, &as_signer), OpenError::Tampered);
}

#[test]
fn under_mrsigner_another_build_of_the_signer_opens_and_another_signer_does_not() {
    let mut p = FakePlatform::new(1);
    let file = seal(&mut p, Slot::Custody, SealPolicy::Mrsigner, CHAIN, 0, b"x").unwrap();
    p.identity.measurement = Measurement([0x99; 32]);
    assert!(open(&p, Slot::Custody, CHAIN, &file).is_ok());
    p.identity.signer.0 = [0x33; 32];
    assert_eq!(open_err(&p, &file), OpenError::Tampered);
}

#[test]
fn a04_a_debug_launch_of_the_same_build_gets_another_key() {
    let mut p = FakePlatform::new(1);
    let file = sealed(&mut p);
    p.identity.attributes.flags |= flags::DEBUG;
    assert_eq!(open_err(&p, &file), OpenError::Tampered);
}

#[test]
fn other_state_components_of_the_cpu_do_not_make_a_file_unreadable() {
    let mut p = FakePlatform::new(1);
    let file = sealed(&mut p);
    p.identity.attributes.xfrm = 0xe7;
    assert!(open(&p, Slot::Custody, CHAIN, &file).is_ok());
}

#[test]
fn a_file_of_another_machine_is_refused() {
    let file = sealed(&mut FakePlatform::new(1));
    assert_eq!(open_err(&FakePlatform::new(2), &file), OpenError::Tampered);
}

#[test]
fn a_file_of_another_slot_or_chain_is_refused_even_with_its_header_rewritten() {
    let mut p = FakePlatform::new(1);
    let file = seal(
        &mut p,
        Slot::Rehearsal,
        SealPolicy::Mrenclave,
        CHAIN,
        0,
        b"canary",
    )
    .unwrap();
    let slots = OpenError::OtherSlot {
        expected: Slot::Custody,
        got: Slot::Rehearsal,
    };
    assert_eq!(open_err(&p, &file), slots);
    assert_eq!(
        open_err(&p, &rebuilt(&file, |h| h.slot = Slot::Custody)),
        OpenError::Tampered
    );
    let file = seal(
        &mut p,
        Slot::Custody,
        SealPolicy::Mrenclave,
        "other-1",
        0,
        b"x",
    )
    .unwrap();
    let chains = OpenError::OtherChain {
        expected: CHAIN.to_string(),
        got: "other-1".to_string(),
    };
    assert_eq!(open_err(&p, &file), chains);
    assert_eq!(
        open_err(&p, &rebuilt(&file, |h| h.chain_id = CHAIN.into())),
        OpenError::Tampered
    );
}

#[test]
fn a10_the_generation_cannot_be_rewritten() {
    let mut p = FakePlatform::new(1);
    let file = sealed(&mut p);
    assert_eq!(
        open_err(&p, &rebuilt(&file, |h| h.generation = 5)),
        OpenError::Tampered
    );
}

#[test]
fn two_files_of_the_same_contents_share_neither_key_nor_nonce() {
    let mut p = FakePlatform::new(1);
    let (a, b) = (
        peek(&sealed(&mut p)).unwrap(),
        peek(&sealed(&mut p)).unwrap(),
    );
    assert_ne!(a.key_id, b.key_id);
    assert_ne!(a.nonce, b.nonce);
}

#[test]
fn h02_a_newer_format_is_told_from_a_broken_file() {
    let file = sealed(&mut FakePlatform::new(1));
    let newer = rebuilt(&file, |h| h.version = 2);
    assert_eq!(peek(&newer), Err(OpenError::Version { got: 2 }));
    let other = rebuilt(&file, |h| h.platform_tag = 2);
    assert_eq!(
        peek(&other),
        Err(OpenError::OtherPlatform {
            expected: 1,
            got: 2
        })
    );
}

#[test]
fn a21_every_cut_is_named_and_bytes_behind_the_end_are_refused() {
    let p = &mut FakePlatform::new(1);
    let file = sealed(p);
    for at in 0..file.len() {
        assert_eq!(open_err(p, &file[..at]), OpenError::Truncated { got: at });
    }
    let mut longer = file.clone();
    longer.push(0);
    let expected = OpenError::Oversized {
        expected: file.len(),
        got: file.len() + 1,
    };
    assert_eq!(open_err(p, &longer), expected);
    let huge = vec![0; MAX_SEALED_LEN + 1];
    let expected = OpenError::Oversized {
        expected: MAX_SEALED_LEN,
        got: MAX_SEALED_LEN + 1,
    };
    assert_eq!(open_err(p, &huge), expected);
    assert_eq!(peek(b"{\"json\": true}"), Err(OpenError::NotASealedFile));
    assert_eq!(
        peek(&encode(&("baton seated", 1, 1))),
        Err(OpenError::NotASealedFile)
    );
}

#[test]
fn contents_beyond_the_limit_are_not_sealed() {
    let p = &mut FakePlatform::new(1);
    let big = vec![0; MAX_SEALED_LEN];
    let got = seal(p, Slot::Custody, SealPolicy::Mrenclave, CHAIN, 0, &big);
    assert_eq!(
        got,
        Err(SealError::TooLarge {
            got: MAX_SEALED_LEN
        })
    );
}

proptest! {
    #[test]
    fn a21_any_bytes_are_read_or_refused_without_a_panic(bytes: Vec<u8>) {
        prop_assert!(open(&FakePlatform::new(1), Slot::Custody, CHAIN, &bytes).is_err());
    }

    #[test]
    fn a21_a_file_with_any_bit_flipped_is_refused(at in 0usize..10_000, bit in 0u8..8) {
        let mut p = FakePlatform::new(1);
        let mut file = sealed(&mut p);
        let at = at % file.len();
        file[at] ^= 1 << bit;
        prop_assert!(open(&p, Slot::Custody, CHAIN, &file).is_err());
    }
}
