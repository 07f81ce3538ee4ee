//! The Arrow builder of `flows`.

use super::Interval;
use crate::events::text::TextColumn;
use crate::process::{ProcessTable, container};
use arrow::array::{
    ArrayRef, BooleanBuilder, Int32Builder, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use bodkin_ebpf::layout::{FLOW_IN, FLOW_OUT};
use bodkin_schema::{EventTime, Stream, flows as f};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, LazyLock};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// Texts that repeat, in the order in which rows fill them.
const TEXTS: [&str; 7] = [f::HOST, f::HOST_ID, f::CONTAINER_ID, f::COMM, f::EXE, f::PROTO, f::DIRECTION];

const COUNTS: [&str; 5] = [f::BYTES_SENT, f::BYTES_RECEIVED, f::PACKETS_SENT, f::PACKETS_RECEIVED, f::RETRANSMITS];
const LONGS: [&str; 3] = [f::CONNECT_US, f::RTT_US, f::START_NS];
const INTS: [&str; 3] = [f::PID, f::LOCAL_PORT, f::REMOTE_PORT];
const ADDRESSES: [&str; 2] = [f::LOCAL_ADDR, f::REMOTE_ADDR];

/// The schema of a batch of `flows` as the agent sends it.
fn wire_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let text = || DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        let field = |field: &Arc<Field>| {
            let data_type = if TEXTS.contains(&&**field.name()) { text() } else { field.data_type().clone() };
            Field::new(field.name(), data_type, field.is_nullable())
        };
        Arc::new(Schema::new(Stream::Flows.schema().fields().iter().map(field).collect::<Vec<_>>()))
    });
    SCHEMA.clone()
}

/// Rows of `flows` in the making.
#[derive(Debug)]
pub struct FlowsBuilder {
    host: Arc<str>,
    host_id: Arc<str>,
    ts: Vec<i64>,
    texts: [TextColumn; TEXTS.len()],
    addresses: [StringBuilder; ADDRESSES.len()],
    ints: [Int32Builder; INTS.len()],
    counts: [Int64Builder; COUNTS.len()],
    longs: [Int64Builder; LONGS.len()],
    ended: BooleanBuilder,
}

impl FlowsBuilder {
    /// An empty builder.
    pub fn new(host: Arc<str>, host_id: Arc<str>) -> Self {
        Self {
            host,
            host_id,
            ts: Vec::new(),
            texts: Default::default(),
            addresses: Default::default(),
            ints: Default::default(),
            counts: Default::default(),
            longs: Default::default(),
            ended: BooleanBuilder::new(),
        }
    }

    /// Rows so far.
    pub fn rows(&self) -> usize {
        self.ts.len()
    }

    /// Appends what an interval moved that ended at `now`. `wall_offset_ns` is wall-clock time minus boot time.
    pub fn append(&mut self, interval: &Interval, now: EventTime, wall_offset_ns: i64, table: &ProcessTable) {
        let flow = &interval.flow;
        let process = table.lineage(flow.tgid).filter(|_| flow.tgid > 0).map(|lineage| lineage.process);
        let texts: [Option<&str>; TEXTS.len()] = [
            Some(&self.host),
            Some(&self.host_id),
            Some(process.map_or(container::HOST, |process| &process.container_id)),
            process.and_then(|process| process.comm.as_deref()),
            process.and_then(|process| process.exe.as_deref()),
            Some(if flow.protocol == 17 { "udp" } else { "tcp" }),
            match flow.direction {
                FLOW_OUT => Some("out"),
                FLOW_IN => Some("in"),
                _ => None,
            },
        ];
        let row = self.rows();
        self.ts.push(now.0);
        for (column, text) in self.texts.iter_mut().zip(texts) {
            if let Some(text) = text {
                let key = column.key_of_str(text);
                column.put(row, key);
            }
        }
        let ends = [(flow.local, flow.local_port), (flow.remote, flow.remote_port)];
        let ends = ends.map(|(address, port)| {
            address_of(flow.family, &address).filter(|ip| port != 0 || !ip.is_unspecified()).map(|ip| (ip, port))
        });
        for (column, end) in self.addresses.iter_mut().zip(ends) {
            column.append_option(end.map(|(ip, _)| ip.to_string()));
        }
        let port = |end: Option<(IpAddr, u16)>| end.map(|(_, port)| i32::from(port));
        let [local, remote] = ends;
        let pid = (flow.tgid > 0).then_some(flow.tgid as i32);
        self.ints
            .iter_mut()
            .zip([pid, port(local), port(remote)])
            .for_each(|(column, value)| column.append_option(value));
        let counts = [
            flow.bytes_sent as i64,
            flow.bytes_received as i64,
            i64::from(flow.packets_sent),
            i64::from(flow.packets_received),
            i64::from(flow.retransmits),
        ];
        self.counts.iter_mut().zip(counts).for_each(|(column, value)| column.append_value(value));
        let longs = [
            (flow.direction == FLOW_OUT).then_some(i64::from(flow.connect_us)),
            (flow.rtt_us > 0).then_some(i64::from(flow.rtt_us)),
            (flow.start_ns > 0).then(|| wall_offset_ns.wrapping_add(flow.start_ns as i64)),
        ];
        self.longs.iter_mut().zip(longs).for_each(|(column, value)| column.append_option(value));
        self.ended.append_value(interval.is_ended);
    }

    /// The batch; the builder is empty afterwards.
    ///
    /// # Errors
    /// If columns do not fit the schema: not for any input.
    pub fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        let ts = std::mem::take(&mut self.ts);
        let rows = ts.len();
        let mut columns: Vec<(&str, ArrayRef)> = vec![
            (f::TS, Arc::new(TimestampMicrosecondArray::from(ts).with_timezone("UTC"))),
            (f::ENDED, Arc::new(self.ended.finish())),
        ];
        for (name, column) in TEXTS.into_iter().zip(&mut self.texts) {
            columns.push((name, column.finish(rows)?));
        }
        let addresses = ADDRESSES.into_iter().zip(&mut self.addresses);
        columns.extend(addresses.map(|(name, column)| (name, Arc::new(column.finish()) as ArrayRef)));
        columns.extend(INTS.into_iter().zip(&mut self.ints).map(|(name, c)| (name, Arc::new(c.finish()) as ArrayRef)));
        let longs = COUNTS.into_iter().zip(&mut self.counts).chain(LONGS.into_iter().zip(&mut self.longs));
        columns.extend(longs.map(|(name, column)| (name, Arc::new(column.finish()) as ArrayRef)));
        let schema = wire_schema();
        let in_order = schema.fields().iter().filter_map(|field| {
            columns.iter().find(|(name, _)| *name == field.name()).map(|(_, column)| column.clone())
        });
        RecordBatch::try_new(schema.clone(), in_order.collect())
    }
}

/// IPv4 carried in IPv6 is IPv4.
fn address_of(family: u16, bytes: &[u8; 16]) -> Option<IpAddr> {
    let [a, b, c, d, ..] = *bytes;
    match family {
        AF_INET => Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d))),
        AF_INET6 => Some(IpAddr::V6(Ipv6Addr::from(*bytes)).to_canonical()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::users::Users;
    use crate::process::{Limits, ProcFs, Process};
    use arrow::array::Array;
    use arrow::util::display::array_value_to_string;
    use bodkin_ebpf::event::Flow;
    use bodkin_schema::check_compatible;

    #[test]
    fn a_row_says_who_talked_to_whom() {
        let root = tempfile::tempdir().unwrap();
        let mut table =
            ProcessTable::new(Limits::default(), ProcFs::at(root.path()), Users::open(root.path().join("passwd")));
        let mut process = Process::unknown(42);
        (process.comm, process.exe) = (Some("curl".into()), Some("/usr/bin/curl".into()));
        table.put(process);
        let [mut local, mut remote] = [[0; 16]; 2];
        local[..4].copy_from_slice(&[10, 0, 0, 1]);
        remote[..4].copy_from_slice(&[10, 0, 0, 2]);
        let flow = Flow {
            start_ns: 5,
            tgid: 42,
            family: 2,
            protocol: 6,
            direction: FLOW_OUT,
            local,
            local_port: 40_000,
            remote,
            remote_port: 443,
            bytes_sent: 100,
            bytes_received: 2_000,
            packets_sent: 4,
            packets_received: 5,
            retransmits: 1,
            rtt_us: 250,
            connect_us: 300,
            sk: 1,
        };
        let unknown = Flow { protocol: 17, family: 10, bytes_sent: 1, packets_sent: 1, ..Flow::default() };
        let mut builder = FlowsBuilder::new("h".into(), "id".into());
        builder.append(&Interval { flow, is_ended: true }, EventTime(7), 1_000, &table);
        builder.append(&Interval { flow: unknown, is_ended: false }, EventTime(8), 1_000, &table);
        assert_eq!(builder.rows(), 2);
        let batch = builder.finish().unwrap();
        assert_eq!(check_compatible(&Stream::Flows.schema(), &batch.schema()), Ok(()));
        let row = |row: usize| {
            let cell = |column: &ArrayRef| {
                if column.is_null(row) { "-".into() } else { array_value_to_string(column, row).unwrap() }
            };
            batch.columns().iter().skip(1).map(cell).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            row(0),
            "h id host 42 curl /usr/bin/curl tcp out 10.0.0.1 40000 10.0.0.2 443 100 2000 4 5 1 300 250 1005 true"
        );
        assert_eq!(row(1), "h id host - - - udp - - - - - 1 0 1 0 0 - - - false");
        assert_eq!(builder.finish().unwrap().num_rows(), 0);
    }
}
