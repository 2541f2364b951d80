//! The real binary: started on a free port, asked over HTTP, stopped by signals, never left behind.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Nothing here takes nearly as long on a busy machine; it bounds a test that would hang.
const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) struct Worker {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
    address: String,
}

/// An answer: status and body.
pub(crate) type Answer = (u16, String);

impl Worker {
    /// Starts the worker and waits until it listens.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut child = command(arguments).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let reader = std::thread::spawn({
            let log = Arc::clone(&log);
            move || lines.map_while(Result::ok).for_each(|line| log.lock().unwrap().push(line))
        });
        let mut worker = Self { child, log, reader: Some(reader), address: String::new() };
        worker.address = worker.wait_for(|worker| worker.logged("listening", "address"));
        worker
    }

    pub(crate) fn serve(model: &Path, more: &[&str]) -> Self {
        let arguments = serve_arguments(model, more);
        Self::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// How it ends that cannot begin: exit code and log.
    pub(crate) fn ends(model: &Path, more: &[&str]) -> (Option<i32>, String) {
        let arguments = serve_arguments(model, more);
        let ended = command(&arguments).output().unwrap();
        (ended.status.code(), String::from_utf8_lossy(&ended.stdout).into_owned())
    }

    pub(crate) fn wait_until_ready(&self) {
        self.wait_for(|worker| (worker.get("/health/ready").0 == 200).then_some(()));
    }

    /// Asks until there is an answer. The pause only spares the processor; nothing depends on its length.
    pub(crate) fn wait_for<T>(&self, ask: impl Fn(&Self) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = ask(self) {
                return answer;
            }
            assert!(Instant::now() < until, "waited in vain; the worker's log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    pub(crate) fn logged(&self, message: &str, field: &str) -> Option<String> {
        let log = self.log.lock().unwrap();
        let mut lines = log.iter().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let line = lines.find(|line| line["message"] == message)?;
        line[field].as_str().map(str::to_owned)
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        get(&self.address, path)
    }

    pub(crate) fn post(&self, path: &str, body: &[u8]) -> Answer {
        post(&self.address, path, body)
    }

    /// The value of a metric, all of its labels added up.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200);
        let lines = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn wait_for_exit(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.reader.take().map(JoinHandle::join);
                return status;
            }
            assert!(Instant::now() < until, "the worker does not end; its log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn command(arguments: &[impl AsRef<std::ffi::OsStr>]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lexiscale-worker"));
    command.args(arguments).args(["--log-format", "json", "--listen", "127.0.0.1:0"]);
    command
}

fn serve_arguments(model: &Path, more: &[&str]) -> Vec<String> {
    let library = super::models::library();
    let model = model.join("model");
    let defaults = [
        ("--onnxruntime", library.to_str().unwrap()),
        ("--threads", "1"),
        ("--termination-log", "/dev/null"),
        ("--drain-delay", "0"),
        ("--measure-after", "0"),
    ];
    let mut arguments = vec!["serve", "--model", model.to_str().unwrap()];
    for (name, value) in defaults.iter().filter(|(name, _)| !more.contains(name)) {
        arguments.extend([name, value]);
    }
    arguments.extend(more);
    arguments.into_iter().map(str::to_owned).collect()
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn get(address: &str, path: &str) -> Answer {
    answer(agent().get(format!("http://{address}{path}")).call())
}

pub(crate) fn post(address: &str, path: &str, body: &[u8]) -> Answer {
    answer(agent().post(format!("http://{address}{path}")).send(body))
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .build()
        .new_agent()
}

/// Status 0 stands for no answer at all.
fn answer(result: Result<http::Response<ureq::Body>, ureq::Error>) -> Answer {
    match result {
        Ok(mut response) => {
            (response.status().as_u16(), response.body_mut().read_to_string().unwrap_or_default())
        }
        Err(error) => (0, error.to_string()),
    }
}
