//! Refusals as people and programs read them: the check that refused, the rule it keeps, and the text.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt::{Debug, Display};

use baton_chain::authorize::AuthorizeError;
use baton_core::keeper::HeadError;
use baton_core::keeper::emergency::{CommandError, DateError};
use baton_core::keeper::begin::BeginError;
use baton_core::keeper::erase::EraseError;
use baton_core::keeper::escrows::KeepEscrowError;
use baton_core::keeper::observe::ObserveError;
use baton_core::keeper::source::{ConfirmError, NoTransfer, OfferError};
use baton_core::keeper::target::{AcceptError, ActivateError, AskError, BarrierReceiptError, ProveError};
use baton_core::order::judge::OrderError;

use crate::wire::Refusal;

/// The seven rules, as tables name them.
pub mod rule {
    /// Rule 1.
    pub const SECRECY: &str = "secrecy";
    /// Rule 2.
    pub const NEVER_DROPPED: &str = "never dropped";
    /// Rule 3.
    pub const NO_EARLY_ERASE: &str = "no early erase";
    /// Rule 4.
    pub const PUBLIC_FIRST: &str = "public before private";
    /// Rule 5.
    pub const ONE_TARGET: &str = "one target";
    /// Rule 6.
    pub const PROGRESS: &str = "progress";
    /// Rule 7.
    pub const NO_DOWNGRADE: &str = "no downgrade";
}

/// An error of an operation that knows which rule it keeps.
pub trait Refuses: Debug + Display {
    /// The operation.
    const OPERATION: &'static str;

    /// The rule.
    fn rule(&self) -> String;

    /// The refusal on the wire.
    fn refusal(&self) -> Refusal {
        Refusal {
            check: format!("{}/{}", Self::OPERATION, variant_path(&format!("{self:?}"))),
            rule: self.rule(),
            message: self.to_string(),
        }
    }
}

/// `Authorize(Vote(Quorum { .. }))` gives `Authorize/Vote/Quorum`: the names of nested variants.
fn variant_path(debug: &str) -> String {
    let mut path = String::new();
    let mut rest = debug;
    loop {
        let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
        if name.is_empty() || !name.starts_with(|c: char| c.is_ascii_uppercase()) {
            return path;
        }
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(name);
        match rest.strip_prefix(name).and_then(|r| r.strip_prefix('(')) {
            Some(inner) => rest = inner,
            None => return path,
        }
    }
}

fn authorize_rule(e: &AuthorizeError) -> String {
    e.rule().to_string()
}

/// The rule that the refusal of an order keeps.
fn order_rule(e: &OrderError) -> &'static str {
    match e {
        OrderError::Notice(_) => rule::PUBLIC_FIRST,
        OrderError::Stale(_)
        | OrderError::NoFreshness { .. }
        | OrderError::UnknownNonce
        | OrderError::ExpiredHeight { .. }
        | OrderError::ExpiredDate { .. }
        | OrderError::NoLinks { .. }
        | OrderError::NotTheAncestor { .. }
        | OrderError::NoOp => rule::ONE_TARGET,
        OrderError::Rules(_) => rule::NO_DOWNGRADE,
        OrderError::Malformed
        | OrderError::Version { .. }
        | OrderError::Signed(_)
        | OrderError::NoCouncil
        | OrderError::OtherChain { .. }
        | OrderError::OtherSource { .. }
        | OrderError::OtherKind { .. }
        | OrderError::Light(_)
        | OrderError::Admission(_)
        | OrderError::NotEnough { .. }
        | OrderError::OtherTarget { .. } => rule::SECRECY,
    }
}

impl Refuses for CommandError {
    const OPERATION: &'static str = "order";
    fn rule(&self) -> String {
        match self {
            CommandError::Order(e) => order_rule(e),
            CommandError::Sequence(_) | CommandError::State(_) => rule::ONE_TARGET,
            CommandError::Head(_) => rule::SECRECY,
        }
        .into()
    }
}

impl Refuses for DateError {
    const OPERATION: &'static str = "date";
    fn rule(&self) -> String {
        rule::ONE_TARGET.into()
    }
}

impl Refuses for OfferError {
    const OPERATION: &'static str = "offer";
    fn rule(&self) -> String {
        match self {
            OfferError::Authorize(e) => return authorize_rule(e),
            OfferError::UnknownNonce => rule::PUBLIC_FIRST,
            OfferError::Order(e) => order_rule(e),
            OfferError::Sequence(_) | OfferError::Frozen(_) | OfferError::Date(_) => rule::ONE_TARGET,
            OfferError::OtherTarget(_) | OfferError::Void(_) | OfferError::InDoubt { .. } => rule::ONE_TARGET,
            OfferError::State(_) => rule::NO_DOWNGRADE,
            _ => rule::SECRECY,
        }
        .into()
    }
}

impl Refuses for ConfirmError {
    const OPERATION: &'static str = "confirm";
    fn rule(&self) -> String {
        rule::NO_EARLY_ERASE.into()
    }
}

impl Refuses for NoTransfer {
    const OPERATION: &'static str = "challenge";
    fn rule(&self) -> String {
        rule::NO_EARLY_ERASE.into()
    }
}

impl Refuses for ObserveError {
    const OPERATION: &'static str = "observe";
    fn rule(&self) -> String {
        rule::ONE_TARGET.into()
    }
}

impl Refuses for EraseError {
    const OPERATION: &'static str = "erase";
    fn rule(&self) -> String {
        rule::NO_EARLY_ERASE.into()
    }
}

impl Refuses for AskError {
    const OPERATION: &'static str = "ask";
    fn rule(&self) -> String {
        rule::SECRECY.into()
    }
}

impl Refuses for AcceptError {
    const OPERATION: &'static str = "accept";
    fn rule(&self) -> String {
        match self {
            AcceptError::State(_) => rule::NEVER_DROPPED,
            _ => rule::SECRECY,
        }
        .into()
    }
}

impl Refuses for ProveError {
    const OPERATION: &'static str = "prove";
    fn rule(&self) -> String {
        rule::NO_EARLY_ERASE.into()
    }
}

impl Refuses for ActivateError {
    const OPERATION: &'static str = "activate";
    fn rule(&self) -> String {
        match self {
            ActivateError::Authorize(e) => authorize_rule(e),
            _ => rule::ONE_TARGET.into(),
        }
    }
}

impl Refuses for BarrierReceiptError {
    const OPERATION: &'static str = "barrier receipt";
    fn rule(&self) -> String {
        rule::NO_EARLY_ERASE.into()
    }
}

impl Refuses for BeginError {
    const OPERATION: &'static str = "begin";
    fn rule(&self) -> String {
        rule::NEVER_DROPPED.into()
    }
}

impl Refuses for KeepEscrowError {
    const OPERATION: &'static str = "escrow";
    fn rule(&self) -> String {
        rule::SECRECY.into()
    }
}

impl Refuses for HeadError {
    const OPERATION: &'static str = "head";
    fn rule(&self) -> String {
        rule::SECRECY.into()
    }
}
