//! HTTP for downloads: each address is judged before it is asked, and so is each address that its name resolves to and each
//! redirect. What was judged is what is connected to; a name that resolves differently a moment later is not asked again.
//!
//! Redirects are followed here and not by the HTTP library, because credentials must not travel to another server, and because
//! a hub puts the hash of a large file on the redirect.

use std::net::SocketAddr;
use std::time::Duration;

use http::header::{AUTHORIZATION, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};
use ureq::config::Config;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body, Error};

use crate::model::address_policy::{Address, AddressPolicy, Reason, Refusal};
use crate::model::remote::RemoteError;

const MAX_REDIRECTS: usize = 3;
/// Longest wait that a server may ask for.
const LONGEST_WAIT: u64 = 300;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub connect: Duration,
    /// Without a byte for this long, a transfer is given up and tried again.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), idle: Duration::from_secs(30) }
    }
}

pub struct Client {
    agent: Agent,
    policy: AddressPolicy,
}

/// One request, as it is repeated at each redirect.
pub struct Ask<'a> {
    pub method: Method,
    pub address: &'a Address,
    pub headers: HeaderMap,
    /// Sent to the server of `address` and to no other.
    pub authorization: Option<HeaderValue>,
}

/// The last answer, and the headers of all answers on the way to it, its own included.
pub struct Answer {
    pub response: Response<Body>,
    pub hops: Vec<HeaderMap>,
}

impl Client {
    /// `authority`: certificates in PEM that are trusted in the place of the public ones.
    pub fn new(
        policy: AddressPolicy,
        timeouts: Timeouts,
        authority: Option<&str>,
    ) -> Result<Self, RemoteError> {
        let roots = authority.map(certificates).transpose()?.unwrap_or(RootCerts::WebPki);
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            // A proxy would resolve names by itself, and nobody would have judged what it connects to.
            .proxy(None)
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .timeout_resolve(Some(timeouts.connect))
            .timeout_connect(Some(timeouts.connect))
            .timeout_recv_response(Some(timeouts.idle))
            .timeout_per_read(Some(timeouts.idle))
            .timeout_per_write(Some(timeouts.idle))
            .user_agent(concat!("lexiscale-worker/", env!("CARGO_PKG_VERSION")))
            .build();
        let resolver = JudgingResolver { policy: policy.clone(), inner: DefaultResolver::default() };
        Ok(Self { agent: Agent::with_parts(config, DefaultConnector::default(), resolver), policy })
    }

    pub fn send(&self, ask: &Ask<'_>) -> Result<Answer, RemoteError> {
        let mut address = ask.address.clone();
        let mut hops = Vec::new();
        for _ in 0..=MAX_REDIRECTS {
            self.policy.check(&address)?;
            let response = self.call(ask, &address)?;
            hops.push(response.headers().clone());
            if !response.status().is_redirection() || response.status() == StatusCode::NOT_MODIFIED {
                return Ok(Answer { response, hops });
            }
            let location = text(response.headers(), &LOCATION).unwrap_or_default();
            address = address.follow(&location).map_err(|refusal| {
                // No address at all is a server out of order, and not one that leads where nobody may go.
                if refusal.reason == Reason::Syntax {
                    RemoteError::Redirect { host: address.host(), reason: refusal.to_string() }
                } else {
                    RemoteError::Refused(refusal)
                }
            })?;
        }
        let reason =
            format!("there are more than {MAX_REDIRECTS} redirects, the last one to {}", address.server());
        Err(RemoteError::Redirect { host: ask.address.host(), reason })
    }

    fn call(&self, ask: &Ask<'_>, address: &Address) -> Result<Response<Body>, RemoteError> {
        let mut request = http::Request::builder().method(ask.method.clone()).uri(address.as_str());
        if let Some(headers) = request.headers_mut() {
            headers.clone_from(&ask.headers);
            if let Some(value) = ask.authorization.as_ref().filter(|_| address.is_same_server(ask.address)) {
                headers.insert(AUTHORIZATION, value.clone());
            }
        }
        let unreachable =
            |source| RemoteError::Unreachable { host: address.host(), source: Box::new(source) };
        let request = request.body(()).map_err(|error| unreachable(error.into()))?;
        self.agent.run(request).map_err(|error| match error {
            Error::Other(other) => match other.downcast::<Refusal>() {
                Ok(refusal) => RemoteError::Refused(*refusal),
                Err(other) => unreachable(Error::Other(other)),
            },
            error => unreachable(error),
        })
    }
}

fn certificates(pem: &str) -> Result<RootCerts, RemoteError> {
    let certificate = |item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        Ok(_) | Err(_) => None,
    };
    let found: Vec<_> = parse_pem(pem.as_bytes()).filter_map(certificate).collect();
    if found.is_empty() {
        let (what, reason) = ("ca.crt of the Secret".to_owned(), "it holds no certificate in PEM".to_owned());
        return Err(RemoteError::Unusable { what, reason });
    }
    Ok(RootCerts::from(found))
}

/// Seconds that an overloaded server asks to be left alone for.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = text(headers, &RETRY_AFTER)?.parse().ok()?;
    Some(Duration::from_secs(seconds.min(LONGEST_WAIT)))
}

pub fn text(headers: &HeaderMap, name: &http::HeaderName) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// Hands out only addresses that the policy allows; the connection is made to one of them.
#[derive(Debug)]
struct JudgingResolver {
    policy: AddressPolicy,
    inner: DefaultResolver,
}

impl Resolver for JudgingResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let address = Address::parse(&uri.to_string()).map_err(|refusal| Error::Other(Box::new(refusal)))?;
        let found = self.inner.resolve(uri, config, timeout)?;
        let mut allowed = self.empty();
        let mut refusal = None;
        for socket in &found {
            match self.policy.check_ip(&address, SocketAddr::ip(socket)) {
                Ok(()) => allowed.push(*socket),
                Err(reason) => refusal = Some(reason),
            }
        }
        match refusal {
            // A name that leads outside and inside at once is somebody's trick.
            Some(refusal) => Err(Error::Other(Box::new(refusal))),
            None if allowed.is_empty() => Err(Error::HostNotFound),
            None => Ok(allowed),
        }
    }
}
