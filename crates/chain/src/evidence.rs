//! Evidence as a host brings it: untrusted bytes, nothing more. [`crate::authorize`] judges it.
//!
//! Each type is a CBOR map with integer keys, so that a later release may add fields that today's enclave skips
//! (H02, H04); key 0 is the version. What a host may send is bounded before anything is parsed (A21).

use alloc::vec::Vec;

use minicbor::{Decode, Encode};

use crate::admission::{AdmissionEvidence, VouchedEvidence};
use crate::light::{LightBlock, Path};
use crate::proofs::StateProof;

/// The version that this crate writes and reads.
pub const VERSION: u8 = 1;
/// Most bytes of one evidence message.
pub const MAX_EVIDENCE_BYTES: usize = 64 * 1024 * 1024;
/// Most hash links that lead down from a header.
pub const MAX_LINKS: usize = 1000;

/// Bytes that are not evidence of this version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// More than is read.
    #[error("evidence: expected at most {MAX_EVIDENCE_BYTES} bytes, got {got}")]
    TooLong {
        /// Its length in bytes.
        got: usize,
    },
    /// Not the CBOR map of this type.
    #[error("evidence: cannot be read as {what}: truncated, or another message's bytes")]
    Malformed {
        /// The type that was asked for.
        what: &'static str,
    },
    /// Another version.
    #[error("evidence: expected version {VERSION}, got {got}")]
    Version {
        /// The version that it names.
        got: u8,
    },
}

/// How a header is shown: light steps to one, then hash links down from it. Both may be empty: then it is the trusted head.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct HeaderEvidence {
    /// Light steps from any header that the client keeps; empty: begin at the trusted head.
    #[n(1)]
    pub path: Path,
    /// The headers below, each one the parent of the one before it; only their headers are read.
    #[n(2)]
    pub links: Vec<LightBlock>,
}

/// The end of a vote: two linked headers around the proposal's `voting_end_time`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct VoteEndEvidence {
    /// Light steps to the first header at or after the end.
    #[n(1)]
    pub at: HeaderEvidence,
    /// `ValidatorSet` (protobuf) of that header: its power is what the tally is weighed against.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub validators: Vec<u8>,
    /// Its parent; only the header is read.
    #[n(3)]
    pub before: LightBlock,
}

/// `tendermint.crypto.Proof` of one transaction: RFC 6962 style, as `/tx?prove=true` answers it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TxProof {
    /// Number of transactions in the block.
    #[n(1)]
    pub total: u64,
    /// Which one it is, from 0.
    #[n(2)]
    pub index: u64,
    /// Hashes beside the way from the leaf up, 32 bytes each.
    #[n(3)]
    pub aunts: Vec<Hash32>,
}

/// 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Hash32(#[cbor(with = "minicbor::bytes")] pub [u8; 32]);

/// A transaction in a block: what makes a record public.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PublicationEvidence {
    /// The header of the block that holds it (the same height).
    #[n(1)]
    pub header: HeaderEvidence,
    /// The transaction as it is in the block (`cosmos.tx.v1beta1.TxRaw`).
    #[cbor(n(2), with = "minicbor::bytes")]
    pub tx: Vec<u8>,
    /// Its inclusion under the header's data hash.
    #[n(3)]
    pub proof: TxProof,
}

/// For the route *ahead*: the chain, at a fresh head, still plans this build.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct UpgradeEvidence {
    /// [`VERSION`].
    #[n(0)]
    pub version: u8,
    /// Light steps that move the trusted head to the header of the proofs; the caller advances by it before it asks for a judgement.
    #[n(1)]
    pub to_head: Path,
    /// The pending plan at that head.
    #[n(2)]
    pub plan: StateProof,
    /// The proposal at that head.
    #[n(3)]
    pub proposal: StateProof,
    /// The end of its vote.
    #[n(4)]
    pub vote_end: VoteEndEvidence,
    /// The record of this transfer.
    #[n(5)]
    pub publication: PublicationEvidence,
    /// Who admitted the target's machine; needed where the policy asks and the target is on another one.
    #[n(6)]
    pub admission: Option<AdmissionEvidence>,
}

/// For the route *at X*, and for activation: what the chain had planned when it ran, or halted for, the upgrade.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AtXEvidence {
    /// [`VERSION`].
    #[n(0)]
    pub version: u8,
    /// Shows header X (or, on one machine, the header at the plan's height less one). The trusted head does not move by it.
    #[n(1)]
    pub x: HeaderEvidence,
    /// The plan in its app hash.
    #[n(2)]
    pub plan: StateProof,
    /// The proposal in its app hash.
    #[n(3)]
    pub proposal: StateProof,
    /// The end of its vote.
    #[n(4)]
    pub vote_end: VoteEndEvidence,
    /// A record at or below X; needed when the target is on another machine.
    #[n(5)]
    pub publication: Option<PublicationEvidence>,
    /// Who admitted the target's machine; needed where the policy asks and the target is on another one.
    #[n(6)]
    pub admission: Option<AdmissionEvidence>,
}

/// What became of a plan, at a fresh head: pending, overwritten, gone, done or skipped.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct StandingEvidence {
    /// [`VERSION`].
    #[n(0)]
    pub version: u8,
    /// Light steps that move the trusted head to the header of the proofs.
    #[n(1)]
    pub to_head: Path,
    /// The plan key at that head, or its absence.
    #[n(2)]
    pub plan: StateProof,
    /// The done key of this plan at X, or its absence; needed above X.
    #[n(3)]
    pub done: Option<StateProof>,
}

/// For `join` and `sync`: a public record and a fresh head.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RecordEvidence {
    /// [`VERSION`].
    #[n(0)]
    pub version: u8,
    /// Light steps that move the trusted head to a fresh one.
    #[n(1)]
    pub to_head: Path,
    /// The record of this transfer.
    #[n(2)]
    pub publication: PublicationEvidence,
    /// Who admitted the target's machine; needed where the policy asks and the target is on another one.
    #[n(3)]
    pub admission: Option<AdmissionEvidence>,
}

/// For the barrier: which share of voting power the machines stand for.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PowerEvidence {
    /// [`VERSION`].
    #[n(0)]
    pub version: u8,
    /// Light steps that move the trusted head; empty where it stays: a copy that erases needs no block after X.
    #[n(1)]
    pub to_head: Path,
    /// What validators say, under that head.
    #[n(2)]
    pub vouched: VouchedEvidence,
}

macro_rules! wire {
    ($($name:ident),*) => {$(
        impl $name {
            /// The bytes on the wire.
            pub fn to_cbor(&self) -> Vec<u8> {
                baton_attest::identity::encode(self)
            }

            /// Reads what a host sent: bounded, of this version, to its last byte.
            pub fn from_cbor(bytes: &[u8]) -> Result<Self, EvidenceError> {
                let evidence: Self = read(bytes, stringify!($name))?;
                match evidence.version {
                    VERSION => Ok(evidence),
                    got => Err(EvidenceError::Version { got }),
                }
            }
        }
    )*};
}
wire!(UpgradeEvidence, AtXEvidence, StandingEvidence, RecordEvidence, PowerEvidence);

fn read<'b, T: Decode<'b, ()>>(bytes: &'b [u8], what: &'static str) -> Result<T, EvidenceError> {
    if bytes.len() > MAX_EVIDENCE_BYTES {
        return Err(EvidenceError::TooLong { got: bytes.len() });
    }
    let mut d = minicbor::Decoder::new(bytes);
    let value = d.decode().map_err(|_| EvidenceError::Malformed { what })?;
    if d.position() == bytes.len() { Ok(value) } else { Err(EvidenceError::Malformed { what }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn proof() -> StateProof {
        StateProof { store: "upgrade".into(), key: vec![0], value: None, iavl: vec![1], simple: vec![2] }
    }

    fn sample() -> StandingEvidence {
        StandingEvidence { version: VERSION, to_head: Path::default(), plan: proof(), done: Some(proof()) }
    }

    #[test]
    fn h04_evidence_round_trips_and_a_later_releases_fields_are_skipped() {
        let mut bytes = sample().to_cbor();
        assert_eq!(StandingEvidence::from_cbor(&bytes).unwrap(), sample());
        assert_eq!(bytes[0], 0xa4);
        bytes[0] = 0xa5; // one entry more, under key 23
        bytes.extend_from_slice(&[0x17, 0x82, 0x01, 0x02]);
        assert_eq!(StandingEvidence::from_cbor(&bytes).unwrap(), sample());
    }

    #[test]
    fn a21_truncated_prolonged_or_other_versions_are_refused() {
        let bytes = sample().to_cbor();
        for cut in 0..bytes.len() {
            assert!(StandingEvidence::from_cbor(&bytes[..cut]).is_err(), "{cut}");
        }
        let long = [&bytes[..], &[0]].concat();
        assert!(matches!(StandingEvidence::from_cbor(&long), Err(EvidenceError::Malformed { .. })));
        let later = StandingEvidence { version: 2, ..sample() }.to_cbor();
        assert_eq!(StandingEvidence::from_cbor(&later), Err(EvidenceError::Version { got: 2 }));
        assert!(RecordEvidence::from_cbor(&bytes).is_err());
    }

    /// One of each type, with every field set.
    fn all() -> alloc::string::String {
        let block = LightBlock { signed_header: vec![1], validators: vec![2], next_validators: Some(vec![3]) };
        let path = Path { from_next_validators: Some(vec![4]), blocks: vec![block.clone()] };
        let header = HeaderEvidence { path: path.clone(), links: vec![block.clone()] };
        let vote_end = VoteEndEvidence { at: header.clone(), validators: vec![5], before: block };
        let proof_of_tx = TxProof { total: 2, index: 1, aunts: vec![Hash32([6; 32])] };
        let publication = PublicationEvidence { header: header.clone(), tx: vec![7], proof: proof_of_tx };
        let upgrade = UpgradeEvidence {
            version: VERSION,
            to_head: path.clone(),
            plan: proof(),
            proposal: proof(),
            vote_end: vote_end.clone(),
            publication: publication.clone(),
            admission: None,
        };
        let at_x = AtXEvidence {
            version: VERSION,
            x: header,
            plan: proof(),
            proposal: proof(),
            vote_end,
            publication: Some(publication.clone()),
            admission: None,
        };
        let record = RecordEvidence { version: VERSION, to_head: path, publication, admission: None };
        assert_eq!(UpgradeEvidence::from_cbor(&upgrade.to_cbor()).unwrap(), upgrade);
        assert_eq!(AtXEvidence::from_cbor(&at_x.to_cbor()).unwrap(), at_x);
        assert_eq!(RecordEvidence::from_cbor(&record.to_cbor()).unwrap(), record);
        [upgrade.to_cbor(), at_x.to_cbor(), sample().to_cbor(), record.to_cbor()]
            .iter()
            .map(|b| hex::encode(b) + "\n")
            .collect()
    }

    #[test]
    fn h04_the_bytes_of_version_1_are_frozen() {
        assert_eq!(all(), include_str!("../tests/golden/evidence_v1.txt"));
    }
}
