//! Between the log and the graph: what became durable goes into the inlet, what is committed leaves the log.

use anyhow::Context;
use async_trait::async_trait;
use bodkin_engine::{Batch, Inlet, Origin, SIDE_TOPIC, SinkError, Source, WATERMARK_TOPIC};
use bodkin_ingest::{Downstream, IngestedBatch};
use bodkin_schema::{Clock, Position};
use bodkin_wal::{NoteFrame, Wal};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// How often clocks are asked whether a producer is idle.
const WATERMARK_INTERVAL: Duration = Duration::from_secs(5);

/// Hands durable rows and notes to the graph, in log order.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) inlet: Arc<Inlet>,
}

impl Downstream for Feed {
    fn push(&self, batch: IngestedBatch) {
        let IngestedBatch { tenant, lane, seq, ingest_time, position, records } = batch;
        self.inlet.push(Batch::logged(Origin { lane, seq }, tenant, records, ingest_time, position));
    }

    fn note(&self, position: Position, note: NoteFrame) {
        self.inlet.note(position, &note.topic, &note.note);
    }
}

/// The log as the source of the graph.
#[derive(Debug)]
pub(crate) struct LogSource(pub(crate) Arc<Wal>);

#[async_trait]
impl Source for LogSource {
    async fn ack(&self, position: Position) -> Result<(), SinkError> {
        let wal = self.0.clone();
        tokio::task::spawn_blocking(move || wal.trim(position)).await??;
        Ok(())
    }
}

/// What goes to the graph besides rows: logged first, so that a replay repeats it.
#[derive(Clone, Debug)]
pub(crate) struct Notes {
    pub(crate) wal: Arc<Wal>,
    pub(crate) inlet: Arc<Inlet>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Notes {
    /// Gives a side input a value. It is durable when this returns, and every row that is acknowledged later is seen by
    /// operators after it. Does nothing where it has the value already. Safe to drop; it may count then all the same.
    pub(crate) async fn put_side_input(&self, name: &str, value: Value) -> anyhow::Result<()> {
        if self.inlet.side_input(name).is_some_and(|known| *known.value == value) {
            return Ok(());
        }
        self.log(format!("{SIDE_TOPIC}{name}"), value).await.with_context(|| format!("side input {name}"))
    }

    /// Asks the clocks now and then whether a producer is idle or the watermark is held up. Runs for ever.
    pub(crate) async fn watch_clocks(self) {
        let mut ticks = tokio::time::interval(WATERMARK_INTERVAL);
        loop {
            ticks.tick().await;
            let Some(note) = self.inlet.decide_watermark() else { continue };
            let logged = match serde_json::to_value(note) {
                Ok(note) => self.log(WATERMARK_TOPIC.to_owned(), note).await,
                Err(error) => Err(error.into()),
            };
            if let Err(error) = logged {
                tracing::warn!(%error, "a decision about the watermark is put off");
            }
        }
    }

    async fn log(&self, topic: String, note: Value) -> anyhow::Result<()> {
        let frame = NoteFrame { ingest_time: self.clock.now(), topic, note };
        let slot = self.wal.slot(frame.encode()?).await?;
        let inlet = self.inlet.clone();
        let apply = move |outcome: bodkin_wal::Result<Position>| {
            if let Ok(position) = outcome {
                inlet.note(position, &frame.topic, &frame.note);
            }
        };
        slot.send(Some(Box::new(apply))).await?;
        Ok(())
    }
}
