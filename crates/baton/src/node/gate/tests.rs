use super::*;

const A: Measurement = Measurement([1; 32]);
const B: Measurement = Measurement([2; 32]);

fn info(m: Measurement) -> String {
    format!(r#"{{"enclave":{{"mrenclave":"{m}"}}}}"#)
}

fn halted(name: &str, height: u64, info: String) -> UpgradeInfo {
    UpgradeInfo { name: name.into(), height, info }
}

fn seen(height: u64, measurement: Option<Measurement>) -> PlanNote {
    PlanNote { name: "v2".into(), height, measurement, unreadable: None }
}

fn received(build: Measurement, plan: Option<(&str, u64)>) -> Confirmed {
    let plan = plan.map(|(name, height)| Bound { name: name.into(), height });
    Confirmed { measurement: build, build: "b".into(), state: "received".into(), serves: false, by_order: false, plan }
}

fn judge(plan: Option<&str>, build: Option<Measurement>, seen: Option<&PlanNote>, halted: Option<&UpgradeInfo>, all: &[Confirmed]) -> Result<Option<Measurement>, Held> {
    Question { plan, build, seen, halted }.judge(|m| Ok(all.iter().find(|c| c.measurement == *m).cloned()))
}

#[test]
fn h14_what_the_chain_halted_for_counts_for_more_than_what_this_node_saw() {
    // Overwritten while the daemon was down: same name, same height, another build.
    let (note, all) = (seen(100, Some(A)), [received(A, Some(("v2", 100)))]);
    let other = halted("v2", 100, info(B));
    assert_eq!(judge(Some("v2"), None, Some(&note), None, &all), Ok(Some(A)), "nothing says otherwise");
    assert_eq!(judge(Some("v2"), None, Some(&note), Some(&other), &all), Err(Held::NotConfirmed(B)));
    assert!(matches!(judge(Some("v2"), Some(A), Some(&note), Some(&other), &all), Err(Held::OtherBuild { .. })));
    assert!(matches!(judge(None, Some(A), None, Some(&other), &all), Err(Held::OtherBuild { .. })));
    assert_eq!(judge(Some("v2"), None, Some(&note), Some(&halted("v2", 100, info(A))), &all), Ok(Some(A)));
}

#[test]
fn h14_a_build_that_was_confirmed_for_another_name_or_height_is_held() {
    let all = [received(A, Some(("v2", 100)))];
    let at = |height| halted("v2", height, info(A));
    for height in [99, 101] {
        assert!(matches!(judge(Some("v2"), None, None, Some(&at(height)), &all), Err(Held::OtherPlan { .. })), "{height}");
        assert!(matches!(judge(None, Some(A), None, Some(&at(height)), &all), Err(Held::OtherPlan { .. })), "{height}");
        assert!(matches!(judge(Some("v2"), None, Some(&seen(height, Some(A))), None, &all), Err(Held::OtherPlan { .. })), "{height}");
    }
    assert!(matches!(judge(None, Some(A), None, Some(&halted("v3", 100, info(A))), &all), Err(Held::OtherPlan { .. })));
    // A handover whose plan nobody knows is for no plan.
    let unbound = [received(A, None)];
    assert!(matches!(judge(Some("v2"), None, Some(&seen(100, Some(A))), None, &unbound), Err(Held::OtherPlan { .. })));
    assert_eq!(judge(None, Some(A), None, Some(&at(100)), &unbound), Ok(Some(A)), "the file names this very build");
    assert!(judge(None, Some(A), None, Some(&halted("v2", 100, info(B))), &unbound).is_err());
}

#[test]
fn h14_an_info_that_two_readers_understand_differently_holds_every_build_that_does_not_serve() {
    let twice = format!(r#"{{"enclave":{{"mrenclave":"{A}"}},"enclave":{{"mrenclave":"{B}"}}}}"#);
    let both = format!(r#"{{"enclave":{{"mrenclave":"{A}"}},"note":"MREnclaveHash:{A}"}}"#);
    let all = [received(A, Some(("v2", 100)))];
    for info in [twice, both] {
        let file = halted("v2", 100, info);
        for (plan, build) in [(Some("v2"), None), (None, Some(A)), (Some("v2"), Some(A))] {
            assert!(matches!(judge(plan, build, Some(&seen(100, Some(A))), Some(&file), &all), Err(Held::Unreadable { .. })));
        }
        let serves = [Confirmed { serves: true, ..received(A, None) }];
        assert_eq!(judge(None, Some(A), None, Some(&file), &serves), Ok(Some(A)), "the old build goes on serving");
    }
}

#[test]
fn h14_a_plan_that_names_no_enclave_starts_no_binary_that_was_made_ready_for_one() {
    let (file, all) = (halted("v2", 100, "{}".into()), [received(A, Some(("v2", 100)))]);
    assert!(matches!(judge(Some("v2"), None, Some(&seen(100, Some(A))), Some(&file), &all), Err(Held::OtherBuild { .. })));
    assert!(matches!(judge(None, Some(A), None, Some(&file), &all), Err(Held::OtherBuild { .. })));
    assert_eq!(judge(Some("v2"), None, Some(&seen(100, None)), Some(&file), &all), Ok(None));
    assert_eq!(judge(Some("v2"), None, None, Some(&file), &all), Ok(None));
}

#[test]
fn h14_an_earlier_halt_says_nothing_of_a_later_plan_and_a_later_one_does() {
    let all = [received(A, Some(("v2", 100)))];
    let v1 = |height| halted("v1", height, info(B));
    assert_eq!(judge(Some("v2"), None, Some(&seen(100, Some(A))), Some(&v1(50)), &all), Ok(Some(A)));
    assert!(matches!(judge(Some("v2"), None, Some(&seen(100, Some(A))), Some(&v1(150)), &all), Err(Held::OtherPlan { .. })));
}

#[test]
fn h14_what_serves_or_came_by_an_order_is_started_whatever_plan_is_next() {
    for c in [Confirmed { serves: true, ..received(A, None) }, Confirmed { by_order: true, ..received(A, None) }] {
        for file in [halted("v3", 200, info(B)), halted("v3", 200, "https://x/y".into())] {
            assert_eq!(judge(None, Some(A), None, Some(&file), std::slice::from_ref(&c)), Ok(Some(A)));
        }
    }
    assert_eq!(judge(Some("v9"), None, None, Some(&halted("v3", 200, info(B))), &[]), Err(Held::Unknown("v9".into())));
}

#[test]
fn the_file_of_the_halt_is_read_as_the_sdk_writes_it_and_nothing_else_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("upgrade-info.json");
    assert_eq!(UpgradeInfo::read(&path).unwrap(), None, "the chain has not halted yet");
    let of = |text: &str| {
        std::fs::write(&path, text).unwrap();
        UpgradeInfo::read(&path).map_err(|e| e.to_string())
    };
    let good = of(r#"{"name":"v2","time":"0001-01-01T00:00:00Z","height":100,"info":"{}"}"#);
    assert_eq!(good, Ok(Some(halted("v2", 100, "{}".into()))));
    assert_eq!(of(r#"{"name":"v2","height":"100"}"#), Ok(Some(halted("v2", 100, String::new()))));
    for bad in ["", "{", "[]", r#"{"name":"v2"}"#, r#"{"name":"v2","height":-1}"#, r#"{"name":"a","name":"b","height":1}"#, r#"{"name":"a","height":1,"info":"x","info":"y"}"#] {
        assert!(of(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_note_of_before_it_was_bound_to_a_plan_is_for_none() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("confirmed")).unwrap();
    std::fs::write(Confirmed::path(dir.path(), &A), format!(r#"{{"measurement":"{A}","build":"v2","state":"received"}}"#)).unwrap();
    let c = Confirmed::read(dir.path(), &A).unwrap().unwrap();
    assert!(!c.is_for("v2", 100) && c.plan.is_none());
}

#[test]
fn a_plans_name_of_any_length_and_any_letters_has_a_file_of_its_own() {
    let home = tempfile::tempdir().unwrap();
    let names = ["v2".into(), "../../etc/passwd".into(), String::new(), "x".repeat(100), "x".repeat(101), "x".repeat(5000)];
    for (name, height) in names.iter().zip(1..) {
        PlanNote::write(home.path(), &KnownPlan { name: name.clone(), height, info: info(A), proposal: 1, at_x: false }).unwrap();
    }
    for (name, height) in names.iter().zip(1..) {
        let note = PlanNote::read(home.path(), name).unwrap().unwrap();
        assert_eq!((&note.name, note.height, note.measurement), (name, height, Some(A)));
    }
    assert_eq!(std::fs::read_dir(home.path().join("plans")).unwrap().count(), names.len());
}
