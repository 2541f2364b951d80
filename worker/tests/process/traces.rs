//! The worker's part in a trace, as a collector sees it.

use lexiscale_collector::Collector;
use rustix::process::Signal;

use crate::support::models::{publish, small_source};
use crate::support::process::Worker;

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[test]
fn a_request_is_a_span_below_the_callers_and_a_probe_is_none() {
    let collector = Collector::start().unwrap();
    let model = publish(&small_source("bert-f32"));
    let mut worker = Worker::serve(model.path(), &["--otlp-endpoint", collector.url()]);
    worker.wait_until_ready();
    let answer = ureq::post(format!("http://{}/_inference", worker.address()))
        .header("traceparent", TRACEPARENT)
        .send(r#"{"input":"hello world"}"#)
        .unwrap();
    assert_eq!(answer.status(), 200);
    worker.signal(Signal::TERM);
    assert!(worker.wait_for_exit().success(), "the last spans are sent before the end");
    let spans = collector.spans();
    let [span] = spans.as_slice() else { panic!("one and no more: {spans:#?}") };
    let parents = format!("00-{}-{}-01", span.trace, span.parent);
    assert_eq!((parents.as_str(), span.name.as_str()), (TRACEPARENT, "POST /_inference"));
    assert_eq!((span.service.as_str(), span.kind.as_str()), ("lexiscale-worker", "SPAN_KIND_SERVER"));
    assert_eq!(span.attribute("http.response.status_code"), Some("200"));
}
