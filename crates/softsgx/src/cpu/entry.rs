//! The border: `__vdso_sgx_enter_enclave` of our own, with the calling convention of the kernel's
//! (`arch/x86/include/uapi/asm/sgx.h`), and what happens on the way in.

use std::arch::{asm, global_asm};
use std::mem::offset_of;
use std::os::raw::c_void;
use std::ptr;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use super::{Enclave, Entry, TABLE, Tcs, Thread, ssa, thread};
use crate::device::Mode;
use crate::hook::{Action, Event, count};
use crate::image::page_flags;

const EENTER: u32 = 2;
pub(super) const ERESUME: u32 = 3;
pub(super) const EEXIT: u32 = 4;

/// `struct sgx_enclave_run` of the kernel's interface.
#[repr(C)]
pub(super) struct Run {
    tcs: u64,
    pub function: u32,
    pub vector: u16,
    pub error_code: u16,
    pub address: u64,
    user_handler: u64,
    user_data: u64,
    reserved: [u64; 27],
}

/// What one stay in an enclave needs to come back. It lies in the stack frame of the entry code.
#[repr(C)]
pub(super) struct Frame {
    host_rsp: u64,
    host_rbp: u64,
    host_gs: u64,
    enclave_gs: u64,
    oentry: u64,
    tcs: u64,
    cssa: u64,
    /// 0: jump in. 2 or 3: execute ENCLU with this leaf and let it trap.
    pub trap: u64,
    slot: *mut *mut Frame,
    previous: *mut Frame,
    busy: *const AtomicU32,
    exits: *const AtomicU64,
    pub run: *mut Run,
    pub thread: *const Thread,
    pub enclave: *const Enclave,
    pad: u64,
}

/// Answers of [`softsgx_prepare`] beside 0 (go) and negative error numbers.
const REPORTED: i32 = 1;
const NOT_OURS: i32 = 2;

/// The kernel's own `__vdso_sgx_enter_enclave`, for enclaves on real hardware in the same process.
static KERNEL_ENTRY: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

unsafe extern "C" {
    fn __vdso_sgx_enter_enclave();
    static softsgx_enclu: u8;
    static softsgx_left: u8;
    static softsgx_aex: u8;
    static softsgx_code_end: u8;
}

// The frame is 128 bytes, above it lie RCX, R10, R9, R8, RDX, RSI, RDI, R15 to R12 and RBX, then the
// caller's RBP where RBP points. 12 pushes after RBP keep the stack aligned to 16.
global_asm!(
    ".text",
    ".p2align 4",
    ".globl __vdso_sgx_enter_enclave",
    ".type __vdso_sgx_enter_enclave, @function",
    "__vdso_sgx_enter_enclave:",
    "push rbp",
    "mov rbp, rsp",
    "push rbx",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "push rdi",
    "push rsi",
    "push rdx",
    "push r8",
    "push r9",
    "push r10",
    "push rcx",
    "sub rsp, 128",
    "mov rdi, [rbp + 16]",
    "mov esi, ecx",
    "mov rdx, rsp",
    "call {prepare}",
    "test eax, eax",
    "jnz 5f",
    "mov [rsp + {host_rsp}], rsp",
    "mov [rsp + {host_rbp}], rbp",
    "rdgsbase rax",
    "mov [rsp + {host_gs}], rax",
    "mov r10, [rsp + 136]",
    "mov r9, [rsp + 144]",
    "mov r8, [rsp + 152]",
    "mov rdx, [rsp + 160]",
    "mov rsi, [rsp + 168]",
    "mov rdi, [rsp + 176]",
    "mov rbx, [rsp + {tcs}]",
    // EENTER leaves the address after it in RCX: the enclave's EEXIT goes there.
    "lea rcx, [rip + softsgx_left]",
    "mov eax, [rsp + {trap}]",
    "test eax, eax",
    "jnz 3f",
    "mov rax, [rsp + {enclave_gs}]",
    "wrgsbase rax",
    "mov rax, [rsp + {cssa}]",
    "jmp qword ptr [rsp + {oentry}]",
    "3:",
    ".globl softsgx_enclu",
    ".hidden softsgx_enclu",
    "softsgx_enclu:",
    ".byte 0x0f, 0x01, 0xd7",
    ".globl softsgx_left",
    ".hidden softsgx_left",
    "softsgx_left:",
    "mov rax, [rsp + {host_gs}]",
    "wrgsbase rax",
    "mov rax, [rsp + {slot}]",
    "mov rbx, [rsp + {previous}]",
    "mov [rax], rbx",
    "mov rax, [rsp + {busy}]",
    "mov dword ptr [rax], 0",
    "mov rax, [rsp + {exits}]",
    "lock inc qword ptr [rax]",
    "mov rax, [rsp + {run}]",
    "mov dword ptr [rax + {function}], 4",
    "xor eax, eax",
    "4:",
    "lea rsp, [rbp - 40]",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbx",
    "pop rbp",
    "ret",
    // The handler has put everything back and filled in the run structure.
    ".globl softsgx_aex",
    ".hidden softsgx_aex",
    "softsgx_aex:",
    "xor eax, eax",
    "jmp 4b",
    "5:",
    "cmp eax, {not_ours}",
    "je 6f",
    "cmp eax, {reported}",
    "jne 4b",
    "xor eax, eax",
    "jmp 4b",
    "6:",
    "mov rcx, [rsp + 128]",
    "mov r10, [rsp + 136]",
    "mov r9, [rsp + 144]",
    "mov r8, [rsp + 152]",
    "mov rdx, [rsp + 160]",
    "mov rsi, [rsp + 168]",
    "mov rdi, [rsp + 176]",
    "mov rax, [rip + {kernel}]",
    "lea rsp, [rbp - 40]",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbx",
    "pop rbp",
    "jmp rax",
    ".globl softsgx_code_end",
    ".hidden softsgx_code_end",
    "softsgx_code_end:",
    ".size __vdso_sgx_enter_enclave, . - __vdso_sgx_enter_enclave",
    prepare = sym softsgx_prepare,
    kernel = sym KERNEL_ENTRY,
    host_rsp = const offset_of!(Frame, host_rsp),
    host_rbp = const offset_of!(Frame, host_rbp),
    host_gs = const offset_of!(Frame, host_gs),
    enclave_gs = const offset_of!(Frame, enclave_gs),
    oentry = const offset_of!(Frame, oentry),
    tcs = const offset_of!(Frame, tcs),
    cssa = const offset_of!(Frame, cssa),
    trap = const offset_of!(Frame, trap),
    slot = const offset_of!(Frame, slot),
    previous = const offset_of!(Frame, previous),
    busy = const offset_of!(Frame, busy),
    exits = const offset_of!(Frame, exits),
    run = const offset_of!(Frame, run),
    function = const offset_of!(Run, function),
    not_ours = const NOT_OURS,
    reported = const REPORTED,
);

const _: () = assert!(size_of::<Frame>() == 128 && size_of::<Run>() == 256);

/// Addresses in the entry code that the signal handler knows.
pub(super) struct Labels {
    pub enclu: usize,
    pub left: usize,
    pub aex: usize,
    start: usize,
    end: usize,
}

impl Labels {
    pub fn get() -> Self {
        Self {
            enclu: &raw const softsgx_enclu as usize,
            left: &raw const softsgx_left as usize,
            aex: &raw const softsgx_aex as usize,
            start: __vdso_sgx_enter_enclave as *const () as usize,
            end: &raw const softsgx_code_end as usize,
        }
    }

    /// Whether an address lies in the entry code.
    pub fn contain(&self, address: usize) -> bool {
        (self.start..self.end).contains(&address)
    }
}

/// Makes sure that our entry is linked in place of the runner's weak reference, and finds the kernel's.
pub(super) fn link() {
    std::hint::black_box(__vdso_sgx_enter_enclave as *const ());
    if KERNEL_ENTRY.load(Ordering::Relaxed).is_null() {
        // SAFETY: both names are C strings; RTLD_NOLOAD loads nothing; the vDSO is never unmapped.
        let entry = unsafe {
            let flags = libc::RTLD_LAZY | libc::RTLD_NOLOAD;
            let vdso = libc::dlopen(c"linux-vdso.so.1".as_ptr(), flags);
            match vdso.is_null() {
                true => ptr::null_mut(),
                false => libc::dlsym(vdso, c"__vdso_sgx_enter_enclave".as_ptr()),
            }
        };
        // dlsym may answer with our own symbol; jumping to that would never end.
        if !ptr::eq(entry, __vdso_sgx_enter_enclave as *const c_void) {
            KERNEL_ENTRY.store(entry, Ordering::Relaxed);
        }
    }
}

/// The checks of EENTER and ERESUME; fills in the frame. Returns 0 to go on.
extern "C" fn softsgx_prepare(run: *mut Run, function: u32, frame: *mut Frame) -> i32 {
    // SAFETY: the caller of `__vdso_sgx_enter_enclave` passes a valid `sgx_enclave_run`, as the kernel's
    // interface demands, and leaves it alone until that returns.
    let request = unsafe { &mut *run };
    let table = TABLE.read().unwrap_or_else(PoisonError::into_inner);
    let Some(&Entry { enclave, thread }) = table.get(&(request.tcs as usize)) else {
        return match KERNEL_ENTRY.load(Ordering::Relaxed).is_null() {
            true => -libc::EINVAL,
            false => NOT_OURS,
        };
    };
    // SAFETY: an entry's pointers are valid while the table is locked, and after that as long as the
    // thread is busy, which it is made below before the lock is let go.
    let (owner, tcs) = unsafe { (&*enclave, &*thread) };
    // A user handler would be called on the enclave's exit; nobody has asked for that yet.
    let plain = request.user_handler == 0 && request.reserved.iter().all(|r| *r == 0);
    if !plain || !matches!(function, EENTER | ERESUME) {
        return -libc::EINVAL;
    }
    let fault = |request: &mut Run, vector: u8| {
        request.function = function;
        request.vector = vector.into();
        request.error_code = 0;
        request.address = 0;
        REPORTED
    };
    if tcs
        .busy
        .compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed)
        .is_err()
    {
        return fault(request, 13);
    }
    drop(table);
    let refuse = |request: &mut Run, vector| {
        tcs.busy.store(0, Ordering::Release);
        fault(request, vector)
    };
    let event = match function {
        EENTER => Event::Enter { tcs: tcs.address },
        _ => Event::Resume { tcs: tcs.address },
    };
    if let Action::Fault(vector) = owner.machine.ask(&event) {
        return refuse(request, vector);
    }
    let cssa = tcs.cssa.load(Ordering::Relaxed);
    let used = match function {
        EENTER if cssa < tcs.fields.nssa => cssa,
        ERESUME if cssa > 0 => cssa - 1,
        _ => return refuse(request, 13),
    };
    let ssa = ssa::frame_address(owner, tcs, used);
    if !owner
        .memory
        .allows(ssa, owner.ssa_frame, page_flags::R | page_flags::W)
    {
        return refuse(request, 14);
    }
    let slot = match thread::prepare(owner) {
        Ok(slot) => slot,
        Err(errno) => {
            tcs.busy.store(0, Ordering::Release);
            return -errno;
        }
    };
    let counters = &owner.machine.counters;
    let base = owner.memory.base() as u64;
    // SAFETY: `frame` is the entry code's own 128 bytes on this thread's stack.
    unsafe {
        frame.write(Frame {
            host_rsp: 0,
            host_rbp: 0,
            host_gs: 0,
            enclave_gs: base + tcs.fields.ogsbase,
            oentry: base + tcs.fields.oentry,
            tcs: tcs.address as u64,
            cssa: cssa.into(),
            trap: match (function, owner.machine.mode) {
                (EENTER, Mode::Direct | Mode::Patched) => 0,
                _ => function.into(),
            },
            slot,
            previous: *slot,
            busy: &tcs.busy,
            exits: &counters.exits,
            run,
            thread,
            enclave,
            pad: 0,
        });
        *slot = frame;
    }
    if function == EENTER {
        // The frame is 128 bytes, with 12 saved registers between it and the caller's RBP.
        ssa::note_host_stack(owner, tcs, cssa, frame as u64, frame as u64 + 128 + 96);
        count(&counters.enters);
    } else {
        count(&counters.resumes);
    }
    0
}

impl Frame {
    /// The state of EENTER: where to go, with what in RAX.
    pub fn entering(&self) -> Entering {
        Entering {
            rip: self.oentry,
            rax: self.cssa,
        }
    }

    pub fn enclave_gs(&self) -> u64 {
        self.enclave_gs
    }

    pub fn host_gs(&self) -> u64 {
        self.host_gs
    }

    pub fn host_stack(&self) -> (u64, u64) {
        (self.host_rsp, self.host_rbp)
    }

    pub fn tcs(&self) -> u64 {
        self.tcs
    }

    /// The thread is out: forgets this stay.
    ///
    /// # Safety
    /// `self` is the frame of the calling thread's current stay.
    pub unsafe fn leave(&self) {
        // SAFETY: `slot` is the calling thread's own cell, and `busy` belongs to the enclave, which the
        // busy thread has kept alive until here.
        unsafe {
            *self.slot = self.previous;
            (*self.busy).store(0, Ordering::Release);
        }
    }
}

/// See [`Frame::entering`].
pub(super) struct Entering {
    pub rip: u64,
    pub rax: u64,
}

/// The registers that pass the enclave's border unchanged, both ways.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Registers {
    /// RDI.
    pub rdi: u64,
    /// RSI.
    pub rsi: u64,
    /// RDX.
    pub rdx: u64,
    /// R8.
    pub r8: u64,
    /// R9.
    pub r9: u64,
    /// Enter by ERESUME in place of EENTER.
    pub resume: bool,
}

/// How a thread came out of an enclave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// By EEXIT, with these registers.
    Exited(Registers),
    /// By a fault inside; ERESUME goes back to it. An ERESUME that itself raised an exception looks the
    /// same, here and in the kernel's interface.
    Faulted {
        /// The exception's vector.
        vector: u8,
        /// Its error code.
        error_code: u16,
        /// The page of a page fault (its low 12 bits are never shown).
        address: u64,
    },
    /// EENTER itself raised an exception; the thread was not inside.
    Refused {
        /// The exception's vector.
        vector: u8,
    },
    /// The call was wrong, or the thread could not be prepared.
    Failed {
        /// errno.
        errno: i32,
    },
}

/// Enters an enclave once, as a runner does.
///
/// # Safety
/// The enclave's code runs with every right of this process: it must not touch memory that is not its own
/// or that the registers do not hand to it, and it must come back as EEXIT does, with the stack pointer and
/// the base pointer that it was entered with.
pub unsafe fn enter(tcs: &Tcs, registers: &Registers) -> Exit {
    let mut run = Run {
        tcs: tcs.address as u64,
        function: 0,
        vector: 0,
        error_code: 0,
        address: 0,
        user_handler: 0,
        user_data: 0,
        reserved: [0; 27],
    };
    let mut out = *registers;
    let function = if registers.resume { ERESUME } else { EENTER };
    let errno: i32;
    // SAFETY: the call follows the kernel's interface: the run structure as the one stack argument, all
    // registers but RBX, RBP and RSP given up. What the enclave itself does is the caller's promise.
    unsafe {
        asm!(
            "sub rsp, 8",
            "push {run}",
            "call {entry}",
            "add rsp, 16",
            run = in(reg) &raw mut run,
            entry = sym __vdso_sgx_enter_enclave,
            lateout("eax") errno,
            inout("rcx") u64::from(function) => _,
            inout("rdi") out.rdi,
            inout("rsi") out.rsi,
            inout("rdx") out.rdx,
            inout("r8") out.r8,
            inout("r9") out.r9,
            clobber_abi("C"),
        );
    }
    let vector = run.vector as u8;
    match run.function {
        _ if errno != 0 => Exit::Failed { errno: -errno },
        EEXIT => Exit::Exited(out),
        ERESUME => Exit::Faulted {
            vector,
            error_code: run.error_code,
            address: run.address,
        },
        _ => Exit::Refused { vector },
    }
}

impl Run {
    /// Reports an asynchronous exit, as the kernel's entry does.
    pub fn faulted(&mut self, vector: u8, error_code: u16, address: u64) {
        self.function = ERESUME;
        self.vector = vector.into();
        self.error_code = error_code;
        self.address = address;
    }
}
