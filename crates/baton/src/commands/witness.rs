//! `baton witness key|run`: a small witness for networks that run their own (C2SP tlog-witness over HTTP).
//!
//! Its memory is an embedded database with one row for each log; a commit is durable before the answer leaves, so a crash
//! can only make it answer "409, ask from here" once more.

use std::io::Read;

use baton_core::log::LogHash;
use baton_core::witness::Cosigner;
use baton_host::witness::{MAX_REQUEST_BYTES, Memory, MemoryError, Seen, Witness, WitnessError};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use tiny_http::{Header, Method, Request, Response, Server};

use super::order::{read_key, write_new};
use crate::cli::{WitnessKeyArgs, WitnessRunArgs};
use crate::output::{Failure, Report};
use crate::times::unix_now;

/// Origin -> size and root of the largest checkpoint that was cosigned.
const SEEN: TableDefinition<&str, (u64, [u8; 32])> = TableDefinition::new("seen");

/// The memory on disk.
pub struct OnDisk(Database);

fn failed(e: impl std::fmt::Display) -> MemoryError {
    MemoryError(e.to_string())
}

impl OnDisk {
    /// Opens a database file, or makes it.
    pub fn open(path: &std::path::Path) -> Result<Self, MemoryError> {
        let db = Database::create(path).map_err(failed)?;
        let write = db.begin_write().map_err(failed)?;
        write.open_table(SEEN).map_err(failed)?;
        write.commit().map_err(failed)?;
        Ok(OnDisk(db))
    }
}

impl Memory for OnDisk {
    fn seen(&self, origin: &str) -> Result<Option<Seen>, MemoryError> {
        let read = self.0.begin_read().map_err(failed)?;
        let row = read.open_table(SEEN).map_err(failed)?.get(origin).map_err(failed)?;
        Ok(row.map(|r| Seen { size: r.value().0, root: LogHash(r.value().1) }))
    }

    fn replace(&mut self, origin: &str, old: Option<Seen>, next: Seen) -> Result<bool, MemoryError> {
        let write = self.0.begin_write().map_err(failed)?;
        let same = {
            let mut table = write.open_table(SEEN).map_err(failed)?;
            let known = table.get(origin).map_err(failed)?.map(|r| Seen { size: r.value().0, root: LogHash(r.value().1) });
            if known == old {
                table.insert(origin, (next.size, next.root.0)).map_err(failed)?;
            }
            known == old
        };
        // The default durability is an fsync before commit returns.
        write.commit().map_err(failed)?;
        Ok(same)
    }
}

/// Makes a witness's key, and prints the vkey that policies name.
pub fn key(args: &WitnessKeyArgs) -> Result<Report, Failure> {
    let seed: [u8; 32] = rand::random();
    let vkey = cosigner(&args.name, &seed)?.vkey();
    write_new(&args.out, (hex::encode(seed) + "\n").as_bytes(), true)?;
    let mut out = Report::new();
    out.both("secret key", "file", args.out.display());
    out.both("for the policy", "vkey", vkey);
    Ok(out)
}

fn cosigner(name: &str, seed: &[u8; 32]) -> Result<Cosigner, Failure> {
    Cosigner::from_seed(name, seed)
        .ok_or_else(|| Failure::input(format!("the name {name:?} cannot stand in a note: expected no white space and no plus sign")))
}

/// Serves until it is stopped.
pub fn run(args: &WitnessRunArgs) -> Result<Report, Failure> {
    let key = read_key(&args.key)?;
    let memory = OnDisk::open(&args.state).map_err(|e| Failure::input(e).at(args.state.display()))?;
    let mut witness = Witness::new(cosigner(&args.name, &key.to_bytes())?, memory);
    for log in &args.log {
        let (origin, hex_key) = log
            .rsplit_once('=')
            .ok_or_else(|| Failure::input(format!("log {log:?}: expected ORIGIN=KEY with 64 hexadecimal characters")))?;
        let mut log_key = [0; 32];
        hex::decode_to_slice(hex_key, &mut log_key)
            .map_err(|_| Failure::input(format!("log {origin:?}: expected a key of 64 hexadecimal characters, got {hex_key:?}")))?;
        witness.know(origin, log_key);
    }
    let server = Server::http(args.listen).map_err(|e| Failure::input(format!("{}: {e}", args.listen)))?;
    println!("witness {} listens on http://{}/add-checkpoint", witness.vkey(), server.server_addr());
    for request in server.incoming_requests() {
        if let Err(e) = answer(&mut witness, request) {
            eprintln!("a client went away: {e}");
        }
    }
    Ok(Report::new())
}

fn answer(witness: &mut Witness<OnDisk>, mut request: Request) -> std::io::Result<()> {
    if request.url() != "/add-checkpoint" {
        return request.respond(Response::from_string("404: only POST /add-checkpoint is here\n").with_status_code(404));
    }
    if *request.method() != Method::Post {
        return request.respond(Response::from_string("405: expected POST\n").with_status_code(405));
    }
    let mut body = Vec::new();
    request.as_reader().take(MAX_REQUEST_BYTES as u64 + 1).read_to_end(&mut body)?;
    let now = unix_now();
    let text = String::from_utf8(body).unwrap_or_default();
    match witness.add_checkpoint(&text, now) {
        Ok(lines) => request.respond(Response::from_string(lines)),
        // Clients read where the witness is from this body.
        Err(WitnessError::OtherSize { size, .. }) => {
            let mut response = Response::from_string(format!("{size}\n")).with_status_code(409);
            if let Ok(header) = Header::from_bytes("Content-Type", "text/x.tlog.size") {
                response = response.with_header(header);
            }
            request.respond(response)
        }
        Err(e) => {
            eprintln!("refused: {e}");
            let status = e.status();
            request.respond(Response::from_string(format!("{e}\n")).with_status_code(status))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_cosigned_is_on_disk_and_replaced_only_from_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("witness.redb");
        let at = |size| Seen { size, root: LogHash([size as u8; 32]) };
        let mut m = OnDisk::open(&file).unwrap();
        assert_eq!(m.seen("log").unwrap(), None);
        assert!(m.replace("log", None, at(1)).unwrap());
        assert!(!m.replace("log", None, at(9)).unwrap(), "another request came first");
        drop(m);
        let mut m = OnDisk::open(&file).unwrap();
        assert_eq!(m.seen("log").unwrap(), Some(at(1)));
        assert!(!m.replace("log", Some(at(2)), at(3)).unwrap());
        assert!(m.replace("log", Some(at(1)), at(3)).unwrap());
        assert_eq!(m.seen("log").unwrap(), Some(at(3)));
        assert_eq!(m.seen("other").unwrap(), None);
    }
}
