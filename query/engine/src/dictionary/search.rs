//! `LIKE` with several wildcards, without a regular expression.
//!
//! `'%curl%example.com%'` asks for one text behind the other. Looking for them one by one costs a few nanoseconds for a
//! value that has none of them; an automaton looks at every byte, and has to be made for each dictionary.

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, LikeExpr, Literal};
use memchr::memmem::Finder;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// `text LIKE 'a%b%c'` of plain texts.
#[derive(Debug)]
pub(super) struct Search {
    texts: Arc<dyn PhysicalExpr>,
    pattern: String,
    is_negated: bool,
    parts: Parts,
}

/// What stands between the wildcards of a pattern.
#[derive(Clone, Debug)]
struct Parts {
    /// At the beginning of the text. To compare with an empty part would cost more than a search: its address is none,
    /// and a load from there, though of no bytes, is a fault that the processor has to suppress.
    first: Option<String>,
    between: Vec<Finder<'static>>,
    /// At its end.
    last: Option<String>,
}

impl Parts {
    /// The parts of `pattern`; none where it has other wildcards, or is known to be searched for as fast.
    fn of(pattern: &str) -> Option<Self> {
        if pattern.contains(['_', '\\']) {
            return None;
        }
        let parts: Vec<&str> = pattern.split('%').collect();
        let ([first, between @ .., last], true) = (parts.as_slice(), parts.len() > 2) else { return None };
        let between: Vec<_> = between.iter().filter(|part| !part.is_empty()).collect();
        let [first, last] = [first, last].map(|part| (!part.is_empty()).then(|| (*part).to_owned()));
        let is_simple = between.len() + usize::from(first.is_some()) + usize::from(last.is_some()) < 2;
        let between = between.into_iter().map(|part| Finder::new(part.as_bytes()).into_owned()).collect();
        (!is_simple).then_some(Self { first, between, last })
    }

    fn are_in(&self, text: &str) -> bool {
        let rest = self.first.as_deref().map_or(Some(text), |first| text.strip_prefix(first));
        let rest = rest.and_then(|rest| self.last.as_deref().map_or(Some(rest), |last| rest.strip_suffix(last)));
        let Some(mut rest) = rest.map(str::as_bytes) else { return false };
        self.between.iter().all(|part| match part.find(rest) {
            Some(at) => {
                rest = &rest[at + part.needle().len()..];
                true
            }
            None => false,
        })
    }
}

impl Search {
    /// `expr` over `schema` with searches in the place of what they find as well.
    pub(super) fn in_place_of_like(expr: Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<Arc<dyn PhysicalExpr>> {
        expr.transform_up(|node| {
            let search = node.downcast_ref::<LikeExpr>().and_then(|like| Self::of(like, schema));
            Ok(search.map_or_else(|| Transformed::no(node), |search| Transformed::yes(Arc::new(search) as _)))
        })
        .data()
    }

    fn of(like: &LikeExpr, schema: &Schema) -> Option<Self> {
        let column = like.expr().downcast_ref::<Column>()?;
        let is_plain = schema.fields().get(column.index())?.data_type() == &DataType::Utf8;
        let ScalarValue::Utf8(Some(pattern)) = like.pattern().downcast_ref::<Literal>()?.value() else { return None };
        let parts = Parts::of(pattern).filter(|_| is_plain && !like.case_insensitive())?;
        Some(Self { texts: like.expr().clone(), pattern: pattern.clone(), is_negated: like.negated(), parts })
    }
}

impl PhysicalExpr for Search {
    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let texts = self.texts.evaluate(batch)?.into_array(batch.num_rows())?;
        let Some(texts) = texts.as_string_opt::<i32>() else {
            return internal_err!("a search in {}", texts.data_type());
        };
        let found = BooleanArray::from_unary(texts, |text| self.parts.are_in(text) != self.is_negated);
        Ok(ColumnarValue::Array(Arc::new(found)))
    }

    fn return_field(&self, _: &Schema) -> Result<FieldRef> {
        Ok(Arc::new(Field::new("search", DataType::Boolean, true)))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.texts]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        let Some(texts) = children.into_iter().next() else { return internal_err!("a search in nothing") };
        let (pattern, is_negated, parts) = (self.pattern.clone(), self.is_negated, self.parts.clone());
        Ok(Arc::new(Self { texts, pattern, is_negated, parts }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = if self.is_negated { "NOT " } else { "" };
        write!(f, "{} {not}LIKE {}", self.texts, self.pattern)
    }
}

impl PartialEq for Search {
    fn eq(&self, other: &Self) -> bool {
        self.texts.eq(&other.texts) && self.pattern == other.pattern && self.is_negated == other.is_negated
    }
}

impl Eq for Search {}

impl Hash for Search {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.texts.hash(state);
        self.pattern.hash(state);
        self.is_negated.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, StringArray};
    use proptest::prelude::*;

    fn like(pattern: &str, is_negated: bool, is_case_insensitive: bool) -> Arc<dyn PhysicalExpr> {
        let pattern = Literal::new(ScalarValue::Utf8(Some(pattern.to_owned())));
        Arc::new(LikeExpr::new(is_negated, is_case_insensitive, Arc::new(Column::new("t", 0)), Arc::new(pattern)))
    }

    fn answers(expr: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Vec<Option<bool>> {
        expr.evaluate(batch).unwrap().into_array(batch.num_rows()).unwrap().as_boolean().iter().collect()
    }

    proptest! {
        /// What a search finds is what the kernel of LIKE finds.
        #[test]
        fn as_like(
            pattern in "[aab\u{e4}\n.%%%]{0,9}",
            texts in prop::collection::vec(prop::option::weighted(0.9, "[aab\u{e4}\n.%]{0,9}"), 1..20),
            is_negated in any::<bool>(),
        ) {
            let texts: ArrayRef = Arc::new(texts.into_iter().collect::<StringArray>());
            let batch = RecordBatch::try_from_iter([("t", texts)]).unwrap();
            let like = like(&pattern, is_negated, false);
            let search = Search::in_place_of_like(like.clone(), &batch.schema()).unwrap();
            prop_assert_eq!(answers(&search, &batch), answers(&like, &batch), "{}", pattern);
        }
    }

    #[test]
    fn what_is_as_fast_or_means_more_stays() {
        let schema = Schema::new(vec![Field::new("t", DataType::Utf8, true)]);
        let is_search = |like: Arc<dyn PhysicalExpr>| {
            Search::in_place_of_like(like, &schema).unwrap().downcast_ref::<Search>().is_some()
        };
        for (is_expected, pattern) in [
            (true, "%curl%example%"),
            (true, "/etc/%.conf%"),
            (true, "%a%b"),
            (true, "a%%b"),
            (false, "a%b_c%"),
            (false, "%a\\%b%"),
            (false, "%a%"),
            (false, "a%%"),
            (false, "abc"),
            (false, ""),
        ] {
            assert_eq!(is_search(like(pattern, false, false)), is_expected, "{pattern}");
        }
        assert!(!is_search(like("%a%b%", false, true)), "of any case");
    }
}
