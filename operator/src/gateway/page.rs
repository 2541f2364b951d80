//! The page that a browser gets at `/`: endpoints, downloads, allocations over time, and a box to try a text.
//! The page and what it is made of hold no data and are for everybody; what it shows comes from
//! `_page/endpoints` and from the `_inference` API, which ask who is there.

mod history;
mod view;

use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Request, State};
use axum::handler::Handler;
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, LOCATION, REFERRER_POLICY, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, StatusCode, Uri};
use kube::ResourceExt;
use kube::runtime::reflector::Store;
use lexiscale_crds::ModelCache;

use self::history::{Count, History};
use self::view::{Shown, View};
use super::auth::Caller;
use super::directory::Entry;
use super::error::Error;
use super::presentation::{json, ok};
use super::tenancy::Tenant;
use super::{Gateway, info, request};
use crate::clock;

/// Scripts and styles only from here, none in the page itself; nothing from elsewhere; no frame around it. No
/// string becomes markup either: the script never asks for that, and must not be made to.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// What the page knows beyond the directory.
pub(crate) struct Page {
    caches: Store<ModelCache>,
    history: Mutex<History>,
}

impl Page {
    pub(crate) fn new(caches: Store<ModelCache>) -> Self {
        Self { caches, history: Mutex::default() }
    }
}

/// Goes with a request whose path was a prefix without a slash behind it, and is the prefix's last segment.
/// The page's addresses are relative, and would lead past that segment.
#[derive(Clone, Debug)]
pub(crate) struct Unslashed(pub(crate) String);

/// `GET /`: a browser gets the page, everybody else the banner.
pub(crate) async fn root(State(gateway): State<Gateway>, request: Request) -> Response {
    let mut response = if !prefers_html(request.headers()) {
        info::banner.call(request, gateway).await
    } else if let Some(Unslashed(segment)) = request.extensions().get() {
        // Relative as well: what an ingress put before the prefix is not known here.
        match HeaderValue::try_from(format!("./{segment}/")) {
            Ok(location) => (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, location)]).into_response(),
            Err(_) => Error::BadPath.into_response(),
        }
    } else {
        part("text/html; charset=utf-8", include_str!("page/index.html"))
    };
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    response
}

pub(crate) async fn style() -> Response {
    part("text/css; charset=utf-8", include_str!("page/page.css"))
}

pub(crate) async fn script() -> Response {
    part("text/javascript; charset=utf-8", include_str!("page/page.js"))
}

pub(crate) async fn icon() -> Response {
    part("image/svg+xml", include_str!("page/icon.svg"))
}

fn part(media_type: &'static str, text: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, media_type),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        // The next release's page must not meet this one's script.
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}

/// `GET /_page/endpoints`: what the page shows, out of this process's memory.
pub(crate) async fn endpoints(
    State(gateway): State<Gateway>,
    tenant: Tenant,
    _caller: Caller,
    uri: Uri,
) -> Result<Response, Error> {
    request::query(&uri, &[])?;
    let directory = gateway.directory();
    if !directory.is_complete {
        return Err(Error::NotReady);
    }
    let body = {
        let history = gateway.page.history.lock().unwrap_or_else(PoisonError::into_inner);
        let endpoints = directory
            .entries(&tenant.0)
            .map(|entry| Shown { endpoint: &entry.endpoint, deployment: entry.deployment() });
        json(&View::new(&tenant.0, endpoints, &gateway.page.caches, &history, clock::now()))
    };
    let mut response = ok(body);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Remembers allocations for as long as the gateway runs.
pub(crate) async fn record(gateway: Gateway) {
    let mut directory = gateway.watch_directory();
    loop {
        let known = Arc::clone(&directory.borrow_and_update());
        // Before that, an endpoint that is not there yet would lose its past.
        if known.is_complete {
            let mut history = gateway.page.history.lock().unwrap_or_else(PoisonError::into_inner);
            history.observe(clock::now(), known.all().map(|entry| counted(entry)));
        }
        if directory.changed().await.is_err() {
            return;
        }
    }
}

/// An endpoint made anew under an old name has a new uid, and with it a new past.
fn counted(entry: &Entry) -> (String, Count) {
    let allocations = entry.endpoint.status.as_ref().and_then(|status| status.allocations);
    (entry.endpoint.uid().unwrap_or_default(), allocations.map(Count::from).unwrap_or_default())
}

/// Whether the answer will be the page or a part of it, whose types are no choice of the client's.
pub(crate) fn is_part(request: &Request) -> bool {
    match request.uri().path() {
        "/" => prefers_html(request.headers()),
        "/_page/page.css" | "/_page/page.js" | "/_page/icon.svg" => true,
        _ => false,
    }
}

/// Whether a client would rather have a page than JSON. Who does not say so gets JSON, as always: `*/*`, with
/// which curl and most clients come, says nothing.
fn prefers_html(headers: &HeaderMap) -> bool {
    let Some(accept) = request::text(headers, &ACCEPT) else { return false };
    let mut html: f32 = 0.0;
    let mut others: f32 = 0.0;
    for item in accept.split(',') {
        let mut parts = item.split(';').map(str::trim);
        let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
        let quality = parts
            .filter_map(|part| part.split_once('='))
            .find(|(name, _)| name.eq_ignore_ascii_case("q"))
            .map_or(Ok(1.0), |(_, value)| value.trim().parse())
            .unwrap_or(0.0);
        let best = match essence.as_str() {
            "text/html" => &mut html,
            "application/json" | "application/vnd.elasticsearch+json" => &mut others,
            _ => continue,
        };
        *best = best.max(quality);
    }
    html > others
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client that asks for JSON in any way must never be shown a page, or it no longer knows the server.
    #[test]
    fn only_a_browser_prefers_the_page() {
        let prefers = |accept: &str| {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::try_from(accept).unwrap())]);
            prefers_html(&headers)
        };
        for browser in [
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
            "text/html, application/xhtml+xml, application/xml;q=0.9, */*;q=0.8",
            "Text/HTML",
            "application/json;q=0.5, text/html",
        ] {
            assert!(prefers(browser), "{browser}");
        }
        for client in [
            "",
            "*/*",
            "application/json",
            "application/*",
            "application/vnd.elasticsearch+json; compatible-with=9",
            "application/vnd.elasticsearch+json;compatible-with=8,text/html",
            "application/json, text/plain, */*",
            "application/json, text/html;q=0.9",
            "text/html;q=0, */*",
            "text/html;q=much",
        ] {
            assert!(!prefers(client), "{client}");
        }
        assert!(!prefers_html(&HeaderMap::new()));
    }

    /// What the policy forbids would silently not work; what a page of ours holds must not need it.
    #[test]
    fn the_page_holds_no_script_and_no_style_and_names_no_other_server() {
        let html = include_str!("page/index.html");
        for forbidden in ["style=", "<style", "onclick", "onload", "javascript:", "//"] {
            assert!(!html.contains(forbidden), "{forbidden}");
        }
        let script = include_str!("page/page.js");
        for forbidden in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "localStorage",
            "cookie",
        ] {
            assert!(!script.contains(forbidden), "{forbidden}");
        }
        assert!(!include_str!("page/page.css").contains("url("));
    }
}
