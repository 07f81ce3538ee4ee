//! Output templates: text with `%field`, `%field[arg]`, `%20field` and `%transformer(field)`.

use super::Problem;
use super::graph::Graph;
use super::operand::{self, Operand};
use crate::load::Source;
use crate::syntax::{self, Span, parse_output_operand};

/// A piece of a template.
#[derive(Debug)]
pub(crate) enum Part {
    Text(String),
    /// A value, padded with blanks or cut to `width` characters.
    Value {
        operand: Operand,
        width: Option<usize>,
    },
}

/// A compiled output.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) parts: Vec<Part>,
    /// Fields by the name under which they stand in `output_fields`, sorted.
    pub(crate) fields: Vec<(String, Operand)>,
}

/// Reads a template. A `*` in front is accepted and changes nothing: values that are missing print as `<NA>` either way.
pub(crate) fn template(source: Source, graph: &mut Graph, text: &str) -> Result<Template, Problem> {
    let mut template = Template { parts: Vec::new(), fields: Vec::new() };
    let mut at = usize::from(text.starts_with('*'));
    while let Some(found) = text[at..].find('%') {
        let percent = at + found;
        if found > 0 {
            template.parts.push(Part::Text(text[at..percent].to_owned()));
        }
        let digits = text[percent + 1..].bytes().take_while(u8::is_ascii_digit).count();
        let start = percent + 1 + digits;
        let width = text[percent + 1..start].parse::<usize>().ok().map(|width| width.min(WIDTH_MAX));
        let (written, length) = written_at(source, text, percent, start)?;
        let operand = operand::build(source, graph, &written).map_err(|problem| moved(problem, start))?.operand;
        collect(source, graph, &written, &mut template.fields)?;
        template.parts.push(Part::Value { operand, width });
        at = start + length;
    }
    if at < text.len() {
        template.parts.push(Part::Text(text[at..].to_owned()));
    }
    template.fields.sort_by(|a, b| a.0.cmp(&b.0));
    template.fields.dedup_by(|a, b| a.0 == b.0);
    Ok(template)
}

/// Characters that a value is padded to at most.
const WIDTH_MAX: usize = 4096;

/// The longest field or transformer that begins at `start`. What follows a field without a blank may belong to the
/// text, as the dot does in `%proc.name.`
fn written_at(source: Source, text: &str, percent: usize, start: usize) -> Result<(syntax::Operand, usize), Problem> {
    let rest = &text[start..];
    let span = |length: usize| Span { start: percent, end: (start + length).min(text.len()) };
    if rest.is_empty() {
        return Err(Problem::at(span(0), "an output cannot end with %").hint("a field follows %"));
    }
    let (written, length) = match parse_output_operand(rest) {
        Ok(parsed) => parsed,
        Err(e) => return Err(Problem::at(Span { start: percent, end: start + e.span.end.max(1) }, e.message)),
    };
    let syntax::Operand::Field(field) = &written else { return Ok((written, length)) };
    let error = match crate::fields::find(source, &field.name, field.arg.as_deref()) {
        Ok(found) if found.info.is_filter_only => {
            return Err(Problem::at(span(length), format!("field {} cannot be printed", field.name)));
        }
        Ok(_) => return Ok((written, length)),
        Err(e) => e,
    };
    if field.arg.is_none() {
        let shorter = (1..field.name.len()).rev().find(|end| {
            crate::fields::find(source, &field.name[..*end], None).is_ok_and(|found| !found.info.is_filter_only)
        });
        if let Some(end) = shorter {
            let name = field.name[..end].to_owned();
            return Ok((syntax::Operand::Field(syntax::Field { name, arg: None, span: field.span }), end));
        }
    }
    Err(Problem { message: error.message, hint: error.hint, span: Some(span(length)), is_unknown: error.is_unknown })
}

fn moved(problem: Problem, by: usize) -> Problem {
    let span = problem.span.map(|span| Span { start: span.start + by, end: span.end + by });
    Problem { span, ..problem }
}

/// The plain fields of an operand: those inside of transformers are listed by themselves.
fn collect(
    source: Source,
    graph: &mut Graph,
    written: &syntax::Operand,
    fields: &mut Vec<(String, Operand)>,
) -> Result<(), Problem> {
    match written {
        syntax::Operand::Field(field) => {
            fields.push((field.to_string(), operand::build(source, graph, written)?.operand))
        }
        syntax::Operand::Call(call) => call.args.iter().try_for_each(|arg| collect(source, graph, arg, fields))?,
        syntax::Operand::List(items) => items.iter().try_for_each(|item| collect(source, graph, item, fields))?,
        syntax::Operand::Text(_) => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let mut graph = Graph::new();
        let template = match template(Source::Syscall, &mut graph, text) {
            Ok(template) => template,
            Err(problem) => {
                return format!(
                    "{:?} {}",
                    problem.span.map(|span| span.start..span.end).unwrap_or_default(),
                    problem.message
                );
            }
        };
        let part = |part: &Part| match part {
            Part::Text(text) => format!("'{text}'"),
            Part::Value { operand: Operand::Field(slot), width } => {
                format!("{}{}", graph.slots()[*slot], width.map_or(String::new(), |width| format!(":{width}")))
            }
            Part::Value { .. } => "call".to_owned(),
        };
        let parts: Vec<String> = template.parts.iter().map(part).collect();
        let fields: Vec<&str> = template.fields.iter().map(|(name, _)| name.as_str()).collect();
        format!("{} {{{}}}", parts.join(" "), fields.join(","))
    }

    #[test]
    fn templates() {
        for (text, expected) in [
            ("plain", "'plain' {}"),
            ("*x=%proc.name y", "'x=' proc.name ' y' {proc.name}"),
            ("%proc.name.", "proc.name '.' {proc.name}"),
            ("%proc.name.x/%evt.arg.flags", "proc.name '.x/' evt.arg.flags {evt.arg.flags,proc.name}"),
            (
                "%proc.aname[2],%20proc.name%5fd.num",
                "proc.aname[2] ',' proc.name:20 fd.num:5 {fd.num,proc.aname[2],proc.name}",
            ),
            ("%toupper(proc.name)!", "call '!' {proc.name}"),
            ("a %", "2..3 an output cannot end with %"),
            ("a %20", "2..5 an output cannot end with %"),
            ("50% x", "2..4 expected a field or a transformer, found ' '"),
            ("%proc.nam x", "0..9 there is no field proc.nam in source syscall"),
            ("%fd.ip", "0..6 field fd.ip cannot be printed"),
            ("%evt.arg.nope", "0..13 no event has an argument 'nope'"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }
}
