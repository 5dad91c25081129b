//! The signal handler: ENCLU that trapped, and faults inside an enclave. Everything else goes to the
//! handlers that were there before.
//!
//! It runs on the thread's signal stack, while the interrupted code is the enclave's (or the one ENCLU of
//! the entry code) and holds no lock of the host, so it may allocate and lock like a called function.

use std::arch::asm;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;

use super::entry::{EEXIT, ERESUME, Frame, Labels};
use super::leaf::{self, Operands, Outcome};
use super::ssa::{self, Exception, FLAGS_FIXED};
use super::{Enclave, thread};
use crate::device::Error;
use crate::hook::{Event, count};
use crate::image::page_flags;

/// The signals of faults. SIGSYS comes only from a system call inside an enclave in strict mode.
pub(super) const FAULTS: [i32; 6] = [
    libc::SIGILL,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGTRAP,
    libc::SIGSYS,
];
const ENCLU: [u8; 3] = [0x0f, 0x01, 0xd7];
const INVALID_OPCODE: u8 = 6;
const GENERAL_PROTECTION: u8 = 13;
const PAGE_FAULT: u8 = 14;
/// ZF, and the flags that ENCLU clears: CF, PF, AF, SF, OF.
const ZF: i64 = 1 << 6;
const CLEARED: i64 = 1 | 1 << 2 | 1 << 4 | 1 << 7 | 1 << 11;

/// What each signal did before.
static BEFORE: OnceLock<[libc::sigaction; FAULTS.len()]> = OnceLock::new();

/// Installs the handlers, once in a process.
pub(super) fn install() -> Result<(), Error> {
    static DONE: OnceLock<Result<(), i32>> = OnceLock::new();
    let done = DONE.get_or_init(|| {
        // The old ones are stored before the first new one can run.
        BEFORE.get_or_init(|| FAULTS.map(|signal| action_of(signal).unwrap_or(default_action())));
        FAULTS.iter().try_for_each(|signal| install_one(*signal))
    });
    done.map_err(|errno| Error::System {
        what: "sigaction",
        error: std::io::Error::from_raw_os_error(errno),
    })
}

fn install_one(signal: i32) -> Result<(), i32> {
    let mut action = default_action();
    action.sa_sigaction = on_signal as *const () as usize;
    // NODEFER: a hook may fault inside a leaf, and that must reach its handler.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
    // SAFETY: `action` is initialised and names a handler of the right signature, which lives for ever.
    match unsafe { libc::sigaction(signal, &action, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or(libc::EINVAL)),
    }
}

fn default_action() -> libc::sigaction {
    // SAFETY: all zeros is SIG_DFL without flags and with an empty mask, a valid `sigaction`.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

fn action_of(signal: i32) -> Option<libc::sigaction> {
    let mut action = default_action();
    // SAFETY: only reads the action into a value of our own.
    (unsafe { libc::sigaction(signal, ptr::null(), &mut action) } == 0).then_some(action)
}

/// Moves the process's signal handlers to the signal stack (SA_ONSTACK), where they are not yet.
///
/// A signal that comes while a thread is inside would otherwise write its frame onto the enclave's stack,
/// which hardware never does. Each load calls it; call it again after installing a handler later.
pub fn protect_signal_handlers() {
    for signal in 1..=libc::SIGRTMAX() {
        let Some(mut action) = action_of(signal) else {
            continue;
        };
        let handled = !matches!(action.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN);
        if handled && action.sa_flags & libc::SA_ONSTACK == 0 {
            action.sa_flags |= libc::SA_ONSTACK;
            // SAFETY: the same action as before with one more flag: the handler stays valid, and a thread
            // without a signal stack runs it as before.
            unsafe { libc::sigaction(signal, &action, ptr::null_mut()) };
        }
    }
}

/// Where the thread was.
enum Place {
    /// At the entry code's ENCLU.
    Entering,
    /// In the enclave, or wherever it jumped.
    Inside,
    /// In the host's code.
    Host,
}

extern "C" fn on_signal(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: errno is this thread's own; the enclave's code and the host's expect it unchanged.
    let errno = unsafe { *libc::__errno_location() };
    // SAFETY: the kernel passes the interrupted thread's `siginfo_t` and `ucontext_t`, which live until
    // this handler returns and which only this handler uses.
    let (code, context_ref) =
        unsafe { ((*info).si_code, &mut *context.cast::<libc::ucontext_t>()) };
    let frame = thread::current();
    // si_code of a signal that a process sent is not positive: such a one is not a fault.
    let played = !frame.is_null() && code > 0 && {
        // SAFETY: the current frame of a thread is on its own stack below the entry code, which has not
        // returned, and its enclave is kept by the busy thread.
        let (stay, enclave) = unsafe { (&*frame, &*(*frame).enclave) };
        // SAFETY: `context` is the calling thread's signal frame, `stay` its current stay.
        unsafe { play(signal, stay, enclave, context_ref) }
    };
    if !played {
        before(signal, info, context);
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// Plays what the enclave's instruction would have done. False if it was not the enclave's.
///
/// # Safety
/// `context` is the signal frame of the calling thread, and `stay` its current stay in `enclave`.
unsafe fn play(
    signal: i32,
    stay: &Frame,
    enclave: &Enclave,
    context: &mut libc::ucontext_t,
) -> bool {
    let labels = Labels::get();
    let rip = register(context, libc::REG_RIP) as usize;
    let rsp = register(context, libc::REG_RSP) as usize;
    let place = match rip {
        _ if rip == labels.enclu => Place::Entering,
        _ if enclave.memory.contains(rip) => Place::Inside,
        // A handler of the host that faults while it interrupts an enclave runs on the signal stack.
        _ if labels.contain(rip) || thread::on_signal_stack(rsp) => Place::Host,
        _ => Place::Inside,
    };
    match place {
        Place::Host => return false,
        // SAFETY: as the caller promises.
        Place::Entering => unsafe { enter(stay, enclave, context, &labels) },
        Place::Inside => {
            let exception = exception(signal, context);
            let undefined = matches!(exception.vector, INVALID_OPCODE | GENERAL_PROTECTION);
            let is_enclu = undefined
                && enclave.memory.allows(rip, ENCLU.len(), page_flags::X)
                && enclave.memory.read(rip) == Some(ENCLU);
            // SAFETY: as the caller promises.
            unsafe {
                match is_enclu {
                    true => leaf(stay, enclave, context, &labels),
                    false => leave(stay, enclave, context, &labels, exception),
                }
            }
        }
    }
    true
}

/// EENTER or ERESUME by trap. The checks were made by the entry code.
///
/// # Safety
/// As [`play`].
unsafe fn enter(stay: &Frame, enclave: &Enclave, context: &mut libc::ucontext_t, labels: &Labels) {
    let gs;
    if stay.trap == u64::from(ERESUME) {
        // SAFETY: `stay.thread` belongs to `enclave`, which the busy thread keeps; the entry code checked
        // that there is a frame to resume.
        match unsafe { ssa::restore(enclave, &*stay.thread, context) } {
            Some(saved) => gs = saved,
            None => {
                let exception = Exception {
                    vector: PAGE_FAULT,
                    error_code: 0,
                    address: 0,
                };
                // SAFETY: as the caller promises.
                return unsafe { out(stay, context, labels, exception) };
            }
        }
    } else {
        let entering = stay.entering();
        set(context, libc::REG_RIP, entering.rip);
        set(context, libc::REG_RAX, entering.rax);
        set(context, libc::REG_RCX, labels.left as u64);
        gs = stay.enclave_gs();
    }
    // SAFETY: FSGSBASE was checked when the device was built; host code does not use GS.
    unsafe { write_gs(gs) };
}

/// ENCLU inside.
///
/// # Safety
/// As [`play`].
unsafe fn leaf(stay: &Frame, enclave: &Enclave, context: &mut libc::ucontext_t, labels: &Labels) {
    let operands = Operands {
        leaf: register(context, libc::REG_RAX) as u32,
        rbx: register(context, libc::REG_RBX),
        rcx: register(context, libc::REG_RCX),
        rdx: register(context, libc::REG_RDX),
        tcs: stay.tcs(),
    };
    match leaf::run(enclave, operands) {
        Outcome::Next(code) => {
            let rip = register(context, libc::REG_RIP);
            set(context, libc::REG_RIP, rip + ENCLU.len() as u64);
            if let Some(code) = code {
                set(context, libc::REG_RAX, code.into());
                let flags = &mut context.uc_mcontext.gregs[libc::REG_EFL as usize];
                *flags = *flags & !(ZF | CLEARED) | if code == 0 { 0 } else { ZF };
            }
        }
        Outcome::Exit => {
            set(context, libc::REG_RIP, operands.rbx);
            set(context, libc::REG_RAX, EEXIT.into());
            set(context, libc::REG_RCX, labels.aex as u64);
            // SAFETY: FSGSBASE was checked when the device was built.
            unsafe { write_gs(stay.host_gs()) };
        }
        Outcome::Fault(vector, address) => {
            let exception = Exception {
                vector,
                error_code: 0,
                address,
            };
            // SAFETY: as the caller promises.
            unsafe { leave(stay, enclave, context, labels, exception) }
        }
    }
}

/// An asynchronous exit: saves the enclave's registers and goes back to the host.
///
/// # Safety
/// As [`play`].
unsafe fn leave(
    stay: &Frame,
    enclave: &Enclave,
    context: &mut libc::ucontext_t,
    labels: &Labels,
    exception: Exception,
) {
    let rip = register(context, libc::REG_RIP) as usize;
    let inside = enclave.memory.contains(rip);
    enclave.machine.ask(&Event::Aex {
        vector: exception.vector,
        rip: inside.then(|| (rip - enclave.memory.base()) as u64),
    });
    count(&enclave.machine.counters.aexs);
    // SAFETY: FSGSBASE was checked; `stay.thread` belongs to `enclave`; the rest as the caller promises.
    unsafe {
        let gs = read_gs();
        ssa::save(enclave, &*stay.thread, context, exception, gs);
        out(stay, context, labels, exception);
    }
}

/// Back to the host's entry code, with the synthetic register state of an asynchronous exit.
///
/// # Safety
/// As [`play`].
unsafe fn out(stay: &Frame, context: &mut libc::ucontext_t, labels: &Labels, exception: Exception) {
    for register in [
        libc::REG_RDX,
        libc::REG_RSI,
        libc::REG_RDI,
        libc::REG_R8,
        libc::REG_R9,
        libc::REG_R10,
        libc::REG_R11,
        libc::REG_R12,
        libc::REG_R13,
        libc::REG_R14,
        libc::REG_R15,
    ] {
        set(context, register, 0);
    }
    let (rsp, rbp) = stay.host_stack();
    set(context, libc::REG_RSP, rsp);
    set(context, libc::REG_RBP, rbp);
    set(context, libc::REG_RIP, labels.aex as u64);
    set(context, libc::REG_RAX, ERESUME.into());
    set(context, libc::REG_RBX, stay.tcs());
    set(context, libc::REG_RCX, labels.aex as u64);
    set(context, libc::REG_EFL, FLAGS_FIXED);
    // SAFETY: FSGSBASE was checked; the run structure is the caller's of the entry code, which has not
    // returned; the rest as the caller promises.
    unsafe {
        ssa::clear_float(context);
        write_gs(stay.host_gs());
        (*stay.run).faulted(
            exception.vector,
            exception.error_code,
            exception.address & !0xfff,
        );
        stay.leave();
    }
}

/// What the CPU raised, as far as the kernel tells it.
fn exception(signal: i32, context: &mut libc::ucontext_t) -> Exception {
    if signal == libc::SIGSYS {
        // A SYSCALL inside: hardware raises #UD at the instruction, the kernel stands behind it (2 bytes).
        let rip = register(context, libc::REG_RIP);
        set(context, libc::REG_RIP, rip.wrapping_sub(2));
        return Exception {
            vector: INVALID_OPCODE,
            error_code: 0,
            address: 0,
        };
    }
    let vector = register(context, libc::REG_TRAPNO) as u8;
    Exception {
        vector,
        error_code: register(context, libc::REG_ERR) as u16,
        address: match vector {
            PAGE_FAULT => register(context, libc::REG_CR2),
            _ => 0,
        },
    }
}

/// Hands a signal to what handled it before.
fn before(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let index = FAULTS.iter().position(|f| *f == signal);
    let old = index.and_then(|i| BEFORE.get().and_then(|b| b.get(i)));
    let Some(old) = old else { return };
    // SAFETY: a handler that was installed for this signal is called as the kernel would call it. With
    // no handler the default is put back: a fault then happens again and ends the process, and a signal
    // that was sent is raised again.
    unsafe {
        let sent = (*info).si_code <= 0;
        match old.sa_sigaction {
            libc::SIG_IGN if sent => {}
            libc::SIG_DFL | libc::SIG_IGN => {
                libc::sigaction(signal, &default_action(), ptr::null_mut());
                if sent {
                    libc::raise(signal);
                }
            }
            handler if old.sa_flags & libc::SA_SIGINFO != 0 => {
                type Handler = extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);
                let handler: Handler = std::mem::transmute(handler);
                handler(signal, info, context);
            }
            handler => {
                let handler: extern "C" fn(i32) = std::mem::transmute(handler);
                handler(signal);
            }
        }
    }
}

fn register(context: &libc::ucontext_t, register: i32) -> u64 {
    context.uc_mcontext.gregs[register as usize] as u64
}

fn set(context: &mut libc::ucontext_t, register: i32, value: u64) {
    context.uc_mcontext.gregs[register as usize] = value as i64;
}

/// # Safety
/// The kernel must allow RDGSBASE.
unsafe fn read_gs() -> u64 {
    let gs: u64;
    // SAFETY: reads a register, as the caller allows.
    unsafe { asm!("rdgsbase {}", out(reg) gs, options(nomem, nostack, preserves_flags)) };
    gs
}

/// # Safety
/// The kernel must allow WRGSBASE, and no host code may use GS. The signal frame does not hold the GS
/// base, so what is set here is what the interrupted code finds.
unsafe fn write_gs(gs: u64) {
    // SAFETY: as the caller promises. Only a non-canonical base faults: the host's own and an enclave's
    // addresses are canonical, and `ssa::restore` checks the one from a frame.
    unsafe { asm!("wrgsbase {}", in(reg) gs, options(nomem, nostack, preserves_flags)) };
}
