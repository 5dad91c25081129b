//! `baton sit-out`: a node that stays on the old build on purpose, and its way back.
//!
//! A frozen node is a way back for a network whose new build fails. It must not sign while others go on, and
//! it must not sign again before it is sure that its key signed nowhere else meanwhile.

use std::fs;
use std::path::{Path, PathBuf};

use baton_core::custody::State;
use baton_host::validator::{ConsensusAddress, ValidatorState, may_sign};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::snapshot::find;
use crate::cli::{NodeArgs, SitOutArgs, SitOutReturnArgs, SitOutShowArgs};
use crate::output::{Failure, Report};
use crate::world::{Named, Platform, World};

const MARK: &str = "sit-out.json";

/// What a frozen node leaves in its folder.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    version: u8,
    reason: String,
    /// Height of the chain then.
    since_height: u64,
    /// What its validator had signed last.
    validator: Option<ValidatorState>,
}

fn mark_of(folder: &Path, node: &str) -> PathBuf {
    folder.join("nodes").join(node).join(MARK)
}

fn read(path: &Path) -> Result<Option<Mark>, Failure> {
    match fs::read(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Failure::input(format!("{}: {e}", path.display()))),
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|e| Failure::input(format!("{}: {e}; remove it if the node is not to sit out", path.display()))),
    }
}

/// Marks a node.
pub fn begin(args: &SitOutArgs) -> Result<Report, Failure> {
    let at = find(&NodeArgs { build: args.at.build, ..args.at.clone() })?;
    let path = mark_of(&args.at.folder, &args.at.node);
    if let Some(known) = read(&path)? {
        let mut out = Report::new();
        out.verdict(true, format!("{} sits out already, since height {}: {}", args.at.node, known.since_height, known.reason));
        return Ok(out);
    }
    let validator = args.validator_state.as_deref().map(ValidatorState::read).transpose().map_err(Failure::input)?;
    let mark = Mark { version: 1, reason: args.reason.clone(), since_height: at.world.chain.height(), validator };
    let text = serde_json::to_vec_pretty(&mark).map_err(|e| Failure::input(e.to_string()))?;
    crate::files::write(&path, &text)?;
    let mut out = Report::new();
    out.both("node", "node", &args.at.node).field("since_height", mark.since_height);
    out.verdict(true, format!("{} sits out from height {}: stop its validator now; `baton sit-out return` asks before it may sign again", args.at.node, mark.since_height));
    Ok(out)
}

/// Takes the mark away, if the validator's key signed nowhere else.
pub fn finish(args: &SitOutReturnArgs) -> Result<Report, Failure> {
    let at = find(&args.at)?;
    let path = mark_of(&args.at.folder, &args.at.node);
    let mark = read(&path)?.ok_or_else(|| Failure::refused(format!("{} does not sit out; nothing to do", args.at.node)))?;
    let state = ValidatorState::read(&args.validator_state).map_err(Failure::input)?;
    let address = ConsensusAddress::read(&args.validator_key).map_err(Failure::input)?;
    if let Some(then) = mark.validator.as_ref().filter(|then| state.height < then.height) {
        let text = format!("the validator's state file was put back: expected height {} or above, got {}", then.height, state.height);
        return Err(Failure::refused(text).next("bring the file that the signer wrote last; never sign with an older one"));
    }
    may_sign(&at.world.chain, address, &state).map_err(Failure::refused)?;
    fs::remove_file(&path).map_err(|e| Failure::input(format!("{}: {e}", path.display())))?;
    let mut out = Report::new();
    out.both("node", "node", &args.at.node).field("validator_height", state.height);
    out.verdict(true, format!("{} may sign again: no block above height {} holds its signature", args.at.node, state.height));
    Ok(out)
}

/// Adds up who could go on and who could go back.
pub fn show(args: &SitOutShowArgs) -> Result<Report, Failure> {
    let mut world = World::open(&args.folder, 0, 0, Platform::Sim).map_err(|e| Failure::input(format!("{e:#}")))?;
    let powers = world.progress.powers.clone();
    let total: u64 = powers.iter().sum();
    let (mut frozen, mut prepared, mut rows) = (0, 0, Vec::new());
    let mut out = Report::new();
    for i in 0..world.nodes.len() {
        let (name, power) = (world.nodes[i].name.clone(), powers.get(i).copied().unwrap_or(0));
        let state = |world: &mut World, which: Named| {
            let there = args.folder.join("nodes").join(&name).join(which.name()).is_dir();
            there.then(|| world.status(i, which).map(|s| s.state)).transpose()
        };
        let sits = read(&mark_of(&args.folder, &name))?;
        let (old, new) = (state(&mut world, Named::V1)?, state(&mut world, Named::V2)?);
        let ready = new.is_some_and(|s| s != State::Empty);
        let what = match (&sits, ready) {
            (Some(mark), _) => {
                frozen += power;
                format!("frozen since height {}: {}", mark.since_height, mark.reason)
            }
            (None, true) => {
                prepared += power;
                "prepared: the new build holds the keyring".into()
            }
            (None, false) => "not prepared".into(),
        };
        let held = |s: Option<State>| s.map_or("none".to_string(), |s| s.to_string());
        out.row(&name, format!("power {power}, v1 {}, v2 {}, {what}", held(old), held(new)));
        rows.push(json!({"node": name, "power": power, "v1": held(old), "v2": held(new), "frozen": sits.is_some(), "prepared": ready}));
    }
    let more_than = |share: u64| if share * 3 > total * 2 { "more than 2/3" } else { "not more than 2/3" };
    out.row("prepared", format!("{prepared} of {total}, {}: what the new build can make blocks with", more_than(prepared)));
    out.row("frozen", format!("{frozen} of {total}, {}: what the old build could go on with", more_than(frozen)));
    out.field("nodes", rows).field("prepared", prepared).field("frozen", frozen).field("total", total);
    Ok(out)
}
