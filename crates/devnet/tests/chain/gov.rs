//! Proposals: every way to end.

use baton_devnet::sdk::{GovParams, MsgSoftwareUpgrade, Plan, pack};
use baton_devnet::{ABSTAIN, Account, Devnet, NO, NO_WITH_VETO, Text, YES, keys};

use crate::support::{FAILED, PASSED, REJECTED, chain, pass, proposal, propose, proven};

const UNIT: u64 = 1_000_000;

/// Lets validator i cast vote i of the list, if there is one, and waits for the end.
fn vote(chain: &mut Devnet, id: u64, votes: &[Option<i32>]) {
    for (index, option) in votes.iter().enumerate() {
        if let Some(option) = option {
            chain.vote(Account::Validator(index), id, *option).unwrap();
        }
    }
    chain.produce_block().unwrap();
    chain.decide_proposal(id).unwrap();
}

fn tally(chain: &Devnet, id: u64) -> [String; 4] {
    let tally = proposal(chain, id).final_tally_result.unwrap();
    [
        tally.yes_count,
        tally.abstain_count,
        tally.no_count,
        tally.no_with_veto_count,
    ]
}

fn plan_name(chain: &Devnet) -> Option<String> {
    chain.plan().map(|plan| plan.name)
}

#[test]
fn a_won_vote_schedules_its_plan() {
    let mut chain = chain();
    let id = propose(&mut chain, "v2", 1_000);
    assert_eq!(proposal(&chain, id).status, 2);
    assert_eq!(tally(&chain, id), ["0", "0", "0", "0"]);
    assert_eq!(chain.plan(), None);
    vote(
        &mut chain,
        id,
        &[Some(YES), Some(YES), Some(NO), Some(ABSTAIN)],
    );
    assert_eq!(proposal(&chain, id).status, PASSED);
    assert_eq!(
        tally(&chain, id),
        ["170000000", "25000000", "40000000", "0"]
    );
    let plan = chain.plan().unwrap();
    assert_eq!(
        (plan.name.as_str(), plan.height, plan.info.as_str()),
        ("v2", 1_000, "{}")
    );
    assert_eq!(plan.time.unwrap().seconds, -62_135_596_800);
}

#[test]
fn a_vote_is_decided_in_the_first_block_at_or_after_its_end() {
    let mut chain = chain();
    let id = propose(&mut chain, "v2", 1_000);
    let end = proposal(&chain, id).voting_end_time.unwrap();
    vote(&mut chain, id, &[Some(YES), Some(YES)]);
    let height = chain.state_height();
    let time = |height| {
        let time = chain.block_time(height).unwrap();
        (time.seconds, time.nanos)
    };
    let end = (end.seconds, end.nanos);
    assert!(time(height - 1) < end && end <= time(height));
}

#[test]
fn a03_a_lost_vote_is_rejected() {
    let mut chain = chain();
    let id = propose(&mut chain, "v2", 1_000);
    vote(&mut chain, id, &[Some(NO), Some(NO), Some(YES), Some(YES)]);
    let record = proposal(&chain, id);
    assert_eq!(record.status, REJECTED);
    assert_eq!(
        record.failed_reason,
        "proposal did not get enough votes to pass"
    );
    assert_eq!(chain.plan(), None);
}

#[test]
fn exactly_half_of_the_votes_is_not_enough() {
    let mut chain = crate::support::chain_of(&[50, 50]);
    let id = propose(&mut chain, "v2", 1_000);
    vote(&mut chain, id, &[Some(YES), Some(NO)]);
    assert_eq!(proposal(&chain, id).status, REJECTED);
}

#[test]
fn a03_a_vetoed_vote_is_rejected_and_burns_its_deposit() {
    let mut chain = chain();
    let before = chain.balance(&chain.address(Account::Validator(0)));
    let id = propose(&mut chain, "v2", 1_000);
    vote(
        &mut chain,
        id,
        &[Some(NO_WITH_VETO), Some(YES), Some(YES), Some(YES)],
    );
    assert_eq!(proposal(&chain, id).status, REJECTED);
    assert_eq!(
        chain.balance(&chain.address(Account::Validator(0))),
        before - 10_000_000
    );
}

#[test]
fn a_vote_without_quorum_is_rejected_and_gives_its_deposit_back() {
    let mut chain = chain();
    let before = chain.balance(&chain.address(Account::Validator(0)));
    let id = propose(&mut chain, "v2", 1_000);
    vote(&mut chain, id, &[None, Some(YES)]);
    // 70 of 235 is below 0.334.
    assert_eq!(proposal(&chain, id).status, REJECTED);
    assert_eq!(chain.balance(&chain.address(Account::Validator(0))), before);
}

#[test]
fn only_abstaining_votes_pass_nothing() {
    let mut chain = chain();
    let id = propose(&mut chain, "v2", 1_000);
    vote(
        &mut chain,
        id,
        &[Some(ABSTAIN), Some(ABSTAIN), Some(ABSTAIN)],
    );
    assert_eq!(proposal(&chain, id).status, REJECTED);
}

#[test]
fn a03_a_plan_in_the_past_fails_although_the_vote_was_won() {
    let mut chain = chain();
    let id = pass(&mut chain, "v2", 3);
    let record = proposal(&chain, id);
    assert_eq!(record.status, FAILED);
    assert_eq!(
        record.failed_reason,
        "upgrade cannot be scheduled in the past: invalid request"
    );
    assert_eq!(chain.plan(), None);
}

#[test]
fn a_proposal_that_fails_half_way_changes_nothing() {
    let mut chain = chain();
    let messages = vec![
        Devnet::upgrade_message("good", 1_000, "{}"),
        Devnet::upgrade_message("late", 2, "{}"),
    ];
    let id = chain
        .propose(messages, &Text::titled("Both"), false)
        .unwrap()
        .unwrap();
    chain.carry(id, YES).unwrap();
    assert_eq!(proposal(&chain, id).status, FAILED);
    assert_eq!(chain.plan(), None);
}

#[test]
fn a_proposal_without_its_deposit_is_deleted() {
    let mut chain = chain();
    chain
        .submit_proposal(
            Account::User(0),
            vec![Devnet::cancel_message()],
            &Text::titled("Poor"),
            1_000_000,
            false,
        )
        .unwrap();
    chain.produce_block().unwrap();
    let id = chain.last_proposal();
    assert_eq!(proposal(&chain, id).status, 1);
    assert!(chain.balance(&chain.address(Account::User(0))) < 1_000_000_000);
    chain.vote(Account::Validator(0), id, YES).unwrap();
    chain.produce_until(40).unwrap();
    assert_eq!(chain.proposal(id), None);
    assert_eq!(
        chain.balance(&chain.address(Account::User(0))),
        1_000_000_000
    );
    let key = [&[0], id.to_be_bytes().as_slice()].concat();
    assert_eq!(proven(&chain, "gov", &key, 39), Some(None));
}

#[test]
fn a_later_deposit_opens_the_vote() {
    let mut chain = chain();
    chain
        .submit_proposal(
            Account::User(0),
            vec![Devnet::cancel_message()],
            &Text::titled("Poor"),
            1_000_000,
            false,
        )
        .unwrap();
    chain.produce_block().unwrap();
    let id = chain.last_proposal();
    chain.deposit(Account::User(1), id, 9_000_000).unwrap();
    chain.produce_block().unwrap();
    let record = proposal(&chain, id);
    assert_eq!(record.status, 2);
    assert_ne!(record.voting_start_time, record.submit_time);
    assert_eq!(record.total_deposit[0].amount, "10000000");
}

#[test]
fn a03_a_later_plan_overwrites_and_the_first_stays_passed() {
    let mut chain = chain();
    let first = pass(&mut chain, "v2", 1_000);
    let second = pass(&mut chain, "v3", 1_007);
    assert_eq!(plan_name(&chain).as_deref(), Some("v3"));
    assert_eq!(
        [
            proposal(&chain, first).status,
            proposal(&chain, second).status
        ],
        [PASSED; 2]
    );
}

#[test]
fn a03_a_cancelled_plan_is_gone_and_its_proposal_stays_passed() {
    let mut chain = chain();
    let first = pass(&mut chain, "v2", 1_000);
    let cancel = chain
        .propose(vec![Devnet::cancel_message()], &Text::titled("Stop"), false)
        .unwrap()
        .unwrap();
    chain.carry(cancel, YES).unwrap();
    assert_eq!(chain.plan(), None);
    assert_eq!(proposal(&chain, first).status, PASSED);
    let height = chain.state_height();
    chain.produce_block().unwrap();
    assert_eq!(proven(&chain, "upgrade", &[0], height), Some(None));
}

#[test]
fn of_two_plans_in_one_proposal_the_second_counts() {
    let mut chain = chain();
    let messages = vec![
        Devnet::upgrade_message("a", 1_000, "{}"),
        Devnet::upgrade_message("b", 1_001, "{}"),
    ];
    let id = chain
        .propose(messages, &Text::titled("Two"), false)
        .unwrap()
        .unwrap();
    chain.carry(id, YES).unwrap();
    assert_eq!(proposal(&chain, id).messages.len(), 2);
    assert_eq!(plan_name(&chain).as_deref(), Some("b"));
}

#[test]
fn an_expedited_proposal_ends_earlier() {
    let mut chain = chain();
    let message = Devnet::upgrade_message("v2", 1_000, "{}");
    let id = chain
        .propose(vec![message], &Text::titled("Fast"), true)
        .unwrap()
        .unwrap();
    chain.carry(id, YES).unwrap();
    let record = proposal(&chain, id);
    assert_eq!((record.status, record.expedited), (PASSED, true));
    let span = record.voting_end_time.unwrap().seconds - record.voting_start_time.unwrap().seconds;
    assert_eq!(span, 60);
}

#[test]
fn an_expedited_proposal_that_misses_its_bar_is_converted_and_its_votes_are_gone() {
    let mut chain = chain();
    let message = Devnet::upgrade_message("v2", 1_000, "{}");
    let id = chain
        .propose(vec![message], &Text::titled("Fast"), true)
        .unwrap()
        .unwrap();
    // 140 of 235 in favour: above one half, below 0.667.
    for (index, option) in [YES, NO, YES, NO].into_iter().enumerate() {
        chain.vote(Account::Validator(index), id, option).unwrap();
    }
    while proposal(&chain, id).expedited {
        chain.produce_block().unwrap();
    }
    let record = proposal(&chain, id);
    assert_eq!(record.status, 2);
    assert_eq!(tally(&chain, id)[0], "140000000");
    let span = record.voting_end_time.unwrap().seconds - record.voting_start_time.unwrap().seconds;
    assert_eq!(span, 120);
    chain.decide_proposal(id).unwrap();
    assert_eq!(proposal(&chain, id).status, REJECTED);
    assert_eq!(tally(&chain, id), ["0", "0", "0", "0"]);
}

#[test]
fn a20_a_chain_can_weaken_its_own_bars_and_shows_it() {
    let mut chain = chain();
    let weak = GovParams {
        quorum: "0.010000000000000000".into(),
        threshold: "0.100000000000000000".into(),
        ..chain.gov_params()
    };
    let message = Devnet::gov_params_message(weak.clone());
    let id = chain
        .propose(vec![message], &Text::titled("Weaken"), false)
        .unwrap()
        .unwrap();
    chain.carry(id, YES).unwrap();
    assert_eq!(chain.gov_params(), weak);
    let id = propose(&mut chain, "weak", 1_000);
    vote(&mut chain, id, &[None, None, None, Some(YES)]);
    assert_eq!(proposal(&chain, id).status, PASSED);
    assert_eq!(tally(&chain, id)[0], "25000000");
}

#[test]
fn params_that_make_no_sense_fail() {
    let mut chain = chain();
    for weak in [
        GovParams {
            quorum: "2".into(),
            ..chain.gov_params()
        },
        GovParams {
            threshold: "x".into(),
            ..chain.gov_params()
        },
        GovParams {
            expedited_voting_period: chain.gov_params().voting_period,
            ..chain.gov_params()
        },
    ] {
        let message = Devnet::gov_params_message(weak);
        let id = chain
            .propose(vec![message], &Text::titled("Nonsense"), false)
            .unwrap()
            .unwrap();
        chain.carry(id, YES).unwrap();
        assert_eq!(proposal(&chain, id).status, FAILED);
    }
}

#[test]
fn a_delegator_votes_for_itself_and_its_validator_for_the_rest() {
    let mut chain = chain();
    chain.delegate(Account::User(0), 0, 300 * UNIT).unwrap();
    chain.delegate(Account::User(1), 0, 10 * UNIT).unwrap();
    let id = propose(&mut chain, "v2", 1_000);
    chain.vote(Account::User(0), id, NO).unwrap();
    vote(
        &mut chain,
        id,
        &[Some(YES), Some(YES), Some(YES), Some(YES)],
    );
    assert_eq!(tally(&chain, id), ["245000000", "0", "300000000", "0"]);
    assert_eq!(proposal(&chain, id).status, REJECTED);
}

#[test]
fn a_second_vote_replaces_the_first() {
    let mut chain = chain();
    let id = propose(&mut chain, "v2", 1_000);
    chain.vote(Account::Validator(0), id, NO).unwrap();
    vote(&mut chain, id, &[Some(YES), Some(YES)]);
    assert_eq!(tally(&chain, id), ["170000000", "0", "0", "0"]);
}

#[test]
fn a_text_proposal_passes_and_one_without_anything_fails_with_code_11() {
    let mut chain = chain();
    let text = Text {
        metadata: "baton-admit:00".into(),
        ..Text::titled("Admit")
    };
    let id = chain.propose(Vec::new(), &text, false).unwrap().unwrap();
    chain.carry(id, YES).unwrap();
    let record = proposal(&chain, id);
    assert_eq!((record.status, record.messages.len()), (PASSED, 0));
    let hash = chain
        .submit_proposal(
            Account::Validator(0),
            Vec::new(),
            &Text::titled("Empty"),
            1,
            false,
        )
        .unwrap();
    chain.produce_block().unwrap();
    let answer = chain.tx(&hash).unwrap();
    assert_eq!(answer.code, Some(11));
    assert!(
        answer.log.contains("no messages proposed"),
        "{}",
        answer.log
    );
}

#[test]
fn a02_a_message_that_gov_does_not_sign_makes_no_proposal() {
    let mut chain = chain();
    let plan = Plan {
        name: "v2".into(),
        height: 1_000,
        ..Plan::default()
    };
    let authority = keys::account_text(&chain.address(Account::User(0)));
    let message = pack(&MsgSoftwareUpgrade {
        authority,
        plan: Some(plan),
    });
    assert_eq!(
        chain.propose(vec![message.clone()], &Text::titled("Own"), false),
        Ok(None)
    );
    // Nor can anybody send it as a transaction of his own.
    assert!(chain.broadcast(Account::User(0), &[message], "").is_err());
}

#[test]
fn a_vote_after_the_end_or_on_nothing_fails_in_its_block() {
    let mut chain = chain();
    let id = pass(&mut chain, "v2", 1_000);
    let late = chain.vote(Account::Validator(0), id, NO).unwrap();
    let nothing = chain.vote(Account::Validator(1), 99, NO).unwrap();
    let option = chain.vote(Account::Validator(2), id, 5).unwrap();
    chain.produce_block().unwrap();
    for hash in [late, nothing, option] {
        assert_ne!(chain.tx(&hash).unwrap().code, Some(0));
    }
}
