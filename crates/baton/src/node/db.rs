//! The node's embedded database: the bundle of each upgrade, for ever, and what must survive a kill beside the sealed files.
//!
//! It answers like a chain that stands still, to this node and to late peers. Everything in it is untrusted
//! evidence, or a note of this host to itself: losing it costs time, never a seed.

use std::path::Path;

use baton_chain::light::LightBlock;
use baton_chain::proofs::StateProof;
use baton_host::bundle::Bundle;
use baton_host::chain::{ChainSource, Included, SourceError, Trouble};
use minicbor::{Decode, Encode};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

const BLOCKS: TableDefinition<u64, &[u8]> = TableDefinition::new("blocks");
/// Header height, store, key -> proof.
const STATES: TableDefinition<(u64, &str, &[u8]), &[u8]> = TableDefinition::new("states");
/// Name and height -> [`KnownPlan`].
const PLANS: TableDefinition<(&str, u64), &[u8]> = TableDefinition::new("plans");
/// Measurement -> barrier receipt with its quote.
const RECEIPTS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("receipts");
/// Records that are owed to the chain, oldest first.
const OWED: TableDefinition<u64, &str> = TableDefinition::new("owed");
/// Height and header hash -> light block: the newest blocks as the chain showed them, every branch of them.
const RECENT: TableDefinition<(u64, [u8; 32]), &[u8]> = TableDefinition::new("recent");
/// How many heights of [`RECENT`] are kept: how far back a rewind finds the headers of a branch that the chain has left.
pub const RECENT_BLOCKS: u64 = 512;
/// Small notes.
const NOTES: TableDefinition<&str, &str> = TableDefinition::new("notes");

/// Why the database failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the node's database: {0}; it holds evidence only, no secret: move chain.redb away to start a new one")]
pub struct DbError(String);

fn failed(e: impl std::fmt::Display) -> DbError {
    DbError(e.to_string())
}

/// A plan that this node has seen, as the chain wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct KnownPlan {
    /// Its name.
    #[n(0)]
    pub name: String,
    /// Its height.
    #[n(1)]
    pub height: u64,
    /// Its info.
    #[n(2)]
    pub info: String,
    /// The proposal that carried it; 0 while none was found.
    #[n(3)]
    pub proposal: u64,
    /// The header at its height was kept, so it can be shown to have run, or halted the chain.
    #[n(4)]
    pub at_x: bool,
}

/// The database.
pub struct Db(Database);

impl Db {
    /// Opens a file, or makes it (mode 0600).
    pub fn open(path: &Path) -> Result<Self, DbError> {
        use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
        // Made with its mode, so that nobody ever sees it looser.
        std::fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path).map_err(failed)?;
        let db = Database::create(path).map_err(failed)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        let write = db.begin_write().map_err(failed)?;
        write.open_table(BLOCKS).map_err(failed)?;
        write.open_table(STATES).map_err(failed)?;
        write.open_table(PLANS).map_err(failed)?;
        write.open_table(RECEIPTS).map_err(failed)?;
        write.open_table(OWED).map_err(failed)?;
        write.open_table(NOTES).map_err(failed)?;
        write.open_table(RECENT).map_err(failed)?;
        write.commit().map_err(failed)?;
        Ok(Db(db))
    }

    /// Keeps everything that a bundle holds, in one durable write.
    pub fn keep(&self, bundle: &Bundle) -> Result<(), DbError> {
        let write = self.0.begin_write().map_err(failed)?;
        {
            let mut blocks = write.open_table(BLOCKS).map_err(failed)?;
            for (height, block) in bundle.each_block() {
                blocks.insert(height, minicbor::to_vec(block).map_err(failed)?.as_slice()).map_err(failed)?;
            }
            let mut states = write.open_table(STATES).map_err(failed)?;
            for (header, proof) in bundle.each_state() {
                let bytes = minicbor::to_vec(proof).map_err(failed)?;
                states.insert((header, proof.store.as_str(), proof.key.as_slice()), bytes.as_slice()).map_err(failed)?;
            }
        }
        write.commit().map_err(failed)
    }

    /// A light block.
    pub fn block(&self, height: u64) -> Result<Option<LightBlock>, DbError> {
        let read = self.0.begin_read().map_err(failed)?;
        let row = read.open_table(BLOCKS).map_err(failed)?.get(height).map_err(failed)?;
        Ok(row.and_then(|r| minicbor::decode(r.value()).ok()))
    }

    /// Keeps a block that the chain shows now, and forgets those of long ago.
    pub fn put_recent(&self, height: u64, hash: [u8; 32], block: &LightBlock) -> Result<(), DbError> {
        let write = self.0.begin_write().map_err(failed)?;
        {
            let mut table = write.open_table(RECENT).map_err(failed)?;
            table.insert((height, hash), minicbor::to_vec(block).map_err(failed)?.as_slice()).map_err(failed)?;
            let old = height.saturating_sub(RECENT_BLOCKS);
            table.retain_in(..(old, [0; 32]), |_, _| false).map_err(failed)?;
        }
        write.commit().map_err(failed)
    }

    /// A recent block, of whichever branch.
    pub fn recent(&self, height: u64, hash: [u8; 32]) -> Result<Option<LightBlock>, DbError> {
        let read = self.0.begin_read().map_err(failed)?;
        let row = read.open_table(RECENT).map_err(failed)?.get((height, hash)).map_err(failed)?;
        Ok(row.and_then(|r| minicbor::decode(r.value()).ok()))
    }

    /// The chain went back to a height by decision: evidence of above it is of a branch that nobody follows any more.
    pub fn went_back(&self, height: u64) -> Result<(), DbError> {
        let write = self.0.begin_write().map_err(failed)?;
        {
            let above = height.saturating_add(1);
            write.open_table(BLOCKS).map_err(failed)?.retain_in(above.., |_, _| false).map_err(failed)?;
            let mut states = write.open_table(STATES).map_err(failed)?;
            states.retain(|(header, _, _), _| header <= height).map_err(failed)?;
            let mut plans = write.open_table(PLANS).map_err(failed)?;
            plans.retain(|(_, at), _| at <= height).map_err(failed)?;
            let mut notes = write.open_table(NOTES).map_err(failed)?;
            notes.retain(|name, _| !name.starts_with("observed ") && !name.starts_with("not at X ")).map_err(failed)?;
        }
        write.commit().map_err(failed)
    }

    /// How many light blocks there are, and the newest.
    pub fn blocks(&self) -> Result<(u64, Option<u64>), DbError> {
        use redb::ReadableTableMetadata;
        let read = self.0.begin_read().map_err(failed)?;
        let table = read.open_table(BLOCKS).map_err(failed)?;
        let last = table.last().map_err(failed)?.map(|(k, _)| k.value());
        Ok((table.len().map_err(failed)?, last))
    }

    fn proof(&self, header: u64, store: &str, key: &[u8]) -> Result<Option<StateProof>, DbError> {
        let read = self.0.begin_read().map_err(failed)?;
        let row = read.open_table(STATES).map_err(failed)?.get((header, store, key)).map_err(failed)?;
        Ok(row.and_then(|r| minicbor::decode(r.value()).ok()))
    }

    /// Notes a plan. What is known of it already is not lost.
    pub fn note_plan(&self, plan: &KnownPlan) -> Result<(), DbError> {
        let write = self.0.begin_write().map_err(failed)?;
        {
            let mut table = write.open_table(PLANS).map_err(failed)?;
            let key = (plan.name.as_str(), plan.height);
            let known: Option<KnownPlan> = table.get(key).map_err(failed)?.and_then(|r| minicbor::decode(r.value()).ok());
            let mut next = plan.clone();
            if let Some(known) = known.filter(|k| k.info == plan.info) {
                next.at_x |= known.at_x;
                next.proposal = next.proposal.max(known.proposal);
            }
            table.insert(key, minicbor::to_vec(&next).map_err(failed)?.as_slice()).map_err(failed)?;
        }
        write.commit().map_err(failed)
    }

    /// Notes a plan that some passed proposal would have scheduled. What the chain showed as pending at that name and height
    /// is not overwritten by it: of two votes only the later one counts, and a proposal does not say which that is.
    pub fn note_found(&self, plan: &KnownPlan) -> Result<(), DbError> {
        match self.plans()?.iter().any(|p| p.name == plan.name && p.height == plan.height && p.info != plan.info) {
            true => Ok(()),
            false => self.note_plan(plan),
        }
    }

    /// Every plan that was seen, by height.
    pub fn plans(&self) -> Result<Vec<KnownPlan>, DbError> {
        let read = self.0.begin_read().map_err(failed)?;
        let table = read.open_table(PLANS).map_err(failed)?;
        let mut out: Vec<KnownPlan> = Vec::new();
        for row in table.iter().map_err(failed)? {
            let (_, value) = row.map_err(failed)?;
            out.extend(minicbor::decode::<KnownPlan>(value.value()).ok());
        }
        out.sort_by_key(|p| p.height);
        Ok(out)
    }

    /// Keeps a build's barrier receipt.
    pub fn put_receipt(&self, measurement: &[u8; 32], receipt: &[u8]) -> Result<(), DbError> {
        let write = self.0.begin_write().map_err(failed)?;
        write.open_table(RECEIPTS).map_err(failed)?.insert(measurement.as_slice(), receipt).map_err(failed)?;
        write.commit().map_err(failed)
    }

    /// A build's barrier receipt.
    pub fn receipt(&self, measurement: &[u8; 32]) -> Result<Option<Vec<u8>>, DbError> {
        let read = self.0.begin_read().map_err(failed)?;
        let row = read.open_table(RECEIPTS).map_err(failed)?.get(measurement.as_slice()).map_err(failed)?;
        Ok(row.map(|r| r.value().to_vec()))
    }

    /// Notes a record that must follow once the chain makes blocks.
    pub fn owe(&self, memo: &str) -> Result<u64, DbError> {
        let write = self.0.begin_write().map_err(failed)?;
        let next = {
            let mut table = write.open_table(OWED).map_err(failed)?;
            let next = table.last().map_err(failed)?.map_or(0, |(k, _)| k.value() + 1);
            table.insert(next, memo).map_err(failed)?;
            next
        };
        write.commit().map_err(failed)?;
        Ok(next)
    }

    /// The records that are owed.
    pub fn owed(&self) -> Result<Vec<(u64, String)>, DbError> {
        let read = self.0.begin_read().map_err(failed)?;
        let table = read.open_table(OWED).map_err(failed)?;
        let rows: Result<Vec<_>, _> = table.iter().map_err(failed)?.collect();
        Ok(rows.map_err(failed)?.into_iter().map(|(k, v)| (k.value(), v.value().to_string())).collect())
    }

    /// A record is in a block.
    pub fn paid(&self, number: u64) -> Result<(), DbError> {
        let write = self.0.begin_write().map_err(failed)?;
        write.open_table(OWED).map_err(failed)?.remove(number).map_err(failed)?;
        write.commit().map_err(failed)
    }

    /// A small note.
    pub fn note(&self, name: &str) -> Result<Option<String>, DbError> {
        let read = self.0.begin_read().map_err(failed)?;
        let row = read.open_table(NOTES).map_err(failed)?.get(name).map_err(failed)?;
        Ok(row.map(|r| r.value().to_string()))
    }

    /// Writes a small note.
    pub fn set_note(&self, name: &str, value: &str) -> Result<(), DbError> {
        let write = self.0.begin_write().map_err(failed)?;
        write.open_table(NOTES).map_err(failed)?.insert(name, value).map_err(failed)?;
        write.commit().map_err(failed)
    }

    /// Takes a small note back.
    pub fn forget_note(&self, name: &str) -> Result<(), DbError> {
        let write = self.0.begin_write().map_err(failed)?;
        write.open_table(NOTES).map_err(failed)?.remove(name).map_err(failed)?;
        write.commit().map_err(failed)
    }

    fn span(&self, end: (i64, i32), upto: u64) -> Result<Option<u64>, DbError> {
        let read = self.0.begin_read().map_err(failed)?;
        let table = read.open_table(BLOCKS).map_err(failed)?;
        let mut before: Option<(u64, Option<(i64, i32)>)> = None;
        for row in table.range(..=upto).map_err(failed)? {
            let (height, bytes) = row.map_err(failed)?;
            let block: LightBlock = minicbor::decode(bytes.value()).map_err(failed)?;
            let time = baton_host::gather::header_time(&block);
            if let Some((h, t)) = before
                && h + 1 == height.value()
                && t < Some(end)
                && time >= Some(end)
            {
                return Ok(Some(height.value()));
            }
            before = Some((height.value(), time));
        }
        Ok(None)
    }
}

fn missing(what: String, reason: impl std::fmt::Display) -> SourceError {
    SourceError { trouble: Trouble::Absent, source_name: "this node's bundle".into(), what, reason: reason.to_string() }
}

const NOT_KEPT: &str = "it was not kept here";

impl ChainSource for &Db {
    fn latest(&self) -> Result<u64, SourceError> {
        let what = || "block".to_string();
        self.blocks().map_err(|e| missing(what(), e))?.1.ok_or_else(|| missing(what(), NOT_KEPT))
    }

    fn light_block(&self, height: u64) -> Result<LightBlock, SourceError> {
        let what = || format!("light block {height}");
        self.block(height).map_err(|e| missing(what(), e))?.ok_or_else(|| missing(what(), NOT_KEPT))
    }

    fn state(&self, store: &str, key: &[u8], header_height: u64) -> Result<StateProof, SourceError> {
        let what = || format!("state of {store} under header {header_height}");
        self.proof(header_height, store, key).map_err(|e| missing(what(), e))?.ok_or_else(|| missing(what(), NOT_KEPT))
    }

    fn send_memo(&mut self, _memo: &str) -> Result<[u8; 32], SourceError> {
        Err(missing("way to send".into(), "it is a database"))
    }

    fn vote_end(&self, end: (i64, i32), upto: u64) -> Result<Option<u64>, SourceError> {
        self.span(end, upto).map_err(|e| missing("end of a vote".into(), e))
    }

    fn included(&self, _hash: &[u8; 32]) -> Result<Option<Included>, SourceError> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(name: &str, height: u64) -> KnownPlan {
        KnownPlan { name: name.into(), height, info: "i".into(), proposal: 0, at_x: false }
    }

    #[test]
    fn what_is_known_of_a_plan_is_not_lost_by_a_later_note() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&dir.path().join("x.redb")).unwrap();
        db.note_plan(&KnownPlan { proposal: 7, at_x: true, ..plan("v2", 9) }).unwrap();
        db.note_plan(&plan("v2", 9)).unwrap();
        assert_eq!(db.plans().unwrap(), [KnownPlan { proposal: 7, at_x: true, ..plan("v2", 9) }]);
    }

    #[test]
    fn a_plan_of_the_same_name_and_height_with_another_info_takes_nothing_over() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&dir.path().join("x.redb")).unwrap();
        db.note_plan(&KnownPlan { proposal: 7, at_x: true, ..plan("v2", 9) }).unwrap();
        let other = KnownPlan { info: "other".into(), ..plan("v2", 9) };
        db.note_plan(&other).unwrap();
        assert_eq!(db.plans().unwrap(), [other]);
    }

    #[test]
    fn h14_a_proposal_that_was_found_later_does_not_overwrite_the_plan_that_was_pending() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&dir.path().join("x.redb")).unwrap();
        let pending = KnownPlan { proposal: 2, ..plan("v2", 9) };
        db.note_plan(&pending).unwrap();
        db.note_found(&KnownPlan { info: "superseded".into(), proposal: 1, ..plan("v2", 9) }).unwrap();
        assert_eq!(db.plans().unwrap(), std::slice::from_ref(&pending));
        db.note_found(&KnownPlan { info: "superseded".into(), proposal: 1, ..plan("v2", 8) }).unwrap();
        db.note_found(&KnownPlan { at_x: true, ..pending }).unwrap();
        assert_eq!(db.plans().unwrap().len(), 2, "another height, and the same plan");
        assert!(db.plans().unwrap()[1].at_x);
    }

    #[test]
    fn owed_records_survive_and_are_paid_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.redb");
        let db = Db::open(&path).unwrap();
        db.owe("a").unwrap();
        db.owe("b").unwrap();
        drop(db);
        let db = Db::open(&path).unwrap();
        assert_eq!(db.owed().unwrap(), [(0, "a".to_string()), (1, "b".to_string())]);
        db.paid(0).unwrap();
        db.paid(0).unwrap();
        assert_eq!(db.owed().unwrap(), [(1, "b".to_string())]);
    }
}
