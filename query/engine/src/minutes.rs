//! Times to the minute: `ts > '2026-11-24 10:00'` says when a minute begins, as in PostgreSQL, where the parser of times
//! wants seconds.

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Cast, Expr, LogicalPlan, TryCast};
use datafusion::optimizer::AnalyzerRule;

/// What stands before the seconds: `2026-11-24 10:00`.
const MINUTE_BYTES: usize = 16;

/// The rule. Stands behind those that settle types: what is compared with a time is a cast to one by then.
#[derive(Debug)]
pub(crate) struct TimesToTheMinute;

impl AnalyzerRule for TimesToTheMinute {
    fn name(&self) -> &str {
        "times_to_the_minute"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|plan| {
            let names = NamePreserver::new(&plan);
            plan.map_expressions(|expr| {
                let name = names.save(&expr);
                let whole = expr.transform_up(|node| Ok(with_seconds(node)))?;
                Ok(whole.update_data(|expr| name.restore(expr)))
            })
        });
        plan.data()
    }
}

/// A cast of a text to a time, with seconds in the text.
fn with_seconds(mut expr: Expr) -> Transformed<Expr> {
    let (Expr::Cast(Cast { expr: cast, field }) | Expr::TryCast(TryCast { expr: cast, field })) = &mut expr else {
        return Transformed::no(expr);
    };
    if !matches!(field.data_type(), DataType::Timestamp(..)) {
        return Transformed::no(expr);
    }
    let Expr::Literal(
        ScalarValue::Utf8(Some(text)) | ScalarValue::LargeUtf8(Some(text)) | ScalarValue::Utf8View(Some(text)),
        _,
    ) = cast.as_mut()
    else {
        return Transformed::no(expr);
    };
    if !is_to_the_minute(text) {
        return Transformed::no(expr);
    }
    text.insert_str(MINUTE_BYTES, ":00");
    Transformed::yes(expr)
}

/// Whether `text` is a day, an hour and a minute, and nothing but a zone after them.
fn is_to_the_minute(text: &str) -> bool {
    const FORM: &[u8; MINUTE_BYTES] = b"0000-00-00 00:00";
    let Some((minute, zone)) = text.as_bytes().split_at_checked(MINUTE_BYTES) else { return false };
    let fits = |(found, form): (&u8, &u8)| match form {
        b'0' => found.is_ascii_digit(),
        b' ' => matches!(found, b' ' | b'T' | b't'),
        _ => found == form,
    };
    minute.iter().zip(FORM).all(fits) && !matches!(zone.first(), Some(b':' | b'.' | b'0'..=b'9'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_and_a_zone() {
        for text in ["2026-11-24 10:00", "2026-11-24T10:00", "2026-11-24 10:00Z", "2026-11-24 10:00 +02:00"] {
            assert!(is_to_the_minute(text), "{text}");
        }
        for text in [
            "",
            "2026-11-24",
            "2026-11-24 10:00:00",
            "2026-11-24 100000",
            "2026-11-24 10:0",
            "2026-11-24 10:000",
            "2026-11-24x10:00",
            "the text is longer",
        ] {
            assert!(!is_to_the_minute(text), "{text}");
        }
    }
}
