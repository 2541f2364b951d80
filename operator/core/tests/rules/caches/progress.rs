//! What a person sees of a download.

use lexiscale_core::status;
use lexiscale_wire::{Phase, Progress};

use super::downloading;

#[test]
fn progress_is_one_line_that_a_person_reads() {
    let world = downloading();
    let mut observed = world.observe_cache("warm");
    let plan = world.plan_cache("warm");
    let mut line = |progress: Progress| {
        observed.progress = Some(progress);
        let status = status::model_cache::of_plan(&observed, &plan, &[], world.now);
        status.progress.unwrap().text
    };
    let progress = Progress {
        phase: Phase::Downloading,
        bytes_done: 115_343_360,
        bytes_total: Some(268_435_456),
        files_done: 1,
        files_total: 5,
        bytes_per_second: 12_582_912,
        eta_seconds: Some(12),
        attempt: 1,
    };
    assert_eq!(line(progress.clone()), "42 % of 256.0 MiB, 12.0 MiB/s, 12 s left");
    assert_eq!(
        line(Progress { bytes_total: None, eta_seconds: None, ..progress.clone() }),
        "110.0 MiB, 12.0 MiB/s"
    );
    assert_eq!(line(Progress { phase: Phase::Converting, ..progress }), "Converting");
}
