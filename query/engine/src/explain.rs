//! From the planner's and the executor's errors to ours.

use crate::catalog::CatalogError;
use crate::error::{ErrorKind, QueryError};
use crate::hint;
use crate::names::table_names;
use crate::parse::ParseFailure;
use arrow::error::ArrowError;
use bodkin_schema::Stream;
use datafusion::common::{DataFusionError, Diagnostic, SchemaError};
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Location, TokenWithSpan};

impl From<CatalogError> for QueryError {
    fn from(error: CatalogError) -> Self {
        from_catalog(&error)
    }
}

fn from_catalog(error: &CatalogError) -> QueryError {
    match error {
        CatalogError::NoSuchVersion { .. } => QueryError::new(ErrorKind::NotFound, error.to_string()),
        CatalogError::Unavailable(source) => QueryError::new(ErrorKind::Internal, format!("{error}: {source}")),
    }
}

impl QueryError {
    /// Why `text` was not even planned.
    pub(crate) fn from_parsing(failure: ParseFailure, text: &str) -> Self {
        match failure {
            ParseFailure::Empty => {
                Self::new(ErrorKind::Syntax, "the query is empty").with_hint("SELECT count(*) FROM events")
            }
            ParseFailure::Several => {
                Self::new(ErrorKind::Syntax, "the query holds several statements").with_hint("send one at a time")
            }
            ParseFailure::Denied(word) => {
                Self::new(ErrorKind::Denied, format!("{word} is not allowed")).with_hint(hint::ONLY_READS)
            }
            ParseFailure::Syntax(error) => Self::from_planning(&error, text),
            ParseFailure::TooDeep(what) => {
                Self::new(ErrorKind::Limit, what).with_hint("write long conditions as IN (...), long unions as VALUES")
            }
        }
    }

    /// Why `text` has no plan.
    pub(crate) fn from_planning(error: &DataFusionError, text: &str) -> Self {
        let (diagnostic, root) = peel(error);
        let asked = Asked { tokens: hint::tokens(text), span: diagnostic.and_then(|diagnostic| diagnostic.span) };
        match root {
            DataFusionError::SQL(error, _) => asked.syntax(error),
            DataFusionError::SchemaError(error, _) => asked.schema(error),
            DataFusionError::Plan(message) => asked.plan(message, diagnostic),
            DataFusionError::NotImplemented(message) => asked.missing(message),
            _ => asked.placed(Self::from_root(root), asked.at()),
        }
    }

    /// Why a query that was planned has no answer.
    pub(crate) fn from_execution(error: DataFusionError) -> Self {
        if let Some(own) = own_error(&error) {
            return own.clone();
        }
        Self::from_root(peel(&error).1)
    }

    fn from_root(root: &DataFusionError) -> Self {
        let message = one_line(&root.message());
        if let Some(reason) = pattern_error(&root.message()) {
            return Self::new(ErrorKind::Execution, format!("the regular expression is wrong: {reason}"))
                .with_hint("patterns are as in RE2: no lookaround, no backreferences");
        }
        if let Some((_, reason)) = message.split_once("Error evaluating filter predicate: ") {
            let hint = hint::for_value(reason);
            return Self { hint, ..Self::new(ErrorKind::Execution, reason) };
        }
        if let Some(what) = spill_error(&message) {
            return Self::new(ErrorKind::Limit, what)
                .with_hint("narrow the time range, select fewer columns, or group by fewer values");
        }
        match root {
            DataFusionError::ResourcesExhausted(_) => Self::new(ErrorKind::Limit, memory_error(&message))
                .with_hint("narrow the time range, select fewer columns, or group by fewer values"),
            DataFusionError::External(error) if error.is::<CatalogError>() => {
                error.downcast_ref().map_or_else(|| Self::new(ErrorKind::Internal, message), from_catalog)
            }
            DataFusionError::External(error) if error.is::<Self>() => {
                error.downcast_ref().cloned().unwrap_or_else(|| Self::new(ErrorKind::Internal, message))
            }
            DataFusionError::Execution(_) | DataFusionError::ArrowError(..) => {
                let hint = hint::for_value(&message);
                Self { hint, ..Self::new(ErrorKind::Execution, message) }
            }
            DataFusionError::Plan(_)
            | DataFusionError::NotImplemented(_)
            | DataFusionError::SchemaError(..)
            | DataFusionError::Configuration(_) => {
                let hint = hint::for_value(&message);
                Self { hint, ..Self::new(ErrorKind::Plan, message) }
            }
            _ => Self::new(ErrorKind::Internal, message),
        }
    }
}

/// The error of ours that the planner's and the reader's errors are wrapped around.
fn own_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a QueryError> {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.take(16).find_map(|error| error.downcast_ref())
}

/// The first diagnostic on the way to the innermost error, and that error.
fn peel(error: &DataFusionError) -> (Option<&Diagnostic>, &DataFusionError) {
    let mut diagnostic = None;
    let mut error = error;
    loop {
        error = match error {
            DataFusionError::Context(_, inner) => inner,
            DataFusionError::Shared(inner) => inner,
            DataFusionError::Diagnostic(found, inner) => {
                diagnostic.get_or_insert(found.as_ref());
                inner
            }
            DataFusionError::Collection(errors) if !errors.is_empty() => &errors[0],
            DataFusionError::ArrowError(inner, _) => match inner.as_ref() {
                ArrowError::ExternalError(source) => match source.downcast_ref() {
                    Some(inner) => inner,
                    None => return (diagnostic, error),
                },
                _ => return (diagnostic, error),
            },
            DataFusionError::External(source) => match source.downcast_ref() {
                Some(inner) => inner,
                None => return (diagnostic, error),
            },
            _ => return (diagnostic, error),
        }
    }
}

/// The first line, without what is meant for the planner's authors.
fn one_line(message: &str) -> String {
    let line = message.split("\n\nbacktrace:").next().unwrap_or_default().lines().next().unwrap_or_default();
    line.trim_end_matches('.').to_owned()
}

/// What the compiler of regular expressions says; it comes as the last line of a drawing of the pattern.
fn pattern_error(message: &str) -> Option<String> {
    if message.contains("CompiledTooBig") {
        return Some("it is too large".to_owned());
    }
    if !message.contains("regex parse error") && !message.contains("egular expression did not compile") {
        return None;
    }
    let reason = message.lines().find_map(|line| line.trim().strip_prefix("error: "));
    Some(reason.unwrap_or("it cannot be read").to_owned())
}

/// The pool's message names who asked in vain; the rest of it is for those who run the server.
fn memory_error(message: &str) -> String {
    match between(message, "Additional allocation failed for ", " ") {
        Some(operator) => format!("the query needs more memory than it may use ({operator})"),
        None => message.to_owned(),
    }
}

/// Spill files are all that a query writes. Their bound comes as an error of the file, as does a disk without room.
fn spill_error(message: &str) -> Option<String> {
    if let Some((_, limit)) = message.split_once("exceeded the allowable limit of ") {
        let limit = limit.split(". ").next().unwrap_or_default();
        return Some(format!(
            "the query needs more memory than it may use, and what queries spill takes {limit} already"
        ));
    }
    let is_full = message.contains("No space left on device");
    is_full
        .then(|| "the query needs more memory than it may use, and the disk has no room for what it spills".to_owned())
}

/// The text that was asked, and the place in it that the planner named.
struct Asked {
    tokens: Vec<TokenWithSpan>,
    span: Option<datafusion::common::Span>,
}

impl Asked {
    fn at(&self) -> Option<Location> {
        self.span.map(|span| Location { line: span.start.line, column: span.start.column })
    }

    fn placed(&self, mut error: QueryError, at: Option<Location>) -> QueryError {
        let at = at.filter(|at| at.line > 0);
        error.line = at.map(|at| at.line);
        error.column = at.map(|at| at.column);
        error
    }

    /// Something that the planner knows and does not do.
    fn missing(&self, message: &str) -> QueryError {
        let plan = |message: &str| QueryError::new(ErrorKind::Plan, message);
        let error = match message {
            "TOP" => plan("TOP is not supported").with_hint("LIMIT 5 at the end does the same"),
            _ if message.contains("does not support logical expression WindowFunction") => {
                plan("a window function stands where none can be")
                    .with_hint("put it into a subquery, and group or filter outside of it")
            }
            _ => plan(&one_line(message)),
        };
        self.placed(error, self.at())
    }

    fn syntax(&self, error: &ParserError) -> QueryError {
        let message = match error {
            ParserError::RecursionLimitExceeded => {
                return QueryError::new(ErrorKind::Limit, "the query is nested too deeply");
            }
            ParserError::TokenizerError(message) | ParserError::ParserError(message) => message,
        };
        let (message, at) = split_place(message);
        let found = message.rsplit_once("found: ").map(|(_, found)| found);
        let hint = hint::for_syntax(message, found, &self.tokens, at);
        self.placed(QueryError { hint, ..QueryError::new(ErrorKind::Syntax, one_line(message)) }, at.or(self.at()))
    }

    fn schema(&self, error: &SchemaError) -> QueryError {
        match error {
            SchemaError::FieldNotFound { field, valid_fields } => {
                let at = self.at().or_else(|| hint::locate(&self.tokens, &field.name));
                let mut valid: Vec<_> = valid_fields.iter().map(|field| field.name.clone()).collect();
                valid.dedup();
                let message = match &field.relation {
                    Some(relation) => format!("column {}.{} does not exist", relation.table(), field.name),
                    None => format!("column {} does not exist", field.name),
                };
                let hint = hint::for_column(&field.name, &valid, &stream_columns(), &self.tokens, at);
                self.placed(QueryError { hint, ..QueryError::new(ErrorKind::NotFound, message) }, at)
            }
            SchemaError::AmbiguousReference { field } => {
                let at = self.at().or_else(|| hint::locate(&self.tokens, &field.name));
                let message = format!("column {} is in more than one table", field.name);
                let error =
                    QueryError::new(ErrorKind::Plan, message).with_hint(format!("name the table: a.{}", field.name));
                self.placed(error, at)
            }
            other => self.placed(QueryError::new(ErrorKind::Plan, one_line(&other.to_string())), self.at()),
        }
    }

    fn plan(&self, message: &str, diagnostic: Option<&Diagnostic>) -> QueryError {
        if let Some(name) = between(message, "table '", "' not found") {
            let bare = name.rsplit('.').next().unwrap_or(name);
            let at = self.at().or_else(|| hint::locate(&self.tokens, bare));
            let error = QueryError::new(ErrorKind::NotFound, format!("table {bare} does not exist"));
            return self.placed(error.with_hint(hint::for_table(name, &table_names())), at);
        }
        if let Some(name) =
            between(message, "Invalid function '", "'").or_else(|| between(message, "table function '", "' not found"))
        {
            let at = self.at().or_else(|| hint::locate(&self.tokens, name));
            let error = QueryError::new(ErrorKind::NotFound, format!("function {name} does not exist"));
            return self.placed(error.with_hint(hint::for_function(name)), at);
        }
        if message.contains(" not supported: ")
            && ["DDL", "DML", "Statement"].iter().any(|word| message.starts_with(word))
        {
            return QueryError::new(ErrorKind::Denied, one_line(message)).with_hint(hint::ONLY_READS);
        }
        let from_diagnostic =
            diagnostic.and_then(|diagnostic| diagnostic.helps.first()).map(|help| help.message.clone());
        let said = signature_error(message);
        let hint = from_diagnostic.or_else(|| hint::for_value(said.as_deref().unwrap_or(message)));
        let message = said.unwrap_or_else(|| diagnostic.map_or(message, |diagnostic| &diagnostic.message).to_owned());
        self.placed(QueryError { hint, ..QueryError::new(ErrorKind::Plan, one_line(&message)) }, self.at())
    }
}

/// What an operator or a function cannot do with the types that it was given.
fn signature_error(message: &str) -> Option<String> {
    if let Some(name) = between(message, "Function '", "' failed to match any signature") {
        let given = between(message, "but received ", " (DataType:")?;
        return Some(format!("{name} does not take values of type {given}"));
    }
    let (start, end) = ("Cannot coerce arithmetic expression ", " to valid types");
    if let Some(expression) = between(message, start, end) {
        return Some(format!("there is no {expression}"));
    }
    let (start, end) = ("Cannot infer common argument type for comparison operation ", "'");
    let compared = message.split_once(start)?.1.split(end).next()?;
    Some(format!("there is no comparison {}", compared.trim()))
}

fn stream_columns() -> Vec<(&'static str, Vec<String>)> {
    let columns = |stream: Stream| stream.schema().fields().iter().map(|field| field.name().clone()).collect();
    Stream::ALL.into_iter().map(|stream| (stream.name(), columns(stream))).collect()
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    text.split_once(start)?.1.split_once(end).map(|(inner, _)| inner)
}

/// A parser's message without its place, and the place.
fn split_place(message: &str) -> (&str, Option<Location>) {
    let place = |message: &'_ str| -> Option<(usize, Location)> {
        let start = message.rfind(" at Line: ")?;
        let (line, column) = message.get(start + " at Line: ".len()..)?.split_once(", Column: ")?;
        let column = column.split(|c: char| !c.is_ascii_digit()).next()?;
        Some((start, Location { line: line.parse().ok()?, column: column.parse().ok()? }))
    };
    match place(message) {
        Some((start, at)) => (message.get(..start).unwrap_or(message), Some(at)),
        None => (message, None),
    }
}
