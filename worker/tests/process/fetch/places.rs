//! Each kind of place, against a real server of its kind: what lies there becomes the same model that the hub gives.

mod registry;
mod s3;
mod tls;

use std::path::Path;

use lexiscale_hub::Fault;
use lexiscale_wire::FetchReason;
use lexiscale_worker::model::address_policy::{Address, AddressPolicy};
use lexiscale_worker::model::manifest::hexadecimal;
use lexiscale_worker::model::{bundle, sums};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::{COMMIT, Fetcher, REPOSITORY, hub_of};
use crate::support::models::small_source;

const FILES: [&str; 4] = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];

impl Fetcher {
    /// As a cache of another source.
    pub(super) fn of(mut self, source: &str) -> Self {
        self.wish.source = source.parse().unwrap();
        self.wish.access.endpoint = None;
        self
    }
}

fn sha256(path: &Path) -> String {
    hexadecimal(&Sha256::digest(fs_err::read(path).unwrap()))
}

/// A small model in a folder of its own below the root.
pub(super) fn volume() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("team/bert");
    fs_err::create_dir_all(&folder).unwrap();
    for file in FILES {
        fs_err::copy(small_source("bert-f32").join(file), folder.join(file)).unwrap();
    }
    root
}

/// The list that `sha256sum` would write.
pub(super) fn write_sums(folder: &Path) {
    let listed = FILES.map(|file| (file, sha256(&folder.join(file))));
    let text = sums::format(listed.iter().map(|(name, sum)| (*name, sum.as_str())));
    fs_err::write(folder.join("SHA256SUMS"), text).unwrap();
}

/// What the hub gives, to compare with.
async fn digest_by_hub() -> String {
    let hub = hub_of(&small_source("bert-f32")).await;
    Fetcher::new(&hub).run().await.unwrap().digest
}

#[tokio::test]
async fn a_web_server_without_any_listing_is_enough() {
    let hub = hub_of(&small_source("bert-f32")).await;
    let address = format!("{}/{REPOSITORY}/resolve/{COMMIT}/", hub.url());
    let fetcher = Fetcher::new(&hub).of(&address);
    hub.inject("/model.safetensors", Fault::Status(503));
    let content = format!("/content/{REPOSITORY}/model.safetensors");
    hub.inject_for("GET", &content, &Fault::CutAfter(1000), 1);
    let model = fetcher.run().await.unwrap();
    assert_eq!(model.digest, digest_by_hub().await);
    assert!(model.revision.starts_with("sha256-"), "{}", model.revision);
    assert_eq!(fetcher.model().manifest().source, address);

    // Asked again for just that revision, on a volume that is empty: the same, by its pinned digest.
    let mut again = Fetcher::new(&hub).of(&address);
    again.wish.revision = model.revision.parse().unwrap();
    again.wish.pinned = model.source_digest.clone();
    assert_eq!(again.run().await.unwrap().source_digest, model.source_digest);
    let mut other = Fetcher::new(&hub).of(&address);
    other.wish.pinned = Some("sha256:0".to_owned());
    let (reason, message) = other.reason().await;
    assert_eq!(reason, FetchReason::ChecksumMismatch);
    assert!(message.contains("this cache was first filled with sha256:0"), "{message}");
}

#[tokio::test]
async fn a_list_of_hashes_is_believed_and_held_to() {
    let hub_folder = volume();
    let folder = hub_folder.path().join("team/bert");
    write_sums(&folder);
    for ending in ["", "SHA256SUMS"] {
        let hub = hub_of(&folder).await;
        let address = format!("{}/{REPOSITORY}/resolve/{COMMIT}/{ending}", hub.url());
        let fetcher = Fetcher::new(&hub).of(&address);
        hub.inject("/config.json", Fault::Status(500));
        fetcher.run().await.unwrap();
        assert!(
            hub.requests().iter().all(|request| !request.path.ends_with("modules.json")),
            "nothing is guessed"
        );
    }
    let list = folder.join("SHA256SUMS");
    let text = fs_err::read_to_string(&list).unwrap();
    fs_err::write(&list, text.replace(&sha256(&folder.join("model.safetensors")), &"0".repeat(64))).unwrap();
    for (hub, source) in [(true, ""), (false, "pvc://claim/team/bert")] {
        let server = hub_of(&folder).await;
        let address = format!("{}/{REPOSITORY}/resolve/{COMMIT}/", server.url());
        let mut fetcher = Fetcher::new(&server).of(if hub { &address } else { source });
        fetcher.wish.access.claim_folder = Some(hub_folder.path().to_owned());
        let (reason, message) = fetcher.reason().await;
        assert_eq!(reason, FetchReason::ChecksumMismatch, "{message}");
        assert!(message.contains("model.safetensors"), "{message}");
        assert_eq!(fetcher.left(), Vec::<String>::new());
    }
}

/// Whoever writes checksums into a spec vouches for these bytes and for no others.
#[tokio::test]
async fn given_checksums_are_held_to_at_every_place() {
    let hub = hub_of(&small_source("bert-f32")).await;
    let root = volume();
    let folder = root.path().join("team/bert");
    let right: std::collections::BTreeMap<String, String> =
        FILES.iter().map(|file| ((*file).to_owned(), sha256(&folder.join(file)))).collect();
    let address = format!("{}/{REPOSITORY}/resolve/{COMMIT}/", hub.url());
    for source in [&format!("hf://{REPOSITORY}"), &address, "pvc://claim/team/bert"] {
        let fetcher = || {
            let mut fetcher = Fetcher::new(&hub);
            if !source.starts_with("hf://") {
                fetcher = fetcher.of(source);
            }
            fetcher.wish.access.claim_folder = Some(root.path().to_owned());
            fetcher.wish.checksums = right.clone();
            fetcher
        };
        fetcher().run().await.unwrap();
        let mut wrong = fetcher();
        wrong.wish.checksums.insert("tokenizer.json".to_owned(), "0".repeat(64));
        assert_eq!(wrong.reason().await.0, FetchReason::ChecksumMismatch, "{source}");
        let mut missing = fetcher();
        missing.wish.checksums.remove("tokenizer.json");
        let (reason, message) = missing.reason().await;
        assert_eq!(reason, FetchReason::InvalidModel, "{source}");
        assert!(message.contains("tokenizer.json is used, but the checksums"), "{message}");
    }
}

#[tokio::test]
async fn a_volume_that_somebody_else_fills_is_a_place() {
    let root = volume();
    let hub = hub_of(&small_source("bert-f32")).await;
    let mut fetcher = Fetcher::new(&hub).of("pvc://claim/team/bert");
    let (reason, _) = fetcher.reason().await;
    assert_eq!(reason, FetchReason::Internal, "it is not mounted");
    fetcher.wish.access.claim_folder = Some(root.path().to_owned());
    let model = fetcher.run().await.unwrap();
    assert_eq!(model.digest, digest_by_hub().await);

    // What was pinned is not there any more once somebody writes to the volume.
    fs_err::write(root.path().join("team/bert/config.json"), "{}").unwrap();
    let mut again = Fetcher::new(&hub).of("pvc://claim/team/bert");
    again.wish.access.claim_folder = Some(root.path().to_owned());
    again.wish.revision = model.revision.parse().unwrap();
    let (reason, message) = again.reason().await;
    assert_eq!(reason, FetchReason::RevisionNotFound);
    assert!(message.contains("is no longer what it was when"), "{message}");
    let mut absent = Fetcher::new(&hub).of("pvc://claim/team/other");
    absent.wish.access.claim_folder = Some(root.path().to_owned());
    assert_eq!(absent.reason().await.0, FetchReason::ModelNotFound);
}

/// From where there is internet to where there is none, by one file.
#[tokio::test]
async fn a_bundle_is_made_and_loaded_and_damage_is_told() {
    let hub = hub_of(&small_source("distilbert-f32-sharded")).await;
    let by_hub = Fetcher::new(&hub);
    let expected = by_hub.run().await.unwrap();
    let stick = tempfile::tempdir().unwrap();
    let bundle = stick.path().join("demo.tar");
    let mut wish = by_hub.wish.clone();
    wish.output = stick.path().to_owned();
    let (tracker, cancel) = (by_hub.tracker.clone(), by_hub.cancel.clone());
    let made = {
        let bundle = bundle.clone();
        tokio::task::spawn_blocking(move || bundle::create(&wish, &bundle, &tracker, &cancel))
            .await
            .unwrap()
            .unwrap()
    };
    assert_eq!(made.revision, COMMIT);
    let left: Vec<_> =
        fs_err::read_dir(stick.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name == "demo.tar" || name == ".lock"), "{left:?}");

    let asked = hub.requests().len();
    let mut fetcher = Fetcher::new(&hub).of("pvc://claim/demo.tar");
    fetcher.wish.access.claim_folder = Some(stick.path().to_owned());
    let model = fetcher.run().await.unwrap();
    assert_eq!((&model.digest, &model.source_digest), (&expected.digest, &expected.source_digest));
    assert_eq!(hub.requests().len(), asked, "nothing is asked of the internet");
    assert_eq!(fetcher.left(), ["model"]);

    let whole = fs_err::read(&bundle).unwrap();
    let position = |text: &[u8]| whole.windows(text.len()).position(|window| window == text).unwrap();
    // In a file's content, in the list of hashes, in the head of an entry.
    for at in [position(b"\"vocab\""), position(b"  tokenizer.json") - 9, position(b"model-00002-of")] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs_err::write(&bundle, &damaged).unwrap();
        let mut fetcher = Fetcher::new(&hub).of("pvc://claim/demo.tar");
        fetcher.wish.access.claim_folder = Some(stick.path().to_owned());
        let (reason, message) = fetcher.reason().await;
        assert!(
            matches!(reason, FetchReason::ChecksumMismatch | FetchReason::InvalidModel),
            "{at}: {message}"
        );
        assert_eq!(fetcher.left(), Vec::<String>::new());
    }
    fs_err::write(&bundle, &whole[..whole.len() / 2]).unwrap();
    let mut fetcher = Fetcher::new(&hub).of("pvc://claim/demo.tar");
    fetcher.wish.access.claim_folder = Some(stick.path().to_owned());
    assert_eq!(fetcher.reason().await.0, FetchReason::InvalidModel);
}

/// One key for a model wherever it lies; who signs does not have to be who serves.
#[tokio::test]
async fn a_signed_list_vouches_at_every_place() {
    use ring::signature::{Ed25519KeyPair, KeyPair};
    let pair = |seed: u8| Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
    let pem = |pair: &Ed25519KeyPair| {
        let mut der = vec![0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
        der.extend(pair.public_key().as_ref());
        let body = base64(&der);
        format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
    };
    let root = volume();
    let folder = root.path().join("team/bert");
    let hub = hub_of(&folder).await;
    let address = |hub: &lexiscale_hub::RunningHub| format!("{}/{REPOSITORY}/resolve/{COMMIT}/", hub.url());
    let fetcher = |hub: &lexiscale_hub::RunningHub, source: &str, signer: u8| {
        let mut fetcher = Fetcher::new(hub);
        if !source.starts_with("hf://") {
            fetcher = fetcher.of(source);
        }
        fetcher.wish.access.claim_folder = Some(root.path().to_owned());
        fetcher.wish.public_key = Some(pem(&pair(signer)).parse().unwrap());
        fetcher
    };
    let (reason, message) = fetcher(&hub, &format!("hf://{REPOSITORY}"), 1).reason().await;
    assert_eq!(reason, FetchReason::SignatureInvalid);
    assert!(message.contains("there is no SHA256SUMS"), "{message}");
    write_sums(&folder);
    let list = fs_err::read(folder.join("SHA256SUMS")).unwrap();
    fs_err::write(folder.join("SHA256SUMS.sig"), base64(pair(1).sign(&list).as_ref())).unwrap();
    let hub = hub_of(&folder).await;
    for source in [&format!("hf://{REPOSITORY}"), &address(&hub), "pvc://claim/team/bert"] {
        fetcher(&hub, source, 1).run().await.unwrap();
        let (reason, message) = fetcher(&hub, source, 2).reason().await;
        assert_eq!(reason, FetchReason::SignatureInvalid, "{source}");
        assert!(message.contains("it is not of this list by this key"), "{message}");
    }
    // The signature goes with the bundle.
    let bundle = root.path().join("signed.tar");
    let mut maker = fetcher(&hub, "pvc://claim/team/bert", 1);
    maker.wish.output = maker.volume.path().to_owned();
    let (wish, tracker, cancel, file) =
        (maker.wish.clone(), maker.tracker.clone(), maker.cancel.clone(), bundle.clone());
    let made = tokio::task::spawn_blocking(move || bundle::create(&wish, &file, &tracker, &cancel)).await;
    made.unwrap().unwrap();
    fetcher(&hub, "pvc://claim/signed.tar", 1).run().await.unwrap();
    assert_eq!(fetcher(&hub, "pvc://claim/signed.tar", 2).reason().await.0, FetchReason::SignatureInvalid);
    // A list by the right key that says something else about a file.
    let path = folder.join("config.json");
    fs_err::write(&path, format!("{} ", fs_err::read_to_string(&path).unwrap())).unwrap();
    let hub = hub_of(&folder).await;
    let (reason, message) = fetcher(&hub, &address(&hub), 1).reason().await;
    assert_eq!(reason, FetchReason::ChecksumMismatch, "{message}");
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// A model is named by whoever may create an endpoint; where it may come from is the operator's affair.
#[tokio::test]
async fn addresses_inside_are_refused_unless_the_operator_trusts_the_server() {
    let hub = hub_of(&small_source("bert-f32")).await;
    let mut fetcher = Fetcher::new(&hub);
    fetcher.wish.access.policy = AddressPolicy::default();
    let (reason, message) = fetcher.reason().await;
    assert_eq!(reason, FetchReason::AddressNotAllowed);
    assert!(message.contains("plain http needs the operator's permission"), "{message}");
    assert!(hub.requests().is_empty(), "it was not even asked");

    fetcher.wish.access.policy.trusted = vec![Address::parse(&hub.url()).unwrap()];
    // The trusted server sends the download elsewhere.
    for target in
        ["http://127.0.0.1:1/x", "https://169.254.169.254/latest", "https://localhost/x", "https://[::1]/x"]
    {
        hub.inject("/model.safetensors", Fault::RedirectTo(target.to_owned()));
        let (reason, message) = fetcher.reason().await;
        assert_eq!(reason, FetchReason::AddressNotAllowed, "{target}: {message}");
    }
    fetcher.run().await.unwrap();
    // Without a literal address it is the resolver that sees where the name leads.
    let mut by_name = Fetcher::new(&hub).of("https://localhost/model/");
    by_name.wish.access.policy = AddressPolicy::default();
    let (reason, message) = by_name.reason().await;
    assert_eq!(reason, FetchReason::AddressNotAllowed);
    assert!(message.contains("the machine itself"), "{message}");
}
