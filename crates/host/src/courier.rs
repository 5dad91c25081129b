//! Carries an order, with its notice, from the log of orders to an enclave: what a command or a node's daemon does.

use baton_chain::light::Path;
use baton_chain::record::Kind;
use baton_core::order::judge::OrderEvidence;
use baton_core::order::notice::FreshEvidence;
use baton_core::order::signed::SignedOrder;
use baton_core::order::{Action, fresh_memo};
use baton_enclave::wire::{OfferEvidence, Reply, Request};

use crate::chain::{ChainSource, SourceError};
use crate::order_log::{LogFile, LogFileError};
use crate::orders::{OrderLogError, evidence, links};
use crate::relay::{self, Channel};
use crate::seat::{Seat, SeatError, unexpected};

/// Why an order was not carried. What the enclave held before, it holds.
#[derive(Debug, thiserror::Error)]
pub enum CourierError {
    /// The enclave.
    #[error(transparent)]
    Seat(#[from] SeatError),
    /// The log's file, or a witness.
    #[error(transparent)]
    File(#[from] LogFileError),
    /// The log cannot show it.
    #[error(transparent)]
    Log(#[from] OrderLogError),
    /// The chain.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// One order, and the log in which it is public.
pub struct Courier<'a> {
    /// The order.
    pub signed: &'a SignedOrder,
    /// The log.
    pub file: &'a mut LogFile,
    /// URLs of witnesses that date this enclave's nonce.
    pub witnesses: &'a [String],
    /// Witnesses that did not, each with its reason.
    pub refused: Vec<LogFileError>,
}

impl<'a> Courier<'a> {
    /// For an order.
    pub fn new(signed: &'a SignedOrder, file: &'a mut LogFile, witnesses: &'a [String]) -> Self {
        Courier { signed, file, witnesses, refused: Vec::new() }
    }

    /// The text that makes this of now goes into the log; order and text are shown from there.
    pub fn shown(&mut self, fresh: &str) -> Result<OrderEvidence, CourierError> {
        self.refused.extend(self.file.publish(fresh, self.witnesses)?);
        let notice = self.file.log.notice(&self.signed.order().memo())?;
        let fresh = FreshEvidence::Witnessed(self.file.log.newest(fresh)?);
        Ok(evidence(self.signed, Path::default(), notice, Some(fresh)))
    }

    /// A handover by the order, on one machine, and the target's start by it. Each step can be repeated.
    pub fn hand_over(&mut self, source: &mut Seat, target: &mut Seat) -> Result<(), CourierError> {
        let asked = relay::ask(source, target, Kind::Upgrade, Channel::Local)?;
        let shown = self.shown(&asked.record(0).encode())?;
        relay::hand_over(source, target, &asked, OfferEvidence::Order(shown.to_cbor()), Channel::Local)?;
        source.store_log()?;
        target.call(&Request::ActivateByOrder { evidence: OrderEvidence { fresh: None, ..shown }.to_cbor() })?;
        Ok(target.store_log()?)
    }

    /// A freeze, a rewind or a rotation.
    pub fn command(&mut self, seat: &mut Seat, chain: &dyn ChainSource) -> Result<(), CourierError> {
        let down = match self.signed.order().action {
            Action::Rewind { height, .. } => Some(links(chain, seat.status()?.head_height, height)?),
            Action::Handover { .. } | Action::Freeze { .. } | Action::Rotate => None,
        };
        let nonce = match seat.call(&Request::Hello)? {
            Reply::Message { digest, .. } => digest,
            other => return Err(unexpected("a hello", &other).into()),
        };
        let shown = self.shown(&fresh_memo(&nonce))?;
        let evidence = OrderEvidence { nonce: Some(nonce), links: down, ..shown }.to_cbor();
        seat.call(&Request::Command { evidence })?;
        Ok(seat.store_log()?)
    }
}
