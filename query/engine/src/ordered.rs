//! Reads sorted runs in their order where a query wants that order: a merge in place of a sort.
//!
//! A scan is planned for throughput: its files are spread over the cores and come in any order. This rule looks for
//! operators that want rows in an order (ORDER BY, windows) and arranges the scans below them as sorted runs, where
//! the order that the files have is the one that is wanted. The planner's own rules, which run afterwards, then see
//! that there is nothing to sort, and merge.

use crate::run_chain::RunChainExec;
use crate::tail::TailExec;
use bodkin_schema::Stream;
use bodkin_table::run_of;
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Runs that are merged at once: each holds a decoded batch and an open file. Beyond, sorting is the lesser evil.
const RUNS_MAX: usize = 128;

/// The rule. Stands before the rules that insert sorts.
#[derive(Debug)]
pub(crate) struct ReadInOrder;

impl PhysicalOptimizerRule for ReadInOrder {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let cores = config.execution.target_partitions;
        plan.transform_up(|node| arrange_children(node, cores)).data()
    }

    fn name(&self) -> &str {
        "read_in_order"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// `node` with the scans below it in the order that it wants of its inputs.
fn arrange_children(node: Arc<dyn ExecutionPlan>, cores: usize) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let wanted: Vec<Option<LexOrdering>> = match node.downcast_ref::<SortExec>() {
        Some(sort) => vec![Some(sort.expr().clone())],
        None => node.required_input_ordering().into_iter().map(|order| Some(order?.into_single().into())).collect(),
    };
    if wanted.iter().all(Option::is_none) {
        return Ok(Transformed::no(node));
    }
    let mut is_changed = false;
    let mut children = Vec::with_capacity(wanted.len());
    for (child, order) in node.children().into_iter().zip(wanted) {
        let arranged = match order {
            Some(order) if !child.equivalence_properties().ordering_satisfy(order.clone())? => {
                let arranged = in_order(child, cores)?;
                arranged.filter(|plan| plan.equivalence_properties().ordering_satisfy(order).unwrap_or(false))
            }
            _ => None,
        };
        is_changed |= arranged.is_some();
        children.push(arranged.unwrap_or_else(|| child.clone()));
    }
    if !is_changed {
        return Ok(Transformed::no(node));
    }
    Ok(Transformed::yes(with_children(node, children)?))
}

/// `plan` with its scans in the order of their tables; none where it is more than rows of a scan, or has none.
fn in_order(plan: &Arc<dyn ExecutionPlan>, cores: usize) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if let Some((config, _)) =
        plan.downcast_ref::<DataSourceExec>().and_then(|scan| scan.downcast_to_file_source::<ParquetSource>())
    {
        return scan_in_order(config, cores);
    }
    if let Some(tail) = plan.downcast_ref::<TailExec>() {
        return sorted_tail(plan, tail);
    }
    let keeps_order = plan.downcast_ref::<FilterExec>().is_some()
        || plan.downcast_ref::<ProjectionExec>().is_some()
        || plan.downcast_ref::<UnionExec>().is_some();
    if !keeps_order {
        return Ok(None);
    }
    let mut children = Vec::new();
    for child in plan.children() {
        let Some(child) = in_order(child, cores)? else { return Ok(None) };
        children.push(child);
    }
    with_children(plan.clone(), children).map(Some)
}

fn with_children(
    plan: Arc<dyn ExecutionPlan>,
    children: Vec<Arc<dyn ExecutionPlan>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    plan.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
}

/// One partition per sorted run.
fn scan_in_order(config: &FileScanConfig, cores: usize) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let files: Vec<&PartitionedFile> = config.file_groups.iter().flat_map(|group| group.files()).collect();
    let Some((stream, mut files, mut runs)) = runs_of(files) else { return Ok(None) };
    if runs.len() > RUNS_MAX {
        return Ok(None);
    }
    spread(&mut runs, cores);
    let schema = config.file_source().table_schema();
    let ascending = |name: &&str| -> Result<PhysicalSortExpr> {
        Ok(PhysicalSortExpr::new_default(Arc::new(Column::new_with_schema(name, schema.table_schema())?)))
    };
    let order = stream.sort_columns().iter().map(ascending).collect::<Result<Vec<_>>>()?;
    let Some(order) = LexOrdering::new(order) else { return Ok(None) };
    let groups = files.drain(..).map(|file| FileGroup::new(vec![file])).collect();
    let scan =
        FileScanConfigBuilder::from(config.clone()).with_file_groups(groups).with_output_ordering(vec![order]).build();
    let scan: Arc<dyn ExecutionPlan> = DataSourceExec::from_data_source(scan);
    if runs.iter().all(|run| run.len() == 1) {
        return Ok(Some(scan));
    }
    Ok(Some(Arc::new(RunChainExec::new(scan, runs))))
}

/// The files by run, and the places of each run among them; none where a file is of no run.
#[allow(clippy::type_complexity, reason = "three results that belong together, each plain")]
fn runs_of(files: Vec<&PartitionedFile>) -> Option<(Stream, Vec<PartitionedFile>, Vec<Range<usize>>)> {
    let mut by_run: BTreeMap<&str, Vec<(u32, &PartitionedFile)>> = BTreeMap::new();
    let mut stream = None;
    for file in files {
        let path = file.object_meta.location.as_ref();
        let (table, run, number) = run_of(path)?;
        if file.range.is_some() || *stream.get_or_insert(table) != table {
            return None;
        }
        by_run.entry(run).or_default().push((number, file));
    }
    let (mut ordered, mut runs) = (Vec::new(), Vec::new());
    for mut files in by_run.into_values() {
        files.sort_unstable_by_key(|(number, _)| *number);
        let start = ordered.len();
        // Bounds in the log are wider than the values, so files that follow each other seem to overlap: what the
        // names say is exact.
        ordered.extend(files.into_iter().map(|(_, file)| PartitionedFile { statistics: None, ..file.clone() }));
        runs.push(start..ordered.len());
    }
    Some((stream?, ordered, runs))
}

/// Cuts the longest runs between two files until there is one for each core.
fn spread(runs: &mut Vec<Range<usize>>, cores: usize) {
    while runs.len() < cores {
        let longest = runs.iter().enumerate().max_by_key(|(_, run)| run.len());
        let Some((index, run)) = longest.filter(|(_, run)| run.len() > 1) else { return };
        let (start, middle, end) = (run.start, run.start + run.len() / 2, run.end);
        runs.splice(index..=index, [start..middle, middle..end]);
    }
}

/// The rows of the tail, sorted: they are few, of the last epochs.
fn sorted_tail(plan: &Arc<dyn ExecutionPlan>, tail: &TailExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let schema = plan.schema();
    // Columns that were not asked for end the order; whether what is left is enough is seen above.
    let present =
        tail.stream().sort_columns().iter().map_while(|name| schema.index_of(name).ok().map(|at| (*name, at)));
    let order = present.map(|(name, at)| PhysicalSortExpr::new_default(Arc::new(Column::new(name, at)) as _));
    let Some(order) = LexOrdering::new(order) else { return Ok(None) };
    Ok(Some(Arc::new(SortExec::new(order, plan.clone()).with_preserve_partitioning(true))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_cut_for_the_cores() {
        let cut = |runs: &[Range<usize>], cores| {
            let mut runs = runs.to_vec();
            spread(&mut runs, cores);
            runs
        };
        assert_eq!(cut(std::slice::from_ref(&(0..5)), 2), [0..2, 2..5]);
        assert_eq!(cut(&[0..1, 1..4], 4), [0..1, 1..2, 2..3, 3..4]);
        assert_eq!(cut(std::slice::from_ref(&(0..1)), 4).len(), 1);
        assert_eq!(cut(&[0..1, 1..9, 9..10], 2), [0..1, 1..9, 9..10]);
    }
}
