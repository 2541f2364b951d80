//! Serves folders as model repositories over the routes of Hugging Face.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;
use lexiscale_hub::{Hub, Repository};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// A small model hub for the demo and for tests: speaks the download routes of Hugging Face.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Address to listen on.
    #[arg(long, default_value = "0.0.0.0:8080", env = "HUB_LISTEN")]
    listen: SocketAddr,

    /// A repository: organisation/name=FOLDER[@revision]. May be given several times. A revision of 40 hexadecimal
    /// digits is the commit; any other is one more name for the commit that follows from the folder's content.
    #[arg(long = "repo", value_name = "ORGANISATION/NAME=FOLDER[@REVISION]")]
    repositories: Vec<String>,

    /// A folder whose organisation/name subfolders are repositories.
    #[arg(long)]
    root: Option<PathBuf>,

    /// Slow each download down to this speed, so that its progress can be watched.
    #[arg(long)]
    bytes_per_second: Option<u64>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut repositories = arguments
        .repositories
        .iter()
        .map(|repo| Repository::parse(repo))
        .collect::<anyhow::Result<Vec<_>>>()?;
    if let Some(root) = &arguments.root {
        repositories.extend(Repository::below(root)?);
    }
    anyhow::ensure!(!repositories.is_empty(), "nothing to serve: give --repo or --root");
    let hub = Arc::new(Hub::new(repositories).with_bytes_per_second(arguments.bytes_per_second));
    let listener = TcpListener::bind(arguments.listen).await?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        result = hub.serve(listener) => result?,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
