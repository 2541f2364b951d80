use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn enter(
    queue: &mut Queue<u32>,
    class: Class,
    texts: usize,
    claim: Claim,
    payload: u32,
) -> Result<Seat, Full> {
    let seat = queue.seat(class);
    let deadline = Instant::now() + Duration::from_mins(1);
    queue.enter(Piece { seat, texts, deadline, payload }, claim).map(|()| seat)
}

fn take(queue: &mut Queue<u32>) -> Option<u32> {
    queue.take(Instant::now(), Room::Any).map(|piece| piece.payload)
}

#[test]
fn searches_go_first() {
    let mut queue = Queue::new(10);
    enter(&mut queue, Class::Ingest, 1, Claim::IfRoom, 1).unwrap();
    enter(&mut queue, Class::Search, 1, Claim::IfRoom, 2).unwrap();
    assert_eq!([take(&mut queue), take(&mut queue), take(&mut queue)], [Some(2), Some(1), None]);
}

/// An index that never gets its documents while people search is as broken as a slow search.
#[test]
fn documents_have_their_turn_among_searches_whatever_slots_are_free() {
    for rooms in [[Room::Any, Room::Any], [Room::SearchOnly, Room::Any]] {
        let mut queue = Queue::new(1000);
        enter(&mut queue, Class::Ingest, 1, Claim::IfRoom, 1).unwrap();
        for turn in 0..=SEARCHES_IN_A_ROW {
            enter(&mut queue, Class::Search, 1, Claim::IfRoom, 2).unwrap();
            let room = rooms[usize::from(turn == SEARCHES_IN_A_ROW)];
            let taken = queue.take(Instant::now(), room).unwrap().payload;
            assert_eq!(taken, if turn == SEARCHES_IN_A_ROW { 1 } else { 2 });
        }
    }
    let mut queue = Queue::new(1000);
    for _ in 0..=SEARCHES_IN_A_ROW {
        enter(&mut queue, Class::Search, 1, Claim::IfRoom, 2).unwrap();
        queue.take(Instant::now(), Room::SearchOnly).unwrap();
    }
    enter(&mut queue, Class::Ingest, 1, Claim::IfRoom, 1).unwrap();
    enter(&mut queue, Class::Search, 1, Claim::IfRoom, 2).unwrap();
    assert!(queue.take(Instant::now(), Room::SearchOnly).is_none(), "the slot is left to run dry");
}

#[test]
fn a_search_passes_documents_that_wait_but_not_for_ever() {
    let mut queue = Queue::new(1);
    assert!(queue.pass(Class::Ingest) && queue.pass(Class::Search));
    enter(&mut queue, Class::Ingest, 1, Claim::IfRoom, 1).unwrap();
    assert!(!queue.pass(Class::Ingest));
    for _ in 0..SEARCHES_IN_A_ROW {
        assert!(queue.pass(Class::Search));
    }
    assert!(!queue.pass(Class::Search));
    assert_eq!(take(&mut queue), Some(1));
    enter(&mut queue, Class::Search, 1, Claim::IfRoom, 2).unwrap();
    assert!(!queue.pass(Class::Search));
}

#[test]
fn a_slot_for_searches_takes_no_documents() {
    let mut queue = Queue::new(10);
    enter(&mut queue, Class::Ingest, 1, Claim::IfRoom, 1).unwrap();
    assert!(queue.take(Instant::now(), Room::SearchOnly).is_none());
    assert_eq!(queue.len(), 1);
}

#[test]
fn what_does_not_fit_is_refused_and_what_was_admitted_is_not() {
    let mut queue = Queue::new(10);
    enter(&mut queue, Class::Ingest, 8, Claim::IfRoom, 1).unwrap();
    assert_eq!(enter(&mut queue, Class::Ingest, 3, Claim::IfRoom, 2), Err(Full));
    assert!(enter(&mut queue, Class::Ingest, 2, Claim::IfRoom, 3).is_ok());
    assert!(
        enter(&mut queue, Class::Search, 8, Claim::IfRoom, 5).is_ok(),
        "documents take no search's place"
    );
    assert_eq!(enter(&mut queue, Class::Search, 3, Claim::IfRoom, 6), Err(Full));
    assert!(enter(&mut queue, Class::Ingest, 9, Claim::Kept, 4).is_ok());
    let mut queue = Queue::new(2);
    assert!(enter(&mut queue, Class::Ingest, 9, Claim::IfRoom, 1).is_ok(), "alone, or it never runs");
}

#[test]
fn a_large_request_waits_outside_for_room_and_small_ones_do_not_pass_it() {
    let mut queue = Queue::new(10);
    let first = enter(&mut queue, Class::Ingest, 8, Claim::IfRoom, 1).unwrap();
    let large = enter(&mut queue, Class::Ingest, 5, Claim::WhenRoom, 2).unwrap();
    assert_eq!(enter(&mut queue, Class::Ingest, 1, Claim::IfRoom, 3), Err(Full));
    assert_eq!(queue.texts(), 8);
    assert_eq!(queue.leave(first), Left::Line);
    assert_eq!(queue.texts(), 5);
    assert_eq!(queue.leave(large), Left::Line);
    assert_eq!(queue.leave(large), Left::Nowhere);
    enter(&mut queue, Class::Ingest, 8, Claim::IfRoom, 1).unwrap();
    let large = enter(&mut queue, Class::Ingest, 5, Claim::WhenRoom, 2).unwrap();
    assert_eq!(queue.leave(large), Left::Outside);
    assert_eq!(queue.texts(), 8);
}

#[test]
fn a_piece_that_comes_back_is_the_next() {
    let mut queue = Queue::new(10);
    enter(&mut queue, Class::Ingest, 1, Claim::IfRoom, 1).unwrap();
    enter(&mut queue, Class::Ingest, 1, Claim::IfRoom, 2).unwrap();
    let first = queue.take(Instant::now(), Room::Any).unwrap();
    queue.enter(first, Claim::Kept).unwrap();
    assert_eq!([take(&mut queue), take(&mut queue)], [Some(1), Some(2)]);
}

#[test]
fn what_is_late_is_not_handed_out() {
    let mut queue = Queue::new(10);
    let now = Instant::now();
    for (payload, deadline) in [(1, now), (2, now + Duration::from_secs(1))] {
        let seat = queue.seat(Class::Ingest);
        queue.enter(Piece { seat, texts: 1, deadline, payload }, Claim::IfRoom).unwrap();
    }
    assert_eq!(queue.take(now, Room::Any).map(|piece| piece.payload), Some(2));
    assert!(queue.is_empty() && queue.texts() == 0);
}

#[derive(Clone, Debug)]
enum Step {
    Enter { is_search: bool, texts: usize, claim: u8 },
    Leave(usize),
    Take { is_for_searches: bool },
    ComeBack,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (any::<bool>(), 1_usize..12, 0_u8..3)
            .prop_map(|(is_search, texts, claim)| Step::Enter { is_search, texts, claim }),
        1 => any::<prop::sample::Index>().prop_map(|index| Step::Leave(index.index(1000))),
        3 => any::<bool>().prop_map(|is_for_searches| Step::Take { is_for_searches }),
        1 => Just(Step::ComeBack),
    ]
}

proptest! {
    /// Nothing is lost, nothing is handed out twice, and the count of texts is true at every moment.
    #[test]
    fn every_piece_leaves_once(steps in proptest::collection::vec(step(), 0..120)) {
        let mut queue = Queue::new(20);
        let mut present: Vec<(Seat, usize)> = Vec::new();
        let mut taken = None;
        let now = Instant::now();
        let deadline = now + Duration::from_mins(1);
        for step in steps {
            match step {
                Step::Enter { is_search, texts, claim } => {
                    let seat = queue.seat(if is_search { Class::Search } else { Class::Ingest });
                    let claim = [Claim::IfRoom, Claim::WhenRoom, Claim::Kept][usize::from(claim)];
                    let entered = queue.enter(Piece { seat, texts, deadline, payload: seat }, claim);
                    if entered.is_ok() {
                        present.push((seat, texts));
                    } else {
                        prop_assert_eq!(claim, Claim::IfRoom);
                        prop_assert!(queue.texts() > 0);
                    }
                }
                Step::Leave(index) if !present.is_empty() => {
                    let (seat, _) = present.remove(index % present.len());
                    prop_assert_ne!(queue.leave(seat), Left::Nowhere);
                    prop_assert_eq!(queue.leave(seat), Left::Nowhere);
                }
                Step::Leave(_) => {}
                Step::Take { is_for_searches } => {
                    let room = if is_for_searches { Room::SearchOnly } else { Room::Any };
                    if let Some(piece) = queue.take(now, room) {
                        prop_assert!(room == Room::Any || piece.seat.class() == Class::Search);
                        let known = present.iter().position(|(seat, _)| *seat == piece.payload);
                        present.remove(known.expect("a piece that entered and did not leave"));
                        taken = Some(piece);
                    } else {
                        prop_assert!(room == Room::SearchOnly || queue.is_empty());
                    }
                }
                Step::ComeBack => if let Some(piece) = taken.take() {
                    present.push((piece.seat, piece.texts));
                    queue.enter(piece, Claim::Kept).unwrap();
                }
            }
            let outside: usize = queue.outside.values().map(|piece| piece.texts).sum();
            let all: usize = present.iter().map(|(_, texts)| texts).sum();
            prop_assert_eq!(queue.texts() + outside, all);
            prop_assert_eq!(queue.len(), present.len());
        }
        let left: BTreeSet<_> = queue.drain().map(|piece| piece.seat).collect();
        prop_assert_eq!(left, present.into_iter().map(|(seat, _)| seat).collect());
        prop_assert!(queue.is_empty() && queue.texts() == 0);
    }

    /// Whoever waits is passed by each other request of its class once at most, and documents by so many
    /// searches.
    #[test]
    fn requests_take_turns(pieces in proptest::collection::vec((1_usize..30, any::<bool>()), 1..20)) {
        let mut queue = Queue::new(usize::MAX);
        let class = |is_search| if is_search { Class::Search } else { Class::Ingest };
        for (request, (_, is_search)) in (0_u32..).zip(&pieces) {
            enter(&mut queue, class(*is_search), 1, Claim::IfRoom, request).unwrap();
        }
        let mut left: Vec<usize> = pieces.iter().map(|(count, _)| *count).collect();
        let mut turns: [VecDeque<u32>; 2] = Default::default();
        let mut searches_in_a_row = 0;
        while let Some(request) = take(&mut queue) {
            let index = request as usize;
            let is_search = pieces[index].1;
            let waits = |is_search: bool| (0..left.len()).any(|other| pieces[other].1 == is_search && left[other] > 0);
            if is_search {
                searches_in_a_row += 1;
                prop_assert!(searches_in_a_row <= SEARCHES_IN_A_ROW || !waits(false));
            } else {
                prop_assert!(searches_in_a_row >= SEARCHES_IN_A_ROW || !waits(true));
                searches_in_a_row = 0;
            }
            left[index] -= 1;
            let others = (0..left.len()).filter(|other| pieces[*other].1 == is_search && left[*other] > 0);
            let others = others.count();
            let seen = &mut turns[usize::from(is_search)];
            let passed = seen.iter().rev().take_while(|other| **other != request);
            let passed: Vec<_> = passed.copied().collect();
            prop_assert_eq!(passed.iter().collect::<BTreeSet<_>>().len(), passed.len());
            seen.push_back(request);
            if left[index] > 0 {
                prop_assert!(others >= 1);
                enter(&mut queue, class(is_search), 1, Claim::Kept, request).unwrap();
            }
        }
        prop_assert!(left.iter().all(|left| *left == 0));
    }
}
