//! Transactions: signing, the checks before the mempool, execution in a block (x/auth ante handler,
//! baseapp).

use prost::Message;

use super::{BlockEnv, Failure, bank, gov, staking};
use crate::config::Config;
use crate::keys::{self, AccountKey, Address, account_text, parse_account, parse_operator};
use crate::merkle::{Hash, sha256};
use crate::sdk::{
    self, Any, AuthInfo, BaseAccount, Fee, ModeInfo, ModeInfoSingle, MsgDelegate, MsgEditValidator, MsgDeposit,
    MsgSend, MsgSubmitProposal, MsgUndelegate, MsgVote, PubKey, SignDoc, SignerInfo, TxBody,
    TxMsgData, TxRaw, pack, unpack,
};
use crate::store::{Committed, Store, Working};

/// The most characters that a memo may have (x/auth MaxMemoCharacters).
pub const MAX_MEMO: usize = 256;
const SIGN_MODE_DIRECT: i32 = 1;
const GAS_WANTED: u64 = 600_000;
const GAS_USED: i64 = 50_000;
const ACCOUNT: u8 = 1;
const ACCOUNT_NUMBER: &[u8] = b"globalAccountNumber";

/// The hash by which a transaction is known: SHA-256 of its bytes.
pub fn tx_hash(tx: &[u8]) -> Hash {
    sha256(&[tx])
}

/// Why a transaction does not enter the mempool. What fails later is in its block all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The bytes are no transaction with one signer in direct mode.
    #[error("not a transaction with one direct signature: {0}")]
    Malformed(&'static str),
    /// The memo is too long.
    #[error("the memo has {got} characters, expected at most {MAX_MEMO}")]
    MemoTooLong {
        /// Its length.
        got: usize,
    },
    /// No message.
    #[error("the transaction has no message")]
    NoMessages,
    /// A message of a kind that nobody may send by transaction, or of another signer.
    #[error("message {type_url:?} is not one that {signer} can send")]
    Message {
        /// Its type.
        type_url: String,
        /// The address that signed.
        signer: String,
    },
    /// The signer has no account.
    #[error("account {0} does not exist: send it something first")]
    UnknownAccount(String),
    /// The signer's sequence is another one.
    #[error("the sequence is {got}, expected {expected}: sign again")]
    Sequence {
        /// What the chain expects.
        expected: u64,
        /// What was signed.
        got: u64,
    },
    /// The signature does not fit.
    #[error("the signature of {0} does not verify for this chain id, account number and sequence")]
    Signature(String),
    /// The same bytes were submitted before.
    #[error("the transaction is in the mempool or in a block already")]
    Known,
}

/// One leaf of the results hash: what of a result is deterministic (CometBFT abci/types/types.go).
pub fn result_leaf(code: u32, data: &[u8], gas_wanted: i64, gas_used: i64) -> Vec<u8> {
    let data = data.to_vec().into();
    tendermint_proto::abci::ExecTxResult {
        code,
        data,
        gas_wanted,
        gas_used,
        ..Default::default()
    }
    .encode_to_vec()
}

/// A transaction's result in its block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TxResult {
    pub(crate) code: u32,
    pub(crate) codespace: &'static str,
    pub(crate) log: String,
    /// `TxMsgData` protobuf when it succeeded.
    pub(crate) data: Vec<u8>,
}

impl TxResult {
    /// The bytes that the next header's results hash commits to: what is deterministic.
    pub(crate) fn hashed(&self) -> Vec<u8> {
        result_leaf(self.code, &self.data, GAS_WANTED as i64, GAS_USED)
    }

    fn failed(failure: Failure) -> Self {
        Self {
            code: failure.code,
            codespace: failure.codespace,
            log: failure.log,
            data: Vec::new(),
        }
    }
}

/// A decoded transaction whose form is right; its signature is not checked yet.
pub(crate) struct Tx {
    raw: TxRaw,
    body: TxBody,
    key: Vec<u8>,
    pub(crate) sequence: u64,
    pub(crate) signer: Address,
}

impl Tx {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, SubmitError> {
        let raw =
            TxRaw::decode(bytes).map_err(|_| SubmitError::Malformed("TxRaw does not decode"))?;
        let body = TxBody::decode(raw.body_bytes.as_slice())
            .map_err(|_| SubmitError::Malformed("TxBody does not decode"))?;
        let auth = AuthInfo::decode(raw.auth_info_bytes.as_slice())
            .map_err(|_| SubmitError::Malformed("AuthInfo does not decode"))?;
        let ([info], [_]) = (auth.signer_infos.as_slice(), raw.signatures.as_slice()) else {
            return Err(SubmitError::Malformed(
                "expected one signer and one signature",
            ));
        };
        let mode = info
            .mode_info
            .as_ref()
            .and_then(|mode| mode.single.as_ref())
            .map(|single| single.mode);
        if mode != Some(SIGN_MODE_DIRECT) {
            return Err(SubmitError::Malformed("expected SIGN_MODE_DIRECT"));
        }
        let key = info.public_key.as_ref().and_then(unpack::<PubKey>);
        let key = key
            .ok_or(SubmitError::Malformed("expected a secp256k1 public key"))?
            .key;
        if body.memo.len() > MAX_MEMO {
            return Err(SubmitError::MemoTooLong {
                got: body.memo.len(),
            });
        }
        if body.messages.is_empty() {
            return Err(SubmitError::NoMessages);
        }
        let signer = keys::account_address(&key);
        for message in &body.messages {
            if sender(message) != Some(signer) {
                let type_url = message.type_url.clone();
                return Err(SubmitError::Message {
                    type_url,
                    signer: account_text(&signer),
                });
            }
        }
        Ok(Self {
            sequence: info.sequence,
            raw,
            body,
            key,
            signer,
        })
    }

    fn check_signature(&self, chain_id: &str, account_number: u64) -> Result<(), SubmitError> {
        let doc = sign_doc(
            &self.raw.body_bytes,
            &self.raw.auth_info_bytes,
            chain_id,
            account_number,
        );
        if keys::account_signed(&self.key, &doc, &self.raw.signatures[0]) {
            Ok(())
        } else {
            Err(SubmitError::Signature(account_text(&self.signer)))
        }
    }
}

/// Checks a transaction for the mempool; `waiting` is how many of its signer's stand there.
pub(crate) fn check(
    state: &Committed,
    config: &Config,
    bytes: &[u8],
    waiting: u64,
) -> Result<(), SubmitError> {
    let tx = Tx::parse(bytes)?;
    let account = account(&Working::over(state), &tx.signer);
    let account = account.ok_or_else(|| SubmitError::UnknownAccount(account_text(&tx.signer)))?;
    let expected = account.sequence + waiting;
    if tx.sequence != expected {
        return Err(SubmitError::Sequence {
            expected,
            got: tx.sequence,
        });
    }
    tx.check_signature(&config.chain_id, account.account_number)
}

/// Signs messages for one account.
pub(crate) fn sign(
    key: &AccountKey,
    chain_id: &str,
    account_number: u64,
    sequence: u64,
    messages: &[Any],
    memo: &str,
) -> Vec<u8> {
    let body = TxBody {
        messages: messages.to_vec(),
        memo: memo.into(),
        ..TxBody::default()
    };
    let info = SignerInfo {
        public_key: Some(pack(&PubKey { key: key.public() })),
        mode_info: Some(ModeInfo {
            single: Some(ModeInfoSingle {
                mode: SIGN_MODE_DIRECT,
            }),
        }),
        sequence,
    };
    let fee = Fee {
        gas_limit: GAS_WANTED,
        ..Fee::default()
    };
    let auth = AuthInfo {
        signer_infos: vec![info],
        fee: Some(fee),
    };
    let (body_bytes, auth_info_bytes) = (body.encode_to_vec(), auth.encode_to_vec());
    let doc = sign_doc(&body_bytes, &auth_info_bytes, chain_id, account_number);
    TxRaw {
        body_bytes,
        auth_info_bytes,
        signatures: vec![key.sign(&doc)],
    }
    .encode_to_vec()
}

/// Executes a transaction in a block: all of its messages, or none.
pub(crate) fn execute(state: &mut Working, env: &BlockEnv<'_>, bytes: &[u8]) -> TxResult {
    let tx = match authenticate(state, env, bytes) {
        Ok(tx) => tx,
        Err(error) => return TxResult::failed(Failure::sdk(4, error.to_string())),
    };
    let before = state.clone();
    let mut data = TxMsgData::default();
    for message in &tx.body.messages {
        match dispatch(state, env, &tx.signer, message) {
            Ok(response) => data.msg_responses.push(response),
            Err(failure) => {
                *state = before;
                return TxResult::failed(failure);
            }
        }
    }
    TxResult {
        code: 0,
        codespace: "",
        log: String::new(),
        data: data.encode_to_vec(),
    }
}

/// The ante handler: the signature and sequence again, now in the block; the sequence grows.
fn authenticate(state: &mut Working, env: &BlockEnv<'_>, bytes: &[u8]) -> Result<Tx, SubmitError> {
    let tx = Tx::parse(bytes)?;
    let account = account(state, &tx.signer);
    let mut account =
        account.ok_or_else(|| SubmitError::UnknownAccount(account_text(&tx.signer)))?;
    if tx.sequence != account.sequence {
        return Err(SubmitError::Sequence {
            expected: account.sequence,
            got: tx.sequence,
        });
    }
    tx.check_signature(&env.config.chain_id, account.account_number)?;
    account.sequence += 1;
    account.pub_key = Some(pack(&PubKey {
        key: tx.key.clone(),
    }));
    set_account(state, &tx.signer, &account);
    Ok(tx)
}

fn dispatch(
    state: &mut Working,
    env: &BlockEnv<'_>,
    signer: &Address,
    message: &Any,
) -> Result<Any, Failure> {
    if let Some(send) = unpack::<MsgSend>(message) {
        let to = parse_account(&send.to_address)
            .ok_or_else(|| Failure::invalid_address(&send.to_address))?;
        let amount = bank::one_coin(&send.amount, &env.config.denom)?;
        bank::send(state, signer, &to, &env.config.denom, amount)?;
        ensure_account(state, &to);
    } else if let Some(delegate) = unpack::<MsgDelegate>(message) {
        staking::delegate(
            state,
            env,
            signer,
            &delegate.validator_address,
            delegate.amount.as_ref(),
        )?;
    } else if let Some(undelegate) = unpack::<MsgUndelegate>(message) {
        staking::undelegate(
            state,
            env,
            signer,
            &undelegate.validator_address,
            undelegate.amount.as_ref(),
        )?;
    } else if let Some(edit) = unpack::<MsgEditValidator>(message) {
        staking::edit(state, &edit)?;
    } else if let Some(submit) = unpack::<MsgSubmitProposal>(message) {
        let id = gov::submit(state, env, signer, submit)?;
        return Ok(pack(&sdk::MsgSubmitProposalResponse { proposal_id: id }));
    } else if let Some(deposit) = unpack::<MsgDeposit>(message) {
        gov::deposit(state, env, signer, &deposit)?;
    } else if let Some(vote) = unpack::<MsgVote>(message) {
        gov::vote(state, signer, &vote)?;
    }
    Ok(Any {
        type_url: format!("{}Response", message.type_url),
        value: Vec::new(),
    })
}

/// Who must sign `message`; `None` for one that cannot come by transaction.
fn sender(message: &Any) -> Option<Address> {
    if let Some(edit) = unpack::<MsgEditValidator>(message) {
        return parse_operator(&edit.validator_address);
    }
    let text = unpack::<MsgSend>(message)
        .map(|send| send.from_address)
        .or_else(|| Some(unpack::<MsgDelegate>(message)?.delegator_address))
        .or_else(|| Some(unpack::<MsgUndelegate>(message)?.delegator_address))
        .or_else(|| Some(unpack::<MsgSubmitProposal>(message)?.proposer))
        .or_else(|| Some(unpack::<MsgDeposit>(message)?.depositor))
        .or_else(|| Some(unpack::<MsgVote>(message)?.voter))?;
    parse_account(&text)
}

pub(crate) fn account(state: &Working, address: &Address) -> Option<BaseAccount> {
    unpack(&Any::decode(state.get(Store::Acc, &account_key(address))?).ok()?)
}

/// Makes an account for an address that has none.
pub(crate) fn ensure_account(state: &mut Working, address: &Address) {
    if account(state, address).is_some() {
        return;
    }
    let held = state
        .get(Store::Acc, ACCOUNT_NUMBER)
        .and_then(|bytes| bytes.try_into().ok());
    let account_number = held.map_or(0, u64::from_be_bytes);
    state.set(
        Store::Acc,
        ACCOUNT_NUMBER,
        (account_number + 1).to_be_bytes().to_vec(),
    );
    let account = BaseAccount {
        address: account_text(address),
        pub_key: None,
        account_number,
        sequence: 0,
    };
    set_account(state, address, &account);
}

fn set_account(state: &mut Working, address: &Address, account: &BaseAccount) {
    state.set(
        Store::Acc,
        &account_key(address),
        pack(account).encode_to_vec(),
    );
}

fn account_key(address: &Address) -> Vec<u8> {
    [&[ACCOUNT], address.as_slice()].concat()
}

fn sign_doc(
    body_bytes: &[u8],
    auth_info_bytes: &[u8],
    chain_id: &str,
    account_number: u64,
) -> Vec<u8> {
    let doc = SignDoc {
        body_bytes: body_bytes.to_vec(),
        auth_info_bytes: auth_info_bytes.to_vec(),
        chain_id: chain_id.into(),
        account_number,
    };
    doc.encode_to_vec()
}
