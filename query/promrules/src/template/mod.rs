//! Go's templates as rule files use them in labels and annotations: `{{ $labels.instance }} is at {{ $value | humanize }}`.
//!
//! | module | what it holds |
//! |---|---|
//! | `parse` | text to a tree |
//! | `run` | a tree and an alert to text |
//! | `functions` | what can be called |
//! | `humanize` | numbers for people |
//! | `print` | values as Go prints them |

mod functions;
mod humanize;
mod parse;
mod print;
mod run;

use std::collections::BTreeMap;
use std::rc::Rc;

/// Bytes that a template may make.
const OUTPUT_BYTES_MAX: usize = 1 << 20;

/// Why a template gives no text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(pub(crate) String);

/// A parsed template.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    nodes: Vec<parse::Node>,
    defined: parse::Defined,
}

/// A sample that a query of a template gives.
#[derive(Clone, Debug, PartialEq)]
pub struct QueriedSample {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// Answers queries of templates.
pub type QueryFn<'a> = dyn Fn(&str) -> Result<Vec<QueriedSample>, String> + 'a;

/// What a template is about.
pub struct Context<'a> {
    /// `$labels`
    pub labels: BTreeMap<String, String>,
    /// `$value`
    pub value: f64,
    /// `$externalLabels`
    pub external_labels: &'a BTreeMap<String, String>,
    /// `$externalURL`
    pub external_url: &'a str,
    /// Answers `query`.
    pub query: &'a QueryFn<'a>,
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("labels", &self.labels).field("value", &self.value).finish_non_exhaustive()
    }
}

/// A value of a template.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Val {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Rc<str>),
    Labels(Rc<BTreeMap<String, String>>),
    Sample(Rc<QueriedSample>),
    List(Rc<Vec<Val>>),
    /// What `args` gives: `arg0`, `arg1`, ...
    Named(Rc<BTreeMap<String, Val>>),
    /// What `.` is at first.
    Alert,
}

/// The page of an expression.
pub(crate) fn graph_link(external_url: &str, expr: &str) -> String {
    format!("{external_url}/graph?g0.expr={}&g0.tab=1", functions::escape_query(expr))
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        parse::parse(text).map(|(nodes, defined)| Self { nodes, defined })
    }

    /// The text for an alert.
    ///
    /// # Errors
    /// What went wrong; nothing is given then.
    pub fn expand(&self, context: &Context<'_>) -> Result<String, TemplateError> {
        run::Run::new(context, &self.defined).text(&self.nodes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str) -> Result<String, String> {
        let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        let external = pairs(&[("dc", "eu")]);
        let query = |text: &str| match text {
            "none" => Ok(Vec::new()),
            "bad" => Err("no such thing".to_owned()),
            _ => Ok(vec![
                QueriedSample { labels: pairs(&[("__name__", "m"), ("instance", "b")]), value: 11.0 },
                QueriedSample { labels: pairs(&[("__name__", "m"), ("instance", "a")]), value: 21.0 },
            ]),
        };
        let context = Context {
            labels: pairs(&[("instance", "host:9100"), ("job", "node")]),
            value: 1234.5678,
            external_labels: &external,
            external_url: "http://testhost:9090/path/prefix",
            query: &query,
        };
        let template = Template::parse(text).map_err(|error| error.to_string())?;
        template.expand(&context).map_err(|error| error.to_string())
    }

    #[test]
    fn as_prometheus_expands_them() {
        for (template, expected) in [
            ("plain", "plain"),
            ("{{ $labels.instance }} of {{ .Labels.job }}", "host:9100 of node"),
            ("{{ $labels.missing }}|", "|"),
            ("{{ $value }}", "1234.5678"),
            ("{{ .Value | humanize }}", "1.235k"),
            ("{{ $value | printf \"%.1f\" }}", "1234.6"),
            ("{{ printf \"%s-%d-%v-%q\" \"a\" 3 true \"x\" }}", "a-3-true-\"x\""),
            ("{{ $externalLabels.dc }}", "eu"),
            ("{{ externalURL }} {{ pathPrefix }}", "http://testhost:9090/path/prefix /path/prefix"),
            ("{{ if gt $value 100.0 }}high{{ else }}low{{ end }}", "high"),
            ("{{ if eq $labels.job \"x\" }}x{{ else if eq $labels.job \"node\" }}n{{ end }}", "n"),
            ("{{ with $labels.job }}{{ . }}!{{ end }}", "node!"),
            ("{{ range query \"m\" }}{{ .Labels.instance }}={{ .Value }} {{ end }}", "b=11 a=21 "),
            ("{{ range query \"none\" }}x{{ else }}nothing{{ end }}", "nothing"),
            ("{{ range $i, $s := query \"m\" }}{{ $i }}:{{ $s.Value }},{{ end }}", "0:11,1:21,"),
            ("{{ query \"m\" | first | value }}", "11"),
            ("{{ query \"m\" | sortByLabel \"instance\" | first | label \"instance\" }}", "a"),
            ("{{ with query \"m\" }}{{ . | first | value | humanize }}{{ end }}", "11"),
            ("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}", "2"),
            ("a {{- /* gone */ -}} b", "ab"),
            ("a  {{- 1 -}}  b", "a1b"),
            ("{{ \"abc\" | toUpper | title }}", "ABC"),
            ("{{ reReplaceAll \"(.*):.*\" \"$1\" $labels.instance }}", "host"),
            ("{{ match \"^h.*\" $labels.instance }}", "true"),
            (
                "{{ humanizePercentage 0.12345 }} {{ humanizeDuration 93784.5 }} {{ humanize1024 2048.0 }}",
                "12.35% 1d 2h 3m 4s 2ki",
            ),
            ("{{ humanizeTimestamp 1435065584.128 }}", "2015-06-23 13:19:44.128 +0000 UTC"),
            ("{{ stripPort \"a:80\" }} {{ stripDomain \"a.b:80\" }}", "a a:80"),
            ("{{ len $labels }} {{ index $labels \"job\" }}", "2 node"),
            ("{{ $labels }}", "map[instance:host:9100 job:node]"),
            ("{{ (first (query \"m\")).Labels.instance }}", "b"),
            ("{{ parseDuration \"1h30m\" }}", "5400"),
            ("{{ and true $labels.job }} {{ or \"\" 5 }} {{ not false }}", "node 5 true"),
            ("{{ graphLink \"up\" }}", "/graph?g0.expr=up&g0.tab=0"),
            (
                "{{ define \"x\" }}<{{ .job }}>{{ end }}a{{ template \"x\" $labels }}{{ template \"x\" .Labels }}",
                "a<node><node>",
            ),
            ("{{ block \"b\" $value }}{{ . | humanize }} {{ $ }}{{ end }}", "1.235k 1234.5678"),
            ("{{ template \"later\" }}{{ define \"later\" }}[{{ . }}]{{ end }}", "[<no value>]"),
            ("{{ range query \"m\" }}{{ if eq .Value 21.0 }}{{ continue }}{{ end }}{{ .Value }};{{ end }}", "11;"),
            ("{{ range query \"m\" }}{{ .Value }}{{ if true }}{{ break }}{{ end }};{{ end }}!", "11!"),
            ("{{ 1e100 }} {{ 0.00001 }} {{ 100000 }}", "1e+100 1e-05 100000"),
        ] {
            assert_eq!(expand(template).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (template, part) in [
            ("{{ $labels.instance", "unclosed action"),
            ("{{ nope }}", "\"nope\" not defined"),
            ("{{ if true }}", "missing"),
            ("{{ $nope }}", "undefined variable"),
            ("{{ query \"bad\" }}", "no such thing"),
            ("{{ first (query \"none\") }}", "first() called on vector with no elements"),
            ("{{ (1 }}", "unclosed left paren"),
            ("{{ end }}", "unexpected"),
            ("{{ break }}", "outside {{range}}"),
            ("{{ template \"nope\" . }}", "template \"nope\" not defined"),
            ("{{ template nope }}", "needs a name"),
            ("{{ define \"x\" }}{{ $labels.job }}{{ end }}{{ template \"x\" }}", "undefined variable"),
            ("{{ reReplaceAll \"(\" \"\" \"\" }}", "regex"),
        ] {
            let error = expand(template).unwrap_err();
            assert!(error.contains(part), "{template}: {error}");
        }
    }

    #[test]
    fn safe_1_deep_and_large_ones_end() {
        assert!(Template::parse(&"{{ if true }}".repeat(10_000)).is_err());
        assert!(Template::parse(&"{{ define \"x\" }}".repeat(10_000)).is_err());
        assert!(expand("{{ define \"x\" }}{{ template \"x\" }}{{ end }}{{ template \"x\" }}").is_err());
        assert!(Template::parse(&format!("{{{{ {}1 }}}}", "(".repeat(10_000))).is_err());
        let doubling =
            "{{ $x := \"0123456789\" }}".to_owned() + &"{{ $x = printf \"%s%s\" $x $x }}".repeat(40) + "{{ $x }}";
        assert!(expand(&doubling).is_err());
        assert!(expand("{{ printf \"%999999999d\" 1 }}").is_err());
    }
}
