//! One header, and several of one validator set, against tendermint-light-client-verifier as it comes, in one run.
//!
//! Each case prints the ratio of the two fastest runs: theirs over ours. The goal for one header is 2.3 on a generic build.

#[path = "../tests/common/mod.rs"]
mod common;

use std::hint::black_box;
use std::time::{Duration, Instant};

use baton_chain::light::ed25519::{Signed, verify, verify_batch};
use baton_chain::light::{LightBlock, LightClient};
use common::{DAY, PERIOD, make, path, policy_of, vals};
use criterion::{Criterion, criterion_group, criterion_main};
use ed25519_dalek::Signer;
use tendermint::block::signed_header::SignedHeader;
use tendermint::validator::Set;
use tendermint_light_client_verifier::options::Options;
use tendermint_light_client_verifier::types::{
    TrustThreshold, TrustedBlockState, UntrustedBlockState,
};
use tendermint_light_client_verifier::{ProdVerifier, Verdict, Verifier};
use tendermint_proto::Protobuf;
use tendermint_proto::v0_38::types as pb;

fn theirs(from: &LightBlock, blocks: &[LightBlock]) {
    // From bytes, as ours.
    let header = |b: &LightBlock| {
        <SignedHeader as Protobuf<pb::SignedHeader>>::decode_vec(&b.signed_header).unwrap()
    };
    let set = |b: &[u8]| <Set as Protobuf<pb::ValidatorSet>>::decode_vec(b).unwrap();
    let mut trusted = header(from);
    let mut next = set(from.next_validators.as_deref().unwrap());
    for block in blocks {
        let (signed_header, validators) = (header(block), set(&block.validators));
        let following = set(block.next_validators.as_deref().unwrap());
        let options = Options {
            trust_threshold: TrustThreshold::ONE_THIRD,
            trusting_period: Duration::from_secs(PERIOD as u64),
            clock_drift: Duration::from_secs(1),
        };
        let verdict = ProdVerifier::default().verify_update_header(
            UntrustedBlockState {
                signed_header: &signed_header,
                validators: &validators,
                next_validators: Some(&following),
            },
            TrustedBlockState {
                chain_id: &trusted.header.chain_id,
                header_time: trusted.header.time,
                height: trusted.header.height,
                next_validators: &next,
                next_validators_hash: trusted.header.next_validators_hash,
            },
            &options,
            signed_header.header.time,
        );
        assert!(matches!(verdict, Verdict::Success), "{verdict:?}");
        (trusted, next) = (signed_header, following);
    }
}

fn ours(client: &LightClient, from: &LightBlock, blocks: &[LightBlock]) {
    let mut client = client.clone();
    client.advance(&path(from, blocks)).unwrap();
}

/// The fastest of alternating runs: both are pure computation, so all above it is the machine's other work.
fn ratio(mut theirs: impl FnMut(), mut ours: impl FnMut()) -> (Duration, Duration, f64) {
    let time = |f: &mut dyn FnMut()| {
        let start = Instant::now();
        f();
        start.elapsed()
    };
    let (mut a, mut b) = (Duration::MAX, Duration::MAX);
    for _ in 0..200 {
        a = a.min(time(&mut theirs));
        b = b.min(time(&mut ours));
    }
    (a, b, a.as_secs_f64() / b.as_secs_f64())
}

/// Signatures alone, per signature: one by one, and in a batch.
fn signatures() {
    let keys: Vec<_> = vals(&[1; 334]).into_iter().map(|v| v.key).collect();
    let message = [7; 120];
    let made: Vec<_> = keys
        .iter()
        .map(|k| (k.verifying_key().to_bytes(), k.sign(&message).to_bytes()))
        .collect();
    let all: Vec<_> = made
        .iter()
        .map(|(key, signature)| Signed {
            key,
            message: &message,
            signature,
        })
        .collect();
    for n in [67, 117, 334] {
        let part = &all[..n];
        let (single, batch, ratio) = ratio(
            || assert!(part.iter().all(verify)),
            || assert!(verify_batch(part)),
        );
        let each = |d: Duration| d / n as u32;
        println!(
            "{n} signatures: singly {:?}, batched {:?} each, ratio {ratio:.2}",
            each(single),
            each(batch)
        );
    }
}

fn bench(c: &mut Criterion) {
    signatures();
    for (validators, headers) in [(100, 1), (175, 1), (500, 1), (100, 10), (175, 10)] {
        let set = vals(&vec![10; validators]);
        let from = make(1, DAY, &set).light_block();
        // One header is a skip from a day before; several are adjacent.
        let first = if headers == 1 { 5 } else { 2 };
        let blocks: Vec<_> = (0..headers)
            .map(|i| make(first + i, (2 + i) * DAY, &set).light_block())
            .collect();
        let client =
            LightClient::from_checkpoint(&policy_of("test-1", &from, PERIOD), &from).unwrap();
        let (a, b, ratio) = ratio(
            || theirs(black_box(&from), &blocks),
            || ours(&client, black_box(&from), &blocks),
        );
        println!(
            "{validators} validators, {headers} headers: library {a:?}, ours {b:?}, ratio {ratio:.2}"
        );
        let name = format!("{validators}_validators_{headers}_headers");
        let mut group = c.benchmark_group(name);
        group.sample_size(10);
        group.bench_function("tendermint-light-client-verifier", |bench| {
            bench.iter(|| theirs(black_box(&from), &blocks))
        });
        group.bench_function("baton", |bench| {
            bench.iter(|| ours(&client, black_box(&from), &blocks))
        });
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
