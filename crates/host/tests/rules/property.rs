//! Random interleavings: a hostile host, a chain that changes its mind, and the seven rules after every step.
//!
//! Machine 0's disks are honest (killed, restarted and cloned, never put back); machine 1's are rolled back
//! too. What is right is read from the chain itself and from what the enclaves hold, never from a reply.
//! `BATON_RULE_CASES` sets how many cases each rule gets.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use baton_attest::identity::Digest32;
use baton_chain::gov::{self, done_key};
use baton_chain::record::Kind;
use baton_core::custody::State;
use baton_core::order::judge::OrderEvidence;
use baton_core::order::{Action, Order};
use baton_enclave::wire::{AttestedReceipt, OfferEvidence, Request};
use baton_host::chain::Included;
use baton_host::orders::links;
use prost::Message as _;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::lab::{Asked, B, Fault, GRACE, LEAD, Lab, Offered, Plan};
use crate::orders::{NOTICE_SECS, Public, nonce, order, sign};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rule {
    Secrecy = 1,
    NeverDropped,
    NoEarlyErase,
    PublicFirst,
    OneTarget,
    Progress,
    NoDowngrade,
}

/// One thing that the host or the chain does. Numbers pick from what there is, modulo how much there is.
#[derive(Clone, Debug)]
enum Op {
    Blocks(u8),
    Schedule { build: u8, lead: u8 },
    Cancel,
    EndHalt { skip: bool },
    ToPlan,
    Ask { source: u8, target: u8, kind: u8 },
    Join { source: u8, target: u8 },
    Publish { ask: u8, plan: u8 },
    OfferAhead { ask: u8, plan: u8, back: u8 },
    OfferAtX { ask: u8, plan: u8, before: bool },
    OfferRecord { ask: u8 },
    Accept(u8),
    Confirm(u8),
    Whole { source: u8, target: u8, plan: u8 },
    Activate { cell: u8, plan: u8, before: bool },
    Observe { cell: u8, plan: u8 },
    Rehearse(u8),
    Receipt { cell: u8, reader: u8 },
    /// Every successor follows the chain, or looks at its own plan as well, and gives its receipts.
    Collect { looks: bool },
    Erase(u8),
    Kill(u8),
    RollBack { cell: u8, by: u8 },
    Clone(u8),
    Fault { after: bool, writes: u8 },
    /// People order something: freeze, rotate, rewind, hand over; now and then by too few, too early, or under an old number.
    Order { kind: u8, cell: u8, target: u8, flaw: u8 },
}

/// Operations, with more of those that a rule is about.
fn op(rule: Rule) -> impl Strategy<Value = Op> {
    let n = any::<u8>;
    let skips = if rule == Rule::NeverDropped { 0.6 } else { 0.3 };
    let erases = if rule == Rule::NoEarlyErase { 10 } else { 3 };
    let looks = if rule == Rule::NeverDropped || rule == Rule::OneTarget { 14 } else { 6 };
    prop_oneof![
        3 => (1..5u8).prop_map(Op::Blocks),
        2 => (n(), 4..12u8).prop_map(|(build, lead)| Op::Schedule { build, lead }),
        1 => Just(Op::Cancel),
        4 => proptest::bool::weighted(skips).prop_map(|skip| Op::EndHalt { skip }),
        4 => Just(Op::ToPlan),
        3 => (n(), n(), 0..3u8).prop_map(|(source, target, kind)| Op::Ask { source, target, kind }),
        2 => (n(), n()).prop_map(|(ask, plan)| Op::Publish { ask, plan }),
        3 => (n(), n(), 0..3u8).prop_map(|(ask, plan, back)| Op::OfferAhead { ask, plan, back }),
        3 => (n(), n(), any::<bool>()).prop_map(|(ask, plan, before)| Op::OfferAtX { ask, plan, before }),
        2 => n().prop_map(|ask| Op::OfferRecord { ask }),
        3 => n().prop_map(Op::Accept),
        3 => n().prop_map(Op::Confirm),
        8 => (n(), n(), n()).prop_map(|(source, target, plan)| Op::Whole { source, target, plan }),
        2 => (n(), n()).prop_map(|(source, target)| Op::Join { source, target }),
        5 => (n(), n(), any::<bool>()).prop_map(|(cell, plan, before)| Op::Activate { cell, plan, before }),
        looks => (n(), n()).prop_map(|(cell, plan)| Op::Observe { cell, plan }),
        2 => n().prop_map(Op::Rehearse),
        3 => (n(), n()).prop_map(|(cell, reader)| Op::Receipt { cell, reader }),
        erases => n().prop_map(Op::Erase),
        erases / 3 => any::<bool>().prop_map(|looks| Op::Collect { looks }),
        2 => n().prop_map(Op::Kill),
        1 => (n(), 1..4u8).prop_map(|(cell, by)| Op::RollBack { cell, by }),
        1 => n().prop_map(Op::Clone),
        1 => (any::<bool>(), 0..4u8).prop_map(|(after, writes)| Op::Fault { after, writes }),
        3 => (0..4u8, n(), n(), 0..9u8).prop_map(|(kind, cell, target, flaw)| Op::Order { kind, cell, target, flaw }),
    ]
}

/// What was true of an enclave when it gave a barrier receipt.
#[derive(Clone)]
struct Given {
    receipt: AttestedReceipt,
    machine: usize,
    build: B,
    plan: String,
    local: bool,
    good: bool,
}

/// What the host has in hand, and what the judge remembers.
struct World {
    lab: Lab,
    asks: Vec<(Asked, Option<Included>)>,
    offers: Vec<Offered>,
    given: Vec<Given>,
    /// Per cell: generation, plan and head at which it saw that plan void.
    void: Vec<Vec<(u64, String, u64)>>,
    held: Vec<bool>,
    /// Orders that were written so far, and builds that one was obeyed for.
    orders: u64,
    ordered: BTreeSet<B>,
    broken: Vec<(Rule, String)>,
    /// How often the case came to what the rules are about: a property of nothing proves nothing.
    reached: BTreeMap<&'static str, u32>,
}

impl World {
    fn new(template: &Lab) -> Self {
        let lab = template.clone();
        let n = lab.cells.len();
        let mut w = World {
            lab,
            asks: Vec::new(),
            offers: Vec::new(),
            given: Vec::new(),
            void: vec![Vec::new(); n],
            held: vec![false; n],
            orders: 0,
            ordered: BTreeSet::new(),
            broken: Vec::new(),
            reached: BTreeMap::new(),
        };
        w.held = (0..n).map(|c| w.lab.holds(c)).collect();
        w
    }

    fn breaks(&mut self, rule: Rule, what: impl Into<String>) {
        self.broken.push((rule, what.into()));
    }

    fn reach(&mut self, what: &'static str) {
        *self.reached.entry(what).or_default() += 1;
    }

    fn cell(&self, pick: u8) -> usize {
        usize::from(pick) % self.lab.cells.len()
    }

    /// One of `likely` as a rule, and now and then any cell at all.
    fn likely(&self, pick: u8, likely: &[usize]) -> usize {
        match pick & 3 {
            0 => self.cell(pick >> 2),
            _ if likely.is_empty() => self.cell(pick >> 2),
            _ => likely[usize::from(pick >> 2) % likely.len()],
        }
    }

    fn all(&mut self, good: impl Fn(&mut Self, usize) -> bool) -> Vec<usize> {
        (0..self.lab.cells.len()).filter(|c| good(self, *c)).collect()
    }

    fn serving(&mut self) -> Vec<usize> {
        self.all(|w, c| w.lab.status(c).serving)
    }

    /// Where a keyring of `source` may well go: to the build of the plan, mostly on its own machine.
    fn target(&mut self, pick: u8, source: usize, kind: Kind, plan: Option<&Plan>) -> usize {
        let (machine, own) = (self.lab.cells[source].machine, self.lab.cells[source].build);
        let wanted = match kind {
            Kind::Join => Some(own),
            _ => plan.and_then(|p| p.build),
        };
        let away = kind == Kind::Join || pick >= 0xe0;
        let fits = |w: &mut Self, c: usize| {
            Some(w.lab.cells[c].build) == wanted && (w.lab.cells[c].machine != machine) == away
        };
        let likely = self.all(fits);
        self.likely(pick, &likely)
    }

    fn plan(&self, pick: u8) -> Option<Plan> {
        // The newest plans are the interesting ones.
        let n = self.lab.plans.len();
        (n > 0).then(|| self.lab.plans[n - 1 - usize::from(pick) % n.min(3)].clone())
    }

    /// The plan that a header proves pending: what is right, from the chain itself.
    fn pending(&self, header: u64) -> Option<Plan> {
        let value = self.lab.chain.query(gov::UPGRADE_STORE, gov::PLAN_KEY, header.checked_sub(1)?).ok()?.value?;
        let raw = baton_devnet::sdk::Plan::decode(value.as_slice()).unwrap();
        self.lab.plans.iter().find(|p| p.name == raw.name).cloned()
    }

    /// The chain ran the plan.
    fn applied(&self, plan: &Plan) -> bool {
        let at = self.lab.chain.state_height();
        let key = done_key(plan.height, &plan.name);
        self.lab.chain.query(gov::UPGRADE_STORE, &key, at).is_ok_and(|a| a.value.is_some())
    }

    /// The plan was pending under header X, or under the one before it.
    fn ran_or_may_run(&self, plan: &Plan) -> bool {
        [plan.height - 1, plan.height].iter().any(|h| self.pending(*h).is_some_and(|p| p.name == plan.name))
    }

    fn void_now(&self, plan: &Plan) -> bool {
        let head = self.lab.chain.height();
        !self.applied(plan) && self.pending(head).is_none_or(|p| p.name != plan.name)
    }

    /// Name of the plan that a cell is promised for.
    fn promise(&mut self, cell: usize) -> Option<String> {
        self.lab.status(cell).promised_for
    }

    fn apply(&mut self, op: &Op) {
        match op.clone() {
            Op::Blocks(n) => self.lab.produce_until(self.lab.chain.height() + u64::from(n)),
            Op::Schedule { build, lead } => {
                let builds = [Some(B::V2), Some(B::V2), Some(B::V3), Some(B::Low), Some(B::Unlisted), None];
                if self.lab.chain.halted().is_none() && self.lab.plans.len() < 6 {
                    self.lab.schedule(builds[usize::from(build) % builds.len()], u64::from(lead));
                }
            }
            Op::Cancel => {
                if self.lab.chain.halted().is_none() {
                    self.lab.cancel();
                }
            }
            Op::EndHalt { skip } => match (self.lab.chain.halted(), skip) {
                (None, _) => {}
                (Some(_), true) => self.lab.chain.skip_upgrade().unwrap(),
                (Some(_), false) => self.lab.resume(),
            },
            Op::ToPlan => {
                if let Some(p) = self.pending(self.lab.chain.height()) {
                    self.lab.produce_until(p.height);
                }
            }
            Op::Ask { source, target, kind } => {
                let kind = [Kind::Upgrade, Kind::Join, Kind::Rehearsal][usize::from(kind)];
                let (serving, plan) = (self.serving(), self.plan(0));
                let s = self.likely(source, &serving);
                let t = self.target(target, s, kind, plan.as_ref());
                if let Ok(asked) = self.lab.ask(s, t, kind) {
                    self.asks.push((asked, None));
                }
            }
            Op::Join { source, target } => {
                let serving = self.serving();
                let s = self.likely(source, &serving);
                let t = self.target(target, s, Kind::Join, None);
                let Ok(asked) = self.lab.ask(s, t, Kind::Join) else { return };
                let Some(tx) = self.lab.publish(&asked.record) else { return };
                if let Some(o) = self.offer_join(&asked, &tx) {
                    let _ = self.lab.accept(&o).and_then(|()| self.lab.confirm(&o));
                }
            }
            Op::Publish { ask, plan } => {
                let id = self.plan(plan).map_or(0, |p| p.id);
                let n = self.asks.len();
                if n > 0 {
                    let (asked, tx) = &mut self.asks[usize::from(ask) % n];
                    if asked.record.kind == Kind::Upgrade {
                        asked.record.proposal_id = id;
                    }
                    *tx = self.lab.publish(&asked.record);
                }
            }
            Op::OfferAhead { ask, plan, back } => {
                let (Some((asked, tx)), Some(plan)) = (self.ask_of(ask), self.plan(plan)) else { return };
                let Some(tx) = tx else { return };
                let head = self.lab.chain.height().saturating_sub(u64::from(back));
                self.ahead(&asked, &plan, &tx, head);
            }
            Op::OfferAtX { ask, plan, before } => {
                let (Some((asked, _)), Some(plan)) = (self.ask_of(ask), self.plan(plan)) else { return };
                self.at_x(&asked, &plan, plan.height - u64::from(before));
            }
            Op::OfferRecord { ask } => {
                let Some((asked, Some(tx))) = self.ask_of(ask) else { return };
                self.offer_join(&asked, &tx);
            }
            Op::Accept(pick) => {
                if let Some(o) = self.offer_of(pick) {
                    let _ = self.lab.accept(&o);
                }
            }
            Op::Confirm(pick) => {
                if let Some(o) = self.offer_of(pick) {
                    let _ = self.lab.confirm(&o);
                }
            }
            Op::Whole { source, target, plan } => {
                let _ = self.whole(source, target, plan);
            }
            Op::Activate { cell, plan, before } => {
                let Some(plan) = self.plan(plan) else { return };
                let fits = self.all(|w, c| Some(w.lab.cells[c].build) == plan.build && w.lab.holds(c));
                let cell = self.likely(cell, &fits);
                if self.lab.activate(cell, plan.id, plan.height - u64::from(before)).is_ok() {
                    self.reach("activate");
                }
            }
            Op::Observe { cell, plan } => {
                let held = self.all(|w, c| w.lab.holds(c));
                let cell = self.likely(cell, &held);
                let own = self.lab.status(cell).plan.map(|p| p.name);
                let followed = if plan & 1 == 0 { self.promise(cell).or(own) } else { own.or(self.promise(cell)) };
                let named = self.lab.plans.iter().find(|p| Some(&p.name) == followed.as_ref()).cloned();
                let Some(plan) = named.or_else(|| self.plan(plan)) else { return };
                self.observe(cell, &plan);
            }
            Op::Rehearse(cell) => {
                let serving = self.serving();
                let cell = self.likely(cell, &serving);
                let _ = self.lab.rehearse_onward(cell);
            }
            Op::Receipt { cell, reader } => {
                let (serving, promised) = (self.serving(), self.all(|w, c| w.promise(c).is_some()));
                let cell = self.likely(cell, &serving);
                let here: Vec<usize> =
                    promised.into_iter().filter(|c| self.lab.cells[*c].machine == self.lab.cells[cell].machine).collect();
                let reader = self.likely(reader, &here);
                self.receipt(cell, reader, true);
                self.receipt(cell, reader, false);
            }
            Op::Collect { looks } => {
                for n in self.serving() {
                    let own = self.lab.status(n).plan.map(|p| p.name);
                    let Some(plan) = self.lab.plans.iter().find(|p| Some(&p.name) == own.as_ref()).cloned() else {
                        continue;
                    };
                    match looks {
                        true => self.observe(n, &plan),
                        false => self.lab.advance(n),
                    }
                    let machine = self.lab.cells[n].machine;
                    for o in self.all(|w, c| w.promise(c).is_some() && w.lab.cells[c].machine == machine) {
                        self.receipt(n, o, true);
                        self.receipt(n, o, false);
                    }
                }
            }
            Op::Erase(cell) => {
                let promised = self.all(|w, c| w.promise(c).is_some());
                let cell = self.likely(cell, &promised);
                self.erase(cell);
            }
            Op::Kill(cell) => {
                let cell = self.cell(cell);
                self.lab.kill(cell);
            }
            Op::RollBack { cell, by } => {
                let cell = self.cell(cell);
                if self.lab.cells[cell].machine == 1 {
                    self.lab.roll_back(cell, usize::from(by));
                    let kept = self.lab.cells[cell].disk.custody.last().map_or(0, |f| f.0);
                    self.void[cell].retain(|(generation, _, _)| *generation <= kept);
                    self.held[cell] = self.lab.holds(cell);
                }
            }
            Op::Clone(cell) => {
                let cell = self.cell(cell);
                if self.lab.cells.len() < 12 {
                    let twin = self.lab.clone_cell(cell);
                    self.void.push(self.void[cell].clone());
                    let held = self.lab.holds(twin);
                    self.held.push(held);
                }
            }
            Op::Order { kind, cell, target, flaw } => self.order(kind, cell, target, flaw),
            Op::Fault { after, writes } => {
                self.lab.fault = Some(if after { Fault::AfterWrite } else { Fault::BeforeWrite });
                self.lab.fault_after = usize::from(writes);
            }
        }
    }

    /// Whether a copy has frozen a build for the plans of proposals up to this one.
    fn frozen(&mut self, cell: usize, build: B, proposal: u64) -> bool {
        let measurement = self.lab.builds[&build].measurement;
        let of = self.lab.status(cell).emergencies;
        of.is_some_and(|e| e.frozen.iter().any(|f| f.measurement == measurement && f.proposals_through >= proposal))
    }

    /// One order, and whether it may be obeyed.
    fn order(&mut self, kind: u8, cell: u8, target: u8, flaw: u8) {
        let serving = self.serving();
        let o = self.likely(cell, &serving);
        let highest = self.lab.status(o).emergencies.and_then(|e| e.obeyed.last().map(|e| e.sequence)).unwrap_or(0);
        self.orders += 1;
        let sequence = if flaw == 2 { highest.max(1) } else { self.orders };
        let by: &[u8] = if flaw == 0 { &[42, 42] } else { &[41, 43] };
        let later = if flaw == 1 { NOTICE_SECS - 1 } else { NOTICE_SECS };
        // A freeze gives nothing away, so it waits for nothing.
        let bad = flaw == 0 || (flaw == 1 && kind != 0) || sequence <= highest;
        let (head, mut rewound) = (self.lab.status(o).head_height, None);
        let action = match kind {
            0 => Action::Freeze {
                measurement: self.lab.builds[&[B::V2, B::V3][usize::from(target) % 2]].measurement,
                proposals_through: self.lab.plans.iter().map(|p| p.id).max().unwrap_or(0),
            },
            1 => Action::Rotate,
            2 => {
                let height = head.saturating_sub(1 + u64::from(target % 4));
                if height < 5 {
                    return;
                }
                rewound = Some(height);
                Action::Rewind { height, hash: Digest32(self.lab.chain.header_hash(height).unwrap()) }
            }
            _ => return self.order_handover(o, target, (sequence, by, later, bad)),
        };
        let made = Order { reason: format!("order {}", self.orders), ..order(&mut self.lab, o, sequence, action) };
        let (nonce, text) = nonce(&mut self.lab, o);
        let down = rewound.map(|height| links(&self.lab.chain, head, height).unwrap());
        let shown = Public::new(&self.lab).evidence(&sign(made, by), &text, later);
        let evidence = OrderEvidence { nonce: Some(nonce), links: down, ..shown }.to_cbor();
        if self.lab.call(o, &Request::Command { evidence }).is_err() {
            return;
        }
        if bad {
            self.breaks(Rule::PublicFirst, format!("obeyed with flaw {flaw}, number {sequence} after {highest}"));
        }
        self.reach(["freeze", "rotate", "rewind"][usize::from(kind)]);
        if let Some(height) = rewound {
            self.void[o].retain(|(_, _, seen)| *seen <= height);
        }
    }

    fn order_handover(&mut self, o: usize, target: u8, (sequence, by, later, bad): (u64, &[u8], u64, bool)) {
        let away = |w: &mut Self, c: usize| !matches!(w.lab.cells[c].build, B::V1 | B::Low) && w.lab.state(c) == State::Empty;
        let likely = self.all(away);
        let t = self.likely(target, &likely);
        let build = self.lab.cells[t].build;
        if matches!(build, B::V1 | B::Low) || build <= self.lab.cells[o].build {
            return;
        }
        let Ok(asked) = self.lab.ask(o, t, Kind::Upgrade) else { return };
        let to = self.lab.status(t).identity;
        let made = order(&mut self.lab, o, sequence, Action::Handover { to });
        let signed = sign(Order { reason: format!("order {}", self.orders), ..made }, by);
        let shown = Public::new(&self.lab).evidence(&signed, &asked.record.encode(), later);
        let Ok(offered) = self.lab.offer(&asked, OfferEvidence::Order(shown.to_cbor())) else { return };
        if bad || build == B::Unlisted || self.lab.cells[t].debug {
            self.breaks(Rule::PublicFirst, format!("gave to {build:?} by order {sequence}, signed by {by:?}, {later} s of notice"));
        }
        self.reach("handover by order");
        self.ordered.insert(build);
        let activation = OrderEvidence { fresh: None, ..shown }.to_cbor();
        let _ = self.lab.accept(&offered).and_then(|()| self.lab.confirm(&offered));
        let _ = self.lab.call(t, &Request::ActivateByOrder { evidence: activation });
    }

    fn ask_of(&self, pick: u8) -> Option<(Asked, Option<Included>)> {
        let n = self.asks.len();
        (n > 0).then(|| self.asks[n - 1 - usize::from(pick) % n.min(4)].clone())
    }

    fn offer_of(&self, pick: u8) -> Option<Offered> {
        let n = self.offers.len();
        (n > 0).then(|| self.offers[n - 1 - usize::from(pick) % n.min(4)].clone())
    }

    /// What an operator does who wants one handover: it may stop half way like any other.
    fn whole(&mut self, source: u8, target: u8, pick: u8) -> Option<()> {
        let plan = self.plan(pick)?;
        let serving = self.serving();
        let source = self.likely(source, &serving);
        let target = self.target(target, source, Kind::Upgrade, Some(&plan));
        let mut asked = self.lab.ask(source, target, Kind::Upgrade).ok()?;
        asked.record.proposal_id = plan.id;
        let before = self.offers.len();
        if self.lab.chain.height() + 1 >= plan.height {
            self.at_x(&asked, &plan, plan.height.min(self.lab.chain.height()));
        } else {
            let tx = self.lab.publish(&asked.record)?;
            // Now and then the head of before the record: it proves the plan as well.
            let head = tx.height - u64::from(pick >= 0xc0);
            self.ahead(&asked, &plan, &tx, head);
        }
        let o = self.offers.get(before)?.clone();
        self.lab.accept(&o).ok()?;
        self.lab.confirm(&o).ok()
    }

    fn offer_join(&mut self, asked: &Asked, tx: &Included) -> Option<Offered> {
        let o = self.lab.offer_join(asked, tx).ok()?;
        self.reach("join");
        self.judge_join(asked, tx);
        self.offers.push(o.clone());
        Some(o)
    }

    fn ahead(&mut self, asked: &Asked, plan: &Plan, tx: &Included, head: u64) {
        let frozen = self.frozen(asked.source, self.lab.cells[asked.target].build, plan.id);
        let Ok(o) = self.lab.offer_ahead(asked, plan.id, tx, head) else { return };
        if frozen {
            self.breaks(Rule::OneTarget, "offered ahead to a frozen build");
        }
        self.reach("offer ahead");
        self.offers.push(o);
        let status = self.lab.status(asked.source);
        let head = status.head_height;
        let target = self.judge_target(asked);
        match self.pending(head).filter(|p| p.build == Some(target)) {
            Some(p) if head + LEAD >= p.height && head < p.height => {}
            other => self.breaks(Rule::OneTarget, format!("offered to {target:?} at head {head}, pending: {other:?}")),
        }
        if tx.height > head {
            self.breaks(Rule::PublicFirst, format!("the record in {} is above the head {head}", tx.height));
        }
        self.judge_successor(asked, target);
    }

    fn at_x(&mut self, asked: &Asked, plan: &Plan, at: u64) {
        let frozen = self.frozen(asked.source, self.lab.cells[asked.target].build, plan.id);
        let Ok(o) = self.lab.offer_at_x(asked, plan.id, at) else { return };
        if frozen {
            self.breaks(Rule::OneTarget, "offered at X to a frozen build");
        }
        self.reach("offer at X");
        self.offers.push(o);
        let target = self.judge_target(asked);
        if !self.pending(at).is_some_and(|p| p.name == plan.name && p.build == Some(target)) || at + 1 < plan.height {
            self.breaks(Rule::Secrecy, format!("offered to {target:?} by header {at} for {plan:?}"));
        }
        if !asked.local {
            self.breaks(Rule::PublicFirst, "an unrecorded copy left the machine");
        }
        if self.void[asked.source].iter().any(|(_, name, seen)| *name == plan.name && at < *seen) {
            self.breaks(Rule::OneTarget, format!("{} was seen to be void", plan.name));
        }
        self.judge_successor(asked, target);
    }

    fn judge_target(&mut self, asked: &Asked) -> B {
        let (source, target) = (&self.lab.cells[asked.source], &self.lab.cells[asked.target]);
        let (from, to, debug) = (source.build, target.build, target.debug);
        if debug || matches!(to, B::Low | B::Unlisted) || to <= from {
            self.breaks(Rule::NoDowngrade, format!("offered by {from:?} to {to:?}, debug {debug}"));
        }
        to
    }

    fn judge_successor(&mut self, asked: &Asked, target: B) {
        let successor = self.lab.status(asked.source).successor.map(|s| s.measurement);
        if successor != Some(self.lab.builds[&target].measurement) {
            self.breaks(Rule::OneTarget, format!("offered to {target:?}, promised to {successor:?}"));
        }
    }

    fn judge_join(&mut self, asked: &Asked, tx: &Included) {
        let (source, target) = (&self.lab.cells[asked.source], &self.lab.cells[asked.target]);
        if source.build != target.build || target.debug {
            self.breaks(Rule::Secrecy, "a join of another build");
        }
        if tx.height > self.lab.status(asked.source).head_height {
            self.breaks(Rule::PublicFirst, "a join before its record");
        }
    }

    fn observe(&mut self, cell: usize, plan: &Plan) {
        let promised = self.promise(cell);
        if self.lab.observe(cell, plan).is_err() {
            return;
        }
        let Some(name) = promised else { return };
        // By an order: no plan.
        let Some(promised) = self.lab.plans.iter().find(|p| p.name == name).cloned() else { return };
        // Evidence for the plan that the copy itself runs by leaves the promise alone.
        if self.void_now(&promised) && plan.name == name && self.lab.state(cell) != State::Retired {
            if self.promise(cell).is_some() {
                self.breaks(Rule::OneTarget, format!("{name} is void, and the promise stands"));
            }
            let generation = self.lab.cells[cell].disk.custody.last().map_or(0, |f| f.0);
            let head = self.lab.status(cell).head_height;
            self.void[cell].push((generation, name, head));
            self.reach("called off");
        }
    }

    fn receipt(&mut self, cell: usize, reader: usize, local: bool) {
        let Ok(receipt) = self.lab.barrier_receipt(cell, reader, local) else { return };
        let status = self.lab.status(cell);
        let (machine, build) = (self.lab.cells[cell].machine, self.lab.cells[cell].build);
        let (Some(plan), Some(x)) = (status.plan, status.at_x) else {
            self.breaks(Rule::NoEarlyErase, "a receipt of a copy that runs by no plan");
            return;
        };
        let good = plan.done && status.rehearsed_as_source && status.head_height >= x + GRACE;
        self.given.push(Given { receipt, machine, build, plan: plan.name, local, good });
    }

    fn erase(&mut self, cell: usize) {
        let Some(promised) = self.promise(cell) else { return };
        let machine = self.lab.cells[cell].machine;
        let used: Vec<Given> = self.given.iter().filter(|g| g.plan == promised).cloned().collect();
        // What a host would try: those that are not good yet, machines alone, this machine alone, all that are good.
        let of = |fits: fn(&Given) -> bool| used.iter().filter(|g| fits(g)).cloned().collect::<Vec<_>>();
        let choices = [of(|_| true), of(|g| !g.local), of(|g| g.local), of(|g| g.good && !g.local), of(|g| g.good)];
        for mut choice in choices {
            choice.retain(|g| !g.local || g.machine == machine);
            let receipts = choice.iter().map(|g| g.receipt.clone()).collect();
            let here = self.lab.state(cell);
            let refused = self.lab.erase(cell, receipts).is_err();
            // A host that dies while it stores the tombstone hears of an error, and the copy is gone all the same: by these receipts.
            if here == State::Retired || (refused && self.lab.state(cell) != State::Retired) {
                continue;
            }
            let own = choice.iter().any(|g| g.local && g.good && g.machine == machine);
            let others: BTreeSet<usize> = choice.iter().filter(|g| !g.local && g.good).map(|g| g.machine).collect();
            let plan = self.lab.plans.iter().find(|p| p.name == promised).cloned().expect("it was voted for");
            let fits = choice.iter().all(|g| g.good && plan.build == Some(g.build));
            if !own || others.len() < 2 || !fits || !self.applied(&plan) || here != State::Confirmed {
                self.breaks(Rule::NoEarlyErase, format!("own {own}, others {others:?}, fits {fits}, was {here}"));
            }
            self.held[cell] = self.lab.holds(cell);
            self.reach("erase");
            return;
        }
    }

    /// An ordinary upgrade to v2, as far as `depth`: random operations alone rarely come to where it matters.
    fn begin(&mut self, depth: u8) {
        let Some(plan) = (depth > 0).then(|| self.lab.schedule(Some(B::V2), 10)).flatten() else { return };
        let pairs = [0, 1].map(|m| (self.lab.cell(m, B::V1), self.lab.cell(m, B::V2)));
        for (o, n) in pairs {
            if depth > 1 {
                self.lab.ahead(o, n, plan.id).unwrap();
            }
            self.held[n] = self.lab.holds(n);
        }
        if depth > 2 {
            self.lab.produce_until(plan.height);
            for (_, n) in pairs {
                self.lab.activate(n, plan.id, plan.height).unwrap();
            }
        }
        if depth > 3 {
            self.lab.resume();
            self.lab.produce_until(plan.height + 1);
        }
        for (o, n) in pairs.into_iter().filter(|_| depth > 4) {
            self.lab.rehearse_onward(n).unwrap();
            if depth > 5 {
                self.lab.observe(n, &plan).unwrap();
            }
            self.receipt(n, o, true);
            self.receipt(n, o, false);
        }
    }

    /// The invariants that need no operation to be broken.
    fn check(&mut self, op: &Op) {
        let observed = matches!(op, Op::Observe { .. } | Op::Collect { .. });
        for cell in 0..self.lab.cells.len() {
            let status = self.lab.status(cell);
            let (build, debug) = (self.lab.cells[cell].build, self.lab.cells[cell].debug);
            let holds = !status.epochs.is_empty();
            let named: Vec<Plan> = self.lab.plans.iter().filter(|p| p.build == Some(build)).cloned().collect();
            let bad = debug || matches!(build, B::Low | B::Unlisted);
            if holds && bad {
                self.breaks(Rule::NoDowngrade, format!("{build:?} holds the keyring, debug {debug}"));
            }
            let ordered = self.ordered.contains(&build);
            if holds && build != B::V1 && named.is_empty() && !ordered {
                self.breaks(Rule::Secrecy, format!("{build:?} holds the keyring without a vote"));
            }
            if status.serving && build != B::V1 && !ordered && !named.iter().any(|p| self.ran_or_may_run(p)) {
                self.breaks(Rule::Secrecy, format!("{build:?} serves, and no plan at X names it"));
            }
            if self.held[cell] && !holds {
                let void = named.iter().any(|p| p.height < self.lab.chain.height() && self.void_now(p));
                self.reach("void");
                if !(observed && void && build != B::V1) {
                    self.breaks(Rule::NeverDropped, format!("{build:?} in cell {cell} lost its keyring"));
                }
            }
            self.held[cell] = holds;
        }
        let honest: Vec<usize> = (0..self.lab.cells.len()).filter(|c| self.lab.cells[*c].machine == 0).collect();
        if !honest.iter().any(|c| self.live(*c)) {
            self.breaks(Rule::NeverDropped, "no copy on the honest machine can become active");
        }
    }

    /// This copy serves, or still can.
    fn live(&mut self, cell: usize) -> bool {
        let (status, build) = (self.lab.status(cell), self.lab.cells[cell].build);
        let may_start = self.ordered.contains(&build) || self.lab.plans.iter().any(|p| p.build == Some(build) && self.applied(p));
        status.serving || (status.state == State::Received && may_start)
    }

    /// From here on the host of machine 0 is honest and the chain lives: the newest build gets to serve there.
    fn finish(&mut self) {
        self.lab.fault = None;
        // Whatever is planned or still voted on runs first.
        for _ in 0..3 {
            self.lab.produce_until(self.lab.chain.height() + 25);
            if self.lab.chain.halted().is_some() {
                self.lab.resume();
            }
        }
        self.settle();
        // A freeze ends with a later plan.
        let open = |w: &mut Self, id: u64| !w.serving_on_0().into_iter().any(|c| w.frozen(c, B::V3, id));
        let v3_ran = self.lab.plans.clone().iter().any(|p| p.build == Some(B::V3) && self.applied(p) && open(self, p.id));
        if !v3_ran {
            let Some(last) = self.lab.schedule(Some(B::V3), 8) else {
                self.breaks(Rule::Progress, "the chain took no last plan");
                return;
            };
            // Ahead of X where that is open, at X where it is not.
            for c in self.serving_on_0() {
                let target = self.lab.another_cell(0, B::V3);
                let _ = self.lab.ahead(c, target, last.id);
            }
            self.lab.produce_until(last.height);
            self.lab.resume();
        }
        self.lab.produce_until(self.lab.chain.height() + GRACE + 1);
        self.walk();
        let end = self.serving_on_0().into_iter().find(|c| self.lab.cells[*c].build == B::V3);
        match end {
            Some(n) => self.clear(n),
            None => {
                let cells: Vec<usize> = (0..self.lab.cells.len()).filter(|c| self.lab.cells[*c].machine == 0).collect();
                let states: Vec<_> =
                    cells.into_iter().map(|c| (self.lab.cells[c].build, self.lab.state(c), self.promise(c))).collect();
                self.breaks(Rule::Progress, format!("v3 does not serve on machine 0: {states:?}"));
            }
        }
    }

    /// Every copy on machine 0 is told what became of every plan.
    fn settle(&mut self) {
        for plan in self.lab.plans.clone() {
            for c in 0..self.lab.cells.len() {
                if self.lab.cells[c].machine == 0 {
                    let _ = self.lab.activate(c, plan.id, plan.height);
                    let _ = self.lab.observe(c, &plan);
                }
            }
        }
    }

    fn serving_on_0(&mut self) -> Vec<usize> {
        (0..self.lab.cells.len()).filter(|c| self.lab.cells[*c].machine == 0 && self.lab.status(*c).serving).collect()
    }

    /// Walks every plan that ran, from every copy that serves, until nothing new serves.
    fn walk(&mut self) {
        for _ in 0..3 {
            self.settle();
            for plan in self.lab.plans.clone() {
                let Some(build) = plan.build.filter(|_| self.applied(&plan)) else { continue };
                let serving = self.serving_on_0();
                if serving.iter().any(|c| self.lab.cells[*c].build == build) {
                    continue;
                }
                for c in serving {
                    let target = self.lab.another_cell(0, build);
                    let done = self.lab.at_x(c, target, plan.id, plan.height);
                    if done.is_ok() && self.lab.activate(target, plan.id, plan.height).is_ok() {
                        let _ = self.lab.observe(target, &plan);
                    } else {
                        self.lab.cells.truncate(target);
                    }
                }
            }
        }
    }

    /// A copy that is confirmed to the plan that `n` runs by can go: nothing may stand in the way of the barrier.
    fn clear(&mut self, n: usize) {
        let run = self.lab.status(n).plan.map(|p| p.name);
        let Some(o) = (0..self.lab.cells.len()).find(|c| {
            self.lab.cells[*c].machine == 0 && self.promise(*c) == run && self.lab.state(*c) == State::Confirmed
        }) else {
            return;
        };
        let plan = self.lab.plans.iter().find(|p| Some(&p.name) == run.as_ref()).cloned().expect("it was voted for");
        let peer = self.lab.another_cell(1, B::V3);
        let steps = self
            .lab
            .observe(n, &plan)
            .and_then(|()| self.lab.join(n, peer))
            .and_then(|()| self.lab.activate(peer, plan.id, plan.height))
            .and_then(|()| self.lab.observe(peer, &plan))
            .and_then(|()| self.lab.rehearse_onward(n))
            .and_then(|()| self.lab.rehearse_onward(peer));
        let receipts = steps.and_then(|()| {
            Ok(vec![
                self.lab.barrier_receipt(n, o, true)?,
                self.lab.barrier_receipt(n, o, false)?,
                self.lab.barrier_receipt(peer, o, false)?,
            ])
        });
        if let Err(e) = receipts.and_then(|r| self.lab.erase(o, r)) {
            self.breaks(Rule::Progress, format!("a confirmed copy cannot be erased: {e:?}"));
        } else {
            self.reach("erase at the end");
        }
    }
}

/// The builds that people may vote for on both machines, and two that no vote makes good.
fn template() -> Lab {
    let mut lab = Lab::new();
    for machine in [0, 1] {
        for build in [B::V2, B::V3] {
            lab.cell(machine, build);
        }
    }
    lab.cell(0, B::Low);
    lab.cell(0, B::Unlisted);
    lab
}

fn cases() -> u32 {
    std::env::var("BATON_RULE_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(40)
}

/// Runs random cases; `rule` only says which seeds are used and which name a failure is found under first.
fn hold(rule: Rule) {
    let template = template();
    let config = Config { cases: cases(), max_shrink_iters: 150, failure_persistence: None, ..Config::default() };
    let seed = [rule as u8; 32];
    let rng = proptest::test_runner::TestRng::from_seed(proptest::test_runner::RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let depths = match rule {
        Rule::NoEarlyErase => 4..7u8,
        Rule::NeverDropped => 2..5u8,
        _ => 0..7u8,
    };
    let ops = (depths, proptest::collection::vec(op(rule), 12..36));
    let reached = RefCell::new(BTreeMap::<&str, u32>::new());
    let result = runner.run(&ops, |(depth, ops)| {
        let mut world = World::new(&template);
        world.begin(depth);
        for op in &ops {
            world.apply(op);
            world.check(op);
            prop_assert!(world.broken.is_empty(), "after {op:?}: {:?}", world.broken);
        }
        world.finish();
        prop_assert!(world.broken.is_empty(), "at the end: {:?}", world.broken);
        world.reached.iter().for_each(|(what, n)| *reached.borrow_mut().entry(what).or_default() += n);
        Ok(())
    });
    if let Err(e) = result {
        panic!("{e}");
    }
    let reached = reached.into_inner();
    println!("{rule:?}: {reached:?}");
    let wanted: &[&str] = match rule {
        Rule::NeverDropped => &["void", "called off", "erase at the end"],
        Rule::NoEarlyErase => &["erase", "activate"],
        Rule::OneTarget => &["offer ahead", "offer at X", "called off", "freeze", "rewind"],
        Rule::PublicFirst => &["offer ahead", "offer at X", "join", "handover by order"],
        _ => &["offer ahead", "offer at X", "join", "activate", "handover by order"],
    };
    for what in wanted {
        assert!(cases() < 40 || reached.contains_key(what), "no case came to: {what}; {reached:?}");
    }
}

#[test]
fn rule1_secrecy_no_unauthorized_build_ever_holds_or_serves() {
    hold(Rule::Secrecy);
}

#[test]
fn rule2_never_dropped_an_honest_machine_always_has_a_copy_that_can_serve() {
    hold(Rule::NeverDropped);
}

#[test]
fn rule3_no_early_erase_only_behind_the_barrier() {
    hold(Rule::NoEarlyErase);
}

#[test]
fn rule4_public_before_private_every_copy_that_leaves_has_its_record() {
    hold(Rule::PublicFirst);
}

#[test]
fn rule5_one_target_that_the_chain_plans_and_none_that_is_void() {
    hold(Rule::OneTarget);
}

#[test]
fn rule6_progress_from_any_state_an_honest_host_completes() {
    hold(Rule::Progress);
}

#[test]
fn rule7_no_downgrade_to_lower_unlisted_or_debug_builds() {
    hold(Rule::NoDowngrade);
}
