//! Validators' account keys: ADR-036, "arbitrary message signature", as Keplr, Ledger and the SDK's own command make it.
//!
//! What is signed is SHA-256 of the amino JSON sign document with one `sign/MsgSignData`, empty chain id and zeros
//! everywhere else, so it can never be a transaction. Its data is [`Order::memo`], which names the order by a digest over
//! everything in it, chain id and source build included.

use alloc::{format, string::String, vec::Vec};

use base64::{Engine, engine::general_purpose::STANDARD};
use baton_chain::light::{LightError, TrustedHeader};
use baton_chain::proofs::StateProof;
use baton_chain::staking::{operator_power, validator_key};
use minicbor::{Decode, Encode};
use ripemd::Digest as _;
use sha2::Sha256;

use super::signed::{AccountSignature, SignedOrder};
use super::{Authority, Order, SkippedSignature, SkippedSignatures};

/// Bytes of an account's address.
const ADDRESS_BYTES: usize = 20;

/// What shows the weight of validators' signatures, at the trusted head. UNTRUSTED.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct StakingEvidence {
    /// `ValidatorSet` (protobuf) that follows the head.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub next_validators: Vec<u8>,
    /// The record of each signer, in the head's app hash; any order.
    #[n(1)]
    pub records: Vec<StateProof>,
}

/// The sign document of an order for an account, in the one form that wallets sign.
pub fn sign_doc(order: &Order, signer: &str) -> String {
    let data = STANDARD.encode(order.memo());
    format!(
        "{{\"account_number\":\"0\",\"chain_id\":\"\",\"fee\":{{\"amount\":[],\"gas\":\"0\"}},\"memo\":\"\",\"msgs\":[{{\"type\":\"sign/MsgSignData\",\"value\":{{\"data\":\"{data}\",\"signer\":\"{signer}\"}}}}],\"sequence\":\"0\"}}"
    )
}

/// Whether validators with more than two thirds of the bonded power signed, and what power did. A bad signature is skipped
/// and named; an account counts once.
pub fn validators(
    signed: &SignedOrder,
    head: &TrustedHeader,
    evidence: &StakingEvidence,
) -> Result<(Option<Authority>, SkippedSignatures), LightError> {
    let powers = head.next_powers(&evidence.next_validators)?;
    let (mut signers, mut power, mut skipped) = (Vec::<([u8; ADDRESS_BYTES], String)>::new(), 0u64, SkippedSignatures::default());
    for account in signed.accounts() {
        let mut skip = |why: String| skipped.0.push(SkippedSignature { owner: printable(&account.signer), why });
        let address = match check(signed.order(), account) {
            Ok(address) => address,
            Err(why) => {
                skip(why.into());
                continue;
            }
        };
        if signers.iter().any(|(a, _)| *a == address) {
            skip("signed twice, counts once".into());
            continue;
        }
        let key = validator_key(&address);
        let Some(record) = evidence.records.iter().find(|r| r.key == key) else {
            skip("no staking record of it was brought".into());
            continue;
        };
        match operator_power(head, &powers, &address, record) {
            Ok(of) => {
                power = power.saturating_add(of);
                signers.push((address, account.signer.clone()));
            }
            Err(e) => skip(format!("{e}")),
        }
    }
    let total = powers.total();
    let enough = total != 0 && u128::from(power).saturating_mul(3) > u128::from(total).saturating_mul(2);
    let signers = signers.into_iter().map(|(_, s)| s).collect();
    Ok((enough.then_some(Authority::Validators { signers, power, total }), skipped))
}

/// The address of the account whose signature holds.
pub fn check(order: &Order, account: &AccountSignature) -> Result<[u8; ADDRESS_BYTES], &'static str> {
    use k256::ecdsa::signature::Verifier;
    // Only bech32 characters get into the document: nothing that a signer names can change its shape.
    let (_, address) = bech32::decode(&account.signer).map_err(|_| "the signer is no bech32 account")?;
    if account.public_key.len() != 33 {
        return Err("the public key is not 33 bytes");
    }
    let key = k256::ecdsa::VerifyingKey::from_sec1_bytes(&account.public_key).map_err(|_| "not a secp256k1 public key")?;
    let expected: [u8; ADDRESS_BYTES] = ripemd::Ripemd160::digest(Sha256::digest(&account.public_key)).into();
    if address != expected || account.signer.chars().any(|c| !c.is_ascii_alphanumeric()) {
        return Err("the signer is not the account of this public key");
    }
    let signature = k256::ecdsa::Signature::from_slice(&account.signature).map_err(|_| "not a signature of 64 bytes")?;
    key.verify(sign_doc(order, &account.signer).as_bytes(), &signature)
        .map_err(|_| "the signature does not verify")?;
    Ok(expected)
}

/// What a host wrote, as far as it may stand in a message.
fn printable(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic()).take(90).collect()
}
