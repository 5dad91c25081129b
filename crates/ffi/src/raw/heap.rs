//! Memory and panics where there is no operating system: both are the embedding enclave's.

use core::alloc::{GlobalAlloc, Layout};
use core::panic::{Location, PanicInfo};

unsafe extern "C" {
    fn baton_cb_alloc(len: usize, align: usize) -> *mut u8;
    fn baton_cb_free(data: *mut u8, len: usize, align: usize);
}

struct Heap;

#[global_allocator]
static HEAP: Heap = Heap;

// SAFETY: `baton.h` asks of `baton_cb_alloc` what this trait asks: NULL, or memory of that size and
// alignment inside the enclave that nobody else has until it is freed. Neither may unwind.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: a callback without preconditions.
        unsafe { baton_cb_alloc(layout.size(), layout.align()) }
    }

    unsafe fn dealloc(&self, data: *mut u8, layout: Layout) {
        // SAFETY: `data` came from `baton_cb_alloc` with this very size and alignment.
        unsafe { baton_cb_free(data, layout.size(), layout.align()) }
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    super::stop_at(info.location().unwrap_or(Location::caller()))
}
