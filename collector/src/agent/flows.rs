//! Network conversations on their way to rows of `flows`.

use super::capture::Context;
use crate::Error;
use crate::events::Origin;
use crate::flows::{FlowTable, FlowsBuilder, Interval};
use crate::losses::reason;
use crate::probe::Probe;
use crate::process::ProcessTable;
use bodkin_ebpf::event::Flow;
use bodkin_schema::Stream;

/// Rows that become a batch before their time.
const ROWS_MAX: usize = 8 * 1024;

/// What has been told, and rows that wait to be sent.
#[derive(Debug)]
pub(super) struct Flows {
    table: FlowTable,
    rows: FlowsBuilder,
}

impl Flows {
    pub(super) fn new(origin: &Origin) -> Self {
        Self { table: FlowTable::default(), rows: FlowsBuilder::new(origin.host.clone(), origin.host_id.clone()) }
    }

    /// Tells what conversations moved since the last time.
    pub(super) fn read(&mut self, probe: &mut Probe, processes: &ProcessTable, context: &Context, wall_offset_ns: i64) {
        match probe.flows() {
            Ok(flows) => {
                for interval in self.table.round(&flows) {
                    self.add(&interval, processes, context, wall_offset_ns);
                }
                probe.forget_flows(&self.table.quiet());
            }
            Err(error) => tracing::warn!(%error, "conversations of one round are told in the next"),
        }
    }

    /// Tells a connection that has ended.
    pub(super) fn ended(&mut self, flow: &Flow, processes: &ProcessTable, context: &Context, wall_offset_ns: i64) {
        let interval = self.table.ended(flow);
        self.add(&interval, processes, context, wall_offset_ns);
    }

    /// Queues the rows so far.
    pub(super) fn flush(&mut self, context: &Context) {
        let rows = self.rows.rows();
        if rows == 0 {
            return;
        }
        let built = self.rows.finish().map_err(Error::batch(Stream::Flows)).inspect_err(|_| {
            context.losses.count(Stream::Flows.class(), reason::UNENCODABLE, rows as u64);
        });
        if let Err(error) = built.and_then(|batch| context.spool.push(Stream::Flows, &batch)) {
            tracing::error!(%error, "a batch of flows is lost");
        }
    }

    fn add(&mut self, interval: &Interval, processes: &ProcessTable, context: &Context, wall_offset_ns: i64) {
        // Sending makes flows, which are not to be sent.
        if interval.flow.tgid == std::process::id() {
            return;
        }
        self.rows.append(interval, context.clock.now(), wall_offset_ns, processes);
        if self.rows.rows() >= ROWS_MAX {
            self.flush(context);
        }
    }
}
