//! What a scan asks of rows before it reads all of their columns.
//!
//! The reader of Parquet decodes the columns of the screen for all rows, asks it, decodes those of the sieve for the rows
//! that pass, and every other column for what the sieve lets pass: hardly more than what rules fire for. That is then
//! asked the rules themselves.

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

/// Filters, in this order, that hold where an enabled rule of source `syscall` may fire; none that would read no more
/// than those before it.
pub(super) fn filters(rules: &RuleSet) -> Vec<Expr> {
    let registered = Stream::Events.schema();
    // The reader of Parquet asks nothing of lists and maps.
    let is_flat = |name: &str| registered.field_with_name(name).is_ok_and(|field| !field.data_type().is_nested());
    let screen = rules.screen(|name| is_flat(name) && !WIDE.contains(&name));
    let sieve = rules.sieve(is_flat);
    let mut filters = Vec::new();
    let is_more = sieve.columns().iter().any(|name| !screen.columns().contains(name));
    if screen.columns() != [events::EVT_TYPE] {
        filters.push(filter(screen));
    }
    if is_more {
        filters.push(filter(sieve));
    }
    filters
}

fn filter(screen: Screen) -> Expr {
    let columns = screen.columns().iter().map(|name| Expr::Column(Column::from_name(*name))).collect();
    let signature = Signature::any(screen.columns().len(), Volatility::Immutable);
    ScalarUDF::new_from_impl(ScreenFunction { screen: Arc::new(screen), signature }).call(columns)
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
