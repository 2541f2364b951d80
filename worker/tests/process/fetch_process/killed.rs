//! Killed at each step, as a Job's pod is. Which step it is at, its own changes of the volume tell, and no clock.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lexiscale_hub::{Hub, Repository};
use lexiscale_wire::FetchReport;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::process::Signal;

use super::{REPOSITORY, Volume};
use crate::support::models::small_source;

/// It bounds a test that would hang.
const PATIENCE: Duration = Duration::from_mins(1);

/// A step, and the change of a file that says that it has begun.
const STEPS: [(&str, &str, ReadFlags); 6] = [
    ("resolve", ".lock", ReadFlags::CREATE),
    ("fetch", "model.safetensors.part", ReadFlags::CREATE),
    ("verify", "model.safetensors.part", ReadFlags::CLOSE_WRITE),
    ("convert", "publish", ReadFlags::CREATE),
    ("publish", "manifest.json", ReadFlags::CLOSE_WRITE),
    ("published", "model", ReadFlags::MOVED_TO),
];

/// Nodes die at any moment. The next download ends with the same model, and meanwhile nobody sees a part of one.
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_each_step_the_next_one_ends_with_the_same_model() {
    let repository = Repository::open(REPOSITORY, &small_source("bert-f32"), None).unwrap();
    // Slow enough that a folder is watched before anything is made in it.
    let hub = Hub::new(vec![repository]).with_bytes_per_second(Some(50_000)).start().await.unwrap();
    let mut digests = Vec::new();
    for (step, file, change) in STEPS {
        let volume = Volume::new();
        fs_err::create_dir(volume.output()).unwrap();
        let mut watch = Watch::new(&volume.output());
        let mut worker = volume.start(&hub);
        watch.wait_for(file, change);
        worker.signal(Signal::KILL);
        let ended = worker.wait_for_exit();
        // Once the model is published there is little left to do.
        assert!(step == "published" || !ended.success(), "{step}: it had ended before");
        assert_eq!(volume.model().is_ok(), step == "published", "{step}: {:?}", volume.model().err());
        let mut worker = volume.start(&hub);
        assert!(worker.wait_for_exit().success(), "{step}: {}", worker.log());
        let FetchReport::Succeeded(report) = volume.report() else { panic!("{:?}", volume.report()) };
        assert_eq!(volume.model().unwrap().manifest().digest, report.digest, "{step}");
        digests.push(report.digest);
    }
    digests.dedup();
    assert_eq!(digests.len(), 1, "{digests:?}");
}

/// Changes below a folder.
struct Watch {
    queue: OwnedFd,
    folders: BTreeMap<i32, PathBuf>,
}

impl Watch {
    fn new(folder: &Path) -> Self {
        let queue = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        let mut watch = Self { queue, folders: BTreeMap::new() };
        watch.add(folder.to_owned());
        watch
    }

    fn add(&mut self, folder: PathBuf) {
        let changes = WatchFlags::CREATE | WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO;
        // Gone already: what was in it is not what is waited for.
        if let Ok(number) = inotify::add_watch(&self.queue, &folder, changes) {
            self.folders.insert(number, folder);
        }
    }

    /// The pause only spares the processor, and is short so that the step is still under way.
    fn wait_for(&mut self, name: &str, change: ReadFlags) {
        let until = Instant::now() + PATIENCE;
        while !self.saw(name, change) {
            assert!(Instant::now() < until, "{name} never came to {change:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Whether this change of a file of this name is among those that came since the last call.
    fn saw(&mut self, name: &str, change: ReadFlags) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let (mut made, mut found) = (Vec::new(), false);
        let mut reader = inotify::Reader::new(&self.queue, &mut buffer);
        while let Ok(event) = reader.next() {
            let file = event.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            found |= file == name && event.events().contains(change);
            if event.events().contains(ReadFlags::CREATE | ReadFlags::ISDIR) {
                made.extend(self.folders.get(&event.wd()).map(|folder| folder.join(&file)));
            }
        }
        for folder in made {
            self.add(folder);
        }
        found
    }
}
