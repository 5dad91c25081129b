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

use super::peers::Peer;
use super::wire::{ChallengeAsk, ConfirmAsk, HelloAsk, OfferAsk, OfferSaid, Said};
use super::{Done, Node, PEER_LIMIT, trusted};

/// How often a joiner looks whether its record is in a block.
const LOOK: Duration = Duration::from_millis(200);

impl Node {
    /// Joins by a peer, for at most `limit`. A node that holds the keyring already has nothing to do.
    pub fn join(&mut self, peer: &str, build: Option<Measurement>, limit: Duration) -> Result<Vec<Done>> {
        let end = Instant::now() + limit;
        let index = self.joining(build)?;
        if !matches!(self.state(index), State::Empty) {
            return Ok(Vec::new());
        }
        let measurement = self.at(index)?.build.measurement;
        let giver = Peer::new(peer, PEER_LIMIT, &self.roots);
        let said: Said = giver.post("/v1/join/hello", &HelloAsk { build: measurement }).context("the giver did not open a transfer")?;
        self.await_collateral()?;
        let collateral = self.collateral()?;
        let platform = self.here.launcher().platform_id();
        let place = self.at(index)?;
        let channel = Channel::Quoted { collateral: &collateral };
        let asked = relay::answer_hello(&mut place.seat, said.message, Kind::Join, channel, platform)?;
        let memo = asked.record(0).encode();
        let hash = self.publish_for_join(&giver, &memo)?;
        while self.sources.included(&hash)?.is_none() {
            if Instant::now() >= end {
                bail!("the record of the join (transaction {}) is in no block yet: expected within {} s; run the same command again", hex::encode_upper(hash), limit.as_secs());
            }
            std::thread::sleep(LOOK);
        }
        let ask = OfferAsk { build: measurement, request: asked.request.clone(), digest: asked.digest, attestation: asked.attestation.clone(), tx: Digest32(hash), platform: asked.platform };
        let offer: OfferSaid = loop {
            // The giver's own node may be a block behind.
            match giver.post("/v1/join/offer", &ask) {
                Ok(offer) => break offer,
                Err(e) if format!("{e:#}").contains("answered 425") && Instant::now() < end => std::thread::sleep(LOOK),
                Err(e) => return Err(e.context("the giver made no offer")),
            }
        };
        let place = self.at(index)?;
        relay::accept(&mut place.seat, &Offered { offer: offer.offer, transcript: offer.transcript, giver: offer.giver })?;
        let said: Said = giver.post("/v1/join/challenge", &ChallengeAsk { build: measurement, transcript: offer.transcript })?;
        let (receipt, attestation) = relay::prove(&mut place.seat, said.message, channel)?;
        let name = place.build.name.clone();
        let _: Said = giver.post("/v1/join/confirm", &ConfirmAsk { build: measurement, receipt, attestation })?;
        self.refresh();
        Ok(vec![Done { step: "join", text: format!("{name} got the keyring from {peer}, with its record in transaction {}", hex::encode_upper(hash)) }])
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

    fn publish_for_join(&self, giver: &Peer, memo: &str) -> Result<[u8; 32]> {
        match self.sources.publish(memo) {
            Ok(hash) => Ok(hash),
            Err(own) => giver.publish(memo).map_err(|e| e.context(own.reason)),
        }
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
