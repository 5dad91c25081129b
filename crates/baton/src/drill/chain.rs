//! Disasters that operators mend by themselves: nobody signs anything.

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use baton_attest::pki::PlatformSpec;
use baton_core::custody::State;
use baton_enclave::sim::Machine;
use baton_host::seat::SeatError;

use super::Cost;
use super::stage::{NODES, Stage};
use crate::world::ops::PLAN_NAME;
use crate::world::{Named, Node};

const ALL: [usize; NODES] = [0, 1, 2];

pub fn late_node(s: &mut Stage<'_>) -> Result<Cost> {
    let (proposal, x) = s.plan("")?;
    s.prepare(&[0, 1], proposal, x)?;
    s.halt(proposal, x)?;
    s.activate(&[0, 1], proposal, x)?;
    s.resume(x + 300)?;
    for i in [0, 1] {
        s.world.observe(i, Named::V2, PLAN_NAME, x)?;
    }
    s.say("node2 was switched off before the lead window and comes 300 blocks late");
    s.world.upgrade_at_x(2, Named::V1, Named::V2, proposal, x)?;
    s.activate(&[2], proposal, x)?;
    s.world.observe(2, Named::V2, PLAN_NAME, x)?;
    s.reads(&ALL, Named::V2)?;
    Ok(s.cost(0, 0, "one operator, one command", "the vote; the handover at X on one machine needs no record"))
}

pub fn skip_upgrade(s: &mut Stage<'_>) -> Result<Cost> {
    let (proposal, x) = s.plan("")?;
    s.prepare(&ALL, proposal, x)?;
    s.halt(proposal, x)?;
    s.activate(&ALL, proposal, x)?;
    s.reads(&ALL, Named::V2)?;
    s.world.chain.skip_upgrade()?;
    s.world.produce_until(x + 3)?;
    s.say(format!("more than two thirds restart the old binary with --unsafe-skip-upgrades {x}: the same header X, no done key"));
    for i in ALL {
        s.world.observe(i, Named::V2, PLAN_NAME, x)?;
        s.world.observe(i, Named::V1, PLAN_NAME, x)?;
        s.expect(i, Named::V1, State::Holding)?;
        if s.world.status(i, Named::V2)?.serving {
            bail!("node{i}'s v2 serves although its plan was skipped");
        }
    }
    s.say("v2 erased what it was given for a void plan; v1 holds as if nothing had been");
    s.reads(&ALL, Named::V1)?;
    Ok(s.cost(0, 0, "more than two thirds of validators, by restarting the old binary", "the skip is on chain: no done key"))
}

pub fn long_halt(s: &mut Stage<'_>) -> Result<Cost> {
    const THREE_WEEKS: u64 = 21 * 24 * 3600;
    let (proposal, x) = s.plan("")?;
    s.halt(proposal, x)?;
    let before = s.world.block_time();
    s.world.chain.advance_time(Duration::from_secs(THREE_WEEKS));
    s.say("three weeks pass: the collateral of every machine has expired, the trusting period of 14 days is over, nobody had prepared");
    for i in ALL {
        s.world.upgrade_at_x(i, Named::V1, Named::V2, proposal, x)?;
    }
    s.activate(&ALL, proposal, x)?;
    s.say("each node hands over at X on its own machine: reports between two enclaves, header X alone, nothing asked of Intel");
    s.resume(x + 5)?;
    for i in ALL {
        s.world.observe(i, Named::V2, PLAN_NAME, x)?;
    }
    s.reads(&ALL, Named::V2)?;
    let stood = s.world.block_time().saturating_sub(before);
    if stood < THREE_WEEKS {
        bail!("the chain stood for {stood} s, expected {THREE_WEEKS} s");
    }
    Ok(s.cost(0, stood, "every operator, one command", "the vote; copies on one machine are unrecorded until records follow"))
}

pub fn native_rollback(s: &mut Stage<'_>) -> Result<Cost> {
    let (proposal, x) = s.plan("")?;
    s.prepare(&ALL, proposal, x)?;
    s.halt(proposal, x)?;
    s.activate(&ALL, proposal, x)?;
    s.resume(x + 3)?;
    for i in ALL {
        s.world.observe(i, Named::V2, PLAN_NAME, x)?;
    }
    s.world.chain.rollback(false)?;
    s.say("the state of the last block is taken back on every node (`rollback`); the block is executed again");
    s.world.produce_until(x + 6)?;
    for i in ALL {
        s.follow(i, Named::V2)?;
    }
    s.say(format!("enclaves never noticed: headers are the same; height {}", s.world.chain.height()));
    s.reads(&ALL, Named::V2)?;
    Ok(s.cost(0, 0, "every operator: the chain's own `rollback`", "nothing to publish: no header changed"))
}

pub fn cpusvn_downgrade(s: &mut Stage<'_>) -> Result<Cost> {
    refit(s, 9)?;
    s.follow(0, Named::V1)?;
    s.say("node0's firmware is updated: its files still open, and are sealed for the new level from now on");
    let refused = match refit(s, 8) {
        Ok(()) => bail!("files that were sealed for newer firmware opened on older"),
        Err(e) => e,
    };
    let text = format!("{refused:#}");
    if !text.contains("downgraded") || !refused.chain().any(|e| e.is::<SeatError>()) {
        bail!("the refusal does not name the downgrade: {text}");
    }
    s.say(format!("the firmware is taken back: {text}"));
    refit(s, 9)?;
    s.reads(&[0], Named::V1)?;
    s.say("the update is put back: the files open; nothing was written over meanwhile");
    s.world.join(1, NODES, Named::V1)?;
    s.copy_vault(NODES)?;
    s.reads(&[NODES], Named::V1)?;
    s.say("the other way back: a machine that cannot go up again joins anew from any peer");
    Ok(s.cost(0, 0, "one operator", "a join has a record on chain"))
}

/// Puts node0's disk into its own machine with other firmware.
fn refit(s: &mut Stage<'_>, level: u8) -> Result<()> {
    let mut machine = Machine::new(&s.world.pki, "node0", &PlatformSpec::default())?;
    machine.cpu_mut().set_cpu_svn([level; 16]);
    s.world.nodes[0].stop();
    let mut seat = s.world.nodes[0].take("v1")?;
    seat.move_to(Rc::new(machine));
    let started = seat.start();
    s.world.nodes[0].put_back("v1", seat);
    Ok(started?)
}

pub fn half_gone(s: &mut Stage<'_>) -> Result<Cost> {
    s.world.join(0, NODES, Named::V1)?;
    s.say("a fourth node joins; then the machines of node2 and node3 burn down with everything on them");
    for i in [2, NODES] {
        let name = s.world.nodes[i].name.clone();
        s.world.nodes[i].take("v1")?;
        std::fs::remove_dir_all(s.world.dir().join("nodes").join(name)).context("burning a machine down")?;
    }
    for (i, giver) in [(4, 0), (5, 1)] {
        let name = format!("node{i}");
        let machine = s.world.machine(&name)?;
        let dir = s.world.dir().join("nodes").join(&name);
        s.world.nodes.push(Node::new(&dir, &name, machine.clone(), machine));
        s.world.join(giver, i, Named::V1)?;
        s.copy_vault(i)?;
    }
    s.say("two new machines joined from the survivors, by quote, each with a record on chain");
    s.world.produce()?;
    s.reads(&[0, 1, 4, 5], Named::V1)?;
    Ok(s.cost(0, 0, "the two operators with new machines; validators' keys are not in the enclave", "two records on chain, before the seed left"))
}
