//! The few messages of the chain's own modules that evidence is made of, as protobuf.
//!
//! Field numbers are those of the Cosmos SDK's proto files (`cosmos.upgrade.v1beta1`, `cosmos.gov.v1`,
//! `cosmos.staking.v1beta1`, `cosmos.tx.v1beta1`; the same in 0.47, 0.50 and 0.53). Only what is read, or
//! what the devnet must write, is named; a decoder skips every other field. They are plain data: a decoded
//! message says nothing until a proof binds its bytes to a header.

use alloc::{string::String, vec::Vec};

pub use tendermint_proto::google::protobuf::{Any, Duration, Timestamp};

/// Name of the store that holds plans and done keys.
pub const UPGRADE_STORE: &str = "upgrade";
/// Name of the store that holds proposals.
pub const GOV_STORE: &str = "gov";
/// Name of the store that holds validators.
pub const STAKING_STORE: &str = "staking";
/// Key of the one pending plan in store `upgrade`.
pub const PLAN_KEY: &[u8] = &[0x00];
/// Type URL of the message that schedules an upgrade.
pub const SOFTWARE_UPGRADE_URL: &str = "/cosmos.upgrade.v1beta1.MsgSoftwareUpgrade";
/// Type URL of the message that clears the pending plan.
pub const CANCEL_UPGRADE_URL: &str = "/cosmos.upgrade.v1beta1.MsgCancelUpgrade";
/// Seconds of Go's zero time, which the SDK writes where a plan names no time.
pub const GO_ZERO_TIME_SECS: i64 = -62_135_596_800;

/// Key of a proposal in store `gov`: 0x00 ++ be64(id).
pub fn proposal_key(id: u64) -> Vec<u8> {
    prefixed(0x00, id, &[])
}

/// Key in store `upgrade` that exists once a plan of this name has run at this height: 0x01 ++ be64(height) ++ name.
pub fn done_key(height: u64, name: &str) -> Vec<u8> {
    prefixed(0x01, height, name.as_bytes())
}

fn prefixed(prefix: u8, number: u64, tail: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(tail.len().saturating_add(9));
    key.push(prefix);
    key.extend_from_slice(&number.to_be_bytes());
    key.extend_from_slice(tail);
    key
}

/// `cosmos.upgrade.v1beta1.Plan`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Plan {
    /// Names the upgrade; the done key carries it.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Deprecated; always Go's zero time on the chain, absent in some submitted messages.
    #[prost(message, optional, tag = "2")]
    pub time: Option<Timestamp>,
    /// The first height that may run it.
    #[prost(int64, tag = "3")]
    pub height: i64,
    /// What operators and Baton read.
    #[prost(string, tag = "4")]
    pub info: String,
    /// Deprecated; the SDK refuses a plan that has it.
    #[prost(message, optional, tag = "5")]
    pub upgraded_client_state: Option<Any>,
}

impl Plan {
    /// True if the chain reads both as the same plan. An absent time and Go's zero time are one: the store
    /// always writes the zero, the submitted message may leave it out.
    pub fn same_as(&self, other: &Plan) -> bool {
        let zero = Timestamp { seconds: GO_ZERO_TIME_SECS, nanos: 0 };
        let time = |p: &Plan| p.time.unwrap_or(zero);
        self.name == other.name
            && self.height == other.height
            && self.info == other.info
            && self.upgraded_client_state == other.upgraded_client_state
            && time(self) == time(other)
    }
}

/// `cosmos.upgrade.v1beta1.MsgSoftwareUpgrade`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MsgSoftwareUpgrade {
    /// The account that may schedule: the gov module's.
    #[prost(string, tag = "1")]
    pub authority: String,
    /// The plan.
    #[prost(message, optional, tag = "2")]
    pub plan: Option<Plan>,
}

/// `cosmos.upgrade.v1beta1.MsgCancelUpgrade`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MsgCancelUpgrade {
    /// The account that may cancel: the gov module's.
    #[prost(string, tag = "1")]
    pub authority: String,
}

/// `cosmos.gov.v1.ProposalStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum ProposalStatus {
    /// Not set.
    Unspecified = 0,
    /// Waiting for its deposit.
    DepositPeriod = 1,
    /// Open.
    VotingPeriod = 2,
    /// Won, and every message of it ran.
    Passed = 3,
    /// Lost.
    Rejected = 4,
    /// Won, but a message of it failed and all were undone.
    Failed = 5,
}

impl ProposalStatus {
    /// As the chain's own tools print it, without the common prefix.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "UNSPECIFIED",
            Self::DepositPeriod => "DEPOSIT_PERIOD",
            Self::VotingPeriod => "VOTING_PERIOD",
            Self::Passed => "PASSED",
            Self::Rejected => "REJECTED",
            Self::Failed => "FAILED",
        }
    }
}

/// `cosmos.gov.v1.TallyResult`: decimal texts in base denomination, truncated to whole tokens.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TallyResult {
    /// Yes.
    #[prost(string, tag = "1")]
    pub yes_count: String,
    /// Abstain.
    #[prost(string, tag = "2")]
    pub abstain_count: String,
    /// No.
    #[prost(string, tag = "3")]
    pub no_count: String,
    /// No with veto.
    #[prost(string, tag = "4")]
    pub no_with_veto_count: String,
}

/// `cosmos.base.v1beta1.Coin`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Coin {
    /// Denomination.
    #[prost(string, tag = "1")]
    pub denom: String,
    /// Decimal text.
    #[prost(string, tag = "2")]
    pub amount: String,
}

/// `cosmos.gov.v1.Proposal`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Proposal {
    /// Its number, as in the key.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// What it does when it passes, in this order.
    #[prost(message, repeated, tag = "2")]
    pub messages: Vec<Any>,
    /// Where it stands.
    #[prost(enumeration = "ProposalStatus", tag = "3")]
    pub status: i32,
    /// Set when the vote ended.
    #[prost(message, optional, tag = "4")]
    pub final_tally_result: Option<TallyResult>,
    /// When it was submitted.
    #[prost(message, optional, tag = "5")]
    pub submit_time: Option<Timestamp>,
    /// When the deposit must be there.
    #[prost(message, optional, tag = "6")]
    pub deposit_end_time: Option<Timestamp>,
    /// What was deposited.
    #[prost(message, repeated, tag = "7")]
    pub total_deposit: Vec<Coin>,
    /// When voting began.
    #[prost(message, optional, tag = "8")]
    pub voting_start_time: Option<Timestamp>,
    /// When voting ended; moved when an expedited proposal is converted.
    #[prost(message, optional, tag = "9")]
    pub voting_end_time: Option<Timestamp>,
    /// Free text.
    #[prost(string, tag = "10")]
    pub metadata: String,
    /// Title.
    #[prost(string, tag = "11")]
    pub title: String,
    /// Summary.
    #[prost(string, tag = "12")]
    pub summary: String,
    /// Account of the proposer.
    #[prost(string, tag = "13")]
    pub proposer: String,
    /// True while (and after) it is judged by the expedited bar.
    #[prost(bool, tag = "14")]
    pub expedited: bool,
    /// Why it failed.
    #[prost(string, tag = "15")]
    pub failed_reason: String,
}

/// `cosmos.staking.v1beta1.Description`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Description {
    /// Name for people.
    #[prost(string, tag = "1")]
    pub moniker: String,
    /// Identity signature.
    #[prost(string, tag = "2")]
    pub identity: String,
    /// Web site.
    #[prost(string, tag = "3")]
    pub website: String,
    /// Contact.
    #[prost(string, tag = "4")]
    pub security_contact: String,
    /// Free text.
    #[prost(string, tag = "5")]
    pub details: String,
}

/// `cosmos.staking.v1beta1.Validator`, its first fields.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Validator {
    /// Operator's address, bech32.
    #[prost(string, tag = "1")]
    pub operator_address: String,
    /// Consensus public key.
    #[prost(message, optional, tag = "2")]
    pub consensus_pubkey: Option<Any>,
    /// Jailed.
    #[prost(bool, tag = "3")]
    pub jailed: bool,
    /// `BondStatus`: 3 is bonded.
    #[prost(int32, tag = "4")]
    pub status: i32,
    /// Tokens in base denomination, decimal text.
    #[prost(string, tag = "5")]
    pub tokens: String,
    /// Delegator shares, decimal text with 18 digits and no point.
    #[prost(string, tag = "6")]
    pub delegator_shares: String,
    /// What the operator says about himself.
    #[prost(message, optional, tag = "7")]
    pub description: Option<Description>,
}

impl Validator {
    /// What the operator says in `description.details`.
    pub fn details(&self) -> &str {
        self.description.as_ref().map_or("", |d| &d.details)
    }
}

/// `cosmos.tx.v1beta1.TxRaw`: all its fields, so that canonical bytes re-encode to themselves (ADR-027).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TxRaw {
    /// A [`TxBody`].
    #[prost(bytes = "vec", tag = "1")]
    pub body_bytes: Vec<u8>,
    /// Signer and fee data.
    #[prost(bytes = "vec", tag = "2")]
    pub auth_info_bytes: Vec<u8>,
    /// Signatures.
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub signatures: Vec<Vec<u8>>,
}

/// `cosmos.tx.v1beta1.TxBody`, its first fields.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TxBody {
    /// What the transaction does.
    #[prost(message, repeated, tag = "1")]
    pub messages: Vec<Any>,
    /// The memo, at most 256 characters by the SDK's default.
    #[prost(string, tag = "2")]
    pub memo: String,
    /// Height after which it is void.
    #[prost(uint64, tag = "3")]
    pub timeout_height: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use prost::Message;

    fn plan() -> Plan {
        Plan { name: "v2".into(), height: 7, info: "i".into(), ..Plan::default() }
    }

    #[test]
    fn keys_are_those_of_the_sdk() {
        assert_eq!(hex::encode(proposal_key(14)), "00000000000000000e");
        assert_eq!(hex::encode(done_key(328, "enclave-v4")), "010000000000000148656e636c6176652d7634");
    }

    #[test]
    fn a_plan_without_time_is_the_plan_with_go_zero_time() {
        let stored = Plan { time: Some(Timestamp { seconds: GO_ZERO_TIME_SECS, nanos: 0 }), ..plan() };
        assert!(plan().same_as(&stored) && stored.same_as(&plan()));
    }

    #[test]
    fn plans_that_differ_in_any_field_are_two_plans() {
        let any = Any { type_url: "/x".into(), value: vec![1] };
        for other in [
            Plan { name: "v3".into(), ..plan() },
            Plan { height: 8, ..plan() },
            Plan { info: "j".into(), ..plan() },
            Plan { time: Some(Timestamp { seconds: 0, nanos: 0 }), ..plan() },
            Plan { upgraded_client_state: Some(any), ..plan() },
        ] {
            assert!(!plan().same_as(&other), "{other:?}");
        }
    }

    #[test]
    fn h02_unknown_fields_are_skipped() {
        let mut bytes = plan().encode_to_vec();
        bytes.extend_from_slice(&[0xfa, 0x01, 0x02, 0x68, 0x69]); // field 31, two bytes
        assert_eq!(Plan::decode(&bytes[..]).unwrap(), plan());
    }

    #[test]
    fn a21_a_truncated_proposal_is_refused() {
        let p = Proposal { id: 1, title: "t".into(), ..Proposal::default() };
        let bytes = p.encode_to_vec();
        for cut in 1..bytes.len() {
            let half = Proposal::decode(&bytes[..cut]);
            assert!(half.is_err() || half.unwrap() != p);
        }
    }

    /// A real submission: Cronos devnet, from crypto-com/chain-indexing at 5f7f177a (Apache-2.0).
    #[test]
    fn a_real_submission_decodes_and_encodes_to_the_same_bytes() {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let tx = STANDARD.decode("CuwBCukBCiAvY29zbW9zLmdvdi52MS5Nc2dTdWJtaXRQcm9wb3NhbBLEAQp4CiovY29zbW9zLnVwZ3JhZGUudjFiZXRhMS5Nc2dTb2Z0d2FyZVVwZ3JhZGUSSgoqY3JjMTBkMDd5MjY1Z21tdXZ0NHowdzlhdzg4MGpuc3I3MDBqZHVmbnlkEhwKBG5hbWUSCwiAkrjDmP7///8BGOgHIgRpbmZvEhAKB2Jhc2Vjcm8SBTEwMDAwGipjcmMxMmx1a3U2dXhlaGhhazAycHk0cmN6NjV6dTBzd2g3d2pzcncwcHAiCmlwZnM6Ly9DSUQSgAEKWQpPCigvZXRoZXJtaW50LmNyeXB0by52MS5ldGhzZWNwMjU2azEuUHViS2V5EiMKIQJucQpio0LeDtTXxFMty8u6+/GWUu1nsjfvq3DosgfvrBIECgIIARgDEiMKHQoHYmFzZWNybxISMTI5NzU5MDYzNzI0MDAwMDAwEICJehpBvf7G5GcU5tD4lDiRdrKh10dmy8cxbrz6XgnwHKs5cKMn3Tui/I2YGrHBXgu3sh0VOdmewUIYzZBcPo+lyNL56wE=").unwrap();
        let raw = TxRaw::decode(&tx[..]).unwrap();
        assert_eq!(raw.encode_to_vec(), tx);
        let body = TxBody::decode(&raw.body_bytes[..]).unwrap();
        assert_eq!(body.messages[0].type_url, "/cosmos.gov.v1.MsgSubmitProposal");
        let any = STANDARD.decode("CiovY29zbW9zLnVwZ3JhZGUudjFiZXRhMS5Nc2dTb2Z0d2FyZVVwZ3JhZGUSSgoqY3JjMTBkMDd5MjY1Z21tdXZ0NHowdzlhdzg4MGpuc3I3MDBqZHVmbnlkEhwKBG5hbWUSCwiAkrjDmP7///8BGOgHIgRpbmZv").unwrap();
        let any = Any::decode(&any[..]).unwrap();
        assert_eq!(any.type_url, SOFTWARE_UPGRADE_URL);
        let message = MsgSoftwareUpgrade::decode(&any.value[..]).unwrap();
        assert_eq!(message.encode_to_vec(), any.value);
        let plan = message.plan.unwrap();
        assert_eq!(hex::encode(plan.encode_to_vec()), "0a046e616d65120b088092b8c398feffffff0118e8072204696e666f");
        assert_eq!((plan.name.as_str(), plan.height, plan.info.as_str()), ("name", 1000, "info"));
        assert_eq!(plan.time.unwrap().seconds, GO_ZERO_TIME_SECS);
    }
}
