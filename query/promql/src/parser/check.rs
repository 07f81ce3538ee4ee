//! Types and arguments, checked where a syntax tree is whole.

use super::{Failure, Parsed, fail};
use crate::ast::{AggregateOp, Binary, Call, Cardinality, Expr, ExprKind, ValueType, VectorSelector};
use crate::labels::METRIC_NAME;
use crate::position::Span;
use crate::text::quote;

/// Checks an expression and what it is made of, and settles the matching of its binary operators.
pub(super) fn check(expr: &mut Expr, query: &str) -> Parsed<ValueType> {
    crate::stack::grow(|| check_here(expr, query))
}

fn check_here(expr: &mut Expr, query: &str) -> Parsed<ValueType> {
    let span = expr.span;
    match &mut expr.kind {
        ExprKind::Aggregate(aggregate) => {
            expect_type(&mut aggregate.expr, ValueType::Vector, "aggregation expression", query)?;
            if let Some(param) = &mut aggregate.param {
                let wanted =
                    if aggregate.op == AggregateOp::CountValues { ValueType::String } else { ValueType::Scalar };
                expect_type(param, wanted, "aggregation parameter", query)?;
            }
        }
        ExprKind::Binary(binary) => check_binary(binary, span, query)?,
        ExprKind::Call(call) => check_call(call, span, query)?,
        ExprKind::Paren(inner) => {
            check(inner, query)?;
        }
        ExprKind::Unary(_, inner) => {
            let found = check(inner, query)?;
            if !matches!(found, ValueType::Scalar | ValueType::Vector) {
                let text = "unary expression only allowed on expressions of type scalar or instant vector";
                return fail(span, format!("{text}, got {}", quote(found.documented())));
            }
        }
        ExprKind::Subquery(subquery) => {
            let found = check(&mut subquery.expr, query)?;
            if found != ValueType::Vector {
                let text = "subquery is only allowed on instant vector";
                return fail(span, format!("{text}, got {} instead", found.as_str()));
            }
        }
        ExprKind::Matrix(matrix) => check_selector(&matrix.selector)?,
        ExprKind::Vector(selector) => check_selector(selector)?,
        ExprKind::Number(_) | ExprKind::String(_) => {}
    }
    Ok(expr.value_type())
}

fn expect_type(expr: &mut Expr, wanted: ValueType, context: &str, query: &str) -> Parsed<()> {
    let found = check(expr, query)?;
    if found == wanted {
        return Ok(());
    }
    let (wanted, found) = (wanted.documented(), found.documented());
    fail(expr.span, format!("expected type {wanted} in {context}, got {found}"))
}

fn check_binary(binary: &mut Binary, span: Span, query: &str) -> Parsed<()> {
    let left = check(&mut binary.lhs, query)?;
    let right = check(&mut binary.rhs, query)?;
    let op = binary.op;
    if binary.returns_bool && !op.is_comparison() {
        return fail(operator_span(binary, query), "bool modifier can only be used on comparison operators");
    }
    let both_scalar = left == ValueType::Scalar && right == ValueType::Scalar;
    if op.is_comparison() && !binary.returns_bool && both_scalar {
        return fail(operator_span(binary, query), "comparisons between scalars must use BOOL modifier");
    }
    if let Some(matching) = &mut binary.matching {
        if op.is_set() && matching.cardinality == Cardinality::OneToOne {
            matching.cardinality = Cardinality::ManyToMany;
        }
        let twice = matching.labels.iter().find(|label| matching.is_on && matching.include.contains(label)).cloned();
        if let Some(label) = twice {
            let text = format!("label {} must not occur in ON and GROUP clause at once", quote(&label));
            return fail(operator_span(binary, query), text);
        }
    }
    for (found, operand) in [(left, &binary.lhs), (right, &binary.rhs)] {
        if !matches!(found, ValueType::Scalar | ValueType::Vector) {
            return fail(operand.span, "binary expression must contain only scalar and instant vector types");
        }
    }
    check_matching(binary, left == ValueType::Vector && right == ValueType::Vector, span)?;
    if op.is_set() && (left == ValueType::Scalar || right == ValueType::Scalar) {
        return fail(span, format!("set operator {} not allowed in binary scalar expression", quote(op.as_str())));
    }
    Ok(())
}

fn check_matching(binary: &mut Binary, both_vectors: bool, span: Span) -> Parsed<()> {
    let Some(matching) = &binary.matching else { return Ok(()) };
    let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
    if !both_vectors {
        if !matching.labels.is_empty() {
            return fail(span, "vector matching only allowed between instant vectors");
        }
        if fills {
            return fail(span, "filling in missing series only allowed between instant vectors");
        }
        binary.matching = None;
        return Ok(());
    }
    if binary.op.is_set() {
        if matching.cardinality != Cardinality::ManyToMany {
            return fail(span, format!("no grouping allowed for {} operation", quote(binary.op.as_str())));
        }
        if fills {
            return fail(span, "filling in missing series not allowed for set operators");
        }
    }
    Ok(())
}

/// The bytes between the operands.
fn operator_span(binary: &Binary, query: &str) -> Span {
    let between = Span::new(binary.lhs.span.end, binary.rhs.span.start).text(query);
    let start = binary.rhs.span.start - between.trim_start_matches([' ', '\t', '\n', '\r']).len();
    Span::new(start, start + between.trim_matches([' ', '\t', '\n', '\r']).len())
}

fn check_call(call: &mut Call, span: Span, query: &str) -> Parsed<()> {
    let function = call.function;
    let (wanted, found) = (function.args.len(), call.args.len());
    let name = quote(function.name);
    if function.variadic == 0 {
        if wanted != found {
            return fail(span, format!("expected {wanted} argument(s) in call to {name}, got {found}"));
        }
    } else {
        let least = wanted - 1;
        if found < least {
            return fail(span, format!("expected at least {least} argument(s) in call to {name}, got {found}"));
        }
        let most = least as i64 + i64::from(function.variadic);
        if function.variadic > 0 && found as i64 > most {
            return fail(span, format!("expected at most {most} argument(s) in call to {name}, got {found}"));
        }
    }
    if function.name == "info" && found > 1 {
        check_info_selector(&mut call.args[1], span)?;
    }
    for (i, arg) in call.args.iter_mut().enumerate() {
        let wanted = function.args[i.min(function.args.len() - 1)];
        let found = check(arg, query)?;
        if found != wanted {
            let (wanted, found) = (wanted.documented(), found.documented());
            return fail(arg.span, format!("expected type {wanted} in call to function {name}, got {found}"));
        }
    }
    Ok(())
}

fn check_info_selector(arg: &mut Expr, call: Span) -> Parsed<()> {
    let found = arg.value_type();
    if found != ValueType::Vector {
        let (wanted, found) = (ValueType::Vector.documented(), found.documented());
        return fail(call, format!("expected type {wanted} in call to function \"info\", got {found}"));
    }
    match &mut arg.kind {
        ExprKind::Vector(selector) if !selector.name.is_empty() => {
            fail(arg.span, "expected label selectors only, got vector selector instead")
        }
        ExprKind::Vector(selector) => {
            selector.is_info_selector = true;
            Ok(())
        }
        _ => fail(arg.span, "expected label selectors only"),
    }
}

fn check_selector(selector: &VectorSelector) -> Result<(), Failure> {
    if !selector.name.is_empty() {
        let others = &selector.matchers[..selector.matchers.len().saturating_sub(1)];
        if let Some(other) = others.iter().find(|m| m.name == METRIC_NAME) {
            let (name, other) = (quote(&selector.name), quote(&other.value));
            return fail(selector.span, format!("metric name must not be set twice: {name} or {other}"));
        }
        return Ok(());
    }
    if !selector.is_info_selector && selector.matchers.iter().all(|m| m.matches("")) {
        return fail(selector.span, "vector selector must contain at least one non-empty matcher");
    }
    Ok(())
}
