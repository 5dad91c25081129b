//! Where a lab's enclaves run: in process on `sim`, or as the real program on a software SGX CPU.
//!
//! Both take the same request bytes. What a lab needs beside them, the keys of builds that never ran, comes from
//! the software CPU of either.

use std::rc::Rc;

use baton_attest::sigstruct::SigningKey;
use baton_core::policy::Policy;
use baton_enclave::sim::{Image, Machine};
use baton_host::link::Launcher;

/// The image of a build, and its policy as it was measured.
pub fn build(version: &str, policy: Policy, key: &SigningKey, svn: u16) -> (Image, Policy) {
    if let Some(real) = soft::build(version, &policy, key, svn) {
        return real;
    }
    (Image::build("baton-lab", version, &policy, key, svn).unwrap(), policy)
}

/// What runs the enclaves of a machine.
pub fn launcher(machine: &Rc<Machine>) -> Rc<dyn Launcher> {
    soft::launcher(machine).unwrap_or_else(|| machine.clone())
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod soft {
    use std::sync::LazyLock;

    use baton_host::sgx::sign::Layout;
    use baton_host::sgx::image::Pages;
    use baton_host::sgx::sign;
    use baton_host::sgx::soft::SoftMachine;

    use super::{Image, Launcher, Machine, Policy, Rc, SigningKey};

    /// The program, if one is named. Its heap is small: hundreds of enclaves start here, and each zeroes its own.
    static PROGRAM: LazyLock<Option<Pages>> = LazyLock::new(|| {
        let bytes = std::fs::read(std::env::var_os("BATON_SGX_PROGRAM")?).expect("BATON_SGX_PROGRAM is readable");
        let layout = Layout { heap_bytes: 8 << 20, ..Layout::default() };
        Some(sign::program(&bytes, &layout).expect("BATON_SGX_PROGRAM is a program that scripts/sgx-build made"))
    });

    /// One program has one version text: what tells a lab's builds apart is a number in their policy that decides nothing.
    pub fn build(version: &str, policy: &Policy, key: &SigningKey, svn: u16) -> Option<(Image, Policy)> {
        let mut policy = policy.clone();
        policy.readiness_wanted = version.bytes().fold(0, |n, b| (n * 31 + u32::from(b)) % 10_000);
        let image = sign::build(PROGRAM.as_ref()?, &policy, key, svn).unwrap();
        Some((image, policy))
    }

    pub fn launcher(machine: &Rc<Machine>) -> Option<Rc<dyn Launcher>> {
        PROGRAM.as_ref()?;
        // BATON_SGX_STRICT: a SYSCALL inside is a fault, as on hardware. It needs a new kernel.
        let strict = std::env::var_os("BATON_SGX_STRICT").is_some();
        Some(Rc::new(SoftMachine::new(machine.clone()).with_strict(strict)))
    }
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
mod soft {
    use super::{Image, Launcher, Machine, Policy, Rc, SigningKey};

    pub fn build(_: &str, _: &Policy, _: &SigningKey, _: u16) -> Option<(Image, Policy)> {
        None
    }

    pub fn launcher(_: &Rc<Machine>) -> Option<Rc<dyn Launcher>> {
        None
    }
}
