//! A chain over the RPC of its nodes: CometBFT 0.37 or 0.38, any Cosmos SDK application.
//!
//! Several endpoints may be named. Each answer is checked as far as a host can: chain id, height, hashes, the commit's
//! own signatures, the proof against the header. An endpoint that does not hold is named, remembered and passed over. The
//! enclave still trusts nothing of it. Nothing here waits for ever: each request has a time limit, each question a
//! bounded number of rounds.

mod blocks;
mod client;
mod key;
mod send;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use baton_chain::evidence::{Hash32, TxProof};
use baton_chain::gov::{TxBody, TxRaw};
use baton_chain::light::{LightBlock, TrustedHeader, check_signed_by, validator_set_hash};
use baton_chain::proofs::{StateProof, verify_state};
use baton_chain::rpc::{light_block_from_rpc, state_proof_from_abci_query};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::chain::{ChainSource, Included, Pairs, SourceError, Trouble};
use crate::http::Roots;
pub use client::{CallError, Endpoint, EndpointError, MAX_ANSWER_BYTES};
pub use key::{Fee, KeyError, Keyfile};
pub use send::{CommandSigner, SendError, Sender, send_raw};

/// Validators in one page of `/validators`; CometBFT gives at most 100.
const PER_PAGE: u64 = 100;
/// Pages of one validator set at most.
const MAX_PAGES: u64 = 50;
/// Light blocks that are kept in memory.
const KEPT_BLOCKS: usize = 64;
/// Blocks this near to the newest are asked for each time: an operator can roll the chain back by a block or two.
const UNSETTLED_BLOCKS: u64 = 4;

/// `cosmos.store.internal.kv.v1beta1.Pairs`: what a query of a range answers.
#[derive(Clone, PartialEq, prost::Message)]
struct KvPairs {
    #[prost(message, repeated, tag = "1")]
    pairs: Vec<KvPair>,
}

/// `cosmos.store.internal.kv.v1beta1.Pair`.
#[derive(Clone, PartialEq, prost::Message)]
struct KvPair {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// Where and how to ask.
#[derive(Clone, Debug)]
pub struct RpcConfig {
    /// The chain that every endpoint must follow.
    pub chain_id: String,
    /// URLs, the preferred one first: `http://host:port` or `https://host`.
    pub endpoints: Vec<String>,
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// How many more rounds over all endpoints after the first.
    pub retries: u32,
    /// Wait between rounds; doubled after each.
    pub pause: Duration,
    /// How long an endpoint that did not answer in time is asked last, and for the newest height not at all.
    pub aside: Duration,
    /// Whose certificates https endpoints may have.
    pub roots: Roots,
}

impl RpcConfig {
    /// With a time limit of 5 s and two more rounds.
    pub fn new(chain_id: impl Into<String>, endpoints: Vec<String>) -> Self {
        let (timeout, pause) = (Duration::from_secs(5), Duration::from_millis(100));
        RpcConfig { chain_id: chain_id.into(), endpoints, timeout, retries: 2, pause, aside: Duration::from_secs(60), roots: Roots::default() }
    }
}

/// An endpoint that was caught, and at what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caught {
    /// Its URL.
    pub endpoint: String,
    /// What it answered wrongly.
    pub what: String,
    /// How often.
    pub times: u64,
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// The endpoint.
    pub endpoint: String,
    /// Its chain.
    pub chain_id: String,
    /// Its last stored block.
    pub latest: u64,
    /// Its oldest block.
    pub earliest: u64,
    /// It is still catching up.
    pub catching_up: bool,
    /// Time of its last block, as it writes it.
    pub latest_time: String,
}

struct Shared {
    config: RpcConfig,
    endpoints: Vec<Endpoint>,
    preferred: AtomicUsize,
    /// Endpoints that hung, by their place, and until when they are asked last.
    aside: Mutex<BTreeMap<usize, Instant>>,
    newest: AtomicU64,
    caught: Mutex<BTreeMap<(String, String), u64>>,
    blocks: Mutex<BTreeMap<u64, LightBlock>>,
}

/// A chain behind RPC endpoints. Clones share connections, caches and what was found out about endpoints.
#[derive(Clone)]
pub struct RpcSource {
    shared: Arc<Shared>,
    sender: Option<Arc<Mutex<dyn Sender>>>,
}

impl std::fmt::Debug for RpcSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RpcSource").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

impl RpcSource {
    /// A source without a way to send. Nothing is asked yet.
    pub fn new(config: RpcConfig) -> Result<Self, EndpointError> {
        if config.endpoints.is_empty() {
            return Err(EndpointError::None);
        }
        let endpoints = config.endpoints.iter().map(|url| Endpoint::new(url, config.timeout, &config.roots)).collect::<Result<_, _>>()?;
        Ok(RpcSource {
            shared: Arc::new(Shared {
                config,
                endpoints,
                preferred: AtomicUsize::new(0),
                aside: Mutex::default(),
                newest: AtomicU64::new(0),
                caught: Mutex::default(),
                blocks: Mutex::default(),
            }),
            sender: None,
        })
    }

    /// With a way to send records.
    pub fn with_sender(mut self, sender: impl Sender + 'static) -> Self {
        self.sender = Some(Arc::new(Mutex::new(sender)));
        self
    }

    /// What it was made from.
    pub fn config(&self) -> &RpcConfig {
        &self.shared.config
    }

    /// True if it can send.
    pub fn can_send(&self) -> bool {
        self.sender.is_some()
    }

    /// Endpoints that were caught with wrong answers since the start.
    pub fn caught(&self) -> Vec<Caught> {
        let caught = lock(&self.shared.caught);
        caught.iter().map(|((endpoint, what), times)| Caught { endpoint: endpoint.clone(), what: what.clone(), times: *times }).collect()
    }

    /// What each endpoint says of itself, in the order of the configuration.
    pub fn statuses(&self) -> Vec<Result<NodeStatus, SourceError>> {
        (0..self.shared.endpoints.len()).filter_map(|at| self.status_at(at)).collect()
    }

    fn status_at(&self, at: usize) -> Option<Result<NodeStatus, SourceError>> {
        let e = self.shared.endpoints.get(at)?;
        let status = self.status_of(e);
        self.heard(at, status.as_ref().err());
        Some(status.map_err(|e2| self.error(e.url(), "status", e2)))
    }

    /// What the endpoints say that are expected to answer; those that hung a while ago only if no other answers.
    fn statuses_soon(&self) -> Vec<(usize, Result<NodeStatus, SourceError>)> {
        let (aside, soon): (Vec<usize>, Vec<usize>) = (0..self.shared.endpoints.len()).partition(|at| self.is_aside(*at));
        let ask = |all: Vec<usize>| all.into_iter().filter_map(|at| Some((at, self.status_at(at)?))).collect::<Vec<_>>();
        let mut out = ask(soon);
        if !out.iter().any(|(_, s)| s.is_ok()) {
            out.extend(ask(aside));
        }
        out
    }

    fn is_aside(&self, at: usize) -> bool {
        lock(&self.shared.aside).get(&at).is_some_and(|until| Instant::now() < *until)
    }

    /// An endpoint that hangs costs its whole time limit for each question: it is put aside, until it answers again.
    fn heard(&self, at: usize, error: Option<&CallError>) {
        let mut aside = lock(&self.shared.aside);
        match error {
            Some(CallError::Hung(_)) => {
                aside.insert(at, Instant::now() + self.shared.config.aside);
            }
            Some(_) | None => {
                aside.remove(&at);
            }
        }
    }

    /// Refuses endpoints of another chain. At least one must answer.
    pub fn check_chain_id(&self) -> Result<(), SourceError> {
        let mut answered = false;
        let mut last = None;
        for status in self.statuses() {
            match status {
                Ok(_) => answered = true,
                Err(e) if e.trouble == Trouble::Lying => return Err(e),
                Err(e) => last = Some(e),
            }
        }
        match (answered, last) {
            (false, Some(e)) => Err(e),
            _ => Ok(()),
        }
    }

    /// One call of any method, at the first endpoint that answers.
    pub fn call(&self, method: &str, params: &Value) -> Result<Value, SourceError> {
        self.ask(method, |e| e.call(method, params))
    }

    /// One call of any method at every endpoint that is expected to answer: for what one of them could keep to itself.
    pub fn call_each(&self, method: &str, params: &Value) -> Vec<Result<Value, SourceError>> {
        let all: Vec<(usize, &Endpoint)> = self.shared.endpoints.iter().enumerate().collect();
        let (aside, mut turn): (Vec<_>, Vec<_>) = all.into_iter().partition(|(at, _)| self.is_aside(*at));
        if turn.is_empty() {
            turn = aside;
        }
        turn.into_iter()
            .map(|(at, endpoint)| {
                let answer = endpoint.call(method, params);
                self.heard(at, answer.as_ref().err());
                answer.map_err(|e| self.error(endpoint.url(), method, e))
            })
            .collect()
    }

    /// The raw value at `key` in the newest state, unproven: for people and for finding what to prove.
    pub fn peek(&self, store: &str, key: &[u8]) -> Result<Option<Vec<u8>>, SourceError> {
        self.query(&format!("/store/{store}/key"), key)
    }

    /// One unproven query of the application: a store's path, or a method of its gRPC services.
    pub fn query(&self, path: &str, data: &[u8]) -> Result<Option<Vec<u8>>, SourceError> {
        let params = json!({"path": path, "data": hex::encode(data), "prove": false});
        self.ask(&format!("answer at {path}"), |e| {
            let answer = e.call("abci_query", &params)?;
            let response = answer.get("response").ok_or_else(|| CallError::form("abci_query: no response"))?;
            match response.get("code").and_then(number) {
                None | Some(0) => {}
                Some(code) => return Err(CallError::Refused(format!("code {code}: {}", text(response, "log")))),
            }
            match response.get("value").and_then(Value::as_str) {
                None | Some("") => Ok(None),
                Some(b64) => STANDARD.decode(b64).map(Some).map_err(|_| CallError::form("abci_query: value is not base64")),
            }
        })
    }

    /// Hash and memo of each transaction in a block that can have one, unproven: for finding what to prove.
    pub fn memos(&self, height: u64) -> Result<Vec<([u8; 32], String)>, SourceError> {
        let params = json!({"height": height.to_string()});
        self.ask(&format!("transactions of block {height}"), |e| {
            let answer = e.call("block", &params)?;
            let block = &answer["block"];
            if block["header"].get("height").and_then(number) != Some(height) {
                return Err(CallError::Wrong(format!("asked for block {height}, it gave block {}", block["header"]["height"])));
            }
            let txs = block["data"]["txs"].as_array().map(Vec::as_slice).unwrap_or_default();
            let read = |tx: &Value| -> Option<([u8; 32], String)> {
                let bytes = STANDARD.decode(tx.as_str()?).ok()?;
                let body = TxBody::decode(TxRaw::decode(bytes.as_slice()).ok()?.body_bytes.as_slice()).ok()?;
                (!body.memo.is_empty()).then(|| (Sha256::digest(&bytes).into(), body.memo))
            };
            Ok(txs.iter().filter_map(read).collect())
        })
    }

    /// The chain went back: blocks above a height are another history.
    pub fn forget_above(&self, height: u64) {
        lock(&self.shared.blocks).retain(|h, _| *h <= height);
    }

    fn status_of(&self, e: &Endpoint) -> Result<NodeStatus, CallError> {
        let answer = e.call("status", &json!({}))?;
        let (node, sync) = (&answer["node_info"], &answer["sync_info"]);
        let chain_id = text(node, "network");
        if chain_id != self.shared.config.chain_id {
            return Err(CallError::Wrong(format!("it follows chain {chain_id:?}, expected {:?}", self.shared.config.chain_id)));
        }
        let height = |name: &str| sync.get(name).and_then(number).ok_or_else(|| CallError::form(format!("status: no {name}")));
        Ok(NodeStatus {
            endpoint: e.url().into(),
            chain_id,
            latest: height("latest_block_height")?,
            earliest: height("earliest_block_height").unwrap_or(1).max(1),
            catching_up: sync.get("catching_up").and_then(Value::as_bool).unwrap_or(false),
            latest_time: text(sync, "latest_block_time"),
        })
    }

    /// Asks endpoint after endpoint, the one that answered last first, for a bounded number of rounds.
    fn ask<T>(&self, what: &str, mut f: impl FnMut(&Endpoint) -> Result<T, CallError>) -> Result<T, SourceError> {
        let s = &self.shared;
        let mut pause = s.config.pause;
        let mut worst: Option<SourceError> = None;
        for round in 0..=s.config.retries {
            if round > 0 {
                std::thread::sleep(pause);
                pause = pause.saturating_mul(2);
            }
            let first = s.preferred.load(Ordering::Relaxed);
            let mut again = false;
            let mut errors: Vec<SourceError> = Vec::new();
            let mut turn: Vec<usize> = (0..s.endpoints.len()).map(|i| (first + i) % s.endpoints.len()).collect();
            turn.sort_by_key(|at| self.is_aside(*at));
            for at in turn {
                let Some(endpoint) = s.endpoints.get(at) else { continue };
                match f(endpoint) {
                    Ok(answer) => {
                        self.heard(at, None);
                        s.preferred.store(at, Ordering::Relaxed);
                        return Ok(answer);
                    }
                    Err(e) => {
                        self.heard(at, Some(&e));
                        again |= e.is_passing();
                        errors.push(self.error(endpoint.url(), what, e));
                    }
                }
            }
            worst = Some(join(what, errors));
            if !again {
                break;
            }
        }
        Err(worst.unwrap_or_else(|| SourceError { trouble: Trouble::Unreachable, source_name: "rpc".into(), what: what.into(), reason: "no endpoint".into() }))
    }

    fn error(&self, url: &str, what: &str, e: CallError) -> SourceError {
        if let CallError::Wrong(reason) = &e {
            *lock(&self.shared.caught).entry((url.into(), reason.clone())).or_insert(0) += 1;
        }
        SourceError { trouble: e.trouble(), source_name: url.into(), what: what.into(), reason: e.to_string() }
    }

    fn fetch_block(&self, e: &Endpoint, height: u64) -> Result<LightBlock, CallError> {
        let commit = e.call("commit", &json!({"height": height.to_string()}))?;
        let validators = pages(e, height)?;
        let next = pages(e, height.saturating_add(1))?;
        let block = light_block_from_rpc(&commit, &validators, Some(&next)).map_err(CallError::form)?;
        self.check_block(&block, height)?;
        Ok(block)
    }

    /// What a host can check of a light block that it has no reason to trust: that it is what was asked for, of this
    /// chain, whole, and signed by more than two thirds of the set that it names.
    fn check_block(&self, block: &LightBlock, height: u64) -> Result<(), CallError> {
        let header = trusted(&self.shared.config.chain_id, block)?;
        if header.height() != height {
            return Err(CallError::Wrong(format!("asked for block {height}, it gave block {}", header.height())));
        }
        let next = block.next_validators.as_deref().map(validator_set_hash).transpose().map_err(CallError::wrong)?;
        if next != Some(header.next_validators_hash()) {
            return Err(CallError::Wrong(format!("the validators of height {} are not those that header {height} names", height + 1)));
        }
        if height > 1 {
            check_signed_by(height - 1, &block.validators, block, (2, 3)).map_err(CallError::wrong)?;
        }
        Ok(())
    }

    /// The chain is at this height. If it went back, what was remembered above is another history.
    fn went_to(&self, height: u64) {
        if height < self.shared.newest.swap(height, Ordering::Relaxed) {
            lock(&self.shared.blocks).retain(|h, _| h.saturating_add(UNSETTLED_BLOCKS) <= height);
        }
    }

    fn cached(&self, height: u64) -> Option<LightBlock> {
        lock(&self.shared.blocks).get(&height).cloned()
    }

    fn remember(&self, height: u64, block: &LightBlock) {
        if height.saturating_add(UNSETTLED_BLOCKS) > self.shared.newest.load(Ordering::Relaxed) {
            return;
        }
        let mut blocks = lock(&self.shared.blocks);
        blocks.insert(height, block.clone());
        while blocks.len() > KEPT_BLOCKS {
            blocks.pop_first();
        }
    }

    /// Time of a block as its header says it, from `/commit` alone.
    fn time_at(&self, height: u64) -> Result<Option<(i64, i32)>, SourceError> {
        if let Some(block) = self.cached(height) {
            return Ok(crate::gather::header_time(&block));
        }
        self.ask(&format!("header {height}"), |e| {
            let commit = e.call("commit", &json!({"height": height.to_string()}))?;
            let bytes = baton_chain::rpc::signed_header(&commit["signed_header"]).map_err(CallError::form)?;
            let block = LightBlock { signed_header: bytes, validators: Vec::new(), next_validators: None };
            match block.height() {
                Ok(got) if got == height => Ok(crate::gather::header_time(&block)),
                Ok(got) => Err(CallError::Wrong(format!("asked for header {height}, it gave header {got}"))),
                Err(e) => Err(CallError::wrong(e)),
            }
        })
    }

    /// The oldest height that some endpoint still has.
    pub fn earliest(&self) -> Result<u64, SourceError> {
        let mut failed = None;
        let mut earliest = None::<u64>;
        for (_, status) in self.statuses_soon() {
            match status {
                Ok(s) => earliest = Some(earliest.map_or(s.earliest, |e| e.min(s.earliest))),
                Err(e) => failed = Some(e),
            }
        }
        match (earliest, failed) {
            (Some(e), _) => Ok(e),
            (None, Some(e)) => Err(e),
            (None, None) => Ok(1),
        }
    }
}

/// A header taken at its word.
fn trusted(chain_id: &str, block: &LightBlock) -> Result<TrustedHeader, CallError> {
    let checkpoint = block.untrusted_checkpoint().map_err(CallError::wrong)?;
    TrustedHeader::from_checkpoint(chain_id, &checkpoint, block).map_err(CallError::wrong)
}

/// Every page of a validator set.
fn pages(e: &Endpoint, height: u64) -> Result<Value, CallError> {
    let mut out = Vec::new();
    let (mut got, mut total) = (0, 1);
    for page in 1..=MAX_PAGES {
        let params = json!({"height": height.to_string(), "page": page.to_string(), "per_page": PER_PAGE.to_string()});
        let answer = e.call("validators", &params)?;
        if answer.get("block_height").and_then(number) != Some(height) {
            return Err(CallError::Wrong(format!("asked for the validators of height {height}, it gave those of {}", answer["block_height"])));
        }
        let here = answer.get("validators").and_then(Value::as_array).map_or(0, Vec::len);
        got += here;
        total = answer.get("total").and_then(number).ok_or_else(|| CallError::form("validators: no total"))?;
        out.push(answer);
        if here == 0 || got as u64 >= total {
            break;
        }
    }
    if (got as u64) < total {
        return Err(CallError::form(format!("validators of {height}: {got} of {total} on {MAX_PAGES} pages")));
    }
    Ok(Value::Array(out))
}

impl ChainSource for RpcSource {
    fn latest(&self) -> Result<u64, SourceError> {
        let mut heights = Vec::new();
        let mut errors = Vec::new();
        for (at, status) in self.statuses_soon() {
            match status {
                Ok(s) => heights.extend(self.shared.endpoints.get(at).map(|e| (s.latest, e))),
                Err(e) => errors.push(e),
            }
        }
        heights.sort_by_key(|(height, _)| std::cmp::Reverse(*height));
        let agreed = heights.windows(2).all(|w| matches!(w, [(a, _), (b, _)] if a == b));
        for (height, endpoint) in &heights {
            // A height that nobody else has counts once its block holds; a claim alone is nothing.
            let holds = if agreed { Ok(()) } else { self.fetch_block(endpoint, *height).map(|_| ()) };
            match holds {
                Ok(()) => {
                    self.went_to(*height);
                    return Ok(*height);
                }
                Err(e) => errors.push(self.error(endpoint.url(), "latest block", e)),
            }
        }
        Err(join("latest height", errors))
    }

    fn light_block(&self, height: u64) -> Result<LightBlock, SourceError> {
        if let Some(block) = self.cached(height) {
            return Ok(block);
        }
        let block = self.ask(&format!("light block {height}"), |e| self.fetch_block(e, height))?;
        self.remember(height, &block);
        Ok(block)
    }

    fn state(&self, store: &str, key: &[u8], header_height: u64) -> Result<StateProof, SourceError> {
        let what = format!("state of {store} under header {header_height}");
        let at = header_height.saturating_sub(1);
        if at == 0 {
            let reason = "no state can be proven below height 1".into();
            return Err(SourceError { trouble: Trouble::Absent, source_name: "rpc".into(), what, reason });
        }
        let block = self.light_block(header_height)?;
        let params = json!({"path": format!("/store/{store}/key"), "data": hex::encode(key), "height": at.to_string(), "prove": true});
        self.ask(&what, |e| {
            let answer = e.call("abci_query", &params)?;
            let (proof, got) = state_proof_from_abci_query(&answer).map_err(CallError::from_answer)?;
            if got != at {
                return Err(CallError::Wrong(format!("asked for the state after block {at}, it gave that after {got}")));
            }
            if proof.store != store || proof.key != key {
                return Err(CallError::Wrong(format!("asked for {store}/{}, it proved {}/{}", hex::encode(key), proof.store, hex::encode(&proof.key))));
            }
            verify_state(&trusted(&self.shared.config.chain_id, &block)?, &proof).map_err(CallError::wrong)?;
            Ok(proof)
        })
    }

    fn list(&self, store: &str, prefix: &[u8]) -> Result<Pairs, SourceError> {
        let bytes = self.query(&format!("/store/{store}/subspace"), prefix)?.unwrap_or_default();
        let pairs = KvPairs::decode(bytes.as_slice()).map_err(|e| SourceError {
            trouble: Trouble::Lying,
            source_name: "rpc".into(),
            what: format!("list of {store}"),
            reason: e.to_string(),
        })?;
        Ok(pairs.pairs.into_iter().map(|p| (p.key, p.value)).collect())
    }

    fn send_memo(&mut self, memo: &str) -> Result<[u8; 32], SourceError> {
        let absent = |reason: String, trouble| SourceError { trouble, source_name: "signer".into(), what: "way to send a record".into(), reason };
        let Some(sender) = self.sender.clone() else {
            return Err(absent("none is configured: name a signer in baton.toml, or let a peer publish".into(), Trouble::Absent));
        };
        let source = RpcSource { shared: self.shared.clone(), sender: None };
        lock(&sender).send(&source, memo).map_err(|e| absent(e.to_string(), Trouble::Absent))
    }

    fn vote_end(&self, end: (i64, i32), upto: u64) -> Result<Option<u64>, SourceError> {
        let (mut low, mut high) = (self.earliest()?.min(upto), upto);
        while low < high {
            let mid = low + (high - low) / 2;
            match self.time_at(mid)? {
                Some(time) if time < end => low = mid + 1,
                _ => high = mid,
            }
        }
        Ok((self.time_at(low)? >= Some(end)).then_some(low))
    }

    fn included(&self, hash: &[u8; 32]) -> Result<Option<Included>, SourceError> {
        let params = json!({"hash": STANDARD.encode(hash), "prove": true});
        let answer = self.ask(&format!("transaction {}", hex::encode_upper(hash)), |e| match e.call("tx", &params) {
            Err(CallError::Refused(reason)) if reason.contains("not found") => Ok(None),
            Err(other) => Err(other),
            Ok(answer) => included(&answer, hash).map(Some),
        });
        answer
    }
}

fn included(answer: &Value, hash: &[u8; 32]) -> Result<Included, CallError> {
    let b64 = |v: &Value, what: &str| -> Result<Vec<u8>, CallError> {
        v.as_str().and_then(|t| STANDARD.decode(t).ok()).ok_or_else(|| CallError::form(format!("tx: {what} is not base64")))
    };
    let tx = b64(&answer["tx"], "tx")?;
    let got: [u8; 32] = Sha256::digest(&tx).into();
    if got != *hash {
        return Err(CallError::Wrong(format!("asked for transaction {}, it gave {}", hex::encode(hash), hex::encode(got))));
    }
    let proof = &answer["proof"]["proof"];
    let count = |v: &Value, what: &str| number(v).ok_or_else(|| CallError::form(format!("tx: no {what}")));
    let mut aunts = Vec::new();
    for aunt in proof["aunts"].as_array().map(Vec::as_slice).unwrap_or_default() {
        aunts.push(Hash32(b64(aunt, "an aunt")?.try_into().map_err(|_| CallError::form("tx: an aunt is not 32 bytes"))?));
    }
    Ok(Included {
        height: count(&answer["height"], "height")?,
        tx,
        proof: TxProof { total: count(&proof["total"], "proof.total")?, index: count(&proof["index"], "proof.index")?, aunts },
    })
}

/// All errors of one round in one: the kind that says most, every endpoint with its reason.
fn join(what: &str, errors: Vec<SourceError>) -> SourceError {
    let trouble = errors.iter().map(|e| e.trouble).max().unwrap_or(Trouble::Unreachable);
    let all = |f: &dyn Fn(&SourceError) -> String, sep: &str| errors.iter().map(f).collect::<Vec<_>>().join(sep);
    let reason = match errors.as_slice() {
        [one] => one.reason.clone(),
        many if many.is_empty() => "no endpoint answered".into(),
        _ => all(&|e| format!("{} says {}", e.source_name, e.reason), "; "),
    };
    SourceError { trouble, source_name: all(&|e| e.source_name.clone(), ", "), what: what.into(), reason }
}

/// A number, or a text that holds one: nodes write 64-bit numbers as texts.
pub(crate) fn number(v: &Value) -> Option<u64> {
    v.as_u64().or_else(|| v.as_str()?.parse().ok())
}

fn text(v: &Value, name: &str) -> String {
    v.get(name).and_then(Value::as_str).unwrap_or_default().into()
}

/// A poisoned lock guards nothing that could be half done here.
fn lock<T: ?Sized>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}
