//! `baton policy show` and `baton policy check`.

use baton_core::policy::{Level, Policy, explain};
use serde_json::{Value, json};

use crate::cli::PolicyArgs;
use crate::files::{PolicyFile, read_policy};
use crate::output::{Failure, Report};

/// Prints the policy in both forms, with its digest.
pub fn show(args: &PolicyArgs) -> Result<Report, Failure> {
    let PolicyFile { policy, form } = read_policy(&args.file)?;
    let cbor = policy.to_cbor();
    let text = toml::to_string(&policy)
        .map_err(|e| Failure::input(format!("policy: cannot be written as TOML: {e}")))?;
    let mut out = Report::new();
    out.both("read as", "form", form);
    out.both("digest", "digest", policy.digest());
    out.field("cbor_bytes", cbor.len()).row(
        "CBOR",
        format!("{} bytes, which are what is measured", cbor.len()),
    );
    out.both("valid", "valid", validity(&policy));
    out.field("toml", text.as_str())
        .field("cbor", hex::encode(&cbor));
    out.field(
        "policy",
        serde_json::to_value(&policy).unwrap_or(Value::Null),
    );
    out.text("").text(text.trim_end()).text("");
    hex::encode(&cbor).as_bytes().chunks(100).for_each(|line| {
        out.text(String::from_utf8_lossy(line));
    });
    Ok(out)
}

fn validity(policy: &Policy) -> String {
    policy
        .validate()
        .map_or_else(|e| format!("no: {e}"), |()| "yes".into())
}

/// Says what the policy means, or why it is refused.
pub fn check(args: &PolicyArgs) -> Result<Report, Failure> {
    let PolicyFile { policy, form } = read_policy(&args.file)?;
    policy.validate().map_err(|e| {
        Failure::refused(e)
            .at(args.file.display())
            .next("change the policy; docs/policy.example.toml explains every field")
    })?;
    let sentences = explain(&policy);
    let count = |level| sentences.iter().filter(|s| s.level == level).count();
    let mut out = Report::new();
    out.both("read as", "form", form)
        .both("digest", "digest", policy.digest());
    for sentence in &sentences {
        out.row(word(sentence.level), &sentence.text);
    }
    let all: Vec<Value> = sentences
        .iter()
        .map(|s| json!({ "level": word(s.level), "text": s.text }))
        .collect();
    out.field("sentences", all);
    out.verdict(
        true,
        format!(
            "the policy is valid; {} warnings, {} things made impossible",
            count(Level::Warns),
            count(Level::Impossible)
        ),
    );
    Ok(out)
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Means => "means",
        Level::Warns => "warns",
        Level::Impossible => "impossible",
    }
}
