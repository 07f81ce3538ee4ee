//! A stretch, made: rows read once in order, folded into all tiers, and each tier's rows replaced in one commit.

use crate::base::{Base, Folding, Given, Sketched};
use crate::tier::{Tier, floor};
use crate::{Error, Result};
use arrow::array::RecordBatch;
use bodkin_schema::{Stream, Tenant};
use bodkin_table::{TableSnapshot, Tables};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Tiers whose windows divide a unit: they are made in one pass over the base.
const FINE: [Tier; 3] = [Tier::Minute, Tier::TenMinutes, Tier::Hour];

type TableResult<T> = bodkin_table::Result<T>;
type RowSender = mpsc::Sender<Part>;

/// What a tier's writer is sent. A channel that ends without `End` is a making that was given up: nothing is committed.
enum Part {
    Rows(RecordBatch),
    End,
}

/// Makes the rows of all tiers of `base` for `stretch` (microseconds; whole units of one day) from the files of `from`.
/// Returns the number of rows read. Tier by tier it is all or nothing; a second making of the same gives the same rows.
pub(crate) async fn make(
    tables: &Tables,
    base: Base,
    from: &TableSnapshot,
    stretch: &Range<i64>,
    (version, sketched): (i64, &Arc<Sketched>),
) -> Result<u64> {
    let own = Tenant::default();
    let read = tables.read_stretch(from, &own, stretch.clone())?;
    let fold = base.fold(Given::Base, &FINE, version, sketched)?;
    let folded = replace(tables, base, &FINE, stretch, |senders| fold_all(read, fold, senders)).await?;
    let day = Tier::Day.window_us();
    let days = floor(stretch.start, day)..floor(stretch.end - 1, day).saturating_add(day);
    let snapshot = tables.snapshot();
    let hours = tables.read_stretch(snapshot.table(base.tier(Tier::Hour)), &own, days.clone())?;
    let day = [Tier::Day];
    let fold = base.fold(Given::Tier, &day, version, sketched)?;
    replace(tables, base, &day, &days, |senders| fold_all(hours, fold, senders)).await?;
    Ok(folded)
}

/// Runs `produce` on a thread of its own and puts what it sends to the senders of `tiers` in place of `stretch`.
async fn replace<F, P>(tables: &Tables, base: Base, tiers: &[Tier], stretch: &Range<i64>, produce: F) -> Result<u64>
where
    F: FnOnce(Vec<(Tier, RowSender)>) -> P,
    P: Future<Output = Result<u64>> + Send + 'static,
{
    let (senders, receivers): (Vec<_>, Vec<_>) = tiers
        .iter()
        .map(|tier| {
            let (sender, receiver) = mpsc::channel(2);
            ((*tier, sender), (base.tier(*tier), receiver))
        })
        .unzip();
    let produced = produce(senders);
    let runtime = tokio::runtime::Handle::current();
    // Folding is a long stretch of work: it stays off the threads of requests.
    let produced = tokio::task::spawn_blocking(move || runtime.block_on(produced));
    let written = receivers
        .into_iter()
        .map(|(table, receiver)| tables.replace_stretch(table, &OWN, stretch.clone(), rows(table, receiver)));
    let written = futures::future::try_join_all(written).await;
    let produced = produced.await.unwrap_or(Err(Error::Stopped));
    // What the producer met explains best why writers failed.
    match (produced, written) {
        (Err(Error::Stopped), Err(error)) => Err(error.into()),
        (Err(error), _) => Err(error),
        (Ok(_), Err(error)) => Err(error.into()),
        (Ok(count), Ok(_)) => Ok(count),
    }
}

static OWN: std::sync::LazyLock<Tenant> = std::sync::LazyLock::new(Tenant::default);

fn rows(table: Stream, receiver: mpsc::Receiver<Part>) -> BoxStream<'static, TableResult<RecordBatch>> {
    let next = move |mut receiver: mpsc::Receiver<Part>| async move {
        match receiver.recv().await {
            Some(Part::Rows(rows)) => Ok(Some((rows, receiver))),
            Some(Part::End) => Ok(None),
            None => Err(bodkin_table::Error::Stopped { table }),
        }
    };
    futures::stream::try_unfold(receiver, next).boxed()
}

async fn fold_all(
    mut read: BoxStream<'static, TableResult<RecordBatch>>,
    mut fold: Box<dyn Folding>,
    senders: Vec<(Tier, RowSender)>,
) -> Result<u64> {
    while let Some(batch) = read.try_next().await? {
        fold.add(&batch)?;
        send(fold.as_mut(), &senders, false).await?;
    }
    fold.end();
    send(fold.as_mut(), &senders, true).await?;
    for (_, sender) in &senders {
        sender.send(Part::End).await.map_err(|_| Error::Stopped)?;
    }
    Ok(fold.rows())
}

async fn send(fold: &mut dyn Folding, senders: &[(Tier, RowSender)], is_last: bool) -> Result<()> {
    for (tier, rows) in fold.take(is_last)? {
        if let Some((_, sender)) = senders.iter().find(|(other, _)| *other == tier) {
            // Who takes no more has failed, and says why.
            sender.send(Part::Rows(rows)).await.map_err(|_| Error::Stopped)?;
        }
    }
    Ok(())
}
