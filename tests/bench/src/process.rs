//! Programs under test: each on a core of its own, ended with this one, measured from outside.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::wire::{Wire, request};

/// The core of the program under test; the load and the stubs have the other one.
const CORE: &str = "0";
/// The lowest real-time priority: before whatever has none.
const REAL_TIME: &str = "1";
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Process {
    child: Child,
    pub(crate) address: SocketAddr,
    _files: tempfile::TempDir,
}

impl Process {
    /// The gateway, as its image runs it.
    pub(crate) async fn gateway(
        binary: &Path,
        api: SocketAddr,
        namespace: &str,
        flags: &[&str],
    ) -> Result<Self> {
        let files = tempfile::tempdir()?;
        let kubeconfig = files.path().join("kubeconfig");
        let text = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "bench",
            "clusters": [{"name": "bench", "cluster": {"server": format!("http://{api}")}}],
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench", "namespace": namespace}}],
            "users": [{"name": "bench", "user": {}}],
        });
        fs_err::write(&kubeconfig, text.to_string())?;
        let (address, admin) = (free_port().await?, free_port().await?);
        let mut command = pinned(binary);
        command
            .arg("gateway")
            .args(["--namespace", namespace, "--check-node-cpus", "false", "--drain-delay", "0s"])
            .args(["--listen", &address.to_string(), "--admin-listen", &admin.to_string()])
            // What holds many is measured too.
            .args(["--max-connections", "16000", "--max-requests", "16000", "--max-held", "16000"])
            .args(flags)
            .env("KUBECONFIG", &kubeconfig)
            .env("RUST_LOG", "warn,access=off");
        let process = Self { child: command.spawn()?, address, _files: files };
        process.listens().await?;
        wait_ready(admin).await?;
        Ok(process)
    }

    /// The gateway for a namespace of the cluster that KUBECONFIG names, on whatever core is free.
    pub(crate) async fn gateway_of_cluster(binary: &Path, namespace: &str) -> Result<Self> {
        let (address, admin) = (free_port().await?, free_port().await?);
        let mut command = Command::new(binary);
        command
            .arg("gateway")
            .args(["--namespace", namespace, "--instance", namespace])
            .args(["--check-node-cpus", "false", "--drain-delay", "0s"])
            .args(["--listen", &address.to_string(), "--admin-listen", &admin.to_string()])
            .env("RUST_LOG", "warn,access=off")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let process = Self { child: command.spawn()?, address, _files: tempfile::tempdir()? };
        process.listens().await?;
        wait_ready(admin).await?;
        Ok(process)
    }

    /// nginx as a plain proxy with kept-alive connections: what a gateway costs that does nothing.
    pub(crate) async fn nginx(binary: &Path, upstreams: &[SocketAddr]) -> Result<Self> {
        let files = tempfile::tempdir()?;
        let address = free_port().await?;
        let directory = files.path().display().to_string();
        let servers: Vec<_> = upstreams.iter().map(|upstream| format!("server {upstream};")).collect();
        let text = include_str!("nginx.conf")
            .replace("LISTEN", &address.to_string())
            .replace("SERVERS", &servers.join(" "))
            .replace("DIRECTORY", &directory);
        let file = files.path().join("nginx.conf");
        fs_err::write(&file, text)?;
        let mut command = pinned(binary);
        command.args(["-p", &directory, "-e", "stderr", "-c"]).arg(&file);
        let process = Self { child: command.spawn()?, address, _files: files };
        process.listens().await?;
        Ok(process)
    }

    async fn listens(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address).await.is_err() {
            if Instant::now() > deadline {
                bail!("{} does not listen", self.address);
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Resident memory in KiB.
    pub(crate) fn resident_kib(&self) -> Result<f64> {
        resident_kib(self.child.id().unwrap_or_default())
    }

    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        cpu_seconds(&self.proc("stat"))
    }

    fn proc(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.child.id().unwrap_or_default()))
    }
}

/// Resident memory in KiB.
pub(crate) fn resident_kib(process: u32) -> Result<f64> {
    let status = fs_err::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}

/// CPU seconds so far.
fn cpu_seconds(stat: &Path) -> Result<f64> {
    let stat = fs_err::read_to_string(stat)?;
    let (_, fields) = stat.rsplit_once(')').context("no stat")?;
    let ticks: f64 = fields.split_whitespace().skip(11).take(2).map(|f| f.parse().unwrap_or(0.0)).sum();
    // USER_HZ, which Linux fixes for /proc.
    Ok(ticks / 100.0)
}

/// What the calling thread took of its core so far.
pub(crate) fn thread_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Has the calling thread run before all others on its core: other programs, and those of this process that attack. Attackers have
/// machines of their own; what they take of the core that they have to share with ordinary clients here is not what the gateway lets them do.
pub(crate) fn prefer_this_thread() -> Result<()> {
    let task = fs_err::read_link("/proc/thread-self")?;
    let thread = task.file_name().context("a thread without a number")?;
    let set = std::process::Command::new("chrt").args(["--fifo", "--pid", REAL_TIME]).arg(thread).status()?;
    if !set.success() {
        bail!("chrt failed: setting a real-time priority takes root");
    }
    Ok(())
}

/// Runs this process's threads, now and later, on the other core.
pub(crate) fn pin_self() -> Result<()> {
    let id = std::process::id().to_string();
    let done =
        std::process::Command::new("taskset").args(["-a", "-cp", "1", &id]).stdout(Stdio::null()).status()?;
    if !done.success() {
        bail!("taskset failed: two cores are needed");
    }
    Ok(())
}

/// On its core, and there before all others: a program of this machine that wakes up would otherwise have that core for a time slice of
/// the kernel's, some milliseconds, and be what the percentiles show.
fn pinned(binary: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", CORE, "chrt", "--fifo", REAL_TIME]).arg(binary);
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn free_port() -> Result<SocketAddr> {
    Ok(tokio::net::TcpListener::bind("127.0.0.1:0").await?.local_addr()?)
}

async fn wait_ready(admin: SocketAddr) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let is_ready = async || {
        let mut wire = Wire::connect(admin).await?;
        wire.send(&request(admin, "/readyz", "")).await?;
        wire.answer().await
    };
    while is_ready().await.is_err() {
        if Instant::now() > deadline {
            bail!("the gateway does not get ready");
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
