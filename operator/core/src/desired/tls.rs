//! Mutual TLS of workers: the Secret that they serve by, and where it lies in their pods. The operator only names it; it may read no
//! Secrets.

use k8s_openapi::api::core::v1::{ContainerPort, SecretVolumeSource, Volume, VolumeMount};

use super::service::{PORT, TLS_PORT_NAME};

/// Name of the volume, by which a failure finds the Secret again.
pub(crate) const VOLUME: &str = "tls";
const FOLDER: &str = "/var/run/lexiscale/tls";
/// Health, metrics and information in plain, without inference: neither the kubelet nor a scrape has a certificate.
pub(crate) const ADMIN_PORT: i32 = 8081;
/// Name of that port.
pub const ADMIN_PORT_NAME: &str = "admin";

/// A Secret that is not there yet keeps no pod from starting: the worker says what is missing, where a kubelet would only wait.
pub(super) fn volume(secret: &str) -> Volume {
    let source = SecretVolumeSource {
        secret_name: Some(secret.to_owned()),
        optional: Some(true),
        ..SecretVolumeSource::default()
    };
    Volume { name: VOLUME.to_owned(), secret: Some(source), ..Volume::default() }
}

pub(super) fn volume_mount() -> VolumeMount {
    VolumeMount {
        name: VOLUME.to_owned(),
        mount_path: FOLDER.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}

pub(super) fn arguments() -> [String; 4] {
    [
        format!("--tls-cert-file={FOLDER}/tls.crt"),
        format!("--tls-key-file={FOLDER}/tls.key"),
        format!("--tls-client-ca-file={FOLDER}/ca.crt"),
        format!("--admin-listen=0.0.0.0:{ADMIN_PORT}"),
    ]
}

pub(super) fn ports() -> Vec<ContainerPort> {
    let port = |name: &str, number| ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    vec![port(TLS_PORT_NAME, PORT), port(ADMIN_PORT_NAME, ADMIN_PORT)]
}
