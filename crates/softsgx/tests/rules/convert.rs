//! From an ELF file of the EDP target to pages: what is written into them, and what is refused.

use softsgx::elf::{ConvertError, Layout, convert};

use crate::elf::{END, ENTRY, NAMES, Spec, VALUES};

/// Small, so that the streams are.
const LAYOUT: Layout = Layout { heap_bytes: 16 << 12, stack_bytes: 4 << 12, threads: 2, debug: false };

#[test]
fn a_converted_program_knows_where_its_memory_lies() {
    let pages = convert(&Spec::good().build(), &LAYOUT).unwrap();
    let values = pages.pages.iter().find(|p| p.offset == VALUES).unwrap().data.as_ref().unwrap();
    let value = |name: &str| {
        let at = 8 * NAMES.iter().position(|n| *n == name).unwrap();
        u64::from_le_bytes(values[at..at + 8].try_into().unwrap())
    };
    let heap = END;
    assert_eq!((value("HEAP_BASE"), value("HEAP_SIZE")), (heap, 16 << 12));
    assert_eq!((value("TEXT_BASE"), value("TEXT_SIZE")), (ENTRY, 4));
    assert_eq!((value("RELA"), value("RELACOUNT"), value("DEBUG")), (0x700, 1, 0));
    let memory = heap + (16 << 12) + 2 * (0x10000 + (4 << 12) + (3 << 12));
    assert_eq!((value("CFGDATA_BASE"), value("ENCLAVE_SIZE")), (memory, memory.next_power_of_two()));
    assert_eq!(pages.size, memory.next_power_of_two());
}

#[test]
fn a_program_that_an_enclave_cannot_load_is_refused() {
    let refused = |spec: Spec| convert(&spec.build(), &LAYOUT).unwrap_err().to_string();
    let good = Spec::good;
    assert!(refused(Spec { toolchain: 2, ..good() }).contains("toolchain version 2"));
    assert!(refused(Spec { undefined: true, ..good() }).contains("malloc"));
    assert!(refused(Spec { relocation_type: Some(1), ..good() }).contains("R_X86_64_RELATIVE"));
    assert!(refused(Spec { relocation_at: Some(ENTRY), ..good() }).contains("writable"));
    assert!(refused(Spec { relocation_at: Some(u64::MAX), ..good() }).contains("writable"));
    assert!(refused(Spec { relocations_said: Some(2), ..good() }).contains("says 2 relocations"));
    assert!(refused(Spec { init: true, ..good() }).contains("dynamic entry 12"));
    for missing in ["sgx_entry", "HEAP_BASE", "ENCLAVE_SIZE", ".text", ".eh_frame_hdr", ".note.x86_64-fortanix-unknown-sgx"] {
        let text = refused(Spec { without: Some(missing), ..good() });
        assert!(
            text.contains(missing) && text.contains("x86_64-fortanix-unknown-sgx"),
            "{text}"
        );
    }
}

#[test]
fn a21_a_cut_or_changed_program_never_panics() {
    let good = Spec::good().build();
    for len in (0..good.len()).step_by(61).chain(0..0x200) {
        let _ = convert(&good[..len], &LAYOUT);
    }
    for at in (0..0xa00).chain(0x2100..0x2200).chain(good.len() - 64 * 11..good.len()) {
        let mut bad = good.clone();
        bad[at] ^= 0xff;
        let _ = convert(&bad, &LAYOUT);
    }
    assert!(matches!(convert(b"#!/bin/sh\n", &LAYOUT), Err(ConvertError::Elf(_))));
}

#[test]
fn a_layout_of_half_pages_is_refused() {
    let program = Spec::good().build();
    for bad in [Layout { heap_bytes: 4097, ..LAYOUT }, Layout { stack_bytes: 0, ..LAYOUT }, Layout { threads: 0, ..LAYOUT }] {
        assert!(matches!(convert(&program, &bad), Err(ConvertError::Layout { .. })));
    }
}
