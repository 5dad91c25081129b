//! Machines that are named, and machines that are not.

use super::*;
use alloc::{format, vec};
use prost::Message;

use crate::evidence::HeaderEvidence;
use crate::gov::{Any, Description, Proposal, ProposalStatus, TallyResult, Timestamp, Validator, proposal_key};
use crate::light::{LightBlock, Path};
use crate::staking::validator_key;
use crate::testkit::{Header, State, bare_block, client, consensus_key, policy, validator_set_of};

const BONDED: i32 = 3;
const ID: u64 = 4;
const END: i64 = 500;
const MACHINE: PlatformId = PlatformId([0xab; 32]);
const OTHER: PlatformId = PlatformId([0xcd; 32]);

/// A bonded validator of a consensus key, saying this of itself.
pub(crate) fn record(seed: u8, details: &str) -> Validator {
    let mut key = vec![0x0a, 32];
    key.extend(consensus_key(seed));
    Validator {
        operator_address: "val".into(),
        consensus_pubkey: Some(Any { type_url: "/cosmos.crypto.ed25519.PubKey".into(), value: key }),
        status: BONDED,
        description: Some(Description { details: details.into(), ..Description::default() }),
        ..Validator::default()
    }
}

/// Three validators (operators [1; 20], [2; 20], [3; 20]) of power 60, 30 and 10, and one proposal.
struct World {
    records: Vec<([u8; 20], Validator)>,
    proposal: Proposal,
    set: Vec<u8>,
}

impl World {
    fn new(details: &str) -> World {
        let tally = TallyResult {
            yes_count: "60000000".into(),
            abstain_count: "0".into(),
            no_count: "10000000".into(),
            no_with_veto_count: "0".into(),
        };
        World {
            records: vec![
                ([1; 20], record(1, details)),
                ([2; 20], record(2, &vouch_word(&[OTHER]).unwrap())),
                ([3; 20], record(3, "")),
            ],
            proposal: Proposal {
                id: ID,
                status: ProposalStatus::Passed.into(),
                metadata: format!("{ADMIT_PREFIX}{MACHINE}"),
                final_tally_result: Some(tally),
                voting_end_time: Some(Timestamp { seconds: END, nanos: 0 }),
                ..Proposal::default()
            },
            set: validator_set_of(&[(1, 60), (2, 30), (3, 10)]),
        }
    }

    fn vouching() -> World {
        World::new(&format!("hello {} there", vouch_word(&[MACHINE]).unwrap()))
    }

    fn state(&self) -> State {
        let mut s = State::default();
        s.put("gov", &[0x30], *b"params").put("gov", &proposal_key(ID), self.proposal.encode_to_vec());
        s.put("staking", &[0x51], *b"params");
        for (operator, record) in &self.records {
            s.put("staking", &validator_key(operator), record.encode_to_vec());
        }
        s
    }

    fn chain(&self) -> (LightClient, LightBlock, LightBlock) {
        let hash = |b: &LightBlock| b.untrusted_checkpoint().unwrap().hash;
        let before = bare_block(18, END - 1, Some([1; 32]), &self.set);
        let at = bare_block(19, END, Some(hash(&before)), &self.set);
        let head = Header {
            height: 20,
            secs: 1000,
            hash: [4; 32],
            last: hash(&at),
            app_hash: self.state().app_hash(),
            data_hash: None,
            validators_hash: [9; 32],
            next_validators_hash: crate::light::validator_set_hash(&self.set).unwrap(),
        };
        (client(&policy(), &head), at, before)
    }

    fn by_record(&self, operator: u8) -> AdmissionEvidence {
        let record = self.state().prove("staking", &validator_key(&[operator; 20]));
        AdmissionEvidence::Vouched { record, next_validators: self.set.clone() }
    }

    fn by_vote(&self) -> AdmissionEvidence {
        let (_, at, before) = self.chain();
        let at = HeaderEvidence { path: Path::default(), links: vec![at] };
        let vote_end = VoteEndEvidence { at, validators: self.set.clone(), before };
        AdmissionEvidence::Voted { proposal: self.state().prove("gov", &proposal_key(ID)), vote_end }
    }

    fn ask(&self, admission: Admission, evidence: &AdmissionEvidence) -> Result<Option<Admitted>, AdmissionError> {
        let (light, ..) = self.chain();
        admit(&policy(), admission, &light, light.head(), Some(MACHINE), Some(evidence))
    }

    fn vouched(&self) -> Result<Option<Admitted>, AdmissionError> {
        self.ask(Admission::Vouched, &self.by_record(1))
    }

    fn voted(&self) -> Result<Option<Admitted>, AdmissionError> {
        self.ask(Admission::Voted, &self.by_vote())
    }

    fn power(&self, operators: &[u8], platforms: &[PlatformId]) -> Result<VouchedPower, AdmissionError> {
        let (light, ..) = self.chain();
        let s = self.state();
        let records = operators.iter().map(|o| s.prove("staking", &validator_key(&[*o; 20]))).collect();
        let evidence = VouchedEvidence { next_validators: self.set.clone(), records };
        VouchedPower::verify(light.head(), &evidence, &platforms.iter().copied().collect())
    }
}

macro_rules! refuses {
    ($result:expr, $pattern:pat) => {
        let e = $result.unwrap_err();
        assert!(matches!(e, $pattern), "{e:?}");
    };
}

use AdmissionError as E;

#[test]
fn a_bonded_validators_record_admits_the_machines_that_it_names() {
    let w = World::vouching();
    assert_eq!(w.vouched().unwrap(), Some(Admitted::Vouched { operator: [1; 20], power: 60 }));
    refuses!(w.ask(Admission::Vouched, &w.by_record(2)), E::NotNamed { named: 1, .. });
    refuses!(w.ask(Admission::Vouched, &w.by_record(3)), E::Names { why: NamesError::None { .. }, .. });
    refuses!(w.ask(Admission::Vouched, &w.by_record(4)), E::Staking(StakingError::NoValidator { height: 20 }));
}

#[test]
fn a29_without_anything_that_names_the_machine_it_is_refused_and_the_message_says_what_to_do() {
    let (light, ..) = World::vouching().chain();
    for (admission, said) in [(Admission::Vouched, "details as baton1:<id>"), (Admission::Voted, "metadata baton-admit:<id>")] {
        let e = admit(&policy(), admission, &light, light.head(), Some(MACHINE), None).unwrap_err();
        assert!(format!("{e}").contains(said) && format!("{e}").contains("abababab"), "{e}");
    }
    assert_eq!(admit(&policy(), Admission::Any, &light, light.head(), Some(MACHINE), None), Ok(None));
}

#[test]
fn a29_a_validator_that_is_unbonding_jailed_or_out_of_the_set_vouches_for_nobody() {
    let with = |edit: fn(&mut Validator)| {
        let mut w = World::vouching();
        edit(&mut w.records[0].1);
        w.vouched()
    };
    for status in [0, 1, 2, 4] {
        let mut w = World::vouching();
        w.records[0].1.status = status;
        refuses!(w.vouched(), E::Staking(StakingError::NotBonded { .. }));
    }
    refuses!(with(|v| v.jailed = true), E::Staking(StakingError::NotBonded { jailed: true, .. }));
    refuses!(with(|v| v.consensus_pubkey = record(9, "").consensus_pubkey), E::Staking(StakingError::NotInSet { .. }));
    refuses!(with(|v| v.consensus_pubkey = None), E::Staking(StakingError::Malformed));
}

#[test]
fn a08_a_proof_of_another_key_store_or_set_is_no_record() {
    let w = World::vouching();
    let s = w.state();
    let shown = |record| AdmissionEvidence::Vouched { record, next_validators: w.set.clone() };
    refuses!(
        w.ask(Admission::Vouched, &shown(s.prove("gov", &proposal_key(ID)))),
        E::Staking(StakingError::NoRecordKey { .. })
    );
    refuses!(
        w.ask(Admission::Vouched, &shown(s.prove("staking", &[0x51]))),
        E::Staking(StakingError::NoRecordKey { .. })
    );
    let record = s.prove("staking", &validator_key(&[1; 20]));
    let next_validators = validator_set_of(&[(1, 61), (2, 30), (3, 10)]);
    refuses!(w.ask(Admission::Vouched, &AdmissionEvidence::Vouched { record, next_validators }), E::Light(_));
}

#[test]
fn a_vote_admits_the_machines_that_its_metadata_names() {
    let mut w = World::vouching();
    assert_eq!(w.voted().unwrap(), Some(Admitted::Voted { proposal_id: ID }));
    w.proposal.metadata = format!("{ADMIT_PREFIX}{OTHER},{MACHINE}");
    w.voted().unwrap();
    w.proposal.metadata = format!("{ADMIT_PREFIX}{OTHER}");
    refuses!(w.voted(), E::NotNamed { named: 1, .. });
    w.proposal.metadata = format!(" {ADMIT_PREFIX}{MACHINE}");
    refuses!(w.voted(), E::Names { why: NamesError::None { .. }, .. });
}

#[test]
fn a03_a_vote_that_was_not_won_by_the_policys_own_bars_admits_nobody() {
    let with = |edit: fn(&mut Proposal)| {
        let mut w = World::vouching();
        edit(&mut w.proposal);
        w.voted()
    };
    for status in [0, 1, 2, 4, 5] {
        let mut w = World::vouching();
        w.proposal.status = status;
        refuses!(w.voted(), E::Vote(VoteError::NotPassed { .. }));
    }
    refuses!(with(|p| p.final_tally_result.as_mut().unwrap().yes_count = "10000000".into()), E::Vote(VoteError::Quorum { .. }));
    refuses!(with(|p| p.final_tally_result.as_mut().unwrap().no_count = "60000000".into()), E::Vote(VoteError::Threshold { .. }));
    refuses!(with(|p| p.voting_end_time.as_mut().unwrap().seconds = END + 1), E::Vote(VoteError::VoteEnd { .. }));
    refuses!(with(|p| p.messages.push(Any::default())), E::Messages { got: 1, .. });
    refuses!(with(|p| p.id = 5), E::Vote(VoteError::ProposalId { .. }));
}

#[test]
fn evidence_of_the_other_kind_is_refused() {
    let w = World::vouching();
    refuses!(w.ask(Admission::Voted, &w.by_record(1)), E::OtherKind { expected: Admission::Voted, got: Admission::Vouched });
    refuses!(w.ask(Admission::Vouched, &w.by_vote()), E::OtherKind { expected: Admission::Vouched, .. });
}

#[test]
fn a24_details_that_two_readers_could_read_differently_name_nobody() {
    let id = hex::encode(MACHINE.0);
    let other = hex::encode(OTHER.0);
    for (details, why) in [
        (format!("baton1:{id} baton1:{other}"), "found 2"),
        (format!("baton1:{}", id.to_uppercase()), "lower case"),
        (format!("baton1:{id},"), "got \"\""),
        (format!("baton1:{id},{id}"), "named twice"),
        (format!("baton1:{id}, {other}"), "got \"\""),
        (format!("baton1:{}", &id[1..]), "64 hexadecimal"),
        (format!("baton1:{id}00"), "64 hexadecimal"),
        (format!("baton1:0x{}", &id[2..]), "64 hexadecimal"),
        ("baton1:".into(), "64 hexadecimal"),
        (format!("Baton1:{id}"), "found none"),
        (format!("see-baton1:{id}"), "found none"),
        (format!("baton1:{}", "0".repeat(64)), "no machine's"),
        (format!("baton1:{id},{other},{},{}", "1".repeat(64), "2".repeat(64)), "1 to 3 machines, got 4"),
    ] {
        let e = vouched(&details).unwrap_err();
        assert!(format!("{e}").contains(why), "{details:?}: {e}");
        refuses!(World::new(&details).vouched(), E::Names { .. });
    }
    assert_eq!(vouched(&format!("\tboats\nbaton1:{id},{other}")), Ok(vec![MACHINE, OTHER]));
    assert_eq!(vouched(&vouch_word(&[OTHER]).unwrap()), Ok(vec![OTHER]));
    assert!(vouch_word(&[]).is_err());
}

#[test]
fn a_share_of_power_counts_each_validator_once_and_only_for_machines_that_it_names() {
    let w = World::vouching();
    let both = w.power(&[1, 2, 3], &[MACHINE, OTHER]).unwrap();
    assert_eq!((both.power(), both.total()), (90, 100));
    assert!(both.reaches("0.9".parse().unwrap()) && !both.reaches("0.900000000000000001".parse().unwrap()));
    assert_eq!(w.power(&[1, 1, 1], &[MACHINE]).unwrap().power(), 60);
    assert_eq!(w.power(&[1, 2], &[OTHER]).unwrap().power(), 30);
    assert_eq!(w.power(&[3], &[MACHINE]).unwrap().power(), 0);
    assert_eq!(w.power(&[], &[MACHINE]).unwrap().power(), 0);
    refuses!(w.power(&[4], &[MACHINE]), E::Staking(StakingError::NoValidator { .. }));
    refuses!(w.power(&[1; MAX_RECORDS + 1], &[MACHINE]), E::TooMany { .. });
}

#[test]
fn two_operators_with_one_consensus_key_are_one_validator() {
    let mut w = World::vouching();
    w.records[1].1 = record(1, &vouch_word(&[MACHINE]).unwrap());
    assert_eq!(w.power(&[1, 2], &[MACHINE]).unwrap().power(), 60);
}

#[test]
fn h04_evidence_round_trips() {
    let w = World::vouching();
    for evidence in [w.by_record(1), w.by_vote()] {
        let bytes = baton_attest::identity::encode(&evidence);
        assert_eq!(minicbor::decode::<AdmissionEvidence>(&bytes).unwrap(), evidence);
    }
}
