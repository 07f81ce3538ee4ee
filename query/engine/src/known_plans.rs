//! Plans of texts that were asked before.
//!
//! A dashboard asks the same again and again, and to plan a look-up takes as long as to read its rows. What is kept is
//! the plan up to where it meets the data: it names tables and holds neither rows nor files, so that it pins nothing,
//! and whoever asks sees the tables of their own view. Plans whose text means something else a second later (`now()`),
//! or that read anything but streams, are made anew each time.

use crate::dictionary::FreshIds;
use crate::same_names::Renamed;
use crate::stream_table::{QueryView, StreamTable};
use arrow::datatypes::SchemaRef;
use bodkin_schema::Stream;
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_err};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan, TableSource, Volatility};
use lru::LruCache;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Texts whose plans are kept.
const PLANS_MAX: NonZeroUsize = NonZeroUsize::new(128).expect("invariant: not zero");
/// Bytes of such a text. A plan takes some tens of times its text, so that all take 16 MiB at the very most.
const TEXT_BYTES_MAX: usize = 2048;

/// The plans, by text.
#[derive(Debug)]
pub(crate) struct KnownPlans(Mutex<LruCache<Box<str>, Known>>);

#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// Optimized.
    pub(crate) plan: LogicalPlan,
    /// Columns that are called otherwise in the answer.
    pub(crate) renamed: Renamed,
}

impl Default for KnownPlans {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(PLANS_MAX)))
    }
}

impl KnownPlans {
    /// The plan of `text` over the tables of `view`.
    pub(crate) fn get(&self, text: &str, view: &QueryView) -> Option<Known> {
        let known = self.plans().get(text)?.clone();
        // A table that has other columns by now needs another plan, which takes the place of this one.
        let plan = of_its_own(known.plan, |scan| bound(scan, view)).ok()?;
        Some(Known { plan, ..known })
    }

    /// Keeps `known` for `text`, if its plan is as good for whoever asks next. `planned` is what that was before it was
    /// optimized.
    pub(crate) fn keep(&self, text: &str, planned: &LogicalPlan, known: &Known) -> Result<()> {
        if text.len() <= TEXT_BYTES_MAX && is_lasting(planned)? {
            let plan = of_its_own(known.plan.clone(), unbound)?;
            self.plans().put(text.into(), Known { plan, renamed: known.renamed.clone() });
        }
        Ok(())
    }

    fn plans(&self) -> MutexGuard<'_, LruCache<Box<str>, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether `plan` says the same at any time and to anyone, and reads nothing but streams.
fn is_lasting(plan: &LogicalPlan) -> Result<bool> {
    let mut is_lasting = true;
    plan.apply_with_subqueries(|node| {
        is_lasting &= match node {
            LogicalPlan::TableScan(scan) => source_as_provider(&scan.source)?.downcast_ref::<StreamTable>().is_some(),
            LogicalPlan::Explain(_)
            | LogicalPlan::Analyze(_)
            | LogicalPlan::DescribeTable(_)
            | LogicalPlan::Statement(_)
            | LogicalPlan::Extension(_) => false,
            _ => true,
        };
        node.apply_expressions(|expr| {
            is_lasting &= !expr.exists(|expr| Ok(!is_settled(expr)))?;
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(is_lasting)
}

fn is_settled(expr: &Expr) -> bool {
    match expr {
        Expr::ScalarFunction(call) => call.func.signature().volatility == Volatility::Immutable,
        Expr::ScalarVariable(..) | Expr::Placeholder(_) => false,
        _ => true,
    }
}

/// `plan` with sources as `source` has them, and no state in common with the one that it was made of.
fn of_its_own(plan: LogicalPlan, source: impl Fn(&TableScan) -> Result<Arc<dyn TableSource>>) -> Result<LogicalPlan> {
    let mut ids = FreshIds::default();
    let own = plan.transform_down_with_subqueries(|mut node| {
        if let LogicalPlan::TableScan(scan) = &mut node {
            scan.source = source(scan)?;
        }
        let node = node.map_expressions(|expr| ids.within(expr))?.data;
        Ok(Transformed::yes(node))
    });
    own.data()
}

/// A stream by its name, and the columns that it had.
#[derive(Debug)]
struct Named {
    stream: Stream,
    schema: SchemaRef,
}

impl TableSource for Named {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

fn unbound(scan: &TableScan) -> Result<Arc<dyn TableSource>> {
    match source_as_provider(&scan.source)?.downcast_ref::<StreamTable>() {
        Some(table) => Ok(Arc::new(Named { stream: table.stream(), schema: table.schema() })),
        None => internal_err!("{} is no stream", scan.table_name),
    }
}

fn bound(scan: &TableScan, view: &QueryView) -> Result<Arc<dyn TableSource>> {
    let Some(named) = scan.source.downcast_ref::<Named>() else { return internal_err!("{} is bound", scan.table_name) };
    let table = StreamTable::new(view.clone(), view.snapshot.table(named.stream).clone());
    match table.schema() == named.schema {
        true => Ok(provider_as_source(Arc::new(table))),
        false => internal_err!("{} has other columns", scan.table_name),
    }
}
