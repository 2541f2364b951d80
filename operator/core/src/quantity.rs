//! CPU and bytes as numbers, read from Kubernetes quantities and written in the form that the API server itself would
//! write, so that comparing what we want with what it stores finds no difference that is none. PURE.

use std::{fmt, str::FromStr};

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// A text that is no quantity, or none that makes sense here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a quantity greater than 0, for example {example}")]
pub struct InvalidQuantity {
    text: String,
    example: &'static str,
}

/// CPU in thousandths of a core; more than zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cpu(u64);

impl Cpu {
    pub const fn millis(millis: u32) -> Self {
        Self(millis as u64)
    }

    /// So many whole cores.
    pub const fn cores(cores: u32) -> Self {
        Self(cores as u64 * 1000)
    }

    /// This much for each of `count`.
    #[must_use]
    pub fn times(self, count: u32) -> Self {
        Self(self.0.saturating_mul(u64::from(count)))
    }

    /// The next smaller amount, if there is one.
    #[must_use]
    pub fn less_a_thousandth(self) -> Self {
        Self(self.0.saturating_sub(1).max(1))
    }
}

impl FromStr for Cpu {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        let millis =
            parse_thousandths(text).and_then(|value| u64::try_from(value).ok()).filter(|value| *value > 0);
        millis.map(Self).ok_or_else(|| InvalidQuantity { text: text.to_owned(), example: "250m or 1" })
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1000) {
            write!(formatter, "{}", self.0 / 1000)
        } else {
            write!(formatter, "{}m", self.0)
        }
    }
}

/// Bytes of memory or disk; more than zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(u64);

impl Bytes {
    pub const fn mebibytes(count: u64) -> Self {
        Self(count * 1024 * 1024)
    }

    pub const fn new(count: u64) -> Self {
        Self(count)
    }

    pub const fn get(self) -> u64 {
        self.0
    }

    /// The next multiple of `unit`.
    #[must_use]
    pub fn rounded_up_to(self, unit: Self) -> Self {
        Self(self.0.div_ceil(unit.0).saturating_mul(unit.0))
    }

    #[must_use]
    pub fn plus(self, more: u64) -> Self {
        Self(self.0.saturating_add(more))
    }

    /// This much for each of `count`.
    #[must_use]
    pub fn times(self, count: u32) -> Self {
        Self(self.0.saturating_mul(u64::from(count)))
    }
}

impl FromStr for Bytes {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        let bytes = parse_thousandths(text)
            .map(|value| (value + 999) / 1000)
            .and_then(|value| u64::try_from(value).ok())
            .filter(|value| *value > 0);
        bytes.map(Self).ok_or_else(|| InvalidQuantity { text: text.to_owned(), example: "512Mi or 2Gi" })
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut value = self.0;
        let mut suffix = "";
        for next in ["Ki", "Mi", "Gi", "Ti", "Pi"] {
            if !value.is_multiple_of(1024) {
                break;
            }
            value /= 1024;
            suffix = next;
        }
        write!(formatter, "{value}{suffix}")
    }
}

impl From<Cpu> for Quantity {
    fn from(cpu: Cpu) -> Self {
        Self(cpu.to_string())
    }
}

impl From<Bytes> for Quantity {
    fn from(bytes: Bytes) -> Self {
        Self(bytes.to_string())
    }
}

/// The value in thousandths, a finer remainder rounded up, as the API server does.
fn parse_thousandths(text: &str) -> Option<i128> {
    let end = text
        .char_indices()
        .find(|(index, character)| {
            !(character.is_ascii_digit() || *character == '.' || (*index == 0 && *character == '+'))
        })
        .map_or(text.len(), |(index, _)| index);
    let (number, suffix) = text.split_at(end);
    let number = number.strip_prefix('+').unwrap_or(number);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || whole.len() > 18 || fraction.len() > 9 {
        return None;
    }
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    let digits: i128 = format!("0{whole}{fraction}").parse().ok()?;
    let (multiplier, divisor) = factor(suffix)?;
    let numerator = digits.checked_mul(multiplier)?.checked_mul(1000)?;
    let denominator = scale.checked_mul(divisor)?;
    Some((numerator + denominator - 1) / denominator)
}

fn factor(suffix: &str) -> Option<(i128, i128)> {
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1000),
        "k" => (1000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        _ => {
            let exponent: u32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            (10_i128.checked_pow(exponent).filter(|_| exponent <= 18)?, 1)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_the_form_that_the_api_server_stores() {
        for (text, stored) in
            [("1", "1"), ("1000m", "1"), ("0.5", "500m"), ("250m", "250m"), ("1.5", "1500m"), ("100u", "1m")]
        {
            assert_eq!(text.parse::<Cpu>().unwrap().to_string(), stored, "{text}");
        }
        for (text, stored) in [
            ("768Mi", "768Mi"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("2G", "1953125Ki"),
            ("1e3", "1000"),
            ("1000001", "1000001"),
        ] {
            assert_eq!(text.parse::<Bytes>().unwrap().to_string(), stored, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_quantity_above_zero() {
        for text in ["", "0", "-1", "1 Gi", "1GiB", "Gi", ".", "1e", "1e99", "99999999999999999999"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
        assert_eq!(
            "lots".parse::<Cpu>().unwrap_err().to_string(),
            "\"lots\" is not a quantity greater than 0, for example 250m or 1"
        );
    }
}
