//! The C functions called from Rust, over callbacks that a test can make misbehave.

#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ptr::{null, null_mut};
use std::sync::{Mutex, MutexGuard};
use std::vec::Vec;

use baton_attest::identity::{Signer, encode};
use baton_attest::pki::{DevPki, PlatformSpec};
use baton_attest::report::TargetInfo;
use baton_attest::sigstruct::SigningKey;
use baton_core::platform::Platform;
use baton_core::policy::Policy;
use baton_enclave::link::Opening;
use baton_enclave::sim::{Image, Launch, Machine, SimPlatform};
use baton_enclave::wire::{Reply, Request, Response};

use crate::codes::Code;
use crate::raw;

std::thread_local! {
    static CPU: RefCell<Option<SimPlatform>> = const { RefCell::new(None) };
    static ODD: RefCell<Odd> = const { RefCell::new(Odd::None) };
}

/// What the next callbacks do besides their work.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Odd {
    None,
    /// EREPORT fails.
    NoReport,
    /// A reserved field of the REPORT is in use.
    Reserved,
    /// A callback calls the instance that called it; what that returned.
    Reenter(u64, Option<i32>),
}

#[unsafe(no_mangle)]
extern "C" fn baton_cb_get_key(_request: *const u8, _key: *mut u8) -> i32 {
    -1
}

#[unsafe(no_mangle)]
unsafe extern "C" fn baton_cb_report(target: *const u8, data: *const u8, out: *mut u8) -> i32 {
    if ODD.with_borrow(|o| *o == Odd::NoReport) {
        return 1;
    }
    // SAFETY: the lengths of `baton.h`.
    let (target, data, out) =
        unsafe { (&*target.cast::<[u8; 512]>(), &*data.cast::<[u8; 64]>(), &mut *out.cast::<[u8; 432]>()) };
    let target = TargetInfo::parse(target).unwrap();
    *out = CPU.with_borrow(|c| c.as_ref().unwrap().report(&target, data));
    if ODD.with_borrow(|o| *o == Odd::Reserved) {
        // CET_ATTRIBUTES and the reserved bytes behind MISCSELECT.
        out[20] = 1;
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn baton_cb_random(out: *mut u8, len: usize) -> i32 {
    // SAFETY: the lengths of `baton.h`.
    let out = unsafe { std::slice::from_raw_parts_mut(out, len) };
    CPU.with_borrow_mut(|c| c.as_mut().unwrap().random(out));
    if let Odd::Reenter(handle, None) = ODD.with_borrow(|o| *o) {
        let got = request(handle, &Request::Status).0;
        ODD.set(Odd::Reenter(handle, Some(got)));
    }
    0
}

#[unsafe(no_mangle)]
extern "C" fn baton_cb_abort(_file: *const u8, _file_len: usize, _line: u32) {}

/// A test's own CPU and policy. The table of instances is everybody's: one test at a time.
fn setup() -> (MutexGuard<'static, ()>, Policy) {
    static ONE: Mutex<()> = Mutex::new(());
    let guard = ONE.lock().unwrap_or_else(|e| e.into_inner());
    let policy = policy();
    let image = Image::build("ffi", "1.0.0", &policy, &SigningKey::development(1).unwrap(), 1).unwrap();
    let machine = Machine::new(&DevPki::new([7; 32]).unwrap(), "m", &PlatformSpec::default()).unwrap();
    CPU.set(Some(machine.launch(&image, &Launch::default()).unwrap().0));
    ODD.set(Odd::None);
    (guard, policy)
}

fn policy() -> Policy {
    let file = include_str!("../../../docs/policy.example.toml");
    let mut policy: Policy = toml::from_str(file).unwrap();
    policy.builds.signers = Vec::from([SigningKey::development(1).unwrap().signer(), Signer([0xaa; 32])]);
    policy
}

fn open(policy: &Policy) -> (i32, u64) {
    let (policy, opening) = (policy.to_cbor(), encode(&Opening::default()));
    let (mut handle, mut answer) = (0, raw::Bytes::EMPTY);
    // SAFETY: places of this function, bytes of this function.
    let code = unsafe {
        raw::baton_open(policy.as_ptr(), policy.len(), opening.as_ptr(), opening.len(), &mut handle, &mut answer)
    };
    take(&mut answer);
    (code, handle)
}

fn take(bytes: &mut raw::Bytes) -> Vec<u8> {
    let out = bytes.copied();
    // SAFETY: what a function of the library wrote, freed once; the second time it is empty.
    unsafe {
        raw::baton_bytes_free(bytes);
        raw::baton_bytes_free(bytes);
    }
    assert!(bytes.copied().is_empty());
    out
}

fn request(handle: u64, request: &Request) -> (i32, Option<Response>) {
    let (bytes, mut response) = (encode(request), raw::Bytes::EMPTY);
    // SAFETY: places of this function, bytes of this function.
    let code = unsafe { raw::baton_handle(handle, bytes.as_ptr(), bytes.len(), &mut response) };
    (code, minicbor::decode(&take(&mut response)).ok())
}

#[test]
fn an_instance_answers_until_it_is_stopped_and_its_number_never_comes_back() {
    let (_one, policy) = setup();
    let (code, first) = open(&policy);
    assert_eq!(code, 0);
    assert!(matches!(request(first, &Request::Status).1.unwrap().reply, Some(Reply::Status(_))));
    assert_eq!(raw::baton_stop(first), 0);
    assert_eq!(raw::baton_stop(first), Code::Handle as i32);
    let (_, second) = open(&policy);
    assert!(second > first);
    assert_eq!(request(first, &Request::Status).0, Code::Handle as i32);
    assert_eq!(raw::baton_stop(second), 0);
}

#[test]
fn more_instances_than_fit_are_refused_and_a_stop_makes_room() {
    let (_one, policy) = setup();
    let four: Vec<u64> = (0..4).map(|_| open(&policy).1).collect();
    assert_eq!(open(&policy), (Code::TooMany as i32, 0));
    assert_eq!(raw::baton_stop(four[1]), 0);
    let (code, fifth) = open(&policy);
    assert_eq!(code, 0);
    for handle in [four[0], four[2], four[3], fifth] {
        assert_eq!(raw::baton_stop(handle), 0);
    }
}

#[test]
fn a_callback_that_calls_its_own_instance_finds_it_busy() {
    let (_one, policy) = setup();
    let (_, handle) = open(&policy);
    ODD.set(Odd::Reenter(handle, None));
    request(handle, &Request::Hello);
    // A hello of an enclave without a checkpoint may ask for no randomness; then the rule was not reached.
    assert_eq!(ODD.with_borrow(|o| *o), Odd::Reenter(handle, Some(Code::Busy as i32)));
    assert_eq!(request(handle, &Request::Status).0, 0, "free again");
    assert_eq!(raw::baton_stop(handle), 0);
}

#[test]
fn threads_that_call_one_instance_at_once_get_an_answer_or_busy() {
    let (_one, policy) = setup();
    let (_, handle) = open(&policy);
    let results: Vec<i32> = std::thread::scope(|s| {
        let calls = || (0..200).map(|_| request(handle, &Request::Status).0).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| s.spawn(calls)).collect();
        threads.into_iter().flat_map(|t| t.join().unwrap()).collect()
    });
    assert!(results.iter().all(|r| [0, Code::Busy as i32].contains(r)), "{results:?}");
    assert!(results.contains(&0));
    assert_eq!(raw::baton_stop(handle), 0);
}

#[test]
fn a_cpu_without_a_report_or_with_an_unknown_one_starts_nothing() {
    let (_one, policy) = setup();
    for odd in [Odd::NoReport, Odd::Reserved] {
        ODD.set(odd);
        assert_eq!(open(&policy), (Code::Platform as i32, 0), "{odd:?}");
    }
}

#[test]
fn a_policy_that_is_not_its_own_deterministic_encoding_starts_nothing() {
    let (_one, policy) = setup();
    let files = raw::Files::none();
    for bytes in [Vec::new(), [policy.to_cbor(), Vec::from([0])].concat(), policy.to_cbor()[1..].to_vec()] {
        let (mut handle, mut why) = (7, raw::Bytes::EMPTY);
        // SAFETY: places of this function, bytes of this function.
        let code = unsafe { raw::baton_start(bytes.as_ptr(), bytes.len(), &files, &mut handle, &mut why) };
        assert_eq!((code, handle), (Code::Policy as i32, 0));
        assert!(std::string::String::from_utf8(take(&mut why)).unwrap().contains("policy"));
    }
}

#[test]
fn baton_start_starts_what_baton_open_does() {
    let (_one, policy) = setup();
    let (policy, files, mut handle) = (policy.to_cbor(), raw::Files::none(), 0);
    // SAFETY: places of this function, bytes of this function.
    let code = unsafe { raw::baton_start(policy.as_ptr(), policy.len(), &files, &mut handle, null_mut()) };
    assert_eq!(code, 0);
    assert_eq!(request(handle, &Request::Status).0, 0);
    assert_eq!(raw::baton_stop(handle), 0);
    // SAFETY: NULL is allowed.
    unsafe { assert_eq!(raw::baton_start(policy.as_ptr(), policy.len(), null(), &mut handle, null_mut()), 1) };
}

#[test]
fn misaligned_places_are_refused() {
    let (_one, policy) = setup();
    let (policy, mut room) = (policy.to_cbor(), [0_u64; 8]);
    let odd = room.as_mut_ptr().cast::<u8>().wrapping_add(1);
    let opening = encode(&Opening::default());
    let (mut handle, mut answer) = (0, raw::Bytes::EMPTY);
    // SAFETY: nothing is written to a misaligned place; that is the test.
    unsafe {
        let code = raw::baton_open(policy.as_ptr(), policy.len(), opening.as_ptr(), opening.len(), odd.cast(), &mut answer);
        assert_eq!(code, Code::Argument as i32);
        let code = raw::baton_open(policy.as_ptr(), policy.len(), opening.as_ptr(), opening.len(), &mut handle, odd.cast());
        assert_eq!(code, Code::Argument as i32);
        raw::baton_bytes_free(odd.cast());
    }
    assert_eq!((room, handle), ([0; 8], 0));
}

#[test]
fn the_header_names_the_same_numbers() {
    let header = include_str!("../baton.h");
    let codes = [
        ("BATON_OK", Code::Ok),
        ("BATON_ARGUMENT", Code::Argument),
        ("BATON_HANDLE", Code::Handle),
        ("BATON_BUSY", Code::Busy),
        ("BATON_TOO_MANY", Code::TooMany),
        ("BATON_POLICY", Code::Policy),
        ("BATON_PLATFORM", Code::Platform),
        ("BATON_DAMAGED", Code::Damaged),
        ("BATON_REFUSED", Code::Refused),
        ("BATON_NO_KEY", Code::NoKey),
        ("BATON_OPENING", Code::Opening),
    ];
    for (name, code) in codes {
        assert!(header.contains(&std::format!("    {name} = {}", code as i32)), "{name}");
    }
    let defines = [
        ("BATON_ABI_VERSION", u64::from(crate::codes::ABI_VERSION)),
        ("BATON_MAX_REQUEST_BYTES", baton_enclave::shell::MAX_REQUEST_BYTES as u64),
        ("BATON_MAX_LABEL_BYTES", crate::instance::MAX_LABEL_BYTES as u64),
        ("BATON_MAX_INSTANCES", raw::MAX_INSTANCES as u64),
    ];
    for (name, value) in defines {
        assert!(header.contains(&std::format!("#define {name} {value}u\n")), "{name}");
    }
}
