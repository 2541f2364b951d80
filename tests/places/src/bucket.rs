//! A server of the S3 API over a folder, which checks signatures.

use std::net::IpAddr;
use std::path::Path;

use anyhow::anyhow;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tokio::net::TcpListener;

use crate::Server;

/// Who may read.
#[derive(Clone, Copy, Debug)]
pub struct Keys<'a> {
    pub id: &'a str,
    pub secret: &'a str,
}

/// Serves the folders below a root as buckets: to whoever has the keys, or to everybody.
pub async fn serve_buckets(listen: IpAddr, root: &Path, keys: Option<Keys<'_>>) -> anyhow::Result<Server> {
    let files =
        FileSystem::new(root).map_err(|error| anyhow!("failed to serve {}: {error:?}", root.display()))?;
    let mut service = S3ServiceBuilder::new(files);
    if let Some(Keys { id, secret }) = keys {
        service.set_auth(SimpleAuth::from_single(id, secret));
    }
    let service = service.build();
    let listener = TcpListener::bind((listen, 0)).await?;
    let address = listener.local_addr()?;
    let task = tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let service = service.clone();
            tokio::spawn(async move {
                let builder = Builder::new(TokioExecutor::new());
                // A client that goes away is no failure of the server's.
                drop(builder.serve_connection(TokioIo::new(socket), service).await);
            });
        }
    });
    Ok(Server { address, task })
}
