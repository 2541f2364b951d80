use std::net::SocketAddr;

use futures::FutureExt;

use super::*;
use crate::gateway::metrics::Metrics;

const PATIENCE: Duration = Duration::from_secs(30);

fn limits() -> Limits {
    Limits { queued_texts: 100, held: 5, slots: 2 }
}

fn pods(count: u8) -> Vec<Arc<Pod>> {
    (0..count)
        .map(|number| Arc::new(Pod::new(SocketAddr::from(([10, 0, 0, number], 8080)), Instant::now())))
        .collect()
}

fn line(pods: &[Arc<Pod>]) -> Arc<Line> {
    let metrics = Metrics::default().line(&crate::gateway::directory::EndpointKey::new("n", "e"));
    let line = Arc::new(Line::new(limits(), metrics, Instant::now()));
    line.follow(pods, Standing::Open, Instant::now());
    line
}

fn wish(class: Class, texts: usize) -> Wish {
    Wish { class, texts, deadline: Instant::now() + PATIENCE, claim: Claim::IfRoom, before: None }
}

fn ask(line: &Arc<Line>, wish: Wish) -> Turn {
    line.ask(wish, Instant::now()).unwrap()
}

fn slot(line: &Arc<Line>) -> Slot {
    match ask(line, wish(Class::Ingest, 1)) {
        Turn::Now(slot) => slot,
        Turn::Later(_) => panic!("no slot is free"),
    }
}

fn waiting(line: &Arc<Line>, wish: Wish) -> std::pin::Pin<Box<impl Future<Output = Result<Slot, Ended>>>> {
    let deadline = wish.deadline;
    match ask(line, wish) {
        Turn::Now(_) => panic!("a slot is free"),
        Turn::Later(mut waiting) => Box::pin(async move { waiting.slot(deadline).await }),
    }
}

#[tokio::test(start_paused = true)]
async fn an_allocation_has_as_many_pieces_as_it_has_slots() {
    let pods = pods(2);
    let line = line(&pods);
    let _busy: Vec<_> = (0..4).map(|_| slot(&line)).collect();
    assert_eq!([pods[0].pieces(), pods[1].pieces()], [2, 2]);
    assert!(matches!(ask(&line, wish(Class::Ingest, 1)), Turn::Later(_)));
}

#[tokio::test(start_paused = true)]
async fn a_freed_slot_goes_to_exactly_one_waiter_the_first() {
    let pods = pods(1);
    let line = line(&pods);
    let busy = [slot(&line), slot(&line)];
    let mut first = waiting(&line, wish(Class::Ingest, 1));
    let mut second = waiting(&line, wish(Class::Ingest, 1));
    assert!((&mut first).now_or_never().is_none());
    let [one, _other] = busy;
    one.answered(None, None, Instant::now());
    assert_eq!(line.waiting(), 1);
    assert!((&mut second).now_or_never().is_none());
    let granted = first.now_or_never().unwrap().unwrap();
    assert_eq!(pods[0].pieces(), 2);
    drop(granted);
    assert!(second.now_or_never().unwrap().is_ok());
    assert_eq!(pods[0].pieces(), 1);
}

/// Behind documents of a large request, a query would wait for a whole piece of them.
#[tokio::test(start_paused = true)]
async fn a_search_has_a_slot_when_documents_fill_all_others() {
    let line = line(&pods(1));
    let _busy = [slot(&line), slot(&line)];
    let _document = waiting(&line, wish(Class::Ingest, 10));
    let Turn::Now(search) = ask(&line, wish(Class::Search, 1)) else { panic!("it has to wait") };
    let mut second = waiting(&line, wish(Class::Search, 1));
    assert!((&mut second).now_or_never().is_none(), "one, and no more");
    drop(search);
    assert!(second.now_or_never().unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_becomes_ready_takes_as_many_as_it_has_slots_for() {
    let line = line(&[]);
    let mut all: Vec<_> = (0..5).map(|_| waiting(&line, wish(Class::Ingest, 1))).collect();
    line.follow(&pods(1), Standing::Open, Instant::now());
    assert_eq!(line.waiting(), 3);
    let _first = all.remove(0).now_or_never().unwrap().unwrap();
    let _second = all.remove(0).now_or_never().unwrap().unwrap();
    assert!(all.remove(0).now_or_never().is_none());
}

#[tokio::test(start_paused = true)]
async fn who_leaves_is_out_of_line_and_gives_back_what_it_was_granted() {
    let pods = pods(1);
    let line = line(&pods);
    let busy = [slot(&line), slot(&line)];
    let leaves = waiting(&line, wish(Class::Ingest, 1));
    drop(leaves);
    assert_eq!(line.waiting(), 0);
    let granted = waiting(&line, wish(Class::Ingest, 1));
    let next = waiting(&line, wish(Class::Ingest, 1));
    let [one, other] = busy;
    drop(one);
    assert_eq!((line.waiting(), pods[0].pieces()), (1, 2));
    drop(granted);
    assert_eq!((line.waiting(), pods[0].pieces()), (0, 2), "its slot went to the next");
    drop(next);
    drop(other);
    assert_eq!(pods[0].pieces(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_takes_a_piece_out() {
    let line = line(&pods(1));
    let _busy = [slot(&line), slot(&line)];
    let began = Instant::now();
    let late = waiting(&line, Wish { deadline: began + Duration::from_secs(3), ..wish(Class::Ingest, 1) });
    assert_eq!(late.await.unwrap_err(), Ended::Late);
    assert_eq!((line.waiting(), began.elapsed().as_secs()), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn a_full_line_refuses_and_says_when_to_come_again() {
    let line = line(&pods(1));
    for _ in 0..100 {
        let began = slot(&line);
        tokio::time::advance(Duration::from_millis(100)).await;
        began.answered(None, None, Instant::now());
    }
    let _busy = [slot(&line), slot(&line)];
    let _full = waiting(&line, wish(Class::Ingest, 100));
    let _search = match ask(&line, wish(Class::Search, 1)) {
        Turn::Now(slot) => slot,
        Turn::Later(_) => panic!("the slot for searches is free"),
    };
    let Err(Refusal::Full { limit: 100, retry_after }) = line.ask(wish(Class::Ingest, 1), Instant::now())
    else {
        panic!("the line is full of documents");
    };
    // However many documents wait, a search finds its place.
    let _next = waiting(&line, wish(Class::Search, 100));
    assert!(matches!(line.ask(wish(Class::Search, 1), Instant::now()), Err(Refusal::Full { .. })));
    assert!((9..=12).contains(&retry_after), "100 texts at ten a second: {retry_after}");
}

/// A request larger than the queue is no reason to refuse it, but that it never got a place is.
#[tokio::test(start_paused = true)]
async fn a_large_request_waits_for_room_and_is_refused_only_at_its_deadline() {
    let line = line(&pods(1));
    let busy = [slot(&line), slot(&line)];
    let _full = waiting(&line, wish(Class::Ingest, 100));
    let large = || Wish { claim: Claim::WhenRoom, ..wish(Class::Ingest, 10) };
    assert!(matches!(waiting(&line, large()).await.unwrap_err(), Ended::Refused(Refusal::Full { .. })));
    let patient = waiting(&line, large());
    drop(busy);
    assert!(patient.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn only_so_many_requests_are_held_for_a_first_allocation() {
    let line = line(&[]);
    let _held: Vec<_> = (0..5).map(|_| waiting(&line, wish(Class::Ingest, 1))).collect();
    let refused = line.ask(wish(Class::Ingest, 1), Instant::now()).unwrap_err();
    assert_eq!(refused, Refusal::TooManyHeld { limit: 5 });
    let kept = line.ask(Wish { claim: Claim::Kept, ..wish(Class::Ingest, 1) }, Instant::now());
    assert!(kept.is_ok(), "what was admitted stays");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_an_endpoint_that_stalled_or_is_gone() {
    let stalled = || Standing::Stalled { reason: "ModelNotFound".to_owned(), message: "m".to_owned() };
    let told = Refusal::Stalled { reason: "ModelNotFound".to_owned(), message: "m".to_owned() };
    for (standing, refusal) in [(stalled(), told), (Standing::Gone, Refusal::Gone)] {
        let line = line(&[]);
        let held = waiting(&line, wish(Class::Ingest, 1));
        line.follow(&[], standing, Instant::now());
        assert_eq!(held.await.unwrap_err(), Ended::Refused(refusal.clone()));
        assert_eq!(line.ask(wish(Class::Ingest, 1), Instant::now()).unwrap_err(), refusal);
    }
    let line = line(&[]);
    line.follow(&pods(1), stalled(), Instant::now());
    assert!(matches!(ask(&line, wish(Class::Ingest, 1)), Turn::Now(_)), "what still serves is used");
}

#[tokio::test(start_paused = true)]
async fn a_piece_that_a_pod_failed_is_the_next_to_be_tried_elsewhere_or_later() {
    let pods = pods(1);
    let line = line(&pods);
    let (failing, other) = (slot(&line), slot(&line));
    let mut behind = waiting(&line, wish(Class::Ingest, 1));
    let began = Instant::now();
    let before = failing.before();
    failing.failed(pod::FAILED, began);
    drop(other);
    let back = Wish { claim: Claim::Kept, before: Some(before), ..wish(Class::Ingest, 1) };
    let back = waiting(&line, back).await.unwrap();
    assert!(began.elapsed() >= pod::FAILED, "nobody else woke it");
    assert_eq!(back.before(), before);
    assert!((&mut behind).now_or_never().is_some(), "both slots are free again");
}

/// Requests by the thousand, some of which leave: every slot is given back, and never more are used than exist.
#[tokio::test(start_paused = true)]
async fn slots_are_never_lost() {
    let pods = pods(3);
    let line = line(&[]);
    let tasks: Vec<_> = (0..2000_u64)
        .map(|number| {
            let line = Arc::clone(&line);
            let pods = pods.clone();
            tokio::spawn(async move {
                let class = if number % 3 == 0 { Class::Search } else { Class::Ingest };
                let deadline = Instant::now() + Duration::from_millis(100 + number % 900);
                let wish = Wish { class, deadline, claim: Claim::Kept, before: None, texts: 1 };
                let work = async {
                    let slot = match ask(&line, wish) {
                        Turn::Now(slot) => slot,
                        Turn::Later(mut waiting) => waiting.slot(deadline).await?,
                    };
                    assert!(pods.iter().all(|pod| pod.pieces() <= 3));
                    tokio::time::sleep(Duration::from_millis(number % 7)).await;
                    if number % 11 == 0 {
                        slot.failed(Duration::from_millis(5), Instant::now());
                    } else {
                        slot.answered(Some(0), None, Instant::now());
                    }
                    Ok::<_, Ended>(())
                };
                // Some callers leave.
                let _ = tokio::time::timeout(Duration::from_millis(number % 400), work).await;
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    line.follow(&pods, Standing::Open, Instant::now());
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(line.waiting(), 0);
    assert!(pods.iter().all(|pod| pod.pieces() == 0));
}

#[tokio::test(start_paused = true)]
async fn pieces_are_counted_by_how_they_left_the_line_and_the_worker() {
    let (registry, metrics) = crate::gateway::metrics::registry();
    let metrics = metrics.line(&crate::gateway::directory::EndpointKey::new("n", "e"));
    let line = Arc::new(Line::new(limits(), metrics, Instant::now()));
    drop(waiting(&line, wish(Class::Ingest, 1)));
    assert_eq!(waiting(&line, wish(Class::Ingest, 1)).await.unwrap_err(), Ended::Late);
    let served = waiting(&line, wish(Class::Ingest, 1));
    line.follow(&pods(1), Standing::Open, Instant::now());
    served.await.unwrap().answered(None, None, Instant::now());
    drop(slot(&line));
    slot(&line).failed(pod::FAILED, Instant::now());
    let refused = waiting(&line, wish(Class::Ingest, 1));
    line.follow(&[], Standing::Gone, Instant::now());
    assert!(matches!(refused.await.unwrap_err(), Ended::Refused(Refusal::Gone)));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    // Of the three that were served, two had a slot at once.
    for (name, outcome, count) in [
        ("queue_wait", "Served", 3),
        ("queue_wait", "Cancelled", 1),
        ("queue_wait", "Late", 1),
        ("queue_wait", "Refused", 1),
        ("worker", "Answered", 1),
        ("worker", "Failed", 1),
        ("worker", "Ended", 1),
    ] {
        let labels = format!(r#"namespace="n",endpoint="e",outcome="{outcome}""#);
        let line = format!("lexiscale_gateway_{name}_seconds_count{{{labels}}} {count}\n");
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
}
