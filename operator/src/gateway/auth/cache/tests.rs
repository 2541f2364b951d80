use std::future::{pending, ready};
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::timeout;

use super::*;

type Numbers = Cache<u32, usize, &'static str>;
type Asked = Result<Decided<usize>, &'static str>;

const KEEP: Duration = Duration::from_secs(10);
const OUTLIVES: Duration = Duration::from_mins(1);

const fn decision(value: usize, worth: Worth) -> Decided<usize> {
    Decided { value, keep_for: KEEP, outlives: OUTLIVES, worth }
}

fn away() -> std::future::Ready<Asked> {
    ready(Err("away"))
}

#[tokio::test(start_paused = true)]
async fn a_decision_is_asked_for_once_in_its_time() {
    let cache = Numbers::new(10);
    let asked = Arc::<AtomicUsize>::default();
    let get = || {
        let asked = Arc::clone(&asked);
        cache.get(&1, Demand::New, || async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(decision(asked.fetch_add(1, Ordering::Relaxed), Worth::Keep))
        })
    };
    let together = futures::join!(get(), get(), get());
    assert_eq!(together, ((Ok(0), Found::Asked), (Ok(0), Found::Cached), (Ok(0), Found::Cached)));
    tokio::time::advance(Duration::from_secs(9)).await;
    assert_eq!(get().await, (Ok(0), Found::Cached));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(get().await, (Ok(1), Found::Asked));
}

#[tokio::test(start_paused = true)]
async fn who_leaves_while_asking_blocks_nobody() {
    let cache = Numbers::new(10);
    let never = cache.get(&1, Demand::New, pending);
    assert!(timeout(Duration::from_secs(1), never).await.is_err());
    let got = cache.get(&1, Demand::New, || ready(Ok(decision(7, Worth::Keep)))).await;
    assert_eq!(got, (Ok(7), Found::Asked));
}

#[tokio::test(start_paused = true)]
async fn a_decision_outlives_its_time_only_where_that_is_good_enough_and_not_for_ever() {
    let cache = Numbers::new(10);
    let _ = cache.get(&1, Demand::New, || ready(Ok(decision(1, Worth::Keep)))).await;
    tokio::time::advance(KEEP).await;
    assert_eq!(cache.get(&1, Demand::NewIfPossible, away).await, (Ok(1), Found::Outlived));
    assert_eq!(cache.get(&1, Demand::New, away).await.0, Err("away"));
    assert_eq!(cache.get(&2, Demand::NewIfPossible, away).await.0, Err("away"), "nothing was decided");
    tokio::time::advance(Duration::from_secs(59)).await;
    assert_eq!(cache.get(&1, Demand::NewIfPossible, away).await, (Ok(1), Found::Outlived));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(cache.get(&1, Demand::NewIfPossible, away).await.0, Err("away"));
}

/// Or a right that was withdrawn would go on for the whole time after it.
#[tokio::test(start_paused = true)]
async fn an_old_decision_is_not_gone_by_when_there_is_a_new_one() {
    let cache = Numbers::new(10);
    let _ = cache.get(&1, Demand::New, || ready(Ok(decision(1, Worth::Keep)))).await;
    tokio::time::advance(KEEP).await;
    let refused = || ready(Ok(decision(0, Worth::Drop)));
    assert_eq!(cache.get(&1, Demand::NewIfPossible, refused).await, (Ok(0), Found::Asked));
    assert_eq!(cache.get(&1, Demand::NewIfPossible, away).await, (Ok(0), Found::Cached));
}

/// Otherwise each request would wait for an answer that does not come.
#[tokio::test(start_paused = true)]
async fn who_does_not_answer_costs_one_moment_and_is_seen_to_be_back() {
    let cache = Numbers::new(10);
    let _ = cache.get(&1, Demand::New, || ready(Ok(decision(1, Worth::Keep)))).await;
    tokio::time::advance(KEEP).await;
    let slow = || async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        Err("silent")
    };
    let began = Instant::now();
    assert_eq!(cache.get(&1, Demand::NewIfPossible, slow).await, (Ok(1), Found::Outlived));
    assert_eq!(began.elapsed(), MOMENT);
    tokio::time::sleep(Duration::from_secs(6)).await;
    let began = Instant::now();
    assert_eq!(cache.get(&1, Demand::NewIfPossible, slow).await, (Ok(1), Found::Outlived));
    assert_eq!(began.elapsed(), Duration::ZERO, "it failed before");
    tokio::time::sleep(Duration::from_secs(6)).await;
    let back = || ready(Ok(decision(2, Worth::Keep)));
    assert_eq!(cache.get(&1, Demand::NewIfPossible, back).await, (Ok(1), Found::Outlived), "asks behind us");
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(cache.get(&1, Demand::NewIfPossible, away).await, (Ok(2), Found::Cached));
}

/// A question may go on for seconds after its first moment, and every request of a busy client would wait through one.
#[tokio::test(start_paused = true)]
async fn a_question_is_waited_for_in_its_first_moment_only() {
    let cache = Numbers::new(10);
    let _ = cache.get(&1, Demand::New, || ready(Ok(decision(1, Worth::Keep)))).await;
    tokio::time::advance(KEEP).await;
    let began = Instant::now();
    let get = async |after: u64| {
        tokio::time::sleep_until(began + Duration::from_millis(after)).await;
        let silent = || async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            Ok(decision(2, Worth::Keep))
        };
        let (value, _) = cache.get(&1, Demand::NewIfPossible, silent).await;
        (value, began.elapsed().as_millis())
    };
    let got = futures::join!(get(0), get(600), get(1500), get(4999), get(5001));
    assert_eq!(got, ((Ok(1), 1000), (Ok(1), 1000), (Ok(1), 1500), (Ok(1), 4999), (Ok(2), 5001)));
    tokio::time::advance(KEEP).await;
    let (began, slow) = (Instant::now(), || async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok(decision(3, Worth::Keep))
    });
    assert_eq!(cache.get(&1, Demand::NewIfPossible, slow).await, (Ok(3), Found::Asked), "waited for again");
    assert_eq!(began.elapsed().as_millis(), 500);
}

/// Anybody can send tokens that are not valid; those must not crowd out the ones that are.
#[tokio::test(start_paused = true)]
async fn a_flood_of_bad_tokens_leaves_the_good_ones_in() {
    let cache = Numbers::new(100);
    let _ = cache.get(&0, Demand::New, || ready(Ok(decision(1, Worth::Keep)))).await;
    for key in 1..10_000 {
        let _ = cache.get(&key, Demand::New, || ready(Ok(decision(0, Worth::Drop)))).await;
        assert!(!cache.knows(&key));
    }
    assert!(cache.lock().len() <= 100 && cache.knows(&0));
    assert_eq!(cache.get(&0, Demand::New, away).await, (Ok(1), Found::Cached));
}

#[tokio::test(start_paused = true)]
async fn it_never_grows_beyond_its_capacity() {
    let cache = Numbers::new(100);
    for key in 0..1000 {
        let _ = cache.get(&key, Demand::New, || ready(Ok(decision(0, Worth::Keep)))).await;
        assert!(cache.lock().len() <= 100);
    }
}
