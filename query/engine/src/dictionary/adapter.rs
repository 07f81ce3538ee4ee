//! Expressions of a plan brought to a file whose texts are dictionaries.
//!
//! Statistics and bloom filters prune by comparisons of columns with values, so these stay what they are or give a
//! snapshot of it. Everything else is arranged for speed: what looks at one dictionary alone is evaluated per value, conditions that leave most
//! rows are one step of the reader, and what a join lets through is looked at last.

use super::conjunction::AllOf;
use super::first_key::FirstKey;
use super::ids::text_of_its_id;
use super::keys::AsKeys;
use super::per_value::PerValue;
use super::stored::as_stored;
use super::while_selective::WhileSelective;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CastExpr, Column, DynamicFilterPhysicalExpr, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr, Literal,
};
use datafusion::physical_expr::utils::{collect_columns, conjunction, split_conjunction};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_expr_adapter::{
    DefaultPhysicalExprAdapterFactory, PhysicalExprAdapter, PhysicalExprAdapterFactory,
};
use datafusion::physical_expr_common::physical_expr::is_volatile;
use std::sync::Arc;

/// Makes the adapters.
#[derive(Debug)]
pub(crate) struct ReadPerValue;

impl PhysicalExprAdapterFactory for ReadPerValue {
    fn create(&self, logical: SchemaRef, physical: SchemaRef) -> Result<Arc<dyn PhysicalExprAdapter>> {
        let inner = DefaultPhysicalExprAdapterFactory.create(logical, physical.clone())?;
        Ok(Arc::new(Adapter { inner, physical }))
    }
}

#[derive(Debug)]
struct Adapter {
    inner: Arc<dyn PhysicalExprAdapter>,
    physical: SchemaRef,
}

impl PhysicalExprAdapter for Adapter {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        let expr = as_stored(self.inner.rewrite(expr)?, &self.physical)?;
        let parts = split_conjunction(&expr);
        let (mut alone, mut together, mut last) = (Vec::new(), Vec::new(), Vec::new());
        for part in parts {
            let adapted = self.part(part.clone())?;
            let steps = match step(part, &adapted) {
                Step::Alone => &mut alone,
                Step::Together => &mut together,
                Step::Last => &mut last,
            };
            steps.push(adapted);
        }
        // Rows of one container lie together: looking for it reads next to nothing.
        alone.sort_by_key(|part| !is_sorted_by(part));
        alone.extend(AllOf::of(together, &self.physical));
        alone.extend(last);
        Ok(conjunction(alone))
    }
}

impl Adapter {
    /// `expr`, which is no conjunction.
    fn part(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        if let Some(keys) = expr.downcast_ref::<AsKeys>() {
            return Ok(Arc::new(keys.as_stored()));
        }
        if let Some(all) = expr.downcast_ref::<AllOf>() {
            let parts = all.parts().iter().map(|part| self.part(part.clone())).collect::<Result<_>>()?;
            return expr.clone().with_new_children(parts);
        }
        if let Some(first) = FirstKey::of(&expr, &self.physical)? {
            return Ok(Arc::new(first));
        }
        if expr.downcast_ref::<DynamicFilterPhysicalExpr>().is_some() {
            let keys = expr.children().into_iter().map(|key| text_of_its_id(key).unwrap_or_else(|| key.clone()));
            let keys = keys.collect();
            return Ok(Arc::new(WhileSelective::new(expr.with_new_children(keys)?)));
        }
        if is_comparison(&expr) {
            return Ok(match self.dictionary_of(&expr).filter(|_| is_lookup(&expr)) {
                Some(column) => Arc::new(PerValue::new(expr, column, &self.physical)?),
                None => expr,
            });
        }
        expr.transform_down(|node| match self.dictionary_of(&node).filter(|_| is_costly(&node)) {
            Some(column) => {
                let per_value: Arc<dyn PhysicalExpr> = Arc::new(PerValue::new(node, column, &self.physical)?);
                Ok(Transformed::new(per_value, true, TreeNodeRecursion::Jump))
            }
            None if is_comparison(&node) => Ok(Transformed::new(node, false, TreeNodeRecursion::Jump)),
            None => Ok(Transformed::no(node)),
        })
        .data()
    }

    /// The dictionary that is the only column of `expr`.
    fn dictionary_of(&self, expr: &Arc<dyn PhysicalExpr>) -> Option<Column> {
        let is_dynamic = expr.exists(|node| Ok(node.downcast_ref::<DynamicFilterPhysicalExpr>().is_some()));
        if is_dynamic.unwrap_or(true) || is_volatile(expr) {
            return None;
        }
        let mut columns = collect_columns(expr).into_iter();
        let (column, None) = (columns.next()?, columns.next()) else { return None };
        let field = self.physical.fields().get(column.index())?;
        matches!(field.data_type(), DataType::Dictionary(..)).then_some(column)
    }
}

/// Whether `expr` searches in texts, calls a function, or makes a text of a number in a dictionary.
fn is_costly(expr: &Arc<dyn PhysicalExpr>) -> bool {
    expr.exists(|node| {
        let searches = node.downcast_ref::<BinaryExpr>().is_some_and(|node| {
            use Operator::{RegexIMatch, RegexMatch, RegexNotIMatch, RegexNotMatch};
            matches!(node.op(), RegexMatch | RegexIMatch | RegexNotMatch | RegexNotIMatch)
        });
        Ok(searches
            || node.downcast_ref::<CastExpr>().is_some()
            || node.downcast_ref::<LikeExpr>().is_some()
            || node.downcast_ref::<ScalarFunctionExpr>().is_some())
    })
    .unwrap_or(false)
}

/// Whether `expr` compares a column, or a cast of one, with values.
fn is_comparison(expr: &Arc<dyn PhysicalExpr>) -> bool {
    if let Some(list) = expr.downcast_ref::<InListExpr>() {
        return is_column(list.expr());
    }
    if expr.downcast_ref::<IsNullExpr>().is_some() || expr.downcast_ref::<IsNotNullExpr>().is_some() {
        return expr.children().into_iter().all(is_column);
    }
    expr.downcast_ref::<BinaryExpr>().is_some_and(|comparison| {
        use Operator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
        let is_literal = |side: &Arc<dyn PhysicalExpr>| side.downcast_ref::<Literal>().is_some();
        let (left, right) = (comparison.left(), comparison.right());
        matches!(comparison.op(), Eq | NotEq | Lt | LtEq | Gt | GtEq)
            && (is_column(left) && is_literal(right) || is_literal(left) && is_column(right))
    })
}

fn is_column(expr: &Arc<dyn PhysicalExpr>) -> bool {
    match expr.downcast_ref::<CastExpr>() {
        Some(cast) => cast.expr().downcast_ref::<Column>().is_some(),
        None => expr.downcast_ref::<Column>().is_some(),
    }
}

/// Whether `expr` asks for one value or a few.
fn is_lookup(expr: &Arc<dyn PhysicalExpr>) -> bool {
    expr.downcast_ref::<InListExpr>().is_some_and(|list| !list.negated())
        || expr.downcast_ref::<BinaryExpr>().is_some_and(|comparison| *comparison.op() == Operator::Eq)
}

/// When the reader evaluates a condition.
enum Step {
    /// By itself and first: it leaves row groups and pages out, or few rows.
    Alone,
    /// With all others of its kind at once.
    Together,
    /// When the others have been: it costs a look into a table for each row.
    Last,
}

/// The step of `part`, a condition that has become `adapted`.
fn step(part: &Arc<dyn PhysicalExpr>, adapted: &Arc<dyn PhysicalExpr>) -> Step {
    let is_time = |column: &Column| column.name() == bodkin_schema::events::TS;
    if adapted.downcast_ref::<WhileSelective>().is_some() {
        return Step::Last;
    }
    let is_dynamic = part.downcast_ref::<DynamicFilterPhysicalExpr>().is_some();
    match is_dynamic || is_lookup(part) || collect_columns(part).iter().any(is_time) {
        true => Step::Alone,
        false => Step::Together,
    }
}

/// Whether `part` looks for values of the column that events are sorted by.
fn is_sorted_by(part: &Arc<dyn PhysicalExpr>) -> bool {
    let mut columns = collect_columns(part).into_iter();
    columns.next().is_some_and(|column| column.name() == bodkin_schema::events::CONTAINER_ID)
        && columns.next().is_none()
}
