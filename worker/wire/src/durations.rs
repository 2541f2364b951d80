//! How long a model fetch took, phase by phase: told once, in its report.

use serde::{Deserialize, Serialize};

/// Milliseconds in each phase, all its retries together; zero where another version does not tell it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FetchDurations {
    pub resolving: u32,
    pub downloading: u32,
    pub verifying: u32,
    pub converting: u32,
    /// Running the golden set, which follows converting.
    pub comparing: u32,
    pub publishing: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A claim's annotation holds them for years, through upgrades and back.
    #[test]
    fn fields_of_other_versions_do_no_harm() {
        let read: FetchDurations = serde_json::from_str(r#"{"resolving":7,"rehearsing":9}"#).unwrap();
        assert_eq!(read, FetchDurations { resolving: 7, ..FetchDurations::default() });
    }
}
