//! The devnet behind CometBFT's JSON-RPC on loopback, as a node of 0.38 answers it: for what speaks to real nodes.
//!
//! Only what Baton asks is here: `status`, `commit`, `validators`, `abci_query`, `tx`, `block`, `blockchain` and
//! `broadcast_tx_sync`, by POST. Heights that are not there, or were pruned, are refused with the real node's words.
//! A [`Trick`] lets a test play a node that lies, lags or hangs.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use serde_json::{Value, json};
use tendermint_proto::types::{Header, SignedHeader, ValidatorSet};
use tiny_http::{Method, Request, Response, Server};

use crate::devnet::Devnet;
use crate::merkle;
use crate::query::QueryError;
use crate::sdk;
use crate::store::Answer;

/// Largest request that is read, in bytes.
const MAX_REQUEST_BYTES: u64 = 4 << 20;
/// How many requests are answered at once.
const THREADS: usize = 4;

/// What becomes of an answer: method, parameters, the true answer. `None` hangs up without one.
pub type Trick = dyn Fn(&str, &Value, Value) -> Option<Value> + Send + Sync;

/// A running server. Dropping it stops it.
pub struct RpcServer {
    server: Arc<Server>,
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

struct Shared {
    chain: Arc<Mutex<Devnet>>,
    trick: Mutex<Option<Arc<Trick>>>,
    pruned_below: AtomicU64,
    asked: AtomicU64,
    swallowed: AtomicU64,
}

/// A refusal in the form of JSON-RPC.
struct Refused(i64, &'static str, String);

impl RpcServer {
    /// Serves a chain on a free port of loopback.
    pub fn start(chain: Arc<Mutex<Devnet>>) -> io::Result<Self> {
        Self::start_on(chain, SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// Serves a chain on an address.
    pub fn start_on(chain: Arc<Mutex<Devnet>>, listen: SocketAddr) -> io::Result<Self> {
        let server = Arc::new(Server::http(listen).map_err(io::Error::other)?);
        let address = server.server_addr().to_ip().ok_or_else(|| io::Error::other("no IP address"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let shared = Arc::new(Shared { chain, trick: Mutex::new(None), pruned_below: AtomicU64::new(0), asked: AtomicU64::new(0), swallowed: AtomicU64::new(0) });
        let threads = (0..THREADS)
            .map(|_| {
                let (server, stop, shared) = (server.clone(), stop.clone(), shared.clone());
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        if let Ok(Some(request)) = server.recv_timeout(Duration::from_millis(100)) {
                            shared.answer(request);
                        }
                    }
                })
            })
            .collect();
        Ok(Self { server, address, stop, threads, shared })
    }

    /// `http://127.0.0.1:port`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The chain, to make blocks.
    pub fn chain(&self) -> MutexGuard<'_, Devnet> {
        self.shared.chain()
    }

    /// From now on every answer goes through this.
    pub fn play(&self, trick: impl Fn(&str, &Value, Value) -> Option<Value> + Send + Sync + 'static) {
        *self.shared.trick.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(trick));
    }

    /// Answers truly again.
    pub fn play_fair(&self) {
        *self.shared.trick.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Blocks and states below this height are gone.
    pub fn prune_below(&self, height: u64) {
        self.shared.pruned_below.store(height, Ordering::Relaxed);
    }

    /// The next broadcasts are answered as taken, and lost: what a halted chain does with them.
    pub fn swallow(&self, broadcasts: u64) {
        self.shared.swallowed.store(broadcasts, Ordering::Relaxed);
    }

    /// How many broadcasts are still to be lost.
    pub fn to_swallow(&self) -> u64 {
        self.shared.swallowed.load(Ordering::Relaxed)
    }

    /// How many calls were answered.
    pub fn asked(&self) -> u64 {
        self.shared.asked.load(Ordering::Relaxed)
    }
}

impl Drop for RpcServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.server.unblock();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn chain(&self) -> MutexGuard<'_, Devnet> {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, mut request: Request) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if *request.method() != Method::Post {
            let _ = request.respond(Response::from_string("only POST is here\n").with_status_code(405));
            return;
        }
        let mut body = Vec::new();
        if request.as_reader().take(MAX_REQUEST_BYTES).read_to_end(&mut body).is_err() {
            return;
        }
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let method = body["method"].as_str().unwrap_or_default();
        let id = body["id"].clone();
        let answer = match self.call(method, &body["params"]) {
            Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
            Err(Refused(code, message, data)) => {
                json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message, "data": data}})
            }
        };
        let trick = self.trick.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let answer = match trick {
            Some(trick) => trick(method, &body["params"], answer),
            None => Some(answer),
        };
        // A request that is dropped is answered with a bare 500.
        if let Some(answer) = answer {
            let _ = request.respond(Response::from_string(answer.to_string()));
        }
    }

    fn call(&self, method: &str, params: &Value) -> Result<Value, Refused> {
        match method {
            "status" => self.status(),
            "commit" => self.commit(self.height(params)?),
            "validators" => self.validators(params),
            "block" => self.block(self.height(params)?),
            "blockchain" => self.blockchain(params),
            "abci_query" => self.abci_query(params),
            "tx" => self.tx(params),
            "broadcast_tx_sync" => self.broadcast(params),
            other => Err(Refused(-32601, "Method not found", other.into())),
        }
    }

    fn status(&self) -> Result<Value, Refused> {
        let chain = self.chain();
        let latest = chain.height();
        let header = if latest > 0 { chain.signed_header(latest).map_err(|e| internal(&e))?.header } else { None };
        let time = serde_json::to_value(&header).map_err(|e| internal(&e))?["time"].clone();
        Ok(json!({
            "node_info": {"network": chain.config().chain_id, "version": "0.38.23", "moniker": "devnet"},
            "sync_info": {
                "latest_block_height": latest.to_string(),
                "latest_block_time": time,
                "earliest_block_height": self.pruned_below.load(Ordering::Relaxed).max(1).to_string(),
                "catching_up": false,
            },
        }))
    }

    /// The height that is asked for; none is the newest.
    fn height(&self, params: &Value) -> Result<u64, Refused> {
        let latest = self.chain().height();
        match number(&params["height"]) {
            None | Some(0) => Ok(latest),
            Some(h) => self.there(h, latest),
        }
    }

    fn there(&self, height: u64, latest: u64) -> Result<u64, Refused> {
        let base = self.pruned_below.load(Ordering::Relaxed);
        if height > latest {
            return Err(Refused(-32603, "Internal error", format!("height {height} must be less than or equal to the current blockchain height {latest}")));
        }
        if height < base {
            return Err(Refused(-32603, "Internal error", format!("height {height} is not available, lowest height is {base}")));
        }
        Ok(height)
    }

    fn commit(&self, height: u64) -> Result<Value, Refused> {
        let chain = self.chain();
        let signed: SignedHeader = chain.signed_header(height).map_err(|e| internal(&e))?;
        Ok(json!({"signed_header": {"header": header_json(signed.header.as_ref())?, "commit": signed.commit}, "canonical": height < chain.height()}))
    }

    fn block(&self, height: u64) -> Result<Value, Refused> {
        let chain = self.chain();
        let signed: SignedHeader = chain.signed_header(height).map_err(|e| internal(&e))?;
        let txs: Vec<String> = chain.txs(height).map_err(|e| internal(&e))?.iter().map(|tx| STANDARD.encode(tx)).collect();
        let id = signed.commit.as_ref().and_then(|c| c.block_id.clone());
        Ok(json!({"block_id": id, "block": {"header": header_json(signed.header.as_ref())?, "data": {"txs": txs}}}))
    }

    /// Headers, the newest first, twenty at most.
    fn blockchain(&self, params: &Value) -> Result<Value, Refused> {
        let latest = self.chain().height();
        let most = number(&params["maxHeight"]).filter(|h| *h > 0).unwrap_or(latest).min(latest);
        let base = self.pruned_below.load(Ordering::Relaxed).max(1);
        let least = number(&params["minHeight"]).unwrap_or(1).max(base).max(most.saturating_sub(19));
        if least > most {
            return Err(Refused(-32603, "Internal error", format!("min height {least} can't be greater than max height {most}")));
        }
        let chain = self.chain();
        let mut metas = Vec::new();
        for height in (least..=most).rev() {
            let signed: SignedHeader = chain.signed_header(height).map_err(|e| internal(&e))?;
            let id = signed.commit.as_ref().and_then(|c| c.block_id.clone());
            let txs = chain.txs(height).map_err(|e| internal(&e))?.len();
            metas.push(json!({"block_id": id, "block_size": "0", "header": header_json(signed.header.as_ref())?, "num_txs": txs.to_string()}));
        }
        Ok(json!({"last_height": latest.to_string(), "block_metas": metas}))
    }

    fn validators(&self, params: &Value) -> Result<Value, Refused> {
        let chain = self.chain();
        // A node knows the set of the next height too.
        let height = match number(&params["height"]) {
            Some(h) if h == chain.height() + 1 => h,
            Some(h) => self.there(h, chain.height())?,
            None => chain.height() + 1,
        };
        let bytes = match height > chain.height() {
            true => chain.light_block(height - 1).map(|b| b.next_validators),
            false => chain.light_block(height).map(|b| b.validators),
        };
        let set = ValidatorSet::decode(bytes.map_err(|e| internal(&e))?.as_slice()).map_err(|e| internal(&e))?;
        let per_page = number(&params["per_page"]).unwrap_or(30).clamp(1, 100) as usize;
        let page = number(&params["page"]).unwrap_or(1).max(1) as usize;
        let list: Vec<Value> = set
            .validators
            .iter()
            .skip((page - 1) * per_page)
            .take(per_page)
            .map(|v| {
                let key = v.pub_key.as_ref().and_then(|k| k.sum.clone());
                let key = match key {
                    Some(tendermint_proto::crypto::public_key::Sum::Ed25519(key)) => key,
                    _ => Vec::new(),
                };
                json!({
                    "address": hex::encode_upper(&v.address),
                    "pub_key": {"type": "tendermint/PubKeyEd25519", "value": STANDARD.encode(key)},
                    "voting_power": v.voting_power.to_string(),
                    "proposer_priority": v.proposer_priority.to_string(),
                })
            })
            .collect();
        Ok(json!({
            "block_height": height.to_string(),
            "count": list.len().to_string(),
            "total": set.validators.len().to_string(),
            "validators": list,
        }))
    }

    fn abci_query(&self, params: &Value) -> Result<Value, Refused> {
        let chain = self.chain();
        let asked = number(&params["height"]).unwrap_or(0);
        let height = if asked == 0 { chain.state_height() } else { asked };
        let key = hex::decode(params["data"].as_str().unwrap_or_default()).map_err(|e| internal(&e))?;
        let path = params["path"].as_str().unwrap_or_default();
        if let Some(store) = path.strip_prefix("/store/").and_then(|p| p.strip_suffix("/subspace")) {
            let pairs = chain.list(store, &key).map_err(|e| internal(&e))?;
            let pairs = sdk::Pairs { pairs: pairs.into_iter().map(|(key, value)| sdk::Pair { key, value }).collect() };
            let height = chain.state_height().to_string();
            return Ok(json!({"response": {"code": 0, "value": STANDARD.encode(pairs.encode_to_vec()), "height": height}}));
        }
        let store = path.strip_prefix("/store/").and_then(|p| p.strip_suffix("/key"));
        let Some(store) = store else {
            return Ok(json!({"response": {"code": 6, "log": format!("unknown query path {path}"), "height": "0"}}));
        };
        // A node says the same of a state that is gone and of one that is not there yet.
        let none = json!({
            "code": 7, "log": "proof is unexpectedly empty; ensure height has not been pruned: invalid request", "info": "",
            "index": "0", "key": null, "value": null, "proofOps": null, "height": "0", "codespace": "store",
        });
        if height < self.pruned_below.load(Ordering::Relaxed) {
            return Ok(json!({"response": none}));
        }
        let response = match chain.query(store, &key, height) {
            Ok(answer) => found(store, &key, height, &answer, params["prove"].as_bool().unwrap_or(false)),
            Err(QueryError::NoState { .. }) => none,
            Err(e) => json!({"code": 6, "log": e.to_string(), "height": "0"}),
        };
        Ok(json!({"response": response}))
    }

    fn tx(&self, params: &Value) -> Result<Value, Refused> {
        let hash = STANDARD.decode(params["hash"].as_str().unwrap_or_default()).ok();
        let Some(hash) = hash.and_then(|h| <[u8; 32]>::try_from(h).ok()) else {
            return Err(Refused(-32602, "Invalid params", "hash".into()));
        };
        let chain = self.chain();
        let found = chain.tx(&hash).filter(|t| t.code.is_some());
        let Some(t) = found else {
            return Err(Refused(-32603, "Internal error", format!("tx ({}) not found", hex::encode_upper(hash))));
        };
        let header = chain.signed_header(t.height).map_err(|e| internal(&e))?.header.unwrap_or_default();
        let leaf = merkle::sha256(&[&[0], &merkle::sha256(&[&t.tx])]);
        let aunts: Vec<String> = t.aunts.iter().map(|a| STANDARD.encode(a)).collect();
        Ok(json!({
            "hash": hex::encode_upper(hash),
            "height": t.height.to_string(),
            "index": t.index,
            "tx_result": {"code": t.code.unwrap_or(0), "log": t.log, "data": STANDARD.encode(&t.data)},
            "tx": STANDARD.encode(&t.tx),
            "proof": {
                "root_hash": hex::encode_upper(header.data_hash),
                "data": STANDARD.encode(&t.tx),
                "proof": {"total": t.total.to_string(), "index": t.index.to_string(), "leaf_hash": STANDARD.encode(leaf), "aunts": aunts},
            },
        }))
    }

    fn broadcast(&self, params: &Value) -> Result<Value, Refused> {
        let tx = STANDARD.decode(params["tx"].as_str().unwrap_or_default()).map_err(|e| internal(&e))?;
        let hash = hex::encode_upper(merkle::sha256(&[&tx]));
        if self.swallowed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok() {
            return Ok(json!({"code": 0, "data": "", "log": "", "codespace": "", "hash": hash}));
        }
        let (code, log) = match self.chain().submit(&tx) {
            Ok(_) => (0, String::new()),
            Err(crate::SubmitError::Known) => return Err(Refused(-32603, "Internal error", "tx already exists in cache".into())),
            Err(e) => (1, e.to_string()),
        };
        Ok(json!({"code": code, "data": "", "log": log, "codespace": if code == 0 { "" } else { "sdk" }, "hash": hash}))
    }
}

/// A node leaves out numbers that are zero.
fn header_json(header: Option<&Header>) -> Result<Value, Refused> {
    let mut json = serde_json::to_value(header).map_err(|e| internal(&e))?;
    if let Some(version) = json.get_mut("version").and_then(Value::as_object_mut) {
        version.retain(|_, v| v != "0");
    }
    Ok(json)
}

fn found(store: &str, key: &[u8], height: u64, answer: &Answer, prove: bool) -> Value {
    let op = |kind: &str, key: &[u8], data: &[u8]| json!({"type": kind, "key": STANDARD.encode(key), "data": STANDARD.encode(data)});
    let ops = [op("ics23:iavl", key, &answer.iavl), op("ics23:simple", store.as_bytes(), &answer.simple)];
    json!({
        "code": 0,
        "log": "",
        "info": "",
        "index": "0",
        "key": STANDARD.encode(key),
        "value": answer.value.as_ref().map(|v| STANDARD.encode(v)),
        "proofOps": if prove { json!({"ops": ops}) } else { Value::Null },
        "height": height.to_string(),
        "codespace": "",
    })
}

fn internal(e: &impl ToString) -> Refused {
    Refused(-32603, "Internal error", e.to_string())
}

fn number(v: &Value) -> Option<u64> {
    v.as_u64().or_else(|| v.as_str()?.parse().ok())
}
