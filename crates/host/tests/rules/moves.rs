//! What machines and phases do to a copy: firmware, torn files, foreign bytes, the move away from MRSIGNER.

use std::rc::Rc;

use baton_attest::identity::encode;
use baton_attest::pki::PlatformSpec;
use baton_chain::record::Kind;
use baton_core::custody::State;
use baton_core::legacy::seal_legacy;
use baton_core::policy::{Origin, Phase};
use baton_core::seal::SealPolicy;
use baton_enclave::shell::MAX_UNSTORED_ENTRIES;
use baton_enclave::sim::Machine;
use baton_enclave::wire::{OfferEvidence, Reply, Request, Response, Under};
use baton_host::link::Impostor;

use crate::lab::{B, Build, GRACE, Lab, Plan, policy};

/// Machine 0 with other firmware: the same fuses, another CPUSVN.
fn refit(lab: &mut Lab, cpu_svn: u8) {
    let mut machine = Machine::new(&lab.pki, "m0", &PlatformSpec::default()).unwrap();
    machine.cpu_mut().set_cpu_svn([cpu_svn; 16]);
    lab.machines[0] = Rc::new(machine);
    (0..lab.cells.len()).for_each(|c| lab.kill(c));
}

#[test]
fn h01_newer_firmware_opens_every_file_and_older_firmware_names_the_way_back() {
    let mut lab = Lab::new();
    let o = lab.cell(0, B::V1);
    refit(&mut lab, 9);
    lab.start(o).unwrap();
    assert!(lab.status(o).serving);
    // From here on its files are sealed for the newer firmware.
    let size = lab.status(o).log_size;
    lab.call(o, &Request::LogStored { size }).unwrap();
    let files = lab.cells[o].disk.custody.clone();
    refit(&mut lab, 8);
    let text = lab.start(o).unwrap_err().check();
    assert!(text.contains("downgraded") && text.contains("restore") && text.contains("rejoin"), "{text}");
    assert!(lab.cells[o].disk.custody == files, "nothing was written over");
    refit(&mut lab, 9);
    lab.start(o).unwrap();
    assert!(lab.status(o).serving);
}

#[test]
fn h11_a_torn_newest_file_leaves_the_older_generation_and_its_number_is_not_used_again() {
    let mut lab = Lab::new();
    let o = lab.cell(0, B::V1);
    let torn = lab.cells[o].disk.custody.last_mut().unwrap();
    let number = torn.0;
    torn.1.truncate(100);
    let text = lab.start(o).unwrap_err().check();
    assert!(text.contains("other generation") || text.contains("cut off"), "{text}");
    let files = &mut lab.cells[o].disk.custody;
    let torn = files.pop().unwrap();
    files.insert(0, torn); // What a host does that starts from the older one.
    lab.start(o).unwrap();
    assert!(lab.status(o).serving);
    let size = lab.status(o).log_size;
    let _ = lab.call(o, &Request::LogStored { size }).unwrap();
    assert!(lab.cells[o].disk.custody.last().unwrap().0 > number);
}

/// A whole request for an offer at X, which this instance of `o` would grant.
fn good_offer(lab: &mut Lab, o: usize, n: usize, plan: &Plan) -> Request {
    let asked = lab.ask(o, n, Kind::Upgrade).unwrap();
    let trusted = lab.trusted(o);
    let evidence = lab.gather(o).at_x(&trusted, plan.id, plan.height).unwrap().to_cbor();
    Request::Offer {
        request: asked.request,
        attestation: asked.attestation,
        evidence: OfferEvidence::AtX(evidence),
        report_target: None,
    }
}

#[test]
fn a21_changed_or_cut_requests_are_refused_or_mean_the_same_and_never_panic() {
    let mut lab = Lab::new();
    let plan = lab.schedule(Some(B::V2), 12).unwrap();
    lab.produce_until(plan.height);
    let (o, n) = (lab.cell(0, B::V1), lab.cell(0, B::V2));
    let before = lab.status(o);
    let target = lab.status(n).identity;
    let mut bytes = encode(&good_offer(&mut lab, o, n, &plan));
    let (mut at, mut step, mut same) = (0, 13, 0);
    while at < bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        let response: Response = minicbor::decode(&lab.raw_bytes(o, &changed)).expect("a response is always one");
        match response.reply {
            Some(Reply::Refused(_)) => {}
            // Signatures beyond two thirds, and all of a block of which only the header counts, are not read.
            None => {
                assert_eq!(lab.status(o).successor, Some(target), "byte {at}");
                lab.kill(o);
                bytes = encode(&good_offer(&mut lab, o, n, &plan));
                same += 1;
            }
            other => panic!("byte {at} of {}: {other:?}", bytes.len()),
        }
        lab.raw_bytes(o, &bytes[..at.min(bytes.len())]);
        at += step;
        step = step % 97 + 13;
    }
    assert!(same * 3 < bytes.len() / 60, "{same} changed requests were granted");
    assert_eq!(lab.status(o), before);
    let good: Request = minicbor::decode(&bytes).unwrap();
    lab.call(o, &good).unwrap();
    assert_eq!(lab.state(o), State::Offered);
}

/// The seed that the network's old enclave kept.
const OLD_SEED: [u8; 32] = [0x42; 32];

/// v1 in `shadow` over a legacy file on machine 0.
fn shadow() -> (Lab, usize) {
    let mut lab = Lab::with_origin(Origin::Legacy, Phase::Shadow);
    let o = lab.cell(0, B::V1);
    let mut platform = Impostor::of(&lab.launcher(0), &lab.builds[&B::V1].image).unwrap();
    let file = seal_legacy(&mut platform, SealPolicy::Mrsigner, &OLD_SEED, b"").unwrap();
    lab.call(o, &Request::ImportLegacy { file: file.clone() }).unwrap();
    let again = lab.call(o, &Request::ImportLegacy { file }).unwrap_err().check();
    assert_eq!(again, "begin/State/WrongState");
    lab.successors(o, Phase::Shadow);
    (lab, o)
}

/// One upgrade in shadow: inherit, serve, hand over, compare.
fn shadow_upgrade(lab: &mut Lab, from: usize, to: B) -> usize {
    let plan = lab.schedule(Some(to), 10).unwrap();
    let n = lab.cell(0, to);
    let file = lab.cells[from].disk.custody.last().unwrap().1.clone();
    lab.call(n, &Request::Inherit { file }).unwrap();
    assert!(lab.status(n).serving, "serving waits for nothing in shadow");
    lab.ahead(from, n, plan.id).unwrap();
    lab.produce_until(plan.height);
    lab.activate(n, plan.id, plan.height).unwrap();
    lab.resume();
    lab.produce_until(plan.height + GRACE);
    lab.observe(n, &plan).unwrap();
    assert_eq!(lab.state(from), State::Confirmed);
    let refused = lab.erase(from, vec![]).unwrap_err().check();
    assert_eq!(refused, "erase/Barrier/Shadow");
    n
}

#[test]
fn h05_shadow_upgrades_inherit_compare_and_count_and_stay_exposed() {
    let (mut lab, o) = shadow();
    assert_eq!(lab.status(o).exposed, [0]);
    let n = shadow_upgrade(&mut lab, o, B::V2);
    assert_eq!(lab.status(n).clean_shadow_upgrades, 1);
    // The same handover once more is still one upgrade.
    let plan = lab.plans[0].clone();
    lab.at_x(o, n, plan.id, plan.height).unwrap();
    assert_eq!(lab.status(n).clean_shadow_upgrades, 1);
    let n3 = shadow_upgrade(&mut lab, n, B::V3);
    let status = lab.status(n3);
    assert_eq!((status.clean_shadow_upgrades, status.exposed), (2, vec![0]));
    assert_eq!(status.commitments, lab.status(o).commitments);
}

#[test]
fn a27_a_file_under_mrsigner_opens_for_whoever_the_signer_signs_and_says_exposed() {
    let (mut lab, o) = shadow();
    let never_voted = lab.cell(0, B::V3);
    let file = lab.cells[o].disk.custody.last().unwrap().1.clone();
    lab.call(never_voted, &Request::Inherit { file }).unwrap();
    let status = lab.status(never_voted);
    assert!(status.serving && status.exposed == [0], "shown for what it is, not refused");
    let other_signer = lab.cell(0, B::Unlisted);
    let file = lab.cells[o].disk.custody.last().unwrap().1.clone();
    assert!(lab.call(other_signer, &Request::Inherit { file }).is_err());
}

#[test]
fn rule1_a_build_in_phase_mrenclave_inherits_nothing() {
    let mut lab = Lab::new();
    let (o, n) = (lab.cell(0, B::V1), lab.cell(0, B::V2));
    let file = lab.cells[o].disk.custody.last().unwrap().1.clone();
    assert_eq!(lab.call(n, &Request::Inherit { file }).unwrap_err().check(), "begin/NotShadow");
    // And what v1 sealed under MRENCLAVE opens for no build in shadow either.
    let p = policy(&lab.chain, &lab.pki, lab.build(n).policy.origin.clone(), 3, Phase::Shadow);
    Rc::get_mut(&mut lab.builds).unwrap().insert(B::V3, Build::new("shadow", p, 1, 3));
    let s = lab.cell(0, B::V3);
    let file = lab.cells[o].disk.custody.last().unwrap().1.clone();
    assert_eq!(lab.call(s, &Request::Inherit { file }).unwrap_err().check(), "begin/Open/OtherMeasurement");
    assert!(!lab.holds(s));
}

#[test]
fn rule2_a_legacy_file_of_another_seed_is_caught_by_the_commitment() {
    let (mut lab, _) = shadow();
    let n = lab.cell(0, B::V2);
    let stranger = lab.another_cell(0, B::V1);
    let mut platform = Impostor::of(&lab.launcher(0), &lab.builds[&B::V1].image).unwrap();
    let file = seal_legacy(&mut platform, SealPolicy::Mrsigner, &[0x43; 32], b"").unwrap();
    lab.call(stranger, &Request::ImportLegacy { file }).unwrap();
    let file = lab.cells[stranger].disk.custody.last().unwrap().1.clone();
    let refused = lab.call(n, &Request::Inherit { file }).unwrap_err().check();
    assert_eq!(refused, "begin/Commitment/Mismatch");
    assert_eq!(lab.state(n), State::Empty);
}

#[test]
fn h10_a_log_that_nobody_stores_stops_the_steps_that_write_to_it_and_nothing_else() {
    let mut lab = Lab::new();
    let o = lab.cell(0, B::V1);
    let n = lab.another_cell(1, B::V1);
    let asked = lab.ask(o, n, Kind::Join).unwrap();
    let tx = lab.publish(&asked.record).unwrap();
    let text = loop {
        if let Err(e) = lab.offer_join(&asked, &tx) {
            break e.check();
        }
        assert!(lab.status(o).log_size <= MAX_UNSTORED_ENTRIES as u64 + 1);
    };
    assert!(text.contains("LogNotStored"), "{text}");
    let served = Request::Locate { under: Under::Seed, name: "k".into(), epoch: 0 };
    lab.call(o, &served).unwrap();
    let size = lab.status(o).log_size;
    lab.call(o, &Request::LogStored { size }).unwrap();
    lab.offer_join(&asked, &tx).unwrap();
}
