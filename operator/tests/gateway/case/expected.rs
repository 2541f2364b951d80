//! What an answer must be: status, headers, and a body that is compared as a whole and in its order.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, StatusCode};
use serde::Deserialize;
use serde_norway::Value;

use super::shape;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expected {
    status: u16,
    /// Type of the error, whose envelope is then checked as a whole.
    r#type: Option<String>,
    /// Part of the error's reason, or several of them.
    reason: Option<Parts>,
    #[serde(default)]
    headers: BTreeMap<String, Option<Header>>,
    /// The body, see [`shape`].
    body: Option<Value>,
    /// The body byte for byte.
    text: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Parts {
    One(String),
    Several(Vec<String>),
}

/// How a header's value must be; none at all: it must not be there.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Header {
    Exactly(String),
    /// It holds all of these.
    Parts(Vec<String>),
}

impl Parts {
    fn as_slice(&self) -> &[String] {
        match self {
            Self::One(part) => std::slice::from_ref(part),
            Self::Several(parts) => parts,
        }
    }
}

impl Expected {
    /// Why this could not fail, or not for the reason that it is there for.
    pub(crate) fn defect(&self, is_head: bool, is_filtered: bool) -> Option<String> {
        let Self { status, r#type, reason, headers, body, text } = self;
        let says_what_the_body_is = body.is_some() || text.is_some();
        if StatusCode::from_u16(*status).is_err() {
            return Some(format!("{status} is no status"));
        }
        if is_head && (r#type.is_some() || says_what_the_body_is) {
            return Some("HEAD is answered without a body".to_owned());
        }
        if !is_head && *status >= 400 && r#type.is_none() && !is_filtered {
            return Some("an error needs its type".to_owned());
        }
        if *status < 400 && r#type.is_some() {
            return Some("only an error has a type".to_owned());
        }
        if reason.is_some() && r#type.is_none() {
            return Some("only an error has a reason".to_owned());
        }
        if r#type.is_some() && says_what_the_body_is && !is_filtered {
            return Some("an error's body is checked by its type".to_owned());
        }
        if body.is_some() && text.is_some() {
            return Some("body and text exclude each other".to_owned());
        }
        if *status < 400 && !says_what_the_body_is && headers.is_empty() {
            return Some("a success needs a body, a text, or headers".to_owned());
        }
        if reason.as_ref().is_some_and(|parts| parts.as_slice().iter().any(String::is_empty)) {
            return Some("an empty reason is part of every other".to_owned());
        }
        body.as_ref().and_then(shape::defect)
    }

    pub(crate) fn mismatch(
        &self,
        is_head: bool,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        if status.as_u16() != self.status {
            wrong.push(format!("status {status} instead of {}", self.status));
        }
        wrong.extend(self.wrong_headers(headers, body));
        if is_head && !body.is_empty() {
            wrong.push("HEAD is answered with a body".to_owned());
        }
        if let Some(text) = &self.text
            && text.as_bytes() != body
        {
            wrong.push(format!("text instead of {text}"));
        }
        if let Some(shape) = self.shape() {
            wrong.extend(shape::mismatch(&shape, body));
        }
        wrong.extend(self.wrong_reason(body));
        wrong
    }

    /// The whole body, an error's too: every error has the same envelope.
    fn shape(&self) -> Option<Value> {
        self.body.clone().or_else(|| {
            let (kind, status) = (self.r#type.as_ref()?, self.status);
            let envelope = format!(
                "{{error: {{root_cause: [{{type: {kind}, reason: <string>}}], type: {kind}, reason: <string>}}, status: {status}}}"
            );
            Some(serde_norway::from_str(&envelope).expect("the type of an error is a word"))
        })
    }

    fn wrong_reason(&self, body: &[u8]) -> Vec<String> {
        if self.r#type.is_none() || self.body.is_some() {
            return Vec::new();
        }
        let json: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        let reason = json["error"]["reason"].as_str().unwrap_or_default();
        let mut wrong = Vec::new();
        if json["error"]["root_cause"][0]["reason"] != reason {
            wrong.push("the root cause has another reason".to_owned());
        }
        let parts = self.reason.as_ref().map(Parts::as_slice).unwrap_or_default();
        let absent = parts.iter().filter(|part| !reason.contains(part.as_str()));
        wrong.extend(absent.map(|part| format!("the reason does not contain {part:?}")));
        wrong
    }

    fn wrong_headers(&self, headers: &HeaderMap, body: &[u8]) -> Vec<String> {
        let value = |name: &str| {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("the list has names of headers");
            let values: Vec<_> =
                headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("?")).collect();
            (!values.is_empty()).then(|| values.join(", "))
        };
        let mut wrong = Vec::new();
        // What every answer has.
        if value("x-elastic-product").as_deref() != Some("Elasticsearch") {
            wrong.push("x-elastic-product is not Elasticsearch".to_owned());
        }
        if !self.headers.contains_key("content-type")
            && !body.is_empty()
            && value("content-type").as_deref() != Some("application/json")
        {
            wrong.push(format!("content-type: {:?} instead of application/json", value("content-type")));
        }
        for (name, expected) in &self.headers {
            let given = value(name);
            let fits = match expected {
                None => given.is_none(),
                Some(Header::Exactly(expected)) => given.as_ref() == Some(expected),
                Some(Header::Parts(parts)) => {
                    given.as_ref().is_some_and(|given| parts.iter().all(|part| given.contains(part.as_str())))
                }
            };
            if !fits {
                wrong.push(format!("{name}: {given:?} instead of {expected:?}"));
            }
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use http::header::{CONTENT_TYPE, WARNING};

    use super::*;

    const ANSWER: &str = r#"{"error":{"root_cause":[{"type":"parse_exception","reason":"no body"}],"type":"parse_exception","reason":"no body"},"status":400}"#;

    fn expected(text: &str) -> Expected {
        serde_norway::from_str(text).unwrap()
    }

    fn headers() -> HeaderMap {
        let product = HeaderName::from_static("x-elastic-product");
        [(product, "Elasticsearch".parse().unwrap()), (CONTENT_TYPE, "application/json".parse().unwrap())]
            .into_iter()
            .collect()
    }

    #[test]
    fn whatever_differs_is_told() {
        let case =
            expected("{status: 400, type: parse_exception, reason: [no, body], headers: {warning: null}}");
        let right =
            |headers, body: &str| case.mismatch(false, StatusCode::BAD_REQUEST, &headers, body.as_bytes());
        assert_eq!(right(headers(), ANSWER), Vec::<String>::new());

        assert!(!case.mismatch(false, StatusCode::CONFLICT, &headers(), ANSWER.as_bytes()).is_empty());
        for (from, to) in [
            ("parse_exception\",\"reason\":\"no body\"}],", "x\",\"reason\":\"no body\"}],"),
            ("reason\":\"no body\"}]", "reason\":\"nobody\"}]"),
            ("},\"status\":400", "},\"status\":404"),
            ("\"status\":400", "\"status\":400,\"more\":1"),
            (
                "\"type\":\"parse_exception\",\"reason\":\"no body\"},",
                "\"reason\":\"no body\",\"type\":\"parse_exception\"},",
            ),
            ("no body", "nothing"),
        ] {
            assert!(ANSWER.contains(from) && !right(headers(), &ANSWER.replace(from, to)).is_empty(), "{to}");
        }
        for (name, value) in
            [("x-elastic-product", "OpenSearch"), ("content-type", "text/plain"), (WARNING.as_str(), "299 a")]
        {
            let mut headers = headers();
            headers.insert(HeaderName::from_static(name), value.parse().unwrap());
            assert!(!right(headers, ANSWER).is_empty(), "{name}");
        }
    }

    #[test]
    fn an_expectation_that_says_too_little_is_a_defect() {
        for text in [
            "{status: 200}",
            "{status: 404}",
            "{status: 42, body: []}",
            "{status: 200, type: status_exception}",
            "{status: 200, body: [], text: '[]'}",
            "{status: 200, body: [<anything>]}",
            "{status: 400, type: status_exception, body: {}}",
            "{status: 400, type: status_exception, reason: ''}",
        ] {
            assert!(expected(text).defect(false, false).is_some(), "{text}");
        }
        assert!(expected("{status: 200, body: []}").defect(true, false).is_some(), "HEAD has no body");
        assert!(serde_norway::from_str::<Expected>("{status: 200, bodies: []}").is_err());
        for text in
            ["{status: 200, body: []}", "{status: 200, headers: {allow: GET}}", "{status: 404, type: a}"]
        {
            assert_eq!(expected(text).defect(false, false), None, "{text}");
        }
    }
}
