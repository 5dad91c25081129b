//! Our hashes and signed bytes against those of a recorded real chain.

use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::Value;
use tendermint_proto::types::{Block, SignedHeader};

use super::*;

fn fixture(name: &str) -> Value {
    let path = format!("{}/tests/fixtures/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn signed_header(light_block: &Value) -> SignedHeader {
    serde_json::from_value(light_block["commit"]["signed_header"].clone()).unwrap()
}

#[test]
fn a_recorded_header_has_the_hash_that_its_commit_names() {
    let file = fixture("passed");
    for block in [&file["trusted"], &file["target"], &file["vote_end"]["at"]] {
        let signed = signed_header(block);
        let named = signed.commit.unwrap().block_id.unwrap().hash;
        assert_eq!(header_hash(&signed.header.unwrap()).to_vec(), named);
    }
}

#[test]
fn a_recorded_commit_has_the_hash_that_the_next_header_names() {
    let file = fixture("passed");
    let before = signed_header(&file["vote_end"]["before"]).commit.unwrap();
    let at = signed_header(&file["vote_end"]["at"]).header.unwrap();
    assert_eq!(commit_hash(&before).to_vec(), at.last_commit_hash);
}

#[test]
fn the_time_of_a_recorded_header_is_the_median_of_the_commit_before() {
    let file = fixture("passed");
    let before = signed_header(&file["vote_end"]["before"]).commit.unwrap();
    let members: Vec<Member> = members(&file["vote_end"]["before"]);
    let ballot = |(member, signature): (_, &CommitSig)| {
        let absent = signature.block_id_flag == BlockIdFlag::Absent as i32;
        let vote = if absent {
            Precommit::Absent
        } else {
            Precommit::Commit
        };
        let time = nanos(signature.timestamp.unwrap_or(ZERO_TIME));
        Ballot { member, vote, time }
    };
    let ballots: Vec<_> = members.iter().zip(&before.signatures).map(ballot).collect();
    let at = signed_header(&file["vote_end"]["at"]).header.unwrap();
    assert_eq!(timestamp(median_time(&ballots)), at.time.unwrap());
}

#[test]
fn a_recorded_validator_set_has_the_hash_that_its_header_names() {
    let file = fixture("passed");
    let mut set = ValidatorSet {
        members: members(&file["target"]),
        hash: [0; 32],
        proposer: 0,
    };
    set.members.reverse();
    set.settle();
    let header = signed_header(&file["target"]).header.unwrap();
    assert_eq!(set.hash.to_vec(), header.validators_hash);
    assert_eq!(set.members, members(&file["target"]));
}

#[test]
fn recorded_signatures_are_over_the_bytes_that_we_sign() {
    let file = fixture("passed");
    let commit = signed_header(&file["target"]).commit.unwrap();
    let mut checked = 0;
    for (member, signature) in members(&file["target"]).iter().zip(&commit.signatures) {
        if signature.block_id_flag != BlockIdFlag::Commit as i32 {
            continue;
        }
        let time = signature.timestamp.unwrap();
        let bytes = sign_bytes(
            "baton-fixture-1",
            commit.height,
            commit.block_id.as_ref(),
            time,
        );
        let key = VerifyingKey::from_bytes(&member.public).unwrap();
        let signature = Signature::from_slice(&signature.signature).unwrap();
        key.verify_strict(&bytes, &signature).unwrap();
        let other = sign_bytes(
            "baton-fixture-2",
            commit.height,
            commit.block_id.as_ref(),
            time,
        );
        assert!(key.verify_strict(&other, &signature).is_err());
        checked += 1;
    }
    assert!(checked >= 3);
}

#[test]
fn a_recorded_block_has_the_parts_that_its_id_names() {
    let file = fixture("publication");
    let result = &file["txs"][0]["block"]["result"];
    let id: BlockId = serde_json::from_value(result["block_id"].clone()).unwrap();
    let block: Block = serde_json::from_value(result["block"].clone()).unwrap();
    assert_eq!(Some(parts(&block.encode_to_vec())), id.part_set_header);
}

#[test]
fn a_newcomer_proposes_last_and_priorities_stay_centred() {
    let set = ValidatorSet::genesis(members(&fixture("voting")["trusted"]));
    let newcomer = Member {
        index: 9,
        address: [9; 20],
        public: [9; 32],
        power: 300,
        priority: 0,
    };
    let updated = set.updated(&BTreeMap::from([(9, newcomer)]));
    let sum: i64 = updated.members.iter().map(|member| member.priority).sum();
    assert!((0..updated.members.len() as i64).contains(&sum), "{sum}");
    let last = updated.members.iter().min_by_key(|member| member.priority);
    assert_eq!(last.unwrap().index, 9);
    assert_eq!(updated.members[0].index, 9);
    assert_ne!(updated.hash, set.hash);
}

fn members(light_block: &Value) -> Vec<Member> {
    use base64::Engine as _;
    let list = light_block["validators"]["validators"].as_array().unwrap();
    let member = |(index, validator): (usize, &Value)| {
        let text = |field: &str| validator[field].as_str().unwrap();
        let key = validator["pub_key"]["value"].as_str().unwrap();
        let key = base64::engine::general_purpose::STANDARD
            .decode(key)
            .unwrap();
        Member {
            index,
            address: hex::decode(text("address")).unwrap().try_into().unwrap(),
            public: key.try_into().unwrap(),
            power: text("voting_power").parse().unwrap(),
            priority: 0,
        }
    };
    list.iter().enumerate().map(member).collect()
}
