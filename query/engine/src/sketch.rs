//! `sketch_quantile(sketch, share)`: a quantile of the sketches of tiers, put together.

use arrow::array::{ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef};
use bodkin_rollup::Sketch;
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err, plan_err};
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use datafusion::physical_expr::expressions::Literal;
use std::mem::size_of;
use std::sync::Arc;

/// Its name in SQL.
const NAME: &str = "sketch_quantile";
/// About what a bucket of a sketch takes.
const BUCKET_BYTES: usize = 24;

/// Adds the function.
pub(crate) fn sketch_functions(registry: &mut dyn FunctionRegistry) -> Result<()> {
    registry.register_udaf(Arc::new(AggregateUDF::new_from_impl(Quantile {
        signature: Signature::any(2, Volatility::Immutable),
    })))?;
    Ok(())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Quantile {
    signature: Signature,
}

impl AggregateUDFImpl for Quantile {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, "sketch"), DataType::Utf8, true))])
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let share =
            args.exprs.get(1).and_then(|share| share.downcast_ref::<Literal>()).map(|share| share.value().clone());
        match share.map(|share| share.cast_to(&DataType::Float64)).transpose()? {
            Some(ScalarValue::Float64(Some(share))) if (0.0..=1.0).contains(&share) => {
                Ok(Box::new(Merged { share, sketch: Some(Sketch::default()), bytes: 0 }))
            }
            _ => plan_err!("{NAME} takes a sketch and a share of 0 to 1: {NAME}(sketch, 0.99)"),
        }
    }
}

/// What has come.
#[derive(Debug)]
struct Merged {
    share: f64,
    /// None where a row has none: what is known would not be of all values.
    sketch: Option<Sketch>,
    bytes: usize,
}

impl Merged {
    fn add(&mut self, column: Option<&ArrayRef>) -> Result<()> {
        let Some(column) = column else { return exec_err!("{NAME} takes a sketch") };
        let texts = cast(column, &DataType::Utf8)?;
        for text in texts.as_string::<i32>() {
            let (Some(text), Some(sketch)) = (text, &mut self.sketch) else {
                self.sketch = None;
                return Ok(());
            };
            let one = text.parse::<Sketch>().map_err(|error| DataFusionError::Execution(error.to_string()))?;
            sketch.merge(&one);
            self.bytes = sketch.len() * BUCKET_BYTES;
        }
        Ok(())
    }
}

impl Accumulator for Merged {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(values.first())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.add(states.first())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Utf8(self.sketch.as_ref().map(Sketch::to_string))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(self.sketch.as_ref().and_then(|sketch| sketch.quantile(self.share))))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::prelude::SessionContext;

    async fn answer(values: &str, share: &str) -> Result<String> {
        let mut context = SessionContext::new();
        sketch_functions(&mut context)?;
        let text = format!("SELECT sketch_quantile(s, {share}) FROM (VALUES {values}) AS t(s)");
        let batches = context.sql(&text).await?.collect().await?;
        Ok(arrow::util::display::array_value_to_string(batches[0].column(0), 0)?)
    }

    #[tokio::test]
    async fn sketches_are_put_together() {
        assert_eq!(answer("('z:3'), ('p0:1')", "0.5").await.unwrap(), "0.0");
        assert!(answer("('z:3'), ('p0:1')", "1.0").await.unwrap().starts_with("0.99"));
        assert!(answer("('z:3'), ('p0:9 p+:1')", "1").await.unwrap().starts_with("inf"));
        assert_eq!(answer("('z:3'), (NULL)", "0.5").await.unwrap(), "", "not all is known");
        assert!(answer("('x')", "0.5").await.unwrap_err().to_string().contains("no part of a sketch"));
        assert!(answer("('z:1')", "1.5").await.unwrap_err().to_string().contains("a share of 0 to 1"));
    }
}
