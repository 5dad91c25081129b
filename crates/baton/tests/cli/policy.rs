use std::fs;

use crate::support::*;

const EXAMPLE: &str = "../../../../docs/policy.example.toml";

#[test]
fn the_example_is_shown_in_both_forms_with_one_digest() {
    snapshot("policy_show", &["policy", "show", EXAMPLE], 0);
    let json = baton(&["policy", "show", EXAMPLE, "--json"])
        .expect(0)
        .json();
    let dir = tempfile::tempdir().unwrap();
    let cbor = hex::decode(json["cbor"].as_str().unwrap()).unwrap();
    for (name, bytes) in [
        ("p.cbor", cbor),
        ("p.hex", json["cbor"].as_str().unwrap().into()),
        ("p.toml", json["toml"].as_str().unwrap().into()),
    ] {
        let file = dir.path().join(name);
        fs::write(&file, bytes).unwrap();
        let again = baton(&["policy", "show", path(&file), "--json"])
            .expect(0)
            .json();
        assert_eq!(
            (&again["digest"], &again["toml"]),
            (&json["digest"], &json["toml"]),
            "{name}"
        );
    }
}

#[test]
fn the_example_is_explained() {
    snapshot("policy_check", &["policy", "check", EXAMPLE], 0);
    let json = baton(&["policy", "check", EXAMPLE, "--json"])
        .expect(0)
        .json();
    assert!(
        json["sentences"]
            .as_array()
            .unwrap()
            .iter()
            .any(|s| s["level"] == "warns")
    );
}

#[test]
fn a20_a_policy_that_makes_a_check_vacuous_is_refused_with_expected_and_got() {
    let text = fs::read_to_string(fixtures().join(EXAMPLE)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("p.toml");
    let mut said = String::new();
    for (from, to) in [
        (
            "grace_blocks = 1_000",
            "grace_blocks = 1_000\npower_share = \"0.67\"",
        ),
        ("admission = \"any\"", "admission = \"any\"\nrotation_blocks = 5"),
        ("threshold = \"0.5\"", "threshold = \"0.4\""),
        ("trust_threshold = [1, 3]", "trust_threshold = [1, 4]"),
        ("platforms = 3", "platforms = 0"),
        ("format = 1", "format = 2"),
        (
            "statuses = [\"UpToDate\", \"SWHardeningNeeded\"]",
            "statuses = []",
        ),
    ] {
        assert!(text.contains(from), "{from}");
        fs::write(&file, text.replacen(from, to, 1)).unwrap();
        let ran = baton(&["policy", "check", path(&file)]).expect(1);
        said += &format!("{to:?}\n{}", ran.err.replace(path(&file), "policy.toml"));
        // It can still be looked at.
        assert!(
            baton(&["policy", "show", path(&file)])
                .expect(0)
                .row("valid")
                .starts_with("no: ")
        );
    }
    compare("policy_refused", &said);
}

#[test]
fn a_field_that_is_not_known_is_bad_input_and_its_line_is_named() {
    let text = fs::read_to_string(fixtures().join(EXAMPLE)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("p.toml");
    fs::write(
        &file,
        text.replace("product_id = 1", "product_id = 1\nproduct = 1"),
    )
    .unwrap();
    let ran = baton(&["policy", "check", path(&file)]).expect(2);
    assert!(
        ran.err.contains("product") && ran.err.contains("line "),
        "{}",
        ran.err
    );
    fs::write(&file, text.replace("min_svn = 1", "min_svn = 70000")).unwrap();
    baton(&["policy", "check", path(&file)]).expect(2);
}
