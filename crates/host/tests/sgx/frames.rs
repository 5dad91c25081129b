//! The byte link of an enclave that is a program: lengths and order come from a hostile host.

use std::io::Cursor;

use baton_attest::identity::encode;
use baton_attest::pki::{DevPki, PlatformSpec};
use baton_attest::sigstruct::SigningKey;
use baton_core::policy::PolicyError;
use baton_enclave::link::{Opened, Opening, start_keeper};
use baton_enclave::serve::{MAX_FRAME_BYTES, serve};
use baton_enclave::sim::{Image, Launch, Machine};
use baton_enclave::wire::{Reply, Request, Response};

fn frame(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_le_bytes()[..], bytes].concat()
}

/// Serves these bytes on a simulated machine; the answers.
fn answers(input: &[u8], with_policy: bool) -> (Vec<Vec<u8>>, bool) {
    let machine = Machine::new(&DevPki::new([1; 32]).unwrap(), "m", &PlatformSpec::default()).unwrap();
    let image = Image::build("t", "1", &super::policy(), &SigningKey::development(1).unwrap(), 1).unwrap();
    let (platform, policy) = machine.launch(&image, &Launch { debug: false, entropy: [2; 32] }).unwrap();
    let policy = if with_policy { Ok(policy) } else { Err(PolicyError::Malformed("the slot is empty")) };
    let mut out = Vec::new();
    let start = |opening: &Opening| start_keeper(platform, policy, opening);
    let ended_well = serve(start, &mut Cursor::new(input), &mut out).is_ok();
    let (mut list, mut rest) = (Vec::new(), &out[..]);
    while let Some((len, tail)) = rest.split_first_chunk::<4>() {
        let (one, tail) = tail.split_at(u32::from_le_bytes(*len) as usize);
        list.push(one.to_vec());
        rest = tail;
    }
    (list, ended_well)
}

fn opening() -> Vec<u8> {
    frame(&encode(&Opening::default()))
}

fn refusal(answer: &[u8]) -> String {
    match minicbor::decode::<Response>(answer).unwrap().reply {
        Some(Reply::Refused(r)) => r.check,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_opened_enclave_answers_the_bytes_of_the_wire() {
    let (list, well) = answers(&[opening(), frame(&encode(&Request::Status))].concat(), true);
    assert!(well, "the end of the input is how it is stopped");
    assert_eq!(minicbor::decode::<Opened>(&list[0]).unwrap(), Opened::Started);
    assert!(matches!(minicbor::decode::<Response>(&list[1]).unwrap().reply, Some(Reply::Status(_))));
}

#[test]
fn a_program_without_a_policy_says_so_and_ends() {
    let (list, _) = answers(&[opening(), frame(&encode(&Request::Status))].concat(), false);
    assert_eq!(list.len(), 1, "nothing is answered after a refusal");
    let Opened::Refused { message, damaged } = minicbor::decode(&list[0]).unwrap() else { panic!() };
    assert!(message.contains("measured pages") && !damaged, "{message}");
}

#[test]
fn a_damaged_custody_file_is_told_from_other_reasons() {
    let opening = Opening { custody: Some(vec![7; 100].into()), ..Opening::default() };
    let (list, _) = answers(&frame(&encode(&opening)), true);
    assert!(matches!(minicbor::decode(&list[0]).unwrap(), Opened::Refused { damaged: true, .. }));
}

#[test]
fn a21_a_request_before_the_opening_is_refused() {
    let (list, _) = answers(&frame(&encode(&Request::Status)), true);
    assert!(matches!(minicbor::decode(&list[0]).unwrap(), Opened::Refused { damaged: false, .. }));
}

#[test]
fn a21_an_oversized_frame_is_skipped_and_refused_and_the_next_one_served() {
    let large = frame(&vec![0; MAX_FRAME_BYTES + 1]);
    let (list, well) = answers(&[opening(), large, frame(b"junk"), frame(&[]), frame(&encode(&Request::Status))].concat(), true);
    assert!(well);
    assert_eq!(refusal(&list[1]), "request/Oversized");
    assert_eq!(refusal(&list[2]), "request/Malformed");
    assert_eq!(refusal(&list[3]), "request/Malformed");
    assert!(matches!(minicbor::decode::<Response>(&list[4]).unwrap().reply, Some(Reply::Status(_))));
}

#[test]
fn a21_a_length_that_is_not_there_ends_the_program() {
    for cut in [&[9, 0][..], &[9, 0, 0, 0, 1], &[0xff, 0xff, 0xff, 0xff, 1]] {
        let (list, well) = answers(&[&opening()[..], cut].concat(), true);
        assert!(!well);
        assert_eq!(list.len(), 1);
    }
}
