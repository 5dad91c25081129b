//! Steps that many tests share.

use baton_devnet::sdk::Proposal;
use baton_devnet::{Config, Devnet, LightBlock, Text, YES};
use tendermint::block::signed_header::SignedHeader;
use tendermint::validator::Set;
use tendermint_light_client_verifier::options::Options;
use tendermint_light_client_verifier::types::{
    TrustThreshold, TrustedBlockState, UntrustedBlockState,
};
use tendermint_light_client_verifier::{ProdVerifier, Verdict, Verifier};
use tendermint_proto::Protobuf;

pub const PASSED: i32 = 3;
pub const REJECTED: i32 = 4;
pub const FAILED: i32 = 5;

pub fn chain() -> Devnet {
    Devnet::new(Config::default()).unwrap()
}

pub fn chain_of(powers: &[u64]) -> Devnet {
    Devnet::new(Config {
        powers: powers.to_vec(),
        ..Config::default()
    })
    .unwrap()
}

/// A chain with a passed plan for `height`.
pub fn chain_with_plan(name: &str, height: u64) -> Devnet {
    let mut chain = chain();
    let id = pass(&mut chain, name, height);
    assert_eq!(chain.proposal(id).unwrap().status, PASSED);
    chain
}

/// Proposes an upgrade and lets everybody vote yes.
pub fn pass(chain: &mut Devnet, name: &str, height: u64) -> u64 {
    let id = propose(chain, name, height);
    chain.carry(id, YES).unwrap();
    id
}

pub fn propose(chain: &mut Devnet, name: &str, height: u64) -> u64 {
    let message = Devnet::upgrade_message(name, height, "{}");
    chain
        .propose(vec![message], &Text::titled("An upgrade"), false)
        .unwrap()
        .expect("a proposal")
}

pub fn proposal(chain: &Devnet, id: u64) -> Proposal {
    chain.proposal(id).expect("a proposal")
}

/// A light block in the types of the stock verifier.
pub struct Decoded {
    pub signed_header: SignedHeader,
    pub validators: Set,
    pub next_validators: Set,
}

pub fn decode(block: &LightBlock) -> Decoded {
    let set = |bytes: &[u8]| {
        <Set as Protobuf<tendermint_proto::types::ValidatorSet>>::decode(bytes).unwrap()
    };
    type Raw = tendermint_proto::types::SignedHeader;
    Decoded {
        signed_header: <SignedHeader as Protobuf<Raw>>::decode(block.signed_header.as_slice())
            .unwrap(),
        validators: set(&block.validators),
        next_validators: set(&block.next_validators),
    }
}

pub fn decoded(chain: &Devnet, height: u64) -> Decoded {
    decode(&chain.light_block(height).unwrap())
}

/// One step of the stock light client, with a trust threshold of a third and `now` at the target's time.
pub fn verdict(trusted: &Decoded, target: &Decoded) -> Verdict {
    let options = Options {
        trust_threshold: TrustThreshold::ONE_THIRD,
        trusting_period: core::time::Duration::from_secs(14 * 24 * 3600),
        clock_drift: core::time::Duration::from_secs(10),
    };
    let header = &trusted.signed_header.header;
    let trusted = TrustedBlockState {
        chain_id: &header.chain_id,
        header_time: header.time,
        height: header.height,
        next_validators: &trusted.next_validators,
        next_validators_hash: header.next_validators_hash,
    };
    let untrusted = UntrustedBlockState {
        signed_header: &target.signed_header,
        validators: &target.validators,
        next_validators: Some(&target.next_validators),
    };
    ProdVerifier::default().verify_update_header(
        untrusted,
        trusted,
        &options,
        target.signed_header.header.time,
    )
}

#[track_caller]
pub fn assert_step(chain: &Devnet, from: u64, to: u64) {
    let verdict = verdict(&decoded(chain, from), &decoded(chain, to));
    assert_eq!(verdict, Verdict::Success, "{from} -> {to}");
}

/// Whether the chain's answer at `height` is proven by header `height + 1` of the same chain.
pub fn proven(chain: &Devnet, store: &str, key: &[u8], height: u64) -> Option<Option<Vec<u8>>> {
    let answer = chain.query(store, key, height).unwrap();
    let header = chain.signed_header(height + 1).unwrap().header.unwrap();
    let proofs = (answer.iavl.as_slice(), answer.simple.as_slice());
    crate::stock::answer_shows(
        proofs,
        &header.app_hash,
        store,
        key,
        answer.value.as_deref(),
    )
    .then_some(answer.value)
}

/// The key that marks a plan as done.
pub fn done_key(height: u64, name: &str) -> Vec<u8> {
    [&[1], height.to_be_bytes().as_slice(), name.as_bytes()].concat()
}
