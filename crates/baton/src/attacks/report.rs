//! What became of each attempt, and how it is printed.

use std::fmt::{self, Debug};

use anyhow::Result;
use baton_core::keeper::StateError;
use baton_enclave::shell::StartError;
use baton_enclave::wire::Refusal;
use baton_host::link::LinkError;
use baton_host::seat::SeatError;
use serde::Serialize;

use crate::world::Platform;

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The check that guards against it said no.
    Refused,
    /// Not refusable here; shown and named for what it is.
    Shown,
    /// Refused, but not by the check that should have.
    Elsewhere,
    /// It worked.
    Succeeded,
    /// The set-up broke, or a control that must work was refused.
    Broken,
}

impl Verdict {
    /// Is this how it should end?
    pub fn is_good(self) -> bool {
        matches!(self, Verdict::Refused | Verdict::Shown)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Refused => "REFUSED",
            Verdict::Shown => "SHOWN",
            Verdict::Elsewhere => "REFUSED ELSEWHERE!",
            Verdict::Succeeded => "SUCCEEDED!",
            Verdict::Broken => "BROKEN!",
        })
    }
}

/// One attempt.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// Row of the hazards' list.
    pub id: String,
    /// Which attempt of that row.
    pub case: String,
    /// What was tried.
    pub what: String,
    /// What became of it.
    pub verdict: Verdict,
    /// The check that refused.
    pub check: String,
    /// The check that should refuse.
    pub expected: String,
    /// The rule of the design that it keeps.
    pub rule: String,
    /// The refusal as people read it, or what a shown attack means.
    pub message: String,
}

/// Where an attack's attempts are written down.
pub struct Bench {
    id: &'static str,
    /// What keys are made from.
    pub seed: u64,
    /// Where enclaves run.
    pub platform: Platform,
    lines: Vec<Line>,
}

impl Bench {
    /// For one attack.
    pub fn new(id: &'static str, seed: u64, platform: Platform) -> Self {
        Bench { id, seed, platform, lines: Vec::new() }
    }

    /// An attempt that `expected` must refuse.
    pub fn refused<T, E: Into<anyhow::Error>>(&mut self, case: &str, what: &str, expected: &str, outcome: Result<T, E>) {
        let line = match outcome.map_err(Into::into) {
            Ok(_) => (Verdict::Succeeded, String::new(), String::new(), "nothing refused it".into()),
            Err(e) => match refusal_of(&e) {
                Some(r) if r.check == expected => (Verdict::Refused, r.check, r.rule, r.message),
                Some(r) => (Verdict::Elsewhere, r.check, r.rule, r.message),
                None => (Verdict::Broken, String::new(), String::new(), format!("{e:#}")),
            },
        };
        self.push(case, what, expected, line);
    }

    /// An attempt at a program that refuses in words: `words` are those of the check that must refuse.
    pub fn refused_saying<T>(&mut self, case: &str, what: &str, check: &str, words: &str, outcome: Result<T, String>) {
        let line = match outcome {
            Ok(_) => (Verdict::Succeeded, String::new(), String::new(), "nothing refused it".into()),
            Err(said) if said.contains(words) => (Verdict::Refused, check.into(), "secrecy".into(), said),
            Err(said) => (Verdict::Elsewhere, said.clone(), String::new(), said),
        };
        self.push(case, what, check, line);
    }

    /// Something that is not refused, and is named for what it is. If it does not hold, the claim is wrong.
    pub fn shown(&mut self, case: &str, what: &str, meaning: &str, holds: Result<()>) {
        let line = match holds {
            Ok(()) => (Verdict::Shown, String::new(), String::new(), meaning.into()),
            Err(e) => (Verdict::Broken, String::new(), String::new(), format!("{e:#}")),
        };
        self.push(case, what, "", line);
    }

    /// Many attempts of one kind, each refused by some check; the caller has made sure.
    pub fn shown_refused(&mut self, case: &str, what: &str) {
        let message = "each was refused, and nothing changed".to_string();
        self.push(case, what, "any", (Verdict::Refused, "any".into(), "progress".into(), message));
    }

    /// The honest twin of an attempt: it must work, or the attempts beside it prove nothing.
    pub fn control<T, E: Into<anyhow::Error>>(&mut self, what: &str, outcome: Result<T, E>) {
        if let Err(e) = outcome.map_err(Into::into) {
            let message = format!("the honest way must work: {e:#}");
            self.push("control", what, "", (Verdict::Broken, String::new(), String::new(), message));
        }
    }

    /// The set-up failed.
    pub fn broken(&mut self, e: &anyhow::Error) {
        let check = refusal_of(e).map(|r| r.check).unwrap_or_default();
        self.push("set-up", "the scene could not be set", "", (Verdict::Broken, check, String::new(), format!("{e:#}")));
    }

    fn push(&mut self, case: &str, what: &str, expected: &str, line: (Verdict, String, String, String)) {
        let (verdict, check, rule, message) = line;
        self.lines.push(Line {
            id: self.id.into(),
            case: case.into(),
            what: what.into(),
            verdict,
            check,
            expected: expected.into(),
            rule,
            message,
        });
    }

    /// All that was tried.
    pub fn lines(self) -> Vec<Line> {
        self.lines
    }
}

/// The refusal in an error: the enclave's, or that of a start that gave no enclave.
fn refusal_of(e: &anyhow::Error) -> Option<Refusal> {
    let name = |v: &dyn Debug| {
        let text = format!("{v:?}");
        text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_string()
    };
    match e.downcast_ref::<SeatError>()? {
        SeatError::Refused(r) => Some(r.clone()),
        SeatError::Start(StartError::State(StateError::Open(open))) => Some(Refusal {
            check: format!("start/Open/{}", name(open)),
            rule: "secrecy".into(),
            message: open.to_string(),
        }),
        // A real enclave says it in words.
        SeatError::NotStarted { message, .. } => {
            let other = message.contains("sealed by another build");
            let check = if other { "start/Open/OtherMeasurement" } else { "start" };
            Some(Refusal { check: check.into(), rule: "secrecy".into(), message: message.clone() })
        }
        // EINIT's code for attributes that the signature does not allow.
        SeatError::Link(LinkError::Load(why)) if why.contains("SGX_INVALID_ATTRIBUTE") => {
            Some(Refusal { check: "launch/Sigstruct".into(), rule: "secrecy".into(), message: why.clone() })
        }
        SeatError::Launch(launch) => {
            Some(Refusal { check: format!("launch/{}", name(launch)), rule: "secrecy".into(), message: launch.to_string() })
        }
        _ => None,
    }
}

/// Prints one line.
pub fn print(line: &Line, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(line)?);
        return Ok(());
    }
    let by = match line.verdict {
        Verdict::Refused => format!("{} ({})", line.check, line.rule),
        Verdict::Shown => line.message.clone(),
        Verdict::Elsewhere => format!("by {}, expected {}: {}", line.check, line.expected, line.message),
        Verdict::Succeeded => format!("expected {}", line.expected),
        Verdict::Broken => line.message.clone(),
    };
    println!("{:<5}{:<9} {:<58} {by}", line.id, line.verdict, line.what);
    Ok(())
}

/// Prints the totals, by verdict.
pub fn print_total(counts: &[usize; 5]) {
    let [refused, shown, elsewhere, succeeded, broken] = counts;
    println!("\n{refused} refused, {shown} shown for what they are, {} wrong", elsewhere + succeeded + broken);
    if elsewhere + succeeded + broken > 0 {
        println!("{succeeded} succeeded, {elsewhere} were refused by another check, {broken} could not be tried");
    }
}
