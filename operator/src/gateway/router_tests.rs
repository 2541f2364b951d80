//! The real router with a directory that holds still, and an API server that answers nothing: what it is
//! asked is counted.

use std::sync::atomic::Ordering;

use axum::body::Body;
use futures::StreamExt;
use http::{HeaderMap, Request, StatusCode};
use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::ServiceExt;

use super::*;
use crate::gateway::directory::Builder;

#[path = "../../tests/gateway/case.rs"]
mod case;

mod attach;
mod compression;
mod harness;
mod shapes;
mod surface;
mod update;

use self::case::{Case, Tally};
pub(super) use self::harness::Harness;
use self::harness::known;

#[tokio::test]
async fn a_tenant_is_seen_only_where_all_are_served() {
    let alone = Harness::new(&[]);
    let all = Harness::new(&["--all-namespaces"]);
    let table = [
        ("/namespaces/default/_inference/articles", StatusCode::OK, StatusCode::OK),
        ("/namespaces/default", StatusCode::OK, StatusCode::OK),
        ("/namespaces/team-a/_inference", StatusCode::NOT_FOUND, StatusCode::OK),
        ("/namespaces/team-a/_inference/articles", StatusCode::NOT_FOUND, StatusCode::NOT_FOUND),
        ("/namespaces/Team/_inference", StatusCode::BAD_REQUEST, StatusCode::BAD_REQUEST),
        ("/namespaces//_inference", StatusCode::BAD_REQUEST, StatusCode::BAD_REQUEST),
    ];
    for (path, in_one, in_all) in table {
        for (harness, expected) in [(&alone, in_one), (&all, in_all)] {
            let request = Request::get(path).body(Body::empty()).unwrap();
            assert_eq!(harness.send(request).await.0, expected, "{path}");
        }
    }
    let (_, list) = all.get("/namespaces/team-a/_inference").await;
    assert_eq!(list, r#"{"endpoints":[]}"#);
}

/// Every bad request of the list is refused as Elasticsearch refuses it, and none of them reaches the API
/// server, so none can store anything.
#[tokio::test]
async fn bad_requests_are_refused_and_store_nothing() {
    let harness = Harness::new(&[]);
    let mut tally = Tally::default();
    for case in Case::all() {
        if tally.runs(&case, false, None) {
            let (status, headers, body) = harness.send(case.request(None)).await;
            tally.count(case.mismatch(status, &headers, &body));
        }
    }
    tally.finish("conformance of the router");
    assert_eq!(harness.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused_whether_its_length_is_told_or_not() {
    let harness = Harness::new(&["--max-body-size", "1Ki"]);
    let told = Request::post("/_inference/articles")
        .header("content-type", "application/json")
        .header("content-length", 2000);
    let (status, ..) = harness.send(told.body("a".repeat(2000)).unwrap()).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let pieces = futures::stream::iter((0..20).map(|_| Ok::<_, std::io::Error>("a".repeat(100))));
    let untold = Request::post("/_inference/articles").header("content-type", "application/json");
    let (status, _, body) = harness.send(untold.body(Body::from_stream(pieces)).unwrap()).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(String::from_utf8(body).unwrap().contains("[1024] bytes"));
}

/// A client that sends one byte now and then would otherwise hold a place for ever.
#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_is_given_up_early() {
    let harness = Harness::new(&[]);
    let trickle = futures::stream::unfold((), async |()| {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        Some((Ok::<_, std::io::Error>("a"), ()))
    });
    let request = Request::post("/_inference/articles").header("content-type", "application/json");
    let began = Instant::now();
    let (status, headers, body) = harness.send(request.body(Body::from_stream(trickle)).unwrap()).await;
    assert_eq!((status, began.elapsed().as_secs()), (StatusCode::REQUEST_TIMEOUT, 10));
    assert_eq!(headers["connection"], "close");
    assert!(String::from_utf8(body).unwrap().contains("too slowly"));
}

/// Slow, but not stalled: a modem may take its time, within the time that bodies have.
#[tokio::test(start_paused = true)]
async fn a_body_that_comes_steadily_is_read() {
    let harness = Harness::new(&[]);
    let pieces = futures::stream::iter(0..20).then(async |_| {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        Ok::<_, std::io::Error>(" ".repeat(300))
    });
    let request = Request::post("/_inference/articles").header("content-type", "application/json");
    let (status, _, body) = harness.send(request.body(Body::from_stream(pieces)).unwrap()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{body:?}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_given_up() {
    let harness = Harness::new(&[]);
    let never = Body::from_stream(futures::stream::pending::<Result<&str, std::io::Error>>());
    let request =
        Request::post("/_inference/articles").header("content-type", "application/json").body(never).unwrap();
    let (status, ..) = harness.send(request).await;
    assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
}

#[tokio::test]
async fn the_api_server_away_is_503_and_worth_another_try() {
    let harness = Harness::new(&[]);
    let body = r#"{"service":"elser","service_settings":{"num_allocations":1,"num_threads":1}}"#;
    let request = Request::put("/_inference/sparse_embedding/new")
        .header("content-type", "application/json")
        .body(body)
        .unwrap();
    let (status, headers, body) = harness.send(request).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(headers["retry-after"], "1");
    assert!(String::from_utf8(body).unwrap().contains("Kubernetes API"));
    assert_eq!(harness.asked.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn no_allocation_in_time_is_408() {
    let harness = Harness::new(&[]);
    let request = Request::post("/_inference/articles?timeout=2s").header("content-type", "application/json");
    let (status, _, body) = harness.send(request.body(r#"{"input":"a"}"#).unwrap()).await;
    assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
    assert!(String::from_utf8(body).unwrap().contains("[2000ms] waiting for a ready allocation"));
}

#[tokio::test(start_paused = true)]
async fn more_than_may_wait_are_429() {
    let harness = Harness::new(&["--max-held", "2"]);
    let request = || {
        let request =
            Request::post("/_inference/articles?timeout=2s").header("content-type", "application/json");
        harness.send(request.body(r#"{"input":"a"}"#).unwrap())
    };
    let mut statuses = [request(), request(), request()].map(Box::pin);
    let (first, second, third) = {
        let [first, second, third] = &mut statuses;
        tokio::join!(first, second, third)
    };
    assert_eq!([first.0, second.0, third.0], [408, 408, 429]);
    assert!(third.1.contains_key("retry-after"));
}

#[tokio::test]
async fn lists_are_sorted_by_id_and_show_live_numbers() {
    let harness = Harness::new(&[]);
    let (_, all) = harness.get("/_inference").await;
    insta::assert_snapshot!("list", harness.get("/_inference?pretty").await.1);
    for path in
        ["/_inference/_all", "/_inference/*", "/_inference/sparse_embedding/_all", "/_inference/any/*"]
    {
        assert_eq!(harness.get(path).await.1, all, "{path}");
    }
}

#[tokio::test]
async fn one_endpoint_is_a_list_too_and_says_its_state() {
    let harness = Harness::new(&[]);
    let (headers, body) = harness.get("/_inference/any/legacy").await;
    assert_eq!(headers["x-inference-state"], "ready");
    insta::assert_snapshot!("one", body);
    let (_, filtered) =
        harness.get("/_inference/legacy?filter_path=endpoints.service_settings.num_allocations").await;
    assert_eq!(filtered, r#"{"endpoints":[{"service_settings":{"num_allocations":3}}]}"#);
}

#[tokio::test]
async fn the_banner_is_what_clients_look_for() {
    let harness = Harness::new(&["--elasticsearch-version", "9.3.1", "--cluster-name", "search"]);
    let (headers, body) = harness.get("/?pretty").await;
    assert_eq!(headers["x-elastic-product"], "Elasticsearch");
    insta::assert_snapshot!("banner", body.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
}

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

fn visit(path: &str) -> http::request::Builder {
    Request::get(path).header("accept", BROWSER)
}

#[tokio::test]
async fn a_browser_gets_the_page_and_every_part_of_it() {
    let harness = Harness::new(&[]);
    for (path, accept, media_type) in [
        ("/", BROWSER, "text/html; charset=utf-8"),
        ("/", "text/html", "text/html; charset=utf-8"),
        ("/_page/page.css", "text/css,*/*;q=0.1", "text/css; charset=utf-8"),
        ("/_page/page.js", "text/javascript", "text/javascript; charset=utf-8"),
        ("/_page/icon.svg", "image/avif,image/svg+xml", "image/svg+xml"),
    ] {
        let request = Request::get(path).header("accept", accept).body(Body::empty()).unwrap();
        let (status, headers, body) = harness.send(request).await;
        assert_eq!((status, headers["content-type"].to_str().unwrap()), (StatusCode::OK, media_type));
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert!(headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'; "));
        assert!(!body.is_empty());
    }
    assert_eq!(harness.asked.load(Ordering::Relaxed), 0);
}

/// A client that does not find the banner any more refuses the server.
#[tokio::test]
async fn clients_go_on_getting_the_banner_at_the_same_address() {
    let harness = Harness::new(&[]);
    let compatible = "application/vnd.elasticsearch+json;compatible-with=9";
    for (accept, media_type) in [
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        (compatible, compatible),
        ("", "application/json"),
    ] {
        let request = Request::get("/").header("accept", accept).body(Body::empty()).unwrap();
        let (status, headers, body) = harness.send(request).await;
        assert_eq!((status, headers["content-type"].to_str().unwrap()), (StatusCode::OK, media_type));
        assert_eq!(headers["vary"], "accept");
        assert_eq!(headers["x-elastic-product"], "Elasticsearch");
        assert!(String::from_utf8(body).unwrap().contains("You Know, for Search"), "{accept}");
    }
    for accept in ["*/*", BROWSER] {
        let request = Request::head("/").header("accept", accept).body(Body::empty()).unwrap();
        let (status, _, body) = harness.send(request).await;
        assert_eq!((status, body.len()), (StatusCode::OK, 0));
    }
}

#[tokio::test]
async fn the_page_is_told_of_every_endpoint_without_asking_the_api_server() {
    let harness = Harness::new(&[]);
    let (headers, body) = harness.get("/_page/endpoints").await;
    assert_eq!(headers["cache-control"], "no-store");
    let told: Value = serde_json::from_str(&body).unwrap();
    let ids = told["endpoints"].as_array().unwrap().iter().map(|endpoint| &endpoint["id"]);
    assert_eq!(ids.collect::<Vec<_>>(), [".elser-2-elasticsearch", "articles", "legacy"]);
    let articles = &told["endpoints"][1];
    assert_eq!(articles["allocations"], json!({"desired": 3, "current": 3, "ready": 1}));
    assert_eq!((&articles["state"], &articles["condition"]["reason"]), (&json!("ready"), &json!("Serving")));
    assert_eq!(harness.asked.load(Ordering::Relaxed), 0);
}

/// The page's addresses are relative: without the slash they would name another namespace.
#[tokio::test]
async fn a_prefix_without_its_slash_leads_to_the_one_with_it() {
    let harness = Harness::new(&[]);
    let request = visit("/namespaces/default").body(Body::empty()).unwrap();
    let (status, headers, _) = harness.send(request).await;
    assert_eq!(status, StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(headers["location"], "./default/");
    let (status, ..) = harness.send(visit("/namespaces/default/").body(Body::empty()).unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    harness.get("/namespaces/default").await;
    let (_, body) = harness.get("/namespaces/default/_page/endpoints").await;
    assert!(body.contains(r#""namespace":"default""#), "{body}");
}

/// A cold start is the moment at which everybody waits: what a waiting request costs decides how many may.
#[tokio::test]
#[ignore = "measures the memory of the process, which other tests share"]
async fn ten_thousand_held_requests_cost_at_most_20_kib_each() {
    const REQUESTS: usize = 10_000;
    let harness = Harness::new(&["--max-held=10000", "--max-requests=10000", "--infer-timeout=60s"]);
    let resident = || -> usize {
        let pages = fs_err::read_to_string("/proc/self/statm").unwrap();
        pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    };
    let before = resident();
    let tasks: Vec<_> = (0..REQUESTS)
        .map(|_| {
            let request = Request::post("/_inference/articles")
                .header("content-type", "application/json")
                .body(Body::from(r#"{"input":"Kubernetes"}"#))
                .unwrap();
            tokio::spawn(harness.router.clone().oneshot(request))
        })
        .collect();
    let line = Arc::clone(
        &harness.directory.borrow().get(&directory::EndpointKey::new("default", "articles")).unwrap().line,
    );
    while line.waiting() < REQUESTS {
        tokio::task::yield_now().await;
    }
    let each = (resident() - before) / REQUESTS;
    assert!(each <= 20 << 10, "{each} bytes each");
    println!("{each} bytes of a held request");
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
}
