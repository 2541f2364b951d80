//! `serve` as a process.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::spawn;

use lexiscale_wire::{InferenceResponse, WorkerInfo};
use rustix::process::Signal;

use crate::support::models::{publish, published_demo, small_source};
use crate::support::process::{Worker, post};
use crate::support::reference::Reference;

fn long_texts(texts: usize) -> Vec<u8> {
    let text = "a long passage about sparse vectors ".repeat(120);
    serde_json::to_vec(&serde_json::json!({"input": vec![text; texts]})).unwrap()
}

#[test]
fn answers_with_the_reference_once_it_says_that_it_is_ready() {
    let worker = Worker::serve(published_demo(), &[]);
    worker.wait_for(|worker| match worker.get("/health/ready") {
        (200, _) => Some(()),
        (503, body) if body.contains("not_ready") => None,
        (status, body) => panic!("neither ready nor not: {status} {body}"),
    });
    assert_eq!(worker.get("/health/live").0, 200);
    let reference = Reference::demo();
    let input: Vec<&str> = reference.texts.iter().map(|text| text.text.as_str()).collect();
    let body = serde_json::to_vec(&serde_json::json!({"input": input, "input_type": "search"})).unwrap();
    let (status, body) = worker.post("/_inference", &body);
    assert_eq!(status, 200, "{body}");
    let answer: InferenceResponse = serde_json::from_str(&body).unwrap();
    for (expected, found) in reference.texts.iter().zip(&answer.sparse_embedding) {
        assert_eq!(found.is_truncated, expected.is_truncated);
        reference.compare(expected, &found.embedding);
    }
    let info: WorkerInfo = serde_json::from_str(&worker.get("/info").1).unwrap();
    assert_eq!((info.max_tokens, info.vocabulary_size, info.threads), (512, 30522, 1));
    assert!(worker.metric("lexiscale_worker_texts_total") >= 40.0);
    assert!(worker.metric("lexiscale_worker_tokens_total") > 1000.0);
    assert!(worker.get("/metrics").1.contains("lexiscale_worker_model_info{model=\"hf://lexiscale/test\""));
}

/// A rolling update must not cost a single request.
#[test]
fn sigterm_finishes_what_is_in_flight_and_exits_with_zero() {
    let mut worker = Worker::serve(published_demo(), &[]);
    worker.wait_until_ready();
    let address = worker.address().to_owned();
    let requests: Vec<_> = (0..4)
        .map(|_| {
            let address = address.clone();
            spawn(move || post(&address, "/_inference", &long_texts(16)))
        })
        .collect();
    worker.wait_for(|worker| (worker.metric("lexiscale_worker_requests_in_flight") >= 4.0).then_some(()));
    worker.signal(Signal::TERM);
    for request in requests {
        let (status, body) = request.join().unwrap();
        assert_eq!(status, 200, "{body}");
        let answer: InferenceResponse = serde_json::from_str(&body).unwrap();
        assert_eq!(answer.sparse_embedding.len(), 16);
    }
    assert!(worker.wait_for_exit().success(), "{}", worker.log());
    assert!(TcpStream::connect(&address).is_err(), "the port is closed");
}

/// The cluster needs a moment to stop sending; until then a request still finds somebody.
#[test]
fn between_sigterm_and_the_end_of_the_delay_it_is_unready_and_serves() {
    let model = publish(&small_source("bert-f32"));
    let mut worker = Worker::serve(model.path(), &["--drain-delay", "600"]);
    worker.wait_until_ready();
    worker.signal(Signal::TERM);
    worker.wait_for(|worker| (worker.get("/health/ready").0 == 503).then_some(()));
    let (status, body) = worker.post("/_inference", br#"{"input":"hello world"}"#);
    assert_eq!(status, 200, "{body}");
    worker.signal(Signal::TERM);
    assert!(worker.wait_for_exit().success());
}

#[test]
fn sigterm_while_the_model_loads_ends_well() {
    let mut worker = Worker::serve(published_demo(), &[]);
    worker.signal(Signal::TERM);
    assert!(worker.wait_for_exit().success(), "{}", worker.log());
}

#[test]
fn more_than_the_queue_holds_is_429_and_never_lost() {
    let worker = Worker::serve(published_demo(), &["--queue-capacity", "4"]);
    worker.wait_until_ready();
    let requests: Vec<_> = (0..24)
        .map(|_| {
            let address = worker.address().to_owned();
            spawn(move || post(&address, "/_inference", &long_texts(4)))
        })
        .collect();
    let statuses: Vec<u16> = requests.into_iter().map(|request| request.join().unwrap().0).collect();
    assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
    assert!(statuses.contains(&200) && statuses.contains(&429), "{statuses:?}");
    assert_eq!(worker.post("/_inference", &long_texts(4)).0, 200, "there is room again");
    assert_eq!(worker.post("/_inference", &long_texts(5)).0, 413, "this never fits");
}

#[test]
fn a_client_that_hangs_up_is_noticed() {
    let worker = Worker::serve(published_demo(), &[]);
    worker.wait_until_ready();
    let body = long_texts(64);
    let head = format!("POST /_inference HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
    let mut stream = TcpStream::connect(worker.address()).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&body).unwrap();
    worker.wait_for(|worker| (worker.metric("lexiscale_worker_queue_texts") > 0.0).then_some(()));
    drop(stream);
    worker.wait_for(|worker| {
        let dropped = worker.metric("lexiscale_worker_dropped_texts_total");
        (dropped > 0.0 && worker.metric("lexiscale_worker_queue_texts") == 0.0).then_some(())
    });
    let (status, _) = worker.post("/_inference", br#"{"input":"still here"}"#);
    assert_eq!(status, 200);
}

#[test]
fn a_head_that_is_too_long_is_refused() {
    let model = publish(&small_source("bert-f32"));
    let worker = Worker::serve(model.path(), &[]);
    let mut stream = TcpStream::connect(worker.address()).unwrap();
    stream.write_all(b"GET /health/live HTTP/1.1\r\nhost: a\r\nx-long: ").unwrap();
    // The server answers and closes before it has read all of this.
    let _ = stream.write_all(&vec![b'a'; 256 * 1024]);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert_eq!(worker.get("/health/live").0, 200);
}

/// `kubectl describe pod` shows the termination message; without it people would read stack traces.
#[test]
fn a_model_that_cannot_be_served_ends_the_process_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let message = folder.path().join("termination");
    let missing = folder.path().join("nothing");
    let mut worker = Worker::serve(&missing, &["--termination-log", message.to_str().unwrap()]);
    assert_eq!(worker.wait_for_exit().code(), Some(1));
    let message = fs_err::read_to_string(message).unwrap();
    assert!(message.contains("the model cannot be served: no published model in"), "{message}");
    let log = worker.log();
    assert!(log.lines().last().unwrap().contains("no published model in"), "{log}");
}

#[test]
fn a_missing_runtime_library_is_named() {
    let model = publish(&small_source("onnx-logits"));
    let mut worker = Worker::serve(model.path(), &["--onnxruntime", "/nowhere/libonnxruntime.so"]);
    assert_eq!(worker.wait_for_exit().code(), Some(1));
    assert!(worker.log().contains("/nowhere/libonnxruntime.so"), "{}", worker.log());
}
