//! Queries that read few rows, told from others before they are planned: one core answers them.
//!
//! To spread rows over cores takes threads that wake, an exchange and a merge, and opens a file once for each core. A
//! look-up of a few pages costs less than that. Rows are counted where it takes next to nothing: those of whole files
//! by the log, those of a look-up by the footers that are in memory already.

use crate::metered::kept_footer;
use crate::stream_table::StreamTable;
use bodkin_table::TableFile;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, ScalarValue};
use datafusion::datasource::source_as_provider;
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::expr_rewriter::unnormalize_cols;
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan};
use datafusion::parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use datafusion::parquet::file::page_index::column_index::ColumnIndexMetaData;
use datafusion::parquet::file::page_index::offset_index::OffsetIndexMetaData;

/// Files of a table whose rows are counted; of more files, rows are not few.
const FILES_MAX: usize = 512;

/// Whether `plan`, optimized, reads `rows_max` rows of tables at most and makes no more of them: joins do, and what it
/// is not known of.
pub(crate) fn reads_few_rows(plan: &LogicalPlan, session: &SessionState, rows_max: u64) -> Result<bool> {
    let footers = session.runtime_env().cache_manager.get_file_metadata_cache();
    let mut rows = Some(0u64);
    plan.apply_with_subqueries(|node| {
        let more = match node {
            LogicalPlan::TableScan(scan) => scanned(scan, session, footers.as_ref())?,
            LogicalPlan::Projection(_)
            | LogicalPlan::Filter(_)
            | LogicalPlan::Aggregate(_)
            | LogicalPlan::Sort(_)
            | LogicalPlan::Limit(_)
            | LogicalPlan::SubqueryAlias(_)
            | LogicalPlan::Distinct(_)
            | LogicalPlan::Explain(_)
            | LogicalPlan::Analyze(_)
            | LogicalPlan::EmptyRelation(_) => Some(0),
            _ => None,
        };
        rows = rows.zip(more).map(|(rows, more)| rows.saturating_add(more)).filter(|rows| *rows <= rows_max);
        Ok(if rows.is_some() { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    })?;
    Ok(rows.is_some())
}

/// Rows that `scan` reads at most, as far as that is known.
fn scanned(scan: &TableScan, session: &SessionState, footers: &FileMetadataCache) -> Result<Option<u64>> {
    let provider = source_as_provider(&scan.source)?;
    let Some(table) = provider.downcast_ref::<StreamTable>() else { return Ok(None) };
    // As the planner asks the table for its scan.
    let filters = unnormalize_cols(scan.filters.iter().cloned());
    let files = table.kept_files(session, &filters)?.files;
    if files.len() > FILES_MAX {
        return Ok(None);
    }
    let values = table.looked_up(&filters).and_then(|values| values.into_iter().map(text).collect());
    let of_file = |file: &TableFile| {
        let values: &Vec<&str> = values.as_ref()?;
        looked_up(table.first_sort_column()?, values, kept_footer(footers, file)?.as_ref())
    };
    let in_files = files.iter().map(|file| of_file(file).unwrap_or(file.rows));
    let in_tail = table.tail_parts().map(|part| part.records.num_rows() as u64);
    Ok(Some(in_files.chain(in_tail).fold(0, u64::saturating_add)))
}

fn text(value: &Expr) -> Option<&str> {
    match value {
        Expr::Literal(ScalarValue::Utf8(text) | ScalarValue::Utf8View(text) | ScalarValue::LargeUtf8(text), _) => {
            text.as_deref()
        }
        _ => None,
    }
}

/// Rows of pages that may hold one of `values` in the column called `name`; none where the footer does not say.
fn looked_up(name: &str, values: &[&str], footer: &ParquetMetaData) -> Option<u64> {
    let columns = footer.file_metadata().schema_descr().columns();
    let column = columns.iter().position(|column| column.path().parts() == [name])?;
    let (bounds, places) = (footer.column_index()?, footer.offset_index()?);
    let groups = footer.row_groups().iter().zip(bounds).zip(places);
    groups.map(|((group, bounds), places)| of_group(group, bounds.get(column)?, places.get(column)?, values)).sum()
}

fn of_group(
    group: &RowGroupMetaData,
    bounds: &ColumnIndexMetaData,
    places: &OffsetIndexMetaData,
    values: &[&str],
) -> Option<u64> {
    let ColumnIndexMetaData::BYTE_ARRAY(bounds) = bounds else { return None };
    let starts = places.page_locations().iter().map(|page| page.first_row_index);
    let ends = starts.clone().skip(1).chain([group.num_rows()]);
    let pages = bounds.min_values_iter().zip(bounds.max_values_iter()).zip(starts.zip(ends));
    let may_hold = pages.filter(|((min, max), _)| match (min, max) {
        (Some(min), Some(max)) => values.iter().any(|value| *min <= value.as_bytes() && value.as_bytes() <= *max),
        _ => false, // nulls alone
    });
    may_hold.map(|(_, (start, end))| u64::try_from(end.saturating_sub(start)).ok()).sum()
}
