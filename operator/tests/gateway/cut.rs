//! The wire between a gateway and the API server, which a test can cut.

use std::net::SocketAddr;

use kube::{Client, Config};
use lexiscale_operator::gateway::api;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::cluster::{Cluster, config};

/// What becomes of connections to the API server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum State {
    Whole,
    /// As when its process is killed: new ones are refused, open ones break.
    Refuses,
    /// As when its process is stopped, or the network swallows everything: open ones stay and carry nothing, new ones are
    /// accepted by nobody.
    Hangs,
}

pub(crate) struct Wire(watch::Sender<State>);

impl Wire {
    /// The same cluster, seen over the wire by a client with the gateway's own bounds.
    pub(crate) async fn start(cluster: &Cluster) -> (Self, Cluster) {
        let mut config: Config = config().await;
        let server = config.cluster_url.clone();
        let host = server.host().unwrap().to_owned();
        let upstream = (host.clone(), server.port_u16().unwrap_or(443));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        config.cluster_url = format!("https://{address}").parse().unwrap();
        config.tls_server_name.get_or_insert(host);
        let (sender, state) = watch::channel(State::Whole);
        tokio::spawn(accept(listener, address, upstream, state));
        let client: Client = api::client(config).unwrap();
        (Self(sender), Cluster { client, namespace: cluster.namespace.clone() })
    }

    pub(crate) fn set(&self, state: State) {
        self.0.send_replace(state);
    }
}

/// Ends with the wire.
async fn accept(
    listener: TcpListener,
    address: SocketAddr,
    upstream: (String, u16),
    mut state: watch::Receiver<State>,
) {
    let mut listener = Some(listener);
    loop {
        let now = *state.borrow_and_update();
        match now {
            State::Refuses => listener = None,
            State::Whole | State::Hangs if listener.is_none() => {
                listener = Some(TcpListener::bind(address).await.unwrap());
            }
            State::Whole | State::Hangs => {}
        }
        let accepted = async {
            match listener.as_ref().filter(|_| now == State::Whole) {
                Some(listener) => listener.accept().await.unwrap().0,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = state.changed() => if changed.is_err() { return },
            stream = accepted => drop(tokio::spawn(carry(stream, upstream.clone(), state.clone()))),
        }
    }
}

async fn carry(stream: TcpStream, upstream: (String, u16), mut state: watch::Receiver<State>) {
    let Ok(server) = TcpStream::connect(upstream).await else { return };
    let (mut from_client, mut to_client) = stream.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (asking, answering) = (state.clone(), state.clone());
    tokio::select! {
        _ = state.wait_for(|state| *state == State::Refuses) => {}
        () = copy(&mut from_client, &mut to_server, asking) => {}
        () = copy(&mut from_server, &mut to_client, answering) => {}
    }
}

async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut state: watch::Receiver<State>,
) {
    let mut bytes = vec![0; 16 << 10];
    loop {
        let Ok(length @ 1..) = from.read(&mut bytes).await else { return };
        if state.wait_for(|state| *state == State::Whole).await.is_err()
            || to.write_all(&bytes[..length]).await.is_err()
        {
            return;
        }
    }
}
