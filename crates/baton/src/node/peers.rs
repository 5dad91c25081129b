//! Other nodes, asked over HTTP: for evidence that they kept, for receipts, to publish a record, to give the keyring.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use baton_attest::identity::Digest32;
use baton_chain::light::LightBlock;
use baton_chain::proofs::StateProof;
use baton_host::chain::{ChainSource, Included, SourceError, Trouble};
use baton_host::http::{self, Roots};
use minicbor::{Decode, Encode};
use serde_json::Value;

/// Largest answer of a peer that is read, in bytes (32 MiB).
const MAX_ANSWER_BYTES: u64 = 32 << 20;

/// One peer, or this node's own daemon.
#[derive(Clone)]
pub struct Peer {
    url: String,
    agent: ureq::Agent,
}

impl Peer {
    /// A peer at a URL, asked with a time limit for each answer. An https peer's certificate must come from `roots`.
    pub fn new(url: &str, limit: Duration, roots: &Roots) -> Self {
        Peer { url: url.trim_end_matches('/').into(), agent: http::agent(limit, roots) }
    }

    fn failed(&self, path: &str, e: &ureq::Error) -> anyhow::Error {
        anyhow::anyhow!("{}", http::why(e)).context(format!("{}{path}", self.url))
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    fn read(&self, path: &str, mut answer: ureq::http::Response<ureq::Body>) -> Result<(u16, Vec<u8>)> {
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_vec();
        Ok((status, body.with_context(|| format!("{}{path}", self.url))?))
    }

    fn good(&self, path: &str, (status, body): (u16, Vec<u8>)) -> Result<Vec<u8>> {
        match status {
            200 => Ok(body),
            _ => bail!("{}{path} answered {status}: {}", self.url, String::from_utf8_lossy(&body).trim().chars().take(600).collect::<String>()),
        }
    }

    /// GET; the body of a 200.
    pub fn get(&self, path: &str) -> Result<Vec<u8>> {
        let answer = self.agent.get(format!("{}{path}", self.url)).call().map_err(|e| self.failed(path, &e))?;
        let read = self.read(path, answer)?;
        self.good(path, read)
    }

    /// GET of JSON.
    pub fn get_json(&self, path: &str) -> Result<Value> {
        Ok(serde_json::from_slice(&self.get(path)?)?)
    }

    /// POST of CBOR, answered in CBOR.
    pub fn post<A, B>(&self, path: &str, ask: &A) -> Result<B>
    where
        A: Encode<()>,
        B: for<'b> Decode<'b, ()>,
    {
        let body = minicbor::to_vec(ask).map_err(|e| anyhow::anyhow!("{e}"))?;
        let sent = self.agent.post(format!("{}{path}", self.url)).send(body);
        let read = self.read(path, sent.map_err(|e| self.failed(path, &e))?)?;
        let bytes = self.good(path, read)?;
        minicbor::decode(&bytes).map_err(|e| anyhow::anyhow!("{}{path}: the answer cannot be read: {e}", self.url))
    }

    /// POST of JSON with the operator's token; status and JSON.
    pub fn operate(&self, token: &str, op: &Value) -> Result<(u16, Value)> {
        let request = self.agent.post(format!("{}/v1/op", self.url)).header("Authorization", format!("Bearer {token}"));
        let answer = request.send(op.to_string()).with_context(|| format!("the daemon at {}", self.url))?;
        let (status, body) = self.read("/v1/op", answer)?;
        Ok((status, serde_json::from_slice(&body).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&body).trim()))))
    }

    /// Asks it to publish a record: the transaction's hash.
    pub fn publish(&self, memo: &str) -> Result<[u8; 32]> {
        let sent = self.agent.post(format!("{}/v1/publish", self.url)).send(serde_json::json!({"memo": memo}).to_string());
        let read = self.read("/v1/publish", sent.map_err(|e| self.failed("/v1/publish", &e))?)?;
        let answer: Value = serde_json::from_slice(&self.good("/v1/publish", read)?)?;
        let hash: Digest32 = answer["txhash"].as_str().unwrap_or_default().to_lowercase().parse()?;
        Ok(hash.0)
    }

    fn missing(&self, what: String, reason: impl std::fmt::Display) -> SourceError {
        SourceError { trouble: Trouble::Absent, source_name: format!("peer {}", self.url), what, reason: reason.to_string() }
    }

    fn fetch<T: for<'b> Decode<'b, ()>>(&self, path: &str, what: String) -> Result<T, SourceError> {
        let bytes = self.get(path).map_err(|e| self.missing(what.clone(), format!("{e:#}")))?;
        minicbor::decode(&bytes).map_err(|e| self.missing(what, e))
    }
}

impl ChainSource for &Peer {
    fn latest(&self) -> Result<u64, SourceError> {
        let status = self.get_json("/v1/status").map_err(|e| self.missing("latest height".into(), format!("{e:#}")))?;
        status["chain"]["height"].as_u64().ok_or_else(|| self.missing("latest height".into(), "its status names none"))
    }

    fn light_block(&self, height: u64) -> Result<LightBlock, SourceError> {
        self.fetch(&format!("/v1/block/{height}"), format!("light block {height}"))
    }

    fn state(&self, store: &str, key: &[u8], header_height: u64) -> Result<StateProof, SourceError> {
        let path = format!("/v1/state/{header_height}/{store}/{}", hex::encode(key));
        self.fetch(&path, format!("state of {store} under header {header_height}"))
    }

    fn send_memo(&mut self, memo: &str) -> Result<[u8; 32], SourceError> {
        self.publish(memo).map_err(|e| self.missing("way to publish".into(), format!("{e:#}")))
    }

    fn vote_end(&self, end: (i64, i32), upto: u64) -> Result<Option<u64>, SourceError> {
        let path = format!("/v1/vote_end/{}/{}/{upto}", end.0, end.1);
        let got: Option<u64> = self.fetch(&path, "end of a vote".into())?;
        Ok(got)
    }

    fn included(&self, _hash: &[u8; 32]) -> Result<Option<Included>, SourceError> {
        Ok(None)
    }
}
