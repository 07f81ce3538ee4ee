//! Operands: fields and transformers of them, with types checked.

use super::Problem;
use super::graph::Graph;
use crate::fields::{self, FieldArg, Kind};
use crate::load::Source;
use crate::syntax::{self, Transformer};

/// A function of one text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Map {
    ToLower,
    ToUpper,
    B64,
    Basename,
}

/// Something that has a value in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    /// A field by its slot.
    Field(usize),
    /// Functions applied one after the other to the one text of a field.
    Mapped(usize, Vec<Map>),
    Text(Vec<u8>),
    List(Vec<Operand>),
    Map(Map, Box<Operand>),
    Len(Box<Operand>),
    Join(Box<Operand>, Box<Operand>),
    Concat(Vec<Operand>),
    GetOpt {
        args: Box<Operand>,
        options: Box<Operand>,
        selector: Option<u8>,
    },
}

/// An operand with its type.
#[derive(Clone, Debug)]
pub(crate) struct Typed {
    pub(crate) operand: Operand,
    pub(crate) kind: Kind,
    pub(crate) is_list: bool,
    /// Compared with each of several values, of which any may match: ancestors, both ends of a connection.
    pub(crate) is_any_of: bool,
    /// Cannot be compared with another field.
    pub(crate) is_plain_only: bool,
}

/// Builds the operand that is written as `written`.
pub(crate) fn build(source: Source, graph: &mut Graph, written: &syntax::Operand) -> Result<Typed, Problem> {
    match written {
        syntax::Operand::Field(field) => self::field(source, graph, field),
        syntax::Operand::Text(literal) => Ok(text(Operand::Text(literal.bytes.clone()))),
        syntax::Operand::List(items) => {
            let items = items.iter().map(|item| build(source, graph, item)).collect::<Result<Vec<_>, _>>()?;
            let operand = Operand::List(items.into_iter().map(|item| item.operand).collect());
            Ok(Typed { is_list: true, ..text(operand) })
        }
        syntax::Operand::Call(call) => {
            let args = call.args.iter().map(|arg| build(source, graph, arg)).collect::<Result<Vec<_>, _>>()?;
            apply(call, args).map_err(|problem| Problem { span: problem.span.or(Some(call.span)), ..problem })
        }
    }
}

fn text(operand: Operand) -> Typed {
    Typed { operand, kind: Kind::Text, is_list: false, is_any_of: false, is_plain_only: false }
}

fn field(source: Source, graph: &mut Graph, field: &syntax::Field) -> Result<Typed, Problem> {
    let found = fields::find(source, &field.name, field.arg.as_deref()).map_err(|e| Problem {
        message: e.message,
        hint: e.hint,
        span: Some(field.span),
        is_unknown: e.is_unknown,
    })?;
    let is_pair = found.info.is_filter_only && matches!(found.info.name, "fd.ip" | "fd.net" | "fd.port" | "fd.proto");
    Ok(Typed {
        kind: found.info.kind,
        is_list: found.is_list(),
        is_any_of: found.is_any_of() || is_pair,
        is_plain_only: found.info.is_plain_only && (found.arg == FieldArg::None || found.info.is_filter_only),
        operand: Operand::Field(graph.slot(found)),
    })
}

fn apply(call: &syntax::Call, args: Vec<Typed>) -> Result<Typed, Problem> {
    if let Some(refused) = args.iter().find(|arg| arg.is_plain_only) {
        let message = format!("{} cannot be applied to this field", call.transformer);
        return Err(if refused.is_any_of {
            Problem::new(message).hint("it has several values: pick one in brackets")
        } else {
            Problem::new(message)
        });
    }
    if call.selector.is_some() && call.transformer != Transformer::GetOpt {
        return Err(Problem::new(format!("{} takes no argument in brackets", call.transformer)));
    }
    let map = match call.transformer {
        Transformer::ToLower => Map::ToLower,
        Transformer::ToUpper => Map::ToUpper,
        Transformer::B64 => Map::B64,
        Transformer::Basename => Map::Basename,
        _ => return apply_other(call, args),
    };
    let [arg] =
        <[Typed; 1]>::try_from(args).map_err(|_| Problem::new(format!("{} takes one argument", call.transformer)))?;
    if arg.kind != Kind::Text && !(arg.kind == Kind::Bytes && map == Map::B64) {
        return Err(Problem::new(format!("{} takes a text, not a {}", call.transformer, arg.kind.name())));
    }
    let operand = match arg.operand {
        Operand::Field(slot) if !arg.is_list => Operand::Mapped(slot, vec![map]),
        Operand::Mapped(slot, mut maps) => {
            maps.push(map);
            Operand::Mapped(slot, maps)
        }
        other => Operand::Map(map, Box::new(other)),
    };
    Ok(Typed { operand, ..arg })
}

fn apply_other(call: &syntax::Call, args: Vec<Typed>) -> Result<Typed, Problem> {
    let is_text = |arg: &Typed| arg.kind == Kind::Text && !arg.is_list;
    let refuse = |message: &str| Err(Problem::new(message));
    match (call.transformer, args.as_slice()) {
        (Transformer::Len, [arg]) if arg.is_list || matches!(arg.kind, Kind::Text | Kind::Bytes) => {
            let operand = Operand::Len(Box::new(arg.operand.clone()));
            Ok(Typed { kind: Kind::Number, ..text(operand) })
        }
        (Transformer::Len, _) => refuse("len takes one text or list"),
        (Transformer::Join, [separator, list]) if is_text(separator) && list.is_list => {
            Ok(text(Operand::Join(Box::new(separator.operand.clone()), Box::new(list.operand.clone()))))
        }
        (Transformer::Join, _) => refuse("join takes a separator and a list"),
        (Transformer::Concat, args) if args.len() > 1 && args.iter().all(is_text) => {
            Ok(text(Operand::Concat(args.iter().map(|arg| arg.operand.clone()).collect())))
        }
        (Transformer::Concat, _) => refuse("concat takes two or more texts"),
        (Transformer::GetOpt, [list, options]) if list.is_list && list.kind == Kind::Text && is_text(options) => {
            let selector = match call.selector.as_deref().map(str::as_bytes) {
                None => None,
                Some([option]) => Some(*option),
                Some(_) => return refuse("getopt takes one option character in brackets"),
            };
            let (args, options) = (Box::new(list.operand.clone()), Box::new(options.operand.clone()));
            Ok(Typed { is_list: selector.is_none(), ..text(Operand::GetOpt { args, options, selector }) })
        }
        _ => refuse("getopt takes a list and a text of options"),
    }
}
