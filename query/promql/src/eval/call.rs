//! Function calls.

use super::matrix::{ABSENT, Row, StepMatrix, Steps, is_absent};
use super::range::RangeContext;
use super::{Evaluated, Evaluator};
use crate::annotations::{Annotation, Annotations};
use crate::ast::{Call, DurationValue, Edges, Expr, ExprKind};
use crate::error::Error;
use crate::eval::instant::Look;
use crate::eval::source::reads_sums_only;
use crate::functions::elementwise::Elementwise;
use crate::functions::histogram::{Question, Spans};
use crate::functions::range::RangeFunction;
use crate::functions::time::DatePart;
use crate::functions::{absent, label, sort};
use crate::labels::Labels;
use crate::options::Release;
use crate::position::Span;
use crate::regexp::LabelRegex;

impl<'e> Evaluator<'_> {
    /// Evaluates a call that is no pipeline of its own.
    pub(crate) fn call(
        &self,
        call: &'e Call,
        span: Span,
        steps: &Steps,
        notes: &mut Annotations,
    ) -> Result<Evaluated, Error> {
        let name = call.function.name;
        if let Some(scalars) = self.scalar_call(call, steps, notes)? {
            return Ok(Evaluated::Scalar(scalars));
        }
        let matrix = match name {
            "vector" => constant(self.scalar(argument(call, 0)?, steps, notes)?),
            "absent" => absent::absent(&self.vector(argument(call, 0)?, steps, notes)?, &call.args[0], false),
            "absent_over_time" => self.absent_over_time(call, steps, notes)?,
            "timestamp" => self.timestamp(call, steps, notes)?,
            "start_timestamp" => {
                self.vector(argument(call, 0)?, steps, notes)?;
                StepMatrix::new(steps.count)
            }
            "label_replace" => self.label_replace(call, steps, notes)?,
            "label_join" => self.label_join(call, steps, notes)?,
            "info" => self.info(call, steps, notes)?,
            "sort" | "sort_desc" | "sort_by_label" | "sort_by_label_desc" => self.sort(call, span, steps, notes)?,
            "histogram_quantile" | "histogram_fraction" => self.histogram_call(call, steps, notes)?,
            "histogram_quantiles" => self.histogram_quantiles(call, steps, notes)?,
            _ if call.args.is_empty() => self.date_of_step(name, steps)?,
            _ if Elementwise::is_one(name) => {
                let inner = self.with_hints(self.resolves_hints || reads_sums_only(name));
                let mut matrix = inner.vector(argument(call, 0)?, steps, notes)?;
                self.elementwise(call, steps, notes)?.apply(&mut matrix);
                matrix
            }
            _ => return Err(Error::Execution(format!("function {name} has no evaluation"))),
        };
        self.settle_names(matrix.charged(&self.control)?).map(Evaluated::Vector)
    }

    /// The functions whose value is a scalar.
    fn scalar_call(&self, call: &'e Call, steps: &Steps, notes: &mut Annotations) -> Result<Option<Vec<f64>>, Error> {
        let constant = |value: f64| vec![value; steps.count];
        let range = &self.query;
        Ok(Some(match call.function.name {
            "time" => steps.times().map(|ms| ms as f64 / 1000.0).collect(),
            "pi" => constant(std::f64::consts::PI),
            "start" => constant(range.start_ms as f64 / 1000.0),
            "end" => constant(range.end_ms as f64 / 1000.0),
            "range" => constant((range.end_ms - range.start_ms) as f64 / 1000.0),
            "step" if range.start_ms == range.end_ms => constant(0.0),
            "step" => constant(range.step_ms as f64 / 1000.0),
            "min_of" | "max_of" => {
                let mut a = self.scalar(argument(call, 0)?, steps, notes)?;
                let b = self.scalar(argument(call, 1)?, steps, notes)?;
                let pick = if call.function.name == "min_of" { crate::math::min } else { crate::math::max };
                a.iter_mut().zip(&b).for_each(|(a, b)| *a = pick(*a, *b));
                a
            }
            "scalar" => only_values(&self.vector(argument(call, 0)?, steps, notes)?),
            _ => return Ok(None),
        }))
    }

    /// What a range function works with; `None` where the call is none.
    pub(crate) fn range_context(
        &self,
        call: &'e Call,
        steps: &Steps,
        notes: &mut Annotations,
    ) -> Result<Option<RangeContext>, Error> {
        let Some(function) = RangeFunction::from_name(call.function.name) else { return Ok(None) };
        let argument = argument(call, function.range_argument())?.unwrap_parens();
        let (at, offset, range, edges) = match &argument.kind {
            ExprKind::Matrix(matrix) => {
                let selector = &matrix.selector;
                (selector.at, &selector.offset, &matrix.range, selector.edges)
            }
            ExprKind::Subquery(subquery) => (subquery.at, &subquery.offset, &subquery.range, Edges::Plain),
            _ => return Err(Error::Execution("expected a range vector".to_owned())),
        };
        function.check_edges(edges, call.function.name)?;
        let look = Look { at_ms: self.at_time(at), offset_ms: self.offset(offset)?, lookback_ms: self.lookback_ms };
        let mut params = Vec::new();
        for (i, arg) in call.args.iter().enumerate() {
            if i != function.range_argument() {
                params.push(self.scalar(arg, steps, notes)?);
            }
        }
        let uses_starts = self.features.start_timestamps
            && matches!(
                function,
                RangeFunction::Rate | RangeFunction::Irate | RangeFunction::Increase | RangeFunction::Resets
            );
        Ok(Some(RangeContext {
            function,
            params,
            look,
            range_ms: self.range_ms(range)?,
            edges,
            bounds: self.bounds(),
            first_argument: self.first_argument(call, function),
            uses_start_timestamps: uses_starts,
            has_type_labels: self.features.type_and_unit_labels,
            release: self.release,
        }))
    }

    fn range_ms(&self, range: &DurationValue) -> Result<i64, Error> {
        self.positive(range)
    }

    fn absent_over_time(&self, call: &'e Call, steps: &Steps, notes: &mut Annotations) -> Result<StepMatrix, Error> {
        let Some(context) = self.range_context(call, steps, notes)? else { return Ok(StepMatrix::new(steps.count)) };
        let pipeline = self.range_source(call, context, steps, notes)?;
        let mut present = StepMatrix::new(steps.count);
        self.run(&pipeline, steps, notes, |part| {
            present.append(part);
            Ok(())
        })?;
        Ok(absent::absent(&present, argument(call, 0)?, true))
    }

    /// `timestamp` of what is no selector: the time of the step.
    fn timestamp(&self, call: &Call, steps: &Steps, notes: &mut Annotations) -> Result<StepMatrix, Error> {
        let mut matrix = self.vector(argument(call, 0)?, steps, notes)?;
        let count = steps.count.max(1);
        for i in 0..matrix.values.len() {
            let has_histogram = matrix.histograms.get(i).is_some_and(Option::is_some);
            if has_histogram || !is_absent(matrix.values[i]) {
                matrix.values[i] = steps.time(i % count) as f64 / 1000.0;
            }
        }
        matrix.histograms.clear();
        matrix.rows.iter_mut().for_each(|row| row.drops_name = true);
        Ok(matrix)
    }

    /// `hour()` and the like without argument.
    fn date_of_step(&self, name: &str, steps: &Steps) -> Result<StepMatrix, Error> {
        let Some(part) = DatePart::from_name(name) else {
            return Err(Error::Execution(format!("function {name} needs an argument")));
        };
        Ok(constant(steps.times().map(|ms| part.of((ms / 1000) as f64)).collect()))
    }

    fn label_replace(&self, call: &Call, steps: &Steps, notes: &mut Annotations) -> Result<StepMatrix, Error> {
        let (target, replacement) = (text(call, 1)?, text(call, 2)?);
        let (source, pattern) = (text(call, 3)?, text(call, 4)?);
        let Ok(regex) = LabelRegex::new(&pattern) else {
            return Err(Error::Execution(format!("invalid regular expression in label_replace(): {pattern}")));
        };
        if !is_label_name(call, 1) {
            return Err(Error::Execution(format!("invalid destination label name in label_replace(): {target}")));
        }
        let matrix = self.vector(&call.args[0], steps, notes)?;
        label::replace(matrix, &target, &replacement, &source, &regex)
    }

    fn label_join(&self, call: &Call, steps: &Steps, notes: &mut Annotations) -> Result<StepMatrix, Error> {
        let (target, separator) = (text(call, 1)?, text(call, 2)?);
        let mut sources = Vec::new();
        for i in 3..call.args.len() {
            let source = text(call, i)?;
            if !is_label_name(call, i) {
                return Err(Error::Execution(format!("invalid source label name in label_join(): {source}")));
            }
            sources.push(source);
        }
        if !is_label_name(call, 1) {
            return Err(Error::Execution(format!("invalid destination label name in label_join(): {target}")));
        }
        let matrix = self.vector(&call.args[0], steps, notes)?;
        label::join(matrix, &target, &separator, &sources)
    }

    fn sort(&self, call: &Call, span: Span, steps: &Steps, notes: &mut Annotations) -> Result<StepMatrix, Error> {
        if steps.count > 1 && self.release != Release::V3_5 {
            notes.add(&Annotation::SortInRange, span);
        }
        let matrix = self.vector(argument(call, 0)?, steps, notes)?;
        let is_descending = call.function.name.ends_with("_desc");
        if matches!(call.function.name, "sort" | "sort_desc") {
            return Ok(sort::by_value(matrix, is_descending));
        }
        let names: Vec<String> = (1..call.args.len()).map(|i| text(call, i)).collect::<Result<_, _>>()?;
        Ok(sort::by_labels(matrix, &names, is_descending))
    }

    fn histogram_call(&self, call: &Call, steps: &Steps, notes: &mut Annotations) -> Result<StepMatrix, Error> {
        let is_quantile = call.function.name == "histogram_quantile";
        let vector = argument(call, if is_quantile { 1 } else { 2 })?;
        let vector_span = self.argument_span(call, vector);
        let first = self.scalar(argument(call, 0)?, steps, notes)?;
        let first_span = self.argument_span(call, &call.args[0]);
        let question = if is_quantile {
            Question::Quantile(first)
        } else {
            Question::Fraction(first, self.scalar(argument(call, 1)?, steps, notes)?)
        };
        let matrix = self.with_hints(false).vector(vector, steps, notes)?;
        if let Question::Quantile(q) = &question {
            note_quantiles(q, first_span, notes);
        }
        let native = if self.release == Release::V3_5 { first_span } else { vector_span };
        self.ask_histograms(&matrix, &question, Spans { vector: vector_span, native }, steps, notes)
    }

    /// What annotations of a range function point at. As in Prometheus, the result of a subquery is nowhere in the query.
    fn first_argument(&self, call: &Call, function: RangeFunction) -> Span {
        let first = &call.args[0];
        match function.range_argument() {
            0 if matches!(first.unwrap_parens().kind, ExprKind::Subquery(_)) => Span::default(),
            0 => first.unwrap_parens().span,
            _ => self.argument_span(call, first),
        }
    }

    /// What annotations of an argument point at: inside its parentheses, but for one that is the same at every step where
    /// others are not, which Prometheus wraps with them.
    fn argument_span(&self, call: &Call, argument: &Expr) -> Span {
        let is_wrapped = self.is_invariant(argument) && !call.args.iter().all(|arg| self.is_invariant(arg));
        if is_wrapped { argument.span } else { argument.unwrap_parens().span }
    }

    /// `histogram_quantiles(v, label, q...)`
    fn histogram_quantiles(&self, call: &Call, steps: &Steps, notes: &mut Annotations) -> Result<StepMatrix, Error> {
        let label = text(call, 1)?;
        let vector = argument(call, 0)?;
        let mut questions = Vec::new();
        for arg in &call.args[2..] {
            let q = self.scalar(arg, steps, notes)?;
            note_quantiles(&q, self.argument_span(call, arg), notes);
            questions.push(q);
        }
        let matrix = self.with_hints(false).vector(vector, steps, notes)?;
        let span = self.argument_span(call, vector);
        let spans = Spans { vector: span, native: span };
        let mut result = StepMatrix::new(steps.count);
        for q in questions {
            let name_at = q.clone();
            let part = self.ask_histograms(&matrix, &Question::Quantile(q), spans, steps, notes)?;
            for row in part.iter() {
                // A quantile that changes from step to step changes the labels.
                let mut known: Vec<(u64, usize)> = Vec::new();
                for (step, q) in name_at.iter().enumerate() {
                    if !row.has(step) {
                        continue;
                    }
                    let target = match known.iter().find(|(bits, _)| *bits == q.to_bits()) {
                        Some((_, target)) => *target,
                        None => {
                            let labels = row.row.labels.with(&label, &open_metrics(*q));
                            self.check_size(result.len() + 1, steps.count)?;
                            let target = result.push_absent(Row { labels, drops_name: true });
                            known.push((q.to_bits(), target));
                            target
                        }
                    };
                    result.values[target * steps.count + step] = row.values[step];
                }
            }
        }
        result.merge_same_labels()
    }
}

fn argument(call: &Call, i: usize) -> Result<&Expr, Error> {
    call.args.get(i).ok_or_else(|| Error::Execution(format!("{} lacks an argument", call.function.name)))
}

fn bytes(call: &Call, i: usize) -> &[u8] {
    match call.args.get(i).map(|arg| &arg.unwrap_parens().kind) {
        Some(ExprKind::String(bytes)) => bytes,
        _ => &[],
    }
}

fn text(call: &Call, i: usize) -> Result<String, Error> {
    argument(call, i)?;
    Ok(String::from_utf8_lossy(bytes(call, i)).into_owned())
}

fn is_label_name(call: &Call, i: usize) -> bool {
    let bytes = bytes(call, i);
    !bytes.is_empty() && std::str::from_utf8(bytes).is_ok()
}

/// One series without labels.
fn constant(values: Vec<f64>) -> StepMatrix {
    let mut matrix = StepMatrix::new(values.len());
    matrix.push_absent(Row { labels: Labels::empty(), drops_name: false });
    matrix.values = values;
    matrix
}

/// The value of the only float at each step, else NaN.
fn only_values(matrix: &StepMatrix) -> Vec<f64> {
    let mut found = vec![ABSENT; matrix.steps];
    let mut is_single = vec![true; matrix.steps];
    for row in matrix.iter() {
        for (step, value) in row.values.iter().enumerate().filter(|(_, v)| !is_absent(**v)) {
            is_single[step] = is_absent(found[step]);
            found[step] = if is_single[step] { *value } else { f64::NAN };
        }
    }
    found.into_iter().map(|v| if is_absent(v) { f64::NAN } else { v }).collect()
}

fn note_quantiles(values: &[f64], span: Span, notes: &mut Annotations) {
    for q in values.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
        notes.add(&Annotation::InvalidQuantile(*q), span);
    }
}

/// A float as OpenMetrics writes it in labels: always with a point or an exponent.
fn open_metrics(value: f64) -> String {
    let text = crate::text::format_g(value);
    let is_plain = value.is_finite() && !text.contains(['.', 'e']);
    if is_plain { format!("{text}.0") } else { text }
}
