//! What stands between a plan and a confirmed handover here, for `baton upgrade` and cosmovisor's hook.
//!
//! Two plans can share a name, and even a height. So the asker may say which height it means, and what the chain's node wrote
//! at its halt; and where a header at X is at hand that shows another plan, nothing is confirmed by the one that was seen before.

use anyhow::Result;
use baton_attest::identity::Measurement;
use baton_chain::gov::{PLAN_KEY, Plan, UPGRADE_STORE};
use baton_chain::info::read_info;
use baton_core::custody::State;
use baton_host::chain::ChainSource;
use prost::Message;
use serde_json::{Value, json};

use super::Node;
use super::db::KnownPlan;
use super::gate::{Confirmed, PlanNote};
use super::ops::told;

/// Which plan is meant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// Its name; none: the pending one, else the newest that is known.
    pub plan: Option<&'a str>,
    /// Its height.
    pub height: Option<u64>,
    /// Its info, as the chain's node wrote it down at the halt.
    pub info: Option<&'a str>,
}

impl Wanted<'_> {
    fn names(&self, p: &KnownPlan) -> bool {
        self.plan.is_none_or(|name| name == p.name)
    }

    fn is(&self, p: &KnownPlan) -> bool {
        self.names(p) && self.height.is_none_or(|h| h == p.height) && self.info.is_none_or(|i| i == p.info)
    }
}

impl Node {
    /// True if a build's handover is confirmed for this very plan.
    pub(super) fn is_gated(&self, measurement: &Measurement, plan: &KnownPlan) -> bool {
        Confirmed::read(self.home.dir(), measurement).ok().flatten().is_some_and(|c| c.is_for(&plan.name, plan.height))
    }

    /// What the chain's node wrote at its halt is the plan that it ran: what was seen before of that name counts no more.
    fn take_halted(&mut self, wanted: &Wanted) -> Result<()> {
        let (Some(name), Some(height), Some(info)) = (wanted.plan, wanted.height, wanted.info) else { return Ok(()) };
        let known = self.plans_seen()?.into_iter().find(|p| wanted.is(p));
        let plan = known.unwrap_or(KnownPlan { name: name.into(), height, info: info.into(), proposal: 0, at_x: false });
        if self.halted.as_ref() != Some(&plan) {
            self.sources.db.note_plan(&plan)?;
            PlanNote::write(self.home.dir(), &plan)?;
            self.halted = Some(plan);
        }
        Ok(())
    }

    /// Every plan that this node or a peer has seen, the pending one first.
    fn plans_seen(&self) -> Result<Vec<KnownPlan>> {
        let mut all: Vec<KnownPlan> = self.shared.view().plan.map(|p| p.plan).into_iter().collect();
        all.extend(self.sources.db.plans()?.into_iter().rev());
        all.extend(self.hints());
        Ok(all)
    }

    /// Does whatever can be done for a plan now, and says how it stands.
    pub(super) fn op_upgrade(&mut self, wanted: &Wanted) -> Result<Value> {
        self.try_all_again();
        self.take_halted(wanted)?;
        let done = self.tick();
        let seen = self.plans_seen()?;
        let Some(plan) = seen.iter().find(|p| wanted.is(p)).or_else(|| seen.iter().find(|p| wanted.names(p))) else {
            return Ok(json!({"plan": wanted.plan, "known": false, "confirmed": false, "done": told(&done), "failing": self.said_failing()}));
        };
        let (measurement, why) = match read_info(&plan.info) {
            Ok(build) => (build.map(|b| b.measurement), None),
            Err(e) => (None, Some(e.to_string())),
        };
        let doubt = self.doubt(plan, wanted, &seen);
        // A plan without an enclave changes nothing here; one that cannot be read is refused.
        let confirmed = doubt.is_none() && match (&measurement, &why) {
            (Some(m), _) => self.is_gated(m, plan),
            (None, None) => true,
            (None, Some(_)) => false,
        };
        let index = measurement.and_then(|m| self.find(&m));
        let waits_for = match confirmed {
            true => Vec::new(),
            false => doubt.iter().cloned().chain(self.missing(plan, measurement.as_ref())).collect(),
        };
        Ok(json!({
            "plan": plan.name, "height": plan.height, "proposal": plan.proposal, "known": true,
            "names_enclave": measurement.is_some() || why.is_some(), "unreadable": why,
            "measurement": measurement.map(|m| m.to_string()),
            "build_here": index.map(|i| self.places[i].build.name.clone()),
            "state": index.map(|i| self.state(i).to_string().to_lowercase()),
            "confirmed": confirmed, "doubt": doubt, "done": told(&done), "failing": self.said_failing(),
            "waits_for": waits_for,
            "builds": self.home.path("builds").display().to_string(),
        }))
    }

    /// Why what is known may not be the plan that is meant.
    fn doubt(&self, plan: &KnownPlan, wanted: &Wanted, seen: &[KnownPlan]) -> Option<String> {
        let (name, at) = (&plan.name, plan.height);
        if let Some(height) = wanted.height.filter(|h| *h != at) {
            return Some(format!("height: expected plan {name:?} at {height}, this node knows it at {at}: another plan of the same name; let it see the chain or a peer"));
        }
        // The word of this machine's own chain node is enough, and before the halt there is nothing to compare with.
        if wanted.info.is_some() || wanted.height.is_none() || self.known_height().saturating_add(1) < at {
            return None;
        }
        match self.plan_shown(at) {
            Some(shown) if shown.name == *name && shown.info == plan.info => None,
            Some(shown) => Some(format!("evidence: the state at height {at} shows plan {:?} with info {:?}, not the one that this node saw before; its build is another", shown.name, shown.info)),
            None if seen.iter().any(|p| p.name == *name && p.height == at && p.info != plan.info) => {
                Some(format!("plan: two plans {name:?} at {at} are known, here or at a peer, and they differ in their info; name upgrade-info.json of the chain's node (--upgrade-info)"))
            }
            None => None,
        }
    }

    /// The plan that the last state before its height shows, where some source has it.
    fn plan_shown(&self, height: u64) -> Option<Plan> {
        [height, height.saturating_sub(1)].into_iter().find_map(|header| {
            let proof = self.sources.state(UPGRADE_STORE, PLAN_KEY, header).ok()?;
            Plan::decode(proof.value?.as_slice()).ok()
        })
    }

    /// Which conditions of a confirmed handover do not hold, in the order in which they are needed.
    fn missing(&self, plan: &KnownPlan, measurement: Option<&Measurement>) -> Vec<String> {
        let Some(measurement) = measurement else { return Vec::new() };
        let mut out = Vec::new();
        let target = self.find(measurement);
        if target.is_none() {
            out.push(format!("build: {measurement} is not in {}", self.home.path("builds").display()));
        }
        let others = || self.places.iter().filter(|p| p.build.measurement != *measurement);
        let source = self.holder().filter(|i| self.places.get(*i).is_some_and(|p| p.build.measurement != *measurement));
        match source {
            None => {
                let held: Vec<String> = others().filter_map(|p| Some(format!("{} {}", p.build.name, p.status.as_ref()?.state.to_string().to_lowercase()))).collect();
                out.push(format!("source: no build here holds the keyring and serves ({})", if held.is_empty() { "none is in the folder".into() } else { held.join(", ") }));
            }
            Some(source) => {
                let svn = |i: usize| self.places.get(i).and_then(|p| p.status.as_ref()).map(|s| s.identity.svn);
                if let Some(target) = target.filter(|t| svn(*t) < svn(source)) {
                    out.push(format!("version: the build has svn {}, the one in use {}", svn(target).unwrap_or(0), svn(source).unwrap_or(0)));
                }
                let lead = self.places.get(source).map_or(0, |p| p.build.policy.chain.lead_blocks);
                self.missing_of_chain(plan, lead, &mut out);
            }
        }
        let state = target.map(|t| self.state(t));
        if matches!(state, Some(State::Received | State::Holding)) {
            out.push("receipt: the new build holds the keyring; the old one has not confirmed its receipt yet".into());
        }
        out
    }

    fn missing_of_chain(&self, plan: &KnownPlan, lead: u64, out: &mut Vec<String>) {
        let (view, height) = (self.shared.view(), self.known_height());
        if let Some(e) = &view.error {
            out.push(format!("chain: not seen now ({e}); what was kept and peers are asked instead"));
        }
        if plan.proposal == 0 {
            out.push("vote: no passed proposal that carries this very plan was found".into());
        }
        let opens = plan.height.saturating_sub(lead);
        if height < opens {
            out.push(format!("window: the lead window opens at height {opens}, the chain is at {height}"));
        } else if height.saturating_add(1) < plan.height {
            out.push(match &self.waiting {
                Some(w) => format!("record: transaction {} is in no block yet ({} s)", hex::encode_upper(w.hash), w.sent.elapsed().as_secs()),
                None => "record: none is sent yet".into(),
            });
        } else if !self.shows(plan) {
            out.push(format!("evidence: neither header {} nor the one before it, with the plan in its state, is kept here, at an endpoint or at a peer", plan.height));
        }
    }

    fn said_failing(&self) -> Vec<String> {
        self.failures().into_iter().map(|(step, text)| format!("{step}: {text}")).collect()
    }
}
