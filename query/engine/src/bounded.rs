//! Functions whose result may be much larger than their arguments, with a bound: what one call makes is in no memory
//! pool, and a call cannot be interrupted (MEM-1).

use arrow::array::{Array, AsArray};
use arrow::compute::{cast, max, min};
use arrow::datatypes::{DataType, FieldRef, Int64Type};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};
use std::sync::Arc;

/// Bytes that one call over one batch may make.
const BYTES_MAX: u64 = 128 << 20;

/// How the size of the result follows from the arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Growth {
    /// The first argument, as often as the second says.
    Repeats,
    /// As many bytes or items as the second argument says.
    Fills,
    /// Items from the first to the second argument, or from 0 to the only one.
    Counts,
}

const BOUNDED: [(&str, Growth); 7] = [
    ("repeat", Growth::Repeats),
    ("array_repeat", Growth::Repeats),
    ("lpad", Growth::Fills),
    ("rpad", Growth::Fills),
    ("array_resize", Growth::Fills),
    ("range", Growth::Counts),
    ("generate_series", Growth::Counts),
];

/// Puts a bound on the functions of `registry` that need one.
pub(crate) fn bound_functions(registry: &mut dyn FunctionRegistry) -> Result<()> {
    for (name, growth) in BOUNDED {
        let inner = registry.udf(name)?;
        registry.register_udf(Arc::new(ScalarUDF::new_from_impl(Bounded { inner, growth })))?;
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    inner: Arc<ScalarUDF>,
    growth: Growth,
}

impl Bounded {
    /// Bytes of the result, at least about; none where the arguments are no whole numbers.
    fn bytes(&self, args: &ScalarFunctionArgs) -> Option<u64> {
        let rows = args.number_rows as u64;
        match self.growth {
            Growth::Repeats => Some(times(bytes_of(args.args.first()?, rows), largest(args.args.get(1)?)?)),
            Growth::Fills => Some(times(rows, largest(args.args.get(1)?)?)),
            Growth::Counts => {
                let (start, stop) = match args.args.as_slice() {
                    [stop] => ((0, 0), bounds(stop)?),
                    [start, stop, ..] => (bounds(start)?, bounds(stop)?),
                    [] => return None,
                };
                let step = args
                    .args
                    .get(2)
                    .and_then(bounds)
                    .map_or(1, |(low, high)| low.unsigned_abs().min(high.unsigned_abs()));
                let items = stop.1.abs_diff(start.0).max(stop.0.abs_diff(start.1)) / step.max(1);
                Some(times(rows, i64::try_from(items).unwrap_or(i64::MAX)).saturating_mul(8))
            }
        }
    }
}

fn times(bytes: u64, count: i64) -> u64 {
    bytes.saturating_mul(count.max(0) as u64)
}

/// Bytes of the values of an argument over all rows.
fn bytes_of(value: &ColumnarValue, rows: u64) -> u64 {
    match value {
        ColumnarValue::Array(array) => array.to_data().get_slice_memory_size().unwrap_or_default() as u64,
        ColumnarValue::Scalar(scalar) => match scalar.try_as_str() {
            Some(text) => rows.saturating_mul(text.map_or(0, str::len) as u64),
            None => rows.saturating_mul(scalar.data_type().primitive_width().unwrap_or(1) as u64),
        },
    }
}

fn largest(value: &ColumnarValue) -> Option<i64> {
    bounds(value).map(|(_, largest)| largest)
}

/// The smallest and the largest of whole numbers; none where there are none.
fn bounds(value: &ColumnarValue) -> Option<(i64, i64)> {
    if !value.data_type().is_integer() {
        return None;
    }
    let array = cast(&value.to_array(1).ok()?, &DataType::Int64).ok()?;
    let numbers = array.as_primitive::<Int64Type>();
    Some((min(numbers)?, max(numbers)?))
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arg_types)
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.inner.simplify(args, info)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if self.bytes(&args).is_some_and(|bytes| bytes > BYTES_MAX) {
            let message = format!("{} would make more than {} MiB at once", self.name(), BYTES_MAX >> 20);
            return Err(DataFusionError::ResourcesExhausted(message));
        }
        self.inner.invoke_with_args(args)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}
