//! The lifeboat's and the ceremony's program for tests that are written once: on `sim`, and on a software SGX CPU where
//! BATON_SGX_LIFEBOAT or BATON_SGX_CEREMONY names a program that scripts/sgx-build made (`--app lifeboat`, `--app ceremony`).
#![allow(dead_code)] // each test target uses one of them

use std::rc::Rc;

use baton_attest::policy::TcbPolicy;
use baton_enclave::sim::{Image, Machine};
use baton_host::link::Launcher;

const LIFEBOAT: &str = "BATON_SGX_LIFEBOAT";
const CEREMONY: &str = "BATON_SGX_CEREMONY";

/// The lifeboat's build with rules for quotes, and what runs it on a machine.
pub fn lifeboat(tcb: &TcbPolicy) -> Image {
    real::lifeboat(tcb).unwrap_or_else(|| baton_host::lifeboat::image(tcb).unwrap())
}

/// What runs lifeboats of a machine.
pub fn boat_on(machine: &Rc<Machine>) -> Rc<dyn Launcher> {
    real::on(LIFEBOAT, machine).unwrap_or_else(|| machine.clone())
}

/// The ceremony's build.
pub fn ceremony() -> Image {
    real::ceremony().unwrap_or_else(|| baton_host::ceremony::image("1").unwrap())
}

/// What runs ceremonies of a machine.
pub fn ceremony_on(machine: &Rc<Machine>) -> Rc<dyn Launcher> {
    real::on(CEREMONY, machine).unwrap_or_else(|| machine.clone())
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod real {
    use baton_attest::sigstruct::SigningKey;
    use baton_host::sgx::sign::Layout;
    use baton_host::sgx::image::Pages;
    use baton_host::sgx::sign;
    use baton_host::sgx::soft::SoftMachine;

    use super::{Image, Launcher, Machine, Rc, TcbPolicy};

    /// Its heap is small: dozens of enclaves start, and each zeroes its own.
    fn program(var: &str) -> Option<Pages> {
        let bytes = std::fs::read(std::env::var_os(var)?).unwrap_or_else(|e| panic!("{var}: {e}"));
        let layout = Layout { heap_bytes: 8 << 20, ..Layout::default() };
        Some(sign::program(&bytes, &layout).unwrap_or_else(|e| panic!("{var}: {e}")))
    }

    pub fn lifeboat(tcb: &TcbPolicy) -> Option<Image> {
        Some(sign::lifeboat(&program(super::LIFEBOAT)?, tcb, &SigningKey::development(1).unwrap(), 1).unwrap())
    }

    pub fn ceremony() -> Option<Image> {
        Some(sign::ceremony(&program(super::CEREMONY)?, &SigningKey::development(1).unwrap(), 1).unwrap())
    }

    pub fn on(var: &str, machine: &Rc<Machine>) -> Option<Rc<dyn Launcher>> {
        std::env::var_os(var)?;
        Some(Rc::new(SoftMachine::new(machine.clone())))
    }
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
mod real {
    use super::{Image, Launcher, Machine, Rc, TcbPolicy};

    pub fn lifeboat(_: &TcbPolicy) -> Option<Image> {
        None
    }

    pub fn ceremony() -> Option<Image> {
        None
    }

    pub fn on(_: &str, _: &Rc<Machine>) -> Option<Rc<dyn Launcher>> {
        None
    }
}
