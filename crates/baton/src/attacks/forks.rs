//! Chains that are not the chain, and views of it that are past.

use std::time::Duration;

use anyhow::{Result, bail};
use baton_attest::identity::encode;
use baton_chain::light::{LightBlock, Path};
use baton_chain::record::Kind;
use baton_devnet::{Account, Devnet, Forgery, YES};
use baton_enclave::wire::{OfferEvidence, Request};
use baton_host::chain::ChainSource;
use baton_host::gather::Gather;
use baton_host::relay::{self, Channel};
use prost::Message;
use tendermint_proto::types::SignedHeader;

use super::Bench;
use super::scene::{Saved, Scene, pass_on, propose_into};
use crate::world::ops::trusted;

/// The block after the head of `o`, with an app hash of the host's own, signed by these validators.
fn forged(s: &mut Scene, signers: Vec<usize>) -> Result<Request> {
    let height = s.o.status()?.head_height + 1;
    let forgery = Forgery { height, app_hash: Some([0xaa; 32]), signers: Some(signers), ..Forgery::default() };
    let b = s.world.chain.forge(&forgery)?;
    let block = LightBlock {
        signed_header: b.signed_header,
        validators: b.validators,
        next_validators: Some(b.next_validators),
    };
    Ok(Request::Advance { path: encode(&Path { from_next_validators: None, blocks: vec![block] }) })
}

/// More than two thirds, never exactly.
pub fn a05(b: &mut Bench) -> Result<()> {
    let mut s = Scene::new(b)?;
    // 105 of 315: the other three are exactly two thirds.
    s.world.chain.delegate(Account::User(0), 0, 5_000_000)?;
    s.world.produce_until(12)?;
    s.follow()?;
    s.world.produce_until(15)?;
    let advance = forged(&mut s, vec![1, 2, 3])?;
    let saved = Saved::of(&s.o)?;
    let outcome = s.o.call(&advance);
    let what = "a made-up app hash, signed by 210 of 315";
    b.refused("two-thirds", what, "head/Light/NotEnoughSigned", outcome);
    saved.put_back(&mut s.o)?;
    let next = s.o.status()?.head_height + 1;
    let genuine = s.block(next)?;
    let mut stuffed = genuine.clone();
    stuffed.signed_header = with_forged_app_hash(&genuine)?;
    let advance = Request::Advance { path: encode(&Path { from_next_validators: None, blocks: vec![stuffed] }) };
    let outcome = s.o.call(&advance);
    let what = "a made-up app hash under the true block's signatures";
    b.refused("other-commit", what, "head/Light/CommitForOther", outcome);
    saved.put_back(&mut s.o)?;
    // One unit more, and the same three are above two thirds: 211 of 316.
    s.world.chain.delegate(Account::User(0), 1, 1_000_000)?;
    s.world.produce_until(20)?;
    s.follow()?;
    s.world.produce_until(23)?;
    let advance = forged(&mut s, vec![1, 2, 3])?;
    let outcome = s.o.call(&advance);
    b.control("a head signed by just more than two thirds", outcome);
    Ok(())
}

/// A block's header with another app hash, its commit as it was.
fn with_forged_app_hash(genuine: &LightBlock) -> Result<Vec<u8>> {
    let mut signed = SignedHeader::decode(genuine.signed_header.as_slice())?;
    match signed.header.as_mut() {
        Some(h) => h.app_hash = vec![0xaa; 32],
        None => bail!("a light block without a header"),
    }
    Ok(signed.encode_to_vec())
}

/// An enclave that sees only the past: the plan was pending then, and is cancelled now.
pub fn a11(b: &mut Bench) -> Result<()> {
    let mut s = Scene::new(b)?;
    let mut n = s.seat(0, "v2", &s.v2.clone())?;
    let passed = s.pass_v2(36)?;
    let plan = s.pending_height()?;
    s.world.produce_until(plan - 31)?;
    let cancel = propose_into(&mut s.world.chain, vec![Devnet::cancel_message()], "no v2")?;
    s.world.chain.vote_all(cancel, YES)?;
    s.world.produce_until(plan - 18)?;
    let early = relay::ask(&mut s.o, &mut n, Kind::Upgrade, Channel::Local)?;
    let early_tx = s.record(&early, passed)?;
    let view = early_tx.height;
    s.world.chain.decide_proposal(cancel)?;
    s.world.produce()?;
    if s.world.chain.plan().is_some() {
        bail!("the plan is still pending");
    }
    let fresh = relay::ask(&mut s.o, &mut n, Kind::Upgrade, Channel::Local)?;
    let fresh_tx = s.record(&fresh, passed)?;
    let trusted = trusted(&s.o.status()?);
    for (case, what, tx, check) in [
        ("old-head", "a head at which the plan was pending, and a later record", &fresh_tx, "RecordAboveHead"),
        ("old-record", "the same head with the record of an earlier request", &early_tx, "Record/RecordMismatch"),
    ] {
        let gather = Gather::new(&s.world.chain, &s.v1.policy.chain);
        let evidence = gather.ahead(&trusted, passed, tx, view)?.to_cbor();
        let saved = Saved::of(&s.o)?;
        // A restart forgets nonces, so each attempt is the first of its instance.
        let outcome = relay::offer(&mut s.o, &fresh, OfferEvidence::Ahead(evidence), Some(Channel::Local));
        b.refused(case, what, &format!("offer/Authorize/{check}"), outcome);
        if case == "old-record" {
            saved.put_back(&mut s.o)?;
        }
    }
    Ok(())
}

/// The chain's validators of the checkpoint's time leave; their keys stay.
fn unbond(s: &mut Scene) -> Result<()> {
    for (validator, power) in [(1, 80), (2, 65), (3, 50)] {
        s.world.chain.undelegate(Account::Validator(validator), validator, power * 1_000_000)?;
    }
    s.world.produce()?;
    s.world.chain.advance_time(Duration::from_secs(15 * 24 * 3600));
    let h = s.world.chain.height();
    s.world.produce_until(h + 3)?;
    Ok(())
}

/// Beyond one trusting period a skip is not trusted.
pub fn a12a(b: &mut Bench) -> Result<()> {
    let mut s = Scene::new(b)?;
    s.follow()?;
    let head = s.o.status()?.head_height;
    let mut fork = s.world.chain.fork_at(head)?;
    unbond(&mut s)?;
    fork.advance_time(Duration::from_secs(15 * 24 * 3600));
    fork.produce_until(head + 4)?;
    let from = ChainSource::light_block(&fork, head)?;
    let block = ChainSource::light_block(&fork, head + 4)?;
    let path = Path { from_next_validators: from.next_validators, blocks: vec![block] };
    let outcome = s.o.call(&Request::Advance { path: encode(&path) });
    let what = "a fork header 15 days above the head, in one skip";
    b.refused("beyond", what, "head/Light/Expired", outcome);
    Ok(())
}

/// Within it, a copy that was set aside has nothing to tell the fork by.
pub fn a12b(b: &mut Bench) -> Result<()> {
    let mut s = Scene::new(b)?;
    s.follow()?;
    let head = s.o.status()?.head_height;
    let mut fork = s.world.chain.fork_at(head)?;
    unbond(&mut s)?;
    let mut n = s.seat(0, "v3", &s.v3.clone())?;
    let height = fork.height() + super::scene::VOTE_BLOCKS + 14;
    let id = pass_on(&mut fork, "v3", height, &Scene::info(&s.v3))?;
    let asked = relay::ask(&mut s.o, &mut n, Kind::Upgrade, Channel::Local)?;
    let hash = ChainSource::send_memo(&mut fork, &asked.record(id).encode())?;
    fork.produce_block()?;
    let Some(tx) = ChainSource::included(&fork, &hash)? else { bail!("the fork took no record") };
    let trusted = trusted(&s.o.status()?);
    let evidence = Gather::new(&fork, &s.v1.policy.chain).ahead(&trusted, id, &tx, tx.height)?.to_cbor();
    let outcome = relay::offer(&mut s.o, &asked, OfferEvidence::Ahead(evidence), Some(Channel::Local));
    b.shown(
        "within",
        "the same within 14 days, shown to a copy that was set aside",
        "not refused at L0 and L1: that copy offers to the fork's build. Adjacent headers have no age limit either. Witnesses, quorum sealing (L2) and rotation (L3) change it",
        outcome.map(|_| ()).map_err(Into::into),
    );
    super::orders::a12b_witnessed(b)
}
