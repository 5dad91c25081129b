//! The part that runs machine code: memory, EENTER and EEXIT, ENCLU by signal, asynchronous exits.
//!
//! An enclave's code uses GS for its thread data and leaves memory protection to page rights, so it runs
//! as ordinary memory of this process. ENCLU is undefined outside of SGX (#UD, or #GP on a CPU that has
//! it): the signal handler plays the leaf on the registers of the signal frame.
//!
//! Threat: none is held off here. The enclave's code has every right of this process.

mod entry;
mod leaf;
mod memory;
mod signal;
mod ssa;
mod thread;

use std::collections::BTreeMap;
use std::os::raw::c_void;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use sgxs::loader;

pub use entry::{Exit, Registers, enter};
pub use signal::protect_signal_handlers;

use crate::device::{Error, Machine, Mode};
use crate::image::{Image, PAGE, TcsFields};
use crate::structs::Identity;
use memory::{Memory, Patch};

/// A loaded enclave.
#[derive(Debug)]
pub struct Info {
    enclave: Arc<Enclave>,
}

/// A thread of an enclave: the right to enter at one TCS.
pub struct Tcs {
    enclave: Arc<Enclave>,
    address: usize,
}

pub(crate) struct Enclave {
    memory: Memory,
    identity: Identity,
    /// Bytes of a frame of the state save area.
    ssa_frame: usize,
    threads: Vec<Thread>,
    machine: Arc<Machine>,
}

/// What a TCS page holds on hardware.
struct Thread {
    address: usize,
    fields: TcsFields,
    /// CSSA: frames of the state save area that are in use.
    cssa: AtomicU32,
    /// 1 while a thread is inside.
    busy: AtomicU32,
}

/// The TCSs of this process by address, so that EENTER finds its enclave.
static TABLE: RwLock<BTreeMap<usize, Entry>> = RwLock::new(BTreeMap::new());

#[derive(Clone, Copy)]
struct Entry {
    enclave: *const Enclave,
    thread: *const Thread,
}

// SAFETY: both pointers are to what an `Arc<Enclave>` owns, which is only shared and is Sync; whoever
// takes them out of the table holds its lock until the thread is marked busy (see `Tcs::drop`).
unsafe impl Send for Entry {}
// SAFETY: as above.
unsafe impl Sync for Entry {}

/// Maps an image that EINIT let through.
pub(crate) fn load(
    machine: &Arc<Machine>,
    image: Image,
    identity: Identity,
) -> Result<(Info, Vec<Tcs>), Error> {
    entry::link();
    signal::protect_signal_handlers();
    ssa::check_frame(&identity, image.ssa_frame_pages)?;
    let patching = machine.mode == Mode::Patched && machine.hook.is_none();
    let patch = if patching { Patch::find(&image) } else { None };
    let memory = Memory::map(&image, machine.strict, patch)?;
    let threads = image.threads.iter().map(|fields| Thread {
        address: memory.base() + fields.offset as usize,
        fields: *fields,
        cssa: AtomicU32::new(0),
        busy: AtomicU32::new(0),
    });
    let enclave = Arc::new(Enclave {
        identity,
        ssa_frame: image.ssa_frame_pages as usize * PAGE as usize,
        threads: threads.collect(),
        machine: machine.clone(),
        memory,
    });
    let mut table = TABLE.write().unwrap_or_else(PoisonError::into_inner);
    let tcss = enclave.threads.iter().map(|thread| {
        let entry = Entry {
            enclave: Arc::as_ptr(&enclave),
            thread,
        };
        table.insert(thread.address, entry);
        Tcs {
            enclave: enclave.clone(),
            address: thread.address,
        }
    });
    let tcss = tcss.collect();
    Ok((Info { enclave }, tcss))
}

/// Checks what every enclave needs, and installs the handlers.
pub(crate) fn check_host(strict: bool) -> Result<(), Error> {
    // SAFETY: getauxval reads a table that the kernel made for this process.
    check_fs_gs_base(unsafe { libc::getauxval(libc::AT_HWCAP2) })?;
    if strict {
        thread::check_strict()?;
    }
    signal::install()
}

/// AT_HWCAP2, bit 1: programs may execute WRGSBASE.
fn check_fs_gs_base(hwcap2: u64) -> Result<(), Error> {
    match hwcap2 & 2 {
        0 => Err(Error::NoFsGsBase),
        _ => Ok(()),
    }
}

impl Enclave {
    fn thread_is(&self, address: usize) -> bool {
        self.threads.iter().any(|t| t.address == address)
    }
}

impl Info {
    /// Who the enclave is.
    pub fn identity(&self) -> Identity {
        self.enclave.identity
    }
}

impl loader::MappingInfo for Info {
    fn address(&self) -> *mut c_void {
        self.enclave.memory.base() as *mut c_void
    }

    fn size(&self) -> usize {
        self.enclave.memory.size()
    }
}

impl loader::Tcs for Tcs {
    fn address(&self) -> *mut c_void {
        self.address as *mut c_void
    }
}

impl Drop for Tcs {
    fn drop(&mut self) {
        let mut table = TABLE.write().unwrap_or_else(PoisonError::into_inner);
        let thread = self
            .enclave
            .threads
            .iter()
            .find(|t| t.address == self.address);
        // Threads mark themselves busy under the table's lock. One that is inside keeps the enclave's
        // memory for ever: giving it back would pull the code from under its feet.
        match thread.is_some_and(|t| t.busy.load(Ordering::Acquire) != 0) {
            true => std::mem::forget(self.enclave.clone()),
            false => {
                table.remove(&self.address);
            }
        }
    }
}

impl std::fmt::Debug for Tcs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        debug_assert!(self.enclave.thread_is(self.address));
        write!(f, "Tcs({:#x})", self.address)
    }
}

impl std::fmt::Debug for Enclave {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Enclave")
            .field("identity", &self.identity)
            .field("memory", &self.memory)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_fsgsbase_is_refused_with_what_to_do() {
        assert!(check_fs_gs_base(2).is_ok());
        assert!(check_fs_gs_base(!0).is_ok());
        for hwcap2 in [0, 1, !2] {
            let text = check_fs_gs_base(hwcap2).unwrap_err().to_string();
            assert!(text.contains("FSGSBASE") && text.contains("Linux 5.9 or later"), "{text}");
        }
    }
}
