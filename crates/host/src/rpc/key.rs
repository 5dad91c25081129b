//! An account's key in a file, and the one transaction that Baton signs with it: a payment of one base unit to itself,
//! which carries the memo (`cosmos.tx.v1beta1`, SIGN_MODE_DIRECT).

use std::fs;
use std::path::{Path, PathBuf};

use baton_chain::gov::{Any, Coin, TxBody, TxRaw};
use k256::ecdsa::SigningKey;
use k256::ecdsa::signature::Signer as _;
use prost::Message;
use ripemd::Ripemd160;
use sha2::{Digest, Sha256};

use super::send::{SendError, Sender, send_raw};
use super::RpcSource;

/// `SIGN_MODE_DIRECT`.
const DIRECT: i32 = 1;
/// x/auth: address -> account.
const ACCOUNT: u8 = 0x01;
const AUTH_STORE: &str = "acc";
/// How many times a transaction is signed again for a later sequence.
const MAX_WAITING: usize = 3;

/// What a transaction pays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fee {
    /// Denomination of fee and payment.
    pub denom: String,
    /// The fee, in base units; 0 pays none.
    pub amount: u64,
    /// Gas limit.
    pub gas: u64,
}

/// Why a key file cannot sign.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file.
    #[error("key file {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Readable for others.
    #[error("key file {path} has mode {got:03o}: expected 600, so that nobody else reads it; run chmod 600 on it")]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its mode.
        got: u32,
    },
    /// Not a key.
    #[error("key file {path}: expected a secp256k1 key of 64 hexadecimal characters")]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The account is not there.
    #[error("account {address} does not exist on the chain yet: send it a few coins, or let a peer publish")]
    NoAccount {
        /// The address.
        address: String,
    },
    /// The account cannot be read.
    #[error("account {address} is of a kind that this release cannot read ({kind}); use the chain's own command as signer")]
    Kind {
        /// The address.
        address: String,
        /// Its type URL.
        kind: String,
    },
}

/// A key in a file.
pub struct Keyfile {
    key: SigningKey,
    prefix: String,
    fee: Fee,
}

#[derive(Clone, PartialEq, Message)]
struct BaseAccount {
    #[prost(string, tag = "1")]
    address: String,
    #[prost(uint64, tag = "3")]
    account_number: u64,
    #[prost(uint64, tag = "4")]
    sequence: u64,
}

#[derive(Clone, PartialEq, Message)]
struct MsgSend {
    #[prost(string, tag = "1")]
    from_address: String,
    #[prost(string, tag = "2")]
    to_address: String,
    #[prost(message, repeated, tag = "3")]
    amount: Vec<Coin>,
}

#[derive(Clone, PartialEq, Message)]
struct PubKey {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Single {
    #[prost(int32, tag = "1")]
    mode: i32,
}

#[derive(Clone, PartialEq, Message)]
struct ModeInfo {
    #[prost(message, optional, tag = "1")]
    single: Option<Single>,
}

#[derive(Clone, PartialEq, Message)]
struct SignerInfo {
    #[prost(message, optional, tag = "1")]
    public_key: Option<Any>,
    #[prost(message, optional, tag = "2")]
    mode_info: Option<ModeInfo>,
    #[prost(uint64, tag = "3")]
    sequence: u64,
}

#[derive(Clone, PartialEq, Message)]
struct FeePb {
    #[prost(message, repeated, tag = "1")]
    amount: Vec<Coin>,
    #[prost(uint64, tag = "2")]
    gas_limit: u64,
}

#[derive(Clone, PartialEq, Message)]
struct AuthInfo {
    #[prost(message, repeated, tag = "1")]
    signer_infos: Vec<SignerInfo>,
    #[prost(message, optional, tag = "2")]
    fee: Option<FeePb>,
}

#[derive(Clone, PartialEq, Message)]
struct SignDoc {
    #[prost(bytes = "vec", tag = "1")]
    body_bytes: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    auth_info_bytes: Vec<u8>,
    #[prost(string, tag = "3")]
    chain_id: String,
    #[prost(uint64, tag = "4")]
    account_number: u64,
}

fn any(type_url: &str, message: &impl Message) -> Any {
    Any { type_url: type_url.into(), value: message.encode_to_vec() }
}

impl Keyfile {
    /// Reads a key, 64 hexadecimal characters, from a file that only its owner can read.
    pub fn read(path: &Path, prefix: &str, fee: Fee) -> Result<Self, KeyError> {
        use std::os::unix::fs::PermissionsExt;
        let io = |source| KeyError::Io { path: path.into(), source };
        let got = fs::metadata(path).map_err(io)?.permissions().mode() & 0o777;
        if got & 0o077 != 0 {
            return Err(KeyError::Permissions { path: path.into(), got });
        }
        let text = fs::read_to_string(path).map_err(io)?;
        let malformed = || KeyError::Malformed { path: path.into() };
        let bytes = hex::decode(text.trim()).map_err(|_| malformed())?;
        Ok(Keyfile { key: SigningKey::from_slice(&bytes).map_err(|_| malformed())?, prefix: prefix.into(), fee })
    }

    fn public(&self) -> Vec<u8> {
        self.key.verifying_key().to_sec1_point(true).as_bytes().to_vec()
    }

    /// The account's address, 20 bytes: RIPEMD-160 of SHA-256 of the public key.
    pub fn address(&self) -> [u8; 20] {
        Ripemd160::digest(Sha256::digest(self.public())).into()
    }

    /// The address as people write it.
    pub fn address_text(&self) -> String {
        bech32::Hrp::parse(&self.prefix)
            .ok()
            .and_then(|hrp| bech32::encode::<bech32::Bech32>(hrp, &self.address()).ok())
            .unwrap_or_else(|| hex::encode(self.address()))
    }

    fn account(&self, chain: &RpcSource) -> Result<BaseAccount, SendError> {
        let key = [&[ACCOUNT], self.address().as_slice()].concat();
        let address = self.address_text();
        let value = chain.peek(AUTH_STORE, &key)?.ok_or_else(|| KeyError::NoAccount { address: address.clone() })?;
        let stored = Any::decode(value.as_slice()).unwrap_or_default();
        match (stored.type_url.as_str(), BaseAccount::decode(stored.value.as_slice())) {
            ("/cosmos.auth.v1beta1.BaseAccount", Ok(account)) => Ok(account),
            (kind, _) => Err(KeyError::Kind { address, kind: kind.into() }.into()),
        }
    }

    /// The signed transaction.
    fn transaction(&self, chain_id: &str, account: &BaseAccount, memo: &str) -> Vec<u8> {
        let (me, denom) = (self.address_text(), self.fee.denom.clone());
        let coin = |amount: u64| Coin { denom: denom.clone(), amount: amount.to_string() };
        let send = MsgSend { from_address: me.clone(), to_address: me, amount: vec![coin(1)] };
        let body = TxBody { messages: vec![any("/cosmos.bank.v1beta1.MsgSend", &send)], memo: memo.into(), timeout_height: 0 };
        let auth = AuthInfo {
            signer_infos: vec![SignerInfo {
                public_key: Some(any("/cosmos.crypto.secp256k1.PubKey", &PubKey { key: self.public() })),
                mode_info: Some(ModeInfo { single: Some(Single { mode: DIRECT }) }),
                sequence: account.sequence,
            }],
            fee: Some(FeePb { amount: if self.fee.amount == 0 { Vec::new() } else { vec![coin(self.fee.amount)] }, gas_limit: self.fee.gas }),
        };
        let (body_bytes, auth_info_bytes) = (body.encode_to_vec(), auth.encode_to_vec());
        let doc = SignDoc {
            body_bytes: body_bytes.clone(),
            auth_info_bytes: auth_info_bytes.clone(),
            chain_id: chain_id.into(),
            account_number: account.account_number,
        };
        let signature: k256::ecdsa::Signature = self.key.sign(&doc.encode_to_vec());
        // The SDK takes the lower of the two values of s only.
        let signature = signature.normalize_s().to_bytes().to_vec();
        TxRaw { body_bytes, auth_info_bytes, signatures: vec![signature] }.encode_to_vec()
    }
}

/// The sequence that a node asks for instead of the one that was signed.
fn expected_sequence(log: &str) -> Option<u64> {
    let rest = log.contains("sequence").then(|| log.split_once("expected "))??.1;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

impl Sender for Keyfile {
    fn send(&mut self, chain: &RpcSource, memo: &str) -> Result<[u8; 32], SendError> {
        let mut account = self.account(chain)?;
        for _ in 0..MAX_WAITING {
            match send_raw(chain, &self.transaction(&chain.config().chain_id, &account, memo)) {
                // Transactions that still wait for a block have used the sequence that the state shows.
                Err(SendError::CheckTx { log, .. }) if expected_sequence(&log).is_some_and(|s| s > account.sequence) => {
                    account.sequence = expected_sequence(&log).unwrap_or(account.sequence);
                }
                other => return other,
            }
        }
        send_raw(chain, &self.transaction(&chain.config().chain_id, &account, memo))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_that_a_node_expects_is_read_and_nothing_else() {
        assert_eq!(expected_sequence("account sequence mismatch, expected 3, got 2: incorrect account sequence"), Some(3));
        assert_eq!(expected_sequence("the sequence is 4, expected 7: sign again"), Some(7));
        for other in ["", "expected 3", "insufficient funds, expected 5", "sequence 9"] {
            assert_eq!(expected_sequence(other).filter(|_| other.contains("sequence")), None, "{other}");
        }
    }
}
