//! Lines of StatsD, with what DogStatsD adds: tags, several values, a time, a container.
//!
//! ```text
//! page.views:1|c|@0.1|#env:prod,host:a
//! query.time:12:15:9|ms
//! queue.length:-3|g
//! ```

/// What a line counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `c`
    Counter,
    /// `g`
    Gauge,
    /// `ms`, in milliseconds.
    Timer,
    /// `h`, `d`
    Distribution,
    /// `s`
    Set,
}

/// One value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Number(f64),
    /// Added to a gauge.
    Change(f64),
    /// A member of a set.
    Member(&'a str),
}

/// A line.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    pub(super) kind: Kind,
    /// Values, not parsed yet, separated by `:`.
    values: &'a str,
    /// The share of observations that are sent, above 0 and at most 1.
    pub(super) rate: f64,
    /// `name:value` or `name`, separated by commas.
    pub(super) tags: &'a str,
}

/// What a line is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Parsed<'a> {
    Metric(Line<'a>),
    /// An event or a check of a service, which is no metric.
    Other,
}

/// Reads a line.
pub(super) fn parse(line: &str) -> Result<Parsed<'_>, &'static str> {
    if line.starts_with("_e{") || line.starts_with("_sc|") {
        return Ok(Parsed::Other);
    }
    let mut parts = line.split('|');
    let (name, values) = parts.next().and_then(|head| head.split_once(':')).ok_or("no value")?;
    if name.is_empty() || values.is_empty() {
        return Err("no name or no value");
    }
    let kind = match parts.next().ok_or("no type")? {
        "c" => Kind::Counter,
        "g" => Kind::Gauge,
        "ms" => Kind::Timer,
        "h" | "d" => Kind::Distribution,
        "s" => Kind::Set,
        _ => return Err("an unknown type"),
    };
    let (mut rate, mut tags) = (1.0, "");
    for part in parts {
        if let Some(text) = part.strip_prefix('@') {
            let share: f64 = text.parse().map_err(|_| "a rate that is no number")?;
            if !(share > 0.0 && share <= 1.0) {
                return Err("a rate that is not above 0 and at most 1");
            }
            rate = share;
        } else if let Some(text) = part.strip_prefix('#') {
            tags = text;
        }
        // `T` (a time), `c:` (a container), `e:` and what may come: not used.
    }
    Ok(Parsed::Metric(Line { name, kind, values, rate, tags }))
}

impl<'a> Line<'a> {
    /// The values, each with what is wrong with it.
    pub(super) fn values(&self) -> impl Iterator<Item = Result<Value<'a>, &'static str>> + use<'a> {
        let kind = self.kind;
        // A member of a set may hold a colon.
        let parts: Box<dyn Iterator<Item = &'a str>> =
            if kind == Kind::Set { Box::new(std::iter::once(self.values)) } else { Box::new(self.values.split(':')) };
        parts.map(move |text| match kind {
            Kind::Set => Ok(Value::Member(text)),
            _ => {
                let number: f64 = text.parse().map_err(|_| "a value that is no number")?;
                if !number.is_finite() {
                    return Err("a value that is not finite");
                }
                let is_change = kind == Kind::Gauge && text.starts_with(['+', '-']);
                Ok(if is_change { Value::Change(number) } else { Value::Number(number) })
            }
        })
    }

    /// Tags as labels with valid names.
    pub(super) fn labels(&self) -> impl Iterator<Item = (String, &'a str)> + use<'a> {
        let tags = self.tags.split(',').filter(|tag| !tag.is_empty());
        tags.map(|tag| {
            let (name, value) = tag.split_once(':').unwrap_or((tag, "true"));
            (label_name(name), value)
        })
    }
}

/// A name in which what Prometheus does not know is `_`.
pub(super) fn metric_name(name: &str) -> String {
    sanitized(name, |c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

fn label_name(name: &str) -> String {
    sanitized(name, |c| c.is_ascii_alphanumeric() || c == '_')
}

fn sanitized(name: &str, is_valid: impl Fn(char) -> bool) -> String {
    let digit = if name.starts_with(|c: char| c.is_ascii_digit()) { "_" } else { "" };
    digit.chars().chain(name.chars().map(|c| if is_valid(c) { c } else { '_' })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn metric(text: &str) -> (Line<'_>, Vec<Value<'_>>) {
        let Ok(Parsed::Metric(line)) = parse(text) else { panic!("{text}") };
        let values = line.values().map(Result::unwrap).collect();
        (line, values)
    }

    #[test]
    fn lines() {
        let (line, values) = metric("page.views:1|c|@0.1|#env:prod,beta,1x:y|c:abc|T1");
        assert_eq!(
            (line.name, line.kind, line.rate, values),
            ("page.views", Kind::Counter, 0.1, vec![Value::Number(1.0)])
        );
        let labels: Vec<_> = line.labels().collect();
        assert_eq!(labels, [("env".into(), "prod"), ("beta".into(), "true"), ("_1x".into(), "y")]);
        assert_eq!(metric("t:12:15.5|ms").1, [Value::Number(12.0), Value::Number(15.5)]);
        assert_eq!(metric("g:-3|g").1, [Value::Change(-3.0)]);
        assert_eq!(metric("g:3|g").1, [Value::Number(3.0)]);
        assert_eq!(metric("u:a:b|s").1, [Value::Member("a:b")]);
        assert_eq!(metric_name("a.b-c/9"), "a_b_c_9");
        assert_eq!(parse("_e{1,1}:a|b"), Ok(Parsed::Other));
        for nonsense in ["", "a", "a:", ":1|c", "a:1", "a:1|x", "a:1|c|@0", "a:1|c|@2", "a:1|c|@x"] {
            assert!(parse(nonsense).is_err(), "{nonsense}");
        }
        let Ok(Parsed::Metric(line)) = parse("a:x:nan|g") else { panic!() };
        assert!(line.values().all(|value| value.is_err()));
    }

    proptest! {
        #[test]
        fn safe_1_any_line_ends(text in "[a-z:|@#0-9.,\\PC]{0,60}") {
            if let Ok(Parsed::Metric(line)) = parse(&text) {
                let _ = line.values().filter(Result::is_ok).count();
                let _ = line.labels().count();
            }
        }
    }
}
