//! Runs a controller of one kind: bounds, times and counts each pass, and logs each failure once.

use std::{future::Future, sync::Arc, time::Duration};

use futures::StreamExt;
use kube::{
    Resource,
    runtime::{
        Controller,
        controller::{Action, Error as ControllerError},
        reflector::ObjectRef,
        watcher,
    },
};
use lexiscale_crds::Conditions;
use tokio::time::{Instant, timeout};

use super::{
    context::Context,
    error::{Error, chain},
    metrics::{Ending, Kind},
    outcome::Outcome,
    report::{self, Reported},
};

/// Longest pass. An API server that hangs must not hold an object up for ever.
const LONGEST_PASS: Duration = Duration::from_mins(1);

/// Longest wait for telling of a failure.
const LONGEST_REPORT: Duration = Duration::from_secs(10);

/// Runs one controller to its end: each pass is timed and counted, each failure is logged once and tried again later.
pub(super) async fn drive<K, Pass, Ended>(
    controller: Controller<K>,
    kind: Kind,
    context: Arc<Context>,
    pass: Pass,
) where
    K: Reported + Conditions + Send + Sync + 'static,
    Pass: Fn(Arc<K>, Arc<Context>) -> Ended + Send + Sync + 'static,
    Ended: Future<Output = Result<Outcome, Error>> + Send + 'static,
{
    let pass = Arc::new(pass);
    let timed = move |object: Arc<K>, context: Arc<Context>| {
        let pass = Arc::clone(&pass);
        async move {
            let started = Instant::now();
            let outcome = timeout(LONGEST_PASS, pass(Arc::clone(&object), Arc::clone(&context)))
                .await
                .unwrap_or(Err(Error::TimedOut(LONGEST_PASS)));
            let ending = outcome.as_ref().map_or(Ending::Failed, |outcome| outcome.ending());
            context.metrics.pass(kind, ending, started.elapsed());
            let reference = ObjectRef::from_obj(&*object);
            if let Err(error) = &outcome {
                let earlier = context.failures.count(&reference);
                let told = report::failed_pass(&context, &*object, error, earlier);
                if timeout(LONGEST_REPORT, told).await.is_err() {
                    tracing::debug!(%reference, "gave up telling of a failed pass");
                }
            }
            let outcome = outcome?;
            context.failures.forget(&reference);
            Ok(outcome.action())
        }
    };
    let retry = |object: Arc<K>, _: &Error, context: Arc<Context>| {
        Action::requeue(context.failures.after_failure(&ObjectRef::from_obj(&*object)))
    };
    controller.run(timed, retry, context).for_each(|result| async move { log(result) }).await;
}

fn log<K>(result: Result<(ObjectRef<K>, Action), ControllerError<Error, watcher::Error>>)
where
    K: Resource<DynamicType = ()>,
{
    match result {
        Ok((object, _)) => tracing::debug!(%object, "pass done"),
        Err(ControllerError::ReconcilerFailed(error, object)) => {
            tracing::warn!(%object, error = chain(&error), "pass failed, will be tried again");
        }
        // An event about something that is gone by now.
        Err(ControllerError::ObjectNotFound(object)) => tracing::debug!(%object, "gone"),
        Err(ControllerError::QueueError(error)) => {
            tracing::warn!(error = chain(&error), "watch failed, goes on");
        }
        Err(ControllerError::RunnerError(error)) => tracing::warn!(error = chain(&error), "runner failed"),
    }
}
