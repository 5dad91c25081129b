//! A small state with true ICS23 proofs, and headers that prove it, for this crate's own tests.

use alloc::{collections::BTreeMap, string::String, vec, vec::Vec};

use ics23::{
    CommitmentProof, ExistenceProof, HashOp, InnerOp, LeafOp, LengthOp, NonExistenceProof, commitment_proof::Proof,
};
use prost_ics23::Message;
use sha2::{Digest, Sha256};

use crate::light::{Time, TrustedHeader};
use crate::proofs::StateProof;

pub type Hash = [u8; 32];

/// Store name -> key -> value.
#[derive(Clone, Default)]
pub struct State(pub BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>);

#[derive(Clone, Copy)]
enum Form {
    Iavl,
    Simple,
}

fn sha(parts: &[&[u8]]) -> Hash {
    let mut h = Sha256::new();
    parts.iter().for_each(|p| h.update(p));
    h.finalize().into()
}

fn var(n: usize, out: &mut Vec<u8>) {
    let mut n = n;
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn leaf_op(form: Form) -> LeafOp {
    let prefix = match form {
        Form::Iavl => vec![0, 2, 2], // height 0, size 1, version 1, zigzag
        Form::Simple => vec![0],
    };
    LeafOp {
        hash: HashOp::Sha256.into(),
        prehash_key: HashOp::NoHash.into(),
        prehash_value: HashOp::Sha256.into(),
        length: LengthOp::VarProto.into(),
        prefix,
    }
}

/// Root, and for every leaf its way up.
fn tree(form: Form, leaves: &[(Vec<u8>, Vec<u8>)]) -> (Hash, Vec<Vec<InnerOp>>, usize) {
    if let [(key, value)] = leaves {
        let mut bytes = leaf_op(form).prefix;
        var(key.len(), &mut bytes);
        bytes.extend(key);
        bytes.push(32);
        bytes.extend(sha(&[value]));
        return (sha(&[&bytes]), vec![vec![]], 0);
    }
    let (l, r) = leaves.split_at(leaves.len().next_power_of_two() / 2);
    let ((lh, lp, ld), (rh, rp, rd)) = (tree(form, l), tree(form, r));
    let depth = ld.max(rd) + 1;
    let (prefix, mark): (Vec<u8>, &[u8]) = match form {
        Form::Iavl => {
            let mut p = vec![];
            var(depth * 2, &mut p);
            var(leaves.len() * 2, &mut p);
            var(2, &mut p);
            (p, &[32])
        }
        Form::Simple => (vec![1], &[]),
    };
    let hash: i32 = HashOp::Sha256.into();
    let left = InnerOp { hash, prefix: [&prefix, mark].concat(), suffix: [mark, &rh].concat() };
    let right = InnerOp { hash, prefix: [&prefix[..], mark, &lh, mark].concat(), suffix: vec![] };
    let with = |ways: Vec<Vec<InnerOp>>, op: InnerOp| {
        ways.into_iter().map(move |mut w| {
            w.push(op.clone());
            w
        })
    };
    let ways = with(lp, left).chain(with(rp, right)).collect();
    (sha(&[&prefix, mark, &lh, mark, &rh]), ways, depth)
}

fn exist(form: Form, leaves: &[(Vec<u8>, Vec<u8>)], at: usize) -> ExistenceProof {
    let (key, value) = leaves[at].clone();
    ExistenceProof { key, value, leaf: Some(leaf_op(form)), path: tree(form, leaves).1[at].clone() }
}

impl State {
    /// Sets one value.
    pub fn put(&mut self, store: &str, key: &[u8], value: impl Into<Vec<u8>>) -> &mut Self {
        self.0.entry(store.into()).or_default().insert(key.to_vec(), value.into());
        self
    }

    fn leaves(&self, store: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.0[store].iter().map(|(k, v)| (k.clone(), v.clone())).collect()
    }

    fn roots(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.0.keys().map(|s| (s.clone().into_bytes(), tree(Form::Iavl, &self.leaves(s)).0.to_vec())).collect()
    }

    /// The root of all stores.
    pub fn app_hash(&self) -> Hash {
        tree(Form::Simple, &self.roots()).0
    }

    /// Presence or absence of a key, as it is.
    pub fn prove(&self, store: &str, key: &[u8]) -> StateProof {
        let leaves = self.leaves(store);
        let value = self.0[store].get(key).cloned();
        let proof = match leaves.binary_search_by(|(k, _)| k.as_slice().cmp(key)) {
            Ok(at) => Proof::Exist(exist(Form::Iavl, &leaves, at)),
            Err(at) => Proof::Nonexist(NonExistenceProof {
                key: key.to_vec(),
                left: at.checked_sub(1).map(|l| exist(Form::Iavl, &leaves, l)),
                right: (at < leaves.len()).then(|| exist(Form::Iavl, &leaves, at)),
            }),
        };
        let roots = self.roots();
        let at = roots.iter().position(|(s, _)| s == store.as_bytes()).unwrap();
        let simple = Proof::Exist(exist(Form::Simple, &roots, at));
        let bytes = |p| CommitmentProof { proof: Some(p) }.encode_to_vec();
        StateProof { store: store.into(), key: key.to_vec(), value, iavl: bytes(proof), simple: bytes(simple) }
    }
}

/// What a test header says; turned into a trusted one by the door that is for sealed bytes only.
#[derive(Clone)]
pub struct Header {
    pub height: u64,
    pub secs: i64,
    pub hash: Hash,
    pub last: Hash,
    pub app_hash: Hash,
    pub data_hash: Option<Hash>,
    pub validators_hash: Hash,
    pub next_validators_hash: Hash,
}

impl Header {
    /// The same CBOR array as [`TrustedHeader::to_bytes`].
    pub fn trusted(&self) -> TrustedHeader {
        let mut out = Vec::new();
        let mut e = minicbor::Encoder::new(&mut out);
        e.array(9).unwrap().str("test-1").unwrap().u64(self.height).unwrap();
        e.encode(Time { secs: self.secs, nanos: 0 }).unwrap();
        e.bytes(&self.hash).unwrap().bytes(&self.last).unwrap().bytes(&self.app_hash).unwrap();
        match &self.data_hash {
            Some(h) => e.bytes(h).unwrap(),
            None => e.null().unwrap(),
        };
        e.bytes(&self.validators_hash).unwrap().bytes(&self.next_validators_hash).unwrap();
        TrustedHeader::danger_from_sealed_bytes(&out).unwrap()
    }
}

#[test]
fn the_test_state_proves_with_the_stock_specs() {
    let mut s = State::default();
    for i in 0..5u8 {
        s.put("gov", &[i * 2], [i]).put("upgrade", &[i * 2], [i]).put("z", &[i], [i]);
    }
    let header = Header {
        height: 5, secs: 1, hash: [1; 32], last: [2; 32], app_hash: s.app_hash(), data_hash: None, validators_hash: [3; 32],
        next_validators_hash: [9; 32],
    }
    .trusted();
    for key in 0..11u8 {
        let proof = s.prove("gov", &[key]);
        let proven = crate::proofs::verify_state(&header, &proof).unwrap();
        assert_eq!(proven.value().is_some(), key % 2 == 0 && key < 10);
    }
}

/// One validator's `ValidatorSet` (protobuf) with this power.
pub fn validator_set(power: i64) -> Vec<u8> {
    validator_set_of(&[(7, power)])
}

/// The consensus key of a test validator.
pub fn consensus_key(seed: u8) -> [u8; 32] {
    ed25519_dalek::SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes()
}

/// A `ValidatorSet` (protobuf) of keys and powers, highest power first.
pub fn validator_set_of(members: &[(u8, i64)]) -> Vec<u8> {
    use tendermint_proto::v0_38::{crypto, types as pb};
    let validators: Vec<pb::Validator> = members
        .iter()
        .map(|(seed, power)| {
            let key = consensus_key(*seed);
            pb::Validator {
                address: Sha256::digest(key)[..20].to_vec(),
                pub_key: Some(crypto::PublicKey { sum: Some(crypto::public_key::Sum::Ed25519(key.to_vec())) }),
                voting_power: *power,
                proposer_priority: 0,
            }
        })
        .collect();
    let total_voting_power = members.iter().map(|(_, p)| p).sum();
    let set = pb::ValidatorSet { proposer: validators.first().cloned(), validators, total_voting_power };
    prost::Message::encode_to_vec(&set)
}

/// A light block whose header is whole and whose commit is not signed: only its header may be believed, by a hash link.
pub fn bare_block(height: i64, secs: i64, last: Option<Hash>, validators: &[u8]) -> crate::light::LightBlock {
    use tendermint_proto::google::protobuf::Timestamp;
    use tendermint_proto::v0_38::{types as pb, version};
    let hash = crate::light::validator_set_hash(validators).unwrap().to_vec();
    let id = |h: Hash| pb::BlockId {
        hash: h.to_vec(),
        part_set_header: Some(pb::PartSetHeader { total: 1, hash: h.to_vec() }),
    };
    let stamp = Some(Timestamp { seconds: secs, nanos: 0 });
    let header = pb::Header {
        version: Some(version::Consensus { block: 11, app: 0 }),
        chain_id: "test-1".into(),
        height,
        time: stamp,
        last_block_id: last.map(id),
        last_commit_hash: vec![1; 32],
        data_hash: vec![],
        validators_hash: hash.clone(),
        next_validators_hash: hash,
        consensus_hash: vec![1; 32],
        app_hash: vec![1; 32],
        last_results_hash: vec![1; 32],
        evidence_hash: vec![1; 32],
        proposer_address: vec![1; 20],
    };
    let vote = pb::CommitSig { block_id_flag: 2, validator_address: vec![1; 20], timestamp: stamp, signature: vec![1; 64] };
    let commit = pb::Commit { height, round: 0, block_id: Some(id([5; 32])), signatures: vec![vote] };
    crate::light::LightBlock {
        signed_header: prost::Message::encode_to_vec(&pb::SignedHeader { header: Some(header), commit: Some(commit) }),
        validators: validators.to_vec(),
        next_validators: None,
    }
}

/// The usual bars of x/gov, with a lead window of 20 blocks.
pub fn policy() -> crate::ChainPolicy {
    let d = |s: &str| s.parse().unwrap();
    crate::ChainPolicy {
        chain_id: "test-1".into(),
        checkpoint: crate::Checkpoint { height: 2, hash: [1; 32] },
        trusting_period_secs: 14 * 86_400,
        trust_threshold: (1, 3),
        quorum: d("0.334"),
        threshold: d("0.5"),
        veto: d("0.334"),
        expedited_threshold: d("0.667"),
        slack: d("0.005"),
        override_share: d("0.666666666666666667"),
        power_reduction: 1_000_000,
        lead_blocks: 20,
    }
}

/// A light client that follows `head`, started at the policy's checkpoint.
pub fn client(policy: &crate::ChainPolicy, head: &Header) -> crate::light::LightClient {
    let checkpoint = policy.checkpoint;
    let first = Header { height: checkpoint.height, secs: 1, hash: checkpoint.hash, ..head.clone() };
    let mut out = baton_attest::identity::encode(&checkpoint);
    out.insert(0, 0x83);
    out.push(0x81);
    out.extend(first.trusted().to_bytes());
    out.extend(head.trusted().to_bytes());
    crate::light::LightClient::danger_from_sealed_bytes(&out, policy).unwrap()
}
