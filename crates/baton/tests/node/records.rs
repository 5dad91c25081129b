//! Records get into blocks: what a mempool took and lost is sent again, and nothing else stands still meanwhile.

use std::process::{Command, Stdio};

use baton_attest::identity::{Digest32, PlatformId};
use baton_chain::record::{Kind, Record};

use crate::net::{Net, seat, text};
use crate::story::network;

fn memo(n: u8) -> String {
    let z = Digest32([n; 32]);
    Record { kind: Kind::Join, epoch: 0, proposal_id: 0, platform: PlatformId([n; 32]), target: z, request: z }.encode()
}

/// The heights whose blocks carry a memo.
fn blocks_with(net: &Net, memo: &str) -> Vec<u64> {
    let chain = net.rpc.chain();
    let has = |h: &u64| chain.txs(*h).unwrap().iter().any(|tx| String::from_utf8_lossy(tx).contains(memo));
    (1..=chain.height()).filter(has).collect()
}

#[test]
fn h15_a_record_that_a_mempool_lost_is_sent_again_until_it_is_in_a_block() {
    let (net, _) = network(1);
    // Lost each time: it ends, and says so.
    net.rpc.swallow(u64::MAX);
    let refused = net.run(0, &["record", "send", &memo(1), "--wait", "3"]).refused();
    assert!(refused.contains("sent 3 times") && refused.contains("is in no block") && refused.contains("halted chain"), "{refused}");
    assert!(blocks_with(&net, &memo(1)).is_empty());
    // Lost once.
    net.rpc.swallow(1);
    let got = net.json(0, &["record", "send", &memo(2), "--wait", "60"]);
    assert!(got["sent"].as_u64().unwrap() >= 2, "{got:#}");
    assert_eq!(blocks_with(&net, &memo(2)), [got["height"].as_u64().unwrap()]);
    // Not lost: sent once.
    let got = net.json(0, &["record", "send", &memo(3), "--wait", "60"]);
    assert_eq!((got["sent"].as_u64(), blocks_with(&net, &memo(3))), (Some(1), vec![got["height"].as_u64().unwrap()]));
}

#[test]
fn a_node_without_a_signer_gets_its_record_into_a_block_by_a_peer_also_if_the_first_broadcast_is_lost() {
    let (mut net, _) = network(3);
    net.rpc.swallow(1);
    let got = net.json(2, &["record", "send", &memo(4), "--wait", "30"]);
    assert_eq!(blocks_with(&net, &memo(4)), [got["height"].as_u64().unwrap()], "{got:#}");
    // Without the daemon too; and with nobody who could publish it says so.
    net.kill(2);
    let got = net.json(2, &["record", "send", &memo(5), "--wait", "30"]);
    assert_eq!(blocks_with(&net, &memo(5)), [got["height"].as_u64().unwrap()], "{got:#}");
    net.kill(0);
    net.kill(1);
    let refused = net.run(2, &["record", "send", &memo(6), "--wait", "1"]).refused();
    assert!(refused.contains("could not be sent") && refused.contains(&net.nodes[0].port.to_string()), "{refused}");
}

#[test]
fn a_join_whose_record_is_lost_sends_it_again_and_ends_with_the_keyring() {
    let mut net = Net::new(2);
    let v1 = net.build("v1", 1, None);
    for i in 0..2 {
        net.install(i, &v1);
        net.start(i);
    }
    net.json(0, &["genesis"]);
    let giver = format!("http://127.0.0.1:{}", net.nodes[0].port);
    net.rpc.swallow(u64::MAX);
    let refused = net.run(1, &["join", "--peer", &giver, "--wait", "2"]).refused();
    assert!(refused.contains("is in no block"), "{refused}");
    assert_eq!(seat(&net.status(1).unwrap(), "v1")["state"], "empty");
    net.rpc.swallow(1);
    assert_eq!(net.json(1, &["join", "--peer", &giver, "--wait", "15"])["state"], "holding");
    assert_eq!(net.rpc.to_swallow(), 0);
}

#[test]
fn while_a_record_is_waited_for_the_steps_go_on_and_the_operator_is_answered() {
    let (net, _) = network(1);
    net.rpc.swallow(u64::MAX);
    let mut waits = Command::new(env!("CARGO_BIN_EXE_baton"))
        .args(["record", "send", &memo(7), "--wait", "500", "--home", text(&net.nodes[0].home)])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let taken = net.rpc.to_swallow();
    while net.rpc.to_swallow() == taken && taken == u64::MAX {
        assert!(std::time::Instant::now() < end, "nothing was sent");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    // Trusted heads move by ticks alone.
    let head = seat(&net.status(0).unwrap(), "v1")["head"].as_u64().unwrap();
    net.until(0, "went on", |s| seat(s, "v1")["head"].as_u64().unwrap() > head + 10);
    assert_eq!(net.json(0, &["vault", "put", "treasure", "silver"])["build"], seat(&net.status(0).unwrap(), "v1")["measurement"]);
    assert!(waits.try_wait().unwrap().is_none(), "it still waits");
    assert_eq!(net.page(0, "/healthz").unwrap().0, 200);
    let metrics = net.page(0, "/metrics").unwrap().1;
    let stamp = metrics.lines().find_map(|l| l.strip_prefix("baton_last_tick_timestamp_seconds ")).unwrap_or_else(|| panic!("{metrics}"));
    assert!(stamp.parse::<u64>().unwrap() > 0, "{stamp}");
    waits.kill().unwrap();
    waits.wait().unwrap();
}
