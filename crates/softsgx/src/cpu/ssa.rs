//! The state save area: where an asynchronous exit puts the enclave's registers, and where ERESUME and
//! the enclave's own handler find them (Intel SDM vol. 3D, "State Save Area (SSA) Frame").

use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
use std::ptr;
use std::sync::atomic::Ordering;

use super::{Enclave, Thread};
use crate::device::Error;
use crate::image::PAGE;
use crate::structs::Identity;

/// Length of GPRSGX, at the end of a frame, in bytes.
const GPR_LEN: usize = 184;
/// Length of EXINFO, before GPRSGX, if MISCSELECT asks for it, in bytes.
const EXINFO_LEN: usize = 16;
/// Length of the XSAVE area that every XFRM has: the FXSAVE area and the header, in bytes.
const XSAVE_LEN: usize = 576;
/// The XSAVE area's part that belongs to the kernel in a signal frame.
const SOFTWARE_BYTES: std::ops::Range<usize> = 464..512;

/// Offsets in GPRSGX: registers in the order of their numbers, then these.
const RFLAGS: usize = 128;
const RIP: usize = 136;
const URSP: usize = 144;
const URBP: usize = 152;
const EXITINFO: usize = 160;
const GSBASE: usize = 176;

/// The general registers in the order of GPRSGX: RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15.
const ORDER: [i32; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
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
];
/// Flags that a program may set: what ERESUME takes from the frame.
const USER_FLAGS: u64 = 0x0024_4dd5;
/// Bit 1 of RFLAGS, always set, and IF.
pub(super) const FLAGS_FIXED: u64 = 0x202;

/// What raised an asynchronous exit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exception {
    pub vector: u8,
    pub error_code: u16,
    pub address: u64,
}

/// Checks XFRM against this CPU, and SSAFRAMESIZE against XFRM, as ECREATE does.
pub(super) fn check_frame(identity: &Identity, pages: u32) -> Result<(), Error> {
    let xfrm = identity.attributes.xfrm;
    let osxsave = __cpuid(1).ecx & (1 << 27) != 0;
    let xcr0 = match osxsave {
        // SAFETY: OSXSAVE says that XGETBV may be executed.
        true => unsafe { xcr0() },
        false => 3,
    };
    if xfrm & !xcr0 != 0 {
        return Err(Error::Xfrm { xfrm, xcr0 });
    }
    let component = |bit: u32| match xfrm >> bit & 1 {
        0 => 0,
        _ => {
            let leaf = __cpuid_count(0xd, bit);
            u64::from(leaf.ebx) + u64::from(leaf.eax)
        }
    };
    let xsave = (2..63)
        .map(component)
        .max()
        .unwrap_or(0)
        .max(XSAVE_LEN as u64);
    let needed = xsave + (GPR_LEN + misc_len(identity)) as u64;
    match needed <= u64::from(pages) * PAGE {
        true => Ok(()),
        false => Err(Error::SsaFrame {
            pages,
            xfrm,
            needed,
        }),
    }
}

/// # Safety
/// CPUID must say OSXSAVE.
#[target_feature(enable = "xsave")]
unsafe fn xcr0() -> u64 {
    // SAFETY: as the caller promises.
    unsafe { _xgetbv(0) }
}

fn misc_len(identity: &Identity) -> usize {
    match identity.misc_select & 1 {
        0 => 0,
        _ => EXINFO_LEN,
    }
}

/// Where a frame of a thread starts.
pub(super) fn frame_address(enclave: &Enclave, thread: &Thread, index: u32) -> usize {
    enclave.memory.base() + thread.fields.ossa as usize + index as usize * enclave.ssa_frame
}

fn gpr_address(enclave: &Enclave, thread: &Thread, index: u32) -> usize {
    frame_address(enclave, thread, index) + enclave.ssa_frame - GPR_LEN
}

/// EENTER notes the host's stack in the frame that an exit would use.
pub(super) fn note_host_stack(enclave: &Enclave, thread: &Thread, index: u32, rsp: u64, rbp: u64) {
    let gpr = gpr_address(enclave, thread, index);
    enclave.memory.write(gpr + URSP, &rsp.to_le_bytes());
    enclave.memory.write(gpr + URBP, &rbp.to_le_bytes());
}

/// An asynchronous exit: the registers go into the current frame, and CSSA goes up.
///
/// # Safety
/// `context` is the signal frame of the thread that is inside at `thread`.
pub(super) unsafe fn save(
    enclave: &Enclave,
    thread: &Thread,
    context: &libc::ucontext_t,
    exception: Exception,
    gs: u64,
) {
    let index = thread.cssa.load(Ordering::Relaxed);
    let frame = frame_address(enclave, thread, index);
    let gpr = gpr_address(enclave, thread, index);
    let registers = &context.uc_mcontext.gregs;
    let mut out = [0u8; GPR_LEN];
    let put = |out: &mut [u8; GPR_LEN], at: usize, value: i64| {
        out.iter_mut()
            .skip(at)
            .zip(value.to_le_bytes())
            .for_each(|(o, b)| *o = b);
    };
    for (i, register) in ORDER.iter().enumerate() {
        put(&mut out, i * 8, registers[*register as usize]);
    }
    put(&mut out, RFLAGS, registers[libc::REG_EFL as usize]);
    put(&mut out, RIP, registers[libc::REG_RIP as usize]);
    put(
        &mut out,
        EXITINFO,
        i64::from(exit_info(exception.vector, enclave.identity.misc_select)),
    );
    put(&mut out, GSBASE, gs as i64);
    // URSP and URBP stay as EENTER wrote them.
    enclave.memory.write(gpr, &out[..URSP]);
    enclave.memory.write(gpr + EXITINFO, &out[EXITINFO..]);
    if misc_len(&enclave.identity) > 0 && matches!(exception.vector, 13 | 14) {
        let mut info = [0u8; EXINFO_LEN];
        info[..8].copy_from_slice(&exception.address.to_le_bytes());
        info[8..12].copy_from_slice(&u32::from(exception.error_code).to_le_bytes());
        enclave.memory.write(gpr - EXINFO_LEN, &info);
    }
    if !context.uc_mcontext.fpregs.is_null() {
        let mut area = [0u8; XSAVE_LEN];
        // SAFETY: `fpregs` points to the XSAVE area that the kernel wrote into this signal frame; it has
        // at least the FXSAVE area and, on every CPU with XSAVE, the header.
        unsafe {
            let from = context.uc_mcontext.fpregs.cast::<u8>();
            ptr::copy_nonoverlapping(from, area.as_mut_ptr(), xsave_len(from));
        }
        area[SOFTWARE_BYTES].fill(0);
        enclave.memory.write(frame, &area);
    }
    thread.cssa.store(index + 1, Ordering::Relaxed);
}

/// ERESUME: the registers of the last frame go back into the signal frame, and CSSA goes down. Returns GS.
///
/// # Safety
/// `context` is the signal frame of the calling thread, which is entering at `thread` and has a frame.
pub(super) unsafe fn restore(
    enclave: &Enclave,
    thread: &Thread,
    context: &mut libc::ucontext_t,
) -> Option<u64> {
    let index = thread.cssa.load(Ordering::Relaxed).checked_sub(1)?;
    let gpr: [u8; GPR_LEN] = enclave.memory.read(gpr_address(enclave, thread, index))?;
    let get = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&gpr[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    // WRGSBASE faults on an address that is not canonical; a program's half ends at 2^47.
    let gs = Some(get(GSBASE)).filter(|gs| *gs < 1 << 47)?;
    let registers = &mut context.uc_mcontext.gregs;
    for (i, register) in ORDER.iter().enumerate() {
        registers[*register as usize] = get(i * 8) as i64;
    }
    registers[libc::REG_EFL as usize] = (get(RFLAGS) & USER_FLAGS | FLAGS_FIXED) as i64;
    registers[libc::REG_RIP as usize] = get(RIP) as i64;
    if !context.uc_mcontext.fpregs.is_null() {
        let mut area: [u8; XSAVE_LEN] =
            enclave.memory.read(frame_address(enclave, thread, index))?;
        // Reserved bits of MXCSR would make the kernel refuse the frame.
        area[26..28].fill(0);
        // SAFETY: `fpregs` points to the XSAVE area of this signal frame, at least a FXSAVE area long.
        // The kernel's own bytes and the header stay: they say which components the frame has.
        unsafe {
            let to = context.uc_mcontext.fpregs.cast::<u8>();
            ptr::copy_nonoverlapping(area.as_ptr(), to, SOFTWARE_BYTES.start);
        }
    }
    thread.cssa.store(index, Ordering::Relaxed);
    Some(gs)
}

/// What the enclave's x87 and SSE registers leave behind goes: an exit shows the initial state.
///
/// # Safety
/// `context` is the signal frame of the calling thread.
pub(super) unsafe fn clear_float(context: &mut libc::ucontext_t) {
    let area = context.uc_mcontext.fpregs;
    if !area.is_null() {
        // SAFETY: `fpregs` points to this signal frame's FXSAVE area, which nothing else refers to.
        unsafe {
            let to = area.cast::<u8>();
            ptr::write_bytes(to, 0, SOFTWARE_BYTES.start);
            to.cast::<u16>().write_unaligned(0x37f);
            to.add(24).cast::<u32>().write_unaligned(0x1f80);
        }
    }
}

/// EXITINFO: vector, type and validity. Page faults and #GP are told only with EXINFO.
fn exit_info(vector: u8, misc_select: u32) -> u32 {
    const HARDWARE: u32 = 3;
    const SOFTWARE: u32 = 6;
    let kind = match vector {
        3 => SOFTWARE,
        0 | 1 | 5 | 6 | 16 | 17 | 19 => HARDWARE,
        13 | 14 if misc_select & 1 != 0 => HARDWARE,
        _ => return 0,
    };
    u32::from(vector) | kind << 8 | 1 << 31
}

/// Bytes of XSAVE area that a signal frame certainly has: the kernel marks an extended one (Linux,
/// `struct _fpx_sw_bytes`).
///
/// # Safety
/// `area` points to the FXSAVE area of a signal frame.
unsafe fn xsave_len(area: *const u8) -> usize {
    const MAGIC: u32 = 0x4650_5853;
    // SAFETY: the software bytes lie inside the 512 bytes of the FXSAVE area.
    let magic = unsafe {
        area.add(SOFTWARE_BYTES.start)
            .cast::<u32>()
            .read_unaligned()
    };
    if magic == MAGIC { XSAVE_LEN } else { 512 }
}
