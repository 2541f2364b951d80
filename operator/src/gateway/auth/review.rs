//! Bearer tokens, by the API server's judgement: a TokenReview says who it is, a `SubjectAccessReview`
//! whether they may. Both are remembered for a short time, by a hash of the token, so that requests do not wait for
//! the API server and go on for a while when it is away. What is not known then is refused.

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

use super::access::{Access, Need};
use super::cache::{Cache, Decided, Found, Worth};
use super::denied::Denied;
use super::metrics::AuthSource;
use crate::clock;

/// How long a right outlives its withdrawal.
const KEEP_POSITIVE: Duration = Duration::from_mins(1);
/// How long a right that was just given is not seen.
const KEEP_NEGATIVE: Duration = Duration::from_secs(5);
/// While the API server is away, each key asks it once in so long.
const KEEP_FAILURE: Duration = Duration::from_secs(1);
const MOST_TOKENS: usize = 10_000;
const MOST_RIGHTS: usize = 50_000;
/// Reviews under way at once; further ones wait, within the same time.
const MOST_REVIEWS: usize = 32;
const REVIEW_TIMEOUT: Duration = Duration::from_secs(5);

/// SHA-256 of a token.
type Fingerprint = [u8; 32];

pub(crate) struct Reviewer {
    tokens: Api<TokenReview>,
    rights: Api<SubjectAccessReview>,
    audiences: Vec<String>,
    known_tokens: Cache<Fingerprint, Result<Option<Arc<UserInfo>>, Away>>,
    known_rights: Cache<(Fingerprint, Access), Result<bool, Away>>,
    places: Semaphore,
}

/// The API server gave no judgement.
#[derive(Clone, Copy, Debug)]
struct Away(&'static str);

impl Reviewer {
    pub(crate) fn new(client: Client, audiences: Vec<String>) -> Self {
        Self {
            tokens: Api::all(client.clone()),
            rights: Api::all(client),
            // An environment variable that is there and empty.
            audiences: audiences.into_iter().filter(|audience| !audience.is_empty()).collect(),
            known_tokens: Cache::new(MOST_TOKENS),
            known_rights: Cache::new(MOST_RIGHTS),
            places: Semaphore::new(MOST_REVIEWS),
        }
    }

    pub(crate) async fn admit(
        &self,
        token: SecretString,
        need: &Need,
    ) -> Result<(String, AuthSource), (Denied, AuthSource)> {
        let fingerprint = Sha256::digest(token.expose_secret()).into();
        let (user, found) = self.known_tokens.get(&fingerprint, async || self.review(&token).await).await;
        let source = AuthSource::from(found);
        let unavailable = |Away(why), source| (Denied::Unavailable { why }, source);
        let user = user.map_err(|away| unavailable(away, source))?.ok_or((Denied::BadToken, source))?;
        let name = user.username.clone().unwrap_or_default();
        let Need::Right(access) = need else { return Ok((name, source)) };
        // As Kubernetes names it: what a path says has no bound that would be worth keeping.
        let key = (fingerprint, Access { id: None, ..access.clone() });
        let (allowed, found) =
            self.known_rights.get(&key, async || self.review_access(&user, access).await).await;
        let source = source.and(found);
        match allowed {
            Ok(true) => Ok((name, source)),
            Ok(false) => Err((Denied::not_allowed(name, access), source)),
            Err(away) => Err(unavailable(away, source)),
        }
    }

    async fn review(&self, token: &SecretString) -> Decided<Result<Option<Arc<UserInfo>>, Away>> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: token.expose_secret().to_owned(),
                audiences: (!self.audiences.is_empty()).then(|| self.audiences.clone()),
            },
            ..TokenReview::default()
        };
        let user = match self.ask(&self.tokens, &review).await {
            Ok(review) => user(review.status.unwrap_or_default(), &self.audiences),
            Err(away) => return failed(away),
        };
        match user {
            Some(user) => {
                let rest = expiry(token.expose_secret()).map(|at| until(at, clock::now()));
                let keep_for = rest.map_or(KEEP_POSITIVE, |rest| rest.min(KEEP_POSITIVE));
                Decided { value: Ok(Some(Arc::new(user))), keep_for, worth: Worth::Keep }
            }
            None => Decided { value: Ok(None), keep_for: KEEP_NEGATIVE, worth: Worth::Drop },
        }
    }

    async fn review_access(&self, user: &UserInfo, access: &Access) -> Decided<Result<bool, Away>> {
        match self.ask(&self.rights, &question(user, access)).await {
            Ok(review) => {
                let allowed =
                    review.status.is_some_and(|status| status.allowed && status.denied != Some(true));
                let (keep_for, worth) =
                    if allowed { (KEEP_POSITIVE, Worth::Keep) } else { (KEEP_NEGATIVE, Worth::Drop) };
                Decided { value: Ok(allowed), keep_for, worth }
            }
            Err(away) => failed(away),
        }
    }

    async fn ask<T>(&self, api: &Api<T>, review: &T) -> Result<T, Away>
    where
        T: Clone + std::fmt::Debug + DeserializeOwned + Serialize,
    {
        let answer = async {
            let _place = self.places.acquire().await;
            api.create(&PostParams::default(), review).await
        };
        match tokio::time::timeout(REVIEW_TIMEOUT, answer).await {
            Ok(Ok(review)) => Ok(review),
            Ok(Err(error)) => {
                // An error of the client does not repeat the review, so no token is in it.
                tracing::warn!(%error, "failed to have credentials reviewed");
                Err(Away("the Kubernetes API gave no judgement"))
            }
            Err(_) => {
                tracing::warn!(timeout = ?REVIEW_TIMEOUT, "no judgement on credentials in time");
                Err(Away("the Kubernetes API did not answer in time"))
            }
        }
    }
}

fn failed<T>(away: Away) -> Decided<Result<T, Away>> {
    Decided { value: Err(away), keep_for: KEEP_FAILURE, worth: Worth::Drop }
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
        }
    }

    /// A decision is from the cache when all of it is.
    fn and(self, found: Found) -> Self {
        match found {
            Found::Cached => self,
            Found::Asked => Self::ApiServer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(audiences: Option<&[&str]>, authenticated: bool) -> TokenReviewStatus {
        TokenReviewStatus {
            audiences: audiences.map(|list| list.iter().map(|&text| text.to_owned()).collect()),
            authenticated: Some(authenticated),
            error: None,
            user: Some(UserInfo { username: Some("ada".to_owned()), ..UserInfo::default() }),
        }
    }

    #[test]
    fn a_token_for_somebody_else_is_no_token() {
        let ours = ["lexiscale".to_owned()];
        assert!(user(status(None, true), &[]).is_some());
        assert!(user(status(Some(&["lexiscale"]), true), &ours).is_some());
        assert!(user(status(None, true), &ours).is_none(), "an API server that looked at no audience");
        assert!(user(status(Some(&["vault"]), true), &ours).is_none());
        assert!(user(status(Some(&["lexiscale"]), false), &ours).is_none());
        let nameless = TokenReviewStatus { user: Some(UserInfo::default()), ..status(None, true) };
        assert!(user(nameless, &[]).is_none());
    }

    #[test]
    fn a_token_says_when_it_ends_if_it_is_a_jwt() {
        let payload = URL_SAFE_NO_PAD.encode(r#"{"exp":1700000000}"#);
        let at = expiry(&format!("e30.{payload}.sig")).unwrap();
        assert_eq!(at.as_second(), 1_700_000_000);
        assert_eq!(until(at, Timestamp::from_second(1_699_999_990).unwrap()), Duration::from_secs(10));
        assert_eq!(until(at, Timestamp::from_second(1_700_000_001).unwrap()), Duration::ZERO);
        for opaque in ["opaque", "a.b.c", "a.e30.c"] {
            assert_eq!(expiry(opaque), None);
        }
    }
}
