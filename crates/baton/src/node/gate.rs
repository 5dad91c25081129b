//! What the guard goes by: small files that it reads without a daemon, a database or an enclave.
//!
//! A plan's name alone is no identity: a later vote can overwrite a plan by one of the same name, even of the same height,
//! that names another build (H14). So a confirmed build is bound to the name and the height that its enclaves were promised
//! for, and what the chain's own node wrote at its halt (`upgrade-info.json`) is read by the enclave's reader and counts for more
//! than what this node saw.

use std::path::{Path, PathBuf};

use baton_attest::identity::{Measurement, hash};
use baton_chain::info::read_info;
use serde::{Deserialize, Serialize};

use super::config::{HomeError, write_private};
use super::db::KnownPlan;

/// Largest file that is read here, in bytes (1 MiB).
const MAX_BYTES: usize = 1 << 20;

/// A plan as this node saw it last, by its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanNote {
    /// Its name.
    pub name: String,
    /// Its height.
    pub height: u64,
    /// The build that it names.
    pub measurement: Option<Measurement>,
    /// Why no reader may read its info.
    pub unreadable: Option<String>,
}

/// Name and height of the plan that a build was promised the keyring for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// Name.
    pub name: String,
    /// Height.
    pub height: u64,
}

/// A build that holds the keyring durably on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmed {
    /// MRENCLAVE.
    pub measurement: Measurement,
    /// Its name in the folder.
    pub build: String,
    /// Its custody.
    pub state: String,
    /// It serves: its enclave has verified genesis, its own plan at X, or an order. No plan says anything against it.
    #[serde(default)]
    pub serves: bool,
    /// An emergency order promised it the keyring, not a plan.
    #[serde(default)]
    pub by_order: bool,
    /// The plan that promised it the keyring.
    #[serde(default)]
    pub plan: Option<Bound>,
}

impl Confirmed {
    /// True if the build may run for this very plan.
    pub fn is_for(&self, name: &str, height: u64) -> bool {
        self.serves || self.by_order || self.plan.as_ref().is_some_and(|b| b.name == name && b.height == height)
    }
}

/// What x/upgrade wrote when the chain halted for a plan: `data/upgrade-info.json`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct UpgradeInfo {
    /// The plan's name.
    pub name: String,
    /// Its height.
    #[serde(deserialize_with = "height")]
    pub height: u64,
    /// Its info, which names the build.
    #[serde(default)]
    pub info: String,
}

/// Some versions write 64-bit numbers as texts.
fn height<'de, D: serde::Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Number(u64),
        Text(String),
    }
    match Number::deserialize(d)? {
        Number::Number(n) => Ok(n),
        Number::Text(t) => t.parse().map_err(|_| serde::de::Error::custom(format!("height: expected a number, got {t:?}"))),
    }
}

/// A file that is there and cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}", path = .path.display())]
pub struct Unusable {
    path: PathBuf,
    reason: String,
}

/// Reads a small JSON file; none if it is not there.
fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<Option<T>, Unusable> {
    let unusable = |reason: String| Unusable { path: path.into(), reason };
    match std::fs::metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(unusable(e.to_string())),
        Ok(_) => {}
    }
    let bytes = crate::files::read(path, "file", MAX_BYTES).map_err(|e| unusable(e.to_string().trim().into()))?;
    serde_json::from_slice(&bytes).map(Some).map_err(|e| unusable(e.to_string()))
}

fn write<T: Serialize>(path: &Path, what: &T) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        super::config::private_folder(folder)?;
    }
    let text = serde_json::to_string_pretty(what)? + "\n";
    Ok(write_private(path, text.as_bytes())?)
}

impl PlanNote {
    fn path(home: &Path, plan: &str) -> PathBuf {
        // A chain bounds a plan's name by its proposal's size alone, a file system by 255 bytes.
        let name = if plan.len() > 100 { hash("baton plan file v1", &[plan.as_bytes()]).to_string() } else { hex::encode(plan) };
        home.join("plans").join(format!("{name}.json"))
    }

    /// What this node saw of a plan.
    pub fn read(home: &Path, plan: &str) -> Result<Option<Self>, Unusable> {
        read(&Self::path(home, plan))
    }

    /// Writes a plan down: one that the chain showed as pending, or that an enclave verified.
    pub fn write(home: &Path, plan: &KnownPlan) -> anyhow::Result<()> {
        let (measurement, unreadable) = match read_info(&plan.info) {
            Ok(build) => (build.map(|b| b.measurement), None),
            Err(e) => (None, Some(e.to_string())),
        };
        write(&Self::path(home, &plan.name), &PlanNote { name: plan.name.clone(), height: plan.height, measurement, unreadable })
    }
}

impl Confirmed {
    fn path(home: &Path, measurement: &Measurement) -> PathBuf {
        home.join("confirmed").join(format!("{measurement}.json"))
    }

    /// What is written of a build.
    pub fn read(home: &Path, measurement: &Measurement) -> Result<Option<Self>, Unusable> {
        read(&Self::path(home, measurement))
    }

    /// Writes it down.
    pub fn write(&self, home: &Path) -> anyhow::Result<()> {
        write(&Self::path(home, &self.measurement), self)
    }

    /// The build holds the keyring no more.
    pub fn remove(home: &Path, measurement: &Measurement) -> Result<(), HomeError> {
        let path = Self::path(home, measurement);
        std::fs::remove_file(&path).map_err(|source| HomeError::Io { action: "remove", path, source })
    }
}

impl UpgradeInfo {
    /// Reads the file; none if it is not there: the chain has not halted for a plan here yet.
    pub fn read(path: &Path) -> Result<Option<Self>, Unusable> {
        read(path)
    }

    /// Where cosmovisor's environment says that it is.
    pub fn of_cosmovisor() -> Option<PathBuf> {
        std::env::var_os("DAEMON_HOME").filter(|d| !d.is_empty()).map(|d| PathBuf::from(d).join("data").join("upgrade-info.json"))
    }
}

/// Why a command is not started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Held {
    /// Nobody here has seen it.
    #[error("this node has seen no plan {0:?}: expected one that the chain scheduled; let `baton node` or `baton upgrade --plan {0}` look at the chain or at a peer first")]
    Unknown(String),
    /// Two readers could see two builds.
    #[error("plan {plan:?}: {why}; no build can be confirmed for this plan, and no enclave hands over by it: the chain has to cancel it and vote again")]
    Unreadable {
        /// The plan.
        plan: String,
        /// What the reader says.
        why: String,
    },
    /// The command's build is not the plan's.
    #[error("plan {plan:?} at {height} names build {named}: expected that one, got {got}; start the binary that the plan is for")]
    OtherBuild {
        /// The plan.
        plan: String,
        /// Its height.
        height: u64,
        /// The build that it names, or "no enclave".
        named: String,
        /// The build at hand.
        got: String,
    },
    /// The keyring is not there.
    #[error("the handover to build {0} is not confirmed on this machine, so nothing that needs it is started")]
    NotConfirmed(Measurement),
    /// The keyring came for another plan.
    #[error("build {build} is confirmed for {bound}: expected plan {plan:?} at {height}, which is what the command runs with or what the chain halted for; so nothing that needs it is started")]
    OtherPlan {
        /// The build.
        build: Measurement,
        /// The plan that it is confirmed for.
        bound: String,
        /// The plan in question.
        plan: String,
        /// Its height.
        height: u64,
    },
}

/// What the guard is asked, and all that it knows.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The plan that the command runs with.
    pub plan: Option<&'a str>,
    /// The build that it runs with.
    pub build: Option<Measurement>,
    /// What this node saw of the plan.
    pub seen: Option<&'a PlanNote>,
    /// What the chain's node wrote at its halt.
    pub halted: Option<&'a UpgradeInfo>,
}

impl Question<'_> {
    /// The build that may run; none: the plan names no enclave.
    pub fn judge<E: From<Held>>(&self, confirmed: impl Fn(&Measurement) -> Result<Option<Confirmed>, E>) -> Result<Option<Measurement>, E> {
        let (wanted, height) = match self.plan {
            Some(plan) => self.of_plan(plan)?,
            None => (self.build, 0),
        };
        let Some(build) = wanted else { return Ok(None) };
        let c = confirmed(&build)?.ok_or(Held::NotConfirmed(build))?;
        if c.serves || c.by_order {
            return Ok(Some(build));
        }
        let bound = c.plan.as_ref().map_or("no plan that this node knows".into(), |b| format!("plan {:?} at {}", b.name, b.height));
        let other = |plan: &str, height| Held::OtherPlan { build, bound: bound.clone(), plan: plan.into(), height };
        if let Some(plan) = self.plan.filter(|p| !c.is_for(p, height)) {
            return Err(other(plan, height).into());
        }
        let Some(halted) = self.halted else { return Ok(Some(build)) };
        // The file stays until the next halt: an earlier plan says nothing of a later one.
        if c.plan.as_ref().is_some_and(|b| b.name != halted.name && halted.height < b.height) {
            return Ok(Some(build));
        }
        if c.plan.is_some() && !c.is_for(&halted.name, halted.height) {
            return Err(other(&halted.name, halted.height).into());
        }
        match halted.names()? {
            Some(m) if m == build => Ok(Some(build)),
            named => Err(halted.another(named, build).into()),
        }
    }

    /// The build of the plan, and its height.
    fn of_plan(&self, plan: &str) -> Result<(Option<Measurement>, u64), Held> {
        let (named, height) = match (self.halted.filter(|h| h.name == plan), self.seen) {
            (Some(halted), seen) => {
                let named = halted.names()?;
                // A binary that was made ready for an enclave, and a plan that names none.
                if let (None, None, Some(m)) = (named, self.build, seen.and_then(|s| s.measurement)) {
                    return Err(halted.another(None, m));
                }
                (named, halted.height)
            }
            (None, Some(seen)) => match &seen.unreadable {
                Some(why) => return Err(Held::Unreadable { plan: plan.into(), why: why.clone() }),
                None => (seen.measurement, seen.height),
            },
            (None, None) => return Err(Held::Unknown(plan.into())),
        };
        match (named, self.build) {
            (Some(named), Some(got)) if named != got => {
                Err(Held::OtherBuild { plan: plan.into(), height, named: named.to_string(), got: got.to_string() })
            }
            (named, build) => Ok((named.or(build), height)),
        }
    }
}

impl UpgradeInfo {
    /// The build that it names, by the enclave's own reader.
    fn names(&self) -> Result<Option<Measurement>, Held> {
        read_info(&self.info).map(|b| b.map(|b| b.measurement)).map_err(|e| Held::Unreadable { plan: self.name.clone(), why: e.to_string() })
    }

    fn another(&self, named: Option<Measurement>, got: Measurement) -> Held {
        let named = named.map_or("no enclave".into(), |m| m.to_string());
        Held::OtherBuild { plan: self.name.clone(), height: self.height, named, got: got.to_string() }
    }
}

#[cfg(test)]
#[path = "gate/tests.rs"]
mod tests;
