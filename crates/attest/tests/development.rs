//! The development PKI against the same check as genuine quotes: what Intel never hands out.

mod common;

use std::sync::LazyLock;

use baton_attest::identity::{Attributes, Identity, Measurement, PLATFORM_SGX, Signer};
use baton_attest::pki::{
    CollateralSpec, Dates, DevPki, DevPlatform, PlatformSpec, QeLevel, QeSpec, Verdict,
};
use baton_attest::policy::{TcbPolicy, TcbStatus};
use baton_attest::quote::{
    CheckedQuote, Purpose, QuoteError, QuoteTime, check_quote, collateral_wanted,
};
use baton_attest::report::{Report, ReportBody, ReportError, report_mac};
use common::*;

const NOW: u64 = 1_780_000_000;
const REPORT_KEY: [u8; 16] = [0x5a; 16];

static PKI: LazyLock<DevPki> = LazyLock::new(|| DevPki::new([1; 32]).unwrap());

fn policy() -> TcbPolicy {
    TcbPolicy {
        roots: vec![PKI.root_der().unwrap()],
        ..lenient()
    }
}

fn body() -> ReportBody {
    ReportBody {
        cpu_svn: [8; 16],
        ext_product_id: [0; 16],
        family_id: [0; 16],
        identity: Identity {
            platform_tag: PLATFORM_SGX,
            measurement: Measurement([0xaa; 32]),
            signer: Signer([0xbb; 32]),
            product_id: 7,
            svn: 3,
            attributes: Attributes { flags: 5, xfrm: 3 },
            misc_select: 0,
            config_id: [0; 64],
            config_svn: 0,
        },
        report_data: [0xcd; 64],
    }
}

fn quote_of(platform: &DevPlatform) -> Vec<u8> {
    let body = body();
    let mac = report_mac(&body.to_bytes(), &REPORT_KEY);
    let report = Report {
        body,
        key_id: [9; 32],
        mac,
    };
    platform.quote(&report.to_bytes(), &REPORT_KEY).unwrap()
}

/// A quote of a machine with this TCB under this collateral.
fn check(
    platform: &PlatformSpec,
    c: &CollateralSpec,
    purpose: Purpose,
) -> Result<CheckedQuote, QuoteError> {
    let platform = PKI.platform("m", platform).unwrap();
    let collateral = PKI.collateral(c).unwrap();
    check_quote(
        &quote_of(&platform),
        &collateral,
        &policy(),
        QuoteTime(NOW),
        purpose,
    )
}

#[test]
fn a_development_quote_verifies_with_its_identity_and_platform() {
    let platform = PKI.platform("m", &PlatformSpec::default()).unwrap();
    let q = check(
        &PlatformSpec::default(),
        &CollateralSpec::at(NOW),
        Purpose::Secret,
    )
    .unwrap();
    assert_eq!(q.identity(), &body().identity);
    assert_eq!(q.report_data(), &[0xcd; 64]);
    assert_eq!(q.platform(), platform.id());
    assert_eq!(q.status(), TcbStatus::UpToDate);
    assert_eq!(q.tcb_evaluation(), 17);
    assert_eq!(q.newest_signed_date(), QuoteTime(NOW));
    assert_eq!((q.pck_cpu_svn(), q.pce_svn()), (&[8; 16], 13));
    assert_eq!(
        collateral_wanted(&quote_of(&platform)).unwrap().0,
        q.fmspc()
    );
}

#[test]
fn a_platform_keeps_its_id_through_a_tcb_update_and_no_other_has_it() {
    let of = |name, svn| PKI.platform(name, &PlatformSpec::with_svn(svn)).unwrap();
    assert_eq!(of("m", 7).id(), of("m", 8).id());
    assert_ne!(of("m", 7).serial(), of("m", 8).serial());
    assert_ne!(of("m", 8).id(), of("n", 8).id());
}

#[test]
fn the_pki_is_deterministic() {
    let again = DevPki::new([1; 32]).unwrap();
    assert_eq!(again.root_der(), PKI.root_der());
    let spec = CollateralSpec::at(NOW);
    assert_eq!(again.collateral(&spec), PKI.collateral(&spec));
    let quote = |pki: &DevPki| quote_of(&pki.platform("m", &PlatformSpec::default()).unwrap());
    assert_eq!(quote(&again), quote(&PKI));
    assert_ne!(DevPki::new([2; 32]).unwrap().root_der(), PKI.root_der());
}

#[test]
fn each_tcb_status_comes_out_as_issued() {
    let cases = [
        (9, TcbStatus::UpToDate),
        (8, TcbStatus::UpToDate),
        (7, TcbStatus::SwHardeningNeeded),
        (6, TcbStatus::ConfigurationNeeded),
        (5, TcbStatus::ConfigurationAndSwHardeningNeeded),
        (4, TcbStatus::OutOfDate),
        (3, TcbStatus::OutOfDateConfigurationNeeded),
    ];
    for (svn, status) in cases {
        let q = check(
            &PlatformSpec::with_svn(svn),
            &CollateralSpec::at(NOW),
            Purpose::Secret,
        );
        assert_eq!(q.unwrap().status(), status);
    }
}

#[test]
fn a17_an_out_of_date_tcb_is_refused_where_the_policy_does_not_list_it() {
    let platform = PKI.platform("m", &PlatformSpec::with_svn(4)).unwrap();
    let collateral = PKI.collateral(&CollateralSpec::at(NOW)).unwrap();
    let strict = TcbPolicy {
        statuses: vec![TcbStatus::UpToDate],
        ..policy()
    };
    for purpose in [Purpose::Secret, Purpose::Receipt] {
        let got = check_quote(
            &quote_of(&platform),
            &collateral,
            &strict,
            QuoteTime(NOW),
            purpose,
        );
        assert_eq!(
            got,
            Err(QuoteError::Status {
                got: "OutOfDate".into()
            })
        );
    }
}

#[test]
fn a17_a_revoked_tcb_is_refused_for_every_purpose() {
    for purpose in [Purpose::Secret, Purpose::Receipt] {
        let got = check(
            &PlatformSpec::with_svn(2),
            &CollateralSpec::at(NOW),
            purpose,
        );
        assert_eq!(got, Err(QuoteError::RevokedTcb));
    }
}

#[test]
fn a17_a_revoked_key_is_refused_for_every_purpose() {
    let platform = PKI.platform("m", &PlatformSpec::default()).unwrap();
    let leaf = CollateralSpec::at(NOW).revoking(&platform);
    let ca = CollateralSpec {
        revoke_pck_ca: true,
        ..CollateralSpec::at(NOW)
    };
    let signer = CollateralSpec {
        revoke_tcb_signer: true,
        ..CollateralSpec::at(NOW)
    };
    for spec in [leaf, ca, signer] {
        for purpose in [Purpose::Secret, Purpose::Receipt] {
            let got = check(&PlatformSpec::default(), &spec, purpose);
            assert_eq!(got, Err(QuoteError::RevokedKey));
        }
    }
    let other = PKI.platform("n", &PlatformSpec::default()).unwrap();
    let spec = CollateralSpec::at(NOW).revoking(&other);
    assert!(check(&PlatformSpec::default(), &spec, Purpose::Secret).is_ok());
}

#[test]
fn a17_a_wrong_quoting_enclave_is_refused() {
    let good = QeSpec::default();
    let wrong = [
        QeSpec {
            signer: Signer([1; 32]),
            ..good
        },
        QeSpec {
            product_id: 2,
            ..good
        },
        QeSpec { svn: 4, ..good },
        QeSpec {
            debug: true,
            ..good
        },
    ];
    for qe in wrong {
        let platform = PlatformSpec {
            qe,
            ..PlatformSpec::default()
        };
        let got = check(&platform, &CollateralSpec::at(NOW), Purpose::Receipt).unwrap_err();
        assert!(matches!(got, QuoteError::QeIdentity { .. }), "{got:?}");
    }
}

#[test]
fn a17_the_quoting_enclaves_own_tcb_counts() {
    let with = |svn| PlatformSpec {
        qe: QeSpec {
            svn,
            ..QeSpec::default()
        },
        ..PlatformSpec::default()
    };
    let spec = CollateralSpec::at(NOW);
    assert_eq!(
        check(&with(6), &spec, Purpose::Secret).unwrap().status(),
        TcbStatus::OutOfDate
    );
    assert_eq!(
        check(&with(5), &spec, Purpose::Receipt),
        Err(QuoteError::RevokedTcb)
    );
    let revoked = CollateralSpec {
        qe_levels: vec![QeLevel {
            svn: 0,
            verdict: Verdict::Revoked,
        }],
        ..spec
    };
    assert_eq!(
        check(&with(8), &revoked, Purpose::Receipt),
        Err(QuoteError::RevokedTcb)
    );
}

#[test]
fn a17_collateral_for_another_fmspc_is_refused() {
    let spec = CollateralSpec {
        fmspc: [1; 6],
        ..CollateralSpec::at(NOW)
    };
    let got = check(&PlatformSpec::default(), &spec, Purpose::Receipt);
    let expected = baton_attest::pki::DEV_FMSPC;
    assert_eq!(
        got,
        Err(QuoteError::OtherPlatform {
            expected,
            got: [1; 6]
        })
    );
}

#[test]
fn a17_each_expired_part_is_refused_for_a_secret() {
    let old = Dates {
        issued: NOW - 100,
        until: NOW - 1,
    };
    let fresh = CollateralSpec::at(NOW - 100);
    let parts = [
        (
            "TCB info",
            CollateralSpec {
                tcb_info: old,
                ..fresh.clone()
            },
        ),
        (
            "QE identity",
            CollateralSpec {
                qe_identity: old,
                ..fresh.clone()
            },
        ),
        (
            "PCK CRL",
            CollateralSpec {
                pck_crl: old,
                ..fresh.clone()
            },
        ),
        (
            "root CRL",
            CollateralSpec {
                root_crl: old,
                ..fresh.clone()
            },
        ),
    ];
    assert!(check(&PlatformSpec::default(), &fresh, Purpose::Secret).is_ok());
    for (part, spec) in parts {
        let got = check(&PlatformSpec::default(), &spec, Purpose::Secret);
        let expected = QuoteError::Expired {
            what: part,
            until: NOW - 1,
            time: NOW,
        };
        assert_eq!(got, Err(expected));
        assert!(
            check(&PlatformSpec::default(), &spec, Purpose::Receipt).is_ok(),
            "{part}"
        );
    }
}

#[test]
fn a17_parts_that_were_never_valid_together_are_refused_for_a_receipt_too() {
    let spec = CollateralSpec {
        tcb_info: Dates {
            issued: NOW - 1000,
            until: NOW - 500,
        },
        ..CollateralSpec::at(NOW - 100)
    };
    let got = check(&PlatformSpec::default(), &spec, Purpose::Receipt);
    let expected = QuoteError::Expired {
        what: "TCB info",
        until: NOW - 500,
        time: NOW - 100,
    };
    assert_eq!(got, Err(expected));
}

#[test]
fn h07_each_part_that_ages_is_refused_for_a_secret_when_too_old() {
    let max = policy().max_collateral_age_secs;
    let old = Dates {
        issued: NOW - max - 1,
        until: NOW + 1000,
    };
    let just = Dates {
        issued: NOW - max,
        until: NOW + 1000,
    };
    let fresh = CollateralSpec::at(NOW);
    let with = |d: Dates| {
        [
            (
                "TCB info",
                CollateralSpec {
                    tcb_info: d,
                    ..fresh.clone()
                },
            ),
            (
                "QE identity",
                CollateralSpec {
                    qe_identity: d,
                    ..fresh.clone()
                },
            ),
            (
                "PCK CRL",
                CollateralSpec {
                    pck_crl: d,
                    ..fresh.clone()
                },
            ),
        ]
    };
    for (part, spec) in with(old) {
        let got = check(&PlatformSpec::default(), &spec, Purpose::Secret);
        let expected = QuoteError::TooOld {
            what: part,
            age_secs: max + 1,
            max_secs: max,
        };
        assert_eq!(got, Err(expected));
        assert!(
            check(&PlatformSpec::default(), &spec, Purpose::Receipt).is_ok(),
            "{part}"
        );
    }
    for (part, spec) in with(just) {
        assert!(
            check(&PlatformSpec::default(), &spec, Purpose::Secret).is_ok(),
            "{part}"
        );
    }
}

#[test]
fn a13_a_halted_chains_time_does_not_refuse_newer_collateral() {
    let spec = CollateralSpec::at(NOW + 90 * 86_400);
    let q = check(&PlatformSpec::default(), &spec, Purpose::Secret).unwrap();
    assert_eq!(q.newest_signed_date(), QuoteTime(NOW + 90 * 86_400));
}

#[test]
fn a22_development_and_production_roots_never_mix() {
    let platform = PKI.platform("m", &PlatformSpec::default()).unwrap();
    let collateral = PKI.collateral(&CollateralSpec::at(NOW)).unwrap();
    let quote = quote_of(&platform);
    let refused = |quote: &[u8], c: &_, policy: &TcbPolicy| {
        for purpose in [Purpose::Secret, Purpose::Receipt] {
            let got = check_quote(quote, c, policy, QuoteTime(PHALA_TIME), purpose).unwrap_err();
            assert_eq!(got, QuoteError::Root { listed: 1 });
        }
    };
    refused(&quote, &collateral, &lenient());
    refused(&quote, &phala(), &lenient());
    refused(PHALA_QUOTE, &phala(), &policy());
    refused(PHALA_QUOTE, &collateral, &policy());
    let other = DevPki::new([2; 32]).unwrap();
    let others = TcbPolicy {
        roots: vec![other.root_der().unwrap()],
        ..policy()
    };
    refused(&quote, &collateral, &others);
    // A genuine chain pasted under a development quote, and the reverse, with both roots listed.
    let both = TcbPolicy {
        roots: [lenient().roots, policy().roots].concat(),
        ..lenient()
    };
    assert!(check_quote(&quote, &phala(), &both, QuoteTime(0), Purpose::Receipt).is_err());
    assert!(
        check_quote(
            PHALA_QUOTE,
            &collateral,
            &both,
            QuoteTime(0),
            Purpose::Receipt
        )
        .is_err()
    );
}

#[test]
fn a22_collateral_of_another_development_root_is_refused() {
    let other = DevPki::new([2; 32]).unwrap();
    let foreign = other.collateral(&CollateralSpec::at(NOW)).unwrap();
    let platform = PKI.platform("m", &PlatformSpec::default()).unwrap();
    let got = check_quote(
        &quote_of(&platform),
        &foreign,
        &policy(),
        QuoteTime(NOW),
        Purpose::Receipt,
    );
    assert!(matches!(got, Err(QuoteError::Unverified { .. })), "{got:?}");
}

#[test]
fn a17_a_certificate_of_another_machine_under_a_quote_is_refused() {
    let (m, n) = (
        quote_of(&PKI.platform("m", &PlatformSpec::default()).unwrap()),
        quote_of(&PKI.platform("n", &PlatformSpec::default()).unwrap()),
    );
    let chain_at = 436 + 64 + 64 + 384 + 64 + 2 + 32 + 6;
    let mut mixed = [&m[..chain_at], &n[chain_at..]].concat();
    let (chain, rest) = ((mixed.len() - chain_at) as u32, (mixed.len() - 436) as u32);
    mixed[chain_at - 4..chain_at].copy_from_slice(&chain.to_le_bytes());
    mixed[432..436].copy_from_slice(&rest.to_le_bytes());
    let collateral = PKI.collateral(&CollateralSpec::at(NOW)).unwrap();
    let got = check_quote(
        &mixed,
        &collateral,
        &policy(),
        QuoteTime(NOW),
        Purpose::Receipt,
    );
    assert!(matches!(got, Err(QuoteError::Unverified { .. })), "{got:?}");
}

#[test]
fn a04_a_debug_enclave_is_refused_for_every_purpose() {
    let mut debug = body();
    debug.identity.attributes.flags |= 2;
    let platform = PKI.platform("m", &PlatformSpec::default()).unwrap();
    let quote = platform.danger_quote_body(&debug);
    let collateral = PKI.collateral(&CollateralSpec::at(NOW)).unwrap();
    for purpose in [Purpose::Secret, Purpose::Receipt] {
        let got = check_quote(&quote, &collateral, &policy(), QuoteTime(NOW), purpose);
        assert_eq!(got, Err(QuoteError::Debug));
    }
}

#[test]
fn the_quoting_enclave_quotes_only_reports_that_are_addressed_to_it() {
    let platform = PKI.platform("m", &PlatformSpec::default()).unwrap();
    let body = body();
    let mac = report_mac(&body.to_bytes(), &[0; 16]);
    let report = Report {
        body,
        key_id: [9; 32],
        mac,
    };
    assert_eq!(
        platform.quote(&report.to_bytes(), &REPORT_KEY),
        Err(ReportError::Mac)
    );
}

#[test]
fn a17_a_hundred_quotes_over_one_collateral_set_are_still_judged_one_by_one() {
    let bad = PKI.platform("bad", &PlatformSpec::default()).unwrap();
    let collateral = PKI
        .collateral(&CollateralSpec::at(NOW).revoking(&bad))
        .unwrap();
    for i in 0..20 {
        let good = PKI
            .platform(&format!("m{i}"), &PlatformSpec::default())
            .unwrap();
        for (platform, ok) in [(&good, true), (&bad, false)] {
            let got = check_quote(
                &quote_of(platform),
                &collateral,
                &policy(),
                QuoteTime(NOW),
                Purpose::Receipt,
            );
            assert_eq!(got.is_ok(), ok);
        }
    }
}
