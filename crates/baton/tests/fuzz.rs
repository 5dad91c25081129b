//! A fuzz target for every parser that takes foreign bytes. `cargo test` runs each one on random bytes for a
//! short while; `cargo bolero test -p baton --test fuzz NAME` runs one under libFuzzer for as long as you like.
//!
//! The property is the same everywhere: any input gives a value or an error, and never a panic.

use baton_attest::identity::Digest32;
use baton_attest::policy::{TcbPolicy, TcbStatus};
use baton_attest::quote::{Collateral, Purpose, QuoteTime, check_quote, intel_root};
use baton_attest::report::{Report, ReportBody, TargetInfo, check_report};
use baton_attest::{keyrequest, sgxs, sigstruct};
use baton_chain::evidence::{AtXEvidence, RecordEvidence, StandingEvidence, UpgradeEvidence};
use baton_chain::light::{LightBlock, Path, TrustedHeader};
use baton_chain::proofs::StateProof;
use baton_chain::record::Record;
use baton_chain::recorded::Recording;
use baton_core::fake::FakePlatform;
use baton_core::hpke_box::PublicKey;
use baton_core::keyring::{CanaryKeyring, Keyring};
use baton_core::legacy::unseal_legacy;
use baton_core::log::LogEntry;
use baton_core::messages::{BarrierReceipt, Challenge, HandoverRequest, Hello, Message, Offer, Receipt};
use baton_core::note::Checkpoint;
use baton_core::policy::Policy;
use baton_core::seal::{Slot, open, peek};
use baton_enclave::vault;
use baton_enclave::wire::{Request, Response};

macro_rules! fuzz {
    ($($name:ident: |$bytes:ident| $body:expr;)*) => {$(
        #[test]
        fn $name() {
            bolero::check!().with_iterations(2_000).for_each(|$bytes: &[u8]| {
                let _ = $body;
            });
        }
    )*};
}

fn tcb() -> TcbPolicy {
    TcbPolicy {
        statuses: vec![TcbStatus::UpToDate],
        denied_advisories: Vec::new(),
        allowed_advisories: None,
        min_tcb_evaluation: 0,
        max_collateral_age_secs: u64::MAX,
        roots: vec![intel_root().to_vec()],
    }
}

fn genuine_collateral() -> Collateral {
    Collateral::from_json(include_bytes!("fixtures/dcap/00A067110000-processor-2025-06-phala.json")).expect("the fixture is genuine")
}

/// Random bytes over a genuine file: the parser gets past its first checks.
fn over(genuine: &[u8], random: &[u8]) -> Vec<u8> {
    let mut out = genuine.to_vec();
    if let Some((at, rest)) = random.split_first_chunk::<2>() {
        let at = usize::from(u16::from_le_bytes(*at)) % out.len();
        for (to, from) in out.iter_mut().skip(at).zip(rest.iter().take(8)) {
            *to = *from;
        }
    }
    out
}

fuzz! {
    a21_report: |b| check_report(b, &[0; 16]);
    a21_report_key_id: |b| Report::key_id_of(b);
    a21_report_body: |b| b.first_chunk().map(ReportBody::parse);
    a21_target_info: |b| b.first_chunk().map(TargetInfo::parse);
    a21_key_request: |b| b.first_chunk().map(keyrequest::KeyRequest::parse);
    a21_sigstruct: |b| sigstruct::Sigstruct::parse(b);
    a21_sgxs: |b| sgxs::measure(b);
    a21_sgxs_contents: |b| sgxs::sim_contents(b);
    a21_collateral: |b| Collateral::from_json(b);
    a21_quote: |b| check_quote(b, &genuine_collateral(), &tcb(), QuoteTime(1), Purpose::Secret);
    a21_light_block: |b| minicbor::decode::<LightBlock>(b).map(|l| l.untrusted_checkpoint().is_ok());
    a21_signed_header: |b| LightBlock { signed_header: b.to_vec(), validators: b.to_vec(), next_validators: None }.untrusted_checkpoint();
    a21_path: |b| minicbor::decode::<Path>(b);
    a21_state_proof: |b| minicbor::decode::<StateProof>(b);
    a21_sealed_header: |b| TrustedHeader::danger_from_sealed_bytes(b);
    a21_upgrade_evidence: |b| UpgradeEvidence::from_cbor(b);
    a21_at_x_evidence: |b| AtXEvidence::from_cbor(b);
    a21_standing_evidence: |b| StandingEvidence::from_cbor(b);
    a21_record_evidence: |b| RecordEvidence::from_cbor(b);
    a21_recording: |b| core::str::from_utf8(b).map(|t| Recording::parse(t).map(|r| r.judge(None).accept));
    a21_info: |b| core::str::from_utf8(b).map(baton_chain::info::read_info);
    a21_memo: |b| core::str::from_utf8(b).map(Record::parse);
    a21_hello: |b| Hello::from_cbor(b);
    a21_request: |b| HandoverRequest::from_cbor(b);
    a21_offer: |b| Offer::from_cbor(b);
    a21_challenge: |b| Challenge::from_cbor(b);
    a21_receipt: |b| Receipt::from_cbor(b);
    a21_barrier_receipt: |b| BarrierReceipt::from_cbor(b);
    a21_hpke_key: |b| PublicKey::from_bytes(b);
    a21_keyring: |b| Keyring::decode(b);
    a21_canary_keyring: |b| CanaryKeyring::decode(b);
    a21_sealed_file: |b| (peek(b).is_ok(), open(&FakePlatform::new(1), Slot::Custody, "chain", b).is_ok());
    a21_legacy_file: |b| unseal_legacy(&FakePlatform::new(1), b);
    a21_log_entry: |b| LogEntry::parse(b);
    a21_checkpoint: |b| core::str::from_utf8(b).map(|t| Checkpoint::verify(t, "baton", &[7; 32]).is_ok());
    a21_policy: |b| Policy::from_cbor(b);
    a21_policy_text: |b| core::str::from_utf8(b).map(toml::from_str::<Policy>);
    a21_wire_request: |b| minicbor::decode::<Request>(b);
    a21_wire_response: |b| minicbor::decode::<Response>(b);
    a21_vault_record: |b| minicbor::decode::<vault::Record>(b);
    a21_hex_digest: |b| core::str::from_utf8(b).map(|t| t.parse::<Digest32>().is_ok());
}

#[test]
fn a21_changed_genuine_quote() {
    let (quote, collateral, policy) = (include_bytes!("fixtures/dcap/phala-sgx.quote"), genuine_collateral(), tcb());
    bolero::check!().with_iterations(200).for_each(|b: &[u8]| {
        let _ = check_quote(&over(quote, b), &collateral, &policy, QuoteTime(1_752_919_277), Purpose::Secret);
    });
}

#[test]
fn a21_changed_genuine_recording() {
    let recording = include_bytes!("fixtures/real/applied.json");
    bolero::check!().with_iterations(50).for_each(|b: &[u8]| {
        let changed = over(recording, b);
        let _ = Recording::parse(&String::from_utf8_lossy(&changed)).map(|r| r.judge(None).accept);
    });
}

#[test]
fn a21_a_signature_of_padding_alone_is_bad_input() {
    let recording = include_str!("fixtures/real/applied.json");
    let text: serde_json::Value = serde_json::from_str(recording).expect("the fixture is JSON");
    let signature = text["trusted"]["commit"]["signed_header"]["commit"]["signatures"][0]["signature"].as_str();
    let signature = signature.expect("the first vote is signed");
    for bad in ["=", "====", "AAAA====", "A===", "AAAA=", "\u{fffd}", ""] {
        let changed = recording.replacen(signature, bad, 1);
        let _ = Recording::parse(&changed).map(|r| r.judge(None).accept);
    }
    let changed = recording.replacen(signature, "AAAA====", 1);
    assert!(Recording::parse(&changed).is_err());
}
