//! One node: a machine, a seat for each build on it, and its copy of the vault's records.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use baton_enclave::sim::Machine;
use baton_enclave::wire::{Reply, Request, Under};
use baton_host::link::Launcher;
use baton_host::seat::{Seat, SeatError};

use super::{Build, Named};

/// A node of the network.
pub struct Node {
    /// Its name.
    pub name: String,
    dir: PathBuf,
    machine: Rc<Machine>,
    launcher: Rc<dyn Launcher>,
    seats: HashMap<String, Seat>,
}

impl Node {
    /// A node in a folder, whose enclaves `launcher` runs.
    pub fn new(dir: &Path, name: &str, machine: Rc<Machine>, launcher: Rc<dyn Launcher>) -> Self {
        Node { name: name.into(), dir: dir.into(), machine, launcher, seats: HashMap::new() }
    }

    /// Its machine.
    pub fn machine(&self) -> &Rc<Machine> {
        &self.machine
    }

    /// A seat of a build in another folder, on this machine, not running.
    pub fn open_at(&self, dir: &Path, build: &Build) -> Result<Seat, SeatError> {
        let (machine, launcher) = (self.machine.clone(), self.launcher.clone());
        Seat::open_on(dir, machine, launcher, build.image.clone(), Box::new(os_entropy))
    }

    /// The seat of a build, running: the restart path is the only path.
    pub fn seat(&mut self, which: Named, build: &Build) -> Result<&mut Seat> {
        self.seat_named(which.name(), build)
    }

    /// A seat under a name of its own: a second instance of the same build, or a build of no name.
    pub fn seat_named(&mut self, name: &str, build: &Build) -> Result<&mut Seat> {
        if !self.seats.contains_key(name) {
            let (machine, launcher) = (self.machine.clone(), self.launcher.clone());
            let seat = Seat::open_on(&self.dir.join(name), machine, launcher, build.image.clone(), Box::new(os_entropy))?;
            self.seats.insert(name.into(), seat);
        }
        let seat = self.seats.get_mut(name).context("the seat was just opened")?;
        if !seat.is_running() {
            seat.start().with_context(|| format!("{} {name}", self.name))?;
        }
        Ok(seat)
    }

    /// Two seats at once, by name; both must have been opened.
    pub fn pair(&mut self, source: &str, target: &str) -> Result<(&mut Seat, &mut Seat)> {
        let [Some(s), Some(t)] = self.seats.get_disjoint_mut([source, target]) else {
            bail!("{}: seats {source} and {target} are not both open", self.name);
        };
        Ok((s, t))
    }

    /// Takes a seat out, for attacks that need two nodes' seats in hand.
    pub fn take(&mut self, name: &str) -> Result<Seat> {
        self.seats.remove(name).with_context(|| format!("{} has no seat {name}", self.name))
    }

    /// Puts it back.
    pub fn put_back(&mut self, name: &str, seat: Seat) {
        self.seats.insert(name.into(), seat);
    }

    /// Stops everything, as a power cut does.
    pub fn stop(&mut self) {
        self.seats.values_mut().for_each(Seat::stop);
    }

    /// Writes a value into the vault through a seat.
    pub fn vault_put(&mut self, seat: &str, name: &str, value: &[u8]) -> Result<Vec<u8>> {
        self.vault_write(seat, &Request::Put { under: Under::Seed, name: name.into(), value: value.to_vec() })
    }

    /// The same with a record that hides how long the value is; not every program writes such.
    pub fn vault_put_padded(&mut self, seat: &str, name: &str, value: &[u8]) -> Result<Vec<u8>> {
        self.vault_write(seat, &Request::PutPadded { under: Under::Seed, name: name.into(), value: value.to_vec() })
    }

    fn vault_write(&mut self, seat: &str, put: &Request) -> Result<Vec<u8>> {
        let s = self.seats.get_mut(seat).with_context(|| format!("no seat {seat}"))?;
        let Reply::Record { index, record } = s.call(put)? else { bail!("the enclave gave no record") };
        self.vault_store(&index, &record)?;
        Ok(index.to_vec())
    }

    /// Keeps a record that another node wrote: the network's state is replicated.
    pub fn vault_store(&self, index: &[u8], record: &[u8]) -> Result<()> {
        let dir = self.dir.join("vault");
        fs::create_dir_all(&dir)?;
        Ok(fs::write(dir.join(hex::encode(index)), record)?)
    }

    /// The records that this node keeps.
    pub fn vault_records(&self) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let dir = self.dir.join("vault");
        let mut out = Vec::new();
        if dir.exists() {
            for entry in fs::read_dir(dir)? {
                let path = entry?.path();
                let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
                out.push((hex::decode(name)?, fs::read(&path)?));
            }
        }
        Ok(out)
    }

    /// Reads a value through a seat.
    pub fn vault_get(&mut self, seat: &str, name: &str) -> Result<Vec<u8>> {
        let dir = self.dir.join("vault");
        let s = self.seats.get_mut(seat).with_context(|| format!("no seat {seat}"))?;
        let locate = Request::Locate { under: Under::Seed, name: name.into(), epoch: 0 };
        let Reply::Record { index, .. } = s.call(&locate)? else { bail!("the enclave gave no place") };
        let record = fs::read(dir.join(hex::encode(index))).with_context(|| format!("no record of {name:?}"))?;
        let get = Request::Get { under: Under::Seed, name: name.into(), record };
        match s.call(&get)? {
            Reply::Value(v) => Ok(v),
            _ => bail!("the enclave gave no value"),
        }
    }
}

fn os_entropy() -> [u8; 32] {
    rand::random()
}
