//! Time values with a unit (`30s`, `2m`, `500ms`), as in `?timeout=`.

use std::time::Duration;

use super::error::Refusal;

/// Nobody waits longer for an answer over HTTP, and timers need an end that they can reach.
const LONGEST: Duration = Duration::from_hours(24);

/// `None` for zero, which in Elasticsearch means "not set".
pub(crate) fn parse(parameter: &str, text: &str) -> Result<Option<Duration>, Refusal> {
    let value = text.trim();
    let refuse = || {
        Refusal::argument(format!(
            "failed to parse [{parameter}] with value [{text}] as a time value: a whole number with a unit (nanos, micros, ms, s, m, \
             h or d) is needed, for example [30s]"
        ))
    };
    let digits = value.len() - value.trim_start_matches(|character: char| character.is_ascii_digit()).len();
    let (number, unit) = value.split_at(digits);
    let number: u64 = number.parse().map_err(|_| refuse())?;
    let duration = match unit.to_ascii_lowercase().as_str() {
        "nanos" => Duration::from_nanos(number),
        "micros" => Duration::from_micros(number),
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.saturating_mul(60)),
        "h" => Duration::from_secs(number.saturating_mul(60 * 60)),
        "d" => Duration::from_secs(number.saturating_mul(24 * 60 * 60)),
        "" if number == 0 => Duration::ZERO,
        _ => return Err(refuse()),
    };
    Ok((!duration.is_zero()).then_some(duration.min(LONGEST)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_unit() {
        let table = [
            ("30s", Some(Duration::from_secs(30))),
            ("2m", Some(Duration::from_mins(2))),
            ("500ms", Some(Duration::from_millis(500))),
            ("7micros", Some(Duration::from_micros(7))),
            ("7nanos", Some(Duration::from_nanos(7))),
            (" 1H ", Some(Duration::from_hours(1))),
            ("0", None),
            ("0s", None),
            ("999999999999d", Some(LONGEST)),
        ];
        for (text, expected) in table {
            assert_eq!(parse("timeout", text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn refuses_what_has_no_unit_or_no_number() {
        for text in ["", "30", "-1", "-1s", "s", "1.5s", "1 s", "1w", "99999999999999999999s", "٣s"] {
            let refusal = parse("timeout", text).unwrap_err();
            assert!(refusal.to_string().contains(&format!("[{text}]")), "{refusal}");
        }
    }
}
