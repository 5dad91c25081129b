//! A PCCS, played on loopback with the collateral of the development PKI.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use baton_attest::identity::{Attributes, Identity, Measurement, PLATFORM_SGX, Signer, flags};
use baton_attest::pki::{CollateralSpec, DevPki, PlatformSpec};
use baton_attest::quote::Collateral;
use baton_attest::report::ReportBody;
use baton_host::collateral::{FetchError, Pccs};
use baton_host::http::Roots;
use tiny_http::{Header, Response, Server};

const NOON: u64 = 1_800_000_000;

/// What is wrong with the service.
#[derive(Clone, Copy, PartialEq)]
enum How {
    Good,
    /// It answers as Intel's own API does: CRLs in DER, no root CRL.
    Intel,
    UnknownFmspc,
    OtherFmspc,
    NoChain(&'static str),
    Oversized,
    Garbage,
    Redirects,
}

fn pki() -> DevPki {
    DevPki::new([7; 32]).unwrap()
}

fn set() -> Collateral {
    pki().collateral(&CollateralSpec::at(NOON)).unwrap()
}

/// A quote of a development machine.
fn quote() -> Vec<u8> {
    let identity = Identity {
        platform_tag: PLATFORM_SGX,
        measurement: Measurement([1; 32]),
        signer: Signer([3; 32]),
        product_id: 1,
        svn: 1,
        attributes: Attributes { flags: flags::INIT | flags::MODE64BIT, xfrm: 3 },
        misc_select: 0,
        config_id: [0; 64],
        config_svn: 0,
    };
    let platform = pki().platform("m", &PlatformSpec::default()).unwrap();
    platform.danger_quote_body(&ReportBody { cpu_svn: platform.cpu_svn(), ext_product_id: [0; 16], family_id: [0; 16], identity, report_data: [0; 64] })
}

fn encoded(pem: &str) -> String {
    pem.bytes().map(|b| if b.is_ascii_alphanumeric() || b == b'-' { (b as char).to_string() } else { format!("%{b:02X}") }).collect()
}

fn answer(how: How, path: &str) -> (u16, Vec<u8>, Option<(&'static str, String)>) {
    let mut set = set();
    if how == How::OtherFmspc {
        set = pki().collateral(&CollateralSpec { fmspc: [0xba, 0, 0, 0, 0, 2], ..CollateralSpec::at(NOON) }).unwrap();
    }
    let hex_or_der = |der: &Vec<u8>| if how == How::Intel { der.clone() } else { hex::encode(der).into_bytes() };
    let api = path.strip_prefix("/sgx/certification/v4/").expect("the API's path");
    let (status, body, header) = match api {
        "tcb?fmspc=BA0000000001" if how == How::UnknownFmspc => (404, b"No cache data".to_vec(), None),
        "tcb?fmspc=BA0000000001" if how == How::Garbage => (200, b"<html>".to_vec(), None),
        "tcb?fmspc=BA0000000001" if how == How::Oversized => (200, vec![b' '; 300 << 10], None),
        "tcb?fmspc=BA0000000001" if how == How::Redirects => (302, Vec::new(), Some(("Location", "http://127.0.0.1:9/".into()))),
        "tcb?fmspc=BA0000000001" => {
            let body = format!(r#"{{"tcbInfo":{},"signature":"{}"}}"#, set.tcb_info, hex::encode(&set.tcb_info_signature));
            let name = if how == How::Intel { "TCB-Info-Issuer-Chain" } else { "SGX-TCB-Info-Issuer-Chain" };
            (200, body.into_bytes(), Some((name, encoded(&set.tcb_info_issuer_chain))))
        }
        "qe/identity" => {
            let body = format!(r#"{{"enclaveIdentity":{},"signature":"{}"}}"#, set.qe_identity, hex::encode(&set.qe_identity_signature));
            (200, body.into_bytes(), Some(("SGX-Enclave-Identity-Issuer-Chain", encoded(&set.qe_identity_issuer_chain))))
        }
        "pckcrl?ca=platform&encoding=der" => (200, hex_or_der(&set.pck_crl), Some(("SGX-PCK-CRL-Issuer-Chain", encoded(&set.pck_crl_issuer_chain)))),
        "rootcacrl" if how == How::Intel => (404, Vec::new(), None),
        "rootcacrl" => (200, hex::encode(&set.root_ca_crl).into_bytes(), None),
        "IntelSGXRootCA.der" => (200, set.root_ca_crl.clone(), None),
        other => panic!("asked for {other}"),
    };
    let header = header.filter(|(name, _)| how != How::NoChain(name));
    (status, body, header)
}

/// Its address; true in the flag ends it.
fn service(how: How) -> (String, Arc<AtomicBool>) {
    let server = Server::http("127.0.0.1:0").unwrap();
    let url = format!("http://{}", server.server_addr());
    let ended = Arc::new(AtomicBool::new(false));
    let end = ended.clone();
    std::thread::spawn(move || {
        while !end.load(Ordering::SeqCst) {
            let Ok(Some(request)) = server.recv_timeout(std::time::Duration::from_millis(50)) else { continue };
            let (status, body, header) = answer(how, request.url());
            let mut response = Response::from_data(body).with_status_code(status);
            if let Some((name, value)) = header {
                response.add_header(Header::from_bytes(name, value).unwrap());
            }
            let _ = request.respond(response);
        }
    });
    (url, ended)
}

fn fetch(how: How) -> Result<Collateral, FetchError> {
    let (url, _) = service(how);
    Pccs::new(&url, None, &Roots::default()).unwrap().fetch(&quote())
}

#[test]
fn what_a_pccs_serves_is_the_set_byte_for_byte() {
    assert_eq!(fetch(How::Good).unwrap(), set());
    let again = Collateral::from_json(fetch(How::Good).unwrap().to_json().as_bytes()).unwrap();
    assert_eq!(again, set());
}

#[test]
fn intels_own_api_needs_the_address_of_the_root_crl() {
    let (url, _) = service(How::Intel);
    let said = Pccs::new(&url, None, &Roots::default()).unwrap().fetch(&quote()).unwrap_err().to_string();
    assert!(said.contains("root_crl") && said.contains("not followed"), "{said}");
    let root = format!("{url}/sgx/certification/v4/IntelSGXRootCA.der");
    assert_eq!(Pccs::new(&url, Some(&root), &Roots::default()).unwrap().fetch(&quote()).unwrap(), set());
}

#[test]
fn an_unknown_fmspc_says_what_to_do() {
    let e = fetch(How::UnknownFmspc).unwrap_err();
    assert!(matches!(e, FetchError::Status { status: 404, .. }));
    assert!(e.to_string().contains("PCKIDRetrievalTool"), "{e}");
}

#[test]
fn collateral_of_another_machine_is_not_taken() {
    let e = fetch(How::OtherFmspc).unwrap_err();
    assert!(matches!(e, FetchError::OtherPlatform { .. }));
    assert!(e.to_string().contains("BA0000000002") && e.to_string().contains("BA0000000001"), "{e}");
}

#[test]
fn a_missing_issuer_chain_is_named_by_its_header() {
    for header in ["SGX-TCB-Info-Issuer-Chain", "SGX-Enclave-Identity-Issuer-Chain", "SGX-PCK-CRL-Issuer-Chain"] {
        let e = fetch(How::NoChain(header)).unwrap_err();
        assert!(matches!(e, FetchError::Header { .. }), "{e}");
        assert!(e.to_string().contains("Issuer-Chain"), "{e}");
    }
}

#[test]
fn an_answer_that_is_too_long_or_none_is_refused() {
    assert!(matches!(fetch(How::Oversized), Err(FetchError::Transport { what: "TCB info", .. })));
    assert!(matches!(fetch(How::Garbage), Err(FetchError::Form { what: "TCB info", .. })));
}

#[test]
fn a_redirect_is_not_followed() {
    let e = fetch(How::Redirects).unwrap_err();
    assert!(matches!(e, FetchError::Status { status: 302, .. }), "{e}");
}

#[test]
fn a_service_that_is_down_is_named() {
    let e = Pccs::new("http://127.0.0.1:9", None, &Roots::default()).unwrap().fetch(&quote()).unwrap_err();
    assert!(e.to_string().starts_with("TCB info from http://127.0.0.1:9/sgx/certification/v4/tcb?fmspc=BA0000000001: "), "{e}");
}

#[test]
fn bytes_that_are_no_quote_ask_nobody() {
    let pccs = Pccs::new("http://127.0.0.1:9", None, &Roots::default()).unwrap();
    assert!(matches!(pccs.fetch(b"no quote"), Err(FetchError::Quote(_))));
}
