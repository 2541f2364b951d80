//! Ids of endpoints as clients may choose them.

use super::error::Refusal;
use super::json::short_text;

/// The two ids that mean every endpoint, for GET only.
pub(crate) const EVERY: [&str; 2] = ["_all", "*"];

/// Ids become object names and labels by hashing, but a body of 10 MiB must not become one.
const LONGEST: usize = 256;

/// An id that a client may create: lower-case letters and digits, `_`, `-` and `.` between them. Ids of
/// default endpoints begin with a dot and are never created by a client, so they are no `NewId`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct NewId(String);

impl NewId {
    pub(crate) fn parse(id: &str) -> Result<Self, Refusal> {
        let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = id.as_bytes();
        let well_formed = bytes.first().is_some_and(alphanumeric)
            && bytes.last().is_some_and(alphanumeric)
            && bytes.iter().all(|byte| alphanumeric(byte) || matches!(byte, b'_' | b'-' | b'.'));
        if !well_formed {
            return Err(Refusal::request(format!(
                "invalid inference_id [{id}]; it may hold lower-case letters a-z, digits, '_', '-' and '.', and must begin and \
                 end with a letter or a digit"
            )));
        }
        if bytes.len() > LONGEST {
            return Err(Refusal::request(format!(
                "invalid inference_id of {} characters; at most {LONGEST} are allowed",
                bytes.len()
            )));
        }
        Ok(Self(id.to_owned()))
    }

    /// The id of an endpoint that a client may change: those of default endpoints are told so.
    pub(crate) fn of_changeable(id: &str) -> Result<Self, Refusal> {
        if is_default_endpoint(id) {
            return Err(Refusal::request(format!(
                "[{}] is a default inference endpoint, and those cannot be updated",
                short_text(id)
            )));
        }
        Self::parse(id)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Default endpoints exist without being created, and need `force` to be deleted.
pub(crate) fn is_default_endpoint(id: &str) -> bool {
    id.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::elastic::error::ErrorType;

    #[test]
    fn takes_what_elasticsearch_takes() {
        for id in ["a", "0", "my-elser-model", "a_b.c-d", "a..b", "a--b", &"x".repeat(256)] {
            assert_eq!(NewId::parse(id).unwrap().as_str(), id);
        }
    }

    #[test]
    fn a_default_endpoint_is_changed_by_nobody() {
        let refusal = NewId::of_changeable(".elser-2-elasticsearch").unwrap_err();
        assert_eq!(refusal.kind(), ErrorType::ActionRequestValidation);
        assert!(refusal.to_string().contains("default inference endpoint"), "{refusal}");
    }

    #[test]
    fn refuses_the_rest_with_one_item() {
        for id in [
            "",
            "_all",
            "*",
            "-a",
            "a-",
            ".elser",
            "a.",
            "a_",
            "A",
            "aB",
            "a b",
            "ä",
            "a/b",
            "a\n",
            &"x".repeat(257),
        ] {
            let refusal = NewId::parse(id).unwrap_err();
            assert_eq!(refusal.kind(), ErrorType::ActionRequestValidation, "{id}");
            assert!(
                refusal.to_string().starts_with("Validation Failed: 1: invalid inference_id"),
                "{refusal}"
            );
        }
    }
}
