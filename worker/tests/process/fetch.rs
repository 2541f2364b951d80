//! Fetching from a real hub over real connections, which lets the client down in every way that it knows.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lexiscale_hub::{Fault, Hub, Repository, Request, RunningHub};
use lexiscale_wire::{FetchReason, FetchedModel};
use lexiscale_worker::model::fetch::{FetchError, Wish, fetch};
use lexiscale_worker::model::hub::{Timeouts, Token};
use lexiscale_worker::model::progress::Tracker;
use lexiscale_worker::model::retry::RetryPolicy;
use lexiscale_worker::model::verify::VerifiedModel;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::support::models::{LIMITS, demo_source, open, small_source};
use crate::support::reference::Reference;
use crate::vectors::texts;

const REPOSITORY: &str = "lexiscale/demo-splade-tiny";
const WEIGHTS: &str = "/content/lexiscale/demo-splade-tiny/model.safetensors";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

pub(crate) async fn hub_of(folder: &Path) -> RunningHub {
    let repository = Repository::open(REPOSITORY, folder, Some(COMMIT)).unwrap();
    Hub::new(vec![repository]).start().await.unwrap()
}

struct Fetcher {
    wish: Wish,
    tracker: Arc<Tracker>,
    cancel: CancellationToken,
    volume: TempDir,
}

impl Fetcher {
    fn new(hub: &RunningHub) -> Self {
        let volume = tempfile::tempdir().unwrap();
        let wish = Wish {
            source: format!("hf://{REPOSITORY}").parse().unwrap(),
            revision: "main".parse().unwrap(),
            output: volume.path().to_owned(),
            hub_endpoint: hub.url(),
            token: None,
            max_bytes: 1 << 30,
            retry: RetryPolicy {
                attempts: 4,
                total_attempts: 20,
                first_delay: Duration::from_millis(1),
                longest_delay: Duration::from_millis(5),
            },
            timeouts: Timeouts { connect: Duration::from_secs(5), idle: Duration::from_secs(20) },
        };
        Self {
            wish,
            tracker: Arc::new(Tracker::new(Instant::now())),
            cancel: CancellationToken::new(),
            volume,
        }
    }

    async fn run(&self) -> Result<FetchedModel, FetchError> {
        let (wish, tracker, cancel) = (self.wish.clone(), Arc::clone(&self.tracker), self.cancel.clone());
        tokio::task::spawn_blocking(move || fetch(&wish, &tracker, &cancel)).await.unwrap()
    }

    async fn reason(&self) -> (FetchReason, String) {
        let error = self.run().await.unwrap_err();
        (error.reason(), lexiscale_worker::telemetry::chain(&error))
    }

    fn model(&self) -> VerifiedModel {
        VerifiedModel::open(&self.volume.path().join("model")).unwrap()
    }

    /// Names of what lies on the volume.
    fn left(&self) -> Vec<String> {
        let entries = fs_err::read_dir(self.volume.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.retain(|name| name != ".lock");
        names.sort();
        names
    }
}

fn to(requests: &[Request], path: &str) -> Vec<Request> {
    requests.iter().filter(|request| request.path == path).cloned().collect()
}

/// Where a request asks to go on.
pub(crate) fn offset(request: &Request) -> u64 {
    let range = request.range.as_deref().unwrap();
    range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_model_is_fetched_once_and_serves() {
    let hub = hub_of(&small_source("distilbert-f32-sharded")).await;
    let fetcher = Fetcher::new(&hub);
    let model = fetcher.run().await.unwrap();
    assert_eq!(model.revision, COMMIT);
    assert_eq!((model.max_tokens, model.vocabulary_size), (24, 73));
    assert_eq!(fetcher.left(), ["model"]);
    let asked = hub.requests().len();
    let again = fetcher.run().await.unwrap();
    assert!(again.message.contains("is here already"), "{}", again.message);
    assert_eq!(again.digest, model.digest);
    assert_eq!(hub.requests().len(), asked, "the second run asks the hub nothing at all");

    let reference = Reference::read(&small_source("distilbert-f32-sharded").join("reference.json"));
    let embedder = open(fetcher.volume.path(), 1, LIMITS);
    for expected in &reference.texts {
        let found = embedder.embed(texts(vec![expected.text.clone()])).await.unwrap();
        reference.compare(expected, &embedder.name(&found[0].row));
    }
}

#[tokio::test]
async fn only_what_is_needed_is_downloaded() {
    let hub = hub_of(&small_source("onnx-logits")).await;
    let fetcher = Fetcher::new(&hub);
    fetcher.run().await.unwrap();
    let mut asked: Vec<String> = hub.requests().iter().map(|request| request.path.clone()).collect();
    asked.sort();
    asked.dedup();
    let resolve = |file: &str| format!("/{REPOSITORY}/resolve/{COMMIT}/{file}");
    assert_eq!(
        asked,
        [
            format!("/api/models/{REPOSITORY}/revision/main"),
            format!("/content/{REPOSITORY}/onnx/model.onnx"),
            resolve("config.json"),
            resolve("onnx/model.onnx"),
            resolve("tokenizer.json"),
            resolve("tokenizer_config.json"),
        ]
    );
    assert_eq!(fetcher.model().manifest().converter, None);
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
    fetcher.wish.timeouts.idle = Duration::from_millis(300);
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
    let weights = "/content/lexiscale/demo-splade-tiny/model.safetensors";
    let table = [
        ("/revision/main", Fault::Status(404), FetchReason::ModelNotFound),
        ("/revision/main", Fault::Status(401), FetchReason::Unauthorized),
        ("/revision/main", Fault::Status(500), FetchReason::HubUnreachable),
        ("/revision/main", Fault::Html, FetchReason::HubUnreachable),
        (weights, Fault::FlippedByte, FetchReason::ChecksumMismatch),
        (weights, Fault::Html, FetchReason::ChecksumMismatch),
        (weights, Fault::Status(403), FetchReason::Unauthorized),
        (weights, Fault::Status(404), FetchReason::InvalidModel),
        (weights, Fault::CutAfter(0), FetchReason::HubUnreachable),
        (weights, Fault::RedirectTo("ftp://elsewhere/x".to_owned()), FetchReason::HubUnreachable),
        (weights, Fault::RedirectTo(weights.to_owned()), FetchReason::HubUnreachable),
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
    assert!(message.contains("model.safetensors from the hub is not what the hub says it is"), "{message}");
    assert_eq!(fetcher.left(), Vec::<String>::new());
}

#[tokio::test]
async fn models_and_revisions_that_do_not_exist_are_told_apart() {
    let hub = hub_of(&small_source("bert-f32")).await;
    let mut fetcher = Fetcher::new(&hub);
    fetcher.wish.revision = "v9".parse().unwrap();
    let (reason, message) = fetcher.reason().await;
    assert_eq!(reason, FetchReason::RevisionNotFound);
    assert_eq!(message, "repository lexiscale/demo-splade-tiny has no revision v9");
    fetcher.wish.source = "hf://lexiscale/other".parse().unwrap();
    let (reason, message) = fetcher.reason().await;
    assert_eq!(reason, FetchReason::ModelNotFound);
    assert!(message.contains("no repository lexiscale/other"), "{message}");
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
    fetcher.wish.hub_endpoint = format!("http://{}", listener.local_addr().unwrap());
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
    fetcher.wish.hub_endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let (reason, message) = fetcher.reason().await;
    assert_eq!(reason, FetchReason::HubUnreachable);
    assert!(message.contains("failed to reach 127.0.0.1"), "{message}");
    assert_eq!(fetcher.tracker.snapshot(Instant::now()).attempt, 4, "it was tried again and again");
}

/// A token that travels to the content network is a token given away.
#[tokio::test]
async fn the_token_goes_to_the_hub_and_nowhere_else() {
    let source = small_source("bert-f32");
    let content = hub_of(&source).await;
    let repository = Repository::open(REPOSITORY, &source, Some(COMMIT)).unwrap().with_token("secret");
    let address = content.address().to_string();
    let hub = Hub::new(vec![repository]).with_content_address(address).start().await.unwrap();
    let mut fetcher = Fetcher::new(&hub);
    assert_eq!(fetcher.reason().await.0, FetchReason::Unauthorized);
    fetcher.wish.token = Token::new("secret");
    fetcher.run().await.unwrap();
    let bearer = Some("Bearer secret".to_owned());
    let with_token = hub.requests().iter().filter(|request| request.authorization == bearer).count();
    assert!(with_token >= 4, "{with_token}");
    assert_eq!(content.requests().len(), 1);
    assert!(content.requests().iter().all(|request| request.authorization.is_none()));
}

/// Nobody waits for gigabytes to learn that the model cannot be used.
#[tokio::test]
async fn an_unsupported_architecture_is_refused_before_its_weights_are_downloaded() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["tokenizer.json", "model.safetensors"] {
        fs_err::copy(small_source("bert-f32").join(name), folder.path().join(name)).unwrap();
    }
    fs_err::write(folder.path().join("config.json"), r#"{"architectures":["ModernBertForMaskedLM"]}"#)
        .unwrap();
    let hub = hub_of(folder.path()).await;
    let fetcher = Fetcher::new(&hub);
    let (reason, message) = fetcher.reason().await;
    assert_eq!(reason, FetchReason::UnsupportedModel);
    assert!(
        message.contains("ModernBertForMaskedLM is not supported; supported are BertForMaskedLM"),
        "{message}"
    );
    assert!(hub.requests().iter().all(|request| !request.path.ends_with("safetensors")));
    assert_eq!(fetcher.left(), Vec::<String>::new());
}

#[tokio::test]
async fn models_that_are_not_what_they_claim_are_invalid() {
    type Damage = fn(&Path);
    let config = |from: &'static str, to: &'static str| (from, to);
    let edits = [
        config(r#""hidden_size": 16"#, r#""hidden_size": 32"#),
        config(r#""num_hidden_layers": 2"#, r#""num_hidden_layers": 3"#),
        config(r#""vocab_size": 73"#, r#""vocab_size": 74"#),
        config(r#""num_attention_heads": 4"#, r#""num_attention_heads": 5"#),
    ];
    let messages = [
        "tensor bert.embeddings.word_embeddings.weight has shape [73, 16], but config.json asks for [73, 32]",
        "tensor bert.encoder.layer.2.attention.self.query.weight is missing",
        "but config.json asks for [74, 16]",
        "5 attention heads",
    ];
    for ((from, to), message) in edits.into_iter().zip(messages) {
        let folder = copy_of("bert-f32");
        let path = folder.path().join("config.json");
        let text = fs_err::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs_err::write(&path, text.replace(from, to)).unwrap();
        let (reason, found) = Fetcher::new(&hub_of(folder.path()).await).reason().await;
        assert_eq!(reason, FetchReason::InvalidModel, "{found}");
        assert!(found.contains(message), "{found}");
    }
    let damages: [(Damage, &str); 4] = [
        (
            |folder| fs_err::write(folder.join("model.safetensors"), "short").unwrap(),
            "not a safetensors file",
        ),
        (
            |folder| fs_err::write(folder.join("tokenizer.json"), "{}").unwrap(),
            "tokenizer.json cannot be used",
        ),
        (
            |folder| fs_err::write(folder.join("tokenizer.json"), "nonsense").unwrap(),
            "tokenizer.json cannot be used",
        ),
        (|folder| fs_err::write(folder.join("config.json"), "[]").unwrap(), "failed to parse config.json"),
    ];
    for (damage, message) in damages {
        let folder = copy_of("bert-f32");
        damage(folder.path());
        let (reason, found) = Fetcher::new(&hub_of(folder.path()).await).reason().await;
        assert_eq!(reason, FetchReason::InvalidModel, "{found}");
        assert!(found.contains(message), "{found}");
    }
}

#[tokio::test]
async fn onnx_files_that_no_worker_can_serve_are_refused_by_the_fetch() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "tokenizer.json"] {
        fs_err::copy(small_source("onnx-logits").join(name), folder.path().join(name)).unwrap();
    }
    let shipped = small_source("onnx-logits").join("onnx/model.onnx");
    fs_err::copy(&shipped, folder.path().join("model.onnx")).unwrap();
    let config = fs_err::read_to_string(folder.path().join("config.json")).unwrap();
    fs_err::write(folder.path().join("config.json"), config.replace("73", "768")).unwrap();
    let (reason, message) = Fetcher::new(&hub_of(folder.path()).await).reason().await;
    assert_eq!(reason, FetchReason::UnsupportedModel, "{message}");
    assert!(message.contains("logits [-1, -1, 73]; needed is one of shape [texts, 768]"), "{message}");
    fs_err::write(folder.path().join("model.onnx"), "<html>not a model</html>").unwrap();
    let (reason, message) = Fetcher::new(&hub_of(folder.path()).await).reason().await;
    assert_eq!(reason, FetchReason::InvalidModel, "{message}");
}

fn copy_of(name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"] {
        fs_err::copy(small_source(name).join(file), folder.path().join(file)).unwrap();
    }
    folder
}

#[tokio::test]
async fn more_bytes_than_allowed_are_not_downloaded() {
    let hub = hub_of(&demo_source()).await;
    let mut fetcher = Fetcher::new(&hub);
    fetcher.wish.max_bytes = 1000;
    let (reason, message) = fetcher.reason().await;
    assert_eq!(reason, FetchReason::InvalidModel);
    assert!(message.contains("more than the 1000 B that are allowed"), "{message}");
    assert_eq!(hub.requests().len(), 1);
}

/// A cache that moves to another revision keeps the old model visible until the new one is whole.
#[tokio::test]
async fn another_revision_replaces_the_model_and_a_failure_leaves_it() {
    let old = hub_of(&small_source("bert-f32")).await;
    let mut fetcher = Fetcher::new(&old);
    let first = fetcher.run().await.unwrap();
    let other = "89abcdef0123456789abcdef0123456789abcdef";
    let repository = Repository::open(REPOSITORY, &small_source("bert-bf16-untied"), Some(other)).unwrap();
    let new = Hub::new(vec![repository]).start().await.unwrap();
    fetcher.wish.hub_endpoint = new.url();
    fetcher.wish.revision = other.parse().unwrap();
    new.inject("/tokenizer.json", Fault::Status(403));
    assert_eq!(fetcher.reason().await.0, FetchReason::Unauthorized);
    assert_eq!(fetcher.model().manifest().digest, first.digest);
    let second = fetcher.run().await.unwrap();
    assert_ne!(second.digest, first.digest);
    assert_eq!(fetcher.model().manifest().revision, other);
    assert_eq!(fetcher.left(), ["model"]);
}

#[tokio::test]
async fn a_damaged_publication_is_fetched_again() {
    let hub = hub_of(&small_source("bert-f32")).await;
    let fetcher = Fetcher::new(&hub);
    let first = fetcher.run().await.unwrap();
    fs_err::write(fetcher.volume.path().join("model/model.onnx"), "damaged").unwrap();
    let second = fetcher.run().await.unwrap();
    assert_eq!(first.digest, second.digest, "the same files, converted to the same bytes");
    fetcher.model();
}

#[tokio::test]
async fn what_another_revision_left_unfinished_is_cleaned_up() {
    let hub = hub_of(&small_source("bert-f32")).await;
    let fetcher = Fetcher::new(&hub);
    let stale = fetcher.volume.path().join(".partial-0000000000000000");
    fs_err::create_dir(&stale).unwrap();
    fs_err::write(stale.join("model.safetensors.part"), "old").unwrap();
    fetcher.run().await.unwrap();
    assert_eq!(fetcher.left(), ["model"]);
}
