//! What a rule prints for a row: the output text and the fields in it as JSON.

use super::Hit;
use super::batch::View;
use super::bits::Bits;
use super::value::{self, Val};
use crate::compile::{Operand, Part, Rule, Template};
use serde_json::{Map, Value};

const MISSING: &str = "<NA>";

/// Makes sure that all that the outputs of `hits` print is there.
pub(crate) fn prepare(view: &mut View<'_>, rules: &[Rule], hits: &[Hit]) {
    let mut by_rule = hits.to_vec();
    by_rule.sort_unstable_by_key(|hit| hit.rule);
    for of_rule in by_rule.chunk_by(|a, b| a.rule == b.rule) {
        let mut rows = Bits::none(view.rows());
        of_rule.iter().for_each(|hit| rows.insert(hit.row));
        let template = &rules[of_rule[0].rule].template;
        for part in &template.parts {
            if let Part::Value { operand, .. } = part {
                value::ensure(view, operand, &rows);
            }
        }
        template.fields.iter().for_each(|(_, operand)| value::ensure(view, operand, &rows));
    }
}

/// The output of a template, after [`prepare`].
pub(crate) fn output(view: &View<'_>, template: &Template, row: usize) -> String {
    let mut out = String::new();
    for part in &template.parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Value { operand, width } => {
                let text = match value::of(view, operand, row) {
                    Some(value) => shown(&value, name(view, operand)),
                    None => MISSING.to_owned(),
                };
                match width {
                    Some(width) if *width > 0 => out.extend(text.chars().chain(std::iter::repeat(' ')).take(*width)),
                    _ => out.push_str(&text),
                }
            }
        }
    }
    out
}

/// The fields of a template as a JSON object, after [`prepare`]; a missing value is null.
pub(crate) fn fields(view: &View<'_>, template: &Template, row: usize, time_ns: i64) -> Map<String, Value> {
    let mut all = Map::new();
    for (field, operand) in &template.fields {
        // Falco gives times as numbers here.
        let is_time = ["evt.time", "evt.datetime"].iter().any(|time| field.starts_with(time));
        let value = match value::of(view, operand, row) {
            Some(_) if is_time => Value::from(time_ns),
            Some(value) => json(&value),
            None => Value::Null,
        };
        all.insert(field.clone(), value);
    }
    all
}

fn name<'a>(view: &View<'a>, operand: &Operand) -> &'a str {
    match operand {
        Operand::Field(slot) => view.field(*slot).info.name,
        _ => "",
    }
}

fn shown(value: &Val<'_>, field: &str) -> String {
    match value {
        Val::Text(text) => String::from_utf8_lossy(text).into_owned(),
        Val::Number(number) if field == "fd.dev" => format!("{number:X}"),
        Val::Number(number) if field == "evt.rawtime.ns" => format!("{number:09}"),
        Val::Number(number) => number.to_string(),
        Val::Flag(flag) => flag.to_string(),
        Val::List(items) => {
            let items: Vec<String> = items.iter().map(|item| shown(item, field)).collect();
            format!("({})", items.join(","))
        }
    }
}

fn json(value: &Val<'_>) -> Value {
    match value {
        Val::Text(text) => Value::from(String::from_utf8_lossy(text)),
        Val::Number(number) => Value::from(*number),
        Val::Flag(flag) => Value::from(*flag),
        Val::List(items) => items.iter().map(json).collect(),
    }
}
