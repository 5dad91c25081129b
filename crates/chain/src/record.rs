//! The record: one readable line in a transaction's memo that announces one transfer before it happens.
//!
//! `baton1:` + base64url without padding of the deterministic CBOR array
//! `[1, kind, epoch, proposal id or 0, platform id, target identity digest, request digest]`. One transfer has
//! exactly one text: what does not re-encode to itself is refused (A21), and stays within the SDK's default of 256.

use alloc::{format, string::String, vec::Vec};
use core::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use baton_attest::identity::{Digest32, PlatformId, encode, hash};
use minicbor::{Decode, Encode};

/// What every record begins with.
pub const PREFIX: &str = "baton1:";
/// Longest memo that the SDK takes by default, in characters.
pub const MAX_CHARS: usize = 256;
/// The version of the array.
pub const VERSION: u8 = 1;

/// What a transfer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Kind {
    /// To another measurement, by a vote.
    #[n(1)]
    Upgrade,
    /// To the same measurement on another machine.
    #[n(2)]
    Join,
    /// A new epoch to the same measurement.
    #[n(3)]
    Sync,
    /// A canary secret to any measurement.
    #[n(4)]
    Rehearsal,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Upgrade => "upgrade",
            Kind::Join => "join",
            Kind::Sync => "sync",
            Kind::Rehearsal => "rehearsal",
        })
    }
}

/// One announced transfer, as data. It proves nothing until [`crate::publication::Published`] holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// What the transfer is for.
    pub kind: Kind,
    /// The newest epoch that crosses.
    pub epoch: u64,
    /// The proposal that authorizes it; 0 for kinds without one.
    pub proposal_id: u64,
    /// The target's machine; zeros where no quote ever showed it.
    pub platform: PlatformId,
    /// Digest of the target's full identity.
    pub target: Digest32,
    /// Digest of the request, which contains the source's nonce.
    pub request: Digest32,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct Wire {
    #[n(0)]
    version: u8,
    #[n(1)]
    kind: Kind,
    #[n(2)]
    epoch: u64,
    #[n(3)]
    proposal_id: u64,
    #[n(4)]
    platform: PlatformId,
    #[n(5)]
    target: Digest32,
    #[n(6)]
    request: Digest32,
}

/// A memo that is not a record of today.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// No `baton1:` in front.
    #[error("expected a memo that begins with {PREFIX:?}, got {got:?}")]
    NotARecord {
        /// The memo, cut to 40 characters.
        got: String,
    },
    /// More than a memo may hold.
    #[error("record: expected at most {MAX_CHARS} characters, got {got}")]
    TooLong {
        /// Its length in bytes.
        got: usize,
    },
    /// `baton1:` and a bare digest of 64 hexadecimal characters.
    #[error("record: an older form (a bare digest {digest}), which names neither kind nor target; send a record of version {VERSION}")]
    OldForm {
        /// The digest that it carries.
        digest: Digest32,
    },
    /// Not base64url without padding.
    #[error("record: not base64url without padding")]
    Base64,
    /// An array of another version.
    #[error("record: expected version {VERSION}, got {got}")]
    Version {
        /// The version it names.
        got: u64,
    },
    /// Not the array of this version.
    #[error("record: not the array of version {VERSION}")]
    Cbor,
    /// Decodes, but is not the one encoding of what it says.
    #[error("record: not the one deterministic encoding of its fields")]
    NotCanonical,
}

/// A record that announces another transfer than the one asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record: {field}: expected {expected}, got {got}; announce this transfer in a record of its own")]
pub struct RecordMismatch {
    /// The first field that differs.
    pub field: &'static str,
    /// What the request needs.
    pub expected: String,
    /// What the record says.
    pub got: String,
}

impl Record {
    /// The text for a memo.
    pub fn encode(&self) -> String {
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(self.to_cbor()))
    }

    /// Reads a whole memo.
    pub fn parse(memo: &str) -> Result<Record, RecordError> {
        let Some(body) = memo.strip_prefix(PREFIX) else {
            return Err(RecordError::NotARecord { got: memo.chars().take(40).collect() });
        };
        if memo.len() > MAX_CHARS {
            return Err(RecordError::TooLong { got: memo.len() });
        }
        if let Ok(digest) = body.parse::<Digest32>() {
            return Err(RecordError::OldForm { digest });
        }
        let bytes = URL_SAFE_NO_PAD.decode(body).map_err(|_| RecordError::Base64)?;
        let record = decode(&bytes)?;
        if record.encode() == memo { Ok(record) } else { Err(RecordError::NotCanonical) }
    }

    /// SHA-256(`"baton record v1"`, CBOR of the array): how the log and an authorization name it.
    pub fn digest(&self) -> Digest32 {
        hash("baton record v1", &[&self.to_cbor()])
    }

    /// Compares field by field with the transfer that is asked for.
    pub fn check(&self, expected: &Record) -> Result<(), RecordMismatch> {
        same("kind", &expected.kind, &self.kind)?;
        same("epoch", &expected.epoch, &self.epoch)?;
        same("proposal id", &expected.proposal_id, &self.proposal_id)?;
        same("platform id", &expected.platform, &self.platform)?;
        same("target identity digest", &expected.target, &self.target)?;
        same("request digest", &expected.request, &self.request)
    }

    fn to_cbor(self) -> Vec<u8> {
        let Record { kind, epoch, proposal_id, platform, target, request } = self;
        encode(&Wire { version: VERSION, kind, epoch, proposal_id, platform, target, request })
    }
}

fn same<T: PartialEq + fmt::Display>(field: &'static str, expected: &T, got: &T) -> Result<(), RecordMismatch> {
    if expected == got {
        return Ok(());
    }
    Err(RecordMismatch { field, expected: format!("{expected}"), got: format!("{got}") })
}

fn decode(bytes: &[u8]) -> Result<Record, RecordError> {
    let mut d = minicbor::Decoder::new(bytes);
    d.array().map_err(|_| RecordError::Cbor)?;
    let version = d.u64().map_err(|_| RecordError::Cbor)?;
    if version != u64::from(VERSION) {
        return Err(RecordError::Version { got: version });
    }
    let Wire { kind, epoch, proposal_id, platform, target, request, .. } =
        minicbor::decode(bytes).map_err(|_| RecordError::Cbor)?;
    Ok(Record { kind, epoch, proposal_id, platform, target, request })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record() -> Record {
        Record {
            kind: Kind::Upgrade,
            epoch: 0,
            proposal_id: 14,
            platform: PlatformId([1; 32]),
            target: Digest32([2; 32]),
            request: Digest32([3; 32]),
        }
    }

    fn memo_of(bytes: &[u8]) -> String {
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The frozen text of version 1.
    const GOLDEN: &str = include_str!("../tests/golden/record_v1.txt");

    #[test]
    fn h04_the_text_of_version_1_is_frozen() {
        assert_eq!(record().encode(), GOLDEN.trim_end());
        assert_eq!(Record::parse(GOLDEN.trim_end()).unwrap(), record());
    }

    #[test]
    fn the_older_bare_digest_is_recognised_and_is_no_record() {
        let old = format!("{PREFIX}{}", "ab".repeat(32));
        assert_eq!(Record::parse(&old), Err(RecordError::OldForm { digest: Digest32([0xab; 32]) }));
    }

    #[test]
    fn the_longest_record_fits_the_default_memo() {
        let long = Record { epoch: u64::MAX, proposal_id: u64::MAX, ..record() };
        assert!(long.encode().len() <= MAX_CHARS, "{}", long.encode().len());
    }

    #[test]
    fn a21_memos_that_are_not_the_one_encoding_are_refused() {
        let good = record().encode();
        let cbor = record().to_cbor();
        assert!(matches!(Record::parse(""), Err(RecordError::NotARecord { .. })));
        assert!(matches!(Record::parse(&good.to_uppercase()), Err(RecordError::NotARecord { .. })));
        assert!(matches!(Record::parse(&format!(" {good}")), Err(RecordError::NotARecord { .. })));
        assert!(matches!(Record::parse(&format!("{good}=")), Err(RecordError::Base64)));
        assert!(matches!(Record::parse(&format!("{good} ")), Err(RecordError::Base64)));
        assert!(matches!(Record::parse(&format!("{PREFIX}{}", "A".repeat(300))), Err(RecordError::TooLong { .. })));
        for cut in 1..good.len() {
            assert!(Record::parse(&good[..cut]).is_err(), "{cut}");
        }
        let mut wide = cbor.clone(); // epoch 0 in two bytes instead of one
        wide.splice(3..4, [0x18, 0x00]);
        assert_eq!(Record::parse(&memo_of(&wide)), Err(RecordError::NotCanonical));
        let mut tail = cbor.clone();
        tail.push(0);
        assert_eq!(Record::parse(&memo_of(&tail)), Err(RecordError::NotCanonical));
        let mut eight = cbor.clone();
        eight[0] = 0x88;
        eight.push(0);
        assert_eq!(Record::parse(&memo_of(&eight)), Err(RecordError::NotCanonical));
        let mut open = cbor.clone();
        open[0] = 0x9f;
        open.push(0xff);
        assert_eq!(Record::parse(&memo_of(&open)), Err(RecordError::NotCanonical));
        let mut kind = cbor.clone();
        kind[2] = 9;
        assert_eq!(Record::parse(&memo_of(&kind)), Err(RecordError::Cbor));
    }

    #[test]
    fn a_later_version_is_named_as_such() {
        let mut cbor = record().to_cbor();
        cbor[1] = 2;
        assert_eq!(Record::parse(&memo_of(&cbor)), Err(RecordError::Version { got: 2 }));
    }

    #[test]
    fn a_record_of_another_transfer_is_refused_in_each_field() {
        let want = record();
        want.check(&want).unwrap();
        for (field, other) in [
            ("kind", Record { kind: Kind::Join, ..want }),
            ("epoch", Record { epoch: 1, ..want }),
            ("proposal id", Record { proposal_id: 15, ..want }),
            ("platform id", Record { platform: PlatformId::UNKNOWN, ..want }),
            ("target identity digest", Record { target: Digest32([9; 32]), ..want }),
            ("request digest", Record { request: Digest32([9; 32]), ..want }),
        ] {
            assert_eq!(other.check(&want).unwrap_err().field, field);
            assert_ne!(other.digest(), want.digest());
        }
    }

    proptest! {
        #[test]
        fn every_record_has_one_text(epoch: u64, proposal_id: u64, a: [u8; 32], b: [u8; 32], c: [u8; 32]) {
            let r = Record { kind: Kind::Sync, epoch, proposal_id, platform: PlatformId(a), target: Digest32(b), request: Digest32(c) };
            prop_assert_eq!(Record::parse(&r.encode()), Ok(r));
        }

        #[test]
        fn foreign_memos_never_panic(memo in "(baton1:)?[A-Za-z0-9_-]{0,200}") {
            let _ = Record::parse(&memo);
        }
    }
}
