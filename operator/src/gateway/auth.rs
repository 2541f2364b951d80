//! Who sends a request, and whether they may. Every handler asks for a [`Caller`] after the path is understood
//! and before the body is read; asking checks the credentials and the right that the route needs. Which right
//! that is follows from method and path (`access`), so a new route is protected by asking for its caller.

mod access;
mod api_key;
mod cache;
mod credentials;
mod denied;
mod key_files;
mod metrics;
mod review;
mod settings;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};

use axum::extract::{FromRequestParts, MatchedPath};
use http::request::Parts;
use kube::{Client, ResourceExt};
use lexiscale_core::name::object_name;
use tokio_util::sync::CancellationToken;

use self::access::{Access, Need, need};
use self::api_key::Keys;
pub use self::api_key::{Format as ApiKeyFormat, NewKey, Verb};
use self::credentials::Credentials;
pub(crate) use self::denied::Denied;
use self::key_files::KeyFiles;
pub(crate) use self::metrics::AuthMetrics;
use self::metrics::{AuthOutcome, AuthSource};
use self::review::Reviewer;
pub use self::settings::{Mode, Settings};
use super::Gateway;
use super::directory::EndpointKey;
use super::error::Error;
use super::outage::Doubt;
use super::request::path_parameters;
use super::tenancy::Tenant;
use crate::clock;

/// The sender of a request, admitted.
#[derive(Clone, Debug)]
pub(crate) struct Caller(());

impl FromRequestParts<Gateway> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Error> {
        let Some(guard) = &gateway.guard else { return Ok(Self(())) };
        let need = wanted(parts, gateway).await?;
        let admitted = guard.admit(&parts.headers, &need).await;
        let (outcome, source) = match &admitted {
            Ok((_, source)) => (AuthOutcome::Allowed, *source),
            Err((denied, source)) => (denied.outcome(), *source),
        };
        gateway.metrics.auth.decided(outcome, source);
        // Who is known is in the log, allowed or not.
        let who = match &admitted {
            Ok((identity, _)) => Some(identity),
            Err((denied, _)) => denied.who(),
        };
        if let (Some(Identified(slot)), Some(who)) = (parts.extensions.get(), who) {
            // Set once: a handler that asks twice hears the same.
            let _ = slot.set(who.clone());
        }
        admitted.map_err(|(denied, _)| denied)?;
        Ok(Self(()))
    }
}

/// Refuses a sender, who was let in, the use of another endpoint than the one that the path names.
pub(crate) async fn refuse_unless_may_infer(
    gateway: &Gateway,
    headers: &http::HeaderMap,
    key: &EndpointKey,
) -> Result<(), Error> {
    let Some(guard) = &gateway.guard else { return Ok(()) };
    let EndpointKey { namespace, id } = key.clone();
    let object = Some(object(gateway, &namespace, &id));
    let need = Need::Right(Access { verb: Verb::Infer, namespace, id: Some(id), object });
    guard.admit(headers, &need).await.map(drop).map_err(|(denied, _)| denied.into())
}

/// Where the name of a caller is left for the access log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Identified(pub(crate) Arc<OnceLock<String>>);

/// What the route of this request needs.
async fn wanted(parts: &mut Parts, gateway: &Gateway) -> Result<Need, Error> {
    let Some(route) = parts.extensions.get::<MatchedPath>().cloned() else { return Ok(Need::Login) };
    let parameters = path_parameters(parts, gateway).await?;
    let id = parameters.into_iter().find_map(|(name, value)| (name == "id").then_some(value));
    let Some(verb) = need(&parts.method, route.as_str(), id.as_deref()) else { return Ok(Need::Login) };
    let Tenant(namespace) = Tenant::from_request_parts(parts, gateway).await?;
    let id = id.filter(|_| verb != Verb::List);
    let object = id.as_deref().map(|id| object(gateway, &namespace, id));
    Ok(Need::Right(Access { verb, namespace, id, object }))
}

/// The name that a Role's resourceNames has for an endpoint: that of its object. Objects made by kubectl may
/// be named otherwise than the gateway would name them.
fn object(gateway: &Gateway, namespace: &str, id: &str) -> String {
    let directory = gateway.directory();
    let known = directory.get(&EndpointKey::new(namespace, id));
    known.map_or_else(|| object_name(id), |entry| entry.endpoint.name_any())
}

/// Checks credentials and rights.
pub(crate) struct Guard {
    reviewer: Arc<Reviewer>,
    keys: Option<KeyFiles>,
}

type Admission = Result<(String, AuthSource), (Denied, AuthSource)>;

impl Guard {
    /// None where everybody may do everything.
    pub(crate) fn new(settings: &Settings, client: Client, doubt: Doubt) -> Option<Self> {
        match settings.auth {
            Mode::None => None,
            Mode::Kubernetes => Some(Self {
                reviewer: Arc::new(Reviewer::new(client, settings, doubt)),
                keys: settings.api_keys_dir.clone().map(KeyFiles::new),
            }),
        }
    }

    /// Reads the API keys before the first request comes.
    pub(crate) async fn load_keys(&self) -> std::io::Result<()> {
        match &self.keys {
            Some(keys) => keys.load().await,
            None => Ok(()),
        }
    }

    /// Goes on reading them.
    pub(crate) async fn follow_keys(&self, ended: CancellationToken) {
        if let Some(keys) = &self.keys {
            keys.follow(ended).await;
        }
    }

    async fn admit(&self, headers: &http::HeaderMap, need: &Need) -> Admission {
        let credentials = Credentials::of(headers).map_err(|denied| (denied, AuthSource::Request))?;
        match credentials {
            // Boxed: it is over before the request waits, and most know the answer.
            Credentials::Bearer(token) => Box::pin(self.reviewer.admit(token, need)).await,
            Credentials::ApiKey { id, secret } => {
                let found = self.keys.as_ref().map(KeyFiles::current).unwrap_or_default();
                admit_key(&found.keys, &id, &secret, need).map_or_else(
                    |denied| Err((denied, AuthSource::Keys)),
                    |identity| Ok((identity, AuthSource::Keys)),
                )
            }
        }
    }
}

fn admit_key(keys: &Keys, id: &str, secret: &secrecy::SecretString, need: &Need) -> Result<String, Denied> {
    let key = keys.verify(id, secret, clock::now()).ok_or(Denied::BadKey)?;
    let identity = format!("ApiKey {id}");
    match need {
        Need::Login => Ok(identity),
        Need::Right(access) if key.allows(access) => Ok(identity),
        Need::Right(access) => Err(Denied::not_allowed(identity, access)),
    }
}
