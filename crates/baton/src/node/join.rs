//! `join`: this machine gets the keyring from a peer of the same build, by quotes, with a record and a fresh head.
//!
//! The joiner drives; a giver only answers. Cut off anywhere, the joiner begins again with a new hello.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use baton_attest::identity::{Digest32, Measurement};
use baton_chain::record::Kind;
use baton_core::custody::State;
use baton_enclave::wire::OfferEvidence;
use baton_host::chain::ChainSource;
use baton_host::gather::Gather;
use baton_host::relay::{self, Asked, Channel, Offered};
use serde_json::{Value, json};

use super::ops::told;
use super::peers::Peer;
use super::waiting::{Begun, Publishing, Waits};
use super::wire::{ChallengeAsk, ConfirmAsk, HelloAsk, OfferAsk, OfferSaid, Said};
use super::{Done, Node, PEER_LIMIT, trusted};

/// Where a join stands.
enum Stage {
    /// Its record is on the way into a block.
    Announced(Publishing),
    /// It is in a block; the giver's own node may be one behind.
    Recorded([u8; 32]),
}

/// A join that is under way.
pub(super) struct Joining {
    peer: String,
    giver: Peer,
    build: Measurement,
    asked: Asked,
    stage: Stage,
    end: Instant,
    done: Vec<Done>,
}

impl Waits for Joining {
    fn step(&mut self, node: &mut Node) -> Result<Option<Value>> {
        if let Stage::Announced(publishing) = &mut self.stage {
            let Some((hash, _)) = publishing.step(node).context("the record of the join")? else { return Ok(None) };
            self.stage = Stage::Recorded(hash);
        }
        let Stage::Recorded(hash) = self.stage else { return Ok(None) };
        let ask = OfferAsk {
            build: self.build,
            request: self.asked.request.clone(),
            digest: self.asked.digest,
            attestation: self.asked.attestation.clone(),
            tx: Digest32(hash),
            platform: self.asked.platform,
        };
        let offer: OfferSaid = match self.giver.post("/v1/join/offer", &ask) {
            Ok(offer) => offer,
            Err(e) if format!("{e:#}").contains("answered 425") && Instant::now() < self.end => return Ok(None),
            Err(e) => return Err(e.context("the giver made no offer")),
        };
        self.take(node, hash, offer)?;
        let mut done = std::mem::take(&mut self.done);
        done.extend(node.tick());
        node.joined(&done).map(Some)
    }
}

impl Joining {
    fn take(&mut self, node: &mut Node, hash: [u8; 32], offer: OfferSaid) -> Result<()> {
        let collateral = node.collateral()?;
        let index = node.find(&self.build).context("the build of the join is gone from the folder")?;
        let place = node.at(index)?;
        relay::accept(&mut place.seat, &Offered { offer: offer.offer, transcript: offer.transcript, giver: offer.giver })?;
        let said: Said = self.giver.post("/v1/join/challenge", &ChallengeAsk { build: self.build, transcript: offer.transcript })?;
        let (receipt, attestation) = relay::prove(&mut place.seat, said.message, Channel::Quoted { collateral: &collateral })?;
        let name = place.build.name.clone();
        let _: Said = self.giver.post("/v1/join/confirm", &ConfirmAsk { build: self.build, receipt, attestation })?;
        node.refresh();
        self.done.push(Done { step: "join", text: format!("{name} got the keyring from {}, with its record in transaction {}", self.peer, hex::encode_upper(hash)) });
        Ok(())
    }
}

impl Node {
    /// Begins to join by a peer, for at most `limit`. A node that holds the keyring already has nothing to do.
    pub(super) fn begin_join(&mut self, peer: &str, build: Option<Measurement>, limit: Duration) -> Result<Begun> {
        let done = self.tick();
        let index = self.joining(build)?;
        if !matches!(self.state(index), State::Empty) {
            return Ok(Begun::Done(self.joined(&done)?));
        }
        let measurement = self.at(index)?.build.measurement;
        let giver = Peer::new(peer, PEER_LIMIT, &self.roots);
        let said: Said = giver.post("/v1/join/hello", &HelloAsk { build: measurement }).context("the giver did not open a transfer")?;
        self.await_collateral()?;
        let collateral = self.collateral()?;
        let platform = self.here.launcher().platform_id();
        let place = self.at(index)?;
        let asked = relay::answer_hello(&mut place.seat, said.message, Kind::Join, Channel::Quoted { collateral: &collateral }, platform)?;
        let stage = Stage::Announced(Publishing::new(asked.record(0).encode(), Some(giver.clone()), limit));
        let end = Instant::now() + limit;
        Ok(Begun::Waits(Box::new(Joining { peer: peer.into(), giver, build: measurement, asked, stage, end, done })))
    }

    /// What a join gave.
    fn joined(&self, done: &[Done]) -> Result<Value> {
        let index = self.holding().context("the keyring did not arrive")?;
        let p = &self.places[index];
        Ok(json!({"measurement": p.build.measurement.to_string(), "state": self.state(index).to_string().to_lowercase(), "done": told(done)}))
    }

    /// The build to join with: the one that is named, else the newest here that holds nothing.
    fn joining(&self, build: Option<Measurement>) -> Result<usize> {
        if let Some(m) = build {
            return self.find(&m).with_context(|| format!("no build {m} in {}", self.home.path("builds").display()));
        }
        if let Some(holder) = self.holder() {
            return Ok(holder);
        }
        let mut all: Vec<usize> = (0..self.places.len()).collect();
        all.sort_by_key(|i| self.places[*i].status.as_ref().map(|s| s.identity.svn));
        all.pop().with_context(|| format!("no build in {}: expected an .sgxs file with its .sig; put it there", self.home.path("builds").display()))
    }

    fn giving(&mut self, build: &Measurement) -> Result<usize> {
        let index = self.find(build).with_context(|| format!("this node has no build {build}"))?;
        self.refresh();
        match self.places[index].status.as_ref().is_some_and(|s| s.serving) {
            true => Ok(index),
            false => bail!("build {build} does not serve here: its custody is {}", self.state(index)),
        }
    }

    /// A joiner wants to begin.
    pub fn give_hello(&mut self, ask: &HelloAsk) -> Result<Said> {
        let index = self.giving(&ask.build)?;
        Ok(Said { message: relay::hello(&mut self.at(index)?.seat)? })
    }

    /// A joiner's record is on chain. `None`: this node does not see it yet.
    pub fn give_offer(&mut self, ask: &OfferAsk) -> Result<Option<OfferSaid>> {
        let index = self.giving(&ask.build)?;
        let Some(tx) = self.sources.included(&ask.tx.0)? else { return Ok(None) };
        let head = self.sources.rpc.latest()?.max(tx.height);
        let policy = self.at(index)?.build.policy.chain.clone();
        let status = self.at(index)?.seat.status()?;
        let rule = self.at(index)?.build.policy.admission;
        let gather = Gather::new(&self.sources, &policy);
        let mut evidence = gather.record(&trusted(&status), &tx, head)?;
        evidence.admission = gather.admission(rule, &trusted(&status), &ask.platform, head)?;
        let asked = Asked {
            kind: Kind::Join,
            request: ask.request.clone(),
            digest: ask.digest,
            attestation: ask.attestation.clone(),
            epoch: status.epochs.last().copied().unwrap_or(0),
            target: status.identity.digest(),
            platform: status.platform,
        };
        let collateral = self.collateral()?;
        let giver = Some(Channel::Quoted { collateral: &collateral });
        let seat = &mut self.at(index)?.seat;
        let offered = relay::offer(seat, &asked, OfferEvidence::Record(evidence.to_cbor()), giver)?;
        tracing::info!(step = "join", tx = %ask.tx, "the keyring was offered to a machine of the same build");
        Ok(Some(OfferSaid { offer: offered.offer, transcript: offered.transcript, giver: offered.giver }))
    }

    /// A joiner has stored what it got.
    pub fn give_challenge(&mut self, ask: &ChallengeAsk) -> Result<Said> {
        let index = self.giving(&ask.build)?;
        Ok(Said { message: relay::challenge(&mut self.at(index)?.seat, ask.transcript)? })
    }

    /// A joiner's receipt.
    pub fn take_joined(&mut self, ask: ConfirmAsk) -> Result<Said> {
        let index = self.giving(&ask.build)?;
        relay::take_receipt(&mut self.at(index)?.seat, ask.receipt, ask.attestation)?;
        tracing::info!(step = "join", "a machine of the same build holds the keyring durably");
        Ok(Said { message: Vec::new() })
    }
}
