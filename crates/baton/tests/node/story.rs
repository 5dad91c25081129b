//! The whole story on four machines: genesis, joins, a vote, the handover in the lead window, the plan's height, receipts,
//! the barrier, erased copies, and the vault read by the new build.

use crate::net::{Net, seat};

/// Genesis on node 0, the others join, a value in the vault.
pub fn network(n: usize) -> (Net, String) {
    network_with(n, |_| String::new())
}

/// The same with more sections in the policy of the first build.
pub fn network_with(n: usize, sections: impl Fn(&Net) -> String) -> (Net, String) {
    let mut net = Net::new(n);
    let v1 = net.build_with("v1", 1, None, &sections(&net));
    for i in 0..n {
        net.install(i, &v1);
        net.start(i);
    }
    let genesis = net.json(0, &["genesis"]);
    assert_eq!(genesis["state"], "holding");
    let commitment = genesis["commitment"].as_str().expect("a commitment").to_string();
    let giver = format!("http://127.0.0.1:{}", net.nodes[0].port);
    for i in 1..n {
        let joined = net.json(i, &["join", "--peer", &giver]);
        assert_eq!(joined["state"], "holding", "{joined:#}");
    }
    net.json(0, &["vault", "put", "treasure", "under the third oak"]);
    (net, commitment)
}

#[test]
fn a_voted_upgrade_goes_through_on_four_machines_without_anybody_touching_them() {
    let (net, commitment) = network(4);
    let v2 = net.build("v2", 2, Some(&commitment));
    (0..4).for_each(|i| net.install(i, &v2));
    let height = net.vote("enclave-v2", 40, &v2);
    net.until(0, "sees the plan", |s| s["plan"]["name"] == "enclave-v2");
    // What people can look at while the plan is pending.
    let checked = net.json(0, &["proposal", "check", "1", "--build", v2.to_str().unwrap()]);
    assert_eq!((checked["accept"].as_bool(), checked["status"].as_str()), (Some(true), Some("PASSED")), "{checked:#}");
    let v1 = net.dir.path().join("v1.sgxs");
    net.run(0, &["proposal", "check", "1", "--build", v1.to_str().unwrap()]).refused();
    let recording = net.dir.path().join("recording.json");
    net.json(0, &["evidence", "record", "--plan", "enclave-v2", "--out", recording.to_str().unwrap()]);
    let judged = crate::net::baton(&["evidence", "verify", recording.to_str().unwrap(), "--json"]).ok().json();
    assert_eq!(judged["measurement"], checked["measurement"], "the recording shows the vote by itself: {judged:#}");
    for i in 0..4 {
        net.until(i, "rehearsed", |s| seat(s, "v2")["rehearsed_as_source"] == true);
        net.until(i, "confirmed", |s| seat(s, "v1")["state"] == "confirmed" && seat(s, "v2")["state"] == "received");
        assert!(seat(&net.status(i).unwrap(), "v1")["serving"] == true, "serving is never taken away");
        net.run(i, &["guard", "--plan", "enclave-v2", "--", "true"]).ok();
    }
    assert!(net.height() < height, "handed over in the lead window");
    net.wait_height(height);
    for i in 0..4 {
        net.until(i, "activated", |s| seat(s, "v2")["serving"] == true);
        let got = net.json(i, &["vault", "get", "treasure"]);
        assert_eq!(got["value"], "under the third oak");
        assert_eq!(got["build"], seat(&net.status(i).unwrap(), "v2")["measurement"]);
    }
    net.resume("enclave-v2");
    for i in 0..4 {
        net.until(i, "erased", |s| seat(s, "v1")["state"] == "retired");
        let got = net.json(i, &["vault", "get", "treasure"]);
        assert_eq!(got["value"], "under the third oak");
    }
}
