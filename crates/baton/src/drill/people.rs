//! Disasters that people mend in public: an order with notice, or a vote that needs no listed key.

use anyhow::{Result, bail};
use baton_attest::identity::Digest32;
use baton_attest::sigstruct::SigningKey;
use baton_chain::record::Kind;
use baton_core::order::judge::OrderEvidence;
use baton_core::order::{Action, fresh_memo};
use baton_devnet::Account;
use baton_enclave::wire::{OfferEvidence, Reply, Request};
use baton_host::orders::links;
use baton_host::relay::{self, Channel};

use super::Cost;
use super::stage::{NODES, Stage};
use crate::world::ops::{PLAN_NAME, refusal};
use crate::world::emergency::{NOTICE_SECS, Public};
use crate::world::Named;

const ALL: [usize; NODES] = [0, 1, 2];

pub fn crash_at_x1(s: &mut Stage<'_>) -> Result<Cost> {
    let (proposal, x) = s.plan("")?;
    s.prepare(&ALL, proposal, x)?;
    s.halt(proposal, x)?;
    s.activate(&ALL, proposal, x)?;
    s.say("the new chain binary dies at X + 1 on every node: no block, so no vote");
    let from = s.world.status(0, Named::V1)?.identity.digest();
    let to = s.world.status(0, Named::V3)?.identity;
    let signed = s.order(from, 1, "v2 dies at its first block; v3 is v2 with the fix", Action::Handover { to });
    let mut public = s.publish(&signed)?;
    s.say(format!("two of three council members sign an order for v3; three witnesses date it in the log of orders: {}", signed.order().memo()));
    let quiet = hand_over(s, 0, &signed, &mut public);
    let why = refusal(quiet.map(|_| ()))?;
    if !why.check.contains("Notice") {
        bail!("expected a refusal for want of notice, got {}", why.check);
    }
    s.say(format!("before the notice is over the source gives nothing ({})", why.check));
    public.wait(NOTICE_SECS);
    for i in ALL {
        let evidence = hand_over(s, i, &signed, &mut public)?;
        let seat = s.world.seat(i, Named::V3)?;
        seat.call(&Request::ActivateByOrder { evidence: OrderEvidence { fresh: None, ..evidence }.to_cbor() })?;
        seat.store_log()?;
    }
    s.say("after one hour of notice every old enclave hands over to v3 on its own machine, and v3 starts by the order");
    s.resume(x + 3)?;
    s.world.publish(&signed.order().memo())?;
    s.say("the order is published on chain; status and log name it for ever");
    s.reads(&ALL, Named::V3)?;
    if s.world.status(0, Named::V3)?.emergencies.is_none() {
        bail!("the emergency is not in the status of v3");
    }
    Ok(s.cost(0, NOTICE_SECS, "two council members, two witnesses, every operator", "the order, dated by witnesses an hour before anything left; on chain as soon as there was one"))
}

/// One node's old enclave hands over to v3 by an order; the evidence that it took.
fn hand_over(s: &mut Stage<'_>, node: usize, signed: &baton_core::order::signed::SignedOrder, public: &mut Public) -> Result<OrderEvidence> {
    s.world.seat(node, Named::V1)?;
    s.world.seat(node, Named::V3)?;
    let (o, n) = s.world.nodes[node].pair("v1", "v3")?;
    let asked = relay::ask(o, n, Kind::Upgrade, Channel::Local)?;
    let shown = public.evidence(signed, &asked.record(0).encode(), 60)?;
    relay::hand_over(o, n, &asked, OfferEvidence::Order(shown.to_cbor()), Channel::Local)?;
    o.store_log()?;
    Ok(shown)
}

pub fn lost_signing_key(s: &mut Stage<'_>) -> Result<Cost> {
    let committed = s.world.committed()?;
    let key = SigningKey::development(2)?;
    s.put_build(Named::V2, committed, 5, 2, 2)?;
    s.say("the developers' key is gone: v2 is signed by a key that no policy lists");
    let (proposal, x) = s.plan("")?;
    s.world.produce_until(x - crate::world::build::LEAD_BLOCKS)?;
    let why = refusal(s.world.upgrade_ahead(0, Named::V1, Named::V2, proposal))?;
    s.say(format!("a vote that does not name the key is not enough ({})", why.check));
    s.halt(proposal, x)?;
    s.world.chain.skip_upgrade()?;
    s.world.produce_until(x + 2)?;
    s.say("the plan is passed over, and people vote again, naming the key");
    let (proposal, x) = s.plan(&format!(r#","signer":"{}""#, key.signer()))?;
    s.prepare(&ALL, proposal, x)?;
    s.halt(proposal, x)?;
    s.activate(&ALL, proposal, x)?;
    s.resume(x + 3)?;
    s.reads(&ALL, Named::V2)?;
    Ok(s.cost(0, 0, "more than two thirds of all bonded power, in one more vote", "the vote names the new key"))
}

pub fn network_rewind(s: &mut Stage<'_>) -> Result<Cost> {
    const BACK_TO: u64 = 22;
    s.world.produce_until(30)?;
    for i in ALL {
        s.follow(i, Named::V1)?;
    }
    let mut other = s.world.chain.fork_at(BACK_TO)?;
    other.send_memo(Account::User(0), "another history")?;
    other.produce_until(BACK_TO + 3)?;
    let hash = Digest32(s.world.chain.header_hash(BACK_TO)?);
    s.say(format!("at height 30 the network returns to a snapshot of height {BACK_TO}; enclaves trust header 30, which is no more"));
    let from = s.world.status(0, Named::V1)?.identity.digest();
    let signed = s.order(from, 1, "the network returns to its snapshot", Action::Rewind { height: BACK_TO, hash });
    let mut public = s.publish(&signed)?;
    public.wait(NOTICE_SECS);
    for i in ALL {
        let head = s.world.status(i, Named::V1)?.head_height;
        let down = links(&s.world.chain, head, BACK_TO)?;
        let Reply::Message { digest: nonce, .. } = s.world.seat(i, Named::V1)?.call(&Request::Hello)? else {
            bail!("the enclave drew no nonce");
        };
        let shown = public.evidence(&signed, &fresh_memo(&nonce), 60)?;
        let shown = OrderEvidence { nonce: Some(nonce), links: Some(down), ..shown };
        s.world.seat(i, Named::V1)?.call(&Request::Command { evidence: shown.to_cbor() })?;
        if s.world.status(i, Named::V1)?.head_height != BACK_TO {
            bail!("node{i} did not go back");
        }
    }
    s.say(format!("by an order of the council, with an hour of notice, every enclave goes back to header {BACK_TO}, an ancestor by hash links"));
    s.world.chain = other;
    s.world.save_chain()?;
    s.reads(&ALL, Named::V1)?;
    let (proposal, x) = s.plan("")?;
    s.prepare(&ALL, proposal, x)?;
    s.halt(proposal, x)?;
    s.activate(&ALL, proposal, x)?;
    s.resume(x + 3)?;
    for i in ALL {
        s.world.observe(i, Named::V2, PLAN_NAME, x)?;
    }
    s.reads(&ALL, Named::V2)?;
    Ok(s.cost(30 - BACK_TO, NOTICE_SECS, "two council members, two witnesses, every operator", "the order, dated by witnesses an hour before; an upgrade goes through on the new branch"))
}
