//! Decimal fractions as the chain writes its voting bars, and their exact comparison with ratios of token amounts.
//!
//! No floats and no division: `part / whole` is compared with a decimal by cross multiplication in 256 bits,
//! so no rounding ever decides a vote.

use alloc::string::{String, ToString};
use core::cmp::Ordering;
use core::fmt;
use core::str::FromStr;

/// Digits after the decimal point, as the SDK's `LegacyDec`.
pub const DIGITS: u32 = 18;
const ONE: u128 = 1_000_000_000_000_000_000;

/// A non-negative decimal with 18 fractional digits, at most about 3.4e20.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal(u128);

/// A text that is not such a decimal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a decimal such as \"0.334\" with at most 18 digits after the point, got {got:?}")]
pub struct BadDecimal {
    /// What was given, cut to 40 characters.
    pub got: String,
}

impl Decimal {
    /// Zero.
    pub const ZERO: Decimal = Decimal(0);
    /// One.
    pub const ONE: Decimal = Decimal(ONE);

    /// From units of 10^-18.
    pub const fn from_atomics(atomics: u128) -> Self {
        Decimal(atomics)
    }

    /// In units of 10^-18.
    pub const fn atomics(self) -> u128 {
        self.0
    }

    /// `self - other`, or zero.
    pub const fn saturating_sub(self, other: Decimal) -> Decimal {
        Decimal(self.0.saturating_sub(other.0))
    }

    /// How `part / whole` compares with this decimal, exactly. `None` if `whole` is zero: no ratio exists.
    pub fn compare_ratio(self, part: u128, whole: u128) -> Option<Ordering> {
        if whole == 0 {
            return None;
        }
        Some(mul_wide(part, ONE).cmp(&mul_wide(self.0, whole)))
    }

    /// `part / whole >= self`; false if `whole` is zero.
    pub fn at_most_ratio(self, part: u128, whole: u128) -> bool {
        matches!(
            self.compare_ratio(part, whole),
            Some(Ordering::Greater | Ordering::Equal)
        )
    }

    /// `part / whole > self`; false if `whole` is zero.
    pub fn below_ratio(self, part: u128, whole: u128) -> bool {
        self.compare_ratio(part, whole) == Some(Ordering::Greater)
    }
}

/// `a * b` as (high, low) 128-bit halves; the tuple orders as the number does.
#[expect(
    clippy::arithmetic_side_effects,
    reason = "64-bit limbs: no product or carry sum exceeds 128 bits"
)]
pub(crate) fn mul_wide(a: u128, b: u128) -> (u128, u128) {
    const LOW: u128 = u64::MAX as u128;
    let (a1, a0, b1, b0) = (a >> 64, a & LOW, b >> 64, b & LOW);
    let (ll, lh, hl, hh) = (a0 * b0, a0 * b1, a1 * b0, a1 * b1);
    let mid = (ll >> 64) + (lh & LOW) + (hl & LOW);
    (
        hh + (lh >> 64) + (hl >> 64) + (mid >> 64),
        (mid << 64) | (ll & LOW),
    )
}

impl FromStr for Decimal {
    type Err = BadDecimal;

    fn from_str(s: &str) -> Result<Self, BadDecimal> {
        parse(s).map(Decimal).ok_or_else(|| BadDecimal {
            got: s.chars().take(40).collect(),
        })
    }
}

fn parse(s: &str) -> Option<u128> {
    let (whole, fraction) = s.split_once('.').unwrap_or((s, "0"));
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    let missing = DIGITS.checked_sub(u32::try_from(fraction.len()).ok()?)?;
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let fraction = fraction
        .parse::<u128>()
        .ok()?
        .checked_mul(10u128.checked_pow(missing)?)?;
    whole
        .parse::<u128>()
        .ok()?
        .checked_mul(ONE)?
        .checked_add(fraction)
}

impl fmt::Display for Decimal {
    /// The shortest form: no trailing zeros, no point for a whole number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.0.checked_div(ONE).unwrap_or_default();
        let fraction = self.0.checked_rem(ONE).unwrap_or_default();
        if fraction == 0 {
            return write!(f, "{whole}");
        }
        let digits = alloc::format!("{fraction:018}");
        write!(f, "{whole}.{}", digits.trim_end_matches('0'))
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Decimal({self})")
    }
}

impl serde::Serialize for Decimal {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Decimal {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let s = <String as serde::Deserialize>::deserialize(d)?;
        s.parse().map_err(serde::de::Error::custom)
    }
}

/// CBOR: the text of [`fmt::Display`]; any other spelling of the same number is refused, so that one number has one encoding.
impl<C> minicbor::Encode<C> for Decimal {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.str(&self.to_string())?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Decimal {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let text = d.str()?;
        match text.parse::<Decimal>() {
            Ok(v) if v.to_string() == text => Ok(v),
            _ => Err(minicbor::decode::Error::message(
                "not a decimal in its shortest form",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use proptest::prelude::*;

    fn d(s: &str) -> Decimal {
        s.parse().unwrap()
    }

    #[test]
    fn text_is_read_as_the_sdk_writes_it() {
        assert_eq!(d("0.334000000000000000").atomics(), 334_000_000_000_000_000);
        assert_eq!(d("1").atomics(), ONE);
        assert_eq!(d("0.000000000000000001").atomics(), 1);
        assert_eq!(d("0.334000000000000000").to_string(), "0.334");
    }

    #[test]
    fn what_is_not_a_plain_decimal_is_refused() {
        for s in [
            "",
            ".",
            "0.",
            ".5",
            "-0.5",
            "+1",
            "1e3",
            " 1",
            "1 ",
            "0,5",
            "0.0000000000000000001",
            "1.2.3",
            "０.５",
            "340282366920938463464",
            "99999999999999999999999999999999999999999",
        ] {
            assert!(s.parse::<Decimal>().is_err(), "{s:?}");
        }
    }

    #[test]
    fn equality_is_exact_at_the_last_unit() {
        let third = d("0.333333333333333333");
        assert_eq!(third.compare_ratio(1, 3), Some(Ordering::Greater));
        assert_eq!(d("0.5").compare_ratio(1, 2), Some(Ordering::Equal));
        assert_eq!(
            d("0.5").compare_ratio(u128::MAX / 2, u128::MAX - 1),
            Some(Ordering::Equal)
        );
        assert_eq!(
            d("0.5").compare_ratio(u128::MAX / 2, u128::MAX),
            Some(Ordering::Less)
        );
        assert_eq!(d("0.5").compare_ratio(1, 0), None);
        assert!(!Decimal::ZERO.at_most_ratio(0, 0));
        assert!(Decimal::ZERO.at_most_ratio(0, 1));
        assert!(!Decimal::ZERO.below_ratio(0, 1));
    }

    #[test]
    fn cbor_has_one_form() {
        let bytes = baton_attest::identity::encode(&d("0.334"));
        assert_eq!(minicbor::decode::<Decimal>(&bytes).unwrap(), d("0.334"));
        let other = baton_attest::identity::encode(&"0.3340");
        assert!(minicbor::decode::<Decimal>(&other).is_err());
    }

    proptest! {
        #[test]
        fn wide_product_agrees_with_schoolbook_in_base_2_32(a: u128, b: u128) {
            let limbs = |x: u128| [0, 32, 64, 96].map(|s| (x >> s) as u32 as u64);
            let mut out = [0u64; 8];
            for (i, x) in limbs(a).into_iter().enumerate() {
                let mut carry = 0u64;
                for (j, y) in limbs(b).into_iter().enumerate() {
                    let t = u128::from(out[i + j]) + u128::from(x) * u128::from(y) + u128::from(carry);
                    out[i + j] = t as u32 as u64;
                    carry = (t >> 32) as u64;
                }
                out[i + 4] = carry;
            }
            let join = |s: &[u64]| s.iter().rev().fold(0u128, |acc, l| (acc << 32) | u128::from(*l));
            prop_assert_eq!(mul_wide(a, b), (join(&out[4..]), join(&out[..4])));
        }

        #[test]
        fn text_round_trips(atomics: u128) {
            let v = Decimal::from_atomics(atomics);
            prop_assert_eq!(d(&v.to_string()), v);
            prop_assert_eq!(d(&format!("{}", v)).to_string(), v.to_string());
        }

        #[test]
        fn ratio_comparison_agrees_with_small_numbers(part in 0u64..1_000_000, whole in 1u64..1_000_000, milli in 0u128..2000) {
            let bar = Decimal::from_atomics(milli * (ONE / 1000));
            let exact = (u128::from(part) * 1000).cmp(&(milli * u128::from(whole)));
            prop_assert_eq!(bar.compare_ratio(part.into(), whole.into()), Some(exact));
        }
    }
}
