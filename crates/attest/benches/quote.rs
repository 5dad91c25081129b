//! One quote, and a hundred quotes over one collateral set, against plain dcap-qvl on the same inputs.
//!
//! Signatures that verified are remembered, so every input is new when it comes: the pools are larger
//! than that memory, and go round. The ratios at the end are of interleaved runs.

use std::hint::black_box;
use std::time::{Duration, Instant};

use baton_attest::identity::{Attributes, Identity, Measurement, PLATFORM_SGX, Signer, flags};
use baton_attest::pki::{CollateralSpec, DevPki, PlatformSpec};
use baton_attest::policy::{TcbPolicy, TcbStatus};
use baton_attest::quote::{Collateral, Purpose, QuoteTime, check_quote};
use baton_attest::report::ReportBody;
use criterion::{BatchSize, Criterion};
use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::configs::RustCryptoConfig;
use dcap_qvl::verify::QuoteVerifier;

const NOW: u64 = 1_780_000_000;

/// A PKI with some machines: their quotes, and one collateral set in both forms.
struct Set {
    policy: TcbPolicy,
    quotes: Vec<Vec<u8>>,
    ours: Collateral,
    plain: QuoteCollateralV3,
}

fn set(number: u32, quotes: usize) -> Set {
    let mut seed = [0; 32];
    seed[..4].copy_from_slice(&number.to_le_bytes());
    let pki = DevPki::new(seed).unwrap();
    let ours = pki.collateral(&CollateralSpec::at(NOW)).unwrap();
    let body = ReportBody {
        cpu_svn: [8; 16],
        ext_product_id: [0; 16],
        family_id: [0; 16],
        identity: Identity {
            platform_tag: PLATFORM_SGX,
            measurement: Measurement([1; 32]),
            signer: Signer([2; 32]),
            product_id: 1,
            svn: 1,
            attributes: Attributes {
                flags: flags::INIT | flags::MODE64BIT,
                xfrm: 3,
            },
            misc_select: 0,
            config_id: [0; 64],
            config_svn: 0,
        },
        report_data: [3; 64],
    };
    let quote = |i: usize| {
        let platform = pki
            .platform(&i.to_string(), &PlatformSpec::default())
            .unwrap();
        platform.danger_quote_body(&body)
    };
    Set {
        policy: TcbPolicy {
            statuses: vec![TcbStatus::UpToDate],
            denied_advisories: vec![],
            allowed_advisories: None,
            min_tcb_evaluation: 17,
            max_collateral_age_secs: 86_400,
            roots: vec![pki.root_der().unwrap()],
        },
        quotes: (0..quotes).map(quote).collect(),
        plain: serde_json::from_str(&ours.to_json()).unwrap(),
        ours,
    }
}

fn ours(set: &Set) {
    for quote in &set.quotes {
        let checked = check_quote(
            quote,
            &set.ours,
            &set.policy,
            QuoteTime(NOW),
            Purpose::Secret,
        );
        black_box(checked.unwrap());
    }
}

fn plain(set: &Set) {
    let verifier = QuoteVerifier::<RustCryptoConfig>::new_with_config(set.policy.roots[0].clone());
    for quote in &set.quotes {
        black_box(verifier.verify(quote, &set.plain, NOW).unwrap());
    }
}

/// Time of both over the same sets, one after the other.
fn ratio(what: &str, sets: &[Set]) {
    let (mut of_ours, mut of_plain) = (Duration::ZERO, Duration::ZERO);
    let timed = |f: fn(&Set), set: &Set| {
        let start = Instant::now();
        f(set);
        start.elapsed()
    };
    for set in sets {
        of_plain += timed(plain, set);
        of_ours += timed(ours, set);
    }
    let quotes: usize = sets.iter().map(|s| s.quotes.len()).sum();
    let each = |d: Duration| d.as_secs_f64() * 1e6 / quotes as f64;
    println!(
        "{what}: {:.0} us each, plain dcap-qvl {:.0} us each: {:.2}x",
        each(of_ours),
        each(of_plain),
        of_plain.as_secs_f64() / of_ours.as_secs_f64()
    );
}

fn main() {
    let one: Vec<Set> = (0..400).map(|i| set(i, 1)).collect();
    let hundred: Vec<Set> = (0..8).map(|i| set(1000 + i, 100)).collect();
    let mut c = Criterion::default()
        .sample_size(10)
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    for (name, sets) in [("one quote", &one), ("100 quotes", &hundred)] {
        for (who, f) in [("baton", ours as fn(&Set)), ("plain dcap-qvl", plain)] {
            let mut next = sets.iter().cycle();
            c.bench_function(&format!("{name}, {who}"), |b| {
                b.iter_batched(|| next.next().unwrap(), f, BatchSize::PerIteration)
            });
        }
    }
    c.final_summary();
    ratio("one quote with new collateral", &one);
    ratio("100 quotes with one collateral set", &hundred);
}
