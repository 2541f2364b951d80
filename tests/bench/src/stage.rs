//! A namespace of the cluster with a model hub, a controller of its own as a process of this machine, and an endpoint that
//! serves. All of it goes when the measurement has ended, however that was.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::NamespaceResourceScope;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use lexiscale_crds::{ConditionType, Conditions, InferenceEndpoint};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::figures::Figures;

pub(crate) const ENDPOINT: &str = "measured";
const MODEL: &str = "lexiscale/demo-splade-tiny";
const PATIENCE: Duration = Duration::from_mins(3);

/// What the cluster runs, and with what.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Programs {
    /// The operator's binary.
    #[arg(long, default_value = "target/release/lexiscale-operator")]
    pub(crate) operator: PathBuf,
    /// What `images/build` has written: the references of the images.
    #[arg(long, default_value = "target/images")]
    images: PathBuf,
}

pub(crate) struct Stage {
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

impl Stage {
    /// Measures on a stage. `deployment` is the endpoint's `spec.deployment`, `settings` what its service settings say beside the model.
    pub(crate) async fn with(
        programs: &Programs,
        settings: Value,
        deployment: Value,
        measure: impl AsyncFnOnce(&Self) -> Result<Figures>,
    ) -> Result<Figures> {
        let namespace = format!("bench-{}", std::process::id());
        let client =
            Client::try_default().await.context("no cluster: run `make cluster-up`, or set KUBECONFIG")?;
        kubectl(&["apply", "--server-side", "--force-conflicts", "--filename", "crds/yaml"], None).await?;
        kubectl(&["create", "namespace", &namespace], None).await?;
        let stage = Self { client, namespace };
        let measured = async {
            let _controller = stage.set(programs, settings, deployment).await?;
            measure(&stage).await
        };
        let measured = tokio::select! {
            measured = measured => measured,
            _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("told to stop")),
        };
        // What was measured is worth more than that all is tidy.
        if let Err(error) = stage.strike().await {
            eprintln!("namespace {} is left: {error:#}", stage.namespace);
        }
        measured
    }

    /// Returns when the endpoint serves. The controller runs for as long as it is kept.
    async fn set(&self, programs: &Programs, settings: Value, deployment: Value) -> Result<Child> {
        let controller = controller(programs, &self.namespace)?;
        let hub = fs_err::read_to_string(programs.images.join("hub"))?;
        let manifest = fs_err::read_to_string("tests/demo/hub.yaml")?
            .replace("HUB_IMAGE", hub.trim())
            .replace("namespace: lexiscale-demo", &format!("namespace: {}", self.namespace))
            .replace("--bytes-per-second=4000000", "--bytes-per-second=400000000");
        kubectl(&["apply", "--filename", "-"], Some(&manifest)).await?;
        let mut service_settings = json!({"modelId": MODEL, "numThreads": 1});
        merge(&mut service_settings, settings);
        let endpoint = json!({
            "apiVersion": "inference.lexiscale.io/v1alpha1", "kind": "InferenceEndpoint",
            "metadata": {
                "name": ENDPOINT, "namespace": self.namespace,
                "labels": {"inference.lexiscale.io/operator": self.namespace},
            },
            "spec": {
                "taskType": "sparse_embedding", "service": "elasticsearch",
                "serviceSettings": service_settings, "deployment": deployment,
            },
        });
        kubectl(&["apply", "--filename", "-"], Some(&endpoint.to_string())).await?;
        self.serving().await?;
        Ok(controller)
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) async fn edit(&self, patch: Value) -> Result<InferenceEndpoint> {
        let patch = Patch::Merge(patch);
        Ok(self.api::<InferenceEndpoint>().patch(ENDPOINT, &PatchParams::default(), &patch).await?)
    }

    /// Waits until all allocations that are asked for serve.
    pub(crate) async fn serving(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let endpoint = self.api::<InferenceEndpoint>().get(ENDPOINT).await?;
            let seen = endpoint.status.as_ref().and_then(|status| status.observed_generation);
            if seen == endpoint.metadata.generation
                && endpoint.is(ConditionType::Ready)
                && !endpoint.is(ConditionType::Reconciling)
            {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "the endpoint does not get ready: {:?}", endpoint.status);
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Takes everything away again.
    async fn strike(&self) -> Result<()> {
        let endpoint =
            ["delete", "inferenceendpoint", "--all", "--namespace", &self.namespace, "--wait=false"];
        kubectl(&endpoint, None).await?;
        kubectl(&["delete", "namespace", &self.namespace, "--wait=false"], None).await
    }
}

fn controller(programs: &Programs, namespace: &str) -> Result<Child> {
    let values = fs_err::read_to_string(programs.images.join("values.yaml"))?;
    let registry = value(&values, "imageRegistry:")?;
    // The worker's is the last of the tags.
    let tag = value(values.rsplit_once("worker:").context("values.yaml names no worker")?.1, "tag:")?;
    let image = format!("{registry}/lexiscale/worker:{tag}");
    let hub = format!("http://hub.{namespace}.svc.cluster.local");
    Ok(Command::new(&programs.operator)
        .arg("controller")
        .args(["--namespace", namespace, "--instance", namespace, "--leader-elect", "false"])
        .args(["--worker-image", &image, "--hub-endpoint", &hub, "--cache-size", "256Mi"])
        .args(["--cpu-request-per-thread", "100m", "--dns-port", "53,1053", "--listen", "127.0.0.1:0"])
        .env("RUST_LOG", "warn")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()?)
}

fn value(text: &str, key: &str) -> Result<String> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(key));
    Ok(line.with_context(|| format!("no {key} in values.yaml"))?.trim().trim_matches('"').to_owned())
}

fn merge(into: &mut Value, from: Value) {
    if let (Some(into), Value::Object(from)) = (into.as_object_mut(), from) {
        into.extend(from);
    }
}

async fn kubectl(arguments: &[&str], input: Option<&str>) -> Result<()> {
    let program = Path::new("kubectl");
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .context("failed to run kubectl: eval \"$(tests/cluster/cluster env)\" first")?;
    let mut stdin = child.stdin.take().context("kubectl has no standard input")?;
    stdin.write_all(input.unwrap_or_default().as_bytes()).await?;
    drop(stdin);
    if !child.wait().await?.success() {
        bail!("kubectl {arguments:?} failed");
    }
    Ok(())
}
