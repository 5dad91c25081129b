//! Emergency orders as stories: the hotfix on a dead chain, and everything that must not pass for one.

use baton_attest::identity::{Digest32, encode};
use baton_chain::light::{LightBlock, Path};
use baton_chain::record::Kind;
use baton_core::custody::State;
use baton_core::messages::Message as _;
use baton_core::order::judge::OrderEvidence;
use baton_core::order::notice::{FreshEvidence, NoticeEvidence, export_memo};
use baton_core::order::signed::{AccountSignature, SignedOrder};
use baton_core::order::{Action, Order, OrderKind, VERSION, adr036, fresh_memo};
use baton_core::policy::{Council, CouncilKey, Member, Witnesses};
use baton_core::witness::{Cosigner, orders_origin};
use baton_devnet::Account;
use baton_enclave::wire::{OfferEvidence, Request};
use baton_host::chain::{ChainSource, Included};
use baton_host::orders::{OrderLog, evidence, links, staking};
use baton_host::witness::{InMemory, Witness};
use ed25519_dalek::{Signer as _, SigningKey};

use crate::lab::{Asked, B, Failed, Lab};

/// Blocks of notice.
const NOTICE: u64 = 5;
/// Seconds of notice.
pub const NOTICE_SECS: u64 = 3600;
/// A time for witnesses that read no block.
pub const NOON: u64 = 1_790_000_000;

fn member(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

/// Two of three, in every lab.
pub fn council() -> Council {
    let of = |n: u8| Member { name: format!("member {n}"), key: CouncilKey::Ed25519(member(n).verifying_key().to_bytes()) };
    Council { members: vec![of(41), of(42), of(43)], needed: 2, notice_blocks: NOTICE }
}

fn witness(n: u8) -> Cosigner {
    Cosigner::from_seed(&format!("w{n}.example"), &[n; 32]).unwrap()
}

/// Two of three, in every lab.
pub fn witnesses() -> Witnesses {
    let keys = [51, 52, 53].map(|n| witness(n).vkey()).to_vec();
    Witnesses { keys, needed: 2, notice_secs: NOTICE_SECS, dated_exports: false }
}

/// The log of orders, and the witnesses that know it.
pub struct Public {
    pub log: OrderLog,
    witnesses: Vec<Witness<InMemory>>,
}

impl Public {
    pub fn new(lab: &Lab) -> Self {
        let chain_id = &lab.chain.config().chain_id;
        let log = OrderLog::new(chain_id, &[60; 32]);
        let make = |n: u8| {
            let mut w = Witness::new(witness(n), InMemory::default());
            w.know(&orders_origin(chain_id), log.public_key());
            w
        };
        let witnesses = [51, 52, 53].map(make).into_iter().collect();
        Public { log, witnesses }
    }

    pub fn cosign(&mut self, now: u64) {
        assert!(self.log.cosign(&mut self.witnesses, now).is_empty());
    }

    /// The order in the log at noon, and again with `fresh` beside it.
    pub fn evidence(&mut self, signed: &SignedOrder, fresh: &str, later: u64) -> OrderEvidence {
        let memo = signed.order().memo();
        self.log.append(&memo);
        self.cosign(NOON);
        self.log.append(fresh);
        self.cosign(NOON + later);
        let fresh = FreshEvidence::Witnessed(self.log.newest(fresh).unwrap());
        evidence(signed, Path::default(), self.log.notice(&memo).unwrap(), Some(fresh))
    }
}

pub fn order(lab: &mut Lab, from: usize, sequence: u64, action: Action) -> Order {
    Order {
        version: VERSION,
        chain_id: lab.chain.config().chain_id.clone(),
        from: lab.status(from).identity.digest(),
        sequence,
        expiry_height: 10_000,
        expiry_secs: NOON + 30 * 86_400,
        reason: "the new build dies at its first block".into(),
        action,
    }
}

pub fn sign(order: Order, by: &[u8]) -> SignedOrder {
    let mut signed = SignedOrder::unsigned(order);
    for n in by {
        let key = CouncilKey::Ed25519(member(*n).verifying_key().to_bytes());
        signed.add_council(&key, |b| member(*n).sign(b).to_vec());
    }
    signed
}

/// An order to hand over to `n`, with all signatures that it needs.
fn to(lab: &mut Lab, o: usize, n: usize, sequence: u64) -> SignedOrder {
    let target = lab.status(n).identity;
    let order = order(lab, o, sequence, Action::Handover { to: target });
    sign(order, &[41, 42])
}

fn offer(lab: &mut Lab, asked: &Asked, evidence: &OrderEvidence) -> Result<crate::lab::Offered, Failed> {
    lab.offer(asked, OfferEvidence::Order(evidence.to_cbor()))
}

fn refused<T>(outcome: Result<T, Failed>) -> String {
    match outcome {
        Ok(_) => "it was not refused".into(),
        Err(e) => e.check(),
    }
}

/// A chain that stopped at the height of a plan for v2 and does not go on, with v2 on machine 0 confirmed.
fn dead() -> (Lab, usize, usize) {
    let mut lab = Lab::new();
    let plan = lab.schedule(Some(B::V2), 10).unwrap();
    let (o, n) = (lab.cell(0, B::V1), lab.cell(0, B::V2));
    lab.ahead(o, n, plan.id).unwrap();
    lab.produce_until(plan.height);
    assert!(lab.chain.halted().is_some());
    lab.activate(n, plan.id, plan.height).unwrap();
    (lab, o, n)
}

#[test]
fn h21_the_hotfix_reaches_a_dead_chain_from_the_old_build_and_from_the_broken_one() {
    let (mut lab, o, n) = dead();
    lab.cells[n].custody_only = true;
    lab.start(n).unwrap();
    let mut public = Public::new(&lab);
    for (source, sequence) in [(o, 1), (n, 2)] {
        let fix = lab.another_cell(0, B::V3);
        let signed = to(&mut lab, source, fix, sequence);
        let asked = lab.ask(source, fix, Kind::Upgrade).unwrap();
        let shown = public.evidence(&signed, &asked.record.encode(), NOTICE_SECS * sequence * 2);
        let offered = offer(&mut lab, &asked, &shown).unwrap();
        lab.accept(&offered).unwrap();
        assert!(!lab.status(fix).serving, "before it has shown its order");
        lab.confirm(&offered).unwrap();
        assert_eq!((lab.state(source), lab.state(fix)), (State::Confirmed, State::Received));
        let evidence = OrderEvidence { fresh: None, ..shown }.to_cbor();
        lab.call(fix, &Request::ActivateByOrder { evidence: evidence.clone() }).unwrap();
        lab.call(fix, &Request::ActivateByOrder { evidence }).unwrap();
        lab.start(fix).unwrap();
        let status = lab.status(fix);
        assert!(status.serving, "and after a restart, which asks nothing");
        let said = status.emergencies.unwrap();
        assert_eq!(said.serves_by, Some(signed.order().digest()));
        assert_eq!(said.obeyed.len(), 1);
        assert!(said.inherited.iter().any(|e| e.order == signed.order().digest()), "its source's list comes along");
        let said = lab.status(source).emergencies.unwrap();
        assert_eq!((said.promised_by, said.obeyed[0].kind), (Some(signed.order().digest()), OrderKind::Handover));
        assert!(lab.status(source).serving, "serving is never taken away");
        assert_eq!(refused(lab.erase(source, Vec::new())), "erase/Barrier/ByOrder", "nothing is erased on an order alone");
    }
}

#[test]
fn h22_an_order_on_a_live_chain_is_public_in_a_transaction_and_recorded() {
    let mut lab = Lab::new();
    let (o, n) = (lab.cell(0, B::V1), lab.cell(0, B::V3));
    let signed = to(&mut lab, o, n, 1);
    let public = memo(&mut lab, &signed.order().memo());
    let asked = lab.ask(o, n, Kind::Upgrade).unwrap();
    let early = lab.publish(&asked.record).unwrap();
    let shown = on_chain(&mut lab, o, &signed, &public, &early);
    assert_eq!(refused(offer(&mut lab, &asked, &shown)), "offer/Order/Notice/TooFewBlocks");
    lab.produce_until(public.height + NOTICE);
    let shown = on_chain(&mut lab, o, &signed, &public, &early);
    let offered = offer(&mut lab, &asked, &shown).unwrap();
    lab.accept(&offered).unwrap();
    lab.confirm(&offered).unwrap();
    assert!(lab.status(o).transfers.last().unwrap().recorded);
    // The record of another request shows nothing.
    let again = lab.ask(o, n, Kind::Upgrade).unwrap();
    let shown = on_chain(&mut lab, o, &signed, &public, &early);
    assert_eq!(refused(offer(&mut lab, &again, &shown)), "offer/Order/Stale/OtherMemo");
    let trusted = lab.trusted(n);
    let head = lab.chain.height();
    let evidence = lab.gather(n).order(&signed, &trusted, &public, None, head).unwrap().to_cbor();
    lab.call(n, &Request::ActivateByOrder { evidence }).unwrap();
    assert!(lab.status(n).serving);
    // A later vote goes on from there.
    let plan = lab.schedule(Some(B::V2), 10).unwrap();
    let (n2, o3) = (lab.cell(0, B::V2), n);
    assert_eq!(refused(lab.ahead(o3, n2, plan.id)), "offer/Authorize/Target/Downgrade");
    lab.ahead(o, n2, plan.id).unwrap();
    assert_eq!(lab.status(o).emergencies.unwrap().promised_by, None, "a later plan supersedes an order");
    let again = lab.ask(o, n, Kind::Upgrade).unwrap();
    let tx = lab.publish(&again.record).unwrap();
    let shown = on_chain(&mut lab, o, &signed, &public, &tx);
    assert_eq!(refused(offer(&mut lab, &again, &shown)), "offer/OtherTarget/Promised", "and the order does not come back");
}

fn memo(lab: &mut Lab, text: &str) -> Included {
    let hash = ChainSource::send_memo(&mut lab.chain, text).unwrap();
    lab.chain.produce_block().unwrap();
    lab.chain.included(&hash).unwrap().unwrap()
}

fn on_chain(lab: &mut Lab, o: usize, signed: &SignedOrder, order: &Included, fresh: &Included) -> OrderEvidence {
    let (trusted, head) = (lab.trusted(o), lab.chain.height());
    lab.gather(o).order(signed, &trusted, order, Some(fresh), head).unwrap()
}

#[test]
fn a25_enough_signatures_without_notice_move_nothing_out_of_the_source() {
    let (mut lab, o, _) = dead();
    let fix = lab.cell(0, B::V3);
    let target = lab.status(fix).identity;
    let made = order(&mut lab, o, 1, Action::Handover { to: target });
    let signed = sign(made, &[41, 42, 43]);
    let before = lab.cells[o].disk.custody.len();
    let asked = lab.ask(o, fix, Kind::Upgrade).unwrap();
    let text = asked.record.encode();
    let mut public = Public::new(&lab);
    // Published now, and shown at once.
    let at_once = public.evidence(&signed, &text, 1);
    assert_eq!(refused(offer(&mut lab, &asked, &at_once)), "offer/Order/Notice/TooFewSeconds");
    let short = public.evidence(&signed, &text, NOTICE_SECS - 1);
    assert_eq!(refused(offer(&mut lab, &asked, &short)), "offer/Order/Notice/TooFewSeconds");
    // A log that nobody witnesses, and one witness of two needed.
    for count in [0, 1] {
        let mut quiet = Public::new(&lab);
        quiet.witnesses.truncate(count);
        let shown = quiet.evidence(&signed, &text, NOTICE_SECS);
        assert_eq!(refused(offer(&mut lab, &asked, &shown)), "offer/Order/Notice/Cosign/TooFew");
    }
    // Two checkpoints of two histories, made by asking witnesses that forget.
    let (mut a, mut b) = (Public::new(&lab), Public::new(&lab));
    let old = a.evidence(&signed, &text, 1);
    b.log.append("something else");
    let new = b.evidence(&signed, &text, NOTICE_SECS);
    let (NoticeEvidence::Witnessed { first, .. }, NoticeEvidence::Witnessed { second, .. }) = (old.notice, new.notice.clone()) else {
        panic!("witnessed");
    };
    let forked = OrderEvidence { notice: NoticeEvidence::Witnessed { first, second, consistency: Vec::new() }, ..new };
    assert_eq!(refused(offer(&mut lab, &asked, &forked)), "offer/Order/Notice/Inconsistent/Length");
    // The notice of another order.
    let other = to(&mut lab, o, fix, 9);
    let mut public = Public::new(&lab);
    let shown = public.evidence(&other, &text, NOTICE_SECS);
    let swapped = OrderEvidence { signed: signed.to_bytes(), ..shown };
    assert_eq!(refused(offer(&mut lab, &asked, &swapped)), "offer/Order/Notice/Cosign/NotIncluded/Root");
    assert_eq!(lab.cells[o].disk.custody.len(), before, "nothing was sealed, nothing was said");
    assert_eq!(lab.status(o).emergencies, None);
    // Nothing is lost by trying: the notice itself, and it goes.
    let mut public = Public::new(&lab);
    let shown = public.evidence(&signed, &text, NOTICE_SECS);
    offer(&mut lab, &asked, &shown).unwrap();
}

#[test]
fn a06_an_order_of_another_chain_build_time_or_number_is_refused() {
    let (mut lab, o, n) = dead();
    let fix = lab.cell(0, B::V3);
    let target = lab.status(fix).identity;
    let good = order(&mut lab, o, 5, Action::Handover { to: target });
    let elsewhere = lab.status(n).identity.digest();
    let own = lab.status(o).identity;
    let head = lab.status(o).head_height;
    let cases: Vec<(Order, &str)> = vec![
        (Order { chain_id: "other-1".into(), ..good.clone() }, "OtherChain"),
        (Order { from: elsewhere, ..good.clone() }, "OtherSource"),
        (Order { expiry_height: head, ..good.clone() }, "ExpiredHeight"),
        (Order { expiry_secs: 1, ..good.clone() }, "ExpiredDate"),
        // A year later by the witnesses, on a chain that stands still.
        (Order { expiry_secs: NOON + NOTICE_SECS, ..good.clone() }, "ExpiredDate"),
        (Order { action: Action::Handover { to: own }, ..good.clone() }, "NoOp"),
        (Order { action: Action::Rotate, ..good.clone() }, "OtherKind"),
        (Order { action: Action::Handover { to: lab.status(n).identity }, ..good.clone() }, "OtherTarget"),
    ];
    for (made, check) in cases {
        let asked = lab.ask(o, fix, Kind::Upgrade).unwrap();
        let shown = Public::new(&lab).evidence(&sign(made, &[41, 42]), &asked.record.encode(), NOTICE_SECS);
        assert_eq!(refused(offer(&mut lab, &asked, &shown)), format!("offer/Order/{check}"));
    }
    let asked = lab.ask(o, fix, Kind::Upgrade).unwrap();
    let mut public = Public::new(&lab);
    let shown = public.evidence(&sign(good.clone(), &[41, 42]), &asked.record.encode(), NOTICE_SECS);
    offer(&mut lab, &asked, &shown).unwrap();
    // The same order serves a second target of that build; with an old nonce it does not.
    let twin = lab.another_cell(0, B::V3);
    let again = lab.ask(o, twin, Kind::Upgrade).unwrap();
    assert_eq!(refused(offer(&mut lab, &again, &shown)), "offer/Order/Stale/Cosign/NotIncluded/Root");
    let mut public = Public::new(&lab);
    let shown = public.evidence(&sign(good.clone(), &[41, 42]), &again.record.encode(), NOTICE_SECS);
    offer(&mut lab, &again, &shown).unwrap();
    assert_eq!(lab.status(o).emergencies.unwrap().obeyed.len(), 1, "one order, however often it is shown");
    for (sequence, reason, check) in [(5, "another", "TwoOrders"), (4, "an older one", "Older")] {
        let asked = lab.ask(o, fix, Kind::Upgrade).unwrap();
        let made = Order { sequence, reason: reason.into(), ..good.clone() };
        let shown = Public::new(&lab).evidence(&sign(made, &[41, 42]), &asked.record.encode(), NOTICE_SECS);
        assert_eq!(refused(offer(&mut lab, &asked, &shown)), format!("offer/Sequence/{check}"));
    }
    lab.start(o).unwrap();
    let asked = lab.ask(o, fix, Kind::Upgrade).unwrap();
    let made = Order { sequence: 4, ..good };
    let shown = Public::new(&lab).evidence(&sign(made, &[41, 42]), &asked.record.encode(), NOTICE_SECS);
    assert_eq!(refused(offer(&mut lab, &asked, &shown)), "offer/Sequence/Older", "numbers are sealed");
}

#[test]
fn a07_one_bad_signature_stops_nothing_and_too_few_good_ones_command_nothing() {
    let (mut lab, o, _) = dead();
    let fix = lab.cell(0, B::V3);
    let target = lab.status(fix).identity;
    let made = order(&mut lab, o, 1, Action::Handover { to: target });
    let spoil = |mut signed: SignedOrder| {
        let key = CouncilKey::Ed25519(member(43).verifying_key().to_bytes());
        signed.add_council(&key, |_| vec![0xff; 63]);
        signed.add_account(AccountSignature { signer: "cosmos1\n".into(), public_key: vec![2; 33], signature: vec![0; 64] });
        signed
    };
    for by in [&[][..], &[41], &[41, 41]] {
        let asked = lab.ask(o, fix, Kind::Upgrade).unwrap();
        let signed = spoil(sign(made.clone(), by));
        let shown = Public::new(&lab).evidence(&signed, &asked.record.encode(), NOTICE_SECS);
        match offer(&mut lab, &asked, &shown) {
            Err(Failed::Refused(r)) => {
                assert_eq!(r.check, "offer/Order/NotEnough");
                assert!(r.message.contains("member 43: the signature does not verify"), "{}", r.message);
            }
            other => panic!("{:?}", other.map(|_| ())),
        }
    }
    let asked = lab.ask(o, fix, Kind::Upgrade).unwrap();
    let signed = spoil(sign(made, &[41, 42]));
    let shown = Public::new(&lab).evidence(&signed, &asked.record.encode(), NOTICE_SECS);
    offer(&mut lab, &asked, &shown).unwrap();
}

#[test]
fn rule7_an_order_names_no_unlisted_signer_and_may_name_a_lower_version_in_public() {
    let (mut lab, o, _) = dead();
    let n = lab.cell(0, B::Unlisted);
    let signed = to(&mut lab, o, n, 1);
    let asked = lab.ask(o, n, Kind::Upgrade).unwrap();
    let shown = Public::new(&lab).evidence(&signed, &asked.record.encode(), NOTICE_SECS);
    assert_eq!(refused(offer(&mut lab, &asked, &shown)), "offer/Order/Rules/Signer");
    let n = lab.cell(0, B::Low);
    let signed = to(&mut lab, o, n, 1);
    let asked = lab.ask(o, n, Kind::Upgrade).unwrap();
    let shown = Public::new(&lab).evidence(&signed, &asked.record.encode(), NOTICE_SECS);
    offer(&mut lab, &asked, &shown).unwrap();
}

#[test]
fn a28_a_build_serves_by_its_own_order_alone() {
    let (mut lab, o, _) = dead();
    let fix = lab.cell(0, B::V3);
    let signed = to(&mut lab, o, fix, 1);
    let asked = lab.ask(o, fix, Kind::Upgrade).unwrap();
    let mut public = Public::new(&lab);
    let shown = public.evidence(&signed, &asked.record.encode(), NOTICE_SECS);
    let offered = offer(&mut lab, &asked, &shown).unwrap();
    lab.accept(&offered).unwrap();
    let activate = |lab: &mut Lab, e: &OrderEvidence| {
        refused(lab.call(fix, &Request::ActivateByOrder { evidence: e.to_cbor() }))
    };
    let other = to(&mut lab, fix, o, 1);
    let wrong = Public::new(&lab).evidence(&other, "x", NOTICE_SECS);
    assert_eq!(activate(&mut lab, &wrong), "order/Order/OtherTarget");
    let target = lab.status(fix).identity;
    let made = order(&mut lab, o, 1, Action::Handover { to: target });
    let few = Public::new(&lab).evidence(&sign(made, &[43]), "x", NOTICE_SECS);
    assert_eq!(activate(&mut lab, &few), "order/Order/NotEnough");
    let quiet = Public::new(&lab).evidence(&signed, "x", 60);
    assert_eq!(activate(&mut lab, &quiet), "order/Order/Notice/TooFewSeconds");
    assert!(!lab.status(fix).serving);
    assert_eq!(activate(&mut lab, &shown), "it was not refused");
}

/// The nonce of a hello, and the text that makes a command fresh.
pub fn nonce(lab: &mut Lab, o: usize) -> (Digest32, String) {
    let (_, _, nonce) = lab.message(o, &Request::Hello).unwrap();
    (nonce, fresh_memo(&nonce))
}

fn command(lab: &mut Lab, o: usize, signed: &SignedOrder, later: u64, links: Option<Vec<LightBlock>>) -> String {
    let (nonce, text) = nonce(lab, o);
    let shown = Public::new(lab).evidence(signed, &text, later);
    let evidence = OrderEvidence { nonce: Some(nonce), links, ..shown }.to_cbor();
    refused(lab.call(o, &Request::Command { evidence }))
}

const OBEYED: &str = "it was not refused";

#[test]
fn rule5_a_frozen_build_gets_nothing_until_a_later_plan_and_serving_goes_on() {
    let mut lab = Lab::new();
    let plan = lab.schedule(Some(B::V2), 10).unwrap();
    let (o, n) = (lab.cell(0, B::V1), lab.cell(0, B::V2));
    let measurement = lab.status(n).identity.measurement;
    let made = order(&mut lab, o, 1, Action::Freeze { measurement, proposals_through: plan.id });
    let few = sign(made.clone(), &[41]);
    assert_eq!(command(&mut lab, o, &few, 0, None), "order/Order/NotEnough");
    let signed = sign(made, &[41, 42]);
    assert_eq!(command(&mut lab, o, &signed, 0, None), OBEYED, "a freeze waits for nothing");
    lab.start(o).unwrap();
    assert!(lab.status(o).serving);
    assert_eq!(lab.status(o).emergencies.unwrap().frozen[0].measurement, measurement);
    assert_eq!(refused(lab.ahead(o, n, plan.id)), "offer/Frozen/IsFrozen");
    lab.produce_until(plan.height);
    assert_eq!(refused(lab.at_x(o, n, plan.id, plan.height)), "offer/Frozen/IsFrozen");
    // The network skips, votes again, and the later plan goes through.
    lab.chain.skip_upgrade().unwrap();
    lab.produce_until(plan.height + 3);
    let again = lab.schedule(Some(B::V2), 10).unwrap();
    lab.ahead(o, n, again.id).unwrap();
    assert_eq!(lab.state(o), State::Confirmed);
}

#[test]
fn a26_a_rewind_leads_to_an_ancestor_or_nowhere() {
    let mut lab = Lab::new();
    lab.produce_until(30);
    let o = lab.cell(0, B::V1);
    lab.advance(o);
    let head = lab.status(o).head_height;
    let hash = |lab: &Lab, h| Digest32(lab.chain.header_hash(h).unwrap());
    let ancestor = (20, hash(&lab, 20));
    let rewind = |lab: &mut Lab, sequence, (height, hash)| {
        let made = order(lab, o, sequence, Action::Rewind { height, hash });
        sign(made, &[41, 42])
    };
    let good = links(&lab.chain, head, 20).unwrap();
    let named = rewind(&mut lab, 1, (20, Digest32([9; 32])));
    assert_eq!(command(&mut lab, o, &named, NOTICE_SECS, Some(good.clone())), "order/Order/NotTheAncestor", "a header that never was");
    let named = rewind(&mut lab, 1, ancestor);
    assert_eq!(command(&mut lab, o, &named, NOTICE_SECS, None), "order/Order/NoLinks");
    assert_eq!(command(&mut lab, o, &named, NOTICE_SECS, Some(Vec::new())), "order/Order/NotTheAncestor");
    assert_eq!(command(&mut lab, o, &named, NOTICE_SECS - 1, Some(good.clone())), "order/Order/Notice/TooFewSeconds");
    // A fork's headers: its own block at 20, which the true head does not stand on.
    let mut fork = lab.chain.fork_at(15).unwrap();
    fork.send_memo(Account::User(0), "fork").unwrap();
    fork.produce_until(head).unwrap();
    let forked = links(&fork, head, 20).unwrap();
    let foreign = rewind(&mut lab, 1, (20, Digest32(fork.header_hash(20).unwrap())));
    let check = command(&mut lab, o, &foreign, NOTICE_SECS, Some(forked));
    assert!(check.starts_with("order/Order/Light/"), "{check}");
    assert_eq!(lab.status(o).head_height, head, "nothing moved");
    assert_eq!(command(&mut lab, o, &named, NOTICE_SECS, Some(good.clone())), OBEYED);
    assert_eq!((lab.status(o).head_height, lab.status(o).serving), (20, true));
    // The same order again moves nothing, whatever has grown since.
    lab.advance(o);
    let head = lab.status(o).head_height;
    let links = links(&lab.chain, head, 20).unwrap();
    assert_eq!(command(&mut lab, o, &named, NOTICE_SECS, Some(links)), OBEYED);
    assert_eq!(lab.status(o).head_height, head);
}

#[test]
fn after_a_rewind_the_network_goes_on_from_the_ancestor_on_another_branch() {
    let mut lab = Lab::new();
    let (o, n) = (lab.cell(0, B::V1), lab.cell(0, B::V2));
    lab.produce_until(30);
    lab.advance(o);
    let head = lab.status(o).head_height;
    let mut other = lab.chain.fork_at(22).unwrap();
    let hash = Digest32(lab.chain.header_hash(22).unwrap());
    let made = order(&mut lab, o, 1, Action::Rewind { height: 22, hash });
    let down = links(&lab.chain, head, 22).unwrap();
    assert_eq!(command(&mut lab, o, &sign(made, &[41, 42]), NOTICE_SECS, Some(down)), OBEYED);
    other.send_memo(Account::User(0), "another history").unwrap();
    other.produce_block().unwrap();
    lab.chain = other;
    let plan = lab.schedule(Some(B::V2), 10).unwrap();
    lab.ahead(o, n, plan.id).unwrap();
    assert_eq!(lab.state(o), State::Confirmed);
}

#[test]
fn a_rotation_is_recorded_and_changes_nothing_yet() {
    let mut lab = Lab::new();
    let o = lab.cell(0, B::V1);
    let made = order(&mut lab, o, 1, Action::Rotate);
    assert_eq!(command(&mut lab, o, &sign(made.clone(), &[41, 42]), 60, None), "order/Order/Notice/TooFewSeconds");
    assert_eq!(command(&mut lab, o, &sign(made.clone(), &[41, 42]), NOTICE_SECS, None), OBEYED);
    assert_eq!(lab.status(o).epochs, [0]);
    assert_eq!(lab.status(o).emergencies.unwrap().obeyed[0].kind, OrderKind::Rotate);
    let shown = Public::new(&lab).evidence(&sign(made, &[41, 42]), "x", NOTICE_SECS);
    let evidence = OrderEvidence { nonce: Some(Digest32([3; 32])), ..shown }.to_cbor();
    assert_eq!(refused(lab.call(o, &Request::Command { evidence })), "order/Order/UnknownNonce");
}

#[test]
fn rule6_orders_in_any_sequence_rise_or_are_refused_and_never_take_serving_away() {
    let (lab, o, _) = dead();
    for sequences in [[1, 2, 3], [1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]] {
        let mut lab = lab.clone();
        let fix = lab.cell(0, B::V3);
        let measurement = lab.status(fix).identity.measurement;
        let mut highest = 0;
        for sequence in sequences {
            let got = match sequence {
                1 => {
                    let made = order(&mut lab, o, 1, Action::Freeze { measurement, proposals_through: 99 });
                    command(&mut lab, o, &sign(made, &[41, 43]), 0, None)
                }
                2 => {
                    let made = order(&mut lab, o, 2, Action::Rotate);
                    command(&mut lab, o, &sign(made, &[42, 43]), NOTICE_SECS, None)
                }
                _ => {
                    let signed = to(&mut lab, o, fix, 3);
                    let asked = lab.ask(o, fix, Kind::Upgrade).unwrap();
                    let shown = Public::new(&lab).evidence(&signed, &asked.record.encode(), NOTICE_SECS);
                    refused(offer(&mut lab, &asked, &shown))
                }
            };
            if sequence > highest {
                assert_eq!(got, OBEYED, "{sequence} of {sequences:?}");
                highest = sequence;
            } else {
                assert!(got.ends_with("Sequence/Older"), "{sequence} of {sequences:?}: {got}");
            }
            lab.start(o).unwrap();
            let status = lab.status(o);
            assert!(status.serving && !status.epochs.is_empty());
            let obeyed: Vec<u64> = status.emergencies.unwrap().obeyed.iter().map(|e| e.sequence).collect();
            assert!(obeyed.windows(2).all(|w| w[0] < w[1]), "{obeyed:?}");
            assert_eq!(obeyed.last(), Some(&highest));
        }
        let frozen = lab.status(o).emergencies.unwrap().frozen;
        assert!(frozen.is_empty(), "a later order names the build again");
    }
}

/// The account key of a validator's operator, made as the devnet makes it.
fn operator(lab: &Lab, index: u64) -> k256::ecdsa::SigningKey {
    use sha2::{Digest as _, Sha256};
    let seed = lab.chain.config().seed;
    let role = b"operator";
    let secret = Sha256::new()
        .chain_update(b"baton devnet key 1")
        .chain_update([role.len() as u8])
        .chain_update(role)
        .chain_update(seed.to_be_bytes())
        .chain_update(index.to_be_bytes())
        .finalize();
    k256::ecdsa::SigningKey::from_slice(&secret).unwrap()
}

fn account_signature(lab: &Lab, index: usize, order: &Order) -> AccountSignature {
    let key = operator(lab, index as u64);
    let address = lab.chain.address(Account::Validator(index));
    let signer = bech32::encode::<bech32::Bech32>(bech32::Hrp::parse("cosmos").unwrap(), &address).unwrap();
    let signature: k256::ecdsa::Signature = key.sign(adr036::sign_doc(order, &signer).as_bytes());
    AccountSignature {
        signer,
        public_key: key.verifying_key().to_sec1_point(true).as_bytes().to_vec(),
        signature: signature.normalize_s().to_bytes().to_vec(),
    }
}

#[test]
fn a05_validators_command_with_more_than_two_thirds_of_the_power_and_with_no_less() {
    let (mut lab, o, _) = dead();
    let fix = lab.cell(0, B::V3);
    let target = lab.status(fix).identity;
    let made = order(&mut lab, o, 1, Action::Handover { to: target });
    // Powers 100, 70, 40 of 210: 140 is exactly two thirds.
    for (signers, enough) in [(&[0, 2][..], false), (&[1, 2], false), (&[0], false), (&[0, 0, 0], false), (&[0, 1], true)] {
        let mut signed = SignedOrder::unsigned(made.clone());
        signers.iter().for_each(|i| signed.add_account(account_signature(&lab, *i, &made)));
        let addresses: Vec<[u8; 20]> = signers.iter().map(|i| lab.chain.address(Account::Validator(*i))).collect();
        let head = lab.status(o).head_height;
        let asked = lab.ask(o, fix, Kind::Upgrade).unwrap();
        let shown = Public::new(&lab).evidence(&signed, &asked.record.encode(), NOTICE_SECS);
        let without = refused(offer(&mut lab, &asked, &shown));
        assert_eq!(without, "offer/Order/NotEnough", "nothing shows their weight");
        let older = OrderEvidence { staking: Some(staking(&lab.chain, &addresses, head - 1).unwrap()), ..shown.clone() };
        assert_ne!(refused(offer(&mut lab, &asked, &older)), OBEYED, "records of another height");
        let shown = OrderEvidence { staking: Some(staking(&lab.chain, &addresses, head).unwrap()), ..shown };
        let got = refused(offer(&mut lab, &asked, &shown));
        let expected = if enough { OBEYED } else { "offer/Order/NotEnough" };
        assert_eq!(got, expected, "{signers:?}");
    }
}

#[test]
fn a21_the_evidence_of_an_order_that_is_cut_or_changed_is_refused_without_a_panic() {
    let (mut lab, o, _) = dead();
    let fix = lab.cell(0, B::V3);
    let signed = to(&mut lab, o, fix, 1);
    let asked = lab.ask(o, fix, Kind::Upgrade).unwrap();
    let bytes = Public::new(&lab).evidence(&signed, &asked.record.encode(), NOTICE_SECS).to_cbor();
    let generations = lab.cells[o].disk.custody.len();
    for at in (0..bytes.len()).step_by(7) {
        assert!(lab.offer(&asked, OfferEvidence::Order(bytes[..at].to_vec())).is_err(), "cut at {at}");
        let mut changed = bytes.clone();
        changed[at] ^= 0x41;
        // A changed name of a witness that is not needed leaves good evidence.
        let _ = lab.raw(o, &Request::Command { evidence: changed });
    }
    assert_eq!(lab.cells[o].disk.custody.len(), generations);
}

#[test]
fn a12b_with_dated_exports_a_copy_that_was_set_aside_hands_on_nothing() {
    let mut lab = Lab::with_dated_exports();
    let o = lab.cell(0, B::V1);
    let n = lab.cell(0, B::V2);
    let mut public = Public::new(&lab);
    let now = lab.chain.block_time(lab.chain.height()).unwrap().seconds as u64;
    let dated = |lab: &mut Lab, public: &mut Public, at: u64| {
        let (_, _, nonce) = lab.message(o, &Request::Hello).unwrap();
        let text = export_memo(&nonce, &lab.status(o).head_hash.0, &[]);
        public.log.append(&text);
        public.cosign(at);
        let proof = encode(&public.log.newest(&text).unwrap());
        refused(lab.call(o, &Request::Date { nonce, proof }))
    };
    assert_eq!(dated(&mut lab, &mut public, now), OBEYED);
    let aside = lab.clone_cell(o);
    let plan = lab.schedule(Some(B::V2), 10).unwrap();
    let try_with = |lab: &mut Lab, public: &mut Public, from: usize, at: Option<u64>| {
        let mut asked = lab.ask(from, n, Kind::Upgrade).unwrap();
        asked.record.proposal_id = plan.id;
        let tx = lab.publish(&asked.record).unwrap();
        let trusted = lab.trusted(from);
        let evidence = lab.gather(from).ahead(&trusted, plan.id, &tx, tx.height).unwrap().to_cbor();
        let Some(at) = at else { return refused(lab.offer(&asked, OfferEvidence::Ahead(evidence))) };
        let digest = baton_core::messages::HandoverRequest::from_cbor(&asked.request).unwrap().digest();
        let text = export_memo(&digest, &lab.status(from).head_hash.0, &evidence);
        public.log.append(&text);
        public.cosign(at);
        let request = Request::OfferDated {
            request: asked.request.clone(),
            attestation: asked.attestation.clone(),
            evidence: OfferEvidence::Ahead(evidence),
            report_target: None,
            date: encode(&public.log.newest(&text).unwrap()),
        };
        refused(lab.call(from, &request))
    };
    assert_eq!(try_with(&mut lab, &mut public, o, None), "offer/Date/NoDate");
    let period = lab.build(o).policy.chain.trusting_period_secs;
    assert_eq!(try_with(&mut lab, &mut public, aside, Some(now + period + 1)), "offer/Date/SetAside");
    assert_eq!(dated(&mut lab, &mut public, now + period + 2), "date/SetAside");
    // A node that shows a date in time goes on: these witnesses are asked in the order of their dates.
    let mut honest = Public::new(&lab);
    assert_eq!(dated(&mut lab, &mut honest, now + period), OBEYED);
    assert_eq!(try_with(&mut lab, &mut honest, o, Some(now + 2 * period)), OBEYED);
}
