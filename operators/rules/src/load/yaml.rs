//! YAML to nodes with places, within bounds.

use super::limits::{NODE_BYTES, NODE_DEPTH_MAX, YAML_BYTES_MAX};
use super::report::{Place, Report};
use super::text::{At, Files, Text};
use granit_parser::{Event, Parser, ScalarStyle, Span};
use std::collections::HashMap;
use std::sync::Arc;

/// A YAML node. Aliases share the node they name.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) at: At,
    /// One past the node's last byte.
    end: u32,
    pub(super) kind: Kind,
    /// What this node and those below take, those behind aliases counted each time.
    bytes: usize,
}

#[derive(Debug)]
pub(super) enum Kind {
    Scalar {
        value: String,
        is_plain: bool,
    },
    Sequence(Vec<Arc<Node>>),
    /// Keys and values in order; a key may be any node.
    Mapping(Vec<(Arc<Node>, Arc<Node>)>),
}

impl Node {
    /// The scalar's value; none for `null` and for what is no scalar.
    pub(super) fn scalar(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { value, .. } if !self.is_null() => Some(value),
            _ => None,
        }
    }

    pub(super) fn is_null(&self) -> bool {
        match &self.kind {
            Kind::Scalar { value, is_plain } => {
                *is_plain && matches!(value.as_str(), "" | "~" | "null" | "Null" | "NULL")
            }
            _ => false,
        }
    }

    /// The value under `key`; the first one if the key is repeated.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|(k, _)| k.scalar() == Some(key)).map(|(_, value)| value.as_ref())
    }

    pub(super) fn entries(&self) -> &[(Arc<Node>, Arc<Node>)] {
        match &self.kind {
            Kind::Mapping(entries) => entries,
            _ => &[],
        }
    }

    pub(super) fn items(&self) -> Option<&[Arc<Node>]> {
        match &self.kind {
            Kind::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// The scalar's value with the places of its bytes.
    pub(super) fn text(&self, files: &Files<'_>) -> Option<Text> {
        let source = files.content(self.at.file as usize);
        Some(Text::scalar(self.scalar()?, source, self.at.offset as usize..self.end as usize, self.at.file))
    }

    pub(super) fn place(&self, files: &Files<'_>) -> Option<Place> {
        let bytes = match self.kind {
            Kind::Scalar { .. } => (self.end - self.at.offset).max(1) as usize,
            _ => 1,
        };
        files.place(self.at, bytes)
    }
}

/// Reads the objects of a rule file: the items of the list in each of its documents. `bytes` is what the files before
/// took, and then this one.
pub(super) fn read(files: &Files<'_>, file: usize, bytes: &mut usize, report: &mut Report) -> Vec<Arc<Node>> {
    let mut objects = Vec::new();
    match documents(files.content(file), file as u32, bytes) {
        Ok(documents) => {
            for document in documents.iter().filter(|document| !document.is_null()) {
                if report.is_full() {
                    break;
                }
                match document.items() {
                    Some(items) => objects.extend(items.iter().filter(|item| !item.is_null()).cloned()),
                    None => {
                        let message = "a rule file is a list of objects".to_owned();
                        let hint = Some("write each object as '- list:', '- macro:' or '- rule:'".to_owned());
                        report.error("LOAD_ERR_YAML_VALIDATE", message, document.place(files), hint);
                    }
                }
            }
        }
        Err((at, message)) => report.error("LOAD_ERR_YAML_PARSE", message, files.place(at, 1), None),
    }
    objects
}

/// A collection that is being read.
struct Open {
    at: At,
    anchor: usize,
    is_mapping: bool,
    children: Vec<Arc<Node>>,
}

fn documents(content: &str, file: u32, bytes: &mut usize) -> Result<Vec<Arc<Node>>, (At, String)> {
    let options = granit_parser::options! { emit_comments: false, block_nesting_limit: NODE_DEPTH_MAX, flow_nesting_limit: NODE_DEPTH_MAX };
    let mut parser = Parser::new_from_str_with_options(content, options);
    let mut open: Vec<Open> = Vec::new();
    let mut anchors: HashMap<usize, Arc<Node>> = HashMap::new();
    let mut done = Vec::new();
    while let Some(event) = parser.next_event() {
        let (event, span) =
            event.map_err(|e| (at(file, e.marker().byte_offset()), format!("not YAML: {}", e.kind())))?;
        let here = at(file, span.start.byte_offset());
        let finished = match event {
            Event::SequenceStart(_, anchor, _) => {
                *bytes += NODE_BYTES;
                open.push(Open { at: here, anchor, is_mapping: false, children: Vec::new() });
                None
            }
            Event::MappingStart(_, anchor, _) => {
                *bytes += NODE_BYTES;
                open.push(Open { at: here, anchor, is_mapping: true, children: Vec::new() });
                None
            }
            Event::SequenceEnd | Event::MappingEnd => open.pop().map(|open| open.finish(&span, &mut anchors)),
            Event::Scalar(value, style, anchor, _) => {
                let own = NODE_BYTES + value.len();
                *bytes += own;
                let kind = Kind::Scalar { value: value.into_owned(), is_plain: style == ScalarStyle::Plain };
                let node = Arc::new(Node { at: here, end: end(&span, here), kind, bytes: own });
                anchors.extend((anchor > 0).then(|| (anchor, node.clone())));
                Some(node)
            }
            Event::Alias(anchor) => {
                let node = anchors
                    .get(&anchor)
                    .cloned()
                    .ok_or((here, "an alias cannot name a node that it is in".to_owned()))?;
                *bytes += node.bytes;
                Some(node)
            }
            _ => None,
        };
        if *bytes > YAML_BYTES_MAX {
            let message =
                format!("rule files with what their aliases stand for take more than {} MiB", YAML_BYTES_MAX >> 20);
            return Err((here, message));
        }
        if open.len() > NODE_DEPTH_MAX {
            return Err((here, format!("nested deeper than {NODE_DEPTH_MAX} levels")));
        }
        if let Some(node) = finished {
            match open.last_mut() {
                Some(parent) => parent.children.push(node),
                None => done.push(node),
            }
        }
    }
    Ok(done)
}

impl Open {
    fn finish(self, span: &Span, anchors: &mut HashMap<usize, Arc<Node>>) -> Arc<Node> {
        let bytes = NODE_BYTES + self.children.iter().map(|child| child.bytes).sum::<usize>();
        let kind = if self.is_mapping {
            let mut children = self.children.into_iter();
            let mut entries = Vec::new();
            while let (Some(key), Some(value)) = (children.next(), children.next()) {
                entries.push((key, value));
            }
            Kind::Mapping(entries)
        } else {
            Kind::Sequence(self.children)
        };
        let node = Arc::new(Node { at: self.at, end: end(span, self.at), kind, bytes });
        anchors.extend((self.anchor > 0).then(|| (self.anchor, node.clone())));
        node
    }
}

fn at(file: u32, offset: Option<usize>) -> At {
    At { file, offset: offset.unwrap_or_default() as u32 }
}

fn end(span: &Span, start: At) -> u32 {
    (span.end.byte_offset().unwrap_or_default() as u32).max(start.offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::RuleFile;

    fn read_text(content: &str) -> (Vec<Arc<Node>>, Report) {
        let mut report = Report::default();
        let file = [RuleFile { name: "f".to_owned(), content: content.to_owned() }];
        let objects = read(&Files::new(&file, &mut report), 0, &mut 0, &mut report);
        (objects, report)
    }

    #[test]
    fn objects_of_several_documents_with_places() {
        let (objects, report) = read_text("---\n- list: a\n  items: [x, 'y']\n---\n~\n---\n- macro: b\n");
        assert!(report.is_ok(), "{report}");
        assert_eq!(objects.len(), 2);
        let items = objects[0].get("items").unwrap().items().unwrap();
        assert_eq!((items[1].scalar(), items[1].at.offset), (Some("y"), 27));
    }

    #[test]
    fn what_is_no_list_is_refused_at_its_place() {
        let (_, report) = read_text("a: 1\n");
        assert_eq!(report.errors[0].message, "a rule file is a list of objects");
        let (_, report) = read_text("- a: [1, 2\n- b: 3\n");
        assert_eq!(report.errors[0].code, "LOAD_ERR_YAML_PARSE");
        assert!(report.errors[0].place.is_some());
    }

    /// SAFE-1: a few hundred bytes that mean billions of nodes are refused.
    #[test]
    fn yaml_bombs_are_refused() {
        let mut bomb = "- &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..20 {
            bomb += &format!("- &a{level} [{}]\n", vec![format!("*a{}", level - 1); 10].join(", "));
        }
        let (_, report) = read_text(&bomb);
        assert!(report.errors[0].message.contains("aliases"), "{report}");
        let (_, report) = read_text(&"[".repeat(100_000));
        assert!(!report.is_ok());
        let (_, report) = read_text("- &a [*a]\n");
        assert!(!report.is_ok());
    }
}
