//! Crossing the border, and crashes inside: asynchronous exits with their information.

use softsgx::{Action, Device, Error, Event, Exit, Mode, Registers, key_name};

use crate::build::{
    CODE, DATA, Enclave, GUARD, LOCAL, MARK, Options, RW, RX, SIZE, STACK, TCS, TCS_FLAGS, device, platform, tcs,
    with_mode,
};
use crate::program::{Command, program};

fn echoes(enclave: &Enclave) {
    let expected = Registers {
        rdi: Command::Echo as u64,
        rsi: 42,
        rdx: MARK,
        r8: 0,
        r9: enclave.base() + CODE,
        resume: false,
    };
    let exit = enclave.call(Command::Echo, 41, 0, 0);
    assert_eq!(exit, Exit::Exited(expected));
}

fn faulted(exit: Exit) -> (u8, u64) {
    match exit {
        Exit::Faulted {
            vector, address, ..
        } => (vector, address),
        other => panic!("expected a fault, got {other:?}"),
    }
}

fn all_modes() -> Vec<Device> {
    [Mode::Trap, Mode::Direct, Mode::Patched]
        .map(with_mode)
        .to_vec()
}

#[test]
fn registers_pass_the_border_and_gs_points_to_the_thread_data_in_every_mode() {
    for device in all_modes() {
        let enclave = Options::default().launch(&device).unwrap();
        for _ in 0..100 {
            echoes(&enclave);
        }
        let counters = device.counters();
        assert_eq!(
            (
                counters.loads,
                counters.enters,
                counters.exits,
                counters.aexs
            ),
            (1, 100, 100, 0)
        );
    }
}

#[test]
fn each_crash_is_an_asynchronous_exit_with_its_vector_in_every_mode() {
    for device in all_modes() {
        let crash = |command, operand: u64| {
            let enclave = Options::default().launch(&device).unwrap();
            let base = enclave.base();
            let exit = enclave.call(
                command,
                if operand < 0x10000 {
                    base + operand
                } else {
                    operand
                },
                0,
                0,
            );
            let (vector, address) = faulted(exit);
            // The host goes on: another enclave runs as if nothing had been.
            echoes(&Options::default().launch(&device).unwrap());
            (vector, address.wrapping_sub(base))
        };
        assert_eq!(crash(Command::Undefined, 0).0, 6);
        assert_eq!(crash(Command::Divide, 0).0, 0);
        assert_eq!(crash(Command::Breakpoint, 0).0, 3);
        assert_eq!(crash(Command::Privileged, 0).0, 13);
        assert_eq!(crash(Command::Read, GUARD + 0x123), (14, GUARD));
        assert_eq!(crash(Command::Write, CODE + 8), (14, CODE));
        assert_eq!(crash(Command::Jump, DATA), (14, DATA));
        assert_eq!(crash(Command::Jump, 0x10008).0, 14);
        assert_eq!(crash(Command::Overflow, 0), (14, GUARD));
        // Eight further enclaves echoed, and each crash counts once.
        assert_eq!(device.counters().aexs, 9);
    }
}

#[test]
fn the_thread_data_page_of_a_tcs_is_not_readable() {
    let enclave = Enclave::new();
    let exit = enclave.call(Command::Read, enclave.base() + crate::build::TCS[0], 0, 0);
    assert_eq!(faulted(exit).0, 14);
}

#[test]
fn a_fault_can_be_handled_inside_and_resumed_with_all_registers() {
    for device in all_modes() {
        let options = Options {
            misc_select: 1,
            ..Options::default()
        };
        let enclave = options.launch(&device).unwrap();
        assert_eq!(faulted(enclave.call(Command::Undefined, 0x5555, 0, 0)).0, 6);
        // The second frame: the enclave's handler steps over the UD2 and reads what happened.
        let Exit::Exited(fixed) = enclave.call(Command::Fix, 2, 0, 0) else {
            panic!("no handler")
        };
        assert_eq!(
            fixed.rdx,
            1 << 31 | 3 << 8 | 6,
            "EXITINFO: valid, hardware, #UD"
        );
        assert!((CODE..CODE + 0x400).contains(&fixed.r8), "{:#x}", fixed.r8);
        let Exit::Exited(out) = enclave.resume() else {
            panic!("not resumed")
        };
        assert_eq!(
            (out.rdi, out.rsi, out.rdx),
            (1, 0x5555, 0x2222 + 0x1212 + 0x1313)
        );
        assert_eq!(out.r8, MARK, "GS is back");
        echoes(&enclave);
        let counters = device.counters();
        assert_eq!((counters.aexs, counters.resumes), (1, 1));
    }
}

#[test]
fn page_faults_are_told_to_the_enclave_only_if_miscselect_asks() {
    for misc_select in [0, 1] {
        let options = Options {
            misc_select,
            ..Options::default()
        };
        let enclave = options.launch(&device()).unwrap();
        let at = enclave.base() + GUARD + 0x10;
        faulted(enclave.call(Command::Read, at, 0, 0));
        let Exit::Exited(fixed) = enclave.call(Command::Fix, 0, 0, 0) else {
            panic!("no handler")
        };
        match misc_select {
            0 => assert_eq!(fixed.rdx, 0),
            _ => assert_eq!((fixed.rdx, fixed.rdi), (1 << 31 | 3 << 8 | 14, at)),
        }
    }
}

#[test]
fn a_thread_without_a_free_frame_cannot_be_entered_and_one_without_a_used_one_not_resumed() {
    let enclave = Enclave::new();
    assert_eq!(faulted(enclave.resume()).0, 13);
    faulted(enclave.call(Command::Breakpoint, 0, 0, 0));
    let Exit::Exited(out) = enclave.call(Command::Echo, 0, 0, 0) else {
        panic!("the second frame is free")
    };
    assert_eq!(out.r8, 1, "CSSA");
    faulted(enclave.call(Command::Breakpoint, 0, 0, 0));
    assert_eq!(
        enclave.call(Command::Echo, 0, 0, 0),
        Exit::Refused { vector: 13 }
    );
}

#[test]
fn leafs_with_misplaced_operands_or_of_other_generations_fault() {
    let at = |leaf: u64, rbx: u64, rcx: u64| {
        let enclave = Enclave::new();
        let base = enclave.base();
        let place = |offset: u64| {
            if offset < 0x20000 {
                base + offset
            } else {
                offset
            }
        };
        faulted(enclave.call(Command::Leaf, leaf, place(rbx), place(rcx)))
    };
    let host = [0u8; 2048];
    let host = (host.as_ptr() as u64).next_multiple_of(512);
    for (rbx, rcx) in [
        (DATA + 16, DATA + 0x800),
        (DATA, DATA + 0x808),
        (host, DATA + 0x800),
        (DATA, host),
        (0x10000, DATA + 0x800),
    ] {
        assert_eq!(at(1, rbx, rcx).0, 13, "EGETKEY {rbx:#x} {rcx:#x}");
    }
    assert_eq!(
        at(1, GUARD, DATA + 0x800).0,
        14,
        "an operand that is not there"
    );
    assert_eq!(
        at(1, DATA, CODE).0,
        14,
        "a key into a page that cannot be written"
    );
    assert_eq!(
        at(0, DATA, DATA + 0x840).0,
        13,
        "REPORTDATA is aligned to 128"
    );
    assert_eq!(
        at(0, CODE, DATA + 0x800).0,
        13,
        "TARGETINFO with reserved bytes set"
    );
    for leaf in [2, 3, 5, 6, 7, 8, 9, 77] {
        assert_eq!(at(leaf, DATA, DATA + 0x800).0, 13, "leaf {leaf}");
    }
}

#[test]
fn a_system_call_inside_faults_in_strict_mode() {
    let strict = match Device::builder().platform(platform()).strict(true).build() {
        Err(Error::NoStrict { error }) => return eprintln!("not tested here: {error}"),
        other => other.unwrap(),
    };
    let getpid = 39;
    let enclave = Options::default().launch(&strict).unwrap();
    echoes(&enclave);
    assert_eq!(faulted(enclave.call(Command::Syscall, getpid, 0, 0)).0, 6);
    let Exit::Exited(fixed) = enclave.call(Command::Fix, 2, 0, 0) else {
        panic!("no handler")
    };
    assert_eq!(fixed.rdx, 1 << 31 | 3 << 8 | 6);
    // The host's own system calls work on the same thread, and without strict mode the enclave's do.
    assert!(std::fs::metadata("/").is_ok());
    let Exit::Exited(out) = Enclave::new().call(Command::Syscall, getpid, 0, 0) else {
        panic!("a system call reaches the kernel without strict mode")
    };
    assert_eq!(out.rsi, std::process::id().into());
}

#[test]
fn a_hook_sees_every_event_and_can_disturb_it() {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    static STEP: AtomicU32 = AtomicU32::new(0);
    static SEEN: AtomicU32 = AtomicU32::new(0);
    let hook = |event: &Event<'_>| {
        let (bit, step) = match event {
            Event::Enter { .. } => (1, 1),
            Event::GetKey { request } => {
                assert_eq!(request.name, key_name::SEAL);
                (2, 2)
            }
            Event::Exit { .. } => (4, 3),
            Event::Aex { vector, rip } => {
                assert_eq!(*vector, 11);
                assert!(rip.is_some_and(|rip| (CODE..CODE + 0x1000).contains(&rip)));
                (8, 0)
            }
            _ => (16, 0),
        };
        SEEN.fetch_or(bit, Relaxed);
        match (step == STEP.load(Relaxed), step) {
            (true, 1) => Action::Fault(14),
            (true, 2) => Action::Fail(32),
            (true, 3) => Action::Fault(11),
            _ => Action::Proceed,
        }
    };
    let device = Device::builder()
        .platform(platform())
        .mode(Mode::Patched)
        .hook(hook);
    let enclave = Options::default().launch(&device.build().unwrap()).unwrap();
    let request = softsgx::KeyRequest {
        name: key_name::SEAL,
        ..Default::default()
    };
    assert!(enclave.get_key(&request).is_ok());
    STEP.store(1, Relaxed);
    assert_eq!(
        enclave.call(Command::Echo, 0, 0, 0),
        Exit::Refused { vector: 14 }
    );
    STEP.store(2, Relaxed);
    assert_eq!(enclave.get_key(&request), Err(32));
    STEP.store(3, Relaxed);
    assert_eq!(faulted(enclave.call(Command::Echo, 0, 0, 0)).0, 11);
    assert_eq!(SEEN.load(Relaxed), 15);
    STEP.store(0, Relaxed);
}

#[test]
fn a_hook_sees_ereport_and_eresume_and_can_make_them_fault() {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
    static DISTURB: AtomicBool = AtomicBool::new(false);
    static SEEN: AtomicU32 = AtomicU32::new(0);
    let hook = |event: &Event<'_>| {
        let (bit, vector) = match event {
            Event::Report { target } => {
                assert_eq!(target.mr_enclave, [9; 32]);
                (1, 13)
            }
            Event::Resume { .. } => (2, 14),
            _ => return Action::Proceed,
        };
        SEEN.fetch_or(bit, Relaxed);
        match DISTURB.load(Relaxed) {
            true => Action::Fault(vector),
            false => Action::Proceed,
        }
    };
    let device = Device::builder().platform(platform()).hook(hook).build().unwrap();
    let enclave = Options::default().launch(&device).unwrap();
    let target = softsgx::TargetInfo {
        mr_enclave: [9; 32],
        attributes: Options::default().attributes(),
        misc_select: 0,
        config_id: [0; 64],
        config_svn: 0,
    };
    enclave.report(&target, &[0; 64]);
    faulted(enclave.call(Command::Undefined, 0, 0, 0));
    DISTURB.store(true, Relaxed);
    // A machine that lost its enclaves while one was out on a fault; in the kernel's interface, too, it looks like a fault inside.
    assert_eq!(faulted(enclave.resume()).0, 14);
    let other = Options::default().launch(&device).unwrap();
    let mut operands = target.to_bytes().to_vec();
    operands.resize(576, 0);
    let mut out = [0u8; 432];
    let exit = other.call(Command::Report, operands.as_ptr() as u64, out.as_mut_ptr() as u64, 0);
    assert_eq!(faulted(exit).0, 13);
    assert_eq!((SEEN.load(Relaxed), out), (3, [0; 432]));
}

#[test]
fn eexit_is_patched_only_where_it_stands_once_and_whole() {
    let eexit = [0xb8, 4, 0, 0, 0, 0x0f, 0x01, 0xd7];
    let left = |more: &[(u64, Vec<u8>)]| {
        let mut s = crate::build::Stream::create(SIZE, 1);
        s.page(CODE, RX, program());
        for (offset, bytes) in more.iter().filter(|(at, _)| *at < STACK) {
            s.page(*offset, RX, bytes);
        }
        if !more.iter().any(|(at, _)| *at == DATA) {
            s.page(DATA, RW, &[]);
        }
        s.page(STACK, RW, &[]);
        s.page(LOCAL, RW, &MARK.to_le_bytes());
        s.page(TCS[0], TCS_FLAGS, &tcs(TCS[0], 2));
        s.page(TCS[0] + 0x1000, RW, &[]).page(TCS[0] + 0x2000, RW, &[]);
        for (offset, bytes) in more.iter().filter(|(at, _)| *at > TCS[0]) {
            s.page(*offset, RX, bytes);
        }
        let stream = s.bytes();
        let device = with_mode(Mode::Patched);
        let options = Options::default();
        let mapping = device.launch(&mut &stream[..], &options.sigstruct(&stream), options.attributes(), 0);
        let enclave = Enclave(std::sync::Arc::new(mapping.unwrap()));
        echoes(&enclave);
        // SAFETY: the page is part of the mapping that `enclave` keeps, readable, and nobody writes to it.
        let code = unsafe { std::slice::from_raw_parts((enclave.base() + CODE) as *const u8, 4096) };
        code.windows(8).filter(|w| *w == eexit).count()
    };
    assert_eq!(left(&[]), 0, "the one way out is patched");
    assert_eq!(left(&[(0xa000, eexit.to_vec())]), 1, "twice: neither is known to be the way out");
    let across = |split: usize| {
        let mut first = vec![0x90; 4096 - split];
        first.extend(&eexit[..split]);
        [(0xa000, first), (0xb000, eexit[split..].to_vec())]
    };
    for split in 1..8 {
        assert_eq!(left(&across(split)), 0, "bytes across two pages are not taken for a second one");
    }
}

#[test]
fn a_fault_of_the_host_is_still_the_hosts() {
    use std::os::unix::process::ExitStatusExt;
    const CHILD: &str = "SOFTSGX_TEST_CHILD";
    if std::env::var_os(CHILD).is_some() {
        echoes(&Enclave::new());
        // SAFETY: it is not: this child shall die of it.
        unsafe { std::ptr::null_mut::<u8>().write_volatile(1) };
        std::process::exit(0);
    }
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "faults::a_fault_of_the_host_is_still_the_hosts"])
        .env(CHILD, "1")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.signal(), Some(libc::SIGSEGV));
}
