//! An http or https address, read strictly: what two programs could read differently is refused. PURE.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Uri;

use super::{Reason, Refusal};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    text: String,
    scheme: Scheme,
    /// In lower case; an IPv6 address in its brackets.
    host: String,
    port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

impl Scheme {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl Address {
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        read(text).map_err(|reason| Refusal { address: shown(text), reason })
    }

    /// The address of what lies at `path` below this one.
    #[must_use]
    pub fn at(&self, path: &str) -> Self {
        Self { text: format!("{}{path}", self.text), ..self.clone() }
    }

    /// Where an answer's `Location` leads.
    pub fn follow(&self, location: &str) -> Result<Self, Refusal> {
        if location.starts_with('/') && !location.starts_with("//") {
            return Self::parse(&format!("{}{location}", self.server()));
        }
        let next = Self::parse(location)?;
        if self.is_https() && !next.is_https() {
            return Err(Refusal { address: next.server(), reason: Reason::Downgrade });
        }
        Ok(next)
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Scheme, host and port as they were written: for messages, as path and query may hold signatures.
    pub fn server(&self) -> String {
        format!("{}://{}", self.scheme.as_str(), self.host())
    }

    /// Host, and port unless it is the scheme's.
    pub fn host(&self) -> String {
        if self.port == self.scheme.port() {
            self.host.clone()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    pub fn is_https(&self) -> bool {
        self.scheme == Scheme::Https
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The host, where it is an IP address.
    pub fn ip(&self) -> Option<IpAddr> {
        let v6 = self.host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        match v6 {
            Some(v6) => v6.parse().ok().map(IpAddr::V6),
            None => self.host.parse().ok().map(IpAddr::V4),
        }
    }

    pub fn is_same_server(&self, other: &Self) -> bool {
        (self.scheme, &self.host, self.port) == (other.scheme, &other.host, other.port)
    }
}

fn read(text: &str) -> Result<Address, Reason> {
    let (scheme, rest) = text.split_once("://").ok_or(Reason::Syntax)?;
    let scheme = if scheme.eq_ignore_ascii_case("https") {
        Scheme::Https
    } else if scheme.eq_ignore_ascii_case("http") {
        Scheme::Http
    } else {
        return Err(Reason::Scheme);
    };
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\\\"<>^`{|}".contains(&byte);
    if !text.bytes().all(is_plain) || text.contains('#') {
        return Err(Reason::Characters);
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let authority = &rest[..end];
    if authority.contains('@') {
        return Err(Reason::UserInfo);
    }
    let (host, port) = split_port(authority)?;
    let host = host.to_ascii_lowercase();
    check_host(&host)?;
    // The HTTP library has the last word: what it would read differently, or not at all, goes nowhere.
    let uri: Uri = text.parse().map_err(|_| Reason::Syntax)?;
    let agrees = uri.host().is_some_and(|read| read.eq_ignore_ascii_case(&host))
        && uri.authority().is_some_and(|read| read.as_str() == authority);
    if !agrees {
        return Err(Reason::Syntax);
    }
    Ok(Address { text: text.to_owned(), scheme, host, port: port.unwrap_or(scheme.port()) })
}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), Reason> {
    let (host, port) = match authority.rfind(':') {
        Some(colon) if !authority[colon..].contains(']') => {
            (&authority[..colon], Some(&authority[colon + 1..]))
        }
        _ => (authority, None),
    };
    let read = |port: &str| {
        let digits = (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
        port.parse().ok().filter(|port| digits && *port != 0).ok_or(Reason::Syntax)
    };
    Ok((host, port.map(read).transpose()?))
}

fn check_host(host: &str) -> Result<(), Reason> {
    if let Some(v6) = host.strip_prefix('[') {
        let v6 = v6.strip_suffix(']').ok_or(Reason::Host)?;
        return v6.parse::<Ipv6Addr>().map(|_| ()).map_err(|_| Reason::Host);
    }
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // One full stop at the end says that the name is whole.
    let name = host.strip_suffix('.').unwrap_or(host);
    if name.len() > 253 || !name.split('.').all(is_label) {
        return Err(Reason::Host);
    }
    // `127.1`, `0x7f000001`, `017700000001` and `2130706433` are all 127.0.0.1 to some resolver.
    let last = name.rsplit('.').next().unwrap_or(name);
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if is_number && host.parse::<Ipv4Addr>().is_err() {
        return Err(Reason::HostForm);
    }
    Ok(())
}

/// As much of a text as may be shown: no user, no path, no query.
fn shown(text: &str) -> String {
    const MOST: usize = 100;
    let start = text.find("://").map_or(0, |position| position + 3);
    let end = text[start..].find(['/', '?', '#', '\\']).map_or(text.len(), |position| start + position);
    let server = &text[..end];
    let server = match server[start..].rfind('@') {
        Some(at) => format!("{}...{}", &server[..start], &server[start + at..]),
        None => server.to_owned(),
    };
    let printable: String =
        server.chars().take(MOST).map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect();
    if printable.is_empty() { "an empty text".to_owned() } else { printable }
}
