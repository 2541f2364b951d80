//! `lexiscale-operator decide` as a simulator meets it: a process that reads lines and writes lines.
#![expect(
    clippy::unwrap_used,
    reason = "tests fail by panic; clippy's own switch does not reach this directory"
)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
};

use serde_json::{Value, json};

struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_lexiscale-operator"))
            .arg("decide")
            .args(arguments)
            // No cluster is to be found, and none is to be needed.
            .env_remove("KUBERNETES_SERVICE_HOST")
            .env("KUBECONFIG", "/nowhere")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, input, output }
    }

    fn tell(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    fn ask(&mut self, line: &Value) -> Value {
        self.tell(&line.to_string());
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap()
    }

    fn end(mut self) -> (ExitStatus, String) {
        drop(self.input.take());
        let mut errors = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        (self.child.wait().unwrap(), errors)
    }
}

fn hello() -> Value {
    json!({"type": "hello", "protocol": 1, "min": null, "max": 4, "slo_s": 0.5, "mean_service_hint_s": null, "seed": 1})
}

/// Ten requests a second of 0.1 s each at one allocation, which is all that it can do.
fn observe(t: f64, desired: u32) -> Value {
    json!({"type": "observe", "t": t, "dt": 2.0, "desired": desired, "ready": desired, "starting": 0, "arrivals": 20,
           "completed": 20, "dropped": 0, "queued": 9, "in_flight": 1, "avg_service_s": 0.1, "avg_queue_wait_s": 0.9,
           "avg_latency_s": 1.0, "avg_concurrency": 10.0, "utilization": 1.0})
}

fn wake(t: f64) -> Value {
    json!({"type": "wake", "t": t, "dt": 1.0, "desired": 0, "ready": 0, "starting": 0, "arrivals": 1, "completed": 0,
           "dropped": 0, "queued": 1, "in_flight": 0, "avg_service_s": null, "avg_queue_wait_s": null,
           "avg_latency_s": null, "avg_concurrency": 0.0, "utilization": null})
}

#[test]
fn each_line_is_answered_by_one_and_load_grows_the_number_up_to_the_maximum() {
    for (mode, interval) in [("elasticsearch", 10.0)] {
        let mut process = Process::start(&["--mode", mode]);
        let ready = process.ask(&hello());
        assert_eq!((&ready["type"], &ready["interval_s"]), (&json!("ready"), &json!(interval)), "{mode}");
        let mut desired = 1;
        for step in 1..30 {
            let answer = process.ask(&observe(2.0 * f64::from(step), desired));
            desired = u32::try_from(answer["desired"].as_u64().unwrap()).unwrap();
            assert!((1..=4).contains(&desired), "{mode}: {answer}");
        }
        assert!(desired > 1, "{mode} left an overloaded endpoint at {desired}");
        process.tell(&json!({"type": "end", "t": 61.0}).to_string());
        let (status, errors) = process.end();
        assert!(status.success(), "{mode}: {errors}");
    }
}

#[test]
fn a_request_at_zero_wakes_one_and_the_reason_is_given_when_it_is_asked_for() {
    for mode in ["elasticsearch", "slo"] {
        let mut process = Process::start(&["--mode", mode, "--explain", "--scale-to-zero-time", "90s"]);
        process.ask(&hello());
        assert_eq!(process.ask(&wake(5.0))["desired"], 1, "{mode}");
        let answer = process.ask(&observe(7.0, 1));
        assert!(answer["reason"].is_string() && answer["message"].is_string(), "{mode}: {answer}");
        assert!(process.end().0.success(), "{mode}: the end of the input is an end");
    }
}

#[test]
fn a_line_that_cannot_be_read_is_named_with_its_field() {
    let broken = |field: &str, value: Value| {
        let mut line = observe(2.0, 1);
        line[field] = value;
        line.to_string()
    };
    let mut short = observe(2.0, 1);
    short.as_object_mut().unwrap().remove("dt");
    let cases = [
        (broken("ready", json!("two")), "ready"),
        (broken("arrivals", json!(-1)), "arrivals"),
        (broken("t", json!(-5.0)), "t is -5"),
        (broken("type", json!("look")), "type is \"look\""),
        (short.to_string(), "`dt`"),
        ("{".to_owned(), "JSON"),
        (hello().to_string(), "hello"),
    ];
    for (line, named) in cases {
        let mut process = Process::start(&["--mode", "slo"]);
        process.ask(&hello());
        process.tell(&line);
        let (status, errors) = process.end();
        assert!(!status.success(), "{line} was accepted");
        assert!(errors.contains("line 2") && errors.contains(named), "{line}: {errors}");
    }
}

#[test]
fn nothing_is_decided_before_a_hello_that_can_be_kept() {
    let with = |field: &str, value: Value| {
        let mut line = hello();
        line[field] = value;
        line
    };
    let cases = [
        (observe(2.0, 1), "hello"),
        (with("protocol", json!(2)), "protocol"),
        (with("max", json!(0)), "max"),
        (with("slo_s", json!(null)), "slo_s"),
        (with("slo_s", json!(-1.0)), "slo_s"),
    ];
    for (line, named) in cases {
        let mut process = Process::start(&["--mode", "slo"]);
        process.tell(&line.to_string());
        let (status, errors) = process.end();
        assert!(!status.success() && errors.contains("line 1") && errors.contains(named), "{line}: {errors}");
    }
}

#[test]
fn settings_that_mean_nothing_are_refused() {
    for arguments in [["--target-percentile", "100"], ["--scale-to-zero-time", "soon"], ["--mode", "fast"]] {
        let (status, errors) = Process::start(&arguments).end();
        assert!(!status.success() && errors.contains(arguments[0]), "{errors}");
    }
}
