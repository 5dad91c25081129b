//! One JSON-RPC endpoint over HTTP or HTTPS, with bounds on time and size.

use std::time::Duration;

use baton_chain::rpc::RpcError;
use serde_json::{Value, json};

use crate::chain::Trouble;
use crate::http::{self, Roots};

/// Largest answer that is read, in bytes (32 MiB).
pub const MAX_ANSWER_BYTES: u64 = 32 << 20;

/// A URL that cannot be an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// No endpoint at all.
    #[error("no RPC endpoint: expected at least one, for example http://127.0.0.1:26657")]
    None,
    /// Neither HTTP nor HTTPS.
    #[error("RPC endpoint {0:?}: expected http://HOST:PORT, https://HOST or tcp://HOST:PORT; for a certificate of your own name it in tls_roots")]
    Url(String),
}

/// Why one endpoint gave no answer to use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No connection, or one that broke.
    #[error("{0}")]
    Transport(String),
    /// No answer in time.
    #[error("no answer in time: {0}")]
    Hung(String),
    /// The node's own error.
    #[error("{0}")]
    Refused(String),
    /// An answer that cannot be read.
    #[error("its answer cannot be read: {0}")]
    Form(String),
    /// An answer that contradicts itself, or what was asked.
    #[error("it lies or is broken: {0}")]
    Wrong(String),
}

impl CallError {
    pub(crate) fn form(reason: impl ToString) -> Self {
        CallError::Form(reason.to_string())
    }

    pub(crate) fn wrong(reason: impl ToString) -> Self {
        CallError::Wrong(reason.to_string())
    }

    /// A reader's error: what the node itself says is no fault in form.
    pub(crate) fn from_answer(e: RpcError) -> Self {
        match e {
            RpcError::Node(reason) => CallError::Refused(reason),
            other => CallError::Form(other.to_string()),
        }
    }

    /// What kind of trouble it is.
    pub fn trouble(&self) -> Trouble {
        match self {
            CallError::Transport(_) | CallError::Hung(_) => Trouble::Unreachable,
            CallError::Form(_) | CallError::Wrong(_) => Trouble::Lying,
            CallError::Refused(reason) => {
                let is = |words: &[&str]| words.iter().any(|w| reason.contains(w));
                if is(&["is not available, lowest height", "lowest height is", "pruned", "version does not exist", "could not find results"]) {
                    Trouble::Pruned
                } else if is(&["must be less than or equal to the current", "in the future", "height must be less", "future height"]) {
                    Trouble::Future
                } else {
                    Trouble::Absent
                }
            }
        }
    }

    /// Worth asking again in a moment.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, CallError::Transport(_) | CallError::Hung(_))
    }

    fn of_transport(e: &ureq::Error) -> Self {
        let io_timeout = |e: &std::io::Error| matches!(e.kind(), std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock);
        match e {
            ureq::Error::Timeout(_) => CallError::Hung(e.to_string()),
            ureq::Error::Io(io) if io_timeout(io) => CallError::Hung(e.to_string()),
            _ => CallError::Transport(http::why(e)),
        }
    }
}

/// One endpoint.
pub struct Endpoint {
    url: String,
    agent: ureq::Agent,
}

impl Endpoint {
    /// Of a URL; an https server's certificate must come from `roots`.
    pub fn new(url: &str, timeout: Duration, roots: &Roots) -> Result<Self, EndpointError> {
        // CometBFT's own configuration writes tcp://.
        let url = match url.strip_prefix("tcp://") {
            Some(rest) => format!("http://{rest}"),
            None => url.trim_end_matches('/').to_string(),
        };
        match http::is_url(&url) {
            true => Ok(Endpoint { url, agent: http::agent(timeout, roots) }),
            false => Err(EndpointError::Url(url)),
        }
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// One call; the `result` of the answer.
    pub fn call(&self, method: &str, params: &Value) -> Result<Value, CallError> {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let sent = self.agent.post(&self.url).header("Content-Type", "application/json").send(body);
        let mut answer = sent.map_err(|e| CallError::of_transport(&e))?;
        let status = answer.status();
        let bytes = answer.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_vec();
        let bytes = bytes.map_err(|e| CallError::of_transport(&e))?;
        let Ok(answer) = serde_json::from_slice::<Value>(&bytes) else {
            // A proxy's error page, or a node that is starting.
            return Err(CallError::Transport(format!("HTTP status {status}, and no JSON")));
        };
        match answer.get("error").filter(|e| !e.is_null()) {
            Some(error) => {
                let part = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
                Err(CallError::Refused(format!("{} {}", part("message"), part("data")).trim().into()))
            }
            None => answer.get("result").cloned().ok_or_else(|| CallError::form("no result")),
        }
    }
}
