//! A web server of a private authority: trusted by whoever brings the authority's certificate, and by nobody else.

use std::net::Ipv4Addr;

use lexiscale_pki::Authority;
use lexiscale_places::serve_tls;
use lexiscale_wire::FetchReason;

use super::{COMMIT, Fetcher, REPOSITORY, digest_by_hub, hub_of};
use crate::support::models::small_source;

#[tokio::test(flavor = "multi_thread")]
async fn a_private_authority_is_trusted_by_its_certificate_and_by_nothing_else() {
    let hub = hub_of(&small_source("bert-f32")).await;
    let (authority, stranger) = (Authority::new().unwrap(), Authority::new().unwrap());
    let server = serve_tls(Ipv4Addr::LOCALHOST.into(), hub.address(), &authority, "localhost").await.unwrap();
    let port = server.address().port();
    let address = format!("https://localhost:{port}/{REPOSITORY}/resolve/{COMMIT}/");
    let fetcher = |pem: Option<&str>| {
        let secret = tempfile::tempdir().unwrap();
        let mut fetcher = Fetcher::new(&hub).of(&address);
        if let Some(pem) = pem {
            fs_err::write(secret.path().join("ca.crt"), pem).unwrap();
            fetcher.wish.secret = Some(secret.path().to_owned());
        }
        (fetcher, secret)
    };
    for pem in [None, Some(stranger.pem())] {
        let (fetcher, _secret) = fetcher(pem);
        let (reason, message) = fetcher.reason().await;
        assert_eq!(reason, FetchReason::HubUnreachable);
        assert!(message.contains("certificate"), "{message}");
    }
    let (nonsense, _secret) = fetcher(Some("no certificate"));
    let (reason, message) = nonsense.reason().await;
    assert_eq!(reason, FetchReason::InvalidModel);
    assert!(message.contains("it holds no certificate in PEM"), "{message}");
    let (trusting, _secret) = fetcher(Some(authority.pem()));
    assert_eq!(trusting.run().await.unwrap().digest, digest_by_hub().await);
}
