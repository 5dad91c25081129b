//! Shares of a secret, m of n, each with a name on it.
//!
//! A ceremony deals a 32-byte secret inside an enclave (Shamir over GF(256), constant time) and publishes a [`Transcript`]:
//! who holds a share, and a salted hash commitment to each. So a share that is false, corrupted or of an older ceremony is
//! found at once, by the name of its holder, and the good ones beside it still count. Each share leaves the enclave as an
//! age file for its holder ([`age`]); it comes back only inside a [`crate::ceremony::ShareBox`].
//!
//! The commitments reveal nothing: each holds 32 random bytes that only the share's holder has.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use baton_attest::identity::{Digest32, encode, hash};
use minicbor::{Decode, Encode};
use vsss_rs::Gf256;
use zeroize::{Zeroize, Zeroizing};

use self::age::{AgeError, Recipient};
use crate::cbor::decode_exact;
use crate::platform::{Platform, PlatformRng};
use crate::secret::{Secret32, derive};

pub mod age;

/// The version of terms, transcripts and shares.
pub const VERSION: u8 = 1;
/// What a share begins with, as text.
pub const SHARE_PREFIX: &str = "baton-share1:";
/// Most holders.
pub const MAX_HOLDERS: usize = 100;
/// Longest name of a holder, in bytes.
pub const MAX_NAME_BYTES: usize = 80;
/// Largest transcript that is read, in bytes.
pub const MAX_TRANSCRIPT_BYTES: usize = 64 << 10;

/// What the secret of a ceremony is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, serde::Serialize)]
#[cbor(index_only)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// It wraps the developers' signing key, which stays sealed in the ceremony's enclave.
    #[n(0)]
    Signer,
    /// It is the seed of the key that escrows are encrypted to.
    #[n(1)]
    Council,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Purpose::Signer => "signer",
            Purpose::Council => "council",
        })
    }
}

/// A person or body that holds one share.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Holder {
    /// Who it is, as every report names it.
    #[n(0)]
    pub name: String,
    /// The age recipient (X25519) that the share is encrypted to, 32 bytes.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub recipient: [u8; 32],
}

/// Who holds, and how many of them it takes. CBOR array.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Holders {
    /// m: how many must agree, two at least.
    #[n(0)]
    pub needed: u8,
    /// The holders; the first has share 1.
    #[n(1)]
    pub holders: Vec<Holder>,
}

/// Why a list of holders is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HoldersError {
    /// m or n out of bounds.
    #[error("{needed} of {holders} holders: expected at least 2 needed, at most all of them, and at most {MAX_HOLDERS} holders")]
    Counts {
        /// m.
        needed: u8,
        /// n.
        holders: usize,
    },
    /// No name that can be printed.
    #[error("holder {index} has no usable name: expected 1 to {MAX_NAME_BYTES} bytes without control characters")]
    Name {
        /// Number of the share, from 1.
        index: usize,
    },
    /// Twice the same.
    #[error("{name:?} is listed twice, by name or by recipient: one holder has one share")]
    Twice {
        /// The second one's name.
        name: String,
    },
}

impl Holders {
    /// Refuses lists under which a single person could act, or one person counts twice.
    pub fn validate(&self) -> Result<(), HoldersError> {
        let holders = self.holders.len();
        if self.needed < 2 || usize::from(self.needed) > holders || holders > MAX_HOLDERS {
            return Err(HoldersError::Counts { needed: self.needed, holders });
        }
        for (i, h) in self.holders.iter().enumerate() {
            let printable = !h.name.trim().is_empty() && !h.name.chars().any(char::is_control);
            if !printable || h.name.len() > MAX_NAME_BYTES {
                return Err(HoldersError::Name { index: i.saturating_add(1) });
            }
            let before = self.holders.iter().take(i);
            if before.clone().any(|o| o.name == h.name || o.recipient == h.recipient) {
                return Err(HoldersError::Twice { name: h.name.clone() });
            }
        }
        Ok(())
    }

    /// SHA-256 over the list: what holders of the old shares agree to when the key is shared again.
    pub fn digest(&self) -> Digest32 {
        hash("baton holders v1", &[&encode(self)])
    }

    /// The holder of a share, by its number from 1.
    pub fn of(&self, index: u8) -> Option<&Holder> {
        self.holders.get(usize::from(index).checked_sub(1)?)
    }
}

/// What a ceremony is about. CBOR array; its digest is on every share.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Terms {
    /// [`VERSION`].
    #[n(0)]
    pub version: u8,
    /// What the secret is for.
    #[n(1)]
    pub purpose: Purpose,
    /// Number of the ceremony over this key, from 1; each resharing adds one.
    #[n(2)]
    pub number: u32,
    /// Digest of the transcript of the ceremony before; none for the first.
    #[n(3)]
    pub previous: Option<Digest32>,
    /// The public key that the secret stands behind: an RSA modulus of 384 bytes, little endian as SIGSTRUCT has it, or an
    /// X-Wing key of 1216 bytes.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub public_key: Vec<u8>,
    /// The holders.
    #[n(5)]
    pub holders: Holders,
}

impl Terms {
    /// SHA-256(`"baton ceremony v1"`, CBOR).
    pub fn id(&self) -> Digest32 {
        hash("baton ceremony v1", &[&encode(self)])
    }
}

/// The public record of one ceremony. CBOR array; its digest is what the enclave's quote is over.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Transcript {
    #[n(0)]
    terms: Terms,
    #[n(1)]
    commitments: Vec<Digest32>,
    #[n(2)]
    files: Vec<Digest32>,
}

/// Why bytes are no transcript.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TranscriptError {
    /// Not the CBOR.
    #[error("not the deterministic CBOR of a ceremony's transcript: truncated, too long, or another file")]
    Malformed,
    /// Of another release.
    #[error("the transcript has version {got}, expected {VERSION}")]
    Version {
        /// Its version.
        got: u8,
    },
    /// The holders.
    #[error(transparent)]
    Holders(#[from] HoldersError),
    /// Not one commitment and one file for each holder.
    #[error("the transcript has {commitments} commitments and {files} files for {holders} holders: expected one of each for each holder")]
    Counts {
        /// n.
        holders: usize,
        /// Commitments in it.
        commitments: usize,
        /// File digests in it.
        files: usize,
    },
    /// A first ceremony with a predecessor, or a later one without.
    #[error("ceremony {number} {} a ceremony before it", if *.previous { "names" } else { "does not name" })]
    Chain {
        /// Its number.
        number: u32,
        /// Whether it names one.
        previous: bool,
    },
    /// Another transcript than the one before.
    #[error("the transcript follows {expected:?} as ceremony {got_number}, the one before it is {got} with number {number}: a transcript between them is missing, or one is of another key")]
    NotTheNext {
        /// What it names.
        expected: Option<Digest32>,
        /// Its number.
        got_number: u32,
        /// The digest of the one that was shown.
        got: Digest32,
        /// That one's number.
        number: u32,
    },
}

impl Transcript {
    /// The terms.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The holders.
    pub fn holders(&self) -> &Holders {
        &self.terms.holders
    }

    /// The commitments, in the order of the holders.
    pub fn commitments(&self) -> &[Digest32] {
        &self.commitments
    }

    /// SHA-256(`"baton ceremony transcript v1"`, CBOR): what the enclave attests.
    pub fn digest(&self) -> Digest32 {
        hash("baton ceremony transcript v1", &[&self.to_cbor()])
    }

    /// The one encoding.
    pub fn to_cbor(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads the one encoding, and checks everything that needs no other file.
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, TranscriptError> {
        if bytes.len() > MAX_TRANSCRIPT_BYTES {
            return Err(TranscriptError::Malformed);
        }
        let t: Transcript = decode_exact(bytes).ok_or(TranscriptError::Malformed)?;
        if t.to_cbor() != bytes {
            return Err(TranscriptError::Malformed);
        }
        t.check()?;
        Ok(t)
    }

    fn check(&self) -> Result<(), TranscriptError> {
        let terms = &self.terms;
        if terms.version != VERSION {
            return Err(TranscriptError::Version { got: terms.version });
        }
        terms.holders.validate()?;
        let holders = terms.holders.holders.len();
        let (commitments, files) = (self.commitments.len(), self.files.len());
        if commitments != holders || files != holders {
            return Err(TranscriptError::Counts { holders, commitments, files });
        }
        let (number, previous) = (terms.number, terms.previous.is_some());
        if number == 0 || (number == 1) == previous {
            return Err(TranscriptError::Chain { number, previous });
        }
        Ok(())
    }

    /// That this ceremony comes right after `before`, over the same key.
    pub fn follows(&self, before: &Transcript) -> Result<(), TranscriptError> {
        let (a, b) = (&before.terms, &self.terms);
        let same_key = a.purpose == b.purpose && a.public_key == b.public_key;
        let (got, number) = (before.digest(), a.number);
        if !same_key || b.previous != Some(got) || Some(b.number) != number.checked_add(1) {
            return Err(TranscriptError::NotTheNext { expected: b.previous, got_number: b.number, got, number });
        }
        Ok(())
    }

    /// Whose file this is, by its digest: a holder sees that nothing was lost on the way.
    pub fn holder_of_file(&self, file: &[u8]) -> Option<&Holder> {
        let digest = file_digest(file);
        let at = self.files.iter().position(|f| *f == digest)?;
        self.terms.holders.holders.get(at)
    }
}

fn file_digest(file: &[u8]) -> Digest32 {
    hash("baton share file v1", &[file])
}

/// One holder's share. It cannot be cloned, printed or compared:
/// ```compile_fail,E0599
/// fn copy(s: &baton_core::shares::Share) -> baton_core::shares::Share { s.clone() }
/// ```
/// ```compile_fail,E0277
/// fn print(s: &baton_core::shares::Share) -> String { format!("{s:?}") }
/// ```
/// ```compile_fail,E0369
/// fn same(a: baton_core::shares::Share, b: baton_core::shares::Share) -> bool { a == b }
/// ```
pub struct Share {
    ceremony: Digest32,
    number: u32,
    index: u8,
    salt: Secret32,
    value: Secret32,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct WireShare {
    #[n(0)]
    version: u8,
    #[n(1)]
    ceremony: Digest32,
    #[n(2)]
    number: u32,
    #[n(3)]
    index: u8,
    #[cbor(n(4), with = "minicbor::bytes")]
    salt: [u8; 32],
    #[cbor(n(5), with = "minicbor::bytes")]
    value: [u8; 32],
}

impl Drop for WireShare {
    fn drop(&mut self) {
        self.salt.zeroize();
        self.value.zeroize();
    }
}

/// A text that is no share. What was given may be secret, so it is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a share: expected one line that begins with {SHARE_PREFIX:?}; decrypt the age file first, or take another copy, this one is damaged")]
pub struct NotAShare;

impl Share {
    /// Number of the share, from 1.
    pub fn index(&self) -> u8 {
        self.index
    }

    /// Number of its ceremony.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// [`Terms::id`] of its ceremony.
    pub fn ceremony(&self) -> &Digest32 {
        &self.ceremony
    }

    /// SHA-256 over context, ceremony, index, salt and value: what the transcript holds.
    pub fn commitment(&self) -> Digest32 {
        let parts: [&[u8]; 4] = [&self.ceremony.0, &[self.index], self.salt.danger_expose(), self.value.danger_expose()];
        hash("baton share commitment v1", &parts)
    }

    /// The line that the age file holds.
    pub fn danger_to_text(&self) -> Zeroizing<String> {
        let wire = WireShare {
            version: VERSION,
            ceremony: self.ceremony,
            number: self.number,
            index: self.index,
            salt: *self.salt.danger_expose(),
            value: *self.value.danger_expose(),
        };
        let bytes = Zeroizing::new(encode(&wire));
        let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(&*bytes));
        Zeroizing::new(format!("{SHARE_PREFIX}{}\n", *text))
    }

    /// Reads that line. Whether the share is the right one, the transcript says.
    pub fn parse(text: &str) -> Result<Self, NotAShare> {
        let body = text.trim().strip_prefix(SHARE_PREFIX).ok_or(NotAShare)?;
        if body.len() > 400 {
            return Err(NotAShare);
        }
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(body).map_err(|_| NotAShare)?);
        let wire: WireShare = decode_exact(&bytes).ok_or(NotAShare)?;
        if wire.version != VERSION {
            return Err(NotAShare);
        }
        Ok(Share {
            ceremony: wire.ceremony,
            number: wire.number,
            index: wire.index,
            salt: Secret32::danger_from_bytes(&wire.salt),
            value: Secret32::danger_from_bytes(&wire.value),
        })
    }
}

/// Why nothing was dealt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DealError {
    /// The terms.
    #[error(transparent)]
    Terms(#[from] TranscriptError),
    /// A holder's key.
    #[error("the share of {name:?}: {why}")]
    Recipient {
        /// Whose.
        name: String,
        /// What is wrong.
        why: AgeError,
    },
    /// The library refused, which checked terms do not cause.
    #[error("the secret could not be split")]
    Split,
}

/// What a ceremony gives: the public record, and one age file for each holder, in their order.
pub struct Dealt {
    /// For everybody.
    pub transcript: Transcript,
    /// For each holder.
    pub files: Vec<Vec<u8>>,
}

/// Splits a secret among the holders of the terms.
pub fn deal(platform: &mut dyn Platform, terms: Terms, secret: &Secret32) -> Result<Dealt, DealError> {
    // Asked first: nothing of the secret is split for a list that is refused.
    terms.holders.validate().map_err(TranscriptError::from)?;
    let (needed, holders) = (usize::from(terms.holders.needed), terms.holders.holders.len());
    let split = Gf256::split_bytes(needed, holders, secret.danger_expose(), PlatformRng(platform));
    let mut split = split.map_err(|_| DealError::Split)?;
    let ceremony = terms.id();
    let (mut commitments, mut files) = (Vec::new(), Vec::new());
    for (bytes, holder) in split.iter_mut().zip(&terms.holders.holders) {
        let (index, value) = bytes.split_first().ok_or(DealError::Split)?;
        let value: &[u8; 32] = value.try_into().map_err(|_| DealError::Split)?;
        let share = Share {
            ceremony,
            number: terms.number,
            index: *index,
            salt: Secret32::random(platform),
            value: Secret32::danger_from_bytes(value),
        };
        bytes.zeroize();
        let to = Recipient::from_bytes(holder.recipient);
        let file = age::encrypt(platform, &to, share.danger_to_text().as_bytes())
            .map_err(|why| DealError::Recipient { name: holder.name.clone(), why })?;
        commitments.push(share.commitment());
        files.push(file);
    }
    let digests = files.iter().map(|f| file_digest(f)).collect();
    let transcript = Transcript { terms, commitments, files: digests };
    transcript.check()?;
    Ok(Dealt { transcript, files })
}

/// What is wrong with something that was brought as a share.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShareFault {
    /// From another ceremony.
    #[error("a share of ceremony {got}, expected ceremony {expected}; destroy it and bring the newer one")]
    OtherCeremony {
        /// Number of the transcript's.
        expected: u32,
        /// Number on the share.
        got: u32,
    },
    /// Of a ceremony with the same number over something else.
    #[error("a share of another ceremony, {got}, expected {expected}")]
    OtherTerms {
        /// Of the transcript.
        expected: Digest32,
        /// On the share.
        got: Digest32,
    },
    /// Nobody has that number.
    #[error("share number {index}, expected 1 to {holders}")]
    NoSuchHolder {
        /// On the share.
        index: u8,
        /// n.
        holders: usize,
    },
    /// Its commitment is another one.
    #[error("it is not the share that was dealt: expected commitment {expected}, got {got}; it is corrupted or false, take another copy")]
    Corrupted {
        /// In the transcript.
        expected: Digest32,
        /// Of what was brought.
        got: Digest32,
    },
    /// Brought before.
    #[error("brought twice, counts once")]
    Twice,
    /// In the box of another holder.
    #[error("the box holds the share of {holder:?}: each holder boxes their own")]
    OtherHolder {
        /// Whose share it is.
        holder: String,
    },
    /// Not readable.
    #[error("{0}")]
    Unreadable(String),
}

/// Something brought as a share that does not count, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{who}: {why}")]
pub struct BadShare {
    /// The holder's name, or what else is known of it.
    pub who: String,
    /// What is wrong.
    pub why: ShareFault,
}

/// Too few good shares.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} of {needed} needed holders ({}) brought a good share of ceremony {number}{}", .good.len(), list(.good), also(.bad))]
pub struct TooFewShares {
    /// m.
    pub needed: u8,
    /// Number of the ceremony.
    pub number: u32,
    /// Whose shares are good.
    pub good: Vec<String>,
    /// What does not count.
    pub bad: Vec<BadShare>,
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nobody".into() } else { names.join(", ") }
}

fn also(bad: &[BadShare]) -> String {
    let all: Vec<String> = bad.iter().map(ToString::to_string).collect();
    if all.is_empty() { String::new() } else { format!("; these do not count: {}", all.join("; ")) }
}

/// Shares as they come in, checked one by one.
pub struct Collector<'t> {
    transcript: &'t Transcript,
    good: Vec<Share>,
    bad: Vec<BadShare>,
}

impl<'t> Collector<'t> {
    /// Nothing yet.
    pub fn new(transcript: &'t Transcript) -> Self {
        Collector { transcript, good: Vec::new(), bad: Vec::new() }
    }

    /// Takes a share if it is one of this ceremony and the first of its holder.
    pub fn add(&mut self, share: Share) {
        match self.fault(&share) {
            None => self.good.push(share),
            // Its number is one of another list: it names nobody here.
            Some(why @ (ShareFault::OtherCeremony { .. } | ShareFault::OtherTerms { .. })) => {
                let who = format!("share {} of ceremony {}", share.index, share.number);
                self.bad.push(BadShare { who, why });
            }
            Some(why) => self.refuse(share.index, why),
        }
    }

    /// Notes that what a holder brought is no share.
    pub fn refuse(&mut self, index: u8, why: ShareFault) {
        let holder = self.transcript.holders().of(index);
        let who = holder.map_or_else(|| format!("share {index}"), |h| h.name.clone());
        self.bad.push(BadShare { who, why });
    }

    fn fault(&self, share: &Share) -> Option<ShareFault> {
        let terms = &self.transcript.terms;
        if share.number != terms.number {
            return Some(ShareFault::OtherCeremony { expected: terms.number, got: share.number });
        }
        let expected = terms.id();
        if share.ceremony != expected {
            return Some(ShareFault::OtherTerms { expected, got: share.ceremony });
        }
        let at = usize::from(share.index).checked_sub(1);
        let Some(expected) = at.and_then(|at| self.transcript.commitments.get(at)) else {
            return Some(ShareFault::NoSuchHolder { index: share.index, holders: terms.holders.holders.len() });
        };
        let got = share.commitment();
        if got != *expected {
            return Some(ShareFault::Corrupted { expected: *expected, got });
        }
        self.good.iter().any(|g| g.index == share.index).then_some(ShareFault::Twice)
    }

    /// Whose shares are good so far.
    pub fn good(&self) -> Vec<String> {
        let name = |s: &Share| self.transcript.holders().of(s.index).map(|h| h.name.clone());
        self.good.iter().filter_map(name).collect()
    }

    /// What does not count so far.
    pub fn bad(&self) -> &[BadShare] {
        &self.bad
    }

    /// Puts the secret together. Fewer than m good shares give nothing, however many were brought.
    pub fn combine(self) -> Result<Combined, TooFewShares> {
        let needed = self.transcript.holders().needed;
        let good = self.good();
        let few = || TooFewShares {
            needed,
            number: self.transcript.terms.number,
            good: self.good(),
            bad: self.bad.clone(),
        };
        if self.good.len() < usize::from(needed) {
            return Err(few());
        }
        let mut points: Vec<Vec<u8>> = Vec::new();
        for share in self.good.iter().take(usize::from(needed)) {
            let mut point = Vec::with_capacity(33);
            point.push(share.index);
            point.extend_from_slice(share.value.danger_expose());
            points.push(point);
        }
        let combined = Gf256::combine_bytes(&points).map(Zeroizing::new);
        points.iter_mut().for_each(Zeroize::zeroize);
        let bytes = combined.map_err(|_| few())?;
        let bytes: &[u8; 32] = bytes.as_slice().try_into().map_err(|_| few())?;
        Ok(Combined { secret: Secret32::danger_from_bytes(bytes), holders: good, bad: self.bad })
    }
}

/// A secret that m holders put together. Only [`Collector::combine`] makes one.
pub struct Combined {
    secret: Secret32,
    holders: Vec<String>,
    bad: Vec<BadShare>,
}

impl Combined {
    /// The secret.
    pub fn danger_secret(&self) -> &Secret32 {
        &self.secret
    }

    /// A key that follows from it, for a purpose.
    pub(crate) fn key(&self, label: &str) -> Secret32 {
        derive(self.secret.danger_expose(), label.as_bytes())
    }

    /// Whose shares were good.
    pub fn holders(&self) -> &[String] {
        &self.holders
    }

    /// What was brought and did not count.
    pub fn bad(&self) -> &[BadShare] {
        &self.bad
    }
}

#[cfg(test)]
pub(crate) mod tests;
