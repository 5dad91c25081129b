//! Every program of this crate reads exactly one request from the bytes that a host brings.
#![cfg(feature = "sim")]

use baton_attest::identity::encode;
use baton_attest::pki::{DevPki, PlatformSpec};
use baton_attest::sigstruct::SigningKey;
use baton_enclave::sim::{Image, Launch, Machine, SimPlatform};
use baton_enclave::{ceremony, lifeboat};

fn platform() -> SimPlatform {
    let pki = DevPki::new([7; 32]).unwrap();
    let machine = Machine::new(&pki, "m", &PlatformSpec::default()).unwrap();
    let image = Image::program("p", "1", b"contents", &SigningKey::development(1).unwrap(), (1, 1)).unwrap();
    machine.launch_program(&image, &Launch::default()).unwrap().0
}

/// What a program answers to its status request as it is, cut, with a byte behind it, and made longer than it takes.
fn answers(status: &[u8], most: usize, mut handle: impl FnMut(&[u8]) -> Vec<u8>) -> [Vec<u8>; 4] {
    let with = |n: usize| [status, &vec![0; n][..]].concat();
    [handle(status), handle(&status[..status.len() - 1]), handle(&with(1)), handle(&with(most))]
}

#[test]
fn a21_a_ceremony_refuses_bytes_behind_a_request() {
    let mut program = ceremony::Ceremony::start(platform(), None, 0).unwrap();
    let status = encode(&ceremony::Request::Status);
    let said = answers(&status, ceremony::MAX_REQUEST_BYTES, |r| program.handle_bytes(r));
    let said = said.map(|b| minicbor::decode::<ceremony::Response>(&b).unwrap().reply);
    let refused = |i: usize, why: &str| matches!(&said[i], Some(ceremony::Reply::Refused { message }) if message.contains(why));
    assert!(matches!(said[0], Some(ceremony::Reply::Status { .. })));
    assert!(refused(1, "cannot be read") && refused(2, "after its end") && refused(3, "too large"), "{said:?}");
}

#[test]
fn a21_a_lifeboat_refuses_bytes_behind_a_request() {
    let pki = DevPki::new([7; 32]).unwrap();
    let config = lifeboat::Config { version: 1, tcb: tcb(&pki) };
    let mut program = lifeboat::Lifeboat::start(platform(), &encode(&config), None).unwrap();
    let status = encode(&lifeboat::Request::Status);
    let said = answers(&status, lifeboat::MAX_REQUEST_BYTES, |r| program.handle_bytes(r));
    let said = said.map(|b| minicbor::decode::<lifeboat::Response>(&b).unwrap().reply);
    let refused = |i: usize, why: &str| matches!(&said[i], Some(lifeboat::Reply::Refused { message }) if message.contains(why));
    assert!(matches!(said[0], Some(lifeboat::Reply::Status { .. })));
    assert!(refused(1, "cannot be read") && refused(2, "after its end") && refused(3, "too large"), "{said:?}");
}

fn tcb(pki: &DevPki) -> baton_attest::policy::TcbPolicy {
    baton_attest::policy::TcbPolicy {
        statuses: vec![baton_attest::policy::TcbStatus::UpToDate],
        denied_advisories: Vec::new(),
        allowed_advisories: None,
        min_tcb_evaluation: 17,
        max_collateral_age_secs: 7 * 24 * 3600,
        roots: vec![pki.root_der().unwrap()],
    }
}
