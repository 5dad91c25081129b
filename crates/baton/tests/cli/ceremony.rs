//! `baton ceremony` and `baton lifeboat` as people call them, each holder in a folder of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use baton_core::fake::FakePlatform;
use baton_core::shares::age::Identity;

use crate::support::{Ran, baton, path};

const BUILD: &str = "abababababababababababababababababababababababababababababababab";

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    /// Identities of three holders, and the list of them.
    fn new() -> Self {
        let place = Place { dir: tempfile::tempdir().unwrap() };
        place.holders("holders.toml", &[("ana", 1), ("bo", 2), ("chen", 3)]);
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn holders(&self, file: &str, who: &[(&str, u8)]) {
        let mut text = String::from("needed = 2\n");
        for (name, n) in who {
            let key = Identity::generate(&mut FakePlatform::new(*n));
            text += &format!("[[holder]]\nname = \"{name}\"\nrecipient = \"{}\"\n", key.recipient());
            fs::write(self.at(&format!("{name}.key")), key.danger_to_text().as_bytes()).unwrap();
        }
        fs::write(self.at(file), text).unwrap();
    }

    fn new_key(&self, kind: &str) -> Ran {
        baton(&["ceremony", kind, "new", "--holders", path(&self.at("holders.toml")), "--dir", path(&self.at("c"))])
    }

    /// A holder boxes their share for a build.
    fn boxed(&self, name: &str, index: usize, build: &str) -> Ran {
        let (share, key) = (self.at(&format!("c/shares-1/{index:02}-{name}.age")), self.at(&format!("{name}.key")));
        baton(&[
            "ceremony", "box", "--session", path(&self.at("c/session.attested")), "--published",
            path(&self.at("c/ceremony-1.attested")), "--share", path(&share), "--identity", path(&key), "--measurement", build,
            "--svn", "2", "--out", path(&self.at(&format!("c/boxes/{name}.box"))),
        ])
    }

    fn sign(&self, wait: &str) -> Ran {
        let (dir, out) = (self.at("c"), self.at("v2.sig"));
        baton(&["ceremony", "signer", "sign", "--dir", path(&dir), "--measurement", BUILD, "--svn", "2", "--out", path(&out), "--wait", wait])
    }

    /// Waits for a session of this run.
    fn session(&self) {
        for _ in 0..600 {
            if self.at("c/session.attested").exists() && self.at("c/boxes").exists() {
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
        panic!("no session");
    }
}

fn published(p: &Place) -> PathBuf {
    p.at("c/ceremony-1.attested")
}

#[test]
fn h18_two_of_three_holders_sign_a_build_and_an_outsider_checks_the_ceremony() {
    let p = Place::new();
    p.new_key("signer").expect(0);
    let seen = baton(&["ceremony", "verify", path(&published(&p))]).expect(0);
    assert_eq!(seen.row("ceremony"), "signer key, number 1");
    assert_eq!(seen.row("holders"), "2 of 3 needed");
    let signer = seen.row("MRSIGNER").to_owned();
    assert!(p.new_key("signer").expect(1).err.contains("a key is never replaced"));
    thread::scope(|s| {
        let signing = s.spawn(|| p.sign("120"));
        p.session();
        p.boxed("ana", 1, BUILD).expect(0);
        p.boxed("chen", 3, BUILD).expect(0);
        let signed = signing.join().unwrap().expect(0);
        assert_eq!(signed.row("agreed"), "ana, chen");
        assert_eq!(signed.row("MRSIGNER"), signer);
    });
    let shown = baton(&["sigstruct", "show", path(&p.at("v2.sig"))]).expect(0);
    assert_eq!((shown.row("measurement"), shown.row("signer")), (BUILD, &*signer));
    // One for another build, one that is nobody's box: named, and nothing signed.
    fs::remove_file(p.at("c/session.attested")).unwrap();
    thread::scope(|s| {
        let signing = s.spawn(|| p.sign("8"));
        p.session();
        p.boxed("ana", 1, BUILD).expect(0);
        p.boxed("bo", 2, &BUILD.replace('b', "c")).expect(0);
        fs::write(p.at("c/boxes/x.box"), b"nothing").unwrap();
        let refused = signing.join().unwrap().expect(1);
        assert!(refused.err.contains("1 of 2 needed holders (ana)"), "{}", refused.err);
        assert!(refused.err.contains("bo: the box does not open"), "{}", refused.err);
        assert!(refused.err.contains("x.box"), "{}", refused.err);
    });
}

#[test]
fn a_publication_a_share_and_a_list_that_are_not_right_are_refused_with_a_reason() {
    let p = Place::new();
    p.new_key("council").expect(0);
    let file = published(&p);
    let verify = |args: &[&str]| baton(&[&["ceremony", "verify", path(&file)], args].concat());
    assert_eq!(verify(&["--share", path(&p.at("c/shares-1/02-bo.age"))]).expect(0).row("share of"), "bo");
    assert!(verify(&["--share", path(&p.at("bo.key"))]).expect(1).err.contains("no share of this ceremony"));
    assert!(verify(&["--enclave", BUILD]).expect(1).err.contains("attested by the enclave"));
    assert!(verify(&["--before", path(&file)]).expect(1).err.contains("is missing, or one is of another key"));
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(3).position(|w| w == b"ana").unwrap();
    bytes[at] = b'u';
    let forged = p.at("forged.attested");
    fs::write(&forged, &bytes).unwrap();
    assert!(baton(&["ceremony", "verify", path(&forged)]).expect(1).err.contains("put together from two"));
    bytes.truncate(at);
    fs::write(&forged, &bytes).unwrap();
    baton(&["ceremony", "verify", path(&forged)]).expect(2);
    for (list, why) in [
        ("needed = 1\nholder = []\n", "at least 2 needed"),
        ("needed = 2\n[[holder]]\nname = \"ana\"\nrecipient = \"age1x\"\n", "not an age recipient"),
        ("needs = 2\n", "needed = 3, then [[holder]]"),
    ] {
        fs::write(p.at("bad.toml"), list).unwrap();
        let got = baton(&["ceremony", "council", "new", "--holders", path(&p.at("bad.toml")), "--dir", path(&p.at("n"))]).expect(2);
        assert!(got.err.contains(why), "{}", got.err);
        assert!(!Path::new(&p.at("n")).join("sealed").exists());
    }
}

#[test]
fn the_drill_says_who_did_not_answer() {
    let all = baton(&["lifeboat", "drill", "--json"]).expect(0).json();
    assert_eq!(all["accept"], true);
    let some = baton(&["lifeboat", "drill", "--absent", "bo", "--absent", "dora", "--lost", "1"]).expect(0);
    assert_eq!(some.row("lifeboat 0"), "released the canary to the target, with shares of ana, chen, emil");
    assert_eq!(some.row("lifeboat 1"), "no release: it did not start");
    assert!(some.out.contains("2 of 3 lifeboats released the canary; 3 did not answer"), "{}", some.out);
    let none = baton(&["lifeboat", "drill", "--absent", "ana", "--absent", "bo", "--absent", "emil"]).expect(1);
    assert!(none.out.contains("2 of 3 needed holders (chen, dora) brought a good share"), "{}", none.out);
    baton(&["lifeboat", "drill", "--absent", "nobody"]).expect(2);
    baton(&["lifeboat", "drill", "--lost", "3"]).expect(2);
}
