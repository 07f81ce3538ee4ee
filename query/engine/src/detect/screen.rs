//! A screen of rules as a filter of a scan.
//!
//! The reader of Parquet decodes the columns of the screen for all rows, asks it, and decodes every other column for
//! the rows that pass alone. What passes is then asked the rules themselves.

use arrow::array::{BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema};
use bodkin_rules::{RuleSet, Screen};
use bodkin_schema::{Stream, events};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Texts that differ from row to row: to read them for all rows costs more than a screen spares.
const WIDE: &[&str] = &[events::ARGS, events::CMDLINE, events::ENV, events::CWD, events::CONTAINER_MOUNTS];

/// The filter that holds where an enabled rule of source `syscall` may fire; none where it would read no more than the
/// event type.
pub(super) fn filter(rules: &RuleSet) -> Option<Expr> {
    let registered = Stream::Events.schema();
    let is_cheap = |name: &str| {
        let field = registered.field_with_name(name);
        field.is_ok_and(|field| !field.data_type().is_nested()) && !WIDE.contains(&name)
    };
    let screen = rules.screen(is_cheap);
    if screen.columns() == [events::EVT_TYPE] {
        return None;
    }
    let columns = screen.columns().iter().map(|name| Expr::Column(Column::from_name(*name))).collect();
    let signature = Signature::any(screen.columns().len(), Volatility::Immutable);
    Some(ScalarUDF::new_from_impl(ScreenFunction { screen: Arc::new(screen), signature }).call(columns))
}

/// The screen as a function of its columns.
#[derive(Debug)]
struct ScreenFunction {
    screen: Arc<Screen>,
    signature: Signature,
}

impl PartialEq for ScreenFunction {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.screen, &other.screen)
    }
}

impl Eq for ScreenFunction {}

impl Hash for ScreenFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.screen).hash(state);
    }
}

impl ScalarUDFImpl for ScreenFunction {
    fn name(&self) -> &str {
        "rules_screen"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let named = self.screen.columns().iter().zip(&args.args);
        let mut fields = Vec::with_capacity(args.args.len());
        let mut columns = Vec::with_capacity(args.args.len());
        for (name, value) in named {
            let column = value.to_array(args.number_rows)?;
            fields.push(Field::new(*name, column.data_type().clone(), true));
            columns.push(column);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(args.number_rows));
        let rows = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?;
        Ok(ColumnarValue::Array(Arc::new(BooleanArray::new(self.screen.passes(&rows), None))))
    }
}
