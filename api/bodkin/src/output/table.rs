//! Aligned columns: numbers to the right, the rest to the left.
//!
//! Rows are held until a page is full, because a column is as wide as its widest value; a further page continues the
//! table with columns at least as wide. Worst case in memory: one page.
//!
//! On a terminal a table is made to fit: wide columns are cut, and what still has no room is named below the table.

use super::Console;
use super::text::{prefix, visible, width};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use bodkin_http::SqlStats;
use bodkin_http::encode::{Column, Encoder};

const PAGE_ROWS_MAX: usize = 10_000;
const PAGE_BYTES_MAX: usize = 16 << 20;
/// Columns are not cut below this width.
const CUT_WIDTH_MIN: usize = 12;
const GAP: &str = "  ";
const ELLIPSIS: char = '\u{2026}';
const BOLD: &str = "\u{1b}[1m";
const DIM: &str = "\u{1b}[2m";
const RESET: &str = "\u{1b}[0m";

/// Writes a table.
pub(super) struct TableEncoder {
    columns: Vec<ColumnLayout>,
    /// Cells of the page, row by row.
    cells: Vec<Cell>,
    /// Their text, one after the other.
    text: String,
    terminal_width: Option<usize>,
    is_colored: bool,
    has_header: bool,
    /// Columns that are shown: all, or those that the terminal has room for.
    shown: usize,
}

struct ColumnLayout {
    name: String,
    is_number: bool,
    width: usize,
}

struct Cell {
    text_end: usize,
    width: usize,
    is_null: bool,
}

impl TableEncoder {
    pub(super) fn new(schema: &SchemaRef, console: &Console) -> Self {
        let column = |field: &arrow::datatypes::FieldRef| {
            let name = visible(field.name()).into_owned();
            ColumnLayout { width: width(&name), name, is_number: is_number(field.data_type()) }
        };
        let columns: Vec<ColumnLayout> = schema.fields().iter().map(column).collect();
        Self {
            shown: columns.len(),
            columns,
            cells: Vec::new(),
            text: String::new(),
            terminal_width: console.out_width,
            is_colored: console.is_out_colored,
            has_header: false,
        }
    }

    fn push(&mut self, cell: &[u8], is_null: bool, column: usize) {
        let text = String::from_utf8_lossy(cell);
        let text = if is_null { "NULL".into() } else { visible(&text) };
        let width = width(&text);
        self.text.push_str(&text);
        self.cells.push(Cell { text_end: self.text.len(), width, is_null });
        let layout = &mut self.columns[column];
        layout.width = layout.width.max(width);
    }

    fn write_page(&mut self, out: &mut Vec<u8>) {
        self.fit();
        if !self.has_header {
            self.has_header = true;
            self.write_header(out);
        }
        let mut text_start = 0;
        for row in self.cells.chunks(self.columns.len().max(1)) {
            for (i, (cell, column)) in row.iter().zip(&self.columns).enumerate() {
                let text = &self.text[text_start..cell.text_end];
                text_start = cell.text_end;
                if i < self.shown {
                    let style = if cell.is_null && self.is_colored { DIM } else { "" };
                    write_cell(text, cell.width, column, style, (i, self.shown), out);
                }
            }
            out.push(b'\n');
        }
        self.cells.clear();
        self.text.clear();
    }

    fn write_header(&self, out: &mut Vec<u8>) {
        let style = if self.is_colored { BOLD } else { "" };
        for (i, column) in self.columns.iter().take(self.shown).enumerate() {
            write_cell(&column.name, width(&column.name), column, style, (i, self.shown), out);
        }
        out.push(b'\n');
        for (i, column) in self.columns.iter().take(self.shown).enumerate() {
            out.extend_from_slice(if i == 0 { "" } else { GAP }.as_bytes());
            out.extend(std::iter::repeat_n(b'-', column.width));
        }
        out.push(b'\n');
    }

    /// Cuts the widest columns to one width at which all fit; where that is too narrow to read, drops the last ones.
    fn fit(&mut self) {
        let Some(terminal) = self.terminal_width else { return };
        let room = |columns: usize| terminal.saturating_sub(GAP.len() * columns.saturating_sub(1));
        let total =
            |columns: &[ColumnLayout], cut: usize| columns.iter().map(|column| column.width.min(cut)).sum::<usize>();
        while self.shown > 1 && total(&self.columns[..self.shown], CUT_WIDTH_MIN) > room(self.shown) {
            self.shown -= 1;
        }
        let columns = &mut self.columns[..self.shown];
        let mut cut = columns.iter().map(|column| column.width).max().unwrap_or(0);
        while cut > CUT_WIDTH_MIN && total(columns, cut) > room(columns.len()) {
            cut -= 1;
        }
        for column in columns {
            column.width = column.width.min(cut);
        }
    }
}

impl Encoder for TableEncoder {
    fn begin(&mut self, _out: &mut Vec<u8>) -> Result<(), ArrowError> {
        Ok(())
    }

    fn batch(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        let columns = Column::all(batch)?;
        let mut cell = Vec::new();
        for row in 0..batch.num_rows() {
            for (i, column) in columns.iter().enumerate() {
                cell.clear();
                column.write_text(row, &mut cell);
                self.push(&cell, column.is_null(row), i);
            }
            let rows = self.cells.len() / self.columns.len().max(1);
            if rows >= PAGE_ROWS_MAX || self.text.len() >= PAGE_BYTES_MAX {
                self.write_page(out);
            }
        }
        Ok(())
    }

    fn finish(&mut self, _stats: &SqlStats, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        if !self.has_header || !self.cells.is_empty() {
            self.write_page(out);
        }
        let hidden = &self.columns[self.shown..];
        if !hidden.is_empty() {
            let names: Vec<&str> = hidden.iter().map(|column| column.name.as_str()).collect();
            out.extend_from_slice(format!("not shown: {}\n", names.join(", ")).as_bytes());
        }
        Ok(())
    }
}

/// Writes one cell in its column, cut where it is wider. `place` is its index and the number of shown columns: the last
/// one has no blanks behind it.
fn write_cell(text: &str, width: usize, column: &ColumnLayout, style: &str, place: (usize, usize), out: &mut Vec<u8>) {
    let (index, columns) = place;
    out.extend_from_slice(if index == 0 { "" } else { GAP }.as_bytes());
    let is_cut = width > column.width;
    let (text, taken) = if is_cut { prefix(text, column.width.saturating_sub(1)) } else { (text, width) };
    let padding = column.width.saturating_sub(taken + usize::from(is_cut));
    let pad = |out: &mut Vec<u8>| out.extend(std::iter::repeat_n(b' ', padding));
    if column.is_number {
        pad(out);
    }
    out.extend_from_slice(style.as_bytes());
    out.extend_from_slice(text.as_bytes());
    if is_cut {
        out.extend_from_slice(ELLIPSIS.encode_utf8(&mut [0; 4]).as_bytes());
    }
    out.extend_from_slice(if style.is_empty() { "" } else { RESET }.as_bytes());
    if !column.is_number && index + 1 < columns {
        pad(out);
    }
}

fn is_number(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_number(values),
        other => other.is_numeric(),
    }
}
