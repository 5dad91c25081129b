//! One story for each way that a handover can go, with the hazard that it proves in its name.

use baton_chain::record::Kind;
use baton_core::custody::State;

use baton_enclave::wire::Request;

use crate::lab::{B, Fault, GRACE, Lab};

/// A lab with a plan for v2, in its lead window.
fn planned() -> (Lab, crate::lab::Plan) {
    let mut lab = Lab::new();
    let plan = lab.schedule(Some(B::V2), 10).unwrap();
    (lab, plan)
}

fn cells(lab: &mut Lab, machine: usize) -> (usize, usize) {
    (lab.cell(machine, B::V1), lab.cell(machine, B::V2))
}

#[test]
fn rule6_a_handover_ahead_of_x_ends_with_the_old_copies_erased() {
    let (mut lab, plan) = planned();
    for m in [0, 1] {
        let (o, n) = cells(&mut lab, m);
        lab.ahead(o, n, plan.id).unwrap();
        assert_eq!((lab.state(o), lab.state(n)), (State::Confirmed, State::Received));
        assert!(lab.status(o).serving && !lab.status(n).serving);
    }
    finish(&mut lab, &plan);
}

/// From confirmed copies on both machines to the erase.
fn finish(lab: &mut Lab, plan: &crate::lab::Plan) {
    lab.produce_until(plan.height);
    for m in [0, 1] {
        let (_, n) = cells(lab, m);
        lab.activate(n, plan.id, plan.height).unwrap();
        assert!(lab.status(n).serving);
        let refused = lab.barrier_receipt(n, n, false).unwrap_err().check();
        assert_eq!(refused, "barrier receipt/NotDone");
    }
    lab.resume();
    lab.produce_until(plan.height + GRACE);
    for m in [0, 1] {
        let (_, n) = cells(lab, m);
        lab.rehearse_onward(n).unwrap();
        // Past the grace and rehearsed, but no head has shown it the done key: the plan could still be passed over.
        lab.advance(n);
        assert!(lab.status(n).head_height >= plan.height + GRACE);
        let refused = lab.barrier_receipt(n, n, false).unwrap_err().check();
        assert_eq!(refused, "barrier receipt/NotDone");
        lab.observe(n, plan).unwrap();
    }
    for m in [0, 1] {
        let (o, n) = cells(lab, m);
        let receipts = receipts(lab, o, n);
        lab.erase(o, receipts).unwrap();
        assert_eq!(lab.state(o), State::Retired);
        assert!(!lab.holds(o));
        lab.start(o).unwrap();
        assert_eq!(lab.state(o), State::Retired, "after a restart");
    }
}

fn receipts(lab: &mut Lab, o: usize, own: usize) -> Vec<baton_enclave::wire::AttestedReceipt> {
    let mut out = vec![lab.barrier_receipt(own, o, true).unwrap()];
    for m in [0, 1] {
        let n = lab.cell(m, B::V2);
        out.push(lab.barrier_receipt(n, o, false).unwrap());
    }
    out
}

#[test]
fn rule6_a_late_node_hands_over_at_x_without_a_record_and_h13_another_joins_a_peer() {
    let (mut lab, plan) = planned();
    lab.produce_until(plan.height);
    let (o, n) = cells(&mut lab, 0);
    lab.at_x(o, n, plan.id, plan.height).unwrap();
    assert!(!lab.status(o).transfers[0].recorded || lab.status(o).transfers.len() > 1);
    lab.activate(n, plan.id, plan.height).unwrap();
    lab.resume();
    lab.produce_until(plan.height + 40);
    lab.observe(n, &plan).unwrap();
    // A week late or a machine without any copy: one command, from any peer of the new build.
    let late = lab.cell(1, B::V2);
    lab.join(n, late).unwrap();
    assert_eq!(lab.state(late), State::Received);
    lab.activate(late, plan.id, plan.height).unwrap();
    assert!(lab.status(late).serving);
    // And the late old build walks the same route, on its own machine, for ever.
    let (o, other) = (lab.cell(1, B::V1), lab.another_cell(1, B::V2));
    lab.at_x(o, other, plan.id, plan.height).unwrap();
    assert_eq!(lab.state(o), State::Confirmed);
}

#[test]
fn rule6_a_view_from_before_x_takes_no_promise_back_that_was_made_at_x() {
    let mut lab = Lab::new();
    let before = lab.chain.height();
    let plan = lab.schedule(Some(B::V2), 3).unwrap();
    lab.produce_until(plan.height);
    let (o, n) = cells(&mut lab, 0);
    // The old enclave's head is below the vote: only header X was shown to it.
    assert!(lab.status(o).head_height <= before);
    lab.at_x(o, n, plan.id, plan.height).unwrap();
    assert_eq!(lab.state(o), State::Confirmed);
    let trusted = lab.trusted(o);
    let old = lab.gather(o).standing(&trusted, &plan.name, plan.height, before).unwrap().to_cbor();
    let refused = lab.call(o, &Request::Observe { evidence: old }).map(|_| ()).unwrap_err().check();
    assert_eq!((refused.as_str(), lab.state(o)), ("observe/OldView", State::Confirmed));
}

#[test]
fn rule3_a_done_key_that_was_seen_once_is_no_proof_for_a_later_head() {
    let (mut lab, plan) = planned();
    for m in [0, 1] {
        let (o, n) = cells(&mut lab, m);
        lab.ahead(o, n, plan.id).unwrap();
    }
    lab.produce_until(plan.height);
    for m in [0, 1] {
        let (_, n) = cells(&mut lab, m);
        lab.activate(n, plan.id, plan.height).unwrap();
    }
    lab.resume();
    lab.produce_until(plan.height + 1);
    for m in [0, 1] {
        let (_, n) = cells(&mut lab, m);
        lab.rehearse_onward(n).unwrap();
        lab.observe(n, &plan).unwrap();
    }
    // Heads go on. On a chain that was rolled back to X and passed over the plan, they would as well.
    lab.produce_until(plan.height + GRACE + 1);
    for m in [0, 1] {
        let (_, n) = cells(&mut lab, m);
        lab.advance(n);
    }
    let (o, n) = cells(&mut lab, 0);
    let early = receipts(&mut lab, o, n);
    assert_eq!(lab.erase(o, early).unwrap_err().check(), "erase/Barrier/Grace");
    for m in [0, 1] {
        let (_, n) = cells(&mut lab, m);
        lab.observe(n, &plan).unwrap();
    }
    let now = receipts(&mut lab, o, n);
    lab.erase(o, now).unwrap();
}

#[test]
fn rule5_a_cancelled_plan_revokes_and_the_copy_is_holding_again() {
    let (mut lab, plan) = planned();
    let (o, n) = cells(&mut lab, 0);
    lab.ahead(o, n, plan.id).unwrap();
    lab.cancel().unwrap();
    lab.produce_until(lab.chain.height() + 1);
    lab.observe(o, &plan).unwrap();
    assert_eq!(lab.state(o), State::Holding);
    let asked = lab.ask(o, n, Kind::Upgrade).unwrap();
    let tx = lab.publish(&asked.record).unwrap();
    let head = lab.chain.height();
    assert!(lab.offer_ahead(&asked, plan.id, &tx, head).is_err(), "a PASSED proposal is not a plan");
    lab.produce_until(plan.height + 2);
    lab.observe(n, &plan).unwrap();
    assert_eq!(lab.state(n), State::Empty, "the new copy is void");
    // H10: everything can be repeated; the next plan finds nothing in its way.
    let again = lab.schedule(Some(B::V2), 10).unwrap();
    lab.ahead(o, n, again.id).unwrap();
    assert_eq!((lab.state(o), lab.state(n)), (State::Confirmed, State::Received));
}

#[test]
fn rule5_a_plan_cancelled_in_the_last_block_is_void_and_joins_go_on() {
    let mut lab = Lab::new();
    let height = lab.chain.height() + 30;
    let plan = lab.schedule_named("last-moment", Some(B::V2), height).unwrap();
    // The cancellation is decided in the block just below the plan's height.
    let blocks = {
        let mut fork = lab.clone();
        let before = fork.chain.height();
        fork.cancel().unwrap();
        fork.chain.height() - before
    };
    lab.produce_until(height - 1 - blocks);
    let (o, n) = cells(&mut lab, 0);
    lab.cancel().unwrap();
    assert_eq!(lab.chain.height(), height - 1);
    lab.at_x(o, n, plan.id, height - 1).unwrap();
    lab.activate(n, plan.id, height - 1).unwrap();
    lab.produce_until(height);
    assert!(lab.chain.halted().is_none());
    lab.observe(o, &plan).unwrap();
    assert_eq!(lab.state(o), State::Holding);
    let refused = lab.at_x(o, n, plan.id, height - 1).unwrap_err().check();
    assert_eq!(refused, "offer/Void/PlanIsVoid", "what was seen to be void is not offered for again");
    let peer = lab.another_cell(1, B::V1);
    lab.join(o, peer).unwrap();
    lab.produce_until(height + 2);
    lab.observe(n, &plan).unwrap();
    assert_eq!(lab.state(n), State::Empty);
}

#[test]
fn rule5_a_later_plan_supersedes() {
    let (mut lab, first) = planned();
    let (o, n) = cells(&mut lab, 0);
    lab.ahead(o, n, first.id).unwrap();
    let second = lab.schedule(Some(B::V3), 10).unwrap();
    let n3 = lab.cell(0, B::V3);
    lab.ahead(o, n3, second.id).unwrap();
    let successor = lab.status(o).successor.unwrap();
    assert_eq!(successor.measurement, lab.builds[&B::V3].measurement);
    // The first one is over, however it is shown.
    let asked = lab.ask(o, n, Kind::Upgrade).unwrap();
    let tx = lab.publish(&asked.record).unwrap();
    let head = lab.chain.height();
    assert!(lab.offer_ahead(&asked, first.id, &tx, head).is_err());
    lab.produce_until(second.height);
    assert!(lab.activate(n, first.id, second.height).is_err(), "a superseded build never serves");
    lab.activate(n3, second.id, second.height).unwrap();
}

#[test]
fn h20_a_skipped_upgrade_leaves_the_old_copy_holding_and_voids_the_new_one() {
    let (mut lab, plan) = planned();
    let (o, n) = cells(&mut lab, 0);
    lab.ahead(o, n, plan.id).unwrap();
    let (o1, n1) = cells(&mut lab, 1);
    lab.ahead(o1, n1, plan.id).unwrap();
    lab.produce_until(plan.height);
    lab.activate(n, plan.id, plan.height).unwrap();
    lab.chain.skip_upgrade().unwrap();
    lab.produce_until(plan.height + 2);
    for cell in [o, o1, n, n1] {
        lab.observe(cell, &plan).unwrap();
    }
    assert_eq!((lab.state(o), lab.state(o1)), (State::Holding, State::Holding));
    assert_eq!((lab.state(n), lab.state(n1)), (State::Empty, State::Empty), "activated by header X or not");
    // Header X can be shown for ever, and O has seen better.
    assert_eq!(lab.at_x(o, n, plan.id, plan.height).unwrap_err().check(), "offer/Void/PlanIsVoid");
    assert_eq!(lab.activate(n, plan.id, plan.height).unwrap_err().check(), "activate/Void/PlanIsVoid");
}

#[test]
fn h20_a_copy_that_saw_the_done_key_is_never_voided_and_one_in_doubt_exports_nothing() {
    let (mut lab, plan) = planned();
    let (o, n) = cells(&mut lab, 0);
    lab.ahead(o, n, plan.id).unwrap();
    lab.produce_until(plan.height);
    lab.activate(n, plan.id, plan.height).unwrap();
    let mut skipped = lab.clone();
    lab.resume();
    lab.produce_until(plan.height + 2);
    lab.observe(n, &plan).unwrap();
    skipped.chain.skip_upgrade().unwrap();
    skipped.produce_until(plan.height + 4);
    let peer = skipped.cell(1, B::V2);
    assert_eq!(skipped.join(n, peer).unwrap_err().check(), "offer/InDoubt");
    assert!(skipped.status(n).serving, "serving is never taken away");
    // Even a fork that more than two thirds sign does not void a copy that has seen the done key.
    skipped.cells[n].disk = lab.cells[n].disk.clone();
    skipped.kill(n);
    let _ = skipped.observe(n, &plan);
    assert!(skipped.status(n).serving);
}

#[test]
fn rule6_a_copy_that_promised_itself_onward_still_learns_that_its_own_plan_is_done() {
    let (mut lab, first) = planned();
    let (o, n) = cells(&mut lab, 0);
    lab.ahead(o, n, first.id).unwrap();
    lab.produce_until(first.height);
    lab.activate(n, first.id, first.height).unwrap();
    lab.resume();
    lab.produce_until(first.height + GRACE);
    lab.observe(n, &first).unwrap();
    let second = lab.schedule(Some(B::V3), 10).unwrap();
    let n3 = lab.cell(0, B::V3);
    lab.ahead(n, n3, second.id).unwrap();
    lab.observe(n, &first).unwrap();
    assert_eq!(lab.state(n), State::Confirmed, "its promise stands");
    lab.observe(n, &second).unwrap();
    lab.barrier_receipt(n, o, true).unwrap();
}

#[test]
fn rule6_a_lost_offer_a_lost_receipt_and_a_restarted_source_are_tried_again() {
    let (mut lab, plan) = planned();
    let (o, n) = cells(&mut lab, 0);
    // The offer is lost, with the source's memory.
    let asked = lab.ask(o, n, Kind::Upgrade).map(|mut a| { a.record.proposal_id = plan.id; a }).unwrap();
    let tx = lab.publish(&asked.record).unwrap();
    lab.offer_ahead(&asked, plan.id, &tx, tx.height).unwrap();
    lab.kill(o);
    let stale = lab.offer_ahead(&asked, plan.id, &tx, tx.height).unwrap_err().check();
    assert_eq!(stale, "offer/UnknownNonce", "a nonce dies with its instance");
    // The receipt is lost; a second one answers a new challenge, and an old one nothing.
    let o2 = {
        let mut asked = lab.ask(o, n, Kind::Upgrade).unwrap();
        asked.record.proposal_id = plan.id;
        let tx = lab.publish(&asked.record).unwrap();
        lab.offer_ahead(&asked, plan.id, &tx, tx.height).unwrap()
    };
    lab.accept(&o2).unwrap();
    let (old, attestation) = lab.receipt(&o2).unwrap();
    lab.start(o).unwrap();
    lab.confirm(&o2).unwrap();
    assert_eq!(lab.state(o), State::Confirmed);
    let late = baton_enclave::wire::Request::Confirm { receipt: old, attestation };
    assert!(lab.call(o, &late).is_err(), "A15: an old nonce");
}

#[test]
fn rule6_two_targets_for_one_source_are_harmless() {
    let (mut lab, plan) = planned();
    let (o, n) = cells(&mut lab, 0);
    let second = lab.another_cell(0, B::V2);
    lab.ahead(o, n, plan.id).unwrap();
    lab.ahead(o, second, plan.id).unwrap();
    assert_eq!(lab.state(o), State::Confirmed);
    lab.produce_until(plan.height);
    for cell in [n, second] {
        lab.activate(cell, plan.id, plan.height).unwrap();
    }
}

#[test]
fn a15_the_instance_that_wrote_the_keyring_cannot_prove_it() {
    let (mut lab, plan) = planned();
    let (o, n) = cells(&mut lab, 0);
    let mut asked = lab.ask(o, n, Kind::Upgrade).unwrap();
    asked.record.proposal_id = plan.id;
    let tx = lab.publish(&asked.record).unwrap();
    let offered = lab.offer_ahead(&asked, plan.id, &tx, tx.height).unwrap();
    lab.accept(&offered).unwrap();
    let challenge = baton_enclave::wire::Request::Challenge { transcript: offered.transcript };
    let baton_enclave::wire::Reply::Message { message, .. } = lab.call(o, &challenge).unwrap() else { panic!() };
    assert_eq!(lab.prove(&offered, message).unwrap_err().check(), "prove/NotRestarted");
    assert_eq!(lab.state(o), State::Offered);
}

#[test]
fn h11_a_kill_at_any_write_of_a_handover_loses_nothing() {
    for fault in [Fault::BeforeWrite, Fault::AfterWrite] {
        for at in 0..12 {
            let (mut lab, plan) = planned();
            let (o, n) = cells(&mut lab, 0);
            lab.start(n).unwrap();
            let mut left = at;
            let outcome = with_fault(&mut lab, fault, &mut left, |l| l.ahead(o, n, plan.id).map(|_| ()));
            assert!(lab.holds(o), "{fault:?} at write {at}");
            if outcome.is_err() {
                lab.ahead(o, n, plan.id).unwrap();
            }
            assert_eq!((lab.state(o), lab.state(n)), (State::Confirmed, State::Received), "{fault:?} at {at}");
        }
    }
}

/// Runs with a fault armed for one write, counted from now.
fn with_fault(
    lab: &mut Lab,
    fault: Fault,
    after: &mut usize,
    run: impl FnOnce(&mut Lab) -> crate::lab::Result<()>,
) -> crate::lab::Result<()> {
    lab.fault = Some(fault);
    lab.fault_after = *after;
    let out = run(lab);
    lab.fault = None;
    out
}

#[test]
fn rule6_a_plan_without_a_build_and_one_for_the_running_build_hand_nothing_over() {
    for build in [None, Some(B::V1)] {
        let mut lab = Lab::new();
        let plan = lab.schedule(build, 10).unwrap();
        let (o, n) = cells(&mut lab, 0);
        let refused = lab.ahead(o, n, plan.id).unwrap_err().check();
        let expected = if build.is_none() { "offer/Authorize/NoBuild" } else { "offer/Authorize/NoOp" };
        assert_eq!(refused, expected);
        assert_eq!(lab.state(o), State::Holding);
        lab.produce_until(plan.height);
        lab.resume();
        lab.produce_until(plan.height + 2);
        assert!(lab.status(o).serving);
        let peer = lab.another_cell(1, B::V1);
        lab.join(o, peer).unwrap();
    }
}

#[test]
fn h02_a_custody_only_start_hands_over_with_the_app_off() {
    let (mut lab, plan) = planned();
    let (o, n) = cells(&mut lab, 0);
    lab.cells[o].custody_only = true;
    lab.start(o).unwrap();
    let put = baton_enclave::wire::Request::Put {
        under: baton_enclave::wire::Under::Seed,
        name: "a".into(),
        value: vec![1],
    };
    assert_eq!(lab.call(o, &put).unwrap_err().check(), "app/NoKey");
    lab.ahead(o, n, plan.id).unwrap();
    assert_eq!(lab.state(o), State::Confirmed);
}

#[test]
fn h19_a_chain_that_stood_still_for_a_year_still_hands_over() {
    let (mut lab, plan) = planned();
    let (o, n) = cells(&mut lab, 0);
    lab.chain.advance_time(std::time::Duration::from_secs(365 * 24 * 3600));
    lab.produce_until(plan.height);
    // H23: nothing of Intel's is asked on one machine, whatever the age of any collateral.
    lab.at_x(o, n, plan.id, plan.height).unwrap();
    lab.activate(n, plan.id, plan.height).unwrap();
    lab.resume();
    lab.produce_until(plan.height + 2);
    lab.observe(n, &plan).unwrap();
}

#[test]
fn h09_genesis_refuses_where_anything_sealed_exists_and_over_anything_held() {
    use baton_enclave::wire::Request;
    let mut lab = Lab::new();
    let o = lab.cell(0, B::V1);
    let before = lab.status(o).commitments;
    assert_eq!(lab.call(o, &Request::Genesis { found: vec![] }).unwrap_err().check(), "begin/State/WrongState");
    let fresh = lab.another_cell(0, B::V1);
    let refused = lab.call(fresh, &Request::Genesis { found: vec!["seed.sealed".into()] }).unwrap_err().check();
    assert_eq!(refused, "begin/SomethingSealed");
    let later = lab.cell(0, B::V2);
    let refused = lab.call(later, &Request::Genesis { found: vec![] }).unwrap_err().check();
    assert_eq!(refused, "begin/OtherOrigin", "a policy with commitments has no genesis");
    assert_eq!(lab.status(o).commitments, before);
}

#[test]
fn h10_a_rehearsal_file_that_does_not_open_stands_in_nobodys_way() {
    let mut lab = Lab::new();
    let (o, n) = cells(&mut lab, 0);
    lab.rehearse(o, n).unwrap();
    assert!(lab.status(n).rehearsed);
    lab.cells[n].disk.rehearsal.last_mut().unwrap().1.truncate(40);
    lab.start(n).unwrap();
    assert!(!lab.status(n).rehearsed);
    lab.rehearse(o, n).unwrap();
    assert!(lab.status(n).rehearsed);
    assert!(!lab.holds(n), "a rehearsal carries no seed");
}

#[test]
fn rule2_a_clones_file_does_not_pass_for_the_one_that_was_written() {
    use baton_enclave::wire::Request;
    let mut lab = Lab::new();
    let o = lab.cell(0, B::V1);
    let twin = lab.clone_cell(o);
    lab.produce_until(lab.chain.height() + 1);
    let head = lab.chain.height();
    let from = lab.status(o).head_height;
    let path = baton_attest::identity::encode(&lab.gather(o).path(from, head).unwrap());
    let a = lab.raw(o, &Request::Advance { path: path.clone() });
    let b = lab.raw(twin, &Request::LogStored { size: 1 });
    assert_eq!(a.store[0].generation, b.store[0].generation);
    let reply = lab.raw(o, &Request::Stored { files: b.store });
    let Some(baton_enclave::wire::Reply::Refused(r)) = reply.reply else { panic!("it passed") };
    assert_eq!(r.check, "stored/NotDurable");
    assert!(lab.raw(o, &Request::Stored { files: a.store }).reply.is_some_and(|r| matches!(r, baton_enclave::wire::Reply::Done)));
}
