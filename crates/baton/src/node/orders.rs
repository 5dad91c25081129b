//! Emergency orders that this node carries to its own enclaves: each a file in the home's folder `orders`.
//!
//! The daemon looks for what the enclave will ask for: that the order was public for long enough, by a transaction or by
//! a log that witnesses cosigned, and that this is of now. It shows nothing before that is to be had, so an enclave is not
//! asked in vain; and what it refuses then is said in the status and tried again ever more slowly. All of it may be repeated.

use std::collections::BTreeMap;
use std::path::{Path as FilePath, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use baton_attest::identity::{Digest32, Identity, Measurement};
use baton_chain::light::{LightBlock, Path};
use baton_chain::record::Kind;
use baton_core::custody::State;
use baton_core::order::adr036;
use baton_core::order::judge::OrderEvidence;
use baton_core::order::notice::FreshEvidence;
use baton_core::order::signed::{MAX_SIGNED_BYTES, SignedOrder};
use baton_core::order::{Action, OrderKind, fresh_memo};
use baton_core::witness::{Cosigned, orders_origin};
use baton_enclave::wire::{OfferEvidence, Reply, Request, Status};
use baton_host::chain::{ChainSource, Included};
use baton_host::gather::Gather;
use baton_host::order_log::LogFile;
use baton_host::orders::{evidence, staking};
use baton_host::relay::{self, Asked, Channel};
use baton_host::rpc::{RpcConfig, RpcSource};
use baton_host::seat::SeatError;
use prost::Message;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tendermint_proto::types::SignedHeader;

use super::{Done, Node, trusted};
use crate::times::{show_time, unix_now};

/// Folder of the home.
const FOLDER: &str = "orders";
/// Blocks that are searched for an order's transaction in one tick.
const SEARCH_BLOCKS: u64 = 200;
/// How far back the chain is searched beyond the notice.
const SEARCH_BEYOND: u64 = 20_000;
/// A transaction that is in no block after this long is sent again.
const RESEND: Duration = Duration::from_secs(60);
/// Longest wait between two tries of an order that an enclave refuses.
const MAX_PAUSE: Duration = Duration::from_secs(600);
/// Most heights that a rewind goes down.
const MAX_REWIND: u64 = 100_000;

/// How an order is carried. Everything in it is optional: on a chain that lives an order needs none of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct How {
    /// The log in which the order is public, for a chain that stands still; a file on this machine.
    pub log: Option<PathBuf>,
    /// URLs of witnesses; none: whoever keeps the log appends what the status asks for.
    pub witnesses: Vec<String>,
    /// Hash of the transaction that made the order public; without it the chain is searched.
    pub tx: Option<Digest32>,
    /// This node's signer, or a peer's, publishes the order if the chain does not show it.
    pub publish: bool,
    /// RPC of a node that still has the branch which a rewind leaves, for headers that were not kept here.
    pub old_rpc: Vec<String>,
}

/// What an enclave's nonce is in.
enum Fresh {
    Asked(Box<Asked>),
    Nonce(Digest32),
}

impl Fresh {
    fn text(&self) -> String {
        match self {
            Fresh::Asked(asked) => asked.record(0).encode(),
            Fresh::Nonce(nonce) => fresh_memo(nonce),
        }
    }
}

/// How far an order has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Waiting,
    Refused,
    Obeyed,
}

/// One order of the folder.
pub(super) struct Carried {
    signed: SignedOrder,
    how: How,
    /// Heights between these were searched, both included.
    searched: Option<(u64, u64)>,
    fresh: Option<Fresh>,
    sent: Option<([u8; 32], Instant)>,
    stage: Stage,
    said: String,
    /// What an enclave answered last; kept while the next try is under way.
    refused: Option<String>,
    pause: Duration,
    next: Instant,
}

/// What a try has come to.
enum Now {
    /// Nothing is wrong; this is missing.
    Waits(String),
    /// Done, for ever.
    Obeyed(String),
}

/// Where the order is public.
enum Public {
    Chain(Box<Included>),
    Log(Box<LogFile>),
}

fn name_of(digest: &Digest32) -> String {
    digest.to_string().chars().take(16).collect()
}

/// True where a status says that an order was obeyed, here or where the keyring came from.
fn knows(status: &Status, digest: &Digest32) -> bool {
    status.emergencies.as_ref().is_some_and(|e| e.obeyed.iter().chain(&e.inherited).any(|o| o.order == *digest))
}

fn obeyed_here(status: &Status, digest: &Digest32) -> Option<u64> {
    status.emergencies.as_ref()?.obeyed.iter().find(|o| o.order == *digest).map(|o| o.head)
}

/// Puts an order into the folder, with how it is carried. The same order again changes how.
pub(super) fn put(node: &mut Node, file: &FilePath, how: &How) -> Result<Digest32> {
    let bytes = crate::files::read(file, "order", MAX_SIGNED_BYTES).map_err(|e| anyhow::anyhow!("{}", e.to_string().trim()))?;
    let mut signed = SignedOrder::from_bytes(&bytes).with_context(|| format!("{}", file.display()))?;
    let (expected, got) = (&node.home.config().chain.id, &signed.order().chain_id);
    if expected != got {
        bail!("the order is for chain {got:?}, expected {expected:?}");
    }
    let digest = signed.order().digest();
    let folder = node.home.path(FOLDER);
    super::config::private_folder(&folder)?;
    let path = folder.join(format!("{}.order", name_of(&digest)));
    // A copy that was signed further is put together with the one that is here.
    if let Ok(known) = SignedOrder::from_bytes(&std::fs::read(&path).unwrap_or_default()) {
        signed.merge(known)?;
    }
    super::config::write_private(&path.with_extension("json"), format!("{:#}\n", serde_json::to_value(how)?).as_bytes())?;
    super::config::write_private(&path, &signed.to_bytes())?;
    node.read_orders()?;
    // What was learned of it stays; an operator who asks waits for no pause.
    if let Some(c) = node.orders.get_mut(&digest.to_string()).filter(|c| c.pause > Duration::from_secs(16)) {
        (c.next, c.pause) = (Instant::now(), Duration::from_secs(1));
    }
    Ok(digest)
}

/// What became of an order of the folder.
pub(super) fn told(node: &Node, digest: &Digest32) -> Value {
    node.orders.get(&digest.to_string()).map_or(Value::Null, |c| one(&digest.to_string(), c))
}

fn one(digest: &str, c: &Carried) -> Value {
    let order = c.signed.order();
    let stage = match c.stage {
        Stage::Waiting => "waiting",
        Stage::Refused => "refused",
        Stage::Obeyed => "obeyed",
    };
    json!({
        "digest": digest, "kind": order.kind().to_string(), "number": order.sequence, "reason": order.reason,
        "expiry_height": order.expiry_height, "expiry_secs": order.expiry_secs, "state": stage, "said": c.said, "last_refusal": c.refused,
        "append_to_log": c.fresh.as_ref().filter(|_| c.how.log.is_some() && c.stage == Stage::Waiting).map(Fresh::text),
    })
}

/// Every order of the folder, for the status.
pub(super) fn all(node: &Node) -> Vec<Value> {
    node.orders.iter().map(|(digest, c)| one(digest, c)).collect()
}

/// How many of the folder's orders were not obeyed yet.
pub(super) fn pending(node: &Node) -> u64 {
    node.orders.values().filter(|c| c.stage != Stage::Obeyed).count() as u64
}

/// Every emergency that a build here knows of, each once: they stay in custody and log for ever.
pub(super) fn emergencies(node: &Node) -> Vec<Value> {
    let mut out: BTreeMap<(u64, String), Value> = BTreeMap::new();
    for p in &node.places {
        let Some(e) = p.status.as_ref().and_then(|s| s.emergencies.as_ref()) else { continue };
        for (here, list) in [(true, &e.obeyed), (false, &e.inherited)] {
            for o in list {
                let key = (o.sequence, o.order.to_string());
                let row = json!({
                    "number": o.sequence, "kind": o.kind.to_string(), "digest": o.order.to_string(), "height": o.head,
                    "obeyed_by": if here { Value::from(p.build.name.clone()) } else { Value::Null },
                });
                match out.get(&key) {
                    Some(known) if !known["obeyed_by"].is_null() || !here => {}
                    _ => {
                        out.insert(key, row);
                    }
                }
            }
        }
    }
    out.into_values().collect()
}

/// Carries every order as far as it goes now.
pub(super) fn carry(node: &mut Node) -> Result<Vec<Done>> {
    node.read_orders()?;
    let mut done = Vec::new();
    let mut broken = None;
    for digest in node.orders.keys().cloned().collect::<Vec<_>>() {
        let Some(mut c) = node.orders.remove(&digest) else { continue };
        if Instant::now() >= c.next {
            let got = node.carry_one(&mut c);
            note(&digest, &mut c, got, &mut done, &mut broken);
        }
        node.orders.insert(digest, c);
    }
    broken.map_or(Ok(done), Err)
}

fn note(digest: &str, c: &mut Carried, got: Result<Now>, done: &mut Vec<Done>, broken: &mut Option<anyhow::Error>) {
    let before = (c.stage, c.said.clone());
    match got {
        Ok(Now::Waits(said)) => {
            (c.stage, c.said) = (Stage::Waiting, said);
            c.next = Instant::now() + Duration::from_millis(300);
        }
        Ok(Now::Obeyed(said)) => {
            if c.stage != Stage::Obeyed {
                let (kind, number) = (c.signed.order().kind(), c.signed.order().sequence);
                done.push(Done { step: "order", text: format!("order {number} ({kind}, digest {digest}): {said}") });
            }
            (c.stage, c.said, c.fresh, c.sent, c.refused) = (Stage::Obeyed, said, None, None, None);
            c.next = Instant::now() + Duration::from_secs(10);
        }
        Err(e) => {
            // What was asked is void with its refusal: the next try asks anew.
            (c.stage, c.said, c.fresh, c.sent) = (Stage::Refused, format!("{e:#}"), None, None);
            c.refused = Some(c.said.clone());
            c.next = Instant::now() + c.pause;
            c.pause = (c.pause * 2).min(MAX_PAUSE);
            if e.chain().any(|x| matches!(x.downcast_ref(), Some(SeatError::Link(_)))) {
                *broken = Some(e);
            }
        }
    }
    if before != (c.stage, c.said.clone()) && c.stage != Stage::Obeyed {
        let said = &c.said;
        match c.stage {
            Stage::Refused => tracing::warn!(order = %digest, "not obeyed: {said}"),
            Stage::Waiting | Stage::Obeyed => tracing::info!(order = %digest, "{said}"),
        }
    }
}

impl Node {
    /// Looks at the folder. Files that are no orders are named once.
    fn read_orders(&mut self) -> Result<()> {
        let folder = self.home.path(FOLDER);
        if !folder.is_dir() {
            return Ok(());
        }
        for entry in std::fs::read_dir(&folder).with_context(|| format!("{}", folder.display()))? {
            let path = entry?.path();
            if path.extension().is_none_or(|e| e != "order") {
                continue;
            }
            match read_one(&path) {
                Ok((signed, how)) => self.take_up(signed, how),
                Err(e) => {
                    let text = format!("{}: {e:#}", path.display());
                    if !self.warnings.contains(&text) {
                        tracing::warn!("{text}");
                        self.warnings.push(text);
                    }
                }
            }
        }
        Ok(())
    }

    fn take_up(&mut self, signed: SignedOrder, how: How) {
        let key = signed.order().digest().to_string();
        match self.orders.get_mut(&key) {
            Some(known) => {
                if known.signed.to_bytes() != signed.to_bytes() || known.how != how {
                    (known.refused, known.pause, known.next) = (None, Duration::from_secs(1), Instant::now());
                }
                (known.signed, known.how) = (signed, how);
            }
            None => {
                let (now, said) = (Instant::now(), "not looked at yet".into());
                let pause = Duration::from_secs(1);
                let fresh = Carried { signed, how, searched: None, fresh: None, sent: None, stage: Stage::Waiting, said, refused: None, pause, next: now };
                self.orders.insert(key, fresh);
            }
        }
    }

    fn status_at(&mut self, index: usize) -> Result<Status> {
        let place = self.at(index)?;
        let status = place.seat.status()?;
        place.status = Some(status.clone());
        Ok(status)
    }

    /// The build here that an order is to.
    fn commanded(&self, from: &Digest32) -> Option<usize> {
        self.places.iter().position(|p| p.status.as_ref().is_some_and(|s| s.identity.digest() == *from))
    }

    fn carry_one(&mut self, c: &mut Carried) -> Result<Now> {
        let order = c.signed.order().clone();
        let source = self.commanded(&order.from);
        if let Action::Handover { to } = &order.action {
            return self.carry_handover(c, source, to);
        }
        let Some(source) = source else { return Ok(Now::Waits(not_here(&order.from))) };
        let digest = order.digest();
        if let Some(head) = obeyed_here(&self.status_at(source)?, &digest) {
            return Ok(Now::Obeyed(format!("obeyed by {} at height {head}", self.places[source].build.name)));
        }
        let public = match self.public(c, source)? {
            Ok(public) => public,
            Err(said) => return Ok(Now::Waits(said)),
        };
        if c.fresh.is_none() {
            let nonce = match self.at(source)?.seat.call(&Request::Hello)? {
                Reply::Message { digest, .. } => digest,
                other => bail!("the enclave answered {other:?}, expected a hello"),
            };
            c.fresh = Some(Fresh::Nonce(nonce));
        }
        let (shown, head) = match self.shown(c, source, public)? {
            Ok(shown) => shown,
            Err(said) => return Ok(Now::Waits(said)),
        };
        let nonce = c.fresh.as_ref().and_then(|f| if let Fresh::Nonce(n) = f { Some(*n) } else { None });
        let links = match order.action {
            Action::Rewind { height, .. } => Some(self.links(source, &shown.to_head, head, height, &c.how.old_rpc)?),
            Action::Handover { .. } | Action::Freeze { .. } | Action::Rotate => None,
        };
        let evidence = OrderEvidence { nonce, links, ..shown }.to_cbor();
        let place = self.at(source)?;
        place.seat.call(&Request::Command { evidence })?;
        place.seat.store_log()?;
        if let Action::Rewind { height, .. } = order.action {
            // From here on the chain's own branch is followed: what was kept of the other one leads nowhere.
            self.sources.db.went_back(height)?;
            self.sources.rpc.forget_above(height);
            self.shared.went_back();
            self.stood_at = 0;
        }
        let head = self.status_at(source)?.head_height;
        Ok(Now::Obeyed(format!("obeyed by {}, its trusted head is {head}", self.places[source].build.name)))
    }

    fn carry_handover(&mut self, c: &mut Carried, source: Option<usize>, to: &Identity) -> Result<Now> {
        let digest = c.signed.order().digest();
        let Some(target) = self.find(&to.measurement) else {
            let builds = self.home.path("builds");
            return Ok(Now::Waits(format!("the build that the order names, {}, is not here: put its .sgxs and .sig into {}", to.measurement, builds.display())));
        };
        let t = self.status_at(target)?;
        let name = self.places[target].build.name.clone();
        if t.serving && knows(&t, &digest) {
            return Ok(Now::Obeyed(format!("{name} holds the keyring and serves by it")));
        }
        let Some(at) = source else {
            // A machine that joined the build holds the keyring without a source of its own.
            return match t.state {
                State::Received => self.start_by_order(c, target, target),
                _ => Ok(Now::Waits(not_here(&c.signed.order().from))),
            };
        };
        let s = self.status_at(at)?;
        let promised = s.successor.is_some_and(|n| n.measurement == to.measurement);
        if promised && s.state == State::Offered && self.finish_transfer(at, target)? {
            return Ok(Now::Waits("a transfer that was cut off is complete".into()));
        }
        if t.state == State::Received && promised && s.state == State::Confirmed {
            return self.start_by_order(c, at, target);
        }
        let public = match self.public(c, at)? {
            Ok(public) => public,
            Err(said) => return Ok(Now::Waits(said)),
        };
        if c.fresh.is_none() {
            let (o, n) = self.pair(at, target)?;
            c.fresh = Some(Fresh::Asked(Box::new(relay::ask(&mut o.seat, &mut n.seat, Kind::Upgrade, Channel::Local)?)));
        }
        let by_log = matches!(public, Public::Log(_));
        let (shown, _) = match self.shown(c, at, public)? {
            Ok(shown) => shown,
            Err(said) => return Ok(Now::Waits(said)),
        };
        let Some(Fresh::Asked(asked)) = c.fresh.take() else { bail!("nothing was asked") };
        c.sent = None;
        if by_log {
            // The log made it public; its record follows once the chain makes blocks.
            self.sources.db.owe(&asked.record(0).encode())?;
        }
        let (o, n) = self.pair(at, target)?;
        relay::hand_over(&mut o.seat, &mut n.seat, &asked, OfferEvidence::Order(shown.to_cbor()), Channel::Local)?;
        o.seat.store_log()?;
        tracing::info!(order = %digest, "{} handed over to {name}", self.places[at].build.name);
        self.start_by_order(c, at, target)
    }

    /// Shows a build that holds the keyring the order which named it, and its notice: it serves from then on.
    fn start_by_order(&mut self, c: &mut Carried, policy_of: usize, target: usize) -> Result<Now> {
        let public = match self.public(c, policy_of)? {
            Ok(public) => public,
            Err(said) => return Ok(Now::Waits(said)),
        };
        let status = self.status_at(target)?;
        if status.head_height == 0 {
            return Ok(Now::Waits(format!("{} waits for its checkpoint's header", self.places[target].build.name)));
        }
        let shown = match public {
            Public::Chain(tx) => self.by_chain(c, target, &tx, None)?.0,
            Public::Log(file) => self.by_log(c, target, &file, None)?.0,
        };
        let place = self.at(target)?;
        place.seat.call(&Request::ActivateByOrder { evidence: shown.to_cbor() })?;
        place.seat.store_log()?;
        let name = place.build.name.clone();
        self.status_at(target)?;
        Ok(Now::Obeyed(format!("{name} holds the keyring and serves by it")))
    }

    /// Where the order is public for long enough; or what is missing.
    fn public(&mut self, c: &mut Carried, source: usize) -> Result<Result<Public, String>> {
        let policy = &self.places[source].build.policy;
        let Some(council) = &policy.council else { bail!("the policy of {} has no council section: it obeys no order", self.places[source].build.name) };
        let waits = c.signed.order().kind() != OrderKind::Freeze;
        let blocks = if waits { council.notice_blocks } else { 0 };
        if c.how.log.is_some() {
            return self.in_log(c, source, waits);
        }
        let view = self.shared.view();
        if let Some(e) = &view.error {
            return Ok(Err(format!("the chain is not seen ({e}): where it stands still, an order is public in the log that witnesses cosign: `baton order carry … --log FILE`")));
        }
        let tx = match self.order_tx(c, view.height, blocks)? {
            Ok(tx) => tx,
            Err(said) => return Ok(Err(said)),
        };
        let earliest = tx.height.saturating_add(blocks);
        Ok(match view.height < earliest {
            true => Err(format!("public since block {}: its notice of {blocks} blocks ends at height {earliest}, the chain is at {}", tx.height, view.height)),
            false => Ok(Public::Chain(Box::new(tx))),
        })
    }

    /// The transaction that made the order public: named, known, or searched for.
    fn order_tx(&mut self, c: &mut Carried, height: u64, notice: u64) -> Result<Result<Included, String>> {
        let memo = c.signed.order().memo();
        let note = format!("order tx {memo}");
        let known = self.sources.db.note(&note)?.and_then(|n| n.parse::<Digest32>().ok());
        for hash in c.how.tx.iter().chain(&known) {
            if let Some(tx) = self.sources.included(&hash.0)? {
                return Ok(Ok(tx));
            }
        }
        let oldest = self.sources.rpc.earliest()?.max(height.saturating_sub(notice.saturating_add(SEARCH_BEYOND)));
        let (low, high) = c.searched.filter(|(_, high)| *high <= height).unwrap_or((height.saturating_add(1), height));
        let newer = high.saturating_add(1)..=height;
        let down = low.saturating_sub(SEARCH_BLOCKS).max(oldest);
        for at in newer.rev().chain((down..low).rev()) {
            if let Some((hash, _)) = self.sources.rpc.memos(at)?.into_iter().find(|(_, m)| *m == memo) {
                self.sources.db.set_note(&note, &Digest32(hash).to_string())?;
                return Ok(self.sources.included(&hash)?.ok_or_else(|| format!("found in block {at}; the node does not show its transaction yet (is its index of transactions on?)")));
            }
        }
        c.searched = Some((down, height));
        if down > oldest {
            return Ok(Err(format!("looking for the order's transaction: not in the blocks from {down} on")));
        }
        if !c.how.publish {
            return Ok(Err(format!("no transaction from block {oldest} on has the memo {memo}: publish the order (`baton order publish` says how, `baton order carry --publish` does it), and its notice begins")));
        }
        let waiting = c.sent.is_some_and(|(_, at)| at.elapsed() < RESEND);
        if !waiting {
            c.sent = Some((self.sources.publish(&memo)?, Instant::now()));
        }
        Ok(Err("the order was published, and is in no block yet".into()))
    }

    /// The log with the order in it, and a notice that is over.
    fn in_log(&mut self, c: &mut Carried, source: usize, waits: bool) -> Result<Result<Public, String>> {
        let Some(path) = &c.how.log else { bail!("no log was named") };
        let place = &self.places[source];
        let Some(w) = &place.build.policy.witnesses else { bail!("the policy of {} names no witnesses: only a transaction makes an order public", place.build.name) };
        let mut file = LogFile::open(path)?;
        let (chain_id, memo) = (&place.build.policy.chain.chain_id, c.signed.order().memo());
        if file.chain_id() != chain_id {
            bail!("{} is the log of chain {:?}, expected {chain_id:?}", path.display(), file.chain_id());
        }
        let origin = orders_origin(chain_id);
        let dates = |file: &LogFile| -> Option<(u64, u64)> {
            let index = file.log.texts().iter().position(|t| *t == memo)? as u64;
            let good = |n: &&baton_host::orders::CosignedNote| n.size > index;
            let all: Vec<Cosigned> = file.log.notes().iter().filter(good).filter_map(|n| Cosigned::verify(&n.note, &origin, &w.keys, w.needed).ok()).collect();
            Some((all.first()?.not_after(), all.last()?.not_before()))
        };
        let Some((first, _)) = dates(&file).or_else(|| {
            // Nobody has dated it yet: the notice begins now.
            let _ = (!c.how.witnesses.is_empty()).then(|| file.publish(&memo, &c.how.witnesses));
            dates(&file)
        }) else {
            return Ok(Err(format!("{} of {} witnesses have to date the order: `baton order log {} --order FILE --witness URL …`", w.needed, w.keys.len(), path.display())));
        };
        let ends = first.saturating_add(w.notice_secs);
        Ok(match waits && unix_now() < ends {
            true => Err(format!("dated {}: its notice ends at {}", show_time(first), show_time(ends))),
            false => Ok(Public::Log(Box::new(file))),
        })
    }

    /// The evidence, once what shows that it is of now is public too. The height is the head that it leads to.
    fn shown(&mut self, c: &mut Carried, source: usize, public: Public) -> Result<Result<(OrderEvidence, u64), String>> {
        let text = c.fresh.as_ref().map(Fresh::text).unwrap_or_default();
        match public {
            Public::Chain(order) => {
                let hash = match c.sent {
                    Some((hash, at)) if at.elapsed() < RESEND => hash,
                    _ => {
                        let hash = self.sources.publish(&text)?;
                        c.sent = Some((hash, Instant::now()));
                        hash
                    }
                };
                let Some(fresh) = self.sources.included(&hash)? else {
                    return Ok(Err(format!("{text} was sent in transaction {}, and is in no block yet", hex::encode_upper(hash))));
                };
                self.by_chain(c, source, &order, Some(&fresh)).map(Ok)
            }
            Public::Log(mut file) => {
                if !c.how.witnesses.is_empty() {
                    for e in file.publish(&text, &c.how.witnesses)? {
                        tracing::warn!("not cosigned: {e}");
                    }
                }
                if file.log.newest(&text).is_err() {
                    return Ok(Err(format!("append {text} to the log of orders and let witnesses cosign it: `baton order log FILE --add {text} --witness URL …`")));
                }
                self.by_log(c, source, &file, Some(&text)).map(Ok)
            }
        }
    }

    fn by_chain(&mut self, c: &Carried, at: usize, order: &Included, fresh: Option<&Included>) -> Result<(OrderEvidence, u64)> {
        let trusted = trusted(&self.status_at(at)?);
        let policy = self.at(at)?.build.policy.chain.clone();
        let head = self.sources.rpc.latest()?.max(order.height).max(fresh.map_or(0, |f| f.height));
        let mut shown = Gather::new(&self.sources, &policy).order(&c.signed, &trusted, order, fresh, head)?;
        let head = head.max(trusted.last().copied().unwrap_or(0));
        shown.staking = self.weights(c, head)?;
        Ok((shown, head))
    }

    fn by_log(&mut self, c: &Carried, at: usize, file: &LogFile, fresh: Option<&str>) -> Result<(OrderEvidence, u64)> {
        let status = self.status_at(at)?;
        let policy = self.at(at)?.build.policy.chain.clone();
        let mut head = status.head_height;
        let mut path = Path::default();
        // Accounts are weighed by the newest state that can be shown; a council needs no header at all.
        if !c.signed.accounts().is_empty()
            && let Ok(newest) = self.sources.latest()
            && newest > head
            && let Ok(to) = Gather::new(&self.sources, &policy).path(head, newest)
        {
            (path, head) = (to, newest);
        }
        let notice = file.log.notice(&c.signed.order().memo())?;
        let fresh = fresh.map(|text| file.log.newest(text)).transpose()?.map(FreshEvidence::Witnessed);
        let mut shown = evidence(&c.signed, path, notice, fresh);
        shown.staking = self.weights(c, head)?;
        Ok((shown, head))
    }

    /// The records of the accounts that signed, under a header.
    fn weights(&self, c: &Carried, header: u64) -> Result<Option<baton_core::order::adr036::StakingEvidence>> {
        let order = c.signed.order();
        let signers: Vec<[u8; 20]> = c.signed.accounts().iter().filter_map(|a| adr036::check(order, a).ok()).collect();
        match signers.is_empty() {
            true => Ok(None),
            false => Ok(Some(staking(&self.sources, &signers, header)?)),
        }
    }

    /// The headers from the head that the evidence leads to down to an ancestor, of the branch that the enclave stands on.
    fn links(&mut self, at: usize, to_head: &Path, head: u64, ancestor: u64, old_rpc: &[String]) -> Result<Vec<LightBlock>> {
        let status = self.status_at(at)?;
        let mut hash = match to_head.blocks.last() {
            Some(block) => block.untrusted_checkpoint()?.hash,
            None => status.head_hash.0,
        };
        if head <= ancestor || head - ancestor > MAX_REWIND {
            bail!("the order goes back to height {ancestor}, the trusted head is {head}: expected a height below it");
        }
        let old = match old_rpc {
            [] => None,
            urls => Some(RpcSource::new(RpcConfig { roots: self.roots.clone(), ..RpcConfig::new(self.home.config().chain.id.clone(), urls.to_vec()) })?),
        };
        let mut out = Vec::new();
        for height in (ancestor..=head).rev() {
            let block = self.of_branch(height, hash, old.as_ref())?;
            hash = parent(&block).with_context(|| format!("header {height} cannot be read"))?;
            if height < head {
                out.push(block);
            }
        }
        Ok(out)
    }

    /// A block by its hash, wherever it is: the chain itself may show another one at that height.
    fn of_branch(&self, height: u64, hash: [u8; 32], old: Option<&RpcSource>) -> Result<LightBlock> {
        if let Some(block) = self.sources.db.recent(height, hash)? {
            return Ok(block);
        }
        let sources: [Option<&dyn ChainSource>; 2] = [Some(&self.sources), old.map(|o| o as &dyn ChainSource)];
        for source in sources.into_iter().flatten() {
            if let Ok(block) = source.light_block(height)
                && block.untrusted_checkpoint().is_ok_and(|c| c.hash == hash)
            {
                return Ok(block);
            }
        }
        bail!("header {height} with hash {}, on the branch that the enclave stands on, is neither kept here nor at any endpoint: name a node that still has it, --old-rpc URL", Digest32(hash))
    }

    /// True where an order, not a plan, named the build that this one promised the keyring to.
    pub(super) fn promised_by_order(&self, measurement: &Measurement) -> bool {
        self.places.iter().any(|p| {
            p.status.as_ref().is_some_and(|s| {
                s.successor.is_some_and(|n| n.measurement == *measurement) && s.emergencies.as_ref().is_some_and(|e| e.promised_by.is_some())
            })
        })
    }
}

fn not_here(from: &Digest32) -> String {
    format!("no build here is the one that the order is to (identity digest {from})")
}

/// Hash of the block before.
fn parent(block: &LightBlock) -> Option<[u8; 32]> {
    let header = SignedHeader::decode(block.signed_header.as_slice()).ok()?.header?;
    header.last_block_id?.hash.try_into().ok()
}

fn read_one(path: &FilePath) -> Result<(SignedOrder, How)> {
    let bytes = crate::files::read(path, "order", MAX_SIGNED_BYTES).map_err(|e| anyhow::anyhow!("{}", e.to_string().trim()))?;
    let signed = SignedOrder::from_bytes(&bytes)?;
    let beside = path.with_extension("json");
    let how = match std::fs::read(&beside) {
        Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| format!("{}", beside.display()))?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => How::default(),
        Err(e) => return Err(e).with_context(|| format!("{}", beside.display())),
    };
    Ok((signed, how))
}
