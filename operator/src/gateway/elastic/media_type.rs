//! Media types: plain JSON, and Elasticsearch's own with the major version a client was written for.

use super::json::short;
use crate::gateway::elastic::json::Json;

/// What a body is written in, and what the answer is written in.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum MediaType {
    #[default]
    Json,
    CompatibleWith8,
    CompatibleWith9,
}

#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum MediaTypeError {
    /// Status 406.
    #[error("Content-Type header is missing")]
    Missing,
    /// Status 406.
    #[error("{header} header [{value}] is not supported")]
    Unsupported { header: &'static str, value: String },
    /// Status 400, a type of its own.
    #[error(
        "Invalid media-type value on headers [{header}]: [compatible-with={version}] is not supported, only 8 and 9 are"
    )]
    WrongVersion { header: &'static str, version: String },
}

impl MediaType {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::CompatibleWith8 => "application/vnd.elasticsearch+json;compatible-with=8",
            Self::CompatibleWith9 => "application/vnd.elasticsearch+json;compatible-with=9",
        }
    }

    /// The type of a request's body.
    pub(crate) fn of_body(content_type: Option<&str>) -> Result<Self, MediaTypeError> {
        const HEADER: &str = "Content-Type";
        let value = content_type.ok_or(MediaTypeError::Missing)?;
        parse(HEADER, value)?.ok_or_else(|| unsupported(HEADER, value))
    }

    /// The type to answer in: the first one of the list that can be had.
    pub(crate) fn of_answer(accept: Option<&str>) -> Result<Self, MediaTypeError> {
        const HEADER: &str = "Accept";
        let Some(value) = accept.filter(|value| !value.trim().is_empty()) else {
            return Ok(Self::default());
        };
        for item in value.split(',') {
            let essence = item.split(';').next().unwrap_or_default().trim();
            if essence == "*/*" || essence.eq_ignore_ascii_case("application/*") {
                return Ok(Self::default());
            }
            if let Some(media_type) = parse(HEADER, item)? {
                return Ok(media_type);
            }
        }
        Err(unsupported(HEADER, value))
    }
}

fn unsupported(header: &'static str, value: &str) -> MediaTypeError {
    MediaTypeError::Unsupported { header, value: short(&Json::String(value.to_owned())) }
}

/// `None` for a type that is not JSON.
fn parse(header: &'static str, value: &str) -> Result<Option<MediaType>, MediaTypeError> {
    let mut parts = value.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let mut version = None;
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        let value = value.trim_matches('"');
        if name.eq_ignore_ascii_case("charset") && !value.eq_ignore_ascii_case("utf-8") {
            return Ok(None);
        }
        if name.eq_ignore_ascii_case("compatible-with") {
            version = Some(value);
        }
    }
    match (essence.as_str(), version) {
        // A version on the plain type says nothing, but no client is helped by a refusal.
        ("application/json", _) => Ok(Some(MediaType::Json)),
        ("application/vnd.elasticsearch+json", Some("8")) => Ok(Some(MediaType::CompatibleWith8)),
        ("application/vnd.elasticsearch+json", Some("9")) => Ok(Some(MediaType::CompatibleWith9)),
        ("application/vnd.elasticsearch+json", version) => Err(MediaTypeError::WrongVersion {
            header,
            version: version.unwrap_or_default().chars().take(20).collect(),
        }),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_types_of_official_clients() {
        let table = [
            ("application/json", MediaType::Json),
            ("application/json; charset=UTF-8", MediaType::Json),
            ("Application/JSON;charset=\"utf-8\"", MediaType::Json),
            ("application/vnd.elasticsearch+json; compatible-with=8", MediaType::CompatibleWith8),
            ("application/vnd.elasticsearch+json;compatible-with=9", MediaType::CompatibleWith9),
        ];
        for (value, expected) in table {
            assert_eq!(MediaType::of_body(Some(value)), Ok(expected), "{value}");
            assert_eq!(MediaType::of_answer(Some(value)), Ok(expected), "{value}");
        }
    }

    #[test]
    fn refuses_other_types() {
        assert_eq!(MediaType::of_body(None), Err(MediaTypeError::Missing));
        for value in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/x-ndjson",
            "",
            "application/json; charset=latin1",
        ] {
            assert!(
                matches!(MediaType::of_body(Some(value)), Err(MediaTypeError::Unsupported { .. })),
                "{value}"
            );
        }
        for value in
            ["application/vnd.elasticsearch+json", "application/vnd.elasticsearch+json; compatible-with=7"]
        {
            assert!(
                matches!(MediaType::of_body(Some(value)), Err(MediaTypeError::WrongVersion { .. })),
                "{value}"
            );
        }
    }

    #[test]
    fn a_browser_and_a_client_without_wishes_get_json() {
        for value in [
            None,
            Some(""),
            Some("*/*"),
            Some("text/html,application/xhtml+xml,*/*;q=0.8"),
            Some("text/plain, application/json"),
        ] {
            assert_eq!(MediaType::of_answer(value), Ok(MediaType::Json), "{value:?}");
        }
        assert!(MediaType::of_answer(Some("text/html")).is_err());
    }
}
