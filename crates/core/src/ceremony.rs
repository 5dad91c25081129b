//! How shares come back: a session of an enclave, and boxes that only it opens, each bound to the one thing agreed to.
//!
//! The enclave draws a key and a nonce in memory and attests both ([`SessionInfo::digest`]). A holder checks the
//! attestation on their own machine, says what they agree to ([`Subject`]), and boxes the share to that key. Both are in
//! the associated data: a box neither opens in another session, nor counts for another subject, and a host that holds m
//! boxes for one measurement cannot have another one signed.

use alloc::{format, string::ToString, vec::Vec};

use baton_attest::identity::{Digest32, Measurement, PlatformId, encode, hash};
use minicbor::{Decode, Encode};

use crate::cbor::decode_exact;
use crate::hpke_box::{BoxError, PublicKey, RecipientKey, SealedBox, seal_to};
use crate::platform::Platform;
use crate::shares::{Collector, Combined, Share, ShareFault, TooFewShares, Transcript};

pub mod network;

/// The version of sessions and boxes.
pub const VERSION: u8 = 1;
/// Largest box that is read, in bytes.
pub const MAX_BOX_BYTES: usize = 4 << 10;
/// Most boxes that are looked at.
pub const MAX_BOXES: usize = 200;

const BOX_CONTEXT: &str = "baton share box v1";

/// What holders agree to. CBOR array.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Subject {
    /// The developers' signature on one build.
    #[n(0)]
    Sign {
        /// MRENCLAVE.
        #[n(0)]
        measurement: Measurement,
        /// ISVPRODID.
        #[n(1)]
        product_id: u16,
        /// ISVSVN.
        #[n(2)]
        svn: u16,
    },
    /// New shares for these holders.
    #[n(1)]
    Reshare {
        /// [`crate::shares::Holders::digest`] of the new list.
        #[n(0)]
        holders: Digest32,
    },
    /// What an escrow holds, for one request.
    #[n(2)]
    Release {
        /// Digest of the order that names the build.
        #[n(0)]
        order: Digest32,
        /// Digest of the target's request, which holds its key.
        #[n(1)]
        request: Digest32,
        /// The target's machine.
        #[n(2)]
        platform: PlatformId,
    },
}

impl Subject {
    /// SHA-256(`"baton share subject v1"`, CBOR).
    pub fn digest(&self) -> Digest32 {
        hash("baton share subject v1", &[&encode(self)])
    }
}

/// An enclave's open session. CBOR map. **Unverified** until its attestation is.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SessionInfo {
    /// [`VERSION`].
    #[n(0)]
    pub version: u8,
    /// Digest of the transcript whose shares are asked for; zeros where the enclave knows none, as a lifeboat.
    #[n(1)]
    pub transcript: Digest32,
    /// X-Wing public key, 1216 bytes.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub key: Vec<u8>,
    /// Drawn for this session, 32 bytes.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub nonce: [u8; 32],
}

/// Bytes that are no session or box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not {what} of version {VERSION}: truncated, too long, or another file")]
pub struct NotThat {
    /// What was expected.
    pub what: &'static str,
}

impl SessionInfo {
    /// What the enclave attests.
    pub fn digest(&self) -> Digest32 {
        hash("baton share session v1", &[&encode(self)])
    }

    /// Reads one session.
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, NotThat> {
        let info = Some(bytes).filter(|b| b.len() <= MAX_BOX_BYTES).and_then(decode_exact::<Self>);
        info.filter(|i| i.version == VERSION).ok_or(NotThat { what: "a session" })
    }
}

/// A share on its way back. CBOR map.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ShareBox {
    /// [`VERSION`].
    #[n(0)]
    pub version: u8,
    /// Number of the share inside, so that a box that does not open has a name.
    #[n(1)]
    pub index: u8,
    /// The share's line, encrypted.
    #[n(2)]
    pub sealed: SealedBox,
}

fn aad(session: &Digest32, subject: &Digest32, index: u8) -> Vec<u8> {
    hash("baton share box aad v1", &[&session.0, &subject.0, &[index]]).0.to_vec()
}

impl ShareBox {
    /// The holder's side: boxes a share for a session, for one subject. The caller has checked the session's attestation.
    pub fn seal(platform: &mut dyn Platform, info: &SessionInfo, subject: &Subject, share: &Share) -> Result<Self, BoxError> {
        let (key, index) = (PublicKey::from_bytes(&info.key)?, share.index());
        let aad = aad(&info.digest(), &subject.digest(), index);
        let sealed = seal_to(platform, &key, BOX_CONTEXT, &aad, share.danger_to_text().as_bytes())?;
        Ok(ShareBox { version: VERSION, index, sealed })
    }

    /// Reads one box.
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, NotThat> {
        let b = Some(bytes).filter(|b| b.len() <= MAX_BOX_BYTES).and_then(decode_exact::<Self>);
        b.filter(|b| b.version == VERSION).ok_or(NotThat { what: "a box with a share" })
    }
}

/// The enclave's side of a session. It lives in memory only and ends with the first thing that m holders agreed to.
pub struct Session {
    key: RecipientKey,
    info: SessionInfo,
}

impl Session {
    /// Draws a key and a nonce.
    pub fn open(platform: &mut dyn Platform, transcript: Digest32) -> Self {
        let key = RecipientKey::generate(platform);
        let mut nonce = [0; 32];
        platform.random(&mut nonce);
        let info = SessionInfo { version: VERSION, transcript, key: key.public_key().to_bytes(), nonce };
        Session { key, info }
    }

    /// What the world may see.
    pub fn info(&self) -> &SessionInfo {
        &self.info
    }

    /// Opens boxes and puts the secret together. What is bad is skipped and named.
    pub fn combine(&self, transcript: &Transcript, subject: &Subject, boxes: &[ShareBox]) -> Result<Combined, TooFewShares> {
        self.combine_with(transcript, subject, boxes, None)
    }

    /// The same with a share that the enclave holds itself, see [`network`].
    pub fn combine_with(
        &self,
        transcript: &Transcript,
        subject: &Subject,
        boxes: &[ShareBox],
        own: Option<Share>,
    ) -> Result<Combined, TooFewShares> {
        let mut collector = Collector::new(transcript);
        own.into_iter().for_each(|share| collector.add(share));
        let (session, subject) = (self.info.digest(), subject.digest());
        for b in boxes.iter().take(MAX_BOXES) {
            match self.share_in(b, &aad(&session, &subject, b.index), transcript) {
                Ok(share) => collector.add(share),
                Err(why) => collector.refuse(b.index, why),
            }
        }
        collector.combine()
    }

    fn share_in(&self, b: &ShareBox, aad: &[u8], transcript: &Transcript) -> Result<Share, ShareFault> {
        let opened = self.key.open(BOX_CONTEXT, aad, &b.sealed).map_err(|_| {
            let why = "the box does not open: it was made for another session, for something else than is asked here, or it was changed; box the share again";
            ShareFault::Unreadable(why.to_string())
        })?;
        let text = core::str::from_utf8(&opened).map_err(|e| ShareFault::Unreadable(format!("not a share: {e}")))?;
        let share = Share::parse(text).map_err(|e| ShareFault::Unreadable(e.to_string()))?;
        if share.index() != b.index {
            let holder = transcript.holders().of(share.index());
            let holder = holder.map_or_else(|| format!("number {}", share.index()), |h| h.name.clone());
            return Err(ShareFault::OtherHolder { holder });
        }
        Ok(share)
    }
}

/// The wrapping of a signing key: AES-256-GCM-SIV under a key that only m shares give.
pub mod wrap {
    use alloc::vec::Vec;

    use aes_gcm_siv::aead::{Aead, KeyInit, Payload};
    use aes_gcm_siv::{Aes256GcmSiv, Key};
    use baton_attest::identity::Digest32;
    use zeroize::Zeroizing;

    use crate::secret::Secret32;
    use crate::shares::Combined;

    const LABEL: &str = "baton signing key wrap v1";

    fn cipher(key: &Secret32) -> Aes256GcmSiv {
        Aes256GcmSiv::new(<&Key<Aes256GcmSiv>>::from(key.danger_expose()))
    }

    /// Wraps under the secret that is about to be dealt. Each secret wraps once, so the nonce is fixed.
    pub fn wrap(secret: &Secret32, ceremony: &Digest32, plaintext: &[u8]) -> Option<Vec<u8>> {
        let key = crate::secret::derive(secret.danger_expose(), LABEL.as_bytes());
        cipher(&key).encrypt(&[0; 12].into(), Payload { msg: plaintext, aad: &ceremony.0 }).ok()
    }

    /// Unwraps with what m holders put together.
    pub fn unwrap(combined: &Combined, ceremony: &Digest32, wrapped: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let key = combined.key(LABEL);
        cipher(&key).decrypt(&[0; 12].into(), Payload { msg: wrapped, aad: &ceremony.0 }).ok().map(Zeroizing::new)
    }
}

#[cfg(test)]
mod tests;
