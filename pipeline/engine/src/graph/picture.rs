//! The graph as it runs, and pictures of it: text for a terminal, Mermaid for a page.

use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// What a node of the picture is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeKind {
    /// A stream that comes in.
    Source,
    /// An operator.
    Operator,
    /// A table.
    Table,
}

impl NodeKind {
    /// As in the picture's JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Operator => "operator",
            Self::Table => "table",
        }
    }
}

/// One node, its figures summed over all shards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its name; a table is called `table:<name>`, a source by its stream.
    pub name: String,
    /// What it is.
    pub kind: NodeKind,
    /// What it does: `rules`, `sql`, ...
    pub does: String,
    /// The nodes that it reads.
    pub reads: Vec<String>,
    /// The columns by which its rows are spread over shards.
    pub key: Vec<String>,
    /// Rows that came in since the start.
    pub rows_in: u64,
    /// Rows that went out since the start.
    pub rows_out: u64,
    /// Rows that came in per second, of late.
    pub rows_per_second: f64,
    /// How far the newest row is behind the wall clock.
    pub lag_ms: Option<i64>,
    /// No row before this time is expected, in microseconds since 1970.
    pub watermark_us: Option<i64>,
    /// Bytes of its state.
    pub state_bytes: u64,
    /// Bytes that wait in front of it.
    pub queue_bytes: u64,
}

/// The graph as it runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GraphStatus {
    /// Threads that run it.
    pub shards: usize,
    /// The nodes: sources, operators, tables.
    pub nodes: Vec<NodeStatus>,
}

impl GraphStatus {
    /// A table with one line for each node.
    pub fn to_text(&self) -> String {
        let header = ["node", "does", "reads", "rows in", "rows out", "rows/s", "lag", "watermark", "state", "queue"];
        let mut lines = vec![header.map(str::to_owned)];
        for node in &self.nodes {
            let key = if node.key.is_empty() { String::new() } else { format!(" by {}", node.key.join(", ")) };
            lines.push([
                node.name.clone(),
                node.does.clone(),
                format!("{}{key}", node.reads.join(", ")),
                node.rows_in.to_string(),
                node.rows_out.to_string(),
                format!("{:.0}", node.rows_per_second),
                node.lag_ms.map_or_else(|| "-".to_owned(), |lag| format!("{:.1} s", lag as f64 / 1000.0)),
                node.watermark_us.map_or_else(|| "-".to_owned(), time_of_day),
                bytes(node.state_bytes),
                bytes(node.queue_bytes),
            ]);
        }
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
        let widths: Vec<usize> = (0..header.len()).map(width).collect();
        let mut text = format!("{} shard{}\n", self.shards, if self.shards == 1 { "" } else { "s" });
        for line in &lines {
            let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
            text.push('\n');
        }
        text
    }

    /// A flow chart in the language of Mermaid.
    pub fn to_mermaid(&self) -> String {
        let mut text = "flowchart LR\n".to_owned();
        for (index, node) in self.nodes.iter().enumerate() {
            let label = format!("{}<br/>{:.0} rows/s", escape(&node.name), node.rows_per_second);
            // Writing into a String cannot fail.
            let _ = match node.kind {
                NodeKind::Source => writeln!(text, "  n{index}([\"{label}\"])"),
                NodeKind::Operator => writeln!(text, "  n{index}[\"{label}<br/>{}\"]", escape(&node.does)),
                NodeKind::Table => writeln!(text, "  n{index}[(\"{label}\")]"),
            };
        }
        for (index, node) in self.nodes.iter().enumerate() {
            for input in &node.reads {
                let Some(from) = self.nodes.iter().position(|other| other.name == *input) else { continue };
                let _ = match node.key.is_empty() {
                    true => writeln!(text, "  n{from} --> n{index}"),
                    false => writeln!(text, "  n{from} -->|\"{}\"| n{index}", escape(&node.key.join(", "))),
                };
            }
        }
        text
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;")
}

fn bytes(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

fn time_of_day(micros: i64) -> String {
    let seconds = micros.div_euclid(1_000_000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, kind: NodeKind, reads: &[&str]) -> NodeStatus {
        NodeStatus {
            name: name.into(),
            kind,
            does: "rules".into(),
            reads: reads.iter().map(|name| (*name).to_owned()).collect(),
            key: Vec::new(),
            rows_in: 3,
            rows_out: 2,
            rows_per_second: 1.5,
            lag_ms: Some(1500),
            watermark_us: Some(3_661_000_000),
            state_bytes: 2048,
            queue_bytes: 0,
        }
    }

    fn status() -> GraphStatus {
        let keyed = NodeStatus { key: vec!["pid".into()], ..node("ru\"les", NodeKind::Operator, &["events"]) };
        GraphStatus {
            shards: 2,
            nodes: vec![
                node("events", NodeKind::Source, &[]),
                keyed,
                node("table:findings", NodeKind::Table, &["ru\"les"]),
            ],
        }
    }

    #[test]
    fn mermaid_has_a_shape_for_each_kind_and_an_edge_for_each_input() {
        let expected = "flowchart LR\n  n0([\"events<br/>2 rows/s\"])\n  n1[\"ru&quot;les<br/>2 rows/s<br/>rules\"]\n  \
                        n2[(\"table:findings<br/>2 rows/s\")]\n  n0 -->|\"pid\"| n1\n  n1 --> n2\n";
        assert_eq!(status().to_mermaid(), expected);
    }

    #[test]
    fn text_aligns() {
        let text = status().to_text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "2 shards");
        assert_eq!(
            lines[3],
            "ru\"les          rules  events by pid  3        2         2       1.5 s  01:01:01   2.0 KiB  0 B"
        );
    }
}
