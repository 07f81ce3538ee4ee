//! Numbers for texts, and the texts back.

use arrow::array::{Array, ArrayBuilder, ArrayRef, AsArray, Int32Array, Int32Builder, StringViewBuilder};
use arrow::datatypes::{DataType, Int32Type};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::utils::take_function_args;
use datafusion::common::{DataFusionError, Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, PoisonError, RwLock};

/// Bytes that the distinct texts of one column may take in a query. They are few, or should not have come here.
const BYTES_MAX: usize = 256 << 20;
/// What an entry takes beside its text.
const ENTRY_BYTES: usize = 64;

/// The texts of one column that a query has met, numbered as they came.
#[derive(Debug, Default)]
pub(super) struct Texts {
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    numbers: HashMap<Arc<str>, i32>,
    texts: Vec<Arc<str>>,
    bytes: usize,
}

impl Known {
    fn number(&mut self, text: &str) -> Result<i32> {
        if let Some(number) = self.numbers.get(text) {
            return Ok(*number);
        }
        self.bytes += text.len() + ENTRY_BYTES;
        let number = i32::try_from(self.texts.len()).ok().filter(|_| self.bytes <= BYTES_MAX);
        let Some(number) = number else {
            let message = format!("the distinct texts of a group take more than {} MiB", BYTES_MAX >> 20);
            return Err(DataFusionError::ResourcesExhausted(message));
        };
        let text: Arc<str> = text.into();
        self.texts.push(text.clone());
        self.numbers.insert(text, number);
        Ok(number)
    }
}

impl Texts {
    /// The number of each text; null for null.
    fn numbers<'a>(&self, texts: impl Iterator<Item = Option<&'a str>> + Clone) -> Result<Int32Array> {
        let mut numbers = Int32Builder::with_capacity(texts.size_hint().0);
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        for text in texts.clone() {
            match text.map(|text| known.numbers.get(text)) {
                Some(Some(number)) => numbers.append_value(*number),
                Some(None) => break,
                None => numbers.append_null(),
            }
        }
        drop(known);
        let mut rest = texts.skip(numbers.len()).peekable();
        if rest.peek().is_some() {
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            for text in rest {
                numbers.append_option(text.map(|text| known.number(text)).transpose()?);
            }
        }
        Ok(numbers.finish())
    }

    fn texts(&self, numbers: &Int32Array) -> ArrayRef {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut texts = StringViewBuilder::with_capacity(numbers.len());
        for number in numbers {
            texts.append_option(number.and_then(|number| known.texts.get(number as usize)));
        }
        Arc::new(texts.finish())
    }
}

/// `id(text)` and `text(id)`, a pair that shares its [`Texts`].
#[derive(Debug)]
struct IdFunction {
    texts: Arc<Texts>,
    signature: Signature,
    way: Way,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Way {
    ToId,
    ToText,
}

/// The two functions of one column, from its texts to numbers and back.
pub(super) struct IdPair {
    to_id: Arc<ScalarUDF>,
    to_text: Arc<ScalarUDF>,
}

impl Default for IdPair {
    fn default() -> Self {
        let texts = Arc::new(Texts::default());
        let function = |way, data_type| {
            let signature = Signature::exact(vec![data_type], Volatility::Immutable);
            Arc::new(ScalarUDF::new_from_impl(IdFunction { texts: texts.clone(), signature, way }))
        };
        Self { to_id: function(Way::ToId, DataType::Utf8View), to_text: function(Way::ToText, DataType::Int32) }
    }
}

impl IdPair {
    pub(super) fn id(&self, text: Expr) -> Expr {
        self.to_id.call(vec![text])
    }

    pub(super) fn text(&self, id: Expr) -> Expr {
        self.to_text.call(vec![id])
    }
}

/// Pairs in place of those of another plan, which may run at the same time: no two share their texts.
#[derive(Default)]
pub(crate) struct FreshIds(Vec<(Arc<Texts>, IdPair)>);

impl FreshIds {
    /// `expr` with functions of this plan's own.
    pub(crate) fn within(&mut self, expr: Expr) -> Result<Transformed<Expr>> {
        expr.transform_up(|expr| {
            let Expr::ScalarFunction(mut call) = expr else { return Ok(Transformed::no(expr)) };
            let fresh = call.func.inner().downcast_ref::<IdFunction>().map(|function| {
                let pair = self.pair(&function.texts);
                match function.way {
                    Way::ToId => pair.to_id.clone(),
                    Way::ToText => pair.to_text.clone(),
                }
            });
            let is_other = fresh.is_some();
            call.func = fresh.unwrap_or(call.func);
            Ok(Transformed::new_transformed(Expr::ScalarFunction(call), is_other))
        })
    }

    fn pair(&mut self, texts: &Arc<Texts>) -> &IdPair {
        let at = self.0.iter().position(|(known, _)| Arc::ptr_eq(known, texts)).unwrap_or_else(|| {
            self.0.push((texts.clone(), IdPair::default()));
            self.0.len() - 1
        });
        &self.0[at].1
    }
}

/// Whether `expr` makes numbers of texts.
pub(super) fn is_id(expr: &Arc<dyn PhysicalExpr>) -> bool {
    call(expr).is_some_and(|(function, _)| function.way == Way::ToId)
}

/// The text of which `expr` makes a number and then a text again.
pub(super) fn text_of_its_id(expr: &Arc<dyn PhysicalExpr>) -> Option<Arc<dyn PhysicalExpr>> {
    let (outer, id) = call(expr)?;
    let (inner, text) = call(id)?;
    let is_round = outer.way == Way::ToText && inner.way == Way::ToId && Arc::ptr_eq(&outer.texts, &inner.texts);
    is_round.then(|| text.clone())
}

/// One of the two functions, and what it is called with.
fn call(expr: &Arc<dyn PhysicalExpr>) -> Option<(&IdFunction, &Arc<dyn PhysicalExpr>)> {
    let call = expr.downcast_ref::<ScalarFunctionExpr>()?;
    let function = call.fun().inner().downcast_ref::<IdFunction>()?;
    Some((function, call.args().first()?))
}

impl PartialEq for IdFunction {
    fn eq(&self, other: &Self) -> bool {
        self.way == other.way && Arc::ptr_eq(&self.texts, &other.texts)
    }
}

impl Eq for IdFunction {}

impl Hash for IdFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.way.hash(state);
        Arc::as_ptr(&self.texts).hash(state);
    }
}

impl ScalarUDFImpl for IdFunction {
    fn name(&self) -> &str {
        match self.way {
            Way::ToId => "id_of_text",
            Way::ToText => "text_of_id",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.way {
            Way::ToId => DataType::Int32,
            Way::ToText => DataType::Utf8View,
        })
    }

    /// Null for null.
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [arg] = take_function_args(self.name(), &args.args)?;
        let column = arg.to_array(args.number_rows)?;
        Ok(ColumnarValue::Array(match (self.way, column.data_type()) {
            (Way::ToId, DataType::Utf8View) => Arc::new(self.texts.numbers(column.as_string_view().iter())?),
            (Way::ToId, DataType::Utf8) => Arc::new(self.texts.numbers(column.as_string::<i32>().iter())?),
            (Way::ToText, DataType::Int32) => self.texts.texts(column.as_primitive::<Int32Type>()),
            (_, other) => return exec_err!("{} of {other}", self.name()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_have_equal_numbers_and_come_back() {
        let texts = Texts::default();
        let first = texts.numbers([Some("a"), None, Some("b"), Some("a")].into_iter()).unwrap();
        let second = texts.numbers([Some("c"), Some("b"), None].into_iter()).unwrap();
        assert_eq!(first.iter().collect::<Vec<_>>(), [Some(0), None, Some(1), Some(0)]);
        assert_eq!(second.iter().collect::<Vec<_>>(), [Some(2), Some(1), None]);
        let back = texts.texts(&second);
        assert_eq!(back.as_string_view().iter().collect::<Vec<_>>(), [Some("c"), Some("b"), None]);
    }
}
