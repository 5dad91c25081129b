//! The network that drills are played on: three nodes that hold the seed in v1, a value in the vault, a council and witnesses.

use std::path::Path;

use anyhow::{Context, Result, bail};
use baton_attest::identity::{Digest32, encode};
use baton_attest::sigstruct::SigningKey;
use baton_core::custody::State;
use baton_core::order::signed::SignedOrder;
use baton_core::order::{Action, Order, VERSION};
use baton_core::policy::Origin;
use baton_enclave::wire::Request;

use super::Cost;
use crate::world::boats::Boats;
use baton_host::files::write_whole;

use crate::world::build::LEAD_BLOCKS;
use crate::world::emergency::{NOON, Public, SIGNERS, break_glass, sign};
use crate::world::ops::PLAN_NAME;
use crate::world::{Build, Named, World};

/// Nodes that hold the seed at first.
pub const NODES: usize = 3;
const ENTRY: &str = "treasure map";
const SECRET: &[u8] = b"under the third oak";

/// A network on which something goes wrong.
pub struct Stage<'a> {
    pub world: World,
    /// Lifeboats, where the network has some.
    boats: Option<Boats>,
    said: &'a mut dyn FnMut(&str),
    steps: Vec<String>,
}

impl<'a> Stage<'a> {
    /// The network, up to a seed on every node and a value in the vault.
    pub fn new(dir: &Path, seed: u64, with_boats: bool, said: &'a mut dyn FnMut(&str)) -> Result<Self> {
        let mut world = World::create(dir, seed, NODES)?;
        world.produce_until(3)?;
        let mut stage = Stage { world, boats: None, said, steps: Vec::new() };
        if with_boats {
            stage.found_boats()?;
        }
        stage.put_build(Named::V1, Origin::Genesis, 2, 1, 1)?;
        stage.world.genesis(0)?;
        for i in 1..NODES {
            stage.world.join(0, i, Named::V1)?;
        }
        stage.world.seat(0, Named::V1)?;
        stage.world.nodes[0].vault_put("v1", ENTRY, SECRET)?;
        for i in 1..NODES {
            stage.copy_vault(i)?;
        }
        stage.world.produce_until(8)?;
        let committed = stage.world.committed()?;
        stage.put_build(Named::V2, committed.clone(), 5, 1, 2)?;
        stage.put_build(Named::V3, committed, 5, 1, 3)?;
        stage.say(format!("{NODES} nodes hold the seed in v1; a value is in the vault; height {}", stage.world.chain.height()));
        Ok(stage)
    }

    fn found_boats(&mut self) -> Result<()> {
        let tcb = self.world.policy(Origin::Genesis, 2)?.tcb;
        let boats = Boats::found(&self.world, &tcb)?;
        for node in 0..NODES {
            for which in [Named::V1, Named::V2, Named::V3] {
                boats.give_keys(&self.world.dir().join("nodes").join(format!("node{node}")).join(which.name()))?;
            }
        }
        self.boats = Some(boats);
        self.say("years before: a council's key in shares for five holders, three lifeboats with one key; policies name both");
        Ok(())
    }

    /// The lifeboats.
    pub fn boats(&self) -> Result<&Boats> {
        self.boats.as_ref().context("this network has no lifeboats")
    }

    /// The log of orders with an order in it, seen by all witnesses.
    pub fn publish(&self, signed: &SignedOrder) -> Result<Public> {
        let mut public = Public::new(&self.world.chain.config().chain_id, 3);
        public.show(&signed.order().memo())?;
        Ok(public)
    }

    /// Makes a build with council and witnesses in its policy, signed by a development key.
    pub fn put_build(&mut self, which: Named, origin: Origin, checkpoint: u64, key: u8, svn: u16) -> Result<Build> {
        let mut policy = self.world.policy(origin, checkpoint)?;
        break_glass(&mut policy);
        if let Some(boats) = &self.boats {
            boats.name_in(&mut policy);
        }
        // Development key 2 is on no list here: it stands for a key of people that nobody knew.
        let lost = baton_attest::identity::Signer([7; 32]);
        policy.builds.signers = vec![SigningKey::development(1)?.signer(), lost];
        let build = Build::new(&format!("{svn}.0.0"), policy, key, svn)?;
        let dir = self.world.dir().join("builds");
        std::fs::create_dir_all(&dir)?;
        write_whole(&dir.join(format!("{}.sgxs", which.name())), &build.image.sgxs)?;
        write_whole(&dir.join(format!("{}.sig", which.name())), &build.image.sigstruct)?;
        Ok(build)
    }

    /// Says a step.
    pub fn say(&mut self, step: impl Into<String>) {
        let step = step.into();
        (self.said)(&step);
        self.steps.push(step);
    }

    /// What was said.
    pub fn into_steps(self) -> Vec<String> {
        self.steps
    }

    /// Gives a node the vault's records: the network's state is replicated.
    pub fn copy_vault(&mut self, node: usize) -> Result<()> {
        for (index, record) in self.world.nodes[0].vault_records()? {
            self.world.nodes[node].vault_store(&index, &record)?;
        }
        Ok(())
    }

    /// A plan for v2, passed; its proposal and height. `more` is put into its `enclave` object.
    pub fn plan(&mut self, more: &str) -> Result<(u64, u64)> {
        let v2 = self.world.build(Named::V2)?;
        let info = format!(r#"{{"enclave":{{"mrenclave":"{}","svn":2{more}}}}}"#, v2.measurement);
        let height = self.world.chain.height() + 40 + LEAD_BLOCKS;
        let proposal = self.world.vote(PLAN_NAME, height, &info)?;
        self.say(format!("proposal {proposal} PASSED: plan {PLAN_NAME:?} at height {height} names v2"));
        Ok((proposal, height))
    }

    /// Handovers ahead of X on these nodes.
    pub fn prepare(&mut self, nodes: &[usize], proposal: u64, plan: u64) -> Result<()> {
        self.world.produce_until(plan - LEAD_BLOCKS)?;
        for i in nodes {
            self.world.upgrade_ahead(*i, Named::V1, Named::V2, proposal)?;
        }
        self.say(format!("{} of {NODES} nodes handed over to v2 ahead of X, each with a record on chain", nodes.len()));
        Ok(())
    }

    /// Up to X, where the chain halts; a node keeps the bundle.
    pub fn halt(&mut self, proposal: u64, plan: u64) -> Result<()> {
        self.world.produce_until(plan)?;
        self.world.chain.halted().context("the chain did not halt at the plan's height")?;
        self.world.keep_bundle(0, Named::V1, Named::V2, proposal, plan)?;
        self.say(format!("the chain halts at X = {plan}; node0 keeps the bundle of X"));
        Ok(())
    }

    /// Activation by the proof at X.
    pub fn activate(&mut self, nodes: &[usize], proposal: u64, x: u64) -> Result<()> {
        for i in nodes {
            self.world.activate(*i, Named::V2, proposal, x)?;
        }
        Ok(())
    }

    /// The new binary runs the plan, and the chain goes on to a height.
    pub fn resume(&mut self, until: u64) -> Result<()> {
        self.world.chain.resume_with_handler(PLAN_NAME)?;
        self.world.produce_until(until)?;
        self.say(format!("the chain makes blocks: height {}", self.world.chain.height()));
        Ok(())
    }

    /// Every one of these nodes reads the vault in a build, from a restart.
    pub fn reads(&mut self, nodes: &[usize], which: Named) -> Result<()> {
        for i in nodes {
            self.world.nodes[*i].stop();
            self.world.seat(*i, which)?;
            if self.world.nodes[*i].vault_get(which.name(), ENTRY)? != SECRET {
                bail!("node{i} reads another value in {}", which.name());
            }
        }
        self.say(format!("{} nodes read the vault in {}, after a restart", nodes.len(), which.name()));
        Ok(())
    }

    /// Checks what a copy is.
    pub fn expect(&mut self, node: usize, which: Named, expected: State) -> Result<()> {
        match self.world.status(node, which)?.state {
            got if got == expected => Ok(()),
            got => bail!("custody of node{node} in {}: expected {expected}, got {got}", which.name()),
        }
    }

    /// Shows a copy the newest head and nothing of any plan.
    pub fn follow(&mut self, node: usize, which: Named) -> Result<u64> {
        let build = self.world.build(which)?;
        let from = self.world.status(node, which)?.head_height;
        let path = self.world.gather(&build).path(from, self.world.chain.height())?;
        self.world.seat(node, which)?.call(&Request::Advance { path: encode(&path) })?;
        Ok(self.world.status(node, which)?.head_height)
    }

    /// An order that two members of the council signed.
    pub fn order(&mut self, from: Digest32, sequence: u64, reason: &str, action: Action) -> SignedOrder {
        let order = Order {
            version: VERSION,
            chain_id: self.world.chain.config().chain_id.clone(),
            from,
            sequence,
            expiry_height: 100_000,
            expiry_secs: NOON + 30 * 86_400,
            reason: reason.into(),
            action,
        };
        sign(order, &SIGNERS)
    }

    /// What a disaster cost where only operators acted.
    pub fn cost(&self, blocks_lost: u64, stood_secs: u64, people: &str, public: &str) -> Cost {
        Cost { blocks_lost, stood_secs, people: people.into(), public: public.into() }
    }
}
