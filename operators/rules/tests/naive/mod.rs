//! A second evaluator, row by row over the syntax tree and as plain as can be. Tests hold the batch evaluator against
//! it, and the benchmark measures it as the baseline.

pub(crate) mod columns;

use bodkin_rules::syntax::{Call, Check, Expr, Literal, Modifier, Op, Operand, Transformer, Value};

/// A value of a row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum V {
    Text(Vec<u8>),
    Number(i64),
    Flag(bool),
    Address(std::net::IpAddr),
}

/// A row, by its fields.
pub(crate) trait Row {
    /// The values of a field; several where it is compared with each of several.
    fn values(&self, name: &str, arg: Option<&str>) -> Vec<V>;
}

fn operand(row: &dyn Row, operand: &Operand) -> Vec<V> {
    match operand {
        Operand::Field(field) => row.values(&field.name, field.arg.as_deref()),
        Operand::Text(literal) => vec![V::Text(literal.bytes.clone())],
        Operand::List(items) => items.iter().flat_map(|item| self::operand(row, item)).collect(),
        Operand::Call(call) => self::call(row, call),
    }
}

fn call(row: &dyn Row, call: &Call) -> Vec<V> {
    let args: Vec<Vec<V>> = call.args.iter().map(|arg| operand(row, arg)).collect();
    if args.iter().any(Vec::is_empty) {
        return Vec::new();
    }
    let first = match &args[0][0] {
        V::Text(text) => String::from_utf8(text.clone()).unwrap(),
        other => panic!("{other:?}"),
    };
    match call.transformer {
        Transformer::ToLower => vec![V::Text(first.to_lowercase().into_bytes())],
        Transformer::ToUpper => vec![V::Text(first.to_uppercase().into_bytes())],
        Transformer::Basename => vec![V::Text(first.split('/').next_back().unwrap().into())],
        Transformer::Len => vec![V::Number(first.len() as i64)],
        Transformer::Concat => {
            let all = args.iter().flat_map(|arg| match &arg[0] {
                V::Text(text) => text.clone(),
                other => panic!("{other:?}"),
            });
            vec![V::Text(all.collect())]
        }
        other => panic!("{other}"),
    }
}

/// Says whether a condition without macros holds for a row.
pub(crate) fn holds(row: &dyn Row, expr: &Expr) -> bool {
    match expr {
        Expr::And(children) => children.iter().all(|child| holds(row, child)),
        Expr::Or(children) => children.iter().any(|child| holds(row, child)),
        Expr::Not(child) => !holds(row, child),
        Expr::Check(check) => check_holds(row, check),
        other => panic!("{other}"),
    }
}

fn check_holds(row: &dyn Row, check: &Check) -> bool {
    let found = operand(row, &check.left);
    let literals: &[Literal] = match &check.right {
        Value::None => return !found.is_empty(),
        Value::One(literal) => std::slice::from_ref(literal),
        Value::Many(literals) => literals,
        Value::Operand(right) => {
            let right = operand(row, right);
            return !found.is_empty() && !right.is_empty() && ordered(check.op, &found[0], &right[0]);
        }
    };
    let is_pair =
        matches!(&check.left, Operand::Field(field) if matches!(field.name.as_str(), "fd.ip" | "fd.net" | "fd.port"));
    let passes = |value: &V| {
        let mut each = literals.iter().map(|literal| one(check.op, value, literal));
        match check.modifier {
            Some(Modifier::AllOf) => !literals.is_empty() && each.all(|holds| holds),
            Some(Modifier::OneOf) => each.filter(|holds| *holds).count() == 1,
            Some(Modifier::AnyOf) | None => each.any(|holds| holds),
        }
    };
    if is_pair && check.op == Op::Ne { !found.is_empty() && found.iter().all(passes) } else { found.iter().any(passes) }
}

fn ordered(op: Op, left: &V, right: &V) -> bool {
    let (left, right) = match (left, right) {
        (V::Text(left), V::Text(right)) => (left, right),
        other => panic!("{other:?}"),
    };
    match op {
        Op::Eq => left == right,
        Op::Ne => left != right,
        Op::StartsWith => left.starts_with(right),
        other => panic!("{other}"),
    }
}

fn one(op: Op, value: &V, literal: &Literal) -> bool {
    let wanted = std::str::from_utf8(&literal.bytes).unwrap();
    match value {
        V::Text(text) => one_text(op, std::str::from_utf8(text).unwrap(), wanted),
        V::Number(number) => {
            let wanted: i64 = wanted.parse().unwrap();
            match op {
                Op::Eq | Op::In | Op::Intersects => *number == wanted,
                Op::Ne => *number != wanted,
                Op::Lt => *number < wanted,
                Op::Le => *number <= wanted,
                Op::Gt => *number > wanted,
                Op::Ge => *number >= wanted,
                other => panic!("{other}"),
            }
        }
        V::Flag(flag) => (*flag == (wanted == "true")) != (op == Op::Ne),
        V::Address(address) => {
            let is_in = match wanted.split_once('/') {
                None => *address == wanted.parse::<std::net::IpAddr>().unwrap(),
                Some((network, bits)) => in_network(*address, network.parse().unwrap(), bits.parse().unwrap()),
            };
            is_in != (op == Op::Ne)
        }
    }
}

fn in_network(address: std::net::IpAddr, network: std::net::IpAddr, bits: usize) -> bool {
    let octets = |address: std::net::IpAddr| match address {
        std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
        std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let (a, b) = (octets(address), octets(network));
    let bit = |octets: &[u8], index: usize| octets[index / 8] >> (7 - index % 8) & 1;
    a.len() == b.len() && (0..bits).all(|index| bit(&a, index) == bit(&b, index))
}

fn one_text(op: Op, text: &str, wanted: &str) -> bool {
    match op {
        Op::Eq | Op::In | Op::Intersects => text == wanted,
        Op::Ne => text != wanted,
        Op::Lt => text < wanted,
        Op::Le => text <= wanted,
        Op::Gt => text > wanted,
        Op::Ge => text >= wanted,
        Op::Contains => text.contains(wanted),
        Op::Icontains => text.to_lowercase().contains(&wanted.to_lowercase()),
        Op::StartsWith => text.starts_with(wanted),
        Op::EndsWith => text.ends_with(wanted),
        Op::Glob => glob(&text.chars().collect::<Vec<_>>(), &wanted.chars().collect::<Vec<_>>()),
        Op::Iglob => one_text(Op::Glob, &text.to_lowercase(), &wanted.to_lowercase()),
        Op::Regex => match wanted {
            "a.*" => text.starts_with('a'),
            "[ab]+" => !text.is_empty() && text.chars().all(|c| "ab".contains(c)),
            other => panic!("{other}"),
        },
        Op::Pmatch => {
            let parts =
                |path: &str| path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect::<Vec<_>>();
            parts(text).starts_with(&parts(wanted))
        }
        other => panic!("{other}"),
    }
}

fn glob(text: &[char], pattern: &[char]) -> bool {
    match (text, pattern) {
        ([], []) => true,
        (_, ['*', rest @ ..]) => (0..=text.len()).any(|skipped| glob(&text[skipped..], rest)),
        ([_, text @ ..], ['?', rest @ ..]) => glob(text, rest),
        ([a, text @ ..], [b, rest @ ..]) => a == b && glob(text, rest),
        _ => false,
    }
}
