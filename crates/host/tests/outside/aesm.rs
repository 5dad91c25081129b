//! Intel's AESM service, played on a Unix socket over the quoting enclave of the development PKI: the quotes verify as genuine ones do.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use baton_attest::identity::{Attributes, Identity, Measurement, PLATFORM_SGX, PlatformId, Signer, flags};
use baton_attest::pki::{CollateralSpec, DevPki, PlatformSpec};
use baton_attest::policy::{TcbPolicy, TcbStatus};
use baton_attest::quote::{Purpose, QuoteTime, check_quote};
use baton_attest::report::TargetInfo;
use baton_enclave::sim::Machine;
use baton_host::link::SoftwareCpu;
use baton_host::sgx::aesm::message::{
    InitQuoteResponse, KeyIdNumberResponse, KeyIdsResponse, QuoteResponse, QuoteSizeResponse, Request, Response,
};
use baton_host::sgx::aesm::{Aesm, AesmError, MAX_ANSWER_BYTES, Quoting, claimed_platform};
use prost::Message;

const NOON: u64 = 1_800_000_000;

/// How the service behaves; all but the first are faults.
#[derive(Clone, Copy, PartialEq)]
enum How {
    Good,
    /// Zeros behind the quote, as in a buffer that is longer.
    Padded,
    ClosesAtOnce,
    Hangs,
    Drips,
    Truncated,
    Oversized,
    Garbage,
    Empty,
    Code(u32),
    OnlyEpid,
    NoKeys,
    ShortTarget,
    OtherReport,
    OtherAnswer,
}

fn pki() -> DevPki {
    DevPki::new([7; 32]).unwrap()
}

fn machine() -> Machine {
    Machine::new(&pki(), "m", &PlatformSpec::default()).unwrap()
}

fn key_id(algorithm: u32) -> Vec<u8> {
    let mut id = vec![0; 256];
    id[154..158].copy_from_slice(&algorithm.to_le_bytes());
    id
}

/// What the service answers to one question.
fn answer(how: How, machine: &Machine, q: Request) -> Response {
    let code = if let How::Code(code) = how { code } else { 0 };
    let mut out = Response::default();
    if how == How::OtherAnswer {
        out.quote_size = Some(QuoteSizeResponse { code, quote_size: Some(6000) });
        return out;
    }
    if q.key_id_number.is_some() {
        let number = Some(if how == How::NoKeys { 0 } else { 2 });
        out.key_id_number = Some(KeyIdNumberResponse { code, number });
    }
    if let Some(q) = q.key_ids {
        assert_eq!(q.room, 512);
        let second = if how == How::OnlyEpid { 1 } else { 2 };
        out.key_ids = Some(KeyIdsResponse { code, key_ids: Some([key_id(0), key_id(second)].concat()) });
    }
    if let Some(q) = q.init_quote {
        assert_eq!(q.key_id, Some(key_id(2)));
        // Room is named when the key's id is wanted, as the first answer said it.
        assert_eq!((q.with_public_key_id, q.room), if q.room.is_some() { (true, Some(32)) } else { (false, None) });
        let mut target = machine.qe_target();
        target.truncate(if how == How::ShortTarget { 511 } else { 512 });
        out.init_quote = Some(InitQuoteResponse { code, target_info: Some(target), public_key_id_size: Some(32) });
    }
    if let Some(q) = q.quote_size {
        assert_eq!(q.key_id, Some(key_id(2)));
        out.quote_size = Some(QuoteSizeResponse { code, quote_size: Some(6000) });
    }
    if let Some(q) = q.quote {
        assert_eq!((q.key_id, q.room), (Some(key_id(2)), 6000));
        let report = if how == How::OtherReport { report(machine, 2) } else { q.report };
        // The quoting enclave checks the report before it quotes.
        let mut quote = machine.quote(&report).unwrap_or_default();
        if how == How::Padded {
            quote.resize(6000, 0);
        }
        let code = if quote.is_empty() { 47 } else { code };
        out.quote = Some(QuoteResponse { code, quote: Some(quote) });
    }
    out
}

fn serve(how: How, mut stream: UnixStream, machine: &Machine) -> std::io::Result<()> {
    if how == How::ClosesAtOnce {
        return Ok(());
    }
    let mut len = [0; 4];
    stream.read_exact(&mut len)?;
    let mut body = vec![0; u32::from_le_bytes(len) as usize];
    stream.read_exact(&mut body)?;
    let body = answer(how, machine, Request::decode(&body[..]).unwrap()).encode_to_vec();
    let len = |n: usize| u32::try_from(n).unwrap().to_le_bytes();
    match how {
        How::Hangs => std::thread::sleep(Duration::from_secs(20)),
        How::Drips => {
            for byte in [&len(body.len())[..], &body].concat() {
                std::thread::sleep(Duration::from_millis(100));
                stream.write_all(&[byte])?;
            }
        }
        How::Truncated => stream.write_all(&[&len(body.len())[..], &body[..body.len() / 2]].concat())?,
        How::Oversized => stream.write_all(&len(MAX_ANSWER_BYTES + 1))?,
        How::Empty => stream.write_all(&len(0))?,
        How::Garbage => stream.write_all(&[&len(6)[..], b"\xff\xff\xff\xff\xff\xff"].concat())?,
        _ => stream.write_all(&[&len(body.len())[..], &body].concat())?,
    }
    Ok(())
}

/// A service, and the folder that its socket lives in.
fn service(how: How) -> (Aesm, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("aesm.socket");
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        let machine = machine();
        for stream in listener.incoming().flatten() {
            let _ = serve(how, stream, &machine);
        }
    });
    (Aesm::new(&socket), dir)
}

/// A report of some enclave for this machine's quoting enclave.
fn report(machine: &Machine, mark: u8) -> Vec<u8> {
    let own = Identity {
        platform_tag: PLATFORM_SGX,
        measurement: Measurement([mark; 32]),
        signer: Signer([3; 32]),
        product_id: 1,
        svn: 1,
        attributes: Attributes { flags: flags::INIT | flags::MODE64BIT, xfrm: 3 },
        misc_select: 0,
        config_id: [0; 64],
        config_svn: 0,
    };
    let target: [u8; 512] = machine.qe_target().try_into().unwrap();
    machine.report_as(&own, &TargetInfo::parse(&target).unwrap(), &[mark; 64]).to_bytes().to_vec()
}

fn policy() -> TcbPolicy {
    TcbPolicy {
        statuses: vec![TcbStatus::UpToDate],
        denied_advisories: vec![],
        allowed_advisories: None,
        min_tcb_evaluation: 0,
        max_collateral_age_secs: u64::MAX,
        roots: vec![pki().root_der().unwrap()],
    }
}

#[test]
fn a_quote_of_the_service_verifies_and_shows_the_machine() {
    for how in [How::Good, How::Padded] {
        let (aesm, _dir) = service(how);
        let quoting = Quoting::new(aesm);
        assert_eq!(quoting.platform_id(), PlatformId::UNKNOWN, "only a quote shows it");
        let (machine, report) = (machine(), report(&machine(), 1));
        assert_eq!(quoting.qe_target().unwrap(), machine.qe_target());
        let quote = quoting.quote(&report).unwrap();
        let collateral = pki().collateral(&CollateralSpec::at(NOON)).unwrap();
        let checked = check_quote(&quote, &collateral, &policy(), QuoteTime(NOON), Purpose::Secret).unwrap();
        assert_eq!((checked.identity().measurement, *checked.report_data()), (Measurement([1; 32]), [1; 64]));
        // The host's own view of the id must never drift from the one that enclaves derive.
        assert_eq!(quoting.platform_id(), checked.platform());
        assert_eq!(quoting.platform_id(), machine.platform().id());
    }
    assert_eq!(claimed_platform(b"no quote"), None);
}

fn said(how: How) -> String {
    let (aesm, _dir) = service(how);
    aesm.with_limit(Duration::from_millis(1500)).quote(&report(&machine(), 1)).unwrap_err().to_string()
}

#[test]
fn no_socket_says_what_to_install() {
    let dir = tempfile::tempdir().unwrap();
    let e = Aesm::new(&PathBuf::from(dir.path().join("aesm.socket"))).qe_target().unwrap_err();
    assert!(matches!(e, AesmError::Connect { .. }));
    let said = e.to_string();
    assert!(said.contains("sgx-aesm-service") && said.contains("libsgx-aesm-quote-ex-plugin") && said.contains("aesm.socket"), "{said}");
}

#[test]
fn a_service_that_closes_cuts_or_talks_nonsense_is_named_and_what_to_do() {
    for (how, says) in [
        (How::ClosesAtOnce, "broke off"),
        (How::Truncated, "broke off"),
        (How::Oversized, "1048577 bytes"),
        (How::Empty, "0 bytes"),
        (How::Garbage, "a message of the AESM protocol"),
        (How::OtherAnswer, "got none"),
        (How::ShortTarget, "511 bytes"),
    ] {
        let text = said(how);
        assert!(text.contains(says), "expected {says:?}: {text}");
    }
}

#[test]
fn a_service_that_hangs_or_drips_costs_its_limit_and_no_more() {
    for how in [How::Hangs, How::Drips] {
        let began = Instant::now();
        let text = said(how);
        assert!(text.contains("no answer") && text.contains("1500 ms"), "{text}");
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
}

#[test]
fn a_socket_whose_queue_is_full_costs_the_limit_too() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("aesm.socket");
    let listener = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    listener.bind(&socket2::SockAddr::unix(&socket).unwrap()).unwrap();
    listener.listen(0).unwrap();
    // It holds one connection that nobody takes; the next one waits in the kernel.
    let _first = UnixStream::connect(&socket).unwrap();
    let e = Aesm::new(&socket).with_limit(Duration::from_millis(300)).qe_target().unwrap_err();
    assert!(matches!(e, AesmError::Hung { .. }), "{e}");
}

#[test]
fn an_error_code_is_named_with_a_next_step() {
    for (code, name, next) in [(2, "no device", "sgx_provision"), (18, "busy", "restart aesmd"), (44, "no platform certification data", "sgx_default_qcnl.conf"), (77, "does not know", "journalctl")] {
        let text = said(How::Code(code));
        assert!(text.contains(&format!("code {code} ({name}")) || text.contains(name), "{text}");
        assert!(text.contains(next), "{text}");
    }
}

#[test]
fn a_service_without_an_ecdsa_key_makes_no_quotes() {
    let text = said(How::OnlyEpid);
    assert!(text.contains("[0, 1]") && text.contains("libsgx-aesm-ecdsa-plugin"), "{text}");
    assert!(said(How::NoKeys).contains("libsgx-aesm-ecdsa-plugin"));
}

#[test]
fn a_quote_over_another_report_is_refused() {
    assert!(said(How::OtherReport).contains("another report"));
}

#[test]
fn a_report_that_is_none_or_for_nobody_is_refused() {
    let (aesm, _dir) = service(How::Good);
    let mut bad = report(&machine(), 1);
    assert!(aesm.quote(&bad[..431]).unwrap_err().to_string().contains("432 bytes"));
    bad[431] ^= 1;
    assert!(aesm.quote(&bad).unwrap_err().to_string().contains("invalid report"));
}
