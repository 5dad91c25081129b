//! Several threads, and signals that come while they are inside.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use softsgx::{Exit, Mode};

use crate::build::{Enclave, Options, device, with_mode};
use crate::program::Command;

/// Waits until another thread is inside at a TCS: EENTER is refused there. False after a minute.
fn others_are_inside(enclave: &Enclave, thread: usize) -> bool {
    let give_up = Instant::now() + Duration::from_secs(60);
    while enclave.call_at(thread, Command::Echo, 0, 0, 0) != (Exit::Refused { vector: 13 }) {
        if Instant::now() > give_up {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

#[test]
fn one_thread_at_a_time_is_inside_at_a_tcs() {
    let enclave = Enclave::new();
    let flag = AtomicU8::new(0);
    std::thread::scope(|scope| {
        let (inside, flag_at) = (enclave.clone(), &raw const flag as u64);
        let waiting = scope.spawn(move || inside.call(Command::Wait, flag_at, 0, 0));
        let refused = others_are_inside(&enclave, 0);
        let beside = enclave.call_at(1, Command::Echo, 0, 0, 0);
        flag.store(1, Ordering::Release);
        assert!(matches!(waiting.join().unwrap(), Exit::Exited(_)));
        assert!(refused);
        assert!(matches!(beside, Exit::Exited(_)));
    });
    let exit = enclave.call(Command::Echo, 0, 0, 0);
    assert!(matches!(exit, Exit::Exited(_)));
}

#[test]
fn an_enclave_goes_with_its_last_thread_and_many_come_and_go() {
    for _ in 0..10 {
        let device = device();
        let enclaves: Vec<_> = (0..4)
            .map(|_| Options::default().launch(&device).unwrap())
            .collect();
        std::thread::scope(|scope| {
            for enclave in enclaves {
                scope.spawn(move || {
                    assert!(matches!(
                        enclave.call_at(1, Command::Echo, 0, 0, 0),
                        Exit::Exited(_)
                    ))
                });
            }
        });
        assert_eq!(device.counters().exits, 4);
    }
}

/// Signals that the handlers below got, and the last address of a local variable in one.
static ALARMS: AtomicU64 = AtomicU64::new(0);
static SENT: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
static STACK: AtomicU64 = AtomicU64::new(0);

extern "C" fn on_alarm(_: i32) {
    ALARMS.fetch_add(1, Ordering::SeqCst);
}

extern "C" fn on_user(signal: i32) {
    let local = 0u8;
    STACK.store(&raw const local as u64, Ordering::SeqCst);
    SENT[usize::from(signal == libc::SIGUSR2)].fetch_add(1, Ordering::SeqCst);
}

fn handle(signal: i32, handler: extern "C" fn(i32)) {
    // SAFETY: the handlers only touch atomics.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        assert_eq!(libc::sigaction(signal, &action, std::ptr::null_mut()), 0);
    }
}

fn every_millisecond(on: bool) {
    let interval = libc::timeval {
        tv_sec: 0,
        tv_usec: if on { 1000 } else { 0 },
    };
    let timer = libc::itimerval {
        it_interval: interval,
        it_value: interval,
    };
    // SAFETY: the value is initialised; SIGALRM has a handler when it is switched on.
    let set = unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) };
    assert_eq!(set, 0);
}

#[test]
fn threads_work_under_a_timer_in_every_mode() {
    handle(libc::SIGALRM, on_alarm);
    for mode in [Mode::Trap, Mode::Direct, Mode::Patched] {
        let device = with_mode(mode);
        let enclave = Options::default().launch(&device).unwrap();
        let start = ALARMS.load(Ordering::SeqCst);
        every_millisecond(true);
        std::thread::scope(|scope| {
            for thread in 0..2 {
                let enclave = enclave.clone();
                scope.spawn(move || {
                    while ALARMS.load(Ordering::SeqCst) < start + 50 {
                        let exit = enclave.call_at(thread, Command::Echo, 1, 0, 0);
                        assert!(matches!(exit, Exit::Exited(r) if r.rsi == 2), "{exit:?}");
                    }
                });
            }
        });
        every_millisecond(false);
        let counters = device.counters();
        assert_eq!((counters.aexs, counters.enters), (0, counters.exits));
    }
}

#[test]
fn a_signal_inside_is_handled_at_once_on_the_hosts_stack_and_none_is_lost() {
    let signals = [libc::SIGUSR1, libc::SIGUSR2];
    signals.iter().for_each(|s| handle(*s, on_user));
    let enclave = Enclave::new();
    let flag = AtomicU8::new(0);
    let give_up = Instant::now() + Duration::from_secs(60);
    let (mut both_inside, mut on_enclave_stack) = (false, false);
    std::thread::scope(|scope| {
        let ids: Vec<_> = [0, 1]
            .map(|thread| {
                let (enclave, flag) = (enclave.clone(), &raw const flag as u64);
                let (send, receive) = std::sync::mpsc::channel();
                let handle = scope.spawn(move || {
                    // SAFETY: asks for the calling thread's own id.
                    send.send(unsafe { libc::pthread_self() }).unwrap();
                    enclave.call_at(thread, Command::Wait, flag, 0, 0)
                });
                (receive.recv().unwrap(), handle)
            })
            .into();
        // Both are inside once EENTER is refused at their threads.
        both_inside = [0, 1].map(|thread| others_are_inside(&enclave, thread)) == [true; 2];
        // What goes wrong is noted and judged after the threads are out: they wait for the flag.
        for round in 1..=50 {
            for (i, signal) in signals.iter().enumerate() {
                // SAFETY: the thread waits inside the enclave until the flag is set below.
                assert_eq!(unsafe { libc::pthread_kill(ids[i].0, *signal) }, 0);
                while SENT[i].load(Ordering::SeqCst) < round && give_up > Instant::now() {
                    std::thread::yield_now();
                }
                on_enclave_stack |= enclave.contains(STACK.load(Ordering::SeqCst));
            }
        }
        flag.store(1, Ordering::Release);
        for (_, handle) in ids {
            assert!(matches!(handle.join().unwrap(), Exit::Exited(_)));
        }
    });
    assert!(both_inside && !on_enclave_stack);
    assert_eq!(SENT.each_ref().map(|s| s.load(Ordering::SeqCst)), [50, 50]);
}
