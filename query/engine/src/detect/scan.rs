//! Rules over the files of `events`, a row group at a time.
//!
//! ```text
//!  footer: row groups that times and comparisons leave                         (`row_groups`)
//!    step: some more columns of the rows that are left -> fewer rows, and so on (`steps`)
//!      what else rules read of the rows that are left -> findings
//! ```
//! Columns are decoded as the file has them: a text that is a dictionary there is one for the rules, which look at each of
//! its values once per row group. A column that has no value in a row group is not read.

use super::exec::Finder;
use super::row_groups::{Leave, Opened};
use super::steps::Step;
use arrow::array::{BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::Schema;
use bodkin_schema::events;
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::FileGroup;
use datafusion::datasource::physical_plan::parquet::ParquetFileReaderFactory;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::parquet::arrow::ParquetRecordBatchStreamBuilder;
use datafusion::parquet::arrow::arrow_reader::RowSelection;
use datafusion::parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStream};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::coop::cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, ReplaceChildrenOptions};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

/// Rows that a step looks at at once: what it decodes of a row is a few numbers, and the more rows there are, the seldomer
/// the values of a dictionary are looked at.
const STEP_ROWS: usize = 128 << 10;
/// Rows of which all columns are held at once.
const WHOLE_ROWS: usize = 8 << 10;

/// What is done with each file.
pub(super) struct Scan {
    pub(super) readers: Arc<dyn ParquetFileReaderFactory>,
    /// Which row groups are read.
    pub(super) leave: Leave,
    pub(super) steps: Vec<Step>,
    /// What is read of the rows that the steps leave.
    pub(super) columns: Vec<&'static str>,
    pub(super) finder: Finder,
}

/// Finds in files. Holds, per partition, the columns of one step for [`STEP_ROWS`] rows, or all that rules read for
/// [`WHOLE_ROWS`].
pub(super) struct DetectFilesExec {
    scan: Arc<Scan>,
    groups: Vec<FileGroup>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl DetectFilesExec {
    /// One partition for each of `groups`.
    pub(super) fn new(scan: Scan, groups: Vec<FileGroup>) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(scan.finder.schema().clone()),
            Partitioning::UnknownPartitioning(groups.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let properties = Arc::new(properties);
        Self { scan: Arc::new(scan), groups, properties, metrics: ExecutionPlanMetricsSet::new() }
    }
}

impl fmt::Debug for DetectFilesExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DetectFilesExec").field("groups", &self.groups).finish_non_exhaustive()
    }
}

impl DisplayAs for DetectFilesExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Scan { leave, steps, columns, finder, .. } = &*self.scan;
        let files: usize = self.groups.iter().map(FileGroup::len).sum();
        write!(f, "DetectFilesExec: {}, partitions={}, files={files}", finder.about(), self.groups.len())?;
        if let Some(predicate) = &leave.predicate {
            write!(f, ", predicate={predicate}")?;
        }
        for (index, step) in steps.iter().enumerate() {
            write!(f, ", step {}=[{}]", index + 1, step.columns().join(", "))?;
        }
        write!(f, ", columns=[{}]", columns.join(", "))
    }
}

impl ExecutionPlan for DetectFilesExec {
    fn name(&self) -> &'static str {
        "DetectFilesExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let files = self.groups.get(partition).map(|group| group.files().to_vec()).unwrap_or_default();
        let task = Arc::new(Task { scan: self.scan.clone(), partition, metrics: self.metrics.clone() });
        let finder = self.scan.finder.clone();
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let found = task.rows(files).map(move |rows| finder.find(&rows?, &metrics));
        let found = found.try_filter_map(|found| std::future::ready(Ok(found)));
        Ok(Box::pin(cooperative(RecordBatchStreamAdapter::new(self.schema(), found.boxed()))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// What one partition does.
struct Task {
    scan: Arc<Scan>,
    partition: usize,
    metrics: ExecutionPlanMetricsSet,
}

type Reader = Box<dyn AsyncFileReader>;

impl Task {
    /// The rows that the steps leave of `files`, with all columns that rules read.
    fn rows(self: Arc<Self>, files: Vec<PartitionedFile>) -> impl Stream<Item = Result<RecordBatch>> + Send {
        stream::iter(files).then(move |file| self.clone().rows_of_file(file)).try_flatten()
    }

    async fn rows_of_file(
        self: Arc<Self>,
        file: PartitionedFile,
    ) -> Result<impl Stream<Item = Result<RecordBatch>> + Send> {
        let opened = self.scan.leave.open(self.reader(&file)?, &file, self.partition, &self.metrics).await?;
        let opened = Arc::new(opened);
        let groups = opened.groups.clone();
        let rows = stream::iter(groups).then(move |group| {
            let (task, file, opened) = (self.clone(), file.clone(), opened.clone());
            async move { task.rows_of_group(&file, &opened, group).await }
        });
        Ok(rows.try_flatten())
    }

    async fn rows_of_group(
        &self,
        file: &PartitionedFile,
        opened: &Opened,
        group: usize,
    ) -> Result<impl Stream<Item = Result<RecordBatch>> + Send + use<>> {
        let rows = match self.left(file, opened, group).await? {
            Some(left) => {
                let columns = self.scan.columns.iter().copied();
                let further = columns.filter(|name| left.lacks(name) && !is_told(opened, group, name));
                let further: Vec<&str> = further.collect();
                let rows = self.read(file, opened, group, &further, left.selection, WHOLE_ROWS)?;
                Some(beside(left.known, rows))
            }
            None => None,
        };
        Ok(stream::iter(rows).flatten())
    }

    /// The rows of a row group that all steps leave; none where there are none.
    async fn left(&self, file: &PartitionedFile, opened: &Opened, group: usize) -> Result<Option<Left>> {
        let mut left = Left::default();
        for step in self.scan.steps.iter().filter(|step| step.pays()) {
            let further: Vec<&str> = step.columns().iter().copied().filter(|name| left.lacks(name)).collect();
            let mut rows = self.read(file, opened, group, &further, left.selection.clone(), STEP_ROWS)?;
            let (mut at, mut kept, mut passed) = (0, Vec::new(), Vec::new());
            while let Some(rows) = rows.try_next().await? {
                let rows = left.joined(at, rows)?;
                at += rows.num_rows();
                let leaves = BooleanArray::new(step.passes(&rows)?, None);
                kept.push(filter_record_batch(&rows, &leaves)?);
                passed.push(leaves);
            }
            let Some(first) = kept.first() else { return Ok(None) };
            let known = concat_batches(&first.schema(), &kept)?;
            if known.num_rows() == 0 {
                return Ok(None);
            }
            let passed = RowSelection::from_filters(&passed);
            let selection = match &left.selection {
                Some(before) => before.and_then(&passed),
                None => passed,
            };
            left.asked.extend(further.into_iter().map(str::to_owned));
            left.known = Some(known);
            left.selection = Some(selection);
        }
        Ok(Some(left))
    }

    /// Columns of the rows of a row group that `rows` selects.
    fn read(
        &self,
        file: &PartitionedFile,
        opened: &Opened,
        group: usize,
        columns: &[&str],
        rows: Option<RowSelection>,
        rows_max: usize,
    ) -> Result<ParquetRecordBatchStream<Reader>> {
        let builder =
            ParquetRecordBatchStreamBuilder::new_with_metadata(self.reader(file)?, opened.footer(rows.as_ref()));
        let builder = builder.with_projection(opened.columns(group, columns)).with_row_groups(vec![group]);
        let builder = builder.with_batch_size(rows_max);
        let builder = match rows {
            Some(rows) => builder.with_row_selection(rows),
            None => builder,
        };
        Ok(builder.build()?)
    }

    fn reader(&self, file: &PartitionedFile) -> Result<Reader> {
        Ok(self.scan.readers.create_reader(self.partition, file.clone(), None, &self.metrics)?)
    }
}

/// A finding takes its time from the nanoseconds of its event, and from the microseconds where there are none.
fn is_told(opened: &Opened, group: usize, name: &str) -> bool {
    name == events::TS && opened.is_whole(group, events::TS_NS)
}

/// The rows of a row group that the steps so far leave; all of them at first.
#[derive(Default)]
struct Left {
    selection: Option<RowSelection>,
    /// What was read of them.
    known: Option<RecordBatch>,
    /// The names of columns that are known, or were found to have no value.
    asked: HashSet<String>,
}

impl Left {
    fn lacks(&self, name: &str) -> bool {
        !self.asked.contains(name)
    }

    fn joined(&self, at: usize, rows: RecordBatch) -> Result<RecordBatch> {
        joined(self.known.as_ref(), at, rows)
    }
}

/// Further columns of `known`, as they come, with those that it has.
fn beside(
    known: Option<RecordBatch>,
    further: ParquetRecordBatchStream<Reader>,
) -> impl Stream<Item = Result<RecordBatch>> + Send {
    let mut at = 0;
    further.map(move |rows| {
        let rows = joined(known.as_ref(), at, rows?)?;
        at += rows.num_rows();
        Ok(rows)
    })
}

/// `rows` with the columns of `known`, in which they begin at `at`.
fn joined(known: Option<&RecordBatch>, at: usize, rows: RecordBatch) -> Result<RecordBatch> {
    let Some(known) = known else { return Ok(rows) };
    let known = known.slice(at, rows.num_rows());
    let fields = known.schema_ref().fields().iter().chain(rows.schema_ref().fields()).cloned();
    let columns = known.columns().iter().chain(rows.columns()).cloned();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    Ok(RecordBatch::try_new_with_options(schema, columns.collect(), &options)?)
}
