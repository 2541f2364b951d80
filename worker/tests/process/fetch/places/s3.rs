//! A server of the S3 API over a folder, which checks signatures.

use std::net::Ipv4Addr;
use std::path::Path;

use lexiscale_places::{Keys, Server, serve_buckets};
use lexiscale_wire::FetchReason;
use lexiscale_worker::model::credentials::Credentials;

use super::{FILES, Fetcher, digest_by_hub, hub_of};
use crate::support::models::small_source;

async fn serve(root: &Path, keys: Option<Keys<'_>>) -> Server {
    serve_buckets(Ipv4Addr::LOCALHOST.into(), root, keys).await.unwrap()
}

fn bucket() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("models/team/bert");
    fs_err::create_dir_all(&folder).unwrap();
    for file in FILES {
        fs_err::copy(small_source("bert-f32").join(file), folder.join(file)).unwrap();
    }
    fs_err::write(root.path().join("models/team/bert-other"), "no part of it").unwrap();
    root
}

fn secret(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs_err::write(folder.path().join(name), content).unwrap();
    }
    folder
}

async fn fetcher(server: &Server, source: &str) -> Fetcher {
    let hub = hub_of(&small_source("bert-f32")).await;
    let mut fetcher = Fetcher::new(&hub).of(source);
    fetcher.wish.access.endpoint = Some(format!("http://{}", server.address()));
    fetcher
}

#[tokio::test]
async fn a_bucket_is_read_with_the_keys_of_the_secret() {
    let root = bucket();
    let server = serve(root.path(), Some(Keys { id: "the-id", secret: "the-secret" })).await;
    let mut fetcher = fetcher(&server, "s3://models/team/bert").await;
    let (reason, message) = fetcher.reason().await;
    assert_eq!(reason, FetchReason::Unauthorized, "{message}");
    let wrong = secret(&[("AWS_ACCESS_KEY_ID", "the-id"), ("AWS_SECRET_ACCESS_KEY", "another")]);
    fetcher.wish.secret = Some(wrong.path().to_owned());
    assert_eq!(fetcher.reason().await.0, FetchReason::Unauthorized);
    let empty = secret(&[]);
    fetcher.wish.secret = Some(empty.path().to_owned());
    let (reason, message) = fetcher.reason().await;
    assert_eq!(reason, FetchReason::Unauthorized);
    assert!(message.contains("the Secret that storage.secretName names is not there"), "{message}");
    let right = secret(&[("AWS_ACCESS_KEY_ID", "the-id\n"), ("AWS_SECRET_ACCESS_KEY", "the-secret\n")]);
    fetcher.wish.secret = Some(right.path().to_owned());
    let model = fetcher.run().await.unwrap();
    assert_eq!(model.digest, digest_by_hub().await);
    assert_eq!(fetcher.left(), ["model"]);
}

/// What is pinned is what the bucket listed; an object that was replaced since is not it.
#[tokio::test]
async fn a_public_bucket_needs_no_keys_and_its_listing_is_pinned() {
    let root = bucket();
    let server = serve(root.path(), None).await;
    let first = fetcher(&server, "s3://models/team/bert").await;
    assert_eq!(first.wish.access.credentials, Credentials::default());
    let model = first.run().await.unwrap();
    assert!(model.revision.starts_with("sha256-"));
    let mut pinned = fetcher(&server, "s3://models/team/bert").await;
    pinned.wish.revision = model.revision.parse().unwrap();
    pinned.run().await.unwrap();
    let path = root.path().join("models/team/bert/tokenizer_config.json");
    fs_err::write(&path, format!("{} ", fs_err::read_to_string(&path).unwrap())).unwrap();
    let mut changed = fetcher(&server, "s3://models/team/bert").await;
    changed.wish.revision = model.revision.parse().unwrap();
    let (reason, message) = changed.reason().await;
    assert_eq!(reason, FetchReason::RevisionNotFound, "{message}");
    let absent = fetcher(&server, "s3://models/team/nothing").await;
    assert_eq!(absent.reason().await.0, FetchReason::ModelNotFound);
    let no_bucket = fetcher(&server, "s3://no-bucket/team").await;
    assert_eq!(no_bucket.reason().await.0, FetchReason::ModelNotFound);
}
