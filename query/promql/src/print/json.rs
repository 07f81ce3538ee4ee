//! A syntax tree as the JSON of the HTTP API.

use serde_json::{Value, json};

use crate::ast::{
    AtModifier, DurationExpr, DurationKind, DurationValue, Edges, Expr, ExprKind, NumberLiteral, VectorMatching,
    VectorSelector,
};
use crate::text::format_float;

pub(super) fn expr(expr: &Expr) -> Value {
    crate::stack::grow(|| here(expr))
}

fn here(node: &Expr) -> Value {
    match &node.kind {
        ExprKind::Aggregate(aggregate) => json!({
            "type": "aggregation",
            "op": aggregate.op.as_str(),
            "expr": expr(&aggregate.expr),
            "param": aggregate.param.as_ref().map(expr),
            "grouping": aggregate.grouping,
            "without": aggregate.is_without,
        }),
        ExprKind::Binary(binary) => json!({
            "type": "binaryExpr",
            "op": binary.op.as_str(),
            "lhs": expr(&binary.lhs),
            "rhs": expr(&binary.rhs),
            "matching": binary.matching.as_ref().map(matching),
            "bool": binary.returns_bool,
        }),
        ExprKind::Call(call) => json!({
            "type": "call",
            "func": {
                "name": call.function.name,
                "argTypes": call.function.args.iter().map(|t| t.as_str()).collect::<Vec<_>>(),
                "variadic": call.function.variadic,
                "returnType": call.function.returns.as_str(),
            },
            "args": call.args.iter().map(expr).collect::<Vec<_>>(),
        }),
        ExprKind::Matrix(matrix) => {
            let mut value = selector("matrixSelector", &matrix.selector);
            value["range"] = json!(millis(&matrix.range));
            value["rangeExpr"] = duration_value(&matrix.range);
            value
        }
        ExprKind::Subquery(subquery) => {
            let step = subquery.step.as_ref();
            let (timestamp, start_or_end) = at(subquery.at);
            json!({
                "type": "subquery",
                "expr": expr(&subquery.expr),
                "range": millis(&subquery.range),
                "rangeExpr": duration_value(&subquery.range),
                "offset": millis(&subquery.offset),
                "offsetExpr": duration_value(&subquery.offset),
                "step": step.map_or(0, millis),
                "stepExpr": step.map_or(Value::Null, duration_value),
                "timestamp": timestamp,
                "startOrEnd": start_or_end,
            })
        }
        ExprKind::Number(number) => json!({ "type": "numberLiteral", "val": format_float(number.value) }),
        ExprKind::Paren(inner) => json!({ "type": "parenExpr", "expr": expr(inner) }),
        ExprKind::String(bytes) => json!({ "type": "stringLiteral", "val": String::from_utf8_lossy(bytes) }),
        ExprKind::Unary(op, inner) => json!({ "type": "unaryExpr", "op": op.as_str(), "expr": expr(inner) }),
        ExprKind::Vector(vector) => selector("vectorSelector", vector),
    }
}

fn matching(matching: &VectorMatching) -> Value {
    json!({
        "card": matching.cardinality.as_str(),
        "labels": matching.labels,
        "on": matching.is_on,
        "include": matching.include,
        "fillValues": { "lhs": matching.fill_left, "rhs": matching.fill_right },
    })
}

fn selector(kind: &str, selector: &VectorSelector) -> Value {
    let matchers = selector.matchers.iter().map(|m| json!({ "name": m.name, "value": m.value, "type": m.op.as_str() }));
    let (timestamp, start_or_end) = at(selector.at);
    json!({
        "type": kind,
        "name": selector.name,
        "offset": millis(&selector.offset),
        "offsetExpr": duration_value(&selector.offset),
        "matchers": matchers.collect::<Vec<_>>(),
        "timestamp": timestamp,
        "startOrEnd": start_or_end,
        "anchored": selector.edges == Edges::Anchored,
        "smoothed": selector.edges == Edges::Smoothed,
    })
}

fn at(at: Option<AtModifier>) -> (Option<i64>, Option<&'static str>) {
    match at {
        None => (None, None),
        Some(AtModifier::Time(ms)) => (Some(ms), None),
        Some(AtModifier::Start) => (None, Some("start")),
        Some(AtModifier::End) => (None, Some("end")),
    }
}

fn millis(value: &DurationValue) -> i64 {
    match value {
        DurationValue::Millis(ms) => *ms,
        DurationValue::Expr(_) => 0,
    }
}

fn duration_value(value: &DurationValue) -> Value {
    match value {
        DurationValue::Millis(_) => Value::Null,
        DurationValue::Expr(expr) => duration(expr),
    }
}

fn duration(node: &DurationExpr) -> Value {
    let (op, lhs, rhs) = match &node.kind {
        DurationKind::Number(number) if !node.is_wrapped => return number_literal(number),
        DurationKind::Number(number) => ("+", Value::Null, number_literal(number)),
        DurationKind::Step => ("step", Value::Null, Value::Null),
        DurationKind::Range => ("range", Value::Null, Value::Null),
        DurationKind::Unary(op, inner) => (op.as_str(), Value::Null, duration(inner)),
        DurationKind::Binary(op, a, b) => (op.as_str(), duration(a), duration(b)),
        DurationKind::MinOf(a, b) => ("min_of", duration(a), duration(b)),
        DurationKind::MaxOf(a, b) => ("max_of", duration(a), duration(b)),
    };
    json!({ "type": "durationExpr", "op": op, "lhs": lhs, "rhs": rhs, "wrapped": node.is_wrapped })
}

fn number_literal(number: &NumberLiteral) -> Value {
    json!({ "type": "numberLiteral", "val": format_float(number.value), "duration": number.is_duration })
}
