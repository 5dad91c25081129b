//! The model-based light client suite of informalsystems: 40 files, 98 steps.
//!
//! The same verifier as the enclave's; `now` and the age limit of adjacent steps are arguments, set as the suite
//! expects.

mod common;

use std::time::Duration;

use baton_chain::light::{
    LightBlock, LightError, Now, StepParams, Time, TrustedHeader, verify_step,
};
use baton_chain::rpc;
use serde_json::Value;

fn time(json: &Value) -> Time {
    tendermint::Time::parse_from_rfc3339(json.as_str().unwrap())
        .unwrap()
        .into()
}

fn light_block(json: &Value) -> LightBlock {
    LightBlock {
        signed_header: rpc::signed_header(&json["signed_header"]).unwrap(),
        validators: rpc::validator_set(&json["validator_set"]).unwrap(),
        next_validators: Some(rpc::validator_set(&json["next_validator_set"]).unwrap()),
    }
}

fn trust(signed_header: Vec<u8>) -> TrustedHeader {
    let block = LightBlock {
        signed_header,
        validators: vec![],
        next_validators: None,
    };
    let chain_id = chain_id(&block);
    TrustedHeader::from_checkpoint(&chain_id, &block.untrusted_checkpoint().unwrap(), &block)
        .unwrap()
}

fn chain_id(block: &LightBlock) -> String {
    use prost::Message;
    let raw = tendermint_proto::v0_38::types::SignedHeader::decode(block.signed_header.as_slice())
        .unwrap();
    raw.header.unwrap().chain_id
}

fn verdict(result: &Result<TrustedHeader, LightError>) -> &'static str {
    match result {
        Ok(_) => "SUCCESS",
        Err(LightError::NotEnoughTrust { .. }) => "NOT_ENOUGH_TRUST",
        Err(_) => "INVALID",
    }
}

#[test]
fn all_98_steps_end_as_the_model_says() {
    let folder = format!("{}/tests/fixtures/chain/mbt", env!("CARGO_MANIFEST_DIR"));
    let (mut files, mut steps) = (0, 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.ends_with(".json") {
            continue;
        }
        files += 1;
        let case = common::fixture(&format!("mbt/{name}"));
        let initial = &case["initial"];
        let mut trusted = trust(rpc::signed_header(&initial["signed_header"]).unwrap());
        let mut next = rpc::validator_set(&initial["next_validator_set"]).unwrap();
        let period = initial["trusting_period"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        for (i, input) in case["input"].as_array().unwrap().iter().enumerate() {
            steps += 1;
            let params = StepParams {
                trusting_period: Some(Duration::from_nanos(period)),
                trust_threshold: (1, 3),
                now: Now::At(time(&input["now"])),
                adjacent_age_limit: true,
            };
            let block = light_block(&input["block"]);
            let result = verify_step(&trusted, Some(&next), &block, &params);
            assert_eq!(
                verdict(&result),
                input["verdict"].as_str().unwrap(),
                "{name} step {i}: {result:?}"
            );
            if let Ok(header) = result {
                (trusted, next) = (header, block.next_validators.unwrap());
            }
        }
    }
    assert_eq!((files, steps), (40, 98));
}

/// The bisection files were made with the header encoding before Tendermint 0.34: under today's, no header in them hashes
/// to what its commit signed, so every verifier of today refuses their first step. They stay as foreign input.
#[test]
fn bisection_files_with_the_old_header_encoding_are_refused() {
    let mut files = 0;
    for folder in ["single_peer", "multi_peer"] {
        let path = format!(
            "{}/tests/fixtures/chain/mbt/bisection/{folder}",
            env!("CARGO_MANIFEST_DIR")
        );
        for entry in std::fs::read_dir(path).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let case = common::fixture(&format!("mbt/bisection/{folder}/{name}"));
            let blocks: Vec<_> = case["primary"]["lite_blocks"]
                .as_array()
                .unwrap()
                .iter()
                .map(light_block)
                .collect();
            let trusted = trust(blocks[0].signed_header.clone());
            assert_ne!(
                hex::encode_upper(trusted.hash()),
                case["trust_options"]["hash"].as_str().unwrap()
            );
            let params = StepParams {
                trusting_period: None,
                trust_threshold: (1, 3),
                now: Now::At(time(&case["now"])),
                adjacent_age_limit: false,
            };
            let result = verify_step(
                &trusted,
                blocks[0].next_validators.as_deref(),
                &blocks[1],
                &params,
            );
            assert!(result.is_err(), "{name}");
            files += 1;
        }
    }
    assert_eq!(files, 8);
}

/// Bisection as a host does it: straight to the target, else through the middle. Gives the number of halvings.
fn bisect(blocks: &[LightBlock], params: &StepParams) -> Result<usize, LightError> {
    let target = blocks.last().unwrap().height()?;
    let mut trusted = trust(blocks[0].signed_header.clone());
    let mut next = blocks[0].next_validators.clone();
    let (mut pivot, mut halvings) = (target, 0);
    while trusted.height() < target {
        let block = blocks.iter().find(|b| b.height() == Ok(pivot)).unwrap();
        match verify_step(&trusted, next.as_deref(), block, params) {
            Ok(header) => (trusted, next, pivot) = (header, block.next_validators.clone(), target),
            Err(LightError::NotEnoughTrust { .. }) if pivot > trusted.height() + 1 => {
                pivot = (trusted.height() + pivot) / 2;
                halvings += 1;
            }
            Err(e) => return Err(e),
        }
    }
    Ok(halvings)
}

/// Heights 1 to 11; at each height one of `size` validators is replaced.
fn rolling_chain(size: u64) -> Vec<LightBlock> {
    let set = |h: i64| {
        (h as u64..h as u64 + size)
            .map(|n| common::val(n, 1))
            .collect::<Vec<_>>()
    };
    (1..=11)
        .map(|h| {
            let mut m = common::make(h, h * 10, &set(h));
            m.next = set(h + 1);
            m.light_block()
        })
        .collect()
}

#[test]
fn bisection_needs_no_halving_some_or_all_of_them() {
    let params = StepParams {
        trusting_period: Some(Duration::from_secs(1000)),
        trust_threshold: (1, 3),
        now: Now::OfTheHeader,
        adjacent_age_limit: false,
    };
    assert_eq!(bisect(&rolling_chain(40), &params), Ok(0));
    assert!(bisect(&rolling_chain(6), &params).unwrap() > 1);
    assert!(bisect(&rolling_chain(1), &params).unwrap() > 9);
    let expired = StepParams {
        trusting_period: Some(Duration::from_secs(5)),
        ..params
    };
    assert!(matches!(
        bisect(&rolling_chain(40), &expired),
        Err(LightError::Expired { .. })
    ));
}
