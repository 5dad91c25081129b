//! Every judge, on one small chain of which each test breaks one thing.

use super::*;
use alloc::{format, string::ToString, vec, vec::Vec};
use baton_attest::identity::{Attributes, PLATFORM_SGX, flags};
use baton_attest::report::{Report, ReportBody, check_report, report_mac};
use prost::Message;
use sha2::{Digest, Sha256};

use crate::evidence::{TxProof, VERSION};
use crate::gov::{
    Any, CANCEL_UPGRADE_URL, GOV_STORE, MsgCancelUpgrade, MsgSoftwareUpgrade, PLAN_KEY, Proposal, ProposalStatus,
    SOFTWARE_UPGRADE_URL, TallyResult, Timestamp, TxBody, TxRaw, proposal_key,
};
use crate::admission::vouch_word;
use crate::light::{LightBlock, Path};
use crate::staking::{StakingError, validator_key};
use crate::testkit::{Hash, Header, State, bare_block, client, policy, validator_set};

const ID: u64 = 14;
const X: u64 = 100;
const POWER: i64 = 1000;
const VOTE_END: i64 = 150;
const KEY: [u8; 16] = [5; 16];
const OPERATOR: [u8; 20] = [6; 20];

fn identity(build: u8, svn: u16) -> Identity {
    Identity {
        platform_tag: PLATFORM_SGX,
        measurement: Measurement([build; 32]),
        signer: Signer([1; 32]),
        product_id: 7,
        svn,
        attributes: Attributes { flags: flags::INIT | flags::MODE64BIT, xfrm: 3 },
        misc_select: 0,
        config_id: [0; 64],
        config_svn: 0,
    }
}

fn attested(identity: Identity) -> Attested {
    let body = ReportBody { cpu_svn: [1; 16], ext_product_id: [0; 16], family_id: [0; 16], identity, report_data: [0; 64] };
    let mac = report_mac(&body.to_bytes(), &KEY);
    Attested::Local(check_report(&Report { body, key_id: [0; 32], mac }.to_bytes(), &KEY).unwrap())
}

fn info(build: u8, more: &str) -> String {
    format!(r#"{{"enclave":{{"mrenclave":"{}"{more}}}}}"#, Measurement([build; 32]))
}

fn plan(info: &str) -> Plan {
    Plan { name: "v2".into(), height: X as i64, info: info.into(), ..Plan::default() }
}

fn upgrade(plan: Plan) -> Any {
    let message = MsgSoftwareUpgrade { authority: "gov".into(), plan: Some(plan) };
    Any { type_url: SOFTWARE_UPGRADE_URL.into(), value: message.encode_to_vec() }
}

fn tally(yes: u64, abstain: u64, no: u64, veto: u64) -> Option<TallyResult> {
    let text = |units: u64| format!("{}", u128::from(units) * 1_000_000);
    Some(TallyResult {
        yes_count: text(yes),
        abstain_count: text(abstain),
        no_count: text(no),
        no_with_veto_count: text(veto),
    })
}

/// A genuine quote of an enclave on somebody else's machine.
fn quoted() -> Attested {
    use baton_attest::policy::{TcbPolicy, TcbStatus};
    use baton_attest::quote::{Collateral, Purpose, QuoteTime, check_quote, intel_root};
    let policy = TcbPolicy {
        statuses: vec![TcbStatus::ConfigurationAndSwHardeningNeeded],
        denied_advisories: vec![],
        allowed_advisories: None,
        min_tcb_evaluation: 0,
        max_collateral_age_secs: 60 * 86_400,
        roots: vec![intel_root().to_vec()],
    };
    let json = include_bytes!("../../../attest/tests/fixtures/dcap/00A067110000-processor-2025-06-phala.json");
    let quote = include_bytes!("../../../attest/tests/fixtures/dcap/phala-sgx.quote");
    let collateral = Collateral::from_json(json).unwrap();
    Attested::Quoted(check_quote(quote, &collateral, &policy, QuoteTime(1_752_919_277), Purpose::Secret).unwrap())
}

/// A world whose target is the quoted enclave.
fn elsewhere() -> World {
    let (mut w, target) = (World::new(), quoted());
    let id = *target.identity();
    (w.quoted, w.target, w.own.svn) = (Some(target), id, 0);
    w.rules = BuildRules { signers: vec![id.signer, Signer([2; 32])], product_id: 0, min_svn: 0 };
    w.replan(plan(&format!(r#"{{"enclave":{{"mrenclave":"{}"}}}}"#, id.measurement)));
    w
}

/// Everything that a judgement needs, each part of which a test may break.
struct World {
    policy: ChainPolicy,
    rules: BuildRules,
    own: Identity,
    target: Identity,
    head: u64,
    plan: Option<Plan>,
    proposal: Option<Proposal>,
    power: i64,
    done: Vec<Vec<u8>>,
    times: (i64, i64),
    record: Option<Record>,
    memo: Option<String>,
    quoted: Option<Attested>,
    next: Vec<u8>,
    details: Option<String>,
    admission: Admission,
    shown: Option<AdmissionEvidence>,
}

impl World {
    fn new() -> World {
        let plan = plan(&info(2, ""));
        let (own, target) = (identity(1, 1), identity(2, 1));
        World {
            policy: policy(),
            rules: BuildRules { signers: vec![Signer([1; 32]), Signer([2; 32])], product_id: 7, min_svn: 1 },
            own,
            target,
            head: 90,
            plan: Some(plan.clone()),
            proposal: Some(Proposal {
                id: ID,
                messages: vec![upgrade(plan)],
                status: ProposalStatus::Passed.into(),
                final_tally_result: tally(600, 0, 100, 0),
                voting_end_time: Some(Timestamp { seconds: VOTE_END, nanos: 0 }),
                ..Proposal::default()
            }),
            power: POWER,
            done: vec![],
            times: (VOTE_END - 1, VOTE_END),
            record: None,
            memo: None,
            quoted: None,
            next: validator_set(POWER),
            details: None,
            admission: Admission::Any,
            shown: None,
        }
    }

    fn transfer(&self) -> (Attested, Digest32) {
        (self.quoted.clone().unwrap_or_else(|| attested(self.target)), Digest32([8; 32]))
    }

    fn state(&self) -> State {
        let mut s = State::default();
        s.put("bank", b"k", *b"v").put("upgrade", &[0x09], *b"x").put("gov", &[0x30], *b"params");
        if let Some(plan) = &self.plan {
            s.put("upgrade", PLAN_KEY, plan.encode_to_vec());
        }
        if let Some(p) = &self.proposal {
            s.put("gov", &proposal_key(ID), p.encode_to_vec());
        }
        for key in &self.done {
            s.put("upgrade", key, vec![1]);
        }
        if let Some(details) = &self.details {
            let record = crate::admission::tests::record(7, details);
            s.put("staking", &[0x51], *b"params").put("staking", &validator_key(&OPERATOR), record.encode_to_vec());
        }
        s
    }

    fn tx(&self, kind: Kind, proposal_id: u64) -> Vec<u8> {
        let (target, request) = self.transfer();
        let t = Transfer { target: &target, epoch: 0, request, local_platform: PlatformId::UNKNOWN };
        let record = self.record.unwrap_or_else(|| t.record(kind, proposal_id));
        let memo = self.memo.clone().unwrap_or_else(|| record.encode());
        let body = TxBody { memo, ..TxBody::default() };
        TxRaw { body_bytes: body.encode_to_vec(), ..TxRaw::default() }.encode_to_vec()
    }

    /// Head, its client, and the two headers below it around the end of the vote.
    fn chain(&self, tx: &[u8]) -> (LightClient, LightBlock, LightBlock, Vec<u8>) {
        let set = validator_set(self.power);
        let hash = |b: &LightBlock| b.untrusted_checkpoint().unwrap().hash;
        let before = bare_block(self.head as i64 - 2, self.times.0, Some([1; 32]), &set);
        let at = bare_block(self.head as i64 - 1, self.times.1, Some(hash(&before)), &set);
        let leaf: Hash = Sha256::new().chain_update([0]).chain_update(Sha256::digest(tx)).finalize().into();
        let head = Header {
            height: self.head,
            secs: 1000,
            hash: [4; 32],
            last: hash(&at),
            app_hash: self.state().app_hash(),
            data_hash: Some(leaf),
            validators_hash: [9; 32],
            next_validators_hash: crate::light::validator_set_hash(&self.next).unwrap(),
        };
        (client(&self.policy, &head), at, before, set)
    }

    fn parts(&self, kind: Kind, id: u64) -> (LightClient, VoteEndEvidence, PublicationEvidence) {
        let tx = self.tx(kind, id);
        let (light, at, before, validators) = self.chain(&tx);
        let end = VoteEndEvidence {
            at: HeaderEvidence { path: Path::default(), links: vec![at] },
            validators,
            before,
        };
        let proof = TxProof { total: 1, index: 0, aunts: vec![] };
        (light, end, PublicationEvidence { header: HeaderEvidence::default(), tx, proof })
    }

    fn with<T>(&self, light: &LightClient, f: impl FnOnce(&Judge, &Transfer) -> T) -> T {
        let (target, request) = self.transfer();
        let transfer = Transfer { target: &target, epoch: 0, request, local_platform: PlatformId::UNKNOWN };
        let judge =
            Judge { policy: &self.policy, rules: &self.rules, own: &self.own, light, admission: self.admission };
        f(&judge, &transfer)
    }

    fn ahead_evidence(&self) -> (LightClient, UpgradeEvidence) {
        let (light, vote_end, publication) = self.parts(Kind::Upgrade, ID);
        let s = self.state();
        let (plan, proposal) = (s.prove("upgrade", PLAN_KEY), s.prove("gov", &proposal_key(ID)));
        (light, UpgradeEvidence { version: VERSION, to_head: Path::default(), plan, proposal, vote_end, publication, admission: self.shown.clone() })
    }

    fn ahead(&self) -> Result<Authorization, AuthorizeError> {
        let (light, evidence) = self.ahead_evidence();
        self.with(&light, |judge, t| judge.ahead(t, &evidence))
    }

    fn at_x_evidence(&self) -> (LightClient, AtXEvidence) {
        let (light, UpgradeEvidence { plan, proposal, vote_end, .. }) = self.ahead_evidence();
        let x = HeaderEvidence::default();
        (light, AtXEvidence { version: VERSION, x, plan, proposal, vote_end, publication: None, admission: self.shown.clone() })
    }

    fn at_x(&self) -> Result<Authorization, AuthorizeError> {
        let (light, evidence) = self.at_x_evidence();
        self.with(&light, |judge, t| judge.at_x(t, &evidence))
    }

    fn activation(&self) -> Result<Activation, AuthorizeError> {
        let (light, evidence) = self.at_x_evidence();
        self.with(&light, |judge, _| judge.activation(&evidence))
    }

    fn join(&self, kind: Kind, moved_on: Option<&AtXFacts>) -> Result<Authorization, AuthorizeError> {
        let (light, _, publication) = self.parts(kind, 0);
        let evidence = RecordEvidence { version: VERSION, to_head: Path::default(), publication, admission: self.shown.clone() };
        self.with(&light, |judge, t| judge.same_build(kind, t, &evidence, moved_on))
    }

    fn standing(&self, of: &Plan, x: u64, with_done: bool) -> Result<Standing, StandingError> {
        let (light, ..) = self.parts(Kind::Upgrade, ID);
        let (s, of) = (self.state(), PlanRef::of(of).unwrap());
        let done = with_done.then(|| s.prove("upgrade", &done_key(x, &of.name)));
        let plan = s.prove("upgrade", PLAN_KEY);
        standing(&light, &of, x, &StandingEvidence { version: VERSION, to_head: Path::default(), plan, done })
    }

    fn proposal(&mut self) -> &mut Proposal {
        self.proposal.as_mut().unwrap()
    }

    /// Plan and proposal alike.
    fn replan(&mut self, to: Plan) {
        self.proposal().messages = vec![upgrade(to.clone())];
        self.plan = Some(to);
    }
}

fn refused(edit: impl FnOnce(&mut World)) -> AuthorizeError {
    let mut w = World::new();
    edit(&mut w);
    w.ahead().unwrap_err()
}

macro_rules! refuses {
    ($edit:expr, $pattern:pat) => {
        let e = refused($edit);
        assert!(matches!(e, $pattern), "{e:?}");
    };
}

use AuthorizeError as E;

#[test]
fn a_won_vote_with_its_record_is_authorized_ahead() {
    let a = World::new().ahead().unwrap();
    let f = a.facts();
    assert_eq!((f.kind, f.proposal_id, f.route), (Kind::Upgrade, ID, Route::Ahead { head: 90 }));
    assert_eq!((f.source, f.target), (identity(1, 1).digest(), identity(2, 1)));
    assert_eq!((f.expires_at, f.record.is_some(), f.chain_id.as_str()), (Some(X), true, "test-1"));
    a.check_head(X - 1).unwrap();
    assert!(matches!(a.check_head(X), Err(E::Expired { expires_at: X, head: X })));
    let bytes = baton_attest::identity::encode(f);
    assert_eq!(&minicbor::decode::<Facts>(&bytes).unwrap(), f);
}

#[test]
fn before_the_lead_window_nothing_is_offered_and_at_x_it_is_closed() {
    refuses!(|w| w.head = 79, E::BeforeWindow { opens: 80, head: 79, .. });
    let mut w = World::new();
    w.head = 80;
    w.ahead().unwrap();
    w.head = 99;
    w.ahead().unwrap();
    refuses!(|w| w.head = 100, E::WindowClosed { plan_height: X, head: 100 });
}

#[test]
fn a03_a_proposal_that_did_not_pass_authorizes_nothing() {
    for status in [0, 1, 2, 4, 5, 6, -1] {
        refuses!(|w| w.proposal().status = status, E::Vote(VoteError::NotPassed { .. }));
    }
    refuses!(|w| w.proposal = None, E::Vote(VoteError::NoProposal { id: ID, .. }));
}

#[test]
fn a03_a_cancelled_or_superseded_plan_authorizes_nothing() {
    refuses!(|w| w.plan = None, E::Vote(VoteError::NoPlan { height: 90 }));
    refuses!(|w| w.plan = Some(plan(&info(3, ""))), E::Vote(VoteError::OtherPlan { .. }));
    refuses!(|w| w.plan.as_mut().unwrap().name = "v3".into(), E::Vote(VoteError::OtherPlan { .. }));
    refuses!(|w| w.plan.as_mut().unwrap().height = 101, E::Vote(VoteError::OtherPlan { .. }));
    let e = refused(|w| w.plan = None);
    assert_eq!((e.rule(), e.rule().to_string().as_str()), (Rule::OneTarget, "one target"));
}

#[test]
fn exactly_one_upgrade_message_counts_and_others_may_stand_beside_it() {
    let other = Any { type_url: "/cosmos.bank.v1beta1.MsgUpdateParams".into(), value: vec![1, 2, 3] };
    let mut w = World::new();
    w.proposal().messages.push(other);
    w.ahead().unwrap();
    refuses!(|w| w.proposal().messages.clear(), E::Vote(VoteError::UpgradeMessages { got: 0, .. }));
    refuses!(
        |w| {
            let second = w.proposal().messages[0].clone();
            w.proposal().messages.push(second);
        },
        E::Vote(VoteError::UpgradeMessages { got: 2, .. })
    );
    let cancel = Any { type_url: CANCEL_UPGRADE_URL.into(), value: MsgCancelUpgrade::default().encode_to_vec() };
    refuses!(|w| w.proposal().messages.push(cancel), E::Vote(VoteError::Cancels { .. }));
}

#[test]
fn a08_a_message_of_another_type_at_the_right_place_is_no_upgrade() {
    for url in ["/cosmos.upgrade.v1beta1.MsgSoftwareUpgrad", "/cosmos.gov.v1.MsgExecLegacyContent", ""] {
        refuses!(|w| w.proposal().messages[0].type_url = url.into(), E::Vote(VoteError::UpgradeMessages { got: 0, .. }));
    }
    for url in ["x/cosmos.upgrade.v1beta1.MsgSoftwareUpgrade", "cosmos.upgrade.v1beta1.MsgSoftwareUpgrade"] {
        refuses!(|w| w.proposal().messages[0].type_url = url.into(), E::Vote(VoteError::TypeUrl { .. }));
    }
    refuses!(|w| w.proposal().messages[0].value = vec![0xff], E::Vote(VoteError::Malformed { what: "upgrade message" }));
    refuses!(|w| w.proposal().messages[0].value = vec![], E::Vote(VoteError::Malformed { .. }));
    refuses!(|w| w.proposal().id = 15, E::Vote(VoteError::ProposalId { expected: ID, got: 15 }));
}

#[test]
fn a08_proofs_of_another_key_or_store_are_refused() {
    let w = World::new();
    let (light, good) = w.ahead_evidence();
    let s = w.state();
    let judge = |e: UpgradeEvidence| w.with(&light, |j, t| j.ahead(t, &e)).unwrap_err();
    let swapped = UpgradeEvidence { plan: good.proposal.clone(), proposal: good.plan.clone(), ..good.clone() };
    assert!(matches!(judge(swapped), E::Vote(VoteError::WrongKey { .. })));
    let params = UpgradeEvidence { proposal: s.prove("gov", &[0x30]), ..good.clone() };
    assert!(matches!(judge(params), E::Vote(VoteError::WrongKey { what: "proposal", .. })));
    let mut store = good.clone();
    store.proposal.store = "bank".into();
    assert!(matches!(judge(store), E::Vote(VoteError::WrongKey { .. })));
    let mut renamed = good.clone();
    renamed.plan.store = GOV_STORE.into();
    assert!(matches!(judge(renamed), E::Vote(VoteError::WrongKey { what: "plan", .. })));
    let mut changed = good.clone();
    changed.plan.value = Some(plan(&info(3, "")).encode_to_vec());
    assert!(matches!(judge(changed), E::Vote(VoteError::Proof(_))));
    let mut hidden = good.clone();
    hidden.plan.value = None;
    assert!(matches!(judge(hidden), E::Vote(VoteError::Proof(_))));
}

#[test]
fn a20_the_policys_own_bars_hold_whatever_the_chain_says() {
    refuses!(|w| w.proposal().final_tally_result = tally(320, 0, 0, 0), E::Vote(VoteError::Quorum { .. }));
    refuses!(|w| w.proposal().final_tally_result = tally(300, 0, 300, 0), E::Vote(VoteError::Threshold { .. }));
    refuses!(|w| w.proposal().final_tally_result = tally(600, 0, 0, 400), E::Vote(VoteError::Vetoed { .. }));
    refuses!(|w| w.proposal().final_tally_result = tally(0, 900, 0, 0), E::Vote(VoteError::Threshold { .. }));
    refuses!(|w| w.proposal().final_tally_result = None, E::Vote(VoteError::Malformed { .. }));
    refuses!(|w| w.power = 4000, E::Vote(VoteError::Quorum { .. }));
    let mut w = World::new();
    w.proposal().expedited = true;
    w.proposal().final_tally_result = tally(667, 0, 333, 0);
    assert!(matches!(w.ahead(), Err(E::Vote(VoteError::Threshold { expedited: true, .. }))));
    w.proposal().final_tally_result = tally(668, 0, 332, 0);
    w.ahead().unwrap();
    for odd in ["", "-1", "1.5", "1e9", "0x10", " 600", "99999999999999999999999999999999999999999"] {
        refuses!(
            |w| w.proposal().final_tally_result.as_mut().unwrap().yes_count = odd.into(),
            E::Vote(VoteError::Count { .. })
        );
    }
}

#[test]
fn h17_slack_is_taken_off_the_quorum_alone() {
    let mut w = World::new();
    w.proposal().final_tally_result = tally(329, 0, 0, 0);
    w.ahead().unwrap();
    w.proposal().final_tally_result = tally(328, 0, 0, 0);
    assert!(matches!(w.ahead(), Err(E::Vote(VoteError::Quorum { .. }))));
}

#[test]
fn h17_the_power_is_that_of_the_votes_end() {
    refuses!(|w| w.times = (VOTE_END, VOTE_END + 1), E::Vote(VoteError::VoteEnd { .. }));
    refuses!(|w| w.times = (VOTE_END - 2, VOTE_END - 1), E::Vote(VoteError::VoteEnd { .. }));
    refuses!(|w| w.proposal().voting_end_time = None, E::Vote(VoteError::Malformed { .. }));
    let w = World::new();
    let (light, good) = w.ahead_evidence();
    let judge = |e: UpgradeEvidence| w.with(&light, |j, t| j.ahead(t, &e)).unwrap_err();
    let mut set = good.clone();
    set.vote_end.validators = validator_set(1);
    assert!(matches!(judge(set), E::Vote(VoteError::Power(LightError::ValidatorsHash { .. }))));
    let mut before = good.clone();
    before.vote_end.before = bare_block(87, VOTE_END - 1, None, &validator_set(POWER));
    assert!(matches!(judge(before), E::Vote(VoteError::Power(LightError::NotLinked { .. }))));
    let mut head = good.clone();
    head.vote_end.before = head.vote_end.at.links.remove(0);
    assert!(matches!(judge(head), E::Vote(VoteError::Power(_))), "the head's own set has another hash");
    let mut links = good.clone();
    links.vote_end.at.links = vec![good.vote_end.before.clone(); MAX_LINKS + 1];
    assert!(matches!(judge(links), E::Vote(VoteError::Power(LightError::Links { .. }))));
}

#[test]
fn a01_a_listed_signers_build_that_was_not_voted_for_is_refused() {
    let e = refused(|w| w.target.measurement = Measurement([3; 32]));
    assert!(matches!(e, E::Target(TargetError::Measurement { .. })));
    assert_eq!(e.rule(), Rule::Secrecy);
}

#[test]
fn a04_the_approved_measurement_launched_otherwise_is_refused() {
    refuses!(|w| w.target.attributes.flags |= flags::DEBUG, E::Target(TargetError::Rules(BuildError::Debug)));
    refuses!(|w| w.target.attributes.flags |= flags::PROVISION_KEY, E::Target(TargetError::Rules(BuildError::Launch { .. })));
    refuses!(|w| w.target.attributes.flags = flags::MODE64BIT, E::Target(TargetError::Rules(_)));
    refuses!(|w| w.target.signer = Signer([9; 32]), E::Target(TargetError::Rules(BuildError::Signer { .. })));
    refuses!(|w| w.target.product_id = 8, E::Target(TargetError::Rules(BuildError::ProductId { .. })));
    refuses!(|w| w.target.config_id[63] = 1, E::Target(TargetError::Rules(BuildError::ConfigId)));
    refuses!(|w| w.target.config_svn = 1, E::Target(TargetError::Rules(BuildError::Launch { .. })));
    refuses!(|w| w.target.misc_select = 1, E::Target(TargetError::Rules(BuildError::Launch { .. })));
    assert_eq!(refused(|w| w.target.attributes.flags |= flags::DEBUG).rule(), Rule::NoDowngrade);
}

#[test]
fn rule7_never_to_a_lower_svn() {
    refuses!(|w| w.target.svn = 0, E::Target(TargetError::Rules(BuildError::Svn { least: 1, got: 0 })));
    refuses!(|w| w.own.svn = 2, E::Target(TargetError::Downgrade { source_svn: 2, got: 1 }));
    refuses!(|w| w.replan(plan(&info(2, r#","svn":2"#))), E::Target(TargetError::NamedSvn { least: 2, got: 1 }));
    refuses!(|w| w.replan(plan(&info(2, r#","product_id":8"#))), E::Target(TargetError::NamedProductId { .. }));
}

#[test]
fn h18_a_vote_with_the_override_share_counts_a_named_signer_as_listed() {
    let named = |w: &mut World, yes| {
        let signer = Signer([9; 32]);
        w.target.signer = signer;
        w.replan(plan(&info(2, &format!(r#","signer":"{signer}""#))));
        w.proposal().final_tally_result = tally(yes, 0, 0, 0);
    };
    let mut w = World::new();
    w.power = 900;
    named(&mut w, 601);
    w.ahead().unwrap();
    named(&mut w, 600); // exactly two thirds
    assert!(matches!(w.ahead(), Err(E::Target(TargetError::Rules(BuildError::Signer { .. })))));
    named(&mut w, 601);
    w.target.signer = Signer([1; 32]); // listed, but not the one that the plan names
    assert!(matches!(w.ahead(), Err(E::Target(TargetError::NamedSigner { .. }))));
    refuses!(
        |w| {
            w.target.signer = Signer([9; 32]);
            w.proposal().final_tally_result = tally(1000, 0, 0, 0); // all of it, but no signer named
        },
        E::Target(TargetError::Rules(BuildError::Signer { .. }))
    );
}

#[test]
fn a24_an_unclear_plan_names_no_build() {
    let twice = format!(r#"{{"enclave":{{"mrenclave":"{0}"}},"enclave":{{"mrenclave":"{0}"}}}}"#, Measurement([2; 32]));
    refuses!(|w| w.replan(plan(&twice)), E::Vote(VoteError::Info(_)));
    refuses!(|w| w.replan(plan("https://example.org/plan.json")), E::Vote(VoteError::Info(_)));
    refuses!(|w| w.replan(plan("faster blocks")), E::NoBuild { .. });
    refuses!(|w| w.replan(plan(&info(1, ""))), E::NoOp { .. });
}

#[test]
fn rule4_a_record_of_another_transfer_or_none_is_refused() {
    let w = World::new();
    let (target, request) = w.transfer();
    let want = Transfer { target: &target, epoch: 0, request, local_platform: PlatformId::UNKNOWN }.record(Kind::Upgrade, ID);
    for other in [
        Record { kind: Kind::Join, ..want },
        Record { epoch: 1, ..want },
        Record { proposal_id: 0, ..want },
        Record { platform: PlatformId([1; 32]), ..want },
        Record { target: Digest32([1; 32]), ..want },
        Record { request: Digest32([1; 32]), ..want },
    ] {
        let e = refused(|w| w.record = Some(other));
        assert!(matches!(e, E::Record(_)), "{e:?}");
        assert_eq!(e.rule(), Rule::PublicBeforePrivate);
    }
    refuses!(|w| w.memo = Some("hello".into()), E::Publication(_));
    refuses!(|w| w.memo = Some(format!("baton1:{}", "ab".repeat(32))), E::Publication(_));
}

#[test]
fn a02_a_record_that_is_in_no_block_is_refused() {
    let w = World::new();
    let (light, good) = w.ahead_evidence();
    let judge = |e: UpgradeEvidence| w.with(&light, |j, t| j.ahead(t, &e)).unwrap_err();
    let mut other = good.clone();
    other.publication.proof = TxProof { total: 2, index: 0, aunts: vec![crate::evidence::Hash32([1; 32])] };
    assert!(matches!(judge(other), E::Publication(PublicationError::NotIncluded { .. })));
    let mut below = good.clone();
    below.publication.header.links = good.vote_end.at.links.clone(); // a block without transactions
    assert!(matches!(judge(below), E::Publication(PublicationError::NotIncluded { .. })));
}

#[test]
fn at_x_one_machine_needs_no_record() {
    let mut w = World::new();
    for (head, x) in [(X, X), (X + 1, X + 1), (X - 1, X)] {
        w.head = head;
        let a = w.at_x().unwrap();
        assert_eq!(a.facts().route, Route::AtX { shown_at: head, x });
        assert_eq!((a.facts().record, a.facts().expires_at), (None, None));
        a.check_head(u64::MAX).unwrap();
    }
    w.head = X - 2;
    assert!(matches!(w.at_x(), Err(E::NotAtX { shown_at: 98, least: 99 })));
}

#[test]
fn at_x_every_other_check_stays() {
    let at_x = |edit: fn(&mut World)| {
        let mut w = World::new();
        w.head = X;
        edit(&mut w);
        w.at_x().unwrap_err()
    };
    assert!(matches!(at_x(|w| w.plan = None), E::Vote(VoteError::NoPlan { .. })));
    assert!(matches!(at_x(|w| w.proposal().status = 4), E::Vote(VoteError::NotPassed { .. })));
    assert!(matches!(at_x(|w| w.target.measurement = Measurement([3; 32])), E::Target(_)));
    assert!(matches!(at_x(|w| w.target.attributes.flags |= flags::DEBUG), E::Target(_)));
    assert!(matches!(at_x(|w| w.proposal().final_tally_result = tally(100, 0, 0, 0)), E::Vote(VoteError::Quorum { .. })));
}

#[test]
fn a23_a_passed_proposal_with_the_done_key_but_without_the_plan_at_x_is_nothing() {
    let mut w = World::new();
    w.head = X + 1;
    w.plan = None;
    w.done = vec![done_key(X, "v2")];
    assert!(matches!(w.at_x(), Err(E::Vote(VoteError::NoPlan { .. }))));
    assert!(matches!(w.activation(), Err(E::Vote(VoteError::NoPlan { .. }))));
    w.plan = Some(plan(&info(3, ""))); // same name and height, another build
    assert!(matches!(w.at_x(), Err(E::Vote(VoteError::OtherPlan { .. }))));
}

#[test]
fn a28_only_the_build_of_the_plan_at_x_activates() {
    let mut w = World::new();
    w.head = X;
    w.own = identity(2, 1);
    let facts = w.activation().unwrap().facts().clone();
    assert_eq!((facts.x, facts.measurement, facts.proposal_id), (X, Some(Measurement([2; 32])), ID));
    w.own = identity(1, 1);
    assert!(matches!(w.activation(), Err(E::NotThisBuild { .. })));
    w.own = identity(2, 1);
    w.head = 90;
    assert!(matches!(w.activation(), Err(E::NotAtX { .. })));
    w.head = X;
    w.replan(plan("no enclave"));
    assert!(matches!(w.activation(), Err(E::NoBuild { .. })));
}

#[test]
fn join_goes_to_the_same_identity_with_a_record_and_no_plan() {
    let mut w = World::new();
    w.target = w.own;
    w.plan = None;
    w.proposal = None;
    let a = w.join(Kind::Join, None).unwrap();
    assert_eq!((a.facts().plan.clone(), a.facts().proposal_id, a.facts().route), (None, 0, Route::Fresh { head: 90 }));
    assert!(a.facts().record.is_some());
    w.join(Kind::Sync, None).unwrap();
    for kind in [Kind::Upgrade, Kind::Rehearsal] {
        assert!(matches!(w.join(kind, None), Err(E::KindNeedsMore { .. })));
    }
    w.target.svn = 2;
    assert!(matches!(w.join(Kind::Join, None), Err(E::Target(TargetError::OtherIdentity { .. }))));
    w.target = Identity { attributes: Attributes { flags: 7, xfrm: 3 }, ..w.own };
    assert!(matches!(w.join(Kind::Join, None), Err(E::Target(TargetError::OtherIdentity { .. }))));
    w.own = w.target;
    assert!(matches!(w.join(Kind::Join, None), Err(E::Target(TargetError::Rules(BuildError::Debug)))));
}

#[test]
fn join_is_refused_once_the_chain_runs_another_build() {
    let mut w = World::new();
    w.head = X;
    let (light, evidence) = w.at_x_evidence();
    let moved = w.with(&light, |j, _| j.plan_at_x(&evidence)).unwrap().facts();
    w.target = w.own;
    assert!(matches!(w.join(Kind::Join, Some(&moved)), Err(E::MovedOn { x: X, .. })));
    w.own = identity(2, 1);
    w.target = w.own;
    w.join(Kind::Join, Some(&moved)).unwrap();
}

#[test]
fn a_join_record_does_not_serve_an_upgrade_nor_the_reverse() {
    let mut w = World::new();
    w.target = w.own;
    let (target, request) = w.transfer();
    let t = Transfer { target: &target, epoch: 0, request, local_platform: PlatformId::UNKNOWN };
    w.record = Some(t.record(Kind::Upgrade, ID));
    assert!(matches!(w.join(Kind::Join, None), Err(E::Record(_))));
}

#[test]
fn the_standing_of_a_plan_follows_the_head() {
    let mut w = World::new();
    let mine = plan(&info(2, ""));
    assert_eq!(w.standing(&mine, X, false).unwrap(), Standing::Pending);
    w.plan = Some(plan(&info(3, "")));
    assert!(matches!(w.standing(&mine, X, false).unwrap(), Standing::Superseded { .. }));
    w.plan = None;
    assert_eq!(w.standing(&mine, X, false).unwrap(), Standing::Cancelled);
    w.head = X;
    assert_eq!(w.standing(&mine, X, false).unwrap(), Standing::Cancelled, "header X itself shows the state before X");
    w.head = X + 1;
    assert!(matches!(w.standing(&mine, X, false), Err(StandingError::NoDoneProof { x: X, .. })));
}

#[test]
fn h20_a_head_above_x_with_neither_plan_nor_done_key_is_skipped() {
    let mut w = World::new();
    let mine = plan(&info(2, ""));
    (w.plan, w.head) = (None, X + 2);
    assert_eq!(w.standing(&mine, X, true).unwrap(), Standing::Skipped);
    w.plan = Some(Plan { name: "v3".into(), height: 500, ..mine.clone() });
    assert_eq!(w.standing(&mine, X, true).unwrap(), Standing::Skipped);
    w.done = vec![done_key(X, "v2")];
    assert_eq!(w.standing(&mine, X, true).unwrap(), Standing::NameDone);
    w.done = vec![done_key(X + 1, "v2"), done_key(X, "v3")];
    assert_eq!(w.standing(&mine, X, true).unwrap(), Standing::Skipped);
    let (light, ..) = w.parts(Kind::Upgrade, ID);
    let s = w.state();
    let wrong = StandingEvidence {
        version: VERSION,
        to_head: Path::default(),
        plan: s.prove("upgrade", PLAN_KEY),
        done: Some(s.prove("upgrade", &done_key(X, "v9"))),
    };
    let mine = PlanRef::of(&mine).unwrap();
    assert!(matches!(standing(&light, &mine, X, &wrong), Err(StandingError::Vote(VoteError::WrongKey { .. }))));
}

#[test]
fn rule4_to_another_machine_a_record_comes_first_at_x_too() {
    let mut w = elsewhere();
    let a = w.ahead().unwrap();
    assert!(a.facts().record.is_some());
    w.head = X;
    assert!(matches!(w.at_x(), Err(E::NoRecord { shown_at: X })));
    assert_eq!(w.at_x().unwrap_err().rule(), Rule::PublicBeforePrivate);
    let (light, evidence) = w.at_x_evidence();
    let publication = Some(w.parts(Kind::Upgrade, ID).2);
    let a = w.with(&light, |j, t| j.at_x(t, &AtXEvidence { publication, ..evidence })).unwrap();
    assert!(a.facts().record.is_some());
    w.head = X - 1; // serves on one machine only
    assert!(matches!(w.at_x(), Err(E::NotAtX { shown_at: 99, least: X })));
}

#[test]
fn a18_the_record_names_the_quoted_machine() {
    let mut w = elsewhere();
    let (target, request) = w.transfer();
    let t = Transfer { target: &target, epoch: 0, request, local_platform: PlatformId::UNKNOWN };
    let good = t.record(Kind::Upgrade, ID);
    assert_eq!(Some(good.platform), target.platform());
    w.record = Some(Record { platform: PlatformId::UNKNOWN, ..good });
    assert!(matches!(w.ahead(), Err(E::Record(RecordMismatch { field: "platform id", .. }))));
}

#[test]
fn a_record_above_the_head_shows_no_freshness() {
    let w = World::new();
    let (_, evidence) = w.ahead_evidence();
    let judge = |shown_at| {
        let (light, ..) = w.parts(Kind::Upgrade, ID);
        w.with(&light, |j, t| j.check_record(&t.record(Kind::Upgrade, ID), &evidence.publication, shown_at))
    };
    judge(90).unwrap();
    assert!(matches!(judge(89), Err(E::RecordAboveHead { record: 90, shown_at: 89 })));
}

#[test]
fn h04_facts_of_version_1_are_frozen() {
    let mut w = World::new();
    let ahead = baton_attest::identity::encode(w.ahead().unwrap().facts());
    w.head = X;
    let (light, evidence) = w.at_x_evidence();
    let at_x = baton_attest::identity::encode(&w.with(&light, |j, _| j.plan_at_x(&evidence)).unwrap().facts());
    let golden = include_str!("../../tests/golden/facts_v1.txt");
    let got = format!("authorization {}\nat_x {}\n", hex::encode(ahead), hex::encode(at_x));
    assert_eq!(got, golden);
}

#[test]
fn the_votes_end_lies_below_the_header_that_proves_its_result() {
    let w = World::new();
    let (light, e) = w.ahead_evidence();
    let set = validator_set(POWER);
    let validators_hash = crate::light::validator_set_hash(&set).unwrap();
    let end = |height| {
        let before = Header {
            height: height - 1,
            secs: VOTE_END - 1,
            hash: [6; 32],
            last: [5; 32],
            app_hash: [1; 32],
            data_hash: None,
            validators_hash,
            next_validators_hash: [9; 32],
        };
        let at = Header { height, secs: VOTE_END, hash: [7; 32], last: [6; 32], ..before.clone() };
        VoteEnd::verify(&at.trusted(), &before.trusted(), &set).unwrap()
    };
    let other = Header {
        height: 88,
        secs: 1,
        hash: [8; 32],
        last: [5; 32],
        app_hash: [1; 32],
        data_hash: None,
        validators_hash,
        next_validators_hash: [9; 32],
    };
    let at = Header { height: 89, last: [6; 32], ..other.clone() };
    let unlinked = VoteEnd::verify(&at.trusted(), &other.trusted(), &set);
    assert!(matches!(unlinked, Err(VoteError::Power(LightError::NotLinked { .. }))));
    let weigh = |height| Decided::verify(light.head(), &e.plan, &e.proposal).unwrap().weigh(&w.policy, &end(height));
    weigh(89).unwrap();
    for height in [90, 91, 500] {
        assert!(matches!(weigh(height), Err(VoteError::VoteEndTooHigh { proof: 90, .. })));
    }
}

/// A world where a validator vouches for the machine of the quoted enclave, and a record announces the transfer.
fn vouched_for(details: impl FnOnce(PlatformId) -> String) -> World {
    let mut w = elsewhere();
    let platform = w.quoted.as_ref().unwrap().platform().unwrap();
    (w.admission, w.details) = (Admission::Vouched, Some(details(platform)));
    let record = w.state().prove("staking", &validator_key(&OPERATOR));
    w.shown = Some(AdmissionEvidence::Vouched { record, next_validators: w.next.clone() });
    w
}

fn word(platform: PlatformId) -> String {
    format!("we run boats; {}", vouch_word(&[PlatformId([3; 32]), platform]).unwrap())
}

#[test]
fn a29_a_quoted_target_that_nobody_vouches_for_gets_nothing_on_any_route() {
    let routes = |w: &mut World| {
        let own = w.own;
        let mut out = vec![w.ahead()];
        w.head = X;
        let (light, mut at_x) = w.at_x_evidence();
        at_x.publication = Some(w.parts(Kind::Upgrade, ID).2);
        out.push(w.with(&light, |judge, t| judge.at_x(t, &at_x)));
        w.head = 90;
        w.own = w.target;
        out.push(w.join(Kind::Join, None));
        w.own = own;
        out
    };
    let mut w = vouched_for(word);
    for (i, a) in routes(&mut w).into_iter().enumerate() {
        let expected = Some(Admitted::Vouched { operator: OPERATOR, power: POWER as u64 });
        assert_eq!(a.unwrap().facts().admitted, expected, "route {i}");
    }
    w.shown = None;
    for a in routes(&mut w) {
        assert!(matches!(a, Err(E::Admission(AdmissionError::NotShown { .. }))), "{a:?}");
        assert_eq!(a.unwrap_err().rule(), Rule::Secrecy);
    }
    let mut w = vouched_for(|_| vouch_word(&[PlatformId([3; 32])]).unwrap());
    for a in routes(&mut w) {
        assert!(matches!(a, Err(E::Admission(AdmissionError::NotNamed { named: 1, .. }))), "{a:?}");
    }
}

#[test]
fn a29_a_name_that_was_taken_back_by_an_edit_admits_no_more() {
    let mut w = vouched_for(word);
    w.ahead().unwrap();
    w.details = Some("we run boats".into());
    assert!(matches!(w.ahead(), Err(E::Admission(AdmissionError::Staking(StakingError::Proof(_))))));
}

#[test]
fn on_one_machine_nobody_has_to_vouch() {
    let mut w = World::new();
    for admission in [Admission::Vouched, Admission::Voted] {
        w.admission = admission;
        assert_eq!(w.ahead().unwrap().facts().admitted, None);
        w.head = X;
        w.at_x().unwrap();
        w.head = 90;
    }
}
