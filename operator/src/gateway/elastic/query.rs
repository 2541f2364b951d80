//! Query parameters: which are known, and what their values mean.

use std::time::Duration;

use super::error::Refusal;
use super::filter_path::FilterPath;
use super::time_value;

/// Parameters that only some routes know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Own {
    DryRun,
    Force,
    Text,
    Embeddings,
}

impl Own {
    const fn as_str(self) -> &'static str {
        match self {
            Self::DryRun => "dry_run",
            Self::Force => "force",
            Self::Text => "text",
            Self::Embeddings => "embeddings",
        }
    }
}

/// What the parameters of a request ask for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Query {
    /// `None` when it is absent or zero, and the route's default applies.
    pub(crate) timeout: Option<Duration>,
    pub(crate) master_timeout: Option<Duration>,
    own: Vec<(Own, bool)>,
}

/// How the answer is written, for errors too.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Presentation {
    pub(crate) pretty: bool,
    pub(crate) filter: Option<FilterPath>,
}

impl Query {
    /// `pairs` are decoded. A parameter that nobody knows is refused, because a mistyped one would be
    /// silently without effect.
    pub(crate) fn parse(path: &str, pairs: &[(String, String)], own: &[Own]) -> Result<Self, Refusal> {
        let mut query = Self::default();
        for (name, value) in pairs {
            match name.as_str() {
                "timeout" => query.timeout = time_value::parse(name, value)?,
                "master_timeout" => query.master_timeout = time_value::parse(name, value)?,
                "pretty" | "human" | "error_trace" => drop(flag(name, value)?),
                "filter_path" => drop(FilterPath::parse(value)?),
                "format" if value == "json" => {}
                "format" => {
                    return Err(Refusal::argument(format!(
                        "[format] of [{value}] is not offered, only [json] is"
                    )));
                }
                other => match own.iter().find(|own| own.as_str() == other) {
                    Some(own) => {
                        query.own.retain(|(known, _)| known != own);
                        query.own.push((*own, flag(name, value)?));
                    }
                    None => {
                        return Err(Refusal::argument(format!(
                            "request [{path}] contains unrecognized parameter: [{other}]"
                        )));
                    }
                },
            }
        }
        Ok(query)
    }

    pub(crate) fn has(&self, own: Own) -> bool {
        self.own.contains(&(own, true))
    }

    /// Whether a parameter that is true by default is set to false.
    pub(crate) fn denies(&self, own: Own) -> bool {
        self.own.contains(&(own, false))
    }
}

impl Presentation {
    /// Never fails: what is wrong with a parameter is told by [`Query::parse`], in an answer that still wants
    /// a presentation.
    pub(crate) fn parse(pairs: &[(String, String)]) -> Self {
        let last = |wanted: &str| pairs.iter().rev().find(|(name, _)| name == wanted).map(|(_, value)| value);
        Self {
            pretty: last("pretty").is_some_and(|value| value.is_empty() || value == "true"),
            filter: last("filter_path").and_then(|value| FilterPath::parse(value).ok().flatten()),
        }
    }
}

fn flag(name: &str, value: &str) -> Result<bool, Refusal> {
    match value {
        "" | "true" => Ok(true),
        "false" => Ok(false),
        other => Err(Refusal::argument(format!(
            "failed to parse value [{other}] of [{name}]: only [true] and [false] are allowed"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        text.split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    fn parse(text: &str) -> Result<Query, Refusal> {
        Query::parse("/_inference/x", &pairs(text), &[Own::DryRun, Own::Force])
    }

    #[test]
    fn knows_the_parameters_of_every_route() {
        let query = parse(
            "pretty&filter_path=a.b&human=false&error_trace&format=json&timeout=2s&master_timeout=1m&force",
        )
        .unwrap();
        assert_eq!(query.timeout, Some(Duration::from_secs(2)));
        assert!(query.has(Own::Force) && !query.has(Own::DryRun));
        assert!(!parse("force=true&force=false").unwrap().has(Own::Force));
        assert!(
            parse("force=false").unwrap().denies(Own::Force) && !parse("force").unwrap().denies(Own::Force)
        );
        assert_eq!(parse("timeout=0").unwrap().timeout, None);
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for text in [
            "wait=1",
            "timeout=soon",
            "master_timeout=3",
            "pretty=maybe",
            "force=1",
            "format=yaml",
            "Timeout=3s",
            &format!("filter_path={}", "a.".repeat(100)),
        ] {
            assert!(matches!(parse(text), Err(Refusal::Argument(_))), "{text}");
        }
        assert!(Query::parse("/", &pairs("force"), &[]).is_err());
    }

    #[test]
    fn presentation_forgives() {
        assert!(Presentation::parse(&pairs("pretty")).pretty);
        assert!(!Presentation::parse(&pairs("pretty=false")).pretty);
        assert_eq!(Presentation::parse(&pairs("pretty=maybe&x")), Presentation::default());
    }
}
