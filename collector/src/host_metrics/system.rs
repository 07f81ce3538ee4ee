//! The kernel itself: names, time, handles.

use super::{Emit, number};
use bodkin_schema::EventTime;
use std::path::Path;

/// Files under `/proc` that hold one number.
const NUMBERS: [(&str, &str); 4] = [
    ("sys/kernel/random/entropy_avail", "node_entropy_available_bits"),
    ("sys/kernel/random/poolsize", "node_entropy_pool_size_bits"),
    ("sys/net/netfilter/nf_conntrack_count", "node_nf_conntrack_entries"),
    ("sys/net/netfilter/nf_conntrack_max", "node_nf_conntrack_entries_limit"),
];

/// Entropy and connection tracking.
pub(crate) fn numbers(proc: &Path, emit: Emit<'_>) {
    for (file, name) in NUMBERS {
        if let Some(value) = number(&proc.join(file)) {
            emit(name, &[], value);
        }
    }
}

/// `/proc/sys/fs/file-nr`: allocated, unused, maximum.
pub(crate) fn file_handles(text: &str, emit: Emit<'_>) {
    let fields: Vec<f64> = text.split_ascii_whitespace().filter_map(|field| field.parse().ok()).collect();
    let &[allocated, _, maximum] = fields.as_slice() else { return };
    emit("node_filefd_allocated", &[], allocated);
    emit("node_filefd_maximum", &[], maximum);
}

/// Names of kernel and host.
pub(crate) fn uname(emit: Emit<'_>) {
    let uname = rustix::system::uname();
    let text = |value: &std::ffi::CStr| value.to_string_lossy().into_owned();
    let labels = [
        ("domainname", &*text(uname.domainname())),
        ("machine", &text(uname.machine())),
        ("nodename", &text(uname.nodename())),
        ("release", &text(uname.release())),
        ("sysname", &text(uname.sysname())),
        ("version", &text(uname.version())),
    ];
    emit("node_uname_info", &labels, 1.0);
}

/// The host's time, which `time() - node_time_seconds` compares with the server's.
pub(crate) fn time(now: EventTime, emit: Emit<'_>) {
    emit("node_time_seconds", &[], now.micros() as f64 / 1e6);
    // The agent's process has no time zone: times are UTC everywhere.
    emit("node_time_zone_offset_seconds", &[("time_zone", "UTC")], 0.0);
}

#[cfg(test)]
mod tests {
    use super::super::testing::lines;
    use super::*;

    #[test]
    fn handles_and_time() {
        let expected = ["node_filefd_allocated{} 1024", "node_filefd_maximum{} 9223372036854776000"];
        assert_eq!(lines(|emit| file_handles("1024\t0\t9223372036854775807\n", emit)), expected);
        let expected = ["node_time_seconds{} 1.5", "node_time_zone_offset_seconds{time_zone=\"UTC\"} 0"];
        assert_eq!(lines(|emit| time(EventTime(1_500_000), emit)), expected);
        assert!(lines(|emit| uname(emit))[0].contains("sysname=\"Linux\""));
    }
}
