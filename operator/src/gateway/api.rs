//! How the gateway speaks to the API server: nothing waits for it without an end, and nothing is tried again behind the
//! back of whoever asked, who knows better what to do meanwhile.

use std::time::Duration;

use backon::ExponentialBuilder;
use kube::runtime::watcher::{self, ExponentialBackoff};
use kube::{Client, Config};

/// To connect, TLS included.
const CONNECT: Duration = Duration::from_secs(5);
/// The API server ends a watch after so long, and it is taken up again where it stood.
const WATCH_SECONDS: u32 = 50;
/// Longer than an orderly watch is silent: whoever is silent for so long is not there any more. Without it, what was sent
/// into a network that swallows everything would be waited for until the kernel gives up, a quarter of an hour.
const SILENCE: Duration = Duration::from_mins(1);
/// For one answer, where a client of ours waits for it. Below what clients wait for by default, so that they hear why.
const ANSWER: Duration = Duration::from_secs(10);
/// Between attempts to watch: doubled each time up to the last, and each up to twice as long by chance, so that many gateways
/// do not come at once. The last is short because requests are held for what the watch would show.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(3);

/// A client with the gateway's bounds.
pub fn client(mut config: Config) -> kube::Result<Client> {
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(SILENCE);
    // Or the time for which a connection was not used would count.
    config.reset_reader_on_write = true;
    // A watch that is told "503" would be tried again after up to minutes, and nobody could say otherwise.
    config.default_retry = false;
    Client::try_from(config)
}

#[derive(Debug, thiserror::Error)]
#[error("no answer within [{}ms]; what was asked for may have been done all the same", ANSWER.as_millis())]
struct Silent;

/// An answer, or that there is none in time.
pub(crate) async fn answer<T>(asked: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
    match tokio::time::timeout(ANSWER, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(kube::Error::Service(Box::new(Silent))),
    }
}

pub(crate) fn watch_config() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS)
}

pub(crate) fn watch_pauses() -> ExponentialBackoff {
    let pauses = ExponentialBuilder::default().with_min_delay(FIRST_PAUSE).with_max_delay(LAST_PAUSE);
    pauses.with_factor(2.0).without_max_times().with_jitter().into()
}
