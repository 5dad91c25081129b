//! The steps of an upgrade, each safe to repeat: rehearsal, handover ahead or at X, activation, observation, receipts, erase.

use std::time::{Duration, Instant};

use anyhow::Result;
use baton_attest::identity::{Measurement, hash};
use baton_chain::evidence::UpgradeEvidence;
use baton_chain::gov::{PLAN_KEY, Plan, UPGRADE_STORE, done_key};
use baton_chain::info::read_info;
use baton_chain::record::Kind;
use baton_core::custody::State;
use baton_enclave::wire::{AttestedReceipt, OfferEvidence, Reply, Request, Status};
use baton_host::chain::ChainSource;
use baton_host::gather::Gather;
use baton_host::relay::{self, Channel};
use prost::Message;

use super::db::KnownPlan;
use super::follow::passed_upgrades;
use super::gate::{Bound, Confirmed, PlanNote};
use super::{Done, Node, Waiting, trusted};

type Step = fn(&mut Node) -> Result<Vec<Done>>;

/// In the order in which they become due.
pub(super) const STEPS: &[(&str, Step)] = &[
    ("advance", advance),
    ("rehearse", rehearse),
    ("ahead", ahead),
    ("at X", at_x),
    ("orders", super::orders::carry),
    ("confirmed", note_confirmed),
    ("activate", activate),
    ("stands", stands),
    ("observe", observe),
    ("records", owed_records),
    ("receipt", receipt),
    ("erase", erase),
];

/// A record that is in no block after this long is sent again, in a transfer of its own.
const RESEND: Duration = Duration::from_secs(60);

/// How often the passed proposals are searched for a build that holds nothing.
const SEARCH_EVERY: Duration = Duration::from_secs(10);

fn done(step: &'static str, text: impl Into<String>) -> Result<Vec<Done>> {
    Ok(vec![Done { step, text: text.into() }])
}

const NOTHING: Result<Vec<Done>> = Ok(Vec::new());

/// What is about to happen: the plan, the build that it names, and where that build is.
struct Coming {
    plan: KnownPlan,
    source: usize,
    target: usize,
    height: u64,
}

impl Node {
    /// The pending plan, if it names a build in the folder and somebody here can give.
    fn coming(&self) -> Option<Coming> {
        let view = self.shared.view();
        let seen = view.plan?;
        let named = seen.build.ok()??;
        let target = self.find(&named.measurement)?;
        let source = self.giver_for(&named.measurement)?;
        Some(Coming { plan: seen.plan, source, target, height: view.height })
    }

    /// Who gives to a build: whoever promised it the keyring, else the newest that serves.
    fn giver_for(&self, target: &Measurement) -> Option<usize> {
        let promised = |i: &usize| {
            let status = self.places.get(*i).and_then(|p| p.status.as_ref());
            status.is_some_and(|s| s.serving && s.successor.is_some_and(|n| n.measurement == *target))
        };
        let found = (0..self.places.len()).find(promised).or_else(|| self.holder())?;
        self.places.get(found).filter(|p| p.build.measurement != *target).map(|_| found)
    }

    /// True once the source's copy is confirmed, or retired, in favour of the target.
    fn is_confirmed(&self, source: usize, target: usize) -> bool {
        let measurement = self.places.get(target).map(|p| p.build.measurement);
        let status = self.places.get(source).and_then(|p| p.status.as_ref());
        status.is_some_and(|s| {
            matches!(s.state, State::Confirmed | State::Retired) && s.successor.map(|n| n.measurement) == measurement
        })
    }

    fn status_of(&mut self, index: usize) -> Result<Status> {
        Ok(self.at(index)?.seat.status()?)
    }

    fn refresh_status(&mut self, index: usize) -> Result<()> {
        let status = self.status_of(index)?;
        self.at(index)?.status = Some(status);
        Ok(())
    }

    /// Takes up a transfer whose offer was taken and whose receipt is missing: a kill in between is the usual reason.
    pub(super) fn finish_transfer(&mut self, source: usize, target: usize) -> Result<bool> {
        let holds = matches!(self.state(target), State::Received | State::Holding | State::Offered | State::Confirmed);
        let measurement = self.at(target)?.build.measurement;
        let s = self.status_of(source)?;
        if !holds || s.state != State::Offered || s.successor.map(|n| n.measurement) != Some(measurement) {
            return Ok(false);
        }
        for t in s.transfers.iter().rev().filter(|t| t.kind == Kind::Upgrade && !t.confirmed) {
            let (o, n) = self.pair(source, target)?;
            if relay::confirm(&mut o.seat, &mut n.seat, t.transcript, Channel::Local).is_ok() {
                self.refresh_status(source)?;
                self.refresh_status(target)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// True if a header at the plan's height, or just below it, shows this very plan: a cancelled or overwritten one is none.
    pub(super) fn shows(&self, plan: &KnownPlan) -> bool {
        [plan.height, plan.height.saturating_sub(1)].into_iter().any(|header| {
            let proof = self.sources.state(UPGRADE_STORE, PLAN_KEY, header).ok();
            let shown = proof.and_then(|p| p.value).and_then(|v| Plan::decode(v.as_slice()).ok());
            shown.is_some_and(|s| s.name == plan.name && s.info == plan.info && u64::try_from(s.height) == Ok(plan.height))
        })
    }

    /// Passed proposals that name a build in the folder which holds nothing: how a node that slept finds its plan.
    fn searched_plans(&mut self) -> Vec<KnownPlan> {
        if self.searched.is_some_and(|t| t.elapsed() < SEARCH_EVERY) || self.holder().is_none() {
            return Vec::new();
        }
        self.searched = Some(Instant::now());
        let empty: Vec<Measurement> = (0..self.places.len()).filter(|i| self.state(*i) == State::Empty).map(|i| self.places[i].build.measurement).collect();
        empty.iter().filter_map(|m| self.plan_for(m).ok().flatten()).collect()
    }

    /// The plan that a build was promised the keyring for: its enclaves verified the name and that it names this build; the
    /// height is that of the newest plan of which both hold.
    fn bound_to(&self, name: &str, measurement: &Measurement) -> Option<Bound> {
        let pending = self.shared.view().plan.map(|p| p.plan);
        let mut plans: Vec<KnownPlan> = self.halted.iter().cloned().chain(pending).collect();
        plans.extend(self.sources.db.plans().unwrap_or_default().into_iter().rev());
        plans.extend(self.hints());
        let names = |p: &KnownPlan| p.name == name && matches!(read_info(&p.info), Ok(Some(b)) if b.measurement == *measurement);
        plans.into_iter().find(names).map(|p| Bound { name: p.name, height: p.height })
    }

    /// Every build is shown again what stands of a plan.
    fn look_again(&mut self, plan: &KnownPlan) -> Result<()> {
        for p in &self.places {
            self.sources.db.forget_note(&observed_note(&p.build.measurement, plan, "above"))?;
        }
        Ok(())
    }

    /// How far peers say that the chain has come.
    fn peers_height(&self) -> u64 {
        let peers = self.shared.peers();
        peers.values().filter_map(|p| p.status.as_ref()?["chain"]["height"].as_u64()).max().unwrap_or(0)
    }

    /// What peers say of plans.
    pub(super) fn hints(&self) -> Vec<KnownPlan> {
        self.shared.peers().into_values().flat_map(|p| p.plans).filter(|p| p.proposal > 0).collect()
    }

    /// The plan that names a build: one that was seen here, else one among the chain's passed proposals.
    pub(super) fn plan_for(&self, measurement: &Measurement) -> Result<Option<KnownPlan>> {
        let names = |info: &str| matches!(read_info(info), Ok(Some(b)) if b.measurement == *measurement);
        let known = self.sources.db.plans()?;
        if let Some(plan) = known.into_iter().rev().find(|p| names(&p.info) && p.proposal > 0) {
            return Ok(Some(plan));
        }
        let rpc = &self.sources.rpc;
        let found = rpc.latest().and_then(|header| passed_upgrades(rpc, header, |_, plan| names(&plan.info)));
        // With a dead RPC a peer's word is enough to find the evidence, which the enclave then judges.
        if let Some(hint) = self.hints().into_iter().find(|p| names(&p.info)).filter(|_| !matches!(found, Ok(Some(_)))) {
            return Ok(Some(hint));
        }
        let Some((proposal, plan)) = found? else { return Ok(None) };
        let height = u64::try_from(plan.height).unwrap_or(0);
        let plan = KnownPlan { name: plan.name, height, info: plan.info, proposal, at_x: false };
        // A hint: whether it is the plan that counts, the enclave says, and then the guard is told.
        self.sources.db.note_found(&plan)?;
        Ok(Some(plan))
    }
}

/// Moves the trusted heads: each must stay well inside a trusting period of the chain.
fn advance(node: &mut Node) -> Result<Vec<Done>> {
    let height = node.shared.view().height;
    let every = node.home.config().chain.advance_blocks;
    let mut out = Vec::new();
    for i in 0..node.places.len() {
        let head = node.places[i].status.as_ref().map_or(0, |s| s.head_height);
        if head == 0 || height < head.saturating_add(every) {
            continue;
        }
        let policy = node.at(i)?.build.policy.chain.clone();
        let path = Gather::new(&node.sources, &policy).path(head, height)?;
        let place = node.at(i)?;
        place.seat.call(&Request::Advance { path: baton_attest::identity::encode(&path) })?;
        out.push(Done { step: "advance", text: format!("{} trusts header {height}", place.build.name) });
        node.refresh_status(i)?;
    }
    Ok(out)
}

/// A new build in the folder is rehearsed with at once, and rehearses onward with a twin of itself.
fn rehearse(node: &mut Node) -> Result<Vec<Done>> {
    let Some(source) = node.holder() else { return NOTHING };
    let (svn, own) = (node.places[source].status.as_ref().map_or(0, |s| s.identity.svn), node.places[source].build.measurement);
    let mut out = Vec::new();
    for target in 0..node.places.len() {
        let Some(s) = node.places[target].status.clone() else { continue };
        // The build in use needs no rehearsal as a target; an older one gets no keyring.
        let is_own = node.places[target].build.measurement == own;
        if s.identity.svn < svn || (s.rehearsed_as_source && (s.rehearsed || is_own)) || s.state == State::Retired {
            continue;
        }
        if !is_own && !s.rehearsed {
            let (o, n) = node.pair(source, target)?;
            relay::rehearse(&mut o.seat, &mut n.seat, Channel::Local)?;
            out.push(Done { step: "rehearse", text: format!("{} -> {}: a canary crossed, and synthetic state was read", o.build.name, n.build.name) });
        }
        if !node.status_of(target)?.rehearsed_as_source {
            out.extend(rehearse_onward(node, target)?);
        }
        node.refresh_status(target)?;
        node.refresh_status(source)?;
    }
    Ok(out)
}

fn rehearse_onward(node: &mut Node, target: usize) -> Result<Vec<Done>> {
    let build = node.at(target)?.build.clone();
    let dir = node.home.path("seats").join(format!("{}-twin", build.folder()));
    let mut twin = node.open_seat(&dir, &build)?;
    twin.start()?;
    if twin.status()?.head_height == 0 {
        let block = node.sources.light_block(build.policy.chain.checkpoint.height)?;
        twin.call(&Request::Checkpoint { block: baton_attest::identity::encode(&block) })?;
    }
    let place = node.at(target)?;
    relay::rehearse(&mut place.seat, &mut twin, Channel::Local)?;
    done("rehearse", format!("{} can hand on: its twin read synthetic state", build.name))
}

/// The handover in the lead window: request, record, and once the record is in a block evidence, offer, receipt.
fn ahead(node: &mut Node) -> Result<Vec<Done>> {
    let Some(c) = node.coming() else {
        node.waiting = None;
        return NOTHING;
    };
    let lead = node.at(c.source)?.build.policy.chain.lead_blocks;
    let open = c.height.saturating_add(lead) >= c.plan.height && c.height.saturating_add(1) < c.plan.height;
    if c.plan.proposal == 0 || !open || node.is_confirmed(c.source, c.target) {
        node.waiting = None;
        return NOTHING;
    }
    if node.finish_transfer(c.source, c.target)? {
        return done("ahead", "a transfer that was cut off is complete");
    }
    let target = node.at(c.target)?.build.measurement;
    match node.waiting.take().filter(|w| w.target == target) {
        Some(w) => go_on(node, &c, w),
        None => announce(node, &c, target),
    }
}

fn announce(node: &mut Node, c: &Coming, target: Measurement) -> Result<Vec<Done>> {
    let (o, n) = node.pair(c.source, c.target)?;
    let asked = relay::ask(&mut o.seat, &mut n.seat, Kind::Upgrade, Channel::Local)?;
    let memo = asked.record(c.plan.proposal).encode();
    let hash = node.sources.publish(&memo)?;
    node.waiting = Some(Waiting { target, asked, hash, sent: Instant::now() });
    done("ahead", format!("record of the handover for plan {:?} sent in transaction {}", c.plan.name, hex::encode_upper(hash)))
}

fn go_on(node: &mut Node, c: &Coming, w: Waiting) -> Result<Vec<Done>> {
    let trusted = trusted(&node.status_of(c.source)?);
    let policy = node.at(c.source)?.build.policy.chain.clone();
    let sources = &node.sources;
    let shown = || -> Result<Option<(u64, UpgradeEvidence)>> {
        let Some(tx) = sources.included(&w.hash)? else { return Ok(None) };
        let head = sources.rpc.latest()?.max(tx.height);
        Ok(Some((tx.height, Gather::new(sources, &policy).ahead(&trusted, c.plan.proposal, &tx, head)?)))
    };
    let (block, evidence) = match shown() {
        Ok(Some(shown)) => shown,
        Ok(None) if w.sent.elapsed() < RESEND => {
            node.waiting = Some(w);
            return NOTHING;
        }
        Ok(None) => return done("ahead", format!("the record is in no block after {} s: it is sent again", w.sent.elapsed().as_secs())),
        Err(e) => {
            // The request stands: only the chain has to say more.
            node.waiting = Some(w);
            return Err(e);
        }
    };
    let (o, n) = node.pair(c.source, c.target)?;
    relay::hand_over(&mut o.seat, &mut n.seat, &w.asked, OfferEvidence::Ahead(evidence.to_cbor()), Channel::Local)?;
    let text = format!("{} handed over to {} for plan {:?} at {}, with the record in block {block}", o.build.name, n.build.name, c.plan.name, c.plan.height);
    node.refresh_status(c.source)?;
    node.refresh_status(c.target)?;
    done("ahead", text)
}

/// The handover at X, for a node that was late: no record before it, one after it.
fn at_x(node: &mut Node) -> Result<Vec<Done>> {
    // The plan that the chain shows, else one that was seen here or at a peer, else one among the passed proposals.
    let pending = node.shared.view().plan.map(|p| p.plan);
    let mut plans: Vec<KnownPlan> = pending.into_iter().collect();
    plans.extend(node.sources.db.plans()?.into_iter().rev());
    plans.extend(node.hints());
    plans.extend(node.searched_plans());
    let height = node.known_height().max(node.peers_height());
    for plan in plans {
        let Ok(Some(named)) = read_info(&plan.info) else { continue };
        let (Some(target), Some(source)) = (node.find(&named.measurement), node.giver_for(&named.measurement)) else { continue };
        let due = (plan.at_x || height.saturating_add(1) >= plan.height) && plan.proposal > 0;
        let svn = |i: usize| node.places.get(i).and_then(|p| p.status.as_ref()).map(|s| s.identity.svn);
        let holds = matches!(node.state(target), State::Holding | State::Offered | State::Confirmed | State::Retired);
        if !due || svn(target) < svn(source) || holds || node.is_confirmed(source, target) || !node.shows(&plan) {
            continue;
        }
        return hand_over_at_x(node, &plan, source, target);
    }
    NOTHING
}

fn hand_over_at_x(node: &mut Node, plan: &KnownPlan, source: usize, target: usize) -> Result<Vec<Done>> {
    if node.finish_transfer(source, target)? {
        known_to_the_guard(node, plan)?;
        return done("at X", "a transfer that was cut off is complete");
    }
    let policy = node.at(source)?.build.policy.chain.clone();
    let trusted = trusted(&node.status_of(source)?);
    let gather = Gather::new(&node.sources, &policy);
    // Header X where it is to be had, else the one before it, which shows the plan on this machine too.
    let at_x = gather.at_x(&trusted, plan.proposal, plan.height);
    let evidence = at_x.or_else(|e| gather.at_x(&trusted, plan.proposal, plan.height.saturating_sub(1)).map_err(|_| e))?;
    let (o, n) = node.pair(source, target)?;
    let asked = relay::ask(&mut o.seat, &mut n.seat, Kind::Upgrade, Channel::Local)?;
    let text = format!("{} handed over to {} at X = {} for plan {:?}; its record follows once the chain makes blocks", o.build.name, n.build.name, plan.height, plan.name);
    // The debt is written down first: who dies right after the offer still owes its record.
    let owed = node.sources.db.owe(&asked.record(plan.proposal).encode())?;
    let (o, n) = node.pair(source, target)?;
    let offered = match relay::offer(&mut o.seat, &asked, OfferEvidence::AtX(evidence.to_cbor()), Some(Channel::Local)) {
        Ok(offered) => offered,
        Err(e) => {
            // A refusal gives nothing away: there is nothing to announce.
            if e.refusal().is_some() {
                node.sources.db.paid(owed)?;
            }
            return Err(e.into());
        }
    };
    relay::accept(&mut n.seat, &offered)?;
    relay::confirm(&mut o.seat, &mut n.seat, offered.transcript, Channel::Local)?;
    known_to_the_guard(node, plan)?;
    node.refresh_status(source)?;
    node.refresh_status(target)?;
    done("at X", text)
}

/// The enclave has verified this very plan, whoever named it: now the guard may know it.
fn known_to_the_guard(node: &Node, plan: &KnownPlan) -> Result<()> {
    node.sources.db.note_plan(plan)?;
    PlanNote::write(node.home.dir(), plan)?;
    Ok(())
}

/// Writes down, for the guard, which builds hold the keyring durably on this machine, and for which plan; takes it back when
/// one does no more.
fn note_confirmed(node: &mut Node) -> Result<Vec<Done>> {
    let mut out = Vec::new();
    for i in 0..node.places.len() {
        let Some(s) = node.places[i].status.clone() else { continue };
        let (measurement, build) = (node.places[i].build.measurement, node.places[i].build.name.clone());
        let promise = node.places.iter().filter_map(|p| p.status.as_ref()).find(|o| {
            matches!(o.state, State::Confirmed | State::Retired) && o.successor.is_some_and(|n| n.measurement == measurement)
        });
        let promised_for = promise.and_then(|o| o.promised_for.clone());
        // Serving means that it started from its own file and was activated; received alone needs the source's word.
        let confirmed = s.serving || (s.state == State::Received && promise.is_some());
        let known = Confirmed::read(node.home.dir(), &measurement);
        if !confirmed {
            if !matches!(known, Ok(None)) {
                Confirmed::remove(node.home.dir(), &measurement)?;
                out.push(Done { step: "confirmed", text: format!("{build} no longer holds the keyring") });
            }
            continue;
        }
        let now = Confirmed {
            measurement,
            build,
            state: s.state.to_string().to_lowercase(),
            serves: s.serving,
            by_order: !s.serving && node.promised_by_order(&measurement),
            plan: promised_for.filter(|_| !s.serving).and_then(|name| node.bound_to(&name, &measurement)),
        };
        if known.as_ref().ok() == Some(&Some(now.clone())) {
            continue;
        }
        now.write(node.home.dir())?;
        let plan = now.plan.as_ref().map(|b| format!(", for plan {:?} at {}", b.name, b.height)).unwrap_or_default();
        if known.is_ok_and(|k| k.is_none_or(|k| k.plan != now.plan)) {
            out.push(Done { step: "confirmed", text: format!("{} holds the keyring durably on this machine{plan}", now.build) });
        }
    }
    Ok(out)
}

/// A build that holds the keyring and does not serve yet gets the proof at X of its plan.
fn activate(node: &mut Node) -> Result<Vec<Done>> {
    let mut out = Vec::new();
    for i in 0..node.places.len() {
        // Without a header that it trusts there is nothing to show it anything from.
        let follows = node.places[i].status.as_ref().is_some_and(|s| s.head_height > 0);
        if node.state(i) != State::Received || !follows {
            continue;
        }
        let measurement = node.at(i)?.build.measurement;
        if node.promised_by_order(&measurement) {
            continue;
        }
        let Some(plan) = node.plan_for(&measurement)? else { continue };
        if !plan.at_x && node.known_height() < plan.height {
            continue;
        }
        let policy = node.at(i)?.build.policy.chain.clone();
        let trusted = trusted(&node.status_of(i)?);
        let evidence = Gather::new(&node.sources, &policy).at_x(&trusted, plan.proposal, plan.height)?;
        let place = node.at(i)?;
        place.seat.call(&Request::Activate { evidence: evidence.to_cbor() })?;
        PlanNote::write(node.home.dir(), &plan)?;
        let place = node.at(i)?;
        out.push(Done { step: "activate", text: format!("{} serves: header {} proves plan {:?}", place.build.name, plan.height, plan.name) });
        node.refresh_status(i)?;
    }
    Ok(out)
}

/// What says that a build has been shown a stage of a plan.
fn observed_note(build: &Measurement, plan: &KnownPlan, stage: &str) -> String {
    format!("observed {build} {} {} {stage}", plan.height, hex::encode(&hash("plan", &[plan.info.as_bytes()]).0[..8]))
}

/// How many blocks pass between two looks at whether a plan that ran is still done.
const STANDS_EVERY: u64 = 5;

/// A chain can go back behind an upgrade and pass over it, after enclaves have seen it done. As long as the old copy is
/// there, this node looks again and again: what was passed over gives no receipt, and its source is shown that the promise is void.
fn stands(node: &mut Node) -> Result<Vec<Done>> {
    let view = node.shared.view();
    let waits = node.places.iter().any(|p| {
        let owes = |x: Option<u64>| x.is_some() && node.sources.db.receipt(&p.build.measurement.0).is_ok_and(|r| r.is_none());
        p.status.as_ref().is_some_and(|s| matches!(s.state, State::Offered | State::Confirmed) || owes(s.at_x))
    });
    if !waits || view.error.is_some() || view.height < node.stood_at.saturating_add(STANDS_EVERY) {
        return NOTHING;
    }
    let mut out = Vec::new();
    for i in 0..node.places.len() {
        let Some(x) = node.places[i].status.as_ref().and_then(|s| s.at_x) else { continue };
        let measurement = node.places[i].build.measurement;
        if view.height <= x {
            continue;
        }
        let Some(plan) = node.plan_for(&measurement)? else { continue };
        let proof = node.sources.rpc.state(UPGRADE_STORE, &done_key(x, &plan.name), view.height)?;
        let passed_over = proof.value.is_none();
        if passed_over != node.places[i].passed_over {
            node.at(i)?.passed_over = passed_over;
            let name = node.places[i].build.name.clone();
            let text = match passed_over {
                true => {
                    node.look_again(&plan)?;
                    format!("the chain went back and passed over plan {:?}: {name} gives no receipt, the build before it is the one in use", plan.name)
                }
                false => format!("plan {:?} of {name} is done", plan.name),
            };
            out.push(Done { step: "stands", text });
        }
    }
    node.stood_at = view.height;
    Ok(out)
}

/// Shows promises and new builds what became of their plan: done, cancelled, superseded, skipped.
fn observe(node: &mut Node) -> Result<Vec<Done>> {
    let view = node.shared.view();
    let mut out = Vec::new();
    for i in 0..node.places.len() {
        let Some(s) = node.places[i].status.clone() else { continue };
        let measurement = node.places[i].build.measurement;
        let (about, own) = match (s.state, s.successor) {
            (State::Offered | State::Confirmed, Some(n)) => (n.measurement, false),
            (State::Holding | State::Received, _) if s.at_x.is_some() || s.state == State::Received => (measurement, true),
            _ => continue,
        };
        if node.promised_by_order(&about) || (own && s.at_x.is_none() && s.emergencies.as_ref().is_some_and(|e| e.serves_by.is_some())) {
            continue;
        }
        let Some(plan) = node.plan_for(&about)? else { continue };
        let still = view.plan.as_ref().is_some_and(|p| p.plan.name == plan.name && p.plan.height == plan.height && p.plan.info == plan.info);
        // One look when it is gone before its height, and one above its height.
        let stage = match (still, view.height > plan.height) {
            (_, true) => "above",
            // A plan that a header at X has shown is not gone in a view from below X: that node is only catching up.
            (false, false) if !plan.at_x => "gone",
            (_, false) => continue,
        };
        let note = observed_note(&measurement, &plan, stage);
        if view.height == 0 || view.error.is_some() || node.sources.db.note(&note)?.is_some() {
            continue;
        }
        let policy = node.at(i)?.build.policy.chain.clone();
        let evidence = Gather::new(&node.sources, &policy).standing(&trusted(&s), &plan.name, plan.height, view.height)?;
        let place = node.at(i)?;
        place.seat.call(&Request::Observe { evidence: evidence.to_cbor() })?;
        let after = place.seat.status()?;
        let text = format!("{} has seen what became of plan {:?} at height {}: custody {}", place.build.name, plan.name, view.height, after.state);
        place.status = Some(after);
        node.sources.db.set_note(&note, if own { "own" } else { "promise" })?;
        out.push(Done { step: "observe", text });
    }
    Ok(out)
}

/// Records of handovers at X follow, each until it is in a block.
fn owed_records(node: &mut Node) -> Result<Vec<Done>> {
    let owed = node.sources.db.owed()?;
    let Some((number, memo)) = owed.first() else { return NOTHING };
    let view = node.shared.view();
    // On a halted chain a broadcast is lost at the restart.
    let halted = view.plan.as_ref().is_some_and(|p| view.height >= p.plan.height);
    if view.error.is_some() || halted || !view.moved.is_some_and(|m| m.elapsed() < Duration::from_secs(60)) {
        return NOTHING;
    }
    // By what is owed: numbers come again once all is paid.
    let key = format!("owed {memo}");
    let sent = node.sources.db.note(&key)?;
    if let Some((hash, at)) = sent.as_deref().and_then(|s| s.split_once(' ')) {
        let mut digest = [0; 32];
        hex::decode_to_slice(hash, &mut digest)?;
        if let Some(tx) = node.sources.included(&digest)? {
            node.sources.db.paid(*number)?;
            node.sources.db.forget_note(&key)?;
            return done("records", format!("the record of a handover at X is in block {}", tx.height));
        }
        if view.height < at.parse::<u64>().unwrap_or(0).saturating_add(20) {
            return NOTHING;
        }
    }
    let hash = node.sources.publish(memo)?;
    node.sources.db.set_note(&key, &format!("{} {}", hex::encode(hash), view.height))?;
    done("records", format!("record of a handover at X sent in transaction {}", hex::encode_upper(hash)))
}

/// A build that serves gives its barrier receipt, once, by quote, for every old copy of the network.
fn receipt(node: &mut Node) -> Result<Vec<Done>> {
    let height = node.shared.view().height;
    let mut out = Vec::new();
    for i in 0..node.places.len() {
        let Some(s) = node.places[i].status.clone() else { continue };
        let (Some(x), measurement) = (s.at_x, node.places[i].build.measurement) else { continue };
        let grace = node.places[i].build.policy.barrier.grace_blocks;
        let due = height >= x.saturating_add(grace) && node.stood_at >= x.saturating_add(grace) && !node.places[i].passed_over && s.serving && s.rehearsed_as_source;
        if !due || node.sources.db.receipt(&measurement.0)?.is_some() {
            continue;
        }
        let policy = node.at(i)?.build.policy.chain.clone();
        // A receipt names the newest head that showed the done key: show it once more, past the grace.
        let Some(plan) = node.plan_for(&measurement)? else { continue };
        let evidence = Gather::new(&node.sources, &policy).standing(&trusted(&s), &plan.name, x, height)?.to_cbor();
        node.at(i)?.seat.call(&Request::Observe { evidence })?;
        let collateral = node.collateral()?;
        let place = node.at(i)?;
        let reader = place.seat.status()?.identity;
        let receipt = relay::barrier_receipt(&mut place.seat, &reader, Channel::Quoted { collateral: &collateral })?;
        let text = format!("{} gave its receipt for the barrier", place.build.name);
        node.sources.db.put_receipt(&measurement.0, &baton_attest::identity::encode(&receipt))?;
        out.push(Done { step: "receipt", text });
        node.refresh_status(i)?;
    }
    Ok(out)
}

/// An old copy is erased once its enclave finds the barrier met. Too few receipts are no failure: they come.
fn erase(node: &mut Node) -> Result<Vec<Done>> {
    let mut out = Vec::new();
    for i in 0..node.places.len() {
        let Some(s) = node.places[i].status.clone() else { continue };
        let (State::Confirmed, Some(successor)) = (s.state, s.successor) else { continue };
        let Some(target) = node.find(&successor.measurement).filter(|t| !node.places[*t].passed_over) else { continue };
        let Some(own) = node.sources.db.receipt(&successor.measurement.0)? else { continue };
        let mut quoted = vec![own];
        let name = successor.measurement.to_string();
        quoted.extend(node.shared.peers().into_values().filter_map(|p| p.receipts.get(&name).cloned()));
        let mut receipts: Vec<AttestedReceipt> = quoted.iter().filter_map(|b| minicbor::decode(b).ok()).collect();
        let wanted = node.places[i].build.policy.barrier.platforms as usize;
        if receipts.len() < wanted {
            continue;
        }
        let reader = s.identity;
        receipts.insert(0, relay::barrier_receipt(&mut node.at(target)?.seat, &reader, Channel::Local)?);
        let policy = node.places[i].build.policy.clone();
        let power = match policy.barrier.power_share {
            Some(_) => {
                let gather = Gather::new(&node.sources, &policy.chain);
                // At X, or its own head above that, it needs no block of the new chain; where that state was pruned, a later head does.
                let at = |head| gather.power(&trusted(&s), head);
                let x = node.plan_for(&successor.measurement)?.map_or(0, |p| p.height);
                let evidence = at(s.head_height.max(x)).or_else(|e| node.sources.rpc.latest().map_err(|_| e).and_then(at))?;
                Some(evidence.to_cbor())
            }
            None => None,
        };
        let place = node.at(i)?;
        place.seat.erase(receipts, power)?;
        out.push(Done { step: "erase", text: format!("{} erased its copy: {} machines hold the keyring under the next build", place.build.name, wanted) });
        node.refresh_status(i)?;
    }
    Ok(out)
}

/// Where a reply is asked for and another comes.
pub(super) fn record_of(reply: Reply) -> Result<([u8; 32], Vec<u8>)> {
    match reply {
        Reply::Record { index, record } => Ok((index, record)),
        other => anyhow::bail!("the enclave answered {other:?}, expected a record"),
    }
}
