//! Conditions on texts as they are stored.
//!
//! Plans see texts as views, so a condition comes to a file as a cast of a column. Bloom filters know columns and no
//! casts, and the cast makes a view of each text of a dictionary. Asking in the words of the file needs neither.

use arrow::datatypes::{DataType, Schema};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr, Column, LikeExpr, Literal};
use std::sync::Arc;

/// `expr` with its comparisons and searches in texts of dictionaries of `schema` over the columns themselves.
pub(super) fn as_stored(expr: Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<Arc<dyn PhysicalExpr>> {
    expr.transform_up(|node| {
        let stored = match (node.downcast_ref::<BinaryExpr>(), node.downcast_ref::<LikeExpr>()) {
            (Some(binary), _) => stored_binary(binary, schema),
            (_, Some(like)) => stored_like(like, schema),
            _ => None,
        };
        Ok(stored.map_or_else(|| Transformed::no(node), Transformed::yes))
    })
    .data()
}

fn stored_binary(binary: &BinaryExpr, schema: &Schema) -> Option<Arc<dyn PhysicalExpr>> {
    use Operator::{Eq, Gt, GtEq, Lt, LtEq, NotEq, RegexIMatch, RegexMatch, RegexNotIMatch, RegexNotMatch};
    let (left, right) = (binary.left(), binary.right());
    let (left, right): (Arc<dyn PhysicalExpr>, Arc<dyn PhysicalExpr>) = match binary.op() {
        Eq | NotEq | Lt | LtEq | Gt | GtEq => match text_column(left, schema) {
            Some(column) => (column, as_dictionary(text(right)?)),
            None => (as_dictionary(text(left)?), text_column(right, schema)?),
        },
        RegexMatch | RegexIMatch | RegexNotMatch | RegexNotIMatch => (text_column(left, schema)?, plain(text(right)?)),
        _ => return None,
    };
    Some(Arc::new(BinaryExpr::new(left, *binary.op(), right)))
}

fn stored_like(like: &LikeExpr, schema: &Schema) -> Option<Arc<dyn PhysicalExpr>> {
    let (column, pattern) = (text_column(like.expr(), schema)?, plain(text(like.pattern())?));
    Some(Arc::new(LikeExpr::new(like.negated(), like.case_insensitive(), column, pattern)))
}

/// The column of which `expr` is a cast to a view, where it is a dictionary of texts.
fn text_column(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Option<Arc<dyn PhysicalExpr>> {
    let cast = expr.downcast_ref::<CastExpr>().filter(|cast| cast.cast_type() == &DataType::Utf8View)?;
    let column = cast.expr().downcast_ref::<Column>()?;
    let field = schema.fields().get(column.index())?;
    (field.data_type() == &super::footer::text_dictionary()).then(|| cast.expr().clone())
}

/// The text that `expr` is; none for null.
fn text(expr: &Arc<dyn PhysicalExpr>) -> Option<&str> {
    match expr.downcast_ref::<Literal>()?.value() {
        ScalarValue::Utf8View(text) | ScalarValue::Utf8(text) => text.as_deref(),
        _ => None,
    }
}

fn plain(text: &str) -> Arc<dyn PhysicalExpr> {
    Arc::new(Literal::new(ScalarValue::Utf8(Some(text.to_owned()))))
}

/// `text` in the type of the column that it is compared with.
fn as_dictionary(text: &str) -> Arc<dyn PhysicalExpr> {
    let value = ScalarValue::Utf8(Some(text.to_owned()));
    Arc::new(Literal::new(ScalarValue::Dictionary(Box::new(DataType::Int32), Box::new(value))))
}
