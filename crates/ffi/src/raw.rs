//! The C border: `baton.h` from this side. The only module with unsafe code.
//!
//! The caller is the embedding enclave, which is trusted as far as C can be: lengths, NULL and handles
//! are checked, memory that is not its own is not. What each function promises stands in `baton.h`, and
//! every safety comment here leans on that text. No panic crosses: in an enclave it ends in
//! `baton_cb_abort`, elsewhere an `extern "C"` function that panics aborts the process.

#[cfg(all(target_os = "none", target_env = "sgx"))]
mod heap;
mod table;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::panic::Location;
use core::{ptr, slice, str};

use baton_enclave::shell::Start;

pub use table::MAX_INSTANCES;

use crate::codes::{ABI_VERSION, Code};
use crate::instance::Instance;

unsafe extern "C" {
    fn baton_cb_get_key(request: *const u8, key: *mut u8) -> i32;
    fn baton_cb_report(target_info: *const u8, report_data: *const u8, report: *mut u8) -> i32;
    fn baton_cb_random(out: *mut u8, len: usize) -> i32;
    fn baton_cb_abort(file: *const u8, file_len: usize, line: u32);
}

/// `baton_bytes`: memory that this library made and that `baton_bytes_free` takes back.
#[repr(C)]
pub struct Bytes {
    data: *mut u8,
    len: usize,
}

/// `baton_files`: what the host found on disk.
#[repr(C)]
pub struct Files {
    custody: *const u8,
    custody_len: usize,
    rehearsal: *const u8,
    rehearsal_len: usize,
    seen_custody: u64,
    seen_rehearsal: u64,
    flags: u32,
}

/// `BATON_CUSTODY_ONLY`.
const CUSTODY_ONLY: u32 = 1;

/// EGETKEY: RAX, and the key where it is 0.
pub fn get_key(request: &[u8; 512], key: &mut [u8; 16]) -> i32 {
    // SAFETY: the callback reads 512 bytes and writes 16; both are there, and live until it returns.
    unsafe { baton_cb_get_key(request.as_ptr(), key.as_mut_ptr()) }
}

/// EREPORT.
pub fn report(target_info: &[u8; 512], data: &[u8; 64]) -> Option<[u8; 432]> {
    let mut out = [0; 432];
    // SAFETY: the callback reads 512 and 64 bytes and writes 432; all are there, and live until it returns.
    let result = unsafe { baton_cb_report(target_info.as_ptr(), data.as_ptr(), out.as_mut_ptr()) };
    (result == 0).then_some(out)
}

/// Randomness; false if there is none.
pub fn random(out: &mut [u8]) -> bool {
    // SAFETY: the callback writes exactly `len` bytes, which `out` has.
    unsafe { baton_cb_random(out.as_mut_ptr(), out.len()) == 0 }
}

/// Stops the embedding enclave. Nothing is lost by it: what counts is in sealed files.
#[track_caller]
pub fn abort() -> ! {
    stop_at(Location::caller())
}

fn stop_at(at: &Location<'_>) -> ! {
    // Where, never what: a panic's text may hold what the code was working on.
    let file = at.file();
    // SAFETY: the callback reads `file_len` bytes, which are there.
    unsafe { baton_cb_abort(file.as_ptr(), file.len(), at.line()) };
    trap()
}

/// For a callback that returned although it must not.
fn trap() -> ! {
    #[cfg(all(target_os = "none", target_env = "sgx"))]
    // SAFETY: UD2 raises #UD and touches no memory.
    unsafe {
        core::arch::asm!("ud2", options(noreturn, nostack, nomem))
    }
    #[cfg(not(all(target_os = "none", target_env = "sgx")))]
    std::process::abort()
}

/// What a caller's pointer and length name.
///
/// # Safety
/// Unless NULL, `data` must be readable for `len` bytes, and nobody may change them while `'a` lasts.
unsafe fn bytes<'a>(data: *const u8, len: usize) -> Option<&'a [u8]> {
    if len == 0 {
        return Some(&[]);
    }
    let fits = isize::try_from(len).is_ok() && data.addr().checked_add(len).is_some();
    if data.is_null() || !fits {
        return None;
    }
    // SAFETY: not NULL, of a length that fits, without wrapping around; the rest is the caller's promise.
    Some(unsafe { slice::from_raw_parts(data, len) })
}

/// The same for a file that may be missing.
///
/// # Safety
/// As [`bytes`].
unsafe fn file<'a>(data: *const u8, len: usize) -> Option<Option<&'a [u8]>> {
    if data.is_null() {
        return (len == 0).then_some(None);
    }
    // SAFETY: the caller's promise is passed on.
    unsafe { bytes(data, len) }.map(Some)
}

/// Writes a result; false if there is no place for it.
///
/// # Safety
/// Unless NULL, `out` must be writable for a `T`, which no Rust value of ours lies in.
unsafe fn put<T>(out: *mut T, value: T) -> bool {
    if out.is_null() || !out.is_aligned() {
        return false;
    }
    // SAFETY: neither NULL nor misaligned; the rest is the caller's promise. Nothing is dropped there: it may be uninitialized.
    unsafe { out.write(value) };
    true
}

impl Files {
    /// Nothing on disk.
    #[cfg(test)]
    pub fn none() -> Self {
        Files {
            custody: ptr::null(),
            custody_len: 0,
            rehearsal: ptr::null(),
            rehearsal_len: 0,
            seen_custody: 0,
            seen_rehearsal: 0,
            flags: 0,
        }
    }
}

impl Bytes {
    /// What every function writes first.
    pub const EMPTY: Bytes = Bytes { data: ptr::null_mut(), len: 0 };

    fn new(bytes: Vec<u8>) -> Self {
        if bytes.is_empty() {
            return Bytes::EMPTY;
        }
        let bytes = Box::leak(bytes.into_boxed_slice());
        Bytes { data: bytes.as_mut_ptr(), len: bytes.len() }
    }

    /// The bytes, copied.
    #[cfg(test)]
    pub fn copied(&self) -> Vec<u8> {
        // SAFETY: what `new` leaked, or nothing.
        unsafe { bytes(self.data, self.len) }.unwrap_or_default().to_vec()
    }
}

fn int(code: Code) -> i32 {
    code as i32
}

fn result(r: Result<(), Code>) -> i32 {
    r.err().map_or(int(Code::Ok), int)
}

/// See `baton.h`.
#[unsafe(no_mangle)]
pub extern "C" fn baton_abi_version() -> u32 {
    ABI_VERSION
}

/// See `baton.h`.
///
/// # Safety
/// The pointers are what `baton.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn baton_start(
    policy: *const u8,
    policy_len: usize,
    files: *const Files,
    handle: *mut u64,
    why: *mut Bytes,
) -> i32 {
    // SAFETY: `baton.h` asks for writable places, and for bytes that stay as they are during the call.
    unsafe {
        // `why` may be NULL.
        put(why, Bytes::EMPTY);
        if !put(handle, 0) || files.is_null() || !files.is_aligned() {
            return int(Code::Argument);
        }
        let f = files.read();
        let (Some(policy), Some(custody), Some(rehearsal)) =
            (bytes(policy, policy_len), file(f.custody, f.custody_len), file(f.rehearsal, f.rehearsal_len))
        else {
            return int(Code::Argument);
        };
        if f.flags & !CUSTODY_ONLY != 0 {
            return int(Code::Argument);
        }
        let custody_only = f.flags & CUSTODY_ONLY != 0;
        let how = Start { custody, rehearsal, seen: (f.seen_custody, f.seen_rehearsal), custody_only };
        match Instance::start(policy, how) {
            Ok(instance) => running(instance, handle),
            Err(e) => {
                if !why.is_null() {
                    let text = Bytes::new(e.message.into_bytes());
                    put(why, text);
                }
                int(e.code)
            }
        }
    }
}

/// See `baton.h`.
///
/// # Safety
/// The pointers are what `baton.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn baton_open(
    policy: *const u8,
    policy_len: usize,
    opening: *const u8,
    opening_len: usize,
    handle: *mut u64,
    answer: *mut Bytes,
) -> i32 {
    // SAFETY: as in `baton_start`.
    unsafe {
        if !put(answer, Bytes::EMPTY) || !put(handle, 0) {
            return int(Code::Argument);
        }
        let (Some(policy), Some(opening)) = (bytes(policy, policy_len), bytes(opening, opening_len)) else {
            return int(Code::Argument);
        };
        let (text, started) = Instance::open(policy, opening);
        let code = match started {
            Ok(instance) => running(instance, handle),
            Err(code) => int(code),
        };
        // With no room for another instance there is none that "started" could speak of.
        if code != int(Code::TooMany) {
            put(answer, Bytes::new(text));
        }
        code
    }
}

/// Keeps a new instance.
///
/// # Safety
/// `handle` must be writable.
unsafe fn running(instance: Instance, handle: *mut u64) -> i32 {
    let Some(number) = table::insert(instance) else {
        return int(Code::TooMany);
    };
    // SAFETY: the caller's promise.
    unsafe { put(handle, number) };
    int(Code::Ok)
}

/// See `baton.h`.
///
/// # Safety
/// The pointers are what `baton.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn baton_handle(handle: u64, request: *const u8, request_len: usize, response: *mut Bytes) -> i32 {
    // SAFETY: as in `baton_start`.
    unsafe {
        if !put(response, Bytes::EMPTY) {
            return int(Code::Argument);
        }
        let Some(request) = bytes(request, request_len) else {
            return int(Code::Argument);
        };
        match table::with(handle, |i| i.handle(request)) {
            Ok(answer) => {
                put(response, Bytes::new(answer));
                int(Code::Ok)
            }
            Err(code) => int(code),
        }
    }
}

/// See `baton.h`.
///
/// # Safety
/// The pointers are what `baton.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn baton_app_key(handle: u64, epoch: u64, label: *const u8, label_len: usize, key: *mut u8) -> i32 {
    // SAFETY: as in `baton_start`; `key` has 32 bytes, and an array of bytes is aligned anywhere.
    unsafe {
        let key = key.cast::<[u8; 32]>();
        let label = bytes(label, label_len).and_then(|l| str::from_utf8(l).ok());
        let (true, Some(label)) = (put(key, [0; 32]), label) else {
            return int(Code::Argument);
        };
        result(table::with(handle, |i| i.app_key(epoch, label)).flatten().map(|k| {
            put(key, *k.danger_expose());
        }))
    }
}

/// See `baton.h`.
///
/// # Safety
/// The pointers are what `baton.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn baton_danger_legacy_seed(handle: u64, seed: *mut u8) -> i32 {
    // SAFETY: as in `baton_app_key`. After `put` the place is an initialized array of bytes that the caller lends us.
    unsafe {
        let seed = seed.cast::<[u8; 32]>();
        if !put(seed, [0; 32]) {
            return int(Code::Argument);
        }
        let seed = &mut *seed;
        result(table::with(handle, |i| i.danger_legacy_seed(seed)).flatten())
    }
}

/// See `baton.h`.
#[unsafe(no_mangle)]
pub extern "C" fn baton_stop(handle: u64) -> i32 {
    result(table::remove(handle))
}

/// See `baton.h`.
///
/// # Safety
/// `bytes` must be NULL or what one of these functions wrote, not freed before unless through the same place.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn baton_bytes_free(bytes: *mut Bytes) {
    if bytes.is_null() || !bytes.is_aligned() {
        return;
    }
    // SAFETY: `baton.h` asks for a `baton_bytes` of ours, so a non-NULL `data` is the boxed slice that
    // `Bytes::new` leaked. It is emptied first, so the same place can be freed twice.
    unsafe {
        let old = bytes.replace(Bytes::EMPTY);
        if !old.data.is_null() {
            drop(Box::from_raw(ptr::slice_from_raw_parts_mut(old.data, old.len)));
        }
    }
}
