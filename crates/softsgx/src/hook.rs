//! Watching and disturbing a running enclave: counters, and a hook for fault injection.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::structs::{KeyRequest, TargetInfo};

/// How often each thing happened on a device, all its enclaves together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Enclaves that EINIT let through.
    pub loads: u64,
    /// EENTER that entered.
    pub enters: u64,
    /// EEXIT.
    pub exits: u64,
    /// ERESUME that entered.
    pub resumes: u64,
    /// Asynchronous exits: faults inside an enclave.
    pub aexs: u64,
    /// EREPORT.
    pub reports: u64,
    /// EGETKEY, refused ones too.
    pub keys: u64,
}

#[derive(Default)]
pub(crate) struct Counting {
    pub loads: AtomicU64,
    pub enters: AtomicU64,
    pub exits: AtomicU64,
    pub resumes: AtomicU64,
    pub aexs: AtomicU64,
    pub reports: AtomicU64,
    pub keys: AtomicU64,
}

impl Counting {
    pub fn read(&self) -> Counters {
        let get = |c: &AtomicU64| c.load(Ordering::Relaxed);
        Counters {
            loads: get(&self.loads),
            enters: get(&self.enters),
            exits: get(&self.exits),
            resumes: get(&self.resumes),
            aexs: get(&self.aexs),
            reports: get(&self.reports),
            keys: get(&self.keys),
        }
    }
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// What is about to happen.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// EENTER at a thread.
    Enter {
        /// Address of the TCS.
        tcs: usize,
    },
    /// ERESUME at a thread.
    Resume {
        /// Address of the TCS.
        tcs: usize,
    },
    /// EEXIT of a thread.
    Exit {
        /// Address of the TCS.
        tcs: usize,
    },
    /// EREPORT.
    Report {
        /// For whom.
        target: &'a TargetInfo,
    },
    /// EGETKEY.
    GetKey {
        /// Which key.
        request: &'a KeyRequest,
    },
    /// An asynchronous exit.
    Aex {
        /// The exception's vector.
        vector: u8,
        /// Where, as an offset in the enclave; `None` if it had jumped out of it.
        rip: Option<u64>,
    },
}

/// What shall happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// What would happen anyway.
    Proceed,
    /// The leaf raises this exception: EENTER and ERESUME report it to the host (14, #PF, is what a
    /// machine shows that lost its enclaves in a power transition), others become an AEX. An AEX
    /// proceeds.
    Fault(
        /// Its vector.
        u8,
    ),
    /// EGETKEY returns this code in RAX; other leafs proceed.
    Fail(
        /// SGX error code.
        u32,
    ),
}

/// Called before each event, on the enclave's thread, with the enclave stopped. Inside a leaf it runs on
/// the signal stack (it has about 100 KiB) and must not panic.
pub type Hook = dyn Fn(&Event<'_>) -> Action + Send + Sync;
