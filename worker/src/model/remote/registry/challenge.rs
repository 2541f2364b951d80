//! How a registry says what credentials it wants. PURE.

use serde::Deserialize;

use crate::model::address_policy::{Address, Refusal};
use crate::model::manifest::hexadecimal;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

impl Challenge {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (scheme, parameters) = text.split_once(' ').unwrap_or((text, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let parameter = |name: &str| {
            let mut rest = parameters;
            while let Some((key, after)) = rest.split_once("=\"") {
                let (value, after) = after.split_once('"')?;
                if key.trim_start_matches([',', ' ']).eq_ignore_ascii_case(name) {
                    return Some(value.to_owned());
                }
                rest = after;
            }
            None
        };
        Some(Self::Bearer {
            realm: parameter("realm")?,
            service: parameter("service"),
            scope: parameter("scope"),
        })
    }
}

/// Where a token is asked for. The realm is the registry's word and is judged like every other address.
pub(super) fn token_address(
    realm: &str,
    service: Option<&str>,
    scope: Option<&str>,
) -> Result<Address, Refusal> {
    let parameters: Vec<String> = [("service", service), ("scope", scope)]
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", escaped(value?))))
        .collect();
    let separator = if realm.contains('?') { "&" } else { "?" };
    let query =
        if parameters.is_empty() { String::new() } else { format!("{separator}{}", parameters.join("&")) };
    Address::parse(&format!("{realm}{query}"))
}

fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/,".contains(&byte);
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if plain(byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push('%');
            escaped.push_str(&hexadecimal(&[byte]).to_ascii_uppercase());
        }
    }
    escaped
}

pub(super) fn token_of(answer: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
    }
    let Answer { token, access_token } = serde_json::from_slice(answer).ok()?;
    token.or(access_token).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use lexiscale_fuzz::{Inputs, fuzz};

    use super::*;

    #[test]
    fn any_challenge_gets_a_verdict() {
        let seed = r#"Bearer realm="https://auth.example/token?a=b",service="registry.example",scope="repository:a/b:pull""#;
        let words =
            ["Bearer ", "Basic ", "realm=\"", "\"", "=\"", ",", "\\\"", "%", "file:///", "{\"token\":\"a\"}"];
        fuzz(&Inputs::of_texts("challenge", &[seed, "Basic realm=\"x\""], &words), |input| {
            let _ = token_of(input);
            let text = String::from_utf8_lossy(input);
            if let Some(Challenge::Bearer { realm, service, scope }) = Challenge::parse(&text)
                && let Ok(address) = token_address(&realm, service.as_deref(), scope.as_deref())
            {
                // What the registry says of service and scope stays in the query.
                assert_eq!(Address::parse(&realm).unwrap().server(), address.server());
            }
        });
    }

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let text = r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull""#;
        let challenge = Challenge::parse(text).unwrap();
        let Challenge::Bearer { realm, service, scope } = challenge else { panic!("{challenge:?}") };
        let address = token_address(&realm, service.as_deref(), scope.as_deref()).unwrap();
        assert_eq!(
            address.as_str(),
            "https://auth.example/token?service=registry.example&scope=repository:a/b:pull"
        );
        assert_eq!(Challenge::parse("Basic realm=\"x\""), Some(Challenge::Basic));
        for text in ["", "Digest realm=\"x\"", "Bearer service=\"x\"", "Bearer realm=\"unfinished"] {
            assert_eq!(Challenge::parse(text), None, "{text}");
        }
        assert_eq!(escaped("a b&c"), "a%20b%26c");
        assert!(token_address("file:///etc/passwd", None, None).is_err());
    }

    #[test]
    fn both_spellings_of_a_token_are_known() {
        assert_eq!(token_of(br#"{"token":"a"}"#).as_deref(), Some("a"));
        assert_eq!(token_of(br#"{"access_token":"b"}"#).as_deref(), Some("b"));
        assert_eq!(token_of(br#"{"token":""}"#), None);
    }
}
