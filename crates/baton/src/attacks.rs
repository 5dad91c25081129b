//! `baton attacks`: a hostile host against a running network, with the real enclaves.
//!
//! Every attack is really attempted: the enclaves, the chain and the formats are those of the demo, and
//! only the host lies. An attempt counts as refused only when the very check that guards against it said
//! no; a refusal by another check is shown as such and fails the run, so a broken set-up never passes for
//! a defence. The ids are those of docs/hazards.md.

mod admission;
mod builds;
mod bytes;
mod erase;
mod forks;
mod lifeboats;
mod orders;
mod quotes;
mod report;
mod scene;
mod shares;
mod state;
mod votes;

use anyhow::{Result, bail};

pub use report::{Bench, Line, Verdict};

use crate::world::Platform;

/// How to run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only these ids; all when empty.
    pub only: Vec<String>,
    /// What the chain's and the PKI's keys are made from.
    pub seed: u64,
    /// Where enclaves run.
    pub platform: Platform,
    /// Machine-readable output, one object a line.
    pub json: bool,
}

/// One row of the hazards' list.
pub struct Attack {
    /// Its id.
    pub id: &'static str,
    /// What is attempted.
    pub title: &'static str,
    run: fn(&mut Bench) -> Result<()>,
}

/// Every attack, in the order of the list.
pub const ATTACKS: &[Attack] = &[
    Attack { id: "A01", title: "a build that developers signed and nobody voted for", run: builds::a01 },
    Attack { id: "A02", title: "a transaction that only names the measurement", run: votes::a02 },
    Attack { id: "A03", title: "a proposal that failed, was rejected, is open, superseded or cancelled", run: votes::a03 },
    Attack { id: "A04", title: "the voted measurement, launched otherwise or signed by others", run: builds::a04 },
    Attack { id: "A05", title: "a head signed by exactly two thirds", run: forks::a05 },
    Attack { id: "A06", title: "an emergency order used again elsewhere, or much later", run: orders::a06 },
    Attack { id: "A07", title: "malformed signatures among the good ones of an order", run: orders::a07 },
    Attack { id: "A08", title: "bytes of another type in the right place", run: bytes::a08 },
    Attack { id: "A09", title: "a forged exporter", run: builds::a09 },
    Attack { id: "A10", title: "an old sealed file put back", run: state::a10 },
    Attack { id: "A11", title: "an old, genuine view of the chain", run: forks::a11 },
    Attack { id: "A12a", title: "a fork of former validators, beyond the trusting period", run: forks::a12a },
    Attack { id: "A12b", title: "a fork of former validators, within the trusting period", run: forks::a12b },
    Attack { id: "A13", title: "time as the host would like it", run: quotes::a13 },
    Attack { id: "A14", title: "two copies of the old enclave at once", run: state::a14 },
    Attack { id: "A15", title: "a receipt that proves nothing", run: state::a15 },
    Attack { id: "A16", title: "an erase before the barrier", run: erase::a16 },
    Attack { id: "A17", title: "a quote of a machine that is not to be trusted", run: quotes::a17 },
    Attack { id: "A18", title: "a handover replayed to a second target", run: state::a18 },
    Attack { id: "A19", title: "shares: too few, twice, older, changed, for something else, or a vote's for another build", run: |b| shares::a19(b).and_then(|()| shares::a19_network(b)) },
    Attack { id: "A20", title: "bars that were weakened on chain", run: votes::a20 },
    Attack { id: "A21", title: "oversized, truncated, nested or non-canonical bytes", run: bytes::a21 },
    Attack { id: "A22", title: "a development machine against a production build, and the reverse", run: quotes::a22 },
    Attack { id: "A23", title: "a superseded plan of the same name and height, with its done key", run: votes::a23 },
    Attack { id: "A24", title: "plan.info that two readers understand differently", run: votes::a24 },
    Attack { id: "A25", title: "a quiet emergency: the council signs in secret, one host, offline; a lifeboat asked in secret", run: |b| orders::a25(b).and_then(|()| lifeboats::a25(b)) },
    Attack { id: "A26", title: "a rewind to a header that never was on the chain", run: orders::a26 },
    Attack { id: "A27", title: "a legacy MRSIGNER file that somebody kept", run: state::a27 },
    Attack { id: "A28", title: "a new build that is asked to serve before the chain ran its plan", run: state::a28 },
    Attack { id: "A29", title: "a forged quote, on a machine that nobody answers for", run: admission::a29 },
];

/// Runs one attack; every attempt is a line. A set-up that breaks is a line too.
pub fn attempt(attack: &Attack, seed: u64, platform: &Platform) -> Vec<Line> {
    let mut bench = Bench::new(attack.id, seed, platform.clone());
    if let Err(e) = (attack.run)(&mut bench) {
        bench.broken(&e);
    }
    bench.lines()
}

/// Runs the attacks and prints a line for each attempt. `true` when none succeeded and none was refused
/// for another reason than the expected one.
pub fn run(options: &Options) -> Result<bool> {
    let known = |id: &str| ATTACKS.iter().any(|a| matches(a, id));
    if let Some(unknown) = options.only.iter().find(|id| !known(id)) {
        let all: Vec<&str> = ATTACKS.iter().map(|a| a.id).collect();
        bail!("no attack {unknown:?}\nexpected: one of {}\nnext: `baton attacks --only A05`", all.join(", "));
    }
    let mut all_good = true;
    let mut counts = [0usize; 5];
    for attack in ATTACKS {
        if !options.only.is_empty() && !options.only.iter().any(|id| matches(attack, id)) {
            continue;
        }
        for line in attempt(attack, options.seed, &options.platform) {
            all_good &= line.verdict.is_good();
            counts[line.verdict as usize] += 1;
            report::print(&line, options.json)?;
        }
    }
    if !options.json {
        report::print_total(&counts);
    }
    Ok(all_good)
}

fn matches(attack: &Attack, wanted: &str) -> bool {
    let wanted = wanted.to_ascii_uppercase();
    attack.id.to_ascii_uppercase() == wanted || attack.id.trim_end_matches(['a', 'b']).to_ascii_uppercase() == wanted
}
