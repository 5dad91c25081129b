//! Quotes from Intel's AESM service, over its Unix socket: the service runs the quoting enclave, which signs what it finds in a report.
//!
//! A connection carries one question and one answer, each a length of four bytes (little-endian) and that many bytes of protobuf.
//! The few [`message`]s are declared here: Fortanix's `aesm-client` makes them with the external program `protoc`, and this project
//! builds with nothing but Rust and a C compiler.
//!
//! The service is no more trusted than the rest of the host. What is checked here only keeps a wrong answer from travelling: the
//! quote has to be over the very report that was given. Nothing waits longer than a limit for a whole quote.

pub mod message;

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use baton_attest::identity::{PlatformId, hash};
use baton_attest::quote::MAX_QUOTE_LEN;
use baton_attest::report::{REPORT_BODY_LEN, REPORT_LEN, TARGET_INFO_LEN};
use prost::Message;

use self::message::{
    InitQuoteRequest, InitQuoteResponse, KeyIdNumberRequest, KeyIdsRequest, QuoteRequest, QuoteSizeRequest, Request, Response,
};
use crate::seat::SeatError;

/// Where Intel's packages put the socket.
pub const SOCKET: &str = "/var/run/aesmd/aesm.socket";
/// Largest answer that is read, in bytes.
pub const MAX_ANSWER_BYTES: usize = 1 << 20;
/// Longest wait for a whole quote.
const LIMIT: Duration = Duration::from_secs(30);
/// `sgx_att_key_id_ext_t`, bytes.
const KEY_ID_LEN: usize = 256;
/// Where `algorithm_id` stands in it, after id, version, signer, product, config and family.
const ALGORITHM_AT: usize = 154;
/// ECDSA over P-256.
const ECDSA_P256: [u8; 4] = 2_u32.to_le_bytes();
/// Most kinds of keys that are read: the service knows a handful.
const MAX_KEY_IDS: u32 = 64;
/// Longest id of a public key that is asked for, bytes: it is a SHA-256.
const MAX_PUBLIC_KEY_ID: u64 = 4096;
/// Header of a quote, before the report's body; and where the length of the signature part stands.
const QUOTE_HEADER_LEN: usize = 48;
const SIGNATURE_LEN_AT: usize = QUOTE_HEADER_LEN + REPORT_BODY_LEN;

/// Why the service gave no quote.
#[derive(Debug, thiserror::Error)]
pub enum AesmError {
    /// Nobody listens.
    #[error("no AESM service at {socket}: {source}; install sgx-aesm-service and libsgx-aesm-quote-ex-plugin with libsgx-aesm-ecdsa-plugin, start aesmd, and add this user to the socket's group", socket = .socket.display())]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It does not answer in time.
    #[error("the AESM service gave no answer to {asked} in {limit_ms} ms; look at `journalctl -u aesmd`, and at whether its PCCS answers")]
    Hung {
        /// Which question.
        asked: &'static str,
        /// The limit.
        limit_ms: u128,
    },
    /// The connection broke.
    #[error("the AESM service broke off at {asked}: {source}; restart aesmd and look at `journalctl -u aesmd`")]
    Broken {
        /// Which question.
        asked: &'static str,
        /// How.
        source: io::Error,
    },
    /// The answer is none.
    #[error("the AESM service's answer to {asked} cannot be used: expected {expected}, got {got}; is something else listening on the socket?")]
    Answer {
        /// Which question.
        asked: &'static str,
        /// What was expected.
        expected: String,
        /// What came.
        got: String,
    },
    /// Its own error.
    #[error("the AESM service refused {asked} with code {code} ({}); {}", code_name(*.code), code_advice(*.code))]
    Code {
        /// Which question.
        asked: &'static str,
        /// Its code.
        code: u32,
    },
    /// It makes no DCAP quotes.
    #[error("the AESM service offers no ECDSA P-256 key, only algorithms {offered:?}; install libsgx-aesm-ecdsa-plugin beside libsgx-aesm-quote-ex-plugin, and restart aesmd")]
    NoEcdsa {
        /// What it offers.
        offered: Vec<u32>,
    },
    /// It quoted something else.
    #[error("the AESM service quoted another report than the one it was given; restart aesmd, and do not use this quote")]
    OtherReport,
}

/// The names of the service's codes.
fn code_name(code: u32) -> &'static str {
    match code {
        1 => "unexpected error",
        2 => "no device",
        3 => "parameter",
        4 => "EPID blob",
        5 => "EPID revoked",
        6 => "launch token",
        7 => "session invalid",
        8 => "too many sessions",
        9 => "PSDA unavailable",
        10 => "session failed",
        11 => "pairing failed",
        12 => "network",
        13 => "network busy",
        14 => "proxy setting",
        15 => "file access",
        16 => "provisioning failed",
        17 => "service stopped",
        18 => "busy",
        19 => "backend busy",
        20 => "update available",
        21 => "out of memory",
        22 => "message",
        23 => "thread",
        24 => "SGX device not available",
        25 => "SGX device cannot be enabled",
        26 => "platform info signature",
        27 => "service not available",
        28 => "KDF mismatch",
        29 => "out of EPC",
        30 => "service unavailable",
        31 => "unrecognized platform",
        32 => "ECDSA id mismatch",
        33 => "path name too long",
        34 => "stored key",
        35 => "public key id mismatch",
        36 => "PCE signature scheme",
        37 => "attestation key blob",
        38 => "unsupported attestation key",
        39 => "unsupported loading policy",
        40 => "interface unavailable",
        41 => "platform library unavailable",
        42 => "attestation key not initialized",
        43 => "certification data invalid",
        44 => "no platform certification data",
        45 => "report",
        46 => "enclave lost",
        47 => "invalid report",
        48 => "enclave does not load",
        49 => "no report of the quoting enclave",
        50 => "key certification",
        _ => "a code that this release does not know",
    }
}

/// What to do about a code.
fn code_advice(code: u32) -> &'static str {
    match code {
        2 | 24 | 25 => "give aesmd the devices /dev/sgx_enclave and /dev/sgx_provision (group sgx_prv)",
        12..=14 | 41 | 43 | 44 => "aesmd has no PCK certificate for this machine: install libsgx-dcap-default-qpl, set its PCCS (pccs_url in /etc/sgx_default_qcnl.conf), register the machine there, and restart aesmd",
        15 | 34 | 37 => "the attestation key in /var/opt/aesmd/data cannot be used: remove it there and restart aesmd, which makes another one",
        17 | 18 | 19 | 27 | 30 => "wait a moment; if it stays so, restart aesmd",
        29 => "give enclaves more memory in the firmware (PRMRR size), or stop other enclaves",
        31 | 50 => "register the machine with Intel (sgx-ra-service, mpa_manage) or with its PCCS, then restart aesmd",
        38 | 40 => "install libsgx-aesm-ecdsa-plugin and libsgx-aesm-quote-ex-plugin, and restart aesmd",
        46 | 48 => "look into dmesg for the driver's lines, and restart aesmd",
        45 | 47 | 49 => "the report is not for this machine's quoting enclave: if aesmd was updated meanwhile, ask again",
        _ => "look at `journalctl -u aesmd`",
    }
}

/// The service behind a socket.
#[derive(Clone, Debug)]
pub struct Aesm {
    socket: PathBuf,
    limit: Duration,
}

/// A kind of key, as the service names it.
type KeyId = Vec<u8>;

impl Aesm {
    /// At a socket; [`SOCKET`] is the usual one.
    pub fn new(socket: &Path) -> Self {
        Aesm { socket: socket.into(), limit: LIMIT }
    }

    /// With another limit for a whole quote.
    pub fn with_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// TARGETINFO of the quoting enclave, 512 bytes.
    pub fn qe_target(&self) -> Result<Vec<u8>, AesmError> {
        self.session().prepare().map(|(_, target)| target)
    }

    /// A quote over a report that was made for the quoting enclave. It prepares anew each time: the service may have been restarted.
    pub fn quote(&self, report: &[u8]) -> Result<Vec<u8>, AesmError> {
        let body = report.get(..REPORT_BODY_LEN).filter(|_| report.len() == REPORT_LEN);
        let body = body.ok_or_else(|| AesmError::Answer { asked: "a report", expected: format!("{REPORT_LEN} bytes of the enclave"), got: format!("{}", report.len()) })?;
        let session = self.session();
        let (key_id, _) = session.prepare()?;
        let room = session.quote_size(&key_id)?;
        let request = QuoteRequest { report: report.into(), key_id: Some(key_id), room, timeout_us: Some(session.timeout_us()) };
        let asked = "a quote";
        let answer = session.ask(asked, Request { quote: Some(request), ..Request::default() })?;
        let answer = answer.quote.ok_or_else(|| wrong(asked, "a quote", "none"))?;
        success(asked, answer.code)?;
        let quote = whole(answer.quote.unwrap_or_default())?;
        match quote.get(QUOTE_HEADER_LEN..SIGNATURE_LEN_AT) == Some(body) {
            true => Ok(quote),
            false => Err(AesmError::OtherReport),
        }
    }

    fn session(&self) -> Session<'_> {
        Session { socket: &self.socket, limit: self.limit, end: Instant::now() + self.limit }
    }
}

/// The buffer that the service fills may be longer than the quote; what follows is nothing.
fn whole(mut quote: Vec<u8>) -> Result<Vec<u8>, AesmError> {
    let len = quote.get(SIGNATURE_LEN_AT..).and_then(<[u8]>::first_chunk).map(|n| u32::from_le_bytes(*n) as usize);
    let len = len.map_or(usize::MAX, |n| n.saturating_add(SIGNATURE_LEN_AT + 4));
    let good = len <= MAX_QUOTE_LEN && quote.get(len..).is_some_and(|rest| rest.iter().all(|b| *b == 0));
    if !good {
        return Err(wrong("a quote", "a quote, and zeros behind it at most", format!("{} bytes that are none", quote.len())));
    }
    quote.truncate(len);
    Ok(quote)
}

fn wrong(asked: &'static str, expected: impl Into<String>, got: impl Into<String>) -> AesmError {
    AesmError::Answer { asked, expected: expected.into(), got: got.into() }
}

fn success(asked: &'static str, code: u32) -> Result<(), AesmError> {
    match code {
        0 => Ok(()),
        code => Err(AesmError::Code { asked, code }),
    }
}

/// Questions that belong together, under one time limit.
struct Session<'a> {
    socket: &'a Path,
    limit: Duration,
    end: Instant,
}

impl Session<'_> {
    /// The ECDSA key, ready to quote, and TARGETINFO of the enclave that has it.
    fn prepare(&self) -> Result<(KeyId, Vec<u8>), AesmError> {
        let key_id = self.ecdsa_key()?;
        // The first time the length of the key's id is answered; the second time the key is certified.
        let first = self.init(&key_id, None)?;
        let room = first.public_key_id_size.unwrap_or(0);
        if room > MAX_PUBLIC_KEY_ID {
            return Err(wrong("the quoting enclave", format!("a key id of at most {MAX_PUBLIC_KEY_ID} bytes"), room.to_string()));
        }
        let target = self.init(&key_id, Some(room))?.target_info.unwrap_or_default();
        match target.len() {
            TARGET_INFO_LEN => Ok((key_id, target)),
            got => Err(wrong("the quoting enclave", format!("TARGETINFO of {TARGET_INFO_LEN} bytes"), format!("{got} bytes"))),
        }
    }

    fn init(&self, key_id: &KeyId, room: Option<u64>) -> Result<InitQuoteResponse, AesmError> {
        let asked = "the quoting enclave";
        let request = InitQuoteRequest { key_id: Some(key_id.clone()), with_public_key_id: room.is_some(), room, timeout_us: Some(self.timeout_us()) };
        let answer = self.ask(asked, Request { init_quote: Some(request), ..Request::default() })?;
        let answer = answer.init_quote.ok_or_else(|| wrong(asked, "its TARGETINFO", "none"))?;
        success(asked, answer.code)?;
        Ok(answer)
    }

    fn quote_size(&self, key_id: &KeyId) -> Result<u32, AesmError> {
        let asked = "a quote's length";
        let request = QuoteSizeRequest { key_id: Some(key_id.clone()), timeout_us: Some(self.timeout_us()) };
        let answer = self.ask(asked, Request { quote_size: Some(request), ..Request::default() })?;
        let answer = answer.quote_size.ok_or_else(|| wrong(asked, "a length", "none"))?;
        success(asked, answer.code)?;
        let size = answer.quote_size.unwrap_or(0);
        match size > 0 && size as usize <= MAX_QUOTE_LEN {
            true => Ok(size),
            false => Err(wrong(asked, format!("1 to {MAX_QUOTE_LEN}"), size.to_string())),
        }
    }

    fn ecdsa_key(&self) -> Result<KeyId, AesmError> {
        let asked = "the number of its keys";
        let request = KeyIdNumberRequest { timeout_us: Some(self.timeout_us()) };
        let answer = self.ask(asked, Request { key_id_number: Some(request), ..Request::default() })?;
        let answer = answer.key_id_number.ok_or_else(|| wrong(asked, "a number", "none"))?;
        success(asked, answer.code)?;
        let number = answer.number.unwrap_or(0);
        if number > MAX_KEY_IDS {
            return Err(wrong(asked, format!("at most {MAX_KEY_IDS}"), number.to_string()));
        }
        if number == 0 {
            return Err(AesmError::NoEcdsa { offered: Vec::new() });
        }
        let asked = "its keys";
        let request = KeyIdsRequest { room: number.saturating_mul(KEY_ID_LEN as u32), timeout_us: Some(self.timeout_us()) };
        let answer = self.ask(asked, Request { key_ids: Some(request), ..Request::default() })?;
        let answer = answer.key_ids.ok_or_else(|| wrong(asked, "key ids", "none"))?;
        success(asked, answer.code)?;
        let all = answer.key_ids.unwrap_or_default();
        if all.len() % KEY_ID_LEN != 0 {
            return Err(wrong(asked, format!("key ids of {KEY_ID_LEN} bytes each"), format!("{} bytes", all.len())));
        }
        let algorithm = |id: &[u8]| id.get(ALGORITHM_AT..).and_then(|a| a.first_chunk::<4>().copied()).unwrap_or_default();
        match all.chunks(KEY_ID_LEN).find(|id| algorithm(id) == ECDSA_P256) {
            Some(id) => Ok(id.to_vec()),
            None => Err(AesmError::NoEcdsa { offered: all.chunks(KEY_ID_LEN).map(|id| u32::from_le_bytes(algorithm(id))).collect() }),
        }
    }

    /// What is left, for the service's own limit.
    fn timeout_us(&self) -> u32 {
        u32::try_from(self.end.saturating_duration_since(Instant::now()).as_micros()).unwrap_or(u32::MAX).max(1)
    }

    /// One connection, one question, one answer.
    fn ask(&self, asked: &'static str, request: Request) -> Result<Response, AesmError> {
        let mut stream = self.connect(asked)?;
        let body = request.encode_to_vec();
        let mut frame = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
        frame.extend_from_slice(&body);
        let left = self.left(asked)?;
        let sent = stream.set_write_timeout(Some(left)).and_then(|()| stream.write_all(&frame));
        sent.map_err(|e| self.broken(asked, e))?;
        let mut len = [0; 4];
        self.read(&mut stream, &mut len, asked)?;
        let got = u32::from_le_bytes(len) as usize;
        if got == 0 || got > MAX_ANSWER_BYTES {
            return Err(wrong(asked, format!("1 to {MAX_ANSWER_BYTES} bytes"), format!("{got} bytes")));
        }
        let mut answer = vec![0; got];
        self.read(&mut stream, &mut answer, asked)?;
        let answer = Response::decode(&answer[..]).map_err(|e| wrong(asked, "a message of the AESM protocol", e.to_string()))?;
        match &answer.unsupported {
            Some(refused) => Err(AesmError::Code { asked, code: refused.code.max(1) }),
            None => Ok(answer),
        }
    }

    /// A socket whose queue is full lets a connection wait for ever, and the standard library knows no limit for that: it waits on
    /// a thread of its own.
    fn connect(&self, asked: &'static str) -> Result<UnixStream, AesmError> {
        let (done, when_done) = mpsc::sync_channel(1);
        let socket = self.socket.to_path_buf();
        std::thread::spawn(move || {
            let _ = done.send(UnixStream::connect(&socket));
        });
        match when_done.recv_timeout(self.left(asked)?) {
            Ok(connected) => connected.map_err(|source| AesmError::Connect { socket: self.socket.into(), source }),
            Err(_) => Err(self.hung(asked)),
        }
    }

    /// The limit holds for all of it, however slowly single bytes come.
    fn read(&self, stream: &mut UnixStream, out: &mut [u8], asked: &'static str) -> Result<(), AesmError> {
        let mut at = 0;
        while let Some(rest) = out.get_mut(at..).filter(|r| !r.is_empty()) {
            let left = self.left(asked)?;
            match stream.set_read_timeout(Some(left)).and_then(|()| stream.read(rest)) {
                Ok(0) => return Err(self.broken(asked, io::ErrorKind::UnexpectedEof.into())),
                Ok(n) => at += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.broken(asked, e)),
            }
        }
        Ok(())
    }

    fn left(&self, asked: &'static str) -> Result<Duration, AesmError> {
        let left = self.end.saturating_duration_since(Instant::now());
        match left.is_zero() {
            true => Err(self.hung(asked)),
            false => Ok(left),
        }
    }

    fn hung(&self, asked: &'static str) -> AesmError {
        AesmError::Hung { asked, limit_ms: self.limit.as_millis() }
    }

    fn broken(&self, asked: &'static str, source: io::Error) -> AesmError {
        match source.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => self.hung(asked),
            _ => AesmError::Broken { asked, source },
        }
    }
}

/// The quoting half of a machine with SGX: everything but the device.
pub struct Quoting {
    aesm: Aesm,
    platform: Cell<PlatformId>,
}

impl Quoting {
    /// By a service.
    pub fn new(aesm: Aesm) -> Self {
        Quoting { aesm, platform: Cell::new(PlatformId::UNKNOWN) }
    }

    /// The service.
    pub fn aesm(&self) -> &Aesm {
        &self.aesm
    }

    /// TARGETINFO of the quoting enclave.
    pub fn qe_target(&self) -> Result<Vec<u8>, SeatError> {
        self.aesm.qe_target().map_err(|e| SeatError::Quote(e.to_string()))
    }

    /// A quote; it also shows which machine this is.
    pub fn quote(&self, report: &[u8]) -> Result<Vec<u8>, SeatError> {
        let quote = self.aesm.quote(report).map_err(|e| SeatError::Quote(e.to_string()))?;
        self.platform.set(claimed_platform(&quote).unwrap_or(self.platform.get()));
        Ok(quote)
    }

    /// The machine, as its last quote showed it; unknown before the first one.
    pub fn platform_id(&self) -> PlatformId {
        self.platform.get()
    }
}

/// Which machine a quote says that it is of, unverified: a host's own id before anybody has checked the quote. Enclaves take it from
/// [`baton_attest::quote::check_quote`] alone.
pub fn claimed_platform(quote: &[u8]) -> Option<PlatformId> {
    let parsed = dcap_qvl::verify::Quote::parse(quote).ok()?;
    let chain = dcap_qvl::intel::extract_cert_chain(&parsed).ok()?;
    let pck = dcap_qvl::intel::parse_pck_extension(chain.first()?).ok()?;
    (pck.ppid.len() == 16).then(|| PlatformId(hash("baton platform v1", &[&pck.ppid]).0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_name_and_a_next_step() {
        for code in 1..=50 {
            let text = AesmError::Code { asked: "a quote", code }.to_string();
            assert!(!text.contains("does not know") && text.contains("; "), "{text}");
        }
        assert!(AesmError::Code { asked: "a quote", code: 44 }.to_string().contains("sgx_default_qcnl.conf"));
        assert!(AesmError::Code { asked: "a quote", code: 99 }.to_string().contains("does not know"));
    }

    #[test]
    fn what_follows_a_quote_must_be_zeros() {
        let mut quote = vec![1; SIGNATURE_LEN_AT];
        quote.extend_from_slice(&2_u32.to_le_bytes());
        quote.extend_from_slice(&[7, 7]);
        assert_eq!(whole(quote.clone()).unwrap(), quote);
        let padded = [&quote[..], &[0; 9]].concat();
        assert_eq!(whole(padded.clone()).unwrap(), quote);
        for bad in [[&padded[..], &[1]].concat(), quote[..quote.len() - 1].to_vec(), quote[..10].to_vec(), Vec::new()] {
            assert!(whole(bad).is_err());
        }
    }
}
