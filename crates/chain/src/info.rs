//! Which build a plan names: a strict reader of `plan.info`.
//!
//! The text is written by whoever proposes, and other readers (people, cosmovisor, explorers) read it too. Two
//! readers must never see two builds (A24), so where a lenient reader could see another build than this one does,
//! it is refused: duplicate keys, other letter case, two forms at once, a bare URL whose content nobody voted on.

use alloc::{collections::BTreeSet, string::String};
use core::fmt;

use baton_attest::identity::{Measurement, Signer};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

/// Longest `plan.info` that is read, in bytes.
pub const MAX_INFO_BYTES: usize = 64 * 1024;
/// What the older, plain form begins with.
pub const LEGACY_PREFIX: &str = "MREnclaveHash:";
const LEGACY_WORD: &str = "mrenclavehash";
/// Most keys in one JSON object.
const MAX_KEYS: usize = 1024;

/// The build that a plan names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedBuild {
    /// `mrenclave`.
    pub measurement: Measurement,
    /// `signer`: the target's must equal it; a vote with the override share counts it as listed.
    pub signer: Option<Signer>,
    /// `product_id`: the target's must equal it.
    pub product_id: Option<u16>,
    /// `svn`: the least that the target must have.
    pub svn: Option<u16>,
}

/// A `plan.info` that two readers could understand differently, or that names a build wrongly.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InfoError {
    /// More than is read.
    #[error("plan info: expected at most {MAX_INFO_BYTES} bytes, got {got}")]
    TooLong {
        /// Its length in bytes.
        got: usize,
    },
    /// Begins like JSON and is not what we read.
    #[error("plan info: {reason}")]
    Json {
        /// What the reader says, with line and column.
        reason: String,
    },
    /// A key twice in one object.
    #[error("plan info: key {key:?} twice in one object")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// A key that differs from one of ours in letter case only.
    #[error("plan info: expected key {expected:?}, got {got:?}: another letter case")]
    LetterCase {
        /// Our key.
        expected: &'static str,
        /// As written.
        got: String,
    },
    /// JSON and legacy text at once, or legacy text inside other text.
    #[error("plan info: names {LEGACY_PREFIX:?} inside other text; use one form alone")]
    BothForms,
    /// Legacy form with something else than 64 hexadecimal characters.
    #[error("plan info: {LEGACY_PREFIX:?}: expected 64 hexadecimal characters after it")]
    Legacy,
    /// A URL: what it answers is not what people voted on.
    #[error("plan info: a bare URL names nothing that was voted on; put the JSON itself into the plan")]
    Url,
}

/// Reads `plan.info`. `None`: it names no enclave, so the plan changes no build.
pub fn read_info(info: &str) -> Result<Option<NamedBuild>, InfoError> {
    if info.len() > MAX_INFO_BYTES {
        return Err(InfoError::TooLong { got: info.len() });
    }
    let trimmed = info.trim_matches(|c: char| c.is_whitespace() || c.is_control() || c == '\u{feff}');
    if trimmed.starts_with('{') {
        return read_json(info);
    }
    if let Some(digits) = info.trim().strip_prefix(LEGACY_PREFIX) {
        let measurement = digits.parse().map_err(|_| InfoError::Legacy)?;
        return Ok(Some(NamedBuild { measurement, signer: None, product_id: None, svn: None }));
    }
    if fold(info).contains(LEGACY_WORD) {
        return Err(InfoError::BothForms);
    }
    if trimmed.contains("://") && !trimmed.contains(char::is_whitespace) {
        return Err(InfoError::Url);
    }
    Ok(None)
}

/// Lower case as the most lenient JSON readers fold it: Go also takes U+017F for s and U+212A for k.
fn fold(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\u{17f}' => 's',
            '\u{212a}' => 'k',
            c => c.to_ascii_lowercase(),
        })
        .collect()
}

fn read_json(info: &str) -> Result<Option<NamedBuild>, InfoError> {
    let mut refused = None;
    let mut d = serde_json::Deserializer::from_str(info);
    let read = Top(&mut refused).deserialize(&mut d).and_then(|build| d.end().map(|()| build));
    let build = match (refused, read) {
        (Some(e), _) => return Err(e),
        (None, Err(e)) => return Err(InfoError::Json { reason: alloc::format!("{e}") }),
        (None, Ok(build)) => build,
    };
    // Whatever the JSON says, a reader of the legacy form would look for its word in the raw text.
    if fold(info).contains(LEGACY_WORD) { Err(InfoError::BothForms) } else { Ok(build) }
}

/// Sees every key of one object once: refuses a second one and our keys in another letter case.
struct Keys<'r> {
    ours: &'static [&'static str],
    seen: BTreeSet<String>,
    refused: &'r mut Option<InfoError>,
}

impl<'r> Keys<'r> {
    fn new(ours: &'static [&'static str], refused: &'r mut Option<InfoError>) -> Self {
        Keys { ours, seen: BTreeSet::new(), refused }
    }

    fn admit<E: serde::de::Error>(&mut self, key: &str) -> Result<(), E> {
        let folded = fold(key);
        if let Some(expected) = self.ours.iter().find(|k| **k == folded && **k != key) {
            *self.refused = Some(InfoError::LetterCase { expected, got: key.into() });
            return Err(E::custom("letter case"));
        }
        if !self.seen.insert(key.into()) {
            *self.refused = Some(InfoError::DuplicateKey { key: key.into() });
            return Err(E::custom("duplicate key"));
        }
        if self.seen.len() > MAX_KEYS {
            return Err(E::custom("too many keys"));
        }
        Ok(())
    }
}

struct Top<'r>(&'r mut Option<InfoError>);

impl<'de> DeserializeSeed<'de> for Top<'_> {
    type Value = Option<NamedBuild>;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
        d.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Top<'_> {
    type Value = Option<NamedBuild>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut keys = Keys::new(&["enclave"], self.0);
        let mut build = None;
        while let Some(key) = map.next_key::<String>()? {
            keys.admit::<A::Error>(&key)?;
            if key == "enclave" {
                build = Some(map.next_value_seed(Enclave(keys.refused))?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(build)
    }
}

struct Enclave<'r>(&'r mut Option<InfoError>);

impl<'de> DeserializeSeed<'de> for Enclave<'_> {
    type Value = NamedBuild;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
        d.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Enclave<'_> {
    type Value = NamedBuild;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object with the key \"mrenclave\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut keys = Keys::new(&["mrenclave", "signer", "product_id", "svn"], self.0);
        let (mut measurement, mut signer, mut product_id, mut svn) = (None, None, None, None);
        while let Some(key) = map.next_key::<String>()? {
            keys.admit::<A::Error>(&key)?;
            match key.as_str() {
                "mrenclave" => measurement = Some(map.next_value()?),
                "signer" => signer = Some(map.next_value()?),
                "product_id" => product_id = Some(map.next_value()?),
                "svn" => svn = Some(map.next_value()?),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        let measurement = measurement.ok_or_else(|| A::Error::missing_field("mrenclave"))?;
        Ok(NamedBuild { measurement, signer, product_id, svn })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use proptest::prelude::*;

    const M: &str = "dd1b51663d10a17d282cce2cead0396b6a032c7a7f8683320b8ce661aeb8ea8d";

    fn json(inner: &str) -> String {
        format!(r#"{{"binaries":{{}},"enclave":{{"mrenclave":"{M}"{inner}}}}}"#)
    }

    #[test]
    fn the_usual_form_names_its_build_and_other_keys_are_ignored() {
        let info = json(r#","svn":2,"product_id":7,"signer":"0101010101010101010101010101010101010101010101010101010101010101","note":[{"a":1,"a":2}]"#);
        let build = read_info(&info).unwrap().unwrap();
        assert_eq!(build.measurement, M.parse().unwrap());
        assert_eq!((build.svn, build.product_id, build.signer), (Some(2), Some(7), Some(Signer([1; 32]))));
        let plain = read_info(&json("")).unwrap().unwrap();
        assert_eq!((plain.svn, plain.product_id, plain.signer), (None, None, None));
    }

    #[test]
    fn the_legacy_form_names_a_measurement() {
        let build = read_info(&format!("{LEGACY_PREFIX}{M}")).unwrap().unwrap();
        assert_eq!(build.measurement, M.parse().unwrap());
        assert_eq!(build.svn, None);
    }

    #[test]
    fn text_without_an_enclave_names_none() {
        for info in ["", "  ", "upgrade to v2", "see https://example.org/v2 for more", r#"{"binaries":{"any":"https://x"}}"#, "{}", "[1]", "7"] {
            assert_eq!(read_info(info), Ok(None), "{info:?}");
        }
    }

    #[test]
    fn a24_duplicate_keys_are_refused_at_both_levels() {
        let other = "00".repeat(32);
        for info in [
            format!(r#"{{"enclave":{{"mrenclave":"{M}"}},"enclave":{{"mrenclave":"{other}"}}}}"#),
            format!(r#"{{"enclave":{{"mrenclave":"{M}"}},"\u0065nclave":{{"mrenclave":"{other}"}}}}"#),
            format!(r#"{{"enclave":{{"mrenclave":"{M}","mrenclave":"{other}"}}}}"#),
            format!(r#"{{"binaries":1,"enclave":{{"mrenclave":"{M}"}},"binaries":2}}"#),
            json(r#","svn":1,"svn":2"#),
            json(r#","note":1,"note":1"#),
        ] {
            assert!(matches!(read_info(&info), Err(InfoError::DuplicateKey { .. })), "{info}");
        }
    }

    #[test]
    fn a24_another_letter_case_is_refused() {
        for info in [
            format!(r#"{{"Enclave":{{"mrenclave":"{M}"}}}}"#),
            format!(r#"{{"enclave":{{"mrenclave":"{M}"}},"ENCLAVE":1}}"#),
            format!(r#"{{"enclave":{{"MrEnclave":"{M}"}}}}"#),
            json(r#","SVN":9"#),
            json(",\"\u{17f}vn\":9"),
            json(",\"\u{17f}igner\":9"),
            json(r#","Product_ID":9"#),
        ] {
            assert!(matches!(read_info(&info), Err(InfoError::LetterCase { .. })), "{info}");
        }
    }

    #[test]
    fn a24_two_forms_at_once_are_refused() {
        for info in [
            json(&format!(r#","note":"{LEGACY_PREFIX}{M}""#)),
            format!(r#"{{"note":"mrenclavehash={M}"}}"#),
            format!("see also {LEGACY_PREFIX}{M}"),
            format!("mrenclavehash:{M}"),
            format!("\u{feff}{LEGACY_PREFIX}{M}"),
            format!("\"{LEGACY_PREFIX}{M}\""),
        ] {
            assert_eq!(read_info(&info), Err(InfoError::BothForms), "{info}");
        }
    }

    #[test]
    fn a24_legacy_text_with_more_after_it_is_refused() {
        for tail in [&format!("{M}{M}")[..], &format!("{M} {}", json("")), &M[1..], "", "0x12", &format!(" {M}")] {
            assert_eq!(read_info(&format!("{LEGACY_PREFIX}{tail}")), Err(InfoError::Legacy), "{tail}");
        }
    }

    #[test]
    fn a24_a_bare_url_is_refused() {
        for info in ["https://example.org/plan.json?checksum=sha256:00", " s3::https://x/y ", "git::ssh://x", "HTTP://X"] {
            assert_eq!(read_info(info), Err(InfoError::Url), "{info}");
        }
    }

    #[test]
    fn a21_json_that_is_not_strict_is_refused() {
        for info in [
            format!(r#"{{"enclave":{{"mrenclave":"{M}"}}}} "#) + "{}",
            format!(r#"{{"enclave":{{"mrenclave":"{M}"}}"#),
            format!("\u{feff}{}", json("")),
            format!("\0{}", json("")),
            format!(r#"{{"enclave":{{"mrenclave":"{M}",}}}}"#),
            format!(r#"{{"enclave":"{M}"}}"#),
            format!(r#"{{"enclave":["{M}"]}}"#),
            r#"{"enclave":null}"#.into(),
            r#"{"enclave":{}}"#.into(),
            format!(r#"{{"enclave":{{"mrenclave":"{}"}}}}"#, &M[1..]),
            format!(r#"{{"enclave":{{"mrenclave":"0x{M}"}}}}"#),
            r#"{"enclave":{"mrenclave":7}}"#.into(),
            json(r#","svn":"2""#),
            json(r#","svn":2.0"#),
            json(r#","svn":-1"#),
            json(r#","svn":65536"#),
            json(r#","svn":null"#),
            json(r#","signer":"ab""#),
            "{ enclave: 1 }".into(),
        ] {
            assert!(matches!(read_info(&info), Err(InfoError::Json { .. })), "{info}: {:?}", read_info(&info));
        }
    }

    #[test]
    fn a21_oversize_and_deep_input_is_bounded() {
        assert!(matches!(read_info(&" ".repeat(MAX_INFO_BYTES + 1)), Err(InfoError::TooLong { .. })));
        let deep = format!(r#"{{"x":{}}}"#, "[".repeat(60_000));
        assert!(read_info(&deep).is_err());
        let deep = format!(r#"{{"x":{}{},"enclave":{{"mrenclave":"{M}"}}}}"#, "[".repeat(30_000), "]".repeat(30_000));
        let _ = read_info(&deep);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(info in "\\PC{0,200}") {
            let _ = read_info(&info);
        }

        #[test]
        fn an_inserted_key_never_changes_the_build(key in "[a-zA-Z_]{1,12}", value in 0u16..) {
            let info = json(&format!(r#","{key}":{value}"#));
            if let Ok(build) = read_info(&info) {
                prop_assert_eq!(build.unwrap().measurement, M.parse::<Measurement>().unwrap());
            }
        }
    }
}
