//! The Cosmos SDK's messages and records that the devnet reads and writes (SDK 0.53; each type's
//! documentation names its protobuf message). Fields and numbers are the SDK's. Where the SDK marks a
//! message field non-nullable it is always written, so it is always `Some` in what the devnet makes.
//!
//! The verifier declares the few of them that it reads for itself. They stand apart on purpose: a wrong
//! field number there would be hidden by a chain that made the same mistake.

pub use tendermint_proto::google::protobuf::{Any, Duration, Timestamp};

use prost::{Message, Name};

/// Packs a message for an `Any` field, under "/" and its full name.
pub fn pack<M: Message + Name>(message: &M) -> Any {
    Any {
        type_url: format!("/{}", M::full_name()),
        value: message.encode_to_vec(),
    }
}

/// Unpacks an `Any` that holds an `M`; `None` for another type or bad bytes.
pub fn unpack<M: Message + Name + Default>(any: &Any) -> Option<M> {
    (any.type_url.strip_prefix('/') == Some(M::full_name().as_str()))
        .then(|| M::decode(any.value.as_slice()).ok())?
}

/// `cosmos.base.v1beta1.Coin`: an amount of one denomination; the amount is decimal text.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct Coin {
    #[prost(string, tag = "1")]
    pub denom: String,
    #[prost(string, tag = "2")]
    pub amount: String,
}

/// `cosmos.tx.v1beta1.TxRaw`: a transaction as it stands in a block.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct TxRaw {
    #[prost(bytes = "vec", tag = "1")]
    pub body_bytes: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub auth_info_bytes: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub signatures: Vec<Vec<u8>>,
}

/// `cosmos.tx.v1beta1.TxBody`: what a transaction does.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct TxBody {
    #[prost(message, repeated, tag = "1")]
    pub messages: Vec<Any>,
    #[prost(string, tag = "2")]
    pub memo: String,
    #[prost(uint64, tag = "3")]
    pub timeout_height: u64,
    #[prost(message, repeated, tag = "1023")]
    pub extension_options: Vec<Any>,
    #[prost(message, repeated, tag = "2047")]
    pub non_critical_extension_options: Vec<Any>,
}

/// `cosmos.tx.v1beta1.AuthInfo`: who signs, and the fee.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct AuthInfo {
    #[prost(message, repeated, tag = "1")]
    pub signer_infos: Vec<SignerInfo>,
    #[prost(message, optional, tag = "2")]
    pub fee: Option<Fee>,
}

/// `cosmos.tx.v1beta1.SignerInfo`: one signer.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct SignerInfo {
    #[prost(message, optional, tag = "1")]
    pub public_key: Option<Any>,
    #[prost(message, optional, tag = "2")]
    pub mode_info: Option<ModeInfo>,
    #[prost(uint64, tag = "3")]
    pub sequence: u64,
}

/// `cosmos.tx.v1beta1.ModeInfo`: how a signer signs; only the single form is known here.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct ModeInfo {
    #[prost(message, optional, tag = "1")]
    pub single: Option<ModeInfoSingle>,
}

/// `cosmos.tx.v1beta1.ModeInfo.Single`: the signing mode of a single signer: 1 is SIGN_MODE_DIRECT.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct ModeInfoSingle {
    #[prost(int32, tag = "1")]
    pub mode: i32,
}

/// `cosmos.tx.v1beta1.Fee`: the fee, and the gas wanted.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct Fee {
    #[prost(message, repeated, tag = "1")]
    pub amount: Vec<Coin>,
    #[prost(uint64, tag = "2")]
    pub gas_limit: u64,
    #[prost(string, tag = "3")]
    pub payer: String,
    #[prost(string, tag = "4")]
    pub granter: String,
}

/// `cosmos.tx.v1beta1.SignDoc`: what a signer signs in SIGN_MODE_DIRECT.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct SignDoc {
    #[prost(bytes = "vec", tag = "1")]
    pub body_bytes: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub auth_info_bytes: Vec<u8>,
    #[prost(string, tag = "3")]
    pub chain_id: String,
    #[prost(uint64, tag = "4")]
    pub account_number: u64,
}

/// `cosmos.base.abci.v1beta1.TxMsgData`: the data of a result: one response for each message.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct TxMsgData {
    #[prost(message, repeated, tag = "2")]
    pub msg_responses: Vec<Any>,
}

/// `cosmos.crypto.secp256k1.PubKey`: an account's key: 33 bytes, SEC1 compressed.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct PubKey {
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
}

/// `cosmos.auth.v1beta1.BaseAccount`: an account's record.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct BaseAccount {
    #[prost(string, tag = "1")]
    pub address: String,
    #[prost(message, optional, tag = "2")]
    pub pub_key: Option<Any>,
    #[prost(uint64, tag = "3")]
    pub account_number: u64,
    #[prost(uint64, tag = "4")]
    pub sequence: u64,
}

/// `cosmos.bank.v1beta1.MsgSend`: a payment.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct MsgSend {
    #[prost(string, tag = "1")]
    pub from_address: String,
    #[prost(string, tag = "2")]
    pub to_address: String,
    #[prost(message, repeated, tag = "3")]
    pub amount: Vec<Coin>,
}

/// `cosmos.bank.v1beta1.MsgUpdateParams`: new parameters for x/bank, by gov.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct BankMsgUpdateParams {
    #[prost(string, tag = "1")]
    pub authority: String,
    #[prost(message, optional, tag = "2")]
    pub params: Option<BankParams>,
}

/// `cosmos.bank.v1beta1.Params`: the parameters of x/bank (`Params`).
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct BankParams {
    #[prost(bool, tag = "2")]
    pub default_send_enabled: bool,
}

/// `cosmos.staking.v1beta1.MsgDelegate`: bonds tokens to a validator.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct MsgDelegate {
    #[prost(string, tag = "1")]
    pub delegator_address: String,
    #[prost(string, tag = "2")]
    pub validator_address: String,
    #[prost(message, optional, tag = "3")]
    pub amount: Option<Coin>,
}

/// `cosmos.staking.v1beta1.MsgUndelegate`: takes tokens back from a validator.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct MsgUndelegate {
    #[prost(string, tag = "1")]
    pub delegator_address: String,
    #[prost(string, tag = "2")]
    pub validator_address: String,
    #[prost(message, optional, tag = "3")]
    pub amount: Option<Coin>,
}

/// `cosmos.staking.v1beta1.MsgEditValidator`: changes what a validator says of itself. [`DO_NOT_MODIFY`] leaves a text as it is.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct MsgEditValidator {
    #[prost(message, optional, tag = "1")]
    pub description: Option<Description>,
    #[prost(string, tag = "2")]
    pub validator_address: String,
    #[prost(string, tag = "3")]
    pub commission_rate: String,
    #[prost(string, tag = "4")]
    pub min_self_delegation: String,
}

/// What stands for "as it is" in an edit of a validator (x/staking `DoNotModifyDesc`).
pub const DO_NOT_MODIFY: &str = "[do-not-modify]";

/// `cosmos.staking.v1beta1.Params`: the parameters of x/staking (`Params`).
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct StakingParams {
    #[prost(message, optional, tag = "1")]
    pub unbonding_time: Option<Duration>,
    #[prost(uint32, tag = "2")]
    pub max_validators: u32,
    #[prost(uint32, tag = "3")]
    pub max_entries: u32,
    #[prost(uint32, tag = "4")]
    pub historical_entries: u32,
    #[prost(string, tag = "5")]
    pub bond_denom: String,
    #[prost(string, tag = "6")]
    pub min_commission_rate: String,
}

/// `cosmos.staking.v1beta1.Validator`: a validator's record; shares and rates are LegacyDec integers as text.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct Validator {
    #[prost(string, tag = "1")]
    pub operator_address: String,
    #[prost(message, optional, tag = "2")]
    pub consensus_pubkey: Option<Any>,
    #[prost(bool, tag = "3")]
    pub jailed: bool,
    #[prost(int32, tag = "4")]
    pub status: i32,
    #[prost(string, tag = "5")]
    pub tokens: String,
    #[prost(string, tag = "6")]
    pub delegator_shares: String,
    #[prost(message, optional, tag = "7")]
    pub description: Option<Description>,
    #[prost(int64, tag = "8")]
    pub unbonding_height: i64,
    #[prost(message, optional, tag = "9")]
    pub unbonding_time: Option<Timestamp>,
    #[prost(message, optional, tag = "10")]
    pub commission: Option<Commission>,
    #[prost(string, tag = "11")]
    pub min_self_delegation: String,
    #[prost(int64, tag = "12")]
    pub unbonding_on_hold_ref_count: i64,
    #[prost(uint64, repeated, tag = "13")]
    pub unbonding_ids: Vec<u64>,
}

/// `cosmos.staking.v1beta1.Description`: what a validator says of itself.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct Description {
    #[prost(string, tag = "1")]
    pub moniker: String,
    #[prost(string, tag = "2")]
    pub identity: String,
    #[prost(string, tag = "3")]
    pub website: String,
    #[prost(string, tag = "4")]
    pub security_contact: String,
    #[prost(string, tag = "5")]
    pub details: String,
}

/// `cosmos.staking.v1beta1.Commission`: a validator's commission.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct Commission {
    #[prost(message, optional, tag = "1")]
    pub commission_rates: Option<CommissionRates>,
    #[prost(message, optional, tag = "2")]
    pub update_time: Option<Timestamp>,
}

/// `cosmos.staking.v1beta1.CommissionRates`: its rates.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct CommissionRates {
    #[prost(string, tag = "1")]
    pub rate: String,
    #[prost(string, tag = "2")]
    pub max_rate: String,
    #[prost(string, tag = "3")]
    pub max_change_rate: String,
}

/// `cosmos.staking.v1beta1.Delegation`: what one account has bonded to one validator.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct Delegation {
    #[prost(string, tag = "1")]
    pub delegator_address: String,
    #[prost(string, tag = "2")]
    pub validator_address: String,
    #[prost(string, tag = "3")]
    pub shares: String,
}

/// `cosmos.staking.v1beta1.UnbondingDelegation`: what one account takes back from one validator.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct UnbondingDelegation {
    #[prost(string, tag = "1")]
    pub delegator_address: String,
    #[prost(string, tag = "2")]
    pub validator_address: String,
    #[prost(message, repeated, tag = "3")]
    pub entries: Vec<UnbondingEntry>,
}

/// `cosmos.staking.v1beta1.UnbondingDelegationEntry`: one such amount (`UnbondingDelegationEntry`).
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct UnbondingEntry {
    #[prost(int64, tag = "1")]
    pub creation_height: i64,
    #[prost(message, optional, tag = "2")]
    pub completion_time: Option<Timestamp>,
    #[prost(string, tag = "3")]
    pub initial_balance: String,
    #[prost(string, tag = "4")]
    pub balance: String,
    #[prost(uint64, tag = "5")]
    pub unbonding_id: u64,
    #[prost(int64, tag = "6")]
    pub unbonding_on_hold_ref_count: i64,
}

/// `cosmos.crypto.ed25519.PubKey`: a validator's consensus key (`PubKey`): 32 bytes.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct ConsensusKey {
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
}

/// `cosmos.upgrade.v1beta1.Plan`: a scheduled upgrade. The SDK always writes the deprecated zero time.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct Plan {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub time: Option<Timestamp>,
    #[prost(int64, tag = "3")]
    pub height: i64,
    #[prost(string, tag = "4")]
    pub info: String,
    #[prost(message, optional, tag = "5")]
    pub upgraded_client_state: Option<Any>,
}

/// `cosmos.upgrade.v1beta1.MsgSoftwareUpgrade`: schedules a plan, by gov.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct MsgSoftwareUpgrade {
    #[prost(string, tag = "1")]
    pub authority: String,
    #[prost(message, optional, tag = "2")]
    pub plan: Option<Plan>,
}

/// `cosmos.upgrade.v1beta1.MsgCancelUpgrade`: clears the plan, by gov.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct MsgCancelUpgrade {
    #[prost(string, tag = "1")]
    pub authority: String,
}

/// `cosmos.gov.v1.MsgSubmitProposal`: opens a proposal.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct MsgSubmitProposal {
    #[prost(message, repeated, tag = "1")]
    pub messages: Vec<Any>,
    #[prost(message, repeated, tag = "2")]
    pub initial_deposit: Vec<Coin>,
    #[prost(string, tag = "3")]
    pub proposer: String,
    #[prost(string, tag = "4")]
    pub metadata: String,
    #[prost(string, tag = "5")]
    pub title: String,
    #[prost(string, tag = "6")]
    pub summary: String,
    #[prost(bool, tag = "7")]
    pub expedited: bool,
}

/// `cosmos.gov.v1.MsgSubmitProposalResponse`: its number.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct MsgSubmitProposalResponse {
    #[prost(uint64, tag = "1")]
    pub proposal_id: u64,
}

/// `cosmos.gov.v1.MsgVote`: a vote: 1 yes, 2 abstain, 3 no, 4 no with veto.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct MsgVote {
    #[prost(uint64, tag = "1")]
    pub proposal_id: u64,
    #[prost(string, tag = "2")]
    pub voter: String,
    #[prost(int32, tag = "3")]
    pub option: i32,
    #[prost(string, tag = "4")]
    pub metadata: String,
}

/// `cosmos.gov.v1.MsgDeposit`: adds to a proposal's deposit.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct MsgDeposit {
    #[prost(uint64, tag = "1")]
    pub proposal_id: u64,
    #[prost(string, tag = "2")]
    pub depositor: String,
    #[prost(message, repeated, tag = "3")]
    pub amount: Vec<Coin>,
}

/// `cosmos.gov.v1.MsgUpdateParams`: new parameters for x/gov, by gov.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct GovMsgUpdateParams {
    #[prost(string, tag = "1")]
    pub authority: String,
    #[prost(message, optional, tag = "2")]
    pub params: Option<GovParams>,
}

/// `cosmos.gov.v1.Params`: the parameters of x/gov (`Params`).
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct GovParams {
    #[prost(message, repeated, tag = "1")]
    pub min_deposit: Vec<Coin>,
    #[prost(message, optional, tag = "2")]
    pub max_deposit_period: Option<Duration>,
    #[prost(message, optional, tag = "3")]
    pub voting_period: Option<Duration>,
    #[prost(string, tag = "4")]
    pub quorum: String,
    #[prost(string, tag = "5")]
    pub threshold: String,
    #[prost(string, tag = "6")]
    pub veto_threshold: String,
    #[prost(string, tag = "7")]
    pub min_initial_deposit_ratio: String,
    #[prost(string, tag = "8")]
    pub proposal_cancel_ratio: String,
    #[prost(string, tag = "9")]
    pub proposal_cancel_dest: String,
    #[prost(message, optional, tag = "10")]
    pub expedited_voting_period: Option<Duration>,
    #[prost(string, tag = "11")]
    pub expedited_threshold: String,
    #[prost(message, repeated, tag = "12")]
    pub expedited_min_deposit: Vec<Coin>,
    #[prost(bool, tag = "13")]
    pub burn_vote_quorum: bool,
    #[prost(bool, tag = "14")]
    pub burn_proposal_deposit_prevote: bool,
    #[prost(bool, tag = "15")]
    pub burn_vote_veto: bool,
    #[prost(string, tag = "16")]
    pub min_deposit_ratio: String,
}

/// `cosmos.gov.v1.TallyResult`: the final tally, in base units, as decimal text.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct TallyResult {
    #[prost(string, tag = "1")]
    pub yes_count: String,
    #[prost(string, tag = "2")]
    pub abstain_count: String,
    #[prost(string, tag = "3")]
    pub no_count: String,
    #[prost(string, tag = "4")]
    pub no_with_veto_count: String,
}

/// `cosmos.gov.v1.Proposal`: a proposal's record.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct Proposal {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(message, repeated, tag = "2")]
    pub messages: Vec<Any>,
    #[prost(int32, tag = "3")]
    pub status: i32,
    #[prost(message, optional, tag = "4")]
    pub final_tally_result: Option<TallyResult>,
    #[prost(message, optional, tag = "5")]
    pub submit_time: Option<Timestamp>,
    #[prost(message, optional, tag = "6")]
    pub deposit_end_time: Option<Timestamp>,
    #[prost(message, repeated, tag = "7")]
    pub total_deposit: Vec<Coin>,
    #[prost(message, optional, tag = "8")]
    pub voting_start_time: Option<Timestamp>,
    #[prost(message, optional, tag = "9")]
    pub voting_end_time: Option<Timestamp>,
    #[prost(string, tag = "10")]
    pub metadata: String,
    #[prost(string, tag = "11")]
    pub title: String,
    #[prost(string, tag = "12")]
    pub summary: String,
    #[prost(string, tag = "13")]
    pub proposer: String,
    #[prost(bool, tag = "14")]
    pub expedited: bool,
    #[prost(string, tag = "15")]
    pub failed_reason: String,
}

/// `cosmos.gov.v1.Deposit`: one account's deposit.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct Deposit {
    #[prost(uint64, tag = "1")]
    pub proposal_id: u64,
    #[prost(string, tag = "2")]
    pub depositor: String,
    #[prost(message, repeated, tag = "3")]
    pub amount: Vec<Coin>,
}

/// `cosmos.gov.v1.Vote`: one account's vote.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct Vote {
    #[prost(uint64, tag = "1")]
    pub proposal_id: u64,
    #[prost(string, tag = "2")]
    pub voter: String,
    #[prost(message, repeated, tag = "4")]
    pub options: Vec<WeightedVoteOption>,
    #[prost(string, tag = "5")]
    pub metadata: String,
}

/// `cosmos.gov.v1.WeightedVoteOption`: an option and its weight.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct WeightedVoteOption {
    #[prost(int32, tag = "1")]
    pub option: i32,
    #[prost(string, tag = "2")]
    pub weight: String,
}

/// `cosmos.store.internal.kv.v1beta1.Pairs`: what a query of a whole range answers.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct Pairs {
    #[prost(message, repeated, tag = "1")]
    pub pairs: Vec<Pair>,
}

/// `cosmos.store.internal.kv.v1beta1.Pair`.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the fields are the SDK's")]
pub struct Pair {
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

macro_rules! named {
    ($($package:literal $type:ty = $name:literal;)*) => {
        $(impl Name for $type {
            const NAME: &'static str = $name;
            const PACKAGE: &'static str = $package;
        })*
    };
}

named! {
    "cosmos.crypto.secp256k1" PubKey = "PubKey";
    "cosmos.auth.v1beta1" BaseAccount = "BaseAccount";
    "cosmos.bank.v1beta1" MsgSend = "MsgSend";
    "cosmos.bank.v1beta1" BankMsgUpdateParams = "MsgUpdateParams";
    "cosmos.staking.v1beta1" MsgDelegate = "MsgDelegate";
    "cosmos.staking.v1beta1" MsgUndelegate = "MsgUndelegate";
    "cosmos.staking.v1beta1" MsgEditValidator = "MsgEditValidator";
    "cosmos.crypto.ed25519" ConsensusKey = "PubKey";
    "cosmos.upgrade.v1beta1" MsgSoftwareUpgrade = "MsgSoftwareUpgrade";
    "cosmos.upgrade.v1beta1" MsgCancelUpgrade = "MsgCancelUpgrade";
    "cosmos.gov.v1" MsgSubmitProposal = "MsgSubmitProposal";
    "cosmos.gov.v1" MsgSubmitProposalResponse = "MsgSubmitProposalResponse";
    "cosmos.gov.v1" MsgVote = "MsgVote";
    "cosmos.gov.v1" MsgDeposit = "MsgDeposit";
    "cosmos.gov.v1" GovMsgUpdateParams = "MsgUpdateParams";
}
