//! Sending a record: any account may, by the chain's own command or by a key file.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{RpcSource, number};
use crate::chain::SourceError;

/// Largest output of a signer that is read, in bytes.
const MAX_OUTPUT_BYTES: u64 = 1 << 20;

/// Why a record was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The command does not run.
    #[error("the signer {program} does not run: {source}; check [signer] in baton.toml")]
    Spawn {
        /// The program.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// It took too long.
    #[error("the signer {program} gave no answer in {secs} s; it must not ask questions (--yes, a keyring without a prompt)")]
    Timeout {
        /// The program.
        program: String,
        /// The limit, in seconds.
        secs: u64,
    },
    /// It failed.
    #[error("the signer {program} failed ({status}): {said}")]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: String,
        /// What it said, cut.
        said: String,
    },
    /// No transaction hash in what it printed.
    #[error("the signer {program} printed no transaction hash: expected JSON with \"txhash\", got {got:?}; add --output json")]
    NoHash {
        /// The program.
        program: String,
        /// What it printed, cut.
        got: String,
    },
    /// The node refused the transaction.
    #[error("the node refused the transaction, code {code}: {log}{advice}", advice = advice(log))]
    CheckTx {
        /// The ABCI code.
        code: u64,
        /// Why.
        log: String,
    },
    /// The chain's answers.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The key file.
    #[error(transparent)]
    Key(#[from] super::KeyError),
    /// No argument of the command holds the memo.
    #[error("the signer's command has no argument with {{memo}}: expected one, for example \"--note\", \"{{memo}}\"")]
    NoMemo,
}

fn advice(log: &str) -> &'static str {
    let log = log.to_ascii_lowercase();
    if log.contains("insufficient funds") || log.contains("insufficient fee") || log.contains("does not exist") || log.contains("not found") {
        "; put funds on the signer's account, or let a peer publish"
    } else {
        ""
    }
}

/// Something that can put a memo into a transaction.
pub trait Sender: Send {
    /// Signs and broadcasts; the transaction's hash, 32 bytes. Being in the mempool is not being in a block.
    fn send(&mut self, chain: &RpcSource, memo: &str) -> Result<[u8; 32], SendError>;
}

/// Broadcasts a signed transaction and returns its hash. Every endpoint gets it: one that says yes and drops it keeps it from nobody.
pub fn send_raw(chain: &RpcSource, tx: &[u8]) -> Result<[u8; 32], SendError> {
    let mut taken = false;
    let mut first = None;
    for answer in chain.call_each("broadcast_tx_sync", &json!({"tx": STANDARD.encode(tx)})) {
        match answer.map_err(SendError::from).and_then(|a| check_tx(&a)) {
            Ok(()) => taken = true,
            Err(e) => first = first.or(Some(e)),
        }
    }
    match first {
        Some(e) if !taken => Err(e),
        _ => Ok(<sha2::Sha256 as sha2::Digest>::digest(tx).into()),
    }
}

fn check_tx(answer: &Value) -> Result<(), SendError> {
    match answer.get("code").and_then(number).unwrap_or(0) {
        0 => Ok(()),
        code => {
            let log = ["raw_log", "log"].iter().find_map(|k| answer.get(*k).and_then(Value::as_str));
            Err(SendError::CheckTx { code, log: log.unwrap_or_default().chars().take(300).collect() })
        }
    }
}

/// The chain's own command.
#[derive(Clone, Debug)]
pub struct CommandSigner {
    argv: Vec<String>,
    limit: Duration,
}

impl CommandSigner {
    /// A command with `{memo}` in one of its arguments, that prints JSON with `txhash`.
    pub fn new(argv: Vec<String>, limit: Duration) -> Result<Self, SendError> {
        match argv.iter().skip(1).any(|a| a.contains("{memo}")) {
            true => Ok(CommandSigner { argv, limit }),
            false => Err(SendError::NoMemo),
        }
    }

    fn program(&self) -> String {
        self.argv.first().cloned().unwrap_or_default()
    }
}

impl Sender for CommandSigner {
    fn send(&mut self, _chain: &RpcSource, memo: &str) -> Result<[u8; 32], SendError> {
        let program = self.program();
        let arguments = self.argv.iter().skip(1).map(|a| a.replace("{memo}", memo));
        let mut child = Command::new(&program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| SendError::Spawn { program: program.clone(), source })?;
        let (out, err) = (drain(child.stdout.take()), drain(child.stderr.take()));
        let Some(status) = wait(&mut child, self.limit) else {
            return Err(SendError::Timeout { program, secs: self.limit.as_secs() });
        };
        let (out, err) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
        if !status.success() {
            let said = format!("{err}{out}").trim().chars().take(400).collect();
            return Err(SendError::Failed { program, status: status.to_string(), said });
        }
        // Some versions write their answer to stderr.
        let answer = json_in(&out).or_else(|| json_in(&err));
        let hash = answer.as_ref().and_then(|a| a.get("txhash")).and_then(Value::as_str);
        let mut digest = [0; 32];
        match (answer.as_ref(), hash.map(|h| hex::decode_to_slice(h, &mut digest))) {
            (Some(answer), Some(Ok(()))) => check_tx(answer).map(|()| digest),
            _ => Err(SendError::NoHash { program, got: format!("{out}{err}").chars().take(200).collect() }),
        }
    }
}

/// The first JSON object in a text, whatever is around it.
fn json_in(text: &str) -> Option<Value> {
    let start = text.find('{')?;
    serde_json::Deserializer::from_str(text.get(start..)?).into_iter::<Value>().next()?.ok()
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut out = Vec::new();
        if let Some(pipe) = pipe {
            let _ = pipe.take(MAX_OUTPUT_BYTES).read_to_end(&mut out);
        }
        String::from_utf8_lossy(&out).into_owned()
    })
}

/// Waits for a child; one that takes too long is killed.
fn wait(child: &mut Child, limit: Duration) -> Option<std::process::ExitStatus> {
    let end = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(20)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    }
}
