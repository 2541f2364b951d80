//! An http or https address and where a redirect leads from it. PURE.

use http::Uri;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Location {
    text: String,
    scheme: String,
    authority: String,
}

impl Location {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?.to_owned();
        let authority = uri.authority()?.as_str();
        // User and password in an address end up in logs and in other people's servers.
        if authority.is_empty() || authority.contains('@') {
            return None;
        }
        Some(Self { text: text.to_owned(), scheme, authority: authority.to_owned() })
    }

    pub(super) fn at(&self, path: &str) -> Self {
        Self { text: format!("{}{path}", self.text), ..self.clone() }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// For messages: without path and query, which may hold signatures.
    pub(super) fn host(&self) -> String {
        self.authority.clone()
    }

    pub(super) fn is_same_server(&self, other: &Self) -> bool {
        self.scheme == other.scheme && self.authority.eq_ignore_ascii_case(&other.authority)
    }

    pub(super) fn follow(&self, location: &str) -> Result<Self, &'static str> {
        if location.starts_with('/') && !location.starts_with("//") {
            let text = format!("{}://{}{location}", self.scheme, self.authority);
            return Self::parse(&text).ok_or("it is not an address");
        }
        let next = Self::parse(location).ok_or("it is not an http or https address without user")?;
        if self.scheme == "https" && next.scheme == "http" {
            return Err("it leaves https");
        }
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(text: &str) -> Location {
        Location::parse(text).unwrap()
    }

    #[test]
    fn redirects_stay_on_http_and_never_leave_https() {
        let hub = location("https://hub.example/a/b");
        assert_eq!(hub.follow("/x?y=1").unwrap().as_str(), "https://hub.example/x?y=1");
        assert_eq!(hub.follow("https://cdn.example/x").unwrap().host(), "cdn.example");
        for bad in [
            "http://cdn.example/x",
            "ftp://cdn.example/x",
            "file:///etc/passwd",
            "//cdn.example/x",
            "x",
            "",
            "https://user:password@cdn.example/x",
        ] {
            assert!(hub.follow(bad).is_err(), "{bad}");
        }
        assert!(location("http://hub.example").follow("https://cdn.example/x").is_ok());
    }

    /// The token goes with requests to the same server only.
    #[test]
    fn another_port_or_scheme_is_another_server() {
        let hub = location("https://hub.example");
        assert!(hub.at("/a").is_same_server(&hub));
        assert!(location("https://HUB.example/x").is_same_server(&hub));
        for other in ["http://hub.example", "https://hub.example:8443", "https://hub.example.evil"] {
            assert!(!location(other).is_same_server(&hub), "{other}");
        }
    }
}
