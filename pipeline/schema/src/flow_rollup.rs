//! Columns of `flows_1m`, `flows_10m`, `flows_1h`, `flows_1d`: the conversations of a process with one service over a
//! window of a tier.
//!
//! The port that is kept is the service's: that of a client is another one for each connection and would keep every row
//! apart. Everything that is measured can be added up, so a window may have more than one row of a key.

use crate::events::columns;
use crate::field::{optional, required, timestamp};
use crate::flows;
use arrow_schema::DataType::{Int32, Int64, Utf8};
use arrow_schema::{Schema, SchemaRef};
use std::sync::{Arc, LazyLock};

columns! {
    TS = "ts": required timestamp(), "start of the window, which holds its start and not its end";
    HOST = "host": required Utf8, "host name";
    HOST_ID = "host_id": required Utf8, "machine-id of the host; stable where the name is not";
    CONTAINER_ID = "container_id": required Utf8, "first 12 hex digits of the container's id; host outside containers";
    COMM = "comm": optional Utf8, "short name of the process";
    EXE = "exe": optional Utf8, "resolved path of the executable";
    PROTO = "proto": required Utf8, "transport: tcp, udp";
    DIRECTION = "direction": optional Utf8, "out where the process connected, in where it accepted; null where unknown";
    LOCAL_ADDR = "local_addr": optional Utf8, "local IP address";
    REMOTE_ADDR = "remote_addr": optional Utf8, "remote IP address";
    PORT = "port": optional Int32, "port of the service: remote_port of out, local_port of in, the lower one where unknown";
    COUNT = "count": required Int64, "rows of flows";
    ENDED = "ended": required Int64, "conversations that were over";
    BYTES_SENT = "bytes_sent": required Int64, "bytes sent";
    BYTES_RECEIVED = "bytes_received": required Int64, "bytes received";
    PACKETS_SENT = "packets_sent": required Int64, "packets sent";
    PACKETS_RECEIVED = "packets_received": required Int64, "packets received";
    RETRANSMITS = "retransmits": required Int64, "packets sent again";
    CONNECT_COUNT = "connect_count": required Int64, "handshakes that were timed";
    CONNECT_US_SUM = "connect_us_sum": required Int64, "microseconds that they took together";
    CONNECT_US_MIN = "connect_us_min": optional Int64, "microseconds of the shortest; null where there is none";
    CONNECT_US_MAX = "connect_us_max": optional Int64, "microseconds of the longest; null where there is none";
    RTT_COUNT = "rtt_count": required Int64, "rows with a round trip";
    RTT_US_SUM = "rtt_us_sum": required Int64, "sum of the round trips in microseconds";
    RTT_US_MIN = "rtt_us_min": optional Int64, "the shortest in microseconds; null where there is none";
    RTT_US_MAX = "rtt_us_max": optional Int64, "the longest in microseconds; null where there is none";
    VERSION = "version": required Int64, "which making of the window it is";
}

/// What rows are kept apart by within a window, the first sort column first.
pub const KEYS: [&str; 10] = [CONTAINER_ID, HOST, HOST_ID, COMM, EXE, PROTO, DIRECTION, LOCAL_ADDR, REMOTE_ADDR, PORT];
/// What is added up.
pub const ADDED: [&str; 11] = [
    COUNT,
    ENDED,
    BYTES_SENT,
    BYTES_RECEIVED,
    PACKETS_SENT,
    PACKETS_RECEIVED,
    RETRANSMITS,
    CONNECT_COUNT,
    CONNECT_US_SUM,
    RTT_COUNT,
    RTT_US_SUM,
];
/// What the smallest and the largest are kept of: the columns of tiers, and the column of `flows`.
pub const EXTREMES: [(&str, &str, &str); 2] =
    [(CONNECT_US_MIN, CONNECT_US_MAX, flows::CONNECT_US), (RTT_US_MIN, RTT_US_MAX, flows::RTT_US)];
