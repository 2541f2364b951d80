//! Many at once: what anybody can send any number of must not change what others are told.

use std::sync::atomic::AtomicUsize;

use futures::future::join_all;

use super::*;

/// Made-up tokens queue up behind a slow authenticator; the API server answers all the same.
#[tokio::test(start_paused = true)]
async fn a_queue_of_our_own_is_no_doubt_about_the_api_server() {
    let judge = Arc::<Judge>::default();
    let answers = Arc::clone(&judge);
    let harness = Harness::with(&["--auth", "kubernetes"], move |request| {
        let judge = Arc::clone(&answers);
        async move {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            judge.answer(request).await
        }
    });
    let site = Site { harness, judge };
    assert_eq!(site.status(Method::GET, "/_inference/articles", ADA).await, 200);
    let stranger = async |number: u32| {
        let token = format!("Bearer stolen{number}");
        site.status(Method::GET, "/_inference/articles", &token).await
    };
    let told = join_all((0..100).map(stranger)).await;
    let count = |status| told.iter().filter(|told| **told == status).count();
    assert_eq!((count(401), count(503)), (32, 68), "two turns of 16 places begin in time");
    assert!(!site.harness.gateway.doubt.is_open());
    assert_eq!(site.status(Method::DELETE, "/_inference/articles", ADA).await, 403);
}

/// Each of those who are refused would otherwise ask, without a place and for up to 5 s.
#[tokio::test(start_paused = true)]
async fn readiness_is_asked_for_once_however_many_are_refused() {
    let judge = Arc::<Judge>::default();
    let asked = Arc::<AtomicUsize>::default();
    let (answers, count) = (Arc::clone(&judge), Arc::clone(&asked));
    let harness = Harness::with(&["--auth", "kubernetes"], move |request| {
        let (judge, count) = (Arc::clone(&answers), Arc::clone(&count));
        async move {
            if request.uri().path() == "/readyz" {
                count.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            judge.answer(request).await
        }
    });
    let site = Site { harness, judge };
    site.harness.gateway.doubt.raise();
    let stranger = async |number: u32| {
        site.status(Method::GET, "/_inference/articles", &format!("Bearer stolen{number}")).await
    };
    assert_eq!(join_all((0..10).map(stranger)).await, [503; 10]);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    assert_eq!(stranger(11).await, 401, "it is ready");
}
