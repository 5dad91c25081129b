//! Times and lengths of time as people write them, and the host's clock.

use std::time::{SystemTime, UNIX_EPOCH};

use baton_chain::light::Time;

/// Now by the host's clock, in unix seconds; no enclave believes it.
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// Reads unix seconds, or RFC 3339.
pub fn parse_time(text: &str) -> Result<u64, String> {
    let text = text.trim();
    if let Ok(secs) = text.parse() {
        return Ok(secs);
    }
    let time = tendermint::Time::parse_from_rfc3339(text).map_err(|_| {
        "expected unix seconds or RFC 3339, for example 1752919277 or 2025-07-19T10:01:17Z"
            .to_string()
    })?;
    u64::try_from(time.unix_timestamp()).map_err(|_| "expected a time after 1970".into())
}

/// Reads a length of time in seconds: a number and `s`, `m`, `h`, `d` or `w`; without a letter, seconds.
pub fn parse_duration(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match text.get(digits.len()..).unwrap_or_default() {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return Err(EXPECTED.into()),
    };
    let secs = digits
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(unit))
        .filter(|secs| *secs > 0);
    secs.ok_or_else(|| EXPECTED.into())
}

const EXPECTED: &str = "expected a number above 0 and s, m, h, d or w, for example 14d";

/// Reads a share in lowest terms or not, for example `1/3`.
pub fn parse_share(text: &str) -> Result<(u64, u64), String> {
    let parts = text
        .split_once('/')
        .and_then(|(n, d)| Some((n.trim().parse().ok()?, d.trim().parse().ok()?)));
    parts.ok_or_else(|| "expected two numbers, for example 1/3".into())
}

/// Unix seconds as RFC 3339.
pub fn show_time(secs: u64) -> String {
    Time {
        secs: i64::try_from(secs).unwrap_or(i64::MAX),
        nanos: 0,
    }
    .to_string()
}

/// About how long, in the largest unit of which it is two at least.
pub fn show_about(secs: u64) -> String {
    let units = [(86_400, "days"), (3600, "hours"), (60, "minutes"), (1, "seconds")];
    let (unit, name) = units.into_iter().find(|(unit, _)| secs >= 2 * unit).unwrap_or((1, "seconds"));
    format!("{} {name}", secs / unit)
}

/// A length of time in the largest unit that divides it.
pub fn show_duration(secs: u64) -> String {
    let units = [
        (86_400, "day"),
        (3600, "hour"),
        (60, "minute"),
        (1, "second"),
    ];
    let (unit, name) = units
        .into_iter()
        .find(|(unit, _)| secs.is_multiple_of(*unit))
        .unwrap_or((1, "second"));
    let n = secs / unit;
    format!("{n} {name}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_both_forms() {
        assert_eq!(parse_time("1752919277"), Ok(1_752_919_277));
        assert_eq!(parse_time("2025-07-19T10:01:17Z"), Ok(1_752_919_277));
        for bad in ["", "yesterday", "-1", "1960-01-01T00:00:00Z", "2025-07-19"] {
            assert!(parse_time(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn durations_are_read_with_their_unit_and_nothing_else() {
        assert_eq!(parse_duration("14d"), Ok(1_209_600));
        assert_eq!(parse_duration("90"), Ok(90));
        assert_eq!(parse_duration("2w"), parse_duration("336h"));
        for bad in [
            "",
            "d",
            "0d",
            "-1d",
            "1.5d",
            "14 days",
            "99999999999999999w",
            "1y",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad:?}");
        }
        assert_eq!(show_duration(1_209_600), "14 days");
    }

    #[test]
    fn shares_are_two_numbers() {
        assert_eq!(parse_share("1/3"), Ok((1, 3)));
        assert!(parse_share("0.33").is_err() && parse_share("1/").is_err());
    }
}
