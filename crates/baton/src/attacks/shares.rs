//! The shares of people: too few, twice, of an older ceremony, changed, or agreed to for something else.

use anyhow::{Context, Result};
use baton_attest::identity::Measurement;
use baton_attest::pki::{CollateralSpec, DevPki, PlatformSpec};
use baton_core::ceremony::{SessionInfo, ShareBox, Subject};
use baton_core::shares::age::Identity;
use baton_core::shares::{Holder, Holders, Purpose};
use baton_enclave::sim::Machine;
use baton_host::ceremony::{CeremonyError, CeremonySeat, Published, image};
use baton_host::shares::{HostRandom, read_share};
use baton_host::store::SealedStore;

use super::Bench;

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

/// A signing ceremony under a hostile host.
pub fn a19(b: &mut Bench) -> Result<()> {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&b.seed.to_le_bytes());
    let pki = DevPki::new(seed)?;
    let machine = Machine::new(&pki, "ceremony", &PlatformSpec::default())?;
    let collateral = pki.collateral(&CollateralSpec::at(NOW))?.to_json().into_bytes();
    let dir = tempfile::tempdir()?;
    let store = SealedStore::open(dir.path().join("sealed"))?;
    let mut seat = CeremonySeat::start(&machine, &image("1")?, store, &collateral)?;
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
