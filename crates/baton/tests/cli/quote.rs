use std::fs;

use crate::support::*;

const PHALA: &str = "dcap/phala-sgx.quote";
const PHALA_SET: &str = "dcap/00A067110000-processor-2025-06-phala.json";
const AT: &str = "1752919277";

fn verify(quote: &str, set: &str, more: &[&str]) -> Ran {
    baton(&[&["quote", "verify", quote, "--collateral", set], more].concat())
}

#[test]
fn the_phala_quote_is_shown_with_status_and_full_identity() {
    snapshot(
        "quote_phala",
        &[
            "quote",
            "verify",
            PHALA,
            "--collateral",
            PHALA_SET,
            "--at",
            AT,
        ],
        0,
    );
    let json = verify(PHALA, PHALA_SET, &["--at", AT, "--json"])
        .expect(0)
        .json();
    assert_eq!(json["accept"], true);
    assert_eq!(json["status"], "ConfigurationAndSWHardeningNeeded");
    assert_eq!(
        json["advisories"],
        serde_json::json!(["INTEL-SA-00289", "INTEL-SA-00615"])
    );
    let quote = fs::read(fixtures().join(PHALA)).unwrap();
    assert_eq!(
        json["identity"]["measurement"],
        hex::encode(&quote[112..144])
    );
    assert_eq!(json["identity"]["signer"], hex::encode(&quote[176..208]));
    assert_eq!(json["fmspc"], "00A067110000");
}

#[test]
fn a_quote_in_hexadecimal_and_a_time_in_rfc_3339_say_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let hex_file = dir.path().join("quote.hex");
    fs::write(
        &hex_file,
        format!(
            "0x{}\n",
            hex::encode(fs::read(fixtures().join(PHALA)).unwrap())
        ),
    )
    .unwrap();
    let a = verify(PHALA, PHALA_SET, &["--at", AT]).expect(0);
    let b = verify(
        path(&hex_file),
        PHALA_SET,
        &["--at", "2025-07-19T10:01:17Z"],
    )
    .expect(0);
    assert_eq!(a.out, b.out);
}

#[test]
fn the_automata_quote_verifies_with_intels_single_answers_over_a_set() {
    let parts = [
        "dcap/sgx_tcbinfov3_00606a000000.json",
        "dcap/sgx_qeidentity_v4.json",
        "dcap/00606A000000-platform-crl.der",
    ];
    let mut more = vec!["--at", "1755300000", "--json"];
    parts.iter().for_each(|p| more.extend(["--collateral", p]));
    let json = verify("dcap/automata-v3.quote", PHALA_SET, &more)
        .expect(0)
        .json();
    assert_eq!(json["status"], "SWHardeningNeeded");
    assert_eq!(json["fmspc"], "00606A000000");
    baton(&["quote", "verify", PHALA, "--collateral", parts[0]]).expect(2);
}

#[test]
fn a04_a_debug_quote_is_refused() {
    snapshot(
        "quote_debug",
        &[
            "quote",
            "verify",
            "dcap/automata-solana-sgx-DEBUG.quote",
            "--collateral",
            PHALA_SET,
            "--at",
            AT,
        ],
        1,
    );
    verify(
        "dcap/automata-solana-sgx-DEBUG.quote",
        PHALA_SET,
        &["--purpose", "receipt"],
    )
    .expect(1);
}

#[test]
fn a17_wrong_collateral_is_refused() {
    for set in [
        "dcap/00906ED50000-processor-2025-05-teepot.json",
        "dcap/00906ED50000-processor-2025-05-teepot-early.json",
    ] {
        verify(PHALA, set, &["--at", AT]).expect(1);
        let ran = verify(PHALA, set, &[]).expect(1);
        assert!(
            ran.err.contains("00a067110000") && ran.err.contains("00906ed50000"),
            "{}",
            ran.err
        );
    }
    verify("dcap/automata-v3.quote", PHALA_SET, &["--at", AT]).expect(1);
}

#[test]
fn h07_expired_collateral_is_refused_for_a_secret_and_counts_for_a_receipt() {
    let at = ["--at", "2026-07-19T00:00:00Z"];
    snapshot(
        "quote_expired",
        &[
            "quote",
            "verify",
            PHALA,
            "--collateral",
            PHALA_SET,
            "--at",
            at[1],
        ],
        1,
    );
    verify(
        PHALA,
        PHALA_SET,
        &[&at[..], &["--purpose", "receipt"]].concat(),
    )
    .expect(0);
    // The judgement without a time says what it does not judge.
    assert!(
        verify(PHALA, PHALA_SET, &[])
            .expect(0)
            .row("judged at")
            .contains("not judged without --at")
    );
}

#[test]
fn a17_a_changed_byte_anywhere_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("q");
    let genuine = fs::read(fixtures().join(PHALA)).unwrap();
    for at in [
        8, 30, 48, 112, 176, 240, 306, 431, 441, 505, 694, 884, 957, 1019, 1430, 3200, 4200,
    ] {
        let mut bad = genuine.clone();
        bad[at] = if bad[at] == b'A' { b'B' } else { b'A' };
        fs::write(&file, &bad).unwrap();
        let ran = verify(path(&file), PHALA_SET, &["--at", AT, "--json"]).expect(1);
        assert_eq!(ran.json()["accept"], false, "{at}");
    }
    let set = fs::read_to_string(fixtures().join(PHALA_SET)).unwrap();
    let changed = set.replacen("OutOfDate", "UpToDate!", 1);
    assert_ne!(set, changed);
    fs::write(&file, changed).unwrap();
    verify(PHALA, path(&file), &["--at", AT]).expect(1);
}

#[test]
fn a_policy_decides_over_status_root_and_build() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tcb.toml");
    let tcb = |statuses: &str, roots: &str| {
        format!(
            "statuses = [{statuses}]\nmin_tcb_evaluation = 0\nmax_collateral_age_secs = 3456000\nroots = [{roots}]\n"
        )
    };
    let both = r#""ConfigurationAndSWHardeningNeeded", "UpToDate""#;
    for (text, code) in [
        (tcb(both, r#""intel""#), 0),
        (tcb(r#""UpToDate""#, r#""intel""#), 1),
        (tcb(both, r#""MAMCAQU=""#), 1),
        (tcb("", r#""intel""#), 2),
        (tcb(both, r#""intel""#) + "grace = 1\n", 2),
    ] {
        fs::write(&file, &text).unwrap();
        verify(PHALA, PHALA_SET, &["--at", AT, "--policy", path(&file)]).expect(code);
    }
    // The example policy knows neither the status nor the signer.
    let example = "../../../../docs/policy.example.toml";
    verify(PHALA, PHALA_SET, &["--at", AT, "--policy", example]).expect(1);
    let text = fs::read_to_string(fixtures().join(example)).unwrap();
    fs::write(&file, text.replace(r#""SWHardeningNeeded""#, both)).unwrap();
    let ran = verify(
        PHALA,
        PHALA_SET,
        &["--at", AT, "--policy", path(&file), "--purpose", "receipt"],
    )
    .expect(1);
    assert!(
        ran.row("build rules")
            .contains("is not one of the policy's")
    );
}
