//! One operator at a time, and another soon after it.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::{
    cluster::with_world,
    operator::{Operator, Process},
};

const LEASE: &str = "lexiscale-controller";
const ELECT: &[&str] = &["--leader-elect=true"];

fn holder(lease: &Lease) -> Option<String> {
    lease.spec.as_ref()?.holder_identity.clone().filter(|holder| !holder.is_empty())
}

#[tokio::test]
async fn a_leader_that_stops_hands_over_at_once() {
    with_world(async |world| {
        let first = Operator::start(&world, &["--leader-elect=true", "--identity=first"]);
        let led = |by: &'static str| {
            move |lease: &Lease| holder(lease).is_some_and(|holder| holder.starts_with(by))
        };
        world.until(LEASE, "held by the first", led("first_")).await;
        let second = Operator::start(&world, &["--leader-elect=true", "--identity=second"]);
        world.create_endpoint("search", |_| {}).await;
        world.pods("model-cache", 1).await;
        let stopped = Instant::now();
        first.stop().await;
        world.until(LEASE, "held by the second", led("second_")).await;
        assert!(stopped.elapsed() < Duration::from_secs(4), "took {:?}", stopped.elapsed());
        second.stop().await;
        let lease: Lease = world.get(LEASE).await;
        assert_eq!(holder(&lease), None, "given back");
    })
    .await;
}

#[tokio::test]
async fn a_leader_that_was_killed_is_replaced() {
    with_world(async |world| {
        let first = Process::start(&world, ELECT);
        let killed = world.until(LEASE, "held", |lease: &Lease| holder(lease).is_some()).await;
        first.kill().await;
        let second = Operator::start(&world, ELECT);
        world
            .until(LEASE, "held by another", |lease: &Lease| {
                holder(lease).is_some_and(|by| Some(by) != holder(&killed))
            })
            .await;
        second.stop().await;
    })
    .await;
}

/// A replica that lost the lease and lingers writes against the new leader.
#[tokio::test]
async fn a_leader_whose_lease_was_taken_ends_itself() {
    with_world(async |world| {
        let operator = Process::start(&world, ELECT);
        assert!(operator.id() > 0);
        world.until(LEASE, "held", |lease: &Lease| holder(lease).is_some()).await;
        let leases: Api<Lease> = world.api();
        let taken = Patch::Merge(json!({"spec": {"holderIdentity": "somebody-else"}}));
        leases.patch(LEASE, &PatchParams::default(), &taken).await.unwrap();
        let code = timeout(Duration::from_secs(15), operator.ended()).await.unwrap();
        assert_eq!(code, Some(1));
    })
    .await;
}
