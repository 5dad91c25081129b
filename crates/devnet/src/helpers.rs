//! Accounts, and the transactions that a story needs, signed and broadcast.

use crate::app::gov;
use crate::app::tx::{self, SubmitError, tx_hash};
use crate::consensus::ZERO_TIME;
use crate::devnet::{Devnet, ProduceError};
use crate::journal::Action;
use crate::keys::{AccountKey, Address, account_text, module_address, operator_text};
use crate::merkle::Hash;
use crate::sdk::{DO_NOT_MODIFY, Description, MsgEditValidator, 
    Any, Coin, GovMsgUpdateParams, GovParams, MsgCancelUpgrade, MsgDelegate, MsgDeposit, MsgSend,
    MsgSoftwareUpgrade, MsgSubmitProposal, MsgUndelegate, MsgVote, Plan, pack,
};
use crate::store::Working;

/// An account that the devnet has the key of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// The operator of a validator; its votes count with what is delegated to it.
    Validator(usize),
    /// One of the other accounts.
    User(usize),
}

/// What a proposal says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The title; never empty.
    pub title: String,
    /// The summary; never empty.
    pub summary: String,
    /// Anything; must not be empty when there are no messages.
    pub metadata: String,
}

impl Text {
    /// Title and summary alike, no metadata.
    pub fn titled(title: &str) -> Self {
        Self {
            title: title.into(),
            summary: title.into(),
            metadata: String::new(),
        }
    }
}

impl Devnet {
    /// The address of an account.
    ///
    /// # Panics
    /// When the configuration has no such account.
    pub fn address(&self, account: Account) -> Address {
        self.key(account).address()
    }

    /// The secp256k1 key of an account, 32 bytes. It protects nothing.
    ///
    /// # Panics
    /// When the configuration has no such account.
    pub fn account_secret(&self, account: Account) -> [u8; 32] {
        self.key(account).secret()
    }

    /// Takes a transaction into the mempool, after the checks of a node; returns its hash. During a halt it
    /// is taken all the same and lost when the chain goes on: wait for inclusion, send again.
    pub fn submit(&mut self, bytes: &[u8]) -> Result<Hash, SubmitError> {
        let parsed = tx::Tx::parse(bytes)?;
        let hash = tx_hash(bytes);
        if self.index.contains_key(&hash) || self.mempool.iter().any(|held| held == bytes) {
            return Err(SubmitError::Known);
        }
        tx::check(
            &self.last_state().committed,
            &self.config,
            bytes,
            self.waiting(&parsed.signer),
        )?;
        self.journal.push(Action::Submit(hex::encode(bytes)));
        self.mempool.push(bytes.to_vec());
        Ok(hash)
    }

    /// Signs messages for an account, with the sequence that fits behind its waiting transactions.
    pub fn sign(&self, account: Account, messages: &[Any], memo: &str) -> Vec<u8> {
        let key = self.key(account);
        let record = tx::account(&Working::over(&self.last_state().committed), &key.address())
            .unwrap_or_default();
        let sequence = record.sequence + self.waiting(&key.address());
        tx::sign(
            key,
            &self.config.chain_id,
            record.account_number,
            sequence,
            messages,
            memo,
        )
    }

    /// Signs and broadcasts messages.
    pub fn broadcast(
        &mut self,
        from: Account,
        messages: &[Any],
        memo: &str,
    ) -> Result<Hash, SubmitError> {
        let bytes = self.sign(from, messages, memo);
        self.submit(&bytes)
    }

    /// Broadcasts a payment of one base unit to the sender itself, which carries `memo`.
    pub fn send_memo(&mut self, from: Account, memo: &str) -> Result<Hash, SubmitError> {
        let to = self.address(from);
        self.send(from, &to, 1, memo)
    }

    /// Broadcasts a payment. One that is more than the account holds fails, in its block.
    pub fn send(
        &mut self,
        from: Account,
        to: &Address,
        amount: u64,
        memo: &str,
    ) -> Result<Hash, SubmitError> {
        let message = MsgSend {
            from_address: account_text(&self.address(from)),
            to_address: account_text(to),
            amount: vec![self.coin(amount)],
        };
        self.broadcast(from, &[pack(&message)], memo)
    }

    /// Broadcasts a delegation of `amount` base units to validator `to`.
    pub fn delegate(&mut self, from: Account, to: usize, amount: u64) -> Result<Hash, SubmitError> {
        let message = MsgDelegate {
            delegator_address: account_text(&self.address(from)),
            validator_address: operator_text(&self.address(Account::Validator(to))),
            amount: Some(self.coin(amount)),
        };
        self.broadcast(from, &[pack(&message)], "")
    }

    /// Broadcasts that validator `of` changes the details of its record.
    pub fn edit_details(&mut self, of: usize, details: &str) -> Result<Hash, SubmitError> {
        let same = || DO_NOT_MODIFY.to_string();
        let message = MsgEditValidator {
            description: Some(Description {
                moniker: same(),
                identity: same(),
                website: same(),
                security_contact: same(),
                details: details.into(),
            }),
            validator_address: operator_text(&self.address(Account::Validator(of))),
            commission_rate: String::new(),
            min_self_delegation: String::new(),
        };
        self.broadcast(Account::Validator(of), &[pack(&message)], "")
    }

    /// Broadcasts that `amount` base units are taken back from validator `of`.
    pub fn undelegate(
        &mut self,
        from: Account,
        of: usize,
        amount: u64,
    ) -> Result<Hash, SubmitError> {
        let message = MsgUndelegate {
            delegator_address: account_text(&self.address(from)),
            validator_address: operator_text(&self.address(Account::Validator(of))),
            amount: Some(self.coin(amount)),
        };
        self.broadcast(from, &[pack(&message)], "")
    }

    /// Broadcasts a proposal with a first deposit, in base units; its number is the next one when its block
    /// comes ([`Devnet::last_proposal`]).
    pub fn submit_proposal(
        &mut self,
        from: Account,
        messages: Vec<Any>,
        text: &Text,
        deposit: u64,
        expedited: bool,
    ) -> Result<Hash, SubmitError> {
        let message = MsgSubmitProposal {
            messages,
            initial_deposit: if deposit == 0 {
                Vec::new()
            } else {
                vec![self.coin(deposit)]
            },
            proposer: account_text(&self.address(from)),
            metadata: text.metadata.clone(),
            title: text.title.clone(),
            summary: text.summary.clone(),
            expedited,
        };
        self.broadcast(from, &[pack(&message)], "")
    }

    /// Broadcasts a deposit on a proposal.
    pub fn deposit(
        &mut self,
        from: Account,
        proposal: u64,
        amount: u64,
    ) -> Result<Hash, SubmitError> {
        let message = MsgDeposit {
            proposal_id: proposal,
            depositor: account_text(&self.address(from)),
            amount: vec![self.coin(amount)],
        };
        self.broadcast(from, &[pack(&message)], "")
    }

    /// Broadcasts a vote: [`crate::YES`], [`crate::ABSTAIN`], [`crate::NO`] or [`crate::NO_WITH_VETO`].
    pub fn vote(&mut self, from: Account, proposal: u64, option: i32) -> Result<Hash, SubmitError> {
        let message = MsgVote {
            proposal_id: proposal,
            voter: account_text(&self.address(from)),
            option,
            metadata: String::new(),
        };
        self.broadcast(from, &[pack(&message)], "")
    }

    /// Broadcasts the same vote of every validator.
    pub fn vote_all(&mut self, proposal: u64, option: i32) -> Result<(), SubmitError> {
        for index in 0..self.config.powers.len() {
            self.vote(Account::Validator(index), proposal, option)?;
        }
        Ok(())
    }

    /// The number of the proposal that was made last; 0 when there is none.
    pub fn last_proposal(&self) -> u64 {
        let next = self
            .last_state()
            .committed
            .get(crate::store::Store::Gov, &[3]);
        next.and_then(|bytes| bytes.try_into().ok())
            .map_or(0, |bytes| u64::from_be_bytes(bytes) - 1)
    }

    /// Proposes `messages` with the full deposit of validator 0 in one block; returns the number. The
    /// transaction can fail like any other: then there is no new number, and `None` comes back.
    pub fn propose(
        &mut self,
        messages: Vec<Any>,
        text: &Text,
        expedited: bool,
    ) -> Result<Option<u64>, ProduceError> {
        let gov = &self.config.gov;
        let deposit = if expedited {
            gov.expedited_min_deposit
        } else {
            gov.min_deposit
        };
        let before = self.last_proposal();
        // A transaction that the devnet signed itself only fails in its block.
        let _ = self.submit_proposal(Account::Validator(0), messages, text, deposit, expedited);
        self.produce_block()?;
        let after = self.last_proposal();
        Ok((after > before).then_some(after))
    }

    /// Lets every validator vote alike on a proposal and produces blocks until it is decided.
    pub fn carry(&mut self, proposal: u64, option: i32) -> Result<(), ProduceError> {
        let _ = self.vote_all(proposal, option);
        self.produce_block()?;
        self.decide_proposal(proposal)
    }

    /// Produces blocks until a proposal's voting period is over and it is decided.
    pub fn decide_proposal(&mut self, proposal: u64) -> Result<(), ProduceError> {
        let open = |chain: &Self| {
            chain
                .proposal(proposal)
                .is_some_and(|record| record.status <= 2)
        };
        while open(self) {
            self.produce_block()?;
        }
        Ok(())
    }

    /// The gov message that schedules an upgrade.
    pub fn upgrade_message(name: &str, height: u64, info: &str) -> Any {
        let plan = Plan {
            name: name.into(),
            time: Some(ZERO_TIME),
            height: height as i64,
            info: info.into(),
            upgraded_client_state: None,
        };
        pack(&MsgSoftwareUpgrade {
            authority: account_text(&module_address("gov")),
            plan: Some(plan),
        })
    }

    /// The gov message that cancels the pending upgrade.
    pub fn cancel_message() -> Any {
        pack(&MsgCancelUpgrade {
            authority: account_text(&module_address("gov")),
        })
    }

    /// The gov message that sets gov's own parameters.
    pub fn gov_params_message(params: GovParams) -> Any {
        pack(&GovMsgUpdateParams {
            authority: account_text(&module_address("gov")),
            params: Some(params),
        })
    }

    /// Gov's parameters in the last state.
    pub fn gov_params(&self) -> GovParams {
        gov::params(&Working::over(&self.last_state().committed)).unwrap_or_default()
    }

    fn coin(&self, amount: u64) -> Coin {
        Coin {
            denom: self.config.denom.clone(),
            amount: amount.to_string(),
        }
    }

    fn waiting(&self, signer: &Address) -> u64 {
        let theirs = |bytes: &&Vec<u8>| tx::Tx::parse(bytes).is_ok_and(|tx| tx.signer == *signer);
        self.mempool.iter().filter(theirs).count() as u64
    }

    fn key(&self, account: Account) -> &AccountKey {
        match account {
            Account::Validator(index) => &self.keys.operators[index],
            Account::User(index) => &self.keys.users[index],
        }
    }
}
