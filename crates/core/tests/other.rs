//! Other implementations: what they wrote is read here; that they read ours is in their own output. See `fixtures/other/ORIGIN.md`.

use baton_attest::identity::Digest32;
use baton_core::note::verify_note;
use baton_core::order::adr036::{check, sign_doc};
use baton_core::order::signed::{AccountSignature, SignedOrder};
use baton_core::order::{Authority, Order};
use baton_core::policy::{Council, CouncilKey, Member};
use baton_core::shares::age::{Identity, decrypt};
use baton_core::witness::{Cosigned, Cosigner};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const GO: &str = include_str!("fixtures/other/go/go.txt");
const COSMJS: &str = include_str!("fixtures/other/cosmjs/adr036.txt");
const SDK: &str = include_str!("fixtures/other/sdk/adr036.txt");
const ORIGIN: &str = "baton/test-1/orders";

fn line<'t>(text: &'t str, name: &str) -> &'t str {
    text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')).unwrap()
}

fn bytes(name: &str) -> Vec<u8> {
    hex::decode(line(GO, name)).unwrap()
}

/// The first order of the golden file.
fn order() -> (Order, String) {
    let golden = include_str!("golden/order_v1.txt");
    let mut lines = golden.lines();
    let order = Order::from_cbor(&hex::decode(lines.next().unwrap()).unwrap()).unwrap();
    (order, lines.next().unwrap().into())
}

fn council(needed: u32) -> Council {
    let ada = ed25519_dalek::SigningKey::from_bytes(&[1; 32]).verifying_key().to_bytes();
    let bob = p256::ecdsa::SigningKey::from_slice(&[2; 32]).unwrap();
    let bob: [u8; 33] = bob.verifying_key().to_sec1_point(true).as_bytes().try_into().unwrap();
    let of = |name: &str, key| Member { name: name.into(), key };
    let members = vec![of("ada", CouncilKey::Ed25519(ada)), of("bob", CouncilKey::P256(bob))];
    Council { members, needed, notice_blocks: 10 }
}

#[test]
fn other_programs_have_read_what_we_wrote() {
    for said in [
        "# read: the log's signature and the cosignature of w1.example/baton at 1679315147",
        "# read: an order with 2 signatures, payload 237 bytes",
        "# read: an age file that says \"a share\"",
    ] {
        assert!(GO.lines().any(|l| l == said), "{said}");
    }
}

#[test]
fn a_checkpoint_signed_and_cosigned_in_go_verifies() {
    let note = String::from_utf8(bytes("cosigned")).unwrap();
    let log = ed25519_dalek::SigningKey::from_bytes(&[77; 32]).verifying_key().to_bytes();
    verify_note(&note, ORIGIN, &log).unwrap();
    let witness = Cosigner::from_seed("w2.example/baton", &[2; 32]).unwrap().vkey();
    let got = Cosigned::verify(&note, ORIGIN, std::slice::from_ref(&witness), 1).unwrap();
    assert_eq!(got.checkpoint().size, 3);
    assert!(got.not_before() > 1_600_000_000);
    let other = Cosigner::from_seed("w2.example/baton", &[3; 32]).unwrap().vkey();
    assert!(Cosigned::verify(&note, ORIGIN, &[other], 1).is_err());
    let moved = note.replacen("\n3\n", "\n4\n", 1);
    assert!(Cosigned::verify(&moved, ORIGIN, &[witness], 1).is_err() && verify_note(&moved, ORIGIN, &log).is_err());
}

#[test]
fn an_order_signed_by_another_cose_library_commands() {
    let signed = SignedOrder::from_bytes(&bytes("order")).unwrap();
    assert_eq!(signed.order(), &order().0);
    let (authority, signers, skipped) = signed.council(&council(2));
    assert!(matches!(authority, Some(Authority::Council { needed: 2, .. })), "{skipped}");
    assert_eq!(signers, ["ada", "bob"]);
    assert!(skipped.0.is_empty());
    let (none, _, _) = signed.council(&council(3));
    assert!(none.is_none());
}

#[test]
fn an_age_file_from_go_opens() {
    // AGE-SECRET-KEY of 32 bytes of 1.
    let key = Identity::parse("AGE-SECRET-KEY-1QYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZ9K4CN");
    let file = bytes("age");
    assert_eq!(&decrypt(&key.unwrap(), &file).unwrap()[..], b"a share from Go");
}

/// What a signer of the first order wrote, on its order and on another.
fn signs_our_document(written: &str) {
    let (order, memo) = order();
    assert_eq!(order.memo(), memo);
    let signer = line(written, "signer");
    assert_eq!(sign_doc(&order, signer), line(written, "sign_doc"));
    let decoded = |name| STANDARD.decode(line(written, name)).unwrap();
    let account = AccountSignature { signer: signer.into(), public_key: decoded("public_key"), signature: decoded("signature") };
    assert!(check(&order, &account).is_ok());
    let other = Order { from: Digest32([0; 32]), ..order };
    assert_eq!(check(&other, &account), Err("the signature does not verify"));
}

#[test]
fn what_a_wallet_signs_by_adr_036_is_our_document_and_counts() {
    signs_our_document(COSMJS);
}

#[test]
fn what_the_chains_own_keyring_signs_by_adr_036_is_our_document_and_counts() {
    signs_our_document(SDK);
}
