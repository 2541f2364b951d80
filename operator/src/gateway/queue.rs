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

impl Seat {
    pub(crate) fn class(self) -> Class {
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
mod tests;
