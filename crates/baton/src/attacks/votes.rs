//! Votes that were not won, or not on this build.

use anyhow::{Context, Result, bail};
use baton_chain::gov::{GOV_STORE, PLAN_KEY, UPGRADE_STORE, done_key, proposal_key};
use baton_chain::proofs::StateProof;
use baton_chain::record::Kind;
use baton_devnet::keys::{account_text, module_address};
use baton_devnet::sdk::{Coin, MsgSend, pack};
use baton_devnet::{ABSTAIN, Account, Devnet, Forgery, NO, NO_WITH_VETO, Text, YES};
use baton_enclave::wire::{OfferEvidence, Request};
use baton_host::chain::ChainSource;
use baton_host::gather::Gather;
use baton_host::relay::{self, Channel};
use baton_host::seat::Seat;

use super::Bench;
use super::scene::{Saved, Scene, carry_all, propose_into};
use crate::world::ops::trusted;

fn proposal_at(s: &Scene, id: u64, header: u64) -> Result<StateProof> {
    Ok(s.world.chain.state(GOV_STORE, &proposal_key(id), header)?)
}

/// A transaction that names the measurement, and no vote behind it.
pub fn a02(b: &mut Bench) -> Result<()> {
    let (mut s, passed) = Scene::passed(b)?;
    let mut n = s.seat(0, "v2", &s.v2.clone())?;
    // A proposal whose deposit was never paid: its transaction is in a block.
    let message = Devnet::upgrade_message("v2", s.pending_height()?, &Scene::info(&s.v2));
    s.world.chain.submit_proposal(Account::User(1), vec![message], &Text::titled("v2 again"), 0, false)?;
    s.world.produce()?;
    let never = s.world.chain.last_proposal();
    // Until its deposit period is over it is there and not PASSED; after it the chain forgets it.
    let outcome = s.try_ahead(&mut n, passed, |s, e| {
        let head = s.world.chain.height();
        e.proposal = proposal_at(s, never, head)?;
        Ok(())
    })?;
    b.refused("no-deposit", "a proposal in a block whose deposit nobody paid", "offer/Authorize/Vote/NotPassed", outcome);
    let outcome = s.try_ahead(&mut n, passed, |s, e| {
        let head = s.world.chain.height();
        e.proposal = proposal_at(s, never + 7, head)?;
        Ok(())
    })?;
    b.refused("never-made", "a proposal that was never made, by proof of absence", "offer/Authorize/Vote/NoProposal", outcome);
    let tx = s.world.publish(&Scene::info(&s.v2))?;
    let outcome = s.try_ahead(&mut n, passed, |s, e| {
        *e = s.ahead(passed, &tx)?;
        Ok(())
    })?;
    let check = "offer/Authorize/Publication/Record/NotARecord";
    b.refused("memo", "a memo that names the measurement, in place of the record", check, outcome);
    let asked = relay::ask(&mut s.o, &mut n, Kind::Upgrade, Channel::Local)?;
    let payment = MsgSend { amount: Vec::new(), ..MsgSend::default() };
    // The true record in a transaction that is signed, and that nobody ever sent.
    let unsent = s.world.chain.sign(Account::User(2), &[pack(&payment)], &asked.record(passed).encode());
    let tx = s.world.publish("something else")?;
    let mut evidence = s.ahead(passed, &tx)?;
    evidence.publication.tx = unsent;
    let outcome = offer_kept(&mut s, &asked, OfferEvidence::Ahead(evidence.to_cbor()))?;
    let check = "offer/Authorize/Publication/NotIncluded";
    b.refused("unsent", "the record in a transaction that is in no block", check, outcome);
    let outcome = s.try_ahead(&mut n, passed, |_, _| Ok(()))?;
    b.control("the honest handover", outcome);
    a02_at_x(b, &mut s, passed)
}

/// At X nothing needs a record, on one machine.
fn a02_at_x(b: &mut Bench, s: &mut Scene, passed: u64) -> Result<()> {
    let x = s.pending_height()?;
    s.world.produce_until(x)?;
    let mut far = s.seat(1, "v2", &s.v2.clone())?;
    let collateral = s.world.collateral()?;
    let channel = Channel::Quoted { collateral: &collateral };
    let asked = relay::ask(&mut s.o, &mut far, Kind::Upgrade, channel)?;
    let heights = trusted(&s.o.status()?);
    let evidence = Gather::new(&s.world.chain, &s.v1.policy.chain).at_x(&heights, passed, x)?.to_cbor();
    let outcome = offer_kept(s, &asked, OfferEvidence::AtX(evidence))?;
    b.refused("no-record", "at X to another machine, without a record", "offer/Authorize/NoRecord", outcome);
    Ok(())
}

/// Proposals that did not pass, beside one that did, and plans that are no longer pending.
pub fn a03(b: &mut Bench) -> Result<()> {
    let mut s = Scene::new(b)?;
    let mut n = s.seat(0, "v2", &s.v2.clone())?;
    let plan = s.plan_height(36);
    let info = Scene::info(&s.v2);
    let upgrade = || Devnet::upgrade_message("v2", plan, &info);
    let too_much = pack(&MsgSend {
        from_address: account_text(&module_address("gov")),
        to_address: account_text(&s.world.chain.address(Account::User(0))),
        amount: vec![Coin { denom: s.world.chain.config().denom.clone(), amount: "1000000000000".into() }],
    });
    let chain = &mut s.world.chain;
    let passed = propose_into(chain, vec![upgrade()], "v2")?;
    let failed = propose_into(chain, vec![upgrade(), too_much], "v2 and a payment")?;
    let rejected = propose_into(chain, vec![upgrade()], "v2 once more")?;
    carry_all(chain, &[(passed, YES), (failed, YES), (rejected, NO_WITH_VETO)])?;
    chain.produce_until(plan - 31)?;
    let cancel = propose_into(chain, vec![Devnet::cancel_message()], "no v2")?;
    let open = propose_into(chain, vec![upgrade()], "v2 a fourth time")?;
    chain.vote_all(cancel, YES)?;
    s.world.produce_until(plan - 19)?;
    for (case, id, what) in [
        ("failed", failed, "a proposal that people passed and whose messages FAILED"),
        ("rejected", rejected, "a proposal that was voted down with veto"),
        ("open", open, "a proposal that is still open"),
    ] {
        let asked = relay::ask(&mut s.o, &mut n, Kind::Upgrade, Channel::Local)?;
        let tx = s.record(&asked, id)?;
        // An open vote has no end yet; its host takes that of the other one.
        let mut evidence = s.ahead(if id == open { passed } else { id }, &tx)?;
        evidence.proposal = proposal_at(&s, id, tx.height)?;
        let outcome = offer_kept(&mut s, &asked, OfferEvidence::Ahead(evidence.to_cbor()))?;
        b.refused(case, what, "offer/Authorize/Vote/NotPassed", outcome);
    }
    let outcome = s.try_ahead(&mut n, passed, |_, _| Ok(()))?;
    b.control("the proposal that passed", outcome);
    s.world.chain.decide_proposal(cancel)?;
    s.world.produce()?;
    let outcome = s.try_ahead(&mut n, passed, |_, _| Ok(()))?;
    b.refused("cancelled", "a PASSED proposal whose plan was cancelled", "offer/Authorize/Vote/NoPlan", outcome);
    a03_superseded(b)
}

fn offer_kept(s: &mut Scene, asked: &relay::Asked, evidence: OfferEvidence) -> Result<Result<relay::Offered>> {
    let saved = Saved::of(&s.o)?;
    let outcome = relay::offer(&mut s.o, asked, evidence, Some(Channel::Local));
    saved.put_back(&mut s.o)?;
    Ok(outcome.map_err(Into::into))
}

/// A strong vote for v2, superseded by a plan for v3 that hardly anybody voted on.
fn a03_superseded(b: &mut Bench) -> Result<()> {
    let mut s = weak_chain(b)?;
    let strong = s.pass_v2(VOTE_AFTER_VOTE)?;
    vote_on_v3(&mut s, &[(3, YES)])?;
    let mut n = s.seat(0, "v2", &s.v2.clone())?;
    let outcome = s.try_ahead(&mut n, strong, |_, _| Ok(()))?;
    let check = "offer/Authorize/Vote/OtherPlan";
    b.refused("superseded", "v2 by its PASSED proposal, superseded by a later plan", check, outcome);
    let mut n = s.seat(0, "v3", &s.v3.clone())?;
    let outcome = s.try_ahead(&mut n, strong, |_, _| Ok(()))?;
    b.refused("borrowed", "the pending plan, carried by the votes for another one", check, outcome);
    Ok(())
}

/// Room for a second vote before the first plan's height.
const VOTE_AFTER_VOTE: u64 = 45;
/// A lead window that is open from one vote to the next.
const WIDE_WINDOW: u64 = 60;

/// A chain whose own parameters let any proposal pass.
fn weak_chain(b: &Bench) -> Result<Scene> {
    let mut s = Scene::with(b, |p| p.chain.lead_blocks = WIDE_WINDOW)?;
    let mut params = s.world.chain.gov_params();
    (params.quorum, params.threshold, params.veto_threshold) = ("0.01".into(), "0.01".into(), "1".into());
    let message = Devnet::gov_params_message(params);
    let id = propose_into(&mut s.world.chain, vec![message], "weaker")?;
    s.world.chain.carry(id, YES)?;
    if s.world.chain.gov_params().quorum.trim_end_matches('0') != "0.01" {
        bail!("the chain did not take the weaker parameters");
    }
    Ok(s)
}

/// Carries a plan for v3 with these votes, by validators' numbers.
fn vote_on_v3(s: &mut Scene, votes: &[(usize, i32)]) -> Result<u64> {
    let (height, info) = (s.plan_height(VOTE_AFTER_VOTE), Scene::info(&s.v3));
    let id = s.propose("v3", height, &info)?;
    for (validator, option) in votes {
        s.world.chain.vote(Account::Validator(*validator), id, *option)?;
    }
    s.world.chain.decide_proposal(id)?;
    s.world.produce()?;
    let pending = s.world.chain.plan().context("the chain's weaker bars did not let it pass")?;
    if pending.name != "v3" {
        bail!("plan {} is pending, not v3", pending.name);
    }
    Ok(id)
}

/// The chain says PASSED by its own weakened bars; the enclave has bars of its own.
pub fn a20(b: &mut Bench) -> Result<()> {
    let mut s = weak_chain(b)?;
    let mut n = s.seat(0, "v3", &s.v3.clone())?;
    // Powers are 100, 85, 70, 55 of 310.
    for (case, votes, what, check) in [
        ("quorum", &[(3, YES)][..], "PASSED with a turnout of 18 %", "offer/Authorize/Vote/Quorum"),
        ("threshold", &[(0, YES), (1, NO), (2, NO), (3, ABSTAIN)], "PASSED with 39 % in favour", "offer/Authorize/Vote/Threshold"),
        ("veto", &[(0, YES), (1, YES), (2, NO_WITH_VETO), (3, NO_WITH_VETO)], "PASSED against 40 % of vetoes", "offer/Authorize/Vote/Vetoed"),
    ] {
        let id = vote_on_v3(&mut s, votes)?;
        let outcome = s.try_ahead(&mut n, id, |_, _| Ok(()))?;
        b.refused(case, what, check, outcome);
    }
    let id = vote_on_v3(&mut s, &[(0, YES), (1, YES)])?;
    let outcome = s.try_ahead(&mut n, id, |_, _| Ok(()))?;
    b.control("a vote that meets the policy's bars", outcome);
    a20_power(b, &mut s, &mut n)
}

/// A turnout of 18 %, measured against less power than there was at the end of the vote.
fn a20_power(b: &mut Bench, s: &mut Scene, n: &mut Seat) -> Result<()> {
    let id = vote_on_v3(s, &[(3, YES)])?;
    for (validator, power) in [(0, 90), (1, 80), (2, 65)] {
        s.world.chain.undelegate(Account::Validator(validator), validator, power * 1_000_000)?;
    }
    s.world.produce_until(s.world.chain.height() + 4)?;
    let later = s.world.chain.height();
    let outcome = s.try_ahead(n, id, |s, e| {
        let at = s.block(later)?;
        e.vote_end.validators.clone_from(&at.validators);
        e.vote_end.before = s.block(later - 1)?;
        e.vote_end.at.path.blocks = vec![at];
        Ok(())
    })?;
    let check = "offer/Authorize/Vote/VoteEnd";
    b.refused("other-time", "18 % of the power, weighed at a later, smaller set", check, outcome);
    let outcome = s.try_ahead(n, id, |s, e| {
        let forgery = Forgery { height: 2, validators: Some(vec![(3, 55)]), ..Forgery::default() };
        e.vote_end.validators = s.world.chain.forge(&forgery)?.validators;
        Ok(())
    })?;
    let check = "offer/Authorize/Vote/Power/ValidatorsHash";
    b.refused("other-set", "the same, weighed against a set of the host's own", check, outcome);
    Ok(())
}

/// Two passed plans share name and height; the chain ran the second.
pub fn a23(b: &mut Bench) -> Result<()> {
    let mut s = Scene::new(b)?;
    let x = s.plan_height(18);
    let (to_v2, to_v3) = (Scene::info(&s.v2), Scene::info(&s.v3));
    let first = s.propose("v2", x, &to_v2)?;
    let chain = &mut s.world.chain;
    chain.vote_all(first, YES)?;
    chain.produce_until(chain.height() + 5)?;
    let second = propose_into(chain, vec![Devnet::upgrade_message("v2", x, &to_v3)], "v2, corrected")?;
    chain.vote_all(second, YES)?;
    chain.decide_proposal(first)?;
    s.world.produce()?;
    let mut n = s.seat(0, "v2", &s.v2.clone())?;
    s.hand_over(&mut n, first)?;
    s.world.chain.decide_proposal(second)?;
    s.world.produce_until(x)?;
    let evidence = s.at_x(&mut n, &s.v2.clone(), first, x)?;
    let outcome = n.call(&Request::Activate { evidence });
    let check = "activate/Authorize/Vote/OtherPlan";
    b.refused("activate", "the superseded build shows its own PASSED proposal at X", check, outcome);
    let evidence = s.at_x(&mut n, &s.v2.clone(), second, x)?;
    let outcome = n.call(&Request::Activate { evidence });
    let check = "activate/Authorize/NotThisBuild";
    b.refused("other-build", "the superseded build shows the plan that ran, which names another", check, outcome);
    s.world.chain.resume_with_handler("v2")?;
    s.world.produce_until(x + 2)?;
    let asked = relay::ask(&mut s.o, &mut n, Kind::Upgrade, Channel::Local)?;
    let trusted = trusted(&s.o.status()?);
    let mut late = Gather::new(&s.world.chain, &s.v1.policy.chain).at_x(&trusted, first, x + 1)?;
    late.plan = s.world.chain.state(UPGRADE_STORE, &done_key(x, "v2"), x + 1)?;
    let outcome = offer_kept(&mut s, &asked, OfferEvidence::AtX(late.to_cbor()))?;
    b.refused("done-key", "PASSED proposal and done key, without the plan at X", "offer/Authorize/Vote/WrongKey", outcome);
    late.plan = s.world.chain.state(UPGRADE_STORE, PLAN_KEY, x + 1)?;
    let asked = relay::ask(&mut s.o, &mut n, Kind::Upgrade, Channel::Local)?;
    let outcome = offer_kept(&mut s, &asked, OfferEvidence::AtX(late.to_cbor()))?;
    b.refused("after-x", "PASSED proposal under a header after X", "offer/Authorize/Vote/NoPlan", outcome);
    Ok(())
}

/// Texts that two readers understand differently, each of them really voted on.
pub fn a24(b: &mut Bench) -> Result<()> {
    let mut s = Scene::with(b, |p| p.chain.lead_blocks = WIDE_WINDOW)?;
    let mut n = s.seat(0, "v2", &s.v2.clone())?;
    let (m2, m3) = (s.v2.measurement, s.v3.measurement);
    let cases = [
        ("duplicate", format!(r#"{{"enclave":{{"mrenclave":"{m3}","mrenclave":"{m2}"}}}}"#), "the key mrenclave twice, for two builds", "DuplicateKey"),
        ("letter-case", format!(r#"{{"Enclave":{{"mrenclave":"{m3}"}},"enclave":{{"mrenclave":"{m2}"}}}}"#), "another letter case for another build", "LetterCase"),
        ("both-forms", format!(r#"{{"enclave":{{"mrenclave":"{m2}"}},"note":"MREnclaveHash:{m3}"}}"#), "JSON and legacy form in one text", "BothForms"),
        ("url", format!("https://example.org/{m2}.json"), "a bare URL", "Url"),
    ];
    for (case, info, what, check) in cases {
        let height = s.plan_height(VOTE_AFTER_VOTE);
        let id = s.pass("v2", height, &info)?;
        s.world.produce()?;
        let outcome = s.try_ahead(&mut n, id, |_, _| Ok(()))?;
        b.refused(case, what, &format!("offer/Authorize/Vote/Info/{check}"), outcome);
    }
    Ok(())
}
