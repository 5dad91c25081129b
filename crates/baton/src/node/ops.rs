//! What an operator asks of a node, and how a command reaches it: through the daemon, or by taking the home itself.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use baton_attest::identity::Measurement;
use baton_attest::quote::{Collateral, Purpose, QuoteTime, check_quote};
use baton_core::custody::State;
use baton_enclave::wire::{Reply, Request, Under};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::config::{Home, HomeError};
use super::follow::Follower;
use super::peers::Peer;
use super::steps::record_of;
use super::upgrade::Wanted;
use super::waiting::{self, Begun, Publishing, Waits};
use super::{Done, Node};

/// A question or an order of the operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Op {
    /// What `/v1/status` says, after a tick.
    Status,
    /// A quote of this machine, judged by the policy of the build in use.
    Attest,
    /// The first seed of a new network.
    Genesis,
    /// A file that the network's old enclave sealed under MRSIGNER.
    Import {
        /// The file.
        file: PathBuf,
    },
    /// Get the keyring from a peer of the same build.
    Join {
        /// Its URL.
        peer: String,
        /// Which build; none: the newest.
        build: Option<Measurement>,
        /// How long at most, in seconds.
        wait_secs: u64,
    },
    /// Whatever can be done now for a plan.
    Upgrade {
        /// The plan; none: the pending one, else the newest that is known.
        plan: Option<String>,
        /// Its height, where the asker knows it: a plan of the same name at another height is another plan.
        #[serde(default)]
        height: Option<u64>,
        /// Its info, where the chain's own node wrote it down.
        #[serde(default)]
        info: Option<String>,
    },
    /// App: store a value.
    VaultPut {
        /// Its name.
        name: String,
        /// The value.
        value: String,
    },
    /// App: read a value.
    VaultGet {
        /// Its name.
        name: String,
    },
    /// Carry an emergency order to the enclaves here.
    Carry {
        /// The order's file.
        file: PathBuf,
        /// How.
        #[serde(default)]
        how: super::orders::How,
    },
    /// Publish a record.
    RecordSend {
        /// The memo.
        memo: String,
        /// How long to wait for its block, in seconds.
        wait_secs: u64,
    },
}

pub(super) fn told(done: &[Done]) -> Vec<String> {
    done.iter().map(|d| format!("{}: {}", d.step, d.text)).collect()
}

impl Node {
    /// Begins what the operator asks. What has to wait for the chain or a peer is given back, to be moved on between ticks.
    pub fn begin(&mut self, op: &Op) -> Result<Begun> {
        let limit = |secs: u64| Duration::from_secs(secs).min(waiting::MAX_WAIT);
        match op {
            Op::Join { peer, build, wait_secs } => self.begin_join(peer, *build, limit(*wait_secs)),
            Op::RecordSend { memo, wait_secs } => {
                let mut record = waiting::Record(Publishing::new(memo.clone(), None, limit(*wait_secs)));
                Ok(match record.step(self)? {
                    Some(value) => Begun::Done(value),
                    None => Begun::Waits(Box::new(record)),
                })
            }
            Op::Status | Op::Attest | Op::Genesis | Op::Import { .. } | Op::Upgrade { .. } | Op::VaultPut { .. } | Op::VaultGet { .. } | Op::Carry { .. } => {
                self.operate(op).map(Begun::Done)
            }
        }
    }

    /// Without a daemon: moves a job on until it is done. The steps of this node go on meanwhile.
    fn wait_for(&mut self, mut job: Box<dyn Waits>) -> Result<Value> {
        loop {
            if let Some(value) = job.step(self)? {
                return Ok(value);
            }
            std::thread::sleep(waiting::LOOK);
            self.tick();
        }
    }

    /// Does what the operator asks, to its end.
    pub fn operate(&mut self, op: &Op) -> Result<Value> {
        match op {
            Op::Status => {
                self.tick();
                Ok(self.shared.status())
            }
            Op::Attest => self.op_attest(),
            Op::Genesis => self.op_genesis(),
            Op::Import { file } => self.op_import(file),
            Op::Upgrade { plan, height, info } => self.op_upgrade(&Wanted { plan: plan.as_deref(), height: *height, info: info.as_deref() }),
            Op::VaultPut { name, value } => self.op_put(name, value),
            Op::VaultGet { name } => self.op_get(name),
            Op::Carry { file, how } => {
                let digest = super::orders::put(self, file, how)?;
                let done = self.tick();
                let mut told_of = super::orders::told(self, &digest);
                told_of["done"] = json!(told(&done));
                told_of["emergencies"] = json!(super::orders::emergencies(self));
                Ok(told_of)
            }
            Op::Join { .. } | Op::RecordSend { .. } => match self.begin(op)? {
                Begun::Done(value) => Ok(value),
                Begun::Waits(job) => self.wait_for(job),
            },
        }
    }

    /// A canary's request, quoted: nothing is given, and nothing changes.
    fn op_attest(&mut self) -> Result<Value> {
        if self.places.is_empty() {
            bail!("no build is in {}", self.home.path("builds").display());
        }
        let index = self.holder().unwrap_or(0);
        self.await_collateral()?;
        let quote = self.canary_quote(index)?;
        let time = self.shared.view().time;
        let build = &self.at(index)?.build;
        let (name, tcb) = (build.name.clone(), build.policy.tcb.clone());
        // On hardware the quote has shown it, whatever the collateral is worth.
        let machine = self.here.launcher().platform_id();
        let judged = self.collateral().and_then(|json| Ok(Collateral::from_json(&json)?)).and_then(|c| Ok(check_quote(&quote, &c, &tcb, QuoteTime(time), Purpose::Secret)?));
        Ok(match judged {
            Ok(q) => json!({
                "build": name, "platform": q.platform().to_string(), "tcb": format!("{:?}", q.status()), "fmspc": hex::encode(q.fmspc()),
                "newest_signed_date": q.newest_signed_date().0, "error": null,
            }),
            Err(e) => json!({"build": name, "platform": machine.to_string(), "error": format!("{e:#}")}),
        })
    }

    /// A build that holds the keyring, whether or not it serves yet.
    pub(super) fn holding(&self) -> Option<usize> {
        self.holder().or_else(|| (0..self.places.len()).find(|i| self.state(*i) == State::Received))
    }

    fn op_genesis(&mut self) -> Result<Value> {
        self.try_all_again();
        self.tick();
        if self.holder().is_none() {
            let [index] = (0..self.places.len()).collect::<Vec<_>>()[..] else {
                bail!("genesis takes the one build in {}: expected 1, got {}; leave the genesis build alone there", self.home.path("builds").display(), self.places.len());
            };
            let place = self.at(index)?;
            let own = place.seat.store().find(baton_core::seal::Slot::Custody)?;
            // The checkpoint was sealed a moment ago: that is this seat's own file, and holds no keyring.
            let mut found: Vec<String> = place.seat.store().anything_sealed()?.iter().filter(|p| !own.iter().any(|f| f.path == **p)).map(|p| p.display().to_string()).collect();
            let dir = place.build.folder();
            for entry in std::fs::read_dir(self.home.path("seats"))? {
                let other = entry?.path();
                if other.file_name().is_some_and(|n| *n != *dir) && other.join("sealed").read_dir().is_ok_and(|mut d| d.next().is_some()) {
                    found.push(other.display().to_string());
                }
            }
            self.at(index)?.seat.call(&Request::Genesis { found })?;
            self.refresh();
        }
        self.tick();
        let index = self.holder().context("nobody holds a keyring after genesis")?;
        let p = &self.places[index];
        let s = p.status.as_ref().context("no status")?;
        let commitment = s.commitments.first().context("no commitment")?.to_string();
        Ok(json!({"commitment": commitment, "measurement": p.build.measurement.to_string(), "state": s.state.to_string().to_lowercase()}))
    }

    fn op_import(&mut self, file: &std::path::Path) -> Result<Value> {
        self.tick();
        let bytes = crate::files::read(file, "legacy file", 16 << 20).map_err(|e| anyhow::anyhow!("{}", e.to_string().trim()))?;
        let empty: Vec<usize> = (0..self.places.len()).filter(|i| self.state(*i) == State::Empty).collect();
        let [index] = empty[..] else {
            bail!("an import takes the one build here that holds nothing: expected 1, got {}", empty.len());
        };
        let shadow = self.places[index].build.policy.phase == baton_core::policy::Phase::Shadow;
        let commitments = !self.places[index].build.policy.commitments().is_empty();
        let request = match shadow && commitments {
            true => Request::Inherit { file: bytes },
            false => Request::ImportLegacy { file: bytes },
        };
        let place = self.at(index)?;
        place.seat.call(&request)?;
        let s = place.seat.status()?;
        let measurement = place.build.measurement.to_string();
        self.tick();
        let commitment = s.commitments.first().map(ToString::to_string);
        Ok(json!({"commitment": commitment, "measurement": measurement, "state": s.state.to_string().to_lowercase(), "exposed": s.exposed}))
    }

    fn op_put(&mut self, name: &str, value: &str) -> Result<Value> {
        self.tick();
        let index = self.holder().context("no build serves here: genesis, join or the proof at X come first")?;
        let put = Request::Put { under: Under::Seed, name: name.into(), value: value.as_bytes().to_vec() };
        let (at, record) = record_of(self.at(index)?.seat.call(&put)?)?;
        super::config::write_private(&self.home.path("vault").join(hex::encode(at)), &record)?;
        Ok(json!({"index": hex::encode(at), "build": self.places[index].build.measurement.to_string()}))
    }

    fn op_get(&mut self, name: &str) -> Result<Value> {
        self.tick();
        let index = self.holder().context("no build serves here: genesis, join or the proof at X come first")?;
        let epochs = self.places[index].status.as_ref().map(|s| s.epochs.clone()).unwrap_or_default();
        for epoch in epochs.into_iter().rev() {
            let locate = Request::Locate { under: Under::Seed, name: name.into(), epoch };
            let (at, _) = record_of(self.at(index)?.seat.call(&locate)?)?;
            let Ok(record) = std::fs::read(self.home.path("vault").join(hex::encode(at))) else { continue };
            let get = Request::Get { under: Under::Seed, name: name.into(), record };
            let Reply::Value(value) = self.at(index)?.seat.call(&get)? else { bail!("the enclave gave no value") };
            return Ok(json!({"value": String::from_utf8_lossy(&value), "build": self.places[index].build.measurement.to_string(), "epoch": epoch}));
        }
        bail!("no record of {name:?} is kept here; it comes from the peers")
    }
}

/// A way to a node.
pub enum Operator {
    /// Its daemon runs.
    Daemon {
        /// Where it listens.
        daemon: Box<Peer>,
        /// The token.
        token: String,
    },
    /// This process took the home.
    Here {
        /// The node.
        node: Box<Node>,
        /// Its look at the chain.
        follower: Box<Follower>,
    },
}

/// How long a command waits for the daemon's answer at most.
const DAEMON_LIMIT: Duration = Duration::from_secs(600);

impl Operator {
    /// Takes the home, or finds the daemon that has it.
    pub fn open(home: Home) -> Result<Self> {
        match home.lock() {
            Ok(lock) => {
                drop(lock);
                let node = Box::new(Node::open(home)?);
                let follower = Box::new(node.follower());
                Ok(Operator::Here { node, follower })
            }
            Err(HomeError::Locked(_)) => {
                let url = format!("http://{}", home.config().listen);
                Ok(Operator::Daemon { daemon: Box::new(Peer::new(&url, DAEMON_LIMIT, &Default::default())), token: home.token()? })
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Asks.
    pub fn ask(&mut self, op: &Op) -> Result<Value> {
        match self {
            Operator::Here { node, follower } => {
                let before = told(&node.tick());
                follower.look();
                super::watch_peers::look_once(node);
                let mut got = node.operate(op)?;
                // A transfer that a killed process left is taken up by the first tick: whoever asks is told of it.
                if let Some(done) = got.get_mut("done").and_then(Value::as_array_mut) {
                    done.splice(0..0, before.into_iter().map(Value::from));
                }
                Ok(got)
            }
            Operator::Daemon { daemon, token } => {
                let (status, answer) = daemon.operate(token, &serde_json::to_value(op)?)?;
                match status {
                    200 => Ok(answer),
                    _ => bail!("{}", answer["error"].as_str().unwrap_or(&answer.to_string())),
                }
            }
        }
    }
}
