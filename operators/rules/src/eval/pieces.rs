//! Computed text that in most rows is the text of a column, or a part of one: nothing is copied, and what is asked about
//! it is asked once per value of that column.

use super::bits::Bits;
use super::made::Made;
use super::text::{Memo, TextColumn};
use std::borrow::Cow;

/// What of a column's text is the value; none where that is no value.
pub(crate) type Cut = for<'t> fn(&'t [u8]) -> Option<Cow<'t, [u8]>>;

/// Rows whose value has one origin.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) rows: Bits,
    pub(crate) from: Origin,
}

#[derive(Debug)]
pub(crate) enum Origin {
    /// The text of a column; each of the rows has one.
    Column(TextColumn),
    /// What is cut out of it.
    Cut(TextColumn, Cut),
    Constant(&'static [u8]),
}

/// A column in pieces. No two pieces have a row in common.
#[derive(Debug)]
pub(crate) struct Pieces<'a> {
    pieces: Vec<Piece>,
    /// The values of all other rows; those have none where there is nobody to make them.
    rest: Option<Made<'a>>,
    /// The rows of the pieces.
    covered: Option<Bits>,
}

impl<'a> Pieces<'a> {
    pub(crate) fn new(pieces: Vec<Piece>, rest: Option<Made<'a>>) -> Self {
        let covered = pieces.iter().map(|piece| piece.rows.clone()).reduce(|mut all, rows| {
            all.or(&rows);
            all
        });
        Self { pieces, rest, covered }
    }

    /// Makes sure that the values of `rows` are there.
    pub(crate) fn ensure(&mut self, rows: &Bits) {
        let Some(rest) = &mut self.rest else { return };
        match &self.covered {
            Some(covered) if rows.is_subset(covered) => {}
            Some(covered) => rest.ensure(&rows.difference(covered)),
            None => rest.ensure(rows),
        }
    }

    /// The value of a row, after [`Pieces::ensure`].
    pub(crate) fn get(&self, row: usize) -> Option<Cow<'_, [u8]>> {
        match self.pieces.iter().find(|piece| piece.rows.contains(row)) {
            Some(Piece { from: Origin::Column(column), .. }) => column.view().get(row).map(Cow::Borrowed),
            Some(Piece { from: Origin::Cut(column, cut), .. }) => column.view().get(row).and_then(cut),
            Some(Piece { from: Origin::Constant(text), .. }) => Some(Cow::Borrowed(text)),
            None => self.rest.as_ref()?.view().get(row).map(Cow::Borrowed),
        }
    }

    /// Keeps the rows that have a text which passes, after [`Pieces::ensure`].
    pub(crate) fn retain(&self, rows: &mut Bits, memo: &mut Memo, passes: impl Fn(&[u8]) -> bool) {
        let mut kept = Bits::none(rows.rows());
        let mut found = Bits::none(rows.rows());
        for Piece { rows: of_piece, from } in &self.pieces {
            if !found.set_to_both(rows, of_piece) {
                continue;
            }
            rows.minus(of_piece);
            match from {
                Origin::Column(column) => column.view().retain(&mut found, memo, &passes),
                Origin::Cut(column, cut) => {
                    column.view().retain(&mut found, memo, |text| cut(text).is_some_and(|text| passes(&text)));
                }
                Origin::Constant(text) if passes(text) => {}
                Origin::Constant(_) => continue,
            }
            kept.or(&found);
        }
        if let Some(rest) = self.rest.as_ref().filter(|_| !rows.is_empty()) {
            rest.view().retain(rows, memo, &passes);
            kept.or(rows);
        }
        *rows = kept;
    }
}
