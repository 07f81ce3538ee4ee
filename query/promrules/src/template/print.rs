//! Values as Go prints them.

use super::{OUTPUT_BYTES_MAX, TemplateError, Val};
use std::fmt;

impl fmt::Display for Val {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, open: &str, items: Vec<String>, close: &str| {
            write!(f, "{open}{}{close}", items.join(" "))
        };
        match self {
            Self::Nil => f.write_str("<no value>"),
            Self::Bool(bool) => write!(f, "{bool}"),
            Self::Int(int) => write!(f, "{int}"),
            Self::Float(float) => f.write_str(&go_float(*float)),
            Self::Text(text) => f.write_str(text),
            Self::Labels(labels) => list(f, "map[", labels.iter().map(|(n, v)| format!("{n}:{v}")).collect(), "]"),
            Self::Sample(sample) => {
                let labels: Vec<String> = sample.labels.iter().map(|(n, v)| format!("{n}:{v}")).collect();
                write!(f, "&{{map[{}] {}}}", labels.join(" "), go_float(sample.value))
            }
            Self::List(items) => list(f, "[", items.iter().map(ToString::to_string).collect(), "]"),
            Self::Named(values) => list(f, "map[", values.iter().map(|(n, v)| format!("{n}:{v}")).collect(), "]"),
            Self::Alert => f.write_str("{}"),
        }
    }
}

/// A number as Go's `%v`: shortest, with an exponent below 1e-4 and from 1e21 on.
pub(super) fn go_float(value: f64) -> String {
    if let Some(special) = special(value) {
        return special.to_owned();
    }
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e21).contains(&magnitude) {
        exponent(&format!("{value:e}"))
    } else {
        format!("{value}")
    }
}

fn special(value: f64) -> Option<&'static str> {
    if value.is_nan() {
        Some("NaN")
    } else if value == f64::INFINITY {
        Some("+Inf")
    } else if value == f64::NEG_INFINITY {
        Some("-Inf")
    } else {
        None
    }
}

/// Rust's exponent as Go writes it: a sign, and two digits at least.
fn exponent(text: &str) -> String {
    let (digits, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(("+", exponent), |exponent| ("-", exponent));
    format!("{digits}e{sign}{exponent:0>2}")
}

/// `%.{digits}g`
pub(super) fn general(value: f64, digits: usize) -> String {
    if let Some(special) = special(value) {
        return special.to_owned();
    }
    if value == 0.0 {
        return if value.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    let digits = digits.max(1);
    let scientific = format!("{value:.*e}", digits - 1);
    let power: i32 = scientific.split_once('e').and_then(|(_, power)| power.parse().ok()).unwrap_or(0);
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if power < -4 || power >= digits as i32 {
        let (mantissa, power) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        return exponent(&format!("{}e{power}", trim(mantissa)));
    }
    trim(&format!("{value:.*}", (digits as i32 - 1 - power).max(0) as usize))
}

/// `%[flags][width][.precision]verb` and what it is about.
struct Verb {
    is_left: bool,
    has_plus: bool,
    is_zero_filled: bool,
    width: usize,
    precision: Option<usize>,
    verb: char,
}

/// Go's `fmt.Sprintf`, with the verbs that make sense for values of templates.
pub(super) fn sprintf(format: &str, args: &[Val]) -> Result<String, TemplateError> {
    let mut out = String::new();
    let mut args = args.iter();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let (verb, after) = verb(&rest[at + 1..])?;
        rest = after;
        if verb.verb == '%' {
            out.push('%');
            continue;
        }
        let text = match args.next() {
            Some(arg) => verb.print(arg),
            None => format!("%!{}(MISSING)", verb.verb),
        };
        out.push_str(&verb.padded(&text));
        if out.len() > OUTPUT_BYTES_MAX {
            return Err(TemplateError(format!("printf makes more than {OUTPUT_BYTES_MAX} bytes")));
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn verb(text: &str) -> Result<(Verb, &str), TemplateError> {
    let mut verb =
        Verb { is_left: false, has_plus: false, is_zero_filled: false, width: 0, precision: None, verb: 'v' };
    let mut chars = text.char_indices().peekable();
    while let Some((_, c)) = chars.next_if(|(_, c)| "-+0# ".contains(*c)) {
        match c {
            '-' => verb.is_left = true,
            '+' => verb.has_plus = true,
            '0' => verb.is_zero_filled = true,
            _ => {}
        }
    }
    let number = |chars: &mut std::iter::Peekable<std::str::CharIndices<'_>>| {
        let mut value = 0usize;
        while let Some((_, c)) = chars.next_if(|(_, c)| c.is_ascii_digit()) {
            value = value.saturating_mul(10).saturating_add(c as usize - '0' as usize);
        }
        if value > 1000 { Err(TemplateError(format!("printf: a width of {value}"))) } else { Ok(value) }
    };
    verb.width = number(&mut chars)?;
    if chars.next_if(|(_, c)| *c == '.').is_some() {
        verb.precision = Some(number(&mut chars)?);
    }
    let Some((at, c)) = chars.next() else { return Err(TemplateError("printf: %!(NOVERB)".to_owned())) };
    verb.verb = c;
    Ok((verb, &text[at + c.len_utf8()..]))
}

impl Verb {
    fn print(&self, arg: &Val) -> String {
        let signed =
            |text: String, is_negative: bool| if self.has_plus && !is_negative { format!("+{text}") } else { text };
        let precision = self.precision;
        match (self.verb, arg) {
            ('v' | 's', Val::Text(text)) => self.cut(text),
            ('q', Val::Text(text)) => bodkin_promql::text::quote(text),
            ('x', Val::Text(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
            ('v', Val::Float(float)) => {
                signed(precision.map_or_else(|| go_float(*float), |p| general(*float, p)), *float < 0.0)
            }
            ('g', Val::Float(float)) => {
                signed(precision.map_or_else(|| go_float(*float), |p| general(*float, p)), *float < 0.0)
            }
            ('f' | 'F', Val::Float(float)) => {
                let text = special(*float).map_or_else(|| format!("{float:.*}", precision.unwrap_or(6)), str::to_owned);
                signed(text, *float < 0.0)
            }
            ('e', Val::Float(float)) => {
                let text = || exponent(&format!("{float:.*e}", precision.unwrap_or(6)));
                signed(special(*float).map_or_else(text, str::to_owned), *float < 0.0)
            }
            ('d' | 'v', Val::Int(int)) => signed(int.to_string(), *int < 0),
            ('x', Val::Int(int)) => format!("{int:x}"),
            ('t' | 'v', Val::Bool(bool)) => bool.to_string(),
            ('v' | 's', Val::Labels(_) | Val::List(_) | Val::Sample(_) | Val::Named(_) | Val::Nil) => arg.to_string(),
            (verb, arg) => {
                let kind = match arg {
                    Val::Float(_) => "float64",
                    Val::Int(_) => "int",
                    Val::Text(_) => "string",
                    Val::Bool(_) => "bool",
                    _ => "value",
                };
                format!("%!{verb}({kind}={arg})")
            }
        }
    }

    fn cut(&self, text: &str) -> String {
        self.precision.map_or_else(|| text.to_owned(), |count| text.chars().take(count).collect())
    }

    fn padded(&self, text: &str) -> String {
        let missing = self.width.saturating_sub(text.chars().count());
        if missing == 0 {
            return text.to_owned();
        }
        if self.is_left {
            return format!("{text}{}", " ".repeat(missing));
        }
        if self.is_zero_filled {
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['-', '+'])));
            return format!("{sign}{}{digits}", "0".repeat(missing));
        }
        format!("{}{text}", " ".repeat(missing))
    }
}
