//! The council's key and the lifeboats of a world: both made by their real programs, before the network's first build.

use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result};
use baton_attest::identity::PlatformId;
use baton_attest::pki::{CollateralSpec, PlatformSpec};
use baton_attest::policy::TcbPolicy;
use baton_core::ceremony::{SessionInfo, ShareBox, Subject};
use baton_core::escrow::key_digest;
use baton_core::lifeboat::secret::Card;
use baton_core::policy::{Lifeboat, Policy};
use baton_core::shares::age::Identity;
use baton_core::shares::{Holder, Holders, Purpose, Transcript};
use baton_enclave::sim::{Image, Machine};
use baton_host::ceremony::CeremonySeat;
use baton_host::escrows::Escrows;
use baton_host::lifeboat::LifeboatSeat;
use baton_host::shares::{HostRandom, read_share};
use baton_host::store::SealedStore;

use super::World;
use super::emergency::NOON;

/// Holders of the council's key; three of them are needed.
pub const HOLDERS: [&str; 5] = ["ana", "bo", "chen", "dora", "emil"];
const NEEDED: u8 = 3;
/// Machines of the lifeboats.
const BOATS: usize = 3;

/// What was put aside for the day on which no build starts.
pub struct Boats {
    dir: PathBuf,
    machines: Vec<Rc<Machine>>,
    image: Image,
    /// Collateral for quotes, JSON.
    pub collateral: Vec<u8>,
    /// The lifeboats' public card.
    pub card: Card,
    /// The council's transcript.
    pub council: Transcript,
}

impl Boats {
    /// A council ceremony whose shares lie as age files beside their holders' identities, and three lifeboats with one secret.
    pub fn found(world: &World, tcb: &TcbPolicy) -> Result<Self> {
        let dir = world.dir().join("lifeboats");
        let collateral = world.pki.collateral(&CollateralSpec::at(NOON))?.to_json().into_bytes();
        let machine = |n: usize| Ok(Rc::new(Machine::new(&world.pki, &format!("boat{n}"), &PlatformSpec::default())?));
        let machines = (0..BOATS).map(machine).collect::<Result<Vec<_>>>()?;
        let council = ceremony(&dir, world.machine("ceremony")?.as_ref(), &collateral)?;
        let image = baton_host::lifeboat::image(tcb)?;
        let ids: Vec<_> = machines.iter().map(|m| m.platform().id()).collect();
        let start = |n: usize| -> Result<LifeboatSeat<'_>> {
            let store = SealedStore::open(dir.join(format!("boat{n}")))?;
            let machine = machines.get(n).context("no such lifeboat")?;
            Ok(LifeboatSeat::start(machine.as_ref(), &image, store, &collateral)?)
        };
        let mut first = start(0)?;
        first.found(&ids)?;
        for n in 1..BOATS {
            start(n)?.join(&mut first)?;
        }
        let (card, attested) = first.card()?;
        attested.check(&card.digest(), tcb, Some(image.measurement()?))?;
        drop(first);
        Ok(Boats { dir, machines, image, collateral, card, council })
    }

    /// Names both keys in a policy.
    pub fn name_in(&self, policy: &mut Policy) {
        let council_digest = key_digest(&self.council.terms().public_key);
        policy.lifeboat = Some(Lifeboat { key_digest: key_digest(&self.card.public_key), council_digest });
    }

    /// Gives a seat's folder the public keys that its escrow is made for.
    pub fn give_keys(&self, seat_dir: &Path) -> Result<()> {
        Ok(Escrows::of(seat_dir).put_keys(&self.council.terms().public_key, &self.card.public_key)?)
    }

    /// Starts one of the lifeboats from its file.
    pub fn start(&self, n: usize) -> Result<LifeboatSeat<'_>> {
        let store = SealedStore::open(self.dir.join(format!("boat{n}")))?;
        let machine = self.machines.get(n).context("no such lifeboat")?;
        Ok(LifeboatSeat::start(machine.as_ref(), &self.image, store, &self.collateral)?)
    }

    /// One of their machines.
    pub fn machine(&self, n: usize) -> Result<PlatformId> {
        Ok(self.machines.get(n).context("no such lifeboat")?.platform().id())
    }

    /// Some holders open their age files and box their shares, for one thing in one session.
    pub fn boxes(&self, info: &SessionInfo, subject: &Subject, who: &[&str]) -> Result<Vec<ShareBox>> {
        let one = |name: &&str| -> Result<ShareBox> {
            let file = fs::read(self.dir.join(format!("{name}.age")))?;
            let identity = Identity::parse(&fs::read_to_string(self.dir.join(format!("{name}.key")))?)?;
            let share = read_share(&file, Some(&identity))?;
            Ok(ShareBox::seal(&mut HostRandom::default(), info, subject, &share)?)
        };
        who.iter().map(one).collect()
    }
}

fn ceremony(dir: &Path, machine: &Machine, collateral: &[u8]) -> Result<Transcript> {
    let store = SealedStore::open(dir.join("ceremony"))?;
    let random = &mut HostRandom::default();
    let keys: Vec<Identity> = HOLDERS.iter().map(|_| Identity::generate(random)).collect();
    let of = |(name, key): (&&str, &Identity)| Holder { name: (*name).into(), recipient: *key.recipient().as_bytes() };
    let holders = Holders { needed: NEEDED, holders: HOLDERS.iter().zip(&keys).map(of).collect() };
    let mut seat = CeremonySeat::start(machine, &baton_host::ceremony::image("1")?, store, collateral)?;
    let published = seat.new_key(Purpose::Council, &holders)?;
    for ((name, key), file) in HOLDERS.iter().zip(&keys).zip(&published.files) {
        fs::write(dir.join(format!("{name}.age")), file)?;
        fs::write(dir.join(format!("{name}.key")), key.danger_to_text().as_bytes())?;
    }
    Ok(Transcript::from_cbor(&published.attested.message)?)
}
