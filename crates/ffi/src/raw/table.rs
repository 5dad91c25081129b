//! Running instances by number. A handle is never a pointer: one that a host got hold of and changed
//! finds another instance or none, and touches no memory.

use alloc::boxed::Box;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use crate::codes::Code;
use crate::instance::Instance;

/// Instances at once. One is the ordinary case, a second for a rehearsal with oneself.
pub const MAX_INSTANCES: usize = 4;

/// A slot is free when its handle is 0. A call takes the instance out and puts it back, so that nobody
/// else has it meanwhile: there is no lock to wait for.
struct Slot {
    handle: AtomicU64,
    instance: AtomicPtr<Running>,
}

struct Running {
    handle: u64,
    instance: Instance,
}

/// A slot that is being filled. No instance has this number.
const RESERVED: u64 = u64::MAX;

static SLOTS: [Slot; MAX_INSTANCES] =
    [const { Slot { handle: AtomicU64::new(0), instance: AtomicPtr::new(null_mut()) } }; MAX_INSTANCES];
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Keeps an instance under a number that was never used before.
pub fn insert(instance: Instance) -> Option<u64> {
    let free = |s: &&Slot| s.handle.compare_exchange(0, RESERVED, Ordering::AcqRel, Ordering::Relaxed).is_ok();
    let slot = SLOTS.iter().find(free)?;
    let handle = NEXT.fetch_add(1, Ordering::Relaxed);
    slot.instance.store(Box::into_raw(Box::new(Running { handle, instance })), Ordering::Release);
    slot.handle.store(handle, Ordering::Release);
    Some(handle)
}

/// Calls an instance.
pub fn with<R>(handle: u64, call: impl FnOnce(&mut Instance) -> R) -> Result<R, Code> {
    let (slot, mut running) = take(handle)?;
    let result = call(&mut running.instance);
    slot.put_back(running);
    Ok(result)
}

/// Stops an instance; its secrets are wiped.
pub fn remove(handle: u64) -> Result<(), Code> {
    let (slot, running) = take(handle)?;
    drop(running);
    slot.handle.store(0, Ordering::Release);
    Ok(())
}

fn take(handle: u64) -> Result<(&'static Slot, Box<Running>), Code> {
    if handle == 0 || handle == RESERVED {
        return Err(Code::Handle);
    }
    let slot = SLOTS.iter().find(|s| s.handle.load(Ordering::Acquire) == handle).ok_or(Code::Handle)?;
    let taken = slot.instance.swap(null_mut(), Ordering::AcqRel);
    if taken.is_null() {
        return Err(Code::Busy);
    }
    // SAFETY: only `insert` and `put_back` store a pointer, each of a box of its own, and the swap took it
    // out: nobody else has it.
    let running = unsafe { Box::from_raw(taken) };
    if running.handle != handle {
        // Stopped and filled again between the two looks.
        slot.put_back(running);
        return Err(Code::Handle);
    }
    Ok((slot, running))
}

impl Slot {
    fn put_back(&self, running: Box<Running>) {
        self.instance.store(Box::into_raw(running), Ordering::Release);
    }
}
