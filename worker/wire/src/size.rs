//! A number of bytes as a person reads it.

use std::fmt;

/// Shown with the largest binary unit that it reaches: `512 B`, `43.1 MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteSize(pub u64);

impl fmt::Display for ByteSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut value = self.0 as f64;
        let mut unit = None;
        for next in ["KiB", "MiB", "GiB", "TiB"] {
            if value < 1024.0 {
                break;
            }
            value /= 1024.0;
            unit = Some(next);
        }
        match unit {
            Some(unit) => write!(formatter, "{value:.1} {unit}"),
            None => write!(formatter, "{} B", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_largest_unit_that_is_reached() {
        let shown = [0, 1023, 1024, 6_291_456, 3 << 40].map(|bytes| ByteSize(bytes).to_string());
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "6.0 MiB", "3.0 TiB"]);
    }
}
