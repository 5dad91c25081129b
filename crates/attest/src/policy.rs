//! What a policy says about builds and about platforms. Parts of the policy that is measured into an enclave.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::identity::{Identity, PLATFORM_SGX, Signer, flags};

/// Which builds may hold a seed, whatever people vote: the second condition beside the vote.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
#[serde(deny_unknown_fields)]
pub struct BuildRules {
    /// MRSIGNER of every key that may sign a build, two or more: a lost key must strand nobody.
    #[n(0)]
    pub signers: Vec<Signer>,
    /// ISVPRODID, equal.
    #[n(1)]
    pub product_id: u16,
    /// The least ISVSVN.
    #[n(2)]
    pub min_svn: u16,
}

/// Why build rules refuse an enclave, or make no sense themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The policy lists fewer than two different signers.
    #[error(
        "the policy lists {got} different signers, expected 2 or more: if the only key is lost, no build can follow; list a second one"
    )]
    TooFewSigners {
        /// Different signers in the list.
        got: usize,
    },
    /// A debugger may read the enclave.
    #[error(
        "the enclave runs with DEBUG: its memory is open to the host; start the production build"
    )]
    Debug,
    /// Attributes, MISCSELECT or CONFIGID are not those of a production launch.
    #[error("the enclave was launched with {field} {got:#x}, expected {expected:#x}")]
    Launch {
        /// Name of the field.
        field: &'static str,
        /// Value of a production launch.
        expected: u64,
        /// Value that was attested.
        got: u64,
    },
    /// CONFIGID is in use.
    #[error(
        "the enclave was launched with a CONFIGID, expected none: it is input that no vote covers"
    )]
    ConfigId,
    /// Another platform than SGX.
    #[error("platform tag {got}, expected {PLATFORM_SGX}")]
    Platform {
        /// The tag that was given.
        got: u8,
    },
    /// MRSIGNER is not listed.
    #[error("signer {got} is not one of the policy's")]
    Signer {
        /// The signer that was attested.
        got: Signer,
    },
    /// Another product.
    #[error("product id {got}, expected {expected}")]
    ProductId {
        /// The policy's.
        expected: u16,
        /// What was attested.
        got: u16,
    },
    /// ISVSVN is below the least one.
    #[error("svn {got}, expected at least {least}")]
    Svn {
        /// The policy's least.
        least: u16,
        /// What was attested.
        got: u16,
    },
}

impl BuildRules {
    /// ATTRIBUTES.FLAGS of a production launch: initialized, 64 bits, nothing else.
    pub const PRODUCTION_FLAGS: u64 = flags::INIT | flags::MODE64BIT;

    /// Do the rules themselves make sense?
    pub fn validate(&self) -> Result<(), BuildError> {
        let mut all = self.signers.clone();
        all.sort_unstable();
        all.dedup();
        if all.len() < 2 {
            return Err(BuildError::TooFewSigners { got: all.len() });
        }
        Ok(())
    }

    /// Checks an attested identity: everything but the measurement, which is the vote's to name.
    pub fn check(&self, id: &Identity) -> Result<(), BuildError> {
        self.check_also(id, None)
    }

    /// As [`Self::check`]; `voted` is a signer that a vote with the override share named for one plan,
    /// and counts as listed.
    pub fn check_also(&self, id: &Identity, voted: Option<Signer>) -> Result<(), BuildError> {
        if id.platform_tag != PLATFORM_SGX {
            return Err(BuildError::Platform {
                got: id.platform_tag,
            });
        }
        if id.is_debug() {
            return Err(BuildError::Debug);
        }
        let launch = |field, expected: u64, got: u64| match got == expected {
            true => Ok(()),
            false => Err(BuildError::Launch {
                field,
                expected,
                got,
            }),
        };
        launch(
            "ATTRIBUTES.FLAGS",
            Self::PRODUCTION_FLAGS,
            id.attributes.flags,
        )?;
        launch("MISCSELECT", 0, id.misc_select.into())?;
        launch("CONFIGSVN", 0, id.config_svn.into())?;
        if id.config_id != [0; 64] {
            return Err(BuildError::ConfigId);
        }
        if !self.signers.contains(&id.signer) && voted != Some(id.signer) {
            return Err(BuildError::Signer { got: id.signer });
        }
        if id.product_id != self.product_id {
            return Err(BuildError::ProductId {
                expected: self.product_id,
                got: id.product_id,
            });
        }
        if id.svn < self.min_svn {
            return Err(BuildError::Svn {
                least: self.min_svn,
                got: id.svn,
            });
        }
        Ok(())
    }
}

/// The state of a platform's TCB, as Intel's TCB info names it. `Revoked` is not among them: it is never accepted.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Encode, Decode, Serialize, Deserialize,
)]
#[cbor(index_only)]
pub enum TcbStatus {
    /// Everything is patched.
    #[n(0)]
    UpToDate,
    /// Patched, and the enclave's code must mitigate something by itself.
    #[n(1)]
    #[serde(rename = "SWHardeningNeeded")]
    SwHardeningNeeded,
    /// Patched, and the platform's configuration (BIOS, hyperthreading) may leave something open.
    #[n(2)]
    ConfigurationNeeded,
    /// Both of these.
    #[n(3)]
    #[serde(rename = "ConfigurationAndSWHardeningNeeded")]
    ConfigurationAndSwHardeningNeeded,
    /// A patch is missing.
    #[n(4)]
    OutOfDate,
    /// A patch is missing, and the configuration may leave something open.
    #[n(5)]
    OutOfDateConfigurationNeeded,
}

impl fmt::Display for TcbStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UpToDate => "UpToDate",
            Self::SwHardeningNeeded => "SWHardeningNeeded",
            Self::ConfigurationNeeded => "ConfigurationNeeded",
            Self::ConfigurationAndSwHardeningNeeded => "ConfigurationAndSWHardeningNeeded",
            Self::OutOfDate => "OutOfDate",
            Self::OutOfDateConfigurationNeeded => "OutOfDateConfigurationNeeded",
        })
    }
}

/// Which platforms a quote may come from.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
#[serde(deny_unknown_fields)]
pub struct TcbPolicy {
    /// TCB states that are accepted.
    #[n(0)]
    pub statuses: Vec<TcbStatus>,
    /// Advisories (`INTEL-SA-…`) that are never accepted.
    #[n(1)]
    #[serde(default)]
    pub denied_advisories: Vec<String>,
    /// If present, the only advisories that are accepted.
    #[n(2)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_advisories: Option<Vec<String>>,
    /// The least `tcbEvaluationDataNumber` of TCB info and QE identity: a floor under how old collateral may be.
    #[n(3)]
    pub min_tcb_evaluation: u32,
    /// How old TCB info, QE identity and PCK CRL may be when a secret crosses, in seconds of collateral time.
    #[n(4)]
    pub max_collateral_age_secs: u64,
    /// Root certificates, DER. In text: base64, or the word `intel`.
    #[cbor(n(5), with = "der_list")]
    #[serde(with = "root_text")]
    pub roots: Vec<Vec<u8>>,
}

/// Why a TCB policy makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TcbPolicyError {
    /// No platform could ever pass.
    #[error("the TCB policy accepts no {what}, expected at least one: no quote could ever pass")]
    Empty {
        /// What is missing.
        what: &'static str,
    },
    /// An advisory is denied and allowed at once.
    #[error("an advisory is both denied and allowed, expected one of them")]
    Contradiction,
}

impl TcbPolicy {
    /// Does the policy itself make sense?
    pub fn validate(&self) -> Result<(), TcbPolicyError> {
        if self.statuses.is_empty() {
            return Err(TcbPolicyError::Empty { what: "TCB status" });
        }
        if self.roots.is_empty() {
            return Err(TcbPolicyError::Empty {
                what: "root certificate",
            });
        }
        let allowed = self.allowed_advisories.as_deref().unwrap_or_default();
        if self.denied_advisories.iter().any(|d| allowed.contains(d)) {
            return Err(TcbPolicyError::Contradiction);
        }
        Ok(())
    }
}

/// A list of byte strings in CBOR.
mod der_list {
    use alloc::vec::Vec;
    use minicbor::bytes::{ByteSlice, ByteVec};
    use minicbor::encode::Write;
    use minicbor::{Decoder, Encoder, decode::Error as Bad};

    pub(super) fn encode<C, W: Write>(
        v: &[Vec<u8>],
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.array(v.len() as u64)?;
        for item in v {
            e.encode(<&ByteSlice>::from(item.as_slice()))?;
        }
        Ok(())
    }

    pub(super) fn decode<'b, C>(d: &mut Decoder<'b>, _: &mut C) -> Result<Vec<Vec<u8>>, Bad> {
        let list: Vec<ByteVec> = d.decode()?;
        Ok(list.into_iter().map(Into::into).collect())
    }
}

/// Root certificates in text.
mod root_text {
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;
    use base64::{Engine, engine::general_purpose::STANDARD};
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    const INTEL: &str = "intel";

    pub(super) fn serialize<S: Serializer>(v: &[Vec<u8>], s: S) -> Result<S::Ok, S::Error> {
        let text = |der: &Vec<u8>| match der == crate::quote::intel_root() {
            true => INTEL.to_string(),
            false => STANDARD.encode(der),
        };
        v.iter().map(text).collect::<Vec<_>>().serialize(s)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Vec<u8>>, D::Error> {
        let bytes = |text: String| match text.as_str() {
            INTEL => Ok(crate::quote::intel_root().to_vec()),
            other => STANDARD
                .decode(other)
                .map_err(|_| D::Error::custom("expected base64 of a certificate, or `intel`")),
        };
        Vec::<String>::deserialize(d)?
            .into_iter()
            .map(bytes)
            .collect()
    }
}
