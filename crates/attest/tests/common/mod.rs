//! What the quote tests share: the genuine quotes, their collateral, and a policy.
#![allow(dead_code)]

use baton_attest::policy::{TcbPolicy, TcbStatus};
use baton_attest::quote::{Collateral, intel_root};

/// The time at which the phala quote is known to verify.
pub const PHALA_TIME: u64 = 1_752_919_277;
pub const PHALA_QUOTE: &[u8] = include_bytes!("../fixtures/dcap/phala-sgx.quote");
pub const PHALA_JSON: &[u8] =
    include_bytes!("../fixtures/dcap/00A067110000-processor-2025-06-phala.json");
pub const DEBUG_QUOTE: &[u8] = include_bytes!("../fixtures/dcap/automata-solana-sgx-DEBUG.quote");
pub const AUTOMATA_QUOTE: &[u8] = include_bytes!("../fixtures/dcap/automata-v3.quote");
pub const TEEPOT_JSON: &[u8] =
    include_bytes!("../fixtures/dcap/00906ED50000-processor-2025-05-teepot.json");
pub const TEEPOT_EARLY_JSON: &[u8] =
    include_bytes!("../fixtures/dcap/00906ED50000-processor-2025-05-teepot-early.json");

pub fn phala() -> Collateral {
    Collateral::from_json(PHALA_JSON).unwrap()
}

/// Intel's service answers `{"tcbInfo":{…},"signature":"…"}`; what is signed is the inner text.
fn signed_part(answer: &str, field: &str) -> (String, Vec<u8>) {
    let start = answer.find(&format!("\"{field}\":")).unwrap() + field.len() + 3;
    let end = answer.rfind(",\"signature\"").unwrap();
    let all: serde_json::Value = serde_json::from_str(answer).unwrap();
    let signature = hex::decode(all["signature"].as_str().unwrap()).unwrap();
    (answer[start..end].trim().to_string(), signature)
}

/// The automata parts, with the signer's chain and the root CRL of the phala set: the same of Intel's.
pub fn automata() -> Collateral {
    let (tcb_info, tcb_info_signature) = signed_part(
        include_str!("../fixtures/dcap/sgx_tcbinfov3_00606a000000.json"),
        "tcbInfo",
    );
    let (qe_identity, qe_identity_signature) = signed_part(
        include_str!("../fixtures/dcap/sgx_qeidentity_v4.json"),
        "enclaveIdentity",
    );
    Collateral {
        pck_crl: include_bytes!("../fixtures/dcap/00606A000000-platform-crl.der").to_vec(),
        tcb_info,
        tcb_info_signature,
        qe_identity,
        qe_identity_signature,
        ..phala()
    }
}

/// Accepts every status, Intel's root, collateral of up to 40 days.
pub fn lenient() -> TcbPolicy {
    TcbPolicy {
        statuses: vec![
            TcbStatus::UpToDate,
            TcbStatus::SwHardeningNeeded,
            TcbStatus::ConfigurationNeeded,
            TcbStatus::ConfigurationAndSwHardeningNeeded,
            TcbStatus::OutOfDate,
            TcbStatus::OutOfDateConfigurationNeeded,
        ],
        denied_advisories: vec![],
        allowed_advisories: None,
        min_tcb_evaluation: 0,
        max_collateral_age_secs: 40 * 86_400,
        roots: vec![intel_root().to_vec()],
    }
}
