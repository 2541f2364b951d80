//! `fetch` as a process: killed, told to stop, watched, and without room.

mod killed;

use std::process::Command;

use lexiscale_hub::{Fault, Hub, Repository, RunningHub};
use lexiscale_wire::{FetchReason, FetchReport, Phase, Progress};
use lexiscale_worker::model::verify::VerifiedModel;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::fetch::offset;
use crate::support::models::{demo_source, library, small_source};
use crate::support::process::Worker;

const REPOSITORY: &str = "lexiscale/demo-splade-tiny";
const WEIGHTS: &str = "/content/lexiscale/demo-splade-tiny/model.safetensors";

/// A hub with a slow line: what a test does in the middle of a download really happens in the middle.
async fn slow_hub(bytes_per_second: u64) -> RunningHub {
    let repository = Repository::open(REPOSITORY, &demo_source(), None).unwrap();
    Hub::new(vec![repository]).with_bytes_per_second(Some(bytes_per_second)).start().await.unwrap()
}

struct Volume {
    folder: TempDir,
}

impl Volume {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn output(&self) -> std::path::PathBuf {
        self.folder.path().join("output")
    }

    fn arguments(&self, hub: &RunningHub) -> Vec<String> {
        let termination = self.folder.path().join("termination");
        let source = format!("hf://{REPOSITORY}");
        ["fetch", "--source", &source, "--hub-endpoint", &hub.url(), "--trusted-server", &hub.url()]
            .into_iter()
            .chain(["--output", self.output().to_str().unwrap()])
            .chain(["--termination-log", termination.to_str().unwrap()])
            .chain(["--onnxruntime", library().to_str().unwrap()])
            .map(str::to_owned)
            .collect()
    }

    fn start(&self, hub: &RunningHub) -> Worker {
        let arguments = self.arguments(hub);
        Worker::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn report(&self) -> FetchReport {
        let text = fs_err::read_to_string(self.folder.path().join("termination")).unwrap();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    fn model(&self) -> Result<VerifiedModel, lexiscale_worker::model::verify::VerifyError> {
        VerifiedModel::open(&self.output().join("model"))
    }
}

fn progress(worker: &Worker) -> Option<Progress> {
    let (status, body) = worker.get("/progress");
    (status == 200).then(|| serde_json::from_str(&body).unwrap())
}

/// Waits until the weights are on their way. The small files before them have less than a million bytes.
fn wait_for_weights(worker: &Worker) -> Progress {
    worker.wait_for(|worker| progress(worker).filter(|progress| progress.bytes_done > 2_000_000))
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_told_while_it_runs_and_a_report_is_left_at_the_end() {
    let hub = slow_hub(12_000_000).await;
    let volume = Volume::new();
    let mut worker = volume.start(&hub);
    let early = wait_for_weights(&worker);
    assert_eq!((early.phase, early.files_total, early.attempt), (Phase::Downloading, 4, 1));
    assert_eq!(early.bytes_total, Some(18_384_519));
    let later = worker.wait_for(|worker| {
        progress(worker).filter(|later| later.bytes_done > early.bytes_done && later.bytes_per_second > 0)
    });
    assert!(later.percent() < Some(100) && later.eta_seconds.is_some(), "{later:?}");
    assert!(worker.wait_for_exit().success(), "{}", worker.log());
    let FetchReport::Succeeded(report) = volume.report() else { panic!("{:?}", volume.report()) };
    let model = volume.model().unwrap();
    assert_eq!(report.digest, model.manifest().digest);
    assert_eq!((report.files, report.max_tokens, report.vocabulary_size), (7, 512, 30522));
    assert!(report.memory_bytes > model.manifest().parameter_bytes);
}

/// Pods are killed; a download that begins anew each time never ends on a slow line.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_fetch_is_gone_on_with_by_the_next_one() {
    let hub = slow_hub(12_000_000).await;
    let volume = Volume::new();
    let worker = volume.start(&hub);
    wait_for_weights(&worker);
    worker.signal(Signal::KILL);
    let mut worker = worker;
    assert!(!worker.wait_for_exit().success());
    assert!(volume.model().is_err(), "half a model is not visible");
    let mut worker = volume.start(&hub);
    assert!(worker.wait_for_exit().success(), "{}", worker.log());
    let requests: Vec<_> = hub.requests().into_iter().filter(|request| request.path == WEIGHTS).collect();
    assert_eq!(requests.len(), 2);
    assert!(offset(&requests[1]) > 1_000_000, "{:?}", requests[1]);
    assert!(requests[1].if_range.is_some());
    volume.model().unwrap();
}

/// Nodes are drained at any moment. Whatever step it was, the next one goes on, and no worker ever sees half a model.
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_step_it_is_gone_on_with() {
    type Reached = fn(&Progress) -> bool;
    let hub = slow_hub(30_000_000).await;
    let volume = Volume::new();
    let steps: [(&str, Reached); 10] = [
        ("resolving", |progress| progress.phase == Phase::Resolving),
        ("first bytes", |progress| progress.bytes_done > 0),
        ("1 MB", |progress| progress.bytes_done > 1_000_000),
        ("3 MB", |progress| progress.bytes_done > 3_000_000),
        ("6 MB", |progress| progress.bytes_done > 6_000_000),
        ("9 MB", |progress| progress.bytes_done > 9_000_000),
        ("13 MB", |progress| progress.bytes_done > 13_000_000),
        ("17 MB", |progress| progress.bytes_done > 17_000_000),
        ("converting", |progress| matches!(progress.phase, Phase::Converting | Phase::Publishing)),
        ("converting again", |progress| matches!(progress.phase, Phase::Converting | Phase::Publishing)),
    ];
    for (step, reached) in steps {
        if step == "resolving" {
            hub.inject("/revision/main", Fault::Status(503));
        }
        let mut worker = volume.start(&hub);
        worker.wait_for(|worker| progress(worker).filter(reached));
        worker.signal(Signal::KILL);
        assert!(!worker.wait_for_exit().success(), "{step}");
        assert!(volume.model().is_err(), "{step}: half a model is visible");
    }
    let mut worker = volume.start(&hub);
    assert!(worker.wait_for_exit().success(), "{}", worker.log());
    volume.model().unwrap();
    let weights = hub.requests().into_iter().filter(|request| request.path == WEIGHTS);
    let begun = weights.filter(|request| request.range.is_none()).count();
    // The first kill may come between a request and its first byte.
    assert!(begun <= 2, "nothing is downloaded twice, but the weights were begun {begun} times");
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_it_keeps_what_it_has_and_says_so() {
    let hub = slow_hub(4_000_000).await;
    let volume = Volume::new();
    let mut worker = volume.start(&hub);
    wait_for_weights(&worker);
    worker.signal(Signal::TERM);
    assert_eq!(worker.wait_for_exit().code(), Some(1));
    let FetchReport::Failed(report) = volume.report() else { panic!("{:?}", volume.report()) };
    assert_eq!(report.reason, FetchReason::Interrupted);
    assert!(report.bytes > 2_000_000 && report.revision.is_some(), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_reported_in_the_log_and_in_the_termination_message() {
    let repository = Repository::open("lexiscale/other", &small_source("bert-f32"), None).unwrap();
    let hub = Hub::new(vec![repository]).start().await.unwrap();
    let volume = Volume::new();
    let mut worker = volume.start(&hub);
    assert_eq!(worker.wait_for_exit().code(), Some(3), "trying again would not help");
    let FetchReport::Failed(report) = volume.report() else { panic!("{:?}", volume.report()) };
    assert_eq!(report.reason, FetchReason::ModelNotFound);
    let log = worker.log();
    let last = log.lines().last().unwrap();
    assert!(last.contains("ModelNotFound") && last.contains(&report.message), "{last}");
}

/// A key in PEM begins as an option does, and this is how the Job gives it.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_pem_is_taken_as_an_argument() {
    let repository = Repository::open(REPOSITORY, &small_source("bert-f32"), None).unwrap();
    let hub = Hub::new(vec![repository]).start().await.unwrap();
    let volume = Volume::new();
    let key = lexiscale_pki::Signer::new().unwrap().public_pem();
    let mut arguments = volume.arguments(&hub);
    arguments.extend(["--public-key".to_owned(), key]);
    let mut worker = Worker::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(worker.wait_for_exit().code(), Some(3), "{}", worker.log());
    let FetchReport::Failed(report) = volume.report() else { panic!("{:?}", volume.report()) };
    assert_eq!(report.reason, FetchReason::SignatureInvalid, "{}", report.message);
}

/// Runs the worker on a file system of its own with so many bytes. None where this machine does not let us mount.
fn on_small_volume(hub: &RunningHub, bytes: u64, meanwhile: &str) -> Option<(FetchReport, String)> {
    let volume = Volume::new();
    let output = volume.output();
    fs_err::create_dir(&output).unwrap();
    let arguments = volume.arguments(hub).join(" ");
    let script = format!(
        "mount -t tmpfs -o size={bytes} tmpfs {output} || exit 99
         {worker} {arguments} --listen 127.0.0.1:0 &
         {meanwhile}
         wait $!
         ls -A {output} | grep -v .lock",
        output = output.display(),
        worker = env!("CARGO_BIN_EXE_lexiscale-worker"),
    );
    let unshare = |flags: &[&str]| Command::new("unshare").args(flags).args(["sh", "-c", &script]).output();
    for flags in [&["--mount"][..], &["--map-root-user", "--mount"]] {
        if let Ok(done) = unshare(flags)
            && volume.folder.path().join("termination").exists()
        {
            let listing = String::from_utf8_lossy(&done.stdout);
            let left = listing.lines().filter(|line| !line.contains(" INFO ") && !line.contains("ERROR"));
            return Some((volume.report(), left.collect::<Vec<_>>().join("\n")));
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_is_too_small_is_told_before_the_download() {
    let hub = slow_hub(100_000_000).await;
    let Some((report, left)) = on_small_volume(&hub, 20_000_000, "") else { return cannot_mount() };
    let FetchReport::Failed(report) = report else { panic!("{report:?}") };
    assert_eq!(report.reason, FetchReason::InsufficientStorage);
    assert!(report.message.contains(" free, but") && report.message.contains("needed"), "{}", report.message);
    assert!(hub.requests().iter().all(|request| request.path != WEIGHTS));
    assert_eq!((left.as_str(), report.bytes), ("", 0));
}

/// Others write to the same volume; what was free at the start need not stay so.
#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_fills_up_meanwhile_is_told_and_cleaned() {
    let hub = slow_hub(12_000_000).await;
    let volume = "$(mount | grep -o '/[^ ]*/output' | tail -1)";
    let fill = format!(
        "until ls -A {volume}/.partial-*/model.safetensors.part 2>/dev/null || ! kill -0 $!; do sleep 0.01; done >/dev/null
         dd if=/dev/zero of={volume}/filler bs=1M 2>/dev/null"
    );
    let Some((report, left)) = on_small_volume(&hub, 130_000_000, &fill) else { return cannot_mount() };
    let FetchReport::Failed(report) = report else { panic!("{report:?}") };
    assert_eq!(report.reason, FetchReason::InsufficientStorage, "{report:?}");
    assert!(report.message.contains("failed to write model.safetensors"), "{}", report.message);
    assert_eq!(left, "filler");
}

/// A developer's machine may refuse; where the results count, nothing may pass untested.
#[expect(clippy::print_stderr, reason = "a test that could not run must say so")]
fn cannot_mount() {
    assert!(std::env::var_os("CI").is_none(), "this machine lets tests mount nothing");
    eprintln!("not tested: this machine lets tests mount nothing");
}
