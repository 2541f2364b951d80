//! For how long decisions are gone by, with the API server and without it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;

#[tokio::test(start_paused = true)]
async fn decisions_are_remembered_for_a_minute_and_refusals_for_seconds() {
    let site = Site::new(&[]);
    let get = || site.status(Method::GET, "/_inference/articles", ADA);
    assert_eq!(futures::join!(get(), get(), get()), (200, 200, 200));
    assert_eq!(site.judge.asked(), 2, "one token, one right, however many ask");
    tokio::time::advance(Duration::from_secs(59)).await;
    assert_eq!((get().await, site.judge.asked()), (200, 2));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!((get().await, site.judge.asked()), (200, 4));

    let bad = || site.status(Method::GET, "/_inference/articles", "Bearer stolen");
    assert_eq!((bad().await, bad().await, site.judge.asked()), (401, 401, 5));
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!((bad().await, site.judge.asked()), (401, 6));
}

#[tokio::test(start_paused = true)]
async fn without_the_api_server_only_what_is_remembered_is_let_in() {
    let site = Site::new(&[]);
    let get = async |token: &str| site.send(Method::GET, "/_inference/articles", token).await;
    assert_eq!(get(ADA).await.0, 200);
    site.judge.is_away.store(true, Ordering::Relaxed);
    assert_eq!(get(ADA).await.0, 200);
    let (status, headers, body) = get("Bearer valid-eve").await;
    assert_eq!((status.as_u16(), headers["retry-after"].to_str().unwrap()), (503, "1"));
    assert_eq!(body["error"]["type"], "status_exception");
    tokio::time::advance(Duration::from_mins(1)).await;
    assert_eq!(get(ADA).await.0, 503, "its time is over");
    site.judge.is_away.store(false, Ordering::Relaxed);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(get(ADA).await.0, 200);
}

/// Inference is what must not stop with the API server; the bound is what a right may outlive its withdrawal.
#[tokio::test(start_paused = true)]
async fn without_the_api_server_inference_goes_on_for_whom_it_knew_and_for_a_while() {
    let site = Site::new(&["--auth-outage-tolerance", "5m"]);
    // The body is missing, which is looked at once the caller was let in.
    let infer = async |token: &str| site.status(Method::POST, "/_inference/articles", token).await;
    assert_eq!(infer(ADA).await, 400);
    assert_eq!(site.status(Method::GET, "/_inference/articles", ADA).await, 200);
    site.judge.is_away.store(true, Ordering::Relaxed);
    tokio::time::advance(Duration::from_mins(1)).await;
    assert_eq!(infer(ADA).await, 400, "its time is over");
    assert_eq!(site.status(Method::GET, "/_inference/articles", ADA).await, 503, "no inference");
    assert_eq!(site.status(Method::POST, "/_inference/legacy", ADA).await, 503, "another right");
    assert_eq!(infer("Bearer valid-eve").await, 503, "somebody else");
    tokio::time::advance(Duration::from_secs(299)).await;
    assert_eq!(infer(ADA).await, 400);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(infer(ADA).await, 503, "the tolerance ends");
    site.judge.is_away.store(false, Ordering::Relaxed);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(infer(ADA).await, 400);

    let strict = Site::new(&["--auth-outage-tolerance", "0s"]);
    assert_eq!(strict.status(Method::POST, "/_inference/articles", ADA).await, 400);
    strict.judge.is_away.store(true, Ordering::Relaxed);
    tokio::time::advance(Duration::from_mins(1)).await;
    assert_eq!(strict.status(Method::POST, "/_inference/articles", ADA).await, 503);
}

/// The API server is back with a "no": that is no outage.
#[tokio::test(start_paused = true)]
async fn a_right_that_is_withdrawn_is_not_outlived() {
    let site = Site::new(&[]);
    assert_eq!(site.status(Method::POST, "/_inference/articles", ADA).await, 400);
    site.judge.is_strict.store(true, Ordering::Relaxed);
    tokio::time::advance(Duration::from_mins(1)).await;
    assert_eq!(site.status(Method::POST, "/_inference/articles", ADA).await, 403);
}

/// A real API server does so for seconds: it answers reviews before it has read any role.
#[tokio::test(start_paused = true)]
async fn an_api_server_that_has_just_started_is_not_believed_when_it_refuses() {
    let site = Site::new(&[]);
    let infer = async || site.status(Method::POST, "/_inference/articles", ADA).await;
    assert_eq!(infer().await, 400);
    site.judge.is_away.store(true, Ordering::Relaxed);
    tokio::time::advance(Duration::from_mins(1)).await;
    assert_eq!(infer().await, 400);
    site.judge.is_away.store(false, Ordering::Relaxed);
    site.judge.is_starting.store(true, Ordering::Relaxed);
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(infer().await, 400);
    }
    assert_eq!(site.status(Method::GET, "/_inference/articles", ADA).await, 503, "nor is somebody let in");
    // It is ready, and the right was withdrawn meanwhile.
    site.judge.is_starting.store(false, Ordering::Relaxed);
    site.judge.is_strict.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        infer().await;
    }
    assert_eq!(infer().await, 403);
}

/// A token says itself when it ends, whoever is away.
#[tokio::test(start_paused = true)]
async fn no_token_outlives_its_own_end() {
    let site = Site::new(&[]);
    let end = clock::now().as_second() + 1;
    let payload = URL_SAFE_NO_PAD.encode(format!(r#"{{"exp":{end}}}"#));
    let token = format!("Bearer e30.{payload}.valid-ada");
    assert_eq!(site.status(Method::POST, "/_inference/articles", &token).await, 400);
    site.judge.is_away.store(true, Ordering::Relaxed);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(site.status(Method::POST, "/_inference/articles", &token).await, 503);
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_does_not_answer_is_not_waited_for_long() {
    let site = Site {
        harness: Harness::with(&["--auth", "kubernetes"], |_| std::future::pending()),
        judge: Arc::default(),
    };
    let began = tokio::time::Instant::now();
    assert_eq!(site.status(Method::GET, "/_inference/articles", ADA).await, 503);
    assert_eq!(began.elapsed().as_secs(), 5);
}

/// Who is to be answered within a time means all of it, and a gateway that stops waits no longer than for the longest.
#[tokio::test(start_paused = true)]
async fn the_check_of_credentials_is_part_of_a_requests_time() {
    let judge = Arc::<Judge>::default();
    let answers = Arc::clone(&judge);
    let harness = Harness::with(&["--auth", "kubernetes"], move |request| {
        let judge = Arc::clone(&answers);
        async move {
            tokio::time::sleep(Duration::from_secs(3)).await;
            judge.answer(request).await
        }
    });
    let began = tokio::time::Instant::now();
    let request = Request::post("/_inference/articles?timeout=8s").header(AUTHORIZATION, ADA);
    let request = request.header("content-type", "application/json").body(Body::from(r#"{"input":"a"}"#));
    let (status, _, _) = harness.send(request.unwrap()).await;
    assert_eq!((status.as_u16(), began.elapsed().as_secs()), (408, 8), "two reviews of 3 s, and 2 s in line");
}
