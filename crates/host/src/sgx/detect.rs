//! What this machine has for enclaves: CPUID (SDM vol. 3D, 36.7), the driver's device, softsgx's needs.

use std::arch::x86_64::__cpuid_count;
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::path::Path;

/// What CPUID says of SGX.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SgxCpu {
    /// The CPU has SGX, and firmware did not hide it (leaf 7, EBX bit 2).
    pub sgx: bool,
    /// Flexible launch control, which Linux's driver needs (leaf 7, ECX bit 30).
    pub launch_control: bool,
    /// Firmware switched SGX on: leaf 0x12 says SGX1.
    pub enabled: bool,
    /// Memory for enclaves, all sections, in bytes.
    pub epc_bytes: u64,
}

/// Most EPC sections that are read: no CPU has as many.
const MAX_SECTIONS: u32 = 64;

impl SgxCpu {
    /// This machine's.
    pub fn here() -> Self {
        Self::of(|leaf, sub| {
            let r = __cpuid_count(leaf, sub);
            [r.eax, r.ebx, r.ecx, r.edx]
        })
    }

    /// Of any source of CPUID: EAX, EBX, ECX, EDX of a leaf and sub-leaf.
    pub fn of(cpuid: impl Fn(u32, u32) -> [u32; 4]) -> Self {
        if cpuid(0, 0)[0] < 7 {
            return SgxCpu::default();
        }
        let [_, ebx, ecx, _] = cpuid(7, 0);
        let mut out = SgxCpu { sgx: ebx & (1 << 2) != 0, launch_control: ecx & (1 << 30) != 0, ..SgxCpu::default() };
        if !out.sgx || cpuid(0, 0)[0] < 0x12 {
            return out;
        }
        out.enabled = cpuid(0x12, 0)[0] & 1 != 0;
        for sub in 2..MAX_SECTIONS {
            let [eax, _, ecx, edx] = cpuid(0x12, sub);
            // Type 1 is a section; anything else ends the list.
            if eax & 0xf != 1 {
                break;
            }
            out.epc_bytes += (u64::from(edx & 0xf_ffff) << 32) | u64::from(ecx & 0xffff_f000);
        }
        out
    }
}

/// The driver's device, as this user sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// It opens.
    Opens,
    /// It is there, and this user may not.
    Denied,
    /// There is none.
    Missing,
    /// Something else is wrong.
    Fails(String),
}

impl Node {
    /// Tries to open one.
    pub fn at(path: &Path) -> Self {
        match OpenOptions::new().read(true).write(true).open(path) {
            Ok(_) => Node::Opens,
            Err(e) if e.kind() == ErrorKind::PermissionDenied => Node::Denied,
            Err(e) if e.kind() == ErrorKind::NotFound => Node::Missing,
            Err(e) => Node::Fails(e.to_string()),
        }
    }
}

/// The in-kernel driver's device.
pub const ENCLAVE_NODE: &str = "/dev/sgx_enclave";

/// Why hardware enclaves do not run here, and what to do; [`Ok`] if they would.
pub fn hardware(cpu: &SgxCpu, node: &Node) -> Result<(), String> {
    match (cpu, node) {
        (_, Node::Opens) => Ok(()),
        (_, Node::Denied) => Err(format!("{ENCLAVE_NODE} is there, and this user may not open it; add the user to group sgx, or set a udev rule")),
        (_, Node::Fails(e)) => Err(format!("{ENCLAVE_NODE} does not open ({e}); look into dmesg for the driver's lines")),
        (SgxCpu { sgx: false, .. }, _) => {
            Err("this CPU has no SGX, or firmware or the hypervisor hides it; switch SGX on in the firmware, or rent a machine with it".into())
        }
        (SgxCpu { launch_control: false, .. }, _) => {
            Err("this CPU has no flexible launch control, which Linux's driver needs; use a CPU of the third Xeon generation or later".into())
        }
        (SgxCpu { enabled: false, .. }, _) => Err("this CPU has SGX and firmware left it off; switch it on there (with memory for it: PRMRR size)".into()),
        (_, Node::Missing) => Err(format!("this CPU has SGX, and there is no {ENCLAVE_NODE}; use Linux 5.11 or later with CONFIG_X86_SGX")),
    }
}

/// Why softsgx does not run here, and what to do.
pub fn software() -> Result<(), String> {
    let platform = softsgx::Platform::from_seed([0; 32]);
    softsgx::Device::builder().platform(platform).build().map(|_| ()).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A CPU with two EPC sections of 64 GiB + 4 KiB and 8 KiB.
    fn cpu(leaf: u32, sub: u32) -> [u32; 4] {
        match (leaf, sub) {
            (0, _) => [0x16, 0, 0, 0],
            (7, 0) => [0, 1 << 2, 1 << 30, 0],
            (0x12, 0) => [1, 0, 0, 0],
            (0x12, 2) => [0x7000_0001, 0, 0x1001, 0x10],
            (0x12, 3) => [1, 0, 0x2001, 0],
            _ => [0; 4],
        }
    }

    #[test]
    fn sections_of_memory_add_up() {
        let got = SgxCpu::of(cpu);
        assert_eq!(got, SgxCpu { sgx: true, launch_control: true, enabled: true, epc_bytes: (64 << 30) + 0x1000 + 0x2000 });
    }

    #[test]
    fn a_leaf_that_the_cpu_does_not_have_says_nothing() {
        // Old CPUs answer an unknown leaf with whatever their last one says.
        assert_eq!(SgxCpu::of(|leaf, sub| if leaf == 0 { [6, 0, 0, 0] } else { cpu(leaf, sub) }), SgxCpu::default());
        let hidden = SgxCpu::of(|leaf, sub| if leaf == 7 { [0; 4] } else { cpu(leaf, sub) });
        assert_eq!(hidden, SgxCpu::default());
    }

    #[test]
    fn every_reason_says_what_to_do() {
        let good = SgxCpu::of(cpu);
        let none = SgxCpu::default();
        assert_eq!(hardware(&good, &Node::Opens), Ok(()));
        for (cpu, node, says) in [
            (none, Node::Missing, "no SGX"),
            (SgxCpu { launch_control: false, ..good }, Node::Missing, "launch control"),
            (SgxCpu { enabled: false, ..good }, Node::Missing, "left it off"),
            (good, Node::Missing, "Linux 5.11"),
            (good, Node::Denied, "group sgx"),
            (good, Node::Fails("busy".into()), "busy"),
        ] {
            let text = hardware(&cpu, &node).unwrap_err();
            assert!(text.contains(says) && text.contains("; "), "{text}");
        }
    }

    #[test]
    fn a_device_is_missing_or_opens() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sgx_enclave");
        assert_eq!(Node::at(&path), Node::Missing);
        std::fs::write(&path, b"").unwrap();
        assert_eq!(Node::at(&path), Node::Opens);
    }
}
