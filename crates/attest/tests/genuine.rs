//! The genuine quotes: right status, right identity, and every kind of wrong refused.

mod common;

use baton_attest::policy::{TcbPolicy, TcbStatus};
use baton_attest::quote::{
    CheckedQuote, Collateral, Purpose, QuoteError, QuoteTime, check_quote, collateral_wanted,
};
use common::*;

fn secret(
    quote: &[u8],
    c: &Collateral,
    policy: &TcbPolicy,
    at: u64,
) -> Result<CheckedQuote, QuoteError> {
    check_quote(quote, c, policy, QuoteTime(at), Purpose::Secret)
}

fn receipt(
    quote: &[u8],
    c: &Collateral,
    policy: &TcbPolicy,
    at: u64,
) -> Result<CheckedQuote, QuoteError> {
    check_quote(quote, c, policy, QuoteTime(at), Purpose::Receipt)
}

#[test]
fn the_phala_quote_has_its_status_and_identity() {
    let q = secret(PHALA_QUOTE, &phala(), &lenient(), PHALA_TIME).unwrap();
    assert_eq!(q.status(), TcbStatus::ConfigurationAndSwHardeningNeeded);
    let id = q.identity();
    assert_eq!(id.measurement.0, PHALA_QUOTE[48 + 64..48 + 96]);
    assert_eq!(id.signer.0, PHALA_QUOTE[48 + 128..48 + 160]);
    assert_eq!(id.attributes.flags, 5);
    assert_eq!(q.report_data()[..], PHALA_QUOTE[48 + 320..48 + 384]);
    assert_eq!(q.fmspc(), [0x00, 0xa0, 0x67, 0x11, 0, 0]);
    assert_eq!(q.advisories(), ["INTEL-SA-00289", "INTEL-SA-00615"]);
    // 2025-06-19T10:56:11Z, the TCB info: the newest of the set.
    assert_eq!(q.newest_signed_date(), QuoteTime(1_750_330_571));
    assert_eq!(collateral_wanted(PHALA_QUOTE).unwrap(), (q.fmspc(), false));
}

#[test]
fn the_automata_quote_has_its_status_and_another_platform() {
    let q = secret(AUTOMATA_QUOTE, &automata(), &lenient(), 1_755_300_000).unwrap();
    assert_eq!(q.fmspc(), [0x00, 0x60, 0x6a, 0, 0, 0]);
    assert_eq!(q.identity().measurement.0, AUTOMATA_QUOTE[112..144]);
    let phala = secret(PHALA_QUOTE, &phala(), &lenient(), PHALA_TIME).unwrap();
    assert_ne!(q.platform(), phala.platform());
    assert_eq!(
        collateral_wanted(AUTOMATA_QUOTE).unwrap(),
        (q.fmspc(), true)
    );
    assert_eq!(q.status(), TcbStatus::SwHardeningNeeded);
}

#[test]
fn a04_a_debug_quote_is_refused_for_every_purpose() {
    for purpose in [Purpose::Secret, Purpose::Receipt] {
        let got = check_quote(
            DEBUG_QUOTE,
            &phala(),
            &lenient(),
            QuoteTime(PHALA_TIME),
            purpose,
        );
        assert_eq!(got, Err(QuoteError::Debug));
    }
}

#[test]
fn a17_collateral_of_another_platform_is_refused() {
    for json in [TEEPOT_JSON, TEEPOT_EARLY_JSON] {
        let other = Collateral::from_json(json).unwrap();
        let got = receipt(PHALA_QUOTE, &other, &lenient(), 0).unwrap_err();
        let expected = QuoteError::OtherPlatform {
            expected: [0x00, 0xa0, 0x67, 0x11, 0, 0],
            got: [0x00, 0x90, 0x6e, 0xd5, 0, 0],
        };
        assert_eq!(got, expected);
    }
    assert!(receipt(AUTOMATA_QUOTE, &phala(), &lenient(), 0).is_err());
    assert!(receipt(PHALA_QUOTE, &automata(), &lenient(), 0).is_err());
}

#[test]
fn a17_a_changed_byte_in_any_region_of_the_quote_is_refused() {
    let regions = [
        ("header: QE SVN", 8),
        ("header: user data", 30),
        ("report: CPUSVN", 48),
        ("report: MRENCLAVE", 48 + 64),
        ("report: MRSIGNER", 48 + 128),
        ("report: CONFIGID", 48 + 192),
        ("report: ISVSVN", 48 + 258),
        ("report: data", 48 + 383),
        ("signature", 436 + 5),
        ("attestation key", 436 + 64 + 5),
        ("QE report: MRSIGNER", 436 + 128 + 130),
        ("QE report: data", 436 + 128 + 320),
        ("QE report signature", 436 + 128 + 384 + 9),
        ("QE authentication data", 436 + 128 + 384 + 64 + 2 + 7),
        ("PCK certificate", 436 + 128 + 384 + 64 + 2 + 32 + 6 + 400),
        ("PCK CA certificate", 3200),
        ("root certificate", 4200),
    ];
    for (region, at) in regions {
        let mut bad = PHALA_QUOTE.to_vec();
        bad[at] = if bad[at] == b'A' { b'B' } else { b'A' };
        assert!(receipt(&bad, &phala(), &lenient(), 0).is_err(), "{region}");
    }
}

#[test]
fn a17_a_changed_byte_in_any_part_of_the_collateral_is_refused() {
    type Change = fn(&mut Collateral);
    let changes: [(&str, Change); 8] = [
        ("TCB info", |c| {
            c.tcb_info = c.tcb_info.replace("\"OutOfDate\"", "\"UpToDate\"")
        }),
        ("TCB info signature", |c| c.tcb_info_signature[7] ^= 1),
        ("TCB info spacing", |c| c.tcb_info.push(' ')),
        ("QE identity", |c| {
            c.qe_identity = c.qe_identity.replace("\"isvsvn\":8", "\"isvsvn\":1")
        }),
        ("QE identity signature", |c| {
            c.qe_identity_signature[40] ^= 1
        }),
        ("PCK CRL", |c| {
            let n = c.pck_crl.len() - 5;
            c.pck_crl[n] ^= 1
        }),
        ("root CRL", |c| {
            let n = c.root_ca_crl.len() - 5;
            c.root_ca_crl[n] ^= 1
        }),
        ("signer's chain", |c| {
            c.tcb_info_issuer_chain = c.pck_crl_issuer_chain.clone()
        }),
    ];
    for (what, change) in changes {
        let mut bad = phala();
        change(&mut bad);
        assert!(bad != phala(), "{what}: the change changes something");
        assert!(receipt(PHALA_QUOTE, &bad, &lenient(), 0).is_err(), "{what}");
    }
}

#[test]
fn a17_a_forged_newer_date_does_not_move_the_clock() {
    let mut bad = phala();
    bad.tcb_info = bad
        .tcb_info
        .replace("2025-06-19T10:56:11Z", "2025-07-18T10:56:11Z");
    let got = secret(PHALA_QUOTE, &bad, &lenient(), PHALA_TIME).unwrap_err();
    assert!(matches!(got, QuoteError::Unverified { .. }), "{got:?}");
}

#[test]
fn a17_a_status_that_the_policy_does_not_list_is_refused() {
    let policy = TcbPolicy {
        statuses: vec![TcbStatus::UpToDate, TcbStatus::SwHardeningNeeded],
        ..lenient()
    };
    for check in [secret, receipt] {
        let got = check(PHALA_QUOTE, &phala(), &policy, PHALA_TIME).unwrap_err();
        assert_eq!(
            got,
            QuoteError::Status {
                got: "ConfigurationAndSWHardeningNeeded".into()
            }
        );
    }
}

#[test]
fn a17_an_advisory_that_the_policy_denies_or_does_not_allow_is_refused() {
    let denied = TcbPolicy {
        denied_advisories: vec!["INTEL-SA-00615".into()],
        ..lenient()
    };
    let allowed = TcbPolicy {
        allowed_advisories: Some(vec!["INTEL-SA-00289".into()]),
        ..lenient()
    };
    for policy in [denied, allowed] {
        let got = secret(PHALA_QUOTE, &phala(), &policy, PHALA_TIME).unwrap_err();
        assert_eq!(
            got,
            QuoteError::Advisory {
                id: "INTEL-SA-00615".into()
            }
        );
    }
    let both = TcbPolicy {
        allowed_advisories: Some(vec!["INTEL-SA-00289".into(), "INTEL-SA-00615".into()]),
        ..lenient()
    };
    assert!(secret(PHALA_QUOTE, &phala(), &both, PHALA_TIME).is_ok());
}

#[test]
fn a17_collateral_from_before_the_policys_floor_is_refused() {
    let at = |least| TcbPolicy {
        min_tcb_evaluation: least,
        ..lenient()
    };
    assert!(receipt(PHALA_QUOTE, &phala(), &at(17), 0).is_ok());
    let got = receipt(PHALA_QUOTE, &phala(), &at(18), 0).unwrap_err();
    assert_eq!(got, QuoteError::Evaluation { least: 18, got: 17 });
}

#[test]
fn h07_expired_collateral_is_refused_for_a_secret_and_counts_for_a_receipt() {
    let year_later = PHALA_TIME + 365 * 86_400;
    let got = secret(PHALA_QUOTE, &phala(), &lenient(), year_later).unwrap_err();
    // 2025-07-19T10:01:18Z is the end of the QE identity, one hour before that of the TCB info.
    assert!(
        matches!(got, QuoteError::Expired { what: "TCB info", time, .. } if time == year_later)
    );
    assert!(receipt(PHALA_QUOTE, &phala(), &lenient(), year_later).is_ok());
}

#[test]
fn h07_collateral_older_than_the_policy_allows_is_refused_for_a_secret_only() {
    let newest = 1_750_330_571;
    // The QE identity is the oldest of the three that age: 2025-06-19T10:01:18Z.
    let policy = TcbPolicy {
        max_collateral_age_secs: 86_400,
        ..lenient()
    };
    let oldest = 1_750_327_278;
    assert!(secret(PHALA_QUOTE, &phala(), &policy, oldest + 86_400).is_ok());
    let got = secret(PHALA_QUOTE, &phala(), &policy, oldest + 86_401).unwrap_err();
    let expected = QuoteError::TooOld {
        what: "QE identity",
        age_secs: 86_401,
        max_secs: 86_400,
    };
    assert_eq!(got, expected);
    assert!(receipt(PHALA_QUOTE, &phala(), &policy, oldest + 86_401).is_ok());
    // A halted chain's time is older than any collateral that can be fetched: the signed dates count.
    let q = secret(PHALA_QUOTE, &phala(), &policy, 0).unwrap();
    assert_eq!(q.newest_signed_date(), QuoteTime(newest));
}

#[test]
fn a22_another_root_than_intels_is_refused() {
    let mut not_intels = baton_attest::quote::intel_root().to_vec();
    *not_intels.last_mut().unwrap() ^= 1;
    let policy = TcbPolicy {
        roots: vec![not_intels],
        ..lenient()
    };
    let got = receipt(PHALA_QUOTE, &phala(), &policy, 0).unwrap_err();
    assert_eq!(got, QuoteError::Root { listed: 1 });
    let none = TcbPolicy {
        roots: vec![],
        ..lenient()
    };
    assert_eq!(
        receipt(PHALA_QUOTE, &phala(), &none, 0).unwrap_err(),
        QuoteError::Root { listed: 0 }
    );
}

#[test]
fn a21_truncated_oversize_and_foreign_quotes_are_refused() {
    for len in 0..PHALA_QUOTE.len() {
        assert!(
            receipt(&PHALA_QUOTE[..len], &phala(), &lenient(), 0).is_err(),
            "{len}"
        );
    }
    let longer = [PHALA_QUOTE, &[0]].concat();
    let got = receipt(&longer, &phala(), &lenient(), 0).unwrap_err();
    assert_eq!(
        got,
        QuoteError::Length {
            expected: 4600,
            got: 4601
        }
    );
    let got = receipt(&[3; 16 * 1024 + 1], &phala(), &lenient(), 0).unwrap_err();
    assert_eq!(
        got,
        QuoteError::TooLarge {
            what: "quote",
            limit: 16_384,
            got: 16_385
        }
    );
    for (field, at, value) in [
        ("version", 0, 4),
        ("version", 0, 5),
        ("attestation key type", 2, 3),
        ("TEE type", 4, 0x81),
    ] {
        let mut bad = PHALA_QUOTE.to_vec();
        bad[at] = value;
        let got = receipt(&bad, &phala(), &lenient(), 0).unwrap_err();
        assert!(
            matches!(got, QuoteError::Kind { field: f, .. } if f == field),
            "{got:?}"
        );
    }
    let mut vendor = PHALA_QUOTE.to_vec();
    vendor[12] ^= 1;
    assert_eq!(
        receipt(&vendor, &phala(), &lenient(), 0).unwrap_err(),
        QuoteError::Vendor
    );
    let mut plain_ppid = PHALA_QUOTE.to_vec();
    plain_ppid[436 + 128 + 384 + 64 + 2 + 32] = 3;
    let got = receipt(&plain_ppid, &phala(), &lenient(), 0).unwrap_err();
    assert_eq!(got, QuoteError::Certification { got: 3 });
}

#[test]
fn a21_oversize_and_nested_collateral_is_refused() {
    let mut big = phala();
    big.pck_crl_issuer_chain = "x".repeat(256 * 1024);
    let got = receipt(PHALA_QUOTE, &big, &lenient(), 0).unwrap_err();
    assert!(matches!(
        got,
        QuoteError::TooLarge {
            what: "collateral",
            ..
        }
    ));
    assert!(Collateral::from_json(big.to_json().as_bytes()).is_err());
    let mut nested = phala();
    nested.tcb_info = "[".repeat(100_000);
    let got = receipt(PHALA_QUOTE, &nested, &lenient(), 0).unwrap_err();
    assert_eq!(got, QuoteError::Malformed { what: "TCB info" });
    let nested_json = format!("{{\"x\":{}", "[".repeat(100_000));
    assert!(Collateral::from_json(nested_json.as_bytes()).is_err());
    let mut nested_crl = phala();
    nested_crl.pck_crl = [0x30, 0x80].repeat(50_000);
    assert!(receipt(PHALA_QUOTE, &nested_crl, &lenient(), 0).is_err());
}

#[test]
fn collateral_reads_all_forms_and_writes_one() {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let c = phala();
    assert_eq!(Collateral::from_json(c.to_json().as_bytes()).unwrap(), c);
    let pem = format!(
        "-----BEGIN X509 CRL-----\n{}\n-----END X509 CRL-----\n",
        STANDARD
            .encode(&c.pck_crl)
            .as_bytes()
            .chunks(64)
            .map(|l| std::str::from_utf8(l).unwrap())
            .collect::<Vec<_>>()
            .join("\n")
    );
    let mut json: serde_json::Value = serde_json::from_str(&c.to_json()).unwrap();
    json["pck_crl"] = pem.into();
    json["root_ca_crl"] = STANDARD.encode(&c.root_ca_crl).into();
    json["a_field_of_tomorrow"] = 1.into();
    assert_eq!(
        Collateral::from_json(json.to_string().as_bytes()).unwrap(),
        c
    );
    json["pck_crl"] = "no bytes".into();
    assert!(Collateral::from_json(json.to_string().as_bytes()).is_err());
    let twice = c.to_json().replacen('{', "{\"pck_crl\":\"00\",", 1);
    assert!(Collateral::from_json(twice.as_bytes()).is_err());
    let cbor = baton_attest::identity::encode(&c);
    assert_eq!(minicbor::decode::<Collateral>(&cbor).unwrap(), c);
}
