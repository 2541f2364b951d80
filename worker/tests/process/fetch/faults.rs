//! A hub that lets the client down in every way that it knows: what passes is gotten over, what lasts ends in a reason.

use std::time::{Duration, Instant};

use lexiscale_hub::{Fault, Hub, Repository, Request};
use lexiscale_wire::FetchReason;

use super::{COMMIT, Fetcher, REPOSITORY, hub_of, offset};
use crate::support::models::{demo_source, small_source};

const WEIGHTS: &str = "/content/lexiscale/demo-splade-tiny/model.safetensors";

fn to(requests: &[Request], path: &str) -> Vec<Request> {
    requests.iter().filter(|request| request.path == path).cloned().collect()
}

/// Gigabytes over a bad line must arrive piece by piece.
#[tokio::test]
async fn a_cut_transfer_goes_on_where_it_stopped() {
    let hub = hub_of(&demo_source()).await;
    hub.inject(WEIGHTS, Fault::CutAfter(5_000_000));
    hub.inject(WEIGHTS, Fault::CutAfter(3_000_000));
    let fetcher = Fetcher::new(&hub);
    fetcher.run().await.unwrap();
    let requests = to(&hub.requests(), WEIGHTS);
    assert_eq!(requests.len(), 3);
    assert_eq!((&requests[0].range, &requests[0].if_range), (&None, &None));
    let (first, second) = (offset(&requests[1]), offset(&requests[2]));
    // A little of what was sent before the cut is lost on the way.
    assert!((4_500_000..=5_000_000).contains(&first), "{first}");
    assert!((first + 2_500_000..=first + 3_000_000).contains(&second), "{second}");
    assert!(requests[1].if_range.is_some() && requests[1].if_range == requests[2].if_range);
    let progress = fetcher.tracker.snapshot(Instant::now());
    assert_eq!(progress.percent(), Some(100));
    assert_eq!((progress.files_done, progress.files_total, progress.attempt), (4, 4, 3));
    fetcher.model();
}

#[tokio::test]
async fn content_that_changed_meanwhile_is_fetched_from_its_beginning() {
    let hub = hub_of(&demo_source()).await;
    hub.inject(WEIGHTS, Fault::CutAfter(5_000_000));
    hub.inject(WEIGHTS, Fault::OtherETag);
    let fetcher = Fetcher::new(&hub);
    fetcher.run().await.unwrap();
    assert_eq!(fetcher.tracker.snapshot(Instant::now()).percent(), Some(100));
    fetcher.model();
}

#[tokio::test]
async fn a_server_without_ranges_is_enough() {
    let hub = hub_of(&demo_source()).await;
    hub.inject(WEIGHTS, Fault::CutAfter(5_000_000));
    hub.inject(WEIGHTS, Fault::NoRange);
    let fetcher = Fetcher::new(&hub);
    fetcher.run().await.unwrap();
    assert_eq!(to(&hub.requests(), WEIGHTS).len(), 2);
    fetcher.model();
}

#[tokio::test]
async fn a_silent_server_is_given_up_and_asked_again() {
    let hub = hub_of(&demo_source()).await;
    hub.inject(WEIGHTS, Fault::StallAfter(5_000_000));
    let mut fetcher = Fetcher::new(&hub);
    fetcher.wish.access.timeouts.idle = Duration::from_millis(300);
    fetcher.run().await.unwrap();
    let requests = to(&hub.requests(), WEIGHTS);
    assert_eq!(offset(&requests[1]), 5_000_000);
}

/// Each of these happens once, and the fetch gets over it.
#[tokio::test]
async fn passing_faults_are_gotten_over() {
    let config = format!("/resolve/{COMMIT}/config.json");
    let faults = [
        (config.as_str(), Fault::FlippedByte),
        (&config, Fault::Html),
        (&config, Fault::Status(500)),
        (&config, Fault::Status(503)),
        (&config, Fault::Status(429)),
        (&config, Fault::CutAfter(0)),
        (&config, Fault::CutAfter(10)),
        ("/revision/main", Fault::Html),
        ("/revision/main", Fault::Status(502)),
        ("/model.safetensors", Fault::FlippedByte),
        ("/model.safetensors", Fault::Html),
    ];
    for (path, fault) in faults {
        let hub = hub_of(&small_source("bert-f32")).await;
        hub.inject(path, fault.clone());
        let fetcher = Fetcher::new(&hub);
        fetcher.run().await.unwrap_or_else(|error| panic!("{fault:?} at {path}: {error}"));
        fetcher.model();
    }
}

/// The reason decides what the status of the cache says and whether another try makes sense.
#[tokio::test]
async fn lasting_faults_end_in_a_reason() {
    let table = [
        ("/revision/main", Fault::Status(404), FetchReason::ModelNotFound),
        ("/revision/main", Fault::Status(401), FetchReason::Unauthorized),
        ("/revision/main", Fault::Status(500), FetchReason::HubUnreachable),
        ("/revision/main", Fault::Html, FetchReason::HubUnreachable),
        (WEIGHTS, Fault::FlippedByte, FetchReason::ChecksumMismatch),
        (WEIGHTS, Fault::Html, FetchReason::ChecksumMismatch),
        (WEIGHTS, Fault::Status(403), FetchReason::Unauthorized),
        (WEIGHTS, Fault::Status(404), FetchReason::InvalidModel),
        (WEIGHTS, Fault::CutAfter(0), FetchReason::HubUnreachable),
        (WEIGHTS, Fault::RedirectTo("ftp://elsewhere/x".to_owned()), FetchReason::AddressNotAllowed),
        (WEIGHTS, Fault::RedirectTo(String::new()), FetchReason::HubUnreachable),
        (WEIGHTS, Fault::RedirectTo(WEIGHTS.to_owned()), FetchReason::HubUnreachable),
    ];
    for (path, fault, reason) in table {
        let hub = hub_of(&small_source("bert-f32")).await;
        for _ in 0..40 {
            hub.inject(path, fault.clone());
        }
        let fetcher = Fetcher::new(&hub);
        let (found, message) = fetcher.reason().await;
        assert_eq!(found, reason, "{fault:?} at {path}: {message}");
        assert!(!fetcher.volume.path().join("model").exists(), "{fault:?} at {path}");
    }
}

/// A wrong byte under the final name would be served for ever.
#[tokio::test]
async fn wrong_content_is_never_visible_and_leaves_nothing() {
    let hub = hub_of(&small_source("bert-f32")).await;
    for _ in 0..2 {
        hub.inject("/model.safetensors", Fault::FlippedByte);
        hub.inject("/model.safetensors", Fault::FlippedByte);
    }
    let fetcher = Fetcher::new(&hub);
    let (reason, message) = fetcher.reason().await;
    assert_eq!(reason, FetchReason::ChecksumMismatch);
    assert!(message.contains("model.safetensors is not what its source says it is"), "{message}");
    assert_eq!(fetcher.left(), Vec::<String>::new());
}

/// Some mirrors list names only; sizes and hashes then come with the files.
#[tokio::test]
async fn a_bare_listing_is_enough() {
    let hub = hub_of(&small_source("bert-f32")).await;
    hub.inject("/revision/main", Fault::BareListing);
    let fetcher = Fetcher::new(&hub);
    fetcher.run().await.unwrap();
    fetcher.model();
}

/// A size alone says nothing about what has come.
#[tokio::test]
async fn what_no_hash_is_announced_of_is_not_taken() {
    let files = ["config.json", "tokenizer.json", "model.safetensors"]
        .map(|name| serde_json::json!({"rfilename": name, "size": 2}));
    let listing = serde_json::json!({"sha": COMMIT, "siblings": files});
    let answer = |uri: http::Uri| async move {
        if uri.path().starts_with("/api/") { listing.to_string() } else { "{}".to_owned() }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hub = hub_of(&small_source("bert-f32")).await;
    let mut fetcher = Fetcher::new(&hub);
    fetcher.wish.access.endpoint = Some(format!("http://{}", listener.local_addr().unwrap()));
    let server = tokio::spawn(async { axum::serve(listener, axum::Router::new().fallback(answer)).await });
    let (reason, message) = fetcher.reason().await;
    server.abort();
    assert_eq!(reason, FetchReason::InvalidModel);
    assert!(message.contains("does not announce a hash of"), "{message}");
    assert_eq!(fetcher.left(), Vec::<String>::new());
}

/// A pinned commit is a promise; an answer about another one is not what was asked for.
#[tokio::test]
async fn another_commit_than_the_pinned_one_is_not_taken() {
    let folder = small_source("bert-f32");
    let other = "f".repeat(40);
    let mut repository = Repository::open(REPOSITORY, &folder, Some(COMMIT)).unwrap();
    repository.references.push(other.clone());
    let hub = Hub::new(vec![repository]).start().await.unwrap();
    let mut fetcher = Fetcher::new(&hub);
    fetcher.wish.revision = other.parse().unwrap();
    let (reason, message) = fetcher.reason().await;
    assert_eq!(reason, FetchReason::HubUnreachable);
    assert!(message.contains(&format!("it describes commit {COMMIT}")), "{message}");
}

#[tokio::test]
async fn a_hub_that_is_not_there_is_unreachable() {
    let hub = hub_of(&small_source("bert-f32")).await;
    let mut fetcher = Fetcher::new(&hub);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    fetcher.wish.access.endpoint = Some(format!("http://{}", listener.local_addr().unwrap()));
    drop(listener);
    let (reason, message) = fetcher.reason().await;
    assert_eq!(reason, FetchReason::HubUnreachable);
    assert!(message.contains("failed to reach 127.0.0.1"), "{message}");
    assert_eq!(fetcher.tracker.snapshot(Instant::now()).attempt, 4, "it was tried again and again");
}
