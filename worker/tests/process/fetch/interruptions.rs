//! Everything that can come between a model and its volume, as a table. Each row ends with the right bytes after a retry, or with a
//! named reason and nothing visible.

use std::time::Duration;

use lexiscale_hub::{Fault, Hub, Repository};
use lexiscale_wire::FetchReason;

use super::places::{volume, write_sums};
use super::{COMMIT, Fetcher, REPOSITORY, hub_of};
use crate::support::models::small_source;

const WEIGHTS: &str = "/content/lexiscale/demo-splade-tiny/model.safetensors";
const TOKENIZER: &str = "/tokenizer.json";
/// More than any fetch asks.
const ALWAYS: usize = 60;

#[derive(Debug)]
enum End {
    Success,
    Failure(FetchReason),
}

use End::{Failure, Success};

fn table(size: u64) -> Vec<(Fault, usize, End)> {
    let mut table: Vec<_> = (0..10).map(|tenth| (Fault::CutAfter(size * tenth / 10), 1, Success)).collect();
    table.extend([
        (Fault::CutAfter(size - 1), 1, Success),
        (Fault::FlippedByte, 1, Success),
        (Fault::FlippedByte, ALWAYS, Failure(FetchReason::ChecksumMismatch)),
        (Fault::Html, 1, Success),
        (Fault::Html, ALWAYS, Failure(FetchReason::ChecksumMismatch)),
        (Fault::Longer(1), 1, Success),
        (Fault::Longer(1), ALWAYS, Failure(FetchReason::ChecksumMismatch)),
        (Fault::Gzip, 1, Success),
        (Fault::Gzip, ALWAYS, Failure(FetchReason::ChecksumMismatch)),
        (Fault::NoRange, ALWAYS, Success),
        (Fault::OtherETag, ALWAYS, Success),
        (Fault::StallAfter(size / 2), 1, Success),
        (Fault::StallAfter(0), ALWAYS, Failure(FetchReason::HubUnreachable)),
        (Fault::Trickle(20), 1, Success),
        (Fault::Trickle(20), ALWAYS, Failure(FetchReason::TooSlow)),
        (Fault::Status(500), 1, Success),
        (Fault::Status(429), 1, Success),
        (Fault::Status(503), ALWAYS, Failure(FetchReason::HubUnreachable)),
        (Fault::Status(403), 1, Failure(FetchReason::Unauthorized)),
        (Fault::CutAfter(0), ALWAYS, Failure(FetchReason::HubUnreachable)),
    ]);
    table
}

/// At the hub, which knows each file's hash, and at a web server, where a list beside the files does.
#[tokio::test(flavor = "multi_thread")]
async fn every_interruption_ends_in_the_right_bytes_or_in_a_reason() {
    let expected = Fetcher::new(&hub_of(&small_source("bert-f32")).await).run().await.unwrap();
    let root = volume();
    let folder = root.path().join("team/bert");
    write_sums(&folder);
    let size = fs_err::metadata(small_source("bert-f32").join("model.safetensors")).unwrap().len();
    for by_web in [false, true] {
        for (fault, times, end) in table(size) {
            let hub = hub_of(&folder).await;
            let mut fetcher = Fetcher::new(&hub);
            if by_web {
                fetcher = fetcher.of(&format!("{}/{REPOSITORY}/resolve/{COMMIT}/", hub.url()));
            }
            fetcher.wish.access.timeouts.idle = Duration::from_millis(400);
            fetcher.wish.pace.floor = 2000;
            fetcher.wish.pace.window = Duration::from_millis(120);
            hub.inject_for("GET", WEIGHTS, &fault, times);
            let outcome = fetcher.run().await;
            let row = format!("{fault:?} x {times}, by web: {by_web}");
            match (outcome, end) {
                (Ok(model), Success) => {
                    assert_eq!(model.digest, expected.digest, "{row}");
                    assert_eq!(fetcher.model().manifest().digest, expected.digest, "{row}");
                    assert_eq!(fetcher.left(), ["model"], "{row}");
                }
                (Err(error), Failure(reason)) => {
                    assert_eq!(error.reason(), reason, "{row}: {error}");
                    assert!(!fetcher.volume.path().join("model").exists(), "{row}");
                }
                (Err(error), Success) => panic!("{row}: {error}"),
                (Ok(_), Failure(reason)) => panic!("{row}: succeeded instead of {reason}"),
            }
        }
    }
}

/// The first file is small and comes in one piece; what is wrong with it is as wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_small_file_is_no_better_than_a_wrong_large_one() {
    for fault in [Fault::FlippedByte, Fault::Html, Fault::Longer(3), Fault::Gzip] {
        let repository = Repository::open(REPOSITORY, &small_source("bert-f32"), Some(COMMIT)).unwrap();
        let hub = Hub::new(vec![repository]).start().await.unwrap();
        hub.inject_for("GET", TOKENIZER, &fault, ALWAYS);
        let fetcher = Fetcher::new(&hub);
        let (reason, message) = fetcher.reason().await;
        assert_eq!(reason, FetchReason::ChecksumMismatch, "{fault:?}: {message}");
        assert_eq!(fetcher.left(), Vec::<String>::new(), "{fault:?}");
    }
}
