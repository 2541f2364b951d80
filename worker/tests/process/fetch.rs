//! Fetching from a real hub over real connections: what goes well here, what the hub does wrong in `faults`, and
//! models that cannot be used in `unusable`.

mod faults;
mod interruptions;
mod places;
mod unusable;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lexiscale_hub::{Fault, Hub, Repository, Request, RunningHub};
use lexiscale_wire::{FetchReason, FetchedModel};
use lexiscale_worker::model::address_policy::AddressPolicy;
use lexiscale_worker::model::credentials::{Credentials, Hidden};
use lexiscale_worker::model::download::Pace;
use lexiscale_worker::model::fetch::{FetchError, Wish, fetch};
use lexiscale_worker::model::intake::Intake;
use lexiscale_worker::model::progress::Tracker;
use lexiscale_worker::model::remote::Access;
use lexiscale_worker::model::retry::RetryPolicy;
use lexiscale_worker::model::transport::Timeouts;
use lexiscale_worker::model::verify::VerifiedModel;
use lexiscale_worker::precision::PrecisionSetting;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::support::models::{library, open, small_source};
use crate::support::reference::Reference;
use crate::vectors::texts;

const REPOSITORY: &str = "lexiscale/demo-splade-tiny";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

pub(crate) async fn hub_of(folder: &Path) -> RunningHub {
    let repository = Repository::open(REPOSITORY, folder, Some(COMMIT)).unwrap();
    Hub::new(vec![repository]).start().await.unwrap()
}

/// Servers of tests are on the loopback interface.
pub(crate) fn access(endpoint: Option<String>) -> Access {
    Access {
        endpoint,
        credentials: Credentials::default(),
        policy: AddressPolicy { allow_private: true, ..AddressPolicy::default() },
        timeouts: Timeouts { connect: Duration::from_secs(5), idle: Duration::from_secs(20) },
        claim_folder: None,
        image_folder: None,
    }
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
            access: access(Some(hub.url())),
            secret: None,
            checksums: BTreeMap::new(),
            public_key: None,
            pinned: None,
            max_bytes: 1 << 30,
            retry: RetryPolicy {
                attempts: 4,
                total_attempts: 20,
                first_delay: Duration::from_millis(1),
                longest_delay: Duration::from_millis(5),
            },
            pace: Pace::default(),
            intake: Intake::Child {
                program: env!("CARGO_BIN_EXE_lexiscale-worker").into(),
                runtime: Some(library()),
                limits: None,
            },
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
    let durations = model.durations.unwrap();
    assert!(durations.converting + durations.comparing > 0, "a process of its own takes time: {durations:?}");
    assert_eq!(fetcher.left(), ["model"]);
    let asked = hub.requests().len();
    let again = fetcher.run().await.unwrap();
    assert!(again.message.contains("is here already"), "{}", again.message);
    assert_eq!(again.digest, model.digest);
    assert_eq!(hub.requests().len(), asked, "the second run asks the hub nothing at all");

    let reference = Reference::read(&small_source("distilbert-f32-sharded").join("reference.json"));
    let embedder = open(fetcher.volume.path(), 1, PrecisionSetting::Fp32);
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
    fetcher.wish.access.credentials = Credentials::of_token(Hidden::new("secret").unwrap());
    fetcher.run().await.unwrap();
    let bearer = Some("Bearer secret".to_owned());
    let with_token = hub.requests().iter().filter(|request| request.authorization == bearer).count();
    assert!(with_token >= 4, "{with_token}");
    assert_eq!(content.requests().len(), 1);
    assert!(content.requests().iter().all(|request| request.authorization.is_none()));
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
    fetcher.wish.access.endpoint = Some(new.url());
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
