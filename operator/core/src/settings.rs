//! What the operator's own configuration decides about every endpoint. PURE: read once at start, passed in as a value.

use std::str::FromStr;

use lexiscale_addresses::{Address, AddressPolicy};

use crate::{
    catalog::Catalog,
    model::Servers,
    quantity::{Bytes, Cpu},
};

/// Settings of the controller that show in the objects it makes.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name of this operator, where several share a cluster.
    pub instance: Option<String>,
    pub catalog: Catalog,
    pub worker_image: Image,
    pub image_pull_policy: Option<ImagePullPolicy>,
    /// Names of Secrets; they are only named in pods, never read.
    pub image_pull_secrets: Vec<String>,
    /// A hub other than the public one, for models that name none themselves.
    pub hub_endpoint: Option<String>,
    /// An S3 service other than Amazon's, likewise.
    pub s3_endpoint: Option<String>,
    pub downloads: Downloads,
    /// Whether nodes may bring models of registries as volumes.
    pub image_volumes: ImageVolumes,
    /// Bytes of all volumes of a namespace's caches, above which unused caches go; absent means that a cache goes with its last
    /// endpoint.
    pub cache_limit: Option<Bytes>,
    pub cache_size: Bytes,
    pub cache_storage_class: Option<String>,
    pub cache_access_mode: AccessMode,
    pub cpu_request_per_thread: Cpu,
    /// Secret by which workers serve mutual TLS, in each endpoint's namespace; absent means plain HTTP.
    pub worker_tls_secret: Option<String>,
    /// Collector that workers send spans to; absent means that they make none.
    pub otlp_endpoint: Option<String>,
    /// Namespace of the gateway's pods; absent means that a gateway in any namespace may reach the workers.
    pub gateway_namespace: Option<String>,
    /// Ports on which the cluster's DNS really listens: policies see the port of its pods, not that of its Service.
    pub dns_ports: Vec<u16>,
}

/// Where downloads may go beyond https to public addresses at port 443.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Downloads {
    /// Private addresses, plain http and any port, for every source.
    pub allow_private_addresses: bool,
    pub ports: Vec<u16>,
}

impl Settings {
    pub fn servers(&self) -> Servers<'_> {
        Servers { hub: self.hub_endpoint.as_deref(), s3: self.s3_endpoint.as_deref() }
    }

    /// Where a download from a server may go, as the download is told it.
    pub fn address_policy(&self, server: &str) -> AddressPolicy {
        let trusted = Address::parse(server).ok().filter(|_| self.trusts(server));
        AddressPolicy {
            allow_private: self.downloads.allow_private_addresses,
            trusted: trusted.into_iter().collect(),
            ports: self.downloads.ports.clone(),
        }
    }

    /// Whether the operator itself has named a server, and not a user.
    pub fn trusts(&self, server: &str) -> bool {
        let own = [&self.hub_endpoint, &self.s3_endpoint].into_iter().flatten().map(String::as_str);
        own.chain(self.catalog.servers()).any(|known| known.trim_end_matches('/') == server)
    }
}

/// A reference to a container image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image(String);

/// A text that is no image reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an image reference")]
pub struct InvalidImage(String);

impl Image {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Image {
    type Err = InvalidImage;

    fn from_str(text: &str) -> Result<Self, InvalidImage> {
        let valid = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if valid { Ok(Self(text.to_owned())) } else { Err(InvalidImage(text.to_owned())) }
    }
}

/// When the kubelet asks the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImagePullPolicy {
    Always,
    IfNotPresent,
    Never,
}

impl ImagePullPolicy {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// A text that is no pull policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a pull policy; use Always, IfNotPresent or Never")]
pub struct InvalidPullPolicy(String);

impl FromStr for ImagePullPolicy {
    type Err = InvalidPullPolicy;

    fn from_str(text: &str) -> Result<Self, InvalidPullPolicy> {
        [Self::Always, Self::IfNotPresent, Self::Never]
            .into_iter()
            .find(|policy| policy.as_str() == text)
            .ok_or_else(|| InvalidPullPolicy(text.to_owned()))
    }
}

/// Whether a model of a registry may come as a volume that a node pulls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImageVolumes {
    /// Where every node can, and the source names one digest.
    #[default]
    Auto,
    Never,
}

impl ImageVolumes {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "Auto",
            Self::Never => "Never",
        }
    }
}

/// A text that says neither.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} says nothing about image volumes; use Auto or Never")]
pub struct InvalidImageVolumes(String);

impl FromStr for ImageVolumes {
    type Err = InvalidImageVolumes;

    fn from_str(text: &str) -> Result<Self, InvalidImageVolumes> {
        [Self::Auto, Self::Never]
            .into_iter()
            .find(|setting| setting.as_str() == text)
            .ok_or_else(|| InvalidImageVolumes(text.to_owned()))
    }
}

/// How many nodes a volume can be on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessMode {
    #[default]
    ReadWriteOnce,
    ReadWriteMany,
}

impl AccessMode {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadWriteOnce => "ReadWriteOnce",
            Self::ReadWriteMany => "ReadWriteMany",
        }
    }
}

/// A text that is neither of the two access modes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an access mode; use ReadWriteOnce or ReadWriteMany")]
pub struct InvalidAccessMode(String);

impl FromStr for AccessMode {
    type Err = InvalidAccessMode;

    fn from_str(text: &str) -> Result<Self, InvalidAccessMode> {
        [Self::ReadWriteOnce, Self::ReadWriteMany]
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or_else(|| InvalidAccessMode(text.to_owned()))
    }
}
