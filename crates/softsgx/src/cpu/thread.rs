//! What each thread of the host carries: the stay that it is in, its signal stack, and in strict mode the
//! range whose system calls fault.

use std::cell::{Cell, RefCell};
use std::ptr;

use super::Enclave;
use super::entry::Frame;
use crate::device::Error;

/// Bytes of a signal stack beside the kernel's own frame: room for a leaf and for a hook.
const STACK_LEN: usize = 128 * 1024;
const GUARD_LEN: usize = 4096;

/// PR_SET_SYSCALL_USER_DISPATCH and its modes (`include/uapi/linux/prctl.h`).
const SET_DISPATCH: i32 = 59;
const DISPATCH_OFF: usize = 0;
const DISPATCH_INSIDE: usize = 2;

thread_local! {
    /// The stay that this thread is in; null outside. Const-made and without a destructor, so that the
    /// signal handler may read it on any thread at any time.
    static CURRENT: Cell<*mut Frame> = const { Cell::new(ptr::null_mut()) };
    static STATE: RefCell<State> = const { RefCell::new(State { stack: None, armed: 0 }) };
}

struct State {
    stack: Option<SignalStack>,
    /// Base of the enclave whose system calls fault on this thread.
    armed: usize,
}

/// This thread's stay in an enclave, or null.
pub(super) fn current() -> *mut Frame {
    CURRENT.get()
}

/// Makes the calling thread ready to enter; the place of its current stay, or errno.
pub(super) fn prepare(enclave: &Enclave) -> Result<*mut *mut Frame, i32> {
    // A thread whose locals are being destroyed cannot enter any more.
    let ready = STATE.try_with(|state| -> Result<(), i32> {
        let mut state = state.try_borrow_mut().map_err(|_| libc::EBUSY)?;
        if state.stack.is_none() {
            unblock_faults();
            state.stack = Some(SignalStack::install()?);
        }
        let base = enclave.memory.base();
        if enclave.machine.strict && state.armed != base {
            dispatch(DISPATCH_INSIDE, base, enclave.memory.size())
                .map_err(|e| e.raw_os_error().unwrap_or(libc::EIO))?;
            state.armed = base;
        }
        Ok(())
    });
    ready.map_err(|_| libc::ESRCH)??;
    Ok(CURRENT.with(Cell::as_ptr))
}

/// Whether the kernel knows inclusive syscall user dispatch.
pub(super) fn check_strict() -> Result<(), Error> {
    // Any range does that holds no code: nothing can be dispatched from a page that is not mapped.
    let tried =
        dispatch(DISPATCH_INSIDE, 0x1000, 0x1000).and_then(|()| dispatch(DISPATCH_OFF, 0, 0));
    tried.map_err(|error| Error::NoStrict { error })
}

fn dispatch(mode: usize, base: usize, len: usize) -> std::io::Result<()> {
    // SAFETY: no selector byte is passed; the range is an enclave's (or empty of code), so no system call
    // of the host is affected. The arguments are passed in full width, as prctl reads them.
    match unsafe { libc::prctl(SET_DISPATCH, mode, base, len, 0usize) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// A fault signal that is blocked when it is raised kills the process.
fn unblock_faults() {
    // SAFETY: the set is initialised by sigemptyset before it is used.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in super::signal::FAULTS {
            libc::sigaddset(&mut set, signal);
        }
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, ptr::null_mut());
    }
}

/// Whether an address lies on the signal stack of the calling thread.
pub(super) fn on_signal_stack(address: usize) -> bool {
    let range = STATE.try_with(|s| {
        s.try_borrow()
            .ok()
            .and_then(|s| s.stack.as_ref().map(SignalStack::range))
    });
    range.ok().flatten().is_some_and(|r| r.contains(&address))
}

/// A signal stack of our own. The handlers must not run on the enclave's stack: it may be used up, or be
/// any address at all.
struct SignalStack {
    start: usize,
    len: usize,
}

impl SignalStack {
    fn install() -> Result<Self, i32> {
        // SAFETY: reads a table of the kernel. A frame takes 12 KiB where the CPU has AMX.
        let frame = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) } as usize;
        let len = (GUARD_LEN + STACK_LEN + frame).next_multiple_of(4096);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        let errno = || {
            std::io::Error::last_os_error()
                .raw_os_error()
                .unwrap_or(libc::ENOMEM)
        };
        // SAFETY: a new mapping, whose lowest page becomes a guard; it becomes this thread's signal stack
        // and is unmapped only when that is switched off (`drop`).
        unsafe {
            let start = libc::mmap(ptr::null_mut(), len, rights, flags, -1, 0);
            if start == libc::MAP_FAILED {
                return Err(errno());
            }
            let stack = Self {
                start: start as usize,
                len,
            };
            libc::mprotect(start, GUARD_LEN, libc::PROT_NONE);
            let usable = libc::stack_t {
                ss_sp: (stack.start + GUARD_LEN) as *mut libc::c_void,
                ss_flags: 0,
                ss_size: len - GUARD_LEN,
            };
            match libc::sigaltstack(&usable, ptr::null_mut()) {
                0 => Ok(stack),
                _ => Err(errno()),
            }
        }
    }

    fn range(&self) -> std::ops::Range<usize> {
        self.start..self.start + self.len
    }
}

impl Drop for SignalStack {
    fn drop(&mut self) {
        // The stack that the thread had before is not put back: its owner may have unmapped it by now.
        // SAFETY: switches the stack off only if it is still ours; then nothing can run on it any more,
        // and this code does not, because it runs as a destructor of the thread.
        unsafe {
            let mut now: libc::stack_t = std::mem::zeroed();
            libc::sigaltstack(ptr::null(), &mut now);
            if self.range().contains(&(now.ss_sp as usize)) {
                now.ss_flags = libc::SS_DISABLE;
                libc::sigaltstack(&now, ptr::null_mut());
            }
            libc::munmap(self.start as *mut libc::c_void, self.len);
        }
    }
}
