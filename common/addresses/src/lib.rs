//! Which addresses a download may ask. PURE: names are resolved elsewhere, and every address that comes out is judged here before
//! anybody connects to it.
//!
//! A download fetches what a user of the cluster names, from inside the cluster. Without rules it would fetch from the cloud's
//! metadata service, from the API server's neighbours, or from whatever a name is made to resolve to.

mod ranges;
mod url;

use std::net::IpAddr;

pub use ranges::Range;
pub use url::Address;

/// Why an address is not asked. The texts end up in the status of a cache.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{address} is not an address that downloads may use: {reason}")]
pub struct Refusal {
    /// Without path and query, which may hold signatures.
    pub address: String,
    pub reason: Reason,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error("it is no absolute URL")]
    Syntax,
    #[error("its scheme is neither https nor http")]
    Scheme,
    #[error(
        "plain http needs the operator's permission (its hub, the hub of a catalog entry, or downloads.allowPrivateAddresses)"
    )]
    PlainHttp,
    #[error("a redirect leads to it from https, and plain http would give away what https kept")]
    Downgrade,
    #[error("it holds a user or a password; credentials belong in a Secret")]
    UserInfo,
    #[error("it holds blanks, backslashes or other characters that servers read differently")]
    Characters,
    #[error("its host is an IP address in a form that programs read differently; write four decimal numbers")]
    HostForm,
    #[error("its host is no name and no IP address")]
    Host,
    #[error("port {0} is not among those that downloads may use; downloads.allowedPorts adds to 443")]
    Port(u16),
    #[error("{ip} is {range}")]
    Range { ip: IpAddr, range: Range },
}

/// What the operator allows beyond https to public addresses at port 443.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressPolicy {
    /// Private addresses, loopback, plain http and any port, for every address.
    pub allow_private: bool,
    /// The same for servers that the operator itself has named.
    pub trusted: Vec<Address>,
    pub ports: Vec<u16>,
}

impl AddressPolicy {
    /// Judges what can be seen without asking DNS: scheme, port, and a host that is an IP address.
    pub fn check(&self, address: &Address) -> Result<(), Refusal> {
        let refuse = |reason| Refusal { address: address.server(), reason };
        let is_trusted = self.trusts(address);
        if !address.is_https() && !is_trusted {
            return Err(refuse(Reason::PlainHttp));
        }
        let port = address.port();
        if port != 443 && !is_trusted && !self.ports.contains(&port) {
            return Err(refuse(Reason::Port(port)));
        }
        address.ip().map_or(Ok(()), |ip| self.check_ip(address, ip))
    }

    /// Judges an address that a name has resolved to.
    pub fn check_ip(&self, address: &Address, ip: IpAddr) -> Result<(), Refusal> {
        let range = Range::of(ip);
        let allowed = match range {
            Range::Public => true,
            Range::Loopback | Range::Private | Range::SharedNat | Range::UniqueLocal => self.trusts(address),
            Range::LinkLocal
            | Range::Multicast
            | Range::Unspecified
            | Range::Documentation
            | Range::Translated
            | Range::Reserved => false,
        };
        if allowed {
            Ok(())
        } else {
            Err(Refusal { address: address.server(), reason: Reason::Range { ip, range } })
        }
    }

    /// Whether an address may be inside.
    pub fn trusts(&self, address: &Address) -> bool {
        self.allow_private || self.trusted.iter().any(|trusted| trusted.is_same_server(address))
    }
}

#[cfg(test)]
mod tests;
