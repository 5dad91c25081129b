//! ENCLU inside the enclave: EREPORT, EGETKEY and EEXIT on the registers of a signal frame.

use super::Enclave;
use crate::hook::{Action, Event, count};
use crate::platform::KeyError;
use crate::structs::{KEY_REQUEST_LEN, KeyRequest, TARGET_INFO_LEN, TargetInfo};

const EREPORT: u32 = 0;
const EGETKEY: u32 = 1;
const EEXIT: u32 = 4;

const GENERAL_PROTECTION: u8 = 13;
const PAGE_FAULT: u8 = 14;

/// What a leaf did.
pub(super) enum Outcome {
    /// Go on after the instruction. RAX and ZF are set as given; `None` leaves both alone.
    Next(Option<u32>),
    /// EEXIT.
    Exit,
    /// An exception: the vector and the address of a page fault.
    Fault(u8, u64),
}

/// Registers that a leaf reads.
#[derive(Clone, Copy)]
pub(super) struct Operands {
    pub leaf: u32,
    pub rbx: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub tcs: u64,
}

/// Plays one leaf.
pub(super) fn run(enclave: &Enclave, operands: Operands) -> Outcome {
    match operands.leaf {
        EREPORT => report(enclave, operands).unwrap_or_else(|fault| fault),
        EGETKEY => get_key(enclave, operands).unwrap_or_else(|fault| fault),
        EEXIT => match enclave.machine.ask(&Event::Exit {
            tcs: operands.tcs as usize,
        }) {
            Action::Fault(vector) => Outcome::Fault(vector, 0),
            Action::Proceed | Action::Fail(_) => Outcome::Exit,
        },
        // EENTER and ERESUME fault inside; this machine has none of the leafs of later generations.
        _ => Outcome::Fault(GENERAL_PROTECTION, 0),
    }
}

/// RBX: TARGETINFO; RCX: REPORTDATA; RDX: where the REPORT goes.
fn report(enclave: &Enclave, o: Operands) -> Result<Outcome, Outcome> {
    let target: [u8; TARGET_INFO_LEN] = operand(enclave, o.rbx, 512)?;
    let data: [u8; 64] = operand(enclave, o.rcx, 128)?;
    writable(enclave, o.rdx, 512, crate::REPORT_LEN)?;
    let target = TargetInfo::parse(&target).ok_or(Outcome::Fault(GENERAL_PROTECTION, 0))?;
    count(&enclave.machine.counters.reports);
    if let Action::Fault(vector) = enclave.machine.ask(&Event::Report { target: &target }) {
        return Err(Outcome::Fault(vector, 0));
    }
    let report = enclave
        .machine
        .platform
        .report(&enclave.identity, &target, &data);
    enclave.memory.write(o.rdx as usize, &report);
    Ok(Outcome::Next(None))
}

/// RBX: KEYREQUEST; RCX: where the key goes.
fn get_key(enclave: &Enclave, o: Operands) -> Result<Outcome, Outcome> {
    let request: [u8; KEY_REQUEST_LEN] = operand(enclave, o.rbx, 512)?;
    writable(enclave, o.rcx, 16, 16)?;
    let request = KeyRequest::parse(&request).ok_or(Outcome::Fault(GENERAL_PROTECTION, 0))?;
    count(&enclave.machine.counters.keys);
    match enclave.machine.ask(&Event::GetKey { request: &request }) {
        Action::Proceed => {}
        Action::Fault(vector) => return Err(Outcome::Fault(vector, 0)),
        Action::Fail(code) => return Ok(Outcome::Next(Some(code))),
    }
    match enclave
        .machine
        .platform
        .get_key(&enclave.identity, &request)
    {
        Ok(key) => {
            enclave.memory.write(o.rcx as usize, &key);
            Ok(Outcome::Next(Some(0)))
        }
        Err(KeyError::GeneralProtection) => Err(Outcome::Fault(GENERAL_PROTECTION, 0)),
        Err(code) => Ok(Outcome::Next(Some(code as u32))),
    }
}

/// Reads an operand: #GP if it is not aligned or not in ELRANGE, #PF if the page does not allow it.
fn operand<const N: usize>(enclave: &Enclave, at: u64, align: u64) -> Result<[u8; N], Outcome> {
    placed(enclave, at, align, N)?;
    enclave
        .memory
        .read(at as usize)
        .ok_or(Outcome::Fault(PAGE_FAULT, at))
}

fn writable(enclave: &Enclave, at: u64, align: u64, len: usize) -> Result<(), Outcome> {
    use crate::image::page_flags::{R, W};
    placed(enclave, at, align, len)?;
    match enclave.memory.allows(at as usize, len, R | W) {
        true => Ok(()),
        false => Err(Outcome::Fault(PAGE_FAULT, at)),
    }
}

fn placed(enclave: &Enclave, at: u64, align: u64, len: usize) -> Result<(), Outcome> {
    let last = (at as usize).checked_add(len - 1);
    let inside =
        enclave.memory.contains(at as usize) && last.is_some_and(|l| enclave.memory.contains(l));
    match inside && at.is_multiple_of(align) {
        true => Ok(()),
        false => Err(Outcome::Fault(GENERAL_PROTECTION, 0)),
    }
}
