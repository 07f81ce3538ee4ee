//! JSON in texts: `raw ->> 'verb'`, `output_fields -> 'proc.name'`, `json_get_text(raw, 'objectRef', 'name')`.
//!
//! A text is read along the path only, and what is beside it is passed over. What is no JSON, or has nothing at the path,
//! gives null: one odd row among millions must not end a query.

use arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result, ScalarValue, plan_err};
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::sql::sqlparser::ast::BinaryOperator;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::fmt;
use std::sync::Arc;

/// Registers the functions and the operators.
pub(crate) fn json_functions(registry: &mut dyn FunctionRegistry) -> Result<()> {
    for is_text in [false, true] {
        registry.register_udf(Arc::new(function(is_text)))?;
    }
    registry.register_expr_planner(Arc::new(Arrows))
}

/// `json_get_text`, or `json_get`.
fn function(is_text: bool) -> ScalarUDF {
    ScalarUDF::new_from_impl(JsonGet { is_text, signature: Signature::variadic_any(Volatility::Immutable) })
}

/// `->` and `->>`.
#[derive(Debug)]
struct Arrows;

impl ExprPlanner for Arrows {
    fn plan_binary_op(&self, expr: RawBinaryExpr, _: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let is_text = match expr.op {
            BinaryOperator::Arrow => false,
            BinaryOperator::LongArrow => true,
            _ => return Ok(PlannerResult::Original(expr)),
        };
        Ok(PlannerResult::Planned(function(is_text).call(vec![expr.left, expr.right])))
    }
}

/// The value at a path.
#[derive(Debug, PartialEq, Eq, Hash)]
struct JsonGet {
    /// A text comes without its quotes.
    is_text: bool,
    signature: Signature,
}

/// A step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    /// Of a list; from its end where it is less than zero.
    Place(i64),
}

impl Step {
    fn of(value: &ColumnarValue) -> Option<Self> {
        let ColumnarValue::Scalar(scalar) = value else { return None };
        if let Some(Some(key)) = scalar.try_as_str() {
            return Some(Self::Key(key.to_owned()));
        }
        match scalar.cast_to(&DataType::Int64) {
            Ok(ScalarValue::Int64(Some(place))) => Some(Self::Place(place)),
            _ => None,
        }
    }
}

impl ScalarUDFImpl for JsonGet {
    fn name(&self) -> &str {
        if self.is_text { "json_get_text" } else { "json_get" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types.first() {
            Some(DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null) if types.len() > 1 => {
                Ok(DataType::Utf8)
            }
            Some(_) if types.len() > 1 => plan_err!("{} reads JSON in a text", self.name()),
            _ => plan_err!("{0} takes a text and a path: {0}(raw, 'objectRef', 'name')", self.name()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let is_scalar = matches!(args.args.first(), Some(ColumnarValue::Scalar(_)));
        let mut args = args.args.into_iter();
        let Some(json) = args.next() else { return plan_err!("{} takes a text", self.name()) };
        let Some(path) = args.map(|arg| Step::of(&arg)).collect::<Option<Vec<_>>>() else {
            return plan_err!("the path of {} consists of constant names and places", self.name());
        };
        let json = cast(&json.into_array(if is_scalar { 1 } else { rows })?, &DataType::Utf8)?;
        let found = self.get(&json, &path);
        match is_scalar {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&found, 0)?)),
            false => Ok(ColumnarValue::Array(found)),
        }
    }
}

impl JsonGet {
    fn get(&self, json: &ArrayRef, path: &[Step]) -> ArrayRef {
        let texts = json.as_string::<i32>();
        let mut found = StringBuilder::with_capacity(texts.len(), 0);
        for text in texts {
            match text.and_then(|text| value_at(text, path)) {
                None | Some(Value::Null) if self.is_text => found.append_null(),
                None => found.append_null(),
                Some(Value::String(text)) if self.is_text => found.append_value(text),
                Some(value) => found.append_value(value.to_string()),
            }
        }
        Arc::new(found.finish())
    }
}

fn value_at(text: &str, path: &[Step]) -> Option<Value> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let found = At(path).deserialize(&mut reader).ok()?;
    reader.end().is_ok().then_some(found).flatten()
}

/// What is at the end of the path.
struct At<'a>(&'a [Step]);

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Option<Value>, D::Error> {
        match self.0 {
            [] => serde::Deserialize::deserialize(deserializer).map(Some),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for At<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Option<Value>, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            match self.0 {
                [Step::Key(wanted), rest @ ..] if *wanted == key => found = map.next_value_seed(At(rest))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Option<Value>, A::Error> {
        let [Step::Place(place), rest @ ..] = self.0 else {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(None);
        };
        if *place < 0 {
            let items: Vec<Value> =
                std::iter::from_fn(|| seq.next_element().transpose()).collect::<std::result::Result<_, _>>()?;
            let place = usize::try_from(place.unsigned_abs()).ok().and_then(|back| items.len().checked_sub(back));
            return Ok(place.and_then(|place| items.into_iter().nth(place)).and_then(|item| along(item, rest)));
        }
        for before in 0.. {
            if before == *place {
                let found = seq.next_element_seed(At(rest))?.flatten();
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(found);
            }
            if seq.next_element::<IgnoredAny>()?.is_none() {
                break;
            }
        }
        Ok(None)
    }

    fn visit_unit<E>(self) -> std::result::Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> std::result::Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> std::result::Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> std::result::Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> std::result::Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> std::result::Result<Option<Value>, E> {
        Ok(None)
    }
}

/// What is at the end of the path in a value that was read.
fn along(value: Value, path: &[Step]) -> Option<Value> {
    let Some((step, rest)) = path.split_first() else { return Some(value) };
    let next = match (step, value) {
        (Step::Key(key), Value::Object(mut map)) => map.remove(key)?,
        (Step::Place(place), Value::Array(items)) => {
            let place = match usize::try_from(*place) {
                Ok(place) => place,
                Err(_) => items.len().checked_sub(usize::try_from(place.unsigned_abs()).ok()?)?,
            };
            items.into_iter().nth(place)?
        }
        _ => return None,
    };
    along(next, rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str, path: &[Step]) -> Option<Value> {
        value_at(text, path)
    }

    fn key(name: &str) -> Step {
        Step::Key(name.to_owned())
    }

    #[test]
    fn along_keys_and_places() {
        let text = r#"{"a":{"b":[1,{"c":"x\ny"},null]},"a.b":2,"e":"\u00e9"}"#;
        assert_eq!(at(text, &[key("a"), key("b"), Step::Place(1), key("c")]), Some("x\ny".into()));
        assert_eq!(at(text, &[key("a"), key("b"), Step::Place(-2), key("c")]), Some("x\ny".into()));
        assert_eq!(at(text, &[key("a.b")]), Some(2.into()));
        assert_eq!(at(text, &[key("e")]), Some("\u{e9}".into()));
        assert_eq!(at(text, &[key("a"), key("b"), Step::Place(2)]), Some(Value::Null));
        for path in
            [vec![key("x")], vec![Step::Place(0)], vec![key("a"), key("b"), Step::Place(3)], vec![key("e"), key("f")]]
        {
            assert_eq!(at(text, &path), None, "{path:?}");
        }
        for odd in ["", "{", "no", r#"{"a":1} {"a":1}"#, r#"{"a":1"#, "[1,"] {
            assert_eq!(at(odd, &[key("a")]), None, "{odd}");
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-c\"\\\\]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map("[a-c]", inner, 0..4).prop_map(|map| map.into_iter().collect::<Value>()),
            ]
        })
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof!["[a-c]".prop_map(Step::Key), (-3i64..3).prop_map(Step::Place)]
    }

    proptest! {
        #[test]
        fn reading_along_a_path_is_reading_all_and_then_going_along_it(
            value in json(),
            path in prop::collection::vec(step(), 0..4),
        ) {
            prop_assert_eq!(value_at(&value.to_string(), &path), along(value, &path));
        }
    }
}
