use std::time::Duration;

use prometheus_client::encoding::text::encode;

use super::*;
use crate::gateway::wake::Asked;

fn written(registry: &Registry) -> String {
    let mut text = String::new();
    encode(&mut text, registry).unwrap();
    text
}

/// One of everything that is counted of an endpoint.
fn count(metrics: &Metrics, key: &EndpointKey) -> LineMetrics {
    let line = metrics.line(key);
    line.in_line(7, 1);
    line.waited(Duration::from_millis(3));
    line.waited_in_vain(Duration::from_secs(30), Waited::Late);
    line.worked(Duration::from_millis(30));
    line.worked_in_vain(Duration::from_millis(1), Worked::Failed);
    line.retried();
    line.rejected(Rejection::Queue);
    line.rejected(Rejection::Held);
    drop(metrics.in_flight(Operation::Infer, Some(key)));
    metrics.finished(Operation::Infer, Some(key), Outcome::Success, 0.5);
    metrics.wake.asked(key, Asked::Here);
    metrics.wake.cold_start(key, Duration::from_secs(8));
    line
}

#[test]
fn names_and_labels_are_what_dashboards_ask_for() {
    let (registry, metrics) = registry();
    count(&metrics, &EndpointKey::new("default", "articles"));
    metrics.rejected(Rejection::Bytes);
    let text = written(&registry);
    for line in [
        r#"requests_total{operation="Infer",namespace="default",endpoint="articles",outcome="Success"} 1"#,
        r#"request_duration_seconds_bucket{le="0.5",operation="Infer",namespace="default",endpoint="articles"} 1"#,
        r#"requests_in_flight{operation="Infer",namespace="default",endpoint="articles"} 0"#,
        r#"requests_held{namespace="default",endpoint="articles"} 1"#,
        r#"queued_texts{namespace="default",endpoint="articles"} 7"#,
        r#"queue_wait_seconds_bucket{le="0.005",namespace="default",endpoint="articles",outcome="Served"} 1"#,
        r#"queue_wait_seconds_count{namespace="default",endpoint="articles",outcome="Late"} 1"#,
        r#"worker_seconds_bucket{le="0.05",namespace="default",endpoint="articles",outcome="Answered"} 1"#,
        r#"worker_seconds_count{namespace="default",endpoint="articles",outcome="Failed"} 1"#,
        r#"dispatch_retries_total{namespace="default",endpoint="articles"} 1"#,
        r#"rejected_total{namespace="default",endpoint="articles",reason="Queue"} 1"#,
        r#"rejected_total{namespace="",endpoint="",reason="Bytes"} 1"#,
        r#"wake_requests_total{namespace="default",endpoint="articles",outcome="Here"} 1"#,
        r#"cold_starts_total{namespace="default",endpoint="articles"} 1"#,
    ] {
        let line = format!("\nlexiscale_gateway_{line}\n");
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
    assert!(text.contains("lexiscale_build_info{"), "{text}");
}

/// Ids come and go for as long as a gateway runs. What was counted of others stays.
#[test]
fn nothing_is_left_of_an_endpoint_that_is_gone() {
    let (registry, metrics) = registry();
    let gone = count(&metrics, &EndpointKey::new("default", "articles"));
    let stays = [EndpointKey::new("default", "papers"), EndpointKey::new("other", "articles")];
    let lines = |name: &str, text: &str| text.lines().filter(|line| line.contains(name)).count();
    for key in &stays {
        count(&metrics, key);
    }
    let before = written(&registry);
    metrics.forget(&gone);
    gone.waited_in_vain(Duration::from_secs(1), Waited::Refused);
    gone.worked_in_vain(Duration::from_secs(1), Worked::Ended);
    gone.rejected(Rejection::Queue);
    let after = written(&registry);
    let left = after.lines().find(|line| line.contains(r#"namespace="default",endpoint="articles""#));
    assert_eq!(left, None);
    for kept in [r#"endpoint="papers""#, r#"namespace="other""#] {
        assert_eq!(lines(kept, &before), lines(kept, &after));
    }
}
