//! What is read out of reviews and tokens.

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
