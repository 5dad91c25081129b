//! The network as a holder: one person and a vote sign the build that the vote names, and nothing else.

use baton_attest::identity::Measurement;
use baton_attest::sigstruct::check_sigstruct;
use baton_chain::ChainPolicy;
use baton_chain::policy::Checkpoint;
use baton_core::ceremony::network::{NetworkVote, agreement_text, holder, is_network};
use baton_core::ceremony::{SessionInfo, Subject};
use baton_core::shares::{Holders, Purpose, Transcript};
use baton_devnet::{Config, Devnet, GovConfig, Text, YES};
use baton_host::ceremony::CeremonySeat;
use baton_host::chain::ChainSource;
use baton_host::gather::Gather;

use super::{World, boxed, holders, refused};

const BUILD: Measurement = Measurement([0xab; 32]);
const SUBJECT: Subject = Subject::Sign { measurement: BUILD, product_id: 1, svn: 2 };

struct Net {
    chain: Devnet,
    policy: ChainPolicy,
}

impl Net {
    fn new(seed: u64) -> Self {
        let gov = GovConfig { voting_secs: 15, expedited_voting_secs: 10, ..GovConfig::default() };
        let mut chain = Devnet::new(Config { seed, gov, powers: vec![100, 70, 40], ..Config::default() }).unwrap();
        chain.produce_until(4).unwrap();
        let dec = |s: &str| s.parse().unwrap();
        let policy = ChainPolicy {
            chain_id: chain.config().chain_id.clone(),
            checkpoint: Checkpoint { height: 2, hash: chain.header_hash(2).unwrap() },
            trusting_period_secs: 14 * 24 * 3600,
            trust_threshold: (1, 3),
            quorum: dec("0.334"),
            threshold: dec("0.5"),
            veto: dec("0.334"),
            expedited_threshold: dec("0.667"),
            slack: dec("0.005"),
            override_share: dec("0.667"),
            power_reduction: chain.config().power_reduction,
            lead_blocks: 20,
        };
        Net { chain, policy }
    }

    /// A passed proposal for a build at a height far away.
    fn vote(&mut self, enclave: &str) -> u64 {
        let info = format!(r#"{{"enclave":{enclave}}}"#);
        let height = self.chain.height() + 200;
        let message = Devnet::upgrade_message("v2", height, &info);
        let id = self.chain.propose(vec![message], &Text::titled("Upgrade"), false).unwrap().unwrap();
        self.chain.carry(id, YES).unwrap();
        id
    }

    /// The agreement as it stands on the chain now.
    fn agreement(&mut self, proposal: u64, text: &str) -> NetworkVote {
        let hash = ChainSource::send_memo(&mut self.chain, text).unwrap();
        let head = self.chain.produce_block().unwrap();
        let tx = ChainSource::included(&self.chain, &hash).unwrap().unwrap();
        let checkpoint = ChainSource::light_block(&self.chain, 2).unwrap();
        Gather::new(&self.chain, &self.policy).network_vote((2, checkpoint), proposal, &tx, head).unwrap()
    }

    fn named(&self) -> String {
        format!(r#"{{"mrenclave":"{BUILD}","svn":2,"product_id":1}}"#)
    }
}

fn list(policy: &ChainPolicy) -> Holders {
    let mut all = holders(2, &[("ana", 1), ("bo", 2)]);
    all.holders.push(holder(policy));
    all
}

fn session(seat: &mut CeremonySeat<'_>) -> (SessionInfo, String) {
    let (info, _) = seat.session().unwrap();
    let text = agreement_text(&info, &SUBJECT);
    (info, text)
}

/// One story, because making the key takes seconds.
#[test]
fn a19_one_person_and_a_vote_sign_the_build_that_the_network_voted_for_and_no_other() {
    let w = World::new();
    let mut seat = w.seat();
    let mut net = Net::new(1);
    let policy = net.policy.clone();

    // A share under a network's name goes to nobody else.
    let names = list(&policy);
    assert!(refused(seat.new_key(Purpose::Signer, &names)).contains("bring its chain policy"));
    let mut mine = names.clone();
    mine.holders[2].recipient = [7; 32];
    assert!(refused(seat.new_key_with(Purpose::Signer, &mine, Some(&policy))).contains("and no recipient"));
    let other_rules = ChainPolicy { slack: "0".parse().unwrap(), ..policy.clone() };
    assert!(refused(seat.new_key_with(Purpose::Signer, &names, Some(&other_rules))).contains("expected the name"));
    assert!(refused(seat.new_key_with(Purpose::Signer, &holders(2, &super::OLD), Some(&policy))).contains("no holder is named"));
    assert!(refused(seat.new_key_with(Purpose::Council, &names, Some(&policy))).contains("expected people alone"));

    let dealt = seat.new_key_with(Purpose::Signer, &names, Some(&policy)).unwrap();
    let t = Transcript::from_cbor(&dealt.attested.message).unwrap();
    assert!(is_network(&t.holders().holders[2].name) && t.holders().holders[2].recipient != [0; 32]);
    drop(seat);
    let mut seat = w.seat();

    let named = net.named();
    let id = net.vote(&named);
    let (info, text) = session(&mut seat);
    let ana = [boxed(&dealt, &info, &SUBJECT, 0, 1)];
    let few = refused(seat.sign(BUILD, 1, 2, &ana));
    assert!(few.starts_with("1 of 2 needed holders (ana)"), "{few}");
    let vote = net.agreement(id, &text);
    let no_one = refused(seat.sign_with((BUILD, 1, 2), &[], Some(&vote)));
    assert!(no_one.starts_with("1 of 2 needed holders (network "), "a vote alone signs nothing: {no_one}");
    let other = refused(seat.sign_with((Measurement([0xcd; 32]), 1, 2), &ana, Some(&vote)));
    assert!(other.starts_with(&format!("the network voted for build {BUILD}")), "{other}");
    assert!(refused(seat.sign_with((BUILD, 1, 1), &ana, Some(&vote))).starts_with("svn: the network voted for 2"));
    assert!(refused(seat.sign_with((BUILD, 7, 2), &ana, Some(&vote))).starts_with("product id: the network voted for 1"));

    // Another network with the same vote, and the text of another session.
    let mut fork = Net::new(2);
    let forked = fork.vote(&named);
    let foreign = fork.agreement(forked, &text);
    refused(seat.sign_with((BUILD, 1, 2), &ana, Some(&foreign)));
    let (info, next) = session(&mut seat);
    let ana = [boxed(&dealt, &info, &SUBJECT, 0, 1)];
    let stale = refused(seat.sign_with((BUILD, 1, 2), &ana, Some(&vote)));
    assert!(stale.starts_with("the network's agreement: the transaction in block"), "{stale}");

    let vote = net.agreement(id, &next);
    let signed = seat.sign_with((BUILD, 1, 2), &ana, Some(&vote)).unwrap();
    assert_eq!(signed.holders.len(), 2);
    assert!(is_network(signed.holders.iter().find(|h| *h != "ana").unwrap()));
    let checked = check_sigstruct(&signed.sigstruct).unwrap();
    assert_eq!(checked.fields().modulus.to_vec(), t.terms().public_key);

    // A plan that another one took the place of: PASSED for ever, and no longer the network's will.
    let (info, text) = session(&mut seat);
    let ana = [boxed(&dealt, &info, &SUBJECT, 0, 1)];
    net.vote(&format!(r#"{{"mrenclave":"{}"}}"#, Measurement([0xee; 32])));
    let gone = net.agreement(id, &text);
    let past = refused(seat.sign_with((BUILD, 1, 2), &ana, Some(&gone)));
    assert!(past.contains("another plan than the pending one"), "{past}");
    // People alone still sign what they agree on.
    let boxes = [boxed(&dealt, &info, &SUBJECT, 0, 1), boxed(&dealt, &info, &SUBJECT, 1, 2)];
    seat.sign(BUILD, 1, 2, &boxes).unwrap();

    // New holders are for people to agree on; the network may be among them again.
    let (info, _) = seat.session().unwrap();
    let agreed = Subject::Reshare { holders: names.digest() };
    let boxes = [boxed(&dealt, &info, &agreed, 0, 1), boxed(&dealt, &info, &agreed, 1, 2)];
    let second = seat.reshare_with(&names, &boxes, Some(&policy)).unwrap();
    let next = Transcript::from_cbor(&second.attested.message).unwrap();
    next.follows(&t).unwrap();
    assert_ne!(next.holders().holders[2].recipient, t.holders().holders[2].recipient);
}
