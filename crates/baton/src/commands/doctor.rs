//! `baton doctor`: where enclaves can run on this machine, and what to do where they cannot.

use std::path::Path;
use std::time::Duration;

use baton_host::sgx::aesm::{Aesm, SOCKET};
use baton_host::sgx::image::MAX_SGXS_BYTES;
use baton_host::sgx::inspect::Inspection;
use serde_json::json;

use crate::cli::DoctorArgs;
use crate::files::read;
use crate::output::{Failure, Report};

/// Longest wait for the AESM service.
const AESM_LIMIT: Duration = Duration::from_secs(10);

/// What became of one platform: `Ok` with what it is good for, or why not and what to do.
pub type Found = Result<&'static str, String>;

/// The platforms, from the nearest to production on.
pub fn platforms() -> [(&'static str, Found); 3] {
    [
        ("sgx", hardware().map(|()| "enclaves of this machine's CPU, quotes by Intel's AESM service; this release has not run on such a machine yet")),
        ("softsgx", software().map(|()| "the real .sgxs bytes on a software CPU: development and tests, no secrecy")),
        ("sim", Ok("the same code in this process: development and tests, no secrecy")),
    ]
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod machine {
    use std::path::Path;

    use baton_host::sgx::detect::{self, ENCLAVE_NODE, Node, SgxCpu};

    pub fn hardware() -> Result<(), String> {
        detect::hardware(&SgxCpu::here(), &Node::at(Path::new(ENCLAVE_NODE)))
    }

    pub fn software() -> Result<(), String> {
        detect::software()
    }

    pub fn epc_bytes() -> u64 {
        SgxCpu::here().epc_bytes
    }
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
mod machine {
    const WHY: &str = "this is not Linux on x86-64; run on such a machine, or use sim";

    pub fn hardware() -> Result<(), String> {
        Err(WHY.into())
    }

    pub fn software() -> Result<(), String> {
        Err(WHY.into())
    }

    pub fn epc_bytes() -> u64 {
        0
    }
}

pub(super) use machine::epc_bytes;
use machine::{hardware, software};

/// What the AESM service says of its quoting enclave; it makes no quote.
pub(super) fn quoting(socket: &Path) -> Result<String, String> {
    let target = Aesm::new(socket).with_limit(AESM_LIMIT).qe_target().map_err(|e| e.to_string())?;
    let measurement = target.get(..32).map(hex::encode).unwrap_or_default();
    Ok(format!("{} answers; its quoting enclave is {measurement}", socket.display()))
}

/// Shows the platforms, and the memory for enclaves.
pub fn doctor(args: &DoctorArgs) -> Result<Report, Failure> {
    if let Some(home) = &args.home {
        return super::doctor_home::doctor(args, home);
    }
    let mut out = Report::new();
    let mut all = serde_json::Map::new();
    for (name, found) in platforms() {
        out.row(name, match &found {
            Ok(what) => format!("ready: {what}"),
            Err(why) => format!("not here: {why}"),
        });
        all.insert(name.into(), match found {
            Ok(what) => json!({"ready": true, "what": what}),
            Err(why) => json!({"ready": false, "why": why}),
        });
    }
    out.field("platforms", all);
    let asked = quoting(Path::new(SOCKET));
    out.row("AESM", match &asked {
        Ok(what) => what.clone(),
        Err(why) => format!("no quotes: {why}"),
    });
    out.field("aesm", json!({"ready": asked.is_ok(), "said": asked.unwrap_or_else(|e| e)}));
    let epc = epc_bytes();
    out.field("epc_bytes", epc);
    out.row("EPC", match epc {
        0 => "none: no memory for enclaves on this machine".into(),
        n => format!("{} MiB, for all enclaves of this machine together", n >> 20),
    });
    if let Some(path) = &args.program {
        let bytes = read(path, "image", MAX_SGXS_BYTES)?;
        let (seen, _) = Inspection::of(&bytes).map_err(|e| Failure::input(e).at(path.display()))?;
        let (one, two) = (seen.epc_bytes(1), seen.epc_bytes(2));
        out.field("epc_bytes_needed", json!({"one": one, "handover": two}));
        out.row("needed", format!("{} KiB for one, {} KiB for two at once, as in a handover on one machine", one >> 10, two >> 10));
        if epc > 0 && two > epc {
            out.row("", "more than there is: the driver pages, slowly; give enclaves more memory in the firmware (PRMRR size)");
        }
    }
    Ok(out)
}
