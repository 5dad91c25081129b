//! Every drill, played to its end. A test's name carries the hazards that it shows the way back from.

fn play(name: &str) {
    let dir = tempfile::tempdir().unwrap();
    let played = baton::drill::play(name, &dir.path().join("net"), 7, &mut |_| ()).unwrap_or_else(|e| panic!("{name}: {e:#}"));
    assert!(played.steps.len() >= 3, "{:?}", played.steps);
}

macro_rules! drills {
    ($($test:ident: $name:literal),* $(,)?) => {
        $(#[test]
        fn $test() {
            play($name);
        })*

        #[test]
        fn every_drill_is_a_test() {
            let tested = [$($name),*];
            for (name, _) in baton::drill::list() {
                assert!(tested.contains(&name), "{name}");
            }
        }
    };
}

drills! {
    drill_h21_crash_at_x1: "crash-at-x1",
    drill_h20_skip_upgrade: "skip-upgrade",
    drill_h19_h23_long_halt: "long-halt",
    drill_h18_lost_signing_key: "lost-signing-key",
    drill_native_rollback: "native-rollback",
    drill_network_rewind: "network-rewind",
    drill_h13_late_node: "late-node",
    drill_h01_cpusvn_downgrade: "cpusvn-downgrade",
    drill_half_the_network_gone: "half-the-network-gone",
    drill_all_builds_broken: "all-builds-broken",
}

#[test]
fn a_drill_that_is_not_there_is_named_with_those_that_are() {
    let dir = tempfile::tempdir().unwrap();
    let e = baton::drill::play("flood", dir.path(), 7, &mut |_| ()).unwrap_err().to_string();
    assert!(e.contains("flood") && e.contains("crash-at-x1"), "{e}");
}
