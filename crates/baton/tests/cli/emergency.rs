//! Two emergencies as people play them, each with commands alone: an order with its notice by a witness over HTTP, and a lifeboat.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{scope, sleep};
use std::time::Duration;

use baton::world::{Build, Named, World};
use baton_core::escrow::key_digest;
use baton_core::fake::FakePlatform;
use baton_core::order::Order;
use baton_core::order::adr036::sign_doc;
use baton_core::order::signed::SignedOrder;
use baton_core::policy::{Council, Lifeboat, Member, Origin, Policy, Witnesses};
use baton_core::shares::age::Identity;
use baton_core::shares::Transcript;
use baton_devnet::Account;
use baton_host::escrows::Escrows;
use baton_host::files::write_whole;
use baton_host::shares::Attested;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::support::*;

const CHAIN: &str = "baton-devnet-1";

struct Place {
    dir: tempfile::TempDir,
    policy: Option<Policy>,
    witness: Option<(Child, String)>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.witness {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Place {
    fn new() -> Self {
        Place { dir: tempfile::tempdir().unwrap(), policy: None, witness: None }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(&self, name: &str) -> String {
        path(&self.at(name)).into()
    }

    /// Council keys of both kinds, a witness that runs, and the log of orders that it knows.
    fn people(&mut self) -> (Council, Witnesses) {
        let ada = baton(&["order", "key", "--out", &self.file("ada.key"), "--json"]).expect(0).json();
        let bob = baton(&["order", "key", "--p256", "--out", &self.file("bob.pem"), "--json"]).expect(0).json();
        let member = |name: &str, v: &serde_json::Value| Member { name: name.into(), key: v["key"].as_str().unwrap().parse().unwrap() };
        let council = Council { members: vec![member("ada", &ada), member("bob", &bob)], needed: 2, notice_blocks: 100 };
        let vkey = baton(&["witness", "key", "--name", "w.example", "--out", &self.file("w.key"), "--json"]).expect(0).json();
        let log = baton(&["order", "log", &self.file("orders.log"), "--new", CHAIN, "--json"]).expect(0).json();
        let mut child = Command::new(env!("CARGO_BIN_EXE_baton"))
            .args(["witness", "run", "--name", "w.example", "--key", "w.key", "--state", "w.redb", "--listen", "127.0.0.1:0", "--log"])
            .arg(format!("{}={}", log["log"].as_str().unwrap(), log["key"].as_str().unwrap()))
            .current_dir(self.dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.split(" on ").nth(1).unwrap().trim().trim_end_matches("/add-checkpoint").to_string();
        self.witness = Some((child, url));
        let keys = vec![vkey["vkey"].as_str().unwrap().parse().unwrap()];
        (council, Witnesses { keys, needed: 1, notice_secs: 2, dated_exports: false })
    }

    fn url(&self) -> &str {
        &self.witness.as_ref().unwrap().1
    }

    /// A network of one node that holds the seed in v1; v3 is there. Gives v1's identity digest and v3's measurement and signer.
    fn network(&mut self, edit: impl Fn(&mut Policy), keys: Option<(&[u8], &[u8])>) -> (String, [String; 2]) {
        let mut world = World::create(&self.at("net"), 7, 1).unwrap();
        world.produce_until(3).unwrap();
        for which in ["v1", "v3"] {
            if let Some((council, lifeboat)) = keys {
                Escrows::of(&self.at("net/nodes/node0").join(which)).put_keys(council, lifeboat).unwrap();
            }
        }
        let put = |world: &World, which: Named, origin: Origin, checkpoint: u64, svn: u16| {
            let mut policy = world.policy(origin, checkpoint).unwrap();
            edit(&mut policy);
            let build = Build::new(&format!("{svn}.0.0"), policy, 1, svn).unwrap();
            let dir = world.dir().join("builds");
            fs::create_dir_all(&dir).unwrap();
            write_whole(&dir.join(format!("{}.sgxs", which.name())), &build.image.sgxs).unwrap();
            write_whole(&dir.join(format!("{}.sig", which.name())), &build.image.sigstruct).unwrap();
            build
        };
        let v1 = put(&world, Named::V1, Origin::Genesis, 2, 1);
        world.genesis(0).unwrap();
        world.produce_until(8).unwrap();
        let committed = world.committed().unwrap();
        put(&world, Named::V3, committed, 5, 3);
        let v1_digest = world.status(0, Named::V1).unwrap().identity.digest().to_string();
        let v3 = world.status(0, Named::V3).unwrap().identity;
        fs::write(self.at("v1.toml"), toml::to_string(&v1.policy).unwrap()).unwrap();
        self.policy = Some(v1.policy);
        (v1_digest, [v3.measurement.to_string(), v3.signer.to_string()])
    }

    /// A network under a council and a witness.
    fn under_people(&mut self) -> (String, [String; 2]) {
        let (council, witnesses) = self.people();
        self.network(
            |policy| {
                policy.council = Some(council.clone());
                policy.witnesses = Some(witnesses.clone());
            },
            None,
        )
    }

    fn order(&self, name: &str, from: &str, [measurement, signer]: &[String; 2], by: &[&str]) {
        let out = self.file(name);
        baton(&[
            "order", "new", "handover", "--measurement", measurement, "--signer", signer, "--svn", "3", "--chain-id", CHAIN, "--from", from,
            "--sequence", "1", "--expiry-height", "9000", "--expires", "2090-01-01T00:00:00Z", "--reason", "v2 dies", "--out", &out,
        ])
        .expect(0);
        by.iter().for_each(|k| {
            baton(&["order", "sign", &out, "--key", &self.file(k)]).expect(0);
        });
    }

    /// Lets the witness date an order, and says what its notice is at.
    fn log(&self, order: &str, code: i32) -> Ran {
        baton(&["order", "log", &self.file("orders.log"), "--order", &self.file(order), "--witness", self.url(), "--policy", &self.file("v1.toml")])
            .expect(code)
    }

    fn wait_for(&self, name: &str) {
        for _ in 0..600 {
            if self.at(name).exists() {
                return;
            }
            sleep(Duration::from_millis(100));
        }
        panic!("{name} did not come");
    }
}

#[test]
fn h21_an_order_by_keys_of_both_kinds_is_dated_over_http_and_moves_the_seed_when_its_notice_is_over() {
    let mut p = Place::new();
    let (v1, v3) = p.under_people();
    p.order("fix.order", &v1, &v3, &["ada.key", "bob.pem"]);
    let seen = baton(&["order", "verify", &p.file("fix.order"), "--policy", &p.file("v1.toml")]).expect(0);
    assert_eq!(seen.row("signed by"), "ada, bob");
    let early = p.log("fix.order", 1);
    assert!(early.out.contains("notice ends") && early.out.contains("to go"), "{}{}", early.out, early.err);
    let carry = |code| {
        baton(&[
            "order", "carry", &p.file("fix.order"), &p.file("net"), "--node", "node0", "--build", "v1", "--to", "v3", "--log",
            &p.file("orders.log"), "--witness", p.url(),
        ])
        .expect(code)
    };
    assert!(carry(1).err.contains("seconds between"), "before its notice nothing leaves");
    sleep(Duration::from_secs(3));
    assert!(p.log("fix.order", 0).out.contains("the notice is over"));
    let done = carry(0);
    assert_eq!(done.row("custody"), "Holding");
    assert!(done.row("obeyed here").starts_with("order 1 (handover)"), "{}", done.out);
    // The next order freezes a build, in v3: public, and it waits for nothing.
    let (freeze, v3_digest) = (p.file("freeze.order"), done.row("build").to_owned());
    assert_eq!(v3_digest, "v3");
    let identity = World::open(&p.at("net"), 0, 0, baton::world::Platform::Sim).unwrap().status(0, Named::V3).unwrap().identity.digest().to_string();
    baton(&[
        "order", "new", "freeze", "--measurement", &"77".repeat(32), "--proposals-through", "9", "--chain-id", CHAIN, "--from", &identity,
        "--sequence", "2", "--expiry-height", "9000", "--expires", "2090-01-01T00:00:00Z", "--reason", "not that one", "--out", &freeze,
    ])
    .expect(0);
    ["ada.key", "bob.pem"].iter().for_each(|k| {
        baton(&["order", "sign", &freeze, "--key", &p.file(k)]).expect(0);
    });
    p.log("freeze.order", 1);
    let frozen = baton(&[
        "order", "carry", &freeze, &p.file("net"), "--node", "node0", "--build", "v3", "--log", &p.file("orders.log"), "--witness", p.url(),
    ])
    .expect(0);
    assert!(frozen.row("frozen").starts_with(&"77".repeat(32)), "{}", frozen.out);
    // Nobody else's order, and a log of another chain.
    p.order("other.order", &"33".repeat(32), &v3, &["ada.key", "bob.pem"]);
    p.log("other.order", 1);
    baton(&["order", "log", &p.file("orders.log"), "--new", CHAIN]).expect(2);
    baton(&["order", "log", &p.file("b.log"), "--new", "other-1"]).expect(0);
    let foreign = baton(&["order", "log", &p.file("b.log"), "--order", &p.file("fix.order")]).expect(1);
    assert!(foreign.err.contains("\"other-1\""), "{}", foreign.err);
    fs::write(p.at("bad.pem"), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
    assert!(baton(&["order", "sign", &p.file("fix.order"), "--key", &p.file("bad.pem")]).expect(2).err.contains("P-256"));
}

/// Three lifeboats and a council's key.
fn boats(p: &Place) -> (Vec<u8>, Vec<u8>, String) {
    let id = |n: u8| baton(&["lifeboat", "show", "--dir", &p.file(&format!("boat{n}")), "--json"]).expect(0).json();
    let (one, two) = (id(1), id(2));
    let machine = |v: &serde_json::Value| v["machine"].as_str().unwrap().to_string();
    let few = baton(&["lifeboat", "new", "--dir", &p.file("boat0"), "--machine", &machine(&one)]).expect(1);
    assert!(few.err.contains("3 to 50, each once"), "{}", few.err);
    baton(&["lifeboat", "new", "--dir", &p.file("boat0"), "--machine", &machine(&one), "--machine", &machine(&two)]).expect(0);
    let other = baton(&["lifeboat", "join", "--dir", &p.file("boat9"), "--from", &p.file("boat0")]).expect(1);
    assert!(other.err.contains("is not one that this lifeboat key was made for"), "{}", other.err);
    for n in [1, 2] {
        baton(&["lifeboat", "join", "--dir", &p.file(&format!("boat{n}")), "--from", &p.file("boat0")]).expect(0);
    }
    let mut list = String::from("needed = 2\n");
    for (name, n) in [("ana", 1), ("bo", 2), ("chen", 3)] {
        let key = Identity::generate(&mut FakePlatform::new(n));
        list += &format!("[[holder]]\nname = \"{name}\"\nrecipient = \"{}\"\n", key.recipient());
        fs::write(p.at(&format!("{name}.key")), key.danger_to_text().as_bytes()).unwrap();
    }
    fs::write(p.at("holders.toml"), list).unwrap();
    baton(&["ceremony", "council", "new", "--holders", &p.file("holders.toml"), "--dir", &p.file("council")]).expect(0);
    let published = Attested::from_cbor(&fs::read(p.at("council/ceremony-1.attested")).unwrap()).unwrap();
    let council = Transcript::from_cbor(&published.message).unwrap().terms().public_key.clone();
    (council, fs::read(p.at("boat0/lifeboat.key")).unwrap(), id(2)["identity"].as_str().unwrap().into())
}

fn boxed(p: &Place, boat: &str, (name, index): (&str, usize), order: &str, target: &str, out: &str) -> Ran {
    baton(&[
        "ceremony", "box", "--session", &p.file(&format!("{boat}/session.attested")), "--published", &p.file("council/ceremony-1.attested"),
        "--share", &p.file(&format!("council/shares-1/{index:02}-{name}.age")), "--identity", &p.file(&format!("{name}.key")), "--order",
        order, "--target", target, "--out", out,
    ])
}

#[test]
fn rule2_a_lifeboat_gives_an_escrow_to_a_new_build_by_commands_alone_and_a_drill_names_who_did_not_answer() {
    let mut p = Place::new();
    let (council, witnesses) = p.people();
    let (council_key, boat_key, boat_identity) = boats(&p);
    let keys = Lifeboat { key_digest: key_digest(&boat_key), council_digest: key_digest(&council_key) };
    let (_, v3) = p.network(
        |policy| {
            policy.council = Some(council.clone());
            policy.witnesses = Some(witnesses.clone());
            policy.lifeboat = Some(keys.clone());
        },
        Some((&council_key, &boat_key)),
    );
    let escrow = p.file("net/nodes/node0/v1/escrow/epoch-0000000000.escrow");
    assert!(Path::new(&escrow).exists(), "made at genesis, by itself");
    p.order("fix.order", &boat_identity, &v3, &["ada.key", "bob.pem"]);
    p.log("fix.order", 1);
    fs::create_dir(p.at("boxes")).unwrap();
    let release = |code| {
        baton(&[
            "lifeboat", "release", "--dir", &p.file("boat2"), "--escrow", &escrow, "--order", &p.file("fix.order"), "--published",
            &p.file("council/ceremony-1.attested"), "--boxes", &p.file("boxes"), "--target", &p.file("v3.target"), "--log",
            &p.file("orders.log"), "--witness", p.url(),
        ])
        .expect(code)
    };
    scope(|s| {
        let open = s.spawn(|| baton(&["lifeboat", "open", "--dir", &p.file("boat2"), "--chain-id", CHAIN, "--wait", "180"]));
        p.wait_for("boat2/hello");
        let target = s.spawn(|| {
            baton(&[
                "lifeboat", "request", &p.file("net"), "--node", "node0", "--build", "v3", "--hello", &p.file("boat2/hello"), "--out",
                &p.file("v3.target"), "--offer", &p.file("boat2/offer"), "--order", &p.file("fix.order"), "--log", &p.file("orders.log"),
                "--wait", "180",
            ])
        });
        p.wait_for("v3.target");
        let holder = |who| boxed(&p, "boat2", who, &p.file("fix.order"), &p.file("v3.target"), &p.file(&format!("boxes/{}.box", who.0)));
        assert!(holder(("ana", 1)).expect(0).row("agreed to").contains("v2 dies"));
        sleep(Duration::from_secs(3));
        p.log("fix.order", 0);
        let few = release(1);
        assert!(few.err.contains("1 of 2 needed holders (ana)"), "{}", few.err);
        holder(("chen", 3)).expect(0);
        release(0);
        let opened = open.join().unwrap().expect(0);
        assert_eq!((opened.row("shares of"), opened.row("ordered by")), ("ana, chen", "ada, bob"));
        let taken = target.join().unwrap().expect(0);
        assert!(taken.out.contains("serves by the order"), "{}", taken.out);
    });
    assert!(p.at("net/nodes/node0/v3/escrow/epoch-0000000000.escrow").exists(), "and the new build keeps one of its own");
    // The quarterly drill, with the same people: chen does not answer.
    let ran = scope(|s| {
        let drill = s.spawn(|| baton(&["lifeboat", "drill", "--published", &p.file("council/ceremony-1.attested"), "--dir", &p.file("boat0"), "--wait", "20"]));
        p.wait_for("boat0/boxes");
        for who in [("ana", 1), ("bo", 2)] {
            let out = p.file(&format!("boat0/boxes/{}.box", who.0));
            boxed(&p, "boat0", who, &p.file("boat0/drill.order"), &p.file("boat0/drill.target"), &out).expect(0);
        }
        drill.join().unwrap().expect(0)
    });
    assert_eq!((ran.row("answered"), ran.row("no good answer")), ("ana, bo", "chen"));
}

#[test]
fn a19_one_holder_and_the_networks_vote_sign_a_build_by_commands() {
    let p = Place::new();
    let build = "ab".repeat(32);
    let mut world = World::create(&p.at("net"), 7, 1).unwrap();
    world.produce_until(3).unwrap();
    let policy = world.policy(Origin::Genesis, 2).unwrap();
    fs::write(p.at("policy.toml"), toml::to_string(&policy).unwrap()).unwrap();
    let proposal = world.vote("v2", 400, &format!(r#"{{"enclave":{{"mrenclave":"{build}","svn":2}}}}"#)).unwrap().to_string();
    drop(world);
    let mut list = String::from("needed = 2\n[[holder]]\nnetwork = \"policy.toml\"\n");
    for (name, n) in [("ana", 1), ("bo", 2)] {
        let key = Identity::generate(&mut FakePlatform::new(n));
        list += &format!("[[holder]]\nname = \"{name}\"\nrecipient = \"{}\"\n", key.recipient());
        fs::write(p.at(&format!("{name}.key")), key.danger_to_text().as_bytes()).unwrap();
    }
    fs::write(p.at("holders.toml"), &list).unwrap();
    baton(&["ceremony", "signer", "new", "--holders", &p.file("holders.toml"), "--dir", &p.file("signer")]).expect(0);
    let agreement = |args: &[&str]| {
        let (session, policy) = (p.file("signer/session.attested"), p.file("policy.toml"));
        let base = ["ceremony", "agreement", "--session", &session, "--policy", &policy, "--measurement", &build, "--svn", "2"];
        baton(&[&base[..], args].concat())
    };
    scope(|s| {
        let sign = s.spawn(|| {
            baton(&[
                "ceremony", "signer", "sign", "--dir", &p.file("signer"), "--measurement", &build, "--svn", "2", "--out", &p.file("v2.sig"),
                "--vote", &p.file("vote.cbor"), "--wait", "120",
            ])
        });
        p.wait_for("signer/session.attested");
        p.wait_for("signer/boxes");
        assert!(agreement(&[]).expect(0).row("memo").starts_with("baton-fresh1:"));
        baton(&[
            "ceremony", "box", "--session", &p.file("signer/session.attested"), "--published", &p.file("signer/ceremony-1.attested"), "--share",
            &p.file("signer/shares-1/02-ana.age"), "--identity", &p.file("ana.key"), "--measurement", &build, "--svn", "2", "--out",
            &p.file("signer/boxes/ana.box"),
        ])
        .expect(0);
        agreement(&["--at", &p.file("net"), "--proposal", &proposal, "--out", &p.file("vote.cbor")]).expect(0);
        let signed = sign.join().unwrap().expect(0);
        let who = signed.row("agreed");
        assert!(who.contains("ana") && who.contains("network "), "{who}");
    });
    baton(&["sigstruct", "show", &p.file("v2.sig")]).expect(0);
    fs::write(p.at("bad.toml"), list.replace("network = ", "name = \"x\"\nnetwork = ")).unwrap();
    let both = baton(&["ceremony", "signer", "new", "--holders", &p.file("bad.toml"), "--dir", &p.file("n")]).expect(2);
    assert!(both.err.contains("or network alone"), "{}", both.err);
}

/// What the wallet of a devnet's validator answers to `order sign --signer`: the account, and its JSON.
fn wallet(world: &World, index: usize, order: &Order) -> (String, String) {
    use k256::ecdsa::signature::Signer as _;
    let (role, seed) = (b"operator", world.chain.config().seed);
    let of = [b"baton devnet key 1".as_slice(), &[role.len() as u8], role, &seed.to_be_bytes(), &(index as u64).to_be_bytes()].concat();
    let key = k256::ecdsa::SigningKey::from_slice(&Sha256::digest(of)).unwrap();
    let address = world.chain.address(Account::Validator(index));
    let signer = bech32::encode::<bech32::Bech32>(bech32::Hrp::parse("cosmos").unwrap(), &address).unwrap();
    let signature: k256::ecdsa::Signature = key.sign(sign_doc(order, &signer).as_bytes());
    let (public, signature) = (key.verifying_key().to_sec1_point(true), signature.normalize_s().to_bytes());
    let b64 = |b: &[u8]| STANDARD.encode(b);
    let json = format!(r#"{{"pub_key":{{"value":"{}"}},"signature":"{}"}}"#, b64(public.as_bytes()), b64(&signature));
    (signer, json)
}

#[test]
fn a05_validators_accounts_are_weighed_by_the_chains_records_before_anybody_waits_for_a_notice() {
    let mut p = Place::new();
    let (v1, v3) = p.under_people();
    p.order("fix.order", &v1, &v3, &[]);
    let world = World::open(&p.at("net"), 0, 0, baton::world::Platform::Sim).unwrap();
    let order = SignedOrder::from_bytes(&fs::read(p.at("fix.order")).unwrap()).unwrap().order().clone();
    let sign = |index: usize| {
        let (signer, answer) = wallet(&world, index, &order);
        fs::write(p.at("answer.json"), answer).unwrap();
        baton(&["order", "sign", &p.file("fix.order"), "--signer", &signer, "--wallet", &p.file("answer.json")]).expect(0);
    };
    let verify = |code| baton(&["order", "verify", &p.file("fix.order"), "--policy", &p.file("v1.toml"), "--at", &p.file("net")]).expect(code);
    // 100, 85, 70 and 55 of 310: two are too few, three enough.
    sign(0);
    sign(1);
    assert!(verify(1).out.contains("these have less"));
    sign(2);
    let enough = verify(0);
    assert!(enough.out.contains("validators with 255 of 310 power ordered it"), "{}", enough.out);
}
