//! Drills: each disaster that operators are afraid of, played on the embedded chain from its start to a
//! chain that makes blocks again and a vault that can be read.
//!
//! A drill fails if anything on the way back is refused; what must be refused on the way is checked as well.

mod chain;
mod lifeboat;
mod people;
mod stage;

use std::path::Path;

use anyhow::{Result, bail};
use serde::Serialize;

use stage::Stage;

/// What a disaster cost, and who brought the network back.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    /// Blocks that were made and are gone, or that one node missed.
    pub blocks_lost: u64,
    /// How long the chain stood, in seconds of the chain's own time.
    pub stood_secs: u64,
    /// Who had to act.
    pub people: String,
    /// What was public, and when.
    pub public: String,
}

/// One drill's end.
#[derive(Clone, Debug, Serialize)]
pub struct Played {
    /// Its name.
    pub name: &'static str,
    /// The disaster.
    pub disaster: &'static str,
    /// What happened, in order.
    pub steps: Vec<String>,
    /// What it cost.
    pub cost: Cost,
}

type Play = fn(&mut Stage) -> Result<Cost>;

struct Drill {
    name: &'static str,
    disaster: &'static str,
    play: Play,
    /// The network has put lifeboats aside.
    boats: bool,
}

const DRILLS: [Drill; 10] = [
    Drill { name: "crash-at-x1", disaster: "the new build dies at the first block after X, and no vote is possible", play: people::crash_at_x1, boats: false },
    Drill { name: "skip-upgrade", disaster: "validators pass over the upgrade after everybody handed over", play: chain::skip_upgrade, boats: false },
    Drill { name: "long-halt", disaster: "the chain stands for three weeks: collateral expired, trusting period over", play: chain::long_halt, boats: false },
    Drill { name: "lost-signing-key", disaster: "the developers' key is lost; the next build is signed by a key that is on no list", play: people::lost_signing_key, boats: false },
    Drill { name: "native-rollback", disaster: "the chain takes back the state of its last block", play: chain::native_rollback, boats: false },
    Drill { name: "network-rewind", disaster: "the whole network returns to an older height", play: people::network_rewind, boats: false },
    Drill { name: "late-node", disaster: "a node comes hundreds of blocks late", play: chain::late_node, boats: false },
    Drill { name: "cpusvn-downgrade", disaster: "a machine's firmware goes back below what its files were sealed for", play: chain::cpusvn_downgrade, boats: false },
    Drill { name: "half-the-network-gone", disaster: "half of the machines are destroyed", play: chain::half_gone, boats: false },
    Drill { name: "all-builds-broken", disaster: "no build of the network starts any more, on any machine", play: lifeboat::all_builds_broken, boats: true },
];

/// Names and disasters.
pub fn list() -> Vec<(&'static str, &'static str)> {
    DRILLS.iter().map(|d| (d.name, d.disaster)).collect()
}

/// Plays one drill in a folder that is empty. `said` hears each step as it happens.
pub fn play(name: &str, dir: &Path, seed: u64, said: &mut dyn FnMut(&str)) -> Result<Played> {
    let Some(drill) = DRILLS.iter().find(|d| d.name == name) else {
        let names: Vec<_> = DRILLS.iter().map(|d| d.name).collect();
        bail!("no such drill: expected one of {}, got {name}; `baton drill --list` says what each plays", names.join(", "));
    };
    let mut stage = Stage::new(dir, seed, drill.boats, said)?;
    let cost = (drill.play)(&mut stage)?;
    Ok(Played { name: drill.name, disaster: drill.disaster, steps: stage.into_steps(), cost })
}
