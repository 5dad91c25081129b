//! What a command says: rows for people, JSON for programs, and one exit code.

use std::fmt;
use std::io::{self, Write};

use serde_json::{Map, Value, json};

/// How a command ended. The exit code is the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It holds, or it was shown.
    Ok = 0,
    /// It was read, and it does not hold.
    Refused = 1,
    /// It could not be read, or was not asked for rightly.
    BadInput = 2,
}

/// A command that found its answer.
#[derive(Clone, Debug)]
pub struct Report {
    rows: Vec<Row>,
    fields: Map<String, Value>,
    exit: Exit,
}

#[derive(Clone, Debug)]
enum Row {
    Pair(String, String),
    Text(String),
}

impl Report {
    /// An empty report that ends well.
    pub fn new() -> Self {
        Report {
            rows: Vec::new(),
            fields: Map::new(),
            exit: Exit::Ok,
        }
    }

    /// A row for people: a label and what it is.
    pub fn row(&mut self, label: impl Into<String>, text: impl fmt::Display) -> &mut Self {
        self.rows.push(Row::Pair(label.into(), text.to_string()));
        self
    }

    /// A line for people.
    pub fn text(&mut self, text: impl fmt::Display) -> &mut Self {
        self.rows.push(Row::Text(text.to_string()));
        self
    }

    /// A field for programs.
    pub fn field(&mut self, key: &str, value: impl Into<Value>) -> &mut Self {
        self.fields.insert(key.into(), value.into());
        self
    }

    /// A row and a field of the same text.
    pub fn both(&mut self, label: &str, key: &str, text: impl fmt::Display) -> &mut Self {
        let text = text.to_string();
        self.field(key, text.clone());
        self.row(label, text)
    }

    /// The verdict: the last line for people, `accept` for programs, and the exit code.
    pub fn verdict(&mut self, accept: bool, text: impl fmt::Display) -> &mut Self {
        self.exit = if accept { Exit::Ok } else { Exit::Refused };
        self.field("accept", accept);
        self.text(format!(
            "{}: {text}",
            if accept { "accepted" } else { "refused" }
        ))
    }

    /// How the command ends.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// For people: labels in one column, long texts kept on their line.
    pub fn to_text(&self) -> String {
        let width = |row: &Row| match row {
            Row::Pair(label, _) => label.chars().count(),
            Row::Text(_) => 0,
        };
        let column = self.rows.iter().map(width).max().unwrap_or(0);
        let mut out = String::new();
        for row in &self.rows {
            let line = match row {
                Row::Pair(label, text) => format!("{label:<column$}  {text}"),
                Row::Text(text) => text.clone(),
            };
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        Value::Object(self.fields.clone())
    }
}

impl Default for Report {
    fn default() -> Self {
        Report::new()
    }
}

/// A command that has no answer, or a refusal that leaves nothing to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    exit: Exit,
    what: String,
    expected: Option<String>,
    got: Option<String>,
    next: Option<String>,
}

impl Failure {
    /// The input cannot be read, or is not what was asked for.
    pub fn input(message: impl fmt::Display) -> Self {
        Self::read(Exit::BadInput, &message.to_string())
    }

    /// The input was read and does not hold.
    pub fn refused(message: impl fmt::Display) -> Self {
        Self::read(Exit::Refused, &message.to_string())
    }

    /// What to do about it, where the message itself does not say.
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next.get_or_insert(next.into());
        self
    }

    /// The same, about a place.
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.what = format!("{place}: {}", self.what);
        self
    }

    /// How the command ends.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// Messages of all crates have the form `what: expected a, got b; what next`: taken apart to stand on lines of their own.
    fn read(exit: Exit, message: &str) -> Self {
        let (head, next) = match message.split_once("; ") {
            Some((head, next)) => (head, Some(next)),
            None => (message, None),
        };
        let of =
            |what: &str, expected: Option<&str>, got: Option<&str>, next: Option<&str>| Failure {
                exit,
                what: what.into(),
                expected: expected.map(Into::into),
                got: got.map(Into::into),
                next: next.map(Into::into),
            };
        if let Some((what, rest)) = head.split_once(": expected ") {
            let (expected, got) = rest
                .split_once(", got ")
                .map_or((rest, None), |(e, g)| (e, Some(g)));
            return of(what, Some(expected), got, next);
        }
        match (
            head.split_once(", expected "),
            next.and_then(|n| n.strip_prefix("expected ")),
        ) {
            (Some((what, expected)), _) if !expected.contains(": ") => {
                of(what, Some(expected), None, next)
            }
            (_, Some(expected)) => of(head, Some(expected), None, None),
            _ => of(head, None, None, next),
        }
    }

    fn lines(&self) -> [(&'static str, Option<&String>); 4] {
        [
            ("error", Some(&self.what)),
            ("expected", self.expected.as_ref()),
            ("got", self.got.as_ref()),
            ("next", self.next.as_ref()),
        ]
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let error: Map<String, Value> = self
            .lines()
            .into_iter()
            .filter_map(|(key, text)| {
                text.map(|t| {
                    (
                        if key == "error" { "what" } else { key }.to_string(),
                        json!(t),
                    )
                })
            })
            .collect();
        json!({ "accept": false, "exit": self.exit as u8, "error": error })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (label, text) in self.lines() {
            if let Some(text) = text {
                writeln!(f, "{:<9} {text}", format!("{label}:"))?;
            }
        }
        Ok(())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(e: anyhow::Error) -> Self {
        Failure::refused(format!("{e:#}"))
    }
}

/// Prints the answer, and says how the process ends.
pub fn finish(answer: Result<Report, Failure>, as_json: bool) -> Exit {
    let exit = answer.as_ref().map_or_else(Failure::exit, Report::exit);
    let printed = match (&answer, as_json) {
        (Ok(report), true) => print_json(&report.to_json()),
        (Ok(report), false) => io::stdout().write_all(report.to_text().as_bytes()),
        (Err(failure), true) => print_json(&failure.to_json()),
        (Err(failure), false) => io::stderr().write_all(failure.to_string().as_bytes()),
    };
    // A reader that went away (`| head`) has read what it wanted; the verdict stands.
    let _ = printed.and_then(|()| io::stdout().flush());
    exit
}

fn print_json(value: &Value) -> io::Result<()> {
    // With `#`, serde_json's own Display breaks lines and indents.
    writeln!(io::stdout(), "{value:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_taken_apart_into_what_expected_got_and_next() {
        let f = Failure::input("format: expected 1, got 2; write a policy of format 1");
        let text =
            "error:    format\nexpected: 1\ngot:      2\nnext:     write a policy of format 1\n";
        assert_eq!(f.to_string(), text);
        let json = json!({"accept": false, "exit": 2, "error": {"what": "format", "expected": "1", "got": "2", "next": "write a policy of format 1"}});
        assert_eq!(f.to_json(), json);
    }

    #[test]
    fn an_expectation_without_a_value_is_found_wherever_it_stands() {
        let lines = |message| Failure::refused(message).to_string();
        assert_eq!(
            lines("3 of 9 signed, expected more than 2/3"),
            "error:    3 of 9 signed\nexpected: more than 2/3\n"
        );
        assert_eq!(
            lines("council: not supported yet; expected none"),
            "error:    council: not supported yet\nexpected: none\n"
        );
        assert_eq!(lines("tag: expected 1"), "error:    tag\nexpected: 1\n");
    }

    #[test]
    fn the_messages_own_advice_stands() {
        let f = Failure::refused("no; do this").next("do that");
        assert_eq!(f.to_string(), "error:    no\nnext:     do this\n");
    }

    #[test]
    fn a_message_of_another_form_stays_whole() {
        let f = Failure::refused("the enclave runs with DEBUG: its memory is open to the host");
        assert_eq!(
            f.to_string(),
            "error:    the enclave runs with DEBUG: its memory is open to the host\n"
        );
        assert_eq!(f.exit(), Exit::Refused);
    }

    #[test]
    fn labels_stand_in_one_column() {
        let mut r = Report::new();
        r.row("a", 1).row("longer", 2).verdict(false, "no");
        assert_eq!(r.to_text(), "a       1\nlonger  2\nrefused: no\n");
        assert_eq!(r.exit(), Exit::Refused);
    }
}
