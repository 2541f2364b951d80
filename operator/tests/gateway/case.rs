//! A request and what it must be answered, as `gateway_conformance.yaml` has it. Used by the router's own
//! tests and by those over a real API server.

#[path = "case/expected.rs"]
mod expected;
#[path = "case/section.rs"]
mod section;
#[path = "case/shape.rs"]
mod shape;

use std::collections::BTreeMap;
use std::io::Write as _;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use serde::Deserialize;

use self::expected::Expected;
use self::section::Section;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// Where the rule stands, so that nobody has to believe this file.
    #[serde(rename = "spec")]
    _section: Section,
    /// What is not there yet, without which the case cannot pass.
    needs: Option<Need>,
    request: Asked,
    expect: Expected,
}

/// Parts of the gateway that a case may wait for. One that is there is removed, with its marks.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Need {
    /// Stays: cases for a server that asks for credentials, and for who has some.
    Authentication,
    Chunk,
    DeploymentId,
    /// The answer is wrong today; a comment beside the case says how.
    Fix,
    Gzip,
    Namespaces,
    Separators,
    Update,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    method: String,
    path: String,
    body: Option<String>,
    bytes: Option<Vec<u8>>,
    /// How often the body is repeated, for one that is too long to be written down.
    times: Option<usize>,
    /// Absent: JSON when there is a body. `none`: no such header.
    content_type: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Without the credentials that the others carry where the server asks for some.
    #[serde(default)]
    anonymous: bool,
}

impl Case {
    pub(crate) fn all() -> Vec<Self> {
        let cases: Vec<Self> = serde_norway::from_str(include_str!("../gateway_conformance.yaml")).unwrap();
        Self::ensure_each_can_fail(&cases);
        cases
    }

    /// A list that is read wrongly would pass for ever, so what can be wrong with a list stops the test.
    pub(crate) fn ensure_each_can_fail<'a>(cases: impl IntoIterator<Item = &'a Self>) {
        let mut names = std::collections::BTreeSet::new();
        for case in cases {
            assert!(names.insert(&case.name), "two cases are called {:?}", case.name);
            if let Some(defect) = case.defect() {
                panic!("{}: {defect}", case.name);
            }
        }
    }

    fn defect(&self) -> Option<String> {
        let Asked { method, path, body, bytes, times, .. } = &self.request;
        if !path.starts_with('/') {
            return Some(format!("the path {path} does not begin with a slash"));
        }
        if body.is_some() && bytes.is_some() {
            return Some("body and bytes exclude each other".to_owned());
        }
        if times.is_some() && body.is_none() {
            return Some("there is no body to repeat".to_owned());
        }
        self.expect.defect(method == "HEAD", path.contains("filter_path"))
    }

    /// The request, with a path and no host.
    pub(crate) fn request(&self, credentials: Option<&HeaderValue>) -> Request<Bytes> {
        let Asked { method, path, body, bytes, times, content_type, headers, anonymous } = &self.request;
        let body = body.as_ref().map(|body| body.repeat(times.unwrap_or(1)).into_bytes());
        let body = bytes.clone().or(body).unwrap_or_default();
        let mut request = Request::builder().method(method.as_str()).uri(path);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let content_type = match content_type.as_deref() {
            Some("none") => None,
            Some(given) => Some(given),
            None if body.is_empty() => None,
            None => Some("application/json"),
        };
        if let Some(content_type) = content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        if let Some(credentials) = credentials.filter(|_| !anonymous) {
            request = request.header(AUTHORIZATION, credentials);
        }
        request.body(Bytes::from(body)).unwrap()
    }

    /// What is wrong with an answer, if anything is.
    pub(crate) fn mismatch(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<String> {
        let wrong = self.expect.mismatch(self.request.method == "HEAD", status, headers, body);
        let text: String = String::from_utf8_lossy(body).chars().take(4_000).collect();
        let Asked { method, path, .. } = &self.request;
        (!wrong.is_empty())
            .then(|| format!("{}: {method} {path}: {}\n    {text}", self.name, wrong.join("; ")))
    }
}

/// What a list of cases came to.
#[derive(Default)]
pub(crate) struct Tally {
    matched: usize,
    skipped: BTreeMap<String, Vec<String>>,
    wrong: Vec<String>,
}

impl Tally {
    /// Whether a case is to be run; `obstacle` says what else is in its way. One that is not run is told of at
    /// the end.
    pub(crate) fn runs(&mut self, case: &Case, has_credentials: bool, obstacle: Option<&str>) -> bool {
        let why = match (case.needs, obstacle) {
            (Some(Need::Authentication), _) if has_credentials => None,
            (Some(need), _) => Some(format!("needs {need:?}")),
            (None, obstacle) => obstacle.map(str::to_owned),
        };
        if let Some(why) = &why {
            self.skipped.entry(why.clone()).or_default().push(case.name.clone());
        }
        why.is_none()
    }

    pub(crate) fn count(&mut self, mismatch: Option<String>) {
        match mismatch {
            None => self.matched += 1,
            Some(mismatch) => self.wrong.push(mismatch),
        }
    }

    /// Says what was left out, past the test harness, which shows nothing of a test that passes; then fails
    /// when anything was wrong.
    pub(crate) fn finish(self, what: &str) {
        let Self { matched, skipped, wrong } = self;
        let left_out: usize = skipped.values().map(Vec::len).sum();
        let mut lines =
            vec![format!("{what}: {matched} as expected, {} wrong, {left_out} skipped", wrong.len())];
        let skipped = skipped.into_iter();
        lines.extend(
            skipped.map(|(why, names)| format!("  skipped {}, {why}: {}", names.len(), names.join("; "))),
        );
        let text = lines.join("\n") + "\n";
        std::io::stderr().write_all(text.as_bytes()).unwrap();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(matched > 0, "no case was run");
    }
}
