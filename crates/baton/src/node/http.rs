//! What a node answers over HTTP: peers get evidence, receipts and transfers, the operator the rest, by a token.
//!
//! Answers that need no enclave come from these threads, so a node that is busy still shows its state, and two nodes
//! that ask each other cannot wait for each other. The rest goes to the one thread that owns the enclaves.

use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use baton_chain::record::Record;
use baton_host::chain::ChainSource;
use serde_json::{Value, json};
use subtle_eq::same;
use tiny_http::{Header, Method, Request, Response, Server};

use super::ops::Op;
use super::shared::Shared;
use super::sources::Sources;
use super::waiting::{Begun, Waits};
use super::wire::MAX_BODY_BYTES;

/// Threads that answer.
const THREADS: usize = 6;
/// Records that are published for peers in one minute at most.
const MAX_PUBLISHED: usize = 60;
/// Longest wait for the thread that owns the enclaves.
const JOB_LIMIT: Duration = Duration::from_secs(590);

/// Work for the thread that owns the enclaves.
pub struct Job {
    /// What.
    pub what: Work,
    /// Where the answer goes.
    pub reply: SyncSender<Answer>,
}

/// See [`Job`].
pub enum Work {
    /// The operator's.
    Op(Op),
    /// A joiner's: path, body.
    Join(String, Vec<u8>),
}

/// Status, content type, body.
pub type Answer = (u16, &'static str, Vec<u8>);

const JSON: &str = "application/json";
const CBOR: &str = "application/cbor";
const TEXT: &str = "text/plain; charset=utf-8";

/// What the threads answer from.
pub struct Api {
    /// State that is shared with the other threads.
    pub shared: Arc<Shared>,
    /// The chain; peers are not asked on behalf of peers.
    pub sources: Sources,
    /// Records of the vault.
    pub vault: PathBuf,
    /// The operator's token.
    pub token: String,
    /// To the thread that owns the enclaves.
    pub jobs: Mutex<Sender<Job>>,
    /// When the daemon started.
    pub started: Instant,
    /// When records were published for peers.
    pub published: Mutex<Vec<Instant>>,
}

/// A comparison whose time tells nothing.
mod subtle_eq {
    pub fn same(a: &[u8], b: &[u8]) -> bool {
        a.len() == b.len() && a.iter().zip(b).fold(0, |d, (x, y)| d | (x ^ y)) == 0
    }
}

/// Listens until `stop`.
pub fn serve(api: &Arc<Api>, listen: SocketAddr, stop: &Arc<AtomicBool>) -> anyhow::Result<Vec<std::thread::JoinHandle<()>>> {
    let server = Server::http(listen).map_err(|e| anyhow::anyhow!("{listen}: {e}; another process listens there, or the address is not this machine's"))?;
    let server = Arc::new(server);
    let threads = (0..THREADS).map(|_| {
        let (server, api, stop) = (server.clone(), api.clone(), stop.clone());
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                if let Ok(Some(request)) = server.recv_timeout(Duration::from_millis(200)) {
                    api.respond(request);
                }
            }
        })
    });
    Ok(threads.collect())
}

fn error(status: u16, text: impl std::fmt::Display) -> Answer {
    (status, JSON, json!({"error": text.to_string()}).to_string().into_bytes())
}

fn of_json(value: &Value) -> Answer {
    (200, JSON, format!("{value:#}\n").into_bytes())
}

fn cbor<T: minicbor::Encode<()>>(value: &T) -> Answer {
    match minicbor::to_vec(value) {
        Ok(bytes) => (200, CBOR, bytes),
        Err(e) => error(500, e),
    }
}

impl Api {
    fn respond(&self, mut request: Request) {
        let (status, kind, body) = self.answer(&mut request);
        let mut response = Response::from_data(body).with_status_code(status);
        if let Ok(header) = Header::from_bytes("Content-Type", kind) {
            response = response.with_header(header);
        }
        // A client that went away has asked for nothing more.
        let _ = request.respond(response);
    }

    fn answer(&self, request: &mut Request) -> Answer {
        let url = request.url().to_string();
        let path = url.split('?').next().unwrap_or_default();
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (request.method(), parts.as_slice()) {
            (Method::Get, ["healthz"]) => match self.shared.hangs(self.started, Instant::now()) {
                None => (200, TEXT, b"ok\n".to_vec()),
                Some(why) => (503, TEXT, (why + "\n").into_bytes()),
            },
            (Method::Get, ["readyz"]) => match self.shared.not_ready() {
                None => (200, TEXT, b"ready\n".to_vec()),
                Some(why) => (503, TEXT, (why + "\n").into_bytes()),
            },
            (Method::Get, ["metrics"]) => {
                (200, "application/openmetrics-text; version=1.0.0; charset=utf-8", self.shared.metrics().into_bytes())
            }
            (Method::Get, ["v1", "status"]) => of_json(&self.shared.status()),
            (Method::Get, ["v1", rest @ ..]) => self.look_up(rest),
            (Method::Post, ["v1", "publish"]) => match body(request) {
                Ok(body) => self.publish(&body),
                Err(e) => e,
            },
            (Method::Post, ["v1", "op"]) => match self.allowed(request).and_then(|()| body(request)) {
                Ok(body) => match serde_json::from_slice(&body) {
                    Ok(op) => self.ask(Work::Op(op)),
                    Err(e) => error(400, format!("not an operation: {e}")),
                },
                Err(e) => e,
            },
            (Method::Post, ["v1", "join", what]) => match body(request) {
                Ok(body) => self.ask(Work::Join((*what).into(), body)),
                Err(e) => e,
            },
            (Method::Get | Method::Post, _) => error(404, format!("nothing is at {path}")),
            (_, _) => error(405, "expected GET or POST"),
        }
    }

    fn look_up(&self, path: &[&str]) -> Answer {
        let found = match path {
            ["block", height] => height.parse().ok().map(|h| self.kept_or_rpc(|s| s.light_block(h)).map(|b| cbor(&b))),
            ["state", header, store, key] => {
                let parsed = header.parse().ok().zip(hex::decode(key).ok());
                parsed.map(|(h, key)| self.kept_or_rpc(|s| s.state(store, &key, h)).map(|p| cbor(&p)))
            }
            ["vote_end", secs, nanos, upto] => {
                let parsed = secs.parse().ok().zip(nanos.parse().ok()).zip(upto.parse().ok());
                parsed.map(|(end, upto)| {
                    let kept = (&*self.sources.db).vote_end(end, upto);
                    match kept {
                        Ok(Some(h)) => Ok(cbor(&Some(h))),
                        _ => self.sources.rpc.vote_end(end, upto).map(|h| cbor(&h)),
                    }
                })
            }
            ["receipt", measurement] => return self.receipt(measurement),
            ["plans"] => return self.plans(),
            ["vault"] => return self.vault_list(),
            ["vault", index] => return self.vault_record(index),
            _ => return error(404, "nothing is there"),
        };
        match found {
            Some(Ok(answer)) => answer,
            Some(Err(e)) => error(404, e),
            None => error(400, "expected heights as numbers and keys as hexadecimal text"),
        }
    }

    fn kept_or_rpc<T>(&self, f: impl Fn(&dyn ChainSource) -> Result<T, baton_host::chain::SourceError>) -> Result<T, baton_host::chain::SourceError> {
        f(&&*self.sources.db).or_else(|_| f(&self.sources.rpc))
    }

    fn receipt(&self, measurement: &str) -> Answer {
        let mut digest = [0; 32];
        if hex::decode_to_slice(measurement, &mut digest).is_err() {
            return error(400, "expected a measurement of 64 hexadecimal characters");
        }
        match self.sources.db.receipt(&digest) {
            Ok(Some(bytes)) => (200, CBOR, bytes),
            Ok(None) => error(404, "no receipt of that build here yet"),
            Err(e) => error(500, e),
        }
    }

    fn plans(&self) -> Answer {
        match self.sources.db.plans() {
            Ok(plans) => {
                let all: Vec<Value> = plans.iter().map(|p| json!({"name": p.name, "height": p.height, "proposal": p.proposal, "info": p.info, "at_x": p.at_x})).collect();
                of_json(&Value::from(all))
            }
            Err(e) => error(500, e),
        }
    }

    fn vault_list(&self) -> Answer {
        let entries = std::fs::read_dir(&self.vault).into_iter().flatten().flatten();
        let names: Vec<String> = entries.filter_map(|e| e.file_name().into_string().ok()).filter(|n| is_index(n)).collect();
        of_json(&Value::from(names))
    }

    fn vault_record(&self, index: &str) -> Answer {
        match is_index(index).then(|| std::fs::read(self.vault.join(index))) {
            Some(Ok(bytes)) => (200, CBOR, bytes),
            _ => error(404, "no such record"),
        }
    }

    fn allowed(&self, request: &Request) -> Result<(), Answer> {
        let given = request.headers().iter().find(|h| h.field.equiv("Authorization")).map(|h| h.value.as_str().to_string());
        match given.as_deref().and_then(|g| g.strip_prefix("Bearer ")) {
            Some(token) if same(token.as_bytes(), self.token.as_bytes()) => Ok(()),
            _ => Err(error(401, "expected the token in operator.token of this node's home")),
        }
    }

    /// Any peer may ask for a record, an order's memo or what shows one fresh, and for nothing else.
    fn publish(&self, body: &[u8]) -> Answer {
        let memo = serde_json::from_slice::<Value>(body).ok().and_then(|v| v["memo"].as_str().map(String::from));
        let Some(memo) = memo else { return error(400, "expected {\"memo\": TEXT}") };
        if let Err(e) = Record::parse(&memo)
            && !is_order_memo(&memo)
        {
            return error(400, e);
        }
        {
            let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
            published.retain(|t| t.elapsed() < Duration::from_secs(60));
            if published.len() >= MAX_PUBLISHED {
                return error(429, format!("{MAX_PUBLISHED} records were published in the last minute: try again in a minute"));
            }
            published.push(Instant::now());
        }
        match self.sources.rpc.clone().send_memo(&memo) {
            Ok(hash) => of_json(&json!({"txhash": hex::encode_upper(hash)})),
            Err(e) => error(503, e),
        }
    }

    fn ask(&self, what: Work) -> Answer {
        let (reply, answer) = sync_channel(1);
        let sent = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).send(Job { what, reply });
        if sent.is_err() {
            return error(503, "the node is stopping");
        }
        answer.recv_timeout(JOB_LIMIT).unwrap_or_else(|_| error(503, "the node is stopping, or busy for too long"))
    }
}

/// True for what makes an emergency order public, or fresh: a prefix and 32 bytes.
fn is_order_memo(memo: &str) -> bool {
    let digest = ["baton-order1:", "baton-fresh1:"].iter().find_map(|p| memo.strip_prefix(p));
    digest.and_then(|d| URL_SAFE_NO_PAD.decode(d).ok()).is_some_and(|d| d.len() == 32)
}

/// True for the name of a vault record: 64 hexadecimal characters, in lower case.
pub fn is_index(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn body(request: &mut Request) -> Result<Vec<u8>, Answer> {
    let mut body = Vec::new();
    match request.as_reader().take(MAX_BODY_BYTES + 1).read_to_end(&mut body) {
        Ok(n) if n as u64 > MAX_BODY_BYTES => Err(error(413, format!("expected at most {MAX_BODY_BYTES} bytes"))),
        Ok(_) => Ok(body),
        Err(e) => Err(error(400, e)),
    }
}

/// A job that is answered, or that goes on between ticks.
pub enum Working {
    /// The answer.
    Done(Answer),
    /// To be moved on.
    Waits(Box<dyn Waits>),
}

fn of_op(answer: anyhow::Result<Value>) -> Answer {
    match answer {
        Ok(value) => of_json(&value),
        Err(e) => error(409, format!("{e:#}")),
    }
}

/// Moves a job on; its answer once it is done.
pub fn go_on(node: &mut super::Node, job: &mut dyn Waits) -> Option<Answer> {
    job.step(node).transpose().map(of_op)
}

/// Does a job on the thread that owns the enclaves, or begins it.
pub fn work(node: &mut super::Node, what: Work) -> Working {
    fn parsed<T: for<'b> minicbor::Decode<'b, ()>>(body: &[u8]) -> Result<T, Answer> {
        minicbor::decode(body).map_err(|e| error(400, format!("the body cannot be read: {e}")))
    }
    fn said<T: minicbor::Encode<()>>(answer: anyhow::Result<T>) -> Answer {
        match answer {
            Ok(value) => cbor(&value),
            Err(e) => error(409, format!("{e:#}")),
        }
    }
    let done: Result<Answer, Answer> = match what {
        Work::Op(op) => match node.begin(&op) {
            Ok(Begun::Waits(job)) => return Working::Waits(job),
            Ok(Begun::Done(value)) => Ok(of_op(Ok(value))),
            Err(e) => Err(of_op(Err(e))),
        },
        Work::Join(path, body) => match path.as_str() {
            "hello" => parsed(&body).map(|ask| said(node.give_hello(&ask))),
            "offer" => parsed(&body).map(|ask| match node.give_offer(&ask) {
                Ok(None) => error(425, "the record is in no block that this node sees yet"),
                Ok(Some(offer)) => cbor(&offer),
                Err(e) => error(409, format!("{e:#}")),
            }),
            "challenge" => parsed(&body).map(|ask| said(node.give_challenge(&ask))),
            "confirm" => parsed(&body).map(|ask| said(node.take_joined(ask))),
            other => Err(error(404, format!("no step {other:?} of a join"))),
        },
    };
    Working::Done(done.unwrap_or_else(|e| e))
}
