//! `baton drill`: disasters, played to the end.

use serde_json::json;

use crate::cli::DrillArgs;
use crate::drill::{self, Played};
use crate::output::{Failure, Report};

/// Plays one drill, or all, or lists them.
pub fn run(args: &DrillArgs) -> Result<Report, Failure> {
    let mut out = Report::new();
    let known = drill::list();
    if args.list || (args.name.is_none() && !args.all) {
        for (name, disaster) in &known {
            out.row(*name, disaster);
        }
        let all: Vec<_> = known.iter().map(|(name, disaster)| json!({"name": name, "disaster": disaster})).collect();
        out.field("drills", all);
        return Ok(out);
    }
    let names: Vec<&str> = match &args.name {
        Some(name) => vec![name.as_str()],
        None => known.iter().map(|(name, _)| *name).collect(),
    };
    let (mut played, mut failed) = (Vec::new(), Vec::new());
    for name in names {
        if !args.json {
            println!("== {name}");
        }
        match one(name, args) {
            Ok(p) => played.push(p),
            Err(e) if args.all => {
                println!("FAILED: {e:#}");
                failed.push(json!({"name": name, "error": format!("{e:#}")}));
            }
            Err(e) => return Err(Failure::refused(format!("{name}: {e:#}"))),
        }
    }
    table(&mut out, &played);
    out.field("played", json!(played)).field("failed", failed.clone());
    out.verdict(failed.is_empty(), format!("{} of {} drills ended with a chain that makes blocks and a vault that is read", played.len(), played.len() + failed.len()));
    Ok(out)
}

fn one(name: &str, args: &DrillArgs) -> anyhow::Result<Played> {
    let scratch = tempfile::Builder::new().prefix("baton-drill-").tempdir()?;
    let mut said = |step: &str| {
        if !args.json {
            println!("   {step}");
        }
    };
    drill::play(name, &scratch.path().join("net"), args.seed.unwrap_or_else(rand::random), &mut said)
}

fn table(out: &mut Report, played: &[Played]) {
    out.text("");
    for p in played {
        out.row(p.name, p.disaster)
            .row("  lost", format!("{} blocks; the chain stood for {}", p.cost.blocks_lost, span(p.cost.stood_secs)))
            .row("  acted", &p.cost.people)
            .row("  public", &p.cost.public);
    }
}

fn span(secs: u64) -> String {
    match secs {
        0 => "no longer than an upgrade takes".into(),
        s if s < 2 * 86_400 => format!("{} min", s / 60),
        s => format!("{} days", s / 86_400),
    }
}
