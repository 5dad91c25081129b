//! Reading what somebody else wrote: bounded, and with an error that names the file.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use baton_attest::policy::TcbPolicy;
use baton_chain::ChainPolicy;
use baton_core::policy::{MAX_POLICY_LEN, Policy, PolicyError};
use baton_host::files::write_whole;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::output::Failure;

/// Reads a file of at most `most` bytes; `what` says what should be in it.
pub fn read(path: &Path, what: &str, most: usize) -> Result<Vec<u8>, Failure> {
    let place = path.display();
    let io = |e: std::io::Error| Failure::input(format!("{what} {place}: {e}"));
    if fs::metadata(path).map_err(io)?.is_dir() {
        return Err(Failure::input(format!(
            "{what} {place}: expected a file, got a folder"
        )));
    }
    let mut bytes = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)
        .and_then(|f| f.take(limit).read_to_end(&mut bytes))
        .map_err(io)?;
    if bytes.len() > most {
        return Err(Failure::input(format!(
            "{what} {place}: expected at most {most} bytes, got more"
        )));
    }
    if bytes.is_empty() {
        return Err(Failure::input(format!("{what} {place}: the file is empty")));
    }
    Ok(bytes)
}

/// Writes a file whole, or not at all.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    write_whole(path, bytes).map_err(|e| Failure::input(format!("{}: {e}", path.display())))
}

/// Reads a text file.
pub fn read_text(path: &Path, what: &str, most: usize) -> Result<String, Failure> {
    String::from_utf8(read(path, what, most)?).map_err(|_| {
        Failure::input(format!(
            "{what} {}: expected text, got bytes that are not UTF-8",
            path.display()
        ))
    })
}

/// True if a file begins as JSON does.
pub fn looks_like_json(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .find(|b| !b.is_ascii_whitespace())
        .is_some_and(|b| matches!(b, b'{' | b'['))
}

/// Parses JSON.
pub fn json(bytes: &[u8], path: &Path, what: &str) -> Result<Value, Failure> {
    serde_json::from_slice(bytes)
        .map_err(|e| Failure::input(format!("{what} {}: not JSON: {e}", path.display())))
}

/// Decodes a file of hexadecimal text, white space at its ends and `0x` in front allowed.
pub fn from_hex(bytes: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(bytes).ok()?.trim();
    let digits = text.strip_prefix("0x").unwrap_or(text);
    if digits.is_empty() {
        None
    } else {
        hex::decode(digits).ok()
    }
}

/// A policy file, read but not validated.
pub struct PolicyFile {
    /// The policy.
    pub policy: Policy,
    /// `TOML` or `CBOR`.
    pub form: &'static str,
}

/// Reads a policy in TOML, in CBOR, or in CBOR as hexadecimal text. The caller validates it.
pub fn read_policy(path: &Path) -> Result<PolicyFile, Failure> {
    let bytes = read(path, "policy", MAX_POLICY_LEN.saturating_mul(2))?;
    match std::str::from_utf8(&bytes) {
        Ok(text) if from_hex(&bytes).is_none() => {
            let policy = from_toml(text, path)?;
            Ok(PolicyFile {
                policy,
                form: "TOML",
            })
        }
        _ => {
            let cbor = from_hex(&bytes).unwrap_or(bytes);
            let policy = match Policy::from_cbor(&cbor) {
                Err(e @ PolicyError::Malformed(_)) => {
                    return Err(Failure::input(e).at(path.display()));
                }
                // What is refused can still be shown.
                Ok(_) | Err(_) => minicbor::decode(&cbor)
                    .map_err(|_| Failure::input("not a policy: bad CBOR").at(path.display()))?,
            };
            Ok(PolicyFile {
                policy,
                form: "CBOR",
            })
        }
    }
}

/// The chain's section: of a validated policy, or of a TOML file that holds this section alone.
pub fn read_chain_policy(path: &Path) -> Result<ChainPolicy, Failure> {
    match section::<ChainPolicy>(path, "chain_id")? {
        Some(chain) => {
            chain
                .validate()
                .map_err(|e| Failure::input(e).at(path.display()))?;
            Ok(chain)
        }
        None => Ok(read_valid_policy(path)?.chain),
    }
}

/// The policy's rules for quotes: with a whole policy also those for builds; a TOML file may hold section `tcb` alone.
pub fn read_quote_policy(
    path: &Path,
) -> Result<(TcbPolicy, Option<baton_attest::policy::BuildRules>), Failure> {
    match section::<TcbPolicy>(path, "statuses")? {
        Some(tcb) => {
            tcb.validate()
                .map_err(|e| Failure::input(e).at(path.display()))?;
            Ok((tcb, None))
        }
        None => {
            let policy = read_valid_policy(path)?;
            Ok((policy.tcb, Some(policy.builds)))
        }
    }
}

/// Reads a policy that means what it says. A refused one is no input for a judgement.
pub fn read_valid_policy(path: &Path) -> Result<Policy, Failure> {
    let policy = read_policy(path)?.policy;
    policy.validate().map_err(|e| {
        Failure::input(e)
            .at(path.display())
            .next("`baton policy check` says what the policy means")
    })?;
    Ok(policy)
}

/// A section alone, known by a key that only it has at its top.
fn section<T: DeserializeOwned>(path: &Path, key: &str) -> Result<Option<T>, Failure> {
    let bytes = read(path, "policy", MAX_POLICY_LEN.saturating_mul(2))?;
    let Some(text) = std::str::from_utf8(&bytes)
        .ok()
        .filter(|_| from_hex(&bytes).is_none())
    else {
        return Ok(None);
    };
    let table: toml::Table = from_toml(text, path)?;
    if table.contains_key(key) {
        from_toml(text, path).map(Some)
    } else {
        Ok(None)
    }
}

fn from_toml<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T, Failure> {
    toml::from_str(text).map_err(|e| {
        let line = e.span().map_or(1, |span| {
            text.get(..span.start)
                .unwrap_or_default()
                .matches('\n')
                .count()
                + 1
        });
        Failure::input(format!(
            "policy {}, line {line}: {}",
            path.display(),
            e.message()
        ))
        .next("docs/policy.example.toml shows every field")
    })
}
