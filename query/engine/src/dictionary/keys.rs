//! A text column of a file as it is stored: the numbers of a dictionary, or texts that are numbered one by one.

use super::footer::text_dictionary;
use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, Int32Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Int32Type, Schema};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::CastExpr;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The texts of an expression as a dictionary. Copies no text.
#[derive(Debug)]
pub(super) struct AsKeys {
    texts: Arc<dyn PhysicalExpr>,
}

impl AsKeys {
    pub(super) fn new(texts: Arc<dyn PhysicalExpr>) -> Self {
        Self { texts }
    }

    /// The same of the column itself, where the texts are a cast of one.
    pub(super) fn as_stored(&self) -> Self {
        let texts = self.texts.downcast_ref::<CastExpr>().map_or(&self.texts, CastExpr::expr);
        Self { texts: texts.clone() }
    }
}

impl PhysicalExpr for AsKeys {
    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let texts = self.texts.evaluate(batch)?.into_array(batch.num_rows())?;
        let keys: ArrayRef = match texts.data_type() {
            // A number for each row: what looks at a row looks at its own text.
            DataType::Utf8 => {
                let texts = texts.as_string::<i32>().clone();
                let keys: Int32Array = (0..texts.len() as i32).collect();
                let keys = Int32Array::new(keys.values().clone(), texts.nulls().cloned());
                Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::new(texts))?)
            }
            found if *found == text_dictionary() => texts,
            _ => cast(&texts, &text_dictionary())?,
        };
        Ok(ColumnarValue::Array(keys))
    }

    fn return_field(&self, _: &Schema) -> Result<FieldRef> {
        Ok(Arc::new(Field::new("as_keys", text_dictionary(), true)))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.texts]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        match children.into_iter().next() {
            Some(texts) => Ok(Arc::new(Self { texts })),
            None => internal_err!("keys of no texts"),
        }
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.texts.fmt_sql(f)
    }
}

impl fmt::Display for AsKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.texts)
    }
}

impl PartialEq for AsKeys {
    fn eq(&self, other: &Self) -> bool {
        self.texts.eq(&other.texts)
    }
}

impl Eq for AsKeys {}

impl Hash for AsKeys {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.texts.hash(state);
    }
}
