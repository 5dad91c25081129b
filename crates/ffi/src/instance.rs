//! One running custody core, and what can be asked of it.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use baton_attest::identity::encode;
use baton_core::legacy::LEGACY_EPOCH;
use baton_core::policy::Policy;
use baton_core::secret::AppKey;
use baton_enclave::link::{Opened, Opening};
use baton_enclave::shell::{Enclave, Start};
use baton_enclave::vault;

use crate::codes::Code;
use crate::platform::Callbacks;

/// Longest label of an app key, in bytes.
pub const MAX_LABEL_BYTES: usize = 64;

/// A running core.
pub struct Instance(Enclave<Callbacks>);

/// Why none runs.
#[derive(Debug)]
pub struct NotStarted {
    /// What the function returns.
    pub code: Code,
    /// What failed, expected against got, what to do next.
    pub message: String,
}

impl Instance {
    /// Starts with a policy's deterministic CBOR.
    pub fn start(policy: &[u8], how: Start<'_>) -> Result<Self, NotStarted> {
        let policy = Policy::from_cbor(policy)
            .map_err(|e| not_started(Code::Policy, alloc::format!("the policy in this enclave is refused: {e}")))?;
        let platform = Callbacks::new().ok_or_else(|| {
            let text = "baton_cb_report gave no REPORT of this enclave that can be read: expected the 432 bytes of EREPORT, with all reserved fields zero";
            not_started(Code::Platform, text.into())
        })?;
        Enclave::start(platform, policy, how).map(Instance).map_err(|e| {
            let code = if e.is_damage() { Code::Damaged } else { Code::Refused };
            not_started(code, e.to_string())
        })
    }

    /// Starts with the first frame of an enclave link. The bytes are the answer to that frame.
    pub fn open(policy: &[u8], frame: &[u8]) -> (Vec<u8>, Result<Self, Code>) {
        let started = match minicbor::decode::<Opening>(frame) {
            Ok(opening) => Self::start(policy, opening.start()),
            Err(e) => Err(not_started(
                Code::Opening,
                alloc::format!("the opening cannot be read: {e}; start the enclave with the host of the same release"),
            )),
        };
        match started {
            Ok(instance) => (encode(&Opened::Started), Ok(instance)),
            Err(e) => {
                let damaged = e.code == Code::Damaged;
                (encode(&Opened::Refused { message: e.message, damaged }), Err(e.code))
            }
        }
    }

    /// One request, bytes to bytes. A refusal is an answer, too.
    pub fn handle(&mut self, request: &[u8]) -> Vec<u8> {
        self.0.handle_bytes(request)
    }

    /// The key of the embedding enclave's app named `label` for an epoch.
    pub fn app_key(&self, epoch: u64, label: &str) -> Result<AppKey, Code> {
        // The vault's own label gives the key of its records: an app that had it could write them.
        if label.is_empty() || label.len() > MAX_LABEL_BYTES || label == vault::LABEL {
            return Err(Code::Argument);
        }
        if !self.0.app_may_run() {
            return Err(Code::NoKey);
        }
        self.0.keeper().app_key(epoch, label).ok_or(Code::NoKey)
    }

    /// The seed that a network had before it had this library, for state that was encrypted under keys
    /// derived from it in the network's own way. Given only while it is marked exposed, for then it was
    /// outside this core already; a seed that was born here never leaves it.
    pub fn danger_legacy_seed(&self, out: &mut [u8; 32]) -> Result<(), Code> {
        if !self.0.app_may_run() {
            return Err(Code::NoKey);
        }
        let ring = self.0.keeper().custody().keyring().filter(|r| r.is_exposed(LEGACY_EPOCH));
        let seed = ring.and_then(|r| r.seed(LEGACY_EPOCH)).ok_or(Code::NoKey)?;
        out.copy_from_slice(seed.danger_expose());
        Ok(())
    }
}

fn not_started(code: Code, message: String) -> NotStarted {
    NotStarted { code, message }
}
