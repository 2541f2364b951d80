//! What rustls is told. PURE.

use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};

use super::{Credentials, Error};

/// Elasticsearch's clients are as old as TLS 1.2.
const OF_ANYBODY: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
/// Both ends are ours where both have certificates.
const BETWEEN_US: &[&SupportedProtocolVersion] = &[&TLS13];
const HTTP1: &[u8] = b"http/1.1";

/// For a server of HTTP/1.1. With an authority, only clients that it signed for are served, by TLS 1.3.
pub fn server(credentials: Credentials) -> Result<ServerConfig, Error> {
    let Credentials { chain, key, authority, ends: _ } = credentials;
    let provider = Arc::new(ring::default_provider());
    let versions = if authority.is_some() { BETWEEN_US } else { OF_ANYBODY };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(Error::Pair)?;
    let builder = match authority {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            builder.with_client_cert_verifier(verifier.build().map_err(Error::Verifier)?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(Error::Pair)?;
    config.alpn_protocols = vec![HTTP1.to_vec()];
    Ok(config)
}

/// For a client that shows a certificate to servers of its authority. What is spoken inside is for the caller to name.
pub fn client(credentials: Credentials) -> Result<ClientConfig, Error> {
    let Credentials { chain, key, authority, ends: _ } = credentials;
    let roots = authority.ok_or(Error::NoAuthority)?;
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(BETWEEN_US)
        .and_then(|builder| builder.with_root_certificates(roots).with_client_auth_cert(chain, key))
        .map_err(Error::Pair)
}
