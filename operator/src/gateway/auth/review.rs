//! Bearer tokens, by the API server's judgement: a TokenReview says who it is, a `SubjectAccessReview`
//! whether they may. Both are remembered for a short time, by a hash of the token, so that requests do not wait for
//! the API server. While it gives no judgement, inference goes on for longer by what it said last; all else is
//! refused.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus, UserInfo};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::access::{Access, Need};
use super::api_key::Verb;
use super::cache::{Cache, Decided, Demand, Found, Worth};
use super::denied::Denied;
use super::metrics::AuthSource;
use super::settings::Settings;
use crate::clock;
use crate::gateway::outage::{Doubt, Outage};

/// How long a right that was just given is not seen.
const KEEP_NEGATIVE: Duration = Duration::from_secs(5);
const MOST_TOKENS: usize = 10_000;
const MOST_RIGHTS: usize = 50_000;
/// Reviews under way at once; further ones wait. Anybody can make up tokens, so those that were not valid before have places of
/// their own.
const MOST_REVIEWS: usize = 32;
const MOST_REVIEWS_OF_STRANGERS: usize = 16;
/// For a place. Its end says that many ask, and nothing about the API server.
const PLACE_TIMEOUT: Duration = Duration::from_secs(2);
/// From when the API server is asked.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(5);
/// What is done here, as the log says it.
const REVIEW: &str = "have credentials reviewed";

/// SHA-256 of a token.
type Fingerprint = [u8; 32];

pub(crate) struct Reviewer {
    tokens: Api<TokenReview>,
    rights: Api<SubjectAccessReview>,
    client: Client,
    doubt: Doubt,
    audiences: Vec<String>,
    /// How long a right outlives its withdrawal.
    keep: Duration,
    /// How long inference goes on by a decision whose time is over.
    tolerance: Duration,
    known_tokens: Cache<Fingerprint, Option<Arc<UserInfo>>, Away>,
    known_rights: Cache<(Fingerprint, Access), bool, Away>,
    places: Semaphore,
    places_of_strangers: Semaphore,
    /// To ask whether the API server is ready: one question answers all who are refused meanwhile.
    place_of_readiness: Semaphore,
    outage: Outage,
}

/// The API server gave no judgement.
#[derive(Clone, Copy, Debug)]
struct Away(&'static str);

impl Reviewer {
    pub(crate) fn new(client: Client, settings: &Settings, doubt: Doubt) -> Self {
        let Settings { auth: _, auth_audience, auth_cache_time, auth_outage_tolerance, api_keys_dir: _ } =
            settings;
        Self {
            tokens: Api::all(client.clone()),
            rights: Api::all(client.clone()),
            client,
            doubt,
            // An environment variable that is there and empty.
            audiences: auth_audience.iter().filter(|audience| !audience.is_empty()).cloned().collect(),
            keep: *auth_cache_time,
            tolerance: *auth_outage_tolerance,
            known_tokens: Cache::new(MOST_TOKENS),
            known_rights: Cache::new(MOST_RIGHTS),
            places: Semaphore::new(MOST_REVIEWS),
            places_of_strangers: Semaphore::new(MOST_REVIEWS_OF_STRANGERS),
            place_of_readiness: Semaphore::new(1),
            outage: Outage::default(),
        }
    }

    pub(crate) async fn admit(
        self: &Arc<Self>,
        token: SecretString,
        need: &Need,
    ) -> Result<(String, AuthSource), (Denied, AuthSource)> {
        let fingerprint: Fingerprint = Sha256::digest(token.expose_secret()).into();
        let demand = demand(need);
        let review = || {
            let reviewer = Arc::clone(self);
            async move { reviewer.review(&token, &fingerprint).await }
        };
        let (user, found) = self.known_tokens.get(&fingerprint, demand, review).await;
        let source = AuthSource::from(found);
        let unavailable = |Away(why), source| (Denied::Unavailable { why }, source);
        let user = user.map_err(|away| unavailable(away, source))?.ok_or((Denied::BadToken, source))?;
        let name = user.username.clone().unwrap_or_default();
        let Need::Right(access) = need else { return Ok((name, source)) };
        // As Kubernetes names it: what a path says has no bound that would be worth keeping.
        let key = (fingerprint, Access { id: None, ..access.clone() });
        let review = || {
            let (reviewer, access) = (Arc::clone(self), access.clone());
            async move { reviewer.review_access(&user, &access).await }
        };
        let (allowed, found) = self.known_rights.get(&key, demand, review).await;
        let source = source.and(AuthSource::from(found));
        match allowed {
            Ok(true) => Ok((name, source)),
            Ok(false) => Err((Denied::not_allowed(name, access), source)),
            Err(away) => Err(unavailable(away, source)),
        }
    }

    async fn review(
        &self,
        token: &SecretString,
        fingerprint: &Fingerprint,
    ) -> Result<Decided<Option<Arc<UserInfo>>>, Away> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: token.expose_secret().to_owned(),
                audiences: (!self.audiences.is_empty()).then(|| self.audiences.clone()),
            },
            ..TokenReview::default()
        };
        let is_known = self.known_tokens.knows(fingerprint);
        let places = if is_known { &self.places } else { &self.places_of_strangers };
        let review = self.ask(places, &self.tokens, &review).await?;
        let Some(user) = user(review.status.unwrap_or_default(), &self.audiences) else {
            return self.refused(None).await;
        };
        let rest = expiry(token.expose_secret()).map(|at| until(at, clock::now()));
        Ok(self.allowed(Some(Arc::new(user)), rest))
    }

    async fn review_access(&self, user: &UserInfo, access: &Access) -> Result<Decided<bool>, Away> {
        let review = self.ask(&self.places, &self.rights, &question(user, access)).await?;
        let is_allowed = review.status.is_some_and(|status| status.allowed && status.denied != Some(true));
        if is_allowed { Ok(self.allowed(true, None)) } else { self.refused(false).await }
    }

    /// `rest` is when the credentials end by themselves.
    fn allowed<V>(&self, value: V, rest: Option<Duration>) -> Decided<V> {
        let rest = rest.unwrap_or(Duration::MAX);
        let keep_for = rest.min(self.keep);
        let outlives = rest.saturating_sub(keep_for).min(self.tolerance);
        Decided { value, keep_for, outlives, worth: Worth::Keep }
    }

    /// A refusal is not believed while the API server may have just started: asked once more when it is ready, it may find a
    /// role that it had not read.
    async fn refused<V>(&self, value: V) -> Result<Decided<V>, Away> {
        if !self.doubt.is_open() {
            return Ok(Decided {
                value,
                keep_for: KEEP_NEGATIVE,
                outlives: Duration::ZERO,
                worth: Worth::Drop,
            });
        }
        if let Ok(_place) = self.place_of_readiness.try_acquire() {
            let question = http::Request::get("/readyz").body(Vec::new());
            let question = question.expect("a path of ours is a path");
            if let Ok(Ok(_)) = timeout(REVIEW_TIMEOUT, self.client.request_text(question)).await {
                self.doubt.settle();
            }
        }
        Err(Away("the Kubernetes API has just started"))
    }

    async fn ask<T>(&self, places: &Semaphore, api: &Api<T>, review: &T) -> Result<T, Away>
    where
        T: Clone + std::fmt::Debug + DeserializeOwned + Serialize,
    {
        let place = timeout(PLACE_TIMEOUT, places.acquire()).await;
        let _place = place.map_err(|_| Away("many others are being checked"))?;
        match timeout(REVIEW_TIMEOUT, api.create(&PostParams::default(), review)).await {
            Ok(Ok(review)) => {
                self.outage.answered(REVIEW);
                Ok(review)
            }
            Ok(Err(error)) => {
                // An error of the client does not repeat the review, so no token is in it.
                self.doubt.raise();
                self.outage.failed(REVIEW, &error);
                Err(Away("the Kubernetes API gave no judgement"))
            }
            Err(_) => {
                self.doubt.raise();
                self.outage.failed(REVIEW, &format_args!("no answer within {} s", REVIEW_TIMEOUT.as_secs()));
                Err(Away("the Kubernetes API did not answer in time"))
            }
        }
    }
}

/// Inference must not stop with the API server. What changes endpoints needs it anyway, and who they are and what they
/// look like is for those only who may see it now.
fn demand(need: &Need) -> Demand {
    match need {
        Need::Right(Access { verb: Verb::Infer, .. }) => Demand::NewIfPossible,
        Need::Right(_) | Need::Login => Demand::New,
    }
}

/// Whom a review found. An API server that does not know about audiences answers without naming one, and has
/// then not looked at what the token is for.
fn user(status: TokenReviewStatus, wanted: &[String]) -> Option<UserInfo> {
    let TokenReviewStatus { audiences, authenticated, error: _, user } = status;
    let fits = wanted.is_empty() || audiences.unwrap_or_default().iter().any(|given| wanted.contains(given));
    user.filter(|user| {
        authenticated == Some(true) && fits && user.username.as_ref().is_some_and(|name| !name.is_empty())
    })
}

fn question(user: &UserInfo, access: &Access) -> SubjectAccessReview {
    let UserInfo { extra, groups, uid, username } = user.clone();
    let Access { verb, namespace, id: _, object } = access.clone();
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            extra,
            groups,
            uid,
            user: username,
            resource_attributes: Some(ResourceAttributes {
                group: Some("inference.lexiscale.io".to_owned()),
                version: Some("v1alpha1".to_owned()),
                resource: Some("inferenceendpoints".to_owned()),
                verb: Some(verb.as_str().to_owned()),
                namespace: Some(namespace),
                name: object,
                ..ResourceAttributes::default()
            }),
            non_resource_attributes: None,
        },
        ..SubjectAccessReview::default()
    }
}

/// When a token ends, if it is a JWT that says so. Believed only to forget it earlier.
fn expiry(token: &str) -> Option<Timestamp> {
    #[derive(serde::Deserialize)]
    struct Claims {
        exp: i64,
    }
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let Claims { exp } = serde_json::from_slice(&payload).ok()?;
    Timestamp::from_second(exp).ok()
}

fn until(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or_default()
}

impl AuthSource {
    fn from(found: Found) -> Self {
        match found {
            Found::Cached => Self::Cache,
            Found::Asked => Self::ApiServer,
            Found::Outlived => Self::Outlived,
        }
    }

    /// A decision is as old as the oldest half of it, and from the cache when both are.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Outlived, _) | (_, Self::Outlived) => Self::Outlived,
            (Self::ApiServer, _) => Self::ApiServer,
            (_, other) => other,
        }
    }
}

#[cfg(test)]
mod tests;
