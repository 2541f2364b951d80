//! How far a model fetch is: answered by `GET /progress` while it runs, copied into `ModelCache.status`.

use std::fmt;

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Asking the hub what the revision is and which files it has.
    #[default]
    Resolving,
    Downloading,
    Verifying,
    Converting,
    Publishing,
}

impl fmt::Display for Phase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Resolving => "Resolving",
            Self::Downloading => "Downloading",
            Self::Verifying => "Verifying",
            Self::Converting => "Converting",
            Self::Publishing => "Publishing",
        })
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    pub phase: Phase,
    /// Bytes of the model on disk, those of an earlier attempt included.
    pub bytes_done: u64,
    /// Not known before the hub has answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_total: Option<u64>,
    pub files_done: u32,
    pub files_total: u32,
    /// Recent speed, smoothed.
    pub bytes_per_second: u64,
    /// Not known while nothing flows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<u64>,
    /// 1 for the first try; grows with each retry of a transfer.
    pub attempt: u32,
}

impl Progress {
    /// 0 to 100, rounded down so that 100 means all bytes.
    pub fn percent(&self) -> Option<u8> {
        let total = self.bytes_total.filter(|total| *total > 0)?;
        let percent = u128::from(self.bytes_done.min(total)) * 100 / u128::from(total);
        u8::try_from(percent).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_is_100_only_when_all_bytes_are_there() {
        let progress = |bytes_done, bytes_total| Progress { bytes_done, bytes_total, ..Progress::default() };
        assert_eq!(progress(5, None).percent(), None);
        assert_eq!(progress(0, Some(0)).percent(), None);
        assert_eq!(progress(999, Some(1000)).percent(), Some(99));
        assert_eq!(progress(1000, Some(1000)).percent(), Some(100));
        assert_eq!(progress(u64::MAX, Some(u64::MAX)).percent(), Some(100));
    }

    #[test]
    fn fields_are_camel_case_and_the_unknown_is_left_out() {
        let json = serde_json::to_string(&Progress { attempt: 1, ..Progress::default() }).unwrap();
        assert_eq!(
            json,
            r#"{"phase":"Resolving","bytesDone":0,"filesDone":0,"filesTotal":0,"bytesPerSecond":0,"attempt":1}"#
        );
        let known = Progress { bytes_total: Some(10), eta_seconds: Some(3), ..Progress::default() };
        let json = serde_json::to_string(&known).unwrap();
        assert!(json.contains(r#""bytesTotal":10"#) && json.contains(r#""etaSeconds":3"#), "{json}");
        assert_eq!(serde_json::from_str::<Progress>(&json).unwrap(), known);
    }
}
