//! Columns of `flows`: one row per network conversation and interval.

use crate::events::columns;
use crate::field::{optional, required, timestamp};
use arrow_schema::DataType::{Boolean, Int32, Int64, Utf8};
use arrow_schema::{Schema, SchemaRef};
use std::sync::{Arc, LazyLock};

columns! {
    TS = "ts": required timestamp(), "end of the interval that the row tells of: when the conversation ended, or was looked at";
    HOST = "host": required Utf8, "host name";
    HOST_ID = "host_id": required Utf8, "machine-id of the host; stable where the name is not";
    CONTAINER_ID = "container_id": required Utf8, "first 12 hex digits of the container's id; host outside containers";
    PID = "pid": optional Int32, "process (thread group) id of who connected or accepted; null where unknown";
    COMM = "comm": optional Utf8, "short name of the process";
    EXE = "exe": optional Utf8, "resolved path of the executable";
    PROTO = "proto": required Utf8, "transport: tcp, udp";
    DIRECTION = "direction": optional Utf8, "out where the process connected, in where it accepted; null where unknown";
    LOCAL_ADDR = "local_addr": optional Utf8, "local IP address";
    LOCAL_PORT = "local_port": optional Int32, "local port";
    REMOTE_ADDR = "remote_addr": optional Utf8, "remote IP address; null for datagrams of a socket that is not connected";
    REMOTE_PORT = "remote_port": optional Int32, "remote port";
    BYTES_SENT = "bytes_sent": required Int64, "bytes sent in the interval, repeated ones not counted";
    BYTES_RECEIVED = "bytes_received": required Int64, "bytes received in the interval";
    PACKETS_SENT = "packets_sent": required Int64, "packets sent in the interval";
    PACKETS_RECEIVED = "packets_received": required Int64, "packets received in the interval";
    RETRANSMITS = "retransmits": required Int64, "packets sent again in the interval";
    CONNECT_US = "connect_us": optional Int64, "microseconds that the handshake took; on rows of direction out";
    RTT_US = "rtt_us": optional Int64, "round trip in microseconds, smoothed, as of the end of the interval; null before the first";
    START_NS = "start_ns": optional Int64, "when the conversation began, nanoseconds since 1970; null if it was there before the agent";
    ENDED = "ended": required Boolean, "the conversation is over";
}
