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
