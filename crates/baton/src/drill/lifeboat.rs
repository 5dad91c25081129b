//! The last disaster: no enclave of the network starts any more. What is left is a file beside the ruins, people with shares,
//! and one lifeboat.

use std::fs;

use anyhow::{Context, Result, bail};
use baton_chain::light::Path;
use baton_core::escrow::Escrow;
use baton_core::lifeboat::{ReleaseEvidence, release_text};
use baton_core::order::Action;
use baton_core::order::signed::SignedOrder;
use baton_core::seal::Slot;
use baton_enclave::wire::Request;
use baton_host::lifeboat::{LifeboatError, LifeboatSeat, Opened, Target, evidence};

use super::Cost;
use super::stage::{NODES, Stage};
use crate::world::emergency::{NOTICE_SECS, Public};
use crate::world::Named;

const ALL: [usize; NODES] = [0, 1, 2];
/// Who answers in time: three of five are needed.
const ANSWER: [&str; 3] = ["ana", "chen", "emil"];

pub fn all_builds_broken(s: &mut Stage<'_>) -> Result<Cost> {
    let (proposal, x) = s.plan("")?;
    s.prepare(&ALL, proposal, x)?;
    s.halt(proposal, x)?;
    s.activate(&ALL, proposal, x)?;
    s.reads(&ALL, Named::V2)?;
    let (_, escrow) = s.world.seat(0, Named::V1)?.escrows().newest()?.context("v1 on node0 kept no escrow")?;
    for i in ALL {
        ruin(s, i, Named::V1)?;
        ruin(s, i, Named::V2)?;
    }
    s.say("a firmware update writes over every sealed file of v1 and v2 on every node; the chain stands at X");
    s.say("left are: the escrow that v1 put beside its files at genesis, one of three lifeboats, and the council's people");
    // Put aside for the loop below: a lifeboat borrows the stage's machines.
    let boat_digest = s.boats()?.start(2)?.identity_digest()?;
    let to = s.world.status(0, Named::V3)?.identity;
    let signed = s.order(boat_digest, 1, "no build starts; v3 takes the escrow", Action::Handover { to });
    let mut public = s.publish(&signed)?;
    s.say(format!("two of three council members order the lifeboat to give it to v3: {}", signed.order().memo()));
    let early = release(s, 0, &signed, &escrow, &mut public);
    match early.map_err(|e| e.downcast::<LifeboatError>()) {
        Err(Ok(LifeboatError::Refused(why))) if why.contains("seconds between") => s.say(format!("before the notice is over the lifeboat gives nothing ({why})")),
        Err(Ok(other)) => return Err(other.into()),
        Err(Err(other)) => return Err(other),
        Ok(_) => bail!("the lifeboat gave the keyring before the notice was over"),
    }
    public.wait(NOTICE_SECS);
    for i in ALL {
        let holders = release(s, i, &signed, &escrow, &mut public)?;
        if holders != ANSWER {
            bail!("expected the shares of {}, got {}", ANSWER.join(", "), holders.join(", "));
        }
    }
    s.say(format!("after the notice: {} open their age files and box their shares, once for each of {NODES} machines; the lifeboat gives, each release is in the log", ANSWER.join(", ")));
    s.resume(x + 3)?;
    s.world.publish(&signed.order().memo())?;
    s.say("v3 serves by the order, which is published on chain; status and log name it for ever");
    s.reads(&ALL, Named::V3)?;
    let status = s.world.status(0, Named::V3)?;
    if status.emergencies.is_none() || !status.escrow.is_some_and(|e| e.made) {
        bail!("v3 should say that there was an emergency, and keep an escrow of its own");
    }
    Ok(s.cost(0, NOTICE_SECS, "two council members, three share holders, who keeps a lifeboat, two witnesses, every operator", "the order, dated by witnesses an hour before anything left, and each release; on chain as soon as there was one"))
}

/// Writes over every sealed file of a build on a node, and sees that it does not start any more.
fn ruin(s: &mut Stage<'_>, node: usize, which: Named) -> Result<()> {
    s.world.nodes[node].stop();
    let mut seat = s.world.nodes[node].take(which.name())?;
    for slot in [Slot::Custody, Slot::Rehearsal] {
        for file in seat.store().find(slot)? {
            fs::write(&file.path, [0; 64])?;
        }
    }
    match seat.start() {
        Ok(()) => bail!("node{node} starts {} from files of zeros", which.name()),
        Err(_) => Ok(()),
    }
}

/// One release of the last lifeboat, to v3 on one node: whose shares were good.
fn release(s: &mut Stage<'_>, node: usize, signed: &SignedOrder, escrow: &Escrow, public: &mut Public) -> Result<Vec<String>> {
    let chain_id = s.world.chain.config().chain_id.clone();
    s.world.seat(node, Named::V3)?;
    let mut seat = s.world.nodes[node].take(Named::V3.name())?;
    let result = {
        let boats = s.boats()?;
        let mut boat = boats.start(2)?;
        let opened = boat.open(&chain_id, 0)?;
        let target = Target::ask(&mut seat, opened.hello.clone(), &boats.collateral)?;
        let shown = shown(s, &opened, &target, signed, escrow, public);
        shown.and_then(|e| give(&mut boat, &e))
    };
    let taken = result.and_then(|(offer, holders)| {
        seat.call(&Request::Accept { offer, giver: None })?;
        let notice = public.log.notice(&signed.order().memo())?;
        let order = baton_host::orders::evidence(signed, Path::default(), notice, None);
        seat.call(&Request::ActivateByOrder { evidence: order.to_cbor() })?;
        seat.store_log()?;
        Ok(holders)
    });
    s.world.nodes[node].put_back(Named::V3.name(), seat);
    taken
}

fn shown(s: &Stage<'_>, opened: &Opened, target: &Target, signed: &SignedOrder, escrow: &Escrow, public: &mut Public) -> Result<ReleaseEvidence> {
    let boats = s.boats()?;
    let subject = target.subject(signed)?;
    let text = release_text(&opened.session, &subject);
    public.show(&text)?;
    let boxes = boats.boxes(&opened.session, &subject, &ANSWER)?;
    Ok(evidence(&boats.council.to_cbor(), &boxes, escrow, signed, &public.log, &text, target)?)
}

fn give(boat: &mut LifeboatSeat<'_>, e: &ReleaseEvidence) -> Result<(Vec<u8>, Vec<String>)> {
    let released = boat.release(e)?;
    Ok((released.offer, released.holders))
}
