//! Where long answers are written: off the threads that serve everybody, in few places, in which tenants take turns.

use std::sync::Arc;

use tokio::task::JoinError;

use super::budget::Held;
use super::places::Places;
use super::tenancy::Tenant;

/// Answers that are written at once. Writing is arithmetic, and the gateway has few CPUs.
static WRITING: Places = Places::new(2);

/// Runs `write` once there is a place for it. What is `held` for it is held to its end, also when nobody waits for it any
/// more: who leaves and comes again must not be given the same bytes twice. An error is a panic of `write`.
pub(crate) async fn write<T: Send + 'static>(
    tenant: &Tenant,
    held: Arc<Held>,
    write: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    let write = move || {
        let _held = held;
        write()
    };
    WRITING.run(tenant, write).await
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use futures::poll;

    use super::*;
    use crate::gateway::budget::Budget;
    use crate::gateway::shares::Among;

    /// Or a client that leaves and asks again has the gateway hold any number of answers.
    #[tokio::test]
    async fn what_is_held_for_an_answer_is_held_until_it_is_written_and_not_until_its_client_leaves() {
        let budget = Budget::new(10, Among::One);
        let held = budget.begin("a");
        held.grow(10).unwrap();
        let (begun, begins) = mpsc::channel();
        let (release, end) = mpsc::channel::<()>();
        let tenant = Tenant("a".to_owned());
        let mut written = Box::pin(write(&tenant, held, move || {
            begun.send(()).unwrap();
            end.recv()
        }));
        assert!(poll!(&mut written).is_pending());
        begins.recv().unwrap();
        drop(written);
        assert!(budget.begin("a").grow(1).is_err());
        release.send(()).unwrap();
        let is_free = async {
            while budget.begin("a").grow(10).is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), is_free).await.unwrap();
    }
}
