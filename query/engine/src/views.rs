//! Views: SQL text over the streams, the comments of tables and columns.

use bodkin_schema::{COMMENT, Stream, suffixed_column};

/// A view: its SQL sees the streams under their own names, `series` with every announcement.
pub(crate) struct View {
    pub(crate) name: &'static str,
    pub(crate) comment: &'static str,
    pub(crate) sql: &'static str,
    /// The streams whose column comments hold for columns of the same name.
    pub(crate) streams: &'static [Stream],
}

/// Every view, by name.
pub(crate) const VIEWS: [View; 5] = [
    View {
        name: "file_events",
        comment: "files that were opened, made, removed or renamed: a rename's path is the old name, path2 the new one",
        sql: "SELECT ts, ts_ns, host, evt_type, pid, tid, ppid, pname, uid, \"user\", comm, exe, cmdline, path, path2, fd, \
              flags, mode, result, container_id, cgroup_id, host_id, incarnation, cpu, seq, tenant, date FROM events \
              WHERE evt_type IN ('open', 'openat', 'openat2', 'creat', 'unlink', 'unlinkat', 'rename', 'renameat', 'renameat2')",
        streams: &[Stream::Events],
    },
    View {
        name: "metrics",
        comment: "samples with the name and labels of their series",
        sql: "SELECT s.ts, l.name, l.labels, s.value, s.series_id FROM samples s JOIN \
              (SELECT series_id, first_value(name) AS name, first_value(labels) AS labels FROM series GROUP BY series_id) l \
              ON s.series_id = l.series_id",
        streams: &[Stream::Samples, Stream::Series],
    },
    View {
        name: "network_events",
        comment: "connections that were made or accepted",
        sql: "SELECT ts, ts_ns, host, evt_type, pid, tid, ppid, pname, uid, \"user\", comm, exe, cmdline, fd, fd_type, proto, \
              local_addr, local_port, remote_addr, remote_port, path, result, container_id, cgroup_id, host_id, \
              incarnation, cpu, seq, tenant, date FROM events WHERE evt_type IN ('connect', 'accept', 'accept4')",
        streams: &[Stream::Events],
    },
    View {
        name: "processes",
        comment: "processes that were started, forked or ended",
        sql: "SELECT ts, ts_ns, host, evt_type, pid, tid, ppid, pname, uid, \"user\", loginuid, comm, exe, exe_arg0, cmdline, \
              args, cwd, tty, flags, result, container_id, cgroup_id, host_id, incarnation, cpu, seq, tenant, date \
              FROM events WHERE evt_type IN ('execve', 'execveat', 'clone', 'clone3', 'fork', 'vfork', 'procexit')",
        streams: &[Stream::Events],
    },
    View {
        name: "series",
        comment: "one row per labelled series",
        sql: "SELECT series_id, first_value(metric_id) AS metric_id, first_value(name) AS name, \
              first_value(labels) AS labels, min(first_seen) AS first_seen, max(last_seen) AS last_seen \
              FROM series GROUP BY series_id",
        streams: &[Stream::Series],
    },
];

/// The view called `name`.
pub(crate) fn view(name: &str) -> Option<&'static View> {
    VIEWS.iter().find(|view| view.name == name)
}

/// What a column of `streams` means; the first stream that has it decides.
pub(crate) fn column_comment(streams: &[Stream], column: &str) -> Option<String> {
    match column {
        bodkin_table::TENANT => Some("whose row it is".to_owned()),
        bodkin_table::DATE => Some("UTC day on which the row came in".to_owned()),
        _ => streams.iter().find_map(|stream| {
            let suffixed = || suffixed_column(*stream, column);
            let field = stream.schema().field_with_name(column).ok().cloned().or_else(suffixed)?;
            field.metadata().get(COMMENT).cloned()
        }),
    }
}
