//! The rows of each event type.

use super::bits::Bits;
use super::column::Column;
use super::text::TextView;
use crate::fields::EventSet;
use crate::fields::event_type::{EVENT_TYPES, EventType};

/// Which rows are of which event type.
#[derive(Debug)]
pub(crate) struct Types {
    /// The types that occur, by index.
    present: Vec<(usize, Bits)>,
    rows: usize,
}

impl Types {
    /// Reads the column of event types of a batch with so many rows.
    pub(crate) fn new(column: &Column, rows: usize) -> Self {
        let mut types = Self { present: Vec::new(), rows };
        let Column::Text(column) = column else { return types };
        let view = column.view();
        // Where the rows of each type stand in `present`.
        let mut place_of = vec![usize::MAX; EventType::COUNT];
        let mut reader = Reader::new(view);
        for row in (0..rows).filter(|row| view.has(*row)) {
            let index = reader.index(row);
            let place = &mut place_of[index];
            if *place == usize::MAX {
                *place = types.present.len();
                types.present.push((index, Bits::none(rows)));
            }
            types.present[*place].1.insert(row);
        }
        types
    }

    /// The rows whose type is in a set.
    pub(crate) fn rows_of(&self, events: &EventSet) -> Bits {
        self.union(|index| events.contains_index(index))
    }

    /// The rows whose type has a name that is wanted.
    pub(crate) fn rows_named(&self, is_wanted: impl Fn(&[u8]) -> bool) -> Bits {
        self.union(|index| EVENT_TYPES.get(index).is_some_and(|name| is_wanted(name.as_bytes())))
    }

    /// All rows, with a type or without.
    pub(crate) fn all(&self) -> Bits {
        Bits::all(self.rows)
    }

    /// The rows that have a type.
    pub(crate) fn typed(&self) -> Bits {
        self.union(|_| true)
    }

    fn union(&self, is_in: impl Fn(usize) -> bool) -> Bits {
        let mut all = Bits::none(self.rows);
        self.present.iter().filter(|(index, _)| is_in(*index)).for_each(|(_, rows)| all.or(rows));
        all
    }
}

/// Event types of rows, each name looked up once.
struct Reader<'a> {
    view: TextView<'a>,
    /// By code.
    of_code: Vec<u16>,
    /// By a cheap hash of a name without code.
    of_hash: [u16; 256],
}

const UNKNOWN: u16 = u16::MAX;

impl<'a> Reader<'a> {
    fn new(view: TextView<'a>) -> Self {
        Self { view, of_code: vec![UNKNOWN; view.codes()], of_hash: [UNKNOWN; 256] }
    }

    fn index(&mut self, row: usize) -> usize {
        let name = || self.view.get(row).unwrap_or_default();
        if let Some(code) = self.view.code(row) {
            let known = &mut self.of_code[code];
            if *known == UNKNOWN {
                *known = EventType::of(name()).index() as u16;
            }
            return *known as usize;
        }
        let name = name();
        let (first, last) = (name.first().copied().unwrap_or_default(), name.last().copied().unwrap_or_default());
        let middle = name.get(name.len() / 2).copied().unwrap_or_default();
        let hash = first.wrapping_mul(7) ^ last.wrapping_mul(31) ^ middle.wrapping_mul(3) ^ name.len() as u8;
        let known = &mut self.of_hash[hash as usize];
        if EVENT_TYPES.get(*known as usize).is_none_or(|known| known.as_bytes() != name) {
            *known = EventType::of(name).index() as u16;
        }
        *known as usize
    }
}
