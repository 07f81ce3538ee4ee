//! A chart on a terminal: dots of Braille characters, two columns and four rows of them in each cell.

use super::answer::Series;
use crate::output::Console;
use std::fmt::Write;

const ROWS: usize = 14;
const WIDTH_DEFAULT: usize = 100;
const WIDTH_MIN: usize = 20;
/// Series that are drawn; the others are counted below.
const SERIES_MAX: usize = 12;
/// Colors of the series in turn, as terminals number them.
const COLORS: [u8; 6] = [36, 33, 35, 32, 34, 31];
/// The bit of each dot, by column and row in its cell.
const DOTS: [[u32; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];

/// Draws series over time, with a legend.
pub(super) fn draw(series: &[Series], console: &Console, out: &mut Vec<u8>) {
    let shown: Vec<&Series> = series.iter().filter(|series| !series.points.is_empty()).take(SERIES_MAX).collect();
    let Some(frame) = Frame::of(&shown) else {
        out.extend_from_slice(b"no samples\n");
        return;
    };
    let labels: Vec<String> = (0..ROWS).map(|row| frame.label(row)).collect();
    let margin = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
    let width = console.out_width.unwrap_or(WIDTH_DEFAULT).max(margin + WIDTH_MIN) - margin - 2;
    let mut canvas = Canvas::new(width);
    for (number, series) in shown.iter().enumerate() {
        canvas.plot(series, &frame, number);
    }
    let mut text = String::new();
    for (row, label) in labels.iter().enumerate() {
        let _ = write!(text, "{label:>margin$} \u{2502}");
        canvas.write_row(row, console.is_out_colored, &mut text);
        text.push('\n');
    }
    let _ = writeln!(text, "{:margin$} \u{2514}{}", "", "\u{2500}".repeat(width));
    let (start, end) = (time_text(frame.start), time_text(frame.end));
    let _ = write!(text, "{:margin$}  {start}", "");
    // Where both do not fit beside each other, the end is where the line ends.
    match width.checked_sub(start.len() + end.len()) {
        Some(gap) if gap > 0 => text.push_str(&format!("{:gap$}{end}\n", "")),
        _ => text.push('\n'),
    }
    for (number, series) in shown.iter().enumerate() {
        legend(series, number, console, &mut text);
    }
    if series.len() > shown.len() {
        let _ = writeln!(
            text,
            "  and {} more series: narrow the expression, or use --format csv",
            series.len() - shown.len()
        );
    }
    out.extend_from_slice(text.as_bytes());
}

fn legend(series: &Series, number: usize, console: &Console, text: &mut String) {
    let values = series.points.iter().map(|(_, value)| *value).filter(|value| value.is_finite());
    let (min, max) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), v| (min.min(v), max.max(v)));
    let last = series.points.last().map_or(f64::NAN, |(_, value)| *value);
    let (color, reset) = color(number, console.is_out_colored);
    let title = series.title();
    let _ = writeln!(
        text,
        "  {color}\u{25cf}{reset} {title}   last {}, min {}, max {}",
        short(last),
        short(min),
        short(max)
    );
}

fn color(number: usize, is_colored: bool) -> (String, &'static str) {
    if is_colored { (format!("\u{1b}[{}m", COLORS[number % COLORS.len()]), "\u{1b}[0m") } else { (String::new(), "") }
}

/// What the axes span.
struct Frame {
    start: f64,
    end: f64,
    low: f64,
    high: f64,
}

impl Frame {
    fn of(series: &[&Series]) -> Option<Self> {
        let points = || series.iter().flat_map(|series| &series.points).filter(|(_, value)| value.is_finite());
        let span = |values: &mut dyn Iterator<Item = f64>| {
            values.fold(None, |span: Option<(f64, f64)>, v| {
                Some(span.map_or((v, v), |(low, high)| (low.min(v), high.max(v))))
            })
        };
        let (start, end) = span(&mut points().map(|(time, _)| *time))?;
        let (mut low, mut high) = span(&mut points().map(|(_, value)| *value))?;
        if low == high {
            let half = if low == 0.0 { 1.0 } else { low.abs() / 2.0 };
            (low, high) = (low - half, high + half);
        }
        Some(Self { start, end: if end > start { end } else { start + 1.0 }, low, high })
    }

    /// What stands before a row: a number at every third.
    fn label(&self, row: usize) -> String {
        let is_labeled = row.is_multiple_of(4) || row == ROWS - 1;
        let share = row as f64 / (ROWS - 1) as f64;
        if is_labeled { short(self.high - (self.high - self.low) * share) } else { String::new() }
    }
}

struct Canvas {
    width: usize,
    /// Dots of each cell, and which series drew there last.
    cells: Vec<(u32, usize)>,
}

impl Canvas {
    fn new(width: usize) -> Self {
        Self { width, cells: vec![(0, 0); width * ROWS] }
    }

    fn plot(&mut self, series: &Series, frame: &Frame, number: usize) {
        let (columns, rows) = ((self.width * 2 - 1) as f64, (ROWS * 4 - 1) as f64);
        let mut before: Option<(usize, usize)> = None;
        for (time, value) in &series.points {
            if !value.is_finite() {
                before = None;
                continue;
            }
            let x = ((time - frame.start) / (frame.end - frame.start) * columns).round() as usize;
            let y = ((frame.high - value) / (frame.high - frame.low) * rows).round() as usize;
            // A line to a neighbor; a gap in the samples stays one.
            match before {
                Some((from_x, from_y)) if x.saturating_sub(from_x) <= 4 => self.line((from_x, from_y), (x, y), number),
                _ => self.dot(x, y, number),
            }
            before = Some((x, y));
        }
    }

    fn line(&mut self, from: (usize, usize), to: (usize, usize), number: usize) {
        let steps = from.0.abs_diff(to.0).max(from.1.abs_diff(to.1)).max(1);
        for step in 0..=steps {
            let along =
                |a: usize, b: usize| (a as f64 + (b as f64 - a as f64) * step as f64 / steps as f64).round() as usize;
            self.dot(along(from.0, to.0), along(from.1, to.1), number);
        }
    }

    fn dot(&mut self, x: usize, y: usize, number: usize) {
        if let Some(cell) = self.cells.get_mut(y / 4 * self.width + x / 2) {
            *cell = (cell.0 | DOTS[x % 2][y % 4], number);
        }
    }

    fn write_row(&self, row: usize, is_colored: bool, text: &mut String) {
        let cells = &self.cells[row * self.width..(row + 1) * self.width];
        let end = cells.iter().rposition(|(dots, _)| *dots != 0).map_or(0, |last| last + 1);
        for (dots, number) in &cells[..end] {
            let shown = char::from_u32(0x2800 + dots).unwrap_or(' ');
            if *dots == 0 {
                text.push(' ');
            } else {
                let (color, reset) = color(*number, is_colored);
                let _ = write!(text, "{color}{shown}{reset}");
            }
        }
    }
}

/// A number in few characters.
fn short(value: f64) -> String {
    let scaled = |unit: f64, suffix: &str| format!("{}{suffix}", trimmed(value / unit));
    match value.abs() {
        _ if !value.is_finite() => format!("{value}"),
        size if size >= 1e15 || (size > 0.0 && size < 1e-4) => format!("{value:.2e}"),
        size if size >= 1e12 => scaled(1e12, "T"),
        size if size >= 1e9 => scaled(1e9, "G"),
        size if size >= 1e6 => scaled(1e6, "M"),
        size if size >= 1e4 => scaled(1e3, "k"),
        _ => trimmed(value),
    }
}

fn trimmed(value: f64) -> String {
    let digits = if value.abs() >= 100.0 {
        1
    } else if value.abs() >= 1.0 {
        2
    } else {
        4
    };
    let text = format!("{value:.digits$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn time_text(seconds: f64) -> String {
    match jiff::Timestamp::from_second(seconds as i64) {
        Ok(time) => time.to_string(),
        Err(_) => format!("{seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn drawn(points: &[(f64, f64)]) -> String {
        let body = serde_json::json!({"data": {"resultType": "matrix", "result": [
            {"metric": BTreeMap::from([("__name__", "up")]),
             "values": points.iter().map(|(time, value)| (*time, value.to_string())).collect::<Vec<_>>()}]}});
        let answer = super::super::answer::Answer::read(hyper::StatusCode::OK, body.to_string().as_bytes()).unwrap();
        let mut out = Vec::new();
        draw(&answer.series, &Console { out_width: Some(40), ..Default::default() }, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_rising_line_goes_from_below_left_to_above_right() {
        let points: Vec<(f64, f64)> = (0..60).map(|n| (f64::from(n) * 60.0, f64::from(n))).collect();
        let text = drawn(&points);
        let rows: Vec<&str> = text.lines().collect();
        assert_eq!(rows.len(), ROWS + 3);
        assert!(rows[0].starts_with("   59 ") && rows[ROWS - 1].trim_start().starts_with('0'), "{text}");
        let width = |row: &&str| row.trim_end_matches([' ', '\u{2800}']).chars().count();
        let widths: Vec<usize> = rows[..ROWS].iter().map(width).collect();
        assert!(
            widths.is_sorted_by(|above, below| above >= below) && widths[0] > widths[ROWS - 1] + 20,
            "{widths:?}\n{text}"
        );
        assert!(rows.iter().all(|row| row.chars().count() <= 44), "{text}");
        assert!(
            rows[ROWS + 1].contains("1970-01-01T00:00:00Z") && rows[ROWS + 2].ends_with("up   last 59, min 0, max 59"),
            "{text}"
        );
    }

    #[test]
    fn odd_values_are_no_trouble() {
        assert_eq!(drawn(&[]), "no samples\n");
        assert_eq!(drawn(&[(0.0, f64::NAN)]), "no samples\n");
        assert!(drawn(&[(0.0, 0.0)]).contains("last 0"));
        assert!(drawn(&[(0.0, 1e300), (1.0, -1e300), (2.0, f64::INFINITY)]).contains("last inf"));
    }

    #[test]
    fn few_characters() {
        assert_eq!(
            [0.0, 12.0, 0.125, 12_500.0, 2.5e9, 1e-9].map(short),
            ["0", "12", "0.125", "12.5k", "2.5G", "1.00e-9"]
        );
    }
}
