//! Who is next for a free allocation. PURE: a plain structure that is told the time; `line.rs` moves the
//! messages.
//!
//! Of each request one piece stands in line at a time, and its next one joins at the end once that piece was
//! handed out. So requests of one class take turns, however many texts each of them holds.

use std::collections::BTreeMap;
use std::time::Instant;

use lexiscale_wire::InputType;

/// After so many searches in a row, one piece of documents has its turn.
const SEARCHES_IN_A_ROW: u32 = 16;

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Class {
    /// Somebody waits for a query's result.
    Search,
    /// Everything else.
    Ingest,
}

impl From<Option<InputType>> for Class {
    fn from(input_type: Option<InputType>) -> Self {
        match input_type {
            Some(InputType::Search) => Self::Search,
            Some(InputType::Ingest) | None => Self::Ingest,
        }
    }
}

/// A place in line. A piece keeps its seat when it is handed out: should the allocation fail, the piece comes
/// back to where it was, which is the head.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Seat {
    class: Class,
    number: u64,
}

#[cfg(test)]
impl Seat {
    fn class(self) -> Class {
        self.class
    }
}

/// What a piece may ask of a queue that is full.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Claim {
    /// To be refused at once.
    IfRoom,
    /// To wait for room: a request that holds more texts than the queue is admitted piece by piece.
    WhenRoom,
    /// To come in: its request was admitted before.
    Kept,
}

/// For whom an allocation has a slot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Room {
    Any,
    SearchOnly,
}

/// A piece that waits.
#[derive(Debug)]
pub(crate) struct Piece<T> {
    pub(crate) seat: Seat,
    pub(crate) texts: usize,
    pub(crate) deadline: Instant,
    pub(crate) payload: T,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Full;

/// Where a piece stood that left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Left {
    Line,
    /// It never got a place.
    Outside,
    /// It was not here any more.
    Nowhere,
}

#[derive(Debug)]
pub(crate) struct Queue<T> {
    /// Texts of each class that may stand in line: however many documents wait, a search finds its place.
    capacity: usize,
    search_texts: usize,
    ingest_texts: usize,
    search: BTreeMap<Seat, Piece<T>>,
    ingest: BTreeMap<Seat, Piece<T>>,
    /// First pieces of large requests that found no room.
    outside: BTreeMap<u64, Piece<T>>,
    next_number: u64,
    searches_in_a_row: u32,
}

impl<T> Queue<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            search_texts: 0,
            ingest_texts: 0,
            search: BTreeMap::new(),
            ingest: BTreeMap::new(),
            outside: BTreeMap::new(),
            next_number: 0,
            searches_in_a_row: 0,
        }
    }

    /// Texts in line.
    pub(crate) fn texts(&self) -> usize {
        self.search_texts + self.ingest_texts
    }

    /// Pieces, those outside included; of each request there is one at most, but for those that came back.
    pub(crate) fn len(&self) -> usize {
        self.search.len() + self.ingest.len() + self.outside.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a piece that comes now is the next for a free slot, without standing in line.
    pub(crate) fn pass(&mut self, class: Class) -> bool {
        let is_next =
            class == Class::Search && self.search.is_empty() && self.searches_in_a_row < SEARCHES_IN_A_ROW;
        if is_next && !self.ingest.is_empty() {
            self.searches_in_a_row += 1;
        }
        is_next || self.is_empty()
    }

    /// The last seat of a class.
    pub(crate) fn seat(&mut self, class: Class) -> Seat {
        self.next_number += 1;
        Seat { class, number: self.next_number }
    }

    pub(crate) fn enter(&mut self, piece: Piece<T>, claim: Claim) -> Result<(), Full> {
        match claim {
            Claim::Kept => {}
            Claim::IfRoom | Claim::WhenRoom if self.may_line_up(&piece) => {}
            Claim::IfRoom => return Err(Full),
            Claim::WhenRoom => {
                self.outside.insert(piece.seat.number, piece);
                return Ok(());
            }
        }
        self.line_up(piece);
        Ok(())
    }

    /// Takes out a piece that nobody waits for any more.
    pub(crate) fn leave(&mut self, seat: Seat) -> Left {
        if let Some(piece) = self.line(seat.class).remove(&seat) {
            *self.count(seat.class) -= piece.texts;
            self.let_in();
            return Left::Line;
        }
        match self.outside.remove(&seat.number) {
            Some(_) => {
                self.let_in();
                Left::Outside
            }
            None => Left::Nowhere,
        }
    }

    /// The piece whose turn it is; what is late is thrown away.
    pub(crate) fn take(&mut self, now: Instant, room: Room) -> Option<Piece<T>> {
        loop {
            let class = self.turn(room)?;
            let (_, piece) = self.line(class).pop_first()?;
            *self.count(class) -= piece.texts;
            self.let_in();
            if piece.deadline > now {
                self.searches_in_a_row = match class {
                    Class::Search => self.searches_in_a_row.saturating_add(1),
                    Class::Ingest => 0,
                };
                return Some(piece);
            }
        }
    }

    /// Everything that waits, when nobody will serve it.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Piece<T>> {
        (self.search_texts, self.ingest_texts) = (0, 0);
        let lines = [std::mem::take(&mut self.search), std::mem::take(&mut self.ingest)];
        let outside = std::mem::take(&mut self.outside);
        lines.into_iter().flat_map(BTreeMap::into_values).chain(outside.into_values())
    }

    fn turn(&self, room: Room) -> Option<Class> {
        let is_ingest_due = self.search.is_empty() || self.searches_in_a_row >= SEARCHES_IN_A_ROW;
        match room {
            _ if self.ingest.is_empty() => (!self.search.is_empty()).then_some(Class::Search),
            Room::Any if is_ingest_due => Some(Class::Ingest),
            // Searches leave a slot that only they may have unused for once, or the others would never be
            // free for documents.
            Room::SearchOnly if is_ingest_due => None,
            Room::Any | Room::SearchOnly => Some(Class::Search),
        }
    }

    fn line(&mut self, class: Class) -> &mut BTreeMap<Seat, Piece<T>> {
        match class {
            Class::Search => &mut self.search,
            Class::Ingest => &mut self.ingest,
        }
    }

    fn line_up(&mut self, piece: Piece<T>) {
        *self.count(piece.seat.class) += piece.texts;
        self.line(piece.seat.class).insert(piece.seat, piece);
    }

    fn count(&mut self, class: Class) -> &mut usize {
        match class {
            Class::Search => &mut self.search_texts,
            Class::Ingest => &mut self.ingest_texts,
        }
    }

    /// Documents do not overtake those that wait outside; searches do.
    fn may_line_up(&self, piece: &Piece<T>) -> bool {
        self.has_room(piece) && (piece.seat.class == Class::Search || self.outside.is_empty())
    }

    /// A piece that is larger than the whole queue has room when it is alone.
    fn has_room(&self, piece: &Piece<T>) -> bool {
        let texts = match piece.seat.class {
            Class::Search => self.search_texts,
            Class::Ingest => self.ingest_texts,
        };
        texts == 0 || texts.saturating_add(piece.texts) <= self.capacity
    }

    fn let_in(&mut self) {
        while let Some((number, piece)) = self.outside.pop_first() {
            if !self.has_room(&piece) {
                self.outside.insert(number, piece);
                return;
            }
            self.line_up(piece);
        }
    }
}

#[cfg(test)]
mod tests {
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
}
