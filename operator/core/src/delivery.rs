//! How the files of a registry's model come: fetched by the download, or in a volume that the node pulls (decision 032). PURE.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use lexiscale_addresses::Address;
use lexiscale_crds::Delivery;

use crate::{
    model::{CacheKey, Revision},
    nodes::{NodeFacts, hinder_image_volumes},
    settings::{ImageVolumes, Settings},
    validated::CacheRequest,
};

/// What the choice rests on.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub settings: &'a Settings,
    pub key: &'a CacheKey,
    /// The revision that an earlier attempt found.
    pub resolved: Option<&'a Revision>,
    pub request: &'a CacheRequest,
    pub nodes: &'a [NodeFacts],
    /// What the name of the registry leads to, seen from the operator.
    pub addresses: &'a [IpAddr],
    /// Whether a volume was given up for just this download.
    pub was_given_up: bool,
}

/// The choice, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The source is no registry: there is one way only.
    Only,
    Fetch(Why),
    /// Of this image, by its digest.
    ImageVolume(String),
}

/// Why files are fetched that a node could have pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    Off,
    GivenUp,
    /// A mount by tag could show other bytes than those that the tag was resolved to.
    NoDigest,
    /// Nodes would ask the registry itself.
    Mirror,
    Nodes(String),
    Address(String),
}

impl fmt::Display for Why {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Off => "the operator's setting has no image volumes",
            Self::GivenUp => "the image volume failed",
            Self::NoDigest => "the digest of the image is not known yet",
            Self::Mirror => "hubEndpoint names another server than a node would ask",
            Self::Nodes(reason) | Self::Address(reason) => reason,
        })
    }
}

impl Choice {
    pub fn delivery(&self) -> Option<Delivery> {
        match self {
            Self::Only => None,
            Self::Fetch(_) => Some(Delivery::Fetch),
            Self::ImageVolume(_) => Some(Delivery::ImageVolume),
        }
    }

    pub fn image(&self) -> Option<&str> {
        match self {
            Self::ImageVolume(image) => Some(image),
            Self::Only | Self::Fetch(_) => None,
        }
    }

    /// Whether a volume that is on its way is let go. Nodes and names come and go, and a choice that followed them would go to and
    /// fro between both ways; these two stay.
    pub fn forbids_volume(&self) -> bool {
        match self {
            Self::Fetch(Why::Off | Why::GivenUp) => true,
            Self::Only
            | Self::ImageVolume(_)
            | Self::Fetch(Why::NoDigest | Why::Mirror | Why::Nodes(_) | Why::Address(_)) => false,
        }
    }
}

/// Chooses.
pub fn choose(question: &Question<'_>) -> Choice {
    let Some((name, digest)) = question.key.source().image() else { return Choice::Only };
    if let Some(why) = hindrance(question) {
        return Choice::Fetch(why);
    }
    let Some(digest) = wanted(question, digest) else { return Choice::Fetch(Why::NoDigest) };
    match hindrance_of_cluster(question) {
        Some(why) => Choice::Fetch(why),
        None => Choice::ImageVolume(format!("{name}@sha256:{digest}")),
    }
}

/// The digest that a fetch would ask for, in the order in which it looks.
fn wanted<'a>(question: &Question<'a>, of_source: Option<&'a str>) -> Option<&'a str> {
    let revision = question.resolved.unwrap_or(question.key.revision());
    if revision.is_default() { of_source } else { revision.sha256() }
}

fn hindrance(question: &Question<'_>) -> Option<Why> {
    let Question { settings, key, was_given_up, .. } = question;
    match settings.image_volumes {
        ImageVolumes::Never => Some(Why::Off),
        ImageVolumes::Auto if *was_given_up => Some(Why::GivenUp),
        ImageVolumes::Auto => key.endpoint().map(|_| Why::Mirror),
    }
}

/// The host is judged as a fetch would judge it, as far as that can be seen from here: the kubelet, which asks it, judges nothing.
fn hindrance_of_cluster(question: &Question<'_>) -> Option<Why> {
    let Question { settings, key, request, nodes, addresses, .. } = question;
    let everywhere = BTreeMap::new();
    let selector = request.node_selector.as_ref().unwrap_or(&everywhere);
    if let Some(reason) = hinder_image_volumes(nodes, selector) {
        return Some(Why::Nodes(reason));
    }
    let server = key.server().unwrap_or_default();
    let policy = settings.address_policy(server);
    let address = match Address::parse(server) {
        Ok(address) => address,
        Err(refusal) => return Some(Why::Address(refusal.to_string())),
    };
    let judged = addresses.iter().try_for_each(|ip| policy.check_ip(&address, *ip));
    if let Err(refusal) = policy.check(&address).and(judged) {
        return Some(Why::Address(refusal.to_string()));
    }
    let is_unknown = addresses.is_empty() && address.ip().is_none() && !policy.trusts(&address);
    is_unknown.then(|| Why::Address(format!("{} leads nowhere that could be judged", address.host())))
}
