//! The SDK's LegacyDec, as far as shares need it: 18 fractional digits in an integer.

/// One, with 18 fractional digits.
pub(crate) const ONE: u128 = 1_000_000_000_000_000_000;

/// Reads "0.334" and the like; `None` for anything else, or more than 18 fractional digits.
pub(crate) fn parse(text: &str) -> Option<u128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty()
        || whole.len() > 15
        || fraction.len() > 18
        || !digits(whole)
        || !digits(fraction)
    {
        return None;
    }
    let fraction: u128 = format!("{fraction:0<18}").parse().ok()?;
    Some(whole.parse::<u128>().ok()? * ONE + fraction)
}

/// The text of LegacyDec: always 18 fractional digits.
pub(crate) fn text(value: u128) -> String {
    format!("{}.{:018}", value / ONE, value % ONE)
}

/// `part / whole` rounded to 18 digits, half to even (LegacyDec.Quo). `part` below 2^63, `whole` above 0.
pub(crate) fn ratio(part: u128, whole: u128) -> u128 {
    let (quotient, rest) = (part * ONE / whole, part * ONE % whole);
    match (rest * 2).cmp(&whole) {
        std::cmp::Ordering::Less => quotient,
        std::cmp::Ordering::Equal => quotient + quotient % 2,
        std::cmp::Ordering::Greater => quotient + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_read_and_print_as_in_the_sdk() {
        assert_eq!(text(parse("0.334").unwrap()), "0.334000000000000000");
        assert_eq!(parse("1"), Some(ONE));
        for bad in ["", ".5", "-1", "0.1234567890123456789", "1e3", "0,5", " 1"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_ratio_is_rounded_half_to_even() {
        assert_eq!(text(ratio(1, 3)), "0.333333333333333333");
        assert_eq!(text(ratio(2, 3)), "0.666666666666666667");
    }
}
