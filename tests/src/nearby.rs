//! What pods of the embedded node are given from the machine that it runs on: servers of the test's process under a name of the
//! cluster, and folders as volumes.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
};

use anyhow::{Context, Result};
use k8s_openapi::api::{
    core::v1::{Node, PersistentVolume, Service},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::json;

use crate::Namespace;

impl Namespace {
    /// Address of this machine that pods reach.
    pub async fn node_address(&self) -> Result<IpAddr> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let nodes = nodes.list(&ListParams::default()).await?;
        let addresses = nodes.iter().flat_map(|node| node.status.iter().flat_map(|status| &status.addresses));
        let internal = addresses.flatten().find(|address| address.type_ == "InternalIP");
        Ok(internal.context("no node with an address")?.address.parse()?)
    }

    /// Gives a server a Service, and returns the name that pods know it by.
    pub async fn name_server(&self, name: &str, port: u16, server: SocketAddr) -> Result<String> {
        let service: Service = serde_json::from_value(json!({
            "metadata": { "name": name },
            "spec": { "ports": [{ "port": port, "targetPort": server.port() }] },
        }))?;
        self.api().create(&PostParams::default(), &service).await?;
        let slice: EndpointSlice = serde_json::from_value(json!({
            "metadata": { "name": name, "labels": { "kubernetes.io/service-name": name } },
            "addressType": "IPv4",
            "endpoints": [{ "addresses": [server.ip().to_string()], "conditions": { "ready": true } }],
            "ports": [{ "port": server.port() }],
        }))?;
        self.api().create(&PostParams::default(), &slice).await?;
        Ok(format!("{name}.{}.svc.cluster.local", self.name))
    }

    /// Makes a folder of this machine a volume, of a class that has the namespace's name.
    pub async fn create_volume(&self, folder: &Path) -> Result<()> {
        let volume: PersistentVolume = serde_json::from_value(json!({
            "metadata": { "name": self.name },
            "spec": {
                "storageClassName": self.name,
                "capacity": { "storage": "1Gi" },
                "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain",
                "hostPath": { "path": folder.to_str().context("the path is no UTF-8")? },
            },
        }))?;
        Api::all(self.client.clone()).create(&PostParams::default(), &volume).await?;
        Ok(())
    }

    /// Takes it away. It belongs to no namespace, so nothing else does.
    pub async fn delete_volume(&self) -> Result<()> {
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        volumes.delete(&self.name, &DeleteParams::default()).await?;
        Ok(())
    }
}
