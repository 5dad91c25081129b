//! A chain over RPC: the devnet answers as a node does, and in most tests as a bad one.

mod recorded;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use baton_chain::gov::{GOV_STORE, PLAN_KEY, UPGRADE_STORE, proposal_key};
use baton_devnet::rpc::RpcServer;
use baton_devnet::{Account, Config, Devnet, Text, YES};
use baton_host::chain::{ChainSource, Trouble};
use baton_host::rpc::{CommandSigner, EndpointError, Fee, KeyError, Keyfile, RpcConfig, RpcSource, SendError};
use serde_json::{Value, json};

fn chain() -> Devnet {
    let mut chain = Devnet::new(Config::default()).unwrap();
    chain.produce_until(12).unwrap();
    chain
}

fn server() -> RpcServer {
    RpcServer::start(Arc::new(Mutex::new(chain()))).unwrap()
}

fn config(urls: &[String]) -> RpcConfig {
    RpcConfig {
        timeout: Duration::from_secs(2),
        retries: 0,
        pause: Duration::from_millis(1),
        ..RpcConfig::new("baton-devnet-1", urls.to_vec())
    }
}

fn source(servers: &[&RpcServer]) -> RpcSource {
    RpcSource::new(config(&servers.iter().map(|s| s.url()).collect::<Vec<_>>())).unwrap()
}

/// Changes one text somewhere in an answer.
fn change(answer: &mut Value, path: &str, f: impl Fn(&str) -> String) {
    let at = answer.pointer_mut(path).unwrap_or_else(|| panic!("{path}"));
    *at = f(at.as_str().unwrap_or_else(|| panic!("{path} is no text"))).into();
}

/// Another character of the same alphabet at the end of a text (before base64's padding).
fn flip(text: &str) -> String {
    let end = text.trim_end_matches('=').len() - 2;
    let mut bytes = text.as_bytes().to_vec();
    bytes[end] = if bytes[end] == b'A' { b'B' } else { b'A' };
    String::from_utf8(bytes).unwrap()
}

#[test]
fn light_blocks_and_proofs_over_rpc_are_those_of_the_chain_itself() {
    let s = server();
    let rpc = source(&[&s]);
    for h in [1, 2, 7, 12] {
        let direct = ChainSource::light_block(&*s.chain(), h).unwrap();
        let got = rpc.light_block(h).unwrap();
        assert_eq!(got.untrusted_checkpoint().unwrap(), direct.untrusted_checkpoint().unwrap(), "{h}");
        let hash = |v: &[u8]| baton_chain::light::validator_set_hash(v).unwrap();
        assert_eq!(hash(&got.validators), hash(&direct.validators));
        assert_eq!(hash(&got.next_validators.unwrap()), hash(&direct.next_validators.unwrap()));
    }
    let direct = ChainSource::state(&*s.chain(), GOV_STORE, &[0x30], 9).unwrap();
    assert_eq!(rpc.state(GOV_STORE, &[0x30], 9).unwrap(), direct);
    let absent = rpc.state(UPGRADE_STORE, PLAN_KEY, 9).unwrap();
    assert_eq!(absent.value, None, "absence is proven too");
    assert_eq!(rpc.latest().unwrap(), 12);
}

#[test]
fn a_set_of_more_than_one_page_is_read_whole() {
    let config = Config { powers: (0..130).map(|i| 10 + i).collect(), balance: 1000, ..Config::default() };
    let mut chain = Devnet::new(config).unwrap();
    chain.produce_until(4).unwrap();
    let s = RpcServer::start(Arc::new(Mutex::new(chain))).unwrap();
    let rpc = source(&[&s]);
    assert!(rpc.light_block(3).unwrap().validators.len() > 130 * 40);
}

#[test]
fn an_endpoint_of_another_chain_is_named_at_once() {
    let other = Devnet::new(Config { chain_id: "other-1".into(), ..Config::default() }).unwrap();
    let s = RpcServer::start(Arc::new(Mutex::new(other))).unwrap();
    let e = source(&[&s]).check_chain_id().unwrap_err();
    assert_eq!(e.trouble, Trouble::Lying);
    assert!(e.to_string().contains(&s.url()) && e.to_string().contains("other-1") && e.to_string().contains("baton-devnet-1"), "{e}");
}

#[test]
fn a_pruned_height_is_said_to_be_pruned_and_another_endpoint_is_asked() {
    let (pruned, whole) = (server(), server());
    pruned.prune_below(8);
    let e = source(&[&pruned]).light_block(5).unwrap_err();
    assert_eq!(e.trouble, Trouble::Pruned, "{e}");
    assert!(e.to_string().contains(&pruned.url()) && e.to_string().contains("lowest height is 8"), "{e}");
    let e = source(&[&pruned]).state(GOV_STORE, &[0x30], 8).unwrap_err();
    assert_eq!(e.trouble, Trouble::Pruned, "{e}");
    source(&[&pruned, &whole]).light_block(5).unwrap();
}

#[test]
fn a_future_height_is_said_to_be_in_the_future() {
    let s = server();
    let e = source(&[&s]).light_block(13).unwrap_err();
    assert_eq!(e.trouble, Trouble::Future, "{e}");
    let e = source(&[&s]).state(GOV_STORE, &[0x30], 14).unwrap_err();
    assert_eq!(e.trouble, Trouble::Future, "{e}");
}

#[test]
fn an_endpoint_that_hangs_is_left_after_its_time() {
    let (hangs, good) = (server(), server());
    hangs.play(|_, _, _| {
        std::thread::sleep(Duration::from_secs(3));
        None
    });
    let mut c = config(&[hangs.url()]);
    c.timeout = Duration::from_millis(200);
    let e = RpcSource::new(c.clone()).unwrap().light_block(5).unwrap_err();
    assert_eq!(e.trouble, Trouble::Unreachable, "{e}");
    assert!(e.to_string().contains(&hangs.url()), "{e}");
    c.endpoints.push(good.url());
    RpcSource::new(c).unwrap().light_block(5).unwrap();
}

#[test]
fn nobody_listens_and_the_error_names_the_endpoint() {
    let url = server().url();
    let e = RpcSource::new(config(std::slice::from_ref(&url))).unwrap().latest().unwrap_err();
    assert_eq!(e.trouble, Trouble::Unreachable);
    assert!(e.to_string().contains(&url), "{e}");
}

#[test]
fn the_endpoint_that_answered_last_is_asked_first() {
    let (dead, good) = (server(), server());
    let dead_url = dead.url();
    let rpc = RpcSource::new(config(&[dead_url, good.url()])).unwrap();
    drop(dead);
    rpc.light_block(3).unwrap();
    let before = good.asked();
    rpc.light_block(4).unwrap();
    assert_eq!(good.asked() - before, 3, "commit and two validator sets, and nothing was tried elsewhere first");
}

/// Each lie: in which method's answer, and how. The liar is named, the truth comes from the other endpoint.
#[track_caller]
fn lie(method: &'static str, how: impl Fn(&mut Value) + Send + Sync + 'static) {
    let (liar, good) = (server(), server());
    liar.play(move |m, _, mut answer| {
        if m == method {
            how(&mut answer);
        }
        Some(answer)
    });
    let alone = source(&[&liar]);
    let ask = |s: &RpcSource| -> Result<(), baton_host::chain::SourceError> {
        s.light_block(7)?;
        s.state(GOV_STORE, &[0x30], 7).map(|_| ())
    };
    let e = ask(&alone).unwrap_err();
    assert_eq!(e.trouble, Trouble::Lying, "{e}");
    assert!(e.to_string().contains(&liar.url()), "{e}");
    let both = source(&[&liar, &good]);
    ask(&both).unwrap();
}

#[test]
fn a_header_with_a_flipped_app_hash_is_a_lie() {
    lie("commit", |a| change(a, "/result/signed_header/header/app_hash", flip));
}

#[test]
fn a_flipped_signature_of_the_largest_validator_is_a_lie() {
    lie("commit", |a| change(a, "/result/signed_header/commit/signatures/0/signature", flip));
}

#[test]
fn an_old_block_for_a_new_height_is_a_lie() {
    let old = {
        let s = server();
        let chain = s.chain();
        let signed = chain.signed_header(3).unwrap();
        json!({"header": signed.header, "commit": signed.commit})
    };
    lie("commit", move |a| a["result"]["signed_header"] = old.clone());
}

#[test]
fn a_validator_set_with_a_changed_power_is_a_lie() {
    lie("validators", |a| change(a, "/result/validators/1/voting_power", |p| format!("{p}0")));
}

#[test]
fn validators_of_another_height_are_a_lie() {
    lie("validators", |a| change(a, "/result/block_height", |_| "2".into()));
}

#[test]
fn fewer_validators_than_the_total_are_refused() {
    lie("validators", |a| {
        a["result"]["validators"].as_array_mut().unwrap().pop();
        a["result"]["total"] = "3".into();
    });
}

#[test]
fn a_changed_value_is_a_lie() {
    lie("abci_query", |a| change(a, "/result/response/value", flip));
}

#[test]
fn a_value_said_to_be_absent_is_a_lie() {
    lie("abci_query", |a| a["result"]["response"]["value"] = Value::Null);
}

#[test]
fn the_state_of_another_height_is_a_lie() {
    lie("abci_query", |a| change(a, "/result/response/height", |_| "4".into()));
}

#[test]
fn a_proof_of_another_key_is_a_lie() {
    lie("abci_query", |a| change(a, "/result/response/key", |_| "MQ==".into()));
}

#[test]
fn what_is_no_json_is_no_answer() {
    lie("commit", |a| a["result"] = Value::Null);
}

#[test]
fn a_liar_is_remembered_with_what_it_said() {
    let (liar, good) = (server(), server());
    liar.play(|m, _, mut a| {
        if m == "commit" {
            change(&mut a, "/result/signed_header/header/app_hash", flip);
        }
        Some(a)
    });
    let rpc = source(&[&liar, &good]);
    rpc.light_block(7).unwrap();
    let caught = rpc.caught();
    assert_eq!(caught.len(), 1, "{caught:?}");
    assert_eq!((caught[0].endpoint.as_str(), caught[0].times), (liar.url().as_str(), 1));
}

#[test]
fn a_height_that_only_a_liar_has_is_not_the_newest() {
    let (liar, good) = (server(), server());
    liar.play(|m, _, mut a| {
        if m == "status" {
            change(&mut a, "/result/sync_info/latest_block_height", |_| "999".into());
        }
        Some(a)
    });
    assert_eq!(source(&[&liar, &good]).latest().unwrap(), 12);
}

#[test]
fn a_lagging_endpoint_does_not_hold_the_head_back() {
    let (behind, ahead) = (server(), server());
    ahead.chain().produce_until(20).unwrap();
    assert_eq!(source(&[&behind, &ahead]).latest().unwrap(), 20);
    source(&[&behind, &ahead]).light_block(18).unwrap();
}

#[test]
fn a_chain_that_was_rolled_back_shows_its_new_history() {
    let s = server();
    s.chain().produce_until(30).unwrap();
    let rpc = source(&[&s]);
    let hash = |h| rpc.light_block(h).unwrap().untrusted_checkpoint().unwrap().hash;
    rpc.latest().unwrap();
    let (settled, newest) = (hash(20), hash(30));
    {
        let mut chain = s.chain();
        chain.rollback(true).unwrap();
        chain.rollback(true).unwrap();
        chain.advance_time(Duration::from_secs(7));
        chain.produce_until(31).unwrap();
    }
    rpc.latest().unwrap();
    assert_ne!(hash(30), newest);
    assert_eq!(hash(20), settled);
    rpc.state(GOV_STORE, &[0x30], 30).unwrap();
}

#[test]
fn the_end_of_a_vote_is_found_without_the_pruned_blocks() {
    let s = server();
    let direct = {
        let chain = s.chain();
        let time = chain.block_time(9).unwrap();
        (time.seconds, time.nanos)
    };
    s.prune_below(5);
    assert_eq!(source(&[&s]).vote_end(direct, 12).unwrap(), Some(9));
    assert_eq!(source(&[&s]).vote_end((direct.0 + 10_000, 0), 12).unwrap(), None, "not over yet");
}

#[test]
fn at_a_halted_chain_the_plan_is_proven_by_header_x_and_nothing_above() {
    let mut chain = chain();
    let id = chain.propose(vec![Devnet::upgrade_message("v2", 60, "{}")], &Text::titled("v2"), false).unwrap().unwrap();
    chain.carry(id, YES).unwrap();
    chain.produce_until(60).unwrap();
    assert!(chain.halted().is_some());
    let s = RpcServer::start(Arc::new(Mutex::new(chain))).unwrap();
    let rpc = source(&[&s]);
    assert_eq!(rpc.latest().unwrap(), 60);
    assert!(rpc.state(UPGRADE_STORE, PLAN_KEY, 60).unwrap().value.is_some());
    assert!(rpc.state(GOV_STORE, &proposal_key(id), 60).unwrap().value.is_some());
    assert_eq!(rpc.state(UPGRADE_STORE, PLAN_KEY, 61).unwrap_err().trouble, Trouble::Future);
}

fn fee() -> Fee {
    Fee { denom: "stake".into(), amount: 0, gas: 200_000 }
}

fn key_of(s: &RpcServer, mode: u32) -> (tempfile::TempDir, std::path::PathBuf) {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    std::fs::write(&path, hex::encode(s.chain().account_secret(Account::User(1)))).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    (dir, path)
}

#[test]
fn a_key_file_sends_a_memo_and_its_inclusion_is_proven() {
    let s = server();
    let (_dir, path) = key_of(&s, 0o600);
    let mut rpc = source(&[&s]).with_sender(Keyfile::read(&path, "cosmos", fee()).unwrap());
    let hash = rpc.send_memo("a memo").unwrap();
    assert_eq!(rpc.included(&hash).unwrap(), None, "in the mempool is not in a block");
    s.chain().produce_block().unwrap();
    let got = rpc.included(&hash).unwrap().unwrap();
    assert_eq!(got, ChainSource::included(&*s.chain(), &hash).unwrap().unwrap());
    let again = rpc.send_memo("a memo").unwrap();
    assert_ne!(hash, again, "the next sequence is used");
    let waiting = rpc.send_memo("another").unwrap();
    s.chain().produce_block().unwrap();
    assert!(rpc.included(&waiting).unwrap().is_some(), "also behind one that waits for its block");
}

#[test]
fn a_broadcast_on_a_halted_chain_is_lost_and_can_be_sent_again() {
    let mut chain = chain();
    let id = chain.propose(vec![Devnet::upgrade_message("v2", 60, "{}")], &Text::titled("v2"), false).unwrap().unwrap();
    chain.carry(id, YES).unwrap();
    chain.produce_until(60).unwrap();
    let s = RpcServer::start(Arc::new(Mutex::new(chain))).unwrap();
    let (_dir, path) = key_of(&s, 0o600);
    let mut rpc = source(&[&s]).with_sender(Keyfile::read(&path, "cosmos", fee()).unwrap());
    let lost = rpc.send_memo("m").unwrap();
    s.chain().resume_with_handler("v2").unwrap();
    s.chain().produce_block().unwrap();
    assert_eq!(rpc.included(&lost).unwrap(), None);
    let sent = rpc.send_memo("m").unwrap();
    s.chain().produce_block().unwrap();
    assert!(rpc.included(&sent).unwrap().is_some());
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let s = server();
    let (_dir, path) = key_of(&s, 0o640);
    let e = Keyfile::read(&path, "cosmos", fee()).map(|_| ()).unwrap_err();
    assert!(matches!(e, KeyError::Permissions { got: 0o640, .. }), "{e}");
}

#[test]
fn a_key_without_an_account_says_so() {
    let s = server();
    let (_dir, path) = key_of(&s, 0o600);
    std::fs::write(&path, "11".repeat(32)).unwrap();
    let mut rpc = source(&[&s]).with_sender(Keyfile::read(&path, "cosmos", fee()).unwrap());
    let e = rpc.send_memo("m").unwrap_err().to_string();
    assert!(e.contains("cosmos1") && e.contains("does not exist") && e.contains("let a peer publish"), "{e}");
}

#[test]
fn a_transaction_that_is_another_one_is_a_lie() {
    let s = server();
    let (_dir, path) = key_of(&s, 0o600);
    let mut rpc = source(&[&s]).with_sender(Keyfile::read(&path, "cosmos", fee()).unwrap());
    let hash = rpc.send_memo("m").unwrap();
    s.chain().produce_block().unwrap();
    s.play(|m, _, mut a| {
        if m == "tx" {
            change(&mut a, "/result/tx", flip);
        }
        Some(a)
    });
    assert_eq!(rpc.included(&hash).unwrap_err().trouble, Trouble::Lying);
}

#[test]
fn without_a_signer_nothing_is_sent() {
    let s = server();
    let e = source(&[&s]).send_memo("m").unwrap_err();
    assert!(e.to_string().contains("signer"), "{e}");
}

fn command(script: &str, secs: u64) -> CommandSigner {
    let argv = ["/bin/sh", "-c", script, "signer", "{memo}"].map(String::from).to_vec();
    CommandSigner::new(argv, Duration::from_secs(secs)).unwrap()
}

#[test]
fn the_chains_own_command_sends_and_its_hash_is_read() {
    let s = server();
    let hash = "AB".repeat(32);
    let mut rpc = source(&[&s]).with_sender(command(&format!("echo gas estimate: 5 >&2; echo '{{\"txhash\":\"{hash}\",\"code\":0,\"raw_log\":\"'$1'\"}}'"), 10));
    assert_eq!(rpc.send_memo("m").unwrap(), [0xab; 32]);
}

#[test]
fn a_command_that_fails_hangs_or_says_nothing_is_an_error_that_says_so() {
    let s = server();
    for (script, secs, wanted) in [
        ("echo no such key >&2; exit 3", 10, "no such key"),
        ("sleep 60", 1, "gave no answer in 1 s"),
        ("echo done", 10, "--output json"),
        ("echo '{\"txhash\":\"abc\"}'", 10, "--output json"),
        ("echo '{\"txhash\":\"'$(printf 00%.0s $(seq 32))'\",\"code\":5,\"raw_log\":\"insufficient funds\"}'", 10, "let a peer publish"),
    ] {
        let mut rpc = source(&[&s]).with_sender(command(script, secs));
        let e = rpc.send_memo("m").unwrap_err().to_string();
        assert!(e.contains(wanted), "{script}: {e}");
    }
    let mut rpc = source(&[&s]).with_sender(CommandSigner::new(vec!["/no/such".into(), "{memo}".into()], Duration::from_secs(1)).unwrap());
    assert!(rpc.send_memo("m").unwrap_err().to_string().contains("/no/such"));
    assert!(matches!(CommandSigner::new(vec!["x".into(), "y".into()], Duration::from_secs(1)), Err(SendError::NoMemo)));
}

#[test]
fn a_url_that_is_none_is_refused() {
    for bad in ["", "ftp://x", "127.0.0.1:26657", "http://", "https://"] {
        let e = RpcSource::new(RpcConfig::new("c", vec![bad.into()])).unwrap_err();
        assert!(matches!(e, EndpointError::Url(_)), "{bad}: {e}");
    }
    assert!(matches!(RpcSource::new(RpcConfig::new("c", Vec::new())), Err(EndpointError::None)));
    RpcSource::new(RpcConfig::new("c", vec!["tcp://127.0.0.1:26657".into(), "https://rpc.example.com/".into()])).unwrap();
}

/// A server that takes every question and answers none; and how many it was asked.
fn silent() -> (String, Arc<std::sync::atomic::AtomicU64>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let count = asked.clone();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming() {
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            open.push(stream);
        }
    });
    (url, asked)
}

#[test]
fn an_endpoint_that_hangs_is_asked_once_and_then_last_for_a_while() {
    let good = server();
    let (url, asked) = silent();
    let times = || asked.load(std::sync::atomic::Ordering::SeqCst);
    let config = RpcConfig { timeout: Duration::from_millis(300), ..config(&[url.clone(), good.url()]) };
    let rpc = RpcSource::new(config.clone()).unwrap();
    assert_eq!(rpc.light_block(3).unwrap().untrusted_checkpoint().unwrap().height, 3);
    assert_eq!(times(), 1);
    for h in 4..9 {
        assert_eq!(rpc.latest().unwrap(), 12);
        rpc.light_block(h).unwrap();
        rpc.earliest().unwrap();
    }
    assert_eq!(times(), 1, "neither the newest height nor a block asks it again");
    // Whoever wants to know how each endpoint is asks each of them.
    assert!(rpc.statuses()[0].as_ref().unwrap_err().reason.contains("no answer in time"));
    assert_eq!(times(), 2);
    // After a while it gets another chance, once.
    let soon = RpcSource::new(RpcConfig { aside: Duration::ZERO, ..config }).unwrap();
    soon.latest().unwrap();
    soon.latest().unwrap();
    assert_eq!(times(), 4);
}

#[test]
fn endpoints_that_hang_are_asked_when_no_other_answers() {
    let (url, asked) = silent();
    let dead = "http://127.0.0.1:9".to_string();
    let rpc = RpcSource::new(RpcConfig { timeout: Duration::from_millis(200), ..config(&[url, dead]) }).unwrap();
    for times in 1..4 {
        let e = rpc.latest().unwrap_err();
        assert_eq!(e.trouble, Trouble::Unreachable);
        assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), times);
    }
}
