//! Credentials as a request carries them. PURE. Secrets are in a type that no log line can show.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use secrecy::SecretString;

use super::denied::Denied;

/// Far above any token that fits into a head with other headers.
const LONGEST: usize = 12 << 10;

#[derive(Debug)]
pub(crate) enum Credentials {
    Bearer(SecretString),
    ApiKey { id: String, secret: SecretString },
}

impl Credentials {
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Denied> {
        let unreadable = |why| Denied::Unreadable { why };
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = values.next().ok_or(Denied::NoCredentials)?;
        if values.next().is_some() {
            return Err(unreadable("there is more than one"));
        }
        let text = value.to_str().map_err(|_| unreadable("it is not ASCII"))?.trim();
        if text.len() > LONGEST {
            return Err(unreadable("it is too long"));
        }
        let (scheme, credential) =
            text.split_once(' ').ok_or(unreadable("a scheme and a credential are needed"))?;
        let credential = credential.trim_start();
        if scheme.eq_ignore_ascii_case("Bearer") {
            return if credential.is_empty()
                || credential.contains(|character: char| !character.is_ascii_graphic())
            {
                Err(unreadable("the token holds spaces, or nothing"))
            } else {
                Ok(Self::Bearer(credential.into()))
            };
        }
        if !scheme.eq_ignore_ascii_case("ApiKey") {
            return Err(unreadable("the schemes are Bearer and ApiKey"));
        }
        let decoded = STANDARD.decode(credential).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let decoded = decoded.ok_or(unreadable("an ApiKey is base64 of id:secret"))?;
        let (id, secret) = decoded.split_once(':').ok_or(unreadable("an ApiKey is base64 of id:secret"))?;
        Ok(Self::ApiKey { id: id.to_owned(), secret: secret.into() })
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn of(values: &[&str]) -> Result<Credentials, Denied> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        Credentials::of(&headers)
    }

    #[test]
    fn both_schemes_are_read_in_any_case() {
        let Ok(Credentials::Bearer(token)) = of(&["bEARER abc.def"]) else { panic!("a token") };
        assert_eq!(token.expose_secret(), "abc.def");
        let Ok(Credentials::ApiKey { id, secret }) = of(&["ApiKey c2VhcmNoOnM6dA=="]) else {
            panic!("a key")
        };
        assert_eq!((id.as_str(), secret.expose_secret()), ("search", "s:t"));
    }

    #[test]
    fn what_is_ambiguous_or_foreign_is_refused() {
        assert!(matches!(of(&[]), Err(Denied::NoCredentials)));
        for values in [
            &["Bearer a", "Bearer b"] as &[_],
            &["Bearer"],
            &["Bearer "],
            &["Bearer a b"],
            &["Basic YTpi"],
            &["ApiKey !"],
            &["ApiKey YQ=="],
            &["ApiKey /w=="],
        ] {
            assert!(matches!(of(values), Err(Denied::Unreadable { .. })), "{values:?}");
        }
    }

    /// A secret in a log outlives the log's reader's honesty.
    #[test]
    fn secrets_do_not_show_when_printed() {
        for text in [format!("{:?}", of(&["Bearer canary"])), format!("{:?}", of(&["ApiKey YTpjYW5hcnk="]))] {
            assert!(!text.contains("canary"), "{text}");
        }
    }
}
