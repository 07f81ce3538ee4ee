//! `label_replace` and `label_join`.

use crate::error::Error;
use crate::eval::matrix::StepMatrix;
use crate::labels::METRIC_NAME;
use crate::regexp::LabelRegex;

/// `label_replace(v, target, replacement, source, regex)`
pub(crate) fn replace(
    mut matrix: StepMatrix,
    target: &str,
    replacement: &str,
    source: &str,
    regex: &LabelRegex,
) -> Result<StepMatrix, Error> {
    let template = Template::parse(replacement);
    for row in &mut matrix.rows {
        let Some(captures) = regex.regex().captures(row.labels.get(source)) else { continue };
        let value = template.expand(&captures);
        row.labels = row.labels.with(target, &value);
        row.drops_name &= target != METRIC_NAME;
    }
    matrix.merge_same_labels()
}

/// `label_join(v, target, separator, sources...)`
pub(crate) fn join(
    mut matrix: StepMatrix,
    target: &str,
    separator: &str,
    sources: &[String],
) -> Result<StepMatrix, Error> {
    for row in &mut matrix.rows {
        let values: Vec<&str> = sources.iter().map(|source| row.labels.get(source)).collect();
        row.labels = row.labels.with(target, &values.join(separator));
        row.drops_name &= target != METRIC_NAME;
    }
    matrix.merge_same_labels()
}

/// A replacement with `$1`, `${1}`, `$name` and `$$`, as Go expands it.
struct Template<'t>(Vec<Part<'t>>);

enum Part<'t> {
    Text(&'t str),
    Group(usize),
    Name(&'t str),
}

impl<'t> Template<'t> {
    fn parse(text: &'t str) -> Self {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            parts.push(Part::Text(&rest[..at]));
            let after = &rest[at + 1..];
            if let Some(literal) = after.strip_prefix('$') {
                parts.push(Part::Text("$"));
                rest = literal;
                continue;
            }
            match reference(after) {
                Some((name, following)) => {
                    parts.push(name.parse().map_or(Part::Name(name), Part::Group));
                    rest = following;
                }
                None => {
                    // A dollar without a name stands for itself.
                    parts.push(Part::Text("$"));
                    rest = after;
                }
            }
        }
        parts.push(Part::Text(rest));
        Self(parts)
    }

    fn expand(&self, captures: &regex::Captures<'_>) -> String {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Group(group) => out.push_str(captures.get(*group).map_or("", |m| m.as_str())),
                Part::Name(name) => out.push_str(captures.name(name).map_or("", |m| m.as_str())),
            }
        }
        out
    }
}

/// The name after a dollar, and what follows it. Without braces it is as long as letters, digits and `_` go.
fn reference(text: &str) -> Option<(&str, &str)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    if let Some(braced) = text.strip_prefix('{') {
        let (name, after) = braced.split_once('}')?;
        return (!name.is_empty() && name.chars().all(is_word)).then_some((name, after));
    }
    let end = text.find(|c| !is_word(c)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expands_as_go() {
        let regex = LabelRegex::new("(?P<first>[a-z]+)-([0-9]+)").unwrap();
        let captures = regex.regex().captures("ab-12").unwrap();
        let expand = |text: &str| Template::parse(text).expand(&captures);
        assert_eq!(expand("${2}-$1"), "12-ab");
        assert_eq!(expand("$first$$"), "ab$");
        assert_eq!(expand("$1x"), "");
        assert_eq!(expand("$"), "$");
        assert_eq!(expand("$9"), "");
    }
}
