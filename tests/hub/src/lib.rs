//! A small model hub that speaks the download routes of Hugging Face: enough for the operator's ordinary `hf://` path to
//! run without the internet. Tests start it inside their process and ask it to misbehave; the demo runs its binary.

mod faults;
mod repository;
mod routes;
mod stream;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use faults::Fault;
pub use repository::{RepoFile, Repository, Storage};

/// What a client asked; tests compare it with what it should have asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub range: Option<String>,
    pub if_range: Option<String>,
    pub authorization: Option<String>,
}

/// A fault that waits for its request.
struct Planned {
    method: Option<&'static str>,
    suffix: String,
    fault: Fault,
}

/// Repositories and how to serve them.
#[derive(Default)]
pub struct Hub {
    repositories: Vec<Repository>,
    bytes_per_second: Option<u64>,
    /// Another address under which the contents of large files are served, as content networks do.
    content_address: Option<String>,
    faults: Mutex<Vec<Planned>>,
    requests: Mutex<Vec<Request>>,
}

impl Hub {
    pub fn new(repositories: Vec<Repository>) -> Self {
        Self { repositories, ..Self::default() }
    }

    /// Slows each download down, so that progress can be watched.
    #[must_use]
    pub fn with_bytes_per_second(mut self, bytes_per_second: Option<u64>) -> Self {
        self.bytes_per_second = bytes_per_second;
        self
    }

    /// Large files redirect to `http://ADDRESS/...` instead of to this server's own address.
    #[must_use]
    pub fn with_content_address(mut self, address: impl Into<String>) -> Self {
        self.content_address = Some(address.into());
        self
    }

    /// Serves until the listener fails, which it does not.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) -> std::io::Result<()> {
        axum::serve(listener, routes::router(self)).await
    }

    /// Serves on a free port of the loopback interface until the handle is dropped.
    pub async fn start(self) -> std::io::Result<RunningHub> {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let hub = Arc::new(self);
        let task = tokio::spawn(Arc::clone(&hub).serve(listener));
        Ok(RunningHub { hub, address, task })
    }

    fn take_fault(&self, method: &str, path: &str) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let meets = |planned: &Planned| {
            path.ends_with(planned.suffix.as_str()) && planned.method.is_none_or(|wanted| wanted == method)
        };
        let position = faults.iter().position(meets)?;
        Some(faults.remove(position).fault)
    }

    fn record(&self, request: Request) {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    }
}

/// A hub inside this process.
pub struct RunningHub {
    hub: Arc<Hub>,
    address: SocketAddr,
    task: JoinHandle<std::io::Result<()>>,
}

impl RunningHub {
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next request whose path ends with `suffix` meets this fault; several for one path come in order.
    pub fn inject(&self, suffix: impl Into<String>, fault: Fault) {
        self.plan(Planned { method: None, suffix: suffix.into(), fault });
    }

    /// The next so many requests of this method whose path ends with `suffix` meet the fault.
    pub fn inject_for(&self, method: &'static str, suffix: &str, fault: &Fault, times: usize) {
        for _ in 0..times {
            self.plan(Planned { method: Some(method), suffix: suffix.to_owned(), fault: fault.clone() });
        }
    }

    fn plan(&self, planned: Planned) {
        self.hub.faults.lock().unwrap_or_else(PoisonError::into_inner).push(planned);
    }

    /// All requests so far, oldest first.
    pub fn requests(&self) -> Vec<Request> {
        self.hub.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for RunningHub {
    fn drop(&mut self) {
        self.task.abort();
    }
}
