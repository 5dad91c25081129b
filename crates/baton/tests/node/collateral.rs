//! Collateral from a PCCS that is down, and later is not.

use std::io::Write;
use std::time::{Duration, Instant};

use baton::node::machine::dev_pki;
use baton_attest::pki::CollateralSpec;
use baton_attest::quote::Collateral;
use tiny_http::{Header, Response, Server};

use crate::net::{Net, baton, free_port, seat, text};

/// The development PKI's parts, as a PCCS answers, until the test ends.
fn pccs(port: u16, set: Collateral) {
    let server = Server::http(("127.0.0.1", port)).unwrap();
    let encoded = |pem: &str| pem.bytes().map(|b| format!("%{b:02X}")).collect::<String>();
    std::thread::spawn(move || {
        for request in server.incoming_requests() {
            let path = request.url().trim_start_matches("/sgx/certification/v4/").split('?').next().unwrap_or_default().to_string();
            let (body, header) = match path.as_str() {
                "tcb" => (format!(r#"{{"tcbInfo":{},"signature":"{}"}}"#, set.tcb_info, hex::encode(&set.tcb_info_signature)), Some(("TCB-Info-Issuer-Chain", &set.tcb_info_issuer_chain))),
                "qe/identity" => (
                    format!(r#"{{"enclaveIdentity":{},"signature":"{}"}}"#, set.qe_identity, hex::encode(&set.qe_identity_signature)),
                    Some(("SGX-Enclave-Identity-Issuer-Chain", &set.qe_identity_issuer_chain)),
                ),
                "pckcrl" => (hex::encode(&set.pck_crl), Some(("SGX-PCK-CRL-Issuer-Chain", &set.pck_crl_issuer_chain))),
                _ => (hex::encode(&set.root_ca_crl), None),
            };
            let mut response = Response::from_string(body);
            if let Some((name, chain)) = header {
                response.add_header(Header::from_bytes(name, encoded(chain)).unwrap());
            }
            let _ = request.respond(response);
        }
    });
}

#[test]
fn h23_a_dead_pccs_stops_a_join_and_no_handover_on_one_machine() {
    let mut net = Net::new(2);
    let port = free_port();
    let v1 = net.build("v1", 1, None);
    for i in 0..2 {
        let mut config = std::fs::OpenOptions::new().append(true).open(net.nodes[i].home.join("baton.toml")).unwrap();
        write!(config, "\n[collateral]\npccs = \"http://127.0.0.1:{port}\"\n").unwrap();
        net.install(i, &v1);
        net.start(i);
    }
    let genesis = net.json(0, &["genesis"]);
    let status = net.until(0, "asked the PCCS", |s| s["collateral"]["error"].is_string());
    assert!(status["collateral"]["error"].as_str().unwrap().contains("TCB info from"), "{status:#}");
    let giver = format!("http://127.0.0.1:{}", net.nodes[0].port);
    let said = net.run(1, &["join", "--peer", &giver]).refused();
    assert!(said.contains("no collateral yet") && said.contains("a handover on this machine does not"), "{said}");
    let doctor = net.run(0, &["doctor"]);
    assert!(doctor.out.contains("fail collateral"), "{}", doctor.out);

    // The upgrade on this machine goes through all the same.
    let v2 = net.build("v2", 2, genesis["commitment"].as_str());
    net.install(0, &v2);
    let height = net.vote("enclave-v2", 40, &v2);
    net.until(0, "confirmed", |s| seat(s, "v1")["state"] == "confirmed" && seat(s, "v2")["state"] == "received");
    net.wait_height(height);
    net.until(0, "activated", |s| seat(s, "v2")["serving"] == true);

    // The PCCS comes back: what it serves is kept, and a machine joins by it.
    let time = net.status(0).unwrap()["chain"]["time"].as_u64().unwrap();
    pccs(port, dev_pki(1).unwrap().collateral(&CollateralSpec::at(time - 3600)).unwrap());
    let dated = |s: &serde_json::Value| s["expires"].as_array().unwrap().iter().any(|d| d["what"] == "collateral: TCB info");
    let status = net.until(0, "fetched", |s| s["collateral"]["age_secs"].is_u64() && dated(s));
    assert!(status["collateral"]["error"].is_null(), "{status:#}");
    let kept = net.nodes[0].home.join("collateral.json");
    Collateral::from_json(&std::fs::read(&kept).unwrap()).unwrap();
    net.resume("enclave-v2");
    net.install(1, &v2);
    net.until(1, "sees v2", |s| !seat(s, "v2").is_null());
    // v2 exports nothing before a head has shown it its own done key.
    let end = Instant::now() + Duration::from_secs(60);
    let joined = loop {
        let joined = net.run(1, &["join", "--peer", &giver, "--json"]);
        if joined.code == 0 || Instant::now() >= end || !joined.out.contains("done key") {
            break joined.ok().json();
        }
        std::thread::sleep(Duration::from_millis(500));
    };
    assert!(["holding", "received"].contains(&joined["state"].as_str().unwrap()), "{joined:#}");
}

#[test]
fn a_home_for_hardware_names_what_this_machine_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    let init = ["init", "--home", text(&home), "--chain-id", "c", "--rpc", "https://rpc.example.com", "--platform", "sgx", "--pccs", "https://localhost:8081"];
    let refused = baton(&[&init[..], &["--dev-machine", "m"]].concat());
    assert!(refused.code == 2 && refused.err.contains("take them out for sgx"), "{}", refused.err);
    assert!(!home.join("baton.toml").exists());
    baton(&init).ok();
    if std::path::Path::new("/dev/sgx_enclave").exists() {
        return;
    }
    let ran = baton(&["node", "--home", text(&home), "--once"]);
    assert!(ran.code != 0 && ran.err.contains("platform sgx") && ran.err.contains("no SGX on this machine"), "{} {}", ran.out, ran.err);
}
