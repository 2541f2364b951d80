//! Many requests, several gateways, one API server of which only the one object exists. It stores and refuses as the real one
//! does; `operator/tests/gateway` ask that one.

mod kit;

use std::sync::Arc;

use futures::future::join_all;
use http::StatusCode;
use lexiscale_core::labels::WAKE_REQUESTED_AT;
use serde_json::{Value, json};

use self::kit::ApiServer;
use super::*;
use crate::gateway::error::Error;

fn key() -> EndpointKey {
    EndpointKey::new("default", "a")
}

fn header(response: &axum::response::Response, name: &str) -> Option<u64> {
    response.headers().get(name).map(|value| value.to_str().unwrap().parse().unwrap())
}

fn idle(noted: Option<&str>) -> Value {
    json!({"allocations": 0, "reason": "Idle", "message": "m", "time": "2026-01-01T00:00:00Z", "wakeRequestedAt": noted})
}

const MINUTE: Duration = Duration::from_mins(1);

/// Time for everything that is due by then.
async fn after(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_thousand_requests_at_two_gateways_cost_one_patch() {
    let server = ApiServer::new(&idle(None));
    let (mut first, mut second) = (server.gateway(&[]), server.gateway(&[]));
    // Written a moment ago: one of the watches has not seen it yet.
    server.touch();
    first.look();
    let started = [first.seen_started(), second.seen_started()];
    let requests = join_all((0..1000).map(|number| {
        let watched = if number % 2 == 0 { &first } else { &second };
        watched.request(MINUTE)
    }));
    let wake = async {
        after(20_000).await;
        assert_eq!(server.patches(), (1, 1), "the other gateway looked again and saw that all is done");
        let [by_first, by_second] = started;
        first.show(by_first);
        second.show(by_second);
    };
    let (answers, ()) = tokio::join!(requests, wake);
    assert!(answers.iter().all(|answer| answer.status() == StatusCode::OK));
    assert!(answers.iter().all(|answer| header(answer, "x-inference-cold-start-ms") == Some(20_000)));
    assert_eq!(server.patches().0, 1);
    assert!(first.is_at_rest() && second.is_at_rest());
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_was_asked_for_or_is_awake_is_not_patched() {
    let awake =
        json!({"allocations": 1, "reason": "WokenUp", "message": "m", "time": "2026-01-01T00:00:00Z"});
    for (decision, annotation) in [(awake, None), (idle(None), Some("2026-01-01T00:00:00Z"))] {
        let server = ApiServer::new(&decision);
        server.store(|store| {
            store.object["metadata"]["annotations"] =
                annotation.map_or(json!({}), |text| json!({WAKE_REQUESTED_AT: text}));
        });
        let gateway = server.gateway(&[]);
        assert_eq!(gateway.request(MINUTE).await.status(), StatusCode::REQUEST_TIMEOUT);
        assert_eq!(server.patches(), (0, 0), "{decision}");
    }
}

/// Decided and asked at the same moment: the request is there when the endpoint falls asleep.
#[tokio::test(start_paused = true)]
async fn an_endpoint_that_falls_asleep_while_it_is_waited_for_is_woken() {
    let awake = json!({"allocations": 1, "reason": "Start", "message": "m", "time": "2026-01-01T00:00:00Z"});
    let server = ApiServer::new(&awake);
    let mut gateway = server.gateway(&[]);
    server.store(|store| store.object["status"]["decision"] = idle(None));
    let asleep = gateway.seen();
    let falls_asleep = async {
        after(500).await;
        assert_eq!(server.patches(), (0, 0));
        gateway.show(asleep);
        after(10).await;
        assert_eq!(server.patches(), (1, 0));
    };
    tokio::join!(gateway.request(MINUTE), falls_asleep);
}

/// The allocation that it was to get turns out to be gone. Nobody else may come for hours.
#[tokio::test(start_paused = true)]
async fn a_request_that_waited_for_another_reason_first_wakes_too() {
    let server = ApiServer::new(&idle(None));
    let mut gateway = server.gateway(&[]);
    let asleep = gateway.seen();
    let busy = gateway.seen_started();
    gateway.show(Arc::clone(&busy));
    let key = key();
    let waiter = Waiter::new(&gateway.gateway, &key);
    let waiting = waiter.begin();
    after(500).await;
    assert_eq!(server.patches(), (0, 0));
    gateway.show(asleep);
    after(7_000).await;
    assert_eq!(server.patches(), (1, 0));
    gateway.show(busy);
    drop(waiting);
    let answer = waiter.answer(Ok(axum::response::Response::default())).unwrap();
    assert_eq!(header(&answer, "x-inference-cold-start-ms"), Some(7_000));
}

/// Whoever filled an index under another vocabulary can know it before the results are poor.
#[tokio::test(start_paused = true)]
async fn an_answer_names_the_vocabulary_that_its_tokens_come_from() {
    let server = ApiServer::new(&idle(None));
    let key = key();
    for (digest, told) in [(None, None), (Some("sha256:0123"), Some("sha256:0123"))] {
        server.store(|store| {
            store.object["status"]["model"] =
                json!({"id": "m", "source": "s", "cache": "c", "vocabulary": digest});
        });
        let gateway = server.gateway(&[]);
        let waiter = Waiter::new(&gateway.gateway, &key);
        let answer = waiter.answer(Ok(axum::response::Response::default())).unwrap();
        let found = answer.headers().get("x-lexiscale-vocabulary").map(|value| value.to_str().unwrap());
        assert_eq!(found, told);
    }
}

/// With more requests than allocations can take, somebody always waits, and it is no cold start.
#[tokio::test(start_paused = true)]
async fn waiting_for_a_busy_allocation_is_no_cold_start() {
    let server = ApiServer::new(&idle(None));
    let mut gateway = server.gateway(&[]);
    let busy = gateway.seen_started();
    gateway.show(busy);
    let key = key();
    let waiter = Waiter::new(&gateway.gateway, &key);
    let waiting = waiter.begin();
    after(500).await;
    drop(waiting);
    let answer = waiter.answer(Ok(axum::response::Response::default())).unwrap();
    assert_eq!(header(&answer, "x-inference-cold-start-ms"), None);
    assert_eq!(server.patches(), (0, 0));
    assert!(gateway.is_at_rest());
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_away_is_asked_again_and_not_after_the_last_request_left() {
    let server = ApiServer::new(&idle(None));
    server.store(|store| store.away_for = 6);
    let gateway = server.gateway(&[]);
    gateway.request(MINUTE).await;
    assert_eq!((server.patches(), server.store(|store| store.away_for)), ((1, 0), 0));

    let server = ApiServer::new(&idle(None));
    server.store(|store| store.away_for = 1000);
    let gateway = server.gateway(&[]);
    gateway.request(Duration::from_secs(5)).await;
    let left = server.store(|store| store.away_for);
    assert!((990..1000).contains(&left), "{left}");
    after(600_000).await;
    assert_eq!(server.store(|store| store.away_for), left);
}

/// A client that gives up at once and comes again is still a client.
#[tokio::test(start_paused = true)]
async fn a_request_that_has_no_time_wakes_all_the_same() {
    let server = ApiServer::new(&idle(None));
    let gateway = server.gateway(&[]);
    let answer = gateway.request(Duration::ZERO).await;
    assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
    after(10).await;
    assert_eq!(server.patches(), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn who_comes_too_early_is_told_when_to_come_again() {
    let server = ApiServer::new(&idle(None));
    let mut gateway = server.gateway(&[]);
    let answer = gateway.request(Duration::from_secs(4)).await;
    assert_eq!(header(&answer, "retry-after"), Some(11), "of 15 seconds, as nothing was measured");
    let full = || {
        let key = key();
        let waiter = Waiter::new(&gateway.gateway, &key);
        waiter.answer(Err(Error::TooManyHeld { id: "a".to_owned(), limit: 1 })).unwrap()
    };
    assert_eq!(header(&full(), "retry-after"), Some(15));

    server.store(|store| store.object["status"]["coldStartSeconds"] = json!(60));
    gateway.look();
    let answer = gateway.request(Duration::from_secs(4)).await;
    assert_eq!(header(&answer, "retry-after"), Some(56), "as the operator measured");
}

/// The next client is told what this start took, although nobody waits any more.
#[tokio::test(start_paused = true)]
async fn a_start_is_measured_from_its_first_request() {
    let server = ApiServer::new(&idle(None));
    let mut gateway = server.gateway(&[]);
    let started = gateway.seen_started();
    let late = async {
        after(5_000).await;
        gateway.request(MINUTE).await
    };
    let start = async {
        after(8_000).await;
        gateway.show(started);
    };
    let (first, second, ()) = tokio::join!(gateway.request(MINUTE), late, start);
    assert_eq!(header(&first, "x-inference-cold-start-ms"), Some(8_000));
    assert_eq!(header(&second, "x-inference-cold-start-ms"), Some(3_000));
    let expected = gateway.gateway.wakes.cold_starts.expected(&gateway.gateway.directory(), &key());
    assert_eq!(expected, Duration::from_secs(8));
    assert!(gateway.is_at_rest());
}
