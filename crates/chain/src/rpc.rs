//! Readers of what nodes and relayers answer: RPC JSON, relayed IBC headers and proofs. For hosts, commands and tests.
//!
//! They only bring foreign forms into [`LightBlock`] and [`StateProof`], which stay untrusted. Every function takes
//! either the whole JSON-RPC answer or its `result`.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use serde_json::Value;
use tendermint::block::signed_header::SignedHeader;
use tendermint_proto::v0_38::{crypto as pbc, types as pb};

use crate::light::LightBlock;
use crate::proofs::StateProof;

/// An answer that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RpcError {
    /// The node answered with an error.
    #[error("the node answered with an error: {0}")]
    Node(String),
    /// A field is missing or of another form.
    #[error("{field}: expected {expected}, got {got}")]
    Field {
        /// Where, as a JSON path.
        field: String,
        /// What should be there.
        expected: &'static str,
        /// What is there, cut short.
        got: String,
    },
    /// Only a part of a validator set.
    #[error(
        "the answer holds {got} of {total} validators; ask for every page and pass them as a JSON array"
    )]
    Page {
        /// How many are there.
        got: usize,
        /// How many the node counts.
        total: usize,
    },
    /// Bytes of a message that cannot be decoded.
    #[error("{what} cannot be decoded: {reason}")]
    Message {
        /// Which message.
        what: &'static str,
        /// The decoder's reason.
        reason: String,
    },
}

/// A light block from `/commit?height=h`, `/validators?height=h` and `/validators?height=h+1`. Validators may be an
/// array of pages. Always ask with a height: without one a node answers for the latest block, or the one after it.
pub fn light_block_from_rpc(
    commit: &Value,
    validators: &Value,
    next_validators: Option<&Value>,
) -> Result<LightBlock, RpcError> {
    let commit = result(commit)?;
    Ok(LightBlock {
        signed_header: signed_header(field(commit, "signed_header")?)?,
        validators: validator_set(validators)?,
        next_validators: next_validators.map(validator_set).transpose()?,
    })
}

/// A light block from Celestia's `/signed_block`, which carries no next validators.
pub fn light_block_from_signed_block(answer: &Value) -> Result<LightBlock, RpcError> {
    let block = result(answer)?;
    Ok(LightBlock {
        signed_header: signed_header(block)?,
        validators: validator_set(field(block, "validator_set")?)?,
        next_validators: None,
    })
}

/// A `SignedHeader` message from JSON with the fields `header` and `commit`.
pub fn signed_header(json: &Value) -> Result<Vec<u8>, RpcError> {
    let commit = field(json, "commit")?;
    // The library's own base64 reader panics on a quantum that begins with padding, so every signature is read first.
    for vote in commit.get("signatures").and_then(Value::as_array).into_iter().flatten() {
        if let Some(text) = vote.get("signature").filter(|s| !s.is_null()) {
            base64(text, "signature")?;
        }
    }
    let both = serde_json::json!({ "header": field(json, "header")?, "commit": commit });
    let header: SignedHeader = serde_json::from_value(both).map_err(|e| RpcError::Message {
        what: "signed header",
        reason: e.to_string(),
    })?;
    Ok(pb::SignedHeader::from(header).encode_to_vec())
}

/// A `ValidatorSet` message from `/validators`, from an array of its pages, or from any object with `validators`.
/// Keys of every kind are carried over; the light client refuses those that are not Ed25519.
pub fn validator_set(json: &Value) -> Result<Vec<u8>, RpcError> {
    let pages: Vec<&Value> = match json {
        Value::Array(pages) => pages.iter().map(result).collect::<Result<_, _>>()?,
        one => Vec::from([result(one)?]),
    };
    let mut validators = Vec::new();
    for page in &pages {
        let list = field(page, "validators")?;
        let list = list
            .as_array()
            .ok_or_else(|| wrong("validators", "an array", list))?;
        validators.extend(list.iter().map(validator).collect::<Result<Vec<_>, _>>()?);
    }
    if let Some(total) = pages.first().and_then(|p| p.get("total")) {
        let total = usize::try_from(number(total, "total")?)
            .map_err(|_| wrong("total", "a count", total))?;
        if total != validators.len() {
            return Err(RpcError::Page {
                got: validators.len(),
                total,
            });
        }
    }
    Ok(pb::ValidatorSet {
        validators,
        proposer: None,
        total_voting_power: 0,
    }
    .encode_to_vec())
}

fn validator(json: &Value) -> Result<pb::Validator, RpcError> {
    let key = field(json, "pub_key")?;
    let bytes = base64(field(key, "value")?, "pub_key.value")?;
    let sum = match field(key, "type")?.as_str() {
        Some("tendermint/PubKeyEd25519") => Some(pbc::public_key::Sum::Ed25519(bytes)),
        Some("tendermint/PubKeySecp256k1") => Some(pbc::public_key::Sum::Secp256k1(bytes)),
        // A kind without a number in our messages: the light client refuses the empty key, with its index.
        _ => None,
    };
    let address = field(json, "address")?;
    let power = json
        .get("voting_power")
        .or_else(|| json.get("power"))
        .unwrap_or(&Value::Null);
    Ok(pb::Validator {
        address: address
            .as_str()
            .and_then(|a| hex::decode(a).ok())
            .ok_or_else(|| wrong("address", "hexadecimal", address))?,
        pub_key: Some(pbc::PublicKey { sum }),
        voting_power: number(power, "voting_power")?,
        // In no hash, and it changes with every block: left out, equal sets have equal bytes and are parsed once.
        proposer_priority: 0,
    })
}

/// The proof in an answer of `abci_query` with `prove=true`, and the height at which it was asked. The header that proves it
/// is the one of the next height.
pub fn state_proof_from_abci_query(answer: &Value) -> Result<(StateProof, u64), RpcError> {
    let response = field(result(answer)?, "response")?;
    if let Some(code) = response.get("code").filter(|c| number(c, "code") != Ok(0)) {
        let log = response
            .get("log")
            .and_then(Value::as_str)
            .unwrap_or_default();
        return Err(RpcError::Node(format!("code {code}: {log}")));
    }
    let ops = response
        .get("proofOps")
        .or_else(|| response.get("proof_ops"))
        .and_then(|p| p.get("ops"));
    let Some([iavl, simple]) = ops.and_then(Value::as_array).map(Vec::as_slice) else {
        return Err(wrong(
            "proofOps.ops",
            "two operations",
            ops.unwrap_or(&Value::Null),
        ));
    };
    for (op, kind) in [(iavl, "ics23:iavl"), (simple, "ics23:simple")] {
        if field(op, "type")?.as_str() != Some(kind) {
            return Err(wrong("proofOps.ops.type", kind, field(op, "type")?));
        }
    }
    let store = base64(field(simple, "key")?, "proofOps.ops[1].key")?;
    let value = match response.get("value") {
        None | Some(Value::Null) => Vec::new(),
        Some(value) => base64(value, "value")?,
    };
    let height = number(field(response, "height")?, "height")?;
    Ok((
        StateProof {
            store: String::from_utf8(store).map_err(|e| RpcError::Message {
                what: "store name",
                reason: e.to_string(),
            })?,
            key: base64(field(response, "key")?, "key")?,
            // A store holds no empty values, so an empty answer is a claim of absence.
            value: if value.is_empty() { None } else { Some(value) },
            iavl: base64(field(iavl, "data")?, "proofOps.ops[0].data")?,
            simple: base64(field(simple, "data")?, "proofOps.ops[1].data")?,
        },
        u64::try_from(height).map_err(|_| wrong("height", "a height", &height.into()))?,
    ))
}

/// The proof in a relayed `ibc.core.commitment.v1.MerkleProof` message, which names neither store nor value.
pub fn state_proof_from_ibc(
    merkle_proof: &[u8],
    store: &str,
    key: &[u8],
    value: Option<&[u8]>,
) -> Result<StateProof, RpcError> {
    let proof = MerkleProof::decode(merkle_proof).map_err(|e| RpcError::Message {
        what: "MerkleProof",
        reason: e.to_string(),
    })?;
    let [iavl, simple] = proof.proofs.as_slice() else {
        let reason = format!("expected 2 proofs, got {}", proof.proofs.len());
        return Err(RpcError::Message {
            what: "MerkleProof",
            reason,
        });
    };
    Ok(StateProof {
        store: store.to_string(),
        key: key.to_vec(),
        value: value.map(<[u8]>::to_vec),
        iavl: iavl.clone(),
        simple: simple.clone(),
    })
}

/// A relayed IBC header: a light block, and the height and validators from which the relayer says it can be verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IbcHeader {
    /// The block; it carries no next validators.
    pub block: LightBlock,
    /// The trusted height within its revision.
    pub trusted_height: u64,
    /// `ValidatorSet` (protobuf) that follows the trusted height.
    pub trusted_validators: Vec<u8>,
}

/// Reads `ibc.lightclients.tendermint.v1.Header`.
pub fn ibc_header(message: &[u8]) -> Result<IbcHeader, RpcError> {
    let header = RawIbcHeader::decode(message).map_err(|e| RpcError::Message {
        what: "IBC header",
        reason: e.to_string(),
    })?;
    Ok(IbcHeader {
        block: LightBlock {
            signed_header: header.signed_header,
            validators: header.validator_set,
            next_validators: None,
        },
        trusted_height: header.trusted_height.unwrap_or_default().revision_height,
        trusted_validators: header.trusted_validators,
    })
}

/// As [`ibc_header`], from base64.
pub fn ibc_header_from_b64(text: &str) -> Result<IbcHeader, RpcError> {
    ibc_header(&base64(&Value::from(text), "header_b64")?)
}

/// `ibc.lightclients.tendermint.v1.Header`; its inner messages stay bytes.
#[derive(Clone, PartialEq, prost::Message)]
struct RawIbcHeader {
    #[prost(bytes = "vec", tag = "1")]
    signed_header: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    validator_set: Vec<u8>,
    #[prost(message, optional, tag = "3")]
    trusted_height: Option<RawIbcHeight>,
    #[prost(bytes = "vec", tag = "4")]
    trusted_validators: Vec<u8>,
}

/// `ibc.core.client.v1.Height`.
#[derive(Clone, PartialEq, prost::Message)]
struct RawIbcHeight {
    #[prost(uint64, tag = "2")]
    revision_height: u64,
}

/// `ibc.core.commitment.v1.MerkleProof`; its inner messages stay bytes.
#[derive(Clone, PartialEq, prost::Message)]
struct MerkleProof {
    #[prost(bytes = "vec", repeated, tag = "1")]
    proofs: Vec<Vec<u8>>,
}

/// The `result` of a JSON-RPC answer, or the value itself where it is no such answer.
fn result(answer: &Value) -> Result<&Value, RpcError> {
    match (answer.get("error"), answer.get("result")) {
        (Some(error), _) if !error.is_null() => Err(RpcError::Node(error.to_string())),
        (_, Some(result)) => Ok(result),
        _ => Ok(answer),
    }
}

fn field<'v>(json: &'v Value, name: &str) -> Result<&'v Value, RpcError> {
    json.get(name)
        .ok_or_else(|| wrong(name, "a value", &Value::Null))
}

fn wrong(field: &str, expected: &'static str, got: &Value) -> RpcError {
    let got = match got {
        Value::Null => "nothing".to_string(),
        other => other.to_string().chars().take(80).collect(),
    };
    RpcError::Field {
        field: field.to_string(),
        expected,
        got,
    }
}

/// A number, or a text that holds one: nodes write 64-bit numbers as texts.
fn number(json: &Value, name: &str) -> Result<i64, RpcError> {
    let parsed = json
        .as_i64()
        .or_else(|| json.as_str().and_then(|s| s.parse().ok()));
    parsed.ok_or_else(|| wrong(name, "a number", json))
}

fn base64(json: &Value, name: &str) -> Result<Vec<u8>, RpcError> {
    let decoded = json.as_str().and_then(|s| STANDARD.decode(s).ok());
    decoded.ok_or_else(|| wrong(name, "base64", json))
}
