//! Layouts, encodings and measurements: round trips, golden bytes, and what is refused.

mod common;

use baton_attest::attested::Attested;
use baton_attest::identity::{
    Attributes, Identity, Measurement, PLATFORM_SGX, Signer, encode, flags,
};
use baton_attest::keyrequest::{KeyRequest, key_name, key_policy};
use baton_attest::policy::{BuildError, BuildRules, TcbPolicy, TcbPolicyError, TcbStatus};
use baton_attest::quote::{Collateral, Purpose, QuoteTime, check_quote};
use baton_attest::report::{Report, ReportBody, ReportError, TargetInfo, check_report, report_mac};
use baton_attest::sgxs::{SgxsError, measure, sim_build};
use baton_attest::sigstruct::{SigningKey, Sigstruct, SigstructError, check_sigstruct};
use common::*;
use proptest::prelude::*;

fn golden(name: &str, got: &str) {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        expected.trim(),
        got,
        "{path} is frozen: a released format does not change"
    );
}

fn identity() -> Identity {
    Identity {
        platform_tag: PLATFORM_SGX,
        measurement: Measurement([0x11; 32]),
        signer: Signer([0x22; 32]),
        product_id: 0x0304,
        svn: 5,
        attributes: Attributes {
            flags: BuildRules::PRODUCTION_FLAGS,
            xfrm: 3,
        },
        misc_select: 0,
        config_id: [0; 64],
        config_svn: 0,
    }
}

/// A body with every field set to something else.
fn full_body() -> ReportBody {
    let mut config_id = [0; 64];
    config_id[63] = 9;
    ReportBody {
        cpu_svn: [1; 16],
        ext_product_id: [2; 16],
        family_id: [3; 16],
        identity: Identity {
            misc_select: 0x0102_0304,
            config_id,
            config_svn: 0x0506,
            ..identity()
        },
        report_data: [4; 64],
    }
}

fn report(body: ReportBody, key: &[u8; 16]) -> Vec<u8> {
    let mac = report_mac(&body.to_bytes(), key);
    let key_id = [7; 32];
    Report { body, key_id, mac }.to_bytes().to_vec()
}

#[test]
fn a_report_body_has_the_layout_of_the_sdm() {
    let bytes = full_body().to_bytes();
    assert_eq!(bytes[16..20], [4, 3, 2, 1]);
    assert_eq!(bytes[32..48], [2; 16]);
    assert_eq!(bytes[48..56], 5u64.to_le_bytes());
    assert_eq!(bytes[64..96], [0x11; 32]);
    assert_eq!(bytes[128..160], [0x22; 32]);
    assert_eq!(bytes[255], 9);
    assert_eq!(bytes[256..262], [4, 3, 5, 0, 6, 5]);
    assert_eq!(bytes[304..320], [3; 16]);
    assert_eq!(bytes[320..], [4; 64]);
    assert_eq!(ReportBody::parse(&bytes).unwrap(), full_body());
}

#[test]
fn a21_a_report_body_with_any_reserved_byte_in_use_is_refused() {
    let reserved = (20..32).chain(96..128).chain(160..192).chain(262..304);
    for at in reserved {
        let mut bytes = full_body().to_bytes();
        bytes[at] = 1;
        assert_eq!(
            ReportBody::parse(&bytes),
            Err(ReportError::Reserved),
            "{at}"
        );
    }
}

#[test]
fn a_genuine_report_body_survives_a_round_trip() {
    for quote in [PHALA_QUOTE, AUTOMATA_QUOTE, DEBUG_QUOTE] {
        let bytes: [u8; 384] = quote[48..432].try_into().unwrap();
        assert_eq!(ReportBody::parse(&bytes).unwrap().to_bytes(), bytes);
    }
}

#[test]
fn the_report_mac_is_aes_cmac() {
    // NIST SP 800-38B, D.1: key of the AES-128 examples; the message is 384 zero bytes.
    let key = hex::decode("2b7e151628aed2a6abf7158809cf4f3c").unwrap();
    let mac = report_mac(&[0; 384], &key.try_into().unwrap());
    golden("report-mac.hex", &hex::encode(mac));
}

#[test]
fn a_report_verifies_under_its_key_only() {
    let key = [0x33; 16];
    let bytes = report(full_body(), &key);
    let local = check_report(&bytes, &key).unwrap();
    assert_eq!(local.identity(), &full_body().identity);
    assert_eq!((local.report_data(), local.cpu_svn()), (&[4; 64], &[1; 16]));
    assert_eq!(Attested::Local(local).platform(), None);
    assert_eq!(Report::key_id_of(&bytes).unwrap(), [7; 32]);
    assert_eq!(check_report(&bytes, &[0x34; 16]), Err(ReportError::Mac));
    for at in (0..384).chain(416..432) {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        assert_eq!(check_report(&bad, &key), Err(ReportError::Mac), "{at}");
    }
    for len in [0, 431, 433] {
        let mut bad = bytes.clone();
        bad.resize(len, 0);
        let expected = ReportError::Length {
            expected: 432,
            got: len,
        };
        assert_eq!(check_report(&bad, &key), Err(expected));
    }
}

#[test]
fn target_info_and_key_request_have_the_layout_of_the_sdm() {
    let body = full_body();
    let target = TargetInfo::for_identity(&body.identity);
    let bytes = target.to_bytes();
    assert_eq!(bytes[..32], [0x11; 32]);
    assert_eq!(bytes[50..56], [6, 5, 4, 3, 2, 1]);
    assert_eq!((bytes[64 + 63], bytes[128]), (9, 0));
    assert_eq!(TargetInfo::parse(&bytes).unwrap(), target);
    for at in [48, 49, 56, 128, 511] {
        let mut bad = bytes;
        bad[at] = 1;
        assert_eq!(TargetInfo::parse(&bad), Err(ReportError::Reserved), "{at}");
    }
    let request = KeyRequest {
        key_name: key_name::SEAL,
        key_policy: key_policy::MRENCLAVE,
        isv_svn: 0x0102,
        cpu_svn: [5; 16],
        attribute_mask: Attributes { flags: 2, xfrm: 0 },
        key_id: [6; 32],
        misc_mask: 0x0708_090a,
        config_svn: 0x0b0c,
    };
    let bytes = request.to_bytes();
    assert_eq!(bytes[..6], [4, 0, 1, 0, 2, 1]);
    assert_eq!((bytes[8], bytes[24], bytes[40]), (5, 2, 6));
    assert_eq!(bytes[72..78], [0x0a, 9, 8, 7, 0x0c, 0x0b]);
    assert_eq!(KeyRequest::parse(&bytes).unwrap(), request);
    for (at, value) in [(2, 0x40), (3, 1), (6, 1), (78, 1), (511, 1)] {
        let mut bad = bytes;
        bad[at] = value;
        assert_eq!(KeyRequest::parse(&bad), Err(ReportError::Reserved), "{at}");
    }
}

fn rules() -> BuildRules {
    BuildRules {
        signers: vec![Signer([0x22; 32]), Signer([0x23; 32])],
        product_id: 0x0304,
        min_svn: 5,
    }
}

#[test]
fn a04_a_production_launch_of_a_listed_signer_is_accepted_and_nothing_else() {
    let good = identity();
    assert_eq!(rules().check(&good), Ok(()));
    let with = |change: fn(&mut Identity)| {
        let mut id = good;
        change(&mut id);
        rules().check(&id)
    };
    assert_eq!(
        with(|i| i.attributes.flags |= flags::DEBUG),
        Err(BuildError::Debug)
    );
    for flag in [flags::PROVISION_KEY, 1 << 5, 1 << 63] {
        let mut id = good;
        id.attributes.flags |= flag;
        assert!(matches!(rules().check(&id), Err(BuildError::Launch { .. })));
    }
    assert!(matches!(
        with(|i| i.attributes.flags = 4),
        Err(BuildError::Launch { .. })
    ));
    assert!(matches!(
        with(|i| i.misc_select = 1),
        Err(BuildError::Launch { .. })
    ));
    assert!(matches!(
        with(|i| i.config_svn = 1),
        Err(BuildError::Launch { .. })
    ));
    assert_eq!(with(|i| i.config_id[0] = 1), Err(BuildError::ConfigId));
    assert_eq!(
        with(|i| i.platform_tag = 2),
        Err(BuildError::Platform { got: 2 })
    );
    let other = Signer([1; 32]);
    assert_eq!(
        with(|i| i.signer = Signer([1; 32])),
        Err(BuildError::Signer { got: other })
    );
    assert_eq!(
        with(|i| i.product_id = 1),
        Err(BuildError::ProductId {
            expected: 0x0304,
            got: 1
        })
    );
    assert_eq!(
        with(|i| i.svn = 4),
        Err(BuildError::Svn { least: 5, got: 4 })
    );
    assert_eq!(with(|i| i.svn = 6), Ok(()));
}

#[test]
fn h18_a_voted_signer_counts_as_listed_and_one_signer_alone_is_no_policy() {
    let id = Identity {
        signer: Signer([1; 32]),
        ..identity()
    };
    assert_eq!(rules().check_also(&id, Some(Signer([1; 32]))), Ok(()));
    assert!(rules().check_also(&id, Some(Signer([2; 32]))).is_err());
    let debug = Identity {
        attributes: Attributes { flags: 7, xfrm: 3 },
        ..id
    };
    assert_eq!(
        rules().check_also(&debug, Some(Signer([1; 32]))),
        Err(BuildError::Debug)
    );
    assert_eq!(rules().validate(), Ok(()));
    let twice = BuildRules {
        signers: vec![Signer([1; 32]); 2],
        ..rules()
    };
    assert_eq!(twice.validate(), Err(BuildError::TooFewSigners { got: 1 }));
}

fn tcb_policy() -> TcbPolicy {
    TcbPolicy {
        denied_advisories: vec!["INTEL-SA-00615".into()],
        allowed_advisories: Some(vec!["INTEL-SA-00289".into()]),
        min_tcb_evaluation: 17,
        roots: vec![lenient().roots[0].clone(), vec![1, 2, 3]],
        ..lenient()
    }
}

#[test]
fn policies_survive_toml_and_cbor() {
    let text = toml::to_string(&tcb_policy()).unwrap();
    assert!(text.contains("roots = [\"intel\", \"AQID\"]"), "{text}");
    assert!(text.contains("\"ConfigurationAndSWHardeningNeeded\""));
    assert_eq!(toml::from_str::<TcbPolicy>(&text).unwrap(), tcb_policy());
    assert!(toml::from_str::<TcbPolicy>(&format!("statusses = []\n{text}")).is_err());
    assert!(toml::from_str::<TcbPolicy>(&text.replace("\"UpToDate\"", "\"Revoked\"")).is_err());
    assert!(toml::from_str::<TcbPolicy>(&text.replace("AQID", "no base64!")).is_err());
    let text = toml::to_string(&rules()).unwrap();
    assert_eq!(toml::from_str::<BuildRules>(&text).unwrap(), rules());
    assert_eq!(
        minicbor::decode::<TcbPolicy>(&encode(&tcb_policy())).unwrap(),
        tcb_policy()
    );
    assert_eq!(
        minicbor::decode::<BuildRules>(&encode(&rules())).unwrap(),
        rules()
    );
}

#[test]
fn a_tcb_policy_that_nothing_passes_is_refused() {
    let none = TcbPolicy {
        statuses: vec![],
        ..tcb_policy()
    };
    assert_eq!(
        none.validate(),
        Err(TcbPolicyError::Empty { what: "TCB status" })
    );
    let none = TcbPolicy {
        roots: vec![],
        ..tcb_policy()
    };
    assert_eq!(
        none.validate(),
        Err(TcbPolicyError::Empty {
            what: "root certificate"
        })
    );
    let both = TcbPolicy {
        allowed_advisories: Some(vec!["INTEL-SA-00615".into()]),
        ..tcb_policy()
    };
    assert_eq!(both.validate(), Err(TcbPolicyError::Contradiction));
    assert_eq!(tcb_policy().validate(), Ok(()));
}

#[test]
fn h04_encodings_are_frozen() {
    golden("identity.cbor.hex", &hex::encode(identity().to_cbor()));
    golden("identity.digest.hex", &identity().digest().to_string());
    golden("build-rules.cbor.hex", &hex::encode(encode(&rules())));
    let small = TcbPolicy {
        roots: vec![vec![1, 2, 3]],
        ..tcb_policy()
    };
    golden("tcb-policy.cbor.hex", &hex::encode(encode(&small)));
    let tiny = Collateral {
        pck_crl_issuer_chain: "a".into(),
        root_ca_crl: vec![1],
        pck_crl: vec![2],
        tcb_info_issuer_chain: "b".into(),
        tcb_info: "c".into(),
        tcb_info_signature: vec![3],
        qe_identity_issuer_chain: "d".into(),
        qe_identity: "e".into(),
        qe_identity_signature: vec![4],
    };
    golden("collateral.cbor.hex", &hex::encode(encode(&tiny)));
    let quote = check_quote(
        PHALA_QUOTE,
        &phala(),
        &lenient(),
        QuoteTime(0),
        Purpose::Receipt,
    );
    golden(
        "phala.platform-id.hex",
        &quote.unwrap().platform().to_string(),
    );
}

#[test]
fn h04_unknown_fields_of_tomorrow_are_skipped() {
    // A map with one more key, 99, whose value is nested.
    let more = |cbor: Vec<u8>| {
        assert_eq!(cbor[0] & 0xe0, 0xa0);
        let mut out = cbor;
        out[0] += 1;
        out.extend_from_slice(&[0x18, 99, 0x82, 0x01, 0xa1, 0x02, 0x03]);
        out
    };
    assert_eq!(
        minicbor::decode::<BuildRules>(&more(encode(&rules()))).unwrap(),
        rules()
    );
    assert_eq!(
        minicbor::decode::<TcbPolicy>(&more(encode(&tcb_policy()))).unwrap(),
        tcb_policy()
    );
    assert_eq!(
        minicbor::decode::<Collateral>(&more(encode(&phala()))).unwrap(),
        phala()
    );
}

#[test]
fn a_sim_build_has_its_measurement_and_any_change_is_another() {
    let stream = sim_build("vault", "1", b"policy");
    let m = measure(&stream).unwrap();
    golden("sim-build.measurement.hex", &m.measurement.to_string());
    assert_eq!(
        (m.size, m.pages, m.ssa_frame_pages, m.unmeasured_chunks),
        (4096, 1, 1, 0)
    );
    // As for any SGXS stream without unmeasured records: sha256sum shows it.
    use sha2::Digest;
    assert_eq!(m.measurement.0[..], sha2::Sha256::digest(&stream)[..]);
    for other in [
        sim_build("vault", "2", b"policy"),
        sim_build("vaul", "t1", b"policy"),
        sim_build("vault", "1", b"policy\0"),
    ] {
        assert_ne!(measure(&other).unwrap().measurement, m.measurement);
    }
    let big = measure(&sim_build("vault", "1", &[1; 10_000])).unwrap();
    assert_eq!((big.size, big.pages), (16_384, 3));
}

#[test]
fn a21_a_stream_that_is_not_canonical_is_refused() {
    let good = sim_build("vault", "1", &[1; 10_000]);
    let (page, record, chunk) = (64 + 16 * 320, 64, 320);
    for len in (0..good.len())
        .step_by(37)
        .filter(|l| !l.is_multiple_of(64))
    {
        assert!(
            matches!(measure(&good[..len]), Err(SgxsError::Truncated { .. })),
            "{len}"
        );
    }
    assert_eq!(measure(&[]), Err(SgxsError::Create { at: 0 }));
    assert_eq!(measure(&good[record..]), Err(SgxsError::Create { at: 0 }));
    let twice = [&good[..record], &good[..]].concat();
    assert_eq!(measure(&twice), Err(SgxsError::Create { at: 64 }));
    let pages_swapped = [
        &good[..record],
        &good[record + page..record + 2 * page],
        &good[record..record + page],
    ]
    .concat();
    assert!(matches!(
        measure(&pages_swapped),
        Err(SgxsError::Value { .. })
    ));
    let page_twice = [&good[..record + page], &good[record..record + page]].concat();
    assert!(matches!(measure(&page_twice), Err(SgxsError::Value { .. })));
    let at = 2 * record;
    let chunk_twice = [&good[..at + chunk], &good[at..at + chunk]].concat();
    assert!(matches!(
        measure(&chunk_twice),
        Err(SgxsError::Value { .. })
    ));
    for (offset, value) in [
        (8, 0),
        (12, 1),
        (30, 1),
        (64 + 8, 1),
        (64 + 30, 1),
        (128 + 8, 1),
        (128 + 20, 1),
        (64, b'x'),
    ] {
        let mut bad = good.clone();
        bad[offset] = value;
        assert!(measure(&bad).is_err(), "{offset}");
    }
}

#[test]
fn an_unmeasured_chunk_is_counted_and_changes_no_measurement() {
    let good = sim_build("vault", "1", b"policy");
    let mut open = good.clone();
    // The last chunk of the page, unmeasured, with other content.
    let at = good.len() - 320;
    open[at..at + 8].copy_from_slice(b"UNMEASRD");
    open[at + 100] = 1;
    let (m, cut) = (measure(&open).unwrap(), measure(&good[..at]).unwrap());
    assert_eq!((m.unmeasured_chunks, m.measurement), (1, cut.measurement));
}

fn signed() -> (SigningKey, Sigstruct) {
    let key = SigningKey::development(1).unwrap();
    let s = key.sign_build(Measurement([0x11; 32]), 0x0304, 5).unwrap();
    (key, s)
}

#[test]
fn a_signed_build_launches_with_the_identity_that_was_signed() {
    let (key, s) = signed();
    let bytes = s.to_bytes();
    assert_eq!(Sigstruct::parse(&bytes).unwrap(), s);
    let checked = check_sigstruct(&bytes).unwrap();
    assert_eq!(checked.fields().signer(), key.signer());
    let production = Attributes {
        flags: flags::MODE64BIT,
        xfrm: 3,
    };
    let id = checked
        .launch(Measurement([0x11; 32]), production, 0)
        .unwrap();
    assert_eq!(
        id,
        Identity {
            signer: key.signer(),
            ..identity()
        }
    );
    let refused = |m, flags, xfrm, misc| {
        checked
            .launch(Measurement([m; 32]), Attributes { flags, xfrm }, misc)
            .is_err()
    };
    assert!(refused(0x12, 4, 3, 0), "another measurement");
    assert!(refused(0x11, 4 | flags::DEBUG, 3, 0), "DEBUG");
    assert!(
        refused(0x11, 4 | flags::PROVISION_KEY, 3, 0),
        "the provisioning key"
    );
    assert!(refused(0x11, 4, 1, 0), "XFRM");
    assert!(refused(0x11, 4, 3, 1), "MISCSELECT");
    golden(
        "development-signers.hex",
        &[1, 2]
            .map(|n| SigningKey::development(n).unwrap().signer().to_string())
            .join("\n"),
    );
}

#[test]
fn a21_a_changed_sigstruct_is_refused() {
    let (_, s) = signed();
    let good = s.to_bytes();
    for at in [
        0, 16, 20, 24, 40, 44, 128, 300, 512, 516, 700, 900, 904, 908, 912, 928, 944, 960, 991,
        992, 1008, 1024, 1026, 1028, 1040, 1424, 1807,
    ] {
        let mut bad = good;
        bad[at] ^= 1;
        assert!(check_sigstruct(&bad).is_err(), "{at}");
    }
    assert_eq!(
        check_sigstruct(&good[..1807]),
        Err(SigstructError::Length { got: 1807 })
    );
    let zero = Sigstruct {
        modulus: [0; 384],
        ..s
    };
    assert!(check_sigstruct(&zero.to_bytes()).is_err());
    assert!(SigningKey::development(3).is_err());
    assert!(SigningKey::from_pem("no key").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a21_no_bytes_make_a_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _ = check_report(&bytes, &[0; 16]);
        let _ = Sigstruct::parse(&bytes);
        let _ = measure(&bytes);
        let _ = Collateral::from_json(&bytes);
        let _ = minicbor::decode::<Collateral>(&bytes);
        let _ = minicbor::decode::<TcbPolicy>(&bytes);
        let _ = check_quote(&bytes, &phala(), &lenient(), QuoteTime(0), Purpose::Receipt);
    }

    #[test]
    fn a21_no_change_of_a_genuine_quote_is_accepted_as_another_identity(
        at in 0usize..4600, flip in 1u8..
    ) {
        let mut changed = PHALA_QUOTE.to_vec();
        changed[at] ^= flip;
        let check = |q: &[u8]| check_quote(q, &phala(), &lenient(), QuoteTime(0), Purpose::Receipt);
        if let Ok(got) = check(&changed) {
            // White space and the end of the PEM chain are outside every signature, and change nothing.
            prop_assert!(at >= 436);
            prop_assert_eq!(got, check(PHALA_QUOTE).unwrap());
        }
    }

    #[test]
    fn structures_survive_a_round_trip(bytes in proptest::collection::vec(any::<u8>(), 512)) {
        let body: [u8; 384] = bytes[..384].try_into().unwrap();
        if let Ok(b) = ReportBody::parse(&body) { prop_assert_eq!(b.to_bytes(), body); }
        let all: [u8; 512] = bytes.clone().try_into().unwrap();
        if let Ok(t) = TargetInfo::parse(&all) { prop_assert_eq!(t.to_bytes(), all); }
        let mut key = [0u8; 512];
        key[..78].copy_from_slice(&bytes[..78]);
        (key[2], key[3], key[6], key[7]) = (key[2] & 0x3f, 0, 0, 0);
        prop_assert_eq!(KeyRequest::parse(&key).unwrap().to_bytes(), key);
    }
}

#[test]
fn statuses_have_intels_names() {
    for status in lenient().statuses {
        let json = serde_json::to_string(&status).unwrap();
        assert_eq!(json, format!("\"{status}\""));
    }
    assert_eq!(
        TcbStatus::SwHardeningNeeded.to_string(),
        "SWHardeningNeeded"
    );
}
