//! What kind of place an IP address is. PURE. After the special-purpose registries of IANA.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    Public,
    Loopback,
    Private,
    /// Between a provider and its customers, 100.64.0.0/10.
    SharedNat,
    UniqueLocal,
    /// Where clouds answer with a machine's credentials.
    LinkLocal,
    Multicast,
    Unspecified,
    Documentation,
    /// An IPv4 address inside an IPv6 one, by a way that goes around filters.
    Translated,
    Reserved,
}

impl fmt::Display for Range {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Public => "public",
            Self::Loopback => "the machine itself",
            Self::Private => "in a private network",
            Self::SharedNat => "in a provider's shared network",
            Self::UniqueLocal => "a unique local address of a private network",
            Self::LinkLocal => "link-local, where clouds keep their metadata",
            Self::Multicast => "a multicast or broadcast address",
            Self::Unspecified => "no address of one machine",
            Self::Documentation => "for documentation only",
            Self::Translated => "an IPv4 address in the guise of IPv6",
            Self::Reserved => "reserved",
        })
    }
}

impl Range {
    pub fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => of_v4(ip),
            IpAddr::V6(ip) => of_v6(ip),
        }
    }
}

fn of_v4(ip: Ipv4Addr) -> Range {
    match ip.octets() {
        [0, ..] => Range::Unspecified,
        [127, ..] => Range::Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Range::Private,
        [100, 64..=127, ..] => Range::SharedNat,
        [169, 254, ..] => Range::LinkLocal,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Range::Documentation,
        [224..=239, ..] | [255, 255, 255, 255] => Range::Multicast,
        // Protocol assignments, the old 6to4 relays, benchmarks, and what is left at the end.
        [192, 0, 0, _] | [192, 88, 99, _] | [198, 18..=19, ..] | [240..=255, ..] => Range::Reserved,
        _ => Range::Public,
    }
}

fn of_v6(ip: Ipv6Addr) -> Range {
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Range::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => Range::Loopback,
        // Mapped, compatible, 6to4, Teredo, and NAT64 with a prefix of a network's own.
        [0, 0, 0, 0, 0, _, _, _] | [0x2002, ..] | [0x2001, 0, ..] | [0x64, 0xff9b, 1, ..] => {
            Range::Translated
        }
        // Networks without IPv4 reach all of it through this prefix, so what counts is the address inside.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => match of_v4(join(high, low)) {
            Range::Public => Range::Public,
            _ => Range::Translated,
        },
        [0xfe80..=0xfebf, ..] => Range::LinkLocal,
        [0xfc00..=0xfdff, ..] => Range::UniqueLocal,
        [0xff00..=0xffff, ..] => Range::Multicast,
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Range::Documentation,
        // Benchmarks, ORCHID and other assignments of protocols.
        [0x2001, 1..=0x1ff, ..] => Range::Reserved,
        [0x2000..=0x3fff, ..] => Range::Public,
        _ => Range::Reserved,
    }
}

fn join(high: u16, low: u16) -> Ipv4Addr {
    let [a, b] = high.to_be_bytes();
    let [c, d] = low.to_be_bytes();
    Ipv4Addr::new(a, b, c, d)
}
