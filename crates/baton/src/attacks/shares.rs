//! The shares of people: too few, twice, of an older ceremony, changed, or agreed to for something else. And the network's own,
//! where nobody voted for that.

use anyhow::{Context, Result};
use baton_attest::identity::Measurement;
use baton_attest::pki::{CollateralSpec, DevPki, PlatformSpec};
use baton_core::ceremony::network::{NetworkVote, agreement_text, holder};
use baton_core::ceremony::{SessionInfo, ShareBox, Subject};
use baton_core::shares::age::Identity;
use baton_core::shares::{Holder, Holders, Purpose};
use baton_enclave::sim::Machine;
use baton_host::ceremony::{CeremonyError, CeremonySeat, Published, image};
use baton_host::chain::ChainSource;
use baton_host::gather::Gather;
use baton_host::shares::{HostRandom, read_share};
use baton_host::store::SealedStore;

use super::Bench;
use super::scene::Scene;

const NOW: u64 = 1_790_000_000;
const NAMES: [&str; 3] = ["ana", "bo", "chen"];

struct People(Vec<Identity>);

impl People {
    fn new() -> Self {
        People(NAMES.iter().map(|_| Identity::generate(&mut HostRandom::default())).collect())
    }

    /// Two of three.
    fn list(&self) -> Holders {
        let of = |(name, key): (&&str, &Identity)| Holder { name: (*name).into(), recipient: *key.recipient().as_bytes() };
        Holders { needed: 2, holders: NAMES.iter().zip(&self.0).map(of).collect() }
    }

    /// What a holder sends for one subject of one session.
    fn agree(&self, p: &Published, info: &SessionInfo, subject: &Subject, at: usize) -> Result<ShareBox> {
        let share = read_share(&p.files[at], Some(&self.0[at]))?;
        ShareBox::seal(&mut HostRandom::default(), info, subject, &share).context("sealing a share")
    }
}

fn words<T>(outcome: Result<T, CeremonyError>) -> Result<T, String> {
    outcome.map_err(|e| e.to_string())
}

/// Where a ceremony takes place.
struct Room {
    machine: Machine,
    collateral: Vec<u8>,
    dir: tempfile::TempDir,
}

impl Room {
    fn new(b: &Bench) -> Result<Self> {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&b.seed.to_le_bytes());
        let pki = DevPki::new(seed)?;
        let machine = Machine::new(&pki, "ceremony", &PlatformSpec::default())?;
        let collateral = pki.collateral(&CollateralSpec::at(NOW))?.to_json().into_bytes();
        Ok(Room { machine, collateral, dir: tempfile::tempdir()? })
    }

    fn seat(&self) -> Result<CeremonySeat<'_>> {
        let store = SealedStore::open(self.dir.path().join("sealed"))?;
        Ok(CeremonySeat::start(&self.machine, &image("1")?, store, &self.collateral)?)
    }
}

/// A signing ceremony under a hostile host.
pub fn a19(b: &mut Bench) -> Result<()> {
    let room = Room::new(b)?;
    let mut seat = room.seat()?;
    let people = People::new();
    let first = seat.new_key(Purpose::Signer, &people.list())?;

    let build = Measurement([0xab; 32]);
    let subject = Subject::Sign { measurement: build, product_id: 1, svn: 2 };
    let few = "ceremony/TooFewShares";
    let (info, _) = seat.session()?;
    let good = [people.agree(&first, &info, &subject, 0)?, people.agree(&first, &info, &subject, 2)?];
    b.refused_saying("too-few", "one good share of two needed", few, "1 of 2 needed holders (ana)", words(seat.sign(build, 1, 2, &good[..1])));
    let twice = [good[0].clone(), good[0].clone()];
    b.refused_saying("twice", "one share, brought twice", few, "1 of 2 needed holders (ana)", words(seat.sign(build, 1, 2, &twice)));
    let other = Measurement([0xcd; 32]);
    b.refused_saying("other-build", "shares that were given for another build", few, "0 of 2 needed holders", words(seat.sign(other, 1, 2, &good)));
    let reshare = people.list();
    b.refused_saying("other-use", "the same shares, to hand the key to other holders", few, "0 of 2 needed holders", words(seat.reshare(&reshare, &good)));
    let mut bytes = baton_host::ceremony::box_bytes(&good[1]);
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    if let Ok(changed) = minicbor::decode::<ShareBox>(&bytes) {
        let mixed = [good[0].clone(), changed];
        b.refused_saying("changed", "a share that was changed on its way", few, "1 of 2 needed holders (ana)", words(seat.sign(build, 1, 2, &mixed)));
    }
    b.control("the shares that two holders gave for this build", seat.sign(build, 1, 2, &good));
    b.refused_saying("again", "the same shares once more", "ceremony/NoSession", "no session is open", words(seat.sign(build, 1, 2, &good)));

    // Shared anew, for the same people.
    let (info, _) = seat.session()?;
    let agreed = Subject::Reshare { holders: reshare.digest() };
    let boxes = [people.agree(&first, &info, &agreed, 0)?, people.agree(&first, &info, &agreed, 1)?];
    let second = seat.reshare(&reshare, &boxes)?;
    let (info, _) = seat.session()?;
    let old = [people.agree(&first, &info, &subject, 0)?, people.agree(&first, &info, &subject, 1)?, people.agree(&first, &info, &subject, 2)?];
    b.refused_saying("older", "every share of an older ceremony", few, "expected ceremony 2", words(seat.sign(build, 1, 2, &old)));
    let mixed = [old[1].clone(), people.agree(&second, &info, &subject, 0)?];
    b.refused_saying("mixed", "an old share beside a new one", few, "1 of 2 needed holders (ana)", words(seat.sign(build, 1, 2, &mixed)));
    Ok(())
}

/// The network's agreement as the chain shows it now.
fn agreement(s: &mut Scene, proposal: u64, text: &str) -> Result<NetworkVote> {
    let tx = s.world.publish(text)?;
    let policy = &s.v1.policy.chain;
    let at = policy.checkpoint.height;
    let checkpoint = ChainSource::light_block(&s.world.chain, at)?;
    Ok(Gather::new(&s.world.chain, policy).network_vote((at, checkpoint), proposal, &tx, tx.height)?)
}

/// The network's own share under a hostile host, who has one holder on his side.
pub fn a19_network(b: &mut Bench) -> Result<()> {
    let mut s = Scene::new(b)?;
    let policy = s.v1.policy.chain.clone();
    let room = Room::new(b)?;
    let mut seat = room.seat()?;
    let people = People::new();
    let mut list = people.list();
    list.holders.push(holder(&policy));
    let dealt = seat.new_key_with(Purpose::Signer, &list, Some(&policy))?;

    let build = s.v2.measurement;
    let (height, info) = (s.plan_height(60), format!(r#"{{"enclave":{{"mrenclave":"{build}","svn":2,"product_id":1}}}}"#));
    let proposal = s.pass("v2", height, &info)?;
    let subject = Subject::Sign { measurement: build, product_id: 1, svn: 2 };
    let (info, _) = seat.session()?;
    let vote = agreement(&mut s, proposal, &agreement_text(&info, &subject))?;

    let said = "the network voted for build";
    let (v3, named) = (s.v3.measurement, Subject::Sign { measurement: s.v3.measurement, product_id: 1, svn: 2 });
    let other = agreement(&mut s, proposal, &agreement_text(&info, &named))?;
    let boxes = [people.agree(&dealt, &info, &named, 0)?];
    b.refused_saying("net-build", "a vote for one build, to sign another", "network/OtherBuild", said, words(seat.sign_with((v3, 1, 2), &boxes, Some(&other))));
    let named = Subject::Sign { measurement: build, product_id: 1, svn: 1 };
    let other = agreement(&mut s, proposal, &agreement_text(&info, &named))?;
    let boxes = [people.agree(&dealt, &info, &named, 0)?];
    let said = "svn: the network voted for 2";
    b.refused_saying("net-svn", "the voted build, signed with a lower version", "network/OtherNumber", said, words(seat.sign_with((build, 1, 1), &boxes, Some(&other))));
    let alone = seat.sign_with((build, 1, 2), &[], Some(&vote));
    b.refused_saying("net-alone", "a vote, and no holder", "ceremony/TooFewShares", "1 of 2 needed holders (network ", words(alone));

    let (info, _) = seat.session()?;
    let mine = [people.agree(&dealt, &info, &subject, 0)?];
    let said = "the network's agreement: the transaction in block";
    let stale = seat.sign_with((build, 1, 2), &mine, Some(&vote));
    b.refused_saying("net-session", "a network's agreement in an older session", "network/Public", said, words(stale));
    let text = agreement_text(&info, &subject);
    let fresh = agreement(&mut s, proposal, &text)?;
    b.control("one holder and a vote for this build", seat.sign_with((build, 1, 2), &mine, Some(&fresh)));

    let (info, _) = seat.session()?;
    let boxes = [people.agree(&dealt, &info, &subject, 0)?];
    let (height, later) = (s.plan_height(40), Scene::info(&s.v3));
    s.pass("v3", height, &later)?;
    let gone = agreement(&mut s, proposal, &agreement_text(&info, &subject))?;
    let said = "another plan than the pending one";
    b.refused_saying("net-superseded", "a vote that another one took the place of", "network/Vote", said, words(seat.sign_with((build, 1, 2), &boxes, Some(&gone))));
    Ok(())
}
