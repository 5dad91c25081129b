//! https, against a server with a certificate of its own for the name `localhost`.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use baton_host::http::{self, Roots};
use baton_host::rpc::{CallError, Endpoint};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, Stream};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name)
}

/// The port of a server that answers every request with the same body.
fn server() -> u16 {
    let cert = CertificateDer::from_pem_file(fixture("localhost.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(fixture("localhost.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(vec![cert], key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for tcp in listener.incoming() {
            let (Ok(mut tcp), Ok(mut tls)) = (tcp, ServerConnection::new(config.clone())) else { continue };
            let mut stream = Stream::new(&mut tls, &mut tcp);
            let mut head = [0; 4096];
            // A client that does not trust this server ends here.
            if stream.read(&mut head).is_ok() {
                let body = r#"{"result":{"ok":true}}"#;
                let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
                tls.send_close_notify();
                let _ = tls.complete_io(&mut tcp);
            }
        }
    });
    port
}

fn call(url: &str, roots: &Roots) -> Result<serde_json::Value, CallError> {
    Endpoint::new(url, Duration::from_secs(10), roots).unwrap().call("status", &serde_json::json!({}))
}

#[test]
fn a_server_whose_certificate_is_in_tls_roots_is_asked() {
    let url = format!("https://localhost:{}", server());
    let roots = Roots::with_file(&fixture("localhost.pem")).unwrap();
    assert_eq!(call(&url, &roots).unwrap()["ok"], true);
}

#[test]
fn an_unknown_root_is_refused_and_the_error_names_tls_roots() {
    let url = format!("https://localhost:{}", server());
    let said = call(&url, &Roots::default()).unwrap_err().to_string();
    assert!(said.contains("tls_roots") && said.contains("UnknownIssuer"), "{said}");
}

#[test]
fn a_certificate_for_another_host_is_refused() {
    let url = format!("https://127.0.0.1:{}", server());
    let roots = Roots::with_file(&fixture("localhost.pem")).unwrap();
    let said = call(&url, &roots).unwrap_err().to_string();
    assert!(said.contains("for another host"), "{said}");
}

#[test]
fn a_server_without_tls_behind_an_https_url_is_an_error_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for tcp in listener.incoming() {
            let _ = tcp.unwrap().write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        }
    });
    let agent = http::agent(Duration::from_secs(2), &Roots::default());
    let e = agent.get(format!("https://localhost:{port}/")).call().unwrap_err();
    assert!(!http::why(&e).is_empty());
}

#[test]
fn a_key_in_the_file_of_roots_is_refused() {
    let said = Roots::with_file(&fixture("localhost.key")).unwrap_err().to_string();
    assert!(said.contains("private key"), "{said}");
}
