//! age files of version 1 with X25519 recipients (C2SP age): what a share leaves the enclave in.
//!
//! The encryption must happen inside the enclave, since the host must not see the share. The `age` crate cannot go in: it
//! needs std, draws from the operating system's randomness, and brings translations and passphrase files along. What a
//! share needs is one stanza and one chunk, so that is what is here, over kept primitives; the tests let the `age` crate
//! open ours and this module open the `age` crate's.

use alloc::{format, string::String, vec::Vec};
use core::fmt;
use core::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32, Hrp};
use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use x25519_dalek::{X25519_BASEPOINT_BYTES, x25519};
use zeroize::{Zeroize, Zeroizing};

use crate::platform::Platform;
use crate::secret::{Secret, Secret32, derive};

const VERSION_LINE: &str = "age-encryption.org/v1\n";
const STANZA_INFO: &[u8] = b"age-encryption.org/v1/X25519";
const RECIPIENT_HRP: &str = "age";
const IDENTITY_HRP: &str = "age-secret-key-";
/// Largest plaintext, in bytes: one chunk of age's STREAM.
pub const MAX_PLAINTEXT_BYTES: usize = 64 << 10;
/// Largest file that is opened, in bytes: one chunk, its tag, and a header with room for 100 recipients.
pub const MAX_FILE_BYTES: usize = MAX_PLAINTEXT_BYTES + (16 << 10);

/// Why something is no age file, recipient or identity, or does not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgeError {
    /// Not a recipient.
    #[error("{got:?} is not an age recipient: expected age1 and 58 characters, as age-keygen prints it")]
    Recipient {
        /// What was given.
        got: String,
    },
    /// Not an identity. What was given is secret, so it is not repeated.
    #[error("not an age identity: expected AGE-SECRET-KEY-1 and 58 characters, as age-keygen writes it; a hardware key opens the file with age itself")]
    Identity,
    /// More than one chunk.
    #[error("{got} bytes do not fit: expected at most {MAX_PLAINTEXT_BYTES}")]
    TooLong {
        /// Bytes.
        got: usize,
    },
    /// Not an age file.
    #[error("not an age file of version 1 with an X25519 recipient: {0}")]
    Malformed(&'static str),
    /// For somebody else.
    #[error("the age file is not for this identity: none of its stanzas opens")]
    NotForUs,
    /// Changed.
    #[error("the age file was changed or cut off: its {0} does not verify")]
    Damaged(&'static str),
    /// The recipient's key is of small order, so everybody knows the secret.
    #[error("the key is of small order and protects nothing; make another with age-keygen")]
    WeakKey,
}

/// An X25519 public key to which age files are encrypted. As text: `age1…`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Recipient([u8; 32]);

impl Recipient {
    /// The Montgomery u-coordinate, 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Takes any 32 bytes; those of small order are refused when something is encrypted to them.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Recipient(bytes)
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = bech32::encode::<Bech32>(Hrp::parse_unchecked(RECIPIENT_HRP), &self.0);
        f.write_str(&text.map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Recipient {
    type Err = AgeError;
    fn from_str(s: &str) -> Result<Self, AgeError> {
        let bad = || AgeError::Recipient { got: s.chars().take(80).collect() };
        let lower = s.chars().all(|c| !c.is_ascii_uppercase());
        from_bech32(RECIPIENT_HRP, s).filter(|_| lower).map(Recipient).ok_or_else(bad)
    }
}

fn from_bech32(hrp: &str, s: &str) -> Option<[u8; 32]> {
    let parsed = CheckedHrpstring::new::<Bech32>(s).ok()?;
    if parsed.hrp() != Hrp::parse(hrp).ok()? {
        return None;
    }
    let mut bytes = parsed.byte_iter();
    let out: [u8; 32] = core::array::from_fn(|_| bytes.next().unwrap_or(0));
    (parsed.byte_iter().len() == 32).then_some(out)
}

/// An X25519 secret key that opens age files. As text: `AGE-SECRET-KEY-1…`.
pub struct Identity(Secret32);

impl Identity {
    /// A fresh one.
    pub fn generate(platform: &mut dyn Platform) -> Self {
        Identity(Secret32::random(platform))
    }

    /// Reads the line that `age-keygen` writes; comments and blank lines around it are skipped.
    pub fn parse(text: &str) -> Result<Self, AgeError> {
        let line = text.lines().map(str::trim).find(|l| !l.is_empty() && !l.starts_with('#')).ok_or(AgeError::Identity)?;
        let upper = line.chars().all(|c| !c.is_ascii_lowercase());
        let mut bytes = from_bech32(IDENTITY_HRP, line).filter(|_| upper).ok_or(AgeError::Identity)?;
        let identity = Identity(Secret32::danger_from_bytes(&bytes));
        bytes.zeroize();
        Ok(identity)
    }

    /// The line for a key file.
    pub fn danger_to_text(&self) -> Zeroizing<String> {
        let text = bech32::encode_upper::<Bech32>(Hrp::parse_unchecked(IDENTITY_HRP), self.0.danger_expose());
        Zeroizing::new(text.unwrap_or_default())
    }

    /// The key that others encrypt to.
    pub fn recipient(&self) -> Recipient {
        Recipient(x25519(*self.0.danger_expose(), X25519_BASEPOINT_BYTES))
    }
}

/// Encrypts to one recipient.
pub fn encrypt(platform: &mut dyn Platform, to: &Recipient, plaintext: &[u8]) -> Result<Vec<u8>, AgeError> {
    if plaintext.len() > MAX_PLAINTEXT_BYTES {
        return Err(AgeError::TooLong { got: plaintext.len() });
    }
    let file_key = Secret::<16>::random(platform);
    let ephemeral = Secret32::random(platform);
    let share = x25519(*ephemeral.danger_expose(), X25519_BASEPOINT_BYTES);
    let wrap = wrap_key(ephemeral.danger_expose(), &to.0, &share, &to.0).ok_or(AgeError::WeakKey)?;
    let body = seal(&wrap, &[0; 12], file_key.danger_expose()).ok_or(AgeError::WeakKey)?;
    let mut file = format!(
        "{VERSION_LINE}-> X25519 {}\n{}\n---",
        STANDARD_NO_PAD.encode(share),
        STANDARD_NO_PAD.encode(body)
    );
    let mac = header_mac(&file_key, file.as_bytes()).finalize().into_bytes();
    file.push_str(&format!(" {}\n", STANDARD_NO_PAD.encode(mac)));
    let mut nonce = [0; 16];
    platform.random(&mut nonce);
    let key = payload_key(&file_key, &nonce).ok_or(AgeError::Damaged("payload"))?;
    let payload = seal(&key, &LAST_CHUNK, plaintext).ok_or(AgeError::Damaged("payload"))?;
    let mut out = file.into_bytes();
    out.extend_from_slice(&nonce);
    out.extend_from_slice(&payload);
    Ok(out)
}

/// Opens a file of one chunk; stanzas of other kinds are skipped.
pub fn decrypt(identity: &Identity, file: &[u8]) -> Result<Zeroizing<Vec<u8>>, AgeError> {
    if file.len() > MAX_FILE_BYTES {
        return Err(AgeError::TooLong { got: file.len() });
    }
    let header = Header::parse(file)?;
    let own = identity.recipient();
    let file_key = header
        .stanzas
        .iter()
        .find_map(|(share, body)| {
            let wrap = wrap_key(identity.0.danger_expose(), share, share, &own.0)?;
            let key = Zeroizing::new(open(&wrap, &[0; 12], body)?);
            let key: &[u8; 16] = key.as_slice().try_into().ok()?;
            Some(Secret::<16>::danger_from_bytes(key))
        })
        .ok_or(AgeError::NotForUs)?;
    header_mac(&file_key, header.text).verify_slice(&header.mac).map_err(|_| AgeError::Damaged("header"))?;
    let (nonce, payload) = header.body.split_first_chunk::<16>().ok_or(AgeError::Damaged("payload"))?;
    let plain = payload_key(&file_key, nonce).and_then(|key| open(&key, &LAST_CHUNK, payload));
    plain.map(Zeroizing::new).ok_or(AgeError::Damaged("payload"))
}

/// STREAM nonce of a first chunk that is also the last: counter 0, then the flag.
const LAST_CHUNK: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

struct Header<'f> {
    /// Ephemeral share and wrapped file key of each X25519 stanza.
    stanzas: Vec<([u8; 32], [u8; 32])>,
    /// What the MAC covers: everything up to `---`, without the space after it.
    text: &'f [u8],
    mac: [u8; 32],
    body: &'f [u8],
}

impl<'f> Header<'f> {
    fn parse(file: &'f [u8]) -> Result<Self, AgeError> {
        let bad = AgeError::Malformed;
        let end = file.windows(5).position(|w| w == b"\n--- ").ok_or(bad("no end of the header"))?.saturating_add(4);
        let (text, rest) = file.split_at_checked(end).ok_or(bad("no end of the header"))?;
        let line_end = rest.iter().position(|b| *b == b'\n').ok_or(bad("no MAC"))?;
        let (mac, body) = rest.split_at_checked(line_end).ok_or(bad("no MAC"))?;
        let mac = mac.get(1..).and_then(decode32).ok_or(bad("the MAC is not 32 bytes in base64"))?;
        let body = body.get(1..).unwrap_or_default();
        let lines = core::str::from_utf8(text).map_err(|_| bad("the header is not text"))?;
        let mut lines = lines.strip_prefix(VERSION_LINE).ok_or(bad("the first line is another"))?.lines().peekable();
        let mut stanzas = Vec::new();
        while let Some(line) = lines.next().filter(|l| *l != "---") {
            let share = line.strip_prefix("-> ").ok_or(bad("expected a stanza"))?.strip_prefix("X25519 ");
            let mut wrapped = String::new();
            // A stanza's body ends with its first line of fewer than 64 characters.
            loop {
                let part = lines.next().ok_or(bad("a stanza is cut off"))?;
                wrapped.push_str(part);
                if part.len() < 64 {
                    break;
                }
            }
            if let Some(share) = share {
                let both = decode32(share.as_bytes()).zip(decode32(wrapped.as_bytes()));
                stanzas.push(both.ok_or(bad("an X25519 stanza does not have 32 and 32 bytes"))?);
            }
        }
        Ok(Header { stanzas, text, mac, body })
    }
}

fn decode32(text: &[u8]) -> Option<[u8; 32]> {
    STANDARD_NO_PAD.decode(text).ok()?.try_into().ok()
}

/// The key that wraps the file key. `None` where the shared secret is zero: one of the keys is of small order.
fn wrap_key(secret: &[u8; 32], public: &[u8; 32], share: &[u8; 32], recipient: &[u8; 32]) -> Option<Secret32> {
    let shared = Zeroizing::new(x25519(*secret, *public));
    if shared.iter().all(|b| *b == 0) {
        return None;
    }
    let salt: Vec<u8> = [share.as_slice(), recipient].concat();
    expand(&salt, shared.as_slice(), STANZA_INFO)
}

/// HKDF-SHA256 with a salt. `None` never happens: 32 bytes are within its limit.
fn expand(salt: &[u8], key: &[u8], info: &[u8]) -> Option<Secret32> {
    let mut good = true;
    let out = Secret32::fill_with(|b| good = Hkdf::<Sha256>::new(Some(salt), key).expand(info, b).is_ok());
    good.then_some(out)
}

fn header_mac(file_key: &Secret<16>, text: &[u8]) -> Hmac<Sha256> {
    let key = derive(file_key.danger_expose(), b"header");
    let mut block = Zeroizing::new([0; 64]);
    block.iter_mut().zip(key.danger_expose()).for_each(|(to, from)| *to = *from);
    let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new((&*block).into());
    mac.update(text);
    mac
}

fn payload_key(file_key: &Secret<16>, nonce: &[u8; 16]) -> Option<Secret32> {
    expand(nonce, file_key.danger_expose(), b"payload")
}

fn cipher(key: &Secret32) -> ChaCha20Poly1305 {
    ChaCha20Poly1305::new(key.danger_expose().into())
}

fn seal(key: &Secret32, nonce: &[u8; 12], plaintext: &[u8]) -> Option<Vec<u8>> {
    cipher(key).encrypt(<&Nonce>::from(nonce), plaintext).ok()
}

fn open(key: &Secret32, nonce: &[u8; 12], ciphertext: &[u8]) -> Option<Vec<u8>> {
    cipher(key).decrypt(<&Nonce>::from(nonce), ciphertext).ok()
}

#[cfg(test)]
mod tests;
